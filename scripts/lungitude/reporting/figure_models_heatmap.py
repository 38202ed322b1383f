"""Biomarkers of several networks as a heat map: correlation with truth, and error.

A row a biomarker, a column a network; one line of panels a domain. Darker is larger, so that dark
is good in r and bad in RMSE.
"""

import matplotlib as mpl
from matplotlib.patches import Rectangle

from lungitude import network_study as study
from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, width_of, write_parts
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Absent, Part
from lungitude.reporting.table_network_accuracy import PATIENTS, domains
from lungitude.reporting.table_segmentation_accuracy import models

METHOD = "network_comparison"
# Score: its name, colour map, the STAT that shades it with the values of lightest and darkest.
SCORES = {
    "r": ("Pearson's r", "Blues", "r", (0.0, 1.0)),
    "rmse": ("RMSE", "Oranges", "rmse_ratio", (1.0, 4.0)),
}
R_DECIMALS = 2
# Ends of a colour map that are used: black figures are readable on the lightest, white ones on
# the darkest.
FAINT, DARK, TURN = 0.08, 0.92, 0.6
# All in mm.
LEFT, RIGHT, LABEL, GAP, CELL = 1.5, 1.5, 27.0, 4.0, 5.2
TITLE, HEAD, LINE_STEP, BETWEEN, TOP, FOOT = 5.0, 27.0, 2.9, 3.0, 1.5, 6.5
POINTS, TITLE_POINTS, LEAST_POINTS = 7.0, 7.5, 5.0
FEWER = "\u1d43"  # a raised letter a
FEWER_SAID = f"{FEWER} no value was measured in some patients"


def quantities(rows):
    """Return the biomarkers that rows have, in the order of the study; others last."""
    known = dict.fromkeys(rows.loc[rows["STAT"].isin(("r", "rmse")), "LEVEL"])
    listed = [name for name in study.QUANTITIES if name in known]
    return listed + [name for name in known if name not in study.QUANTITIES]


def caption(results, context, display):
    """Say what is dark, and on whom."""
    results.of(METHOD)
    low, high = SCORES["rmse"][3]
    return (
        "Pearson's correlation with truth and root mean squared error (RMSE, in the unit of each "
        "biomarker). Darker is larger: r from 0 to 1; RMSE by its ratio to the least one of the "
        f"biomarker, from {low:g} to {high:g} and above. Trained on the same samples and steps. "
        f"{PATIENTS}"
    )


@fig.styled
def draw(results, context, display):
    """Draw the heat map.

    Parameters
    ----------
    results : Results
        Rows of method ``network_comparison``.
    context : Context
    display : dict
        ``title``.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide; its height grows with the biomarkers and domains.

    Raises
    ------
    Absent
        If the stratum has no such rows; they stand in that of all patients.
    """
    rows = results.of(METHOD)
    titles, shown, lines = models(results), domains(rows), quantities(rows)
    if not titles or not lines:
        raise Absent("the comparison of networks has no biomarkers here")
    cells = {
        (domain, score): _cells(results, context, lines, list(titles), domain, score)
        for domain in shown
        for score in SCORES
    }
    cell = _cell_width(len(titles))
    points = _points(cells, cell)
    block = TITLE + HEAD + CELL * len(lines)
    height = TOP + len(shown) * block + BETWEEN * (len(shown) - 1) + FOOT
    figure = fig.new(height)
    axes = page(figure, height)
    y = TOP
    for domain in shown:
        _labels(axes, lines, y + TITLE + HEAD)
        for number, score in enumerate(SCORES):
            x = LEFT + LABEL + GAP + number * (cell * len(titles) + GAP)
            _title(axes, results, domain, score, x, y)
            _heads(axes, titles, x, y + TITLE, cell)
            _draw(axes, cells[domain, score], score, x, y + TITLE + HEAD, cell, points)
        y += block + BETWEEN
    if any(entry["fewer"] for grid in cells.values() for line in grid for entry in line):
        axes.text(
            LEFT + LABEL + GAP, height - 3.0, FEWER_SAID, fontsize=6.5, va="center_baseline",
            color=fig.SOFT,
        )  # fmt: skip
    fig.synthetic_line(figure, context, height)
    return figure


