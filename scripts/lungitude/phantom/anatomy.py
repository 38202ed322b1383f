"""Analytic anatomy of the chest in reference coordinates (x left, y back, z up; mm; LPS).

Each structure is a function of points or a table drawn from its own random stream. Depth functions
are positive inside and about a distance near the surface; `render` makes them distances. What is
listed here in order is painted in that order; a new organ is one function and one line.
"""

import functools
import itertools

import numpy as np
from scipy import ndimage

from . import raster
from .record import stream

APEX_MM, BASE_MM, BACK_MM = 127.0, -124.0, 102.0
TOP_MM = 150.0

AIR_HU, FAT_HU, MUSCLE_HU, BLOOD_HU, WALL_HU = -1000.0, -95.0, 45.0, 45.0, 20.0
EMPHYSEMA_HU, TRAPPED_HU = -985.0, -886.0
TABLE_HU = -250.0

LOBES = {1: "RUL", 2: "RML", 3: "RLL", 4: "LUL", 5: "LLL", 6: "lingula"}

_RIGHT, _LEFT = -1, 1
_BATCH = 4096


def _power(value):
    """Return |value|^2.5, without the slow general power."""
    value = np.abs(value)
    return value * value * np.sqrt(value)


def _ellipse(x, y, a, b):
    return (1.0 - np.sqrt((x / a) ** 2 + (y / b) ** 2)) * min(a, b)


def _soft_min(a, b, width):
    """Minimum with a rounded corner."""
    h = np.maximum(width - np.abs(a - b), 0.0)
    return np.minimum(a, b) - h * h / (4.0 * width)


def torso(x, y, z):
    """Depth below the skin; wider and flatter at the shoulders."""
    rise = np.clip((z - 40.0) / 90.0, 0.0, 1.0)
    rise = rise * rise * (3.0 - 2.0 * rise)
    a, b = 152.0 * (1.0 + 0.05 * rise), BACK_MM * (1.0 - 0.12 * rise)
    return (1.0 - (_power(x / a) + _power((y - BACK_MM + b) / b)) ** 0.4) * BACK_MM


def diaphragm(x, y, side, dome_mm):
    """Height of one hemidiaphragm; the left one is lower, both are deepest at the back."""
    dome = dome_mm - (5.0 if side == _LEFT else 0.0)
    bump = np.exp(-0.5 * (((x - side * 58.0) / 50.0) ** 2 + ((y + 14.0) / 54.0) ** 2))
    return BASE_MM + dome * bump - 0.08 * (y - 80.0)


def heart(x, y, z, body):
    """Depth in the heart, pericardium included."""
    turn = 0.5 + body["heart_turn"]
    cos, sin = np.cos(turn), np.sin(turn)
    u, v, w = x - 16.0, y + 24.0, z + 50.0
    u, w = cos * u - sin * w, sin * u + cos * w
    size = body["heart"]
    return (
        (1.0 - np.sqrt((u / (60 * size)) ** 2 + (v / (43 * size)) ** 2 + (w / (47 * size)) ** 2))
        * 43.0
        * size
    )


_AORTA = np.array(
    [
        (-6, -16, -12),
        (-9, -20, 38),
        (2, -8, 60),
        (17, 18, 64),
        (25, 38, 50),
        (27, 47, 20),
        (25, 50, -60),
        (14, 48, -160),
    ],
    dtype=float,
)


def aorta(x, y, z):
    """Depth in the aorta: root, arch and the descending part to the left of the spine."""
    depth = np.full(np.broadcast(x, y, z).shape, -1e3)
    # The descending part is nearly upright: segments only ever matter in their own range of z.
    for number, (p, q) in enumerate(itertools.pairwise(_AORTA)):
        u = q - p
        t = ((x - p[0]) * u[0] + (y - p[1]) * u[1] + (z - p[2]) * u[2]) / (u @ u)
        t = np.clip(t, 0.0, 1.0)
        d2 = (x - p[0] - t * u[0]) ** 2 + (y - p[1] - t * u[1]) ** 2 + (z - p[2] - t * u[2]) ** 2
        depth = np.maximum(depth, (15.0 if number < 3 else 12.5) - np.sqrt(d2))
    return depth


