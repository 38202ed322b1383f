"""Measured and imported values meet in one table; a scan is never replaced by an import."""

import pandas as pd
import pytest

from lungitude import cohort, records, tables

PARAMETERS = pd.DataFrame(
    {
        "PARAMCD": ["LAA", "PRMF", "WALK"],
        "AVALU": ["%", "%", "m"],
        "MEASURE": ["insp:parenchyma:all:laa950_pct", "visit:prm:all:fsad_pct", None],
    }
)
VISITS = [{"name": "Baseline"}, {"name": "Week 6"}]


def scan_rows(*rows):
    return pd.DataFrame(rows, columns=["USUBJID", "AVISIT", "SERIES", "ADT"])


def imported(*rows):
    return pd.DataFrame(rows, columns=["USUBJID", "AVISIT", "PARAMCD", "AVAL"])


def biomarkers(laa=None, fsad=None):
    parenchyma = pd.DataFrame(columns=[*cohort.IDENTITY, "region", "laa950_pct"])
    if laa is not None:
        parenchyma.loc[0] = ["1", "Baseline", "insp", "all", laa]
        parenchyma.loc[1] = ["1", "Baseline", "insp", "right", 99.0]
    prm = pd.DataFrame(columns=[*cohort.IDENTITY, "region", "fsad_pct"])
    if fsad is not None:
        prm.loc[0] = ["1", "Baseline", "visit", "all", fsad]
    return {"parenchyma": parenchyma, "prm": prm}


def test_the_scan_wins_and_the_rest_is_imported():
    rows = imported(
        ("1", "Baseline", "WALK", 400.0),
        ("1", "Baseline", "LAA", 50.0),
        ("2", "Baseline", "LAA", 7.0),
    )
    scans = scan_rows(("1", "Baseline", "insp", "2024-01-02"))
    found = cohort.gather(biomarkers(laa=12.5, fsad=30.0), rows, PARAMETERS, scans, VISITS)
    assert found[["USUBJID", "PARAMCD", "AVAL", "SOURCE"]].to_numpy().tolist() == [
        ["1", "LAA", 12.5, "scan"],
        ["1", "PRMF", 30.0, "scan"],
        ["1", "WALK", 400.0, "imported"],
        ["2", "LAA", 7.0, "imported"],
    ]
    assert found.loc[0, "ADT"] == "2024-01-02"


def test_a_value_keeps_its_flag():
    tables_of = biomarkers(laa=12.5, fsad=30.0)
    tables_of["parenchyma"]["flag"] = ["network: no lobes found", float("nan")]
    rows = imported(("1", "Baseline", "WALK", 400.0))
    scans = scan_rows(("1", "Baseline", "insp", None))
    found = cohort.gather(tables_of, rows, PARAMETERS, scans, VISITS)
    assert found["AVAL"].tolist() == [12.5, 30.0, 400.0]
    assert found["FLAG"].tolist() == ["network: no lobes found", "", ""]
    right = PARAMETERS.assign(MEASURE="insp:parenchyma:right:laa950_pct").head(1)
    assert cohort.from_scans(tables_of, right)["FLAG"].tolist() == [""]


def test_an_excluded_scan_stays_missing():
    rows = imported(("1", "Baseline", "LAA", 50.0), ("1", "Week 6", "LAA", 51.0))
    scans = scan_rows(("1", "Baseline", "insp", None))
    found = cohort.gather(biomarkers(), rows, PARAMETERS, scans, VISITS)
    assert found[["AVISIT", "AVAL"]].to_numpy().tolist() == [["Week 6", 51.0]]


def test_an_unknown_column_names_the_parameter():
    wrong = PARAMETERS.assign(MEASURE="insp:parenchyma:all:laa999_pct")
    with pytest.raises(ValueError, match="LAA: MEASURE asks for 'laa999_pct'"):
        cohort.from_scans(biomarkers(laa=1.0), wrong)


def test_a_value_that_was_not_measured_is_no_row():
    assert len(cohort.from_scans(biomarkers(laa=float("nan")), PARAMETERS)) == 0


def test_fates_keep_the_first_reason(tmp_path):
    identity = {"USUBJID": "1", "AVISIT": "Baseline", "SERIES": "insp"}
    records.exclude(tmp_path / "scan.json", "ingest", "slices are missing", **identity)
    records.exclude(tmp_path / "lungs.json", "segmentation", "no scan", **identity)
    records.write(tmp_path / "other.json", **{**identity, "SERIES": "exp"})
    found = cohort.fates(
        [tmp_path / "scan.json", tmp_path / "other.json"], [tmp_path / "lungs.json"]
    )
    assert found[["SERIES", "status", "reason"]].fillna("").to_numpy().tolist() == [
        ["insp", "excluded", "slices are missing"],
        ["exp", "ok", ""],
    ]


def test_stack_passes_over_empty_files(tmp_path):
    (tmp_path / "excluded.tsv").touch()
    tables.write(pd.DataFrame({"USUBJID": ["001"], "x": [1.5]}), tmp_path / "one.tsv")
    found = cohort.stack([tmp_path / "excluded.tsv", tmp_path / "one.tsv"])
    assert found.to_numpy().tolist() == [["001", 1.5]]
    assert list(cohort.stack([tmp_path / "excluded.tsv"]).columns) == cohort.IDENTITY


def test_airways_judge_the_registrations_of_follow_ups(tmp_path):
    rows = [
        ("Week 6", "to_baseline", []),
        ("Week 12", "to_baseline", ["folds"]),
        ("Week 6", "exp_to_insp", []),
    ]
    paths = []
    for visit, series, warnings in rows:
        paths.append(tmp_path / f"{visit}_{series}.json")
        records.write(paths[-1], USUBJID="1", AVISIT=visit, SERIES=series, warnings=warnings)
    branches = pd.DataFrame(
        {
            "USUBJID": "1",
            "AVISIT": ["Baseline", "Week 6", "Week 12", "Week 6"],
            "SERIES": ["subject"] * 3 + ["insp"],
            "region": "all",
            "matched_pct": [None, 95.0, 60.0, None],
            "apart_mm": [None, 0.5, 3.0, None],
            "registration_flag": [None, None, "airways apart", None],
        }
    )
    found = cohort.registrations(paths, branches)
    assert found["airways_apart_mm"].tolist()[:2] == [0.5, 3.0]
    assert found["airways_matched_pct"].isna().tolist() == [False, False, True]
    assert found["warnings"].tolist() == ["", "folds; airways apart", ""]
    assert "registration_flag" not in found
    assert cohort.registrations(paths, pd.DataFrame())["warnings"].tolist() == ["", "folds", ""]
    assert list(cohort.registrations([], branches)) == [*cohort.IDENTITY, "status"]
