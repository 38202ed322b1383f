import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungitude import adam, results
from lungitude.analysis.accuracy import accuracy
from lungitude.analysis.agreement import agreement
from lungitude.analysis.ancova import ancova
from lungitude.analysis.baseline import baseline, standardised_difference
from lungitude.analysis.describe import describe, summary
from lungitude.analysis.disposition import disposition, short_reason
from lungitude.analysis.mixed_model import mixed_model
from lungitude.statistics import ancova as ancova_statistic
from lungitude.statistics import mixed_model as mixed_statistic

VISITS = [
    {"name": "Baseline", "path": "baseline", "number": 0, "day": 1, "baseline": True},
    {"name": "Week 6", "path": "week06", "number": 6, "day": 43},
    {"name": "Week 12", "path": "week12", "number": 12, "day": 85},
]
SECTION = {"population": "ITT", "covariates": ["BASE", "AGE", "SEX"], "strata_in_model": True}
PARAMETERS = pd.DataFrame(
    {
        "PARAMCD": ["FEV1", "CACS"],
        "PARAM": ["FEV1", "Calcium score"],
        "AVALU": ["L", ""],
        "DATASET": ["ADFUN", "ADQCT"],
        "TRANSFORM": ["none", "log1p"],
    }
)


class Trial:
    """A trial of n patients whose first arm gains `effect` a visit, with its ADaM tables."""

    def __init__(
        self,
        n=80,
        arms=("EG", "CG"),
        levels=("I", "II"),
        visits=VISITS,
        effect=0.5,
        edit=None,
        seed=5,
    ):
        rng = np.random.default_rng(seed)
        self.arms = [{"code": code, "label": code, "reference": code == arms[-1]} for code in arms]
        self.visits = visits
        self.strata = [
            {
                "column": "GOLDGR",
                "label": "GOLD",
                "levels": [
                    {"value": value, "path": f"gold{i + 1}", "label": value}
                    for i, value in enumerate(levels)
                ],
            }
        ]
        self.characteristics = [
            {"column": "AGE", "label": "Age", "type": "continuous"},
            {
                "column": "SEX",
                "label": "Male",
                "type": "category",
                "levels": {"M": "Male", "F": "Female"},
            },
        ]
        ids = [f"S{i:03d}" for i in range(n)]
        arm = np.array(arms)[np.arange(n) % len(arms)]
        subjects = pd.DataFrame(
            {
                "USUBJID": ids,
                "AGE": rng.normal(65, 8, n).round(),
                "SEX": rng.choice(["M", "F"], n),
                "GOLDGR": np.array(levels)[np.arange(n) // len(arms) % len(levels)],
                "RANDDT": "2024-01-01",
            }
        )
        rows, start = [], rng.normal(2, 0.3, n)
        for number, visit in enumerate(visits):
            gain = effect * number * (arm == arms[0])
            for code, values in (
                ("FEV1", start + gain + rng.normal(0, 0.2, n)),
                ("CACS", np.expm1(start + gain + rng.normal(0, 0.2, n))),
            ):
                rows.append(
                    pd.DataFrame(
                        {"USUBJID": ids, "AVISIT": visit["name"], "PARAMCD": code, "AVAL": values}
                    )
                )
        measurements = pd.concat(rows, ignore_index=True)
        randomisation = pd.DataFrame({"USUBJID": ids, "ARM": arm})
        events = pd.DataFrame(columns=["USUBJID", "EVENT", "ADT", "REASON"], dtype=object)
        if edit:
            subjects, measurements, events = edit(subjects, measurements, events)
        lists = {"strata": self.strata, "characteristics": self.characteristics}
        self.adsl = adam.adsl(
            subjects,
            randomisation,
            self.arms,
            visits,
            events=events,
            measurements=measurements,
            **lists,
        )
        self.records = [
            adam.bds(measurements, self.adsl, PARAMETERS, visits, dataset=name, **lists)
            for name in ("ADQCT", "ADFUN")
        ]

    def run(self, method, section=SECTION, **more):
        return method(
            self.adsl,
            self.records,
            PARAMETERS,
            section,
            self.arms,
            self.visits,
            strata=self.strata,
            characteristics=self.characteristics,
            **more,
        )


def pick(table, **keys):
    for column, value in keys.items():
        table = table.loc[table[column] == value]
    return table


def value(table, **keys):
    rows = pick(table, **keys)
    assert len(rows) == 1, (keys, len(rows))
    return rows["VALUE"].iloc[0]


@pytest.fixture(scope="module")
def trial():
    return Trial()


def test_summary_by_hand():
    stats, notes = summary(np.array([1.0, 2, 3, 4, np.nan]), 6)
    assert stats == {
        "n": 4,
        "missing": 2,
        "mean": 2.5,
        "sd": np.std([1, 2, 3, 4], ddof=1),
        "median": 2.5,
        "q1": 1.5,
        "q3": 3.5,
        "min": 1.0,
        "max": 4.0,
    }
    assert notes == {}
    assert summary(np.array([3.0]), 1)[1] == {"sd": "not estimated: 1 observation"}
    assert summary(np.array([1.0, 2, 3, 4]), 4, "linear")[0]["q1"] == 1.75


def test_describe(trial):
    table = trial.run(describe, {})
    eg = pick(trial.records[1], TRT01P="EG", AVISIT="Week 6", GOLDGR="I")
    keys = {"PARAMCD": "FEV1", "AVISIT": "Week 6", "STRATUM": "gold1", "GROUP": "EG"}
    assert np.isclose(value(table, LEVEL="CHG", STAT="mean", **keys), eg["CHG"].mean())
    assert np.isclose(value(table, LEVEL="AVAL", STAT="sd", **keys), eg["AVAL"].std())
    assert pick(table, AVISIT="Baseline", LEVEL="CHG").empty
    # log-scale parameters are described as measured
    assert value(table, **{**keys, "PARAMCD": "CACS"}, LEVEL="AVAL", STAT="min") > 0


def test_describe_counts_missing():
    def edit(subjects, measurements, events):
        gone = (measurements["AVISIT"] == "Week 12") & (measurements["USUBJID"] < "S010")
        return subjects, measurements.loc[~gone], events

    table = Trial(edit=edit).run(describe, {})
    keys = {"PARAMCD": "FEV1", "AVISIT": "Week 12", "STRATUM": "all", "GROUP": "EG", "LEVEL": "CHG"}
    assert (value(table, STAT="n", **keys), value(table, STAT="missing", **keys)) == (35, 5)


def test_ancova_is_the_public_one(trial):
    table = trial.run(ancova)
    data = pick(trial.records[1], AVISIT="Week 12").merge(trial.adsl[["USUBJID", "SEX"]])
    for stratum, part, terms in (
        ("all", data, ["BASE", "AGE", "SEX", "GOLDGR"]),
        ("gold2", pick(data, GOLDGR="II"), ["BASE", "AGE", "SEX"]),
    ):
        want = ancova_statistic(part, "CHG", "TRT01P", terms, reference="CG")
        keys = {"PARAMCD": "FEV1", "AVISIT": "Week 12", "STRATUM": stratum}
        for stat in ("estimate", "se", "df", "statistic", "p", "ci_low", "partial_eta_sq"):
            assert np.isclose(
                value(table, STAT=stat, COMPARISON="EG - CG", **keys), want.contrasts[stat].iloc[0]
            )
        means = want.emmeans.set_index("TRT01P")
        for code in ("EG", "CG"):
            assert np.isclose(
                value(table, STAT="emmean", GROUP=code, **keys), means.loc[code, "estimate"]
            )
        row = pick(table, STAT="model", **keys).iloc[0]
        assert row["NOTE"].startswith(f"CHG ~ TRT01P + {' + '.join(terms)}; least squares")
        assert row["ANALYSISID"] == f"ancova.FEV1.week12.{stratum}"


def test_log_scale_and_ratio(trial):
    table = trial.run(ancova)
    keys = {"PARAMCD": "CACS", "AVISIT": "Week 6", "STRATUM": "all", "COMPARISON": "EG - CG"}
    estimate = value(table, STAT="estimate", **keys)
    assert abs(estimate - 0.5) < 0.15  # planted on the log scale
    assert np.isclose(value(table, STAT="ratio", **keys), np.exp(estimate))
    assert np.isclose(
        value(table, STAT="ratio_ci_low", **keys), np.exp(value(table, STAT="ci_low", **keys))
    )
    assert "log1p scale" in pick(table, STAT="model", PARAMCD="CACS")["NOTE"].iloc[0]
    assert pick(table, PARAMCD="FEV1", STAT="ratio").empty


def test_interaction_is_of_all_patients_only(trial):
    table = pick(trial.run(ancova), STAT="interaction_p")
    assert set(table["STRATUM"]) == {"all"}
    assert set(table["LEVEL"]) == {"GOLDGR"}
    assert table["VALUE"].between(0, 1).all()


def test_mixed_model_is_the_public_one(trial):
    table = trial.run(mixed_model)
    data = trial.records[1].merge(trial.adsl[["USUBJID", "SEX"]])
    data = data.loc[data["AVISIT"] != "Baseline"]
    data["AVISIT"] = pd.Categorical(data["AVISIT"], ["Week 6", "Week 12"])
    data["TRT01P"] = pd.Categorical(data["TRT01P"], ["CG", "EG"])
    fit = mixed_statistic(data, "CHG ~ BASE + AGE + SEX + GOLDGR + TRT01P * AVISIT")
    for _, row in fit.contrasts("TRT01P", by="AVISIT").iterrows():
        keys = {
            "PARAMCD": "FEV1",
            "AVISIT": row["AVISIT"],
            "STRATUM": "all",
            "COMPARISON": "EG - CG",
        }
        for stat in ("estimate", "se", "df", "p"):
            assert np.isclose(value(table, STAT=stat, **keys), row[stat], rtol=1e-6)


@pytest.mark.parametrize("method", [ancova, mixed_model])
def test_planted_effect_is_found(method, trial):
    table = trial.run(method)
    keys = {"PARAMCD": "FEV1", "AVISIT": "Week 12", "STRATUM": "all", "COMPARISON": "EG - CG"}
    assert value(table, STAT="ci_low", **keys) < 1.0 < value(table, STAT="ci_high", **keys)


@pytest.mark.parametrize("method", [ancova, mixed_model])
def test_three_arms(method):
    table = Trial(n=90, arms=("A", "B", "C")).run(method)
    assert list(dict.fromkeys(pick(table, STAT="estimate")["COMPARISON"])) == ["A - C", "B - C"]
    assert results.validate(table) is not None


@pytest.mark.parametrize("method", [ancova, mixed_model])
def test_single_arm_has_means_and_no_comparison(method):
    table = Trial(n=30, arms=("A",)).run(method)
    assert set(table["COMPARISON"]) == {""}
    assert pick(table, STAT="emmean")["VALUE"].notna().all()


@pytest.mark.parametrize("method", [ancova, mixed_model])
def test_one_patient_in_an_arm_of_a_stratum(method):
    def edit(subjects, measurements, events):
        subjects["GOLDGR"] = "I"
        subjects.loc[[0, 1, 3, 5], "GOLDGR"] = "II"  # S000 is the only one of EG
        return subjects, measurements, events

    table = pick(Trial(edit=edit).run(method), STRATUM="gold2", PARAMCD="FEV1", AVISIT="Week 12")
    row = pick(table, STAT="estimate", COMPARISON="EG - CG").iloc[0]
    assert np.isnan(row["VALUE"])
    assert row["NOTE"] == "not estimated: 1 patient in EG"
    assert np.isnan(value(table, STAT="emmean", GROUP="EG"))


@pytest.mark.parametrize("method", [ancova, mixed_model])
def test_empty_stratum(method):
    def edit(subjects, measurements, events):
        return subjects.assign(GOLDGR="I"), measurements, events

    trial = Trial(edit=edit)
    table = trial.run(method)
    rows = pick(table, STRATUM="gold2", STAT="estimate")
    assert rows["VALUE"].isna().all()
    assert set(rows["NOTE"]) == {"not estimated: no patient in EG, no patient in CG"}
    # GOLD has one level with data, so it leaves the model of all patients and is named
    model = pick(table, STRATUM="all", STAT="model", PARAMCD="FEV1")["NOTE"].iloc[0]
    assert "GOLDGR" in model
    assert pick(table, STRATUM="all", STAT="estimate")["VALUE"].notna().all()
    for other in (describe,):
        assert (pick(trial.run(other, {}), STRATUM="gold2", STAT="n")["VALUE"] == 0).all()


@pytest.mark.parametrize("method", [ancova, mixed_model])
def test_no_variation(method):
    def edit(subjects, measurements, events):
        return subjects, measurements.assign(AVAL=2.0), events

    rows = pick(Trial(edit=edit).run(method), STAT="estimate")
    assert rows["VALUE"].isna().all()
    assert rows["NOTE"].str.contains("no variation").all()


def test_one_post_baseline_visit():
    trial = Trial(visits=VISITS[:2])
    assert pick(trial.run(ancova), STAT="estimate")["VALUE"].notna().all()
    rows = pick(trial.run(mixed_model), STAT="estimate")
    assert set(rows["NOTE"]) == {"not estimated: no patient has two visits"}


def test_parameter_of_one_visit_has_no_change():
    def edit(subjects, measurements, events):
        kept = (measurements["PARAMCD"] == "FEV1") | (measurements["AVISIT"] == "Baseline")
        return subjects, measurements.loc[kept], events

    trial = Trial(edit=edit)
    assert set(trial.run(ancova)["PARAMCD"]) == {"FEV1"}
    assert set(pick(trial.run(describe, {}), PARAMCD="CACS")["AVISIT"]) == {"Baseline"}


def test_who_is_left_out_of_a_model_is_counted_with_the_reason():
    def edit(subjects, measurements, events):
        subjects.loc[subjects["USUBJID"].isin(["S000", "S001", "S003"]), "AGE"] = np.nan
        low = measurements["USUBJID"].isin(["S002", "S004"]) & (measurements["PARAMCD"] == "CACS")
        measurements.loc[low & (measurements["AVISIT"] == "Week 6"), "AVAL"] = -2.0
        # who has no change is missing, not left out
        gone = (measurements["USUBJID"] == "S001") & (measurements["AVISIT"] == "Week 12")
        return subjects, measurements.loc[~gone], events

    table = pick(Trial(edit=edit).run(ancova), STRATUM="all")
    plain = pick(table, STAT="left_out", PARAMCD="FEV1").set_index(["AVISIT", "GROUP"])
    assert dict(plain["VALUE"]) == {
        ("Week 6", "EG"): 1,
        ("Week 6", "CG"): 2,
        ("Week 12", "EG"): 1,
        ("Week 12", "CG"): 1,
    }
    assert set(plain["NOTE"]) == {"AGE missing"}
    assert plain.loc[("Week 12", "CG"), "N"] == 39
    log = pick(table, STAT="left_out", PARAMCD="CACS", AVISIT="Week 6", GROUP="EG").iloc[0]
    assert (log["VALUE"], log["N"]) == (3, 40)
    assert log["NOTE"] == "AGE missing; no CHG on the log1p scale"
    means = pick(table, STAT="emmean", PARAMCD="CACS", AVISIT="Week 6").set_index("GROUP")
    assert dict(means["N"]) == {"EG": 37, "CG": 38}
    assert pick(Trial().run(ancova), STAT="left_out").empty


def test_arm_of_one_patient_counts_in_no_model():
    trial = Trial(n=81, arms=("EG", "XG", "CG"))
    alone = trial.adsl["TRT01P"] == "XG"
    trial.adsl.loc[alone & (trial.adsl["USUBJID"] != "S001"), "ITTFL"] = "N"
    for method in (ancova, mixed_model):
        table = pick(trial.run(method), STRATUM="all", PARAMCD="FEV1", AVISIT="Week 12")
        row = pick(table, STAT="estimate", COMPARISON="EG - CG").iloc[0]
        assert (np.isfinite(row["VALUE"]), row["N"]) == (True, 54)
        row = pick(table, STAT="estimate", COMPARISON="XG - CG").iloc[0]
        assert row["NOTE"] == "not estimated: 1 patient in XG"
    test = pick(trial.run(ancova), STAT="interaction_F", PARAMCD="FEV1", AVISIT="Week 12").iloc[0]
    assert (test["N"], test["NOTE"]) == (54, "")


def test_many_sites_as_stratum():
    trial = Trial(n=120, levels=[f"site{i}" for i in range(12)])
    table = trial.run(ancova)
    assert len(set(table["STRATUM"])) == 13
    assert value(table, STAT="interaction_df1", PARAMCD="FEV1", AVISIT="Week 6") == 11


def test_rows_after_the_cut_are_not_analysed(trial):
    late = [
        table.assign(ANL01FL=np.where(table["AVISIT"] == "Week 12", "N", "Y"))
        for table in trial.records
    ]
    table = describe(trial.adsl, late, PARAMETERS, {}, trial.arms, trial.visits)
    assert "Week 12" not in set(table["AVISIT"])


def test_robust_standard_errors(trial):
    plain, robust = trial.run(ancova), trial.run(ancova, {**SECTION, "robust": "HC3"})
    keys = {"PARAMCD": "FEV1", "AVISIT": "Week 6", "STRATUM": "all", "COMPARISON": "EG - CG"}
    assert value(plain, STAT="estimate", **keys) == value(robust, STAT="estimate", **keys)
    assert value(plain, STAT="se", **keys) != value(robust, STAT="se", **keys)
    assert "HC3" in pick(robust, STAT="model")["NOTE"].iloc[0]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"population": "MITT"}, "no flag MITTFL"),
        ({"parameters": ["FEV2"]}, "parameter FEV2"),
        ({"visits": ["Week 7"]}, "visit Week 7"),
        ({"covariates": ["HEIGHT"]}, "covariate 'HEIGHT'"),
    ],
)
def test_faults_of_a_plan_are_named(trial, section, text):
    with pytest.raises(ValueError, match=text):
        trial.run(ancova, {**SECTION, **section})


