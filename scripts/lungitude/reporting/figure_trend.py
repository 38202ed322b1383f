"""Mean change from baseline by visit and arm, one small panel a parameter.

Means and intervals are those of the model in the results table. Where the model could not be
estimated the observed mean stands in, hollow and without an interval, and the panel says so.
"""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.format import analysis_name
from lungitude.reporting.pages import minus
from lungitude.reporting.table_primary import effect

ABOVE, BELOW_ROW, PANEL = 6.2, 3.3, 31.0
LEFT, RIGHT, GAP = 15.0, 2.0, 15.0
# A panel is at least as wide; on a figure narrower than that, the legend has lines of its own.
LEAST, NARROW = 40.0, 140.0


def parameters(context, display):
    """Return the parameters to draw: the display's list, else primary and families in order."""
    if display.get("parameters"):
        return list(display["parameters"])
    plan = context.plan
    named = [plan["primary"]["parameter"]]
    for family in plan.get("families", []):
        named += family["parameters"]
    return list(dict.fromkeys(named))


def series(results, context, parameter, analysis):
    """Collect what a panel shows.

    Returns
    -------
    dict of str to list of dict
        By arm, one entry a visit after baseline: ``visit``, ``mean``, ``low``, ``high``, ``used``
        (`Number` or None) and ``observed`` (True where the model has no mean).
    """
    found = {}
    for arm in context.arms:
        points = []
        for visit in context.followups:
            block = (parameter, visit["name"], analysis)
            mean, (low, high), _ = effect(results, context, block, group=arm["code"])
            used, observed = mean, False
            # A ratio has no observed counterpart among the descriptive rows.
            if (mean is None or not mean.estimated) and not context.is_log(parameter):
                mean = results.get(
                    "describe", "mean", parameter, visit["name"], arm["code"], level="CHG"
                )
                low = high = None
                used, observed = mean, True
            points.append(
                {
                    "visit": visit["name"],
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "used": used,
                    "observed": observed,
                }
            )
        found[arm["code"]] = points
    return found


def positions(context):
    """Place the visits on the axis: by their day where all have one, else evenly."""
    days = [visit.get("day") for visit in context.visits]
    if any(day is None for day in days) or sorted(set(days)) != days:
        days = range(len(context.visits))
    first, last = days[0], days[-1]
    span = (last - first) or 1
    return {
        visit["name"]: (day - first) / span for visit, day in zip(context.visits, days, strict=True)
    }


def caption(results, context, display):
    """Say what the panels show: the analysis, its intervals, the analysis set, the stratum."""
    method = results.trend_method(display)
    return (
        f"{means_of(method)[0]} with {context.ci_label}; below the axis, patients "
        f"{'with a change' if method == 'within_arm' else 'of the model'} at the visit. "
        f"{context.population_line(method)}"
    )


def means_of(method):
    """Name the means that are drawn, in a sentence and in short."""
    if method == "within_arm":
        return "Mean changes of the patients", "Mean change"
    name = analysis_name(method)
    return f"Least squares means of the {name}", f"LS mean ({name})"


