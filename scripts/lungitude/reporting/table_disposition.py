"""What became of the patients who were randomised: completed, discontinued and why, analysed."""

from lungitude.reporting import results as lookup
from lungitude.reporting.table import (
    DASH,
    Column,
    Marks,
    Row,
    Table,
    cell,
    mark_not_estimated,
)

METHOD = "disposition"
REASON, SET, WITHOUT = "discontinued:", "set:", "without:"
ASSESSED, EXCLUDED, AWAITING = "assessed", "not_randomised", "awaiting"


def build(results, context, display):
    """Build the disposition table.

    Parameters
    ----------
    results : Results
        Rows of method ``disposition``; of the primary analysis, how many patients are in its model.
    context : Context
    display : dict
        ``id number alias title``.

    Returns
    -------
    Table
        Without rows where the stratum has no patient.

    Raises
    ------
    Absent
        If there are patients, but no rows of the disposition.
    """
    marks, rows, methods = Marks(), [], [METHOD]
    if not results.empty:
        results.of(METHOD)
        analysed = _analysed(results, context, marks)
        rows = [*_stages(results, context, marks), *_sets(results, context, marks), *analysed]
        if len(analysed) > 1:
            methods.append(context.plan["primary"]["method"])
    return Table.of(
        display,
        context,
        columns=columns("Stage", results, context),
        rows=rows,
        footnotes=(*_notes(results, context, rows), *marks.footnotes()),
        methods=methods,
    )


def columns(first, results, context):
    """Head of the labels, then of each arm and of all patients with the number randomised."""
    return (
        Column(first),
        *(
            Column(label, cell("(N=", lookup.count_part(results.size(code)), ")"))
            for code, label in context.groups
        ),
    )


def count_cells(results, context, level, marks, visit=""):
    """Return how many patients (or scans) are at a stage, a cell a group.

    Parameters
    ----------
    results : Results
    context : Context
    level : str
        The stage, as the disposition names it.
    marks : Marks
    visit : str
        Empty for what belongs to the whole trial.

    Returns
    -------
    tuple of Cell
        With the percentage in brackets where the results table has one (STAT pct) and the count is
        not zero.
    """
    cells = []
    for code, _ in context.groups:
        found = results.get(METHOD, "n", visit=visit, group=code, level=level)
        share = results.get(METHOD, "pct", visit=visit, group=code, level=level)
        mark = mark_not_estimated(found, marks)
        if found is None:
            cells.append(DASH)
        elif share is None or not found.value > 0:
            cells.append(cell(lookup.count_part(found), mark=mark))
        else:
            percent = lookup.part(share, 1, context.style["rounding"])
            cells.append(cell(lookup.count_part(found), " (", percent, ")", mark=mark))
    return tuple(cells)


def reason_of(level):
    """Return a reason as it is printed: with a capital, without the stage that it belongs to."""
    reason = level.partition(":")[2]
    return reason[:1].upper() + reason[1:]


def _stages(results, context, marks):
    """Rows of what became of the patients; a reason of any stratum stands in all, also with 0."""

    def row(label, level, kind="data", indent=0):
        return Row(cell(label), count_cells(results, context, level, marks), kind, indent)

    rows = []
    if results.levels(METHOD, ASSESSED):
        rows = [
            row("Assessed for eligibility", ASSESSED),
            row("Excluded", EXCLUDED, "group"),
            *(row(reason_of(level), level, indent=1)
              for level in results.levels(METHOD, f"{EXCLUDED}:")),
        ]  # fmt: skip
        if any(results.where(METHOD=METHOD, LEVEL=AWAITING)["VALUE"] > 0):
            rows.append(row("Not yet randomised", AWAITING))
    rows.append(row(context.entered.capitalize(), "randomised"))
    for level in results.levels(METHOD, WITHOUT):
        factor = context.stratum_column_label(level.removeprefix(WITHOUT))
        rows.append(row(f"Without {factor}", level, indent=1))
    rows.append(row("Completed", "completed"))
    if results.levels(METHOD, "ongoing"):
        rows.append(row("Ongoing", "ongoing"))
    rows.append(row("Discontinued", "discontinued", "group"))
    rows += [row(reason_of(level), level, indent=1) for level in results.levels(METHOD, REASON)]
    return rows


def _sets(results, context, marks):
    """Rows of the analysis sets of the plan."""
    sets = context.plan.get("populations") or {}
    known = results.levels(METHOD, SET)
    rows = [
        Row(
            cell(f"{sets[name].get('label', name)} ({name})"),
            count_cells(results, context, f"{SET}{name}", marks),
            indent=1,
        )
        for name in sets
        if f"{SET}{name}" in known
    ]
    return [Row(cell("Analysis sets"), kind="group"), *rows] if rows else []


def _analysed(results, context, marks):
    """Rows of who has the primary endpoint, and of who is in the model of its analysis."""
    primary = context.plan.get("primary") or {}
    if not primary or not results.levels(METHOD, "analysed"):
        return []
    parameter, visit = primary["parameter"], primary["visit"]
    name = context.label(parameter) if context.has_parameter(parameter) else parameter
    head = Row(cell(f"Primary endpoint: {name}, {visit}"), kind="group")
    measured = count_cells(results, context, "analysed", marks)
    rows = [head, Row(cell("Measured"), measured, indent=1)]
    modelled = [_in_model(results, context, primary, code) for code, _ in context.groups]
    if any(found is not None for found in modelled):
        cells = tuple(cell(lookup.used_part(found)) for found in modelled)
        rows.append(Row(cell("In the model of its analysis"), cells, indent=1))
    return rows


def _in_model(results, context, primary, group):
    """Return the row whose N is the patients of an arm, or of all arms, in the primary model."""
    where = {"parameter": primary["parameter"], "visit": primary["visit"]}
    if group in [arm["code"] for arm in context.arms]:
        return results.get(primary["method"], "emmean", group=group, **where)
    # N of a difference is that of the whole model only where it could be estimated.
    found = [
        results.get(primary["method"], "estimate", comparison=comparison, **where)
        for _, comparison in context.comparisons
    ]
    return next((number for number in found if number is not None and number.estimated), None)


def _notes(results, context, rows):
    if not rows:
        return ()
    notes = []
    if len(results.where(METHOD=METHOD, STAT="pct", AVISIT="")):
        before = "; of those not randomised, of the patients assessed"
        before = before if results.levels(METHOD, ASSESSED) else ""
        notes.append(f"Percentages are of the patients {context.entered}{before}.")
    if results.levels(METHOD, REASON):
        notes.append("All reasons of the trial are listed, also those that no patient here had.")
    if results.levels(METHOD, "ongoing"):
        notes.append("Ongoing, neither completed nor discontinued at the data cut.")
    if results.levels(METHOD, "analysed"):
        notes.append("Measured, with a value at the visit and, for a change, at baseline.")
    return tuple(("", note) for note in notes)
