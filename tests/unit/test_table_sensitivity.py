"""The table of sensitivity analyses: its rows, their numbers, and trials that have few of them."""

import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit import sensitivity_fixture as extra

from lungitude.reporting import format as text
from lungitude.reporting import table, table_sensitivity
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "sensitivity", "number": "14.2.6", "title": "Analyses of the primary endpoint"}


def made(stratum="all", arms=2, frame=None, **more):
    found = extra.results(stratum, arms, frame)
    return table_sensitivity.build(found, extra.context(stratum, arms), {**DISPLAY, **more})


def data(rendered):
    return [row for row in rendered.rows if row.cells]


def test_primary_analysis_stands_first_and_each_strategy_is_a_row():
    labels = [(row.label.text, row.cells[1].text) for row in data(made())]
    assert labels == [
        ("ANCOVA (primary analysis)", "complete cases"),
        ("Mixed model", "missing at random"),
        ("MMRM", "missing at random"),
        ("Imputation", "missing at random"),
        ("Imputation", "jump to reference"),
    ]


def test_other_sets_follow_with_numbers_and_addresses_of_their_own():
    plan, frame = extra.plan(), extra.frame()
    plan["populations"]["PP"] = {"label": "Per protocol", "rule": "completers"}
    plan["analyses"]["mmrm"]["also_in"] = {"PP": ["VO2MAX"]}
    others = frame.loc[frame["METHOD"] == "mmrm"].assign(POPULATION="PP")
    others = others.assign(ANALYSISID=others["ANALYSISID"] + ".PP")
    others["VALUE"] += others["STAT"].isin(["estimate", "ci_low", "ci_high"])
    frame = pd.concat([frame, others], ignore_index=True)
    found = Results(frame, "all", plan)
    rendered = table_sensitivity.build(found, extra.context(plan=plan), DISPLAY)
    rows = data(rendered)
    assert [row.cells[0].text for row in rows] == ["ITT"] * 5 + ["PP"]
    assert rows[-1].label.text == "MMRM"
    shown, own = (
        next(part for part in row.cells[3].parts if part.address) for row in (rows[-1], rows[2])
    )
    assert ".PP|" in shown.address
    assert float(shown.text) == pytest.approx(float(own.text) + 1)
    # A page knows the rows of all sets, so that each printed number can be looked up.
    assert len(found.known) > len(found.rows)


def test_another_primary_method_leads_and_is_marked():
    plan = extra.plan()
    plan["primary"]["method"] = "mmrm"
    rendered = table_sensitivity.build(extra.results(), extra.context(plan=plan), DISPLAY)
    labels = [row.label.text for row in data(rendered)]
    assert labels[:3] == ["MMRM (primary analysis)", "ANCOVA", "Mixed model"]
    assert sum("primary" in label for label in labels) == 1


@pytest.mark.parametrize("arms", [2, 3, 4])
@pytest.mark.parametrize("stratum", ["all", "grade1", "grade2"])
def test_each_number_is_that_of_its_address(stratum, arms):
    known = extra.known(extra.results(stratum, arms))
    rows = data(made(stratum, arms))
    assert len(rows) == 5 * (arms - 1)
    for row in rows:
        n, difference, p = row.cells[2:]
        (part,) = n.parts
        assert part.text == str(known[part.address.removesuffix("#N")].n)
        numbers = [known[part.address] for part in difference.parts if part.address]
        stats = [part.address.rpartition("|")[2] for part in difference.parts if part.address]
        if numbers[0].estimated:
            assert stats == ["estimate", "ci_low", "ci_high"]
            values = [number.value for number in numbers]
            assert difference.text == text.estimate(*values, 2)
            assert p.parts[0].text == text.p_value(known[p.parts[0].address].value)
        else:
            assert difference.text == "NE"
            assert difference.mark


