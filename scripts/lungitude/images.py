"""Images on disk and in memory: reading with checks, writing with equal bytes, one orientation.

An image is a ``SimpleITK.Image`` in HU; arrays are (z, y, x); points are (x, y, z) in mm, LPS.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lungitude.job import whole

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
CANONICAL = "LPS"  # x to the left, y to the back, z to the head: the axes of DICOM patients
PADDING_HU = -2048  # what scans hold outside their field of view after ingest

# Limits of a believable header. Generous: they stop nonsense, not unusual scans.
SPACING_MM = (0.01, 100.0)
MAX_VOXELS = 2**31
GRID_TOLERANCE_MM = 1e-2

_NIFTI_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
_CHUNK = 1 << 22


class ScanError(ValueError):
    """A file that can't be used as a scan.

    Parameters
    ----------
    path : path
        The file or folder.
    fault : str
        What is wrong with it, and what to do; holds no path and no text of the file's header, so
        that it may be shown in reports.
    """

    def __init__(self, path, fault):
        super().__init__(f"{path}: {fault}")
        self.fault = fault


def read(path):
    """Read an image in HU.

    Parameters
    ----------
    path : path
        NIfTI, NRRD, MHA/MHD, or a folder with one CT series in DICOM.

    Returns
    -------
    SimpleITK.Image
        int16 where that holds every value, else float32; orientation as the file says.

    Raises
    ------
    ScanError
        A ValueError that names the file and its fault: missing, truncated, corrupt, not 3-D,
        absurd spacing or size, values that are not finite.
    """
    path = Path(path)
    if path.is_dir():
        from lungitude import dicom  # late: pydicom is of no use to jobs that read NIfTI

        return dicom.read(path)[0]
    return _lean(_read_file(path), path)


def read_labels(path, like=None):
    """Read a label map.

    Parameters
    ----------
    path : path
        NIfTI, NRRD or MHA/MHD; whole numbers, also when stored as float.
    like : SimpleITK.Image, optional
        The image whose grid the labels must have.

    Returns
    -------
    SimpleITK.Image
        uint8 where that holds every label, else uint16.

    Raises
    ------
    ScanError, ValueError
        As `read`; labels that are negative, broken numbers or above 65535; another grid.
    """
    path = Path(path)
    return labels_like(_read_file(path), like, path)


def labels_like(image, like, path):
    """Return an image as the label map that `read_labels` makes of the file at `path`."""
    values = sitk.GetArrayViewFromImage(image)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (math.isfinite(low) and math.isfinite(high) and low >= 0 and high <= 65535):
        raise ScanError(path, f"labels must lie in 0..65535, found {low:g}..{high:g}")
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise ScanError(path, "labels must be whole numbers; is this an image in HU?")
    image = sitk.Cast(image, sitk.sitkUInt8 if high <= 255 else sitk.sitkUInt16)
    if like is not None:
        image = sitk.DICOMOrient(image, orientation(like))  # as other software left its axes
        check_grid(like, image, f"label map {path.name}")
    return image


def read_cycle(path):
    """Read the phases of a cardiac cycle from a 4-D file; the last axis is time.

    Returns
    -------
    list of SimpleITK.Image
        3-D each, on one grid; pixel type and orientation as the file says.

    Raises
    ------
    ScanError
        As `read`; a file with fewer than two phases.
    """
    path = Path(path)
    image = _read_file(path, phases=True)
    if image.GetDimension() != 4:
        raise ScanError(path, "one phase only; a cardiac cycle is a 4-D file, time last")
    if not np.isfinite(sitk.GetArrayViewFromImage(image)).all():
        raise ScanError(path, "holds values that are not finite (NaN or infinite)")
    phases = [image[:, :, :, k] for k in range(image.GetSize()[3])]
    check_geometry(phases[0], path)
    return phases


def join_cycle(phases):
    """Return phases on one grid as a 4-D image, as `write` and `read_cycle` take and give it."""
    return sitk.JoinSeries(list(phases))


def write(image, path, slope=None):
    """Write an image; the same image gives the same bytes, and no metadata goes with it.

    Parameters
    ----------
    image : SimpleITK.Image
    path : path
        ``.nii.gz`` (no time stamp, fast compression) or another suffix of `SUFFIXES`.
    slope : float, optional
        What a stored value stands for, in a ``.nii.gz``: readers multiply by it.
    """
    path = Path(path)
    image = sitk.Image(image)
    for key in image.GetMetaDataKeys():  # header comments can hold names
        image.EraseMetaData(key)
    with whole(path) as part:
        if path.name.endswith(".nii.gz"):
            plain = part.with_name("plain.nii")
            sitk.WriteImage(image, str(plain))
            stored = bytearray(plain.read_bytes())
            if slope is not None:  # ITK writes none
                struct.pack_into("<2f", stored, 112, slope, 0.0)
            with open(part, "wb") as raw, gzip.GzipFile("", "wb", 3, raw, mtime=0) as packed:
                packed.write(stored)
        else:
            sitk.WriteImage(image, str(part), useCompression=path.suffix in (".nrrd", ".mha"))


class _Kept:
    """Voxels together with the image that owns them: a bare view would outlive its memory."""

    def __init__(self, image):
        self.__array_interface__ = sitk.GetArrayViewFromImage(image).__array_interface__
        self.image = image


def array(image):
    """Return a read-only view of the voxels, (z, y, x); it keeps the image alive."""
    return np.asarray(_Kept(image))


def from_array(values, like):
    """Return an image of `values` (z, y, x) on the grid of `like`.

    Raises
    ------
    ValueError
        `values` has another shape than the grid.
    """
    values = np.asarray(values)
    if values.shape != like.GetSize()[::-1]:
        raise ValueError(f"array {values.shape} does not fit the grid {like.GetSize()[::-1]} (zyx)")
    if values.dtype == bool:
        values = values.view(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(values))
    image.CopyInformation(like)
    return image


def spacing_zyx(image):
    """Return voxel spacing in mm in the order of array axes."""
    return image.GetSpacing()[::-1]


def voxel_ml(image):
    """Return the volume of a voxel in ml."""
    return math.prod(image.GetSpacing()) / 1000.0


def canonical(image):
    """Return the image with axes permuted and flipped to `CANONICAL`; voxels keep their place."""
    return sitk.DICOMOrient(image, CANONICAL)


def orientation(image):
    """Return the orientation code of the axes, such as LPS."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def restore(image, like):
    """Undo `canonical`: return `image` with the axes of `like`, whose grid it then has."""
    image = sitk.DICOMOrient(image, orientation(like))
    check_grid(like, image, "canonical image")
    image.CopyInformation(like)  # drops rounding of the two flips
    return image


