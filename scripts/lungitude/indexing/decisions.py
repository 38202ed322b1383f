"""Decide what each series of an export is: taken, set aside, or left to a person.

A series is taken where its patient, visit and series are each told by header, config and sheets,
nothing contradicts them, and no other series could be meant. Everything else has a reason.
"""

import collections
import dataclasses

import numpy as np
import pandas as pd

from lungitude import dicom
from lungitude.adam import study_day
from lungitude.indexing import rules
from lungitude.indexing.stacks import days_apart
from lungitude.indexing.words import Lexicon

TAKEN, ASIDE, UNDECIDED = "taken", "set aside", "undecided"
MR_NOTE = "a run reads CT from DICOM, not MR: it will exclude it"


@dataclasses.dataclass
class Item:
    """A series or a loose file, and what was decided.

    Attributes
    ----------
    number : int
        Neutral name, by the order of paths.
    stack : stacks.Stack or None
        None of a loose file.
    paths : list of str
        Its files.
    identifier : str
        Twelve digits that its content fixes.
    loose : dict or None
        What `headers.loose` tells of a file.
    said : list of dict
        What `patterns.told` says of it.
    usubjid : str
        Empty if unknown.
    unknown : int
        Neutral number of a patient that is not of the trial; 0 of others.
    visit, series : str
        Empty if unknown.
    day : int or None
        Day of the study.
    date : str
    decision, code, reason : str
        `TAKEN`, `ASIDE` or `UNDECIDED`; a word for counts; and a line for a person.
    notes : list of str
    picture : PIL.Image or None
        The middle slice.
    pixels : str
        Digest of that slice; empty if it is blank or was not read.
    """

    number: int
    stack: object
    paths: list
    identifier: str
    loose: dict | None = None
    said: list = dataclasses.field(default_factory=list)
    usubjid: str = ""
    unknown: int = 0
    visit: str = ""
    series: str = ""
    day: int | None = None
    date: str = ""
    decision: str = ""
    code: str = ""
    reason: str = ""
    notes: list = dataclasses.field(default_factory=list)
    picture: object = None
    pixels: str = ""
    fits: dict = dataclasses.field(default_factory=dict)
    doubts: list = dataclasses.field(default_factory=list)

    def decide(self, decision, code, reason):
        """Take a decision over."""
        self.decision, self.code, self.reason = decision, code, reason

    @property
    def full(self):
        """Names of the rules that it meets."""
        return [name for name, lacks in self.fits.items() if not lacks]

    @property
    def possible(self):
        """Names of the rules that it may meet: nothing says otherwise, but not all is told."""
        return [n for n, lacks in self.fits.items() if lacks and not any(o.told for o in lacks)]

    @property
    def near(self):
        """Names of the rules that it meets but for one deviation."""
        return [
            name
            for name, lacks in self.fits.items()
            if len(lacks) == 1 and lacks[0].told and lacks[0].what in rules.DEVIATIONS
        ]

    @property
    def fault(self):
        """Why the ingest would refuse it, as far as headers tell."""
        return self.stack.fault if self.stack else ""


class Trial:
    """What of a trial the decisions need.

    Parameters
    ----------
    config : dict
    settings : dict
        Section ``index`` with defaults.
    subjects : DataFrame
        USUBJID and the column of the reference date.
    patients : dict of str to str, or None
        USUBJID by PATIENTID; None where there is no such sheet.
    """

    def __init__(self, config, settings, subjects, patients):
        self.config, self.settings = config, settings
        self.rules = {rule.name: rule for rule in rules.rules_of(config, settings)}
        self.visits = [visit for visit in config["visits"] if visit["imaging"]]
        self.known = list(subjects["USUBJID"].dropna()) if "USUBJID" in subjects else []
        self.patients = patients
        reference = settings["reference"]
        self.references = {}
        if reference in subjects:
            self.references = dict(subjects.set_index("USUBJID")[reference].dropna())
        self.lexicon = Lexicon(settings["words"])

    def subject(self, identifier):
        """Return the USUBJID of an identifier of a scanner, empty if it is none of the trial."""
        if self.patients is not None:
            return self.patients.get(identifier, "")
        return identifier if identifier in set(self.known) else ""

    def visit_of(self, day):
        """Return the visits whose window holds a day."""
        return [
            visit["name"]
            for visit in self.visits
            if "window" in visit and visit["window"][0] <= day <= visit["window"][1]
        ]

    def day_of(self, usubjid, date):
        """Return the day of the study, None where date or reference is missing."""
        reference = self.references.get(usubjid)
        if not date or reference is None:
            return None
        return int(study_day(pd.Series([date]), pd.Series([reference])).iloc[0])


