import numpy as np
import pandas as pd
import pytest
from scipy import stats
from unit.hard_trials import NAMES, check, hard_trial
from unit.test_analysis import Trial, pick, value

from lungitude.analysis.within_arm import within_arm
from lungitude.statistics.groups import paired
from lungitude.statistics.multiplicity import adjust

KEYS = {"STRATUM": "gold1", "GROUP": "EG"}


@pytest.fixture(scope="module")
def trial():
    def edit(subjects, measurements, events):
        gone = (measurements["AVISIT"] == "Week 6") & (measurements["USUBJID"] < "S010")
        return subjects, measurements.loc[~gone], events

    return Trial(edit=edit)


def wide(trial, code="FEV1"):
    rows = pd.concat(trial.records)
    rows = rows.loc[(rows["PARAMCD"] == code) & (rows["TRT01P"] == "EG") & (rows["GOLDGR"] == "I")]
    return rows.pivot_table("AVAL", "USUBJID", "AVISIT")


@pytest.mark.parametrize("method", ["t", "wilcoxon"])
def test_is_the_paired_test(trial, method):
    table = trial.run(within_arm, {"method": method})
    pairs = [("Baseline", "Week 6"), ("Baseline", "Week 12"), ("Week 6", "Week 12")]
    p = []
    for before, after in pairs:
        want = paired(wide(trial), before, after, method).iloc[0]
        keys = {**KEYS, "PARAMCD": "FEV1", "COMPARISON": f"{after} - {before}"}
        for stat in ("estimate", "statistic", "p", "ci_low", "ci_high"):
            assert np.isclose(value(table, STAT=stat, **keys), want[stat], rtol=1e-12)
        rows = pick(table, STAT="p", **keys).iloc[0]
        assert (rows["N"], rows["NOTE"], rows["AVISIT"]) == (want["n"], method, after)
        data = wide(trial)
        change = data[after] - data[before]
        assert np.isclose(value(table, STAT="sd", **keys), change.std())
        assert pick(table, STAT="df", **keys).empty == (method == "wilcoxon")
        if method == "t":
            assert np.isclose(value(table, STAT="se", **keys), change.sem())
            assert value(table, STAT="df", **keys) == change.count() - 1
        p.append(want["p"])
    keys = {**KEYS, "PARAMCD": "FEV1", "FAMILY": "within_arm"}
    adjusted = [
        value(table, STAT="p_adj", COMPARISON=f"{after} - {before}", **keys)
        for before, after in pairs
    ]
    assert np.allclose(adjusted, adjust(p, "bh"))
    assert set(pick(table, STAT="p_adj", **keys)["NOTE"]) == {"bh, 3 tests"}


def test_published_looks_at_the_differences():
    def edit(subjects, measurements, events):
        skewed = measurements["AVISIT"] == "Week 12"
        power = measurements["AVAL"] ** np.where(skewed, 6, 1)
        return subjects, measurements.assign(AVAL=power), events

    trial = Trial(edit=edit, effect=0)
    table = pick(trial.run(within_arm, {"method": "published"}), STRATUM="gold1", GROUP="EG")
    data, seen = wide(trial), set()
    for row in pick(table, STAT="p", PARAMCD="FEV1").itertuples():
        after, before = row.COMPARISON.split(" - ")
        test = stats.shapiro(data[after] - data[before])
        method = "t" if test.pvalue > 0.05 else "wilcoxon"
        assert method == row.NOTE
        assert np.isclose(row.VALUE, paired(data, before, after, method)["p"][0])
        seen.add(method)
    assert seen == {"t", "wilcoxon"}


def test_log_scale_has_a_ratio(trial):
    table = trial.run(within_arm)
    keys = {**KEYS, "PARAMCD": "CACS", "COMPARISON": "Week 12 - Baseline"}
    change = np.log1p(wide(trial, "CACS"))
    change = change["Week 12"] - change["Baseline"]
    assert np.isclose(value(table, STAT="estimate", **keys), change.mean())
    assert np.isclose(value(table, STAT="ratio", **keys), np.exp(change.mean()))
    assert pick(table, STAT="p", **keys)["NOTE"].iloc[0] == "t; log1p scale"
    assert pick(table, STAT="ratio", PARAMCD="FEV1").empty
    ranks = pick(trial.run(within_arm, {"method": "wilcoxon"}), STAT="ratio", **keys)
    assert set(ranks["NOTE"]) == {"exponential of the Hodges-Lehmann estimate"}


def test_who_has_no_logarithm_is_counted():
    def edit(subjects, measurements, events):
        low = (measurements["USUBJID"] == "S000") & (measurements["PARAMCD"] == "CACS")
        measurements.loc[low, "AVAL"] = -2.0
        return subjects, measurements, events

    row = pick(
        Trial(edit=edit).run(within_arm),
        STAT="p", STRATUM="all", PARAMCD="CACS", GROUP="EG", COMPARISON="Week 6 - Baseline",
    ).iloc[0]  # fmt: skip
    assert (row["N"], row["NOTE"]) == (39, "t; log1p scale, 1 patient left out without a logarithm")


def test_visits_and_adjustment_of_the_plan(trial):
    table = trial.run(within_arm, {"visits": ["Week 12", "Baseline"], "adjust": "none"})
    assert set(table["COMPARISON"]) == {"Week 12 - Baseline"}
    rows = pick(table, STAT="p_adj")
    assert set(rows["NOTE"]) == {"not adjusted"}
    assert np.array_equal(rows["VALUE"], pick(table, STAT="p")["VALUE"])


def test_a_lost_test_is_not_counted():
    table = hard_trial("gap").run(within_arm)
    rows = pick(table, STRATUM="gold2", PARAMCD="FEV1", GROUP="EG", STAT="p_adj")
    rows = rows.set_index("COMPARISON")
    assert rows.loc["Week 6 - Baseline", "NOTE"] == "bh, 1 of 3 planned tests"
    assert np.isnan(rows.loc["Week 12 - Week 6", "VALUE"])
    row = pick(table, STRATUM="gold2", PARAMCD="FEV1", GROUP="EG", STAT="p").iloc[-1]
    assert row["NOTE"] == (
        "t; not estimated: 0 complete pairs of 'Week 6' and 'Week 12', 2 are needed"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["t", "wilcoxon", "published"])
def test_hard_trials(name, method):
    check(hard_trial(name).run(within_arm, {"method": method}))


def test_unknown_method_is_named(trial):
    with pytest.raises(ValueError, match="within_arm: method 'sign'"):
        trial.run(within_arm, {"method": "sign"})
