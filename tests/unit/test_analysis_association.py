import numpy as np
import pandas as pd
import pytest
from unit.hard_trials import NAMES, check, hard_trial
from unit.test_analysis import PARAMETERS, Trial, pick, value

from lungitude.analysis.association import association
from lungitude.statistics.correlation import (
    compare_correlations,
    correlate,
    correlate_changes,
    partial_correlation,
)
from lungitude.statistics.multiplicity import adjust

PLAN = {"x": ["FEV1"], "y": ["CACS"]}
KEYS = {"PARAMCD": "FEV1", "LEVEL": "CACS"}
STATS = ("r", "ci_low", "ci_high", "p")


@pytest.fixture(scope="module")
def trial():
    def edit(subjects, measurements, events):
        gone = measurements["USUBJID"].isin(["S001", "S004"]) & (measurements["PARAMCD"] == "CACS")
        gone &= measurements["AVISIT"] == "Week 12"
        return subjects, measurements.loc[~gone], events

    return Trial(edit=edit)


@pytest.fixture(scope="module")
def data(trial):
    """One row a patient: values (CACS as logarithm) and changes by visit."""
    rows = pd.concat(trial.records)
    rows["AVAL"] = np.where(rows["PARAMCD"] == "CACS", np.log1p(rows["AVAL"]), rows["AVAL"])
    wide = rows.pivot_table("AVAL", "USUBJID", ["PARAMCD", "AVISIT"])
    wide.columns = [f"{code} {visit}" for code, visit in wide.columns]
    for code in ("FEV1", "CACS"):
        for visit in ("Week 6", "Week 12"):
            wide[f"{code} CHG {visit}"] = wide[f"{code} {visit}"] - wide[f"{code} Baseline"]
    return trial.adsl.merge(wide, left_on="USUBJID", right_index=True)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_is_the_public_one(trial, data, method):
    table = trial.run(association, {**PLAN, "method": method})
    assert set(table["GROUP"]) == {"TOTAL"}
    for stratum, part in (("all", data), ("gold2", pick(data, GOLDGR="II"))):
        p = []
        for visit in ("Baseline", "Week 6", "Week 12"):
            want = correlate(part, f"FEV1 {visit}", f"CACS {visit}", method).iloc[0]
            keys = {**KEYS, "AVISIT": visit, "STRATUM": stratum}
            for stat in STATS:
                assert np.isclose(value(table, STAT=stat, **keys), want[stat], rtol=1e-9)
            row = pick(table, STAT="r", **keys).iloc[0]
            assert (row["N"], row["NOTE"]) == (want["n"], f"{method}; CACS on the log1p scale")
            p.append(want["p"])
        rows = pick(table, STAT="p_adj", STRATUM=stratum, FAMILY="association")
        assert np.allclose(rows["VALUE"], adjust(p, "bh"))
        assert set(rows["NOTE"]) == {"bh, 3 tests"}


def test_changes_within_arms_and_between_them(trial, data):
    table = trial.run(association, {**PLAN, "values": "CHG", "by_arm": True, "adjust": "holm"})
    assert set(table["AVISIT"]) == {"Week 6", "Week 12"}
    for visit in ("Week 6", "Week 12"):
        want = correlate_changes(
            data, f"FEV1 CHG {visit}", f"CACS CHG {visit}", "TRT01P", reference="CG"
        )
        keys = {**KEYS, "AVISIT": visit, "STRATUM": "all"}
        for row in want.arms.to_dict("records"):
            for stat in STATS:
                found = value(table, STAT=stat, GROUP=row["TRT01P"], **keys)
                assert np.isclose(found, row[stat], rtol=1e-9)
        row, keys = want.contrasts.iloc[0], {**keys, "COMPARISON": "EG - CG"}
        for stat, name in (
            ("r_difference", "estimate"),
            ("r_difference_ci_low", "ci_low"),
            ("r_difference_ci_high", "ci_high"),
            ("z_difference", "statistic"),
            ("p", "p"),
        ):
            assert np.isclose(value(table, STAT=stat, **keys), row[name], rtol=1e-9)
        assert pick(table, STAT="p", **keys)["N"].iloc[0] == row["n1"] + row["n2"]
    rows = pick(table, STAT="p_adj", STRATUM="all", GROUP="EG")
    p = pick(table, STAT="p", STRATUM="all", GROUP="EG")["VALUE"]
    assert np.allclose(rows["VALUE"], adjust(p.to_numpy(), "holm"))


