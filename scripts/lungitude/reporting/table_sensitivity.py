"""The same endpoint by every analysis that estimated a difference between the arms.

One block an endpoint (and a comparison, where there are several), one line an analysis in an
analysis set: what it assumes of missing values, whom it has, the difference and its p. The primary
analysis stands first, then the others in the sets that the plan names for them, then other sets.
"""

from dataclasses import dataclass

from lungitude.reporting import results as lookup
from lungitude.reporting.format import analysis_name
from lungitude.reporting.results import Absent, Number
from lungitude.reporting.table import (
    Column,
    Marks,
    Row,
    Table,
    cell,
    mark_not_estimated,
)
from lungitude.reporting.table_primary import effect_decimals

# Analyses of the change from baseline by arm, in their order below the primary one.
METHODS = ("ancova", "mixed_model", "mmrm", "imputation")
ASSUMPTIONS = {
    "ancova": "complete cases",
    "mixed_model": "missing at random",
    "mmrm": "missing at random",
}
# Levels of the imputation; what else it has under a LEVEL are shifts of imputed values.
STRATEGIES = {
    "mar": "missing at random",
    "j2r": "jump to reference",
    "cr": "copy reference",
    "cir": "copy increments in reference",
}
COMPLETE = (
    "Complete cases, patients with a value at the visit, at baseline and of each covariate; a "
    "model over the visits assumes missing at random by its likelihood, without imputation."
)
COUNTED = (
    "n, patients of the analysis at the visit; an imputation has also those whose value is imputed."
)
ABBREVIATIONS = [
    ("CI", "confidence interval"),
    ("MMRM", "mixed model for repeated measures"),
    ("LS", "least squares"),
    ("CHG", "change from baseline"),
    ("BASE", "value at baseline"),
    ("TRT01P", "arm as randomised"),
    ("AVISIT", "visit"),
    ("USUBJID", "patient"),
    ("REML", "restricted maximum likelihood"),
    ("df", "degrees of freedom"),
]
# As a model line names the covariance of the visits.
COVARIANCES = [
    ("us", "unstructured"),
    ("toep", "Toeplitz"),
    ("toeph", "heterogeneous Toeplitz"),
    ("ar1", "first-order autoregressive"),
    ("ar1h", "heterogeneous first-order autoregressive"),
    ("ad", "ante-dependence"),
    ("adh", "heterogeneous ante-dependence"),
    ("cs", "compound symmetry"),
    ("csh", "heterogeneous compound symmetry"),
]


@dataclass(frozen=True)
class Block:
    """An endpoint and a comparison with the lines of its analyses."""

    parameter: str
    visit: str
    comparison: str
    lines: tuple


@dataclass(frozen=True)
class Line:
    """What one analysis says of a difference.

    `found`, `low`, `high` and `p` are `Number` or None; of a parameter on a log scale the first
    three are those of the ratio. `model` is its model line, without why it could not be estimated.
    """

    method: str
    population: str
    assumption: str
    primary: bool
    found: Number | None
    low: Number | None
    high: Number | None
    p: Number | None
    model: str

    @property
    def label(self):
        """Name of the analysis; the primary one says so."""
        name = analysis_name(self.method)
        return f"{name[:1].upper()}{name[1:]}{' (primary analysis)' if self.primary else ''}"


def endpoints(context, display):
    """Return pairs (parameter, visit): those of the display, else the primary endpoint."""
    primary = context.plan["primary"]
    return [
        (parameter, visit)
        for parameter in display.get("parameters") or [primary["parameter"]]
        for visit in display.get("visits") or [primary["visit"]]
    ]


def blocks(results, context, display):
    """Collect what the table and the figure show.

    Parameters
    ----------
    results : Results
    context : Context
    display : dict
        Optional ``parameters`` and ``visits``.

    Returns
    -------
    list of Block
        Empty where the stratum has no patient.

    Raises
    ------
    Absent
        If no analysis compares the arms in these endpoints.
    """
    if results.empty:
        return []
    found = []
    for parameter, visit in endpoints(context, display):
        for _, comparison in context.comparisons:
            lines = _lines(results, context, parameter, visit, comparison)
            if lines:
                found.append(Block(parameter, visit, comparison, tuple(lines)))
    if not found:
        raise Absent("no analysis compares the arms in this endpoint here")
    return found


def _lines(results, context, parameter, visit, comparison):
    primary = context.plan["primary"]
    planned = (parameter, visit) == (primary["parameter"], primary["visit"])
    # A stable sort: the primary method first, the others in their order.
    methods = sorted(METHODS, key=lambda method: method != primary["method"])
    lines = []
    for found, method in _by_set(results, context, methods):
        rows = found.where(
            METHOD=method,
            PARAMCD=parameter,
            AVISIT=visit,
            COMPARISON=comparison,
            STAT="estimate",
        )
        for row in rows.to_dict("records"):
            level = row["LEVEL"]
            if level and level not in STRATEGIES:
                continue
            lines.append(
                _line(
                    found,
                    context,
                    (method, parameter, visit, comparison, level),
                    row["POPULATION"],
                    planned and found is results and method == primary["method"],
                )
            )
    return lines