def check_grid(image, other, name="label map"):
    """Raise ValueError unless both images have the same grid (corners within 0.01 mm)."""
    if image.GetDimension() != other.GetDimension() or image.GetSize() != other.GetSize():
        raise ValueError(
            f"{name} is on another grid: size {other.GetSize()}, image {image.GetSize()}"
        )
    last = [n - 1 for n in image.GetSize()]
    for axis in range(-1, image.GetDimension()):
        corner = [n if axis == i else 0 for i, n in enumerate(last)]
        here = image.TransformIndexToPhysicalPoint(corner)
        there = other.TransformIndexToPhysicalPoint(corner)
        if not math.dist(here, there) <= GRID_TOLERANCE_MM:
            raise ValueError(
                f"{name} is on another grid: corner {tuple(round(v, 2) for v in there)} mm, "
                f"image {tuple(round(v, 2) for v in here)} mm; resample it first"
            )


def check_geometry(image, path):
    """Raise ScanError when size, spacing or direction of an image are absurd."""
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise ScanError(path, f"{image.GetDimension()} dimensions, needs 3")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ScanError(path, "several values a voxel (colour or vectors), needs one")
    _check_numbers(path, image.GetSize(), image.GetSpacing(), image.GetOrigin())
    direction = np.reshape(image.GetDirection(), (3, 3))
    if not np.allclose(direction @ direction.T, np.eye(3), atol=1e-3):
        raise ScanError(path, "direction cosines are not orthonormal")
    return image


def _check_numbers(path, size, spacing, origin):
    if min(size) < 2 or math.prod(size) > MAX_VOXELS:
        raise ScanError(path, f"size {tuple(size)} is absurd, needs 2 voxels or more on each axis")
    for value in spacing:
        if not (math.isfinite(value) and SPACING_MM[0] <= value <= SPACING_MM[1]):
            raise ScanError(path, f"spacing {tuple(f'{v:g}' for v in spacing)} mm is absurd")
    if not all(math.isfinite(value) and abs(value) < 1e5 for value in origin):
        raise ScanError(path, "origin is absurd or not finite")


def _read_file(path, phases=False):
    if not path.exists():
        raise ScanError(path, "no such file")
    if not path.name.lower().endswith(SUFFIXES):
        raise ScanError(path, f"unknown kind of file; known: folder of DICOM, {' '.join(SUFFIXES)}")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _check_nifti(path, phases)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ScanError(path, f"can't be read: {_reason(error)}") from error
    if phases and image.GetDimension() == 4:
        return image
    return check_geometry(image, path)


def _reason(error):
    """Return a short cause from the long text of an ITK exception, without paths."""
    text = str(error)
    for sign, meaning in (
        ("fread got only", "truncated"),
        ("bytes but received", "truncated"),
        ("not read completely", "truncated"),
        ("No such file", "truncated, or its data file is missing"),
        ("Unable to determine", "not an image, or its header is corrupt"),
        ("inflate", "corrupt"),
    ):
        if sign in text:
            return meaning
    return "corrupt or truncated"


