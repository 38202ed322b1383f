"""The fate of a scan: one small JSON record beside each image of a run.

A scan that can't be used is excluded with its reason and the trial goes on: the job writes a
record with status ``excluded`` and empty files for its other outputs, and each later job passes
the exclusion on.
"""

import json
from pathlib import Path

from lungitude.job import whole


def write(path, status="ok", **fields):
    """Write a record; keys keep their order, numbers their digits."""
    with whole(path) as part:
        text = json.dumps({"status": status, **fields}, indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")


def exclude(path, stage, reason, **fields):
    """Write a record of an excluded scan: at which stage, and why."""
    write(path, status="excluded", stage=stage, reason=reason, **fields)


def read(path):
    """Read a record as a dict."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def left_out(path):
    """Return why a label map is an empty file, as the record beside it says; '' if it isn't."""
    path = Path(path)
    if path.stat().st_size:
        return ""
    record = path.with_name(path.name.split(".")[0] + ".json")
    return read(record)["reason"] if record.exists() else "the label map is an empty file"


def excluded(*paths):
    """Return the first record among `paths` whose scan is excluded, or None."""
    for path in paths:
        record = read(path)
        if record["status"] == "excluded":
            return record
    return None
