"""Linear mixed models with random intercepts and slopes of one or more groupings."""

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg, optimize, sparse, stats
from scipy.sparse.linalg import splu

from lungitude.statistics.design import FormulaDesign
from lungitude.statistics.frames import (
    is_factor,
    numbers,
    require_choice,
    require_confidence,
)
from lungitude.statistics.linear import (
    LinearFit,
    independent,
    joint_df,
    kenward_roger_df,
    listed,
)
from lungitude.statistics.vital import (
    columns_of_terms,
    require_levels,
    require_two_levels,
    require_unaliased,
    vital_factors,
)

STEP = 1e-30  # of complex-step differentiation: no cancellation, so as small as one likes
DF = ("satterthwaite", "kenward-roger", "residual", "normal")
INTERCEPT = "(Intercept)"
DENSE = 200  # effects of other groupings than the subjects; beyond, their equations are sparse


@dataclass
class RandomTerm:
    """Random effects of one grouping that are correlated with each other: ``(effects | group)``.

    Parameters
    ----------
    group : str
    labels : list of str
        Names of the q effects.
    codes : ndarray (n,)
        Group of each row, 0 to `size` - 1.
    effects : ndarray (n, q)
        Their columns; ones for the intercept.
    names : ndarray (size,)
        The groups.
    """

    group: str
    labels: list
    codes: np.ndarray
    effects: np.ndarray
    names: np.ndarray

    @classmethod
    def of(cls, column, name, labels=(INTERCEPT,), effects=None):
        """Make the term from the column of the groups; a random intercept without `effects`."""
        codes, names = pd.factorize(np.asarray(column), sort=True)
        effects = np.ones((len(codes), 1)) if effects is None else effects
        return cls(name, list(labels), codes, effects, names)

    @property
    def size(self):
        """Number of groups."""
        return len(self.names)

    @property
    def text(self):
        """The term as lme4 writes it."""
        parts = ["1" if label == INTERCEPT else label for label in self.labels]
        return f"({' + '.join(parts if parts[0] == '1' else ['0', *parts])} | {self.group})"

    def without(self, index):
        """Make the term that lacks one effect."""
        kept = [i for i in range(len(self.labels)) if i != index]
        labels = [self.labels[i] for i in kept]
        return RandomTerm(self.group, labels, self.codes, self.effects[:, kept], self.names)


