"""Correlation and stepwise regression against R, and against published examples.

Closed forms: relative tolerance 1e-9; p values 1e-8.
"""

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.correlation import (
    _z_interval,
    compare_correlations,
    correlate,
    correlate_changes,
    correlation_matrix,
    partial_correlation,
    repeated_correlation,
)
from lungitude.statistics.regression import regress, stepwise, stepwise_model

GOLD = ["I", "II", "III", "IV"]


def close(ours, theirs, rtol=1e-9, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=rtol, atol=atol
    )


@pytest.fixture
def wide(data):
    frame = data("trial_wide")
    return frame.assign(male=(frame["sex"] == "M").astype(int), gold_n=frame["gold"].cat.codes + 1)


def check_correlation(frame, x, y, want):
    """Hold all numbers of one case of R: three methods, intervals, both p of Spearman."""
    row = correlate(frame, x, y)
    theirs = want["pearson"]
    assert row["n"][0] == want["n"]
    close(
        row.loc[0, ["r", "ci_low", "ci_high"]],
        [theirs[key] for key in ("r", "lower", "upper")],
    )
    close(row["p"][0], theirs["p"], 1e-8)
    close([row.attrs["t"], row.attrs["df"]], [theirs["t"], theirs["df"]])
    theirs = want["spearman"]
    for interval in ("fisher", "bonett-wright", "fieller"):
        row = correlate(frame, x, y, "spearman", interval=interval, exact=False)
        close(
            row.loc[0, ["r", "ci_low", "ci_high"]],
            [theirs["rho"], *theirs[f"ci_{interval.replace('-', '_')}"]],
        )
        # p_t is scipy's and p_cor_test R's own, through S: they are one number.
        close([row["p"][0]] * 2, [theirs["p_t"], theirs["p_cor_test"]], 1e-8)
    close(row.attrs["S"], theirs["S"])
    plain = correlate(frame, x, y, "spearman")
    close(plain.loc[0, ["ci_low", "ci_high", "p"]], [*theirs["ci_fisher"], theirs["p_t"]], 1e-8)
    row, theirs = correlate(frame, x, y, "kendall", exact=False), want["kendall"]
    close([row["r"][0], row.attrs["z"]], [theirs["tau_b"], theirs["z"]])
    close(row["p"][0], theirs["p"], 1e-8)


def test_correlate(wide, reference):
    cases = reference("correlation")["simple"]
    assert len(cases) == 5
    for want in cases.values():
        check_correlation(wide, want["x"], want["y"], want)


@pytest.mark.parametrize("stratum", GOLD)
def test_correlate_in_strata(stratum, wide, reference):
    want = reference("correlation")["per_stratum"][stratum]
    part = wide.loc[wide["gold"] == stratum]
    check_correlation(part, "fev1_w0", "laa950_w0", want)
    check_partial(part, want["pearson_partial"])


def test_correlate_changes(wide, reference):
    want = reference("correlation")["change_scores_fev1_laa950_week12"]
    change = pd.DataFrame(
        {name: wide[f"{name}_w12"] - wide[f"{name}_w0"] for name in ("fev1", "laa950")}
    )
    check_correlation(change, "fev1", "laa950", want)


def test_exact_p_of_small_samples(reference):
    want = reference("correlation")["exact_small"]
    frame = pd.DataFrame({"x": want["x"], "y": want["y"]})
    for exact in (None, True):
        row = correlate(frame, "x", "y", "spearman", exact=exact)
        close(
            [row["r"][0], row.attrs["S"], row["p"][0]],
            [want["spearman_rho"], want["spearman_S"], want["spearman_p_exact"]],
        )
        assert row.attrs["exact"]
        row = correlate(frame, "x", "y", "kendall", exact=exact)
        close([row["r"][0], row["p"][0]], [want["kendall_tau"], want["kendall_p_exact"]])


def check_partial(frame, want):
    arguments = frame, want["x"], want["y"], want["covariates"], want["method"]
    row = partial_correlation(*arguments)
    assert row["n"][0] == want["n"]
    close(
        [*row.loc[0, ["r", "ci_low", "ci_high"]], row.attrs["t"], row.attrs["df"]],
        [want[key] for key in ("r", "lower", "upper", "t", "df")],
    )
    close(row["p"][0], want["p"], 1e-8)
    semi = partial_correlation(*arguments, semi="y")
    close(semi["r"][0], want["semipartial_y_given_z"])
    assert semi["ci_low"][0] < semi["r"][0] < semi["ci_high"][0]


