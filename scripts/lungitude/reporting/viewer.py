"""A page on which one scan is looked through: slices in three planes, label maps over them.

The volumes stand in the page itself, coarser than they are measured: browsers read no file beside a
page that is opened from disk. Their NIfTI headers are written anew, so that nothing of the header
of the original scan gets into the page.
"""

import base64
import gzip
import hashlib
import io
import json
import struct

import numpy as np

from lungitude import canvas, images, label_names
from lungitude.reporting import pages

BUDGET_BYTES = 400_000  # of all volumes of a page, as text
TARGETS_MM = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
MARGIN_MM = 15.0  # around the lungs
AIR_HU, STEP_HU = -1024, 8  # what the codes 0 and 1 of a stored scan are apart from
DIASTOLE_PCT = 75.0
COARSE = (
    "The picture is coarser than what is measured: each voxel is the mean of a block, and a label "
    "is that of the block's middle, so that thin airways and vessels look broken."
)
_HEADER_BYTES = 352
_PLACE = '<script type="application/json" id="volumes">'

WINDOWS = {
    "lung": {"name": "Lung", "low": -1350, "high": 150, "key": "l"},
    "mediastinum": {"name": "Mediastinum", "low": -160, "high": 240, "key": "m"},
    "contrast": {"name": "Contrast medium", "low": -160, "high": 500, "key": "k"},
    "bone": {"name": "Calcium and bone", "low": -350, "high": 950, "key": "b"},
}
NAMES = {
    "RUL": "right upper lobe",
    "RML": "right middle lobe",
    "RLL": "right lower lobe",
    "LUL": "left upper lobe",
    "LLL": "left lower lobe",
    "lingula": "lingula",
    "right": "right lung",
    "left": "left lung",
    "lumen": "airway lumen",
    "wall": "airway wall",
    "fsad": "functional small airways disease",
    "normal": "normal lung",
    "other": "other lung",
}
PRM = {"normal": 1, "fsad": 2, "emphysema": 3, "other": 4}
# Colours of the static pictures, told apart with any colour vision.
LAYERS = {
    "lobes": (
        "Lobes",
        {
            1: canvas.ORANGE, 2: canvas.YELLOW, 3: canvas.VERMILION,
            4: canvas.SKY, 5: canvas.BLUE, 6: canvas.GREEN,
        },
    ),
    "lungs": ("Lungs", {1: canvas.ORANGE, 2: canvas.SKY}),
    "mask": ("Lungs", {1: canvas.ORANGE}),
    "prm": (
        "Parametric response map",
        {1: canvas.GREEN, 2: canvas.YELLOW, 3: canvas.VERMILION, 4: canvas.PURPLE},
    ),
    # Told apart from all lobes, which are seen below them.
    "airways": ("Airways", {1: "#FFFFFF", 2: canvas.PURPLE}),
    "vessels": ("Vessels", {1: canvas.SKY, 2: canvas.VERMILION}),
    "coronary": (
        "Coronary territories",
        {1: canvas.VERMILION, 2: canvas.YELLOW, 3: canvas.SKY},
    ),
    "heart": (
        "Heart",
        {
            1: canvas.VERMILION, 2: canvas.ORANGE, 3: canvas.SKY, 4: canvas.PURPLE,
            5: canvas.BLUE, 6: canvas.YELLOW, 7: canvas.GREEN,
        },
    ),
}  # fmt: skip
# How strongly a layer is drawn, if not by 0.8, and which are not shown when the page opens.
OPACITY = {"lobes": 0.35, "lungs": 0.35, "mask": 0.35, "prm": 0.6, "heart": 0.45}
LATER = ("prm", "vessels")
LUNG_KEYS = ("lobes", "lungs", "mask")


