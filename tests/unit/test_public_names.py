"""A golden call of every public name, as users and checks from outside write it."""

import numpy as np
import pandas as pd

from lungitude import statistics
from lungitude.statistics import (
    adjust,
    ancova,
    bland_altman,
    compare_groups,
    correlate,
    icc,
    impute_reference_based,
    mixed_model,
    mmrm,
    partial_correlation,
    power,
    rm_anova,
    stepwise,
    weighted_kappa,
)

# A small trial that anybody can type in; what is expected is plain least squares, plain means or
# published. tests/reference holds the same functions against R.
TRIAL = pd.DataFrame(
    {
        "USUBJID": [f"S{i}" for i in range(8)],
        "TRT01P": ["CG", "EG"] * 4,
        "SEX": ["F", "F", "M", "M"] * 2,
        "BASE": [10.0, 12, 11, 13, 9, 10, 12, 15],
        "CHG": [1.0, 3, 2, 5, 0, 2, 1, 4],
    }
)
RATINGS = pd.DataFrame(
    {  # Shrout & Fleiss 1979
        "id": np.repeat(range(6), 4),
        "rater": [1, 2, 3, 4] * 6,
        "score": [9, 2, 5, 8, 6, 1, 3, 2, 8, 4, 6, 8, 7, 1, 2, 6, 10, 5, 6, 9, 6, 2, 4, 7],
    }
)


def test_exported_names():
    binding = {
        "ancova",
        "mmrm",
        "mixed_model",
        "rm_anova",
        "compare_groups",
        "correlate",
        "partial_correlation",
        "stepwise",
        "icc",
        "bland_altman",
        "weighted_kappa",
        "adjust",
        "impute_reference_based",
        "power",
    }
    assert binding <= set(statistics.__all__)
    assert all(callable(getattr(statistics, name)) for name in statistics.__all__)
    assert statistics.__all__ == sorted(statistics.__all__)


def test_ancova():
    a = ancova(
        TRIAL,
        response="CHG",
        arm="TRT01P",
        covariates=["BASE", "SEX"],
        reference="CG",
        by=None,
        robust=None,
    )
    assert list(a.contrasts) == [
        "contrast",
        "estimate",
        "se",
        "df",
        "statistic",
        "p",
        "ci_low",
        "ci_high",
        "partial_eta_sq",
        "n",
    ]
    assert list(a.emmeans) == ["TRT01P", "estimate", "se", "df", "ci_low", "ci_high"]
    row = a.contrasts.iloc[0]
    assert (row["contrast"], row["df"], row["n"]) == ("EG - CG", 4, 8)
    x = np.column_stack([np.ones(8), [0, 1] * 4, TRIAL["BASE"], TRIAL["SEX"] == "M"]).astype(float)
    assert np.isclose(row["estimate"], np.linalg.lstsq(x, TRIAL["CHG"], rcond=None)[0][1])
    means = a.emmeans.set_index("TRT01P")["estimate"]
    assert np.isclose(means["EG"] - means["CG"], row["estimate"])


def test_mixed_model():
    long = TRIAL.melt(["USUBJID", "TRT01P"], ["BASE", "CHG"], var_name="AVISIT", value_name="AVAL")
    fit = mixed_model(
        long,
        "AVAL ~ TRT01P * AVISIT",
        groups="USUBJID",
        random="1",
        method="reml",
        df="satterthwaite",
    )
    assert list(fit.coefficients) == [
        "term",
        "estimate",
        "se",
        "df",
        "statistic",
        "p",
        "ci_low",
        "ci_high",
    ]
    assert list(fit.coefficients["term"]) == [
        "(Intercept)",
        "TRT01PEG",
        "AVISITCHG",
        "TRT01PEG:AVISITCHG",
    ]
    assert list(fit.random_covariance) == ["(Intercept)"]
    # Balanced and complete: contrasts are differences of the plain means.
    means = long.pivot_table("AVAL", "AVISIT", "TRT01P")
    table = fit.contrasts("TRT01P", by="AVISIT", reference="CG", weights="equal")
    assert list(table) == [
        "contrast",
        "AVISIT",
        "estimate",
        "se",
        "df",
        "statistic",
        "p",
        "ci_low",
        "ci_high",
    ]
    assert np.allclose(table["estimate"], (means["EG"] - means["CG"]).loc[table["AVISIT"]])
    assert list(fit.emmeans("TRT01P", by="AVISIT", weights="equal", at=None)) == [
        "TRT01P",
        "AVISIT",
        "estimate",
        "se",
        "df",
        "ci_low",
        "ci_high",
    ]


