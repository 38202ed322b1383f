"""Tab-separated sheets of a trial: read cell by cell, then checked in all rows by pandera."""

import csv
import re
from pathlib import Path

import pandas as pd

from lungitude.checks import Problem, Rule, nearest, read_text, schema, shape, shown
from lungitude.documents import DATE, is_date, is_partial_date

LONGEST = 1000  # characters of a cell; more is a lost tab or line end
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
# What stands for a missing value elsewhere; here an empty cell does.
MISSING = {"NA", "N/A", "#N/A", "NaN", "NULL", ".", "-", "--"}
# What makes a cell another one than it looks like, and what to do.
FAULTS = (
    ("begin or end with a blank", r"^\s|\s$", "delete those blanks"),
    (
        "hold a character that can't be printed",
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ufffd]",
        "type it anew, and save the sheet as UTF-8",
    ),
)


def read(path, problems, name, remedy):
    """Read a sheet as text, cell by cell; lines of the file are index + 2.

    Parameters
    ----------
    path : path
    problems : list of Problem
        Is added to.
    name : str
        Schema under config/schemas/sheets.
    remedy : str
        What to do if there is no such file.

    Returns
    -------
    DataFrame of str or None
        Missing cells are NaN. None if the file can't be read; the reason is then in `problems`.
    """
    path = Path(path)

    def report(line, column, text):
        problems.append(Problem(str(path), line, column, text))

    text = read_text(path, problems, remedy)
    if text is None:
        return None
    if not text.strip():
        report(None, "", "the file is empty; it needs at least a header line")
        return None
    header, *lines = text.split("\n")
    lower = _names_below(header, lines, set(schema(f"sheets/{name}")["required"]))
    if lower:
        text = f"the names of the columns stand in line {lower}; delete what stands above them"
        report(1, "", text)
        return None
    names = _header(header, report)
    if names is None:
        return None
    rows, places, passed = [], [], 0
    for number, line in enumerate(lines, 2):
        cells = _cells(line)
        if not line or number <= passed:
            continue
        if not line.strip():
            report(number, "", "the row has nothing but blanks or tabs; delete it")
        elif cells is None:
            passed = _end_of_cell(lines, number, len(names))
            text = f"a cell goes on to line {passed}; delete the line break in it"
            if not passed:
                text = "a quotation mark opens a cell and does not close it in this line; delete "
                text += "the mark, or the line break in the cell"
            report(number, "", text)
        elif len(cells) != len(names):
            report(number, "", _wrong_width(cells, names))
        else:
            rows.append(cells)
            places.append(number - 2)
    frame = pd.DataFrame(rows, columns=range(len(names)), index=places, dtype=object)
    kept = {column: place for place, column in reversed(list(enumerate(names))) if column}
    frame = frame[sorted(kept.values())].set_axis(sorted(kept, key=kept.get), axis=1)
    if schema(f"sheets/{name}").get("needs_rows") and frame.empty and not places:
        report(None, "", "the sheet has a header but no row; add the rows")
    for column in frame.columns:
        frame[column] = _mended(frame[column], column, report)
    return frame.where(frame != "")


def _cells(line):
    """Split a line at its tabs, as Excel and R quote them; None if a quotation is not closed."""
    if '"' not in line:
        return line.split("\t")
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error:
        return None


def _end_of_cell(lines, number, width, most=20):
    """Return the line that a row with line breaks in a cell ends in; 0 if there is none near."""
    for last in range(number + 1, min(number + most, len(lines) + 1) + 1):
        if len(_cells("\n".join(lines[number - 2 : last - 1])) or ()) == width:
            return last
    return 0


def _names_below(header, lines, required, most=10):
    """Return the line that the header stands in where a title or a merged one is above it."""
    if header.strip() and not required <= set(_cells(header) or ()):
        for number, line in enumerate(lines[:most], 2):
            if required <= set(_cells(line) or ()):
                return number
    return 0


