"""Function and mass of the ventricles from label maps or contours over the cardiac cycle."""

import numpy as np
import pandas as pd
from scipy import interpolate

from lungitude import images

LV_BLOOD, MYOCARDIUM, RV_BLOOD = 1, 2, 3
MAX_LABEL = 7  # the chambers and great vessels of a whole heart
MUSCLE_G_ML = 1.05
FIT_FROM_PHASES = 8
MAX_GAP_PCT = 20.0  # of the cycle without a phase: wider, and end-systole may lie in it
MASS_DIFFERENCE_PCT = 10.0
_STEPS = 2000  # of the cycle, where extrema of the fit are looked for
COLUMNS = [
    *("region", "edv_ml", "esv_ml", "sv_ml", "ef_pct", "lvm_g"),
    *("rv_edv_ml", "rv_esv_ml", "rv_sv_ml", "rv_ef_pct"),
    *("edv_raw_ml", "esv_raw_ml", "ef_raw_pct", "lvm_es_g"),
    *("ed_phase", "es_phase", "ed_phase_pct", "es_phase_pct"),
    *("n_phases", "method", "fit_rmse_ml", "voxel_mm3", "flag"),
]


def ventricle(phases, phase_pct=None):
    """Measure volumes, ejection fraction and mass of the ventricles.

    Parameters
    ----------
    phases : list of SimpleITK.Image, or a 4-D SimpleITK.Image
        Label maps over one cycle, in order, on one grid: 1 blood of the left ventricle (papillary
        muscles included), 2 its myocardium, 3 blood of the right ventricle; 4 to 7 are other
        parts of the heart and don't matter. Or [end-diastole, end-systole]. None is a phase that
        is missing.
    phase_pct : sequence of float, optional
        Place of each phase in the cycle, 0 to 100 %, rising. None: evenly spaced from 0 on.

    Returns
    -------
    DataFrame
        One row, region ``all``: edv_ml, esv_ml, sv_ml, ef_pct, lvm_g (1.05 g/ml times the
        myocardium at end-diastole); rv_edv_ml rv_esv_ml rv_sv_ml rv_ef_pct, NaN without label 3;
        edv_raw_ml esv_raw_ml ef_raw_pct, of the phases themselves; lvm_es_g, the mass at
        end-systole; ed_phase es_phase, index of the fullest and the emptiest phase; ed_phase_pct
        es_phase_pct, the place of the extrema that are reported; n_phases with a ventricle;
        method, ``fit`` or ``phases``; fit_rmse_ml, of the phases about the fit; voxel_mm3; flag.
        NaN and a flag where there is no ventricle.

    Raises
    ------
    ValueError
        Fewer than two phases; phases on different grids; labels that are not of a heart;
        `phase_pct` that doesn't fit.

    Notes
    -----
    With 8 phases or more, EDV and ESV are the extrema of a fitted periodic curve, see `fit`: the
    phases themselves miss the extrema, so that ejection fraction is too low with few phases, and
    take the noise for extrema. With fewer, they are the fullest and the emptiest phase.

    Errors of ejection fraction over four shapes of the curve at random offsets (RMSE in points,
    noise of 0 / 1 / 3 ml a phase): 20 phases, fit 0.16 / 0.68 / 1.5, raw 0.24 / 0.73 / 2.4; 10
    phases, fit 0.76 / 1.0 / 2.2, raw 1.1 / 1.2 / 2.2. Four harmonics instead of the spline: 0.97
    with 20 phases and no noise. On label maps of oblique ellipsoids of 0.8 to 1.5 mm voxels, 20
    phases: EF within 0.6 points, SV within 1.7 ml, mass within 0.2 %.

    References
    ----------
    .. [1] Schulz-Menger et al. 2020, J Cardiovasc Magn Reson 22:19 (papillary muscles).
    """
    curve = volume_curve(phases, phase_pct)
    row = dict.fromkeys(COLUMNS, np.nan)
    flags = []
    seen = curve[curve["lv_ml"].notna()]
    row.update(region="all", n_phases=len(seen), voxel_mm3=curve.attrs["voxel_mm3"], method="")
    if len(seen) < len(curve):
        lost = ", ".join(str(n) for n in curve["phase"][curve["lv_ml"].isna()])
        flags.append(f"no left ventricle in phase {lost}")
    if len(seen) >= 2:
        row.update(_left(seen, flags))
    if curve["rv_ml"].notna().sum() >= 2:
        part = _extrema(curve, "rv_ml")
        row.update({f"rv_{name}": part[name] for name in ("edv_ml", "esv_ml", "sv_ml", "ef_pct")})
    row["flag"] = "; ".join(flags)
    table = pd.DataFrame([row], columns=COLUMNS)
    return table.astype({"ed_phase": "Int64", "es_phase": "Int64"})