def test_mmrm():
    rng = np.random.default_rng(1)
    subjects = pd.DataFrame({"USUBJID": [f"S{i}" for i in range(20)], "ARMCD": ["PBO", "TRT"] * 10})
    visits = pd.DataFrame({"AVISIT": ["VIS1", "VIS2", "VIS3"]})
    data = subjects.merge(visits, how="cross")
    data["FEV1"] = rng.normal(40, 5, 20).repeat(3) + rng.normal(size=60)
    fit = mmrm(
        data,
        "FEV1 ~ ARMCD * AVISIT",
        subject="USUBJID",
        visit="AVISIT",
        covariance="us",
        group=None,
        weights=None,
        coordinates=None,
        method="reml",
        df="satterthwaite",
        vcov="model",
        confidence=0.95,
    )
    tested = ["estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"]
    assert list(fit.coefficients) == ["term", *tested]
    assert list(fit.coefficients["term"][-2:]) == ["ARMCDTRT:AVISITVIS2", "ARMCDTRT:AVISITVIS3"]
    assert fit.covariance.shape == (3, 3)
    assert (fit.n_subjects, fit.n_observations, fit.covariance_used) == (20, 60, "us")
    assert fit.converged
    assert np.isclose(fit.bic - fit.aic, 6 * np.log(20) - 12)
    means = fit.emmeans("ARMCD", by="AVISIT", weights="equal", at=None)
    assert list(means) == ["ARMCD", "AVISIT", "estimate", "se", "df", "ci_low", "ci_high"]
    # Balanced and complete: each visit is its own t test.
    table = fit.contrasts("ARMCD", by="AVISIT", reference="PBO", weights="equal")
    assert list(table) == ["contrast", "AVISIT", *tested]
    plain = data.pivot_table("FEV1", "AVISIT", "ARMCD")
    assert np.allclose(table["estimate"], plain["TRT"] - plain["PBO"])
    assert np.allclose(table["df"], 18)
    f = fit.test(np.eye(6)[[4, 5]])
    assert list(f) == ["F", "df1", "df2", "p"]


def test_compare_groups():
    row = compare_groups(TRIAL, "CHG", "TRT01P", method="auto")
    assert list(row) == [
        "method",
        "statistic",
        "df",
        "p",
        "estimate",
        "ci_low",
        "ci_high",
        "n1",
        "n2",
    ]
    assert row["method"][0] == "welch"
    assert np.isclose(row["estimate"][0], -2.5)  # CG minus EG: first minus second level


def test_correlate():
    row = correlate(TRIAL, "BASE", "CHG", method="pearson")
    assert list(row) == ["r", "ci_low", "ci_high", "p", "n"]
    assert np.isclose(row["r"][0], np.corrcoef(TRIAL["BASE"], TRIAL["CHG"])[0, 1])


def test_partial_correlation():
    row = partial_correlation(TRIAL, "BASE", "CHG", ["SEX"], method="pearson")
    assert list(row) == ["r", "ci_low", "ci_high", "p", "n"]
    x = np.column_stack([np.ones(8), TRIAL["SEX"] == "M"]).astype(float)
    rest = [TRIAL[c] - x @ np.linalg.lstsq(x, TRIAL[c], rcond=None)[0] for c in ("BASE", "CHG")]
    assert np.isclose(row["r"][0], np.corrcoef(*rest)[0, 1])


def test_stepwise():
    path = stepwise(TRIAL, "CHG", ["BASE", "TRT01P"], p_enter=0.05, p_remove=0.10)
    assert list(path) == ["step", "action", "term", "p", "r", "r2", "aic"]
    entered = path.loc[path["action"] == "+"].iloc[0]
    assert entered["term"] == "TRT01P"
    r = np.corrcoef(TRIAL["CHG"], TRIAL["TRT01P"] == "EG")[0, 1]
    assert np.isclose(entered["r2"], r**2)


