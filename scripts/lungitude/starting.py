"""A folder to begin a trial with: one of those that come with Lungitude, under another name."""

import os
import re
from pathlib import Path

import yaml

from lungitude.checks import schema

SOURCES = ("empty", "demo", "paper")
NAME = schema("config")["properties"]["trial"]["pattern"]


class StartError(Exception):
    """A folder can't be begun; the message says why, and what to do."""


def begin(name, source, root="."):
    """Write ``config/<name>`` as a copy of the folder of another trial.

    Parameters
    ----------
    name : str
        Of the trial.
    source : str
        One of `SOURCES`.
    root : path
        The project.

    Returns
    -------
    list of Path
        What was written. The folder is valid, with the patients of the source, who are invented;
        sheets that the source shares with another trial are its own.

    Raises
    ------
    StartError
        A name that can't be one, or that is taken: nothing is overwritten.
    """
    given, folder = Path(root, "config", source), Path(root, "config", name)
    if not re.search(NAME, name):
        text = "small letters a-z, digits, _ and -, a letter first, such as mytrial"
        raise StartError(f"'{name}' can't be the name of a trial; choose one of {text}")
    if os.path.lexists(folder):
        raise StartError(f"{folder} exists already, and is left as it is; choose another name")
    if not (given / "config.yaml").is_file():
        raise StartError(f"there is no {given}; run this in the folder of the project")
    text = (given / "config.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    files = list(content["sheets"].values())
    if "phantom" in content:
        files.append(content["phantom"]["records"])
    for file in files:  # those of another trial become files of this folder
        text = text.replace(f" {file}", f" {Path(file).name}")
    text = re.sub(r"^trial: [\w-]+", f"trial: {name}", text, flags=re.MULTILINE)
    made = {Path(file).name: (given / file).read_text(encoding="utf-8") for file in files}
    made["plan.yaml"] = (given / "plan.yaml").read_text(encoding="utf-8")
    folder.mkdir(parents=True)
    for file, rows in sorted({**made, "config.yaml": text}.items()):
        # Series that a run makes go below a folder of their own, too.
        rows = rows.replace(f"data/{source}", f"data/{name}")
        (folder / file).write_text(rows, encoding="utf-8")
    return sorted(folder.iterdir())
