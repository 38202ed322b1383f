"""Coronary calcium: Agatston, volume and mass scores, with the slice rules written out."""

import cc3d
import edt
import numpy as np
import pandas as pd
from scipy import ndimage

from lungitude import images

THRESHOLD_HU = 130.0
WEIGHT_FROM_HU = (130.0, 200.0, 300.0, 400.0)  # lesion-slice maximum from which 1, 2, 3, 4 counts
# CalciumScoring.jl: threshold and weight limits by tube voltage; at 120 kV the weights begin one
# HU earlier than Agatston's.
PEER_FROM_HU = {
    70: (207.0, 318.0, 477.0, 636.0),
    80: (177.0, 271.0, 408.0, 544.0),
    100: (145.0, 222.0, 334.0, 446.0),
    120: (130.0, 199.0, 299.0, 399.0),
    135: (119.0, 183.0, 274.0, 364.0),
}
CONVENTIONS = {"agatston": "agatston", "cta": "cacs_cta", "calciumscoring": "agatston_peer"}
VESSELS = {"LM+LAD": 1, "LCX": 2, "RCA": 3}
RISK = ((0.0, "0"), (10.0, "1-10"), (100.0, "11-100"), (400.0, "101-400"), (np.inf, ">400"))
PROTOCOL_SLICE_MM = 3.0
MASS_FACTOR = 0.00075  # mg / (mm3 HU): nominal at 120 kV; calibrate where the trial has a phantom
CTA_FLOOR_HU, CTA_SDS = 350.0, 3.0
# Blood of a contrast scan: a ball of this radius all above the threshold fits into aortic root,
# ventricles and atria, not into calcifications of coronaries. Of the spine or a rib nearby it may
# hold 0.3 ml, of the chambers of a heart more than 20.
BLOOD_BALL_MM, BLOOD_REACH_MM, BLOOD_MIN_ML = 8.0, 15.0, 1.0
LARGEST_MM2 = 300.0  # of a lesion in a slice: more is blood or bone in the mask
GROW_MM, SHELL_MM = 2.5, 2.0  # around a lesion: all of its blurred attenuation, then background
SLICE_REACH_MM = 1.6  # what a thick slice counts as: the next one is within reach, with a margin
BACKGROUND_HU = (-150.0, THRESHOLD_HU)  # lung beside the fat is no background of a plaque

COLUMNS = [
    *("region", "score", "volume_mm3", "mass_mg", "lesions", "lesion_slices", "risk"),
    *("peak_hu", "integrated_hu_mm3", "integrated_mass_mg", "voxels"),
    *("measure", "threshold_hu", "min_area_mm2", "slice_mm", "mass_factor"),
    *("blood_hu", "blood_sd_hu", "flag"),
]


