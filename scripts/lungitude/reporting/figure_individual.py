"""Changes of single patients: their course over the visits, or the changes at one visit.

Lines, bars and dots are the values of patients. What is written or drawn over them (how many they
are, mean and SD, median and quartiles) is of the results table; nothing is estimated here, so there
is no smoothed density: a ridge is a stack of dots, a dot a patient.
"""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, place, plain, style_of, width_of, write_parts
from lungitude.reporting.figure_forest import noise
from lungitude.reporting.figure_trend import parameters, positions
from lungitude.reporting.figure_trends_grades import EDGE, tick_texts
from lungitude.reporting.format import analysis_name
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Part
from lungitude.reporting.table_primary import effect, effect_decimals

METHOD = "describe"
FORMS = ("spaghetti", "waterfall", "ridge")
# All in mm.
LEFT, RIGHT, GAP, BETWEEN, SIDE_GAP = 15.5, 2.0, 2.0, 4.0, 4.0
NAME = 10.5  # of an axis of values: from the axis to the foot of the letters
PANEL, STEP, SMALL_STEP, TITLE_STEP = 36.0, 3.1, 2.8, 3.6
RIDGE, BOX, RIDGE_LABEL, RIDGE_NUMBERS = 13.0, 4.0, 40.0, 38.0
POINTS, SMALL, TITLE = 7.0, 6.0, 7.5
LEAST = 24.0
BINS = 60
MANY = 60
BAND = "#e4e7eb"
MOST_HEIGHT = 2500.0


class Panel:
    """What is shown of a parameter: the values of each arm and visit, and what is known of them.

    Parameters
    ----------
    results : Results
    context : Context
    display : dict
    parameter : str
    visits : list of str
        After the baseline, in the order of time.
    """

    def __init__(self, results, context, display, parameter, visits):
        self.results, self.context, self.parameter = results, context, parameter
        self.log = context.is_log(parameter)
        self.stat = "RATIO" if self.log else "CHG"
        self.start = 1.0 if self.log else 0.0
        self.analysis = results.trend_method(display)
        self.visits = visits
        self.found = {
            (arm["code"], visit): results.individual.values(
                parameter, visit, arm["code"], self.stat
            )
            for arm in context.arms
            for visit in visits
        }
        found = noise(results, context, parameter, display)
        self.noise = found[0] if found else None

    @property
    def empty(self):
        """Whether no patient has a value."""
        return not any(self.found.values())

    def number(self, stat, arm, visit):
        """Return a statistic of the changes of an arm, where these are the patients drawn.

        Of ratios there are none.
        """
        if self.log or self.count(arm, visit) is None:
            return None
        return self.results.get(METHOD, stat, self.parameter, visit, arm, level="CHG")

    def count(self, arm, visit):
        """Return how many patients of an arm were described, where these are the patients drawn."""
        found = self.results.get(METHOD, "n", self.parameter, visit, arm, level="CHG")
        if found is None or found.value != len(self.found[arm, visit]):
            return None
        return found

    def mean(self, arm, visit):
        """Return the mean change of an arm, or the geometric mean ratio of the model."""
        if not self.log:
            return self.number("mean", arm, visit)
        block = (self.parameter, visit, self.analysis)
        return effect(self.results, self.context, block, group=arm)[0]

    def limits(self):
        """Return the limits of the axis: they hold every patient, every mean and no change."""
        held = [one.value for own in self.found.values() for one in own] + [self.start]
        held += [mean.value for key in self.found if (mean := self.mean(*key)) and mean.estimated]
        low, high = min(held), max(held)
        if not self.log:
            margin = 0.05 * ((high - low) or 1.0)
            return low - margin, high + margin
        margin = (high / low) ** 0.05 if high > low else 1.1
        return low / margin, high * margin

    @property
    def axis_label(self):
        """What the axis of values shows."""
        unit = "" if self.log else self.context.unit(self.parameter)
        name = "Ratio to baseline" if self.log else "Change"
        return minus(f"{name}, {unit}" if unit else name)

    def written(self, arm, visit):
        """Lines of parts below the name of an arm: how many patients, and their mean."""
        digits = effect_decimals(self.context, self.parameter)
        rounding = self.context.style["rounding"]
        lines = [[Part("n = "), lookup.count_part(self.count(arm, visit))]]
        mean, sd = self.mean(arm, visit), self.number("sd", arm, visit)
        if mean is not None:
            name = "mean ratio " if self.log else "mean "
            own = [Part(name), lookup.part(mean, digits, rounding)]
            if sd is not None and sd.estimated:
                own += [Part(" (SD "), lookup.part(sd, digits, rounding), Part(")")]
            lines.append(own)
        return lines