class RandomEffects:
    """Fit ``y = X beta + Z b + e`` with ``b ~ N(0, s^2 L L')``, ``e ~ N(0, s^2)``.

    Parameters
    ----------
    matrix : ndarray (n, k)
        Full column rank.
    response : ndarray (n,)
    terms : list of RandomTerm
        Effects of different terms are independent.
    reml : bool

    Attributes
    ----------
    beta, vcov : fixed effects
    psi : ndarray
        Lower triangles of L by columns, term by term, in coordinates in which the effects of a
        term are orthonormal over the rows; then s.
    covariances : list of ndarray (q, q)
        Covariance of the effects of each term.
    sigma : float
    loglik : float
    singular : list of str
        Groups whose effects have a covariance without full rank (a variance is estimated as 0 or
        a correlation as 1): smallest singular value of L below 1e-4, as lme4::isSingular.

    Notes
    -----
    The likelihood needs cross products only. The effects of the grouping with most groups (the
    subjects) leave by one small Woodbury step each, all at once; those of the other groupings
    (sites) by a sparse one, whether they are nested or crossed. The functions are holomorphic:
    first derivatives are complex steps without truncation error, second derivatives central
    differences of these. The parameters are those of lmerTest up to linear maps, to which its
    Satterthwaite df are invariant [1]_; the boundary is an inner point of L. Kenward-Roger [2]_
    takes the covariances of b, in which V is linear, so that its second derivatives vanish, and
    the expected information, as pbkrtest [3]_.

    References
    ----------
    .. [1] Kuznetsova, Brockhoff & Christensen 2017, J Stat Softw 82(13).
    .. [2] Kenward & Roger 1997, Biometrics 53:983.
    .. [3] Halekoh & Hojsgaard 2014, J Stat Softw 59(9).
    """

    def __init__(self, matrix, response, terms, reml=True):
        self.n, self.k = matrix.shape
        self.terms, self.reml = terms, reml
        self._dof = self.n - self.k if reml else self.n
        # An orthonormal design and a response of unit scale: cross products lose no digits.
        basis, upper = np.linalg.qr(matrix)
        first = basis.T @ response
        rest = response - basis @ first
        self._scale = float(np.sqrt(rest @ rest / (self.n - self.k)))
        if not self._scale > 1e-10 * max(1e-300, float(np.abs(response).max())):
            raise ValueError("no variation of the response beyond the fixed effects")
        self._cross_products(np.column_stack([basis, rest / self._scale]))
        self._optimise()
        inverse = np.linalg.inv(upper)
        c, gamma, _ = self._solved(self._core(*self._split(self.psi))[1])
        self.beta = inverse @ (first + self._scale * gamma)
        self._back = inverse * self._scale
        self.vcov = self._back @ c @ self._back.T
        self.sigma = float(self.psi[-1] * self._scale)
        jacobian = 2 * np.log(np.abs(np.diag(upper))).sum()
        deviance = self._deviance(self.psi) + self._dof * 2 * np.log(self._scale)
        self.loglik = float(-0.5 * (deviance + (jacobian if reml else 0.0)))
        self.covariances, self.singular = [], []
        for term, whiten, factor in zip(terms, self._whiten, self._factors(self.psi), strict=True):
            if np.linalg.svd(factor, compute_uv=False)[-1] < 1e-4:
                self.singular.append(term.group)
            factor = self.sigma * whiten @ factor
            self.covariances.append(factor @ factor.T)

    def _cross_products(self, data):
        """Cross products of the random effects and `data`, the design and the response."""
        self._whiten, self._z = [], []
        self._lower = []  # for each number of psi its term, row and column of L
        for number, term in enumerate(self.terms):
            upper = np.linalg.qr(term.effects / np.sqrt(self.n))[1]
            self._whiten.append(np.linalg.inv(upper * np.sign(np.diag(upper))[:, None]))
            self._z.append(term.effects @ self._whiten[-1])
            q = len(upper)
            self._lower += [(number, i, j) for j in range(q) for i in range(j, q)]
        self._data = data.T @ data
        most = max((term.size for term in self.terms), default=1)
        subjects = next((t.group for t in self.terms if t.size == most), None)
        self._inner = [i for i, term in enumerate(self.terms) if term.group == subjects]
        self._outer = [i for i, term in enumerate(self.terms) if term.group != subjects]
        codes = self.terms[self._inner[0]].codes if self.terms else np.zeros(self.n, dtype=int)
        z = np.hstack([np.empty((self.n, 0)), *(self._z[i] for i in self._inner)])
        self._shape = (most, z.shape[1])
        sort = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[sort], prepend=-1))
        self._s = np.add.reduceat(z[sort, :, None] * z[sort, None, :], starts)
        self._zd = np.add.reduceat(z[sort, :, None] * data[sort, None, :], starts)
        free = self._data - self._by_data(np.linalg.pinv(self._s, hermitian=True) @ self._zd)
        fixed = np.linalg.pinv(free[:-1, :-1], rcond=1e-10, hermitian=True)
        if not free[-1, -1] - free[-1, :-1] @ fixed @ free[:-1, -1] > 1e-11 * (self.n - self.k):
            raise ValueError(f"no residual variation: the effects of {subjects} fit the response")
        if self._outer:
            inside = _indicators(codes, z, most)
            others = sparse.hstack(
                [
                    _indicators(self.terms[i].codes, self._z[i], self.terms[i].size)
                    for i in self._outer
                ],
                format="csr",
            )
            self._inside_others = (inside.T @ others).tocsr()
            self._others = (others.T @ others).tocsc()
            self._dense = others.shape[1] <= DENSE
            if self._dense:
                self._inside_others = self._inside_others.toarray()
                self._others = self._others.toarray()
            self._others_data = others.T @ data

    def _by_data(self, product):
        return np.tensordot(self._zd, product, axes=([0, 1], [0, 1]))

    def _factors(self, psi):
        """Lower triangular L of each term."""
        factors = [np.zeros(w.shape, dtype=np.asarray(psi).dtype) for w in self._whiten]
        for value, (number, i, j) in zip(psi, self._lower, strict=False):
            factors[number][i, j] = value
        return factors

    def _split(self, psi):
        return [factor @ factor.T for factor in self._factors(psi)], psi[-1] ** 2

    def _reduce(self, relatives):
        """Take the random effects out: ``log |V / s^2|`` and ``s^2 [X y]' V^-1 [X y]``.

        By Woodbury ``V^-1 = (I - Z a Z') / s^2`` for the subjects, then for the others.
        """
        relative = linalg.block_diag(*[np.empty((0, 0)), *(relatives[i] for i in self._inner)])
        system = np.eye(len(relative)) + self._s @ relative
        a = relative @ np.linalg.inv(system)
        azd = a @ self._zd
        data = self._data - self._by_data(azd)
        logdet = np.log(np.linalg.det(system)).sum()
        solved = None
        if self._outer:
            cross, size = self._inside_others, len(a)
            right = self._others_data - cross.T @ azd.reshape(cross.shape[0], -1)
            eyes = [np.eye(self.terms[i].size) for i in self._outer]
            if self._dense:
                bent = (a @ cross.reshape(*self._shape, -1)).reshape(cross.shape)
                parts = [np.kron(e, relatives[i]) for e, i in zip(eyes, self._outer, strict=True)]
                relative = linalg.block_diag(*parts)
                system = np.eye(len(right)) + (self._others - cross.T @ bent) @ relative
                factors = linalg.lu_factor(system, check_finite=False)
                solved = relative @ linalg.lu_solve(factors, right, check_finite=False)
                pivots = np.diag(factors[0])
            else:
                weight = sparse.bsr_matrix((a, np.arange(size), np.arange(size + 1)))
                left = self._others - cross.T @ (weight @ cross)
                relative = sparse.block_diag(
                    [sparse.kron(e, relatives[i]) for e, i in zip(eyes, self._outer, strict=True)]
                )
                system = splu(sparse.csc_matrix(sparse.eye(len(right)) + left @ relative))
                solved = relative @ system.solve(np.ascontiguousarray(right))
                pivots = system.U.diagonal()
            data = data - right.T @ solved
            logdet = logdet + np.log(pivots * np.sign(pivots.real)).sum()
        return logdet, data, a, solved

    def _core(self, relatives, variance):
        """``log |V|`` and ``[X y]' V^-1 [X y]``."""
        logdet, data, _, _ = self._reduce(relatives)
        return self.n * np.log(variance) + logdet, data / variance

    def _solved(self, data):
        """Generalised least squares: covariance, coefficients, residual quadratic form."""
        c = np.linalg.inv(data[:-1, :-1])
        gamma = c @ data[:-1, -1]
        return c, gamma, data[-1, -1] - gamma @ data[:-1, -1]

    def _deviance(self, psi, covariance=False):
        """-2 log-likelihood; with `covariance` also that of the fixed effects, in one array."""
        logdet, data = self._core(*self._split(psi))
        c, _, quadratic = self._solved(data)
        value = logdet + quadratic + self._dof * np.log(2 * np.pi)
        if self.reml:
            value = value + _logdet(data[:-1, :-1])
        return np.r_[value, c.ravel()] if covariance else value

    def _lengths(self, covariances, variance):
        """Lengths over which V changes: for each of `_lower`, of its two effects given the rest."""
        found = []
        for number, i, j in self._lower:
            noise = variance * self.terms[number].size / self.n
            inverse = np.linalg.inv(covariances[number] + noise * np.eye(len(covariances[number])))
            found.append((1 / inverse[i, i], 1 / inverse[j, j]))
        return found

    def _curvature(self, psi):
        """Gradient and Hessian of the deviance; slopes of the covariance of the fixed effects."""
        relatives, _ = self._split(psi)
        steps = [np.sqrt(one) for one, _ in self._lengths(relatives, 1.0)]
        first, second = derivatives(lambda at: self._deviance(at, True), psi, np.r_[steps, psi[-1]])
        return first[:, 0], second[:, :, 0], first[:, 1:].reshape(-1, self.k, self.k)

    def _optimise(self):
        def objective(theta):
            # s is at its optimum for theta, so its slope vanishes
            relatives, _ = self._split(np.r_[theta, 1.0])
            psi = np.r_[theta, np.sqrt(self._solved(self._reduce(relatives)[1])[2] / self._dof)]
            return psi, self._deviance(psi)

        def slope(theta):
            psi, value = objective(theta)
            return value, slopes(self._deviance, psi)[:-1]

        def descend(start):
            # No bounds: L = 0 is stationary by symmetry, a bound there would be a trap.
            found = optimize.minimize(
                slope,
                start,
                jac=True,
                method="L-BFGS-B",
                options={"ftol": 1e-11, "gtol": 1e-6, "maxiter": 500},
            )
            return found.x, found.fun

        diagonal = np.array([float(i == j) for _, i, j in self._lower])
        size = len(diagonal)
        best, value = diagonal, np.inf
        for begin in ([0.1, 0.6, 2.0] if size == 1 else [0.3, 1.0]) if size else []:
            found, reached = descend(begin * diagonal)
            if reached < value - 1e-8:
                best, value = found, reached
        # A variance on its way to 0 is 0 where that costs nothing.
        owner = np.array([number for number, _, _ in self._lower], dtype=int)
        for kept in itertools.product((0.0, 1.0), repeat=len(self.terms)):
            trial = best * np.array(kept)[owner] if size else best
            if not all(kept) and objective(trial)[1] <= value + 1e-10:
                best = trial
                break
        psi = objective(best)[0]
        for _ in range(20):  # Newton steps take the optimum from 5 digits to all
            gradient, hessian, self._slopes = self._curvature(psi)
            if not np.isfinite(hessian).all():
                raise ValueError("the likelihood has no finite optimum")
            values, vectors = np.linalg.eigh(hessian)
            if values[0] < -1e-6 * values[-1] and size:  # a saddle
                psi = objective(descend(psi[:-1] + 0.3 * vectors[:-1, 0])[0])[0]
                continue
            good = values > 1e-10 * max(values[-1], 1e-300)
            step = vectors[:, good] @ ((vectors[:, good].T @ gradient) / values[good])
            trial = psi - step
            small = np.abs(step).max() < 1e-12
            if small or not self._deviance(trial) <= self._deviance(psi) + 1e-10:
                break
            psi = trial
        self.converged = bool(np.abs(gradient).max() < 1e-4 * max(1.0, self.n**0.5))
        # Directions without curvature (a variance at 0) carry no uncertainty, as in lmerTest.
        good = values > 1e-8 * max(values[-1], 1e-300)
        self._psi_covariance = 2 * (vectors[:, good] / values[good]) @ vectors[:, good].T
        psi[:-1][np.abs(psi[:-1]) < 1e-10] = 0
        self.psi = psi

    def predicted(self):
        """Predict the random effects (BLUP): for each term an ndarray (size, q)."""
        relatives, _ = self._split(self.psi)
        _, data, a, solved = self._reduce(relatives)
        weights = np.r_[-self._solved(data)[1], 1.0]  # the residual is [X y] times these
        residual = self._zd @ weights
        parts = [None] * len(self.terms)
        if self._outer:
            other = solved @ weights
            residual = residual - (self._inside_others @ other).reshape(self._shape)
            start = 0
            for i in self._outer:
                q = len(self._whiten[i])
                parts[i] = other[start : start + self.terms[i].size * q].reshape(-1, q)
                start += self.terms[i].size * q
        own, start = (a @ residual[:, :, None])[:, :, 0], 0
        for i in self._inner:
            q = len(self._whiten[i])
            parts[i] = own[:, start : start + q]
            start += q
        return [
            self._scale * part @ whiten.T for part, whiten in zip(parts, self._whiten, strict=True)
        ]

    def satterthwaite(self, rows):
        """Degrees of freedom of linear functions (m, k) of the fixed effects."""
        slopes = self._back @ self._slopes @ self._back.T
        return _moment_df(rows, self.vcov, slopes, self._psi_covariance)

    def kenward_roger(self):
        """Adjust the covariance of the fixed effects for its estimation.

        Returns
        -------
        KenwardRoger

        Notes
        -----
        With A = X'V^-1 X and V linear in the parameters, P_i is the slope of A, Q_ij + Q_ji its
        second derivative, and -tr(V^-1 V_i V^-1 V_j) that of log |V|.
        """
        relatives, variance = self._split(self.psi)
        absolute = [variance * relative for relative in relatives]

        def function(point):
            covariances = [np.zeros(value.shape, dtype=point.dtype) for value in absolute]
            for value, (number, i, j) in zip(point, self._lower, strict=False):
                covariances[number][i, j] = covariances[number][j, i] = value
            logdet, data = self._core([value / point[-1] for value in covariances], point[-1])
            return np.r_[logdet, data[:-1, :-1].ravel()]

        point = [absolute[number][i, j] for number, i, j in self._lower]
        steps = [np.sqrt(one * two) for one, two in self._lengths(absolute, variance)]
        first, second = derivatives(
            function, np.array([*point, variance]), np.array([*steps, variance])
        )
        p = first[:, 1:].reshape(-1, self.k, self.k)
        q = second[:, :, 1:].reshape(*second.shape[:2], self.k, self.k) / 2
        c = self._solved(self._core(relatives, variance)[1])[0]
        pc = p @ c
        information = -second[:, :, 0] - 2 * np.einsum("ab,ijba->ij", c, q)
        information += np.einsum("iab,jba->ij", pc, pc)
        w = 2 * np.linalg.pinv(information, rcond=1e-14, hermitian=True)
        u = np.einsum("ij,ijab->ab", w, q) - np.einsum("iab,jbc,ij->ac", pc, p, w)
        back = self._back
        return KenwardRoger(
            self.vcov, self.vcov + 2 * back @ c @ u @ c @ back.T, back @ c @ pc @ back.T, w
        )


