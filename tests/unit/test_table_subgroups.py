"""The table of subgroups: numbers of the results, tests at their factor, odd trials."""

import numpy as np
import pandas as pd
import pytest
from unit import reporting_fixture as fixture

from lungitude.reporting import format as text
from lungitude.reporting import table, table_subgroups
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "table_subgroups", "title": "Effects in subgroups", "number": "14.2.3"}
FACTORS = {"SEX": ["M", "F"], "SEVERITY": ["I", "II"]}
SECTION = {"population": "ITT", "response": "CHG", "factors": ["SEX", "SEVERITY"]}
STATS = "estimate se df statistic p ci_low ci_high".split()


def rows(arms=2, stratum="all", parameters=("VO2MAX",), visits=("Week 6", "Week 12"), thin=()):
    """Return rows of the analysis as it writes them; levels in `thin` have too few patients."""
    codes = [arm["code"] for arm in fixture.ARMS[:arms]]
    reference = "CG" if "CG" in codes else codes[-1]
    builder = fixture.Builder(stratum, dict.fromkeys(codes, 100))
    rng = np.random.default_rng(3)
    for parameter in parameters:
        for visit in visits:
            own = {"param": parameter, "visit": visit}
            _level(builder, rng, codes, reference, "all", own, thin)
            for factor, values in FACTORS.items():
                note = f"CHG ~ TRT01P * {factor} + BASE; least squares"
                builder.add("subgroups", "model", np.nan, 190, LEVEL=factor, NOTE=note, **own)
                alone = "not estimated: one arm" if arms == 1 else ""
                for stat, value in zip(
                    ("F", "df1", "df2", "p"), (2.345, arms - 1, 180, 0.0413), strict=True
                ):
                    value = np.nan if alone else value
                    name = f"interaction_{stat}"
                    builder.add("subgroups", name, value, 190, LEVEL=factor, NOTE=alone, **own)
                for value in values:
                    _level(builder, rng, codes, reference, f"{factor}={value}", own, thin)
    return builder.rows


def _level(builder, rng, codes, reference, level, own, thin):
    why = "not estimated: 1 patient in EG" if level in thin else ""
    for code in codes:
        if code == reference:
            continue
        middle = rng.normal(1.5, 0.4)
        values = dict(
            zip(STATS, (middle, 0.4, 180, middle / 0.4, 0.012, middle - 0.8, middle + 0.8),
                strict=True)
        )  # fmt: skip
        for stat, value in values.items():
            builder.add(
                "subgroups", stat, np.nan if why else value, 88, LEVEL=level, NOTE=why,
                COMPARISON=f"{code} - {reference}", **own,
            )  # fmt: skip
    for code in codes:
        n = 1 if why else int(rng.integers(20, 99))
        builder.add("subgroups", "n", n, n, LEVEL=level, GROUP=code, **own)


def frame(*more, **given):
    return pd.DataFrame([*rows(**given), *more], columns=fixture.COLUMNS)


def plan(**section):
    planned = fixture.plan()
    planned["analyses"]["subgroups"] = {**SECTION, **section}
    return planned


def made(data, arms=2, stratum="all", display=DISPLAY, **changes):
    planned = changes.pop("plan", plan())
    found = Results(data, stratum, planned)
    return table_subgroups.build(
        found, fixture.context(stratum, arms, plan=planned, **changes), display
    )


def parts_of(rendered):
    return [part for row in rendered.rows for c in row.cells for part in c.parts]


def check_numbers(rendered, data):
    """Each printed number is that of the frame at its address."""
    known = {
        f"{r.ANALYSISID}|{r.GROUP}|{r.COMPARISON}|{r.LEVEL}|{r.STAT}|{r.FAMILY}".rstrip("|"): r
        for r in data.itertuples()
    }
    for part in parts_of(rendered):
        if not part.address:
            assert not any(letter.isdigit() for letter in part.text), part
            continue
        value = known[part.address].VALUE
        if part.text[0] in "<>":
            assert (value < float(part.text[1:])) == (part.text[0] == "<")
        elif part.text == "NE":
            assert np.isnan(value)
        else:
            assert part.text == text.number(value, len(part.text.partition(".")[2]))


