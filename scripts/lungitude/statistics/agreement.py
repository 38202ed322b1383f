"""Agreement of methods, readers and repeats: intraclass correlation and limits of agreement."""

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.frames import numbers, require, require_confidence


def icc(data, targets="id", raters="rater", ratings="score", confidence=0.95):
    """Six intraclass correlations of McGraw & Wong.

    Parameters
    ----------
    data : DataFrame
        Long, one row a rating. Targets that some rater did not rate are left out.
    targets, raters, ratings : str

    Returns
    -------
    DataFrame
        type (ICC(1,1) ICC(A,1) ICC(C,1) ICC(1,k) ICC(A,k) ICC(C,k)) icc f df1 df2 p ci_low
        ci_high n (targets used). Without variation between targets and within them: NaN.

    Notes
    -----
    From the mean squares of the two-way table. The interval of ICC(A,1) has Satterthwaite df
    [1]_, that of ICC(A,k) follows by Spearman-Brown. Held against R (formulas and psych 2.2.9)
    in tests/reference; pingouin gives the same estimates but rounds its intervals.

    References
    ----------
    .. [1] McGraw & Wong 1996, Psychological Methods 1:30-46.
    """
    require(data, [targets, raters, ratings], "icc")
    require_confidence(confidence, "icc")
    repeated = data.duplicated([targets, raters])
    if repeated.any():
        row = data.loc[repeated].iloc[0]
        raise ValueError(
            f"icc: {targets} {row[targets]} is rated twice by {row[raters]}; average repeats first"
        )
    scores = numbers(data[ratings], ratings, "icc")
    wide = data.assign(**{ratings: scores}).pivot_table(ratings, index=targets, columns=raters)
    wide = wide.dropna().to_numpy(dtype=float)
    n, k = wide.shape
    if k < 2 or n < 2:
        raise ValueError(f"icc: {n} complete targets by {k} raters; at least 2 by 2 are needed")
    mean = wide.mean()
    rows, columns = wide.mean(axis=1), wide.mean(axis=0)
    msr = k * np.sum((rows - mean) ** 2) / (n - 1)
    msc = n * np.sum((columns - mean) ** 2) / (k - 1)
    mse = np.sum((wide - rows[:, None] - columns + mean) ** 2) / ((n - 1) * (k - 1))
    msw = np.sum((wide - rows[:, None]) ** 2) / (n * (k - 1))
    df1, within, error = n - 1, n * (k - 1), (n - 1) * (k - 1)
    upper = 0.5 + confidence / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        f_one, f_two = msr / msw, msr / mse
        one = f_one / stats.f.ppf(upper, df1, within), f_one * stats.f.ppf(upper, within, df1)
        two = f_two / stats.f.ppf(upper, df1, error), f_two * stats.f.ppf(upper, error, df1)
        single = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
        a = k * single / (n * (1 - single))
        b = 1 + k * single * (n - 1) / (n * (1 - single))
        v = (a * msc + b * mse) ** 2 / ((a * msc) ** 2 / (k - 1) + (b * mse) ** 2 / error)
        f_low, f_high = stats.f.ppf(upper, df1, v), stats.f.ppf(upper, v, df1)
        spread = k * msc + (k * n - k - n) * mse
        low = n * (msr - f_low * mse) / (f_low * spread + n * msr)
        high = n * (f_high * msr - mse) / (spread + n * f_high * msr)
        absolute = low, high

        def stepped(value):
            return k * value / (1 + (k - 1) * value)

        table = [
            (
                "ICC(1,1)",
                (msr - msw) / (msr + (k - 1) * msw),
                f_one,
                within,
                *((f - 1) / (f + k - 1) for f in one),
            ),
            ("ICC(A,1)", single, f_two, error, *absolute),
            (
                "ICC(C,1)",
                (msr - mse) / (msr + (k - 1) * mse),
                f_two,
                error,
                *((f - 1) / (f + k - 1) for f in two),
            ),
            ("ICC(1,k)", (msr - msw) / msr, f_one, within, *(1 - 1 / f for f in one)),
            (
                "ICC(A,k)",
                (msr - mse) / (msr + (msc - mse) / n),
                f_two,
                error,
                *(stepped(value) for value in absolute),
            ),
            ("ICC(C,k)", (msr - mse) / msr, f_two, error, *(1 - 1 / f for f in two)),
        ]
    frame = pd.DataFrame(table, columns=["type", "icc", "f", "df2", "ci_low", "ci_high"])
    frame["df1"], frame["n"] = df1, n
    frame["p"] = stats.f.sf(frame["f"], df1, frame["df2"])
    return frame[["type", "icc", "f", "df1", "df2", "p", "ci_low", "ci_high", "n"]]