def slopes(function, point):
    """Gradient of a holomorphic function by complex steps."""
    found = []
    for index in range(len(point)):
        moved = point.astype(complex)
        moved[index] += 1j * STEP
        found.append(function(moved).imag / STEP)
    return np.array(found)


def derivatives(function, point, lengths):
    """First (p, ...) and second (p, p, ...) derivatives of a holomorphic function.

    The second are five-point differences of complex steps over 1/1000 of `lengths`, with a relative
    error of about 1e-10.
    """
    first = slopes(function, point)
    second = np.empty((len(point), *first.shape))
    for index, step in enumerate(lengths / 1000):
        shift = step * np.eye(len(point))[index]
        one, two = (
            slopes(function, point + m * shift) - slopes(function, point - m * shift)
            for m in (1, 2)
        )
        second[index] = (8 * one - two) / (12 * step)
    return first, (second + second.swapaxes(0, 1)) / 2


def _logdet(matrix):
    sign, value = np.linalg.slogdet(matrix)
    return value + 1j * np.angle(sign) if np.iscomplexobj(matrix) else value


def _indicators(codes, effects, size):
    """Sparse columns of the random effects: `effects` in the columns of each row's group."""
    n, q = effects.shape
    columns = q * codes[:, None] + np.arange(q)
    return sparse.csr_matrix(
        (effects.ravel(), (np.repeat(np.arange(n), q), columns.ravel())), shape=(n, size * q)
    )


