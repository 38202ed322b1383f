"""Agreement of methods, readers and repeats: intraclass correlation and limits of agreement."""

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.statistics.crossed import crossed_components
from lungitude.statistics.frames import numbers, require, require_choice, require_confidence
from lungitude.statistics.limits import METHODS, constant_value, single_pairs, varying_value
from lungitude.statistics.pairs import each_stratum, same_length, series, vectors

MISSING = ("complete", "reml")
SCALES = ("difference", "percent", "ratio")
TRUE_VALUES = ("varies", "constant")


def icc(
    data,
    targets="id",
    raters="rater",
    ratings="score",
    confidence=0.95,
    missing="complete",
    by=None,
):
    """Six intraclass correlations of McGraw & Wong.

    Parameters
    ----------
    data : DataFrame
        Long, one row a rating.
    targets, raters, ratings : str
    confidence : float
    missing : {"complete", "reml"}
        Targets that some rater did not rate are left out, or all ratings are used: variance
        components by REML are put in place of those of the mean squares.
    by : str, optional
        Column of strata, each analysed on its own.

    Returns
    -------
    DataFrame
        [by] type (ICC(1,1) ICC(A,1) ICC(C,1) ICC(1,k) ICC(A,k) ICC(C,k)) icc f df1 df2 p ci_low
        ci_high n (targets used) sem mdc95. `sem` is the standard error of measurement of one rating
        (forms 1) or of the mean of k raters (forms k), `mdc95` the smallest detectable change
        ``1.96 sqrt(2) sem``, both in the unit of the ratings.

    Raises
    ------
    ValueError
        Unknown columns, text or infinite ratings, a target rated twice by a rater, fewer than 2
        targets by 2 raters, no variation between or within targets.

    Notes
    -----
    From the mean squares of the two-way table; F and p test the targets. The interval of ICC(A,1)
    has Satterthwaite df [1]_, that of ICC(A,k) follows by Spearman-Brown. With ``missing="reml"``
    mean squares and df are those of a complete table with the same components, as in
    ``psych::ICC(lmer=TRUE)``: the intervals take no rating as missing. The same estimates
    as SAS macro %INTRACC, ``irr::icc`` and `pingouin.intraclass_corr` (`engines.icc_cross_check`).

    References
    ----------
    .. [1] McGraw & Wong 1996, Psychological Methods 1:30-46 (correction 1:390).
    """
    require(data, [targets, raters, ratings, *([by] if by else [])], "icc")
    data = data.reset_index(drop=True)
    require_confidence(confidence, "icc")
    require_choice(missing, MISSING, "missing", "icc")
    numbers(data[ratings], ratings, "icc")
    if by:
        return each_stratum(
            lambda rows: icc(data.loc[rows], targets, raters, ratings, confidence, missing),
            data[by],
            len(data),
            "icc",
        )
    n, k, msr, msc, mse, msw = _mean_squares(data, targets, raters, ratings, missing, "icc")
    df1, within, error = n - 1, n * (k - 1), (n - 1) * (k - 1)
    upper = 0.5 + confidence / 2

    def limits(noise, df2):
        ends = msr / stats.f.ppf(upper, df1, df2), msr * stats.f.ppf(upper, df2, df1)
        return [(ms - noise) / (ms + (k - 1) * noise) for ms in ends], [
            1 - noise / ms for ms in ends
        ]

    # Without error F is infinite; without variation of the means the forms of k raters are -inf.
    with np.errstate(divide="ignore"):
        (one, one_mean), (two, two_mean) = limits(msw, within), limits(mse, error)
        f_one, f_two = msr / msw, msr / mse
        mean_one, mean_two = 1 - msw / msr, 1 - mse / msr
    single = (msr - mse) / (msr + (k - 1) * mse + k * (msc - mse) / n)
    # The df of the interval with both parts times n (1 - single): defined for full agreement too.
    a, b = k * single * msc, (n * (1 - single) + k * single * (n - 1)) * mse
    v = (a + b) ** 2 / (a**2 / (k - 1) + b**2 / error) if a or b else error
    f_low, f_high = stats.f.ppf(upper, df1, v), stats.f.ppf(upper, v, df1)
    spread = k * msc + (k * n - k - n) * mse
    absolute = [
        n * (msr - f_low * mse) / (f_low * spread + n * msr),
        n * (f_high * msr - mse) / (spread + n * f_high * msr),
    ]
    stepped = [k * limit / (1 + (k - 1) * limit) for limit in absolute]
    mean_absolute = (msr - mse) / (msr + (msc - mse) / n)
    noise = mse + max(0.0, (msc - mse) / n)
    table = [
        ("ICC(1,1)", (msr - msw) / (msr + (k - 1) * msw), f_one, within, *one, msw),
        ("ICC(A,1)", single, f_two, error, *absolute, noise),
        ("ICC(C,1)", (msr - mse) / (msr + (k - 1) * mse), f_two, error, *two, mse),
        ("ICC(1,k)", mean_one, f_one, within, *one_mean, msw / k),
        ("ICC(A,k)", mean_absolute, f_two, error, *stepped, noise / k),
        ("ICC(C,k)", mean_two, f_two, error, *two_mean, mse / k),
    ]
    frame = pd.DataFrame(table, columns=["type", "icc", "f", "df2", "ci_low", "ci_high", "sem"])
    frame["df1"], frame["n"] = df1, n
    frame["p"] = stats.f.sf(frame["f"], df1, frame["df2"])
    frame["sem"] = np.sqrt(frame["sem"])
    frame["mdc95"] = 1.96 * np.sqrt(2) * frame["sem"]
    return frame[["type", "icc", "f", "df1", "df2", "p", "ci_low", "ci_high", "n", "sem", "mdc95"]]


