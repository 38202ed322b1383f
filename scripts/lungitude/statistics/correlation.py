"""Correlation: plain, partial, within patients, of changes, compared, and in tables of pairs."""

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.frames import (
    complete,
    is_factor,
    levels,
    numbers,
    require,
    require_choice,
    require_confidence,
    with_reference,
)
from lungitude.statistics.linear import independent, listed
from lungitude.statistics.multiplicity import adjust

METHODS = ("pearson", "spearman", "kendall")
# Variance of Fisher's z of a correlation; the first interval of a method is its default.
VARIANCES = {
    "pearson": {"fisher": lambda r, n: (1.0, n - 3)},
    "spearman": {
        "fisher": lambda r, n: (1.0, n - 3),
        "bonett-wright": lambda r, n: (1 + r**2 / 2, n - 3),
        "fieller": lambda r, n: (1.06, n - 3),
    },
    "kendall": {"fieller": lambda r, n: (0.437, n - 4)},
}


class NoCorrelationError(ValueError):
    """The data hold too little for the correlation that was asked for."""


def _z_variance(r, n, method, interval):
    numerator, denominator = VARIANCES[method][interval](r, n)
    return numerator / denominator if denominator > 0 else np.nan


def _z_interval(r, variance, confidence):
    """Interval of a correlation from the variance of its Fisher z; NaN if that is NaN."""
    half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    with np.errstate(divide="ignore"):
        return tuple(np.tanh(np.arctanh(r) + np.array([-half, half])))


def _t(r, df):
    with np.errstate(divide="ignore"):
        return float(r * np.sqrt(df) / np.sqrt((1 - r) * (1 + r)))


def _pearson(a, b):
    """Product-moment correlation along the last axis."""
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    product = (a * b).sum(axis=-1)
    return np.clip(product / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1)), -1, 1)


def _spearman_p(r, n):
    """Two-sided p of Spearman's rho without ties by AS 89 (Best & Roberts 1975), as R's cor.test.

    Exact up to 9 pairs, an Edgeworth series beyond.
    """
    if n <= 9:
        # S of all permutations, built one rank at a time over the sets of ranks in use.
        size = (n**3 - n) // 3 + 1
        counts = {0: np.eye(1, size, dtype=np.int64)[0]}
        for rank in range(n):
            following = {}
            for used, ways in counts.items():
                for other in range(n):
                    if not used >> other & 1:
                        step = (rank - other) ** 2
                        moved = np.zeros(size, np.int64)
                        moved[step:] = ways[: size - step]
                        key = used | 1 << other
                        following[key] = following[key] + moved if key in following else moved
            counts = following
        (ways,) = counts.values()
        s = round((n**3 - n) * (1 - abs(r)) / 6)
        return float(min(1.0, 2 * ways[: s + 1].sum() / ways.sum()))
    b = 1 / n
    # S goes in steps of 2; the value beside the observed one, less 1, is the continuity correction.
    s = 2 * round((n**3 - n) * (1 - abs(r)) / 12)
    x = (6 * (s + 1) * b / (n * n - 1) - 1) * np.sqrt(n - 1)
    y = x * x
    tail = 0.0151 * b + 0.0879 - y * (0.0072 - 0.0831 * b + y * b * (0.0131 - 4.6e-4 * y))
    middle = 0.3932 * b + 0.1033
    u = 0.2274 + b * (0.2531 + 0.1745 * b) + y * (-0.0758 + b * middle - y * b * tail)
    p = stats.norm.cdf(x) - x * b * u / np.exp(y / 2)
    return float(min(1.0, 2 * np.clip(p, 0, 1)))


def _kendall_z(tau, a, b):
    """Statistic of Kendall's tau-b with the variance for ties (Kendall 1970)."""
    n = len(a)
    x, y = (np.unique(values, return_counts=True)[1].astype(float) for values in (a, b))
    pairs = n * (n - 1) / 2
    s = tau * np.sqrt((pairs - (x * (x - 1)).sum() / 2) * (pairs - (y * (y - 1)).sum() / 2))
    plain = n * (n - 1) * (2 * n + 5) - sum((t * (t - 1) * (2 * t + 5)).sum() for t in (x, y))
    second = (x * (x - 1)).sum() * (y * (y - 1)).sum() / (2 * n * (n - 1))
    third = (x * (x - 1) * (x - 2)).sum() * (y * (y - 1) * (y - 2)).sum()
    return float(s / np.sqrt(plain / 18 + second + third / (9 * n * (n - 1) * (n - 2))))


