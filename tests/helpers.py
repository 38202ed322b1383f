"""What tests share: editing the files of a trial, and running the workflow on it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from lungitude import trial

ROOT = Path(__file__).parents[1]


class Files(SimpleNamespace):
    """What scripts ask of Snakemake's named lists."""

    def get(self, name, default=None):
        """Return an entry or the default."""
        return getattr(self, name, default)

    def __getitem__(self, name):
        """Return an entry by its name."""
        return getattr(self, name)

    def __iter__(self):
        """Go through the entries in order."""
        return iter(vars(self).values())


def edit_yaml(path, change):
    """Read a YAML file, let `change` alter its content, and write it back."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def without_accuracy(path):
    """Take the analysis of accuracy, which needs a phantom, out of the demo's plan.yaml."""
    before, _, block = path.read_text(encoding="utf-8").partition("  accuracy:")
    path.write_text(before + "\n" + block.partition("\n\n")[2], encoding="utf-8")


def edit_text(path, old, new):
    """Replace the first `old` in a file by `new`; it must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def change_cell(path, row, column, value):
    """Change one cell of a sheet and return its row."""
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    frame.loc[row, column] = value
    frame.to_csv(path, sep="\t", index=False, lineterminator="\n")
    return frame.loc[row]


def problems_of(folder):
    """Return what is told of a broken trial folder."""
    with pytest.raises(trial.TrialError) as raised:
        trial.load(folder / "config.yaml", root=folder.parents[1])
    return raised.value.problems


def snakemake(folder, *arguments, project=ROOT, check=True, cores=1):
    """Run the workflow on the trial in `folder`, in the folder above its ``config``.

    Returns
    -------
    subprocess.CompletedProcess
        With standard output and error as text.
    """
    command = [
        sys.executable,
        *("-m", "snakemake", "--snakefile", str(project / "Snakefile")),
        *("--directory", str(folder.parents[1]), "--configfile", str(folder / "config.yaml")),
        *("--cores", str(cores), *arguments),
    ]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if check and run.returncode:
        raise AssertionError(f"snakemake ended with {run.returncode}\n{run.stdout}\n{run.stderr}")
    return run
