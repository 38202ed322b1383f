"""Linear mixed models with a random intercept, or intercept and slope, of one grouping."""

import warnings

import numpy as np
import pandas as pd
from scipy import optimize

from lungitude.statistics.design import FormulaDesign
from lungitude.statistics.frames import (
    is_factor,
    numbers,
    require_choice,
    require_confidence,
)
from lungitude.statistics.linear import LinearFit, independent

STEP = 1e-30  # of complex-step differentiation: no cancellation, so as small as one likes
DF = ("satterthwaite", "residual", "normal")


class RandomEffects:
    """Fit ``y = X beta + Z b + e`` with ``b ~ N(0, s^2 L L')`` for each group, ``e ~ N(0, s^2)``.

    Parameters
    ----------
    matrix : ndarray (n, k)
        Full column rank.
    response : ndarray (n,)
    groups : ndarray (n,)
        Codes of the groups.
    effects : ndarray (n, q)
        Columns of Z; ones for a random intercept.
    reml : bool

    Attributes
    ----------
    beta, vcov : fixed effects
    psi : ndarray
        Lower triangle of L by columns, then s; T = s^2 L L' is the covariance of the effects.
    covariance : ndarray (q, q)
    sigma : float
    loglik : float
    singular : bool
        The covariance of the effects has no full rank (a variance is estimated as 0).

    Notes
    -----
    The likelihood needs only the cross products of each group (Woodbury), so an evaluation costs
    O(groups). All formulas are holomorphic: the Hessian is the complex-step derivative of the
    analytic gradient and has no truncation error. The parameters are those of lmerTest, whose
    Satterthwaite df this follows [1]_; the boundary is an inner point of L.

    References
    ----------
    .. [1] Kuznetsova, Brockhoff & Christensen 2017, J Stat Softw 82(13).
    """

    def __init__(self, matrix, response, groups, effects, reml=True):
        order = np.argsort(groups, kind="stable")
        groups, effects = np.asarray(groups)[order], effects[order]
        self.n, self.k = matrix.shape
        self.q, self.reml = effects.shape[1], reml
        starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
        self.n_groups = len(starts)
        # An orthonormal design and a response of unit scale: cross products lose no digits.
        basis, upper = np.linalg.qr(matrix[order])
        first = basis.T @ response[order]
        rest = response[order] - basis @ first
        self._scale = float(np.sqrt(rest @ rest / (self.n - self.k)))
        if not self._scale > 1e-10 * max(1e-300, float(np.abs(response).max())):
            raise ValueError("no variation of the response beyond the fixed effects")
        rest = rest / self._scale
        self._xx, self._xy, self._yy = basis.T @ basis, basis.T @ rest, rest @ rest
        self._s = np.add.reduceat(effects[:, :, None] * effects[:, None, :], starts)
        self._zx = np.add.reduceat(effects[:, :, None] * basis[:, None, :], starts)
        self._zy = np.add.reduceat(effects * rest[:, None], starts)
        self._size = np.diff(np.r_[starts, self.n])
        self._lower = [(i, j) for j in range(self.q) for i in range(j, self.q)]
        self._optimise()
        inverse = np.linalg.inv(upper)
        state = self._state(self.psi)
        self.beta = inverse @ (first + self._scale * state["gamma"])
        self._back = inverse * self._scale
        self.vcov = self._back @ state["c"] @ self._back.T
        self.sigma = self.psi[-1] * self._scale
        factor = self._factor(self.psi)
        self.covariance = self.sigma**2 * factor @ factor.T
        jacobian = 2 * np.log(np.abs(np.diag(upper))).sum()
        dof = self.n - self.k if reml else self.n
        deviance = self._deviance(self.psi) + dof * 2 * np.log(self._scale)
        self.loglik = -0.5 * (deviance + (jacobian if reml else 0.0))
        self.singular = bool(np.linalg.eigvalsh(factor @ factor.T)[0] < 1e-8)
        self._curvature()

    def _factor(self, psi):
        factor = np.zeros((self.q, self.q), dtype=np.asarray(psi).dtype)
        for value, (i, j) in zip(psi, self._lower, strict=False):
            factor[i, j] = value
        return factor

    def _state(self, psi):
        """Generalised least squares at `psi`, with what the gradient needs."""
        factor, variance = self._factor(psi), psi[-1] ** 2
        relative = factor @ factor.T
        inner = np.linalg.inv(np.eye(self.q) + self._s @ relative)
        a = relative @ inner  # V_i^-1 = (I - Z a Z') / s^2
        azx = a @ self._zx
        azy = np.einsum("gij,gj->gi", a, self._zy)
        information = (self._xx - np.einsum("gqi,gqj->ij", self._zx, azx)) / variance
        score = (self._xy - np.einsum("gqi,gq->i", self._zx, azy)) / variance
        c = np.linalg.inv(information)
        gamma = c @ score
        quadratic = (self._yy - np.einsum("gq,gq->", self._zy, azy)) / variance - score @ gamma
        return {
            "a": a,
            "inner": inner,
            "c": c,
            "gamma": gamma,
            "quadratic": quadratic,
            "relative": relative,
            "variance": variance,
            "factor": factor,
            "information": information,
        }

    def _deviance(self, psi):
        state = self._state(psi)
        dof = self.n - self.k if self.reml else self.n
        value = self.n * np.log(state["variance"]) - np.linalg.slogdet(state["inner"])[1].sum()
        value += state["quadratic"] + dof * np.log(2 * np.pi)
        return value + (np.linalg.slogdet(state["information"])[1] if self.reml else 0.0)

    def _gradient(self, psi):
        """Gradient of the deviance by L and s; also the covariance of the fixed effects."""
        state = self._state(psi)
        a, c, variance, factor = (state[key] for key in ("a", "c", "variance", "factor"))
        shrunk = np.eye(self.q) - self._s @ a
        rx = shrunk @ self._zx / variance  # Z'V^-1 X
        ry = np.einsum("gij,gj->gi", shrunk, self._zy) / variance
        residual = ry - rx @ state["gamma"]
        # d deviance / d T in a direction D is tr(m D)
        m = (shrunk @ self._s).sum(axis=0) / variance
        m = m - np.einsum("gi,gj->ij", residual, residual)
        if self.reml:
            m = m - np.einsum("gqi,ij,grj->qr", rx, c, rx)
        m = (m + m.T) / 2
        trace = (self.n - np.einsum("gij,gji->", self._s, a)) / variance
        # V^-2 in cross products: (I - 2 Z a Z' + Z a S a Z') / s^4
        asa = 2 * a - a @ self._s @ a
        xx = (self._xx - np.einsum("gqi,gqr,grj->ij", self._zx, asa, self._zx)) / variance**2
        xy = (self._xy - np.einsum("gqi,gqr,gr->i", self._zx, asa, self._zy)) / variance**2
        yy = (self._yy - np.einsum("gq,gqr,gr->", self._zy, asa, self._zy)) / variance**2
        gamma = state["gamma"]
        slope = trace - (yy - 2 * gamma @ xy + gamma @ xx @ gamma)
        if self.reml:
            slope = slope - np.einsum("ij,ji->", c, xx)
        by_factor = 2 * variance * m @ factor
        by_sigma = 2 * psi[-1] * (slope + np.einsum("ij,ji->", m, state["relative"]))
        return np.array([by_factor[i, j] for i, j in self._lower] + [by_sigma]), c

    def _profiled(self, theta):
        """`psi` with s at its optimum for the relative factor `theta`."""
        psi = np.r_[theta, 1.0]
        dof = self.n - self.k if self.reml else self.n
        psi[-1] = np.sqrt(self._state(psi)["quadratic"] / dof)
        return psi

    def _optimise(self):
        def objective(theta):
            psi = self._profiled(theta)
            return self._deviance(psi), self._gradient(psi)[0][:-1]

        diagonal = np.array([i == j for i, j in self._lower])
        scale = 1 / np.sqrt(np.maximum(np.einsum("gii->i", self._s) / self.n, 1e-300))
        begin = [0.1, 0.6, 2.0] if self.q == 1 else [0.3, 1.0]
        bounds = [(0.0, None) if flag else (None, None) for flag in diagonal]
        best = None
        for size in begin:
            start = np.array([size * scale[i] if i == j else 0.0 for i, j in self._lower])
            found = optimize.minimize(
                objective,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
            )
            if best is None or found.fun < best.fun - 1e-9:
                best = found
        zero = np.zeros(len(self._lower))
        if self._deviance(self._profiled(zero)) <= best.fun:
            best.x = zero
        psi = self._profiled(best.x)
        for _ in range(20):  # Newton steps take the optimum from 5 digits to all
            gradient, _ = self._gradient(psi)
            step = _solve(self._hessian(psi)[0], gradient)
            if not np.isfinite(step).all() or np.abs(step).max() < 1e-13:
                break
            trial = psi - step
            if self._deviance(trial) > self._deviance(psi) + 1e-10:
                break
            psi = trial
        psi[:-1] *= np.where(diagonal & (psi[:-1] < 0), -1.0, 1.0) if self.q == 1 else 1.0
        self.psi = psi
        gradient = self._gradient(psi)[0]
        self.converged = bool(np.abs(gradient).max() < 1e-4 * max(1.0, self.n**0.5))

    def _hessian(self, psi):
        """Hessian of the deviance and derivatives of the covariance of the fixed effects."""
        rows, slopes = [], []
        for index in range(len(psi)):
            moved = psi.astype(complex)
            moved[index] += 1j * STEP
            gradient, c = self._gradient(moved)
            rows.append(gradient.imag / STEP)
            slopes.append(c.imag / STEP)
        hessian = np.array(rows)
        return (hessian + hessian.T) / 2, np.array(slopes)

    def _curvature(self):
        hessian, slopes = self._hessian(self.psi)
        values, vectors = np.linalg.eigh(hessian)
        good = values > 1e-8 * max(values.max(), 1e-300)
        # Directions without curvature (a variance at 0) carry no uncertainty, as in lmerTest.
        self._psi_covariance = 2 * (vectors[:, good] / values[good]) @ vectors[:, good].T
        self._slopes = np.array([self._back @ slope @ self._back.T for slope in slopes])

    def satterthwaite(self, rows):
        """Degrees of freedom of linear functions (m, k) of the fixed effects."""
        variance = np.einsum("ij,jk,ik->i", rows, self.vcov, rows)
        gradient = np.einsum("ij,pjk,ik->ip", rows, self._slopes, rows)
        spread = np.einsum("ip,pq,iq->i", gradient, self._psi_covariance, gradient)
        with np.errstate(divide="ignore"):
            return 2 * variance**2 / spread