def spine(x, y, z):
    """Depth in vertebrae: bodies, arches and spinous processes around an open canal."""
    body = _ellipse(x, y - 63.0, 19.0, 16.0)
    arch = np.maximum(_ellipse(x, y - 82.0, 15.0, 12.0), _ellipse(x, y - 93.0, 4.5, 12.0))
    arch = np.maximum(arch, _ellipse(np.abs(x) - 20.0, y - 80.0, 15.0, 4.5))
    level = np.abs((z + 400.0) % 25.0 - 12.5)  # distance from the middle of a vertebra's height
    arch = np.minimum(arch, 9.0 - level)
    return np.minimum(np.maximum(body, arch), _ellipse(x, y - 84.0, 8.0, 7.0) * -1.0)


def discs(x, y, z):
    """Depth in the intervertebral discs."""
    level = np.abs((z + 400.0 + 12.5) % 25.0 - 12.5)
    return np.minimum(_ellipse(x, y - 63.0, 19.0, 16.0), 3.5 - level)


def ribs(x, y, z):
    """Depth in ribs (tubes on the rib cage that slope down to the front) and sternum."""
    up = np.maximum(z - 10.0, 0.0) / 136.0
    hull = (_power(x / 138.0) + _power((y - 3.0) / 90.0) + _power(up)) ** 0.4
    shell = (1.0 - hull) * 100.0
    level = np.abs((z - 0.42 * y + 400.0) % 27.0 - 13.5)
    depth = 4.6 - np.sqrt((1.2 * shell) ** 2 + (0.75 * level) ** 2)
    depth = np.minimum(depth, y + 45.0)  # the front ends are cartilage
    depth = np.minimum(depth, z + 150.0)
    sternum = np.minimum(_ellipse(x, y + 88.0, 17.0, 6.5), 50.0 - np.abs(z - 15.0))
    return np.maximum(depth, sternum)


def _hemithorax(x, y, z, side, body):
    """Depth in one half of the rib cage, with its rounded apex."""
    a, b = 73.0 * body["lung_width"], 81.0 * body["lung_depth"]
    up = np.maximum(z + 5.0, 0.0) / (APEX_MM + 5.0)
    across = _power((x - side * 57.0) / a) + _power((y - 2.0) / b)
    return (1.0 - (across + _power(up)) ** 0.4) * 72.0


def mediastinum(x, y, z, body):
    """Depth in what parts the lungs: junction line, great vessels, heart, spine."""
    depth = np.minimum(4.5 - np.abs(x), torso(x, y, z) - 12.0)  # the junction of both pleurae
    depth = np.maximum(depth, _ellipse(x, y - 3.0, 30.0, 46.0))
    depth = np.maximum(depth, _ellipse(x, y - 66.0, 24.0, 22.0))
    depth = -_soft_min(-depth, -(heart(x, y, z, body) + 4.0), 14.0)
    return np.maximum(depth, aorta(x, y, z) + 2.0)


def lung(x, y, z, side, body, between=None):
    """Depth in one lung (-1 right, 1 left); `between` is `mediastinum` at the points, if known."""
    if between is None:
        between = mediastinum(x, y, z, body)
    cage = _soft_min(_hemithorax(x, y, z, side, body), side * x, 4.0)
    cage = _soft_min(cage, z - diaphragm(x, y, side, body["dome_mm"]), 8.0)
    return _soft_min(cage, -between, 8.0)


def abdomen(x, y, z, body):
    """Depth in the organs under the diaphragm."""
    top = np.maximum(*(diaphragm(x, y, side, body["dome_mm"]) for side in (_RIGHT, _LEFT)))
    return np.minimum(torso(x, y, z) - 20.0, top - 3.0 - z)


def fissures(x, y, z):
    """Signed heights above the oblique and the horizontal fissure and the lingula's border.

    Smooth undulations of about 3 mm; the oblique planes of both sides mirror each other.
    """
    wave = 3.0 * np.sin(x / 23.0 + 0.7) * np.cos(y / 29.0 - 0.4)
    oblique = z - (4.0 + 0.95 * y + 0.0006 * (np.abs(x) - 60.0) ** 2 + wave)
    horizontal = z - (14.0 + 0.05 * (y + 30.0) - wave)
    lingula = z - (-2.0 + 0.25 * (y + 30.0) - wave)
    return oblique, horizontal, lingula


def lobe_labels(right, left, oblique, horizontal, lingula):
    """Lobe codes of `LOBES` from which lung a voxel is in and on which side of the fissures."""
    none, one, two, three, four, five, six = np.arange(7, dtype=np.uint8)
    upper = oblique >= 0
    on_right = np.where(upper, np.where(horizontal >= 0, one, two), three)
    on_left = np.where(upper, np.where(lingula >= 0, four, six), five)
    return np.where(right, on_right, np.where(left, on_left, none))


