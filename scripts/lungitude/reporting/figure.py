"""What every figure shares: its look, its width, its files, and text of a known width.

Figures are drawn without pyplot and without a screen. The fonts come with matplotlib, so the same
numbers give the same bytes on every machine. A display whose style names a journal is drawn at the
width of its columns, and refused where its text does not fit.
"""

import contextlib
import functools
import re
from xml.sax.saxutils import unescape

import matplotlib as mpl
import numpy as np
from fontTools import subset
from matplotlib.backends import _backend_pdf_ps as pdf_fonts
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import Op, PdfFile, PdfPages
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font, LoadFlags
from PIL import Image

from lungitude.job import whole
from lungitude.reporting import journals
from lungitude.reporting.results import Absent

# Of the figure that is drawn at the moment: `at_width` sets it for the time of a drawing.
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
ADDRESS = "address:"


def styled(function):
    """Run a function that draws in the package's style, whatever the user's matplotlibrc says.

    Where it draws a display (the third argument) whose style names a journal, the figure is as wide
    as that journal prints it.
    """

    @functools.wraps(function)
    def inside(*args, **kwargs):
        display = kwargs.get("display", args[2] if len(args) > 2 else None)
        style = display.get("style") if isinstance(display, dict) else None
        layout = journals.print_of(style)
        with mpl.rc_context({**mpl.rcParamsDefault, **STYLE, "backend": "agg"}):
            if layout is None:
                return function(*args, **kwargs)
            kind = function.__module__.rpartition(".")[2]
            return _for_journal(functools.partial(function, *args, **kwargs), layout, kind)

    return inside


def _for_journal(draw, layout, kind):
    """Draw a figure at the width of a journal.

    Raises
    ------
    TooNarrow
        If text would be cut or overlap, or the figure is higher than a page of the journal.
    """
    with at_width(layout.drawn_mm):
        try:
            figure = draw()
        except Absent:
            raise
        except (ArithmeticError, IndexError, ValueError) as error:  # no room for a column
            raise layout.refuse(kind, "there is no room for its columns") from error
        faults = misfits(figure)
    height = figure.get_size_inches()[1] / MM * layout.scale
    if height > layout.height_mm:
        faults.append(f"it is {height:.0f} mm high, and {layout.height_mm:g} mm is the most")
    if faults:
        raise layout.refuse(kind, faults[0])
    figure.print = layout
    return figure


@contextlib.contextmanager
def at_width(width_mm):
    """Make figures of another width for the time of a block, as ``rc_context`` does for styles."""
    global WIDTH_MM
    usual, WIDTH_MM = WIDTH_MM, float(width_mm)
    try:
        yield
    finally:
        WIDTH_MM = usual


def new(height_mm, width_mm=None):
    """Return an empty figure of a size in mm, as wide as `WIDTH_MM` if no width is given."""
    figure = Figure(figsize=((WIDTH_MM if width_mm is None else width_mm) * MM, height_mm * MM))
    FigureCanvasAgg(figure)
    return figure


# What two texts may share (mm) on either side without being taken for overlapping: boxes are larger
# than ink, and a space at the end of a text counts.
SHARED_X, SHARED_Y, OUTSIDE = 0.5, 0.9, 0.3
LEAST_PANEL = 12.0


