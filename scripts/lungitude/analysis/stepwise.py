"""Stepwise linear regression of a parameter at a visit, overall and by stratum."""

import numpy as np
import pandas as pd

from lungitude.analysis.common import (
    ARM,
    Cohort,
    attempted,
    chosen,
    chosen_visits,
    noted,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.frames import require_choice
from lungitude.statistics.regression import stepwise_model

METHOD = "stepwise"
STEP = ("p", "r", "r2", "aic")
TERM = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high", "beta_std")


def stepwise(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Select the terms that go with a response, step by step, in all patients and each stratum.

    For the other arguments see `lungitude.analysis.within_arm.within_arm`.

    Parameters
    ----------
    section : dict
        Of plan.yaml: population; response (PARAMCD); response_visit; values (AVAL, CHG: of the
        response and of candidates that are parameters); candidates (PARAMCD at the same visit,
        BASE of the response, columns of ADSL); p_enter; p_remove.

    Returns
    -------
    DataFrame
        Results table. LEVEL "step 1: +AGE" p r r2 aic; of the final model by LEVEL (the term, as
        R names it) estimate se df statistic p ci_low ci_high, and beta_std but of the intercept;
        STAT model with the model line. N is the patients with the response and all candidates.
        Parameters with a TRANSFORM enter on the log scale. The factor that makes a stratum is no
        candidate in it. p of a selected model do not account for the selection.
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    kind = section.get("values", "AVAL")
    require_choice(kind, ("AVAL", "CHG"), "values", METHOD)
    rows = Rows(METHOD, cohort.population)
    (param,) = chosen([section["response"]], parameters)
    (visit,) = chosen_visits([section["response_visit"]], cohort)
    enter, remove = section.get("p_enter", 0.05), section.get("p_remove", 0.10)
    data = _values(cohort, parameters, param, visit, kind, section["candidates"])
    observed = ~np.isnan(cohort.response(param, visit, kind))
    for stratum, column, mask in cohort.strata():
        here = data.loc[mask & observed]
        candidates = [name for name in data.columns if name not in (param, column)]
        keys = {"param": param, "visit": visit, "stratum": stratum, "place": cohort.places[visit]}
        fit, said = attempted(
            stepwise_model, here, param, candidates, enter, remove, confidence=confidence
        )
        n = int(here[[param, *candidates]].notna().all(axis=1).sum())
        line = _line(param, kind, fit, candidates, (enter, remove), parameters, (n, len(here)))
        line = f"{line}; {said if fit else why_not(said)}" if said else line
        rows.add({"model": np.nan}, n, note=f"{line}; analysis set {cohort.population}", **keys)
        if fit:
            _add(rows, fit, n, keys)
    return rows.frame()


def _values(cohort, parameters, param, visit, kind, names):
    """Response and candidates, one row a patient."""
    known, transform = set(parameters["PARAMCD"]), transform_of(parameters, param)
    columns = {param: cohort.response(param, visit, kind, transform)}
    for name in names:
        if name == param:
            raise ValueError(f"plan: stepwise has {param} as response and candidate")
        if name in known:
            columns[name] = cohort.response(name, visit, kind, transform_of(parameters, name))
        else:
            columns[name] = cohort.covariate(name, param, transform)
    if ARM in columns:
        others = [code for code in cohort.arms if code != cohort.reference]
        columns[ARM] = pd.Categorical(cohort.arm, [cohort.reference, *others])
    return pd.DataFrame(columns)


def _add(rows, fit, n, keys):
    """Add the path and the coefficients of the final model."""
    for row in fit.path.to_dict("records"):
        values, notes = noted({stat: row[stat] for stat in STEP})
        level = f"step {row['step']}: {row['action']}{row['term']}"
        rows.add(values, n, level=level, note=notes, **keys)
    for row in fit.model.coefficients.to_dict("records"):
        own = TERM[:-1] if row["term"] == "(Intercept)" else TERM
        values, notes = noted({stat: row[stat] for stat in own})
        rows.add(values, n, level=row["term"], note=notes, **keys)


def _line(param, kind, fit, candidates, limits, parameters, counts):
    """Model line as a table prints it."""
    selected = " + ".join(fit.selected) or "1" if fit else "..."
    logged = [
        f"{name} on the {scale} scale"
        for name in [param, *candidates]
        if (scale := transform_of(parameters, name)) != "none"
    ]
    parts = [
        f"{param} ({kind}) ~ {selected}",
        f"stepwise from {', '.join(candidates)}",
        f"enters at p < {limits[0]:g}, leaves at p > {limits[1]:g}",
        *logged,
        f"{counts[0]} of {counts[1]} patients with a response are complete",
    ]
    return "; ".join(parts)
