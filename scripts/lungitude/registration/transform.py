"""One spatial transform of a registration: from points of the fixed image to the moving image."""

import math
from pathlib import Path

import numba
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

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
_STEP_VOX = 4.0  # longest step of its search: a longer one leaves the fold that it started in
_MIN_DETERMINANT = 0.02  # below, a Newton step leads astray


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
    `SimpleITK.ReadTransform` reads can be wrapped; displacement fields are interpolated linearly
    and zero outside their grid.
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

    def resample_mass(self, moving, like):
        """Resample densities so that tissue keeps its mass: expiration as if at inspiration.

        Parameters
        ----------
        moving : SimpleITK.Image
            HU; mass per volume is HU + 1000.
        like : SimpleITK.Image

        Returns
        -------
        SimpleITK.Image of float32
            (HU + 1000) J - 1000, J the Jacobian determinant: moving volume per fixed volume.
            Compared with the fixed image it shows where air went; trapped air stays denser.
        """
        density = sitk.Cast(self.resample(moving, like), sitk.sitkFloat32) + 1000.0
        return density * sitk.Cast(self.jacobian(like), sitk.sitkFloat32) - 1000.0

    def apply_points(self, points_mm):
        """Map points of the fixed image to the moving image.

        Parameters
        ----------
        points_mm : array_like, (n, 3)
            Physical points (x, y, z), LPS, mm.

        Returns
        -------
        ndarray of float, (n, 3)

        Notes
        -----
        All points at once; the same numbers as ITK's own, to 1e-6 mm.
        """
        points = np.array(points_mm, float)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"points_mm has shape {points.shape}, not (n, 3)")
        for part in reversed(parts(self.sitk)):  # the last part is applied first
            if part.IsLinear():
                matrix, offset = _linear(part)
                points = points @ matrix.T + offset
            elif part.GetTransformEnum() == sitk.sitkDisplacementField:
                points += _sampled(_field(part), points)
            else:
                mapped = [part.TransformPoint(point) for point in points.tolist()]
                points = np.array(mapped, float).reshape(-1, 3)
        return points

    def compose(self, after):
        """Chain two transforms: points go through this one, then through `after`.

        Parameters
        ----------
        after : Transform
            Begins in the space where this one ends. With this one from baseline to week 6 and
            `after` from week 6 to week 12, the result goes from baseline to week 12.

        Returns
        -------
        Transform
        """
        return Transform(sitk.CompositeTransform([*parts(after.sitk), *parts(self.sitk)]))

    def displacement(self, like):
        """Sample the whole transform on the grid of `like`.

        Returns
        -------
        SimpleITK.Image of float64 vectors
            Mapped minus fixed point, (x, y, z) in mm.
        """
        return sitk.TransformToDisplacementField(
            self.sitk,
            sitk.sitkVectorFloat64,
            like.GetSize(),
            like.GetOrigin(),
            like.GetSpacing(),
            like.GetDirection(),
        )

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
                factor *= float(np.linalg.det(_linear(part)[0]))
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

    def inverse(self, iterations=50, tolerance_mm=0.001):
        """Invert: points of the moving image to the fixed image.

        Returns
        -------
        Transform

        Notes
        -----
        A node of an inverse field is found by Newton steps, until it is sent within `tolerance_mm`
        of where it should be or `iterations` are done. Plain fixed-point iteration fails where a
        breath stretches lung to more than twice its length. The nodes are finer than those of the
        field, because the inverse of a piecewise linear map has its kinks elsewhere, and reach as
        far beyond its grid as it moves points there. Where a field folds, one of the answers.
        """
        inverted = []
        for part in reversed(parts(self.sitk)):
            if part.IsLinear():
                inverted.append(part.GetInverse())
            else:
                field = _inverse_field(_field(part), iterations, tolerance_mm)
                inverted.append(sitk.DisplacementFieldTransform(field))
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


def _linear(part):
    """Return matrix and offset of a linear part, from the images of the unit vectors."""
    origin = np.array(part.TransformPoint((0.0, 0.0, 0.0)))
    units = [np.array(part.TransformPoint(tuple(unit))) - origin for unit in np.eye(3).tolist()]
    return np.array(units).T, origin


def _sampled(field, points):
    """Return the displacement at points (n, 3), linear between nodes and 0 outside, as in ITK."""
    axes = np.reshape(field.GetDirection(), (3, 3)) * np.array(field.GetSpacing())
    index = (points - np.array(field.GetOrigin())) @ np.linalg.inv(axes).T
    inside = ((index >= -0.5) & (index < np.array(field.GetSize()) - 0.5)).all(axis=1)
    values = sitk.GetArrayViewFromImage(field)
    found = np.zeros_like(points)
    where = index[inside, ::-1].T
    for axis in range(3):
        found[inside, axis] = ndimage.map_coordinates(
            values[..., axis], where, order=1, mode="nearest", output=float
        )
    return found


