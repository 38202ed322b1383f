"""Who was assessed for eligibility: the sheet, its counts, the flow figure and the disposition."""

import numpy as np
import pandas as pd
import pytest
import yaml
from unit import reporting_fixture as fixture
from unit.test_analysis import Trial, pick

from helpers import change_cell, problems_of
from lungitude import screening, tables, trial
from lungitude.analysis.disposition import disposition
from lungitude.reporting import figure, figure_flow, table_disposition
from lungitude.reporting.report import facts

COLUMNS = "SCREENID SCREENDT STATUS REASON USUBJID".split()
ROWS = [
    ("S-1", "2024-01-02", "randomised", np.nan, "P1"),
    ("S-2", "2024-01-03", "excluded", "Unstable angina", np.nan),
    ("S-3", "2024-01-04", "randomised", np.nan, "P2"),
    ("S-4", "2024-01-05", "excluded", "No consent", np.nan),
    ("S-5", "2024-01-06", "excluded", "No consent", np.nan),
    ("S-6", "2024-01-07", "excluded", np.nan, np.nan),
    ("S-7", "2024-01-08", "screened", np.nan, np.nan),
    ("S-8", "2024-03-01", "excluded", "No consent", np.nan),
]
SHEET = pd.DataFrame(ROWS, columns=COLUMNS)


def test_counts_sum_up_to_the_randomised():
    assert screening.counts(SHEET, ["P1", "P2"], "2024-02-01") == {
        "assessed": 7,
        "not_randomised": 4,
        "not_randomised:No consent": 2,
        "not_randomised:Unstable angina": 1,
        "not_randomised:Not recorded": 1,
        "awaiting": 1,
    }
    found = screening.counts(SHEET, ["P1"])  # P2 is randomised after the data cut
    assert (found["assessed"], found["not_randomised"], found["awaiting"]) == (8, 5, 2)
    plain = screening.counts(SHEET[["SCREENID", "STATUS"]], [])
    assert plain["not_randomised:Not recorded"] == 5


def test_disposition_has_them_for_all_patients_alone():
    made = Trial(n=8)
    sheet = pd.DataFrame(
        [(f"A{i}", "randomised", f"S{i:03d}") for i in range(8)]
        + [("B1", "excluded", None), ("B2", "excluded", None)],
        columns=["SCREENID", "STATUS", "USUBJID"],
    )
    table = disposition(
        *(made.adsl, made.records, None, {}, made.arms, made.visits, made.strata), screening=sheet
    )
    rows = table[table["LEVEL"].isin(["assessed", "awaiting"])]
    rows = pd.concat([rows, table[table["LEVEL"].str.startswith("not_randomised")]])
    assert set(rows["STRATUM"]) == {"all"}
    assert set(rows["GROUP"]) == {"TOTAL"}
    assert set(rows["N"]) == {10}
    found = dict(zip(rows["LEVEL"] + " " + rows["STAT"], rows["VALUE"], strict=True))
    assert found["assessed n"] == 10
    assert found["not_randomised pct"] == 20
    assert found["awaiting n"] == 0
    alone = Trial(n=8, arms=("A",))
    table = disposition(
        *(alone.adsl, alone.records, None, {}, alone.arms, alone.visits), screening=sheet
    )
    assert pick(table, LEVEL="assessed")["GROUP"].tolist() == ["A"]


# --- What is printed --------------------------------------------------------------------------


def results(arms=2, awaiting=3):
    """Results of the fixture with its patients assessed among others."""
    frame = fixture.frame(arms=arms)
    size = fixture.results(arms=arms).size("TOTAL").value
    why = {"Does not meet the inclusion criteria of lung function": 31, "No consent": 12}
    counts = {"assessed": size + 43 + awaiting, "not_randomised": 43,
              **{f"not_randomised:{reason}": n for reason, n in why.items()},
              "awaiting": awaiting}  # fmt: skip
    like = frame[(frame["METHOD"] == "disposition") & (frame["GROUP"] == "TOTAL")]
    like = like[(like["LEVEL"] == "randomised") & (like["STRATUM"] == "all")].iloc[0]
    rows = [{**like, "LEVEL": level, "VALUE": float(n), "N": 0} for level, n in counts.items()]
    rows += [{**row, "STAT": "pct", "VALUE": 12.5} for row in rows[1:]]
    return fixture.results(arms=arms, table=pd.concat([frame, pd.DataFrame(rows)]))


