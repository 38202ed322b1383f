import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from lungitude.statistics.counts import count_model


@pytest.fixture
def trial():
    rng = np.random.default_rng(11)
    n = 150
    data = pd.DataFrame(
        {
            "arm": rng.choice(["A", "P"], n),
            "base": rng.normal(0, 1, n),
            "site": rng.choice(["x", "y"], n),
            "years": rng.uniform(0.2, 1.5, n),
        }
    )
    mean = data["years"] * np.exp(0.6 - 0.5 * (data["arm"] == "A") + 0.3 * data["base"])
    data["events"] = rng.negative_binomial(1.5, 1.5 / (1.5 + mean))
    return data


def negative_loglik(parameters, fit):
    *beta, log_theta = parameters
    theta = np.exp(log_theta)
    mu = fit.exposure * np.exp(fit.matrix @ np.array(beta))
    return -stats.nbinom.logpmf(fit.y, theta, theta / (theta + mu)).sum()


def hessian(function, point, step=1e-4):
    k = len(point)
    steps = np.eye(k) * step
    return np.array(
        [
            [
                function(point + a + b)
                - function(point + a - b)
                - function(point - a + b)
                + function(point - a - b)
                for b in steps
            ]
            for a in steps
        ]
    ) / (4 * step**2)


def test_poisson_without_covariates_is_the_ratio_of_rates(trial):
    found = count_model(trial, "events", "arm", exposure="years", family="poisson", reference="P")
    sums = trial.groupby("arm")[["events", "years"]].sum()
    rates = sums["events"] / sums["years"]
    one = found.contrasts.iloc[0]
    assert one["rate_ratio"] == pytest.approx(rates["A"] / rates["P"], rel=1e-9)
    assert one["se"] == pytest.approx(np.sqrt((1 / sums["events"]).sum()), rel=1e-9)
    assert one[["events_arm", "exposure_arm"]].tolist() == pytest.approx(sums.loc["A"].tolist())
    table = found.rates.set_index("arm")
    assert table["rate"].to_dict() == pytest.approx(rates.to_dict(), rel=1e-9)
    assert table["crude_rate"].to_dict() == pytest.approx(rates.to_dict(), rel=1e-12)
    z = stats.norm.ppf(0.975)
    high = rates["A"] * np.exp(z / np.sqrt(sums.loc["A", "events"]))
    assert table.loc["A", "ci_high"] == pytest.approx(high, rel=1e-9)


def test_negative_binomial_is_the_maximum_of_its_likelihood(trial):
    found = count_model(trial, "events", "arm", ["base", "site"], "years", reference="P")
    fit = found.fits[None]
    assert found.coefficients["term"].tolist() == ["(Intercept)", "armA", "base", "sitey"]
    start = np.r_[fit.beta, -np.log(fit.alpha)] + 0.1
    best = optimize.minimize(negative_loglik, start, (fit,), method="BFGS", options={"gtol": 1e-7})
    assert found.coefficients["estimate"].tolist() == pytest.approx(best.x[:-1].tolist(), abs=2e-6)
    one = found.dispersion.iloc[0]
    assert np.log(one["theta"]) == pytest.approx(best.x[-1], abs=1e-5)
    assert one["alpha"] == pytest.approx(1 / one["theta"], rel=1e-12)
    assert one["loglik"] == pytest.approx(-best.fun, rel=1e-10)
    at = np.r_[fit.beta, np.log(one["theta"])]
    gradient = optimize.approx_fprime(at, negative_loglik, 1e-6, fit)
    assert np.abs(gradient).max() < 1e-3


def test_information_expected_and_observed(trial):
    arguments = (trial, "events", "arm", ["base"], "years")
    expected = count_model(*arguments, reference="P")
    observed = count_model(*arguments, reference="P", information="observed")
    fit = observed.fits[None]
    at = np.r_[fit.beta, -np.log(fit.alpha)]
    numeric = np.linalg.inv(hessian(lambda x: negative_loglik(x, fit), at))
    se = np.sqrt(np.diag(numeric))
    assert observed.coefficients["se"].tolist() == pytest.approx(se[:-1].tolist(), rel=1e-4)
    one = observed.dispersion.iloc[0]
    assert one["theta_se"] / one["theta"] == pytest.approx(se[-1], rel=1e-4)
    z = stats.norm.ppf(0.975)
    assert one["ci_low"] == pytest.approx(one["alpha"] * np.exp(-z * se[-1]), rel=1e-3)
    weight = fit.mu / (1 + fit.alpha * fit.mu)
    plain = np.linalg.inv((fit.matrix.T * weight) @ fit.matrix)
    assert expected.coefficients["se"].tolist() == pytest.approx(
        np.sqrt(np.diag(plain)).tolist(), rel=1e-9
    )
    assert expected.contrasts.loc[0, "estimate"] == observed.contrasts.loc[0, "estimate"]


