"""Airways of a chest CT without a network: a growth that sees walls, and cuts its leaks off."""

import logging

import edt
import numpy as np
import SimpleITK as sitk

from lungitude import airtree, images, segmentation
from lungitude.classical import fronts, rays, shells

log = logging.getLogger(__name__)

LUMEN, WALL = 1, 2
COARSE_MM = 2.2  # voxels in which the trunk is sought
MARGIN_MM = 10.0
CORE_DEPTH_MM = 0.7  # below the rim that the trunk has been given
TRUNK_RADIUS_MM = 8.0
TRUNK_PATH_MM = 3.5  # from the core of the trunk to its wall
AIR_HU = (-1500, -700)
LUNG_HU = (-960, -700)  # to measure noise in
RISE_NOISE = 2.1  # rise that is a wall, in noise
RISE_HU = (45.0, 150.0)
WALL_ABOVE_LUNG_HU = 100.0
MOST_ML = 120.0  # of lumen beyond the core of the trunk: all airways hold less
LOOPS = 0.05  # for each branch
EDGE_SHARE = 0.3  # of its radius, and a voxel: how far a lumen spreads into its edge
EDGE_MOST = 0.8  # of the way from lumen to the peak of its wall
WALL_MM, WALL_SHARE = 0.6, 0.2  # thickest wall: and this share of the radius


def airways(ct, lungs=None):
    """Segment the airways of a chest CT.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU, any orientation, with at least the lower half of the trachea.
    lungs : SimpleITK.Image, optional
        Label map on the same grid, nonzero in the lungs: what lies further than 10 mm beside or
        below them isn't searched, which saves time.

    Returns
    -------
    SimpleITK.Image
        uint8 on the grid of `ct`: 1 lumen, 2 wall; empty without a trachea. Faults are logged as
        warnings; `airways_with_facts` returns them.

    Raises
    ------
    ValueError
        Lungs on another grid.
    """
    return airways_with_facts(ct, lungs)[0]


def airways_with_facts(ct, lungs=None):
    """Segment the airways of a chest CT, and say how that went.

    Parameters
    ----------
    ct, lungs
        As `airways`.

    Returns
    -------
    label : SimpleITK.Image
        As `airways`.
    facts : dict
        lumen_ml, wall_ml; branches beyond the trunk and their length_mm; noise_hu; rise_hu that
        made a wall; leaks, how many branches of leaks were cut off, and leak_ml of them; ends, how
        many other ends were; loops left; faults, a list of sentences, empty if nothing is odd.

    Raises
    ------
    ValueError
        Lungs on another grid.

    Notes
    -----
    Trachea and main bronchi come from `airtree`. From their core the lumen grows voxel by voxel,
    breadth first. A voxel belongs to it if 90 % of 48 rays to all sides meet a wall, a rise of HU
    by twice the noise and more, within about the diameter of the airway it comes from, and if it
    lies below half of the way from lumen to wall. So the threshold is local, as in [1]_, and a
    voxel of lung, which is open to at least one side, isn't entered. Fronts of equal path length
    then part the lumen into branches [2]_; those that widen, that are wide and as bright as lung,
    or whose fronts part and meet again as in a mesh, are leaks and cut off, and so are ends
    shorter than 4 mm. The lumen spreads into its edge of partial volume, and the wall to its outer
    half level or 0.6 mm and a fifth of the radius at most; it is a voxel at least.

    A lumen that partial volume makes no darker than its wall isn't seen: radii below about 1.3
    voxels. Bronchi of a fibrotic, cystic or consolidated region may be cut off as a mesh.

    References
    ----------
    .. [1] van Rikxoort, Baggerman, van Ginneken 2009, 2nd Int Workshop on Pulmonary Image Analysis
       341-349.
    .. [2] Schlathoelter, Lorenz, Carlsen, Renisch, Deschamps 2002, Proc SPIE 4684:103-113.
    """
    if lungs is not None:
        images.check_grid(ct, lungs, "lungs")
    axes = images.canonical(ct)
    box = _box(axes, lungs)
    low = [int(s.start) for s in box]
    size = [int(s.stop - s.start) for s in box]
    part = sitk.RegionOfInterest(axes, size[::-1], low[::-1])
    label, facts = _segment(part)
    result = np.zeros(axes.GetSize()[::-1], np.uint8)
    result[box] = label
    for fault in facts["faults"]:
        log.warning("airways by region growing: %s", fault)
    return images.restore(images.from_array(result, axes), ct), facts


def _box(axes, lungs):
    """Return the slices to search: all above the lowest of the lungs, and a little beside them."""
    shape = axes.GetSize()[::-1]
    if lungs is None:
        return tuple(slice(0, n) for n in shape)
    mask = images.array(images.canonical(lungs)) > 0
    if not mask.any():
        return tuple(slice(0, n) for n in shape)
    z, y, x = segmentation.bounding_box(mask, images.spacing_zyx(axes), MARGIN_MM)
    return slice(z.start, shape[0]), y, x


