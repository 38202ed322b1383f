"""Trials that an analysis must get through: empty strata, lone patients, no variation."""

import functools

from unit.test_analysis import VISITS, Trial

from lungitude import results


def one_arm_of_a_stratum(subjects, measurements, events):
    """GOLD II has patients of CG only, who have odd numbers."""
    odd = subjects["USUBJID"].str[1:].astype(int) % 2 == 1
    second = odd & (subjects.index < 20)
    return subjects.assign(GOLDGR=second.map({True: "II", False: "I"})), measurements, events


def one_patient_of_an_arm(subjects, measurements, events):
    subjects = subjects.assign(GOLDGR="I")
    subjects.loc[[0, 1, 3, 5], "GOLDGR"] = "II"  # S000 is the only one of EG
    return subjects, measurements, events


def baseline_only(subjects, measurements, events):
    return subjects, measurements.loc[measurements["AVISIT"] == "Baseline"], events


def late_gap(subjects, measurements, events):
    """Nobody of GOLD II has a value at week 12."""
    second = subjects.loc[subjects["GOLDGR"] == "II", "USUBJID"]
    gone = measurements["USUBJID"].isin(second) & (measurements["AVISIT"] == "Week 12")
    return subjects, measurements.loc[~gone], events


MAKERS = {
    "empty stratum": lambda: Trial(edit=lambda s, m, e: (s.assign(GOLDGR="I"), m, e)),
    "one arm of a stratum": lambda: Trial(edit=one_arm_of_a_stratum),
    "one patient of an arm": lambda: Trial(edit=one_patient_of_an_arm),
    "no variation": lambda: Trial(edit=lambda s, m, e: (s, m.assign(AVAL=2.0), e)),
    "no logarithm": lambda: Trial(edit=lambda s, m, e: (s, m.assign(AVAL=-m["AVAL"]), e)),
    "baseline only": lambda: Trial(edit=baseline_only),
    "gap": lambda: Trial(edit=late_gap),
    "no covariates": lambda: Trial(edit=lambda s, m, e: (s.assign(AGE=float("nan")), m, e)),
    "six patients": lambda: Trial(n=6),
    "two patients": lambda: Trial(n=2),
    "three arms": lambda: Trial(arms=("A", "B", "C")),
    "one arm": lambda: Trial(arms=("A",)),
    "two visits": lambda: Trial(visits=VISITS[:2]),
    "one visit": lambda: Trial(visits=VISITS[:1]),
}
NAMES = list(MAKERS)


@functools.cache
def hard_trial(name):
    """One of `NAMES`."""
    return MAKERS[name]()


def check(table):
    """The table is valid, and what could not be estimated says why."""
    results.validate(table)
    lost = table.loc[table["VALUE"].isna() & (table["STAT"] != "model")]
    assert lost["NOTE"].str.contains("not estimated: ").all()
    # a reason is for readers: no name of a function, nothing empty
    assert not lost["NOTE"].str.contains(r"not estimated: (?:$|\w+_\w+:|None)").any()
    return table