def _check_nifti(path, phases=False):
    """Check header and length of a NIfTI file.

    ITK silently reads a truncated file as zeros, NaN as 0 and an absurd spacing as 1 mm: so the
    header is judged as stored, and the whole stream is inflated once (its checksum, too).
    """
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with (gzip.open if packed else open)(path, "rb") as file:
            header = file.read(352)
            if len(header) < 348:
                raise ScanError(path, "truncated: the header is not whole")
            offset, expected, kind = _nifti_layout(path, header, phases)
            found = len(header) + len(file.read(offset - len(header)))
            while chunk := file.read(_CHUNK):
                found += len(chunk)
                if kind is not None and not _finite(chunk, kind):
                    raise ScanError(path, "holds values that are not finite (NaN or infinite)")
    except EOFError as error:
        raise ScanError(path, "truncated: the compressed stream ends early") from error
    except (OSError, zlib.error) as error:
        raise ScanError(path, f"corrupt: {type(error).__name__} while inflating") from error
    if found < expected:
        raise ScanError(path, f"truncated: {found} of {expected} bytes")


def _finite(chunk, kind):
    width = np.dtype(kind).itemsize
    return bool(np.isfinite(np.frombuffer(chunk[: len(chunk) // width * width], kind)).all())


def _nifti_layout(path, header, phases=False):
    """Judge a header; return where voxels begin and end, and their type if it is a float."""
    order = next((o for o in "<>" if struct.unpack_from(o + "i", header)[0] in (348, 540)), None)
    if order is None:
        raise ScanError(path, "not a NIfTI file (header size)")
    if struct.unpack_from(order + "i", header)[0] == 540:
        raise ScanError(path, "NIfTI-2 is not supported; convert to NIfTI-1")
    if header[344:348] != b"n+1\0":
        raise ScanError(path, "not a single-file NIfTI-1 (magic)")
    dim = struct.unpack_from(order + "8h", header, 40)
    pixdim = struct.unpack_from(order + "8f", header, 76)
    kind = struct.unpack_from(order + "h", header, 70)[0]
    offset, slope, intercept = struct.unpack_from(order + "3f", header, 108)
    qform, sform = struct.unpack_from(order + "2h", header, 252)
    numbers = struct.unpack_from(order + "18f", header, 256)
    times = dim[4] if phases and dim[0] >= 4 else 1
    if not 3 <= dim[0] <= 7 or any(n > 1 for n in dim[(5 if phases else 4) : dim[0] + 1]):
        raise ScanError(path, f"{dim[0]} dimensions {dim[1:]}, needs 3")
    if kind not in _NIFTI_BITS:
        raise ScanError(path, f"NIfTI data type {kind} is not supported")
    origin = numbers[3:6] if qform > 0 else (0.0,)
    if sform > 0:
        origin = (*origin, numbers[9], numbers[13], numbers[17])
        if not all(map(math.isfinite, numbers[6:18])):
            raise ScanError(path, "affine (sform) is not finite")
    if qform > 0 and not all(map(math.isfinite, numbers[:6])):
        raise ScanError(path, "affine (qform) is not finite")
    # Units may be metres or micrometres; ITK scales them, so scale before judging.
    scale = {1: 1000.0, 3: 0.001}.get(header[123] & 7, 1.0)
    _check_numbers(path, dim[1:4], [v * scale for v in pixdim[1:4]], [v * scale for v in origin])
    if not (math.isfinite(offset) and 352 <= offset < 1e9):
        raise ScanError(path, "data offset in the header is absurd")
    if math.isinf(slope) or math.isinf(intercept):  # NaN and 0 mean: no scaling
        raise ScanError(path, "scaling in the header is absurd")
    size = math.prod(dim[1:4]) * times * _NIFTI_BITS[kind] // 8
    return int(offset), int(offset) + size, {16: order + "f4", 64: order + "f8"}.get(kind)


def _lean(image, path):
    """Return the image as int16 where that is exact, else as float32."""
    if image.GetPixelID() == sitk.sitkInt16:
        return image
    values = sitk.GetArrayViewFromImage(image)
    low, high = values.min(), values.max()
    if not (math.isfinite(low) and math.isfinite(high)):  # min of NaN is NaN
        raise ScanError(path, "holds values that are not finite (NaN or infinite)")
    fits = low >= -32768 and high <= 32767
    if fits and (values.dtype.kind != "f" or np.array_equal(values, np.rint(values))):
        return sitk.Cast(image, sitk.sitkInt16)
    return sitk.Cast(image, sitk.sitkFloat32)
