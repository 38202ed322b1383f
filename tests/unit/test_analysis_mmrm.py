"""MMRM and mixed model driven by a plan, held against direct calls of the library."""

import runpy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from unit.test_analysis import PARAMETERS, SECTION, VISITS, Trial, pick, value

from helpers import ROOT
from lungitude import results, tables
from lungitude.analysis.ancova import ancova
from lungitude.analysis.mixed_model import mixed_model
from lungitude.analysis.mmrm import mmrm
from lungitude.statistics import mixed_model as mixed_statistic
from lungitude.statistics import mmrm as mmrm_statistic
from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.mmrm import fit_design

LONG = [*VISITS, {"name": "Week 24", "path": "week24", "number": 24, "day": 169}]
FORMULA = "CHG ~ TRT01P * AVISIT + BASE * AVISIT + AGE + SEX"
EFFECT = {"PARAMCD": "FEV1", "STRATUM": "all", "COMPARISON": "EG - CG"}


def holes(subjects, measurements, events):
    """Every fifth patient leaves before Week 12; a few have no Week 6."""
    number = measurements["USUBJID"].str[1:].astype(int)
    gone = (number % 5 == 2) & (measurements["AVISIT"] == "Week 12")
    gone |= (number % 7 == 3) & (measurements["AVISIT"] == "Week 6")
    return subjects.assign(SITE="s" + subjects["USUBJID"].str[-1]), measurements[~gone], events


@pytest.fixture(scope="module")
def trial():
    return Trial(edit=holes)


@pytest.fixture(scope="module")
def table(trial):
    return trial.run(mmrm)


def long(trial, dataset=1):
    """The post-baseline records as a notebook would take them."""
    data = trial.records[dataset].merge(trial.adsl[["USUBJID", "SEX"]])
    data = data.loc[data["AVISIT"] != "Baseline"]
    visits = [visit["name"] for visit in trial.visits[1:]]
    data["AVISIT"] = pd.Categorical(data["AVISIT"], visits)
    data["TRT01P"] = pd.Categorical(data["TRT01P"], ["CG", "EG"])
    return data


def same(table, fit, **keys):
    """Hold the rows of an analysis against contrasts and means of a fit."""
    for _, row in fit.contrasts("TRT01P", by="AVISIT").iterrows():
        for stat in ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"):
            ours = value(table, STAT=stat, AVISIT=row["AVISIT"], **EFFECT | keys)
            assert np.isclose(ours, row[stat], rtol=1e-8), stat
    for _, row in fit.emmeans("TRT01P", by="AVISIT").iterrows():
        cell = {"AVISIT": row["AVISIT"], "GROUP": row["TRT01P"], **EFFECT, **keys, "COMPARISON": ""}
        assert np.isclose(value(table, STAT="emmean", **cell), row["estimate"])
        assert np.isclose(value(table, STAT="ci_low", **cell), row["ci_low"])


def test_it_is_the_public_one(trial, table):
    data = long(trial)
    fit = mmrm_statistic(data, FORMULA + " + GOLDGR", df="kenward-roger-linear")
    same(table, fit)
    test = fit.type3().set_index("term").loc["TRT01P:AVISIT"]
    keys = {"PARAMCD": "FEV1", "STRATUM": "all", "LEVEL": "TRT01P:AVISIT", "AVISIT": ""}
    for stat in ("F", "df1", "df2", "p"):
        assert np.isclose(value(table, STAT=f"test_{stat}", **keys), test[stat])
    row = pick(table, STAT="test_p", **keys).iloc[0]
    assert (row["ANALYSISID"], row["N"]) == ("mmrm.FEV1.all", len(data))
    same(
        table,
        mmrm_statistic(pick(data, GOLDGR="II"), FORMULA, df="kenward-roger-linear"),
        STRATUM="gold2",
    )
    model = pick(table, STAT="model", STRATUM="gold2", PARAMCD="FEV1", AVISIT="Week 6").iloc[0]
    assert model["NOTE"].startswith(
        "CHG ~ TRT01P * AVISIT + BASE * AVISIT + AGE + SEX; visits Week 6, Week 12; "
        "REML, covariance us, Kenward-Roger df (linear); "
    )


