"""YAML files of a trial: read, held against their closed schema, with the line of every value."""

import dataclasses
import functools
import math
import re
from datetime import date
from pathlib import Path

import yaml

from lungitude.checks import Problem, nearest, read_text, schema, shown

# What the parser says, in the words of a person who writes a file.
YAML_SAYS = (
    ("found character '\\t'", "a tab at the begin of a line"),
    ("expected <block end>", "indented unlike the lines above that belong to it"),
    ("mapping values are not allowed", "a second ': ' in a line, or a line indented too far"),
    ("could not find expected ':'", "a key without ': '"),
    ("expected ',' or", "a comma is missing, or [ or { is not closed"),
    ("found unexpected end of stream", "a quotation mark is not closed"),
)
SCALARS = yaml.constructor.SafeConstructor()
DATE = r"\d{4}-\d{2}-\d{2}"
WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "keys with values",
    "null": "null",
}
BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
}
SIZES = {
    "minItems": "at least",
    "maxItems": "at most",
    "minProperties": "at least",
    "minLength": "at least",
}


@dataclasses.dataclass(frozen=True)
class Document:
    """A YAML file, and what is told of its keys.

    Attributes
    ----------
    path : Path
    content : dict
        What holds: that of the file, or with the changes of ``--config``.
    written : dict
        What the file says.
    tree : yaml.Node
        The file as YAML nodes; knows lines.
    """

    path: Path
    content: dict
    written: dict
    tree: object

    def problem(self, keys, text):
        """Return a problem at the value under `keys`."""
        changed = self.content is not self.written
        if changed and keys and _at(self.content, keys) != _at(self.written, keys):
            return Problem(f"{self.path} as changed by --config", None, "", text)
        _, line = self.find(keys)
        return Problem(str(self.path), line, "", text)

    def find(self, keys):
        """Return node and line of the value under `keys`; of what holds it if it is not there."""
        node, line = self.tree, None
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(key)), None)
                if pair is None:
                    return None, line
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                if key >= len(node.value):
                    return None, line
                node = node.value[key]
                line = node.start_mark.line + 1
        return node, line

    def as_written(self, keys):
        """Return a plain value as the file writes it: yes, not True."""
        node, _ = self.find(keys)
        value = _at(self.content, keys)
        if isinstance(node, yaml.ScalarNode) and value == _at(self.written, keys):
            return node.value
        return str(value).lower() if isinstance(value, bool) else str(value)

    def check(self, name):
        """Yield the problems of the content against a closed schema of config/schemas."""
        for error in _validator(name).iter_errors(dates_as_text(self.content)):
            keys = list(error.absolute_path)
            for extra, text in _told(error, self, keys):
                yield self.problem([*keys, extra] if extra else keys, text)


def read(path, problems):
    """Read a YAML mapping; report also what YAML itself lets pass, such as a key given twice.

    Returns
    -------
    Document or None
        None if the file can't be read at all; the reason is then in `problems`.
    """
    path = Path(path)
    text = read_text(path, problems, "create it")
    if text is None:
        return None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        told = list(_oddities(tree))
        unread = tree is None or any(fatal for *_, fatal in told)
        content = None if unread else yaml.constructor.SafeConstructor().construct_document(tree)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        if mark is None and hasattr(error, "position"):
            line = text.count("\n", 0, error.position) + 1
        else:
            line = mark.line + 1 if mark else None
        reason = next((words for start, words in YAML_SAYS if start in reason), reason)
        text = (
            f"not valid YAML ({reason}); mend that line: indent with blanks, and put text that "
            "holds : or # in quotes"
        )
        problems.append(Problem(str(path), line, "", text))
        return None
    except RecursionError:
        text = "an alias (*) refers to itself, or lists are nested too deep; write it out"
        problems.append(Problem(str(path), None, "", text))
        return None
    problems += [Problem(str(path), line, "", text) for line, text, _ in told]
    if any(fatal for *_, fatal in told):
        return None
    if not isinstance(content, dict):
        what = "the file is empty" if content is None else "the file is no mapping"
        text = f"{what}; write one 'key: value' a line"
        problems.append(Problem(str(path), None, "", text))
        return None
    return Document(path, content, content, tree)


def dates_as_text(content):
    """Turn the dates that YAML made back into ISO text, at any depth."""
    if isinstance(content, dict):
        return {str(key): dates_as_text(value) for key, value in content.items()}
    if isinstance(content, list):
        return [dates_as_text(value) for value in content]
    return content.isoformat() if isinstance(content, date) else content


def is_date(text):
    """Whether a text is a day of the years 1900 to 2199, as YYYY-MM-DD."""
    try:
        return (
            bool(re.fullmatch(DATE, text, re.ASCII))
            and 1900 <= date.fromisoformat(text).year < 2200
        )
    except ValueError:
        return False


def is_partial_date(text):
    """Whether a text is such a day, or such a month (YYYY-MM) or year (YYYY)."""
    return bool(re.fullmatch(r"\d{4}(-\d{2}){0,2}", text, re.ASCII)) and is_date(
        text + "-01" * (2 - text.count("-"))
    )


