"""Registration of two scans: masks, linear start, working images, a backend, one transform."""

import logging

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungitude import images
from lungitude.registration import preparation
from lungitude.registration.linear import register_linear
from lungitude.registration.settings import complete
from lungitude.registration.transform import Transform

log = logging.getLogger("lungitude.registration")

_DIGITS = 3  # of a displacement in mm: text files stay small, and read back what was written


def register(fixed, moving, preset="lung", fixed_mask=None, moving_mask=None, **settings):
    """Register `moving` to `fixed`: two breaths, two visits, two scanners.

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
        CT in HU (``cmr``: moving may be an MR image); any grid and direction cosines, origins need
        not agree.
    preset : {"lung", "heart", "cmr"}
        What is registered, and so the settings to start from. ``lung``: expiration to inspiration,
        follow-up to baseline. ``heart``: gated CT angiography to a scan without contrast medium
        (rigid); phases of a cycle (``backend="torch"``). ``cmr``: cardiac MR to CT angiography.
    fixed_mask, moving_mask : SimpleITK.Image, optional
        On the grids of the images, nonzero where they are compared. ``lung``: the lungs, segmented
        here where not given. ``heart``, ``cmr``: a wide region of the heart or nothing; for
        phases both are needed, heart and great vessels.
    **settings
        Values that differ from those of `PRESETS`: ``backend`` and what it knows. ``spacing_mm``
        (working voxel) is the one that trades accuracy for time.

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
    Lungs start with centre and spread of their masks together. What the backends then compare is
    local contrast inside the lungs, because breath changes the density of lung and hardly its
    local contrast, and the overlap of the lungs.

    ``torch``: our own, see `flow.displacement`. ``antspyx``: symmetric normalisation of ANTs under
    local cross-correlation [1]_. ``simpleitk``: demons, see `demons.displacement`. ``linear``: see
    `linear.register_linear`. Each gives the same numbers again for the same input on one machine;
    ``simpleitk`` does so for any number of threads, the others for the same number.

    Errors on phantoms and on a real pair are in docs/registration.md.

    References
    ----------
    .. [1] Avants et al. 2008, Med Image Anal 12:26-41.
    """
    settings = complete(preset, settings)
    if settings["backend"] == "linear":
        return Transform(_linear(fixed, moving, fixed_mask, moving_mask, settings))
    fixed_mask = _region(fixed, fixed_mask, "fixed", preset)
    moving_mask = _region(moving, moving_mask, "moving", preset)
    if settings["start"] == "masks":
        start = preparation.linear_start(fixed_mask, moving_mask)
    else:
        start = register_linear(fixed, moving, seed=settings["seed"], threads=settings["threads"])
    pair = ((fixed, fixed_mask, None), (moving, moving_mask, start))
    voxel_mm = max(settings["spacing_mm"], min(*fixed.GetSpacing(), *moving.GetSpacing()))
    grid = preparation.working_grid(fixed_mask, voxel_mm, settings["margin_mm"])
    log.info("working grid %s of %.3g mm", grid.GetSize(), voxel_mm)
    channels, weights = _channels(pair, grid, voxel_mm, settings)
    steps = max(1, round(settings["rim_mm"] / voxel_mm))
    rims = [
        ndimage.binary_dilation(weight > 0.5, iterations=steps).astype(np.uint8)
        for weight in weights
    ]
    field = _backend(settings["backend"])(channels, *_on(grid, rims), settings)
    rounded = sitk.GetImageFromArray(np.round(sitk.GetArrayFromImage(field), _DIGITS), True)
    rounded.CopyInformation(field)
    # The last part of a composite is applied first.
    return Transform(sitk.CompositeTransform([start, sitk.DisplacementFieldTransform(rounded)]))


def _backend(name):
    """Return what finds the displacement; its library takes seconds to load, so only then."""
    if name == "torch":
        from lungitude.registration import flow as backend
    elif name == "antspyx":
        from lungitude.registration import syn as backend
    else:
        from lungitude.registration import demons as backend
    return backend.displacement


def _linear(fixed, moving, fixed_mask, moving_mask, settings):
    given = {k: v for k, v in settings.items() if k != "backend"}
    return register_linear(fixed, moving, fixed_mask, moving_mask, **given)


def _channels(pair, grid, voxel_mm, settings):
    """Return the channels of a backend, see `syn.displacement`, and both masks on the grid.

    Local contrast in each window, then the overlap of the masks.
    """
    weights = [preparation.inside(mask, grid, start) for _, mask, start in pair]
    values = [_working_hu(image, grid, start, settings) for image, _, start in pair]
    channels = []
    for window_mm in settings["contrast_mm"]:
        contrast = [
            preparation.local_contrast(
                hu, weight, voxel_mm, window_mm, settings["contrast_floor_hu"]
            )
            for hu, weight in zip(values, weights, strict=True)
        ]
        channels.append(("CC", *_on(grid, contrast), 1, settings.get("radius_vox", 0)))
    overlap = [ndimage.gaussian_filter(weight, 1.0) for weight in weights]
    channels.append(("MeanSquares", *_on(grid, overlap), settings["mask_weight"], 0))
    return channels, weights


def _region(image, mask, name, preset):
    """Given mask after a check, or lungs of our own."""
    if not isinstance(image, sitk.Image) or image.GetDimension() != 3:
        raise ValueError(f"the {name} image is no 3-D SimpleITK image")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"the {name} image has several values a voxel")
    if mask is not None:
        images.check_grid(image, mask, f"{name} mask")
        if not images.array(mask).any():
            raise ValueError(f"the {name} lung mask is empty")
        return mask
    if preset != "lung":
        raise ValueError(f"phases of a heart are registered inside it: give {name}_mask")
    from lungitude import segmentation  # late: a caller with masks needs none of its libraries

    try:
        return segmentation.lungs(preparation.thinned(image))
    except ValueError as error:
        raise ValueError(f"{name} image: {error}; give {name}_mask") from error


def _working_hu(image, grid, transform, settings):
    low, high = map(float, settings["clip_hu"])
    image = sitk.Clamp(image, sitk.sitkFloat32, low, high)
    hu = preparation.to_grid(image, grid, low, transform, sharp=True)
    return np.clip(sitk.GetArrayFromImage(hu), *settings["clip_hu"])


def _on(grid, arrays):
    return [images.from_array(values, grid) for values in arrays]
