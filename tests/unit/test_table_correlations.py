"""The table of correlations: numbers of the results by visit and arm, odd trials."""

import numpy as np
import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit.test_table_subgroups import check_numbers, made_addresses

from lungitude.reporting import table, table_correlations
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "table_correlations", "title": "Correlations", "number": "14.2.7"}
X, Y = ("PERC15", "LAA950"), ("VO2MAX", "FEV1")


def plan(**section):
    planned = fixture.plan()
    given = {"population": "ITT", "x": list(X), "y": list(Y), "values": "CHG", "by_arm": True}
    planned["analyses"]["association"] = {**given, **section}
    return planned


def rows(arms=2, by_arm=True, adjust="bh", changes=False, lost=(), x=X, y=Y, stratum="all",
         visits=("Week 6", "Week 12")):  # fmt: skip
    """Return rows of the analysis as it writes them; pairs in `lost` could not be estimated."""
    codes = [arm["code"] for arm in fixture.ARMS[:arms]] if by_arm else ["TOTAL"]
    builder = fixture.Builder(stratum, dict.fromkeys(codes, 100))
    rng = np.random.default_rng(5)
    for group in codes:
        for one in x:
            for other in y:
                for visit in visits:
                    own = {"param": one, "visit": visit, "LEVEL": other, "GROUP": group}
                    gone = (one, other) in lost
                    n = 2 if gone else int(rng.integers(80, 190))
                    r = np.nan if gone else rng.uniform(-0.95, 0.95)
                    note = "pearson; not estimated: 2 patients" if gone else "pearson"
                    found = {"r": r, "ci_low": r - 0.02, "ci_high": r + 0.02, "p": abs(r) / 5}
                    for stat, value in found.items():
                        builder.add("association", stat, value, n, NOTE=note, **own)
                    said = note if gone else "not adjusted" if adjust == "none" else "bh, 8 tests"
                    builder.add(
                        "association", "p_adj", abs(r) / 4, n, FAMILY="association",
                        NOTE="not estimated: no p to adjust" if gone else said, **own,
                    )  # fmt: skip
                if changes:
                    own["visit"] = visits[-1]
                    own["COMPARISON"] = f"{visits[-1]} - {visits[0]}"
                    values = {"": 0.11, "_ci_low": -0.1, "_ci_high": 0.32, "_p": 0.3}
                    for stat, value in values.items():
                        builder.add("association", f"r_change{stat}", value, n, **own)
    if by_arm and arms > 1:
        for code in codes:
            for one in x if code != "CG" else ():
                for other in y:
                    for visit in visits:
                        values = {
                            "r_difference": 0.21,
                            "r_difference_ci_low": -0.05,
                            "r_difference_ci_high": 0.47,
                            "z_difference": 1.6,
                            "p": 0.11,
                        }
                        for stat, value in values.items():
                            builder.add(
                                "association", stat, value, 250, one, visit, LEVEL=other,
                                COMPARISON=f"{code} - CG", NOTE="pearson; Fisher z",
                            )  # fmt: skip
    return builder.rows


def frame(**given):
    return pd.DataFrame(rows(**given), columns=fixture.COLUMNS)


def made(data, arms=2, stratum="all", display=DISPLAY, **changes):
    planned = changes.pop("plan", plan())
    found = Results(data, stratum, planned)
    trial = fixture.context(stratum, arms, plan=planned, **changes)
    return table_correlations.build(found, trial, display)


@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_numbers_are_those_of_the_results(arms):
    data = frame(arms=arms, changes=True)
    rendered = made(data, arms)
    used = [part for row in rendered.rows for part in (row.cells[0].parts if row.cells else ())]
    sizes = dict(zip(made_addresses(data), data["N"], strict=True))
    for part in used:
        assert part.text == str(sizes[part.address.removesuffix("#N")])
    plain = [row if not row.cells else table.Row(row.label, row.cells[1:]) for row in rendered.rows]
    check_numbers(table.replace(rendered, rows=tuple(plain)), data)
    shown = {p.address for row in plain for c in row.cells for p in c.parts if p.address}
    wanted = data[data["STAT"] != "z_difference"]
    addresses = set(made_addresses(wanted[wanted["STAT"] != "p_adj"]))
    assert addresses <= shown
    assert sum("p_adj" in address for address in shown) == (wanted["STAT"] == "p_adj").sum()
    assert all(len(row.cells) in (0, len(rendered.columns) - 1) for row in rendered.rows)


