"""Analysis of covariance of a randomised comparison."""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.frames import (
    complete,
    levels,
    numbers,
    require,
    require_choice,
    require_confidence,
    with_reference,
)
from lungitude.statistics.linear import ROBUST, LinearFit, independent, least_squares, listed

LOG = logging.getLogger(__name__)


class NotEstimableError(ValueError):
    """The data hold too little for the model that was asked for."""


class AncovaFit(LinearFit):
    """One fitted model; `dropped` names the aliased columns that were left out.

    With `one_arm` a single arm is fitted, too: its adjusted mean, and no contrast.
    """

    def __init__(
        self, data, response, arm, covariates, reference, robust, confidence, one_arm=False
    ):
        self.arm, self.confidence = arm, confidence
        self.arms = with_reference(levels(data[arm]), reference, arm, "ancova")
        counts = data[arm].value_counts()
        self.counts = {name: int(counts[name]) for name in self.arms}
        if len(self.arms) < (1 if one_arm else 2):
            raise NotEstimableError(f"one arm only, {', '.join(map(str, self.arms)) or 'no data'}")
        values = numbers(data[response], response, "ancova")
        if np.ptp(values) == 0:
            raise NotEstimableError(f"no variation of {response}")
        self.design = ColumnDesign(data, [arm, *covariates], {arm: self.arms})
        is_arm = np.array([term == (arm,) for term in self.design.terms])
        # Nuisance terms first: whatever is aliased among them goes; an arm within their span is
        # a fault of the design of the analysis and can't be repaired by leaving something out.
        order = np.r_[np.flatnonzero(~is_arm), np.flatnonzero(is_arm)]
        found = set(order[independent(self.design.matrix[:, order])])
        if len(data) <= len(found):
            raise NotEstimableError(
                f"{len(data)} patients for {len(self.design.names)} model terms"
            )
        lost = [self.design.names[i] for i in np.flatnonzero(is_arm) if i not in found]
        if lost:
            raise NotEstimableError(f"{', '.join(lost)} is aliased with the covariates")
        self.kept = sorted(found)
        self.dropped = [n for i, n in enumerate(self.design.names) if i not in found]
        # A covariate that is constant as a factor has no column at all.
        self.dropped += [name for name, kept in self.design.factors.items() if len(kept) < 2]
        self.n = len(data)
        self.fit = least_squares(self.design.matrix[:, self.kept], values)
        spread = values - values.mean()
        self.exact = self.fit.rss <= 1e-20 * float(values @ values) + 1e-24 * float(spread @ spread)
        self.beta = self.fit.beta
        self.vcov = self.fit.robust(robust) if robust else self.fit.covariance

    def _df(self, rows):
        return np.full(len(rows), float(self.fit.df))

    def arm_means(self):
        """Marginal means of the arms."""
        return self.emmeans(self.arm)

    def arm_contrasts(self):
        """Contrasts of every arm with the reference, with partial eta squared and n."""
        table = self.contrasts(self.arm, reference=self.arms[0])
        rows = [
            self.design.mean_row({self.arm: level}) - self.design.mean_row({self.arm: self.arms[0]})
            for level in self.arms[1:]
        ]
        rows = np.array(rows)[:, self.kept]
        # The effect size is of the least-squares fit, also when the covariance is robust.
        variance = np.einsum("ij,jk,ik->i", rows, self.fit.covariance, rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            f = (rows @ self.beta) ** 2 / variance
            table["partial_eta_sq"] = np.where(np.isinf(f), 1.0, f / (f + self.fit.df))
        table["n"] = self.n
        return table


@dataclass
class Ancova:
    """Result of `ancova`: frames `contrasts`, `emmeans` and `coefficients`, fits by stratum."""

    contrasts: pd.DataFrame
    emmeans: pd.DataFrame
    coefficients: pd.DataFrame
    fits: dict


def ancova(
    data, response, arm, covariates=(), reference=None, by=None, robust=None, confidence=0.95
):
    """Compare arms by least squares, adjusted for covariates.

    Parameters
    ----------
    data : DataFrame
        One row a patient; rows with a missing value in a used column are left out.
    response, arm : str
        Numeric response; column of arms.
    covariates : sequence of str
        Numbers enter as they are, text and categories as factors.
    reference : str, optional
        Arm that the others are compared with; the first level when not given.
    by : str, optional
        Column of strata: each has a fit of its own. A stratum that can't be fitted gives NaN rows
        and a warning.
    robust : {None, "HC0", "HC1", "HC2", "HC3", "HC4"}
        Heteroscedasticity-consistent covariance, with residual df.
    confidence : float

    Returns
    -------
    Ancova
        ``.contrasts``: contrast [by] estimate se df statistic p ci_low ci_high partial_eta_sq n;
        ``.emmeans``: arm [by] estimate se df ci_low ci_high (factors weighted equally, covariates
        at their mean over the rows used).

    Raises
    ------
    ValueError
        For unknown columns, one arm only, arms aliased with covariates, too few patients.

    Notes
    -----
    Held against R 4.2.2 (stats, emmeans, sandwich, effectsize) in tests/reference.
    """
    covariates = list(dict.fromkeys(listed(covariates)))
    columns = [response, arm, *covariates]
    require(data, [*columns, *([by] if by else [])], "ancova")
    require_choice(robust, (None, *ROBUST), "robust", "ancova")
    require_confidence(confidence, "ancova")
    repeated = {response, arm, by} & set(covariates) | ({by} & {response, arm})
    if repeated or response == arm:
        raise ValueError(f"ancova: {', '.join(sorted(repeated)) or arm} has two parts in the model")
    used = complete(data, [*columns, *([by] if by else [])])
    if used.empty:
        raise ValueError(f"ancova: no row has all of {', '.join(columns)}")
    numbers(used[response], response, "ancova")
    strata = levels(used[by]) if by else [None]
    fits, failed = {}, {}
    for stratum in strata:
        part = used if by is None else used.loc[used[by] == stratum]
        where = "" if by is None else f" in {by} {stratum}"
        try:
            fit = AncovaFit(part, response, arm, covariates, reference, robust, confidence)
        except NotEstimableError as error:
            if by is None:
                raise ValueError(f"ancova of {response}: not estimable: {error}") from error
            warnings.warn(f"ancova of {response}{where}: not estimated: {error}", stacklevel=2)
            failed[stratum] = len(part)
            continue
        if fit.dropped:
            warnings.warn(
                f"ancova of {response}{where}: {', '.join(fit.dropped)} is aliased and left out",
                stacklevel=2,
            )
        if fit.exact:
            warnings.warn(
                f"ancova of {response}{where}: the model fits without error; SE and p mean nothing",
                stacklevel=2,
            )
        fits[stratum] = fit
    contrasts, means, coefficients = [], [], []
    arms = with_reference(levels(used[arm]), reference, arm, "ancova")
    for stratum in strata:
        if stratum in fits:
            fit = fits[stratum]
            tables = fit.arm_contrasts(), fit.arm_means(), fit.coefficients
        else:
            names = [f"{level} - {arms[0]}" for level in arms[1:]]
            tables = (
                pd.DataFrame({"contrast": names, "n": failed[stratum]}),
                pd.DataFrame({arm: arms}),
                pd.DataFrame({"term": []}),
            )
        for table, found in zip(tables, (contrasts, means, coefficients), strict=True):
            if by:
                table.insert(1, by, stratum)
            found.append(table)
    if not fits:
        raise ValueError(f"ancova of {response}: not estimable in any level of {by}")
    order = [
        "contrast",
        *([by] if by else []),
        "estimate",
        "se",
        "df",
        "statistic",
        "p",
        "ci_low",
        "ci_high",
        "partial_eta_sq",
        "n",
    ]
    full = [
        pd.concat([t for t in found if len(t)], ignore_index=True)
        for found in (contrasts, means, coefficients)
    ]
    return Ancova(full[0].reindex(columns=order), full[1], full[2], fits)
