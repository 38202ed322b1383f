"""Cross-sections of airways: sampling along rays, full width at half maximum, voxels of a slab.

Volumes are (z, y, x); a frame is (origin, u, v, along), vectors in array mm, (z, y, x), with the
last three orthonormal. Radii and lengths in mm, values in HU.
"""

import math

import numba
import numpy as np

from lungitude.biomarkers import airway_fit

RAYS = 36
STEP_MM = 0.25
RISE_HU = 100.0  # from the lumen to a wall's peak, at least
OUTSIDE_HU = -500.0  # a ray that doesn't fall below this outside the wall has met a vessel
LUMEN_HU = -1000.0
WALL_HU = 0.0
PSF_MM = 0.5
OUTLIER_MAD = 3.5
SEEN_RAYS = 0.25  # share of clear rays from which they may start a fit
OUTSIDE_START_HU = -850.0
STRAIGHT = 0.05  # tilt, mm a mm, that needs no other turn of the frame
MIN_WALL_MM = 0.1  # thinner, there is none
MARGIN_MM = 1.5  # of lung around the wall that the fit sees, at least


def frame(origin, along):
    """Return a frame with unit vectors u, v across `along`, all (z, y, x)."""
    along = np.asarray(along, float) / np.linalg.norm(along)
    other = np.zeros(3)
    other[np.argmin(np.abs(along))] = 1.0
    u = np.cross(along, other)
    u /= np.linalg.norm(u)
    return np.stack([np.asarray(origin, float), u, np.cross(along, u), along])


@numba.njit(cache=True)
def _keys(t, w):
    """Weights of cubic convolution (Keys 1981, a = -1/2) at 0 <= t < 1."""
    w[0] = ((-0.5 * t + 1.0) * t - 0.5) * t
    w[1] = (1.5 * t - 2.5) * t * t + 1.0
    w[2] = ((-1.5 * t + 2.0) * t + 0.5) * t
    w[3] = (0.5 * t - 0.5) * t * t


@numba.njit(cache=True)
def polar(volume, spacing, frame, radius_mm, half_mm, rays, step_mm):
    """Sample rays across a tube, averaged along it.

    Parameters
    ----------
    volume : ndarray, (z, y, x)
    spacing : ndarray, (3,)
    frame : ndarray, (4, 3)
    radius_mm, step_mm : float
        Length of a ray and distance of its samples.
    half_mm : float
        Planes from -half to +half along the tube are averaged, at most 1 mm apart; 0: one plane.
    rays : int

    Returns
    -------
    ndarray, (rays, samples)
        Ray k points along cos(2 pi k / rays) u + sin(2 pi k / rays) v. Cubic convolution; voxels
        at the border are repeated.
    """
    count = int(radius_mm / step_mm) + 1
    planes = 1 + 2 * math.ceil(half_mm)
    out = np.zeros((rays, count))
    w = np.empty((3, 4))
    first = np.empty(3, np.int64)
    shape = volume.shape
    for k in range(rays):
        c, s = math.cos(2 * math.pi * k / rays), math.sin(2 * math.pi * k / rays)
        for p in range(planes):
            along = 0.0 if planes == 1 else half_mm * (2.0 * p / (planes - 1) - 1.0)
            for j in range(count):
                for a in range(3):
                    x = frame[0, a] + along * frame[3, a]
                    x = (x + j * step_mm * (c * frame[1, a] + s * frame[2, a])) / spacing[a]
                    x = min(max(x, 0.0), shape[a] - 1.0)
                    first[a] = int(x)
                    _keys(x - first[a], w[a])
                total = 0.0
                for dz in range(4):
                    z = min(max(first[0] + dz - 1, 0), shape[0] - 1)
                    if w[0, dz] == 0.0:
                        continue
                    plane = 0.0
                    for dy in range(4):
                        y = min(max(first[1] + dy - 1, 0), shape[1] - 1)
                        row = 0.0
                        for dx in range(4):
                            x_ = min(max(first[2] + dx - 1, 0), shape[2] - 1)
                            row += w[2, dx] * volume[z, y, x_]
                        plane += w[1, dy] * row
                    total += w[0, dz] * plane
                out[k, j] += total / planes
    return out