@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_numbers_are_those_of_the_results(arms):
    data = frame(arms=arms)
    rendered = made(data, arms)
    check_numbers(rendered, data)
    shown = {part.address for part in parts_of(rendered) if part.address}
    wanted = data[data["STAT"].isin(["n", "estimate", "ci_low", "ci_high", "p", "interaction_p"])]
    assert len(shown & set(made_addresses(wanted))) == len(wanted)
    assert all(len(row.cells) in (0, len(rendered.columns) - 1) for row in rendered.rows)


def made_addresses(data):
    return [
        f"{r.ANALYSISID}|{r.GROUP}|{r.COMPARISON}|{r.LEVEL}|{r.STAT}".rstrip("|")
        for r in data.itertuples()
    ]


def test_rows_and_columns():
    rendered = made(frame(parameters=("FEV1", "VO2MAX")))
    labels = [(row.kind, row.label.text) for row in rendered.rows]
    block = [
        ("data", "All patients"),
        ("group", "Sex"),  # its label is Male, which is a level
        ("data", "Male"),
        ("data", "Female"),
        ("group", "Severity"),
        ("data", "Grade I"),
        ("data", "Grade II"),
    ]
    assert labels == [
        ("section", "Peak oxygen uptake, mL/kg/min: Week 6"),
        *block,
        ("section", "Peak oxygen uptake, mL/kg/min: Week 12"),
        *block,
        ("section", "FEV1, L: Week 6"),
        *block,
        ("section", "FEV1, L: Week 12"),
        *block,
    ]
    assert [c.label for c in rendered.columns] == [
        "Subgroup",
        "Cardiopulmonary rehabilitation",
        "Usual care",
        "Difference",
        "p",
        "Interaction F",
        "Interaction p",
    ]
    assert rendered.rows[2].cells[-2].text == "2.35 (1, 180)"  # 2.345 is rounded away from zero
    assert rendered.rows[2].cells[-1].text == "0.0413"
    assert [c.text for c in rendered.rows[3].cells[-2:]] == ["", ""]


def test_display_restricts_and_orders():
    data = frame(parameters=("FEV1", "VO2MAX"))
    rendered = made(data, display={**DISPLAY, "parameters": ["FEV1"], "visits": ["Week 12"]})
    assert [row.label.text for row in rendered.rows if row.kind == "section"] == [
        "FEV1, L: Week 12"
    ]
    with pytest.raises(Absent, match="these parameters"):
        made(data, display={**DISPLAY, "parameters": ["SIXMWD"]})


def test_several_arms_have_a_line_a_comparison():
    rendered = made(frame(arms=3), 3)
    assert [c.label for c in rendered.columns][4] == "Comparison"
    assert [row.label.text for row in rendered.rows[1:3]] == ["All patients"] * 2
    compared = [row.cells[3].text for row in rendered.rows[1:3]]
    assert compared == [
        "Cardiopulmonary rehabilitation \u2212 Usual care",
        "Breathing training alone \u2212 Usual care",
    ]
    assert rendered.rows[1].cells[0].text.isdigit()
    assert rendered.rows[2].cells[0].text == ""  # counts stand once


def test_one_arm_has_counts_and_the_reason():
    rendered = made(frame(arms=1), 1)
    assert [c.label for c in rendered.columns] == [
        "Subgroup",
        "Cardiopulmonary rehabilitation",
        "Interaction F",
        "Interaction p",
    ]
    assert any("one arm" in note for _, note in rendered.footnotes)
    assert not any(note.startswith("Difference") for _, note in rendered.footnotes)


def test_what_was_not_estimated_says_why():
    rendered = made(frame(thin=("SEX=M",)))
    row = rendered.rows[3]
    assert [c.text for c in row.cells[2:4]] == ["NE", "NE"]
    assert (row.cells[2].mark, "Not estimated: 1 patient in EG") in rendered.footnotes
    assert any("NE, not estimated" in note for _, note in rendered.footnotes)
    assert "NE" not in {c.text for c in rendered.rows[4].cells}


