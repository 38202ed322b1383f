"""Agreement, reliability, kappa against R and published tables. Relative tolerance 1e-9."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.accuracy import accuracy, ccc, proportional_bias, repeatability
from lungitude.statistics.agreement import bland_altman, icc, variance_components
from lungitude.statistics.categorical import confusion_matrix, weighted_kappa
from lungitude.statistics.engines import icc_cross_check
from lungitude.statistics.limits import tolerance_factor

ICC = {
    "shrout_fleiss": ("icc_shrout_fleiss_long", "target", "judge"),
    "readers": ("icc_readers_long", "scan", "reader"),
    "readers_missing": ("icc_readers_missing_long", "scan", "reader"),
}
COMPLETE = [*ICC, "test_retest"]
PSYCH = {
    "ICC(1,1)": "ICC1",
    "ICC(A,1)": "ICC2",
    "ICC(C,1)": "ICC3",
    "ICC(1,k)": "ICC1k",
    "ICC(A,k)": "ICC2k",
    "ICC(C,k)": "ICC3k",
}
SINGLE = ["difference", "small_n", "log_ratio", "percent_difference"]


def close(ours, theirs, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=rtol, atol=atol
    )


def ratings(case, data):
    if case == "test_retest":
        return data("bland_altman").melt("id", value_name="score"), "id", "variable"
    name, *keys = ICC[case]
    return data(name), *keys


@pytest.mark.parametrize("case", COMPLETE)
def test_icc(case, data, reference):
    want = reference("icc")[case]
    want = want.get("direct") or want["direct_complete_cases"]
    frame, *keys = ratings(case, data)
    table = icc(frame, *keys, "score")
    for _, row in table.iterrows():
        name = {"ICC(1,1)": "ICC(1)", "ICC(1,k)": "ICC(k)"}.get(row["type"], row["type"])
        theirs = want["forms"][name]
        close(
            row[["icc", "f", "df1", "df2", "p", "ci_low", "ci_high"]],
            [theirs[key] for key in ("estimate", "f", "df1", "df2", "p", "lower", "upper")],
        )
    by_type = table.set_index("type")
    for form, kind in (("ICC(A,1)", "agreement"), ("ICC(C,1)", "consistency")):
        close(by_type.loc[form, ["sem", "mdc95"]], [want[f"sem_{kind}"], want[f"mdc95_{kind}"]])
    parts = variance_components(frame, *keys, "score").set_index("source")
    close(
        parts.loc[["targets", "raters", "residual", "within"], "ms"],
        [want[key] for key in ("msr", "msc", "mse", "msw")],
    )
    assert (by_type["n"] == want["n"]).all()
    assert parts.loc["raters", "df"] == want["k"] - 1


@pytest.mark.parametrize("case", COMPLETE)
def test_icc_of_psych(case, data, reference):
    want = reference("icc")[case]
    theirs = pd.DataFrame(want.get("psych_anova") or want["psych_anova_complete_cases"])
    frame, *keys = ratings(case, data)
    ours = icc(frame, *keys, "score").set_index("type")
    theirs = theirs.set_index("type").loc[[PSYCH[form] for form in ours.index]]
    columns = ["ICC", "f", "df1", "df2", "p", "lower", "upper"]
    close(ours[["icc", "f", "df1", "df2", "p", "ci_low", "ci_high"]], theirs[columns])


@pytest.mark.parametrize("case", COMPLETE)
def test_icc_from_variance_components(case, data, reference):
    """REML of all ratings. lmer stops its search at about 1e-6, and p magnifies that."""
    want = reference("icc")[case]
    theirs = pd.DataFrame(want.get("psych_lmer") or want["psych_lmer_all_rows"])
    frame, *keys = ratings(case, data)
    ours = icc(frame, *keys, "score", missing="reml").set_index("type")
    theirs = theirs.set_index("type").loc[[PSYCH[form] for form in ours.index]]
    close(
        ours[["icc", "f", "df1", "df2", "ci_low", "ci_high"]],
        theirs[["ICC", "f", "df1", "df2", "lower", "upper"]],
        rtol=2e-5,
    )
    close(ours["p"], theirs["p"], rtol=3e-4, atol=0)
    if case in ("shrout_fleiss", "readers"):  # complete, no negative component: REML is the ANOVA
        exact = icc(frame, *keys, "score").set_index("type")
        close(ours[list(exact)], exact)


def test_icc_of_wine(data):
    """Values that pingouin's tests have from R psych, at their two digits."""
    table = icc(data("icc_wine"), "Wine", "Judge", "Scores")
    assert list(table["icc"].round(2)) == [0.73, 0.73, 0.73, 0.91, 0.91, 0.92]
    close(table["icc"], [0.7275, 0.7277, 0.7295, 0.9144, 0.9145, 0.9152], rtol=0, atol=5e-5)


