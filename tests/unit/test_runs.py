"""Two runs held against each other: every number, and the inputs that explain them."""

import pandas as pd
import pytest
from unit import reporting_fixture as fixture

from lungitude import cli, runs, tables


def a_run(folder, table=None, plan="confidence: 0.95\nfamilies: [{id: f, method: bh}]\n"):
    frame = fixture.frame() if table is None else table
    for name in ("analysis", "cohort"):
        (folder / name).mkdir(parents=True)
    tables.write_parquet(frame, folder / runs.RESULTS)
    (folder / runs.PLAN).write_text(plan, encoding="utf-8")
    adsl = pd.DataFrame({"USUBJID": ["P1", "P2"], "AGE": [61.0, 70.0], "EOSDT": ["", None]})
    tables.write_parquet(adsl, folder / "cohort" / "adsl.parquet")
    scans = pd.DataFrame(
        [["P1", "Baseline", "hrct", "ok", ""], ["P2", "Baseline", "hrct", "ok", ""]],
        columns=["USUBJID", "AVISIT", "SERIES", "status", "reason"],
    )
    tables.write(scans, folder / "cohort" / "scans.tsv")
    measured = pd.DataFrame(
        [["P1", "Baseline", "FEV1", 1.5], ["P2", "Baseline", "FEV1", None]],
        columns=["USUBJID", "AVISIT", "PARAMCD", "AVAL"],
    )
    tables.write(measured, folder / "cohort" / "measurements.tsv")
    return folder


@pytest.fixture
def first(tmp_path):
    return a_run(tmp_path / "a")


def test_a_run_equals_itself(first, tmp_path):
    found = runs.compare(first, a_run(tmp_path / "b"))
    assert found.numbers.empty
    assert found.crossed.empty
    assert found.inputs.empty
    assert found.same == len(fixture.frame())
    page = runs.write(found, tmp_path / "out").read_text()
    assert "if numbers differ, code or software changed" in page


def test_changed_new_and_gone_numbers_are_told_apart(first, tmp_path):
    frame = fixture.frame()
    p = frame.index[(frame["METHOD"] == "ancova") & (frame["STAT"] == "p")]
    frame.loc[p[0], "VALUE"] = 0.2
    frame.loc[p[1], "VALUE"] *= 1 + 1e-12  # the same number
    before = fixture.frame().loc[p[0], "VALUE"]
    assert before < 0.05
    count = frame.index[frame["STAT"] == "n"][0]
    frame.loc[count, "N"] = 7
    more = frame.iloc[[3]].assign(STAT="another")
    frame = pd.concat([frame.drop(index=frame.index[-1]), more], ignore_index=True)
    found = runs.compare(first, a_run(tmp_path / "b", frame))
    assert found.numbers["CHANGE"].value_counts().to_dict() == {"changed": 2, "new": 1, "gone": 1}
    changed = found.numbers[found.numbers["STAT"] == "p"].iloc[0]
    assert changed["DIFFERENCE"] == pytest.approx(0.2 - before)
    assert len(found.crossed) == 1
    assert found.same == len(fixture.frame()) - 3
    lines = runs.summary(found)
    assert "p values that crossed the threshold: 1" in lines
    assert any(line.startswith("  ancova: 1 changed") for line in lines)


def test_a_number_that_is_no_longer_estimated_is_a_change(first, tmp_path):
    frame = fixture.frame()
    where = frame.index[frame["VALUE"].notna() & (frame["STAT"] == "p")][0]
    frame.loc[where, "VALUE"] = float("nan")
    found = runs.compare(first, a_run(tmp_path / "b", frame))
    assert len(found.numbers) == 1
    assert found.crossed.empty  # it crossed nothing: there is no p value now


def test_inputs_that_changed_are_named_by_row_and_column(first, tmp_path):
    second = a_run(tmp_path / "b", plan="confidence: 0.9\nfamilies: [{id: f, method: holm}]\n")
    adsl = tables.read_parquet(second / "cohort" / "adsl.parquet")
    adsl.loc[1, "AGE"] = 71.0
    tables.write_parquet(adsl.iloc[1:], second / "cohort" / "adsl.parquet")
    path = second / "cohort" / "scans.tsv"
    path.write_text(
        path.read_text().replace("P2\tBaseline\thrct\tok\t", "P2\tBaseline\thrct\tx\ty")
    )
    path = second / "cohort" / "measurements.tsv"
    path.write_text(path.read_text().replace("1.5", "1.6"))
    found = runs.compare(first, second).inputs
    assert found.to_numpy().tolist() == [
        ["plan", "", "confidence", "0.95", "0.9"],
        ["plan", "", "families.f.method", "bh", "holm"],
        ["patients", "P1", "row", "present", ""],
        ["patients", "P2", "AGE", "70", "71"],
        ["scans", "P2 Baseline hrct", "status", "ok", "x"],
        ["scans", "P2 Baseline hrct", "reason", "", "y"],
        ["measurements", "P1 Baseline FEV1", "AVAL", "1.5", "1.6"],
    ]


def test_names_from_data_stay_text_in_the_page(first, tmp_path):
    second = a_run(tmp_path / "b")
    path = second / "cohort" / "measurements.tsv"
    path.write_text(path.read_text() + "<script>alert(1)</script>\tBaseline\tFEV1\t2\n")
    page = runs.write(runs.compare(first, second), tmp_path / "out").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_command_writes_tables_and_a_page(first, tmp_path, capsys):
    frame = fixture.frame()
    frame.loc[0, "VALUE"] += 1
    second = a_run(tmp_path / "b", frame)
    out = tmp_path / "out"
    assert cli.main(["compare", str(first), str(second), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "are equal, 1 are not." in told
    assert sorted(p.name for p in out.iterdir()) == ["compare.html", "inputs.tsv", "numbers.tsv"]
    assert len(tables.read(out / "numbers.tsv")) == 1
    assert cli.main(["compare", str(first), "nowhere"]) == 1
    assert "name the folder of a run that has ended" in capsys.readouterr().err