def test_baseline(trial):
    table = baseline(
        trial.adsl,
        {"smd": True, "tests": True},
        trial.arms,
        trial.visits,
        trial.strata,
        trial.characteristics,
    )
    eg = pick(trial.adsl, TRT01P="EG")
    assert np.isclose(
        value(table, PARAMCD="AGE", STAT="mean", GROUP="EG", STRATUM="all"), eg["AGE"].mean()
    )
    keys = {"PARAMCD": "SEX", "STRATUM": "all", "GROUP": "TOTAL"}
    shares = pick(table, STAT="pct", **keys)
    assert list(shares["LEVEL"]) == ["M", "F"]  # the order of config.yaml
    assert np.isclose(shares["VALUE"].sum(), 100)
    assert np.isclose(
        value(table, PARAMCD="AGE", STAT="smd", STRATUM="all"),
        standardised_difference(eg["AGE"], pick(trial.adsl, TRT01P="CG")["AGE"]),
    )
    row = pick(table, PARAMCD="AGE", STAT="p", STRATUM="all").iloc[0]
    assert row["NOTE"] == "welch"
    arms = (eg["AGE"], pick(trial.adsl, TRT01P="CG")["AGE"])
    known = stats.ttest_ind(*arms, equal_var=False)
    keys = {"PARAMCD": "AGE", "STRATUM": "all", "COMPARISON": "EG - CG"}
    for stat, wanted in (("statistic", known.statistic), ("df", known.df), ("p", known.pvalue)):
        assert np.isclose(value(table, STAT=stat, **keys), wanted)
    # a stratum factor that is no characteristic is described, too
    assert not pick(table, PARAMCD="GOLDGR", STAT="n", LEVEL="II").empty


