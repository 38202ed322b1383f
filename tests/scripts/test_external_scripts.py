"""Label maps of other software, made by stand-ins and brought onto the scan, scripts in-process."""

import json
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from unit import fake_backends as fakes

from helpers import ROOT, Files
from lungitude import images, records

IDENTITY = {"USUBJID": "001", "AVISIT": "Week 6", "SERIES": "hrct_insp"}


class Wildcards(SimpleNamespace):
    """What scripts ask of wildcards."""

    def __iter__(self):
        """Go through the values in order."""
        return iter(vars(self).values())


def run(script, folder, inputs, outputs, threads=1, **params):
    """Run a script as Snakemake does."""
    job = SimpleNamespace(
        rule=script,
        wildcards=Wildcards(subject="001", run="lobes"),
        log=[str(folder / f"{script}.log")],
        input=Files(**{name: str(path) for name, path in inputs.items()}),
        output=Files(**{name: str(folder / file) for name, file in outputs.items()}),
        params=Files(**params),
        threads=threads,
    )
    path = str(ROOT / "scripts" / f"{script}.py")
    runpy.run_path(path, init_globals={"snakemake": job}, run_name="__main__")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A scan, a stand-in of TotalSegmentator on the PATH, and its weights."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    images.write(fakes.chest(), tmp_path / "scan.nii.gz")
    records.write(tmp_path / "scan.json", **IDENTITY)
    fakes.on_path(monkeypatch, fakes.install(tmp_path / "bin", "TotalSegmentator"))
    fakes.trained(tmp_path / "weights", 291, 292, 293, 294, 295, 297, 298, 117)
    return tmp_path


def settings(folder, **changes):
    own = {"software": "totalsegmentator", "task": "total", "device": "cpu"}
    return {**own, "weights": str(folder / "weights"), **changes}


def check(folder, **changes):
    run(
        "check_external", folder, {}, {"record": "check.json"}, settings=settings(folder, **changes)
    )


def scanned(folder):
    return {"image": folder / "scan.nii.gz", "record": folder / "scan.json"}


def external(folder, cycle=False, **changes):
    inputs = {**scanned(folder), "check": folder / "check.json"}
    outputs = {"labels": "run.nii.gz", "record": "run.json"}
    chosen = settings(folder, **changes)
    run("run_external", folder, inputs, outputs, 2, identity=IDENTITY, settings=chosen, cycle=cycle)


def segment(folder, labels, label_map):
    """Return the record of the lungs that are taken from labels."""
    run(
        "segment_lungs",
        folder,
        {**scanned(folder), "labels": folder / labels},
        {"lungs": "lungs.nii.gz", "record": "lungs.json"},
        identity=IDENTITY,
        method="classical",
        label_map=label_map,
        label_scheme="lungs",
        on_bad_scan="exclude",
    )
    return records.read(folder / "lungs.json")


def adopt(folder, column, label_map, labels="run.nii.gz", **params):
    inputs = {**scanned(folder), "labels": folder / labels}
    outputs = {"labels": "ours.nii.gz", "record": "ours.json"}
    fixed = {"identity": IDENTITY, "cycle": False, "on_bad_scan": "exclude"}
    params = {**fixed, "column": column, "label_map": label_map, **params}
    run("adopt_labels", folder, inputs, outputs, **params)
    return records.read(folder / "ours.json")


def test_software_is_checked_run_and_its_lobes_measured(made):
    check(made)
    external(made)
    record = records.read(made / "run.json")
    assert record["status"] == "ok"
    assert (record["software"], record["version"]) == ("TotalSegmentator", fakes.VERSION)
    assert len(record["weights"]) == 6
    assert record["run"] == "lobes"
    assert fakes.called(made / "bin")["env"]["OMP_NUM_THREADS"] == "2"
    lungs = segment(made, "run.nii.gz", "totalsegmentator")
    assert (lungs["method"], lungs["scheme"]) == ("external", "lobes")
    assert lungs["labels"]["names"]["RLL"] == [14]
    voxel_ml = 2.5**3 / 1000
    assert lungs["RUL_ml"] + lungs["RLL_ml"] == pytest.approx(fakes.VOXELS[0] * voxel_ml, abs=1e-3)
    assert lungs["LUL_ml"] + lungs["LLL_ml"] == pytest.approx(fakes.VOXELS[1] * voxel_ml, abs=1e-3)


def test_one_run_gives_airways_and_vessels(made):
    check(made, task="lung_vessels")
    external(made, task="lung_vessels")
    names = "totalsegmentator_lung_vessels"
    assert adopt(made, "AIRWAYS", names)["structure"] == "airways"
    airways = images.array(images.read_labels(made / "ours.nii.gz", like=fakes.chest()))
    record = adopt(made, "VESSELS", names)
    vessels = images.array(images.read_labels(made / "ours.nii.gz"))
    assert record["names"] == {"artery": [3], "vein": [4]}
    assert np.count_nonzero(airways) == fakes.VOXELS[0]  # the stand-in's airways lie on the right
    assert np.count_nonzero(vessels) == fakes.VOXELS[1]
    assert not (airways * vessels).any()


