"""Limits of agreement and their intervals: one pair a subject, several pairs, replicates."""

import warnings

import numpy as np
import pandas as pd
from scipy import optimize, stats

METHODS = ("exact", "exact-pair", "approx1999", "approx1986")
# Gauss-Legendre on (0, 9) standard deviations of the mean: the integrand is smooth.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(128)


def tolerance_factor(n, confidence, coverage=0.95):
    """Exact two-sided tolerance factor of a normal sample.

    Parameters
    ----------
    n : int
        Size of the sample.
    confidence : float
        Probability that mean -+ k SD holds at least `coverage` of the population.
    coverage : float

    Returns
    -------
    float
        k.

    Notes
    -----
    Odeh & Owen 1980; Carkeet 2015 takes k at 0.025 and 0.975 for the pair of limits of agreement.
    ``tolerance::K.factor(method="EXACT")`` of R; SAS PROC CAPABILITY INTERVALS METHODS=3.
    """
    z = 4.5 * (NODES + 1)
    weight = 4.5 * WEIGHTS * 2 * stats.norm.pdf(z)
    # Squared half width, in SD, about a mean z / sqrt(n) off that holds the share.
    width = (n - 1) * stats.ncx2.ppf(coverage, 1, z**2 / n)

    def excess(log_k):
        return weight @ stats.chi2.sf(width / np.exp(2 * log_k), n - 1) - confidence

    return float(np.exp(optimize.brentq(excess, -12, 12, xtol=1e-14)))


def single_pairs(difference, confidence, coverage, method):
    """Limits of agreement with one pair a subject (see `bland_altman`)."""
    n, upper = len(difference), 0.5 + confidence / 2
    z, bias, sd = stats.norm.ppf(0.5 + coverage / 2), difference.mean(), difference.std(ddof=1)
    if np.ptp(difference) == 0:
        warnings.warn(
            "bland_altman: all differences are equal; limits and intervals have no width",
            stacklevel=3,
        )
        sd = 0.0
    if method == "exact":
        factors = stats.nct.ppf([1 - upper, upper], n - 1, np.sqrt(n) * z) / np.sqrt(n)
    elif method == "exact-pair":
        factors = [tolerance_factor(n, level, coverage) for level in (1 - upper, upper)]
    else:
        variance = 1 / n + z**2 / (2 * (n - 1)) if method == "approx1999" else 3 / n
        half = stats.t.ppf(upper, n - 1) * np.sqrt(variance)
        factors = z - half, z + half
    inner, outer = np.asarray(factors) * sd
    low, high = sd * np.sqrt((n - 1) / stats.chi2.ppf([upper, 1 - upper], n - 1))
    limits = (bias - outer, bias - inner), (bias + inner, bias + outer)
    return _row(n, bias, sd / np.sqrt(n), n - 1, upper, sd, (low, high), z, limits, method, n)


def varying_value(difference, subject, confidence, coverage):
    """Limits with several pairs a subject whose true value varies: one-way analysis of variance."""
    groups = pd.Series(difference).groupby(subject)
    count, means = groups.size().to_numpy(), groups.mean().to_numpy()
    n, g = len(difference), len(count)
    if g < 2:
        raise ValueError("bland_altman: repeated names one subject only")
    bias = difference.mean()
    within = float(((difference - groups.transform("mean").to_numpy()) ** 2).sum() / (n - g))
    between = float((count * (means - bias) ** 2).sum() / (g - 1))
    m0 = (n**2 - (count**2).sum()) / ((g - 1) * n)
    subjects = max(0.0, (between - within) / m0)
    se = np.sqrt((count**2).sum() * subjects + n * within) / n
    # The sum of two independent estimates: variance of the means, and the rest of that within.
    parts = [
        (float(means.var(ddof=1)), g - 1),
        ((1 - np.mean(1 / count)) * within, n - g),
    ]
    return _mover(n, bias, se, subjects + within, parts, g, confidence, coverage) | {
        "sd_between": np.sqrt(subjects),
        "sd_within": np.sqrt(within),
        "method": "mover",
    }


def constant_value(x, y, subject, confidence, coverage):
    """Limits with replicates of x and of y in subjects whose true value is constant."""
    one, two = (pd.Series(values).groupby(subject) for values in (x, y))
    counts = np.column_stack([one.count(), two.count()])
    both = (counts > 0).all(axis=1)
    n, counts = int(both.sum()), counts[both]
    if n < 2:
        raise ValueError(f"bland_altman: {n} subjects have x and y, at least 2 are needed")
    difference = (one.mean() - two.mean()).to_numpy()[both]
    spread = float(difference.var(ddof=1))
    parts, noise = [(spread, n - 1)], 0.0
    for groups, count in ((one, counts[:, 0]), (two, counts[:, 1])):
        df = int(count.sum() - n)
        if df > 0:
            squares = (groups.var(ddof=0) * groups.count()).to_numpy()[both].sum()
            within = float(squares / df)
            parts.append(((1 - np.mean(1 / count)) * within, df))
            noise += within
    bias, total = difference.mean(), sum(part for part, _ in parts)
    return _mover(n, bias, np.sqrt(spread / n), total, parts, n, confidence, coverage) | {
        "sd_between": np.sqrt(max(0.0, total - noise)) if len(parts) == 3 else np.nan,
        "sd_within": np.sqrt(noise) if len(parts) == 3 else np.nan,
        "method": "mover",
    }


def _mover(n, bias, se, total, parts, subjects, confidence, coverage):
    """Row with intervals by MOVER; parts are independent variances with their df, of sum total."""
    upper, z = 0.5 + confidence / 2, stats.norm.ppf(0.5 + coverage / 2)
    sd, down, up = np.sqrt(total), 0.0, 0.0
    for variance, df in parts:
        below, above = df / stats.chi2.ppf([upper, 1 - upper], df)
        down += (variance * (1 - below)) ** 2
        up += (variance * (above - 1)) ** 2
    low, high = np.sqrt(max(0.0, total - np.sqrt(down))), np.sqrt(total + np.sqrt(up))
    mean_part = stats.norm.ppf(upper) * se
    inward, outward = np.hypot(mean_part, z * (sd - low)), np.hypot(mean_part, z * (high - sd))
    limits = (
        (bias - z * sd - outward, bias - z * sd + inward),
        (bias + z * sd - inward, bias + z * sd + outward),
    )
    return _row(n, bias, se, subjects - 1, upper, sd, (low, high), z, limits, "mover", subjects)


def _row(n, bias, se, df, upper, sd, sd_limits, z, limits, method, subjects):
    half = stats.t.ppf(upper, df) * se
    statistic = bias / se if se > 0 else np.nan
    return {
        "n": n,
        "bias": bias,
        "bias_ci_low": bias - half,
        "bias_ci_high": bias + half,
        "sd": sd,
        "sd_ci_low": sd_limits[0],
        "sd_ci_high": sd_limits[1],
        "loa_low": bias - z * sd,
        "loa_low_ci_low": limits[0][0],
        "loa_low_ci_high": limits[0][1],
        "loa_high": bias + z * sd,
        "loa_high_ci_low": limits[1][0],
        "loa_high_ci_high": limits[1][1],
        "statistic": statistic,
        "df": df,
        "p": 2 * stats.t.sf(abs(statistic), df),
        "n_subjects": subjects,
        "sd_between": np.nan,
        "sd_within": np.nan,
        "method": method,
    }