def misfits(figure):
    """Say what does not fit a figure: text beyond its edge, text over text, panels without room.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    list of str
        Empty where all is well.
    """
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    to_mm = 1 / (MM * figure.dpi)
    width, height = figure.get_size_inches() / MM
    texts = list(_shown_texts(figure))
    boxes = np.array([text.get_window_extent(renderer).extents for text in texts]) * to_mm
    faults = []
    if not len(texts):
        return faults
    out = (boxes[:, :2].min(axis=1) < -OUTSIDE) | (boxes[:, 2] > width + OUTSIDE)
    out |= boxes[:, 3] > height + OUTSIDE
    faults += [f"'{_short(texts[i])}' is cut" for i in np.flatnonzero(out)]
    inner = boxes + np.array([SHARED_X, SHARED_Y, -SHARED_X, -SHARED_Y])
    for index in range(len(texts)):
        one, rest = inner[index], inner[index + 1 :]
        over = (rest[:, 0] < one[2]) & (rest[:, 2] > one[0])
        over &= (rest[:, 1] < one[3]) & (rest[:, 3] > one[1])
        for other in np.flatnonzero(over):
            pair = (_short(texts[index]), _short(texts[index + 1 + other]))
            faults.append(f"'{pair[0]}' and '{pair[1]}' overlap")
    for axes in figure.axes:
        if not axes.axison:
            continue
        left, low, right, high = axes.get_window_extent(renderer).extents * to_mm
        if right - left < LEAST_PANEL:
            faults.append(f"a panel is only {right - left:.0f} mm wide")
        over = (inner[:, 0] < right) & (inner[:, 2] > left)
        over &= (inner[:, 1] < high) & (inner[:, 3] > low)
        faults += [
            f"'{_short(texts[i])}' stands in a panel"
            for i in np.flatnonzero(over)
            if texts[i].axes is not axes
        ]
    return faults


def _short(text):
    said = " ".join(text.get_text().split())
    return said if len(said) < 40 else f"{said[:37]}..."


def _shown_texts(figure):
    """Yield the texts that a figure shows: of ticks only those within the limits of their axis."""
    found = list(figure.texts)
    for legend in figure.legends:
        found += legend.get_texts()
    for axes in figure.axes:
        found += axes.texts
        if not axes.axison:
            continue
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            room = 1e-9 * (high - low)
            found.append(axis.label)
            found += [
                tick.label1
                for tick in axis.get_major_ticks()
                if low - room <= tick.get_loc() <= high + room
            ]
    yield from (text for text in found if text.get_visible() and text.get_text().strip())


def set_address(text, address):
    """Give a drawn number the address of its row; the SVG file carries it as data-address."""
    if address:
        text.set_gid(ADDRESS + address)
    return text


@styled
def save(figure, paths, title):
    """Write a figure without date and without program version, each format from the one object.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        One that was drawn for a journal is enlarged as that asks for.
    paths : dict
        By suffix: svg, pdf, png (300 dpi), tiff (600 dpi, LZW); what is absent is not written.
    title : str
    """
    layout = getattr(figure, "print", None)
    scale = layout.scale if layout else 1.0
    if "svg" in paths:
        about = {"Date": None, "Title": title, "Creator": "Lungitude"}
        with whole(paths["svg"]) as part:
            figure.savefig(part, format="svg", metadata=about)
            text = _tidy_svg(part.read_text(encoding="utf-8"))
            part.write_text(_printed_svg(text, layout) if layout else text, encoding="utf-8")
    if "pdf" in paths:
        about = {"CreationDate": None, "Title": title, "Creator": "Lungitude", "Producer": None}
        with whole(paths["pdf"]) as part, _quick_fonts():
            if scale == 1:
                figure.savefig(part, format="pdf", metadata=about)
            else:
                with _EnlargedPages(part, about, scale) as file:
                    file.savefig(figure)
    small = None
    if "tiff" in paths:
        flat = _pixels(figure, 600 * scale)
        small = flat.reduce(2)  # means of 2 x 2 pixels, so that the figure is drawn once for both
        with whole(paths["tiff"]) as part:
            flat.save(part, format="tiff", compression="tiff_lzw", dpi=(600, 600))
    if "png" in paths:
        with whole(paths["png"]) as part:
            small = small or _pixels(figure, 300 * scale)
            small.save(part, format="png", dpi=(300, 300))


def _pixels(figure, dpi):
    """Draw a figure as pixels: one layer without transparency, as journals ask for."""
    usual = figure.dpi
    try:
        figure.dpi = dpi
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        # Drawn on white, so that nothing shines through: the transparency can go as it is.
        return Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3]))
    finally:
        figure.dpi = usual


