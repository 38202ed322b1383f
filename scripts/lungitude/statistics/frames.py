"""Columns of a frame as statistics need them: checked, complete, with ordered levels."""

import re

import numpy as np
import pandas as pd

ARM = re.compile(r"(TRT|ARM|TREAT)", re.IGNORECASE)  # ADaM: TRT01P, TRT01A, ARM, ARMCD
# What pandas calls a column of objects that are all numbers, or all missing.
NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "empty")


def require(data, columns, who):
    """Raise a ValueError that names the columns which `data` lacks or has twice."""
    if not isinstance(data, pd.DataFrame):
        raise ValueError(f"{who}: the data are no DataFrame but {type(data).__name__}")
    twice = [column for column in columns if list(data.columns).count(column) > 1]
    if twice:
        raise ValueError(f"{who}: the data have column {', '.join(map(repr, twice))} twice")
    missing = [column for column in columns if column not in data.columns]
    if missing:
        raise ValueError(
            f"{who}: no column {', '.join(map(repr, missing))}; "
            f"the data have {', '.join(map(str, data.columns))}"
        )


def require_choice(value, allowed, name, who):
    """Raise a ValueError that lists what is allowed."""
    if value not in allowed:
        listed = ", ".join(repr(item) for item in allowed)
        raise ValueError(f"{who}: {name} {value!r} is not one of {listed}")


def require_confidence(confidence, who):
    """Raise a ValueError unless the confidence level lies between 0 and 1."""
    known = isinstance(confidence, int | float | np.number)
    if not known or not 0 < confidence < 1:
        raise ValueError(f"{who}: confidence {confidence!r} is not between 0 and 1, such as 0.95")


def is_factor(column):
    """Whether a column is a factor: text, categories or truth values, not numbers.

    Numbers in a column of objects (a None among them, or read from another program) are numbers.
    """
    if column.dtype == object:
        return pd.api.types.infer_dtype(column, skipna=True) not in NUMBERS
    return not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def numbers(column, name, who):
    """Return a column as float64, NaN where missing; infinite values are refused."""
    if is_factor(column) and not pd.api.types.is_bool_dtype(column):
        raise ValueError(f"{who}: column {name!r} holds text, numbers are needed")
    if column.dtype == object:
        column = column.where(column.notna(), np.nan).astype(float)
    values = column.to_numpy(dtype=float, na_value=np.nan)
    if np.isinf(values).any():
        count = int(np.isinf(values).sum())
        raise ValueError(f"{who}: column {name!r} holds {count} infinite values")
    return values


def levels(column):
    """Levels that occur, in the order of the categories, else sorted.

    The first level is the reference of a factor in every model here.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        present = set(column.dropna().unique())
        return [level for level in column.cat.categories if level in present]
    return sorted(column.dropna().unique())


def with_reference(names, reference, name, who):
    """Put the reference level first."""
    if reference is None:
        return list(names)
    if reference not in names:
        found = ", ".join(map(str, names))
        raise ValueError(f"{who}: reference {reference!r} is no level of {name!r} (found: {found})")
    return [reference, *(level for level in names if level != reference)]


def complete(data, columns):
    """Rows without a missing value in `columns`."""
    return data.loc[data[list(dict.fromkeys(columns))].notna().all(axis=1)]
