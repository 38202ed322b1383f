"""What happens to a patient between visits: records of follow-up visits from that of baseline.

A scenario is a function of the baseline record, the arm and the time, and only changes the record:
no structure is drawn anew, so what a scenario leaves alone is the same voxel for voxel, but for the
noise, which is each visit's own.

==============  ====================================================================================
published       the changes of the published trial in the treated arm
null            no change in any arm
inflation       shallower inspiration at follow-up in the treated arm; tissue and its mass unchanged
kernel          another kernel at follow-up in the treated arm
scanner         another scanner for all at follow-up: drift, noise and voxel
wide            patients that differ as much as people do, and the published changes
==============  ====================================================================================
"""

import dataclasses
import math

import numpy as np

from . import airways, heart, protocols, render, vessels
from .record import QUANTITIES, TARGETS, stream

WEEKS = (0.0, 6.0, 12.0)

# Change at 6 and 12 weeks, treated less control, by GOLD grade 1 to 4. Grade 2 and 3 of vessels and
# heart, and the range of emphysema, are published; the rest stands in figures only and is assumed.
PUBLISHED = {
    "emphysema_pct": ((-0.5, -1.3), (-1.3, -3.0), (-1.5, -3.5), (-0.8, -1.8)),
    "wa_pct": ((-0.4, -1.0), (-1.0, -2.2), (-1.0, -2.2), (-0.4, -1.1)),
    "pi10_mm": ((-0.02, -0.06), (-0.06, -0.13), (-0.06, -0.13), (-0.03, -0.07)),
    "bv5_pct": ((0.5, 1.3), (1.2, 3.1), (1.0, 2.8), (0.4, 1.2)),
    "fractal_dimension": ((0.005, 0.02), (0.02, 0.05), (0.015, 0.04), (0.005, 0.015)),
    "ef_pct": ((0.6, 1.3), (1.4, 3.5), (1.3, 3.0), (0.5, 1.2)),
    "sv_ml": ((1.0, 2.0), (2.4, 5.0), (2.0, 4.0), (0.8, 1.6)),
    "lvm_g": ((0.0, -2.5), (0.0, -7.0), (0.0, -6.0), (0.0, -2.5)),
}
INFLATION_RATIO = 0.92
NEW_KERNEL = protocols.KERNELS["sharp"]
NEW_KERNEL_NOISE = 2.0  # times the noise before
NEW_SCANNER = {"voxel": 1.25, "noise": 1.5}  # times what it was
# Standard deviations between patients beyond those of the sheet; of volumes, of the logarithm.
WIDE = {
    "lung_volume_l": 0.15,
    "emphysema_pct": 0.5,
    "wa_pct": 4.0,
    "pi10_mm": 0.3,
    "bv5_pct": 5.0,
    "fractal_dimension": 0.05,
    "ef_pct": 8.0,
    "sv_ml": 14.0,
    "lvm_g": 25.0,
}
_LOGARITHMIC = ("lung_volume_l", "emphysema_pct")
_LIMITS = {name: ends for name, *ends in (*TARGETS.values(), *QUANTITIES.values())}
_ORGANS = {
    airways: ("pi10_mm", "wa_pct"),
    vessels: ("bv5_pct", "fractal_dimension"),
    heart: ("ef_pct", "sv_ml", "lvm_g"),
}


def visit(baseline, scenario, treated, weeks, grade=2, avisit=None):
    """Record of one visit.

    Parameters
    ----------
    baseline : Record
        Of `render.prepare`, at full inspiration. Give one that holds lesion counts: else they are
        found here, at each call, in the baseline's protocol.
    scenario : str
        One of `SCENARIOS`.
    treated : bool
        Whether the patient is in the treated arm.
    weeks : float
        Since baseline; effects grow from 0 over 6 to 12 weeks and stay. 0 gives the baseline
        itself, which scenario ``wide`` changes, too.
    grade : int
        GOLD grade, 1 to 4: the size of the published effects.
    avisit : str, optional
        Name of the visit; else ``Baseline`` or such as ``Week 6``.

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        Unknown scenario or grade; time before baseline; a baseline that is not at full inspiration.
    """
    whom = f"{baseline.usubjid} {baseline.avisit}"
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario {scenario!r}: known are {', '.join(SCENARIOS)}")
    if grade not in (1, 2, 3, 4):
        raise ValueError(f"{whom}: GOLD grade {grade!r}; expected 1, 2, 3 or 4")
    if not (math.isfinite(weeks) and weeks >= 0):
        raise ValueError(f"{whom}: {weeks!r} weeks after baseline; expected 0 or more")
    if baseline.inflation is not None:
        raise ValueError(f"{whom}: the baseline must be at full inspiration")
    record = SCENARIOS[scenario](render.count_lesions(baseline), bool(treated), float(weeks), grade)
    name = avisit or (f"Week {weeks:g}" if weeks else baseline.avisit)
    return dataclasses.replace(record, avisit=name)


