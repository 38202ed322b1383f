"""Does a registration hold? Overlap, folding and volume, with limits that raise a warning."""

import math

import numpy as np
import SimpleITK as sitk

from lungitude import images

# What to warn of, and what to refuse outright.
MIN_DICE = 0.9
MIN_DICE_USABLE = 0.8
MAX_FOLDING_PCT = 0.1
MAX_VOLUME_ERROR = 0.05


def report(fixed, moving, transform, masks):
    """Judge a registration by its lungs.

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
    transform : Transform
        From fixed to moving.
    masks : (SimpleITK.Image, SimpleITK.Image)
        Lungs of the fixed and of the moving image.

    Returns
    -------
    dict
        ``dice_before`` (world coordinates as they are), ``dice_after``, ``folding_pct`` (voxels of
        the fixed lungs whose determinant is not positive), ``jacobian_mean`` over the fixed lungs,
        ``volume_ratio`` that it should equal (moving / fixed), ``warnings`` (list of str, empty
        when all is well). NaN where a mask is empty.
    """
    fixed_mask, moving_mask = masks
    images.check_grid(fixed, fixed_mask, "fixed mask")
    images.check_grid(moving, moving_mask, "moving mask")
    inside = images.array(fixed_mask) != 0
    binary = sitk.Cast(moving_mask != 0, sitk.sitkUInt8)
    before = sitk.Resample(
        binary, fixed, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor, 0
    )
    after = transform.resample(binary, fixed, "nearest", 0)
    determinant = sitk.GetArrayFromImage(transform.jacobian(fixed))[inside]
    fixed_ml = int(inside.sum()) * images.voxel_ml(fixed_mask)
    moving_ml = int(np.count_nonzero(images.array(moving_mask))) * images.voxel_ml(moving_mask)
    result = {
        "dice_before": _dice(inside, sitk.GetArrayFromImage(before) != 0),
        "dice_after": _dice(inside, sitk.GetArrayFromImage(after) != 0),
        "folding_pct": 100.0 * _mean(determinant <= 0),
        "jacobian_mean": _mean(determinant),
        "volume_ratio": moving_ml / fixed_ml if fixed_ml else math.nan,
    }
    result["warnings"] = _warnings(result)
    return result


def _warnings(result):
    """Sentences on each limit that is not kept; a NaN keeps none."""
    found = []
    if not result["dice_after"] >= MIN_DICE:
        found.append(f"lungs overlap by Dice {result['dice_after']:.3f}, less than {MIN_DICE:g}")
    if not result["folding_pct"] <= MAX_FOLDING_PCT:
        found.append(
            f"{result['folding_pct']:.2f} % of the lung folds, more than {MAX_FOLDING_PCT:g} %"
        )
    ratio = result["jacobian_mean"] / result["volume_ratio"] if result["volume_ratio"] else math.nan
    if not abs(ratio - 1) <= MAX_VOLUME_ERROR:
        found.append(
            f"mean Jacobian {result['jacobian_mean']:.3f} against a volume ratio of "
            f"{result['volume_ratio']:.3f}, more than {100 * MAX_VOLUME_ERROR:g} % apart"
        )
    return found


def _dice(a, b):
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * float(np.count_nonzero(a & b)) / total if total else math.nan


def _mean(values):
    return float(values.mean()) if values.size else math.nan
