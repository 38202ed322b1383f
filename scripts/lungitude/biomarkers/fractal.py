"""Fractal dimension by box counting, of points in mm or of voxels."""

import itertools

import numba
import numpy as np

BOXES_MM = (1.0, 2.0, 4.0, 8.0, 16.0)  # the frozen protocol for vessel centrelines
STEP_MM = 0.1  # between the points on a centreline: at 0.25 a straight line comes out at 0.95
MAX_CELLS = 1 << 29  # of the grid of boxes, a byte each


def fractal_dimension(points_mm, boxes_mm=BOXES_MM, turned=True, origin_mm=None):
    """Box-counting dimension of a set of points.

    Parameters
    ----------
    points_mm : ndarray of float, (n, 2) or (n, 3)
        Points that fill the set more densely than the smallest box: see `along` for curves and
        `of_voxels` for masks.
    boxes_mm : sequence of float
        Edges of the boxes, 2 or more, all different.
    turned : bool
        Turn the grid of boxes by a fixed rotation that is aligned with nothing. Centrelines traced
        in voxels run along the axes more than true ones do, and fall into fewer boxes of a grid
        along the same axes, the more so the nearer box and voxel are in size.
    origin_mm : sequence of float, optional
        A corner of the grid; by default the lower corner of the points, so that the answer doesn't
        depend on where the set lies.

    Returns
    -------
    dict
        ``fractal_dimension``, the slope of log N on log(1 / box) by least squares; ``fd_r2``;
        ``fd_points``; ``fd_low_mm`` and ``fd_high_mm``, the range of boxes; ``fd_counts`` (N by
        box, descending with size) and ``fd_local`` (slopes between neighbouring boxes), tuples.
        NaN for fewer than 2 points or where no count differs.

    Raises
    ------
    ValueError
        Points or boxes that can't be used.

    Notes
    -----
    N is the least number of boxes over the 8 grids (4 in a plane) moved by none or half a box along
    each axis: the grid that lies as the set does is always among them, which random offsets miss
    (a filled cube would come out at 2.83). Self-similar sets need boxes in their own ratio: a
    Menger sponge gives 2.73 in powers of 3, but 2.51 in powers of 2.
    """
    points = np.asarray(points_mm, np.float64)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(f"points must be (n, 2) or (n, 3), these are {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points hold values that are not finite")
    boxes = sorted(float(box) for box in boxes_mm)
    if len(set(boxes)) < 2 or not 0.0 < boxes[0] <= boxes[-1] < np.inf:
        raise ValueError(f"boxes must be 2 or more different positive sizes in mm, not {boxes}")
    result = {
        "fractal_dimension": np.nan,
        "fd_r2": np.nan,
        "fd_points": len(points),
        "fd_low_mm": boxes[0],
        "fd_high_mm": boxes[-1],
        "fd_counts": (0,) * len(boxes),
        "fd_local": (np.nan,) * (len(boxes) - 1),
    }
    if len(points) < 2:
        return result
    if turned:
        points = points @ _turn(points.shape[1])
    origin = points.min(axis=0) if origin_mm is None else np.asarray(origin_mm, np.float64)
    # Rounded, so that a point on a face stays on its side whatever the arithmetic before.
    places = np.round(points - origin, 6)
    counts = [_least(places, box) for box in boxes]
    result["fd_counts"] = tuple(counts)
    if len(set(counts)) < 2:
        return result
    x, y = -np.log(boxes), np.log(counts)
    slope, level = np.polyfit(x, y, 1)
    result["fractal_dimension"] = float(slope)
    rest = ((y - level - slope * x) ** 2).sum()
    result["fd_r2"] = float(1.0 - rest / ((y - y.mean()) ** 2).sum())
    result["fd_local"] = tuple(float(s) for s in np.diff(y) / np.diff(x))
    return result


