"""Patients who reach a threshold: shares by arm, and the arms compared by logistic regression."""

import warnings

import numpy as np

from lungitude.analysis.ancova import model_terms
from lungitude.analysis.common import (
    ARM,
    Cohort,
    attempted,
    chosen,
    chosen_visits,
    missing,
    noted,
    patients,
    too_few,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.binary import LogisticFit
from lungitude.statistics.frames import require_choice

METHOD = "responders"
CHOICES = {"missing": ("observed", "nonresponder"), "separation": ("error", "firth")}
STATS = (
    "odds_ratio", "or_ci_low", "or_ci_high", "p", "risk_difference", "rd_ci_low", "rd_ci_high"
)  # fmt: skip


def responders(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Count the responders of each endpoint and compare the arms, at each visit and stratum.

    For the other arguments see `lungitude.analysis.within_arm.within_arm`.

    Parameters
    ----------
    section : dict
        Of plan.yaml: population; endpoints (id label parameter visits values direction threshold);
        covariates; strata_in_model; missing (observed, or nonresponder: who has no value counts
        as one); separation (error, firth). values are CHG, AVAL or PCHG on the scale of
        measurement; a responder is at the threshold or beyond it in the direction (increase,
        decrease).

    Returns
    -------
    DataFrame
        Results table, LEVEL the endpoint. By GROUP responders and share (0 to 1); by COMPARISON
        odds_ratio or_ci_low or_ci_high p (conditional on the covariates) risk_difference rd_ci_low
        rd_ci_high (standardised over them); STAT model with the model line. What can't be
        estimated (no responder, separated data) is NaN with the reason.
    """
    for key, allowed in CHOICES.items():
        require_choice(section.get(key, allowed[0]), allowed, key, METHOD)
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    names = [endpoint["id"] for endpoint in section["endpoints"]]
    if len(set(names)) < len(names):
        raise ValueError(f"plan: responders has two endpoints of one id ({', '.join(names)})")
    for endpoint in section["endpoints"]:
        (param,) = chosen([endpoint["parameter"]], parameters)
        for visit in chosen_visits(endpoint.get("visits", "post-baseline"), cohort):
            if (param, visit) not in cohort.measured:
                continue
            reached = responses(cohort, endpoint, visit)
            if section.get("missing") == "nonresponder":
                reached = np.nan_to_num(reached)
            for stratum, column, mask in cohort.strata():
                terms = model_terms(section, cohort, column)
                data = cohort.data(param, terms, transform_of(parameters, param))
                data = data.assign(**{endpoint["id"]: reached})[mask]
                keys = {
                    "param": param,
                    "visit": visit,
                    "place": cohort.places[visit],
                    "stratum": stratum,
                    "level": endpoint["id"],
                }
                _add(rows, cohort, endpoint, section, data, terms, confidence, keys)
    return rows.frame()


def responses(cohort, endpoint, visit):
    """1 for responders, 0 for others, NaN where the value is missing."""
    kind, param = endpoint.get("values", "CHG"), endpoint["parameter"]
    require_choice(kind, ("CHG", "AVAL", "PCHG"), "values", METHOD)
    require_choice(endpoint["direction"], ("increase", "decrease"), "direction", METHOD)
    values = cohort.response(param, visit, "AVAL" if kind == "AVAL" else "CHG")
    if kind == "PCHG":
        base = cohort.value(param, cohort.baseline)
        values = 100 * values / np.where(base == 0, np.nan, base)
    sign = 1 if endpoint["direction"] == "increase" else -1
    # 2.3 - 2.2 is a little below 0.1: a change that equals the threshold as recorded reaches it
    slack = 1e-9 * max(1.0, abs(endpoint["threshold"]))
    beyond = sign * (values - endpoint["threshold"]) >= -slack
    return np.where(np.isnan(values), np.nan, beyond)


def _add(rows, cohort, endpoint, section, data, terms, confidence, keys):
    """Add the counts and the model of an endpoint at a visit in a stratum."""
    name, reference = endpoint["id"], cohort.reference
    known = data.loc[data[name].notna()]
    for code in cohort.arms:
        own = known.loc[known[ARM] == code, name]
        share = own.mean() if len(own) else np.nan
        note = {} if len(own) else {"share": why_not(patients(0) + f" in {code}")}
        rows.add({"responders": own.sum(), "share": share}, len(own), group=code, note=note, **keys)
    if len(cohort.arms) < 2:
        return
    used, pooled = cohort.pooled(known.dropna(), terms)
    count = used[ARM].value_counts()
    kept = [code for code in cohort.arms if count.get(code, 0) >= 2]
    used = used.loc[used[ARM].isin(kept)]
    found, said = None, too_few(count, cohort.arms)
    if reference in kept and len(kept) > 1:
        order = [reference, *(code for code in kept if code != reference)]
        separation = section.get("separation", "error")
        found, said = attempted(_contrasts, used, name, order, terms, separation, confidence)
    line = _line(cohort, endpoint, section, terms, len(known) - len(known.dropna()))
    line = f"{line}; {why_not(said) if found is None else said}" if said else line
    rows.remark = pooled
    rows.add({"model": np.nan}, len(used), note=line, **keys)
    for code in cohort.compared:
        comparison, n = f"{code} - {reference}", len(used)
        if found is not None and code in kept:
            values, notes = noted(dict(found.loc[comparison, list(STATS)]), said)
        else:
            short = too_few(count, [code, reference])
            values, notes = missing(STATS, why_not(short or said))
            n = int(count.get(code, 0) + count.get(reference, 0)) if short else n
        rows.add(values, n, comparison=comparison, note=notes, **keys)
    rows.remark = ""


def _contrasts(data, name, arms, terms, separation, confidence):
    """Contrasts of the arms by one fit.

    Not by `lungitude.statistics.logistic`, which also tests the covariates; under separation that
    is nearly all of its time.
    """
    options = {
        "confidence": confidence,
        "method": "ml",
        "separation": separation,
        "test": None,
        "variance": "model",
    }
    fit = LogisticFit(data, name, ARM, arms, terms, options)
    for message in fit.messages:
        warnings.warn(message, stacklevel=2)
    return fit.contrasts.set_index("contrast")


def _line(cohort, endpoint, section, terms, lost):
    """Model line as a table prints it."""
    sign = ">=" if endpoint["direction"] == "increase" else "<="
    kind = endpoint.get("values", "CHG")
    parts = [
        f"responder: {endpoint['parameter']} {kind} {sign} {endpoint['threshold']:g}",
        f"logit(responder) ~ {' + '.join([ARM, *terms])}",
        "missing counts as nonresponder" if section.get("missing") == "nonresponder" else "",
        f"{patients(lost)} left out: a covariate is missing" if lost else "",
        f"analysis set {cohort.population}",
    ]
    return "; ".join(filter(None, parts))