def test_partial_correlation(trial, data):
    table = trial.run(association, {**PLAN, "covariates": ["AGE", "GOLDGR"], "by_arm": True})
    assert pick(table, COMPARISON="EG - CG").empty
    for stratum, part, terms in (
        ("all", data, ["AGE", "GOLDGR"]),
        ("gold1", pick(data, GOLDGR="I"), ["AGE"]),
    ):
        eg = pick(part, TRT01P="EG")
        want = partial_correlation(eg, "FEV1 Week 6", "CACS Week 6", terms).iloc[0]
        keys = {**KEYS, "AVISIT": "Week 6", "STRATUM": stratum, "GROUP": "EG"}
        for stat in STATS:
            assert np.isclose(value(table, STAT=stat, **keys), want[stat], rtol=1e-9)
        assert f"given {', '.join(terms)}" in pick(table, STAT="r", **keys)["NOTE"].iloc[0]


def test_base_is_the_baseline_of_both(trial, data):
    table = trial.run(association, {**PLAN, "covariates": ["BASE"], "values": "CHG"})
    want = partial_correlation(
        data, "FEV1 CHG Week 6", "CACS CHG Week 6", ["FEV1 Baseline", "CACS Baseline"]
    )
    found = value(table, STAT="r", AVISIT="Week 6", STRATUM="all", **KEYS)
    assert np.isclose(found, want["r"][0], rtol=1e-9)
    rows = pick(trial.run(association, {**PLAN, "covariates": ["BASE"]}), AVISIT="Baseline")
    assert pick(rows, STAT="r")["NOTE"].str.contains("the covariates determine").all()


@pytest.mark.parametrize("test", ["steiger", "bootstrap"])
def test_change_of_a_correlation_between_visits(trial, data, test):
    plan = {**PLAN, "compare_visits": True, "compare_test": test}
    table = trial.run(association, plan)
    for visit in ("Week 6", "Week 12"):
        want = compare_correlations(
            data,
            ("FEV1 Baseline", "CACS Baseline"),
            (f"FEV1 {visit}", f"CACS {visit}"),
            test=test,
        ).iloc[0]
        keys = {
            **KEYS,
            "AVISIT": visit,
            "STRATUM": "all",
            "COMPARISON": f"{visit} - Baseline",
            "GROUP": "TOTAL",
        }
        for stat, name in (
            ("r_change", "estimate"),
            ("r_change_ci_low", "ci_low"),
            ("r_change_ci_high", "ci_high"),
            ("r_change_p", "p"),
        ):
            assert np.isclose(value(table, STAT=stat, **keys), want[name], rtol=1e-9)
        assert pick(table, STAT="r_change", **keys)["N"].iloc[0] == want["n"]
    by_arm = pick(trial.run(association, {**plan, "by_arm": True}), STAT="r_change")
    assert set(by_arm["GROUP"]) == {"EG", "CG"}


def test_a_pair_is_tested_once(trial):
    table = trial.run(association, {"x": ["FEV1", "CACS"], "y": ["FEV1", "CACS"]})
    rows = pick(table, STAT="r", AVISIT="Week 6", STRATUM="all")
    assert list(zip(rows["PARAMCD"], rows["LEVEL"], strict=True)) == [("FEV1", "CACS")]
    assert set(pick(table, STAT="p_adj")["NOTE"]) == {"bh, 3 tests"}


