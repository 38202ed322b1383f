"""Compiled kernels of the analytic heart: depths, labels, painting, thin tubes, plaques.

A depth is in mm, positive inside, exact to first order at the surface; with it goes the z component
of the surface's normal, for a point spread that differs between the plane and z. Poses and sizes
come as the array of `heart.parameters`, tubes as rows x0 y0 z0 x1 y1 z1 radius.
"""

import math

import numba
import numpy as np

RV_WALL_MM, ATRIUM_WALL_MM, VESSEL_WALL_MM, VALVE_MM, FAT_MM = 3.0, 2.0, 1.5, 2.0, 8.0
_FAR = -1e3


@numba.njit(cache=True, inline="always")
def ellipsoid_depth(s, p, h, a, b, c, zs, zp, zl):
    """Depth in an ellipsoid, to first order, and the z component of its normal."""
    gs, gp, gl = s / (a * a), p / (b * b), h / (c * c)
    k = math.sqrt(s * gs + p * gp + h * gl)
    steep = math.sqrt(gs * gs + gp * gp + gl * gl)
    if steep < 1e-9:
        return min(a, b, c), 0.0
    return (1.0 - k) * k / steep, (gs * zs + gp * zp + gl * zl) / steep


@numba.njit(cache=True, inline="always")
def local_point(x, y, z, par):
    """Local s, p, l of a patient's point."""
    dx, dy, dz = x - par[9], y - par[10], z - par[11]
    s = par[0] * dx + par[1] * dy + par[2] * dz
    p = par[3] * dx + par[4] * dy + par[5] * dz
    return s, p, par[6] * dx + par[7] * dy + par[8] * dz


@numba.njit(cache=True, inline="always")
def crescent_depth(s, p, up, par, zs, zp, zl):
    """Depth in the circles of the RV (`up` above its base), and the normal's z component."""
    q, d, length = par[18], par[19], par[20]
    u = -up / length
    g = math.sqrt(max(1.0 - u * u, 0.0))
    away = s - d * g
    k = math.sqrt((away * away + p * p) / (q * q) + u * u)
    if k < 1e-6:
        return q, 0.0
    gs, gp = away / (q * q * k), p / (q * q * k)
    # The slopes of u and g with height are -1 / length and u / (length g).
    gl = (-away * d * u / (length * max(g, 0.05) * q * q) - u / length) / k
    steep = math.sqrt(gs * gs + gp * gp + gl * gl)
    return (1.0 - k) / steep, (gs * zs + gp * zp + gl * zl) / steep


@numba.njit(cache=True)
def shell_depth(s, p, h, par):
    """Depth in ventricles and atria with their walls; great vessels are not in it."""
    up = h - par[17]
    epi = ellipsoid_depth(s, p, h - par[12], par[15], par[15], par[16], 0.0, 0.0, 0.0)[0]
    rv = crescent_depth(s, p, up, par, 0.0, 0.0, 0.0)[0]
    low = min(max(epi, rv + RV_WALL_MM), VALVE_MM - up)
    high = -1e3
    for n in range(21, 33, 6):
        one = ellipsoid_depth(
            s - par[n],
            p - par[n + 1],
            h - par[n + 2],
            par[n + 3],
            par[n + 4],
            par[n + 5],
            0.0,
            0.0,
            0.0,
        )[0]
        high = max(high, one)
    return max(low, min(high + ATRIUM_WALL_MM, up))


@numba.njit(cache=True)
def lift(points, clearance, par):
    """Move local points (n, 3), in place, until they are `clearance` mm above the shell."""
    step = 0.05
    grad = np.empty(3)
    for n in range(points.shape[0]):
        for _ in range(25):
            s, p, h = points[n]
            excess = shell_depth(s, p, h, par) + clearance
            if excess < 0.02:
                break
            grad[0] = shell_depth(s + step, p, h, par) - shell_depth(s - step, p, h, par)
            grad[1] = shell_depth(s, p + step, h, par) - shell_depth(s, p - step, h, par)
            grad[2] = shell_depth(s, p, h + step, par) - shell_depth(s, p, h - step, par)
            grad /= max(math.sqrt((grad * grad).sum()), 1e-9)
            points[n] -= min(excess, 1.5) * grad