def agatston(
    ct,
    mask,
    convention="agatston",
    *,
    blood=None,
    kv=120,
    min_area_mm2=1.0,
    mass_factor=MASS_FACTOR,
):
    """Score the calcium of the coronaries.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU, unsmoothed, any orientation; slices are the planes nearest to axial.
    mask : SimpleITK.Image
        Label map on the same grid: where calcium counts. Labels 1 LM+LAD, 2 LCX, 3 RCA give rows
        by vessel; any other labels are taken together.
    convention : {"agatston", "cta", "calciumscoring"}
        ``agatston``: scan without contrast medium, 130 HU. ``cta``: angiography, threshold from
        the blood; its score is another quantity, column ``cacs_cta``. ``calciumscoring``: as the
        peer CalciumScoring.jl does, by tube voltage and not rescaled for thick or thin slices.
    blood : SimpleITK.Image, or (mean, SD) in HU, optional
        Label map of aorta or another large vessel on the same grid, or its blood as numbers. None:
        looked for beside the mask (a ball of 8 mm above 130 HU).
    kv : int
        Tube voltage, for ``calciumscoring`` only: 70, 80, 100, 120 or 135.
    min_area_mm2 : float
        A lesion of a slice counts from this area on.
    mass_factor : float
        mg of calcium hydroxyapatite per mm3 and HU, from a calibration phantom.

    Returns
    -------
    DataFrame
        First row ``all``, then the vessels if the mask has them. Columns: region; score (under
        ``cta``: cacs_cta); volume_mm3, of the counted voxels, without interpolation; mass_mg,
        mass_factor times the sum of HU times volume of the counted voxels; lesions, joined in
        3-D; lesion_slices, joined in a slice (what is scored); risk (0, 1-10, 11-100, 101-400,
        >400; row ``all`` of ``agatston`` only); peak_hu; integrated_hu_mm3 and
        integrated_mass_mg, HU above background of lesions and what is blurred around them;
        voxels; what was used: measure, threshold_hu, min_area_mm2, slice_mm, mass_factor,
        blood_hu, blood_sd_hu; flag.

    Raises
    ------
    ValueError
        Another grid; unknown convention or tube voltage; HU of the mask that are not finite;
        ``agatston`` on a scan with contrast medium; ``cta`` without blood.

    Notes
    -----
    In each slice, lesions are voxels of the mask at or above the threshold, joined along edges and
    corners (8 neighbours). One with at least `min_area_mm2` scores area times weight; the weight
    comes from its largest HU in that slice: 130-199 1, 200-299 2, 300-399 3, from 400 on 4. The
    sum is multiplied by slice increment / 3 mm [1]_, [2]_. A lesion of a slice belongs to the
    vessel with most of its voxels, so that the vessels' scores add up. Area, weight and mass end
    at the threshold: what is blurred to below it is in ``integrated_``. On 14 phantoms (Agatston 5
    to 930, slices of 3 mm, noise 16 HU) it was 1.05 times the truth in the median, where the
    thresholded mass was 0.54 times; below a score of 10 it holds tissue of the vessel, too, and
    was 0.8 to 2 times the truth. Checked by hand-counted cases, and against the vectors of
    CalciumScoring.jl, tests/reference/test_calcium_vectors.py.

    References
    ----------
    .. [1] Agatston et al. 1990, J Am Coll Cardiol 15:827-832.
    .. [2] Ohnesorge et al. 2002, Eur Radiol 12:1532-1540 (slice increment, mass).
    .. [3] Grani et al. 2018, Eur Heart J Cardiovasc Imaging 19:1362-1371 (tube voltage).
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention {convention!r} is unknown; known: {', '.join(CONVENTIONS)}")
    if convention == "calciumscoring" and kv not in PEER_FROM_HU:
        raise ValueError(f"kv {kv!r}: this convention knows {', '.join(map(str, PEER_FROM_HU))} kV")
    images.check_grid(ct, mask, "mask")
    labels = images.array(images.canonical(mask))
    if labels.dtype.kind not in "iu" or (labels.size and int(labels.min()) < 0):
        raise ValueError("a mask holds whole numbers of 0 and more; is this an image in HU?")
    axes = images.canonical(ct)
    hu, spacing = images.array(axes), images.spacing_zyx(axes)
    names = VESSELS if labels.size and int(labels.max()) in (2, 3) else {}
    used = {
        "measure": CONVENTIONS[convention],
        "threshold_hu": np.nan,
        "min_area_mm2": float(min_area_mm2),
        "slice_mm": float(spacing[0]),
        "mass_factor": float(mass_factor),
        "blood_hu": np.nan,
        "blood_sd_hu": np.nan,
    }
    if not labels.any():
        return _table({"all": {"flag": "empty mask"}}, used, convention)

    box = _box(labels, spacing, BLOOD_REACH_MM + BLOOD_BALL_MM)
    hu, labels = hu[box], labels[box]
    bad = int(np.count_nonzero(~np.isfinite(hu[labels != 0]))) if hu.dtype.kind == "f" else 0
    if bad:
        raise ValueError(f"{bad} voxels of the mask hold no finite HU; repair or exclude the scan")
    if convention != "calciumscoring":
        used["blood_hu"], used["blood_sd_hu"] = _blood(hu, labels, spacing, blood, ct, box)
    used["threshold_hu"], limits = _limits(convention, kv, used)

    area = spacing[1] * spacing[2]
    least = min_area_mm2 / area
    if convention == "calciumscoring":
        least = max(1, round(least))
    found = lesion_slices(hu, labels, limits, least)
    # Agatston's score is of contiguous slices of 3 mm; the peer does not rescale.
    found["score"] = found["voxels"] * found["weight"] * area
    if convention != "calciumscoring":
        found["score"] *= spacing[0] / PROTOCOL_SLICE_MM
    rows = _rows(hu, found, names, spacing, mass_factor)
    largest = area * int(found["voxels"].max(initial=0))
    rows["all"]["flag"] = "; ".join(_flags(convention, spacing[0], blood, largest))
    return _table(rows, used, convention)


def agatston_score(hu, spacing_zyx, inside=None):
    """Agatston score of an array, without the checks and the bookkeeping of `agatston`.

    Parameters
    ----------
    hu : ndarray, (z, y, x)
        HU; z is the direction of the slices.
    spacing_zyx : sequence of float
        mm.
    inside : ndarray of bool, same shape, optional
        Where calcium counts; None: everywhere.

    Returns
    -------
    float
    """
    labels = np.ones(hu.shape, np.uint8) if inside is None else np.asarray(inside, np.uint8)
    area = float(spacing_zyx[1] * spacing_zyx[2])
    found = lesion_slices(hu, labels, WEIGHT_FROM_HU, 1.0 / area)
    scale = area * float(spacing_zyx[0]) / PROTOCOL_SLICE_MM
    return float((found["voxels"] * found["weight"]).sum()) * scale


def lesion_slices(hu, labels, limits=WEIGHT_FROM_HU, min_voxels=1.0):
    """Find what is scored: the lesions of each slice.

    Parameters
    ----------
    hu : ndarray, (z, y, x)
    labels : ndarray of int, same shape
        0 where calcium does not count.
    limits : sequence of four float
        Threshold, and the HU of a maximum from which the weight is 1, 2, 3, 4.
    min_voxels : float
        Smaller lesions don't count.

    Returns
    -------
    dict of ndarray
        ``place``, flat indices of all counted voxels, with ``number``, which lesion each belongs
        to; per lesion ``voxels``, ``weight``, ``peak_hu`` and ``label``, the one with most voxels
        (of equals the smallest).
    """
    inside = (hu >= limits[0]) & (labels != 0)
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = True
    place = np.flatnonzero(inside)
    number = ndimage.label(inside, in_plane)[0].ravel()[place]
    voxels = np.bincount(number)
    # Area and its least value are products of rounded spacings: equal must count as equal.
    keep = voxels >= min_voxels * (1.0 - 1e-6)
    keep[:1] = False
    place, number = place[keep[number]], (np.cumsum(keep) - 1)[number[keep[number]]]
    peak = np.full(int(keep.sum()), -np.inf)
    np.maximum.at(peak, number, hu.ravel()[place])
    marks = labels.ravel()[place].astype(np.intp)
    votes = np.zeros((peak.size, int(marks.max(initial=0)) + 1), int)
    np.add.at(votes, (number, marks), 1)
    return {
        "place": place,
        "number": number,
        "voxels": voxels[keep],
        "weight": np.searchsorted(limits, peak, side="right"),
        "peak_hu": peak,
        "label": votes.argmax(axis=1),
    }


def integrated(hu, background_hu, object_hu, voxel_mm3=1.0):
    """Volume of an object from its integrated attenuation; thresholds and blurring cancel out.

    Parameters
    ----------
    hu : ndarray
        All voxels that hold any of the object; any shape.
    background_hu, object_hu : float
        Pure background, pure object.
    voxel_mm3 : float
        Volume of a voxel; 1 gives the result in voxels.

    Returns
    -------
    float
        Sum of (HU - background) / (object - background), times `voxel_mm3`; multiply by a density
        for mass.

    Raises
    ------
    ValueError
        Object and background are alike.

    References
    ----------
    .. [1] Black, Xiao, Molloi 2023, J Med Imaging 10:043502.
    """
    contrast = float(object_hu) - float(background_hu)
    if not np.isfinite(contrast) or contrast == 0.0:
        raise ValueError("object and background must differ, and be finite")
    excess = np.asarray(hu, np.float64) - float(background_hu)
    return float(excess.sum()) / contrast * float(voxel_mm3)


def risk_category(score):
    """Return the usual class of an Agatston score: 0, 1-10, 11-100, 101-400, >400; "" for NaN."""
    if not np.isfinite(score):
        return ""
    return next(name for limit, name in RISK if score <= limit)


def _limits(convention, kv, used):
    """Return threshold and weight limits; a ValueError where the scan isn't one for it."""
    mean, sd = used["blood_hu"], used["blood_sd_hu"]
    if convention == "calciumscoring":
        return PEER_FROM_HU[kv][0], PEER_FROM_HU[kv]
    if convention == "agatston":
        if mean > THRESHOLD_HU:
            raise ValueError(
                f"blood of {mean:.0f} HU: a scan with contrast medium has no Agatston score "
                "(130 HU is within the blood); use convention='cta', or give blood=(mean, SD) if "
                "this is no blood"
            )
        return THRESHOLD_HU, WEIGHT_FROM_HU
    if not np.isfinite(mean):
        raise ValueError(
            "convention 'cta' needs the blood: none above 130 HU was found beside the mask; give "
            "blood, a label map of the aorta or (mean, SD) in HU"
        )
    threshold = max(mean + CTA_SDS * sd, CTA_FLOOR_HU)
    # Below the threshold nothing counts, so the lowest weights can't occur.
    return threshold, (threshold, *(max(limit, threshold) for limit in WEIGHT_FROM_HU[1:]))


