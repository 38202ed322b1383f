"""Comparisons of arms beyond one contrast: in strata, in subgroups, and of more than two arms."""

import functools
import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from lungitude.statistics.ancova import (
    LOGS,
    NUMBERS,
    Ancova,
    AncovaFit,
    NotEstimableError,
    ancova,
    back_transformed,
    checked,
    remarks,
    stacked,
)
from lungitude.statistics.frames import levels, require_choice, with_reference
from lungitude.statistics.linear import combinations, listed

SIZES = ["n", "n_arm", "n_reference"]
POINTS = 2**15  # of the lattice where the correlations have no product structure


@dataclass
class StratumContrasts:
    """Result of `stratum_contrasts`: tables `contrasts`, `emmeans` and `interaction`, the `fit`."""

    contrasts: pd.DataFrame
    emmeans: pd.DataFrame
    interaction: pd.DataFrame
    fit: AncovaFit


def stratum_contrasts(
    data,
    response,
    arm,
    by,
    covariates=(),
    reference=None,
    robust=None,
    confidence=0.95,
    transform=None,
    log_covariates=(),
):
    """Compare arms within strata in one model with the arm x stratum interaction.

    Covariates have common slopes and the residual variance is common, where ``ancova(by=)`` fits
    each stratum alone.

    Parameters
    ----------
    by : str
        Factor of strata; also numbers are levels here. As a covariate, too, it enters once.
    data, response, arm, covariates, reference, robust, confidence, log_covariates
        See `ancova`.
    transform : {None, "log", "log1p"}

    Returns
    -------
    StratumContrasts
        ``.contrasts``: contrast [by] estimate se df statistic p ci_low ci_high n n_arm n_reference
        (patients in the stratum, and of the two arms), on a log scale also the ratio;
        ``.emmeans``: arm [by] estimate se df ci_low ci_high, other factors weighted equally;
        ``.interaction``: term sum_sq f df1 df2 p n (robust: Wald F, without sum_sq).
        An empty cell makes a NaN row and costs df of the interaction, with a warning.

    Notes
    -----
    R: lm(y ~ arm * by + x), emmeans(m, ~ arm | by), car::Anova(type = 3). SAS: PROC GLM, LSMEANS
    arm*by / SLICE. Ranks are refused: interactions of ranks are not interactions of the data.
    """
    who = "stratum_contrasts"
    require_choice(transform, (None, *LOGS), "transform", who)
    model = checked(
        who,
        data,
        response,
        arm,
        covariates,
        reference,
        [by],
        robust,
        confidence,
        transform,
        log_covariates,
    )
    return _joint(model, by, who)


def _degree(term):
    return len(listed(term))


def _joint(model, by, who):
    arm, arms = model.arm, model.arms
    kept = levels(model.data[by])
    if len(kept) < 2:
        raise NotEstimableError(f"{who}: {by!r} has one level only, {kept[0]!r}")
    if len(kept) > len(model.data) / 2:
        raise ValueError(
            f"{who}: {by!r} has {len(kept)} levels in {len(model.data)} patients: make classes"
        )
    if by in model.logged:
        raise ValueError(f"{who}: {by!r} is both a factor and a log covariate")
    terms = [*(term for term in model.terms if term != by), by, (arm, by)]
    terms = sorted({frozenset(listed(term)): term for term in terms}.values(), key=_degree)
    try:
        fit = model.fit(terms=terms, factor_levels={by: kept})
    except NotEstimableError as error:
        raise NotEstimableError(
            f"{who} of {model.response} by {by}: not estimable: {error}"
        ) from error
    where = f"{who} of {model.response} by {by}"
    for message in remarks(fit, arms):
        warnings.warn(f"{where}: {message}", stacklevel=3)
    rows, cells, means = [], [], []
    for stratum in kept:
        found = {name: fit.design.mean_row({arm: name, by: stratum}) for name in arms}
        cells += [{arm: name, by: stratum} for name in arms]
        means += found.values()
        rows += [found[name] - found[arms[0]] for name in arms[1:]]
    sizes = _sizes(model, by)
    labels = sizes[["contrast", by]].to_dict("records")
    contrasts = fit.linear(labels, np.array(rows), strict=False)
    contrasts[SIZES] = sizes[SIZES]
    emmeans = fit.linear(cells, np.array(means), tested=False, strict=False)
    return StratumContrasts(
        back_transformed(contrasts, model.transform, "ratio"),
        back_transformed(emmeans, model.transform, "geometric_mean"),
        fit.test((arm, by)).assign(n=fit.n),
        fit,
    )


