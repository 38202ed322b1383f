"""Settings of a network, of its training and of its reading, from a YAML file.

A file has the sections `SECTIONS`; what it leaves out is as in the defaults of the modules. Keys
are closed, so that a slip of the pen stops here. A file may ask for more than this version does
(`PLANNED`): it is read, and `arguments` says what is lacking before any step is trained.
"""

import copy
import math
from pathlib import Path

import yaml

from lungitude.checks import nearest

from . import baselines, hierarchical, training

FOLDER = Path(__file__).parents[3] / "config" / "networks"
SECTIONS = ("network", "training", "parting", "reading")
# Options of the publication beyond the defaults of the modules, each with the value that stands
# for what is done without it. A module that takes one up names it in its own DEFAULTS.
PLANNED = {
    "network": {
        "blur_voxels": 0.0,  # SD of a Gaussian before the windows, voxels of the pass
        "airway_encoder": "shared",  # or resnet50: one of its own, for the airways alone
    },
    "training": {
        "optimiser": "adamw",  # or adam, whose weight decay is the plain L2 penalty
        "weights": {"entropy": 1.0, "edge": 0.2, "cldice": 0.5, "values": 0.1},  # beside Dice 1
        "patience": 0,  # checks without a gain after which it stops; 0 for never
        "augmentation": "wide",  # or published
    },
    # Patients by `folds`; without a column to stratify by, the last ones are held out.
    "parting": {"by": "", "shares": {}, "folds": 0, "seed": 1},
    "reading": {"probabilities": False, "vessel_tracking": False},
}
READING = {"precision": "float32"}
WORDS = {
    "encoder": tuple(hierarchical.ENCODERS),
    "airway_encoder": ("shared", "resnet50"),
    "branches": hierarchical.BRANCHES,
    "optimiser": ("adamw", "adam"),
    "augmentation": ("wide", "published"),
    "precision": ("float32", "bfloat16"),
    "architecture": ("hierarchical", *baselines.NAMES),
}
_FREE = {"shares"}  # their keys may be fewer, or others
_SIGNED = {"windows_hu"}


