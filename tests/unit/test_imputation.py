"""Identities, hand-computed imputations and bad input of reference-based imputation."""

import warnings

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.ancova import ancova
from lungitude.statistics.imputation import ImputationModel, impute_reference_based
from lungitude.statistics.incomplete import visit_order
from lungitude.statistics.mmrm import mmrm
from lungitude.statistics.replicates import NOBODY
from lungitude.statistics.tipping import tipping_point

STRATEGIES = ("mar", "j2r", "cr", "cir")
BY_VISIT = {"covariates": ["BASE*AVISIT", "SEX*AVISIT"], "by_arm": False}


def simulated(n=60, visits=3, seed=5, arms=("PBO", "TRT"), dropout=0.15, effect=0.6):
    rng = np.random.default_rng(seed)
    base = rng.normal(10, 2, n)
    sex = np.where(rng.random(n) < 0.5, "F", "M")
    arm = np.array(arms)[np.arange(n) % len(arms)]
    root = np.linalg.cholesky(0.5 + 0.5 * np.eye(visits))
    y = 0.4 * base[:, None] + rng.normal(size=(n, visits)) @ root.T
    y += effect * (arm != arms[0])[:, None] * np.arange(1, visits + 1)
    gone = np.cumsum(rng.random((n, visits)) < dropout, axis=1) > 0
    gone |= rng.random((n, visits)) < dropout / 5
    y[gone] = np.nan
    return pd.DataFrame(
        {
            "USUBJID": np.repeat([f"P{i:03d}" for i in range(n)], visits),
            "AVISIT": np.tile([f"Week {6 * (j + 1)}" for j in range(visits)], n),
            "TRT01P": np.repeat(arm, visits),
            "BASE": np.repeat(base, visits),
            "SEX": np.repeat(sex, visits),
            "AVAL": y.ravel(),
        }
    )


@pytest.fixture(scope="module")
def trial():
    frame = simulated()
    lost = frame["AVAL"].isna().to_numpy().reshape(-1, 3)
    # Every kind of patient is there: none observed, intermittent, drop-out, both.
    assert lost.all(axis=1).any()
    assert (lost & ~np.logical_and.accumulate(lost[:, ::-1], axis=1)[:, ::-1]).any()
    return frame


@pytest.fixture(scope="module")
def model(trial):
    return ImputationModel(trial, **BY_VISIT)


def by_hand(frame, strategy, same_cov=True):
    """Conditional means of all missing values, written out patient by patient."""
    order = sorted(frame["AVISIT"].unique(), key=lambda name: int(name.split()[1]))
    long = frame.assign(AVISIT=pd.Categorical(frame["AVISIT"], order))
    group = None if same_cov else "TRT01P"
    fit = mmrm(long, "AVAL ~ BASE*AVISIT + SEX*AVISIT + TRT01P*AVISIT", group=group)
    coefficients = fit.coefficients.set_index("term")["estimate"]

    def mean(base, sex, treated):
        found = []
        for name in order:
            terms = {"(Intercept)": 1, "BASE": base, "SEXM": sex == "M", "TRT01PTRT": treated}
            total = sum(coefficients[t] * x for t, x in terms.items())
            if name != order[0]:
                total += coefficients[f"AVISIT{name}"]
                for left, x in (("BASE:AVISIT", base), ("SEXM:AVISIT", sex == "M")):
                    label = left + name
                    if label not in coefficients:
                        label = f"AVISIT{name}:" + left.split(":")[0]
                    total += coefficients[label] * x
                label = f"TRT01PTRT:AVISIT{name}"
                if label not in coefficients:
                    label = f"AVISIT{name}:TRT01PTRT"
                total += coefficients[label] * treated
            found.append(total)
        return np.array(found)

    def covariance(arm):
        return np.asarray(fit.covariance if same_cov else fit.covariance[arm])

    completed = {}
    for patient, rows in frame.groupby("USUBJID"):
        rows = rows.set_index("AVISIT").loc[order]
        y = rows["AVAL"].to_numpy().copy()
        seen = ~np.isnan(y)
        base, sex, arm = rows[["BASE", "SEX", "TRT01P"]].iloc[0]
        mu, s = mean(base, sex, arm == "TRT"), covariance(arm)
        ref, r = mean(base, sex, False), covariance("PBO")
        t = int(np.flatnonzero(seen).max()) + 1 if seen.any() else 0
        if strategy != "mar" and arm == "TRT" and t < len(order):
            if strategy == "cr" or t == 0:
                mu, s = ref, r
            else:
                shift = 0 if strategy == "j2r" else mu[t - 1] - ref[t - 1]
                mu = np.r_[mu[:t], ref[t:] + shift]
                slope = r[t:, :t] @ np.linalg.inv(r[:t, :t])
                corner = r[t:, t:] - slope @ (r[:t, :t] - s[:t, :t]) @ slope.T
                s = np.block([[s[:t, :t], s[:t, :t] @ slope.T], [slope @ s[:t, :t], corner]])
        if seen.any():
            pull = s[np.ix_(~seen, seen)] @ np.linalg.inv(s[np.ix_(seen, seen)])
            y[~seen] = mu[~seen] + pull @ (y[seen] - mu[seen])
        else:
            y = mu
        completed[patient] = (y, base, sex, arm)
    return order, completed