def test_partial_correlation(wide, reference):
    cases = reference("correlation")["partial"]
    assert len(cases) == 30
    for want in cases.values():
        check_partial(wide, want)


def test_table_of_pairs(wide, reference):
    """Within strata, the table gives what R gives pair by pair."""
    cases = reference("correlation")["per_stratum"]
    table = correlation_matrix(wide, ["fev1_w0"], ["laa950_w0", "sgrq_w0"], by="gold")
    ours = table.loc[table["y"] == "laa950_w0"].set_index("gold")
    for stratum in GOLD:
        theirs = cases[stratum]["pearson"]
        close(
            ours.loc[stratum, ["r", "ci_low", "ci_high", "p"]],
            [theirs[key] for key in ("r", "lower", "upper", "p")],
            1e-8,
        )
    partial = correlation_matrix(
        wide, ["fev1_w0"], ["laa950_w0"], by="gold", covariates=["age", "male"]
    )
    theirs = [cases[stratum]["pearson_partial"] for stratum in GOLD]
    close(partial["r"], [want["r"] for want in theirs])
    close(partial["p"], [want["p"] for want in theirs], 1e-8)


def exact_sample(n, *pairs):
    """Data with given correlations: ``(j, k, r)``; the sample has them to rounding."""
    size = 1 + max(max(j, k) for j, k, _ in pairs)
    matrix = np.eye(size)
    for j, k, r in pairs:
        matrix[j, k] = matrix[k, j] = r
    draw = np.random.default_rng(1).normal(size=(n, size))
    draw = np.linalg.qr(draw - draw.mean(axis=0))[0]
    return pd.DataFrame(draw @ np.linalg.cholesky(matrix).T, columns=[*"jkhm"[:size]])


def nonoverlapping(n, jk, hm, jh, jm, kh, km):
    return exact_sample(n, (0, 1, jk), (2, 3, hm), (0, 2, jh), (0, 3, jm), (1, 2, kh), (1, 3, km))


def test_published_nonoverlapping():
    """Examples of the papers as recomputed by the authors of cocor; our difference is hm - jk."""
    pairs = ("j", "k"), ("h", "m")
    # Steiger 1980 p. 249 case B
    frame = nonoverlapping(103, 0.5, 0.6, 0.8, 0.5, 0.5, 0.7)
    row = compare_correlations(frame, *pairs).iloc[0]
    close([row["r1"], row["r2"], row["n"]], [0.5, 0.6, 103])
    close(row["statistic"], 1.4050, atol=5e-5)
    # Raghunathan, Rosenthal & Rubin 1996 p. 180
    frame = nonoverlapping(603, 0.38, 0.25, 0.45, 0.53, 0.31, 0.55)
    row = compare_correlations(frame, *pairs, test="zpf").iloc[0]
    close(row["statistic"], -2.869174, atol=5e-7)
    # Zou 2007 p. 410
    frame = nonoverlapping(66, 0.396, 0.189, 0.208, 0.143, 0.023, 0.423)
    row = compare_correlations(frame, *pairs).iloc[0]
    close([-row["ci_high"], -row["ci_low"]], [-0.096, 0.501], atol=5e-4)


