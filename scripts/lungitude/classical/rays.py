"""Growth of an airway lumen, each voxel judged by rays that look for a wall all around it.

Arrays are (z, y, x), lengths mm; HU are int16.
"""

import math

import numba
import numpy as np

DIRECTIONS = 48
STEP_VOXELS = 0.6  # between samples along a ray
DENSE_HU = -500  # no lumen, however thin
FLAT_HU = 350.0  # rise that a wall of any bronchus beyond the main ones shows
RISE_HU_MM = 32.0  # wider airways have clearer walls: rise asked for, by mm of reach
SMALL_MM = 1.5  # the least that is looked for is a lumen of this radius, blurred
SHRINK = 0.65
TRIES = 4
PEAK_BEHIND_MM = 2.0  # of where the rise was met
FOLLOW = 0.3  # how fast the expected radius follows the measured one
SHARE = 0.9  # of the rays that must meet a wall
PATH, MET, RADIUS, INNER, OUTER, SCALE = range(6)  # columns of facts


def directions(spacing):
    """Return (n, 3) steps in voxels, even over the sphere (Fibonacci), and their length in mm."""
    k = np.arange(DIRECTIONS) + 0.5
    z, turn = 1.0 - 2.0 * k / DIRECTIONS, math.pi * (1.0 + math.sqrt(5.0)) * k
    flat = np.sqrt(1.0 - z * z)
    way = np.stack([z, flat * np.sin(turn), flat * np.cos(turn)], axis=1)
    step = STEP_VOXELS * min(spacing)
    return way * step / np.asarray(spacing), step


@numba.njit(cache=True)
def _sample(hu, z, y, x):
    k, j, i = int(z), int(y), int(x)
    c, b, a = z - k, y - j, x - i
    low = (hu[k, j, i] * (1 - a) + hu[k, j, i + 1] * a) * (1 - b)
    low += (hu[k, j + 1, i] * (1 - a) + hu[k, j + 1, i + 1] * a) * b
    high = (hu[k + 1, j, i] * (1 - a) + hu[k + 1, j, i + 1] * a) * (1 - b)
    high += (hu[k + 1, j + 1, i] * (1 - a) + hu[k + 1, j + 1, i + 1] * a) * b
    return low * (1 - c) + high * c


@numba.njit(cache=True)
def _look(hu, z, y, x, ways, step, reach, rise, dist, low, peak):
    """Send rays from a voxel; return how many met a wall, and of these distance, lumen and peak.

    A ray meets a wall where HU has risen by `rise` above the lowest on its way.
    """
    start, count = float(hu[z, y, x]), 0
    nz, ny, nx = hu.shape
    for i in range(ways.shape[0]):
        least, most, met = start, 0.0, 0.0
        c, b, a = float(z), float(y), float(x)
        for k in range(1, int(reach / step) + 1):
            c, b, a = c + ways[i, 0], b + ways[i, 1], a + ways[i, 2]
            if c < 0 or b < 0 or a < 0 or c >= nz - 1 or b >= ny - 1 or a >= nx - 1:
                break
            value = _sample(hu, c, b, a)
            if met == 0.0:
                least = min(least, value)
                if value - least >= rise:
                    met, most = k * step, value
            else:
                most = max(most, value)
                if value < most - 15.0 or k * step > met + PEAK_BEHIND_MM:
                    break
        if met > 0.0:
            dist[count], low[count], peak[count] = met, least, most
            count += 1
    return count