def decide(items, trial, look):
    """Decide all series of an export.

    Parameters
    ----------
    items : list of Item
        With number, stack or loose, paths, identifier.
    trial : Trial
    look : callable
        Takes the items whose middle slice is worth a look and gives them `picture` and `pixels`,
        and a note where it can't be decoded.
    """
    for item in items:
        _sort_out(item, trial)
    _number_the_unknown(items, trial)
    for item in items:
        if item.decision != ASIDE or item.near:
            _place(item, trial)
    _doubt_mixed_patients(items, trial)
    look([item for item in items if not item.decision or item.near])
    _set_copies_aside(items)
    taken, claimed = _take(items, trial)
    _leave_the_rest(items, taken, claimed)


# --- What a series is ---------------------------------------------------------------------------


def _sort_out(item, trial):
    """Set aside what is no scan of the trial, and find the rules that the rest may meet."""
    if item.loose is not None:
        _sort_out_file(item, trial)
        return
    stack, shared = item.stack, item.stack.shared
    item.notes += stack.notes
    kinds = trial.lexicon.kinds(shared["description"])
    kind = shared["kind"]
    frames = kind.startswith("multi-frame")
    if shared["modality"] in ("SR", "KO", "PR", "DOC"):
        item.decide(ASIDE, "report", f"report or mark, no image ({shared['modality']})")
    elif kind.startswith("modality"):
        item.decide(ASIDE, "modality", kind)
    elif kind == "localiser" or "localiser" in kinds:
        item.decide(ASIDE, "localiser", "localiser (scout)")
    elif kind == "secondary capture or report":
        item.decide(ASIDE, "capture", "secondary capture, dose report or screen shot")
    elif kind == dicom.BROKEN_FILE:
        text = "image whose header lacks size, position or identifiers; copy it again"
        item.decide(UNDECIDED, "broken", text)
    elif not shared["slices"] and not frames:
        item.decide(ASIDE, "no position", kind)
    elif shared["letters"]:
        item.decide(ASIDE, "burned in", "the header says that letters are burned into the pixels")
    elif frames and shared["frames"] < dicom.MIN_POSITIONS:
        item.decide(ASIDE, "few slices", f"{shared['frames']} frame(s)")
    elif stack.positions < dicom.MIN_POSITIONS and not frames:
        text = f"{stack.positions} slice position(s): a localiser, a bolus watch, or a lost series"
        item.decide(ASIDE, "few slices", text)
    elif rules.is_reformatted(stack):
        text = "derived: reformatted, projected or averaged, or not in axial slices"
        item.decide(ASIDE, "derived", text)
    else:
        if frames:
            stack.positions = shared["frames"]
        for name, rule in trial.rules.items():
            item.fits[name] = rules.lacks(stack, rule, trial.lexicon)
        if not item.full and not item.possible:
            item.decide(ASIDE, "not wanted", _unwanted(item.fits))


