"""How far two segmentations of one structure disagree, and when that deserves a flag."""

import dataclasses
import math

import edt
import numpy as np
import SimpleITK as sitk

from lungitude import images

COARSE_MM = 1.5  # voxels in which distances are taken
FAR_MM = 50.0  # distances beyond count as this


@dataclasses.dataclass(frozen=True)
class Limits:
    """What makes a flag.

    Attributes
    ----------
    dice : float
        Less is flagged.
    ratio : float
        A volume more than this many times the other is flagged.
    hd95_mm : float
        More is flagged.
    covered : float
        Share of either that lies within `near_mm` of the other; flagged where the better covered
        of both has less. A map that finds more of the thin branches than the other covers it.
    near_mm : float
    """

    dice: float
    ratio: float
    hd95_mm: float
    covered: float
    near_mm: float = 2.0


# Region growing finds fewer of the thin airways than a network, and what it finds is right:
# much of it that the network lacks means that one of both failed.
LIMITS = {
    "airways": Limits(dice=0.6, ratio=2.0, hd95_mm=25.0, covered=0.85),
    "vessels": Limits(dice=0.5, ratio=2.0, hd95_mm=12.0, covered=0.8),
    "lungs": Limits(dice=0.95, ratio=1.1, hd95_mm=10.0, covered=0.98),
}


def disagreement(
    a, b, structure="airways", within=None, codes=None, names=("the network", "region growing")
):
    """Compare two label maps of one structure.

    Parameters
    ----------
    a, b : SimpleITK.Image
        Label maps on one grid.
    structure : str
        A key of `LIMITS`; also the word for it in the flags.
    within : SimpleITK.Image, optional
        Label map; only where it is nonzero is compared, such as in the lungs: otherwise the
        trachea outweighs all other airways.
    codes : sequence of int, optional
        Labels that count; all nonzero ones if absent.
    names : pair of str
        What made `a` and `b`, as the flags call it.

    Returns
    -------
    dict
        a_ml, b_ml; dice, 0 to 1; ratio of the volumes, a by b; hd95_mm, the larger of both 95th
        percentiles of the distance of the voxels of one to the other, on voxels of about 1.5 mm,
        50 at most: not of surfaces, so it is blind to edges and sees missing parts; a_covered_pct
        and b_covered_pct, the share of each that lies within 2 mm of the other; flags, a list of
        sentences, empty if they agree. NaN where a figure has no meaning.

    Raises
    ------
    ValueError
        Another grid; an unknown structure.
    """
    if structure not in LIMITS:
        raise ValueError(f"structure {structure!r} is unknown; known: {', '.join(LIMITS)}")
    images.check_grid(a, b)
    masks = [_mask(image, codes) for image in (a, b)]
    if within is not None:
        images.check_grid(a, within, "map to compare in")
        inside = images.array(within) > 0
        masks = [mask & inside for mask in masks]
    limits, ml = LIMITS[structure], images.voxel_ml(a)
    first, second = (float(mask.sum()) * ml for mask in masks)
    both = float((masks[0] & masks[1]).sum()) * ml
    found = dict.fromkeys(("dice", "ratio", "hd95_mm", "a_covered_pct", "b_covered_pct"), math.nan)
    found |= {"a_ml": first, "b_ml": second, "flags": []}
    if first > 0 or second > 0:
        found["dice"] = 2.0 * both / (first + second)
    if first > 0 and second > 0:
        found["ratio"] = first / second
        far = _distances(*(images.from_array(mask, a) for mask in masks))
        found["hd95_mm"] = float(max(np.percentile(d, 95) for d in far))
        for name, d in zip("ab", far, strict=True):
            found[f"{name}_covered_pct"] = 100.0 * float((d <= limits.near_mm).mean())
    found["flags"] = _flags(found, structure, limits, names)
    return found


def _mask(image, codes):
    values = images.array(image)
    return values > 0 if codes is None else np.isin(values, list(codes))


def _distances(a, b):
    """Return for the coarse voxels of each mask how far the other is, mm."""
    every = [max(1, int(COARSE_MM / s)) for s in a.GetSpacing()]
    coarse = [_shrink(image, every) for image in (a, b)]
    spacing = tuple(s * n for s, n in zip(a.GetSpacing(), every, strict=True))[::-1]
    low, high = _box(coarse[0] | coarse[1])
    part = tuple(slice(i, j) for i, j in zip(low, high, strict=True))
    one, other = (np.ascontiguousarray(mask[part]) for mask in coarse)
    return [
        np.minimum(edt.edt(~to, anisotropy=spacing, black_border=False, parallel=1)[of], FAR_MM)
        for of, to in ((one, other), (other, one))
    ]


def _shrink(image, every):
    """Return a coarser mask, set where any voxel was."""
    if max(every) == 1:
        return images.array(image) > 0
    values = images.array(image)
    pad = [(0, -n % e) for n, e in zip(values.shape, every[::-1], strict=True)]
    values = np.pad(values, pad)
    image = sitk.GetImageFromArray(values * np.uint8(255))
    return images.array(sitk.BinShrink(image, every)) > 0


def _box(mask):
    ends = []
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        where = np.flatnonzero(mask.any(others))
        ends.append((max(0, where[0] - 1), where[-1] + 2))
    return zip(*ends, strict=True)


def _flags(found, structure, limits, names):
    a, b = names
    if found["a_ml"] == found["b_ml"] == 0.0:
        return [f"{structure}: neither {a} nor {b} found any"]
    for volume, missing, other in ((found["a_ml"], a, b), (found["b_ml"], b, a)):
        if volume == 0.0:
            return [f"{structure}: {missing} found none, {other} did"]
    flags = []
    if found["dice"] < limits.dice:
        share = 100.0 * found["dice"]
        flags.append(f"{structure} of {a} and of {b} agree in {share:.0f} % only")
    ratio = found["ratio"]
    if max(ratio, 1.0 / ratio) > limits.ratio:
        more, less, times = (a, b, ratio) if ratio > 1.0 else (b, a, 1.0 / ratio)
        flags.append(f"{structure} of {more} have {times:.1f} times the volume of those of {less}")
    if found["hd95_mm"] > limits.hd95_mm:
        flags.append(
            f"5 % of the {structure} of {a} or {b} lie {found['hd95_mm']:.0f} mm or more "
            "from the other's"
        )
    best = max(found["a_covered_pct"], found["b_covered_pct"])
    if best < 100.0 * limits.covered:
        flags.append(
            f"{structure}: {found['b_covered_pct']:.0f} % of what {b} found lies near what {a} "
            f"found, and {found['a_covered_pct']:.0f} % the other way round"
        )
    return flags
