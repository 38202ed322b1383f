"""Agreement of an automatic measurement with readers: ICC, bias and limits of agreement."""

from lungitude.reporting import results as lookup
from lungitude.reporting.table import (
    Column,
    Marks,
    Row,
    Table,
    cell,
    mark_not_estimated,
)

METHOD = "agreement"
ABBREVIATIONS = [
    ("ICC", "intraclass correlation, ICC(A,1)"),
    ("CI", "confidence interval"),
    ("SD", "standard deviation"),
]


def build(results, context, display):
    """Build the agreement table.

    Parameters
    ----------
    results : Results
        Rows of method ``agreement``.
    context : Context
    display : dict
        ``id number alias title``.

    Raises
    ------
    Absent
        If the stratum has no such rows.
    """
    found = results.of(METHOD)
    pairs = list(
        dict.fromkeys(zip(found["PARAMCD"], found["AVISIT"], found["COMPARISON"], strict=True))
    )
    order = {row["PARAMCD"]: index for index, row in enumerate(context.parameters)}
    pairs.sort(key=lambda pair: order.get(pair[0], len(order)))
    marks, rows, last = Marks(), [], None
    for parameter, visit, comparison in pairs:
        if parameter != last:
            rows.append(Row(cell(context.label_with_unit(parameter)), kind="group"))
            last = parameter
        rows.append(_row(results, context, parameter, visit, comparison, marks))
    notes = [
        (
            "",
            "n, pairs of measurements. Bias, mean of the first minus the second; 95% of the "
            "differences are expected within the limits of agreement. In brackets, "
            f"{context.ci_label}.",
        )
    ]
    interval = cell(f"({context.ci_label})")
    return Table.of(
        display,
        context,
        columns=(
            Column("Parameter and comparison"),
            Column("n"),
            Column("ICC(A,1)", interval),
            Column("Bias", interval),
            Column("SD of differences"),
            Column("Lower limit", interval),
            Column("Upper limit", interval),
        ),
        rows=rows,
        footnotes=(*notes, *marks.footnotes()),
        methods=[METHOD],
        abbreviations=ABBREVIATIONS,
    )


def _row(results, context, parameter, visit, comparison, marks):
    digits, rounding = context.decimals(parameter) + 1, context.style["rounding"]

    def get(stat):
        return results.get(METHOD, stat, parameter, visit, comparison=comparison)

    def with_ci(stat, prefix, decimals):
        return interval_cell(get, stat, prefix, decimals, rounding, marks)

    used = get("icc_a1") or get("bias")
    label = f"{comparison}, {visit}" if visit else comparison
    cells = (
        cell(lookup.used_part(used)),
        with_ci("icc_a1", "icc", 2),
        with_ci("bias", "bias", digits),
        cell(lookup.part(get("sd"), digits, rounding)),
        with_ci("loa_low", "loa_low", digits),
        with_ci("loa_high", "loa_high", digits),
    )
    return Row(cell(label), cells, indent=1)


def interval_cell(get, stat, prefix, decimals, rounding, marks):
    """Cell of an estimate with its interval.

    Parameters
    ----------
    get : callable
        Looks a statistic up.
    stat, prefix : str
        Of the estimate, and of its limits before ``_ci_low``.
    decimals : int
    rounding : str
    marks : Marks
    """
    found, low, high = get(stat), get(f"{prefix}_ci_low"), get(f"{prefix}_ci_high")
    mark = mark_not_estimated(found, marks)
    if found is not None and found.estimated and found.note.endswith("as independent"):
        mark = marks("The interval takes several pairs of a patient as independent.")
    if low is None or high is None or not found or not found.estimated:
        return cell(lookup.part(found, decimals, rounding), mark=mark)
    return cell(
        lookup.part(found, decimals, rounding),
        " (",
        lookup.part(low, decimals, rounding),
        " to ",
        lookup.part(high, decimals, rounding),
        ")",
        mark=mark,
    )