@pytest.mark.parametrize(
    ("section", "formula", "options", "said"),
    [
        ({"by_visit": []}, "CHG ~ BASE + AGE + SEX + TRT01P * AVISIT", {}, "+ BASE + AGE"),
        (
            {"by_visit": ["BASE", "SEX"]},
            "CHG ~ BASE * AVISIT + AGE + SEX * AVISIT + TRT01P * AVISIT",
            {},
            "SEX * AVISIT",
        ),
        ({"covariance": ["csh"]}, FORMULA, {"covariance": "csh"}, "covariance csh,"),
        ({"group_by_arm": True}, FORMULA, {"group": "TRT01P"}, "covariance us by arm"),
        (
            {"df": "satterthwaite", "vcov": "empirical"},
            FORMULA,
            {"df": "satterthwaite", "vcov": "empirical"},
            "Satterthwaite df, empirical standard errors",
        ),
    ],
)
def test_choices_of_the_plan(trial, section, formula, options, said):
    section = {**SECTION, "parameters": ["FEV1"], "strata_in_model": False, **section}
    table = trial.run(mmrm, section)
    same(table, mmrm_statistic(long(trial), formula, **{"df": "kenward-roger-linear", **options}))
    assert said in pick(table, STAT="model", STRATUM="all")["NOTE"].iloc[0]


def test_response_aval(trial):
    table = trial.run(mmrm, {**SECTION, "strata_in_model": False, "response": "AVAL"})
    formula = FORMULA.replace("CHG", "AVAL")
    same(table, mmrm_statistic(long(trial), formula, df="kenward-roger-linear"))


def test_interaction_at_each_visit(trial, table):
    """The three-way model by formula; the effects at Week 12 are sums of two coefficients."""
    formula = "CHG ~ BASE * AVISIT + AGE + SEX + TRT01P * AVISIT * GOLDGR"
    fit = mmrm_statistic(long(trial), formula, df="kenward-roger-linear")
    terms = list(fit.coefficients["term"])
    first = terms.index("TRT01PEG:GOLDGRII")
    both = [first, next(i for i, t in enumerate(terms) if t.count(":") == 2)]
    for visit, used in (("Week 6", [first]), ("Week 12", both)):
        row = np.zeros((1, len(terms)))
        row[0, used] = 1
        test = fit.test(row).iloc[0]
        keys = {"PARAMCD": "FEV1", "STRATUM": "all", "AVISIT": visit, "LEVEL": "GOLDGR"}
        for stat in ("F", "df1", "df2", "p"):
            assert np.isclose(value(table, STAT=f"interaction_{stat}", **keys), test[stat])
    assert set(pick(table, STAT="interaction_p")["STRATUM"]) == {"all"}


def test_interaction_with_an_empty_cell():
    def edit(subjects, measurements, events):
        eg = measurements["USUBJID"].str[1:].astype(int) % 6 == 4  # EG of GOLD III
        return subjects, measurements[~(eg & (measurements["AVISIT"] == "Week 12"))], events

    table = Trial(n=120, levels=("I", "II", "III"), edit=edit).run(mmrm)
    keys = {"PARAMCD": "FEV1", "STRATUM": "all", "LEVEL": "GOLDGR"}
    assert value(table, STAT="interaction_df1", AVISIT="Week 6", **keys) == 2
    row = pick(table, STAT="interaction_df1", AVISIT="Week 12", **keys).iloc[0]
    assert (row["VALUE"], row["NOTE"]) == (1, "1 empty cells of TRT01P x GOLDGR")
    assert pick(table, **EFFECT, STAT="estimate")["VALUE"].notna().all()


