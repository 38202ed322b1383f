"""Effects of the arms in subgroups of every parameter at every visit, overall and by stratum."""

import numpy as np
import pandas as pd

from lungitude.analysis.ancova import (
    EFFECT,
    INTERACTION,
    Job,
    arms_with_data,
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
from lungitude.statistics.arms import stratum_contrasts

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
        model with arm x factor (`lungitude.statistics.arms.stratum_contrasts`), LEVEL
        ``factor=level``: by COMPARISON estimate se df statistic p ci_low ci_high (and the ratio on
        a log scale), by GROUP n, the patients of the arm in the model. LEVEL ``factor``:
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
        used = data[[ARM, *self.terms, self.kind]].dropna()
        reasons, inside, cause = self.inside(used)
        fit, options = None, (self.cohort.reference, None, self.confidence)
        if not cause:
            fit, cause = attempted(AncovaFit, inside, self.kind, ARM, self.terms, *options)
        if fit and fit.exact:
            fit, cause = None, "no variation beyond the model"
        table = fit.arm_contrasts().set_index("contrast") if fit else None
        self.level(EVERYBODY, table, used[ARM], reasons, cause)

    def inside(self, used):
        """Find why arms cannot be compared, the rows of the others, and why there is no model."""
        count = used[ARM].value_counts().to_dict()
        kept, reasons = arms_with_data(self.cohort, count)
        cause = no_model(self.cohort, kept, count)
        cause = cause or ("" if len(kept) > 1 else "one arm")
        return reasons, used.loc[used[ARM].isin(kept)], cause

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
        used = data[columns].dropna()
        reasons, inside, cause = self.inside(used)
        result = None
        if not cause:
            covariates = [term for term in self.terms if term != factor]
            result, cause = attempted(
                stratum_contrasts,
                inside,
                self.kind,
                ARM,
                factor,
                covariates,
                cohort.reference,
                confidence=self.confidence,
            )
            cause = cause.rpartition("not estimable: ")[2]
            if result and result.fit.exact:
                result, cause = None, "no variation beyond the model"
        note = self.line(result.fit.dropped if result else [], factor=factor)
        note = note if result else f"{note}; {why_not(cause)}"
        self.rows.add({"model": np.nan}, len(inside), note=note, **self.keys)
        self.left_out(data[columns])
        values, note = missing(INTERACTION, why_not(cause))
        if result:
            row = result.interaction.iloc[0]
            planned = (len(result.fit.arms) - 1) * (inside[factor].nunique() - 1)
            lost = f"{planned - int(row['df1'])} empty cells of {ARM} x {factor}"
            note = [without(cohort, result.fit.arms), lost if row["df1"] < planned else ""]
            values = dict(zip(INTERACTION, row[["f", "df1", "df2", "p"]], strict=True))
            note = "; ".join(filter(None, note))
        self.put(values, len(inside), note)
        self.keys = keys
        table = result.contrasts.set_index([factor, "contrast"]) if result else None
        for level in cohort.levels(factor):
            mine = used.loc[used[factor] == level, ARM]
            known = table is not None and level in table.index.get_level_values(0)
            part = table.loc[level] if known else None
            self.level(f"{factor}={level}", part, mine, reasons, cause)

    def level(self, level, table, arms, reasons, cause):
        """Add the comparisons of one level, and its patients by arm."""
        cohort = self.cohort
        count = arms.value_counts().to_dict()
        for code in cohort.compared:
            short = too_few(count, (code, cohort.reference))
            reason = why_not(short) if short else reasons.get(code, "")
            reason = reason or (why_not(cause) if table is None else "")
            row = None if reason else table.loc[f"{code} - {cohort.reference}"]
            if row is not None and np.isnan(row["estimate"]):
                row, reason = None, why_not("aliased with other terms")
            name = f"{code} - {cohort.reference}"
            self.add(row, EFFECT, reason, len(arms), ratio=True, comparison=name, level=level)
        for code in cohort.arms:
            n = count.get(code, 0)
            self.put({"n": n}, n, group=code, level=level)
