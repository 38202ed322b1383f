"""Slips of the hand in a trial folder, each told in words; and what is valid though unusual."""

import importlib
import shutil

import pandas as pd
import pytest
import yaml

from helpers import ROOT, change_cell, edit_text, edit_yaml, problems_of, without_accuracy
from lungitude import cli, trial
from lungitude.biomarkers.agatston import VESSELS
from lungitude.biomarkers.regions import THIRDS
from lungitude.checks import schema
from lungitude.segmentation import REGIONS
from lungitude.sheets import measure_fault


def text(name, old, new):
    return lambda folder: edit_text(folder / name, old, new)


def cell(name, column, value, row=0):
    return lambda folder: change_cell(folder / name, row, column, value)


def content(name, change):
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def renamed_patient(name):
    def edit(folder):
        for path in folder.glob("*.tsv"):
            path.write_text(path.read_text(encoding="utf-8").replace("DEMO-0001", name), "utf-8")

    return edit


def a_folder_in_its_place(name):
    def edit(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return edit


def every_line(end):
    return lambda data: data.replace(b"\n", end + b"\n")


NAME = "; the identifier of a patient has up to 40 letters a-z, digits, and inside . _ -"
COMMON = "(perhaps Latin-1 or Windows-1252); save the file as UTF-8"
IN_QUOTES = "put it in quotes:"
SMOKING = "levels:\n    Y: 'Yes'\n    N: 'No'\n  show:\n  - Y"


def compare_nothing(plan):
    plan["analyses"]["within_arm"] = {}
    plan["primary"]["method"] = "within_arm"


SLIPS = {
    # how a sheet is written
    "Latin-1": (
        content("parameters.tsv", lambda b: b.replace(b"Lung volume", b"Volum\xe9")),
        f"parameters.tsv, line 5: byte 0xE9 is not UTF-8 {COMMON}",
    ),
    "UTF-16": (
        content("subjects.tsv", lambda b: b.decode().encode("utf-16")),
        "subjects.tsv: the file is in UTF-16; save it as plain text in UTF-8",
    ),
    "a workbook": (
        content("subjects.tsv", lambda b: b"PK\x03\x04" + b"\0" * 40),
        "subjects.tsv: the file is no plain text (a workbook, or UTF-16); save it as plain text "
        "in UTF-8",
    ),
    "no byte": (
        content("subjects.tsv", lambda b: b""),
        "subjects.tsv: the file is empty; it needs at least a header line",
    ),
    "header only": (
        content("subjects.tsv", lambda b: b.split(b"\n")[0]),
        "subjects.tsv: the sheet has a header but no row; add the rows",
    ),
    "a folder": (
        a_folder_in_its_place("subjects.tsv"),
        "subjects.tsv: a folder has the name of the file; move it away, then create it or mend "
        "'sheets: subjects' in config.yaml",
    ),
    "a tab at every end": (
        content("randomisation.tsv", lambda b: every_line(b"\t")(b.rstrip(b"\n") + b"\n")),
        "randomisation.tsv, line 1: column 3 of 3 has no name; name it, or delete the tab",
    ),
    "a tab too many": (
        text("events.tsv", "\nDEMO", "\n\tDEMO"),
        "events.tsv, line 2: the row has 5 cells, the header 4; a tab is too many: delete it",
    ),
    "a row cut short": (
        content("measurements.tsv", lambda b: b[: b.rindex(b"\t", 0, b.rindex(b"\t"))] + b"\n"),
        "the row has 4 cells, the header 6; its end or a tab is lost: add what is missing, an "
        "empty cell needs its tab",
    ),
    "only tabs": (
        content("events.tsv", lambda b: b + b"\t\t\t\n"),
        "the row has nothing but blanks or tabs; delete it",
    ),
    "a column twice": (
        text("randomisation.tsv", "ARM", "USUBJID"),
        "randomisation.tsv, line 1, column USUBJID: the column is there twice; delete one",
    ),
    "a quotation that stays open": (
        text("events.tsv", "\texacerbation\t", '\t"exacerbation\t'),
        "a quotation mark opens a cell and does not close it in this line; delete the mark, or "
        "the line break in the cell",
    ),
    "a blank": (
        cell("randomisation.tsv", "ARM", "EG "),
        "randomisation.tsv, line 2, column ARM: a cell must not begin or end with a blank: "
        "'EG '; delete those blanks",
    ),
    "a control character": (
        cell("events.tsv", "REASON", "Se\x07vere"),
        "events.tsv, line 2, column REASON: a cell must not hold a character that can't be "
        "printed: 'Se\\x07vere'; type it anew, and save the sheet as UTF-8",
    ),
    "a huge cell": (
        cell("events.tsv", "REASON", "x" * 100_000),
        "column REASON: the cell has 100000 characters; 1000 are allowed, shorten it",
    ),
    # what a cell says
    "NA": (
        cell("measurements.tsv", "AVAL", "NA"),
        "'NA' is no number; leave the cell empty if it is missing",
    ),
    "NA for a reason": (
        cell("events.tsv", "REASON", "NA"),
        "'NA' stands for a missing value; leave the cell empty",
    ),
    "infinite": (
        cell("measurements.tsv", "AVAL", "1e400"),
        "'1e400' is too large for a number; mend it",
    ),
    "a bound": (
        cell("measurements.tsv", "AVAL", "<5"),
        "'<5' is no number; write it as 12.3, missing as an empty cell",
    ),
    "no such day": (
        cell("measurements.tsv", "ADT", "2021-02-30"),
        "'2021-02-30' is not a day of the calendar (1900 to 2199); mend it",
    ),
    "capitals of a visit": (
        cell("measurements.tsv", "AVISIT", "WEEK 6"),
        "visit 'WEEK 6' is not among 'visits' of config.yaml; did you mean 'Week 6'?",
    ),
    "the label of an arm": (
        cell("randomisation.tsv", "ARM", "Usual care"),
        "arm 'Usual care' is not among 'arms' of config.yaml; that is a label, write the code 'CG'",
    ),
    "capitals of a patient": (
        text("randomisation.tsv", "DEMO-0001", "demo-0001"),
        "patient 'demo-0001' is not in subjects.tsv; there it is 'DEMO-0001', write it so",
    ),
    "capitals of two patients": (
        content("subjects.tsv", lambda b: b + b.split(b"\n")[1].lower().upper()
                .replace(b"DEMO", b"demo") + b"\n"),
        "patient 'demo-0001' is 'DEMO-0001' of line 2 but for capitals; rename one",
    ),
    "patient with a blank": (renamed_patient("DEMO 1"), f"'DEMO 1' is not allowed{NAME}"),
    "patient with a path": (renamed_patient("../x"), f"'../x' is not allowed{NAME}"),
    "patient with a dash": (renamed_patient("-1"), f"'-1' is not allowed{NAME}"),
    "patient with a tag": (renamed_patient("<script>"), f"'<script>' is not allowed{NAME}"),
    "LOW above HIGH": (
        cell("parameters.tsv", "LOW", "90"),
        "parameters.tsv, line 2, column LOW: LOW 90 of LAV950 is not below HIGH 70; mend them",
    ),
    "a column of no biomarker": (
        cell("parameters.tsv", "MEASURE", "hrct_insp:parenchyma:all:laa95_pct"),
        "the table 'parenchyma' has no column 'laa95_pct'; did you mean 'laa950_pct'?",
    ),
    "a map of one series": (
        cell("parameters.tsv", "MEASURE", "hrct_insp:prm:all:fsad_pct"),
        "a map of two scans belongs to no series; write 'visit' or 'subject' in place of it",
    ),
    # YAML
    "a tab in YAML": (
        text("config.yaml", "  subjects: ", "\tsubjects: "),
        "not valid YAML (a tab at the begin of a line); mend that line: "
        "indent with blanks, and put text that holds : or # in quotes",
    ),
    "a line of YAML too far": (
        text("config.yaml", "  subjects: ", "   subjects: "),
        "not valid YAML (indented unlike the lines above that belong to it); mend that line: ",
    ),
    "a colon in a title": (
        text("config.yaml", "title: ", "title: Trial: "),
        "not valid YAML (a second ': ' in a line, or a line indented too far); mend that line: ",
    ),
    "a level without declaration": (
        cell("subjects.tsv", "GOLDGR", "IV?"),
        "'IV?' is not among the levels of GOLDGR in 'strata' of config.yaml; mend the cell or add "
        "the level there (",
    ),
    "a no-break space": (
        cell("measurements.tsv", "AVISIT", "Week\xa06"),
        "visit 'Week[no-break space]6' is not among 'visits' of config.yaml; did you mean "
        "'Week 6'?",
    ),
    "lost zeros of a patient": (
        cell("randomisation.tsv", "USUBJID", "DEMO-1"),
        "patient 'DEMO-1' is not in subjects.tsv; there it is 'DEMO-0001', write it so",
    ),
    "a number for a missing value": (
        cell("measurements.tsv", "AVAL", "-99"),
        "; leave the cell empty if it is missing, convert it to ",
    ),
    "a day as Excel keeps it": (
        cell("measurements.tsv", "ADT", "44292"),
        "'44292' is no date (a number, as Excel and SAS keep dates); write it as YYYY-MM-DD",
    ),
    "no text": (
        content("subjects.tsv", lambda b: b"\x01\xd9\x02" + b),
        "subjects.tsv: the file is no plain text; save it as plain text in UTF-8",
    ),
    "YAML in Latin-1": (
        content("config.yaml", lambda b: b.decode().encode("latin-1")),
        COMMON,
    ),
    "no YAML": (
        content("config.yaml", lambda b: b""),
        "config.yaml: the file is empty; write one 'key: value' a line",
    ),
    "a list": (
        content("config.yaml", lambda b: b"- trial\n"),
        "config.yaml: the file is no mapping; write one 'key: value' a line",
    ),
    "an endless alias": (
        text("config.yaml", "title:", "study: &a [*a]\ntitle:"),
        "an alias (*) refers to itself, or lists are nested too deep; write it out",
    ),
    "a bare yes": (
        text("config.yaml", SMOKING, SMOKING.replace("'Yes'", "Yes")),
        f"'characteristics.3.levels.Y' is Yes, which YAML reads as true or false; {IN_QUOTES} "
        '"Yes"',
    ),
    "a bare yes as key": (
        text("config.yaml", SMOKING, SMOKING.replace("Y: ", "yes: ")),
        f'YAML reads the key yes as True; {IN_QUOTES} "yes"',
    ),
    "a bare number": (
        text("config.yaml", "value: I\n", "value: 01\n"),
        f"'strata.0.levels.0.value' is 01, which YAML reads as a number; {IN_QUOTES} \"01\"",
    ),
    "a number in quotes": (
        text("config.yaml", "low: 18", "low: '18'"),
        "'characteristics.0.low' is the text '18'; write a number such as 1.5, without quotes",
    ),
    "no number": (
        text("plan.yaml", "confidence: 0.95", "confidence: .nan"),
        "plan.yaml, line 3: 'confidence' is 'nan'; it must be a number",
    ),
    "an empty section": (
        text("plan.yaml", "  agreement: {parameters: all}", "  agreement:"),
        "'analyses.agreement' is empty; fill it in ({} takes the defaults) or delete the key",
    ),
    "a day as DD.MM.": (
        text("config.yaml", "data_cut: 2024-06-30", "data_cut: 30.06.2024"),
        "'data_cut' is '30.06.2024'; it must be a day of the calendar as YYYY-MM-DD",
    ),
    "a day that is none": (
        text("config.yaml", "data_cut: 2024-06-30", "data_cut: 2024-02-31"),
        "'2024-02-31' can't be read (day is out of range for month); mend it, a date is YYYY-MM-DD",
    ),
    "a name of a folder": (
        text("config.yaml", "trial: tiny", "trial: My Trial"),
        "'trial' is 'My Trial'; write small letters a-z, digits, _ and -, a letter first, such as "
        "demo",
    ),
    # names across keys and files
    "visits out of order": (
        text("config.yaml", "number: 12", "number: 6"),
        "visit 'Week 12' has number 6 after 'Week 6' with 6; list visits by time, each with a "
        "greater number",
    ),
    "a path twice": (
        text("config.yaml", "path: week12", "path: week06"),
        "'visits' has path 'week06' twice; each must be unique",
    ),
    "a stratum named all": (
        text("config.yaml", "path: gold2", "path: all"),
        "stratum path 'all' is taken; choose another",
    ),
    "a level that is shown": (
        text("config.yaml", "show:\n  - M\n", "show:\n  - m\n"),
        "'show' of 'SEX' names level 'm'; did you mean 'M'?",
    ),
    "a reserved column": (
        text("config.yaml", "column: BMI", "column: CHG"),
        "characteristic 'CHG' has a reserved name; rename the column",
    ),
    "a column of the adverse events": (
        text("config.yaml", "column: BMI", "column: AESEV"),
        "characteristic 'AESEV' has a reserved name; rename the column",
    ),
    "a column that is made of them": (
        text("config.yaml", "column: BMI", "column: TRTEMFL"),
        "characteristic 'TRTEMFL' has a reserved name; rename the column",
    ),
    "an arm named total": (
        text("config.yaml", "code: EG", "code: TOTAL"),
        "the arm code 'TOTAL' is kept for all arms together; choose another",
    ),
    "no reads": (
        text("config.yaml", "  reads: reads.tsv\n", ""),
        "the analysis of agreement needs 'sheets: reads' in config.yaml; add it there, or delete "
        "'agreement'",
    ),
    "a display of nothing": (
        lambda f: edit_yaml(f / "plan.yaml", lambda p: p["analyses"].pop("baseline")),
        "'table_baseline' shows the analysis 'baseline', which the plan lacks; add 'baseline: {}' "
        "to 'analyses'",
    ),
    "a display of no kind": (
        lambda f: edit_yaml(f / "plan.yaml", lambda p: p["displays"][0].update(id="flow")),
        "'flow' is no kind of display; give it a 'kind' (",
    ),
    "a family of nothing": (
        lambda f: edit_yaml(
            f / "plan.yaml", lambda p: p["analyses"]["ancova"].update(visits=["Week 6"])
        ),
        "visit 'Week 12' is not in 'analyses.ancova.visits'; add it there, or take it out here",
    ),
    "change at baseline": (
        lambda f: edit_yaml(f / "plan.yaml", lambda p: p["primary"].update(visit="Baseline")),
        "visit 'Baseline' is not after the baseline, so there is no change; name a later visit",
    ),
    "another set that is the analysis's own": (
        lambda f: edit_yaml(
            f / "plan.yaml", lambda p: p["analyses"]["ancova"].update(also_in={"ITT": "all"})
        ),
        "'also_in' names 'ITT', the analysis set of 'ancova' itself; delete it there",
    ),
    "another set of an unknown parameter": (
        lambda f: edit_yaml(
            f / "plan.yaml", lambda p: p["analyses"]["ancova"].update(also_in={"PP": ["VO2"]})
        ),
        "parameter 'VO2' is unknown; ",
    ),
    "a primary analysis that compares nothing": (
        lambda f: edit_yaml(f / "plan.yaml", lambda p: compare_nothing(p)),
        "'within_arm' compares no arms, and the trial has several; name a model, such as 'ancova'",
    ),
    "a set that is not defined": (
        lambda f: edit_yaml(f / "plan.yaml", lambda p: p["populations"].pop("ITT")),
        "population 'ITT' is unknown; known: SAF, PP",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_told_in_words(name, tiny):
    edit, expected = SLIPS[name]
    edit(tiny)
    problems = problems_of(tiny)
    assert any(expected in problem for problem in problems), problems
    assert len(problems) < 20
    assert not any("\n" in problem or len(problem) > 400 for problem in problems)


FINE = {
    "byte order mark": content("subjects.tsv", lambda b: b"\xef\xbb\xbf" + b),
    "Windows line ends": content("measurements.tsv", every_line(b"\r")),
    "blank lines": content("measurements.tsv", lambda b: b.replace(b"\n", b"\n\n", 3) + b"\n"),
    "no end of line": content("subjects.tsv", lambda b: b.rstrip(b"\n")),
    "no event yet": content("events.tsv", lambda b: b.split(b"\n")[0]),
    "quoted as R and Excel do": content(
        "randomisation.tsv", lambda b: b.replace(b"USUBJID", b'"USUBJID"').replace(b"EG", b'"EG"')
    ),
    "a quotation mark inside": cell("events.tsv", "REASON", 'Severe "sic"'),
    "other scripts": cell("events.tsv", "REASON", "Fièvre, 発熱"),
    "identifier with dot and underscore": renamed_patient("01.A_7"),
    "a patient who was not randomised": content(
        "randomisation.tsv", lambda b: b"\n".join(b.split(b"\n")[:1] + b.split(b"\n")[2:])
    ),
    "an exponent": cell("measurements.tsv", "AVAL", "1.2e1"),
    "an analysis set without use": text("plan.yaml", "label: Safety", "label: Sécurité"),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_valid_is_read(name, tiny):
    FINE[name](tiny)
    assert trial.load(tiny / "config.yaml").planned


def trees_without_inspiration(config):
    del config["imaging"]["inspiration"]
    config["imaging"]["classical"] = {"vessels": True}


PHANTOM = {
    "another visit's folder": (
        text("scans.tsv", "/baseline/", "/week06/"),
        "is not where the phantom's scan is made; write 'data/tiny/",
    ),
    "no record": (
        content("phantom.tsv", lambda b: b.split(b"\n")[0]),
        "phantom.tsv has no row",
    ),
    "an impossible record": (
        cell("phantom.tsv", "EXPRATIO", "1.2"),
        "phantom.tsv, line 2, column EXPRATIO: 1.2 lies outside 0.4 to 0.95",
    ),
    "no expiration": (
        lambda f: edit_yaml(f / "config.yaml", lambda c: c["imaging"].pop("expiration")),
        "a phantom needs 'imaging.expiration', the series that is made; add it",
    ),
    "no label maps": (
        lambda f: edit_yaml(
            f / "config.yaml", lambda c: c["imaging"].update(segmentation="external")
        ),
        "LABELS is empty, but 'imaging.segmentation' is 'external'; name the label map of the "
        "scan, or say 'classical'",
    ),
    "settings of a network that is not asked for": (
        lambda f: edit_yaml(
            f / "config.yaml", lambda c: c["imaging"].update(network={"precision": "bfloat16"})
        ),
        "it is read where 'imaging.segmentation' is 'network'; say so, or delete it",
    ),
    "weights that are not there": (
        lambda f: edit_yaml(
            f / "config.yaml",
            lambda c: c["imaging"].update(
                segmentation="network", network={"weights": "mine.safetensors"}
            ),
        ),
        "there is no file 'mine.safetensors'; mend the path, or leave it out for those shipped",
    ),
    "trees beside a network": (
        lambda f: edit_yaml(
            f / "config.yaml",
            lambda c: c["imaging"].update(segmentation="network", classical={"airways": True}),
        ),
        "the network finds airways and vessels; delete it, or say 'segmentation: classical'",
    ),
    "a check of no network": (
        lambda f: edit_yaml(f / "config.yaml", lambda c: c["imaging"].update(cross_check=True)),
        "it checks the network; say 'segmentation: network', or delete it",
    ),
    "trees of no series": (
        lambda f: edit_yaml(f / "config.yaml", trees_without_inspiration),
        "it reads the inspiration; name that series as 'imaging.inspiration'",
    ),
    "a tree that is not known": (
        lambda f: edit_yaml(
            f / "config.yaml", lambda c: c["imaging"].update(classical={"airway": True})
        ),
        "unknown key 'airway'",
    ),
    "a path of 5000 letters": (
        cell("scans.tsv", "PATH", "x" * 5000),
        "the cell has 5000 characters; 1000 are allowed, shorten it",
    ),
    "the truth of scans that no phantom makes": (
        lambda f: edit_yaml(f / "config.yaml", lambda c: c.pop("phantom")),
        "the analysis of accuracy needs scans of a phantom, whose truth is known; delete it",
    ),
    "a quantity that the phantom has not": (
        text("plan.yaml", "EF: {column: EF}", "EF: {column: EJECT}"),
        "column of the phantom 'EJECT' is unknown",
    ),
    "series in capitals": (
        cell("scans.tsv", "SERIES", "HRCT_INSP"),
        "series 'HRCT_INSP' is not in 'imaging.series'; did you mean 'hrct_insp'?",
    ),
}


@pytest.mark.parametrize("name", PHANTOM)
def test_a_slip_about_scans_is_told(name, drawn, tmp_path):
    folder = tmp_path / "config" / "tiny"
    shutil.copytree(drawn, folder)
    edit, expected = PHANTOM[name]
    edit(folder)
    problems = problems_of(folder)
    assert any(expected in problem for problem in problems), problems


def test_two_scans_are_not_one_file(drawn, tmp_path):
    folder = tmp_path / "config" / "tiny"
    shutil.copytree(drawn, folder)
    edit_yaml(folder / "config.yaml", lambda c: c.pop("phantom"))
    without_accuracy(folder / "plan.yaml")
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str).head(2)
    scans = scans.drop(columns=["AIRWAYS", "VESSELS", "CORONARY", "HEART"])
    (tmp_path / "scan.nii").touch()
    scans.assign(PATH="scan.nii").to_csv(folder / "scans.tsv", sep="\t", index=False)
    (problem,) = problems_of(folder)
    assert problem.endswith(
        "line 3, column PATH: 'scan.nii' is the scan of line 2, too; mend one of the two, or "
        "delete the row"
    )


def test_patients_of_a_folder_of_scans_have_safe_names(drawn, tmp_path):
    folder = tmp_path / "config" / "public"
    shutil.copytree(ROOT / "config" / "public", folder)
    change_cell(folder / "scans.tsv", 0, "USUBJID", "../up")
    (problem,) = problems_of(folder)
    assert f"'../up' is not allowed{NAME}" in problem


def test_the_same_slip_in_many_rows_is_one_problem(tiny):
    edit_text(tiny / "parameters.tsv", "\nFEV1\t", "\nFEV9\t")
    problems = [p for p in problems_of(tiny) if "measurements.tsv" in p]
    (problem,) = problems
    assert "parameter 'FEV1' is not in parameters.tsv" in problem
    assert "more lines, the last is" in problem


def each(name, column, change):
    """Change every filled cell of a column of a sheet."""

    def edit(folder):
        frame = pd.read_csv(folder / name, sep="\t", dtype=str, keep_default_na=False)
        frame[column] = [change(cell) if cell else cell for cell in frame[column]]
        frame.to_csv(folder / name, sep="\t", index=False, lineterminator="\n")

    return edit


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            each("measurements.tsv", "AVAL", lambda cell: cell.replace(".", ",")),
            "is no number; write it with a point: ",
        ),
        (
            each("measurements.tsv", "ADT", lambda day: ".".join(reversed(day.split("-")))),
            "is no date; write it as YYYY-MM-DD",
        ),
        (
            each("subjects.tsv", "RANDDT", lambda day: f"{day[8:]}APR{day[:4]}"),
            "is no date; write it as YYYY-MM-DD",
        ),
    ],
)
def test_a_column_that_is_written_otherwise_is_one_problem(edit, expected, tiny):
    edit(tiny)
    (problem,) = problems_of(tiny)
    assert expected in problem
    assert "more lines in the same way, the last is" in problem