def test_who_has_one_value_is_in(trial, table):
    data = long(trial).dropna(subset="CHG")
    assert data["USUBJID"].value_counts().min() == 1
    assert set(pick(table, STAT="model", PARAMCD="FEV1", STRATUM="all")["N"]) == {len(data)}
    for visit, n in data["AVISIT"].value_counts().items():
        assert set(pick(table, STAT="p", AVISIT=visit, **EFFECT)["N"]) == {n}
        means = pick(table, STAT="emmean", AVISIT=visit, PARAMCD="FEV1", STRATUM="all")
        assert means["N"].sum() == n


def test_who_is_left_out_is_counted():
    def edit(subjects, measurements, events):
        subjects.loc[subjects["USUBJID"].isin(["S000", "S001"]), "AGE"] = np.nan
        return subjects, measurements, events

    table = pick(Trial(edit=edit).run(mmrm), STRATUM="all", PARAMCD="FEV1", AVISIT="Week 6")
    rows = pick(table, STAT="left_out")
    assert dict(zip(rows["GROUP"], rows["VALUE"], strict=True)) == {"EG": 1, "CG": 1}
    assert set(rows["NOTE"]) == {"AGE missing"}
    assert set(pick(table, STAT="p")["N"]) == {78}


def test_log_scale(trial, table):
    keys = {**EFFECT, "PARAMCD": "CACS", "AVISIT": "Week 12"}
    estimate = value(table, STAT="estimate", **keys)
    assert abs(estimate - 1) < 0.2  # planted on the log scale
    assert np.isclose(value(table, STAT="ratio", **keys), np.exp(estimate))


def test_one_visit_is_the_ancova():
    trial = Trial(visits=VISITS[:2])
    ours, theirs = trial.run(mmrm), trial.run(ancova)
    assert "linear" in pick(ours, STAT="model")["NOTE"].iloc[0]
    for param in ("FEV1", "CACS"):
        for stratum in ("all", "gold1"):
            for stat in ("estimate", "se", "df", "p", "ci_low"):
                keys = {**EFFECT, "PARAMCD": param, "STRATUM": stratum, "STAT": stat}
                assert np.isclose(value(ours, **keys), value(theirs, **keys))
            keys = {"PARAMCD": param, "STRATUM": stratum, "GROUP": "EG", "STAT": "emmean"}
            assert np.isclose(value(ours, **keys), value(theirs, **keys))
        keys = {"PARAMCD": param, "STAT": "interaction_p"}
        assert np.isclose(value(ours, **keys), value(theirs, **keys))
    assert pick(ours, STAT="test_p").empty


def test_fall_back_is_said():
    """Nobody has both the first and the third visit; what needs that pair is not used."""

    def edit(subjects, measurements, events):
        odd = measurements["USUBJID"].str[1:].astype(int) % 8 < 4
        gone = odd & (measurements["AVISIT"] == "Week 6")
        gone |= ~odd & (measurements["AVISIT"] == "Week 24")
        return subjects, measurements[~gone], events

    trial = Trial(n=120, visits=LONG, edit=edit)
    table = trial.run(mmrm, {**SECTION, "strata_in_model": False})
    note = pick(table, STAT="model", STRATUM="all", PARAMCD="FEV1")["NOTE"].iloc[0]
    assert "covariance ar1h, Kenward-Roger df" in note
    reason = "no patient has both Week 6 and Week 24"
    assert f"ar1h instead of us ({reason}), toeph ({reason})" in note
    same(table, mmrm_statistic(long(trial), FORMULA, covariance="ar1h", df="kenward-roger-linear"))
    # the test in the model with the interaction says so, too
    assert "ar1h instead of us" in pick(table, STAT="interaction_p")["NOTE"].iloc[0]
    rows = trial.run(mmrm, {**SECTION, "covariance": ["us"]})
    rows = pick(rows, STAT="estimate", PARAMCD="FEV1", STRATUM="all")
    assert rows["VALUE"].isna().all()
    assert rows["NOTE"].str.contains(f"us: {reason}").all()


