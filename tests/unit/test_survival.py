import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from lungitude.statistics.cox import cox
from lungitude.statistics.survival import (
    at_risk,
    kaplan_meier,
    logrank,
    observed_expected,
    restricted_mean,
    survival_at,
    survival_quantile,
)


@pytest.fixture
def trial():
    rng = np.random.default_rng(21)
    n = 120
    data = pd.DataFrame(
        {
            "arm": pd.Categorical(rng.choice(["A", "B", "P"], n), ["P", "A", "B"]),
            "age": rng.normal(60, 8, n),
            "site": rng.choice(["x", "y"], n),
        }
    )
    hazard = np.exp(0.04 * (data["age"] - 60) - 0.6 * (data["arm"] == "A"))
    failure = rng.exponential(10 / hazard)
    drop = rng.uniform(2, 25, n)
    data["exact"] = np.minimum(failure, drop)
    data["event"] = (failure <= drop).astype(int)
    data["time"] = np.ceil(data["exact"])  # many ties
    return data


def test_curve_without_censoring_is_the_empirical_distribution():
    data = pd.DataFrame({"t": [3, 1, 2, 2, 5, 8, 8, 9], "d": 1})
    curve = kaplan_meier(data, "t", "d")
    assert curve["time"].tolist() == [1, 2, 3, 5, 8, 9]
    assert curve["n_risk"].tolist() == [8, 7, 5, 4, 3, 1]
    share = [(data["t"] > t).mean() for t in curve["time"]]
    assert curve["survival"].tolist() == pytest.approx(share, rel=1e-12)
    se = [np.sqrt(p * (1 - p) / 8) for p in share[:-1]]
    assert curve["se"].tolist()[:-1] == pytest.approx(se, rel=1e-12)


def test_curve_is_that_of_statsmodels(trial):
    curve = kaplan_meier(trial, "time", "event", "arm")
    for name, part in trial.groupby("arm", observed=True):
        want = SurvfuncRight(part["time"], part["event"])
        mine = curve.loc[(curve["arm"] == name) & (curve["n_event"] > 0)]
        assert mine["time"].tolist() == want.surv_times.tolist()
        assert mine["survival"].tolist() == pytest.approx(want.surv_prob.tolist(), rel=1e-12)
        known = mine["survival"] > 0
        assert mine.loc[known, "se"].tolist() == pytest.approx(
            want.surv_prob_se[known].tolist(), rel=1e-9
        )
        low, high = want.quantile_ci(0.5)
        found = survival_quantile(part, "time", "event").iloc[0]
        assert found["estimate"] == want.quantile(0.5)
        assert found[["ci_low", "ci_high"]].tolist() == [low, high]


def test_intervals_on_their_scales(trial):
    z = stats.norm.ppf(0.95)
    tables = {
        scale: kaplan_meier(trial, "time", "event", confidence=0.9, interval=scale)
        for scale in ("plain", "log", "log-log")
    }
    row = tables["plain"].index[5]
    s, se = tables["plain"].loc[row, ["survival", "se"]]
    assert tables["plain"].loc[row, "ci_low"] == pytest.approx(s - z * se, rel=1e-12)
    assert tables["log"].loc[row, "ci_low"] == pytest.approx(s * np.exp(-z * se / s), rel=1e-12)
    low = np.exp(-np.exp(np.log(-np.log(s)) + z * se / (s * -np.log(s))))
    assert tables["log-log"].loc[row, "ci_low"] == pytest.approx(low, rel=1e-12)
    for table in tables.values():
        inside = table.dropna()
        assert (inside["ci_low"] <= inside["survival"]).all()
        assert inside["ci_high"].between(inside["survival"], 1).all()


def test_median_of_a_curve_at_one_half_is_the_midpoint():
    data = pd.DataFrame({"t": [1, 2, 3, 4], "d": [1, 1, 1, 1]})
    assert survival_quantile(data, "t", "d").loc[0, "estimate"] == 2.5
    data = pd.DataFrame({"t": [1, 2, 3, 4], "d": [1, 0, 0, 0]})
    assert np.isnan(survival_quantile(data, "t", "d").loc[0, "estimate"])
    assert survival_quantile(data, "t", "d", share=0.2).loc[0, "estimate"] == 1