def test_a_value_in_another_unit_is_told_once(tiny):
    frame = pd.read_csv(tiny / "measurements.tsv", sep="\t", dtype=str, keep_default_na=False)
    at = frame.index[(frame["PARAMCD"] == "FEV1") & (frame["AVAL"] != "")]
    frame.loc[at, "AVAL"] = [f"{1000 * float(value):.0f}" for value in frame.loc[at, "AVAL"]]
    frame.loc[at, "AVALU"] = "mL"
    frame.to_csv(tiny / "measurements.tsv", sep="\t", index=False, lineterminator="\n")
    (problem,) = problems_of(tiny)
    assert "is in 'mL', declared is 'L'; convert the value and its unit" in problem
    assert f"(and in {len(at) - 1} more lines in the same way" in problem


def test_one_slip_of_a_header_is_one_problem(tiny):
    path = tiny / "measurements.tsv"
    whole = path.read_text(encoding="utf-8")
    header, rest = whole.split("\n", 1)
    path.write_text("Listing 16.2.6\n\n" + whole, encoding="utf-8")
    (problem,) = problems_of(tiny)
    assert problem.endswith(
        "measurements.tsv, line 1: the names of the columns stand in line 3; delete what stands "
        "above them"
    )
    path.write_text(f"{header.replace('AVISIT', 'Avisit')}\n{rest}", encoding="utf-8")
    (problem,) = problems_of(tiny)
    assert problem.endswith(
        "line 1, column Avisit: the column is written in other letters; rename it AVISIT"
    )
    path.write_text(header + "\tSITE\n" + rest.replace("\n", "\tA\n"), encoding="utf-8")
    (problem,) = problems_of(tiny)
    assert problem.endswith("line 1, column SITE: the column is unknown; delete it")


