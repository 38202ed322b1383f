"""Sheets made by maps: rows and values as the map says, and each slip told with its place."""

import pandas as pd
import pytest
from unit.sources_fixture import LONG, PARAMETERS, changed, folder_of

from helpers import edit_yaml, problems_of
from lungitude import cli, source_maps, sources, trial

COLUMNS = ["USUBJID", "AVISIT", "PARAMCD", "AVAL"]


def loaded(path, files=None, config=None, **sheets):
    return trial.load(folder_of(path, files, config, **sheets) / "config.yaml")


def rows(frame, columns=COLUMNS):
    return frame[columns].fillna("").to_numpy().tolist()


def test_columns_values_and_where(tmp_path):
    found = loaded(tmp_path, measurements=changed())
    assert rows(found.measurements, [*COLUMNS, "ADT"]) == [
        ["P-1", "Baseline", "FEV1", "2.10", "2024-03-01"],
        ["P-1", "Week 2", "FEV1", "2.30", "2024-03-15"],
        ["P-2", "Baseline", "FEV1", "1.50", "2024-03-02"],
        ["P-2", "Week 2", "FEV1", "", "2024-03-16"],
    ]
    made = found.mapped["measurements"]
    assert made.origin["SRCSEQ"].tolist() == [2, 3, 4, 5]
    assert set(made.origin["SRCVAR"]) == {"RESULT"}
    assert made.told() == [
        "measurements from long.csv: 5 rows read, 1 left out by 'where', 1 with a missing value, "
        "4 rows given"
    ]


def test_several_maps_are_put_together(tmp_path):
    second = "id;fvc\nP-3;2,75\nP-4;-99\n"
    maps = [
        changed(),
        {
            "file": "second.csv",
            "separator": ";",
            "decimal": ",",
            "columns": {"USUBJID": "id", "AVAL": "fvc"},
            "constants": {"PARAMCD": "FVC", "AVISIT": "Baseline", "AVALU": "L"},
            "missing": ["-99"],
        },
    ]
    found = loaded(tmp_path, {"second.csv": second}, measurements=maps)
    assert rows(found.measurements, [*COLUMNS, "AVALU"])[-2:] == [
        ["P-3", "Baseline", "FVC", "2.75", "L"],
        ["P-4", "Baseline", "FVC", "", "L"],
    ]
    assert found.mapped["measurements"].counts["values_missing"].tolist() == [1, 1]
    assert [path.name for path in found.files] == ["parameters.tsv", "long.csv", "second.csv"]


REDCAP = (
    "record_id,redcap_event_name,redcap_repeat_instrument,redcap_repeat_instance,fev1_l,fev1_wk2,"
    "cat,ae_term,ae_start\n"
    "7,baseline_arm_1,,,2.5,2.6,12,,\n"
    "7,week6_arm_1,,,2.7,,999,,\n"
    "7,baseline_arm_1,adverse_events,1,,,,Cough,2024-03\n"
    "7,baseline_arm_1,adverse_events,2,,,,Fall,2024-03-09\n"
)
VISITS = {"baseline_arm_1": "Baseline", "week6_arm_1": "Week 6"}


def test_the_export_of_redcap(tmp_path):
    measured = {
        "file": "redcap.csv",
        "columns": {"USUBJID": "record_id", "AVISIT": "redcap_event_name"},
        "values": {"AVISIT": VISITS},
        "where": {"redcap_repeat_instrument": ""},
        "missing": {"AVAL": ["999"]},
        "wide": {
            "fev1_l": {"PARAMCD": "FEV1"},
            "fev1_wk2": {"PARAMCD": "FEV1", "AVISIT": "Week 2"},
            "cat": {"PARAMCD": "CAT"},
        },
    }
    adverse = {
        "file": "redcap.csv",
        "columns": {
            "USUBJID": "record_id",
            "AESEQ": "redcap_repeat_instance",
            "AETERM": "ae_term",
            "AESTDTC": "ae_start",
        },
        "where": {"redcap_repeat_instrument": "adverse_events"},
    }
    found = loaded(tmp_path, {"redcap.csv": REDCAP}, measurements=measured, adverse=adverse)
    assert rows(found.measurements) == [
        ["7", "Baseline", "FEV1", "2.5"],
        ["7", "Week 2", "FEV1", "2.6"],
        ["7", "Baseline", "CAT", "12"],
        ["7", "Week 6", "FEV1", "2.7"],
    ]
    made = found.mapped["measurements"]
    assert made.origin[["SRCVAR", "SRCSEQ"]].to_numpy().tolist() == [
        ["fev1_l", 2],
        ["fev1_wk2", 2],
        ["cat", 2],
        ["fev1_l", 3],
    ]
    assert made.counts[["rows_read", "rows_filtered", "cells_empty"]].to_numpy().tolist() == [
        [4, 2, 2]
    ]
    assert rows(found.adverse, ["USUBJID", "AESEQ", "AETERM", "AESTDTC"]) == [
        ["7", "1", "Cough", "2024-03"],
        ["7", "2", "Fall", "2024-03-09"],
    ]