@contextlib.contextmanager
def _quick_fonts():
    """Embed fonts in a PDF from parts that are cut once.

    To cut a font to the letters of each figure takes a third of the time of its PDF. Letters that
    most figures have are cut out together, once a process; a font with others is cut as usual. What
    only a shaper of text reads is left out, as matplotlib places each letter itself.
    """
    usual, before = pdf_fonts.get_glyphs_subset, subset.Options._drop_tables_default
    pdf_fonts.get_glyphs_subset = functools.partial(_cut_font, usual)
    subset.Options._drop_tables_default = [*before, "GSUB", "GPOS", "GDEF", "MATH"]
    try:
        yield
    finally:
        pdf_fonts.get_glyphs_subset = usual
        subset.Options._drop_tables_default = before


LETTERS = "".join(map(chr, range(32, 127))) + "±²³·×°µäöüßéèΔαβμρσχ–—‘’“”…→−≤≥≈"  # noqa: RUF001


def _cut_font(usual, path, glyphs):
    """Return a part of a font with these glyphs, as `get_glyphs_subset` does."""
    common = _common_glyphs(path)
    if not common.issuperset(glyphs):
        return usual(path, glyphs)
    if path not in _CUT:
        with usual(path, common) as found:
            _CUT[path] = pdf_fonts.SubsetResults(
                _Made(pdf_fonts.font_as_file(found.font).getvalue()), dict(found.glyph_index_map)
            )
    return contextlib.nullcontext(_CUT[path])


_CUT = {}


@functools.cache
def _common_glyphs(path):
    font = FT2Font(path)
    return frozenset(filter(None, (font.get_char_index(ord(letter)) for letter in LETTERS)))


class _Made:
    """A font that is a file already."""

    def __init__(self, content):
        self._content = content

    def save(self, file, reorderTables=False):  # noqa: N803  (the name that fontTools gives it)
        """Write the font."""
        file.write(self._content)


class _EnlargedFile(PdfFile):
    """A PDF whose pages are larger than they were drawn."""

    def __init__(self, path, metadata, scale):
        super().__init__(path, metadata)
        self._scale = scale

    def newPage(self, width, height):  # noqa: N802  (the name that matplotlib calls)
        """Begin a page, and enlarge what is drawn on it."""
        super().newPage(width * self._scale, height * self._scale)
        self.output(self._scale, 0, 0, self._scale, 0, 0, Op.concat_matrix)


class _EnlargedPages(PdfPages):
    """What matplotlib writes such a file through."""

    def __init__(self, path, metadata, scale):
        super().__init__(path, metadata=metadata)
        self._file = _EnlargedFile(path, metadata, scale)


def _printed_svg(text, layout):
    """Give an SVG file its size on paper, and name the journal's fonts first."""

    def enlarged(found):
        return f'{found[1]}="{float(found[2]) * layout.scale:.6g}pt"'

    head, root, rest = text.partition("<svg")
    end = rest.index(">")
    root += re.sub(r'\b(width|height)="([\d.]+)pt"', enlarged, rest[:end])
    rest = rest[end:].replace(
        _families(STYLE["font.sans-serif"]),
        _families([*layout.fonts, *(f for f in STYLE["font.sans-serif"] if f not in layout.fonts)]),
    )
    return head + root + rest


def _families(names):
    """List fonts as an SVG file of matplotlib does."""
    return ", ".join(f"'{name}'" for name in names)


def _tidy_svg(text):
    """Turn addresses, which are no identifiers, into an attribute of their own."""
    text = re.sub(rf'id="{ADDRESS}([^"]*)"', r'data-address="\1"', text)
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

    One or two letters don't stand alone on the last line.

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
    if lines and len(line) <= 2 and " " in lines[-1]:
        rest, word = lines[-1].rsplit(" ", 1)
        if text_width_mm(f"{word} {line}", points, bold) <= width_mm:
            lines[-1], line = rest, f"{word} {line}"
    return [*lines, line] if line or not lines else lines


def notice(message, title):
    """Return a figure that says why there is nothing to draw."""
    figure = new(40)
    for y, said, more in (
        (0.62, title, {"fontweight": "bold"}),
        (0.38, message, {"color": SOFT}),
    ):
        lines = wrap(said, 8, WIDTH_MM - 6.0, "fontweight" in more)
        figure.text(0.5, y, "\n".join(lines), ha="center", va="center", fontsize=8, **more)
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
