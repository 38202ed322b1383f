import numpy as np
import pytest
from unit.hard_trials import NAMES, check, hard_trial
from unit.test_analysis import Trial, pick, value

from lungitude.analysis.responders import responders, responses
from lungitude.statistics.binary import logistic

GAIN = {"id": "gain", "parameter": "FEV1", "direction": "increase", "threshold": 0.3}
PLAN = {"endpoints": [GAIN], "covariates": ["BASE", "AGE", "SEX"]}
STATS = (
    "odds_ratio", "or_ci_low", "or_ci_high", "p", "risk_difference", "rd_ci_low", "rd_ci_high"
)  # fmt: skip


@pytest.fixture(scope="module")
def trial():
    def edit(subjects, measurements, events):
        subjects.loc[subjects["USUBJID"] == "S020", "AGE"] = np.nan
        gone = (measurements["AVISIT"] == "Week 6") & (measurements["USUBJID"] < "S010")
        return subjects, measurements.loc[~gone], events

    return Trial(edit=edit, effect=0.2)


@pytest.mark.parametrize("missing", ["observed", "nonresponder"])
def test_is_the_public_one(trial, missing):
    table = trial.run(responders, {**PLAN, "missing": missing})
    base = pick(trial.records[1], AVISIT="Baseline").set_index("USUBJID")["AVAL"]
    rows = pick(trial.records[1], AVISIT="Week 6").set_index("USUBJID")
    data = trial.adsl.set_index("USUBJID").assign(BASE=base, CHG=rows["CHG"])
    data["Y"] = (data["CHG"] >= 0.3).astype(float)
    if missing == "observed":
        data = data.dropna(subset="CHG")
    keys = {"PARAMCD": "FEV1", "AVISIT": "Week 6", "LEVEL": "gain"}
    for stratum, part, terms in (
        ("all", data, ["BASE", "AGE", "SEX", "GOLDGR"]),
        ("gold2", pick(data, GOLDGR="II"), ["BASE", "AGE", "SEX"]),
    ):
        want = logistic(part, "Y", "TRT01P", terms, reference="CG").contrasts.iloc[0]
        own = pick(table, STRATUM=stratum, **keys)
        for stat in STATS:
            found = pick(own, STAT=stat, COMPARISON="EG - CG").iloc[0]
            assert np.isclose(found["VALUE"], want[stat], rtol=1e-7), stat
            assert found["N"] == want["n"]
        for code in ("EG", "CG"):
            mine = pick(part, TRT01P=code)["Y"]
            assert value(own, STAT="responders", GROUP=code) == mine.sum()
            assert np.isclose(value(own, STAT="share", GROUP=code), mine.mean())
            assert pick(own, STAT="share", GROUP=code)["N"].iloc[0] == len(mine)
    line = pick(table, STAT="model", STRATUM="all", **keys)["NOTE"].iloc[0]
    middle = "missing counts as nonresponder; " if missing == "nonresponder" else ""
    assert line == (
        "responder: FEV1 CHG >= 0.3; logit(responder) ~ TRT01P + BASE + AGE + SEX + GOLDGR; "
        f"{middle}1 patient left out: a covariate is missing; analysis set ITT"
    )


class Values:
    """A stand-in of a cohort with one parameter."""

    baseline = "Baseline"

    def __init__(self, base, values):
        self.base, self.values = np.array(base, dtype=float), np.array(values, dtype=float)

    def value(self, param, visit):
        return self.base

    def response(self, param, visit, kind):
        return self.values - self.base if kind == "CHG" else self.values


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"threshold": 0.1}, [1, 0, np.nan, 1]),  # 2.3 - 2.2 counts as 0.1
        ({"threshold": -0.1, "direction": "decrease"}, [0, 1, np.nan, 0]),
        ({"threshold": 2.3, "values": "AVAL"}, [1, 0, 1, 0]),
        ({"threshold": 4.0, "values": "PCHG"}, [1, 0, np.nan, np.nan]),
    ],
)
def test_who_responds(change, expected):
    cohort = Values([2.2, 2.0, np.nan, 0.0], [2.3, 1.9, 2.5, 0.4])
    found = responses(cohort, {**GAIN, **change}, "Week 6")
    assert np.array_equal(found, expected, equal_nan=True)


