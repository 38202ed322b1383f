"""A document as PDF, for reading and printing; the same content as the Word file."""

from functools import cache
from xml.sax.saxutils import escape

import matplotlib as mpl
from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    Image,
    KeepTogether,
    LongTable,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    TableStyle,
)

from lungitude.job import whole
from lungitude.reporting import document as doc
from lungitude.reporting.table import NO_DATA

MARGIN = 18 * mm
FOOT = 10 * mm
INDENT = 8
POINTS = 6.5  # of tables


def write(document, path):
    """Write a document.

    Parameters
    ----------
    document : document.Document
    path : path
    """
    _fonts()
    rl_config.useA85 = 0  # pictures as bytes: to spell them in letters takes half of the time
    with whole(path) as part:
        made = BaseDocTemplate(
            str(part),
            title=f"{document.title}: {document.stratum}",
            author="Lungitude",
            creator="Lungitude",
            invariant=1,  # no clock, no random identifier: the same bytes twice
        )
        made.addPageTemplates(
            [_page("upright", A4, document), _page("aside", landscape(A4), document)]
        )
        made.build(_story(document))


@cache
def _fonts():
    """Load the fonts that come with matplotlib: the same letters on every machine."""
    folder = f"{mpl.get_data_path()}/fonts/ttf"
    for name, file in (
        ("Text", "DejaVuSans.ttf"),
        ("Text-Bold", "DejaVuSans-Bold.ttf"),
        ("Text-Italic", "DejaVuSans-Oblique.ttf"),
        ("Text-BoldItalic", "DejaVuSans-BoldOblique.ttf"),
    ):
        pdfmetrics.registerFont(TTFont(name, f"{folder}/{file}"))
    pdfmetrics.registerFontFamily("Text", "Text", "Text-Bold", "Text-Italic", "Text-BoldItalic")


def _page(name, size, document):
    width, height = size
    foot = f"{document.stratum}; {document.provenance}"
    synthetic = any("Synthetic" in line for line in document.lines)

    def draw(canvas, template):
        canvas.saveState()
        canvas.setFont("Text", 6)
        canvas.setFillColor(colors.HexColor("#4a5360"))
        canvas.drawString(MARGIN, FOOT, foot)
        canvas.drawRightString(width - MARGIN, FOOT, str(template.page))
        if synthetic:
            canvas.setFont("Text-Bold", 6)
            canvas.drawRightString(width - MARGIN, height - FOOT, "SYNTHETIC DATA")
        canvas.restoreState()

    room = (MARGIN, MARGIN, width - 2 * MARGIN, height - 2 * MARGIN)
    frame = Frame(*room, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)
    return PageTemplate(id=name, frames=[frame], pagesize=size, onPage=draw)


def _style(points, **more):
    given = {"fontName": "Text", "fontSize": points, "leading": points * 1.25, **more}
    return ParagraphStyle("text", **given)


def _story(document):
    body, head = _style(8.5, spaceAfter=4), _style(11, fontName="Text-Bold", spaceAfter=4)
    story = [
        Paragraph(escape(document.title), _style(15, fontName="Text-Bold", spaceAfter=4)),
        Paragraph(escape(document.stratum), _style(11, spaceAfter=6)),
        *(Paragraph(escape(line), body) for line in document.lines),
        Spacer(0, 4 * mm),
    ]
    for sentence in document.sentences:
        text = escape("".join(part.text for part in sentence))
        story.append(Paragraph(text, _style(9.5, spaceAfter=6)))
    now = False
    for piece in document.pieces:
        wide = piece in document.tables and doc.wide(piece)
        story += [NextPageTemplate("aside" if wide else "upright"), PageBreak()]
        now = wide
        story += _table(piece, wide) if piece in document.tables else _picture(piece)
    story += [NextPageTemplate("upright"), PageBreak()] if document.pieces or now else []
    if document.left_out:
        story.append(Paragraph("Left out", head))
    story += [Paragraph(escape(f"{title}: {reason}."), body) for title, reason in document.left_out]
    if document.methods:
        story.append(Paragraph("Methods", head))
    return [*story, *(Paragraph(escape(text), body) for text in document.methods)]


def _caption(piece, rest):
    text = f"<b>{escape(piece.number)} {escape(piece.title)}.</b> {escape(rest)}"
    return Paragraph(text.replace("<b> ", "<b>"), _style(8, spaceAfter=4))


def _table(made, wide):
    size = landscape(A4) if wide else A4
    width = size[0] - 2 * MARGIN
    note = _style(6.5, spaceAfter=1)
    story = [_caption(made, f"{made.population}." if made.population else "")]
    if made.rows:
        story += [_grid(made, width), Spacer(0, 1.5 * mm)]
    else:
        story.append(Paragraph(NO_DATA, _style(8)))
    story += [Paragraph(_mark(mark) + escape(text), note) for mark, text in made.footnotes]
    if made.source:
        story.append(Paragraph(f"<i>{escape(made.source)}</i>", note))
    return story


def _grid(made, width):
    left, middle = _style(POINTS), _style(POINTS, alignment=1)
    heads = [
        Paragraph(
            f"<b>{escape(column.label)}</b>{_mark(column.mark)}"
            + (f"<br/>{escape(column.sub.text)}" if column.sub.text else ""),
            middle if index else left,
        )
        for index, column in enumerate(made.columns)
    ]
    lines = [heads]
    look = [
        ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
        ("VALIGN", (0, 1), (-1, -1), "TOP"),
        ("LINEABOVE", (0, 0), (-1, 0), 0.8, colors.black),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, colors.black),
        ("LINEBELOW", (0, -1), (-1, -1), 0.8, colors.black),
        ("TOPPADDING", (0, 0), (-1, -1), 0.8),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 0.8),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2),
    ]
    styles, heights = {}, [None]
    for number, row in enumerate(made.rows, start=1):
        bold = row.kind != "data"
        style = styles.setdefault(row.indent, _style(POINTS, leftIndent=INDENT * row.indent))
        label = escape(row.label.text) + _mark(row.label.mark)
        first = Paragraph(f"<b>{label}</b>" if bold else label, style)
        if row.cells:
            cells = [
                Paragraph(escape(given.text) + _mark(given.mark), middle) for given in row.cells
            ]
        else:
            cells = [""] * (len(heads) - 1)
            look.append(("SPAN", (0, number), (-1, number)))
        # ReportLab measures what spans all columns in the width of the first one.
        heights.append(None if row.cells else style.leading * _spanned(row, width) + 2)
        lines.append([first, *cells])
    columns = [share * width for share in doc.shares(made)]
    return LongTable(lines, columns, heights, repeatRows=1, style=TableStyle(look))


def _spanned(row, width):
    """Return how many lines a label takes that spans all columns."""
    room = width - 4 - INDENT * row.indent
    return max(-(-int(pdfmetrics.stringWidth(row.label.text, "Text-Bold", POINTS)) // int(room)), 1)


def _mark(letter):
    return f"<super>{letter}</super> " if letter else ""


def _picture(piece):
    width, height = A4[0] - 2 * MARGIN, A4[1] - 2 * MARGIN - 25 * mm
    wide, high = ImageReader(str(piece.path)).getSize()
    scale = min(width / wide, height / high)
    picture = Image(str(piece.path), wide * scale, high * scale)
    rest = f"{piece.caption}." if piece.caption else ""
    return [KeepTogether([picture, Spacer(0, 2 * mm), _caption(piece, rest)])]
