"""Variance components of two crossed factors with missing cells, by REML."""

import numpy as np
from scipy import optimize

STEP = 1e-30  # of complex-step differentiation: no cancellation, so as small as one likes


def crossed_components(table):
    """Variances of rows, columns and residual in ``y = mean + row + column + error``.

    Parameters
    ----------
    table : ndarray (n, k)
        NaN where missing; each row and each column has a value.

    Returns
    -------
    tuple of float
        Variance of the rows, of the columns, and of the error, in the squared unit of `table`.

    Raises
    ------
    ValueError
        When the error is not estimable beside rows and columns, or is nil.

    Notes
    -----
    As ``lme4::lmer(y ~ 1 + (1 | row) + (1 | column))``. The package's `RandomEffects` has one
    grouping, and the variance components of statsmodels need dense matrices of n k rows and stop
    at 4 digits. Here rows are removed in closed form and a matrix of k by k is left. With complete
    data and no negative estimate this is the analysis of variance.
    """
    known = ~np.isnan(table)
    n, k = table.shape
    total = int(known.sum())
    if total <= n + k - 1:
        raise ValueError(f"{total} ratings of {n} targets by {k} raters leave no residual")
    mean, scale = table[known].mean(), table[known].std()
    y = np.where(known, (table - mean) / scale, 0.0)
    here = known.astype(float)
    # Columns: mean, one for each column of the table, response. Sums of each row, and products.
    sums = np.column_stack([known.sum(axis=1), here, y.sum(axis=1)])
    columns = here.sum(axis=0)
    products = np.zeros((k + 2, k + 2))
    products[0] = products[:, 0] = np.r_[total, columns, y.sum()]
    products[1:-1, 1:-1] = np.diag(columns)
    products[-1] = products[:, -1] = np.r_[y.sum(), y.sum(axis=0), np.sum(y**2)]
    ends = np.ix_([0, k + 1], [0, k + 1])

    def terms(roots):
        row, column = roots[0] ** 2, roots[1] ** 2
        inner = 1 + row * sums[:, 0]
        left = products - (sums * (row / inner)[:, None]).T @ sums
        core = np.eye(k) + column * left[1:-1, 1:-1]
        cross = left[1:-1][:, [0, k + 1]]
        left = left[ends] - column * cross.T @ np.linalg.solve(core, cross)
        phase, size = np.linalg.slogdet(core)
        log_det = np.sum(np.log(inner)) + np.log(phase) + size + np.log(left[0, 0])
        return log_det, (left[1, 1] - left[0, 1] ** 2 / left[0, 0]) / (total - 1)

    def deviance(roots):
        log_det, residual = terms(roots)
        return log_det + (total - 1) * np.log(residual)

    def gradient(roots):
        moved = roots + 1j * STEP * np.eye(2)
        return np.array([np.imag(deviance(one)) / STEP for one in moved])

    # In roots of the ratios to the error variance the boundary at 0 is an inner point.
    found = optimize.minimize(deviance, [1.0, 0.5], jac=gradient, method="BFGS").x
    polished = optimize.root(gradient, found, tol=1e-13).x
    if deviance(polished) <= deviance(found) + 1e-9:
        found = polished
    residual = float(terms(found)[1])
    if not residual > 1e-12:
        raise ValueError("the ratings have no variation beside that of targets and raters")
    row, column = (float(root**2 * residual * scale**2) for root in found)
    return row, column, residual * scale**2
