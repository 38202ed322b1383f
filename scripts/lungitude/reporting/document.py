"""What a document of a stratum holds, before it has a format: text, tables, pictures, provenance.

Word, RTF, LaTeX and PDF are functions of one `Document`, so that they can't disagree.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from lungitude.reporting import displays, findings, methods, report, table
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Part

# What fits on an upright page, in letters of a table; wider ones are laid on their side.
UPRIGHT = 92


@dataclass(frozen=True)
class Picture:
    """A figure: its title line, its caption, and its file (PNG, 300 dpi)."""

    id: str
    number: str
    title: str
    caption: str
    path: Path


@dataclass(frozen=True)
class Document:
    """A report of one stratum.

    Attributes
    ----------
    title, stratum : str
    lines : tuple of str
        Below the title: data cut, whether the trial is synthetic.
    sentences : tuple of tuple of Part
        Results in words, a paragraph each; each number with its address.
    methods : tuple of str
    pieces : tuple of Table or Picture
        In the order of the plan.
    left_out : tuple of (str, str)
        Title of a display and why it was not made.
    provenance : str
    """

    title: str
    stratum: str
    lines: tuple
    sentences: tuple
    methods: tuple
    pieces: tuple
    left_out: tuple
    provenance: str

    @property
    def tables(self):
        """The tables alone, in their order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, table.Table))


def of_folder(results, context, folder, versions):
    """Read the displays of a stratum and put them beside its text.

    Parameters
    ----------
    results : Results
    context : Context
    folder : path
        As `rendering.write` wrote it.
    versions : dict
        Software and version.
    """
    folder = Path(folder)
    pieces, left_out = [], []
    for entry in displays.read_manifest(folder):
        display = entry["display"]
        if entry["left_out"]:
            left_out.append((display["title"], entry["left_out"]))
            continue
        names = displays.files(display)
        if "json" in names:
            text = (folder / names["json"]).read_text(encoding="utf-8")
            pieces.append(with_minus(table.from_json(text)))
        else:
            number, title = displays.title_number(display), display["title"]
            caption = minus(entry["caption"])
            pieces.append(Picture(display["id"], number, title, caption, folder / names["png"]))
    cut = context.trial.get("data_cut")
    lines = [f"Data cut {cut}"] if cut else []
    if context.trial.get("synthetic"):
        lines.append("Synthetic trial: every patient and every number is simulated.")
    return Document(
        title=context.trial["title"],
        stratum=context.stratum["label"],
        lines=tuple(lines),
        sentences=tuple(
            tuple(_minus_part(part) for part in sentence)
            for sentence in findings.document_paragraphs(results, context)
        ),
        methods=tuple(methods.paragraphs(context, report.model_lines(results), versions)),
        pieces=tuple(pieces),
        left_out=tuple(left_out),
        provenance="; ".join(f"{k} {str(v)[:16]}" for k, v in context.provenance.items()),
    )


def with_minus(made):
    """Return a table whose negative numbers have a true minus sign, as those of the pages."""

    def cell(given):
        return replace(given, parts=tuple(_minus_part(part) for part in given.parts))

    return replace(
        made,
        columns=tuple(replace(column, sub=cell(column.sub)) for column in made.columns),
        rows=tuple(
            replace(row, label=cell(row.label), cells=tuple(map(cell, row.cells)))
            for row in made.rows
        ),
        footnotes=tuple((mark, minus(note)) for mark, note in made.footnotes),
    )


def _minus_part(part):
    return Part(minus(part.text), part.address)


def caption_parts(piece):
    """Part the number of a caption: its word and figure, or an empty word and the whole.

    "Table 2 (14.2.1)" gives ("Table", "2", "(14.2.1)"); "14.2.1" gives ("", "", "14.2.1").
    """
    found = re.fullmatch(r"(Table|Figure) (\d+)( .*)?", piece.number)
    return (found[1], found[2], (found[3] or "").strip()) if found else ("", "", piece.number)


def shares(made):
    """Return the share of each column in the width of a table, from the longest text in it."""
    longest = lengths(made)
    total = sum(longest)
    return [length / total for length in longest]


def wide(made):
    """Whether a table is laid on its side."""
    return sum(lengths(made)) > UPRIGHT


def lengths(made):
    """Return how many letters each column needs: its longest cell, or a word of its head."""
    longest = [max([12, *(min(len(row.label.text) + 2 * row.indent, 40) for row in made.rows)])]
    for index, column in enumerate(made.columns[1:]):
        words = f"{column.label} {column.sub.text}".split()
        cells = (row.cells[index].text for row in made.rows if row.cells)
        longest.append(max([6, *(len(t) + 3 for t in words), *(len(t) + 3 for t in cells)]))
    return longest
