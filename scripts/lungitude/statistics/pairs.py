"""Arrays of paired measurements: checked, of one length, by stratum."""

import warnings

import numpy as np
import pandas as pd

from lungitude.statistics.frames import levels, numbers


def vectors(who, **arrays):
    """Return arrays as float64 vectors of one length, NaN where missing."""
    found = [numbers(series(values, name, who), name, who) for name, values in arrays.items()]
    same_length(who, dict(zip(arrays, found, strict=True)))
    return found


def series(values, name, who):
    """Return an array as a Series with a plain index; its categories and its name are kept."""
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    values = values if isinstance(values, pd.Categorical) else np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"{who}: {name} has {values.ndim} dimensions, a column is needed")
    return pd.Series(values)


def same_length(who, arrays):
    """Raise a ValueError that gives the lengths when they differ."""
    sizes = {name: len(values) for name, values in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"{who}: {' and '.join(sizes)} must have the same length ({listed})")


def each_stratum(analyse, by, length, who, keys=()):
    """Stack the tables of the strata, the stratum in the first column.

    Parameters
    ----------
    analyse : callable
        From a mask of rows (bool) to a table.
    by : array_like
        Stratum of each row; rows without one are left out. The name of a Series names the column,
        else it is ``stratum``.
    length : int
        Rows of the data.
    who : str
    keys : sequence of str
        Columns of numbers that name the rows of a table, kept where there is no result.

    Notes
    -----
    A stratum that can't be analysed gives NaN, n of 0 and a warning; when none
    can, the first error stands.
    """
    strata = series(by, "by", who)
    same_length(who, {"the data": np.empty(length), "by": strata})
    tables, errors = {}, {}
    for level in levels(strata):
        try:
            tables[level] = analyse((strata == level).to_numpy(dtype=bool, na_value=False))
        except ValueError as error:
            errors[level] = error
    if not tables:
        raise next(iter(errors.values()), ValueError(f"{who}: by has no value"))
    hollow = next(iter(tables.values())).copy()
    for name in hollow:
        if pd.api.types.is_numeric_dtype(hollow[name]) and name not in keys:
            hollow[name] = 0 if name == "n" else np.nan
    for level, error in errors.items():
        warnings.warn(f"{strata.name or 'stratum'} {level} not estimated: {error}", stacklevel=3)
    found = []
    for level in levels(strata):
        table = tables.get(level, hollow).copy()
        table.insert(0, strata.name or "stratum", level)
        found.append(table)
    return pd.concat(found, ignore_index=True)