def test_percentages_are_of_patients_with_a_value():
    def edit(subjects, measurements, events):
        subjects.loc[:9, "SEX"] = None
        return subjects, measurements, events

    trial = Trial(edit=edit)
    table = baseline(trial.adsl, {}, trial.arms, trial.visits, trial.strata, trial.characteristics)
    keys = {"PARAMCD": "SEX", "STRATUM": "all", "GROUP": "TOTAL"}
    assert value(table, STAT="missing", **keys) == 10
    assert set(pick(table, STAT="pct", **keys)["N"]) == {70}
    assert pick(table, STAT="smd").empty


@pytest.mark.parametrize(
    ("one", "two", "category", "expected"),
    [
        ([1.0, 2, 3], [2.0, 3, 4], False, -1.0),
        (["y"] * 6 + ["n"] * 4, ["y"] * 4 + ["n"] * 6, True, 0.2 / np.sqrt(0.24)),
        (["x"] * 3, ["x"] * 3, True, 0.0),
        ([1.0, 1], [1.0, 1], False, 0.0),
        ([1.0, 1], [2.0, 2], False, np.nan),
        ([1.0], [2.0, 3], False, np.nan),
    ],
)
def test_standardised_difference(one, two, category, expected):
    found = standardised_difference(one, two, category)
    assert np.isclose(found, expected, equal_nan=True)


