"""Comparison of the arms at each visit by tests without a model."""

import pandas as pd

from lungitude.analysis.common import (
    ARM,
    RATIO,
    Cohort,
    add_difference,
    attempted,
    chosen,
    missing,
    noted,
    planned_visits,
    scale_note,
    too_few,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.distribution import shapiro_wilk
from lungitude.statistics.frames import require_choice
from lungitude.statistics.groups import compare_groups, compare_many

METHOD = "arm_tests"
# Test of all arms that goes with the test of two.
SEVERAL = {"auto": "welch", "welch": "welch", "student": "anova", "mann-whitney": "kruskal"}
METHODS = (*SEVERAL, "published")
STATS = ("estimate", "statistic", "df", "p", "ci_low", "ci_high")
GROUPS = {
    "groups_statistic": "statistic",
    "groups_df1": "df1",
    "groups_df2": "df2",
    "groups_p": "p",
}
RANK_RATIO = "exponential of the Hodges-Lehmann shift"


def arm_tests(
    adsl, records, parameters, section, arms, visits, strata=(), characteristics=(), confidence=0.95
):
    """Compare the values of the arms at each visit, the baseline included, in each stratum.

    For the arguments see `lungitude.analysis.within_arm.within_arm`; `section` has population
    parameters visits method (auto, student, welch, mann-whitney, published: see
    `lungitude.statistics.groups.compare_groups`).

    Returns
    -------
    DataFrame
        Results table. By COMPARISON (arm - reference) estimate statistic df p ci_low ci_high with
        the test as NOTE; mann-whitney has no df, and its estimate is the Hodges-Lehmann shift.
        With more than two arms also groups_statistic groups_df1 groups_df2 groups_p of all arms
        (Welch, ANOVA or Kruskal-Wallis, which has no df2). Parameters with a TRANSFORM are
        analysed on the log scale; the ratio is its exponential.
    """
    method = section.get("method", "auto")
    require_choice(method, METHODS, "method", METHOD)
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    planned = planned_visits(section, cohort)
    for param in chosen(section.get("parameters", "all"), parameters):
        transform = transform_of(parameters, param)
        for visit in planned:
            if (param, visit) not in cohort.measured:
                continue
            data = pd.DataFrame({ARM: cohort.arm, param: cohort.value(param, visit, transform)})
            observed = data.loc[~pd.isna(cohort.value(param, visit))].index
            for stratum, _, mask in cohort.strata():
                here = data.loc[observed[mask[observed]]]
                used = here.dropna()
                keys = {
                    "param": param,
                    "visit": visit,
                    "place": cohort.places[visit],
                    "stratum": stratum,
                }
                scale = scale_note(transform, len(here) - len(used))
                for code in cohort.compared:
                    _pair(
                        rows, used, code, cohort.reference, method, confidence,
                        transform, scale, {**keys, "comparison": f"{code} - {cohort.reference}"},
                    )  # fmt: skip
                if len(cohort.compared) > 1:
                    _several(rows, used, cohort.arms, method, scale, keys)
    return rows.frame()


def _pair(rows, data, code, reference, method, confidence, transform, scale, keys):
    """Add the comparison of an arm with the reference."""
    order = [code, reference]
    pair = data.loc[data[ARM].isin(order)]
    pair = pair.assign(**{ARM: pd.Categorical(pair[ARM], order)})
    said = too_few(pair[ARM].value_counts(), order)
    found = None
    if not said:
        found, said = attempted(compare_groups, pair, keys["param"], ARM, method, confidence)
    if found is None:
        stats = [*STATS, *(RATIO if transform != "none" else ())]
        values, note = missing(stats, why_not(said))
        rows.add(values, len(pair), note=note, **keys)
        return
    row = found.iloc[0]
    ranks = row["method"] == "mann-whitney"
    values = {name: row[name] for name in STATS if not (ranks and name == "df")}
    note = "; ".join(filter(None, [row["method"], scale, said]))
    add_difference(rows, values, len(pair), note, transform, RANK_RATIO if ranks else None, **keys)


def _several(rows, data, arms, method, scale, keys):
    """Add the test of all arms that have two patients or more."""
    param, count = keys["param"], data[ARM].value_counts()
    kept = [code for code in arms if count.get(code, 0) >= 2]
    used = data.loc[data[ARM].isin(kept)]
    absent = too_few(count, arms)
    found, said = None, absent
    if len(kept) > 1:
        test = SEVERAL.get(method) or ("anova" if _normal(used, param) else "kruskal")
        found, said = attempted(compare_many, used, param, ARM, test)
    if found is None:
        values, note = missing(GROUPS, why_not(said))
        rows.add(values, len(used), note=note, **keys)
        return
    row = found.iloc[0]
    stats = {
        stat: row[name]
        for stat, name in GROUPS.items()
        if not (test == "kruskal" and name == "df2")
    }
    left = f"left out: {absent}" if absent else ""
    values, notes = noted(stats, "; ".join(filter(None, [test, scale, left, said])))
    rows.add(values, len(used), note=notes, **keys)


def _normal(data, param):
    """Whether no arm's values are shown not to be normal (Shapiro-Wilk p above 0.05)."""
    tests = [attempted(shapiro_wilk, part.to_numpy())[0] for _, part in data.groupby(ARM)[param]]
    return all(found is not None and found[1] > 0.05 for found in tests)
