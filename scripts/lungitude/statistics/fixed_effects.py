"""Covariance of the fixed effects of an MMRM: Kenward-Roger's adjustment and the sandwich."""

import numpy as np


def adjusted(likelihood, theta, state, spread, second):
    """Kenward & Roger's covariance of the fixed effects, in the likelihood's own basis.

    Parameters
    ----------
    likelihood, theta, state
        Of the REML optimum.
    spread : ndarray (q, q)
        Covariance W of the covariance parameters.
    second : bool
        With second derivatives of V (eq. 2.4 of Kenward & Roger 1997), or without (linear).

    Notes
    -----
    Only the sum over pairs of parameters ``sum W_ab X' V^-1 V_a V^-1 V_b V^-1 X`` is needed, and
    it is one product of a matrix a pattern with the cross products: a fit by Kenward-Roger costs
    hardly more than one by Satterthwaite.
    """
    parts = likelihood.split(theta)
    total = 0.0
    for g, chunk in likelihood.chunks:
        structure = likelihood.structures[g]
        own = slice(likelihood.offsets[g], likelihood.offsets[g + 1])
        weight = spread[own, own]
        value, slopes = structure.slopes(parts[g])
        inverse = likelihood.inverse(g, chunk, value)
        slopes = slopes[chunk.where] if structure.spatial else slopes[None]
        mixed = np.einsum("ab,pbij->paij", weight, slopes)
        # sum_ab W_ab V_a V^-1 V_b; rows and columns of missing visits die in the outer inverses
        inner = np.einsum("paij,pajk->pik", slopes @ inverse[:, None], mixed, optimize=True)
        if second:
            curved = structure.curved(parts[g], weight)
            inner = inner - 0.25 * (curved[chunk.where] if structure.spatial else curved)
        weights = (inverse @ inner @ inverse)[chunk.index]
        total = total + weights @ chunk.products(likelihood.keep)
    q = likelihood.unpack(total)[:-1, :-1]
    c, slopes = state.c, state.slopes
    pairs = np.einsum("ab,aij,jk,bkl->il", spread, slopes, c, slopes, optimize=True)
    return c + 2 * c @ (q - pairs) @ c


class Sandwich:
    """Empirical covariance of the fixed effects and its df.

    CR0 of Liang & Zeger 1986; ``empirical-bias-reduced`` is CR2 and ``empirical-jackknife`` CR3
    (Bell & McCaffrey 2002): residuals of a patient times ``(I - H)^-1/2`` and ``(I - H)^-1`` in the
    metric of the model. The df are Bell & McCaffrey's, of the working model.
    """

    def __init__(self, likelihood, theta, state, kind):
        rows = likelihood.whitened(theta)  # (patients, m, k + 1), V is now the identity
        x, c = rows[:, :, :-1], state.c
        residual = rows[:, :, -1] - x @ state.beta
        if kind != "empirical":
            rest = np.eye(x.shape[1]) - x @ c @ x.transpose(0, 2, 1)
            values, vectors = np.linalg.eigh(rest)
            good = values > 1e-10
            power = -1.0 if kind == "empirical-jackknife" else -0.5
            root = np.where(good, np.where(good, values, 1.0) ** power, 0.0)
            adjust = (vectors * root[:, None, :]) @ vectors.transpose(0, 2, 1)
            x_adjusted = adjust @ x
        else:
            x_adjusted = x
        self._x, self._adjusted, self._c = x, x_adjusted, c
        score = np.einsum("sik,si->sk", x_adjusted, residual)
        self.vcov = c @ score.T @ score @ c

    def df(self, rows):
        """Degrees of freedom of functions (r, k) of the coefficients of the orthonormal basis."""
        root = np.linalg.cholesky(self._c)
        found = []
        for row in rows:
            a = self._adjusted @ (self._c @ row)
            own = np.einsum("si,si->s", a, a)
            cross = np.einsum("sik,si->sk", self._x, a) @ root
            lost = np.einsum("sk,sk->s", cross, cross)
            trace = (own - lost).sum()
            gram = cross.T @ cross
            square = own @ own - 2 * own @ lost + (gram**2).sum()
            found.append(trace**2 / square)
        return np.array(found)