def _header(line, report):
    """Return the names of the columns, or None if the line is no header."""
    names = _cells(line) or line.split("\t")
    if len(names) == 1 and re.search("[,;|]", line):
        text = "the header has no tab; separate columns by tabs, not by commas or semicolons"
        report(1, "", text)
        return None
    if not line.strip():
        report(1, "", "the first line is empty; it must be the header with the names of columns")
        return None
    plain = [re.sub(r'^[\s"]+|[\s"]+$', "", name) for name in names]
    for place, (name, mended) in enumerate(zip(names, plain, strict=True), 1):
        if not mended:
            text = f"column {place} of {len(names)} has no name; name it, or delete the tab"
            report(1, "", text)
        elif name != mended:
            text = f"the column is written {shown(name)}; delete the blanks or quotation mark"
            report(1, mended, text)
        if mended and mended in plain[: place - 1]:
            report(1, mended, "the column is there twice; delete one")
    return plain


def _wrong_width(cells, names):
    text = f"the row has {len(cells)} cells, the header {len(names)}; "
    if len(cells) < len(names):
        return text + "its end or a tab is lost: add what is missing, an empty cell needs its tab"
    if not any(cell.strip() for cell in cells[len(names) :]):
        return text + "delete the tabs at its end"
    return text + "a tab is too many: delete it"


def _mended(cells, column, report):
    """Tell faults of the writing once a column, and return the cells without them."""
    for what, pattern, remedy in FAULTS:
        wrong = cells.str.contains(pattern)
        if wrong.any():
            value, line = shown(cells[wrong].iloc[0]), int(wrong.idxmax()) + 2
            count = int(wrong.sum())
            who = f"{count} cells {what}, the first is" if count > 1 else f"a cell must not {what}:"
            report(line, column, f"{who} {value}; {remedy}")
            cells = cells.str.replace(pattern, "", regex=True).str.strip()
    long = cells.str.len() > LONGEST
    for place in cells.index[long]:
        text = f"the cell has {len(cells[place])} characters; {LONGEST} are allowed, shorten it"
        report(int(place) + 2, column, text)
    return cells


def rules_of_schema(name, extra=()):
    """Return the rules that the schema of a sheet implies, and those of `extra` columns."""
    found = []
    for column, spec in {**schema(f"sheets/{name}")["properties"], **dict(extra)}.items():
        if spec.get("format") == "date":
            found.append(Rule(column, lambda s: s.map(is_date).astype(bool), _no_date, _written))
        if spec.get("format") == "partial-date":
            found.append(
                Rule(column, lambda s: s.map(is_partial_date).astype(bool), _no_partial, _written)
            )
        if spec["type"] in ("number", "integer"):
            found += _number_rules(column, spec)
        if "enum" in spec:
            found.append(_enum_rule(column, spec["enum"], spec.get("declared")))
        if "pattern" in spec:
            found.append(_pattern_rule(column, spec))
        if spec.get("words"):
            found.append(Rule(column, lambda s: ~s.isin(MISSING), _no_word))
    return found


def _written(value, row):
    return shape(value)


def _no_date(value, row):
    if re.fullmatch(DATE, value):
        return f"{shown(value)} is not a day of the calendar (1900 to 2199); mend it"
    remedy = _empty_if_missing(value, "write it as YYYY-MM-DD")
    kept = " (a number, as Excel and SAS keep dates)" if re.fullmatch(r"\d{4,6}", value) else ""
    return f"{shown(value)} is no date{kept}; {remedy}"


def _no_partial(value, row):
    remedy = "write it as YYYY-MM-DD, or YYYY-MM or YYYY where less is known"
    return f"{shown(value)} is no date; {_empty_if_missing(value, remedy)}"


def _no_word(value, row):
    return f"{shown(value)} stands for a missing value; leave the cell empty"


