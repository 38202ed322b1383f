"""The middle slice of a series: a small picture for a person, and a digest that finds copies."""

import hashlib

import numpy as np
import SimpleITK as sitk
from PIL import Image

from lungitude import dicom
from lungitude.canvas import HEART_WINDOW_HU, LUNG_WINDOW_HU, windowed
from lungitude.indexing.decisions import middle

WIDTH = 176  # pixels
LARGEST = 1 << 28  # bytes of a loose file that is read for its picture


def look(items, progress=lambda done: None):
    """Give series their picture and digest, and a note of what their compression means.

    No picture of a file that has letters or a face in its pixels, as far as its header says.
    """
    for done, item in enumerate(items, 1):
        if item.stack is None:
            _look_at_file(item)
        elif item.stack.shared["slices"]:
            _look_at_slice(item)
        progress(done)


def _look_at_slice(item):
    stack, shared = item.stack, item.stack.shared
    said = f"compressed ({shared['syntax']}); the installed decoder " if shared["syntax"] else ""
    try:
        plane = dicom.read_plane(middle(stack))
    except RuntimeError:
        stack.fault = stack.fault or "its middle slice can't be decoded"
        item.notes += [f"{said}can't read it: convert it"] if said else []
        return
    item.notes += [f"{said}reads it"] if said else []
    if plane.ndim != 2:
        return
    item.pixels = _digest(plane)
    if not shared["letters"] and not shared["faces"]:
        heart = shared["gated"] or stack.phases > 1
        window = HEART_WINDOW_HU if heart else LUNG_WINDOW_HU
        item.picture = small(
            plane, shared["spacing"], window if shared["modality"] == "CT" else None
        )


def _look_at_file(item):
    path = item.paths[0]
    size = item.loose["size"]
    if item.loose["colour"] or len(size) not in (3, 4) or np.prod(size) > LARGEST:
        return
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    try:
        # The first phase of a cycle; size 0 drops an axis.
        reader.SetExtractIndex([0, 0, int(size[2]) // 2, 0][: len(size)])
        reader.SetExtractSize([int(size[0]), int(size[1]), 1, 0][: len(size)])
        image = sitk.DICOMOrient(reader.Execute(), "LPS")
    except RuntimeError:
        item.notes.append("its pixels can't be read")
        return
    values = sitk.GetArrayFromImage(image)
    axis = int(np.argmin(values.shape))
    spacing = [mm for k, mm in enumerate(image.GetSpacing()[::-1]) if k != axis]
    plane = values.take(0, axis=axis)
    if axis:
        plane = plane[::-1]  # z runs up
    item.pixels = _digest(plane)
    low = float(plane.min())
    item.picture = small(plane, spacing[::-1], LUNG_WINDOW_HU if low < -500 else None)


def _digest(plane):
    if not plane.size or plane.min() == plane.max():
        return ""
    kept = np.ascontiguousarray(plane)
    return hashlib.sha256(str(kept.shape).encode() + kept.tobytes()).hexdigest()


def small(plane, spacing, window=None):
    """Return a slice as a small grey picture.

    Parameters
    ----------
    plane : ndarray, (rows, columns)
    spacing : (float, float)
        mm between rows and between columns.
    window : (float, float), optional
        What is black and white; percentiles of the slice if absent, as MR has no scale.
    """
    plane = np.nan_to_num(np.asarray(plane, np.float32))
    if window is None:
        low, high = np.percentile(plane, (1, 99.5))
        window = (low, high if high > low else low + 1)
    grey = Image.fromarray(np.rint(255 * windowed(plane, window)).astype(np.uint8))
    tall, wide = plane.shape[0] * spacing[0], plane.shape[1] * spacing[1]
    height = int(min(max(WIDTH * tall / wide, 16), 1.3 * WIDTH)) if wide > 0 and tall > 0 else WIDTH
    return grey.resize((WIDTH, height), Image.Resampling.LANCZOS)
