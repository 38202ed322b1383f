"""Covariance structures of repeated measures, with first and second derivatives.

Parametrised as R's mmrm does it (so that its second-derivative Kenward-Roger can be had): every
structure is ``S_ij = exp(a_i + a_j) R_ij(psi)`` with ``a`` the log standard deviations (one, or one
a visit). Correlations are ``x / sqrt(1 + x^2)`` of an unbounded x; that of compound symmetry is
logistic between its bounds, -1/(m - 1) and 1.

References
----------
mmrm 0.3 vignette "Covariance structures"; SAS PROC MIXED TYPE= names in `STRUCTURES`.
"""

import numpy as np

CLIP = 0.95  # of correlations at the start of a fit


def _correlation(x):
    """Return rho(x), its first and second derivative."""
    scale = 1 / np.sqrt(1 + x**2)
    return x * scale, scale**3, -3 * x * scale**5


def _unbounded(rho):
    return rho / np.sqrt(1 - rho**2)


def _exchangeable(x, m):
    """Return the common correlation of `m` visits, its first and second derivative."""
    low, share = 1 / (m - 1), 1 / (1 + np.exp(-x))
    slope = (1 + low) * share * (1 - share)
    return (1 + low) * share - low, slope, slope * (1 - 2 * share)


class Structure:
    """A covariance of `m` visits.

    Parameters
    ----------
    m : int
    name : str
        One of `STRUCTURES`.
    """

    spatial = False

    def __init__(self, m, name):
        self.m, self.name = m, name
        self.heterogeneous = name in ("us", "toeph", "ar1h", "adh", "csh") and m > 1
        self.scales = m if self.heterogeneous or name == "us" else 1
        self.shapes = {
            "us": m * (m - 1) // 2,
            "toep": m - 1,
            "ad": m - 1,
            "ar1": min(1, m - 1),
            "cs": min(1, m - 1),
        }[name if name == "us" else name.rstrip("h")]
        self.n_parameters = self.scales + self.shapes
        self._lag = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
        self._lower = np.tril_indices(m, -1)  # row by row, as mmrm orders them
        if self.scales == 1:
            self._exponent = np.full((1, m, m), 2.0)
        else:
            each = np.eye(m)
            self._exponent = each[:, :, None] + each[:, None, :]

    def _shape(self, psi, order):
        """R and its derivatives: (m, m), (r, m, m), (r, r, m, m)."""
        m, r, lag = self.m, self.shapes, self._lag
        if self.name == "us":
            lower = np.eye(m)
            lower[self._lower] = psi
            value = lower @ lower.T
            if order == 0:
                return value, None, None
            rows, columns = self._lower
            first = np.zeros((r, m, m))
            first[np.arange(r), rows] = lower[:, columns].T
            first = first + first.transpose(0, 2, 1)
            return value, first, None  # the second derivatives are 0 or 1: see curvature
        first, second = np.zeros((r, m, m)), np.zeros((r, r, m, m))
        kind, psi = self.name.rstrip("h"), np.asarray(psi, dtype=float)
        if m == 1:
            return np.ones((1, 1)), first, second
        rho, slope, bend = _exchangeable(psi, m) if kind == "cs" else _correlation(psi)
        if kind == "cs":
            value = np.where(lag == 0, 1.0, rho[0])
            first[0] = lag > 0
        elif kind == "ar1":
            value = rho[0] ** lag
            first[0] = np.where(lag > 0, lag * rho[0] ** np.maximum(lag - 1, 0), 0)
            second[0, 0] = np.where(lag > 1, lag * (lag - 1) * rho[0] ** np.maximum(lag - 2, 0), 0)
        elif kind == "toep":
            value = np.r_[1.0, rho][lag]
            first = np.equal.outer(np.arange(1, m), lag).astype(float)
        else:  # ante-dependence: products of neighbours' correlations, without one or two of them
            value = _chain(rho, m, ())
            for a in range(r):
                first[a] = _chain(rho, m, (a,))
                for b in range(a):
                    second[a, b] = second[b, a] = _chain(rho, m, (a, b))
        # by x, not by rho
        second = second * np.multiply.outer(slope, slope)[:, :, None, None]
        for a in range(r):
            second[a, a] += bend[a] * first[a]
        return value, first * slope[:, None, None], second

    def value(self, theta):
        """Covariance (m, m)."""
        scale = np.exp(np.einsum("a,aij->ij", theta[: self.scales], self._exponent))
        return scale * self._shape(theta[self.scales :], 0)[0]

    def slopes(self, theta):
        """Covariance (m, m) and its derivatives (q, m, m)."""
        scale = np.exp(np.einsum("a,aij->ij", theta[: self.scales], self._exponent))
        shape, first, _ = self._shape(theta[self.scales :], 1)
        value = scale * shape
        return value, np.concatenate([self._exponent * value, scale * first])

    def curvature(self, theta, weight):
        """Second derivatives times `weight` (m, m), summed: (q, q)."""
        scale = np.exp(np.einsum("a,aij->ij", theta[: self.scales], self._exponent))
        shape, first, second = self._shape(theta[self.scales :], 2)
        k, e = self.scales, self._exponent
        found = np.empty((self.n_parameters, self.n_parameters))
        weighted = scale * weight
        found[:k, :k] = np.einsum("aij,bij,ij->ab", e, e, weighted * shape, optimize=True)
        found[:k, k:] = np.einsum("aij,rij,ij->ar", e, first, weighted, optimize=True)
        found[k:, :k] = found[:k, k:].T
        if self.name == "us":
            rows, columns = self._lower
            same = np.equal.outer(columns, columns)
            found[k:, k:] = np.where(same, (weighted + weighted.T)[np.ix_(rows, rows)], 0.0)
        else:
            found[k:, k:] = np.einsum("rsij,ij->rs", second, weighted)
        return found

    def curved(self, theta, weight):
        """Second derivatives weighted by (q, q) and summed: (m, m)."""
        scale = np.exp(np.einsum("a,aij->ij", theta[: self.scales], self._exponent))
        shape, first, second = self._shape(theta[self.scales :], 2)
        k, e = self.scales, self._exponent
        found = np.einsum("aij,bij,ab->ij", e, e, weight[:k, :k], optimize=True) * shape
        found += 2 * np.einsum("aij,rij,ar->ij", e, first, weight[:k, k:], optimize=True)
        if self.name == "us":
            rows, columns = self._lower
            a, b = np.nonzero(np.equal.outer(columns, columns))
            part = np.zeros((self.m, self.m))
            np.add.at(part, (rows[a], rows[b]), weight[k:, k:][a, b])
            found += part + part.T
        else:
            found += np.einsum("rsij,rs->ij", second, weight[k:, k:])
        return scale * found

    def start(self, moments):
        """Parameters near a covariance (m, m) of moments; it must be positive definite."""
        m = self.m
        variance = np.diag(moments)
        if self.name == "us":
            lower = np.linalg.cholesky(moments)
            diagonal = np.diag(lower)
            return np.r_[np.log(diagonal), (lower / diagonal[:, None])[self._lower]]
        if self.scales == m and m > 1:
            scales = np.log(variance) / 2
        else:
            scales = np.array([np.log(variance.mean()) / 2])
        if m == 1:
            return scales
        deviation = np.sqrt(variance)
        correlation = moments / np.outer(deviation, deviation)
        by_lag = np.array([np.diag(correlation, k).mean() for k in range(1, m)])
        kind = self.name.rstrip("h")
        rho = {
            "cs": np.array([correlation[self._lower].mean()]),
            "ar1": by_lag[:1],
            "toep": by_lag,
            "ad": np.diag(correlation, 1),
        }[kind]
        for shrink in (1.0, 0.7, 0.4, 0.1, 0.0):
            if kind == "cs":
                share = (np.clip(rho * shrink, -0.9 / (m - 1), CLIP) + 1 / (m - 1)) * (m - 1) / m
                psi = np.log(share / (1 - share))
            else:
                psi = _unbounded(np.clip(rho * shrink, -CLIP, CLIP))
            if np.linalg.eigvalsh(self._shape(psi, 0)[0])[0] > 1e-3:
                break
        return np.r_[scales, psi]


