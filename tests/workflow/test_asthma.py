"""A real trial from its CSV file as it is: the numbers are those of Stata."""

import difflib
import json
import shutil

import pytest

from helpers import ROOT, snakemake
from lungitude import starting, tables

HERE = ROOT / "tests" / "data" / "asthma"
TABLES = ROOT.parent / "shared" / "realdata" / "tables"


def test_the_folder_differs_in_few_lines_from_a_new_one(tmp_path):
    shutil.copytree(ROOT / "config" / "empty", tmp_path / "config" / "empty")
    starting.begin("asthma", "empty", tmp_path)
    edited = 0
    for name in ("config.yaml", "plan.yaml"):
        new, own = (
            (folder / name).read_text().splitlines()
            for folder in (tmp_path / "config" / "asthma", HERE)
        )
        changes = [line for line in difflib.ndiff(new, own) if line.startswith("+ ")]
        edited += len(changes)
    assert edited < 30


@pytest.mark.skipif(not TABLES.is_dir(), reason="the real tables do not lie beside the project")
def test_numbers_are_those_of_stata(tmp_path):
    shutil.copytree(ROOT / "config" / "empty", tmp_path / "config" / "empty")
    starting.begin("asthma", "empty", tmp_path)
    folder = tmp_path / "config" / "asthma"
    for name in ("config.yaml", "plan.yaml"):
        shutil.copy(HERE / name, folder / name)
    for name in ("subjects", "randomisation", "measurements"):
        (folder / f"{name}.tsv").unlink()
    (tmp_path / "data").symlink_to(TABLES)
    snakemake(folder, "analysis", cores=2)
    found = tables.read_parquet(tmp_path / "results" / "asthma" / "analysis" / "results.parquet")
    found = found[(found["AVISIT"] == "Week 12") & (found["COMPARISON"] == "ACT - PBO")]

    def value(method, stat):
        (row,) = found[(found["METHOD"] == method) & (found["STAT"] == stat)].to_dict("records")
        return row

    truth = json.loads((TABLES / "reference.json").read_text())["asthma_fev1_trial"]["peer_values"]
    estimate, se = truth["CC"]["treat"]
    # Stata prints seven decimals.
    assert value("ancova", "estimate")["VALUE"] == pytest.approx(estimate, abs=1e-7)
    assert value("ancova", "se")["VALUE"] == pytest.approx(se, abs=1e-7)
    assert value("ancova", "estimate")["N"] == truth["CC"]["n"]
    # Both are means over 500 imputations: as near as their Monte Carlo errors let them be.
    estimate, se = truth["MAR"]["treat"]
    error = 2**0.5 * truth["MAR"]["mc_error_treat"]
    assert value("imputation", "estimate")["VALUE"] == pytest.approx(estimate, abs=2 * error)
    assert value("imputation", "se")["VALUE"] == pytest.approx(se, rel=0.05)
