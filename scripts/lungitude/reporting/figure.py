"""What every figure shares: its look, its width, its three files, and text of a known width.

Figures are drawn without pyplot: no global state, no display. The fonts come with matplotlib, so
the same numbers give the same bytes on every machine.
"""

import functools
import re
from xml.sax.saxutils import unescape

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font, LoadFlags
from PIL import Image

from lungitude.job import whole

WIDTH_MM = 180.0
MM = 1 / 25.4
POINT_MM = 25.4 / 72
# Okabe and Ito 2008, dark enough on white; each arm also has its own marker, fill and line.
COLOURS = ["#0072b2", "#d55e00", "#00795a", "#8c3c74", "#5b5b5b", "#8a6d00"]
MARKERS = ["o", "s", "^", "D", "v", "P"]
LINES = ["-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3))]
INK, SOFT, LINE = "#1b1f24", "#4a5360", "#8a939e"
STYLE = {
    "font.family": "sans-serif",
    # Verdana is as wide as DejaVu Sans, the others are narrower: text fits wherever it is shown.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
    "font.size": 7.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
    "axes.unicode_minus": True,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "legend.frameon": False,
    "legend.fontsize": 7.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "lungitude",
    "pdf.fonttype": 42,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "path.simplify": False,
    "agg.path.chunksize": 0,
}
_ADDRESS = "address:"


def styled(function):
    """Run a function that draws in the package's style, whatever the user's matplotlibrc says."""

    @functools.wraps(function)
    def inside(*args, **kwargs):
        with mpl.rc_context({**mpl.rcParamsDefault, **STYLE, "backend": "agg"}):
            return function(*args, **kwargs)

    return inside


def new(height_mm, width_mm=WIDTH_MM):
    """Return an empty figure of a size in mm."""
    figure = Figure(figsize=(width_mm * MM, height_mm * MM))
    FigureCanvasAgg(figure)
    return figure


def set_address(text, address):
    """Give a drawn number the address of its row; the SVG file carries it as data-address."""
    if address:
        text.set_gid(_ADDRESS + address)
    return text


@styled
def save(figure, paths, title):
    """Write a figure without date and without program version, each format from the one object.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    paths : dict
        By suffix: svg, pdf, png (300 dpi), tiff (600 dpi, LZW); what is absent is not written.
    title : str
    """
    if "svg" in paths:
        about = {"Date": None, "Title": title, "Creator": "Lungitude"}
        with whole(paths["svg"]) as part:
            figure.savefig(part, format="svg", metadata=about)
            part.write_text(_tidy_svg(part.read_text(encoding="utf-8")), encoding="utf-8")
    if "pdf" in paths:
        about = {"CreationDate": None, "Title": title, "Creator": "Lungitude", "Producer": None}
        with whole(paths["pdf"]) as part:
            figure.savefig(part, format="pdf", metadata=about)
    if "png" in paths:
        with whole(paths["png"]) as part:
            figure.savefig(part, format="png", dpi=300, metadata={"Software": None})
    if "tiff" in paths:
        with whole(paths["tiff"]) as part:
            figure.savefig(part, format="tiff", dpi=600)
            with Image.open(part) as drawn:
                flat = drawn.convert("RGB")  # journals ask for one layer without transparency
            flat.save(part, compression="tiff_lzw", dpi=(600, 600))


def _tidy_svg(text):
    """Turn addresses, which are no identifiers, into an attribute of their own."""
    text = re.sub(rf'id="{_ADDRESS}([^"]*)"', r'data-address="\1"', text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def addresses(svg):
    """Return pairs (address, text) of the numbers that an SVG file shows."""
    found = re.findall(r'data-address="([^"]*)">.*?<text[^>]*>(.*?)</text>', svg, flags=re.S)
    return [
        (unescape(address, {"&quot;": '"'}), unescape(re.sub(r"<[^>]*>", "", text)))
        for address, text in found
    ]


@functools.cache
def _font(bold):
    # By name and from matplotlib's own folder, never a font that this machine happens to have.
    return FT2Font(f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf")


@functools.lru_cache(maxsize=4096)
def text_width_mm(text, points, bold=False):
    """Width of one line of text in mm, as the fonts say."""
    font = _font(bold)
    font.set_size(points, 72)
    font.set_text(text, 0.0, flags=LoadFlags.NO_HINTING)
    width, _ = font.get_width_height()
    return width / 64 * POINT_MM


def wrap(text, points, width_mm, bold=False):
    """Break text at its spaces into lines that fit a width; a word too long for a line is cut.

    Returns
    -------
    list of str
        At least one line.
    """
    lines, line = [], ""
    for word in str(text).split(" "):
        while text_width_mm(word, points, bold) > width_mm and len(word) > 1:
            room = next(
                (
                    n
                    for n in range(len(word) - 1, 0, -1)
                    if text_width_mm(word[:n] + "-", points, bold) <= width_mm
                ),
                1,
            )
            if line:
                lines.append(line)
                line = ""
            lines.append(word[:room] + "-")
            word = word[room:]
        longer = f"{line} {word}".strip()
        if line and text_width_mm(longer, points, bold) > width_mm:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line or not lines else lines


def notice(message, title):
    """Return a figure that says why there is nothing to draw."""
    figure = new(40)
    figure.text(0.5, 0.62, title, ha="center", va="center", fontsize=8, fontweight="bold")
    figure.text(0.5, 0.38, message, ha="center", va="center", fontsize=8, color=SOFT)
    return figure


def synthetic_line(figure, context, height_mm):
    """Say at the foot of a figure that its trial is synthetic: figures travel alone."""
    if context.trial.get("synthetic"):
        figure.text(
            1 - 1 / WIDTH_MM,
            1 / height_mm,
            "SYNTHETIC DATA",
            ha="right",
            va="bottom",
            fontsize=6,
            color="#7a2e00",
            fontweight="bold",
        )
