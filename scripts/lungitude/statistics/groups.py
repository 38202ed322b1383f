"""Comparison of groups without a model: two groups, pairs, several groups, effect sizes."""

import warnings

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from lungitude.statistics import contingency
from lungitude.statistics.distribution import shapiro_wilk
from lungitude.statistics.frames import (
    complete,
    is_factor,
    levels,
    numbers,
    require,
    require_choice,
    require_confidence,
)
from lungitude.statistics.linear import inference

METHODS = (
    "auto",
    "student",
    "welch",
    "mann-whitney",
    "chi2",
    "chi2-yates",
    "fisher",
    "published",
)
TABLES = ("chi2", "chi2-yates", "fisher")
ORDER = ["method", "statistic", "df", "p", "estimate", "ci_low", "ci_high"]


def compare_groups(
    data,
    value,
    group,
    method="auto",
    confidence=0.95,
    *,
    alternative="two-sided",
    exact=None,
    correct=True,
):
    """Compare a column between two groups; differences are first minus second level.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in one of the columns are left out.
    value, group : str
        `group` has two levels (order of the categories, else sorted).
    method : {"auto", "student", "welch", "mann-whitney", "chi2", "chi2-yates", "fisher", \
"published"}
        ``auto`` looks at the kind of data, never at a test of normality: Welch for numbers; for
        categories chi2, or fisher where an expected count is below 5 (chi2 with a warning where
        the exact sum is too large). ``published`` see Notes.
    confidence : float
    alternative : {"two-sided", "less", "greater"}
        One-sided about the difference or odds ratio, with a one-sided interval; not for chi2.
    exact : bool, optional
        mann-whitney: exact p and interval; by default below 50 a group without ties, as R.
    correct : bool
        mann-whitney: continuity correction of the normal approximation.

    Returns
    -------
    DataFrame
        One row: method statistic df p estimate ci_low ci_high n1 n2. The estimate is the mean
        difference (student, welch), the Hodges-Lehmann shift (mann-whitney; statistic U of the
        first group), the risk difference of the last level with Newcombe's interval (chi2, 2 x 2
        only) or the conditional odds ratio of the last level (fisher, 2 x 2 only).

    Notes
    -----
    R's t.test, wilcox.test(conf.int = TRUE), chisq.test and fisher.test; PROC TTEST, NPAR1WAY
    WILCOXON HL, FREQ. Held against R in tests/reference. Own code for mann-whitney, since scipy
    has no interval. R's estimate of the shift in large samples is any root of a step function;
    here it is always the median of the differences.

    ``published`` is how many trials, the published one of this project among them, chose a test:
    Shapiro-Wilk in both groups, then the independent-samples (pooled) t test if both p exceed
    0.05, else mann-whitney; chi2 for categories, or fisher if an expected count is below 5. It is
    for replication only. Testing for normality first is not recommended: the test has no power
    where the assumption matters (small groups) and much where it does not (large ones), and a
    test that the data chose does not keep its level, nor is its estimand fixed in advance [1]_.

    References
    ----------
    .. [1] Rochon, Gondan & Kieser 2012, BMC Med Res Methodol 12:81.
    """
    who = "compare_groups"
    require(data, [value, group], who)
    require_choice(method, METHODS, "method", who)
    require_choice(alternative, contingency.ALTERNATIVES, "alternative", who)
    require_confidence(confidence, who)
    used, first = _two(data, value, group, who)
    numeric = not is_factor(used[value])
    if method in TABLES or (method in ("auto", "published") and not numeric):
        found = _categories(used[value], first, method, confidence, alternative, value)
    else:
        one, two = _values(used, value, first, who)
        if method == "auto":
            method = "welch"
        elif method == "published":
            method = "student" if _normal(one) and _normal(two) else "mann-whitney"
        if method == "mann-whitney":
            found = _mann_whitney(one, two, confidence, alternative, exact, correct)
        else:
            found = _t_test(one, two, method, confidence, alternative, value)
        found = {"method": method, **found}
    counts = {"n1": int(first.sum()), "n2": int((~first).sum())}
    return pd.DataFrame([{**dict.fromkeys(ORDER, np.nan), **found, **counts}])


