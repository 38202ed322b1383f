"""Data files as statisticians have them, read to cells of text with the place of each row.

CSV and other separated text, SAS transport files (XPT v5 and v8), SAS7BDAT, Dataset-JSON and
Parquet. Text stays as it is written; a number becomes the shortest text that is the same number.
"""

import codecs
import csv
import dataclasses
import datetime
import io
import json
import re
from pathlib import Path

import pandas as pd

from lungitude.checks import Problem, nearest, read_bytes, read_text, shown

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".xpt": "xpt",
    ".v5xpt": "xpt",
    ".v8xpt": "xpt",
    ".sas7bdat": "sas7bdat",
    ".json": "dataset-json",
    ".ndjson": "dataset-json",
    ".parquet": "parquet",
}
SEPARATORS = {"csv": ",", "tsv": "\t"}
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods")
# The header of a data set within a SAS transport file, of version 5 and of version 8.
MEMBER = re.compile(rb"HEADER RECORD\*{7}(?:MEMBER  |MEMBV8  )HEADER RECORD")


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of a file.

    Attributes
    ----------
    frame : DataFrame of str
        The columns that were asked for; "" is an empty cell. The index counts rows from 0.
    rows : list of int
        Line (of text) or row (of other formats) of each row of `frame`, as a person counts them.
    counted : str
        What `rows` counts: line or row.
    trimmed : int
        Cells that lost blanks at their ends, or line breaks.
    """

    frame: pd.DataFrame
    rows: list
    counted: str
    trimmed: int


def format_of(file, declared=None):
    """Return the format of a file as declared or by its suffix; None if neither says."""
    return declared or FORMATS.get(Path(file).suffix.lower())


def read(path, form, columns, problems, remedy, separator=None, encoding=None):
    """Read columns of a file.

    Parameters
    ----------
    path : path
    form : str
        A value of `FORMATS`.
    columns : list of str
        Columns to take; others don't reach the frame.
    problems : list of Problem
        Is added to.
    remedy : str
        What to do if there is no such file.
    separator : str, optional
        Of text; comma for csv and tab for tsv if absent.
    encoding : str, optional
        Of text and XPT, as Python names it; UTF-8 if absent.

    Returns
    -------
    Cells or None
        None if the file can't be read or lacks a column; the reason is then in `problems`.
    """

    def report(text, line=None, column="", counted="line"):
        problems.append(Problem(str(path), line, column, text, counted))

    if form in SEPARATORS:
        text = read_text(path, found := [], remedy, _codec(encoding))
        problems += [_with_encoding(problem) for problem in found]
        if text is None or _other_encoding(path, encoding, report):
            return None
        return _text(text, separator or SEPARATORS[form], columns, report)
    data = read_bytes(path, problems, remedy)
    if data is None:
        return None
    made = {"xpt": _xpt, "sas7bdat": _sas7bdat, "dataset-json": _dataset_json, "parquet": _parquet}
    frame = made[form](path, data, columns, report, encoding)
    if frame is None:
        return None
    return _trimmed(frame, list(range(1, len(frame) + 1)), "row")


def known_encoding(name):
    """Whether Python can read text in an encoding."""
    try:
        return codecs.lookup(name)._is_text_encoding
    except LookupError:
        return False


def _codec(encoding):
    """Return the codec of a declared encoding; None for UTF-8, which is read without one."""
    return encoding if encoding and codecs.lookup(encoding).name not in ("utf-8",) else None


def _with_encoding(problem):
    """Say what to declare where a file may not be changed."""
    for old, new in (
        ("save the file as UTF-8", "say 'encoding: windows-1252' (or the right one)"),
        ("the file is in UTF-16; save it as plain text in UTF-8",
         "the file is in UTF-16; say 'encoding: utf-16'"),
        ("save it as plain text in UTF-8", "export it as CSV, or say its 'format'"),
    ):  # fmt: skip
        if old in problem.text:
            return dataclasses.replace(problem, text=problem.text.replace(old, new))
    return problem


def _other_encoding(path, encoding, report):
    """Tell a file that is declared to have one byte a letter, and holds letters of UTF-8."""
    if not encoding or codecs.lookup(encoding).name not in ("iso8859-1", "iso8859-15", "cp1252"):
        return False
    data = Path(path).read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    if data.isascii():
        return False
    report(f"the letters of the file are those of UTF-8, not of {encoding}; delete 'encoding'")
    return True


def _text(text, separator, columns, report):
    """Read separated text, with or without quotation marks."""
    if not text.strip():
        report("the file is empty; it needs at least a header line")
        return None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines, rows, last = [], [], 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(cells)
                lines.append(last + 1)
            last = reader.line_num
    except csv.Error as error:
        report(f"the line can't be split into cells ({error}); mend it in a copy", last + 1)
        return None
    header, rows, top, lines = [name.strip() for name in rows[0]], rows[1:], lines[0], lines[1:]
    other = [mark for mark in ",;\t|" if mark in header[0]]
    if len(header) == 1 and columns != header and other:
        named = {"\t": "a tab", " ": "a blank"}
        report(
            f"the header has one column; it is not split at {named.get(separator, separator)}, but "
            f"perhaps at {named.get(other[0], other[0])}; say so as 'separator'",
            top,
        )
        return None
    for cells, line in zip(rows, lines, strict=True):
        if len(cells) != len(header):
            report(
                f"the row has {len(cells)} cells, the header {len(header)}; mend it in a copy, or "
                "say the right 'separator'",
                line,
            )
    if any(len(cells) != len(header) for cells in rows):
        return None
    if _lacking(columns, header, report):
        return None
    for name in columns:
        if header.count(name) > 1:
            report("the file has the column twice; rename one in a copy", top, name)
            return None
    frame = {name: [cells[header.index(name)] for cells in rows] for name in columns}
    return _trimmed(pd.DataFrame(frame, dtype=object), lines, "line")


def _xpt(path, data, columns, report, encoding):
    import pyreadstat

    if len(MEMBER.findall(data)) > 1:
        count = len(MEMBER.findall(data))
        report(f"the file holds {count} data sets; write each to a file of its own")
        return None
    return _of_sas(pyreadstat.read_xport, path, columns, report, encoding)


def _sas7bdat(path, data, columns, report, encoding):
    import pyreadstat

    return _of_sas(pyreadstat.read_sas7bdat, path, columns, report, encoding)


def _of_sas(reader, path, columns, report, encoding):
    """Read by pyreadstat, which knows by a column's format in the file whether it is a date."""
    from pyreadstat import PyreadstatError, ReadstatError

    options = {"encoding": codecs.lookup(encoding).name} if encoding else {}
    try:
        known = reader(str(path), metadataonly=True, **options)[1].column_names
        if _lacking(columns, known, report):
            return None
        frame = reader(str(path), usecols=list(dict.fromkeys(columns)), **options)[0]
    except UnicodeDecodeError:
        report("its letters are not UTF-8; say 'encoding: windows-1252' (or the right one)")
        return None
    except (ReadstatError, PyreadstatError) as error:
        report(f"it can't be read as a SAS file ({error}); mend 'format', or export it anew")
        return None
    return pd.DataFrame({name: frame[name].map(_written) for name in columns}, dtype=object)