@pytest.mark.parametrize("case", [*COMPLETE, "wine"])
def test_icc_of_pingouin_is_the_same(case, data):
    pingouin = pytest.importorskip("pingouin")
    if case == "wine":
        frame = data("icc_wine").rename(columns={"Wine": "id", "Judge": "r", "Scores": "score"})
        keys = "id", "r"
    else:
        frame, *keys = ratings(case, data)
    table = icc_cross_check(frame, *keys, "score", tolerance=1e-12)
    assert table["agrees"].all()
    assert table["icc_pingouin"].notna().all()
    assert pingouin.options["round.column.CI95"] == 2  # as it was


def sample(case, data):
    pairs = data("bland_altman")[["test", "retest"]]
    if case == "small_n":
        pairs = pairs[:12]
    return np.log(pairs) if case == "log_ratio" else pairs


def row_of(case, data, **options):
    pairs = sample(case, data)
    scale = "percent" if case == "percent_difference" else "difference"
    return bland_altman(pairs["test"], pairs["retest"], scale=scale, **options).iloc[0]


def limits(row):
    return row[["loa_low_ci_low", "loa_low_ci_high", "loa_high_ci_low", "loa_high_ci_high"]]


@pytest.mark.parametrize("case", SINGLE)
def test_bland_altman(case, data, reference):
    want, row = reference("bland_altman")[case], row_of(case, data)
    assert row["n"] == want["n"]
    close(
        row[["bias", "sd", "loa_low", "loa_high", "statistic", "p"]],
        [want[key] for key in ("bias", "sd", "loa_lower", "loa_upper", "t", "p")],
    )
    close(row[["bias_ci_low", "bias_ci_high"]], want["bias_ci"])
    close(limits(row), [*want["exact_ci_lower"], *want["exact_ci_upper"]])
    close((limits(row)[2:] - row["bias"]) / row["sd"], want["exact_factors"])
    close((row["loa_high"] - row["bias"]) / row["sd"], want["multiplier"])


@pytest.mark.parametrize(("case", "year"), list(itertools.product(SINGLE, ["1999", "1986"])))
def test_approximate_limits(case, year, data, reference):
    want, row = reference("bland_altman")[case], row_of(case, data, method=f"approx{year}")
    close(limits(row), [*want[f"approx{year}_ci_lower"], *want[f"approx{year}_ci_upper"]])
    width = row["loa_high_ci_high"] - row["loa_high"]
    t = (row["bias_ci_high"] - row["bias"]) / (row["sd"] / np.sqrt(row["n"]))
    close(width / t, want[f"approx{year}_se"])


@pytest.mark.parametrize("case", SINGLE)
def test_limits_as_a_pair(case, data, reference):
    want, row = reference("bland_altman")[case], row_of(case, data, method="exact-pair")
    inner, outer = want["carkeet_pair_factors"]
    # R integrates to 1e-11 and searches the root to 1e-12.
    close([tolerance_factor(want["n"], 0.025), tolerance_factor(want["n"], 0.975)], [inner, outer])
    close((limits(row) - row["bias"]) / row["sd"], [-outer, -inner, inner, outer])


def test_ratio_scale(data, reference):
    want, pairs = reference("bland_altman")["ratio_scale"], data("bland_altman")
    row = bland_altman(pairs["test"], pairs["retest"], scale="ratio").iloc[0]
    close(row["bias"], want["bias_ratio"])
    close(row[["loa_low", "loa_high"]], want["loa_ratio"])
    close(row[["bias_ci_low", "bias_ci_high"]], want["bias_ratio_ci"])
    close(limits(row), [*want["loa_ratio_exact_ci_lower"], *want["loa_ratio_exact_ci_upper"]])
    close(row["sd"], reference("bland_altman")["log_ratio"]["sd"])


