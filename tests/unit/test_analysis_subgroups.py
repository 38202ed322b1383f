"""Subgroups, and ANCOVA of several arms or by ranks, driven by a plan."""

import runpy

import numpy as np
import pandas as pd
import pytest
from unit.test_analysis import SECTION, Trial, pick, value

from helpers import ROOT
from lungitude import results
from lungitude.analysis.ancova import ancova
from lungitude.analysis.subgroups import subgroups
from lungitude.statistics import ancova as ancova_statistic
from lungitude.statistics.ancova import rank_ancova
from lungitude.statistics.arms import dunnett, stratum_contrasts
from lungitude.statistics.arms import subgroups as subgroups_statistic

FACTORS = {**SECTION, "factors": ["SEX", "GOLDGR"]}
KEYS = {"PARAMCD": "FEV1", "AVISIT": "Week 12", "STRATUM": "all"}
STATS = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high")


@pytest.fixture(scope="module")
def trial():
    return Trial()


@pytest.fixture(scope="module")
def three():
    return Trial(n=120, arms=("A", "B", "C"))


def week12(trial, dataset=1):
    data = pick(trial.records[dataset], AVISIT="Week 12")
    return data.merge(trial.adsl[["USUBJID", "SEX"]])


def test_subgroups_are_the_public_ones(trial):
    table = trial.run(subgroups, FACTORS)
    data = week12(trial)
    terms = ["BASE", "AGE", "SEX", "GOLDGR"]
    want = subgroups_statistic(data, "CHG", "TRT01P", ["SEX", "GOLDGR"], terms, reference="CG")
    for _, row in want.iterrows():
        level = "all" if row["factor"] == "all" else f"{row['factor']}={row['level']}"
        for stat in STATS:
            ours = value(table, COMPARISON="EG - CG", LEVEL=level, STAT=stat, **KEYS)
            assert np.isclose(ours, row[stat])
        assert set(pick(table, COMPARISON="EG - CG", LEVEL=level, **KEYS)["N"]) == {row["n"]}
        keys = {"LEVEL": level, "STAT": "n", **KEYS}
        assert value(table, GROUP="EG", **keys) == row["n_arm"]
        assert value(table, GROUP="CG", **keys) == row["n_reference"]
        if row["factor"] != "all":
            keys = {"LEVEL": row["factor"], "STAT": "interaction_p", **KEYS}
            assert np.isclose(value(table, **keys), row["interaction_p"])
    assert list(dict.fromkeys(pick(table, STAT="n", **KEYS)["LEVEL"])) == [
        "all",
        "SEX=M",  # the order of config.yaml
        "SEX=F",
        "GOLDGR=I",
        "GOLDGR=II",
    ]
    note = pick(table, STAT="model", LEVEL="SEX", **KEYS)["NOTE"].iloc[0]
    assert note.startswith("CHG ~ TRT01P * SEX + BASE + AGE + GOLDGR; least squares, residual df")


def test_subgroups_in_a_stratum(trial):
    table = pick(trial.run(subgroups, FACTORS), STRATUM="gold2")
    part = pick(week12(trial), GOLDGR="II")
    want = stratum_contrasts(part, "CHG", "TRT01P", "SEX", ["BASE", "AGE"], reference="CG")
    keys = {**KEYS, "STRATUM": "gold2", "STAT": "estimate", "LEVEL": "SEX=F"}
    assert np.isclose(value(table, **keys), want.contrasts.set_index("SEX").loc["F", "estimate"])
    # the factor that defines the stratum has one level there
    assert not table["LEVEL"].str.startswith("GOLDGR").any()


def test_interaction_is_that_of_the_ancova(trial):
    ours, theirs = trial.run(subgroups, FACTORS), trial.run(ancova)
    for stat in ("interaction_F", "interaction_df1", "interaction_df2", "interaction_p"):
        keys = {**KEYS, "LEVEL": "GOLDGR", "STAT": stat}
        assert np.isclose(value(ours, **keys), value(theirs, **keys))


def test_subgroups_on_the_log_scale(trial):
    table = pick(trial.run(subgroups, FACTORS), PARAMCD="CACS", LEVEL="SEX=M", STRATUM="all")
    ratio = value(table, AVISIT="Week 6", STAT="ratio_ci_low")
    assert np.isclose(ratio, np.exp(value(table, AVISIT="Week 6", STAT="ci_low")))


def test_factor_of_numbers_is_refused_with_a_note(trial):
    table = trial.run(subgroups, {**SECTION, "factors": ["AGE", "SEX"]})
    row = pick(table, LEVEL="AGE", **KEYS)
    assert row["NOTE"].tolist() == [
        "not estimated: AGE holds numbers; a factor of subgroups needs categories"
    ]
    assert pick(table, LEVEL="SEX", STAT="interaction_p", **KEYS)["VALUE"].notna().all()
    with pytest.raises(ValueError, match="'HEIGHT' is neither BASE nor a column"):
        trial.run(subgroups, {**SECTION, "factors": ["HEIGHT"]})


