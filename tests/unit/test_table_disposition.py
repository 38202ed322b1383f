"""Disposition: every count is the one of the results table, all reasons stand in all strata."""

import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit.test_reporting_tables import by_address, check_parts

from lungitude.reporting import table, table_disposition
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "table_disposition", "number": "14.1.1", "title": "Disposition"}


def made(stratum="all", arms=2, frame=None, **changes):
    found = fixture.results(stratum, arms, table=frame)
    return table_disposition.build(found, fixture.context(stratum, arms, **changes), DISPLAY)


def texts(rendered):
    return {row.label.text: [c.text for c in row.cells] for row in rendered.rows}


def with_rows(frame, rows):
    return pd.DataFrame(frame.to_dict("records") + rows, columns=fixture.COLUMNS)


@pytest.mark.parametrize("stratum", ["all", "grade1", "grade2"])
@pytest.mark.parametrize("arms", [2, 3, 4])
def test_each_number_is_found_in_the_results(stratum, arms):
    known = by_address(fixture.frame(arms), stratum)
    rendered = made(stratum, arms)
    cells = [c for row in rendered.rows for c in row.cells]
    assert all(len(row.cells) in (0, arms + 1) for row in rendered.rows)
    for c in cells:
        check_parts(c.parts, known)
    for column in rendered.columns[1:]:
        check_parts(column.sub.parts[1:2], known)


def test_rows_in_their_order():
    rendered = made()
    assert [(row.kind, row.indent, row.label.text) for row in rendered.rows] == [
        ("data", 0, "Randomised"),
        ("data", 0, "Completed"),
        ("group", 0, "Discontinued"),
        ("data", 1, "Lost to follow-up"),
        ("data", 1, "Withdrew consent"),
        ("data", 1, "Adverse event"),
        ("group", 0, "Primary endpoint: Peak oxygen uptake, Week 12"),
        ("data", 1, "Measured"),
        ("data", 1, "In the model of its analysis"),
    ]
    shown = texts(rendered)
    assert shown["Discontinued"] == ["4", "4", "8"]
    assert shown["Withdrew consent"] == ["0", "0", "0"]
    assert shown["Adverse event"] == ["1", "0", "1"]
    assert shown["Measured"] == ["196", "196", "392"]
    # N of the difference is that of the model, both arms together
    assert shown["In the model of its analysis"] == ["196", "196", "392"]
    assert "ancova" in rendered.source
    assert "Percentages" not in " ".join(note for _, note in rendered.footnotes)


def test_total_of_a_model_that_could_not_be_fitted_is_a_dash():
    shown = texts(made("grade2"))
    assert shown["In the model of its analysis"][-1] == "\u2013"


def test_percentages_are_those_of_the_results():
    builder = fixture.Builder("all", {})
    for group, percent in (("EG", 98.05), ("CG", 12.5)):
        builder.add("disposition", "pct", percent, 200, LEVEL="completed", GROUP=group)
        builder.add("disposition", "pct", 0.0, 200, LEVEL=f"discontinued:{fixture.REASONS[1]}")
    frame = fixture.frame()
    frame = with_rows(frame, [builder.rows[0], builder.rows[2], builder.rows[1]])
    rendered = made(frame=frame)
    shown = texts(rendered)
    assert shown["Completed"] == ["196 (98.1)", "196 (12.5)", "392"]  # 98.05, away from zero
    assert shown["Withdrew consent"] == ["0", "0", "0"]  # no percentage of nobody
    assert ("", "Percentages are of the patients randomised.") in rendered.footnotes


def test_ongoing_patients_have_a_row_where_the_results_have_it():
    builder = fixture.Builder("all", {})
    for group, count in (("EG", 0), ("CG", 0), ("TOTAL", 0)):
        builder.add("disposition", "n", count, 200, LEVEL="ongoing", GROUP=group)
    rendered = made(frame=with_rows(fixture.frame(), builder.rows))
    assert rendered.rows[2].label.text == "Ongoing"
    assert texts(rendered)["Ongoing"] == ["0", "0", "0"]
    assert any("data cut" in note for _, note in rendered.footnotes)