def _check_method(method, interval, who, methods=METHODS):
    """Check the choices and return the interval, its default where none is given."""
    require_choice(method, methods, "method", who)
    if interval is None:
        return next(iter(VARIANCES[method]))
    require_choice(interval, tuple(VARIANCES[method]), f"interval of {method}", who)
    return interval


def _varying(used, names, minimum, who):
    """Columns as numbers; too few rows or a constant column cannot be correlated."""
    columns = [numbers(used[name], name, who) for name in names]
    if len(used) < minimum:
        what = " and ".join(map(repr, dict.fromkeys(names)))
        raise NoCorrelationError(
            f"{who}: {len(used)} rows have {what} complete, at least {minimum} are needed"
        )
    for name, column in zip(names, columns, strict=True):
        if np.ptp(column) == 0:
            raise NoCorrelationError(f"{who}: column {name!r} does not vary over {len(used)} rows")
    return columns


def _warn_interval(low, n, who):
    if np.isnan(low):
        warnings.warn(f"{who}: no interval from {n} rows, it is NaN", stacklevel=3)


def _correlate(a, b, method, interval, exact, confidence):
    """Correlation of two arrays: r, limits, p and the statistics by their names in R."""
    n = len(a)
    tied = min(len(np.unique(a)), len(np.unique(b))) < n
    if exact is None:
        exact = not tied and n < {"spearman": 10, "kendall": 50}.get(method, 0)
    elif exact and tied and method != "pearson":
        warnings.warn("correlate: no exact p with ties, the approximation is given", stacklevel=3)
        exact = False
    if method == "kendall":
        r = float(stats.kendalltau(a, b, method="asymptotic")[0])
        if exact:
            p = float(stats.kendalltau(a, b, method="exact")[1])
            found = {"T": round((r + 1) * n * (n - 1) / 4)}
        else:
            found = {"z": _kendall_z(r, a, b)}
            p = float(2 * stats.norm.sf(abs(found["z"])))
    else:
        if method == "spearman":
            a, b = stats.rankdata(a), stats.rankdata(b)
        r = float(_pearson(a, b))
        found = {"t": _t(r, n - 2), "df": n - 2}
        p = float(2 * stats.t.sf(abs(found["t"]), n - 2))
        if method == "spearman":
            found["S"] = (n**3 - n) * (1 - r) / 6
            if exact and n <= 1290:
                p = _spearman_p(r, n)
    low, high = _z_interval(r, _z_variance(r, n, method, interval), confidence)
    found["exact"] = bool(exact) and method != "pearson"
    return r, float(low), float(high), p, found


def _row(r, low, high, p, n, **attrs):
    frame = pd.DataFrame({"r": [r], "ci_low": [low], "ci_high": [high], "p": [p], "n": [n]})
    frame.attrs.update(attrs)
    return frame


def correlate(data, x, y, method="pearson", confidence=0.95, interval=None, exact=None):
    """Correlate two columns over the rows that have both.

    Parameters
    ----------
    data : DataFrame
    x, y : str
        Numeric columns.
    method : {"pearson", "spearman", "kendall"}
        Kendall's is tau-b.
    confidence : float
    interval : {None, "fisher", "bonett-wright", "fieller"}
        Variance of Fisher's z. Pearson: fisher, ``1 / (n - 3)``. Spearman: fisher by default, as
        PROC CORR FISHER; bonett-wright, ``(1 + r^2 / 2) / (n - 3)``, keeps its level better at
        strong correlation; fieller, ``1.06 / (n - 3)``. Kendall: fieller, ``0.437 / (n - 4)``.
    exact : bool, optional
        Whether the p of a rank correlation is exact. By default it is without ties below 10 rows
        (Spearman) or 50 (Kendall). True with ties gives the approximation and a warning, as R.

    Returns
    -------
    DataFrame
        One row: r ci_low ci_high p n. Its ``attrs`` hold the statistics by their names in R
        (t df, S, z or T) and whether p is exact. The interval is NaN, with a warning, where n is
        too small for its variance.

    Raises
    ------
    ValueError
        For fewer than 3 complete rows, and for a column that does not vary.

    Notes
    -----
    p: t with n - 2 df; Kendall: normal, variance corrected for ties, without continuity
    correction. R's ``cor.test(exact = FALSE)`` and ``scipy.stats.spearmanr`` give the same. With
    ``exact=True`` Spearman's p is that of AS 89 as in R: exact to 9 rows, an Edgeworth series
    beyond; R uses the series by default also from 10 to 1290 rows, here it is on demand.

    References
    ----------
    Fisher 1921, Metron 1; Fieller, Hartley & Pearson 1957, Biometrika 44; Best & Roberts 1975,
    Appl Stat 24 (AS 89); Bonett & Wright 2000, Psychometrika 65.
    """
    require(data, [x, y], "correlate")
    interval = _check_method(method, interval, "correlate")
    require_confidence(confidence, "correlate")
    used = complete(data, [x, y])
    a, b = _varying(used, [x, y], 3, "correlate")
    r, low, high, p, found = _correlate(a, b, method, interval, exact, confidence)
    _warn_interval(low, len(used), "correlate")
    return _row(r, low, high, p, len(used), **found)