def test_disposition():
    def edit(subjects, measurements, events):
        out = {
            "S000": ("2024-02-01", "Moved"),
            "S001": ("2024-03-01", "Died"),
            "S002": ("2024-03-02", "Moved"),
        }
        events = pd.DataFrame(
            [(who, "discontinuation", *what) for who, what in out.items()],
            columns=["USUBJID", "EVENT", "ADT", "REASON"],
        )
        gone = measurements["USUBJID"].isin(out) & (measurements["AVISIT"] == "Week 12")
        gone |= (measurements["USUBJID"] == "S000") & (measurements["AVISIT"] == "Week 6")
        gone |= (measurements["USUBJID"] == "S004") & (measurements["AVISIT"] == "Week 12")
        return subjects, measurements.loc[~gone], events

    trial = Trial(edit=edit)
    scans = pd.DataFrame(
        {
            "USUBJID": ["S004", "S006", "S001", "S003"],
            "AVISIT": "Baseline",
            "status": ["ok", "excluded", "excluded", "ok"],
            "reason": [None, "missing slices: 12, 13", "missing slices (4)", None],
        }
    )
    table = disposition(
        trial.adsl,
        trial.records,
        scans,
        {},
        trial.arms,
        trial.visits,
        trial.strata,
        {"parameter": "FEV1", "visit": "Week 12"},
    )
    assert set(table["STAT"]) == {"n", "pct"}
    keys = {"STRATUM": "all", "GROUP": "EG", "STAT": "n"}
    expected = {
        ("", "randomised"): 40,
        ("", "set:ITT"): 40,
        ("", "discontinued"): 2,
        ("", "discontinued:Moved"): 2,
        ("", "discontinued:Died"): 0,
        ("", "completed"): 38,
        ("", "ongoing"): 0,
        ("", "analysed"): 37,
        ("Week 6", "expected"): 39,
        ("Week 6", "attended"): 39,
        ("Week 12", "expected"): 38,
        ("Week 12", "attended"): 37,
        ("Baseline", "scans_expected"): 2,
        ("Baseline", "scans_evaluable"): 1,
        ("Baseline", "scans_excluded:missing slices"): 1,
    }
    for (visit, level), count in expected.items():
        assert value(table, AVISIT=visit, LEVEL=level, **keys) == count, (visit, level)
    keys["STAT"] = "pct"
    assert value(table, LEVEL="completed", **keys) == 95.0
    assert value(table, LEVEL="discontinued:Died", **keys) == 0.0
    assert pick(table, LEVEL="randomised", STAT="pct").empty  # it would be 100 everywhere
    assert not set(pick(table, STAT="pct")["AVISIT"]) - {""}
    per_protocol = pick(trial.adsl, TRT01P="EG", PPROTFL="Y")
    found = value(table, STRATUM="all", GROUP="EG", STAT="n", LEVEL="set:PP")
    assert found == len(per_protocol)
    total = pick(table, STRATUM="all", GROUP="TOTAL", LEVEL="scans_excluded")
    assert total["VALUE"].tolist() == [2]
    # strata add up to all
    parts = pick(table, GROUP="TOTAL", LEVEL="completed", STAT="n").set_index("STRATUM")["VALUE"]
    assert parts["gold1"] + parts["gold2"] == parts["all"]