def _solve(hessian, gradient):
    values, vectors = np.linalg.eigh(hessian)
    good = values > 1e-10 * max(values.max(), 1e-300)
    return vectors[:, good] @ ((vectors[:, good].T @ gradient) / values[good])


class MixedFit(LinearFit):
    """Result of `mixed_model`."""

    def __init__(self, design, response, groups, effects, labels, reml, df, confidence):
        self.design, self.confidence, self.df_method = design, confidence, df
        self.kept = independent(design.matrix)
        self.dropped = [n for i, n in enumerate(design.names) if i not in set(self.kept)]
        codes, names = pd.factorize(np.asarray(groups), sort=True)
        self.n_observations, self.n_groups = len(response), len(names)
        if self.n_observations <= len(self.kept) + 1:
            raise ValueError(f"{self.n_observations} observations for {len(self.kept)} model terms")
        if self.n_groups < 2 or np.bincount(codes).max() < 2:
            raise ValueError(
                "no group has two observations, so a random effect can't be told from the residual"
            )
        self.model = RandomEffects(design.matrix[:, self.kept], response, codes, effects, reml)
        model = self.model
        self.beta, self.vcov = model.beta, model.vcov
        self.converged, self.singular = model.converged, model.singular
        self.loglik = model.loglik
        parameters = len(self.kept) + len(model.psi)
        self.aic = -2 * self.loglik + 2 * parameters
        self.bic = -2 * self.loglik + np.log(self.n_observations) * parameters
        self.residual_variance = float(model.sigma**2)
        self.random_covariance = pd.DataFrame(model.covariance, index=labels, columns=labels)

    def _df(self, rows):
        if self.df_method == "satterthwaite":
            return self.model.satterthwaite(rows)
        value = np.inf if self.df_method == "normal" else self.n_observations - len(self.kept)
        return np.full(len(rows), float(value))


