"""Mixed model of every parameter over all visits, overall and by stratum."""

import numpy as np
import pandas as pd

from lungitude.analysis.ancova import MEAN, Job, model_terms
from lungitude.analysis.common import (
    ARM,
    Cohort,
    chosen,
    chosen_visits,
    patients,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.mixed import MixedFit

METHOD = "mixed_model"
VISIT = "AVISIT"
CONTRAST = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high")


def mixed_model(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Compare each arm with the reference at each visit by one model a parameter and stratum.

    Fixed effects arm x visit, the covariates and the stratum factors; a random intercept of the
    patient; REML; Satterthwaite df. For the arguments see `lungitude.analysis.ancova.ancova`.

    Returns
    -------
    DataFrame
        Results table. By COMPARISON and visit estimate se df statistic p ci_low ci_high; by GROUP
        emmean se df ci_low ci_high; STAT model with the model line, variances in it. N is the
        patients at the visit (model: the observations).
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    kind = section.get("response", "CHG")
    planned = chosen_visits(section.get("visits", "post-baseline"), cohort)
    for param in chosen(section.get("parameters", "all"), parameters):
        transform = transform_of(parameters, param)
        there = [visit for visit in planned if (param, visit) in cohort.measured]
        if not there:
            continue
        responses = {v: cohort.response(param, v, kind, transform) for v in there}
        for stratum, column, mask in cohort.strata():
            terms = model_terms(section, cohort, column)
            one = cohort.data(param, terms, transform).assign(PATIENT=np.arange(len(mask)))
            parts = [one.assign(**{VISIT: visit, kind: responses[visit]})[mask] for visit in there]
            data = pd.concat(parts, ignore_index=True).dropna()
            data[VISIT] = pd.Categorical(data[VISIT], categories=there)
            analysis = Mixed(
                rows,
                cohort,
                kind,
                terms,
                transform,
                confidence,
                {"param": param, "stratum": stratum},
            )
            analysis.fit_visits(data, there)
    return rows.frame()


class Mixed(Job):
    """One model: a parameter over its visits in a stratum."""

    def fit_visits(self, data, there):
        """Fit the model and add its rows for each visit."""
        cohort = self.cohort
        cells = data.groupby([ARM, VISIT], observed=True).size().to_dict()
        total = data.groupby(ARM)["PATIENT"].nunique().to_dict()
        kept = [code for code in cohort.arms if total.get(code, 0) >= 2]
        used = data.loc[data[ARM].isin(kept)]
        at_visit = used[VISIT].value_counts().to_dict()
        alone = len(cohort.arms) == 1
        fit, cause = None, ""
        if cohort.reference not in kept or (len(kept) < 2 and not alone):
            cause = ", ".join(
                f"{patients(total.get(code, 0))} in {code}"
                for code in cohort.arms
                if code not in kept
            )
        elif not used["PATIENT"].duplicated().any():
            cause = "no patient has two visits"
        else:
            order = [cohort.reference, *(code for code in kept if code != cohort.reference)]
            levels = {ARM: order, VISIT: [v for v in there if (used[VISIT] == v).any()]}
            try:
                design = ColumnDesign(used, [ARM, VISIT, (ARM, VISIT), *self.terms], levels)
                fit = MixedFit(
                    design,
                    used[self.kind].to_numpy(dtype=float),
                    used["PATIENT"].to_numpy(),
                    np.ones((len(used), 1)),
                    ["(Intercept)"],
                    True,
                    "satterthwaite",
                    self.confidence,
                )
            except ValueError as error:
                cause = str(error)
        note = self.line(fit, levels[VISIT] if fit else there)
        note = note if fit else f"{note}; {why_not(cause)}"
        for visit in there:
            self.keys.update(visit=visit, place=cohort.places[visit])
            self.rows.add(
                {"model": np.nan}, len(used) if fit else len(data), note=note, **self.keys
            )
            count = {code: cells.get((code, visit), 0) for code in cohort.arms}
            self.visit_rows(fit, visit, count, at_visit.get(visit, 0), cause)

    def visit_rows(self, fit, visit, count, used, cause):
        """Add the contrasts and means of one visit, where `used` patients are in the model."""
        cohort = self.cohort
        reference = cohort.reference
        for code in cohort.compared:
            name = f"{code} - {reference}"
            short = [
                f"{patients(count[arm])} in {arm}" for arm in (code, reference) if count[arm] < 2
            ]
            reason = why_not(", ".join(short)) if short else why_not(cause) if fit is None else ""
            row = None
            if not reason:
                high, low = (
                    fit.design.mean_row({ARM: arm, VISIT: visit}) for arm in (code, reference)
                )
                row = fit.linear([{}], high - low, strict=False).iloc[0]
                if np.isnan(row["estimate"]):
                    row, reason = None, why_not("aliased with other terms")
            size = used if row is not None else count[code] + count[reference]
            self.add(row, CONTRAST, reason, size, ratio=True, comparison=name)
        for code in cohort.arms:
            reason = why_not(f"{patients(count[code])} in {code}") if count[code] < 2 else ""
            reason = reason or (why_not(cause) if fit is None else "")
            row = None
            if not reason:
                mean = fit.design.mean_row({ARM: code, VISIT: visit})
                row = fit.linear([{}], mean, strict=False).iloc[0]
                if np.isnan(row["estimate"]):
                    row, reason = None, why_not("aliased with other terms")
            self.add(row, MEAN, reason, count[code], ratio=self.kind == "CHG", group=code)

    def line(self, fit, there):
        """Model line as a table prints it."""
        terms = [f"{ARM} * {VISIT}", *self.terms]
        parts = [
            f"{self.kind} ~ {' + '.join(terms)} + (1 | USUBJID)",
            f"visits {', '.join(there)}",
            "REML, Satterthwaite df",
            "LS means: factors weighted equally, covariates at their mean",
            f"analysis set {self.cohort.population}",
        ]
        if self.transform != "none":
            parts.insert(1, f"{self.transform} scale")
        if fit is not None and fit.dropped:
            parts.append(f"left out as aliased: {', '.join(fit.dropped)}")
        if fit is not None and fit.singular:
            parts.append("variance between patients estimated as 0")
        return "; ".join(parts)
