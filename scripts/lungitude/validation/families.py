"""Families of correlated endpoints, adjusted for multiplicity."""

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.multiplicity import adjust
from lungitude.validation.scenarios import ENDPOINTS, LEVEL, PER_ARM, SHIFT, generator

METHODS = ("bh", "holm")


def block(scenario, number, trials):
    """Simulate one block of trials: two arms, t tests of `ENDPOINTS` endpoints.

    Returns
    -------
    DataFrame
        One row a trial and method: trial method rejected false fdp (share of the rejected that
        have no effect, 0 where none is rejected).
    """
    rng = generator(scenario, number)
    effect = np.arange(ENDPOINTS) < scenario.effects
    rows = []
    for trial in range(number * trials, (number + 1) * trials):
        shared = rng.standard_normal((2, PER_ARM, 1))
        own = rng.standard_normal((2, PER_ARM, ENDPOINTS))
        values = np.sqrt(scenario.correlation) * shared + np.sqrt(1 - scenario.correlation) * own
        p = stats.ttest_ind(values[1] + SHIFT * effect, values[0]).pvalue
        for method in METHODS:
            rejected = adjust(p, method) <= LEVEL
            count, false = int(rejected.sum()), int((rejected & ~effect).sum())
            rows.append((trial, method, count, false, false / max(count, 1)))
    return pd.DataFrame(rows, columns=["trial", "method", "rejected", "false", "fdp"])
