"""Who came to each visit, and which of the scans of a visit can be evaluated."""

from lungitude.reporting.table import Marks, Row, Table, cell
from lungitude.reporting.table_disposition import (
    METHOD,
    columns,
    count_cells,
    reason_of,
)

# Level of the disposition, its label, and how far it is indented.
ATTENDANCE = (("expected", "Expected", 1), ("attended", "Attended", 1))
SCANS = (
    ("scans_expected", "Scans expected", 1),
    ("scans_evaluable", "Scans evaluable", 1),
    ("scans_excluded", "Scans excluded", 1),
)
REASON = "scans_excluded:"


def build(results, context, display):
    """Build the table of visit completion and of scans that can be evaluated.

    Parameters
    ----------
    results : Results
        Rows of method ``disposition`` by visit.
    context : Context
    display : dict
        ``id number alias title``.

    Returns
    -------
    Table
        Without rows where the stratum has no patient; without lines of scans at a visit that has
        none.

    Raises
    ------
    Absent
        If there are patients, but no rows of the disposition.
    """
    marks, rows = Marks(), []
    if not results.empty:
        results.of(METHOD)
        for visit in context.visits:
            rows += _visit(results, context, visit["name"], marks)
    return Table.of(
        display,
        context,
        columns=columns("Visit", results, context),
        rows=rows,
        footnotes=(*_notes(results, context, rows), *marks.footnotes()),
        methods=[METHOD],
    )


def _visit(results, context, visit, marks):
    """Rows of one visit, in the order in which one becomes the other; none if it has no row."""
    reasons = [(level, reason_of(level), 2) for level in results.levels(METHOD, REASON, visit)]
    known = set(results.levels(METHOD, "", visit))
    rows = [
        Row(cell(label), count_cells(results, context, level, marks, visit), indent=indent)
        for level, label, indent in (*ATTENDANCE, *SCANS, *reasons)
        if level in known
    ]
    return [Row(cell(visit), kind="group"), *rows] if rows else []


def _notes(results, context, rows):
    if not rows:
        return ()
    visits = [visit["name"] for visit in context.visits]
    notes = [
        "Expected, patients whose visit was due: not discontinued before its planned day nor, where"
        " a data cut is set, planned after it; who came counts as expected. Attended, a value or a"
        " scan of the visit is there."
    ]
    if any(results.levels(METHOD, "scans_expected", visit) for visit in visits):
        notes.append(
            "Scans, not patients, are counted in the lines of scans; excluded, by the check of "
            "image quality, for the reason that stands below."
        )
    return tuple(("", note) for note in notes)
