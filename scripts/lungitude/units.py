"""Units of trials: values brought to the unit that is declared, and those that seem in another.

Units are those of pint, and the clinical ones of `CLINICAL`. Nothing is guessed: a unit that is not
known, or does not convert to the declared one, is an error.
"""

import functools
import re
import tokenize
from decimal import Decimal

import numpy as np
import pandas as pd

# What pint does not know, or takes for something else (a point of printers, absorbance units). Each
# is a dimension of its own, so that a score never becomes a length, nor % predicted a %.
CLINICAL = (
    "hounsfield_unit = [attenuation] = HU",
    "agatston_unit = [calcium_score] = AU",
    "score_point = [score] = point = points = score",
    "percent_predicted = [predicted]",
    "z_score = [z_score] = zscore = SDS",
    "heart_beat = [heart_beat] = beat = beats",
    "breath = [breath] = breaths",
    "bpm = heart_beat / minute",
    "pack_year = [pack_year] = pack_years = PY",
    "international_unit = [international_unit] = IU",
    "ppb = 1e-9",
)
# Writings that pint can't read, or would read as something else.
WRITINGS = (
    (r"%\s*pred(icted|\.)?", "percent_predicted"),
    (r"\b10\*(?=-?\d)", "10**"),  # UCUM: 10*9/L
    (r"\b([cdmk]?m)([23])\b", r"\1**\2"),
    (r"\b(mm|cm)\s+(Hg|H2O)\b", r"\1\2"),
    (r"pack[- ]year", "pack_year"),
    (r"^\s*/", "1/"),
)

# Units that are taken for one another in trials of the lungs and heart: how many times the number
# in the first is as large as that in the second. Those of concentrations depend on the substance.
CONFUSED = (
    ("mmHg", "kPa", 7.50062),
    ("cmH2O", "kPa", 10.1972),
    ("cmH2O", "mmHg", 1.35951),
    ("lb", "kg", 2.20462),
    ("cm", "in", 2.54),
    ("mg/dL", "mmol/L", 18.0156),  # glucose
    ("mg/dL", "mmol/L", 38.67),  # cholesterol
    ("µmol/L", "mg/dL", 88.42),  # creatinine
    ("mL/min/mmHg", "mmol/min/kPa", 2.987),  # DLCO
)
POWERS = (1, 2, 3)  # of ten: a lost decimal point, L and mL
FEWEST = 12  # values of a parameter below which nothing can be said of its bulk
FAR, NEAR = 4.0, 2.0  # robust SD: how far a slip lies away, and how near its mended value
FAR_LINEAR = 3.0  # the same without logarithms, where small values of a score are not far
FLOOR = 0.01  # least robust SD, in powers of ten
# What pint raises for text that is no unit, beside errors of its own.
_UNREADABLE = (ArithmeticError, AttributeError, SyntaxError, TypeError, ValueError)


class UnitError(ValueError):
    """A unit that is not known, or does not convert."""


@functools.cache
def registry():
    """Return pint's registry with the clinical units, in decimals: 1450 mL is 1.45 L exactly."""
    import pint

    made = pint.UnitRegistry(non_int_type=Decimal, on_redefinition="ignore")
    for line in CLINICAL:
        made.define(line)
    return made


@functools.cache
def _unit(text):
    """Return (factor, pint unit) of a unit as people write it."""
    import pint

    if "," in text:  # pint takes it for a mark of thousands
        raise UnitError(f"the unit {text!r} is not known")
    written = text
    for pattern, better in WRITINGS:
        written = re.sub(pattern, better, written)
    try:
        parsed = registry().parse_expression(written)
    except (pint.PintError, tokenize.TokenError, *_UNREADABLE):
        parsed = None
    if not hasattr(parsed, "units"):
        raise UnitError(f"the unit {text!r} is not known")
    return parsed.magnitude, parsed.units


def convert(text, unit, wanted):
    """Bring a number from one unit to another.

    Parameters
    ----------
    text : str
        The number.
    unit, wanted : str
        Its unit, and that of the result.

    Returns
    -------
    str
        The number as it stands where both units are written alike.

    Raises
    ------
    UnitError
        For a unit that is not known, or where one does not convert to the other.
    """
    if unit == wanted:
        return text
    import pint

    (factor, had), (divisor, asked) = _unit(unit), _unit(wanted)
    try:
        made = registry().Quantity(Decimal(text) * factor, had).to(asked).magnitude / divisor
    except pint.DimensionalityError:
        raise UnitError(f"{unit!r} does not convert to {wanted!r}") from None
    return repr(float(made)).removesuffix(".0")


def slips(frame):
    """Find values that look as if they were in another unit than the others of their parameter.

    Parameters
    ----------
    frame : DataFrame
        PARAMCD, AVAL (numbers) and AVALU, the declared unit; the index names rows.

    Returns
    -------
    DataFrame
        One row a suspect, with its index: ``median`` of the parameter, ``times`` (how many times
        the value is what it would be) and ``unit``, the other unit, "" for a power of ten.

    Notes
    -----
    On the scale of logarithms, with median and 1.4826 times the median absolute deviation of all
    positive values of the parameter: a suspect lies more than `FAR` of these away from the median,
    and within `NEAR` after it is divided by a power of ten or by a factor of `CONFUSED`. Without
    logarithms, too, it must be `FAR_LINEAR` away. Parameters with fewer than `FEWEST` positive
    values are not looked at.
    """
    found = {}
    for _, rows in frame.loc[frame["AVAL"] > 0].groupby("PARAMCD"):
        if len(rows) < FEWEST:
            continue
        known = _factors(rows["AVALU"].iloc[0])
        values = rows["AVAL"].to_numpy(float)
        logs = np.log10(values)
        centre, spread = _bulk(logs)
        spread = max(spread, FLOOR)
        middle, width = _bulk(values)
        far = np.abs(logs - centre) > FAR * spread
        far &= np.abs(values - middle) > FAR_LINEAR * width
        for index, away in zip(rows.index[far], (logs - centre)[far], strict=True):
            rest = {factor: abs(away - np.log10(factor)) for factor in known}
            factor = min(rest, key=rest.get)
            if rest[factor] <= NEAR * spread:
                found[index] = (10**centre, factor, known[factor])
    return pd.DataFrame.from_dict(found, orient="index", columns=["median", "times", "unit"])


def _bulk(values):
    """Return median and robust SD."""
    centre = np.median(values)
    return centre, 1.4826 * np.median(np.abs(values - centre))


def _factors(unit):
    """Return what a value may be too large by (below 1: too small), with the other unit."""
    known = {10.0**power: "" for step in POWERS for power in (step, -step)}
    for first, second, factor in CONFUSED:
        if unit == second:
            known[factor] = first
        if unit == first:
            known[1 / factor] = second
    return known
