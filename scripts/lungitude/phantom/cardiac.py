"""Images and label maps of the analytic heart: gated CT angiography (CTA) and calcium scan.

Each voxel's depth in each chamber is closed, so no image is convolved: surfaces are blurred by the
error function along their normal, coronary lumina by the closed form of a cylinder, and plaques are
sums of blurred points, which keeps their volume exactly.
"""

import dataclasses
import math

import numpy as np
from scipy import special

from . import anatomy, coronaries, grids, heart_raster, raster, render
from . import heart as hearts

LABELS = {
    1: "LV blood",
    2: "LV myocardium",
    3: "RV blood",
    4: "left atrium",
    5: "right atrium",
    6: "aorta",
    7: "pulmonary artery",
}
CALCIUM_PHASE = 0.75
SIGMA_MM = 0.6
CALCIUM_NOISE_HU, CTA_NOISE_HU = 16.0, 25.0
CORONARY_REACH_MM = 5.5
_CORONARY_FAT_MM = 7.0
# HU of left blood, right blood, muscle, fat, coronary lumen
_PLAIN = (42.0, 42.0, 45.0, -95.0, 42.0)
_CONTRAST = (380.0, 320.0, 110.0, -95.0, 350.0)
_LUNG_HU, _CONTRAST_MUSCLE_HU = -855.0, 60.0
_SNAP_MM = 6.0
# Pulmonary artery, reference mm: trunk, fork, right branch, its hilum, left hilum.
_PULMONARY = (
    (19.0, -26.0, 14.0),
    (6.0, -3.0, 30.0),
    (-8.0, 2.0, 26.0),
    (-42.0, 14.0, 10.0),
    (46.0, 16.0, 24.0),
)


@dataclasses.dataclass(frozen=True)
class HeartScan:
    """One gated image: what `dicom.write_series` and the biomarkers need.

    `phase` is ``calcium`` or ``cta``; `cycle` the part of the cardiac cycle, 0 to 1; `t1` noiseless
    HU, float32 (z, y, x).
    """

    record: object
    phase: str
    cycle: float
    grid: grids.Grid
    t1: np.ndarray


def heart_grid(record, voxel_mm=None, margin_mm=9.0):
    """Grid of a box around the heart at end-diastole; its corners lie on multiples of 6 mm.

    `voxel_mm`: along x, y, z; the record's for gated scans if absent.

    Raises
    ------
    ValueError
        The record has no heart yet.
    """
    heart = _heart(record)
    now = hearts.geometry(heart, 0.0)
    balls = [
        (0.0, 0.0, now["centre"], now["epi_a"], now["epi_a"], now["epi_c"]),
        *(tuple(now[f"{name}_{part}"] for part in "splabc") for name in ("la", "ra")),
    ]
    u = np.linspace(0.0, 0.95, 6)
    g = np.sqrt(1.0 - u * u)
    for depth, part in zip(u * now["rv_length"], g, strict=True):
        reach = now["rv_q"] * part + heart_raster.RV_WALL_MM
        balls.append((now["rv_d"] * part, 0.0, now["base"] - depth, reach, reach, 5.0))
    frame = hearts.axes(heart)
    corners = []
    for ball in balls:
        half = np.sqrt(((np.array(ball[3:])[:, None] * frame) ** 2).sum(axis=0))
        centre = hearts.to_patient(heart, np.array(ball[:3]))
        corners += [centre - half, centre + half]
    for line in coronaries.centrelines(record, 0.0).values():
        corners += [line["points"].min(axis=0) - 3.0, line["points"].max(axis=0) + 3.0]
    low = np.floor((np.min(corners, axis=0) - margin_mm) / _SNAP_MM) * _SNAP_MM
    high = np.ceil((np.max(corners, axis=0) + margin_mm) / _SNAP_MM) * _SNAP_MM
    spacing = np.array(voxel_mm or record.gated_voxel_mm, dtype=float)
    shape = np.ceil((high - low) / spacing - 1e-6).astype(int)
    origin = low + 0.5 * spacing
    return grids.Grid(tuple(origin.tolist()), tuple(spacing.tolist()), tuple(shape[::-1].tolist()))