ADSL = "SUBJ,SEXN,TRT01P,DTH\n P-1,1,Drug,\nP-2,2,Placebo,23450\n"
SIZES = "SUBJ,INCHES,VIS\nP-2,65,1\nP-9,70,1\nP-2,66,2\n"
CHARACTERISTICS = {
    "characteristics": [
        {
            "column": "SEX",
            "label": "Sex",
            "type": "category",
            "levels": {"M": "Male", "F": "Female"},
        },
        {"column": "HEIGHT", "label": "Height", "unit": "cm", "type": "continuous", "low": 100},
    ]
}
SUBJECTS = [
    {
        "file": "adsl.csv",
        "columns": {"USUBJID": "SUBJ", "SEX": "SEXN"},
        "values": {"SEX": {"1": "M", "2": "F"}},
    },
    {
        "file": "sizes.csv",
        "columns": {"USUBJID": "SUBJ", "HEIGHT": "INCHES"},
        "where": {"VIS": "1"},
        "join": ["USUBJID"],
        "units": {"HEIGHT": "in"},
    },
]
RANDOMISATION = {
    "file": "adsl.csv",
    "columns": {"USUBJID": "SUBJ", "ARM": "TRT01P"},
    "values": {"ARM": {"Drug": "ACT", "Placebo": "PBO"}},
}
FILES = {"adsl.csv": ADSL, "sizes.csv": SIZES}


def test_one_adsl_gives_subjects_arms_and_events(tmp_path):
    pytest.importorskip("pint")
    events = {
        "file": "adsl.csv",
        "columns": {"USUBJID": "SUBJ"},
        "wide": {"DTH": {"EVENT": "death"}},
        "dates": {"ADT": "sas-date"},
    }
    found = loaded(tmp_path, FILES, CHARACTERISTICS, subjects=SUBJECTS,
                   randomisation=RANDOMISATION, events=events)  # fmt: skip
    assert rows(found.subjects, ["USUBJID", "SEX", "HEIGHT"]) == [
        ["P-1", "M", ""],
        ["P-2", "F", "165.1"],
    ]
    assert set(found.mapped["subjects"].frame) == {"USUBJID", "SEX", "HEIGHT"}
    assert rows(found.randomisation, ["USUBJID", "ARM"]) == [["P-1", "ACT"], ["P-2", "PBO"]]
    assert rows(found.events, ["USUBJID", "EVENT", "ADT"]) == [["P-2", "death", "2024-03-15"]]
    counts = found.mapped["subjects"].counts
    assert counts["rows_without_partner"].tolist() == [0, 1]
    assert counts["cells_trimmed"].tolist() == [1, 0]


