"""Tests between arms: a line a visit for two arms, a group a visit for more."""

import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit.test_reporting_tables import by_address
from unit.test_table_visits import HARD, check, shown

from lungitude.analysis.arm_tests import arm_tests
from lungitude.analysis.describe import describe
from lungitude.reporting import format as text
from lungitude.reporting import table, table_arm_tests
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "table_arm_tests", "number": "14.2.5", "title": "Tests between the arms"}
PAIR = {
    "estimate": -0.3014,
    "statistic": -1.125,
    "df": 388.0,
    "p": 0.2611,
    "ci_low": -0.9021,
    "ci_high": 0.2988,
}
ALL = {"groups_statistic": 1.234, "groups_df1": 2.0, "groups_df2": 387.4, "groups_p": 0.2922}


def frame_of(arms=2, note="student", several="anova", codes=("VO2MAX", "FEV1")):
    builder = fixture.Builder("all", {})
    for code in codes:
        for visit in fixture.VISITS:
            for arm in fixture.ARMS[:arms]:
                if arm["code"] == "CG":
                    continue
                keys = {"COMPARISON": f"{arm['code']} - CG", "NOTE": note}
                for stat, value in PAIR.items():
                    if not (note == "mann-whitney" and stat == "df"):
                        builder.add("arm_tests", stat, value, 390, code, visit["name"], **keys)
            for stat, value in ALL.items() if arms > 2 else ():
                if not (several == "kruskal" and stat == "groups_df2"):
                    builder.add("arm_tests", stat, value, 600, code, visit["name"], NOTE=several)
    rows = fixture.frame(arms).to_dict("records") + builder.rows
    return pd.DataFrame(rows, columns=fixture.COLUMNS)


def made(frame, stratum="all", arms=2, context=None, **display):
    trial = context or fixture.context(stratum, arms)
    found = fixture.results(stratum, arms, table=frame)
    return table_arm_tests.build(found, trial, {**DISPLAY, **display})


def published():
    plan = fixture.plan()
    plan["analyses"]["arm_tests"] = {"population": "ITT", "method": "published"}
    return fixture.context(plan=plan)


@pytest.mark.parametrize("name", HARD)
def test_hard_trials(name):
    for stratum in ("all", "gold2"):
        analyses = [(describe, {}), (arm_tests, {"method": "published"})]
        try:
            rendered, known = shown(table_arm_tests, name, stratum, *analyses)
        except Absent:
            assert name == "one arm"
            continue
        assert name != "one arm"
        check(rendered, known)


@pytest.mark.parametrize("arms", [2, 3, 4])
def test_each_number_is_found_in_the_results(arms):
    frame = frame_of(arms)
    rendered = made(frame, arms=arms)
    check(rendered, by_address(frame, "all"))
    data = [row for row in rendered.rows if row.kind == "data"]
    assert len(data) == 2 * 3 * (1 if arms == 2 else arms)  # of more, also that of all arms


def test_two_arms_have_a_line_a_visit():
    rendered = made(frame_of(), parameters=["FEV1"])
    assert [(row.kind, row.label.text) for row in rendered.rows] == [
        ("section", "FEV1, L"),
        ("data", "Baseline"),
        ("data", "Week 6"),
        ("data", "Week 12"),
    ]
    heads = [(column.label, column.sub.text) for column in rendered.columns]
    assert heads == [
        ("Parameter and visit", ""),
        ("Cardiopulmonary rehabilitation", "mean (SD)"),
        ("Usual care", "mean (SD)"),
        ("n", ""),
        ("Difference", "(95% CI)"),
        ("Statistic", ""),
        ("df", ""),
        ("p", ""),
    ]
    mean = fixture.results().get("describe", "mean", "FEV1", "Baseline", "EG", level="AVAL")
    assert [c.text for c in rendered.rows[1].cells] == [
        f"{text.number(mean.value, 3)} (0.400)",
        rendered.rows[1].cells[1].text,
        "390",
        "-0.301 (-0.902 to 0.299)",
        "-1.13",  # -1.125, away from zero
        "388",
        "0.2611",
    ]
    notes = [note for _, note in rendered.footnotes]
    assert "Difference, Cardiopulmonary rehabilitation minus Usual care." in notes
    assert any("t test with pooled variance" in note for note in notes)
    assert any("not adjusted" in note for note in notes)
    assert rendered.source.startswith("Source: analysis results table (arm_tests, describe)")


def test_three_arms_have_a_group_a_visit():
    rendered = made(frame_of(3), arms=3, parameters=["VO2MAX"])
    assert [(row.kind, row.label.text) for row in rendered.rows[1:5]] == [
        ("group", "Baseline"),
        ("data", "Cardiopulmonary rehabilitation minus Usual care"),
        ("data", "Breathing training alone minus Usual care"),
        ("data", "All arms"),
    ]
    group, pair, _, every = rendered.rows[1:5]
    assert all(c.text for c in group.cells[:3])
    assert not any(c.text for c in group.cells[3:])
    assert [c.text for c in pair.cells[:4]] == ["", "", "", "390"]
    assert pair.cells[4].text == "-0.30 (-0.90 to 0.30)"
    assert [c.text for c in every.cells[3:]] == ["600", "", "ANOVA", "1.23", "2, 387.4", "0.2922"]


