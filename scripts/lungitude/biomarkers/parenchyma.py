"""Density of the lung parenchyma: low attenuation, percentiles, mean, volume and mass."""

from collections.abc import Mapping

import edt
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
    "sd_hu",
    "pd15_g_l",
    "flag",
]
ADJUSTED = ["reference_ml", "volume_ratio", "pd15_adj_g_l", "mld_adj_hu"]
ADJUSTED += [name.replace("_pct", "_adj_pct") for name in LOW_ATTENUATION_HU]
_MEASURES = [*LOW_ATTENUATION_HU, *PERCENTILES, "mld_hu", "sd_hu"]


def parenchyma(ct, mask, scheme="mask", reference_volume_ml=None, erode_mm=0.0):
    """Measure density of the lungs.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU; unsmoothed, at the resolution of the scan.
    mask : SimpleITK.Image
        Label map on the same grid; 0 outside.
    scheme : {"mask", "lungs", "lobes", "thirds"} or dict of str to int
        What the labels are, see `segmentation.REGIONS`; ``mask`` takes all together; ``thirds``
        cuts a label map of the lungs, see `regions.thirds`.
    reference_volume_ml : float or mapping of region to float, optional
        Volume that the densities are carried to, for example at baseline; a float holds for
        ``all``. Adds the columns `ADJUSTED`.
    erode_mm : float
        Leave out voxels as near as this to the border of the mask (of all regions together), where
        the chest wall shines in. Not the default: volume and mass lose the rim too.

    Returns
    -------
    DataFrame
        First row ``all`` (all nonzero labels), then one row a region of the scheme. Columns:
        region; voxels; volume_ml; mass_g, the sum of (HU + 1000) / 1000 g/ml; laa950_pct,
        laa910_pct, laa856_pct, the share of voxels strictly below the threshold; perc15_hu and
        perc85_hu, percentiles with linear interpolation; mld_hu and sd_hu, mean and SD (divisor n);
        pd15_g_l, perc15_hu + 1000; flag, ``empty`` or nothing. An empty region has 0 voxels and
        NaN elsewhere. With a reference volume: reference_ml; volume_ratio, volume by reference;
        pd15_adj_g_l, mld_adj_hu, laa950_adj_pct, laa910_adj_pct, laa856_adj_pct.

    Raises
    ------
    ValueError
        Another grid, a label that the scheme doesn't have, HU that are not finite.

    Notes
    -----
    LAA at -950 HU in inspiration is emphysema, at -856 HU in expiration trapped air. Checked
    against the Chest Imaging Platform on its own test scan, tests/reference/test_real_ct.py, and
    against the closed form of a mixture of two normal densities.

    Volume adjustment takes the lung for a sponge: air comes and goes, tissue stays, so density goes
    as 1 / volume. Density (HU + 1000) times the volume ratio is what a voxel would hold at the
    reference volume; exact for even inflation that keeps mass. Above water the map still applies,
    so vessels are best left out of the mask where mld_adj_hu matters.

    References
    ----------
    .. [1] Gevenois et al. 1996, Am J Respir Crit Care Med 154:187-192.
    .. [2] Schroeder et al. 2013, AJR Am J Roentgenol 201:W460-W470.
    .. [3] Stoel et al. 2008, Proc Am Thorac Soc 5:919-924.
    """
    mask, codes = regions.labelled(mask, scheme)
    images.check_grid(ct, mask, "mask")
    labels, hu = images.array(mask), images.array(ct)
    inside = labels != 0
    if erode_mm > 0:
        spacing = images.spacing_zyx(mask)
        # What the scan cuts off is no border of the lung.
        depth = edt.edt(inside, anisotropy=spacing, black_border=False, parallel=1)
        inside = depth > erode_mm
    labels, hu = labels[inside].astype(np.intp), hu[inside]
    measure = _from_counts if hu.dtype.kind in "iu" else _from_values
    names = ["all", *codes]
    reference = _reference(reference_volume_ml, names)
    rows = measure(hu, labels, codes, reference / images.voxel_ml(ct))
    table = pd.DataFrame(rows, index=names).rename_axis("region").reset_index()
    table["volume_ml"] = (table["voxels"] * images.voxel_ml(ct)).where(table["voxels"] > 0)
    table["mass_g"] = table["volume_ml"] * (table["mld_hu"] + 1000.0) / 1000.0
    table["pd15_g_l"] = table["perc15_hu"] + 1000.0
    table["flag"] = np.where(table["voxels"] > 0, "", "empty")
    if reference_volume_ml is None:
        return table[COLUMNS]
    return adjusted(table, reference_volume_ml)[[*COLUMNS, *ADJUSTED]]


