"""A broken trial ends in plain lines and a status, before any job."""

import shutil

import pandas as pd
import pytest

from helpers import edit_text, edit_yaml, snakemake


def cell(name, column, value, row=0):
    def edit(folder):
        path = folder / name
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        frame.loc[row, column] = value
        frame.to_csv(path, sep="\t", index=False, lineterminator="\n")

    return edit


def twice(folder):
    path = folder / "subjects.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n")


def in_ml(folder):
    path = folder / "measurements.tsv"
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    row = frame.index[frame["PARAMCD"] == "FEV1"][0]
    cell("measurements.tsv", "AVAL", "2210", row)(folder)


REFUSED = {
    "unknown key": (
        lambda f: edit_yaml(f / "config.yaml", lambda c: c.update(vists=[])),
        "unknown key 'vists'",
    ),
    "arm": (cell("randomisation.tsv", "ARM", "PLACEBO"), "arm 'PLACEBO' is not among 'arms'"),
    "patient twice": (twice, "keep one of the two"),
    "visit": (cell("measurements.tsv", "AVISIT", "Wek 6"), "did you mean 'Week 6'?"),
    "unit slip": (in_ml, "is 2210, outside 0.2 to 7 L; convert it to L"),
    "scan path": (cell("scans.tsv", "PATH", "nowhere/at/all"), "'nowhere/at/all' does not exist"),
    "unknown patient": (cell("measurements.tsv", "USUBJID", "GHOST-1"), "'GHOST-1' is not in"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_trial_is_refused_in_one_line(name, drawn, tmp_path):
    folder = tmp_path / "config" / "tiny"
    shutil.copytree(drawn, folder)
    edit, expected = REFUSED[name]
    edit(folder)
    run = snakemake(folder, check=False)
    assert run.returncode != 0
    lines = [line for line in run.stderr.splitlines() if not line.startswith("Using workflow")]
    assert lines[0] == "1 problem; nothing was run."
    assert len(lines) == 2, run.stderr
    assert expected in lines[1]
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("more", [(), ("--config", "trial=demo")])
def test_no_trial_named(more, tmp_path):
    import subprocess
    import sys

    from helpers import ROOT

    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "-n", *more]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "Which trial? Name its folder" in run.stderr


def test_a_sheet_of_commas_is_told(tiny):
    edit_text(tiny / "events.tsv", "USUBJID\tEVENT\tADT\tREASON", "USUBJID,EVENT,ADT,REASON")
    run = snakemake(tiny, "-n", check=False)
    assert run.returncode != 0
    assert "tab-separated" in run.stderr or "has no tab" in run.stderr
