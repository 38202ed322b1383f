"""Correlations of parameters by visit and arm: r with its interval, n, p and adjusted p."""

from dataclasses import replace

from lungitude.reporting import results as lookup
from lungitude.reporting.results import Absent
from lungitude.reporting.table import (
    DASH,
    Column,
    Marks,
    Row,
    Table,
    cell,
    mark_not_estimated,
)
from lungitude.reporting.table_primary import METHODS_OF_ADJUSTMENT
from lungitude.reporting.table_subgroups import in_order

METHOD = "association"
FAMILY = "association"
DIGITS = 2
NAMES = {"pearson": "Pearson", "spearman": "Spearman"}
ABBREVIATIONS = [("CI", "confidence interval")]
UNSAID = "not estimated"


def section(context):
    """Return the entry of the analysis in the plan, or an empty one."""
    return context.plan.get("analyses", {}).get(METHOD) or {}


class Grid:
    """What was correlated in a stratum and is to be shown, each in its order.

    Parameters
    ----------
    results : Results
    context : Context
    display : dict
        Optional ``visits``; optional ``parameters``: both of a pair must be among them.

    Attributes
    ----------
    x, y, visits : list of str
    groups : list of (str, str)
        Code and label: the arms, or all patients.
    pairs : set of (str, str, str)
        x, y and visit that have a correlation.

    Raises
    ------
    Absent
        If there is nothing to show.
    """

    def __init__(self, results, context, display):
        rows = results.of(METHOD)
        rows = rows[(rows["STAT"] == "r") & (rows["COMPARISON"] == "")]
        wanted, when = set(display.get("parameters") or []), display.get("visits") or []
        self.pairs = {
            (x, y, visit)
            for x, y, visit in zip(rows["PARAMCD"], rows["LEVEL"], rows["AVISIT"], strict=True)
            if (not wanted or {x, y} <= wanted) and (not when or visit in when)
        }
        if not self.pairs:
            raise Absent("the association has no correlations of these parameters and visits")
        self.x = _sorted({x for x, _, _ in self.pairs}, section(context).get("x"), context)
        self.y = _sorted({y for _, y, _ in self.pairs}, section(context).get("y"), context)
        visits = when or [visit["name"] for visit in context.visits]
        self.visits = in_order({visit for _, _, visit in self.pairs}, visits)
        labels = {arm["code"]: arm["label"] for arm in context.arms}
        codes = in_order(set(rows["GROUP"]), labels)
        self.groups = [(code, labels.get(code, "All patients")) for code in codes]


def _sorted(found, planned, context):
    """Sort parameters as the plan lists them, else as the trial does."""
    listed = planned if isinstance(planned, list) else []
    return in_order(found, [*listed, *(row["PARAMCD"] for row in context.parameters)])


def get(results, stat, x, y, visit, group="", comparison=""):
    """Return a statistic of a correlation (a `Number` or None), with the reason alone as its note.

    The notes of this analysis begin with its method, which footnotes say once.
    """
    family = FAMILY if stat == "p_adj" else ""
    found = results.get(METHOD, stat, x, visit, group, comparison, y, family)
    if found is None or found.estimated or UNSAID not in found.note:
        return found
    return replace(found, note=found.note[found.note.index(UNSAID) :])


def adjustment(results, context):
    """Return how p values were adjusted, in words with the number of tests; empty where not."""
    method = METHODS_OF_ADJUSTMENT.get(section(context).get("adjust", "bh"))
    notes = results.where(METHOD=METHOD, STAT="p_adj", FAMILY=FAMILY)["NOTE"]
    counts = dict.fromkeys(note.partition(", ")[2] for note in notes if ", " in note)
    if not method or not counts:
        return ""
    groups = " of an arm" if section(context).get("by_arm") else ""
    return f"{method} over all pairs and visits{groups} ({'; '.join(counts)})"


def kind(context):
    """Say what r is, such as "Pearson correlation of changes from baseline"."""
    plan = section(context)
    name = NAMES[plan.get("method", "pearson")]
    what = "changes from baseline" if plan.get("values") == "CHG" else "values"
    terms = [
        "the baseline values of both" if term == "BASE" else term
        for term in plan.get("covariates") or []
    ]
    limit = plan.get("max_days_apart")
    near = "" if limit is None else f", measured at most {limit} days apart"
    if not terms:
        return f"{name} correlation of {what}{near}"
    return f"{name} partial correlation of {what} given {', '.join(terms)}{near}"


def on_log_scale(context, grid):
    """Name the parameters that enter on a log scale; empty where none does."""
    logged = [p for p in dict.fromkeys([*grid.x, *grid.y]) if context.is_log(p)]
    names = ", ".join(context.label(p) for p in logged)
    return f"On a log scale: {names}." if names else ""


def build(results, context, display):
    """Build the table of correlations.

    Parameters
    ----------
    results : Results
        Rows of method ``association``.
    context : Context
    display : dict
        ``id number alias title``; optional ``parameters`` and ``visits``.

    Returns
    -------
    Table
        One section a visit, without rows where the stratum has no patient.

    Raises
    ------
    Absent
        If the stratum has patients but no such rows.
    """
    marks = Marks()
    frame = Frame(results, context, marks)
    rows, notes = [], []
    if not results.empty:
        grid = Grid(results, context, display)
        rows = frame.rows(grid)
        notes = [("", note) for note in frame.notes(grid)]
    return Table.of(
        display,
        context,
        columns=frame.columns(),
        rows=rows,
        footnotes=(*notes, *marks.footnotes()),
        methods=[METHOD],
        abbreviations=ABBREVIATIONS,
    )


