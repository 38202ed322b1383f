"""What quality-control panels share: figures, slices with sides and scale, trees, small files."""

import functools
import io

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from lungitude.job import whole

MAX_BYTES = 290_000
DPI = 130
LUNG_WINDOW_HU = (-1200.0, 200.0)
HEART_WINDOW_HU = (-160.0, 500.0)
PAPER, INK, SOFT, DARK = "#ffffff", "#1b1f24", "#4a5360", "#000000"
# Okabe and Ito 2008: told apart with any colour vision.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#999999"
# Noise costs the bytes: quantisers, from fine to coarse greys.
_PALETTES = tuple((Image.Quantize.MEDIANCUT, n) for n in (256, 128, 96))
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.7,
    "axes.titlesize": 8.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.facecolor": PAPER,
    "path.simplify": False,
}


def styled(function):
    """Run a function that draws in the style of the panels, whatever the user's settings are."""

    @functools.wraps(function)
    def inside(*args, **kwargs):
        with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE, "backend": "agg"}):
            return function(*args, **kwargs)

    return inside


def figure(width, height, title, lines=(), dpi=DPI):
    """Return a figure of a size in inches with title and lines of text, and its free area.

    The area is (left, bottom, right, top) in parts of the figure, for `Figure.add_gridspec`.
    """
    made = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(made)
    lines = list(lines)
    made.text(0.008, 1 - 0.07 / height, title, size=10.5, weight="bold", va="top")
    made.text(0.008, 0.06 / height, "\n".join(lines), size=8, va="bottom", linespacing=1.35)
    foot = (0.16 * len(lines) + 0.12) / height
    return made, (0.008, foot, 0.992, 1 - 0.52 / height)


def save(made, path, exact=()):
    """Write a figure as PNG with a palette: the same figure gives the same bytes, below 290 kB.

    `exact` are colours that legends need as they are, beside those of this module.
    """
    made.canvas.draw()
    picture = Image.fromarray(np.asarray(made.canvas.buffer_rgba())[..., :3].copy())
    kept = [PAPER, INK, DARK, "#ffffff", ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, GREY]
    kept = np.array([mpl.colors.to_rgb(colour) for colour in (*kept, *exact)])
    kept = np.rint(255 * kept).astype(np.uint8)
    for method, colours in (*_PALETTES, (Image.Quantize.FASTOCTREE, 256 - len(kept))):
        data = _encoded(picture, kept, min(colours, 256 - len(kept)), method)
        if len(data) <= MAX_BYTES:
            break
    while len(data) > MAX_BYTES:
        size = [int(0.92 * n) for n in picture.size]
        picture = picture.resize(size, Image.Resampling.BILINEAR)
        data = _encoded(picture, kept, 96, Image.Quantize.FASTOCTREE)
    with whole(path) as part:
        part.write_bytes(data)


def _encoded(picture, kept, colours, method):
    """Return PNG bytes with some colours exact and the others from a quantiser."""
    coded = picture.quantize(colours, method, dither=Image.Dither.NONE)
    palette = np.array(coded.getpalette()[: 3 * colours], np.uint8).reshape(-1, 3)
    index, values = np.array(coded), np.asarray(picture)
    for number, colour in enumerate(kept, start=len(palette)):
        index[(values == colour).all(axis=-1)] = number
    made = Image.fromarray(index).convert("P")
    made.putpalette(np.concatenate([palette, kept]).ravel().tolist())
    buffer = io.BytesIO()
    made.save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def windowed(plane, window):
    """Return a plane of HU as grey of 0 to 1."""
    low, high = window
    return np.clip((np.asarray(plane, np.float32) - low) / (high - low), 0.0, 1.0)


def picture(axes, plane, step_mm, window, sides="", bar_mm=None, name="", where=""):
    """Draw a slice in mm with the letters of its sides, a scale bar and a caption.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    plane : ndarray, (rows, columns)
        HU; row 0 is the top.
    step_mm : (float, float)
        Size of a pixel along rows and columns.
    window : (float, float)
        HU that are black and white.
    sides : str or sequence of str
        Letters of left, right, top and bottom, such as "RLAP"; "" for none.
    bar_mm : float, optional
        Length of the scale bar.
    name, where : str
        Above; and in the upper left corner.
    """
    extent = frame(axes, plane.shape, step_mm)
    axes.imshow(
        windowed(plane, window), cmap="gray", vmin=0, vmax=1, extent=extent,
        interpolation="bilinear", zorder=0,
    )  # fmt: skip
    decorate(axes, extent, sides, bar_mm, name, where)


def frame(axes, shape, step_mm):
    """Set an axes up for pictures of a size: mm, y down, no ticks; return its extent."""
    extent = (0.0, shape[1] * step_mm[1], shape[0] * step_mm[0], 0.0)
    axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], aspect="equal")
    axes.set_facecolor(DARK)
    for spine in axes.spines.values():
        spine.set(color=GREY, linewidth=0.5)
    axes.set_anchor("N")
    return extent