def _sizes(model, by):
    """Patients in each stratum and in the two arms of each contrast."""
    counts = pd.crosstab(model.data[by], model.data[model.arm])
    first, *others = model.arms
    rows = [
        (f"{name} - {first}", level, *map(int, (row.sum(), row[name], row[first])))
        for level, row in ((level, counts.loc[level]) for level in levels(model.data[by]))
        for name in others
    ]
    return pd.DataFrame(rows, columns=["contrast", by, *SIZES])


def subgroups(
    data,
    response,
    arm,
    factors,
    covariates=(),
    reference=None,
    robust=None,
    confidence=0.95,
    transform=None,
    log_covariates=(),
):
    """Compare arms overall and in the levels of factors, for a forest plot.

    Parameters
    ----------
    factors : sequence of str
        Each has a model of its own, with its interaction with the arm (`stratum_contrasts`).
    data, response, arm, covariates, reference, robust, confidence, transform, log_covariates
        See `stratum_contrasts`.

    Returns
    -------
    DataFrame
        factor level contrast n n_arm n_reference estimate se df statistic p ci_low ci_high
        interaction_p, on a log scale also ratio ratio_ci_low ratio_ci_high. First the overall rows
        (factor and level "all", the model without interaction). A factor that can't be analysed
        gives NaN rows and a warning.

    Notes
    -----
    Neither the intervals nor the p values are adjusted for the number of subgroups.
    """
    who = "subgroups"
    require_choice(transform, (None, *LOGS), "transform", who)
    options = (robust, confidence, transform, log_covariates)
    whole = ancova(data, response, arm, covariates, reference, None, *options)
    fit = whole.fit
    overall = whole.contrasts.assign(
        factor="all",
        level="all",
        n_arm=[fit.counts[name] for name in fit.arms[1:]],
        n_reference=fit.counts[fit.arms[0]],
    )
    found = [overall]
    for factor in dict.fromkeys(listed(factors)):
        model = checked(who, data, response, arm, covariates, reference, [factor], *options)
        try:
            result = _joint(model, factor, who)
        except NotEstimableError as error:
            warnings.warn(str(error), stacklevel=2)
            table, p = _sizes(model, factor), np.nan
        else:
            table, p = result.contrasts, result.interaction["p"].iloc[0]
        found.append(table.rename(columns={factor: "level"}).assign(factor=factor, interaction_p=p))
    columns = ["factor", "level", "contrast", *SIZES, *NUMBERS]
    columns += ["interaction_p", *(["ratio", "ratio_ci_low", "ratio_ci_high"] * bool(transform))]
    return pd.concat([table.reindex(columns=columns) for table in found], ignore_index=True)


def dunnett(result, factor=None, by=None, reference=None, weights="equal"):
    """Compare every arm with the reference, adjusted for the number of arms.

    Parameters
    ----------
    result : Ancova, AncovaFit or another fit with `emmeans` of this package
        Of an `Ancova` by strata, each stratum is a family of its own.
    factor : str, optional
        The arm of an ANCOVA when not given.
    by : str or list of str, optional
        Factors of the model in each cell of which the arms are compared: a family each.
    reference : str, optional
        The reference arm of an ANCOVA when not given, else the first level.
    weights : {"equal", "proportional", "counterfactual"}

    Returns
    -------
    DataFrame
        contrast [by] estimate se df statistic p p_adjusted ci_low ci_high critical, of an ANCOVA
        also n, on its log scale the ratio. `p` is of the single test, `p_adjusted` and the
        interval (estimate -/+ critical se) are simultaneous.

    Raises
    ------
    ValueError
        For unknown factors, one arm only, arms that cannot be compared.

    Notes
    -----
    Single-step test by the maximum of the |t| with the correlations that the model gives to the
    contrasts, so also with covariates, unequal arms and robust covariance (`max_t_cdf`). R:
    multcomp::glht(m, mcp(arm = "Dunnett")), emmeans contrast(e, "trt.vs.ctrl", adjust = "mvt")
    (its default, "dunnettx", approximates). SAS: LSMEANS arm / DIFF=CONTROL ADJUST=DUNNETT, which
    approximates the correlations by a product structure (Hsu 1992) where they have none. In the
    one-way layout scipy.stats.dunnett is the same test.

    References
    ----------
    .. [1] Dunnett 1955, J Am Stat Assoc 50:1096.
    .. [2] Hothorn, Bretz & Westfall 2008, Biom J 50:346.
    """
    return _families(result, factor, by, reference, weights, _against_reference, "dunnett")


