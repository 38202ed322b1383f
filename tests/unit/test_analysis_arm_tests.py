import numpy as np
import pandas as pd
import pytest
from scipy import stats
from unit.hard_trials import NAMES, check, hard_trial
from unit.test_analysis import Trial, pick, value

from lungitude.analysis.arm_tests import arm_tests
from lungitude.statistics.groups import compare_groups, compare_many


@pytest.fixture(scope="module")
def trial():
    return Trial()


def at(trial, visit, stratum="I", code="FEV1"):
    rows = pick(pd.concat(trial.records), AVISIT=visit, GOLDGR=stratum, PARAMCD=code)
    return rows.assign(TRT01P=pd.Categorical(rows["TRT01P"], [arm["code"] for arm in trial.arms]))


@pytest.mark.parametrize("method", ["auto", "student", "welch", "mann-whitney", "published"])
def test_is_the_comparison_of_two_groups(trial, method):
    table = trial.run(arm_tests, {"method": method})
    for visit in ("Baseline", "Week 6", "Week 12"):
        data = at(trial, visit)
        want = compare_groups(data, "AVAL", "TRT01P", method).iloc[0]
        keys = {"STRATUM": "gold1", "PARAMCD": "FEV1", "AVISIT": visit, "COMPARISON": "EG - CG"}
        for stat in ("estimate", "statistic", "p", "ci_low", "ci_high"):
            assert np.isclose(value(table, STAT=stat, **keys), want[stat], rtol=1e-12)
        row = pick(table, STAT="p", **keys).iloc[0]
        assert (row["N"], row["NOTE"]) == (want["n1"] + want["n2"], want["method"])
        assert pick(table, STAT="df", **keys).empty == (want["method"] == "mann-whitney")
    assert value(table, STAT="estimate", **keys) > 0  # the arm gained, the reference did not


def test_log_scale_has_a_ratio(trial):
    table = trial.run(arm_tests, {"visits": ["Week 12"], "method": "welch"})
    assert set(table["AVISIT"]) == {"Week 12"}
    keys = {"STRATUM": "all", "PARAMCD": "CACS", "COMPARISON": "EG - CG"}
    rows = pd.concat([at(trial, "Week 12", level, "CACS") for level in ("I", "II")])
    means = np.log1p(rows["AVAL"]).groupby(rows["TRT01P"], observed=True).mean()
    assert np.isclose(value(table, STAT="ratio", **keys), np.exp(means["EG"] - means["CG"]))
    assert pick(table, STAT="p", **keys)["NOTE"].iloc[0] == "welch; log1p scale"
    ranks = trial.run(arm_tests, {"method": "mann-whitney", "visits": ["Week 12"]})
    assert set(pick(ranks, STAT="ratio")["NOTE"]) == {"exponential of the Hodges-Lehmann shift"}


@pytest.mark.parametrize(
    ("method", "several"),
    [("auto", "welch"), ("student", "anova"), ("mann-whitney", "kruskal"), ("published", None)],
)
def test_three_arms(method, several):
    trial = hard_trial("three arms")
    table = trial.run(arm_tests, {"method": method})
    assert list(dict.fromkeys(pick(table, STAT="estimate")["COMPARISON"])) == ["A - C", "B - C"]
    for visit in ("Baseline", "Week 6", "Week 12"):
        data = at(trial, visit)
        if method == "published":
            normal = data.groupby("TRT01P", observed=True)["AVAL"].apply(
                lambda v: stats.shapiro(v).pvalue > 0.05
            )
            several = "anova" if normal.all() else "kruskal"
        want = compare_many(data, "AVAL", "TRT01P", several).iloc[0]
        keys = {"STRATUM": "gold1", "PARAMCD": "FEV1", "AVISIT": visit}
        for stat in ("statistic", "df1", "p"):
            assert np.isclose(value(table, STAT=f"groups_{stat}", **keys), want[stat])
        assert pick(table, STAT="groups_p", **keys)["NOTE"].iloc[0] == several
        assert pick(table, STAT="groups_df2", **keys).empty == (several == "kruskal")


def test_one_arm_has_nothing_to_compare():
    assert hard_trial("one arm").run(arm_tests, {}).empty


def test_lone_patients_are_named():
    table = hard_trial("one patient of an arm").run(arm_tests, {})
    rows = pick(table, STRATUM="gold2", STAT="estimate")
    assert set(rows["NOTE"]) == {"not estimated: 1 patient in EG"}
    rows = pick(hard_trial("no variation").run(arm_tests, {}), STAT="p", PARAMCD="FEV1")
    assert rows["NOTE"].str.contains("no variation").all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["auto", "mann-whitney", "published"])
def test_hard_trials(name, method):
    check(hard_trial(name).run(arm_tests, {"method": method}))