def load(path):
    """Read and check a file of settings.

    Parameters
    ----------
    path : path
        Or the name of one of config/networks, without ``.yaml``.

    Returns
    -------
    dict of dict
        By section, all keys.

    Raises
    ------
    ValueError
        A file that can't be read, an unknown section or key, a value of another kind; it names
        the file and the key.
    """
    path = Path(path)
    if path.suffix == "":
        path = FOLDER / f"{path.name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(entry.stem for entry in FOLDER.glob("*.yaml")))
        raise ValueError(f"{path}: no such file; in config/networks: {known}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from None
    try:
        return check(content or {})
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def check(content):
    """Check settings and complete them by the defaults; see `load`."""
    if not isinstance(content, dict):
        raise ValueError(f"needs the sections {', '.join(SECTIONS)}")
    for section in content:
        if section not in SECTIONS:
            raise ValueError(f"section '{section}' is unknown; {nearest(section, SECTIONS)}")
    found = {}
    for section in SECTIONS:
        given = content.get(section) or {}
        if not isinstance(given, dict):
            raise ValueError(f"{section}: is {given!r}; write keys with values")
        defaults = _defaults(section, given)
        for key, value in given.items():
            if key not in defaults:
                raise ValueError(f"{section}: '{key}' is unknown; {nearest(key, defaults)}")
            _check(f"{section}.{key}", key, value, defaults[key])
        found[section] = {**copy.deepcopy(defaults), **copy.deepcopy(given)}
    _across(found)
    return found


def lacking(settings):
    """Return what settings ask for and this version doesn't do, as ``section.key``."""
    found = []
    for section, options in PLANNED.items():
        done = {"network": hierarchical.DEFAULTS, "training": training.DEFAULTS}.get(section, {})
        here = settings[section]
        found += [
            f"{section}.{key}"
            for key, today in options.items()
            if key in here and key not in done and here[key] != today
        ]
    return found


def arguments(settings):
    """Return what `training.train` takes: the settings of the network, and those of the training.

    Raises
    ------
    ValueError
        Settings that ask for what this version doesn't do; it names all of it.
    """
    without = lacking(settings)
    if without:
        raise ValueError(
            f"settings not supported by this version: {', '.join(without)}; leave them out, or "
            "say in the report that they are"
        )
    network = {key: value for key, value in settings["network"].items() if key != "architecture"}
    known = hierarchical.DEFAULTS
    if settings["network"]["architecture"] != "hierarchical":
        network["architecture"] = settings["network"]["architecture"]
        known = network
    network = {key: value for key, value in network.items() if key in known}
    options = {k: v for k, v in settings["training"].items() if k in training.DEFAULTS}
    return copy.deepcopy(network), copy.deepcopy(options)


def _defaults(section, given):
    """Keys of a section with their defaults; those of a network depend on its architecture."""
    if section == "network":
        name = given.get("architecture", "hierarchical")
        _check("network.architecture", "architecture", name, "hierarchical")
        own = {**hierarchical.DEFAULTS}
        planned = PLANNED["network"]
        if name != "hierarchical":
            own, planned = {**baselines.COMMON, **baselines.DEFAULTS[name]}, {}
        return {"architecture": name, **planned, **own}
    own = {"training": training.DEFAULTS, "reading": READING}.get(section, {})
    return {**PLANNED[section], **own}


def _check(place, key, value, like):
    """Refuse a value of another kind than its default."""
    if isinstance(like, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{place}: is {value!r}; write keys with values")
        for name, number in value.items():
            if like and name not in like:
                raise ValueError(f"{place}: '{name}' is unknown; {nearest(name, like)}")
            _check(f"{place}.{name}", key, number, like.get(name, 0.0))
        without = [] if key in _FREE else [name for name in like if name not in value]
        if without:
            raise ValueError(f"{place}: lacks {', '.join(map(str, without))}; all are needed")
    elif isinstance(like, list):
        if not isinstance(value, list) or not value:
            raise ValueError(f"{place}: is {value!r}; write a list such as {like!r}")
        for number, item in enumerate(value, 1):
            _check(f"{place}, entry {number}", key, item, like[0])
    elif isinstance(like, bool) or isinstance(value, bool):
        if type(value) is not type(like):
            raise ValueError(f"{place}: is {value!r}; write a value such as {like!r}")
    elif isinstance(like, str):
        known = WORDS.get(key)
        if not isinstance(value, str) or (known and value not in known):
            hint = f"; known: {', '.join(known)}" if known else "; write a word"
            raise ValueError(f"{place}: is {value!r}{hint}")
    else:
        _check_number(place, key, value, like)


def _check_number(place, key, value, like):
    if not isinstance(value, int | float) or not math.isfinite(value):
        hint = "; YAML needs a point, as in 1.0e-4" if isinstance(value, str) else ""
        raise ValueError(f"{place}: is {value!r}, no number{hint}")
    if isinstance(like, int) and value != int(value):
        raise ValueError(f"{place}: is {value!r}; write a whole number")
    if value < 0 and key not in _SIGNED:
        raise ValueError(f"{place}: is {value!r}, below 0")


def _across(found):
    """Refuse what no single key can tell."""
    for low_high in found["network"]["windows_hu"]:
        if len(low_high) != 2 or low_high[0] >= low_high[1]:
            raise ValueError(f"network.windows_hu: {low_high} is not lower and upper end")
    options, parting = found["training"], found["parting"]
    without = sorted(set(options["shares"]) - set(options["batch"]))
    if without or not options["shares"]:
        raise ValueError("training.shares: name passes that training.batch has")
    if parting["shares"] and abs(sum(parting["shares"].values()) - 1.0) > 1e-6:
        raise ValueError(f"parting.shares: {parting['shares']} don't sum to 1")
    if (parting["shares"] or parting["folds"]) and not parting["by"]:
        raise ValueError("parting.by: name the column to stratify by, such as GOLDGR")
