"""Measurements against a reference: a scatter and the differences (Bland and Altman) a comparison.

Points are the pairs of the analysis; bias, limits and coefficients are those of the results table,
drawn with their intervals and written beside the panels. No line is fitted here.
"""

from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, MaxNLocator

from lungitude.reporting import figure as fig
from lungitude.reporting import format as text
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, place, plain, width_of, write_parts
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Absent, Part

METHODS = ("agreement", "accuracy")
# All in mm.
LEFT, RIGHT, SIDE, AXIS, BETWEEN = 2.0, 2.0, 40.0, 9.5, 3.5
SCATTER_LEFT, WIDE_LEFT = 16.0, 18.0
NUMBERS, GAP = 46.0, 4.0
STEP, POINTS, SMALL, TITLE = 3.1, 7.0, 6.5, 7.5
HEAD = 3.6
BAND = "#e4e7eb"
# What stands beside a panel: statistic, its name, prefix of its limits, decimals (None: those of
# the differences of the parameter).
WRITTEN = (
    ("bias", "Bias", "bias", None),
    ("loa_low", "Lower limit", "loa_low", None),
    ("loa_high", "Upper limit", "loa_high", None),
    ("icc_a1", "ICC(A,1)", "icc", 2),
    ("ccc", "CCC", "ccc", 2),
    ("r", "r", "r", 3),
    ("rmse", "RMSE", "", None),
)


@dataclass(frozen=True)
class Comparison:
    """A comparison of one parameter: its pairs, and its numbers by STAT."""

    parameter: str
    name: str
    pairs: tuple
    numbers: dict

    def number(self, stat):
        """Return the `Number` of a statistic where it could be estimated, else None."""
        found = self.numbers.get(stat)
        return found if found is not None and found.estimated else None

    @property
    def used(self):
        """The row that says how many pairs there are."""
        return self.numbers.get("bias")

    @property
    def first(self):
        """Name of what is compared."""
        return self._names[0]

    @property
    def second(self):
        """Name of what it is compared with."""
        return self._names[1]

    @property
    def _names(self):
        before, colon, after = self.name.rpartition(": ")
        one, _, two = after.partition(" - ")
        if not colon:
            return one, two
        kind, repeat, one = one.rpartition("repeat ")
        word = f"{before} {'repeat ' if repeat else ''}"
        return f"{word}{one or kind}", f"{word}{two}"


def method_of(results, display):
    """Return the analysis of a display: the one that it names, else the first with results.

    Raises
    ------
    Absent
        If none of them has results in this stratum.
    """
    if display.get("analysis"):
        results.of(display["analysis"])
        return display["analysis"]
    found = next((name for name in METHODS if len(results.where(METHOD=name))), None)
    if found is None:
        raise Absent("neither agreement nor accuracy has results here")
    return found


def shown(results, context, display):
    """Collect the comparisons that are shown.

    Parameters
    ----------
    results : Results
        With individual values.
    context : Context
    display : dict
        Optional ``analysis`` (agreement or accuracy), ``parameters``, and ``comparisons`` as the
        results table names them (else those of methods; where there are none, all).

    Returns
    -------
    list of Comparison

    Raises
    ------
    Absent
        If there is no such comparison, or no individual values.
    """
    method = method_of(results, display)
    known = results.individual.comparisons(method)
    wanted = display.get("comparisons")
    if not wanted:
        wanted = {name for _, name in known if ": " not in name} or {name for _, name in known}
    order = display.get("parameters") or [row["PARAMCD"] for row in context.parameters]
    found = [
        _comparison(results, method, parameter, name)
        for parameter in order
        for code, name in known
        if code == parameter and name in wanted and context.has_parameter(parameter)
    ]
    if not found:
        raise Absent(f"the {text.analysis_name(method)} has no such comparison here")
    return found


def _comparison(results, method, parameter, name):
    rows = results.where(METHOD=method, PARAMCD=parameter, COMPARISON=name)
    visits = set(rows["AVISIT"])
    visit = next(iter(visits)) if len(visits) == 1 else ""
    numbers = {
        stat: results.get(method, stat, parameter, visit, comparison=name)
        for stat in dict.fromkeys(rows["STAT"])
    }
    pairs = tuple(results.individual.pairs(method, parameter, name))
    return Comparison(parameter, name, pairs, numbers)


