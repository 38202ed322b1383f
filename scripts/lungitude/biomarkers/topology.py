"""Topology of a map of classes in the lungs: surface, curvature and Euler number of each class.

All three are sums over cells of 2 x 2 x 2 voxels, so one count of the 256 patterns of a cell gives
them all. They depend on voxel size and noise: compare within one protocol.
"""

import itertools

import numba
import numpy as np
import pandas as pd
from scipy.spatial import SphericalVoronoi

from lungitude import images
from lungitude.biomarkers import regions

MEASURES = ("surface_per_mm", "curvature_per_mm2", "euler_per_mm3")

# Corners of a cell as (z, y, x); corner k is bit k of a pattern.
_CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
_BITS = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.int64)  # (pattern, corner)


def topology(classes, names, mask, scheme="mask"):
    """Minkowski functionals of each class of a map, per volume.

    Parameters
    ----------
    classes : SimpleITK.Image
        Codes of the classes, such as a map of `prm.prm_map`; 0 is no lung, or left out.
    names : dict of str to int
        The classes to measure, such as `prm.CLASSES`; codes from 1 to 255.
    mask : SimpleITK.Image
        Label map of the lungs on the same grid.
    scheme : {"mask", "lungs", "lobes"}
        Which rows follow the row "all", see `segmentation.REGIONS`.

    Returns
    -------
    DataFrame
        ``region``, and of each class, such as ``fsad``: ``fsad_surface_per_mm`` (area, 1/mm),
        ``fsad_curvature_per_mm2`` (integral of mean curvature, 1/mm2; positive for lumps, negative
        for holes) and ``fsad_euler_per_mm3`` (pieces less tunnels plus cavities, 1/mm3). NaN in a
        region without cells. The first functional is the share of the volume: see `prm.table`.

    Notes
    -----
    The topological response map of [1]_ taken over whole regions. Only cells count whose eight
    voxels are classified and of the region, so neither the pleura nor a fissure nor a vessel that
    is left out is a surface ("minus sampling", [2]_). Surface: Crofton's formula in the 13
    directions of the cell, weighted by their Voronoi areas on the sphere, for any voxel [3]_.
    Curvature: the same with the 13 planes, each by the mean of its 4- and its 8-connected Euler
    number, so that a class and its complement differ in sign alone. Euler number: 26 neighbours.

    References
    ----------
    .. [1] Hoff et al. 2017, Sci Rep 7:2999.
    .. [2] Lang, Ohser, Hilfer 2001, J Microsc 203:303-313.
    .. [3] Legland, Kieu, Devaux 2007, Image Anal Stereol 26:83-92.
    """
    codes = regions.codes(mask, scheme)
    images.check_grid(classes, mask, "lung mask")
    labels = images.array(mask)
    found = np.where(labels != 0, images.array(classes), 0).astype(np.uint8)
    # Rows of the counts: 0 whole lung, then the codes of the scheme.
    most = max(codes.values(), default=0)
    wanted = np.where(labels <= most, labels, 0).astype(np.uint8)
    counts = _patterns(found, wanted, most + 1, max(found.max(), *names.values()) + 1)
    spacing = images.spacing_zyx(classes)
    rows = [_row("all", counts[0], names, spacing)]
    rows += [_row(name, counts[code], names, spacing) for name, code in codes.items()]
    return pd.DataFrame(rows, columns=columns(names))


def columns(names):
    """List the columns of `topology` for some classes."""
    return ["region", *(f"{name}_{measure}" for name in names for measure in MEASURES)]


def functionals(counts, spacing_mm):
    """Surface, integral of mean curvature and Euler number from the patterns of a binary image.

    Parameters
    ----------
    counts : ndarray of int, (256,)
        How many cells of 2 x 2 x 2 voxels show each pattern; voxel (z, y, x) of a cell is bit
        4 z + 2 y + x.
    spacing_mm : sequence of three float
        Voxel (z, y, x) in mm.

    Returns
    -------
    surface_mm2, curvature_mm, euler : float
        Of a ball of radius r: 4 pi r^2, 4 pi r and 1.
    """
    spacing = tuple(float(mm) for mm in spacing_mm)
    return tuple(float(counts @ weight) for weight in (*_crofton(spacing), _EULER))


def _row(region, counts, names, spacing):
    """Return the densities of one region from its counts (class, pattern)."""
    cells = int(counts[1].sum())  # each cell shows one pattern of every class
    row = {"region": region}
    volume = cells * float(np.prod(spacing))
    for label, code in names.items():
        for measure, value in zip(MEASURES, functionals(counts[code], spacing), strict=True):
            row[f"{label}_{measure}"] = value / volume if cells else np.nan
    return row


