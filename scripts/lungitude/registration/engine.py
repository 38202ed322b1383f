"""Registration of two scans: masks, linear start, working images, a backend, one transform."""

import logging

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungitude import images
from lungitude.registration import preparation, syn
from lungitude.registration.settings import complete
from lungitude.registration.transform import Transform

log = logging.getLogger("lungitude.registration")

# A backend takes (channels, fixed_mask, moving_mask, settings) on one grid and returns a
# displacement field: see `syn.displacement`.
BACKENDS = {"syn": syn.displacement}
_RIM_VOX = 2  # the metrics see this much of the surroundings of a lung: its surface


def register(fixed, moving, preset="lung", fixed_mask=None, moving_mask=None, **settings):
    """Register `moving` to `fixed`: two breaths, or two visits.

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
        CT in HU; any grid and direction cosines, origins need not agree.
    preset : {"lung"}
        Set of settings to start from.
    fixed_mask, moving_mask : SimpleITK.Image, optional
        Lungs (nonzero) on the grids of the images; segmented here where not given.
    **settings
        Values that differ from those of `PRESETS`: ``spacing_mm`` (working voxel) is the one that
        trades accuracy for time.

    Returns
    -------
    Transform
        From points of the fixed image to the moving image.

    Raises
    ------
    ValueError
        Not a CT volume, no lung, mask on another grid, unknown setting.

    Notes
    -----
    The start brings centre and spread of the lung masks together. Then symmetric normalisation [1]_
    of two channels: local contrast inside the lungs under local cross-correlation, because breath
    changes lung density and local contrast hardly; the lungs themselves under mean squares.

    Checked on a real pair with landmarks and on synthetic breaths with a known field in
    tests/unit/test_registration.py.

    References
    ----------
    .. [1] Avants et al. 2008, Med Image Anal 12:26-41.
    """
    settings = complete(preset, settings)
    if settings["backend"] not in BACKENDS:
        raise ValueError(
            f"registration backend {settings['backend']!r} is none of {', '.join(BACKENDS)}"
        )
    fixed_mask = _lungs(fixed, fixed_mask, "fixed")
    moving_mask = _lungs(moving, moving_mask, "moving")
    start = preparation.linear_start(fixed_mask, moving_mask)
    grid = preparation.working_grid(fixed_mask, settings["spacing_mm"], settings["margin_mm"])
    weights = [
        preparation.inside(fixed_mask, grid),
        preparation.inside(moving_mask, grid, start),
    ]
    contrast = [
        preparation.local_contrast(
            _working_hu(image, grid, transform, settings),
            weight,
            settings["spacing_mm"],
            settings["contrast_mm"],
            settings["contrast_floor_hu"],
        )
        for image, weight, transform in zip((fixed, moving), weights, (None, start), strict=True)
    ]
    channels = [("CC", *_on(grid, contrast), 1, settings["radius_vox"])]
    if settings["mask_weight"] > 0:
        overlap = [ndimage.gaussian_filter(weight, 1.0) for weight in weights]
        channels.append(("MeanSquares", *_on(grid, overlap), settings["mask_weight"], 0))
    rims = [
        ndimage.binary_dilation(weight > 0.5, iterations=_RIM_VOX).astype(np.uint8)
        for weight in weights
    ]
    log.info("working grid %s of %g mm", grid.GetSize(), settings["spacing_mm"])
    field = BACKENDS[settings["backend"]](channels, *_on(grid, rims), settings)
    # The last part of a composite is applied first.
    return Transform(sitk.CompositeTransform([start, sitk.DisplacementFieldTransform(field)]))


def _lungs(image, mask, name):
    """Given mask after a check, or one of our own."""
    if not isinstance(image, sitk.Image) or image.GetDimension() != 3:
        raise ValueError(f"the {name} image is no 3-D SimpleITK image")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"the {name} image has several values a voxel")
    if mask is not None:
        images.check_grid(image, mask, f"{name} mask")
        if not images.array(mask).any():
            raise ValueError(f"the {name} lung mask is empty")
        return mask
    from lungitude import segmentation  # late: a caller with masks needs none of its libraries

    try:
        return segmentation.lungs(preparation.thinned(image))
    except ValueError as error:
        raise ValueError(f"{name} image: {error}; give {name}_mask") from error


def _working_hu(image, grid, transform, settings):
    hu = preparation.to_grid(image, grid, images.PADDING_HU, transform)
    return np.clip(sitk.GetArrayFromImage(hu), *settings["clip_hu"])


def _on(grid, arrays):
    return [images.from_array(values, grid) for values in arrays]
