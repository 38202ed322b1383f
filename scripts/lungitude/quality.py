"""Quality of a chest CT: coverage, scale of HU, noise, motion, and the declared protocol."""

import edt
import numpy as np
import pandas as pd

from lungitude import airtree, aorta, images, protocol, segmentation
from lungitude.protocol import changes_between_visits

__all__ = ["COLUMNS", "changes_between_visits", "measure", "motion"]

TAG_COLUMNS = ["manufacturer", "model", "kernel", "kv", "slice_mm", "contrast"]
COLUMNS = [
    *TAG_COLUMNS,
    "voxel_mm",
    "spacing_z_mm",
    "size_x",
    "size_y",
    "size_z",
    "lungs_found",
    "right_ml",
    "left_ml",
    "cut_top_mm2",
    "cut_bottom_mm2",
    "border_pct",
    "air_hu",
    "noise_hu",
    "air_voxels",
    "blood_hu",
    "blood_sd_hu",
    "blood_voxels",
    "motion_ratio",
    "motion_z_mm",
    "n_flags",
    "flags",
]
AIR_DEPTH_MM = 2.5  # from the wall of the trachea
MIN_AIR_VOXELS = 30
MOTION_BAND_MM = 4.0


def measure(ct, lungs, tags=None, declared=None):
    """Measure the quality of a scan and flag what deviates.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU, any orientation.
    lungs : SimpleITK.Image
        1 right, 2 left, on the same grid; may be empty.
    tags : dict, optional
        Allow-listed header values, see `dicom.allowed_tags`.
    declared : dict, optional
        Protocol of the series, see `protocol.flags`.

    Returns
    -------
    DataFrame
        One row, columns `COLUMNS`:

        - voxel_mm (larger side in the plane), spacing_z_mm, size: of the axial grid;
        - right_ml, left_ml; lungs_found (0-2, each of 50 ml or more);
        - cut_top_mm2, cut_bottom_mm2: lung area in the end slices; border_pct: share of lung
          voxels on the border in the plane or on padding;
        - air_hu, noise_hu: mean and SD in the trachea, 2.5 mm off its wall;
        - blood_hu, blood_sd_hu: of the core of the descending aorta, see `aorta`;
        - motion_ratio, motion_z_mm: see `motion`;
        - flags: ``code: text`` apart by semicolons, and their number.

        NaN where a thing was not found: it is never guessed.

    Raises
    ------
    ValueError
        Lungs on another grid.
    """
    images.check_grid(ct, lungs, "lungs")
    axes, masks = images.canonical(ct), images.array(images.canonical(lungs))
    hu, spacing = images.array(axes), images.spacing_zyx(axes)
    row = {name: (tags or {}).get(name) for name in TAG_COLUMNS}
    row = {name: np.nan if value is None else value for name, value in row.items()}
    row |= {"voxel_mm": max(spacing[1:]), "spacing_z_mm": spacing[0]}
    row |= dict(zip(("size_x", "size_y", "size_z"), axes.GetSize(), strict=True))
    row |= _coverage(hu, masks, spacing)
    row |= _air(hu, spacing)
    column = aorta.descending_aorta(
        hu, masks == segmentation.RIGHT, masks == segmentation.LEFT, spacing
    )
    row |= dict(
        zip(
            ("blood_hu", "blood_sd_hu", "blood_voxels"),
            aorta.blood(hu, column, spacing),
            strict=True,
        )
    )
    ratio, z = motion(hu, masks > 0, spacing)
    row["motion_ratio"] = ratio
    row["motion_z_mm"] = (
        axes.TransformIndexToPhysicalPoint((0, 0, z))[2] if z is not None else np.nan
    )
    found = protocol.flags(row, declared or {})
    row |= {"n_flags": len(found), "flags": protocol.joined(found)}
    return pd.DataFrame([row], columns=COLUMNS)


