"""Adverse events: patients and events, of all kinds and by system organ class and term."""

from lungitude.reporting import results as lookup
from lungitude.reporting.results import Absent
from lungitude.reporting.table import Column, Marks, Row, Table, cell
from lungitude.reporting.table_adherence import heads, share_cell

METHOD = "adverse"
# Level of the analysis and its label, in their order.
KINDS = {
    "serious": "Serious",
    "related": "Related to the intervention",
    "serious_related": "Serious and related",
    "severe": "Severe",
    "discontinuation": "Intervention given up",
    "fatal": "Fatal",
    "not_recorded:AESER": "Seriousness not recorded",
    "not_recorded:AREL": "Relation not recorded",
    "not_recorded:AESEV": "Severity not recorded",
    "not_recorded:AEACN": "Action taken not recorded",
}
SOC, TERM = "soc:", "pt:"


def build(results, context, display):
    """Build the table of adverse events.

    Parameters
    ----------
    results : Results
        Rows of method ``adverse``.
    context : Context
    display : dict
        ``id number alias title``; min_pct, the least percentage that a class or term must reach in
        any group to be shown (0 if absent).

    Returns
    -------
    Table
        Without rows where the stratum has no patient. Classes and terms that no patient of the
        stratum had have no row.

    Raises
    ------
    Absent
        If there are patients, but no rows of adverse events.
    """
    marks, rows, hidden = Marks(), [], False
    least = display.get("min_pct", 0)
    if not results.empty:
        if results.where(METHOD=METHOD).empty:
            raise Absent("adverse events were not analysed here")
        rows = _kinds(results, context, marks)
        terms = _terms(results, context, marks, least)
        hidden = len(terms) < len(_named(results))
        rows += terms
    label = "Adverse events, n (%) [events]"
    return Table.of(
        display,
        context,
        columns=(Column(label), *heads(results, context.groups, METHOD, "any")),
        rows=rows,
        footnotes=(*_notes(results, context, rows, hidden, least), *marks.footnotes()),
        methods=[METHOD],
    )


def _row(results, context, label, level, marks, **more):
    cells = []
    for group, _ in context.groups:
        events = results.get(METHOD, "events", group=group, level=level)
        told = (" [", lookup.count_part(events), "]")
        cells.append(share_cell(results, context, METHOD, level, group, marks, *told))
    return Row(cell(label), tuple(cells), **more)


def _kinds(results, context, marks):
    """Rows of any event and of the kinds that the trial recorded."""
    known = set(results.levels(METHOD, ""))
    rows = [_row(results, context, "Any adverse event", "any", marks)]
    rows += [
        _row(results, context, label, level, marks, indent=1)
        for level, label in KINDS.items()
        if level in known
    ]
    if "not_emergent" in known:
        rows.append(_row(results, context, "Began before randomisation", "not_emergent", marks))
    return rows


def _named(results):
    """Levels of classes and terms, in the order of the analysis."""
    return [level for level in results.levels(METHOD, "") if level.startswith((SOC, TERM))]


def _terms(results, context, marks, least):
    """Rows of classes and terms that anybody of the stratum had, and often enough."""
    rows = []
    for level in _named(results):
        here = results.where(METHOD=METHOD, LEVEL=level, STAT="pct")["VALUE"]
        if not ((here > 0) & (here >= least)).any():
            continue
        if level.startswith(SOC):
            label, more = level.removeprefix(SOC), {"kind": "group"}
        else:
            label, more = level.split(":", 2)[2], {"indent": 1}
        rows.append(_row(results, context, label, level, marks, **more))
    return rows


def _notes(results, context, rows, hidden, least):
    if not rows:
        return ()
    emergent = context.plan.get("analyses", {}).get(METHOD, {}).get("emergent", True)
    counted = (
        "Events that began on the day of randomisation or later, or at an unknown time."
        if emergent
        else "All events, also those that began before randomisation."
    )
    notes = [
        f"{counted} Patients with at least one event (percentage of the patients of the analysis "
        "set, N) [number of events]; a patient counts once in a line."
    ]
    if _named(results):
        notes.append(
            "System organ classes, and in each the preferred terms, by falling number of patients."
        )
    if any(level.startswith(f"{SOC}Not coded") for level in _named(results)):
        notes.append("Not coded, no system organ class was given.")
    if hidden and least > 0:
        notes.append(f"Classes and terms of less than {least:g}% of the patients of every column "
                     "are left out.")  # fmt: skip
    elif hidden:
        notes.append("Classes and terms that only other patients of the trial had are left out.")
    return tuple(("", note) for note in notes)
