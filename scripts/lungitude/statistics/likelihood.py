"""Likelihood of repeated measures with a marginal covariance: value, gradient, Hessian, optimum.

Patients of one group with the same visits share a covariance matrix. All that the likelihood and
its derivatives need of them are the cross products of their rows, summed once over the patients
of such a pattern; afterwards nothing costs more with more patients.

With V the covariance, ``P = V^-1 - V^-1 X C X' V^-1``, ``C = (X' V^-1 X)^-1``, ``r = y - X beta``
and ``V_a`` a derivative by a parameter (Harville 1977, JASA 72:320; Jennrich & Schluchter 1986)::

    -2 l      = log|V| + r' V^-1 r + log|X' V^-1 X| + (n - k) log(2 pi)      (REML)
    -2 l_a    = tr(P V_a) - r' V^-1 V_a V^-1 r
    -2 l_ab   = tr(P V_ab) - tr(P V_a P V_b) - y' P V_ab P y + 2 y' P V_a P V_b P y

ML drops ``log|X' V^-1 X|`` and puts ``V^-1`` for P in the traces.
"""

from dataclasses import dataclass

import numpy as np

CACHED = 32_000_000  # products that are kept, in numbers of 8 bytes; beyond, made anew at each use
CHUNK = 4_000_000  # numbers in the largest array of a step
STEPS = 100
LONGEST = 1.5  # step of a parameter, of its size or of 1
DECREMENT = 1e-18  # of Newton's method: twice the log likelihood that is still to gain
FLAT = 1e-13  # curvature, of the largest, below which a direction has none
SINGULAR = 1e-10  # smallest eigenvalue of a correlation matrix


class SingularCovarianceError(ValueError):
    """A covariance that the data cannot determine or that has no full rank."""


class NoVariationError(ValueError):
    """A response that the fixed effects explain wholly."""


@dataclass
class State:
    """Likelihood at a parameter; matrices are those of the orthonormal, scaled problem."""

    loglik: float
    beta: np.ndarray
    c: np.ndarray
    gradient: np.ndarray = None
    hessian: np.ndarray = None
    slopes: np.ndarray = None  # X' V^-1 V_a V^-1 X, (q, k, k)


class Chunk:
    """Patterns of one group: masks (p, m), counts, and sums of cross products of their patients."""

    def __init__(self, rows, starts, masks, where):
        self.rows, self.masks, self.where = rows, masks, where  # rows (patients, m, k + 1)
        self.starts = starts
        self.counts = np.diff(np.r_[starts, len(rows)]).astype(float)
        m = masks.shape[1]
        both = masks[:, :, None] & masks[:, None, :]
        self.both, self.pad = both, np.eye(m) * ~masks[:, None, :]
        self.index = np.nonzero(both & np.triu(np.ones((m, m), dtype=bool)))
        self.half = np.where(self.index[1] == self.index[2], 1.0, 0.5)
        self._kept = None

    def products(self, keep):
        """Sum over patients ``x_j x_k' + x_k x_j'`` (once for j = k), upper triangles."""
        if self._kept is not None:
            return self._kept
        m, width = self.rows.shape[1:]
        upper = np.triu_indices(width)
        ends = np.r_[self.starts[1:], len(self.rows)]
        found = np.empty((len(self.index[0]), len(upper[0])))
        first = np.searchsorted(self.index[0], np.arange(len(self.masks) + 1))
        for p, (start, end) in enumerate(zip(self.starts, ends, strict=True)):
            wide = self.rows[start:end].reshape(end - start, m * width)
            gram = (wide.T @ wide).reshape(m, width, m, width)
            part = slice(first[p], first[p + 1])
            j, k = self.index[1][part], self.index[2][part]
            block = gram[j, :, k, :]
            block = block + block.transpose(0, 2, 1)
            block[j == k] /= 2
            found[part] = block[:, upper[0], upper[1]]
        if keep:
            self._kept = found
        return found

    def spread(self, values):
        """Put values of the pairs (j <= k) of the patterns into symmetric matrices (p, m, m)."""
        found = np.zeros(self.both.shape)
        found[self.index] = values
        found[self.index[0], self.index[2], self.index[1]] = values
        return found