def test_endpoints_and_visits_of_the_plan(trial):
    other = {**GAIN, "id": "loss", "direction": "decrease", "threshold": 0, "visits": ["Week 12"]}
    table = trial.run(responders, {**PLAN, "endpoints": [GAIN, other]})
    seen = table.groupby("LEVEL")["AVISIT"].agg(set)
    assert seen.to_dict() == {"gain": {"Week 6", "Week 12"}, "loss": {"Week 12"}}
    rows = pick(table, AVISIT="Week 12", STRATUM="all", STAT="model").set_index("LEVEL")["NOTE"]
    assert rows["loss"].startswith("responder: FEV1 CHG <= 0; ")


def test_the_threshold_is_of_measured_values():
    trial = Trial()
    endpoint = {**GAIN, "parameter": "CACS", "threshold": 3.0}
    table = trial.run(responders, {"endpoints": [endpoint]})
    rows = pick(trial.records[0], AVISIT="Week 12", TRT01P="EG")
    found = value(table, STAT="responders", AVISIT="Week 12", STRATUM="all", GROUP="EG")
    assert found == (rows["CHG"] >= 3).sum()


def test_separated_data():
    trial = Trial(effect=2.0)  # everybody of EG responds
    table = trial.run(responders, PLAN)
    keys = {"AVISIT": "Week 12", "STRATUM": "all", "COMPARISON": "EG - CG"}
    row = pick(table, STAT="odds_ratio", **keys).iloc[0]
    assert np.isnan(row["VALUE"])
    assert row["NOTE"].startswith("not estimated: the data are separated, TRT01PEG")
    table = trial.run(responders, {**PLAN, "separation": "firth"})
    row = pick(table, STAT="odds_ratio", **keys).iloc[0]
    assert np.isfinite(row["VALUE"])
    assert row["NOTE"].endswith("Firth's penalised likelihood")


def test_no_responder_at_all(trial):
    table = trial.run(responders, {"endpoints": [{**GAIN, "threshold": 99}]})
    assert (pick(table, STAT="share")["VALUE"] == 0).all()
    rows = pick(table, STAT="p")
    assert rows["NOTE"].str.match(r"not estimated: gain is 0 in all \d+ rows").all()


def test_lone_patients_are_named():
    table = hard_trial("one patient of an arm").run(responders, PLAN)
    rows = pick(table, STRATUM="gold2", STAT="p", AVISIT="Week 12")
    assert set(rows["NOTE"]) == {"not estimated: 1 patient in EG"}
    assert set(rows["N"]) == {4}
    table = hard_trial("one arm of a stratum").run(responders, PLAN)
    row = pick(table, STRATUM="gold2", STAT="share", GROUP="EG", AVISIT="Week 12").iloc[0]
    assert row["NOTE"] == "not estimated: no patient in EG"


def test_an_arm_of_one_patient_leaves_the_others():
    trial = Trial(n=81, arms=("EG", "XG", "CG"), effect=0.2)
    alone = trial.adsl["TRT01P"] == "XG"
    trial.adsl.loc[alone & (trial.adsl["USUBJID"] != "S001"), "ITTFL"] = "N"
    table = pick(trial.run(responders, PLAN), STRATUM="all", AVISIT="Week 6", STAT="odds_ratio")
    table = table.set_index("COMPARISON")
    assert np.isfinite(table.loc["EG - CG", "VALUE"])
    assert table.loc["XG - CG", "NOTE"] == "not estimated: 1 patient in XG"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "plan", [{}, {"missing": "nonresponder", "separation": "firth", "covariates": []}]
)
def test_hard_trials(name, plan):
    check(hard_trial(name).run(responders, {**PLAN, **plan}))


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"endpoints": [{**GAIN, "parameter": "FEV2"}]}, "parameter FEV2"),
        ({"endpoints": [GAIN, GAIN]}, "two endpoints of one id"),
        ({"endpoints": [{**GAIN, "direction": "up"}]}, "responders: direction 'up'"),
        ({"endpoints": [{**GAIN, "values": "LOG"}]}, "responders: values 'LOG'"),
        ({"missing": "zero"}, "responders: missing 'zero'"),
        ({"separation": "ignore"}, "responders: separation 'ignore'"),
    ],
)
def test_faults_of_a_plan_are_named(trial, plan, text):
    with pytest.raises(ValueError, match=text):
        trial.run(responders, {**PLAN, **plan})
