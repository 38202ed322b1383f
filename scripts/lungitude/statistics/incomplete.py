"""Data of a trial with missing visits, checked and laid out for imputation."""

import itertools
import re
import warnings

import numpy as np
import pandas as pd

from lungitude.statistics.design import ColumnDesign
from lungitude.statistics.frames import is_factor, levels, numbers, require, with_reference
from lungitude.statistics.linear import listed

WHO = "impute_reference_based"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def visit_order(column):
    """Visits in time: categories, else numbers, else the numbers within labels (Week 6, Week 12).

    The order decides who has dropped out; where only the alphabet is left, a warning says so.
    """
    found = levels(column)
    if isinstance(column.dtype, pd.CategoricalDtype) or not is_factor(column) or len(found) < 2:
        return found
    frames = {NUMBER.sub("#", str(label)) for label in found}
    keys = {tuple(map(float, NUMBER.findall(str(label)))): label for label in found}
    if len(frames) > 1 or len(keys) < len(found):
        warnings.warn(
            f"{WHO}: the visits are taken in the order {', '.join(map(str, found))}; make "
            f"{column.name!r} an ordered categorical if that is not their order in time",
            stacklevel=6,
        )
        return found
    return [keys[key] for key in sorted(keys)]


def model_terms(covariates, columns):
    """Terms of the covariates: ``"BASE"``, ``"BASE:AVISIT"``, ``"BASE*AVISIT"`` or a tuple.

    The margins of an interaction are terms, too.
    """
    terms = []
    for item in listed(covariates):
        if isinstance(item, str) and item not in columns:
            item = tuple(part.strip() for part in re.split(r"[:*]", item))
        term = (item,) if isinstance(item, str) else tuple(item)
        for size in range(1, len(term) + 1):
            terms += itertools.combinations(term, size)
    return sorted(dict.fromkeys(terms), key=len)


