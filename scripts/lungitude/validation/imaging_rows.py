"""Rows of one part of one case: measured values beside their truths, and faults that are kept."""

import logging
import math

import numpy as np
import pandas as pd

from lungitude.validation.imaging_cases import COLUMNS, PER_BLOCK

log = logging.getLogger(__name__)


class Rows:
    """Collects the rows of one case; see `imaging_cases.COLUMNS`."""

    def __init__(self, case, part):
        self.case, self.part, self.rows = case, part, []

    def add(self, visit, protocol, quantity, measured, *, t1=None, t0=None, expected=None, item=""):
        """Add one number; None is a truth that does not exist."""
        numbers = [math.nan if value is None else float(value) for value in (t1, t0, expected)]
        values = (visit, protocol, quantity, item, float(measured), *numbers, "")
        self.rows.append((self.case, self.part, *values))

    def attempt(self, visit, protocol, function, *more):
        """Run a measurement; an error becomes a row that says so, and the rest goes on."""
        try:
            return function(*more)
        except Exception as error:
            log.exception("case %d %s, %s visit, %s", self.case, self.part, visit, protocol)
            words = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            none = (math.nan,) * 4
            self.rows.append((self.case, self.part, visit, protocol, "", "", *none, words))
            return None


def block(number, part, measure):
    """Measure the cases of one block.

    Parameters
    ----------
    number : int
        Cases `number * PER_BLOCK` and on.
    part : str
    measure : callable
        Takes `Rows` and adds to it.

    Returns
    -------
    DataFrame
        Columns `imaging_cases.COLUMNS`.
    """
    parts = []
    for case in range(number * PER_BLOCK, (number + 1) * PER_BLOCK):
        rows = Rows(case, part)
        rows.attempt("first", "", measure, rows)
        log.info("case %d %s: %d rows", case, part, len(rows.rows))
        parts += rows.rows
    table = pd.DataFrame(parts, columns=COLUMNS)
    numbers = ["measured", "t1", "t0", "expected"]
    return table.astype(dict.fromkeys(numbers, np.float64))
