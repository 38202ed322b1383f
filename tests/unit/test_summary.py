"""What a run tells at its end, and what the command line says."""

import pandas as pd

from lungitude import cli, summary, tables


def write_cohort(results):
    scans = pd.DataFrame(
        {
            "USUBJID": ["001", "001"],
            "AVISIT": ["Baseline", "Week 6"],
            "SERIES": ["insp", "insp"],
            "status": ["ok", "excluded"],
            "stage": [None, "ingest"],
            "reason": [None, "missing slice(s): about 1 of 75"],
        }
    )
    tables.write(scans, results / "cohort" / "scans.tsv")
    registered = scans.assign(status=["excluded"] * 2, stage=["registration", "ingest"])
    tables.write(registered.assign(reason="Dice 0.5"), results / "cohort" / "registrations.tsv")
    (results / "report" / "all").mkdir(parents=True)
    (results / "report" / "all" / "report.html").touch()


def test_exclusions_and_pages_are_told(tmp_path):
    write_cohort(tmp_path)
    assert summary.lines(tmp_path) == [
        "Scans: 1 of 2 in use, 1 excluded.",
        "  001 Week 6 insp: missing slice(s): about 1 of 75 (at ingest)",
        "  001 Baseline registration insp: Dice 0.5",
        f"Report: {tmp_path / 'report' / 'all' / 'report.html'}",
    ]


def test_nothing_is_told_of_nothing(tmp_path):
    assert summary.lines(tmp_path) == []


def test_command_line(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "tiny"]) == 0
    assert "no problem found" in capsys.readouterr().out
    assert cli.main(["summary", "tiny"]) == 0
    assert "Nothing in results/tiny yet." in capsys.readouterr().out
    (tiny / "subjects.tsv").unlink()
    assert cli.main(["check", "tiny"]) == 1
    assert "subjects.tsv: the file is missing" in capsys.readouterr().err
    assert cli.main(["check", "tniy"]) == 1
    assert "did you mean 'tiny'?" in capsys.readouterr().err
