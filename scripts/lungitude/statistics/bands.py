"""Verbal bands of correlations and coefficients of agreement, each with its source."""

import numbers

import numpy as np

# A limit belongs to the band above or below it as its source says; between printed bands
# such as 0.39 and 0.40 the limit is the first number of the upper band.
SCALES = {
    "icc": {
        "source": "Koo & Li 2016, J Chiropr Med 15:155-163",
        "limits": [0.5, 0.75, 0.9],
        "labels": ["poor", "moderate", "good", "excellent"],
        "at_limit": ["above", "above", "below"],
    },
    "kappa": {
        "source": "Landis & Koch 1977, Biometrics 33:159-174",
        "limits": [0.0, 0.2, 0.4, 0.6, 0.8],
        "labels": ["poor", "slight", "fair", "moderate", "substantial", "almost perfect"],
        "at_limit": ["above", "below", "below", "below", "below"],
    },
    "kappa_kundel": {
        "source": "Kundel & Polansky 2003, Radiology 228:303-308",
        "limits": [0.2, 0.4, 0.6, 0.8],
        "labels": ["slight", "fair", "moderate", "good", "excellent"],
        "at_limit": "below",
    },
    "r": {
        "source": "Schober, Boer & Schwarte 2018, Anesth Analg 126:1763-1768",
        "limits": [0.1, 0.4, 0.7, 0.9],
        "labels": ["negligible", "weak", "moderate", "strong", "very strong"],
        "at_limit": "above",
        "absolute": True,
    },
    "r_evans": {
        "source": "Evans 1996, Straightforward Statistics for the Behavioral Sciences",
        "limits": [0.2, 0.4, 0.6, 0.8],
        "labels": ["very weak", "weak", "moderate", "strong", "very strong"],
        "at_limit": "above",
        "absolute": True,
    },
}


def verbal_band(value, scale, interval=None):
    """Name the band of a coefficient.

    Parameters
    ----------
    value : float
        As estimated, not rounded. For a cautious word give the lower limit of the interval.
    scale : str or mapping
        Name in `SCALES` (icc, kappa, kappa_kundel, r, r_evans), or a mapping of the same form, as
        from a configuration: source, limits (ascending), labels (one more than limits), at_limit
        (``above`` or ``below``, or one for each limit: the band of a value equal to the limit;
        default above), absolute (bands of the size, whatever the sign; default false).
    interval : (float, float), optional
        Confidence limits: the words of both ends, as Koo & Li ask for the ICC
        (``moderate to good``; one word where they are the same).

    Returns
    -------
    str
        Empty for NaN.

    Raises
    ------
    ValueError
        A value above 1 (of absolute size above 1 where only the size counts), a scale that is
        unknown or does not hold together.
    """
    limits, labels, sides, absolute = _scale(scale)

    def word(number):
        if not isinstance(number, numbers.Real):
            raise ValueError(f"verbal_band: {number!r} is no number")
        size = abs(number) if absolute else number
        if size > 1 + 1e-12:
            raise ValueError(f"verbal_band: {number} is beyond 1")
        if np.isnan(size):
            return ""
        passed = [
            size > limit or (size == limit and side == "above")
            for limit, side in zip(limits, sides, strict=True)
        ]
        return labels[sum(passed)]

    if interval is None:
        return word(value)
    low, high = sorted(interval)
    if absolute and low < 0 < high:  # the size of r reaches down to 0 within the interval
        low, high = 0.0, max(-low, high)
    elif absolute:
        low, high = sorted((abs(low), abs(high)))
    words = [word(end) for end in (low, high)]
    return words[0] if words[0] == words[1] else " to ".join(filter(None, words))


def _scale(scale):
    if isinstance(scale, str):
        if scale not in SCALES:
            raise ValueError(f"verbal_band: scale {scale!r} is not one of {', '.join(SCALES)}")
        scale = SCALES[scale]
    absent = [key for key in ("source", "limits", "labels") if not scale.get(key)]
    if absent:
        raise ValueError(f"verbal_band: the scale has no {', '.join(absent)}")
    limits, labels = list(scale["limits"]), list(scale["labels"])
    sides = scale.get("at_limit", "above")
    sides = [sides] * len(limits) if isinstance(sides, str) else list(sides)
    if limits != sorted(set(limits)) or len(labels) != len(limits) + 1:
        raise ValueError(
            "verbal_band: the scale needs ascending limits and one label more than limits"
        )
    if len(sides) != len(limits) or not set(sides) <= {"above", "below"}:
        raise ValueError("verbal_band: at_limit is above or below, once or for each limit")
    return limits, labels, sides, bool(scale.get("absolute", False))
