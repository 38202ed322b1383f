"""Hearts over a cycle, from label maps, and coronary calcium."""

import dataclasses

import numpy as np
from scipy import ndimage

from lungitude.biomarkers.agatston import agatston
from lungitude.biomarkers.ventricle import ventricle
from lungitude.phantom import calcium, cardiac, heart, render
from lungitude.validation.imaging_cases import CALCIUM, HEART, row

VENTRICLE = "edv_ml esv_ml sv_ml ef_pct lvm_g rv_edv_ml rv_ef_pct".split()
SECOND = ("1.5 mm", "3 mm, noise 20")  # the protocols of the second visit
_MARGIN_MM = 4.5


def measure(rows):
    """Add the rows of one case."""
    for visit in ("first", "second"):
        record = render.prepare(row(rows.case, visit, ("heart",)), {})
        for name, protocol in HEART.items():
            if visit == "first" or name in SECOND:
                rows.attempt(visit, name, _ventricle, rows, visit, name, protocol, record)
        for name, protocol in CALCIUM.items():
            if visit == "first" or name in SECOND:
                rows.attempt(visit, name, _calcium, rows, visit, name, protocol, record)


def _ventricle(rows, visit, protocol_name, protocol, record):
    truth = heart.truth(record)
    grid = _ventricles_box(record, protocol.voxel_mm)
    phases = np.arange(protocol.phases) / protocol.phases
    maps = [grid.image(cardiac.labels(record, float(phase), grid)) for phase in phases]
    found = ventricle(maps).iloc[0]
    for name in VENTRICLE:
        rows.add(visit, protocol_name, name, found[name], t0=truth[name])


def _ventricles_box(record, voxel_mm):
    """Grid around the ventricles; at end-diastole they are largest, and the apex stays."""
    coarse = cardiac.heart_grid(record, (3.0,) * 3)
    labels = cardiac.labels(record, 0.0, coarse)
    ventricles = np.isin(labels, (1, 2, 3)).astype(np.uint8)
    (box,) = ndimage.find_objects(ventricles)
    low, high = (
        np.array(coarse.origin_mm) + np.array(coarse.spacing_mm) * [place(p) for p in box[::-1]]
        for place in (lambda part: part.start, lambda part: part.stop - 1)
    )
    return render.box(low - _MARGIN_MM, high + _MARGIN_MM, voxel_mm)


def _calcium(rows, visit, protocol_name, protocol, record):
    seen = dataclasses.replace(record, avisit=f"{record.avisit}, {protocol_name}")  # keys noise
    scan = cardiac.calcium_scan(seen, cardiac.heart_grid(seen, protocol.voxel_mm))
    mask = scan.grid.image(cardiac.coronary_labels(record, scan.cycle, scan.grid))
    delivered = scan.grid.image(cardiac.deliver(scan, protocol.noise_hu))
    found, exact = (
        agatston(image, mask).iloc[0] for image in (delivered, scan.grid.image(scan.t1))
    )
    truth = calcium.truth(record)
    for name, column, t0 in (
        ("agatston", "score", record.quantities["agatston"]),
        ("calcium_volume_mm3", "volume_mm3", truth["calcium_mm3"]),
        ("calcium_mass_mg", "mass_mg", truth["calcium_mg"]),
        ("calcium_integrated_mg", "integrated_mass_mg", truth["calcium_mg"]),
    ):
        rows.add(visit, protocol_name, name, found[column], t1=exact[column], t0=t0)