def arms(method, table, **keys):
    rows = pick(table, STAT="estimate", PARAMCD="FEV1", **keys)
    return dict(zip(rows["COMPARISON"], rows["NOTE"].where(rows["VALUE"].isna(), ""), strict=True))


@pytest.mark.parametrize("method", [mmrm, mixed_model])
def test_arm_without_patients_at_a_visit(method):
    """Its other visit, and the other arms, are estimated."""

    def edit(subjects, measurements, events):
        mine = measurements["USUBJID"].str[1:].astype(int) % 3 == 1
        return subjects, measurements[~(mine & (measurements["AVISIT"] == "Week 12"))], events

    table = Trial(n=90, arms=("EG", "XG", "CG"), edit=edit).run(method)
    keys = {"STRATUM": "all"}
    assert arms(method, table, AVISIT="Week 6", **keys) == {"EG - CG": "", "XG - CG": ""}
    lost = "not estimated: no patient in XG"
    assert arms(method, table, AVISIT="Week 12", **keys) == {"EG - CG": "", "XG - CG": lost}
    row = pick(table, STAT="test_df1", PARAMCD="FEV1", STRATUM="all").iloc[0]
    assert (row["VALUE"], row["NOTE"]) == (1, "1 empty cells of TRT01P x AVISIT")


@pytest.mark.parametrize("method", [mmrm, mixed_model])
def test_bad_strata(method):
    """One patient of an arm, no patient at all, one arm, a constant: NaN with the reason."""

    def edit(subjects, measurements, events):
        number = subjects["USUBJID"].str[1:].astype(int)
        grade = np.where(number < 66, "I", "IV")
        grade[number.isin([60, 61, 63, 65])] = "II"  # S060 is the only one of EG
        subjects = subjects.assign(GOLDGR=grade)
        constant = measurements["USUBJID"].isin(subjects.loc[number >= 66, "USUBJID"])
        return subjects, measurements.assign(AVAL=measurements["AVAL"].mask(constant, 2.0)), events

    table = Trial(n=90, levels=("I", "II", "III", "IV"), edit=edit).run(method)
    assert results.validate(table) is not None

    def reason(stratum):
        return arms(method, table, STRATUM=stratum, AVISIT="Week 12")["EG - CG"]

    assert reason("all") == reason("gold1") == ""
    assert reason("gold2") == "not estimated: 1 patient in EG"
    assert reason("gold3") == "not estimated: no patient in EG, no patient in CG"
    assert reason("gold4") in (
        "not estimated: CHG is 0 in every row",
        "not estimated: no variation of the response beyond the fixed effects",
    )
    rows = pick(table, STRATUM="gold2", PARAMCD="FEV1", STAT="test_p")
    assert set(rows["NOTE"]) == {"not estimated: 1 patient in EG"}


def test_three_arms_and_one():
    table = Trial(n=90, arms=("A", "B", "C")).run(mmrm)
    assert set(pick(table, STAT="estimate")["COMPARISON"]) == {"A - C", "B - C"}
    assert set(pick(table, STAT="test_df1")["VALUE"]) == {2}
    assert set(pick(table, STAT="interaction_df1")["VALUE"]) == {2}
    assert table.loc[table["STAT"] != "model", "VALUE"].notna().all()
    table = Trial(n=30, arms=("A",)).run(mmrm)
    assert set(table["COMPARISON"]) == {""}
    assert pick(table, STAT="emmean")["VALUE"].notna().all()
    assert pick(table, STAT="test_p").empty


def test_arm_of_one_patient_counts_in_no_model():
    trial = Trial(n=81, arms=("EG", "XG", "CG"))
    alone = trial.adsl["TRT01P"] == "XG"
    trial.adsl.loc[alone & (trial.adsl["USUBJID"] != "S001"), "ITTFL"] = "N"
    table = pick(trial.run(mmrm), STRATUM="all", PARAMCD="FEV1")
    assert set(pick(table, STAT="p", COMPARISON="EG - CG")["N"]) == {54}
    assert set(pick(table, STAT="test_p")["NOTE"]) == {"without XG"}