def analysed(frame, strategy, same_cov=True):
    """ANCOVA at the last visit of `by_hand`."""
    _, completed = by_hand(frame, strategy, same_cov)
    last = pd.DataFrame(
        [(y[-1], base, sex, arm) for y, base, sex, arm in completed.values()],
        columns=["AVAL", "BASE", "SEX", "TRT01P"],
    )
    return ancova(last, "AVAL", "TRT01P", ["BASE", "SEX"], reference="PBO").contrasts.iloc[0]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("same_cov", [True, False])
def test_conditional_means(trial, strategy, same_cov):
    model = ImputationModel(trial, **BY_VISIT, same_cov=same_cov)
    order, completed = by_hand(trial, strategy, same_cov)
    assert model.visits == order
    expected = np.array([y for y, *_ in completed.values()])
    for j, visit in enumerate(order):
        missing = ~model.trial.observed[:, j]
        found = model.impute(strategy, visit)[0]
        np.testing.assert_allclose(found, expected[missing, j], rtol=1e-8)
    row = model.analyse(strategy).iloc[0]
    want = analysed(trial, strategy, same_cov)
    np.testing.assert_allclose(row["estimate"], want["estimate"], rtol=1e-8)
    assert row["n"] == want["n"] == 60


def test_strategies_differ(model):
    estimates = [model.analyse(strategy)["estimate"].iloc[0] for strategy in STRATEGIES]
    assert np.ptp(estimates) > 0.05
    assert min(np.diff(np.sort(estimates))) > 1e-4


