"""Overlap of several networks with the truth: Dice and IoU by task, with intervals.

A row a network, a column a task; the domains stand beside each other, each with its own marker.
"""

from matplotlib.ticker import MaxNLocator

from lungitude import network_study as study
from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, place, style_of, width_of, write_parts
from lungitude.reporting.results import Absent, Part
from lungitude.reporting.table_network_accuracy import PATIENTS, domains
from lungitude.reporting.table_segmentation_accuracy import models

METHOD = "network_comparison"
SCORES = {"dice": "Dice", "iou": "IoU"}
# All in mm.
LEFT, RIGHT, LABEL, GAP = 1.5, 3.0, 38.0, 5.0
LINE_STEP, ROW_PAD, AXIS, TOP, BETWEEN, FOOT = 3.1, 2.4, 9.0, 1.5, 2.0, 7.0
POINTS, TITLE_POINTS = 7.0, 7.5


def tasks(rows):
    """Return the tasks that rows have, in the order of the study."""
    known = set(rows["LEVEL"])
    return [task for task in study.TASKS if task in known]


def caption(results, context, display):
    """Say what the points are, and on whom."""
    shown = domains(results.of(METHOD))
    return (
        f"Mean overlap over patients ({_names(shown)}) with {study.INTERVAL}; all networks were "
        f"trained on the same samples, with as many steps. {PATIENTS}"
    )


def _names(shown):
    names = {"internal": "internal, filled", "external": "external, open"}
    return "; ".join(names.get(name, name) for name in shown)


@fig.styled
def draw(results, context, display):
    """Draw the overlap of all networks.

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
        180 mm wide; its height grows with the networks.

    Raises
    ------
    Absent
        If the stratum has no such rows; they stand in that of all patients.
    """
    rows = results.of(METHOD)
    titles, shown, columns = models(results), domains(rows), tasks(rows)
    if not titles or not columns:
        raise Absent("the comparison of networks has no overlap here")
    lines = {name: fig.wrap(title, POINTS, LABEL) for name, title in titles.items()}
    heads = [fig.wrap(task.capitalize(), TITLE_POINTS, _width(columns), True) for task in columns]
    head = 1.5 + 3.3 * max(map(len, heads))
    rows_mm = [max(1.8 * len(shown), LINE_STEP * len(said)) + ROW_PAD for said in lines.values()]
    panel = sum(rows_mm)
    height = TOP + head + len(SCORES) * (panel + AXIS) + BETWEEN + FOOT
    figure = fig.new(height)
    axes = page(figure, height)
    for index, said in enumerate(heads):
        for number, line in enumerate(reversed(said)):
            x = _left(columns, index)
            y = TOP + head - 2.2 - 3.3 * number
            axes.text(x, y, line, fontsize=TITLE_POINTS, fontweight="bold", va="center_baseline")
    y = TOP + head
    for score, name in SCORES.items():
        _labels(axes, lines, rows_mm, y)
        for index, task in enumerate(columns):
            box = (_left(columns, index), y, _width(columns), panel)
            plot = place(figure, *box, height)
            _panel(plot, results, task, score, list(titles), shown, rows_mm)
            plot.set_xlabel(name, labelpad=1.5)
        y += panel + AXIS + BETWEEN / len(SCORES)
    _legend(axes, results, shown, height)
    fig.synthetic_line(figure, context, height)
    return figure


def _width(columns):
    room = fig.WIDTH_MM - LEFT - LABEL - RIGHT - GAP * len(columns)
    return room / len(columns)


def _left(columns, index):
    return LEFT + LABEL + GAP + index * (_width(columns) + GAP)


def _labels(axes, lines, rows_mm, top):
    """Write the names of the networks beside their rows."""
    y = top
    for said, high in zip(lines.values(), rows_mm, strict=True):
        first = y + 0.5 * high - 0.5 * LINE_STEP * (len(said) - 1)
        for number, line in enumerate(said):
            axes.text(LEFT, first + LINE_STEP * number, line, fontsize=POINTS, va="center_baseline")
        y += high


def _panel(plot, results, task, score, names, shown, rows_mm):
    """Draw a score of a task: a row a network, the domains beside each other."""
    y = 0.0
    for number, (model, high) in enumerate(zip(names, rows_mm, strict=True)):
        if number % 2:
            plot.axhspan(y, y + high, color="#f3f5f7", linewidth=0, zorder=0)
        for index, domain in enumerate(shown):
            at = y + 0.5 * high + 1.9 * (index - 0.5 * (len(shown) - 1))
            _estimate(plot, results, task, score, model, domain, index, at)
        y += high
    plot.set_ylim(y, 0.0)
    plot.set_yticks([])
    plot.spines["left"].set_visible(False)
    plot.margins(x=0.08)
    plot.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2, steps=[1, 2, 5, 10]))
    plot.grid(axis="x", color=fig.LINE, linewidth=0.3, alpha=0.5)
    plot.set_axisbelow(True)


def _estimate(plot, results, task, score, model, domain, index, y):
    where = {"group": domain, "comparison": f"{model} - {study.TRUTH}", "level": task}
    found = results.get(METHOD, score, **where)
    if found is None or not found.estimated:
        return
    ends = [results.get(METHOD, f"{score}_ci_{end}", **where) for end in ("low", "high")]
    if all(end is not None and end.estimated for end in ends):
        colour = fig.COLOURS[index % len(fig.COLOURS)]
        limits = [end.value for end in ends]
        plot.plot(limits, [y, y], color=colour, linewidth=0.9, zorder=2, solid_capstyle="butt")
    plot.plot([found.value], [y], zorder=3, **_marker(index))


def _marker(index):
    return {**style_of(index), "linestyle": "none", "markersize": 3.4}


def _legend(axes, results, shown, height):
    """Name the markers, with how many patients each domain has."""
    x, y = LEFT + LABEL + GAP, height - 3.6
    for index, domain in enumerate(shown):
        axes.plot([x + 1.0], [y], clip_on=False, **_marker(index))
        parts = [Part(domain.capitalize())]
        found = results.get(METHOD, "patients", group=domain)
        if found is not None:
            parts += [Part(", n = "), lookup.count_part(found)]
        write_parts(axes, x + 3.0, y, parts)
        x += 3.0 + width_of(parts) + 7.0
