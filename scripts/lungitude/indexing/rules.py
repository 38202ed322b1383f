"""Hold a series of an export against the series that a trial declares.

Each thing that is asked is met, not met, or not told by the header; what is not told is never
taken for met.
"""

import dataclasses
import re
from typing import NamedTuple

import numpy as np

from lungitude import protocol
from lungitude.indexing import words

AXIAL = 0.8  # cosine of a slice's normal and the long axis; 0.87 at a gantry tilt of 30 degrees
REFORMATTED = 0.5
# What a scan may deviate in and still be the one that was meant: a person is asked.
DEVIATIONS = {"kv", "slice_mm", "kernel", "voxel_mm", "contrast", "words", "reformatted"}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A series of the trial: its name, its declared protocol, and what else is asked of it.

    `unsaid` names the other series that scans without a phase are taken for, if there is one.
    """

    name: str
    declared: dict
    asked: dict
    unsaid: str = ""


class Lack(NamedTuple):
    """Something that is not met, or not told."""

    what: str
    told: bool
    text: str


def rules_of(config, settings):
    """Return the rule of each series of ``imaging: series``.

    Parameters
    ----------
    config : dict
    settings : dict
        The section ``index``, with defaults for each series.
    """
    series = config["imaging"]["series"]
    asked = settings["series"]
    found = []
    for name in series:
        others = [one for one in series if one != name and asked[one]["assume_phase"]]
        found.append(Rule(name, series[name], asked[name], others[0] if others else ""))
    return found


def lacks(stack, rule, lexicon):
    """Return what keeps a series from being the one that a rule asks for.

    Parameters
    ----------
    stack : stacks.Stack
        Of slices, or of an enhanced file.
    rule : Rule
    lexicon : words.Lexicon

    Returns
    -------
    list of Lack
        Empty if it is.
    """
    shared, asked, declared = stack.shared, rule.asked, rule.declared
    found = []

    def no(what, text):
        found.append(Lack(what, True, text))

    def untold(what, text):
        found.append(Lack(what, False, text))

    if shared["modality"] != asked["modality"]:
        no("modality", f"modality {shared['modality']}")
        return found
    kinds = lexicon.kinds(shared["description"])
    wanted = lexicon.kinds(" | ".join(asked["words"]))
    if stack.positions < asked["min_slices"]:
        no("few", f"{stack.positions} slice positions, fewer than {asked['min_slices']}")
    cycle = declared.get("cycle", False)
    if cycle != (stack.phases > 1):
        has = f"{stack.phases} phases of the cardiac cycle" if stack.phases > 1 else "one phase"
        no("cycle", f"{has}, the trial wants {'a whole cycle' if cycle else 'one'}")
    _phase(stack, rule, lexicon, no, untold)
    _protocol(stack, rule, no, untold)
    _contrast(shared, declared, kinds, no, untold)
    text = f"{shared['description']} | {shared['protocol']}"
    if asked["words"] and not words.holds(text, asked["words"]):
        no("words", "none of its 'words' stands in the description")
    if words.holds(text, asked["without"]):
        no("unwanted", "a word of 'without' stands in the description")
    if asked["modality"] == "CT":
        if "derived" in kinds and "derived" not in wanted:
            no("reformatted", "the description says that it is reformatted or calculated")
        tilt = _upright(stack)
        if tilt is not None and tilt < AXIAL:
            untold("oblique", "its slices are oblique")
    if shared["derived"] and not asked["derived"]:
        untold("derived", "ImageType says that it is derived, not of what kind")
    lying = (shared["tags"].get("patient_position") or "")[2:]
    if (lying not in ("", "S") or "prone" in kinds) and "prone" not in wanted:
        untold("position", "the patient does not lie on the back")
    here = kinds | lexicon.kinds(shared["protocol"])
    if ({"elsewhere"} & lexicon.kinds(shared["part"]) or "elsewhere" in kinds) and not (
        {"chest", "gated"} & here
    ):
        untold("part", "the header names another part of the body")
    return found


def _upright(stack):
    cosines = stack.shared["cosines"]
    if cosines is None:
        return None
    return abs(float(np.cross(cosines[:3], cosines[3:])[2]))


def is_reformatted(stack):
    """Whether tags, not words, say that a CT is no axial original, but a plane or projection."""
    if stack.shared["modality"] != "CT":
        return False
    upright = _upright(stack)
    return stack.shared["reformatted"] or (upright is not None and upright < REFORMATTED)


def _phase(stack, rule, lexicon, no, untold):
    wanted = rule.declared.get("phase")
    if wanted is None:
        return
    shared = stack.shared
    said = set(words.phases(lexicon, shared["description"], shared["protocol"]))
    timed = any(one.percent is not None for one in stack.slices)
    if shared["gated"] or timed or stack.phases > 1:
        said.add("gated")
    if said == {wanted} or (not said and rule.asked["assume_phase"]):
        return
    if not said and rule.unsaid:
        no("phase", f"scans that say no phase are taken for {rule.unsaid}")
    elif not said:
        untold("phase", f"nothing in the header says {wanted}")
    elif wanted in said:
        untold("phase", f"the header says {' and '.join(sorted(said))}")
    else:
        no("phase", f"the header says {' and '.join(sorted(said))}")


def _protocol(stack, rule, no, untold):
    """Ask what the quality control asks of the same scan later."""
    tags, spacing = stack.shared["tags"], stack.shared["spacing"]
    row = {name: tags.get(name) for name in ("kv", "slice_mm", "kernel")}
    row["voxel_mm"] = max(spacing) if spacing else None
    row = {name: float("nan") if value is None else value for name, value in row.items()}
    declared = {name: value for name, value in rule.declared.items() if name != "contrast"}
    limits = rule.asked.get("slice_mm")
    if limits:
        declared.pop("slice_mm", None)
        if tags.get("slice_mm") is None:
            untold("slice_mm", "slice_mm: not recorded")
        elif not limits[0] <= tags["slice_mm"] <= limits[1]:
            text = f"slice_mm: {tags['slice_mm']:g} mm (asked {limits[0]:g} to {limits[1]:g} mm)"
            no("slice_mm", text)
    for name, text in protocol.declared_flags(row, declared):
        (untold if row[name] != row[name] else no)(name, f"{name}: {text}")


def _contrast(shared, declared, kinds, no, untold):
    wanted = declared.get("contrast")
    if wanted is None:
        return
    agent = shared["tags"].get("contrast", False)
    with_it, without = agent or "contrast" in kinds, "no_contrast" in kinds
    says = {True: "with", False: "without"}
    if with_it and without:
        untold("contrast", "the header says both with and without contrast medium")
    elif with_it != wanted:
        no("contrast", f"{says[with_it]} contrast medium (declared {says[wanted]})")


# --- Which of several ---------------------------------------------------------------------------

# From soft to sharp. Names of other makers tell no order.
_SIEMENS = re.compile(r"([A-Z]{1,2})([0-9]{2})[A-Z]?(/[0-9])?")  # FC51 is Canon's
_GE = ["SOFT", "STANDARD", "DETAIL", "LUNG", "BONE", "BONEPLUS", "EDGE"]


def sharpness(kernel):
    """Return family and rank of a kernel, None where its name tells no rank.

    Siemens numbers its kernels by sharpness within a letter group (B31f, Br59); GE's names have an
    order.
    """
    name = str(kernel or "").strip().upper()
    if name in _GE:
        return "GE", _GE.index(name)
    found = _SIEMENS.fullmatch(name)
    return (found[1], int(found[2])) if found and found[1] != "FC" else None


def preferred(items, rule, planned_day):
    """Return those of several series that the rule's preferences leave, and which one decided.

    Parameters
    ----------
    items : list
        With ``stack`` and ``day`` (of the study).
    rule : Rule
    planned_day : int or None

    Returns
    -------
    items : list
        One if they decide.
    deciding : str
        The preference that left one; empty if none did.
    """
    for preference in rule.asked["prefer"]:
        keys = _keys(items, preference, planned_day)
        if keys is None:
            continue
        items = [one for one, key in zip(items, keys, strict=True) if key == min(keys)]
        if len(items) == 1:
            return items, preference
    return items, ""


def _keys(items, preference, planned_day):
    """Return a number for each series, the smaller the better; None where one has none."""
    if preference in ("softest", "sharpest"):
        ranks = [sharpness(one.stack.shared["tags"].get("kernel")) for one in items]
        if None in ranks or len({family for family, _ in ranks}) > 1:
            return None
        return [rank if preference == "softest" else -rank for _, rank in ranks]
    if preference in ("earliest", "latest"):
        moments = [one.stack.moment for one in items]
        if None in moments:
            return None
        order = sorted(set(moments), reverse=preference == "latest")
        return [order.index(moment) for moment in moments]
    if preference == "nearest":
        days = [one.day for one in items]
        if planned_day is None or None in days:
            return None
        return [abs(day - planned_day) for day in days]
    if preference == "most_slices":
        return [-one.stack.positions for one in items]
    thickness = [one.stack.shared["tags"].get("slice_mm") for one in items]
    if None in thickness:
        return None
    return [round(mm if preference == "thinnest" else -mm, 2) for mm in thickness]
