"""What label maps of other software call the structures that are measured, and our codes.

Tables and plain values only, so that the check of a trial's folder needs nothing of images.
"""

import json
import re
from pathlib import Path

LUNGS = {"right": 1, "left": 2}
LOBES = {"RUL": 1, "RML": 2, "RLL": 3, "LUL": 4, "LLL": 5, "lingula": 6}
# Our names and codes of each structure; `phantom.cardiac`, `agatston` and `ventricle` use the same.
STRUCTURES = {
    "lobes": LOBES,
    "lungs": LUNGS,
    "airways": {"lumen": 1, "wall": 2},
    "vessels": {"artery": 1, "vein": 2, "vessel": 1},
    "coronary": {"LM+LAD": 1, "LCX": 2, "RCA": 3, "coronary": 1},
    "heart": {
        "LV blood": 1,
        "LV myocardium": 2,
        "RV blood": 3,
        "left atrium": 4,
        "right atrium": 5,
        "aorta": 6,
        "pulmonary artery": 7,
    },
}
# The whole of a structure, for software that doesn't tell its parts apart; taken if no part is.
UNDIVIDED = {"vessels": "vessel", "coronary": "coronary"}
# Parts without which a measure would be wrong and not only less; of others some may be absent.
NEEDED = {
    "lobes": {"RUL", "RML", "RLL", "LUL", "LLL"},
    "lungs": {"right", "left"},
    "airways": {"lumen"},
    "vessels": {"artery", "vein"},
    "coronary": set(),
    "heart": {"LV blood", "LV myocardium"},
}
# Which structures a column of scans.tsv may hold; the first that a label map tells is taken.
COLUMNS = {
    "LABELS": ("lobes", "lungs"),
    "AIRWAYS": ("airways",),
    "VESSELS": ("vessels",),
    "CORONARY": ("coronary",),
    "HEART": ("heart",),
}

# Names that other software gives them, besides ours; as `plain` writes them. The trunks that
# TotalSegmentator calls pulmonary_artery and pulmonary_vein are no vessels of the lungs.
TERMS = {
    "lobes": {
        "RUL": "lung_upper_lobe_right right_upper_lobe upper_lobe_right",
        "RML": "lung_middle_lobe_right right_middle_lobe middle_lobe_right",
        "RLL": "lung_lower_lobe_right right_lower_lobe lower_lobe_right",
        "LUL": "lung_upper_lobe_left left_upper_lobe upper_lobe_left",
        "LLL": "lung_lower_lobe_left left_lower_lobe lower_lobe_left",
        "lingula": "lingula_left left_lingula",
    },
    "lungs": {"right": "lung_right right_lung", "left": "lung_left left_lung"},
    "airways": {
        "lumen": "airway_lumen airway airways lung_airways lung_trachea_bronchia",
        "wall": "airway_wall airways_wall lung_airways_wall",
    },
    "vessels": {
        "artery": "arteries lung_artery lung_arteries",
        "vein": "veins lung_vein lung_veins",
        "vessel": "vessels lung_vessel lung_vessels",
    },
    "coronary": {
        "LM+LAD": "lad",
        "LCX": "cx",
        "RCA": "",
        "coronary": "coronary_artery coronary_arteries",
    },
    "heart": {
        "LV blood": "heart_ventricle_left ventricle_left left_ventricle lv lvc",
        "LV myocardium": "heart_myocardium myocardium myo mlv",
        "RV blood": "heart_ventricle_right ventricle_right right_ventricle rv",
        "left atrium": "heart_atrium_left atrium_left la",
        "right atrium": "heart_atrium_right atrium_right ra",
        "aorta": "ao",
        "pulmonary artery": "pa",
    },
}

