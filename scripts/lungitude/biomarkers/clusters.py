"""Sizes of low-attenuation clusters and the exponent of their distribution."""

import cc3d
import numpy as np
import pandas as pd

from lungitude import images
from lungitude.biomarkers import graphs, regions

THRESHOLD_HU = -950
SMALLEST_VOXELS = 5  # smaller ones are mostly noise
TAIL = 5  # clusters at the large end that the line leaves out
PER_DECADE = 10
FEWEST = 50
COLUMNS = [
    "region",
    "n_clusters",
    "cluster_exponent",
    "cluster_exponent_ml",
    "cluster_r2",
    "n_in_fit",
    "cluster_low_mm3",
    "cluster_high_mm3",
    "largest_ml",
    "threshold_hu",
    "flag",
]


def clusters(ct, mask, scheme="mask", threshold_hu=THRESHOLD_HU):
    """Measure how the sizes of low-attenuation clusters are distributed.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU, inspiration.
    mask : SimpleITK.Image
        Label map on the same grid; 0 outside.
    scheme : {"mask", "lungs", "lobes", "thirds"}
        Which regions have rows; a cluster ends where its region does.
    threshold_hu : float
        Strictly below counts.

    Returns
    -------
    DataFrame
        Row ``all``, then a row a region: n_clusters, of any size; cluster_exponent D, minus the
        slope of log N(>= x) on log x by least squares (ten sizes a decade) with cluster_r2;
        cluster_exponent_ml, the same exponent by maximum likelihood over the same clusters, which
        weighs each cluster alike; n_in_fit; cluster_low_mm3 and cluster_high_mm3, the range of x,
        from 5 voxels to the size that 5 clusters reach; largest_ml; threshold_hu; flag,
        ``few_clusters`` (below 50 in the range: D is NaN) or nothing.

    Notes
    -----
    N(>= x), the number of clusters at least as large as x, goes as x^-D; D falls as emphysema
    clusters merge [1]_ (there per slice, here in 3-D with 26 neighbours). Noise of the scanner
    makes clusters of a few voxels and links others: compare D only within one protocol.

    References
    ----------
    .. [1] Mishima et al. 1999, Proc Natl Acad Sci 96:8829-8834.
    .. [2] Clauset, Shalizi, Newman 2009, SIAM Rev 51:661-703, eq. 3.7.
    """
    mask, codes = regions.labelled(mask, scheme)
    images.check_grid(ct, mask, "mask")
    labels, hu = images.array(mask), images.array(ct)
    box = graphs.bounding_box(labels)
    rows = []
    if box is None:
        labels, hu = labels[:0, :0, :0], hu[:0, :0, :0]
    else:
        labels, hu = labels[box], hu[box]
    inside = labels != 0
    if hu.dtype.kind == "f" and not np.isfinite(hu[inside]).all():
        bad = int((~np.isfinite(hu[inside])).sum())
        raise ValueError(f"{bad} voxels of the mask hold no finite HU")
    low = inside & (hu < threshold_hu)
    sizes = _sizes(low.astype(np.uint8))[0]
    rows.append(_row("all", sizes, ct))
    if codes:
        # One pass for all regions: the label keeps clusters of different regions apart.
        sizes, owner = _sizes(np.where(low, labels, 0).astype(np.uint8))
        rows += [_row(name, sizes[owner == code], ct) for name, code in codes.items()]
    table = pd.DataFrame(rows)
    table["threshold_hu"] = float(threshold_hu)
    return table[COLUMNS]


def exponent(sizes, smallest=SMALLEST_VOXELS, tail=TAIL):
    """Exponent D of N(>= x) ~ x^-D for whole sizes in voxels.

    Returns
    -------
    dict
        ``exponent``, ``exponent_ml``, ``r2``, ``n``, ``low`` and ``high`` (voxels); NaN where fewer
        than 50 sizes lie in the range.
    """
    sizes = np.sort(np.asarray(sizes))
    empty = dict.fromkeys(("exponent", "exponent_ml", "r2", "low", "high"), np.nan)
    kept = sizes[sizes >= smallest]
    if kept.size < FEWEST:
        return {**empty, "n": int(kept.size)}
    high = int(kept[-tail])
    steps = int(np.ceil(PER_DECADE * np.log10(max(high / smallest, 1.01)))) + 1
    at = np.unique(np.rint(np.geomspace(smallest, max(high, smallest + 1), steps)))
    count = kept.size - np.searchsorted(kept, at, side="left")
    at, count = at[count > 0], count[count > 0]
    if at.size < 3:
        return {**empty, "n": int(kept.size)}
    x, y = np.log(at), np.log(count)
    slope, level = np.polyfit(x, y, 1)
    r2 = 1.0 - ((y - level - slope * x) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    # Whole sizes stand for an interval: half a voxel below the smallest is where it begins.
    likely = kept.size / np.log(kept / (smallest - 0.5)).sum()
    return {
        "exponent": float(-slope),
        "exponent_ml": float(likely),
        "r2": float(r2),
        "n": int(kept.size),
        "low": float(smallest),
        "high": float(high),
    }


def _sizes(low):
    """Voxels of each cluster, and the label it carries."""
    if not low.size or not low.any():
        return np.zeros(0, np.int64), np.zeros(0, np.uint8)
    parts, count = cc3d.connected_components(low, connectivity=26, return_N=True)
    owner = np.zeros(count + 1, np.uint8)
    where = low != 0
    found = parts[where]
    owner[found] = low[where]
    return np.bincount(found, minlength=count + 1)[1:], owner[1:]


def _row(name, sizes, ct):
    fit = exponent(sizes)
    voxel_mm3 = 1000.0 * images.voxel_ml(ct)
    return {
        "region": name,
        "n_clusters": len(sizes),
        "cluster_exponent": fit["exponent"],
        "cluster_exponent_ml": fit["exponent_ml"],
        "cluster_r2": fit["r2"],
        "n_in_fit": fit["n"],
        "cluster_low_mm3": fit["low"] * voxel_mm3,
        "cluster_high_mm3": fit["high"] * voxel_mm3,
        "largest_ml": float(sizes.max()) * voxel_mm3 / 1000.0 if len(sizes) else np.nan,
        "flag": "" if np.isfinite(fit["exponent"]) else "few_clusters",
    }
