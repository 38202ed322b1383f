"""Completion of visits: the levels of the disposition by visit, and nothing that it lacks."""

import pytest
from unit import reporting_fixture as fixture
from unit.test_reporting_tables import by_address, check_parts

from lungitude.reporting import table, table_completion
from lungitude.reporting.results import Absent

DISPLAY = {"id": "table_completion", "number": "14.1.2", "title": "Completion"}


def made(stratum="all", arms=2, visits=3, frame=None):
    found = fixture.results(stratum, arms, visits, table=frame)
    return table_completion.build(found, fixture.context(stratum, arms, visits), DISPLAY)


@pytest.mark.parametrize("stratum", ["all", "grade1", "grade2"])
@pytest.mark.parametrize("arms", [2, 4])
def test_each_number_is_found_in_the_results(stratum, arms):
    known = by_address(fixture.frame(arms), stratum)
    rendered = made(stratum, arms)
    cells = [c for row in rendered.rows for c in row.cells]
    assert len(cells) == 3 * 7 * (arms + 1)
    assert all(part.address for c in cells for part in c.parts)
    for c in cells:
        check_parts(c.parts, known)


def test_rows_of_a_visit():
    rendered = made()
    shown = [(row.indent, row.label.text, [c.text for c in row.cells]) for row in rendered.rows]
    assert shown[8:16] == [
        (0, "Week 6", []),
        (1, "Expected", ["200", "200", "400"]),
        (1, "Attended", ["196", "196", "392"]),
        (1, "Scans expected", ["392", "392", "784"]),
        (1, "Scans evaluable", ["391", "391", "782"]),
        (1, "Scans excluded", ["1", "1", "2"]),
        (2, "Truncated series", ["1", "1", "2"]),
        (2, "Slices missing", ["0", "0", "0"]),
    ]
    assert [row.label.text for row in rendered.rows if row.kind == "group"] == [
        "Baseline",
        "Week 6",
        "Week 12",
    ]
    assert [c.sub.text for c in rendered.columns[1:]] == ["(N=200)", "(N=200)", "(N=400)"]


def test_a_visit_without_scans_has_no_rows_of_scans():
    frame = fixture.frame()
    scans = frame["LEVEL"].str.startswith("scans")
    rendered = made(frame=frame[~(scans & (frame["AVISIT"] == "Week 6"))])
    assert [row.label.text for row in rendered.rows[8:12]] == [
        "Week 6",
        "Expected",
        "Attended",
        "Week 12",
    ]
    assert any("Scans, not patients" in note for _, note in rendered.footnotes)
    rendered = made(frame=frame[~scans])
    assert len(rendered.rows) == 9
    assert not any("Scans, not patients" in note for _, note in rendered.footnotes)


def test_a_reason_of_one_visit_stands_there_only():
    frame = fixture.frame()
    other = frame["LEVEL"] == "scans_excluded:slices missing"
    rendered = made(frame=frame[~(other & (frame["AVISIT"] != "Week 12"))])
    assert [row.label.text for row in rendered.rows].count("Slices missing") == 1
    assert rendered.rows[-1].label.text == "Slices missing"


def test_two_visits_one_arm_and_a_lost_row():
    frame = fixture.frame(visits=2)
    lost = (frame["LEVEL"] == "attended") & (frame["AVISIT"] == "Week 12")
    frame = frame[(frame["GROUP"] == "EG") & ~(lost & (frame["STRATUM"] == "grade1"))]
    rendered = made(arms=1, visits=2, frame=frame)
    assert [row.label.text for row in rendered.rows if row.kind == "group"] == [
        "Baseline",
        "Week 12",
    ]
    assert all(len(row.cells) in (0, 1) for row in rendered.rows)
    labels = [row.label.text for row in made("grade1", 1, 2, frame).rows]
    assert labels.count("Attended") == 1


def test_missing_arm_is_a_dash():
    frame = fixture.frame()
    lost = (frame["LEVEL"] == "attended") & (frame["AVISIT"] == "Week 6") & (frame["GROUP"] == "CG")
    rendered = made(frame=frame[~lost])
    assert [c.text for c in rendered.rows[10].cells] == ["196", "\u2013", "392"]


def test_empty_stratum_absent_and_the_same_twice():
    assert made("nobody").rows == ()
    assert table.NO_DATA in table.to_html(made("nobody"))
    frame = fixture.frame()
    with pytest.raises(Absent):
        made(frame=frame[frame["METHOD"] != "disposition"])
    trial = fixture.context().trial
    assert table.to_page(made(), trial) == table.to_page(made(), trial)
    assert table.to_tsv(made()) == table.to_tsv(made())
