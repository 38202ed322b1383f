"""Adverse events: patients and events as in the results, classes in their order."""

import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit import test_safety as case
from unit.test_analysis import Trial
from unit.test_reporting_tables import by_address, check_parts

from lungitude import safety
from lungitude.analysis.adverse import adverse
from lungitude.reporting import table, table_adverse
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "table_adverse", "number": "14.3.1", "title": "Adverse events"}
CODES = [arm["code"] for arm in fixture.ARMS]


def plan(**section):
    made = fixture.plan()
    made["analyses"]["adverse"] = {"population": "SAF", **section}
    made["populations"]["SAF"] = {"label": "Safety", "rule": "randomised"}
    return made


def hand(events=case.EVENTS, **section):
    ae = safety.adae(pd.DataFrame(events), case.adsl(), case.STRATA)
    section = {"population": "SAF", **section}
    return adverse(case.adsl(), ae, section, case.ARMS, case.VISITS, case.STRATA)


def drawn(arms):
    one = Trial(n=60, arms=tuple(CODES[:arms]))
    _, events = case.random_sheets(one.adsl["USUBJID"].to_numpy(), case.np.random.default_rng(2))
    ae = safety.adae(events, one.adsl, one.strata)
    return adverse(one.adsl, ae, {"population": "SAF"}, one.arms, one.visits, one.strata)


def made(frame, stratum="all", arms=2, section=None, **display):
    own = plan(**(section or {}))
    found, context = Results(frame, stratum, own), fixture.context(stratum, arms, plan=own)
    return table_adverse.build(found, context, {**DISPLAY, **display})


def texts(rendered):
    return [(row.indent, row.label.text, [c.text for c in row.cells]) for row in rendered.rows]


@pytest.mark.parametrize("stratum", ["all", "gold1", "gold2"])
@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_each_number_is_found_in_the_results(stratum, arms):
    frame = drawn(arms)
    known = by_address(frame, stratum)
    rendered = made(frame, stratum, arms)
    assert all(len(row.cells) == arms + (arms > 1) for row in rendered.rows)
    assert len(rendered.rows) > 10
    for c in [c for row in rendered.rows for c in row.cells]:
        check_parts(c.parts, known)
        assert c.parts[0].address
    for column in rendered.columns[1:]:
        check_parts(column.sub.parts[1:2], known)


def test_rows_and_numbers_by_hand():
    rendered = made(hand())
    assert rendered.population == "Analysis set: Safety (SAF); All patients"
    assert [c.sub.text for c in rendered.columns[1:]] == ["(N=4)", "(N=2)", "(N=6)"]
    one = "1 (25.0) [1]"
    assert texts(rendered) == [
        (0, "Any adverse event", ["2 (50.0) [3]", "1 (50.0) [1]", "3 (50.0) [4]"]),
        (1, "Serious", [one, "1 (50.0) [1]", "2 (33.3) [2]"]),
        (1, "Related to the intervention", [one, "1 (50.0) [1]", "2 (33.3) [2]"]),
        (1, "Serious and related", ["0", "1 (50.0) [1]", "1 (16.7) [1]"]),
        (1, "Severe", [one, "1 (50.0) [1]", "2 (33.3) [2]"]),
        (1, "Intervention given up", [one, "0", "1 (16.7) [1]"]),
        (1, "Fatal", ["0", "1 (50.0) [1]", "1 (16.7) [1]"]),
        (1, "Severity not recorded", [one, "0", "1 (16.7) [1]"]),
        (1, "Action taken not recorded", ["2 (50.0) [2]", "1 (50.0) [1]", "3 (50.0) [3]"]),
        (0, "Began before randomisation", ["0", "1 (50.0) [1]", "1 (16.7) [1]"]),
        (0, "Injury", ["2 (50.0) [3]", "0", "2 (33.3) [3]"]),
        (1, "Fall", ["1 (25.0) [2]", "0", "1 (16.7) [2]"]),
        (1, "Contusion", [one, "0", "1 (16.7) [1]"]),
        (0, "Cardiac", ["0", "1 (50.0) [1]", "1 (16.7) [1]"]),
        (1, "Angina pectoris", ["0", "1 (50.0) [1]", "1 (16.7) [1]"]),
    ]
    note = rendered.footnotes[0][1]
    assert note.startswith("Events that began on the day of randomisation or later")
    assert "left out" not in " ".join(note for _, note in rendered.footnotes)


def test_terms_of_other_strata_are_left_out_and_it_is_said():
    rendered = made(hand(), "south")
    shown = [label for _, label, _ in texts(rendered)][-2:]
    assert shown == ["Cardiac", "Angina pectoris"]
    assert (
        "",
        "Classes and terms that only other patients of the trial had are left out.",
    ) in rendered.footnotes


def test_rare_terms_can_be_left_out():
    rendered = made(hand(), min_pct=30)
    labels = [label for _, label, _ in texts(rendered)]
    assert labels[-3:] == ["Injury", "Cardiac", "Angina pectoris"]  # 50% of one arm
    assert any("less than 30%" in note for _, note in rendered.footnotes)
    assert texts(made(hand(), min_pct=5)) == texts(made(hand()))


def test_all_events_and_those_that_nobody_coded():
    section = {"emergent": False}
    events = [case.event("P1", "a <b>: c", AESTDY=-2)]
    rendered = made(hand(events, **section), section=section)
    assert [label for _, label, _ in texts(rendered)] == [
        "Any adverse event",
        "Not coded",
        "a <b>: c",
    ]
    assert rendered.footnotes[0][1].startswith("All events")
    page = table.to_page(rendered, fixture.context().trial)
    assert "a <b>" not in page
    assert page == table.to_page(
        made(hand(events, **section), section=section), fixture.context().trial
    )
    lines = table.to_tsv(rendered).splitlines()
    assert lines[-1].split("\t")[1:3] == ["Not coded", "a <b>: c"]


def test_no_event_at_all_is_zeros():
    rendered = made(hand(pd.DataFrame(columns=["USUBJID", "AETERM"])))
    assert {text for _, _, cells in texts(rendered) for text in cells} == {"0"}


def test_empty_stratum_empty_arm_and_no_analysis():
    assert made(hand(), "nowhere").rows == ()
    rendered = made(hand(), "north")
    assert rendered.columns[2].sub.text == "(N=0)"
    assert texts(rendered)[0][2] == ["2 (66.7) [3]", "0", "2 (66.7) [3]"]
    with pytest.raises(Absent, match="adverse events were not analysed here"):
        made(fixture.frame())


def test_a_number_that_is_lost_says_why():
    frame = hand()
    here = (frame["LEVEL"] == "any") & (frame["GROUP"] == "EG") & (frame["STRATUM"] == "all")
    frame.loc[here, ["VALUE", "NOTE"]] = [float("nan"), "not estimated: lost"]
    rendered = made(frame)
    assert (rendered.rows[0].cells[0].text, rendered.rows[0].cells[0].mark) == ("NE", "a")
    assert ("a", "Not estimated: lost") in rendered.footnotes
    gone = frame[~((frame["LEVEL"] == "serious") & (frame["GROUP"] == "CG"))]
    assert texts(made(gone))[1][2][1] == "\u2013"
