"""The worked example of docs/your-trial.md, from `lungitude init` to its report."""

import re
import shutil

import pytest

from helpers import ROOT, edit_text, snakemake
from lungitude import cli, tables

TEXT = (ROOT / "docs" / "your-trial.md").read_text(encoding="utf-8")


def blocks(kind):
    """Return the blocks of code of a kind, in their order."""
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


def told(command):
    """Return what the page shows after a command, at its first and later places."""
    return [rest for given in blocks("console") for first, _, rest in [given.partition("\n")]
            if first == f"$ {command}"]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Follow the page up to the first check; a person's folder lies elsewhere than the project."""
    shutil.copytree(ROOT / "config" / "empty", tmp_path / "config" / "empty")
    shutil.copytree(ROOT / "docs" / "your-trial", tmp_path / "docs" / "your-trial")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "breath"]) == 0
    folder = tmp_path / "config" / "breath"
    shutil.copytree(tmp_path / "docs" / "your-trial", folder / "data")
    for name in ("subjects", "randomisation", "measurements"):
        (folder / f"{name}.tsv").unlink()
    (folder / "config.yaml").write_text(blocks("yaml")[0])
    (folder / "parameters.tsv").write_text(blocks("tsv")[0])
    return folder


def test_the_example_is_checked_mended_and_run(folder, capsys):
    capsys.readouterr()
    assert cli.main(["check", "breath"]) == 1
    wrong, clean = told("lungitude check breath")
    assert capsys.readouterr().err == wrong
    primary, values = (block.rstrip("\n") for block in blocks("yaml")[1:])
    plan = (folder / "plan.yaml").read_text()
    (line,) = re.findall(r"^primary:.*$", plan, flags=re.MULTILINE)
    edit_text(folder / "plan.yaml", line, primary)
    (model,) = re.findall(r"and `(mmrm: .*?)` among its `analyses`", TEXT)
    edit_text(folder / "plan.yaml", f"# {model}", model)
    edit_text(
        folder / "config.yaml", values.removesuffix(", month_6_arm_1: Month 6}}") + "}}", values
    )
    right, slip = re.search(r"`(\d+)` for `(\d+)`", TEXT).groups()
    edit_text(folder / "data" / "visits.csv", f",{slip},", f",{right},")
    assert cli.main(["check", "breath"]) == 0
    assert capsys.readouterr().out == clean
    snakemake(folder, cores=2)
    results = folder.parents[1] / "results" / "breath"
    page = (results / "report" / "all" / "report.html").read_text(encoding="utf-8")
    assert "Breathing training in chronic bronchitis" in page
    assert "Synthetic" not in page
    sheet = tables.read(results / "sheets" / "measurements.tsv")
    row = sheet[(sheet["USUBJID"] == "B07") & (sheet["AVISIT"] == "Month 3")].iloc[0]
    assert (row["SRCDOM"], row["SRCVAR"], str(row["SRCSEQ"])) == (
        "data/visits.csv",
        "fev1_ml",
        "20",
    )
    assert float(row["AVAL"]) == int(right) / 1000


def test_every_page_that_the_example_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
