"""The regions that a label map divides the lungs into."""

import numpy as np

from lungitude import images
from lungitude.segmentation import REGIONS

# Thirds are made from the lungs by `thirds`.
THIRDS = {
    "right_upper": 1,
    "right_middle": 2,
    "right_lower": 3,
    "left_upper": 4,
    "left_middle": 5,
    "left_lower": 6,
}


def codes(mask, scheme):
    """Return names and codes of the regions of a scheme, after checking the labels.

    Parameters
    ----------
    mask : SimpleITK.Image
        Label map of whole numbers.
    scheme : {"mask", "lungs", "lobes"}

    Returns
    -------
    dict of str to int
        In the order of rows; empty for ``mask``.

    Raises
    ------
    ValueError
        Unknown scheme; labels that are not whole, negative, or not of the scheme.
    """
    if scheme not in REGIONS:
        raise ValueError(f"scheme {scheme!r} is unknown; known: {', '.join(REGIONS)}")
    labels = images.array(mask)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"a mask holds whole numbers, this one is {labels.dtype}")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if low < 0:
        raise ValueError(f"label {low} in the mask; labels are 0 or more")
    known = REGIONS[scheme]
    if known and high > max(known.values()):
        strange = np.unique(labels[labels > max(known.values())]).tolist()
        raise ValueError(f"labels {strange} in the mask; scheme {scheme!r} has {known}")
    return dict(known)


def labelled(mask, scheme):
    """Return a label map and the codes of its regions, making thirds where they are asked for.

    Parameters
    ----------
    mask : SimpleITK.Image
        Label map; of the lungs (1 right, 2 left) for ``thirds``.
    scheme : {"mask", "lungs", "lobes", "thirds"} or dict of str to int
        A dict names the codes of a label map that is cut already.

    Returns
    -------
    mask : SimpleITK.Image
    codes : dict of str to int
        As `codes`; `THIRDS` for thirds.
    """
    if isinstance(scheme, dict):
        codes(mask, "mask")
        return mask, dict(scheme)
    if scheme == "thirds":
        return thirds(mask), dict(THIRDS)
    if scheme not in REGIONS:
        known = ", ".join([*REGIONS, "thirds"])
        raise ValueError(f"scheme {scheme!r} is unknown; known: {known}")
    return mask, codes(mask, scheme)


def thirds(lungs):
    """Cut the lungs into an upper, a middle and a lower third of their volume.

    Parameters
    ----------
    lungs : SimpleITK.Image
        1 right, 2 left.

    Returns
    -------
    SimpleITK.Image of uint8
        Codes of `THIRDS`.

    Notes
    -----
    Both lungs are cut at the same heights, in whole slices across the axis of the body: from the
    top, a slice belongs to the upper third while less than a third of the volume of both lungs
    lies above it. So does the Chest Imaging Platform; its label map of a real chest comes out
    voxel for voxel (tests/reference/test_real_vessels.py).
    """
    codes(lungs, "lungs")
    axes = images.canonical(lungs)
    labels = images.array(axes)
    found = np.zeros(labels.shape, np.uint8)
    count = np.count_nonzero(labels, axis=(1, 2))[::-1]
    above = np.cumsum(count) - count
    third = np.clip(3 * above // max(int(count.sum()), 1), 0, 2)[::-1]
    for code in (1, 2):
        found += ((labels == code) * (3 * (code - 1) + 1 + third)[:, None, None]).astype(np.uint8)
    return images.restore(images.from_array(found, axes), lungs)
