"""Error, concordance and repeatability of measurements, for pairs and for repeats."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.frames import require_confidence
from lungitude.statistics.pairs import each_stratum, same_length, series, vectors


def accuracy(measured, reference, confidence=0.95, resamples=0, seed=1, by=None):
    """Bias, mean errors and correlation of measurements against a reference.

    Parameters
    ----------
    measured, reference : array_like
        Pairs in one unit, by position; pairs with a missing value are left out.
    confidence : float
    resamples : int
        Bootstrap resamples of pairs for the intervals of the mean errors; with 0 these are NaN.
    seed : int
        The same seed gives the same intervals.
    by : array_like, optional
        Stratum of each pair, each analysed on its own.

    Returns
    -------
    DataFrame
        One row [a stratum]: n; bias (mean of measured - reference, interval by t); mae and rmse in
        the unit of the data, mape in percent of the reference (bootstrap BCa); r (Pearson, interval
        by Fisher z), each with _ci_low and _ci_high; r2, the coefficient of determination
        ``1 - sum (measured - reference)^2 / sum (reference - mean)^2``: below 0 where the mean of
        the reference would do better, and not the square of r.

    Raises
    ------
    ValueError
        Text or infinite values, unequal lengths, fewer than 3 pairs, a reference that is constant.

    Warns
    -----
    UserWarning
        Reference values of 0 have no percentage: mape is NaN. Constant measurements: r is NaN.

    Notes
    -----
    As ``Metrics::mae``, ``mape`` (times 100) and ``rmse`` of R, and `sklearn.metrics.r2_score`.
    Bootstrap: `scipy.stats.bootstrap`, bias corrected and accelerated (Efron 1987, JASA 82:171).
    """
    who = "accuracy"
    require_confidence(confidence, who)
    a, b = vectors(who, measured=measured, reference=reference)
    if by is not None:
        return each_stratum(
            lambda rows: accuracy(a[rows], b[rows], confidence, resamples, seed), by, len(a), who
        )
    a, b = _complete(a, b, 3, who)
    if np.ptp(b) == 0:
        raise ValueError(f"{who}: reference is constant ({b[0]:g})")
    n, error, upper = len(a), a - b, 0.5 + confidence / 2
    half = stats.t.ppf(upper, n - 1) * error.std(ddof=1) / np.sqrt(n)
    row = {"n": n, "bias": error.mean()}
    row["bias_ci_low"], row["bias_ci_high"] = row["bias"] - half, row["bias"] + half
    if zeros := int(np.sum(b == 0)):
        warnings.warn(f"{who}: {zeros} reference values are 0, mape is NaN", stacklevel=2)
        share = np.full(n, np.nan)
    else:
        share = 100 * error / b
    for name, values, mean in (
        ("mae", error, _mean_absolute),
        ("mape", share, _mean_absolute),
        ("rmse", error, _root_mean_square),
    ):
        row[name] = mean(values)
        row[f"{name}_ci_low"] = row[f"{name}_ci_high"] = np.nan
        if resamples and np.ptp(np.abs(values)) > 0:
            found = stats.bootstrap(
                (values,),
                mean,
                n_resamples=resamples,
                confidence_level=confidence,
                method="BCa",
                rng=np.random.default_rng(seed),
            ).confidence_interval
            row[f"{name}_ci_low"], row[f"{name}_ci_high"] = found
    if np.ptp(a) == 0:
        warnings.warn(f"{who}: measured is constant, r is NaN", stacklevel=2)
        row["r"] = row["r_ci_low"] = row["r_ci_high"] = np.nan
    else:
        row["r"] = r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
        row["r_ci_low"], row["r_ci_high"] = _fisher(r, n - 3, upper)
    row["r2"] = 1 - np.sum(error**2) / np.sum((b - b.mean()) ** 2)
    return pd.DataFrame([row])


def ccc(x, y, confidence=0.95, by=None):
    """Concordance correlation of Lin.

    Parameters
    ----------
    x, y : array_like
        Paired measurements in one unit; pairs with a missing value are left out.
    confidence : float
    by : array_like, optional
        Stratum of each pair, each analysed on its own.

    Returns
    -------
    DataFrame
        One row [a stratum]: ccc ci_low ci_high r (Pearson) bias_correction (ccc = r times it) z_se
        (standard error of atanh ccc) n.

    Raises
    ------
    ValueError
        Fewer than 3 pairs; x or y constant.

    Notes
    -----
    Moments are divided by n, the interval is by Fisher z [1]_ with the variance as corrected in
    [2]_. ``epiR::epi.ccc`` and ``DescTools::CCC`` of R; in SAS a macro.

    References
    ----------
    .. [1] Lin 1989, Biometrics 45:255-268.
    .. [2] Lin 2000, Biometrics 56:324-325.
    """
    require_confidence(confidence, "ccc")
    a, b = vectors("ccc", x=x, y=y)
    if by is not None:
        return each_stratum(lambda rows: ccc(a[rows], b[rows], confidence), by, len(a), "ccc")
    a, b = _complete(a, b, 3, "ccc")
    for name, values in (("x", a), ("y", b)):
        if np.ptp(values) == 0:
            raise ValueError(f"ccc: {name} is constant ({values[0]:g})")
    n, sx, sy, shift = len(a), a.std(), b.std(), a.mean() - b.mean()
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    correction = 2 * sx * sy / (sx**2 + sy**2 + shift**2)
    c, u2 = r * correction, shift**2 / (sx * sy)
    # c / r is written as the bias correction: so it holds for r of 0.
    room = 1 - c**2
    variance = (
        (1 - r**2) * correction**2 / room
        + 2 * c**2 * correction * (1 - c) * u2 / room**2
        - (c * correction * u2) ** 2 / (2 * room**2)
        if room > 0
        else 0.0
    )
    se = np.sqrt(max(0.0, variance) / (n - 2))
    low, high = (
        (c, c) if room <= 0 else _fisher(c, 1 / se**2 if se else np.inf, 0.5 + confidence / 2)
    )
    row = {"ccc": c, "ci_low": low, "ci_high": high, "r": r, "bias_correction": correction}
    return pd.DataFrame([row | {"z_se": se, "n": n}])


def repeatability(x, y=None, subject=None, confidence=0.95, coverage=0.95, by=None):
    """Within-subject SD, repeatability coefficient and within-subject coefficient of variation.

    Parameters
    ----------
    x, y : array_like
        Test and retest, a row a subject; or `x` alone with all measurements and `subject`.
    subject : array_like, optional
        Subject of each value of `x`; those with one value tell nothing and are left out.
    confidence : float
        Of the intervals.
    coverage : float
        Share of differences of two measurements below the repeatability coefficient.
    by : array_like, optional
        Stratum of each row, each analysed on its own.

    Returns
    -------
    DataFrame
        One row [a stratum]: n (subjects) df within_sd rc, both with _ci_low and _ci_high;
        within_sd_bias_removed (pairs only: SD of the differences / sqrt 2, else NaN); cv_rms
        (root mean square of the subjects' CV), cv_log (``exp(SD of logs) - 1``), cv_mean
        (within_sd over the mean), as fractions.

    Raises
    ------
    ValueError
        Neither `y` nor `subject`, or both; no subject with 2 values; text or infinite values.

    Warns
    -----
    UserWarning
        Values of 0 or less have no coefficient of variation: NaN.

    Notes
    -----
    One-way analysis of variance; with pairs ``within_sd^2 = mean(difference^2) / 2``, so that a
    systematic change counts as error. ``rc = z sqrt(2) within_sd`` (2.77 within_sd); exact
    intervals by chi-square (QIBA; Barnhart & Barboriak 2009, Transl Oncol 2:231-235; Bland &
    Altman 1996, BMJ 313:41, 106). SAS: PROC MIXED with a random subject, residual variance.
    """
    who = "repeatability"
    require_confidence(confidence, who)
    require_confidence(coverage, f"{who} (coverage)")
    if (y is None) == (subject is None):
        raise ValueError(f"{who}: give either y (retest) or subject (of each value of x)")
    first, second = vectors(who, x=x, y=x if y is None else y)
    names = pd.Series(np.arange(len(first))) if y is not None else series(subject, "subject", who)
    same_length(who, {"x": first, "subject": names})
    if by is not None:
        return each_stratum(
            lambda rows: repeatability(
                first[rows],
                None if y is None else second[rows],
                names[rows] if y is None else None,
                confidence,
                coverage,
            ),
            by,
            len(first),
            who,
        )
    frame = pd.DataFrame({"subject": names, "value": first})
    removed = np.nan
    if y is not None:
        known = ~(np.isnan(first) | np.isnan(second))
        if known.sum() > 1:
            removed = (first - second)[known].std(ddof=1) / np.sqrt(2)
        frame = pd.concat([frame, frame.assign(value=second)])[np.r_[known, known]]
    frame = frame.dropna()
    frame = frame[frame["subject"].map(frame["subject"].value_counts()) > 1]
    if frame.empty:
        raise ValueError(f"{who}: no subject with 2 values")
    codes, n = pd.factorize(frame["subject"])[0], frame["subject"].nunique()
    value, df = frame["value"].to_numpy(), len(frame) - n

    def within(values):
        mean = np.bincount(codes, values) / np.bincount(codes)
        return np.bincount(codes, (values - mean[codes]) ** 2), mean

    squares, means = within(value)
    sd = np.sqrt(squares.sum() / df)
    low, high = np.sqrt(df / stats.chi2.ppf([0.5 + confidence / 2, 0.5 - confidence / 2], df))
    factor = stats.norm.ppf(0.5 + coverage / 2) * np.sqrt(2)
    row = {"n": n, "df": df}
    for name, scale in (("within_sd", 1.0), ("rc", factor)):
        row[name] = scale * sd
        row[f"{name}_ci_low"], row[f"{name}_ci_high"] = scale * sd * low, scale * sd * high
    row["within_sd_bias_removed"] = removed
    row["cv_rms"] = row["cv_log"] = row["cv_mean"] = np.nan
    if (count := int(np.sum(value <= 0))) > 0:
        warnings.warn(
            f"{who}: {count} values are not above 0, the coefficient of variation is NaN",
            stacklevel=2,
        )
    else:
        row["cv_rms"] = np.sqrt(np.sum(squares / means**2) / df)
        row["cv_log"] = np.exp(np.sqrt(within(np.log(value))[0].sum() / df)) - 1
        row["cv_mean"] = sd / value.mean()
    return pd.DataFrame([row])


def minimal_detectable_change(sem, coverage=0.95):
    """Smallest change of one subject beyond measurement error: ``z sqrt(2) sem``.

    Parameters
    ----------
    sem : float or array_like
        Standard error of measurement, such as `sem` of `icc` or `within_sd` of `repeatability`.
    coverage : float
        0.95 has z = 1.959964 (`mdc95` of `icc` has the 1.96 of that literature).

    Returns
    -------
    float or ndarray
        In the unit of `sem`.
    """
    require_confidence(coverage, "minimal_detectable_change (coverage)")
    sem = np.asarray(sem, dtype=float)
    if np.any(sem < 0) or np.isinf(sem).any():
        raise ValueError("minimal_detectable_change: sem is negative or infinite")
    return (stats.norm.ppf(0.5 + coverage / 2) * np.sqrt(2) * sem)[()]


def proportional_bias(x, y, confidence=0.95, by=None):
    """Regress the differences ``x - y`` on the means of the pairs.

    Parameters
    ----------
    x, y : array_like
        Paired measurements, one pair a subject; pairs with a missing value are left out.
    confidence : float
    by : array_like, optional
        Stratum of each pair.

    Returns
    -------
    DataFrame
        One row [a stratum]: intercept slope se df statistic p ci_low ci_high (of the slope)
        residual_sd r (of difference and mean) n, and abs_residual_intercept abs_residual_slope
        abs_residual_p: whether the scatter grows with the mean. Limits that follow the mean m are
        ``intercept + slope m -+ z sqrt(pi/2) (abs_residual_intercept + abs_residual_slope m)``.

    Notes
    -----
    Bland & Altman 1999, section 3.2 (``lm(difference ~ mean)``; SAS PROC REG). When the error
    variances of x and y differ the slope is not 0 even without proportional bias.
    """
    who = "proportional_bias"
    require_confidence(confidence, who)
    a, b = vectors(who, x=x, y=y)
    if by is not None:
        return each_stratum(
            lambda rows: proportional_bias(a[rows], b[rows], confidence), by, len(a), who
        )
    a, b = _complete(a, b, 3, who)
    difference, mean, n = a - b, (a + b) / 2, len(a)
    if np.ptp(mean) == 0:
        raise ValueError(f"{who}: the means of the pairs are all equal")
    line = stats.linregress(mean, difference)
    residual = difference - line.intercept - line.slope * mean
    scatter = stats.linregress(mean, np.abs(residual))
    half = stats.t.ppf(0.5 + confidence / 2, n - 2) * line.stderr
    return pd.DataFrame(
        [
            {
                "intercept": line.intercept,
                "slope": line.slope,
                "se": line.stderr,
                "df": n - 2,
                "statistic": line.slope / line.stderr if line.stderr > 0 else np.nan,
                "p": line.pvalue,
                "ci_low": line.slope - half,
                "ci_high": line.slope + half,
                "residual_sd": np.sqrt(np.sum(residual**2) / (n - 2)),
                "r": line.rvalue,
                "n": n,
                "abs_residual_intercept": scatter.intercept,
                "abs_residual_slope": scatter.slope,
                "abs_residual_p": scatter.pvalue,
            }
        ]
    )


def _complete(a, b, fewest, who):
    known = ~(np.isnan(a) | np.isnan(b))
    if known.sum() < fewest:
        raise ValueError(f"{who}: {known.sum()} complete pairs, at least {fewest} are needed")
    return a[known], b[known]


def _mean_absolute(values, axis=-1):
    return np.mean(np.abs(values), axis=axis)


def _root_mean_square(values, axis=-1):
    return np.sqrt(np.mean(np.square(values), axis=axis))


def _fisher(r, information, upper):
    """Interval of a correlation whose atanh has the variance 1 / information."""
    if abs(r) == 1 or information == np.inf:
        return r, r
    if information <= 0:
        return np.nan, np.nan
    half = stats.norm.ppf(upper) / np.sqrt(information)
    return np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)