def test_published_overlapping():
    pairs = ("j", "k"), ("j", "h")

    def compared(jk, jh, kh, n, **options):
        frame = exact_sample(n, (0, 1, jk), (0, 2, jh), (1, 2, kh))
        return compare_correlations(frame, *pairs, **options).iloc[0]

    # Steiger 1980 p. 249 case A; DEPCOR (Silver, Hittner & May 2006)
    close(compared(0.4, 0.5, 0.1, 103)["statistic"], 0.8887185, atol=5e-8)
    row = compared(0.3, 0.4, 0.5, 100)
    close([row["statistic"], row["p"]], [1.0718, 0.2838], atol=5e-5)
    row = compared(0.3, 0.4, 0.5, 100, test="williams")
    close([row["statistic"], row["p"]], [1.0767, 0.2843], atol=5e-5)
    row = compared(0.3, 0.4, 0.5, 100, test="meng")
    close([row["statistic"], row["p"]], [1.0707, 0.2843], atol=5e-5)
    # Meng, Rosenthal & Rubin 1992; May & Hittner 1997
    close(compared(0.63, -0.03, -0.19, 15, test="meng")["statistic"], -1.68, atol=5e-3)
    for kh, z in ((0, 1.62), (0.2, 1.80), (0.4, 2.06), (0.6, 2.50), (0.8, 3.50)):
        close(compared(0.5, 0.2, kh, 50, test="meng")["statistic"], -z, atol=5e-3)
    # Zou 2007 p. 409
    row = compared(0.396, 0.179, 0.088, 66)
    close([-row["ci_high"], -row["ci_low"]], [-0.093, 0.517], atol=5e-4)


def test_published_independent():
    def compared(r1, r2, n1, n2):
        parts = [
            exact_sample(n, (0, 1, r)).assign(arm=arm)
            for n, r, arm in ((n1, r1, "b"), (n2, r2, "a"))
        ]
        return correlate_changes(pd.concat(parts), "j", "k", "arm").contrasts.iloc[0]

    # Zou 2007 p. 406; Cohen et al. 2003 p. 49; stat-help.com's sheet
    row = compared(0.49, 0.36, 145, 87)
    assert (row["contrast"], row["n1"], row["n2"]) == ("b - a", 145, 87)
    close([row["ci_low"], row["ci_high"]], [-0.087, 0.359], atol=5e-4)
    close(compared(0.657, 0.430, 62, 143)["statistic"], 2.110737, atol=5e-7)
    row = compared(0.4, 0.5, 100, 100)
    close([row["statistic"], row["p"]], [-0.8751012342, 0.3815188256], atol=5e-11)


# Bland & Altman 1995: intramural pH and PaCO2 of eight patients.
BLAND = {
    1: ([6.68, 6.53, 6.43, 6.33], [3.97, 4.12, 4.09, 3.97]),
    2: ([6.85, 7.06, 7.13, 7.17], [5.27, 5.37, 5.41, 5.44]),
    3: (
        [7.4, 7.42, 7.41, 7.37, 7.34, 7.35, 7.28, 7.3, 7.34],
        [5.67, 3.64, 4.32, 4.73, 4.96, 5.04, 5.22, 4.82, 5.07],
    ),
    4: ([7.36, 7.33, 7.29, 7.3, 7.35], [5.67, 5.1, 5.53, 4.75, 5.51]),
    5: (
        [7.35, 7.3, 7.3, 7.37, 7.27, 7.28, 7.32, 7.32],
        [4.28, 4.44, 4.32, 3.23, 4.46, 4.72, 4.75, 4.99],
    ),
    6: ([7.38, 7.3, 7.29, 7.33, 7.31, 7.33], [4.78, 4.73, 5.12, 4.93, 5.03, 4.93]),
    7: ([6.86, 6.94, 6.92], [6.85, 6.44, 6.52]),
    8: (
        [7.19, 7.29, 7.21, 7.25, 7.2, 7.19, 6.77, 6.82],
        [5.28, 4.56, 4.34, 4.32, 4.41, 3.69, 6.09, 5.58],
    ),
}


def test_repeated_correlation_as_published():
    frame = pd.concat(
        pd.DataFrame({"id": key, "ph": ph, "paco2": paco2}) for key, (ph, paco2) in BLAND.items()
    )
    row = repeated_correlation(frame, "ph", "paco2", "id")
    # Bland & Altman: r = -0.51, p = 0.0008; pingouin's documentation: r -0.50677, p 0.000847
    close([row["r"][0], row["p"][0]], [-0.50677, 0.000847], 1e-3)
    assert (row["n"][0], row.attrs["df"], row.attrs["n_subjects"]) == (47, 38, 8)
    pingouin = pytest.importorskip("pingouin")
    theirs = pingouin.rm_corr(frame, x="ph", y="paco2", subject="id").iloc[0]
    close([row["r"][0], row["p"][0]], [theirs["r"], theirs["pval"]])
    close(row.loc[0, ["ci_low", "ci_high"]], theirs["CI95"], atol=5e-3)
    # The interval has the effective size df + 2: R's rmcorr from 0.5.4, vignette CI_fix.
    close(_z_interval(0.88, 1 / (4 - 1), 0.95), [0.2394418, 0.9868084], atol=5e-8)
    close(row.loc[0, ["ci_low", "ci_high"]], _z_interval(row["r"][0], 1 / 37, 0.95))


