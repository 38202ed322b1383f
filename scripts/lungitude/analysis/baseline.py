"""Baseline table: characteristics by arm, with standardised differences on request."""

import numpy as np
import pandas as pd

from lungitude.analysis.common import ARM, Cohort, patients, why_not
from lungitude.analysis.describe import summary
from lungitude.results import Rows

METHOD = "baseline"


def standardised_difference(one, two, category=False):
    """Standardised mean difference of two groups.

    Parameters
    ----------
    one, two : array_like
        Values without missing ones.
    category : bool
        Categories are compared by Yang and Dalton's multivariate distance [1]_; for two levels
        that is the difference of the shares by their pooled SD, without sign.

    Returns
    -------
    float
        0 for equal groups; NaN where they differ without any spread, or for fewer than 2 a group.

    References
    ----------
    .. [1] Yang & Dalton 2012, SAS Global Forum paper 335.
    """
    if min(len(one), len(two)) < 2:
        return np.nan
    if not category:
        difference = np.mean(one) - np.mean(two)
        spread = np.sqrt((np.var(one, ddof=1) + np.var(two, ddof=1)) / 2)
        if spread == 0:
            return 0.0 if difference == 0 else np.nan
        return difference / spread
    levels = sorted(set(one) | set(two))[1:]
    shares = [
        np.array([np.mean(np.asarray(group) == level) for level in levels]) for group in (one, two)
    ]
    covariance = sum(np.diag(share) - np.outer(share, share) for share in shares) / 2
    difference = shares[0] - shares[1]
    if not difference.any():
        return 0.0
    if np.linalg.matrix_rank(covariance) < len(levels):
        return np.nan
    return float(np.sqrt(difference @ np.linalg.solve(covariance, difference)))


def baseline(
    adsl, section, arms, visits, strata=(), characteristics=(), quantiles="averaged_inverted_cdf"
):
    """Describe the characteristics, then the stratum factors that are none of them.

    Parameters
    ----------
    adsl : DataFrame
    section : dict
        Of plan.yaml: population, smd, tests.
    arms, visits, strata, characteristics : list of dict
        As in config.yaml.
    quantiles : str

    Returns
    -------
    DataFrame
        Results table: for numbers n missing mean sd median q1 q3 min max; for categories missing,
        and n and pct (of the patients with a value) by LEVEL; GROUP is an arm or TOTAL. With smd
        or tests: STAT smd; statistic and df (of tests that have them) and p by COMPARISON.
    """
    cohort = Cohort(
        adsl, (), section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    items = {item["column"]: item["type"] for item in characteristics}
    items.update(
        {factor["column"]: "category" for factor in strata if factor["column"] not in items}
    )
    for stratum, _, mask in cohort.strata():
        groups = cohort.groups(mask)
        for name, kind in items.items():
            column = cohort.patients[name]
            for group, member in groups.items():
                keys = {"param": name, "stratum": stratum, "group": group}
                if kind == "continuous":
                    values = column[member].to_numpy(dtype=float)
                    stats, notes = summary(values, int(member.sum()), quantiles)
                    rows.add(stats, stats["n"], note=notes, **keys)
                else:
                    _category(rows, column[member], cohort.levels(name), keys)
            for code in cohort.compared:
                _compared(rows, cohort, name, kind, mask, code, stratum, section)
    return rows.frame()


def _category(rows, column, levels, keys):
    known = column.dropna()
    n = len(known)
    rows.add({"missing": len(column) - n}, n, **keys)
    counts = known.value_counts()
    for level in levels:
        count = int(counts.get(level, 0))
        share = 100 * count / n if n else np.nan
        note = {} if n else {"pct": why_not("no observation")}
        rows.add({"n": count, "pct": share}, n, level=level, note=note, **keys)


def _compared(rows, cohort, name, kind, mask, code, stratum, section):
    used = cohort.patients.loc[mask & cohort.patients[name].notna().to_numpy(), [ARM, name]]
    groups = [used.loc[used[ARM] == arm, name] for arm in (code, cohort.reference)]
    keys = {"param": name, "stratum": stratum, "comparison": f"{code} - {cohort.reference}"}
    n = sum(len(group) for group in groups)
    short = [
        f"{patients(len(group))} in {arm}"
        for arm, group in zip((code, cohort.reference), groups, strict=True)
        if len(group) < 2
    ]
    reason = why_not(", ".join(short) or "no variation")
    if section.get("smd"):
        value = standardised_difference(*groups, category=kind == "category")
        rows.add({"smd": value}, n, note="" if np.isfinite(value) else reason, **keys)
    if section.get("tests"):
        values, note = {"p": np.nan}, reason
        if not short:
            from lungitude.statistics.groups import compare_groups

            pair = used.loc[used[ARM].isin([code, cohort.reference])]
            pair = pair.assign(**{ARM: pd.Categorical(pair[ARM], [code, cohort.reference])})
            try:
                found = compare_groups(pair, name, ARM).iloc[0]
            except ValueError as fault:  # the table goes on without this row's p
                note = why_not(str(fault).removeprefix("compare_groups: "))
            else:
                known = {name: float(found[name]) for name in ("statistic", "df")}
                values = {name: value for name, value in known.items() if np.isfinite(value)}
                values["p"], note = float(found["p"]), found["method"]
        rows.add(values, n, note=note, **keys)