@pytest.mark.parametrize("arms", [2, 3, 4])
def test_the_flow_begins_with_those_assessed(arms):
    placed = figure_flow.layout(results(arms), fixture.context(arms=arms))
    page = figure_flow.Box(0, 0, figure.WIDTH_MM, placed.height, ())
    for index, box in enumerate(placed.boxes):
        assert not any(box.overlaps(other) for other in placed.boxes[index + 1 :])
        assert page.x <= box.x
        assert box.x + box.width <= page.width
        for line in box.lines:
            width = figure.text_width_mm(line.text, placed.points, line.bold) + line.indent_mm
            assert width <= box.width - 2 * figure_flow.PAD + 0.01, line.text
    assessed, excluded, randomised = placed.boxes[:3]
    assert assessed.lines[0].text.startswith("Assessed for eligibility (n\u00a0=\u00a0")
    told = " ".join(line.text for line in excluded.lines)
    assert "Excluded (n\u00a0=\u00a043)" in told
    assert "No consent (n\u00a0=\u00a012)" in told
    assert "Not yet randomised (n\u00a0=\u00a03)" in told
    assert "Patients randomised" in randomised.lines[0].text
    assert assessed.y + assessed.height < excluded.y
    assert excluded.y + excluded.height < randomised.y
    assert placed.bands[0].lines[0].text == "Enrolment"
    assert not any(a.overlaps(b) for a in placed.bands for b in placed.bands if a is not b)
    numbers = [p for line in excluded.lines for p in line.parts if p.address]
    assert len(numbers) == 4


def test_without_the_sheet_the_flow_begins_with_the_randomised():
    placed = figure_flow.layout(fixture.results(), fixture.context())
    assert "Patients randomised" in placed.boxes[0].lines[0].text
    assert "Enrolment" not in [band.lines[0].text for band in placed.bands]


def test_the_table_lists_them_before_the_randomised():
    display = {"id": "table_disposition", "title": "Disposition"}
    made = table_disposition.build(results(), fixture.context(), display)
    labels = ["".join(part.text for part in row.label.parts) for row in made.rows]
    assert labels[:6] == [
        "Assessed for eligibility",
        "Excluded",
        "Does not meet the inclusion criteria of lung function",
        "No consent",
        "Not yet randomised",
        "Randomised",
    ]
    cells = ["".join(part.text for part in cell.parts) for cell in made.rows[3].cells]
    assert cells == ["\u2013", "\u2013", "12 (12.5)"]
    assert any("of those not randomised" in note for _, note in made.footnotes)
    plain = table_disposition.build(fixture.results(), fixture.context(), display)
    assert "".join(part.text for part in plain.rows[0].label.parts) == "Randomised"
    assert facts(results(), fixture.context())[0][0] == "Assessed"


# --- The sheet --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "config" / "screened"
    place.mkdir(parents=True)
    arms = [{"code": "A", "label": "A"}, {"code": "B", "label": "B", "reference": True}]
    names = ("subjects", "randomisation", "parameters", "screening")
    config = {
        "trial": "screened",
        "title": "Screened",
        "arms": arms,
        "visits": [{"name": "Baseline", "path": "base", "number": 0, "baseline": True}],
        "sheets": {name: f"{name}.tsv" for name in names},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    patients = pd.DataFrame({"USUBJID": ["P1", "P2"], "RANDDT": "2024-01-10"})
    tables.write(patients, place / "subjects.tsv")
    tables.write(
        pd.DataFrame({"USUBJID": ["P1", "P2"], "ARM": ["A", "B"]}), place / "randomisation.tsv"
    )
    row = {"PARAMCD": "FEV1", "PARAM": "FEV1", "AVALU": "L", "LOW": 0.2, "HIGH": 7, "DECIMALS": 2,
           "DIRECTION": "higher", "DATASET": "ADFUN"}  # fmt: skip
    tables.write(pd.DataFrame([row]), place / "parameters.tsv")
    tables.write(SHEET, place / "screening.tsv")
    return place


def test_a_good_sheet_passes(folder):
    found = trial.load(folder / "config.yaml", root=folder.parents[1])
    assert len(found.screening) == 8


@pytest.mark.parametrize(
    ("row", "column", "value", "told"),
    [
        (0, "USUBJID", "", "line 2, column STATUS: S-1 is randomised, but USUBJID is empty"),
        (0, "USUBJID", "", "randomisation.tsv, line 2, column USUBJID: P1 has no row in screening"),
        (0, "USUBJID", "P3", "line 2, column USUBJID: patient 'P3' is not in subjects.tsv"),
        (2, "USUBJID", "P1", "line 4, column USUBJID: P1 is the patient of line 2, too"),
        (0, "STATUS", "excluded", "P1 is in randomisation.tsv, but S-1 is excluded"),
        (0, "STATUS", "randomized", "did you mean 'randomised'?"),
        (6, "REASON", "No consent", "S-7 has a reason to be excluded, but is screened"),
        (3, "REASON", "no consent", "write both alike"),
        (1, "REASON", "NA", "leave the cell empty"),
        (0, "SCREENDT", "2024-01-11", "S-1 was assessed on 2024-01-11, after P1 was randomised "
         "(2024-01-10, RANDDT"),
        (1, "SCREENID", "S-1", "S-1 stands already in line 2"),
        (1, "SCREENID", "", "line 3, column SCREENID: the cell is empty"),
    ],
)  # fmt: skip
def test_a_sheet_that_cannot_be_meant(folder, row, column, value, told):
    change_cell(folder / "screening.tsv", row, column, value)
    problems = problems_of(folder)
    assert any(told in problem for problem in problems), problems
    assert all(len(problem) <= 400 for problem in problems)