def _oddities(node):
    """Yield (line, text, whether the file can't be read) of what YAML passes or trips over."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield line, f"key {shown(key.value)} is given twice; delete one", False
                seen.add(key.value)
                made = SCALARS.construct_object(key) if key.tag in _ODD_KEYS else key.value
                if str(made) != key.value:
                    text = f"YAML reads the key {key.value or 'that is empty'} as {made}; "
                    yield line, text + f'put it in quotes: "{key.value}"', False
            yield from _oddities(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _oddities(item)
    elif node is not None and node.tag in _CONSTRUCTED:
        try:
            SCALARS.construct_object(node)
        except ValueError as error:
            text = f"{shown(node.value)} can't be read ({error}); mend it, a date is YYYY-MM-DD"
            yield node.start_mark.line + 1, text, True


_ODD_KEYS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "null", "int", "float")}
_CONSTRUCTED = {f"tag:yaml.org,2002:{name}" for name in ("timestamp", "int", "float")}


@functools.cache
def _validator(name):
    """Make a validator that tells 1 from 1.0, knows no infinite number, and looks at dates."""
    import jsonschema

    base = jsonschema.Draft202012Validator
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("date")(lambda value: not isinstance(value, str) or is_date(value))

    def is_number(checker, value):
        return base.TYPE_CHECKER.is_type(value, "number") and math.isfinite(value)

    def is_whole(checker, value):
        return isinstance(value, int) and not isinstance(value, bool)

    types = base.TYPE_CHECKER.redefine("number", is_number).redefine("integer", is_whole)
    made = jsonschema.validators.extend(base, type_checker=types)
    return made(schema(name), format_checker=formats)


def _at(content, keys):
    """Return the value under `keys`, None where there is none."""
    for key in keys:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _told(error, document, keys):
    """Yield (key, text) of a jsonschema error, in words."""
    name = ".".join(str(part) for part in keys)
    here = f"'{name}'" if name else "the top level"
    kind, wanted, value = error.validator, error.validator_value, error.instance
    if "propertyNames" in error.absolute_schema_path:
        remedy = nearest(value, wanted) if kind == "enum" else _allowed(error.schema)
        yield value, f"key {shown(value)} in {here} is not allowed; {remedy}"
    elif kind == "additionalProperties":
        known = error.schema.get("properties", {})
        for key in sorted(set(value) - set(known)):
            yield key, f"unknown key {shown(key)} in {here}; {nearest(key, known)}"
    elif kind == "required":
        for key in sorted(set(wanted) - set(value)):
            yield None, f"key '{key}' is missing in {here}; add it"
    elif kind == "type":
        yield None, _wrong_type(here, document.as_written(keys), value, wanted)
    elif kind == "enum":
        known = [item for item in wanted if item is not None]
        written = document.as_written(keys)
        yield None, f"{here} is {shown(written)}; {nearest(written, known)}"
    elif kind in BOUNDS:
        yield None, f"{here} is {value}; it must be {BOUNDS[kind]} {wanted}"
    elif kind in SIZES:
        unit = "character" if kind == "minLength" else "entry" if wanted == 1 else "entries"
        had = f"has {len(value)}" if value else "is empty"
        yield None, f"{here} {had}; give {SIZES[kind]} {wanted} {unit}"
    elif kind == "pattern":
        yield None, f"{here} is {shown(value)}; {_allowed(error.schema)}"
    elif kind == "format":
        yield None, f"{here} is {shown(value)}; it must be a day of the calendar as YYYY-MM-DD"
    elif kind == "oneOf":
        first = wanted[0]
        words = " or ".join(f"'{word}'" for word in first.get("enum", [first.get("const")]))
        yield None, f"{here} is {shown(value)}; give {words} or a list of names"
    else:
        yield None, f"{here}: {error.message}"


def _allowed(spec):
    """Say in words what a pattern allows; the schema keeps them beside it."""
    return f"write {spec['$comment']}" if "$comment" in spec else f"it must match {spec['pattern']}"


def _wrong_type(here, written, value, wanted):
    wanted = [wanted] if isinstance(wanted, str) else wanted
    words = " or ".join(WORDS[item] for item in wanted)
    if value is None:
        braces = " ({} takes the defaults)" if wanted == ["object"] else ""
        return f"{here} is empty; fill it in{braces} or delete the key"
    if "string" in wanted and isinstance(value, bool | int | float):
        read = "true or false" if isinstance(value, bool) else "a number"
        return f'{here} is {written}, which YAML reads as {read}; put it in quotes: "{written}"'
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d*[.,]?\d+", value):
        return f"{here} is the text {shown(value)}; write {words} such as 1.5, without quotes"
    if wanted == ["array"] and isinstance(value, str):
        return f"{here} is {shown(value)}; it must be a list: [{value[:30]}]"
    return f"{here} is {shown(value)}; it must be {words}"
