"""Imputation driven by a plan, held against direct calls of the library."""

import numpy as np
import pandas as pd
import pytest
from unit.hard_trials import NAMES, check, hard_trial
from unit.test_analysis import SECTION, Trial, pick, value

from lungitude import results
from lungitude.analysis.imputation import imputation
from lungitude.statistics import impute_reference_based, tipping_point

PLAN = {
    **SECTION,
    "strategies": ["mar", "j2r", "cr", "cir"],
    "tipping": {"parameters": ["FEV1"], "deltas": [-0.2, 0, 0.2]},
}
KEYS = {"PARAMCD": "FEV1", "AVISIT": "Week 12", "STRATUM": "all", "COMPARISON": "EG - CG"}


def holes(subjects, measurements, events):
    """Every fifth patient leaves before Week 12; a few have no Week 6; one has no age."""
    number = measurements["USUBJID"].str[1:].astype(int)
    gone = (number % 5 == 2) & (measurements["AVISIT"] == "Week 12")
    gone |= (number % 7 == 3) & (measurements["AVISIT"] == "Week 6")
    subjects.loc[4, "AGE"] = np.nan
    return subjects, measurements[~gone], events


@pytest.fixture(scope="module")
def trial():
    return Trial(edit=holes)


@pytest.fixture(scope="module")
def table(trial):
    return trial.run(imputation, PLAN)


@pytest.fixture(scope="module")
def long(trial):
    rows = pd.concat(trial.records)
    rows = rows.loc[(rows["PARAMCD"] == "FEV1") & (rows["AVISIT"] != "Baseline")]
    known = trial.adsl.loc[trial.adsl["AGE"].notna()]
    grid = known[["USUBJID", "TRT01P", "AGE", "SEX", "GOLDGR"]].merge(
        pd.DataFrame({"AVISIT": ["Week 6", "Week 12"]}), how="cross"
    )
    full = grid.merge(rows[["USUBJID", "AVISIT", "CHG"]], how="left", on=["USUBJID", "AVISIT"])
    base = pd.concat(trial.records).query("PARAMCD == 'FEV1'").groupby("USUBJID")["BASE"].first()
    return full.assign(BASE=full["USUBJID"].map(base))


@pytest.mark.parametrize("strategy", ["mar", "j2r", "cr", "cir"])
def test_rows_are_those_of_the_library(strategy, table, long):
    row = impute_reference_based(
        long,
        value="CHG",
        covariates=["BASE*AVISIT", "AGE", "SEX", "GOLDGR"],
        reference="CG",
        strategy=strategy,
    ).iloc[0]
    for stat in ("estimate", "se", "p", "ci_low", "ci_high"):
        assert np.isclose(value(table, **KEYS, LEVEL=strategy, STAT=stat), row[stat], rtol=1e-6)
    found = pick(table, **KEYS, LEVEL=strategy, STAT="estimate").iloc[0]
    assert found["N"] == row["n"] == 79
    assert "normal inference" in found["NOTE"]
    assert pick(table, **KEYS, LEVEL=strategy, STAT="df").empty


def test_what_is_imputed_is_counted(table, long):
    keys = {"PARAMCD": "FEV1", "AVISIT": "Week 12", "STRATUM": "all", "STAT": "n_imputed"}
    gone = long.loc[(long["AVISIT"] == "Week 12") & long["CHG"].isna()]
    for code in ("EG", "CG"):
        assert value(table, **keys, GROUP=code) == (gone["TRT01P"] == code).sum()
    assert value(table, **{**keys, "STAT": "left_out"}) == 1


def test_tipping_point(table, long):
    found = tipping_point(
        long,
        value="CHG",
        covariates=["BASE*AVISIT", "AGE", "SEX", "GOLDGR"],
        reference="CG",
        deltas={"EG": [-0.2, 0, 0.2]},
    )
    for row in found.tipping.itertuples():
        ours = value(table, **KEYS, LEVEL="tipping", GROUP=row.arm, STAT="tipping_delta")
        assert np.isclose(ours, row.delta, rtol=1e-5)
    grid = found.grid.set_index("delta_active")
    for delta in (-0.2, 0.0, 0.2):
        level = f"delta {delta:g}"
        p = value(table, **KEYS, LEVEL=level, STAT="p")
        assert np.isclose(p, grid.loc[delta, "p"], rtol=1e-5)
    assert pick(table, PARAMCD="CACS", LEVEL="tipping").empty


def test_log_scale_has_ratios(table):
    keys = {**KEYS, "PARAMCD": "CACS", "LEVEL": "j2r"}
    assert np.isclose(
        value(table, **keys, STAT="ratio"), np.exp(value(table, **keys, STAT="estimate"))
    )


def test_multiple_imputation_is_reproducible(trial):
    plan = {**SECTION, "strategies": ["j2r"], "method": "bayes", "n_imputations": 20, "seed": 3}
    one, two = trial.run(imputation, plan), trial.run(imputation, plan)
    pd.testing.assert_frame_equal(one, two)
    other = trial.run(imputation, {**plan, "seed": 4})
    keys = {**KEYS, "LEVEL": "j2r", "STAT": "estimate"}
    assert value(one, **keys) != value(other, **keys)
    assert value(one, **{**keys, "STAT": "df"}) > 0


@pytest.mark.parametrize("name", NAMES)
def test_hard_trials(name):
    check(hard_trial(name).run(imputation, {**PLAN, "strategies": ["j2r"]}))


def test_every_stratum_and_visit_has_rows(table, trial):
    assert len(results.validate(table)) == len(table)
    rows = pick(table, STAT="estimate", LEVEL="mar")
    assert len(rows) == 2 * 2 * 3  # parameters, visits, strata