def test_a_line_break_in_a_cell_is_one_problem(tiny):
    edit_text(tiny / "events.tsv", "\texacerbation\t", '\t"exacer\nba\ntion"\t')
    (problem,) = problems_of(tiny)
    assert "a cell goes on to line " in problem
    assert problem.endswith("; delete the line break in it")


def test_sheets_are_checked_beside_a_broken_config(tiny):
    edit_yaml(tiny / "config.yaml", lambda c: c.update(tital="x"))
    change_cell(tiny / "measurements.tsv", 0, "AVAL", "x")
    edit_yaml(tiny / "plan.yaml", lambda p: p.update(confidence=95))
    problems = problems_of(tiny)
    assert len(problems) == 3
    assert "unknown key 'tital'" in problems[0]


def test_a_change_on_the_command_line_is_named_as_such(tiny):
    config = yaml.safe_load((tiny / "config.yaml").read_text(encoding="utf-8"))
    with pytest.raises(trial.TrialError) as raised:
        trial.load(tiny / "config.yaml", {**config, "trial": 2024})
    (problem,) = raised.value.problems
    assert problem == (
        f"{tiny / 'config.yaml'} as changed by --config: 'trial' is 2024, which YAML reads as a "
        'number; put it in quotes: "2024"'
    )


def test_measure_names_what_biomarkers_give():
    spec = schema("sheets/parameters")
    modules = {"parenchyma": ["parenchyma", "clusters"], "calcium": ["agatston"]}
    for name, columns in spec["measures"].items():
        given = []
        for module in modules.get(name, [name]):
            given += importlib.import_module(f"lungitude.biomarkers.{module}").COLUMNS
        assert set(columns) <= set(given)
    density = importlib.import_module("lungitude.biomarkers.parenchyma")
    once = [name for name in spec["measures"]["parenchyma"] if name in density.COLUMNS]
    assert spec["compared"]["parenchyma"] == [*once, *density.ADJUSTED]
    lungs, thirds, others = spec["regions"]
    assert lungs == ["all", *REGIONS["lungs"], *REGIONS["lobes"]]
    assert thirds == list(THIRDS)
    assert set(VESSELS) < set(others)