def test_bland_altman_repeated(data, reference):
    want = reference("bland_altman")["repeated_pairs_true_value_varies"]
    pairs = data("bland_altman_repeated")
    row = bland_altman(pairs["x"], pairs["y"], repeated=pairs["id"]).iloc[0]
    close(
        row[["n", "n_subjects", "bias", "sd", "loa_low", "loa_high"]],
        [
            want[key]
            for key in ("n_pairs", "n_subjects", "bias", "sd_total", "loa_lower", "loa_upper")
        ],
    )
    within, between = row["sd_within"] ** 2, row["sd_between"] ** 2
    close([within, between], [want["var_within"], want["var_between"]])
    close(between * want["m0"] + within, want["ms_between"])
    close(within, want["ms_within"])
    # Patients with several pairs tell less than as many patients with one pair each.
    alone = bland_altman(pairs["x"], pairs["y"]).iloc[0]
    close(
        alone[["sd", "loa_low", "loa_high"]],
        [want["naive"][key] for key in ("sd", "loa_lower", "loa_upper")],
    )
    for name in ("bias", "loa_low", "loa_high"):
        width = row[f"{name}_ci_high"] - row[f"{name}_ci_low"]
        assert width > alone[f"{name}_ci_high"] - alone[f"{name}_ci_low"]


def test_cardiac_output_of_bland_and_altman(data):
    """J Biopharm Stat 2007;17:571, printed to 7 digits, limits by 1.96."""
    pairs = data("bland_altman_2007_cardiac")
    row = bland_altman(pairs["rv"], pairs["ic"], repeated=pairs["id"]).iloc[0]
    close(
        [row["bias"], row["sd_within"] ** 2, row["sd"] ** 2, row["sd"]],
        [0.6021667, 0.170714026, 0.98133606, 0.99062408],
        rtol=3e-7,
    )
    close(row[["loa_low", "loa_high"]], [-1.3394565, 2.5437899], rtol=0, atol=5e-5)
    row = bland_altman(pairs["rv"], pairs["ic"], repeated=pairs["id"], true_value="constant").iloc[
        0
    ]
    close(
        [row["sd_within"] ** 2, row["bias"], row["sd"]],
        [0.107227795 + 0.137874069, 0.7092361, 1.0518506],
        rtol=3e-7,
    )
    # The paper puts these limits about the mean of all pairs; here as in Zou 2013 about the mean of
    # the subjects' differences, which is what the variance belongs to.
    shift = 0.6021667 - row["bias"]
    close(row[["loa_low", "loa_high"]] + shift, [-1.4594605, 2.6637939], rtol=0, atol=5e-5)


def test_intervals_of_zou(data):
    """Stat Methods Med Res 2013;22:630: four subjects, constant true value, two readings unpaired.

    As SimplyAgree's tests have it, to two digits.
    """
    pairs = data("bland_altman_2007_cardiac").query("id <= 4")
    y = pairs["ic"].mask(pairs.index.isin([4, 8]))
    row = bland_altman(pairs["rv"], y, repeated=pairs["id"], true_value="constant").iloc[0]
    close(row[["loa_low", "loa_high"]], [-2.23, 3.66], rtol=0, atol=5e-3)
    close(limits(row), [-9.77, -0.48, 1.91, 11.20], rtol=0, atol=5e-3)


def test_proportional_bias(data, reference):
    want, pairs = reference("bland_altman")["proportional_bias"], data("bland_altman")
    row = proportional_bias(pairs["test"], pairs["retest"]).iloc[0]
    for ours, theirs in (
        ("intercept", "intercept"),
        ("slope", "slope"),
        ("se", "slope_se"),
        ("p", "slope_p"),
        ("residual_sd", "residual_sd"),
        ("abs_residual_intercept", "abs_residual_intercept"),
        ("abs_residual_slope", "abs_residual_slope"),
        ("abs_residual_p", "abs_residual_slope_p"),
        ("r", "correlation_diff_mean"),
    ):
        close(row[ours], want[theirs])
    close(row[["ci_low", "ci_high"]], want["slope_ci"])