def _moment_df(rows, vcov, slopes, covariance):
    """``2 v^2 / var(v)`` of the variances v of linear functions (m, k)."""
    variance = np.einsum("ij,jk,ik->i", rows, vcov, rows)
    gradient = np.einsum("ij,pjk,ik->ip", rows, slopes, rows)
    spread = np.einsum("ip,pq,iq->i", gradient, covariance, gradient)
    with np.errstate(divide="ignore"):
        return 2 * variance**2 / spread


@dataclass
class KenwardRoger:
    """Covariance `vcov` of the fixed effects, `adjusted`, its slopes ``Phi P_i Phi`` and W."""

    vcov: np.ndarray
    adjusted: np.ndarray
    slopes: np.ndarray
    w: np.ndarray

    def df(self, rows):
        """Degrees of freedom of single linear functions (m, k)."""
        return _moment_df(rows, self.vcov, self.slopes, self.w)

    def scaled(self, rows):
        """Compute scale and denominator df of the F of independent rows (Kenward & Roger 1997)."""
        q = len(rows)
        inverse = np.linalg.inv(rows @ self.vcov @ rows.T)
        parts = np.array([inverse @ rows @ slope @ rows.T for slope in self.slopes])
        traces = np.einsum("iaa->i", parts)
        a1 = traces @ self.w @ traces
        a2 = np.einsum("ij,iab,jba->", self.w, parts, parts)
        df = kenward_roger_df(q, a1, a2)
        scale = 1.0 if abs(df - 2) < 1e-2 else df * (1 - a2 / q) / (df - 2)  # as pbkrtest
        return scale, df