def test_one_visit_jumps_to_the_reference_mean():
    frame = simulated(visits=1, dropout=0.3)
    model = ImputationModel(frame, by_arm=False)
    seen = frame.dropna(subset=["AVAL"])
    slope, intercept, effect = np.linalg.lstsq(
        np.column_stack([seen["BASE"], np.ones(len(seen)), seen["TRT01P"] == "TRT"]).astype(float),
        seen["AVAL"],
        rcond=None,
    )[0]
    gone = frame.loc[frame["AVAL"].isna()]
    mean = intercept + slope * gone["BASE"].to_numpy()
    for strategy in ("j2r", "cr", "cir"):
        np.testing.assert_allclose(model.impute(strategy, "Week 6")[0], mean, rtol=1e-9)
    treated = (gone["TRT01P"] == "TRT").to_numpy()
    np.testing.assert_allclose(model.impute("mar", "Week 6")[0], mean + effect * treated, rtol=1e-9)
    # The effect is diluted by the share imputed, as if it were 0 there; with MAR it is not.
    np.testing.assert_allclose(model.analyse("mar")["estimate"], effect, rtol=1e-9)
    assert abs(model.analyse("j2r")["estimate"].iloc[0]) < 0.9 * abs(effect)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_complete_data_are_analysed_as_they_are(strategy):
    frame = simulated(dropout=0)
    last = frame.loc[frame["AVISIT"] == "Week 18"]
    want = ancova(last, "AVAL", "TRT01P", ["BASE", "SEX"], reference="PBO").contrasts.iloc[0]
    model = ImputationModel(frame, **BY_VISIT)
    row = model.analyse(strategy).iloc[0]
    np.testing.assert_allclose(row["estimate"], want["estimate"], rtol=1e-9)
    assert row["n_imputed"] == 0
    columns = ["estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"]
    row = model.analyse(strategy, "bayes").iloc[0]
    np.testing.assert_allclose(row[columns].astype(float), want[columns].astype(float), rtol=1e-9)
    # A delta has nothing to shift.
    assert (
        model.analyse(strategy, delta=3)["estimate"].iloc[0]
        == model.analyse(strategy)["estimate"].iloc[0]
    )


def test_mar_is_the_mmrm(trial, model):
    # Exact where every covariate has a slope a visit (the REML fixed effects are a fixed point of
    # EM); with one slope for all visits the ANCOVA has another model than the MMRM.
    order = [f"Week {w}" for w in (6, 12, 18)]
    long = trial.assign(AVISIT=pd.Categorical(trial["AVISIT"], order))
    fit = mmrm(long, "AVAL ~ BASE*AVISIT + SEX*AVISIT + TRT01P*AVISIT")
    contrasts = fit.contrasts("TRT01P", by="AVISIT", reference="PBO").set_index("AVISIT")
    for visit in order:
        row = model.analyse("mar", visit=visit).iloc[0]
        np.testing.assert_allclose(row["estimate"], contrasts.loc[visit, "estimate"], rtol=1e-8)
        # The jackknife estimates what the model-based standard error does.
        np.testing.assert_allclose(row["se"], contrasts.loc[visit, "se"], rtol=0.2)


@pytest.mark.parametrize(("strategy", "same_cov"), [("mar", True), ("j2r", False)])
def test_jackknife_is_a_loop_of_refits(strategy, same_cov):
    frame = simulated(n=24, visits=2, seed=2)
    model = ImputationModel(frame, **BY_VISIT, same_cov=same_cov)
    left = [
        analysed(frame.loc[frame["USUBJID"] != name], strategy, same_cov)["estimate"]
        for name in frame["USUBJID"].unique()
    ]
    se = np.sqrt(23 / 24 * np.sum((left - np.mean(left)) ** 2))
    row = model.analyse(strategy).iloc[0]
    np.testing.assert_allclose(row["se"], se, rtol=1e-7)
    assert row["df"] == np.inf
    np.testing.assert_allclose(
        [row["ci_low"], row["ci_high"]], row["estimate"] + np.array([-1, 1]) * 1.959963985 * se
    )


def test_jackknife_with_delta_is_a_loop_of_refits():
    frame = simulated(n=24, visits=2, seed=2)
    delta = {"TRT": -0.7, "PBO": 0.2}
    left = [
        impute_reference_based(
            frame.loc[frame["USUBJID"] != name], **BY_VISIT, strategy="cir", delta=delta
        )["estimate"].iloc[0]
        for name in frame["USUBJID"].unique()
    ]
    se = np.sqrt(23 / 24 * np.sum((left - np.mean(left)) ** 2))
    row = impute_reference_based(frame, **BY_VISIT, strategy="cir", delta=delta).iloc[0]
    np.testing.assert_allclose(row["se"], se, rtol=1e-7)


