"""Mixed models against lme4, lmerTest, pbkrtest and emmeans.

Relative tolerances: log-likelihood 1e-10, estimates, SE and variances 1e-6, df and F 2e-6; what
is left are the last digits of R's optimum (measured: fixed effects 2e-7, SE 6e-8, variances 7e-7,
Satterthwaite df 1e-6, Kenward-Roger df 5e-8). p 1e-3, for a p of 1e-100 magnifies these digits.
"""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.mixed import MixedFit, RandomTerm, mixed_model, type3_rows

CASES = (
    "slopes.intercept slopes.correlated slopes.correlated_ml slopes.uncorrelated "
    "random_intercept.sgrq random_intercept.fev1 random_intercept_ml.sgrq random_slope.sgrq "
    "random_slope.fev1 random_slope_ml.sgrq random_slope_uncorrelated.sgrq "
    "centre_and_patient.sgrq gold_interaction.fev1"
).split()
ML = [case for case in CASES if "_ml" in case]
FITS = [
    (case, df)
    for case in CASES
    for df in ("satterthwaite", "kenward-roger")
    if not (df == "kenward-roger" and case in ML)
]
MEANS = [(case, df) for case, df in FITS if re.match("random_intercept|gold_interaction", case)]
SINGULAR = ("random_slope.sgrq", "random_slope.fev1", "random_slope_ml.sgrq")


def close(ours, theirs, rtol, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=rtol, atol=atol
    )


@pytest.fixture(scope="module")
def fitted(data, reference):
    found = {}

    def fit(case, df="satterthwaite"):
        want = reference("lmm")[case]
        if (case, df) not in found:
            frame = data("slopes" if case.startswith("slopes") else "trial_long")
            if "week" in frame:
                frame["wk"] = frame["week"] / 12
            fixed, *random = re.split(r" \+ \(", want["formula"])
            slope = re.match(r"(?:1|(\w+)) \|\|? id\)", random[-1])[1]
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore" if case in SINGULAR else "error", ".*singular")
                found[case, df] = mixed_model(
                    frame,
                    fixed,
                    groups=["centre", "id"] if len(random) == 2 else "id",
                    random=f"1 + {slope}" if slope else "1",
                    method="reml" if want["reml"] else "ml",
                    df=df,
                    correlated="||" not in want["formula"],
                )
        return found[case, df], want

    return fit


def test_every_case_is_here(reference):
    assert set(CASES) == set(reference("lmm"))


def theta(fit):
    """Relative Cholesky factors of lme4, subjects before sites."""
    found = fit.random_covariance
    parts = [found["id"], found["centre"]] if isinstance(found, dict) else [found]
    values = []
    for term in fit.terms[::-1] if len(parts) > 1 else fit.terms:
        matrix = parts[0] if len(parts) == 1 else found[term.group]
        matrix = matrix.loc[term.labels, term.labels].to_numpy() / fit.residual_variance
        # by columns; a singular matrix has no numpy Cholesky factor
        root = np.sqrt(matrix[0, 0])
        values.append(root)
        if len(matrix) == 2:
            low = matrix[1, 0] / root
            values += [low, np.sqrt(max(0.0, matrix[1, 1] - low**2))]
    return values


@pytest.mark.parametrize("case", CASES)
def test_likelihood_and_variances(case, fitted):
    fit, want = fitted(case)
    assert fit.n_observations == want["n_obs"]
    sizes = fit.n_groups
    if isinstance(sizes, dict):
        assert [sizes["id"], sizes["centre"]] == want["n_groups"]
    else:
        assert sizes == want["n_groups"]
    assert fit.singular == want["singular"]
    assert fit.converged
    close([fit.loglik, fit.aic, fit.bic], [want[key] for key in ("logLik", "AIC", "BIC")], 1e-10)
    close(fit.sigma, want["sigma"], 1e-6)
    # a correlation of 1 is 1e-5 off the boundary in R, where sqrt(1 - r^2) magnifies
    close(theta(fit), want["theta"], 1e-6, 1e-5 if case in SINGULAR else 0)
    ours = fit.varcorr.set_index(["group", "var1", "var2"])
    assert len(ours) == len(want["varcorr"])
    for row in want["varcorr"]:
        group = row["grp"].removesuffix(".1")  # lme4 numbers the second uncorrelated term
        key = (group, row["var1"], row["var2"])
        found = ours.loc[[key]] if key in ours.index else ours.xs(group, drop_level=False)
        close(found["vcov"].iloc[0], row["vcov"], 1e-6)
        close(found["sdcor"].iloc[0], row["sdcor"], 1e-6)
        if group != "Residual":
            table = fit.random_covariance
            table = table[group] if isinstance(table, dict) else table
            close(table.loc[row["var1"], row["var2"] or row["var1"]], row["vcov"], 1e-6)


@pytest.mark.parametrize(("case", "df"), FITS)
def test_coefficients(case, df, fitted):
    fit, want = fitted(case, df)
    part = want[df.replace("-", "_")]
    table = pd.DataFrame(part["coefficients"]).set_index("term")
    ours = fit.coefficients.set_index("term")
    assert list(ours.index) == list(table.index)
    close(ours["estimate"], table["estimate"], 1e-6)
    close(ours["se"], table["se"], 1e-6)
    close(ours["statistic"], table["t"], 1e-6)
    close(ours["df"], table["df"], 2e-6)
    close(ours["p"], table["p"], 1e-3)
    close(ours[["ci_low", "ci_high"]], table[["lower", "upper"]], 1e-6, 1e-7)
    matrix = part["vcov_adjusted"] if df == "kenward-roger" else want["vcov"]
    values = np.array(matrix["values"])
    close(fit.vcov, values, 1e-6, 1e-7 * np.abs(values).max())