def test_rm_anova():
    long = TRIAL.melt(["USUBJID", "TRT01P"], ["BASE", "CHG"], var_name="AVISIT", value_name="AVAL")
    table = rm_anova(long, value="AVAL", subject="USUBJID", within="AVISIT", between=None)
    names = "source F df1 df2 p gg_eps p_gg hf_eps p_hf mauchly_w mauchly_p ges"
    assert list(table) == names.split()
    # Two visits: F is the square of the paired t.
    change = TRIAL["CHG"] - TRIAL["BASE"]
    assert np.isclose(table["F"][0], (change.mean() / (change.std() / np.sqrt(8))) ** 2)


def test_weighted_kappa():
    row = weighted_kappa([1, 2, 3, 3, 1, 2], [1, 2, 3, 2, 1, 1], weights="linear")
    assert list(row)[:5] == ["kappa", "se", "ci_low", "ci_high", "n"]
    # Agreement 1 - 2/6/2 of the pairs against that of the margins.
    observed = 1 - 2 / 6 / 2
    a, b = np.array([2, 2, 2]) / 6, np.array([3, 2, 1]) / 6
    expected = a @ (1 - np.abs(np.subtract.outer(range(3), range(3))) / 2) @ b
    assert np.isclose(row["kappa"][0], (observed - expected) / (1 - expected))


def test_impute_reference_based():
    rng = np.random.default_rng(2)
    subjects = pd.DataFrame({"USUBJID": [f"S{i:02d}" for i in range(24)]})
    subjects["TRT01P"], subjects["BASE"] = ["PBO", "TRT"] * 12, rng.normal(50, 5, 24)
    data = subjects.merge(pd.DataFrame({"AVISIT": ["VIS1", "VIS2"]}), how="cross")
    data["AVAL"] = data["BASE"] + rng.normal(size=24).repeat(2) + rng.normal(size=48)
    data.loc[[7, 19, 33], "AVAL"] = np.nan
    row = impute_reference_based(
        data,
        value="AVAL",
        subject="USUBJID",
        visit="AVISIT",
        arm="TRT01P",
        covariates=["BASE"],
        reference="PBO",
        strategy="j2r",
        method="conditional-mean",
        delta=None,
        n_imputations=500,
        seed=1,
        analysis_visit=None,
    )
    names = ["contrast", "estimate", "se", "df", "p", "ci_low", "ci_high", "n", "n_imputed"]
    assert set(names) <= set(row)
    assert (row["contrast"][0], row["n"][0], row["n_imputed"][0]) == ("TRT - PBO", 24, 3)


def test_power():
    row = power(kind="t", delta=3, sd=5, alpha=0.05, power=0.8, dropout=0.0).iloc[0]
    assert (row["n_per_arm"], row["n_per_arm_normal"]) == (45, 44)


def test_icc():
    table = icc(RATINGS, targets="id", raters="rater", ratings="score")
    assert list(table["type"]) == [
        "ICC(1,1)",
        "ICC(A,1)",
        "ICC(C,1)",
        "ICC(1,k)",
        "ICC(A,k)",
        "ICC(C,k)",
    ]
    assert list(table["icc"].round(2)) == [0.17, 0.29, 0.71, 0.44, 0.62, 0.91]


def test_bland_altman():
    row = bland_altman([1.0, 2, 3, 4], [1.1, 1.9, 3.2, 3.8], confidence=0.95, repeated=None)
    parts = ["bias", "loa_low", "loa_high"]
    assert {"n", "sd", *parts, *(f"{p}_ci_{end}" for p in parts for end in ("low", "high"))} <= set(
        row
    )
    assert len(row) == 1
    assert np.isclose(row["bias"][0], 0)


def test_adjust():
    p = [0.01, np.nan, 0.04, 0.03]
    assert np.allclose(adjust(p, method="bh"), [0.03, np.nan, 0.04, 0.04], equal_nan=True)
    assert np.allclose(adjust(p, method="holm"), [0.03, np.nan, 0.06, 0.06], equal_nan=True)