def test_survival_and_number_at_risk_at_times():
    data = pd.DataFrame({"t": [2, 4, 4, 6, 9], "d": [1, 0, 1, 1, 0], "arm": ["A"] * 5})
    found = survival_at(data, "t", "d", [0, 4, 5, 9, 10], "arm", interval="log")
    assert found["survival"].tolist()[:4] == pytest.approx([1, 0.6, 0.6, 0.3], rel=1e-12)
    assert found["survival"].isna().tolist() == [False] * 4 + [True]
    assert found["n_risk"].tolist() == [5, 4, 2, 1, 0]
    table = at_risk(data, "t", "d", "arm", [0, 4, 5, 9, 10])
    assert table["n_risk"].tolist() == [5, 4, 2, 1, 0]
    assert table["n_event"].tolist() == [0, 2, 2, 3, 3]
    assert table["n_censored"].tolist() == [0, 1, 1, 2, 2]
    assert at_risk(data, "t", "d")["time"].tolist() == pytest.approx(np.linspace(0, 9, 6).tolist())


@pytest.mark.parametrize("strata", [None, "site"])
def test_logrank_is_that_of_statsmodels(trial, strata):
    found = logrank(trial, "time", "event", "arm", strata).iloc[0]
    value, p = survdiff(
        trial["time"],
        trial["event"],
        trial["arm"].astype(str),
        strata=None if strata is None else trial[strata],
    )
    assert found["statistic"] == pytest.approx(value, rel=1e-9)
    assert found["p"] == pytest.approx(p, rel=1e-9)
    assert found["df"] == 2
    table = observed_expected(trial, "time", "event", "arm", strata)
    assert table["observed"].sum() == trial["event"].sum()
    assert table["expected"].sum() == pytest.approx(trial["event"].sum(), rel=1e-12)


def test_logrank_without_ties_is_the_score_test_of_cox(trial):
    for strata in (None, "site"):
        fit = cox(trial, "exact", "event", "arm", strata=strata)
        score = fit.tests.set_index(["of", "test"]).loc[("arm", "score")]
        test = logrank(trial, "exact", "event", "arm", strata).iloc[0]
        assert score["statistic"] == pytest.approx(test["statistic"], rel=1e-9)


def test_arm_that_leaves_before_the_first_event_has_no_part():
    data = pd.DataFrame(
        {"t": [5, 6, 7, 8, 9, 10, 1, 2], "d": [1, 1, 0, 1, 1, 1, 0, 0], "arm": list("ABABABCC")}
    )
    whole = logrank(data, "t", "d", "arm").iloc[0]
    pair = logrank(data.head(6), "t", "d", "arm").iloc[0]
    assert whole[["statistic", "df", "p"]].tolist() == pair[["statistic", "df", "p"]].tolist()


def test_ties_matter_only_where_there_are_some(trial):
    one, two = (
        cox(trial, "exact", "event", "arm", ["age"], ties=ties) for ties in ("efron", "breslow")
    )
    pd.testing.assert_frame_equal(one.contrasts, two.contrasts)
    one, two = (
        cox(trial, "time", "event", "arm", ["age"], ties=ties) for ties in ("efron", "breslow")
    )
    assert (one.contrasts["estimate"] - two.contrasts["estimate"]).abs().min() > 1e-4