def test_arm_that_is_a_covariate_in_disguise():
    def edit(subjects, measurements, events):
        number = subjects["USUBJID"].str[1:].astype(int)
        return subjects.assign(SEX=np.where(number % 2, "F", "M")), measurements, events

    rows = pick(Trial(edit=edit).run(mmrm), **EFFECT, STAT="estimate")
    assert set(rows["NOTE"]) == {"not estimated: aliased with other terms"}


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"df": "kr"}, "df 'kr' is not one of"),
        ({"covariance": ["un"]}, "covariance 'un' is not one of"),
        ({"vcov": "empirical"}, "has its own covariance"),
        ({"visits": ["Week 7"]}, "visit Week 7"),
    ],
)
def test_faults_of_a_plan_are_named(trial, section, text):
    with pytest.raises(ValueError, match=text):
        trial.run(mmrm, {**SECTION, **section})


def design(data):
    terms = ["TRT01P", "AVISIT", ("TRT01P", "AVISIT"), "BASE", "AGE", "SEX", ("BASE", "AVISIT")]
    return ColumnDesign(data, terms)


def test_design_that_is_there_already(trial):
    data = long(trial)
    fit = fit_design(design(data), data["CHG"], covariance=["us", "cs"], df="kenward-roger-linear")
    want = mmrm_statistic(data, FORMULA, df="kenward-roger-linear")
    ours, theirs = fit.coefficients.set_index("term"), want.coefficients.set_index("term")
    ours = ours.rename(index={"BASE:AVISITWeek 12": "AVISITWeek 12:BASE"})
    pd.testing.assert_frame_equal(ours.sort_index(), theirs.sort_index(), rtol=1e-8)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda d: (d, d["CHG"].mask(d.index == d.index[3])),
            "CHG or a covariate is missing or infinite",
        ),
        (lambda d: (d, d["CHG"] * 0), "CHG is 0 in every row"),
        (lambda d: (d, d["CHG"].iloc[1:]), "responses for"),
        (lambda d: (pd.concat([d, d[:1]]), [*d["CHG"], 1.0]), "Week 6 more than once"),
        (
            lambda d: (e := d[(d["AVISIT"] == "Week 6") | (d["TRT01P"] == "CG")], e["CHG"]),
            "TRT01P EG has no observation at AVISIT Week 12",
        ),
    ],
)
def test_bad_design(trial, change, text):
    data, response = change(long(trial))
    with pytest.raises(ValueError, match=text):
        fit_design(design(data), response, name="CHG")


