"""Rigid and affine registration by intensities: hearts between scans, by SimpleITK."""

import contextlib
import itertools

import numpy as np
import SimpleITK as sitk

from lungitude import images
from lungitude.registration.settings import HEART, complete

_KEPT = 3  # starts that are refined at the coarsest level
_CLIP_PCT = (0.5, 99.5)  # a histogram has no bins to waste on a few bright voxels
_LEAST_OVERLAP = 0.2  # of the smaller mask
_SMALLEST_STEP = 0.01  # of the longest one: where the search ends


def register_linear(
    fixed,
    moving,
    fixed_mask=None,
    moving_mask=None,
    kind="rigid",
    metric="mattes",
    spacing_mm=(8.0, 4.0, 2.5),
    reach_mm=20.0,
    reach_deg=10.0,
    iterations=60,
    bins=32,
    seed=1,
    threads=1,
):
    """Find the linear map that brings a moving image onto a fixed one.

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
        3-D, any modality, grid and direction cosines.
    fixed_mask, moving_mask : SimpleITK.Image, optional
        Nonzero where images are compared, on the grids of the images: the heart with 20 mm or more
        around it, where what breathes or lies on the table should have no say. Tight masks cost
        accuracy: lungs and fat around the heart say where it is.
    kind : {"rigid", "affine"}
    metric : {"mattes", "correlation"}
        Mutual information, for images of different contrast; correlation, for like ones.
    spacing_mm : sequence of float
        Voxel of each level, coarse to fine.
    reach_mm, reach_deg : float
        Starts are tried this far on each side of what world coordinates say, and of where the
        centres of masks (or images) meet.
    iterations : int
        At most, a level.
    bins : int
        Of the joint histogram of "mattes".
    seed, threads : int
        Nothing is drawn at random; sums of another number of threads differ in their last digits.

    Returns
    -------
    SimpleITK.Euler3DTransform or SimpleITK.AffineTransform
        From fixed to moving points.

    Raises
    ------
    ValueError
        Unknown kind or metric, no 3-D image, mask empty or on another grid, images without overlap.

    Notes
    -----
    Mutual information [1]_ over all voxels of a level. The coarsest level weighs all starts, by
    metric times overlap, refines the best few and goes on with the best; an affine map begins at
    the rigid one of the finest level: earlier, shear runs away.

    Checked on phantom hearts at known offsets in tests/unit/test_registration_linear.py.

    References
    ----------
    .. [1] Mattes et al. 2003, IEEE Trans Med Imaging 22:120-128.
    """
    complete("heart", {"backend": "linear", "kind": kind, "metric": metric})
    sides = [
        _checked(fixed, fixed_mask, "fixed"),
        _checked(moving, moving_mask, "moving"),
    ]
    centres = [centre_of(image, mask) for image, mask in sides]
    rigid = sitk.Euler3DTransform()
    rigid.SetCenter(centres[0].tolist())

    def level(step_mm):
        method = _method(metric, bins, iterations, step_mm, seed, threads)
        return _Level(method, [_coarse(image, mask, step_mm) for image, mask in finest])

    try:
        with _threads(threads):
            finest = [_coarse(image, mask, min(spacing_mm)) for image, mask in sides]
            first = level(spacing_mm[0])
            starts = _starts(rigid, centres[1] - centres[0], reach_mm, reach_deg)
            starts = sorted(starts, key=first.value)[:_KEPT]
            best = min((first.refined(start) for start in starts), key=first.value)
            last = first
            for step_mm in spacing_mm[1:]:
                last = level(step_mm)
                best = last.refined(best)
            if kind == "affine":
                best = min(best, last.refined(_affine(best)), key=last.value)
    except RuntimeError as error:
        raise ValueError(
            "linear registration failed: the images or their masks don't overlap, or hold one "
            "value only"
        ) from error
    return best


def refine_linear(fixed, moving, start, step_mm):
    """Improve a linear map at one voxel size, by mutual information.

    Parameters
    ----------
    fixed, moving : SimpleITK.Image
        3-D, any grid.
    start : SimpleITK.Euler3DTransform or SimpleITK.AffineTransform
        From fixed to moving points.
    step_mm : float

    Returns
    -------
    SimpleITK.Transform
        Of the kind of `start`; `start` itself where the images don't overlap.
    """
    try:
        with _threads(1):
            sides = [_coarse(*_checked(image, None, "image"), step_mm) for image in (fixed, moving)]
            names = ("metric", "bins", "iterations", "seed", "threads")
            method = _method(step_mm=step_mm, **{name: HEART[name] for name in names})
            return _Level(method, sides).refined(start)
    except RuntimeError:
        return start