def _heart(record):
    if record.heart is None:
        raise ValueError(f"{record.usubjid} {record.avisit}: the record has no heart; solve it")
    return record.heart


def _great_vessels(record, phase):
    """Tubes (rows x0 y0 z0 x1 y1 z1 radius) of what leaves the base and of what passes behind.

    Returns
    -------
    rising, pulmonary, descending : ndarray, (n, 7)
        Aorta from its root to the arch, pulmonary artery, descending aorta.
    """
    heart, scale, wide = record.heart, record.scale, record.scale_xy
    now = hearts.geometry(heart, phase)
    size = now["size"]

    def chain(points, radii):
        points = np.array(points)
        return np.column_stack([points[:-1], points[1:], radii])

    at = np.array([[coronaries.AORTA_S, coronaries.AORTA_P, 0.0], [30.0, 28.0, 0.0]]) * size
    root, valve = hearts.to_patient(heart, np.add(at, [0.0, 0.0, now["base"]]))
    arch = np.array(anatomy._AORTA) * scale
    rising = chain(
        [root, np.array([-6.0, -15.0, 4.0]) * scale, *arch[1:5]],
        [coronaries.AORTA_R * size, 14.0 * wide, 15.0 * wide, 15.0 * wide, 12.5 * wide],
    )
    trunk, fork, right, hilum, left = np.array(_PULMONARY) * scale
    pulmonary = np.vstack(
        [
            chain([valve, trunk, fork], [11.5 * size, 11.5 * wide]),
            chain([fork, right, hilum], [9.0 * wide, 8.0 * wide]),
            chain([fork, left], [8.0 * wide]),
        ]
    )
    return rising, pulmonary, chain(arch[4:], [12.5 * wide] * (len(arch) - 5))


def background(record, grid, contrast):
    """Chest around the heart on a grid, HU float32: it does not move with the cycle."""
    coarse, every = grid.coarse()
    x, y, z = (axis / scale for axis, scale in zip(coarse.axes(), record.scale, strict=True))
    at = x[None, None, :], y[None, :, None], z[:, None, None]
    body = record.body
    between = anatomy.mediastinum(*at, body)
    var = _variances(grid)
    sigma = math.sqrt((2.0 * var[0] + var[1]) / 3.0)
    hu = np.full(grid.shape, anatomy.AIR_HU, np.float32)
    weight = np.zeros(grid.shape, np.float32)

    def paint(depth, value):
        depth = np.broadcast_to(depth, coarse.shape)
        slopes = np.gradient(depth, *coarse.spacing_mm[::-1])
        depth = depth / np.clip(np.sqrt(sum(slope * slope for slope in slopes)), 0.4, 3.0)
        raster.paint(hu, weight, depth.astype(np.float32), every, value, sigma, False)

    skin = anatomy.torso(*at)
    paint(skin, anatomy.FAT_HU)
    paint(skin - body["fat_mm"], _CONTRAST_MUSCLE_HU if contrast else anatomy.MUSCLE_HU)
    paint(between, anatomy.FAT_HU)
    paint(anatomy.abdomen(*at, body), 95.0 if contrast else 55.0)
    paint(anatomy.ribs(*at), 380.0)
    paint(anatomy.spine(*at), 240.0)
    paint(anatomy.discs(*at), 80.0)
    paint(anatomy.lungs(*at, body, between), _LUNG_HU)
    return hu


def _variances(grid):
    """Variance of the point spread and of the voxel's box, in the plane and along z, mm2."""
    flat = float(np.mean(np.square(grid.spacing_mm[:2])))
    return SIGMA_MM**2 + np.array([flat, grid.spacing_mm[2] ** 2]) / 12.0