def _empty_if_missing(value, otherwise):
    return "leave the cell empty if it is missing" if value in MISSING else otherwise


def _enum_rule(column, known, declared=None):
    def tell(value, row):
        if declared and value not in MISSING:
            what = (
                f"{shown(value)} is not among the levels of {column} in {declared} of config.yaml"
            )
            return f"{what}; mend the cell or add the level there ({nearest(value, known)})"
        return f"{shown(value)} is unknown; {_empty_if_missing(value, nearest(value, known))}"

    return Rule(column, lambda s: s.isin(known), tell)


def _pattern_rule(column, spec):
    return Rule(
        column,
        lambda s: s.str.fullmatch(spec["pattern"]),
        lambda v, row: f"{shown(v)} is not allowed; {spec['description']}",
    )


def _number_rules(column, spec):
    whole = spec["type"] == "integer"

    def tell(value, row):
        kind = "whole number" if whole else "number"
        if re.fullmatch(NUMBER, value, re.ASCII) and not whole:
            return f"{shown(value)} is too large for a number; mend it"
        remedy = "write digits only" if whole else "write it as 12.3, missing as an empty cell"
        if re.fullmatch(r"[+-]?\d+,\d+", value) and not whole:
            remedy = f"write it with a point: {value.replace(',', '.')}"
        return f"{shown(value)} is no {kind}; {_empty_if_missing(value, remedy)}"

    pattern = r"[+-]?\d+" if whole else NUMBER
    yield Rule(column, lambda s: numbers(s).notna() & s.str.fullmatch(pattern), tell, _written)
    low, high = spec.get("minimum", -float("inf")), spec.get("maximum", float("inf"))
    unit = f" {spec['unit']}" if spec.get("unit") else ""
    yield Rule(
        column,
        lambda s: numbers(s).between(low, high) | numbers(s).isna(),
        lambda v, row: (
            f"{shown(v)[1:-1]} lies {_outside(low, high)}{unit}; mend the value or its "
            "declared range"
        ),
    )


def _outside(low, high):
    if low > -float("inf") and high < float("inf"):
        return f"outside {low:g} to {high:g}"
    return f"above {high:g}" if high < float("inf") else f"below {low:g}"


def numbers(cells):
    """Turn text into floats; what is no finite number, written plainly, becomes NaN."""
    text = cells.astype(object).where(cells.notna(), "")
    values = pd.to_numeric(text.where(text.str.fullmatch(NUMBER, flags=re.ASCII)), errors="coerce")
    return values.astype(float).where(lambda v: v.abs() < float("inf"))


def measure_fault(value, config):
    """Say what is wrong with series:table:region:column, None if nothing is."""
    spec = schema("sheets/parameters")
    parts = value.split(":")
    if len(parts) != 4:
        return None  # told by the schema's pattern
    series, table, region, column = parts
    if table not in spec["measures"]:
        return f"there is no table '{table}'; {nearest(table, spec['measures'])}"
    regions = [name for group in spec["regions"] for name in group]
    known, which = spec["measures"][table], f"the table '{table}'"
    if series == "subject" and table in spec["compared"]:
        regions, known = spec["compared_regions"][table], spec["compared"][table]
        which += " of series 'subject'"
    if region not in regions:
        return f"{which} has no region '{region}'; {nearest(region, regions)}"
    if column not in known:
        return f"{which} has no column '{column}'; {nearest(column, known)}"
    if table == "prm" and series not in ("visit", "subject"):
        return "a map of two scans belongs to no series; write 'visit' or 'subject' in place of it"
    if series == "subject" and table in spec["compared"]:
        return None
    known = config.get("imaging", {}).get("series")
    if table != "prm" and known is not None and series not in known:
        return f"series '{series}' is not in 'imaging.series'; {nearest(series, known)}"
    return None