def _segment(axes):
    """Return label and facts of a canonical image."""
    hu = np.ascontiguousarray(images.array(axes), np.int16)
    spacing = np.array(images.spacing_zyx(axes))
    label = np.zeros(hu.shape, np.uint8)
    core, lung_hu = _core(axes, hu, spacing)
    facts = dict.fromkeys(("lumen_ml", "wall_ml", "length_mm", "leak_ml"), 0.0)
    facts |= dict.fromkeys(("branches", "leaks", "ends", "loops"), 0)
    facts["noise_hu"] = noise(hu)
    facts["rise_hu"] = float(np.clip(RISE_NOISE * facts["noise_hu"], *RISE_HU))
    facts["faults"] = []
    if not len(core):
        facts["faults"].append("no trachea was found, so there are no airways")
        return label, facts
    voxel_ml = float(np.prod(spacing)) / 1000.0
    most = int(MOST_ML / voxel_ml)
    ways, step = rays.directions(spacing)
    voxel, parent, found = rays.grow(
        hu,
        core,
        TRUNK_RADIUS_MM,
        ways,
        step,
        spacing,
        facts["rise_hu"],
        lung_hu + WALL_ABOVE_LUNG_HU,
        most,
    )
    if len(voxel) >= len(core) + most:
        facts["faults"].append(
            f"the growth reached {MOST_ML:g} mL, which no airways hold: it leaked, and only the "
            "trunk is kept"
        )
        rows = found[:, rays.PATH] <= TRUNK_PATH_MM
        voxel, parent, found = voxel[rows], np.full(rows.sum(), -1), found[rows]
    found[:, rays.PATH] = np.maximum(found[:, rays.PATH] - TRUNK_PATH_MM, 0.0)
    found[: len(core), rays.RADIUS] = TRUNK_RADIUS_MM
    found[: len(core), rays.INNER] = -1000.0
    keep, left, cut = fronts.prune(voxel, parent, found, tuple(spacing), lung_hu)
    facts["leaks"], facts["ends"] = cut["wide"] + cut["tangle"], cut["short"]
    facts["leak_ml"] = cut["leak_voxels"] * voxel_ml
    facts["branches"] = left.parent.size - 1
    facts["length_mm"] = float(left.length_mm[1:].sum())
    facts["loops"] = int(left.merges.sum())
    if facts["leaks"]:
        facts["faults"].append(
            f"{facts['leaks']} branches that leaked were cut off ({facts['leak_ml']:.2f} mL)"
        )
    if facts["loops"] > max(LOOPS * facts["branches"], 2):
        facts["faults"].append(
            f"{facts['loops']} loops are left among {facts['branches']} branches, which airways "
            "don't have: a leak is likely"
        )
    _coat(hu, label, voxel[keep], found[keep], len(core), spacing, lung_hu, facts["noise_hu"])
    facts["lumen_ml"], facts["wall_ml"] = (
        float((label == code).sum()) * voxel_ml for code in (LUMEN, WALL)
    )
    return label, facts


def _core(axes, hu, spacing):
    """Return voxels (n, 3) deep in trachea and main bronchi, and the median HU of the lungs."""
    every = [max(1, int(COARSE_MM / s)) for s in spacing]
    coarse = sitk.BinShrink(axes, every[::-1]) if max(every) > 1 else axes
    values, wide = images.array(coarse), images.spacing_zyx(coarse)
    inner = segmentation.inner_air(values, wide)
    trunk = airtree.grow(values, inner, wide)[0]
    if not trunk.any():
        return np.zeros((0, 3), np.int32), np.nan
    rim = max(1.5, 1.05 * max(wide[1:]))
    depth = edt.edt(trunk, anisotropy=wide, black_border=False, parallel=1)
    core = depth > rim + CORE_DEPTH_MM
    lung_hu = float(np.median(values[inner & ~trunk])) if (inner & ~trunk).any() else -860.0
    first = np.argwhere(core) * every
    steps = np.stack(np.meshgrid(*[np.arange(n) for n in every], indexing="ij"), -1).reshape(-1, 3)
    voxel = (first[:, None] + steps).reshape(-1, 3)
    values = hu[tuple(voxel.T)]
    return voxel[(values > AIR_HU[0]) & (values < AIR_HU[1])].astype(np.int32), lung_hu


def noise(hu):
    """Return the SD of noise between neighbours in the lung, HU: the mean over the axes."""
    every = max(1, hu.shape[0] // 60)
    found = []
    for axis in range(3):
        thin = hu if axis == 0 else hu[::every]
        front, back = (np.moveaxis(thin, axis, 0)[ends] for ends in (slice(1, None), slice(-1)))
        if axis == 0:
            front, back = front[::every], back[::every]
        inside = (front > LUNG_HU[0]) & (front < LUNG_HU[1])
        inside &= (back > LUNG_HU[0]) & (back < LUNG_HU[1])
        if inside.any():
            jump = np.abs(front[inside].astype(np.int32) - back[inside])
            found.append(1.4826 * float(np.median(jump)) / np.sqrt(2.0))
    return float(np.mean(found)) if found else 20.0


def _coat(hu, label, voxel, found, first, spacing, lung_hu, noise_hu):
    """Mark a lumen with its edge, and its wall.

    The edge of a thick wall shows the half level. A thin one never shows the HU of wall: there
    the edge lies nearer to its peak, by about a quarter of what the peak lacks. The `first` voxels
    are the trunk's core, whose edge others know better.
    """
    label[tuple(voxel.T)] = LUMEN
    radius, inner, outer = (found[:, k] for k in (rays.RADIUS, rays.INNER, rays.OUTER))
    rows = np.arange(len(voxel), dtype=np.int32)
    bound = np.minimum(-500.0 + 0.25 * outer, inner + EDGE_MOST * (outer - inner))
    reach = 1.05 * max(spacing) + EDGE_SHARE * radius
    reach[:first] = 2.0 * max(spacing)
    more, their = shells.spread(
        hu, label, voxel, rows, voxel * spacing, bound, reach, spacing, LUMEN, noise_hu
    )
    # The wall's reach counts from the lumen's edge.
    places, rows = np.concatenate([voxel, more]), np.concatenate([rows, their])
    shells.spread(
        hu,
        label,
        places,
        np.arange(len(places), dtype=np.int32),
        places * spacing,
        (0.5 * lung_hu + 0.25 * outer)[rows],
        (WALL_MM + WALL_SHARE * radius)[rows],
        spacing,
        WALL,
        -1.0,
    )