def _blood(hu, labels, spacing, blood, ct, box):
    """Return mean and SD of the blood in HU: as given, from its label, or looked for; or NaN."""
    if blood is None:
        core = _contrast_core(hu, labels, spacing)
    elif hasattr(blood, "GetSpacing"):
        images.check_grid(ct, blood, "blood")
        # The label may lie far from the coronaries, such as in the descending aorta.
        inside = images.array(images.canonical(blood)) != 0
        hu = images.array(images.canonical(ct))
        if not inside.any():
            raise ValueError("the label map of the blood is empty")
        depth = edt.edt(inside, anisotropy=spacing, black_border=True, parallel=1)
        # Clear of wall and blurring, where the vessel is wide enough.
        core = depth > min(3.0, 0.5 * float(depth.max()))
    else:
        mean, sd = (float(value) for value in blood)
        if not (np.isfinite(mean) and np.isfinite(sd) and sd >= 0):
            raise ValueError(f"blood must be a finite mean and SD in HU, not {blood!r}")
        return mean, sd
    if not core.any():
        return np.nan, np.nan
    values = hu[core].astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the blood holds voxels without finite HU")
    return float(values.mean()), float(values.std())


def _contrast_core(hu, labels, spacing):
    """Mark bright blood beside the mask: the inner part of what a ball of 8 mm fits into."""
    smooth = ndimage.uniform_filter(hu.astype(np.float32), [max(1, round(2 / d)) for d in spacing])
    depth = edt.edt(smooth >= THRESHOLD_HU, anisotropy=spacing, black_border=True, parallel=1)
    core = depth >= BLOOD_BALL_MM
    if core.any():
        far = edt.edt(labels == 0, anisotropy=spacing, parallel=1)
        core &= far <= BLOOD_REACH_MM
    if core.sum() * np.prod(spacing) / 1000.0 < BLOOD_MIN_ML:
        core[:] = False
    return core


