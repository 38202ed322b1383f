"""Correlations as a map of colours: one panel a visit and arm, a line an x, a column a y.

Each cell says r and n. The colour is the size and the sign of r: blue below zero, orange above,
white at zero, equally dark at both ends, so that in grey the number tells the sign.
"""

from dataclasses import dataclass

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from lungitude.reporting import figure as fig
from lungitude.reporting import format as text
from lungitude.reporting import results as lookup
from lungitude.reporting.figure_forest import MOST_HEIGHT, wrap
from lungitude.reporting.pages import minus
from lungitude.reporting.table_correlations import (
    DIGITS,
    METHOD,
    Grid,
    adjustment,
    get,
    kind,
    on_log_scale,
)

POINTS, SMALL, HEAD = 7.0, 6.0, 7.5
LEFT, RIGHT, GAP = 2.0, 2.0, 4.0
LABEL, LINE = 42.0, 3.0
LEAST, MOST = 12.0, 24.0  # width of a cell, mm
ROW = 8.0
FOOT = 12.0  # room for the bar of colours, at least, mm
UPRIGHT = 40.0  # longest line of a heading that stands upright, mm
ALPHA = 0.05
COLOURS = LinearSegmentedColormap.from_list(
    "correlation",
    ["#005a91", "#6fb0d8", "#ffffff", "#e59a5c", "#7f3500"],
    N=257,  # odd: 0 has a colour of its own, white
)
STEPS = 81
UNKNOWN = "#e6e8eb"
PALE = 0.72  # beyond this share of the scale text is white


