"""A tiny trial from DICOM to report, run whole: faults, privacy, reruns and equal bytes."""

import gzip
import hashlib
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from helpers import ROOT, edit_text, edit_yaml, snakemake
from lungitude import records, tables

COARSE_MM = 4


def scan_sheet(folder):
    return pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def trial(drawn, tmp_path_factory):
    """Three patients with scans: a clean one, one with DICOM faults, one with bad files."""
    root = tmp_path_factory.mktemp("whole")
    folder = root / "config" / "tiny"
    shutil.copytree(drawn, folder)

    def coarse(config):
        config["phantom"].update(
            voxel_mm=[COARSE_MM] * 3,
            expiration_voxel_mm=[COARSE_MM] * 3,
            calcium_voxel_mm=[2, 2, 3],
            gated_voxel_mm=[3, 3, 6],
        )
        config["imaging"]["max_subjects"] = 3
        config["imaging"]["registration"]["spacing_mm"] = 6
        for series in config["imaging"]["series"].values():
            series.update(slice_mm=COARSE_MM, voxel_mm=COARSE_MM)

    edit_yaml(folder / "config.yaml", coarse)
    scans = scan_sheet(folder)
    sizes = scans.groupby("USUBJID", sort=False).size()
    clean, faulty, files = sizes.index[sizes == 12][:3]
    scans = scans[scans["USUBJID"].isin([clean, faulty, files])]
    scans.insert(0, "order", scans["USUBJID"].map({clean: 0, faulty: 1, files: 2}))
    scans = scans.sort_values("order", kind="stable").drop(columns="order")
    own = scans["USUBJID"] == files
    scans = scans[~own | scans["AVISIT"].isin(["Baseline", "Week 6"])]
    scans = scans[~(scans["USUBJID"] == files) | (scans["SERIES"] == "hrct_insp")]
    scans.loc[scans["USUBJID"] == files, ["AIRWAYS", "VESSELS"]] = ""
    paths = write_files(root, folder, files)
    for (visit, column), path in paths.items():
        row = (scans["USUBJID"] == files) & (scans["AVISIT"] == visit)
        scans.loc[row, column] = path
    scans.to_csv(folder / "scans.tsv", sep="\t", index=False, lineterminator="\n")
    truth = pd.read_csv(folder / "phantom.tsv", sep="\t", dtype=str)
    truth["FAULT"] = ""
    at = lambda visit: (truth["USUBJID"] == faulty) & (truth["AVISIT"] == visit)  # noqa: E731
    truth.loc[at("Week 6"), "FAULT"] = "hrct_insp:missing_slice"
    truth.loc[at("Week 12"), "FAULT"] = "hrct_exp:two_series"
    truth.to_csv(folder / "phantom.tsv", sep="\t", index=False, lineterminator="\n")
    snakemake(folder, cores=2)
    return {"folder": folder, "root": root, "clean": clean, "faulty": faulty, "files": files}


def write_files(root, folder, subject):
    """Write a truncated NIfTI for the baseline, and a label map on another grid for week 6."""
    import SimpleITK as sitk

    from lungitude.phantom import render

    truth = tables.read(folder / "phantom.tsv").set_index(["USUBJID", "AVISIT"], drop=False)
    section = {"voxel_mm": [COARSE_MM] * 3, "vessel_terminals": 200, "seed": 1}
    record = render.prepare(truth.loc[(subject, "Baseline")].to_dict(), section)
    scan = render.render(record, phases=("insp",))["insp"]
    image = sitk.GetImageFromArray(render.deliver(scan))
    image.SetSpacing([float(COARSE_MM)] * 3)
    (root / "given").mkdir()
    whole = root / "given" / "week06.nii.gz"
    sitk.WriteImage(image, str(whole))
    half = root / "given" / "baseline.nii.gz"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    labels = root / "given" / "labels.nii.gz"
    other = sitk.GetImageFromArray((sitk.GetArrayFromImage(image)[::2] < -500).astype(np.uint8))
    sitk.WriteImage(other, str(labels))
    return {
        ("Baseline", "PATH"): "given/baseline.nii.gz",
        ("Week 6", "PATH"): "given/week06.nii.gz",
        ("Week 6", "LABELS"): "given/labels.nii.gz",
    }


def results_of(trial):
    return trial["root"] / "results" / "tiny"


