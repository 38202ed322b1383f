import numpy as np
import pandas as pd
import pytest
from unit.hard_trials import NAMES, check, hard_trial
from unit.test_analysis import Trial, pick, value

from lungitude.analysis.stepwise import stepwise
from lungitude.statistics.regression import regress, stepwise_model

PLAN = {
    "response": "FEV1",
    "response_visit": "Week 12",
    "candidates": ["CACS", "BASE", "AGE", "SEX", "TRT01P", "GOLDGR"],
}


@pytest.fixture(scope="module")
def trial():
    def edit(subjects, measurements, events):
        subjects.loc[subjects["USUBJID"].isin(["S000", "S001", "S003"]), "AGE"] = np.nan
        gone = (measurements["USUBJID"] == "S005") & (measurements["AVISIT"] == "Week 12")
        return subjects, measurements.loc[~gone], events

    return Trial(edit=edit)


@pytest.fixture(scope="module")
def data(trial):
    """Response, candidates and stratum; CACS as logarithm."""
    rows = pd.concat(trial.records)
    rows["AVAL"] = np.where(rows["PARAMCD"] == "CACS", np.log1p(rows["AVAL"]), rows["AVAL"])
    wide = rows.pivot_table("AVAL", "USUBJID", ["PARAMCD", "AVISIT"])
    frame = pd.DataFrame({"BASE": wide["FEV1"]["Baseline"]})
    for code in ("FEV1", "CACS"):
        frame[code] = wide[code]["Week 12"]
        frame[f"{code} CHG"] = wide[code]["Week 12"] - wide[code]["Baseline"]
    frame = trial.adsl.merge(frame, left_on="USUBJID", right_index=True)
    return frame.assign(
        TRT01P=pd.Categorical(frame["TRT01P"], ["CG", "EG"]),
        SEX=pd.Categorical(frame["SEX"], ["M", "F"]),
    )


@pytest.mark.parametrize("values", ["AVAL", "CHG"])
def test_is_the_public_one(trial, data, values):
    table = trial.run(stepwise, {**PLAN, "values": values, "p_enter": 0.2, "p_remove": 0.3})
    if values == "CHG":
        data = data.assign(FEV1=data["FEV1 CHG"], CACS=data["CACS CHG"])
    for stratum, part in (("all", data), ("gold1", pick(data, GOLDGR="I"))):
        names = PLAN["candidates"] if stratum == "all" else PLAN["candidates"][:-1]
        want = stepwise_model(part, "FEV1", names, 0.2, 0.3)
        assert want.n == (76 if stratum == "all" else 37)
        assert len(want.path) > (stratum == "all")
        own = pick(table, STRATUM=stratum)
        assert set(own["N"]) == {want.n}
        for row in want.path.to_dict("records"):
            level = f"step {row['step']}: {row['action']}{row['term']}"
            for stat in ("p", "r", "r2", "aic"):
                assert np.isclose(value(own, LEVEL=level, STAT=stat), row[stat], rtol=1e-9)
        final = regress(
            part.dropna(subset=["FEV1", *names]), "FEV1", list(want.selected)
        ).coefficients
        for row in final.to_dict("records"):
            for stat in ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"):
                assert np.isclose(value(own, LEVEL=row["term"], STAT=stat), row[stat], rtol=1e-9)
            if row["term"] != "(Intercept)":
                found = value(own, LEVEL=row["term"], STAT="beta_std")
                assert np.isclose(found, row["beta_std"], rtol=1e-9)
        levels = {
            f"step {s}: {a}{t}" for s, a, t in want.path[["step", "action", "term"]].to_numpy()
        }
        assert set(own["LEVEL"]) == levels | set(final["term"]) | {""}


def test_model_line(trial):
    table = trial.run(stepwise, {**PLAN, "values": "CHG"})
    line = pick(table, STAT="model", STRATUM="all")["NOTE"].iloc[0]
    assert line == (
        "FEV1 (CHG) ~ TRT01P + BASE; stepwise from CACS, BASE, AGE, SEX, TRT01P, GOLDGR; "
        "enters at p < 0.05, leaves at p > 0.1; CACS on the log1p scale; "
        "76 of 79 patients with a response are complete; analysis set ITT"
    )
    assert "GOLDGR" not in pick(table, STAT="model", STRATUM="gold1")["NOTE"].iloc[0]
    # the arm is coded against its reference
    assert "TRT01PEG" in set(table["LEVEL"])


def test_nothing_enters():
    table = hard_trial("two visits").run(
        stepwise, {"response": "FEV1", "response_visit": "Baseline", "candidates": ["AGE"],
                   "p_enter": 1e-9}
    )  # fmt: skip
    assert set(table["LEVEL"]) == {"", "(Intercept)"}
    assert pick(table, STAT="model")["NOTE"].str.startswith("FEV1 (AVAL) ~ 1; ").all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "one visit"])
def test_hard_trials(name):
    visit = "Week 6" if name == "two visits" else "Week 12"
    table = check(hard_trial(name).run(stepwise, {**PLAN, "response_visit": visit}))
    assert list(pick(table, STAT="model")["STRATUM"]) == ["all", "gold1", "gold2"]


def test_reasons():
    table = hard_trial("no covariates").run(stepwise, PLAN)
    assert pick(table, STAT="model")["NOTE"].str.contains("not estimated: no row has all of").all()
    table = hard_trial("no variation").run(stepwise, PLAN)
    rows = pick(table, STAT="model")
    assert rows["NOTE"].str.contains("not estimated: response 'FEV1' does not vary").all()


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"response": "FEV2"}, "parameter FEV2"),
        ({"response_visit": "Week 7"}, "visit Week 7"),
        ({"candidates": ["HEIGHT"]}, "covariate 'HEIGHT'"),
        ({"candidates": ["FEV1"]}, "FEV1 as response and candidate"),
        ({"values": "PCHG"}, "stepwise: values 'PCHG'"),
    ],
)
def test_faults_of_a_plan_are_named(trial, plan, text):
    with pytest.raises(ValueError, match=text):
        trial.run(stepwise, {**PLAN, **plan})
