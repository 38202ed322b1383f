"""Fit of a blurred tube to voxels: inner radius and wall thickness of an airway.

The image of a long straight tube with round walls is a closed form, so the fit compares voxels
where they lie with what they should hold; nothing is interpolated. Lengths in mm, values in HU.
"""

import functools
import math

import numba
import numpy as np
from scipy import special

STEP = 0.05  # of the table, in units of sigma: its error is 3.5e-4 at most, 0.35 HU
LARGEST = 12.0  # radius in units of sigma above which the expansion is as good as the table
REACH = 5.0
SECTORS = 24
TUKEY = 4.685  # 95 % efficiency under normal noise
SCALE_FLOOR_HU = 15.0
OUTER_EXCESS_HU = 90.0  # mean residual outside the wall that tells a vessel in a sector
MIN_WALL_MM = 0.05
N = 9  # parameters: centre u, v; tilt u, v; inner radius; wall; outside HU; ellipse cos, sin
CENTRE_PRIOR_MM = 2.0
TILT_PRIOR = 0.3
ELLIPSE_PRIOR = 0.1  # of the inner radius


@functools.lru_cache(maxsize=1)
def disc_table():
    """Blurred disc, [radius, distance - radius] in units of sigma.

    Returns
    -------
    ndarray of float64
        Rows for radii 0, 0.05 ... 12.05; columns for distance - radius of -5 ... 5.

    Notes
    -----
    The share of a round normal density, at distance d from the centre of a disc of radius R, that
    the disc holds: 1 - Q1(d / sigma, R / sigma), Marcum's Q, a noncentral chi-square probability.
    """
    radius = STEP * np.arange(round(LARGEST / STEP) + 2)[:, None]
    distance = np.abs(radius + STEP * np.arange(-round(REACH / STEP), round(REACH / STEP) + 1))
    return special.chndtr(radius**2, 2, distance**2)


def disc(distance, radius, sigma):
    """Return the blurred disc at distances from its centre; exact, for reference."""
    return special.chndtr((radius / sigma) ** 2, 2, (np.asarray(distance) / sigma) ** 2)


def profile(distance, inner, wall, sigma, lumen_hu, wall_hu, outside_hu):
    """Return the HU of a blurred tube at distances from its axis; exact, for reference."""
    outer = disc(distance, inner + wall, sigma)
    return (
        outside_hu
        + (wall_hu - outside_hu) * outer
        + (lumen_hu - wall_hu) * disc(distance, inner, sigma)
    )


@numba.njit(cache=True)
def _disc(a, b, table):
    """Blurred disc of radius `a` at distance `b`, both in units of sigma."""
    d = b - a
    if d >= REACH:
        return 0.0
    if d <= -REACH:
        return 1.0
    if a >= LARGEST:  # error below 3e-5
        return 0.5 * math.erfc((math.sqrt(b * b + 0.5) + 0.25 / a - a) / 1.4142135623730951)
    fa = a / STEP
    fd = (d + REACH) / STEP
    ia, id_ = int(fa), int(fd)
    wa, wd = fa - ia, fd - id_
    return (table[ia, id_] * (1 - wd) + table[ia, id_ + 1] * wd) * (1 - wa) + (
        table[ia + 1, id_] * (1 - wd) + table[ia + 1, id_ + 1] * wd
    ) * wa


@numba.njit(cache=True)
def _bessel(x):
    """Return exp(-x) I0(x) and exp(-x) I1(x); Abramowitz and Stegun 9.8.1 to 9.8.4."""
    if x < 3.75:
        y = (x / 3.75) ** 2
        i0 = 1.0 + y * (
            3.5156229
            + y * (3.0899424 + y * (1.2067492 + y * (0.2659732 + y * (0.0360768 + y * 0.0045813))))
        )
        i1 = x * (
            0.5
            + y
            * (
                0.87890594
                + y
                * (
                    0.51498869
                    + y * (0.15084934 + y * (0.02658733 + y * (0.00301532 + y * 3.2411e-4)))
                )
            )
        )
        e = math.exp(-x)
        return i0 * e, i1 * e
    y = 3.75 / x
    root = 1.0 / math.sqrt(x)
    i0 = 0.39894228 + y * (
        0.01328592
        + y
        * (
            0.00225319
            + y
            * (
                -0.00157565
                + y
                * (
                    0.00916281
                    + y * (-0.02057706 + y * (0.02635537 + y * (-0.01647633 + y * 0.00392377)))
                )
            )
        )
    )
    i1 = 0.39894228 + y * (
        -0.03988024
        + y
        * (
            -0.00362018
            + y
            * (
                0.00163801
                + y
                * (
                    -0.01031555
                    + y * (0.02282967 + y * (-0.02895312 + y * (0.01787654 - y * 0.00420059)))
                )
            )
        )
    )
    return i0 * root, i1 * root