def test_each_comparison_of_several_arms_has_a_block():
    heads = [row.label.text for row in made(arms=3).rows if row.kind == "group"]
    assert len(heads) == 2
    assert "Cardiopulmonary rehabilitation \u2212 Usual care" in heads[0]
    assert "Breathing training alone \u2212 Usual care" in heads[1]


def test_display_chooses_endpoints_and_only_the_planned_one_is_primary():
    rendered = made(parameters=["VO2MAX", "FEV1"], visits=["Week 6", "Week 12"])
    heads = [row.label.text for row in rendered.rows if row.kind == "group"]
    assert heads == [
        "Peak oxygen uptake, mL/kg/min: Week 6",
        "Peak oxygen uptake, mL/kg/min: Week 12",
        "FEV1, L: Week 6",
        "FEV1, L: Week 12",
    ]
    assert sum("primary" in row.label.text for row in data(rendered)) == 1
    # FEV1 has two decimals: its statistics have three.
    assert len(data(rendered)[-1].cells[3].parts[0].text.partition(".")[2]) == 3


def test_model_lines_are_footnotes_in_the_order_of_the_rows():
    rendered = made()
    letters = [row.label.mark for row in data(rendered)]
    assert letters == ["a", "b", "c", "d", "d"]
    notes = dict(rendered.footnotes)
    assert notes["c"] == f"Model: {extra.LINE}."
    assert notes["d"] == f"Model: {extra.IMPUTATION}."
    assert "us, unstructured" in rendered.footnotes[0][1]


def test_not_estimated_cells_say_why():
    rendered = made("grade2")
    assert "Not estimated: 1 patient in EG" in dict(rendered.footnotes).values()
    assert "NE, not estimated" in rendered.footnotes[0][1]


def test_ratio_of_a_log_parameter():
    frame = extra.frame()
    rows = frame[(frame["METHOD"] == "imputation") & (frame["LEVEL"] == "j2r")].copy()
    rows = rows[rows["STAT"].isin(["estimate", "ci_low", "ci_high"])]
    rows["STAT"] = rows["STAT"].map(
        {"estimate": "ratio", "ci_low": "ratio_ci_low", "ci_high": "ratio_ci_high"}
    )
    rows["NOTE"] = "ratio of geometric means"
    context = extra.context()
    for row in context.parameters:
        row["TRANSFORM"] = "log" if row["PARAMCD"] == "VO2MAX" else "none"
    found = extra.results(table=fixture.pd.concat([frame, rows], ignore_index=True))
    last = data(table_sensitivity.build(found, context, DISPLAY))[-1]
    assert [part.address.rpartition("|")[2] for part in last.cells[3].parts if part.address] == [
        "ratio",
        "ratio_ci_low",
        "ratio_ci_high",
    ]
    assert last.cells[3].mark


def test_another_analysis_set_is_named_and_not_claimed_by_the_title():
    frame = extra.frame()
    frame.loc[frame["METHOD"] == "mmrm", "POPULATION"] = "PP"
    plan = extra.plan()
    plan["analyses"]["mmrm"]["population"] = "PP"
    found = table_sensitivity.lookup.Results(frame, "all", plan)
    rendered = table_sensitivity.build(found, extra.context(plan=plan), DISPLAY)
    assert [row.cells[0].text for row in data(rendered)] == ["ITT", "ITT", "PP", "ITT", "ITT"]
    assert rendered.population == "All patients"
    assert "Intention to treat" in made().population


def test_nobody_one_arm_and_no_analysis():
    empty = made("nobody")
    assert not empty.rows
    assert table.NO_DATA in table.to_html(empty)
    with pytest.raises(Absent):
        made(arms=1)
    frame = extra.frame()
    with pytest.raises(Absent):
        made(frame=frame[~frame["METHOD"].isin(table_sensitivity.METHODS)])


def test_same_text_twice():
    assert table.to_html(made(arms=3)) == table.to_html(made(arms=3))
    assert table.to_tsv(made()).count("\n") == 6
