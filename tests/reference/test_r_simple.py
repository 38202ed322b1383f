"""Agreement, correlation, multiplicity and two groups against R. Relative tolerance 1e-9."""

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics import adjust, bland_altman, compare_groups, correlate, icc

METHODS = {
    "bh": "BH",
    "by": "BY",
    "holm": "holm",
    "hochberg": "hochberg",
    "bonferroni": "bonferroni",
}
ICC = {
    "shrout_fleiss": ("icc_shrout_fleiss_long", "target", "judge"),
    "readers": ("icc_readers_long", "scan", "reader"),
    "readers_missing": ("icc_readers_missing_long", "scan", "reader"),
}


def close(ours, theirs, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=rtol, atol=atol
    )


@pytest.mark.parametrize("case", ["all40", "with_missing", "classic_bh1995", "single", "two_equal"])
def test_adjust(case, reference):
    want = reference("multiplicity")[case]
    p = np.atleast_1d(np.array(want["p"], dtype=float))
    for ours, theirs in METHODS.items():
        close(adjust(p, ours), np.atleast_1d(np.array(want[theirs], dtype=float)))


@pytest.mark.parametrize("case", [*ICC, "test_retest"])
def test_icc(case, data, reference):
    want = reference("icc")[case]
    if case == "test_retest":
        frame, keys = data("bland_altman").melt("id", value_name="score"), ("id", "variable")
    else:
        frame, keys = data(ICC[case][0]), ICC[case][1:]
    forms = (want.get("direct") or want["direct_complete_cases"])["forms"]
    for _, row in icc(frame, *keys, "score").iterrows():
        theirs = forms[{"ICC(1,1)": "ICC(1)", "ICC(1,k)": "ICC(k)"}.get(row["type"], row["type"])]
        close(
            row[["icc", "f", "df1", "df2", "p", "ci_low", "ci_high"]],
            [theirs[key] for key in ("estimate", "f", "df1", "df2", "p", "lower", "upper")],
        )


def test_icc_of_pingouin_is_the_same(data):
    pingouin = pytest.importorskip("pingouin")
    frame = data("icc_readers_long")
    theirs = pingouin.intraclass_corr(frame, targets="scan", raters="reader", ratings="score")
    ours = icc(frame, "scan", "reader", "score")
    assert list(ours["type"]) == list(theirs["Type"])
    close(ours["icc"], theirs["ICC"])


@pytest.mark.parametrize("case", ["difference", "small_n", "log_ratio"])
def test_bland_altman(case, data, reference):
    want, pairs = reference("bland_altman")[case], data("bland_altman")[["test", "retest"]]
    pairs = pairs[:12] if case == "small_n" else np.log(pairs) if case == "log_ratio" else pairs
    row = bland_altman(pairs["test"], pairs["retest"]).iloc[0]
    assert row["n"] == want["n"]
    close(
        row[["bias", "sd", "loa_low", "loa_high"]],
        [want[key] for key in ("bias", "sd", "loa_lower", "loa_upper")],
    )
    for name, key in (
        ("bias", "bias_ci"),
        ("loa_low", "exact_ci_lower"),
        ("loa_high", "exact_ci_upper"),
    ):
        close(row[[f"{name}_ci_low", f"{name}_ci_high"]], want[key])


def test_bland_altman_repeated(data, reference):
    want = reference("bland_altman")["repeated_pairs_true_value_varies"]
    pairs = data("bland_altman_repeated")
    row = bland_altman(pairs["x"], pairs["y"], repeated=pairs["id"]).iloc[0]
    close(
        row[["n", "bias", "sd", "loa_low", "loa_high"]],
        [want[key] for key in ("n_pairs", "bias", "sd_total", "loa_lower", "loa_upper")],
    )
    # Patients with several pairs tell less than as many patients with one pair each.
    alone = bland_altman(pairs["x"], pairs["y"]).iloc[0]
    for name in ("bias", "loa_low", "loa_high"):
        width = row[f"{name}_ci_high"] - row[f"{name}_ci_low"]
        assert width > alone[f"{name}_ci_high"] - alone[f"{name}_ci_low"]


