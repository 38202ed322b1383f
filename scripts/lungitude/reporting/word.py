"""A document as DOCX: tables that Word can edit, captions that it can number, figures in place."""

import datetime
import io
import zipfile
from xml.sax.saxutils import escape

from docx import Document as new_document
from docx.enum.section import WD_ORIENT, WD_SECTION
from docx.enum.style import WD_STYLE_TYPE
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.shared import Mm, Pt

from lungitude.job import whole
from lungitude.reporting import document as doc
from lungitude.reporting.table import NO_DATA

PAGE, MARGIN = (210.0, 297.0), 18.0
FONT = "Arial"
# Styles of our own: name, points, distance below in points.
TABLE_TEXT = "TableText"  # the id that python-docx gives the first of them
OWN = {"Table Text": (8, 1), "Table Note": (7.5, 1)}
INDENT = 3.0
RULE = {"val": "single", "sz": "6", "space": "0", "color": "000000"}
# A file without clock: two runs give the same bytes. Zip knows no earlier day.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write(document, path):
    """Write a document.

    Parameters
    ----------
    document : document.Document
    path : path
    """
    word = new_document()
    _styles(word)
    _properties(word, document)
    _footer(word, document)
    word.add_paragraph(document.title, style="Title")
    word.add_paragraph(document.stratum, style="Subtitle")
    for line in document.lines:
        word.add_paragraph(line)
    if document.sentences:
        word.add_heading("Result", 1)
    for sentence in document.sentences:
        word.add_paragraph("".join(part.text for part in sentence))
    for piece in document.pieces:
        if piece in document.tables:
            _table(word, piece)
        else:
            _picture(word, piece)
    _turn(word, False)
    if document.left_out:
        word.add_heading("Left out", 1)
    for title, reason in document.left_out:
        word.add_paragraph(f"{title}: {reason}.", style="List Bullet")
    if document.methods:
        word.add_heading("Methods", 1)
    for paragraph in document.methods:
        word.add_paragraph(paragraph)
    _save(word, path)


def _styles(word):
    """Set fonts and distances once, as styles that the reader can change for all at once."""
    section = word.sections[0]
    _size(section, PAGE)
    for name, points, after in (
        ("Normal", 10, 6),
        ("Caption", 9, 3),
        ("Title", 18, 4),
        ("Subtitle", 12, 8),
        ("Heading 1", 13, 4),
        ("Footer", 7.5, 0),
    ):
        style = word.styles[name]
        style.font.name, style.font.size = FONT, Pt(points)
        style.font.color.rgb = None
        style.element.get_or_add_rPr().get_or_add_rFonts().set(qn("w:eastAsia"), FONT)
        for attribute in ("asciiTheme", "hAnsiTheme", "eastAsiaTheme", "cstheme"):
            fonts = style.element.rPr.rFonts
            if fonts.get(qn(f"w:{attribute}")) is not None:
                del fonts.attrib[qn(f"w:{attribute}")]
        style.paragraph_format.space_after = Pt(after)
    for name, (points, after) in OWN.items():
        style = word.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
        style.base_style = word.styles["Normal"]
        style.font.size = Pt(points)
        style.paragraph_format.space_before = style.paragraph_format.space_after = Pt(after)
    word.styles["Caption"].paragraph_format.keep_with_next = True
    word.styles["Caption"].font.bold = True


def _size(section, page):
    section.page_width, section.page_height = Mm(page[0]), Mm(page[1])
    for side in ("left_margin", "right_margin", "top_margin", "bottom_margin"):
        setattr(section, side, Mm(MARGIN))


def _properties(word, document):
    about = word.core_properties
    about.title, about.subject = document.title, document.stratum
    about.author = about.last_modified_by = "Lungitude"
    about.comments, about.revision = "", 1
    about.created = about.modified = datetime.datetime(*EPOCH)


def _footer(word, document):
    """Write provenance and page number at the foot of each page."""
    paragraph = word.sections[0].footer.paragraphs[0]
    synthetic = (
        "SYNTHETIC DATA; " if len(document.lines) and "Synthetic" in document.lines[-1] else ""
    )
    paragraph.add_run(f"{synthetic}{document.stratum}; {document.provenance}; page ")
    _field(paragraph, "PAGE", "1")