def test_rows_that_repeat_the_patient_are_one(tmp_path):
    subjects = {"file": "long.csv", "columns": {"USUBJID": "SUBJ"}, "distinct": True}
    found = loaded(tmp_path, subjects=subjects)
    assert found.subjects["USUBJID"].tolist() == ["P-1", "P-2"]
    assert found.mapped["subjects"].origin["SRCSEQ"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("form", "cell", "expected"),
    [
        ("sas-date", "23450", "2024-03-15"),
        ("sas-date", "2024-03-15", None),
        ("sas-datetime", "2026110600", "2024-03-15"),
        ("excel", "45366", "2024-03-15"),
        ("iso", "2024-03-15T08:30", "2024-03-15"),
        ("iso", "2024-03", "2024-03"),
        ("%d%b%Y", "15MAR2024", "2024-03-15"),
        ("%d.%m.%Y", "15.03.2024", "2024-03-15"),
        ("%d.%m.%Y", "03/15/2024", None),
        ("%m/%Y", "03/2024", "2024-03"),
        ("%Y", "2024", "2024"),
        ("sas-date", "", ""),
        ("sas-date", "1e99", None),
    ],
)
def test_dates_are_read_by_their_declared_form(form, cell, expected):
    assert sources.day_of(cell, form) == expected


def test_units_are_converted_where_that_is_declared(tmp_path):
    pytest.importorskip("pint")
    data = "SUBJ,WHEN,TEST,RESULT,UNIT\nP-1,BASE,FEV1,2105,mL\nP-1,W2,FEV1,2.3,L\n"
    columns = {"USUBJID": "SUBJ", "AVISIT": "WHEN", "PARAMCD": "TEST", "AVAL": "RESULT"}
    by_row = changed(columns=columns | {"AVALU": "UNIT"}, where=None, units="AVALU")
    found = loaded(tmp_path / "a", {"long.csv": data}, measurements=by_row)
    assert rows(found.measurements, ["AVAL", "AVALU"]) == [["2.105", "L"], ["2.3", "L"]]
    data = data.replace("2.3,L", "2300,mL")
    by_code = changed(columns=columns, where=None, units={"FEV1": "mL"})
    found = loaded(tmp_path / "b", {"long.csv": data}, measurements=by_code)
    assert found.measurements["AVAL"].tolist() == ["2.105", "2.3"]


def edited(old, new):
    return LONG.replace(old, new, 1)


