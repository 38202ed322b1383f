"""Write a scan as a DICOM series, with planted identifiers and, on request, planted faults."""

import hashlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

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
DESCRIPTIONS = {"insp": "CHEST HRCT INSPIRATION", "exp": "CHEST HRCT EXPIRATION"}


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


def _template(record, scan, series):
    """All of the header that slices share."""
    grid = scan.grid
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = generate_uid(entropy_srcs=["lungitude phantom"])
    ds.file_meta.ImplementationVersionName = "LUNGITUDE"
    for name, value in PLANTED.items():
        setattr(ds, name, value)
    ds.PatientName = f"{PLANTED['PatientName']}^{record.usubjid}"
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.AcquisitionDate = ds.SeriesDate = ds.ContentDate = _acquisition_date(record)
    ds.AcquisitionTime = ds.SeriesTime = ds.ContentTime = (
        "101500" if scan.phase == "insp" else "101900"
    )
    ds.Modality = "CT"
    ds.Manufacturer = "Lungitude"
    ds.ManufacturerModelName = "Chest phantom"
    ds.SoftwareVersions = "1"
    ds.SeriesDescription = DESCRIPTIONS[scan.phase]
    ds.ProtocolName = "CHEST INSP EXP"
    ds.BodyPartExamined = "CHEST"
    ds.PatientSex = "O"
    ds.ScanOptions = "HELICAL MODE"
    ds.SliceThickness = ds.SpacingBetweenSlices = f"{grid.spacing_mm[2]:g}"
    ds.KVP = "120"
    ds.XRayTubeCurrent = "200" if scan.phase == "insp" else "100"
    ds.Exposure = "100" if scan.phase == "insp" else "50"
    ds.ReconstructionDiameter = f"{max(record.field_of_view_mm):g}"
    ds.GantryDetectorTilt = "0"
    ds.ConvolutionKernel = record.kernel
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = _uid(record, "study")
    ds.SeriesInstanceUID = _uid(record, "series", series)
    ds.FrameOfReferenceUID = _uid(record, "frame of reference")
    ds.StudyID = "1"
    ds.SeriesNumber = 2 if scan.phase == "insp" else 3
    ds.AcquisitionNumber = 1
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PositionReferenceIndicator = ""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = grid.shape[1:]
    ds.PixelSpacing = [f"{grid.spacing_mm[1]:g}", f"{grid.spacing_mm[0]:g}"]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.WindowCenter, ds.WindowWidth = "-600", "1500"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    return ds


def write_series(scan, hu, folder, series, fault=None):
    """Write one DICOM file a slice.

    Explicit VR little endian CT Image Storage, signed 16 bit, intercept -1024. Instance numbers
    run from the head down while z runs up, and file names are in neither order, as on a scanner's
    disk. UIDs and dates follow from the record: equal records give equal bytes.

    Parameters
    ----------
    scan : render.Scan
        Gives the grid, phase and record.
    hu : ndarray of int16, (z, y, x)
        `render.deliver` of the scan.
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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(
            f"{scan.record.usubjid} {scan.record.avisit} {series}: the folder for "
            "the series is not empty; remove it first"
        )
    record, count = scan.record, len(hu)
    template = _template(record, scan, series)
    encoded = {element.tag: _encode(element) for element in template}
    places = [(k, 0) for k in range(count)]
    middle = count // 2
    if fault == "missing_slice":
        places.remove((middle, 0))
    elif fault == "duplicate_slice":
        places.append((middle, 1))
    elif fault == "two_series":
        places += [(k, 2) for k in range(0, count, 4)]
    order = np.random.default_rng(_key(record, "files", series).tolist()).permutation(len(places))
    stored = hu.astype(np.int32) + 1024
    stored = np.clip(stored, -32768, 32767).astype("<i2")
    paths = []
    for name, (k, copy_number) in zip(order, places, strict=True):
        path = folder / f"IM{name:05d}.dcm"
        _write_slice(encoded, template, record, scan, series, stored, k, copy_number, path)
        paths.append(path)
    if fault == "truncated_file":
        whole = paths[middle].read_bytes()
        paths[middle].write_bytes(whole[: len(whole) // 3])
    return paths


def _encode(element):
    """Bytes of one data element."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, element, "utf8")
    return buffer.getvalue()


def _write_slice(encoded, template, record, scan, series, stored, k, copy_number, path):
    """Encode what differs between slices, and join it with what was encoded once."""
    grid = scan.grid
    z = grid.origin_mm[2] + k * grid.spacing_mm[2]
    ds = Dataset()
    ds.SeriesInstanceUID = template.SeriesInstanceUID
    ds.SeriesDescription = template.SeriesDescription
    if copy_number == 2:
        ds.SeriesInstanceUID = _uid(record, "series", series, "second")
        ds.SeriesDescription += " THICK"
    ds.SOPInstanceUID = _uid(record, "instance", series, k, copy_number)
    ds.InstanceNumber = len(stored) - k
    ds.ImagePositionPatient = [f"{grid.origin_mm[0]:.6g}", f"{grid.origin_mm[1]:.6g}", f"{z:.6g}"]
    ds.SliceLocation = f"{z:.6g}"
    ds.PixelData = stored[k].tobytes()
    ds["PixelData"].VR = "OW"
    elements = {**encoded, **{element.tag: _encode(element) for element in ds}}
    template.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta = DicomBytesIO()
    meta.is_little_endian, meta.is_implicit_VR = True, False
    write_file_meta_info(meta, template.file_meta)
    with open(path, "wb") as file:
        file.write(bytes(128) + b"DICM" + meta.getvalue())
        for tag in sorted(elements):
            file.write(elements[tag])