def _field(paragraph, instruction, shown):
    """Add a field; `shown` stands there until Word updates it."""
    for kind, text in (
        ("begin", ""),
        ("", instruction),
        ("separate", ""),
        ("text", shown),
        ("end", ""),
    ):
        run = paragraph.add_run()
        if kind == "text":
            run.text = text
        elif kind:
            mark = OxmlElement("w:fldChar")
            mark.set(qn("w:fldCharType"), kind)
            run._r.append(mark)
        else:
            code = OxmlElement("w:instrText")
            code.set(qn("xml:space"), "preserve")
            code.text = f" {text} "
            run._r.append(code)


def _caption(word, piece, rest):
    """Write "Table 2 (14.2.1) Title"; the figure is a SEQ field that keeps the plan's number."""
    paragraph = word.add_paragraph(style="Caption")
    name, number, more = doc.caption_parts(piece)
    if name:
        paragraph.add_run(f"{name} ")
        _field(paragraph, rf"SEQ {name} \* ARABIC \r {number}", number)
        paragraph.add_run(" ")
    paragraph.add_run(f"{more} " if more else "")
    paragraph.add_run(f"{piece.title}.")
    if rest:
        paragraph.add_run(f" {rest}").bold = False
    return paragraph


def _turn(word, wide):
    """Begin a new page of the other orientation where the last one does not fit."""
    section = word.sections[-1]
    now = section.orientation == WD_ORIENT.LANDSCAPE
    if wide == now:
        return
    section = word.add_section(WD_SECTION.NEW_PAGE)
    section.orientation = WD_ORIENT.LANDSCAPE if wide else WD_ORIENT.PORTRAIT
    _size(section, PAGE[::-1] if wide else PAGE)


def _table(word, made):
    """Write a table with its caption, repeated head, footnotes and source line."""
    wide = doc.wide(made)
    _turn(word, wide)
    _caption(word, made, f"{made.population}." if made.population else "")
    if not made.rows:
        word.add_paragraph(NO_DATA)
    else:
        _grid(word, made, PAGE[1 if wide else 0] - 2 * MARGIN)
    for mark, note in made.footnotes:
        paragraph = word.add_paragraph(style="Table Note")
        _mark(paragraph, mark)
        paragraph.add_run(f"{' ' if mark else ''}{note}")
    if made.source:
        word.add_paragraph(style="Table Note").add_run(made.source).italic = True


def _grid(word, made, width):
    """Write the cells."""
    columns = [share * width for share in doc.shares(made)]
    grid = word.add_table(rows=1, cols=len(columns))
    grid.alignment, grid.autofit = WD_TABLE_ALIGNMENT.CENTER, False
    for column, wide in zip(grid.columns, columns, strict=True):
        column.width = Mm(wide)
    head = grid.rows[0]
    for cell, column in zip(head.cells, made.columns, strict=True):
        paragraph = cell.paragraphs[0]
        _as_table_text(paragraph)
        run = paragraph.add_run(column.label)
        run.bold = True
        _mark(paragraph, column.mark)
        if column.sub.text:
            run.add_break()
            paragraph.add_run(column.sub.text)
        _edge(cell, top=RULE, bottom=RULE)
        if cell is not head.cells[0]:
            paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
    _flag(head, "w:tblHeader")
    for cell, mm in zip(head.cells, columns, strict=True):
        cell.width = Mm(mm)
    points = [_point(made, index) for index in range(len(columns) - 1)]
    # A block stays on one page: each of its rows with the next.
    rows = [
        _row(row, columns, points, following is not None and following.kind == "data")
        for row, following in zip(made.rows, (*made.rows[1:], None), strict=True)
    ]
    for line in parse_xml(f"<w:tbl {nsdecls('w')}>{''.join(rows)}</w:tbl>"):
        grid._tbl.append(line)
    for cell in grid.rows[-1].cells:
        _edge(cell, bottom=RULE)


def _as_table_text(paragraph):
    """Set the style by its id: to look it up by name takes most of the time of a long table."""
    paragraph._p.style = TABLE_TEXT


