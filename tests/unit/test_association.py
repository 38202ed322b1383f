"""Identities, analytic truths and bad input of correlation and regression."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungitude.statistics import ancova
from lungitude.statistics.correlation import (
    _spearman_p,
    compare_correlations,
    correlate,
    correlate_changes,
    correlation_matrix,
    partial_correlation,
    repeated_correlation,
)
from lungitude.statistics.regression import regress, stepwise, stepwise_model


@pytest.fixture
def frame():
    rng = np.random.default_rng(11)
    n = 80
    base = rng.normal(size=(n, 5))
    frame = pd.DataFrame(base @ np.linalg.cholesky(0.5 * np.eye(5) + 0.5).T, columns=[*"abcde"])
    frame["SEX"] = np.where(rng.random(n) < 0.5, "F", "M")
    frame["GOLD"] = pd.Categorical(rng.choice(["I", "II", "III"], n), ["I", "II", "III"])
    frame["ARM"] = np.tile(["A", "B"], n // 2)
    return frame


@pytest.fixture
def long(frame):
    """Three visits; b follows a in arm B only."""
    rng = np.random.default_rng(12)
    parts = []
    for week in (0, 6, 12):
        a = frame["a"] + week * rng.normal(size=80) / 6
        b = frame["b"] + np.where(frame["ARM"] == "B", a - frame["a"], 0) + rng.normal(size=80) / 4
        parts.append(
            pd.DataFrame({"id": range(80), "ARM": frame["ARM"], "week": week, "a": a, "b": b})
        )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("method", ["pearson", "spearman", "kendall"])
def test_correlate_is_symmetric_and_signed(frame, method):
    one, two = correlate(frame, "a", "b", method), correlate(frame, "b", "a", method)
    np.testing.assert_allclose(one, two, rtol=1e-12)
    turned = correlate(frame.assign(b=-frame["b"]), "a", "b", method).iloc[0]
    row = one.iloc[0]
    np.testing.assert_allclose(
        [turned["r"], turned["ci_low"], turned["ci_high"], turned["p"]],
        [-row["r"], -row["ci_high"], -row["ci_low"], row["p"]],
    )


def test_rank_correlations_see_order_only(frame):
    for method in ("spearman", "kendall"):
        pd.testing.assert_frame_equal(
            correlate(frame, "a", "b", method),
            correlate(frame.assign(a=np.exp(frame["a"])), "a", "b", method),
        )


def test_missing_rows_are_left_out(frame):
    frame.loc[:9, "a"] = np.nan
    frame.loc[10:14, "b"] = np.nan
    assert correlate(frame, "a", "b")["n"][0] == 65
    assert partial_correlation(frame, "a", "c", "b")["n"][0] == 65
    pd.testing.assert_frame_equal(correlate(frame, "a", "b"), correlate(frame.loc[15:], "a", "b"))


def test_examples_of_cor_test():
    """Tuna data of the help page of R's cor.test (Hollander & Wolfe 1973, p. 187)."""
    tuna = pd.DataFrame(
        {
            "x": [44.4, 45.9, 41.9, 53.3, 44.7, 44.1, 50.7, 45.2, 60.1],
            "y": [2.6, 3.1, 2.5, 5.0, 3.6, 4.0, 5.2, 2.8, 3.8],
        }
    )
    row = correlate(tuna, "x", "y")
    np.testing.assert_allclose(
        row.iloc[0], [0.5711816, -0.1497426, 0.8955795, 0.1082, 9], atol=5e-5
    )
    row = correlate(tuna, "x", "y", "kendall")
    assert row.attrs == {"T": 26, "exact": True}
    np.testing.assert_allclose(row["p"][0], 0.1194, atol=5e-5)
    row = correlate(tuna, "x", "y", "spearman")
    np.testing.assert_allclose([row.attrs["S"], row["p"][0]], [48, 0.0968], atol=5e-5)


def test_exact_p_of_spearman_by_counting():
    x = np.arange(5.0)
    from itertools import permutations

    rhos = np.array([np.corrcoef(x, p)[0, 1] for p in permutations(x)])
    for rho in np.unique(rhos.round(9)):
        expected = min(1, 2 * min((rhos >= rho - 1e-9).mean(), (rhos <= rho + 1e-9).mean()))
        assert np.isclose(_spearman_p(rho, 5), expected)