def coarse(values, factors):
    """Average blocks of voxels.

    Parameters
    ----------
    values : ndarray, (z, y, x)
    factors : (int, int, int)
        Voxels of a block along each axis; what is left at the end of an axis is cut off.

    Returns
    -------
    ndarray of float32
    """
    kz, ky, kx = factors
    nz, ny, nx = (n // k for n, k in zip(values.shape, factors, strict=True))
    whole = np.empty((nz, ny, nx), np.float32)
    for z in range(nz):  # slab by slab: a whole scan as float would need gigabytes
        slab = values[z * kz : (z + 1) * kz, : ny * ky, : nx * kx].sum(0, dtype=np.float32)
        whole[z] = slab.reshape(ny, ky, -1).sum(1).reshape(ny, nx, kx).sum(2)
    return whole / np.float32(kz * ky * kx)


def thinned(labels, factors):
    """Take the voxel in the middle of each block, the nearest to the centre of `coarse`'s voxel."""
    cut = tuple(slice(k // 2, n // k * k, k) for n, k in zip(labels.shape, factors, strict=True))
    return labels[cut]


def coded(hu):
    """Return HU as uint8: 0 is -1024 HU or less, each step 8 HU, 255 is 1016 HU or more."""
    return np.rint(np.clip((hu - AIR_HU) / STEP_HU, 0, 255)).astype(np.uint8)


def factors_for(spacing, target_mm):
    """Return how many voxels become one along each axis, so that none is finer than the target.

    Parameters
    ----------
    spacing : sequence of float
        In mm, in the order of array axes.
    target_mm : float
        Size of a voxel to come near to.
    """
    return tuple(max(1, round(target_mm / step)) for step in spacing)


def nifti(values, spacing, slope=1.0, intercept=0.0):
    """Write an array as a NIfTI-1 file of bytes, with a header that holds its geometry only.

    Parameters
    ----------
    values : ndarray of uint8, (z, y, x)
        x to the right, y to the front, z to the head: the axes that NIfTI begins with.
    spacing : sequence of float
        In mm, in the order of array axes.
    slope, intercept : float
        HU of a code are ``slope * code + intercept``.

    Returns
    -------
    bytes
        Not compressed; the middle of the volume is the origin.
    """
    size, steps = values.shape[::-1], [float(step) for step in spacing[::-1]]
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *size, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)  # uint8
    struct.pack_into("<8f", header, 76, 1.0, *steps, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, _HEADER_BYTES, slope, intercept)
    header[123] = 2  # mm
    struct.pack_into("<2h", header, 252, 0, 1)
    for axis, (count, step) in enumerate(zip(size, steps, strict=True)):
        row = [0.0, 0.0, 0.0, -0.5 * (count - 1) * step]
        row[axis] = step
        struct.pack_into("<4f", header, 280 + 16 * axis, *row)
    header[344:348] = b"n+1\0"
    return bytes(header) + np.ascontiguousarray(values, np.uint8).tobytes()


def packed(data):
    """Compress bytes and write them as text; the same bytes give the same text."""
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, buffer, mtime=0) as file:
        file.write(data)
    return base64.b64encode(buffer.getvalue()).decode()


def volumes(image, maps, budget=BUDGET_BYTES):
    """Make a scan and its label maps small enough to stand in a page.

    Parameters
    ----------
    image : SimpleITK.Image
        HU.
    maps : dict of str to SimpleITK.Image
        Label maps on its grid, by a key of `LAYERS`.
    budget : int
        Bytes of all volumes as text. The finest of `TARGETS_MM` that keeps it is taken, or the
        coarsest.

    Returns
    -------
    dict
        ``size`` and ``spacing`` (x, y, z; mm), ``first`` and ``step`` of the codes in HU, ``scan``,
        ``layers`` (name, key, opacity, shown, labels, ``codes``), ``start``, the voxel that is
        shown first, and ``coarse``, whether voxels were joined. Axes run to the right, to the front
        and to the head.

    Raises
    ------
    ValueError
        A label map on another grid.

    Notes
    -----
    A voxel of the scan is the mean of a block of voxels; a label is that of the voxel in its
    middle, so that thin vessels look thinner or broken.
    """
    axes = images.canonical(image)
    spacing = images.spacing_zyx(axes)
    labels = {}
    for name, one in maps.items():
        images.check_grid(image, one, name)
        labels[name] = images.array(images.canonical(one))
    box = _box(labels, axes.GetSize()[::-1], spacing)
    hu = np.maximum(images.array(axes)[box], AIR_HU)  # padding is no air to be averaged
    labels = {name: values[box] for name, values in labels.items()}
    tried = None
    for target in TARGETS_MM:
        factors = factors_for(spacing, target)
        if factors == tried:
            continue
        tried = factors
        found = _volumes(hu, labels, spacing, factors)
        if len(found["scan"]) + sum(len(layer["codes"]) for layer in found["layers"]) <= budget:
            break
    return found


def _volumes(hu, labels, spacing, factors):
    """Return what `volumes` does, for one number of voxels a block."""
    steps = [step * k for step, k in zip(spacing, factors, strict=True)]
    scan = _to_ras(coded(coarse(hu, factors)))
    thin = {name: _to_ras(thinned(values, factors)) for name, values in labels.items()}
    layers = [_layer(name, values, steps) for name, values in thin.items() if name in LAYERS]
    return {
        "size": list(scan.shape[::-1]),
        "spacing": [round(step, 4) for step in steps[::-1]],
        "first": AIR_HU,
        "step": STEP_HU,
        "scan": packed(nifti(scan, steps, STEP_HU, AIR_HU)),
        "layers": layers,
        "start": _start(thin, scan.shape),
        "coarse": max(factors) > 1,
    }


def _to_ras(values):
    """Turn axes that run to the left, the back and the head to the right, the front, the head."""
    return values[:, ::-1, ::-1]


def _box(labels, shape, spacing):
    """Return the part of the scan around the lungs; all of it where no label map tells them."""
    name = next((name for name in LUNG_KEYS if name in labels), None)
    if name is None or not labels[name].any():
        return tuple(slice(0, n) for n in shape)
    inside = labels[name] > 0
    box = []
    for axis, (count, step) in enumerate(zip(shape, spacing, strict=True)):
        hit = np.flatnonzero(inside.any(tuple(k for k in range(3) if k != axis)))
        more = round(MARGIN_MM / step)
        box.append(slice(max(0, int(hit[0]) - more), min(count, int(hit[-1]) + more + 1)))
    return tuple(box)


def _start(labels, shape):
    """Return the voxel (x, y, z) that is shown first: the middle of what is labelled."""
    key = next((key for key, values in labels.items() if values.any()), None)
    if key is None:
        return [n // 2 for n in shape[::-1]]
    first, middle = labels[key], []
    sagittal = 0.75 if key in LUNG_KEYS else 0.5  # as the static pictures: it halves the right lung
    for axis in range(3):
        share = np.cumsum((first > 0).sum(tuple(k for k in range(3) if k != axis)))
        at = sagittal if axis == 2 else 0.5
        middle.append(int(np.searchsorted(share, share[-1] * at)))
    return middle[::-1]


def _layer(key, values, spacing):
    """Return one label map with the names and colours of what it holds."""
    title, colours = LAYERS[key]
    present = [int(code) for code in np.unique(values) if code]
    known = [code for code in present if code in colours]
    kept = np.where(np.isin(values, known), values, 0).astype(np.uint8)
    return {
        "key": key,
        "name": title,
        "shown": key not in LATER,
        "opacity": OPACITY.get(key, 0.8),
        "labels": [
            {"code": code, "name": name_of(key, code, known), "colour": colours[code]}
            for code in known
        ],
        "codes": packed(nifti(kept, spacing)),
    }


def name_of(key, code, present):
    """Return the name of a label in words.

    Parameters
    ----------
    key : str
        Of `LAYERS`.
    code : int
    present : sequence of int
        All codes of the label map: software that tells no parts apart writes 1 only.
    """
    if key == "mask":
        return "lung"
    parts = PRM if key == "prm" else label_names.STRUCTURES[key]
    whole = label_names.UNDIVIDED.get(key)
    if whole and list(present) == [1]:
        return whole
    name = next(part for part, value in parts.items() if value == code and part != whole)
    return NAMES.get(name, name)


def phase_of(phases, unit, count, wanted_pct=DIASTOLE_PCT):
    """Choose the phase of a cardiac cycle to show.

    Parameters
    ----------
    phases : list of float or None
        Times of the phases, as the scan's record tells.
    unit : {"percent", "ms"} or None
    count : int
        How many phases the scan has.
    wanted_pct : float
        Where in the cycle.

    Returns
    -------
    index : int
        The nearest phase; the first where the record tells no percentages.
    words : str
        Which one it is.
    """
    if unit == "percent" and phases and len(phases) == count:
        index = min(range(count), key=lambda k: abs(phases[k] - wanted_pct))
        return index, f"{phases[index]:g}% of the cardiac cycle, one of {count} phases"
    return 0, f"the first of {count} phases of the cardiac cycle"


def windows(series_windows):
    """Return the presets of a page, the one to begin with first."""
    order = dict.fromkeys((*series_windows, "lung", "mediastinum", "bone"))
    return [{"id": name, **WINDOWS[name]} for name in order]


def build(
    scan,
    trial,
    found,
    presets=("lung",),
    facts=(),
    notes=(),
    links=(),
    back=None,
    bundle="",
    why="",
):
    """Write the page of a scan.

    Parameters
    ----------
    scan : dict
        ``subject``, ``visit``, ``series`` and ``id`` (a digest of the pixels, or '').
    trial : dict
        ``title synthetic data_cut``.
    found : dict or None
        What `volumes` returns; None for a scan without picture, which `why` explains.
    presets : sequence of str
        Of `WINDOWS`; the first one is shown first.
    facts : sequence of (str, str)
        Lines that tell of the scan.
    notes : sequence of str
        What the reader must know, such as a label map that could not be shown.
    links : sequence of dict
        ``group`` (visit), ``label``, ``href`` and ``here`` of the pages of the patient.
    back : dict, optional
        ``label`` and ``href`` of the page that this one belongs to.
    bundle : str
        Address of NiiVue, relative to the page.
    why : str
        Why there is no picture.

    Returns
    -------
    str
        The page.
    """
    groups = {}
    for link in links:
        groups.setdefault(link["group"], []).append(link)
    script = pages.safe((pages.TEMPLATES / "viewer.js").read_text(encoding="utf-8"))
    page = pages.render(
        "viewer.html.j2",
        scan=scan,
        trial=trial,
        why=why,
        facts=list(facts),
        notes=list(notes),
        groups=groups,
        back=back,
        slices=[] if found is None else _slices(found),
        found=found,
        ratio=None if found is None else _ratio(found),
        windows=windows(presets),
        bundle=bundle,
        script=script,
        script_digest=pages.safe(_digest(script)),
    )
    if found is None:
        return page
    data = {**found, "windows": windows(presets)}
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return page.replace(_PLACE, _PLACE + text, 1)


def _slices(found):
    """Return name, number of slices and the first one shown, of each plane."""
    names = ("sagittal", "coronal", "axial")
    return list(zip(names, found["size"], found["start"], strict=True))[::-1]


def _ratio(found):
    """Return width and height in mm of the three planes side by side."""
    wide, deep, tall = (n * d for n, d in zip(found["size"], found["spacing"], strict=True))
    return round(2 * wide + deep), round(max(deep, tall))


def _digest(script):
    """Return the digest by which a page allows its own script and no other."""
    total = hashlib.sha256(f"\n{script}".encode()).digest()
    return f"sha256-{base64.b64encode(total).decode()}"


def words_of_size(size, spacing):
    """Return voxels and their size in words: ``9 x 9 x 5 voxels of 0.70 x 0.70 x 1.00 mm``."""
    voxels = " \u00d7 ".join(str(n) for n in size)
    steps = " \u00d7 ".join(f"{step:.2f}" for step in spacing)
    return f"{voxels} voxels of {steps} mm"
