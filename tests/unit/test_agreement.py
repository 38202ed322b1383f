"""Agreement: identities, analytic truths and bad input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize, stats

from lungitude.statistics.accuracy import (
    accuracy,
    ccc,
    minimal_detectable_change,
    proportional_bias,
    repeatability,
)
from lungitude.statistics.agreement import bland_altman, icc, variance_components
from lungitude.statistics.bands import SCALES, verbal_band
from lungitude.statistics.categorical import confusion_matrix, weighted_kappa
from lungitude.statistics.crossed import crossed_components
from lungitude.statistics.engines import icc_cross_check
from lungitude.statistics.limits import tolerance_factor

close = np.testing.assert_allclose


def long(table):
    """Ratings of a table of targets by raters, without the missing ones."""
    frame = pd.DataFrame(table).rename_axis("id").reset_index()
    return frame.melt("id", var_name="rater", value_name="score")


@pytest.fixture
def ratings():
    rng = np.random.default_rng(3)
    return rng.normal(size=(20, 1)) * 3 + [0.0, 1.4, -0.9] + rng.normal(size=(20, 3))


@pytest.fixture
def pairs():
    rng = np.random.default_rng(5)
    truth = rng.lognormal(3, 0.4, 30)
    return truth + rng.normal(0.3, 1, 30), truth + rng.normal(0, 1, 30)


# Intraclass correlation


def test_icc_faults_and_missing_rows():
    frame = pd.DataFrame(
        {"id": [1, 1, 2, 2, 3], "rater": list("ababa"), "score": [1.0, 2, 3, 4.5, 9]}
    )
    assert (icc(frame)["n"] == 2).all()
    with pytest.raises(ValueError, match="1 is rated twice by a"):
        icc(pd.concat([frame, frame.head(1)]))
    with pytest.raises(ValueError, match="1 complete targets by 2 raters"):
        icc(frame.iloc[[0, 1, 4]])
    with pytest.raises(ValueError, match="no column 'reader'"):
        icc(frame, raters="reader")
    with pytest.raises(ValueError, match="holds text"):
        icc(frame.assign(score="high"))
    with pytest.raises(ValueError, match="1 infinite"):
        icc(frame.assign(score=[1, 2, 3, np.inf, 4]))
    with pytest.raises(ValueError, match="0 complete targets"):
        icc(frame.assign(score=np.nan))
    with pytest.raises(ValueError, match="missing 'all'"):
        icc(frame, missing="all")


@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_icc_of_ratings_without_variation_is_an_error(offset):
    table = np.add.outer(np.full(5, 0.1), [0.0, offset])
    with pytest.raises(ValueError, match="score has no variation between or within id"):
        icc(long(table))


def test_icc_of_full_agreement_is_1():
    table = icc(long(np.repeat([[0.1], [0.2], [0.7], [0.3]], 3, axis=1)))
    close(table[["icc", "ci_low", "ci_high"]], 1, rtol=1e-12)
    assert (table["p"] < 1e-30).all()
    close(table["sem"], 0, atol=1e-12)


def test_icc_of_a_constant_difference():
    """Consistency is full, agreement is not."""
    table = icc(long(np.array([[1.0, 3], [2, 4], [4, 6], [7, 9]]))).set_index("type")
    close(table.loc["ICC(C,1)", ["icc", "ci_low", "ci_high"]].astype(float), 1)
    assert table.loc["ICC(A,1)", "ci_low"] < table.loc["ICC(A,1)", "icc"] < 0.9


def test_icc_knows_neither_unit_nor_origin(ratings):
    one, two = icc(long(ratings)), icc(long(10 * ratings - 850))
    names = ["icc", "f", "p", "ci_low", "ci_high"]
    close(two[names], one[names], rtol=1e-9)
    close(two[["sem", "mdc95"]], 10 * one[["sem", "mdc95"]])


def test_forms_of_k_raters_are_spearman_brown(ratings):
    table = icc(long(ratings)).set_index("type")
    for form in "1AC":
        one = table.loc[f"ICC({form},1)", ["icc", "ci_low", "ci_high"]].astype(float)
        mean = table.loc[f"ICC({form},k)", ["icc", "ci_low", "ci_high"]].astype(float)
        close(mean, 3 * one / (1 + 2 * one))


def test_icc_by_stratum(ratings):
    frame = long(ratings).assign(gold=lambda f: np.where(f["id"] < 8, "I", "II"))
    table = icc(frame, by="gold")
    assert list(table["gold"].unique()) == ["I", "II"]
    alone = icc(frame[frame["gold"] == "II"])
    both = table[table["gold"] == "II"].drop(columns="gold").reset_index(drop=True)
    pd.testing.assert_frame_equal(both, alone)
    frame.loc[frame["id"] == 0, "gold"] = "IV"
    with pytest.warns(UserWarning, match="gold IV not estimated: icc: 1 complete targets"):
        table = icc(frame, by="gold")
    assert table.loc[table["gold"] == "IV", "icc"].isna().all()
    assert list(table.loc[table["gold"] == "IV", "type"]) == list(alone["type"])
    with pytest.raises(ValueError, match="1 complete targets"):
        icc(frame[frame["id"] == 0], by="gold")


def test_reml_of_complete_ratings_is_the_analysis_of_variance(ratings):
    frame = long(ratings)
    pd.testing.assert_frame_equal(icc(frame), icc(frame, missing="reml"), rtol=1e-8)
    parts = variance_components(frame).set_index("source")["variance"]
    close(crossed_components(ratings), parts[["targets", "raters", "residual"]], rtol=1e-9)


def test_reml_of_incomplete_ratings_is_the_optimum(ratings):
    """The restricted likelihood, written out with the whole covariance, is flat there."""
    ratings[[0, 1, 2, 9], [0, 1, 2, 1]] = np.nan
    known = ~np.isnan(ratings)
    rows, columns = np.nonzero(known)
    y, ones = ratings[known], np.ones((known.sum(), 1))

    def deviance(variances):
        v = variances[0] * (rows[:, None] == rows) + variances[1] * (columns[:, None] == columns)
        v = v + variances[2] * np.eye(len(y))
        inverse = np.linalg.inv(v)
        outer = ones.T @ inverse @ ones
        residual = y - (ones.T @ inverse @ y / outer[0, 0])
        return np.linalg.slogdet(v)[1] + np.log(outer[0, 0]) + residual @ inverse @ residual

    found = np.array(crossed_components(ratings))
    for i in range(3):
        step = np.zeros(3)
        step[i] = 1e-4 * found[i]
        slope = (deviance(found + step) - deviance(found - step)) / 2e-4
        assert abs(slope) < 1e-5
        assert deviance(found + 100 * step) > deviance(found) < deviance(found - 100 * step)
    assert (icc(long(ratings))["n"] == 16).all()
    assert (icc(long(ratings), missing="reml")["n"] == 20).all()


def test_reml_without_rater_effect_and_without_residual():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(15, 1)) + 0.4 * rng.normal(size=(15, 3))
    table -= table.mean(axis=0)
    target, rater, residual = crossed_components(table)
    assert rater < 1e-8 * residual < target
    with pytest.raises(ValueError, match=r"icc: .* leave no residual"):
        icc(long(np.array([[1.0, np.nan], [np.nan, 2.0], [3.0, 4.0]])), missing="reml")
    with pytest.raises(ValueError, match="no variation"):
        icc(long(np.add.outer(np.arange(5.0), [0.0, 1, 3])), missing="reml")


def test_second_engine_is_heard(ratings, monkeypatch):
    frame = long(ratings)
    assert icc_cross_check(frame)["agrees"].all()
    import pingouin

    right = pingouin.intraclass_corr

    def wrong(*args, **named):
        table = right(*args, **named)
        return table.assign(ICC=table["ICC"] + 1e-6)

    monkeypatch.setattr(pingouin, "intraclass_corr", wrong)
    with pytest.raises(ArithmeticError, match=r"icc: ICC\(.* by pingouin"):
        icc_cross_check(frame)
    table = icc_cross_check(frame, stop=False)
    assert not table["agrees"].any()
    close(table["difference"], 1e-6, rtol=1e-6)


# Limits of agreement


def test_bland_altman_leaves_out_missing_pairs():
    row = bland_altman([1.0, 2, np.nan, 4], [1.5, 2, 3, np.nan]).iloc[0]
    assert row["n"] == 2
    with pytest.raises(ValueError, match="1 complete pairs"):
        bland_altman([1.0, np.nan], [1, 2])
    with pytest.raises(ValueError, match="same length"):
        bland_altman([1.0, 2], [1.0])


def test_bland_altman_with_one_pair_a_subject_is_the_plain_one(pairs):
    plain, named = bland_altman(*pairs), bland_altman(*pairs, repeated=np.arange(30))
    pd.testing.assert_frame_equal(plain, named)


def noncentral_t(t, df, shift):
    """Distribution function from the mixture over the numerator, without scipy's nct."""

    def inner(z):
        return stats.norm.pdf(z) * stats.chi2.sf(df * ((z + shift) / t) ** 2, df)

    low = max(-shift, -10)
    value = integrate.quad(inner, low, 10, epsabs=1e-14, epsrel=1e-13, limit=400)[0]
    return value + stats.norm.cdf(-shift)


