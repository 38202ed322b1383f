"""From a record and a grid to images: T1 (noiseless), labels, and the delivered scan.

T1 is written as ``frame + weight * parenchyma``: the frame is all that is not parenchyma, the
weight its share of a voxel. Parenchyma alone breathes and is diseased, so lesions are counted
against the targets before any image exists.
"""

import dataclasses
import logging

import numpy as np
from scipy import optimize

from . import airways, anatomy, breathing, grids, heart, labels, lesions, painting, raster, vessels
from .grids import Grid, box
from .noise import noise
from .record import draw
from .truth import EMPHYSEMA_BELOW_HU, TRAPPED_BELOW_HU
from .truth import response as truth
from .view import View

__all__ = [
    "Grid",
    "Scan",
    "box",
    "count_lesions",
    "deliver",
    "landmarks",
    "noise",
    "prepare",
    "render",
    "render_box",
    "scan_grid",
    "solve",
    "truth",
]

log = logging.getLogger(__name__)

PHASES = ("insp", "exp")
scan_grid = grids.chest
# Lesions to try, and the largest target (%) for which so many may do: in this order.
_LIST_LENGTHS = {
    "emphysema": ((4500, 20.0), (13500, 40.0), (40500, 100.0)),
    "trapped": ((1500, 30.0), (4500, 50.0), (13500, 100.0)),
}
_SOLVE_STEP_MM = 3.0
_ASKED = 140_000  # voxels that tell how much air is trapped


@dataclasses.dataclass(frozen=True)
class Scan:
    """One phase of one visit.

    `t1` noiseless HU float32; `lobes` codes of `anatomy.LOBES`, 0 outside and in the trachea and
    main bronchi; `covers` the coverage, 0 to 1, of vessels, lumen, emphysema and trapped air;
    `labels` the label maps that were asked for, see `labels.NAMES`.
    """

    record: object
    phase: str
    grid: Grid
    t1: np.ndarray
    lobes: np.ndarray
    covers: dict
    labels: dict = dataclasses.field(default_factory=dict)

    @property
    def lungs(self):
        """The lobes of each lung in one: 1 right, 2 left, uint8."""
        return np.where(self.lobes > 3, 2, self.lobes > 0).astype(np.uint8)


def prepare(row, section):
    """Record of one row of the truth sheet: all solved but the lesions, which are not yet counted.

    Parameters
    ----------
    row, section : dict
        See `record.draw`.
    """
    return solve_organs(solve(draw(row, section)))


def solve_organs(record):
    """Record whose airways, vessels and heart meet its `quantities`."""
    for organ in (airways, vessels, heart):
        record = organ.solve(record)
    return record


def solve(record):
    """Record with the size of the chest and the breathing that meet volume and volume ratio."""
    _, share = _lung_share(record)
    factor = record.lung_volume_l * 1e6 / (share.sum() * _SOLVE_STEP_MM**3)
    # Big lungs are rather long than wide.
    record = dataclasses.replace(record, scale_xy=factor**0.28, scale_z=factor**0.44)
    return dataclasses.replace(record, breath=emptied(record, record.expiration_ratio))


def _lung_share(record):
    """Share of lung in the cells of a reference grid, and its axes x, y, z."""
    step = _SOLVE_STEP_MM
    axes = [np.arange(low, high, step) for low, high in ((-138, 139), (-84, 90), (-130, 131))]
    z, y, x = (
        axis.astype(np.float32) for axis in np.meshgrid(*axes[::-1], indexing="ij", sparse=True)
    )
    return axes, np.clip(0.5 + anatomy.lungs(x, y, z, record.body) / step, 0.0, 1.0)