def caption(results, context, display):
    """Say what points, lines, bands and coefficients are, and what was not estimated."""
    if results.empty:
        return context.population_line(method_of(results, display))
    found = shown(results, context, display)
    method = method_of(results, display)
    truth = " (the truth that a synthetic scan was made from)" if method == "accuracy" else ""
    said = [
        "A point, a pair of measurements. Left, the one against the other; grey line, equality. "
        f"Right, their difference against their mean{truth}: solid line, bias (mean difference); "
        "dashed lines, limits within which 95% of the differences are expected; bands, "
        f"{context.ci_label} of each.",
        f"In brackets, {context.ci_label}. ICC(A,1), intraclass correlation, absolute agreement; "
        "CCC, concordance correlation; r, Pearson's correlation; RMSE, root mean squared error.",
    ]
    if any("several pairs a patient" in n.note for c in found for n in c.numbers.values() if n):
        said.append(
            "Several pairs of a patient: the limits of agreement allow for them; the intervals of "
            "the coefficients take them as independent."
        )
    causes = [
        n.note.removeprefix("not estimated: ")
        for c in found
        for n in c.numbers.values()
        if n is not None and not n.estimated and n.note
    ]
    if causes:
        said.append(f"{text.NOT_ESTIMATED}, not estimated: {'; '.join(dict.fromkeys(causes))}.")
    return " ".join([*said, context.population_line(method)])


@fig.styled
def draw(results, context, display):
    """Draw the comparisons, one below the other.

    Parameters
    ----------
    results : Results
        Rows of ``agreement`` or ``accuracy``, and the individual values.
    context : Context
    display : dict
        ``title``; see `shown`.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide; a notice where the stratum has no patient.

    Raises
    ------
    Absent
        As of `shown`.
    """
    if results.empty:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    found = shown(results, context, display)
    rows = [_Row(context, one, index, len(found)) for index, one in enumerate(found)]
    height = 1.5 + sum(row.height for row in rows) + 2.0
    figure = fig.new(height)
    paper = page(figure, height)
    y = 1.5
    for row in rows:
        row.draw(figure, paper, y, height)
        y += row.height
    fig.synthetic_line(figure, context, height)
    return figure


