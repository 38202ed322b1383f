"""The scripts of registration and of the response map, run in-process on a synthetic breath."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from helpers import Files
from lungitude import images, records, registration, tables
from lungitude.phantom import breathing, render

SCRIPTS = Path(__file__).parents[2] / "scripts"
IDENTITY = {"USUBJID": "S001", "AVISIT": "Week 6", "SERIES": "visit"}
SETTINGS = {"preset": "lung", "backend": "simpleitk", "spacing_mm": 4}
QUICK = {**SETTINGS, "spacing_mm": 7, "fallback": None}
ROW = {
    "USUBJID": "S001",
    "AVISIT": "Week 6",
    "LUNGVOL_L": 4.5,
    "EMPH_PCT": 12.0,
    "FSAD_PCT": 25.0,
    "EXPRATIO": 0.65,
    "LUNG_HU": -865.0,
}


@pytest.fixture(scope="module")
def breath(tmp_path_factory):
    """Scans, lungs and records of one visit in a folder, and what the phantom knows."""
    folder = tmp_path_factory.mktemp("breath")
    section = {"voxel_mm": [3.0, 3.0, 3.0], "vessel_terminals": 800}
    scans = render.render(render.prepare(ROW, section))
    for phase, scan in scans.items():
        lungs = scan.lungs
        for name, values in (("scan", render.deliver(scan)), ("lungs", lungs)):
            image = sitk.GetImageFromArray(values)
            image.SetSpacing([float(mm) for mm in scan.grid.spacing_mm])
            image.SetOrigin([float(mm) for mm in scan.grid.origin_mm])
            images.write(image, folder / f"{phase}_{name}.nii.gz")
            fields = {**IDENTITY, "SERIES": phase, "scheme": "lungs"}
            records.write(folder / f"{phase}_{name}.json", **fields)
    return folder, scans


def run(script, inputs, outputs, folder, **params):
    job = SimpleNamespace(
        rule=script,
        wildcards=["S001", "week06"],
        log=[str(folder / "log")],
        input=Files(**{k: str(v) for k, v in inputs.items()}),
        output=Files(**{k: str(v) for k, v in outputs.items()}),
        params=SimpleNamespace(identity=dict(IDENTITY), **params),
    )
    runpy.run_path(
        str(SCRIPTS / f"{script}.py"), init_globals={"snakemake": job}, run_name="__main__"
    )


def pair_inputs(folder, fixed="insp", moving="exp"):
    return {
        f"{role}{part}": folder / f"{phase}_{name}"
        for role, phase in (("fixed", fixed), ("moving", moving))
        for part, name in (
            ("", "scan.nii.gz"),
            ("_record", "scan.json"),
            ("_lungs", "lungs.nii.gz"),
            ("_lungs_record", "lungs.json"),
        )
    }


def outputs_in(folder, **names):
    return {key: folder / name for key, name in names.items()}


@pytest.fixture(scope="module")
def registered(breath, tmp_path_factory):
    folder = tmp_path_factory.mktemp("registered")
    outputs = outputs_in(
        folder,
        transform="transform.tfm",
        image="expiration.nii.gz",
        record="registration.json",
        picture="registration.png",
    )
    run(
        "register_exp_to_insp",
        pair_inputs(breath[0]),
        outputs,
        folder,
        registration=SETTINGS,
        on_bad_scan="exclude",
    )
    return outputs


def test_expiration_lands_on_the_inspiration(breath, registered):
    record = json.loads(registered["record"].read_text())
    assert (record["status"], record["SERIES"]) == ("ok", "exp_to_insp")
    assert record["dice_after"] > 0.95
    assert record["warnings"] == []
    assert (record["backend"], record["fallback"]) == ("simpleitk", False)
    folder, scans = breath
    transform = registration.read(registered["transform"])
    insp, exp = render.landmarks(scans["insp"].record)
    assert np.linalg.norm(insp - exp, axis=1).mean() > 20
    assert np.linalg.norm(transform.apply_points(insp) - exp, axis=1).mean() < 2
    warped = images.read(registered["image"])
    images.check_grid(images.read(folder / "insp_scan.nii.gz"), warped)
    assert registered["picture"].stat().st_size > 1000


def test_jacobian_is_that_of_the_phantom(breath, registered):
    folder, scans = breath
    lungs = images.read(folder / "insp_lungs.nii.gz")
    where = np.argwhere(images.array(lungs) != 0)[::50]
    points = np.array([lungs.TransformIndexToPhysicalPoint(i) for i in where[:, ::-1].tolist()])
    motion = scans["insp"].record.breath
    moved = breathing.map_points(motion, points, "insp_to_exp")
    truth = 1.0 / breathing.jacobian(motion, *moved.T)
    found = images.array(registration.read(registered["transform"]).jacobian(lungs))
    error = found[tuple(where.T)] - truth
    assert abs(error.mean()) < 0.02
    assert np.abs(error).mean() < 0.06


def test_response_map_is_that_of_the_phantom(breath, registered, tmp_path):
    folder, scans = breath
    inputs = {
        "inspiration": folder / "insp_scan.nii.gz",
        "lungs": folder / "insp_lungs.nii.gz",
        "lungs_record": folder / "insp_lungs.json",
        "expiration": registered["image"],
        "record": registered["record"],
    }
    outputs = outputs_in(tmp_path, table="prm.tsv", map="prm.nii.gz", picture="prm.png")
    run("measure_prm", inputs, outputs, tmp_path, vessel_hu=None)
    table = tables.read(outputs["table"]).set_index("region")
    assert list(table.index) == ["all", "right", "left"]
    truth = render.truth(scans)
    for name in ("normal_pct", "fsad_pct", "emphysema_pct"):
        assert table.loc["all", name] == pytest.approx(truth[name], abs=4)
    assert set(table["SERIES"]) == {"visit"}
    assert np.unique(images.array(images.read(outputs["map"]))).tolist() == [0, 1, 2, 3, 4]
    assert outputs["picture"].stat().st_size > 1000


def test_an_exclusion_is_passed_on(breath, tmp_path):
    inputs = pair_inputs(breath[0])
    inputs["moving_record"] = tmp_path / "bad.json"
    records.exclude(
        inputs["moving_record"], "ingest", "missing slices", **{**IDENTITY, "SERIES": "exp"}
    )
    outputs = outputs_in(
        tmp_path, transform="t.tfm", image="e.nii.gz", record="r.json", picture="p.png"
    )
    run(
        "register_exp_to_insp", inputs, outputs, tmp_path, registration=SETTINGS, on_bad_scan="stop"
    )
    record = records.read(outputs["record"])
    assert (record["status"], record["stage"]) == ("excluded", "ingest")
    assert record["reason"] == "Week 6 exp: missing slices"
    assert all(outputs[name].stat().st_size == 0 for name in ("transform", "image", "picture"))
    after = outputs_in(tmp_path, table="prm.tsv", map="m.nii.gz", picture="q.png")
    run(
        "measure_prm",
        {"inspiration": "", "lungs": "", "expiration": "", "record": tmp_path / "r.json"},
        after,
        tmp_path,
        vessel_hu=None,
    )
    assert tables.read(after["table"]).empty
    assert after["map"].stat().st_size == 0


def test_lungs_that_do_not_meet_are_excluded(breath, tmp_path):
    """A mask that lies across both lungs, as thin as a sheet, can't be brought to overlap."""
    inputs = pair_inputs(breath[0])
    lungs = images.read(inputs["moving_lungs"])
    sheet = np.zeros(images.array(lungs).shape, np.uint8)
    sheet[::8] = images.array(lungs)[::8]
    images.write(images.from_array(sheet, lungs), tmp_path / "sheet.nii.gz")
    inputs["moving_lungs"] = tmp_path / "sheet.nii.gz"
    outputs = outputs_in(tmp_path, transform="t.tfm", record="r.json", picture="p.png")
    run(
        "register_to_baseline",
        inputs,
        outputs,
        tmp_path,
        registration=QUICK,
        on_bad_scan="exclude",
    )
    record = records.read(outputs["record"])
    assert (record["status"], record["stage"]) == ("excluded", "registration")
    assert "Dice" in record["reason"]
    assert record["SERIES"] == "to_baseline"
    with pytest.raises(SystemExit):
        run(
            "register_to_baseline",
            inputs,
            outputs,
            tmp_path,
            registration=QUICK,
            on_bad_scan="stop",
        )
    assert "S001 Week 6" in (tmp_path / "log").read_text()


