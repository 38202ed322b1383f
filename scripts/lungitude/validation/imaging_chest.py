"""Whole chests: density, parametric response, calibration, and the volume adjustment."""

import dataclasses

import numpy as np
from scipy import ndimage

from lungitude import segmentation
from lungitude.biomarkers.calibration import apply, internal_calibration
from lungitude.biomarkers.clusters import clusters
from lungitude.biomarkers.parenchyma import adjusted, parenchyma
from lungitude.biomarkers.prm import prm
from lungitude.phantom import render, truth
from lungitude.validation.imaging_cases import CHEST, SHALLOWER, row, scanned

DENSITY = "mass_g mld_hu laa950_pct laa910_pct laa856_pct perc15_hu perc85_hu".split()
CALIBRATED = ("mld_hu", "perc15_hu", "laa950_pct")
CLASSES = ("normal", "fsad", "emphysema")
EXACT, SECOND = "noiseless", "soft 25"  # without rounding; the protocol of the second visit
DRIFT = "drift 25"
SEGMENTED = (SECOND,)
RESPONSE = (EXACT, SECOND)


def measure(rows):
    """Add the rows of one case."""
    first = render.count_lesions(render.prepare(row(rows.case, "first", ("trees",)), {}))
    scans = Scans(first)
    for name in CHEST:
        rows.attempt("first", name, _density, rows, "first", name, scans)
        if name in RESPONSE:
            rows.attempt("first", name, _response, rows, name, scans)
    if DRIFT in CHEST:
        rows.attempt("first", DRIFT, _calibrated, rows, scans)
    for name in (EXACT, SECOND):
        rows.attempt("first", name, _shallow, rows, name, scans)
    # Of the lung, only the emphysema is changed: trapped air is that of the first visit.
    second = render.count_lesions(render.prepare(row(rows.case, "second", ("trees",)), {}))
    second = dataclasses.replace(second, trapped_spheres=first.trapped_spheres)
    rows.attempt("second", SECOND, _density, rows, "second", SECOND, Scans(second))


class Scans:
    """Scans of one visit; protocols that only differ in noise share what is drawn."""

    def __init__(self, record):
        self.record, self.drawn, self.moved = record, {}, None

    def get(self, name, phase="insp"):
        """Return the scan of a protocol, in `t1` without noise."""
        record = scanned(self.record, CHEST[name], name)
        key = (phase, record.voxel_mm, record.slice_mm, record.kernel, record.air_offset_hu)
        if key not in self.drawn:
            self.drawn[key] = render.render(record, (phase,))[phase]
        return dataclasses.replace(self.drawn[key], record=record)


def delivered(name, scan):
    """Return the HU of a scan as an image, and its lungs."""
    hu = scan.t1 if name == EXACT else render.deliver(scan)
    return scan.grid.image(hu), scan.grid.image(scan.lobes)


def _density(rows, visit, name, scans):
    scan = scans.get(name)
    ct, mask = delivered(name, scan)
    found, exact = parenchyma(ct, mask).iloc[0], truth.density(scan)
    noise = scan.record.noise_hu
    expected = {} if name == EXACT else truth.density(scan, noise, rounded=True)
    # Emphysema of the geometry holds its blurred rim, which is denser than -950 HU.
    spheres = truth.geometric(scan.record)["emphysema_pct"] if name == EXACT else None
    for quantity in DENSITY:
        rows.add(
            visit,
            name,
            quantity,
            found[quantity],
            t1=exact[quantity],
            expected=expected.get(quantity),
            t0=spheres if quantity == "laa950_pct" else None,
        )
    volume = {"t1": exact["volume_ml"], "t0": 1000.0 * scan.record.lung_volume_l}
    rows.add(visit, name, "volume_ml", found["volume_ml"], **volume)
    d, d_exact = (
        clusters(image, mask)["cluster_exponent"][0] for image in (ct, scan.grid.image(scan.t1))
    )
    rows.add(visit, name, "cluster_exponent", d, t1=d_exact)
    if name in SEGMENTED and visit == "first":
        own = parenchyma(ct, segmentation.lungs(ct))["volume_ml"][0]
        rows.add(visit, name, "volume_segmented_ml", own, **volume)


def _calibrated(rows, scans):
    """Air and blood set the scale of a scan with drift; what is expected is that without drift."""
    scan = scans.get(DRIFT)
    ct, mask = delivered(DRIFT, scan)
    found = parenchyma(apply(ct, internal_calibration(ct)), mask).iloc[0]
    straight = scans.get(SECOND)
    exact = truth.density(straight)
    expected = truth.density(straight, straight.record.noise_hu, rounded=True)
    for quantity in CALIBRATED:
        rows.add(
            "first", DRIFT, f"calibrated_{quantity}", found[quantity],
            t1=exact[quantity], expected=expected[quantity],
        )  # fmt: skip


def _response(rows, name, scans):
    insp, exp = scans.get(name), scans.get(name, "exp")
    inside = insp.lobes > 0
    if scans.moved is None:
        index = np.argwhere(inside)[:, ::-1]
        points = np.array(insp.grid.origin_mm) + index * np.array(insp.grid.spacing_mm)
        moved = truth.map_points(scans.record, "insp", scans.record, "exp", points)
        scans.moved = exp.grid.index(moved).T

    def onto(values):
        warped = np.zeros(inside.shape, np.float32)
        values = values.astype(np.float32)
        warped[inside] = ndimage.map_coordinates(values, scans.moved, order=1, mode="nearest")
        return insp.grid.image(warped)

    ct, mask = delivered(name, insp)
    found = prm(ct, onto(exp.t1 if name == EXACT else render.deliver(exp)), mask).iloc[0]
    exact = truth.response({"insp": insp, "exp": exp})
    for label in CLASSES:
        rows.add("first", name, f"prm_{label}_pct", found[f"{label}_pct"], t1=exact[f"{label}_pct"])


def _shallow(rows, name, scans):
    """Only the inspiration is shallower: what raw and volume-adjusted density make of it."""
    field = render.emptied(scans.record, SHALLOWER)
    less = Scans(dataclasses.replace(scans.record, inflation=field))
    one, two = (parenchyma(*delivered(name, each.get(name))).head(1) for each in (scans, less))
    two = adjusted(two, float(one["volume_ml"][0]))
    before = one["pd15_g_l"][0]
    for quantity, column in (("raw", "pd15_g_l"), ("adjusted", "pd15_adj_g_l")):
        rows.add("first", name, f"shallow_pd15_{quantity}_g_l", two[column][0] - before, t0=0.0)
