"""The preprocessing of the publication: Gaussian blur, a window of HU, numbers from 0 to 1.

Xing et al. denoise every scan so before their networks, with sigma 1 to 1.5 of a unit that they
don't give; voxels are taken here. It suits the input of a network. For measurements it does not:
they take the HU of the scan, see `validation.imaging_preprocessing` for what the blur does to them.
"""

import numpy as np
from scipy import ndimage

from lungitude import images

SIGMA = 1.0
SIGMAS = (1.0, 1.5)  # the ends of the published range
UNITS = ("voxel", "mm")
LIMITS_HU = (-1000.0, 400.0)


def published(image, sigma=SIGMA, unit="voxel"):
    """Preprocess a scan as published.

    Parameters
    ----------
    image : SimpleITK.Image
        CT in HU.
    sigma : float
        SD of the Gaussian; 0 blurs nothing.
    unit : {"voxel", "mm"}
        Of sigma. A sigma in voxels blurs thick slices more along z, in mm; one in mm blurs all
        axes alike.

    Returns
    -------
    SimpleITK.Image
        float32 on the same grid: 0 at -1000 HU and below, 1 at 400 HU and above.

    Raises
    ------
    ValueError
        A sigma below 0 or not finite, an unknown unit, HU that are not finite.
    """
    hu = images.array(image).astype(np.float32)
    low, high = LIMITS_HU
    values = (np.clip(blurred(hu, sigma, images.spacing_zyx(image), unit), low, high) - low) / (
        high - low
    )
    return images.from_array(values.astype(np.float32), image)


def blurred(hu, sigma, spacing_mm, unit="voxel"):
    """Gaussian blur of HU; beyond the border its voxels go on.

    Parameters
    ----------
    hu : ndarray of float, (z, y, x)
    sigma : float
    spacing_mm : tuple of float
        Along z, y, x.
    unit : {"voxel", "mm"}

    Returns
    -------
    ndarray of float32, (z, y, x)
    """
    if unit not in UNITS:
        raise ValueError(f"preprocessing: unit '{unit}' is unknown; known: {', '.join(UNITS)}")
    if not (np.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"preprocessing: sigma is {sigma:g} {unit}; it is 0 or above")
    if not np.isfinite(hu).all():
        raise ValueError("preprocessing: the scan holds HU that are not finite")
    hu = np.asarray(hu, dtype=np.float32)
    if sigma == 0:
        return hu
    each = [sigma / mm if unit == "mm" else sigma for mm in spacing_mm]
    return ndimage.gaussian_filter(hu, each, mode="nearest")


def to_hu(values):
    """HU of what `published` returned, between the limits; an image or an ndarray."""
    low, high = LIMITS_HU
    if isinstance(values, np.ndarray):
        return values * (high - low) + low
    return images.from_array((images.array(values) * (high - low) + low), values)