def _rows(hu, found, names, spacing, mass_factor):
    """Return the measures of all lesions, and of those of each vessel."""
    voxel_mm3 = float(np.prod(spacing))
    values = hu.ravel()[found["place"]].astype(np.float64)
    excess = _excess(hu, found["place"], spacing)
    rows = {}
    for name, code in {"all": None, **names}.items():
        mine = np.ones(found["voxels"].size, bool) if code is None else found["label"] == code
        chosen = mine[found["number"]]
        counted = np.zeros(hu.size, np.uint8)
        counted[found["place"][chosen]] = 1
        counted = counted.reshape(hu.shape)
        rows[name] = {
            "score": float(found["score"][mine].sum()),
            "volume_mm3": float(chosen.sum()) * voxel_mm3,
            "mass_mg": mass_factor * float(values[chosen].sum()) * voxel_mm3,
            "lesions": int(cc3d.connected_components(counted, connectivity=26).max()),
            "lesion_slices": int(mine.sum()),
            "peak_hu": float(found["peak_hu"][mine].max()) if mine.any() else np.nan,
            "integrated_hu_mm3": float(excess[chosen].sum()) * voxel_mm3,
            "voxels": int(chosen.sum()),
        }
        rows[name]["integrated_mass_mg"] = mass_factor * rows[name]["integrated_hu_mm3"]
    return rows


