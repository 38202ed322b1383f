"""What is wrong with a trial folder, as lines that a statistician can act on.

`documents` finds it in YAML files, `sheets` in tables, `trial` and `plans` across both; this module
holds what they share: the problem, its words, and how a file of the trial becomes text.
"""

import dataclasses
import difflib
import functools
import re
from pathlib import Path

import yaml

SCHEMAS = Path(__file__).parents[2] / "config" / "schemas"
SPELT_OUT = 3  # rows with the same problem that get a line each
UNSEEN = {  # as repr writes what looks like a blank or like nothing
    "\\xa0": "no-break space",
    "\\u202f": "narrow no-break space",
    "\\u200b": "space without width",
    "\\ufeff": "byte order mark",
}
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class TrialError(ValueError):
    """A trial folder that can't be run; `problems` holds one line a problem, in order of place.

    What is wrong with the same cell value in many rows is one problem, told at the first of them;
    so is what is written in the same wrong way (`Problem.kind`).
    """

    def __init__(self, problems):
        problems = sorted(set(problems), key=lambda p: (p.file, p.line or 0, p.column, p.text))
        alike = {}
        for problem in problems:
            alike.setdefault(_group(problem), []).append(problem)
        self.problems = []
        for problem in problems:
            group = alike[_group(problem)]
            if len(group) <= SPELT_OUT:
                self.problems.append(str(problem))
            elif problem is group[0]:
                more = f" (and in {len(group) - 1} more {problem.counted}s"
                more += " in the same way" * any(p.text != problem.text for p in group)
                more += f", the last is {group[-1].line})"
                self.problems.append(str(problem) + more)
        super().__init__("\n".join(self.problems))

    def brief(self, folder, most=30):
        """Return the first `most` problems, and how to see how many more there are."""
        more = len(self.problems) - most
        rest = [f"... and {more} more; `lungitude check {folder}` lists them all"] * (more > 0)
        return [*self.problems[:most], *rest]


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, and what to do.

    `counted` is what `line` counts: lines of a text file, or rows of a file that has no lines.
    `kind` is alike where many cells of a column are wrong in the same way, such as dates that are
    all written 31.12.2024; "" where each text is a problem of its own.
    """

    file: str
    line: int | None
    column: str
    text: str
    counted: str = "line"
    kind: str = ""

    def __str__(self):
        """Print as ``file, line n, column C: what; remedy``."""
        place = [self.file]
        if self.line:
            place.append(f"{self.counted} {self.line}")
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
    kind : callable, optional
        Takes the same, returns the `Problem.kind`.
    """

    column: str
    holds: object
    tell: object
    kind: object = None


def _group(problem):
    return problem.file, problem.column, problem.kind or problem.text


def shape(value):
    """Return how a value is written: 5.3 and 12.7 alike, 05APR2021 and 13MAY2021, too."""
    digits = re.sub(r"\d+", "0", value)
    return re.sub(r"[^\W\d_]+", "a", digits) if digits != value else value


def shown(value, most=60):
    """Quote a value in a line: what can't be seen is escaped, what is long is cut."""
    text = str(value)
    quoted = repr(text if len(text) <= most else f"{text[: most - 3]}...").replace("\\\\", "\\")
    for escaped, name in UNSEEN.items():
        quoted = quoted.replace(escaped, f"[{name}]")
    return quoted


def nearest(value, known):
    """Return ``did you mean 'x'?`` or the list of what is known."""
    names = [str(item) for item in known]
    folded = {name.casefold(): name for name in reversed(names)}
    cutoff = 0.6 if len(str(value)) > 2 else 1  # IV is not I written wrong
    close = difflib.get_close_matches(str(value)[:100].casefold(), list(folded), n=1, cutoff=cutoff)
    if close:
        return f"did you mean '{folded[close[0]]}'?"
    if not names:
        return "none is declared"
    return "known: " + ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


@functools.cache
def schema(name):
    """Load a schema of config/schemas by name, such as ``config`` or ``sheets/scans``."""
    return yaml.safe_load((SCHEMAS / f"{name}.yaml").read_text(encoding="utf-8"))


def read_bytes(path, problems, remedy):
    """Return the content of a file, or None and the reason in `problems`.

    Parameters
    ----------
    path : path
    problems : list of Problem
        Is added to.
    remedy : str
        What to do if there is no such file.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        text = f"the file is missing; {remedy}"
    except IsADirectoryError:
        text = f"a folder has the name of the file; move it away, then {remedy}"
    except PermissionError:
        text = "you may not read the file; change its permissions"
    except (OSError, ValueError) as error:  # too long a name, a name with a zero byte, a bad disk
        text = f"the file can't be read ({getattr(error, 'strerror', None) or error}); {remedy}"
    problems.append(Problem(str(path), None, "", text))
    return None


def read_text(path, problems, remedy, encoding=None):
    """Return the text of a file with plain line ends, or None and the reason in `problems`.

    Parameters
    ----------
    path, problems, remedy
        As of `read_bytes`.
    encoding : str, optional
        As Python names it, where the trial declares it; UTF-8 if not.
    """
    data = read_bytes(path, problems, remedy)
    if data is None:
        return None
    line = None
    if not encoding and (data.startswith((*UTF16, b"PK\x03\x04")) or b"\0" in data):
        kind = "in UTF-16" if data.startswith(UTF16) else "no plain text (a workbook, or UTF-16)"
        text = f"the file is {kind}; save it as plain text in UTF-8"
    else:
        try:
            read = data.decode(encoding or "utf-8").removeprefix("\ufeff")
            return read.replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            if re.search(rb"[\x01-\x08\x0e-\x1a]", data):
                text = "the file is no plain text; save it as plain text in UTF-8"
                problems.append(Problem(str(path), None, "", text))
                return None
            byte = f"byte 0x{data[error.start]:02X} is not"
            text = (
                f"{byte} {encoding}; mend 'encoding'"
                if encoding
                else f"{byte} UTF-8 (perhaps Latin-1 or Windows-1252); save the file as UTF-8"
            )
    problems.append(Problem(str(path), line, "", text))
    return None
