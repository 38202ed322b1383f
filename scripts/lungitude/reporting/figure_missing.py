"""How many values of each parameter are missing, by visit and arm: a tile each, in greys.

A tile prints the patients without a value; its grey is their share. Visits that don't fit side by
side continue in a further band below.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, width_of, write_parts
from lungitude.reporting.figure_trend import parameters
from lungitude.reporting.format import NOT_APPLICABLE
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Number, Part

METHOD, LEVEL = "describe", "AVAL"
# All in mm.
LEFT, RIGHT, LABEL, GAP = 2.0, 2.0, 56.0, 2.0
TILE_LEAST, TILE_MOST, TILE_HEIGHT = 9.0, 24.0, 4.8
VISIT_GAP, HEAD, STEP, BETWEEN, FOOT, KEY = 1.6, 8.4, 3.1, 4.0, 4.0, 9.0
POINTS, TILE_POINTS = 7.0, 6.5
# Ends of the scale of greys, in per cent: the smallest that holds every tile is taken.
ENDS = (10, 20, 30, 40, 50, 75, 100)
# Light enough for the numbers in dark ink.
DARKEST = 0.55


@dataclass(frozen=True)
class Tile:
    """A parameter at a visit in an arm: who has no value, and who has one (None: not measured)."""

    missing: Number | None
    known: Number | None

    @property
    def share(self):
        """Share without a value, for the grey of the tile; 0 where nobody is there."""
        if self.missing is None or self.known is None:
            return 0.0
        size = self.missing.value + self.known.value
        return self.missing.value / size if size else 0.0


def tiles(results, context, display):
    """Collect the tiles.

    Returns
    -------
    dict of str to dict of (str, str) to Tile
        By parameter, then by (visit, arm); parameters that nobody measured are left out.
    """
    found = {}
    for parameter in parameters(context, display):
        if not context.has_parameter(parameter):
            continue
        own = {}
        for visit in visits(context, display):
            for arm in context.arms:
                numbers = (
                    results.get(METHOD, stat, parameter, visit, arm["code"], level=LEVEL)
                    for stat in ("missing", "n")
                )
                own[visit, arm["code"]] = Tile(*numbers)
        if any(tile.missing is not None for tile in own.values()):
            found[parameter] = own
    return found


def visits(context, display):
    """Names of the visits: those of the display, else all."""
    return list(display.get("visits") or [visit["name"] for visit in context.visits])


def sizes(results, context, shown):
    """Return by arm how many patients a tile is out of, or None where that is not in the results.

    The patients randomised are the denominator only where they are those that were described:
    an analysis set may have fewer.
    """
    found = {arm["code"]: results.size(arm["code"]) for arm in context.arms}
    for own in shown.values():
        for (_, arm), tile in own.items():
            if tile.missing is None or tile.known is None:
                continue
            size = found[arm]
            if size is None or size.value != tile.missing.value + tile.known.value:
                return None
    return found


def caption(results, context, display):
    """Say what a tile prints and what its grey is."""
    shown = tiles(results, context, display)
    of = " of those randomised" if sizes(results, context, shown) else ""
    gaps = any(tile.missing is None for own in shown.values() for tile in own.values())
    dash = f"{NOT_APPLICABLE}, not measured at the visit. " if gaps else ""
    return (
        f"Patients without a value{of}, by visit and arm; the darker, the larger the share. "
        f"{dash}{context.population_line(METHOD)}"
    )


@fig.styled
def draw(results, context, display):
    """Draw the tiles.

    Parameters
    ----------
    results : Results
        Rows of ``describe`` (and the sizes of the arms from ``disposition``).
    context : Context
    display : dict
        ``title``; optional ``parameters`` (else the primary endpoint and those of the families)
        and ``visits`` (else all).

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide. A notice where the stratum has no patient or nothing was described.

    Raises
    ------
    Absent
        If nothing was described.
    """
    if results.empty:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    results.of(METHOD)
    shown = tiles(results, context, display)
    if not shown:
        return fig.notice(f"No values: {context.stratum['label']}.", display["title"])
    grid = Grid(context, shown, visits(context, display), sizes(results, context, shown))
    figure = fig.new(grid.height)
    grid.draw(page(figure, grid.height))
    fig.synthetic_line(figure, context, grid.height)
    return figure


class Grid:
    """Geometry of the tiles in mm, and how they are drawn."""

    def __init__(self, context, shown, names, size):
        self.context, self.shown, self.size = context, shown, size
        self.labels = {name: fig.wrap(minus(context.label(name)), POINTS, LABEL) for name in shown}
        arms = len(context.arms)
        room = fig.WIDTH_MM - LEFT - LABEL - GAP - RIGHT
        side = max(1, int((room + VISIT_GAP) // (arms * TILE_LEAST + VISIT_GAP)))
        self.bands = [names[i : i + side] for i in range(0, len(names), side)]
        most = max(map(len, self.bands))
        self.width = min(TILE_MOST, (room - VISIT_GAP * (most - 1)) / (most * arms))
        if size and max(width_of(self.parts(n, k), TILE_POINTS) for n, k in self._keys()) > (
            self.width - 0.6
        ):
            self.size = None
        self.legend = self._legend()
        share = 100 * max(tile.share for own in shown.values() for tile in own.values())
        self.end = next((end for end in ENDS if share <= end), ENDS[-1])
        titles = [fig.wrap(minus(name), POINTS, arms * self.width, bold=True) for name in names]
        self.titles = dict(zip(names, titles, strict=True))

    def _keys(self):
        return [(name, key) for name, own in self.shown.items() for key in own]

    def parts(self, name, key):
        """Pieces that a tile prints."""
        tile = self.shown[name][key]
        missing = lookup.count_part(tile.missing)
        size = self.size[key[1]] if self.size and tile.missing is not None else None
        return [missing, Part("/"), lookup.count_part(size)] if size is not None else [missing]

    def _legend(self):
        """Lines that spell the codes of the arms."""
        lines = []
        for arm in self.context.arms:
            text = f"{arm['code']}, {arm['label']}"
            lines += fig.wrap(minus(text), POINTS, fig.WIDTH_MM - LEFT - RIGHT - 62.0)
        return lines

    def row_height(self, name):
        """Height of the row of a parameter."""
        return max(TILE_HEIGHT, STEP * len(self.labels[name]) + 1.2)

    def head_height(self, band):
        """Height of the heads of a band: visits, then codes of the arms."""
        return STEP * max(len(self.titles[name]) for name in band) + 4.6

    @property
    def key_height(self):
        """Height of legend and scale."""
        return max(KEY, STEP * len(self.legend) + 2.0)

    @property
    def height(self):
        """Height of the figure."""
        rows = sum(self.row_height(name) for name in self.shown)
        heads = sum(self.head_height(band) for band in self.bands)
        between = BETWEEN * (len(self.bands) - 1)
        return self.key_height + heads + rows * len(self.bands) + between + FOOT

    def draw(self, axes):
        """Draw legend, scale and bands."""
        for index, text in enumerate(self.legend):
            axes.text(LEFT, 2.0 + STEP * (index + 0.5), text, fontsize=POINTS, va="center_baseline")
        self._scale(axes)
        y = self.key_height
        for band in self.bands:
            y = self._band(axes, band, y) + BETWEEN

    def _scale(self, axes):
        """Draw the scale of greys with its ends."""
        right, wide, top = fig.WIDTH_MM - RIGHT - 8.0, 30.0, 2.0
        steps = np.linspace(0, 1, 31)
        for low, high in itertools.pairwise(steps):
            axes.fill_between(
                [right - wide + low * wide, right - wide + high * wide],
                top,
                top + 2.6,
                color=self._grey((low + high) / 2 * self.end / 100),
                linewidth=0,
            )
        axes.plot(
            [right - wide, right, right, right - wide, right - wide],
            [top, top, top + 2.6, top + 2.6, top],
            color=fig.LINE,
            linewidth=0.5,
        )
        style = {"fontsize": 6.0, "color": fig.SOFT, "va": "center_baseline"}
        axes.text(right - wide - 1.0, top + 1.3, "0%", ha="right", **style)
        axes.text(right + 1.0, top + 1.3, f"{self.end}%", ha="left", **style)
        axes.text(right - wide / 2, top + 4.4, "Share without a value", ha="center", **style)

    def _grey(self, share):
        """White where nothing is missing, dark at the end of the scale."""
        return str(1 - (1 - DARKEST) * min(1.0, 100 * share / self.end))

    def _band(self, axes, band, top):
        """Draw some visits with all parameters; return where it ends."""
        left = LEFT + LABEL + GAP
        wide = self.width * len(self.context.arms)
        y = top + self.head_height(band)
        for place, visit in enumerate(band):
            x = left + place * (wide + VISIT_GAP)
            lines = self.titles[visit]
            for index, text in enumerate(lines):
                axes.text(
                    x + wide / 2,
                    y - 4.6 - STEP * (len(lines) - index - 0.5),
                    text,
                    fontsize=POINTS,
                    fontweight="bold",
                    ha="center",
                    va="center_baseline",
                )
            for index, arm in enumerate(self.context.arms):
                axes.text(
                    x + (index + 0.5) * self.width,
                    y - 2.4,
                    arm["code"],
                    fontsize=POINTS,
                    ha="center",
                    va="center_baseline",
                )
        for name in self.shown:
            high = self.row_height(name)
            self._label(axes, name, y, high)
            for place, visit in enumerate(band):
                for index, arm in enumerate(self.context.arms):
                    x = left + place * (wide + VISIT_GAP) + index * self.width
                    self._tile(axes, name, (visit, arm["code"]), x, y, high)
            y += high
        return y

    def _label(self, axes, name, y, high):
        lines = self.labels[name]
        y += (high - STEP * len(lines)) / 2
        for index, text in enumerate(lines):
            axes.text(LEFT, y + STEP * (index + 0.5), text, fontsize=POINTS, va="center_baseline")

    def _tile(self, axes, name, key, x, y, high):
        tile = self.shown[name][key]
        grey = self._grey(tile.share)
        axes.fill_between(
            [x + 0.15, x + self.width - 0.15],
            y + 0.15,
            y + high - 0.15,
            facecolor=grey if tile.missing is not None else "white",
            edgecolor=fig.LINE,
            linewidth=0.4,
        )
        parts = self.parts(name, key)
        write_parts(
            axes,
            x + (self.width - width_of(parts, TILE_POINTS)) / 2,
            y + high / 2,
            parts,
            TILE_POINTS,
        )