def test_measure_of_one_scan_is_not_adjusted_to_another():
    config = {"imaging": {"series": {"hrct_insp": {}}}}
    column = "parenchyma:all:pd15_adj_g_l"
    assert measure_fault(f"subject:{column}", config) is None
    assert "no column 'pd15_adj_g_l'" in measure_fault(f"hrct_insp:{column}", config)
    assert "'right_uper'" in measure_fault("subject:parenchyma:right_uper:mld_hu", config)
    assert "'subject'" in measure_fault("subject:vessels:all:tbv_ml", config)
    corrected = "prm:all:fsad_corrected_pct"
    assert measure_fault(f"visit:{corrected}", config) is None
    assert "of series 'subject' has no column" in measure_fault(f"subject:{corrected}", config)
    assert "no region 'right'" in measure_fault("subject:parenchyma:right:mld_hu", config)


def test_labels_of_a_structure_stand_in_the_row_of_its_scan(drawn, tmp_path):
    folder = tmp_path / "config" / "tiny"
    shutil.copytree(drawn, folder)
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str)
    row = scans.index[scans["SERIES"] == "hrct_exp"][0]
    good = scans.index[scans["SERIES"] == "hrct_insp"][0]
    scans.loc[row, "AIRWAYS"] = scans.loc[good, "AIRWAYS"]
    scans.to_csv(folder / "scans.tsv", sep="\t", index=False)
    problems = [p for p in problems_of(folder) if "column AIRWAYS" in p]
    assert any("AIRWAYS belongs to a row of series 'hrct_insp', the inspiration" in p
               for p in problems)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"backend": "antspyx", "points": 500}, "unknown settings points; known to the backend"),
        ({"iterations": [30]}, "need one entry a level each"),
        ({"second_opinion": {"backend": "torch", "subjects": ["1"]}}, "name another backend"),
        (
            {"second_opinion": {"backend": "antspyx", "subjects": ["NOBODY"]}},
            "patient 'NOBODY' of 'second_opinion' has no scan in use",
        ),
    ],
)
def test_settings_of_a_registration_are_checked_before_any_job(given, text, drawn):
    config = yaml.safe_load((drawn / "config.yaml").read_text())
    config["imaging"]["registration"] = given
    with pytest.raises(trial.TrialError) as raised:
        trial.load(drawn / "config.yaml", config)
    (problem,) = raised.value.problems
    assert text in problem