def test_bad_subgroups():
    """A level with one patient of an arm, an empty one, and patients without a level."""

    def edit(subjects, measurements, events):
        number = subjects["USUBJID"].str[1:].astype(int)
        grade = pd.Series(np.where(number < 40, "I", "II"))
        grade[number.isin([70, 71, 73, 75])] = "III"  # S070 is the only one of EG
        grade[number.isin([76, 77])] = None
        return subjects.assign(GOLDGR=grade), measurements, events

    trial = Trial(levels=("I", "II", "III", "IV"), edit=edit)
    table = trial.run(subgroups, {**FACTORS, "strata_in_model": False})
    rows = pick(table, STAT="estimate", **KEYS).set_index("LEVEL")
    assert rows.loc[["all", "SEX=M", "GOLDGR=I", "GOLDGR=II"], "VALUE"].notna().all()
    assert rows.loc["GOLDGR=III", "NOTE"] == "not estimated: 1 patient in EG"
    assert rows.loc["GOLDGR=IV", "NOTE"] == "not estimated: no patient in EG, no patient in CG"
    left = pick(table, STAT="left_out", LEVEL="GOLDGR", **KEYS)
    assert (left["VALUE"].tolist(), set(left["NOTE"])) == ([1, 1], {"GOLDGR missing"})
    assert set(pick(table, LEVEL="GOLDGR", STAT="interaction_df1", **KEYS)["N"]) == {78}
    # strata without a patient, and with one of an arm, do not stop the others
    for stratum, reason in (
        ("gold3", "not estimated: 1 patient in EG"),
        ("gold4", "not estimated: no patient in EG, no patient in CG"),
    ):
        keys = {**KEYS, "STRATUM": stratum, "STAT": "estimate", "LEVEL": "all"}
        assert set(pick(table, **keys)["NOTE"]) == {reason}


def test_factor_that_is_not_crossed_with_the_arms():
    """Women are all of one arm, so nothing tells whether the effect depends on the sex."""

    def edit(subjects, measurements, events):
        number = subjects["USUBJID"].str[1:].astype(int)
        subjects["SEX"] = np.where(number % 8 == 1, "F", "M")
        subjects["GOLDGR"] = np.where((number < 40) & (number % 2 == 0), "I", "II")
        return subjects, measurements, events

    trial = Trial(edit=edit)
    table = trial.run(subgroups, FACTORS)
    for factor in ("SEX", "GOLDGR"):
        row = pick(table, LEVEL=factor, STAT="interaction_p", **KEYS).iloc[0]
        assert row["NOTE"] == f"not estimated: empty cells of TRT01P x {factor}"
    # in the level with both arms they can be compared
    assert np.isfinite(value(table, LEVEL="SEX=M", STAT="p", **KEYS))
    row = pick(table, LEVEL="SEX=F", STAT="p", **KEYS).iloc[0]
    assert row["NOTE"] == "not estimated: no patient in EG"
    assert np.isfinite(value(table, LEVEL="all", STAT="p", **KEYS))
    row = pick(trial.run(ancova), LEVEL="GOLDGR", STAT="interaction_p", **KEYS).iloc[0]
    assert row["NOTE"] == "not estimated: empty cells of TRT01P x GOLDGR"


def test_subgroups_without_variation_or_comparison():
    def edit(subjects, measurements, events):
        return subjects, measurements.assign(AVAL=2.0), events

    rows = pick(Trial(edit=edit).run(subgroups, FACTORS), STAT="estimate", PARAMCD="FEV1")
    assert rows["NOTE"].str.contains("no variation").all()
    table = Trial(n=30, arms=("A",)).run(subgroups, FACTORS)
    assert set(table["COMPARISON"]) == {""}
    assert set(pick(table, STAT="interaction_p")["NOTE"]) == {"not estimated: one arm"}


def test_subgroups_of_three_arms(three):
    table = three.run(subgroups, FACTORS)
    assert results.validate(table) is not None
    data = week12(three)
    terms = ["BASE", "AGE", "GOLDGR"]
    want = stratum_contrasts(data, "CHG", "TRT01P", "SEX", terms, reference="C").contrasts
    want = want.set_index(["SEX", "contrast"])
    for level, name in want.index:
        keys = {"LEVEL": f"SEX={level}", "COMPARISON": name, "STAT": "p", **KEYS}
        assert np.isclose(value(table, **keys), want.loc[(level, name), "p"])
    assert value(table, LEVEL="SEX", STAT="interaction_df1", **KEYS) == 2


