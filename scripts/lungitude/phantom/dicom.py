"""Write a scan as a DICOM series, with planted identifiers and, on request, planted faults."""

import functools
import hashlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

# Identifiers that no result may hold: a privacy test looks for each of these texts.
PLANTED = {
    "PatientName": "PLANTED^NAME",
    "PatientID": "PLANTED-ID-7319",
    "PatientBirthDate": "19010203",
    "PatientAddress": "PLANTED STREET 1",
    "InstitutionName": "PLANTED HOSPITAL",
    "ReferringPhysicianName": "PLANTED^PHYSICIAN",
    "OperatorsName": "PLANTED^OPERATOR",
    "StudyDate": "19020304",
    "StudyTime": "010203.424242",
    "AccessionNumber": "PLANTED-ACC-4402",
    "StationName": "PLANTEDSTATION",
    "DeviceSerialNumber": "PLANTED-SN-9917",
}

FAULTS = ("missing_slice", "duplicate_slice", "two_series", "truncated_file")
# By phase of the scan: description, time of acquisition, series number, tube current, exposure.
_CT = {
    "insp": ("CHEST HRCT INSPIRATION", "101500", 2, "200", "100"),
    "exp": ("CHEST HRCT EXPIRATION", "101900", 3, "100", "50"),
    "calcium": ("CALCIUM SCORING", "102300", 4, "80", "30"),
    "cta": ("CARDIAC CTA RETROSPECTIVE", "102700", 5, "450", "180"),
}
DESCRIPTIONS = {phase: row[0] for phase, row in _CT.items()}
_HEART_KERNELS = {"calcium": "Qr36", "cta": "Bv40"}
# Description, time, series number, kind of acquisition, repetition and echo time (ms), flip angle.
_MR = {
    "vibe": ("T1 VIBE COR", "111000", 21, "3D", "3.2", "1.2", "10"),
    "post_vibe": ("T1 VIBE COR POST CONTRAST", "112500", 25, "3D", "3.2", "1.2", "10"),
    "irmax": ("PERFUSION IRMAX COR", "112000", 23, "3D", "2.0", "0.7", "20"),
    "pbf": ("PERFUSION PBF COR", "112100", 24, "3D", "2.0", "0.7", "20"),
    "dce": ("PERFUSION DCE COR", "112000", 22, "3D", "2.0", "0.7", "20"),
    "cine": ("CINE SA BSSFP", "113000", 31, "2D", "3.0", "1.5", "60"),
    "perfusion": ("FIRST PASS PERFUSION SA", "113500", 32, "2D", "2.2", "1.1", "12"),
}
_CORONAL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def _key(record, *more):
    """Numbers from 0 to 2^32 - 1 that depend on the case alone."""
    text = "|".join([str(record.seed), record.usubjid, record.avisit, *map(str, more)])
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")


def _uid(record, *more):
    return generate_uid(
        entropy_srcs=[str(record.seed), record.usubjid, record.avisit, *map(str, more)]
    )


def _acquisition_date(record):
    """Return a day in 2021 or 2022 that the case fixes."""
    day = int(_key(record, "date")[0]) % 730
    return str(np.datetime64("2021-01-01") + day).replace("-", "")


