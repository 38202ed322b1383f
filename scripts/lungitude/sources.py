"""Sheets of a trial from files that the statistician has: columns, values and rows by a map.

`read` makes of maps what `sheets.read` makes of a sheet, and knows for each row where it came from.
docs/sources.md tells the order of the steps. The files are never written to.
"""

import dataclasses
import datetime
import re
from pathlib import Path

import pandas as pd

from lungitude import readers, tables, units
from lungitude.checks import Problem, nearest, schema, shape, shown
from lungitude.documents import is_date, is_partial_date
from lungitude.sheets import FAULTS, NUMBER, numbers
from lungitude.source_maps import EPOCHS, ISO, known_columns

ORIGIN = ["SRCDOM", "SRCVAR", "SRCSEQ"]  # file, column of the value, line or row; names of ADaM
COUNTS = (
    "file rows_read rows_filtered rows_repeated rows_without_partner cells_empty rows_given "
    "values_missing cells_trimmed"
).split()
TOLD = {
    "rows_filtered": "left out by 'where'",
    "rows_repeated": "alike with others",
    "rows_without_partner": "without a row to join",
    "cells_empty": "empty cells of 'wide'",
    "values_missing": "with a missing value",
    "cells_trimmed": "cells with blanks at their ends or line breaks",
}
# What is said of a sheet that can be typed in, and what of a file that is mapped.
REMEDIES = (
    ("leave the cell empty if it is missing", "name it under 'missing' if it is"),
    ("leave the cell empty", "name it under 'missing'"),
    ("write it as YYYY-MM-DD, or YYYY-MM or YYYY where less is known", "say its form in 'dates'"),
    ("write it as YYYY-MM-DD", "say its form in 'dates'"),
    ("write it as 12.3, missing as an empty cell", "map it, or name it under 'missing'"),
    ("keep one of the two", "leave one out by 'where' or 'distinct'"),
    ("add the patient there or delete the row", "add the patient there, or use 'where'"),
    ("convert the value and its unit", "let 'units' convert it"),
    ("convert it to ", "let 'units' convert it to "),
    ("write the code ", "map it under 'values' to the code "),
    ("mend the cell or add the level there", "map it under 'values', or add the level there"),
    ("fill it in", "leave the row out by 'where', or mend the data"),
)


@dataclasses.dataclass(frozen=True)
class Mapped:
    """A sheet that was made by maps.

    Attributes
    ----------
    name : str
    frame : DataFrame of str
        As `sheets.read` gives a sheet; the index counts rows from 0.
    origin : DataFrame
        `ORIGIN` of each row, and ``map``, the number of its map.
    counts : DataFrame
        `COUNTS`, one row a map.
    folder : Path
    maps : list of Source
    counted : list of str
        What SRCSEQ counts in each file: lines or rows.
    joined : dict
        Column that was joined: number of its map, and its row of the file by row of `frame`.
    """

    name: str
    frame: pd.DataFrame
    origin: pd.DataFrame
    counts: pd.DataFrame
    folder: Path
    maps: list
    counted: list
    joined: dict

    def write(self, path, counts):
        """Write the sheet with the origin of its rows, and what was counted."""
        tables.write(pd.concat([self.frame, self.origin[ORIGIN]], axis=1), path)
        tables.write(self.counts, counts)

    def told(self):
        """Return one line a map: how many rows were read, left out and taken."""
        lines = []
        for row in self.counts.to_dict("records"):
            rest = [f"{row[key]} {words}" for key, words in TOLD.items() if row[key]]
            head = f"{self.name} from {row['file']}: {row['rows_read']} rows read"
            lines.append(", ".join([head, *rest, f"{row['rows_given']} rows given"]))
        return lines

    def placed(self, problem):
        """Return a problem of `frame` as one of the file that its row came from."""
        index = (problem.line or 0) - 2
        if index not in self.origin.index:
            return dataclasses.replace(problem, file=str(self._path(0)), line=None)
        row = self.origin.loc[index]
        which, line = int(row["map"]), row["SRCSEQ"]
        if problem.column in self.joined:
            which, lines = self.joined[problem.column]
            line = lines.get(index, line)
        theirs = self.maps[which].columns.get(problem.column, problem.column)
        if self.maps[which].wide and problem.column == schema(f"sheets/{self.name}").get("value"):
            theirs = row["SRCVAR"]
        column = _both_names(theirs, problem.column)
        text = re.sub(r"\bline (\d+)", lambda m: self._line(m, which), problem.text)
        return dataclasses.replace(
            problem,
            file=str(self._path(which)),
            line=int(line),
            column=column,
            text=_remedied(text),
            counted=self.counted[which],
        )

    def _path(self, which):
        return self.folder / self.maps[which].file

    def _line(self, match, which):
        """Say a line of the sheet as one of a file."""
        index = int(match[1]) - 2
        if index not in self.origin.index:
            return match[0]
        row = self.origin.loc[index]
        where = f"{self.counted[int(row['map'])]} {row['SRCSEQ']}"
        return where if int(row["map"]) == which else f"{where} of {row['SRCDOM']}"


