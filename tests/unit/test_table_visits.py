"""Description by visit: statistics of the analysis itself, also of trials that are hard."""

import functools

import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit.hard_trials import NAMES, hard_trial
from unit.test_reporting_tables import by_address, check_parts

from lungitude.analysis.describe import describe
from lungitude.analysis.disposition import disposition
from lungitude.reporting import format as text
from lungitude.reporting import table, table_visits
from lungitude.reporting.context import Context
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "table_visits", "number": "14.2.3", "title": "Values by visit"}
PARAMETERS = [
    {"PARAMCD": "FEV1", "PARAM": "FEV1", "AVALU": "L", "DECIMALS": 2, "TRANSFORM": "none"},
    {"PARAMCD": "CACS", "PARAM": "Calcium score", "DECIMALS": 0, "TRANSFORM": "log1p"},
]


HARD = [name for name in NAMES if name not in ("no covariates", "two visits", "one visit")]


@functools.cache
def analysed(name, analysis, options=()):
    """Rows of a hard trial (see `unit.hard_trials`) by an analysis itself."""
    return hard_trial(name).run(analysis, dict(options))


@functools.cache
def counted(name):
    """Disposition of a hard trial."""
    trial = hard_trial(name)
    return disposition(
        trial.adsl, trial.records, None, {}, trial.arms, trial.visits, strata=trial.strata
    )


def context_of(name, stratum="all", analyses=()):
    """Context of a hard trial."""
    trial = hard_trial(name)
    return Context(
        stratum={"path": stratum, "label": stratum},
        arms=[{**arm, "label": f"Arm {arm['code']}"} for arm in trial.arms],
        visits=trial.visits,
        parameters=[dict(row) for row in PARAMETERS],
        plan={"analyses": dict(analyses), "quantiles": "averaged_inverted_cdf"},
        trial={"title": "Hard", "name": "hard", "synthetic": False, "data_cut": ""},
        provenance={},
        strata=trial.strata,
    )


def shown(module, name, stratum, *analyses):
    """Table of a hard trial by analyses with their options, and its numbers by address."""
    tables = [counted(name)]
    tables += [analysed(name, analysis, tuple(options.items())) for analysis, options in analyses]
    frame = pd.concat([rows for rows in tables if len(rows)], ignore_index=True)
    sections = {analysis.__name__: options for analysis, options in analyses}
    trial = context_of(name, stratum, sections)
    rendered = module.build(Results(frame, stratum, trial.plan), trial, DISPLAY)
    return rendered, by_address(frame, stratum)


def check(rendered, known):
    """Every row fits the columns, every number is in the results, every NE and mark is told."""
    letters = {letter for letter, _ in rendered.footnotes if letter}
    used = {row.label.mark for row in rendered.rows if row.label.mark}
    for row in rendered.rows:
        assert len(row.cells) in (0, len(rendered.columns) - 1)
        for c in row.cells:
            check_parts(c.parts, known)
            assert c.mark or text.NOT_ESTIMATED not in c.text
            used.add(c.mark)
    assert used - {""} == letters


def made(stratum="all", arms=2, frame=None, **display):
    found = fixture.results(stratum, arms, table=frame)
    return table_visits.build(found, fixture.context(stratum, arms), {**DISPLAY, **display})


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("normality", [True, False])
def test_hard_trials(name, normality):
    for stratum in ("all", "gold2"):
        rendered, known = shown(
            table_visits, name, stratum, (describe, {"by_normality": normality})
        )
        check(rendered, known)
        heads = [column.label for column in rendered.columns]
        assert (heads[-1] == "Shapiro-Wilk p") == (normality and bool(rendered.rows))
        nobody = stratum == "gold2" and name in ("empty stratum", "two patients")
        assert bool(rendered.rows) != nobody


@pytest.mark.parametrize("stratum", ["all", "grade1"])
@pytest.mark.parametrize("arms", [1, 2, 4])
def test_each_number_is_found_in_the_results(stratum, arms):
    frame = fixture.frame(max(arms, 2))
    rendered = made(stratum, arms, frame)
    known = by_address(frame, stratum)
    for row in rendered.rows:
        for c in row.cells:
            check_parts(c.parts, known)
    data = [row for row in rendered.rows if row.kind == "data"]
    assert len(data) == 6 * 5 * arms  # parameters; three visits, two of them with a change; arms