def test_replicates_have_the_derivatives_of_the_likelihood(trial):
    for same_cov in (True, False):
        model = ImputationModel(trial, **BY_VISIT, same_cov=same_cov)
        theta = model._theta + 0.1 * np.random.default_rng(0).normal(size=len(model._theta))
        one = model._likelihood.at(theta)
        many = model._replicates.at(np.array([theta, theta]), np.array([NOBODY, 4]))
        np.testing.assert_allclose(many.beta[0], one.beta, rtol=1e-10)
        np.testing.assert_allclose(many.gradient[0], one.gradient, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(many.hessian[0], one.hessian, rtol=1e-9, atol=1e-9)
        assert np.abs(many.hessian[1] - one.hessian).max() > 1e-3


def test_posterior_draws(trial):
    # Fixed effects spread as the model has it, and a little more for the unknown covariance.
    frame = simulated(n=400, seed=8)
    model = ImputationModel(frame, by_arm=False)
    parameters, _, _ = model._posterior(4000, 1)
    like = model._likelihood
    beta = parameters.beta @ like.orthonormal(np.eye(like.k)).T + model._base
    want, vcov = like.coefficients(model._state)
    se = np.sqrt(np.diag(vcov))
    np.testing.assert_allclose((beta.mean(axis=0) - want) / se, 0, atol=5 / np.sqrt(4000))
    np.testing.assert_allclose(beta.std(axis=0) / se, 1, atol=0.06)
    draws = np.log(np.diagonal(parameters.covariance[:, 0], axis1=1, axis2=2))
    point = np.log(np.diag(model.covariance))
    np.testing.assert_allclose(draws.mean(axis=0), point, atol=0.02)
    # Var(log s^2) is 2 / df in complete data; drop-out makes it larger.
    spread = draws.std(axis=0) / np.sqrt(2 / 400)
    assert (spread > 0.95).all()
    assert (spread < 1.3).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_bayes_agrees_with_conditional_means(model, strategy):
    row = model.analyse(strategy, "bayes", n_imputations=4000).iloc[0]
    want = model.analyse(strategy)["estimate"].iloc[0]
    assert 0 < row["mc_error"] < 0.005
    assert abs(row["estimate"] - want) < 5 * row["mc_error"] + 0.01  # posterior mean, REML mode
    assert row["df"] < 60 - 4


def test_rubin_is_information_anchored(model):
    # Reference-based: the repeated-sampling variance falls with imputation, Rubin's does not.
    rows = {m: model.analyse("j2r", m)["se"].iloc[0] for m in ("conditional-mean", "bayes")}
    assert rows["bayes"] > 1.05 * rows["conditional-mean"]


def test_reproducible(trial):
    kwargs = {**BY_VISIT, "method": "bayes", "n_imputations": 50}
    first = impute_reference_based(trial, **kwargs)
    shuffled = trial.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        impute_reference_based(shuffled, **kwargs), first, check_exact=True
    )
    absent = trial.loc[trial["AVAL"].notna() | (trial["AVISIT"] == "Week 6")]
    pd.testing.assert_frame_equal(impute_reference_based(absent, **kwargs), first, check_exact=True)
    other = impute_reference_based(trial, **kwargs, seed=2)
    assert other["estimate"].iloc[0] != first["estimate"].iloc[0]


def test_one_fit_serves_all(trial, model):
    for strategy, method, visit in (
        ("cr", "conditional-mean", "Week 12"),
        ("cir", "bayes", "Week 18"),
    ):
        alone = impute_reference_based(
            trial, **BY_VISIT, strategy=strategy, method=method, analysis_visit=visit, delta=-0.2
        )
        pd.testing.assert_frame_equal(model.analyse(strategy, method, visit, -0.2), alone)