def _both_names(theirs, ours):
    """Name a column as the file does, and as the sheet does."""
    return ours if theirs in (ours, "") else f"{theirs} ({ours})"


def _remedied(text):
    """Say what to do where the cell itself can't be changed."""
    mended = text
    for old, new in REMEDIES:
        mended = mended.replace(old, new)
    mended = re.sub(r"write it with a point: \S+", "say 'decimal: \",\"'", mended)
    if mended == text and re.search("did you mean|known: ", text):
        return f"{text} (map it by 'values', or use 'where')"
    return mended


def read(name, maps, folder, found, extra=(), declared=None):
    """Make a sheet of the files that its maps name.

    Parameters
    ----------
    name : str
        Schema under config/schemas/sheets.
    maps : list of Source
        As `problems` finds nothing wrong with them.
    folder : path
        Folder of config.yaml.
    found : list of Problem
        Is added to.
    extra : mapping
        Columns of subjects that config.yaml declares.
    declared : dict, optional
        Of `declared_units`; values stay as they are if absent.

    Returns
    -------
    Mapped or None
        None if a file can't be read or lacks a column; the reason is then in `found`.
    """
    folder = Path(folder)
    known = known_columns(name, extra)
    value = schema(f"sheets/{name}").get("value")
    parts = [_part(name, source, folder, known, value, found) for source in maps]
    if any(part is None for part in parts):
        return None
    stacked, joined = [], {}
    for which, (frame, origin, _, _) in enumerate(parts):
        if not maps[which].join:
            stacked.append((frame, origin.assign(map=which)))
    frame = pd.concat([one for one, _ in stacked], ignore_index=True)
    origin = pd.concat([one for _, one in stacked], ignore_index=True)
    for which, source in enumerate(maps):
        if source.join:
            frame = _joined(frame, source, which, parts[which], folder, joined, found)
    frame = frame.reindex(columns=[column for column in known if column in frame])
    frame = frame.astype(object).where(frame.notna() & (frame != ""))
    counts = pd.DataFrame([count for *_, count in parts])
    for which, source in enumerate(maps):
        counts.loc[which, "file"] = source.file
        if value in frame and not source.join:
            rows = origin["map"] == which
            counts.loc[which, "values_missing"] = int(frame.loc[rows, value].isna().sum())
    counts = counts.reindex(columns=COUNTS).fillna(dict.fromkeys(COUNTS[1:], 0))
    counts = counts.astype(dict.fromkeys(COUNTS[1:], int))
    counted = [part[2] for part in parts]
    made = Mapped(name, frame, origin, counts, folder, list(maps), counted, joined)
    if declared is not None:
        _convert(made, declared, found)
    if schema(f"sheets/{name}").get("needs_rows") and frame.empty:
        text = "no row of the file is taken; mend 'where'"
        found.append(Problem(str(folder / maps[0].file), None, "", text))
    return made


def _part(name, source, folder, known, value, found):
    """Return the rows of one map, their origin, what it counts, and the counts; None on a fault."""
    path = folder / source.file
    remedy = f"mend 'sheets: {name}' in config.yaml"
    cells = readers.read(
        path, source.form, source.taken, found, remedy, source.separator, source.encoding
    )
    if cells is None:
        return None

    def report(index, column, text, kind):
        problem = Problem(str(path), cells.rows[index], column, text, cells.counted, kind)
        found.append(problem)

    raw = cells.frame
    kept = _chosen(raw, source.where, lambda text: found.append(Problem(str(path), None, "", text)))
    count = {"rows_read": len(raw), "rows_filtered": int((~kept).sum())}
    count["cells_trimmed"] = cells.trimmed
    raw = raw[kept]
    frame = pd.DataFrame(
        {ours: raw[theirs] for ours, theirs in source.columns.items()}, index=raw.index
    )
    variable = pd.Series(source.columns.get(value, ""), raw.index, dtype=object)
    if source.wide:
        frame, variable = _long(frame, raw, source.wide, value)
    frame = _without_codes(frame, source.missing)
    if source.wide:
        empty = frame[value] == ""
        count["cells_empty"] = int(empty.sum())
        frame, variable = frame[~empty], variable[~empty]
    places = frame.index.to_numpy()
    frame, variable = frame.reset_index(drop=True), variable.reset_index(drop=True)

    def theirs(column, row):
        own = variable[row] if column == value else source.columns.get(column, "")
        return _both_names(own, column)

    for column in frame.columns:
        cell = frame[column]
        for row, text, kind in _cell_faults(cell, source, column, known.get(column, {})):
            report(int(places[row]), theirs(column, row), text, kind)
        frame[column] = _mended(cell, source, column, known.get(column, {}))
    for column in dict.fromkeys(name for fixed in source.wide.values() for name in fixed):
        told = variable.map({theirs: fixed.get(column) for theirs, fixed in source.wide.items()})
        frame[column] = told.fillna(frame.get(column, ""))
    frame = frame.assign(**source.constants)
    origin = pd.DataFrame(
        {
            "SRCDOM": source.file,
            "SRCVAR": variable.to_numpy(),
            "SRCSEQ": [cells.rows[place] for place in places],
        }
    )
    if source.distinct:
        repeated = frame.duplicated()
        count["rows_repeated"] = int(repeated.sum())
        frame = frame[~repeated].reset_index(drop=True)
        origin = origin[~repeated].reset_index(drop=True)
    count["rows_given"] = len(frame)
    return frame, origin, cells.counted, count


