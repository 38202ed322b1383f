"""Sessions of the intervention: planned, attended, and how many patients attended enough."""

from lungitude.reporting import results as lookup
from lungitude.reporting.results import TOTAL
from lungitude.reporting.table import DASH, Column, Marks, Row, Table, cell, mark_not_estimated

METHOD = "adherence"
# Parameter of the analysis, its label, and the decimals of its statistics and of its range.
DESCRIBED = (
    ("NSESSPL", "Sessions planned", 1, 0),
    ("NSESSAT", "Sessions attended", 1, 0),
    ("ADHER", "Adherence, %", 1, 1),
)
LIMIT = "at_least:"
ABBREVIATIONS = [
    ("SD", "standard deviation"),
    ("Q1\u2013Q3", "first to third quartile"),
]


def build(results, context, display):
    """Build the table of adherence.

    Parameters
    ----------
    results : Results
        Rows of method ``adherence``.
    context : Context
    display : dict
        ``id number alias title``.

    Returns
    -------
    Table
        Without rows where the stratum has no patient; an arm without planned sessions has dashes.

    Raises
    ------
    Absent
        If there are patients, but no rows of adherence.
    """
    marks, rows, groups = Marks(), [], _groups(results, context)
    if not results.empty:
        results.of(METHOD)
        for described in DESCRIBED:
            rows += _described(results, context, groups, *described, marks)
        rows += _counted(results, context, groups, marks)
    return Table.of(
        display,
        context,
        columns=(Column("Sessions"), *heads(results, groups, METHOD, "planned")),
        rows=rows,
        footnotes=(*_notes(results, context, rows), *marks.footnotes()),
        methods=[METHOD],
        abbreviations=ABBREVIATIONS,
    )


def _groups(results, context):
    """Pairs (code, label) of the arms, and of all patients unless an arm has no sessions."""
    told = set(results.where(METHOD=METHOD)["GROUP"])
    return [pair for pair in context.groups if pair[0] in told or pair[0] != TOTAL or not told]


def heads(results, groups, method, level):
    """Head of each group with the patients of the analysis set: column N of a counted level."""

    def size(code):
        return lookup.used_part(results.get(method, "n", group=code, level=level))

    return [Column(label, cell("(N=", size(code), ")")) for code, label in groups]


def share_cell(results, context, method, level, group, marks, *more):
    """Patients of a level as n (%), without a percentage of nobody; a dash where there is no row.

    `more` are further pieces that follow the percentage.
    """
    found = results.get(method, "n", group=group, level=level)
    if found is None:
        return DASH
    if not found.value > 0:
        return cell(lookup.count_part(found), mark=mark_not_estimated(found, marks))
    share = results.get(method, "pct", group=group, level=level)
    percent = lookup.part(share, 1, context.style["rounding"])
    mark = mark_not_estimated(share, marks)
    return cell(lookup.count_part(found), " (", percent, ")", *more, mark=mark)


def _described(results, context, groups, code, label, digits, whole, marks):
    """Rows of one parameter: n, mean (SD), median (quartiles) and range."""

    def joined(pattern, decimals):
        """Return a cell a group of statistics, with the text between them as it stands."""
        cells = []
        for group, _ in groups:
            found = {name: _get(results, name, code, group) for name in pattern[::2]}
            if None in found.values():
                cells.append(DASH)
                continue
            lost = next((n for n in found.values() if not n.estimated), None)
            parts = [
                lookup.part(found[piece], decimals, context.style["rounding"])
                if place % 2 == 0
                else piece
                for place, piece in enumerate(pattern)
            ]
            cells.append(cell(*parts, *_closing(pattern), mark=mark_not_estimated(lost, marks)))
        return tuple(cells)

    counts = [_get(results, "n", code, group) for group, _ in groups]
    return [
        Row(cell(label), kind="group"),
        Row(cell("n"), tuple(cell(lookup.count_part(n)) for n in counts), indent=1),
        Row(cell("Mean (SD)"), joined(("mean", " (", "sd"), digits), indent=1),
        Row(
            cell("Median (Q1\u2013Q3)"),
            joined(("median", " (", "q1", "\u2013", "q3"), digits),
            indent=1,
        ),
        Row(cell("Minimum\u2013maximum"), joined(("min", "\u2013", "max"), whole), indent=1),
    ]


def _closing(pattern):
    return (")",) if " (" in pattern else ()


def _get(results, stat, code, group):
    return results.get(METHOD, stat, code, group=group)


def _counted(results, context, groups, marks):
    """Rows of patients by their adherence; what nobody lacks has no row."""

    def row(label, level):
        cells = [share_cell(results, context, METHOD, level, group, marks) for group, _ in groups]
        return Row(cell(label), tuple(cells), indent=1)

    rows = [Row(cell("Patients, n (%)"), kind="group"), row("With planned sessions", "planned")]
    rows += [
        row(f"At least {level.removeprefix(LIMIT)}% of their sessions", level)
        for level in results.levels(METHOD, LIMIT)
    ]
    if results.levels(METHOD, "none"):
        rows.append(row("No session attended", "none"))
    if _any(results, "n", level="unknown"):
        rows.append(row("Adherence not known", "unknown"))
    if _any(results, "total", parameter="NSESSUN"):
        found = [_get(results, "total", "NSESSUN", group) for group, _ in groups]
        cells = tuple(cell(lookup.count_part(number)) for number in found)
        rows.append(Row(cell("Sessions without a record of attendance"), cells))
    return rows


def _any(results, stat, parameter="", level=""):
    """Whether a count is above 0 in any group of the stratum."""
    rows = results.where(METHOD=METHOD, STAT=stat, PARAMCD=parameter, LEVEL=level)
    return bool((rows["VALUE"] > 0).any())


def _notes(results, context, rows):
    if not rows:
        return ()
    notes = [
        "Adherence, sessions attended in percent of those planned for the patient. Percentages of "
        "patients are of all patients of the analysis set (N); n, patients whose value is known."
    ]
    if _any(results, "n", level="unknown"):
        notes.append(
            "Adherence is not known where a planned session has no record of attendance, or the "
            "patient has no record at all."
        )
    asked = set(results.where(METHOD=METHOD, PARAMCD="NSESSPL")["GROUP"])
    if not {arm["code"] for arm in context.arms} <= asked:
        total = " and no total is given" if len(context.arms) > 1 else ""
        notes.append(f"No sessions were planned in an arm with dashes{total}.")
    rule = context.plan.get("quantiles", "")
    if rule:
        sas = " (as SAS PCTLDEF=5)" if rule == "averaged_inverted_cdf" else ""
        notes.append(f"Quartiles by the rule {str(rule).replace('_', ' ')}{sas}.")
    return tuple(("", note) for note in notes)
