"""Label maps of other software: one file with codes, or a folder with one mask a structure.

They become label maps with our codes (`label_names.STRUCTURES`) on the grid of the scan.
"""

import gzip
import logging
import math
import re
import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lungitude import images, label_names
from lungitude.images import ScanError

log = logging.getLogger(__name__)

TURN_LIMIT = 1e-3  # of direction cosines: more, and the axes are turned against the scan's
COARSE = 1.5  # voxels of the labels that are so much larger than the scan's are told
_LABEL = re.compile(rb'<Label Key="(\d+)"[^>]*><!\[CDATA\[(.*?)\]\]></Label>', re.DOTALL)
_HEADER_LIMIT = 1 << 22  # longer header extensions hold no names


def read(path, like, names=None, structures=("lobes", "lungs"), resample=True):
    """Read a label map or a folder of masks of other software as our label map of a scan.

    Parameters
    ----------
    path : path
        A label map, or a folder of masks named by structure (``lung_upper_lobe_left.nii.gz``).
    like : SimpleITK.Image
        The scan.
    names : str or dict, optional
        What the codes or files mean. A label map: as `label_names.code_pairs` takes it. A folder:
        a key of `label_names.MAPS`, whose names are looked for, or our names to those of the
        files (``{"LV blood": "ventricle"}``; a list is joined). None or ``named``: the files tell
        it themselves, a folder by their names and a label map by the names in its header, as
        TotalSegmentator writes them.
    structures : sequence of str
        Keys of `label_names.STRUCTURES` that are wanted; the first that is told is taken.
    resample : bool
        Bring labels of another grid onto the scan by their place in the patient, each voxel by
        its nearest neighbour. False: refuse them.

    Returns
    -------
    labels : SimpleITK.Image
        uint8 on the grid of `like`; what is not asked for is 0.
    facts : dict
        structure; form, ``label map`` or ``masks``; names, ours to theirs; resampled; inside_pct,
        the share of the labelled voxels that lies in the scan; overlap_pct, the share that
        several masks claim (the first part of `label_names.STRUCTURES` has it); flag:
        ``sides_swapped`` (the right lung lies left of the left one), ``cut`` (labels reach the
        border of their own grid inside the scan), ``coarse`` (their voxels are more than 1.5
        times the scan's).

    Raises
    ------
    ScanError, ValueError
        A file that can't be read, holds no labels or names no part that is needed; turned axes;
        no overlap with the scan; unknown names.
    """
    path = Path(path)
    if path.is_dir():
        found = _Masks(path, names, structures)
    else:
        found = _Map(path, images.read_labels(path), names, structures)
    labels, facts = found.onto(like, resample)
    if not images.array(labels).any():
        raise ScanError(path, found.nothing())
    return labels, facts


def read_cycle(path, like, names=None, structures=("heart",), resample=True):
    """Read the label maps of a cardiac cycle, as `read` does.

    Parameters
    ----------
    path : path
        A 4-D label map, time last; or a folder with a label map or a folder of masks a phase,
        whose names hold the number of the phase.
    like : list of SimpleITK.Image
        The phases of the scan.

    Returns
    -------
    phases : list of SimpleITK.Image
        A phase without labels is 0 everywhere.
    facts : dict
        Of the first phase; inside_pct and overlap_pct at their worst, flags of all.

    Raises
    ------
    ScanError, ValueError
        As `read`; another number of phases; no labels in any phase.
    """
    path = Path(path)
    if path.is_dir():
        found = [
            _Masks(entry, names, structures)
            if entry.is_dir()
            else _Map(entry, images.read_labels(entry), names, structures)
            for entry in phase_files(path)
        ]
    else:
        found = [
            _Map(path, images.labels_like(phase, None, path), names, structures)
            for phase in images.read_cycle(path)
        ]
    if len(found) != len(like):
        raise ScanError(path, f"{len(found)} phases, the scan has {len(like)}; label every phase")
    phases, facts = [], []
    for one, image in zip(found, like, strict=True):
        labels, told = one.onto(image, resample)
        phases.append(labels)
        facts.append(told)
    if not any(images.array(phase).any() for phase in phases):
        raise ScanError(path, found[0].nothing())
    worst = {
        "resampled": any(told["resampled"] for told in facts),
        "inside_pct": min(t["inside_pct"] for t in facts if t["inside_pct"] is not None),
        "overlap_pct": max(told["overlap_pct"] for told in facts),
        "flag": _flags(facts),
    }
    return phases, {**facts[0], **worst}


