"""Adverse events: patients with an event and events, by arm, system organ class and term."""

import numpy as np
import pandas as pd

from lungitude import results
from lungitude.analysis.adherence import add_share
from lungitude.analysis.common import Cohort
from lungitude.results import Rows

METHOD = "adverse"
# Kinds of events by LEVEL: the column of ADAE and the value that makes an event one.
KINDS = {
    "serious": ("AESER", "Y"),
    "related": ("AREL", "Y"),
    "severe": ("AESEV", "SEVERE"),
    "discontinuation": ("AEACN", "DRUG WITHDRAWN"),
    "fatal": ("AEOUT", "FATAL"),
}
BOTH = "serious_related"
# Columns whose empty cells are counted.
RECORDED = ("AESER", "AREL", "AESEV", "AEACN")
SOC, TERM = "soc:", "pt:"


def adverse(adsl, adae, section, arms, visits, strata=()):
    """Count patients with adverse events, and events.

    Parameters
    ----------
    adsl : DataFrame
    adae : DataFrame or None
        Of `lungitude.safety.adae`; None where the trial keeps no adverse events, which gives no
        rows.
    section : dict
        Of plan.yaml: population, emergent.
    arms, visits, strata : list of dict
        As in config.yaml.

    Returns
    -------
    DataFrame
        Results table: n patients with at least one event, pct of all patients of the group (N) and
        events, by GROUP (an arm or TOTAL) and LEVEL: any; those of `KINDS` and serious_related
        where the trial recorded what they need; not_recorded:<column> where a cell of `RECORDED`
        is empty or UNKNOWN though the trial records it; not_emergent where such events were left
        out; then soc:<class> and below it pt:<class>:<term>. A patient counts once a level. Classes
        and terms stand by falling number of patients of the stratum, then of events, then by name;
        those of the whole population have rows in every stratum and group, also with 0.
    """
    if adae is None:
        return results.empty()
    cohort = Cohort(adsl, (), section.get("population", "SAF"), arms, visits, strata)
    rows = Rows(METHOD, cohort.population)
    place = pd.Series(cohort.patients.index, index=cohort.patients["USUBJID"])
    events = adae.loc[(adae["ANL01FL"] == "Y") & adae["USUBJID"].isin(place.index)]
    emergent = events["TRTEMFL"] == "Y"
    if not section.get("emergent", True):
        emergent |= True
    levels = _levels(events.loc[emergent])
    terms = _terms(events.loc[emergent])
    early = events.loc[~emergent]
    if len(early):
        levels["not_emergent"] = np.ones(len(early), dtype=bool)
    patient = place[events.loc[emergent, "USUBJID"]].to_numpy(dtype=int)
    before = place[early["USUBJID"]].to_numpy(dtype=int)
    for stratum, _, mask in cohort.strata():
        groups = cohort.groups(mask)
        for level, flag in {**levels, **_sorted(terms, patient, mask)}.items():
            hit = (before if level == "not_emergent" else patient)[flag]
            for group, member in groups.items():
                of_group = hit[member[hit]]
                add_share(
                    rows,
                    len(np.unique(of_group)),
                    int(member.sum()),
                    more={"events": len(of_group)},
                    stratum=stratum,
                    group=group,
                    level=level,
                )
    return rows.frame()


def _levels(events):
    """Return flags of events by LEVEL, without kinds that the trial never recorded."""
    found = {"any": np.ones(len(events), dtype=bool)}
    known = [name for name, (column, _) in KINDS.items() if _recorded(events, column)]
    for name in known:
        column, value = KINDS[name]
        found[name] = (events[column] == value).to_numpy(dtype=bool)
        if name == "related" and "serious" in known:
            found[BOTH] = found["serious"] & found["related"]
    for column in RECORDED:
        gap = ~_known(events[column]).to_numpy()
        if gap.any() and _recorded(events, column):
            found[f"not_recorded:{column}"] = gap
    return found


def _recorded(events, column):
    """Whether a column has any entry; without an event there is nothing to record."""
    return not len(events) or bool(_known(events[column]).any())


def _known(cells):
    return cells.notna() & (cells != "UNKNOWN")


def _terms(events):
    """Return flags of events by system organ class, and below each by preferred term."""
    classes, names = events["AEBODSYS"].to_numpy(), events["AEDECOD"].to_numpy()
    found = {}
    for name in sorted(set(classes)):
        own = classes == name
        found[name] = (own, {term: own & (names == term) for term in sorted(set(names[own]))})
    return found


def _sorted(terms, patient, mask):
    """Return flags of classes and terms by LEVEL, the most frequent in the stratum first."""

    def frequency(item):
        hit = patient[item[1]]
        hit = hit[mask[hit]]
        return -len(np.unique(hit)), -len(hit), item[0]

    found = {}
    flags = {name: flag for name, (flag, _) in terms.items()}
    for name, flag in sorted(flags.items(), key=frequency):
        found[f"{SOC}{name}"] = flag
        for term, own in sorted(terms[name][1].items(), key=frequency):
            found[f"{TERM}{name}:{term}"] = own
    return found
