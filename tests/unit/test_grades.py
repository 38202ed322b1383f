"""Classes by cut-points: limits, missing numbers, and what was recorded held against them."""

import numpy as np
import pandas as pd
import pytest
import yaml

from helpers import edit_yaml, problems_of
from lungitude import grades, tables, trial

GOLD = {
    "from": "FEV1PP",
    "cuts": [80, 50, 30],
    "labels": ["I", "II", "III", "IV"],
    "where": {"column": "FEV1FVC", "below": 70},
    "recorded": "GOLDGR",
}
DEFAULTS = {"at_cut": "upper", "use": "derived", "discordance": "list"}


@pytest.mark.parametrize(
    ("value", "grade"),
    [(120, "I"), (80, "I"), (79.99, "II"), (50, "II"), (49, "III"), (30, "III"), (29.9, "IV"),
     (0, "IV"), (np.nan, None)],
)  # fmt: skip
def test_gold_grades_at_their_limits(value, grade):
    found = grades.classes(pd.Series([value]), GOLD).iloc[0]
    assert found == grade or (grade is None and pd.isna(found))


def test_rising_cuts_and_values_at_a_cut():
    rule = {"cuts": [1, 2], "labels": ["low", "middle", "high"]}
    values = pd.Series([0.5, 1, 1.5, 2, 3])
    assert grades.classes(values, rule).tolist() == ["low", "middle", "middle", "high", "high"]
    found = grades.classes(values, {**rule, "at_cut": "lower"})
    assert found.tolist() == ["low", "low", "middle", "middle", "high"]


SUBJECTS = pd.DataFrame(
    [
        ("P1", 85, 60, "I"),
        ("P2", 79, 60, "I"),
        ("P3", np.nan, 60, "II"),
        ("P4", 60, 75, "II"),
        ("P5", 60, np.nan, "II"),
        ("P6", 40, 50, None),
        ("P7", 20, 69.9, "IV"),
    ],
    columns=["USUBJID", "FEV1PP", "FEV1FVC", "GOLDGR"],
)


def test_discordant_and_missing_ones_are_listed():
    table, listed = grades.derive(SUBJECTS, {"GOLDGR": {**DEFAULTS, **GOLD}})
    assert table["GOLDGR"].fillna("").tolist() == ["I", "II", "", "", "", "III", "IV"]
    assert listed["USUBJID"].tolist() == ["P2", "P3", "P4", "P5", "P6"]
    assert listed["REASON"].tolist() == [
        grades.DIFFERS,
        "FEV1PP is missing",
        "FEV1FVC is not below 70",
        "FEV1FVC is missing",
        grades.NOT_RECORDED,
    ]
    assert listed.loc[0, ["RECORDED", "DERIVED", "USED"]].tolist() == ["I", "II", "II"]
    kept, listed = grades.derive(SUBJECTS, {"GOLDGR": {**DEFAULTS, **GOLD, "use": "recorded"}})
    assert kept["GOLDGR"].fillna("").tolist() == SUBJECTS["GOLDGR"].fillna("").tolist()
    assert len(listed) == 5


def test_without_a_record_only_missing_ones_are_listed():
    rule = {key: value for key, value in GOLD.items() if key not in ("recorded", "where")}
    _, listed = grades.derive(SUBJECTS.drop(columns="GOLDGR"), {"G": {**DEFAULTS, **rule}})
    assert listed[["USUBJID", "REASON"]].to_numpy().tolist() == [["P3", "FEV1PP is missing"]]


LEVELS = [{"value": v, "path": f"gold_{v.lower()}", "label": v} for v in GOLD["labels"]]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "config" / "graded"
    place.mkdir(parents=True)
    config = {
        "trial": "graded",
        "title": "Graded",
        "visits": [{"name": "Baseline", "path": "base", "number": 0, "baseline": True}],
        "strata": [{"column": "GOLDGR", "label": "GOLD", "levels": LEVELS}],
        "derive": {"GOLDGR": GOLD},
        "sheets": {"subjects": "subjects.tsv", "parameters": "parameters.tsv"},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    tables.write(SUBJECTS, place / "subjects.tsv")
    row = {"PARAMCD": "FEV1", "PARAM": "FEV1", "AVALU": "L", "LOW": 0.2, "HIGH": 7, "DECIMALS": 2,
           "DIRECTION": "higher", "DATASET": "ADFUN"}  # fmt: skip
    tables.write(pd.DataFrame([row]), place / "parameters.tsv")
    return place


def test_a_trial_may_list_them_or_stop(folder):
    assert trial.load(folder / "config.yaml", root=folder.parents[1])
    edit_yaml(folder / "config.yaml", lambda c: c["derive"]["GOLDGR"].update(discordance="stop"))
    problems = problems_of(folder)
    assert [text.partition("subjects.tsv, ")[2] for text in problems] == [
        "line 3, column GOLDGR: 'I' is recorded for P2, but by FEV1PP 79 it is 'II'; mend one, or "
        "say 'discordance: list'",
        "line 4, column GOLDGR: 'II' is recorded for P3, but there is no class by the rule: FEV1PP "
        "is missing; mend one, or say 'discordance: list'",
        "line 5, column GOLDGR: 'II' is recorded for P4, but there is no class by the rule: "
        "FEV1FVC is not below 70; mend one, or say 'discordance: list'",
        "line 6, column GOLDGR: 'II' is recorded for P5, but there is no class by the rule: "
        "FEV1FVC is missing; mend one, or say 'discordance: list'",
    ]


def test_the_sheet_need_not_have_what_is_derived(folder):
    edit_yaml(folder / "config.yaml", lambda c: c["derive"]["GOLDGR"].pop("recorded"))
    tables.write(SUBJECTS.drop(columns="GOLDGR"), folder / "subjects.tsv")
    assert trial.load(folder / "config.yaml", root=folder.parents[1])
    tables.write(SUBJECTS.drop(columns=["GOLDGR", "FEV1PP"]), folder / "subjects.tsv")
    assert any("column FEV1PP: the column is missing" in text for text in problems_of(folder))


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda r: r.update(labels=["I", "II", "III"]), "3 cuts make 4 classes"),
        (lambda r: r.update(cuts=[80, 30, 50]), "must rise or fall"),
        (lambda r: r.update(cuts=[80, 50, 50]), "must rise or fall"),
        (lambda r: r.update(labels=["I", "II", "III", "V"]), "label 'V' is no level"),
        (lambda r: r.update(labels=["I", "II", "III", "I"]), "a label is there twice"),
        (lambda r: (r.pop("recorded"), r.update(use="recorded")), "need the recorded classes"),
        (lambda r: r.update({"form": "X"}), "did you mean 'from'"),
    ],
)
def test_rules_that_cannot_be_meant(folder, edit, told):
    edit_yaml(folder / "config.yaml", lambda c: edit(c["derive"]["GOLDGR"]))
    problems = problems_of(folder)
    assert any(told in problem for problem in problems), problems