def draw(record, phase, grid, contrast, chest=None, where=None):
    """Noiseless image without plaques, HU float32 (z, y, x).

    Parameters
    ----------
    phase : float
        Part of the cycle, 0 to 1.
    grid : grids.Grid
    contrast : bool
    chest : ndarray, optional
        `background` of the grid; it is not changed.
    where : ndarray of uint8, (z, y, x), optional
        Voxels to draw; elsewhere the background stays.
    """
    hu = (background(record, grid, contrast) if chest is None else chest).copy()
    tissue = np.array(_CONTRAST if contrast else _PLAIN)
    origin, spacing = np.array(grid.origin_mm), np.array(grid.spacing_mm)
    var = _variances(grid)
    p0, p1, radius, _ = _coronary_rows(record, phase)
    # Fat goes along with the arteries where they leave the heart.
    _, away = _nearest(record, phase, grid, _CORONARY_FAT_MM + 3.0)
    near = np.isfinite(away)
    share = special.ndtr((_CORONARY_FAT_MM - away[near]) / math.sqrt(var.mean()))
    hu[near] += share * (np.float32(tissue[3]) - hu[near])
    heart_raster.paint_voxels(
        hu,
        np.empty((0, 0, 0), np.uint8) if where is None else where,
        origin,
        spacing,
        hearts.parameters(_heart(record), phase),
        *_great_vessels(record, phase),
        var,
        tissue,
    )
    cover = np.zeros(grid.shape, np.float32)
    heart_raster.draw_tubes(cover, origin, spacing, p0, p1, radius, var, raster.cylinder_table())
    hu += cover * (np.float32(tissue[4]) - hu)
    return hu


def _nearest(record, phase, grid, reach_mm):
    """Return vessel code and distance of the nearest centreline; 0 and inf beyond `reach_mm`."""
    code, away = np.zeros(grid.shape, np.uint8), np.full(grid.shape, np.inf, np.float32)
    p0, p1, _, vessel = _coronary_rows(record, phase)
    heart_raster.nearest_tube(
        code, away, reach_mm, np.array(grid.origin_mm), np.array(grid.spacing_mm), p0, p1, vessel
    )
    return code, away


def _coronary_rows(record, phase):
    """Return ends, radii and vessel codes of the segments of all coronary arteries."""
    lines = coronaries.centrelines(record, phase)
    parts = [
        (
            line["points"][:-1],
            line["points"][1:],
            0.5 * (line["radius"][:-1] + line["radius"][1:]),
            np.full(len(line["radius"]) - 1, vessel, np.uint8),
        )
        for vessel, line in lines.items()
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def blend_plaques(hu, weight, dense):
    """Paint plaques over an image, in place; arguments of `plaque_cover`.

    A voxel of which plaques fill a share w becomes (1 - w) of what it was plus the plaques' HU.
    """
    here = np.nonzero(weight > 1e-6)
    share, before = weight[here], hu[here]
    hu[here] = before + np.minimum(share, 1.0) * (dense[here] / share - before)


def plaque_cover(grid, shapes):
    """Share of each voxel that plaques fill, and share times HU; float64 (z, y, x)."""
    weight, dense = np.zeros(grid.shape), np.zeros(grid.shape)
    origin, spacing = np.array(grid.origin_mm), np.array(grid.spacing_mm)
    for centre, frame, semi, hu in zip(*shapes, strict=True):
        points, volume = plaque_points(centre, frame, semi)
        heart_raster.splat(weight, origin, spacing, points, volume, SIGMA_MM)
        heart_raster.splat(dense, origin, spacing, points, volume * hu, SIGMA_MM)
    return weight, dense


def plaque_points(centre, frame, semi):
    """Even points in an ellipsoid, (n, 3) mm, and the volume of one, mm3; about 0.5 mm apart."""
    volume = 4.0 / 3.0 * math.pi * float(np.prod(semi))
    number = int(np.clip(math.ceil(volume / 0.12), 60, 4000))
    index = np.arange(number) + 0.5
    radius = np.cbrt(index / number)
    height = 1.0 - 2.0 * np.mod(index * 0.6180339887498949, 1.0)
    turn = 2.0 * math.pi * np.mod(index * 0.7548776662466927, 1.0)
    ring = np.sqrt(1.0 - height * height)
    ball = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1)
    return centre + (ball * radius[:, None] * semi) @ frame, volume / number


