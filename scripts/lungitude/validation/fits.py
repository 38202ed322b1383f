"""Estimates of the difference at the last visit from arrays, without formulas: one fit in ms."""

import numpy as np
import pandas as pd

from lungitude.statistics.covariance import Structure
from lungitude.statistics.fixed_effects import adjusted
from lungitude.statistics.likelihood import Likelihood, SingularCovarianceError
from lungitude.statistics.linear import inference, least_squares
from lungitude.validation.scenarios import LEVEL, VISITS, draw, generator, truth

MODELS = ("kenward-roger", "kenward-roger-linear", "satterthwaite")
METHODS = (*(f"mmrm {model}" for model in MODELS), "ancova of completers")


def block(scenario, number, trials):
    """Simulate and analyse one block of trials.

    Returns
    -------
    DataFrame
        One row a trial and method: trial method estimate se df truth p covered; NaN where a fit
        failed.
    """
    rng = generator(scenario, number)
    rows = []
    for trial in range(number * trials, (number + 1) * trials):
        arm, baseline, change = draw(scenario, rng)
        found = [*mmrm_effects(arm, baseline, change), completers(arm, baseline, change)]
        rows += [(trial, name, *one) for name, one in zip(METHODS, found, strict=True)]
    table = pd.DataFrame(rows, columns=["trial", "method", "estimate", "se", "df"])
    return judged(table.assign(truth=truth(scenario)))


def judged(table):
    """Add the p value, and whether the interval covers the truth, to estimate se df truth."""
    found = inference(table["estimate"], table["se"], table["df"], 1 - LEVEL)
    covered = (found["ci_low"] <= table["truth"]) & (table["truth"] <= found["ci_high"])
    return table.assign(p=found["p"], covered=np.where(np.isnan(found["p"]), np.nan, covered))


def mmrm_effects(arm, baseline, change):
    """Fit ``change ~ baseline * visit + arm * visit``, unstructured; estimate, se, df of `MODELS`.

    An intercept, a slope and an effect for each visit are the same model as the formula's.
    """
    subjects, positions = np.nonzero(~np.isnan(change))
    each = np.column_stack([np.ones(len(arm)), baseline, arm])[subjects]
    matrix = (np.eye(VISITS)[positions][:, :, None] * each[:, None, :]).reshape(len(each), -1)
    likelihood = Likelihood(
        matrix,
        change[subjects, positions],
        np.unique(subjects, return_inverse=True)[1],
        positions,
        [Structure(VISITS, "us")],
    )
    return [np.ravel(one) for one in inferred(likelihood, np.eye(3 * VISITS)[-1:], MODELS)]


def inferred(likelihood, rows, models):
    """Fit, and infer linear functions (r, k) of the coefficients by each of `models`.

    Returns
    -------
    list of ndarray (3, r)
        Estimate, se, df; NaN where the fit failed.
    """
    try:
        theta, state, converged = likelihood.maximise()
    except SingularCovarianceError:
        converged = False
    if not converged:
        return [np.full((3, len(rows)), np.nan)] * len(models)
    beta, model = likelihood.coefficients(state)
    spread = np.linalg.inv(-state.hessian)
    slopes = likelihood.back(state.c @ state.slopes @ state.c)
    gradient = np.einsum("ri,pij,rj->rp", rows, slopes, rows)
    variance = np.einsum("ri,ij,rj->r", rows, model, rows)
    df = 2 * variance**2 / np.einsum("rp,pq,rq->r", gradient, spread, gradient)
    found = []
    for name in models:
        own = model
        if name != "satterthwaite":
            second = name == "kenward-roger"
            own = likelihood.back(adjusted(likelihood, theta, state, spread, second))
        se = np.sqrt(np.einsum("ri,ij,rj->r", rows, own, rows))
        found.append(np.array([rows @ beta, se, df]))
    return found


def completers(arm, baseline, change):
    """ANCOVA of the last visit on those who have it: estimate, se, df."""
    there = ~np.isnan(change[:, -1])
    matrix = np.column_stack([np.ones(there.sum()), baseline[there], arm[there]])
    fit = least_squares(matrix, change[there, -1])
    return fit.beta[-1], np.sqrt(fit.covariance[-1, -1]), fit.df
