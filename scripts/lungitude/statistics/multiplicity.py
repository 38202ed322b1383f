"""Adjustment of p values for multiple tests: families, fixed sequences, graphs."""

import numpy as np
import pandas as pd

from lungitude.statistics.frames import require_choice

METHODS = {
    "bh": "fdr_bh",
    "by": "fdr_by",
    "holm": "holm",
    "hochberg": "simes-hochberg",
    "hommel": "hommel",
    "bonferroni": "bonferroni",
    "none": None,
}
# Levels are sums of products of weights such as 1/3: a p value at the level in exact arithmetic is
# rejected, as on paper.
SLACK = 1e-12


def adjust(p, method="bh", n=None):
    """Adjust the p values of one family.

    Parameters
    ----------
    p : array_like
        Missing tests are NaN: they stay NaN and are not counted.
    method : {"bh", "by", "holm", "hochberg", "hommel", "bonferroni", "none"}
        ``bh`` and ``by`` control the false discovery rate, ``none`` nothing, the others the
        familywise error rate; ``hochberg`` and ``hommel`` assume non-negative dependence.
    n : int, optional
        Size of the family where that is larger than the tests at hand (planned tests that were
        not done, or whose p values are not known but not smaller).

    Returns
    -------
    ndarray, or Series with the same index if `p` is one

    Raises
    ------
    ValueError
        When a p value is no number between 0 and 1, or `n` is less than the tests known.

    Notes
    -----
    R's ``p.adjust(p, method, n)``; SAS ``PROC MULTTEST`` (FDR, DEPENDENTFDR, HOLM, HOCHBERG,
    HOMMEL, BONFERRONI). Computed by statsmodels. A larger family is the same as further tests
    with p = 1 in each of these methods, which is how R defines it for Hommel.
    """
    from statsmodels.stats.multitest import multipletests

    require_choice(method, METHODS, "method", "adjust")
    values = _p_values(p, "adjust")
    known = ~np.isnan(values)
    count = int(known.sum())
    size = count if n is None else n
    if not isinstance(size, int | np.integer) or size < count:
        raise ValueError(f"adjust: n = {n!r} is no family of {count} tests or more")
    adjusted = values.copy()
    if count and method != "none":
        family = np.append(values[known], np.ones(size - count))
        adjusted[known] = multipletests(family, method=METHODS[method])[1][:count]
    return pd.Series(adjusted, index=p.index, name=p.name) if isinstance(p, pd.Series) else adjusted


def fixed_sequence(p, alpha=0.05, order=None):
    """Test hypotheses one after the other at the full level until one is not rejected.

    Parameters
    ----------
    p : array_like
        Names of a Series are the hypotheses, else H1, H2, ... A missing test (NaN) is not
        rejected, and so ends the sequence; leave out what was not planned.
    alpha : float
    order : sequence of names, optional
        All hypotheses in the order of testing; default the order of `p`.

    Returns
    -------
    DataFrame
        One row a hypothesis, in the order of `p`: ``hypothesis p p_adjusted rejected step``;
        `step` is the place in the sequence.

    Notes
    -----
    The adjusted p is the running maximum (Maurer, Hothorn & Lehmacher 1995); R
    ``graphicalMCP::fixed_sequence`` with ``graph_test_shortcut``.
    """
    who = "fixed_sequence"
    values, names = _hypotheses(p, who)
    _require_level(alpha, who)
    order = names if order is None else list(order)
    if sorted(map(str, order)) != sorted(map(str, names)):
        raise ValueError(
            f"{who}: order {', '.join(map(str, order))} does not name each of "
            f"{', '.join(map(str, names))} once"
        )
    rank = pd.Series(range(len(order)), index=order).loc[names].to_numpy()
    running = np.maximum.accumulate(np.nan_to_num(values, nan=1.0)[np.argsort(rank)])[rank]
    return pd.DataFrame(
        {
            "hypothesis": names,
            "p": values,
            "p_adjusted": np.where(np.isnan(values), np.nan, running),
            "rejected": ~np.isnan(values) & (running <= alpha * (1 + SLACK)),
            "step": rank + 1,
        }
    )