@pytest.mark.parametrize("case", ["difference", "small_n", "log_ratio"])
def test_repeatability(case, data, reference):
    want, pairs = reference("bland_altman")[case], sample(case, data)
    row = repeatability(pairs["test"], pairs["retest"]).iloc[0]
    close(
        row[["within_sd", "rc", "within_sd_bias_removed"]],
        [want["repeatability"][key] for key in ("within_sd", "rc", "within_sd_bias_removed")],
    )
    close(row[["rc_ci_low", "rc_ci_high"]], want["exact_rc_ci"])


def test_repeatability_in_percent(data, reference):
    """The case of percent differences is that of pairs (d, 0)."""
    want, pairs = reference("bland_altman")["percent_difference"], data("bland_altman")
    d = 100 * (pairs["test"] - pairs["retest"]) / pairs[["test", "retest"]].mean(axis=1)
    with pytest.warns(UserWarning, match="not above 0"):
        row = repeatability(d, 0 * d).iloc[0]
    close(
        row[["within_sd", "rc", "within_sd_bias_removed"]],
        [want["repeatability"][key] for key in ("within_sd", "rc", "within_sd_bias_removed")],
    )
    close(row[["rc_ci_low", "rc_ci_high"]], want["exact_rc_ci"])


def test_within_subject_cv(data, reference):
    want, pairs = reference("bland_altman")["within_subject_cv"], data("bland_altman")
    row = repeatability(pairs["test"], pairs["retest"]).iloc[0]
    close(
        row[["cv_rms", "cv_log", "cv_mean"]],
        [want[key] for key in ("rms", "log_method", "sd_over_mean")],
    )


def test_concordance(data, reference):
    want, pairs = reference("bland_altman")["lins_ccc"], data("bland_altman")
    row = ccc(pairs["test"], pairs["retest"]).iloc[0]
    close(
        row[["ccc", "r", "bias_correction", "z_se", "ci_low", "ci_high"]],
        [want[key] for key in ("ccc", "pearson", "bias_correction", "z_se", "lower", "upper")],
    )


def test_peak_flow_of_bland_and_altman(data):
    """Lancet 1986: mean difference -2.1, SD 38.8, limits by 2 SD -79.7 and 75.5 l/min.

    The paper takes its limits from the rounded -2.1 and 38.8, hence the tolerance of 0.1.
    """
    pefr = data("bland_altman_1986_pefr")
    row = bland_altman(pefr["w_pefr1"], pefr["mw_pefr1"]).iloc[0]
    assert (row["n"], round(row["bias"], 1), round(row["sd"], 1)) == (17, -2.1, 38.8)
    close([row["bias"], row["sd"]], [-2.1176, 38.7651], rtol=0, atol=5e-5)
    twice = [row["bias"] - 2 * row["sd"], row["bias"] + 2 * row["sd"]]
    close(twice, [-79.648, 75.413], rtol=0, atol=5e-4)
    close(twice, [-79.7, 75.5], rtol=0, atol=0.1)
    # Reference has 1.96 SD, here the normal quantile.
    close(row[["loa_low", "loa_high"]], [-78.097, 73.862], rtol=0, atol=2e-3)
    for meter, sd in (("w", 21.724), ("mw", 28.872)):
        repeats = pefr[f"{meter}_pefr1"], pefr[f"{meter}_pefr2"]
        close(bland_altman(*repeats)["sd"][0], sd, rtol=0, atol=5e-4)
        close(repeatability(*repeats)["within_sd_bias_removed"][0], sd / 2**0.5, rtol=0, atol=5e-4)