def _sort_out_file(item, trial):
    """Read what patterns say of a file that has no header of a scanner."""
    ignored = [own["ignore"] for own in item.said if "ignore" in own]
    said = {(own.get("series") or own.get("{series}", "")) for own in item.said} - {""}
    if ignored:
        item.decide(ASIDE, "ignored", f"index.files: {ignored[0]}")
        if len(ignored) < len(item.said):
            text = "one pattern of index.files ignores it and another one takes it"
            item.decide(UNDECIDED, "patterns", text)
    elif item.loose["fault"]:
        item.decide(UNDECIDED, "broken", f"image file: {item.loose['fault']}")
    elif not item.said:
        text = "image file without a scanner's header, and no pattern of index.files fits its path"
        if item.loose["bits8"]:
            text += "; its 8-bit voxels can't hold HU: perhaps a label map"
        item.decide(UNDECIDED, "no header", text)
    elif item.loose["bits8"] or item.loose["colour"]:
        text = "a pattern of index.files takes it, but its voxels are 8-bit or colours, not HU"
        item.decide(UNDECIDED, "no HU", text)
    elif len(said) != 1 or not said <= set(trial.rules):
        item.decide(UNDECIDED, "patterns", "the patterns of index.files name no or several series")
    else:
        name = said.pop()
        cycle = trial.rules[name].declared.get("cycle", False)
        size = item.loose["size"]
        if cycle != (len(size) == 4 and size[3] > 1):
            text = f"{len(size)} dimensions, but {name} is {'a' if cycle else 'no'} cardiac cycle"
            item.decide(UNDECIDED, "cycle", text)
        elif not cycle and min(size[2:3] or (0,)) < trial.rules[name].asked["min_slices"]:
            item.decide(UNDECIDED, "few slices", f"few slices for {name}")
        else:
            item.fits[name] = []
            item.notes.append("a file without a scanner's header: what it is says its path alone")


def _unwanted(fits):
    """Say why a series is none of the trial's, of the two that come nearest."""
    order = sorted(fits, key=lambda name: sum(lack.told for lack in fits[name]))
    parts = [f"not {name} ({next(o.text for o in fits[name] if o.told)})" for name in order[:2]]
    more = f", nor {len(order) - 2} other" if len(order) > 2 else ""
    return "; ".join(parts) + more


# --- Whose it is, and of when -------------------------------------------------------------------


def _identifiers(item, trial):
    if item.loose is None:
        return {item.stack.shared[trial.settings["patient"]]}
    return {own["{patient}"] for own in item.said if "{patient}" in own}


def _subjects(item, trial):
    """Return the patients that header or path tell; "" for one that is not of the trial."""
    found = {trial.subject(name) for name in _identifiers(item, trial)}
    if item.loose is not None:
        # A path may hold the USUBJID itself, also where a sheet maps other identifiers.
        known = set(trial.known)
        found = {
            trial.subject(name) or (name if name in known else "")
            for name in _identifiers(item, trial)
        }
        found |= {own["patient"] for own in item.said if "patient" in own}
    return found


def _number_the_unknown(items, trial):
    """Give patients that are not of the trial neutral numbers, in the order of series."""
    numbers = {}
    for item in items:
        if item.loose is not None and not item.said:
            continue
        found = _subjects(item, trial)
        if len(found) == 1 and "" not in found:
            item.usubjid = found.pop()
        else:
            key = "|".join(sorted(_identifiers(item, trial) - {""}))
            item.unknown = numbers.setdefault(key, len(numbers) + 1) if key else 0


def _place(item, trial):
    """Find patient and visit of a series, and what makes them doubtful."""
    if item.decision and not item.near:
        return
    if not item.usubjid:
        where = "patients.tsv" if trial.patients is not None else "subjects.tsv"
        text = f"patient unknown {item.unknown} is not in {where}"
        if not item.unknown:
            tag = trial.settings["patient"]
            text = f"the header has no {tag}" if item.stack else "no pattern names its patient"
        item.doubts.append(("patient", text))
    if item.loose is not None:
        _place_file(item, trial)
        return
    stack = item.stack
    item.date = stack.date
    if stack.shared["kind"].startswith("multi-frame"):
        text = "enhanced multi-frame file, which a run can't read: convert it to one file a slice"
        item.doubts.append(("multi-frame", text))
    if days_apart(stack) > 1:
        item.doubts.append(("date", "its slices were acquired on several days"))
    point = stack.shared["time_point"]
    said = {trial.settings["time_points"].get(point, "")} - {""}
    item.day = trial.day_of(item.usubjid, item.date)
    dated = set(trial.visit_of(item.day)) if item.day is not None else set()
    other = trial.day_of(item.usubjid, stack.study_date)
    if other is not None and other != item.day:
        acquired = "no day" if item.day is None else f"day {item.day}"
        item.notes.append(f"StudyDate says day {other}, acquisition {acquired}")
        dated |= set(trial.visit_of(other))
    found = said | dated
    if said and item.day is not None and any("window" in v for v in trial.visits) and not dated:
        item.doubts.append(("visit", f"its time point is {said.pop()}, but {_no_window(item)}"))
    elif len(found) == 1:
        item.visit = found.pop()
    elif len(found) > 1:
        text = f"date and time point speak for several visits: {', '.join(sorted(found))}"
        item.doubts.append(("visit", text))
    elif not item.usubjid:
        item.doubts.append(("visit", "so its visit is unknown, too"))
    elif not item.date:
        item.doubts.append(("date", "the header has no date of acquisition or study"))
    elif item.day is None:
        column = trial.settings["reference"]
        item.doubts.append(("date", f"{item.usubjid} has no {column} in subjects.tsv"))
    else:
        item.doubts.append(("visit", _no_window(item)))