@pytest.mark.parametrize("n", [2, 3, 12, 120, 369, 1000, 3000, 8000])
def test_exact_limits_of_any_size(n):
    """R loses digits from n of 369 on; here the quantile holds its probability at any size."""
    x = np.linspace(-1, 1, n)
    row = bland_altman(x, np.zeros(n)).iloc[0]
    shift = np.sqrt(n) * stats.norm.ppf(0.975)
    for end, probability in (("low", 0.025), ("high", 0.975)):
        t = (row[f"loa_high_ci_{end}"] - row["bias"]) / row["sd"] * np.sqrt(n)
        close(noncentral_t(t, n - 1, shift), probability, rtol=1e-10)


@pytest.mark.parametrize("n", [2, 5, 40, 700])
@pytest.mark.parametrize("confidence", [0.025, 0.975])
def test_tolerance_factor_holds_its_share(n, confidence):
    """By another integral: over the SD too, with the half width found by a root search."""
    k = tolerance_factor(n, confidence, 0.9)

    def inner(z):
        mean = z / np.sqrt(n)
        half = optimize.brentq(
            lambda r: stats.norm.cdf(mean + r) - stats.norm.cdf(mean - r) - 0.9, 0, 30, xtol=1e-14
        )
        return 2 * stats.norm.pdf(z) * stats.chi2.sf((n - 1) * (half / k) ** 2, n - 1)

    close(integrate.quad(inner, 0, 9, epsrel=1e-11)[0], confidence, rtol=1e-8)


