"""Point spread and wall density of a scan, from its own airways; and how noisy it is.

Point spread and wall density are the same for all airways of a scan, while radius, wall and
background differ; so a few dozen sections tell them together where one couldn't.
"""

import math

import numba
import numpy as np

from lungitude.biomarkers import airway_fit

PSF_MM = 0.5  # where it can't be found: a soft to medium kernel of a chest scan
STARTS_MM = (PSF_MM, 0.3, 0.8)  # from which enough sections are looked for, in turn
PSF_PRIOR = 0.5  # SD of its logarithm
PSF_LIMITS_MM = (0.2, 1.5)
WALL_HU = 30.0  # soft tissue without contrast medium
WALL_PRIOR_HU = 25.0
WALL_LIMITS_HU = (-20.0, 80.0)  # beyond, it is not the wall's density that the image tells
MIN_SECTIONS = 3
ROUNDS = 12
QUIET_HU = 15.0  # noise below which slips of the model stand out
NOISE_POINTS = 48  # along each axis
MISFIT = 0.05  # SD of those, as a share of the contrast of soft tissue and lumen
# Noise of neighbouring voxels goes together, and no wall is quite as modelled: sections count as
# if their residual were wider by this factor, and never better than this.
WIDEN = 2.5
FLOOR_HU = 30.0


@numba.njit(cache=True)
def _terms(points, hu, voxel, theta, psf, lumen, wall, scale, open_, table):
    """Return a section's normal equations: its own parameters, then wall HU and point spread."""
    m = airway_fit.N + 2
    normal, right, g = np.zeros((m, m)), np.zeros(m), np.zeros(m)
    for i in range(hu.size):
        x, y, r, c2, s2 = airway_fit._around(points, i, theta)
        if not open_[airway_fit._sector(x, y)]:
            continue
        s = math.sqrt(psf * psf + voxel[i])
        inner = max(theta[4] + theta[7] * c2 + theta[8] * s2, 0.0)
        outer, inner = (inner + theta[5]) / s, inner / s
        c_out = airway_fit._disc(outer, r / s, table)
        c_in = airway_fit._disc(inner, r / s, table)
        resid = hu[i] - (theta[6] + (wall - theta[6]) * c_out + (lumen - wall) * c_in)
        q = resid / (airway_fit.TUKEY * scale)
        if abs(q) >= 1.0:
            continue
        w = (1.0 - q * q) ** 2 / scale**2
        out_a, out_b = airway_fit._slopes(outer, r / s)
        in_a, in_b = airway_fit._slopes(inner, r / s)
        up, down = (wall - theta[6]) / s, (lumen - wall) / s
        by_r = up * out_b + down * in_b
        g[0], g[1] = -by_r * x / r, -by_r * y / r
        g[2], g[3] = g[0] * points[i, 2], g[1] * points[i, 2]
        g[5] = up * out_a
        g[4] = g[5] + down * in_a
        g[6] = 1.0 - c_out
        g[7], g[8] = g[4] * c2, g[4] * s2
        g[9] = c_out - c_in
        by_s = -up * (outer * out_a + r / s * out_b) - down * (inner * in_a + r / s * in_b)
        g[10] = by_s * psf / s
        for a in range(m):
            right[a] += w * g[a] * resid
            for b in range(m):
                normal[a, b] += w * g[a] * g[b]
    return normal, right


