"""Everything that can be wrong with a trial folder, found at once and told with its remedy.

Closed JSON schemas (config/schemas) say what one file may hold; pandera finds what is wrong in the
columns and rows of a sheet; this module turns both into lines that a statistician can act on.
"""

import dataclasses
import difflib
import functools
import re
from datetime import date
from pathlib import Path

import pandas as pd
import yaml

SCHEMAS = Path(__file__).parents[2] / "config" / "schemas"


class TrialError(ValueError):
    """A trial folder that can't be run; `problems` holds one line a problem, in order of place."""

    def __init__(self, problems):
        problems = sorted(set(problems), key=lambda p: (p.file, p.line or 0, p.column, p.text))
        self.problems = [str(problem) for problem in problems]
        super().__init__("\n".join(self.problems))

    def brief(self, most=30):
        """Return the first `most` problems, and how many more there are."""
        more = len(self.problems) - most
        rest = [f"... and {more} more; `lungitude check` lists them all"] if more > 0 else []
        return [*self.problems[:most], *rest]


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, and what to do."""

    file: str
    line: int | None
    column: str
    text: str

    def __str__(self):
        """Print as ``file, line n, column C: what; remedy``."""
        place = [self.file]
        if self.line:
            place.append(f"line {self.line}")
        if self.column:
            place.append(f"column {self.column}")
        return f"{', '.join(place)}: {self.text}"


@dataclasses.dataclass(frozen=True)
class Rule:
    """A check of one column.

    Attributes
    ----------
    column : str
        Column that it looks at.
    holds : callable
        Takes the column's filled cells (Series of str), returns a boolean Series.
    tell : callable
        Takes (value, row) of a failing cell, returns the text with its remedy.
    """

    column: str
    holds: object
    tell: object


def nearest(value, known):
    """Return `` did you mean 'x'?`` or the list of what is known."""
    close = difflib.get_close_matches(str(value), [str(item) for item in known], n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(str(item) for item in list(known)[:12])


@functools.cache
def schema(name):
    """Load a schema of config/schemas by name, such as ``config`` or ``sheets/scans``."""
    return yaml.safe_load((SCHEMAS / f"{name}.yaml").read_text(encoding="utf-8"))


# --- YAML files -------------------------------------------------------------------------------


def read_yaml(path, problems):
    """Read a YAML mapping; report what YAML itself lets pass, such as a key given twice."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except FileNotFoundError:
        problems.append(Problem(str(path), None, "", "the file is missing; create it"))
        return None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "not text in UTF-8"
        line = mark.line + 1 if mark else None
        problems.append(Problem(str(path), line, "", f"not valid YAML ({reason}); mend that line"))
        return None
    for line, key in _repeated_keys(tree):
        problems.append(Problem(str(path), line, "", f"key '{key}' is given twice; delete one"))
    if not isinstance(content, dict):
        problems.append(Problem(str(path), None, "", "empty or not a mapping of keys to values"))
        return None
    return content


def _repeated_keys(node):
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item)