def type3_rows(design, kept):
    """Compute the hypotheses of SAS Type III, in the basis that lmerTest uses.

    Parameters
    ----------
    design : Design
    kept : list of int
        Independent columns of the design.

    Returns
    -------
    dict of str to ndarray (rows, kept columns)

    Notes
    -----
    The columns of the design with all indicators are functions of the coefficients; those of a
    term are made orthogonal to those of the terms that contain it (lmerTest::anova, type 3; SAS).
    A numeric variable is contained in nothing: the arm in ``arm * time`` is compared at time 0.
    A model of one term has the basis of Type I. F does not depend on the basis; Satterthwaite df
    of several rows do.
    """
    terms = design.term_labels
    matrix = design.matrix[:, kept]
    names = [design.names[index] for index in kept]
    own = [design.terms[index] for index in kept]
    if len(terms) == 1:
        upper = np.linalg.qr(matrix)[1]
        unit = upper / np.diag(upper)[:, None]
        return {":".join(term): unit[[t == term for t in own]] for term in terms}
    full, labels = [np.ones((len(matrix), 1))], [INTERCEPT]
    for term in terms:
        block, text = np.ones((len(matrix), 1)), [""]
        for label in term:
            variable = design.variables[label]
            value = variable.values(design.rows, True)
            block = (value[:, :, None] * block[:, None, :]).reshape(len(matrix), -1)
            text = [f"{a}:{b}" if a else b for b in variable.names(True) for a in text]
        full.append(block)
        labels += text
    functions = (np.linalg.pinv(matrix) @ np.hstack(full)).T
    functions[np.abs(functions) < 1e-10 * np.abs(functions).max()] = 0

    def contains(outer, inner):
        numeric = {x for x in outer if design.variables[x].levels is None}
        return set(inner) < set(outer) and numeric <= set(inner)

    for term in sorted(terms, key=len, reverse=True):
        mine = [t == term for t in own]
        outer = [contains(t, term) for t in own]
        if any(mine) and any(outer):
            solved = np.linalg.lstsq(functions[:, outer], functions[:, mine], rcond=1e-10)[0]
            functions[:, mine] -= functions[:, outer] @ solved
    place = {label: index for index, label in reversed(list(enumerate(labels)))}
    functions = functions[[place[name] for name in names]]
    found = {}
    for term in terms:
        rows = functions[:, [t == term for t in own]].T
        found[":".join(term)] = rows[np.abs(rows).sum(axis=1) > 1e-8]
    return found