@numba.njit(cache=True)
def _slopes(a, b):
    """Return the derivatives of the blurred disc by its radius and by the distance."""
    d = a - b
    if abs(d) >= REACH:
        return 0.0, 0.0
    i0, i1 = _bessel(a * b)
    e = a * math.exp(-0.5 * d * d)
    return e * i0, -e * i1


@numba.njit(cache=True)
def _around(points, i, theta):
    """Return x, y and r from the axis, and cos 2 phi, sin 2 phi, of a voxel."""
    x = points[i, 0] - theta[0] - theta[2] * points[i, 2]
    y = points[i, 1] - theta[1] - theta[3] * points[i, 2]
    r2 = max(x * x + y * y, 1e-12)
    return x, y, math.sqrt(r2), (x * x - y * y) / r2, 2.0 * x * y / r2


@numba.njit(cache=True)
def _residuals(points, hu, sigma, theta, lumen, wall, table, out):
    for i in range(hu.size):
        _, _, r, c2, s2 = _around(points, i, theta)
        s = sigma[i]
        inner = max(theta[4] + theta[7] * c2 + theta[8] * s2, 0.0)
        c_out = _disc((inner + theta[5]) / s, r / s, table)
        c_in = _disc(inner / s, r / s, table)
        out[i] = hu[i] - (theta[6] + (wall - theta[6]) * c_out + (lumen - wall) * c_in)


@numba.njit(cache=True)
def _normal(points, sigma, weight, resid, theta, lumen, wall, table, normal, right):
    normal[:] = 0.0
    right[:] = 0.0
    g = np.empty(N)
    for i in range(weight.size):
        w = weight[i]
        if w == 0.0:
            continue
        x, y, r, c2, s2 = _around(points, i, theta)
        s = sigma[i]
        inner = max(theta[4] + theta[7] * c2 + theta[8] * s2, 0.0)
        outer = (inner + theta[5]) / s
        out_a, out_b = _slopes(outer, r / s)
        in_a, in_b = _slopes(inner / s, r / s)
        rise_out = (wall - theta[6]) / s
        rise_in = (lumen - wall) / s
        by_r = rise_out * out_b + rise_in * in_b
        g[0] = -by_r * x / r
        g[1] = -by_r * y / r
        g[2] = g[0] * points[i, 2]
        g[3] = g[1] * points[i, 2]
        g[5] = rise_out * out_a
        g[4] = g[5] + rise_in * in_a
        g[6] = 1.0 - _disc(outer, r / s, table)
        g[7] = g[4] * c2
        g[8] = g[4] * s2
        for a in range(N):
            right[a] += w * g[a] * resid[i]
            for b in range(a + 1):
                normal[a, b] += w * g[a] * g[b]
    for a in range(N):
        for b in range(a):
            normal[b, a] = normal[a, b]


@numba.njit(cache=True)
def _sector(x, y):
    return int((math.atan2(y, x) + math.pi) / (2.0 * math.pi) * SECTORS) % SECTORS


@numba.njit(cache=True)
def _drop_sectors(points, resid, scale, theta, sigma, open_):
    """Close sectors, and their neighbours, where something bright lies outside the wall."""
    excess = np.zeros(SECTORS)
    count = np.zeros(SECTORS)
    far = np.zeros(SECTORS)
    total = np.zeros(SECTORS)
    for i in range(resid.size):
        x, y, r, _, _ = _around(points, i, theta)
        k = _sector(x, y)
        if r > theta[4] + theta[5]:
            excess[k] += resid[i]
            count[k] += 1
        if r > theta[4] - sigma[i]:
            total[k] += 1
            if abs(resid[i]) > TUKEY * scale:
                far[k] += 1
    bad = np.zeros(SECTORS, np.bool_)
    for k in range(SECTORS):
        if count[k] > 0 and excess[k] / count[k] > max(OUTER_EXCESS_HU, 2.0 * scale):
            bad[k] = True
        if total[k] > 0 and far[k] > 0.3 * total[k]:
            bad[k] = True
    for k in range(SECTORS):
        if bad[k]:
            open_[(k - 1) % SECTORS] = False
            open_[k] = False
            open_[(k + 1) % SECTORS] = False