def test_series_of_spearman_p_joins_the_exact_one():
    """AS 89: the series errs by less than 0.002 from 10 pairs on; t is off by more."""
    rng = np.random.default_rng(3)
    draws = np.argsort(rng.random((200_000, 10)), axis=1)
    s = ((draws - np.arange(10)) ** 2).sum(axis=1)
    for limit in (60, 90, 130):
        rho = 1 - 6 * limit / 990
        assert abs(_spearman_p(rho, 10) - 2 * (s <= limit).mean()) < 0.004
    frame = pd.DataFrame({"x": range(12), "y": rng.permutation(12)})
    on, off = (correlate(frame, "x", "y", "spearman", exact=e).iloc[0] for e in (True, None))
    assert on["r"] == off["r"]
    assert on["p"] != off["p"]


def test_exact_p_with_ties_is_approximated_with_a_warning():
    frame = pd.DataFrame({"x": [1.0, 1, 2, 3, 4], "y": [2.0, 1, 3, 5, 4]})
    for method in ("spearman", "kendall"):
        with pytest.warns(UserWarning, match="no exact p with ties"):
            row = correlate(frame, "x", "y", method, exact=True)
        assert not row.attrs["exact"]
        assert row["p"][0] == correlate(frame, "x", "y", method)["p"][0]


def test_perfect_correlation():
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4, 5], "y": [2.0, 4, 6, 8, 10]})
    row = correlate(frame, "x", "y").iloc[0]
    np.testing.assert_allclose(row[["r", "ci_low", "ci_high", "p"]], [1, 1, 1, 0], atol=1e-12)


def test_three_rows_have_no_interval():
    frame = pd.DataFrame({"x": [1.0, 2, 3], "y": [1.0, 3, 2]})
    with pytest.warns(UserWarning, match="no interval from 3 rows"):
        row = correlate(frame, "x", "y").iloc[0]
    assert row["r"] == 0.5
    assert np.isnan(row["ci_low"])


@pytest.mark.parametrize(
    ("change", "kwargs", "text"),
    [
        ({}, {"x": "z"}, "no column 'z'"),
        ({"a": "text"}, {}, "'a' holds text"),
        ({"a": np.inf}, {}, "infinite"),
        ({"a": np.nan}, {}, "0 rows have 'a' and 'b' complete, at least 3"),
        ({"b": 1.0}, {}, "column 'b' does not vary over 80 rows"),
        ({}, {"method": "tau"}, "method 'tau'"),
        ({}, {"confidence": 95}, "confidence 95"),
        ({}, {"interval": "bonett-wright"}, "interval of pearson 'bonett-wright'"),
    ],
)
def test_bad_input_of_correlate(frame, change, kwargs, text):
    with pytest.raises(ValueError, match=f"correlate: .*{text}"):
        correlate(frame.assign(**change), **{"x": "a", "y": "b", **kwargs})


def test_partial_correlation_is_that_of_the_regression(frame):
    """Its p is that of the coefficient; factors are dummy coded."""
    row = partial_correlation(frame, "a", "b", ["c", "GOLD"])
    coefficient = regress(frame, "a", ["b", "c", "GOLD"]).coefficients.set_index("term").loc["b"]
    assert row.attrs["df"] == coefficient["df"] == 80 - 5
    np.testing.assert_allclose([row.attrs["t"], row["p"][0]], coefficient[["statistic", "p"]])
    t, df = coefficient[["statistic", "df"]]
    np.testing.assert_allclose(row["r"][0], t / np.sqrt(t**2 + df))


def test_semipartial_correlation_is_the_gain_in_r_squared(frame):
    full = regress(frame, "a", ["b", "c", "SEX"]).summary["r2"][0]
    less = regress(frame, "a", ["c", "SEX"]).summary["r2"][0]
    row = partial_correlation(frame, "a", "b", ["c", "SEX"], semi="y")
    np.testing.assert_allclose(row["r"][0] ** 2, full - less)
    other = partial_correlation(frame, "b", "a", ["c", "SEX"], semi="x")
    np.testing.assert_allclose(row, other)
    # p is that of the increment, so that of the partial correlation
    assert row["p"][0] == partial_correlation(frame, "a", "b", ["c", "SEX"])["p"][0]


