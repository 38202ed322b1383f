"""Compiled kernels: coarse fields to voxels, and tubes and spheres with their exact blur.

A structure smaller than a few voxels is drawn as its own convolution with the point spread, from
the closed form for an isolated cylinder or sphere; overlapping ones take the larger coverage.
No image is convolved, so coverage is known per structure and lesions can be counted as they come.
"""

import functools
import math

import numba
import numpy as np
from scipy import stats

_TABLE_STEP = 0.1
_TABLE_RADII = 60
_TABLE_DISTANCES = 100


@functools.lru_cache(maxsize=1)
def cylinder_table():
    """Blurred cross-section of a cylinder: [radius, distance] in units of sigma, steps of 0.1.

    The share of a round Gaussian at distance d that falls in a disc of radius r is a noncentral
    chi-squared probability with two degrees of freedom.
    """
    radius = _TABLE_STEP * np.arange(_TABLE_RADII + 1)[:, None]
    distance = _TABLE_STEP * np.arange(_TABLE_DISTANCES + 1)[None, :]
    return stats.ncx2.cdf(radius**2, 2, distance**2).astype(np.float32)


@numba.njit(cache=True)
def upsample(coarse, shape, ratio):
    """Trilinear values of a coarse field at voxels; voxel i lies at coarse index i * ratio."""
    nz, ny, nx = shape
    rz, ry, rx = ratio
    out = np.empty((nz, ny, nx), np.float32)
    cz, cy, cx = coarse.shape
    row = np.empty(cx, np.float32)
    first = np.empty(nx, np.int64)
    share = np.empty(nx, np.float32)
    for i in range(nx):
        first[i] = min(int(i * rx), cx - 2)
        share[i] = i * rx - first[i]
    for k in range(nz):
        k0 = min(int(k * rz), cz - 2)
        wk = np.float32(k * rz - k0)
        for j in range(ny):
            j0 = min(int(j * ry), cy - 2)
            wj = np.float32(j * ry - j0)
            for i in range(cx):
                a = coarse[k0, j0, i] * (1 - wj) + coarse[k0, j0 + 1, i] * wj
                b = coarse[k0 + 1, j0, i] * (1 - wj) + coarse[k0 + 1, j0 + 1, i] * wj
                row[i] = a * (1 - wk) + b * wk
            for i in range(nx):
                value = row[first[i]]
                out[k, j, i] = value + share[i] * (row[first[i] + 1] - value)
    return out


@numba.njit(cache=True)
def blend(frame, weight, depth, value, sigma):
    """Paint a tissue where `depth` (mm, positive inside) says, over what is there.

    `frame` and `weight` change in place: the image is frame + weight * parenchyma.
    """
    f, w, d = frame.ravel(), weight.ravel(), depth.ravel()
    scale = 1.0 / (sigma * math.sqrt(2.0))
    for i in range(f.size):
        t = d[i] * scale
        if t > -2.2:
            c = np.float32(1.0) if t > 2.2 else np.float32(0.5 * (1.0 + math.erf(t)))
            f[i] = f[i] * (1 - c) + np.float32(value) * c
            w[i] *= 1 - c


@numba.njit(cache=True)
def blend_lung(frame, weight, depth, sigma):
    """Open the lung: frame loses, and the parenchyma's weight gains, the coverage."""
    f, w, d = frame.ravel(), weight.ravel(), depth.ravel()
    scale = 1.0 / (sigma * math.sqrt(2.0))
    for i in range(f.size):
        t = d[i] * scale
        if t > -2.2:
            c = np.float32(1.0) if t > 2.2 else np.float32(0.5 * (1.0 + math.erf(t)))
            f[i] *= 1 - c
            w[i] = w[i] * (1 - c) + c


@numba.njit(cache=True)
def blend_cover(frame, weight, cover, value):
    """Paint a tissue by its coverage, 0 to 1."""
    f, w, c = frame.ravel(), weight.ravel(), cover.ravel()
    for i in range(f.size):
        if c[i] > 0:
            f[i] = f[i] * (1 - c[i]) + np.float32(value) * c[i]
            w[i] *= 1 - c[i]


@numba.njit(cache=True)
def capsules(cover, px, py, pz, boxes, p0, p1, radius, sigma, table):
    """Coverage of tubes p0-p1, the larger of `cover` and each tube's; in place.

    Parameters
    ----------
    cover, px, py, pz : ndarray of float32, (z, y, x)
        Coverage; and, per voxel, the point of the anatomy that it shows.
    boxes : ndarray of int, (n, 6)
        First and one-past-last index along z, y, x of the voxels that a tube may touch.
    p0, p1, radius, sigma : ndarray, (n, 3), (n, 3), (n,), (n,)
        Ends, radii and point spread in mm of the anatomy.
    table : ndarray
        `cylinder_table`.
    """
    for s in range(radius.size):
        x0, y0, z0 = p0[s, 0], p0[s, 1], p0[s, 2]
        ux, uy, uz = p1[s, 0] - x0, p1[s, 1] - y0, p1[s, 2] - z0
        length2 = max(ux * ux + uy * uy + uz * uz, 1e-9)
        r, sd = radius[s], sigma[s]
        reach = (r + 3.0 * sd) ** 2
        a = r / sd / _TABLE_STEP
        thin = a < _TABLE_RADII - 1
        a = min(a, _TABLE_RADII - 1.0)
        ia = int(a)
        wa = a - ia
        for k in range(boxes[s, 0], boxes[s, 1]):
            for j in range(boxes[s, 2], boxes[s, 3]):
                for i in range(boxes[s, 4], boxes[s, 5]):
                    dx = px[k, j, i] - x0
                    dy = py[k, j, i] - y0
                    dz = pz[k, j, i] - z0
                    t = min(max((dx * ux + dy * uy + dz * uz) / length2, 0.0), 1.0)
                    dx -= t * ux
                    dy -= t * uy
                    dz -= t * uz
                    d2 = dx * dx + dy * dy + dz * dz
                    if d2 > reach:
                        continue
                    d = math.sqrt(d2)
                    if thin:
                        b = min(d / sd / _TABLE_STEP, _TABLE_DISTANCES - 1.1)
                        ib = int(b)
                        wb = b - ib
                        c = (table[ia, ib] * (1 - wb) + table[ia, ib + 1] * wb) * (1 - wa) + (
                            table[ia + 1, ib] * (1 - wb) + table[ia + 1, ib + 1] * wb
                        ) * wa
                    else:
                        c = 0.5 * (1.0 + math.erf((r - d) / (sd * 1.4142135623730951)))
                    if c > cover[k, j, i]:
                        cover[k, j, i] = c


