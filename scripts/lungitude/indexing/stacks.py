"""Put slices together to series: one volume each, or one cardiac cycle.

A series UID may hold several of them (orientations, kernels, acquisitions); a cardiac cycle may be
spread over several UIDs.
"""

import dataclasses
import datetime
from collections import Counter

import numpy as np

from lungitude import dicom
from lungitude.images import ScanError

NEAR = 1e-3  # of cosines and mm: what rounding of headers changes
SHARED = (
    "kind series study PatientID ClinicalTrialSubjectID size letters derived reformatted gated"
).split()
TAGS = ("kernel", "slice_mm", "kv")


@dataclasses.dataclass
class Stack:
    """The files of one volume, or of one cardiac cycle.

    Attributes
    ----------
    shared : dict
        What `headers.described` tells of a series.
    slices : list of headers.Slice
        What it tells of each slice; copies of a slice are not among them.
    positions : int
        Slice positions.
    phases : int
        Phases of the cardiac cycle; 1 of a still scan.
    step_mm : float
        Between slices; NaN where that is uneven or one.
    fault : str
        Why the ingest would refuse it; empty if nothing in the headers says so.
    copies : int
        Files that hold a slice once more.
    notes : list of str
    """

    shared: dict
    slices: list
    positions: int = 0
    phases: int = 1
    step_mm: float = float("nan")
    fault: str = ""
    copies: int = 0
    notes: list = dataclasses.field(default_factory=list)

    @property
    def identifier(self):
        """Twelve digits that the images fix, wherever they lie."""
        return dicom.digest(one.instance for one in self.slices)[:12]

    @property
    def date(self):
        """First day of acquisition, empty if none is told."""
        return min((one.date for one in self.slices if one.date), default="")

    @property
    def study_date(self):
        """First day of the study, empty if none is told."""
        return min((one.study_date for one in self.slices if one.study_date), default="")

    @property
    def moment(self):
        """Day and time of the first slice, None where either is missing."""
        times = [one.time for one in self.slices if one.time is not None]
        return (self.date, min(times)) if self.date and times else None

    @property
    def extent_mm(self):
        """Length along the normal of the slices."""
        if not self.shared["slices"] or not self.slices:
            return float("nan")
        along = _along(self)
        return float(along.max() - along.min())


def _along(stack):
    cosines = np.array(stack.shared["cosines"])
    normal = np.cross(cosines[:3], cosines[3:])
    return np.array([one.place for one in stack.slices]) @ normal


class Groups:
    """Slices as they come, by series and geometry."""

    def __init__(self):
        self.groups = {}

    def add(self, shared, own):
        """Put a slice to those that it shares series and geometry with."""
        key = (*(shared[name] for name in SHARED), *(shared["tags"][name] for name in TAGS))
        alike = self.groups.setdefault(key, [])
        for group in alike:
            if _same_plane(group.shared, shared):
                group.slices.append(own)
                return
        alike.append(Stack(shared, [own]))

    def stacks(self, cycles=False):
        """Return the series in the order of their first files.

        Parameters
        ----------
        cycles : bool
            Whether phases of a cardiac cycle that have a series each are put together.
        """
        found = [part for group in self.groups.values() for one in group for part in settle(one)]
        if cycles:
            found = _joined(found)
        return sorted(found, key=lambda stack: stack.slices[0].path)


def _same_plane(one, other):
    if one["cosines"] is None:
        return True
    pairs = zip(
        (*one["cosines"], *one["spacing"]), (*other["cosines"], *other["spacing"]), strict=True
    )
    return all(abs(a - b) <= NEAR for a, b in pairs)


def settle(stack):
    """Return the volumes of slices that share a series and a geometry."""
    slices, copies, clash = _once(sorted(stack.slices, key=lambda one: one.path))
    stack = dataclasses.replace(stack, slices=slices, notes=[], copies=copies)
    if copies:
        stack.notes.append(f"{copies} file(s) are copies of others and are passed over")
    if clash:
        stack.fault = "two different slices have the same SOPInstanceUID"
    stack.positions = len({one.place for one in slices})
    if not stack.shared["slices"]:
        return [stack]
    count = Counter(_place(one) for one in slices)
    stack.positions = len(count)
    short = sum(one.short for one in slices)
    if short:
        stack.fault = f"truncated: {short} of {len(slices)} files end early"
    if max(count.values()) == 1:
        fault = _measure(stack, slices)
        parts = _by_acquisition(stack) if fault else []
        return parts or [_faulty(stack, fault)]
    if _is_cycle(stack, count):
        return [stack]
    parts = _by_acquisition(stack)
    if parts:
        return parts
    varied = [
        name
        for name, tag in (("time", "moment"), ("echo", "echo"))
        if len({getattr(one, tag) for one in slices}) > 1
    ]
    fault = f"{max(count.values())} slices at one place"
    return [_faulty(stack, f"{fault}: a series over {varied[0]}" if varied else fault)]


