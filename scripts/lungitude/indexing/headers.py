"""Find the images below a folder and read their headers, never their pixels."""

import concurrent.futures
import hashlib
import itertools
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import SimpleITK as sitk
from pydicom._uid_dict import UID_dictionary

from lungitude import dicom, images
from lungitude.documents import is_date

# What is read of a header beside what the ingest reads. Identifiers and descriptions are compared
# in memory; they are written nowhere.
TAGS = (
    *dicom.TAGS,
    *"PatientID PatientBirthDate PatientSex ClinicalTrialSubjectID".split(),
    *"ClinicalTrialTimePointID StudyInstanceUID StudyDate SeriesDate AcquisitionDate".split(),
    *"AcquisitionDateTime AcquisitionTime AcquisitionNumber SeriesDescription".split(),
    *"ProtocolName BodyPartExamined BurnedInAnnotation RecognizableVisualFeatures".split(),
    *"ScanOptions CardiacSynchronizationTechnique TemporalPositionIdentifier EchoTime".split(),
)
NESTED = (
    *TAGS,
    *"SharedFunctionalGroupsSequence ContrastBolusAgentSequence".split(),
)
# Of an enhanced file, the shared group and item that holds a value of a plain header.
_SHARED = {
    "SliceThickness": "PixelMeasuresSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "ConvolutionKernel": "CTReconstructionSequence",
    "KVP": "CTXRayDetailsSequence",
}
REFORMATTED = set(
    "MPR,CSA MPR,MIP,MINIP,MAX_IP,MIN_IP,MAX IP,MIN IP,CURVED,CPR,VRT,SSD,REFORMATTED,"
    "PROJECTION IMAGE,AVERAGE".split(",")
)
HEADLESS = "DICOM without a file header (rewrite it with a converter)"
UNREADABLE = "may not be read (permissions, or a bad disk)"
ARCHIVE = "archive, not opened (unpack it and index again)"
LOOSE = "image file"
OTHER = "other file"
HIDDEN = "hidden file"
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!")
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar", ".bz2", ".xz", ".iso", ".zst")
_DOCUMENTS = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".jar", ".apk")
_CHUNK = 256


class Slice(NamedTuple):
    """What a file tells that the others of its series do not; small, as there may be many."""

    path: str
    instance: str
    place: tuple | None  # of the first pixel, (x, y, z) in mm
    short: bool  # the file ends before its pixels do
    date: str
    study_date: str
    time: float | None  # HHMMSS.F
    acquisition: float | None
    percent: float | None  # of the cardiac cycle
    trigger: float | None  # ms after the R wave
    moment: float | None  # number in a series over time
    echo: float | None  # ms


def walk(folder, lost):
    """Yield the files below a folder in the order of their paths; links to folders are passed by.

    Parameters
    ----------
    folder : path
    lost : list
        Folders that may not be read are added.
    """

    def closed(error):
        lost.append(error.filename)

    for here, below, names in os.walk(folder, onerror=closed):
        below.sort()
        linked = [name for name in below if os.path.islink(os.path.join(here, name))]
        lost.extend(os.path.join(here, name) for name in linked)
        for name in sorted(names):
            yield os.path.join(here, name)


def read_all(paths, modalities, cores=1):
    """Yield (path, what `read` returns) in the order of paths.

    Parameters
    ----------
    paths : iterable of str
    modalities : collection of str
    cores : int
        Processes that read at once; the result is the same.
    """
    paths = iter(paths)
    if cores == 1:
        for path in paths:
            yield path, read(path, modalities)
        return
    with concurrent.futures.ProcessPoolExecutor(cores) as pool:
        waiting = []
        while True:
            while len(waiting) < 4 * cores and (chunk := list(itertools.islice(paths, _CHUNK))):
                waiting.append((chunk, pool.submit(_read_chunk, chunk, modalities)))
            if not waiting:
                return
            chunk, job = waiting.pop(0)
            yield from zip(chunk, job.result(), strict=True)


def _read_chunk(paths, modalities):
    return [read(path, modalities) for path in paths]


def read(path, modalities=("CT",)):
    """Say what a file is, from its first bytes and its header.

    Parameters
    ----------
    path : str
    modalities : collection of str
        CT, MR: those whose slices make a volume of the trial.

    Returns
    -------
    str or (dict, Slice)
        What a file is that is no DICOM image; or what a slice shares with its series, and what is
        its own.
    """
    name = os.path.basename(path)
    try:
        if not os.path.isfile(path):
            return OTHER
        if name.startswith("."):
            return HIDDEN
        if name.upper() == "DICOMDIR":
            return "DICOMDIR"
        if name.lower().endswith(images.SUFFIXES):
            return LOOSE
        with open(path, "rb") as file:
            start = file.read(264)
        if start[128:132] != b"DICM":
            return _not_dicom(name.lower(), start)
        header, _ = dicom.read_header(path, NESTED)
        if header is None:
            return dicom.BROKEN_FILE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            return described(header, path, modalities)
    except OSError:
        return UNREADABLE


def _not_dicom(name, start):
    if name.endswith(_ARCHIVE_SUFFIXES) or start[257:262] == b"ustar":
        return ARCHIVE
    if start.startswith(_ARCHIVES) and not name.endswith(_DOCUMENTS):
        return ARCHIVE
    group, kind = start[:4], start[4:6]
    little = group[1:2] == b"\0" and group[3:4] == b"\0" and group[:1] in (b"\2", b"\x08")
    big = group[:1] == b"\0" and group[2:3] == b"\0" and group[1:2] in (b"\2", b"\x08")
    if (little or big) and (kind.isalpha() or start[6:8] == b"\0\0") and len(start) > 100:
        return HEADLESS
    return OTHER