@numba.njit(cache=True)
def _judge(hu, z, y, x, wide, ways, step, least_hu, wall_hu, rays, found):
    """Whether a voxel lies in a lumen of a radius up to `wide`; its facts go into `found`."""
    n = ways.shape[0]
    for _ in range(TRIES):
        rise = min(max(RISE_HU_MM * wide, least_hu), FLAT_HU)
        reach = 2.0 * wide + SMALL_MM
        count = _look(hu, z, y, x, ways, step, reach, rise, rays[0], rays[1], rays[2])
        if count >= SHARE * n:
            radius = 0.87 * np.median(rays[0, :count])  # rays are askew: sin of 60 degrees
            inner = np.sort(rays[1, :count])[count // 5]
            outer = np.median(rays[2, :count])
            if hu[z, y, x] <= 0.5 * (inner + outer) and radius <= wide and outer >= wall_hu:
                wants = 1.5 * radius + 0.5
                found[MET], found[RADIUS], found[INNER], found[OUTER] = (
                    count / n, radius, inner, outer,
                )  # fmt: skip
                found[SCALE] = min(wide, (1.0 - FOLLOW) * wide + FOLLOW * wants)
                return True
        if wide <= SMALL_MM:
            return False
        wide = max(SMALL_MM, SHRINK * wide)
    return False


@numba.njit(cache=True)
def _inside(shape, z, y, x):
    return 0 < z < shape[0] - 1 and 0 < y < shape[1] - 1 and 0 < x < shape[2] - 1


@numba.njit(cache=True)
def grow(hu, seeds, expected, ways, step, spacing, least_hu, wall_hu, most):
    """Grow a lumen from seeds, breadth first.

    Parameters
    ----------
    hu : ndarray of int16, (z, y, x)
    seeds : ndarray of int32, (n, 3)
    expected : float
        Radius to expect beside the seeds, mm.
    ways, step
        Of `directions`.
    spacing : ndarray, (3,)
        mm.
    least_hu : float
        Rise that is a wall and no noise, in the thinnest airways.
    wall_hu : float
        What a wall reaches at least.
    most : int
        Voxels beyond the seeds; at that number growth ends.

    Returns
    -------
    voxel : ndarray of int32, (m, 3)
        Seeds first.
    parent : ndarray of int32, (m,)
        Row from which each came, -1 of seeds.
    facts : ndarray of float32, (m, 6)
        PATH from the seeds, mm; MET, the share of rays that met a wall; RADIUS, mm; INNER and
        OUTER, HU of lumen and wall; SCALE, radius to expect beyond, mm.
    """
    first = seeds.shape[0]
    room = first + most
    voxel, parent = np.empty((room, 3), np.int32), np.full(room, -1, np.int32)
    facts, found = np.zeros((room, 6), np.float32), np.zeros(6, np.float32)
    rays = np.empty((3, ways.shape[0]))
    voxel[:first] = seeds
    facts[:first, MET] = 1.0
    facts[:first, SCALE] = expected
    judged = np.zeros(hu.shape, np.bool_)
    for row in range(first):
        judged[seeds[row, 0], seeds[row, 1], seeds[row, 2]] = True
    head, tail = 0, first
    while head < tail:
        for move in range(27):
            dz, dy, dx = move // 9 - 1, move // 3 % 3 - 1, move % 3 - 1
            if not 0 < abs(dz) + abs(dy) + abs(dx) < 3:
                continue
            z, y, x = voxel[head, 0] + dz, voxel[head, 1] + dy, voxel[head, 2] + dx
            if not _inside(hu.shape, z, y, x) or judged[z, y, x]:
                continue
            judged[z, y, x] = True
            if hu[z, y, x] > DENSE_HU or not _judge(
                hu, z, y, x, facts[head, SCALE], ways, step, least_hu, wall_hu, rays, found
            ):
                continue
            if tail == room:
                return voxel, parent, facts
            voxel[tail, 0], voxel[tail, 1], voxel[tail, 2] = z, y, x
            parent[tail] = head
            facts[tail] = found
            facts[tail, PATH] = facts[head, PATH] + math.sqrt(
                (dz * spacing[0]) ** 2 + (dy * spacing[1]) ** 2 + (dx * spacing[2]) ** 2
            )
            tail += 1
        head += 1
    return voxel[:tail], parent[:tail], facts[:tail]
