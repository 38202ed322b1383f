"""The large airways in the air inside the body: trachea, main bronchi, and what grows from them.

Arrays are (z, y, x) with x to the left, y to the back, z to the head; lengths are in mm.
"""

import cc3d
import edt
import numpy as np

TRACHEA_MM2 = (40.0, 800.0)  # lumen of an adult trachea, narrow sabre sheath to wide
TRACHEA_MIN_LENGTH_MM = 20.0
TRACHEA_HU = -800  # mean of a lumen of 4 voxels and more, partial volume included
LUMEN_HU = tuple(range(-980, -690, 20))  # thresholds tried for growth, strictest first
TRUNK_MAX_ML = 130.0  # trachea and main bronchi of a large man, with their partial volume
LEAK_GROWTH = 1.6
REACH_MM = (95.0, 70.0, 75.0)  # z below the trachea, y and x around it: the main bronchi
BRONCHUS_MIN_RADIUS_MM = 3.5  # of the lumen; thinner tubes, lobar and below, belong to the lungs


def trachea(hu, inner, spacing):
    """Find the trachea as the longest column of round, empty patches, from the top.

    Parameters
    ----------
    hu : ndarray, (z, y, x)
    inner : ndarray of bool, same shape
        Air inside the body, lungs included.
    spacing : tuple of float
        mm, (z, y, x).

    Returns
    -------
    ndarray of bool, same shape
        Empty where no column of 20 mm is found.
    """
    found = np.zeros(hu.shape, bool)
    columns = []  # each: list of (z, patch box, patch mask), growing to the feet
    active = []
    area_mm2 = spacing[1] * spacing[2]
    for z in range(hu.shape[0] - 1, -1, -1):
        patches = _round_patches(hu[z], inner[z], spacing, area_mm2)
        following = []
        for box, patch in patches:
            column = next((c for c in active if _overlap(c[-1], box, patch)), None)
            if column is None:
                column = []
                columns.append(column)
            else:
                active.remove(column)
            column.append((z, box, patch))
            following.append(column)
        active = following
    columns = [c for c in columns if len(c) * spacing[0] >= TRACHEA_MIN_LENGTH_MM and len(c) > 2]
    if not columns:
        return found
    lungs_z = np.flatnonzero(inner.any((1, 2)))
    floor = lungs_z[0] + 0.4 * (lungs_z[-1] - lungs_z[0])  # below: bowel and bronchi
    columns = [c for c in columns if c[0][0] > floor]
    if not columns:
        return found
    best = max(columns, key=lambda c: len(c) * spacing[0] - 0.1 * _mean_hu(hu, c))
    for z, box, patch in best:
        found[z][box] |= patch
    return found


def grow(hu, inner, spacing):
    """Grow the trachea into the bronchi, and stop before the lungs.

    Parameters
    ----------
    hu, inner, spacing
        As `trachea`.

    Returns
    -------
    trunk : ndarray of bool, same shape
        Trachea and main bronchi: lumen with its partial volume; empty without a trachea.
    tree : ndarray of bool, same shape
        The same with all branches that the growth reached.

    Notes
    -----
    The growth is repeated with rising thresholds until the volume leaps, which is the leak into
    the lung. The last growth before it is the tree; the trunk is what a ball fits into. Both are
    widened into their partial volume.
    """
    column = trachea(hu, inner, spacing)
    found = np.zeros((2, *hu.shape), bool)
    if not column.any():
        return found[0], found[1]
    box = _reach(column, spacing)
    hu, inner, column = hu[box], inner[box], column[box]
    voxel_ml = np.prod(spacing) / 1000.0
    kept, volume = column, column.sum() * voxel_ml
    start = max(volume, 10.0)
    for threshold in LUMEN_HU:
        lumen = (inner & (hu < threshold)) | column
        parts = cc3d.connected_components(lumen.view(np.uint8), connectivity=6)
        grown = np.isin(parts, np.unique(parts[column]))
        now = grown.sum() * voxel_ml
        if now > TRUNK_MAX_ML + start or now > LEAK_GROWTH * max(volume, start) + 10.0:
            break
        kept, volume = grown, now
    thick = _open(kept, max(BRONCHUS_MIN_RADIUS_MM, 0.6 * max(spacing)), spacing) | column
    parts = cc3d.connected_components(thick.view(np.uint8), connectivity=26)
    thick = np.isin(parts, np.unique(parts[column]))
    # Into the partial volume of the wall: one voxel, at least 1.5 mm.
    rim = max(1.5, 1.05 * max(spacing[1:]))
    for result, lumen in zip(found, (thick, kept), strict=True):
        wide = edt.edt(~lumen, anisotropy=spacing, black_border=False, parallel=1) <= rim
        result[box] = lumen | (wide & inner)
    return found[0], found[1]


def _round_patches(hu, inner, spacing, area_mm2):
    """Return (box, mask) of the trachea-like patches of one slice."""
    patches = []
    empty = inner & (hu < TRACHEA_HU + 100)
    if not empty.any():
        return patches
    parts = cc3d.connected_components(empty.view(np.uint8), connectivity=4)
    stats = cc3d.statistics(parts)
    for i in range(1, stats["voxel_counts"].size):
        area = stats["voxel_counts"][i] * area_mm2
        if not TRACHEA_MM2[0] <= area <= TRACHEA_MM2[1]:
            continue
        box = stats["bounding_boxes"][i]
        high, wide = ((s.stop - s.start) * d for s, d in zip(box, spacing[1:], strict=True))
        if max(high, wide) > 3.0 * min(high, wide) or area < 0.45 * high * wide:
            continue
        patch = parts[box] == i
        if hu[box][patch].mean() < TRACHEA_HU:
            patches.append((box, patch))
    return patches


def _overlap(last, box, patch):
    """Whether a patch lies under the last one of a column: half of the smaller is shared."""
    _, other_box, other = last
    rows = slice(max(box[0].start, other_box[0].start), min(box[0].stop, other_box[0].stop))
    cols = slice(max(box[1].start, other_box[1].start), min(box[1].stop, other_box[1].stop))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return False

    def cut(mask, of):
        return mask[
            rows.start - of[0].start : rows.stop - of[0].start,
            cols.start - of[1].start : cols.stop - of[1].start,
        ]

    shared = (cut(patch, box) & cut(other, other_box)).sum()
    return shared >= 0.5 * min(patch.sum(), other.sum())


def _mean_hu(hu, column):
    return float(np.mean([hu[z][box][patch].mean() for z, box, patch in column]))


def _reach(column, spacing):
    """Return the box in which main bronchi can lie."""
    box = []
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        where = np.flatnonzero(column.any(others))
        pad = int(np.ceil(REACH_MM[axis] / spacing[axis]))
        high = where[-1] + 1 if axis == 0 else min(column.shape[axis], where[-1] + pad + 1)
        box.append(slice(max(0, where[0] - pad), high))
    return tuple(box)


def _open(mask, radius_mm, spacing):
    """Open a mask by a ball; ends at the border of the array stay."""
    core = edt.edt(mask, anisotropy=spacing, black_border=False, parallel=1) > radius_mm
    reach = edt.edt(~core, anisotropy=spacing, black_border=False, parallel=1) <= radius_mm
    return mask & reach