class MixedFit(LinearFit):
    """Result of `mixed_model`.

    Attributes
    ----------
    coefficients : DataFrame
        term estimate se df statistic p ci_low ci_high.
    random_covariance : DataFrame, or dict of group to DataFrame
        Covariance of the random effects of a group.
    varcorr : DataFrame
        group var1 var2 vcov sdcor: variance and standard deviation, covariance and correlation.
    residual_variance, sigma : float
    loglik, aic, bic : float
        As lme4: all parameters are counted, under REML too; BIC with the number of rows.
    converged, singular : bool
    n_observations : int
    n_groups : int, or dict of group to int
    vcov : ndarray
        Covariance of the fixed effects; adjusted when df is Kenward-Roger.
    dropped : list of str
        Aliased terms.
    """

    def __init__(self, design, response, terms, reml, df, confidence):
        self.design, self.confidence, self.df_method = design, confidence, df
        self.kept = independent(design.matrix)
        self.dropped = [n for i, n in enumerate(design.names) if i not in set(self.kept)]
        self.n_observations = len(response)
        self._response, self._reml = response, reml
        if self.n_observations <= len(self.kept) + 1:
            raise ValueError(f"{self.n_observations} observations for {len(self.kept)} model terms")
        for term in terms:
            if term.size < 2:
                raise ValueError(f"{term.group} has one group only, {term.names[0]}")
            if self.n_observations <= term.size:
                raise ValueError(
                    f"no group of {term.group} has two observations, so a random effect can't be "
                    "told from the residual"
                )
            if self.n_observations <= term.size * len(term.labels):
                raise ValueError(
                    f"{self.n_observations} observations for {term.size * len(term.labels)} "
                    f"effects {term.text}, which can't be told from the residual"
                )
        self.terms = terms
        self.model = model = self._fit(terms)
        self.beta, self.vcov = model.beta, model.vcov
        self.converged, self.singular = model.converged, bool(model.singular)
        self.loglik, self.sigma = model.loglik, model.sigma
        parameters = len(self.kept) + len(model.psi)
        self.aic = -2 * self.loglik + 2 * parameters
        self.bic = -2 * self.loglik + np.log(self.n_observations) * parameters
        self.residual_variance = model.sigma**2
        sizes = {term.group: term.size for term in terms}
        self.n_groups = sizes if len(sizes) > 1 else next(iter(sizes.values()))
        found = {group: self._covariance(group) for group in sizes}
        self.random_covariance = found if len(sizes) > 1 else next(iter(found.values()))
        if df == "kenward-roger":
            self._adjustment = model.kenward_roger()
            self.vcov = self._adjustment.adjusted

    def _fit(self, terms):
        return RandomEffects(self.design.matrix[:, self.kept], self._response, terms, self._reml)

    def _covariance(self, group):
        """Covariance of all effects of a group; 0 between effects of different terms."""
        pairs = [
            pd.DataFrame(value, index=term.labels, columns=term.labels)
            for term, value in zip(self.terms, self.model.covariances, strict=True)
            if term.group == group
        ]
        labels = [label for pair in pairs for label in pair]
        return pd.concat(pairs).reindex(index=labels, columns=labels).fillna(0.0)

    def _df(self, rows):
        if self.df_method == "satterthwaite":
            return self.model.satterthwaite(rows)
        if self.df_method == "kenward-roger":
            return self._adjustment.df(rows)
        value = np.inf if self.df_method == "normal" else self.n_observations - len(self.kept)
        return np.full(len(rows), float(value))

    @property
    def varcorr(self):
        """Variances and correlations of the random effects: group var1 var2 vcov sdcor."""
        rows = []
        for term, value in zip(self.terms, self.model.covariances, strict=True):
            sd = np.sqrt(np.diag(value))
            rows += [(term.group, n, None, s**2, s) for n, s in zip(term.labels, sd, strict=True)]
            for j, i in itertools.combinations(range(len(sd)), 2):
                with np.errstate(invalid="ignore"):
                    r = value[i, j] / (sd[i] * sd[j])
                rows.append((term.group, term.labels[j], term.labels[i], value[i, j], r))
        rows.append(("Residual", None, None, self.residual_variance, self.sigma))
        return pd.DataFrame(rows, columns=["group", "var1", "var2", "vcov", "sdcor"])

    def random_effects(self, group=None):
        """Predicted random effects (BLUP) of a group: its column, then one column an effect."""
        group = self.terms[-1].group if group is None else group
        parts, own = {}, None
        for term, value in zip(self.terms, self.model.predicted(), strict=True):
            if term.group == group:
                own = term
                parts.update(zip(term.labels, value.T, strict=True))
        if own is None:
            raise ValueError(f"random_effects: {group!r} is no grouping of the model")
        return pd.DataFrame({group: own.names, **parts})

    def test(self, rows):
        """Test that linear functions of the coefficients are all 0.

        Parameters
        ----------
        rows : array-like (m, coefficients) or (coefficients,)
            Over the rows of `coefficients`.

        Returns
        -------
        DataFrame
            One row: F df1 df2 p.

        Notes
        -----
        Satterthwaite: lmerTest::contestMD (independent t statistics by the eigenvectors of the
        covariance, then Fai & Cornelius 1996). Kenward-Roger: pbkrtest::KRmodcomp, scaled F.
        """
        rows = np.atleast_2d(np.asarray(rows, dtype=float))
        if rows.shape[1] == len(self.design.names) != len(self.kept):
            rows = self.over_kept(rows, "test")
        if rows.shape[1] != len(self.kept):
            raise ValueError(
                f"test: rows have {rows.shape[1]} weights, the model {len(self.kept)} coefficients"
            )
        if not np.isfinite(rows).all() or not rows.any():
            raise ValueError("test: the weights must be finite numbers and not all 0")
        values, vectors = np.linalg.eigh(rows @ self.vcov @ rows.T)
        kept = np.flatnonzero(values > np.sqrt(np.finfo(float).eps) * values[-1])[::-1]
        rows = vectors[:, kept].T @ rows
        q = len(kept)
        f = float(np.sum((rows @ self.beta) ** 2 / values[kept]) / q)
        if self.df_method == "kenward-roger" and q > 1:
            scale, df = self._adjustment.scaled(rows)
            f *= scale
        else:
            df = joint_df(self._df(rows))
        return pd.DataFrame({"F": [f], "df1": [q], "df2": [df], "p": [_upper_f(f, q, df)]})

    def type3(self):
        """Test each term of the fixed effects: term f df1 df2 p (SAS Type III, lmerTest::anova).

        Satterthwaite df of a term of several rows depend on the basis of its hypothesis; this is
        lmerTest's (`type3_rows`).
        """
        parts = []
        for term, rows in type3_rows(self.design, self.kept).items():
            if len(rows):
                parts.append(self.test(rows).assign(term=term))
            else:
                warnings.warn(f"type3: {term} is aliased and has no test", stacklevel=2)
                parts.append(pd.DataFrame({"term": [term]}))
        table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        columns = ["term", "f", "df1", "df2", "p"]
        return table.rename(columns={"F": "f"}).reindex(columns=columns)

    def random_effects_test(self):
        """Likelihood-ratio test of each random effect, as lmerTest::ranova.

        A slope of a correlated term leaves with its covariances; an intercept with its term. The
        p value is that of chi-square without regard to the boundary, hence conservative.

        Returns
        -------
        DataFrame
            term npar loglik aic lrt df p; the first row is the model itself.
        """
        smaller = []
        for index, term in enumerate(self.terms):
            others = [*self.terms[:index], None, *self.terms[index + 1 :]]
            slopes = [i for i, label in enumerate(term.labels) if label != INTERCEPT]
            for i in slopes:
                own = term.without(i) if len(term.labels) > 1 else None
                smaller.append((f"{term.labels[i]} in {term.text}", others, own))
            if not slopes:
                smaller.append((term.text, others, None))
        fixed = len(self.kept)
        size = fixed + len(self.model.psi)
        rows = [("<none>", size, self.loglik, self.aic, np.nan, np.nan, np.nan)]
        for name, others, own in smaller:
            fit = self._fit([t for t in (own if t is None else t for t in others) if t is not None])
            npar = fixed + len(fit.psi)
            ratio, df = max(0.0, 2 * (self.loglik - fit.loglik)), size - npar
            p = float(stats.chi2.sf(ratio, df))
            rows.append((name, npar, fit.loglik, 2 * npar - 2 * fit.loglik, ratio, df, p))
        return pd.DataFrame(rows, columns=["term", "npar", "loglik", "aic", "lrt", "df", "p"])


