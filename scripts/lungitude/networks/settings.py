"""Settings of a network, of its training and of its reading, from a YAML file.

A file has the sections `SECTIONS`; what it leaves out is as in the defaults of the modules. Keys
are closed, so that a slip of the pen stops here. Network, training and parting of patients are for
rules/train.smk; how scans are read goes with the weights as what they were trained for, and a trial
asks for it in its own config.yaml.
"""

import copy
import math
from pathlib import Path

import yaml

from lungitude.checks import nearest

from . import baselines, hierarchical, parting, synthesis, training

FOLDER = Path(__file__).parents[3] / "config" / "networks"
SECTIONS = ("network", "training", "parting", "reading")
# As keys of `imaging: network` in a trial's config.yaml.
READING = {"precision": "float32", "probabilities": False, "vessel_tracking": False}
DEFAULTS = {
    "training": training.DEFAULTS,
    "parting": parting.DEFAULTS,
    "reading": READING,
}
WORDS = {
    "encoder": tuple(hierarchical.ENCODERS),
    "airway_encoder": ("shared", *hierarchical.ENCODERS),
    "branches": hierarchical.BRANCHES,
    "optimiser": tuple(training.OPTIMISERS),
    "augmentation": synthesis.AUGMENTATIONS,
    "precision": ("float32", "bfloat16"),
    "device": ("auto", "cpu", "cuda"),
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


def arguments(settings):
    """Return what `training.train` takes: settings of the network, and of the training."""
    network = copy.deepcopy(settings["network"])
    if network["architecture"] == "hierarchical":
        del network["architecture"]
    return network, copy.deepcopy(settings["training"])


def _defaults(section, given):
    """Keys of a section with their defaults; those of a network depend on its architecture."""
    if section == "network":
        name = given.get("architecture", "hierarchical")
        _check("network.architecture", "architecture", name, "hierarchical")
        return baselines.settings_of({"architecture": name})
    return DEFAULTS[section]


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
    options, parted = found["training"], found["parting"]
    without = sorted(set(options["shares"]) - set(options["batch"]))
    if without or not options["shares"]:
        raise ValueError("training.shares: name passes that training.batch has")
    shares = parted["shares"]
    if shares and abs(sum(shares.values()) - 1.0) > 1e-6:
        raise ValueError(f"parting.shares: {shares} don't sum to 1")
    if (shares or parted["folds"]) and not parted["by"]:
        raise ValueError("parting.by: name the column to stratify by, such as GOLDGR")
    if parted["by"] and not {"train", "validation"} <= set(shares) <= set(parting.PARTS):
        raise ValueError(f"parting.shares: name {', '.join(parting.PARTS)} (test may be left out)")
    if parted["folds"] == 1:
        raise ValueError("parting.folds: 1 fold holds everybody out; give 2 or more, or 0 for none")
