"""HU scale of a scan set by its own air and blood."""

import math

import numpy as np

from lungitude import images, quality, segmentation

AIR_HU = -1000.0
BLOOD_HU = 45.0
CONTRAST_ABOVE_HU = 100.0  # no blood without contrast medium is as bright
PLAUSIBLE_HU = {"air": (-1060.0, -920.0), "blood": (10.0, 80.0)}
FEWEST_VOXELS = 50


def internal_calibration(ct, lungs=None, row=None, air_hu=AIR_HU, blood_hu=BLOOD_HU):
    """Find the linear map that gives tracheal air and aortic blood their HU.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU of a scan without contrast medium; not needed (None) with `row`.
    lungs : SimpleITK.Image, optional
        1 right, 2 left, on the same grid; else `segmentation.lungs` finds them.
    row : mapping, optional
        Row of `quality.measure` of the scan, if there is one: what it holds isn't measured again.
    air_hu, blood_hu : float
        What both are to be. Blood varies by haematocrit: between visits of a patient the blood of
        the baseline is a better aim than the default.

    Returns
    -------
    dict
        slope, offset: HU' = slope * HU + offset; measured_air_hu, measured_blood_hu; n_air,
        n_blood, voxels they were measured on; error_hu, standard error of HU' at -950 HU from the
        noise in both; flag, empty, or why there is no map (slope and offset are NaN then):
        ``no_air``, ``no_blood``, ``contrast``, ``implausible_air``, ``implausible_blood``.

    Notes
    -----
    Two references [1]_: tracheal air drifts with the scanner's air calibration, blood with tube
    and beam. Air is measured 2.5 mm off the wall, blood in the inner 60 % of the descending aorta.
    With contrast medium the aorta is no reference, and the scan is refused.

    References
    ----------
    .. [1] Stoel et al. 1999, Invest Radiol 34:303-309.
    .. [2] Parr et al. 2004, Am J Respir Crit Care Med 170:883-890.
    """
    if not (math.isfinite(air_hu) and math.isfinite(blood_hu) and air_hu < blood_hu):
        raise ValueError(f"air ({air_hu:g} HU) must lie below blood ({blood_hu:g} HU)")
    if row is None:
        if lungs is None:
            lungs = segmentation.lungs(ct)
        row = quality.measure(ct, lungs).iloc[0]
    air, blood = float(row["air_hu"]), float(row["blood_hu"])
    n_air, n_blood = (_number(row[name]) for name in ("air_voxels", "blood_voxels"))
    result = {
        "slope": math.nan,
        "offset": math.nan,
        "measured_air_hu": air,
        "measured_blood_hu": blood,
        "n_air": n_air,
        "n_blood": n_blood,
        "error_hu": math.nan,
        "flag": _fault(air, blood, n_air, n_blood),
    }
    if result["flag"]:
        return result
    slope = (blood_hu - air_hu) / (blood - air)
    result["slope"], result["offset"] = slope, air_hu - slope * air
    share = (-950.0 - air) / (blood - air)
    error = math.hypot(
        (1.0 - share) * float(row["noise_hu"]) / math.sqrt(n_air),
        share * float(row["blood_sd_hu"]) / math.sqrt(n_blood),
    )
    result["error_hu"] = slope * error
    return result


def apply(ct, calibration):
    """Return the image on the calibrated scale, float32; padding stays as it is.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU.
    calibration : mapping
        Of `internal_calibration`.

    Raises
    ------
    ValueError
        There is no map; the message holds the flag.
    """
    slope, offset = float(calibration["slope"]), float(calibration["offset"])
    if not (math.isfinite(slope) and math.isfinite(offset)):
        raise ValueError(
            f"the scan has no internal calibration ({calibration.get('flag') or 'no map'}); "
            "measure it uncalibrated"
        )
    hu = images.array(ct)
    values = (slope * hu.astype(np.float32) + np.float32(offset)).astype(np.float32)
    padding = hu < segmentation.PADDING_BELOW_HU
    values[padding] = hu[padding]
    return images.from_array(values, ct)


def _number(value):
    return int(value) if value == value else 0


def _fault(air, blood, n_air, n_blood):
    """Why two references give no map; empty if they do."""
    if not math.isfinite(air) or n_air < FEWEST_VOXELS:
        return "no_air"
    if not math.isfinite(blood) or n_blood < FEWEST_VOXELS:
        return "no_blood"
    if blood > CONTRAST_ABOVE_HU:
        return "contrast"
    for name, value in (("air", air), ("blood", blood)):
        low, high = PLAUSIBLE_HU[name]
        if not low <= value <= high:
            return f"implausible_{name}"
    return ""
