"""A second engine for what another library computes too: the numbers must be the same."""

import numpy as np
import pandas as pd

from lungitude.statistics.agreement import icc
from lungitude.statistics.frames import numbers


def icc_cross_check(data, targets="id", raters="rater", ratings="score", tolerance=1e-8, stop=True):
    """Hold the intraclass correlations against those of pingouin.

    Parameters
    ----------
    data, targets, raters, ratings
        As of `icc`, with ``missing="complete"`` and confidence 0.95, which is what pingouin has.
    tolerance : float
        Largest difference of an estimate or a limit.
    stop : bool
        A larger one raises an error; with False it only stands in the table.

    Returns
    -------
    DataFrame
        type, then icc ci_low ci_high, the same with _pingouin, difference (the largest of the row),
        agrees. Where pingouin has no number (full agreement) there is nothing to compare.

    Raises
    ------
    ArithmeticError
        The engines differ by more than `tolerance`.

    Notes
    -----
    pingouin rounds its interval to 2 digits by default; the rounding is off during the call.
    """
    import pingouin

    ours = icc(data, targets, raters, ratings)
    known = data.loc[data[[targets, raters, ratings]].notna().all(axis=1)]
    plain = pd.DataFrame(
        {
            "target": known[targets].to_numpy(),
            "rater": known[raters].to_numpy(),
            "rating": numbers(known[ratings], ratings, "icc"),
        }
    )
    key = "round.column.CI95"
    shown = pingouin.options.get(key)
    pingouin.options[key] = None
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            theirs = pingouin.intraclass_corr(plain, "target", "rater", "rating", nan_policy="omit")
    finally:
        pingouin.options[key] = shown
    theirs = theirs.set_index("Type").loc[ours["type"]]
    table = ours[["type", "icc", "ci_low", "ci_high"]].copy()
    table["icc_pingouin"] = theirs["ICC"].to_numpy()
    limits = np.vstack(theirs["CI95"])
    table["ci_low_pingouin"], table["ci_high_pingouin"] = limits.T
    names = ["icc", "ci_low", "ci_high"]
    gap = np.abs(table[names].to_numpy() - table[[f"{name}_pingouin" for name in names]].to_numpy())
    table["difference"] = np.where(np.isnan(gap), 0, gap).max(axis=1)
    table["agrees"] = table["difference"] <= tolerance
    if stop and not table["agrees"].all():
        worst = table.loc[table["difference"].idxmax()]
        raise ArithmeticError(
            f"icc: {worst['type']} {worst['icc']:.6g} ({worst['ci_low']:.6g} to "
            f"{worst['ci_high']:.6g}), by pingouin {worst['icc_pingouin']:.6g} "
            f"({worst['ci_low_pingouin']:.6g} to {worst['ci_high_pingouin']:.6g})"
        )
    return table