def test_three_arms_are_compared_with_the_reference():
    table = hard_trial("three arms").run(association, {**PLAN, "by_arm": True})
    rows = pick(table, STAT="z_difference", STRATUM="all", AVISIT="Week 6")
    assert list(rows["COMPARISON"]) == ["A - C", "B - C"]


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"values": "CHG", "by_arm": True, "compare_visits": True, "method": "spearman"},
        {"covariates": ["BASE", "AGE", "SEX", "GOLDGR"], "values": "CHG"},
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_hard_trials(name, plan):
    check(hard_trial(name).run(association, {**PLAN, **plan}))


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"y": ["FEV2"]}, "parameter FEV2"),
        ({"method": "kendall"}, "association: method 'kendall'"),
        ({"compare_visits": True, "covariates": ["AGE"]}, "without covariates only"),
    ],
)
def test_faults_of_a_plan_are_named(trial, plan, text):
    with pytest.raises(ValueError, match=text):
        trial.run(association, {**PLAN, **plan})


def test_a_pair_of_parameters_of_different_visits_is_skipped_there():
    def edit(subjects, measurements, events):
        gone = (measurements["PARAMCD"] == "CACS") & (measurements["AVISIT"] == "Week 6")
        return subjects, measurements.loc[~gone], events

    table = Trial(edit=edit).run(association, PLAN)
    assert set(table["AVISIT"]) == {"Baseline", "Week 12"}
    assert list(PARAMETERS["PARAMCD"]) == ["FEV1", "CACS"]


@pytest.fixture(scope="module")
def dated():
    """FEV1 on one day; CACS on it, or 20 days later (S002), or on no known day (S003) at week 6."""

    def edit(subjects, measurements, events):
        dates = pd.Series("2024-02-12", measurements.index, dtype=object)
        late = (measurements["PARAMCD"] == "CACS") & (measurements["AVISIT"] == "Week 6")
        dates[late & (measurements["USUBJID"] == "S002")] = "2024-03-03"
        dates[late & (measurements["USUBJID"] == "S003")] = None
        return subjects, measurements.assign(ADT=dates), events

    return Trial(edit=edit)


def test_pairs_far_apart_are_left_out_and_counted(dated):
    note = "pearson; CACS on the log1p scale"
    gone = "1 patient left out, more than {} days apart; 1 patient left out, without both dates"
    for limit, lost in ((19, 2), (20, 1)):
        table = dated.run(association, {**PLAN, "max_days_apart": limit})
        row = pick(table, **KEYS, AVISIT="Week 6", STRATUM="all", STAT="r").iloc[0]
        assert row["N"] == 80 - lost
        told = gone.format(limit) if lost == 2 else gone.partition("; ")[2]
        assert row["NOTE"] == f"{note}; {told}"
        other = pick(table, **KEYS, AVISIT="Week 12", STRATUM="all", STAT="r").iloc[0]
        assert (other["N"], other["NOTE"]) == (80, note)
    kept = dated.run(association, PLAN)
    assert value(kept, **KEYS, AVISIT="Week 6", STRATUM="all", STAT="r", GROUP="TOTAL") != value(
        table, **KEYS, AVISIT="Week 6", STRATUM="all", STAT="r", GROUP="TOTAL"
    )


def test_a_change_needs_both_visits_near(dated):
    plan = {**PLAN, "values": "CHG", "by_arm": True, "max_days_apart": 7}
    table = dated.run(association, plan)
    row = pick(table, **KEYS, AVISIT="Week 6", STRATUM="all", STAT="r", GROUP="EG").iloc[0]
    assert row["N"] == 39  # S002 is of EG, S003 of CG
    row = pick(table, **KEYS, AVISIT="Week 6", STRATUM="all", STAT="r_difference").iloc[0]
    assert row["N"] == 78
    plan = {**PLAN, "compare_visits": True, "max_days_apart": 7}
    row = pick(dated.run(association, plan), **KEYS, STRATUM="all", STAT="r_change")
    rows = row.set_index("COMPARISON")
    assert rows.loc["Week 6 - Baseline", "N"] == 78
    assert rows.loc["Week 12 - Baseline", "N"] == 80
    assert "more than 7 days apart" in rows.loc["Week 6 - Baseline", "NOTE"]