@numba.njit(cache=True)
def _patterns(classes, labels, n_labels, n_classes):
    """Count the patterns of each class over cells that lie in the lung, and in one label."""
    counts = np.zeros((n_labels, n_classes, 256), np.int64)
    codes = np.zeros(n_classes, np.int64)
    nz, ny, nx = classes.shape
    for z in range(nz - 1):
        for y in range(ny - 1):
            for x in range(nx - 1):
                codes[:] = 0
                label = labels[z, y, x]
                whole, one = True, label > 0
                for corner in range(8):
                    k, j, i = z + (corner >> 2), y + (corner >> 1 & 1), x + (corner & 1)
                    code = classes[k, j, i]
                    if code == 0:
                        whole = False
                        break
                    codes[code] |= 1 << corner
                    one &= labels[k, j, i] == label
                if whole:
                    for code in range(1, n_classes):
                        counts[0, code, codes[code]] += 1
                        if one:
                            counts[label, code, codes[code]] += 1
    return counts


def _euler():
    """Weights of the patterns for the Euler number with 26 neighbours.

    That of the complement with 6: voxels less pairs plus squares less full cells, each shared
    between the cells that hold it.
    """
    empty = 1 - _BITS
    found = empty.sum(1) / 8 - empty.prod(1)
    for axis in range(3):
        near = np.flatnonzero(_CORNERS[:, axis] == 0)
        far = near + (4 >> axis)
        found -= (empty[:, near] * empty[:, far]).sum(1) / 4
        found += (empty[:, near].prod(1) + empty[:, far].prod(1)) / 2
    return found


_EULER = _euler()


def _crofton(spacing):
    """Weights of the patterns for surface and for integral of mean curvature."""
    steps, crossings = _lines(spacing)
    lengths = np.linalg.norm(steps, axis=1)
    voxel = float(np.prod(spacing))
    surface = 4 * voxel * crossings @ (_shares(steps) / lengths)
    normals, areas, sections = _planes(spacing)
    curvature = 2 * np.pi * voxel * sections @ (_shares(normals) / areas)
    return surface, curvature


def _lines(spacing):
    """Return the 13 steps of a cell in mm, and how often a pattern enters its set along each."""
    steps, crossings = [], []
    for step in _directions():
        pairs = [
            (a, b)
            for a, b in itertools.permutations(range(8), 2)
            if (_CORNERS[b] - _CORNERS[a] == step).all()
        ]
        shared = 2 ** np.count_nonzero(step == 0)  # cells that hold one such pair
        changes = sum(_BITS[:, a] != _BITS[:, b] for a, b in pairs)
        steps.append(step * spacing)
        crossings.append(changes / (2 * shared))
    return np.array(steps), np.stack(crossings, axis=1)


def _planes(spacing):
    """Return normals and areas (mm2) of the 13 planes, and the Euler number of a pattern in each.

    Squares along the axes, rectangles through two edges, triangles through three corners.
    """
    normals, areas, sections = [], [], []
    for normal in _directions():
        heights = _CORNERS @ normal
        axes = np.count_nonzero(normal)
        levels = [h for h in np.unique(heights) if (heights == h).sum() == (3 if axes == 3 else 4)]
        section = np.zeros(256)
        for level in levels:
            corners = np.flatnonzero(heights == level)
            section += _section(corners) / (2 if axes == 1 else 1)
        first = _CORNERS[np.flatnonzero(heights == levels[0])] * spacing
        sides = first[1:3] - first[0]
        area = np.linalg.norm(np.cross(*sides))
        normals.append(normal / spacing)
        areas.append(area)
        sections.append(section)
    return np.array(normals), np.array(areas), np.stack(sections, axis=1)


def _section(corners):
    """Euler number of a pattern in a triangle or square of a plane, its share of a whole lattice.

    A triangle: one corner 1/6, two -1/6. A square: one corner 1/4, three -1/4; two opposite ones
    0, the mean of joined and apart.
    """
    count = _BITS[:, corners].sum(1)
    share = 1 / 6 if len(corners) == 3 else 1 / 4
    return share * ((count == 1).astype(float) - (count == len(corners) - 1))


def _directions():
    """List the 13 directions of a cell, one of each opposite pair, as steps (z, y, x)."""
    steps = itertools.product((-1, 0, 1), repeat=3)
    return [np.array(step) for step in steps if step > (0, 0, 0)]


def _shares(directions):
    """Return the share of the sphere that is nearest to each direction, or to its opposite."""
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    areas = SphericalVoronoi(np.concatenate([units, -units])).calculate_areas()
    return 2 * areas[: len(units)] / areas.sum()