def test_factor_without_levels_keeps_its_line():
    builder = fixture.Builder("all", {})
    why = "not estimated: AGE holds numbers; a factor of subgroups needs categories"
    builder.add("subgroups", "interaction_p", np.nan, 9, "VO2MAX", "Week 6", LEVEL="AGE", NOTE=why)
    rendered = made(frame(*builder.rows))
    row = next(row for row in rendered.rows if row.label.text == "Age")
    assert [c.text for c in row.cells[-2:]] == ["\u2013", "NE"]
    assert row.cells[-1].mark in [m for m, note in rendered.footnotes if "holds numbers" in note]


def test_models_and_patients_left_out_are_marked():
    builder = fixture.Builder("all", {})
    builder.add(
        "subgroups", "left_out", 4, 90, "VO2MAX", "Week 6", GROUP="EG", LEVEL="SEX",
        NOTE="SEX missing",
    )  # fmt: skip
    rendered = made(frame(*builder.rows))
    notes = dict(rendered.footnotes)
    marks = [row.label.mark for row in rendered.rows if row.kind == "group"]
    assert marks == ["a,b", "c", "a", "c"]
    assert notes["a"] == "Model: CHG ~ TRT01P * SEX + BASE; least squares."
    assert "SEX missing" in notes["b"]


def test_adjusted_p_of_a_family():
    planned = plan()
    planned["families"].append(
        {
            "id": "levels",
            "label": "Subgroups",
            "method": "holm",
            "parameters": ["VO2MAX"],
            "visits": ["Week 12"],
            "analysis": "subgroups",
        }
    )
    builder = fixture.Builder("all", {})
    builder.add(
        "subgroups", "p_adj", 0.0321, 88, "VO2MAX", "Week 12", COMPARISON="EG - CG", LEVEL="SEX=M",
        FAMILY="levels", NOTE="holm, 10 tests",
    )  # fmt: skip
    data = frame(*builder.rows)
    rendered = made(data, plan=planned)
    check_numbers(rendered, data)
    assert rendered.columns[5].label == "Adjusted p"
    assert [row.cells[4].text for row in rendered.rows if row.label.text == "Male"] == [
        "\u2013",
        "0.0321",
    ]
    assert any("Holm" in note and "Subgroups (10 tests)" in note for _, note in rendered.footnotes)


def test_log_scale_shows_ratios():
    trial = fixture.context()
    trial.parameters[0]["TRANSFORM"] = "log"
    data = frame(visits=("Week 6",))
    builder = fixture.Builder("all", {})
    for stat, value in (("ratio", 1.234), ("ratio_ci_low", 1.1), ("ratio_ci_high", 1.377)):
        builder.add(
            "subgroups", stat, value, 88, "VO2MAX", "Week 6", COMPARISON="EG - CG", LEVEL="SEX=M",
            NOTE="ratio of geometric means",
        )  # fmt: skip
    data = frame(*builder.rows, visits=("Week 6",))
    rendered = made(data, parameters=trial.parameters)
    male = rendered.rows[3].cells[2]
    assert male.text == "1.23 (1.10 to 1.38)"
    assert (male.mark, "Ratio of geometric means between the arms.") in rendered.footnotes


def test_empty_and_absent():
    found = Results(frame(), "nobody", plan())
    trial = fixture.context("nobody", plan=plan())
    rendered = table_subgroups.build(found, trial, DISPLAY)
    assert rendered.rows == ()
    assert "No data meet the criteria" in table.to_html(rendered)
    with pytest.raises(Absent):
        table_subgroups.build(fixture.results(), fixture.context(plan=plan()), DISPLAY)


def test_same_text_twice():
    one, two = (
        table.to_page(made(frame(arms=3), 3), {"title": "t", "synthetic": True}) for _ in range(2)
    )
    assert one == two
