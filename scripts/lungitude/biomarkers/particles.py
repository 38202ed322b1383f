"""Vessel volumes from scale-space particles, as the Chest Imaging Platform defines them."""

import math

import numpy as np
from scipy import spatial, special, stats

WIDEST_MM2 = 90.0  # end of the integral of the total
SMALL_MM2 = 5.0
_POINT_SPREAD = 1.0 / (2.0 * math.sqrt(2.0))  # of the sampling, in voxels


def radius_mm(scale, spacing_mm):
    """Radius of the vessel that a particle of this scale (in voxels) sits on."""
    s, s0 = np.asarray(scale, float) * spacing_mm, _POINT_SPREAD * spacing_mm
    return math.sqrt(2.0) * (np.hypot(s, s0) - 0.5 * s0)


def particle_volumes(points_mm, scale, spacing):
    """Total and small-vessel volume of particles that sample vessels evenly along their axes.

    Parameters
    ----------
    points_mm : ndarray, (n, 3)
        Places of the particles.
    scale : ndarray, (n,)
        Their scale, in voxels.
    spacing : float or sequence of float
        mm; of three sides the geometric mean counts.

    Returns
    -------
    dict
        tbv_ml and bv5_ml by the density estimate of [1]_, up to 90 and 5 mm^2; tbv_sum_ml and
        bv5_sum_ml, direct sums over the particles with no end and no smearing; bv5_pct of the
        former; step_mm, length of vessel that a particle stands for; n.

    Raises
    ------
    ValueError
        Fewer than 3 particles, arrays that don't fit, scales that are not positive.

    Notes
    -----
    The step is the median of the mean distance to the two nearest neighbours. (The peer means to
    keep only particles for which both are alike, but compares their signed difference, never
    positive, with its limit: all count.) The density of cross-sections is a sum of Gaussians
    (Scott's width), so the integral of area times density is closed: here without the peer's
    quadrature and its random draw of particles, for which it tolerates 1 %.

    References
    ----------
    .. [1] Estepar et al. 2013, Am J Respir Crit Care Med 188:231-239; the Chest Imaging Platform,
       cip_python/phenotypes/vasculature_phenotypes.py.
    """
    points, scale = np.asarray(points_mm, float), np.asarray(scale, float)
    if points.ndim != 2 or points.shape[1] != 3 or scale.shape != (len(points),):
        raise ValueError(f"points {points.shape} and scales {scale.shape} must be (n, 3) and (n,)")
    if len(points) < 3 or not (np.isfinite(points).all() and (scale > 0).all()):
        raise ValueError("3 particles or more are needed, with finite places and positive scales")
    spacing_mm = float(np.prod(spacing) ** (1.0 / np.size(spacing)))
    near = spatial.KDTree(points).query(points, k=3)[0][:, 1:]
    step = float(np.median(near.mean(axis=1)))
    area = np.pi * radius_mm(scale, spacing_mm) ** 2
    length = len(points) * step / 1000.0
    tbv, bv5 = (length * _mean_up_to(area, limit) for limit in (WIDEST_MM2, SMALL_MM2))
    return {
        "tbv_ml": tbv,
        "bv5_ml": bv5,
        "bv5_pct": 100.0 * bv5 / tbv if tbv > 0 else math.nan,
        "tbv_sum_ml": step * float(area.sum()) / 1000.0,
        "bv5_sum_ml": step * float(area[area < SMALL_MM2].sum()) / 1000.0,
        "step_mm": step,
        "n": len(points),
    }


def _mean_up_to(area, limit):
    """Integral of a p(a) from 0 to the limit, p the Gaussian density estimate of the areas."""
    if np.ptp(area) == 0:
        return float(area.mean()) if area[0] < limit else 0.0
    width = float(np.sqrt(stats.gaussian_kde(area).covariance[0, 0]))
    low, high = (0.0 - area) / width, (limit - area) / width
    inside = special.ndtr(high) - special.ndtr(low)
    edge = np.exp(-0.5 * low**2) - np.exp(-0.5 * high**2)
    return float((area * inside + width / math.sqrt(2.0 * math.pi) * edge).mean())