class Frame:
    """The columns that this table needs, and its rows."""

    def __init__(self, results, context, marks):
        self.results, self.context, self.marks = results, context, marks
        self.style = context.style
        rows = results.where(METHOD=METHOD)
        stats = set(rows["STAT"])
        self.adjusted = bool(adjustment(results, context))
        self.between = "r_difference" in stats
        self.changed = "r_change" in stats
        changes = rows.loc[rows["STAT"] == "r_change"]
        # A correlation of a visit has one change: since the first visit that has both values.
        self.since = {
            (x, y, visit): comparison
            for x, y, visit, comparison in zip(
                changes["PARAMCD"],
                changes["LEVEL"],
                changes["AVISIT"],
                changes["COMPARISON"],
                strict=True,
            )
        }

    def columns(self):
        """Heads of the columns; comparisons of correlations only where there are any."""
        interval = cell(f"({self.context.ci_label})")
        columns = [Column("Parameters"), Column("n"), Column("r", interval), Column("p")]
        if self.adjusted:
            columns.append(Column("Adjusted p"))
        if self.between:
            columns += [Column("Difference of r", interval), Column("p of difference")]
        if self.changed:
            columns += [Column("Change of r", interval), Column("p of change")]
        return columns

    def rows(self, grid):
        """Return a section a visit: in it a block an x, or with several arms a block a pair."""
        rows = []
        several = len(grid.groups) > 1
        for visit in grid.visits:
            rows.append(Row(cell(visit), kind="section"))
            for x in grid.x:
                own = [y for y in grid.y if (x, y, visit) in grid.pairs]
                name = self.context.label(x)
                if own and not several:
                    rows.append(Row(cell(name), kind="group"))
                for y in own:
                    other = self.context.label(y)
                    if several:
                        rows.append(Row(cell(f"{name} and {other}"), kind="group"))
                    for code, label in grid.groups:
                        shown = label if several else other
                        cells = self._cells(x, y, visit, code)
                        rows.append(Row(cell(shown), cells, indent=1))
        return rows

    def _cells(self, x, y, visit, group):
        """Cells of one correlation."""
        place = (x, y, visit)
        found = get(self.results, "r", *place, group)
        p = get(self.results, "p", *place, group)
        cells = [
            cell(lookup.used_part(found)),
            self._interval(place, "r", "ci", group=group),
            cell(lookup.p_part(p, self.style["p"])),
        ]
        if self.adjusted:
            adjusted = get(self.results, "p_adj", *place, group)
            cells.append(cell(lookup.p_part(adjusted, self.style["p"])))
        if self.between:
            cells += self._difference(place, group)
        if self.changed:
            comparison = self.since.get(place)
            cells += self._compared(
                place, "r_change", "r_change_p", group=group, comparison=comparison
            )
        return tuple(cells)

    def _difference(self, place, group):
        """Cells of the difference from the reference arm, on the lines of the other arms."""
        if group == self.context.reference["code"]:
            return [cell("reference"), cell("")]
        pairs = {arm["code"]: comparison for arm, comparison in self.context.comparisons}
        return self._compared(place, "r_difference", "p", comparison=pairs.get(group))

    def _compared(self, place, stat, p, group="", comparison=None):
        if not comparison:
            return [DASH, DASH]
        where = {"group": group, "comparison": comparison}
        found = get(self.results, p, *place, **where)
        return [
            self._interval(place, stat, f"{stat}_ci", **where),
            cell(lookup.p_part(found, self.style["p"])),
        ]

    def _interval(self, place, stat, prefix, **where):
        """Cell of a coefficient with its interval."""
        found, low, high = (
            get(self.results, name, *place, **where)
            for name in (stat, f"{prefix}_low", f"{prefix}_high")
        )
        rounding = self.style["rounding"]
        first = lookup.part(found, DIGITS, rounding)
        if found is None or not found.estimated:
            return cell(first, mark=mark_not_estimated(found, self.marks))
        if low is None or high is None:
            return cell(first)
        return cell(
            first,
            " (",
            lookup.part(low, DIGITS, rounding),
            " to ",
            lookup.part(high, DIGITS, rounding),
            ")",
            mark=mark_not_estimated(low, self.marks) or mark_not_estimated(high, self.marks),
        )

    def notes(self, grid):
        """Footnotes that hold for the whole table."""
        said = [f"r, {kind(self.context)}. n, patients with all values."]
        said.append(on_log_scale(self.context, grid))
        adjusted = adjustment(self.results, self.context)
        said.append(
            f"Adjusted p: {adjusted}."
            if adjusted
            else "p values are not adjusted for multiple testing."
        )
        if self.between:
            reference = self.context.reference["label"]
            said.append(
                f"Difference of r, arm minus {reference}, by the z transformation of Fisher; its p "
                "is not adjusted for multiple testing."
            )
        if self.changed:
            test = section(self.context).get("compare_test", "steiger")
            how = {"steiger": "the test of Steiger", "bootstrap": "the bootstrap"}[test]
            pairs = ", ".join(dict.fromkeys(self.since.values()))
            said.append(
                f"Change of r ({pairs}), by {how} in the patients with all four values; its p is "
                "not adjusted for multiple testing."
            )
        return [note for note in said if note]
