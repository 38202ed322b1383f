"""A trial folder is read, or refused with every problem, its place and its remedy."""

import shutil

import pandas as pd
import pytest

from helpers import ROOT, change_cell, edit_text, edit_yaml, problems_of
from lungitude import trial


@pytest.mark.parametrize("name", ["demo", "paper", "public", "empty"])
def test_the_trials_of_the_project_are_valid(name):
    found = trial.load(ROOT / "config" / name / "config.yaml", root=ROOT)
    assert found.config["trial"] == name


def test_a_tiny_trial_loads_with_defaults(tiny):
    found = trial.load(tiny / "config.yaml")
    assert found.baseline["name"] == "Baseline"
    assert [stratum["path"] for stratum in found.strata][:2] == ["all", "gold1"]
    assert found.config["visits"][0]["imaging"] is True
    assert found.config["arms"][0]["reference"] is False
    assert found.plan["populations"]["ITT"]["require"] == []
    assert len(found.scans) == 0


def test_max_subjects_takes_the_first_patients_of_the_sheet(drawn):
    edit = trial.load(drawn / "config.yaml")
    first = pd.read_csv(drawn / "scans.tsv", sep="\t", dtype=str)["USUBJID"].unique()[:8]
    assert list(edit.scans["USUBJID"].unique()) == list(first)
    assert set(edit.scans["visit"]) <= {"baseline", "week06", "week12"}


# Each of these is the whole message, so that its place and remedy are seen to be right.
@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            lambda f: edit_yaml(f / "config.yaml", lambda c: c.update(visit=[])),
            "unknown key 'visit' in the top level; did you mean 'visits'?",
        ),
        (
            lambda f: edit_yaml(f / "config.yaml", lambda c: c["arms"][0].update(colour="red")),
            "unknown key 'colour' in 'arms.0'; known: code, label, ratio, reference",
        ),
        (
            lambda f: edit_yaml(f / "plan.yaml", lambda p: p.update(confidence=95)),
            "'confidence' is 95; it must be below 1",
        ),
        (
            lambda f: edit_yaml(
                f / "plan.yaml", lambda p: p["analyses"]["ancova"].update(covariates=["AEG"])
            ),
            "covariate 'AEG' is unknown; did you mean 'AGE'?",
        ),
        (
            lambda f: edit_yaml(f / "plan.yaml", lambda p: p["primary"].update(visit="Week 13")),
            "visit 'Week 13' is unknown; did you mean 'Week 12'?",
        ),
        (
            lambda f: edit_yaml(f / "config.yaml", lambda c: c["visits"][1].update(baseline=True)),
            "2 visits say 'baseline: true'; exactly one must",
        ),
        (
            lambda f: edit_yaml(f / "config.yaml", lambda c: c["arms"][1].pop("reference")),
            "0 arms say 'reference: true'; exactly one must, the comparator",
        ),
        (
            lambda f: edit_text(f / "config.yaml", "title:", "trial: again\ntitle:"),
            "key 'trial' is given twice; delete one",
        ),
        (
            lambda f: change_cell(f / "randomisation.tsv", 2, "ARM", "EQG"),
            "arm 'EQG' is not among 'arms' of config.yaml; did you mean 'EG'?",
        ),
        (
            lambda f: change_cell(f / "measurements.tsv", 0, "AVISIT", "Week6"),
            "visit 'Week6' is not among 'visits' of config.yaml; did you mean 'Week 6'?",
        ),
        (
            lambda f: change_cell(f / "measurements.tsv", 0, "USUBJID", "DEMO-9999"),
            "patient 'DEMO-9999' is not in subjects.tsv; add the patient there or delete the row",
        ),
        (
            lambda f: change_cell(f / "measurements.tsv", 0, "AVAL", "12,3"),
            "'12,3' is no number; write it with a point: 12.3",
        ),
        (
            lambda f: change_cell(f / "measurements.tsv", 0, "ADT", "06/04/2021"),
            "'06/04/2021' is no date; write it as YYYY-MM-DD",
        ),
        (
            lambda f: change_cell(f / "subjects.tsv", 0, "GOLDGR", "V"),
            "'V' is not among the levels of GOLDGR in 'strata' of config.yaml; mend the cell or "
            "add the level there (known: I, II, III, IV)",
        ),
        (
            lambda f: change_cell(f / "subjects.tsv", 0, "AGE", "653"),
            "653 lies outside 18 to 110 years; mend the value or its declared range",
        ),
        (
            lambda f: (f / "subjects.tsv").unlink(),
            "the file is missing; create it or mend 'sheets: subjects' in config.yaml",
        ),
        (
            lambda f: edit_text(f / "subjects.tsv", "AGE", "AGES"),
            "the column is unknown; delete or rename it (did you mean 'AGE'?)",
        ),
    ],
)  # fmt: skip
def test_a_problem_is_told_with_place_and_remedy(tiny, edit, expected):
    edit(tiny)
    problems = problems_of(tiny)
    assert any(problem.endswith(expected) for problem in problems), problems