@numba.njit(cache=True, inline="always")
def _tubes(x, y, z, rows):
    """Depth in a chain of tubes, and the z component of the normal."""
    best, nz = _FAR, 0.0
    for n in range(rows.shape[0]):
        ux, uy, uz = rows[n, 3] - rows[n, 0], rows[n, 4] - rows[n, 1], rows[n, 5] - rows[n, 2]
        dx, dy, dz = x - rows[n, 0], y - rows[n, 1], z - rows[n, 2]
        t = (dx * ux + dy * uy + dz * uz) / (ux * ux + uy * uy + uz * uz)
        t = min(max(t, 0.0), 1.0)
        dx, dy, dz = dx - t * ux, dy - t * uy, dz - t * uz
        far = dx * dx + dy * dy + dz * dz
        limit = rows[n, 6] - best
        if limit > 0.0 and far < limit * limit:
            far = math.sqrt(far)
            best = rows[n, 6] - far
            nz = dz / max(far, 1e-6)
    return best, nz


@numba.njit(cache=True)
def label_voxels(labels, origin, steps, par, rising, pulmonary, descending):
    """Chamber of each voxel centre; `steps` holds the vectors of index x, y, z as rows."""
    centre, endo_a, endo_c, epi_a, epi_c, base = par[12:18]
    for k in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            for i in range(labels.shape[2]):
                x = origin[0] + i * steps[0, 0] + j * steps[1, 0] + k * steps[2, 0]
                y = origin[1] + i * steps[0, 1] + j * steps[1, 1] + k * steps[2, 1]
                z = origin[2] + i * steps[0, 2] + j * steps[1, 2] + k * steps[2, 2]
                s, p, h = local_point(x, y, z, par)
                if h < base:
                    low, across = h - centre, s * s + p * p
                    if across / (epi_a * epi_a) + low * low / (epi_c * epi_c) < 1.0:
                        inside = across / (endo_a * endo_a) + low * low / (endo_c * endo_c) < 1.0
                        labels[k, j, i] = 1 if inside else 2
                    elif crescent_depth(s, p, h - base, par, 0.0, 0.0, 0.0)[0] > 0.0:
                        labels[k, j, i] = 3
                elif _tubes(x, y, z, rising)[0] > 0.0:
                    labels[k, j, i] = 6
                elif _tubes(x, y, z, pulmonary)[0] > 0.0:
                    labels[k, j, i] = 7
                else:
                    for n in range(2):
                        es = (s - par[21 + 6 * n]) / par[24 + 6 * n]
                        ep = (p - par[22 + 6 * n]) / par[25 + 6 * n]
                        el = (h - par[23 + 6 * n]) / par[26 + 6 * n]
                        if es * es + ep * ep + el * el < 1.0:
                            labels[k, j, i] = 4 + n
                            break
                if labels[k, j, i] == 0 and _tubes(x, y, z, descending)[0] > 0.0:
                    labels[k, j, i] = 6


@numba.njit(cache=True, inline="always")
def _over(f, value, depth, nz, spread):
    """Paint over `f`: spread holds the variance of the point spread in the plane and along z."""
    t = depth / math.sqrt(2.0 * (spread[0] + nz * nz * (spread[1] - spread[0])))
    if t > 2.4:
        return value
    if t < -2.4:
        return f
    return f + 0.5 * (1.0 + math.erf(t)) * (value - f)


@numba.njit(cache=True, inline="always")
def _least(depth, nz, other, other_nz):
    if depth < other:
        return depth, nz
    return other, other_nz