@numba.njit(cache=True)
def edges(rays, step_mm, near_mm):
    """Find the wall on each ray by full width at half maximum.

    Parameters
    ----------
    rays : ndarray, (n, samples)
    step_mm : float
    near_mm : float
        Of several peaks the one nearest to this radius is the wall; 0: the first.

    Returns
    -------
    ndarray, (n, 5)
        Inner and outer radius, radius and HU of the peak, HU of the minimum outside; NaN where
        there is no wall, outer radius NaN where the ray never falls to its half level.
    """
    n, m = rays.shape
    found = np.full((n, 5), np.nan)
    for k in range(n):
        p = rays[k]
        best, lowest = -1, p[0]
        for j in range(1, m - 1):
            lowest = min(lowest, p[j])
            if p[j] >= p[j - 1] and p[j] > p[j + 1] and p[j] - lowest >= RISE_HU:
                if best < 0 or abs(j * step_mm - near_mm) < abs(best * step_mm - near_mm):
                    best = j
                if near_mm <= 0.0:
                    break
        if best < 0:
            continue
        inner = best
        while inner > 0 and p[inner - 1] <= p[inner]:
            inner -= 1
        outer = best
        while outer < m - 1 and p[outer + 1] <= p[outer]:
            outer += 1
        # The top of the parabola through the peak and its neighbours.
        bend = p[best - 1] - 2.0 * p[best] + p[best + 1]
        shift = 0.5 * (p[best - 1] - p[best + 1]) / bend if bend < 0.0 else 0.0
        top = p[best] - 0.25 * (p[best - 1] - p[best + 1]) * shift
        found[k, 2], found[k, 3], found[k, 4] = (best + shift) * step_mm, top, p[outer]
        level = 0.5 * (top + p[inner])
        j = best
        while j > inner and p[j] > level:
            j -= 1
        if p[j] <= level:
            found[k, 0] = (j + (level - p[j]) / max(p[j + 1] - p[j], 1e-9)) * step_mm
        level = 0.5 * (top + p[outer])
        j = best
        while j < outer and p[j] > level:
            j += 1
        if p[j] <= level:
            found[k, 1] = (j - (level - p[j]) / max(p[j - 1] - p[j], 1e-9)) * step_mm
    return found


def fwhm(rays, step_mm, near_mm=0.0):
    """Radii of an airway by full width at half maximum.

    Parameters
    ----------
    rays, step_mm, near_mm
        As `edges`.

    Returns
    -------
    dict
        inner_radius_mm, outer_radius_mm, wall_mm: means over all rays that show an edge, as the
        Chest Imaging Platform gives them; clear_inner_radius_mm, clear_outer_radius_mm,
        clear_wall_mm: means over clear rays only; rays (share of clear ones); used (bool by ray).

    Notes
    -----
    Inner and outer radius of a ray lie where it passes half of what it rises from the minimum on
    that side to the peak. A ray is clear if it has both, falls below -500 HU outside the wall (no
    vessel), and has radii within 3.5 robust SD of the median. Thin walls come out too thick, so
    this starts the fit and stands beside it for comparison.

    References
    ----------
    .. [1] Reinhardt, D'Souza, Hoffman 1997, IEEE Trans Med Imaging 16:820-827.
    """
    found = edges(np.ascontiguousarray(rays, np.float64), step_mm, near_mm)
    inner, outer = found[:, 0], found[:, 1]
    used = np.isfinite(inner) & np.isfinite(outer) & (found[:, 4] < OUTSIDE_HU)
    for radius in (inner, outer):
        if used.sum() >= 5:
            middle = np.median(radius[used])
            spread = 1.4826 * np.median(np.abs(radius[used] - middle))
            used &= np.abs(radius - middle) <= OUTLIER_MAD * max(spread, 0.1 * step_mm)
    clear_in, clear_out = (float(r[used].mean()) if used.any() else np.nan for r in (inner, outer))
    any_in, any_out = (_mean(radius) for radius in (inner, outer))
    return {
        "inner_radius_mm": any_in,
        "outer_radius_mm": any_out,
        "wall_mm": any_out - any_in,
        "clear_inner_radius_mm": clear_in,
        "clear_outer_radius_mm": clear_out,
        "clear_wall_mm": clear_out - clear_in,
        "rays": float(used.mean()),
        "used": used,
    }


