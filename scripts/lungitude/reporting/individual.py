"""Look up the values of single patients, and keep their address."""

from dataclasses import dataclass

from lungitude.analysis.individual import METHOD, of_population
from lungitude.reporting import format as text
from lungitude.reporting.results import Absent, Number

ADDRESS = "ANALYSISID USUBJID COMPARISON READER".split()
BLIND = ("agreement", "accuracy")  # analyses of all patients, of whatever analysis set


@dataclass(frozen=True)
class Value:
    """A value of a patient at a visit."""

    subject: str
    visit: str
    found: Number

    @property
    def value(self):
        """The number itself."""
        return self.found.value


@dataclass(frozen=True)
class Pair:
    """Two measurements of the same scan or patient, their mean and their difference."""

    subject: str
    visit: str
    first: Number
    second: Number
    mean: Number
    difference: Number


class Individual:
    """The values of the patients of a stratum.

    Parameters
    ----------
    frame : DataFrame
        As `lungitude.analysis.individual` writes it.
    stratum : dict
        ``path``; of a real stratum also ``column`` and ``value``.
    plan : dict
        The analysis plan: what is shown of patients is of the analysis set of ``describe``.
    population : str, optional
        Another analysis set.
    """

    def __init__(self, frame, stratum, plan, population=None):
        if stratum.get("column"):
            frame = frame.loc[frame[stratum["column"]] == str(stratum["value"])]
        planned = plan.get("analyses", {}).get("describe", {}).get("population", "ITT")
        self.population = population or planned
        patients = frame.loc[frame["METHOD"] == METHOD]
        patients = of_population(patients, self.population) if len(patients) else patients
        self._of = dict(list(patients.groupby(["PARAMCD", "AVISIT", "TRT01P"], sort=False)))
        self._pairs = frame.loc[frame["METHOD"].isin(BLIND)]

    def values(self, parameter, visit, arm, stat="CHG"):
        """Return a `Value` of each patient of an arm who has one at a visit.

        Parameters
        ----------
        parameter, visit, arm : str
        stat : {"AVAL", "CHG", "RATIO"}
        """
        rows = self._of.get((parameter, visit, arm))
        if rows is None:
            return []
        rows = rows.loc[rows[stat].notna()]
        return [Value(row["USUBJID"], visit, _number(row, stat)) for row in rows.to_dict("records")]

    def comparisons(self, method):
        """Return pairs (PARAMCD, COMPARISON) of an analysis, in their order in the table.

        Raises
        ------
        Absent
            If no pair of measurements was compared in this stratum.
        """
        rows = self._pairs.loc[self._pairs["METHOD"] == method]
        if rows.empty:
            raise Absent(f"the {text.analysis_name(method)} has no pairs of measurements here")
        return list(dict.fromkeys(zip(rows["PARAMCD"], rows["COMPARISON"], strict=True)))

    def pairs(self, method, parameter, comparison):
        """Return each `Pair` of a comparison, of all visits."""
        rows = self._pairs
        rows = rows.loc[
            (rows["METHOD"] == method)
            & (rows["PARAMCD"] == parameter)
            & (rows["COMPARISON"] == comparison)
        ]
        stats = ("AVAL", "REFERENCE", "MEAN", "DIFF")
        return [
            Pair(row["USUBJID"], row["AVISIT"], *(_number(row, stat) for stat in stats))
            for row in rows.to_dict("records")
        ]


def _number(row, stat):
    address = "|".join([*(row[name] for name in ADDRESS), stat])
    return Number(float(row[stat]), 1, "", "", address)