@numba.njit(cache=True)
def paint_voxels(hu, where, origin, spacing, par, rising, pulmonary, descending, spread, tissue):
    """Paint the heart over the chest, outside in; voxels where `where` is 0 stay as they are."""
    left, right, muscle, fat = tissue[0], tissue[1], tissue[2], tissue[3]
    centre, endo_a, endo_c, epi_a, epi_c, base = par[12:18]
    zs, zp, zl = par[2], par[5], par[8]
    for k in range(hu.shape[0]):
        z = origin[2] + k * spacing[2]
        for j in range(hu.shape[1]):
            y = origin[1] + j * spacing[1]
            for i in range(hu.shape[2]):
                if where.size > 0 and where[k, j, i] == 0:
                    continue
                x = origin[0] + i * spacing[0]
                s, p, h = local_point(x, y, z, par)
                up = h - base
                epi, epi_n = ellipsoid_depth(s, p, h - centre, epi_a, epi_a, epi_c, zs, zp, zl)
                rv, rv_n = crescent_depth(s, p, up, par, zs, zp, zl)
                low = min(max(epi, rv + RV_WALL_MM), VALVE_MM - up)
                la, la_n, ra, ra_n, ao, ao_n, pa, pa_n = _FAR, zl, _FAR, zl, _FAR, zl, _FAR, zl
                if up > -FAT_MM - 4.0:
                    la, la_n = ellipsoid_depth(
                        s - par[21], p - par[22], h - par[23], par[24], par[25], par[26], zs, zp, zl
                    )
                    ra, ra_n = ellipsoid_depth(
                        s - par[27], p - par[28], h - par[29], par[30], par[31], par[32], zs, zp, zl
                    )
                    ao, ao_n = _tubes(x, y, z, rising)
                    pa, pa_n = _tubes(x, y, z, pulmonary)
                wall, wall_n = la + ATRIUM_WALL_MM, la_n
                if ra + ATRIUM_WALL_MM > wall:
                    wall, wall_n = ra + ATRIUM_WALL_MM, ra_n
                if ao + VESSEL_WALL_MM > wall:
                    wall, wall_n = ao + VESSEL_WALL_MM, ao_n
                if pa + VESSEL_WALL_MM > wall:
                    wall, wall_n = pa + VESSEL_WALL_MM, pa_n
                wall, wall_n = _least(wall, wall_n, up, zl)
                shell = max(low, wall)
                f = hu[k, j, i]
                if shell > -FAT_MM - 4.0:
                    f = _over(f, fat, shell + FAT_MM, 0.577, spread)
                if low < 0.0:
                    depth, n = _tubes(x, y, z, descending)
                    f = _over(f, muscle, depth + VESSEL_WALL_MM, n, spread)
                    f = _over(f, left, depth, n, spread)
                if shell < -5.0:
                    hu[k, j, i] = f
                    continue
                f = _over(f, muscle, wall, wall_n, spread)
                depth, n = _least(rv + RV_WALL_MM, rv_n, VALVE_MM - up, zl)
                f = _over(f, muscle, depth, n, spread)
                # Cavities open a little through their valves, so that no seam stays at the plane.
                gate = max(-up, min(VALVE_MM + 1.0 - up, max(ra, pa)))
                depth, n = _least(rv, rv_n, gate, zl)
                f = _over(f, right, depth, n, spread)
                depth, n = _least(epi, epi_n, VALVE_MM - up, zl)
                f = _over(f, muscle, depth, n, spread)
                if up > -5.0:
                    depth, n = _least(la, la_n, up, zl)
                    f = _over(f, left, depth, n, spread)
                    depth, n = _least(ra, ra_n, up, zl)
                    f = _over(f, right, depth, n, spread)
                    depth, n = _least(pa, pa_n, up, zl)
                    f = _over(f, right, depth, n, spread)
                    depth, n = _least(ao + VESSEL_WALL_MM, ao_n, up, zl)
                    f = _over(f, muscle, depth, n, spread)
                    depth, n = _least(ao, ao_n, up, zl)
                    f = _over(f, left, depth, n, spread)
                depth, n = ellipsoid_depth(s, p, h - centre, endo_a, endo_a, endo_c, zs, zp, zl)
                gate = max(-up, min(VALVE_MM + 1.0 - up, max(la, ao)))
                depth, n = _least(depth, n, gate, zl)
                hu[k, j, i] = _over(f, left, depth, n, spread)


@numba.njit(cache=True, inline="always")
def _box(p, q, reach, origin, spacing, shape):
    """First and one-past-last index along x, y, z of what lies so near to a segment."""
    out = np.empty((3, 2), np.int64)
    for m in range(3):
        low, high = min(p[m], q[m]) - reach, max(p[m], q[m]) + reach
        out[m, 0] = max(math.ceil((low - origin[m]) / spacing[m]), 0)
        out[m, 1] = min(math.floor((high - origin[m]) / spacing[m]) + 1, shape[2 - m])
    return out


