"""Changes within arms: numbers of the analysis, its tests by name, its reasons as footnotes."""

import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit.test_reporting_tables import by_address, check_parts
from unit.test_table_visits import HARD, check, shown

from lungitude.analysis.within_arm import within_arm
from lungitude.reporting import table, table_within_arm
from lungitude.reporting.results import Absent

DISPLAY = {"id": "table_within_arm", "number": "14.2.4", "title": "Changes within the arms"}
PAIRS = [("Week 6", "Baseline"), ("Week 12", "Baseline"), ("Week 12", "Week 6")]
TEST = {"estimate": 0.2501, "statistic": 2.555, "df": 170.0, "p": 0.0312}
LIMITS = {"ci_low": -0.0301, "ci_high": 0.5302}


def rows(changes=(), arms=2, parameters=("VO2MAX", "FEV1"), stratum="all"):
    """Rows of paired t tests; `changes` are (filter, new columns) of some of them."""
    builder = fixture.Builder(stratum, {})
    for code in parameters:
        for arm in fixture.ARMS[:arms]:
            for after, before in PAIRS:
                keys = {"GROUP": arm["code"], "COMPARISON": f"{after} - {before}"}
                for stat, value in {**TEST, **LIMITS}.items():
                    builder.add("within_arm", stat, value, 171, code, after, NOTE="t", **keys)
                more = {"FAMILY": "within_arm", "NOTE": "bh, 3 tests", **keys}
                builder.add("within_arm", "p_adj", 0.0468, 171, code, after, **more)
    for row in builder.rows:
        for wanted, new in changes:
            if all(row[name] == value for name, value in wanted.items()):
                row.update(new)
    return builder.rows


def frame_of(*args, arms=2, **kwargs):
    frame = fixture.frame(max(arms, 2))
    return pd.DataFrame(
        frame.to_dict("records") + rows(*args, arms=arms, **kwargs), columns=fixture.COLUMNS
    )


def made(frame, stratum="all", arms=2, context=None, **display):
    trial = context or fixture.context(stratum, arms)
    found = fixture.results(stratum, arms, table=frame)
    return table_within_arm.build(found, trial, {**DISPLAY, **display})


@pytest.mark.parametrize("name", HARD)
def test_hard_trials(name):
    for stratum in ("all", "gold2"):
        analysis = (within_arm, {"method": "published"})
        try:
            rendered, known = shown(table_within_arm, name, stratum, analysis)
        except Absent:
            assert name == "baseline only"
            continue
        check(rendered, known)


@pytest.mark.parametrize("arms", [1, 2, 4])
def test_each_number_is_found_in_the_results(arms):
    frame = frame_of(arms=arms)
    rendered = made(frame, arms=arms)
    check(rendered, by_address(frame, "all"))
    data = [row for row in rendered.rows if row.kind == "data"]
    assert len(data) == 2 * arms * 3
    assert all(part.address for row in data for c in row.cells for part in c.parts[::2])


def test_a_block_in_order():
    rendered = made(frame_of(), parameters=["FEV1"])
    assert [(row.kind, row.label.text) for row in rendered.rows] == [
        ("section", "FEV1, L"),
        ("group", "Cardiopulmonary rehabilitation"),
        ("data", "Baseline to Week 6"),
        ("data", "Baseline to Week 12"),
        ("data", "Week 6 to Week 12"),
        ("group", "Usual care"),
        ("data", "Baseline to Week 6"),
        ("data", "Baseline to Week 12"),
        ("data", "Week 6 to Week 12"),
    ]
    heads = ["n", "Mean change", "Statistic", "df", "p", "Adjusted p"]
    assert [column.label for column in rendered.columns[1:]] == heads
    assert [c.text for c in rendered.rows[2].cells] == [
        "171",
        "0.250 (-0.030 to 0.530)",
        "2.56",  # 2.555, away from zero
        "170",
        "0.0312",
        "0.0468",
    ]
    notes = [note for _, note in rendered.footnotes]
    assert "Test: paired t test (change: the mean)." in notes
    assert any("Benjamini-Hochberg" in note and "(3 tests)" in note for note in notes)
    assert not any("Shapiro-Wilk" in note for note in notes)


def test_mixed_tests_have_a_column_and_ranks_no_df():
    ranked = {"COMPARISON": "Week 6 - Baseline"}
    found = rows([(ranked, {"NOTE": "wilcoxon"})])
    found = [r for r in found if not (r["STAT"] == "df" and r["NOTE"] == "wilcoxon")]
    for row in found:
        if row["NOTE"] == "wilcoxon" and row["STAT"] == "statistic":
            row["VALUE"] = 8012.5
        if row["STAT"] == "p_adj":
            row["NOTE"] = "bh, 3 tests"
    frame = pd.DataFrame(fixture.frame().to_dict("records") + found, columns=fixture.COLUMNS)
    plan = fixture.plan()
    plan["analyses"]["within_arm"] = {"population": "ITT", "method": "published"}
    rendered = made(frame, context=fixture.context(plan=plan))
    heads = [column.label for column in rendered.columns]
    assert heads[2:5] == ["Change", "Test", "Statistic"]
    assert [c.text for c in rendered.rows[2].cells[2:5]] == ["Wilcoxon", "8012.5", "\u2013"]
    assert [c.text for c in rendered.rows[3].cells[2:5]] == ["t", "2.56", "170"]
    notes = [note for _, note in rendered.footnotes]
    assert any(
        note.startswith("Tests: paired t test") and "positive ranks" in note for note in notes
    )
    assert any("Shapiro-Wilk" in note for note in notes)