def variance_components(
    data, targets="id", raters="rater", ratings="score", missing="complete", by=None
):
    """Mean squares and variances behind the intraclass correlations.

    Parameters
    ----------
    data, targets, raters, ratings, missing, by
        As of `icc`.

    Returns
    -------
    DataFrame
        [by] source (targets raters residual within) df ms variance n. `within` is what varies
        within a target: raters and residual together. A variance from mean squares may be
        negative; REML gives 0 then.
    """
    who = "variance_components"
    require(data, [targets, raters, ratings, *([by] if by else [])], who)
    data = data.reset_index(drop=True)
    require_choice(missing, MISSING, "missing", who)
    numbers(data[ratings], ratings, who)
    if by:
        return each_stratum(
            lambda rows: variance_components(data.loc[rows], targets, raters, ratings, missing),
            data[by],
            len(data),
            who,
        )
    n, k, msr, msc, mse, msw = _mean_squares(data, targets, raters, ratings, missing, who)
    table = [
        ("targets", n - 1, msr, (msr - mse) / k),
        ("raters", k - 1, msc, (msc - mse) / n),
        ("residual", (n - 1) * (k - 1), mse, mse),
        ("within", n * (k - 1), msw, msw),
    ]
    return pd.DataFrame(table, columns=["source", "df", "ms", "variance"]).assign(n=n)


def _mean_squares(data, targets, raters, ratings, missing, who):
    """Targets, raters, and the mean squares of targets, raters, residual and within."""
    data = data.loc[data[[targets, raters, ratings]].notna().all(axis=1)]
    repeated = data.duplicated([targets, raters])
    if repeated.any():
        row = data.loc[repeated].iloc[0]
        raise ValueError(
            f"{who}: {targets} {row[targets]} is rated twice by {row[raters]}; "
            "average repeats first"
        )
    data = data.assign(**{ratings: numbers(data[ratings], ratings, who)})
    wide = data.pivot_table(ratings, index=targets, columns=raters, observed=True)
    wide = (wide.dropna() if missing == "complete" else wide).to_numpy(dtype=float)
    n, k = wide.shape
    if k < 2 or n < 2:
        kind = "complete targets" if missing == "complete" else "targets"
        raise ValueError(f"{who}: {n} {kind} by {k} raters; at least 2 by 2 are needed")
    if missing == "reml":
        try:
            row, column, mse = crossed_components(wide)
        except ValueError as error:
            raise ValueError(f"{who}: {error}") from error
        return n, k, k * row + mse, n * column + mse, mse, column + mse
    wide = wide - wide.mean()
    rows, columns = wide.mean(axis=1), wide.mean(axis=0)
    msr = k * np.sum(rows**2) / (n - 1)
    msc = n * np.sum(columns**2) / (k - 1)
    mse = np.sum((wide - rows[:, None] - columns) ** 2) / ((n - 1) * (k - 1))
    msw = np.sum((wide - rows[:, None]) ** 2) / (n * (k - 1))
    # What is left by rounding is nil: equal ratings must not give a correlation of noise.
    nil = (1e-14 * float(np.abs(data[ratings]).max())) ** 2
    msr, msc, mse, msw = (ms if ms > nil else np.float64(0) for ms in (msr, msc, mse, msw))
    if msr == 0 and mse == 0:
        raise ValueError(f"{who}: {ratings} has no variation between or within {targets}")
    return n, k, msr, msc, mse, msw