def _upper_f(f, df1, df2):
    """Upper tail of F; df2 may be infinite."""
    return float(stats.chi2.sf(df1 * f, df1) if np.isinf(df2) else stats.f.sf(f, df1, df2))


def random_terms(rows, groups, random, correlated, who):
    """Make the random terms of a model; effects of `random` belong to the last of `groups`."""
    slopes = slope_names(random, who)
    columns = [np.ones(len(rows))]
    for name in slopes:
        if is_factor(rows[name]):
            raise ValueError(f"{who}: random slope {name!r} must be a number")
        columns.append(numbers(rows[name], name, who))
        if np.ptp(columns[-1]) == 0:
            raise ValueError(f"{who}: random slope {name!r} is constant")
    effects, labels = np.column_stack(columns), [INTERCEPT, *slopes]
    if len(independent(effects)) < len(labels):
        raise ValueError(f"{who}: random slopes {', '.join(slopes)} are not independent")
    last = groups[-1]
    found = [RandomTerm.of(rows[name], name) for name in groups[:-1]]
    if correlated:
        found.append(RandomTerm.of(rows[last], last, labels, effects))
    else:
        found += [
            RandomTerm.of(rows[last], last, [label], column[:, None])
            for label, column in zip(labels, effects.T, strict=True)
        ]
    for outer, inner in itertools.combinations({t.group: t for t in found}.values(), 2):
        pairs = len(np.unique(outer.codes.astype(np.int64) * inner.size + inner.codes))
        if pairs == outer.size == inner.size:
            raise ValueError(f"{who}: {outer.group} and {inner.group} are the same groups")
        if pairs > max(outer.size, inner.size):
            warnings.warn(
                f"{who}: {inner.group} is not nested in {outer.group}: the same {inner.group} in "
                f"two {outer.group} counts as one group (crossed effects)",
                stacklevel=3,
            )
    return found