def test_cox_solves_its_score_equations(trial):
    """Breslow's partial likelihood written out, and its numerical information."""
    fit = cox(trial, "time", "event", "arm", ["age"], ties="breslow")
    terms = fit.coefficients.set_index("term")
    assert list(terms.index) == ["armA", "armB", "age"]
    x = np.column_stack([trial["arm"] == "A", trial["arm"] == "B", trial["age"]]).astype(float)
    time, event = trial["time"].to_numpy(), trial["event"].to_numpy()

    def loglik(beta, moving=0.0):
        total = 0.0
        for i in np.flatnonzero(event):
            risk = time >= time[i]
            eta = x @ beta + moving * x[:, 2] * time[i]
            total += eta[i] - np.log(np.exp(eta[risk]).sum())
        return total

    beta = terms["estimate"].to_numpy()
    assert fit.loglik == pytest.approx(loglik(beta), rel=1e-10)
    assert fit.loglik_null == pytest.approx(loglik(np.zeros(3)), rel=1e-10)
    step = np.array([1e-4, 1e-4, 1e-6])
    for j in range(3):
        move = np.eye(3)[j] * step[j]
        slope = (loglik(beta + move) - loglik(beta - move)) / (2 * step[j])
        assert abs(slope * terms["se"].iloc[j]) < 1e-5
    # The test of proportional hazards is the score test of x t: check its score by differences.
    found = fit.proportional_hazards("identity").set_index("term")
    assert list(found.index) == ["arm", "age", "GLOBAL"]
    assert found["df"].tolist() == [2, 1, 3]

    def joint(p):
        return loglik(p[:3], p[3])

    at = np.r_[beta, 0.0]
    steps = np.diag([1e-3, 1e-3, 1e-4, 1e-5])
    u = np.array([(joint(at + s) - joint(at - s)) / (2 * s.sum()) for s in steps])
    information = -np.array(
        [
            [
                (joint(at + a + b) - joint(at + a - b) - joint(at - a + b) + joint(at - a - b))
                / (4 * a.sum() * b.sum())
                for b in steps
            ]
            for a in steps
        ]
    )
    assert found.loc["age", "statistic"] == pytest.approx(
        u @ np.linalg.solve(information, u), rel=1e-3
    )


def test_tests_of_the_arms_given_the_covariates(trial):
    full = cox(trial, "time", "event", "arm", ["age"])
    tests = full.tests.set_index(["of", "test"])
    assert tests["df"].tolist() == [3, 3, 3, 2, 2, 2]
    small = PHReg(trial["time"], trial[["age"]], status=trial["event"], ties="efron").fit().llf
    assert tests.loc[("arm", "likelihood ratio"), "statistic"] == pytest.approx(
        2 * (full.loglik - small), rel=1e-6
    )
    one = full.contrasts.iloc[0]
    assert one["hazard_ratio"] == pytest.approx(np.exp(one["estimate"]))
    assert one["events_arm"] == trial.loc[trial["arm"] == "A", "event"].sum()
    assert one["n"] == len(trial)


def test_cox_does_not_depend_on_order_reference_or_units(trial):
    one = cox(trial, "time", "event", "arm", ["age"], strata="site")
    two = cox(trial.sample(frac=1, random_state=3), "time", "event", "arm", ["age"], strata="site")
    pd.testing.assert_frame_equal(one.contrasts, two.contrasts)
    turned = cox(trial, "time", "event", "arm", ["age"], strata="site", reference="A").contrasts
    assert turned["contrast"].tolist() == ["P - A", "B - A"]
    assert turned.loc[0, "estimate"] == pytest.approx(-one.contrasts.loc[0, "estimate"], rel=1e-7)
    days = trial.assign(time=365.25 * trial["time"], age=trial["age"] * 12)
    days = cox(days, "time", "event", "arm", ["age"], strata="site").contrasts
    pd.testing.assert_frame_equal(one.contrasts, days)


@pytest.mark.parametrize("transform", ["km", "identity", "log", "rank"])
def test_hazards_that_cross_are_seen(transform):
    rng = np.random.default_rng(8)
    n = 400
    arm = np.repeat(["A", "P"], n // 2)
    shape = np.where(arm == "A", 0.6, 2.5)
    time = rng.weibull(shape) * 10 + 1e-6
    data = pd.DataFrame({"t": np.minimum(time, 20), "d": (time < 20).astype(int), "arm": arm})
    assert cox(data, "t", "d", "arm").proportional_hazards(transform).loc[0, "p"] < 1e-4
    even = data.assign(arm=rng.permutation(arm))
    assert cox(even, "t", "d", "arm").proportional_hazards(transform).loc[0, "p"] > 1e-3


def test_restricted_mean_without_censoring_is_a_mean():
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"t": rng.exponential(5, 60), "d": 1, "arm": list("AP") * 30})
    found = restricted_mean(data, "t", "d", "arm", tau=6, reference="P")
    cut = data["t"].clip(upper=6).groupby(data["arm"])
    means = found.means.set_index("arm")
    assert means["estimate"].to_dict() == pytest.approx(cut.mean().to_dict(), rel=1e-12)
    se = (cut.std(ddof=0) / np.sqrt(30)).to_dict()
    assert means["se"].to_dict() == pytest.approx(se, rel=1e-9)
    one = found.contrasts.iloc[0]
    assert one["estimate"] == pytest.approx(cut.mean()["A"] - cut.mean()["P"], rel=1e-9)
    assert one["se"] == pytest.approx(np.hypot(se["A"], se["P"]), rel=1e-9)
    assert one["ratio"] == pytest.approx(cut.mean()["A"] / cut.mean()["P"], rel=1e-9)


