"""Random cases for the validation of the imaging: who is drawn, how scanned, and what changes.

A case is a patient of the phantom with two visits: what the second one asks differs from the first
by amounts drawn from both sides of nothing, so that a slope of measured on true change tells what
share of a change is seen. Streams are keyed by the case, so that blocks don't depend on each other.
"""

import dataclasses
import math
from dataclasses import dataclass

from lungitude.phantom import protocols
from lungitude.phantom.record import stream

SEED = 20260404
CASES = 100
PER_BLOCK = 4
BLOCKS = CASES // PER_BLOCK
COLUMNS = "case part visit protocol quantity item measured t1 t0 expected fault".split()

# Uniform ranges of the first visit, in the units of the truth sheet (see `row` for the others).
RANGES = {
    "LUNGVOL_L": (3.5, 8.0),
    "EXPRATIO": (0.50, 0.80),
    "LUNG_HU": (-890.0, -840.0),
    "PI10": (3.2, 4.8),
    "WA": (55.0, 72.0),
    "BV5": (25.0, 50.0),
    "FRACDIM": (1.18, 1.40),
    "LVM": (90.0, 250.0),
    "EF": (30.0, 75.0),
    "SV": (35.0, 110.0),
}
ORGANS = {"trees": ("PI10", "WA", "BV5", "FRACDIM"), "heart": ("LVM", "EF", "SV", "CACS")}
EMPHYSEMA_PCT = (0.5, 40.0)  # log-uniform
FSAD_PCT = (2.0, 25.0)
AGATSTON = (1.0, 2000.0)  # log-uniform
WITHOUT_CALCIUM = 0.2  # share of patients
# Largest change of the second visit, to either side, uniform.
CHANGES = {
    "EMPH_PCT": 4.0,
    "PI10": 0.25,
    "WA": 4.0,
    "BV5": 5.0,
    "FRACDIM": 0.06,
    "LVM": 15.0,
    "EF": 6.0,
    "SV": 10.0,
}
AGATSTON_FACTOR = 1.5  # log-uniform between its inverse and itself
SHALLOWER = 0.92  # volume of the second inspiration, where only that differs


@dataclass(frozen=True)
class HeartProtocol:
    """Label maps of the heart over a cycle: voxel (x, y, z) in mm and number of phases."""

    voxel_mm: tuple
    phases: int = 20


@dataclass(frozen=True)
class CalciumProtocol:
    """A calcium scan: voxel (x, y, z) in mm; z is slice thickness and step; noise in HU."""

    voxel_mm: tuple
    noise_hu: float


# Whole chests. Beside the delivered scans, whose HU are whole, two without noise: as T1 is, and
# rounded.
CHEST = {
    "noiseless": protocols.make("soft", 2.0, 0.0),
    "noiseless, rounded": protocols.make("soft", 2.0, 0.0),
    "soft 25": protocols.make("soft", 2.0, 25.0),
    "sharp 40": protocols.make("sharp", 2.0, 40.0),
    "slices of 3 mm 15": protocols.make("soft", 1.5, 15.0, slice_mm=3.0),
    "drift 25": protocols.make("soft", 2.0, 25.0, drift=True),
}
# Boxes around the root of the right lung.
TREES = {
    "soft 0.7 mm": protocols.make("soft", 0.7, 25.0),
    "soft 1 mm": protocols.make("soft", 1.0, 25.0),
    "soft 1.25 mm": protocols.make("soft", 1.25, 25.0),
    "sharp 1 mm": protocols.make("sharp", 1.0, 40.0),
}
HEART = {
    "0.8 mm": HeartProtocol((0.8,) * 3),
    "1.5 mm": HeartProtocol((1.5,) * 3),
    "1.5 mm, slices of 3 mm": HeartProtocol((1.5, 1.5, 3.0)),
    "1.5 mm, 10 phases": HeartProtocol((1.5,) * 3, 10),
}
CALCIUM = {
    "3 mm, noise 20": CalciumProtocol((0.7, 0.7, 3.0), 20.0),
    "3 mm, noise 25": CalciumProtocol((0.7, 0.7, 3.0), 25.0),
    "3 mm, 0.5 mm in plane, noise 20": CalciumProtocol((0.5, 0.5, 3.0), 20.0),
    "1.5 mm, noise 25": CalciumProtocol((0.7, 0.7, 1.5), 25.0),
}
PARTS = {"chest": CHEST, "trees": TREES, "heart": {**HEART, **CALCIUM}}


def row(case, visit, organs):
    """Return the row of the truth sheet of a case at a visit.

    Parameters
    ----------
    case : int
        From 0.
    visit : {"first", "second"}
        The second differs in the quantities of `CHANGES` and in calcium.
    organs : sequence of str
        Of `ORGANS`, those whose quantities are asked for: solving the others costs time.
    """
    rng = stream(SEED, name(case), "case")
    cells = {column: float(rng.uniform(*ends)) for column, ends in RANGES.items()}
    cells["EMPH_PCT"] = _log_uniform(rng, *EMPHYSEMA_PCT)
    # Diseased lung takes at most 55 %.
    cells["FSAD_PCT"] = float(rng.uniform(FSAD_PCT[0], min(FSAD_PCT[1], 55 - cells["EMPH_PCT"])))
    cells["CACS"] = 0.0 if rng.uniform() < WITHOUT_CALCIUM else _log_uniform(rng, *AGATSTON)
    if visit == "second":
        rng = stream(SEED, name(case), "change")
        for column, most in CHANGES.items():
            cells[column] += float(rng.uniform(-most, most))
        cells["CACS"] *= _log_uniform(rng, 1 / AGATSTON_FACTOR, AGATSTON_FACTOR)
        cells["EMPH_PCT"] = max(cells["EMPH_PCT"], 0.3)
    others = {column for organ in ORGANS if organ not in organs for column in ORGANS[organ]}
    cells = {column: value for column, value in cells.items() if column not in others}
    return {"USUBJID": name(case), "AVISIT": visit, **cells}


def scanned(record, protocol, name):
    """Return the record of a visit as a protocol scans it, with noise of that scan alone."""
    record = protocols.apply(record, protocol)
    return dataclasses.replace(record, avisit=f"{record.avisit}, {name}")


def name(case):
    """Return the identifier of a patient."""
    return f"VALID-{case:04d}"


def _log_uniform(rng, low, high):
    return math.exp(float(rng.uniform(math.log(low), math.log(high))))
