"""Effects in subgroups as a forest plot: one panel a parameter and visit, one below the other.

All patients stand on top with a diamond, then each factor with the p of its interaction and a line
a level. Where a parameter was measured repeatedly, a grey band shows its repeatability.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from lungitude.reporting import figure as fig
from lungitude.reporting import format as text
from lungitude.reporting import results as lookup
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Number, Part
from lungitude.reporting.table_primary import effect_decimals
from lungitude.reporting.table_subgroups import (
    EVERYBODY,
    METHOD,
    blocks,
    effect,
    factor_label,
    factors,
    level_label,
    response,
)

POINTS, SMALL = 7.0, 6.0
LEFT, RIGHT, GAP = 2.0, 2.0, 3.0
LINE = 3.1  # of text of 7 points, mm
ROW, SUBROW = 4.4, 3.6  # height of a level, and of each comparison where there are several
MOST_LABEL, LEAST_PLOT = 42.0, 34.0
P_COLUMN = 15.0
INDENT = 3.0
FIRST = "Subgroup"
# Every format has room for this: 600 dpi and at most 65,535 pixels.
MOST_HEIGHT = 2500.0
BAND = "#dfe2e6"
# An interval is drawn to its end unless it reaches this many widths of the middle interval further
# than every estimate: one tiny subgroup would make all others unreadable.
REACH = 1.5


@dataclass(frozen=True)
class Estimate:
    """What is drawn and written on a line: a `Number` or None each."""

    found: Number | None
    low: Number | None
    high: Number | None

    @property
    def drawn(self):
        """Whether there is an estimate to place on the axis."""
        return self.found is not None and self.found.estimated

    @property
    def interval(self):
        """The limits as numbers, or None."""
        if not self.drawn or any(x is None or not x.estimated for x in (self.low, self.high)):
            return None
        return self.low.value, self.high.value


@dataclass(frozen=True)
class Line:
    """A line of a panel: a factor (with its test) or a level (counts, an estimate a comparison)."""

    label: tuple[str, ...]
    kind: str
    counts: tuple[Part, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    test: Part | None = None


@dataclass(frozen=True)
class Panel:
    """A parameter at a visit: its lines, the limits of its axis, its repeatability."""

    parameter: str
    visit: str
    lines: tuple[Line, ...]
    limits: tuple[float, float]
    noise: tuple[Number, str] | None


@dataclass(frozen=True)
class Columns:
    """Where the columns stand: left edges and widths in mm."""

    label: float
    n: float
    plot: float
    plot_width: float
    estimate: float
    p: float


def noise(results, context, parameter, display):
    """Return the repeatability coefficient of a parameter and its comparison, or None.

    The display's ``noise`` names the comparison of the agreement analysis; else it is the first
    of repeats, then of readers, then of methods. None on a log scale, where effects are ratios.
    """
    rows = results.where(METHOD="agreement", PARAMCD=parameter, STAT="rc")
    if context.is_log(parameter) or rows.empty:
        return None
    named = list(dict.fromkeys(rows["COMPARISON"]))
    named.sort(key=lambda name: (": repeat " not in name, ":" not in name))
    wanted = display.get("noise")
    named = [name for name in named if not wanted or name == wanted]
    for name in named:
        found = results.get("agreement", "rc", parameter, comparison=name)
        if found is not None and found.estimated:
            return found, name
    return None


def panels(results, context, display):
    """Collect what the figure shows.

    Parameters
    ----------
    results : Results
    context : Context
    display : dict
        Optional ``parameters``, ``visits`` (the visit of the primary endpoint if it was analysed,
        else all) and ``noise``.

    Returns
    -------
    list of Panel
        Those of a parameter have one scale at all visits.

    Raises
    ------
    Absent
        If the subgroups were not analysed in this stratum.
    """
    analysed = set(results.of(METHOD)["AVISIT"])
    primary = (context.plan.get("primary") or {}).get("visit")
    default = [primary] if primary in analysed else None
    shown = blocks(results, context, display, default)
    lines = {block: _lines(results, context, block) for block in shown}
    found = []
    for block in shown:
        parameter, visit = block
        of_parameter = [lines[other] for other in shown if other[0] == parameter]
        band = noise(results, context, parameter, display)
        limits = axis_limits(of_parameter, context.is_log(parameter), band)
        found.append(Panel(parameter, visit, tuple(lines[block]), limits, band))
    return found


def _lines(results, context, block):
    style = context.style["p"]
    label = context.stratum["label"]
    lines = [_level(results, context, block, EVERYBODY, label, "all")]
    for factor, levels in factors(results, block).items():
        p = results.get(METHOD, "interaction_p", *block, level=factor)
        test = None if p is None else Part(text.p_value(p.value, style), p.address)
        label = _wrapped(factor_label(context, factor), MOST_LABEL, True)
        lines.append(Line(label, "factor", test=test))
        for level in levels:
            name = level_label(context, level)
            lines.append(_level(results, context, block, level, name, "level"))
    return lines


def _level(results, context, block, level, label, kind):
    indent = INDENT if kind == "level" else 0
    return Line(
        _wrapped(label, MOST_LABEL - indent, kind == "all"),
        kind,
        tuple(
            lookup.count_part(results.get(METHOD, "n", *block, arm["code"], level=level))
            for arm in context.arms
        ),
        tuple(
            Estimate(*effect(results, context, block, comparison, level))
            for _, comparison in context.comparisons
        ),
    )


def wrap(said, points, width_mm, bold=False):
    """Break text into lines; pixels make letters a little wider than the fonts say."""
    return fig.wrap(minus(said), points, 0.97 * width_mm, bold)


def _wrapped(label, width, bold):
    return tuple(wrap(label, POINTS, width, bold))


def axis_limits(panels_of_lines, log, band):
    """Choose the limits of an axis.

    Parameters
    ----------
    panels_of_lines : list of list of Line
        Of all visits of a parameter.
    log : bool
        Whether the effects are ratios.
    band : (Number, str) or None
        Repeatability; the axis holds it unless that would squeeze the effects.

    Returns
    -------
    (float, float)
        They hold no effect, every estimate, and every interval of a usual width.
    """
    scale, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    estimates = [e for lines in panels_of_lines for line in lines for e in line.estimates]
    points = [scale(e.found.value) for e in estimates if e.drawn] + [0.0]
    ends = [scale(e.interval) for e in estimates if e.interval]
    low, high = float(min(points)), float(max(points))
    if ends:
        reach = REACH * float(np.median([end[1] - end[0] for end in ends]))
        low = min(low, max(low - reach, float(min(end[0] for end in ends))))
        high = max(high, min(high + reach, float(max(end[1] for end in ends))))
    if band is not None:
        size = band[0].value
        if 2 * size <= 1.5 * (high - low):
            low, high = min(low, -size), max(high, size)
    margin = 0.05 * ((high - low) or 1.0)
    return float(back(low - margin)), float(back(high + margin))


def caption(results, context, display):
    """Say what points, diamonds, bands and tests are, what was not estimated, and who is in it."""
    if results.empty or not context.comparisons:
        return context.population_line(METHOD)
    shown = panels(results, context, display)
    logs = {context.is_log(panel.parameter) for panel in shown}
    what = {True: "Ratios", False: "Differences"}[logs.pop()] if len(logs) == 1 else "Effects"
    said = [
        f"{what} between the arms in {response(context)} with {context.ci_label}: diamonds, all "
        "patients, by the model without interaction; points, levels of a factor, by one model with "
        "the interaction of arm and factor. Interaction p: F test, not adjusted for multiple "
        "testing. n, patients of the model by arm."
    ]
    said += marks_said(context, shown)
    said += [f"{text.NOT_ESTIMATED}, {why}." for why in _reasons(results, shown)]
    return " ".join([*said, context.population_line(METHOD)])


def marks_said(context, shown):
    """Say what the dashed line, arrowheads and the grey band are, where panels have them."""
    said = []
    if len(context.comparisons) == 1:
        said.append("Dashed line: effect in all patients.")
    if any(_cut(panel, e) for panel in shown for line in panel.lines for e in line.estimates):
        said.append("An arrowhead: the interval goes on beyond the axis.")
    if any(panel.noise for panel in shown):
        said.append(
            "Grey band: no effect plus and minus the repeatability coefficient of the agreement "
            "analysis, within which 95% of differences between two measurements of the same "
            "patient lie. It is the error of single measurements; that of the difference of "
            "means is in its interval."
        )
    return said


def _reasons(results, shown):
    """List why effects and tests have no number."""
    notes = [
        e.found.note or "not estimated"
        for panel in shown
        for line in panel.lines
        for e in line.estimates
        if e.found is not None and not e.found.estimated
    ]
    for panel in shown:
        for factor in factors(results, (panel.parameter, panel.visit)):
            p = results.get(METHOD, "interaction_p", panel.parameter, panel.visit, level=factor)
            if p is not None and not p.estimated:
                notes.append(p.note or "not estimated")
    return list(dict.fromkeys(notes))


def _cut(panel, estimate):
    """Tell at which ends an interval goes on beyond the axis."""
    if not estimate.interval:
        return ""
    low, high = estimate.interval
    return ("<" if low < panel.limits[0] else "") + (">" if high > panel.limits[1] else "")


@fig.styled
def draw(results, context, display):
    """Draw the forest plot.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide, as high as its lines need; a notice where there is nothing to compare.

    Raises
    ------
    Absent
        If the stratum has patients but no such rows.
    """
    if results.empty:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    shown = panels(results, context, display)
    if not context.comparisons:
        return fig.notice("One arm: there is no difference to show.", display["title"])
    columns = place(context, shown)
    heads = [_Heading(context, panel, index, len(shown)) for index, panel in enumerate(shown)]
    feet = [_Foot(context, panel, columns) for panel in shown]
    legend = _Legend(context)
    bodies = [sum(map(_height, panel.lines)) for panel in shown]
    height = legend.height + sum(bodies) + sum(part.height for part in [*heads, *feet]) + 3.0
    if height > MOST_HEIGHT:
        why = f"{len(shown)} panels do not fit a figure: name fewer parameters or visits."
        return fig.notice(why, display["title"])
    figure = fig.new(height)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, fig.WIDTH_MM), ylim=(height, 0))
    page.axis("off")
    legend.draw(figure, page, height)
    y = legend.height
    for panel, heading, foot, body in zip(shown, heads, feet, bodies, strict=True):
        heading.draw(page, y, columns)
        y += heading.height
        _body(figure, page, context, panel, columns, y, body, height)
        foot.draw(page, y + body)
        y += body + foot.height
    fig.synthetic_line(figure, context, height)
    return figure


def place(context, shown):
    """Find where the columns stand, from the texts that they hold.

    Parameters
    ----------
    context : Context
    shown : list of Panel

    Returns
    -------
    Columns
    """
    lines = [(panel, line) for panel in shown for line in panel.lines]
    label = max(
        1.03 * fig.text_width_mm(row, POINTS, line.kind != "level")
        + INDENT * (line.kind == "level")
        for _, line in lines
        for row in line.label
    )
    label = max(label, 1.03 * fig.text_width_mm(FIRST, POINTS, True))
    n = max([10.0, *(1.03 * _width(_counts(line)) for _, line in lines)])
    written = [_written(context, panel, e) for panel, line in lines for e in line.estimates]
    heads = [row for panel in shown for row in _effect_head(context, panel)]
    head = max(fig.text_width_mm(row, POINTS, True) for row in heads)
    estimate = max([head, *(_estimate_width(written))])
    room = fig.WIDTH_MM - LEFT - RIGHT - P_COLUMN - 4 * GAP - n - estimate
    # A label too long for what the plot leaves was wrapped to the most that a label may have.
    plot = max(room - label, LEAST_PLOT)
    x = LEFT + label + GAP
    return Columns(LEFT, x, x + n + GAP, plot, x + n + plot + 2 * GAP, fig.WIDTH_MM - RIGHT)


def _advance(said, size=POINTS):
    """How far a piece of text moves the pen, mm; spaces at its ends count, unlike in its width."""
    return fig.text_width_mm(f"|{said}|", size) - fig.text_width_mm("||", size)


def _width(parts):
    return sum(_advance(minus(part.text)) for part in parts)


def _counts(line):
    """Join the counts of a line, with a slash between the arms."""
    pieces = []
    for part in line.counts:
        pieces += [Part(" / "), part] if pieces else [part]
    return pieces


def _written(context, panel, estimate):
    """Text of an estimate: the number, then its interval."""
    digits = effect_decimals(context, panel.parameter)
    rounding = context.style["rounding"]
    first = lookup.part(estimate.found, digits, rounding)
    if not estimate.drawn:
        return first, ()
    return first, (
        Part(" ("),
        lookup.part(estimate.low, digits, rounding),
        Part(" to "),
        lookup.part(estimate.high, digits, rounding),
        Part(")"),
    )


def _estimate_width(written):
    """Width of a column in which the estimates end, and their intervals begin, at one line."""
    first = max(_width([found]) for found, _ in written)
    return [first + max(_width(interval) for _, interval in written)]


def _effect_head(context, panel):
    name = "Ratio" if context.is_log(panel.parameter) else "Difference"
    return (name, f"({context.ci_label})")


def _height(line):
    """Height of a line of a panel, mm."""
    needed = len(line.label) * LINE + 1.2
    several = len(line.estimates)
    if several > 1:
        needed = max(needed, several * SUBROW + 0.8)
    above = 1.4 if line.kind == "factor" else 0.0
    return max(ROW, needed) + above


class _Legend:
    """The top of the figure: whose counts stand with a slash, and the markers of several arms."""

    def __init__(self, context):
        self.context = context
        names = " / ".join(arm["label"] for arm in context.arms)
        self.lines = wrap(f"n: {names}", SMALL + 0.5, fig.WIDTH_MM - LEFT - RIGHT)
        self.several = len(context.comparisons) > 1
        self.entries = self._entries() if self.several else []
        self.height = 1.5 + LINE * (len(self.lines) + len(self.entries)) + 1.0

    def _entries(self):
        """Lines of entries: x, index of the comparison (None where its label goes on), label."""
        lines, x = [[]], LEFT
        room = fig.WIDTH_MM - LEFT - RIGHT - 4.0
        for index, (_, comparison) in enumerate(self.context.comparisons):
            first, *others = wrap(self.context.comparison_label(comparison), SMALL + 0.5, room)
            width = 1.03 * fig.text_width_mm(first, SMALL + 0.5) + 4.0
            if lines[-1] and (others or x + width > fig.WIDTH_MM - RIGHT):
                lines.append([])
                x = LEFT
            lines[-1].append((x, index, first))
            lines += [[(LEFT, None, line)] for line in others]
            x = fig.WIDTH_MM if others else x + width + 6.0
        return lines

    def draw(self, figure, page, height):
        y = 1.5 + LINE / 2
        for entries in self.entries:
            for x, index, label in entries:
                if index is not None:
                    page.add_line(Line2D([x + 1.5], [y], linestyle="none", **_marker(index, 4.0)))
                _say(page, x + 4.0, y, label, SMALL + 0.5)
            y += LINE
        for line in self.lines:
            _say(page, LEFT, y, line, SMALL + 0.5, color=fig.SOFT)
            y += LINE


def _marker(index, size):
    """Marker of a comparison, by its place."""
    colour = fig.COLOURS[index % len(fig.COLOURS)]
    return {
        "marker": ["s", "o", "^", "D", "v", "P"][index % 6],
        "markersize": size,
        "color": colour,
        "markerfacecolor": "white" if index % 2 else colour,
        "markeredgewidth": 1.0,
    }


def _say(page, x, y, said, size=POINTS, **more):
    """Write one line of text at a place in mm."""
    return page.text(x, y, said, fontsize=size, va="center_baseline", **more)


def _run(page, x, y, parts, size=POINTS, **more):
    """Write pieces one after the other, each number with its address."""
    for part in parts:
        said = minus(part.text)
        # The pen moves over spaces: in a file they would be lost at the ends of a text.
        before = len(said) - len(said.lstrip(" "))
        start = x + _advance(" " * before, size)
        if said.strip(" "):
            drawn = _say(page, start, y, said.strip(" "), size, **more)
            fig.set_address(drawn, part.address)
        x += _advance(said, size)


class _Heading:
    """Above a panel: its letter and name, what the band is, and the heads of the columns."""

    def __init__(self, context, panel, index, count):
        self.context, self.panel = context, panel
        letter = chr(ord("A") + index) if count <= 26 else str(index + 1)
        self.letter = letter if count > 1 else ""
        self.indent = fig.text_width_mm(letter, 9.0, True) + 2.0 if self.letter else 0.0
        name = f"{context.label_with_unit(panel.parameter)}: {panel.visit}"
        room = fig.WIDTH_MM - LEFT - RIGHT - self.indent
        self.title = wrap(name, 7.5, room, bold=True)
        self.band = self._band(room)
        self.height = (
            2.0 + 3.4 * len(self.title) + 2.9 * len(self.band) + 1.0 + LINE * len(self._heads) + 1.2
        )

    @property
    def _heads(self):
        return _effect_head(self.context, self.panel)

    def _band(self, room):
        """Lines of parts that name the repeatability."""
        if self.panel.noise is None:
            return []
        found, comparison = self.panel.noise
        digits = effect_decimals(self.context, self.panel.parameter)
        number = lookup.part(found, digits, self.context.style["rounding"])
        unit = self.context.unit(self.panel.parameter)
        low, high = self.panel.limits
        wide = "; wider than the axis" if not low <= -found.value < found.value <= high else ""
        end = f"{f' {unit}' if unit else ''}, repeatability coefficient ({comparison}){wide}"
        start = "Grey band: \u00b1"
        first, *others = wrap(f"{start}{number.text}{end}", SMALL, room)
        head = start + number.text
        lines = [(Part(start), number, Part(first.removeprefix(head)))]
        return [*lines, *((Part(line),) for line in others)]

    def draw(self, page, y, columns):
        y += 2.0 + 1.7
        if self.letter:
            _say(page, LEFT, y, self.letter, 9.0, fontweight="bold")
        for line in self.title:
            _say(page, LEFT + self.indent, y, line, 7.5, fontweight="bold")
            y += 3.4
        for parts in self.band:
            _run(page, LEFT + self.indent, y, parts, SMALL, color=fig.SOFT)
            y += 2.9
        y += 1.0
        last = y + LINE * (len(self._heads) - 1)
        bold = {"fontweight": "bold"}
        _say(page, columns.label, last, FIRST, **bold)
        _say(page, columns.n, last, "n", **bold)
        for row, said in enumerate(self._heads):
            _say(page, columns.estimate, y + row * LINE, said, **bold)
        for row, said in enumerate(("Interaction", "p")):
            _say(page, columns.p, y + row * LINE, said, ha="right", **bold)
        edge = last + LINE / 2 + 0.6
        page.plot([LEFT, columns.p], [edge, edge], color=fig.LINE, linewidth=0.6)


class _Foot:
    """Below a panel: the numbers of the axis, what it shows, and which side is better."""

    def __init__(self, context, panel, columns):
        self.x, self.width = columns.plot, columns.plot_width
        unit = context.unit(panel.parameter)
        name = "Ratio" if context.is_log(panel.parameter) else "Difference"
        name = f"{name} in {response(context)}"
        if unit and not context.is_log(panel.parameter):
            name = f"{name}, {unit}"
        self.label = wrap(name, POINTS, self.width)
        self.sides = [
            wrap(said, SMALL, self.width / 2 - 1.5) for said in favours(context, panel.parameter)
        ]
        rows = max(map(len, self.sides))
        self.height = 5.2 + LINE * len(self.label) + 0.6 + 2.7 * rows + 2.0

    def draw(self, page, y):
        y += 5.2 + LINE / 2
        for line in self.label:
            _say(page, self.x + self.width / 2, y, line, ha="center")
            y += LINE
        y += 0.4
        for side, x, ha in ((0, self.x, "left"), (1, self.x + self.width, "right")):
            for row, line in enumerate(self.sides[side]):
                _say(page, x, y + 2.7 * row, line, SMALL, ha=ha, color=fig.SOFT)


def favours(context, parameter):
    """Name what the left and the right side of an axis mean, with arrows."""
    way = context.direction(parameter)
    other = (
        "the compared arm" if len(context.comparisons) > 1 else context.comparisons[0][0]["label"]
    )
    own = context.reference["label"]
    if way == "higher is better":
        left, right = f"Favours {own}", f"Favours {other}"
    elif way == "lower is better":
        left, right = f"Favours {other}", f"Favours {own}"
    else:
        left, right = f"Lower with {other}", f"Higher with {other}"
    return f"\u2190 {left}", f"{right} \u2192"


def _body(figure, page, context, panel, columns, top, body, height):
    """Draw the lines of a panel: texts on the page, marks on an axis of its own."""
    axes = figure.add_axes(
        (
            columns.plot / fig.WIDTH_MM,
            1 - (top + body) / height,
            columns.plot_width / fig.WIDTH_MM,
            body / height,
        )
    )
    axes.patch.set_alpha(0)
    log = context.is_log(panel.parameter)
    if log:
        axes.set_xscale("log")
    axes.set(xlim=panel.limits, ylim=(top + body, top))
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    _ticks(axes, panel, log, columns.plot_width)
    if panel.noise is not None:
        size = panel.noise[0].value
        low, high = max(-size, panel.limits[0]), min(size, panel.limits[1])
        axes.axvspan(low, high, color=BAND, linewidth=0, zorder=0)
    axes.axvline(1 if log else 0, color=fig.SOFT, linewidth=0.7, zorder=1)
    overall = panel.lines[0].estimates
    if len(overall) == 1 and overall[0].drawn:
        axes.axvline(
            overall[0].found.value, color=fig.LINE, lw=0.7, linestyle=(0, (3, 2)), zorder=1
        )
    first = max(_width([_written(context, panel, e)[0]]) for e in _estimates(panel))
    y = top
    for line in panel.lines:
        _line(page, axes, context, panel, line, columns, y, first)
        y += _height(line)


def _estimates(panel):
    return [e for line in panel.lines for e in line.estimates]


def _ticks(axes, panel, log, width):
    """Put few numbers on the axis, as many as its width takes."""
    most = max(2, int(width // 11))
    if not log:
        axes.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
        return
    low, high = panel.limits
    decades = np.log10(high / low)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    if decades > 1:
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0), numticks=most))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _line(page, axes, context, panel, line, columns, y, first):
    """Draw one line of a panel from its upper edge."""
    tall = _height(line)
    y += 1.4 if line.kind == "factor" else 0.0
    tall -= 1.4 if line.kind == "factor" else 0.0
    middle = y + tall / 2
    bold = "normal" if line.kind == "level" else "bold"
    start = middle - LINE * (len(line.label) - 1) / 2
    for row, said in enumerate(line.label):
        x = columns.label + (INDENT if line.kind == "level" else 0.0)
        _say(page, x, start + row * LINE, said, fontweight=bold)
    if line.test is not None:
        shown = _say(page, columns.p, middle, line.test.text, ha="right")
        fig.set_address(shown, line.test.address)
    _run(page, columns.n, middle, _counts(line))
    several = len(line.estimates)
    for index, estimate in enumerate(line.estimates):
        at = middle + (index - (several - 1) / 2) * SUBROW
        number, interval = _written(context, panel, estimate)
        x = columns.estimate + first
        _run(page, x - _width([number]), at, [number])
        _run(page, x, at, interval)
        if estimate.drawn:
            _mark(axes, panel, estimate, index, at, line.kind == "all")


def _mark(axes, panel, estimate, index, y, diamond):
    """Draw an estimate: a diamond as wide as its interval, or a marker on a bar."""
    style = _marker(index, 4.0)
    value, interval = estimate.found.value, estimate.interval
    cut = _cut(panel, estimate)
    if diamond and interval and not cut:
        low, high = interval
        corners = [(low, y), (value, y - 1.2), (high, y), (value, y + 1.2)]
        face = style["markerfacecolor"]
        axes.add_patch(Polygon(corners, facecolor=face, edgecolor=style["color"], lw=0.9, zorder=4))
        return
    if interval:
        low, high = max(interval[0], panel.limits[0]), min(interval[1], panel.limits[1])
        axes.plot([low, high], [y, y], color=style["color"], linewidth=1.0, zorder=3)
        for end, where in (("<", low), (">", high)):
            if end in cut:
                axes.plot(
                    [where], [y], marker=end, markersize=3.6, color=style["color"],
                    clip_on=False, zorder=3,
                )  # fmt: skip
    axes.plot([value], [y], linestyle="none", zorder=4, **style)
