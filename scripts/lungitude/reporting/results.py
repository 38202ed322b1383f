"""Look up numbers of the analysis results table by what they are, and keep their address.

Whatever a report prints comes through here, so each printed number can say which row it is.
"""

import math
from dataclasses import dataclass

from lungitude.reporting import format as text

TEXT = "METHOD PARAMCD AVISIT STRATUM POPULATION GROUP COMPARISON LEVEL STAT FAMILY NOTE".split()
KEY = "METHOD PARAMCD AVISIT GROUP COMPARISON LEVEL STAT FAMILY".split()
ADDRESS = "ANALYSISID GROUP COMPARISON LEVEL STAT FAMILY".split()
TOTAL = "TOTAL"


class Absent(Exception):  # noqa: N818  (not an error: a display without input is left out)
    """What a display shows was not analysed in this stratum."""


@dataclass(frozen=True)
class Number:
    """One row of the results table: its value, and where it stands.

    The address is ANALYSISID|GROUP|COMPARISON|LEVEL|STAT, for an adjusted p also |FAMILY.
    """

    value: float
    n: int | None
    note: str
    family: str
    address: str

    @property
    def estimated(self):
        """Whether there is a number to print."""
        return math.isfinite(self.value)


@dataclass(frozen=True)
class Part:
    """A piece of printed text; with an address when it is a number of the results table."""

    text: str
    address: str = ""


class Results:
    """The results of one stratum.

    Parameters
    ----------
    frame : DataFrame
        The analysis results table; one row a statistic.
    stratum : str
        "all" or the path of a stratum.
    plan : dict
        The analysis plan; names the population of each analysis.
    population : str, optional
        Take this population where an analysis has rows of it, instead of the one that the plan
        names for the analysis.
    individual : Individual, optional
        The values of the single patients of the stratum.

    Attributes
    ----------
    rows : DataFrame
        Rows of the stratum, of one analysis set each analysis.
    known : DataFrame
        Those of all analysis sets.

    Raises
    ------
    ValueError
        If two rows answer the same question.
    """

    def __init__(self, frame, stratum, plan, population=None, individual=None):
        self._whole, self._population_asked, self._others = frame, population, {}
        self._individual = individual
        rows = frame[frame["STRATUM"].fillna("") == stratum].copy()
        for column in ["ANALYSISID", *TEXT]:
            rows[column] = rows[column].fillna("").astype(str)
        self.stratum = stratum
        self.plan = plan
        wanted = {
            method: self._population(method, set(found), population)
            for method, found in rows.groupby("METHOD")["POPULATION"]
        }
        self.known = rows
        named = rows["METHOD"].map(wanted)
        kept = (named == "") | (rows["POPULATION"] == "") | (rows["POPULATION"] == named)
        self.rows = rows.loc[kept]
        self._numbers = {}
        for row in self.rows.to_dict("records"):
            key = tuple(row[name] for name in KEY)
            if key in self._numbers:
                where = ", ".join(part for part in key if part)
                raise ValueError(
                    f"results table: two rows for {where} in stratum {stratum}; "
                    "a statistic must have one address"
                )
            self._numbers[key] = _number(row)

    def _population(self, method, found, override):
        planned = self.plan.get("analyses", {}).get(method, {}).get("population", "")
        return override if override in found else planned

    def get(
        self, method, stat, parameter="", visit="", group="", comparison="", level="", family=""
    ):
        """Return the `Number` of one question, or None where the table has no such row."""
        key = (method, parameter, visit, group, comparison, level, stat, family)
        return self._numbers.get(key)

    def where(self, **columns):
        """Return the rows that have these values, in their order in the table."""
        rows = self.rows
        for name, value in columns.items():
            rows = rows[rows[name] == value]
        return rows

    def of(self, method):
        """Return the rows of an analysis.

        Raises
        ------
        Absent
            If there are none.
        """
        rows = self.where(METHOD=method)
        if rows.empty:
            raise Absent(f"the {text.analysis_name(method)} has no results here")
        return rows

    def at(self, stratum):
        """Return the `Results` of another stratum of the same table and population."""
        return self if stratum == self.stratum else self._other(stratum, self._population_asked)

    def among(self, population):
        """Return the `Results` of the stratum that take this analysis set where it has rows."""
        return self._other(self.stratum, population)

    def _other(self, stratum, population):
        key = (stratum, population)
        if key not in self._others:
            self._others[key] = Results(self._whole, stratum, self.plan, population)
        return self._others[key]

    @property
    def individual(self):
        """The `Individual` values of the stratum.

        Raises
        ------
        Absent
            If the report was made without them.
        """
        if self._individual is None:
            raise Absent("the values of single patients are not part of this report")
        return self._individual

    def levels(self, method, prefix, visit=""):
        """Return the levels that begin with a prefix, in their order in the table."""
        rows = self.where(METHOD=method, AVISIT=visit)
        return [level for level in dict.fromkeys(rows["LEVEL"]) if level.startswith(prefix)]

    def size(self, group):
        """Return how many patients were randomised to a group (a `Number` or None)."""
        return self.get("disposition", "n", group=group, level="randomised")

    def trend_method(self, display):
        """Return the analysis of a trend: the display's, else a mixed model, ANCOVA, or changes."""
        if display.get("analysis"):
            return display["analysis"]
        found = set(self.where(STAT="emmean")["METHOD"])
        if not found and len(self.where(METHOD="within_arm")):
            return "within_arm"
        return next((name for name in ("mmrm", "mixed_model") if name in found), "ancova")

    @property
    def empty(self):
        """Whether the stratum has no patient (no row, or none randomised)."""
        sizes = self.where(METHOD="disposition", LEVEL="randomised", STAT="n")["VALUE"]
        return not sizes.max() > 0 if len(sizes) else self.rows.empty


def _number(row):
    n = row["N"]
    n = None if n is None or not math.isfinite(n) else int(n)
    value = float("nan") if row["VALUE"] is None else float(row["VALUE"])
    address = "|".join(row[name] for name in ADDRESS).rstrip("|")
    return Number(value, n, row["NOTE"], row["FAMILY"], address)


def part(found, decimals=0, rounding="half_away"):
    """Print a number with its address; an en dash where the table has no such row."""
    if found is None:
        return Part(text.NOT_APPLICABLE)
    return Part(text.number(found.value, decimals, rounding), found.address)


def count_part(found):
    """Print a count with its address."""
    return (
        Part(text.NOT_APPLICABLE) if found is None else Part(text.count(found.value), found.address)
    )


def used_part(found):
    """Print how many observations stand behind a number (column N of its row)."""
    if found is None or found.n is None:
        return Part(text.NOT_APPLICABLE)
    return Part(str(found.n), f"{found.address}#N")


def p_part(found, style):
    """Print a p value with its address."""
    if found is None:
        return Part(text.NOT_APPLICABLE)
    return Part(text.p_value(found.value, style), found.address)
