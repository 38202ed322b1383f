"""Descriptive statistics of every parameter by visit and arm."""

import numpy as np

from lungitude.analysis.common import Cohort, attempted, chosen, why_not
from lungitude.results import Rows
from lungitude.statistics.distribution import shapiro_wilk

METHOD = "describe"


def summary(values, size, quantiles="averaged_inverted_cdf"):
    """Count, mean, SD (n - 1), quartiles and range of the values that are there.

    Parameters
    ----------
    values : ndarray
        NaN where missing.
    size : int
        Patients of the group; `missing` is what is not there.
    quantiles : str
        Method of numpy.quantile; ``averaged_inverted_cdf`` is SAS PCTLDEF=5.

    Returns
    -------
    dict, dict
        n missing mean sd median q1 q3 min max, and a note for each that is NaN.
    """
    known = values[~np.isnan(values)]
    n = len(known)
    stats = {"n": n, "missing": size - n}
    names = ["mean", "sd", "median", "q1", "q3", "min", "max"]
    if n == 0:
        note = "not estimated: no observation"
        return {**stats, **dict.fromkeys(names, np.nan)}, dict.fromkeys(names, note)
    q1, median, q3 = np.quantile(known, [0.25, 0.5, 0.75], method=quantiles)
    sd = known.std(ddof=1) if n > 1 else np.nan
    found = [known.mean(), sd, median, q1, q3, known.min(), known.max()]
    notes = {} if n > 1 else {"sd": "not estimated: 1 observation"}
    return {**stats, **dict(zip(names, found, strict=True))}, notes


def describe(
    adsl,
    records,
    parameters,
    section,
    arms,
    visits,
    strata=(),
    characteristics=(),
    quantiles="averaged_inverted_cdf",
):
    """Describe AVAL and CHG by parameter, visit, arm and stratum.

    Parameters
    ----------
    adsl : DataFrame
    records : list of DataFrame
        BDS tables.
    parameters : DataFrame
    section : dict
        Of plan.yaml: population, parameters, by_normality.
    arms, visits, strata, characteristics : list of dict
        As in config.yaml.
    quantiles : str

    Returns
    -------
    DataFrame
        Results table; a parameter at a visit where nobody has a value has no rows. Values are on
        the scale of measurement, also where the analysis takes logarithms. With by_normality also
        shapiro_p by GROUP, and of all arms normal (1 if every p exceeds 0.05, else 0; an arm that
        can't be tested is not normal), whose NOTE names what describes the values: "mean (SD)" or
        "median (Q1, Q3)".
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    cells = [
        (path, code, mask & (cohort.arm == code))
        for path, _, mask in cohort.strata()
        for code in cohort.arms
    ]
    sizes = [int(member.sum()) for _, _, member in cells]
    for param in chosen(section.get("parameters", "all"), parameters):
        for visit, place in cohort.places.items():
            kinds = {"AVAL": cohort.value(param, visit)}
            if visit in cohort.post_baseline:
                kinds["CHG"] = cohort.response(param, visit)
            if np.isnan(kinds["AVAL"]).all():
                continue
            for (stratum, code, member), size in zip(cells, sizes, strict=True):
                for level, values in kinds.items():
                    stats, notes = summary(values[member], size, quantiles)
                    rows.add(
                        stats,
                        stats["n"],
                        param=param,
                        visit=visit,
                        place=place,
                        stratum=stratum,
                        group=code,
                        level=level,
                        note=notes,
                    )
            for stratum, _, mask in cohort.strata() if section.get("by_normality") else ():
                keys = {"param": param, "visit": visit, "place": place, "stratum": stratum}
                for level, values in kinds.items():
                    _normality(rows, cohort, values, mask, {**keys, "level": level})
    return rows.frame()


def _normality(rows, cohort, values, mask, keys):
    """Add the Shapiro-Wilk p of each arm, and what describes all arms."""
    normal, n = True, int((mask & ~np.isnan(values)).sum())
    for code in cohort.arms:
        known = values[mask & (cohort.arm == code)]
        known = known[~np.isnan(known)]
        found, said = attempted(shapiro_wilk, known)
        p, note = (found[1], said) if found else (np.nan, why_not(said))
        normal = normal and p > 0.05
        rows.add({"shapiro_p": p}, len(known), group=code, note=note, **keys)
    note = "mean (SD)" if normal else "median (Q1, Q3)"
    if n == 0:
        normal, note = np.nan, why_not("no observation")
    rows.add({"normal": normal}, n, note=note, **keys)