def check(frame, name, path, rules, extra=(), closed=True, own=None):
    """Check one sheet with pandera, all failures at once.

    Parameters
    ----------
    frame : DataFrame of str
        As `read` gives it.
    name : str
        Schema under config/schemas/sheets: columns, required and filled ones, unique keys.
    path : path
        File, for the place of each problem.
    rules : list of Rule
        Checks of cells, beside those of the schema.
    extra : mapping
        Further required columns and their schema (characteristics of subjects).
    closed : bool
        Whether other columns than those are a problem.
    own : dict, optional
        What holds in place of ``required``, ``filled`` and ``unique`` of the schema.

    Returns
    -------
    list of Problem
    """
    import pandera.pandas as pa

    spec = {**schema(f"sheets/{name}"), **(own or {})}
    known = {**spec["properties"], **dict(extra)}
    found = []
    free, small = [name for name in known if name not in frame.columns], set()
    for column in frame.columns if closed else ():
        if column not in known:
            like = [name for name in free if name.casefold() == column.casefold()]
            text = f"the column is unknown; delete or rename it ({nearest(column, free)})"
            text = text if free else "the column is unknown; delete it"
            text = f"the column is written in other letters; rename it {like[0]}" if like else text
            found.append(Problem(str(path), 1, shown(column)[1:-1], text))
            small |= set(like)
    for column in dict.fromkeys([*spec["required"], *extra]):
        if column not in {*frame.columns, *small}:
            found.append(Problem(str(path), 1, column, "the column is missing; add it"))
    rules = [r for r in [*rules_of_schema(name, extra), *rules] if r.column in frame.columns]
    named = {"USUBJID"} - set(spec.get("may_be_empty", ()))
    filled = (named | set(spec.get("filled", ()))) & set(known)
    columns = {}
    for column in frame.columns.intersection(list(known)):
        checks = [
            pa.Check(_unnamed(rule.holds), error=str(number))
            for number, rule in enumerate(rules)
            if rule.column == column
        ]
        columns[column] = pa.Column(object, checks, nullable=column not in filled)
    try:
        pa.DataFrameSchema(columns).validate(frame.astype(object), lazy=True)
    except pa.errors.SchemaErrors as errors:
        # A rule that tells a row speaks of other columns, too, and of those that are not there.
        rows = frame.reindex(columns=list(dict.fromkeys([*known, *frame.columns]))).fillna("?")
        found += _from_pandera(errors.failure_cases, rows, rules, path)
    if set(spec["unique"]) <= set(frame.columns):
        # An empty cell that must be filled is told already, and is the same as no other one.
        keyed = frame.dropna(subset=[key for key in spec["unique"] if key in filled])
        found += _repeated(keyed, spec["unique"], path)
    return found


def _unnamed(holds):
    """Wrap a predicate: pandera takes a function that is named like a check of its own for that."""
    return lambda cells: holds(cells)


def _from_pandera(cases, rows, rules, path):
    """Turn pandera's failure cases into problems with line, column, value and remedy."""
    for case in cases.itertuples():
        if case.check == "not_nullable":
            column, text, kind = case.column, "the cell is empty; fill it in", ""
        else:
            rule, told = rules[int(case.check)], (case.failure_case, rows.loc[int(case.index)])
            column, text = rule.column, rule.tell(*told)
            kind = rule.kind(*told) if rule.kind else ""
        yield Problem(str(path), int(case.index) + 2, column, text, kind=kind)


def _repeated(frame, keys, path):
    """Tell the rows that share a key with one above, which is taken to be right."""
    first = {}
    repeated = frame.index[frame.duplicated(keys, keep=False) & frame[keys[0]].notna()]
    for index in repeated:
        key = tuple(frame.loc[index, keys].fillna(""))
        if key in first:
            name = " ".join(shown(part)[1:-1] for part in key if part)
            text = f"{name} stands already in line {first[key] + 2}; keep one of the two"
            yield Problem(str(path), index + 2, "+".join(keys), text)
        first.setdefault(key, index)
