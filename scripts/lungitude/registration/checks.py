"""Does a registration hold? Overlap, contents, folding and volume; flipped, cut and foreign scans.

`report` measures and says what is wrong; what it refuses must not be used. All limits were set
between good and bad pairs that were registered in earnest: the tables are in docs/registration.md.
"""

import dataclasses
import itertools
import math

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungitude import images
from lungitude.registration import preparation

# What to warn of, and what to refuse outright.
MIN_DICE = 0.9
MIN_DICE_USABLE = 0.8
MIN_SIMILARITY = 0.45
MIN_SIMILARITY_USABLE = 0.35
MAX_UNLIKE_PCT = 5.0
MAX_FOLDING_PCT = 0.1
MAX_IMPLAUSIBLE_PCT = 1.0
MAX_VOLUME_ERROR = 0.05
MAX_FLIP_GAIN = 0.02
MAX_CUT_PCT = {"head": 5.0, "feet": 5.0}
MAX_CUT_SIDE_PCT = 25.0  # some reconstructions graze the lungs at the sides
MAX_CUT_USABLE_PCT = 75.0
VOLUME_RATIOS = {"breath": (0.25, 1.05), "visits": (0.7, 1.4)}
MAX_DIFFERENCE_MM = (3.0, 8.0)  # between two backends: mean, 95th percentile

PLAUSIBLE = (0.1, 5.0)  # volume of lung after a breath per volume before it
_STEP_MM = 3.0  # of the grid on which the lungs are judged
_AROUND_MM = 30.0  # lungs that miss each other by more than this are not told apart
_CONTRAST_MM, _CONTRAST_FLOOR_HU = 6.0, 30.0
_CLIP_HU = (-1000.0, -300.0)  # lung and vessels
_LOCAL_MM = 9.0  # sigma of the window of a local correlation
_UNLIKE = 0.2  # a local correlation below this is no agreement
_LEAST_VOXELS = 100  # in which contents are compared
_COARSE_MM, _MARGIN_MM = 6.0, 24.0  # of the images on which flips are tried
_BODY_HU = (-1000.0, 200.0)
_NOTHING_HU = -3000.0  # beyond an image
_NO_DATA_HU = -1100.0  # below air: padding, alone or averaged with other voxels
_PADDING_HU = -1500.0
_AXES = ("left to right", "front to back", "head to feet")
_FACES = (("right", "left"), ("front", "back"), ("feet", "head"))  # of x, y, z, low and high
_NUMBERS = (
    "dice_before",
    "dice_after",
    "similarity",
    "unlike_pct",
    "folding_pct",
    "implausible_pct",
    "jacobian_mean",
    "jacobian_p01",
    "jacobian_p99",
    "volume_ratio",
    "flip_gain",
    "fixed_cut_pct",
    "moving_cut_pct",
)
_TEXTS = ("flip", "fixed_cut", "moving_cut")


@dataclasses.dataclass(frozen=True)
class _Fault:
    """What is wrong with a pair; `of_map`: another registration may do better."""

    text: str
    refuses: bool = False
    of_map: bool = True