def test_follow_up_lands_on_the_baseline(breath, tmp_path):
    outputs = outputs_in(tmp_path, transform="t.tfm", record="r.json", picture="p.png")
    inputs = pair_inputs(breath[0], "insp", "insp")
    run(
        "register_to_baseline",
        inputs,
        outputs,
        tmp_path,
        registration=QUICK,
        on_bad_scan=None,
    )
    assert records.read(outputs["record"])["dice_after"] > 0.99


def register_follow_up(inputs, folder, settings, on_bad_scan="exclude"):
    """Run the rule of visits; return its record and outputs."""
    folder.mkdir(exist_ok=True)
    outputs = outputs_in(folder, transform="t.tfm", record="r.json", picture="p.png")
    run(
        "register_to_baseline",
        inputs,
        outputs,
        folder,
        registration=settings,
        on_bad_scan=on_bad_scan,
    )
    return records.read(outputs["record"]), outputs


def with_moving(inputs, folder, *images_of):
    """Replace the moving scan and its lungs."""
    names = {"moving": "scan.nii.gz", "moving_lungs": "lungs.nii.gz"}
    for image, name in zip(images_of, names.values(), strict=True):
        images.write(image, folder / name)
    return {**inputs, **{key: folder / name for key, name in names.items()}}


def test_a_mirrored_scan_is_excluded_and_never_tried_twice(breath, tmp_path):
    inputs = pair_inputs(breath[0], "insp", "insp")
    mirrored = []
    for name in ("moving", "moving_lungs"):
        image = images.read(inputs[name])
        values = np.ascontiguousarray(images.array(image)[..., ::-1])
        mirrored.append(images.from_array(values, image))
    inputs = with_moving(inputs, tmp_path, *mirrored)
    settings = {**QUICK, "fallback": {"backend": "antspyx", "spacing_mm": 9}}
    record, outputs = register_follow_up(inputs, tmp_path, settings)
    assert (record["status"], record["flip"]) == ("excluded", "left to right")
    assert "flipped left to right" in record["reason"]
    assert record["fallback"] is False
    assert "trying the fall-back" not in (tmp_path / "log").read_text()
    assert outputs["transform"].stat().st_size == 0
    assert outputs["picture"].stat().st_size > 1000  # why is for a person to see
    with pytest.raises(SystemExit):
        register_follow_up(inputs, tmp_path, settings, "stop")


