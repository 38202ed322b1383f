"""How far imputed values must be shifted for the comparison of the arms to change.

A panel an endpoint and comparison: the difference against the shift of the imputed values of the
compared arm, with the numbers beside it, and the shift of either arm at which p reaches its limit.
"""

from dataclasses import dataclass
from decimal import Decimal

from matplotlib.ticker import MaxNLocator

from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, place, why_not_estimated, width_of, write_parts
from lungitude.reporting.figure_sensitivity import ticks
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Absent, Number, Part
from lungitude.reporting.table_primary import effect_decimals

METHOD = "imputation"
PREFIX, TIPPING = "delta ", "tipping"
# All in mm.
LEFT, RIGHT, GAP, PLOT, TABLE = 15.0, 2.0, 8.0, 78.0, 77.0
ROW, TITLE_STEP, AXIS, NOTE_STEP, BETWEEN, FOOT, PANEL = 4.0, 3.4, 10.0, 2.9, 5.0, 3.0, 44.0
ABOVE = 3.6
POINTS, TITLE_POINTS, NOTE_POINTS = 7.0, 7.5, 6.0
# A tipping shift farther from the grid than this many widths of the grid is told, not drawn.
REACH = 1.5


@dataclass(frozen=True)
class Shift:
    """A shift of the imputed values, and the comparison that it makes (`Number` or None each)."""

    delta: float
    text: str
    estimate: Number | None
    se: Number | None
    low: Number | None
    high: Number | None
    p: Number | None


@dataclass(frozen=True)
class Tip:
    """The shift of one arm at which p reaches its limit, and how many values it shifts."""

    arm: dict
    delta: Number | None
    imputed: Number | None


def endpoints(results, context, display):
    """Return pairs (parameter, visit) that have tipping points, in the order of the display.

    Without ``parameters`` these are all that were analysed so, without ``visits`` the primary
    visit.
    """
    rows = results.where(METHOD=METHOD)
    rows = rows[rows["LEVEL"].str.startswith((PREFIX, TIPPING))] if len(rows) else rows
    known = set(zip(rows["PARAMCD"], rows["AVISIT"], strict=True))
    wanted = display.get("parameters") or list(dict.fromkeys(rows["PARAMCD"]))
    visits = display.get("visits") or [context.plan["primary"]["visit"]]
    return [
        (parameter, visit)
        for parameter in wanted
        for visit in visits
        if (parameter, visit) in known
    ]


def shifts(results, parameter, visit, comparison):
    """Return the `Shift` of each delta of the grid, the smallest first."""
    rows = results.where(METHOD=METHOD, PARAMCD=parameter, AVISIT=visit, COMPARISON=comparison)
    levels = dict.fromkeys(level for level in rows["LEVEL"] if level.startswith(PREFIX))
    found = []
    for level in levels:
        numbers = (
            results.get(METHOD, stat, parameter, visit, comparison=comparison, level=level)
            for stat in ("estimate", "se", "ci_low", "ci_high", "p")
        )
        shown = level.removeprefix(PREFIX)
        found.append(Shift(float(shown), shown, *numbers))
    return sorted(found, key=lambda shift: shift.delta)


def tips(results, context, parameter, visit, arm, comparison):
    """Return the `Tip` of the compared arm and of the reference, where they were searched."""
    found = []
    for one in (arm, context.reference):
        code = one["code"]
        delta = results.get(METHOD, "tipping_delta", parameter, visit, code, comparison, TIPPING)
        if delta is not None:
            imputed = results.get(METHOD, "n_imputed", parameter, visit, code)
            found.append(Tip(one, delta, imputed))
    return found


def _limit(context):
    """Limit of p, such as 0.05: what the confidence of the plan leaves."""
    left = 1 - Decimal(repr(float(context.plan.get("confidence", 0.95))))
    return f"{left.normalize():f}"


def caption(results, context, display):
    """Say what is shifted, and what is drawn."""
    drawn = [
        shift
        for parameter, visit in endpoints(results, context, display)
        for _, comparison in context.comparisons
        for shift in shifts(results, parameter, visit, comparison)
    ]
    bars = f" with {context.ci_label}" if _with_interval(drawn) else ""
    return (
        "Missing values imputed as missing at random, then those of the compared arm shifted by a "
        f"constant: difference between the arms{bars} against the shift. The dashed line is the "
        f"shift at which p is {_limit(context)}, the imputed values of the other arm being left "
        "as they are; it is not drawn where it is far from the shifts that were tried. "
        f"{context.population_line(METHOD)}"
    )


def _with_interval(found):
    return any(shift.low is not None and shift.high is not None for shift in found)


