"""Small DICOM series for tests, written with pydicom."""

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

UID = "1.2.826.0.1.3680043.10.1234"


def volume(shape=(8, 12, 10), seed=1):
    """Return HU of air, tissue and noise; int16, every slice different."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-1000, 400, shape) + np.arange(shape[0])[:, None, None]).astype(np.int16)


def header(number, position, series=1, **tags):
    """Return a dataset of one CT slice without pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{UID}.{series}.{number + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID = f"{UID}.{series}"
    data.Modality = "CT"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Manufacturer = "PHANTOM"
    data.ConvolutionKernel = "B31f"
    data.KVP = 120
    data.SliceThickness = 2.5
    data.InstanceNumber = number + 1
    data.ImagePositionPatient = [float(v) for v in position]
    data.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    data.PixelSpacing = [0.8, 0.7]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    for tag, value in tags.items():
        setattr(data, tag, value)
    return data


def write(folder, hu, series=1, step_mm=2.5, origin=(-10.0, -20.0, -300.0), change=None, **tags):
    """Write a series; `change(number, dataset)` may edit a slice, or drop it by returning False.

    Stored values are (HU - intercept) / slope, so each slice may have its own rescale.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, plane in enumerate(hu):
        position = (origin[0], origin[1], origin[2] + number * step_mm)
        data = header(number, position, series, **tags)
        if change is not None and change(number, data) is False:
            continue
        data.Rows, data.Columns = plane.shape
        stored = (plane - float(data.RescaleIntercept)) / float(data.RescaleSlope)
        kind = np.int16 if data.PixelRepresentation else np.uint16
        data.PixelData = np.rint(stored).astype(kind).tobytes()
        # File names in another order than positions, where 7 does not divide the slices.
        name = f"{series}-{number * 7 % len(hu) if len(hu) % 7 else number:03d}.dcm"
        data.save_as(folder / name, enforce_file_format=True)
    return folder


def edit(path, **tags):
    """Change tags of a file in place."""
    data = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(data, tag, value)
    data.save_as(path)
