"""Comparison of arms with a link function: checked rows, a design without aliases, strata."""

import warnings

import numpy as np
import pandas as pd
from scipy import optimize

from lungitude.statistics.ancova import NotEstimableError
from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.frames import (
    complete,
    is_factor,
    levels,
    numbers,
    require,
    with_reference,
)
from lungitude.statistics.linear import independent


def prepare(data, needed, arm, covariates, others, reference, who):
    """Check the columns of a comparison of arms and keep the complete rows.

    Parameters
    ----------
    data : DataFrame
    needed : sequence of str
        Numeric columns of the endpoint.
    arm : str
    covariates, others : sequence of str
        Covariates; columns of strata.
    reference : str or None
    who : str
        Name of the function for messages.

    Returns
    -------
    used : DataFrame
        Rows with a value in every column.
    arms : list
        The reference first.

    Raises
    ------
    ValueError
        For unknown columns, a column with two parts in the model, no complete row, an arm that
        no complete row has, one arm only.
    """
    columns = [*needed, arm, *covariates, *others]
    require(data, columns, who)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ValueError(f"{who}: {', '.join(twice)} has two parts in the model")
    used = complete(data, columns)
    if used.empty:
        raise ValueError(f"{who}: no row has all of {', '.join(columns)}")
    for name in [*needed, *(c for c in covariates if not is_factor(used[c]))]:
        numbers(used[name], name, who)
    arms = levels(used[arm])
    lost = [str(name) for name in levels(data[arm]) if name not in arms]
    if lost:
        raise ValueError(
            f"{who}: {arm} {', '.join(lost)} has no row with all of {', '.join(columns)}"
        )
    arms = with_reference(arms, reference, arm, who)
    if len(arms) < 2:
        raise ValueError(f"{who}: {arm!r} has one arm only, {arms[0]}")
    return used, arms


def zero_one(column, name, who):
    """Return a column of 0 and 1 as float64; anything else is refused."""
    values = numbers(column, name, who)
    wrong = sorted(set(values[~np.isin(values, (0, 1))]))
    if wrong:
        found = ", ".join(f"{value:g}" for value in wrong[:3])
        raise ValueError(f"{who}: column {name!r} must be 0 or 1 (found: {found})")
    return values


class ArmDesign:
    """Columns of arms and covariates without an aliased one.

    Parameters
    ----------
    rows : DataFrame
        Complete rows.
    arm : str
    arms : list
        Arms of the whole analysis, the reference first.
    covariates : sequence of str
    base : ndarray (n, s), optional
        Indicators of strata whose span counts as fitted: the intercept goes.

    Attributes
    ----------
    arms : list
        Arms that have rows.
    codes : ndarray (n,)
        Index of the arm of each row.
    matrix : ndarray (n, k)
    names : list of str
        As R writes them.
    terms : list of str
        Variable of each column; "" is the intercept.
    arm_columns : list of int
        Columns of the arms after the reference, in the order of `arms`.
    dropped : list of str
        Aliased nuisance terms.
    """

    def __init__(self, rows, arm, arms, covariates, base=None):
        present = set(rows[arm])
        if arms[0] not in present:
            raise NotEstimableError(f"{arm} {arms[0]}, the reference, has no row")
        self.arms = [name for name in arms if name in present]
        if len(self.arms) < 2:
            raise NotEstimableError(f"one arm only, {arms[0]}")
        self.codes = np.asarray(pd.Categorical(rows[arm], categories=self.arms).codes)
        self.design = ColumnDesign(rows, [arm, *covariates], {arm: self.arms})
        is_arm = np.array([term == (arm,) for term in self.design.terms])
        # Nuisance terms first: what is aliased among them goes, an aliased arm is an error.
        order = np.r_[np.flatnonzero(~is_arm), np.flatnonzero(is_arm)]
        base = np.empty((len(rows), 0)) if base is None else base
        found = independent(np.hstack([base, self.design.matrix[:, order]]))
        self.kept = sorted(order[i - base.shape[1]] for i in found if i >= base.shape[1])
        lost = [self.design.names[i] for i in np.flatnonzero(is_arm) if i not in self.kept]
        if lost:
            raise NotEstimableError(f"{', '.join(lost)} is aliased with the covariates")
        self.matrix = self.design.matrix[:, self.kept]
        self.names = [self.design.names[i] for i in self.kept]
        self.terms = ["".join(self.design.terms[i]) for i in self.kept]
        self.arm_columns = [self.kept.index(i) for i in np.flatnonzero(is_arm)]
        self.dropped = [
            name
            for i, name in enumerate(self.design.names)
            if i not in self.kept and self.design.terms[i]
        ]
        # A covariate that is constant as a factor has no column at all.
        self.dropped += [name for name, kept in self.design.factors.items() if len(kept) < 2]

    def with_arm(self, index):
        """Matrix with every row in the arm of that index."""
        matrix = self.matrix.copy()
        matrix[:, self.arm_columns] = 0.0
        if index:
            matrix[:, self.arm_columns[index - 1]] = 1.0
        return matrix

    def per_arm(self, **sums):
        """Columns n_arm, n_reference, and the sums of arrays by arm, one row a contrast."""
        table = {"contrast": [f"{name} - {self.arms[0]}" for name in self.arms[1:]]}
        for label, values in {"n": np.ones(len(self.codes), int), **sums}.items():
            total = np.array([values[self.codes == i].sum() for i in range(len(self.arms))])
            table[f"{label}_arm"] = total[1:]
            table[f"{label}_reference"] = total[0]
        return table