@numba.njit(cache=True, inline="always")
def _away(x, y, z, p, u):
    """Distance from a segment that starts at p and goes by u."""
    dx, dy, dz = x - p[0], y - p[1], z - p[2]
    square = max(u[0] * u[0] + u[1] * u[1] + u[2] * u[2], 1e-12)
    t = min(max((dx * u[0] + dy * u[1] + dz * u[2]) / square, 0.0), 1.0)
    dx, dy, dz = dx - t * u[0], dy - t * u[1], dz - t * u[2]
    return math.sqrt(dx * dx + dy * dy + dz * dz)


@numba.njit(cache=True)
def draw_tubes(cover, origin, spacing, p0, p1, radius, var, table):
    """Coverage of thin tubes by the closed form of a cylinder, in place: `raster.cylinder_table`.

    The point spread of a segment is the mean over the two directions across it.
    """
    for n in range(radius.size):
        u = p1[n] - p0[n]
        steep = u[2] * u[2] / max((u * u).sum(), 1e-12)
        sd = math.sqrt(0.5 * (var[0] * (1.0 + steep) + var[1] * (1.0 - steep)))
        far = radius[n] + 4.0 * sd
        a = min(radius[n] / sd * 10.0, table.shape[0] - 1.001)
        ia = int(a)
        wa = a - ia
        box = _box(p0[n], p1[n], far, origin, spacing, cover.shape)
        for k in range(box[2, 0], box[2, 1]):
            z = origin[2] + k * spacing[2]
            for j in range(box[1, 0], box[1, 1]):
                y = origin[1] + j * spacing[1]
                for i in range(box[0, 0], box[0, 1]):
                    away = _away(origin[0] + i * spacing[0], y, z, p0[n], u)
                    if away > far:
                        continue
                    b = min(away / sd * 10.0, table.shape[1] - 1.001)
                    ib = int(b)
                    wb = b - ib
                    c = (table[ia, ib] * (1 - wb) + table[ia, ib + 1] * wb) * (1 - wa) + (
                        table[ia + 1, ib] * (1 - wb) + table[ia + 1, ib + 1] * wb
                    ) * wa
                    cover[k, j, i] = max(cover[k, j, i], c)


@numba.njit(cache=True)
def nearest_tube(code, away, reach, origin, spacing, p0, p1, vessel):
    """Code of the nearest segment within `reach` mm, and the distance from it, in place."""
    for n in range(vessel.size):
        u = p1[n] - p0[n]
        box = _box(p0[n], p1[n], reach, origin, spacing, code.shape)
        for k in range(box[2, 0], box[2, 1]):
            z = origin[2] + k * spacing[2]
            for j in range(box[1, 0], box[1, 1]):
                y = origin[1] + j * spacing[1]
                for i in range(box[0, 0], box[0, 1]):
                    d = _away(origin[0] + i * spacing[0], y, z, p0[n], u)
                    if d < away[k, j, i] and d < reach:
                        away[k, j, i] = d
                        code[k, j, i] = vessel[n]


@numba.njit(cache=True)
def splat(weight, origin, spacing, points, volume, sd):
    """Add points of `volume` mm3 to the share of each voxel that they fill; blurred by `sd` mm.

    A point is a Gaussian of `sd` integrated over the voxel's box: the sum over voxels times their
    size is the volume, whatever the grid.
    """
    size = (weight.shape[2], weight.shape[1], weight.shape[0])
    part = volume / (spacing[0] * spacing[1] * spacing[2])
    reach = 4.0 * sd
    scale = 1.0 / (sd * math.sqrt(2.0))
    share = np.empty((3, 64))
    first, last = [0, 0, 0], [0, 0, 0]
    for n in range(points.shape[0]):
        for m in range(3):
            at = points[n, m] - origin[m]
            first[m] = max(math.ceil((at - reach) / spacing[m] - 0.5), 0)
            last[m] = min(math.floor((at + reach) / spacing[m] + 0.5) + 1, size[m])
            for i in range(first[m], last[m]):
                edge = (i - 0.5) * spacing[m] - at
                share[m, i - first[m]] = 0.5 * (
                    math.erf((edge + spacing[m]) * scale) - math.erf(edge * scale)
                )
        for k in range(first[2], last[2]):
            for j in range(first[1], last[1]):
                c = part * share[2, k - first[2]] * share[1, j - first[1]]
                for i in range(first[0], last[0]):
                    weight[k, j, i] += c * share[0, i - first[0]]