def test_ranks_alone_have_no_column_of_df():
    frame = frame_of([({}, {"NOTE": "wilcoxon"})])
    frame = frame[~((frame["METHOD"] == "within_arm") & (frame["STAT"] == "df"))]
    heads = [column.label for column in made(frame).columns]
    assert "df" not in heads
    assert "Test" not in heads


def test_a_change_that_was_not_estimated_says_why_and_not_by_which_test():
    wanted = {"GROUP": "CG", "COMPARISON": "Week 6 - Baseline", "PARAMCD": "FEV1"}
    lost = {"VALUE": float("nan"), "NOTE": "wilcoxon; not estimated: 1 complete pair", "N": 1}
    adjusted = {"VALUE": float("nan"), "NOTE": "not estimated: no p to adjust", "N": 1}
    other = {"GROUP": "CG", "PARAMCD": "FEV1", "STAT": "p_adj", "NOTE": "bh, 3 tests"}
    changes = [(wanted, lost), ({**wanted, "STAT": "p_adj"}, adjusted)]
    frame = frame_of([*changes, (other, {"NOTE": "bh, 2 of 3 planned tests"})])
    rendered = made(frame, parameters=["FEV1"])
    first, second = rendered.rows[6], rendered.rows[7]
    assert [c.text for c in first.cells] == ["1", *["NE"] * 5]
    assert "Test" not in [column.label for column in rendered.columns]  # no rank test was made
    notes = dict(rendered.footnotes)
    assert notes[first.cells[1].mark] == "Not estimated: 1 complete pair"
    assert notes[first.cells[5].mark] == "Not estimated: no p to adjust"
    assert notes[second.cells[5].mark] == "Adjusted for 2 of 3 planned tests."
    check(rendered, by_address(frame, "all"))


def test_a_parameter_on_the_log_scale_is_shown_as_ratio():
    note = "t; log1p scale, 2 patients left out without a logarithm"
    found = rows([({"PARAMCD": "FEV1"}, {"NOTE": note})])
    builder = fixture.Builder("all", {})
    keys = {"GROUP": "EG", "COMPARISON": "Week 6 - Baseline", "NOTE": "ratio of geometric means"}
    for stat, value in (("ratio", 1.106), ("ratio_ci_low", 0.9), ("ratio_ci_high", 1.345)):
        builder.add("within_arm", stat, value, 169, "FEV1", "Week 6", **keys)
    frame = pd.DataFrame(
        fixture.frame().to_dict("records") + found + builder.rows, columns=fixture.COLUMNS
    )
    frame.loc[(frame["STAT"] == "p_adj") & (frame["METHOD"] == "within_arm"), "NOTE"] = (
        "bh, 3 tests"
    )
    trial = fixture.context()
    next(p for p in trial.parameters if p["PARAMCD"] == "FEV1")["TRANSFORM"] = "log"
    rendered = made(frame, context=trial, parameters=["FEV1"])
    shown_cell = rendered.rows[2].cells[1]
    assert shown_cell.text == "1.11 (0.90 to 1.35)"
    assert dict(rendered.footnotes)[shown_cell.mark] == (
        "Ratio of geometric means; tested on the log1p scale, 2 patients left out without a "
        "logarithm."
    )
    assert shown_cell.parts[0].address.endswith("|ratio")


def test_without_adjustment_there_is_no_such_column():
    frame = frame_of([({"STAT": "p_adj"}, {"NOTE": "not adjusted"})])
    rendered = made(frame)
    assert rendered.columns[-1].label == "p"
    assert ("", "p values are not adjusted for multiple testing.") in rendered.footnotes


def test_missing_rows_are_dashes_and_parameters_without_rows_say_so():
    frame = frame_of()
    gone = (frame["METHOD"] == "within_arm") & (frame["GROUP"] == "CG")
    rendered = made(frame[~gone], parameters=["FEV1", "FSAD"])
    assert [c.text for c in rendered.rows[6].cells] == ["\u2013"] * 6
    last = rendered.rows[-1]
    assert (last.kind, last.label.text, last.label.mark != "") == (
        "section",
        "Functional small airways disease, %",
        True,
    )


def test_p_style_of_the_display():
    rendered = made(frame_of(), context=fixture.context(p_style="jmir"))
    assert rendered.rows[2].cells[-2].text == ".03"


def test_empty_stratum_absent_and_the_same_twice():
    frame = frame_of()
    assert made(frame, "nobody").rows == ()
    assert table.NO_DATA in table.to_html(made(frame, "nobody"))
    with pytest.raises(Absent, match="within arm has no results here"):
        made(frame, "grade1")
    trial = fixture.context().trial
    assert table.to_page(made(frame), trial) == table.to_page(made(frame), trial)
    lines = table.to_tsv(made(frame)).splitlines()
    assert lines[1].split("\t")[:3] == [
        "Peak oxygen uptake, mL/kg/min",
        "Cardiopulmonary rehabilitation",
        "Baseline to Week 6",
    ]


def test_checks_can_fail():
    frame = frame_of()
    known = by_address(frame, "all")
    frame.loc[frame["STAT"] == "statistic", "VALUE"] = 9.99
    with pytest.raises(AssertionError):
        check_parts(made(frame).rows[2].cells[2].parts, known)
