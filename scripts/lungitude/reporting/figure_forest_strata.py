"""Effects within each stratum as a forest plot: one panel an endpoint, one below the other.

It looks as the forest plot of subgroups does. The estimates are not those of one model with an
interaction but of the analysis within each stratum, so every endpoint of the plan has them.
"""

import pandas as pd

from lungitude.reporting import figure as fig
from lungitude.reporting import figure_forest as forest
from lungitude.reporting.drawing import why_not_estimated
from lungitude.reporting.figure_trend import parameters
from lungitude.reporting.figure_trends_grades import factor_of
from lungitude.reporting.format import analysis_name
from lungitude.reporting.results import Absent, Number
from lungitude.reporting.table_primary import effect
from lungitude.reporting.table_subgroups import EVERYBODY, METHOD, in_order

EFFECTS = ("ancova", "mmrm", "mixed_model")
SIZE = ("estimate", "ci_low", "ci_high")


class Strata:
    """The effects of strata, in the shape in which the forest plot asks for those of subgroups.

    What it returns keeps the address of the row where it stands in the results table.

    Parameters
    ----------
    results : Results
        Of all patients.
    context : Context
    display : dict
        See `draw`.

    Raises
    ------
    Absent
        If the stratum is not all patients, there is no such factor, or the analysis has no effect
        of these parameters and visits.
    """

    def __init__(self, results, context, display):
        self._results, self.empty = results, results.empty
        self.factor = factor_of(context, display)
        self.analysis = analysis_of(results, context, display)
        self.strata = {EVERYBODY: results}
        self.strata |= {
            f"{self.factor['column']}={level['value']}": results.at(level["path"])
            for level in self.factor["levels"]
        }
        self.blocks = self._blocks(context, display)
        if not self.blocks:
            name = analysis_name(self.analysis)
            raise Absent(f"the {name} has no effect of these parameters and visits")
        self.test = self._source(display)
        self._numbers = self._shown(context)

    def _blocks(self, context, display):
        rows = self._results.where(METHOD=self.analysis, STAT="estimate")
        found = set(zip(rows["PARAMCD"], rows["AVISIT"], strict=True))
        analysed = {visit for _, visit in found}
        primary = (context.plan.get("primary") or {}).get("visit")
        wanted = display.get("visits") or ([primary] if primary in analysed else None)
        order = wanted or [visit["name"] for visit in context.visits]
        visits = in_order(analysed, order, bool(wanted))
        return [
            (parameter, visit)
            for parameter in parameters(context, display)
            if context.has_parameter(parameter)
            for visit in visits
            if (parameter, visit) in found
        ]

    def _source(self, display):
        """Return the analysis whose test of interaction is shown: the same of all endpoints."""
        if display.get("interaction"):
            return display["interaction"]
        counts = {
            name: sum(self._interaction(name, block) is not None for block in self.blocks)
            for name in dict.fromkeys([METHOD, self.analysis])
        }
        return max(counts, key=counts.get) if any(counts.values()) else ""

    def _interaction(self, source, block):
        return self._results.get(source, "interaction_p", *block, level=self.factor["column"])

    def _shown(self, context):
        """Numbers by the key of a subgroup."""
        found = {}
        for level, results in self.strata.items():
            for parameter, visit in self.blocks:
                block = (parameter, visit, self.analysis)
                for _, comparison in context.comparisons:
                    estimate, limits, _ = effect(results, context, block, comparison=comparison)
                    for stat, number in zip(SIZE, (estimate, *limits), strict=True):
                        found[stat, parameter, visit, "", comparison, level] = number
                for arm in context.arms:
                    found["n", parameter, visit, arm["code"], "", level] = _used(
                        results, block, arm["code"]
                    )
        for block in self.blocks:
            test = self._interaction(self.test, block) if self.test else None
            found["interaction_p", *block, "", "", self.factor["column"]] = test
        return {key: number for key, number in found.items() if number is not None}

    def get(self, method, stat, parameter="", visit="", group="", comparison="", level="", **more):
        """Return a `Number` as `Results.get` does."""
        if method != METHOD:
            return self._results.get(
                method, stat, parameter, visit, group, comparison, level, **more
            )
        return self._numbers.get((stat, parameter, visit, group, comparison, level))

    def where(self, **columns):
        """Return rows as `Results.where` does; those of the strata say only where they are."""
        if columns.get("METHOD") != METHOD:
            return self._results.where(**columns)
        rows = self._rows()
        for name, value in columns.items():
            rows = rows[rows[name] == value]
        return rows

    def of(self, method):
        """Return the rows of an analysis as `Results.of` does."""
        return self._rows() if method == METHOD else self._results.of(method)

    def _rows(self):
        levels = [EVERYBODY, self.factor["column"], *list(self.strata)[1:]]
        rows = [(METHOD, *block, level) for block in self.blocks for level in levels]
        return pd.DataFrame(rows, columns=["METHOD", "PARAMCD", "AVISIT", "LEVEL"])

    def estimates(self):
        """Return every estimate."""
        return [number for key, number in self._numbers.items() if key[0] == "estimate"]

    def tests(self):
        """Return every p of interaction."""
        return [number for key, number in self._numbers.items() if key[0] == "interaction_p"]