@numba.njit(cache=True)
def fit_tube(points, hu, sigma, start, lumen, wall, open_, table, rounds, floor=SCALE_FLOOR_HU):
    """Fit axis, inner radius, wall, outside HU and ellipse of a tube to voxels.

    Parameters
    ----------
    points : ndarray, (n, 3)
        Two coordinates across and one along the expected axis, mm.
    hu, sigma : ndarray, (n,)
        Voxel values; the blur that counts at each voxel, mm: that in its radial direction.
    start : ndarray, (9,)
        Centre, tilt (mm across a mm along), inner radius, wall, HU outside, and by how much the
        radius varies as cos and sin of twice the angle.
    lumen, wall : float
        HU of air in the lumen and of the wall, held fixed.
    open_ : ndarray of bool, (24,)
        Sectors (from -pi, by `atan2(v, u)`) that are used; changes in place.
    table : ndarray
        `disc_table`.
    rounds : int
        How often sectors with a neighbouring vessel are looked for; the fit follows each.
    floor : float
        SD of residuals that is taken as normal at least, HU.

    Returns
    -------
    theta : ndarray, (9,)
    scale : float
        Robust SD of the residuals, HU.
    steps : int
        Accepted steps in the last round; -1 if fewer than 6 sectors or 20 voxels are left, or if
        the tube has run away from its voxels.

    Notes
    -----
    Levenberg-Marquardt with Tukey's weights. Weak priors about 0 (centre SD 2 mm, tilt
    0.3, ellipse 10 % of the radius) only matter where voxels can't tell, as for the tilt of a
    plane. An ellipse keeps its wall's thickness all around.
    """
    n = hu.size
    theta = start.copy()
    resid = np.empty(n)
    trial = np.empty(n)
    weight = np.empty(n)
    use = np.empty(n, np.bool_)
    normal = np.empty((N, N))
    right = np.empty(N)
    scale = 0.0
    steps = 0
    prior = np.zeros(N)  # precision
    prior[:2], prior[2:4] = CENTRE_PRIOR_MM**-2, TILT_PRIOR**-2
    prior[7:] = (ELLIPSE_PRIOR * start[4]) ** -2
    for turn in range(rounds + 1):
        left = 0
        for i in range(n):
            x, y, _, _, _ = _around(points, i, theta)
            use[i] = open_[_sector(x, y)]
            left += use[i]
        if left < 20 or open_.sum() < 6:
            return theta, np.nan, -1
        damping = 1e-2
        steps = 0
        _residuals(points, hu, sigma, theta, lumen, wall, table, resid)
        for _ in range(25):
            scale = max(1.4826 * np.median(np.abs(resid[use])), floor)
            cost = 0.0
            for i in range(n):
                q = resid[i] / (TUKEY * scale)
                inside = use[i] and abs(q) < 1.0
                weight[i] = (1.0 - q * q) ** 2 / scale**2 if inside else 0.0
                if use[i]:
                    cost += 1.0 - (1.0 - q * q) ** 3 if inside else 1.0
            _normal(points, sigma, weight, resid, theta, lumen, wall, table, normal, right)
            for a in range(N):
                normal[a, a] += prior[a]
                right[a] -= theta[a] * prior[a]
            moved = False
            size = 0.0
            while damping < 1e8:
                system = normal.copy()
                for a in range(N):
                    system[a, a] += damping * normal[a, a] + 1e-12
                try:
                    new = theta + np.linalg.solve(system, right)
                except Exception:  # singular: the tube has run away from its voxels
                    return theta, np.nan, -1
                new[4] = max(new[4], 0.1 * sigma[0])
                new[5] = max(new[5], MIN_WALL_MM)
                _residuals(points, hu, sigma, new, lumen, wall, table, trial)
                after = 0.0
                for i in range(n):
                    if use[i]:
                        q = trial[i] / (TUKEY * scale)
                        after += 1.0 - (1.0 - q * q) ** 3 if abs(q) < 1.0 else 1.0
                if after <= cost:
                    size = max(abs(new[4] - theta[4]), abs(new[5] - theta[5]))
                    size = max(size, abs(new[0] - theta[0]), abs(new[1] - theta[1]))
                    theta = new
                    resid[:] = trial
                    damping *= 0.2
                    steps += 1
                    moved = True
                    break
                damping *= 5.0
            if not moved or size < 1e-4:
                break
        if turn < rounds:
            before = open_.sum()
            _drop_sectors(points, resid, scale, theta, sigma, open_)
            if open_.sum() == before:
                break
    return theta, scale, steps