def form_of(display):
    """Return the form of a display.

    Raises
    ------
    ValueError
        If there is no such form.
    """
    form = display.get("form") or FORMS[0]
    if form not in FORMS:
        raise ValueError(f"display {display['id']}: form {form!r} is not one of {', '.join(FORMS)}")
    return form


def panels(results, context, display):
    """Collect what is shown, a `Panel` each.

    Parameters
    ----------
    results : Results
        With individual values.
    context : Context
    display : dict
        Optional ``form`` (spaghetti, waterfall or ridge), ``parameters`` (else the primary endpoint
        and those of the families), ``visits`` (else all after the baseline; of a waterfall and a
        ridge the last that has values), ``noise`` as of `figure_forest`.

    Returns
    -------
    list of Panel
        A waterfall has one a parameter and visit.

    Raises
    ------
    Absent
        If there are no individual values.
    """
    form, found = form_of(display), []
    wanted = display.get("visits")
    names = [v["name"] for v in context.followups if not wanted or v["name"] in wanted]
    for parameter in parameters(context, display):
        if not context.has_parameter(parameter):
            continue
        each = [Panel(results, context, display, parameter, [name]) for name in names]
        each = [panel for panel in each if not panel.empty]
        if form == "waterfall":
            found += each if wanted else each[-1:]
        elif each:
            own = each if wanted or form == "spaghetti" else each[-1:]
            shown = [panel.visits[0] for panel in own]
            found.append(Panel(results, context, display, parameter, shown))
    return found


def caption(results, context, display):
    """Say what lines, bars or dots are, and where the numbers over them come from."""
    form = form_of(display)
    if results.empty:
        return context.population_line(METHOD)
    shown = panels(results, context, display)
    said = [
        {
            "spaghetti": "A thin line, a patient: change from baseline at the visits at which the "
            "patient has a value. Thick line with markers: mean at each visit.",
            "waterfall": "A bar, a patient: change from baseline at the visit, from the largest to "
            "the smallest within each arm. Dashed line: mean.",
            "ridge": "A dot, a patient: change from baseline at the visit. Below the dots: median "
            "(bar), quartiles (thick line) and mean (marker).",
        }[form]
    ]
    several = form == "spaghetti" and any(len(panel.visits) > 1 for panel in shown)
    said.append(f"n, mean and SD are{' of the last visit,' if several else ''} as described, "
                "not modelled; no value is imputed.")  # fmt: skip
    logs = [panel for panel in shown if panel.log]
    if logs:
        said.append(
            "Of parameters that are analysed on a log scale: ratios to the baseline, and the "
            f"geometric mean ratio of the {analysis_name(logs[0].analysis)}."
        )
    if form != "spaghetti" and any(_band(panel) for panel in shown):
        said.append(
            "Grey band: no change plus and minus the repeatability coefficient of the agreement "
            "analysis, within which 95% of differences between two measurements of the same "
            "patient lie."
        )
    if any(panel.count(*key) is None for panel in shown for key in panel.found):
        said.append("\u2013, not described, or not of the same patients.")
    return " ".join([*said, context.population_line(METHOD)])


def _band(panel):
    """Return the repeatability of a parameter where the axis holds it, else None."""
    if panel.noise is None:
        return None
    low, high = panel.limits()
    return panel.noise if low <= -panel.noise.value < panel.noise.value <= high else None


@fig.styled
def draw(results, context, display):
    """Draw the patients.

    Parameters
    ----------
    results : Results
        Rows of ``describe``, and the individual values.
    context : Context
    display : dict
        ``id title``; see `panels`.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide; a notice where nobody has a value.

    Raises
    ------
    Absent
        If there are no individual values.
    """
    form = form_of(display)
    if results.empty:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    shown = panels(results, context, display)
    if not shown:
        why = f"No change from baseline: {context.stratum['label']}."
        return fig.notice(why, display["title"])
    sheet = (Ridges if form == "ridge" else Sides)(context, shown, form)
    if sheet.height > MOST_HEIGHT:
        why = f"{len(shown)} panels do not fit a figure: name fewer parameters or visits."
        return fig.notice(why, display["title"])
    figure = fig.new(sheet.height)
    sheet.draw(figure, page(figure, sheet.height))
    fig.synthetic_line(figure, context, sheet.height)
    return figure


