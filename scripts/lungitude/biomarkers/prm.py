"""Parametric response map: each lung voxel classified by inspiration and expiration together."""

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.special import ndtr

from lungitude import airtree, images, segmentation
from lungitude.biomarkers import regions, topology

EMPHYSEMA_BELOW_HU = -950.0  # inspiration
TRAPPING_BELOW_HU = -856.0  # expiration
CLASSES = {"normal": 1, "fsad": 2, "emphysema": 3, "other": 4}
COLOURS = {1: (77, 175, 74), 2: (255, 217, 47), 3: (228, 26, 28), 4: (152, 78, 163)}
LEGEND = {1: "Normal", 2: "Functional small airways disease", 3: "Emphysema", 4: "Other"}
SHARES = [
    "region",
    "voxels",
    *(f"{name}_pct" for name in CLASSES),
    "vessel_hu",
    "vessel_pct",
]
CORRECTED = [
    "region",
    *(f"{name}_corrected_pct" for name in CLASSES),
    "noise_insp_hu",
    "noise_exp_hu",
]
COLUMNS = [*SHARES, *CORRECTED[1:], *topology.columns(CLASSES)[1:]]
CHANGES = [
    "region",
    "voxels",
    *(f"{name}_change_pct" for name in CLASSES),
    *(f"{first}_to_{second}_pct" for first in CLASSES for second in CLASSES),
]

# Of the histogram that noise is taken out of, about each threshold; more steps fit the noise.
_BIN_HU = 5.0
_BINS_BELOW, _BINS_ABOVE = 50, 100
_STEPS = 30
_AIR_BELOW_HU = -900.0
_DEPTH_MM = 2.5  # from the wall of the trachea
_LEAST_AIR = 100  # voxels that tell the noise to 7 %


