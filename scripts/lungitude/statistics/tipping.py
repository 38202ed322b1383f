"""Tipping points: how much worse the imputed values must be for a conclusion to change."""

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize

from lungitude.statistics.imputation import ImputationModel

WHO = "tipping_point"
REACH = 1.25 ** np.arange(60)  # of the search for significance, in standard errors


@dataclass
class TippingPoint:
    """Result of `tipping_point`.

    Attributes
    ----------
    grid : DataFrame
        contrast delta_active delta_reference estimate se df p ci_low ci_high significant, one
        row a contrast and pair of deltas.
    tipping : DataFrame
        contrast arm role delta estimate se p_at_0 n_imputed: the delta of one arm (role active or
        reference), with 0 in all others, at which p is alpha; NaN where there is none.
    """

    grid: pd.DataFrame
    tipping: pd.DataFrame


def tipping_point(
    data,
    value="AVAL",
    subject="USUBJID",
    visit="AVISIT",
    arm="TRT01P",
    covariates=("BASE",),
    reference="PBO",
    strategy="mar",
    method="conditional-mean",
    deltas=None,
    alpha=0.05,
    n_imputations=500,
    seed=1,
    analysis_visit=None,
    by_arm=True,
    same_cov=None,
    confidence=0.95,
):
    """Shift the imputed values of each arm over a grid, and find where significance changes.

    Parameters
    ----------
    data : DataFrame or ImputationModel
        With a model its columns and options hold.
    value, subject, visit, arm, covariates, reference, by_arm, same_cov, confidence
        See `impute_reference_based`.
    strategy, method, n_imputations, seed, analysis_visit
        See `impute_reference_based`.
    deltas : list of float or dict of arm to list of float, optional
        Added to the imputed values: one list for all arms, or a list an arm (0 for arms that are
        not named). Without, the grid is delta 0.
    alpha : float

    Returns
    -------
    TippingPoint
        `grid` and `tipping`.

    Notes
    -----
    Values are imputed once. The estimate of an ANCOVA is linear in the deltas and its variance,
    jackknife or Rubin's, quadratic, so the grid and the roots are exact and cost nothing. Where
    the result at delta 0 is significant, the tipping delta is the one between 0 and the delta
    that makes the effect 0; where it is not, the nearest that makes the effect, enlarged in its
    own direction, significant.

    R: rbmi ``analyse(delta = delta_template(...))`` over a grid, with the marginal (not
    cumulative) shift of imputed values. SAS: PROC MI MNAR ADJUST(SHIFT=) in a macro loop.

    References
    ----------
    Cro et al. 2020, Stat Med 39:2815; Yan, Lee & Li 2009, J Biopharm Stat 19:1085.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"{WHO}: alpha {alpha!r} is not between 0 and 1, such as 0.05")
    model = data
    if not isinstance(data, ImputationModel):
        model = ImputationModel(
            data, value, subject, visit, arm, covariates, reference, by_arm, same_cov, confidence
        )
    analysis = model.effects(strategy, method, analysis_visit, n_imputations, seed)
    lists = _lists(deltas, model.arms)
    at = model.visits[-1] if analysis_visit is None else analysis_visit
    here = model.imputed.loc[model.imputed[model.trial.visit] == at].set_index(model.trial.arm)
    parts, roots = [], []
    for c, name in enumerate(model.arms[1:]):
        contrast = f"{name} - {model.arms[0]}"
        pairs = np.array(list(itertools.product(lists[name], lists[model.arms[0]])))
        shifts = np.zeros((len(pairs), len(model.arms)))
        shifts[:, c + 1], shifts[:, 0] = pairs.T
        found = {k: v[:, c] for k, v in analysis.at(shifts, model.confidence).items()}
        columns = ("estimate", "se", "df", "p", "ci_low", "ci_high")
        parts.append(
            pd.DataFrame(
                {
                    "contrast": contrast,
                    "delta_active": pairs[:, 0],
                    "delta_reference": pairs[:, 1],
                    **{k: found[k] for k in columns},
                    "significant": found["p"] < alpha,
                }
            )
        )
        for role, index in (("active", c + 1), ("reference", 0)):
            delta, row = _root(analysis, c, index, alpha)
            roots.append(
                {
                    "contrast": contrast,
                    "arm": model.arms[index],
                    "role": role,
                    "delta": delta,
                    **row,
                    "n_imputed": int(here.loc[model.arms[index], "n_imputed"]),
                }
            )
    tipping = pd.DataFrame(roots)
    none = tipping.loc[tipping["delta"].isna()]
    if len(none):
        told = "; ".join(f"{r.contrast} by {r.arm}" for r in none.itertuples())
        warnings.warn(f"{WHO}: no delta takes p to {alpha:g} for {told}", stacklevel=2)
    return TippingPoint(pd.concat(parts, ignore_index=True), tipping)


def _lists(deltas, arms):
    """Deltas of each arm."""
    if deltas is None:
        deltas = {}
    elif not isinstance(deltas, dict):
        deltas = dict.fromkeys(arms, deltas)
    unknown = [name for name in deltas if name not in arms]
    if unknown:
        raise ValueError(
            f"{WHO}: deltas name {', '.join(map(repr, unknown))}, which is no arm "
            f"(arms: {', '.join(map(str, arms))})"
        )
    found = {}
    for name in arms:
        try:
            values = np.atleast_1d(np.asarray(deltas.get(name, [0.0]), dtype=float))
        except (TypeError, ValueError):
            values = np.array([np.nan])
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise ValueError(f"{WHO}: the deltas of {name} are no list of finite numbers")
        found[name] = values
    return found


def _root(analysis, contrast, arm, alpha):
    """Delta of one arm at which p is alpha, with the estimate there."""

    def inference_at(delta):
        shift = np.zeros(analysis.gain.shape[1])
        shift[arm] = delta
        return {k: float(v[contrast]) for k, v in analysis.at(shift).items()}

    def excess(delta):
        return inference_at(delta)["p"] - alpha

    now, slope = inference_at(0.0), analysis.gain[contrast, arm]
    unit = np.abs(now["se"] / slope) if slope else np.nan
    end = np.nan
    if slope and now["p"] < alpha:
        end = -now["estimate"] / slope
    elif slope and now["se"] > 0:
        away = np.sign(slope) * (np.sign(now["estimate"]) or 1.0)
        tried = (away * unit * reach for reach in 0.01 * REACH)
        end = next((delta for delta in tried if excess(delta) < 0), np.nan)
    if np.isnan(end):
        return np.nan, {"estimate": np.nan, "se": np.nan, "p_at_0": now["p"]}
    delta = optimize.brentq(excess, 0.0, end, xtol=1e-12 * unit, rtol=1e-12)
    found = inference_at(delta)
    return delta, {"estimate": found["estimate"], "se": found["se"], "p_at_0": now["p"]}
