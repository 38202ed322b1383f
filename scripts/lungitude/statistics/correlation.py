"""Correlation of two measurements."""

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.frames import (
    complete,
    numbers,
    require,
    require_choice,
    require_confidence,
)


def correlate(data, x, y, method="pearson", confidence=0.95):
    """Correlate two columns over the rows that have both.

    Parameters
    ----------
    data : DataFrame
    x, y : str
    method : {"pearson", "spearman", "kendall"}
    confidence : float

    Returns
    -------
    DataFrame
        One row: r ci_low ci_high p n. Intervals by Fisher's z with standard error
        ``1 / sqrt(n - 3)`` (Spearman: the same, as SAS; Kendall: ``sqrt(0.437 / (n - 4))``, Fieller
        1957). p: t with n - 2 df (Kendall: normal, with ties). NaN when a column does not vary or
        fewer than 3 pairs are there.
    """
    require(data, [x, y], "correlate")
    require_choice(method, ("pearson", "spearman", "kendall"), "method", "correlate")
    require_confidence(confidence, "correlate")
    used = complete(data, [x, y])
    a, b = numbers(used[x], x, "correlate"), numbers(used[y], y, "correlate")
    n = len(used)
    r = p = low = high = np.nan
    if n >= 3 and np.ptp(a) > 0 and np.ptp(b) > 0:
        if method == "kendall":
            r, p = stats.kendalltau(a, b, method="asymptotic")
        else:
            r, p = (stats.pearsonr if method == "pearson" else stats.spearmanr)(a, b)
        variance = {"kendall": (0.437, n - 4)}.get(method, (1.0, n - 3))
        if variance[1] > 0:
            half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance[0] / variance[1])
            with np.errstate(divide="ignore"):
                low, high = np.tanh(np.arctanh(r) + np.array([-half, half]))
    return pd.DataFrame(
        {"r": [float(r)], "ci_low": [low], "ci_high": [high], "p": [float(p)], "n": [n]}
    )