def _residual(values, matrix):
    return values - matrix @ np.linalg.lstsq(matrix, values, rcond=None)[0]


def partial_correlation(data, x, y, covariates, method="pearson", semi=None, confidence=0.95):
    """Correlate two columns, adjusted for covariates.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in a used column are left out.
    x, y : str
        Numeric columns.
    covariates : str or sequence of str
        Numbers enter as they are (Spearman: as ranks), text and categories as dummy variables.
        What is aliased is left out with a warning.
    method : {"pearson", "spearman"}
    semi : {None, "x", "y"}
        Semipartial correlation: the covariates are removed from this one column only.
    confidence : float

    Returns
    -------
    DataFrame
        One row: r ci_low ci_high p n; ``attrs`` hold t and df = n - 2 - k, with k columns of
        covariates.

    Raises
    ------
    ValueError
        For too few rows, a column that does not vary or that the covariates determine.

    Notes
    -----
    The partial correlation is that of the residuals; Fisher's z has variance ``1 / (n - k - 3)``
    (R's ppcor, PROC CORR with PARTIAL). The p of a semipartial correlation is that of the partial
    one: both are zero together, and this is the exact F test of the increment of R squared.
    ``ppcor::spcor.test`` and pingouin refer the semipartial r itself to t, which is too small
    wherever the covariates explain the other column. Its interval has, on the z scale, the
    variance of Aloe & Becker 2012 (J Educ Behav Stat 37, as metafor's ZSPCOR) over n - k - 3.
    """
    who = "partial_correlation"
    covariates = list(dict.fromkeys(listed(covariates)))
    if not covariates:
        raise ValueError(f"{who}: no covariates; correlate is without")
    require(data, [x, y, *covariates], who)
    require_choice(method, METHODS[:2], "method", who)
    require_choice(semi, (None, "x", "y"), "semi", who)
    require_confidence(confidence, who)
    twice = {x, y} & set(covariates)
    if twice or x == y:
        raise ValueError(f"{who}: {', '.join(sorted(twice)) or x} has two parts")
    used = complete(data, [x, y, *covariates])
    a, b = _varying(used, [x, y], 3, who)
    for name in covariates:
        if not is_factor(used[name]):
            numbers(used[name], name, who)
    if method == "spearman":
        a, b = stats.rankdata(a), stats.rankdata(b)
        used = used.assign(
            **{name: used[name].rank() for name in covariates if not is_factor(used[name])}
        )
    design = ColumnDesign(used, covariates)
    kept = independent(design.matrix)
    lost = [name for i, name in enumerate(design.names) if i not in set(kept)]
    lost += [name for name, found in design.factors.items() if len(found) < 2]
    if lost:
        warnings.warn(f"{who}: {', '.join(lost)} is aliased and left out", stacklevel=2)
    n, k = len(used), len(kept) - 1
    if n - 2 - k < 1:
        raise NoCorrelationError(f"{who}: {n} rows for {k} columns of covariates")
    left = []
    for name, values in ((x, a), (y, b)):
        rest, spread = _residual(values, design.matrix[:, kept]), values - values.mean()
        if rest @ rest <= 1e-20 * (spread @ spread):
            raise NoCorrelationError(f"{who}: the covariates determine {name!r}")
        left.append(rest)
    r = float(_pearson(*left))
    df = n - 2 - k
    t = _t(r, df)
    variance = 1 / (n - k - 3) if n - k > 3 else np.nan
    if semi:
        whole, rest = (a, left[0]) if semi == "y" else (b, left[1])
        spread = whole - whole.mean()
        reduced = 1 - (rest @ rest) / (spread @ spread)
        full = 1 - (1 - reduced) * (1 - r**2)
        r *= float(np.sqrt(1 - reduced))
        variance *= (full**2 - 2 * full + reduced + 1 - reduced**2) / (1 - r**2) ** 2
    low, high = _z_interval(r, variance, confidence)
    _warn_interval(low, n, who)
    return _row(r, float(low), float(high), float(2 * stats.t.sf(abs(t), df)), n, t=t, df=df)


