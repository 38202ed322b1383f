"""Compiled geometry of branching tubes: gaps, splits of what a branch feeds, exact volumes."""

import math

import numba
import numpy as np


@numba.njit(cache=True)
def gap2(a0, a1, b0, b1):
    """Square of the least distance between two straight segments (Ericson 2005, 5.1.9)."""
    a = b = c = d = e = 0.0
    for k in range(3):
        u, v, w = a1[k] - a0[k], b1[k] - b0[k], a0[k] - b0[k]
        a, b, c, d, e = a + u * u, b + u * v, c + v * v, d + u * w, e + v * w
    det = a * c - b * b
    s = min(max((b * e - c * d) / det, 0.0), 1.0) if det > 1e-9 else 0.0
    t = (b * s + e) / c if c > 1e-9 else 0.0
    if t < 0.0 or t > 1.0:
        t = min(max(t, 0.0), 1.0)
        s = min(max((b * t - d) / a, 0.0), 1.0) if a > 1e-9 else 0.0
    total = 0.0
    for k in range(3):
        x = a0[k] + s * (a1[k] - a0[k]) - b0[k] - t * (b1[k] - b0[k])
        total += x * x
    return total


@numba.njit(cache=True)
def near(start, reach, p0, p1, radius, count, rows):
    """Rows of the tubes that may come within `reach` of a point; returns how many."""
    found = 0
    for k in range(count):
        length2 = d2 = 0.0
        for c in range(3):
            length2 += (p1[k, c] - p0[k, c]) ** 2
            d2 += (0.5 * (p0[k, c] + p1[k, c]) - start[c]) ** 2
        if d2 < (reach + radius[k] + 0.5 * math.sqrt(length2)) ** 2:
            rows[found] = k
            found += 1
    return found


@numba.njit(cache=True)
def unit(u):
    """Vector of length 1, or 0 for one without length."""
    return u / max(math.sqrt((u * u).sum()), 1e-9)


@numba.njit(cache=True)
def frame(u):
    """Two unit vectors across a unit vector and each other."""
    v = np.zeros(3)
    v[np.argmin(np.abs(u))] = 1.0
    v = unit(v - (u * v).sum() * u)
    w = np.array([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]])
    return v, w


@numba.njit(cache=True)
def halve(points, index, low, high, centre, u, offset, spare):
    """Split index[low:high] in place by the plane of `u` that halves the cloud's wider extent.

    `offset` moves the plane, in standard deviations. Both sides keep their order. Returns where
    the second side begins.
    """
    v, w = frame(u)
    vv = ww = vw = 0.0
    for i in index[low:high]:
        a, b = ((points[i] - centre) * v).sum(), ((points[i] - centre) * w).sum()
        vv, ww, vw = vv + a * a, ww + b * b, vw + a * b
    turn = 0.5 * math.atan2(2.0 * vw, vv - ww)
    across = math.cos(turn) * v + math.sin(turn) * w
    spread = 0.5 * (vv + ww + math.sqrt((vv - ww) ** 2 + 4.0 * vw * vw)) / (high - low)
    level = offset * math.sqrt(spread)
    left, right = low, 0
    for k in range(low, high):
        i = index[k]
        if ((points[i] - centre) * across).sum() < level:
            index[left] = i
            left += 1
        else:
            spare[right] = i
            right += 1
    index[left:high] = spare[:right]
    if left in (low, high):  # points that coincide
        left = (low + high) // 2
    return left


@numba.njit(cache=True)
def _within(point, p0, p1, radius):
    """Whether a point lies in a tube with round ends."""
    ux, uy, uz = p1[0] - p0[0], p1[1] - p0[1], p1[2] - p0[2]
    vx, vy, vz = point[0] - p0[0], point[1] - p0[1], point[2] - p0[2]
    t = (vx * ux + vy * uy + vz * uz) / max(ux * ux + uy * uy + uz * uz, 1e-12)
    t = min(max(t, 0.0), 1.0)
    dx, dy, dz = vx - t * ux, vy - t * uy, vz - t * uz
    return dx * dx + dy * dy + dz * dz <= radius * radius


@numba.njit(cache=True)
def own_volumes(p0, p1, radius, parent, slices, spots):
    """Volume of each tube, mm3; what tubes near each other in the tree share is divided by them.

    Parameters
    ----------
    p0, p1, radius, parent : ndarray, (n, 3), (n, 3), (n,), (n,)
        In mm; tubes have round ends, as they are drawn. Rows are after their parents'.
    slices, spots : int
        Discs along a tube and places in a disc at which it is asked what else lies there.

    Notes
    -----
    The sum over a tree is the volume of its union: without this, the part of a daughter that lies
    in its parent counts twice (up to a fifth of a small vessel), and round ends not at all.
    Kin are parent, grandparent, daughters, their daughters, sisters and theirs, and the parent's
    sisters.
    """
    n = len(parent)
    offset = np.zeros(n + 2, np.int64)
    for s in range(n):
        offset[parent[s] + 2] += 1
    for s in range(n + 1):
        offset[s + 1] += offset[s]
    children = np.empty(n, np.int64)
    place = offset.copy()
    for s in range(n):  # of row p: children[offset[p + 1] : offset[p + 2]]
        children[place[parent[s] + 1]] = s
        place[parent[s] + 1] += 1
    result = np.zeros(n)
    kin = np.empty(4096, np.int64)
    point = np.empty(3)
    for s in range(n):
        near, around = 0, np.array([s, parent[s], parent[parent[s]] if parent[s] >= 0 else -1])
        for turn in range(3):
            a = around[turn]
            if a < 0:
                continue
            if a != s:
                kin[near] = a
                near += 1
            for c in children[offset[a + 1] : offset[a + 2]]:
                if c != s and c != around[max(turn - 1, 0)]:
                    kin[near] = c
                    near += 1
                    if turn < 2:
                        for d in children[offset[c + 1] : offset[c + 2]]:
                            kin[near] = d
                            near += 1
        # Only those whose enclosing balls meet.
        half, middle = 0.0, 0.5 * (p0[s] + p1[s])
        length = math.sqrt(((p1[s] - p0[s]) ** 2).sum())
        half = 0.5 * length + radius[s]
        kept = 0
        for k in range(near):
            j = kin[k]
            reach = half + radius[j] + 0.5 * math.sqrt(((p1[j] - p0[j]) ** 2).sum())
            if ((0.5 * (p0[j] + p1[j]) - middle) ** 2).sum() < reach * reach:
                kin[kept] = j
                kept += 1
        u = unit(p1[s] - p0[s])
        v, w = frame(u)
        whole = math.pi * radius[s] ** 2 * (length + 4.0 / 3.0 * radius[s])
        total = mine = 0.0
        for k in range(slices):
            at = (k + 0.5) / slices * (length + 2.0 * radius[s]) - radius[s]
            beyond = max(-at, at - length, 0.0)
            wide2 = max(radius[s] ** 2 - beyond * beyond, 0.0)
            for m in range(spots):  # a sunflower: equal areas
                rho = math.sqrt((m + 0.5) / spots * wide2)
                phi = 2.399963229728653 * (m + k)
                a, b = rho * math.cos(phi), rho * math.sin(phi)
                for c in range(3):
                    point[c] = p0[s, c] + at * u[c] + a * v[c] + b * w[c]
                shared = 1
                for q in range(kept):
                    if _within(point, p0[kin[q]], p1[kin[q]], radius[kin[q]]):
                        shared += 1
                total += wide2
                mine += wide2 / shared
        result[s] = whole * mine / max(total, 1e-12)
    return result
