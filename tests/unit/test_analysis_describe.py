import numpy as np
import pytest
from scipy import stats
from unit.hard_trials import NAMES, check, hard_trial
from unit.test_analysis import Trial, pick, value

from lungitude.analysis.describe import describe


def test_what_describes_follows_shapiro_wilk():
    trial = Trial()
    table = trial.run(describe, {"by_normality": True})
    seen = set()
    for row in pick(table, STAT="normal").itertuples():
        records = trial.records[row.PARAMCD == "FEV1"]
        data = pick(records, AVISIT=row.AVISIT)
        if row.STRATUM != "all":
            data = pick(data, GOLDGR={"gold1": "I", "gold2": "II"}[row.STRATUM])
        p = data.groupby("TRT01P")[row.LEVEL].apply(lambda values: stats.shapiro(values).pvalue)
        keys = {
            column: getattr(row, column) for column in ("PARAMCD", "AVISIT", "STRATUM", "LEVEL")
        }
        for code in ("EG", "CG"):
            assert np.isclose(value(table, STAT="shapiro_p", GROUP=code, **keys), p[code])
        normal = bool((p > 0.05).all())
        shown = "mean (SD)" if normal else "median (Q1, Q3)"
        assert (normal, len(data), shown) == (row.VALUE, row.N, row.NOTE)
        seen.add(row.VALUE)
    assert seen == {0.0, 1.0}


def test_nothing_is_tested_unless_the_plan_asks():
    trial = Trial(n=12)
    plain = trial.run(describe, {})
    assert not set(plain["STAT"]) & {"normal", "shapiro_p"}
    more = trial.run(describe, {"by_normality": True})
    same = more.loc[~more["STAT"].isin(["normal", "shapiro_p"])].reset_index(drop=True)
    assert plain.equals(same)


def test_an_arm_that_cannot_be_tested_is_not_normal():
    table = hard_trial("one patient of an arm").run(describe, {"by_normality": True})
    keys = {"STRATUM": "gold2", "PARAMCD": "FEV1", "AVISIT": "Week 12", "LEVEL": "AVAL"}
    row = pick(table, STAT="shapiro_p", GROUP="EG", **keys).iloc[0]
    assert row["NOTE"] == "not estimated: the Shapiro-Wilk test needs 3 to 5000 values, not 1"
    assert value(table, STAT="normal", **keys) == 0
    table = hard_trial("empty stratum").run(describe, {"by_normality": True})
    row = pick(table, STAT="normal", **keys).iloc[0]
    assert (row["N"], row["NOTE"]) == (0, "not estimated: no observation")


@pytest.mark.parametrize("name", NAMES)
def test_hard_trials(name):
    check(hard_trial(name).run(describe, {"by_normality": True}))