IN_MAP = "config.yaml, line "
SLIPS = {
    "a column that the file lacks": (
        {},
        lambda m: m["columns"].update(AVAL="RESULTS"),
        "long.csv: the file has no column 'RESULTS'; did you mean 'RESULT'? It has SUBJ, WHEN, "
        "TEST, "
        "RESULT, DAY, OK",
    ),
    "a value that is not in the map": (
        {"long.csv": edited("P-1,W2", "P-1,w2")},
        None,
        "long.csv, line 3, column WHEN (AVISIT): 'w2' is not under 'values: AVISIT'; add it there "
        "(there is 'W2')",
    ),
    "where in other capitals": (
        {},
        lambda m: m.update(where={"OK": "y"}),
        "long.csv: 'where' asks for 'y' in OK, there it is 'Y'",
    ),
    "a code of a missing value": (
        {"long.csv": edited("2.30", ".")},
        None,
        "long.csv, line 3, column RESULT (AVAL): '.' is no number; name it under 'missing' if it "
        "is",
    ),
    "a decimal comma": (
        {"long.csv": edited("2.30", '"2,30"')},
        None,
        "long.csv, line 3, column RESULT (AVAL): '2,30' is no number; say 'decimal: \",\"'",
    ),
    "a point where commas are declared": (
        {},
        lambda m: m.update(decimal=","),
        "long.csv, line 2, column RESULT (AVAL): '2.10' has a point, but 'decimal' is ','; mend "
        "'decimal'",
    ),
    "a date as a number": (
        {"long.csv": edited("2024-03-15", "23450")},
        None,
        "long.csv, line 3, column DAY (ADT): the date is the number 23450; say in 'dates: ADT' if "
        "it "
        "is sas-date or sas-datetime or excel",
    ),
    "a date of another form": (
        {"long.csv": edited("2024-03-15", "15.03.2024")},
        None,
        "long.csv, line 3, column DAY (ADT): '15.03.2024' is no date; say its form in 'dates'",
    ),
    "a date unlike its form": (
        {},
        lambda m: m.update(dates={"ADT": "%d.%m.%Y"}),
        "long.csv, line 2, column DAY (ADT): '2024-03-01' is no date of the form '%d.%m.%Y'; mend "
        "'dates: ADT' (and in 3 more lines in the same way, the last is 5)",
    ),
    "two rows of one value": (
        {},
        lambda m: m.pop("where"),
        "long.csv, line 6, column USUBJID+AVISIT+PARAMCD: P-2 Week 2 FEV1 stands already in line "
        "5; "
        "leave one out by 'where' or 'distinct'",
    ),
    "an unknown parameter": (
        {"long.csv": edited("FEV1", "FEV2")},
        None,
        "long.csv, line 2, column TEST (PARAMCD): parameter 'FEV2' is not in parameters.tsv; did "
        "you "
        "mean 'FEV1'? (map it by 'values', or use 'where')",
    ),
    "a value out of range": (
        {"long.csv": edited("2.30", "2300")},
        None,
        "long.csv, line 3, column RESULT (AVAL): FEV1 of P-1 at Week 2 is 2300, outside 0.2 to 7 "
        "L; "
        "let 'units' convert it to L, mend it, or widen LOW and HIGH in parameters.tsv",
    ),
    "an empty cell": (
        {"long.csv": edited("P-1,BASE,FEV1", "P-1,BASE,")},
        None,
        "long.csv, line 2, column TEST (PARAMCD): the cell is empty; leave the row out by "
        "'where', or "
        "mend the data",
    ),
    "a character of the wrong encoding": (
        {"long.csv": edited("P-1", "P\x85-1")},
        None,
        "long.csv, line 2, column SUBJ (USUBJID): the cell 'P\\x85-1' holds a character that can't "
        "be printed; mend 'encoding'",
    ),
    "the file is missing": (
        {},
        lambda m: m.update(file="no.csv"),
        "no.csv: the file is missing; mend 'sheets: measurements' in config.yaml",
    ),
    # what a map can't say
    "an unknown key": (
        {},
        lambda m: m.update(colums={}),
        "unknown key 'colums' in 'sheets.measurements'; did you mean 'columns'?",
    ),
    "an unknown column": (
        {},
        lambda m: m["columns"].update(AVISITS="WHEN"),
        "the sheet has no column 'AVISITS'; did you mean 'AVISIT'?",
    ),
    "a column that is required": (
        {},
        lambda m: m["columns"].pop("PARAMCD"),
        "the map gives no PARAMCD; add it to 'columns' or 'constants'",
    ),
    "a column twice": (
        {},
        lambda m: m.update(constants={"PARAMCD": "FEV1"}),
        "PARAMCD stands under 'columns', too; delete one",
    ),
    "values of a column that is not there": (
        {},
        lambda m: m.update(values={"AVISITT": {}}),
        "AVISITT is not under 'columns'; did you mean 'AVISIT'?",
    ),
    "a year of two digits": (
        {},
        lambda m: m.update(dates={"ADT": "%d.%m.%y"}),
        "'%d.%m.%y' of ADT is no form of a date; write sas-date, sas-datetime, excel, iso, or one "
        "with %Y, %m, %d or %b such as '%d.%m.%Y'; a year of two digits is not read",
    ),
    "a date that is none": (
        {},
        lambda m: m.update(dates={"AVAL": "iso"}),
        "AVAL is no date; delete it",
    ),
    "an unknown suffix": (
        {},
        lambda m: m.update(file="long.dat"),
        "the suffix of 'long.dat' tells no format; say 'format' (csv, tsv, xpt, sas7bdat, "
        "dataset-json, parquet)",
    ),
    "a workbook": (
        {},
        lambda m: m.update(file="long.xlsx"),
        "the suffix of 'long.xlsx' tells no format; workbooks are not read, export the sheet as "
        "CSV",
    ),
    "a separator of a SAS file": (
        {},
        lambda m: m.update(file="long.xpt", separator=";"),
        "a file of format xpt says that itself; delete 'separator'",
    ),
    "an unknown encoding": (
        {},
        lambda m: m.update(encoding="window-1252"),
        "'window-1252' is unknown; did you mean 'windows-1252'?",
    ),
    "the arm": (
        {"long.csv": LONG.replace("OK", "TRT01A")},
        lambda m: m.update(where={"TRT01A": "Y"}),
        "column TRT01A of long.csv tells the arm, which only the sheet 'randomisation' may take; "
        "take it out",
    ),
    "join without a map before": (
        {},
        lambda m: m.update(join=["USUBJID"]),
        "there is nothing before the first map; delete 'join', or put it later",
    ),
    "wide and the column it gives": (
        {},
        lambda m: m.update(wide={"RESULT": {"PARAMCD": "FEV1"}}),
        "'wide' gives AVAL; take it out of the other keys",
    ),
    "units without AVALU": (
        {},
        lambda m: m.update(units="AVALU"),
        "no AVALU is given; add it to 'columns', 'constants' or 'wide'",
    ),
    "units of an unknown parameter": (
        {},
        lambda m: m.update(units={"FEV": "mL"}),
        "long.csv: 'units' names 'FEV', which has no declared unit; did you mean 'FEV1'?",
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_told_with_its_place(name, tmp_path):
    files, change, expected = SLIPS[name]
    problems = problems_of(folder_of(tmp_path, files, measurements=changed(change)))
    assert any(problem.endswith(expected) for problem in problems), problems
    assert all(len(problem) <= 400 + len(str(tmp_path)) for problem in problems)
    if name not in ("a point where commas are declared", "a date unlike its form"):  # in each row
        assert len(problems) <= 2, problems


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("litre5", "the unit 'litre5' is not known, the declared unit is 'L'; mend 'units'"),
        ("mmHg", "'mmHg' does not convert to 'L', the declared unit is 'L'; mend 'units'"),
    ],
)
def test_units_are_never_guessed(unit, expected, tmp_path):
    pytest.importorskip("pint")
    folder = folder_of(tmp_path, measurements=changed(units={"FEV1": unit}))
    assert problems_of(folder) == [f"{folder}/long.csv, line 2, column RESULT (AVAL): {expected}"]