def test_visit_that_is_not_due_is_not_expected(trial):
    table = disposition(
        trial.adsl,
        trial.records,
        None,
        {},
        trial.arms,
        [*VISITS, {"name": "Week 52", "path": "week52", "number": 52, "day": 365}],
        data_cut="2024-06-30",
    )
    assert value(table, AVISIT="Week 52", LEVEL="expected", GROUP="TOTAL") == 0


def test_short_reason():
    assert short_reason("missing slices: 3, 4") == "missing slices"
    assert short_reason("") == "no reason recorded"


def reads(trial, n=20, seed=1):
    rng = np.random.default_rng(seed)
    rows = []
    for who in trial.adsl["USUBJID"][:n]:
        truth = rng.normal(10, 3)
        rows.append((who, "network", "", "1", truth + 0.5 + rng.normal(0, 0.3)))
        for reader in ("R1", "R2"):
            for repeat in ("1", "2"):
                rows.append((who, "reader", reader, repeat, truth + rng.normal(0, 0.5)))
    frame = pd.DataFrame(rows, columns=["USUBJID", "METHOD", "READER", "REPEAT", "AVAL"])
    return frame.assign(AVISIT="Baseline", PARAMCD="FEV1")


def test_agreement(trial):
    table = agreement(trial.adsl, reads(trial), PARAMETERS, {}, trial.strata)
    assert list(dict.fromkeys(table["COMPARISON"])) == [
        "network - reader",
        "reader: R1 - R2",
        "reader: repeat 1 - 2",
    ]
    keys = {"COMPARISON": "network - reader", "STRATUM": "all"}
    assert abs(value(table, STAT="bias", **keys) - 0.5) < 0.3
    assert value(table, STAT="icc_ci_low", **keys) < value(table, STAT="icc_a1", **keys) < 1
    assert set(
        pick(table, STAT="icc_a1", COMPARISON="reader: repeat 1 - 2", STRATUM="all")["N"]
    ) == {40}
    assert set(table["STRATUM"]) == {"all", "gold1", "gold2"}