def faint(count):
    """Opacity of what stands for a patient: the more there are, the fainter."""
    return float(np.clip(25.0 / max(count, 1), 0.22, 0.9))


class _Sheet:
    """Panels with letter and title, in rows."""

    columns = 1

    def __init__(self, context, shown, form):
        self.context, self.shown, self.form = context, shown, form
        room = fig.WIDTH_MM - 2.0 - RIGHT - SIDE_GAP * (self.columns - 1)
        self.wide = room / self.columns
        self.titles = [self._title(panel) for panel in shown]

    @property
    def lettered(self):
        """Whether panels have letters."""
        return len(self.shown) > 1

    def _title(self, panel):
        visit = "" if self.form == "spaghetti" else f": {', '.join(panel.visits)}"
        said = minus(f"{self.context.label(panel.parameter)}{visit}")
        return fig.wrap(said, TITLE, 0.96 * (self.wide - 6.0 * self.lettered), bold=True)

    def _rows(self):
        count = len(self.shown)
        return [
            range(start, min(start + self.columns, count))
            for start in range(0, count, self.columns)
        ]

    def _above(self, row):
        """Height of titles and notes of a row."""
        notes = any(self.context.direction(self.shown[index].parameter) for index in row)
        return TITLE_STEP * max(len(self.titles[i]) for i in row) + SMALL_STEP * notes + 0.8

    def _top(self, paper, index, x, y, above):
        """Write letter, title and direction of a panel so that they end where the panel begins."""
        note = self.context.direction(self.shown[index].parameter)
        y += above - 0.8 - TITLE_STEP * len(self.titles[index]) - SMALL_STEP * bool(note)
        start = x
        if self.lettered:
            letter = chr(ord("A") + index) if len(self.shown) <= 26 else str(index + 1)
            paper.text(
                x, y + TITLE_STEP / 2, letter,
                fontsize=9, fontweight="bold", va="center_baseline",
            )  # fmt: skip
            start += 6.0
        for line in self.titles[index]:
            paper.text(
                start, y + TITLE_STEP / 2, line,
                fontsize=TITLE, fontweight="bold", va="center_baseline",
            )  # fmt: skip
            y += TITLE_STEP
        if note:
            paper.text(
                start, y + SMALL_STEP / 2, note,
                fontsize=SMALL, color=fig.SOFT, va="center_baseline",
            )  # fmt: skip