# Software -> its names -> its codes, of what lies in the chest. Checked against TotalSegmentator
# 2.18.0 (map_to_binary.py) and lungmask 0.2.22 (README).
MAPS = {
    **STRUCTURES,
    # R231, R231CovidWeb
    "lungmask": {"right_lung": 1, "left_lung": 2},
    # LTRCLobes, LTRCLobes_R231: left lung first
    "lungmask_lobes": {
        "left_upper_lobe": 1,
        "left_lower_lobe": 2,
        "right_upper_lobe": 3,
        "right_middle_lobe": 4,
        "right_lower_lobe": 5,
    },
    # version 2, task total (total_v3 has the same); chambers of the heart are a task of their own
    "totalsegmentator": {
        "lung_upper_lobe_left": 10,
        "lung_lower_lobe_left": 11,
        "lung_upper_lobe_right": 12,
        "lung_middle_lobe_right": 13,
        "lung_lower_lobe_right": 14,
        "trachea": 16,
        "heart": 51,
        "aorta": 52,
        "pulmonary_vein": 53,
    },
    # version 1, and version 2 with --v1_order (without the chambers of the heart)
    "totalsegmentator_v1": {
        "aorta": 7,
        "lung_upper_lobe_left": 13,
        "lung_lower_lobe_left": 14,
        "lung_upper_lobe_right": 15,
        "lung_middle_lobe_right": 16,
        "lung_lower_lobe_right": 17,
        "trachea": 43,
        "heart_myocardium": 44,
        "heart_atrium_left": 45,
        "heart_ventricle_left": 46,
        "heart_atrium_right": 47,
        "heart_ventricle_right": 48,
        "pulmonary_artery": 49,
    },
    # task lung_vessels after release 2.12
    "totalsegmentator_lung_vessels": {
        "lung_airways": 1,
        "lung_airways_wall": 2,
        "lung_arteries": 3,
        "lung_veins": 4,
    },
    # task lung_vessels up to release 2.12, lung_vessels_LEGACY since
    "totalsegmentator_lung_vessels_legacy": {"lung_vessels": 1, "lung_trachea_bronchia": 2},
    "totalsegmentator_heartchambers_highres": {
        "heart_myocardium": 1,
        "heart_atrium_left": 2,
        "heart_ventricle_left": 3,
        "heart_atrium_right": 4,
        "heart_ventricle_right": 5,
        "aorta": 6,
        "pulmonary_artery": 7,
    },
    "totalsegmentator_coronary_arteries": {"coronary_arteries": 1},
}
# In place of a map: the files themselves tell (a folder of masks; names in a NIfTI's header).
NAMED = "named"


def plain(name):
    """Write a name in small letters, with one underscore between words."""
    return re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")


def resolve(theirs, structure):
    """Find the parts of a structure among names of other software.

    Parameters
    ----------
    theirs : iterable of str
        Names of labels or masks; those of other organs don't matter.
    structure : str
        A key of `STRUCTURES`.

    Returns
    -------
    dict of str to str
        Our name of each part that is there to theirs.

    Raises
    ------
    ValueError
        Two names for the same part.
    """
    ours = {
        term: part
        for part in STRUCTURES[structure]
        for term in (plain(part), *TERMS.get(structure, {}).get(part, "").split())
    }
    found = {}
    for name in theirs:
        part = ours.get(plain(name))
        if part in found:
            raise ValueError(f"'{found[part]}' and '{name}' both name {part}; say which counts")
        if part:
            found[part] = name
    whole = UNDIVIDED.get(structure)
    if whole in found:
        parts = {part: name for part, name in found.items() if part != whole}
        found = parts if complete(parts, structure) else {whole: found[whole]}
    return {part: found[part] for part in STRUCTURES[structure] if part in found}


def choose(theirs, structures):
    """Return the first of some structures that names of other software tell, and its parts.

    Raises
    ------
    ValueError
        None is there, or parts that are needed are not.
    """
    theirs = list(theirs)
    partly = []
    for structure in structures:
        found = resolve(theirs, structure)
        if complete(found, structure):
            return structure, found
        if found:
            lacking = sorted(NEEDED[structure] - set(found))
            partly.append(f"{', '.join(lacking)} of the {structure}")
    raise ValueError(f"no {' and no '.join(partly or structures)} among the names")


def complete(found, structure):
    """Whether the parts that were found suffice to measure a structure."""
    return bool(found) and (
        NEEDED[structure] <= set(found) or set(found) == {UNDIVIDED.get(structure)}
    )


def columns_of(names):
    """Return the columns of scans.tsv that a label map of `MAPS` can fill."""
    return [
        column
        for column, structures in COLUMNS.items()
        if any(complete(resolve(MAPS[names], s), s) for s in structures)
    ]


def dataset_codes(path):
    """Read names and codes of the labels from the ``dataset.json`` of an nnU-Net.

    Returns
    -------
    dict of str to list of int
        Background and ``ignore`` left out; a region of region-based training has several codes.

    Raises
    ------
    ValueError
        Not such a file.
    """
    path = Path(path)
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; it lies in the folder of the model") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the dataset.json of an nnU-Net ('labels')") from error
    if all(str(key).isdigit() for key in labels):  # version 1 wrote code -> name
        labels = {name: int(code) for code, name in labels.items()}
    found = {}
    for name, codes in labels.items():
        codes = codes if isinstance(codes, list) else [codes]
        if not all(isinstance(code, int) and code >= 0 for code in codes):
            raise ValueError(f"{path}: label '{name}' has no whole number")
        if plain(name) not in ("background", "ignore"):
            found[name] = codes
    return found