def _excess(hu, place, spacing):
    """Share the attenuation above background of each cluster of lesions among its voxels.

    A cluster is what lies within 2.5 mm (and a slice) of counted voxels; its background the mean
    of a shell of 2 mm around it. Fat and muscle meet at a plaque: where they do so about as in
    the shell, their mean there is that under the plaque (a median is not). Clusters are not
    limited to the mask: blur isn't, either.
    """
    shares = np.zeros(place.size)
    if not place.size:
        return shares
    counted = np.zeros(hu.shape, np.uint8)
    counted.ravel()[place] = 1
    metric = (min(spacing[0], SLICE_REACH_MM), spacing[1], spacing[2])
    window = _box(counted, metric, GROW_MM + SHELL_MM)
    far = np.full(hu.shape, np.inf, np.float32)
    far[window] = edt.edt(counted[window] == 0, anisotropy=metric, parallel=1)
    clusters = cc3d.connected_components((far <= GROW_MM).astype(np.uint8), connectivity=26)
    owner = clusters.ravel()[place]
    for number, box in enumerate(ndimage.find_objects(clusters), start=1):
        wide = _widened(box, hu.shape, [int(np.ceil(SHELL_MM / d)) for d in metric])
        near, cluster = hu[wide], clusters[wide]
        shell = near[(far[wide] > GROW_MM) & (far[wide] <= GROW_MM + SHELL_MM)]
        shell = np.maximum(shell[shell < BACKGROUND_HU[1]], BACKGROUND_HU[0])
        # NaN where the scan ends at the lesion: there is no background to be had.
        base = float(shell.mean(dtype=np.float64)) if shell.size else np.nan
        held = np.maximum(near[cluster == number].astype(np.float64), BACKGROUND_HU[0])
        total = (held - base).sum()
        shares[owner == number] = total / np.count_nonzero(owner == number)
    return shares


def _box(mask, spacing, margin_mm):
    """Return slices of the bounding box of what is nonzero, widened by a margin."""
    box = ndimage.find_objects((mask != 0).view(np.uint8))[0]
    return _widened(box, mask.shape, [int(np.ceil(margin_mm / d)) for d in spacing])


def _widened(box, shape, pads):
    return tuple(
        slice(max(0, part.start - pad), min(n, part.stop + pad))
        for part, n, pad in zip(box, shape, pads, strict=True)
    )


def _flags(convention, slice_mm, blood, largest_mm2):
    if convention == "agatston" and abs(slice_mm - PROTOCOL_SLICE_MM) > 0.5:
        yield f"slices every {slice_mm:.2f} mm: the score is defined for 3 mm"
    if convention == "cta" and blood is None:
        yield "blood found beside the mask, chambers mixed: a label of the aorta is better"
    if largest_mm2 > LARGEST_MM2:
        yield f"a lesion of {largest_mm2:.0f} mm2: is there blood or bone in the mask?"


def _table(rows, used, convention):
    lines = []
    for name, row in rows.items():
        line = {"region": name, "voxels": 0, "lesions": 0, "lesion_slices": 0, "flag": "", **row}
        total = name == "all" and convention == "agatston"
        line["risk"] = risk_category(row.get("score", np.nan)) if total else ""
        lines.append(line | used)
    table = pd.DataFrame(lines, columns=COLUMNS)
    return table.rename(columns={"score": "cacs_cta"}) if convention == "cta" else table