def test_correlate(data, reference):
    wide = data("trial_wide")
    for want in reference("correlation")["simple"].values():
        pair = want["x"], want["y"]
        row = correlate(wide, *pair).iloc[0]
        theirs = want["pearson"]
        assert row["n"] == want["n"]
        close(
            row[["r", "p", "ci_low", "ci_high"]],
            [theirs[key] for key in ("r", "p", "lower", "upper")],
        )
        row, theirs = correlate(wide, *pair, method="spearman").iloc[0], want["spearman"]
        close(
            row[["r", "p", "ci_low", "ci_high"]],
            [theirs["rho"], theirs["p_t"], *theirs["ci_fisher"]],
        )
        row, theirs = correlate(wide, *pair, method="kendall").iloc[0], want["kendall"]
        close(row[["r", "p"]], [theirs["tau_b"], theirs["p"]])


def samples(case, data):
    if not case.startswith("trial_change"):
        frame = data("two_groups")
        return frame.loc[frame["case"] == case, ["group", "x"]]
    name = case.rsplit(".", 1)[1]
    wide = data("trial_wide")
    arm = pd.Categorical(wide["arm"], ["Active", "Placebo"])
    return pd.DataFrame({"group": arm, "x": wide[f"{name}_w12"] - wide[f"{name}_w0"]})


@pytest.mark.parametrize(
    "case",
    [
        "heavy_ties",
        "large",
        "medium_no_ties",
        "small_no_ties",
        "ties",
        "unequal_variance",
        "trial_change_w12.fev1",
        "trial_change_w12.sgrq",
        "trial_change_w12.crp",
    ],
)
def test_two_groups(case, data, reference):
    want, frame = reference("two_groups")[case], samples(case, data)
    for method in ("welch", "student"):
        row, theirs = compare_groups(frame, "x", "group", method).iloc[0], want[method]
        assert (row["n1"], row["n2"]) == (want["n1"], want["n2"])
        close(
            row[["statistic", "df", "p", "estimate", "ci_low", "ci_high"]].to_numpy(float),
            [theirs[key] for key in ("t", "df", "p", "difference", "lower", "upper")],
        )
    exact = want["wilcoxon_exact"] if max(want["n1"], want["n2"]) < 50 else None
    theirs = exact or want["wilcoxon_correct"]
    row = compare_groups(frame, "x", "group", "mann-whitney").iloc[0]
    close([row["statistic"], row["p"]], [theirs["W"], theirs["p"]])
    close(row["estimate"], want["hl_direct_median"])
    # R's limits carry the tolerance of its root search.
    close([row["ci_low"], row["ci_high"]], [theirs["lower"], theirs["upper"]], atol=1e-9)


def test_two_by_two(reference):
    for want in reference("tables").values():
        counts = want["table"]
        frame = pd.DataFrame(
            [
                (group, event)
                for group in (0, 1)
                for column, event in enumerate(("yes", "no"))
                for _ in range(counts[group][column])
            ],
            columns=["group", "event"],
        )
        frame["event"] = pd.Categorical(frame["event"], ["no", "yes"])
        row = compare_groups(frame, "event", "group", "chi2").iloc[0]
        close([row["statistic"], row["p"]], [want["chi2"]["statistic"], want["chi2"]["p"]])
        close(row["estimate"], want["risk_difference"]["difference"])
        close([row["ci_low"], row["ci_high"]], want["risk_difference"]["newcombe"])
        row = compare_groups(frame, "event", "group", "chi2-yates").iloc[0]
        close(row["p"], want["chi2_yates"]["p"])
        row = compare_groups(frame, "event", "group", "fisher").iloc[0]
        close(row["p"], want["fisher_p"])
        tight = want["fisher_tight"]
        close(
            [row["estimate"], row["ci_low"], row["ci_high"]],
            [float(tight[key]) for key in ("or", "lower", "upper")],
        )