@contextlib.contextmanager
def _threads(count):
    """Let ITK use so many threads: the metric doesn't heed those of its optimiser."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


class _Level:
    """Both images at one spacing, and the optimiser for them."""

    def __init__(self, method, sides):
        (self.fixed, fixed_mask), (self.moving, moving_mask) = sides
        self.method = method
        self.there = _ones(self.moving) if moving_mask is None else moving_mask
        self.here = _ones(self.fixed) if fixed_mask is None else fixed_mask
        method.SetMetricFixedMask(self.here)
        method.SetMetricMovingMask(self.there)
        ml = [images.voxel_ml(mask) * images.array(mask).sum() for mask in (self.here, self.there)]
        self.total = min(ml) / images.voxel_ml(self.here)

    def value(self, transform):
        """Metric of a transform times overlap, less is better; infinite where none is left."""
        common = sitk.Resample(self.there, self.here, transform, sitk.sitkNearestNeighbor, 0)
        overlap = float((images.array(common) & images.array(self.here)).sum()) / self.total
        if overlap < _LEAST_OVERLAP:
            return np.inf
        self.method.SetInitialTransform(transform, inPlace=False)
        return overlap * self.method.MetricEvaluate(self.fixed, self.moving)

    def refined(self, start):
        """Return the best transform of the kind of `start` near it."""
        self.method.SetInitialTransform(start, inPlace=False)
        found = self.method.Execute(self.fixed, self.moving)
        while found.GetTransformEnum() == sitk.sitkComposite:
            found = sitk.CompositeTransform(found).GetNthTransform(0)
        return type(start)(found)


def _checked(image, mask, name):
    """Return image and mask, or refuse them by name."""
    if not isinstance(image, sitk.Image) or image.GetDimension() != 3:
        raise ValueError(f"the {name} image is no 3-D SimpleITK image")
    if mask is not None:
        images.check_grid(image, mask, f"{name} mask")
        if not images.array(mask).any():
            raise ValueError(f"the {name} mask is empty")
        mask = sitk.Cast(mask != 0, sitk.sitkUInt8)
    low, high = np.percentile(images.array(image), _CLIP_PCT)
    if not low < high:
        raise ValueError(f"the {name} image holds one value only")
    return sitk.Clamp(sitk.Cast(image, sitk.sitkFloat32), sitk.sitkFloat32, low, high), mask


def centre_of(image, mask=None):
    """Physical centre of a mask, or of the grid."""
    if mask is None:
        index = (np.array(image.GetSize()) - 1) / 2.0
    else:
        index = np.argwhere(images.array(mask) != 0).mean(axis=0)[::-1]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(index.tolist()))


def _coarse(image, mask, step_mm):
    """Return image and mask at about a spacing; axes that are coarser keep their voxels."""
    spacing = np.array(image.GetSpacing())
    sizes = np.array(image.GetSize())
    # The blocks average, too; a filter needs 4 voxels.
    sigma = np.where((spacing < step_mm) & (sizes >= 4), 0.3 * step_mm, 0.0)
    for axis in np.flatnonzero(sigma):
        image = sitk.RecursiveGaussian(image, float(sigma[axis]), False, 0, int(axis))
    factors = np.maximum(1, np.rint(step_mm / spacing)).astype(int)
    factors = np.minimum(factors, np.maximum(1, sizes // 4)).tolist()
    # Whole blocks: picking every n-th voxel moves an image by half a voxel where n is even.
    if mask is not None:
        mask = sitk.BinShrink(sitk.Cast(mask, sitk.sitkFloat32), factors) >= 0.5
    return sitk.BinShrink(image, factors), mask


def _ones(image):
    """Return a mask of the whole grid."""
    mask = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    mask.CopyInformation(image)
    return mask


def _method(metric, bins, iterations, step_mm, seed, threads):
    """Return an optimiser whose steps are millimetres at the far side of the image."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(threads)
    if metric == "mattes":
        method.SetMetricAsMattesMutualInformation(bins)
    else:
        method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetMetricSamplingPercentage(1.0, seed)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=0.5 * step_mm,
        minStep=0.5 * step_mm * _SMALLEST_STEP,
        numberOfIterations=iterations,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _starts(rigid, between, reach_mm, reach_deg):
    """Poses about the world coordinates and about the meeting of the centres."""
    moves = [np.zeros(3), *(sign * reach_mm * unit for unit in np.eye(3) for sign in (1, -1))]
    turns = [np.zeros(3), *(sign * reach_deg * unit for unit in np.eye(3) for sign in (1, -1))]
    made = []
    for base, move, turn in itertools.product((np.zeros(3), between), moves, turns):
        start = sitk.Euler3DTransform(rigid)
        start.SetRotation(*np.radians(turn).tolist())
        start.SetTranslation((base + move).tolist())
        made.append(start)
    return made


def _affine(rigid):
    """Return a rigid map as an affine one."""
    made = sitk.AffineTransform(3)
    made.SetCenter(rigid.GetCenter())
    made.SetMatrix(rigid.GetMatrix())
    made.SetTranslation(rigid.GetTranslation())
    return made
