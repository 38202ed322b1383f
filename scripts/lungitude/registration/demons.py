"""Backend: symmetric demons of ITK, by SimpleITK: quick, and no sum depends on the threads."""

import SimpleITK as sitk

_MIN_SIZE = 4  # voxels on each axis of a level


def displacement(channels, fixed_mask, moving_mask, settings):
    """Register images that already share a grid; return the displacement field.

    Parameters
    ----------
    channels : list of (metric, fixed, moving, weight, parameter)
        As `syn.displacement`. Demons compare intensities: metric and parameter have no effect, and
        the weighted sum of the channels is one image. Local contrast has mean 0 inside the lungs,
        so that adding their overlap lifts them above their surroundings.
    fixed_mask, moving_mask : SimpleITK.Image or None
        Nonzero where there is anything to compare; forces are 0 elsewhere.
    settings : dict
        `iterations`, `shrink`, `smoothing_vox` (of the images, one entry a level), `step`,
        `flow_sigma_vox`, `total_sigma_vox`, `diffeomorphic`, `threads`.

    Returns
    -------
    SimpleITK.Image of float64 vectors
        Pull-back displacement in mm on the grid; not zero at its border, where smoothing has
        carried the motion of the lungs.

    Raises
    ------
    ValueError
        The grid is too small for the coarsest level.

    Notes
    -----
    Fast symmetric forces [1]_: the field is smoothed after each update, which in practice keeps it
    from folding; `diffeomorphic` composes exponentials of the updates, at twice the time. Each
    voxel is computed for itself: no random numbers, and no sums that depend on the threads.

    Checked on synthetic breaths with a known field in tests/unit/test_registration_demons.py.

    References
    ----------
    .. [1] Vercauteren et al. 2009, NeuroImage 45:S61-S72.
    """
    fixed = _image([(fixed, weight) for _, fixed, _, weight, _ in channels], fixed_mask)
    moving = _image([(moving, weight) for _, _, moving, weight, _ in channels], moving_mask)
    smallest = min(fixed.GetSize()) // max(settings["shrink"])
    if smallest < _MIN_SIZE:
        raise ValueError(
            f"registration: shrink {max(settings['shrink'])} leaves {smallest} voxels on an axis, "
            f"fewer than {_MIN_SIZE}; use a smaller spacing_mm or shrink"
        )
    demons = _filter(settings)
    field = None
    levels = zip(settings["shrink"], settings["iterations"], settings["smoothing_vox"], strict=True)
    for shrink, iterations, sigma in levels:
        pair = [_coarse(image, shrink, sigma) for image in (fixed, moving)]
        demons.SetNumberOfIterations(iterations)
        before = [] if field is None else [_onto(field, pair[0])]
        field = demons.Execute(*pair, *before)
    return sitk.Cast(_onto(field, fixed), sitk.sitkVectorFloat64)


def _filter(settings):
    """Return the optimiser of all levels."""
    if settings["diffeomorphic"]:
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    else:
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfThreads(settings["threads"])
    demons.SetMaximumUpdateStepLength(settings["step"])
    demons.SetIntensityDifferenceThreshold(1e-3)
    demons.SetSmoothDisplacementField(settings["total_sigma_vox"] > 0)
    demons.SetStandardDeviations(settings["total_sigma_vox"])
    demons.SetSmoothUpdateField(settings["flow_sigma_vox"] > 0)
    demons.SetUpdateFieldStandardDeviations(settings["flow_sigma_vox"])
    return demons


def _image(parts, mask):
    """Return the weighted sum of (image, weight), 0 outside the mask."""
    total = sum(sitk.Cast(image, sitk.sitkFloat32) * float(weight) for image, weight in parts)
    return total if mask is None else sitk.Mask(total, mask != 0)


def _coarse(image, shrink, sigma_vox):
    """Return an image of one level: blurred, then every n-th voxel."""
    if sigma_vox > 0:
        variance = [(sigma_vox * spacing) ** 2 for spacing in image.GetSpacing()]
        image = sitk.DiscreteGaussian(image, variance)
    return sitk.Shrink(image, [shrink] * image.GetDimension()) if shrink > 1 else image


def _onto(field, like):
    """Resample a field linearly, beyond its last voxels as at them."""
    resample = sitk.ResampleImageFilter()
    resample.SetReferenceImage(like)
    resample.SetUseNearestNeighborExtrapolator(True)
    return resample.Execute(field)