def _chosen(raw, where, report):
    """Tell which rows `where` asks for; a text that differs by capitals only is a slip."""
    kept = pd.Series(True, raw.index)
    for column, texts in where.items():
        texts = [texts] if isinstance(texts, str) else texts
        present = raw[column].unique()
        folded = {text.casefold(): text for text in present}
        for text in texts:
            like = folded.get(text.casefold())
            if text not in present and like is not None:
                report(f"'where' asks for {shown(text)} in {column}, there it is {shown(like)}")
        kept &= raw[column].isin(texts)
    return kept


def _long(frame, raw, wide, value):
    """Spread the columns of wide over rows, in the order of the file."""
    pieces = [frame.assign(**{value: raw[theirs], "": theirs}) for theirs in wide]
    long = pd.concat(pieces).sort_index(kind="stable")
    columns = [column for column in long if column]
    return long[columns], long[""]


def _without_codes(frame, missing):
    """Empty the cells that hold a code of a missing value."""
    for column in frame.columns:
        codes = missing.get(column, ()) if isinstance(missing, dict) else missing
        frame[column] = frame[column].mask(frame[column].isin(list(codes)), "")
    return frame


def _cell_faults(cells, source, column, spec):
    """Yield (row, text, `Problem.kind`) of cells that the map does not fit."""
    filled = cells[cells != ""]
    odd = filled[filled.str.contains(FAULTS[1][1])]
    for row, cell in odd.items():
        yield (
            row,
            f"the cell {shown(cell)} holds a character that can't be printed; mend 'encoding'",
            "",
        )
    if column in source.recoded:
        known = source.recoded[column]
        for row, cell in filled[~filled.isin(list(known))].items():
            like = next((name for name in known if name.casefold() == cell.casefold()), None)
            remedy = f" (there is {shown(like)})" if like else ", or leave its rows out by 'where'"
            yield row, f"{shown(cell)} is not under 'values: {column}'; add it there{remedy}", ""
        return
    if column in source.dates:
        form = source.dates[column]
        days = {cell: day_of(cell, form) for cell in filled.unique()}
        for row, cell in filled[filled.map(days).isna()].items():
            text = f"{shown(cell)} is no date of the form {shown(form)}; mend 'dates: {column}'"
            yield row, text, shape(cell)
    elif spec.get("format") in ("date", "partial-date"):
        whole = is_date if spec["format"] == "date" else is_partial_date
        for row, cell in filled[~filled.map(whole).astype(bool)].items():
            if re.fullmatch(NUMBER, cell):
                words = " or ".join(EPOCHS)
                yield (
                    row,
                    f"the date is the number {cell}; say in 'dates: {column}' if it is {words}",
                    shape(cell),
                )
    if spec.get("type") in ("number", "integer") and source.decimal == ",":
        for row, cell in filled[filled.str.contains(".", regex=False)].items():
            yield (
                row,
                f"{shown(cell)} has a point, but 'decimal' is ','; mend 'decimal'",
                shape(cell),
            )


def _mended(cells, source, column, spec):
    """Return cells with their values, dates and decimal marks as the sheet has them."""
    if column in source.recoded:
        return cells.map(lambda cell: source.recoded[column].get(cell, cell))
    if column in source.dates:
        form = source.dates[column]
        days = {cell: day_of(cell, form) or cell for cell in cells.unique()}
        return cells.map(days)
    if spec.get("type") in ("number", "integer") and source.decimal == ",":
        return cells.str.replace(r"^([+-]?\d*),(\d+)", r"\1.\2", regex=True)
    return cells