def volume_curve(phases, phase_pct=None):
    """Measure the volumes of each phase.

    Parameters
    ----------
    phases, phase_pct
        As `ventricle`.

    Returns
    -------
    DataFrame
        A row a phase: phase (from 0), phase_pct, lv_ml, rv_ml, myocardium_ml; NaN where a phase
        is missing or lacks the label.
    """
    if hasattr(phases, "GetDimension"):
        if phases.GetDimension() != 4:
            raise ValueError(
                f"an image of {phases.GetDimension()} dimensions is one phase, no cycle"
            )
        phases = [phases[:, :, :, n] for n in range(phases.GetSize()[3])]
    phases = list(phases)
    if len(phases) < 2:
        raise ValueError(f"{len(phases)} phases: end-diastole and end-systole are needed at least")
    known = [image for image in phases if image is not None]
    if not known:
        raise ValueError("all phases are missing")
    for number, image in enumerate(phases):
        if image is not None:
            images.check_grid(known[0], image, f"phase {number}")
    counts = np.stack([_counts(image, number) for number, image in enumerate(phases)])
    volumes = counts * images.voxel_ml(known[0])
    curve = pd.DataFrame({"phase": np.arange(len(phases)), "phase_pct": _places(phases, phase_pct)})
    for code, name in ((LV_BLOOD, "lv_ml"), (RV_BLOOD, "rv_ml"), (MYOCARDIUM, "myocardium_ml")):
        curve[name] = np.where(volumes[:, code] > 0, volumes[:, code], np.nan)
    curve.attrs["voxel_mm3"] = 1000.0 * images.voxel_ml(known[0])
    return curve


def fit(phase_pct, volume_ml):
    """Fit a periodic curve to volumes over the cycle.

    Parameters
    ----------
    phase_pct, volume_ml : sequence of float
        Places in the cycle, 0 to 100 %, rising, and volumes; four or more.

    Returns
    -------
    function
        Of an array of places in %: the fitted volumes in ml.

    Notes
    -----
    The phases are smoothed by a periodic cubic spline, its smoothness by restricted maximum
    likelihood [1]_, which is steadier than cross-validation with 10 points. Between the smoothed
    phases the curve is the mean of two interpolants: a modified Akima one [2]_, which overshoots
    where the volume rests before or after ejection, and a monotone cubic one [3]_, whose extrema
    are those of the phases. Without noise the first alone reads ejection fraction too high and
    the second too low; a spline alone overshoots more than either.

    References
    ----------
    .. [1] Wahba 1990, Spline Models for Observational Data, chapters 2 and 4.
    .. [2] Akima 1970, J ACM 17:589-602; modified weights as in MATLAB's makima.
    .. [3] Fritsch, Butland 1984, SIAM J Sci Stat Comput 5:300-304.
    """
    place = np.asarray(phase_pct, float) / 100.0
    volume = np.asarray(volume_ml, float)
    level = _smoothed(place, volume)
    # Three phases to either side: as far as the interpolants look, and one to spare.
    around = np.concatenate([place[-3:] - 1.0, place, place[:3] + 1.0])
    levels = np.concatenate([level[-3:], level, level[:3]])
    bold = interpolate.Akima1DInterpolator(around, levels, method="makima")
    shy = interpolate.PchipInterpolator(around, levels)

    def fitted(pct):
        at = place[0] + np.mod(np.asarray(pct, float) / 100.0 - place[0], 1.0)
        return 0.5 * (bold(at) + shy(at))

    return fitted