def line_of(path, keys):
    """Return the line of a YAML file at which the value under `keys` starts, or None."""
    try:
        node = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return None
    line = None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = [(k, v) for k, v in node.value if k.value == str(key)]
            if not pair:
                return line
            line, node = pair[0][0].start_mark.line + 1, pair[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            node = node.value[key]
            line = node.start_mark.line + 1
    return line


def check_mapping(content, name, path):
    """Check the content of a YAML file against its closed schema.

    Parameters
    ----------
    content : dict
        What was read.
    name : str
        Schema of config/schemas.
    path : path
        File, for the place of each problem.

    Returns
    -------
    list of Problem
    """
    import jsonschema

    # YAML reads 2024-06-30 as a date; the schema speaks of its text.
    validator = jsonschema.Draft202012Validator(schema(name))
    found = []
    for error in validator.iter_errors(dates_as_text(content)):
        where = list(error.absolute_path)
        for extra, text in _told(error):
            keys = [*where, extra] if extra else where
            found.append(Problem(str(path), line_of(path, keys), "", text))
    return found


def _told(error):
    """Yield (key, text) of a jsonschema error, in words."""
    name = ".".join(str(part) for part in error.absolute_path)
    here = f"'{name}'" if name else "the top level"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        for key in sorted(set(error.instance) - set(known)):
            yield key, f"unknown key '{key}' in {here}; {nearest(key, known)}"
    elif error.validator == "required":
        for key in sorted(set(error.validator_value) - set(error.instance)):
            yield None, f"key '{key}' is missing in {here}; add it"
    elif error.validator == "enum":
        known = [item for item in error.validator_value if item is not None]
        yield None, f"{here} is '{error.instance}'; {nearest(error.instance, known)}"
    elif error.validator == "type":
        wanted = error.validator_value
        wanted = wanted if isinstance(wanted, str) else " or ".join(wanted)
        yield None, f"{here} is {error.instance!r}; it must be of type {wanted}"
    elif error.validator in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        word = {
            "minimum": "at least",
            "maximum": "at most",
            "exclusiveMinimum": "above",
            "exclusiveMaximum": "below",
        }[error.validator]
        yield None, f"{here} is {error.instance}; it must be {word} {error.validator_value}"
    elif error.validator == "pattern":
        yield None, f"{here} is '{error.instance}'; it must match {error.validator_value}"
    elif error.validator == "oneOf":
        yield None, f"{here} is {error.instance!r}; give a list, or the word of the schema"
    else:
        yield None, f"{here}: {error.message}"


def dates_as_text(content):
    """Turn the dates that YAML made back into ISO text, at any depth."""
    if isinstance(content, dict):
        return {str(key): dates_as_text(value) for key, value in content.items()}
    if isinstance(content, list):
        return [dates_as_text(value) for value in content]
    return content.isoformat() if isinstance(content, date) else content


# --- Sheets -----------------------------------------------------------------------------------


def read_sheet(path, problems, name):
    """Read a sheet as text, cell by cell; lines of the file are index + 2.

    Returns
    -------
    DataFrame of str
        Missing cells are NaN. Empty frame with the schema's columns if the file can't be read; the
        reason is then in `problems`.
    """
    path = Path(path)
    empty = pd.DataFrame(columns=list(schema(f"sheets/{name}")["properties"]), dtype=str)
    try:
        frame = pd.read_csv(
            path,
            sep="\t",
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
            skip_blank_lines=False,
            quoting=3,
            index_col=False,
            on_bad_lines="error",
        )
    except FileNotFoundError:
        text = f"the file is missing; create it or mend 'sheets: {name}' in config.yaml"
        problems.append(Problem(str(path), None, "", text))
        return empty
    except pd.errors.EmptyDataError:
        text = "the file is empty; it needs at least a header line"
        problems.append(Problem(str(path), None, "", text))
        return empty
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[-1]
        text = f"not a tab-separated table in UTF-8 ({reason}); save it as such"
        problems.append(Problem(str(path), None, "", text))
        return empty
    if len(frame.columns) == 1 and re.search("[,;]", str(frame.columns[0])):
        text = "the header has no tab; separate columns by tabs, not by commas or semicolons"
        problems.append(Problem(str(path), 1, "", text))
        return empty
    repeated = [c for c in frame.columns if re.fullmatch(r".+\.\d+", c) and c[:-2] in frame]
    for column in repeated:
        problems.append(Problem(str(path), 1, column[:-2], "the column is there twice; delete one"))
    return frame.apply(lambda cells: cells.str.strip())


def rules_of_schema(name, extra=()):
    """Return the rules that the schema of a sheet implies, and those of `extra` columns."""
    found = []
    for column, spec in {**schema(f"sheets/{name}")["properties"], **dict(extra)}.items():
        if spec.get("format") == "date":
            found.append(Rule(column, _are_dates, lambda v, row: f"'{v}' is no date; YYYY-MM-DD"))
        if spec["type"] in ("number", "integer"):
            found += _number_rules(column, spec)
        if "enum" in spec:
            found.append(_enum_rule(column, spec["enum"]))
        if "pattern" in spec:
            found.append(_pattern_rule(column, spec))
    return found


def _enum_rule(column, known):
    return Rule(
        column,
        lambda s: s.isin(known),
        lambda v, row: f"'{v}' is unknown; {nearest(v, known)}",
    )


def _pattern_rule(column, spec):
    return Rule(
        column,
        lambda s: s.str.match(spec["pattern"]),
        lambda v, row: f"'{v}' is not allowed; {spec.get('description', spec['pattern'])}",
    )


def _number_rules(column, spec):
    yield Rule(
        column,
        lambda s: numbers(s).notna(),
        lambda v, row: f"'{v}' is no number; write it with a point, missing as an empty cell",
    )
    low, high = spec.get("minimum", -float("inf")), spec.get("maximum", float("inf"))
    unit = f" {spec['unit']}" if spec.get("unit") else ""
    yield Rule(
        column,
        lambda s: numbers(s).between(low, high) | numbers(s).isna(),
        lambda v, row: (
            f"{v} lies outside {low:g} to {high:g}{unit}; mend the value or its declared range"
        ),
    )


def numbers(cells):
    """Turn text into floats; what is no finite number becomes NaN."""
    values = pd.to_numeric(cells, errors="coerce")
    return values.where(values.abs() < float("inf"))


def _are_dates(cells):
    iso = cells.str.fullmatch(r"\d{4}-\d{2}-\d{2}")
    return iso & pd.to_datetime(cells, errors="coerce", format="%Y-%m-%d").notna()


def check_sheet(frame, name, path, rules, extra=()):
    """Check one sheet with pandera, all failures at once.

    Parameters
    ----------
    frame : DataFrame of str
        As `read_sheet` gives it.
    name : str
        Schema under config/schemas/sheets: columns, required and filled ones, unique keys.
    path : path
        File, for the place of each problem.
    rules : list of Rule
        Checks of cells, beside those of the schema.
    extra : mapping
        Further allowed columns and their schema (characteristics of subjects).

    Returns
    -------
    list of Problem
    """
    import pandera.pandas as pa

    spec = schema(f"sheets/{name}")
    known = {**spec["properties"], **dict(extra)}
    found = []
    for column in frame.columns:
        if column not in known:
            text = f"the column is unknown; delete or rename it ({nearest(column, known)})"
            found.append(Problem(str(path), 1, str(column), text))
    for column in [*spec["required"], *(c for c in dict(extra))]:
        if column not in frame.columns:
            found.append(Problem(str(path), 1, column, "the column is missing; add it"))
    rules = [r for r in [*rules_of_schema(name, extra), *rules] if r.column in frame.columns]
    filled = {"USUBJID", *spec.get("filled", ())} & set(known)
    columns = {}
    for column in frame.columns.intersection(list(known)):
        checks = [
            pa.Check(_unnamed(rule.holds), error=str(number))
            for number, rule in enumerate(rules)
            if rule.column == column
        ]
        columns[column] = pa.Column(object, checks, nullable=column not in filled)
    keys = [key for key in spec["unique"] if key in frame.columns]
    whole = pa.DataFrameSchema(columns, unique=keys if len(keys) == len(spec["unique"]) else None)
    try:
        whole.validate(frame.astype(object), lazy=True)
    except pa.errors.SchemaErrors as errors:
        found += _from_pandera(errors.failure_cases, frame, rules, keys, path)
    return found


def _unnamed(holds):
    """Wrap a predicate: pandera takes a function that is named like a check of its own for that."""
    return lambda cells: holds(cells)


def _from_pandera(cases, frame, rules, keys, path):
    """Turn pandera's failure cases into problems with line, column, value and remedy."""
    repeated = set()
    for case in cases.itertuples():
        if case.check == "multiple_fields_uniqueness":
            repeated.add(int(case.index))
        elif case.check == "not_nullable":
            yield Problem(
                str(path), int(case.index) + 2, case.column, "the cell is empty; fill it in"
            )
        elif str(case.check).isdigit():
            row = frame.loc[int(case.index)]
            rule = rules[int(case.check)]
            text = rule.tell(case.failure_case, row)
            yield Problem(str(path), int(case.index) + 2, rule.column, text)
        else:
            yield Problem(str(path), None, str(case.column), f"{case.check}: {case.failure_case}")
    # Of the rows that share a key the first is taken to be right, the others are told.
    first = {}
    for index in sorted(repeated):
        key = tuple(frame.loc[index, keys])
        if key in first:
            text = (
                f"{' '.join(str(k) for k in key)} stands already in line {first[key] + 2}; "
                "keep one of the two"
            )
            yield Problem(str(path), index + 2, "+".join(keys), text)
        else:
            first[key] = index
