"""Correlated normal scores: moment-matched draws and correlation matrices that meet targets."""

import numpy as np


def stacked(rng, groups, columns):
    """Draw normal scores whose sample moments are exact where there are enough rows.

    Parameters
    ----------
    rng : numpy.random.Generator
    groups : ndarray of int, (n,)
        Group of each row.
    columns : int

    Returns
    -------
    ndarray, (n, columns)
        Mean 0 in each group, and sample covariance 1 over all rows, so that a cohort shows the
        planted means, SDs and correlations without sampling error of its own; nothing is matched
        within other groupings, such as arms. With few rows (fewer than columns + groups + 20) the
        plain draws.
    """
    n, members = len(groups), np.unique(groups)
    scores = rng.standard_normal((n, columns))
    if n < columns + len(members) + 20:
        return scores
    for member in members:
        scores[groups == member] -= scores[groups == member].mean(axis=0)
    covariance = scores.T @ scores / (n - len(members))
    return np.linalg.solve(np.linalg.cholesky(covariance), scores.T).T


def nearest(matrix, fixed=None, floor=0.05, rounds=60):
    """Return a correlation matrix with eigenvalues above `floor`, close to `matrix`.

    Parameters
    ----------
    matrix : ndarray, (k, k)
        Symmetric, unit diagonal; need not be positive definite.
    fixed : ndarray of bool, (k, k), optional
        Entries to hold while the others give way; None holds all of them as well as can be.
    floor : float
        Smallest eigenvalue before the diagonal is scaled back to 1.
    rounds : int
        Alternating projections.

    Returns
    -------
    ndarray, (k, k)
        Exactly positive definite; fixed entries are met when such a matrix exists, else nearly.
    """
    held = np.ones(matrix.shape, dtype=bool)
    if fixed is not None:
        held = fixed | np.eye(len(matrix), dtype=bool)
    found = matrix
    for _ in range(rounds):
        found = _clipped(np.where(held, matrix, found), floor)
    return found


def _clipped(matrix, floor):
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    positive = (vectors * np.maximum(values, floor)) @ vectors.T
    size = np.sqrt(np.diag(positive))
    return positive / np.outer(size, size)


def solve(start, fixed, pairs, targets, measure, rounds=12, gain=0.9, limit=0.97):
    """Find the residual correlations with which the measured ones meet their targets.

    Parameters
    ----------
    start : ndarray, (k, k)
        Residual correlations given as they are; 0 where nothing is given.
    fixed : ndarray of bool, (k, k)
        Which entries of `start` are given.
    pairs : list of (int, int, float)
        For each target the entry to move, and the sign and size of its effect on the measured one.
    targets : ndarray, (len(pairs),)
    measure : callable
        Takes a residual matrix, returns the measured correlations, in the order of `pairs`.
    rounds, gain, limit
        Steps, step size, and bound of a residual correlation.

    Returns
    -------
    ndarray, (k, k)
        Positive definite.
    """
    wanted, held = start.copy(), fixed.copy()
    for i, j, _ in pairs:
        held[i, j] = held[j, i] = True
    found = nearest(wanted, held)
    for _ in range(rounds):
        missing = targets - measure(found)
        for (i, j, size), gap in zip(pairs, missing, strict=True):
            value = float(np.clip(wanted[i, j] + gain * gap / size, -limit, limit))
            wanted[i, j] = wanted[j, i] = value
        found = nearest(wanted, held)
    return found