def _no_window(item):
    return f"day {item.day} of the study lies in the window of no visit"


def _place_file(item, trial):
    names = {visit["name"] for visit in trial.visits}
    of_path = {visit["path"]: visit["name"] for visit in trial.visits}
    found = set()
    for own in item.said:
        value = own.get("visit") or own.get("{visit}", "")
        found.add(value if value in names else of_path.get(value, ""))
    if len(found) == 1 and "" not in found:
        item.visit = found.pop()
    else:
        item.doubts.append(("visit", "the patterns of index.files tell no or several visits"))


def _doubt_mixed_patients(items, trial):
    """Doubt an identifier whose headers describe two persons."""
    people = collections.defaultdict(lambda: (set(), set()))
    for item in items:
        if item.stack is not None:
            shared = item.stack.shared
            born, sexes = people[shared[trial.settings["patient"]]]
            born.add(shared["born"])
            sexes.add(shared["sex"].upper() if shared["sex"].upper() in ("M", "F") else "")
    for item in items:
        if item.stack is None:
            continue
        born, sexes = people[item.stack.shared[trial.settings["patient"]]]
        if len(born - {""}) > 1 or len(sexes - {""}) > 1:
            text = "headers with this identifier tell two birth dates or sexes: two persons?"
            item.doubts.append(("two persons", text))


# --- Which of several ---------------------------------------------------------------------------


def _set_copies_aside(items):
    """Find series with the same pixels: copies at one visit, a mix-up between two."""
    alike = collections.defaultdict(list)
    for item in items:
        if item.pixels and not item.decision:
            alike[item.pixels, item.stack.positions if item.stack else 0].append(item)
    for group in alike.values():
        if len(group) < 2:
            continue
        group.sort(key=lambda one: (not one.full, one.number))
        owners = {(one.usubjid, one.unknown, one.visit or one.date) for one in group}
        names = {tuple(one.full) for one in group if one.full}
        same = len(owners) == 1 and len(names) < 2
        for one in group[1:] if same else group:
            if same:
                one.decide(ASIDE, "duplicate", f"duplicate of series {group[0].number}")
                continue
            others = ", ".join(str(other.number) for other in group if other is not one)
            what = "another patient or visit" if len(owners) > 1 else "another description"
            text = f"the same pixels as series {others}, of {what}"
            one.doubts.insert(0, ("same pixels", text))


def _take(items, trial):
    """Fill each patient's visit.

    Returns
    -------
    taken : dict
        Number of the series that is taken, by patient, visit and series.
    claimed : set
        Places that some series fits, taken or not.
    """
    rivals = collections.defaultdict(list)
    for item in items:
        if item.decision or not item.full:
            continue
        also = [*item.full[1:], *item.possible]
        if also:
            text = f"it fits {item.full[0]} and may be {', '.join(also)}: declare what parts them"
            item.doubts.append(("several series", text))
        if item.doubts:
            continue
        rivals[item.usubjid, item.visit, item.full[0]].append(item)
    planned = {visit["name"]: visit.get("day") for visit in trial.visits}
    taken = {}
    for place, group in rivals.items():
        _, visit, name = place
        sound = [one for one in group if not one.fault] or group
        for one in group:
            if one not in sound:
                text = f"another series of this visit has not its fault: {one.fault}"
                one.decide(ASIDE, "faulty", text)
        files = [one for one in sound if one.stack is None]
        left, deciding = (sound, "")
        if len(sound) > 1 and not files:
            left, deciding = rules.preferred(sound, trial.rules[name], planned[visit])
        if len(left) > 1:
            for one in sound:
                others = ", ".join(str(o.number) for o in sound if o is not one)
                text = f"series {others} fits {name} of this visit as well; 'prefer' decides not"
                one.decide(UNDECIDED, "several", text)
            continue
        winner = left[0]
        reason = f"{deciding} of {len(sound)}" if deciding else "the one that fits"
        winner.decide(TAKEN, "taken", reason)
        winner.series = name
        taken[place] = winner.number
        if winner.fault:
            winner.notes.append(f"a run will exclude it: {winner.fault}")
        if winner.stack and winner.stack.shared["modality"] == "MR":
            winner.notes.append(MR_NOTE)
        for one in sound:
            if one is not winner:
                text = f"series {winner.number} is preferred ({deciding})"
                one.decide(ASIDE, "not preferred", text)
    return taken, set(rivals)