def _cell_width(columns):
    room = fig.WIDTH_MM - LEFT - LABEL - RIGHT - GAP * len(SCORES)
    return room / (len(SCORES) * columns)


def _cells(results, context, lines, names, domain, score):
    """Look up a panel: by biomarker and network the number, its shade, and if some are missing."""
    _, _, shading, (low, high) = SCORES[score]
    found = []
    for quantity in lines:
        line = []
        decimals = R_DECIMALS if score == "r" else study.decimals_of(quantity)
        for model in names:
            where = {"group": domain, "comparison": f"{model} - {study.TRUTH}", "level": quantity}
            shade = results.get(METHOD, shading, **where)
            missing = results.get(METHOD, "missing", **where)
            part = lookup.part(
                results.get(METHOD, score, **where), decimals, context.style["rounding"]
            )
            known = shade is not None and shade.estimated
            depth = min(max((shade.value - low) / (high - low), 0.0), 1.0) if known else None
            fewer = missing is not None and missing.value > 0
            line.append({"part": part, "depth": depth, "fewer": fewer})
        found.append(line)
    return found


def _points(cells, cell):
    """Size of type at which the widest number fits its cell."""
    texts = [
        minus(entry["part"].text) + FEWER * entry["fewer"]
        for grid in cells.values()
        for line in grid
        for entry in line
    ]
    widest = max(fig.text_width_mm(text, 6.5) for text in texts)
    return max(LEAST_POINTS, min(6.5, 6.5 * (cell - 0.8) / widest))


def _labels(axes, lines, top):
    for number, quantity in enumerate(lines):
        said = fig.wrap(minus(study.label_of(quantity)), POINTS, LABEL + GAP - 1.0)[0]
        y = top + CELL * (number + 0.5)
        axes.text(LEFT, y, said, fontsize=POINTS, va="center_baseline")


def _title(axes, results, domain, score, x, y):
    name = SCORES[score][0]
    axes.text(
        x, y + 2.0, f"{name}, {domain}", fontsize=TITLE_POINTS, fontweight="bold",
        va="center_baseline",
    )  # fmt: skip
    found = results.get(METHOD, "patients", group=domain)
    if found is not None:
        wide = fig.text_width_mm(f"{name}, {domain}", TITLE_POINTS, bold=True)
        parts = [Part("n = "), lookup.count_part(found)]
        write_parts(axes, x + wide + 3.0, y + 2.0, parts, POINTS, color=fig.SOFT)


def _heads(axes, titles, x, y, cell):
    """Write the names of the networks upright above their columns."""
    for column, title in enumerate(titles.values()):
        said = fig.wrap(title, 6.5, HEAD - 2.0)[: max(1, int((cell - 0.4) // LINE_STEP))]
        first = x + cell * (column + 0.5) - 0.5 * LINE_STEP * (len(said) - 1)
        for number, line in enumerate(said):
            axes.text(
                first + LINE_STEP * number, y + HEAD - 1.0, line, fontsize=6.5, rotation=90,
                ha="center", va="bottom",
            )  # fmt: skip


def _draw(axes, grid, score, x, y, cell, points):
    colours = mpl.colormaps[SCORES[score][1]]
    for row, line in enumerate(grid):
        for column, entry in enumerate(line):
            depth = entry["depth"]
            fill = "#eceef0" if depth is None else colours(FAINT + (DARK - FAINT) * depth)
            left, top = x + cell * column, y + CELL * row
            axes.add_patch(
                Rectangle((left, top), cell, CELL, facecolor=fill, edgecolor="white", linewidth=0.6)
            )
            ink = "white" if depth is not None and depth > TURN else fig.INK
            middle, level = left + 0.5 * cell, top + 0.5 * CELL
            parts = [entry["part"], *([Part(FEWER)] if entry["fewer"] else [])]
            start = middle - 0.5 * width_of(parts, points)
            write_parts(axes, start, level, parts, points, color=ink)