def decorate(axes, extent, sides="", bar_mm=None, name="", where=""):
    """Write the letters of the sides, a scale bar and captions onto a picture."""
    edge = [withStroke(linewidth=1.6, foreground="black")]  # also legible on bright tissue
    light = {"color": "white", "zorder": 9, "path_effects": edge}
    corner = {"size": 8, "transform": axes.transAxes, **light}
    places = ((0.015, 0.5, "left", "center"), (0.985, 0.5, "right", "center"))
    places += ((0.5, 0.985, "center", "top"), (0.5, 0.015, "center", "bottom"))
    for letter, (x, y, across, along) in zip(sides, places, strict=False):
        axes.text(x, y, letter, ha=across, va=along, weight="bold", **corner)
    if name:
        axes.set_title(name)
    if where:
        axes.text(0.02, 0.975, where, ha="left", va="top", **corner)
    if bar_mm:
        wide, tall = extent[1], extent[2]
        right, low = wide * 0.96, tall * 0.955
        axes.plot(
            [right - bar_mm, right], [low, low], color="white", lw=2, zorder=9,
            path_effects=[withStroke(linewidth=3.4, foreground="black")],
        )  # fmt: skip
        text = f"{bar_mm / 10:g} cm" if bar_mm >= 10 else f"{bar_mm:g} mm"
        axes.annotate(
            text, (right - bar_mm / 2, low), (0, 2), textcoords="offset points", size=7,
            ha="center", va="bottom", **light,
        )  # fmt: skip


def fill(axes, codes, step_mm, colours, alpha):
    """Lay colours over a slice: `codes` (rows, columns) whole numbers, `colours` of each."""
    rgba = np.zeros((*codes.shape, 4), np.float32)
    for code, colour in colours.items():
        rgba[codes == code] = mpl.colors.to_rgba(colour, alpha)
    extent = (0.0, codes.shape[1] * step_mm[1], codes.shape[0] * step_mm[0], 0.0)
    axes.imshow(rgba, extent=extent, interpolation="nearest", zorder=1)


def outline(axes, inside, step_mm, colour, width=1.0):
    """Draw the contour of a mask (rows, columns) in a slice."""
    inside = np.pad(np.asarray(inside, float), 1)
    if not inside.any():
        return
    y = (np.arange(inside.shape[0]) - 0.5) * step_mm[0]
    x = (np.arange(inside.shape[1]) - 0.5) * step_mm[1]
    axes.contour(x, y, inside, levels=[0.5], colors=[colour], linewidths=width, zorder=3)


def tree(axes, lines, colours, widths_mm, turn_deg=0.0, name="", sides="RL", bar_mm=50.0):
    """Draw lines in space; far ones fade and lie behind near ones.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    lines : list of ndarray, (k, 3)
        Points (x, y, z) in mm, LPS.
    colours : list of colour
    widths_mm : sequence of float
        Diameters; drawn to scale, but never thinner than can be seen.
    turn_deg : float
        About the long axis of the body: 0 from the front, 90 from the patient's left.
    name : str
        In the upper left corner.
    sides, bar_mm
        As `picture`.
    """
    angle = np.radians(turn_deg)
    across, toward = (np.cos(angle), np.sin(angle)), (np.sin(angle), -np.cos(angle))
    pieces, depth, shade, width = [], [], [], []
    for line, colour, wide in zip(lines, colours, widths_mm, strict=True):
        flat = np.stack([line[:, 0] * across[0] + line[:, 1] * across[1], -line[:, 2]], axis=1)
        near = line[:, 0] * toward[0] + line[:, 1] * toward[1]
        pieces += list(np.stack([flat[:-1], flat[1:]], axis=1))
        depth += (0.5 * (near[:-1] + near[1:])).tolist()
        shade += [mpl.colors.to_rgb(colour)] * (len(line) - 1)
        width += [wide] * (len(line) - 1)
    if not pieces:
        axes.set_axis_off()
        return
    points = np.concatenate(pieces)
    low, high = points.min(0) - 8.0, points.max(0) + 8.0
    extent = frame(axes, (high[1] - low[1], high[0] - low[0]), (1.0, 1.0))
    axes.set_anchor("C")
    order = np.argsort(depth, kind="stable")
    depth = np.asarray(depth)
    clear = 0.35 + 0.65 * (depth - depth.min()) / max(np.ptp(depth), 1e-9)
    colour = np.asarray(shade) * clear[:, None] + np.array(mpl.colors.to_rgb(DARK)) * (
        1 - clear[:, None]
    )
    # Points per mm of this axes as it will be drawn, so that widths are to scale.
    box = axes.get_position()
    size = axes.figure.get_size_inches() * (box.width, box.height) * 72
    scale = min(size[0] / extent[1], size[1] / extent[2])
    axes.add_collection(
        LineCollection(
            (np.array(pieces) - low)[order],
            colors=colour[order],
            linewidths=np.maximum(np.asarray(width)[order] * scale, 0.35),
            capstyle="round",
            zorder=2,
        )
    )
    decorate(axes, extent, sides, bar_mm, where=name)


def key(axes, entries, columns=1, **options):
    """Draw a legend of coloured squares: `entries` of name to colour."""
    marks = [
        mpl.lines.Line2D([], [], ls="", marker="s", ms=6, color=colour, label=name)
        for name, colour in entries.items()
    ]
    return axes.legend(
        handles=marks, ncols=columns, handletextpad=0.2, columnspacing=0.9,
        borderaxespad=0.0, labelspacing=0.3, **options,
    )  # fmt: skip