def _mean(values):
    """Mean of what is finite, NaN if nothing is."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else np.nan


@numba.njit(cache=True)
def slab(volume, spacing, frame, radius_mm, half_mm, psf_mm):
    """Collect the voxels of a short cylinder around an axis.

    Returns
    -------
    points : ndarray, (n, 3)
        Along u, v and the axis, mm from the origin of the frame.
    hu : ndarray, (n,)
    sigma : ndarray, (n,)
        Blur in the radial direction n: sqrt(psf^2 + sum (spacing_k n_k)^2 / 12).
    """
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for a in range(3):
        along = abs(frame[3, a]) * half_mm
        across = radius_mm * math.sqrt(max(0.0, 1.0 - frame[3, a] ** 2))
        low[a] = max(0, math.ceil((frame[0, a] - along - across) / spacing[a]))
        high[a] = min(volume.shape[a], math.floor((frame[0, a] + along + across) / spacing[a]) + 1)
    most = max(1, (high[0] - low[0]) * (high[1] - low[1]) * (high[2] - low[2]))
    points, hu, sigma = np.empty((most, 3)), np.empty(most), np.empty(most)
    n = 0
    d = np.empty(3)
    for z in range(low[0], high[0]):
        d[0] = z * spacing[0] - frame[0, 0]
        for y in range(low[1], high[1]):
            d[1] = y * spacing[1] - frame[0, 1]
            for x in range(low[2], high[2]):
                d[2] = x * spacing[2] - frame[0, 2]
                s = d[0] * frame[3, 0] + d[1] * frame[3, 1] + d[2] * frame[3, 2]
                if abs(s) > half_mm:
                    continue
                u = d[0] * frame[1, 0] + d[1] * frame[1, 1] + d[2] * frame[1, 2]
                v = d[0] * frame[2, 0] + d[1] * frame[2, 1] + d[2] * frame[2, 2]
                r2 = u * u + v * v
                if r2 > radius_mm * radius_mm:
                    continue
                r = math.sqrt(r2)
                var = 0.0
                for a in range(3):
                    if r > 1e-9:
                        n_a = (u * frame[1, a] + v * frame[2, a]) / r
                        var += (n_a * spacing[a]) ** 2
                    else:
                        var += 0.5 * (1.0 - frame[3, a] ** 2) * spacing[a] ** 2
                points[n, 0], points[n, 1], points[n, 2] = u, v, s
                hu[n] = volume[z, y, x]
                sigma[n] = math.sqrt(psf_mm * psf_mm + var / 12.0)
                n += 1
    return points[:n], hu[:n], sigma[:n]


def centred(volume, spacing, here, radius_mm, half_mm, near_mm=0.0, step_mm=STEP_MM):
    """Move a frame to the middle of its lumen, and return it with its rays there."""
    here = here.copy()
    angle = 2 * np.pi * np.arange(RAYS) / RAYS
    for _ in range(2):
        rays = polar(volume, spacing, here, radius_mm, half_mm, RAYS, step_mm)
        inner = edges(rays, step_mm, near_mm)[:, 0]
        known = np.isfinite(inner)
        if known.sum() < RAYS // 2:
            break
        inner = np.interp(angle, angle[known], inner[known], period=2 * np.pi)
        inner = np.minimum(inner, 2.0 * np.median(inner))
        area = 0.5 * (inner**2).mean()
        shift_u = (inner**3 * np.cos(angle)).mean() / 3.0 / area
        shift_v = (inner**3 * np.sin(angle)).mean() / 3.0 / area
        here[0] += shift_u * here[1] + shift_v * here[2]
        if math.hypot(shift_u, shift_v) < 0.05:
            break
    return here, polar(volume, spacing, here, radius_mm, half_mm, RAYS, step_mm)


def fit(
    volume,
    spacing,
    here,
    edge,
    half_mm,
    psf_mm,
    lumen_hu,
    wall_hu,
    near_mm=0.0,
    floor_hu=airway_fit.SCALE_FLOOR_HU,
):
    """Fit a tube to the voxels of a slab, from where full width at half maximum stands.

    Parameters
    ----------
    volume, spacing, here, half_mm
        As `polar`; `here` is the frame.
    edge : dict
        Of `fwhm` at this frame.
    psf_mm, lumen_hu, wall_hu : float
    near_mm : float
        Where few rays show a wall, the fit starts here; 0: it isn't done.
    floor_hu : float
        SD of residuals that is taken as normal at least.

    Returns
    -------
    dict or None
        frame (moved and turned onto the axis found), theta (of `airway_fit.fit_tube` there),
        inner_radius_mm, outer_radius_mm (of discs of equal area), wall_mm, outside_hu,
        residual_hu (robust SD), rays (share of sectors used), open (bool by sector); None where
        there is nothing to fit.
    """
    sigma = math.sqrt(psf_mm**2 + float(np.mean(spacing)) ** 2 / 12.0)
    outer, width = edge["clear_outer_radius_mm"], edge["clear_wall_mm"]
    if edge["rays"] >= SEEN_RAYS and width > 0:
        open_ = _open_sectors(edge["used"])
        # Full width at half maximum widens a thin wall to about 2.35 sigma: take that out.
        thick = math.sqrt(max(width**2 - 5.0 * sigma**2, (0.4 * width) ** 2))
        inner = max(outer - 0.5 * (width + thick), 0.5 * sigma)
    elif near_mm > 0:
        open_ = np.ones(airway_fit.SECTORS, bool)
        inner, thick = near_mm, 0.3 + 0.2 * near_mm
        outer = inner + thick + sigma
    else:
        return None
    theta = np.zeros(airway_fit.N)
    theta[4:7] = inner, thick, OUTSIDE_START_HU
    reach = outer + max(MARGIN_MM, 2.5 * sigma)
    for _ in range(3):
        points, hu, blur = slab(volume, spacing, here, reach, half_mm, psf_mm)
        if hu.size < 30:
            return None
        args = (points, hu, blur, theta, lumen_hu, wall_hu, open_, airway_fit.disc_table())
        theta, scale, steps = airway_fit.fit_tube(*args, 2, floor_hu)
        if steps < 0:
            return None
        here = _turn(here, theta)
        tilt, theta[:4] = math.hypot(theta[2], theta[3]), 0.0
        if tilt < STRAIGHT:
            break
    return {
        "frame": here,
        "theta": theta,
        "inner_radius_mm": math.hypot(theta[4], 0.7071 * math.hypot(theta[7], theta[8])),
        "outer_radius_mm": math.hypot(theta[4] + theta[5], 0.7071 * math.hypot(theta[7], theta[8])),
        "wall_mm": float(theta[5]),
        "outside_hu": float(theta[6]),
        "residual_hu": float(scale),
        "rays": float(open_.mean()),
        "open": open_,
    }


def _turn(here, theta):
    """Move a frame to the centre that was fitted, and turn it to the axis that was fitted."""
    origin, u, v, along = here
    along = along + theta[2] * u + theta[3] * v
    along = along / np.linalg.norm(along)
    u = u - (u @ along) * along
    u = u / np.linalg.norm(u)
    return np.stack(
        [origin + theta[0] * here[1] + theta[1] * here[2], u, np.cross(along, u), along]
    )


def _open_sectors(used):
    """Return the sectors that hold a used ray; rays start at 0, sectors at -pi."""
    angle = (2 * np.pi * np.arange(used.size) / used.size + np.pi) % (2 * np.pi)
    sector = (angle / (2 * np.pi) * airway_fit.SECTORS).astype(int) % airway_fit.SECTORS
    hits = np.bincount(sector, used, minlength=airway_fit.SECTORS)
    return hits > 0


def measure_section(
    image2d,
    spacing_mm,
    centre=None,
    method="fit",
    psf_mm=PSF_MM,
    lumen_hu=LUMEN_HU,
    wall_hu=WALL_HU,
):
    """Measure an airway in one plane across it.

    Parameters
    ----------
    image2d : ndarray, (rows, columns)
        HU.
    spacing_mm : float or (float, float)
        Of rows and columns.
    centre : (float, float), optional
        Row and column near the middle of the lumen; default the middle of the image.
    method : {"fit", "fwhm"}
    psf_mm, lumen_hu, wall_hu : float
        What the fit assumes: SD of the point spread without the voxel, HU of air and of wall.

    Returns
    -------
    dict
        inner_radius_mm, outer_radius_mm, wall_mm, inner_area_mm2, outer_area_mm2, wa_pct,
        perimeter_mm (of the lumen), rays (share used); from the fit also outside_hu and
        residual_hu; from full width at half maximum also what `fwhm` gives.

    Raises
    ------
    ValueError
        Not a plane, HU that are not finite, unknown method.
    """
    plane = np.asarray(image2d, np.float64)
    if plane.ndim != 2:
        raise ValueError(f"a section is a plane, this array has {plane.ndim} dimensions")
    if not np.isfinite(plane).all():
        raise ValueError("the section holds HU that are not finite")
    if method not in ("fit", "fwhm"):
        raise ValueError(f"method {method!r} is unknown; known: fit, fwhm")
    size = np.broadcast_to(np.asarray(spacing_mm, float), 2)
    spacing = np.array([size.min(), *size])
    row, column = centre if centre is not None else ((n - 1) / 2 for n in plane.shape)
    origin = np.array([0.0, row * size[0], column * size[1]])
    border = np.array([*origin[1:], *((np.array(plane.shape) - 1) * size - origin[1:])])
    here = np.stack([origin, [0.0, 1, 0], [0.0, 0, 1], [1.0, 0, 0]])
    step = min(STEP_MM, 0.25 * float(size.min()))
    here, rays = centred(plane[None], spacing, here, float(border.min()), 0.0, 0.0, step)
    edge = fwhm(rays, step)
    found = edge
    if method == "fit":
        near = 2.0 * float(size.max())
        found = fit(plane[None], spacing, here, edge, 0.1, psf_mm, lumen_hu, wall_hu, near)
    if found is None or not found["wall_mm"] >= MIN_WALL_MM:
        found = dict.fromkeys(("inner_radius_mm", "outer_radius_mm", "wall_mm"), np.nan)
        found |= {"outside_hu": np.nan, "residual_hu": np.nan, "rays": 0.0}
    kept = {k: v for k, v in found.items() if k not in ("frame", "theta", "open", "used")}
    return kept | shape(found["inner_radius_mm"], found["wall_mm"])


def shape(inner, wall):
    """Return areas, their ratios and the inner perimeter of a round airway."""
    inner_area, outer_area = np.pi * inner**2, np.pi * (inner + wall) ** 2
    return {
        "inner_area_mm2": inner_area,
        "outer_area_mm2": outer_area,
        "wa_pct": 100.0 * (1.0 - inner_area / outer_area),
        "wa_la": outer_area / inner_area - 1.0,
        "perimeter_mm": 2 * np.pi * inner,
    }