def test_without_units_another_unit_is_refused(tmp_path):
    folder = folder_of(tmp_path, measurements=changed(constants={"AVALU": "mL"}, where={"OK": "N"}))
    assert problems_of(folder)[:1] == [
        f"{folder}/long.csv, line 6, column AVALU: FEV1 of P-2 at Week 2 is in 'mL', declared is "
        f"'L'; "
        "let 'units' convert it"
    ]


def test_rows_of_a_binary_file_are_rows(tmp_path):
    frame = pd.DataFrame({"SUBJ": ["P-1", "P-1"], "WHEN": ["BASE"] * 2, "RESULT": [2.0, 3.0]})
    measurements = {
        "file": "a.parquet",
        "columns": {"USUBJID": "SUBJ", "AVISIT": "WHEN", "AVAL": "RESULT"},
        "constants": {"PARAMCD": "FEV1"},
        "values": {"AVISIT": {"BASE": "Baseline"}},
    }
    folder = folder_of(tmp_path, measurements=measurements)
    frame.to_parquet(folder / "a.parquet")
    assert problems_of(folder) == [
        f"{folder}/a.parquet, row 2, column USUBJID+AVISIT+PARAMCD: P-1 Baseline FEV1 stands "
        f"already "
        "in row 1; leave one out by 'where' or 'distinct'"
    ]


def test_a_repeat_in_another_file_names_both(tmp_path):
    again = changed(file="again.csv", where=None)
    files = {"again.csv": "\n".join([LONG.split("\n")[0], LONG.split("\n")[1], ""])}
    folder = folder_of(tmp_path, files, measurements=[changed(), again])
    assert problems_of(folder) == [
        f"{folder}/again.csv, line 2, column USUBJID+AVISIT+PARAMCD: P-1 Baseline FEV1 stands "
        f"already "
        "in line 2 of long.csv; leave one out by 'where' or 'distinct'"
    ]


def test_a_join_takes_one_row_each(tmp_path):
    maps = [SUBJECTS[0], {k: v for k, v in SUBJECTS[1].items() if k not in ("where", "units")}]
    folder = folder_of(tmp_path, FILES, CHARACTERISTICS, subjects=maps)
    problems = problems_of(folder)
    assert problems[-1] == (
        f"{folder}/sizes.csv, line 4, column SUBJ: P-2 stands already in line 2; 'join' takes one "
        f"row "
        "each, leave the others out by 'where' or 'distinct'"
    )
    assert problems[0] == (
        f"{folder}/sizes.csv, line 2, column INCHES (HEIGHT): 65 lies below 100 cm; mend "
        "the value or its declared range"
    )