def test_interval_of_several_pairs_a_patient_says_what_it_takes_for_granted(trial):
    one = reads(trial)
    table = agreement(
        trial.adsl, pd.concat([one, one.assign(AVISIT="Week 6")]), PARAMETERS, {}, trial.strata
    )
    notes = pick(table, COMPARISON="network - reader", STRATUM="all").set_index("STAT")["NOTE"]
    assert notes["icc_ci_low"] == "several pairs a patient; taken as independent"
    assert notes["loa_low"] == "several pairs a patient"


def test_agreement_has_the_coefficients_of_pairs(trial):
    from lungitude.statistics import accuracy, ccc

    data = reads(trial)
    table = agreement(trial.adsl, data, PARAMETERS, {}, trial.strata)
    keys = {"STRATUM": "all", "COMPARISON": "reader: repeat 1 - 2"}
    mine = data.loc[(data["METHOD"] == "reader") & (data["PARAMCD"] == PARAMETERS["PARAMCD"][0])]
    wide = mine.pivot_table("AVAL", ["USUBJID", "AVISIT", "READER"], "REPEAT").dropna()
    x, y = wide.iloc[:, 0], wide.iloc[:, 1]
    param = {"PARAMCD": PARAMETERS["PARAMCD"][0], **keys}
    assert np.isclose(value(table, STAT="ccc", **param), ccc(x, y)["ccc"][0])
    assert np.isclose(value(table, STAT="mae", **param), accuracy(x, y)["mae"][0])
    assert value(table, STAT="rc", **param) > value(table, STAT="within_sd", **param)
    assert "(Koo & Li 2016" in pick(table, STAT="icc_a1", **param)["NOTE"].iloc[0]
    own = {"source": "SAP 4.2", "limits": [0.0], "labels": ["bad", "fine"]}
    table = agreement(trial.adsl, data, PARAMETERS, {"band": own}, trial.strata)
    assert pick(table, STAT="icc_a1", **param)["NOTE"].iloc[0].endswith("fine (SAP 4.2)")