@fig.styled
def draw(results, context, display):
    """Draw the panels.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide; a notice where the stratum has no patient or nothing was analysed.
    """
    named = [p for p in parameters(context, display) if context.has_parameter(p)]
    analysis = results.trend_method(display)
    shown = []
    for parameter in named:
        points = series(results, context, parameter, analysis)
        if any(p["mean"] is not None for arm in points.values() for p in arm):
            shown.append((parameter, points))
    if results.empty or not shown or not context.followups:
        why = "No patients" if results.empty else "No change from baseline was analysed"
        return fig.notice(f"{why}: {context.stratum['label']}.", display["title"])
    columns = 1 if len(shown) == 1 else 2 if len(shown) in (2, 4) else 3
    columns = max(1, min(columns, int((fig.WIDTH_MM - RIGHT) // (GAP + LEAST))))
    lines = -(-len(shown) // columns)
    below = 6.5 + BELOW_ROW * len(context.arms)
    room = fig.WIDTH_MM - RIGHT - columns * GAP
    width = min(room / columns, 95.0)
    titles = [_title(context, parameter, width) for parameter, _ in shown]
    above = [
        ABOVE + 3.2 * max(map(len, titles[i * columns : (i + 1) * columns])) for i in range(lines)
    ]
    legend = 6.0 + 4.2 * (_legend_rows(context) - 1) + (6.0 if _narrow() else 0.0)
    height = legend + sum(above) + lines * (PANEL + below) + 2.0
    figure = fig.new(height)
    for index, (parameter, points) in enumerate(shown):
        row, column = divmod(index, columns)
        x = LEFT + column * (width + GAP)
        y = legend + sum(above[: row + 1]) + row * (PANEL + below)
        axes = figure.add_axes(
            (x / fig.WIDTH_MM, 1 - (y + PANEL) / height, width / fig.WIDTH_MM, PANEL / height)
        )
        letter = chr(ord("A") + index) if len(shown) <= 26 else str(index + 1)
        _panel(axes, context, parameter, points, titles[index], letter, width)
    observed = any(
        p["observed"] and p["mean"] is not None
        for _, points in shown
        for arm in points.values()
        for p in arm
    )
    _legend(figure, context, analysis, observed, height)
    fig.synthetic_line(figure, context, height)
    return figure


def _panel(axes, context, parameter, points, title, letter, width):
    places = positions(context)
    names = list(places)
    start = 1 if context.is_log(parameter) else 0
    axes.axhline(start, color=fig.LINE, linewidth=0.6, zorder=1)
    arms = len(context.arms)
    observed = False
    for index, arm in enumerate(context.arms):
        style = _style(index)
        shift = (index - (arms - 1) / 2) * 0.045
        kept = [p for p in points[arm["code"]] if p["mean"] is not None and p["mean"].estimated]
        xs = [places[p["visit"]] + shift for p in kept]
        ys = [p["mean"].value for p in kept]
        # No change at baseline by definition: the lines start there, without a marker.
        axes.plot(
            [places[context.baseline], *xs],
            [start, *ys],
            color=style["color"],
            linestyle=style["linestyle"],
            zorder=2 + index,
        )
        for x, point in zip(xs, kept, strict=True):
            if point["low"] is not None and point["low"].estimated:
                axes.plot(
                    [x, x],
                    [point["low"].value, point["high"].value],
                    color=style["color"],
                    linewidth=0.9,
                    zorder=2 + index,
                )
                for end in (point["low"].value, point["high"].value):
                    axes.plot(
                        [x - 0.015, x + 0.015],
                        [end, end],
                        color=style["color"],
                        linewidth=0.9,
                        zorder=2 + index,
                    )
            observed |= point["observed"]
            hollow = point["observed"] or index % 2
            axes.plot(
                [x],
                [point["mean"].value],
                marker=style["marker"],
                markersize=4.2,
                color=style["color"],
                markerfacecolor="white" if hollow else style["color"],
                markeredgewidth=1.0,
                linestyle="none",
                zorder=12 + index,
            )
    axes.set_xlim(-0.12, 1.12)
    axes.margins(y=0.08)
    axes.set_xticks(list(places.values()), names)
    axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
    unit = "" if context.is_log(parameter) else context.unit(parameter)
    name = "Ratio to baseline" if context.is_log(parameter) else "Change"
    axes.set_ylabel(f"{name}, {unit}" if unit else name)
    axes.yaxis.set_label_coords(-10.6 / width, 0.5)
    height = PANEL
    notes = [context.direction(parameter)] if context.direction(parameter) else []
    if observed:
        notes.append("observed means")
    base = 1 + 1.2 / height
    if notes:
        axes.text(
            0,
            base,
            "; ".join(notes),
            transform=axes.transAxes,
            fontsize=6,
            color=fig.SOFT,
            va="bottom",
        )
        base += 2.9 / height
    axes.text(
        0,
        base,
        "\n".join(title),
        transform=axes.transAxes,
        fontsize=7.5,
        fontweight="bold",
        va="bottom",
        linespacing=1.05,
    )
    axes.text(
        -11.5 / width,
        base,
        letter,
        transform=axes.transAxes,
        fontsize=9,
        fontweight="bold",
        va="bottom",
    )
    _counts(axes, context, points, places, width)


def _title(context, parameter, width):
    label = minus(context.label(parameter))
    lines = fig.wrap(label, 7.5, width + 1.5, bold=True)
    # A last line of one short word looks lost: break earlier while that costs no line.
    for share in (0.9, 0.8, 0.7, 0.6):
        tried = fig.wrap(label, 7.5, share * width, bold=True)
        if len(tried) == len(lines) > 1 and len(lines[-1]) < 0.5 * len(lines[-2]):
            lines = tried
    return lines


def _counts(axes, context, points, places, width):
    """Write the numbers behind each mean below the axis, a line an arm."""
    for index, arm in enumerate(context.arms):
        y = -(6.5 + BELOW_ROW * index) / PANEL
        colour = _style(index)["color"]
        axes.plot(
            [-5.2 / width],
            [y + 0.3 / PANEL],
            marker=_style(index)["marker"],
            markersize=3.6,
            color=colour,
            markerfacecolor="white" if index % 2 else colour,
            transform=axes.transAxes,
            clip_on=False,
            linestyle="none",
        )
        if index == 0:
            axes.text(
                -8.2 / width,
                y,
                "n",
                transform=axes.transAxes,
                fontsize=6.5,
                ha="center",
                va="center",
                color=fig.SOFT,
                fontstyle="italic",
            )
        for point in points[arm["code"]]:
            shown = lookup.used_part(point["used"])
            drawn = axes.text(
                places[point["visit"]],
                y,
                shown.text,
                fontsize=6.5,
                ha="center",
                va="center",
                transform=axes.get_xaxis_transform(),
                color=fig.INK,
            )
            fig.set_address(drawn, shown.address)


def _style(index):
    return {
        "color": fig.COLOURS[index % len(fig.COLOURS)],
        "marker": fig.MARKERS[index % len(fig.MARKERS)],
        "linestyle": fig.LINES[index % len(fig.LINES)],
    }


def _narrow():
    return fig.WIDTH_MM < NARROW


def _legend_rows(context):
    widths = [fig.text_width_mm(arm["label"], 7.0) + 13.0 for arm in context.arms]
    if not _narrow():
        return max(1, int(-(-sum(widths) // (fig.WIDTH_MM - 50.0))))
    for rows in range(1, len(widths)):
        # A legend fills its columns evenly; each is as wide as its longest name.
        columns = np.array_split(widths, -(-len(widths) // rows))
        if sum(max(column) for column in columns) <= fig.WIDTH_MM - 4.0:
            return rows
    return len(widths)


def _legend(figure, context, analysis, observed, height):
    handles = []
    for index, arm in enumerate(context.arms):
        style = _style(index)
        handles.append(
            Line2D(
                [],
                [],
                label=arm["label"],
                markersize=4.2,
                markerfacecolor="white" if index % 2 else style["color"],
                **style,
            )
        )
    columns = -(-len(handles) // _legend_rows(context))
    figure.legend(
        handles=handles,
        loc="upper left",
        ncols=columns,
        handlelength=3.4,
        bbox_to_anchor=(3 / fig.WIDTH_MM, 1 - 0.5 / height),
        borderaxespad=0,
        borderpad=0.2,
        columnspacing=1.6,
    )
    said = [f"{means_of(analysis)[1]}, bars: {context.ci_label}"]
    if observed:
        said.append("no bar: observed mean, not modelled")
    below = 4.2 * _legend_rows(context) if _narrow() else 0.0
    figure.text(
        1 - 1 / fig.WIDTH_MM,
        1 - (1.4 + below) / height,
        "\n".join(said),
        ha="right",
        va="top",
        fontsize=6.5,
        color=fig.SOFT,
    )
