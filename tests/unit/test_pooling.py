"""Sparse levels of a factor joined in models, by declared rules, and said in every note."""

import numpy as np
import pandas as pd
import pytest
from unit.test_analysis import Trial, pick

from lungitude.analysis import pooling
from lungitude.analysis.ancova import ancova
from lungitude.analysis.baseline import baseline
from lungitude.analysis.describe import describe
from lungitude.analysis.disposition import disposition
from lungitude.analysis.imputation import imputation
from lungitude.analysis.mixed_model import mixed_model
from lungitude.analysis.mmrm import mmrm
from lungitude.analysis.responders import responders
from lungitude.analysis.subgroups import subgroups
from lungitude.reporting.table_models import parse
from lungitude.statistics import ancova as ancova_statistic

LEVELS = ["I", "II", "III", "IV"]


@pytest.mark.parametrize(
    ("count", "into", "want"),
    [
        ([[9, 9], [9, 9], [9, 9], [9, 9]], "neighbour", ["I", "II", "III", "IV"]),
        ([[9, 9], [9, 9], [9, 9], [9, 4]], "neighbour", ["I", "II", "III+IV"]),
        ([[4, 9], [9, 9], [9, 9], [9, 9]], "neighbour", ["I+II", "III", "IV"]),
        ([[9, 9], [4, 4], [8, 8], [9, 9]], "neighbour", ["I", "II+III", "IV"]),  # the smaller
        ([[1, 1], [1, 1], [1, 1], [9, 9]], "neighbour", ["I+II+III+IV"]),
        ([[2, 2], [3, 3], [9, 9], [1, 9]], "neighbour", ["I+II", "III+IV"]),
        ([[9, 9], [9, 9], [9, 9], [0, 0]], "neighbour", ["I", "II", "III"]),
        ([[2, 2], [9, 9], [3, 3], [9, 9]], "together", ["I+III", "II", "IV"]),
        ([[1, 1], [9, 9], [2, 2], [7, 7]], "together", ["I+III+IV", "II"]),
        ([[9, 9], [1, 1], [9, 9], [7, 7]], "together", ["I", "II+IV", "III"]),
    ],
)
def test_which_levels_are_joined(count, into, want):
    count = dict(zip(LEVELS, count, strict=True))
    found = pooling.groups(count, LEVELS, 5, into)
    assert ["+".join(group) for group in found] == want


def test_the_note_names_them():
    assert pooling.told("SITE", [("A",), ("B",)], 5) == ""
    note = pooling.told("GOLDGR", [("I", "II"), ("III",)], 5)
    assert note == "pooled: GOLDGR I+II (fewer than 5 patients of an arm)"
    assert parse(f"CHG ~ TRT01P; least squares; {note}").remarks == (note,)


@pytest.fixture(scope="module")
def trial():
    """60 patients in three grades, four of them in grade III; strata GOLDGR, pooled, and SEX."""

    def edit(subjects, measurements, events):
        grade = np.where(subjects.index < 4, "III", subjects["GOLDGR"])
        return subjects.assign(GOLDGR=grade), measurements, events

    made = Trial(n=60, levels=("I", "II", "III"), edit=lambda s, m, e: edit(_two(s), m, e))
    made.strata[0]["pool"] = {"below": 5, "into": "neighbour"}
    levels = [{"value": v, "path": path, "label": v} for v, path in (("F", "women"), ("M", "men"))]
    made.strata.append({"column": "SEX", "label": "Sex", "levels": levels})
    return made


def _two(subjects):
    return subjects.assign(GOLDGR=np.where(subjects["GOLDGR"] == "III", "I", subjects["GOLDGR"]))


SECTION = {"population": "ITT", "parameters": ["FEV1"], "covariates": ["BASE"]}
NOTE = "pooled: GOLDGR II+III (fewer than 5 patients of an arm)"


