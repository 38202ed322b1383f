"""Mixed models against lme4, lmerTest and emmeans.

Relative tolerances: log-likelihood 1e-10, estimates and SE 1e-6, df 1e-5, variances 1e-6; p 1e-3,
for p of 1e-100 magnifies the last digits of R's optimum.
"""

import warnings

import numpy as np
import pandas as pd
import pytest

from lungitude.analysis.mixed_model import MixedFit
from lungitude.statistics import mixed_model
from lungitude.statistics.design import ColumnDesign

SGRQ = "sgrq ~ age + sex + gold + arm * visit"
CASES = {
    "slopes.intercept": ("slopes", "y ~ group * time", "1", "reml"),
    "slopes.correlated": ("slopes", "y ~ group * time", "1 + time", "reml"),
    "slopes.correlated_ml": ("slopes", "y ~ group * time", "1 + time", "ml"),
    "random_intercept.sgrq": ("trial_long", SGRQ, "1", "reml"),
    "random_intercept.fev1": (
        "trial_long",
        "fev1 ~ age + sex + med + gold + arm * visit",
        "1",
        "reml",
    ),
    "random_intercept_ml.sgrq": ("trial_long", SGRQ, "1", "ml"),
    "random_slope.sgrq": ("trial_long", "sgrq ~ age + sex + gold + arm * wk", "1 + wk", "reml"),
    "gold_interaction.fev1": ("trial_long", "fev1 ~ age + sex + arm * visit * gold", "1", "reml"),
}


def close(ours, theirs, rtol, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=rtol, atol=atol
    )


@pytest.fixture(scope="module")
def fitted(data, reference):
    found = {}

    def fit(case):
        if case not in found:
            name, formula, random, method = CASES[case]
            frame = data(name)
            if "week" in frame:
                frame["wk"] = frame["week"] / 12
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[case] = mixed_model(frame, formula, groups="id", random=random, method=method)
        return found[case], reference("lmm")[case]

    return fit


@pytest.mark.parametrize("case", CASES)
def test_likelihood_and_variances(case, fitted):
    fit, want = fitted(case)
    assert (fit.n_observations, fit.n_groups) == (want["n_obs"], want["n_groups"])
    assert fit.singular == want["singular"]
    assert fit.converged
    close([fit.loglik, fit.aic, fit.bic], [want[key] for key in ("logLik", "AIC", "BIC")], 1e-10)
    names = list(fit.random_covariance)
    for row in want["varcorr"]:
        if row["grp"] == "Residual":
            close(fit.residual_variance, row["vcov"], 1e-6)
        else:
            close(
                fit.random_covariance.loc[row["var1"], row["var2"] or row["var1"]],
                row["vcov"],
                1e-6,
            )
    assert names[0] == "(Intercept)"


@pytest.mark.parametrize("case", CASES)
def test_coefficients(case, fitted):
    fit, want = fitted(case)
    table = pd.DataFrame(want["satterthwaite"]["coefficients"]).set_index("term")
    ours = fit.coefficients.set_index("term")
    assert set(ours.index) == set(table.index)
    table = table.loc[ours.index]
    close(ours["estimate"], table["estimate"], 1e-6)
    close(ours["se"], table["se"], 1e-6)
    close(ours["df"], table["df"], 1e-5)
    close(ours["p"], table["p"], 1e-3)
    close(ours[["ci_low", "ci_high"]], table[["lower", "upper"]], 1e-5, 1e-7)


@pytest.mark.parametrize(
    "case", [case for case in CASES if "week" not in case and "slope" not in case]
)
def test_means_and_contrasts(case, fitted):
    fit, want = fitted(case)
    want = want["satterthwaite"]
    by = [name for name in ("visit", "gold") if name in want["means"][0]]
    names = {
        "SE": "se",
        "lower": "ci_low",
        "upper": "ci_high",
        "emmean": "estimate",
        "p.value": "p",
    }
    for ours, theirs, keys in (
        (fit.emmeans("arm", by=by), want["means"], ["arm", *by]),
        (fit.contrasts("arm", by=by), want["differences"], ["contrast", *by]),
    ):
        theirs = pd.DataFrame(theirs).rename(columns=names)
        both = ours.astype(dict.fromkeys(keys, str)).merge(theirs, on=keys, suffixes=("", "_r"))
        assert len(both) == len(ours) == len(theirs)
        for column, rtol in (("estimate", 1e-6), ("se", 1e-6), ("df", 1e-5)):
            close(both[column], both[f"{column}_r"], rtol, 1e-9)


def test_columns_give_the_fit_of_the_formula(fitted, data):
    """The fast design of the workflow and the formula are one model."""
    fit, _ = fitted("random_intercept.sgrq")
    frame = data("trial_long").dropna(subset="sgrq")
    design = ColumnDesign(frame, ["age", "sex", "gold", "arm", "visit", ("arm", "visit")])
    fast = MixedFit(
        design,
        frame["sgrq"].to_numpy(float),
        frame["id"],
        np.ones((len(frame), 1)),
        ["(Intercept)"],
        True,
        "satterthwaite",
        0.95,
    )
    pd.testing.assert_frame_equal(
        fast.contrasts("arm", by="visit"), fit.contrasts("arm", by="visit"), rtol=1e-7
    )


def test_residual_and_normal_df(data):
    frame = data("trial_long")
    fits = {df: mixed_model(frame, SGRQ, groups="id", df=df) for df in ("residual", "normal")}
    assert (fits["residual"].coefficients["df"] == 1112 - 11).all()
    assert np.isinf(fits["normal"].coefficients["df"]).all()
    close(fits["normal"].coefficients["se"], fits["residual"].coefficients["se"], 1e-12)