def _chain(rho, m, without):
    """R_ij as the product of rho_i to rho_(j-1) but those in `without`; 0 where they are absent."""
    kept = np.where(np.isin(np.arange(m - 1), without), 1.0, rho)
    found = np.zeros((m, m)) if without else np.eye(m)
    for i in range(m):
        for j in range(i + 1, m):
            if all(i <= a < j for a in without):
                found[i, j] = found[j, i] = np.prod(kept[i:j])
    return found


class SpatialExponential:
    """``S_ij = exp(a) rho^d_ij`` with rho logistic of its parameter; d: (patterns, m, m)."""

    spatial, name, n_parameters = True, "sp_exp", 2

    def __init__(self, distance):
        self.distance, self.m = distance, distance.shape[-1]

    def _rho(self, theta):
        rho = 1 / (1 + np.exp(-theta[1]))
        return rho, np.exp(theta[0]) * rho**self.distance

    def value(self, theta):
        """Covariances (patterns, m, m)."""
        return self._rho(theta)[1]

    def slopes(self, theta):
        """Covariances and their derivatives (patterns, 2, m, m)."""
        rho, value = self._rho(theta)
        return value, np.stack([value, self.distance * (1 - rho) * value], axis=1)

    def _second(self, theta):
        rho, value = self._rho(theta)
        slope = self.distance * (1 - rho)
        return np.array([[value, slope * value], [slope * value, (slope**2 - slope * rho) * value]])

    def curvature(self, theta, weight):
        """Second derivatives times `weight` (patterns, m, m), summed: (2, 2)."""
        return np.einsum("abpij,pij->ab", self._second(theta), weight)

    def curved(self, theta, weight):
        """Second derivatives weighted by (2, 2) and summed: (patterns, m, m)."""
        return np.einsum("abpij,ab->pij", self._second(theta), weight)

    def start(self, moments):
        """Parameters from the mean variance, with a correlation of 0.5 at the median distance."""
        far = self.distance[self.distance > 0]
        typical = float(np.median(far)) if far.size else 1.0
        rho = 0.5 ** (1 / typical)
        return np.array([np.log(np.diag(moments).mean()), np.log(rho / (1 - rho))])


STRUCTURES = {  # name: what SAS PROC MIXED calls it
    "us": "UN",
    "toep": "TOEP",
    "toeph": "TOEPH",
    "ar1": "AR(1)",
    "ar1h": "ARH(1)",
    "ad": "no equivalent (ANTE(1) with one variance)",
    "adh": "ANTE(1)",
    "cs": "CS",
    "csh": "CSH",
    "sp_exp": "SP(EXP)",
}
