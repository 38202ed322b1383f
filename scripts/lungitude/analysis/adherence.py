"""Adherence: sessions planned and attended, by arm."""

import numpy as np

from lungitude import results
from lungitude.analysis.common import TOTAL, Cohort, why_not
from lungitude.analysis.describe import summary
from lungitude.results import Rows

METHOD = "adherence"
DESCRIBED = ("NSESSPL", "NSESSAT", "ADHER")
LIMIT = "at_least:"


def adherence(adsl, adex, section, arms, visits, strata=(), quantiles="averaged_inverted_cdf"):
    """Describe the sessions of each arm, and count patients by their adherence.

    Parameters
    ----------
    adsl : DataFrame
    adex : DataFrame or None
        Of `lungitude.safety.adex`; None where the trial keeps no sessions, which gives no rows.
    section : dict
        Of plan.yaml: population, limits_pct.
    arms, visits, strata : list of dict
        As in config.yaml.
    quantiles : str

    Returns
    -------
    DataFrame
        Results table. PARAMCD NSESSPL, NSESSAT and ADHER: n missing mean sd median q1 q3 min max.
        Patients as n and pct, of all patients of the group (N), by LEVEL: planned (any session was
        planned), at_least:80 (or another limit), none (attended none of those planned), unknown
        (no known adherence though sessions were planned, or no row at all); GROUP is an arm or
        TOTAL. NSESSUN: total, the sessions without a record of attendance. An arm in which no
        patient of the population has a planned session has LEVEL planned only, and there is then
        no TOTAL.
    """
    if adex is None:
        return results.empty()
    cohort = Cohort(adsl, (), section.get("population", "ITT"), arms, visits, strata)
    rows = Rows(METHOD, cohort.population)
    who, wide = (
        cohort.patients["USUBJID"],
        adex.pivot(index="USUBJID", columns="PARAMCD", values="AVAL"),
    )
    wide = wide.reindex(columns=[*DESCRIBED, "NSESSUN"]).reindex(who).astype(float)
    values = {code: wide[code].to_numpy() for code in wide}
    planned = values["NSESSPL"] > 0
    asked = [code for code in cohort.arms if planned[cohort.arm == code].any()]
    counted = _counted(values, planned, section.get("limits_pct", [80]))
    for stratum, _, mask in cohort.strata():
        groups = cohort.groups(mask, total=asked == cohort.arms)
        for group, member in groups.items():
            keys = {"stratum": stratum, "group": group}
            described = group == TOTAL or group in asked
            for code in DESCRIBED if described else ():
                stats, notes = summary(values[code][member], int(member.sum()), quantiles)
                rows.add(stats, stats["n"], param=code, note=notes, **keys)
            if described:
                lost = np.nansum(values["NSESSUN"][member])
                rows.add({"total": lost}, int(member.sum()), param="NSESSUN", **keys)
            for level, flag in counted.items() if described else [("planned", planned)]:
                add_share(rows, flag[member].sum(), int(member.sum()), level=level, **keys)
    return rows.frame()


def _counted(values, planned, limits):
    """Return flags of patients by LEVEL."""
    share = values["ADHER"]
    return {
        "planned": planned,
        **{f"{LIMIT}{limit:g}": share >= limit for limit in sorted(limits, reverse=True)},
        "none": planned & (values["NSESSAT"] == 0),
        "unknown": np.isnan(share) & ~(values["NSESSPL"] == 0),
    }


def add_share(rows, count, size, more=None, **keys):
    """Add n and pct of the patients of a group, and other statistics of the same address.

    Parameters
    ----------
    rows : Rows
    count, size : int
        Patients counted, patients of the group.
    more : dict, optional
        Further STAT to value.
    """
    share = 100 * count / size if size else np.nan
    note = {} if size else {"pct": why_not("no patient")}
    rows.add({"n": count, "pct": share, **(more or {})}, size, note=note, **keys)
