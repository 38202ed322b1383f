"""Repeated-measures analysis of variance of every parameter, arm x visit."""

import numpy as np
import pandas as pd

from lungitude.analysis.common import (
    ARM,
    Cohort,
    attempted,
    chosen,
    missing,
    noted,
    patients,
    planned_visits,
    scale_note,
    too_few,
    transform_of,
    why_not,
)
from lungitude.results import Rows
from lungitude.statistics.rm_anova import rm_anova as repeated_measures

METHOD = "rm_anova"
VISIT = "AVISIT"
BETWEEN = "F df1 df2 p ges".split()
WITHIN = "F df1 df2 p gg_eps p_gg hf_eps p_hf mauchly_w mauchly_p ges".split()


def rm_anova(adsl, records, parameters, section, arms, visits, strata=(), characteristics=()):
    """Test arm, visit and arm x visit for all parameters and strata, over complete cases.

    For the arguments see `lungitude.analysis.within_arm.within_arm`; `section` has population
    parameters visits.

    Returns
    -------
    DataFrame
        Results table. By LEVEL (the source: TRT01P, AVISIT, TRT01P:AVISIT) F df1 df2 p ges, and
        of the last two, where there are more than two visits, gg_eps p_gg hf_eps p_hf mauchly_w
        mauchly_p. NOTE says how many patients are left out as incomplete; N is the complete ones.
        With one arm only AVISIT is tested.
    """
    cohort = Cohort(
        adsl, records, section.get("population", "ITT"), arms, visits, strata, characteristics
    )
    rows = Rows(METHOD, cohort.population)
    planned = planned_visits(section, cohort)
    for param in chosen(section.get("parameters", "all"), parameters):
        transform = transform_of(parameters, param)
        there = [visit for visit in planned if (param, visit) in cohort.measured]
        if not there:
            continue
        values = np.column_stack([cohort.value(param, visit, transform) for visit in there])
        for stratum, _, mask in cohort.strata():
            _add(rows, cohort, param, stratum, values, mask, there, scale_note(transform))
    return rows.frame()


def _add(rows, cohort, param, stratum, values, mask, there, scale):
    """Add the rows of a parameter in a stratum."""
    whole = mask & ~np.isnan(values).any(axis=1)
    count = pd.Series(cohort.arm[whole]).value_counts()
    kept = [code for code in cohort.arms if count.get(code, 0) >= 2]
    used = whole & np.isin(cohort.arm, kept)
    several = len(cohort.arms) > 1
    sources = [ARM, VISIT, f"{ARM}:{VISIT}"] if several else [VISIT]
    incomplete, n = int(mask.sum()) - int(whole.sum()), int(used.sum())
    notes = [f"{incomplete} of {patients(int(mask.sum()))} left out as incomplete", scale]
    short = too_few(count, cohort.arms)
    found, said = None, "one visit" if len(there) < 2 else short
    if len(there) > 1 and len(kept) > several:
        notes.append(f"left out: {short}" if short else "")
        data = _long(cohort, values, used, there)
        found, said = attempted(
            repeated_measures, data, "AVAL", "USUBJID", VISIT, ARM if several else None
        )
        notes.append(said if found is not None else "")
        found = None if found is None else found.set_index("source")
    note = "; ".join(filter(None, notes))
    for source in sources:
        stats = WITHIN if source != ARM and len(there) > 2 else BETWEEN
        if found is None:
            stats, own = missing(stats, f"{note}; {why_not(said)}")
        else:
            stats, own = noted({name: found.loc[source, name] for name in stats}, note)
        rows.add(stats, n, param=param, stratum=stratum, level=source, note=own)


def _long(cohort, values, used, there):
    """One row a complete patient and visit."""
    size = int(used.sum())
    return pd.DataFrame(
        {
            "USUBJID": np.repeat(np.flatnonzero(used), len(there)),
            VISIT: pd.Categorical(np.tile(there, size), there),
            ARM: np.repeat(cohort.arm[used], len(there)),
            "AVAL": values[used].ravel(),
        }
    )