def contour_volume(contours, slice_mm, pixel_mm=(1.0, 1.0)):
    """Volume within a stack of contours.

    Parameters
    ----------
    contours : iterable of array, (n, 2)
        One closed polygon a slice, in order around it (the last point need not repeat the first),
        in pixels or mm. A slice without contour is left out.
    slice_mm : float
        Distance of the slices along their normal, gaps included.
    pixel_mm : (float, float)
        Size of a unit of the contours along its first and second coordinate.

    Returns
    -------
    float
        ml: sum of areas times slice distance; NaN without any contour.

    Raises
    ------
    ValueError
        A contour of fewer than 3 points, or with points that are not finite; no positive sizes.

    Notes
    -----
    Mass is 1.05 g/ml times the volume within epicardial less that within endocardial contours.
    Checked against the expert contours of Sunnybrook, tests/reference/test_real_heart.py.
    """
    sizes = (float(slice_mm), *(float(mm) for mm in pixel_mm))
    if not (np.isfinite(sizes).all() and min(sizes) > 0):
        raise ValueError(f"slice distance and pixel size must be positive mm, not {sizes}")
    area, found = 0.0, False
    for number, contour in enumerate(contours):
        points = np.asarray(contour, float)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ValueError(f"contour {number}: shape {points.shape}, needs (3 or more, 2)")
        if not np.isfinite(points).all():
            raise ValueError(f"contour {number} holds points that are not finite")
        x, y = (points - points[0]).T  # near the origin, so that no digits cancel
        area += 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
        found = True
    return area * sizes[0] * sizes[1] * sizes[2] / 1000.0 if found else np.nan


def _left(curve, flags):
    """Return the measures of the left ventricle; adds what is doubtful to `flags`."""
    row = _extrema(curve, "lv_ml")
    fullest, emptiest = (curve.loc[row[f"{end}_phase"]] for end in ("ed", "es"))
    if row["method"] == "phases" and len(curve) > 2:
        flags.append(f"{len(curve)} phases, too few or too far apart for a fit: EF reads low")
    if len(curve) == 2 and row["ed_phase"] > row["es_phase"]:
        flags.append("the second phase is the fuller one: taken as end-diastole")
    gap = _gap_pct(curve["phase_pct"])
    if row["method"] == "fit" and gap > MAX_GAP_PCT:
        flags.append(f"{gap:.0f} % of the cycle without a phase")
    row["lvm_g"], row["lvm_es_g"] = (
        MUSCLE_G_ML * phase["myocardium_ml"] for phase in (fullest, emptiest)
    )
    if np.isnan(row["lvm_g"]):
        flags.append("no myocardium at end-diastole")
    elif np.isnan(row["lvm_es_g"]):
        flags.append("no myocardium at end-systole: its mass is not checked")
    elif abs(row["lvm_es_g"] / row["lvm_g"] - 1.0) * 100.0 > MASS_DIFFERENCE_PCT:
        share = 100.0 * (row["lvm_es_g"] / row["lvm_g"] - 1.0)
        flags.append(f"mass at end-systole differs by {share:+.0f} %: check the labels")
    return row