def _inverse_field(field, iterations, tolerance_mm):
    """Return the displacement field of the inverse of x + u(x)."""
    spacing = np.array(field.GetSpacing())
    axes = np.reshape(field.GetDirection(), (3, 3)) * spacing
    # Displacement along the index axes, in voxels of the field.
    steps = sitk.GetArrayFromImage(field).astype(float) @ np.linalg.inv(axes).T
    rim = steps.copy()
    rim[1:-1, 1:-1, 1:-1] = 0.0
    beyond = np.ceil(np.abs(rim).max(axis=(0, 1, 2))).astype(int)
    size = (np.array(field.GetSize()) + 2 * beyond - 1) * _FINER + 1
    found = np.zeros((*size[::-1], 3))
    _invert(steps, spacing, -beyond.astype(float), 1.0 / _FINER, iterations, tolerance_mm, found)
    inverse = sitk.GetImageFromArray(found @ axes.T, isVector=True)
    inverse.SetDirection(field.GetDirection())
    inverse.SetSpacing((spacing / _FINER).tolist())
    inverse.SetOrigin((np.array(field.GetOrigin()) - axes @ beyond).tolist())
    return inverse


@numba.njit(cache=True)
def _invert(steps, spacing, first, pitch, iterations, tolerance_mm, found):
    """Find, for each node y of a grid, the v with u(y + v) = -v; all in voxels of `steps`.

    `first` is the index (x, y, z) of the first node, `pitch` the way to the next one. The search
    begins where the neighbours point to, and again from nothing if that leads nowhere.
    """
    nz, ny, nx, _ = found.shape
    here, target, value, slope = np.empty(3), np.empty(3), np.empty(3), np.empty((3, 3))
    for k in range(nz):
        for j in range(ny):
            for i in range(nx):
                target[0] = first[0] + pitch * i
                target[1] = first[1] + pitch * j
                target[2] = first[2] + pitch * k
                best = np.inf
                for attempt in range(2):
                    for a in range(3):
                        here[a] = target[a]
                        if attempt == 0 and i > 0:
                            here[a] += 2 * found[k, j, i - 1, a] - found[k, j, max(i - 2, 0), a]
                    for _ in range(iterations):
                        _look(steps, here, value, slope)
                        error = 0.0
                        for a in range(3):
                            value[a] += here[a] - target[a]
                            error += (value[a] * spacing[a]) ** 2
                        if error < best:
                            best = error
                            for a in range(3):
                                found[k, j, i, a] = here[a] - target[a]
                        if error < tolerance_mm**2:
                            break
                        _advance(here, value, slope)
                    if best < tolerance_mm**2:
                        break


@numba.njit(cache=True)
def _look(steps, at, value, slope):
    """Displacement and its derivatives at an index (x, y, z), as at the border beyond it."""
    x0, x1, wx, mx = _cell(at[0], steps.shape[2])
    y0, y1, wy, my = _cell(at[1], steps.shape[1])
    z0, z1, wz, mz = _cell(at[2], steps.shape[0])
    for a in range(3):
        near, far = steps[z0, y0, x0, a], steps[z0, y0, x1, a]
        low, dx00 = near + wx * (far - near), far - near
        near, far = steps[z0, y1, x0, a], steps[z0, y1, x1, a]
        high, dx01 = near + wx * (far - near), far - near
        below, dy0, dx0 = low + wy * (high - low), high - low, dx00 + wy * (dx01 - dx00)
        near, far = steps[z1, y0, x0, a], steps[z1, y0, x1, a]
        low, dx10 = near + wx * (far - near), far - near
        near, far = steps[z1, y1, x0, a], steps[z1, y1, x1, a]
        high, dx11 = near + wx * (far - near), far - near
        above, dy1, dx1 = low + wy * (high - low), high - low, dx10 + wy * (dx11 - dx10)
        value[a] = below + wz * (above - below)
        slope[a, 0] = mx * (dx0 + wz * (dx1 - dx0))
        slope[a, 1] = my * (dy0 + wz * (dy1 - dy0))
        slope[a, 2] = mz * (above - below)


@numba.njit(cache=True)
def _cell(place, size):
    """Return the two nodes around a place on an axis, its share between, and 0. beyond the ends."""
    inside = 1.0 if 0.0 <= place <= size - 1 else 0.0
    place = min(max(place, 0.0), size - 1.0)
    low = max(min(int(place), size - 2), 0)
    return low, min(low + 1, size - 1), place - low, inside


@numba.njit(cache=True)
def _advance(here, error, slope):
    """Take a Newton step against an error, or the error itself where the map is almost flat."""
    for a in range(3):
        slope[a, a] += 1.0
    (a, b, c), (d, e, f), (g, h, i) = slope[0], slope[1], slope[2]
    ei, di, dh = e * i - f * h, d * i - f * g, d * h - e * g
    determinant = a * ei - b * di + c * dh
    x, y, z = error
    if determinant > _MIN_DETERMINANT:
        x, y, z = (
            (ei * x + (c * h - b * i) * y + (b * f - c * e) * z) / determinant,
            (-di * x + (a * i - c * g) * y + (c * d - a * f) * z) / determinant,
            (dh * x + (b * g - a * h) * y + (a * e - b * d) * z) / determinant,
        )
    length = math.sqrt(x * x + y * y + z * z)
    shorter = min(1.0, _STEP_VOX / length) if length > 0.0 else 1.0
    here[0] -= shorter * x
    here[1] -= shorter * y
    here[2] -= shorter * z


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