def graphical(p, weights, transitions, alpha=0.05):
    """Test hypotheses by a graph that hands the level of a rejected one on to others.

    Bonferroni, Holm, fixed sequence, fall-back and gatekeeping procedures are such graphs.

    Parameters
    ----------
    p : array_like (m,)
        Names of a Series are the hypotheses, else H1, H2, ... A missing test (NaN) is never
        rejected and keeps its share of the level.
    weights : array_like (m,)
        Share of `alpha` of each hypothesis at the start, 0 or more, sum at most 1. A Series is
        matched by name.
    transitions : array_like (m, m)
        Row i, column j: the part of the level of i that goes to j when i is rejected; 0 or more,
        rows sum to 1 at most, zero diagonal. A DataFrame is matched by name.
    alpha : float
        Familywise error rate, controlled strongly.

    Returns
    -------
    DataFrame
        One row a hypothesis: ``hypothesis p weight p_adjusted rejected step level``. `step` counts
        the rejections (missing if not rejected); `level` is the local significance level at
        which it was rejected, or that it holds at the end.

    Raises
    ------
    ValueError
        When weights sum above 1, a row of transitions sums above 1, or the diagonal is not zero.

    Notes
    -----
    Algorithms 1 and 2 of Bretz, Maurer, Brannath & Posch (Stat Med 2009; 28: 586): the shortcut
    of the closed test with weighted Bonferroni tests, which is consonant, so that at most m steps
    are needed. R ``gMCP::gMCP``, ``graphicalMCP::graph_test_shortcut``. Weighted Simes and
    parametric tests (Bretz et al., Biom J 2011) are not offered.
    """
    who = "graphical"
    values, names = _hypotheses(p, who)
    share, matrix = _graph(weights, transitions, names, who)
    _require_level(alpha, who)
    m = len(values)
    start, largest = share.copy(), 0.0
    tested = np.nan_to_num(values, nan=np.inf)
    p_adjusted, level, order = np.ones(m), np.zeros(m), []
    while len(order) < m:
        if largest <= alpha * (
            1 + SLACK
        ):  # all so far were rejected: this is the graph that is left
            left = [i for i in range(m) if i not in order]
            level[left] = alpha * share[left]
        ratio = np.full(m, np.inf)
        np.divide(tested, share, out=ratio, where=share > 0)
        ratio[order] = np.nan
        first = int(np.nanargmin(ratio))
        largest = min(1.0, max(largest, ratio[first]))
        p_adjusted[first] = largest
        order.append(first)
        share, matrix = _without(share, matrix, first)
    rejected = p_adjusted <= alpha * (1 + SLACK)
    step = pd.Series(np.argsort(order) + 1, dtype="Int64").where(rejected)
    return pd.DataFrame(
        {
            "hypothesis": names,
            "p": values,
            "weight": start,
            "p_adjusted": np.where(np.isnan(values), np.nan, p_adjusted),
            "rejected": rejected,
            "step": step,
            "level": level,
        }
    )


def update_graph(weights, transitions, hypothesis):
    """Graph after the rejection of one hypothesis.

    Parameters
    ----------
    weights : Series or array_like (m,)
        See :func:`graphical`.
    transitions : DataFrame or array_like (m, m)
    hypothesis : name
        Of the Series or DataFrame, else H1, H2, ...

    Returns
    -------
    weights : Series (m - 1)
    transitions : DataFrame (m - 1, m - 1)

    Notes
    -----
    Algorithm 1 of Bretz et al. 2009; R ``gMCP::rejectNode``, ``graphicalMCP::graph_update``.
    """
    who = "update_graph"
    if isinstance(weights, pd.Series):
        names = list(weights.index)
    else:
        names = [f"H{i + 1}" for i in range(len(weights))]
    share, matrix = _graph(weights, transitions, names, who)
    if hypothesis not in names:
        raise ValueError(f"{who}: no hypothesis {hypothesis!r} among {', '.join(map(str, names))}")
    share, matrix = _without(share, matrix, names.index(hypothesis))
    kept = [name for name in names if name != hypothesis]
    return (
        pd.Series(share, index=names)[kept],
        pd.DataFrame(matrix, index=names, columns=names).loc[kept, kept],
    )


