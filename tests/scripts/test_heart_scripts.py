"""The gated scan is brought onto the inspiration: the script, on a phantom and its heart."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from unit.phantom_case import ROW

from helpers import Files
from lungitude import images, records, registration
from lungitude.phantom import cardiac, render
from lungitude.registration import hearts

SCRIPT = Path(__file__).parents[2] / "scripts" / "register_heart.py"
IDENTITY = {"USUBJID": "S001", "AVISIT": "Baseline", "SERIES": "visit"}
PHASES = (0.0, 0.35, 0.75)
SIZES = {"LVM": 140.0, "EF": 57.0, "SV": 70.0, "CACS": 250.0}
QUICK = {"preset": "heart", "spacing_mm": [8.0, 4.0]}


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """A folder with the inspiration, three phases of the heart and their labels, and the record."""
    folder = tmp_path_factory.mktemp("chest")
    section = {"voxel_mm": [2.5] * 3, "vessel_terminals": 100}
    record = render.prepare({**ROW, **SIZES}, section)
    scan = render.render(record, ("insp",))["insp"]
    images.write(scan.grid.image(render.deliver(scan)), folder / "insp.nii.gz")
    grid = cardiac.heart_grid(record, (2.0, 2.0, 3.0))
    phases = [cardiac.cta(record, phase, grid) for phase in PHASES]
    cycle = [grid.image(cardiac.deliver(phase)) for phase in phases]
    images.write(images.join_cycle(cycle), folder / "gated.nii.gz")
    labels = [grid.image(cardiac.labels(record, phase, grid)) for phase in PHASES]
    images.write(images.join_cycle(labels), folder / "heart.nii.gz")
    records.write(folder / "insp.json", **{**IDENTITY, "SERIES": "hrct_insp"})
    percent = [100 * phase for phase in PHASES]
    records.write(
        folder / "gated.json",
        **{**IDENTITY, "SERIES": "cta"},
        phases=percent,
        phases_unit="percent",
    )
    return folder


def run(chest, folder, settings=QUICK, on_bad_scan="exclude", **other):
    """Run the script; return the record and the paths of what it wrote."""
    names = {"transform": "transform.tfm", "record": "registration.json", "picture": "picture.png"}
    outputs = {name: folder / file for name, file in names.items()}
    inputs = {
        "fixed": chest / "insp.nii.gz",
        "fixed_record": chest / "insp.json",
        "moving": chest / "gated.nii.gz",
        "moving_record": chest / "gated.json",
        "heart": chest / "heart.nii.gz",
    }
    inputs = {name: str(path) for name, path in {**inputs, **other}.items() if path}
    job = SimpleNamespace(
        rule="register_heart",
        wildcards=["S001", "baseline"],
        log=[str(folder / "log")],
        input=Files(**{"heart": [], **inputs}),
        output=Files(**{name: str(path) for name, path in outputs.items()}),
        params=SimpleNamespace(
            identity=dict(IDENTITY), registration=settings, on_bad_scan=on_bad_scan
        ),
    )
    runpy.run_path(str(SCRIPT), init_globals={"snakemake": job}, run_name="__main__")
    return json.loads(outputs["record"].read_text()), outputs


def changed(chest, folder, change):
    """Write the gated scan after a change of each phase."""
    phases = [change(phase) for phase in images.read_cycle(chest / "gated.nii.gz")]
    images.write(images.join_cycle(phases), folder / "changed.nii.gz")
    return folder / "changed.nii.gz"


def points_of_heart(chest):
    labels = images.read_cycle(chest / "heart.nii.gz")[-1]
    where = np.argwhere(images.array(labels) > 0)[::50, ::-1]
    return np.array(labels.GetOrigin()) + where * np.array(labels.GetSpacing())


def test_the_heart_is_found_where_it_lies_in_the_chest(chest, tmp_path):
    shift = np.array([9.0, -12.0, 15.0])

    def move(phase):
        phase.SetOrigin((np.array(phase.GetOrigin()) + shift).tolist())
        return phase

    moving = changed(chest, tmp_path, move)
    record, outputs = run(chest, tmp_path, {"phase_pct": 70}, moving=moving, heart=None)
    assert (record["status"], record["SERIES"]) == ("ok", "heart_to_insp")
    assert record["warnings"] == []
    assert record["phase_pct"] == 75
    assert record["inside_pct"] == 100
    assert record["similarity"] > record["similarity_before"] + 0.1
    assert record["shift_mm"] == pytest.approx(np.linalg.norm(shift), abs=1.0)
    points = points_of_heart(chest)
    found = registration.read(outputs["transform"]).apply_points(points)
    error = np.linalg.norm(found - (points + shift), axis=1)
    assert error.mean() < 1.0
    assert outputs["picture"].stat().st_size > 1000


def test_labels_are_drawn_and_bytes_repeat(chest, tmp_path):
    files = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        _, outputs = run(chest, folder)
        files.append([path.read_bytes() for path in outputs.values()])
    assert files[0] == files[1]


def test_a_flipped_scan_is_refused(chest, tmp_path):
    def flip(phase):
        flipped = sitk.Flip(phase, (True, False, False))
        flipped.SetOrigin(phase.GetOrigin())
        flipped.SetDirection(phase.GetDirection())
        return flipped

    moving = changed(chest, tmp_path, flip)
    record, outputs = run(chest, tmp_path, moving=moving, heart=None)
    assert record["status"] == "excluded"
    assert "flipped left to right" in record["reason"]
    assert outputs["transform"].stat().st_size == 0
    assert outputs["picture"].stat().st_size > 1000  # a person may want to see why


def test_a_scan_of_a_part_of_the_chest_is_flagged(chest, tmp_path):
    whole = images.read(chest / "insp.nii.gz")
    images.write(whole[:, :, : whole.GetSize()[2] // 2], tmp_path / "half.nii.gz")
    record, _ = run(chest, tmp_path, fixed=tmp_path / "half.nii.gz")
    told = [*record["warnings"], record["reason"]]
    assert any("of the gated scan lies inside the other" in text for text in told)


def test_a_scan_without_anything_in_it_is_excluded(chest, tmp_path, capsys):
    moving = changed(chest, tmp_path, lambda phase: phase * 0 - 1000)
    record, outputs = run(chest, tmp_path, moving=moving)
    assert record["status"] == "excluded"
    assert "holds one value only" in record["reason"]
    assert outputs["picture"].stat().st_size == 0
    with pytest.raises(SystemExit):
        run(chest, tmp_path, moving=moving, on_bad_scan="stop")
    assert "S001 Baseline: the moving image holds one value only" in capsys.readouterr().err


def test_an_excluded_scan_is_passed_on(chest, tmp_path):
    records.exclude(tmp_path / "bad.json", "ingest", "two series", **IDENTITY)
    record, outputs = run(chest, tmp_path, moving_record=tmp_path / "bad.json")
    assert (record["status"], record["stage"]) == ("excluded", "ingest")
    assert "two series" in record["reason"]
    assert outputs["transform"].stat().st_size == 0


@pytest.mark.parametrize("labels", ["three phases turned", "two phases"])
def test_labels_that_the_picture_alone_needs_stop_nothing(chest, tmp_path, labels):
    phases = images.read_cycle(chest / "heart.nii.gz")
    turned = [sitk.DICOMOrient(phase, "RAS") for phase in phases]
    phases = turned if labels == "three phases turned" else phases[:2]
    images.write(images.join_cycle(phases), tmp_path / "labels.nii.gz")
    record, outputs = run(chest, tmp_path, heart=tmp_path / "labels.nii.gz")
    assert record["status"] == "ok"
    assert outputs["picture"].stat().st_size > 1000


def test_a_scan_of_three_slices_is_excluded_or_registered_but_no_crash(chest, tmp_path):
    phases = [phase[:, :, 10:13] for phase in images.read_cycle(chest / "gated.nii.gz")]
    images.write(images.join_cycle(phases), tmp_path / "thin.nii.gz")
    record, _ = run(chest, tmp_path, moving=tmp_path / "thin.nii.gz", heart=None)
    assert record["status"] in ("ok", "excluded")


@pytest.mark.parametrize(
    ("times", "unit", "count", "wanted", "found", "known"),
    [
        ([0, 25, 50, 75], "percent", 4, 70, 75, True),
        ([0, 25, 50, 75], "percent", 4, 95, 0, True),  # the cycle is round
        ([0, 200, 400, 600], "ms", 4, 75, 75, False),  # as if the cycle took 800
        ([300, 700], "ms", 2, 75, 63.64, False),
        (None, None, 5, 75, 80, True),
        ([10, 20], "percent", 5, 75, 80, True),  # of another scan: not believed
    ],
)
def test_the_nearest_phase_of_the_cycle(times, unit, count, wanted, found, known):
    percent, told = hearts.phases_pct(times, unit, count)
    assert percent[hearts.nearest_phase(percent, wanted)] == found
    assert told == known
