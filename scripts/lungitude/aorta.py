"""Blood in the descending aorta, as an inner reference of the HU scale.

Arrays are (z, y, x) with x to the left, y to the back, z to the head; lengths are in mm.
"""

import edt
import numpy as np
from scipy import ndimage

RADIUS_MM = (7.5, 21.0)
BLOOD_HU = ((0.0, 100.0), (110.0, 800.0))  # without and with contrast medium
SLAB_MM = 10.0  # of slices that are averaged in the search
STEP_MM = 4.0  # between the slices that are searched
DRIFT_MM = 4.0  # of the centre, a step
MIN_LENGTH_MM = 40.0
SHARE_OF_RADIUS = 0.6  # core that is measured: clear of the wall
MAX_SD_HU = 45.0  # of the smoothed core; bone and dissections vary more
LUNG_NEAR_MM = 6.0  # the left lung lies against the vessel


def descending_aorta(hu, right, left, spacing):
    """Find round, even tissue beside the spine that runs down along the left lung.

    Parameters
    ----------
    hu : ndarray, (z, y, x)
    right, left : ndarray of bool, same shape
        Lungs.
    spacing : tuple of float
        mm, (z, y, x).

    Returns
    -------
    list of tuple
        Per searched slice on the way: z index, y and x of the centre in voxels, radius in mm.
        Empty where no column of 40 mm is found.

    Notes
    -----
    In each slice the largest discs that fit into tissue of the range of blood are candidates; a
    column of them that drifts slowly is the vessel. Ranges with and without contrast medium are
    tried, the longer column counts.
    """
    if not right.any() or not left.any():
        return []
    levels = np.flatnonzero((right | left).any((1, 2)))
    extent = levels[-1] - levels[0]
    # From the foot of the aortic arch to the upper diaphragm.
    low, high = levels[0] + 0.2 * extent, levels[0] + 0.68 * extent
    step = max(1, round(STEP_MM / spacing[0]))
    slices = range(int(high), int(low), -step)
    columns = [
        _column(hu, right, left, spacing, slices, limits, step * spacing[0]) for limits in BLOOD_HU
    ]
    best = max(columns, key=len)
    if len(best) * step * spacing[0] < MIN_LENGTH_MM:
        return []
    return best[1:-1]  # at the ends, the slab reaches beyond the vessel


def blood(hu, column, spacing):
    """Return mean and SD of HU in the core of a column, and its voxels; NaN without one."""
    values = []
    for z, y, x, radius in column:
        reach = SHARE_OF_RADIUS * radius
        rows = np.arange(hu.shape[1])[:, None] - y
        cols = np.arange(hu.shape[2])[None, :] - x
        inside = (rows * spacing[1]) ** 2 + (cols * spacing[2]) ** 2 <= reach**2
        values.append(hu[z][inside])
    values = np.concatenate(values).astype(float) if values else np.empty(0)
    if values.size < 20:
        return np.nan, np.nan, int(values.size)
    return float(values.mean()), float(values.std()), int(values.size)


def _column(hu, right, left, spacing, slices, limits, step_mm):
    """Return the longest slowly drifting column of discs."""
    middle = _middle(right, left)
    active, finished = [], []
    for z in slices:
        half = round(0.5 * SLAB_MM / spacing[0])
        slab = hu[max(0, z - half) : z + half + 1]
        discs = _discs(slab, right[z], left[z], middle, spacing, limits)
        following = []
        for y, x, radius in discs:
            near = [
                c
                for c in active
                if np.hypot((c[-1][1] - y) * spacing[1], (c[-1][2] - x) * spacing[2])
                <= DRIFT_MM * max(1.0, step_mm / STEP_MM)
                and abs(c[-1][3] - radius) <= 3.0
            ]
            parent = max(near, key=len, default=[])
            following.append([*parent, (z, y, x, radius)])
        finished += active
        active = following
    return max([*finished, *active], key=len, default=[])


def _middle(right, left):
    """Return the column of voxels midway between the lungs."""
    x = np.arange(right.shape[2])
    return 0.5 * sum(float((m.sum((0, 1)) * x).sum() / m.sum()) for m in (right, left))


def _discs(slab, right, left, middle, spacing, limits):
    """Return (y, x, radius) of discs of blood in one slab of slices, in the place of the aorta.

    The vessel runs along z, so a mean along z takes noise away and keeps its edge.
    """
    if not left.any() or not right.any():
        return []
    dy, dx = spacing[1:]
    rows = np.flatnonzero((left | right).any(1))
    back = rows[-1]
    # Behind the middle of the chest, in front of the last of the lungs, from the midline leftward.
    top = max(int(back - 95.0 / dy), 0)
    x0 = int(max(0, middle - 15.0 / dx))
    x1 = int(min(slab.shape[2], middle + 75.0 / dx))
    window = (slice(top, back + 1), slice(x0, x1))
    size = [max(1, round(3.0 / d)) for d in (dy, dx)]
    smooth = ndimage.uniform_filter(slab[(slice(None), *window)].mean(0, dtype=np.float32), size)
    tissue = (smooth > limits[0]) & (smooth < limits[1])
    depth = edt.edt(tissue, anisotropy=(dy, dx), black_border=True, parallel=1)
    size = [2 * max(1, round(5.0 / d)) + 1 for d in (dy, dx)]
    peaks = (depth >= RADIUS_MM[0]) & (depth <= RADIUS_MM[1])
    peaks &= depth == ndimage.maximum_filter(depth, size)
    to_lung = edt.edt(~left[window], anisotropy=(dy, dx), black_border=False, parallel=1)
    found = []
    yy, xx = np.mgrid[: depth.shape[0], : depth.shape[1]]
    for y, x in np.argwhere(peaks):
        radius = float(depth[y, x])
        if to_lung[y, x] > radius + LUNG_NEAR_MM or (x0 + x - middle) * dx < -5.0:
            continue
        if (back - top - y) * dy < 15.0:
            continue
        core = ((yy - y) * dy) ** 2 + ((xx - x) * dx) ** 2 <= (SHARE_OF_RADIUS * radius) ** 2
        if smooth[core].std() <= MAX_SD_HU:
            found.append((top + int(y), x0 + int(x), radius))
    return found