def _without(share, matrix, gone):
    """Weights and transitions after `gone` is rejected; its own entries become 0."""
    new_share = share + share[gone] * matrix[gone]
    loop = matrix[:, gone] * matrix[gone]  # the part of i that would come back to i
    through = matrix + np.outer(matrix[:, gone], matrix[gone])
    rest = (1 - loop)[:, None]
    # Weights such as 1/3 leave a loop of 1 - 1e-16 where paper says 1.
    new = np.where(rest > SLACK, through / np.where(rest > SLACK, rest, 1), 0.0)
    np.fill_diagonal(new, 0)
    new[gone] = new[:, gone] = new_share[gone] = 0
    return new_share, new


def _graph(weights, transitions, names, who):
    """Weights and transitions as arrays in the order of `names`, checked."""
    m = len(names)
    for value, what in ((weights, "weights"), (transitions, "transitions")):
        axes = [value.index] if isinstance(value, pd.Series | pd.DataFrame) else []
        axes += [value.columns] if isinstance(value, pd.DataFrame) else []
        for axis in axes:
            if sorted(map(str, axis)) != sorted(map(str, names)):
                raise ValueError(
                    f"{who}: {what} are of {', '.join(map(str, axis))}, "
                    f"the hypotheses are {', '.join(map(str, names))}"
                )
    if isinstance(weights, pd.Series):
        weights = weights.loc[names]
    if isinstance(transitions, pd.DataFrame):
        transitions = transitions.loc[names, names]
    try:
        share, matrix = np.array(weights, dtype=float), np.array(transitions, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{who}: weights and transitions must be numbers ({error})") from error
    if share.shape != (m,) or matrix.shape != (m, m):
        raise ValueError(
            f"{who}: {m} hypotheses need {m} weights and {m} x {m} transitions, "
            f"not {share.shape} and {matrix.shape}"
        )
    if not (np.isfinite(share).all() and np.isfinite(matrix).all()):
        raise ValueError(f"{who}: weights and transitions must be finite")
    if (share < 0).any() or share.sum() > 1 + SLACK:
        raise ValueError(f"{who}: weights must be 0 or more and sum to 1 at most: {share.tolist()}")
    for name, row, own in zip(names, matrix, np.diag(matrix), strict=True):
        if (row < 0).any() or row.sum() > 1 + SLACK:
            raise ValueError(
                f"{who}: transitions of {name} must be 0 or more and sum to 1 at most: "
                f"{row.tolist()}"
            )
        if own != 0:
            raise ValueError(f"{who}: the transition of {name} to itself is {own}, not 0")
    return share, matrix


def _hypotheses(p, who):
    values = _p_values(p, who)
    names = list(p.index) if isinstance(p, pd.Series) else [f"H{i + 1}" for i in range(len(values))]
    if len(set(names)) < len(names):
        raise ValueError(f"{who}: the hypotheses of p have the same name twice")
    if not names:
        raise ValueError(f"{who}: p is empty")
    return values, names


def _require_level(alpha, who):
    if not 0 < alpha < 1:
        raise ValueError(f"{who}: alpha {alpha!r} is not between 0 and 1, such as 0.05")


def _p_values(p, who):
    """P values as float64, NaN where missing; anything else is refused with its place."""
    if not isinstance(p, pd.Series):
        if np.ndim(p) != 1:
            raise ValueError(f"{who}: p has {np.ndim(p)} dimensions, a list of numbers is needed")
        p = pd.Series(p, dtype=float if len(p) == 0 else None)
    texts = [item for item in p if isinstance(item, str)]
    if texts:
        raise ValueError(f"{who}: p holds text ({texts[0]!r}), numbers are needed")
    values = p.to_numpy(dtype=float, na_value=np.nan)
    bad = (values < 0) | (values > 1)
    if bad.any():
        place = int(np.argmax(bad))
        label = "" if p.index[place] == place else f" ({p.index[place]})"
        raise ValueError(
            f"{who}: p values must lie between 0 and 1, number {place + 1}{label} "
            f"is {values[place]:g}"
        )
    return values