def test_limits_of_large_samples_meet(pairs):
    """All methods tend to the same interval, and none misses the limit."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=20000)
    widths = {}
    for method in ("exact", "exact-pair", "approx1999"):
        row = bland_altman(x, 0 * x, method=method).iloc[0]
        assert row["loa_high_ci_low"] < row["loa_high"] < row["loa_high_ci_high"]
        widths[method] = row["loa_high_ci_high"] - row["loa_high_ci_low"]
    close(widths["exact"], widths["approx1999"], rtol=1e-3)
    assert widths["exact-pair"] < widths["exact"]


def test_scales(pairs):
    x, y = pairs
    ratio, logs = bland_altman(x, y, scale="ratio"), bland_altman(np.log(x), np.log(y))
    close(np.log(ratio["loa_low_ci_low"]), logs["loa_low_ci_low"])
    close(ratio[["sd", "p"]], logs[["sd", "p"]])
    percent = bland_altman(x, y, scale="percent")
    close(percent["bias"], np.mean(200 * (x - y) / (x + y)))
    close(bland_altman(7 * x, 7 * y, scale="percent")["loa_high"], percent["loa_high"])
    with pytest.raises(ValueError, match="2 values are not above 0"):
        bland_altman([1.0, 0, 2], [1.0, 2, -1], scale="ratio")
    with pytest.raises(ValueError, match="1 pairs have no mean above 0"):
        bland_altman([1.0, 0, 2], [1.0, 2, -3], scale="percent")


def test_replicates_of_a_constant_true_value():
    """With one value each it is the plain analysis; a missing x does not drop its y."""
    rng = np.random.default_rng(4)
    subject = np.repeat(np.arange(12), 3)
    x, y = (rng.normal(size=12)[subject] + rng.normal(0, 0.5, 36) for _ in range(2))
    row = bland_altman(x, y, repeated=subject, true_value="constant").iloc[0]
    frame = pd.DataFrame({"s": subject, "x": x, "y": y}).groupby("s")
    difference = (frame["x"].mean() - frame["y"].mean()).to_numpy()
    within = frame["x"].var().mean() + frame["y"].var().mean()
    close(row["bias"], difference.mean())
    close(row["sd"] ** 2, difference.var(ddof=1) + 2 / 3 * within)
    close(row["sd_within"] ** 2, within)
    assert (row["n"], row["n_subjects"]) == (12, 12)
    once = bland_altman(x[::3], y[::3], repeated=subject[::3], true_value="constant").iloc[0]
    plain = bland_altman(x[::3], y[::3]).iloc[0]
    for name in ("n", "bias", "bias_ci_low", "sd", "sd_ci_low", "loa_low", "statistic", "p"):
        close(once[name], plain[name])
    x[1] = np.nan
    again = bland_altman(x, y, repeated=subject, true_value="constant").iloc[0]
    gone = bland_altman(
        np.delete(x, 1), np.delete(y, 1), repeated=np.delete(subject, 1), true_value="constant"
    ).iloc[0]
    assert again["sd"] != gone["sd"]
    with pytest.raises(ValueError, match="percent of their mean has no meaning"):
        bland_altman(x, y, repeated=subject, true_value="constant", scale="percent")


def test_bland_altman_faults():
    with pytest.warns(UserWarning, match="all differences are equal"):
        row = bland_altman([1.0, 2, 3], [0.0, 1, 2]).iloc[0]
    assert (row["bias"], row["loa_low"], row["loa_high_ci_high"]) == (1, 1, 1)
    assert np.isnan(row["p"])
    with pytest.raises(ValueError, match="one subject only"):
        bland_altman([1.0, 2, 3], [1.0, 3, 1], repeated=["A", "A", "A"])
    with pytest.raises(ValueError, match="method 'bootstrap'"):
        bland_altman([1.0, 2], [1.0, 3], method="bootstrap")
    with pytest.raises(ValueError, match="'x' holds text"):
        bland_altman(["a", "b"], [1.0, 3])
    with pytest.raises(ValueError, match="'y' holds 1 infinite"):
        bland_altman([1.0, 2], [1.0, np.inf])
    with pytest.raises(ValueError, match="2 dimensions"):
        bland_altman(np.ones((2, 2)), [1.0, 2])
    with pytest.raises(ValueError, match="confidence 95"):
        bland_altman([1.0, 2], [1.0, 3], confidence=95)
    with pytest.raises(ValueError, match="0 complete pairs"):
        bland_altman([np.nan, np.nan], [1.0, 3])


def test_strata_of_arrays(pairs):
    x, y = pairs
    gold = pd.Series(np.tile(["II", "I", "IV"], 10), name="GOLD")
    for function in (bland_altman, proportional_bias, repeatability, ccc, accuracy):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = function(x, y, by=gold)
        assert list(table["GOLD"]) == ["I", "II", "IV"]
        alone = function(x[gold == "IV"], y[gold == "IV"])
        pd.testing.assert_frame_equal(table.iloc[2:, 1:].reset_index(drop=True), alone)
        only = gold.mask(gold == "IV").where(gold.index != 2, "IV")
        with pytest.warns(UserWarning, match="GOLD IV not estimated"):
            table = function(x, np.where(only == "IV", np.nan, y), by=only)
        assert (
            table.drop(columns=["GOLD", "n"])
            .iloc[2]
            .drop("method", errors="ignore")
            .map(lambda value: value == 0 or np.isnan(value))
            .all()
        )
        assert table["n"].iloc[2] == 0
    subject = np.tile(np.arange(6), 5)
    table = bland_altman(x, y, repeated=subject, by=np.repeat(["a", "b"], 15))
    alone = bland_altman(x[15:], y[15:], repeated=subject[15:])
    pd.testing.assert_frame_equal(table.iloc[1:, 1:].reset_index(drop=True), alone)
    assert table.columns[0] == "stratum"
    with pytest.raises(ValueError, match="same length"):
        bland_altman(x, y, by=gold[:5])


def test_proportional_bias_is_found():
    mean = np.arange(10.0, 30)
    noise = np.tile([0.1, -0.1, -0.1, 0.1], 5)  # orthogonal to a line
    row = proportional_bias(mean * 1.1 + noise / 2, mean * 0.9 - noise / 2).iloc[0]
    close(row["slope"], 0.2, atol=1e-3)
    assert row["ci_low"] < 0.2 < row["ci_high"]
    with pytest.raises(ValueError, match="2 complete pairs"):
        proportional_bias([1.0, 2], [2.0, 3])
    with pytest.raises(ValueError, match="all equal"):
        proportional_bias([1.0, 2, 3], [3.0, 2, 1])


# Repeatability, concordance, errors


def test_repeatability_of_pairs_and_of_long_data_is_the_same(pairs):
    x, y = pairs
    wide = repeatability(x, y)
    tall = repeatability(np.r_[x, y], subject=np.tile(np.arange(30), 2))
    names = [name for name in wide if name != "within_sd_bias_removed"]
    pd.testing.assert_frame_equal(wide[names], tall[names])
    close(wide["within_sd"], np.sqrt(np.mean((x - y) ** 2) / 2))
    close(wide["rc"], minimal_detectable_change(wide["within_sd"]))
    x[0] = np.nan
    assert repeatability(x, y)["n"][0] == 29
    tall = repeatability(np.r_[x, y], subject=np.tile(np.arange(30), 2))
    assert tall["n"][0] == 29  # the subject with one value is left out


def test_repeatability_of_unequal_counts():
    values, subject = [1.0, 2, 4, 4, 6, 9], ["a", "a", "b", "b", "b", "c"]
    row = repeatability(values, subject=subject).iloc[0]
    squares = 0.5 + (2 / 3) ** 2 * 2 + (4 / 3) ** 2
    assert (row["n"], row["df"]) == (2, 3)
    close(row["within_sd"], np.sqrt(squares / 3))
    assert row["rc_ci_low"] < row["rc"] < row["rc_ci_high"]
    with pytest.raises(ValueError, match=r"either y .* or subject"):
        repeatability(values)
    with pytest.raises(ValueError, match="no subject with 2 values"):
        repeatability([1.0, 2], subject=["a", "b"])
    with pytest.warns(UserWarning, match="1 values are not above 0"):
        assert np.isnan(repeatability([1.0, 0], [2.0, 3])["cv_log"][0])


def test_minimal_detectable_change():
    close(minimal_detectable_change(1.0), 2.7718, atol=1e-4)
    close(minimal_detectable_change([1.0, 2.0], 0.9), 1.6448536 * np.sqrt(2) * np.array([1, 2]))
    with pytest.raises(ValueError, match="negative"):
        minimal_detectable_change(-1)


def test_concordance_is_1_only_for_equality(pairs):
    x, y = pairs
    full = ccc(x, x).iloc[0]
    close(full[["ccc", "ci_low", "ci_high", "bias_correction"]].astype(float), 1)
    shifted = ccc(x, x + 2 * x.std()).iloc[0]
    close(shifted["ccc"], 2 / (2 + 4))
    close(shifted["r"], 1)
    close(ccc(x, y)["ccc"], ccc(y, x)["ccc"])
    assert np.isfinite(ccc([1.0, 2, 1, 2], [1.0, 1, 2, 2]).to_numpy()).all()  # r of 0
    with pytest.raises(ValueError, match="y is constant"):
        ccc([1.0, 2, 3], [2.0, 2, 2])
    with pytest.raises(ValueError, match="2 complete pairs"):
        ccc([1.0, 2, np.nan], [2.0, 2, 2])


def test_concordance_interval_covers():
    rng = np.random.default_rng(8)
    truth = 2 * 0.8 / (2 + 0.3**2)
    inside = 0
    for _ in range(400):
        x, y = rng.multivariate_normal([0, 0.3], [[1, 0.8], [0.8, 1]], 60).T
        row = ccc(x, y).iloc[0]
        inside += row["ci_low"] < truth < row["ci_high"]
    assert 0.92 < inside / 400 < 0.98


def test_accuracy_by_hand():
    row = accuracy([2.0, 4, 7, 8], [1.0, 5, 5, 10]).iloc[0]
    close(row["bias"], 0, atol=1e-15)
    close([row["mae"], row["rmse"]], [1.5, np.sqrt(10 / 4)])
    close(row["mape"], 100 * np.mean([1, 1 / 5, 2 / 5, 2 / 10]))
    reference = np.array([1.0, 5, 5, 10])
    close(row["r2"], 1 - 10 / np.sum((reference - reference.mean()) ** 2))
    assert row["r2"] < row["r"] ** 2
    assert np.isnan(row["mae_ci_low"])
    assert accuracy([5.0, 1, 9], [1.0, 2, 3])["r2"][0] < 0


def test_accuracy_bootstrap_is_the_same_each_time(pairs):
    one, two = (accuracy(*pairs, resamples=300, seed=4) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    for name in ("mae", "mape", "rmse"):
        assert one[f"{name}_ci_low"][0] < one[name][0] < one[f"{name}_ci_high"][0]
    assert accuracy(*pairs, resamples=300, seed=5)["mae_ci_low"][0] != one["mae_ci_low"][0]


def test_accuracy_faults():
    with pytest.warns(UserWarning, match="2 reference values are 0"):
        row = accuracy([1.0, 2, 3, 4], [0.0, 0, 3, 5]).iloc[0]
    assert np.isnan(row["mape"])
    assert np.isfinite(row["mae"])
    with pytest.raises(ValueError, match="reference is constant"):
        accuracy([1.0, 2, 3], [2.0, 2, 2])
    with pytest.warns(UserWarning, match="measured is constant"):
        assert np.isnan(accuracy([2.0, 2, 2], [1.0, 2, 3])["r"][0])


# Categories


def test_kappa_of_two_categories_has_no_weights():
    a, b = np.tile([0, 0, 1, 1, 0, 1], 5), np.tile([0, 1, 1, 1, 0, 0], 5)
    rows = [weighted_kappa(a, b, weights) for weights in ("unweighted", "linear", "quadratic")]
    for row in rows[1:]:
        pd.testing.assert_frame_equal(row, rows[0])
    close(rows[0]["kappa"], (4 / 6 - 1 / 2) / (1 / 2))


def test_quadratic_kappa_is_the_icc():
    """Fleiss & Cohen 1973: with moments divided by n it is Lin's concordance of the places."""
    rng = np.random.default_rng(6)
    a = rng.integers(0, 4, 80)
    b = np.clip(a + rng.integers(-1, 2, 80), 0, 3)
    close(weighted_kappa(a, b, "quadratic")["kappa"], ccc(a, b)["ccc"])