def calibrate(sections, lumen_hu, psf_mm=None, wall_hu=None, floor_hu=airway_fit.SCALE_FLOOR_HU):
    """Find point spread and wall density from sections of airways.

    Parameters
    ----------
    sections : list of dict
        Fitted once: points, hu, voxel (variance of the voxel in the radial direction, mm2), theta
        and open. Walls in lung alone tell thin walls from a wide blur poorly where voxels are
        large; bronchi in soft tissue, whose inner edge is nearly all there is to see, do.
    lumen_hu : float
    psf_mm, wall_hu : float, optional
        What is known isn't estimated; nor is the wall where the point spread is given, as a slip
        in that would come back, enlarged, in the wall.
    floor_hu : float
        As of `airway_fit.fit_tube`.

    Returns
    -------
    psf_mm, wall_hu : float
    noted : str
        ``given``, ``estimated`` (with too few sections ``default``) for the point spread.

    Notes
    -----
    Gauss-Newton for the two common unknowns with the nine of each section eliminated (Schur
    complement), then each section fitted again, until both stand still. Priors: wall 30 HU, SD 25;
    logarithm of a point spread of 0.5 mm, SD 0.5.
    """
    psf = PSF_MM if psf_mm is None else float(psf_mm)
    wall = WALL_HU if wall_hu is None else float(wall_hu)
    if psf_mm is not None or len(sections) < MIN_SECTIONS:
        return psf, wall, "default" if psf_mm is None else "given"
    free = np.array([wall_hu is None, True])
    table = airway_fit.disc_table()
    own, common = slice(0, airway_fit.N), slice(airway_fit.N, None)
    for _ in range(ROUNDS):
        information = np.diag([WALL_PRIOR_HU**-2, (PSF_PRIOR * psf) ** -2])
        pull = np.array(
            [(WALL_HU - wall) / WALL_PRIOR_HU**2, -math.log(psf / PSF_MM) / PSF_PRIOR**2 / psf]
        )
        for s in sections:
            args = (s["points"], s["hu"], np.sqrt(psf**2 + s["voxel"]), s["theta"])
            args = (*args, lumen_hu, wall, s["open"], table)
            theta, scale, steps = airway_fit.fit_tube(*args, 0, floor_hu)
            if steps < 0:
                continue
            s["theta"], scale = theta, max(WIDEN * scale, FLOOR_HU)
            args = (s["points"], s["hu"], s["voxel"], theta, psf, lumen_hu, wall, scale)
            normal, right = _terms(*args, s["open"], table)
            inner = normal[own, own] + np.diag(1e-6 * np.diag(normal[own, own]) + 1e-9)
            gain = np.linalg.solve(inner, normal[own, common]).T
            told = normal[common, common] - gain @ normal[own, common]
            wish = right[common] - gain @ right[own]
            information += told
            pull += wish
        step = _step(information, pull, free)
        if not WALL_LIMITS_HU[0] <= wall + step[0] <= WALL_LIMITS_HU[1]:
            # The wall stops at its limit, and the point spread goes its own way.
            stop = float(np.clip(wall + step[0], *WALL_LIMITS_HU)) - wall
            step = _step(information, pull - information[:, 0] * stop, np.array([False, True]))
            step[0] = stop
        wall += step[0]
        psf = float(np.clip(psf + step[1], *PSF_LIMITS_MM))
        if abs(step[0]) < 0.5 and abs(step[1]) < 0.002:
            break
    return psf, float(wall), "estimated"


def residual_floor_hu(volume, lumen_hu):
    """Return the SD of residuals that fits of a scan take as normal at least.

    With hardly any noise every slip of the assumed point spread would be an outlier, and that all
    around the wall; so the floor is then 5 % of the contrast.
    """
    quiet = _noise_hu(volume) < QUIET_HU
    return -MISFIT * lumen_hu if quiet else airway_fit.SCALE_FLOOR_HU


def _noise_hu(volume):
    """Estimate the SD of noise from second differences; kernels smooth it least along one axis."""
    at = [
        np.unique(np.linspace(1, max(n - 2, 1), NOISE_POINTS).round().astype(int))
        for n in volume.shape
    ]
    found = []
    for axis in range(3):
        if volume.shape[axis] < 3:
            continue
        step = [np.ix_(*(p + k * (a == axis) for a, p in enumerate(at))) for k in (-1, 0, 1)]
        low, middle, high = (volume[i].astype(np.float64) for i in step)
        second = low - 2.0 * middle + high
        found.append(1.4826 * np.median(np.abs(second)) / math.sqrt(6.0))
    return max(found, default=np.inf)


def _step(information, pull, free):
    step = np.zeros(2)
    step[free] = np.linalg.solve(information[np.ix_(free, free)], pull[free])
    return np.clip(step, [-60.0, -0.15], [60.0, 0.15])
