"""Validation on random phantoms: cases, truths of the trees, figures, document, blocks."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import ROOT
from lungitude import tables
from lungitude.phantom import protocols, record
from lungitude.validation import (
    imaging_cases,
    imaging_chest,
    imaging_document,
    imaging_heart,
    imaging_quantities,
    imaging_rows,
    imaging_summary,
    imaging_trees,
)

COMMITTED = ROOT / "docs" / "validation" / "imaging.tsv"
NUMBERS = ["measured", "t1", "t0", "expected"]


# Cases


def test_cases_are_the_same_each_time_and_differ_from_each_other():
    first = [imaging_cases.row(case, "first", ("trees", "heart")) for case in range(60)]
    assert first == [imaging_cases.row(case, "first", ("heart", "trees")) for case in range(60)]
    table = pd.DataFrame(first)
    assert table["USUBJID"].is_unique
    for column, (low, high) in imaging_cases.RANGES.items():
        assert table[column].between(low, high).all()
        assert np.ptp(table[column]) > 0.8 * (high - low)
    assert 0.05 < (table["CACS"] == 0).mean() < 0.4
    assert table["EMPH_PCT"].between(*imaging_cases.EMPHYSEMA_PCT).all()
    assert (table["EMPH_PCT"] + table["FSAD_PCT"] <= 55).all()


def test_every_case_is_one_that_the_phantom_takes():
    for case in range(imaging_cases.CASES):
        for visit in ("first", "second"):
            drawn = record.draw(imaging_cases.row(case, visit, ("trees", "heart")), {})
            assert set(drawn.quantities) == {name for name, *_ in record.QUANTITIES.values()}


def test_second_visit_changes_what_it_says_to_both_sides():
    pairs = [
        [imaging_cases.row(case, visit, ("trees", "heart")) for visit in ("first", "second")]
        for case in range(60)
    ]
    for column in imaging_cases.RANGES:
        change = np.array([after[column] - before[column] for before, after in pairs])
        most = imaging_cases.CHANGES.get(column, 0.0)
        assert np.abs(change).max() <= most + 1e-12
        assert (change.min() < 0 < change.max()) == (most > 0)


def test_organs_that_are_not_asked_for_are_left_out():
    cells = imaging_cases.row(3, "first", ("heart",))
    assert "EF" in cells
    assert "PI10" not in cells
    whole = imaging_cases.row(3, "first", ("trees", "heart"))
    assert all(whole[name] == value for name, value in cells.items())


# Truths of the trees


class Tubes:
    """A visit whose vessels and airways are tubes that a test gives."""

    def __init__(self, monkeypatch, ends, radius, kind=None, parent=None, airway=None):
        ends = np.array(ends, float)
        number = len(ends)
        self.record = SimpleNamespace(scale=np.ones(3), breath=None, inflation=None)
        self.record.kernel_sigma_mm = 0.8
        table = {
            "p0": ends[:, 0],
            "p1": ends[:, 1],
            "radius": np.array(radius, float),
            "kind": np.ones(number, int) if kind is None else np.array(kind),
            "parent": np.full(number, -1) if parent is None else np.array(parent),
        }
        pipe = np.array([airway or ((500.0, 0, 0), (510.0, 0, 0))], float)
        other = {"p0": pipe[:, 0], "p1": pipe[:, 1], "radius": np.array([2.0])}
        other |= {"wall": np.array([1.0]), "parent": np.array([-1])}
        monkeypatch.setattr(imaging_trees.vessels, "tree", lambda record: table)
        monkeypatch.setattr(imaging_trees.airways, "tree", lambda record: other)
        self.vessel_box = (np.zeros(3), np.full(3, 40.0))

    def truth(self):
        grid = imaging_trees.render.box((-5, -5, -5), (45, 45, 45), 2.5)
        return imaging_trees.vessel_truth(self, np.ones(grid.shape, np.uint8), grid)


def test_truth_of_one_tube_is_its_closed_form(monkeypatch):
    # It enters at one face and leaves at the other, so that no cap counts.
    visit = Tubes(monkeypatch, [((20.1, 19.9, -9), (20.1, 19.9, 49))], [1.2])
    truth, line = visit.truth()
    assert truth["tbv_ml"] == pytest.approx(np.pi * 1.44 * 40 / 1000, rel=0.02)
    assert truth["bv5_pct"] == 100
    assert truth["length_m"] == pytest.approx(0.04, rel=0.01)
    assert truth["fractal_dimension"] == pytest.approx(1.0, abs=0.1)
    assert set(line["radius_mm"]) == {1.2}


def test_truth_counts_what_lies_in_two_vessels_once_and_in_an_airway_never(monkeypatch):
    # Oblique: along the lattice, every slice would have the same error.
    ends = [((18, 22, -9), (23, 18, 49))] * 2
    length = 40 * np.hypot(58, np.hypot(5, 4)) / 58
    truth, _ = Tubes(monkeypatch, ends, [1.0, 2.0], kind=[1, 2]).truth()
    assert truth["tbv_ml"] == pytest.approx(np.pi * 4 * length / 1000, rel=0.01)
    assert truth["bv5_ml"] == 0.0
    inside = ends[0]
    truth, _ = Tubes(monkeypatch, ends[:1], [2.9], airway=inside).truth()
    assert truth["tbv_ml"] == 0.0


def test_vessels_that_no_scan_shows_do_not_count(monkeypatch):
    ends = [((20, 20, -9), (20, 20, 49)), ((9, 9, -9), (9, 9, 49))]
    thin = 0.9 * imaging_trees.vessels.VISIBLE_MM
    truth, line = Tubes(monkeypatch, ends, [2.0, thin]).truth()
    assert truth["length_m"] == pytest.approx(0.04, rel=0.01)
    assert set(line["segment"]) == {0}


def test_kin_are_no_neighbours(monkeypatch):
    ends = [
        ((20, 20, 0), (20, 20, 20)),
        ((20, 20, 20), (20, 20, 40)),
        ((20, 20, 20), (30, 20, 40)),
        ((15, 0, 10), (15, 40, 10)),
    ]
    visit = Tubes(monkeypatch, ends, [2.0, 1.0, 1.5, 1.0], parent=[-1, 0, 0, -1])
    gap = imaging_trees._gaps(visit)
    assert gap(np.array([20, 20, 10.0]), 0) == pytest.approx(5.0 - 1.0 - 2.0)
    assert gap(np.array([20, 20, 30.0]), 1) > 5.0  # the sister is nearer


def test_a_branch_is_that_on_whose_axis_it_lies_and_which_runs_as_it_does(monkeypatch):
    visit = Tubes(monkeypatch, [((0, 0, 0), (1, 0, 0))], [1.0])
    two = np.array([((0, 0, 0), (0, 0, 20)), ((0, 0, 10), (20, 0, 10))], float)
    tree = {"p0": two[:, 0], "p1": two[:, 1], "radius": np.array([2.0, 2.0])}
    monkeypatch.setattr(imaging_trees.airways, "tree", lambda record: tree)
    columns = ["x_mm", "y_mm", "z_mm", "tangent_x", "tangent_y", "tangent_z"]
    rows = [(0.3, 0, 9, 0, 0.1, 1), (8, 0.2, 10, 1, 0, 0), (8, 0, 10, 0, 0, 1), (0, 9, 9, 0, 0, 1)]
    found = imaging_trees.true_branches(visit, pd.DataFrame(rows, columns=columns))
    assert found["true"].tolist() == [0, 1, -1, -1]


# Figures


def made_up(rows):
    """Return rows of blocks from (case, visit, protocol, quantity, item, measured, t1, t0, ...)."""
    table = pd.DataFrame(
        [(row[0], "chest", *row[1:], *[np.nan] * (9 - len(row)), "") for row in rows],
        columns=imaging_cases.COLUMNS,
    )
    return table.astype(dict.fromkeys(NUMBERS, float))


def test_agreement_of_numbers_known_by_hand():
    found = imaging_summary.agreement([11.0, 19, 33, np.nan], [10.0, 20, 30, 40], [0, 1, 2, 3])
    assert (found["n"], found["missing"]) == (3, 1)
    assert found["bias"] == pytest.approx(1.0)
    assert found["sd"] == pytest.approx(2.0)
    assert found["rmse"] == pytest.approx(np.sqrt(11 / 3))
    assert found["largest"] == 3.0
    assert found["bias_pct"] == pytest.approx((10 - 5 + 10) / 3)
    assert found["largest_pct"] == pytest.approx(10.0)
    assert found["loa_low"] == pytest.approx(1 - 1.959964 * 2)
    # Two-way, absolute agreement: MSR 218.17 (rows), MSC 1.5 (raters), MSE 2 (rest).
    row, column, rest = 2 * np.var([10.5, 19.5, 31.5], ddof=1), 1.5, 2.0
    assert found["icc"] == pytest.approx((row - rest) / (row + rest + 2 * (column - rest) / 3))


def test_agreement_without_spread_or_with_few_pairs():
    same = imaging_summary.agreement([1.0, 2, 3], [1.0, 2, 3], [0, 1, 2])
    assert (same["bias"], same["loa_high"], same["icc"]) == (0, 0, 1)
    assert imaging_summary.agreement([1.0, 2], [1.0, 2], [0, 1]) == {"n": 2, "missing": 0}
    zero = imaging_summary.agreement([1.0, 2, 3], [0.0, 0, 0], [0, 1, 2])
    assert "bias_pct" not in zero
    assert "icc" not in zero


def test_items_of_a_patient_are_several_pairs():
    rng = np.random.default_rng(1)
    case = np.repeat(np.arange(20), 10)
    truth = rng.uniform(1, 4, case.size)
    measured = truth + rng.normal(0, 0.3, 20)[case] + rng.normal(0, 0.1, case.size)
    found = imaging_summary.agreement(measured, truth, case)
    assert found["n"] == 200
    half = 0.5 * (found["loa_high"] - found["loa_low"])
    assert half == pytest.approx(1.96 * np.hypot(0.3, 0.1), rel=0.25)


def test_change_of_numbers_known_by_hand():
    true = np.array([-2.0, -1, 0, 1, 2])
    found = imaging_summary.change(true, 0.5 * true + 3.0)
    assert found["slope"] == pytest.approx(0.5)
    assert found["residual_sd"] == pytest.approx(0.0, abs=1e-12)
    assert found["r"] == pytest.approx(1.0)
    # Without the case that does not change; two of four point the wrong way.
    assert found["right_sign"] == 0.5
    assert found["within_quarter"] == 0.0
    rng = np.random.default_rng(2)
    true = rng.normal(size=400)
    seen = 0.8 * true + rng.normal(0, 0.5, 400)
    found = imaging_summary.change(true, seen)
    assert found["slope_ci_low"] < 0.8 < found["slope_ci_high"]
    assert found["slope_ci_high"] - found["slope_ci_low"] == pytest.approx(3.93 * 0.5 / 20, rel=0.1)


def blocks(error=0.02):
    """Rows of both visits with an error of LAA, two vessels a case, and one fault."""
    rows = []
    for case in range(8):
        t1 = 5.0 + case
        rows += [
            (case, "first", "noiseless", "laa950_pct", "", t1 + error * (-1) ** case, t1),
            (case, "first", "soft 25", "laa950_pct", "", t1 + 1, t1, np.nan),
            (case, "second", "soft 25", "laa950_pct", "", 1.1 * t1 + 2, t1 + case - 3, np.nan),
            (case, "first", "soft 0.7 mm", "vessel_radius_mm", "1-0", 1.1, np.nan, 1.05),
            (case, "first", "soft 0.7 mm", "vessel_radius_mm", "1-1", 2.0 + case / 99, np.nan, 2.0),
        ]
    table = made_up(rows)
    lost = table.iloc[:1].assign(
        case=8, quantity="", fault="ValueError: no lungs", **{NUMBERS[0]: 0}
    )
    return pd.concat([table, lost], ignore_index=True)


def test_summary_has_every_kind_of_row():
    table = imaging_summary.summarise(blocks())
    assert list(table.columns) == imaging_summary.COLUMNS
    by = table.set_index(["kind", "quantity", "protocol"])
    assert by.loc[("agreement", "laa950_pct", "noiseless"), "largest"] == pytest.approx(0.02)
    assert by.loc[("agreement", "laa950_pct", "soft 25"), "bias"] == pytest.approx(1.0)
    change = by.loc[("change", "laa950_pct", "soft 25")]
    assert (change["n"], change["reference"]) == (8, "t1")
    assert change["slope"] == pytest.approx(0.1)  # 0.1 t1 against t1 - 8
    # Radii of 1.05 and 2 mm are in classes of their own.
    assert by.loc[("agreement", "vessel_radius_mm", "soft 0.7 mm"), "n"] == 16
    assert by.loc[("agreement", "vessel_radius_1", "soft 0.7 mm"), "n"] == 8
    assert by.loc[("agreement", "vessel_radius_1.75", "soft 0.7 mm"), "n"] == 8
    (fault,) = table[table["kind"] == "fault"].to_dict("records")
    assert (fault["n"], fault["note"]) == (1, "case 8: ValueError: no lungs")
    (count,) = table[table["kind"] == "cases"].to_dict("records")
    assert (count["part"], count["n"]) == ("chest", 9)


@pytest.mark.parametrize(("error", "verdict"), [(0.02, "| met |"), (0.2, "**not met**")])
def test_document_says_which_goals_are_met(tmp_path, error, verdict):
    path = tmp_path / "imaging.tsv"
    tables.write(imaging_summary.summarise(blocks(error)), path)
    text = imaging_document.document(tables.read(path, text=imaging_summary.TEXT))
    (line,) = (
        row for row in text.splitlines() if row.startswith("| LAA-950 | T1") and "largest" in row
    )
    assert f"{error:.3f}" in line
    assert verdict in line
    assert "not run" in text  # other goals have no rows
    assert "case 8: ValueError: no lungs" in text
    assert "| chest | noiseless | 1 |" in text


def test_goals_are_of_quantities_and_protocols_that_exist():
    protocols_of = imaging_cases.PARTS
    for goal in imaging_quantities.GOALS:
        spec = imaging_quantities.QUANTITIES[goal.quantity]
        assert set(goal.protocols) <= set(protocols_of[spec.part])
        assert goal.protocols
        if goal.change:
            assert spec.change == goal.reference


# Blocks


def test_a_failed_measurement_is_kept_and_the_rest_goes_on(monkeypatch):
    def measure(rows):
        rows.add("first", "p", "mld_hu", -850.0, t1=-851.0)
        rows.attempt("second", "p", lambda: 1 / 0)
        if rows.case % 2:
            raise ValueError("the whole case")
        rows.add("first", "p", "laa950_pct", 3.0)

    table = imaging_rows.block(2, "chest", measure)
    assert list(table.columns) == imaging_cases.COLUMNS
    assert sorted(set(table["case"])) == [8, 9, 10, 11]
    faults = table[table["fault"] != ""]
    assert (faults["fault"] == "ZeroDivisionError: division by zero").sum() == 4
    assert (faults["fault"] == "ValueError: the whole case").sum() == 2
    assert (table["quantity"] == "laa950_pct").sum() == 2
    assert (table.dtypes[NUMBERS] == np.float64).all()


def coarse(monkeypatch):
    """Protocols that cost little, and one case a block."""
    monkeypatch.setattr(imaging_rows, "PER_BLOCK", 1)
    chest = {
        "noiseless": protocols.make("soft", 4.0, 0.0),
        "soft 25": protocols.make("soft", 4.0, 25.0),
    }
    monkeypatch.setattr(imaging_chest, "CHEST", chest)
    trees = {"soft 0.7 mm": protocols.make("soft", 1.5, 25.0)}
    monkeypatch.setattr(imaging_trees, "TREES", trees)
    monkeypatch.setattr(imaging_trees, "LATTICE_MM", 0.8)
    heart = {"1.5 mm": imaging_cases.HeartProtocol((3.0,) * 3, 10)}
    monkeypatch.setattr(imaging_heart, "HEART", heart)
    calcium = {"3 mm, noise 20": imaging_cases.CalciumProtocol((0.7, 0.7, 3.0), 20.0)}
    monkeypatch.setattr(imaging_heart, "CALCIUM", calcium)


def test_parts_measure_a_case_and_are_gathered(tmp_path, monkeypatch):
    import gather_imaging
    import validate_chest
    import validate_heart
    import validate_trees

    coarse(monkeypatch)
    monkeypatch.setattr("lungitude.validation.imaging_trees.DEAR", 1)
    paths = {}
    for part, script in (
        ("chest", validate_chest),
        ("heart", validate_heart),
        ("trees", validate_trees),
    ):
        paths[part] = tmp_path / f"{part}.parquet"
        job = SimpleNamespace(
            wildcards=SimpleNamespace(part=part, block="5"),
            output=SimpleNamespace(block=paths[part]),
        )
        script.main(job)
    rows = pd.concat([tables.read_parquet(path) for path in paths.values()])
    assert rows.loc[rows["fault"] != "", "fault"].tolist() == []
    assert set(rows["case"]) == {5}
    assert set(rows["quantity"]) <= set(imaging_quantities.QUANTITIES)

    whole = rows[rows["item"] == ""].set_index(["visit", "protocol", "quantity"])
    first = whole.loc["first"]
    exact = first.loc[("noiseless", "laa950_pct")]
    assert exact["measured"] == pytest.approx(exact["t1"], abs=1e-9)
    noisy = first.loc[("soft 25", "laa856_pct")]
    assert noisy["measured"] == pytest.approx(noisy["expected"], abs=0.5)
    assert abs(noisy["measured"] - noisy["expected"]) < abs(noisy["measured"] - noisy["t1"])
    assert first.loc[("soft 25", "mld_hu"), "measured"] == pytest.approx(
        first.loc[("soft 25", "mld_hu"), "expected"], abs=0.3
    )
    heart = first.loc["1.5 mm"]
    assert heart.loc["edv_ml", "measured"] == pytest.approx(heart.loc["edv_ml", "t0"], rel=0.01)
    box = first.loc["soft 0.7 mm"]
    assert box.loc["airway_pi10_mm", "measured"] == pytest.approx(
        box.loc["airway_pi10_mm", "t0"], abs=0.4
    )
    assert box.loc["vessel_tbv_ml", "measured"] == pytest.approx(
        box.loc["vessel_tbv_ml", "t0"], rel=0.25
    )
    assert (rows["quantity"] == "vessel_radius_mm").sum() > 20
    changed = whole.loc[("second", "soft 0.7 mm", "vessel_length_m"), "t0"]
    assert changed != box.loc["vessel_length_m", "t0"]

    output = SimpleNamespace(table=tmp_path / "t.tsv", document=tmp_path / "t.md")
    gather_imaging.main(SimpleNamespace(input=list(paths.values()), output=output))
    assert "Every measurement of every case succeeded" in output.document.read_text()
    table = tables.read(output.table, text=imaging_summary.TEXT)
    assert list(table.columns) == imaging_summary.COLUMNS


def test_same_case_same_bytes(tmp_path, monkeypatch):
    import validate_heart

    coarse(monkeypatch)
    monkeypatch.setattr(imaging_heart, "HEART", {})
    for name in ("a", "b"):
        job = SimpleNamespace(
            wildcards=SimpleNamespace(block="3"),
            output=SimpleNamespace(block=tmp_path / f"{name}.parquet"),
        )
        validate_heart.main(job)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


# The committed figures


@pytest.mark.skipif(not COMMITTED.exists(), reason="not run yet")
def test_committed_document_is_made_from_its_table():
    table = tables.read(COMMITTED, text=imaging_summary.TEXT)
    document = COMMITTED.with_suffix(".md").read_text(encoding="utf-8")
    assert imaging_document.document(table) == document
    counts = table[table["kind"] == "cases"].set_index("part")["n"]
    assert counts.to_dict() == dict.fromkeys(imaging_cases.PARTS, imaging_cases.CASES)