def adjusted(table, reference_volume_ml):
    """Carry the densities of a table of `parenchyma` to a reference volume, by the sponge model.

    Parameters
    ----------
    table : DataFrame
        Has region, volume_ml, pd15_g_l (or perc15_hu) and mld_hu.
    reference_volume_ml : float or mapping of region to float
        As in `parenchyma`, which also adjusts low attenuation: that needs the image.

    Returns
    -------
    DataFrame
        The table with reference_ml, volume_ratio, pd15_adj_g_l and mld_adj_hu.
    """
    table = table.copy()
    table["reference_ml"] = _reference(reference_volume_ml, table["region"])
    table["volume_ratio"] = table["volume_ml"] / table["reference_ml"]
    pd15 = table["pd15_g_l"] if "pd15_g_l" in table else table["perc15_hu"] + 1000.0
    table["pd15_adj_g_l"] = pd15 * table["volume_ratio"]
    table["mld_adj_hu"] = (table["mld_hu"] + 1000.0) * table["volume_ratio"] - 1000.0
    return table


def _reference(volume_ml, names):
    """Return the reference volume of each region; NaN where there is none."""
    if volume_ml is None:
        return np.full(len(names), np.nan)
    if not isinstance(volume_ml, (Mapping, pd.Series)):
        volume_ml = {"all": volume_ml}
    found = np.array([float(volume_ml.get(name, np.nan)) for name in names])
    if not np.all(np.isnan(found) | ((found > 0) & np.isfinite(found))):
        raise ValueError(f"reference volumes must be positive, in ml: {dict(volume_ml)}")
    return found


def _from_counts(hu, labels, codes, reference):
    """Measure whole HU from one histogram over label and HU: exact, and one pass."""
    if not hu.size:
        return [_row(0) for _ in ("all", *codes)]
    low = int(hu.min())
    span = int(hu.max()) - low + 1
    if span > 1 << 17:
        return _from_values(hu.astype(np.float64), labels, codes, reference)
    n_labels = int(labels.max()) + 1
    flat = labels * span
    flat += hu
    flat -= low
    counts = np.bincount(flat, minlength=n_labels * span).reshape(n_labels, span)
    parts = [counts.sum(axis=0)]
    parts += [counts[c] if c < n_labels else np.zeros(span, int) for c in codes.values()]
    axis = np.arange(low, low + span)
    return [_row_from_counts(*part, axis) for part in zip(parts, reference, strict=True)]


def _row_from_counts(counts, reference, axis):
    total = int(counts.sum())
    if total == 0:
        return _row(0)
    below = np.cumsum(counts)
    row = _row(total)
    for name, threshold in _thresholds(total, reference).items():
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
    row["sd_hu"] = float(np.sqrt((counts * (axis - row["mld_hu"]) ** 2).sum() / total))
    return row


def _from_values(hu, labels, codes, reference):
    """Measure broken HU by sorting."""
    if not np.isfinite(hu).all():
        bad = int((~np.isfinite(hu)).sum())
        raise ValueError(f"{bad} voxels of the mask hold no finite HU")
    hu = hu.astype(np.float64)
    rows = []
    for code, volume in zip((None, *codes.values()), reference, strict=True):
        part = hu if code is None else hu[labels == code]
        row = _row(part.size)
        if part.size:
            for name, threshold in _thresholds(part.size, volume).items():
                row[name] = 100.0 * float(np.count_nonzero(part < threshold)) / part.size
            row.update(zip(PERCENTILES, np.percentile(part, [*PERCENTILES.values()]), strict=True))
            row["mld_hu"], row["sd_hu"] = float(part.mean()), float(part.std())
        rows.append(row)
    return rows


def _thresholds(voxels, reference):
    """Thresholds by column, and what they are in a scan that is `voxels` / `reference` as large."""
    found = dict(LOW_ATTENUATION_HU)
    if np.isfinite(reference):
        for name, threshold in LOW_ATTENUATION_HU.items():
            scaled = (threshold + 1000.0) * reference / voxels - 1000.0
            found[name.replace("_pct", "_adj_pct")] = scaled
    return found


def _row(voxels):
    return {"voxels": int(voxels), **dict.fromkeys([*_MEASURES, *ADJUSTED[4:]], np.nan)}