def test_a_missing_row_is_a_dash_and_a_lost_count_says_why():
    frame = fixture.frame()
    here = (frame["METHOD"] == "disposition") & (frame["STRATUM"] == "all")
    here &= (frame["LEVEL"] == "completed") & (frame["GROUP"] == "EG")
    assert texts(made(frame=frame[~here]))["Completed"][0] == "\u2013"
    frame.loc[here, ["VALUE", "NOTE"]] = [float("nan"), "not estimated: end of study not known"]
    rendered = made(frame=frame)
    assert (rendered.rows[1].cells[0].text, rendered.rows[1].cells[0].mark) == ("NE", "a")
    assert ("a", "Not estimated: end of study not known") in rendered.footnotes


def test_one_arm_has_no_total():
    frame = fixture.frame()
    frame = frame[(frame["GROUP"] == "EG") | (frame["GROUP"] == "")]
    rendered = made(arms=1, frame=frame)
    assert len(rendered.columns) == 2
    assert texts(rendered)["In the model of its analysis"] == ["196"]


def test_without_a_primary_endpoint():
    plan = fixture.plan()
    del plan["primary"]
    rendered = made(plan=plan)
    assert rendered.rows[-1].label.text == "Adverse event"
    assert "ancova" not in rendered.source


def test_tsv_keeps_the_reasons_with_their_stage():
    lines = table.to_tsv(made()).splitlines()
    assert "\tDiscontinued\t\t4\t4\t8" in lines
    assert "\tDiscontinued\tAdverse event\t1\t0\t1" in lines
    assert "\t\tRandomised\t200\t200\t400" in lines


def test_empty_stratum_and_no_disposition():
    rendered = made("nobody")
    assert rendered.rows == ()
    assert table.NO_DATA in table.to_html(rendered)
    frame = fixture.frame()
    frame = frame[frame["METHOD"] != "disposition"]
    with pytest.raises(Absent, match="disposition has no results here"):
        made(frame=frame)
    gone = fixture.frame()
    gone = gone[(gone["STRATUM"] == "grade2") & (gone["METHOD"] == "disposition")]
    found = Results(gone.assign(VALUE=0.0), "grade2", fixture.plan())
    assert table_disposition.build(found, fixture.context("grade2"), DISPLAY).rows == ()


def test_reason_is_escaped_and_the_same_twice():
    frame = fixture.frame()
    level = "discontinued:Adverse event"
    frame.loc[frame["LEVEL"] == level, "LEVEL"] = "discontinued:<b>moved</b>: abroad"
    first = made(frame=frame)
    page = table.to_page(first, fixture.context().trial)
    assert "<b>moved" not in page
    assert any(row.label.text == "<b>moved</b>: abroad" for row in first.rows)
    assert table.to_page(made(frame=frame), fixture.context().trial) == page


def test_analysis_sets_of_the_plan_stand_below_the_stages():
    rows = []
    for group, n in (("EG", 180), ("CG", 170), ("TOTAL", 350)):
        builder = fixture.Builder("all", {"EG": 200, "CG": 200})
        keys = {"GROUP": group, "LEVEL": "set:ITT"}
        builder.add("disposition", "n", n, 200, **keys)
        builder.add("disposition", "pct", n / 4 if group == "TOTAL" else n / 2, 200, **keys)
        builder.add("disposition", "n", n, 200, GROUP=group, LEVEL="set:PP")  # not of the plan
        rows += builder.rows
    rendered = made(frame=with_rows(fixture.frame(), rows))
    shown = texts(rendered)
    assert shown["Intention to treat (ITT)"] == ["180 (90.0)", "170 (85.0)", "350 (87.5)"]
    assert not any("PP" in label for label in shown)
    labels = list(shown)
    assert labels.index("Analysis sets") + 1 == labels.index("Intention to treat (ITT)")
