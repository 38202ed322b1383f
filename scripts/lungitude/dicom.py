"""Pick, check and read the one CT series of a DICOM folder.

Only allow-listed tags leave this module, and no message of it quotes a file name or a header text:
both can hold the name of a patient.
"""

import hashlib
import math
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import BytesLengthException, InvalidDicomError

from lungitude import images
from lungitude.images import ScanError

MIN_POSITIONS = 3  # fewer is a localiser or a bolus watch, not a volume
POSITION_TOLERANCE_MM = 0.01  # closer slices are duplicates
STEP_TOLERANCE_MM = 0.11  # positions are often rounded to 0.1 mm
STEP_TOLERANCE = 0.1  # of the slice distance
GAP = 1.5  # of the slice distance: slices are missing
ANGLE_TOLERANCE = 1e-3
TILT_TOLERANCE = 0.02  # sideways shift per slice distance, about 1 degree

# Tag -> key of scan.json. Numbers, coded terms, and names of machines and kernels; no date, no
# identifier, no description.
TEXT_TAGS = {
    "Modality": "modality",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "model",
    "ConvolutionKernel": "kernel",
    "PatientPosition": "patient_position",
    "FilterType": "filter",
}
NUMBER_TAGS = {
    "KVP": "kv",
    "SliceThickness": "slice_mm",
    "SpacingBetweenSlices": "slice_distance_mm",
    "XRayTubeCurrent": "tube_current_ma",
    "Exposure": "exposure_mas",
    "ReconstructionDiameter": "reconstruction_mm",
    "NominalPercentageOfCardiacPhase": "cardiac_phase_pct",
}
_GEOMETRY = (
    "SOPClassUID SOPInstanceUID SeriesInstanceUID ImageType Rows Columns PixelSpacing "
    "ImagePositionPatient ImageOrientationPatient RescaleSlope RescaleIntercept BitsAllocated "
    "SamplesPerPixel NumberOfFrames PixelPaddingValue PixelPaddingRangeLimit PixelRepresentation "
    "BitsStored ContrastBolusAgent TriggerTime NominalInterval HeartRate"
).split()
TAGS = [*_GEOMETRY, *TEXT_TAGS, *NUMBER_TAGS]
# What scanners write for an agent where none was given.
_NO_AGENT = re.compile(
    r"(no|none|n|n/?a|no contrast|non ?contrast|without|ohne|sans|0|-+|\.)?", re.I
)
_TERM = re.compile(r"[^A-Za-z0-9 ._/+()-]")
_IMAGE_TYPES = set(
    "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER MPR REFORMATTED AVERAGE MAX MIN VOLUME "
    "HELIX".split()
)
_ESSENTIAL = ("SOPInstanceUID", "SeriesInstanceUID", "Rows", "Columns", "BitsAllocated")
_PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
BROKEN_FILE = "broken DICOM file"
NOT_DICOM = "not DICOM"
# What pydicom raises for headers that are cut or garbled.
_BROKEN = (
    InvalidDicomError,
    BytesLengthException,
    NotImplementedError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    IndexError,
    OverflowError,
)
# Storage classes of a slice a file, and of all slices in one.
_STORAGE = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}


def read(folder):
    """Read the CT series of a folder.

    Parameters
    ----------
    folder : path
        Searched with its subfolders. Localisers, secondary captures, reports and files that are
        not DICOM are set aside.

    Returns
    -------
    image : SimpleITK.Image
        HU; slices in the order of their positions. int16 where that is exact, else float32. Padding
        outside the field of view is `images.PADDING_HU`.
    facts : dict
        ``tags`` (allow-listed), ``set_aside`` (kind: files), ``n_slices``, ``padding_voxels``,
        ``series_digest`` (SHA-256 over the sorted instance identifiers).

    Raises
    ------
    ScanError
        A ValueError: no CT series or two of them; missing, duplicate, truncated or unequal slices,
        uneven steps, a tilted gantry, no rescale.
    """
    folder = Path(folder)
    headers, aside = _headers(folder)
    series = _pick(folder, headers, aside)
    image, padding = _volume(folder, series)
    return image, _facts(series, aside, padding)


