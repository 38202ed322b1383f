"""One spatial transform of a registration: from points of the fixed image to the moving image."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lungitude.job import whole

INTERPOLATORS = {
    "linear": sitk.sitkLinear,
    "nearest": sitk.sitkNearestNeighbor,
    "bspline": sitk.sitkBSpline,
}
SUFFIXES = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
AIR_HU = -1024.0
UNSIGNED = (sitk.sitkUInt8, sitk.sitkUInt16, sitk.sitkUInt32, sitk.sitkUInt64)

_FINER = 2  # of the grid of an inverse


class Transform:
    """A composite of linear maps and displacement fields in physical space (LPS, mm).

    Parameters
    ----------
    transform : SimpleITK.Transform
        Maps a point of the fixed image to the corresponding point of the moving image.

    Notes
    -----
    The pull-back convention of ITK: what maps points forwards, from fixed to moving, resamples
    images backwards, from moving onto the fixed grid. Any transform that plain
    `SimpleITK.ReadTransform` reads can be wrapped; displacement fields are zero outside their grid.
    """

    def __init__(self, transform):
        self.sitk = transform

    def resample(self, moving, like, interpolator="linear", default=None):
        """Resample an image of the moving space onto the grid of `like`.

        Parameters
        ----------
        moving, like : SimpleITK.Image
            Image to warp; image (or label map) that gives the grid.
        interpolator : {"linear", "nearest", "bspline"}
            Use "nearest" for label maps.
        default : float, optional
            Value outside the moving image; air (-1024 HU), or 0 if `moving` is unsigned: labels.

        Returns
        -------
        SimpleITK.Image
            Pixel type of `moving`.
        """
        if interpolator not in INTERPOLATORS:
            raise ValueError(f"interpolator {interpolator!r} is none of {', '.join(INTERPOLATORS)}")
        if default is None:
            default = 0.0 if moving.GetPixelID() in UNSIGNED else AIR_HU
        return sitk.Resample(
            moving, like, self.sitk, INTERPOLATORS[interpolator], default, moving.GetPixelID()
        )

    def apply_points(self, points_mm):
        """Map points of the fixed image to the moving image.

        Parameters
        ----------
        points_mm : array_like, (n, 3)
            Physical points (x, y, z), LPS, mm.

        Returns
        -------
        ndarray of float, (n, 3)
        """
        points = np.asarray(points_mm, float)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"points_mm has shape {points.shape}, not (n, 3)")
        mapped = [self.sitk.TransformPoint(point) for point in points.tolist()]
        return np.array(mapped, float).reshape(-1, 3)

    def jacobian(self, like):
        """Take the determinant of the whole transform on the grid of `like`.

        Returns
        -------
        SimpleITK.Image of float64
            Moving volume per fixed volume: its mean over a fixed lung is V_moving / V_fixed.

        Notes
        -----
        The chain rule: the product of the determinants of the parts, each taken where the parts
        before it send the point. That of a displacement field is taken on its own nodes (central
        differences) and interpolated linearly.
        """
        total, factor = None, 1.0
        before = sitk.CompositeTransform(3)
        for part in reversed(parts(self.sitk)):  # the last part is applied first
            if part.IsLinear():
                factor *= _linear_determinant(part)
            else:
                here = sitk.Resample(
                    _field_determinant(_field(part)),
                    like,
                    before,
                    sitk.sitkLinear,
                    1.0,
                    sitk.sitkFloat64,
                )
                total = here if total is None else total * here
            # A composite applies its last part first, so what comes later goes to the front.
            before = sitk.CompositeTransform([part, *parts(before)])
        if total is None:
            total = sitk.Image(like.GetSize(), sitk.sitkFloat64) + 1.0
            total.CopyInformation(like)
        return total * factor

    def inverse(self, iterations=30, tolerance_mm=0.01):
        """Invert: points of the moving image to the fixed image.

        Displacement fields are inverted by fixed-point iteration, until the mean error of a round
        trip is below `tolerance_mm` or `iterations` are done, on a grid finer than their own: the
        inverse of a piecewise linear map has its kinks elsewhere.

        Returns
        -------
        Transform
        """
        inverted = []
        for part in reversed(parts(self.sitk)):
            if part.IsLinear():
                inverted.append(part.GetInverse())
            else:
                inverted.append(
                    sitk.DisplacementFieldTransform(
                        sitk.InvertDisplacementField(
                            sitk.Expand(_field(part), [_FINER] * 3),
                            maximumNumberOfIterations=iterations,
                            maxErrorToleranceThreshold=10 * tolerance_mm,
                            meanErrorToleranceThreshold=tolerance_mm,
                            enforceBoundaryCondition=True,
                        )
                    )
                )
        return Transform(sitk.CompositeTransform(inverted))

    def write(self, path):
        """Write a standard ITK transform file.

        Text (`.tfm`) keeps every digit and has the same bytes each time; HDF5 (`.h5`) is smaller,
        but its library adds the time and the operating system.
        """
        if Path(path).suffix not in SUFFIXES:
            raise ValueError(f"{path}: a transform file ends in one of {', '.join(SUFFIXES)}")
        with whole(path) as part:
            sitk.WriteTransform(self.sitk, str(part))


def read(path):
    """Read a transform file that ITK, ANTs, Slicer or `Transform.write` wrote."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such transform file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: empty, the registration of an excluded scan")
    try:
        return Transform(sitk.ReadTransform(str(path)))
    except RuntimeError as error:
        raise ValueError(f"{path}: not a transform file that ITK reads") from error


def parts(transform):
    """List the parts of a transform, nested composites opened, in ITK order: last applied first."""
    if transform.GetTransformEnum() != sitk.sitkComposite:
        return [transform.Downcast()] if hasattr(transform, "Downcast") else [transform]
    composite = sitk.CompositeTransform(transform)
    return [
        piece
        for number in range(composite.GetNumberOfTransforms())
        for piece in parts(composite.GetNthTransform(number))
    ]


def _field(part):
    """Return the displacement field of a part that is not linear."""
    if part.GetTransformEnum() != sitk.sitkDisplacementField:
        raise ValueError(
            f"a {part.GetName()} has neither Jacobian nor inverse here; "
            "turn it into a displacement field first"
        )
    return sitk.DisplacementFieldTransform(part).GetDisplacementField()


def _linear_determinant(part):
    """Return the determinant of a linear part, from the images of the unit vectors."""
    origin = np.array(part.TransformPoint((0.0, 0.0, 0.0)))
    units = [np.array(part.TransformPoint(tuple(unit))) - origin for unit in np.eye(3).tolist()]
    return float(np.linalg.det(np.array(units)))


def _field_determinant(field):
    """Return the determinant of x + u(x) on the nodes of a field of any direction cosines."""
    displacement = sitk.GetArrayFromImage(field).astype(float)  # (z, y, x, component)
    direction = np.array(field.GetDirection()).reshape(3, 3)
    # Derivatives along index axes need displacements along those axes, too.
    displacement = displacement @ direction
    matrix = np.empty((*displacement.shape[:3], 3, 3))
    for axis, spacing in enumerate(field.GetSpacing()):
        matrix[..., axis] = np.gradient(displacement, spacing, axis=2 - axis)
    matrix += np.eye(3)
    image = sitk.GetImageFromArray(np.linalg.det(matrix))
    image.CopyInformation(field)
    return image