def _row(row, columns, points, keep):
    """Return a row as XML: made cell by cell, a long table would take seconds."""
    about = f'<w:ind w:left="{Mm(INDENT * row.indent).twips}"/>' if row.indent else ""
    if keep or row.kind != "data":
        about = "<w:keepNext/>" + about
    first, span = (columns[0], 1) if row.cells else (sum(columns), len(columns))
    cells = [_cell(row.label, first, about, span, bold=row.kind != "data")]
    for given, wide, point in zip(row.cells, columns[1:], points, strict=False):
        if point is None or "." not in given.text:
            about = '<w:jc w:val="center"/>'
        else:
            # Word aligns a cell at its first decimal tab stop without a tab character.
            place = Mm(point * wide).twips
            about = f'<w:tabs><w:tab w:val="decimal" w:pos="{place}"/></w:tabs>'
        cells.append(_cell(given, wide, about))
    return f"<w:tr><w:trPr><w:cantSplit/></w:trPr>{''.join(cells)}</w:tr>"


def _cell(given, wide, about, span=1, bold=False):
    """Return a cell as XML; `about` are properties of its paragraph, in the order of the schema."""
    place = f'<w:tcW w:type="dxa" w:w="{Mm(wide).twips}"/>'
    place += f'<w:gridSpan w:val="{span}"/>' if span > 1 else ""
    strong = "<w:rPr><w:b/></w:rPr>" if bold else ""
    text = f'<w:t xml:space="preserve">{escape(given.text)}</w:t>' if given.text else ""
    text = f"<w:r>{strong}{text}</w:r>"
    if given.mark:
        raised = '<w:rPr><w:vertAlign w:val="superscript"/></w:rPr>'
        text += f"<w:r>{raised}<w:t>{escape(given.mark)}</w:t></w:r>"
    style = f'<w:pStyle w:val="{TABLE_TEXT}"/>'
    return f"<w:tc><w:tcPr>{place}</w:tcPr><w:p><w:pPr>{style}{about}</w:pPr>{text}</w:p></w:tc>"


def _point(made, index):
    """Where the decimal points of a column stand, as a share of its width; None: it has none."""
    texts = [row.cells[index].text for row in made.rows if row.cells]
    if any(text[:1] in ("<", ">") for text in texts):
        return None  # a p value such as <0.0001 would be torn from its sign
    texts = [text for text in texts if "." in text]
    if not texts:
        return None
    before = max(len(text.partition(".")[0]) for text in texts)
    after = max(len(text.partition(".")[2]) for text in texts)
    return min(max((before + 1) / (before + after + 3), 0.2), 0.8)


def _mark(paragraph, letter):
    if letter:
        paragraph.add_run(letter).font.superscript = True


def _flag(row, name):
    row._tr.get_or_add_trPr().append(OxmlElement(name))


def _edge(cell, **edges):
    borders = OxmlElement("w:tcBorders")
    for name, values in edges.items():
        edge = OxmlElement(f"w:{name}")
        for key, value in values.items():
            edge.set(qn(f"w:{key}"), value)
        borders.append(edge)
    cell._tc.get_or_add_tcPr().append(borders)


def _picture(word, piece):
    """Place a figure with its caption below, as high as the page lets it be."""
    _turn(word, False)
    paragraph = word.add_paragraph()
    paragraph.paragraph_format.keep_with_next = True
    shape = paragraph.add_run().add_picture(str(piece.path), width=Mm(PAGE[0] - 2 * MARGIN))
    most = Mm(PAGE[1] - 2 * MARGIN - 30)
    if shape.height > most:
        shape.width, shape.height = int(shape.width * most / shape.height), most
    shape._inline.docPr.set("descr", f"{piece.number} {piece.title}. {piece.caption}".strip())
    _caption(
        word, piece, f"{piece.caption}." if piece.caption else ""
    ).paragraph_format.keep_with_next = False


def _save(word, path):
    """Write the file with the date of each part removed."""
    buffer = io.BytesIO()
    word.save(buffer)
    with (
        whole(path) as part,
        zipfile.ZipFile(buffer) as made,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as kept,
    ):
        for name in made.namelist():
            kept.writestr(zipfile.ZipInfo(name, EPOCH), made.read(name), zipfile.ZIP_DEFLATED)