class Trial:
    """The data of one model: patients in the order of their names, visits in time.

    Attributes
    ----------
    patients : DataFrame
        arm and covariates, one row a patient.
    responses : ndarray (n, m)
        NaN where missing.
    arms, visits : list
        The first arm is the reference.
    group : ndarray of int (n,)
        Position of the arm.
    """

    def __init__(self, data, value, subject, visit, arm, covariates, reference, by_arm):
        self.value, self.subject, self.visit, self.arm = value, subject, visit, arm
        require(data, [], WHO)
        self.terms = model_terms(covariates, data.columns)
        if by_arm:
            whole = [tuple(dict.fromkeys([*term, visit, arm])) for term in self.terms]
            self.terms = model_terms(whole, data.columns)
        names = dict.fromkeys(name for term in self.terms for name in term)
        self.covariates = [name for name in names if name not in (visit, arm)]
        require(data, [value, subject, visit, arm, *self.covariates], WHO)
        for name in (value, subject):
            if name in self.covariates:
                raise ValueError(f"{WHO}: {name!r} cannot be a covariate")
        if data.empty:
            raise ValueError(f"{WHO}: the data have no rows")
        if data[subject].isna().any():
            raise ValueError(
                f"{WHO}: {subject!r} is missing in {int(data[subject].isna().sum())} rows"
            )
        codes, ids = pd.factorize(data[subject])
        try:
            order = np.argsort(np.asarray(ids))
        except TypeError:  # names of several types
            order = np.argsort(np.asarray(ids).astype(str), kind="stable")
        rank = np.empty(len(ids), dtype=int)
        rank[order] = np.arange(len(ids))
        self.codes, self.ids = rank[codes], np.asarray(ids)[order]
        columns = {name: self._of_patients(data[name]) for name in [arm, *self.covariates]}
        self.patients = pd.DataFrame(columns)
        for name in self.covariates:
            if not is_factor(self.patients[name]):
                numbers(self.patients[name], name, WHO)
        self.arms = with_reference(levels(self.patients[arm]), reference, arm, WHO)
        if len(self.arms) < 2:
            raise ValueError(f"{WHO}: {arm!r} has one arm only, {self.arms[0]}")
        self.group = pd.Categorical(self.patients[arm], categories=self.arms).codes.astype(int)
        self.visits = visit_order(data[visit])
        self.responses = self._of_visits(data)
        self.observed = np.isfinite(self.responses)
        # Visits up to the last observed one; a patient without any has none.
        self.last = np.where(
            self.observed.any(axis=1),
            len(self.visits) - 1 - self.observed[:, ::-1].argmax(axis=1),
            -1,
        )

    def label(self, patients):
        """Name the first patients of a list."""
        shown = ", ".join(map(str, self.ids[patients[:3]]))
        return f"{shown}{' ...' if len(patients) > 3 else ''}"

    def _of_patients(self, column):
        """Give one value a patient; it must be known and the same in all rows that have one."""
        codes, found = pd.factorize(column)
        n = len(self.ids)
        high, low = np.full(n, -1), np.full(n, len(found))
        np.maximum.at(high, self.codes, codes)
        np.minimum.at(low, self.codes, np.where(codes < 0, len(found), codes))
        absent = np.flatnonzero(high < 0)
        if len(absent):
            raise ValueError(
                f"{WHO}: {column.name!r} is missing for {len(absent)} of {n} patients "
                f"({self.label(absent)}); the arm and the covariates must be complete"
            )
        mixed = np.flatnonzero(high != low)
        if len(mixed):
            raise ValueError(
                f"{WHO}: {column.name!r} varies within {len(mixed)} patients "
                f"({self.label(mixed)}); it must be one value a patient"
            )
        return pd.Series(found.take(high))

    def _of_visits(self, data):
        values = numbers(data[self.value], self.value, WHO)
        places = pd.Categorical(data[self.visit], categories=self.visits).codes.astype(int)
        lost = (places < 0) & ~np.isnan(values)
        if lost.any():
            raise ValueError(
                f"{WHO}: {self.visit!r} is missing in {int(lost.sum())} rows with {self.value}"
            )
        kept = places >= 0
        cells = self.codes[kept] * len(self.visits) + places[kept]
        cell, count = np.unique(cells, return_counts=True)
        if (count > 1).any():
            i, j = divmod(int(cell[np.argmax(count > 1)]), len(self.visits))
            raise ValueError(
                f"{WHO}: {self.subject} {self.ids[i]} has {self.visit} {self.visits[j]} more than "
                f"once ({int((count - 1).sum())} such rows); choose one record a visit first"
            )
        found = np.full((len(self.ids), len(self.visits)), np.nan)
        found.flat[cells] = values[kept]
        seen = found[~np.isnan(found)]
        if not len(seen):
            raise ValueError(f"{WHO}: {self.value!r} is missing in every row")
        if np.ptp(seen) == 0:
            raise ValueError(f"{WHO}: {self.value!r} is {seen[0]:g} in every row")
        for a, name in enumerate(self.arms):
            for j in np.flatnonzero(np.isnan(found[self.group == a]).all(axis=0)):
                raise ValueError(
                    f"{WHO}: {self.arm} {name} has no observation of {self.value!r} at "
                    f"{self.visits[j]}"
                )
        return found

    def design(self, arm=None):
        """Rows of the imputation model for all visits of all patients: ColumnDesign (n m rows).

        With `arm`, as if every patient were in that arm.
        """
        n, m = self.responses.shape
        frame = self.patients.loc[np.repeat(np.arange(n), m)].reset_index(drop=True)
        if arm is not None:
            frame[self.arm] = arm
        kept = {self.arm: self.arms}
        own = [(self.arm,)]
        terms = self.terms
        if m > 1:
            frame[self.visit] = np.tile(np.array(self.visits, dtype=object), n)
            kept[self.visit] = self.visits
            own += [(self.visit,), (self.arm, self.visit)]
        else:
            terms = [tuple(x for x in term if x != self.visit) for term in terms]
        known = {frozenset(term) for term in own}
        terms = [t for t in dict.fromkeys(terms) if t and frozenset(t) not in known]
        # The arm after what it could be aliased with, before what it is the margin of.
        before = [t for t in terms if not {self.arm, self.visit} & set(t)]
        return ColumnDesign(frame, [*before, *own, *(t for t in terms if t not in before)], kept)

    def counts(self):
        """Count what is imputed: arm visit n observed intermittent dropout n_imputed."""
        rows = []
        for a, name in enumerate(self.arms):
            mine = self.group == a
            for j, visit in enumerate(self.visits):
                seen = int(self.observed[mine, j].sum())
                gone = int((self.last[mine] < j).sum())
                n = int(mine.sum())
                rows.append(
                    {
                        self.arm: name,
                        self.visit: visit,
                        "n": n,
                        "observed": seen,
                        "intermittent": n - seen - gone,
                        "dropout": gone,
                        "n_imputed": n - seen,
                    }
                )
        return pd.DataFrame(rows)