def repeated_correlation(data, x, y, subject, confidence=0.95):
    """Correlate two columns within subjects who were measured several times.

    Parameters
    ----------
    data : DataFrame
        One row a subject and visit.
    x, y, subject : str
    confidence : float

    Returns
    -------
    DataFrame
        One row: r ci_low ci_high p n; n counts rows of subjects with two complete rows or more,
        the others tell nothing. ``attrs``: n_subjects and df = n - n_subjects - 1.

    Raises
    ------
    ValueError
        When no subject has two rows, or a column does not vary within any subject.

    Notes
    -----
    rmcorr of Bakdash & Marusich 2017 (Front Psychol 8:456; Bland & Altman 1995, BMJ 310:446): the
    common slope of an analysis of covariance with subjects as factor, here as the correlation of
    deviations from the subjects' means. t with df; Fisher's z with variance ``1 / (df - 1)``, as
    R's rmcorr from 0.5.4 and pingouin, whose dummy variables are slow with many subjects.
    """
    who = "repeated_correlation"
    require(data, [x, y, subject], who)
    data = data.reset_index(drop=True)
    require_confidence(confidence, who)
    if len({x, y, subject}) < 3:
        raise ValueError(f"{who}: x, y and subject must be three columns")
    used = complete(data, [x, y, subject])
    for name in (x, y):
        numbers(used[name], name, who)
    groups = used.groupby(subject, observed=True)
    used = used.loc[groups[x].transform("size") > 1]
    if used.empty:
        raise NoCorrelationError(f"{who}: no {subject} has two complete rows or more")
    centred = []
    for name in (x, y):
        values = used[name].astype(float)
        values = values - values.mean()
        rest = (values - values.groupby(used[subject], observed=True).transform("mean")).to_numpy()
        if rest @ rest <= 1e-20 * float(values @ values) or not rest.any():
            raise NoCorrelationError(f"{who}: column {name!r} does not vary within any {subject}")
        centred.append(rest)
    n, subjects = len(used), used[subject].nunique()
    df = n - subjects - 1
    if df < 1:
        raise NoCorrelationError(f"{who}: {n} rows of {subjects} subjects leave no df")
    r = float(_pearson(*centred))
    t = _t(r, df)
    low, high = _z_interval(r, 1 / (df - 1) if df > 1 else np.nan, confidence)
    _warn_interval(low, n, who)
    p = float(2 * stats.t.sf(abs(t), df))
    return _row(r, float(low), float(high), p, n, t=t, df=df, n_subjects=subjects)


def _mover(first, second, covariance):
    """Interval of second - first from ``(estimate, low, high)`` of each (Zou 2007)."""
    (a, a_low, a_high), (b, b_low, b_high) = first, second

    def reach(up, down):
        return np.sqrt(max(up**2 + down**2 - 2 * covariance * up * down, 0.0))

    low = b - a - reach(b - b_low, a_high - a)
    return low, b - a + reach(b_high - b, a - a_low)


@dataclass
class ChangeCorrelations:
    """Result of `correlate_changes`: frames `arms` and `contrasts`."""

    arms: pd.DataFrame
    contrasts: pd.DataFrame