def _leave_the_rest(items, taken, claimed):
    """Leave what is neither taken nor set aside to a person, and say what is in doubt."""
    for item in items:
        if item.decision == ASIDE and item.near and not item.doubts:
            free = [n for n in item.near if (item.usubjid, item.visit, n) not in claimed]
            if free:
                text = (
                    f"may be the {free[0]} that this visit lacks, but {item.fits[free[0]][0].text}"
                )
                item.decide(UNDECIDED, "deviates", text)
        if item.decision:
            continue
        doubts = list(item.doubts)
        if not item.full:
            places = [(item.usubjid, item.visit, name) for name in item.possible]
            if not doubts and all(place in taken for place in places):
                numbers = ", ".join(str(taken[place]) for place in places)
                text = f"could be {' or '.join(item.possible)}, which series {numbers} is"
                item.decide(ASIDE, "place taken", f"{text}; not told: {_untold(item)}")
                continue
            text = f"could be {' or '.join(item.possible)}, but {_untold(item)}"
            doubts.insert(0, ("not told", text))
        elif len(item.full) == 1 and not item.possible:
            item.notes.append(f"by its header it is {item.full[0]}")
        code = doubts[0][0]
        item.decide(UNDECIDED, code, "; ".join(text for _, text in doubts))


def _untold(item):
    texts = [lack.text for name in item.possible for lack in item.fits[name]]
    return ", ".join(dict.fromkeys(texts))


def expected(items, trial):
    """Return what each visit with imaging has of each series.

    Parameters
    ----------
    items : list of Item
    trial : Trial

    Returns
    -------
    counts : list of dict
        visit, series, patients, taken, undecided (patients with an undecided series that may be it,
        and none taken), lacking (patients with neither).
    lacking : list of (str, str, str)
        USUBJID, visit, series without anything, by patient.
    """
    taken = {(one.usubjid, one.visit, one.series) for one in items if one.decision == TAKEN}
    maybe = set()
    for one in items:
        if one.decision == UNDECIDED and one.usubjid:
            for name in {*one.full, *one.possible, *one.near}:
                maybe.add((one.usubjid, one.visit, name))
    people = trial.known or sorted({one.usubjid for one in items if one.usubjid})
    counts, lacking = [], []
    for visit in trial.visits:
        for name, rule in trial.rules.items():
            places = [(who, visit["name"], name) for who in people]
            got = [place for place in places if place in taken]
            open_ = [
                (who, at, series)
                for who, at, series in places
                if (who, at, series) not in taken
                and ((who, at, series) in maybe or (who, "", series) in maybe)
            ]
            without = [place for place in places if place not in {*got, *open_}]
            lacking += [] if rule.asked["optional"] else without
            counts.append(
                {
                    "visit": visit["name"],
                    "series": name,
                    "patients": len(people),
                    "taken": len(got),
                    "undecided": len(open_),
                    "lacking": len(without),
                    "optional": rule.asked["optional"],
                }
            )
    order = {who: place for place, who in enumerate(people)}
    lacking.sort(key=lambda place: order[place[0]])
    return counts, lacking


def middle(stack):
    """Return the path of the slice in the middle of a series."""
    if stack.shared["cosines"] is None:
        return stack.slices[0].path
    cosines = np.array(stack.shared["cosines"])
    normal = np.cross(cosines[:3], cosines[3:])
    order = sorted(stack.slices, key=lambda one: (float(np.dot(one.place, normal)), one.instance))
    return order[len(order) // 2].path