def test_kruskal_has_one_df():
    frame = frame_of(3, "mann-whitney", "kruskal")
    every = made(frame, arms=3).rows[4]
    assert [c.text for c in every.cells[-4:]] == ["Kruskal-Wallis", "1.23", "2", "0.2922"]


def test_ranks_stand_beside_medians():
    frame = frame_of()
    ranks = (frame["METHOD"] == "arm_tests") & (frame["AVISIT"] == "Week 6")
    frame.loc[ranks, "NOTE"] = "mann-whitney"
    frame.loc[ranks & (frame["STAT"] == "statistic"), "VALUE"] = 18280.5
    frame = frame[~(ranks & (frame["STAT"] == "df"))]
    rendered = made(frame, context=published(), parameters=["VO2MAX"])
    assert rendered.columns[1].sub.text == "mean (SD) or median (Q1\u2013Q3)"
    found = fixture.results()
    value = found.get("describe", "median", "VO2MAX", "Week 6", "EG", level="AVAL").value
    cells = [c.text for c in rendered.rows[2].cells]
    assert cells[0].startswith(f"{text.number(value, 2)} (")
    assert "\u2013" in cells[0]
    assert cells[4:7] == ["Mann-Whitney", "18280.5", "\u2013"]
    assert [c.text for c in rendered.rows[1].cells[4:7]] == ["t", "-1.13", "388"]
    notes = " ".join(note for _, note in rendered.footnotes)
    assert "Shapiro-Wilk" in notes
    assert "Of an arm, median (Q1\u2013Q3) where ranks" in notes


def test_ranks_alone_need_no_column_of_df_and_test():
    rendered = made(frame_of(note="mann-whitney"))
    heads = [column.label for column in rendered.columns]
    assert heads[3:] == ["n", "Difference", "Statistic", "p"]
    assert rendered.columns[1].sub.text == "median (Q1\u2013Q3)"


def test_without_a_description_there_are_tests_alone():
    frame = frame_of()
    frame = frame[frame["METHOD"] != "describe"]
    rendered = made(frame)
    assert [column.label for column in rendered.columns[:2]] == ["Parameter and visit", "n"]
    assert rendered.source.startswith("Source: analysis results table (arm_tests);")


def test_another_analysis_set_of_the_description_is_told():
    trial = published()
    trial.plan["analyses"]["describe"]["population"] = "PP"
    frame = frame_of()
    frame.loc[frame["METHOD"] == "describe", "POPULATION"] = "PP"
    rendered = table_arm_tests.build(Results(frame, "all", trial.plan), trial, DISPLAY)
    assert ("", "Values of the arms are of the analysis set PP.") in rendered.footnotes


def test_a_test_that_was_not_made_says_why():
    frame = frame_of()
    lost = (frame["METHOD"] == "arm_tests") & (frame["PARAMCD"] == "FEV1")
    frame.loc[lost, ["VALUE", "NOTE"]] = [float("nan"), "not estimated: 1 patient in EG"]
    rendered = made(frame, parameters=["FEV1"])
    cells = rendered.rows[1].cells
    assert [c.text for c in cells[2:]] == [
        "390",
        "NE",
        "NE",
        "NE",
    ]  # no df is known, so none stands
    assert {c.mark for c in cells[3:]} == {"a"}
    assert ("a", "Not estimated: 1 patient in EG") in rendered.footnotes
    assert not any("Test:" in note for _, note in rendered.footnotes)


def test_left_out_arms_of_the_test_of_all_are_told():
    frame = frame_of(3)
    several = frame["STAT"].str.startswith("groups_")
    frame.loc[several, "NOTE"] = "anova; left out: 1 patient in XG"
    rendered = made(frame, arms=3, parameters=["FEV1"])
    every = rendered.rows[4]
    assert dict(rendered.footnotes)[every.cells[3].mark] == "Left out: 1 patient in XG."


def test_empty_stratum_absent_and_the_same_twice():
    frame = frame_of()
    assert made(frame, "nobody").rows == ()
    assert table.NO_DATA in table.to_html(made(frame, "nobody"))
    with pytest.raises(Absent, match="arm tests has no results here"):
        made(frame, "grade1")
    trial = fixture.context().trial
    assert table.to_page(made(frame), trial) == table.to_page(made(frame), trial)
    line = table.to_tsv(made(frame_of(3), arms=3)).splitlines()[2].split("\t")
    assert line[:3] == [
        "Peak oxygen uptake, mL/kg/min",
        "Baseline",
        "Cardiopulmonary rehabilitation minus Usual care",
    ]
