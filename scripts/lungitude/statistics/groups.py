"""Comparison of two groups without a model."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.frames import (
    complete,
    is_factor,
    levels,
    numbers,
    require,
    require_choice,
    require_confidence,
)

METHODS = ("auto", "student", "welch", "mann-whitney", "chi2", "chi2-yates", "fisher")


def compare_groups(data, value, group, method="auto", confidence=0.95):
    """Compare a column between two groups; differences are first minus second level.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in one of the columns are left out.
    value, group : str
        `group` has two levels (order of the categories, else sorted).
    method : {"auto", "student", "welch", "mann-whitney", "chi2", "chi2-yates", "fisher"}
        ``auto`` looks at the kind of data, never at a test of normality: Welch for numbers; for
        categories chi2, or fisher for a 2 x 2 table with an expected count below 5.
    confidence : float

    Returns
    -------
    DataFrame
        One row: method statistic df p estimate ci_low ci_high n1 n2. The estimate is the mean
        difference (student, welch), the Hodges-Lehmann shift (mann-whitney; statistic U of the
        first group), the risk difference of the last level with Newcombe's interval (chi2, 2 x 2
        only) or the conditional odds ratio of the last level (fisher).

    Notes
    -----
    mann-whitney as R's wilcox.test: exact below 50 a group without ties, else normal with
    continuity correction. Held against R in tests/reference.
    """
    who = "compare_groups"
    require(data, [value, group], who)
    require_choice(method, METHODS, "method", who)
    require_confidence(confidence, who)
    used = complete(data, [value, group])
    names = levels(used[group])
    if len(names) != 2:
        found = ", ".join(map(str, names)) or "none"
        raise ValueError(f"{who}: {group!r} must have two levels with data (found: {found})")
    first = (used[group] == names[0]).to_numpy()
    counts = {"n1": int(first.sum()), "n2": int((~first).sum())}
    numeric = not is_factor(used[value])
    if method in ("chi2", "chi2-yates", "fisher") or (method == "auto" and not numeric):
        found = _categories(used[value], first, method, confidence)
    else:
        values = numbers(used[value], value, who)
        method = "welch" if method == "auto" else method
        one, two = values[first], values[~first]
        if method == "mann-whitney":
            found = _mann_whitney(one, two, confidence)
        else:
            found = _t_test(one, two, method, confidence)
    order = ["method", "statistic", "df", "p", "estimate", "ci_low", "ci_high"]
    return pd.DataFrame([{**dict.fromkeys(order, np.nan), "method": method, **found, **counts}])


def _t_test(one, two, method, confidence):
    estimate = one.mean() - two.mean()
    if min(len(one), len(two)) < 2 or (np.ptp(one) == 0 and np.ptp(two) == 0):
        return {"estimate": estimate}
    test = stats.ttest_ind(one, two, equal_var=method == "student")
    low, high = test.confidence_interval(confidence)
    return {
        "statistic": test.statistic,
        "df": test.df,
        "p": test.pvalue,
        "estimate": estimate,
        "ci_low": low,
        "ci_high": high,
    }


def _mann_whitney(one, two, confidence):
    n1, n2 = len(one), len(two)
    differences = np.sort(np.subtract.outer(one, two).ravel())
    ties = len(np.unique(np.r_[one, two])) < n1 + n2
    exact = not ties and max(n1, n2) < 50
    found = {
        "estimate": float(np.median(differences)),
        "statistic": float((differences > 0).sum() + 0.5 * (differences == 0).sum()),
    }
    if np.ptp(np.r_[one, two]) == 0:
        return found
    test = stats.mannwhitneyu(one, two, method="exact" if exact else "asymptotic")
    found["p"] = float(test.pvalue)
    alpha = 1 - confidence
    if exact:
        count = _quantile_u(alpha / 2, n1, n2)
        found["ci_low"] = differences[max(count, 1) - 1]
        found["ci_high"] = differences[n1 * n2 - max(count, 1)]
    else:
        z = stats.norm.ppf(1 - alpha / 2)
        found["ci_low"] = _shift(one, two, z, differences)
        found["ci_high"] = _shift(one, two, -z, differences)
    return found


def _quantile_u(p, n1, n2):
    """Smallest u with P(U <= u) >= p under the null hypothesis, without ties."""
    counts = np.zeros(n1 * n2 + 1)
    counts[0] = 1
    for i in range(1, n2 + 1):  # Gaussian binomial: times (1 - q^(n1+i)) / (1 - q^i)
        step = n1 + i
        if step <= n1 * n2:
            counts[step:] -= counts[:-step].copy()
        for u in range(i, n1 * n2 + 1):
            counts[u] += counts[u - i]
    return int(np.searchsorted(np.cumsum(counts) / counts.sum(), p * (1 - 1e-12)))


def _shift(one, two, z, differences):
    """Shift at which the standardised rank statistic crosses `z` (a step function: bisection)."""
    n1, n2 = len(one), len(two)

    def score(shift):
        ranks = stats.rankdata(np.r_[one - shift, two])
        u = ranks[:n1].sum() - n1 * (n1 + 1) / 2 - n1 * n2 / 2
        tied = np.unique(ranks, return_counts=True)[1].astype(float)
        total = n1 + n2
        variance = n1 * n2 / 12 * (total + 1 - (tied**3 - tied).sum() / (total * (total - 1)))
        if variance <= 0:
            return 0.0
        return (u - np.sign(z) * 0.5) / np.sqrt(variance)

    low, high = differences[0] - 1e-9, differences[-1] + 1e-9
    while high - low > 1e-12 * max(1.0, abs(low), abs(high)):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if score(middle) > z else (low, middle)
    return float((low + high) / 2)


def _categories(column, first, method, confidence):
    kept = levels(column)
    table = np.array(
        [
            [int(((column == level).to_numpy() & rows).sum()) for level in kept]
            for rows in (first, ~first)
        ]
    )
    square = len(kept) == 2
    if method in ("fisher", "chi2-yates") and not square:
        raise ValueError(
            f"compare_groups: {method} needs two categories, {len(kept)} are there; use chi2"
        )
    if len(kept) < 2:
        return {"method": "chi2" if method == "auto" else method}
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    if method == "auto":
        method = "fisher" if square and expected.min() < 5 else "chi2"
        if not square and expected.min() < 5:
            warnings.warn(
                "compare_groups: an expected count is below 5; chi2 is approximate", stacklevel=3
            )
    if method == "fisher":
        events = table[:, ::-1]
        ratio = stats.contingency.odds_ratio(events, kind="conditional")
        low, high = ratio.confidence_interval(confidence)
        return {
            "method": method,
            "p": stats.fisher_exact(table)[1],
            "estimate": ratio.statistic,
            "ci_low": low,
            "ci_high": high,
        }
    test = stats.chi2_contingency(table, correction=method == "chi2-yates")
    found = {"method": method, "statistic": test.statistic, "df": float(test.dof), "p": test.pvalue}
    if square:
        found.update(_risk_difference(table, confidence))
    return found


def _risk_difference(table, confidence):
    """Difference of the shares of the last column, with Newcombe's (1998) hybrid interval."""
    n = table.sum(axis=1)
    share = table[:, 1] / n
    z = stats.norm.ppf(0.5 + confidence / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low, high = middle - half, middle + half
    estimate = share[0] - share[1]
    return {
        "estimate": estimate,
        "ci_low": estimate - np.hypot(share[0] - low[0], high[1] - share[1]),
        "ci_high": estimate + np.hypot(high[0] - share[0], share[1] - low[1]),
    }