def test_semipartial_interval_covers():
    """Truth by construction; the t test of the semipartial r itself would reject far too rarely."""
    rng = np.random.default_rng(8)
    covered, rejected = [], []
    for _ in range(300):
        z = rng.normal(size=60)
        y = 0.5 * z + rng.normal(size=60)
        x = 1.5 * z + rng.normal(size=60)
        data = pd.DataFrame({"x": x, "y": y, "z": z})
        row = partial_correlation(data, "x", "y", "z", semi="y").iloc[0]
        covered.append(row["ci_low"] <= 0 <= row["ci_high"])
        rejected.append(row["p"] < 0.05)
    assert 0.91 <= np.mean(covered) <= 0.985
    assert 0.025 <= np.mean(rejected) <= 0.085


def test_aliased_covariate_is_left_out_with_a_warning(frame):
    frame["twice"] = 2 * frame["c"]
    with pytest.warns(UserWarning, match="twice is aliased"):
        row = partial_correlation(frame, "a", "b", ["c", "twice"])
    pd.testing.assert_frame_equal(row, partial_correlation(frame, "a", "b", ["c"]))


@pytest.mark.parametrize(
    ("change", "kwargs", "text"),
    [
        ({}, {"covariates": []}, "no covariates"),
        ({}, {"covariates": ["a"]}, "a has two parts"),
        ({}, {"method": "kendall"}, "method 'kendall'"),
        ({}, {"semi": "both"}, "semi 'both'"),
        ({"c": np.inf}, {}, "infinite"),
        ({"c": lambda f: 2 * f["b"] + 1}, {}, "the covariates determine 'b'"),
        ({"c": [f"s{i}" for i in range(80)]}, {}, "80 rows for 79 columns of covariates"),
    ],
)
def test_bad_input_of_partial_correlation(frame, change, kwargs, text):
    with pytest.raises(ValueError, match=f"partial_correlation: .*{text}"):
        partial_correlation(frame.assign(**change), "a", "b", **{"covariates": "c", **kwargs})


def test_repeated_correlation_is_the_analysis_of_covariance(long):
    row = repeated_correlation(long, "a", "b", "id")
    fit = regress(long.astype({"id": str}), "b", ["id", "a"]).coefficients.set_index("term")
    assert row.attrs["df"] == 240 - 80 - 1
    np.testing.assert_allclose(
        [row.attrs["t"], row["p"][0]], fit.loc["a", ["statistic", "p"]], rtol=1e-8
    )
    # Differences between patients do not matter, nor do patients with one visit.
    moved = long.assign(a=long["a"] + 10 * long["id"])
    alone = pd.concat([moved, pd.DataFrame({"id": [99], "a": [1e3], "b": [1e3]})])
    np.testing.assert_allclose(repeated_correlation(alone, "a", "b", "id"), row, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"id": range(240)}, "no id has two complete rows"),
        ({"a": lambda f: f["id"] / 7}, "'a' does not vary within any id"),
        ({"a": "x"}, "'a' holds text"),
    ],
)
def test_bad_input_of_repeated_correlation(long, change, text):
    with pytest.raises(ValueError, match=f"repeated_correlation: .*{text}"):
        repeated_correlation(long.assign(**change), "a", "b", "id")