def test_covariance_without_full_rank_has_no_test():
    """The sandwich of 4 patients cannot tell 4 visits' effects apart."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {
            "USUBJID": np.repeat([f"P{i}" for i in range(4)], 4),
            "AVISIT": [f"V{i}" for i in range(4)] * 4,
            "TRT01P": np.repeat(["A", "B", "A", "B"], 4),
            "CHG": rng.normal(size=16),
        }
    )
    options = {"covariance": "cs", "vcov": "empirical", "df": "residual"}
    fit = mmrm_statistic(data, "CHG ~ TRT01P * AVISIT", **options)
    with pytest.raises(ValueError, match="covariance of the functions is not positive definite"):
        fit.test(np.eye(8))
    with pytest.warns(UserWarning, match="not positive definite"):
        table = fit.type3().set_index("term")
    assert np.isnan(table.loc["TRT01P:AVISIT", "p"])


def sites(subjects, measurements, events):
    subjects, measurements, events = holes(subjects, measurements, events)
    shift = (
        measurements["USUBJID"].str[-1].astype(int) * 0.1 * (measurements["AVISIT"] != "Baseline")
    )
    return subjects, measurements.assign(AVAL=measurements["AVAL"] + shift), events


def test_site_with_a_random_intercept():
    trial = Trial(n=120, edit=sites)
    trial.characteristics.append({"column": "SITE", "label": "Site", "type": "category"})
    trial.adsl["SITE"] = "s" + trial.adsl["USUBJID"].str[-1]
    section = {**SECTION, "site": "SITE", "parameters": ["FEV1"]}
    table = trial.run(mixed_model, section)
    data = long(trial).merge(trial.adsl[["USUBJID", "SITE"]])
    formula = "CHG ~ BASE + AGE + SEX + GOLDGR + TRT01P * AVISIT"
    fit = mixed_statistic(data, formula, groups=["SITE", "USUBJID"])
    assert fit.varcorr["vcov"].iloc[0] > 0.01
    for _, row in fit.contrasts("TRT01P", by="AVISIT").iterrows():
        for stat in ("estimate", "se", "df", "p"):
            ours = value(table, STAT=stat, AVISIT=row["AVISIT"], **EFFECT)
            assert np.isclose(ours, row[stat], rtol=1e-5), stat
    note = pick(table, STAT="model", STRATUM="all")["NOTE"].iloc[0]
    assert "+ GOLDGR + (1 | SITE) + (1 | USUBJID)" in note
    with pytest.raises(ValueError, match="SITE as site and as a fixed effect"):
        trial.run(mixed_model, {**section, "covariates": ["SITE"]})


def test_site_that_is_alone_or_each_patient():
    trial = Trial()
    plain = trial.run(mixed_model)
    trial.adsl["SITE"] = "one"
    table = trial.run(mixed_model, {**SECTION, "site": "SITE"})
    assert "no random effect of SITE" in pick(table, STAT="model")["NOTE"].iloc[0]
    one, two = (pick(t, STAT="p", AVISIT="Week 12", **EFFECT) for t in (plain, table))
    assert one["VALUE"].to_numpy() == two["VALUE"].to_numpy()
    trial.adsl["SITE"] = trial.adsl["USUBJID"]
    rows = pick(trial.run(mixed_model, {**SECTION, "site": "SITE"}), STAT="estimate")
    assert set(rows["NOTE"]) == {"not estimated: each patient has a SITE of their own"}


def test_mixed_model_tests(trial):
    table = trial.run(mixed_model, {**SECTION, "parameters": ["FEV1"]})
    fit = mixed_statistic(long(trial), "CHG ~ BASE + AGE + SEX + GOLDGR + TRT01P * AVISIT")
    test = fit.type3().set_index("term").loc["TRT01P:AVISIT"]
    for stat, theirs in (("F", "f"), ("df2", "df2"), ("p", "p")):
        assert np.isclose(value(table, STAT=f"test_{stat}", STRATUM="all"), test[theirs], rtol=1e-6)
    assert pick(table, STAT="interaction_p")["VALUE"].between(0, 1).all()


def test_script(trial, tmp_path):
    tables.write_parquet(trial.adsl, tmp_path / "adsl.parquet")
    for name, records in zip(("adqct", "adfun"), trial.records, strict=True):
        tables.write_parquet(records, tmp_path / f"{name}.parquet")
    tables.write(PARAMETERS, tmp_path / "parameters.tsv")
    names = {"adsl": "parquet", "adqct": "parquet", "adfun": "parquet", "parameters": "tsv"}
    job = SimpleNamespace(
        input=SimpleNamespace(**{n: str(tmp_path / f"{n}.{end}") for n, end in names.items()}),
        output=SimpleNamespace(results=str(tmp_path / "results.parquet")),
        params=SimpleNamespace(
            plan=SECTION,
            arms=trial.arms,
            visits=trial.visits,
            strata=trial.strata,
            characteristics=trial.characteristics,
            confidence=0.95,
        ),
    )
    runpy.run_path(str(ROOT / "scripts" / "analyse_mmrm.py"))["main"](job)
    written = results.validate(tables.read_parquet(tmp_path / "results.parquet"))
    pd.testing.assert_frame_equal(written, trial.run(mmrm))