@pytest.mark.parametrize(("case", "df"), FITS)
def test_type3(case, df, fitted):
    """The denominator df of several rows depend on the basis, which is lmerTest's."""
    fit, want = fitted(case, df)
    table = pd.DataFrame(want[df.replace("-", "_")]["type3"]).set_index("term")
    ours = fit.type3().set_index("term")
    assert list(ours.index) == list(table.index)
    close(ours["f"], table["f"], 1e-6)
    assert ours["df1"].tolist() == table["num_df"].tolist()
    close(ours["df2"], table["den_df"], 2e-6)
    close(ours["p"], table["p"], 1e-3)
    # R's sums of squares are the F before the scale of Kenward-Roger times the residual variance
    beta = fit.coefficients["estimate"].to_numpy()
    for term, rows in type3_rows(fit.design, fit.kept).items():
        found = rows @ beta
        ss = found @ np.linalg.solve(rows @ fit.vcov @ rows.T, found) * fit.residual_variance
        close([ss, ss / len(rows)], table.loc[term, ["ss", "ms"]], 1e-6)


@pytest.mark.parametrize(("case", "df"), MEANS)
def test_means_and_contrasts(case, df, fitted):
    fit, want = fitted(case, df)
    want = want[df.replace("-", "_")]
    by = [name for name in ("visit", "gold") if name in want["means"][0]]
    names = {"SE": "se", "lower": "ci_low", "upper": "ci_high", "emmean": "estimate"}
    names["p.value"] = "p"
    for ours, theirs, keys in (
        (fit.emmeans("arm", by=by), want["means"], ["arm", *by]),
        (fit.contrasts("arm", by=by), want["differences"], ["contrast", *by]),
    ):
        theirs = pd.DataFrame(theirs).rename(columns=names)
        both = ours.astype(dict.fromkeys(keys, str)).merge(theirs, on=keys, suffixes=("", "_r"))
        assert len(both) == len(ours) == len(theirs)
        for column, rtol in (("estimate", 1e-6), ("se", 1e-6), ("df", 2e-6)):
            close(both[column], both[f"{column}_r"], rtol, 1e-9)
        close(both[["ci_low", "ci_high"]], both[["ci_low_r", "ci_high_r"]], 1e-6, 1e-7)
        if "p" in ours:
            close(both["p"], both["p_r"], 1e-5)
            close(both["statistic"], both["statistic_r"], 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_random_effects(case, fitted):
    fit, want = fitted(case)
    theirs = pd.DataFrame(want["ranef_head"])
    ours = fit.random_effects("id").head(5)
    assert ours["id"].tolist() == theirs["group"].tolist()
    # singular: R stops where the correlation is 1 - 1e-10
    close(ours.iloc[:, 1:], theirs.iloc[:, 1:], 1e-5 if case in SINGULAR else 2e-6)


@pytest.mark.parametrize("case", CASES)
def test_random_effects_test(case, fitted):
    fit, want = fitted(case)
    theirs = pd.DataFrame(want["ranef_test"])
    ours = fit.random_effects_test()
    # R writes the formula as given, `(time | id)`; here it is always `(1 + time | id)`
    assert ours["term"].tolist() == [
        re.sub(r"in \((\w{2,}) \|", r"in (1 + \1 |", term) for term in theirs["term"]
    ]
    assert ours["npar"].tolist() == theirs["npar"].tolist()
    close(ours["loglik"], theirs["logLik"], 1e-10)
    close(ours["aic"], theirs["AIC"], 1e-10)
    close(ours["lrt"][1:], theirs["LRT"][1:], 1e-8)
    assert ours["df"][1:].tolist() == theirs["df"][1:].tolist()
    close(ours["p"][1:], theirs["p"][1:], 1e-8)


def test_columns_give_the_fit_of_the_formula(fitted, data):
    """The fast design of the workflow and the formula are one model."""
    fit, _ = fitted("random_intercept.sgrq")
    frame = data("trial_long").dropna(subset="sgrq")
    design = ColumnDesign(frame, ["age", "sex", "gold", "arm", "visit", ("arm", "visit")])
    terms = [RandomTerm.of(frame["id"], "id")]
    fast = MixedFit(design, frame["sgrq"].to_numpy(float), terms, True, "satterthwaite", 0.95)
    pd.testing.assert_frame_equal(
        fast.contrasts("arm", by="visit"), fit.contrasts("arm", by="visit"), rtol=1e-7
    )
    pd.testing.assert_frame_equal(fast.type3(), fit.type3(), rtol=1e-6)


def test_residual_and_normal_df(data):
    frame, formula = data("trial_long"), "sgrq ~ age + sex + gold + arm * visit"
    fits = {df: mixed_model(frame, formula, groups="id", df=df) for df in ("residual", "normal")}
    assert (fits["residual"].coefficients["df"] == 1112 - 11).all()
    assert np.isinf(fits["normal"].coefficients["df"]).all()
    close(fits["normal"].coefficients["se"], fits["residual"].coefficients["se"], 1e-12)