def test_changes_from_long_data_are_those_taken_by_hand(long):
    found = correlate_changes(long, "a", "b", "ARM", subject="id", visit="week", baseline=0)
    assert list(found.arms) == ["week", "ARM", "r", "ci_low", "ci_high", "p", "n"]
    assert list(found.arms["week"]) == [6, 6, 12, 12]
    wide = long.pivot_table(["a", "b"], "id", "week")
    change = pd.DataFrame({name: wide[name][12] - wide[name][0] for name in "ab"}).assign(
        ARM=long.drop_duplicates("id").set_index("id")["ARM"]
    )
    by_hand = correlate_changes(change, "a", "b", "ARM")
    arms = found.arms.loc[found.arms["week"] == 12].drop(columns="week")
    pd.testing.assert_frame_equal(arms.reset_index(drop=True), by_hand.arms)
    for _, row in by_hand.arms.iterrows():
        part = change.loc[change["ARM"] == row["ARM"]]
        assert row["r"] == correlate(part, "a", "b")["r"][0]
    # only in arm B the two go together
    contrast = found.contrasts.set_index("week").loc[12]
    assert contrast["contrast"] == "B - A"
    assert contrast["ci_low"] > 0.3
    assert contrast["p"] < 1e-6
    z = np.diff(np.arctanh(by_hand.arms["r"]))[0] / np.sqrt(2 / 37)
    np.testing.assert_allclose(contrast["statistic"], z)