def test_order_and_number_of_categories_count():
    a, b = ["low", "low", "medium", "high", "high"], ["low", "medium", "medium", "high", "low"]
    order = ["low", "medium", "high"]
    declared = weighted_kappa(pd.Categorical(a, order), pd.Categorical(b, order))
    pd.testing.assert_frame_equal(declared, weighted_kappa(a, b, labels=order))
    by_alphabet = weighted_kappa(a, b)  # high, low, medium
    assert declared["kappa"][0] != by_alphabet["kappa"][0]
    pd.testing.assert_frame_equal(
        by_alphabet, weighted_kappa(a, b, labels=["high", "low", "medium"])
    )
    # A declared category without any rating widens the scale, and so lessens each step.
    wider = weighted_kappa(a, b, labels=["none", *order])
    assert wider["observed"][0] > declared["observed"][0]
    gold = weighted_kappa(["I", "II", "IV", "III"], ["I", "III", "IV", "III"])
    pd.testing.assert_frame_equal(gold, weighted_kappa([1, 2, 4, 3], [1, 3, 4, 3]))


def test_own_weights():
    a, b = [1, 2, 3, 1, 2, 3, 2], [1, 2, 2, 1, 3, 3, 1]
    linear = 1 - np.abs(np.subtract.outer(range(3), range(3))) / 2
    pd.testing.assert_frame_equal(weighted_kappa(a, b), weighted_kappa(a, b, linear))
    with pytest.raises(ValueError, match=r"shape \(2, 2\); 3 by 3"):
        weighted_kappa(a, b, np.eye(2))
    with pytest.raises(ValueError, match="weights 'cubic'"):
        weighted_kappa(a, b, "cubic")