def of_voxels(mask, spacing, boxes_mm=BOXES_MM):
    """Box-counting dimension of the nonzero voxels of an array.

    Parameters
    ----------
    mask : ndarray, 2 or 3 axes
    spacing : sequence of float
        mm, in the order of the axes.
    boxes_mm : sequence of float
        Best whole multiples of the voxel: a box holds the voxels whose centres lie in it.

    Returns
    -------
    dict
        As `fractal_dimension`.
    """
    spacing = np.asarray(spacing, np.float64)
    voxels = np.argwhere(np.asarray(mask) != 0)
    if not len(voxels):
        return fractal_dimension(np.empty((0, np.ndim(mask))), boxes_mm)
    # The grid starts at the outer face of the first voxel, and no centre lies on a face.
    corner = (voxels.min(axis=0) - 0.5) * spacing
    return fractal_dimension(voxels * spacing, boxes_mm, turned=False, origin_mm=corner)


def along(start_mm, end_mm, step_mm=STEP_MM):
    """Points on straight segments, at most `step_mm` apart, both ends included.

    Parameters
    ----------
    start_mm, end_mm : ndarray of float, (n, d)
    step_mm : float
        A tenth of the smallest box: corners of boxes are missed by fewer points.

    Returns
    -------
    ndarray, (m, d)
    """
    start, end = np.asarray(start_mm, np.float64), np.asarray(end_mm, np.float64)
    steps = np.ceil(np.linalg.norm(end - start, axis=1) / step_mm).astype(np.intp)
    steps = np.maximum(steps, 1)
    row = np.repeat(np.arange(len(start)), steps + 1)
    first = np.repeat(np.cumsum(steps + 1) - (steps + 1), steps + 1)
    share = (np.arange(row.size) - first) / steps[row]
    return start[row] + share[:, None] * (end[row] - start[row])


def _turn(axes):
    """Rotation by angles that no lattice has: about z, and about x where there is one."""
    a, b = 0.6, 0.45
    turn = np.eye(axes)
    turn[:2, :2] = [[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]
    if axes == 3:
        tilt = np.eye(3)
        tilt[1:, 1:] = [[np.cos(b), np.sin(b)], [-np.sin(b), np.cos(b)]]
        turn = turn @ tilt
    return turn


def _least(places, box):
    """Least number of boxes that hold all places, over grids moved by none or half a box."""
    places = places / box * (1.0 - 1e-9)  # the far face of the last box belongs to it
    shifts = np.array(list(itertools.product((0.0, 0.5), repeat=places.shape[1])))
    # Cells may begin below 0 where a given origin lies inside the set.
    base = np.floor(places.min(axis=0))
    shape = (np.floor(places.max(axis=0)) - base).astype(np.int64) + 2
    if np.prod(shape, dtype=float) > MAX_CELLS:
        counts = [len(np.unique(np.floor(places + s), axis=0)) for s in shifts]
        return int(min(counts))
    if places.shape[1] == 2:
        places = np.column_stack([np.zeros(len(places)), places])
        shifts = np.column_stack([np.zeros(len(shifts)), shifts])
        base, shape = np.r_[0.0, base], np.r_[1, shape]
    return int(_occupied(places - base, shifts, shape).min())


@numba.njit(cache=True)
def _occupied(places, shifts, shape):
    """Count the unit cells that hold a place, for each shift; places are 0 or more."""
    seen = np.zeros(shape[0] * shape[1] * shape[2], np.uint8)
    counts = np.zeros(len(shifts), np.int64)
    for k in range(len(shifts)):
        mark = np.uint8(k + 1)
        for i in range(len(places)):
            a = np.int64(places[i, 0] + shifts[k, 0])
            b = np.int64(places[i, 1] + shifts[k, 1])
            c = np.int64(places[i, 2] + shifts[k, 2])
            cell = (a * shape[1] + b) * shape[2] + c
            if seen[cell] != mark:
                seen[cell] = mark
                counts[k] += 1
    return counts