def test_arm_without_correlation_is_nan_with_a_warning(frame):
    frame.loc[frame["ARM"] == "B", "a"] = 1.0
    with pytest.warns(UserWarning, match="correlate_changes in B: column 'a' does not vary"):
        found = correlate_changes(frame, "a", "b", "ARM")
    assert found.arms["r"].isna().tolist() == [False, True]
    assert found.contrasts[["estimate", "p"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("change", "kwargs", "text"),
    [
        ({}, {"baseline": 3}, "baseline 3 is no level of 'week'"),
        ({}, {"subject": None}, "visit needs subject and baseline"),
        ({}, {"visit": None}, "subject and baseline need visit"),
        ({"week": 0}, {}, "has two rows at week 0"),
        ({}, {"reference": "C"}, "reference 'C' is no level of 'ARM'"),
        ({"a": np.nan}, {}, "no row has all of a, b and ARM"),
        ({}, {"arm": "a"}, "different columns"),
    ],
)
def test_bad_input_of_correlate_changes(long, change, kwargs, text):
    good = {"arm": "ARM", "subject": "id", "visit": "week", "baseline": 0}
    with pytest.raises(ValueError, match=f"correlate_changes: .*{text}"):
        correlate_changes(long.assign(**change), "a", "b", **{**good, **kwargs})


@pytest.mark.parametrize("test", ["steiger", "zpf", "bootstrap"])
def test_comparison_turned_round_changes_the_sign(frame, test):
    one = compare_correlations(frame, ("a", "b"), ("c", "d"), test=test, n_boot=300).iloc[0]
    two = compare_correlations(frame, ("d", "c"), ("b", "a"), test=test, n_boot=300).iloc[0]
    assert np.isclose(one["estimate"], -two["estimate"])
    assert one["ci_low"] < one["estimate"] < one["ci_high"]
    if test != "bootstrap":
        np.testing.assert_allclose(one["ci_low"], -two["ci_high"])
        np.testing.assert_allclose(one["p"], two["p"])


def test_unrelated_pairs_are_compared_as_independent_ones():
    """With no correlation between the pairs, Steiger's z is Fisher's for two samples."""
    rng = np.random.default_rng(4)
    draw = rng.normal(size=(50, 4))
    draw = np.linalg.qr(draw - draw.mean(axis=0))[0]
    draw[:, 1] += 0.5 * draw[:, 0]
    draw[:, 3] -= 0.2 * draw[:, 2]
    data = pd.DataFrame(draw, columns=[*"abcd"])
    ours = compare_correlations(data, ("a", "b"), ("c", "d")).iloc[0]
    z = (np.arctanh(ours["r2"]) - np.arctanh(ours["r1"])) * np.sqrt(47 / 2)
    # the product of the two r remains in the covariance of steiger at mean r, not in zpf
    exact = compare_correlations(data, ("a", "b"), ("c", "d"), test="zpf").iloc[0]
    np.testing.assert_allclose([ours["statistic"], exact["statistic"]], z)


def test_comparison_keeps_its_level_and_coverage():
    rng = np.random.default_rng(6)
    matrix = np.full((4, 4), 0.3) + 0.7 * np.eye(4)
    matrix[0, 2] = matrix[2, 0] = matrix[1, 3] = matrix[3, 1] = 0.7  # a patient over two visits
    root = np.linalg.cholesky(matrix)
    covered, rejected, naive = [], [], []
    for _ in range(400):
        data = pd.DataFrame(rng.normal(size=(60, 4)) @ root.T, columns=[*"abcd"])
        row = compare_correlations(data, ("a", "b"), ("c", "d")).iloc[0]
        covered.append(row["ci_low"] <= 0 <= row["ci_high"])
        rejected.append(row["p"] < 0.05)
        z = np.diff(np.arctanh(row[["r1", "r2"]].to_numpy(float)))[0] * np.sqrt(57 / 2)
        naive.append(2 * stats.norm.sf(abs(z)) < 0.05)
    assert 0.92 <= np.mean(covered) <= 0.98
    assert 0.025 <= np.mean(rejected) <= 0.08
    assert np.mean(naive) < np.mean(rejected)


def test_bootstrap_agrees_with_the_formula_and_with_itself():
    rng = np.random.default_rng(9)
    draw = rng.normal(size=(300, 4)) @ np.linalg.cholesky(np.full((4, 4), 0.4) + 0.6 * np.eye(4)).T
    data = pd.DataFrame(draw, columns=[*"abcd"])
    data["arm"] = np.tile(["x", "y"], 150)
    options = {"by": "arm", "test": "bootstrap", "n_boot": 1000}
    one = compare_correlations(data, ("a", "b"), ("c", "d"), **options)
    pd.testing.assert_frame_equal(
        one, compare_correlations(data, ("a", "b"), ("c", "d"), **options)
    )
    assert not one.equals(compare_correlations(data, ("a", "b"), ("c", "d"), **options, seed=2))
    formula = compare_correlations(data, ("a", "b"), ("c", "d"), by="arm")
    limits = ["ci_low", "ci_high"]
    np.testing.assert_allclose(one[limits], formula[limits], atol=0.05)
    assert one["statistic"].isna().all()
    assert list(one["arm"]) == ["x", "y"]


@pytest.mark.parametrize(
    ("second", "kwargs", "text"),
    [
        (("a", "b"), {}, "not two different pairs"),
        (("c", "c"), {}, "not two different pairs"),
        (("a", "c"), {"test": "zpf"}, "test of overlapping correlations 'zpf'"),
        (("c", "d"), {"test": "meng"}, "test of nonoverlapping correlations 'meng'"),
        (("c", "d"), {"method": "kendall"}, "method 'kendall'"),
        (("c", "SEX"), {}, "'SEX' holds text"),
        (("c", "one"), {}, "'one' does not vary"),
        (("c", "double"), {}, "a correlation is 1 or -1"),
    ],
)
def test_bad_input_of_compare_correlations(frame, second, kwargs, text):
    frame = frame.assign(one=1.0, double=2 * frame["c"])
    with pytest.raises(ValueError, match=f"compare_correlations: .*{text}"):
        compare_correlations(frame, ("a", "b"), second, **kwargs)


def test_table_of_pairs_is_its_pairs_with_one_family(frame):
    table = correlation_matrix(frame, [*"abc"], ["d", "e"], method="spearman", by="SEX")
    assert list(table) == ["SEX", "x", "y", "r", "ci_low", "ci_high", "p", "p_adjusted", "n"]
    assert len(table) == 12
    for _, row in table.iterrows():
        part = frame.loc[frame["SEX"] == row["SEX"]]
        single = correlate(part, row["x"], row["y"], "spearman").iloc[0]
        np.testing.assert_array_equal(row[list(single.index)].astype(float), single)
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p"]))
    split = correlation_matrix(
        frame, [*"abc"], ["d", "e"], method="spearman", by="SEX", scope="stratum"
    )
    for _, part in split.groupby("SEX"):
        np.testing.assert_allclose(part["p_adjusted"], stats.false_discovery_control(part["p"]))
    triangle = correlation_matrix(frame, [*"abcd"], family="bonferroni")
    assert len(triangle) == 6
    np.testing.assert_allclose(triangle["p_adjusted"], np.minimum(6 * triangle["p"], 1))


def test_pair_without_correlation_is_not_counted(frame):
    frame["c"] = np.nan
    frame.loc[frame["SEX"] == "M", "b"] = 3.0
    with pytest.warns(UserWarning, match="NaN is given") as caught:
        table = correlation_matrix(frame, ["a"], ["b", "c", "d"], by="SEX", family="bonferroni")
    assert {str(w.message).split(":")[0] for w in caught} == {
        "correlation_matrix of a and c in SEX F",
        "correlation_matrix of a and c in SEX M",
        "correlation_matrix of a and b in SEX M",
    }
    known = table.loc[table["p"].notna()]
    assert len(known) == 3
    np.testing.assert_allclose(known["p_adjusted"], np.minimum(3 * known["p"], 1))
    assert table.loc[table["p"].isna(), "p_adjusted"].isna().all()


def test_table_of_partial_correlations_tells_of_short_strata(frame):
    frame["GROUP"] = ["small"] * 4 + ["large"] * 76
    with pytest.warns(UserWarning, match="in GROUP small: .*4 rows for 2 columns"):
        table = correlation_matrix(frame, ["a"], ["b"], by="GROUP", covariates=["c", "d"])
    row = table.set_index("GROUP").loc["large"]
    single = partial_correlation(frame.loc[4:], "a", "b", ["c", "d"]).iloc[0]
    np.testing.assert_allclose(row[list(single.index)].astype(float), single)


@pytest.mark.parametrize(
    ("xs", "ys", "kwargs", "text"),
    [
        (["a"], None, {}, "two different columns are needed"),
        (["a", "b"], ["b"], {}, "two different columns are needed"),
        (["a", "a"], None, {}, "named twice"),
        (["a"], ["SEX"], {}, "'SEX' holds text"),
        (["a"], ["b"], {"scope": "arm"}, "scope 'arm'"),
        (["a"], ["b"], {"covariates": "c", "method": "kendall"}, "method 'kendall'"),
    ],
)
def test_bad_input_of_correlation_matrix(frame, xs, ys, kwargs, text):
    with pytest.raises(ValueError, match=f"correlation_matrix: .*{text}"):
        correlation_matrix(frame, xs, ys, **kwargs)


def test_regress_against_statsmodels(frame):
    import statsmodels.formula.api as smf
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    fit = regress(frame, "a", ["b", "c", "SEX"])
    theirs = smf.ols("a ~ b + c + C(SEX)", frame).fit()
    ours = fit.coefficients.set_index("term").loc[["(Intercept)", "SEXM", "b", "c"]]
    order = ["Intercept", "C(SEX)[T.M]", "b", "c"]
    for name, values in (("estimate", theirs.params), ("se", theirs.bse), ("p", theirs.pvalues)):
        np.testing.assert_allclose(ours[name], values[order], rtol=1e-9)
    np.testing.assert_allclose(ours[["ci_low", "ci_high"]], theirs.conf_int().loc[order])
    row = fit.summary.iloc[0]
    np.testing.assert_allclose(
        row[["r2", "r2_adjusted", "f", "p", "sigma"]],
        [theirs.rsquared, theirs.rsquared_adj, theirs.fvalue, theirs.f_pvalue, theirs.scale**0.5],
    )
    exog = pd.DataFrame(fit.design.matrix)
    np.testing.assert_allclose(
        fit.coefficients["vif"][1:], [variance_inflation_factor(exog, i) for i in (1, 2, 3)]
    )
    # standardised: the slope of standardised columns
    scaled = frame[["a", "b", "c"]].apply(stats.zscore, ddof=1)
    slopes = regress(scaled, "a", ["b", "c"]).coefficients["estimate"][1:]
    both = regress(frame, "a", ["b", "c"])
    np.testing.assert_allclose(both.coefficients["beta_std"][1:], slopes)
    robust = regress(frame, "a", ["b", "c", "SEX"], robust="HC3")
    np.testing.assert_allclose(
        robust.coefficients.set_index("term").loc[["b", "c"], "se"],
        theirs.get_robustcov_results("HC3").bse[[2, 3]],
    )
    np.testing.assert_allclose(robust.summary["f"][0], theirs.get_robustcov_results("HC3").fvalue)


def test_vif_of_a_factor_does_not_depend_on_its_reference(frame):
    frame["b"] += frame["GOLD"].cat.codes
    turned = frame.assign(GOLD=frame["GOLD"].cat.reorder_categories(["III", "I", "II"]))
    one, two = (regress(f, "a ~ b + c + GOLD").coefficients for f in (frame, turned))
    np.testing.assert_allclose(one["vif"], two["vif"])
    assert one["vif"][1] > 1.3
    # GVIF is the product of the numeric one's VIF here: two terms share one determinant
    two_terms = regress(frame, "a", ["b", "GOLD"]).coefficients["vif"]
    np.testing.assert_allclose(two_terms[2] ** 2, two_terms[1])


def test_formula_and_columns_are_one_model(frame):
    one = regress(frame, "a ~ b + ARM * SEX")
    two = regress(frame, "a", ["b", "ARM", "SEX", ("ARM", "SEX")])
    pd.testing.assert_frame_equal(one.coefficients, two.coefficients)
    assert list(one.coefficients["term"]) == ["(Intercept)", "b", "ARMB", "SEXM", "ARMB:SEXM"]
    arm = regress(frame, "a", ["ARM", "b"]).contrasts("ARM").drop(columns="contrast").iloc[0]
    theirs = ancova(frame, "a", "ARM", ["b"]).contrasts.iloc[0]
    np.testing.assert_allclose(arm.astype(float), theirs[list(arm.index)].astype(float))


def test_aliased_term_of_regress_is_left_out_with_a_warning(frame):
    frame["sum"] = frame["b"] + frame["c"]
    with pytest.warns(UserWarning, match="regress: sum is aliased"):
        fit = regress(frame, "a", ["b", "c", "sum"])
    assert fit.dropped == ["sum"]
    pd.testing.assert_frame_equal(fit.coefficients, regress(frame, "a", ["b", "c"]).coefficients)


def test_fit_without_error_is_told(frame):
    frame["a"] = 2 * frame["b"] - frame["c"]
    with pytest.warns(UserWarning, match="fits without error"):
        regress(frame, "a", ["b", "c"])
    with pytest.warns(UserWarning, match="candidates fit without error"):
        path = stepwise(frame, "a", [*"bcde"])
    assert path.attrs["selected"] == ["b", "c"]  # rounding is not modelled further


@pytest.mark.parametrize(
    ("change", "response", "terms", "text"),
    [
        ({"a": 1.0}, "a", ["b"], "response does not vary"),
        ({}, "SEX", ["b"], "'SEX' holds text"),
        ({}, "a", ["a", "b"], "a is the response and a term"),
        ({"b": np.inf}, "a", ["b"], "'b' holds 80 infinite"),
        ({"b": np.nan}, "a", ["b"], "no row has all of a, b"),
        ({}, "a", ["z"], "no column 'z'"),
        ({}, "a ~ 0 + b", None, "without intercept"),
        ({"b": [f"s{i}" for i in range(80)]}, "a", ["b"], "80 rows for 80 columns"),
    ],
)
def test_bad_input_of_regress(frame, change, response, terms, text):
    with pytest.raises(ValueError, match=f"regress: .*{text}"):
        regress(frame.assign(**change), response, terms)


def test_factor_enters_stepwise_as_a_whole(frame):
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    frame["y"] = 2 * frame["GOLD"].map({"I": 0, "II": 1, "III": 0}).astype(float) + frame["a"]
    frame["y"] += np.random.default_rng(1).normal(size=80)
    found = stepwise_model(frame, "y", ["b", "GOLD", "a", "SEX"])
    assert found.selected == ["a", "GOLD"]
    assert list(found.path["df1"]) == [1, 2]
    table = anova_lm(ols("y ~ a", frame).fit(), ols("y ~ a + GOLD", frame).fit())
    np.testing.assert_allclose(
        found.path.loc[1, ["f", "p"]].astype(float), table.loc[1, ["F", "Pr(>F)"]]
    )
    assert list(found.model.coefficients["term"]) == ["(Intercept)", "a", "GOLDII", "GOLDIII"]
    np.testing.assert_allclose(found.path["r2"].iloc[-1], found.model.summary["r2"][0])
    np.testing.assert_allclose(
        found.path["r2_adjusted"].iloc[-1], found.model.summary["r2_adjusted"][0]
    )


def test_stepwise_term_leaves_again():
    """The sum of two causes is the best single one, and nothing beside both."""
    rng = np.random.default_rng(3)
    one, two = rng.normal(size=(2, 200))
    data = pd.DataFrame({"one": one, "two": two, "sum": one + two + rng.normal(size=200) / 2})
    data["y"] = 3 * one + 3 * two + rng.normal(size=200)
    path = stepwise(data, "y", ["one", "two", "sum"])
    assert list(zip(path["action"], path["term"], strict=True)) == [
        ("+", "sum"),
        ("+", "one"),
        ("+", "two"),
        ("-", "sum"),
    ]
    assert path.attrs["selected"] == ["one", "two"]
    assert path["p"].iloc[-1] > 0.1
    assert stepwise(data, "y", ["one", "two", "sum"], direction="forward").attrs["selected"] == [
        "sum",
        "one",
        "two",
    ]


def test_stepwise_is_the_same_for_rescaled_columns(frame):
    one = stepwise(frame, "a", [*"bcde", "SEX"])
    moved = frame.assign(b=1e3 + 0.1 * frame["b"], a=5 - 100 * frame["a"])
    two = stepwise(moved, "a", [*"bcde", "SEX"])
    assert list(one["term"]) == list(two["term"])
    np.testing.assert_allclose(one["p"], two["p"], rtol=1e-6)
    np.testing.assert_allclose(one["r2"], two["r2"], rtol=1e-8)


def test_stepwise_uses_rows_complete_in_all_candidates(frame):
    frame.loc[:9, "e"] = np.nan
    path = stepwise(frame, "a", [*"bcde"])
    assert path.attrs["n"] == 70
    pd.testing.assert_frame_equal(path, stepwise(frame.loc[10:], "a", [*"bcde"]))


def test_stepwise_of_noise_selects_nothing():
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(40, 4)), columns=[*"abcy"])
    found = stepwise_model(data, "y", [*"abc"], p_enter=0.001)
    assert found.path.empty
    assert found.selected == []
    assert list(found.model.coefficients["term"]) == ["(Intercept)"]
    assert found.model.summary["df1"][0] == 0


