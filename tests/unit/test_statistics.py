import warnings

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics import (
    adjust,
    ancova,
    bland_altman,
    compare_groups,
    correlate,
    icc,
    mixed_model,
)
from lungitude.statistics.groups import _quantile_u
from lungitude.statistics.linear import estimable, independent


@pytest.fixture
def trial():
    rng = np.random.default_rng(7)
    n = 60
    frame = pd.DataFrame(
        {
            "USUBJID": [f"S{i:02d}" for i in range(n)],
            "ARM": pd.Categorical(np.tile(["A", "B", "C"], n // 3)),
            "SITE": np.repeat(["s1", "s2", "s3"], n // 3),
            "BASE": rng.normal(50, 5, n),
        }
    )
    frame["CHG"] = 0.2 * frame["BASE"] + 2.0 * (frame["ARM"] == "B") + rng.normal(0, 1, n)
    return frame


@pytest.fixture
def visits(trial):
    rng = np.random.default_rng(8)
    parts = [
        trial.assign(
            AVISIT=f"v{k}", WEEK=6.0 * k, AVAL=trial["CHG"] + k + rng.normal(0, 1, len(trial))
        )
        for k in (1, 2, 3)
    ]
    return pd.concat(parts, ignore_index=True)


def test_three_arms_are_compared_with_the_reference(trial):
    fit = ancova(trial, "CHG", "ARM", ["BASE"], reference="C")
    assert list(fit.contrasts["contrast"]) == ["A - C", "B - C"]
    assert list(fit.emmeans["ARM"]) == ["C", "A", "B"]


def test_order_of_rows_does_not_matter(trial):
    shuffled = trial.sample(frac=1, random_state=1)
    one, two = (ancova(frame, "CHG", "ARM", ["BASE", "SITE"]) for frame in (trial, shuffled))
    pd.testing.assert_frame_equal(one.contrasts, two.contrasts)


def test_aliased_nuisance_is_dropped_with_a_warning(trial):
    trial["TWICE"] = 2 * trial["BASE"]
    trial["ONE"] = "same"
    with pytest.warns(UserWarning, match="TWICE, ONE is aliased"):
        fit = ancova(trial, "CHG", "ARM", ["BASE", "TWICE", "ONE"])
    plain = ancova(trial, "CHG", "ARM", ["BASE"])
    pd.testing.assert_frame_equal(fit.contrasts, plain.contrasts)


def test_missing_values_are_left_out(trial):
    trial.loc[:4, "BASE"] = np.nan
    trial.loc[5:6, "CHG"] = np.nan
    assert (ancova(trial, "CHG", "ARM", ["BASE"]).contrasts["n"] == 53).all()


def test_stratum_that_cannot_be_fitted_is_nan_with_a_warning(trial):
    trial = trial.loc[~((trial["SITE"] == "s2") & (trial["ARM"] != "A"))]
    with pytest.warns(UserWarning, match="SITE s2: not estimated: one arm only"):
        fit = ancova(trial, "CHG", "ARM", ["BASE"], by="SITE")
    rows = fit.contrasts.set_index("SITE")
    assert rows.loc["s2", "estimate"].isna().all()
    assert rows.loc[["s1", "s3"], "estimate"].notna().all()


@pytest.mark.parametrize(
    ("change", "kwargs", "text"),
    [
        (None, {"covariates": ["AGE"]}, "no column 'AGE'"),
        (None, {"reference": "Z"}, "reference 'Z' is no level of 'ARM'"),
        (None, {"robust": "HC9"}, "robust 'HC9'"),
        (None, {"covariates": ["CHG"]}, "CHG has two parts"),
        (None, {"confidence": 95}, "confidence 95"),
        ({"ARM": "A"}, {}, "one arm only, A"),
        ({"CHG": 1.0}, {}, "no variation of CHG"),
        ({"CHG": "x"}, {}, "'CHG' holds text"),
        ({"CHG": np.inf}, {}, "infinite"),
        ({"CHG": np.nan}, {}, "no row has all of CHG"),
    ],
)
def test_bad_input_of_ancova(trial, change, kwargs, text):
    frame = trial.assign(**(change or {}))
    with pytest.raises(ValueError, match=text):
        ancova(frame, "CHG", "ARM", **{"covariates": ["BASE"], **kwargs})


def test_aliased_arm_is_an_error(trial):
    trial["CENTRE"] = trial["ARM"].astype(str) + " hospital"
    with pytest.raises(ValueError, match="ARMB, ARMC is aliased with the covariates"):
        ancova(trial, "CHG", "ARM", ["CENTRE"])


def test_too_few_patients(trial):
    with pytest.raises(ValueError, match="3 patients for 4 model terms"):
        ancova(trial.head(3), "CHG", "ARM", ["BASE"])


def test_robust_needs_leverage_below_one(trial):
    trial.loc[0, "SITE"] = "alone"
    with pytest.raises(ValueError, match="leverage 1"):
        ancova(trial, "CHG", "ARM", ["SITE"], robust="HC3")


def test_mixed_model_of_balanced_data_is_the_classical_analysis(visits):
    """Complete data without covariates: the difference of means, by subject means."""
    fit = mixed_model(visits, "AVAL ~ ARM * AVISIT")
    table = fit.contrasts("ARM", by="AVISIT")
    means = visits.pivot_table("AVAL", "AVISIT", "ARM", observed=True)
    for _, row in table.iterrows():
        level = row["contrast"].split(" - ")[0]
        assert np.isclose(
            row["estimate"], means.loc[row["AVISIT"], level] - means.loc[row["AVISIT"], "A"]
        )
    # the arm effect over all visits has the df of subjects: 60 - 3
    overall = fit.contrasts("ARM")
    assert np.allclose(overall["df"], 57, rtol=1e-6)


def test_mixed_model_without_variance_between_subjects_is_least_squares():
    rng = np.random.default_rng(3)
    # residuals of a subject that oppose each other: the variance is estimated as 0
    base = rng.normal(size=30)
    frame = pd.DataFrame({"USUBJID": np.repeat(range(30), 2), "X": np.tile([0.0, 1.0], 30)})
    frame["Y"] = frame["X"] + np.ravel(np.column_stack([base, -base]))
    with pytest.warns(UserWarning, match="singular"):
        fit = mixed_model(frame, "Y ~ X")
    assert fit.singular
    assert fit.random_covariance.iloc[0, 0] == 0
    assert np.allclose(fit.coefficients["df"], 58, rtol=1e-6)


def test_scale_and_shift_of_the_response_do_not_matter(visits):
    one = mixed_model(visits, "AVAL ~ BASE + ARM * AVISIT")
    two = mixed_model(visits.assign(AVAL=1e6 + 1e-4 * visits["AVAL"]), "AVAL ~ BASE + ARM * AVISIT")
    ours, theirs = one.contrasts("ARM", by="AVISIT"), two.contrasts("ARM", by="AVISIT")
    assert np.allclose(ours["p"], theirs["p"], rtol=1e-4)
    assert np.allclose(ours["df"], theirs["df"], rtol=1e-4)


def test_aliased_term_of_mixed_model(visits):
    visits["TWICE"] = 2 * visits["BASE"]
    with pytest.warns(UserWarning, match="TWICE is aliased"):
        fit = mixed_model(visits, "AVAL ~ BASE + TWICE + ARM")
    assert "TWICE" not in set(fit.coefficients["term"])
    assert len(fit.contrasts("ARM")) == 2


def test_contrast_in_an_empty_cell_is_an_error(visits):
    frame = visits.loc[~((visits["ARM"] == "B") & (visits["AVISIT"] == "v3"))]
    with pytest.warns(UserWarning, match="ARMB:AVISITv3 is aliased"):
        fit = mixed_model(frame, "AVAL ~ ARM * AVISIT")
    with pytest.raises(ValueError, match="B - A, v3 cannot be estimated"):
        fit.contrasts("ARM", by="AVISIT")


@pytest.mark.parametrize(
    ("formula", "kwargs", "text"),
    [
        ("AVAL ~ AGE", {}, "no column 'AGE'"),
        ("AVAL", {}, "no response|needs one numeric"),
        ("AVAL ~ (BASE", {}, "cannot be read"),
        ("AVAL ~ BASE", {"groups": "ID"}, "no column 'ID'"),
        ("AVAL ~ BASE", {"random": "WEEK"}, "random 'WEEK'"),
        ("AVAL ~ BASE", {"random": "1 + ARM"}, "random slope 'ARM' must be a number"),
        ("AVAL ~ BASE", {"df": "kenward-roger"}, "df 'kenward-roger' is not one of"),
        ("AVAL ~ BASE", {"method": "bayes"}, "method 'bayes'"),
        ("ARM ~ BASE", {}, "'ARM' holds text"),
    ],
)
def test_bad_input_of_mixed_model(visits, formula, kwargs, text):
    with pytest.raises(ValueError, match=text):
        mixed_model(visits, formula, **kwargs)


def test_one_observation_a_subject_is_no_mixed_model(trial):
    with pytest.raises(ValueError, match="no group has two observations"):
        mixed_model(trial, "CHG ~ ARM")


def test_random_slope(visits):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these data have no slopes of their own: singular
        fit = mixed_model(visits, "AVAL ~ ARM * WEEK", random="1 + WEEK")
    assert list(fit.random_covariance) == ["(Intercept)", "WEEK"]
    assert fit.converged


def test_numbers_made_factors_by_the_formula(visits):
    text = mixed_model(visits, "AVAL ~ ARM * AVISIT").contrasts("ARM", by="AVISIT")
    coded = mixed_model(visits, "AVAL ~ ARM * C(WEEK)").contrasts("ARM", by="WEEK")
    assert coded["WEEK"].tolist()[::2] == [6.0, 12.0, 18.0]
    assert np.allclose(coded["estimate"], text["estimate"])


def test_one_covariate_may_be_named_without_a_list(trial):
    one, two = (ancova(trial, "CHG", "ARM", given) for given in ("BASE", ["BASE"]))
    pd.testing.assert_frame_equal(one.contrasts, two.contrasts)


def test_independent_and_estimable():
    matrix = np.array([[1.0, 1, 0, 2], [1, 0, 1, 2], [1, 1, 0, 2], [1, 0, 1, 2]])
    assert independent(matrix) == [0, 1]
    assert list(estimable([[0, 1, -1, 0], [0, 1, 0, 0], [1, 1, 0, 2]], matrix)) == [
        True,
        False,
        True,
    ]


def test_quantile_of_rank_sum():
    # qwilcox(0.025, 5, 6) and qwilcox(0.05, 10, 8)
    assert (_quantile_u(0.025, 5, 6), _quantile_u(0.05, 10, 8)) == (4, 21)


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ([1.0, 2, 3, 4, 5, 6], "welch"),
        (["y", "n", "y", "n", "y", "n"], "fisher"),
        ([True, False] * 3, "fisher"),
    ],
)
def test_auto_looks_at_the_kind_of_data(values, method):
    frame = pd.DataFrame({"g": list("aaabbb"), "v": values})
    assert compare_groups(frame, "v", "g")["method"][0] == method


def test_constant_data_give_nan_not_an_error():
    frame = pd.DataFrame({"g": list("aabb"), "v": [1.0] * 4, "c": ["x"] * 4})
    for method in ("welch", "student", "mann-whitney"):
        assert np.isnan(compare_groups(frame, "v", "g", method)["p"][0])
    assert np.isnan(compare_groups(frame, "c", "g", "chi2")["p"][0])


@pytest.mark.parametrize(
    ("column", "method", "text"),
    [
        ("three", "fisher", "needs two categories, 3 are there"),
        ("three", "welch", "holds text"),
        ("one", "anova", "method 'anova'"),
    ],
)
def test_bad_input_of_compare_groups(column, method, text):
    frame = pd.DataFrame({"g": list("aaabbb"), "three": list("xyzxyz"), "one": range(6)})
    with pytest.raises(ValueError, match=text):
        compare_groups(frame, column, "g", method)
    with pytest.raises(ValueError, match="must have two levels"):
        compare_groups(frame.assign(g="a"), "one", "g")


def test_icc_faults_and_missing_rows():
    frame = pd.DataFrame(
        {"id": [1, 1, 2, 2, 3], "rater": list("ababa"), "score": [1.0, 2, 3, 4.5, 9]}
    )
    assert (icc(frame)["n"] == 2).all()
    with pytest.raises(ValueError, match="1 is rated twice by a"):
        icc(pd.concat([frame, frame.head(1)]))
    with pytest.raises(ValueError, match="1 complete targets by 2 raters"):
        icc(frame.iloc[[0, 1, 4]])


def test_bland_altman_leaves_out_missing_pairs():
    row = bland_altman([1.0, 2, np.nan, 4], [1.5, 2, 3, np.nan]).iloc[0]
    assert row["n"] == 2
    with pytest.raises(ValueError, match="1 complete pairs"):
        bland_altman([1.0, np.nan], [1, 2])
    with pytest.raises(ValueError, match="same length"):
        bland_altman([1.0, 2], [1.0])


def test_bland_altman_with_one_pair_a_subject_is_the_plain_one():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 20))
    plain, named = bland_altman(x, y), bland_altman(x, y, repeated=np.arange(20))
    pd.testing.assert_frame_equal(plain, named)


def test_correlate_without_variation_is_nan():
    frame = pd.DataFrame({"x": [1.0, 1, 1, 1], "y": [1.0, 2, 3, 4]})
    row = correlate(frame, "x", "y").iloc[0]
    assert np.isnan(row["r"])
    assert row["n"] == 4


def test_adjust_keeps_the_index_and_refuses_what_is_no_p():
    p = pd.Series([0.02, np.nan], index=["a", "b"])
    assert adjust(p).index.tolist() == ["a", "b"]
    assert np.isnan(adjust([np.nan])).all()
    assert len(adjust([])) == 0
    with pytest.raises(ValueError, match="between 0 and 1"):
        adjust([1.2])
    with pytest.raises(ValueError, match="method 'fdr'"):
        adjust([0.2], "fdr")
