"""What happens before the optimiser: working grid, rough masks, linear start, intensities."""

import itertools

import numpy as np
import SimpleITK as sitk
from scipy import interpolate, ndimage

_SPLINE_VOX = 8  # the reach of a cubic spline fades by 3.7 a voxel
_ASIDE_VOX = 0.01  # that an axis may stray


def working_grid(mask, spacing_mm, margin_mm):
    """Empty isotropic image around a mask, axes along the world axes whatever those of the mask.

    Parameters
    ----------
    mask : SimpleITK.Image
        Label map; nonzero is inside.
    spacing_mm, margin_mm : float

    Returns
    -------
    SimpleITK.Image of uint8, zeros, identity direction
    """
    corners = _corners(mask)
    low, high = corners.min(axis=0) - margin_mm, corners.max(axis=0) + margin_mm
    size = np.ceil((high - low) / spacing_mm).astype(int) + 1
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([float(spacing_mm)] * 3)
    grid.SetOrigin(low.tolist())
    return grid


def _corners(mask):
    """Physical corners of the box of the nonzero voxels, (8, 3)."""
    inside = sitk.GetArrayViewFromImage(mask) != 0
    ranges = []
    for axis in (2, 1, 0):
        others = tuple(k for k in range(3) if k != axis)
        hits = np.flatnonzero(inside.any(axis=others))
        if not hits.size:
            raise ValueError("the lung mask is empty")
        ranges.append((int(hits[0]), int(hits[-1])))
    points = [
        mask.TransformIndexToPhysicalPoint((i, j, k))
        for i in ranges[0]
        for j in ranges[1]
        for k in ranges[2]
    ]
    return np.array(points)


def to_grid(image, grid, default, transform=None, sharp=False):
    """Resample onto a grid as float32, averaging first where the grid is coarser.

    Without the averaging, thin vessels and noise alias into structure that isn't there. `sharp`
    interpolates by cubic splines: linear interpolation blurs as the two grids happen to lie, the
    fixed image unlike the moving one, and that bends maps. It takes a linear `transform`.
    """
    transform = transform or sitk.Transform(3, sitk.sitkIdentity)
    if sharp:
        image = _needed(image, grid, transform)
    image = sitk.Cast(image, sitk.sitkFloat32)
    coarse = np.array(grid.GetSpacing())[0]
    factors = [max(1, int(coarse / spacing)) for spacing in image.GetSpacing()]
    factors = [min(factor, size) for factor, size in zip(factors, image.GetSize(), strict=True)]
    if max(factors) > 1:
        image = sitk.BinShrink(image, factors)
    if sharp:
        return _splined(image, grid, transform, default)
    return sitk.Resample(image, grid, transform, sitk.sitkLinear, default, sitk.sitkFloat32)


def _splined(image, grid, transform, default):
    """Resample by cubic splines through a linear transform.

    Where each axis of the grid follows one of the image, as lungs start, that is one product of
    matrices an axis: a twentieth of the time of a spline in three dimensions.
    """
    first, along = _index_of(grid, image, transform)
    sizes = np.array(grid.GetSize())
    aside = np.abs(along - np.diag(np.diag(along))) * sizes
    if aside.max() > _ASIDE_VOX or min(image.GetSize()) < 4:
        return sitk.Resample(image, grid, transform, sitk.sitkBSpline3, default, sitk.sitkFloat32)
    values = sitk.GetArrayViewFromImage(image)
    for axis, size in enumerate(sizes):
        place = first[axis] + along[axis, axis] * np.arange(size)
        count = image.GetSize()[axis]
        # Clamped ends mirror what lies before them, as ITK does.
        nodes = interpolate.make_interp_spline(np.arange(count), np.eye(count), bc_type="clamped")
        weights = nodes(np.clip(place, 0, count - 1)).astype(np.float32)
        values = np.moveaxis(np.tensordot(weights, values, (1, 2 - axis)), 0, 2 - axis)
        outside = [slice(None)] * 3
        outside[2 - axis] = (place < -0.5) | (place > count - 0.5)
        values[tuple(outside)] = default
    made = sitk.GetImageFromArray(np.ascontiguousarray(values))
    made.CopyInformation(grid)
    return made