def _template(record, series, storage, description, time, number):
    """Header of any series: patient, study, series, pixel format."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = storage
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = _own_uid()
    ds.file_meta.ImplementationVersionName = "LUNGITUDE"
    for name, value in PLANTED.items():
        setattr(ds, name, value)
    ds.PatientName = f"{PLANTED['PatientName']}^{record.usubjid}"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = storage
    ds.AcquisitionDate = ds.SeriesDate = ds.ContentDate = _acquisition_date(record)
    ds.AcquisitionTime = ds.SeriesTime = ds.ContentTime = time
    ds.Manufacturer = "Lungitude"
    ds.ManufacturerModelName = "Chest phantom"
    ds.SoftwareVersions = "1"
    ds.SeriesDescription = description
    ds.BodyPartExamined = "CHEST"
    ds.PatientSex = "O"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = _uid(record, "study")
    ds.SeriesInstanceUID = _uid(record, "series", series)
    ds.StudyID = "1"
    ds.SeriesNumber = number
    ds.AcquisitionNumber = 1
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    return ds


@functools.cache
def _own_uid():
    return generate_uid(entropy_srcs=["lungitude phantom"])


def _place(ds, planes):
    """Add the geometry that the slices of a series share."""
    ds.ImageOrientationPatient = [f"{value:.10g}" for value in planes.direction[:, :2].T.ravel()]
    ds.Rows, ds.Columns = planes.shape[1:]
    ds.PixelSpacing = [f"{planes.spacing_mm[1]:g}", f"{planes.spacing_mm[0]:g}"]
    ds.SliceThickness = ds.SpacingBetweenSlices = f"{planes.spacing_mm[2]:g}"


def _ct_template(scan, series, planes):
    record, heart = scan.record, scan.phase in _HEART_KERNELS
    description, time, number, current, exposure = _CT[scan.phase]
    ds = _template(record, series, CTImageStorage, description, time, number)
    _place(ds, planes)
    field = planes.shape[2] * planes.spacing_mm[0] if heart else max(record.field_of_view_mm)
    ds.Modality = "CT"
    ds.ProtocolName = "HEART" if heart else "CHEST INSP EXP"
    ds.ScanOptions = "CARDIAC GATING" if heart else "HELICAL MODE"
    ds.KVP = f"{120.0 if heart else getattr(record, 'kv', 120.0):g}"
    ds.XRayTubeCurrent, ds.Exposure = current, exposure
    ds.ReconstructionDiameter = f"{field:g}"
    ds.GantryDetectorTilt = "0"
    ds.ConvolutionKernel = _HEART_KERNELS[scan.phase] if heart else record.kernel
    ds.FrameOfReferenceUID = _uid(record, "frame of reference")
    if getattr(record, "slice_mm", None) and not heart:
        ds.SliceThickness = f"{record.slice_mm:g}"
    ds.WindowCenter, ds.WindowWidth = ("100", "700") if heart else ("-600", "1500")
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    if heart:
        ds.HeartRate = round(record.heart["rate_bpm"])
    if scan.phase == "cta" or (not heart and getattr(record, "contrast", False)):
        ds.ContrastBolusAgent = "IOMEPROL 400"
        ds.ContrastBolusRoute = "IV"
    return ds


def _mr_template(scan, series, planes):
    record = scan.record
    description, time, number, kind, repetition, echo, flip = _MR[scan.phase]
    ds = _template(record, series, MRImageStorage, description, time, number)
    _place(ds, planes)
    ds.Modality = "MR"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.ProtocolName = description
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "SP", ""
    ds.MRAcquisitionType = kind
    ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = repetition, echo, flip
    ds.MagneticFieldStrength = "1.5"
    ds.NumberOfAverages, ds.EchoTrainLength = "1", 1
    # Breath-holds differ from CT's, so the frame of reference is another.
    ds.FrameOfReferenceUID = _uid(record, "frame of reference", "MR", scan.phase)
    if scan.phase != "vibe" and scan.phase != "cine":
        ds.ContrastBolusAgent = "GADOBUTROL"
    if scan.phase in ("cine", "perfusion"):
        ds.HeartRate = round(record.heart["rate_bpm"])
    return ds


class _Planes:
    """Slices of an image as they are filed: origin, spacing and direction by column, row, slice.

    An MR image of the chest lies on the axes of the patient but is filed in coronal slices.
    """

    def __init__(self, grid, coronal=False):
        self.coronal = coronal
        self.origin_mm = np.array(grid.origin_mm, dtype=float)
        self.spacing_mm, self.shape = tuple(grid.spacing_mm), tuple(grid.shape)
        self.direction = np.array(getattr(grid, "direction", np.eye(3)), dtype=float)
        if coronal:
            self.origin_mm[2] += (self.shape[0] - 1) * self.spacing_mm[2]
            self.spacing_mm = tuple(self.spacing_mm[n] for n in (0, 2, 1))
            self.shape = tuple(self.shape[n] for n in (1, 0, 2))
            self.direction = _CORONAL

    def stored(self, values):
        """Slices, rows, columns of an array (z, y, x)."""
        return values[::-1].transpose(1, 0, 2) if self.coronal else values

    def corner(self, k):
        """Position of the first pixel of slice k."""
        return self.origin_mm + k * self.spacing_mm[2] * self.direction[:, 2]


def write_series(scan, hu, folder, series, fault=None):
    """Write one DICOM file a slice of a CT scan.

    Explicit VR little endian CT Image Storage, signed 16 bit, intercept -1024. Instance numbers
    run from the head down while z runs up, and file names are in neither order, as on a scanner's
    disk. UIDs and dates follow from the record: equal records give equal bytes.

    Parameters
    ----------
    scan : render.Scan or cardiac.HeartScan
        Gives the grid, the record and the phase: ``insp``, ``exp``, ``calcium``, ``cta``.
    hu : ndarray of int16, (z, y, x)
        `render.deliver` or `cardiac.deliver` of the scan.
    folder : path
        Made if it does not exist; it must hold no file.
    series : str
        Name of the series in the trial, part of the UIDs.
    fault : str, optional
        One of `FAULTS`: ``missing_slice`` in the middle, ``duplicate_slice`` (the same position
        under another UID), ``two_series`` (a second series of every fourth slice in the folder),
        ``truncated_file`` (one file ends early).

    Returns
    -------
    list of Path
        In the order of z.
    """
    if fault is not None and fault not in FAULTS:
        raise ValueError(
            f"{scan.record.usubjid} {scan.record.avisit} {series}: fault {fault!r}; "
            f"known: {', '.join(FAULTS)}"
        )
    count = len(hu)
    places = [(0, k, 0) for k in range(count)]
    middle = count // 2
    if fault == "missing_slice":
        places.remove((0, middle, 0))
    elif fault == "duplicate_slice":
        places.append((0, middle, 1))
    elif fault == "two_series":
        places += [(0, k, 2) for k in range(0, count, 4)]
    moments = [_moment(scan)] if scan.phase == "cta" else [{}]
    planes = _Planes(scan.grid)
    template = _ct_template(scan, series, planes)
    paths = _write(template, scan.record, series, folder, planes, [hu], moments, places)
    if fault == "truncated_file":
        whole = paths[middle].read_bytes()
        paths[middle].write_bytes(whole[: len(whole) // 3])
    return paths


def write_cycle(scans, hu, folder, series):
    """Write the phases of a gated CT over a cardiac cycle as one DICOM series in one folder.

    The files of a phase share NominalPercentageOfCardiacPhase, TriggerTime and a
    TemporalPositionIdentifier; else as `write_series`.

    Parameters
    ----------
    scans : sequence of cardiac.HeartScan
        One a phase, on one grid.
    hu : sequence of ndarray of int16, (z, y, x)
        `cardiac.deliver` of each.
    folder, series
        As in `write_series`.

    Returns
    -------
    list of Path
        In the order of phases, then z.
    """
    scans = list(scans)
    who = f"{scans[0].record.usubjid} {scans[0].record.avisit} {series}" if scans else series
    if len({scan.cycle for scan in scans}) < len(scans) or len(scans) < 2:
        raise ValueError(f"{who}: a cycle needs two phases or more, each at a time of its own")
    if any(scan.grid != scans[0].grid for scan in scans):
        raise ValueError(f"{who}: the phases of a cycle must share a grid")
    planes = _Planes(scans[0].grid)
    template = _ct_template(scans[0], series, planes)
    template.NumberOfTemporalPositions = len(scans)
    moments = [
        {**_moment(scan), "TemporalPositionIdentifier": number}
        for number, scan in enumerate(scans, start=1)
    ]
    places = [(t, k, 0) for t in range(len(scans)) for k in range(planes.shape[0])]
    return _write(template, scans[0].record, series, folder, planes, list(hu), moments, places)


def _moment(scan):
    """Tags of a gated image's time in the cycle."""
    beat_ms = 60000.0 / scan.record.heart["rate_bpm"]
    return {
        "NominalPercentageOfCardiacPhase": 100.0 * scan.cycle,
        "TriggerTime": f"{scan.cycle * beat_ms:.2f}",
        "NominalInterval": round(beat_ms),
    }


