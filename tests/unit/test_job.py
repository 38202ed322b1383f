"""Outputs are whole or absent, and a failure is one line."""

import logging
import types

import pandas as pd
import pytest

from lungitude import tables
from lungitude.job import job_log, whole, write_empty


def test_whole_leaves_nothing_after_a_failure(tmp_path):
    path = tmp_path / "out" / "table.tsv"
    with pytest.raises(RuntimeError), whole(path) as part:
        part.write_text("half")
        raise RuntimeError("killed")
    assert list((tmp_path / "out").iterdir()) == []


def test_whole_keeps_the_old_file_until_the_new_one_is_there(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("old")
    with whole(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_write_empty(tmp_path):
    write_empty(tmp_path / "a.nii.gz", tmp_path / "b.tsv")
    assert (tmp_path / "a.nii.gz").stat().st_size == 0
    assert len(tables.read(tmp_path / "b.tsv")) == 0


def test_a_failure_is_one_line_and_the_log_has_the_traceback(tmp_path, capsys):
    job = types.SimpleNamespace(
        log=[tmp_path / "x.log"], rule="register", wildcards=["S1", "week06"]
    )
    with pytest.raises(SystemExit) as ended, job_log(job):
        logging.getLogger("x").info("working")
        raise ValueError("spacing 0 mm")
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip()
    assert said == f"register failed for S1 week06: spacing 0 mm (log: {tmp_path / 'x.log'})"
    log = (tmp_path / "x.log").read_text()
    assert "INFO x: working" in log
    assert "Traceback" in log


def test_tables_keep_identifiers_and_missing_cells(tmp_path):
    frame = pd.DataFrame({"USUBJID": ["001", "NA"], "AVAL": [0.1, float("nan")]})
    tables.write(frame, tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_bytes() == b"USUBJID\tAVAL\n001\t0.1\nNA\t\n"
    back = tables.read(tmp_path / "t.tsv")
    assert back["USUBJID"].tolist() == ["001", "NA"]
    assert back["AVAL"].isna().tolist() == [False, True]