def bland_altman(
    x,
    y,
    confidence=0.95,
    repeated=None,
    coverage=0.95,
    method="exact",
    scale="difference",
    true_value="varies",
    by=None,
):
    """Bias and limits of agreement of ``x - y``.

    Parameters
    ----------
    x, y : array_like
        Paired measurements in one unit, by position; pairs with a missing value are left out.
    confidence : float
        Of the intervals.
    repeated : array_like, optional
        Subject of each pair when subjects have several.
    coverage : float
        Share of differences within the limits: 0.95 gives bias -+ 1.96 SD.
    method : {"exact", "exact-pair", "approx1999", "approx1986"}
        Of the intervals of the limits: each limit alone by the noncentral t [1]_; both limits as
        one pair by exact two-sided tolerance factors [1]_; SE ``s sqrt(1/n + z^2/(2(n-1)))`` [2]_;
        SE ``s sqrt(3/n)`` [3]_. Several pairs a subject have intervals by MOVER [4]_ instead.
    scale : {"difference", "percent", "ratio"}
        ``x - y``; ``100 (x - y) / mean of the pair``; ``log x - log y``, given back as ratio of x
        to y (bias and limits; `sd` stays that of the logs, about the coefficient of variation).
    true_value : {"varies", "constant"}
        With `repeated`: each pair is of one moment and the true value may change between the pairs
        of a subject ([2]_ section 5.3, [5]_); or it is constant and x and y are replicates, not
        pairs ([2]_ section 5.2, [5]_): then a missing x does not drop its y.
    by : array_like, optional
        Stratum of each pair, each analysed on its own.

    Returns
    -------
    DataFrame
        One row [a stratum]: n bias sd loa_low loa_high and each but n with _ci_low and _ci_high;
        statistic df p of a bias of 0 (ratio: 1); n_subjects; sd_between and sd_within subjects (NaN
        with one pair a subject); method. n is pairs; with a constant true value it is subjects.

    Raises
    ------
    ValueError
        Text or infinite values, unequal lengths, fewer than 2 pairs or subjects, values that a
        scale does not have.

    Notes
    -----
    The multiplier is the normal quantile, not 1.96. scipy's noncentral t is right for all n here
    (R's `qt` loses digits from n of 369 on). MOVER intervals are approximate: 91 to 97% in
    simulations of 15 and 40 subjects with 1 to 5 pairs. As ``BlandAltmanLeh``,
    ``SimplyAgree::agree_test`` and ``SimplyAgree::agree_reps`` of R.

    References
    ----------
    .. [1] Carkeet 2015, Optom Vis Sci 92:e71-80.
    .. [2] Bland & Altman 1999, Stat Methods Med Res 8:135-160.
    .. [3] Bland & Altman 1986, Lancet 1:307-310.
    .. [4] Zou 2013, Stat Methods Med Res 22:630-642.
    .. [5] Bland & Altman 2007, J Biopharm Stat 17:571-582.
    """
    who = "bland_altman"
    require_confidence(confidence, who)
    require_confidence(coverage, f"{who} (coverage)")
    require_choice(method, METHODS, "method", who)
    require_choice(scale, SCALES, "scale", who)
    require_choice(true_value, TRUE_VALUES, "true_value", who)
    constant = repeated is not None and true_value == "constant"
    if constant and scale == "percent":
        raise ValueError(f"{who}: replicates are no pairs, so percent of their mean has no meaning")
    a, b = vectors(who, x=x, y=y)
    if repeated is not None:
        repeated = series(repeated, "repeated", who)
        same_length(who, {"x": a, "y": b, "repeated": repeated})
    if by is not None:
        options = confidence, coverage, method, scale, true_value

        def one(rows):
            subjects = None if repeated is None else repeated[rows]
            return bland_altman(a[rows], b[rows], options[0], subjects, *options[1:])

        return each_stratum(one, by, len(a), who)
    known = np.ones(len(a), bool) if repeated is None else repeated.notna().to_numpy()
    known &= ~(np.isnan(a) & np.isnan(b)) if constant else ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    subject = None if repeated is None else repeated[known].to_numpy()
    if scale == "ratio":
        if (count := int(np.sum(a <= 0) + np.sum(b <= 0))) > 0:
            raise ValueError(f"{who}: {count} values are not above 0; they have no ratio")
        a, b = np.log(a), np.log(b)
    if constant:
        found = constant_value(a, b, subject, confidence, coverage)
    else:
        difference = a - b
        if scale == "percent":
            mean = (a + b) / 2
            if (count := int(np.sum(mean <= 0))) > 0:
                raise ValueError(f"{who}: {count} pairs have no mean above 0 to take percent of")
            difference = 100 * difference / mean
        if len(difference) < 2:
            raise ValueError(f"{who}: {len(difference)} complete pairs, at least 2 are needed")
        if subject is None or len(np.unique(subject)) == len(subject):
            found = single_pairs(difference, confidence, coverage, method)
        else:
            found = varying_value(difference, subject, confidence, coverage)
    if scale == "ratio":
        for name in found:
            if name.startswith(("bias", "loa")):
                found[name] = np.exp(found[name])
    return pd.DataFrame([found])