def unbounded(names, ordered, equal=None):
    """Name the coefficients that have no finite maximum of the likelihood.

    Parameters
    ----------
    names : list of str
        Columns; the first is the intercept.
    ordered : ndarray (m, k)
        Rows a of which a direction d that never lowers the likelihood has a d >= 0.
    equal : ndarray (l, k), optional
        Rows with a d = 0.

    Returns
    -------
    list of str
        Empty when the maximum is finite.

    Notes
    -----
    Linear programmes of Konis (2007, thesis, Oxford, section 4.1), as in R's
    ``detectseparation::detect_separation``.
    """
    stacked = ordered if equal is None else np.vstack([ordered, equal])
    scale = np.abs(stacked).max(axis=0)
    scale[scale == 0] = 1.0
    kwargs = {"A_ub": -ordered / scale, "b_ub": np.zeros(len(ordered)), "bounds": (-1, 1)}
    if equal is not None and len(equal):
        kwargs |= {"A_eq": equal / scale, "b_eq": np.zeros(len(equal))}
    if -optimize.linprog(-(ordered / scale).sum(axis=0), **kwargs).fun < 1e-7:
        return []
    found = []
    for index, name in enumerate(names[1:], start=1):
        goal = np.zeros(len(names))
        for goal[index] in (1.0, -1.0):
            if -optimize.linprog(-goal, **kwargs).fun > 1e-7:
                found.append(name)
                break
    return found


def centred(matrix):
    """Matrix whose columns after the first (the intercept) have mean 0 and largest value 1."""
    matrix = matrix.copy()
    matrix[:, 1:] -= matrix[:, 1:].mean(axis=0)
    matrix[:, 1:] /= np.abs(matrix[:, 1:]).max(axis=0, initial=0.0)
    return matrix


def fit_strata(used, by, fit, title):
    """Fit the strata one by one; one that can't be fitted is None and a warning."""
    fits = {}
    for stratum in levels(used[by]) if by else [None]:
        part = used if by is None else used.loc[used[by] == stratum]
        where = "" if by is None else f" in {by} {stratum}"
        try:
            fits[stratum] = fit(part)
        except NotEstimableError as error:
            if by is None:
                raise ValueError(f"{title}: not estimable: {error}") from error
            warnings.warn(f"{title}{where}: not estimated: {error}", stacklevel=3)
            fits[stratum] = None
            continue
        for message in fits[stratum].messages:
            warnings.warn(f"{title}{where}: {message}", stacklevel=3)
    if not any(fits.values()):
        raise ValueError(f"{title}: not estimable in any level of {by}")
    return fits


def stack(fits, by, pick, blank):
    """Stack one table of each stratum; `blank` has the labels for one that was not fitted."""
    tables, order = [], []
    for stratum, fit in fits.items():
        table = pd.DataFrame(blank) if fit is None else pick(fit)
        if fit is not None and not order:
            order = table.columns.tolist()
        if by:
            table.insert(1, by, stratum)
        if len(table):
            tables.append(table)
    if by:
        order.insert(1, by)
    return pd.concat([table.reindex(columns=order) for table in tables], ignore_index=True)