def test_a_range_slip_names_patient_visit_parameter_and_unit(tiny):
    path = tiny / "measurements.tsv"
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    row = frame.index[frame["PARAMCD"] == "FEV1"][3]
    row_cells = change_cell(path, row, "AVAL", "1450")
    (problem,) = problems_of(tiny)
    assert problem == (
        f"{path}, line {row + 2}, column AVAL: FEV1 of {row_cells.USUBJID} at {row_cells.AVISIT} "
        "is 1450, outside 0.2 to 7 L; convert it to L, mend it, or widen LOW and HIGH in "
        "parameters.tsv"
    )


def test_a_patient_twice_is_told_with_both_lines(tiny):
    path = tiny / "subjects.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    subject = lines[1].split("\t")[0]
    (problem,) = problems_of(tiny)
    assert problem == (
        f"{path}, line {len(lines) + 1}, column USUBJID: {subject} stands already in line 2; "
        "keep one of the two"
    )


def test_a_crossover_is_refused(tiny):
    path = tiny / "randomisation.tsv"
    lines = path.read_text().splitlines()
    subject, arm = lines[1].split("\t")
    other = {"EG": "CG", "CG": "EG"}[arm]
    path.write_text("\n".join([*lines, f"{subject}\t{other}"]) + "\n")
    told = next(problem for problem in problems_of(tiny) if "column ARM" in problem)
    assert told.startswith(
        f"{path}, line {len(lines) + 1}, column ARM: {subject} has arm '{arm}' in "
    )
    assert "a crossover trial, whose patients take one arm after the other, can't be" in told


def test_a_scan_that_is_not_there_is_told(drawn, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(drawn, folder)
    row = change_cell(folder / "scans.tsv", 0, "PATH", "scans/nowhere")
    (problem,) = problems_of(folder)
    assert f"{row.USUBJID} {row.AVISIT} {row.SERIES}: 'scans/nowhere' does not exist" in problem
    assert problem.startswith(f"{folder / 'scans.tsv'}, line 2, column PATH")


def test_all_problems_are_told_at_once(tiny):
    change_cell(tiny / "randomisation.tsv", 0, "ARM", "XX")
    change_cell(tiny / "subjects.tsv", 1, "AGE", "old")
    change_cell(tiny / "measurements.tsv", 5, "PARAMCD", "FEV9")
    edit_yaml(tiny / "plan.yaml", lambda p: p["primary"].update(parameter="VO2"))
    found = "\n".join(problems_of(tiny))
    for name in ("randomisation.tsv", "subjects.tsv", "measurements.tsv", "plan.yaml"):
        assert name in found


def test_identifiers_stay_text(tiny):
    for name in ("subjects", "randomisation", "measurements", "events", "reads"):
        path = tiny / f"{name}.tsv"
        path.write_text(path.read_text().replace("DEMO-", "0"))
    found = trial.load(tiny / "config.yaml")
    assert found.subjects["USUBJID"].str.startswith("00").all()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("totalsegmentator", None),
        ({"10": 4, "11": 5}, None),
        ("totalsegmentater", "did you mean 'totalsegmentator'?"),
        ({"10": 9}, "is 9; it must be at most 6"),
        ({"left": 2}, "a whole number"),
    ],
)
def test_label_maps_are_named_or_given(drawn, tmp_path, given, expected):
    shutil.copytree(drawn, tmp_path / "tiny")
    path = tmp_path / "tiny" / "config.yaml"
    edit_yaml(path, lambda c: c["imaging"].update(label_map=given, label_scheme="lobes"))
    if expected is None:
        assert trial.load(path).config["imaging"]["label_map"] == given
    else:
        (problem,) = problems_of(tmp_path / "tiny")
        assert expected in problem