def tukey(result, factor=None, by=None, weights="equal"):
    """Compare all pairs of arms, adjusted by the studentized range.

    Parameters
    ----------
    result, factor, by, weights
        See `dunnett`.

    Returns
    -------
    DataFrame
        As of `dunnett`; contrasts are the later level minus the earlier.

    Notes
    -----
    Tukey-Kramer: exact where the means have equal variances and covariances, else conservative. R:
    emmeans pairs(e), TukeyHSD. SAS: LSMEANS arm / PDIFF ADJUST=TUKEY.
    """
    return _families(result, factor, by, None, weights, _pairs, "tukey")


def _families(result, factor, by, reference, weights, family, who):
    if isinstance(result, Ancova):
        tables = {
            stratum: _families(fit, factor, by, reference, weights, family, who)
            for stratum, fit in result.fits.items()
        }
        return back_transformed(stacked(tables, result.by), result.transform, "ratio")
    if not hasattr(result, "design"):
        raise ValueError(f"{who}: a fit is needed, not {type(result).__name__}")
    if getattr(result, "exact", False):
        raise ValueError(f"{who}: the model fits without error, tests mean nothing")
    factor = factor or getattr(result, "arm", None)
    if factor is None:
        raise ValueError(f"{who}: the factor that is compared must be named")
    combinations(result.design, [factor])
    names = with_reference(result.design.factors[factor], reference, factor, who)
    if len(names) < 2:
        raise ValueError(f"{who}: {factor!r} has one level only, {names[0]!r}")
    tables = []
    for cell in combinations(result.design, listed(by)) if by else [{}]:
        means = {level: result.design.mean_row({**cell, factor: level}, weights) for level in names}
        tables.append(family(result, names, means, cell))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(n=result.n) if isinstance(result, AncovaFit) else table


def _compared(fit, pairs, means, cell):
    labels = [{"contrast": f"{a} - {b}", **cell} for a, b in pairs]
    rows = np.array([means[a] - means[b] for a, b in pairs])
    table = fit.linear(labels, rows)
    rows = rows[:, fit.kept]
    return table, rows @ fit.vcov @ rows.T


def _simultaneous(table, p, critical):
    """Put the adjusted p value beside the single one, and simultaneous intervals."""
    # Between the single p and Bonferroni's, whatever the error of the integration of a tiny tail.
    p = np.clip(p, table["p"], np.minimum(1, len(table) * table["p"]))
    table.insert(table.columns.get_loc("p") + 1, "p_adjusted", p)
    table["ci_low"] = table["estimate"] - critical * table["se"]
    table["ci_high"] = table["estimate"] + critical * table["se"]
    return table.assign(critical=critical)


def _against_reference(fit, names, means, cell):
    table, covariance = _compared(fit, [(name, names[0]) for name in names[1:]], means, cell)
    se = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(se, se)
    found = zip(table["statistic"].abs(), table["df"], strict=True)
    p = [1 - max_t_cdf(t, correlation, df) for t, df in found]
    critical = {df: max_t_quantile(fit.confidence, correlation, df) for df in table["df"].unique()}
    return _simultaneous(table, p, table["df"].map(critical))


def _pairs(fit, names, means, cell):
    pairs = [(b, a) for a, b in itertools.combinations(names, 2)]
    table, _ = _compared(fit, pairs, means, cell)
    k, df = len(names), table["df"]
    p = stats.studentized_range.sf(np.sqrt(2) * table["statistic"].abs(), k, df)
    critical = {x: stats.studentized_range.ppf(fit.confidence, k, x) for x in df.unique()}
    return _simultaneous(table, p, df.map(critical) / np.sqrt(2))