def _used(results, block, arm):
    """Return how many patients of an arm are in the model: column N of the row of its mean."""
    parameter, visit, analysis = block
    found = results.get(analysis, "emmean", parameter, visit, arm)
    if found is None or found.n is None:
        return None
    return Number(found.n, found.n, found.note, "", f"{found.address}#N")


def analysis_of(results, context, display):
    """Return the analysis of a display: the one that it names, else that of the primary endpoint.

    Raises
    ------
    Absent
        If it has no results in this stratum.
    """
    named = display.get("analysis") or (context.plan.get("primary") or {}).get("method")
    if named not in EFFECTS and not display.get("analysis"):
        named = next((name for name in EFFECTS if len(results.where(METHOD=name))), EFFECTS[0])
    results.of(named)
    return named


def caption(results, context, display):
    """Say what points, diamonds, bands and tests are, what was not estimated, and who is in it."""
    view = Strata(results, context, display)
    line = context.population_line(view.analysis)
    if results.empty or not context.comparisons:
        return line
    names = analysis_name(view.analysis)
    logs = {context.is_log(parameter) for parameter, _ in view.blocks}
    what = {True: "Ratios", False: "Differences"}[logs.pop()] if len(logs) == 1 else "Effects"
    factor = view.factor.get("label", view.factor["column"])
    said = [
        f"{what} between the arms in change from baseline with {context.ci_label}: diamonds, all "
        f"patients; points, each stratum of {factor}, by the {names} within it. n, patients of the "
        "model by arm."
    ]
    if view.test:
        source = "analysis of subgroups" if view.test == METHOD else analysis_name(view.test)
        said.append(
            f"Interaction p: F test of arm by {factor} in all patients, by the {source}; not "
            "adjusted for multiple testing."
        )
    said += forest.marks_said(context, forest.panels(view, context, asked(view, display)))
    why = why_not_estimated([*view.estimates(), *view.tests()])
    return " ".join(filter(None, [*said, why, line]))


def asked(view, display):
    """Return the display as the forest plot reads it: in the order of the endpoints."""
    names = list(dict.fromkeys(parameter for parameter, _ in view.blocks))
    visits = list(dict.fromkeys(visit for _, visit in view.blocks))
    return {**display, "parameters": names, "visits": visits}


@fig.styled
def draw(results, context, display):
    """Draw the forest plot.

    Parameters
    ----------
    results : Results
        Of all patients.
    context : Context
    display : dict
        ``title``; optional ``analysis`` (ancova, mmrm or mixed_model, else that of the primary
        endpoint), ``factor`` (column of a stratification factor, else the first), ``parameters``
        (else the primary endpoint and those of the families), ``visits`` (else that of the primary
        endpoint), ``noise`` as of `figure_forest`, and ``interaction``: the analysis whose test is
        shown (else the subgroups', or that of the analysis where it tested more of the endpoints).

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide, as high as its lines need; a notice where there is nothing to compare.

    Raises
    ------
    Absent
        In the report of a stratum, or where there is no such factor or no effect.
    """
    if results.empty:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    if not context.comparisons:
        factor_of(context, display)
        return fig.notice("One arm: there is no difference to show.", display["title"])
    view = Strata(results, context, display)
    return forest.draw(view, context, asked(view, display))