def test_several_arms(three):
    table = three.run(ancova)
    fit = ancova_statistic(
        week12(three), "CHG", "TRT01P", ["BASE", "AGE", "SEX", "GOLDGR"], reference="C"
    )
    test = fit.fit.test("TRT01P").iloc[0]
    for stat, theirs in (("F", "f"), ("df1", "df1"), ("df2", "df2"), ("p", "p")):
        assert np.isclose(value(table, STAT=f"arm_{stat}", LEVEL="TRT01P", **KEYS), test[theirs])
    want = dunnett(fit).set_index("contrast")
    for name in ("A - C", "B - C"):
        for stat, theirs in (
            ("p_dunnett", "p_adjusted"),
            ("dunnett_ci_low", "ci_low"),
            ("dunnett_ci_high", "ci_high"),
        ):
            ours = value(table, STAT=stat, COMPARISON=name, **KEYS)
            assert np.isclose(ours, want.loc[name, theirs])
        # simultaneous intervals are wider than the single ones, which stay as they were
        low = value(table, STAT="ci_low", COMPARISON=name, **KEYS)
        assert value(table, STAT="dunnett_ci_low", COMPARISON=name, **KEYS) < low
    assert np.isclose(
        value(table, STAT="p", COMPARISON="B - C", **KEYS),
        fit.contrasts.set_index("contrast").loc["B - C", "p"],
    )


def test_several_arms_with_robust_standard_errors(three):
    table = three.run(ancova, {**SECTION, "robust": "HC3"})
    fit = ancova_statistic(
        week12(three),
        "CHG",
        "TRT01P",
        ["BASE", "AGE", "SEX", "GOLDGR"],
        reference="C",
        robust="HC3",
    )
    ours = value(table, STAT="arm_F", **KEYS)
    assert np.isclose(ours, fit.fit.test("TRT01P")["f"].iloc[0])
    ours = value(table, STAT="p_dunnett", COMPARISON="A - C", **KEYS)
    assert np.isclose(ours, dunnett(fit)["p_adjusted"].iloc[0])


def test_several_arms_of_which_one_is_short():
    trial = Trial(n=81, arms=("EG", "XG", "CG"))
    alone = trial.adsl["TRT01P"] == "XG"
    trial.adsl.loc[alone & (trial.adsl["USUBJID"] != "S001"), "ITTFL"] = "N"
    table = pick(trial.run(ancova), **KEYS)
    row = pick(table, STAT="arm_df1").iloc[0]
    assert (row["VALUE"], row["N"], row["NOTE"]) == (1, 54, "without XG")
    row = pick(table, STAT="p_dunnett", COMPARISON="XG - CG").iloc[0]
    assert row["NOTE"] == "not estimated: 1 patient in XG"
    single = value(table, STAT="p", COMPARISON="EG - CG")
    assert np.isclose(value(table, STAT="p_dunnett", COMPARISON="EG - CG"), single)
    # without the reference there is nothing to compare with
    trial.adsl.loc[trial.adsl["TRT01P"] == "CG", "ITTFL"] = "N"
    table = pick(trial.run(ancova), **KEYS)
    reason = "not estimated: 1 patient in XG, no patient in CG"
    for stat in ("arm_p", "p_dunnett"):
        assert reason in set(pick(table, STAT=stat)["NOTE"])


def test_two_arms_have_no_global_test(trial):
    stats = set(trial.run(ancova)["STAT"])
    assert not {"arm_F", "p_dunnett", "rank_p"} & stats


@pytest.mark.parametrize(("which", "dataset", "param"), [("two", 0, "CACS"), ("three", 1, "FEV1")])
def test_rank_ancova(trial, three, which, dataset, param):
    trial = trial if which == "two" else three
    plain, table = (trial.run(ancova, {**SECTION, "rank": rank}) for rank in (False, True))
    data = week12(trial, dataset)
    if param == "CACS":  # ranks of the log ratio, which is what is analysed
        data = data.assign(CHG=np.log1p(data["AVAL"]) - np.log1p(data["BASE"]))
    want = rank_ancova(data, "CHG", "TRT01P", ["BASE", "AGE", "SEX", "GOLDGR"]).iloc[0]
    keys = {**KEYS, "PARAMCD": param, "LEVEL": "TRT01P"}
    for stat, theirs in (("F", "f"), ("df1", "df1"), ("df2", "df2"), ("p", "p")):
        assert np.isclose(value(table, STAT=f"rank_{stat}", **keys), want[theirs])
    row = pick(table, STAT="rank_p", **keys).iloc[0]
    assert (row["NOTE"], row["N"]) == ("Quade's test", len(data))
    rest = table.loc[~table["STAT"].str.startswith("rank_")].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, plain)


def test_rank_ancova_of_a_stratum_that_is_short():
    def edit(subjects, measurements, events):
        subjects["GOLDGR"] = "I"
        subjects.loc[[0, 1, 3, 5], "GOLDGR"] = "II"
        return subjects, measurements, events

    table = Trial(edit=edit).run(ancova, {**SECTION, "rank": True})
    rows = pick(table, STRATUM="gold2", STAT="rank_p")
    assert set(rows["NOTE"]) == {"not estimated: 1 patient in EG"}


def test_script_calls_the_analysis():
    script = runpy.run_path(str(ROOT / "scripts" / "analyse_subgroups.py"))
    assert script["subgroups"].subgroups is subgroups
    assert callable(script["main"])