def test_the_model_is_that_of_the_joined_factor(trial):
    table = trial.run(ancova, SECTION)
    records = pd.concat(trial.records)
    rows = pick(records, PARAMCD="FEV1", AVISIT="Week 12").merge(
        trial.adsl[["USUBJID", "SEX"]], on="USUBJID"
    )
    joined = rows.assign(GOLDGR=rows["GOLDGR"].replace({"II": "II+III", "III": "II+III"}))
    want = ancova_statistic(
        joined, response="CHG", arm="TRT01P", covariates=["BASE", "GOLDGR", "SEX"], reference="CG"
    ).contrasts.iloc[0]
    keys = {"AVISIT": "Week 12", "STRATUM": "all", "COMPARISON": "EG - CG"}
    found = pick(table, STAT="estimate", **keys).iloc[0]
    assert np.isclose(found["VALUE"], want["estimate"], rtol=1e-9)
    assert found["NOTE"] == NOTE
    whole = pick(table, AVISIT="Week 12", STRATUM="all")
    said = whole[whole["LEVEL"] != "SEX"]
    assert said["NOTE"].str.contains(NOTE, regex=False).all()
    line = pick(whole, STAT="model").iloc[0]["NOTE"]
    assert line.endswith(f"analysis set ITT; {NOTE}")
    # In a grade the factor is no term; men and women have fewer patients of it.
    grade = pick(table, STRATUM="gold1")
    assert not grade["NOTE"].str.contains("pooled").any()
    assert pick(table, STRATUM="men")["NOTE"].str.contains("pooled: GOLDGR").any()


@pytest.mark.parametrize(
    ("method", "more"),
    [
        (mixed_model, {}),
        (mmrm, {"covariance": ["cs"]}),
        (imputation, {"strategies": ["mar"]}),
        (subgroups, {"factors": ["SEX", "GOLDGR"]}),
        (responders, {"endpoints": [{"id": "up", "parameter": "FEV1", "visits": ["Week 12"],
                                     "direction": "increase", "threshold": 0.8}]}),
    ],
)  # fmt: skip
def test_every_model_says_so(trial, method, more):
    table = trial.run(method, {**SECTION, **more})
    line = pick(table, STAT="model", STRATUM="all", AVISIT="Week 12")
    comparison = pick(table, STRATUM="all", AVISIT="Week 12", COMPARISON="EG - CG")
    if method is subgroups:  # the levels of a factor are compared as they are
        own = line[line["LEVEL"] == "GOLDGR"]["NOTE"]
        assert len(own) == 1
        assert not own.str.contains("pooled").any()
        line = line[line["LEVEL"] == "SEX"]
        comparison = comparison[~comparison["LEVEL"].str.startswith("GOLDGR")]
    assert len(line) == 1
    assert line["NOTE"].str.contains(NOTE, regex=False).all()
    assert comparison["NOTE"].str.contains(NOTE, regex=False).all()
    assert not table["NOTE"].str.contains(NOTE + "; " + NOTE, regex=False).any()
    left = pick(table, STAT="left_out")
    assert not left["NOTE"].str.contains("pooled").any()


def _baseline(trial):
    return baseline(trial.adsl, {}, trial.arms, trial.visits, trial.strata, trial.characteristics)


def test_two_factors_are_analysed_each_by_its_levels(trial):
    """Each level of both has rows; both are terms; both have a test of interaction."""
    paths = {"all", "gold1", "gold2", "gold3", "women", "men"}
    described = trial.run(describe, SECTION)
    assert set(described["STRATUM"]) == paths
    counts = disposition(trial.adsl, trial.records, None, {}, trial.arms, trial.visits,
                         trial.strata)  # fmt: skip
    assert set(counts["STRATUM"]) == paths
    assert {"GOLDGR", "SEX"} <= set(_baseline(trial)["PARAMCD"])
    for method, more in ((ancova, {}), (mixed_model, {}), (mmrm, {"covariance": ["cs"]})):
        table = trial.run(method, {**SECTION, **more})
        assert set(table["STRATUM"]) == paths
        tests = pick(table, STAT="interaction_p", STRATUM="all", AVISIT="Week 12")
        assert list(tests["LEVEL"]) == ["GOLDGR", "SEX"]
        assert tests["VALUE"].notna().all()
        lines = pick(table, STAT="model", AVISIT="Week 12").set_index("STRATUM")["NOTE"]
        for path, terms in (("all", "GOLDGR + SEX"), ("gold1", "BASE + SEX"), ("men", "GOLDGR")):
            assert terms in lines[path].partition(";")[0].replace("BASE * AVISIT", "BASE")
        assert "SEX" not in lines["men"].partition(";")[0]