def _extrema(curve, name):
    """Return extrema, of a fit where phases allow, and what follows from them."""
    curve = curve[curve[name].notna()]
    volume = curve[name]
    first, last = volume.idxmax(), volume.idxmin()
    row = {
        "edv_raw_ml": volume.max(),
        "esv_raw_ml": volume.min(),
        "ed_phase": int(first),
        "es_phase": int(last),
        "ed_phase_pct": curve.loc[first, "phase_pct"],
        "es_phase_pct": curve.loc[last, "phase_pct"],
        "method": "phases",
    }
    row["ef_raw_pct"] = _ejection_pct(row["edv_raw_ml"], row["esv_raw_ml"])
    row["edv_ml"], row["esv_ml"] = row["edv_raw_ml"], row["esv_raw_ml"]
    # A curve over less than half of the cycle says nothing about the rest.
    if len(curve) >= FIT_FROM_PHASES and _gap_pct(curve["phase_pct"]) <= 50.0:
        fitted = fit(curve["phase_pct"], volume)
        places = 100.0 * np.arange(_STEPS) / _STEPS
        levels = fitted(places)
        row["method"] = "fit"
        row["edv_ml"], row["esv_ml"] = float(levels.max()), float(levels.min())
        row["ed_phase_pct"] = float(places[levels.argmax()])
        row["es_phase_pct"] = float(places[levels.argmin()])
        left_over = fitted(curve["phase_pct"].to_numpy()) - volume.to_numpy()
        row["fit_rmse_ml"] = float(np.sqrt((left_over**2).mean()))
    row["sv_ml"] = row["edv_ml"] - row["esv_ml"]
    row["ef_pct"] = _ejection_pct(row["edv_ml"], row["esv_ml"])
    return row


def _ejection_pct(full_ml, empty_ml):
    return 100.0 * (full_ml - empty_ml) / full_ml


def _gap_pct(places):
    """Return the longest part of the cycle without a phase."""
    places = np.asarray(places, float)
    return float(np.diff(np.append(places, places[0] + 100.0)).max())


def _smoothed(place, volume):
    """Return the values, at the phases, of a periodic cubic smoothing spline."""
    n = place.size
    apart = np.abs(place[:, None] - place[None, :])
    # The reproducing kernel of periodic functions with a square-integrable second derivative is
    # minus the fourth Bernoulli polynomial over 4!, apart from the constant.
    kernel = -(apart**4 - 2.0 * apart**3 + apart**2 - 1.0 / 30.0) / 24.0
    middle = np.eye(n) - 1.0 / n
    power, axes = np.linalg.eigh(middle @ kernel @ middle)
    power, axes = power[1:], axes[:, 1:]  # without the constant, which is not smoothed
    parts = axes.T @ volume
    if not np.abs(parts).max() > 1e-9 * np.abs(volume).max():
        return volume
    best = np.inf
    for ratio in power.max() * 10.0 ** np.arange(-8.0, 1.05, 0.1):
        spread = power + ratio
        score = (n - 1) * np.log((parts**2 / spread).mean()) + np.log(spread).sum()
        if score < best:
            best, chosen = score, ratio
    return volume.mean() + axes @ (parts * power / (power + chosen))


def _counts(image, number):
    """Count the voxels of labels 0 to 3 in one phase."""
    if image is None:
        return np.zeros(RV_BLOOD + 1, int)
    labels = images.array(image)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"phase {number}: a label map holds whole numbers, not {labels.dtype}")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0 or high > MAX_LABEL:
        raise ValueError(
            f"phase {number}: labels {low} to {high}; a heart has 1 LV blood, 2 myocardium, "
            f"3 RV blood and others up to {MAX_LABEL}: translate the label map first"
        )
    return np.bincount(labels.ravel(), minlength=MAX_LABEL + 1)[: RV_BLOOD + 1]


def _places(phases, phase_pct):
    n = len(phases)
    if phase_pct is None:
        return 100.0 * np.arange(n) / n
    places = np.asarray(phase_pct, float)
    if places.shape != (n,):
        raise ValueError(f"phase_pct has {places.size} values for {n} phases")
    if not (np.isfinite(places).all() and (np.diff(places) > 0).all()):
        raise ValueError("phase_pct must be finite and rise from phase to phase")
    if places[0] < 0.0 or places[-1] - places[0] >= 100.0:
        raise ValueError("phase_pct must lie in one cycle, from 0 to below 100 %")
    return places