def read_cycle(folder):
    """Read the phases of a gated CT over one cardiac cycle, all in one folder.

    Parameters
    ----------
    folder : path
        One series with all phases, or a series for each.

    Returns
    -------
    phases : list of SimpleITK.Image
        As of `read`, on one grid, in the order of their time.
    facts : dict
        As of `read`, over all slices; and ``phases``, where in the cycle they lie, in
        ``phases_unit``: percent of it, or ms after the R wave where the headers tell neither
        percentages nor the interval between two R waves.

    Raises
    ------
    ScanError
        As `read`; fewer than two phases, slices that tell no phase, phases on several grids.
    """
    folder = Path(folder)
    headers, aside = _headers(folder)
    series = [part for volume in _volumes(folder, headers, aside) for part in volume]
    times, unit = _phase_times(folder, series)
    phases, padding = [], 0
    for time in sorted(set(times)):
        members = [part for part, at in zip(series, times, strict=True) if at == time]
        try:
            image, void = _volume(folder, members)
            images.check_grid(phases[0] if phases else image, image, "it")
        except ValueError as error:
            fault = getattr(error, "fault", str(error))
            raise ScanError(folder, f"phase {time:g} of the cardiac cycle: {fault}") from error
        phases.append(image)
        padding += void
    facts = _facts(series, aside, padding)
    return phases, {**facts, "phases": sorted(set(times)), "phases_unit": unit}


def _phase_times(folder, series):
    """Return when in the cardiac cycle each slice was taken, and the unit: percent or ms."""
    tags = ("NominalPercentageOfCardiacPhase", "TriggerTime")
    for tag, unit in zip(tags, ("percent", "ms"), strict=True):
        times = [number_of(header.get(tag)) for _, header in series]
        if None not in times and len(set(times)) > 1:
            cycle_ms = _cycle_ms(series) if unit == "ms" else None
            if cycle_ms:
                return [round(100.0 * time / cycle_ms, 2) for time in times], "percent"
            return times, unit
    raise ScanError(
        folder, f"no two phases of a cardiac cycle; each slice needs one of {' and '.join(tags)}"
    )


def _cycle_ms(series):
    """Return the interval between two R waves, None where no header tells it."""
    for tag, of in (("NominalInterval", lambda ms: ms), ("HeartRate", lambda rate: 60_000 / rate)):
        found = [number_of(header.get(tag)) for _, header in series]
        found = [value for value in found if value]
        if found:
            return of(float(np.median(found)))
    return None


def _volume(folder, series):
    series, step_mm = _sort(folder, series)
    return _pixels(folder, series, step_mm)


def _facts(series, aside, padding):
    """Return what the record of a scan tells of its slices."""
    return {
        "tags": allowed_tags([header for _, header in series]),
        "set_aside": dict(sorted(aside.items())),
        "n_slices": len(series),
        "padding_voxels": padding,
        "series_digest": digest(header.SOPInstanceUID for _, header in series),
    }


def digest(identifiers):
    """Return the SHA-256 over the instance identifiers of a series, in any order."""
    return hashlib.sha256("\n".join(sorted(map(str, identifiers))).encode()).hexdigest()


def allowed_tags(headers):
    """Return what may be kept of the headers of a series.

    Parameters
    ----------
    headers : list of pydicom.Dataset

    Returns
    -------
    dict
        Keys of `TEXT_TAGS` and `NUMBER_TAGS` (None where absent; the median of a number that varies
        over slices), ``image_type`` (known terms only), ``contrast`` (an agent is named, and not
        as "none" or the like).
    """
    first = headers[0]
    kept = {}
    for tag, key in TEXT_TAGS.items():
        value = first.get(tag)
        if isinstance(value, pydicom.multival.MultiValue):
            value = "/".join(map(str, value))
        kept[key] = _TERM.sub("", str(value)).strip()[:64] or None if value else None
    for tag, key in NUMBER_TAGS.items():
        values = [v for v in (number_of(header.get(tag)) for header in headers) if v is not None]
        kept[key] = float(np.median(values)) if values else None
    terms = first.get("ImageType") or []
    terms = [terms] if isinstance(terms, str) else terms
    kept["image_type"] = [str(term) for term in terms if str(term) in _IMAGE_TYPES]
    agent = str(first.get("ContrastBolusAgent") or "").strip()
    kept["contrast"] = not _NO_AGENT.fullmatch(agent)
    return kept


