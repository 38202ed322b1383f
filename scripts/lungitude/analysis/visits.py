"""One model of a parameter over its visits, overall and by stratum, whatever engine fits it."""

import numpy as np
import pandas as pd

from lungitude.analysis.ancova import EFFECT, INTERACTION, MEAN, Job, model_terms, no_model, without
from lungitude.analysis.common import (
    ALL,
    ARM,
    Cohort,
    attempted,
    chosen,
    chosen_visits,
    missing,
    too_few,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.frames import levels

VISIT = "AVISIT"
PATIENT = "PATIENT"
TEST = ("test_F", "test_df1", "test_df2", "test_p")


def over_visits(
    model,
    method,
    adsl,
    records,
    parameters,
    section,
    arms,
    visits,
    strata=(),
    characteristics=(),
    confidence=0.95,
):
    """Fit one model a parameter and stratum to its visits.

    Parameters
    ----------
    model : type
        Subclass of `VisitModel` with the engine.
    method : str
    adsl, records, parameters, section, arms, visits, strata, characteristics, confidence
        See `lungitude.analysis.ancova.ancova`.

    Returns
    -------
    DataFrame
        Results table. By COMPARISON and visit estimate se df statistic p ci_low ci_high; by GROUP
        and visit emmean se df ci_low ci_high, and left_out as of the ANCOVA; by visit STAT model
        with the model line. LEVEL ``TRT01P:AVISIT``: test of arm x visit (test_F test_df1 test_df2
        test_p). For all patients, by visit, with LEVEL the stratum factor: whether the effect of
        the arm at the visit depends on the factor, in the model with arm x visit x factor
        (interaction_F interaction_df1 interaction_df2 interaction_p). N is the patients at the
        visit (model, arm x visit: the observations). What can't be estimated is NaN with the
        reason.
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(method, cohort.population)
    kind = section.get("response", "CHG")
    planned = chosen_visits(section.get("visits", "post-baseline"), cohort)
    for param in chosen(section.get("parameters", "all"), parameters):
        there = [visit for visit in planned if (param, visit) in cohort.measured]
        if not there:
            continue
        transform = transform_of(parameters, param)
        analysis = model(rows, cohort, kind, section, transform, confidence)
        one = cohort.data(param, analysis.columns, transform)
        one[PATIENT] = np.arange(len(one))
        whole = pd.concat([one] * len(there), ignore_index=True)
        place = np.repeat(np.arange(len(there)), len(one))
        whole[VISIT] = pd.Categorical.from_codes(place, categories=there)
        whole[kind] = np.concatenate([cohort.response(param, v, kind, transform) for v in there])
        observed = ~np.isnan(np.concatenate([cohort.response(param, v, kind) for v in there]))
        for stratum, column, mask in cohort.strata():
            analysis.turn_to(param, stratum, column)
            analysis.fit_visits(whole.loc[observed & np.tile(mask, len(there))], there)
    return rows.frame()


class VisitModel(Job):
    """One model: a parameter over its visits in a stratum.

    A subclass has ``engine(design, data)``, which gives a fit with `linear`, `test`, `type3`,
    `kept` and `dropped` or raises a ValueError with the reason, and ``estimation(fit)``, which says
    how (`fit` is None where there is none).
    """

    def __init__(self, rows, cohort, kind, section, transform, confidence):
        super().__init__(rows, cohort, kind, [], transform, confidence, {})
        self.section = section
        factors = [factor["column"] for factor in cohort.factors]
        fixed = model_terms(section, cohort)
        self.columns = list(dict.fromkeys([*self.random(), *fixed, *factors]))

    def random(self):
        """Columns of groups other than the patients."""
        return []

    def crossed(self):
        """Name the fixed effects that have a coefficient at each visit."""
        return []

    def equation(self, terms):
        """Write the formula of the model."""
        return f"{self.kind} ~ {terms}"

    def remarks(self, fit):
        """Give what the reader of a result should know."""
        return []

    def turn_to(self, param, stratum, column):
        """Begin with a stratum, which a column of the patients defines."""
        terms = model_terms(self.section, self.cohort, column)
        self.terms = [term for term in terms if term not in self.random()]
        self.keys = {"param": param, "stratum": stratum}

    def used_columns(self, terms):
        """Columns that a patient needs to be in the model."""
        return list(dict.fromkeys([ARM, PATIENT, VISIT, *self.random(), *terms, self.kind]))

    def fit_visits(self, observed, there):
        """Fit the model to the rows with an observed response, and add its rows."""
        cohort, keys = self.cohort, self.keys
        columns = self.used_columns(self.terms)
        data, said = cohort.pooled(observed[columns].dropna(), self.terms, PATIENT)
        self.rows.remark = said
        fit, used, cause = self.fitted(data, self.terms)
        size = len(used) if fit else len(data)
        note = self.line(fit, there)
        note = note if fit else f"{note}; {why_not(cause)}"
        cells = data.groupby([ARM, VISIT], observed=True).size().to_dict()
        at_visit = used[VISIT].value_counts().to_dict()
        found = self.estimates(fit) if fit else {}
        for visit in there:
            self.keys = {**keys, "visit": visit, "place": cohort.places[visit]}
            self.rows.add({"model": np.nan}, size, note=note, **self.keys)
            count = {code: cells.get((code, visit), 0) for code in cohort.arms}
            self.visit_rows(found, visit, count, at_visit.get(visit, 0), cause)
            here = observed.loc[observed[VISIT] == visit, columns]
            self.rows.remark = ""
            self.left_out(here.drop(columns=[PATIENT, VISIT]))
            self.rows.remark = said
        self.keys = keys
        if len(cohort.arms) > 1 and len(there) > 1:
            self.joint(fit, size, cause)
        self.rows.remark = ""
        if len(cohort.arms) < 2:
            return
        if keys["stratum"] == ALL:
            for factor in cohort.factors:
                self.interactions(observed, there, factor["column"])

    def fitted(self, data, terms, more=()):
        """Fit the model to the arms with two patients or more.

        Returns
        -------
        fit or None, DataFrame, str
            The rows of these arms, and why there is no fit.
        """
        cohort = self.cohort
        total = data.groupby(ARM)[PATIENT].nunique().to_dict()
        kept = [code for code in cohort.arms if total.get(code, 0) >= 2]
        used = data.loc[data[ARM].isin(kept)]
        cause = no_model(cohort, kept, total)
        if cause:
            return None, used, cause
        order = [cohort.reference, *(code for code in kept if code != cohort.reference)]
        crossed = [(name, VISIT) for name in self.crossed() if name in terms]
        fixed = dict.fromkeys([ARM, VISIT, (ARM, VISIT), *terms, *crossed, *more])
        try:
            design = ColumnDesign(used, list(fixed), {ARM: order, VISIT: levels(used[VISIT])})
            return self.engine(design, used), used, ""
        except ValueError as error:
            return None, used, str(error)

    def estimates(self, fit):
        """Contrasts by (visit, arm, reference) and means by (visit, arm)."""
        arms, rows = fit.design.factors[ARM], {}
        for visit in fit.design.factors[VISIT]:
            for code in arms:
                rows[visit, code] = fit.design.mean_row({ARM: code, VISIT: visit})
            for code in arms[1:]:
                rows[visit, code, arms[0]] = rows[visit, code] - rows[visit, arms[0]]
        table = fit.linear([{}] * len(rows), np.array(list(rows.values())), strict=False)
        return dict(zip(rows, table.to_dict("records"), strict=True))

    def visit_rows(self, found, visit, count, used, cause):
        """Add the contrasts and means of one visit, where `used` patients are in the model."""
        cohort = self.cohort

        def pick(*codes):
            short = too_few(count, codes)
            if short or not found:
                return None, why_not(short or cause)
            row = found[visit, *codes]
            if np.isnan(row["estimate"]):
                return None, why_not("aliased with other terms")
            return row, ""

        for code in cohort.compared:
            row, reason = pick(code, cohort.reference)
            size = used if row is not None else count[code] + count[cohort.reference]
            name = f"{code} - {cohort.reference}"
            self.add(row, EFFECT, reason, size, ratio=True, comparison=name)
        for code in cohort.arms:
            row, reason = pick(code)
            self.add(row, MEAN, reason, count[code], ratio=self.kind == "CHG", group=code)

    def joint(self, fit, n, cause):
        """Add the test of arm x visit."""
        name = f"{ARM}:{VISIT}"
        values, note = missing(TEST, why_not(cause))
        if fit:
            table, _ = attempted(fit.type3)  # warns of terms that have no test
            row = table.set_index("term").loc[name]
            arms, visits = (len(fit.design.factors[factor]) for factor in (ARM, VISIT))
            planned = (arms - 1) * (visits - 1)
            if row["df1"] >= 1:
                values, note = self.tested(fit, TEST, row, planned, f"{ARM} x {VISIT}")
            else:
                cause = "one visit with data" if visits < 2 else f"empty cells of {ARM} x {VISIT}"
                note = why_not(cause)
        self.put(values, n, note, level=name)

    def interactions(self, observed, there, factor):
        """Test at each visit whether the effect of the arm depends on a factor."""
        terms = list(dict.fromkeys([*self.terms, factor]))
        data = observed[self.used_columns(terms)].dropna()
        data, self.rows.remark = self.cohort.pooled(data, terms, PATIENT)
        more = [(factor, VISIT), (ARM, factor), (ARM, VISIT, factor)]
        if data[factor].nunique() < 2:
            fit, used, cause = None, data, f"one level of {ARM} or {factor}"
        else:
            fit, used, cause = self.fitted(data, terms, more)
        keys, at_visit = self.keys, used[VISIT].value_counts().to_dict()
        for visit in there:
            self.keys = {**keys, "visit": visit, "place": self.cohort.places[visit]}
            values, note = missing(INTERACTION, why_not(cause))
            if fit:
                values, note = self.interaction_at(fit, visit, factor)
            self.put(values, at_visit.get(visit, 0), note, level=factor)
        self.keys, self.rows.remark = keys, ""

    def interaction_at(self, fit, visit, factor):
        """F test that the contrasts of the arms at a visit are the same in all levels."""
        design = fit.design
        if visit not in design.factors[VISIT]:
            return missing(INTERACTION, why_not("no patient at the visit"))

        def mean(arm, level):
            return design.mean_row({ARM: arm, VISIT: visit, factor: level})

        first, *others = design.factors[ARM]
        effects = [
            np.array([mean(arm, level) - mean(first, level) for arm in others])
            for level in design.factors[factor]
        ]
        rows = np.concatenate([effect - effects[0] for effect in effects[1:]])
        known = estimable_part(rows, fit)
        if not len(known):
            return missing(INTERACTION, why_not(f"empty cells of {ARM} x {factor}"))
        table, cause = attempted(fit.test, known)
        if table is None:
            return missing(INTERACTION, why_not(cause))
        return self.tested(fit, INTERACTION, table.iloc[0], len(rows), f"{ARM} x {factor}")

    def tested(self, fit, names, row, planned, cells):
        """Values of an F test, and what is to be said of it."""
        df1 = int(row["df1"])
        if not row["df2"] > 0:
            return missing(names, why_not("too few patients for the df of the test"))
        gone = f"{planned - df1} empty cells of {cells}" if df1 < planned else ""
        said = [without(self.cohort, fit.design.factors[ARM]), gone, *self.remarks(fit)]
        statistic = row["F"] if "F" in row else row["f"]
        values = dict(zip(names, (statistic, df1, row["df2"], row["p"]), strict=True))
        return values, "; ".join(filter(None, said))

    def line(self, fit, there):
        """Model line as a table prints it."""
        whole = [ARM, *(name for name in self.crossed() if name in self.terms)]
        terms = [
            f"{name} * {VISIT}" if name in whole else name
            for name in dict.fromkeys([ARM, *self.terms])
        ]
        parts = [
            self.equation(" + ".join(terms)),
            f"visits {', '.join(fit.design.factors[VISIT] if fit else there)}",
            self.estimation(fit),
            "LS means: factors weighted equally, covariates at their mean",
            f"analysis set {self.cohort.population}",
        ]
        if self.transform != "none":
            parts.insert(1, f"{self.transform} scale")
        if fit and fit.dropped:
            parts.append(f"left out as aliased: {', '.join(fit.dropped)}")
        return "; ".join([*parts, *(self.remarks(fit) if fit else [])])


def estimable_part(rows, fit):
    """Find a basis of the combinations of linear functions that the data can estimate.

    Parameters
    ----------
    rows : ndarray (m, columns of the design)
    fit : LinearFit

    Returns
    -------
    ndarray (at most m, coefficients of the fit)
        The rows themselves where all can be estimated.
    """
    lost = np.setdiff1d(np.arange(rows.shape[1]), fit.kept)
    kept = rows[:, fit.kept]
    if not len(lost):
        return kept
    # The columns that were left out are combinations of the others; a function that weighs the
    # columns in any other proportion cannot be estimated.
    matrix = fit.design.matrix
    combined = np.linalg.lstsq(matrix[:, fit.kept], matrix[:, lost], rcond=None)[0]
    left, size, _ = np.linalg.svd(rows[:, lost] - kept @ combined)
    rank = int((size > 1e-8).sum())
    return left[:, rank:].T @ kept if rank else kept