@pytest.mark.parametrize("weights", ["unweighted", "linear", "quadratic"])
def test_kappa(weights, data, reference):
    cases, frame = reference("kappa"), data("kappa_ratings")
    want = cases[weights]
    row = weighted_kappa(frame["reader1"], frame["reader2"], weights).iloc[0]
    close(
        row[["kappa", "se", "ci_low", "ci_high", "se0", "statistic", "observed", "expected"]],
        [
            want[key]
            for key in ("kappa", "se", "lower", "upper", "se0", "z", "observed", "expected")
        ],
    )
    close(row["p"], want["p"], rtol=1e-8, atol=0)
    assert row["n"] == 150
    if weights == "unweighted":
        close(row["se"] ** 2, cases["psych_unweighted"]["var"])
        close(row[["ci_low", "kappa", "ci_high"]], cases["psych_unweighted"]["confid"])
        return
    close(
        row[["kappa", "se", "ci_low", "ci_high"]],
        [cases[f"vcd_{weights}"][key] for key in ("kappa", "se", "lower", "upper")],
    )
    # psych's estimate is right, its variance with weights is not.
    close(row["kappa"], cases[f"psych_{weights}"]["kappa"])
    assert abs(row["se"] ** 2 / cases[f"psych_{weights}"]["var"] - 1) > 0.05


def test_confusion_table(data, reference):
    want, frame = reference("kappa")["table"], data("kappa_ratings")
    table = confusion_matrix(frame["reader1"], frame["reader2"]).table
    assert list(table["a"].unique()) == want["labels"]
    assert (table["n"].to_numpy().reshape(5, 5) == want["counts"]).all()


def spread(counts):
    """Pairs of categories of a table of counts."""
    counts = np.asarray(counts)
    places = np.repeat(np.arange(counts.size), counts.ravel())
    return places // len(counts), places % len(counts)


def test_mcnemar(reference):
    """Bowker's test of two categories is McNemar's without correction."""
    tables = [case for case in reference("tables").values() if "mcnemar" in case]
    assert tables
    for want in tables:
        overall = confusion_matrix(*spread(want["table"]), labels=[0, 1]).overall.iloc[0]
        close(overall[["statistic", "p"]], [want["mcnemar"][key] for key in ("statistic", "p")])


# Predicted by visual emphysema score of 7143 scans, with accuracy, linear kappa and its interval in
# percent (Xie et al. 2023, emphysema subtyping by deep networks, tables 2 and 3; kappa by R's rel).
VISUAL = [
    (
        [
            [1621, 530, 259, 21, 0, 0],
            [625, 451, 322, 50, 0, 0],
            [230, 294, 664, 288, 4, 0],
            [22, 42, 142, 514, 141, 7],
            [0, 3, 15, 153, 322, 42],
            [1, 2, 7, 23, 189, 159],
        ],
        (52.23, 64.29, 63.16, 65.42),
        (64.87, 66.68),
    ),
    (
        [[2508, 740, 181], [1144, 942, 467], [205, 183, 773]],
        (59.12, 42.03, 40.21, 43.85),
        (65.02, 73.14),
    ),
    (
        [[2976, 839, 104], [784, 778, 455], [97, 248, 862]],
        (64.62, 52.06, 50.40, 53.73),
        (77.16, 75.94),
    ),
]


@pytest.mark.parametrize(("counts", "published", "first"), VISUAL)
def test_visual_scores(counts, published, first):
    a, b = spread(counts)
    kappa = weighted_kappa(a, b).iloc[0]
    found = confusion_matrix(a, b)
    close(
        [found.overall["accuracy"][0], *kappa[["kappa", "ci_low", "ci_high"]]],
        np.array(published) / 100,
        rtol=0,
        atol=1e-4,
    )
    classes = found.classes.set_index(["label", "measure"])["estimate"]
    close(
        [classes[0, "sensitivity"], classes[0, "ppv"]],
        np.array(first) / 100,
        rtol=0,
        atol=1e-4,
    )


def test_accuracy_holds_the_same_numbers(data, reference):
    want, pairs = reference("bland_altman"), data("bland_altman")
    row = accuracy(pairs["test"], pairs["retest"]).iloc[0]
    close(
        row[["bias", "bias_ci_low", "bias_ci_high"]],
        [want["difference"]["bias"], *want["difference"]["bias_ci"]],
    )
    close(row["r"], want["lins_ccc"]["pearson"])
    close(row["rmse"], want["difference"]["repeatability"]["within_sd"] * np.sqrt(2))
