"""Changes within each arm between all visits, without a comparison of arms."""

import itertools

import numpy as np
import pandas as pd

from lungitude.analysis.common import (
    RATIO,
    Cohort,
    add_adjusted,
    add_difference,
    attempted,
    chosen,
    missing,
    planned_visits,
    scale_note,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.distribution import shapiro_wilk
from lungitude.statistics.frames import require_choice
from lungitude.statistics.groups import paired

METHOD = "within_arm"
METHODS = ("t", "wilcoxon", "published")
STATS = ("estimate", "sd", "se", "df", "statistic", "p", "ci_low", "ci_high")
RANK_RATIO = "exponential of the Hodges-Lehmann estimate"


def within_arm(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Test the change between every two visits in each arm and stratum.

    Parameters
    ----------
    adsl : DataFrame
    records : list of DataFrame
        BDS tables.
    parameters : DataFrame
        PARAMCD TRANSFORM.
    section : dict
        Of plan.yaml: population parameters visits method (t, wilcoxon, or published: t where
        Shapiro-Wilk p of the differences exceeds 0.05, else wilcoxon) adjust.
    arms, visits, strata, characteristics : list of dict
        As in config.yaml.
    confidence : float

    Returns
    -------
    DataFrame
        Results table. By GROUP and COMPARISON ("Week 6 - Baseline", AVISIT the later visit)
        estimate sd se df statistic p ci_low ci_high of the complete pairs, their number as N and
        the test as NOTE; wilcoxon has no se and df, and its estimate is Hodges and Lehmann's;
        p_adj (FAMILY within_arm) over the comparisons of one parameter, arm and stratum.
        Parameters with a TRANSFORM are analysed on the log scale; the ratio is its exponential.
    """
    method, adjustment = section.get("method", "t"), section.get("adjust", "bh")
    require_choice(method, METHODS, "method", METHOD)
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    planned = planned_visits(section, cohort)
    groups = [
        (path, code, mask & (cohort.arm == code))
        for path, _, mask in cohort.strata()
        for code in cohort.arms
    ]
    for param in chosen(section.get("parameters", "all"), parameters):
        transform = transform_of(parameters, param)
        there = [visit for visit in planned if (param, visit) in cohort.measured]
        scaled = pd.DataFrame({visit: cohort.value(param, visit, transform) for visit in there})
        known = {visit: ~np.isnan(cohort.value(param, visit)) for visit in there}
        for stratum, code, member in groups:
            cells = []
            for before, after in itertools.combinations(there, 2):
                observed = member & known[before] & known[after]
                data = scaled.loc[observed, [before, after]].dropna()
                keys = {
                    "param": param,
                    "visit": after,
                    "place": cohort.places[after],
                    "stratum": stratum,
                    "group": code,
                    "comparison": f"{after} - {before}",
                }
                lost = int(observed.sum()) - len(data)
                p = _add(rows, data, before, after, method, confidence, transform, lost, keys)
                cells.append((p, len(data), keys))
            add_adjusted(rows, adjustment, cells, METHOD)
    return rows.frame()


def _add(rows, data, before, after, method, confidence, transform, lost, keys):
    """Add the rows of one change and return its p."""
    difference = (data[after] - data[before]).to_numpy()
    if method == "published":
        found, _ = attempted(shapiro_wilk, difference)
        method = "t" if found is not None and found[1] > 0.05 else "wilcoxon"
    note = "; ".join(filter(None, [method, scale_note(transform, lost)]))
    found, said = attempted(paired, data, before, after, method, confidence)
    if found is None:
        stats = [*STATS, *(RATIO if transform != "none" else ())]
        values, note = missing(stats, f"{note}; {why_not(said)}")
        rows.add(values, len(data), note=note, **keys)
        return np.nan
    row = found.iloc[0]
    sd = float(difference.std(ddof=1))
    values = {**row[["estimate", "statistic", "p", "ci_low", "ci_high"]], "sd": sd}
    if method == "t":
        values.update(se=sd / np.sqrt(len(data)), df=row["df"])
    values = {name: values[name] for name in STATS if name in values}
    note = "; ".join(filter(None, [note, said]))
    ratio_note = None if method == "t" else RANK_RATIO
    add_difference(rows, values, len(data), note, transform, ratio_note, **keys)
    return values["p"]
