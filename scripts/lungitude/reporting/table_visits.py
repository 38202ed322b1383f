"""Values and changes of each parameter by visit and arm: n, mean, median, range."""

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

METHOD = "describe"
ABBREVIATIONS = [
    ("SD", "standard deviation"),
    ("Q1\u2013Q3", "first to third quartile"),
]
NO_VALUE = "No patient has a value at any visit."
NOT_NORMAL = (
    "Described by the median: in an arm the values differ from a normal distribution "
    "(Shapiro-Wilk p of 0.05 or less) or can't be tested."
)


def build(results, context, display):
    """Build the description by visit.

    Parameters
    ----------
    results : Results
        Rows of method ``describe``; with its option by_normality also the Shapiro-Wilk p of each
        arm, and which description suits all arms.
    context : Context
    display : dict
        ``id number alias title``; optional ``parameters`` (default: all that were described).

    Returns
    -------
    Table
        Without rows where the stratum has no patient.

    Raises
    ------
    Absent
        If there are patients, but no rows of the description.
    """
    marks, rows, tested = Marks(), [], False
    if not results.empty:
        found = results.of(METHOD)
        tested = bool((found["STAT"] == "shapiro_p").any())
        for code in parameters(found, context, display):
            rows += _parameter(results, context, code, tested, marks)
    heads = ["n", "Missing", "Mean (SD)", "Median (Q1\u2013Q3)", "Min", "Max"]
    return Table.of(
        display,
        context,
        columns=(
            Column("Parameter, visit and arm"),
            *(Column(head) for head in heads),
            *([Column("Shapiro-Wilk p")] if tested else []),
        ),
        rows=rows,
        footnotes=(*_notes(context, rows, tested), *marks.footnotes()),
        methods=[METHOD],
        abbreviations=ABBREVIATIONS,
    )


def parameters(found, context, display):
    """Return the codes that a table shows: the display's list, else all of an analysis.

    Parameters
    ----------
    found : DataFrame
        Rows of the analysis.
    context : Context
    display : dict

    Returns
    -------
    list of str
        In the order of the display, else of parameters.tsv; codes that are not in parameters.tsv
        come last, so that asking for their name says so.
    """
    if display.get("parameters"):
        return list(display["parameters"])
    known = set(found["PARAMCD"]) - {""}
    listed = [row["PARAMCD"] for row in context.parameters if row["PARAMCD"] in known]
    return listed + sorted(known - set(listed))


def section(context, code, there, marks):
    """Return the band over the block of a parameter; it says if the block has nothing to show."""
    mark = "" if there else marks(NO_VALUE)
    return Row(cell(context.label_with_unit(code), mark=mark), kind="section")


def mean_cell(get, decimals, rounding, marks):
    """Return the cell of a mean and its SD.

    Parameters
    ----------
    get : callable
        Looks a statistic up.
    decimals : int
        Of both.
    rounding : str
    marks : Marks

    Returns
    -------
    Cell
        One NE, not two, where there is no mean.
    """
    mean, spread = get("mean"), get("sd")
    if mean is None:
        return DASH
    if not mean.estimated:
        return cell(lookup.part(mean), mark=mark_not_estimated(mean, marks))
    return cell(
        lookup.part(mean, decimals, rounding),
        " (",
        lookup.part(spread, decimals, rounding),
        ")",
        mark=mark_not_estimated(spread, marks),
    )


def median_cell(get, decimals, rounding, marks):
    """Return the cell of a median and its quartiles, for the arguments see `mean_cell`."""
    median, low, high = get("median"), get("q1"), get("q3")
    if median is None:
        return DASH
    if not median.estimated:
        return cell(lookup.part(median), mark=mark_not_estimated(median, marks))
    negative = any(found is not None and found.value < 0 for found in (low, high))
    return cell(
        lookup.part(median, decimals, rounding),
        " (",
        lookup.part(low, decimals, rounding),
        " to " if negative else "\u2013",  # a dash before a minus sign can't be read
        lookup.part(high, decimals, rounding),
        ")",
    )


def _parameter(results, context, code, tested, marks):
    """Rows of a parameter: a group a visit, and one for its change, with a line an arm."""
    groups = []
    for visit in context.visits:
        name = visit["name"]
        change = f"{name}, change from {context.baseline}"
        for level, label in (("AVAL", name), ("CHG", change)):
            if len(results.where(METHOD=METHOD, PARAMCD=code, AVISIT=name, LEVEL=level)):
                groups.append(_head(results, code, name, level, label, marks))
                groups += [
                    _arm(results, context, code, name, level, arm, tested, marks)
                    for arm in context.arms
                ]
    return [section(context, code, groups, marks), *groups]


def _head(results, code, visit, level, label, marks):
    """Head of a group; a footnote says where the mean does not describe the values."""
    normal = results.get(METHOD, "normal", code, visit, level=level)
    mark = marks(NOT_NORMAL) if normal is not None and normal.value == 0 else ""
    return Row(cell(label, mark=mark), kind="group")


def _arm(results, context, code, visit, level, arm, tested, marks):
    """One line: the statistics of an arm at a visit."""
    digits, rounding = context.decimals(code), context.style["rounding"]

    def get(stat):
        return results.get(METHOD, stat, code, visit, arm["code"], level=level)

    def raw(stat):
        found = get(stat)
        return cell(lookup.part(found, digits, rounding), mark=mark_not_estimated(found, marks))

    cells = [
        cell(lookup.count_part(get("n"))),
        cell(lookup.count_part(get("missing"))),
        mean_cell(get, digits + 1, rounding, marks),
        median_cell(get, digits + 1, rounding, marks),
        raw("min"),
        raw("max"),
    ]
    if tested:
        found = get("shapiro_p")
        shown = lookup.p_part(found, context.style["p"])
        cells.append(cell(shown, mark=mark_not_estimated(found, marks)))
    return Row(cell(arm["label"]), tuple(cells), indent=1)


def _notes(context, rows, tested):
    if not rows:
        return ()
    notes = [
        "n, patients with a value; missing, the others of the analysis set. A change needs a value "
        f"at the visit and at {context.baseline}."
    ]
    rule = context.plan.get("quantiles", "")
    if rule:
        sas = " (as SAS PCTLDEF=5)" if rule == "averaged_inverted_cdf" else ""
        notes.append(f"Quartiles by the rule {str(rule).replace('_', ' ')}{sas}.")
    if tested:
        notes.append("Without a mark, the values of every arm are described by the mean (SD).")
    return tuple(("", note) for note in notes)