def _two(data, value, group, who):
    """Complete rows, and which of them belong to the first of the two groups."""
    used = complete(data, [value, group])
    names = levels(used[group])
    if len(names) != 2:
        found = ", ".join(map(str, names)) or "none"
        raise ValueError(f"{who}: {group!r} must have two levels with data (found: {found})")
    return used, (used[group] == names[0]).to_numpy()


def _values(used, value, first, who):
    values = numbers(used[value], value, who)
    if np.ptp(values) == 0:
        raise ValueError(f"{who}: {value!r} has no variation, all {len(values)} values are equal")
    return values[first], values[~first]


def _normal(values):
    return (
        len(values) > 2 and np.ptp(values) > 0 and shapiro_wilk(values, "compare_groups")[1] > 0.05
    )


def _t_test(one, two, method, confidence, alternative, value):
    if min(len(one), len(two)) < 2:
        raise ValueError(
            f"compare_groups: {method} needs two values of {value!r} in each group, "
            f"there are {len(one)} and {len(two)}"
        )
    error = np.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))
    if error <= 10 * np.finfo(float).eps * max(abs(one.mean()), abs(two.mean())):  # as R's t.test
        raise ValueError(f"compare_groups: {value!r} has no variation within the groups")
    test = stats.ttest_ind(one, two, equal_var=method == "student", alternative=alternative)
    low, high = test.confidence_interval(confidence)
    return {
        "statistic": float(test.statistic),
        "df": float(test.df),
        "p": float(test.pvalue),
        "estimate": float(one.mean() - two.mean()),
        "ci_low": float(low),
        "ci_high": float(high),
    }


def _decide_exact(exact, small, ties, who, reason):
    if exact is None:
        return small and not ties
    if exact and ties:
        raise ValueError(f"{who}: no exact distribution with {reason}; leave exact out")
    return bool(exact)


def _tie_sum(values):
    count = np.unique(values, return_counts=True)[1].astype(float)
    return float((count**3 - count).sum())


def _rank_p(excess, sigma, alternative, correct):
    """Test a rank sum by its excess over the mean: normal with continuity correction."""
    shift = {"two-sided": np.sign(excess) * 0.5, "greater": 0.5, "less": -0.5}[alternative]
    z = (excess - shift * correct) / sigma
    if alternative == "two-sided":
        return float(min(1.0, 2 * stats.norm.sf(abs(z))))
    return float(stats.norm.sf(z) if alternative == "greater" else stats.norm.cdf(z))


def _exact_p(chances, statistic, alternative):
    """Test a rank sum by its exact distribution: twice the smaller tail if two-sided."""
    statistic = round(statistic)
    less, greater = chances[: statistic + 1].sum(), chances[statistic:].sum()
    if alternative == "two-sided":
        return float(min(1.0, 2 * min(less, greater)))
    return float(less if alternative == "less" else greater)


def _limits(ordered, count, alternative):
    """Take the `count`-th of the ordered differences from below and from above as limits."""
    count = min(max(int(count), 1), len(ordered))
    low = -np.inf if alternative == "less" else float(ordered[count - 1])
    high = np.inf if alternative == "greater" else float(ordered[len(ordered) - count])
    return {"ci_low": low, "ci_high": high}


def _quantile(chances, p):
    """Smallest value with a cumulative probability of `p` (R's qwilcox, qsignrank)."""
    return int(np.searchsorted(np.cumsum(chances), p - 10 * np.finfo(float).eps))