def test_the_gated_scan_needs_something_to_be_brought_onto(drawn):
    config = yaml.safe_load((drawn / "config.yaml").read_text())
    config["imaging"]["heart_registration"] = {"spacing_mm": []}
    with pytest.raises(trial.TrialError) as raised:
        trial.load(drawn / "config.yaml", config)
    assert "spacing_mm" in raised.value.problems[0]
    config["imaging"]["heart_registration"] = {}
    del config["imaging"]["gated"]
    with pytest.raises(trial.TrialError) as raised:
        trial.load(drawn / "config.yaml", config)
    told = raised.value.problems
    assert any("onto the inspiration; name 'gated'" in text for text in told)
    assert any("makes the calcium scan and the gated one together" in text for text in told)


def test_the_gated_series_is_a_cycle_and_no_other_is(drawn, tmp_path):
    folder = tmp_path / "config" / "tiny"
    shutil.copytree(drawn, folder)

    def swap(config):
        config["imaging"]["series"]["cta"].pop("cycle")
        config["imaging"]["series"]["hrct_insp"]["cycle"] = True

    edit_yaml(folder / "config.yaml", swap)
    told = " ".join(problems_of(folder))
    assert "the series 'cta' lacks 'cycle: true'" in told
    assert "the series 'hrct_insp' is no cycle, delete 'cycle'" in told


def test_check_says_which_trials_there_are(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert cli.main(["check", "dmo"]) == 1
    assert "There is no trial 'dmo'" in capsys.readouterr().err
    assert cli.main(["check", "public"]) == 0