def max_t_cdf(limit, correlation, df):
    """Probability that no |T_j| of a multivariate t distribution exceeds a limit.

    Parameters
    ----------
    limit : float
    correlation : ndarray (m, m)
        Positive definite.
    df : float
        Infinite for the normal distribution.

    Returns
    -------
    float

    Notes
    -----
    Correlations of the form l_i l_j (two contrasts; independent means against one reference) are
    integrated exactly: given a common normal variable and the scale, the T_j are independent
    (Dunnett & Sobel 1955); Gauss-Legendre in both, error below 1e-9. Others go by separation of
    variables (Genz & Bretz 2002, J Comput Graph Stat 11:950) over a scrambled Sobol sequence of
    fixed seed, the same at every call and smooth in `limit`: error about 1e-6 for up to four
    contrasts, below 1e-4 for ten. scipy's multivariate_t stops at 1e-3, with a new error at every
    call. R: mvtnorm::pmvt.
    """
    correlation = np.asarray(correlation, dtype=float)
    if len(correlation) == 1:
        return float(1 - 2 * stats.t.sf(limit, df))
    loading = product_structure(correlation)
    if loading is None:
        return _separated(limit, np.linalg.cholesky(correlation), df)
    scale, mass = _scales(df)
    common, density = _normal_nodes()
    rest = np.sqrt(1 - loading**2)[:, None, None]
    shift = loading[:, None, None] * common
    bound = limit * scale[:, None]
    inside = special.ndtr((bound - shift) / rest) - special.ndtr((-bound - shift) / rest)
    return float(mass @ inside.prod(axis=0) @ density)


def max_t_quantile(probability, correlation, df):
    """Limit that no |T_j| exceeds with a probability; see `max_t_cdf`."""
    tail = (1 - probability) / 2
    low, high = stats.t.isf([tail, tail / len(correlation)], df)
    if len(correlation) == 1:
        return float(low)

    def gap(limit):
        return max_t_cdf(limit, correlation, df) - probability

    return float(optimize.brentq(gap, low - 1e-3, high + 1e-3, xtol=1e-10))


def product_structure(correlation):
    """Find loadings l with correlation l_i l_j off the diagonal, None where there are none."""
    m = len(correlation)
    off = ~np.eye(m, dtype=bool)
    if m == 2:
        r = correlation[0, 1]
        loading = np.sqrt(abs(r)) * np.array([1, np.sign(r)])
    elif np.all(correlation[off] != 0):
        square = correlation[0, 1] * correlation[0, 2] / correlation[1, 2]
        if not 0 < square < 1:
            return None
        loading = np.r_[np.sqrt(square), correlation[0, 1:] / np.sqrt(square)]
    else:
        return None
    fits = np.allclose(np.outer(loading, loading)[off], correlation[off], rtol=0, atol=1e-11)
    return loading if fits and (np.abs(loading) < 0.9999).all() else None


@functools.lru_cache(maxsize=8)
def _scales(df):
    """Nodes and weights of chi / sqrt(df)."""
    if np.isinf(df):
        return np.ones(1), np.ones(1)
    low, high = np.sqrt(stats.chi2.ppf([1e-13, 1 - 1e-13], df) / df)
    x, w = np.polynomial.legendre.leggauss(96)
    scale = low + (high - low) * (x + 1) / 2
    return scale, w * (high - low) / 2 * stats.chi.pdf(scale * np.sqrt(df), df) * np.sqrt(df)


@functools.lru_cache(maxsize=1)
def _normal_nodes():
    x, w = np.polynomial.legendre.leggauss(512)
    return 8.5 * x, 8.5 * w * stats.norm.pdf(8.5 * x)


@functools.lru_cache(maxsize=8)
def _lattice(m, df):
    """Points of the cube: the scale from the first coordinate, and the rest."""
    points = stats.qmc.Sobol(m, scramble=True, seed=20).random(POINTS)
    scale = np.ones(POINTS) if np.isinf(df) else np.sqrt(stats.chi2.ppf(points[:, 0], df) / df)
    return scale, points[:, 1:]


def _separated(limit, lower, df):
    scale, points = _lattice(len(lower), df)
    bound = limit * scale
    normal = np.zeros((len(bound), len(lower)))
    value, shift = np.ones(len(bound)), 0.0
    for i in range(len(lower)):
        low = special.ndtr((-bound - shift) / lower[i, i])
        width = special.ndtr((bound - shift) / lower[i, i]) - low
        value = value * width
        if i + 1 < len(lower):
            normal[:, i] = special.ndtri(np.clip(low + points[:, i] * width, 1e-300, 1 - 1e-16))
            shift = normal @ lower[i + 1]
    return float(value.mean())
