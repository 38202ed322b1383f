"""What figures draw with: axes in mm, text whose numbers keep their address, looks of the arms."""

from lungitude.reporting import figure as fig
from lungitude.reporting.format import NOT_ESTIMATED
from lungitude.reporting.pages import minus

POINTS = 7.0


def width_of(parts, points=POINTS):
    """Width in mm of pieces that stand side by side."""
    return fig.text_width_mm("".join(minus(part.text) for part in parts), points)


def write_parts(axes, x, y, parts, points=POINTS, align="left", **style):
    """Write pieces side by side, each number with its address.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Of `page`: its coordinates are mm.
    x, y : float
        Left or right end and middle, in mm from the upper left corner of the figure.
    parts : list of Part
    points : float
    align : {"left", "right"}
    style : dict
        Of the text, such as ``color``.
    """
    style |= {"fontsize": points, "va": "center_baseline"}
    if align == "right" and len(parts) == 1:
        drawn = axes.text(x, y, minus(parts[0].text), ha="right", **style)
        fig.set_address(drawn, parts[0].address)
        return
    x = x - width_of(parts, points) if align == "right" else x
    before = ""
    for part in parts:
        shown = minus(part.text)
        # A space has no ink: it belongs to what stands before the next piece.
        text = shown.lstrip(" ")
        before += shown[: len(shown) - len(text)]
        drawn = axes.text(x + _advance(before, points), y, text.rstrip(" "), **style)
        fig.set_address(drawn, part.address)
        before += text


def _advance(text, points):
    """Width in mm of a text with the spaces at its end."""
    return fig.text_width_mm(f"{text}|", points) - fig.text_width_mm("|", points)


def page(figure, height):
    """Return axes over a whole figure that count mm from its upper left corner."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, fig.WIDTH_MM)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return axes


def place(figure, x, y, width, height, total):
    """Return axes in a box of mm from the upper left corner of a figure that is `total` high."""
    return figure.add_axes(
        (x / fig.WIDTH_MM, 1 - (y + height) / total, width / fig.WIDTH_MM, height / total)
    )


def why_not_estimated(numbers):
    """Say why the numbers that read NE were not estimated; empty where all were.

    Parameters
    ----------
    numbers : iterable of Number or None
    """
    notes = [found.note for found in numbers if found is not None and not found.estimated]
    causes = dict.fromkeys(note.removeprefix("not estimated: ") for note in notes if note)
    said = f"{NOT_ESTIMATED}, not estimated"
    return f"{said}: {'; '.join(causes)}." if causes else f"{said}." if notes else ""


def style_of(index):
    """Colour, marker, line and fill of an arm, by its place."""
    colour = fig.COLOURS[index % len(fig.COLOURS)]
    return {
        "color": colour,
        "marker": fig.MARKERS[index % len(fig.MARKERS)],
        "linestyle": fig.LINES[index % len(fig.LINES)],
        "markerfacecolor": "white" if index % 2 else colour,
        "markeredgewidth": 0.9,
    }


def plain(value, _=None):
    """Write the number of a tick: never with a factor that stands elsewhere on the axis."""
    return minus(f"{value:.6g}")