def test_another_patients_scan_is_excluded_after_the_fall_back(breath, tmp_path):
    section = {"voxel_mm": [3.5, 3.5, 3.5], "vessel_terminals": 800}
    other = render.render(render.prepare({**ROW, "USUBJID": "S777"}, section))["insp"]
    inputs = with_moving(
        pair_inputs(breath[0], "insp", "insp"),
        tmp_path,
        other.grid.image(render.deliver(other)),
        other.grid.image((other.lobes > 0).astype(np.uint8)),
    )
    settings = {**QUICK, "fallback": {"backend": "antspyx", "spacing_mm": 8}}
    record, _ = register_follow_up(inputs, tmp_path, settings)
    assert record["status"] == "excluded"
    assert record["dice_after"] > 0.9
    assert "another patient" in record["reason"]
    assert "trying the fall-back" in (tmp_path / "log").read_text()


def test_the_fall_back_is_kept_where_the_first_fails(breath, tmp_path):
    inputs = pair_inputs(breath[0])
    failing = {**QUICK, "total_sigma_vox": 0.0}  # nothing keeps the field smooth
    record, _ = register_follow_up(inputs, tmp_path / "alone", failing)
    assert record["fallback"] is False
    assert any("folds" in text for text in record["warnings"])
    rescue = {**failing, "fallback": {"backend": "antspyx", "spacing_mm": 5}}
    record, outputs = register_follow_up(inputs, tmp_path / "rescued", rescue)
    assert (record["status"], record["backend"], record["fallback"]) == ("ok", "antspyx", True)
    assert not any("folds" in text for text in record["warnings"])
    transform = registration.read(outputs["transform"])
    insp, exp = render.landmarks(breath[1]["insp"].record)
    assert np.linalg.norm(transform.apply_points(insp) - exp, axis=1).mean() < 3


def test_a_second_opinion_is_asked_of_chosen_patients_only(breath, tmp_path):
    inputs = pair_inputs(breath[0])
    settings = {"backend": "antspyx", "spacing_mm": 6}
    for subjects, asked in ((["S001"], True), (["S002"], False)):
        second = {"backend": "simpleitk", "subjects": subjects}
        record, _ = register_follow_up(
            inputs, tmp_path / subjects[0], {**settings, "second_opinion": second}
        )
        assert ("second_backend" in record) == asked
        if asked:
            assert record["second_backend"] == "simpleitk"
            assert 0 < record["second_mean_mm"] < record["second_p95_mm"] < 6


def test_a_second_opinion_that_differs_is_a_warning(breath, tmp_path, monkeypatch):
    monkeypatch.setattr("lungitude.registration.checks.MAX_DIFFERENCE_MM", (0.01, 8.0))
    settings = {
        "backend": "antspyx",
        "spacing_mm": 6,
        "second_opinion": {"backend": "simpleitk", "subjects": ["S001"]},
    }
    record, _ = register_follow_up(pair_inputs(breath[0]), tmp_path, settings)
    assert record["status"] == "ok"
    assert record["warnings"][-1].startswith("simpleitk differs by")


def test_two_runs_write_the_same_bytes(breath, tmp_path):
    found = []
    for name in ("one", "two"):
        _, outputs = register_follow_up(pair_inputs(breath[0]), tmp_path / name, QUICK)
        found.append([outputs[key].read_bytes() for key in ("transform", "record", "picture")])
    assert found[0] == found[1]