def test_agreement_of_too_few_pairs(trial):
    table = agreement(trial.adsl, reads(trial, n=2), PARAMETERS, {}, trial.strata)
    row = pick(table, STAT="icc_a1", STRATUM="all", COMPARISON="network - reader").iloc[0]
    assert row["NOTE"] == "not estimated: 2 pairs, 3 are needed"


def test_accuracy_holds_scans_alone_against_their_truth(trial):
    rng, people = np.random.default_rng(2), list(trial.adsl["USUBJID"][:12])
    litres = rng.uniform(2.0, 7.0, len(people))
    truth = pd.DataFrame({"USUBJID": people, "AVISIT": "Baseline", "FEV_ML": 1000 * litres})
    found = truth[["USUBJID", "AVISIT"]].assign(PARAMCD="FEV1", AVAL=litres + 0.25, SOURCE="scan")
    found.loc[0, "AVAL"] = np.nan
    sheet = found.assign(AVAL=99.0, SOURCE="imported")
    section = {"truth": {"FEV1": {"column": "FEV_ML", "factor": 0.001}}}
    table = accuracy(trial.adsl, pd.concat([found, sheet]), truth, PARAMETERS, section)
    keys = {"METHOD": "accuracy", "PARAMCD": "FEV1", "COMPARISON": "measured - truth"}
    assert set(pick(table, **keys)["N"]) == {11}
    assert value(table, STAT="bias", **keys) == pytest.approx(0.25)
    assert value(table, STAT="rmse", **keys) == pytest.approx(0.25)
    assert value(table, STAT="r", **keys) == pytest.approx(1.0)