@fig.styled
def draw(results, context, display):
    """Draw the tipping points.

    Parameters
    ----------
    results : Results
        Rows of ``imputation`` with LEVEL ``delta <number>`` and ``tipping``.
    context : Context
    display : dict
        ``title``; optional ``parameters`` (else all with tipping points) and ``visits`` (else the
        primary visit).

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide. A notice where the stratum has no patient.

    Raises
    ------
    Absent
        If no tipping point was searched here.
    """
    if results.empty:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    results.of(METHOD)
    panels = []
    for parameter, visit in endpoints(results, context, display):
        for arm, comparison in context.comparisons:
            panel = Panel(results, context, parameter, visit, arm, comparison)
            if panel.shifts or panel.tips:
                panels.append(panel)
    if not panels:
        raise Absent("the imputation has no tipping points here")
    height = 1.5 + sum(panel.height for panel in panels) + BETWEEN * (len(panels) - 1) + FOOT
    figure = fig.new(height)
    axes, y = page(figure, height), 1.5
    for panel in panels:
        panel.draw(figure, axes, y, height)
        y += panel.height + BETWEEN
    fig.synthetic_line(figure, context, height)
    return figure


class Panel:
    """An endpoint and comparison: plot on the left, numbers on the right."""

    def __init__(self, results, context, parameter, visit, arm, comparison):
        self.context, self.parameter, self.arm = context, parameter, arm
        self.index = next(i for i, one in enumerate(context.arms) if one["code"] == arm["code"])
        self.shifts = shifts(results, parameter, visit, comparison)
        self.tips = tips(results, context, parameter, visit, arm, comparison)
        # Shifts and estimates are on the scale of the analysis, also where that is logarithmic.
        scale = context.parameter(parameter).get("TRANSFORM")
        self.unit = f"{scale} scale" if context.is_log(parameter) else context.unit(parameter)
        label = f"{context.label(parameter)}: {visit}; {context.comparison_label(comparison)}"
        inside = fig.WIDTH_MM - 2.0 - RIGHT
        self.title = fig.wrap(minus(label), TITLE_POINTS, inside, bold=True)
        self.table = self._table()
        self.tipping = self._tipping()
        note = why_not_estimated(
            [*(shift.estimate for shift in self.shifts), *(tip.delta for tip in self.tips)]
        )
        self.note = fig.wrap(minus(note), NOTE_POINTS, TABLE) if note else []

    def _table(self):
        """Rows of the grid as lists of pieces: shift, difference, SE where no interval, p."""
        digits = effect_decimals(self.context, self.parameter)
        rounding = self.context.style["rounding"]
        interval = _with_interval(self.shifts)
        head = ["Shift", f"Difference ({self.context.ci_label})" if interval else "Difference"]
        head += [] if interval else ["SE"]
        rows = [[[Part(name)] for name in [*head, "p"]]]
        for shift in self.shifts:
            shown = [lookup.part(shift.estimate, digits, rounding)]
            if interval and shift.low is not None and shift.low.estimated:
                shown += [
                    Part(" ("),
                    lookup.part(shift.low, digits, rounding),
                    Part(" to "),
                    lookup.part(shift.high, digits, rounding),
                    Part(")"),
                ]
            row = [[Part(shift.text)], shown]
            if not interval:
                # The SE is of the difference: one digit more, as it is smaller.
                row.append([lookup.part(shift.se, digits + 1, rounding)])
            rows.append([*row, [lookup.p_part(shift.p, self.context.style["p"])]])
        return rows if self.shifts else []

    def _tipping(self):
        """Rows of the second list: arm in lines that fit, imputed values, shift."""
        digits = effect_decimals(self.context, self.parameter)
        rounding = self.context.style["rounding"]
        found = []
        for tip in self.tips:
            found.append(
                (
                    fig.wrap(minus(tip.arm["label"]), POINTS, TABLE - 36.0),
                    [lookup.count_part(tip.imputed)],
                    [lookup.part(tip.delta, digits, rounding)],
                )
            )
        return found

    @property
    def right(self):
        """Height of the numbers in mm."""
        tipping = sum(ROW + 3.1 * (len(lines) - 1) for lines, _, _ in self.tipping)
        tipping += 2 * ROW if self.tipping else 0
        return ROW * len(self.table) + 1.5 + tipping + NOTE_STEP * len(self.note) + 1.0

    @property
    def body(self):
        """Height of plot and axis, or of the numbers, in mm."""
        return max(PANEL + AXIS, self.right)

    @property
    def height(self):
        """Height of the whole panel in mm."""
        return TITLE_STEP * len(self.title) + ABOVE + self.body

    def draw(self, figure, axes, top, total):
        """Draw the panel from `top` mm on."""
        y = top
        for text in self.title:
            axes.text(
                2.0, y + 1.7, text, fontsize=TITLE_POINTS, fontweight="bold", va="center_baseline"
            )
            y += TITLE_STEP
        y += ABOVE
        plot = place(figure, LEFT, y, PLOT, self.body - AXIS, total)
        self._plot(plot)
        self._numbers(axes, LEFT + PLOT + GAP, y)

    def _plot(self, plot):
        known = [s for s in self.shifts if s.estimate is not None and s.estimate.estimated]
        if not known:  # axes without a point would show a range that nothing has
            plot.set_axis_off()
            style = {"color": fig.SOFT, "ha": "center", "transform": plot.transAxes}
            plot.text(0.5, 0.5, "Not estimated", **style)
            return
        style = {"color": fig.COLOURS[self.index % len(fig.COLOURS)]}
        plot.axhline(0, color=fig.LINE, linewidth=0.8, zorder=1)
        plot.plot(
            [s.delta for s in known],
            [s.estimate.value for s in known],
            linestyle=fig.LINES[self.index % len(fig.LINES)],
            linewidth=0.9,
            zorder=2,
            **style,
        )
        for shift in known:
            if all(end is not None and end.estimated for end in (shift.low, shift.high)):
                plot.plot(
                    [shift.delta] * 2, [shift.low.value, shift.high.value], linewidth=0.9, **style
                )
            plot.plot(
                [shift.delta],
                [shift.estimate.value],
                marker=fig.MARKERS[self.index % len(fig.MARKERS)],
                markersize=4.2,
                markerfacecolor="white" if self.index % 2 else style["color"],
                linestyle="none",
                zorder=4,
                **style,
            )
        own = next((t.delta for t in self.tips if t.arm["code"] == self.arm["code"]), None)
        ends = [s.delta for s in known]
        span = (max(ends) - min(ends)) or 1.0
        if (
            own is not None
            and own.estimated
            and min(ends) - REACH * span <= own.value <= max(ends) + REACH * span
        ):
            plot.axvline(own.value, color=fig.SOFT, linewidth=0.8, linestyle=fig.LINES[1])
            plot.text(
                own.value,
                1.01,
                f"p = {_limit(self.context)}",
                transform=plot.get_xaxis_transform(),
                fontsize=NOTE_POINTS,
                color=fig.SOFT,
                ha="center",
                va="bottom",
            )
        plot.margins(x=0.06, y=0.08)
        plot.xaxis.set_major_locator(ticks(*plot.get_xlim(), PLOT))
        plot.yaxis.set_major_locator(MaxNLocator(6, min_n_ticks=3))
        lines = fig.wrap(f"Shift of the imputed values of {self.arm['label']}", POINTS, PLOT)
        if self.unit:
            longer = f"{lines[-1]}, {self.unit}"
            lines = [*lines[:-1], *fig.wrap(longer, POINTS, PLOT)]
        # Two lines fit below the axis; a name that needs more is cut, and whole in the list.
        plot.set_xlabel(minus("\n".join(lines[:2])), labelpad=2.0)
        name = f"Difference, {self.unit}" if self.unit else "Difference"
        plot.set_ylabel(minus(name))
        plot.yaxis.set_label_coords(-10.6 / PLOT, 0.5)

    def _numbers(self, axes, left, y):
        """Write the grid, then the shifts at which p reaches its limit."""
        right = left + TABLE
        if self.table:
            y = self._grid(axes, left, right, y)
        y += 1.5
        if self.tipping:
            y = self._tips(axes, left, right, y)
        for text in self.note:
            axes.text(
                left, y + 1.4, text, fontsize=NOTE_POINTS, color=fig.SOFT, va="center_baseline"
            )
            y += NOTE_STEP

    def _grid(self, axes, left, right, y):
        count = len(self.table[0])
        widths = [max(width_of(row[i]) for row in self.table) + 1.0 for i in range(count)]
        free = max(0.0, (right - left - sum(widths)) / (count - 1))
        for place_, row in enumerate(self.table):
            x = left
            for pieces, width in zip(row, widths, strict=True):
                x += width
                bold = {"fontweight": "bold"} if place_ == 0 else {}
                _right(axes, x, y + ROW / 2, pieces, **bold)
                x += free
            y += ROW
            if place_ == 0:
                axes.plot([left, right], [y, y], color=fig.SOFT, linewidth=0.6)
        return y

    def _tips(self, axes, left, right, y):
        style = {"fontsize": POINTS, "fontweight": "bold", "va": "center_baseline"}
        head = f"Shift at which p is {_limit(self.context)}"
        axes.text(left, y + ROW / 2, head + (f", {self.unit}" if self.unit else ""), **style)
        y += ROW
        axes.text(left, y + ROW / 2, "Arm that is shifted", **style)
        axes.text(right - 16.0, y + ROW / 2, "Imputed", ha="right", **style)
        axes.text(right, y + ROW / 2, "Shift", ha="right", **style)
        y += ROW
        axes.plot([left, right], [y, y], color=fig.SOFT, linewidth=0.6)
        for lines, imputed, delta in self.tipping:
            _right(axes, right - 16.0, y + ROW / 2, imputed)
            _right(axes, right, y + ROW / 2, delta)
            for i, text in enumerate(lines):
                axes.text(left, y + ROW / 2 + 3.1 * i, text, fontsize=POINTS, va="center_baseline")
            y += ROW + 3.1 * (len(lines) - 1)
        return y


def _right(axes, x, y, pieces, **style):
    """Write pieces that end at `x`; a single one without measuring, for it may be bold."""
    if len(pieces) > 1:
        write_parts(axes, x, y, pieces, POINTS, "right", **style)
        return
    drawn = axes.text(
        x, y, minus(pieces[0].text), fontsize=POINTS, ha="right", va="center_baseline", **style
    )
    fig.set_address(drawn, pieces[0].address)