def texture(record, points):
    """Smooth random field of unit variance at reference points; the same at each visit.

    points : tuple of three arrays of equal shape, mm.
    """
    step = record.texture_mm
    low = np.array([-175.0, -125.0, -190.0])
    shape = np.ceil(np.array([350.0, 250.0, 360.0]) / step).astype(int) + 1
    rng = stream(record.seed, record.usubjid, "texture", f"{step:g}")
    lattice = ndimage.gaussian_filter(rng.standard_normal(tuple(shape)), 1.1, mode="wrap")
    lattice /= lattice.std()
    index = [(p - origin) / step for p, origin in zip(points, low, strict=True)]
    # Trilinear weights average neighbours; the factor gives back the variance that this costs.
    return 1.10 * ndimage.map_coordinates(lattice, index, order=1, mode="grid-wrap")


# start, end, radius, generation; 0 trachea, 1 main bronchi
_AIRWAYS = (
    ((0, 8, 165), (1, 20, 44), 8.6, 0),
    ((1, 20, 44), (-30, 23, 22), 7.0, 1),
    ((1, 20, 44), (42, 27, 12), 6.3, 1),
    ((-30, 23, 22), (-54, 16, 40), 4.8, 2),
    ((-30, 23, 22), (-42, 23, -6), 5.6, 2),
    ((42, 27, 12), (60, 6, 26), 4.8, 2),
    ((42, 27, 12), (57, 40, -30), 4.8, 2),
    ((-42, 23, -6), (-64, -18, -24), 3.6, 3),
    ((-42, 23, -6), (-58, 38, -42), 4.6, 3),
    ((60, 6, 26), (72, -24, -4), 3.2, 3),
    ((-54, 16, 40), (-62, 4, 72), 3.4, 3),
    ((-54, 16, 40), (-78, -18, 40), 3.0, 3),
    ((-54, 16, 40), (-76, 40, 52), 3.0, 3),
    ((60, 6, 26), (66, 6, 66), 3.4, 3),
    ((60, 6, 26), (76, 36, 48), 3.0, 3),
    ((-58, 38, -42), (-66, 54, -84), 3.2, 4),
    ((-58, 38, -42), (-88, 18, -70), 3.0, 4),
    ((57, 40, -30), (66, 56, -80), 3.2, 4),
    ((57, 40, -30), (90, 24, -66), 3.0, 4),
)
AIRWAY_FIELDS = ("p0", "p1", "radius", "wall", "generation")


def airways(record):
    """Segment table of the airways in reference mm: arrays named by `AIRWAY_FIELDS`."""
    radius = np.array([row[2] for row in _AIRWAYS])
    return {
        "p0": np.array([row[0] for row in _AIRWAYS], dtype=float),
        "p1": np.array([row[1] for row in _AIRWAYS], dtype=float),
        "radius": radius,
        "wall": 0.5 + 0.12 * radius,
        "generation": np.array([row[3] for row in _AIRWAYS]),
    }


_TREES = {
    # name: side, trunk from, trunk to (the hilum)
    "artery right": (_RIGHT, (-8, 2, 26), (-42, 14, 10)),
    "artery left": (_LEFT, (6, -2, 32), (46, 16, 24)),
    "vein right": (_RIGHT, (-6, 14, -8), (-44, 6, -8)),
    "vein left": (_LEFT, (12, 14, -6), (50, 8, -2)),
}


@functools.lru_cache(maxsize=4)
def _vessel_trees(seed, usubjid, body_items, terminals):
    body = dict(body_items)
    parts = []
    for number, (name, (side, start, end)) in enumerate(_TREES.items()):
        rng = stream(seed, usubjid, name)
        ends, _ = _points_in_lung(
            rng,
            body,
            terminals,
            (side,),
            lambda rng, n: np.full(n, 3.0),
            lambda radius: radius,
            lambda x, y, z: 1.0,
        )
        p0, p1, leaves = raster.grow(np.array([start, end], dtype=float), ends, 0.25)
        keep = leaves > 0
        parts.append((p0[keep], p1[keep], leaves[keep], np.full(keep.sum(), number)))
    p0, p1, leaves, tree = (np.concatenate(part) for part in zip(*parts, strict=True))
    # Murray: cubes of the radii add up, from 7 mm at the trunk.
    radius = 7.0 * np.cbrt(leaves / terminals)
    return {"p0": p0, "p1": p1, "radius": radius, "leaves": leaves, "tree": tree}