def bland_altman(x, y, confidence=0.95, repeated=None, coverage=0.95):
    """Bias and limits of agreement of ``x - y``.

    Parameters
    ----------
    x, y : array_like
        Paired measurements; pairs with a missing value are left out.
    confidence : float
        Of the intervals.
    repeated : array_like, optional
        Subject of each pair when subjects have several pairs and the true value varies.
    coverage : float
        Share of differences within the limits: 0.95 gives bias -+ 1.96 SD.

    Returns
    -------
    DataFrame
        One row: n bias sd loa_low loa_high and each with _ci_low and _ci_high.

    Notes
    -----
    Intervals of the limits are exact by the noncentral t [1]_. With `repeated` the SD is that of
    the one-way analysis of variance [2]_, and the intervals are by MOVER [3]_: approximate, 91 to
    97% in simulations of 15 and 40 subjects with 1 to 5 pairs. Point estimates and exact intervals
    are held against R in tests/reference.

    References
    ----------
    .. [1] Carkeet 2015, Optom Vis Sci 92:e71-80.
    .. [2] Bland & Altman 1999, Stat Methods Med Res 8:135-160, section 5.3.
    .. [3] Zou 2013, Stat Methods Med Res 22:630-642.
    """
    require_confidence(confidence, "bland_altman")
    require_confidence(coverage, "bland_altman (coverage)")
    a = numbers(pd.Series(np.asarray(x)), "x", "bland_altman")
    b = numbers(pd.Series(np.asarray(y)), "y", "bland_altman")
    if len(a) != len(b) or (repeated is not None and len(repeated) != len(a)):
        raise ValueError("bland_altman: x, y and repeated must have the same length")
    known = ~(np.isnan(a) | np.isnan(b))
    if repeated is not None:
        subject = pd.Series(np.asarray(repeated))
        known &= subject.notna().to_numpy()
        subject = subject[known]
    difference = (a - b)[known]
    n = len(difference)
    if n < 2:
        raise ValueError(f"bland_altman: {n} complete pairs, at least 2 are needed")
    upper = 0.5 + confidence / 2
    z = stats.norm.ppf(0.5 + coverage / 2)
    bias = difference.mean()
    if repeated is None or not subject.duplicated().any():
        sd = difference.std(ddof=1)
        half = stats.t.ppf(upper, n - 1) * sd / np.sqrt(n)
        inner, outer = stats.nct.ppf([1 - upper, upper], n - 1, np.sqrt(n) * z) / np.sqrt(n) * sd
        sd_low, sd_high = sd * np.sqrt((n - 1) / stats.chi2.ppf([upper, 1 - upper], n - 1))
        limits = (bias - outer, bias - inner), (bias + inner, bias + outer)
    else:
        sd, half, sd_low, sd_high, limits = _repeated(difference, subject, upper, z)
    values = {
        "n": n,
        "bias": bias,
        "bias_ci_low": bias - half,
        "bias_ci_high": bias + half,
        "sd": sd,
        "sd_ci_low": sd_low,
        "sd_ci_high": sd_high,
        "loa_low": bias - z * sd,
        "loa_low_ci_low": limits[0][0],
        "loa_low_ci_high": limits[0][1],
        "loa_high": bias + z * sd,
        "loa_high_ci_low": limits[1][0],
        "loa_high_ci_high": limits[1][1],
    }
    return pd.DataFrame([values])


def _repeated(difference, subject, upper, z):
    """SD, half width of the bias, and MOVER intervals when subjects have several pairs."""
    groups = pd.Series(difference).groupby(subject.to_numpy())
    count, means = groups.size().to_numpy(), groups.mean().to_numpy()
    n, g = len(difference), len(count)
    if g < 2:
        raise ValueError("bland_altman: repeated names one subject only")
    bias = difference.mean()
    within = float(((difference - groups.transform("mean").to_numpy()) ** 2).sum() / (n - g))
    between = float((count * (means - bias) ** 2).sum() / (g - 1))
    m0 = (n**2 - (count**2).sum()) / ((g - 1) * n)
    subjects = max(0.0, (between - within) / m0)
    total = subjects + within
    sd = np.sqrt(total)
    spread = float(means.var(ddof=1))
    share = (1 - np.mean(1 / count)) * within
    ratio = (g - 1) / stats.chi2.ppf([upper, 1 - upper], g - 1)
    ratio_within = (n - g) / stats.chi2.ppf([upper, 1 - upper], n - g)
    low = max(0.0, total - np.hypot(spread * (1 - ratio[0]), share * (1 - ratio_within[0])))
    high = total + np.hypot(spread * (ratio[1] - 1), share * (ratio_within[1] - 1))
    error = np.sqrt((count**2).sum() * subjects + n * within) / n
    half = stats.t.ppf(upper, g - 1) * error
    mean_part = stats.norm.ppf(upper) * error
    inward = np.hypot(mean_part, z * (sd - np.sqrt(low)))
    outward = np.hypot(mean_part, z * (np.sqrt(high) - sd))
    limits = (
        (bias - z * sd - outward, bias - z * sd + inward),
        (bias + z * sd - inward, bias + z * sd + outward),
    )
    return sd, half, np.sqrt(low), np.sqrt(high), limits