def test_each_bad_scan_is_excluded_with_its_reason_and_the_trial_goes_on(trial):
    scans = tables.read(results_of(trial) / "cohort" / "scans.tsv")
    bad = scans[scans["status"] == "excluded"].set_index(["USUBJID", "AVISIT", "SERIES"])
    reasons = bad["reason"].to_dict()
    assert "slice" in reasons[trial["faulty"], "Week 6", "hrct_insp"]
    assert "two series" in reasons[trial["faulty"], "Week 12", "hrct_exp"]
    truncated = reasons[trial["files"], "Baseline", "hrct_insp"]
    assert re.search("truncated|damaged|ends early|corrupt", truncated), truncated
    assert "grid" in reasons[trial["files"], "Week 6", "hrct_insp"]
    assert len(bad) == 4
    page = (results_of(trial) / "report" / "all" / "report.html").read_text()
    for reason in reasons.values():
        assert reason.split("(")[0].strip()[:40].replace("'", "&#39;") in page


def test_an_excluded_scan_leaves_missing_values_not_imported_ones(trial):
    found = tables.read(results_of(trial) / "cohort" / "measurements.tsv")
    of = found[(found["USUBJID"] == trial["faulty"]) & (found["PARAMCD"] == "LAV950")]
    assert set(of["AVISIT"]) == {"Baseline", "Week 12"}
    assert set(of["SOURCE"]) == {"scan"}
    prm = found[(found["USUBJID"] == trial["faulty"]) & (found["PARAMCD"] == "PRMFSAD")]
    assert set(prm["AVISIT"]) == {"Baseline"}
    others = found[~found["USUBJID"].isin([trial["clean"], trial["faulty"], trial["files"]])]
    assert set(others["SOURCE"]) == {"imported"}


def test_the_planted_values_are_recovered(trial):
    """Within what voxels of 4 mm allow; finer ones are the matter of the phantom's own tests."""
    found = tables.read(results_of(trial) / "cohort" / "measurements.tsv")
    truth = tables.read(trial["folder"] / "phantom.tsv")
    truth = truth[truth["USUBJID"] == trial["clean"]].set_index("AVISIT")
    own = found[found["USUBJID"] == trial["clean"]].pivot_table(
        index="AVISIT", columns="PARAMCD", values="AVAL"
    )
    assert len(own) == 3
    np.testing.assert_allclose(own["LAV950"], truth["EMPH_PCT"][own.index], atol=1.5)
    np.testing.assert_allclose(own["LUNGVOL"], 1000 * truth["LUNGVOL_L"][own.index], rtol=0.03)
    np.testing.assert_allclose(own["PRMFSAD"], truth["FSAD_PCT"][own.index], atol=6)
    registered = tables.read(results_of(trial) / "cohort" / "registrations.tsv")
    registered = registered[registered["USUBJID"] == trial["clean"]]
    hearts = registered["SERIES"] == "heart_to_insp"
    assert (hearts.sum(), len(registered)) == (3, 8)
    assert (registered.loc[~hearts, "dice_after"] > 0.95).all()
    # The chest and its heart were made in one place: nothing is to be moved.
    assert (registered.loc[hearts, "shift_mm"] < COARSE_MM).all()


