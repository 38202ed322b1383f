"""How numbers become text: one rounding function, p values, intervals, missing marks.

Rounding happens here and nowhere else, at the last moment: the results table keeps raw doubles.
Statistics packages differ in what they do with ties (SAS away from zero, R and Python to even, on
binary doubles), so the rule is a decision of the plan, not an accident of the language.
"""

import math
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

NOT_ESTIMATED = "NE"
NOT_APPLICABLE = "\u2013"
ROUNDING = {"half_away": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN}
P_STYLES = ("csr", "jmir", "nejm")


def missing(value):
    """Tell whether a value can't be printed as a number (None, NaN, infinite)."""
    return value is None or not math.isfinite(value)


def number(value, decimals=0, rounding="half_away"):
    """Print a number with fixed decimals.

    Parameters
    ----------
    value : float or None
        Taken by its shortest decimal form, so 2.675 is a tie and not 2.67499999999999982.
    decimals : int
        Digits after the point.
    rounding : {"half_away", "half_even"}
        What a tie becomes; half away from zero as SAS ROUND does.

    Returns
    -------
    str
        "NE" for a value that was not estimated; never "-0.0".

    Raises
    ------
    ValueError
        On an unknown rule.
    """
    if rounding not in ROUNDING:
        raise ValueError(f"rounding {rounding!r}: choose one of {', '.join(ROUNDING)}")
    if missing(value):
        return NOT_ESTIMATED
    exact = Decimal(repr(float(value)))
    text = str(exact.quantize(Decimal(1).scaleb(-int(decimals)), rounding=ROUNDING[rounding]))
    if "E" in text:  # quantize(Decimal("1E+0")) can keep an exponent for zero
        text = f"{Decimal(text):f}"
    return text.removeprefix("-") if not Decimal(text) else text


def count(value):
    """Print a count; a fraction is an error, for a count is never rounded."""
    if missing(value):
        return NOT_ESTIMATED
    if float(value) != int(value):
        raise ValueError(f"a count of {value} is not a whole number; check the results table")
    return str(int(value))


def p_value(p, style="csr", alpha=0.05):
    """Print a p value.

    Parameters
    ----------
    p : float or None
    style : {"csr", "jmir", "nejm"}
        csr: four decimals, <0.0001. jmir: no leading zero, two decimals from .01, three below,
        <.001; more digits where rounding would reach `alpha`. nejm: two decimals from 0.01, three
        below, <0.001.
    alpha : float
        Used by jmir only.

    Raises
    ------
    ValueError
        On an unknown style, or a p outside 0..1.
    """
    if style not in P_STYLES:
        raise ValueError(f"p style {style!r}: choose one of {', '.join(P_STYLES)}")
    if missing(p):
        return NOT_ESTIMATED
    if not 0 <= p <= 1:
        raise ValueError(f"p value {p} is outside 0..1; check the results table")
    if style == "csr":
        return _bounded(p, 4, "0.0001", "0.9999")
    if p < 0.001:
        text = "<0.001"
    elif p < 0.01:
        text = number(p, 3)
    elif p > 0.99:
        text = ">0.99"
    else:
        text = number(p, 2)
    if style == "jmir":
        digits = 2
        while p < alpha and Decimal(text.lstrip("<>")) >= Decimal(repr(alpha)) and digits < 8:
            digits += 1
            text = number(p, digits)
        text = text.replace("0.", ".", 1)
    return text


def _bounded(p, decimals, low, high):
    if p < float(low):
        return f"<{low}"
    return f">{high}" if p > float(high) else number(p, decimals)


def p_phrase(p, style="csr"):
    """Print a p value as part of a sentence, such as "p = 0.0312" or "P<.001"."""
    text = p_value(p, style)
    letter, gap = ("p", " ") if style == "csr" else ("P", "")
    if text[0] in "<>":
        return f"{letter}{gap}{text[0]}{gap}{text[1:]}"
    return f"{letter}{gap}={gap}{text}"


def interval(low, high, decimals=1, rounding="half_away"):
    """Print the limits of an interval; "to" keeps negative limits readable."""
    return f"{number(low, decimals, rounding)} to {number(high, decimals, rounding)}"


def estimate(value, low, high, decimals=1, rounding="half_away"):
    """Print an estimate with its confidence limits, such as "1.2 (0.4 to 2.0)"."""
    if missing(value):
        return NOT_ESTIMATED
    return f"{number(value, decimals, rounding)} ({interval(low, high, decimals, rounding)})"


def analysis_name(method):
    """Name an analysis within a sentence, such as "mixed model"."""
    return {"ancova": "ANCOVA", "mmrm": "MMRM"}.get(method, method.replace("_", " "))


def confidence_label(confidence):
    """Name an interval by its coverage, such as "95% CI"."""
    return f"{Decimal(repr(float(confidence))) * 100:f}".rstrip("0").rstrip(".") + "% CI"