def test_a_block_is_in_the_order_of_the_visits():
    rendered = made(parameters=["PERC15"])
    assert [(row.kind, row.label.text) for row in rendered.rows if row.kind != "data"] == [
        ("section", "15th percentile of lung density, HU"),
        ("group", "Baseline"),
        ("group", "Week 6"),
        ("group", "Week 6, change from Baseline"),
        ("group", "Week 12"),
        ("group", "Week 12, change from Baseline"),
    ]
    assert [row.label.text for row in rendered.rows[2:4]] == [
        "Cardiopulmonary rehabilitation",
        "Usual care",
    ]
    found = fixture.results()
    cells = [c.text for c in rendered.rows[2].cells]
    values = [
        found.get("describe", stat, "PERC15", "Baseline", "EG", level="AVAL").value
        for stat in ("mean", "sd", "median", "q1", "q3", "min", "max")
    ]
    mean, sd, median, q1, q3 = (text.number(value, 1) for value in values[:5])
    low, high = (text.number(value, 0) for value in values[5:])
    # negative quartiles are joined by a word; the range has the digits of the raw values
    assert cells == ["200", "0", f"{mean} ({sd})", f"{median} ({q1} to {q3})", low, high]


def test_positive_quartiles_are_joined_by_a_dash():
    rendered = made(parameters=["FEV1"])
    assert "\u2013" in rendered.rows[2].cells[3].text
    assert " to " in next(
        row.cells[3].text for row in rendered.rows if row.cells and "-" in row.cells[3].text
    )


def test_parameters_of_the_display_and_their_order():
    def sections(rendered):
        return [row.label.text for row in rendered.rows if row.kind == "section"]

    assert sections(made(parameters=["FEV1", "VO2MAX"])) == [
        "FEV1, L",
        "Peak oxygen uptake, mL/kg/min",
    ]
    assert len(sections(made())) == 6
    assert sections(made())[0] == "Peak oxygen uptake, mL/kg/min"
    with pytest.raises(ValueError, match=r"parameters\.tsv"):
        made(parameters=["NOPE"])


def test_a_parameter_without_values_says_so():
    frame = fixture.frame()
    frame = frame[~((frame["METHOD"] == "describe") & (frame["PARAMCD"] == "FEV1"))]
    rendered = made(frame=frame, parameters=["FEV1"])
    assert [(row.kind, row.label.mark) for row in rendered.rows] == [("section", "a")]
    assert ("a", table_visits.NO_VALUE) in rendered.footnotes


def test_normality_marks_what_the_median_describes():
    builder = fixture.Builder("all", {})
    for arm, p in (("EG", 0.4), ("CG", 0.0421)):
        keys = {"param": "FEV1", "visit": "Baseline", "LEVEL": "AVAL"}
        builder.add("describe", "shapiro_p", p, 200, GROUP=arm, **keys)
    builder.add("describe", "normal", 0, 400, NOTE="median (Q1, Q3)", **keys)
    frame = fixture.frame()
    frame = pd.DataFrame(frame.to_dict("records") + builder.rows, columns=fixture.COLUMNS)
    rendered = made(frame=frame, parameters=["FEV1"])
    marked = [row.label.text for row in rendered.rows if row.label.mark]
    assert marked == ["Baseline"]
    assert ("a", table_visits.NOT_NORMAL) in rendered.footnotes
    assert [row.cells[-1].text for row in rendered.rows[2:4]] == ["0.4000", "0.0421"]
    assert rendered.rows[5].cells[-1].text == "\u2013"  # not tested at the next visit
    frame.loc[frame["STAT"] == "normal", "VALUE"] = 1.0
    assert not any(row.label.mark for row in made(frame=frame, parameters=["FEV1"]).rows)


def test_one_observation_has_a_mean_but_no_spread():
    rendered, _ = shown(table_visits, "one patient of an arm", "gold2", (describe, {}))
    first = next(row for row in rendered.rows if row.cells)
    assert first.cells[2].text.endswith(" (NE)")
    assert dict(rendered.footnotes)[first.cells[2].mark] == "Not estimated: 1 observation"


def test_nobody_of_an_arm_is_one_not_estimated_with_its_reason():
    rendered, _ = shown(table_visits, "one arm of a stratum", "gold2", (describe, {}))
    first = next(row for row in rendered.rows if row.cells)
    assert [c.text for c in first.cells] == ["0", "0", *["NE"] * 4]
    assert {c.mark for c in first.cells[2:]} == {"a"}
    assert ("a", "Not estimated: no observation") in rendered.footnotes


def test_empty_stratum_absent_and_the_same_twice():
    assert made("nobody").rows == ()
    assert table.NO_DATA in table.to_html(made("nobody"))
    frame = fixture.frame()
    with pytest.raises(Absent, match="describe has no results here"):
        made(frame=frame[frame["METHOD"] != "describe"])
    trial = fixture.context().trial
    assert table.to_page(made(), trial) == table.to_page(made(), trial)


def test_tsv_names_parameter_visit_and_arm():
    line = table.to_tsv(made(parameters=["FEV1"])).splitlines()[3].split("\t")
    assert line[:4] == ["FEV1, L", "Week 6", "Cardiopulmonary rehabilitation", "196"]
