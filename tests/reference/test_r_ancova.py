"""ANCOVA against R: lm, car, emmeans, sandwich, lmtest, effectsize; every block of every case.

Relative tolerance 1e-9, p 1e-8 (where p is below 1e-300, by its logarithm to 1e-6). Wider only:

- limits of eta and omega squared, 1e-6 absolute, since effectsize searches the noncentrality with a
  simplex. It stops short of the root in a few cases (its own notes say so): there the test shows
  that R's limit misses its tail probability and ours has it;
- p of Shapiro-Wilk, 1e-6 absolute: both are the polynomial of Royston's AS R94, in scipy and R in
  different precision.
"""

import functools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungitude.analysis.ancova import interaction_test
from lungitude.statistics.ancova import ancova
from lungitude.statistics.arms import stratum_contrasts, subgroups

FULL = ["age", "sex", "med", "gold"]
CASES = {
    "fev1": ("fev1_w12", ["fev1_w0", *FULL], {}),
    "laa950": ("laa950_w12", ["laa950_w0", *FULL], {}),
    "pi10": ("pi10_w12", ["pi10_w0", *FULL], {}),
    "sgrq": ("sgrq_w12", ["sgrq_w0", *FULL], {}),
    "log_crp": (
        "crp_w12",
        ["crp_w0", *FULL],
        {"transform": "log", "log_covariates": ["crp_w0"]},
    ),
    "log_crp_columns": ("lcrp_w12", ["lcrp_w0", *FULL], {}),
    "simple": ("fev1_w12", ["fev1_w0"], {}),
    "unadjusted": ("fev1_w12", [], {}),
    "gold_interaction": (
        "fev1_w12",
        ["gold", "fev1_w0", "age", "sex", "med", ("arm", "gold")],
        {},
    ),
    "baseline_interaction": ("sgrq_w12", ["sgrq_w0", "age", "sex", "gold", ("arm", "sgrq_w0")], {}),
    **{
        f"stratum_{level}": ("fev1_w12", ["fev1_w0", "age", "sex", "med"], {"by": "gold"})
        for level in ("I", "II", "III", "IV")
    },
}
WHOLE = [case for case in CASES if case != "unadjusted"]
TABLE = {
    "estimate": "estimate",
    "se": "se",
    "df": "df",
    "statistic": "t",
    "ci_low": "lower",
    "ci_high": "upper",
}


@pytest.fixture(scope="module")
def wide(data):
    frame = data("trial_wide")
    return frame.assign(lcrp_w0=np.log(frame["crp_w0"]), lcrp_w12=np.log(frame["crp_w12"]))


@pytest.fixture(scope="module")
def fitted(wide):
    """Give the tables of a case: a result whose strata, if any, are cut to the one of the case."""

    @functools.cache
    def fit(case, robust=None):
        response, covariates, options = CASES[case]
        result = ancova(
            wide, response, "arm", covariates, reference="Placebo", robust=robust, **options
        )
        if result.by is None:
            return result
        level = case.removeprefix("stratum_")
        for name in ("contrasts", "emmeans", "coefficients"):
            table = getattr(result, name)
            setattr(result, name, table.loc[table["gold"] == level].reset_index(drop=True))
        result.fits = {level: result.fits[level]}
        return result

    return fit