def calcium_grid(record):
    """Grid of the record's calcium scan, for which its plaques are solved."""
    return heart_grid(record, record.calcium_voxel_mm)


def calcium_scan(record, grid=None):
    """Gated scan without contrast medium at 75 % of the cycle, noiseless: a HeartScan."""
    grid = grid or calcium_grid(record)
    hu = draw(record, CALCIUM_PHASE, grid, contrast=False)
    blend_plaques(hu, *plaque_cover(grid, coronaries.plaque_shapes(record, CALCIUM_PHASE)))
    return HeartScan(record, "calcium", CALCIUM_PHASE, grid, hu)


def cta(record, phase, grid=None, chest=None):
    """Noiseless gated CT angiography at a phase of 0 to 1: a HeartScan.

    `chest` may hold `background(record, grid, True)`, which all phases share.
    """
    grid = grid or heart_grid(record)
    hu = draw(record, phase, grid, contrast=True, chest=chest)
    blend_plaques(hu, *plaque_cover(grid, coronaries.plaque_shapes(record, phase)))
    return HeartScan(record, "cta", float(phase), grid, hu)


def cycle(record, grid=None, phases=hearts.PHASES):
    """CT angiography at evenly spaced phases from 0 on, one HeartScan after the other."""
    grid = grid or heart_grid(record)
    chest = background(record, grid, contrast=True)
    for number in range(phases):
        yield cta(record, number / phases, grid, chest)


def deliver(scan, noise_hu=None):
    """Return the scan with noise, rounded to whole HU, int16."""
    if noise_hu is None:
        noise_hu = CALCIUM_NOISE_HU if scan.phase == "calcium" else CTA_NOISE_HU
    key = f"{scan.phase} {scan.cycle:.4f}"
    return raster.digitise(scan.t1, render.noise(scan.record, key, scan.t1.shape), noise_hu)


def labels(record, phase, grid):
    """Label map of the heart at a phase of 0 to 1, uint8 (z, y, x), codes of `LABELS`."""
    return labels_at(record, phase, grid.origin_mm, np.diag(grid.spacing_mm), grid.shape)


def labels_at(record, phase, origin_mm, steps_mm, shape):
    """Label map on an oblique grid.

    Parameters
    ----------
    phase : float
        Part of the cycle, 0 to 1.
    origin_mm : sequence of three float
        Patient's point of the first voxel's centre.
    steps_mm : ndarray, (3, 3)
        Row i is the vector from one voxel to the next along index x, y, z.
    shape : tuple of int
        (z, y, x).

    Returns
    -------
    ndarray of uint8, (z, y, x)
        A voxel belongs to what its centre is in, so counts are unbiased.
    """
    out = np.zeros(shape, np.uint8)
    steps = np.ascontiguousarray(steps_mm, dtype=float)
    heart_raster.label_voxels(
        out,
        np.array(origin_mm, dtype=float),
        steps,
        hearts.parameters(_heart(record), phase),
        *_great_vessels(record, phase),
    )
    return out


def coronary_labels(record, phase, grid):
    """Regions in which calcium counts, uint8 (z, y, x): 1 LM+LAD, 2 LCX, 3 RCA.

    All within 5.5 mm of a centreline, given to the nearest.
    """
    return _nearest(record, phase, grid, CORONARY_REACH_MM)[0]