def test_restricted_mean_of_one_sample_and_of_no_event():
    data = pd.DataFrame({"t": [2, 4, 8], "d": [1, 1, 0]})
    found = restricted_mean(data, "t", "d")
    assert found.contrasts is None
    assert found.means.loc[0, "tau"] == 8
    assert found.means.loc[0, "estimate"] == pytest.approx(2 + 2 * 2 / 3 + 4 / 3)
    with pytest.warns(UserWarning, match="no event before tau 1"):
        assert restricted_mean(data, "t", "d", tau=1).means.loc[0, "estimate"] == 1
    with pytest.raises(ValueError, match="tau 9 is beyond the largest 't'"):
        restricted_mean(data, "t", "d", tau=9)
    with pytest.raises(ValueError, match="tau 0 is not above 0"):
        restricted_mean(data, "t", "d", tau=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"time": 0}, r"'time' is 0 or below in 1 rows \(arm P\)"),
        ({"time": np.nan}, r"'time' is missing in 1 rows \(arm P: 1\)"),
        ({"time": np.inf}, "'time' holds 1 infinite"),
        ({"event": 2}, r"'event' must be 0 or 1 \(found: 2\)"),
        ({"event": np.nan}, r"'event' is missing in 1 rows"),
    ],
)
def test_bad_values(trial, row, message):
    trial = trial.astype({"event": float})
    first = trial.index[trial["arm"] == "P"][0]
    for name, value in row.items():
        trial.loc[first, name] = value
    for function in (kaplan_meier, logrank, cox, restricted_mean, at_risk, survival_quantile):
        with pytest.raises(ValueError, match=message):
            function(trial, "time", "event", "arm")


def test_bad_calls(trial):
    with pytest.raises(ValueError, match="cox: 'event' has no event in arm A"):
        cox(trial.assign(event=trial["event"] * (trial["arm"] != "A")), "time", "event", "arm")
    with pytest.raises(ValueError, match="logrank: 'event' has no event in any arm"):
        logrank(trial.assign(event=0), "time", "event", "arm")
    with pytest.raises(ValueError, match="one arm only, A"):
        logrank(trial.loc[trial["arm"] == "A"], "time", "event", "arm")
    with pytest.raises(ValueError, match="one arm only, A"):
        cox(trial.loc[trial["arm"] == "A"], "time", "event", "arm")
    with pytest.raises(ValueError, match="armA, armB is aliased"):
        cox(trial.assign(copy=trial["arm"]), "time", "event", "arm", strata="copy")
    with pytest.raises(ValueError, match="last has no finite estimate"):
        last = trial.assign(last=(trial["event"] == 0) * 1.0 * (trial["time"] < 9))
        cox(last, "time", "event", "arm", ["last"])
    with pytest.raises(ValueError, match="wait has no finite estimate"):
        cox(trial.assign(wait=-trial["exact"]), "exact", "event", "arm", ["wait"])
    with pytest.raises(ValueError, match="interval 'wald' is not one of"):
        kaplan_meier(trial, "time", "event", interval="wald")
    with pytest.raises(ValueError, match="ties 'exact' is not one of"):
        cox(trial, "time", "event", "arm", ties="exact")
    with pytest.raises(ValueError, match="kaplan_meier: no column 'nix'"):
        kaplan_meier(trial, "time", "nix")
    with pytest.raises(ValueError, match="times must be finite"):
        survival_at(trial, "time", "event", [-1])
    with pytest.raises(ValueError, match="no row has all of"):
        kaplan_meier(trial.iloc[:0], "time", "event")
    with pytest.warns(UserWarning, match="twice is aliased"):
        cox(trial.assign(twice=2 * trial["age"]), "time", "event", "arm", ["age", "twice"])
    lost = trial.assign(age=trial["age"].where(trial["arm"] != "B"))
    with pytest.raises(ValueError, match="arm B has no row with all of"):
        cox(lost, "time", "event", "arm", ["age"])