def test_delta_shifts_imputed_values(trial, model):
    _, completed = by_hand(trial, "mar")
    missing = ~model.trial.observed[:, -1]
    last = pd.DataFrame(
        [(y[-1], base, sex, arm) for y, base, sex, arm in completed.values()],
        columns=["AVAL", "BASE", "SEX", "TRT01P"],
    )
    treated = (last["TRT01P"] == "TRT").to_numpy()
    for delta, shift in (
        (-1.5, -1.5 * treated),
        ({"PBO": 1.0}, 1.0 * ~treated),
        ({"PBO": 1.0, "TRT": -2.0}, np.where(treated, -2.0, 1.0)),
        (
            pd.DataFrame(
                {
                    "TRT01P": ["TRT", "TRT"],
                    "AVISIT": ["Week 12", "Week 18"],
                    "delta": [9.0, -0.5],
                }
            ),
            -0.5 * treated,
        ),
    ):
        moved = last.assign(AVAL=last["AVAL"] + shift * missing)
        want = ancova(moved, "AVAL", "TRT01P", ["BASE", "SEX"], reference="PBO").contrasts
        found = model.analyse("mar", delta=delta)
        np.testing.assert_allclose(found["estimate"], want["estimate"], rtol=1e-8)
    for method in ("conditional-mean", "bayes"):
        pd.testing.assert_frame_equal(
            model.analyse("mar", method, delta=0), model.analyse("mar", method)
        )


def test_delta_of_bayes_is_rubin_of_shifted_values(model):
    from lungitude.statistics.linear import least_squares

    delta, draws, seed = -0.8, 40, 3
    parameters, noise, cells = model._posterior(draws, seed)
    imputed = model.impute("j2r", "Week 18", parameters, noise, cells)
    patients = model.trial.patients
    treated = (patients["TRT01P"] == "TRT").to_numpy(float)
    design = np.column_stack(
        [np.ones(60), treated, patients["BASE"], patients["SEX"] == "M"]
    ).astype(float)
    missing = ~model.trial.observed[:, -1]
    fits = []
    for values in imputed:
        y = model.trial.responses[:, -1].copy()
        y[missing] = values + delta * treated[missing]
        fits.append(least_squares(design, y))
    estimates = np.array([fit.beta[1] for fit in fits])
    within = np.mean([fit.covariance[1, 1] for fit in fits])
    between = estimates.var(ddof=1)
    total = within + (1 + 1 / draws) * between
    share = (1 + 1 / draws) * between / total
    old, seen = (draws - 1) / share**2, 57 / 59 * 56 * (1 - share)
    row = model.analyse("j2r", "bayes", delta=delta, n_imputations=draws, seed=seed).iloc[0]
    np.testing.assert_allclose(row["estimate"], estimates.mean(), rtol=1e-9)
    np.testing.assert_allclose(row["se"], np.sqrt(total), rtol=1e-9)
    np.testing.assert_allclose(row["df"], old * seen / (old + seen), rtol=1e-9)
    np.testing.assert_allclose(row["mc_error"], np.sqrt(between / draws), rtol=1e-9)


def test_draws_have_the_conditional_covariance(model):
    # With the parameters held at the estimate, what is drawn at two visits of a patient who has
    # only the first has the conditional covariance of the two given the first.
    from lungitude.statistics.imputation import Parameters

    draws = 20000
    one = model._point
    held = Parameters(np.repeat(one.beta, draws, axis=0), np.repeat(one.covariance, draws, axis=0))
    missing = ~model.trial.observed
    cells = np.full(missing.shape, -1)
    cells[missing] = np.arange(missing.sum())
    noise = np.random.default_rng(1).standard_normal((draws, missing.sum()))
    s = model.covariance.to_numpy()
    want = s[1:, 1:] - np.outer(s[1:, 0], s[0, 1:]) / s[0, 0]
    who = np.flatnonzero((missing == [False, True, True]).all(axis=1))[0]
    drawn = []
    for j, visit in ((1, "Week 12"), (2, "Week 18")):
        place = np.flatnonzero(missing[:, j]).tolist().index(who)
        drawn.append(model.impute("j2r", visit, held, noise, cells)[:, place])
        centre = model.impute("j2r", visit)[0, place]
        assert abs(drawn[-1].mean() - centre) < 5 * np.sqrt(want[j - 1, j - 1] / draws)
    np.testing.assert_allclose(np.cov(drawn), want, atol=0.04)