def test_no_other_sheet_takes_the_column_of_the_arm(tmp_path):
    files = {"adsl.csv": ADSL.replace("TRT01P", "GRP")}
    subjects = SUBJECTS[0] | {"columns": {"USUBJID": "SUBJ", "SEX": "GRP"}, "values": {}}
    randomisation = RANDOMISATION | {"columns": {"USUBJID": "SUBJ", "ARM": "GRP"}}
    config = {"characteristics": CHARACTERISTICS["characteristics"][:1]}
    folder = folder_of(tmp_path, files, config, subjects=subjects, randomisation=randomisation)
    (problem,) = problems_of(folder)
    assert problem.endswith(
        "column GRP of adsl.csv tells the arm, which only the sheet 'randomisation' may take; take "
        "it out"
    )


def test_a_characteristic_that_no_map_gives(tmp_path):
    folder = folder_of(tmp_path, FILES, CHARACTERISTICS, subjects=SUBJECTS[0])
    (problem,) = problems_of(folder)
    assert problem.endswith("no map gives HEIGHT, which config.yaml declares; add it to 'columns'")


def test_no_row_of_patients_is_told(tmp_path):
    subjects = SUBJECTS[0] | {"where": {"SEXN": "7"}}
    config = {"characteristics": CHARACTERISTICS["characteristics"][:1]}
    folder = folder_of(tmp_path, FILES, config, subjects=subjects)
    assert problems_of(folder) == [f"{folder}/adsl.csv: no row of the file is taken; mend 'where'"]


def test_check_tells_counts_and_doubts(tmp_path, capsys):
    values = [2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9, 3.0, 3.1, 0.27]
    lines = [f"P-{i},BASE,FEV1,{value},,Y" for i, value in enumerate(values, 1)]
    data = "\n".join([LONG.split("\n")[0], *lines])
    none = changed(where={"OK": "later"})
    folder = folder_of(tmp_path, {"long.csv": data}, measurements=[changed(), none])
    assert cli.main(["check", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "measurements from long.csv: 13 rows read, 13 rows given" in told
    assert f"{folder}/long.csv: none of 13 rows is taken for 'measurements'" in told
    assert (
        f"{folder}/long.csv, line 14, column RESULT (AVAL): FEV1 of P-13 at Baseline is 0.27, "
        f"which "
        "is 1/10 of what is usual here (median 2.5 L); another unit, or a lost decimal point?"
    ) in told


def test_the_originals_stay_as_they_are(tmp_path):
    folder = folder_of(tmp_path, measurements=changed())
    before = (folder / "long.csv").read_bytes()
    found = trial.load(folder / "config.yaml")
    out = tmp_path / "out"
    found.mapped["measurements"].write(out / "measurements.tsv", out / "counts.tsv")
    assert (folder / "long.csv").read_bytes() == before
    written = pd.read_csv(out / "measurements.tsv", sep="\t", dtype=str)
    assert list(written) == [
        *("USUBJID", "AVISIT", "PARAMCD", "AVAL", "ADT"),
        *("SRCDOM", "SRCVAR", "SRCSEQ"),
    ]
    assert written.loc[0, ["SRCDOM", "SRCSEQ"]].tolist() == ["long.csv", "2"]


def test_a_map_is_one_or_a_list(tmp_path):
    assert source_maps.of("subjects.tsv") == []
    assert len(source_maps.of({"file": "a.csv"})) == 1
    folder = folder_of(tmp_path, measurements=[])
    (problem,) = problems_of(folder)
    assert problem.endswith("'sheets.measurements' is empty; give at least 1 entry")
    edit_yaml(folder / "config.yaml", lambda c: c["sheets"].update(measurements=5))
    (problem,) = problems_of(folder)
    assert "'sheets.measurements' is '5'; it must be keys with values" in problem


def test_parameters_are_a_sheet_of_ours(tmp_path):
    folder = folder_of(tmp_path, parameters={"file": "a.csv"})
    (problem,) = problems_of(folder)
    assert "'sheets.parameters'" in problem
    assert PARAMETERS.startswith("PARAMCD")