def mixed_model(
    data, formula, groups="USUBJID", random="1", method="reml", df="satterthwaite", confidence=0.95
):
    """Fit a linear mixed model.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in a used column are left out.
    formula : str
        Fixed effects, such as ``"CHG ~ BASE + TRT01P * AVISIT"``.
    groups : str
        Column of the subjects.
    random : str
        ``"1"`` random intercept, or ``"1 + TIME"`` intercept and slope, correlated.
    method : {"reml", "ml"}
    df : {"satterthwaite", "residual", "normal"}
    confidence : float

    Returns
    -------
    MixedFit
        ``.coefficients`` (term estimate se df statistic p ci_low ci_high),
        ``.random_covariance``, ``.residual_variance``, ``.emmeans(...)``, ``.contrasts(...)``,
        ``.loglik .aic .bic`` (lme4's conventions), ``.converged .singular .n_groups
        .n_observations``.

    Notes
    -----
    Held against lme4 1.1-31, lmerTest 3.1-3 and emmeans 1.8.4 in tests/reference. Factors:
    order of the categories, else sorted; the first level is the reference.
    """
    who = "mixed_model"
    require_choice(method, ("reml", "ml"), "method", who)
    require_choice(df, DF, "df", who)
    require_confidence(confidence, who)
    parts = [part.strip() for part in str(random).split("+")]
    if parts[0] != "1" or len(parts) > 2 or not parts[-1] or (len(parts) == 2 and parts[1] == "1"):
        raise ValueError(f'{who}: random {random!r} must be "1" or "1 + <column>"')
    design = FormulaDesign(data, formula, extra=[groups, *parts[1:]], who=who)
    rows = design.rows
    for name in parts[1:]:
        if is_factor(rows[name]):
            raise ValueError(f"{who}: random slope {name!r} must be a number")
    effects = np.column_stack(
        [np.ones(len(rows)), *(numbers(rows[name], name, who) for name in parts[1:])]
    )
    labels = ["(Intercept)", *parts[1:]]
    try:
        fit = MixedFit(
            design, design.response, rows[groups], effects, labels, method == "reml", df, confidence
        )
    except ValueError as error:
        raise ValueError(f"{who} {formula!r}: {error}") from error
    if fit.dropped:
        warnings.warn(f"{who}: {', '.join(fit.dropped)} is aliased and left out", stacklevel=2)
    if fit.singular:
        warnings.warn(
            f"{who}: singular fit, the covariance of the effects of {groups} has no full rank",
            stacklevel=2,
        )
    if not fit.converged:
        warnings.warn(f"{who}: the optimiser did not converge", stacklevel=2)
    return fit