def _mann_whitney(one, two, confidence, alternative, exact, correct):
    n1, n2 = len(one), len(two)
    both = np.r_[one, two]
    ties = len(np.unique(both)) < n1 + n2
    exact = _decide_exact(exact, max(n1, n2) < 50, ties, "compare_groups", "ties")
    differences = np.sort(np.subtract.outer(one, two).ravel())
    u = float(stats.rankdata(both)[:n1].sum() - n1 * (n1 + 1) / 2)
    found = {"statistic": u, "estimate": float(np.median(differences))}
    tail = (1 - confidence) / (2 if alternative == "two-sided" else 1)
    if exact:
        chances = rank_sum_distribution(n1, n2)
        found["p"] = _exact_p(chances, u, alternative)
        count = _quantile(chances, tail)
    else:
        total = n1 + n2

        def sigma(tied):
            return np.sqrt(n1 * n2 / 12 * (total + 1 - tied / (total * (total - 1))))

        found["p"] = _rank_p(u - n1 * n2 / 2, sigma(_tie_sum(both)), alternative, correct)
        # Once a group is shifted, only values tied within a group still are: the standardised
        # rank sum is a step function of the shift with steps at the differences.
        within = sigma(_tie_sum(one) + _tie_sum(two))
        count = np.ceil(n1 * n2 / 2 - 0.5 * correct + stats.norm.ppf(tail) * within)
    return {**found, **_limits(differences, count, alternative)}


def rank_sum_distribution(n1, n2):
    """Probabilities of U = 0 to n1 n2 without a difference and ties (R's dwilcox).

    By the recursion on whose is the largest value, which only adds positive terms.
    """
    rows = [np.ones(1)] * (n1 + 1)
    for k in range(1, n2 + 1):
        row = np.ones(1)
        for j in range(1, n1 + 1):
            longer = np.zeros(j * k + 1)
            longer[: len(rows[j])] = rows[j] * (k / (j + k))
            longer[k:] += row * (j / (j + k))
            rows[j] = row = longer
    return rows[n1]