def write_mr(scan, folder, series):
    """Write an MR series of the phantom: MR Image Storage, signed 16 bit.

    Images of the chest (`mri`) become coronal slices, those of the heart (`cmr`) short-axis ones.
    Series in time get a TemporalPositionIdentifier; a cine TriggerTime in ms as well, others an
    AcquisitionTime.

    Parameters
    ----------
    scan : mri.Sequence or cmr.Series
        With record, phase, grid, image and, if in time, times_s.
    folder, series
        As in `write_series`.

    Returns
    -------
    list of Path
        In the order of time, then of slices.
    """
    planes = _Planes(scan.grid, coronal=not hasattr(scan.grid, "direction"))
    template = _mr_template(scan, series, planes)
    image = np.asarray(scan.image)
    times = [None] if image.ndim == 3 else list(scan.times_s)
    frames = [image] if image.ndim == 3 else list(image)
    start = _MR[scan.phase][1]
    moments = []
    for number, (time, _) in enumerate(zip(times, frames, strict=True), start=1):
        moment = {} if time is None else {"TemporalPositionIdentifier": number}
        if time is not None and scan.phase == "cine":
            moment["TriggerTime"] = f"{1000.0 * float(time):.2f}"
        elif time is not None:
            moment["AcquisitionTime"] = moment["ContentTime"] = _later(start, float(time))
        moments.append(moment)
    if image.ndim == 4:
        template.NumberOfTemporalPositions = len(frames)
    if scan.phase == "cine":
        template.CardiacNumberOfImages = len(frames)
    places = [(t, k, 0) for t in range(len(frames)) for k in range(planes.shape[0])]
    return _write(template, scan.record, series, folder, planes, frames, moments, places)