def _index_of(grid, image, transform):
    """Continuous index in an image of the first node of a grid, and of a step along each axis.

    Returns
    -------
    first : ndarray of float, (3,)
    along : ndarray of float, (3, 3)
        Row: axis of the image; column: axis of the grid.
    """

    def place(node):
        point = transform.TransformPoint(grid.TransformIndexToPhysicalPoint(node))
        return np.array(image.TransformPhysicalPointToContinuousIndex(point))

    first = place((0, 0, 0))
    return first, np.stack([place(tuple(e)) - first for e in np.eye(3, dtype=int).tolist()], axis=1)


def _needed(image, grid, transform):
    """Crop an image to what a linear transform takes a grid from, and what splines reach."""
    first, along = _index_of(grid, image, transform)
    corners = np.array(list(itertools.product(*((0, n - 1) for n in grid.GetSize()))))
    index = first + corners @ along.T
    size = np.array(image.GetSize())
    low = np.clip(np.floor(index.min(axis=0)).astype(int) - _SPLINE_VOX, 0, size - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + _SPLINE_VOX + 1, low + 1, size)
    return sitk.RegionOfInterest(image, (high - low).tolist(), low.tolist())


def inside(mask, grid, transform=None):
    """Fraction of each grid voxel inside a mask, (z, y, x) of float32."""
    return sitk.GetArrayFromImage(to_grid(mask != 0, grid, 0.0, transform))


def thinned(image, spacing_mm=3.0):
    """Average whole blocks of voxels up to about a spacing: enough to find the lungs in."""
    factors = [
        max(1, min(int(spacing_mm / spacing), size // 2))
        for spacing, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return sitk.Cast(sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), factors), sitk.sitkInt16)


def linear_start(fixed_mask, moving_mask, spacing_mm=4.0):
    """Find the translation and scale per axis that bring the lungs together, from masks alone.

    Centre and standard deviation of the masks along the world axes: no reliance on the origins of
    the two scans, and, unlike the extremes, hardly any on a few wrong voxels.

    Returns
    -------
    SimpleITK.AffineTransform
        From fixed to moving points.
    """
    centres, spreads = [], []
    for mask in (fixed_mask, moving_mask):
        grid = working_grid(mask, spacing_mm, spacing_mm)
        weight = inside(mask, grid).astype(float)
        origin = np.array(grid.GetOrigin())
        centre, spread = np.empty(3), np.empty(3)
        for axis in range(3):
            profile = weight.sum(axis=tuple(k for k in range(3) if k != 2 - axis))
            where = origin[axis] + spacing_mm * np.arange(profile.size)
            centre[axis] = np.average(where, weights=profile)
            spread[axis] = np.sqrt(np.average((where - centre[axis]) ** 2, weights=profile))
        centres.append(centre)
        spreads.append(spread)
    start = sitk.AffineTransform(3)
    start.SetMatrix(np.diag(spreads[1] / spreads[0]).ravel().tolist())
    start.SetCenter(centres[0].tolist())
    start.SetTranslation((centres[1] - centres[0]).tolist())
    return start


def local_contrast(hu, weight, spacing_mm, sigma_mm, floor_hu):
    """Normalise intensities by their local mean and standard deviation inside the lungs.

    Expiration makes lung denser, trapped air doesn't take part, and vessels stay as they are: what
    both breaths share is local contrast.

    Parameters
    ----------
    hu, weight : ndarray, (z, y, x)
        Attenuation; fraction of the voxel inside the lungs.
    sigma_mm : float
        Standard deviation of the Gaussian window.
    floor_hu : float
        Added to the local standard deviation, so that noise in empty lung isn't blown up.

    Returns
    -------
    ndarray of float32
        About -3 to 3; 0 outside.
    """
    sigma = sigma_mm / spacing_mm

    def smooth(values):
        return ndimage.gaussian_filter(values, sigma, mode="constant", truncate=3)

    total = np.maximum(smooth(weight), 1e-3)
    mean = smooth(weight * hu) / total
    variance = smooth(weight * (hu - mean) ** 2) / total
    contrast = weight * (hu - mean) / (np.sqrt(variance) + floor_hu)
    return np.clip(contrast, -4, 4).astype(np.float32)
