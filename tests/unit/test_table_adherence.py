"""Adherence: each number is that of the results; arms without sessions have dashes."""

import pytest
from unit import reporting_fixture as fixture
from unit import test_safety as case
from unit.test_analysis import Trial
from unit.test_reporting_tables import by_address, check_parts

from lungitude import safety
from lungitude.analysis.adherence import adherence
from lungitude.reporting import table, table_adherence
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "table_adherence", "number": "14.1.5", "title": "Adherence"}
CODES = [arm["code"] for arm in fixture.ARMS]
SECTION = {"population": "ITT", "limits_pct": [50, 80]}


def hand(sessions=case.SESSIONS):
    adsl = case.adsl()
    ex = safety.adex(sessions, adsl, case.STRATA, case.CUT)
    return adherence(adsl, ex, SECTION, case.ARMS, case.VISITS, case.STRATA)


def drawn(arms):
    one = Trial(n=60, arms=tuple(CODES[:arms]))
    sessions, _ = case.random_sheets(one.adsl["USUBJID"].to_numpy(), case.np.random.default_rng(2))
    ex = safety.adex(sessions, one.adsl, one.strata)
    return adherence(one.adsl, ex, SECTION, one.arms, one.visits, one.strata)


def plan():
    made = fixture.plan()
    made["analyses"]["adherence"] = SECTION
    return made


def made(frame, stratum="all", arms=2):
    found = Results(frame, stratum, plan())
    return table_adherence.build(found, fixture.context(stratum, arms, plan=plan()), DISPLAY)


def texts(rendered):
    return [(row.label.text, [c.text for c in row.cells]) for row in rendered.rows]


@pytest.mark.parametrize("stratum", ["all", "gold1", "gold2"])
@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_each_number_is_found_in_the_results(stratum, arms):
    frame = drawn(arms)
    known = by_address(frame, stratum)
    rendered = made(frame, stratum, arms)
    columns = arms + (arms > 1)
    assert all(len(row.cells) in (0, columns) for row in rendered.rows)
    cells = [c for row in rendered.rows for c in row.cells]
    assert sum(bool(part.address) for c in cells for part in c.parts) > 25 * columns
    for c in cells:
        check_parts(c.parts, known)
    for column in rendered.columns[1:]:
        check_parts(column.sub.parts[1:2], known)


def test_rows_and_numbers_by_hand():
    rendered = made(hand())
    assert [c.sub.text for c in rendered.columns[1:]] == ["(N=4)", "(N=2)", "(N=6)"]
    shown = texts(rendered)
    assert shown[10:15] == [
        ("Adherence, %", []),
        ("n", ["2", "1", "3"]),
        ("Mean (SD)", ["40.0 (56.6)", "100.0 (NE)", "60.0 (52.9)"]),
        (
            "Median (Q1\u2013Q3)",
            ["40.0 (0.0\u201380.0)", "100.0 (100.0\u2013100.0)", "80.0 (0.0\u2013100.0)"],
        ),
        ("Minimum\u2013maximum", ["0.0\u201380.0", "100.0\u2013100.0", "0.0\u2013100.0"]),
    ]
    assert shown[15:] == [
        ("Patients, n (%)", []),
        ("With planned sessions", ["3 (75.0)", "1 (50.0)", "4 (66.7)"]),
        ("At least 80% of their sessions", ["1 (25.0)", "1 (50.0)", "2 (33.3)"]),
        ("At least 50% of their sessions", ["1 (25.0)", "1 (50.0)", "2 (33.3)"]),
        ("No session attended", ["1 (25.0)", "0", "1 (16.7)"]),
        ("Adherence not known", ["2 (50.0)", "1 (50.0)", "3 (50.0)"]),
        ("Sessions without a record of attendance", ["2", "0", "2"]),
    ]
    assert shown[1:3] == [("n", ["3", "1", "4"]), ("Mean (SD)", ["5.0 (0.0)", "3.0 (NE)",
                                                                 "4.5 (1.0)"])]  # fmt: skip
    assert ("a", "Not estimated: 1 observation") in rendered.footnotes
    assert rendered.population == "Analysis set: Intention to treat (ITT); All patients"
    assert rendered.footnotes[0][1].endswith("NE, not estimated.")


def test_an_arm_without_sessions_has_dashes():
    rendered = made(hand(case.SESSIONS[case.SESSIONS["USUBJID"] < "P5"]))
    shown = dict(texts(rendered))
    assert shown["With planned sessions"] == ["3 (75.0)", "0"]
    assert shown["Mean (SD)"][1] == shown["No session attended"][1] == "\u2013"
    notes = [note for _, note in rendered.footnotes]
    assert "No sessions were planned in an arm with dashes and no total is given." in notes
    assert [c.sub.text for c in rendered.columns[1:]] == ["(N=4)", "(N=2)"]


def test_what_nobody_lacks_has_no_row():
    rendered = made(hand(case.SESSIONS.assign(ATTENDED=1, PLANNED=1)))
    assert "Sessions without a record of attendance" not in dict(texts(rendered))
    alike = fixture.context(plan=plan()).trial
    assert table.to_page(rendered, alike) == table.to_page(
        made(hand(case.SESSIONS.assign(ATTENDED=1, PLANNED=1))), alike
    )


def test_nobody_of_an_arm_in_a_stratum_and_no_analysis():
    rendered = made(hand(), "north")
    assert rendered.columns[2].sub.text == "(N=0)"
    assert dict(texts(rendered))["With planned sessions"] == ["3 (100.0)", "0", "3 (100.0)"]
    assert made(hand(), "nowhere").rows == ()
    with pytest.raises(Absent, match="the adherence has no results here"):
        made(fixture.frame())