def described(header, path, modalities):
    """Return what a header tells: what a slice shares with its series, and what is its own."""
    modality = str(header.get("Modality", ""))
    kind = dicom.kind_of(header, modality if modality in modalities else "CT")
    slices = kind == f"{modality} slice"
    if kind.startswith("multi-frame"):
        header = _flat(header)
    terms = header.get("ImageType") or []
    terms = [terms] if isinstance(terms, str) else terms
    terms = {str(term).strip().upper() for term in terms}
    syntax = header.file_meta.get("TransferSyntaxUID")
    shared = {
        "kind": kind,
        "slices": slices,
        "modality": modality,
        "series": str(header.get("SeriesInstanceUID", "")),
        "study": str(header.get("StudyInstanceUID", "")),
        "PatientID": _text(header, "PatientID"),
        "ClinicalTrialSubjectID": _text(header, "ClinicalTrialSubjectID"),
        "born": _text(header, "PatientBirthDate"),
        "sex": _text(header, "PatientSex"),
        "time_point": _text(header, "ClinicalTrialTimePointID"),
        "description": _text(header, "SeriesDescription"),
        "protocol": _text(header, "ProtocolName"),
        "part": _text(header, "BodyPartExamined"),
        "letters": _text(header, "BurnedInAnnotation").upper() == "YES",
        "faces": _text(header, "RecognizableVisualFeatures").upper() == "YES",
        "derived": bool(terms & {"DERIVED", "SECONDARY"}),
        "reformatted": bool(terms & REFORMATTED),
        "gated": _gated(header),
        "syntax": _compression(syntax),
        "tags": dicom.allowed_tags([header]),
        "frames": int(dicom.number_of(header.get("NumberOfFrames")) or 1),
        "size": None,
        "spacing": None,
        "cosines": None,
    }
    place = None
    if slices:
        shared["size"] = (int(header.Columns), int(header.Rows))
        shared["spacing"] = tuple(map(float, header.PixelSpacing))
        shared["cosines"] = tuple(map(float, header.ImageOrientationPatient))
        place = tuple(map(float, header.ImagePositionPatient))
    own = Slice(
        path=path,
        instance=str(header.get("SOPInstanceUID", "")),
        place=place,
        short=slices and dicom.shortfall(header, os.path.getsize(path)) is not None,
        date=date_of(header),
        study_date=_day(_text(header, "StudyDate")),
        time=dicom.number_of(_text(header, "AcquisitionTime").replace(":", "")),
        acquisition=dicom.number_of(header.get("AcquisitionNumber")),
        percent=dicom.number_of(header.get("NominalPercentageOfCardiacPhase")),
        trigger=dicom.number_of(header.get("TriggerTime")),
        moment=dicom.number_of(header.get("TemporalPositionIdentifier")),
        echo=dicom.number_of(header.get("EchoTime")),
    )
    return shared, own


def _flat(header):
    """Bring what an enhanced file says of all its frames to where a plain header has it."""
    groups = header.get("SharedFunctionalGroupsSequence") or []
    for tag, group in _SHARED.items():
        held = groups[0].get(group) if len(groups) else None
        if held and tag in held[0]:
            setattr(header, tag, held[0][tag].value)
    if header.get("ContrastBolusAgentSequence"):
        header.ContrastBolusAgent = "named in a sequence"
    return header


def _text(header, tag):
    """Return a value as text without blanks around it; of several the first."""
    value = header.get(tag)
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = " ".join(map(str, value))
    return str(value).replace("\0", "").strip()


def _compression(syntax):
    """Return the name of a compressed transfer syntax, empty for a plain one."""
    if syntax is None or not syntax.is_compressed:
        return ""
    return syntax.name if syntax in UID_dictionary else "private syntax"


def _gated(header):
    if _text(header, "CardiacSynchronizationTechnique") not in ("", "NONE"):
        return True
    options = _text(header, "ScanOptions").upper()
    return any(word in options for word in ("GATING", "GATED", "ECG", "EKG", "CARDIAC"))


def date_of(header):
    """Return the day of a scan as YYYY-MM-DD, empty where no tag holds one.

    The day of acquisition comes first: a series can be reconstructed days after its study.
    """
    for tag in ("AcquisitionDate", "AcquisitionDateTime", "StudyDate", "SeriesDate"):
        day = _day(_text(header, tag))
        if day:
            return day
    return ""


def _day(text):
    digits = text.replace(".", "").replace("-", "")[:8]
    day = f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return day if is_date(day) else ""


def loose(path):
    """Return what the header of a NIfTI, NRRD or MHA file tells.

    Returns
    -------
    dict
        size, spacing, dimensions, bits (unsigned 8-bit voxels can't hold HU), fault (empty if the
        header can be read), digest (of its first bytes and its length).
    """
    told = {"size": (), "spacing": (), "bits8": False, "colour": False, "fault": ""}
    reader = sitk.ImageFileReader()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        told["size"], told["spacing"] = reader.GetSize(), reader.GetSpacing()
        told["bits8"] = reader.GetPixelID() in (sitk.sitkUInt8, sitk.sitkVectorUInt8)
        told["colour"] = reader.GetNumberOfComponents() > 1
    except RuntimeError:
        told["fault"] = "its header can't be read"
    with open(path, "rb") as file:
        begin = file.read(1 << 16)
    size = Path(path).stat().st_size
    told["digest"] = hashlib.sha256(begin + str(size).encode()).hexdigest()
    return told
