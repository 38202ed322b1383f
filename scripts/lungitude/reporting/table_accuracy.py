"""What was measured on synthetic scans against their truth: r, error, bias, limits of agreement."""

from lungitude.reporting import results as lookup
from lungitude.reporting.displays import title_number
from lungitude.reporting.table import Column, Marks, Row, Table, cell, finish
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
    table = Table(
        id=display["id"],
        number=title_number(display),
        title=display["title"],
        population=context.population_line(METHOD),
        columns=(
            Column("Parameter"),
            Column("n"),
            Column("r", interval),
            Column("RMSE"),
            Column("Bias", interval),
            Column("Lower limit"),
            Column("Upper limit"),
        ),
        rows=tuple(rows),
        footnotes=(("", note), *marks.footnotes()),
        source=context.source_line([METHOD]),
    )
    return finish(table, ABBREVIATIONS)


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