@dataclass(frozen=True)
class Panel:
    """A visit and group, or where its columns do not fit one line, some of its columns."""

    visit: str
    group: str
    label: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Lines of panels, the width of a cell in mm, and the sizes of all headings."""

    lines: tuple[tuple[Panel, ...], ...]
    cell: float
    rows: tuple[tuple[str, ...], ...]
    upright: bool
    heads: dict
    head_height: float

    def width(self, panel):
        """Width of a panel in mm."""
        return self.cell * len(panel.columns)

    def row_height(self, index):
        """Height of a line of cells in mm."""
        return max(ROW, LINE * len(self.rows[index]) + 1.6)

    def title(self, panel):
        """Lines of the title of a panel."""
        return wrap(panel.label, HEAD, self.width(panel), bold=True)

    def line_height(self, line):
        """Height of a line of panels in mm: titles, headings, cells."""
        titles = max(len(self.title(panel)) for panel in line)
        cells = sum(self.row_height(index) for index in range(len(self.rows)))
        return 3.4 * titles + 1.0 + self.head_height + cells


def layout(grid, context):
    """Place the panels: those of a visit beside each other as far as they fit.

    Parameters
    ----------
    grid : Grid
    context : Context

    Returns
    -------
    Layout
    """
    room = fig.WIDTH_MM - LEFT - LABEL - 1.5 - RIGHT
    count = -(-len(grid.y) // int(room // LEAST))
    most = -(-len(grid.y) // count)
    parts = [tuple(grid.y[i : i + most]) for i in range(0, len(grid.y), most)]
    widest = len(parts[0])
    beside = max(1, int((room + GAP) // (widest * LEAST + GAP)))
    several = len(grid.groups) > 1
    panels = [
        [
            Panel(visit, code, _name(visit, label if several else "", index), part)
            for code, label in grid.groups
            for index, part in enumerate(parts)
        ]
        for visit in grid.visits
    ]
    if not several and len(parts) == 1:  # the visits stand beside each other
        panels = [[panel for one in panels for panel in one]]
    lines = []
    for one in panels:
        # As many in each line as in the others: three beside one looks like a mistake.
        count = -(-len(one) // beside)
        share = -(-len(one) // count)
        lines += [tuple(one[i : i + share]) for i in range(0, len(one), share)]
    broadest = max(sum(len(panel.columns) for panel in line) for line in lines)
    gaps = GAP * (max(map(len, lines)) - 1)
    cell = min(MOST, (room - gaps) / broadest)
    names = {y: minus(context.label(y)) for y in grid.y}
    upright = any(
        fig.text_width_mm(word, POINTS) > cell - 1.0
        for name in names.values()
        for word in name.split(" ")
    )
    heads = _upright(names, cell) if upright else _level(names, cell)
    return Layout(
        lines=tuple(lines),
        cell=cell,
        rows=tuple(tuple(_balanced(context.label(x), LABEL)) for x in grid.x),
        upright=upright,
        heads=heads,
        head_height=_head_height(heads, upright),
    )


def _name(visit, group, index):
    """Name a panel; `index` counts the parts of one that does not fit a line."""
    name = f"{visit}: {group}" if group else visit
    return f"{name} (continued)" if index else name


def _balanced(said, width):
    """Break text into lines of like length: a last line of one short word looks lost."""
    lines = wrap(said, POINTS, width)
    for share in (0.9, 0.8, 0.7, 0.6):
        tried = wrap(said, POINTS, share * width)
        if len(tried) == len(lines):
            lines = tried
    return lines


def _level(names, cell):
    return {y: wrap(name, POINTS, cell - 1.0) for y, name in names.items()}


def _upright(names, cell):
    """Break headings that stand upright into no more lines than a cell is wide."""
    most, length = max(1, int((cell - 0.6) // LINE)), UPRIGHT
    while max(len(wrap(name, POINTS, length)) for name in names.values()) > most:
        length += 4.0
    return {y: wrap(name, POINTS, length) for y, name in names.items()}


def _head_height(heads, upright):
    if upright:
        lines = [line for said in heads.values() for line in said]
        return 1.03 * max(fig.text_width_mm(line, POINTS) for line in lines) + 2.0
    return LINE * max(map(len, heads.values())) + 1.2


def caption(results, context, display):
    """Say what r is, how p values were adjusted, what has no number, and who is in it."""
    if results.empty:
        return context.population_line(METHOD)
    grid = Grid(results, context, display)
    adjusted = adjustment(results, context)
    said = [f"r, {kind(context)}; below it n, patients with all values."]
    said.append(on_log_scale(context, grid))
    said.append(
        f"Framed: adjusted p below {ALPHA:g}, {adjusted}."
        if adjusted
        else "p values are not adjusted for multiple testing, and none is marked."
    )
    said += [f"{text.NOT_ESTIMATED}, {why}." for why in _reasons(results, grid)]
    said.append(context.population_line(METHOD))
    return " ".join(part for part in said if part)


def _reasons(results, grid):
    """List why correlations have no number."""
    notes = []
    for x, y, visit in sorted(grid.pairs):
        for group, _ in grid.groups:
            found = get(results, "r", x, y, visit, group)
            if found is not None and not found.estimated:
                notes.append(found.note or "not estimated")
    return sorted(set(notes))


@fig.styled
def draw(results, context, display):
    """Draw the map.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide; a notice where the stratum has no patient.

    Raises
    ------
    Absent
        If the stratum has patients but no such rows.
    """
    if results.empty:
        return fig.notice(f"No patients: {context.stratum['label']}.", display["title"])
    grid = Grid(results, context, display)
    placed = layout(grid, context)
    adjusted = bool(adjustment(results, context))
    height = 2.0 + sum(placed.line_height(line) + 5.0 for line in placed.lines)
    height += max(FOOT, LINE * len(_balanced(kind(context), LABEL - 4.0)) + 6.0)
    if height > MOST_HEIGHT:
        count = sum(map(len, placed.lines))
        why = f"{count} panels do not fit a figure: name fewer parameters or visits."
        return fig.notice(why, display["title"])
    figure = fig.new(height)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, fig.WIDTH_MM), ylim=(height, 0))
    page.axis("off")
    y = 2.0
    for line in placed.lines:
        _panels(page, results, context, grid, placed, line, y, adjusted)
        y += placed.line_height(line) + 5.0
    _scale(page, context, y, adjusted)
    fig.synthetic_line(figure, context, height)
    return figure


def _say(page, x, y, said, size=POINTS, **more):
    """Write one line of text at a place in mm."""
    return page.text(x, y, said, fontsize=size, **{"va": "center_baseline", **more})


def _panels(page, results, context, grid, placed, line, top, adjusted):
    """Draw panels beside each other, with the names of their lines at the left."""
    titles = max(len(placed.title(panel)) for panel in line)
    cells = top + 3.4 * titles + 1.0 + placed.head_height
    y = cells
    for index, said in enumerate(placed.rows):
        tall = placed.row_height(index)
        start = y + tall / 2 - LINE * (len(said) - 1) / 2
        for row, part in enumerate(said):
            _say(page, LEFT + LABEL, start + row * LINE, part, ha="right")
        y += tall
    x = LEFT + LABEL + 1.5
    for panel in line:
        # Titles end at one height, above the headings of the columns.
        said = placed.title(panel)
        base = top + 3.4 * (titles - len(said)) + 1.7
        for row, part in enumerate(said):
            _say(page, x, base + 3.4 * row, part, HEAD, fontweight="bold")
        for column, name in enumerate(panel.columns):
            _heading(page, placed, name, x + (column + 0.5) * placed.cell, cells)
        _cells(page, results, context, grid, placed, panel, x, cells, adjusted)
        x += placed.width(panel) + GAP


def _heading(page, placed, name, x, bottom):
    """Write the name of a column, centred on it, above its cells."""
    said = placed.heads[name]
    for index, part in enumerate(said):
        if placed.upright:
            shift = (index - (len(said) - 1) / 2) * LINE
            _say(page, x + shift, bottom - 1.0, part, rotation=90, ha="center", va="bottom")
        else:
            y = bottom - 0.8 - LINE * (len(said) - index - 0.5)
            _say(page, x, y, part, ha="center")


def _cells(page, results, context, grid, placed, panel, left, top, adjusted):
    """Draw the cells of a panel, then the frames of those that are marked."""
    frames, y = [], top
    for index, row in enumerate(grid.x):
        tall = placed.row_height(index)
        for column, name in enumerate(panel.columns):
            x = left + column * placed.cell
            _cell(page, results, context, (row, name, panel.visit, panel.group),
                  (x, y, placed.cell, tall))  # fmt: skip
            p = get(results, "p_adj", row, name, panel.visit, panel.group) if adjusted else None
            if p is not None and p.estimated and p.value < ALPHA:
                frames.append((x, y, tall))
        y += tall
    for x, y, tall in frames:
        _frame(page, x, y, placed.cell, tall)


def _frame(page, x, y, width, height):
    """Draw the mark of an adjusted p: a dark frame within the cell."""
    inner = Rectangle((x + 0.45, y + 0.45), width - 0.9, height - 0.9, zorder=3)
    inner.set(facecolor="none", edgecolor=fig.INK, linewidth=1.3)
    page.add_patch(inner)


def _cell(page, results, context, place, box):
    """Draw one cell: its colour, r, and the patients behind it."""
    x, y, width, height = box
    found = get(results, "r", *place)
    known = found is not None and found.estimated
    face = colour(found.value) if known else "white" if found is None else UNKNOWN
    page.add_patch(
        Rectangle((x, y), width, height, facecolor=face, edgecolor="#b4bac2", linewidth=0.5)
    )
    ink = "white" if known and abs(found.value) > PALE else fig.INK
    r = lookup.part(found, DIGITS, context.style["rounding"])
    middle = x + width / 2
    if found is None:
        _say(page, middle, y + height / 2, r.text, ha="center", color=fig.SOFT)
        return
    shown = _say(page, middle, y + height / 2 - 1.4, minus(r.text), ha="center", color=ink)
    fig.set_address(shown, r.address)
    n = lookup.used_part(found)
    wide = fig.text_width_mm("|n |", SMALL) - fig.text_width_mm("||", SMALL)
    start = middle - (wide + fig.text_width_mm(n.text, SMALL)) / 2
    _say(page, start, y + height / 2 + 1.7, "n", SMALL, color=ink, fontstyle="italic")
    drawn = _say(page, start + wide, y + height / 2 + 1.7, n.text, SMALL, color=ink)
    fig.set_address(drawn, n.address)


def colour(r):
    """Return the colour of a correlation: white at 0, the darkest at -1 and 1."""
    return COLOURS((r + 1) / 2)


def _scale(page, context, top, adjusted):
    """Draw the bar of colours with its numbers and its name, and the mark beside it."""
    x, width = LEFT + LABEL + 1.5, 60.0
    step = width / STEPS
    for index in range(STEPS):
        r = -1 + 2 * index / (STEPS - 1)
        # A little overlap: viewers show hairlines between patches that only touch.
        page.add_patch(
            Rectangle((x + index * step, top), min(step * 1.3, width - index * step), 3.0,
                      facecolor=colour(r), linewidth=0)
        )  # fmt: skip
    page.add_patch(
        Rectangle((x, top), width, 3.0, facecolor="none", edgecolor=fig.SOFT, linewidth=0.5)
    )
    for r, said in ((-1, "\u22121"), (-0.5, "\u22120.5"), (0, "0"), (0.5, "0.5"), (1, "1")):
        at = x + width * (r + 1) / 2
        page.plot([at, at], [top + 3.0, top + 3.8], color=fig.SOFT, linewidth=0.6)
        _say(page, at, top + 5.6, said, SMALL + 0.5, ha="center")
    name = kind(context)
    # The number of the left end of the bar reaches to the left of it.
    for row, part in enumerate(_balanced(name, LABEL - 4.0)):
        _say(page, LEFT + LABEL - 4.0, top + 1.5 + LINE * row, part, ha="right")
    if adjusted:
        at = x + width + 10.0
        _frame(page, at, top - 0.45, 6.0, 4.0)
        _say(page, at + 7.5, top + 1.55, f"adjusted p < {ALPHA:g}")
