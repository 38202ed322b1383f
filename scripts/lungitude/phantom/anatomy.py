"""Analytic anatomy of the chest in reference coordinates (x left, y back, z up; mm; LPS).

Each structure is a function of points or a table drawn from its own random stream. Depth functions
are positive inside and about a distance near the surface; `render` makes them distances. What is
listed here in order is painted in that order; a new organ is one function and one line.
"""

import itertools

import numpy as np
from scipy import ndimage

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


_AORTA = (
    (-6.0, -16.0, -12.0),
    (-9.0, -20.0, 38.0),
    (2.0, -8.0, 60.0),
    (17.0, 18.0, 64.0),
    (25.0, 38.0, 50.0),
    (27.0, 47.0, 20.0),
    (25.0, 50.0, -60.0),
    (14.0, 48.0, -160.0),
)


def aorta(x, y, z):
    """Depth in the aorta: root, arch and the descending part to the left of the spine."""
    depth = None
    for number, (p, q) in enumerate(itertools.pairwise(_AORTA)):
        u = [b - a for a, b in zip(p, q, strict=True)]
        dx, dy, dz = x - p[0], y - p[1], z - p[2]
        t = (dx * u[0] + dy * u[1] + dz * u[2]) / sum(side * side for side in u)
        t = np.clip(t, 0.0, 1.0)
        d2 = (dx - t * u[0]) ** 2 + (dy - t * u[1]) ** 2 + (dz - t * u[2]) ** 2
        inside = (15.0 if number < 3 else 12.5) - np.sqrt(d2)
        depth = inside if depth is None else np.maximum(depth, inside)
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


def mediastinum(x, y, z, body, in_heart=None, in_aorta=None):
    """Depth in what parts the lungs: junction line, great vessels, heart, spine.

    `in_heart` and `in_aorta` are `heart` and `aorta` at the points, if known.
    """
    in_heart = heart(x, y, z, body) if in_heart is None else in_heart
    in_aorta = aorta(x, y, z) if in_aorta is None else in_aorta
    depth = np.minimum(4.5 - np.abs(x), torso(x, y, z) - 12.0)  # the junction of both pleurae
    depth = np.maximum(depth, _ellipse(x, y - 3.0, 30.0, 46.0))
    depth = np.maximum(depth, _ellipse(x, y - 66.0, 24.0, 22.0))
    depth = -_soft_min(-depth, -(in_heart + 4.0), 14.0)
    return np.maximum(depth, in_aorta + 2.0)


def lung(x, y, z, side, body, between=None):
    """Depth in one lung (-1 right, 1 left); `between` is `mediastinum` at the points, if known."""
    if between is None:
        between = mediastinum(x, y, z, body)
    cage = _soft_min(_hemithorax(x, y, z, side, body), side * x, 4.0)
    cage = _soft_min(cage, z - diaphragm(x, y, side, body["dome_mm"]), 8.0)
    return _soft_min(cage, -between, 8.0)


def lungs(x, y, z, body, between=None):
    """Depth in the nearer lung; `between` is `mediastinum` at the points, if known."""
    if between is None:
        between = mediastinum(x, y, z, body)
    return np.maximum(*(lung(x, y, z, side, body, between) for side in (_RIGHT, _LEFT)))


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

    points : tuple of three arrays that broadcast, mm.
    """
    step = record.texture_mm
    low = (-175.0, -125.0, -190.0)
    shape = np.ceil(np.array([350.0, 250.0, 360.0]) / step).astype(int) + 1
    rng = stream(record.seed, record.usubjid, "texture", f"{step:g}")
    lattice = ndimage.gaussian_filter(rng.standard_normal(tuple(shape)), 1.1, mode="wrap")
    lattice /= lattice.std()
    index = [
        (p - origin) / step for p, origin in zip(np.broadcast_arrays(*points), low, strict=True)
    ]
    # Trilinear weights average neighbours; the factor gives back the variance that this costs.
    return 1.10 * ndimage.map_coordinates(lattice, index, order=1, mode="grid-wrap")
