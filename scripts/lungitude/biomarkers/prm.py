"""Parametric response map: each lung voxel classified by inspiration and expiration together."""

import numpy as np
import pandas as pd

from lungitude import images
from lungitude.biomarkers import regions

EMPHYSEMA_BELOW_HU = -950.0  # inspiration
TRAPPING_BELOW_HU = -856.0  # expiration
CLASSES = {"normal": 1, "fsad": 2, "emphysema": 3, "other": 4}
COLOURS = {1: (77, 175, 74), 2: (255, 217, 47), 3: (228, 26, 28), 4: (152, 78, 163)}
LEGEND = {1: "Normal", 2: "Functional small airways disease", 3: "Emphysema", 4: "Other"}
COLUMNS = [
    "region",
    "voxels",
    *(f"{name}_pct" for name in CLASSES),
    "vessel_hu",
    "vessel_pct",
]


def prm_map(insp, exp, mask, vessel_hu=None):
    """Classify lung voxels.

    Parameters
    ----------
    insp, exp : SimpleITK.Image
        HU at inspiration; HU at expiration, registered onto the inspiration.
    mask : SimpleITK.Image
        Label map on the same grid, nonzero is lung.
    vessel_hu : float, optional
        Leave out voxels above this in either phase, as most groups do (-500). None: all count.

    Returns
    -------
    SimpleITK.Image of uint8
        1 normal, 2 fSAD, 3 emphysema, 4 other; 0 outside the lungs and in voxels left out.

    Notes
    -----
    After [1]_, on the grid of the inspiration, with strict "below". "Other" is low at inspiration
    but not at expiration, mostly noise: kept, so that the percentages add up to 100.

    References
    ----------
    .. [1] Galban et al. 2012, Nat Med 18:1711-1715.
    """
    images.check_grid(insp, exp, "registered expiration")
    images.check_grid(insp, mask, "lung mask")
    inside = images.array(mask) != 0
    hu_insp, hu_exp = images.array(insp)[inside], images.array(exp)[inside]
    bad = int(np.count_nonzero(~(np.isfinite(hu_insp) & np.isfinite(hu_exp))))
    if bad:
        raise ValueError(f"{bad} voxels of the lung mask hold no finite HU")
    low, held = hu_insp < EMPHYSEMA_BELOW_HU, hu_exp < TRAPPING_BELOW_HU
    found = np.full(hu_insp.size, CLASSES["normal"], np.uint8)
    found[~low & held] = CLASSES["fsad"]
    found[low & held] = CLASSES["emphysema"]
    found[low & ~held] = CLASSES["other"]
    if vessel_hu is not None:
        found[(hu_insp > vessel_hu) | (hu_exp > vessel_hu)] = 0
    classes = np.zeros(inside.shape, np.uint8)
    classes[inside] = found
    return images.from_array(classes, insp)


def prm(insp, exp_on_insp, mask, scheme="mask", vessel_hu=None):
    """Percentages of normal lung, functional small airways disease and emphysema.

    Parameters
    ----------
    insp, exp_on_insp, mask, vessel_hu
        As `prm_map`.
    scheme : {"mask", "lungs", "lobes"}
        Which rows follow the row "all", see `segmentation.REGIONS`.

    Returns
    -------
    DataFrame
        ``region``, ``voxels`` (classified ones), ``normal_pct fsad_pct emphysema_pct other_pct``
        (their sum is 100; NaN in a region without voxels), ``vessel_hu`` (NaN: none left out) and
        ``vessel_pct`` (lung voxels left out as vessels).
    """
    return table(prm_map(insp, exp_on_insp, mask, vessel_hu), mask, scheme, vessel_hu)


def table(classes, mask, scheme="mask", vessel_hu=None):
    """Percentages as `prm` gives them, from a map of `prm_map`."""
    codes = regions.codes(mask, scheme)
    images.check_grid(classes, mask, "lung mask")
    inside = images.array(mask) != 0
    found, labels = images.array(classes)[inside], images.array(mask)[inside]
    rows = [_row("all", found, vessel_hu)]
    rows += [_row(name, found[labels == code], vessel_hu) for name, code in codes.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(name, classes, vessel_hu):
    counts = np.bincount(classes, minlength=max(CLASSES.values()) + 1)
    voxels = int(counts[1:].sum())
    row = {"region": name, "voxels": voxels}
    for label, code in CLASSES.items():
        row[f"{label}_pct"] = 100.0 * float(counts[code]) / voxels if voxels else np.nan
    row["vessel_hu"] = np.nan if vessel_hu is None else float(vessel_hu)
    row["vessel_pct"] = 100.0 * float(counts[0]) / classes.size if classes.size else np.nan
    return row
