"""A trial whose lobes, airways and vessels are made by other software, from scan to table."""

import shutil

import pytest
from unit import chest
from unit import fake_backends as fakes

from helpers import ROOT, edit_yaml, problems_of, snakemake
from lungitude import images, records, tables

RUNS = {
    "lobes": {"software": "totalsegmentator", "task": "total", "fills": ["LABELS"]},
    "trees": {"software": "totalsegmentator", "task": "lung_vessels", "fills": ["VESSELS"]},
}


@pytest.fixture
def public(tmp_path, monkeypatch):
    """The trial of public scans with one scan, stand-ins on the PATH, and weights."""
    folder = tmp_path / "config" / "public"
    shutil.copytree(ROOT / "config" / "public", folder)
    (tmp_path / "scans").mkdir()
    image, _, _ = chest.make()
    images.write(image, tmp_path / "scans" / "one.nii.gz")
    sheet = "USUBJID\tAVISIT\tSERIES\tPATH\n001\tBaseline\thrct_insp\tone.nii.gz\n"
    (folder / "scans.tsv").write_text(sheet)
    weights = fakes.trained(tmp_path / "weights", 291, 292, 293, 294, 295, 297, 298, 117)

    def change(config):
        config["scans_root"] = str(tmp_path / "scans")
        del config["imaging"]["label_map"]
        runs = {name: {**run, "weights": str(weights)} for name, run in RUNS.items()}
        config["imaging"]["external"] = runs

    edit_yaml(folder / "config.yaml", change)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    fakes.on_path(monkeypatch, fakes.install(tmp_path / "bin", "TotalSegmentator"))
    return folder


def test_a_trial_with_runs_of_other_software(public):
    results = public.parents[1] / "results" / "public"
    scan = results / "visit" / "001" / "baseline" / "hrct_insp"
    wanted = [f"{scan.relative_to(public.parents[1])}/{name}" for name in ("parenchyma.tsv",)]
    snakemake(public, *wanted, f"{scan.relative_to(public.parents[1])}/vessels.tsv", "--keep-going")
    table = tables.read(scan / "parenchyma.tsv").set_index("region")
    assert {"RUL", "RLL", "LUL", "LLL"} <= set(table.index)
    assert table.loc["RUL", "volume_ml"] > 100
    record = records.read(results / "external" / "lobes.json")
    assert record["version"] == fakes.VERSION
    assert records.read(scan / "labels" / "vessels.json")["names"] == {"artery": [3], "vein": [4]}
    assert (scan / "vessels.tsv").exists()
    again = snakemake(public, *wanted, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    next((public.parents[1] / "weights").glob("Dataset291*/*/plans.json")).write_text('{"new": 1}')
    again = snakemake(public, *wanted, "--dry-run")
    assert "run_totalsegmentator" in again.stdout + again.stderr


def test_missing_weights_stop_before_a_scan_is_run(public):
    shutil.rmtree(public.parents[1] / "weights")
    scan = "results/public/visit/001/baseline/hrct_insp/parenchyma.tsv"
    run = snakemake(public, scan, check=False)
    assert run.returncode
    assert "weights of TotalSegmentator are missing" in run.stdout + run.stderr
    assert not (public.parents[1] / "bin" / "called.json").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"external": {"a": {**RUNS["lobes"], "fills": ["HEART"]}}}, "series of gated, which"),
        (
            {"external": {"a": {**RUNS["lobes"], "fills": ["AIRWAYS"]}}},
            "does not give AIRWAYS, but",
        ),
        ({"external": {"a": {**RUNS["lobes"], "task": "liver"}}}, "task 'liver' of TotalSegm"),
        ({"external": {"a": {"software": "nnunet", "fills": ["LABELS"]}}}, "needs 'weights'"),
        ({"external": {"a": RUNS["lobes"], "b": RUNS["lobes"]}}, "'a' fills LABELS, too"),
        ({"label_maps": {"VESSELS": "totalsegmentater"}}, "did you mean 'totalsegmentator'"),
        ({"label_maps": {"VESSELS": "totalsegmentator"}}, "no vessels among the names"),
        ({"label_maps": {"HEART": {"LV": 1}}}, "are no heart; known: LV blood"),
        ({"label_maps": {"LABELS": "lungmask"}, "label_map": "lungmask"}, "say the same; keep"),
    ],
)
def test_slips_of_the_hand(public, change, told):
    edit_yaml(public / "config.yaml", lambda config: config["imaging"].update(change))
    (problem,) = problems_of(public)
    assert told in problem