def test_several_arms():
    frame = simulated(n=90, arms=("PBO", "LOW", "HIGH"))
    table = impute_reference_based(frame, **BY_VISIT)
    assert table["contrast"].tolist() == ["HIGH - PBO", "LOW - PBO"]
    assert (table["n"] == 90).all()
    assert sum(table.attrs["n_imputed"].values()) == table["n_imputed"].iloc[0]
    assert list(table.columns[:9]) == [
        "contrast",
        "estimate",
        "se",
        "df",
        "p",
        "ci_low",
        "ci_high",
        "n",
        "n_imputed",
    ]
    shifted = impute_reference_based(frame, **BY_VISIT, delta={"LOW": -1})
    assert shifted["estimate"][1] < table["estimate"][1] - 0.05
    np.testing.assert_allclose(shifted["estimate"][0], table["estimate"][0], atol=0.05)


def test_without_covariates():
    frame = simulated()
    row = impute_reference_based(frame, covariates=None, strategy="mar", by_arm=False).iloc[0]
    long = frame.assign(AVISIT=pd.Categorical(frame["AVISIT"], [f"Week {w}" for w in (6, 12, 18)]))
    want = mmrm(long, "AVAL ~ TRT01P*AVISIT").contrasts("TRT01P", by="AVISIT").iloc[-1]
    np.testing.assert_allclose(row["estimate"], want["estimate"], rtol=1e-8)


def test_blocks_of_replicates(trial, model, monkeypatch):
    want = model.analyse("cir", delta=1.0)
    monkeypatch.setattr("lungitude.statistics.replicates.BLOCK", 8_000)
    monkeypatch.setattr("lungitude.statistics.imputation.BLOCK", 300)
    again = ImputationModel(trial, **BY_VISIT)
    assert again._replicates._block < 20
    pd.testing.assert_frame_equal(again.analyse("cir", delta=1.0), want, rtol=1e-10)


def test_counts(trial, model):
    counts = model.imputed
    assert counts["n_imputed"].sum() == trial["AVAL"].isna().sum()
    assert (counts["intermittent"] + counts["dropout"] == counts["n_imputed"]).all()
    assert (counts["observed"] + counts["n_imputed"] == counts["n"]).all()


def test_visits_are_in_time():
    assert visit_order(pd.Series(["Week 12", "Week 6", "Week 6"])) == ["Week 6", "Week 12"]
    assert visit_order(pd.Series([12, 2, 4])) == [2, 4, 12]
    ordered = pd.Categorical(["End", "Mid"], ["Mid", "End"])
    assert visit_order(pd.Series(ordered)) == ["Mid", "End"]
    for names in (["Mid", "End"], ["Month 3", "Week 6"]):
        with pytest.warns(UserWarning, match="ordered categorical"):
            assert visit_order(pd.Series(names)) == sorted(names)


def test_units(trial, model):
    scaled = ImputationModel(trial.assign(AVAL=trial["AVAL"] * 1e6 + 5e7), **BY_VISIT)
    for method in ("conditional-mean", "bayes"):
        ours, theirs = model.analyse("cir", method), scaled.analyse("cir", method)
        np.testing.assert_allclose(theirs["estimate"], 1e6 * ours["estimate"], rtol=1e-6)
        np.testing.assert_allclose(theirs["se"], 1e6 * ours["se"], rtol=1e-6)