def close(ours, theirs, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(
        np.asarray(ours, float), np.asarray(theirs, float), rtol=rtol, atol=atol
    )


def close_p(ours, theirs):
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    tiny = theirs < 1e-300
    close(ours[~tiny], theirs[~tiny], 1e-8, 0)
    assert (ours[tiny] < 1e-300).all()


def frame(records, index="term"):
    return pd.DataFrame(records).set_index(index)


def matched(table, records, index="term"):
    """R's records in the order of our rows, all of them."""
    theirs = frame(records, index)
    assert set(theirs.index) == set(table[index])
    return theirs.loc[list(table[index])]


def check_means(table, records):
    theirs = matched(table, records, "arm")
    close(
        table[["estimate", "se", "df", "ci_low", "ci_high"]],
        theirs[["emmean", "SE", "df", "lower", "upper"]],
    )
    close(table["estimate"] / table["se"], theirs["statistic"])
    p = 2 * stats.t.sf(np.abs(table["estimate"] / table["se"]), table["df"])
    close_p(p, theirs["p.value"])


def check_contrasts(table, records):
    theirs = matched(table, records, "contrast")
    close(
        table[["estimate", "se", "df", "statistic", "ci_low", "ci_high"]],
        theirs[["estimate", "SE", "df", "statistic", "lower", "upper"]],
    )
    close_p(table["p"], theirs["p.value"])


def check_tests(table, records):
    theirs = matched(table, records)
    if "ss" in theirs:
        close(table["sum_sq"], theirs["ss"])
    close(table["df1"], theirs["df"])
    close(table["f"], theirs["f"])
    rest = table["term"] == "Residuals"
    assert (table.loc[~rest, "df2"] == theirs.loc["Residuals", "df"]).all()
    close_p(table.loc[~rest, "p"], theirs["p"].to_numpy(dtype=float)[(~rest).to_numpy()])
    if "ms" in theirs:
        close(table["sum_sq"] / table["df1"], theirs["ms"])


@pytest.mark.parametrize("case", CASES)
def test_coefficients_and_covariance(case, fitted, reference):
    want, result = reference("ancova")[case], fitted(case)
    table = result.coefficients
    theirs = matched(table, want["coefficients"])
    close(table[list(TABLE)], theirs[list(TABLE.values())])
    close_p(table["p"], theirs["p"])
    (fit,) = result.fits.values()
    covariance = pd.DataFrame(
        want["vcov"]["values"], index=want["vcov"]["rows"], columns=want["vcov"]["cols"]
    )
    close(fit.vcov, covariance.loc[list(table["term"]), list(table["term"])], atol=0, rtol=1e-8)
    scale = np.sqrt(np.outer(np.diag(fit.vcov), np.diag(fit.vcov)))
    close(fit.vcov / scale, covariance.loc[list(table["term"]), list(table["term"])] / scale)


@pytest.mark.parametrize("case", CASES)
def test_fit_and_diagnostics(case, fitted, reference):
    want = reference("ancova")[case]
    row = fitted(case).diagnostics().iloc[0]
    ours = {
        "n": "n",
        "df_residual": "df_residual",
        "sigma": "sigma",
        "r_squared": "r_squared",
        "adj_r_squared": "adj_r_squared",
        "f": "f",
        "logLik": "loglik",
        "AIC": "aic",
        "BIC": "bic",
    }
    close([row[name] for name in ours.values()], [want[name] for name in ours])
    close_p([row["p"]], [want["f_p"]])
    if "diagnostics" not in want:
        return
    found = want["diagnostics"]
    close(
        row[["shapiro_w", "breusch_pagan", "breusch_pagan_df"]],
        [
            found["shapiro_residuals"]["w"],
            found["breusch_pagan_studentized"]["statistic"],
            found["breusch_pagan_studentized"]["df"],
        ],
        1e-8,
    )
    close_p([row["breusch_pagan_p"]], [found["breusch_pagan_studentized"]["p"]])
    close(row["shapiro_p"], found["shapiro_residuals"]["p"], 0, 1e-6)
    close(
        row[["cooks_distance_max", "leverage_max"]],
        [found["cooks_distance_max"], found["hat_max"]],
    )
    table = fitted(case).vif()
    theirs = found["vif"]
    if "GVIF" in theirs[0]:
        theirs = matched(table, theirs)
        close(
            table[["gvif", "df", "gvif_scaled"]],
            theirs[["GVIF", "Df", "GVIF^(1/(2*Df))"]],
        )
    else:  # car gives a plain column where every term has one df
        close(table["gvif"], [next(v for k, v in row.items() if k != "term") for row in theirs])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_tests_of_terms(case, kind, fitted, reference):
    check_tests(fitted(case).tests(type=kind), reference("ancova")[case][f"type{kind}"])


@pytest.mark.parametrize("case", CASES)
def test_marginal_means(case, fitted, wide, reference):
    want, result = reference("ancova")[case], fitted(case)
    theirs = want["emmeans_equal"]
    at = None
    if case == "log_crp":  # log() in R's formula: the means are at log(mean(x)), not mean(log(x))
        used = wide.dropna(subset=["crp_w12", "crp_w0"])
        at = {"crp_w0": used["crp_w0"].mean()}
    else:
        check_means(result.emmeans, theirs["means"])
    check_contrasts(result.contrasts, theirs["differences"])
    assert (result.contrasts["n"] == want["n"]).all()
    check_means(result.marginal_means(at=at), theirs["means"])
    theirs = want["emmeans_proportional"]
    check_means(result.marginal_means("proportional", at), theirs["means"])
    check_contrasts(result.marginal_contrasts("proportional", at), theirs["differences"])


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("robust", [None, "HC3"])
def test_standardisation(case, robust, fitted, reference):
    want = reference("ancova")[case]["gcomputation" + (f"_{robust}" if robust else "")]
    means = fitted(case, robust).marginal_means("counterfactual")
    contrast = fitted(case, robust).marginal_contrasts("counterfactual")
    keys = ["estimate", "se", "df", "lower", "upper"]
    columns = ["estimate", "se", "df", "ci_low", "ci_high"]
    close(means[columns], [[want[arm][key] for key in keys] for arm in means["arm"]])
    close(contrast[columns].iloc[0], [want["difference"][key] for key in keys])
    close_p(contrast["p"], [want["difference"]["p"]])
    p = 2 * stats.t.sf(np.abs(means["estimate"] / means["se"]), means["df"])
    close_p(p, [want[arm]["p"] for arm in means["arm"]])


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("robust", ["HC0", "HC1", "HC2", "HC3", "HC4"])
def test_robust(case, robust, fitted, reference):
    want, result = reference("ancova")[case][robust], fitted(case, robust)
    table = result.coefficients
    theirs = matched(table, want["coefficients"])
    close(table[list(TABLE)], theirs[list(TABLE.values())])
    close_p(table["p"], theirs["p"])
    if robust != "HC3":
        return
    (fit,) = result.fits.values()
    covariance = pd.DataFrame(
        want["vcov"]["values"], index=want["vcov"]["rows"], columns=want["vcov"]["cols"]
    ).loc[list(table["term"]), list(table["term"])]
    scale = np.sqrt(np.outer(np.diag(fit.vcov), np.diag(fit.vcov)))
    close(fit.vcov / scale, covariance / scale)
    check_contrasts(result.contrasts, want["emmeans_equal"]["differences"])
    if case != "log_crp":
        check_means(result.emmeans, want["emmeans_equal"]["means"])
    theirs = [row for row in want["type3"] if row["term"] != "Residuals"]
    tests = result.tests(type=3)
    close(tests[["f", "df1"]], matched(tests, theirs)[["f", "df"]])
    close_p(tests["p"], matched(tests, theirs)["p"])


def test_robust_means_of_the_log_case(fitted, wide, reference):
    used = wide.dropna(subset=["crp_w12", "crp_w0"])
    want = reference("ancova")["log_crp"]["HC3"]["emmeans_equal"]["means"]
    table = fitted("log_crp", "HC3").marginal_means(at={"crp_w0": used["crp_w0"].mean()})
    check_means(table, want)


def tail(f, df1, df2, limit):
    return stats.ncf.cdf(f, df1, df2, limit * df2 / (1 - limit))


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize("name", ["eta", "omega"])
def test_effect_sizes(case, kind, name, fitted, reference):
    want = reference("ancova")[case][f"partial_{name}_squared"][f"type{kind}"]
    table = fitted(case).effect_sizes(type=kind)
    theirs = matched(table, want)
    ours = f"partial_{name}_sq"
    close(table[ours], theirs["value"], atol=1e-11)
    (fit,) = fitted(case).fits.values()
    df1, df2 = fitted(case).tests(kind).set_index("term")["df1"], fit.fit.df
    for _, row in table.iterrows():
        f = row[ours] / df1[row["term"]] / ((1 - row[ours]) / df2)
        for side, key, target in (("low", "lower", 0.975), ("high", "upper", 0.025)):
            limit, his = row[f"{ours}_ci_{side}"], theirs.loc[row["term"], key]
            if abs(limit - his) > 1e-6:
                assert abs(tail(f, df1[row["term"]], df2, his) - target) > 5e-5
                assert abs(tail(f, df1[row["term"]], df2, limit) - target) < 1e-9
    if (name, kind) == ("eta", 3) and not any(":" in term for term in theirs.index):
        close(fitted(case).contrasts["partial_eta_sq"], theirs.loc["arm", "value"])


@pytest.mark.parametrize("case", WHOLE)
def test_standardised_difference(case, fitted, reference):
    want = reference("ancova")[case]["standardised_difference"]
    row = fitted(case).standardised().set_index("term").loc["armActive"]
    close(row[["d", "partial_r"]], [want["d_residual_sd"], want["partial_r"]])


def test_strata_of_the_joint_model(wide, fitted, reference):
    want = reference("ancova")["gold_interaction"]
    result = stratum_contrasts(
        wide, "fev1_w12", "arm", "gold", ["fev1_w0", "age", "sex", "med"], reference="Placebo"
    )
    theirs = frame(want["by"]["differences"], "gold").loc[list(result.contrasts["gold"])]
    columns = ["estimate", "se", "df", "statistic", "ci_low", "ci_high"]
    keys = ["estimate", "SE", "df", "statistic", "lower", "upper"]
    close(result.contrasts[columns], theirs[keys])
    close_p(result.contrasts["p"], theirs["p.value"])
    means = frame(want["by"]["means"], ["arm", "gold"])
    means = means.loc[list(zip(result.emmeans["arm"], result.emmeans["gold"], strict=True))]
    close(
        result.emmeans[["estimate", "se", "df", "ci_low", "ci_high"]],
        means[["emmean", "SE", "df", "lower", "upper"]],
    )
    # the same from the fit of the whole model
    table = fitted("gold_interaction").fit.contrasts("arm", by="gold")
    close(table[columns], theirs[keys])
    theirs = frame(want["type3"]).loc["arm:gold"]
    close(result.interaction[["sum_sq", "f", "df1"]].iloc[0], theirs[["ss", "f", "df"]])
    close_p(result.interaction["p"], [theirs["p"]])
    assert result.interaction["n"].iloc[0] == want["n"] == result.contrasts["n"].sum()
    robust = stratum_contrasts(
        wide, "fev1_w12", "arm", "gold", ["fev1_w0", "age", "sex", "med"], robust="HC3"
    )
    theirs = frame(want["HC3"]["type3"]).loc["arm:gold"]
    close(robust.interaction[["f", "df1"]].iloc[0], theirs[["f", "df"]])
    close_p(robust.interaction["p"], [theirs["p"]])


def test_subgroups(wide, reference):
    cases = reference("ancova")
    # gold is a covariate of the overall model and of no other row twice
    table = subgroups(wide, "fev1_w12", "arm", ["gold"], ["fev1_w0", *FULL], reference="Placebo")
    assert list(table["level"]) == ["all", "I", "II", "III", "IV"]
    overall = cases["fev1"]["emmeans_equal"]["differences"]
    theirs = pd.DataFrame([*overall, *cases["gold_interaction"]["by"]["differences"]])
    columns = ["estimate", "se", "df", "statistic", "ci_low", "ci_high"]
    close(table[columns], theirs[["estimate", "SE", "df", "statistic", "lower", "upper"]])
    close_p(table["p"], theirs["p.value"])
    want = frame(cases["gold_interaction"]["type3"]).loc["arm:gold", "p"]
    close_p(table["interaction_p"].iloc[1:], [want] * 4)
    assert (table["n"].iloc[0], table["n"].iloc[1:].sum()) == (346, 346)
    assert (table["n_arm"] + table["n_reference"] == table["n"]).all()


def test_interaction_of_the_analysis(wide, reference):
    columns = ["arm", "gold", "fev1_w0", "age", "sex", "med", "fev1_w12"]
    data = wide[columns].dropna()
    values, note = interaction_test(data, "fev1_w12", columns[1:-1], "gold", arm="arm")
    want = frame(reference("ancova")["gold_interaction"]["type3"]).loc["arm:gold"]
    close([values["interaction_F"], values["interaction_p"]], [want["f"], want["p"]])
    assert (values["interaction_df1"], note) == (3, "")


def test_every_block_is_tested(reference):
    """A block of the results that no test reads is a gap."""
    known = set(
        "formula n df_residual sigma r_squared adj_r_squared f f_p logLik AIC BIC coefficients "
        "vcov type1 type2 type3 emmeans_equal emmeans_proportional HC0 HC1 HC2 HC3 HC4 "
        "partial_eta_squared partial_omega_squared gcomputation gcomputation_HC3 diagnostics "
        "standardised_difference by".split()
    )
    cases = reference("ancova")
    assert set(cases) == set(CASES)
    assert {block for case in cases.values() for block in case} == known