def test_a_cycle_is_run_phase_by_phase(made):
    fakes.trained(made / "more", 301, 297)
    own = made / "user" / ".totalsegmentator" / "config.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"license_number": "aca_1"}))
    chosen = {"task": "heartchambers_highres", "weights": str(made / "more")}
    check(made, **chosen)
    images.write(images.join_cycle([fakes.chest()] * 2), made / "scan.nii.gz")
    external(made, cycle=True, **chosen)
    names = "totalsegmentator_heartchambers_highres"
    record = adopt(made, "HEART", names, cycle=True)
    assert (record["structure"], record["inside_pct"]) == ("heart", 100.0)
    phases = images.read_cycle(made / "ours.nii.gz")
    assert [set(np.unique(images.array(phase))) for phase in phases] == [{0, 1, 2, 3}] * 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: (f / "bin" / "TotalSegmentator").unlink(), "TotalSegmentator isn't installed"),
        (
            lambda f: next((f / "weights").glob("Dataset292*")).rename(f / "elsewhere"),
            "are missing in",
        ),
    ],
)
def test_what_is_missing_is_one_line_and_stops(made, capsys, monkeypatch, change, told):
    monkeypatch.setenv("PATH", f"{made / 'bin'}:/usr/bin:/bin")
    change(made)
    with pytest.raises(SystemExit):
        check(made)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (made / "check.json").exists()


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("fail", "TotalSegmentator ended with status 3: RuntimeError: CUDA out of memory"),
        ("other grid", "label map labels.nii.gz is on another grid"),
    ],
)
def test_a_run_that_fails_leaves_nothing(made, capsys, mode, told):
    check(made)
    (made / "bin" / "mode").write_text(mode)
    with pytest.raises(SystemExit):
        external(made)
    assert told in capsys.readouterr().err
    assert not (made / "run.nii.gz").exists()
    assert not (made / "run.json").exists()
    if mode == "fail":
        log = (made / "run_external.log").read_text()
        assert "TotalSegmentator: Generating rough segmentation" in log


def test_an_excluded_scan_is_not_run(made):
    check(made)
    records.exclude(made / "scan.json", "ingest", "missing slice", **IDENTITY)
    external(made)
    assert records.read(made / "run.json")["reason"] == "missing slice"
    assert (made / "run.nii.gz").stat().st_size == 0
    assert not (made / "bin" / "called.json").exists()
    assert adopt(made, "VESSELS", "vessels")["reason"] == "missing slice"


def test_labels_that_cannot_be_used_are_left_out_or_stop(made):
    scan = fakes.chest()
    images.write(scan > 0, made / "given.nii.gz")
    names = "totalsegmentator_lung_vessels"
    record = adopt(made, "VESSELS", names, "given.nii.gz")
    assert record["status"] == "excluded"
    assert record["reason"].startswith("none of the codes [3, 4]")
    assert str(made) not in record["reason"]
    assert (made / "ours.nii.gz").stat().st_size == 0
    with pytest.raises(SystemExit):
        adopt(made, "VESSELS", names, "given.nii.gz", on_bad_scan="stop")


def test_a_wrong_label_map_stops_the_trial(made, capsys):
    images.write(fakes.chest() > 0, made / "given.nii.gz")
    with pytest.raises(SystemExit):
        adopt(made, "HEART", "totalsegmentator", "given.nii.gz")
    assert "no LV blood, LV myocardium of the heart" in capsys.readouterr().err


def test_masks_on_another_grid_are_adopted_where_that_is_allowed(made):
    scan = fakes.chest()
    masks = made / "masks"
    masks.mkdir()
    for name, low in (("lung_arteries", 0), ("lung_veins", 12)):
        values = np.zeros((16, 20, 24), np.uint8)
        values[:, :, low : low + 12] = images.array(scan)[:, :, low : low + 12] < -700
        images.write(images.from_array(values, scan)[1:, 2:, 3:], masks / f"{name}.nii.gz")
    refused = adopt(made, "VESSELS", "named", "masks")
    assert "another grid" in refused["reason"]
    record = adopt(made, "VESSELS", "named", "masks", resample_labels=True)
    assert (record["form"], record["resampled"], record["inside_pct"]) == ("masks", True, 100.0)
    labels = images.array(images.read_labels(made / "ours.nii.gz", like=scan))
    assert [np.count_nonzero(labels == code) for code in (1, 2)] == fakes.VOXELS


def test_lungs_come_from_codes_and_masks_by_any_label_map(made):
    scan = fakes.chest()
    air = images.array(scan) < -700
    right = np.arange(24) < 12
    volumes = [round(count * 2.5**3 / 1000, 3) for count in fakes.VOXELS]
    images.write(
        images.from_array(air * np.where(right, 7, 9).astype(np.uint8), scan), made / "l.mha"
    )
    (made / "masks").mkdir()
    for name, side in (("Lung Right", right), ("Lung Left", ~right)):
        mask = images.from_array((air & side).astype(np.uint8), scan)
        images.write(mask, made / "masks" / f"{name}.nii.gz")
    for labels, label_map in (
        ("l.mha", {"right": 7, "left": [8, 9]}),
        ("l.mha", {"7": 1, "9": 2}),
        ("masks", "named"),
        ("masks", {"right": "Lung Right", "left": "Lung Left"}),
    ):
        record = segment(made, labels, label_map)
        assert record["scheme"] == "lungs"
        assert [record["right_ml"], record["left_ml"]] == volumes