def report(fixed, moving, transform, masks, kind=None):
    """Judge a registration by its lungs.

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
        CT in HU.
    transform : Transform
        From fixed to moving.
    masks : (SimpleITK.Image, SimpleITK.Image)
        Lungs of the fixed and of the moving image.
    kind : {"breath", "visits"}, optional
        Expiration to inspiration, or one inspiration to another: which change of volume is
        plausible. Any, where not given.

    Returns
    -------
    dict
        ``dice_before`` (world coordinates as they are), ``dice_after``;
        ``similarity`` (correlation of local contrast inside both lungs) and ``unlike_pct`` (share
        of the lungs where it is below 0.2 in a window of 9 mm);
        ``folding_pct`` (share of the fixed lungs whose determinant is not positive),
        ``implausible_pct`` (outside 0.1 to 5), ``jacobian_mean`` over the fixed lungs,
        ``jacobian_p01`` and ``jacobian_p99`` (percentiles after smoothing by 3 mm),
        ``volume_ratio`` that the mean should equal (moving / fixed);
        ``flip_gain`` (by how much the best of seven flips of the moving scan correlates better
        than the scan as it is; negative where all is well) and ``flip`` (its axes, or empty);
        ``fixed_cut_pct``, ``moving_cut_pct`` (of the largest section of the lungs along an axis,
        how much lies on a face of the image; the worst face by its limit) and ``fixed_cut``,
        ``moving_cut`` (that face, or empty);
        ``warnings`` (list of str, empty when all is well) and ``refused`` (those of them with which
        the registration must not be used). Numbers are NaN where a mask is empty.

    Notes
    -----
    Measured on a grid of 3 mm, flips on one of 6 mm with the lungs' centre and spread brought
    together. Local contrast is what a breath leaves alone and what patients don't share: the lungs
    of another patient overlap perfectly after a deformable registration, their vessels don't.
    """
    for image, mask, name in ((fixed, masks[0], "fixed"), (moving, masks[1], "moving")):
        images.check_grid(image, mask, f"{name} mask")
    binary = [sitk.Cast(mask != 0, sitk.sitkUInt8) for mask in masks]
    result = dict.fromkeys(_NUMBERS, math.nan) | dict.fromkeys(_TEXTS, "")
    if all(sitk.GetArrayViewFromImage(mask).any() for mask in binary):
        grid = preparation.working_grid(binary[0], _STEP_MM, _AROUND_MM)
        result |= _overlap(binary, grid, transform)
        result |= _volumes(binary, grid, transform)
        result |= _contents(fixed, moving, binary, grid, transform)
        result |= _flip(fixed, moving, binary)
        result |= _cut(fixed, binary[0], "fixed") | _cut(moving, binary[1], "moving")
    faults = _faults(result, kind)
    result["warnings"] = [fault.text for fault in faults]
    result["refused"] = [fault.text for fault in faults if fault.refuses]
    return result


def map_fails(found):
    """Whether another registration of the same two scans may do better than that of a report."""
    faults = _faults(found, None)
    hopeless = any(fault.refuses and not fault.of_map for fault in faults)
    return not hopeless and any(fault.of_map for fault in faults)


def better(first, second):
    """Whether the second of two reports on one pair is of the better registration."""

    def rank(found):
        similarity = found["similarity"]
        return (
            -len(found["refused"]),
            -len(found["warnings"]),
            -1.0 if math.isnan(similarity) else similarity,
        )

    return rank(second) > rank(first)


def difference(first, second, mask):
    """Measure how far apart two transforms send the same lung.

    Parameters
    ----------
    first, second : Transform
        From the space of `mask` to one other space.
    mask : SimpleITK.Image
        Lungs, nonzero.

    Returns
    -------
    tuple of float
        Mean and 95th percentile of the distance in mm over points 6 mm apart.
    """
    grid = preparation.working_grid(mask, _COARSE_MM, 0.0)
    where = np.argwhere(_sampled(mask, grid) != 0)[:, ::-1]
    points = np.array(grid.GetOrigin()) + where * _COARSE_MM
    gap = np.linalg.norm(second.apply_points(points) - first.apply_points(points), axis=1)
    return float(gap.mean()), float(np.percentile(gap, 95))


def _faults(found, kind):
    """List what is wrong; a NaN keeps no limit."""
    return [*_faults_of_map(found), *_faults_of_scans(found, kind)]


def _faults_of_map(found):
    """List the limits that the map does not keep."""
    faults = []
    dice, similarity, unlike = (found[k] for k in ("dice_after", "similarity", "unlike_pct"))
    if not dice >= MIN_DICE:
        text = f"lungs overlap by Dice {dice:.3f}, less than {MIN_DICE:g}"
        faults.append(_Fault(text, refuses=not dice >= MIN_DICE_USABLE))
    if dice >= MIN_DICE_USABLE:  # lungs that don't meet have no contents in common
        if not similarity >= MIN_SIMILARITY:
            text = (
                f"contents of the lungs correlate by {similarity:.2f}, less than "
                f"{MIN_SIMILARITY:g}: another patient's scan, or a failed registration"
            )
            faults.append(_Fault(text, refuses=not similarity >= MIN_SIMILARITY_USABLE))
        elif not unlike <= MAX_UNLIKE_PCT:
            text = f"{unlike:.0f} % of the lung lies on unlike lung, more than {MAX_UNLIKE_PCT:g} %"
            faults.append(_Fault(text))
    if not found["folding_pct"] <= MAX_FOLDING_PCT:
        text = f"{found['folding_pct']:.2f} % of the lung folds, more than {MAX_FOLDING_PCT:g} %"
        faults.append(_Fault(text))
    elif not found["implausible_pct"] <= MAX_IMPLAUSIBLE_PCT:
        text = (
            f"{found['implausible_pct']:.1f} % of the lung changes its volume beyond a factor of "
            f"{PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g}, more than {MAX_IMPLAUSIBLE_PCT:g} %"
        )
        faults.append(_Fault(text))
    mean, whole = found["jacobian_mean"], found["volume_ratio"]
    if not abs((mean / whole if whole else math.nan) - 1) <= MAX_VOLUME_ERROR:
        text = (
            f"mean Jacobian {mean:.3f} against a volume ratio of {whole:.3f}, "
            f"more than {100 * MAX_VOLUME_ERROR:g} % apart"
        )
        faults.append(_Fault(text))
    return faults


