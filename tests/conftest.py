"""Tiny trials to test with: drawn by the same generator as the demo trial."""

import os
import shutil

import pytest

# Beside another worker, libraries of numbers get one thread each; before any of them is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from helpers import ROOT, edit_yaml, without_accuracy


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The demo's folder with the sheets of about 16 patients, drawn once."""
    from lungitude.phantom import cohort

    folder = tmp_path_factory.mktemp("drawn")
    for name in ("config.yaml", "plan.yaml"):
        shutil.copy(ROOT / "config" / "demo" / name, folder / name)

    def rename(config):
        config["trial"] = "tiny"
        config["imaging"].pop("network", None)
        config["imaging"]["segmentation"] = "classical"  # and the phantom's own label maps
        config["phantom"]["root"] = "data/tiny"
        del config["imaging"]["registration"]["second_opinion"]  # of a patient of the demo

    edit_yaml(folder / "config.yaml", rename)
    model = ROOT / "config" / "demo" / "model.yaml"
    cohort.write(folder, model, seed=7, scale=0.04, name="tiny", labels=True)
    return folder


@pytest.fixture
def tiny(drawn, tmp_path):
    """A folder of a tiny trial from tables alone, for a test to break or bend."""
    folder = tmp_path / "config" / "tiny"
    shutil.copytree(drawn, folder)

    def without_scans(config):
        for section in ("imaging", "phantom"):
            del config[section]
        del config["sheets"]["scans"]

    edit_yaml(folder / "config.yaml", without_scans)
    without_accuracy(folder / "plan.yaml")
    (folder / "scans.tsv").unlink()
    return folder