def slope_names(random, who):
    """Read the columns of the random slopes from ``"1 + TIME"``."""
    parts = [part.strip() for part in str(random).split("+")]
    slopes = parts[1:]
    if parts[0] != "1" or "1" in slopes or not all(slopes) or len(set(slopes)) < len(slopes):
        raise ValueError(f'{who}: random {random!r} must be "1" or "1 + <column>"')
    return slopes


def refuse_lost(data, design, who):
    """Refuse an arm or a visit that cannot be estimated: it would silently leave the model.

    These are the factors that interact with one another, those with the name of an arm (TRT01P,
    ARM ...), or a lone factor; of other factors an aliased term is left out with a warning.
    """
    interacting = set()
    for names in columns_of_terms(design).values():
        inside = {name for name in names if name in design.factors}
        interacting |= inside if len(inside) > 1 else set()
    for name in vital_factors(design, interacting):
        require_levels(data, design, name, who)
        require_two_levels(design, name, who)
        require_unaliased(design, name, who)


def mixed_model(
    data,
    formula,
    groups="USUBJID",
    random="1",
    method="reml",
    df="satterthwaite",
    confidence=0.95,
    correlated=True,
):
    """Fit a linear mixed model.

    Parameters
    ----------
    data : DataFrame
        Rows with a missing value in a used column are left out.
    formula : str
        Fixed effects, such as ``"CHG ~ BASE + TRT01P * AVISIT"``.
    groups : str or list of str
        Column of the subjects; several, outer first, such as ``["SITEID", "USUBJID"]``: all have a
        random intercept, the last has the effects of `random`.
    random : str
        ``"1"`` random intercept, or ``"1 + TIME"`` intercept and slope.
    method : {"reml", "ml"}
    df : {"satterthwaite", "kenward-roger", "residual", "normal"}
        Kenward-Roger (REML only) also adjusts the covariance of the fixed effects.
    confidence : float
    correlated : bool
        Whether intercept and slopes are correlated; False is lme4's ``(1 + TIME || USUBJID)``.

    Returns
    -------
    MixedFit
        ``.coefficients`` (term estimate se df statistic p ci_low ci_high),
        ``.random_covariance``, ``.varcorr``, ``.residual_variance``, ``.emmeans(...)``,
        ``.contrasts(...)``, ``.test(L)``, ``.type3()``, ``.random_effects()``,
        ``.random_effects_test()``, ``.loglik .aic .bic`` (lme4's conventions),
        ``.converged .singular .n_groups .n_observations``.

    Notes
    -----
    R: lme4::lmer with lmerTest, pbkrtest and emmeans; SAS: PROC MIXED with RANDOM, DDFM=
    SATTERTHWAITE or KR. statsmodels' MixedLM has the same estimates but neither degrees of freedom
    nor marginal means, hence the engine here. Factors: order of the categories, else sorted; the
    first level is the reference. A singular fit is a warning and ``.singular``.
    """
    who = "mixed_model"
    require_choice(method, ("reml", "ml"), "method", who)
    require_choice(df, DF, "df", who)
    require_confidence(confidence, who)
    if df == "kenward-roger" and method == "ml":
        raise ValueError(f"{who}: df 'kenward-roger' is defined for method 'reml' only")
    groups = listed(groups)
    if not groups or len(set(groups)) < len(groups):
        raise ValueError(f"{who}: groups {groups!r} must name different columns")
    design = FormulaDesign(data, formula, extra=[*groups, *slope_names(random, who)], who=who)
    refuse_lost(data, design, who)
    terms = random_terms(design.rows, groups, random, correlated, who)
    try:
        fit = MixedFit(design, design.response, terms, method == "reml", df, confidence)
    except ValueError as error:
        raise ValueError(f"{who} {formula!r}: {error}") from error
    if fit.dropped:
        warnings.warn(f"{who}: {', '.join(fit.dropped)} is aliased and left out", stacklevel=2)
    if fit.singular:
        named = ", ".join(dict.fromkeys(fit.model.singular))
        warnings.warn(
            f"{who}: singular fit, the covariance of the effects of {named} has no full rank",
            stacklevel=2,
        )
    if not fit.converged:
        warnings.warn(f"{who}: the optimiser did not converge", stacklevel=2)
    return fit