def emptied(record, ratio):
    """Parameters of the breathing field that leaves `ratio` of the volume of full inspiration.

    Parameters
    ----------
    record : Record
        With the size of the chest solved.
    ratio : float
        Above 0.3, at most 1.
    """
    axes, share = _lung_share(record)
    inside = np.argwhere(share > 0)[::7]
    points = np.stack([axes[2 - axis][inside[:, axis]] for axis in (2, 1, 0)], axis=1)
    points = points * record.scale
    share = share[tuple(inside.T)]

    def breath(kappa):
        return breathing.make(
            kappa,
            anatomy.APEX_MM * record.scale_z,
            anatomy.BASE_MM * record.scale_z,
            anatomy.BACK_MM * record.scale_xy,
            record.scale_xy,
        )

    def excess(kappa):
        moved = breathing.insp_to_exp(breath(kappa), *points.T, tolerance_mm=1e-3)
        shrink = 1.0 / breathing.jacobian(breath(kappa), *moved)
        return float((share * shrink).sum() / share.sum()) - ratio

    return breath(optimize.brentq(excess, 0.0, 2.0, xtol=1e-5))


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """One phase without trapped air; `base` is `painting.healthy`, `target` the scan's grid."""

    view: View
    target: Grid
    base: np.ndarray
    lobes: np.ndarray
    covers: dict
    emphysema_spheres: int


def _draw(record, phase, grid):
    """Paint a phase: in this order, later over earlier."""
    finer, _, _ = grid.slices(record.slice_mm)
    view = View(record, phase, finer)
    painting.chest(view)
    lobes = painting.lungs(view)
    covers = {"vessels": painting.blood_vessels(view)}
    covers["lumen"] = painting.airway_tree(view, lobes)
    painting.table_top(view)
    base = painting.healthy(view)
    covers["emphysema"], spheres = _emphysema(view, base, lobes)
    return _Drawn(view, grid, base, lobes, covers, spheres)


def _finish(drawn, record, trapped=None):
    """Scan of a phase once the record says how much air is trapped; or its coverage, if known."""
    view, covers = drawn.view, drawn.covers
    if trapped is None:
        found = lesions.table(record, "trapped", record.trapped_spheres)
        trapped = view.balls(found["centre"], found["radius"])[0]
    gain, offset = drift(record)
    t1 = raster.compose(
        view.frame,
        view.weight,
        drawn.base,
        view.jacobian(),
        view.every,
        covers["emphysema"],
        trapped,
        view.phase == "exp",
        painting.levels(record),
        np.float32(gain),
        np.float32(offset),
    )
    _, every, weights = drawn.target.slices(record.slice_mm)
    covers = {**covers, "trapped": trapped}
    lobes = drawn.lobes
    if len(weights) > 1:
        t1 = _thick(t1, every, weights)
        covers = {name: _thick(cover, every, weights) for name, cover in covers.items()}
        half = len(weights) // 2
        lobes = np.ascontiguousarray(lobes[half : len(lobes) - half : every])
    return Scan(record, view.phase, drawn.target, t1, lobes, covers)


def _thick(values, every, weights):
    """Mean of thin slices over the thickness of each slice; float32."""
    count = (len(values) - len(weights)) // every + 1
    out = np.zeros((count, *values.shape[1:]), np.float32)
    for number, weight in enumerate(weights):
        out += np.float32(weight) * values[number : number + (count - 1) * every + 1 : every]
    return out


def drift(record):
    """Gain and offset of the scanner's HU, from what it makes of air and of blood."""
    air, blood = anatomy.AIR_HU, anatomy.BLOOD_HU
    gain = 1.0 + (record.blood_offset_hu - record.air_offset_hu) / (blood - air)
    return gain, air + record.air_offset_hu - gain * air


def _draw_to_target(view, kind, critical, target_pct, inside):
    """Coverage of a prefix of a lesion list that makes `target_pct` of the lung count.

    A voxel counts from its critical coverage on, so each lesion's gain is known as it is drawn and
    the drawing stops at the target, or at the end of the list. Returns the coverage, the length of
    the prefix, and the percentage that counts.
    """
    total, count = int(inside.sum()), int((critical < 0).sum())
    stop = target_pct / 100.0 * total
    for length in (n for n, limit in _LIST_LENGTHS[kind] if target_pct <= limit):
        found = lesions.table(view.record, kind, length)
        cover, drawn, reached = view.balls(
            found["centre"], found["radius"], critical, count, round(stop)
        )
        if reached >= stop - 0.001 * total:
            break
    return cover, drawn, 100.0 * reached / total


