"""A table that knows nothing of its file format, and its first two renderers: HTML and TSV.

A display builds one `Table`; each output format is one function over it. Every number in a cell
is a `Part` with the address of its row in the analysis results table.
"""

import csv
import io
import json
import re
from dataclasses import asdict, dataclass, field, replace

from lungitude.job import whole
from lungitude.reporting import pages
from lungitude.reporting.displays import title_number
from lungitude.reporting.format import NOT_APPLICABLE, NOT_ESTIMATED
from lungitude.reporting.results import Part

NO_DATA = "No data meet the criteria of this table."


@dataclass(frozen=True)
class Cell:
    """Pieces of text that stand together, such as a mean and its SD; `mark` is a footnote's."""

    parts: tuple[Part, ...]
    mark: str = ""

    @property
    def text(self):
        """The cell as plain text, without its footnote mark."""
        return "".join(part.text for part in self.parts)


def cell(*pieces, mark=""):
    """Make a cell of strings and `Part` objects."""
    return Cell(tuple(Part(p) if isinstance(p, str) else p for p in pieces), mark)


BLANK = cell("")
DASH = cell(NOT_APPLICABLE)


@dataclass(frozen=True)
class Column:
    """Head of a column: its label, and below it a cell such as (N=200)."""

    label: str
    sub: Cell = BLANK
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the body.

    `kind` is "section" (a band over blocks), "group" (the head of a block) or "data"; section and
    group rows have no cells, or cells for what belongs to the whole block.
    """

    label: Cell
    cells: tuple[Cell, ...] = ()
    kind: str = "data"
    indent: int = 0


@dataclass(frozen=True)
class Table:
    """A display with its three title lines, body, footnotes and source line."""

    id: str
    number: str
    title: str
    population: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[tuple[str, str], ...] = ()
    source: str = ""

    @classmethod
    def of(
        cls,
        display,
        context,
        *,
        columns,
        rows,
        methods,
        population=None,
        footnotes=(),
        abbreviations=(),
    ):
        """Return the table of a display: its title lines, source line and abbreviations added.

        Parameters
        ----------
        display : dict
            ``id``, ``number``, ``alias`` and ``title``.
        context : Context
        columns, rows, footnotes : iterable
            As the attributes.
        methods : list of str
            Analyses that the numbers are of, for the source line; at least one.
        population : str, optional
            Third title line; that of the first analysis if absent.
        abbreviations : iterable of (str, str)
            Short and long form; those that are shown become the first footnote.
        """
        made = cls(
            id=display["id"],
            number=title_number(display),
            title=display["title"],
            population=context.population_line(methods[0]) if population is None else population,
            columns=tuple(columns),
            rows=tuple(rows),
            footnotes=tuple(footnotes),
            source=context.source_line(methods),
        )
        return finish(made, abbreviations)


@dataclass
class Marks:
    """Hands out the letters a, b, c, ... for footnotes; the same text keeps its letter."""

    texts: dict = field(default_factory=dict)

    def __call__(self, note):
        """Return the letter of a footnote text."""
        if note not in self.texts:
            self.texts[note] = letters(len(self.texts))
        return self.texts[note]

    def footnotes(self):
        """Return pairs (letter, text) in order."""
        return tuple((letter, note) for note, letter in self.texts.items())


def letters(index):
    """0 -> a, 25 -> z, 26 -> aa."""
    head, tail = divmod(index, 26)
    return (letters(head - 1) if head else "") + "abcdefghijklmnopqrstuvwxyz"[tail]


def mark_not_estimated(found, marks):
    """Return the footnote letter for a number that was not estimated, from its NOTE."""
    if found is None or found.estimated:
        return ""
    return marks(found.note[:1].upper() + found.note[1:] if found.note else "Not estimated")


def finish(table, abbreviations=()):
    """Add the abbreviation footnote (only of what is shown) in front of the others."""
    shown = " ".join(_texts(table))
    used = [
        f"{short}, {long}"
        for short, long in abbreviations
        if re.search(rf"(?<!\w){re.escape(short)}(?!\w)", shown)
    ]
    if NOT_ESTIMATED in (part.text for row in table.rows for c in row.cells for part in c.parts):
        used.append(f"{NOT_ESTIMATED}, not estimated")
    if not used:
        return table
    return replace(table, footnotes=(("", "; ".join(used) + "."), *table.footnotes))


def _texts(table):
    yield from (f"{column.label} {column.sub.text}" for column in table.columns)
    for row in table.rows:
        yield row.label.text
        yield from (c.text for c in row.cells)
    yield from (note for _, note in table.footnotes)


def bodies(table):
    """Group the rows as HTML wants them: a new body begins at each section or group row."""
    groups = []
    for row in table.rows:
        if (
            not groups
            or row.kind == "section"
            or (row.kind == "group" and groups[-1][-1].kind != "section")
        ):
            groups.append([])
        groups[-1].append(row)
    return groups


def to_html(table):
    """Render a table as an HTML fragment (a ``figure`` with caption, table, footnotes)."""
    return pages.render("table.html.j2", table=table, bodies=bodies(table), no_data=NO_DATA)


def to_page(table, trial):
    """Render a table as a whole HTML page that needs nothing beside it."""
    fragment = to_html(table)
    return pages.render("display.html.j2", table=table, trial=trial, fragment=pages.safe(fragment))


def to_tsv(table):
    """Render a table as tab-separated text: section, group and label, then its columns."""
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter="\t",
        lineterminator="\n",
        quoting=csv.QUOTE_NONE,
        quotechar=None,
        escapechar="\\",
    )
    heads = [_plain(f"{column.label} {column.sub.text}") for column in table.columns[1:]]
    writer.writerow(["section", "group", _plain(table.columns[0].label) or "row", *heads])
    section = group = ""
    for row in table.rows:
        label = _plain(row.label.text)
        if row.kind == "section":
            section, group = label, ""
        elif row.kind == "group":
            group = label
        elif row.indent == 0:
            group = ""
        if row.cells:
            cells = [_plain(c.text) for c in row.cells]
            writer.writerow([section, group, "" if row.kind == "group" else label, *cells])
    return text.getvalue()


def _plain(text):
    return " ".join(text.replace("\\", "/").split())


def to_json(table):
    """Render a table as JSON, from which every other document is made (see `from_json`)."""
    return json.dumps(asdict(table), indent=1, ensure_ascii=False) + "\n"


def from_json(text):
    """Return the `Table` that `to_json` wrote."""

    def cell_of(given):
        return Cell(tuple(Part(**part) for part in given["parts"]), given["mark"])

    given = json.loads(text)
    columns = tuple(
        Column(column["label"], cell_of(column["sub"]), column["mark"])
        for column in given["columns"]
    )
    rows = tuple(
        Row(cell_of(row["label"]), tuple(map(cell_of, row["cells"])), row["kind"], row["indent"])
        for row in given["rows"]
    )
    notes = tuple(tuple(note) for note in given["footnotes"])
    return Table(**{**given, "columns": columns, "rows": rows, "footnotes": notes})


def write(table, trial, paths):
    """Write a table as a page, as tab-separated text and as JSON.

    Parameters
    ----------
    table : Table
    trial : dict
        ``title`` and ``synthetic`` of the trial.
    paths : dict
        By suffix: html, tsv and json.
    """
    with whole(paths["html"]) as part:
        part.write_text(to_page(table, trial), encoding="utf-8")
    with whole(paths["tsv"]) as part:
        part.write_text(to_tsv(table), encoding="utf-8")
    with whole(paths["json"]) as part:
        part.write_text(to_json(table), encoding="utf-8")
