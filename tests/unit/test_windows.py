"""Visits by date: places of records by table, the choice among several, and what is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from unit import reporting_fixture as fixture

from helpers import change_cell, edit_yaml, problems_of
from lungitude import adam, cli, cohort, exchange, tables, trial, windows
from lungitude.analysis.disposition import disposition
from lungitude.checks import schema
from lungitude.reporting import methods, report

VISITS = [
    {"name": "Baseline", "path": "base", "number": 0, "day": 1, "window": [-28, 1],
     "baseline": True},
    {"name": "Week 6", "path": "week06", "number": 6, "day": 43, "window": [29, 57]},
    {"name": "Week 12", "path": "week12", "number": 12, "day": 85, "window": [58, 112]},
]  # fmt: skip
DEFAULTS = {
    name: spec["default"]
    for name, spec in schema("config")["properties"]["visit_windows"]["properties"].items()
}
SUBJECTS = pd.DataFrame(
    {"USUBJID": ["P1", "P2", "P3"], "RANDDT": ["2024-01-10", "2024-01-10", np.nan]}
)
PARAMETERS = pd.DataFrame(
    {
        "PARAMCD": ["FEV1", "CAT", "LAV", "AGEX"],
        "PARAM": ["FEV1", "CAT score", "LAV-950", "Neither"],
        "AVALU": ["L", "", "%", ""],
        "DIRECTION": ["higher", "lower", "lower", "none"],
        "DATASET": ["ADFUN", "ADFUN", "ADQCT", "ADFUN"],
        "MEASURE": [None, None, "insp:parenchyma:all:laa950_pct", None],
    }
)
DAY = {1: "2024-01-10", 43: "2024-02-21", 50: "2024-02-28", 85: "2024-04-03"}


def frame(*rows, columns="USUBJID AVISIT PARAMCD AVAL ADT SOURCE"):
    table = pd.DataFrame(list(rows), columns=columns.split())
    return table.astype({"USUBJID": object, "AVISIT": object, "ADT": object})


def row(visit, day, value=1.0, who="P1", code="FEV1", source="imported"):
    date = None
    if day is not None:
        offset = day - 1 if day > 0 else day
        date = str((pd.Timestamp("2024-01-10") + pd.Timedelta(days=offset)).date())
    return who, visit, code, value, date, source


def derive(*rows, cut=None, scans=None, **settings):
    return windows.derive(
        *(frame(*rows), SUBJECTS, PARAMETERS, VISITS, {**DEFAULTS, **settings}),
        scans=scans,
        data_cut=cut,
    )


@pytest.mark.parametrize(
    ("visit", "day", "settings", "at", "reason"),
    [
        ("Week 6", 43, {}, "Week 6", ""),
        ("Week 6", 29, {}, "Week 6", ""),  # both ends belong to the window
        ("Week 6", 57, {}, "Week 6", ""),
        ("Week 6", 58, {"disagree": "exclude"}, "Week 6", windows.OUTSIDE),
        ("Week 6", 58, {"disagree": "assign"}, "Week 6", ""),
        ("Week 6", None, {}, "Week 6", ""),  # a visit that is named needs no date
        ("Extra", 43, {}, "Unscheduled", windows.NOT_PLANNED),
        ("Baseline", 1, {"assign": "by_date"}, "Baseline", ""),
        ("Baseline", -28, {"assign": "by_date"}, "Baseline", ""),
        ("Baseline", -29, {"assign": "by_date"}, "Unscheduled", windows.OUTSIDE_ALL),
        (np.nan, 2, {"assign": "by_date"}, "Unscheduled", windows.OUTSIDE_ALL),
        (np.nan, 43, {"assign": "by_date"}, "Week 6", ""),
        ("Extra", 58, {"assign": "by_date"}, "Week 12", ""),
        ("Week 6", 58, {"assign": "by_date", "disagree": "assign"}, "Week 12", ""),
        ("Week 6", 58, {"assign": "by_date", "disagree": "exclude"}, "Week 6",
         windows.OTHER_VISIT),
        ("Week 6", None, {"assign": "by_date", "undated": "named"}, "Week 6", ""),
        ("Week 6", None, {"assign": "by_date", "undated": "exclude"}, "Week 6", windows.NO_DATE),
        (np.nan, None, {"assign": "by_date", "undated": "named"}, "Unscheduled", windows.NO_DATE),
    ],
)  # fmt: skip
def test_each_record_has_its_place(visit, day, settings, at, reason):
    found = derive(row(visit, day), **settings).iloc[0]
    assert (found["AVISIT"], found["ANLREAS"]) == (at, reason)
    assert found["VISIT"] == visit or pd.isna(visit)


def test_a_patient_without_reference_date_has_no_day():
    rows = [row("Week 6", 43, who="P3")]
    with pytest.raises(ValueError, match="P3 has a date, but the patient has no RANDDT"):
        derive(*rows, assign="by_date")
    assert derive(*rows).loc[0, "ADY"] is pd.NA


def test_days_of_the_window_are_those_of_adam():
    table = derive(row("Baseline", -3), row("Week 6", 50), row("Week 12", 58, code="CAT"))
    assert table["ADY"].tolist() == [-3, 50, 58]
    assert table["AWTDIFF"].tolist() == [3, 7, 27]  # there is no day 0: -3, -2, -1, then 1
    assert table["AWTARGET"].tolist() == [1, 43, 85]
    assert table[["AWLO", "AWHI"]].to_numpy().tolist() == [[-28, 1], [29, 57], [58, 112]]
    assert table.loc[0, "AWRANGE"] == "DAY -28 TO DAY 1"
    assert set(table["AWU"]) == {"DAYS"}


THREE = [row("Week 6", 38, 2.0), row("Week 6", 45, 1.0), row("Week 6", 50, 3.0)]


@pytest.mark.parametrize(
    ("several", "code", "value"),
    [
        ("closest", "FEV1", 1.0),
        ("first", "FEV1", 2.0),
        ("last", "FEV1", 3.0),
        ("worst", "FEV1", 1.0),
        ("worst", "CAT", 3.0),
        ("mean", "FEV1", 2.0),
    ],
)
def test_one_of_several(several, code, value):
    rows = [(*part[:2], code, *part[3:]) for part in THREE]
    table = derive(*rows, row("Week 12", 85, 9.0, code=code), several=several)
    used = table[(table["ANLREAS"] == "") & (table["AVISIT"] == "Week 6")]
    assert used["AVAL"].tolist() == [value]
    assert len(table[table["DTYPE"] == ""]) == 4  # nothing is lost
    reason = windows.AVERAGED if several == "mean" else windows.NOT_CHOSEN
    assert (table["ANLREAS"] == reason).sum() == (3 if several == "mean" else 2)
    assert used["DTYPE"].tolist() == ["AVERAGE" if several == "mean" else ""]
    if several == "mean":
        assert used[["ADT", "ADY", "AWTDIFF"]].isna().all(axis=None)


def test_ties_go_by_the_second_rule():
    rows = [row("Week 6", 41, 2.0), row("Week 6", 45, 4.0), row("Week 6", 50, 7.0)]
    for ties, value in (("first", 2.0), ("last", 4.0), ("worst", 2.0), ("mean", 3.0)):
        table = derive(*rows, several="closest", ties=ties)
        assert table.loc[table["ANLREAS"] == "", "AVAL"].tolist() == [value]
        assert table.loc[2, "ANLREAS"] == windows.NOT_CHOSEN
    with pytest.raises(ValueError, match="cannot tell 2 of them apart"):
        derive(*rows, several="closest")
    alike = [row("Week 6", 45, 2.0), row("Week 6", 41, 2.0)]  # the value is the same
    table = derive(*alike, several="closest")
    assert table.loc[table["ANLREAS"] == "", "ADY"].tolist() == [41]


@pytest.mark.parametrize(
    ("rows", "settings", "told"),
    [
        (THREE, {}, "3 records of FEV1 of P1 at Week 6; keep one"),
        ([*THREE, row("Week 6", None)], {"several": "last"}, "not all have a date"),
        ([row("Week 6", day, day, code="AGEX") for day in (40, 41)], {"several": "worst"},
         "write DIRECTION"),
        ([row("Week 6", 43, 1.0), row("Week 6", 43, 2.0)], {"several": "first", "ties": "last"},
         "'several: first' and 'ties: last' cannot tell 2 of them apart"),
        ([row("Week 6", 58)], {}, "day 58 of the study, outside the window of Week 6"),
        ([row("Week 6", 58)], {"assign": "by_date"}, "outside the window of Week 6"),
        ([row("Week 6", None)], {"assign": "by_date"}, "has no date"),
    ],
)  # fmt: skip
def test_what_is_not_decided_is_refused(rows, settings, told):
    with pytest.raises(ValueError, match=told):
        derive(*rows, **settings)


def test_the_choice_is_among_records_that_count():
    """Neither what is missing, nor what is after the data cut, nor what a scan gives instead."""
    rows = [row("Week 6", 40, 1.0), row("Week 6", 50, np.nan), row("Week 6", 55, 3.0)]
    table = derive(*rows, several="last", cut="2024-02-29")
    assert table["ANLREAS"].tolist() == ["", windows.NO_VALUE, windows.LATE]
    scans = pd.DataFrame({"USUBJID": ["P1"], "AVISIT": ["Week 6"], "SERIES": ["insp"]})
    rows = [row("Week 6", 99, 8.0, code="LAV", source="scan"), row(np.nan, 43, 9.0, code="LAV")]
    table = derive(*rows, assign="by_date", scans=scans)
    assert table["AVISIT"].tolist() == ["Week 6", "Week 6"]  # a scan stays at its visit
    assert table["ANLREAS"].tolist() == ["", windows.SCANNED]


ARMS = [{"code": "EG", "label": "Exercise"}, {"code": "CG", "label": "Control", "reference": True}]


def datasets(*rows, subjects=SUBJECTS, reference="RANDDT", **settings):
    settings = {**DEFAULTS, "reference": reference, **settings}
    taken = windows.derive(frame(*rows), subjects, PARAMETERS, VISITS, settings)
    randomisation = pd.DataFrame({"USUBJID": ["P1", "P2"], "ARM": ["EG", "CG"]})
    subject = adam.adsl(
        *(subjects, randomisation, ARMS, VISITS),
        measurements=taken[taken["ANLREAS"] == ""],
        reference=reference,
    )
    return subject, adam.bds(taken, subject, PARAMETERS, VISITS, dataset="ADFUN")


def test_analysis_data_keep_all_and_flag_one():
    rows = [row("Baseline", -3, 1.0), row("Baseline", 1, 2.0), row("Extra", 20, 5.0),
            row("Week 6", 43, 4.0), row("Week 6", 44, 6.0)]  # fmt: skip
    subject, table = datasets(*rows, several="closest", unscheduled=["Extra"])
    assert table["ADY"].tolist() == [-3, 1, 43, 44, 20]
    assert table["ANL01FL"].tolist() == ["", "Y", "Y", "", ""]
    assert table["ABLFL"].tolist() == ["", "Y", "", "", ""]
    assert table["BASE"].tolist() == [2.0] * 5
    assert table["CHG"].tolist()[2:4] == [2.0, 4.0]
    assert table["CHG"].isna().tolist() == [True, True, False, False, True]
    assert table["AVISIT"].tolist()[-1] == "Unscheduled"
    assert np.isnan(table["AVISITN"].iloc[-1])
    assert table["ASEQ"].tolist() == [1, 2, 3, 4, 5]
    keys = exchange.keys_of("ADFUN", table)
    assert not table.duplicated(keys).any()
    for name, found in (("ADSL", subject), ("ADFUN", table)):
        assert exchange.faults(name, found, exchange.variables(found, {})) == []
    counts = disposition(subject, [table], None, {}, ARMS, VISITS)
    total = counts[(counts["GROUP"] == "TOTAL") & counts["LEVEL"].str.startswith("records")]
    assert dict(zip(total["LEVEL"], total["VALUE"], strict=True)) == {
        "records": 5,
        "records_analysed": 2,
        "records_moved": 0,
        "records_outside": 0,
        "records_left_out:another record of the visit was chosen": 2,
        "records_left_out:unscheduled visit": 1,
    }
    assert not counts[counts["LEVEL"].str.startswith("records")]["STAT"].eq("pct").any()


def test_days_count_from_the_reference():
    """A first dose a week after randomisation moves all days by seven."""
    subjects = SUBJECTS.assign(RFSTDT=["2024-01-17"] * 3)
    subject, table = datasets(row("Week 6", 50), subjects=subjects, reference="RFSTDT")
    assert table["ADY"].tolist() == [43]
    assert subject["RFSTDT"].tolist() == ["2024-01-17"] * 3
    assert "RFSTDT" not in datasets(row("Week 6", 50))[0]


# --- The folder of a trial --------------------------------------------------------------------

CONFIG = {
    "trial": "dated",
    "title": "Dated",
    "arms": ARMS,
    "visits": VISITS,
    "visit_windows": {"assign": "by_date", "several": "closest"},
    "characteristics": [{"column": "AGE", "label": "Age", "unit": "years", "type": "continuous"}],
    "sheets": {name: f"{name}.tsv" for name in ("subjects", "measurements", "parameters")},
}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "config" / "dated"
    place.mkdir(parents=True)
    (place / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    subjects = pd.DataFrame({"USUBJID": ["P1", "P2"], "AGE": 60, "RANDDT": "2024-01-10"})
    tables.write(subjects, place / "subjects.tsv")
    rows = [row(visit["name"], visit["day"], 2.0, who) for who in ("P1", "P2") for visit in VISITS]
    rows.append(row("Week 6", 45, 2.5))
    tables.write(frame(*rows).drop(columns="SOURCE"), place / "measurements.tsv")
    told = PARAMETERS.head(1).assign(LOW=0.2, HIGH=7, DECIMALS=2).drop(columns="MEASURE")
    tables.write(told, place / "parameters.tsv")
    return place


def test_a_good_folder_passes(folder):
    assert len(trial.load(folder / "config.yaml", root=folder.parents[1]).measurements) == 7


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda c: c["visits"][1].update(window=[29, 60]),
         "the windows of 'Week 6' and 'Week 12' overlap"),
        (lambda c: c["visits"][0].update(window=[0, 1]), "names day 0"),
        (lambda c: c["visits"][0].update(window=[1, -3]), "begins on day 1 after its end -3"),
        (lambda c: c["visits"][1].update(day=90), "day 90 of 'Week 6' lies outside its window"),
        (lambda c: c["visits"][1].pop("window"), "visit 'Week 6' has no window"),
        (lambda c: c["visits"][1].pop("day"), "the planned day, which 'Week 6' lacks"),
        (lambda c: c.pop("visit_windows"), "has a window, which 'visit_windows' is to use"),
        (lambda c: c["visit_windows"].update(several="mean", ties="first"), "leaves no ties"),
        (lambda c: c["visit_windows"].update(assign="named", undated="named"), "'undated' is for"),
        (lambda c: c["visit_windows"].update(unscheduled=["Week 6"]), "not unscheduled"),
        (lambda c: c["visit_windows"].update(reference="RFSTDT"),
         "counts days from RFSTDT; fill it in"),
        (lambda c: c["visit_windows"].update(several="stop"),
         "2 records of FEV1 of P1 at Week 6; keep one"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_meant(folder, edit, told):
    edit_yaml(folder / "config.yaml", edit)
    problems = problems_of(folder)
    assert any(told in problem for problem in problems), problems
    assert all(len(problem) <= 400 for problem in problems)


@pytest.mark.parametrize(
    ("line", "column", "value", "told"),
    [
        (1, "ADT", "", "measurements.tsv, line 3, column USUBJID: FEV1 of P1 has no date (ADT)"),
        (1, "ADT", "2024-04-03", "line 3, column ADT: FEV1 of P1 is of 2024-04-03, day 85 of the "
         "study, outside the window of Week 6 (day 29 to day 57)"),
        (1, "ADT", "1924-02-21", "line 3, column ADT: 1924-02-21 is before P1 was born"),
        (6, "ADT", "2024-02-21", "'several: closest' cannot tell 2 of them apart"),
        (1, "AVISIT", "Weak 6", "visit 'Weak 6' is not among 'visits'"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_meant(folder, line, column, value, told):
    change_cell(folder / "measurements.tsv", line, column, value)
    problems = problems_of(folder)
    assert any(told in problem for problem in problems), problems
    assert all(len(problem) <= 400 for problem in problems)


def test_dates_may_be_missing_where_the_trial_says_so(folder):
    edit_yaml(folder / "config.yaml", lambda c: c["visit_windows"].update(undated="named"))
    change_cell(folder / "measurements.tsv", 4, "ADT", "")
    assert trial.load(folder / "config.yaml", root=folder.parents[1])


def test_without_windows_two_records_are_refused(folder):
    def edit(config):
        del config["visit_windows"]
        for visit in config["visits"]:
            del visit["window"]

    edit_yaml(folder / "config.yaml", edit)
    assert any("P1 Week 6 FEV1 stands already in line 3" in text for text in problems_of(folder))


def test_scans_out_of_window_are_named_and_no_fault(folder, capsys):
    def edit(config):
        series = {"insp": {"phase": "inspiration"}}
        config["imaging"] = {"inspiration": "insp", "series": series}
        config["visits"][1]["imaging"] = True
        config["sheets"]["scans"] = "scans.tsv"
        config["visit_windows"]["disagree"] = "assign"
        config["scans_root"] = str(folder)

    edit_yaml(folder / "config.yaml", edit)
    scans = pd.DataFrame(
        {"USUBJID": ["P1"], "AVISIT": ["Week 6"], "SERIES": ["insp"], "PATH": ["a.nii"],
         "ADT": ["2024-04-03"]}
    )  # fmt: skip
    (folder / "a.nii").touch()
    tables.write(scans, folder / "scans.tsv")
    assert cli.check_trial(str(folder)) == 0
    told = capsys.readouterr().out
    assert "the scan insp of P1 is of 2024-04-03, day 85 of the study, outside the window" in told
    edit_yaml(folder / "config.yaml", lambda c: c["visit_windows"].update(disagree="stop"))
    assert any("scans.tsv, line 2, column ADT: the scan insp" in t for t in problems_of(folder))


def test_what_was_imported_for_a_scanned_visit_is_told_where_visits_are_found():
    """By date it is not known before the reference date which visit a record is of."""
    scans = pd.DataFrame({"USUBJID": ["P1"], "AVISIT": ["Week 6"], "SERIES": ["insp"]})
    rows = frame(row("Week 6", 43, code="LAV"), row(np.nan, 85, code="LAV")).drop(columns="SOURCE")
    measures = pd.DataFrame(columns=["USUBJID", "AVISIT", "SERIES", "region", "laa950_pct"])
    for by_date, count in ((False, 1), (True, 2)):
        given = ({"parenchyma": measures}, rows, PARAMETERS, scans, VISITS)
        assert len(cohort.gather(*given, by_date=by_date)) == count


def test_methods_and_the_report_say_how_records_came_to_their_visits():
    context = fixture.context()
    assert methods._windows(context) == ""
    windowed = replace(
        context,
        visits=VISITS[:2],
        visit_windows={**DEFAULTS, "assign": "by_date", "several": "closest", "ties": "last",
                       "disagree": "exclude"},
    )  # fmt: skip
    assert methods._windows(windowed) == (
        "Visits. Records were assigned to visits by their date; windows were Baseline (day "
        "\u221228 to 1) and Week 6 (day 29 to 57), day 1 being that of randomisation. Records "
        "whose date is of another visit than was named were not analysed. Of several records of a "
        "patient at a visit, the one closest to the planned day was analysed, of those alike the "
        "last. Unscheduled records were not analysed."
    )
    frame = fixture.frame()
    like = frame[(frame["METHOD"] == "disposition") & (frame["LEVEL"] == "randomised")]
    levels = ("records", "records_moved", "records_left_out:no value")
    rows = pd.concat([frame, *(like.assign(LEVEL=level) for level in levels)])
    counts = report.record_counts(fixture.results(table=rows), context)
    assert [line["label"] for line in counts] == [
        "collected",
        "at another visit than was named",
        "not analysed: no value",
    ]
    assert [part.text for part in counts[0]["cells"]] == ["200", "200", "400"]
    assert report.record_counts(fixture.results(), context) == []