def vessels(record):
    """Segment table of arteries and veins in reference mm: p0 p1 radius leaves tree."""
    return _vessel_trees(
        record.seed, record.usubjid, tuple(sorted(record.body.items())), record.vessel_terminals
    )


def bifurcations(record, min_radius_mm=1.2):
    """Forks of the vessels whose parent is at least this thick, reference mm, (n, 3)."""
    tree = vessels(record)
    thick = (tree["radius"] >= min_radius_mm) & (tree["leaves"] < record.vessel_terminals)
    long = np.linalg.norm(tree["p1"] - tree["p0"], axis=1) > 2.0
    forks = tree["p1"][thick & long & (tree["leaves"] > 1)]
    inside = np.maximum(lung(*forks.T, _RIGHT, record.body), lung(*forks.T, _LEFT, record.body))
    return forks[inside > 3.0]


def _points_in_lung(rng, body, count, sides, draw_radius, clearance, preference):
    """Random points as deep in the lungs as their radius asks, thinned by a preference of 0 to 1.

    The points come in the order of the stream, so a longer list begins with the shorter one.
    """
    low, high = np.array([-135.0, -85.0, -125.0]), np.array([135.0, 90.0, 127.0])
    if len(sides) == 1:
        low[0], high[0] = (low[0], 0.0) if sides[0] == _RIGHT else (0.0, high[0])
    centres, radii, found = [], [], 0
    while found < count:
        points = rng.uniform(low, high, (_BATCH, 3))
        radius = draw_radius(rng, _BATCH)
        keep = rng.uniform(size=_BATCH) < preference(*points.T)
        points, radius = points[keep], radius[keep]
        between = mediastinum(*points.T, body)
        depth = functools.reduce(
            np.maximum, (lung(*points.T, side, body, between) for side in sides)
        )
        deep = depth > clearance(radius)
        centres.append(points[deep])
        radii.append(radius[deep])
        found += int(deep.sum())
    return np.concatenate(centres)[:count], np.concatenate(radii)[:count]


def _patchiness(rng):
    """Smooth field of about -1 to 1 over the lungs: where a patient's disease sits."""
    waves = rng.normal(scale=1.0 / 45.0, size=(6, 3))
    phases = rng.uniform(0.0, 2.0 * np.pi, 6)

    def field(x, y, z):
        total = sum(
            np.cos(k[0] * x + k[1] * y + k[2] * z + p) for k, p in zip(waves, phases, strict=True)
        )
        return total / np.sqrt(6.0)

    return field


@functools.lru_cache(maxsize=8)
def _lesions(seed, usubjid, body_items, kind, count):
    rng = stream(seed, usubjid, kind)
    patchy = _patchiness(rng)
    small, large, room, slope, contrast = _LESIONS[kind]

    def preference(x, y, z):
        return np.exp(contrast * (patchy(x, y, z) - 1.5) + slope * z - abs(slope) * 120.0)

    return _points_in_lung(
        rng,
        dict(body_items),
        count,
        (_RIGHT, _LEFT),
        lambda rng, n: rng.uniform(small, large, n),
        lambda radius: room * radius,
        preference,
    )


# smallest and largest radius (mm), share of the radius kept from the pleura; of the logarithm of
# the preference, slope with height and contrast between the patient's better and worse parts
_LESIONS = {
    "emphysema": (2.8, 7.5, 1.0, 1.3 / 120.0, 0.9),  # centrilobular, apical
    "trapped": (6.0, 13.0, 0.2, -0.4 / 120.0, 0.5),  # whole lobules, somewhat basal
}


def lesions(record, kind, count):
    """First `count` lesions of a patient: centres (n, 3) and radii (n,), reference mm.

    Parameters
    ----------
    kind : str
        ``emphysema`` or ``trapped``.
    count : int
        A visit shows a prefix of one list, so more disease contains less, voxel for voxel.
    """
    body = tuple(sorted(record.body.items()))
    length = 1500  # few lengths, so that lists are made once
    while length < count:
        length *= 3
    centres, radii = _lesions(record.seed, record.usubjid, body, kind, length)
    return centres[:count], radii[:count]
