"""Density of the lung parenchyma: low attenuation, percentiles, mean, volume and mass."""

import numpy as np
import pandas as pd

from lungitude import images
from lungitude.biomarkers import regions

LOW_ATTENUATION_HU = {"laa950_pct": -950, "laa910_pct": -910, "laa856_pct": -856}
PERCENTILES = {"perc15_hu": 15, "perc85_hu": 85}
COLUMNS = [
    "region",
    "voxels",
    "volume_ml",
    "mass_g",
    *LOW_ATTENUATION_HU,
    *PERCENTILES,
    "mld_hu",
]


def parenchyma(ct, mask, scheme="mask"):
    """Measure density of the lungs.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU; unsmoothed, at the resolution of the scan.
    mask : SimpleITK.Image
        Label map on the same grid; 0 outside.
    scheme : {"mask", "lungs", "lobes"}
        What the labels are, see `segmentation.REGIONS`; ``mask`` takes all together.

    Returns
    -------
    DataFrame
        First row ``all`` (all nonzero labels), then one row a region of the scheme. Columns:
        region; voxels; volume_ml; mass_g, the sum of (HU + 1000) / 1000 g/ml; laa950_pct,
        laa910_pct, laa856_pct, the share of voxels strictly below the threshold; perc15_hu and
        perc85_hu, percentiles with linear interpolation; mld_hu, the mean. An empty region has 0
        voxels and NaN elsewhere.

    Raises
    ------
    ValueError
        Another grid, a label that the scheme doesn't have, HU that are not finite.

    Notes
    -----
    LAA at -950 HU in inspiration is emphysema, at -856 HU in expiration trapped air. Checked
    against the Chest Imaging Platform on its own test scan, tests/reference/test_real_ct.py, and
    against the closed form of a mixture of two normal densities.

    References
    ----------
    .. [1] Gevenois et al. 1996, Am J Respir Crit Care Med 154:187-192.
    .. [2] Schroeder et al. 2013, AJR Am J Roentgenol 201:W460-W470.
    """
    codes = regions.codes(mask, scheme)
    images.check_grid(ct, mask, "mask")
    labels, hu = images.array(mask), images.array(ct)
    inside = labels != 0
    labels, hu = labels[inside].astype(np.intp), hu[inside]
    measure = _from_counts if hu.dtype.kind in "iu" else _from_values
    rows = measure(hu, labels, codes)
    table = pd.DataFrame(rows, index=["all", *codes]).rename_axis("region").reset_index()
    table["volume_ml"] = (table["voxels"] * images.voxel_ml(ct)).where(table["voxels"] > 0)
    table["mass_g"] = table["volume_ml"] * (table["mld_hu"] + 1000.0) / 1000.0
    return table[COLUMNS]


def _from_counts(hu, labels, codes):
    """Measure whole HU from one histogram over label and HU: exact, and one pass."""
    if not hu.size:
        return [_row(0) for _ in ("all", *codes)]
    low = int(hu.min())
    span = int(hu.max()) - low + 1
    if span > 1 << 17:
        return _from_values(hu.astype(np.float64), labels, codes)
    n_labels = int(labels.max()) + 1
    flat = labels * span
    flat += hu
    flat -= low
    counts = np.bincount(flat, minlength=n_labels * span).reshape(n_labels, span)
    parts = [counts.sum(axis=0)]
    parts += [counts[c] if c < n_labels else np.zeros(span, int) for c in codes.values()]
    axis = np.arange(low, low + span)
    return [_row_from_counts(part, axis) for part in parts]


def _row_from_counts(counts, axis):
    total = int(counts.sum())
    if total == 0:
        return _row(0)
    below = np.cumsum(counts)
    row = _row(total)
    for name, threshold in LOW_ATTENUATION_HU.items():
        row[name] = 100.0 * float(counts[axis < threshold].sum()) / total
    for name, percent in PERCENTILES.items():
        place = percent / 100.0 * (total - 1)
        first = int(place)
        a, b = (
            float(axis[np.searchsorted(below, k, side="right")])
            for k in (first, min(first + 1, total - 1))
        )
        row[name] = a + (b - a) * (place - first)
    row["mld_hu"] = float((counts * axis).sum()) / total
    return row


def _from_values(hu, labels, codes):
    """Measure broken HU by sorting."""
    if not np.isfinite(hu).all():
        bad = int((~np.isfinite(hu)).sum())
        raise ValueError(f"{bad} voxels of the mask hold no finite HU")
    hu = hu.astype(np.float64)
    rows = []
    for code in (None, *codes.values()):
        part = hu if code is None else hu[labels == code]
        row = _row(part.size)
        if part.size:
            for name, threshold in LOW_ATTENUATION_HU.items():
                row[name] = 100.0 * float(np.count_nonzero(part < threshold)) / part.size
            row.update(zip(PERCENTILES, np.percentile(part, [*PERCENTILES.values()]), strict=True))
            row["mld_hu"] = float(part.mean())
        rows.append(row)
    return rows


def _row(voxels):
    empty = dict.fromkeys([*LOW_ATTENUATION_HU, *PERCENTILES, "mld_hu"], np.nan)
    return {"voxels": int(voxels), **empty}
