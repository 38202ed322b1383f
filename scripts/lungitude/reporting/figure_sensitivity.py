"""The same endpoint by every analysis, drawn: an estimate with its interval a row.

The primary analysis stands on top, and its estimate is carried down as a dashed line. Each endpoint
and comparison has an axis of its own, for their units differ.
"""

from matplotlib.ticker import MaxNLocator

from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, place, why_not_estimated, width_of, write_parts
from lungitude.reporting.pages import minus
from lungitude.reporting.table_primary import effect_decimals
from lungitude.reporting.table_sensitivity import (
    COMPLETE,
    COUNTED,
    block_label,
    blocks,
    difference_parts,
    population_line,
)

# All in mm.
LEFT, RIGHT, LABEL, GAP, PLOT_LEAST = 2.0, 2.0, 56.0, 4.0, 34.0
LINE_STEP, ROW_PAD, HEAD, AXIS, BETWEEN, FOOT = 3.1, 1.9, 4.6, 9.0, 4.0, 3.0
POINTS, TITLE_POINTS, NOTE_POINTS = 7.0, 7.5, 6.0


def ticks(low, high, width):
    """Return a locator of at most five steps whose labels fit side by side.

    Parameters
    ----------
    low, high : float
        Ends of the axis.
    width : float
        Of the axis, in mm.
    """
    label = max(fig.text_width_mm(f"-{abs(end):.3g}", POINTS) for end in (low, high))
    label = max(label, *(fig.text_width_mm(f"-{abs(end):.0f}", POINTS) for end in (low, high)))
    return MaxNLocator(max(1, min(5, int(width // (label + 4.0)))), min_n_ticks=2)


def caption(results, context, display):
    """Say what the rows show: analysis sets, assumptions, intervals, and what n counts."""
    shown = blocks(results, context, display)
    reference, marked = context.reference["label"], ""
    if any(line.primary and line.found.estimated for block in shown for line in block.lines):
        marked = "; the primary analysis on top, its estimate as a dashed line"
    return (
        f"Difference, arm minus {reference} in change from baseline, with {context.ci_label}"
        f"{marked}. {COUNTED} {COMPLETE} "
        f"{population_line(context, shown)}"
    )


@fig.styled
def draw(results, context, display):
    """Draw the sensitivity analyses.

    Parameters
    ----------
    results : Results
    context : Context
    display : dict
        ``title``; optional ``parameters`` and ``visits``, else the primary endpoint.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide; its height grows with the rows. A notice where the stratum has no patient.

    Raises
    ------
    Absent
        If no analysis compares the arms in these endpoints.
    """
    shown = blocks(results, context, display)
    if not shown:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    panels = [Panel(context, block) for block in shown]
    columns = Columns(panels)
    height = 1.5 + sum(panel.height for panel in panels) + BETWEEN * (len(panels) - 1) + FOOT
    figure = fig.new(height)
    axes, y = page(figure, height), 1.5
    for panel in panels:
        panel.draw(figure, axes, columns, y, height)
        y += panel.height + BETWEEN
    fig.synthetic_line(figure, context, height)
    return figure


class Columns:
    """Where the columns stand: as wide as their text, and the plot has what remains (in mm)."""

    def __init__(self, panels):
        rows = [row for panel in panels for row in panel.rows]
        difference = max(
            [width_of(row["difference"]) for row in rows]
            + [fig.text_width_mm(panel.head, POINTS, True) for panel in panels]
        )
        p = max([width_of([row["p"]]) for row in rows] + [fig.text_width_mm("p", POINTS, True)])
        n = max([width_of([row["n"]]) for row in rows] + [fig.text_width_mm("n", POINTS, True)])
        self.p_right = fig.WIDTH_MM - RIGHT
        self.difference_left = self.p_right - p - GAP - difference
        self.n_right = LEFT + LABEL + GAP / 2 + n
        self.plot_left = self.n_right + GAP
        self.plot_width = self.difference_left - GAP - self.plot_left


class Panel:
    """An endpoint and comparison: title, rows, axis and why something was not estimated."""

    def __init__(self, context, block):
        self.context, self.block = context, block
        self.log = context.is_log(block.parameter)
        self.name = "Ratio" if self.log else "Difference"
        self.head = f"{self.name} ({context.ci_label})"
        digits, rounding = effect_decimals(context, block.parameter), context.style["rounding"]
        inside = fig.WIDTH_MM - LEFT - RIGHT
        self.title = fig.wrap(minus(block_label(context, block)), TITLE_POINTS, inside, bold=True)
        self.rows = []
        for line in block.lines:
            name = fig.wrap(line.label, POINTS, LABEL, bold=line.primary)
            about = "; ".join(filter(None, [line.population, line.assumption]))
            self.rows.append(
                {
                    "line": line,
                    "name": name,
                    "about": fig.wrap(about, NOTE_POINTS, LABEL) if about else [],
                    "n": lookup.used_part(line.found),
                    "difference": difference_parts(line, digits, rounding),
                    "p": lookup.p_part(line.p, context.style["p"]),
                }
            )
        note = why_not_estimated(line.found for line in block.lines)
        ratios = dict.fromkeys(
            line.found.note
            for line in block.lines
            if self.log and line.found is not None and line.found.estimated and line.found.note
        )
        note = " ".join([*(f"{ratio[:1].upper()}{ratio[1:]}." for ratio in ratios), note]).strip()
        self.note = fig.wrap(minus(note), NOTE_POINTS, inside) if note else []

    @staticmethod
    def row_height(row):
        """Height of a row in mm."""
        return ROW_PAD + LINE_STEP * (len(row["name"]) + len(row["about"]))

    @property
    def body(self):
        """Height of the rows in mm."""
        return sum(self.row_height(row) for row in self.rows)

    @property
    def height(self):
        """Height of the whole panel in mm."""
        titles, notes = 3.4 * len(self.title), 2.9 * len(self.note)
        return titles + HEAD + self.body + AXIS + notes

    def draw(self, figure, axes, columns, top, total):
        """Draw the panel from `top` mm on."""
        y = top
        for text in self.title:
            axes.text(
                LEFT, y + 1.7, text, fontsize=TITLE_POINTS, fontweight="bold", va="center_baseline"
            )
            y += 3.4
        self._heads(axes, columns, y + HEAD / 2)
        y += HEAD
        axes.plot([LEFT, fig.WIDTH_MM - RIGHT], [y, y], color=fig.SOFT, linewidth=0.6)
        plot = place(figure, columns.plot_left, y, columns.plot_width, self.body, total)
        plot.set_ylim(self.body, 0)
        middle = 0.0
        for row in self.rows:
            high = self.row_height(row)
            self._text(axes, columns, row, y + middle, high)
            _estimate(plot, row["line"], middle + high / 2)
            middle += high
        self._axis(plot, columns.plot_width)
        y += self.body + AXIS
        for text in self.note:
            axes.text(
                LEFT, y + 1.4, text, fontsize=NOTE_POINTS, color=fig.SOFT, va="center_baseline"
            )
            y += 2.9

    def _heads(self, axes, columns, y):
        style = {"fontsize": POINTS, "fontweight": "bold", "va": "center_baseline"}
        axes.text(LEFT, y, "Analysis", **style)
        axes.text(columns.n_right, y, "n", ha="right", **style)
        axes.text(columns.difference_left, y, self.head, **style)
        axes.text(columns.p_right, y, "p", ha="right", **style)

    def _text(self, axes, columns, row, top, high):
        y = top + (high - LINE_STEP * (len(row["name"]) + len(row["about"]))) / 2
        weight = "bold" if row["line"].primary else "normal"
        for kind, points, colour in (("name", POINTS, fig.INK), ("about", NOTE_POINTS, fig.SOFT)):
            for text in row[kind]:
                axes.text(
                    LEFT,
                    y + LINE_STEP / 2,
                    text,
                    fontsize=points,
                    color=colour,
                    fontweight=weight if kind == "name" else "normal",
                    va="center_baseline",
                )
                y += LINE_STEP
        middle = top + high / 2
        write_parts(axes, columns.n_right, middle, [row["n"]], align="right")
        write_parts(axes, columns.difference_left, middle, row["difference"])
        write_parts(axes, columns.p_right, middle, [row["p"]], align="right")

    def _axis(self, plot, width):
        context, parameter = self.context, self.block.parameter
        lines = [
            line for line in self.block.lines if line.found is not None and line.found.estimated
        ]
        none = 1.0 if self.log else 0.0
        values = [none]
        for line in lines:
            shown = (line.found, line.low, line.high)
            values += [number.value for number in shown if number is not None and number.estimated]
        room = 0.06 * (max(values) - min(values)) or 1.0
        plot.set_xlim(min(values) - room, max(values) + room)
        plot.axvline(none, color=fig.LINE, linewidth=0.8, zorder=1)
        for line in lines:
            if line.primary:
                plot.axvline(
                    line.found.value,
                    color=fig.COLOURS[0],
                    linewidth=0.6,
                    linestyle=fig.LINES[1],
                    zorder=1,
                )
        plot.set_yticks([])
        plot.spines["left"].set_visible(False)
        plot.patch.set_visible(False)
        plot.xaxis.set_major_locator(ticks(*plot.get_xlim(), width))
        unit = "" if self.log else context.unit(parameter)
        said = [f"{self.name}, {unit}" if unit else self.name, context.direction(parameter)]
        plot.set_xlabel("; ".join(filter(None, said)), fontsize=6.5, labelpad=2.0)


def _estimate(plot, line, y):
    """Draw an estimate with its interval; the primary one is filled and larger."""
    if line.found is None or not line.found.estimated:
        return
    colour = fig.COLOURS[0] if line.primary else fig.INK
    if all(end is not None and end.estimated for end in (line.low, line.high)):
        low, high = line.low.value, line.high.value
        plot.plot([low, high], [y, y], color=colour, linewidth=1.0, zorder=3)
        for end in (low, high):
            plot.plot([end, end], [y - 0.7, y + 0.7], color=colour, linewidth=1.0, zorder=3)
    plot.plot(
        [line.found.value],
        [y],
        marker="s" if line.primary else "o",
        markersize=5.0 if line.primary else 4.2,
        color=colour,
        markerfacecolor=colour if line.primary else "white",
        markeredgewidth=1.0,
        linestyle="none",
        zorder=4,
    )