def phase_files(folder):
    """Return files and folders of the phases of a cycle, by the number in their names.

    Raises
    ------
    ScanError
        Names without number, or with the same.
    """
    entries = [e for e in sorted(folder.iterdir()) if e.is_dir() or is_image(e)]
    numbers = [re.findall(r"\d+", stem(entry)) for entry in entries]
    order = {int(found[-1]): entry for found, entry in zip(numbers, entries, strict=True) if found}
    if len(order) < max(2, len(entries)):
        text = f"{len(entries)} label maps or folders, {len(order)} numbered; name one a phase, "
        raise ScanError(folder, text + "such as phase_00 phase_05")
    return [order[number] for number in sorted(order)]


def translate(labels, pairs):
    """Return a label map with other codes.

    Parameters
    ----------
    labels : SimpleITK.Image
        Whole numbers, 0 to 65535.
    pairs : dict of int to int
        Code to code; all others become 0.

    Returns
    -------
    SimpleITK.Image of uint8

    Raises
    ------
    ValueError
        Other numbers.
    """
    values = images.array(labels)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 65535:
        raise ValueError("labels must be whole numbers in 0..65535")
    table = np.zeros(max(int(values.max()), *pairs) + 1, np.uint8)
    for old, new in pairs.items():
        table[old] = new
    return images.from_array(table[values], labels)


def none_of(labels, pairs):
    """Say that a label map holds none of some codes."""
    present = np.unique(images.array(labels))[:20].tolist()
    return f"none of the codes {sorted(pairs)} is in the label map, only {present}"


