import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

from lungitude.statistics.binary import logistic


def two_by_two(events_a, n_a, events_p, n_p):
    return pd.DataFrame(
        {
            "arm": ["A"] * n_a + ["P"] * n_p,
            "y": [1] * events_a + [0] * (n_a - events_a) + [1] * events_p + [0] * (n_p - events_p),
        }
    )


@pytest.fixture
def trial():
    rng = np.random.default_rng(3)
    n = 240
    data = pd.DataFrame(
        {
            "arm": pd.Categorical(rng.choice(["A", "B", "P"], n), ["P", "A", "B"]),
            "base": rng.normal(50, 10, n),
            "site": rng.choice(["x", "y", "z"], n),
        }
    )
    eta = -4 + 0.07 * data["base"] + 0.8 * (data["arm"] == "A") + 0.5 * (data["site"] == "y")
    data["y"] = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    return data


def test_without_covariates_it_is_the_two_by_two_table():
    data = two_by_two(18, 40, 9, 50)
    one = logistic(data, "y", "arm", reference="P").contrasts.iloc[0]
    assert one["contrast"] == "A - P"
    assert one["estimate"] == pytest.approx(np.log(18 * 41 / (22 * 9)), rel=1e-9)
    assert one["se"] == pytest.approx(np.sqrt(1 / 18 + 1 / 22 + 1 / 9 + 1 / 41), rel=1e-9)
    assert one["odds_ratio"] == pytest.approx(18 * 41 / (22 * 9), rel=1e-9)
    p, q = 18 / 40, 9 / 50
    assert one["risk_difference"] == pytest.approx(p - q, rel=1e-9)
    se = np.sqrt(p * (1 - p) / 40 + q * (1 - q) / 50)
    assert one["rd_se"] == pytest.approx(se, rel=1e-9)
    z = stats.norm.ppf(0.975)
    assert one["rd_ci_low"] == pytest.approx(p - q - z * se, rel=1e-9)
    assert one["risk_ratio"] == pytest.approx(p / q, rel=1e-9)
    log_se = np.sqrt(1 / 18 - 1 / 40 + 1 / 9 - 1 / 50)
    assert one["rr_ci_high"] == pytest.approx(p / q * np.exp(z * log_se), rel=1e-9)
    counts = one[["n", "n_arm", "n_reference", "events_arm", "events_reference"]].tolist()
    assert counts == [90, 40, 50, 18, 9]


def test_robust_variances_without_covariates():
    data = two_by_two(18, 40, 9, 50)
    p, q = 18 / 40, 9 / 50
    ye = logistic(data, "y", "arm", variance="ye").contrasts.loc[0, "rd_se"]
    assert ye == pytest.approx(np.sqrt(p * (1 - p) / 39 + q * (1 - q) / 49), rel=1e-9)
    sandwich = logistic(data, "y", "arm", variance="HC0").contrasts.loc[0, "rd_se"]
    assert sandwich == pytest.approx(np.sqrt(p * (1 - p) / 40 + q * (1 - q) / 50), rel=1e-9)


@pytest.mark.parametrize("cells", [(18, 40, 9, 50), (0, 20, 6, 22), (12, 12, 5, 15)])
def test_firth_of_a_two_by_two_table_adds_a_half(cells):
    a, n, c, m = cells
    found = logistic(two_by_two(*cells), "y", "arm", reference="P", method="firth")
    one = found.contrasts.iloc[0]
    b, d = n - a, m - c
    assert one["estimate"] == pytest.approx(
        np.log((a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5))), rel=1e-9
    )
    risks = found.risks.set_index("arm")["estimate"]
    assert risks["A"] == pytest.approx((a + 0.5) / (n + 1), rel=1e-9)


