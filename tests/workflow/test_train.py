"""Dry runs of the workflow that trains networks."""

import re
import subprocess
import sys

import pytest

from helpers import ROOT


def plan(folder, *config, targets=()):
    """Dry-run the training in an empty folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "rules" / "train.smk")]
    command += ["--directory", str(folder), "-n", "--cores", "1", *targets]
    command += ["--config", *config]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout + run.stderr


def test_a_fold_has_a_folder_of_its_own(tmp_path):
    code, told = plan(tmp_path, "settings=published", "patients=20", "fold=2")
    assert code == 0, told
    assert set(re.findall(r"results/networks/(\S+)/weights.safetensors", told)) == {
        "published/fold2"
    }
    assert "folds.md" not in told


def test_all_folds_are_compared(tmp_path):
    code, told = plan(tmp_path, "settings=published", "patients=20", "fold=all")
    assert code == 0, told
    found = set(re.findall(r"results/networks/(\S+)/weights.safetensors", told))
    assert found == {f"published/fold{k}" for k in range(1, 6)}
    assert "results/networks/published/folds.md" in told


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (("settings=published", "fold=6"), "fold=6: give 1 to 5, or all"),
        (("fold=2",), "fold=2: the settings 'hierarchical' have no folds"),
    ],
)
def test_a_fold_that_is_not_there_is_refused(tmp_path, config, said):
    code, told = plan(tmp_path, *config)
    assert code != 0
    assert said in told


def test_networks_are_trained_together_and_read_the_same_patients(tmp_path):
    code, told = plan(tmp_path, "patients=20", targets=["compare_networks"])
    assert code == 0, told
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", told, flags=re.MULTILINE))
    assert jobs == {
        "make_anatomies": "1",
        "train_comparison": "1",
        "compare_cases": "12",
        "gather_comparison": "1",
        "compare_networks": "1",
        "total": "16",
    }
    cases = re.findall(r"output: results/networks/comparison/cases/(\S+).parquet", told)
    assert sorted(cases) == [f"{name}_{k}" for name in ("external", "internal") for k in range(6)]