def test_blocks_of_pairs_with_several_arms():
    rendered = made(frame())
    labels = [(row.kind, row.label.text) for row in rendered.rows][:7]
    assert labels == [
        ("section", "Week 6"),
        ("group", "15th percentile of lung density and Peak oxygen uptake"),
        ("data", "Cardiopulmonary rehabilitation"),
        ("data", "Usual care"),
        ("group", "15th percentile of lung density and FEV1"),
        ("data", "Cardiopulmonary rehabilitation"),
        ("data", "Usual care"),
    ]
    assert rendered.rows[2].cells[4].text == "0.21 (-0.05 to 0.47)"
    assert rendered.rows[3].cells[4].text == "reference"
    assert [c.label for c in rendered.columns] == [
        "Parameters",
        "n",
        "r",
        "p",
        "Adjusted p",
        "Difference of r",
        "p of difference",
    ]
    notes = " ".join(note for _, note in rendered.footnotes)
    assert "Pearson correlation of changes from baseline" in notes
    assert "over all pairs and visits of an arm (8 tests)" in notes


def test_blocks_of_x_without_arms():
    rendered = made(frame(by_arm=False), plan=plan(by_arm=False, method="spearman"))
    labels = [(row.kind, row.label.text) for row in rendered.rows][:5]
    assert labels == [
        ("section", "Week 6"),
        ("group", "15th percentile of lung density"),
        ("data", "Peak oxygen uptake"),
        ("data", "FEV1"),
        ("group", "Emphysema (LAA-950)"),
    ]
    notes = " ".join(note for _, note in rendered.footnotes)
    assert "Spearman" in notes
    assert "of an arm" not in notes


def test_changes_of_correlations():
    rendered = made(frame(changes=True), plan=plan(compare_visits=True))
    assert [c.label for c in rendered.columns][-2:] == ["Change of r", "p of change"]
    cells = {row.cells[-2].text for row in rendered.rows[:13] if row.cells}
    assert cells == {"\u2013"}  # the first visit has no change
    assert rendered.rows[-1].cells[-2].text == "0.11 (-0.10 to 0.32)"
    assert any("Week 12 - Week 6" in note and "Steiger" in note for _, note in rendered.footnotes)


def test_without_adjustment_there_is_no_such_column():
    rendered = made(frame(adjust="none"), plan=plan(adjust="none"))
    assert "Adjusted p" not in [c.label for c in rendered.columns]
    assert any("not adjusted" in note for _, note in rendered.footnotes)


def test_not_estimated_gives_the_reason_alone():
    rendered = made(frame(lost=[("LAA950", "FEV1")]))
    row = rendered.rows[-1]
    assert [c.text for c in row.cells[:4]] == ["2", "NE", "NE", "NE"]
    assert (row.cells[1].mark, "Not estimated: 2 patients") in rendered.footnotes


def test_covariates_and_log_scales_are_said():
    parameters = fixture.context().parameters
    parameters[1]["TRANSFORM"] = "log"
    rendered = made(frame(), plan=plan(covariates=["BASE", "AGE"]), parameters=parameters)
    notes = " ".join(note for _, note in rendered.footnotes)
    assert "partial correlation of changes from baseline given the baseline values" in notes
    assert "On a log scale: Emphysema (LAA-950)." in notes


def test_display_restricts():
    display = {**DISPLAY, "visits": ["Week 12"], "parameters": ["PERC15", "FEV1"]}
    rendered = made(frame(), display=display)
    assert [row.label.text for row in rendered.rows if row.kind != "data"] == [
        "Week 12",
        "15th percentile of lung density and FEV1",
    ]
    with pytest.raises(Absent, match="these parameters"):
        made(frame(), display={**DISPLAY, "visits": ["Baseline"]})


def test_empty_and_absent():
    rendered = made(frame(), stratum="nobody")
    assert rendered.rows == ()
    with pytest.raises(Absent):
        table_correlations.build(fixture.results(), fixture.context(plan=plan()), DISPLAY)


def test_same_text_twice():
    one, two = (table.to_tsv(made(frame(arms=3), 3)) for _ in range(2))
    assert one == two
    assert len({line.count("\t") for line in one.splitlines()}) == 1
