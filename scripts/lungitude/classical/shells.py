"""Layers around a grown lumen: its edge of partial volume, and its wall."""

import numba
import numpy as np


@numba.njit(cache=True)
def spread(hu, label, voxel, source, at_mm, bound_hu, reach_mm, spacing, code, slack_hu):
    """Spread a label outwards from voxels, by layers of neighbours that share a face or an edge.

    Parameters
    ----------
    hu : ndarray of int16, (z, y, x)
    label : ndarray of uint8, same shape
        Where it is 0, `code` is set.
    voxel : ndarray of int32, (n, 3)
        From which to spread.
    source : ndarray of int32, (n,)
        Row of the three below for each of `voxel`.
    at_mm : ndarray, (m, 3)
        Place from which the reach counts, index times spacing.
    bound_hu, reach_mm : ndarray, (m,)
    spacing : ndarray, (3,)
        mm.
    code : int
    slack_hu : float
        0 or more: a lumen spreads, up to `bound_hu` and down by `slack_hu` at most. Below 0: a wall
        does, down to `bound_hu`, and its first layer everywhere.

    Returns
    -------
    voxel, source
        What was added.
    """
    nz, ny, nx = hu.shape
    inwards = slack_hu >= 0
    room = 4 * voxel.shape[0] + 1000
    places, rows = np.empty((room, 3), np.int32), np.empty(room, np.int32)
    first = voxel.shape[0]
    places[:first], rows[:first] = voxel, source
    head, tail = 0, first
    while head < tail:
        for move in range(27):
            dz, dy, dx = move // 9 - 1, move // 3 % 3 - 1, move % 3 - 1
            if not 0 < abs(dz) + abs(dy) + abs(dx) < 3:
                continue
            z, y, x = places[head, 0] + dz, places[head, 1] + dy, places[head, 2] + dx
            if z < 0 or y < 0 or x < 0 or z >= nz or y >= ny or x >= nx or label[z, y, x] != 0:
                continue
            row = rows[head]
            touches = not inwards and head < first
            if not touches:
                away = (z * spacing[0] - at_mm[row, 0]) ** 2
                away += (y * spacing[1] - at_mm[row, 1]) ** 2
                away += (x * spacing[2] - at_mm[row, 2]) ** 2
                if away > reach_mm[row] ** 2:
                    continue
                here = float(hu[z, y, x])
                if inwards:
                    before = hu[places[head, 0], places[head, 1], places[head, 2]]
                    if here > bound_hu[row] or here < before - slack_hu:
                        continue
                elif here < bound_hu[row]:
                    continue
            label[z, y, x] = code
            if tail == room:
                room *= 2
                more, others = np.empty((room, 3), np.int32), np.empty(room, np.int32)
                more[:tail], others[:tail] = places, rows
                places, rows = more, others
            places[tail, 0], places[tail, 1], places[tail, 2] = z, y, x
            rows[tail] = row
            tail += 1
        head += 1
    return places[first:tail], rows[first:tail]