def _place(one):
    return tuple(round(value, 2) for value in one.place)


def _faulty(stack, fault):
    stack.fault = stack.fault or fault
    return stack


def _once(slices):
    """Return slices without copies, the number of these, and whether two slices share a name."""
    first, clash = {}, False
    for one in slices:
        known = first.setdefault(one.instance, one)
        clash |= known.place != one.place
    return list(first.values()), len(slices) - len(first), clash


def _measure(stack, slices):
    """Take the distance of slices over; return why they are no even volume, or nothing."""
    if len(slices) < dicom.MIN_POSITIONS:
        return ""
    try:
        places = [one.place for one in slices]
        _, stack.step_mm = dicom.stack("", places, stack.shared["cosines"])
    except ScanError as error:
        return error.fault
    return ""


def _by_acquisition(stack):
    """Split at AcquisitionNumber where each acquisition is a volume of its own; else nothing."""
    numbers = sorted({one.acquisition for one in stack.slices} - {None})
    if len(numbers) < 2 or any(one.acquisition is None for one in stack.slices):
        return []
    parts = []
    for number in numbers:
        own = [one for one in stack.slices if one.acquisition == number]
        part = dataclasses.replace(stack, slices=own, fault="", notes=list(stack.notes))
        part.notes.append(f"acquisition {numbers.index(number) + 1} of {len(numbers)} of its UID")
        count = Counter(_place(one) for one in own)
        part.positions = len(count)
        if max(count.values()) > 1 and not _is_cycle(part, count):
            return []
        if max(count.values()) == 1:
            _faulty(part, _measure(part, own))
        parts.append(part)
    # Slices of one breath-hold may each be an acquisition: those are one volume with a fault.
    return parts if all(part.positions >= dicom.MIN_POSITIONS for part in parts) else []


def _is_cycle(stack, count):
    """Whether the slices at each place are phases of a cardiac cycle; take their number over."""
    for tag in ("percent", "trigger"):
        times = [getattr(one, tag) for one in stack.slices]
        if None in times:
            continue
        by_place = {}
        for one in stack.slices:
            by_place.setdefault(_place(one), []).append(round(getattr(one, tag), 2))
        if any(len(set(own)) < len(own) for own in by_place.values()):
            continue
        stack.phases = max(count.values())
        if len(set(count.values())) > 1:
            _faulty(stack, "a cardiac cycle with phases that lack slices")
        elif len({round(time, 2) for time in times}) != stack.phases:
            _faulty(stack, "the phases of the cardiac cycle are at other times in each slice")
        first = {_place(one): one for one in stack.slices}
        fault = _measure(stack, list(first.values()))
        if fault:
            _faulty(stack, fault)
        return True
    return False


def _joined(stacks):
    """Put phases of a cardiac cycle together that have a series each."""
    sets = {}
    rest = []
    for stack in stacks:
        time = _single_phase(stack)
        if time is None:
            rest.append(stack)
            continue
        shared = stack.shared
        grid = tuple(sorted(_place(one) for one in stack.slices))
        tags = tuple(shared["tags"][name] for name in TAGS)
        kept = ("study", "PatientID", "ClinicalTrialSubjectID", "size", "derived", "reformatted")
        key = (*(shared[name] for name in kept), *tags, shared["cosines"], hash(grid))
        sets.setdefault(key, {}).setdefault(time, []).append(stack)
    for phases in sets.values():
        if len(phases) < 2 or any(len(own) > 1 for own in phases.values()):
            rest += [stack for own in phases.values() for stack in own]
            continue
        parts = [own[0] for _, own in sorted(phases.items())]
        first = parts[0]
        whole = dataclasses.replace(
            first,
            slices=[one for part in parts for one in part.slices],
            copies=sum(part.copies for part in parts),
            phases=len(parts),
            fault=next((part.fault for part in parts if part.fault), ""),
            notes=[*first.notes, f"{len(parts)} phases with a series UID each"],
        )
        said = {(part.shared["description"], part.shared["protocol"]) for part in parts}
        texts = (" ".join(sorted(texts)) for texts in zip(*said, strict=True))
        whole.shared = {
            **first.shared,
            **dict(zip(("description", "protocol"), texts, strict=True)),
        }
        rest.append(whole)
    return rest


def _single_phase(stack):
    """Return when in the cardiac cycle all slices were taken; None of other series."""
    if not stack.shared["slices"] or stack.phases > 1 or stack.positions < dicom.MIN_POSITIONS:
        return None
    for tag in ("percent", "trigger"):
        times = {getattr(one, tag) for one in stack.slices}
        if len(times) == 1 and None not in times:
            return times.pop()
    return None


def days_apart(stack):
    """Return how many days the slices of a series are apart."""
    days = sorted(one.date for one in stack.slices if one.date)
    if not days:
        return 0
    first, last = (datetime.date.fromisoformat(day) for day in (days[0], days[-1]))
    return (last - first).days
