"""ANCOVA against R: lm, emmeans, sandwich, effectsize. Relative tolerance 1e-9, p 1e-8."""

import numpy as np
import pandas as pd
import pytest

from lungitude.analysis.ancova import interaction_test
from lungitude.statistics import ancova
from lungitude.statistics.design import FormulaDesign
from lungitude.statistics.linear import least_squares

FULL = ["age", "sex", "med", "gold"]
CASES = {
    "fev1": ("fev1_w12", ["fev1_w0", *FULL]),
    "laa950": ("laa950_w12", ["laa950_w0", *FULL]),
    "pi10": ("pi10_w12", ["pi10_w0", *FULL]),
    "sgrq": ("sgrq_w12", ["sgrq_w0", *FULL]),
    "log_crp_columns": ("lcrp_w12", ["lcrp_w0", *FULL]),
    "simple": ("fev1_w12", ["fev1_w0"]),
    "unadjusted": ("fev1_w12", []),
}


@pytest.fixture(scope="module")
def wide(data):
    frame = data("trial_wide")
    return frame.assign(lcrp_w0=np.log(frame["crp_w0"]), lcrp_w12=np.log(frame["crp_w12"]))


def close(ours, theirs, rtol=1e-9):
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=rtol, atol=1e-12
    )


@pytest.mark.parametrize("case", CASES)
def test_contrast_means_and_coefficients(case, wide, reference):
    want = reference("ancova")[case]
    response, covariates = CASES[case]
    fit = ancova(wide, response, "arm", covariates, reference="Placebo")
    row = fit.contrasts.iloc[0]
    theirs = want["emmeans_equal"]["differences"][0]
    assert row["contrast"] == theirs["contrast"]
    assert row["n"] == want["n"]
    close(
        row[["estimate", "se", "df", "ci_low", "ci_high"]],
        [theirs[key] for key in ("estimate", "SE", "df", "lower", "upper")],
    )
    close([row["statistic"], row["p"]], [theirs["statistic"], theirs["p.value"]], 1e-8)
    means = pd.DataFrame(want["emmeans_equal"]["means"]).set_index("arm").loc[list(fit.emmeans.arm)]
    close(
        fit.emmeans[["estimate", "se", "df", "ci_low", "ci_high"]],
        means[["emmean", "SE", "df", "lower", "upper"]],
    )
    table = pd.DataFrame(want["coefficients"]).set_index("term").loc[list(fit.coefficients.term)]
    close(
        fit.coefficients[["estimate", "se", "ci_low", "ci_high"]],
        table[["estimate", "se", "lower", "upper"]],
    )
    if "partial_eta_squared" in want:
        eta = {row["term"]: row["value"] for row in want["partial_eta_squared"]["type3"]}
        close(row["partial_eta_sq"], eta["arm"])


@pytest.mark.parametrize("case", ["fev1", "sgrq"])
@pytest.mark.parametrize("robust", ["HC0", "HC1", "HC2", "HC3", "HC4"])
def test_robust(case, robust, wide, reference):
    want = reference("ancova")[case][robust]
    fit = ancova(wide, *CASES[case][:1], "arm", CASES[case][1], robust=robust)
    table = pd.DataFrame(want["coefficients"]).set_index("term").loc[list(fit.coefficients.term)]
    close(fit.coefficients["se"], table["se"])
    close(fit.coefficients["p"], table["p"], 1e-8)
    if "emmeans_equal" in want:
        close(fit.emmeans["se"], [row["SE"] for row in want["emmeans_equal"]["means"]])
        close(fit.contrasts["se"], [row["SE"] for row in want["emmeans_equal"]["differences"]])


def test_by_stratum(wide, reference):
    fit = ancova(wide, "fev1_w12", "arm", ["fev1_w0", "age", "sex", "med"], by="gold")
    for stratum, row in fit.contrasts.set_index("gold").iterrows():
        want = reference("ancova")[f"stratum_{stratum}"]
        theirs = want["emmeans_equal"]["differences"][0]
        close(
            [row["estimate"], row["se"], row["p"]],
            [theirs["estimate"], theirs["SE"], theirs["p.value"]],
            1e-8,
        )
        assert row["n"] == want["n"]


def test_interaction(wide, reference):
    columns = ["arm", "gold", "fev1_w0", "age", "sex", "med", "fev1_w12"]
    data = wide[columns].dropna()
    values, note = interaction_test(data, "fev1_w12", columns[1:-1], "gold", arm="arm")
    want = next(
        row for row in reference("ancova")["gold_interaction"]["type3"] if row["term"] == "arm:gold"
    )
    close([values["interaction_F"], values["interaction_p"]], [want["f"], want["p"]])
    assert (values["interaction_df1"], note) == (3, "")


@pytest.mark.parametrize(
    ("case", "formula"),
    [
        ("gold_interaction", "fev1_w12 ~ arm * gold + fev1_w0 + age + sex + med"),
        ("log_crp", "log(crp_w12) ~ arm + log(crp_w0) + age + sex + med + gold"),
        ("baseline_interaction", "sgrq_w12 ~ arm * sgrq_w0 + age + sex + gold"),
    ],
)
def test_weights_of_marginal_means(case, formula, wide, reference):
    want = reference("ancova")[case]
    design = FormulaDesign(wide, formula)
    fit = least_squares(design.matrix, design.response)
    assert design.names == [row["term"] for row in want["coefficients"]] or set(design.names) == {
        row["term"] for row in want["coefficients"]
    }
    expected = [
        ("equal", row["arm"], row["emmean"], row["SE"]) for row in want["emmeans_equal"]["means"]
    ]
    expected += [
        ("proportional", row["arm"], row["emmean"], row["SE"])
        for row in want["emmeans_proportional"]["means"]
    ]
    expected += [
        ("counterfactual", arm, *(want["gcomputation"][arm][key] for key in ("estimate", "se")))
        for arm in ("Placebo", "Active")
    ]
    for weights, arm, estimate, se in expected:
        row = design.mean_row({"arm": arm}, weights)
        close([row @ fit.beta, np.sqrt(row @ fit.covariance @ row)], [estimate, se])