def day_of(text, form):
    """Return a date as YYYY-MM-DD (or the part that `form` has); None if it is not of that form.

    Parameters
    ----------
    text : str
        The time of the day is left out.
    form : str
        A word of `EPOCHS`, `ISO`, or a form as of ``strptime`` with %Y.
    """
    if not text:
        return text
    if form in EPOCHS:
        start, unit = EPOCHS[form]
        if not re.fullmatch(NUMBER, text):
            return None
        try:
            return (start + datetime.timedelta(**{unit: float(text)})).date().isoformat()
        except OverflowError:
            return None
    if form == ISO:
        day = text.split("T")[0]
        return day if is_partial_date(day) else None
    try:
        day = datetime.datetime.strptime(text, form).date().isoformat()
    except ValueError:
        return None
    if "%b" in form or "%B" in form or "%m" in form:
        return day if "%d" in form or "%j" in form else day[:7]
    return day if "%j" in form else day[:4]


def _joined(frame, source, which, part, folder, joined, found):
    """Add the columns of a map to the rows that have the same values in its `join`."""
    other, origin, counted, count = part
    keys = list(source.join)
    first = {}
    for row, key in enumerate(other[keys].itertuples(index=False, name=None)):
        if key in first:
            line = origin["SRCSEQ"][first[key]]
            text = (
                f"{' '.join(shown(part)[1:-1] for part in key)} stands already in {counted} {line};"
                " 'join' takes one row each, leave the others out by 'where' or 'distinct'"
            )
            found.append(
                Problem(str(folder / source.file), int(origin["SRCSEQ"][row]), "+".join(
                    source.columns[name] for name in keys), text, counted)
            )  # fmt: skip
        first.setdefault(key, row)
    rows = [first.get(key) for key in frame[keys].itertuples(index=False, name=None)]
    met = {row for row in rows if row is not None}
    count["rows_without_partner"] = len(other) - len(met)
    count["rows_given"] = len(met)
    places = {
        index: int(origin["SRCSEQ"][row]) for index, row in enumerate(rows) if row is not None
    }
    for column in other.columns.difference(keys, sort=False):
        cells = other[column].tolist()
        frame[column] = ["" if row is None else cells[row] for row in rows]
        joined[column] = (which, places)
    return frame


def _convert(made, declared, found):
    """Bring the values of maps with `units` to the declared units, in place."""
    for which, source in enumerate(made.maps):
        if source.units is None:
            continue
        path = str(made.folder / source.file)
        named = source.units if isinstance(source.units, dict) else {}
        for name in sorted(set(named) - set(declared)):
            text = f"'units' names {shown(name)}, which has no declared unit; "
            found.append(Problem(path, None, "", text + nearest(name, declared)))
        rows = made.origin.index[made.origin["map"] == which]
        if made.name == "subjects":
            for column in sorted(set(named) & set(declared) & set(made.frame)):
                lines = made.joined[column][1] if column in made.joined else rows
                had = pd.Series(named[column], list(lines))
                wanted = pd.Series(declared[column], list(lines))
                _converted(made, column, had, wanted, found)
            continue
        rows = rows[made.frame.loc[rows, "PARAMCD"].isin(list(declared))]
        codes = made.frame.loc[rows, "PARAMCD"]
        had = codes.map(named)
        if "AVALU" in made.frame:
            told = made.frame.loc[rows, "AVALU"]
            for index in rows[told.notna() & had.notna() & (told != had)]:
                text = f"AVALU is {shown(told[index])}, but 'units' says {shown(had[index])}; "
                problem = Problem("", index + 2, "AVALU", text + "delete one of the two")
                found.append(made.placed(problem))
            had = had.fillna(told)
        had = had.dropna()
        wanted = codes[had.index].map(declared)
        _converted(made, "AVAL", had, wanted, found)
        if "AVALU" in made.frame:
            made.frame.loc[had.index, "AVALU"] = wanted


def _converted(made, column, had, wanted, found):
    """Convert cells of a column from the units in `had` to those in `wanted`, by row."""
    cells = made.frame.loc[had.index, column]
    asked = pd.DataFrame({"cell": cells, "had": had, "wanted": wanted})[numbers(cells).notna()]
    results, told = {}, set()
    for row in asked.drop_duplicates().itertuples():
        try:
            results[row[1:]] = units.convert(*row[1:])
        except units.UnitError as error:
            results[row[1:]] = float("nan")
            if row[2:] not in told:
                text = f"{error}, the declared unit is {row.wanted!r}; mend 'units'"
                found.append(made.placed(Problem("", row.Index + 2, column, text)))
            told.add(row[2:])
    keys = zip(asked["cell"], asked["had"], asked["wanted"], strict=True)
    made.frame.loc[asked.index, column] = [results[key] for key in keys]