def _changes(data, x, y, arm, subject, visit, baseline, who):
    """Take the changes from baseline of two columns, one row a subject and later visit."""
    used = data.loc[data[[subject, visit]].notna().all(axis=1), [subject, visit, arm, x, y]]
    twice = used.duplicated([subject, visit])
    if twice.any():
        first = used.loc[twice].iloc[0]
        raise ValueError(f"{who}: {first[subject]} has two rows at {visit} {first[visit]}")
    if baseline not in (names := levels(used[visit])):
        found = ", ".join(map(str, names))
        raise ValueError(f"{who}: baseline {baseline!r} is no level of {visit!r} (found: {found})")
    start = used.loc[used[visit] == baseline].set_index(subject)
    later = used.loc[used[visit] != baseline]
    if later.empty:
        raise ValueError(f"{who}: no visit after {baseline}")
    for name in (x, y):
        change = numbers(later[name], name, who)
        change = change - numbers(start[name].reindex(later[subject]), name, who)
        later = later.assign(**{name: change})
    return later, [name for name in names if name != baseline]


def correlate_changes(
    data,
    x,
    y,
    arm,
    subject=None,
    visit=None,
    baseline=None,
    reference=None,
    method="pearson",
    confidence=0.95,
    interval=None,
):
    """Correlate the changes of two measurements within arms, and compare the arms.

    Pooling arms makes a correlation of any two outcomes that the treatment moves; within arms
    the patients themselves tell whether the changes go together.

    Parameters
    ----------
    data : DataFrame
        Without `visit`: one row a patient, `x` and `y` are changes. With it: one row a subject
        and visit, `x` and `y` are values, and their change from `baseline` is taken at every
        other visit.
    x, y, arm : str
    subject, visit : str, optional
        Columns of long data.
    baseline : optional
        Level of `visit`.
    reference : optional
        Arm that the others are compared with; the first level when not given.
    method, confidence, interval
        As `correlate`.

    Returns
    -------
    ChangeCorrelations
        ``.arms``: [visit] arm r ci_low ci_high p n. ``.contrasts``: [visit] contrast ("TRT - PBO")
        estimate (difference of the correlations) ci_low ci_high statistic p n1 n2 (first named arm,
        reference). An arm without a correlation gives NaN and a warning.

    Notes
    -----
    Statistic: difference of Fisher's z over the root of the sum of the variances of `interval`
    (Fisher 1921; ``cocor::cocor.indep.groups`` test fisher1925, psych::r.test). Interval: Zou 2007,
    Psychol Methods 12, from the intervals of the two correlations.
    """
    who = "correlate_changes"
    require(data, [c for c in (x, y, arm, subject, visit) if c is not None], who)
    interval = _check_method(method, interval, who)
    require_confidence(confidence, who)
    if visit is None and not (subject is None and baseline is None):
        raise ValueError(f"{who}: subject and baseline need visit")
    if visit is not None and (subject is None or baseline is None):
        raise ValueError(f"{who}: visit needs subject and baseline")
    if len({x, y, arm, subject, visit} - {None}) < (3 if visit is None else 5):
        raise ValueError(f"{who}: {x}, {y}, {arm} and the others must be different columns")
    changes, visits = data, [None]
    if visit is not None:
        changes, visits = _changes(data, x, y, arm, subject, visit, baseline, who)
    used = complete(changes, [x, y, arm])
    if used.empty:
        raise ValueError(f"{who}: no row has all of {x}, {y} and {arm}")
    arms = with_reference(levels(used[arm]), reference, arm, who)
    rows, contrasts = [], []
    for when in visits:
        label = {} if when is None else {visit: when}
        found = {}
        for name in arms:
            part = used.loc[used[arm] == name]
            part = part if when is None else part.loc[part[visit] == when]
            n = len(part)
            where = ", ".join([*map(str, label.values()), str(name)])
            row = _attempt(part, x, y, f"{who} in {where}", method, interval, confidence)
            r, low, high, p = row
            rows.append(
                {**label, arm: name, "r": r, "ci_low": low, "ci_high": high, "p": p, "n": n}
            )
            found[name] = r, low, high, n
        for name in arms[1:]:
            (r0, *limits0, n0), (r1, *limits1, n1) = found[arms[0]], found[name]
            variance = sum(_z_variance(r, n, method, interval) for r, n in ((r0, n0), (r1, n1)))
            with np.errstate(divide="ignore", invalid="ignore"):
                z = (np.arctanh(r1) - np.arctanh(r0)) / np.sqrt(variance)
            low, high = _mover((r0, *limits0), (r1, *limits1), 0.0)
            contrasts.append(
                {
                    **label,
                    "contrast": f"{name} - {arms[0]}",
                    "estimate": r1 - r0,
                    "ci_low": low,
                    "ci_high": high,
                    "statistic": z,
                    "p": 2 * stats.norm.sf(abs(z)),
                    "n1": n1,
                    "n2": n0,
                }
            )
    columns = ["contrast", "estimate", "ci_low", "ci_high", "statistic", "p", "n1", "n2"]
    columns = columns if visit is None else [visit, *columns]
    return ChangeCorrelations(pd.DataFrame(rows), pd.DataFrame(contrasts, columns=columns))