def test_without_overdispersion_it_is_poisson_and_says_so(trial):
    rng = np.random.default_rng(2)
    trial["events"] = rng.binomial(4, 0.5, len(trial))
    with pytest.warns(UserWarning, match="no overdispersion, the dispersion is 0: Poisson"):
        found = count_model(trial, "events", "arm", ["base"])
    poisson = count_model(trial, "events", "arm", ["base"], family="poisson")
    pd.testing.assert_frame_equal(found.contrasts, poisson.contrasts)
    one = found.dispersion.iloc[0]
    assert one["family"] == "poisson"
    assert one["alpha"] == 0
    assert one["theta"] == np.inf
    assert np.isnan(one["ci_high"])


def test_small_dispersion_is_near_poisson():
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"arm": list("AP") * 2000, "events": rng.poisson(5, 4000)})
    data.loc[:60, "events"] = 12  # just above the variance of a Poisson distribution
    found = count_model(data, "events", "arm")
    assert 0 < found.dispersion.loc[0, "alpha"] < 0.02
    poisson = count_model(data, "events", "arm", family="poisson").contrasts
    assert found.contrasts.loc[0, "estimate"] == pytest.approx(poisson.loc[0, "estimate"], rel=1e-6)
    assert found.contrasts.loc[0, "se"] == pytest.approx(poisson.loc[0, "se"], rel=0.05)


def test_unit_of_exposure_changes_rates_only(trial):
    years = count_model(trial, "events", "arm", ["base"], "years")
    trial["days"] = 365.25 * trial["years"]
    days = count_model(trial, "events", "arm", ["base"], "days")
    columns = ["estimate", "se", "p"]
    pd.testing.assert_frame_equal(years.contrasts[columns], days.contrasts[columns])
    ratio = years.rates["rate"] / days.rates["rate"]
    assert ratio.tolist() == pytest.approx([365.25, 365.25], rel=1e-9)


def test_strata_and_missing_rows(trial):
    trial.loc[0, "years"] = np.nan
    trial.loc[(trial["site"] == "y") & (trial["arm"] == "A"), "events"] = 0
    with pytest.warns(UserWarning, match="site y: not estimated: armP has no finite"):
        found = count_model(trial, "events", "arm", exposure="years", by="site")
    assert found.contrasts["site"].tolist() == ["x", "y"]
    assert np.isnan(found.contrasts.loc[1, "estimate"])
    alone = count_model(trial.loc[trial["site"] == "x"], "events", "arm", exposure="years")
    assert found.contrasts.loc[0, "p"] == alone.contrasts.loc[0, "p"]
    whole = count_model(trial.assign(events=2 * trial["events"]), "events", "site")
    assert whole.contrasts.loc[0, "n"] == len(trial)
    used = count_model(trial, "events", "site", exposure="years")
    assert used.contrasts.loc[0, "n"] == len(trial) - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": -1}, "'events' holds 150 negative counts"),
        ({"events": 0.5}, "'events' holds 150 fractions"),
        ({"events": 0}, "events is 0 in all 150 rows"),
        ({"events": "two"}, "'events' holds text"),
        ({"years": 0.0}, "exposure 'years' is 0 or below in 150 rows"),
        ({"years": np.inf}, "'years' holds 150 infinite"),
        ({"arm": "A"}, "'arm' has one arm only, A"),
    ],
)
def test_bad_columns(trial, change, message):
    with pytest.raises(ValueError, match=message):
        count_model(trial.assign(**change), "events", "arm", ["base"], "years")


def test_bad_calls(trial):
    with pytest.raises(ValueError, match="events is 3 in all"):
        count_model(trial.assign(events=3), "events", "arm")
    with pytest.raises(
        ValueError, match="armP has no finite estimate; events has no event in arm P"
    ):
        count_model(trial.assign(events=trial["events"] * (trial["arm"] == "A")), "events", "arm")
    with pytest.raises(ValueError, match="sitey has no finite estimate"):
        none = trial.assign(events=trial["events"] * (trial["site"] == "x"))
        count_model(none, "events", "arm", ["site"])
    with pytest.raises(ValueError, match="family 'zip' is not one of"):
        count_model(trial, "events", "arm", family="zip")
    with pytest.raises(ValueError, match="no column 'nix'"):
        count_model(trial, "events", "arm", exposure="nix")
