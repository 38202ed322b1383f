"""Vessels inside the lungs without a network: tubes by the Hessian at several scales."""

import math

import cc3d
import numba
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungitude import images, segmentation
from lungitude.classical import airways as central

VESSEL = 1
SCALES_MM = (0.8, 1.3, 2.2, 3.6)  # of the Gaussian: vessels of radii of about 0.6 to 5 mm
LEAST_VOXELS = 0.7  # of the finest scale
COARSE_SCALE_MM, COARSE_MM = 2.0, 1.5  # from that scale on, voxels up to this are enough
BLOOD_HU = 45.0
CLIP_HU = (-1024, 100)
ABOVE_LUNG_HU = 40.0  # of the smoothed image, where tubes are sought
TUBE_HU, TUBE_NOISE = 30.0, 1.1  # least response, and in noise; what holds on has twice that
SEED = 2.0
LEAST_MM3 = 15.0
MARGIN_MM = 5.0


def vessels(ct, lungs, airways=None):
    """Segment the vessels inside the lungs.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU, any orientation.
    lungs : SimpleITK.Image
        Label map on the same grid, nonzero in the lungs, vessels included.
    airways : SimpleITK.Image, optional
        Label map of lumen and wall on the same grid, which no vessel may take; else that of
        `airways.airways`.

    Returns
    -------
    SimpleITK.Image
        uint8 on the grid of `ct`: 1 vessel. Arteries and veins aren't told apart: no threshold or
        shape does that. So 1 isn't artery here, as it is in the labels of a network.

    Raises
    ------
    ValueError
        Another grid; no lung.

    Notes
    -----
    The response of a scale is its variance times the second eigenvalue of the Hessian, negative in
    bright tubes [1]_, in HU; the largest of four scales counts. Where it exceeds 30 HU, or 1.1
    times the noise, and somewhere in the same piece twice that, a voxel above the half level
    between lung and its brightest neighbour is vessel; so is all above half of blood deep in the
    lungs. HU outside the lungs and in their outermost voxels are taken for lung, so that the
    pleura has no edge. Pieces under
    15 mm^3 are dropped.

    Nodules and consolidations count as vessels, and so do walls of airways too thin for
    `airways.airways`.

    References
    ----------
    .. [1] Sato et al. 1998, Med Image Anal 2:143-168.
    """
    images.check_grid(ct, lungs, "lungs")
    if airways is None:
        airways = central.airways(ct, lungs)
    images.check_grid(ct, airways, "airways")
    axes = images.canonical(ct)
    mask = images.array(images.canonical(lungs)) > 0
    if not mask.any():
        raise ValueError("no lung in the label map")
    box = segmentation.bounding_box(mask, images.spacing_zyx(axes), MARGIN_MM)
    taken = images.array(images.canonical(airways))[box] > 0
    low, size = [int(s.start) for s in box[::-1]], [int(s.stop - s.start) for s in box[::-1]]
    part = sitk.RegionOfInterest(axes, size, low)
    result = np.zeros(axes.GetSize()[::-1], np.uint8)
    result[box] = _segment(part, mask[box], taken)
    return images.restore(images.from_array(result, axes), ct)


def _segment(axes, lungs, taken):
    """Return vessels (bool) of a canonical image, in `lungs` and not where airways are."""
    hu, spacing = images.array(axes), images.spacing_zyx(axes)
    level = float(np.median(hu[lungs]))
    least = max(TUBE_HU, TUBE_NOISE * central.noise(hu))
    values = np.clip(hu, *CLIP_HU).astype(np.float32)
    inside = _eroded(lungs)
    values[~inside] = level
    inside &= ~taken
    response = np.zeros(hu.shape, np.float32)
    every = [max(1, int(COARSE_MM / s)) for s in spacing]
    fine = [s for s in SCALES_MM if s < COARSE_SCALE_MM or max(every) == 1]
    for scale in fine:
        _add_scale(values, inside, level, spacing, scale, response)
    if len(fine) < len(SCALES_MM):
        coarse = sitk.BinShrink(images.from_array(values, axes), every[::-1])
        thin = images.array(coarse)
        where = np.ones(thin.shape, bool)
        found = np.zeros(thin.shape, np.float32)
        for scale in SCALES_MM[len(fine) :]:
            _add_scale(thin, where, level, images.spacing_zyx(coarse), scale, found)
        _join(response, found, np.array(every), inside)
    half = 0.5 * (BLOOD_HU + level)
    tube = np.zeros(hu.shape, np.uint8)
    _decide(values, response, inside, level, half, least, SEED * least, tube)
    return _pieces(tube, math.prod(spacing))