class _Row:
    """The two panels of a comparison and the numbers beside them."""

    def __init__(self, context, comparison, index, count):
        self.context, self.own = context, comparison
        letter = chr(ord("A") + index) if count <= 26 else str(index + 1)
        self.letter = letter if count > 1 else ""
        self.indent = fig.text_width_mm(letter, 9.0, True) + 2.0 if self.letter else 0.0
        name = f"{context.label_with_unit(comparison.parameter)}: {comparison.name}"
        room = 0.97 * (fig.WIDTH_MM - LEFT - RIGHT - self.indent)
        self.title = fig.wrap(minus(name), TITLE, room, bold=True)
        self.digits = context.decimals(comparison.parameter) + 1
        self.lines = self._lines()
        self.wide = (
            fig.WIDTH_MM - LEFT - RIGHT - SCATTER_LEFT - SIDE - WIDE_LEFT - GAP - NUMBERS
        )  # fmt: skip
        unit = context.unit(comparison.parameter)
        self.unit = f", {unit}" if unit else ""
        self.below = [
            fig.wrap(minus(f"{said}{self.unit}"), POINTS, width - 1.0)
            for said, width in ((comparison.second, SIDE), ("Mean of both", self.wide))
        ]
        self.beside = [
            fig.wrap(minus(f"{said}{self.unit}"), POINTS, SIDE - 1.0)
            for said in (comparison.first, "Difference")
        ]

    @property
    def axis(self):
        """Height of ticks and names below a panel."""
        return 5.0 + STEP * max(map(len, self.below)) + 1.0

    @property
    def height(self):
        """Height of all, mm."""
        return HEAD * len(self.title) + 1.5 + max(SIDE + self.axis, self._numbers()) + BETWEEN

    def _numbers(self):
        return STEP * len(self.lines)

    def draw(self, figure, paper, y, total):
        y += HEAD / 2
        if self.letter:
            paper.text(LEFT, y, self.letter, fontsize=9, fontweight="bold", va="center_baseline")
        for line in self.title:
            paper.text(
                LEFT + self.indent, y, line,
                fontsize=TITLE, fontweight="bold", va="center_baseline",
            )  # fmt: skip
            y += HEAD
        y += 1.5 - HEAD / 2
        x = LEFT + SCATTER_LEFT
        self._scatter(place(figure, x, y, SIDE, SIDE, total))
        self._names(paper, x, y, SIDE, 0)
        x += SIDE + WIDE_LEFT
        self._differences(place(figure, x, y, self.wide, SIDE, total))
        self._names(paper, x, y, self.wide, 1)
        self._write(paper, x + self.wide + GAP, y)

    def _names(self, paper, x, y, width, which):
        """Write what the axes of a panel show."""
        for row, said in enumerate(self.below[which]):
            at = y + SIDE + 5.0 + STEP * (row + 0.5)
            paper.text(x + width / 2, at, said, fontsize=POINTS, ha="center", va="center_baseline")
        lines = self.beside[which]
        paper.text(
            x - 15.2 + STEP * (len(lines) - 1) / 2, y + SIDE / 2, "\n".join(lines),
            fontsize=POINTS, rotation=90, ha="center", va="center", linespacing=1.1,
        )  # fmt: skip

    def _points(self, axes, xs, ys):
        few = len(xs) <= 150
        axes.plot(
            xs, ys, linestyle="none", marker="o", markersize=3.0 if few else 2.0,
            markerfacecolor="none", markeredgecolor=fig.COLOURS[0],
            markeredgewidth=0.6, alpha=0.9 if few else 0.6, zorder=4,
        )  # fmt: skip

    def _scatter(self, axes):
        xs = [pair.second.value for pair in self.own.pairs]
        ys = [pair.first.value for pair in self.own.pairs]
        low, high = widened(min([*xs, *ys]), max([*xs, *ys]))
        axes.set(xlim=(low, high), ylim=(low, high))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(plain))
        axes.plot([low, high], [low, high], color=fig.LINE, linewidth=0.8, zorder=2)
        self._points(axes, xs, ys)

    def _differences(self, axes):
        xs = [pair.mean.value for pair in self.own.pairs]
        ys = [pair.difference.value for pair in self.own.pairs]
        low, high = widened(min(xs), max(xs))
        held = [0.0, *ys]
        axes.axhline(0, color=fig.LINE, linewidth=0.6, zorder=2)
        for stat, line in (("bias", "-"), ("loa_low", (0, (4, 2))), ("loa_high", (0, (4, 2)))):
            number = self.own.number(stat)
            if number is None:
                continue
            held.append(number.value)
            axes.axhline(number.value, color=fig.INK, linewidth=0.9, linestyle=line, zorder=3)
            limits = [self.own.number(f"{stat}_ci_{end}") for end in ("low", "high")]
            if None not in limits:
                held += [limit.value for limit in limits]
                axes.axhspan(limits[0].value, limits[1].value, color=BAND, linewidth=0, zorder=1)
        axes.set(xlim=(low, high), ylim=widened(min(held), max(held)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
            axis.set_major_formatter(FuncFormatter(plain))
        self._points(axes, xs, ys)

    def _write(self, paper, x, y):
        """Write the numbers of the comparison beside its panels."""
        for row, (indent, parts) in enumerate(self.lines):
            write_parts(paper, x + indent, y + STEP * (row + 0.5), parts, SMALL)

    def _lines(self):
        """Pairs of indent and parts: a line a number, or more where its interval is too wide."""
        lines = [(0.0, [Part("Pairs: "), lookup.used_part(self.own.used)])]
        for stat, name, prefix, decimals in WRITTEN:
            if stat not in self.own.numbers:
                continue
            digits = self.digits if decimals is None else decimals
            first, interval = self._parts(stat, prefix, digits)
            whole = [Part(f"{name}: "), first, *([Part(" "), *interval] if interval else [])]
            if 1.03 * width_of(whole, SMALL) <= NUMBERS:
                lines.append((0.0, whole))
                continue
            lines.append((0.0, [Part(f"{name}: "), first]))
            lines.append((2.0, interval))
        return lines

    def _parts(self, stat, prefix, decimals):
        """Part of an estimate, and those of its interval in brackets (none where it has none)."""
        rounding, numbers = self.context.style["rounding"], self.own.numbers
        first = lookup.part(numbers[stat], decimals, rounding)
        limits = [numbers.get(f"{prefix}_ci_{end}") for end in ("low", "high")]
        if self.own.number(stat) is None or None in limits:
            return first, []
        low, high = (lookup.part(limit, decimals, rounding) for limit in limits)
        return first, [Part("("), low, Part(" to "), high, Part(")")]


def widened(low, high, share=0.06):
    """Return the limits of an axis a little wider than its values."""
    margin = share * ((high - low) or abs(high) or 1.0)
    return low - margin, high + margin