def _emphysema(view, base, lobes):
    """Coverage of emphysema and the number of spheres; as many as the target needs, if open.

    A record whose target does not fit is a ValueError.
    """
    record = view.record
    if record.emphysema_spheres is not None:
        found = lesions.table(record, "emphysema", record.emphysema_spheres)
        return view.balls(found["centre"], found["radius"])[0], record.emphysema_spheres
    critical = raster.critical_emphysema(
        view.frame,
        view.weight,
        base,
        view.every,
        lobes,
        painting.levels(record),
        np.float32(EMPHYSEMA_BELOW_HU),
    )
    cover, number, reached = _draw_to_target(
        view, "emphysema", critical, record.emphysema_pct, lobes > 0
    )
    _refuse_if_short(record, "EMPH_PCT", record.emphysema_pct, reached, 0.3)
    return cover, number


def _refuse_if_short(record, column, target, reached, tolerance):
    if reached < target - tolerance:
        raise ValueError(
            f"{record.usubjid} {record.avisit}: {column} {target:g} does not fit into "
            f"the lungs beside the rest ({reached:.1f} do); lower it"
        )


def _critical_trapping(drawn):
    """Share of trapped air from which an inspiratory voxel falls below -856 at expiration."""
    view, record = drawn.view, drawn.view.record
    moved = breathing.insp_to_exp(record.breath, *view.coarse_mm, tolerance_mm=1e-2)
    return raster.critical_trapping(
        view.frame,
        view.weight,
        drawn.base,
        view.field(breathing.jacobian(record.breath, *moved)),
        view.every,
        drawn.covers["emphysema"],
        drawn.lobes,
        painting.levels(record),
        np.float32(EMPHYSEMA_BELOW_HU),
        np.float32(TRAPPED_BELOW_HU),
    )