def test_no_name_of_a_patient_leaves_the_scans(trial):
    """Every planted tag, also inside compressed files, logs and the pages."""
    from lungitude.phantom.dicom import PLANTED

    secrets = [str(value).encode() for value in PLANTED.values()]
    for path in sorted((trial["root"] / "results").rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".tfm":  # millions of digits hold any date by chance
                content = re.sub(rb"Parameters: .*", b"", content)
            content += gzip.decompress(content) if path.suffix == ".gz" and content else b""
            for secret in secrets:
                assert secret not in content, f"{secret} in {path}"
    planted = next((trial["root"] / "data").rglob("*.dcm")).read_bytes()
    assert sum(secret in planted for secret in secrets) >= 5


def test_nothing_to_do_a_second_time(trial):
    run = snakemake(trial["folder"])
    assert "Nothing to be done" in run.stderr


def test_the_arm_is_unknown_before_the_analysis_data(trial):
    """No record or table of imaging tells an arm, and none before ADaM has one."""
    for folder in ("visit", "subject"):
        for path in (results_of(trial) / folder).rglob("*"):
            if path.suffix in (".json", ".tsv"):
                text = path.read_text()
                assert "TRT01P" not in text
                assert "ARM" not in text
    columns = tables.read(results_of(trial) / "cohort" / "measurements.tsv").columns
    assert not {"ARM", "TRT01P", "GOLDGR"} & set(columns)


def test_the_inventory_is_as_kept(trial):
    """The list of files of a run, without the images of single visits, equals the kept one."""
    root = results_of(trial)
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file()
        and path.relative_to(root).parts[0] in ("cohort", "analysis", "report")
        and path.name != ".snakemake_timestamp"
    )
    one = root / "visit" / trial["clean"] / "week06"
    found += sorted(f"visit/week06/{p.relative_to(one).as_posix()}" for p in one.rglob("*.*"))
    kept = (ROOT / "tests" / "trial" / "inventory.txt").read_text().split()
    assert found == kept


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_one_core_gives_the_same_bytes(trial, tmp_path):
    """A visit and all that follows, made again in another folder on one core: all is the same."""
    folder = tmp_path / "config" / "tiny"
    for part in ("config", "given", "data", "results"):
        shutil.copytree(trial["root"] / part, tmp_path / part)
    lost = ["cohort", "analysis", "report", "logs", f"subject/{trial['clean']}"]
    lost += [f"visit/{trial['clean']}/week06"]
    for part in (f"data/tiny/{trial['clean']}/week06", *(f"results/tiny/{part}" for part in lost)):
        shutil.rmtree(tmp_path / part)
    snakemake(folder, cores=1)
    first, second = digests(results_of(trial)), digests(tmp_path / "results" / "tiny")
    # A job that did not run again has left no log.
    first = {name: first[name] for name in first if name in second or not name.startswith("logs/")}
    logs = {path.split("/")[1] for path in second if path.startswith("logs/")}
    assert {"register_exp_to_insp", "register_heart", "compare_visits", "analyse"} <= logs
    assert first.keys() == second.keys()
    different = [name for name in first if first[name] != second[name]]
    assert different == []


def test_records_tell_what_was_read(trial):
    path = results_of(trial) / "visit" / trial["clean"] / "week06" / "hrct_insp" / "scan.json"
    record = records.read(path)
    assert record["status"] == "ok"
    assert record["spacing_mm"] == [COARSE_MM] * 3
    assert json.loads(path.read_text()) == record


def rules_run(folder, *arguments):
    """Which rules a run would execute, as a set."""
    run = snakemake(folder, "-n", "--quiet", "rules", *arguments)
    found = re.findall(r"^(\w+)\s+\d+$", run.stdout + run.stderr, flags=re.MULTILINE)
    return set(found) - {"total", "job"}


IMAGING = {
    *("render_chest", "render_heart", "ingest_scan", "segment_lungs", "check_quality"),
    *("measure_parenchyma", "measure_airways", "measure_vessels", "measure_calcium"),
    *("measure_ventricle", "compare_visits", "compare_prm"),
    *("register_exp_to_insp", "register_to_baseline", "register_heart", "measure_prm"),
    "gather_measurements",
}


# The last tests change the trial, so they stand at the end.
def test_a_change_of_the_plan_reruns_statistics_and_report_only(trial):
    plan = trial["folder"] / "plan.yaml"
    before = plan.read_text()
    edit_text(plan, "confidence: 0.95", "confidence: 0.9")
    found = rules_run(trial["folder"])
    plan.write_text(before)
    assert {"analyse", "gather_results", "render_displays", "report_stratum"} <= found
    assert not found & {*IMAGING, "derive_adam"}


def test_a_new_scan_reruns_its_patient_and_what_follows(trial):
    shutil.copy(trial["root"] / "given" / "week06.nii.gz", trial["root"] / "given" / "new.nii.gz")
    path = trial["root"] / "given" / "baseline.nii.gz"
    path.unlink()
    shutil.copy(trial["root"] / "given" / "new.nii.gz", path)
    run = snakemake(trial["folder"], "-n", "--quiet", "rules")
    counts = dict(re.findall(r"^(\w+)\s+(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE))
    assert counts["ingest_scan"] == "1"
    assert counts["segment_lungs"] == "1"
    assert "render_chest" not in counts
    assert {"gather_measurements", "derive_adam", "report_stratum"} <= set(counts)