STEPS = [
    ("aic.backward", "aic", "backward", "full"),
    ("aic.forward", "aic", "forward", "null"),
    ("aic.both_from_full", "aic", "both", "full"),
    ("aic.both_from_null", "aic", "both", "null"),
    ("bic.backward", "bic", "backward", "full"),
    ("bic.forward", "bic", "forward", "null"),
    ("bic.both_from_full", "bic", "both", "full"),
    ("bic.both_from_null", "bic", "both", "null"),
]
CANDIDATES = [f"x{i}" for i in range(1, 11)]


@pytest.mark.parametrize(("case", "criterion", "direction", "start"), STEPS)
def test_stepwise_by_criterion(case, criterion, direction, start, data, reference):
    want = reference("stepwise")[case]
    found = stepwise_model(
        data("stepwise"), "y", CANDIDATES, direction=direction, criterion=criterion, start=start
    )
    path = found.path
    assert ["", *(path["action"] + " " + path["term"])] == want["path"]
    close([*found.start[criterion], *path[criterion]], want["path_criterion"])
    close(path[criterion].iloc[-1], want["criterion"])
    assert found.selected == want["selected"]
    ours = found.model.coefficients.set_index("term")
    assert list(ours.index) == list(want["coefficients"])
    # R's values are of a Householder QR; the coefficients are good to a few units in 1e-15
    close(ours["estimate"], list(want["coefficients"].values()))
    close(ours["se"], list(want["se"].values()))


@pytest.mark.parametrize("direction", ["backward", "forward", "both"])
def test_stepwise_by_p(direction, data, reference):
    want = reference("stepwise")[f"p.{direction}"]
    arguments = data("stepwise"), "y", CANDIDATES, want["enter"], want["leave"], direction
    found, path = stepwise_model(*arguments), stepwise(*arguments)
    steps = pd.DataFrame(want["path"])
    assert list(path) == ["step", "action", "term", "p", "r", "r2", "aic"]
    assert list(path["action"]) == list(steps["step"])
    assert list(path["term"]) == list(steps["term"])
    assert path.attrs == {"n": 200, "selected": want["selected"]}
    close(path["p"], steps["p"], 1e-8)
    # F of x6 is 6e-4: the difference of two sums of squares that agree to 7 digits
    close(found.path["f"], steps["f"], 1e-8)
    close(path["r2"].iloc[-1], want["r_squared"])
    close(path["r"] ** 2, path["r2"])
    theirs = pd.DataFrame(want["coefficients"])
    ours = found.model.coefficients
    assert list(ours["term"]) == list(theirs["term"])
    close(ours[["estimate", "se", "statistic"]], theirs[["estimate", "se", "t"]])
    close(ours["p"], theirs["p"], 1e-8)
    close(found.model.summary["r2"][0], want["r_squared"])


def test_regress_full(data, reference):
    want = reference("stepwise")["full"]
    frame = data("stepwise")
    for fit in (
        regress(frame, "y", CANDIDATES),
        regress(frame, f"y ~ {' + '.join(CANDIDATES)}"),
    ):
        ours = fit.coefficients.set_index("term")["estimate"]
        assert list(ours.index) == list(want["coefficients"])
        close(ours, list(want["coefficients"].values()))
        close(fit.summary.loc[0, ["aic", "bic"]], [want["AIC"], want["BIC"]])
    start = stepwise_model(frame, "y", CANDIDATES, criterion="aic", start="full").start
    close(start["aic"][0], want["extractAIC"])
    # extractAIC leaves out a constant and the residual variance
    close(want["AIC"] - start["aic"][0], 200 * (1 + np.log(2 * np.pi)) + 2)
