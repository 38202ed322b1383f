"""Distribution of a column: normality, equality of variances, and what describes it."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.frames import complete, levels, numbers, require, require_choice
from lungitude.statistics.linear import listed

QUANTILES = ("averaged_inverted_cdf", "linear", "weibull", "hazen", "median_unbiased")


def shapiro_wilk(values, who="normality"):
    """Shapiro-Wilk W and p of values without missing ones; a ValueError says why it cannot be."""
    n = len(values)
    if not 3 <= n <= 5000:
        raise ValueError(f"{who}: the Shapiro-Wilk test needs 3 to 5000 values, not {n}")
    if np.ptp(values) == 0:
        raise ValueError(f"{who}: all {n} values are equal")
    # centred and scaled, since W does not depend on it and large offsets cost digits
    return tuple(map(float, stats.shapiro((values - np.median(values)) / np.ptp(values))))


def _cells(data, by):
    """Rows of each combination of `by` that occurs, with its labels, in the order of levels."""
    if not by:
        return [({}, data)]
    ordered = [pd.Categorical(data[name], levels(data[name])) for name in by]
    codes = pd.DataFrame({place: column.codes for place, column in enumerate(ordered)})
    groups = codes.groupby(list(codes), sort=True).indices
    found = []
    for key, rows in groups.items():
        key = key if isinstance(key, tuple) else (key,)
        label = {
            name: column.categories[code]
            for name, column, code in zip(by, ordered, key, strict=True)
        }
        found.append((label, data.iloc[rows]))
    return found


def normality(data, value, by=None, method="shapiro"):
    """Test a column for a normal distribution, within groups if `by` is given.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in one of the columns are left out.
    value : str
    by : str or list of str, optional
    method : {"shapiro"}
        Shapiro-Wilk by Royston's AS R94 (R's shapiro.test, PROC UNIVARIATE NORMAL up to 2000).

    Returns
    -------
    DataFrame
        The columns of `by`, w p n. A group of fewer than 3, or without variation, is NaN with a
        warning; without `by`, and where no group can be tested, that is an error.

    Notes
    -----
    Computed by scipy, on values from their median in units of their range. A test of normality
    is no ground for the choice of another test on the same data, see `compare_groups`.
    """
    who = "normality"
    by = listed(by)
    require(data, [value, *by], who)
    require_choice(method, ("shapiro",), "method", who)
    used = complete(data, [value, *by])
    rows, faults = [], []
    for label, part in _cells(used, by):
        values = numbers(part[value], value, who)
        try:
            w, p = shapiro_wilk(values, f"{who}: {value!r}")
        except ValueError as fault:
            if not label:
                raise
            w = p = np.nan
            faults.append(f"{fault} ({', '.join(map(str, label.values()))})")
        rows.append({**label, "w": w, "p": p, "n": len(values)})
    if len(faults) == len(rows):
        named = ", ".join([value, *by])
        raise ValueError(faults[0] if faults else f"{who}: no row has all of {named}")
    for fault in faults:
        warnings.warn(fault, stacklevel=2)
    return pd.DataFrame(rows)


def equal_variances(data, value, group, method="brown-forsythe"):
    """Test whether groups have the same variance.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in one of the columns are left out.
    value, group : str
        Every group needs two values.
    method : {"brown-forsythe", "levene", "bartlett", "f"}
        ANOVA of the distances from the median (car's leveneTest) or the mean (PROC GLM HOVTEST =
        LEVENE(TYPE=ABS), SPSS); Bartlett's test; F of two variances, first by second (var.test).

    Returns
    -------
    DataFrame
        One row: method statistic df1 df2 p n; the statistic is F, or Bartlett's chi-square.

    Notes
    -----
    Computed by scipy but for the F test, which it lacks.
    """
    who = "equal_variances"
    require(data, [value, group], who)
    require_choice(method, ("brown-forsythe", "levene", "bartlett", "f"), "method", who)
    used = complete(data, [value, group])
    values, names = numbers(used[value], value, who), levels(used[group])
    parts = [values[(used[group] == name).to_numpy()] for name in names]
    if len(names) < 2 or (method == "f" and len(names) != 2):
        needed = "two levels" if method == "f" else "at least two levels"
        found = ", ".join(map(str, names)) or "none"
        raise ValueError(f"{who}: {group!r} must have {needed} with data (found: {found})")
    for name, part in zip(names, parts, strict=True):
        if len(part) < 2 or (method in ("bartlett", "f") and np.ptp(part) == 0):
            what = "no variation" if len(part) > 1 else "a single value"
            raise ValueError(f"{who}: {value!r} has {what} in group {name}")
    if all(np.ptp(part) == 0 for part in parts):
        raise ValueError(f"{who}: {value!r} has no variation in any group")
    df1, df2 = len(parts) - 1.0, float(len(values) - len(parts))
    if method == "f":
        df1, df2 = (len(part) - 1.0 for part in parts)
        statistic = parts[0].var(ddof=1) / parts[1].var(ddof=1)
        p = 2 * min(stats.f.cdf(statistic, df1, df2), stats.f.sf(statistic, df1, df2))
    elif method == "bartlett":
        df2 = np.nan
        statistic, p = stats.bartlett(*parts)
    else:
        center = "median" if method == "brown-forsythe" else "mean"
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic, p = stats.levene(*parts, center=center)
        if not np.isfinite(statistic):
            raise ValueError(f"{who}: all values of {value!r} are as far from their {center}")
    found = {"method": method, "statistic": float(statistic), "df1": df1, "df2": df2}
    return pd.DataFrame([{**found, "p": float(p), "n": len(values)}])


def summarise(
    data, value, by=None, by_normality=None, alpha=0.05, quantiles="averaged_inverted_cdf"
):
    """Describe a column: mean and SD, median and quartiles, range.

    Parameters
    ----------
    data : DataFrame
    value : str
    by : str or list of str, optional
        One row for each combination that occurs.
    by_normality : str, optional
        Arm, one of `by`: adds a column `shown`, "mean (SD)" where the Shapiro-Wilk p exceeds
        `alpha` in every arm, else "median (IQR)"; one choice for all arms of a line.
    alpha : float
    quantiles : str
        Method of numpy.quantile. The default is SAS PCTLDEF=5 and R's type 2; ``linear`` is R's
        default, type 7; ``weibull`` is SPSS, R's type 6.

    Returns
    -------
    DataFrame
        The columns of `by`, n missing mean sd median q1 q3 min max; with `by_normality` also
        normality_p shown. sd of one value is NaN, and everything of none.

    Notes
    -----
    What is shown by a test of normality depends on the size of the groups more than on their
    distribution; `by_normality` is there to remake published tables. A group that can't be tested
    (fewer than 3 or more than 5000 values, no variation) counts as not normal.
    """
    who = "summarise"
    by = listed(by)
    require(data, [value, *by], who)
    require_choice(quantiles, QUANTILES, "quantiles", who)
    if by_normality is not None and by_normality not in by:
        raise ValueError(f"{who}: by_normality {by_normality!r} is not one of by, {by}")
    if not 0 < alpha < 1:
        raise ValueError(f"{who}: alpha {alpha!r} is not between 0 and 1, such as 0.05")
    if not numbers(data[value], value, who).size or data[value].isna().all():
        raise ValueError(f"{who}: column {value!r} holds no value")
    rows = []
    for label, part in _cells(complete(data, by) if by else data, by):
        every = numbers(part[value], value, who)
        known = every[~np.isnan(every)]
        n = len(known)
        found = dict.fromkeys(["mean", "sd", "median", "q1", "q3", "min", "max"], np.nan)
        if n:
            q1, median, q3 = np.quantile(known, [0.25, 0.5, 0.75], method=quantiles)
            found.update(mean=known.mean(), median=median, q1=q1, q3=q3)
            found.update(
                min=known.min(), max=known.max(), sd=known.std(ddof=1) if n > 1 else np.nan
            )
        else:
            named = ", ".join(map(str, label.values()))
            warnings.warn(f"{who}: no value of {value!r} in {named}", stacklevel=2)
        row = {**label, "n": n, "missing": len(every) - n, **found}
        if by_normality is not None:
            row["normality_p"] = np.nan
            if 3 <= n <= 5000 and np.ptp(known) > 0:
                row["normality_p"] = shapiro_wilk(known, who)[1]
        rows.append(row)
    table = pd.DataFrame(rows)
    if by_normality is not None:
        normal = table["normality_p"] > alpha
        others = [name for name in by if name != by_normality]
        if others:
            keys = [table[name] for name in others]
            every_arm = normal.groupby(keys, observed=True).transform("all")
        else:
            every_arm = pd.Series(normal.all(), index=table.index)
        table["shown"] = np.where(every_arm, "mean (SD)", "median (IQR)")
    return table