def _eroded(mask):
    """Return a mask without its outermost voxels, which hold tissue beside the lung."""
    inner = mask.copy()
    for axis in range(3):
        thin, whole = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        thin[1:] &= whole[:-1]
        thin[:-1] &= whole[1:]
    return inner


def _add_scale(values, where, level, spacing, scale, response):
    """Raise `response` to that of one scale, in place."""
    sigma = max(scale, LEAST_VOXELS * max(spacing))
    smooth = ndimage.gaussian_filter(values, [sigma / s for s in spacing], truncate=3.0)
    _tubes(smooth, where, level + ABOVE_LUNG_HU, np.array(spacing), sigma * sigma, response)


@numba.njit(cache=True)
def _tubes(g, where, above, spacing, variance, response):
    """Variance times the second eigenvalue of the Hessian, sign turned, where that is larger."""
    nz, ny, nx = g.shape
    dz, dy, dx = 1.0 / spacing[0], 1.0 / spacing[1], 1.0 / spacing[2]
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                if not where[z, y, x] or g[z, y, x] < above:
                    continue
                twice = 2.0 * g[z, y, x]
                a = (g[z + 1, y, x] + g[z - 1, y, x] - twice) * dz * dz
                b = (g[z, y + 1, x] + g[z, y - 1, x] - twice) * dy * dy
                c = (g[z, y, x + 1] + g[z, y, x - 1] - twice) * dx * dx
                if a + b + c >= 0.0:
                    continue
                d = g[z + 1, y + 1, x] + g[z - 1, y - 1, x]
                d = (d - g[z + 1, y - 1, x] - g[z - 1, y + 1, x]) * 0.25 * dz * dy
                e = g[z + 1, y, x + 1] + g[z - 1, y, x - 1]
                e = (e - g[z + 1, y, x - 1] - g[z - 1, y, x + 1]) * 0.25 * dz * dx
                f = g[z, y + 1, x + 1] + g[z, y - 1, x - 1]
                f = (f - g[z, y + 1, x - 1] - g[z, y - 1, x + 1]) * 0.25 * dy * dx
                found = -variance * _middle(a, b, c, d, e, f)
                response[z, y, x] = max(response[z, y, x], found)


@numba.njit(cache=True)
def _middle(a, b, c, d, e, f):
    """Middle eigenvalue of the symmetric matrix ((a d e) (d b f) (e f c))."""
    mean = (a + b + c) / 3.0
    a, b, c = a - mean, b - mean, c - mean
    spread = math.sqrt((a * a + b * b + c * c + 2.0 * (d * d + e * e + f * f)) / 6.0)
    if spread < 1e-9:
        return mean
    det = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    angle = math.acos(min(max(det / (2.0 * spread**3), -1.0), 1.0)) / 3.0
    # The largest is at `angle`, the smallest at +120 degrees, and the three sum to 0.
    return mean + 2.0 * spread * math.cos(angle - 2.0 * math.pi / 3.0)


@numba.njit(cache=True)
def _join(response, coarse, every, where):
    """Raise a response to that of a coarser grid, in place."""
    nz, ny, nx = coarse.shape
    for z in range(response.shape[0]):
        for y in range(response.shape[1]):
            for x in range(response.shape[2]):
                if where[z, y, x]:
                    k, j, i = z // every[0], y // every[1], x // every[2]
                    if k < nz and j < ny and i < nx:
                        response[z, y, x] = max(response[z, y, x], coarse[k, j, i])


@numba.njit(cache=True)
def _decide(values, response, inside, level, half, least, seed, tube):
    """Mark vessels as 1, and as 2 where they are sure, in place."""
    nz, ny, nx = values.shape
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                if not inside[z, y, x]:
                    continue
                here = values[z, y, x]
                dense = here > half
                if not dense and response[z, y, x] < least:
                    continue
                most, border = here, False
                for c in range(-1, 2):
                    for b in range(-1, 2):
                        for a in range(-1, 2):
                            most = max(most, values[z + c, y + b, x + a])
                            border |= not inside[z + c, y + b, x + a]
                if response[z, y, x] >= least and here >= 0.5 * (level + most):
                    tube[z, y, x] = 2 if response[z, y, x] >= seed else 1
                elif dense and not border:
                    tube[z, y, x] = 1


def _pieces(tube, voxel_mm3):
    """Return the pieces of a mask that are large enough and sure somewhere, bool."""
    pieces = cc3d.connected_components(tube > 0, connectivity=26)
    keep = np.bincount(pieces.ravel()) * voxel_mm3 >= LEAST_MM3
    sure = np.zeros(keep.size, bool)
    sure[pieces[tube == 2]] = True
    keep &= sure
    keep[0] = False
    return keep[pieces]