def test_collinear_and_constant_candidates_are_named(frame):
    frame = frame.assign(sum=frame["b"] + frame["c"], one=0.1, same="x")
    with pytest.warns(UserWarning, match="stepwise: sum, one, same is a combination"):
        path = stepwise(frame, "a", ["b", "c", "d", "sum", "one", "same"])
    assert not {"one", "same"} & set(path["term"])
    with pytest.warns(UserWarning, match="left out of the full model"):
        found = stepwise_model(
            frame, "a", ["b", "c", "d", "sum"], criterion="aic", direction="backward"
        )
    assert "sum" not in {*found.path["term"], *found.selected}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stepwise(frame, "a", ["b", "c", "d"])


@pytest.mark.parametrize(
    ("change", "candidates", "kwargs", "text"),
    [
        ({"a": 2.0}, ["b"], {}, "response 'a' does not vary over 80 rows"),
        ({}, ["b", "b"], {}, "different columns"),
        ({}, [], {}, "at least one"),
        ({}, ["a"], {}, "a is the response and a term"),
        ({}, ["z"], {}, "no column 'z'"),
        ({"b": np.nan}, ["b"], {}, "no row has all of a, b"),
        ({"b": np.inf}, ["b"], {}, "infinite"),
        ({"b": [f"s{i}" for i in range(80)]}, ["b"], {}, "80 complete rows for 79 columns .*b"),
        ({}, ["b"], {"p_enter": 0.2}, "p_remove 0.1 is below p_enter 0.2"),
        ({}, ["b"], {"p_enter": 5}, "p_enter 5 is not between"),
        ({}, ["b"], {"direction": "up"}, "direction 'up'"),
        ({}, ["b"], {"criterion": "cp"}, "criterion 'cp'"),
        ({}, ["b"], {"direction": "forward", "start": "full"}, "starts with the null model"),
    ],
)
def test_bad_input_of_stepwise(frame, change, candidates, kwargs, text):
    with pytest.raises(ValueError, match=f"stepwise: .*{text}"):
        stepwise(frame.assign(**change), "a", candidates, **kwargs)