def test_arm_that_misses_one_visit():
    """Other visits of the mixed model stay; the empty cell says why it is not estimated."""

    def edit(subjects, measurements, events):
        even = measurements["USUBJID"].str[1:].astype(int) % 2 == 0  # EG
        return subjects, measurements.loc[~(even & (measurements["AVISIT"] == "Week 12"))], events

    table = pick(Trial(edit=edit).run(mixed_model), PARAMCD="FEV1", STRATUM="all")
    assert np.isfinite(value(table, AVISIT="Week 6", STAT="estimate", COMPARISON="EG - CG"))
    row = pick(table, AVISIT="Week 12", STAT="estimate").iloc[0]
    assert row["NOTE"] == "not estimated: no patient in EG"
    assert np.isfinite(value(table, AVISIT="Week 12", STAT="emmean", GROUP="CG"))


def test_no_patient_is_randomised(trial):
    adsl = trial.adsl.assign(ITTFL="N")
    for method in (ancova, mixed_model, describe):
        table = method(adsl, trial.records, PARAMETERS, {}, trial.arms, trial.visits)
        assert table.empty
    table = disposition(adsl, trial.records, None, {}, trial.arms, trial.visits)
    assert (table["VALUE"] == 0).all()


def test_same_input_same_rows(trial):
    again = Trial()
    for method in (describe, ancova, mixed_model):
        section = {} if method is describe else SECTION
        assert trial.run(method, section).equals(again.run(method, section))
