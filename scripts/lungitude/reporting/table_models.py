"""What each model of the plan was, as it was fitted: one row a model line of the results table.

Models that read the same are one row, which lists its parameters with how many patients (or
observations) the model of each has.
"""

import re
from dataclasses import dataclass

from lungitude.reporting import results as lookup
from lungitude.reporting.figure_trend import parameters
from lungitude.reporting.format import analysis_name
from lungitude.reporting.results import Absent
from lungitude.reporting.table import Cell, Column, Marks, Row, Table, cell
from lungitude.reporting.table_sensitivity import COVARIANCES, names_of_plan

STAT = "model"
COUNTED = (
    "n, patients in the model; a model over the visits has one n, its observations, an imputation "
    "its patients."
)
ABBREVIATIONS = [
    ("LS", "least squares"),
    ("CHG", "change from baseline"),
    ("AVAL", "value"),
    ("BASE", "value at baseline"),
    ("TRT01P", "arm as randomised"),
    ("AVISIT", "visit"),
    ("USUBJID", "patient"),
    ("MMRM", "mixed model for repeated measures"),
    ("REML", "restricted maximum likelihood"),
    ("df", "degrees of freedom"),
]
_REMARK = re.compile(
    r"^(not estimated|left out|pooled: |no random effect|variance between)| instead of "
)
_FIT = re.compile(r"^(REML|ML|least squares|conditional mean|\d+ imputations)$")
_INFERENCE = re.compile(r"\bdf\b|standard errors$|^Rubin's rules$")


@dataclass(frozen=True)
class Model:
    """A model line, taken apart.

    `equation` has formula, scale and visits; `inference` degrees of freedom and standard errors;
    `means` how LS means are weighted; `remarks` what is none of these, such as terms that were left
    out or why there is no estimate.
    """

    equation: str
    estimation: str = ""
    covariance: str = ""
    inference: str = ""
    means: str = ""
    remarks: tuple[str, ...] = ()


def parse(line):
    """Take a model line apart; every piece of it stands in one field of the `Model`.

    Parameters
    ----------
    line : str
        NOTE of a row of STAT model.

    Returns
    -------
    Model
        The analysis set, which is a column of the results table, is left out.
    """
    equation, scale, means = [], [], []
    said = {"estimation": [], "covariance": [], "inference": [], "remarks": []}
    for piece in line.split("; "):
        first, *others = piece.split(", ")
        if piece.startswith("analysis set"):
            continue
        if _REMARK.search(piece):
            said["remarks"].append(piece)
        elif piece.startswith("LS means"):
            means.append(piece)
        elif " ~ " in first:
            equation.append(first)
            _sort(others, said)
        elif piece.endswith(" scale"):
            scale.append(piece)
        elif piece.startswith(("visits ", "responder: ")):
            equation.append(piece)
        elif any(_kind(part) != "remarks" for part in (first, *others)):
            _sort([first, *others], said)
        else:
            said["remarks"].append(piece)
    if not equation and said["remarks"]:
        equation.append(said["remarks"].pop(0))  # a line without a formula says it in words
    return Model(
        "; ".join([*equation, *scale]),
        ", ".join(said["estimation"]),
        ", ".join(said["covariance"]),
        ", ".join(said["inference"]),
        "; ".join(means),
        tuple(said["remarks"]),
    )


def _sort(pieces, said):
    for piece in pieces:
        kind = _kind(piece)
        if kind == "covariance":
            piece = piece.removeprefix("covariance ").removesuffix(" covariance")
        said[kind].append(piece)


def _kind(piece):
    if piece.startswith("covariance ") or piece.endswith(" covariance"):
        return "covariance"
    if _INFERENCE.search(piece):
        return "inference"
    return "estimation" if _FIT.search(piece) else "remarks"