def test_firth_test_and_interval_are_of_the_penalised_likelihood():
    cells = (0, 20, 6, 22)
    with pytest.warns(UserWarning, match=r"separated by armA.*Firth"):
        found = logistic(two_by_two(*cells), "y", "arm", reference="P", separation="firth")
    one = found.contrasts.iloc[0]

    def penalised(intercept, slope):
        p = 1 / (1 + np.exp(-np.array([intercept + slope, intercept])))
        n, y = np.array([20, 22]), np.array([0, 6])
        # The determinant of the information of a saturated 2 x 2 table is the product of n p q.
        return (y * np.log(p) + (n - y) * np.log(1 - p) + np.log(n * p * (1 - p)) / 2).sum()

    def profile(slope):
        return -optimize.minimize_scalar(
            lambda i: -penalised(i, slope),
            bounds=(-6, 4),
            method="bounded",
            options={"xatol": 1e-10},
        ).fun

    top = profile(one["estimate"])
    assert one["p"] == pytest.approx(stats.chi2.sf(2 * (top - profile(0.0)), 1), rel=1e-6)
    for end in ("ci_low", "ci_high"):
        assert 2 * (top - profile(one[end])) == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-6)


def test_separation_is_an_error_that_names_term_and_arm():
    with pytest.raises(ValueError, match=r"separated, armA has no finite.*same in all of arm A"):
        logistic(two_by_two(0, 20, 6, 22), "y", "arm", reference="P")


def test_separation_by_a_covariate_is_named(trial):
    trial["split"] = np.where(trial["y"] == 1, 3.0, 1.0) + np.linspace(0, 1, len(trial))
    with pytest.raises(ValueError, match=r"separated.*split"):
        logistic(trial, "y", "arm", ["split"])
    # One patient on the other side makes the estimate finite.
    trial.loc[trial.index[trial["y"] == 1][0], "split"] = 0.0
    trial.loc[trial.index[trial["y"] == 0][0], "split"] = 6.0
    assert np.isfinite(logistic(trial, "y", "arm", ["split"]).contrasts["estimate"]).all()


def test_likelihood_ratio_and_profile_interval(trial):
    found = logistic(trial, "y", "arm", ["base", "site"], test="lr")
    fit = found.fits[None]
    matrix, y = fit.matrix, fit.y
    full = sm.Logit(y, matrix).fit(disp=0).llf
    small = sm.Logit(y, np.delete(matrix, 1, axis=1)).fit(disp=0).llf
    one = found.contrasts.iloc[0]
    assert one["statistic"] ** 2 == pytest.approx(2 * (full - small), rel=1e-6)
    assert one["p"] == pytest.approx(stats.chi2.sf(2 * (full - small), 1), rel=1e-6)
    model = sm.GLM(
        y, np.delete(matrix, 1, axis=1), sm.families.Binomial(), offset=matrix[:, 1] * one["ci_low"]
    )
    assert 2 * (full - model.fit().llf) == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-6)


def test_standardised_risks_and_their_delta_variance(trial):
    found = logistic(trial, "y", "arm", ["base", "site"])
    fit = found.fits[None]
    terms = found.coefficients.set_index("term")
    assert list(terms.index) == ["(Intercept)", "armA", "armB", "base", "sitey", "sitez"]

    def difference(beta):
        def risk(a, b):
            matrix = fit.matrix.copy()
            matrix[:, 1], matrix[:, 2] = a, b
            return (1 / (1 + np.exp(-matrix @ beta))).mean()

        return risk(0, 1) - risk(0, 0)

    beta = terms["estimate"].to_numpy()
    slope = optimize.approx_fprime(beta, difference, 1e-7)
    vcov = sm.Logit(fit.y, fit.matrix).fit(disp=0).cov_params()
    two = found.contrasts.iloc[1]
    assert two["contrast"] == "B - P"
    assert two["risk_difference"] == pytest.approx(difference(beta), rel=1e-9)
    assert two["rd_se"] == pytest.approx(np.sqrt(slope @ vcov @ slope), rel=1e-5)
    robust = sm.GLM(fit.y, fit.matrix, sm.families.Binomial()).fit(cov_type="HC0").cov_params()
    se = logistic(trial, "y", "arm", ["base", "site"], variance="HC0").contrasts.loc[1, "rd_se"]
    assert se == pytest.approx(np.sqrt(slope @ robust @ slope), rel=1e-5)


