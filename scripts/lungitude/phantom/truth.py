"""What is true of a case: of its geometry (T0), of its noiseless images (T1), and under noise.

T0 follows from the record. T1 is measured on the noiseless image, so that what is left between it
and a measurement on the delivered one (T2) is noise and the measurement's own fault.
"""

import dataclasses

import numpy as np
from scipy import ndimage, optimize, special

from . import airways, anatomy, breathing, grids, heart, labels, lesions, painting, vessels
from .view import View

EMPHYSEMA_BELOW_HU, TRAPPED_BELOW_HU = -950.0, -856.0


def response(scans, every=1):
    """Densitometry of noiseless images with the true deformation as the registration.

    Parameters
    ----------
    scans : dict of Scan
        ``insp`` and ``exp`` of `render.render`; delivered images may stand in `t1`.
    every : int
        Use each n-th lung voxel.

    Returns
    -------
    dict
        laa950_pct volume_insp_ml volume_exp_ml expiration_ratio, and, with the expiration sampled
        at the true point, normal_pct fsad_pct emphysema_pct other_pct.
    """
    insp, exp = scans["insp"], scans["exp"]
    inside = insp.lobes > 0
    chosen = np.flatnonzero(inside)[::every]
    index = np.stack(np.unravel_index(chosen, inside.shape)[::-1], axis=1)
    points = np.array(insp.grid.origin_mm) + index * np.array(insp.grid.spacing_mm)
    moved = map_points(insp.record, "insp", exp.record, "exp", points)
    from_exp = ndimage.map_coordinates(exp.t1, exp.grid.index(moved).T, order=1, mode="nearest")
    low, held = insp.t1.ravel()[chosen] < EMPHYSEMA_BELOW_HU, from_exp < TRAPPED_BELOW_HU
    volumes = [1e-3 * float((s.lobes > 0).sum() * np.prod(s.grid.spacing_mm)) for s in (insp, exp)]
    return {
        "laa950_pct": 100.0 * float(low.mean()),
        "volume_insp_ml": volumes[0],
        "volume_exp_ml": volumes[1],
        "expiration_ratio": volumes[1] / volumes[0],
        "normal_pct": 100.0 * float((~low & ~held).mean()),
        "fsad_pct": 100.0 * float((~low & held).mean()),
        "emphysema_pct": 100.0 * float((low & held).mean()),
        "other_pct": 100.0 * float((low & ~held).mean()),
    }


def map_points(record, phase, other, other_phase, points_mm):
    """Where points of one image of a patient lie in another of the same patient.

    Parameters
    ----------
    record, other : Record
        Of the same patient: the same anatomy at one visit or at two.
    phase, other_phase : str
        ``insp`` or ``exp``.
    points_mm : ndarray, (n, 3)
        LPS mm in the first image.
    """
    points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
    first, second = grids.field(record, phase), grids.field(other, other_phase)
    if first == second and np.array_equal(record.scale, other.scale):
        return points
    if first:
        points = breathing.map_points(first, points, "exp_to_insp")
    points = points / record.scale * other.scale
    return breathing.map_points(second, points, "insp_to_exp") if second else points


def geometric(record, step_mm=2.0):
    """T0: what the geometry of a case is, with no image.

    Parameters
    ----------
    record : Record
        With lesion counts, if emphysema and trapped air are to be told.
    step_mm : float
        Distance of the points that are asked which lesion they lie in, in the lungs at full
        inspiration; 2 mm is exact to about 0.1 % of the lungs.

    Returns
    -------
    dict
        volume_insp_ml volume_exp_ml expiration_ratio; lobe_<name>_pct of the lung's volume;
        emphysema_pct (union of all spheres) centrilobular_pct paraseptal_pct trapped_pct, of the
        lung's volume at full inspiration; and what `airways.truth`, `vessels.truth` and
        `heart.truth` give that is one number.

    Notes
    -----
    `emphysema_pct` is above LAA-950 of T1, since the blurred rim of a sphere is denser than -950
    HU; trapped air is counted where a lobule traps, also in emphysema and near walls and vessels.
    """
    full = dataclasses.replace(record, inflation=None)
    reach = np.array([140.0, 90.0, 130.0]) * record.scale
    view = View(full, "insp", grids.box(-reach, reach, step_mm))
    lobes = painting.lungs(view)
    painting.mark_central(view, lobes)
    inside = lobes > 0
    total = int(inside.sum())
    insp = 1000.0 * record.lung_volume_l * record.inflation_ratio
    exp = 1000.0 * record.lung_volume_l * record.expiration_ratio
    facts = {"volume_insp_ml": insp, "volume_exp_ml": exp, "expiration_ratio": exp / insp}
    for code, name in anatomy.LOBES.items():
        facts[f"lobe_{name}_pct"] = 100.0 * float((lobes == code).sum()) / total
    if record.emphysema_spheres is not None:
        found = _marked(view, "emphysema", record.emphysema_spheres)[inside]
        facts["emphysema_pct"] = 100.0 * float((found > 0).mean())
        for code, name in lesions.SUBTYPES.items():
            facts[f"{name}_pct"] = 100.0 * float((found == code).mean())
    if record.trapped_spheres is not None:
        found = _marked(view, "trapped", record.trapped_spheres)[inside]
        facts["trapped_pct"] = 100.0 * float((found > 0).mean())
    for organ in (airways, vessels, heart):
        facts.update({k: v for k, v in organ.truth(record).items() if np.isscalar(v)})
    return facts


