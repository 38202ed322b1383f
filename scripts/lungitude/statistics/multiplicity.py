"""Adjustment of p values for multiple tests."""

import numpy as np
import pandas as pd

from lungitude.statistics.frames import require_choice

METHODS = {
    "bh": "fdr_bh",
    "by": "fdr_by",
    "holm": "holm",
    "hochberg": "simes-hochberg",
    "bonferroni": "bonferroni",
}


def adjust(p, method="bh"):
    """Adjust the p values of one family.

    Parameters
    ----------
    p : array_like
        Missing tests are NaN: they stay NaN and are not counted.
    method : {"bh", "by", "holm", "hochberg", "bonferroni"}

    Returns
    -------
    ndarray, or Series with the same index if `p` is one

    Notes
    -----
    Computed by statsmodels; held against R's p.adjust in tests/reference.
    """
    from statsmodels.stats.multitest import multipletests

    require_choice(method, METHODS, "method", "adjust")
    values = np.asarray(p, dtype=float)
    if values.ndim != 1:
        raise ValueError(f"adjust: p has {values.ndim} dimensions, a list of numbers is needed")
    known = ~np.isnan(values)
    if ((values[known] < 0) | (values[known] > 1)).any():
        raise ValueError("adjust: p values must lie between 0 and 1")
    adjusted = np.full(len(values), np.nan)
    if known.any():
        adjusted[known] = multipletests(values[known], method=METHODS[method])[1]
    return pd.Series(adjusted, index=p.index, name=p.name) if isinstance(p, pd.Series) else adjusted
