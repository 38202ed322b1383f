"""What users hand over: kinds of columns, formulas, marginal means at values, lost arms."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics import (
    bland_altman,
    compare_groups,
    impute_reference_based,
    mixed_model,
    mmrm,
    rm_anova,
)

FORMULA = "AVAL ~ BASE + TRT01P * AVISIT"


@pytest.fixture(scope="module")
def trial():
    rng = np.random.default_rng(1)
    n = 60
    frame = pd.DataFrame(
        {
            "USUBJID": np.repeat([f"P{i:02d}" for i in range(n)], 3),
            "TRT01P": np.repeat(["CG", "T2", "T3"] * (n // 3), 3),
            "SEX": np.repeat(rng.choice(["F", "M"], n), 3),
            "BASE": np.repeat(rng.normal(50, 8, n), 3),
            "AVISIT": ["V1", "V2", "V3"] * n,
        }
    )
    frame["AVAL"] = frame["BASE"] + 5 * rng.normal(size=3 * n)
    return frame.assign(AVAL=frame["AVAL"].where(rng.random(3 * n) > 0.1))


@pytest.fixture(scope="module")
def fit(trial):
    return mmrm(trial, FORMULA)


KINDS = {
    "objects": {"AVAL": object, "BASE": object, "TRT01P": object},
    "nullable": {"AVAL": "Float64", "BASE": "Float64", "TRT01P": "string", "USUBJID": "string"},
    "category": {"TRT01P": "category", "AVISIT": "category", "USUBJID": "category"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_columns_do_not_matter(kind, trial, fit):
    other = mmrm(trial.astype(KINDS[kind]), FORMULA)
    pd.testing.assert_frame_equal(other.coefficients, fit.coefficients, rtol=1e-9)


def test_rows_may_be_indexed_and_ordered_in_any_way(trial, fit):
    for frame in (trial.set_index("USUBJID", drop=False), trial.sample(frac=1, random_state=2)):
        other = mmrm(frame, FORMULA)
        np.testing.assert_allclose(other.vcov, fit.vcov, rtol=1e-7)
    indexed = trial.set_index("USUBJID", drop=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # incomplete subjects
        pd.testing.assert_frame_equal(
            rm_anova(indexed, "AVAL", "USUBJID", "AVISIT"),
            rm_anova(trial, "AVAL", "USUBJID", "AVISIT"),
        )


def test_numbers_among_none_are_numbers(trial):
    two = trial.loc[trial["TRT01P"] != "T3"].astype({"AVAL": object})
    assert compare_groups(two, "AVAL", "TRT01P")["method"][0] == "welch"
    assert bland_altman([1, 2, None, 4.0], [1.1, 2, 3, 3.9])["n"][0] == 3


def test_another_reference(trial, fit):
    other = mmrm(trial, "AVAL ~ BASE + C(TRT01P, Treatment('T2')) * AVISIT")
    ours = other.contrasts("TRT01P", by="AVISIT").set_index(["contrast", "AVISIT"])["estimate"]
    theirs = fit.contrasts("TRT01P", by="AVISIT").set_index(["contrast", "AVISIT"])["estimate"]
    assert np.isclose(ours["CG - T2", "V3"], -theirs["T2 - CG", "V3"])
    same = mmrm(trial, "AVAL ~ BASE + C(TRT01P, contr.treatment('T2')) * AVISIT")
    np.testing.assert_allclose(same.vcov, other.vcov)


def test_transforms_in_a_formula(trial, fit):
    curve = mmrm(trial, "AVAL ~ poly(BASE, 2) + TRT01P * AVISIT")
    assert list(curve.coefficients["term"][1:3]) == ["poly(BASE, 2)1", "poly(BASE, 2)2"]
    scaled = mmrm(trial, "AVAL ~ {BASE / 10} + TRT01P * AVISIT")
    slope = scaled.coefficients.set_index("term")["estimate"]["BASE / 10"]
    assert np.isclose(slope, 10 * fit.coefficients.set_index("term")["estimate"]["BASE"])
    centred = mmrm(trial.assign(BASE=trial["BASE"].where(trial.index > 8)), "AVAL ~ center(BASE)")
    assert centred.n_observations == trial.loc[trial.index > 8, "AVAL"].notna().sum()
    quoted = mmrm(trial.rename(columns={"BASE": "my base"}), "AVAL ~ `my base` + TRT01P * AVISIT")
    np.testing.assert_allclose(quoted.vcov, fit.vcov)


def test_marginal_means_at_levels(fit):
    every = fit.emmeans("TRT01P", by="AVISIT")
    some = fit.emmeans("TRT01P", by="AVISIT", at={"AVISIT": ["V2", "V3"]})
    pd.testing.assert_frame_equal(
        some, every.loc[every["AVISIT"] != "V1"].reset_index(drop=True), check_exact=False
    )
    assert len(fit.contrasts("TRT01P", by="AVISIT", at={"AVISIT": "V3"})) == 2


def test_order_of_visits_is_doubted(trial):
    named = trial.assign(
        AVISIT=trial["AVISIT"].map({"V1": "Week 6", "V2": "Week 12", "V3": "Week 104"})
    )
    with pytest.warns(UserWarning, match="in the order Week 104, Week 12, Week 6; make 'AVISIT'"):
        mmrm(named, FORMULA, covariance="ar1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mmrm(named, FORMULA)  # unstructured: the order does not matter


def gone(column, level):
    return lambda d: d.assign(AVAL=d["AVAL"].where(d[column] != level))


LOST = {
    "arm": (gone("TRT01P", "T3"), FORMULA, "no complete row for TRT01P T3"),
    "visit": (gone("AVISIT", "V3"), FORMULA, "no complete row for AVISIT V3"),
    "one arm": (lambda d: d[d["TRT01P"] == "CG"], FORMULA, "'TRT01P' has one level only, 'CG'"),
    "aliased": (
        lambda d: d.assign(X=(d["TRT01P"] == "T2") * 1.0),
        FORMULA + " + X",
        "'TRT01P' is aliased with the other terms",
    ),
    "without interaction": (
        gone("TRT01P", "T3"),
        "AVAL ~ BASE + SEX + TRT01P + AVISIT",
        "no complete row for TRT01P T3",
    ),
}


@pytest.mark.parametrize("model", [mmrm, mixed_model])
@pytest.mark.parametrize("name", LOST)
def test_an_arm_or_visit_is_not_lost_in_silence(name, model, trial):
    change, formula, text = LOST[name]
    with pytest.raises(ValueError, match=text):
        model(change(trial), formula)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda d, f: mmrm(None, FORMULA), "the data are no DataFrame but NoneType"),
        (lambda d, f: impute_reference_based(None), "the data are no DataFrame but NoneType"),
        (lambda d, f: mmrm(d, "AVAL ~ C(TRT01P, Sum)"), "'C.TRT01P, Sum.' is not offered"),
        (lambda d, f: mmrm(d, "AVAL ~ np.log(TRT01P)"), "transforms 'TRT01P', which is no number"),
        (lambda d, f: mmrm(d, FORMULA, confidence="0.9"), "confidence '0.9' is not between"),
        (lambda d, f: mmrm(d, FORMULA, weights=np.ones(180)), "weights is the name of a column"),
        (lambda d, f: f.emmeans("TRT01P", at={"BASE": [1, 2]}), "give one number"),
        (lambda d, f: f.emmeans("TRT01P", at={"BASE": np.nan}), "give one number"),
        (lambda d, f: f.emmeans("TRT01P", by="TRT01P"), "a factor is named twice"),
        (lambda d, f: f.contrasts(["TRT01P"]), "contrast one factor at a time"),
        (lambda d, f: f.test("TRT01P"), "rows of numbers over the coefficients"),
        (
            lambda d, f: mmrm(d.assign(AVAL=d["AVAL"].where(d["AVISIT"] != "V2", 5.0)), FORMULA),
            "AVAL is 5 in every row at AVISIT V2",
        ),
        (
            lambda d, f: impute_reference_based(
                d.assign(AVAL=d["AVAL"].where(d["TRT01P"] != "T2", 5.0)), reference="T2"
            ),
            "the data do not determine the covariance",
        ),
        (
            lambda d, f: rm_anova(d[d["USUBJID"] < "P02"].fillna(1.0), "AVAL", "USUBJID", "AVISIT"),
            "leave 1 degree of freedom",
        ),
    ],
)
def test_bad_calls_say_what_is_wrong(call, text, trial, fit):
    with pytest.raises(ValueError, match=text):
        call(trial, fit)


def test_a_function_of_aliased_coefficients_is_refused(trial):
    with pytest.warns(UserWarning, match="B2 is aliased"):
        fit = mmrm(trial.assign(B2=2 * trial["BASE"]), "AVAL ~ BASE + B2 + TRT01P * AVISIT")
    row = np.array([name == "B2" for name in fit.design.names], dtype=float)
    with pytest.raises(ValueError, match="B2 is aliased"):
        fit.test(row)
    arm = np.array([name == "TRT01PT2" for name in fit.design.names], dtype=float)
    assert len(fit.test(arm)) == 1