def code_pairs(names, scheme=None, structures=("lobes", "lungs")):
    """Return what the codes of a label map become.

    Parameters
    ----------
    names, scheme, structures
        As `parts_of`.

    Returns
    -------
    pairs : dict of int to int
        Their code to ours.
    scheme : str
        Which of `structures`.

    Raises
    ------
    ValueError
        As `parts_of`.
    """
    scheme, parts = parts_of(names, scheme, structures)
    ours = STRUCTURES[scheme]
    return {code: ours[part] for part, codes in parts.items() for code in codes}, scheme


def parts_of(names, scheme=None, structures=("lobes", "lungs")):
    """Return which codes of a label map make up each part of a structure.

    Parameters
    ----------
    names : str or dict
        A key of `MAPS`; the path of an nnU-Net's ``dataset.json``; or our names to the codes in
        the map (``{"RUL": 12}``; a list of codes is joined); or the codes in the map to ours
        (``{"12": 1}``, with `scheme`).
    scheme : str, optional
        Which structure the map leads to; needed where it doesn't name parts.
    structures : sequence of str
        What it may be, the most wanted first.

    Returns
    -------
    scheme : str
        Which of `structures`.
    parts : dict of str to list of int
        Our name of each part to their codes.

    Raises
    ------
    ValueError
        Unknown map, name or code; a code used twice; a needed part is missing.
    """
    structures = (scheme,) if scheme else tuple(structures)
    unknown = sorted(set(structures) - set(STRUCTURES))
    if unknown:
        raise ValueError(f"scheme {unknown[0]!r} is unknown; known: {', '.join(STRUCTURES)}")
    if isinstance(names, str):
        theirs = known_codes(names)
        try:
            scheme, found = choose(theirs, structures)
        except ValueError as error:
            raise ValueError(f"label map '{names}': {error} ({', '.join(theirs)})") from None
        names = {part: theirs[name] for part, name in found.items()}
    names = dict(names)
    if not names:
        raise ValueError("the label map is empty; name codes, such as {right: 1, left: 2}")
    if all(str(key).isdigit() for key in names):
        scheme = scheme or structures[-1]
        parts = _parts_of_codes(names, scheme)
    else:
        scheme = _scheme_of(names, structures)
        try:
            parts = {
                part: [int(old) for old in (olds if isinstance(olds, list | tuple) else [olds])]
                for part, olds in names.items()
            }
        except (TypeError, ValueError):
            raise ValueError(f"{names}: give codes of the label map; names are for masks") from None
    olds = sorted(old for codes in parts.values() for old in codes)
    if not olds or len(set(olds)) < len(olds) or min(olds) < 1:
        raise ValueError(f"codes {olds} of the label map must be 1 or more, each used once")
    return scheme, parts


def check(names, structures, masks=False):
    """Raise ValueError where a label map can't be right, whatever the files hold.

    Parameters
    ----------
    names, structures
        As `external.read` takes them.
    masks : bool
        Whether they are for a folder of masks.
    """
    if names is None or names == NAMED:
        return
    if not masks:
        code_pairs(names, None, structures)
    elif isinstance(names, str):
        known_codes(names)
    else:
        mask_structure(names, structures)


def mask_structure(names, structures):
    """Return the structure that a dict of our names to those of masks is about."""
    if not names or all(str(name).isdigit() for name in names):
        raise ValueError(f"{names}: a folder of masks has names, no codes; give ours to theirs")
    return _scheme_of(names, structures)


def part_of(code, structure):
    """Return our name of a code."""
    return next(part for part, value in STRUCTURES[structure].items() if value == code)


def _parts_of_codes(names, scheme):
    """Return the parts of a map of their codes to ours; those that become 0 are left out."""
    wrong = sorted({int(new) for new in names.values()} - set(STRUCTURES[scheme].values()) - {0})
    if wrong:
        raise ValueError(f"codes {wrong} are unknown to {scheme}; known: {STRUCTURES[scheme]}")
    parts = {}
    for old, new in names.items():
        if int(new):
            parts.setdefault(part_of(int(new), scheme), []).append(int(old))
    return parts


def _scheme_of(names, structures):
    """Return the first structure that has all the names as parts."""
    for structure in structures:
        if set(names) <= set(STRUCTURES[structure]):
            return structure
    known = "; ".join(f"{', '.join(STRUCTURES[s])} ({s})" for s in structures)
    strange = sorted(set(names) - {part for s in structures for part in STRUCTURES[s]})
    raise ValueError(f"{strange or sorted(names)} are no {' or '.join(structures)}; known: {known}")


def known_codes(names):
    """Return names and codes of a software of `MAPS`, or of an nnU-Net's ``dataset.json``."""
    if names in MAPS:
        return MAPS[names]
    if names.endswith(".json"):
        return dataset_codes(names)
    raise ValueError(
        f"label map {names!r} is unknown; known: {', '.join(MAPS)}, and the dataset.json of an "
        "nnU-Net"
    )