def prm_map(insp, exp, mask, vessel_hu=None, vessels=None):
    """Classify lung voxels.

    Parameters
    ----------
    insp, exp : SimpleITK.Image
        HU at inspiration; HU at expiration, registered onto the inspiration.
    mask : SimpleITK.Image
        Label map on the same grid, nonzero is lung.
    vessel_hu : float, optional
        Leave out voxels above this in either phase, as most groups do (-500). None: all count.
    vessels : SimpleITK.Image, optional
        Label map of the vessels at inspiration, on the same grid: leave out what is not 0.

    Returns
    -------
    SimpleITK.Image of uint8
        1 normal, 2 fSAD, 3 emphysema, 4 other; 0 outside the lungs and in voxels left out.

    Raises
    ------
    ValueError
        Another grid; HU in the mask that are not finite.

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
    if vessels is not None:
        images.check_grid(insp, vessels, "label map of the vessels")
        found[images.array(vessels)[inside] != 0] = 0
    classes = np.zeros(inside.shape, np.uint8)
    classes[inside] = found
    return images.from_array(classes, insp)


def prm(insp, exp_on_insp, mask, scheme="mask", vessel_hu=None, vessels=None):
    """Percentages of normal lung, functional small airways disease and emphysema.

    Parameters
    ----------
    insp, exp_on_insp, mask, vessel_hu, vessels
        As `prm_map`.
    scheme : {"mask", "lungs", "lobes"}
        Which rows follow the row "all", see `segmentation.REGIONS`.

    Returns
    -------
    DataFrame
        ``region``, ``voxels`` (classified ones), ``normal_pct fsad_pct emphysema_pct other_pct``
        (their sum is 100; NaN in a region without voxels), ``vessel_hu`` (NaN: none left out by
        density) and ``vessel_pct`` (lung voxels left out as vessels).
    """
    classes = prm_map(insp, exp_on_insp, mask, vessel_hu, vessels)
    return table(classes, mask, scheme, vessel_hu)


def table(classes, mask, scheme="mask", vessel_hu=None):
    """Percentages as `prm` gives them, from a map of `prm_map`."""
    images.check_grid(classes, mask, "lung mask")
    found = images.array(classes)
    rows = [_row(name, found[inside], vessel_hu) for name, inside in _regions(mask, scheme)]
    return pd.DataFrame(rows, columns=SHARES)


def measures(insp, exp, classes, mask, scheme="mask", vessel_hu=None):
    """All that is measured on the map of a visit: `table`, `corrected` and `topology`.

    Parameters
    ----------
    insp, exp, classes, mask, scheme
        As `corrected`; the noise is that of `air_noise`.
    vessel_hu : float, optional
        As given to `prm_map`, for the record.

    Returns
    -------
    DataFrame
        One row a region, columns `COLUMNS`.
    """
    found = table(classes, mask, scheme, vessel_hu)
    noise = air_noise(insp, exp)
    for more in (
        corrected(insp, exp, classes, mask, noise, scheme),
        topology.topology(classes, CLASSES, mask, scheme),
    ):
        found = found.merge(more, on="region")
    return found


def air_noise(insp, exp):
    """Measure the standard deviation of the noise of both phases in the air of the trachea.

    Parameters
    ----------
    insp, exp : SimpleITK.Image
        HU at inspiration; HU at expiration, registered onto the inspiration: its interpolation
        has smoothed the noise, so it is to be measured there.

    Returns
    -------
    tuple of float
        HU; NaN where the trachea shows too little air in both phases.
    """
    images.check_grid(insp, exp, "registered expiration")
    pair = [images.array(images.canonical(image)) for image in (insp, exp)]
    spacing = images.spacing_zyx(images.canonical(insp))
    air = airtree.trachea(pair[0], segmentation.inner_air(pair[0], spacing), spacing)
    air &= pair[1] < _AIR_BELOW_HU
    steps = int(np.ceil(_DEPTH_MM / max(spacing[1:])))
    air = ndimage.binary_erosion(air, np.ones((1, 3, 3), bool), iterations=steps)
    if np.count_nonzero(air) < _LEAST_AIR:
        return float("nan"), float("nan")
    return tuple(float(hu[air].std(dtype=np.float64)) for hu in pair)


def corrected(insp, exp, classes, mask, noise_hu, scheme="mask"):
    """Percentages of the classes as they would be without the noise of the scans.

    Parameters
    ----------
    insp, exp : SimpleITK.Image
        HU at inspiration; HU at expiration, registered onto the inspiration.
    classes, mask : SimpleITK.Image
        Map of `prm_map`, which tells the voxels that count; label map of the lungs.
    noise_hu : (float, float)
        Standard deviation of the noise of `insp` and of `exp` as it is given, after its
        interpolation; NaN: not known.
    scheme : {"mask", "lungs", "lobes"}
        Which rows follow the row "all", see `segmentation.REGIONS`.

    Returns
    -------
    DataFrame
        ``region``, ``normal_corrected_pct`` and so on (their sum is 100), and the noise; NaN in a
        region without voxels and where the noise is not known.

    Notes
    -----
    Noise carries voxels over a threshold, mostly from the side where more of them lie. The joint
    histogram of both phases is relieved of Gaussian noise by 30 steps of [1]_, and the classes are
    counted in what is left. It tells how much there is, not where: the map keeps its noise.

    References
    ----------
    .. [1] Richardson 1972, J Opt Soc Am 62:55-59.
    """
    images.check_grid(insp, exp, "registered expiration")
    images.check_grid(insp, classes, "map of the classes")
    images.check_grid(insp, mask, "lung mask")
    if not all(sd > 0 for sd in noise_hu if np.isfinite(sd)):
        raise ValueError(f"noise {noise_hu}: a standard deviation in HU is above 0, or NaN")
    known = images.array(classes) != 0
    pair = [images.array(image) for image in (insp, exp)]
    rows = []
    for name, inside in _regions(mask, scheme):
        shares = _noiseless(*(values[inside & known] for values in pair), noise_hu)
        rows.append([name, *shares, *noise_hu])
    return pd.DataFrame(rows, columns=CORRECTED)


def transitions(before, after, mask, scheme="mask"):
    """How the classes of the same voxels changed between two visits.

    Parameters
    ----------
    before, after : SimpleITK.Image
        Maps of `prm_map` of the baseline and, brought onto its grid, of a follow-up.
    mask : SimpleITK.Image
        Label map of the lungs at baseline.
    scheme : {"mask", "lungs", "lobes"}
        Which rows follow the row "all", see `segmentation.REGIONS`.

    Returns
    -------
    DataFrame
        ``region``, ``voxels`` (classified at both visits), ``fsad_change_pct`` and so on (points,
        follow-up less baseline; their sum is 0) and all of ``fsad_to_emphysema_pct`` and so on
        (share of the voxels; their sum is 100). NaN in a region without such voxels.
    """
    images.check_grid(before, after, "map of the follow-up")
    images.check_grid(before, mask, "lung mask")
    first, second = images.array(before), images.array(after)
    rows = [_change(name, first[inside], second[inside]) for name, inside in _regions(mask, scheme)]
    return pd.DataFrame(rows, columns=CHANGES)


def _regions(mask, scheme):
    """Yield name and voxels of the whole lung, then of each region."""
    codes, labels = regions.codes(mask, scheme), images.array(mask)
    yield "all", labels != 0
    for name, code in codes.items():
        yield name, labels == code


def _row(name, classes, vessel_hu):
    counts = np.bincount(classes, minlength=max(CLASSES.values()) + 1)
    voxels = int(counts[1:].sum())
    row = {"region": name, "voxels": voxels}
    for label, code in CLASSES.items():
        row[f"{label}_pct"] = 100.0 * float(counts[code]) / voxels if voxels else np.nan
    row["vessel_hu"] = np.nan if vessel_hu is None else float(vessel_hu)
    row["vessel_pct"] = 100.0 * float(counts[0]) / classes.size if classes.size else np.nan
    return row


def _change(name, first, second):
    """Return one row of `transitions` from the classes of the same voxels."""
    size = max(CLASSES.values()) + 1
    counts = np.bincount(first.astype(int) * size + second, minlength=size * size)
    counts = counts.reshape(size, size)[1:, 1:].astype(float)
    voxels = int(counts.sum())
    shares = 100.0 * counts / voxels if voxels else np.full_like(counts, np.nan)
    return [name, voxels, *(shares.sum(0) - shares.sum(1)), *shares.ravel()]


def _noiseless(hu_insp, hu_exp, noise_hu):
    """Return percentages of the classes in the order of `CLASSES`, noise taken out."""
    if not hu_insp.size or not np.isfinite(noise_hu).all():
        return [np.nan] * len(CLASSES)
    bins = np.arange(-_BINS_BELOW, _BINS_ABOVE + 1) * _BIN_HU
    edges = [EMPHYSEMA_BELOW_HU + bins, TRAPPING_BELOW_HU + bins]
    pair = zip((hu_insp, hu_exp), edges, strict=True)
    # What lies far from a threshold goes to the outermost bin.
    pair = [np.clip(hu, edge[0], edge[-1] - 0.5 * _BIN_HU) for hu, edge in pair]
    seen = np.histogram2d(*pair, edges)[0] / hu_insp.size
    blur = [_blur(bins, sd) for sd in noise_hu]
    share = seen.copy()
    for _ in range(_STEPS):
        ratio = seen / np.maximum(blur[0] @ share @ blur[1].T, 1e-12)
        share *= blur[0].T @ ratio @ blur[1]
    k = _BINS_BELOW
    parts = (share[k:, k:], share[k:, :k], share[:k, :k], share[:k, k:])
    return [100.0 * float(part.sum() / share.sum()) for part in parts]


def _blur(edges, sd):
    """Return the chance of each bin (row) for a true value at the middle of another (column)."""
    middle = 0.5 * (edges[1:] + edges[:-1])
    chance = np.diff(ndtr((edges[:, None] - middle) / sd), axis=0)
    return chance / chance.sum(0)