class Sides(_Sheet):
    """Spaghetti and waterfall: the arms of a panel stand side by side on one axis."""

    def __init__(self, context, shown, form):
        arms = len(context.arms)
        least = LEFT + arms * (LEAST + GAP) + SIDE_GAP
        room = max(1, int(fig.WIDTH_MM // least))
        self.columns = min({1: 3, 2: 2}.get(arms, 1), len(shown), room)
        super().__init__(context, shown, form)
        self.width = min((self.wide - (LEFT - 2.0) - GAP * (arms - 1)) / arms, 75.0)
        self.heads = [fig.wrap(minus(arm["label"]), POINTS, self.width - 5.0)
                      for arm in context.arms]  # fmt: skip
        self.tick_height = SMALL_STEP + 0.6
        if form == "spaghetti":
            self.places = positions(context)
            self.ticks, self.upright, self.tick_height = tick_texts(
                self.places, self.width, outside=GAP / 2
            )
        self.numbers = [
            [self._lines(panel, arm["code"]) for arm in context.arms] for panel in shown
        ]

    def _lines(self, panel, arm):
        """Lines of parts of an arm: on one line where they fit."""
        lines = panel.written(arm, panel.visits[-1])
        joined = [part for line in lines for part in [Part("; "), *line]][1:]
        return [joined] if width_of(joined, SMALL) <= self.width else lines

    def _height(self, row):
        head = STEP * max(map(len, self.heads))
        numbers = max(len(lines) for index in row for lines in self.numbers[index])
        return self._above(row) + head + SMALL_STEP * numbers + 1.5 + PANEL + 1.2 + self.tick_height

    @property
    def height(self):
        """Height of the figure, mm."""
        rows = self._rows()
        return 1.0 + sum(map(self._height, rows)) + BETWEEN * len(rows)

    def draw(self, figure, paper):
        """Draw the panels."""
        y = 1.0
        for row in self._rows():
            for column, index in enumerate(row):
                x = 2.0 + column * (self.wide + SIDE_GAP)
                self._top(paper, index, x, y, self._above(row))
                self._panel(figure, paper, index, x + LEFT - 2.0, y + self._above(row), row)
            y += self._height(row) + BETWEEN

    def _panel(self, figure, paper, index, x, y, row):
        panel = self.shown[index]
        head = STEP * max(map(len, self.heads))
        numbers = SMALL_STEP * max(len(lines) for own in row for lines in self.numbers[own])
        for place_of, arm in enumerate(self.context.arms):
            left = x + place_of * (self.width + GAP)
            paper.plot(
                [left + 1.5], [y + STEP / 2], markersize=4.0,
                **{**style_of(place_of), "linestyle": "none"},
            )  # fmt: skip
            for line, said in enumerate(self.heads[place_of]):
                at = y + STEP * (line + 0.5)
                paper.text(left + 4.0, at, said, fontsize=POINTS, va="center_baseline")
            for line, parts in enumerate(self.numbers[index][place_of]):
                at = y + head + SMALL_STEP * (line + 0.5)
                write_parts(paper, left, at, parts, SMALL, color=fig.SOFT)
            top = y + head + numbers + 1.5
            axes = place(figure, left, top, self.width, PANEL, self.height)
            self._axis(axes, panel, place_of == 0)
            getattr(self, f"_{self.form}")(axes, panel, place_of, arm["code"])
            self._below(paper, left, top + PANEL + 1.2)

    def _axis(self, axes, panel, first):
        axes.set_ylim(panel.limits())
        scale_ticks(axes.yaxis, axes.set_yscale, panel)
        axes.axhline(panel.start, color=fig.LINE, linewidth=0.6, zorder=1)
        if not first:
            axes.set_yticklabels([])
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_color(fig.LINE)
            return
        said = fig.wrap(panel.axis_label, POINTS, PANEL)
        axes.set_ylabel("\n".join(said), linespacing=1.05)
        axes.yaxis.set_label_coords(-(NAME - STEP * (len(said) - 1)) / self.width, 0.5)

    def _below(self, paper, left, y):
        """Write what stands below a panel: the visits, or what the order is."""
        if self.form == "waterfall":
            paper.text(
                left + self.width / 2, y + SMALL_STEP / 2, "Patients, by change",
                fontsize=SMALL, color=fig.SOFT, ha="center", va="center_baseline",
            )  # fmt: skip
            return
        for share, said in zip(self.places.values(), self.ticks, strict=True):
            at = left + (share + EDGE) / (1 + 2 * EDGE) * self.width
            paper.text(
                at, y, said, fontsize=SMALL, ha="center", va="top", linespacing=1.05,
                rotation=90 if self.upright else 0,
            )  # fmt: skip

    def _spaghetti(self, axes, panel, index, arm):
        """Draw a line a patient, from the baseline on, and the mean on top."""
        axes.set_xlim(-EDGE, 1 + EDGE)
        axes.set_xticks(list(self.places.values()), [""] * len(self.places))
        begin = (self.places[self.context.baseline], panel.start)
        lines = {}
        for visit in panel.visits:
            for one in panel.found[arm, visit]:
                known = lines.setdefault(one.subject, [begin])
                known.append((self.places[visit], one.value))
        style = style_of(index)
        axes.add_collection(
            LineCollection(
                [lines[name] for name in sorted(lines)], colors=style["color"], linewidths=0.5,
                alpha=faint(len(lines)), zorder=3,
            ),
            autolim=False,
        )  # fmt: skip
        means = [(self.places[visit], panel.mean(arm, visit)) for visit in panel.visits]
        means = [(x, mean.value) for x, mean in means if mean is not None and mean.estimated]
        if means:
            xs, ys = zip(begin, *means, strict=True)
            axes.plot(xs, ys, color="white", linewidth=3.2, zorder=5)
            axes.plot(xs, ys, markersize=4.2, linewidth=1.6, markevery=slice(1, None),
                      zorder=6, **{**style, "linestyle": "-"})  # fmt: skip

    def _waterfall(self, axes, panel, index, arm):
        """Draw a bar a patient, from the largest change to the smallest."""
        axes.set_xlim(0, 1)
        axes.set_xticks([])
        band = _band(panel)
        if band is not None:
            axes.axhspan(-band.value, band.value, color=BAND, linewidth=0, zorder=0)
        found = panel.found[arm, panel.visits[0]]
        values = sorted((one.value for one in found), reverse=True)
        count = max(len(values), 1)
        colour = style_of(index)["color"]
        if count > MANY:  # bars without room between them are one surface
            edges = np.linspace(0, 1, count + 1)
            axes.stairs(values, edges, baseline=panel.start, fill=True, color=colour, alpha=0.75,
                        linewidth=0, zorder=3)  # fmt: skip
        else:
            width = min(0.8 * self.width / count / fig.POINT_MM, 12.0)
            axes.vlines((np.arange(len(values)) + 0.5) / count, panel.start, values, color=colour,
                        linewidth=width, zorder=3, alpha=0.75)  # fmt: skip
        mean = panel.mean(arm, panel.visits[0])
        if mean is not None and mean.estimated:
            axes.axhline(mean.value, color=fig.INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=5)


def scale_ticks(axis, set_scale, panel, most=5):
    """Scale an axis of changes or ratios, and put few numbers on it."""
    axis.set_major_formatter(FuncFormatter(plain))
    if not panel.log:
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
        return
    set_scale("log")
    axis.set_major_formatter(FuncFormatter(plain))
    low, high = panel.limits()
    axis.set_minor_locator(FixedLocator([]))
    axis.set_minor_formatter(NullFormatter())
    if high / low < 4:
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    else:
        powers = np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
        step = -(-len(powers) // most)
        # No change is always a tick.
        axis.set_major_locator(FixedLocator(2.0 ** powers[powers % step == 0]))


class Ridges(_Sheet):
    """Dots stacked over a line, one line an arm and visit; what is described stands beside it."""

    def __init__(self, context, shown, form):
        super().__init__(context, shown, form)
        self.width = fig.WIDTH_MM - 2.0 - RIDGE_LABEL - RIDGE_NUMBERS - RIGHT - 2.0

    def _lines(self, panel):
        """Pairs of arm (its place) and visit."""
        return [
            (index, arm["code"], visit)
            for visit in panel.visits
            for index, arm in enumerate(self.context.arms)
        ]

    def _height(self, row):
        panel = self.shown[row[0]]
        lines = sum(self._line(panel, *line[1:]) for line in self._lines(panel))
        named = len(fig.wrap(panel.axis_label, POINTS, self.width))
        return self._above(row) + lines + 5.5 + STEP * named

    def _line(self, panel, arm, visit):
        """Height of a line: that of its dots, its box and its texts."""
        texts = max(
            STEP * len(self._label(panel, arm, visit)),
            SMALL_STEP * len(self._numbers(panel, arm, visit)),
        )
        return max(RIDGE, texts + 1.0) + BOX

    def _label(self, panel, arm, visit):
        label = next(a["label"] for a in self.context.arms if a["code"] == arm)
        lines = fig.wrap(minus(label), POINTS, RIDGE_LABEL - 6.0)
        more = fig.wrap(minus(visit), POINTS, RIDGE_LABEL - 6.0) if len(panel.visits) > 1 else []
        return [*lines, *more]

    def _numbers(self, panel, arm, visit):
        digits = effect_decimals(self.context, panel.parameter)
        rounding = self.context.style["rounding"]
        lines = panel.written(arm, visit)
        quartiles = [panel.number(stat, arm, visit) for stat in ("median", "q1", "q3")]
        if all(one is not None and one.estimated for one in quartiles):
            median, low, high = (lookup.part(one, digits, rounding) for one in quartiles)
            lines.append([Part("median "), median])
            lines.append([Part("quartiles "), low, Part(" to "), high])
        return lines

    @property
    def height(self):
        """Height of the figure, mm."""
        rows = self._rows()
        return 1.0 + sum(map(self._height, rows)) + BETWEEN * len(rows)

    def draw(self, figure, paper):
        """Draw the panels, one below the other."""
        y = 1.0
        for row in self._rows():
            self._top(paper, row[0], 2.0, y, self._above(row))
            self._panel(figure, paper, self.shown[row[0]], y + self._above(row))
            y += self._height(row) + BETWEEN

    def _panel(self, figure, paper, panel, y):
        lines = self._lines(panel)
        heights = [self._line(panel, arm, visit) for _, arm, visit in lines]
        tall, x = sum(heights), 2.0 + RIDGE_LABEL
        axes = place(figure, x, y, self.width, tall, self.height)
        axes.set(xlim=panel.limits(), ylim=(tall, 0))
        scale_ticks(axes.xaxis, axes.set_xscale, panel, 7)
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
        axes.axvline(panel.start, color=fig.LINE, linewidth=0.6, zorder=1)
        band = _band(panel)
        if band is not None:
            axes.axvspan(-band.value, band.value, color=BAND, linewidth=0, zorder=0)
        edges = self._bins(panel)
        most = max(
            np.histogram([one.value for one in own], edges)[0].max(initial=0)
            for own in panel.found.values()
        )
        top = 0.0
        for (index, arm, visit), height in zip(lines, heights, strict=True):
            base = top + height - BOX
            self._ridge(axes, panel, (index, arm, visit), base, edges, most)
            self._texts(paper, panel, (index, arm, visit), x, y + top, height)
            top += height
        for line, said in enumerate(fig.wrap(panel.axis_label, POINTS, self.width)):
            at = y + tall + 5.5 + STEP * (line + 0.5)
            paper.text(x + self.width / 2, at, said, fontsize=POINTS, ha="center",
                       va="center_baseline")  # fmt: skip

    def _bins(self, panel):
        """Edges of the stacks: as wide as a dot, over the whole axis."""
        low, high = panel.limits()
        return np.geomspace(low, high, BINS + 1) if panel.log else np.linspace(low, high, BINS + 1)

    def _ridge(self, axes, panel, line, base, edges, most):
        """Stack the dots of an arm over a line, and draw what is described below it."""
        index, arm, visit = line
        style = style_of(index)
        values = np.sort([one.value for one in panel.found[arm, visit]])
        axes.axhline(base, color=fig.LINE, linewidth=0.5, zorder=1)
        size = self.width / BINS
        # All stacks of a panel have one scale; those that would be too high overlap within.
        rise = min(size, (RIDGE - size) / max(most - 1, 1))
        bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)
        level = np.concatenate([np.arange(count) for count in np.bincount(bins, minlength=BINS)])
        axes.plot(
            values, base - size / 2 - rise * level[: len(values)], linestyle="none", marker="o",
            markersize=0.85 * size / fig.POINT_MM, color=style["color"], markeredgewidth=0,
            alpha=0.75, zorder=3,
        )  # fmt: skip
        quartiles = [panel.number(stat, arm, visit) for stat in ("q1", "median", "q3")]
        below = base + BOX / 2 - 0.2
        if all(one is not None and one.estimated for one in quartiles):
            low, middle, high = (one.value for one in quartiles)
            axes.plot([low, high], [below] * 2, color=style["color"], linewidth=2.2, zorder=3,
                      solid_capstyle="butt")  # fmt: skip
            axes.plot([middle] * 2, [below - 1.0, below + 1.0], color=fig.INK, lw=1.0, zorder=4)
        mean = panel.mean(arm, visit)
        if mean is not None and mean.estimated:
            axes.plot([mean.value], [below], markersize=3.6, zorder=5,
                      **{**style, "linestyle": "none", "markerfacecolor": "white"})  # fmt: skip

    def _texts(self, paper, panel, line, x, y, height):
        """Write the arm to the left of its dots, and its numbers to their right."""
        index, arm, visit = line
        label = self._label(panel, arm, visit)
        start = y + height - BOX - STEP * len(label) + STEP / 2
        paper.plot([3.5], [start], markersize=4.0, **{**style_of(index), "linestyle": "none"})
        for row, said in enumerate(label):
            paper.text(6.0, start + STEP * row, said, fontsize=POINTS, va="center_baseline")
        numbers = self._numbers(panel, arm, visit)
        start = y + height - BOX - SMALL_STEP * len(numbers) + SMALL_STEP / 2
        for row, parts in enumerate(numbers):
            at = start + SMALL_STEP * row
            write_parts(paper, x + self.width + 2.0, at, parts, SMALL, color=fig.SOFT)