@numba.njit(cache=True)
def spheres(cover, px, py, pz, boxes, centre, radius, sigma, critical, count, stop):
    """Coverage of spheres in their order, until enough voxels are covered enough.

    Parameters
    ----------
    cover, px, py, pz, boxes, sigma
        As in `capsules`; `cover` changes in place.
    centre, radius : ndarray, (n, 3), (n,)
        In mm of the anatomy; radii above twice the point spread.
    critical : ndarray of float32, (z, y, x)
        Coverage from which a voxel counts; above 1 where it never does, below 0 where it counts
        already.
    count, stop : int
        Voxels that count at the start, and how many end the drawing.

    Returns
    -------
    int, int
        Spheres drawn and voxels that count.
    """
    for s in range(radius.size):
        if count >= stop:
            return s, count
        r, sd = radius[s], sigma[s]
        reach = (r + 3.0 * sd) ** 2
        core = max(r - 3.0 * sd, 0.0) ** 2
        for k in range(boxes[s, 0], boxes[s, 1]):
            for j in range(boxes[s, 2], boxes[s, 3]):
                for i in range(boxes[s, 4], boxes[s, 5]):
                    old = cover[k, j, i]
                    if old >= 0.999:
                        continue
                    dx = px[k, j, i] - centre[s, 0]
                    dy = py[k, j, i] - centre[s, 1]
                    dz = pz[k, j, i] - centre[s, 2]
                    d2 = dx * dx + dy * dy + dz * dz
                    if d2 > reach:
                        continue
                    c = 1.0
                    if d2 > core:
                        d = max(math.sqrt(d2), 0.05)
                        t = (r - d) / sd
                        c = 0.5 * (1.0 + math.erf(t / 1.4142135623730951)) - sd / (
                            d * 2.5066282746310002
                        ) * math.exp(-0.5 * t * t)
                    if c > old:
                        cover[k, j, i] = c
                        limit = critical[k, j, i]
                        if old <= limit < c:
                            count += 1
    return radius.size, count


@numba.njit(cache=True)
def grow(root, terminals, pull):
    """Space-filling tree: each terminal joins the nearest segment of what has grown so far.

    Parameters
    ----------
    root : ndarray, (2, 3)
        Both ends of the trunk.
    terminals : ndarray, (n, 3)
        End points in their order of growth.
    pull : float
        How far a new fork moves from the old segment towards its terminal, as a share.

    Returns
    -------
    start, end : ndarray, (2 n + 1, 3)
        Ends of the segments; `end` of a segment with children is a fork.
    leaves : ndarray of int, (2 n + 1,)
        Terminals that a segment feeds.
    """
    n = terminals.shape[0]
    start = np.empty((2 * n + 1, 3))
    end = np.empty((2 * n + 1, 3))
    parent = np.full(2 * n + 1, -1)
    leaves = np.zeros(2 * n + 1, np.int64)
    child = np.full((2 * n + 1, 2), -1)
    start[0], end[0] = root[0], root[1]
    count = 1
    for t in range(n):
        px, py, pz = terminals[t, 0], terminals[t, 1], terminals[t, 2]
        best, best_d2, best_a = 0, 1e30, 1.0
        for s in range(count):
            ux = end[s, 0] - start[s, 0]
            uy = end[s, 1] - start[s, 1]
            uz = end[s, 2] - start[s, 2]
            vx, vy, vz = px - start[s, 0], py - start[s, 1], pz - start[s, 2]
            a = (vx * ux + vy * uy + vz * uz) / max(ux * ux + uy * uy + uz * uz, 1e-9)
            a = min(max(a, 0.0), 1.0)
            d2 = (vx - a * ux) ** 2 + (vy - a * uy) ** 2 + (vz - a * uz) ** 2
            if d2 < best_d2:
                best, best_d2, best_a = s, d2, a
        if best == 0:  # the trunk lies outside the lung: it feeds the tree at its end only
            best_a = 1.0
        a = min(max(best_a, 0.2), 1.0)
        fork = start[best] + a * (end[best] - start[best])
        if best > 0:
            # Thick branches bend less.
            fork = fork + pull / (1.0 + 0.1 * leaves[best]) * (terminals[t] - fork)
        lower, twig = count, count + 1
        start[lower], end[lower] = fork, end[best]
        leaves[lower] = leaves[best]
        child[lower] = child[best]
        for side in range(2):
            if child[best, side] >= 0:
                parent[child[best, side]] = lower
        start[twig], end[twig] = fork, terminals[t]
        leaves[twig] = 0
        parent[lower] = parent[twig] = best
        child[best, 0], child[best, 1] = lower, twig
        end[best] = fork
        count += 2
        s = twig
        while s >= 0:
            leaves[s] += 1
            s = parent[s]
    return start, end, leaves