def _later(start, seconds):
    """DICOM time so many seconds after another."""
    ms = round(1000.0 * seconds)
    whole = 3600 * int(start[:2]) + 60 * int(start[2:4]) + int(start[4:]) + ms // 1000
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{ms % 1000:03d}000"


def _write(template, record, series, folder, planes, frames, moments, places):
    """Write the files of a series: `places` lists frame, slice and copy number of each."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(
            f"{record.usubjid} {record.avisit} {series}: the folder for "
            "the series is not empty; remove it first"
        )
    shared = {element.tag: _encode(element) for element in template}
    offset = -int(float(template.RescaleIntercept)) if "RescaleIntercept" in template else 0
    order = np.random.default_rng(_key(record, "files", series).tolist()).permutation(len(places))
    paths, stored, current = [], None, None
    for name, (frame, k, copy_number) in zip(order, places, strict=True):
        if frame != current:
            values = planes.stored(np.asarray(frames[frame])).astype(np.int32) + offset
            stored, current = np.clip(values, -32768, 32767).astype("<i2"), frame
            timed = {element.tag: _encode(element) for element in _dataset(moments[frame])}
            shared = {**shared, **timed}
        path = folder / f"IM{name:05d}.dcm"
        instance = (k, copy_number) if len(frames) == 1 else (k, copy_number, frame)
        uid = _uid(record, "instance", series, *instance)
        own = {
            "SOPInstanceUID": uid,
            "InstanceNumber": frame * len(stored) + len(stored) - k,
            "ImagePositionPatient": [f"{mm + 0.0:.6g}" for mm in planes.corner(k)],
            "SliceLocation": f"{planes.corner(k) @ planes.direction[:, 2]:.6g}",
        }
        if copy_number == 2:
            own["SeriesInstanceUID"] = _uid(record, "series", series, "second")
            own["SeriesDescription"] = f"{template.SeriesDescription} THICK"
        _write_slice(shared, template.file_meta, _dataset(own), stored[k], path)
        paths.append(path)
    return paths


def _dataset(values):
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def _encode(element):
    """Bytes of one data element."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, "utf8")
    return buffer.getvalue()


def _write_slice(shared, file_meta, own, pixels, path):
    """Encode what differs between slices, and join it with what was encoded once."""
    own.PixelData = pixels.tobytes()
    own["PixelData"].VR = "OW"
    elements = {**shared, **{element.tag: _encode(element) for element in own}}
    file_meta.MediaStorageSOPInstanceUID = own.SOPInstanceUID
    meta = DicomBytesIO()
    meta.is_little_endian, meta.is_implicit_VR = True, False
    write_file_meta_info(meta, file_meta)
    with open(path, "wb") as file:
        file.write(bytes(128) + b"DICM" + meta.getvalue())
        for tag in sorted(elements):
            file.write(elements[tag])