def number_of(value):
    """Return a value of a header, the first of several, as a finite float; None if it is none."""
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def read_header(path, tags=tuple(TAGS)):
    """Read the header of a file up to its pixels.

    Parameters
    ----------
    path : path
    tags : sequence of str
        What is read; `TAGS` are among them.

    Returns
    -------
    header : pydicom.Dataset or None
        With ``pixel_start``, where in the file the header ends, in bytes.
    fault : str
        `NOT_DICOM` or `BROKEN_FILE` where there is no header; else empty.
    """
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values, and the log is kept
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(tags))
            header.pixel_start = file.tell()
            values = {tag: header[tag].value for tag in tags if tag in header}  # decodes
        whole = bool(values.get("Modality") and values.get("SOPClassUID"))
        syntax = header.file_meta.get("TransferSyntaxUID")
        if whole and (syntax is None or syntax.is_transfer_syntax):
            return header, ""
    except _BROKEN:
        pass
    with open(path, "rb") as file:
        return None, BROKEN_FILE if file.read(132)[128:] == b"DICM" else NOT_DICOM


def _headers(folder):
    """Return [(path, header)] of the image files below a folder, and a count of the others."""
    found, aside = [], Counter()
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    for path in paths:
        if path.name.upper() == "DICOMDIR":
            continue
        header, fault = read_header(path)
        if header is None:
            aside[fault] += 1
        else:
            found.append((path, header))
    if not found and not aside:
        raise ScanError(folder, "no file in the folder of the series")
    return found, aside


def _pick(folder, headers, aside):
    """Return the headers of the one series that is a CT volume."""
    volumes = _volumes(folder, headers, aside)
    if len(volumes) > 1:
        sizes = " and ".join(str(n) for n in sorted((len(v) for v in volumes), reverse=True))
        raise ScanError(
            folder,
            f"two series in one folder: {len(volumes)} CT series of {sizes} slices; leave the one "
            "that the protocol asks for",
        )
    return volumes[0]


def _volumes(folder, headers, aside):
    """Return the headers of each series that is a CT volume, one or more."""
    groups = {}
    other = Counter()
    for path, header in headers:
        kind = kind_of(header)
        if kind == "CT slice":
            groups.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
        else:
            other[kind] += 1
    volumes = []
    for members in groups.values():
        places = {tuple(map(float, header.ImagePositionPatient)) for _, header in members}
        if len(places) >= MIN_POSITIONS:
            volumes.append(members)
        else:
            other[f"CT series of {len(places)} position{'s' * (len(places) > 1)}"] += len(members)
    aside.update(other)
    if not volumes:
        found = ", ".join(f"{n} x {kind}" for kind, n in sorted(aside.items())) or "nothing"
        raise ScanError(folder, f"no CT series of {MIN_POSITIONS} slices or more; found {found}")
    if aside[BROKEN_FILE]:  # it could be a slice at an end, whose loss leaves no gap
        raise ScanError(
            folder, f"truncated or corrupt: {aside[BROKEN_FILE]} file(s) with a broken header"
        )
    return volumes


def kind_of(header, wanted="CT"):
    """Say what an image file is.

    Parameters
    ----------
    header : pydicom.Dataset
    wanted : str
        CT or MR.

    Returns
    -------
    str
        "CT slice" or "MR slice" for those that can make a volume.
    """
    modality = _TERM.sub("", str(header.get("Modality", "")))[:16] or "unknown"
    storage = str(header.get("SOPClassUID", ""))
    if modality != wanted:
        return f"modality {modality}"
    if storage.startswith(_ENHANCED[wanted]) or (number_of(header.get("NumberOfFrames")) or 1) > 1:
        return f"multi-frame {wanted} (convert to one file a slice)"
    terms = header.get("ImageType") or []
    terms = [terms] if isinstance(terms, str) else terms
    if {str(term).strip().upper() for term in terms} & {"LOCALIZER", "SCOUT"}:
        return "localiser"
    if storage and not f"{storage}.".startswith(f"{_STORAGE[wanted]}."):
        return "secondary capture or report"
    if (header.get("SamplesPerPixel") or 1) != 1:
        return "secondary capture or report"
    if not all(header.get(tag) for tag in _ESSENTIAL):
        return BROKEN_FILE
    if not header.get("ImagePositionPatient"):
        return f"{wanted} image without position"
    for tag, n in _PLACE.items():
        values = [number_of(v) for v in header.get(tag) or []]
        if len(values) != n or None in values:
            return BROKEN_FILE
    return f"{wanted} slice"