def _by_set(results, context, methods):
    """Yield the results in which each analysis is looked up: of its own set, then of the others."""
    for method in methods:
        yield results, method
    analyses = context.plan.get("analyses", {})
    for population in context.plan.get("populations") or {}:
        for method in methods:
            if population in (analyses.get(method, {}).get("also_in") or {}):
                yield results.among(population), method


def _line(results, context, key, population, primary):
    method, parameter, visit, comparison, level = key

    def get(stat):
        return results.get(method, stat, parameter, visit, "", comparison, level)

    names = ("estimate", "ci_low", "ci_high")
    if context.is_log(parameter) and get("ratio") is not None:
        names = ("ratio", "ratio_ci_low", "ratio_ci_high")
    model = results.get(method, "model", parameter, visit)
    return Line(
        method,
        population,
        STRATEGIES[level] if level else ASSUMPTIONS.get(method, ""),
        primary,
        *(get(name) for name in names),
        get("p"),
        model.note.partition("; not estimated")[0] if model is not None else "",
    )


def block_label(context, block):
    """Name an endpoint; with several compared arms also the comparison."""
    label = f"{context.label_with_unit(block.parameter)}: {block.visit}"
    if len(context.comparisons) > 1:
        label = f"{label}; {context.comparison_label(block.comparison)}"
    return label


def difference_parts(line, digits, rounding):
    """Return the pieces that print a difference with its interval."""
    if line.found is None or not line.found.estimated or line.low is None or line.high is None:
        return [lookup.part(line.found, digits, rounding)]
    return [
        lookup.part(line.found, digits, rounding),
        lookup.Part(" ("),
        lookup.part(line.low, digits, rounding),
        lookup.Part(" to "),
        lookup.part(line.high, digits, rounding),
        lookup.Part(")"),
    ]


def population_line(context, shown):
    """Third line of the title: the analysis set, where all lines have the same, and the stratum."""
    populations = {line.population for block in shown for line in block.lines}
    methods = {line.method for block in shown for line in block.lines}
    if len(populations) == 1 and populations == {
        context.plan.get("analyses", {}).get(method, {}).get("population") for method in methods
    }:
        return context.population_line(min(methods))
    return context.stratum["label"]


def build(results, context, display):
    """Build the table of the sensitivity analyses.

    Parameters
    ----------
    results : Results
        Rows of ``ancova``, ``mixed_model``, ``mmrm`` and ``imputation``, as many as there are.
    context : Context
    display : dict
        ``id number alias title``; optional ``parameters`` and ``visits``, else the primary
        endpoint.

    Returns
    -------
    Table
        Without rows where the stratum has no patient.

    Raises
    ------
    Absent
        If no analysis compares the arms in these endpoints.
    """
    shown, marks, rows = blocks(results, context, display), Marks(), []
    for block in shown:
        rows.append(Row(cell(block_label(context, block)), kind="group"))
        rows += [_row(context, block.parameter, line, marks) for line in block.lines]
    methods = list(dict.fromkeys(line.method for block in shown for line in block.lines))
    notes = [("", note) for note in _notes(context)] if rows else []
    return Table.of(
        display,
        context,
        population=population_line(context, shown),
        columns=(
            Column("Analysis"),
            Column("Analysis set"),
            Column("Missing values"),
            Column("n"),
            Column("Difference", cell(f"({context.ci_label})")),
            Column("p"),
        ),
        rows=rows,
        footnotes=(*notes, *marks.footnotes()),
        methods=methods or [context.plan["primary"]["method"]],
        abbreviations=[*ABBREVIATIONS, *COVARIANCES, *names_of_plan(context)],
    )


def names_of_plan(context):
    """Return pairs (short, long) of analysis sets and of columns of patients in a model line.

    A column that its label only spells in other letters, such as AGE, is left out.
    """
    populations = context.plan.get("populations") or {}
    continuous = [item for item in context.characteristics if item.get("type") == "continuous"]
    named = {name: found.get("label", "") for name, found in populations.items()}
    named |= {item["column"]: item.get("label", "") for item in (*continuous, *context.strata)}
    return [
        (name, label) for name, label in named.items() if label.lower() not in ("", name.lower())
    ]


def _row(context, parameter, line, marks):
    digits, rounding = effect_decimals(context, parameter), context.style["rounding"]
    # Letters are handed out as a reader meets them: the model's first.
    model = marks(f"Model: {line.model.rstrip('. ')}.") if line.model else ""
    mark = mark_not_estimated(line.found, marks)
    if not mark and context.is_log(parameter) and line.found is not None and line.found.note:
        mark = marks(f"{line.found.note[:1].upper()}{line.found.note[1:]} between the arms.")
    cells = (
        cell(line.population),
        cell(line.assumption),
        cell(lookup.used_part(line.found)),
        cell(*difference_parts(line, digits, rounding), mark=mark),
        cell(lookup.p_part(line.p, context.style["p"])),
    )
    return Row(cell(line.label, mark=model), cells, indent=1)


def _notes(context):
    reference = context.reference["label"]
    return [
        f"Difference, arm minus {reference} in change from baseline. {COUNTED}",
        COMPLETE,
        "p values are not adjusted for multiple testing.",
    ]