@pytest.mark.parametrize("method", ["conditional-mean", "bayes"])
def test_tipping_point(trial, method):
    model = ImputationModel(trial, **BY_VISIT)
    found = tipping_point(
        model, method=method, deltas={"TRT": [0, -1, -2], "PBO": [0, 1]}, n_imputations=200
    )
    assert len(found.grid) == 6
    for row in found.grid.itertuples():
        delta = {"TRT": row.delta_active, "PBO": row.delta_reference}
        want = model.analyse("mar", method, delta=delta, n_imputations=200).iloc[0]
        columns = ["estimate", "se", "df", "p", "ci_low", "ci_high"]
        np.testing.assert_allclose(
            [getattr(row, name) for name in columns], want[columns].astype(float), rtol=1e-9
        )
        assert row.significant == (want["p"] < 0.05)
    tipping = found.tipping.set_index("role")
    assert tipping.loc["active", "delta"] < 0 < tipping.loc["reference", "delta"]
    for row in found.tipping.itertuples():
        at = model.analyse("mar", method, delta={row.arm: row.delta}, n_imputations=200).iloc[0]
        np.testing.assert_allclose(at["p"], 0.05, rtol=1e-6)
        np.testing.assert_allclose(at["estimate"], row.estimate, rtol=1e-6)
        nearer = model.analyse("mar", method, delta={row.arm: 0.99 * row.delta}, n_imputations=200)
        assert nearer["p"].iloc[0] < 0.05
    again = tipping_point(trial, **BY_VISIT, method=method, n_imputations=200)
    pd.testing.assert_frame_equal(again.tipping, found.tipping)
    assert len(again.grid) == 1


def test_tipping_point_of_no_effect():
    frame = simulated(effect=0.05, seed=3)
    found = tipping_point(frame, **BY_VISIT).tipping.set_index("role")
    assert (found["p_at_0"] > 0.05).all()
    sign = np.sign(ImputationModel(frame, **BY_VISIT).analyse("mar")["estimate"].iloc[0])
    row = found.loc["active"]
    assert row["delta"] * sign > 0
    at = impute_reference_based(
        frame, **BY_VISIT, strategy="mar", delta={"TRT": row["delta"]}
    ).iloc[0]
    np.testing.assert_allclose(at["p"], 0.05, rtol=1e-6)


def test_tipping_point_without_missing_values():
    with pytest.warns(UserWarning, match="no delta takes p"):
        found = tipping_point(simulated(dropout=0), deltas=[0.0, 1.0])
    assert found.tipping["delta"].isna().all()
    assert np.ptp(found.grid["p"]) == 0


def refused(message, frame=None, **kwargs):
    frame = simulated() if frame is None else frame
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            impute_reference_based(frame, **kwargs)


def test_bad_columns_and_choices():
    frame = simulated()
    refused("no column 'CHG'", value="CHG")
    refused("no column 'AGE'", covariates=["AGE"])
    refused("reference 'CG' is no level of 'TRT01P' .found: PBO, TRT.", reference="CG")
    refused("strategy 'locf'", strategy="locf")
    refused("method 'mi'", method="mi")
    refused("analysis_visit 'Week 99'", analysis_visit="Week 99")
    refused("n_imputations 1 ", method="bayes", n_imputations=1)
    refused("confidence", confidence=95)
    refused("seed", method="bayes", seed=-1)
    refused("no arm", delta={"EG": 1})
    refused("delta is not finite", delta=np.inf)
    refused("is no number", delta="much")
    refused("holds text", frame.assign(AVAL="high"))
    refused("no rows", frame.iloc[:0])
    with pytest.raises(ValueError, match="which is no arm"):
        tipping_point(frame, deltas={"EG": [1]})
    with pytest.raises(ValueError, match="list of finite numbers"):
        tipping_point(frame, deltas=[np.nan])
    with pytest.raises(ValueError, match="alpha"):
        tipping_point(frame, alpha=5)