def _render_to_targets(record, voxel_mm):
    """Both phases, with the lesion counts that meet EMPH_PCT and FSAD_PCT.

    Trapped air is counted at inspiration; expiration is blurred by its smaller size and by the
    interpolation that brings it back, so what it shows is measured and the count corrected.
    """
    insp = _draw(record, "insp", scan_grid(record, "insp", voxel_mm))
    record = dataclasses.replace(record, emphysema_spheres=insp.emphysema_spheres)
    exp = _draw(record, "exp", scan_grid(record, "exp", voxel_mm))
    critical = _critical_trapping(insp)
    aim = record.fsad_pct
    every = max(1, int((insp.lobes > 0).sum()) // _ASKED)
    for _ in range(4):
        trapped, number, reached = _draw_to_target(
            insp.view, "trapped", critical, min(aim, 100.0), insp.lobes > 0
        )
        # No change, or nothing left to add: the rest can't be had.
        settled = number == record.trapped_spheres or reached < aim - 0.5
        record = dataclasses.replace(record, trapped_spheres=number)
        scans = {"insp": _finish(insp, record, trapped), "exp": _finish(exp, record)}
        missed = record.fsad_pct - truth(scans, every)["fsad_pct"]
        if settled or abs(missed) < 0.3:
            break
        aim += missed
    _refuse_if_short(record, "FSAD_PCT", record.fsad_pct, record.fsad_pct - missed, 5.0)
    if abs(missed) > 1.0:
        log.warning(
            "%s %s: FSAD_PCT asks for %g, %.1f %% of the lung shows trapped air: edges of "
            "emphysema and thin lung set a least, blood and walls a most",
            record.usubjid,
            record.avisit,
            record.fsad_pct,
            record.fsad_pct - missed,
        )
    return scans


def counted(record):
    """Whether the record holds its lesion counts."""
    return record.emphysema_spheres is not None and record.trapped_spheres is not None


def count_lesions(record, voxel_mm=None):
    """Record with the lesion counts that meet its targets in whole-chest scans.

    Parameters
    ----------
    record : Record
        From `prepare`; one that has its counts is returned as it is.
    voxel_mm : sequence of three float or dict of such by phase, optional
        Voxel of the scans in which the targets hold, instead of the record's.

    Raises
    ------
    ValueError
        The targets don't fit into the lungs.

    Notes
    -----
    The targets are those of the noiseless scan with the record's point spread; neither HU drift,
    thick slices nor a shallower inspiration change the counts.
    """
    if counted(record):
        return record
    plain = dataclasses.replace(
        record, air_offset_hu=0.0, blood_offset_hu=0.0, slice_mm=None, inflation=None
    )
    found = _render_to_targets(plain, voxel_mm)["insp"].record
    return dataclasses.replace(
        record,
        emphysema_spheres=found.emphysema_spheres,
        trapped_spheres=found.trapped_spheres,
    )


def _is_plain(record):
    return (
        record.air_offset_hu == record.blood_offset_hu == 0.0
        and record.slice_mm is None
        and record.inflation is None
    )


def render(record, phases=PHASES, voxel_mm=None, labels=()):
    """Whole-chest images of one visit.

    Parameters
    ----------
    record : Record
        From `prepare`, or one with lesion counts to draw the same anatomy on another grid.
    phases : sequence of str
        ``insp``, ``exp``.
    voxel_mm : sequence of three float or dict of such by phase, optional
        Voxel along x, y, z instead of the record's.
    labels : sequence of str
        Label maps to make, of `labels.NAMES`.

    Returns
    -------
    dict of Scan
        By phase. The records in them hold the lesion counts that met the targets.
    """
    _check(phases, labels)
    if not counted(record) and _is_plain(record):
        scans = _render_to_targets(record, voxel_mm)
    else:
        record = count_lesions(record, voxel_mm)
        scans = {
            phase: _finish(_draw(record, phase, scan_grid(record, phase, voxel_mm)), record)
            for phase in phases
        }
    return {phase: _labelled(scans[phase], labels) for phase in phases}


def render_box(record, phase, grid, labels=()):
    """Image of a part of the chest, with the same anatomy and lesions as the whole.

    Parameters
    ----------
    record : Record
        With lesion counts: of a scan of `render`, or from `count_lesions`.
    phase : str
        ``insp`` or ``exp``.
    grid : Grid
        Any grid along the axes, such as `box` gives.
    labels : sequence of str
        Label maps to make, of `labels.NAMES`.

    Returns
    -------
    Scan
    """
    _check([phase], labels)
    if not counted(record):
        raise ValueError(
            f"{record.usubjid} {record.avisit}: its lesions are not counted; "
            "give the record of a rendered scan, or that of count_lesions"
        )
    return _labelled(_finish(_draw(record, phase, grid), record), labels)


def _check(phases, names):
    unknown = sorted(set(phases) - set(PHASES))
    if unknown:
        raise ValueError(f"phase {unknown[0]!r}: the phantom has insp and exp")
    unknown = sorted(set(names) - set(labels.NAMES))
    if unknown:
        raise ValueError(f"label map {unknown[0]!r}: known are {', '.join(labels.NAMES)}")


def _labelled(scan, names):
    maps = labels.maps(scan.record, scan.phase, scan.grid, names, scan.lobes)
    return dataclasses.replace(scan, labels=maps)


def deliver(scan):
    """Return the scan as a scanner gives it: T1 plus noise, rounded to whole HU, int16."""
    return raster.digitise(
        scan.t1, noise(scan.record, scan.phase, scan.t1.shape), scan.record.noise_hu
    )


def landmarks(record, min_radius_mm=1.2):
    """Vessel forks in the inspiratory and the expiratory scan, two (n, 3) arrays, LPS mm."""
    tree = vessels.tree(record)
    thick = (tree["radius"] >= min_radius_mm) & ~painting.tips(tree) & (tree["parent"] >= 0)
    thick &= np.linalg.norm(tree["p1"] - tree["p0"], axis=1) > 2.0
    forks = tree["p1"][thick]
    forks = forks[anatomy.lungs(*forks.T, record.body) > 3.0] * record.scale
    insp = (
        breathing.map_points(record.inflation, forks, "insp_to_exp")
        if record.inflation
        else (forks)
    )
    return insp, breathing.map_points(record.breath, forks, "insp_to_exp")
