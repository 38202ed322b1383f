"""How a journal wants a figure: its width, its smallest text, its fonts and style of p values."""

import functools
from dataclasses import dataclass
from pathlib import Path

import yaml

from lungitude.reporting.results import Absent

PROFILES = Path(__file__).parent / "profiles" / "journals.yaml"
# Text of our figures, in points, before it is enlarged.
SMALLEST = 6.0
DEFAULT_COLUMNS = 2


class TooNarrow(Absent):
    """A figure does not fit the width that its journal and columns give it."""


@dataclass(frozen=True)
class Print:
    """A figure in a journal.

    Attributes
    ----------
    journal : str
    columns : float
    width_mm, height_mm : float
        On paper; the height is the most that it may be.
    scale : float
        How much text, lines and all else are larger than in the report; never below 1.
    fonts : tuple of str
    p : str
        Style of p values.
    widths : tuple of (float, float)
        Columns and mm of the journal.
    """

    journal: str
    columns: float
    width_mm: float
    height_mm: float
    scale: float
    fonts: tuple
    p: str
    widths: tuple

    @property
    def drawn_mm(self):
        """Width at which a figure is drawn before it is enlarged."""
        return self.width_mm / self.scale

    def refuse(self, kind, why):
        """Return the error that says what a figure needs instead."""
        wider = [columns for columns, width in self.widths if width > self.width_mm]
        remedy = (
            f"it needs more columns of '{self.journal}' ({', '.join(f'{c:g}' for c in wider)})"
            if wider
            else "show fewer parameters, visits or arms, or give it no journal"
        )
        if wider == [DEFAULT_COLUMNS]:
            remedy = "it needs two columns"
        return TooNarrow(
            f"{kind} does not fit {self.width_mm:g} mm ({self.journal}, columns {self.columns:g}): "
            f"{why}; {remedy}"
        )


@functools.cache
def profiles():
    """Return the profiles of the file, by name."""
    return yaml.safe_load(PROFILES.read_text(encoding="utf-8"))


def print_of(style):
    """Return the `Print` that the style of a display asks for; None where it names no journal.

    Parameters
    ----------
    style : None, str or dict
        ``journal`` and ``columns`` (1, 1.5 or 2; 2 if absent); a str is a style of p values.

    Raises
    ------
    ValueError
        For an unknown journal, or columns that it does not have.
    """
    if not isinstance(style, dict) or "journal" not in style:
        return None
    name, columns = style["journal"], style.get("columns", DEFAULT_COLUMNS)
    if name not in profiles():
        raise ValueError(f"journal '{name}' is not one of {', '.join(profiles())}")
    profile = profiles()[name]
    if columns not in profile["columns"]:
        known = ", ".join(f"{one:g}" for one in profile["columns"])
        raise ValueError(f"'{name}' has figures over {known} columns, not {columns:g}")
    return Print(
        journal=name,
        columns=columns,
        width_mm=float(profile["columns"][columns]),
        height_mm=float(profile["height_mm"]),
        scale=max(1.0, profile["smallest_pt"] / SMALLEST),
        fonts=tuple(profile["fonts"]),
        p=profile["p"],
        widths=tuple(profile["columns"].items()),
    )


def p_style(style):
    """Return the style of p values that the style of a display asks for, "csr" if none.

    Parameters
    ----------
    style : None, str or dict
        ``p`` of a dict wins over that of its journal.
    """
    if isinstance(style, dict):
        found = print_of(style)
        return style.get("p") or (found.p if found else "csr")
    return style or "csr"