def _dataset_json(path, data, columns, report, encoding):
    """Read Dataset-JSON 1.1, as one object or as lines (NDJSON); numbers stay as written."""

    def loaded(text):
        return json.loads(text, parse_float=str, parse_int=str)

    try:
        text = data.decode("utf-8-sig")
        try:
            content = loaded(text)
            rows = content.get("rows")
        except json.JSONDecodeError:
            content, *rows = [loaded(line) for line in text.splitlines() if line.strip()]
        version = str(content.get("datasetJSONVersion", ""))
        known = [item["name"] for item in content["columns"]]
        if not version.startswith("1.1") or not isinstance(rows, list):
            raise KeyError("datasetJSONVersion")
    except (ValueError, LookupError, TypeError, AttributeError):
        report("it is no Dataset-JSON 1.1 (datasetJSONVersion, columns, rows); export it so")
        return None
    if _lacking(columns, known, report):
        return None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(known):
            report(f"it does not have {len(known)} values, as 'columns' says", number, "", "row")
            return None
    return pd.DataFrame(
        {name: [_written(row[known.index(name)]) for row in rows] for name in columns}, dtype=object
    )


def _parquet(path, data, columns, report, encoding):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
    except pa.ArrowException as error:
        report(f"it can't be read as Parquet ({error}); mend 'format'")
        return None
    if _lacking(columns, file.schema_arrow.names, report):
        return None
    table = file.read(columns=list(dict.fromkeys(columns)))
    frame = {}
    for name in columns:
        column = table[name]
        if pa.types.is_floating(column.type) and not pa.types.is_float64(column.type):
            column = column.cast(pa.string())  # the digits of single precision, not of double
        frame[name] = [_written(value) for value in column.to_pylist()]
    return pd.DataFrame(frame, dtype=object)


def _lacking(columns, known, report):
    """Tell columns that the file lacks."""
    lacking = [name for name in dict.fromkeys(columns) if name not in known]
    for name in lacking:
        listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        hint = nearest(name, known)
        hint = "" if hint.startswith("known") else f"{hint} "
        report(f"the file has no column {shown(name)}; {hint}It has {shown(listed, 200)[1:-1]}")
    return bool(lacking)


def _written(value):
    """Write a value as text; "" where it is missing."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime):
        text = value.isoformat()
        return text.removesuffix("T00:00:00")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _trimmed(frame, rows, counted):
    """Take blanks from the ends of cells, and line breaks from inside; count the cells changed."""
    trimmed = 0
    for name in frame.columns:
        cells = frame[name].astype(str)
        bare = cells.str.replace(r"\s*[\r\n\t]+\s*", " ", regex=True).str.strip()
        trimmed += int((cells != bare).sum())
        frame[name] = bare.astype(object)
    return Cells(frame.reset_index(drop=True), rows, counted, trimmed)