def carried_names(path):
    """Return the names that a NIfTI file carries in its header.

    Returns
    -------
    dict of int to str
        Code to name, as TotalSegmentator (from 1.5.2 on) and Connectome Workbench write them;
        empty without any.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return {}
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with (gzip.open if packed else open)(path, "rb") as file:
        header = file.read(352)
        order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
        end = struct.unpack_from(order + "f", header, 108)[0]
        if not 352 < end < _HEADER_LIMIT:
            return {}
        extension = file.read(int(end) - 352)
    return {
        int(code): name.decode("utf-8", "replace").strip()
        for code, name in _LABEL.findall(extension)
    }


def onto(labels, like, path, resample=True):
    """Bring a label map onto the grid of a scan.

    Parameters
    ----------
    labels, like : SimpleITK.Image
    path : path
        Of the labels, for messages.
    resample : bool
        Whether another grid is allowed.

    Returns
    -------
    labels : SimpleITK.Image
        On the grid of `like`.
    facts : dict
        resampled; inside_pct, None without labelled voxels; flag.

    Raises
    ------
    ScanError
        Turned axes; another grid, if that isn't allowed; all labels outside the scan.
    """
    labels = sitk.DICOMOrient(labels, images.orientation(like))
    inside = 100.0 if images.array(labels).any() else None
    try:
        images.check_grid(like, labels, "label map")
    except ValueError as error:
        if not resample:
            raise ScanError(path, f"{error}, or allow it: resample_labels") from None
    else:
        labels.CopyInformation(like)
        return labels, {"resampled": False, "inside_pct": inside, "flag": ""}
    turn = np.abs(np.subtract(labels.GetDirection(), like.GetDirection())).max()
    if turn > TURN_LIMIT:
        turned = math.degrees(math.asin(min(1.0, turn)))
        text = f"its axes are turned by {turned:.1f} degrees against the scan's; bring the labels "
        raise ScanError(path, text + "onto the scan first, by nearest neighbour")
    moved = sitk.Resample(labels, like, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    flags = []
    if inside is not None:
        inside = 100.0 * _share_inside(labels, like)
        if not inside:
            raise ScanError(path, "all labels lie outside the scan; are they of another one?")
        flags += ["cut"] * _is_cut(labels, like)
    sizes = zip(labels.GetSpacing(), like.GetSpacing(), strict=True)
    flags += ["coarse"] * any(own > COARSE * scan for own, scan in sizes)
    return moved, {"resampled": True, "inside_pct": inside, "flag": "; ".join(flags)}


def is_image(path):
    """Whether a file is one by its name."""
    return path.is_file() and path.name.lower().endswith(images.SUFFIXES)


def stem(path):
    """Return the name of an image file without its suffix."""
    ends = [suffix for suffix in images.SUFFIXES if path.name.lower().endswith(suffix)]
    return path.name[: -max(map(len, ends))] if ends else path.name


class _Map:
    """A label map with codes."""

    def __init__(self, path, labels, names, structures):
        self.path, self.labels = path, labels
        own = carried_names(path)
        if names is None or names == label_names.NAMED:
            if not own:
                raise ScanError(path, "it carries no names of its labels; say what its codes mean")
            self.structure, found = _choose(path, own.values(), structures, "labels")
            codes = {name: code for code, name in own.items()}
            parts = {part: [codes[name]] for part, name in found.items()}
        else:
            self.structure, parts = label_names.parts_of(names, None, structures)
            _agree(path, own, self.structure, parts, strict=isinstance(names, str))
        self.pairs, _ = label_names.code_pairs(parts, self.structure)
        self.names = {part: [own.get(code, code) for code in parts[part]] for part in parts}

    def onto(self, like, resample):
        """Return labels on the grid of a scan, and facts."""
        labels = translate(self.labels, self.pairs)
        labels, placed = onto(labels, like, self.path, resample)
        facts = {"structure": self.structure, "form": "label map", "names": self.names}
        return labels, _with_sides({**facts, **placed, "overlap_pct": 0.0}, labels)

    def nothing(self):
        """Say that there are no labels."""
        return none_of(self.labels, self.pairs)


def _agree(path, own, structure, parts, strict):
    """Refuse a map that means something else by a code than the file itself says.

    With `strict` also where the file's name for it is unknown.
    """
    for part, codes in parts.items():
        for code in codes:
            said = label_names.resolve([own[code]], structure) if code in own else {part: code}
            if part not in said and (said or strict):
                text = f"it calls {code} '{own[code]}', but the label map takes that for {part}"
                raise ScanError(path, text + "; is it of another version or task?")


class _Masks:
    """A folder with one mask a structure."""

    def __init__(self, folder, names, structures):
        self.path = folder
        files = {}
        for file in sorted(folder.iterdir()):
            if is_image(file):
                if stem(file) in files:
                    raise ScanError(folder, f"two files are named {stem(file)}; keep one")
                files[stem(file)] = file
        if not files:
            raise ScanError(folder, "no masks in this folder (NIfTI, NRRD or MHA)")
        log.info("%s holds %s", folder, ", ".join(files))
        if isinstance(names, dict):
            self.structure, self.names = _named(folder, files, names, structures)
        else:
            if names not in (None, label_names.NAMED):
                label_names.known_codes(names)
            self.structure, found = _choose(folder, files, structures, "masks")
            self.names = {part: [name] for part, name in found.items()}
        self.files = files

    def onto(self, like, resample):
        """Return labels on the grid of a scan, and facts."""
        result = np.zeros(like.GetSize()[::-1], np.uint8)
        several = 0
        placed = []
        for part, names in self.names.items():
            code = label_names.STRUCTURES[self.structure][part]
            for name in names:
                mask, told = onto(self._mask(self.files[name]), like, self.files[name], resample)
                mask = images.array(mask) > 0
                several += int(np.count_nonzero(mask & (result > 0) & (result != code)))
                result[mask & (result == 0)] = code
                placed.append(told)
        shares = [told["inside_pct"] for told in placed if told["inside_pct"] is not None]
        labels = images.from_array(result, like)
        facts = {
            "structure": self.structure,
            "form": "masks",
            "names": self.names,
            "resampled": any(told["resampled"] for told in placed),
            "inside_pct": min(shares) if shares else None,
            "flag": _flags(placed),
            "overlap_pct": round(100.0 * several / max(1, int(np.count_nonzero(result))), 3),
        }
        if several:
            log.warning("%s: %g %% in several masks", self.path, facts["overlap_pct"])
        return labels, _with_sides(facts, labels)

    def _mask(self, file):
        """Return a mask as 0 and 1."""
        image = images.read_labels(file)
        values = np.unique(images.array(image))
        if np.count_nonzero(values) > 1:
            raise ScanError(file, f"holds {values[:20].tolist()}; a mask has one value besides 0")
        return images.from_array((images.array(image) > 0).astype(np.uint8), image)

    def nothing(self):
        """Say that there are no labels."""
        return (
            f"all masks are empty: {', '.join(n for names in self.names.values() for n in names)}"
        )


def _named(folder, files, names, structures):
    """Return the structure and the files of its parts, as a dict of our names says."""
    structure = label_names.mask_structure(names, structures)
    given = {
        part: list(map(str, said)) if isinstance(said, list | tuple) else [str(said)]
        for part, said in names.items()
    }
    lacking = [name for said in given.values() for name in said if name not in files]
    if lacking:
        raise ScanError(folder, f"no mask {', '.join(lacking)} in this folder")
    order = label_names.STRUCTURES[structure]
    return structure, {part: given[part] for part in order if part in given}


def _choose(path, theirs, structures, what):
    """Return structure and parts, as `label_names.choose`; a fault is one of the file."""
    try:
        return label_names.choose(theirs, structures)
    except ValueError as error:
        raise ScanError(path, f"{error} of its {what}; say what they mean in a label map") from None


def _flags(facts):
    """Join the flags of several label maps, each once."""
    return "; ".join(sorted({flag for told in facts for flag in told["flag"].split("; ") if flag}))


def _with_sides(facts, labels):
    """Round the facts, and flag lungs whose right side lies left."""
    if facts["inside_pct"] is not None:
        facts["inside_pct"] = round(float(facts["inside_pct"]), 3)
    if facts["structure"] in ("lobes", "lungs") and _sides_swapped(labels, facts["structure"]):
        log.warning("the right lung lies left of the left one; are the sides swapped?")
        facts["flag"] = "; ".join(filter(None, [facts["flag"], "sides_swapped"]))
    return facts


def _sides_swapped(labels, structure):
    """Whether the middle of the right lung lies more to the left than that of the left one."""
    last_right = 3 if structure == "lobes" else 1
    values = images.array(images.canonical(labels))
    count = [(values > last_right).sum((0, 1)), ((values > 0) & (values <= last_right)).sum((0, 1))]
    if not all(side.any() for side in count):
        return False
    left, right = ((side * np.arange(side.size)).sum() / side.sum() for side in count)
    return bool(right > left)


def _share_inside(labels, like):
    """Share of the labelled voxels whose middle lies in the scan; axes are parallel."""
    inside = images.array(labels) > 0
    total = np.count_nonzero(inside)
    for axis, (low, high) in enumerate(_window(labels, like)):
        at = np.arange(inside.shape[2 - axis])
        keep = (at >= low) & (at <= high)
        inside = inside & keep.reshape([-1 if 2 - axis == k else 1 for k in range(3)])
    return np.count_nonzero(inside) / total


def _window(labels, like):
    """Borders of the scan in voxels of the labels, along x, y and z."""
    ends = [
        labels.TransformPhysicalPointToContinuousIndex(
            like.TransformContinuousIndexToPhysicalPoint(corner)
        )
        for corner in ([-0.5] * 3, [n - 0.5 for n in like.GetSize()])
    ]
    return [(low - 1e-3, high + 1e-3) for low, high in zip(*ends, strict=True)]


def _is_cut(labels, like):
    """Whether labels touch a border of their own grid that lies inside the scan."""
    values = images.array(labels)
    for axis, (low, high) in enumerate(_window(labels, like)):
        moved = np.moveaxis(values, 2 - axis, 0)
        if (low < -1 and moved[0].any()) or (high > len(moved) and moved[-1].any()):
            return True
    return False