def _sort(folder, series):
    """Sort slices along their normal and check that they make an even volume."""
    for tag, what in (
        ("Rows", "size"),
        ("Columns", "size"),
        ("PixelSpacing", "pixel spacing"),
        ("ImageOrientationPatient", "orientation"),
    ):
        values = np.array([np.atleast_1d(header[tag].value) for _, header in series], float)
        off = np.abs(values - np.median(values, axis=0)).max(axis=1) > ANGLE_TOLERANCE
        if off.any():
            raise ScanError(folder, f"mixed {what}: {off.sum()} of {len(series)} slices differ")
    places = [header.ImagePositionPatient for _, header in series]
    order, step = stack(folder, places, series[0][1].ImageOrientationPatient)
    return [series[i] for i in order], step


def stack(folder, places, cosines):
    """Order slices along their normal, and check that they make an even volume.

    Parameters
    ----------
    folder : path
        Named where they do not.
    places : sequence of (x, y, z)
        Of the first pixel of each slice, in mm.
    cosines : sequence of 6 floats
        Directions of rows and columns.

    Returns
    -------
    order : ndarray of int
    step_mm : float

    Raises
    ------
    ScanError
        Missing or duplicate slices, uneven steps, a tilted gantry.
    """
    cosines = np.array(cosines, float)
    across, down = cosines[:3], cosines[3:]
    normal = np.cross(across, down)
    if not np.isclose(np.linalg.norm(normal), 1.0, atol=1e-2):
        raise ScanError(folder, "orientation cosines are not orthonormal")
    places = np.array(places, float)
    if not np.isfinite(places).all():
        raise ScanError(folder, "slice positions are not finite")
    along = places @ normal
    order = np.argsort(along, kind="stable")
    along, places = along[order], places[order]
    steps = np.diff(along)
    double = steps < POSITION_TOLERANCE_MM
    if double.any():
        where = along[1:][double][0]
        raise ScanError(
            folder, f"{double.sum()} duplicate slice(s), the first at {where:.2f} mm; keep one each"
        )
    # A lower quartile, not the median: it stands when every second slice is lost.
    step = float(np.quantile(steps, 0.25, method="lower"))
    gaps = steps > GAP * step
    if gaps.any():
        first = int(np.argmax(gaps))
        lost = int(np.sum(np.rint(steps[gaps] / step) - 1))
        raise ScanError(
            folder,
            f"missing slice(s): about {lost} of {len(places) + lost}, first gap of "
            f"{steps[first]:.2f} mm after slice {first + 1} at {along[first]:.2f} mm "
            f"(step {step:.2f} mm)",
        )
    uneven = np.abs(steps - step) > max(STEP_TOLERANCE_MM, STEP_TOLERANCE * step)
    if uneven.any():
        raise ScanError(
            folder,
            f"non-uniform slice steps: {steps.min():.2f} to {steps.max():.2f} mm, "
            f"{uneven.sum()} of {steps.size} off {step:.2f} mm",
        )
    step = float((along[-1] - along[0]) / steps.size)
    shift = (places[-1] - places[0]) / steps.size - step * normal
    if np.linalg.norm(shift) > TILT_TOLERANCE * step:
        angle = math.degrees(math.atan(np.linalg.norm(shift) / step))
        raise ScanError(folder, f"tilted gantry: {angle:.1f} degrees; resample to a straight grid")
    return order, step