def test_kappa_faults():
    row = weighted_kappa([1, 2, 3], [1, 2, 3]).iloc[0]
    assert (row["kappa"], row["se"], row["ci_low"]) == (1, 0, 1)
    with pytest.raises(ValueError, match="one category"):
        weighted_kappa([1, 1], [1, 1])
    with pytest.raises(ValueError, match="one category only"):
        weighted_kappa([1, 1], [1, 1], labels=[1, 2])
    with pytest.raises(ValueError, match="a holds 5, which is none of 1, 2"):
        weighted_kappa([1, 5], [1, 2], labels=[1, 2])
    with pytest.raises(ValueError, match=r"categories of a .* differ"):
        weighted_kappa(pd.Categorical(["x", "y"]), pd.Categorical(["y", "z"]))
    with pytest.raises(ValueError, match="text and numbers are mixed"):
        weighted_kappa(["a", "b"], [1, 2])
    with pytest.raises(ValueError, match="all values are missing"):
        weighted_kappa([None, None], [None, None])
    with pytest.raises(ValueError, match="same length"):
        weighted_kappa([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="category twice"):
        weighted_kappa([1, 2], [1, 2], labels=[1, 1, 2])
    assert weighted_kappa([1, 2, None, 2], [1, 2, 2, 1])["n"][0] == 3


def test_kappa_by_stratum_keeps_the_categories():
    a, b = [1, 2, 3, 1, 2, 2], [1, 3, 3, 1, 2, 1]
    table = weighted_kappa(a, b, by=["x"] * 3 + ["y"] * 3)
    alone = weighted_kappa(a[3:], b[3:], labels=[1, 2, 3])
    pd.testing.assert_frame_equal(table.iloc[1:, 1:].reset_index(drop=True), alone)


def test_confusion_by_hand():
    a = ["yes"] * 8 + ["no"] * 12
    b = ["yes"] * 6 + ["no"] * 2 + ["yes"] + ["no"] * 11
    found = confusion_matrix(a, b, labels=["no", "yes"])
    assert found.table["n"].tolist() == [11, 1, 2, 6]
    classes = found.classes.set_index(["label", "measure"])
    expected = {"sensitivity": (6, 7), "specificity": (11, 13), "ppv": (6, 8), "npv": (11, 12)}
    for measure, (count, n) in expected.items():
        row = classes.loc[("yes", measure)]
        close(row[["estimate", "count", "n"]].astype(float), [count / n, count, n])
        low, high = stats.binomtest(count, n).proportion_ci(method="wilson")
        close(row[["ci_low", "ci_high"]].astype(float), [low, high])
        other = {"sensitivity": "specificity", "specificity": "sensitivity", "ppv": "npv"}
        other = other.get(measure, "ppv")
        assert classes.loc[("no", other), "estimate"] == row["estimate"]
    overall = found.overall.iloc[0]
    close(overall[["accuracy", "statistic", "df"]], [17 / 20, 1 / 3, 1])


def test_confusion_of_a_class_that_is_missing():
    with pytest.warns(UserWarning, match="sensitivity of 3, ppv of 3"):
        found = confusion_matrix([1, 2, 2], [1, 2, 1], labels=[1, 2, 3])
    classes = found.classes.set_index(["label", "measure"])
    assert np.isnan(classes.loc[(3, "sensitivity"), "estimate"])
    assert classes.loc[(3, "specificity"), "estimate"] == 1
    same = confusion_matrix([1, 2, 2], [1, 2, 2]).overall.iloc[0]
    assert (same["accuracy"], same["df"]) == (1, 0)
    assert np.isnan(same["p"])
    with pytest.raises(ValueError, match="no complete pair"):
        confusion_matrix([1, None], [None, 2])
    with pytest.warns(UserWarning, match="sensitivity of 1"):  # in v no reference is 1
        by = confusion_matrix([1, 2, 1, 2], [1, 2, 2, 2], by=["u", "u", "v", "v"])
    assert by.overall["accuracy"].tolist() == [1, 0.5]
    assert list(by.table.columns) == ["stratum", "a", "b", "n"]
    assert len(by.classes) == 16


# Words


@pytest.mark.parametrize(
    ("value", "scale", "word"),
    [
        (0.4999, "icc", "poor"),
        (0.5, "icc", "moderate"),
        (0.75, "icc", "good"),
        (0.9, "icc", "good"),  # excellent is "greater than 0.90"
        (0.9001, "icc", "excellent"),
        (-0.2, "icc", "poor"),
        (-0.01, "kappa", "poor"),
        (0, "kappa", "slight"),
        (0.2, "kappa", "slight"),
        (0.21, "kappa", "fair"),
        (0.61, "kappa", "substantial"),
        (0.81, "kappa", "almost perfect"),
        (0.61, "kappa_kundel", "good"),
        (-0.62, "r", "moderate"),
        (0.4, "r", "moderate"),
        (0.05, "r", "negligible"),
        (0.95, "r", "very strong"),
        (-0.62, "r_evans", "strong"),
        (np.nan, "r", ""),
    ],
)
def test_bands(value, scale, word):
    assert verbal_band(value, scale) == word


def test_bands_of_an_interval():
    assert verbal_band(0.84, "icc", interval=(0.62, 0.93)) == "moderate to excellent"
    assert verbal_band(0.84, "icc", interval=(0.8, 0.88)) == "good"
    assert verbal_band(-0.5, "r", interval=(-0.75, -0.2)) == "weak to strong"
    assert verbal_band(0.1, "r", interval=(-0.2, 0.45)) == "negligible to moderate"


def test_bands_as_data():
    own = {"source": "protocol", "limits": [0.8], "labels": ["no", "yes"]}
    assert verbal_band(0.8, own) == "yes"
    assert verbal_band(0.8, own | {"at_limit": "below"}) == "no"
    assert all(scale["source"] for scale in SCALES.values())
    for fault, text in (
        ({"labels": ["one"]}, "one label more"),
        ({"limits": [0.8, 0.5], "labels": list("abc")}, "ascending"),
        ({"source": ""}, "has no source"),
        ({"at_limit": ["above", "below"]}, "at_limit"),
    ):
        with pytest.raises(ValueError, match=text):
            verbal_band(0.5, own | fault)
    with pytest.raises(ValueError, match="scale 'iccc' is not one of"):
        verbal_band(0.5, "iccc")
    with pytest.raises(ValueError, match="beyond 1"):
        verbal_band(-1.2, "r")
    with pytest.raises(ValueError, match="no number"):
        verbal_band("0.5", "r")
