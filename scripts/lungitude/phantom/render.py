"""From a record and a grid to images: T1 (noiseless), labels, and the delivered scan.

T1 is written as ``frame + weight * parenchyma``: the frame is all that is not parenchyma, the
weight its share of a voxel. Parenchyma alone breathes and is diseased, so lesions are counted
against the targets before any image exists.
"""

import dataclasses
import logging
import math

import numpy as np
from scipy import fft, ndimage, optimize, special

from . import anatomy, breathing, raster
from .record import draw, stream

log = logging.getLogger(__name__)

EMPHYSEMA_BELOW_HU, TRAPPED_BELOW_HU = -950.0, -856.0
_COARSE_MM = 4.0
_MARGIN_MM = 18.0
# Lesions to prepare, and the largest target (%) for which so many may do: tried in this order.
_LIST_LENGTHS = {
    "emphysema": ((4500, 20.0), (13500, 40.0), (40500, 100.0)),
    "trapped": ((1500, 30.0), (4500, 50.0), (13500, 100.0)),
}


@dataclasses.dataclass(frozen=True)
class Grid:
    """Voxel centres: origin and spacing along x, y, z in LPS mm; shape (z, y, x)."""

    origin_mm: tuple
    spacing_mm: tuple
    shape: tuple

    def axes(self):
        """Coordinates of the voxel centres along x, y, z."""
        return tuple(
            o + s * np.arange(n)
            for o, s, n in zip(self.origin_mm, self.spacing_mm, self.shape[::-1], strict=True)
        )

    def coarse(self):
        """Grid over the same voxels for smooth fields, and the step ratio along z, y, x."""
        every = [max(1, math.floor(_COARSE_MM / s + 1e-6)) for s in self.spacing_mm]
        shape = tuple((n - 1) // e + 2 for n, e in zip(self.shape, every[::-1], strict=True))
        spacing = tuple(s * e for s, e in zip(self.spacing_mm, every, strict=True))
        return Grid(self.origin_mm, spacing, shape), tuple(1.0 / e for e in every[::-1])


@dataclasses.dataclass(frozen=True)
class Scan:
    """One phase of one visit.

    `t1` noiseless HU float32; `lobes` codes of `anatomy.LOBES`, 0 outside and in the trachea and
    main bronchi; `covers` the coverage, 0 to 1, of vessels, lumen, emphysema and trapped air.
    """

    record: object
    phase: str
    grid: Grid
    t1: np.ndarray
    lobes: np.ndarray
    covers: dict


def solve(record):
    """Record with the size of the chest and the breathing that meet volume and volume ratio."""
    step = 4.0
    axes = [np.arange(low, high, step) for low, high in ((-138, 139), (-84, 90), (-130, 131))]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij", sparse=True)
    between = anatomy.mediastinum(x, y, z, record.body)
    depth = np.maximum(*(anatomy.lung(x, y, z, side, record.body, between) for side in (-1, 1)))
    share = np.clip(0.5 + depth / step, 0.0, 1.0)
    factor = record.lung_volume_l * 1e6 / (share.sum() * step**3)
    # Big lungs are rather long than wide.
    record = dataclasses.replace(record, scale_xy=factor**0.28, scale_z=factor**0.44)

    inside = np.argwhere(share > 0)[::3]
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
        return float((share * shrink).sum() / share.sum()) - record.expiration_ratio

    kappa = optimize.brentq(excess, 0.0, 2.0, xtol=1e-5)
    return dataclasses.replace(record, breath=breath(kappa))


def scan_grid(record, phase, voxel_mm=None):
    """Grid of a whole-chest scan: fixed field of view, from below the lung bases to the apices."""
    spacing = tuple(voxel_mm or record.voxel_mm)
    top = anatomy.APEX_MM * record.scale_z + _MARGIN_MM
    bottom = anatomy.BASE_MM * record.scale_z
    if phase == "exp":
        bottom = float(breathing.insp_to_exp(record.breath, 0.0, 40.0, bottom)[2])
    bottom -= _MARGIN_MM
    counts = [
        round(side / step) for side, step in zip(record.field_of_view_mm, spacing[:2], strict=True)
    ]
    counts.append(math.ceil((top - bottom) / spacing[2]))
    # The field of view is centred between chest and table, as a technologist would.
    x0 = -0.5 * (counts[0] - 1) * spacing[0]
    y0 = 8.0 - 0.5 * (counts[1] - 1) * spacing[1]
    z0 = round(float(bottom), 1)
    return Grid((x0, y0, z0), spacing, (counts[2], counts[1], counts[0]))


class _View:
    """One phase on one grid: which point of the anatomy each voxel shows, and painted tissue."""

    def __init__(self, record, phase, grid):
        self.record, self.phase, self.grid = record, phase, grid
        self.coarse, self.ratio = grid.coarse()
        # Gaussian point spread and the voxel's own box, which has variance h^2 / 12.
        voxel = float(np.prod(grid.spacing_mm)) ** (1.0 / 3.0)
        self.sigma_mm = math.sqrt(record.kernel_sigma_mm**2 + voxel**2 / 12.0)
        self.coarse_mm = self._anatomy_of(self.coarse)
        self.coarse_reference = tuple(
            p / scale for p, scale in zip(self.coarse_mm, record.scale, strict=True)
        )
        self.between = anatomy.mediastinum(*self.coarse_reference, record.body)
        self.voxel_mm = tuple(
            np.ascontiguousarray(np.broadcast_to(p, grid.shape), np.float32)
            for p in self._anatomy_of(grid)
        )
        self.frame = np.full(grid.shape, anatomy.AIR_HU, np.float32)
        self.weight = np.zeros(grid.shape, np.float32)

    def _anatomy_of(self, grid):
        x, y, z = grid.axes()
        x, y, z = x[None, None, :], y[None, :, None], z[:, None, None]
        if self.phase == "exp":
            return breathing.exp_to_insp(self.record.breath, x, y, z)
        return x, y, z

    def at_voxels(self, coarse):
        """Coarse field at the voxels."""
        full = np.ascontiguousarray(np.broadcast_to(coarse, self.coarse.shape), np.float32)
        return raster.upsample(full, self.grid.shape, self.ratio)

    def depth(self, function, *more):
        """Depth of a structure at the voxels, in mm of this scan near its surface."""
        return self.at_voxels(self.distance(function(*self.coarse_reference, *more)))

    def distance(self, depth):
        """Depth on the coarse grid divided by its slope: millimetres of this scan."""
        depth = np.broadcast_to(depth, self.coarse.shape).astype(np.float32)
        slopes = np.gradient(depth, *self.coarse.spacing_mm[::-1])
        steep = np.sqrt(sum(slope * slope for slope in slopes))
        return depth / np.clip(steep, 0.4, 3.0)

    def _boxes(self, low, high, reach):
        """Index boxes of structures between two anatomical corners, with a margin."""
        if self.phase == "exp":
            ends = [
                np.stack(breathing.insp_to_exp(self.record.breath, *p.T, tolerance_mm=1e-2), 1)
                for p in (low, high)
            ]
            low, high, reach = np.minimum(*ends), np.maximum(*ends), 1.1 * reach + 0.5
        shape = np.array(self.grid.shape[::-1])
        origin, spacing = np.array(self.grid.origin_mm), np.array(self.grid.spacing_mm)
        first = np.ceil((low - reach[:, None] - origin) / spacing)
        last = np.floor((high + reach[:, None] - origin) / spacing) + 1
        first, last = (np.clip(edge, 0, shape).astype(np.int64) for edge in (first, last))
        boxes = np.empty((len(first), 6), np.int64)
        boxes[:, 0::2], boxes[:, 1::2] = first[:, ::-1], last[:, ::-1]
        return boxes

    def _sigmas(self, points_mm):
        """Point spread in mm of the anatomy: expiration shows it smaller, so blurs it more."""
        if self.phase == "insp":
            return np.full(len(points_mm), self.sigma_mm)
        breath = self.record.breath
        moved = breathing.insp_to_exp(breath, *points_mm.T, tolerance_mm=1e-2)
        return self.sigma_mm * np.cbrt(breathing.jacobian(breath, *moved))

    def tubes(self, p0, p1, radius):
        """Coverage of tubes given in reference mm, with radii in mm."""
        cover = np.zeros(self.grid.shape, np.float32)
        p0, p1 = p0 * self.record.scale, p1 * self.record.scale
        sigma = self._sigmas(0.5 * (p0 + p1))
        boxes = self._boxes(np.minimum(p0, p1), np.maximum(p0, p1), radius + 3.0 * sigma)
        raster.capsules(
            cover, *self.voxel_mm, boxes, p0, p1, radius, sigma, raster.cylinder_table()
        )
        return cover

    def balls(self, centres, radii, critical=None, count=0, stop=None):
        """Coverage of lesions given in reference mm, how many were drawn, and voxels counted."""
        cover = np.zeros(self.grid.shape, np.float32)
        if critical is None:
            critical = np.full(self.grid.shape, 2.0, np.float32)
        centres = centres * self.record.scale
        radii = radii * np.cbrt(self.record.scale.prod())
        drawn = 0
        for block in range(0, len(radii), 512):  # boxes and blurs only for those that are needed
            part = slice(block, block + 512)
            sigma = self._sigmas(centres[part])
            reach = radii[part] + 3.0 * sigma
            used, count = raster.spheres(
                cover,
                *self.voxel_mm,
                self._boxes(centres[part], centres[part], reach),
                centres[part],
                radii[part],
                sigma,
                critical,
                count,
                np.iinfo(np.int64).max if stop is None else stop,
            )
            drawn += used
            if stop is not None and count >= stop:
                break
        return cover, drawn, count

    def paint(self, depth, value):
        raster.blend(self.frame, self.weight, depth, value, self.sigma_mm)

    def paint_cover(self, cover, value):
        raster.blend_cover(self.frame, self.weight, cover, value)


def _paint_chest(view):
    """Everything around the lungs, from the skin inwards."""
    body = view.record.body
    skin = view.depth(anatomy.torso)
    view.paint(skin, anatomy.FAT_HU)
    view.paint(skin - np.float32(body["fat_mm"]), anatomy.MUSCLE_HU)
    view.paint(view.depth(anatomy.abdomen, body), 55.0)
    view.paint(view.at_voxels(view.distance(view.between)), -60.0)
    view.paint(view.depth(anatomy.heart, body), 42.0)
    view.paint(view.depth(anatomy.aorta), anatomy.BLOOD_HU)
    view.paint(view.depth(anatomy.ribs), 380.0)
    view.paint(view.depth(anatomy.spine), 240.0)
    view.paint(view.depth(anatomy.discs), 80.0)


def _paint_lungs(view):
    """Open the lungs; depth of the right and the left one at the voxels."""
    body = view.record.body
    right, left = (view.depth(anatomy.lung, side, body, view.between) for side in (-1, 1))
    raster.blend_lung(view.frame, view.weight, np.maximum(right, left), view.sigma_mm)
    return right, left


def _paint_vessels(view):
    tree = anatomy.vessels(view.record)
    cover = view.tubes(tree["p0"], tree["p1"], tree["radius"])
    view.paint_cover(cover, anatomy.BLOOD_HU)
    return cover


def _paint_airways(view):
    """Walls, then lumina; returns all lumina and those of the trachea and main bronchi."""
    table = anatomy.airways(view.record)
    view.paint_cover(
        view.tubes(table["p0"], table["p1"], table["radius"] + table["wall"]), anatomy.WALL_HU
    )
    ends = table["p0"], table["p1"], table["radius"]
    central = view.tubes(*(part[table["generation"] <= 1] for part in ends))
    lumen = np.maximum(central, view.tubes(*(part[table["generation"] > 1] for part in ends)))
    view.paint_cover(lumen, anatomy.AIR_HU)
    return lumen, central


def _paint_table(view):
    """Paint a curved table top under the back; it does not breathe."""
    x, y, _ = view.grid.axes()
    below = anatomy.BACK_MM * view.record.scale_xy + 6.0
    rows = slice(int(np.searchsorted(y, below - 25.0)), None)
    depth = 4.0 - np.abs(y[rows, None] - below + 0.0006 * x[None, :] ** 2 - 4.0)
    cover = special.ndtr(depth / view.sigma_mm).astype(np.float32)
    view.frame[:, rows] += cover * (np.float32(anatomy.TABLE_HU) - view.frame[:, rows])


def _parenchyma(view):
    """Healthy inspiratory density (HU + 1000) at the voxels, and the fissures' heights."""
    record = view.record
    points = view.coarse_reference
    oblique, horizontal, lingula = (view.at_voxels(f) for f in anatomy.fissures(*points))
    full = tuple(np.broadcast_to(p, view.coarse.shape) for p in points)
    field = anatomy.texture(record, full)
    # Dependent lung is denser; zero in the middle of the lungs.
    field = record.texture_sd_hu * field + 0.12 * full[1]
    base = view.at_voxels(field)
    base += np.float32(record.lung_hu + 1000.0)
    np.maximum(base, 5.0, out=base)
    return base, (oblique, horizontal, lingula)


def _labels(right, left, fissures, central):
    labels = anatomy.lobe_labels(
        (right > 0) & (right >= left), (left > 0) & (left > right), *fissures
    )
    labels[central > 0.5] = 0
    return labels


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """One phase with all in it but trapped air; `base` is healthy density, HU + 1000."""

    view: _View
    base: np.ndarray
    lobes: np.ndarray
    covers: dict
    emphysema_spheres: int


def _draw(record, phase, voxel_mm):
    """Paint a phase: in this order, later over earlier."""
    view = _View(record, phase, scan_grid(record, phase, voxel_mm))
    _paint_chest(view)
    right, left = _paint_lungs(view)
    vessels = _paint_vessels(view)
    lumen, central = _paint_airways(view)
    _paint_table(view)
    base, fissures = _parenchyma(view)
    lobes = _labels(right, left, fissures, central)
    emphysema, spheres = _emphysema(view, base, lobes)
    covers = {"vessels": vessels, "lumen": lumen, "emphysema": emphysema}
    return _Drawn(view, base, lobes, covers, spheres)


def _finish(drawn, record, trapped=None):
    """Scan of a phase once the record says how much air is trapped; or its coverage, if known."""
    view, emphysema = drawn.view, drawn.covers["emphysema"]
    if trapped is None:
        trapped = view.balls(*anatomy.lesions(record, "trapped", record.trapped_spheres))[0]
    if view.phase == "exp":
        x, y, z = view.coarse.axes()
        squeeze = view.at_voxels(
            breathing.jacobian(record.breath, x[None, None, :], y[None, :, None], z[:, None, None])
        )
        density = _expired(record, drawn.base, emphysema, trapped, squeeze)
    else:
        density = _diseased(drawn.base, emphysema)
    t1 = view.frame + view.weight * (density - np.float32(1000.0))
    return Scan(
        record, view.phase, view.grid, t1, drawn.lobes, {**drawn.covers, "trapped": trapped}
    )


def _draw_to_target(view, kind, critical, target_pct, inside):
    """Coverage of a prefix of a lesion list that makes `target_pct` of the lung count.

    A voxel counts from its critical coverage on, so each lesion's gain is known as it is drawn and
    the drawing stops at the target, or at the end of the list. Returns the coverage, the length of
    the prefix, and the percentage that counts.
    """
    critical = np.where(inside, critical, 2.0).astype(np.float32)
    total, count = int(inside.sum()), int((critical < 0).sum())
    stop = target_pct / 100.0 * total
    for length in (n for n, limit in _LIST_LENGTHS[kind] if target_pct <= limit):
        cover, drawn, reached = view.balls(
            *anatomy.lesions(view.record, kind, length), critical, count, round(stop)
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
        spheres = anatomy.lesions(record, "emphysema", record.emphysema_spheres)
        return view.balls(*spheres)[0], record.emphysema_spheres
    need = (EMPHYSEMA_BELOW_HU - view.frame) / np.maximum(view.weight, 1e-3) + 1000.0
    critical = (base - need) / np.maximum(base - (anatomy.EMPHYSEMA_HU + 1000.0), 1.0)
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
    view, record, emphysema = drawn.view, drawn.view.record, drawn.covers["emphysema"]
    moved = breathing.insp_to_exp(record.breath, *view.coarse_mm, tolerance_mm=1e-2)
    squeeze = view.at_voxels(breathing.jacobian(record.breath, *moved))
    free, held = (
        _expired(record, drawn.base, emphysema, np.float32(share), squeeze) for share in (0.0, 1.0)
    )
    need = (TRAPPED_BELOW_HU - view.frame) / np.maximum(view.weight, 1e-3) + 1000.0
    # Dense voxels that trapping cannot bring below the threshold have a critical share above 1.
    critical = (free - need) / np.maximum(free - held, 0.5)
    inspired = view.frame + view.weight * (_diseased(drawn.base, emphysema) - np.float32(1000.0))
    critical[inspired < EMPHYSEMA_BELOW_HU] = 2.0
    return critical


def _render_to_targets(record, voxel_mm):
    """Both phases, with the lesion counts that meet EMPH_PCT and FSAD_PCT.

    Trapped air is counted at inspiration; expiration is blurred by its smaller size and by the
    interpolation that brings it back, so what it shows is measured and the count corrected.
    """
    insp = _draw(record, "insp", voxel_mm)
    record = dataclasses.replace(record, emphysema_spheres=insp.emphysema_spheres)
    exp = _draw(record, "exp", voxel_mm)
    critical = _critical_trapping(insp)
    aim = record.fsad_pct
    for _ in range(4):
        trapped, number, reached = _draw_to_target(
            insp.view, "trapped", critical, min(aim, 100.0), insp.lobes > 0
        )
        # No change, or nothing left to add: the rest can't be had.
        settled = number == record.trapped_spheres or reached < aim - 0.5
        record = dataclasses.replace(record, trapped_spheres=number)
        scans = {"insp": _finish(insp, record, trapped), "exp": _finish(exp, record)}
        missed = record.fsad_pct - truth(scans, every=5)["fsad_pct"]
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


def _diseased(base, emphysema):
    """Inspiratory density (HU + 1000) with emphysema."""
    return base + emphysema * (np.float32(anatomy.EMPHYSEMA_HU + 1000.0) - base)


def _expired(record, base, emphysema, trapped, squeeze):
    """Expiratory density: mass is kept voxel by voxel, except where air is trapped.

    Trapped lung keeps nearly its inspiratory density, so its mass is not conserved under a field
    that is smooth across it: a registration that demands conservation degrades there.
    """
    level = np.float32(anatomy.TRAPPED_HU + 1000.0 - 0.4 * (record.lung_hu + 1000.0))
    held = np.minimum(base, level + np.float32(0.4) * base)
    healthy = base * squeeze
    healthy = healthy + trapped * (np.minimum(held, healthy) - healthy)
    return healthy + emphysema * (np.float32(anatomy.EMPHYSEMA_HU + 1000.0) * squeeze - healthy)


def prepare(row, section):
    """Record of one row of the truth sheet: sizes and breathing solved, lesions not yet counted."""
    return solve(draw(row, section))


def render(record, phases=("insp", "exp"), voxel_mm=None):
    """Images and labels of one visit.

    Parameters
    ----------
    record : Record
        From `prepare`, or one with lesion counts to draw the same anatomy on another grid.
    phases : sequence of str
        ``insp``, ``exp``.
    voxel_mm : sequence of three float, optional
        Voxel along x, y, z instead of the record's.

    Returns
    -------
    dict of Scan
        By phase. The records in them hold the lesion counts that met the targets.
    """
    unknown = sorted(set(phases) - {"insp", "exp"})
    if unknown:
        raise ValueError(f"phase {unknown[0]!r}: the phantom has insp and exp")
    if record.emphysema_spheres is None or record.trapped_spheres is None:
        scans = _render_to_targets(record, voxel_mm)
    else:
        scans = {phase: _finish(_draw(record, phase, voxel_mm), record) for phase in phases}
    return {phase: scans[phase] for phase in phases}


def noise(record, phase, shape):
    """Coloured noise of unit variance, float32: strong at middle frequencies in the plane.

    The spectrum sqrt(f) exp(-(f / cutoff)^2) is that of filtered back projection, f in cycles a
    voxel; slices are independent.
    """
    rng = stream(record.seed, record.usubjid, "noise", record.avisit, phase)
    rows, columns = (fft.next_fast_len(n, real=True) for n in shape[1:])
    white = rng.standard_normal((shape[0], rows, columns), dtype=np.float32)
    fy = np.fft.fftfreq(rows)[:, None]
    power = 0.0
    for fx in (np.fft.fftfreq(columns)[None, :], np.fft.rfftfreq(columns)[None, :]):
        f = np.hypot(fx, fy)
        gain = np.sqrt(f) * np.exp(-((f / record.noise_cutoff) ** 2))
        power = power or float((gain**2).mean())
    gain = (gain / math.sqrt(power)).astype(np.float32)
    return fft.irfft2(fft.rfft2(white) * gain, s=(rows, columns))[:, : shape[1], : shape[2]]


def deliver(scan):
    """Return the scan as a scanner gives it: T1 plus noise, rounded to whole HU, int16."""
    hu = scan.t1 + np.float32(scan.record.noise_hu) * noise(scan.record, scan.phase, scan.t1.shape)
    return np.clip(np.rint(hu), -32768, 32767).astype(np.int16)


def landmarks(record, min_radius_mm=1.2):
    """Vessel forks in the inspiratory and the expiratory scan, two (n, 3) arrays, LPS mm."""
    insp = anatomy.bifurcations(record, min_radius_mm) * record.scale
    return insp, breathing.map_points(record.breath, insp, "insp_to_exp")


def truth(scans, every=1):
    """Densitometry of noiseless images with the true deformation as the registration.

    Parameters
    ----------
    scans : dict of Scan
        ``insp`` and ``exp`` of `render`; delivered images may stand in `t1`.
    every : int
        Use each n-th lung voxel.

    Returns
    -------
    dict
        laa950_pct volume_insp_ml volume_exp_ml expiration_ratio, and, with the expiration sampled
        at the true point, normal_pct fsad_pct emphysema_pct other_pct.
    """
    insp, exp = scans["insp"], scans["exp"]
    inside = insp.lobes > 0
    chosen = np.flatnonzero(inside)[::every]
    index = np.stack(np.unravel_index(chosen, inside.shape)[::-1], axis=1)
    points = np.array(insp.grid.origin_mm) + index * np.array(insp.grid.spacing_mm)
    moved = breathing.map_points(insp.record.breath, points, "insp_to_exp")
    place = (moved - np.array(exp.grid.origin_mm)) / np.array(exp.grid.spacing_mm)
    from_exp = ndimage.map_coordinates(exp.t1, place[:, ::-1].T, order=1, mode="nearest")
    low, held = insp.t1.ravel()[chosen] < EMPHYSEMA_BELOW_HU, from_exp < TRAPPED_BELOW_HU
    ml = float(np.prod(insp.grid.spacing_mm)) / 1000.0
    volumes = float(inside.sum()) * ml, float((exp.lobes > 0).sum()) * ml
    return {
        "laa950_pct": 100.0 * float(low.mean()),
        "volume_insp_ml": volumes[0],
        "volume_exp_ml": volumes[1],
        "expiration_ratio": volumes[1] / volumes[0],
        "normal_pct": 100.0 * float((~low & ~held).mean()),
        "fsad_pct": 100.0 * float((~low & held).mean()),
        "emphysema_pct": 100.0 * float((low & held).mean()),
        "other_pct": 100.0 * float((low & ~held).mean()),
    }