def test_bad_values():
    frame = simulated()
    refused("infinite", frame.assign(AVAL=frame["AVAL"].fillna(np.inf)))
    refused("is 1 in every row", frame.assign(AVAL=1.0))
    refused("missing in every row", frame.assign(AVAL=np.nan))
    refused("more than once", pd.concat([frame, frame.iloc[:2]]))
    refused("one arm only", frame.loc[frame["TRT01P"] == "PBO"])
    refused(
        "TRT has no observation of 'AVAL' at Week 18",
        frame.assign(
            AVAL=frame["AVAL"].mask((frame["TRT01P"] == "TRT") & (frame["AVISIT"] == "Week 18"))
        ),
    )
    gap = frame["USUBJID"].isin(["P003", "P004"])
    refused(
        "'BASE' is missing for 2 of 60 patients .P003, P004.",
        frame.assign(BASE=frame["BASE"].mask(gap)),
    )
    refused("'TRT01P' is missing for 2", frame.assign(TRT01P=frame["TRT01P"].mask(gap)))
    refused("'BASE' varies within 60", frame.assign(BASE=np.arange(180.0)))
    crossed = frame.assign(TRT01P=frame["TRT01P"].mask(frame.index == 0, "TRT"))
    refused("'TRT01P' varies within 1 patients .P000.", crossed)
    refused("aliased", frame.assign(BASE=(frame["TRT01P"] == "TRT") * 2.0))
    refused("'USUBJID' is missing", frame.assign(USUBJID=frame["USUBJID"].mask(frame.index == 3)))
    visitless = frame.assign(AVISIT=frame["AVISIT"].mask(frame.index == 0))
    refused("'AVISIT' is missing in 1 rows", visitless.assign(AVAL=visitless["AVAL"].fillna(0)))


def test_too_little_to_fit():
    frame = simulated(n=60, visits=2, dropout=0)
    never = frame.assign(
        AVAL=frame["AVAL"].mask((frame["USUBJID"] < "P030") == (frame["AVISIT"] == "Week 6"))
    )
    refused("no patient of PBO has both Week 6 and Week 12", never)
    refused("no patient has both Week 6 and Week 12", never, by_arm=False)
    whole = frame["USUBJID"] == "P040"
    once = never.assign(AVAL=never["AVAL"].mask(whole, frame["AVAL"]))
    refused("without P040, who has the only values", once, by_arm=False)
    alone = frame.assign(SITE=np.where(whole, "B", "A"))
    refused("cannot do without P040", alone, covariates=["BASE", "SITE"], by_arm=False)
    silent = alone.assign(AVAL=alone["AVAL"].mask(whole))
    refused("P040. cannot be imputed", silent, covariates=["BASE", "SITE"], by_arm=False)
    refused("patients for|coefficients", frame.loc[frame["USUBJID"] < "P003"])


def test_aliased_covariate_is_left_out():
    frame = simulated().assign(TWICE=lambda t: 2 * t["BASE"])
    with pytest.warns(UserWarning, match="TWICE is aliased and left out"):
        found = impute_reference_based(frame, covariates=["BASE", "TWICE"], by_arm=False)
    pd.testing.assert_frame_equal(found, impute_reference_based(frame, by_arm=False), rtol=1e-8)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_model_of_each_arm_is_that_of_the_arm_alone(strategy, trial):
    """With MAR the values of an arm do not depend on the other arm's."""
    moved = trial.assign(
        AVAL=trial["AVAL"].where(trial["TRT01P"] == "PBO", 3 * trial["AVAL"] - trial["BASE"])
    )
    found = [ImputationModel(frame).impute(strategy, "Week 18") for frame in (trial, moved)]
    lost = trial.loc[(trial["AVISIT"] == "Week 18") & trial["AVAL"].isna(), "TRT01P"] == "PBO"
    np.testing.assert_allclose(found[0][:, lost], found[1][:, lost], rtol=1e-6)
    assert not np.allclose(found[0][:, ~lost], found[1][:, ~lost]) or strategy == "cr"