class Likelihood:
    """Restricted or full likelihood of ``y ~ N(X beta, V)``, V block diagonal over patients.

    Parameters
    ----------
    matrix : ndarray (n, k)
        Full column rank.
    response : ndarray (n,)
    subjects, positions : ndarray of int (n,)
        Codes of the patients, and of the visit of each row; a pair occurs once.
    structures : list of Structure
        One for each group of patients.
    groups : ndarray of int (patients,), optional
    coordinates : ndarray (patients, m), optional
        For a spatial structure, made by ``structures[0](distances of the patterns)``.
    weights : ndarray (n,), optional
        The covariance of two rows is divided by the root of the product of their weights.
    reml : bool
    """

    def __init__(
        self,
        matrix,
        response,
        subjects,
        positions,
        structures,
        groups=None,
        coordinates=None,
        weights=None,
        reml=True,
    ):
        self.n, self.k = matrix.shape
        self.reml = reml
        root = np.ones(self.n) if weights is None else np.sqrt(weights)
        self._constant = float(np.log(root).sum())
        # An orthonormal design and a response of unit scale: cross products lose no digits.
        basis, upper = np.linalg.qr(matrix * root[:, None])
        scaled = response * root
        first = basis.T @ scaled
        rest = scaled - basis @ first
        rest -= basis @ (basis.T @ rest)
        self.scale = float(np.sqrt(rest @ rest / max(self.n - self.k, 1)))
        if not self.scale > 1e-10 * max(1e-300, float(np.abs(scaled).max())):
            raise NoVariationError("no variation of the response beyond the fixed effects")
        self._inverse, self._first = np.linalg.inv(upper), first
        self._jacobian = float(np.log(np.abs(np.diag(upper))).sum())
        self.n_subjects = int(subjects.max()) + 1
        self.m = int(positions.max()) + 1 if coordinates is not None else structures[0].m
        rows = np.zeros((self.n_subjects, self.m, self.k + 1))
        rows[subjects, positions] = np.column_stack([basis, rest / self.scale])
        mask = np.zeros((self.n_subjects, self.m), dtype=bool)
        mask[subjects, positions] = True
        groups = np.zeros(self.n_subjects, dtype=int) if groups is None else groups
        key = [groups[:, None].astype(float), mask.astype(float)]
        if coordinates is not None:
            key.append(np.where(mask[..., None], coordinates, 0.0).reshape(self.n_subjects, -1))
        patterns, pattern = np.unique(np.hstack(key), axis=0, return_inverse=True)
        pattern = pattern.ravel()
        order = np.argsort(pattern, kind="stable")
        # Where each row of the data has gone, for what is done patient by patient.
        self.order, self.pattern = order, pattern[order]
        self.rows, self.mask, self.groups = rows[order], mask[order], groups[order]
        if coordinates is not None:
            each = patterns[:, 1 + self.m :].reshape(len(patterns), self.m, -1)
            distance = np.linalg.norm(each[:, :, None] - each[:, None, :], axis=-1)
            structures = [structures[0](distance)]
        self.structures = structures
        self.sizes = [s.n_parameters for s in structures]
        self.offsets = np.r_[0, np.cumsum(self.sizes)]
        self._upper = np.triu_indices(self.k + 1)
        self._twice = np.where(self._upper[0] == self._upper[1], 1.0, 2.0)
        self._divide(patterns)

    def _divide(self, patterns):
        starts = np.searchsorted(self.pattern, np.arange(len(patterns)))
        masks = patterns[:, 1 : 1 + self.m] > 0
        width = len(self._upper[0])
        pairs = masks.sum(axis=1) * (masks.sum(axis=1) + 1) // 2
        self.keep = int(pairs.sum()) * width <= CACHED
        self.chunks, owner = [], patterns[:, 0].astype(int)
        for g, size in enumerate(self.sizes):
            cost = np.maximum(pairs * width, 3 * size * self.m**2)
            mine = np.flatnonzero(owner == g)
            part = np.cumsum(cost[mine]) // CHUNK if len(mine) else np.array([])
            for index in np.unique(part):
                which = mine[part == index]
                begin = starts[which[0]]
                end = starts[which[-1] + 1] if which[-1] + 1 < len(starts) else self.n_subjects
                rows = self.rows[begin:end]
                self.chunks.append((g, Chunk(rows, starts[which] - begin, masks[which], which)))

    def _covariances(self, g, chunk, values):
        """Pick the patterns of a chunk from what a structure gave; missing visits are identity."""
        own = values[chunk.where] if self.structures[g].spatial else values[None]
        return np.where(chunk.both, own, 0.0) + chunk.pad

    def _roots(self, g, chunk, values):
        """Inverse Cholesky factors (p, m, m) of the patterns and the log determinants."""
        lower = np.linalg.cholesky(self._covariances(g, chunk, values))
        diagonal = np.diagonal(lower, axis1=1, axis2=2)
        return np.linalg.inv(lower), 2 * np.log(diagonal).sum(axis=1)

    def inverse(self, g, chunk, values):
        """Inverses (p, m, m), 0 at missing visits."""
        half, _ = self._roots(g, chunk, values)
        inverse = half.transpose(0, 2, 1) @ half
        inverse[~chunk.both] = 0.0
        return inverse

    def whitened(self, theta):
        """Rows (patients, m, k + 1) in the metric of V, in the order of `order`."""
        found = np.empty_like(self.rows)
        for g, chunk in self.chunks:
            half, _ = self._roots(g, chunk, self.structures[g].value(self.split(theta)[g]))
            begin = np.searchsorted(self.pattern, chunk.where[0])
            each = np.repeat(np.arange(len(chunk.masks)), chunk.counts.astype(int))
            found[begin : begin + len(chunk.rows)] = half[each] @ chunk.rows
        return found

    def _pack(self, matrix):
        return matrix[self._upper] * self._twice

    def unpack(self, packed):
        """Upper triangles (..., width) as symmetric matrices (..., k + 1, k + 1)."""
        found = np.empty((*packed.shape[:-1], self.k + 1, self.k + 1))
        found[..., self._upper[0], self._upper[1]] = packed
        found[..., self._upper[1], self._upper[0]] = packed
        return found

    def split(self, theta):
        """Parameters of each group."""
        return [theta[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def at(self, theta, order=2):
        """Likelihood at `theta` with derivatives up to `order`; None where V is not definite."""
        parts = self.split(theta)
        total, logdet, inverses = np.zeros(len(self._upper[0])), 0.0, []
        with np.errstate(over="ignore", invalid="ignore"):
            found = [
                (s.value(t), None) if order == 0 else s.slopes(t)
                for s, t in zip(self.structures, parts, strict=True)
            ]
        if not all(np.isfinite(value).all() for value, _ in found):
            return None
        for g, chunk in self.chunks:
            try:
                half, logs = self._roots(g, chunk, found[g][0])
            except np.linalg.LinAlgError:
                return None
            inverse = half.transpose(0, 2, 1) @ half
            inverse[~chunk.both] = 0.0
            inverses.append(inverse)
            logdet += chunk.counts @ logs
            total += inverse[chunk.index] @ chunk.products(self.keep)
        whole = self.unpack(total)
        information, cross = whole[:-1, :-1], whole[:-1, -1]
        try:
            lower = np.linalg.cholesky(information)
        except np.linalg.LinAlgError:
            return None
        half = np.linalg.inv(lower)
        c = half.T @ half
        beta = c @ cross
        free = self.n - self.k if self.reml else self.n
        value = logdet + whole[-1, -1] - cross @ beta + free * np.log(2 * np.pi)
        value += 2 * free * np.log(self.scale)
        if self.reml:
            value += 2 * np.log(np.diag(lower)).sum() + 2 * self._jacobian
        state = State(-0.5 * float(value) + self._constant, beta, c)
        if order:
            self._derive(state, parts, found, inverses, order)
        return state

    def _derive(self, state, parts, found, inverses, order):
        residual = np.r_[-state.beta, 1.0]
        outer = np.outer(residual, residual)
        if self.reml:
            outer[:-1, :-1] += state.c
        outer = self._pack(outer)
        q = self.offsets[-1]
        state.gradient, hessian = np.zeros(q), np.zeros((q, q))
        slopes = np.zeros((q, len(self._upper[0])))
        scores = [np.zeros_like(value) for value, _ in found]
        for (g, chunk), inverse in zip(self.chunks, inverses, strict=True):
            products = chunk.products(self.keep)
            own = slice(self.offsets[g], self.offsets[g + 1])
            counts = chunk.counts[:, None, None]
            spread = chunk.spread((products @ outer) * chunk.half)
            bent = inverse @ spread @ inverse
            score = counts * inverse - bent
            spatial = self.structures[g].spatial
            derivative = found[g][1][chunk.where] if spatial else found[g][1][None]
            if spatial:
                scores[g][chunk.where] = score
            else:
                scores[g] += score.sum(axis=0)
            if order < 2:
                continue
            patterns, size = len(inverse), self.sizes[g]
            left = inverse[:, None] @ derivative  # V^-1 V_a
            ahead = left @ inverse[:, None]
            slopes[own] += ahead[chunk.index[0], :, chunk.index[1], chunk.index[2]].T @ products
            right = derivative @ (2 * bent - counts * inverse)[:, None]  # V_b H
            left = left.transpose(1, 0, 3, 2).reshape(size, -1)  # (V_a V^-1)_ij at (p, i, j)
            right = np.broadcast_to(right, (patterns, *right.shape[1:]))
            right = right.transpose(1, 0, 3, 2).reshape(size, -1)
            hessian[own, own] += left @ right.T
        for g, (_, derivative) in enumerate(found):
            own = slice(self.offsets[g], self.offsets[g + 1])
            axes = "paij,pij->a" if self.structures[g].spatial else "aij,ij->a"
            state.gradient[own] = -0.5 * np.einsum(axes, derivative, scores[g])
            if order == 2:
                hessian[own, own] += self.structures[g].curvature(parts[g], scores[g])
        if order < 2:
            return
        slopes = self.unpack(slopes)
        state.slopes = slopes[:, :-1, :-1]
        along = slopes[:, :-1, -1] - state.slopes @ state.beta  # X' V^-1 V_a V^-1 r
        hessian -= 2 * along @ state.c @ along.T
        if self.reml:
            half = np.linalg.cholesky(state.c)
            inner = (half.T @ state.slopes @ half).reshape(q, -1)
            hessian -= inner @ inner.T
        state.hessian = -0.25 * (hessian + hessian.T)

    def moments(self):
        """Covariance of the least-squares residuals by pairs of visits, made definite."""
        residual = self.rows[:, :, -1]
        mask = self.mask.astype(float)
        pairs = mask.T @ mask
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(pairs > 0, residual.T @ residual / pairs, 0.0)
        variance = np.maximum(np.diag(found), 1e-6)
        deviation = np.sqrt(variance)
        found = found / np.outer(deviation, deviation)
        np.fill_diagonal(found, 1.0)
        for shrink in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0):
            trial = found * shrink + (1 - shrink) * np.eye(self.m)
            if np.linalg.eigvalsh(trial)[0] > 0.05:
                break
        return trial * np.outer(deviation, deviation)

    def maximise(self, theta=None):
        """Newton's method with the observed information from `theta` or the moments.

        Returns
        -------
        ndarray, State, bool
            Parameters, state with derivatives, and whether the optimum was found.

        Raises
        ------
        SingularCovarianceError
            When the covariance runs to the boundary.
        """
        if theta is not None:
            return self._climb(theta)
        best, faults = None, []
        moments = self.moments()
        # Correlations by lag and of neighbours can have several maxima: a second start without any.
        for start in (moments, np.diag(np.diag(moments))):
            try:
                found = self._climb(np.concatenate([s.start(start) for s in self.structures]))
            except SingularCovarianceError as error:
                faults.append(error)
                continue
            if best is None or (found[2], found[1].loglik) > (best[2], best[1].loglik + 1e-8):
                best = found
            if self.structures[0].name == "us":
                break
        if best is None:
            raise faults[0]
        return best

    def _climb(self, theta):
        state = self.at(theta)
        if state is None:
            raise SingularCovarianceError("no definite covariance to start from")
        for _ in range(STEPS):
            values, vectors = np.linalg.eigh(-state.hessian)
            largest = np.abs(values).max()
            # A saddle or a plateau: the same step length in every direction, uphill.
            firm = np.maximum(np.abs(values), FLAT * largest)
            along = vectors.T @ state.gradient
            decrement = float(along**2 @ (1 / firm))
            if decrement < DECREMENT * max(1.0, abs(state.loglik)):
                return theta, state, bool(values[0] > 1e-9 * largest)
            step = vectors @ (along / firm)
            reach = LONGEST * np.maximum(1.0, np.abs(theta))
            step *= min(1.0, float((reach / np.maximum(np.abs(step), 1e-300)).min()))
            for _ in range(30):
                trial = self.at(theta + step)
                # At the optimum rounding hides the gain: a tie is taken as it is.
                if trial is not None and trial.loglik > state.loglik - 1e-11 * abs(state.loglik):
                    break
                step = step / 2
            else:
                break
            if decrement < 1e-12 and trial.loglik <= state.loglik:
                small = np.abs(trial.gradient).max() >= np.abs(state.gradient).max()
                if small:  # rounding error is all that is left
                    return theta, state, bool(values[0] > 1e-9 * largest)
            theta, state = theta + step, trial
            self._refuse_singular(theta)
        return theta, state, False

    def _refuse_singular(self, theta):
        for structure, part in zip(self.structures, self.split(theta), strict=True):
            value = structure.value(part)
            deviation = np.sqrt(np.diagonal(value, axis1=-2, axis2=-1))
            if structure.spatial:
                continue
            if not (deviation > 1e-8).all():
                raise SingularCovarianceError("a variance runs to 0")
            smallest = np.linalg.eigvalsh(value / np.outer(deviation, deviation))[0]
            if smallest < SINGULAR:
                raise SingularCovarianceError("correlations of visits run to 1")

    def coefficients(self, state):
        """Give the fixed effects and their covariance in the units of the data."""
        back = self._inverse * self.scale
        return self._inverse @ (self._first + self.scale * state.beta), back @ state.c @ back.T

    def orthonormal(self, rows):
        """Rows over the coefficients as rows over those of the orthonormal, scaled problem."""
        return rows @ self._inverse * self.scale

    def back(self, matrices):
        """Covariances of the fixed effects (..., k, k) in the units of the data."""
        back = self._inverse * self.scale
        return back @ matrices @ back.T
