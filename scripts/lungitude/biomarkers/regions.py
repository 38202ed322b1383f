"""The regions that a label map divides the lungs into."""

import numpy as np

from lungitude import images
from lungitude.segmentation import REGIONS


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
