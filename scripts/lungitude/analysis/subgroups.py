"""Effects of the arms in subgroups of every parameter at every visit, overall and by stratum."""

import numpy as np
import pandas as pd

from lungitude.analysis.ancova import (
    EFFECT,
    INTERACTION,
    Job,
    arms_with_data,
    interaction_of,
    model_terms,
    no_model,
    without,
)
from lungitude.analysis.common import (
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
from lungitude.statistics.ancova import AncovaFit
from lungitude.statistics.frames import levels

METHOD = "subgroups"
EVERYBODY = "all"


def subgroups(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Compare each arm with the reference in the levels of factors, for a forest plot.

    Parameters
    ----------
    section : dict
        Of plan.yaml: population parameters visits response covariates strata_in_model factors.
    adsl, records, parameters, arms, visits, strata, characteristics, confidence
        See `lungitude.analysis.ancova.ancova`.

    Returns
    -------
    DataFrame
        Results table. LEVEL ``all`` is the model without interaction; of each factor there is one
        model with arm x factor (as `lungitude.statistics.arms.stratum_contrasts`), LEVEL
        ``factor=level``: by COMPARISON estimate se df statistic p ci_low ci_high (and the ratio on
        a log scale), by GROUP n, the patients of the arm. LEVEL ``factor``:
        interaction_F interaction_df1 interaction_df2 interaction_p, left_out as of the ANCOVA, and
        STAT model with the model line. N is the patients of the level (interaction, model: of the
        model). The factor that defines a stratum has no rows in it. What can't be estimated is NaN
        with the reason; so is a factor of numbers, which has no levels.
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    kind, factors = section.get("response", "CHG"), list(dict.fromkeys(section["factors"]))
    for param in chosen(section.get("parameters", "all"), parameters):
        transform = transform_of(parameters, param)
        columns = list(dict.fromkeys([*model_terms(section, cohort), *factors]))
        one = cohort.data(param, columns, transform)
        for visit in chosen_visits(section.get("visits", "post-baseline"), cohort):
            if (param, visit) not in cohort.measured:
                continue
            whole = one.assign(**{kind: cohort.response(param, visit, kind, transform)})
            observed = ~np.isnan(cohort.response(param, visit, kind))
            keys = {"param": param, "visit": visit, "place": cohort.places[visit]}
            for stratum, column, mask in cohort.strata():
                terms = model_terms(section, cohort, column)
                own = {**keys, "stratum": stratum}
                job = Subgroups(rows, cohort, kind, terms, transform, confidence, own)
                data = whole.loc[mask & observed]
                job.everybody(data)
                for factor in factors:
                    if factor != column:
                        job.factor(data, factor)
    return rows.frame()


class Subgroups(Job):
    """A parameter at a visit in a stratum."""

    def everybody(self, data):
        """Add the comparison in all patients, by the model without interaction."""
        used, self.rows.remark = self.cohort.pooled(
            data[[ARM, *self.terms, self.kind]].dropna(), self.terms
        )
        reasons, inside, cause = self.inside(used)
        fit, cause = (None, cause) if cause else self.model(inside, self.terms)
        table = contrasts(fit, {}) if fit else None
        self.level(EVERYBODY, table, used[ARM], reasons, cause)
        self.rows.remark = ""

    def inside(self, used):
        """Find why arms cannot be compared, the rows of the others, and why there is no model."""
        count = used[ARM].value_counts().to_dict()
        kept, reasons = arms_with_data(self.cohort, count)
        cause = no_model(self.cohort, kept, count)
        cause = cause or ("" if len(kept) > 1 else "one arm")
        return reasons, used.loc[used[ARM].isin(kept)], cause

    def model(self, inside, terms):
        """Fit by least squares, or say why not."""
        options = (self.cohort.reference, None, self.confidence)
        fit, cause = attempted(AncovaFit, inside, self.kind, ARM, terms, *options)
        if fit and fit.exact:
            return None, "no variation beyond the model"
        return fit, cause

    def factor(self, data, factor):
        """Add the comparisons in the levels of a factor, and whether they differ."""
        cohort, keys = self.cohort, self.keys
        columns = list(dict.fromkeys([ARM, *self.terms, factor, self.kind]))
        self.keys = {**keys, "level": factor}
        if not isinstance(data[factor].dtype, pd.CategoricalDtype):
            cause = f"{factor} holds numbers; a factor of subgroups needs categories"
            self.put({"interaction_p": np.nan}, len(data), why_not(cause))
            self.keys = keys
            return
        others = [term for term in self.terms if term != factor]  # its own levels are compared
        used, said = cohort.pooled(data[columns].dropna(), others)
        self.rows.remark = said
        reasons, inside, cause = self.inside(used)
        fit = None
        if not cause and len(levels(inside[factor])) < 2:
            cause = f"one level of {ARM} or {factor}"
        if not cause:
            fit, cause = self.model(inside, [*others, factor, (ARM, factor)])
        note = self.line(fit.dropped if fit else [], factor=factor)
        note = note if fit else f"{note}; {why_not(cause)}"
        self.rows.add({"model": np.nan}, len(inside), note=note, **self.keys)
        self.rows.remark = ""
        self.left_out(data[columns])
        self.rows.remark = said
        found, why = attempted(interaction_of, fit, factor) if fit else (None, cause)
        values, note = found or missing(INTERACTION, why_not(why))
        gone = without(cohort, fit.arms) if found else ""
        self.put(values, len(inside), "; ".join(filter(None, [gone, note])))
        self.keys = keys
        for level in cohort.levels(factor):
            mine = used.loc[used[factor] == level, ARM]
            there = fit is not None and level in fit.design.factors[factor]
            table = contrasts(fit, {factor: level}) if there else None
            self.level(f"{factor}={level}", table, mine, reasons, cause)
        self.rows.remark = ""

    def level(self, level, table, arms, reasons, cause):
        """Add the comparisons of one level, and its patients by arm."""
        cohort = self.cohort
        count = arms.value_counts().to_dict()
        size = sum(count.get(code, 0) for code in cohort.arms if code not in reasons)
        for code in cohort.compared:
            short = too_few(count, (code, cohort.reference))
            reason = why_not(short) if short else reasons.get(code, "")
            reason = reason or (why_not(cause) if table is None else "")
            row = None if reason else table.loc[f"{code} - {cohort.reference}"]
            if row is not None and np.isnan(row["estimate"]):
                row, reason = None, why_not("aliased with other terms")
            name = f"{code} - {cohort.reference}"
            self.add(row, EFFECT, reason, size, ratio=True, comparison=name, level=level)
        for code in cohort.arms:
            n = count.get(code, 0)
            self.put({"n": n}, n, group=code, level=level)


def contrasts(fit, cell):
    """Contrasts of the arms with the reference within a cell, NaN where not estimable."""
    means = [fit.design.mean_row({ARM: code, **cell}) for code in fit.arms]
    labels = [{"contrast": f"{code} - {fit.arms[0]}"} for code in fit.arms[1:]]
    table = fit.linear(labels, np.array(means[1:]) - means[0], strict=False)
    return table.set_index("contrast")