def test_variance_of_ye_is_near_the_spread_of_influence(trial):
    """To first order it is the variance of the doubly robust influence function."""
    found = logistic(trial, "y", "arm", ["base"], variance="ye")
    fit = found.fits[None]
    p = [1 / (1 + np.exp(-fit.columns.with_arm(i) @ fit.beta)) for i in (0, 1)]
    codes, share = fit.columns.codes, np.bincount(fit.columns.codes) / len(fit.y)
    influence = [(codes == i) / share[i] * (fit.y - p[i]) + p[i] - p[i].mean() for i in (0, 1)]
    se = np.std(influence[1] - influence[0]) / np.sqrt(len(fit.y))
    assert found.contrasts.loc[0, "rd_se"] == pytest.approx(se, rel=0.02)


def test_order_of_rows_and_reference(trial):
    one = logistic(trial, "y", "arm", ["base"])
    two = logistic(trial.sample(frac=1, random_state=1), "y", "arm", ["base"])
    pd.testing.assert_frame_equal(one.contrasts, two.contrasts)
    turned = logistic(trial, "y", "arm", ["base"], reference="A").contrasts.set_index("contrast")
    back = one.contrasts.set_index("contrast")
    assert turned.loc["P - A", "estimate"] == pytest.approx(-back.loc["A - P", "estimate"])
    assert turned.loc["P - A", "rd_se"] == pytest.approx(back.loc["A - P", "rd_se"])


def test_strata_have_fits_of_their_own(trial):
    trial.loc[trial["site"] == "z", "y"] = 1
    with pytest.warns(UserWarning, match="site z: not estimated: y is 1 in all"):
        found = logistic(trial, "y", "arm", ["base"], by="site")
    assert found.contrasts["site"].tolist() == ["x", "x", "y", "y", "z", "z"]
    assert found.contrasts.loc[4:, "estimate"].isna().all()
    alone = logistic(trial.loc[trial["site"] == "y"], "y", "arm", ["base"]).contrasts
    inside = found.contrasts.iloc[2:4].drop(columns="site").reset_index(drop=True)
    pd.testing.assert_frame_equal(inside, alone, check_dtype=False)


def test_missing_rows_are_left_out_and_aliased_terms_too(trial):
    trial.loc[:4, "base"] = np.nan
    trial["twice"] = 2 * trial["base"]
    with pytest.warns(UserWarning, match="twice is aliased"):
        found = logistic(trial, "y", "arm", ["base", "twice"])
    assert (found.contrasts["n"] == len(trial) - 5).all()
    assert found.risks["n"].sum() == len(trial) - 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": 1}, "y is 1 in all"),
        ({"y": 2}, "'y' must be 0 or 1"),
        ({"y": "yes"}, "'y' holds text"),
        ({"y": np.nan}, "no row has all of"),
        ({"base": np.inf}, "'base' holds 240 infinite"),
        ({"arm": "P"}, "one arm only, P"),
    ],
)
def test_bad_columns(trial, change, message):
    with pytest.raises(ValueError, match=message):
        logistic(trial.assign(**change), "y", "arm", ["base"])


def test_bad_calls(trial):
    with pytest.raises(ValueError, match="logistic: no column 'nix'"):
        logistic(trial, "y", "arm", ["nix"])
    with pytest.raises(ValueError, match="two parts"):
        logistic(trial, "y", "arm", ["arm"])
    with pytest.raises(ValueError, match="reference 'Q' is no level"):
        logistic(trial, "y", "arm", reference="Q")
    with pytest.raises(ValueError, match="is aliased with the covariates"):
        logistic(trial.assign(copy=trial["arm"]), "y", "arm", ["copy"])
    with pytest.raises(ValueError, match="6 patients for 6 model terms"):
        logistic(
            pd.concat([trial[trial["arm"] == a].head(2) for a in "PAB"]).assign(
                y=[0, 1] * 3, site=list("xyzxyz")
            ),
            "y",
            "arm",
            ["base", "site"],
        )
    lost = trial.assign(base=trial["base"].where(trial["arm"] != "B"))
    with pytest.raises(ValueError, match="arm B has no row with all of y, arm, base"):
        logistic(lost, "y", "arm", ["base"])
    for option in ("method", "separation", "test", "variance"):
        with pytest.raises(ValueError, match=f"logistic: {option} 'x' is not one of"):
            logistic(trial, "y", "arm", **{option: "x"})
    with pytest.raises(ValueError, match="confidence 95"):
        logistic(trial, "y", "arm", confidence=95)