def collected(results, context, display):
    """Group the models that read the same.

    Returns
    -------
    dict of str to dict of str to list of (str, str, str)
        By method, then by model line: (parameter, visit, level) of its rows.
    """
    wanted, visits = parameters(context, display), display.get("visits")
    rows = results.where(STAT=STAT)
    planned = {name: place for place, name in enumerate(context.plan.get("analyses", {}))}
    found = {}
    for method in sorted(
        dict.fromkeys(rows["METHOD"]), key=lambda name: planned.get(name, len(planned))
    ):
        own = rows[rows["METHOD"] == method]
        for parameter in wanted:
            for row in own[own["PARAMCD"] == parameter].to_dict("records"):
                if not visits or row["AVISIT"] in visits:
                    where = (parameter, row["AVISIT"], row["LEVEL"])
                    found.setdefault(method, {}).setdefault(row["NOTE"], []).append(where)
    return found


def build(results, context, display):
    """Build the table of models.

    Parameters
    ----------
    results : Results
        Rows of STAT model of all methods.
    context : Context
    display : dict
        ``id number alias title``; optional ``parameters`` (else the primary endpoint and those of
        the families) and ``visits`` (else all).

    Returns
    -------
    Table
        Without rows where the stratum has no patient.

    Raises
    ------
    Absent
        If no model of these parameters was fitted.
    """
    found = {} if results.empty else collected(results, context, display)
    if not found and not results.empty:
        raise Absent("no model of these parameters was fitted here")
    models = {line: parse(line) for lines in found.values() for line in lines}
    means = list(dict.fromkeys(model.means for model in models.values() if model.means))
    marks, rows = Marks(), []
    for method, lines in found.items():
        rows.append(Row(cell(_section(results, method)), kind="section"))
        for line, where in lines.items():
            rows += _rows(results, context, method, models[line], where, marks, len(means) > 1)
    notes = [("", COUNTED)] if rows else []
    if len(means) == 1:
        notes.append(("", f"{means[0]}."))
    return Table.of(
        display,
        context,
        population=context.stratum["label"],
        columns=(
            Column("Model and parameters"),
            Column("Estimation"),
            Column("Covariance"),
            Column("Inference"),
        ),
        rows=rows,
        footnotes=(*notes, *marks.footnotes()),
        methods=list(found) or ["models"],
        abbreviations=[*ABBREVIATIONS, *COVARIANCES, *names_of_plan(context)],
    )


def _section(results, method):
    name = analysis_name(method)
    populations = dict.fromkeys(results.where(METHOD=method, STAT=STAT)["POPULATION"])
    used = ", ".join(filter(None, populations))
    return f"{name[:1].upper()}{name[1:]}{f' (analysis set {used})' if used else ''}"


def _rows(results, context, method, model, where, marks, with_means):
    """Head of a model with its equation, then the line of its parameters."""
    said = [*([model.means] if with_means and model.means else []), *model.remarks]
    mark = ",".join(marks(f"{note[:1].upper()}{note[1:].rstrip('.')}.") for note in said)
    cells = tuple(
        cell(text or lookup.text.NOT_APPLICABLE)
        for text in (model.estimation, model.covariance, model.inference)
    )
    equation = model.equation[:1].upper() + model.equation[1:]
    head = Row(cell(equation, mark=mark), kind="group")
    return [head, Row(_parameters(results, context, method, model, where), cells, indent=1)]


def _parameters(results, context, method, model, where):
    """List parameters with the n of each model; a model over the visits has one n."""
    over_visits = re.search(r"\bAVISIT\b", model.equation) is not None
    parts, last = [], None
    for parameter, visit, level in where:
        if parameter == last and over_visits:
            continue
        found = results.get(method, STAT, parameter, visit, level=level)
        if parameter != last:
            parts.append(f"{'), ' if last else ''}{context.label(parameter)} (")
        else:
            parts.append("; ")
        if visit and not over_visits:
            parts.append(f"{visit}: ")
        parts += ["n\u00a0=\u00a0", lookup.used_part(found)]
        last = parameter
    return Cell(cell(*parts, ")").parts)
