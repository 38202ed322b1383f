"""The tables of a document as RTF, as statisticians send them: landscape, heads on each page."""

import tempfile
from pathlib import Path

import polars
import rtflite

from lungitude.job import whole
from lungitude.reporting import document as doc
from lungitude.reporting.table import NO_DATA

# Landscape letter pages (inches): left, right, top, bottom, header, footer.
MARGINS = [0.75, 0.75, 0.9, 0.75, 0.5, 0.5]
WIDTH = 11 - 1.5
# Lines of a table beside its title and head, and letters that fit on one of them, at 8 points.
LINES, LETTERS = 31, 145
FONT = 4  # Arial of rtflite's list
POINTS = {"title": 10, "body": 8, "note": 7}
TWIPS = 160  # an indent


def write(document, path):
    """Write all tables of a document, each on a page of its own.

    Parameters
    ----------
    document : document.Document
    path : path

    Notes
    -----
    rtflite (pharmaverse) writes what the reviewers of agencies are used to; one file a table is
    made first, since it joins files.
    """
    with whole(path) as part, tempfile.TemporaryDirectory() as folder:
        files = []
        for made in document.tables:
            pages = list(_pages(made))
            for number, rows in enumerate(pages):
                file = Path(folder) / f"{len(files)}.rtf"
                page = _page(made, rows, document, number > 0, number == len(pages) - 1)
                file.write_text(_ascii(page.rtf_encode()), encoding="ascii")
                files.append(str(file))
        if not files:
            part.write_text(_ascii(_nothing(document).rtf_encode()), encoding="ascii")
        else:
            rtflite.assemble_rtf(files, str(part))


def _ascii(text):
    """Spell the letters that rtflite leaves as they are, such as a raised 2, by their number."""
    return "".join(c if ord(c) < 128 else rf"\uc1\u{ord(c)}*" for c in text)


def _pages(made):
    """Part the rows of a table into pages that begin with the head of a block.

    rtflite would break the pages itself, but gives the rows of later pages the indents and weights
    of the first page's rows.
    """
    room = [share * LETTERS for share in doc.shares(made)]
    blocks = []
    for row in made.rows:
        new = row.kind != "data" and (not blocks or blocks[-1][-1].kind == "data")
        if new or not blocks:
            blocks.append([])
        blocks[-1].append(row)
    page, used = [], 0
    for block in blocks:
        lines = sum(_lines(row, room) for row in block)
        if page and used + lines > LINES:
            yield page
            page, used = [], 0
        page, used = page + block, used + lines
        while used > LINES and len(page) > LINES:  # a block longer than a page
            yield page[:LINES]
            page, used = page[LINES:], used - LINES
    if page or not made.rows:
        yield page


def _lines(row, room):
    """Return how many lines a row takes."""
    texts = [row.label.text, *(given.text for given in row.cells)]
    wide = room if row.cells else [sum(room)]
    return max(-(-len(text) // max(int(most), 1)) for text, most in zip(texts, wide, strict=True))


def _page(made, rows, document, again, last):
    """Return one page of a table; footnotes stand on its last one."""
    columns = range(len(made.columns))
    lines = [_cells(row, len(columns)) for row in rows] or [[NO_DATA, *[""] * (len(columns) - 1)]]
    frame = polars.DataFrame(
        {str(index): [line[index] for line in lines] for index in columns},
        schema={str(index): polars.String for index in columns},
    )
    widths = doc.shares(made)
    bold = [["b" if row.kind != "data" else ""] * len(columns) for row in rows]
    indent = [[TWIPS * row.indent] + [0] * (len(columns) - 1) for row in rows]
    justified = ["l", *["c"] * (len(columns) - 1)]
    notes = [f"{mark} {note}" if mark else note for mark, note in made.footnotes]
    head = [
        column.label + column.mark + (f"\n{column.sub.text}" if column.sub.text else "")
        for column in made.columns
    ]
    title = [made.number, made.title + (" (continued)" if again else ""), made.population]
    look = {"col_rel_width": widths, "text_justification": justified, "text_font": FONT}
    look |= {"text_font_size": POINTS["body"], "border_left": "", "border_right": ""}
    body = {"text_format": bold, "text_indent_left": indent} if rows else {}
    return rtflite.RTFDocument(
        df=frame,
        rtf_page=rtflite.RTFPage(
            orientation="landscape", margin=MARGINS, col_width=WIDTH, nrow=10 * LINES
        ),
        rtf_title=rtflite.RTFTitle(
            text=[line for line in title if line], text_font=FONT, text_font_size=POINTS["title"]
        ),
        rtf_column_header=[rtflite.RTFColumnHeader(text=head, text_format="b", **look)],
        rtf_body=rtflite.RTFBody(**look, **body),
        rtf_footnote=_notes(rtflite.RTFFootnote, notes if last else []),
        rtf_source=_notes(rtflite.RTFSource, [made.source] if last and made.source else []),
    )


def _notes(kind, lines):
    if not lines:
        return None
    return kind(
        text=lines,
        text_font=FONT,
        text_font_size=POINTS["note"],
        text_justification="l",
        as_table=False,
    )


def _cells(row, columns):
    """Return the texts of a line; a footnote's letter follows its number in parentheses."""
    cells = [given.text + (f" [{given.mark}]" if given.mark else "") for given in row.cells]
    label = row.label.text + (f" [{row.label.mark}]" if row.label.mark else "")
    return [label, *(cells or [""] * (columns - 1))]


def _nothing(document):
    frame = polars.DataFrame({"0": ["The plan asks for no table."]})
    title = rtflite.RTFTitle(text=[document.title, document.stratum], text_font=FONT)
    return rtflite.RTFDocument(df=frame, rtf_title=title)