def _attempt(part, x, y, who, method, interval, confidence):
    """Correlation of one cell of a table: r, limits and p; NaN and a warning if there is none."""
    try:
        columns = _varying(part, [x, y], 3, who)
    except NoCorrelationError as error:
        warnings.warn(f"{error}; NaN is given", stacklevel=3)
        return (np.nan,) * 4
    row = _correlate(*columns, method, interval, None, confidence)[:4]
    if np.isnan(row[1]):
        warnings.warn(f"{who}: no interval from {len(part)} rows, it is NaN", stacklevel=3)
    return row


TESTS = {"nonoverlapping": ("steiger", "zpf"), "overlapping": ("steiger", "williams", "meng")}


def _z_covariance(matrix, j, k, h, m):
    """Correlation of Fisher's z of r_jk and r_hm in one sample (Dunn & Clark 1969, eq. 8 and 9)."""
    r = matrix
    product = (
        r[j, k] * r[h, m] * (r[j, h] ** 2 + r[j, m] ** 2 + r[k, h] ** 2 + r[k, m] ** 2) / 2
        + r[j, h] * r[k, m]
        + r[j, m] * r[k, h]
        - r[j, k] * (r[j, h] * r[j, m] + r[k, h] * r[k, m])
        - r[h, m] * (r[j, h] * r[k, h] + r[j, m] * r[k, m])
    )
    return product / ((1 - r[j, k] ** 2) * (1 - r[h, m] ** 2))


def _compare(matrix, places, n, test, confidence):
    """Compare two entries of one sample's correlation matrix: limits, statistic and p."""
    j, k, h, m = places
    r1, r2 = matrix[j, k], matrix[h, m]
    limits = [(r, *_z_interval(r, 1 / (n - 3), confidence)) for r in (r1, r2)]
    low, high = _mover(*limits, _z_covariance(matrix, *places))
    difference = np.arctanh(r2) - np.arctanh(r1)
    if test == "williams":
        rest = matrix[k, m]
        size = 1 + 2 * r1 * r2 * rest - r1**2 - r2**2 - rest**2
        spread = 2 * (n - 1) / (n - 3) * size + ((r1 + r2) / 2) ** 2 * (1 - rest) ** 3
        t = (r2 - r1) * np.sqrt((n - 1) * (1 + rest) / spread)
        return low, high, t, 2 * stats.t.sf(abs(t), n - 3)
    if test == "meng":
        rest, square = matrix[k, m], (r1**2 + r2**2) / 2
        f = min((1 - rest) / (2 * (1 - square)), 1.0)
        h_factor = (1 - f * square) / (1 - square)
        z = difference * np.sqrt((n - 3) / (2 * (1 - rest) * h_factor))
    else:
        if test == "steiger":
            matrix = matrix.copy()
            for a, b in ((j, k), (h, m)):
                matrix[a, b] = matrix[b, a] = (r1 + r2) / 2
        z = difference * np.sqrt((n - 3) / (2 - 2 * _z_covariance(matrix, *places)))
    return low, high, z, 2 * stats.norm.sf(abs(z))