def motion(hu, lungs, spacing):
    """Find a step between slices, as breathing or a shifted slice makes.

    Parameters
    ----------
    hu : ndarray, (z, y, x)
    lungs : ndarray of bool, same shape
    spacing : tuple of float
        mm, (z, y, x).

    Returns
    -------
    ratio : float
        Of each pair of neighbouring slices, the mean absolute difference in a band of 4 mm on both
        sides of the border of the lung, clipped to -1000..200 HU; each is divided by the median of
        the ten pairs around it (which takes away slice distance, noise, kernel and the slant of
        the lung there), and the largest is returned: 1.2 to 1.6 in still scans. NaN below 20
        slices of lung.
    z : int or None
        Index of the slice above the step.

    Notes
    -----
    Sees a jump between two slices; not blur inside a slice, nor slow drift.
    """
    area = lungs.sum((1, 2))
    slices = np.flatnonzero(area > 0.25 * area.max(initial=0)) if area.any() else np.empty(0, int)
    if slices.size < 20:
        return np.nan, None
    low, high = slices[0], slices[-1] + 1
    block = np.clip(hu[low:high], -1000, 200).astype(np.int16)
    inside = lungs[low:high]
    changes = np.full(high - low - 1, np.nan)
    for i in range(high - low - 1):
        here = inside[i] | inside[i + 1]
        reach = [max(1, round(MOTION_BAND_MM / d)) for d in spacing[1:]]
        band = _grow(here, reach) & ~_shrink(inside[i] & inside[i + 1], reach)
        if band.any():
            changes[i] = np.abs(block[i + 1] - block[i])[band].mean()
    ratios = np.full(changes.size, np.nan)
    for i in range(changes.size):
        around = np.r_[changes[max(0, i - 5) : i], changes[i + 1 : i + 6]]
        if np.isfinite(around).sum() >= 5:
            ratios[i] = changes[i] / np.nanmedian(around)
    if not np.isfinite(ratios).any():
        return np.nan, None
    worst = int(np.nanargmax(ratios))
    return float(ratios[worst]), int(low + worst + 1)


def _grow(mask, reach):
    """Dilate a slice by a rectangle, by running sums: exact and quick."""
    for axis, n in enumerate(reach):
        padded = np.pad(mask, [(n + 1, n) if k == axis else (0, 0) for k in range(2)])
        total = np.cumsum(padded, axis=axis, dtype=np.int32)
        upper = np.take(total, range(2 * n + 1, total.shape[axis]), axis=axis)
        lower = np.take(total, range(total.shape[axis] - 2 * n - 1), axis=axis)
        mask = upper > lower
    return mask


def _shrink(mask, reach):
    return ~_grow(~mask, reach)


def _coverage(hu, masks, spacing):
    voxel_ml = float(np.prod(spacing)) / 1000.0
    volumes = [
        float((masks == code).sum()) * voxel_ml for code in (segmentation.RIGHT, segmentation.LEFT)
    ]
    inside = masks > 0
    area = spacing[1] * spacing[2]
    edge = np.zeros(hu.shape[1:], bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    void = hu < segmentation.PADDING_BELOW_HU
    if void.any():
        near = edt.edt(~void, anisotropy=spacing, black_border=False, parallel=1)
        edge = edge | (near <= 1.01 * max(spacing[1:]))
    total = inside.sum()
    return {
        "lungs_found": sum(v >= segmentation.LUNG_MIN_ML for v in volumes),
        "right_ml": volumes[0],
        "left_ml": volumes[1],
        "cut_top_mm2": float(inside[-1].sum() * area),
        "cut_bottom_mm2": float(inside[0].sum() * area),
        "border_pct": 100.0 * float((inside & edge).sum() / total) if total else np.nan,
    }


def _air(hu, spacing):
    """Mean and SD of HU in the core of the trachea."""
    trachea = airtree.trachea(hu, segmentation.inner_air(hu, spacing), spacing)
    values = np.empty(0)
    if trachea.any():
        box = segmentation.bounding_box(trachea, spacing, 0.0)
        # In the plane: the ends of the column are no wall.
        depth = np.stack(
            [
                edt.edt(plane, anisotropy=spacing[1:], black_border=False, parallel=1)
                for plane in trachea[box]
            ]
        )
        values = hu[box][depth > max(AIR_DEPTH_MM, 1.01 * max(spacing[1:]))]
    if values.size < MIN_AIR_VOXELS:
        return {"air_hu": np.nan, "noise_hu": np.nan, "air_voxels": int(values.size)}
    return {
        "air_hu": float(values.mean(dtype=np.float64)),
        "noise_hu": float(values.std(dtype=np.float64)),
        "air_voxels": int(values.size),
    }