def null(record, treated, weeks, grade):
    """Change nothing."""
    return record


def published(record, treated, weeks, grade):
    """Apply the published trial's changes in the treated arm."""
    if not treated or weeks == 0:
        return record
    changes = {
        name: float(np.interp(weeks, WEEKS, (0.0, *sizes[grade - 1])))
        for name, sizes in PUBLISHED.items()
    }
    return _changed(record, changes)


def inflation(record, treated, weeks, grade):
    """Inspire to `INFLATION_RATIO` of the volume at follow-up in the treated arm."""
    if not treated or weeks == 0:
        return record
    field = render.emptied(record, INFLATION_RATIO)
    return dataclasses.replace(record, inflation=field, inflation_ratio=INFLATION_RATIO)


def kernel(record, treated, weeks, grade):
    """Take a sharp kernel at follow-up in the treated arm."""
    if not treated or weeks == 0:
        return record
    return dataclasses.replace(
        record,
        kernel=NEW_KERNEL.name,
        kernel_sigma_mm=NEW_KERNEL.sigma_mm,
        noise_cutoff=NEW_KERNEL.cutoff,
        noise_hu=NEW_KERNEL_NOISE * record.noise_hu,
    )


def scanner(record, treated, weeks, grade):
    """Take another scanner for all at follow-up."""
    if weeks == 0:
        return record
    voxels = {
        name: value and tuple(NEW_SCANNER["voxel"] * mm for mm in value)
        for name, value in (
            ("voxel_mm", record.voxel_mm),
            ("expiration_voxel_mm", record.expiration_voxel_mm),
        )
    }
    return dataclasses.replace(
        record,
        **voxels,
        noise_hu=NEW_SCANNER["noise"] * record.noise_hu,
        air_offset_hu=record.air_offset_hu + protocols.AIR_DRIFT_HU,
        blood_offset_hu=record.blood_offset_hu + protocols.BLOOD_DRIFT_HU,
    )


def wide(record, treated, weeks, grade):
    """Apply the published changes to patients who differ more, each from the start."""
    rng = stream(record.seed, record.usubjid, "wide")
    departures = {name: sd * float(rng.standard_normal()) for name, sd in WIDE.items()}
    changes = {name: step for name, step in departures.items() if name not in _LOGARITHMIC}
    for name in _LOGARITHMIC:
        changes[name] = getattr(record, name) * math.expm1(departures[name])
    return published(_changed(record, changes), treated, weeks, grade)


SCENARIOS = {
    "published": published,
    "null": null,
    "inflation": inflation,
    "kernel": kernel,
    "scanner": scanner,
    "wide": wide,
}


def _changed(record, changes):
    """Record with targets and quantities changed, kept in their ranges, and solved again."""
    quantities, targets = dict(record.quantities), {}
    for organ, names in _ORGANS.items():
        if any(name in changes and name not in quantities for name in names):
            now = organ.truth(record)  # what was not asked for is what the anatomy happens to be
            for name in names:
                quantities.setdefault(name, float(now[name]))
    for name, change in changes.items():
        low, high = _LIMITS[name]
        if name in quantities:
            quantities[name] = float(np.clip(quantities[name] + change, low, high))
        else:
            targets[name] = float(np.clip(getattr(record, name) + change, low, high))
    record = dataclasses.replace(record, quantities=quantities, **targets)
    if "lung_volume_l" in targets:
        record = render.solve(record)
    if targets:
        record = dataclasses.replace(record, emphysema_spheres=None, trapped_spheres=None)
        record = render.count_lesions(record)
    return render.solve_organs(record)