def signed_rank_distribution(n):
    """Probabilities of V = 0 to n (n + 1) / 2 without a difference and ties (R's dsignrank)."""
    chances = np.zeros(n * (n + 1) // 2 + 1)
    chances[0] = 1
    for rank in range(1, n + 1):
        chances[rank:] += chances[:-rank].copy()
        chances /= 2
    return chances


def _categories(column, first, method, confidence, alternative, value):
    who = "compare_groups"
    kept = levels(column)
    if len(kept) < 2:
        raise ValueError(f"{who}: {value!r} has no variation, all {len(column)} are {kept[0]}")
    table = np.array(
        [
            [int(((column == level).to_numpy() & rows).sum()) for level in kept]
            for rows in (first, ~first)
        ]
    )
    square = len(kept) == 2
    if method == "chi2-yates" and not square:
        raise ValueError(f"{who}: chi2-yates needs two categories, {len(kept)} are there; use chi2")
    sparse = stats.contingency.expected_freq(table).min() < 5
    if method in ("auto", "published"):
        wanted, method = method, "chi2"
        if sparse:
            try:
                return _fisher(table, square, confidence, alternative)
            except ValueError:
                if wanted == "published" or alternative != "two-sided":
                    raise
                warnings.warn(
                    f"{who}: an expected count is below 5 and the table is too large for fisher; "
                    "chi2 is approximate",
                    stacklevel=3,
                )
    if method == "fisher":
        return _fisher(table, square, confidence, alternative)
    test = contingency.association(table, method, alternative).iloc[0]
    found = {"method": method, **test[["statistic", "df", "p"]]}
    if square:
        difference = contingency.risk_difference(table[:, ::-1], confidence=confidence).iloc[0]
        found.update(difference[["estimate", "ci_low", "ci_high"]])
    return found


def _fisher(table, square, confidence, alternative):
    events = table[:, ::-1]
    found = {"method": "fisher", "p": contingency.fisher_p(events, alternative)}
    if square:
        found.update(contingency.conditional_odds_ratio(events, confidence, alternative))
    return found


def paired(data, before, after, method="auto", confidence=0.95, *, exact=None, correct=True):
    """Compare two columns of the same patients; differences are after minus before.

    Parameters
    ----------
    data : DataFrame
        One row a patient; rows with a missing value in one of the columns are left out.
    before, after : str
    method : {"auto", "t", "wilcoxon"}
        ``auto`` is t: no test of normality is made.
    confidence : float
    exact : bool, optional
        wilcoxon: exact p and interval; by default below 50 pairs without ties or zeros, as R.
    correct : bool
        wilcoxon: continuity correction of the normal approximation.

    Returns
    -------
    DataFrame
        One row: method statistic df p estimate ci_low ci_high n. The estimate is the mean
        difference (t) or the Hodges-Lehmann pseudo-median (wilcoxon; statistic V, the sum of the
        positive ranks).

    Notes
    -----
    R's t.test(paired = TRUE) and wilcox.test(paired = TRUE, conf.int = TRUE); PROC TTEST PAIRED,
    UNIVARIATE. Own code for wilcoxon, since scipy has no interval. As in R, zeros are left out of
    wilcoxon, its estimate and interval, and n still counts them; where so few pairs cannot give
    the confidence asked for, twice the error is allowed until they can, with a warning.
    """
    who = "paired"
    require(data, [before, after], who)
    require_choice(method, ("auto", "t", "wilcoxon"), "method", who)
    require_confidence(confidence, who)
    used = complete(data, [before, after])
    difference = numbers(used[after], after, who) - numbers(used[before], before, who)
    n = len(difference)
    if n < 2:
        raise ValueError(f"{who}: {n} complete pairs of {before!r} and {after!r}, 2 are needed")
    if np.ptp(difference) == 0:
        raise ValueError(f"{who}: all differences of {after!r} from {before!r} are equal")
    if method == "wilcoxon":
        found = _signed_rank(difference, confidence, exact, correct)
    else:
        method, mean = "t", difference.mean()
        found = {"estimate": mean, "df": n - 1.0}
        found.update(inference(mean, difference.std(ddof=1) / np.sqrt(n), n - 1, confidence))
        found = {name: float(number) for name, number in found.items()}
    return pd.DataFrame([{**dict.fromkeys(ORDER, np.nan), "method": method, **found, "n": n}])


def _signed_rank(difference, confidence, exact, correct):
    zeros = (difference == 0).any()
    x = difference[difference != 0]
    n = len(x)
    ties = zeros or len(np.unique(np.abs(x))) < n
    exact = _decide_exact(exact, n < 50, ties, "paired", "ties or zeros")
    ranks = stats.rankdata(np.abs(x))
    v = float(ranks[x > 0].sum())
    one, two = np.triu_indices(n)
    averages = np.sort((x[one] + x[two]) / 2)
    found = {"statistic": v, "estimate": float(np.median(averages))}
    alpha = 1 - confidence
    if exact:
        chances = signed_rank_distribution(n)
        found["p"] = _exact_p(chances, v, "two-sided")
        return {**found, **_limits(averages, _quantile(chances, alpha / 2), "two-sided")}

    def sigma(values):
        k = len(values)
        return np.sqrt(k * (k + 1) * (2 * k + 1) / 24 - _tie_sum(values) / 48)

    found["p"] = _rank_p(v - n * (n + 1) / 4, sigma(np.abs(x)), "two-sided", correct)
    # largest standardised rank sum that a shift to either end of the values can give
    reach = np.inf
    for end in (x.min(), x.max()):
        rest = x[x != end]
        highest = len(rest) * (len(rest) + 1) / 4 - 0.5 * correct
        reach = min(reach, highest / sigma(rest) if len(rest) else 0.0)
    while alpha < 1 and stats.norm.isf(alpha / 2) > reach:
        alpha *= 2
    if alpha > 1 - confidence:
        warnings.warn(
            f"paired: {n} differences that are not 0 cannot give confidence {confidence:g}; "
            f"the interval has {max(0.0, 1 - alpha):g}",
            stacklevel=4,
        )
    if alpha >= 1:
        return {**found, "ci_low": float(np.median(x)), "ci_high": float(np.median(x))}
    half = stats.norm.isf(alpha / 2) * sigma(x)
    count = np.ceil(n * (n + 1) / 4 - 0.5 * correct - half)
    return {**found, **_limits(averages, count, "two-sided")}


def effect_size(data, value, group, method="hedges", confidence=0.95):
    """Standardised size of the difference of two groups, first minus second level.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in one of the columns are left out.
    value, group : str
        `group` has two levels.
    method : {"hedges", "cohen", "glass", "rank-biserial", "common-language"}
        Mean difference by the pooled SD (cohen d), times the exact small-sample factor (hedges g),
        by the SD of the second group (glass delta); share of pairs in which the first group is
        higher minus the share in which it is lower (rank-biserial correlation, which is Cliff's
        delta), or the share itself with ties as half (common language, U / (n1 n2)).
    confidence : float

    Returns
    -------
    DataFrame
        One row: method estimate ci_low ci_high n1 n2.

    Notes
    -----
    R's effectsize: cohens_d, hedges_g, glass_delta, rank_biserial, p_superiority. The first three
    have its noncentral t interval, here solved to machine precision (R's optimiser stops earlier);
    the ranks have its interval on Fisher's z scale with variance (n1 + n2 + 1) / (3 n1 n2), NaN
    with a warning where the groups do not overlap or lie too far apart.
    """
    who = "effect_size"
    require(data, [value, group], who)
    ranks = ("rank-biserial", "common-language")
    require_choice(method, ("hedges", "cohen", "glass", *ranks), "method", who)
    require_confidence(confidence, who)
    used, first = _two(data, value, group, who)
    one, two = _values(used, value, first, who)
    n1, n2 = len(one), len(two)
    if method in ranks:
        u = stats.rankdata(np.r_[one, two])[:n1].sum() - n1 * (n1 + 1) / 2
        estimate = 2 * u / (n1 * n2) - 1
        low = high = np.nan
        if abs(estimate) < 1:
            half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt((n1 + n2 + 1) / (3 * n1 * n2))
            low, high = np.tanh(np.arctanh(estimate) + np.array([-half, half]))
        else:
            warnings.warn(f"{who}: the groups do not overlap: no interval", stacklevel=2)
        found = np.array([estimate, low, high])
        found = (found + 1) / 2 if method == "common-language" else found
    else:
        if min(n1, n2) < 2:
            raise ValueError(
                f"{who}: two values of {value!r} are needed in each group, there are {n1} and {n2}"
            )
        variances = one.var(ddof=1), two.var(ddof=1)
        if method == "glass":
            df, sd = n2 - 1, np.sqrt(variances[1])
            scale = np.sqrt(1 / n2 + variances[0] / (n1 * variances[1])) if sd > 0 else np.nan
        else:
            df = n1 + n2 - 2
            sd = np.sqrt(((n1 - 1) * variances[0] + (n2 - 1) * variances[1]) / df)
            scale = np.sqrt(1 / n1 + 1 / n2)
        if sd == 0:
            where = "in the second group" if method == "glass" else "within the groups"
            raise ValueError(f"{who}: {value!r} has no variation {where}")
        estimate = (one.mean() - two.mean()) / sd
        low, high = _noncentral(estimate / scale, df, confidence)
        found = np.array([estimate, low * scale, high * scale])
        if method == "hedges":
            found *= np.exp(
                special.gammaln(df / 2) - special.gammaln((df - 1) / 2) - 0.5 * np.log(df / 2)
            )
    estimate, low, high = map(float, found)
    return pd.DataFrame(
        [
            {
                "method": method,
                "estimate": estimate,
                "ci_low": low,
                "ci_high": high,
                "n1": n1,
                "n2": n2,
            }
        ]
    )


def _noncentral(t, df, confidence):
    """Noncentralities at which `t` has the lower and the upper tail probability."""
    tail = (1 - confidence) / 2
    found = []
    for p in (1 - tail, tail):

        def away(shift, p=p):
            return stats.nct.cdf(t, df, shift) - p

        step = 4.0
        while away(t - step) < 0 or away(t + step) > 0:
            step *= 2
        if not np.isfinite(away(t - step) + away(t + step)):
            warnings.warn(
                f"effect_size: no interval, the groups lie too far apart (t {t:.4g})", stacklevel=3
            )
            return np.nan, np.nan
        found.append(optimize.brentq(away, t - step, t + step, xtol=1e-13))
    return found


def compare_many(data, value, group, method="anova"):
    """Compare a column between two or more groups.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in one of the columns are left out.
    value, group : str
    method : {"anova", "welch", "kruskal", "chi2", "fisher"}
        One-way analysis of variance, Welch's for unequal variances, Kruskal-Wallis; for
        categories Pearson's chi-square or Fisher's exact test (`contingency.fisher_p`).

    Returns
    -------
    DataFrame
        One row: method statistic df1 df2 p n groups; F, or chi-square (kruskal, chi2) with df1.

    Notes
    -----
    R's oneway.test, kruskal.test, chisq.test, fisher.test; PROC ANOVA, GLM MEANS / WELCH, NPAR1WAY,
    FREQ. Computed by scipy and statsmodels.
    """
    who = "compare_many"
    require(data, [value, group], who)
    require_choice(method, ("anova", "welch", "kruskal", "chi2", "fisher"), "method", who)
    used = complete(data, [value, group])
    names = levels(used[group])
    if len(names) < 2:
        found = ", ".join(map(str, names)) or "none"
        raise ValueError(f"{who}: {group!r} must have two or more levels (found: {found})")
    found = {"method": method, "statistic": np.nan, "df1": np.nan, "df2": np.nan}
    if method in ("chi2", "fisher"):
        kept = levels(used[value])
        if len(kept) < 2:
            raise ValueError(f"{who}: {value!r} has no variation, all {len(used)} are {kept[0]}")
        table = contingency.cross_table(used, group, value)
        test = contingency.association(table, method).iloc[0]
        found.update(statistic=test["statistic"], df1=test["df"], p=test["p"])
    else:
        values = numbers(used[value], value, who)
        parts = [values[(used[group] == name).to_numpy()] for name in names]
        found.update(_several(parts, names, value, method, who))
    return pd.DataFrame([{**found, "n": len(used), "groups": len(names)}])


def _several(parts, names, value, method, who):
    if method == "kruskal":
        if np.ptp(np.concatenate(parts)) == 0:
            raise ValueError(f"{who}: {value!r} has no variation")
        test = stats.kruskal(*parts)
        return {
            "statistic": float(test.statistic),
            "df1": len(parts) - 1.0,
            "p": float(test.pvalue),
        }
    n = sum(map(len, parts))
    if n <= len(parts) or all(np.ptp(part) == 0 for part in parts):
        raise ValueError(f"{who}: {value!r} has no variation within the groups")
    if method == "anova":
        test = stats.f_oneway(*parts)
        df2 = float(n - len(parts))
        return {
            "statistic": float(test.statistic),
            "df1": len(parts) - 1.0,
            "df2": df2,
            "p": float(test.pvalue),
        }
    from statsmodels.stats.oneway import anova_oneway

    for name, part in zip(names, parts, strict=True):
        if len(part) < 2 or np.ptp(part) == 0:
            raise ValueError(f"{who}: welch needs variation of {value!r} in group {name}")
    test = anova_oneway(parts, use_var="unequal")
    df1, df2 = map(float, test.df)
    return {"statistic": float(test.statistic), "df1": df1, "df2": df2, "p": float(test.pvalue)}
