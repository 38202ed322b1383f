import numpy as np
import pandas as pd
import pytest
from unit.hard_trials import NAMES, check, hard_trial
from unit.test_analysis import Trial, pick, value

from lungitude.analysis.rm_anova import rm_anova
from lungitude.statistics.rm_anova import rm_anova as repeated_measures

SOURCES = ["TRT01P", "AVISIT", "TRT01P:AVISIT"]


@pytest.fixture(scope="module")
def trial():
    def edit(subjects, measurements, events):
        gone = (measurements["AVISIT"] == "Week 6") & (measurements["USUBJID"] < "S010")
        return subjects, measurements.loc[~gone], events

    return Trial(edit=edit)


def test_is_the_public_one(trial):
    table = trial.run(rm_anova, {})
    for stratum, level in (("gold1", "I"), ("gold2", "II")):
        data = pick(trial.records[1], GOLDGR=level)
        with pytest.warns(UserWarning, match="left out"):
            want = repeated_measures(data, between="TRT01P")
        assert list(want["source"]) == SOURCES
        for row in want.to_dict("records"):
            keys = {"PARAMCD": "FEV1", "STRATUM": stratum, "LEVEL": row["source"]}
            own = pick(table, **keys)
            for found in own.itertuples():
                assert np.isclose(found.VALUE, row[found.STAT], rtol=1e-9), found
            epsilon = {"gg_eps", "p_gg", "hf_eps", "p_hf", "mauchly_w", "mauchly_p"}
            assert (epsilon <= set(own["STAT"])) == (row["source"] != "TRT01P")
            assert set(own["N"]) == {want.attrs["n"]}
            assert set(own["NOTE"]) == {
                f"{want.attrs['n_dropped']} of 40 patients left out as incomplete"
            }


def test_who_has_no_value_at_all_is_left_out_too():
    def edit(subjects, measurements, events):
        return subjects, measurements.loc[measurements["USUBJID"] != "S003"], events

    note = pick(Trial(edit=edit).run(rm_anova, {}), STRATUM="all", PARAMCD="FEV1")["NOTE"]
    assert set(note) == {"1 of 80 patients left out as incomplete"}


def test_log_scale(trial):
    data = trial.records[0].assign(AVAL=lambda table: np.log1p(table["AVAL"]))
    with pytest.warns(UserWarning, match="left out"):
        want = repeated_measures(data, between="TRT01P").set_index("source")
    table = pick(trial.run(rm_anova, {}), PARAMCD="CACS", STRATUM="all")
    for source in SOURCES:
        assert np.isclose(value(table, LEVEL=source, STAT="F"), want.loc[source, "F"])
    assert table["NOTE"].str.endswith("log1p scale").all()


def test_two_visits_have_no_sphericity():
    table = hard_trial("two visits").run(rm_anova, {})
    assert set(table["STAT"]) == {"F", "df1", "df2", "p", "ges"}
    assert table["VALUE"].notna().all()
    listed = hard_trial("gap").run(rm_anova, {"visits": ["Baseline", "Week 6"]})
    assert set(listed["STAT"]) == set(table["STAT"])


def test_one_arm_has_visits_only():
    trial = hard_trial("one arm")
    table = pick(trial.run(rm_anova, {}), STRATUM="all", PARAMCD="FEV1")
    assert set(table["LEVEL"]) == {"AVISIT"}
    want = repeated_measures(trial.records[1]).iloc[0]
    for row in table.itertuples():
        assert np.isclose(row.VALUE, want[row.STAT])


def test_three_arms_without_a_lone_patient():
    trial = Trial(n=81, arms=("EG", "XG", "CG"))
    alone = trial.adsl["TRT01P"] == "XG"
    trial.adsl.loc[alone & (trial.adsl["USUBJID"] != "S001"), "ITTFL"] = "N"
    rows = pick(trial.run(rm_anova, {}), STRATUM="all", PARAMCD="FEV1", LEVEL="TRT01P", STAT="df1")
    assert rows["VALUE"].tolist() == [1]
    assert rows["N"].tolist() == [54]
    assert rows["NOTE"].iloc[0].endswith("left out: 1 patient in XG")


def test_reasons():
    table = hard_trial("one arm of a stratum").run(rm_anova, {})
    rows = pick(table, STRATUM="gold2", PARAMCD="FEV1", STAT="F")
    assert rows["NOTE"].str.endswith("not estimated: no patient in EG").all()
    rows = pick(hard_trial("no variation").run(rm_anova, {}), STAT="F", PARAMCD="FEV1")
    assert rows["NOTE"].str.endswith("not estimated: no variation of AVAL").all()
    rows = pick(hard_trial("baseline only").run(rm_anova, {}), STAT="F")
    assert rows["NOTE"].str.endswith("not estimated: one visit").all()


@pytest.mark.parametrize("name", NAMES)
def test_hard_trials(name):
    check(hard_trial(name).run(rm_anova, {}))


def test_order_of_the_visits_of_the_plan_does_not_matter(trial):
    one = trial.run(rm_anova, {"visits": ["Week 12", "Baseline", "Week 6"]})
    pd.testing.assert_frame_equal(one, trial.run(rm_anova, {}))