def _bootstrap(columns, places, method, n_boot, confidence, generator):
    """Percentile interval and p of the difference of two correlations over resampled rows."""
    n, drawn = columns.shape[1], []
    for size in np.diff(np.append(np.arange(0, n_boot, 200), n_boot)):  # bounds the memory
        sample = columns[:, generator.integers(n, size=(size, n))]
        if method == "spearman":
            sample = stats.rankdata(sample, axis=-1)
        j, k, h, m = (sample[place] for place in places)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn.append(_pearson(h, m) - _pearson(j, k))
    drawn = np.concatenate(drawn)
    drawn = drawn[~np.isnan(drawn)]  # a resample of one patient alone has no correlation
    if len(drawn) < 0.9 * n_boot:
        return (np.nan,) * 4
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    tail = (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (len(drawn) + 1)
    return low, high, np.nan, min(1.0, 2 * tail)


def compare_correlations(
    data,
    first,
    second,
    by=None,
    method="pearson",
    test="steiger",
    confidence=0.95,
    n_boot=2000,
    seed=1,
):
    """Compare two correlations that were measured in the same patients.

    Parameters
    ----------
    data : DataFrame
        One row a patient: two pairs of columns, such as FEV1 and LAA at baseline, and at week 12.
        Rows complete in all of them are used.
    first, second : pair of str
        They may share one column (overlapping correlations).
    by : str, optional
        Column of strata, such as the arm: each is compared by itself. A stratum that cannot be
        compared gives NaN and a warning.
    method : {"pearson", "spearman"}
        The formulas are derived for Pearson's r of normal data; with ranks they are an
        approximation, and ``test="bootstrap"`` is the safer one.
    test : {"steiger", "zpf", "williams", "meng", "bootstrap"}
        zpf for pairs without a shared column; williams and meng for pairs with one.
    confidence : float
    n_boot, seed : int
        Resamples of patients and seed of the bootstrap.

    Returns
    -------
    DataFrame
        [by] r1 r2 estimate (r2 - r1) ci_low ci_high statistic p n. Interval by Zou 2007; bootstrap:
        percentiles, and no statistic.

    Notes
    -----
    steiger: Dunn & Clark's z with the covariance at the mean of the two r (Steiger 1980, Psychol
    Bull 87, eq. 14 and 15). zpf: the covariance at their own r (Raghunathan, Rosenthal & Rubin
    1996, Psychol Methods 1, eq. 3; it is Dunn & Clark 1969). williams: t with n - 3 df (Steiger
    1980, eq. 7). meng: Meng, Rosenthal & Rubin 1992, Psychol Bull 111. R: ``cocor::cocor``
    steiger1980, raghunathan1996, williams1959, meng1992 and zou2007, whose difference is r1 - r2.
    """
    who = "compare_correlations"
    first, second = list(first), list(second)
    if not len(set(first)) == len(set(second)) == 2 or set(first) == set(second):
        raise ValueError(f"{who}: {first} and {second} are not two different pairs of columns")
    names = list(dict.fromkeys([*first, *second]))
    require(data, [*names, *([by] if by else [])], who)
    require_choice(method, METHODS[:2], "method", who)
    shared = set(first) & set(second)
    kind = "overlapping" if shared else "nonoverlapping"
    require_choice(test, (*TESTS[kind], "bootstrap"), f"test of {kind} correlations", who)
    require_confidence(confidence, who)
    if by in names:
        raise ValueError(f"{who}: {by} has two parts")
    if shared:  # the shared column comes first in both pairs
        (common,) = shared
        first, second = ([common, *(c for c in pair if c != common)] for pair in (first, second))
    places = [names.index(name) for name in (*first, *second)]
    used = complete(data, [*names, *([by] if by else [])])
    strata = levels(used[by]) if by else [None]
    if by and not strata:
        raise ValueError(f"{who}: no row has all of {', '.join([*names, by])}")
    rows = []
    for stratum in strata:
        part = used if by is None else used.loc[used[by] == stratum]
        row = {} if by is None else {by: stratum}
        where = who if by is None else f"{who} in {by} {stratum}"
        try:
            columns = np.array(_varying(part, names, 5, where))
            ranks = stats.rankdata(columns, axis=1) if method == "spearman" else columns
            matrix = np.corrcoef(ranks)
            r1, r2 = matrix[places[0], places[1]], matrix[places[2], places[3]]
            if max(abs(r1), abs(r2)) > 1 - 1e-12:
                raise NoCorrelationError(f"{where}: a correlation is 1 or -1, no variance")
            if test == "bootstrap":
                generator = np.random.default_rng(seed)
                found = _bootstrap(columns, places, method, n_boot, confidence, generator)
            else:
                found = _compare(matrix, places, len(part), test, confidence)
        except NoCorrelationError as error:
            if by is None:
                raise
            warnings.warn(f"{error}; NaN is given", stacklevel=2)
            r1 = r2 = np.nan
            found = (np.nan,) * 4
        low, high, statistic, p = found
        row |= {"r1": r1, "r2": r2, "estimate": r2 - r1, "ci_low": low, "ci_high": high}
        rows.append({**row, "statistic": statistic, "p": p, "n": len(part)})
    return pd.DataFrame(rows)


def correlation_matrix(
    data,
    xs,
    ys=None,
    method="pearson",
    by=None,
    covariates=(),
    family="bh",
    scope="table",
    confidence=0.95,
    interval=None,
):
    """Correlate many pairs of columns, with p adjusted over the family that they are.

    Parameters
    ----------
    data : DataFrame
    xs : sequence of str
    ys : sequence of str, optional
        Every x with every y; all pairs of `xs` when not given. Each pair has its complete rows.
    method, interval, confidence
        As `correlate`.
    by : str, optional
        Column of strata, in each of which all pairs are correlated. Rows without it are left out.
    covariates : sequence of str, optional
        Partial correlations given these (pearson or spearman, interval fisher).
    family : str
        Method of `adjust`.
    scope : {"table", "stratum"}
        Whether the whole table is one family, or each stratum.

    Returns
    -------
    DataFrame
        [by] x y r ci_low ci_high p p_adjusted n. A pair without a correlation gives NaN and a
        warning, and is not counted in the family.
    """
    who = "correlation_matrix"
    xs, ys = listed(xs), listed(ys)
    covariates = list(dict.fromkeys(listed(covariates)))
    strata_of = [by] if by else []
    require(data, [*xs, *ys, *covariates, *strata_of], who)
    interval = _check_method(method, interval, who, METHODS[:2] if covariates else METHODS)
    require_choice(scope, ("table", "stratum"), "scope", who)
    require_confidence(confidence, who)
    if covariates and interval != "fisher":
        raise ValueError(f"{who}: partial correlations have the interval fisher only")
    if len(set(xs)) < len(xs) or len(set(ys)) < len(ys):
        raise ValueError(f"{who}: a column is named twice")
    pairs = list(itertools.product(xs, ys) if ys else itertools.combinations(xs, 2))
    if not pairs or any(x == y for x, y in pairs):
        raise ValueError(f"{who}: two different columns are needed for a pair")
    for name in [*xs, *ys]:
        numbers(data[name], name, who)
    used = complete(data, strata_of) if by else data
    strata = levels(used[by]) if by else [None]
    if by and not strata:
        raise ValueError(f"{who}: column {by!r} is empty")
    rows = []
    for stratum in strata:
        part = used if by is None else used.loc[used[by] == stratum]
        label = {} if by is None else {by: stratum}
        for x, y in pairs:
            kept = complete(part, [x, y, *covariates])
            where = f"{who} of {x} and {y}" + ("" if by is None else f" in {by} {stratum}")
            if covariates:
                found = _attempt_partial(kept, x, y, covariates, method, confidence, where)
            else:
                found = _attempt(kept, x, y, where, method, interval, confidence)
            values = dict(zip(("r", "ci_low", "ci_high", "p"), found, strict=True))
            rows.append({**label, "x": x, "y": y, **values, "n": len(kept)})
    table = pd.DataFrame(rows)
    if scope == "stratum" and by:
        adjusted = table.groupby(by, observed=True, sort=False)["p"]
        adjusted = adjusted.transform(lambda p: adjust(p.to_numpy(), family))
    else:
        adjusted = adjust(table["p"].to_numpy(), family)
    table.insert(table.columns.get_loc("p") + 1, "p_adjusted", adjusted)
    return table


def _attempt_partial(part, x, y, covariates, method, confidence, who):
    try:
        row = partial_correlation(part, x, y, covariates, method, confidence=confidence)
    except NoCorrelationError as error:
        warnings.warn(f"{who}: {error}; NaN is given", stacklevel=3)
        return (np.nan,) * 4
    return tuple(row.loc[0, ["r", "ci_low", "ci_high", "p"]])