def _pixels(folder, series, step_mm):
    """Read the slices to HU; returns the image and the number of padding voxels."""
    first = series[0][1]
    rows, columns = int(first.Rows), int(first.Columns)
    if rows < 2 or columns < 2:
        raise ScanError(folder, f"size {columns} x {rows} is absurd")
    volume = None
    padding = 0
    for number, (path, header) in enumerate(series):
        place = f"slice {number + 1} of {len(series)}"
        if header.get("RescaleSlope") is None or header.get("RescaleIntercept") is None:
            raise ScanError(folder, f"{place} has no rescale slope and intercept: not in HU")
        _check_whole(folder, path, header, place)
        try:
            plane = read_plane(path)
        except RuntimeError as error:
            raise ScanError(folder, f"{place} can't be decoded: corrupt or truncated") from error
        if plane.shape != (rows, columns):
            raise ScanError(folder, f"{place} has pixels of another size than its header")
        if plane.dtype.kind == "f":
            rounded = np.rint(plane)
            exact = np.array_equal(rounded, plane) and abs(rounded).max() < 32768
            plane = rounded.astype(np.int16) if exact else plane.astype(np.float32)
        elif plane.min() >= -32768 and plane.max() <= 32767:
            plane = plane.astype(np.int16)
        else:
            plane = plane.astype(np.float32)
        if volume is None:
            volume = np.empty((len(series), rows, columns), plane.dtype)
        elif plane.dtype.kind == "f" and volume.dtype.kind == "i":
            volume = volume.astype(np.float32)  # a later slice has a broken slope
        void = _padding(plane, header)
        if void is not None:
            padding += int(void.sum())
            plane[void] = images.PADDING_HU
        volume[number] = plane
    image = sitk.GetImageFromArray(volume)
    cosines = np.array(first.ImageOrientationPatient, float)
    across = cosines[:3] / np.linalg.norm(cosines[:3])
    normal = np.cross(across, cosines[3:])
    normal /= np.linalg.norm(normal)
    direction = np.stack([across, np.cross(normal, across), normal], axis=1)
    image.SetDirection(direction.ravel())
    image.SetOrigin([float(v) for v in first.ImagePositionPatient])
    down, right = (float(v) for v in first.PixelSpacing)
    try:
        image.SetSpacing((right, down, step_mm))
    except RuntimeError as error:
        raise ScanError(folder, f"spacing {right:g} x {down:g} mm is absurd") from error
    return images.check_geometry(image, folder), padding


def read_plane(path):
    """Return the pixels of a slice after its rescale, (rows, columns).

    Raises
    ------
    RuntimeError
        They can't be decoded.
    """
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # GDCM quotes values
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).squeeze()


def _check_whole(folder, path, header, place):
    """Raise unless the pixels of a slice are all in the file: decoders pad silently."""
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    size = path.stat().st_size
    if syntax is not None and syntax.is_encapsulated:
        with open(path, "rb") as file:
            file.seek(header.pixel_start)
            data = file.read()
        if not data.startswith(b"\xe0\x7f\x10\x00") or not _fragments_end(data):
            raise ScanError(folder, f"{place} is truncated: its compressed pixels have no end")
    elif lost := shortfall(header, size):
        raise ScanError(folder, f"{place} is truncated: {lost[0]} of {lost[1]} bytes of pixels")


def shortfall(header, size):
    """Return bytes found and needed where a file lacks pixels; None for one that is whole.

    Compressed files tell no size; they pass.

    Parameters
    ----------
    header : pydicom.Dataset
        As of `read_header`.
    size : int
        Of the file in bytes.
    """
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if syntax is not None and (syntax.is_encapsulated or syntax.is_deflated):
        return None
    needed = int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8
    if size - header.pixel_start >= needed + 8:
        return None
    return max(0, size - header.pixel_start - 8), needed


def _fragments_end(data):
    """Whether the items of encapsulated pixel data run up to their delimiter."""
    at = 12  # tag, VR, reserved, undefined length
    while at + 8 <= len(data):
        tag, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if tag == b"\xfe\xff\xdd\xe0":
            return True
        if tag != b"\xfe\xff\x00\xe0":
            return False
        at += 8 + length
    return False


def _padding(plane, header):
    """Return where a slice holds padding, or None; only values below air are padding.

    Some writers declare a padding value that is also tissue (0 in stored values without offset):
    such a declaration is not believed.
    """
    value = header.get("PixelPaddingValue")
    if value is None or isinstance(value, (bytes, str)):
        return None
    limit = header.get("PixelPaddingRangeLimit")
    limit = value if limit is None or isinstance(limit, (bytes, str)) else limit
    slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
    bounds = sorted(slope * _signed(v, header) + intercept for v in (value, limit))
    if bounds[1] >= -1000.0:
        return None
    return (plane >= bounds[0] - 0.5) & (plane <= bounds[1] + 0.5)


def _signed(value, header):
    """Read a padding value as the pixels are: it is often stored with the other sign."""
    value = int(value)
    bits = int(header.get("BitsAllocated", 16))
    if header.get("PixelRepresentation") == 1 and value >= 2 ** (bits - 1):
        return value - 2**bits
    if header.get("PixelRepresentation") == 0 and value < 0:
        return value + 2**bits
    return value
