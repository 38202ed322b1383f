"""Estimates of the difference at the last visit after imputation, at random and by reference."""

import contextlib
import itertools

import numpy as np
import pandas as pd

from lungitude.statistics.imputation import ImputationModel
from lungitude.validation.fits import judged
from lungitude.validation.scenarios import VISITS, draw, generator, truth

STRATEGIES = ("mar", "j2r")
WAYS = ("conditional-mean", "bayes")
MODELS = {"by arm": True, "joint": False}  # a model of each arm, or one covariance and slopes
DRAWS = 100


def block(scenario, number, trials):
    """Simulate and analyse one block of trials.

    Returns
    -------
    DataFrame
        One row a trial and method: trial method estimate se df truth p covered; NaN where a fit
        failed. The truth is that of the strategy.
    """
    rng = generator(scenario, number)
    rows = []
    for trial in range(number * trials, (number + 1) * trials):
        data = frame(*draw(scenario, rng))
        seed = int(rng.integers(2**32))
        for label, by_arm in MODELS.items():
            found = estimates(data, by_arm, seed)
            rows += [
                (trial, f"{strategy} {way}, {label}", *one, truth(scenario, strategy))
                for (strategy, way), one in found.items()
            ]
    columns = ["trial", "method", "estimate", "se", "df", "truth"]
    return judged(pd.DataFrame(rows, columns=columns))


def estimates(data, by_arm, seed):
    """Estimate, se and df by strategy and way at the last visit; NaN where a fit fails."""
    found = dict.fromkeys(itertools.product(STRATEGIES, WAYS), (np.nan,) * 3)
    try:
        model = ImputationModel(
            data, "CHG", covariates=["BASE", "BASE:AVISIT"], reference="control", by_arm=by_arm
        )
    except ValueError:  # no covariance
        return found
    for strategy, way in found:
        with contextlib.suppress(ValueError):  # no fit without a patient
            row = model.analyse(strategy, way, n_imputations=DRAWS, seed=seed).iloc[0]
            found[strategy, way] = (row["estimate"], row["se"], row["df"])
    return found


def frame(arm, baseline, change):
    """One row a patient and visit, as the public functions take it."""
    n = len(arm)
    visits = pd.Categorical.from_codes(np.tile(np.arange(VISITS), n), ["W06", "W12", "W24"])
    return pd.DataFrame(
        {
            "USUBJID": np.repeat([f"P{i:04d}" for i in range(n)], VISITS),
            "TRT01P": np.repeat(np.array(["control", "active"])[arm], VISITS),
            "AVISIT": visits,
            "BASE": np.repeat(baseline, VISITS),
            "CHG": change.ravel(),
        }
    )