def _faults_of_scans(found, kind):
    """List what no registration can mend."""
    faults = []
    if math.isnan(found["dice_after"]):
        faults.append(_Fault("a lung mask is empty", refuses=True, of_map=False))
    if found["flip"]:
        faults.append(_Fault(flip_told("moving", found), refuses=True, of_map=False))
    for name in ("fixed", "moving"):
        face, cut = found[f"{name}_cut"], found[f"{name}_cut_pct"]
        if face:
            text = (
                f"the {name} scan cuts the lungs off at the {face}: "
                f"{cut:.0f} % of their largest section lies on its border"
            )
            faults.append(_Fault(text, refuses=cut >= MAX_CUT_USABLE_PCT, of_map=False))
    low, high = VOLUME_RATIOS.get(kind, (0.0, math.inf))
    if found["volume_ratio"] < low or found["volume_ratio"] > high:
        text = (
            f"the moving lungs have {found['volume_ratio']:.2f} of the volume of the fixed ones, "
            f"outside {low:g} to {high:g}"
        )
        faults.append(_Fault(text, of_map=False))
    return faults


def _sampled(mask, grid, transform=None):
    """Sample a mask at the nodes of a grid, (z, y, x) of bool."""
    transform = transform or sitk.Transform(3, sitk.sitkIdentity)
    sampled = sitk.Resample(mask, grid, transform, sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(sampled) != 0


def _overlap(masks, grid, transform):
    here = _sampled(masks[0], grid)
    return {
        "dice_before": _dice(here, _sampled(masks[1], grid)),
        "dice_after": _dice(here, _sampled(masks[1], grid, transform.sitk)),
    }


def _volumes(masks, grid, transform):
    """Return determinants over the fixed lungs, and the ratio that their mean should equal."""
    inside = _sampled(masks[0], grid)
    determinant = sitk.GetArrayFromImage(transform.jacobian(grid))
    smooth = ndimage.gaussian_filter(determinant, _STEP_MM / grid.GetSpacing()[0])[inside]
    determinant = determinant[inside]
    low, high = np.percentile(smooth, (1, 99)) if smooth.size else (math.nan, math.nan)
    ml = [
        np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * images.voxel_ml(mask) for mask in masks
    ]
    strange = (determinant < PLAUSIBLE[0]) | (determinant > PLAUSIBLE[1])
    return {
        "folding_pct": 100.0 * _mean(determinant <= 0),
        "implausible_pct": 100.0 * _mean(strange),
        "jacobian_mean": _mean(determinant),
        "jacobian_p01": float(low),
        "jacobian_p99": float(high),
        "volume_ratio": float(ml[1] / ml[0]),
    }


def _contents(fixed, moving, masks, grid, transform):
    """Compare local contrast well inside both lungs, as a whole and in windows."""
    contrasts, weights = [], []
    for image, mask, map_ in ((fixed, masks[0], None), (moving, masks[1], transform.sitk)):
        hu = sitk.GetArrayFromImage(preparation.to_grid(image, grid, _NOTHING_HU, map_))
        weights.append(preparation.inside(mask, grid, map_))
        contrasts.append(
            preparation.local_contrast(
                np.clip(hu, *_CLIP_HU), weights[-1], _STEP_MM, _CONTRAST_MM, _CONTRAST_FLOOR_HU
            )
        )
    core = ndimage.binary_erosion(np.minimum(*weights) > 0.9)
    if np.count_nonzero(core) < _LEAST_VOXELS:
        return {}

    def smooth(values):
        return ndimage.gaussian_filter(values * core, _LOCAL_MM / _STEP_MM, truncate=2.5)[core]

    a, b = contrasts
    local = smooth(a * b) / np.sqrt(smooth(a * a) * smooth(b * b) + 1e-6)
    return {
        "similarity": correlation(a[core], b[core]),
        "unlike_pct": 100.0 * _mean(local < _UNLIKE),
    }


def _flip(fixed, moving, masks):
    """Try the moving scan flipped along each set of axes, about the centre of its lungs."""
    start = preparation.linear_start(*masks)
    grids = [preparation.working_grid(mask, _COARSE_MM, _MARGIN_MM) for mask in masks]
    first, second = (
        preparation.to_grid(image, grid, _NOTHING_HU)
        for image, grid in zip((fixed, moving), grids, strict=True)
    )
    here = sitk.GetArrayFromImage(first)
    scale = np.diag(np.reshape(start.GetMatrix(), (3, 3)))
    found = {}
    for signs in itertools.product((1, -1), repeat=3):
        turned = sitk.AffineTransform(start)
        turned.SetMatrix(np.diag(scale * signs).ravel().tolist())
        there = sitk.GetArrayFromImage(
            sitk.Resample(second, first, turned, sitk.sitkLinear, _NOTHING_HU)
        )
        both = (here > _NO_DATA_HU) & (there > _NO_DATA_HU)
        clipped = (np.clip(values[both], *_BODY_HU) for values in (here, there))
        found[signs] = correlation(*clipped)
    as_it_is = found.pop((1, 1, 1))
    best = max(found, key=lambda signs: -1.0 if math.isnan(found[signs]) else found[signs])
    gain = found[best] - as_it_is
    is_flipped = gain > MAX_FLIP_GAIN
    return {"flip_gain": gain, "flip": axes_told(s < 0 for s in best) if is_flipped else ""}


def axes_told(turned):
    """Name the axes of the patient, of x, y and z, along which a scan is turned round."""
    return " and ".join(name for name, is_turned in zip(_AXES, turned, strict=True) if is_turned)


def _cut(image, mask, name):
    """Find the face of an image, or of the data in it, that cuts off most of the lungs."""
    inside, low = images.array(mask) != 0, images.array(image) < _PADDING_HU
    worst, where, excess = 0.0, "", 0.0
    for axis, side in itertools.product(range(3), (0, 1)):
        others = tuple(k for k in range(3) if k != axis)
        largest = inside.sum(axis=others).max()
        share = 100.0 * _on_face(inside, low, axis, side) / largest
        face = _face(image, 2 - axis, side)
        beyond = share / MAX_CUT_PCT.get(face, MAX_CUT_SIDE_PCT)
        if beyond > excess:  # each face by its own limit
            worst, where, excess = float(share), face if beyond > 1 else "", beyond
    return {f"{name}_cut_pct": worst, f"{name}_cut": where}


def _on_face(inside, padding, axis, side):
    """Count voxels of a mask whose next voxel is padding, or none."""
    inside, padding = np.moveaxis(inside, axis, 0), np.moveaxis(padding, axis, 0)
    if side:
        inside, padding = inside[::-1], padding[::-1]
    return np.count_nonzero(inside[0]) + np.count_nonzero(inside[1:] & padding[:-1])


def _face(image, axis, side):
    """Name the side of the patient on which a face of an image lies."""
    along = np.reshape(image.GetDirection(), (3, 3))[:, axis]
    world = int(np.argmax(np.abs(along)))
    return _FACES[world][side if along[world] > 0 else 1 - side]


def flip_told(scan, found):
    """Say that a scan is flipped, from the ``flip`` and ``flip_gain`` of a report."""
    return (
        f"the {scan} scan is flipped {found['flip']}: that way it correlates better by "
        f"{found['flip_gain']:.2f}, so correct its orientation"
    )


def correlation(a, b):
    """Correlate two arrays; NaN where one of them is constant."""
    a, b = a - a.mean(dtype=float), b - b.mean(dtype=float)
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else math.nan


def _dice(a, b):
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * float(np.count_nonzero(a & b)) / total if total else math.nan


def _mean(values):
    return float(values.mean()) if values.size else math.nan
