"""What was measured on synthetic scans against their truth: r, error, bias, limits of agreement."""

from lungitude.reporting import results as lookup
from lungitude.reporting.table import Column, Marks, Row, Table, cell
from lungitude.reporting.table_agreement import interval_cell

METHOD = "accuracy"
ABBREVIATIONS = [
    ("CI", "confidence interval"),
    ("r", "Pearson's correlation"),
    ("RMSE", "root mean squared error"),
]


def build(results, context, display):
    """Build the table of accuracy.

    Parameters
    ----------
    results : Results
        Rows of method ``accuracy``.
    context : Context
    display : dict
        ``id number alias title``.

    Raises
    ------
    Absent
        If the stratum has no such rows.
    """
    found = results.of(METHOD)
    known = set(found["PARAMCD"])
    marks = Marks()
    rows = [
        _row(results, context, row["PARAMCD"], found, marks)
        for row in context.parameters
        if row["PARAMCD"] in known
    ]
    note = (
        "n, scans. Bias, mean of what was measured minus the truth that the scan was made from; "
        "95% of the differences are expected within the limits of agreement. In brackets, "
        f"{context.ci_label}."
    )
    interval = cell(f"({context.ci_label})")
    return Table.of(
        display,
        context,
        columns=(
            Column("Parameter"),
            Column("n"),
            Column("r", interval),
            Column("RMSE"),
            Column("Bias", interval),
            Column("Lower limit"),
            Column("Upper limit"),
        ),
        rows=rows,
        footnotes=(("", note), *marks.footnotes()),
        methods=[METHOD],
        abbreviations=ABBREVIATIONS,
    )


def _row(results, context, parameter, found, marks):
    digits, rounding = context.decimals(parameter) + 1, context.style["rounding"]
    mine = found.loc[found["PARAMCD"] == parameter].iloc[0]

    def get(stat):
        return results.get(METHOD, stat, parameter, mine["AVISIT"], comparison=mine["COMPARISON"])

    cells = (
        cell(lookup.used_part(get("rmse"))),
        interval_cell(get, "r", "r", 3, rounding, marks),
        cell(lookup.part(get("rmse"), digits, rounding)),
        interval_cell(get, "bias", "bias", digits, rounding, marks),
        cell(lookup.part(get("loa_low"), digits, rounding)),
        cell(lookup.part(get("loa_high"), digits, rounding)),
    )
    return Row(cell(context.label_with_unit(parameter)), cells)
