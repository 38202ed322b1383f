"""Mean change by visit and arm in every stratum: one column a stratum, one row a parameter.

The rows have one axis each, so that strata can be compared; all patients come last. The means and
intervals are those of the model within each stratum.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import (
    page,
    place,
    plain,
    style_of,
    why_not_estimated,
    width_of,
    write_parts,
)
from lungitude.reporting.figure_trend import parameters, positions, series
from lungitude.reporting.format import analysis_name
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Absent, Part, Results

# All in mm.
LEFT, RIGHT, GAP, BETWEEN = 17.0, 2.0, 3.0, 4.0
NAME = 13.0  # of an axis of values: from the axis to the foot of the letters
PANEL, LEAST, MOST = 25.0, 24.0, 60.0
STEP, COUNT_STEP, TITLE_STEP = 3.1, 2.9, 3.6
POINTS, SMALL, TITLE = 7.0, 6.0, 7.5
EDGE = 0.17  # of the span of the visits, left free at both ends of an axis
# An interval is drawn to its end unless it reaches this many widths of the middle interval further
# than every mean: one tiny stratum would flatten all others.
REACH = 1.5
CAP = 0.018
# Every format has room for this: 600 dpi and at most 65,535 pixels.
MOST_HEIGHT = 2500.0


@dataclass(frozen=True)
class Stratum:
    """A column: what it is called, and its results."""

    label: str
    results: Results


def strata(results, context, display):
    """List the columns: the levels of a stratification factor, then all patients.

    Parameters
    ----------
    results : Results
        Of all patients.
    context : Context
    display : dict
        Optional ``factor``: column of the factor (else the first of config.yaml).

    Returns
    -------
    list of Stratum

    Raises
    ------
    Absent
        If the stratum is not all patients, or there is no such factor.
    """
    factor = factor_of(context, display)
    columns = [
        Stratum(level.get("label", str(level["value"])), results.at(level["path"]))
        for level in factor["levels"]
    ]
    return [*columns, Stratum(context.stratum["label"], results)]


def factor_of(context, display):
    """Return the stratification factor of a display.

    Raises
    ------
    Absent
        If the stratum is not all patients, or there is no such factor.
    """
    if context.stratum.get("column"):
        raise Absent("all strata stand side by side in the report of all patients")
    wanted = display.get("factor")
    for factor in context.strata:
        if wanted in (None, "", factor["column"]):
            return factor
    raise Absent(f"the trial has no stratification factor {wanted or ''}".rstrip())


def collect(results, context, display):
    """Collect the means that are shown.

    Returns
    -------
    list of (str, list of dict)
        Parameter, and for each stratum what `figure_trend.series` gives. Parameters without any
        mean are left out.
    """
    analysis = results.trend_method(display)
    columns = strata(results, context, display)
    found = []
    for parameter in parameters(context, display):
        if not context.has_parameter(parameter):
            continue
        cells = [series(column.results, context, parameter, analysis) for column in columns]
        if any(point["mean"] is not None for cell in cells for point in _points(cell)):
            found.append((parameter, cells))
    return found


def _points(cell):
    return [point for points in cell.values() for point in points]


def caption(results, context, display):
    """Say what the panels show, and what was not estimated."""
    method = results.trend_method(display)
    factor = factor_of(context, display)
    shown = [] if results.empty else collect(results, context, display)
    means = [p["mean"] for _, cells in shown for cell in cells for p in _points(cell)]
    said = [
        f"Least squares means of the {analysis_name(method)} within each stratum of "
        f"{factor.get('label', factor['column'])}, and of all patients, with "
        f"{context.ci_label}; the panels of a row have one axis. Below the axis, patients of the "
        "model at the visit, by arm."
    ]
    if any(_cut(limits(context, p, cells), point) for p, cells in shown
           for cell in cells for point in _points(cell)):  # fmt: skip
        said.append("An arrowhead: the interval goes on beyond the axis.")
    if any(p["observed"] and p["mean"] is not None for _, cells in shown
           for cell in cells for p in _points(cell)):  # fmt: skip
        said.append("A hollow mark without a bar: observed mean, not modelled.")
    return " ".join(
        filter(None, [*said, why_not_estimated(means), context.population_line(method)])
    )


def limits(context, parameter, cells):
    """Choose the limits of the axis of a row.

    Parameters
    ----------
    context : Context
    parameter : str
    cells : list of dict
        Of all strata.

    Returns
    -------
    (float, float)
        They hold no change, every mean, and every interval of a usual width.
    """
    scale, back = (np.log, np.exp) if context.is_log(parameter) else (np.asarray, np.asarray)
    points = [point for cell in cells for point in _points(cell)]
    means = [scale(p["mean"].value) for p in points if _known(p["mean"])] + [0.0]
    ends = [(scale(p["low"].value), scale(p["high"].value)) for p in points if _interval(p)]
    low, high = float(min(means)), float(max(means))
    if ends:
        reach = REACH * float(np.median([end[1] - end[0] for end in ends]))
        low = min(low, max(low - reach, float(min(end[0] for end in ends))))
        high = max(high, min(high + reach, float(max(end[1] for end in ends))))
    margin = 0.06 * ((high - low) or 1.0)
    return float(back(low - margin)), float(back(high + margin))


def _known(number):
    return number is not None and number.estimated


def _interval(point):
    return _known(point["mean"]) and _known(point["low"]) and _known(point["high"])


def _cut(axis, point):
    """Tell at which ends an interval goes on beyond the axis."""
    if not _interval(point):
        return ""
    return ("v" if point["low"].value < axis[0] else "") + (
        "^" if point["high"].value > axis[1] else ""
    )


@fig.styled
def draw(results, context, display):
    """Draw the panels.

    Parameters
    ----------
    results : Results
        Of all patients.
    context : Context
    display : dict
        ``title``; optional ``parameters``, ``analysis`` (as of `figure_trend`) and ``factor``.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide; a notice where nobody takes part or nothing was analysed.

    Raises
    ------
    Absent
        In the report of a stratum, or where the trial has no stratification factor.
    """
    columns = strata(results, context, display)
    shown = [] if results.empty else collect(results, context, display)
    if not shown or not context.followups:
        why = "No patients" if results.empty else "No change from baseline was analysed"
        return fig.notice(f"{why}: {context.stratum['label']}.", display["title"])
    grid = Grid(context, columns, shown, results.trend_method(display))
    if grid.height > MOST_HEIGHT:
        why = f"{len(shown)} parameters do not fit a figure: name fewer."
        return fig.notice(why, display["title"])
    figure = fig.new(grid.height)
    grid.draw(figure)
    fig.synthetic_line(figure, context, grid.height)
    return figure


def tick_texts(places, width, points=SMALL, edge=EDGE, outside=GAP / 2):
    """Break the names of visits so that they fit side by side below an axis.

    Parameters
    ----------
    places : dict of str to float
        Share of the span of the visits.
    width : float
        Of the axis, in mm.
    points : float
    edge : float
        Share of the span that is free at both ends.
    outside : float
        How far a name may stand beyond the axis, in mm.

    Returns
    -------
    list of str, bool, float
        The names, whether they stand upright (turned by 90 degrees), and their height in mm.
    """
    at = [(share + edge) / (1 + 2 * edge) * width for share in places.values()]
    ends = [-outside, *at, width + outside]
    rooms = []
    for index, x in enumerate(at, 1):
        sides = [(x - ends[index - 1]), (ends[index + 1] - x)]
        # Two neighbours share the room between them; the end of the axis is nobody's.
        shares = [
            side * (2 if index + step in (0, len(ends) - 1) else 1)
            for side, step in zip(sides, (-1, 1), strict=True)
        ]
        rooms.append(min(shares) - 0.8)
    names = [minus(name) for name in places]
    widest = [max(fig.text_width_mm(word, points) for word in name.split(" ")) for name in names]
    if any(1.03 * wide > room for wide, room in zip(widest, rooms, strict=True)):
        return names, True, 1.03 * max(fig.text_width_mm(name, points) for name in names) + 1.0
    texts = [fig.wrap(name, points, room / 1.03) for name, room in zip(names, rooms, strict=True)]
    return ["\n".join(text) for text in texts], False, 2.7 * max(map(len, texts)) + 0.8


class Legend:
    """Names of the arms with marker and line, in as many lines as they need."""

    def __init__(self, context, said, left=2.0):
        self.left = left
        room = fig.WIDTH_MM - left - 2.0
        self.lines, x = [[]], left
        for index, arm in enumerate(context.arms):
            first, *others = fig.wrap(minus(arm["label"]), POINTS, 0.96 * (room - 10.0))
            width = 10.0 + 1.04 * fig.text_width_mm(first, POINTS) + 5.0
            if self.lines[-1] and (others or x + width > fig.WIDTH_MM):
                self.lines.append([])
                x = left
            self.lines[-1].append((x, index, first))
            self.lines += [[(left, None, line)] for line in others]
            x = fig.WIDTH_MM if others else x + width
        self.said = fig.wrap(minus(said), SMALL, 0.96 * room) if said else []
        self.height = 1.5 + 3.8 * len(self.lines) + 2.8 * len(self.said) + 2.0

    def draw(self, paper, y=1.5):
        """Draw the lines of the legend from a height on."""
        y += 1.8
        for line in self.lines:
            for x, index, label in line:
                if index is not None:
                    paper.add_line(
                        Line2D([x, x + 4, x + 8], [y] * 3, markevery=[1], markersize=4.2,
                               linewidth=1.1, **style_of(index))
                    )  # fmt: skip
                paper.text(x + 10.0, y, label, fontsize=POINTS, va="center_baseline")
            y += 3.8
        for line in self.said:
            paper.text(
                self.left, y - 0.2, line, fontsize=SMALL, color=fig.SOFT, va="center_baseline"
            )
            y += 2.8


class Grid:
    """Geometry of the panels in mm, and how they are drawn."""

    def __init__(self, context, columns, shown, analysis):
        self.context, self.columns, self.shown = context, columns, shown
        room = fig.WIDTH_MM - LEFT - RIGHT + GAP
        side = max(1, min(len(columns), int(room // (LEAST + GAP))))
        # As even as can be: six columns in rows of three, not of five and one.
        rows = -(-len(columns) // side)
        side = -(-len(columns) // rows)
        self.bands = [range(i, min(i + side, len(columns))) for i in range(0, len(columns), side)]
        self.width = min(room / side - GAP, MOST)
        self.places = positions(context)
        self.ticks, self.upright, self.tick_height = tick_texts(self.places, self.width)
        observed = any(
            p["observed"] and p["mean"] is not None
            for _, cells in shown
            for cell in cells
            for p in _points(cell)
        )
        said = f"LS mean ({analysis_name(analysis)}), bars: {context.ci_label}"
        self.legend = Legend(context, said + "; no bar: observed mean" * observed)
        self.heads = [self._head(column) for column in columns]
        wide = fig.WIDTH_MM - RIGHT - 2.0
        self.titles = [self._title(parameter, wide) for parameter, _ in shown]
        self.axes_limits = [limits(context, parameter, cells) for parameter, cells in shown]

    def _head(self, column):
        """Lines of the name of a stratum; its size is written below."""
        return fig.wrap(minus(column.label), SMALL + 0.5, self.width - 1.0, bold=True)

    def _title(self, parameter, wide):
        letter = 6.0 if len(self.shown) > 1 else 0.0
        return fig.wrap(
            minus(self.context.label(parameter)), TITLE, 0.97 * (wide - letter), bold=True
        )

    @property
    def head_height(self):
        """Height of names and sizes of the strata."""
        return 2.9 * (max(map(len, self.heads)) + 1) + 1.0

    @property
    def foot_height(self):
        """Height of visits and counts below a panel."""
        return 1.5 + self.tick_height + COUNT_STEP * len(self.context.arms) + 1.0

    def row_height(self, index):
        """Height of all bands of a parameter."""
        band = self.head_height + PANEL + self.foot_height
        note = 2.8 if self.context.direction(self.shown[index][0]) else 0.0
        return TITLE_STEP * len(self.titles[index]) + note + 0.6 + band * len(self.bands) + BETWEEN

    @property
    def height(self):
        """Height of the figure."""
        return self.legend.height + sum(map(self.row_height, range(len(self.shown)))) + 1.0

    def draw(self, figure):
        """Draw legend and rows."""
        paper = page(figure, self.height)
        self.legend.draw(paper)
        y = self.legend.height
        for index in range(len(self.shown)):
            self._row(figure, paper, index, y)
            y += self.row_height(index)

    def _row(self, figure, paper, index, y):
        parameter, cells = self.shown[index]
        x = 2.0
        if len(self.shown) > 1:
            letter = chr(ord("A") + index) if len(self.shown) <= 26 else str(index + 1)
            paper.text(x, y + 1.8, letter, fontsize=9, fontweight="bold", va="center_baseline")
            x += 6.0
        for line in self.titles[index]:
            paper.text(x, y + 1.8, line, fontsize=TITLE, fontweight="bold", va="center_baseline")
            y += TITLE_STEP
        if self.context.direction(parameter):
            said = self.context.direction(parameter)
            paper.text(x, y + 1.2, said, fontsize=SMALL, color=fig.SOFT, va="center_baseline")
            y += 2.8
        y += 0.6
        for band in self.bands:
            for place_of, column in enumerate(band):
                left = LEFT + place_of * (self.width + GAP)
                self._name(paper, column, left, y)
                axes = place(figure, left, y + self.head_height, self.width, PANEL, self.height)
                self._panel(axes, index, cells[column], first=place_of == 0)
                self._counts(
                    paper, cells[column], left, y + self.head_height + PANEL, place_of == 0
                )
            y += self.head_height + PANEL + self.foot_height

    def _name(self, paper, column, left, y):
        """Write the name and the size of a stratum above its panel."""
        lines = self.heads[column]
        y += 2.9 * (max(map(len, self.heads)) - len(lines)) + 1.4
        middle = left + self.width / 2
        for line in lines:
            paper.text(
                middle, y, line, fontsize=SMALL + 0.5, fontweight="bold",
                ha="center", va="center_baseline",
            )  # fmt: skip
            y += 2.9
        size = self.columns[column].results.size(self.context.total)
        if size is not None:
            parts = [Part("N = "), lookup.count_part(size)]
            start = middle - width_of(parts, SMALL) / 2
            write_parts(paper, start, y, parts, SMALL, color=fig.SOFT)

    def _panel(self, axes, index, cell, first):
        parameter, _ = self.shown[index]
        log = self.context.is_log(parameter)
        low, high = self.axes_limits[index]
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_minor_locator(FixedLocator([]))
            axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(plain))
        axes.set(xlim=(-EDGE, 1 + EDGE), ylim=(low, high))
        axes.set_xticks(list(self.places.values()), [""] * len(self.places))
        start = 1 if log else 0
        axes.axhline(start, color=fig.LINE, linewidth=0.6, zorder=1)
        if first:
            unit = "" if log else self.context.unit(parameter)
            name = "Ratio to baseline" if log else "Change"
            said = fig.wrap(minus(f"{name}, {unit}" if unit else name), POINTS, PANEL)
            axes.set_ylabel("\n".join(said), linespacing=1.05)
            axes.yaxis.set_label_coords(-(NAME - STEP * (len(said) - 1)) / self.width, 0.5)
        else:
            axes.set_yticklabels([])
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_color(fig.LINE)
        for place_of, arm in enumerate(self.context.arms):
            self._arm(axes, place_of, cell[arm["code"]], start, (low, high))

    def _arm(self, axes, index, points, start, axis):
        """Draw the means of an arm from the baseline on, where nothing has changed."""
        style = style_of(index)
        shift = (index - (len(self.context.arms) - 1) / 2) * 0.05
        kept = [point for point in points if _known(point["mean"])]
        xs = [self.places[point["visit"]] + shift for point in kept]
        ys = [point["mean"].value for point in kept]
        line = {"color": style["color"], "linewidth": 1.0, "linestyle": style["linestyle"]}
        if kept:
            begin = self.places[self.context.baseline]
            axes.plot([begin, *xs], [start, *ys], zorder=2 + index, **line)
        for x, point in zip(xs, kept, strict=True):
            if _interval(point):
                self._bar(axes, x, point, axis, style["color"], 2 + index)
            hollow = point["observed"] or index % 2
            axes.plot(
                [x], [point["mean"].value], markersize=3.4, zorder=12 + index,
                **{**style, "linestyle": "none",
                   "markerfacecolor": "white" if hollow else style["color"]},
            )  # fmt: skip

    def _bar(self, axes, x, point, axis, colour, zorder):
        low, high = max(point["low"].value, axis[0]), min(point["high"].value, axis[1])
        axes.plot([x, x], [low, high], color=colour, linewidth=0.8, zorder=zorder)
        cut = _cut(axis, point)
        for end, where in (("v", low), ("^", high)):
            if end in cut:
                axes.plot(
                    [x], [where], marker=end, markersize=3.0, color=colour, clip_on=False,
                    zorder=zorder,
                )  # fmt: skip
            else:
                axes.plot([x - CAP, x + CAP], [where] * 2, color=colour, lw=0.8, zorder=zorder)

    def _counts(self, paper, cell, left, y, first):
        """Write the visits and the patients behind each mean below a panel."""
        at = {
            name: left + (share + EDGE) / (1 + 2 * EDGE) * self.width
            for name, share in self.places.items()
        }
        y += 1.5
        for name, shown in zip(at, self.ticks, strict=True):
            paper.text(
                at[name], y, shown, fontsize=SMALL, ha="center", va="top", linespacing=1.05,
                rotation=90 if self.upright else 0,
            )  # fmt: skip
        y += self.tick_height + COUNT_STEP / 2
        for index, arm in enumerate(self.context.arms):
            if first:
                paper.plot(
                    [left - 4.0], [y], markersize=3.2,
                    **{**style_of(index), "linestyle": "none"},
                )  # fmt: skip
                if not index:
                    paper.text(
                        left - 7.0, y, "n", fontsize=SMALL, fontstyle="italic", color=fig.SOFT,
                        ha="center", va="center_baseline",
                    )  # fmt: skip
            for point in cell[arm["code"]]:
                shown = lookup.used_part(point["used"])
                drawn = paper.text(
                    at[point["visit"]], y, shown.text, fontsize=SMALL,
                    ha="center", va="center_baseline",
                )  # fmt: skip
                fig.set_address(drawn, shown.address)
            y += COUNT_STEP