def _marked(view, kind, count):
    out = np.zeros(view.grid.shape, np.uint8)
    labels.mark_lesions(view, out, lesions.table(view.record, kind, count))
    return out


def density(scan, noise_hu=0.0, rounded=False):
    """Densitometry of the noiseless image, or what is to be expected of it under noise.

    Parameters
    ----------
    scan : Scan
    noise_hu : float
        Standard deviation of Gaussian noise that is to be added.
    rounded : bool
        Whether the image is rounded to whole HU after that, as `render.deliver` does.

    Returns
    -------
    dict
        voxels volume_ml mass_g laa950_pct laa910_pct laa856_pct perc15_hu perc85_hu pd15_g_l
        mld_hu, over the lobes.
    """
    values = scan.t1[scan.lobes > 0].astype(float)
    ml = 1e-3 * float(np.prod(scan.grid.spacing_mm))
    facts = {"voxels": len(values), "volume_ml": ml * len(values)}
    facts["mass_g"] = ml * float((values + 1000.0).sum()) / 1000.0
    for threshold in (-950, -910, -856):
        facts[f"laa{-threshold}_pct"] = laa_under_noise(values, None, threshold, noise_hu, rounded)
    for q in (15, 85):
        facts[f"perc{q}_hu"] = percentile_under_noise(values, None, q, noise_hu)
    facts["pd15_g_l"] = facts["perc15_hu"] + 1000.0
    facts["mld_hu"] = float(values.mean())
    return facts


def laa_under_noise(t1, mask, threshold_hu, noise_hu, rounded=True):
    """Return the expected percentage of a mask below a threshold under Gaussian noise.

    Parameters
    ----------
    t1 : ndarray
        Noiseless HU.
    mask : ndarray of bool, same shape, or None for all
    threshold_hu : float
        Strictly below counts.
    noise_hu : float
        Standard deviation of the noise; 0 for none.
    rounded : bool
        Whether the result is rounded to whole HU: then only what is below the threshold by half a
        unit counts, for a threshold that is a whole number.

    Returns
    -------
    float
        Mean of Phi((threshold - t1) / noise) over the mask, in percent; NaN for an empty one.
    """
    values = np.asarray(t1 if mask is None else t1[mask], dtype=float)
    if not values.size:
        return float("nan")
    edge = np.ceil(threshold_hu) - 0.5 if rounded else threshold_hu
    if noise_hu == 0:
        return 100.0 * float((values < edge).mean())
    return 100.0 * float(special.ndtr((edge - values) / noise_hu).mean())


def percentile_under_noise(t1, mask, percent, noise_hu):
    """Return the percentile of a mask's HU under Gaussian noise, before rounding.

    Parameters as `laa_under_noise`; `percent` from 0 to 100. Accurate to 0.05 HU. Rounding to
    whole HU then moves a sample's percentile by up to half a unit.
    """
    values = np.asarray(t1 if mask is None else t1[mask], dtype=float)
    if not values.size:
        return float("nan")
    if noise_hu == 0:
        return float(np.percentile(values, percent))
    step = min(0.1, 0.02 * noise_hu)
    edges = np.arange(values.min() - step, values.max() + 2 * step, step)
    counts, edges = np.histogram(values, edges)
    middle = 0.5 * (edges[1:] + edges[:-1])[counts > 0]
    share = counts[counts > 0] / len(values)

    def excess(x):
        return float(share @ special.ndtr((x - middle) / noise_hu)) - percent / 100.0

    return float(
        optimize.brentq(excess, values.min() - 9 * noise_hu, values.max() + 9 * noise_hu, xtol=1e-3)
    )
