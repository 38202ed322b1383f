"""Index an export of scans: read its headers, decide, and write the proposal for scans.tsv."""

import collections
import os
import sys
import time
from pathlib import Path

import pandas as pd

from lungitude import dicom, sheets, tables, trial
from lungitude.checks import Problem, Rule, TrialError, nearest, schema, shown
from lungitude.indexing import decisions, headers, paths, patterns, pictures
from lungitude.indexing.decisions import ASIDE, TAKEN, UNDECIDED
from lungitude.indexing.stacks import Groups
from lungitude.job import whole
from lungitude.reporting import index as page

# Files that are no image of a series but that a person must know of.
NOTICED = (headers.ARCHIVE, dicom.BROKEN_FILE, headers.HEADLESS, headers.UNREADABLE)
FOLDER = "folder not entered (a link, or no permission)"
PICTURED = 300  # loose files without a pattern that get a picture
COLUMNS = (
    "NUMBER SERIESID DECISION CODE REASON NOTES USUBJID UNKNOWN AVISIT SERIES ADY MODALITY FILES "
    "POSITIONS PHASES WIDTH HEIGHT VOXEL_MM SLICE_MM STEP_MM EXTENT_MM KERNEL KV CONTRAST "
    "MANUFACTURER MODEL COMPRESSION WORDS"
).split()


def begin(config_path, patients=None):
    """Read what an index needs of a trial: config.yaml, subjects, and which patient is which.

    Parameters
    ----------
    config_path : path
    patients : path, optional
        In place of ``sheets: patients``.

    Returns
    -------
    decisions.Trial

    Raises
    ------
    TrialError
        With all that is wrong or lacking in these files; other sheets need not exist.
    """
    found = trial.load(config_path, only=("subjects",))
    config = found.config
    settings = settings_of(config)
    name, problems = str(config_path), []

    def lack(text):
        problems.append(Problem(name, None, "", text))

    if "imaging" not in config:
        lack("an index looks for the series of 'imaging: series'; declare them")
    imaged = [visit for visit in config["visits"] if visit["imaging"]]
    if not imaged:
        lack("no visit says 'imaging: true'; say it where scans are planned")
    dateless = not settings["time_points"] and not settings["files"]
    for visit in imaged if dateless else ():
        if "window" not in visit:
            day = visit.get("day", 1)
            example = [day - 7 if day > 8 else -28, max(day, 1) + 7]
            lack(
                f"visit '{visit['name']}' has no 'window', so no date tells its scans; write first "
                f"and last day of the study, such as window: {example}"
            )
    named = config["sheets"].get("patients")
    path = Path(patients) if patients else found.folder / named if named else None
    if path is None and "subjects" not in config["sheets"]:
        lack("neither 'sheets: subjects' nor 'sheets: patients' says who is in the trial; add one")
    known = None if path is None else _patients(path, found, problems)
    reference = settings["reference"]
    windows = any("window" in visit for visit in imaged)
    if windows and "subjects" in found.paths and found.subjects.get(reference) is None:
        text = "the column is missing, from which windows count; add it, or name another one as "
        place = str(found.paths["subjects"])
        problems.append(Problem(place, 1, reference, text + "'index: reference'"))
    elif windows and "subjects" in found.paths and not found.subjects[reference].notna().any():
        text = "the column is empty or missing, from which windows count; fill it, or name another "
        place = str(found.paths["subjects"])
        problems.append(Problem(place, 1, reference, text + "as 'index: reference'"))
    if problems:
        raise TrialError(problems)
    made = decisions.Trial(config, settings, found.subjects, known)
    made.base = trial.scans_root(config)
    made.folder = found.folder
    return made


def settings_of(config):
    """Return the section ``index`` with defaults, for each series as well."""
    whole_schema = schema("config")
    definitions = whole_schema["$defs"]
    filled = trial.with_defaults(config.get("index", {}), definitions["index"], definitions)
    plain = trial.with_defaults({}, definitions["index_series"], definitions)
    series = config.get("imaging", {}).get("series", {})
    filled["series"] = {name: filled["series"].get(name, plain) for name in series}
    return filled


def _patients(path, found, problems):
    """Read the sheet of identifiers; its problems never quote one."""
    faults = []
    frame = sheets.read(path, faults, "patients", "create it, or mend --patients or config.yaml")
    problems += [_unquoted(fault) for fault in faults]
    if frame is None:
        return None
    rules = []
    if "subjects" in found.paths:
        known = list(found.subjects["USUBJID"].dropna())
        rules = [
            Rule(
                "USUBJID",
                lambda s: s.isin(known),
                lambda v, row: f"patient {shown(v)} is not in subjects.tsv; {nearest(v, known)}",
            )
        ]
    problems += [_unquoted(fault) for fault in sheets.check(frame, "patients", path, rules)]
    if not {"PATIENTID", "USUBJID"} <= set(frame.columns):
        return None
    rows = frame.dropna(subset=["PATIENTID", "USUBJID"])
    return dict(zip(rows["PATIENTID"], rows["USUBJID"], strict=True))


def _unquoted(fault):
    """Return a problem of column PATIENTID without the cell's text."""
    if fault.column != "PATIENTID" or fault.line in (None, 1):
        return fault
    text = "the identifier is empty, stands there twice, or has odd blanks; mend it"
    return Problem(fault.file, fault.line, fault.column, text)


class Progress:
    """Lines on stderr, at most one in two seconds."""

    def __init__(self, stream=None):
        self.stream, self.last = stream or sys.stderr, time.monotonic()

    def __call__(self, text, now=False):
        """Print a line if it is time for one."""
        if now or time.monotonic() - self.last > 2:
            self.last = time.monotonic()
            print(text, file=self.stream, flush=True)


def index(folder, made, out, cores=1, progress=None):
    """Index a folder and write what was found.

    Parameters
    ----------
    folder : path
        Searched with its subfolders; archives are not opened.
    made : decisions.Trial
        As of `begin`.
    out : path
        Gets scans.tsv, index.tsv, paths.tsv, index.html and, where needed, folders of links.
    cores : int
        Processes that read headers; the result is the same.
    progress : callable, optional
        Takes a line and whether it must be shown.

    Returns
    -------
    list of str
        The summary.

    Raises
    ------
    ValueError
        A folder that can't be indexed, or one that can't be written.
    """
    folder, out = Path(folder), Path(out)
    progress = progress or Progress()
    _check_places(folder, out, made)
    items, noticed, counts = read_items(folder, made, cores, progress)

    def look(some):
        total = len(some)
        pictures.look(some, lambda done: progress(f"{done} of {total} middle slices seen"))

    decisions.decide(items, made, look)
    extra = [one for one in items if one.code == "no header"][:PICTURED]
    pictures.look([one for one in extra if one.picture is None])
    write(items, noticed, counts, made, out)
    return summary(items, noticed, counts, made, out)


def _check_places(folder, out, made):
    if folder.is_file():
        raise ValueError(f"{folder} is a file; name a folder (unpack an archive first)")
    if not folder.is_dir():
        raise ValueError(f"{folder} does not exist; name the folder of the export")
    if folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise ValueError(f"{out} lies in the folder that is indexed; name another one by --out")
    if (out / "config.yaml").exists() or out.resolve() == made.folder.resolve():
        raise ValueError(
            f"{out} is the folder of a trial, whose scans.tsv is never replaced; name another one "
            "by --out and copy the rows that you want"
        )


def read_items(folder, made, cores=1, progress=lambda text: None):
    """Read the headers below a folder and put them together to series.

    Returns
    -------
    items : list of decisions.Item
        In the order of paths, numbered.
    noticed : list of (str, str)
        Kind and path of files that a person must know of.
    counts : Counter
        Files by kind.
    """
    groups, loose, noticed, lost = Groups(), [], [], []
    counts = collections.Counter()
    modalities = {rule.asked["modality"] for rule in made.rules.values()}
    found = headers.read_all(headers.walk(folder, lost), modalities, cores)
    for number, (path, told) in enumerate(found, 1):
        if isinstance(told, tuple):
            groups.add(*told)
            counts["DICOM image or report"] += 1
        else:
            counts[told] += 1
            loose += [path] if told == headers.LOOSE else []
            noticed += [(told, path)] if told in NOTICED else []
        progress(f"{number} files read")
    noticed += [(FOLDER, path) for path in lost if path]
    counts[FOLDER] += len(lost)
    cycles = any(rule.declared.get("cycle") for rule in made.rules.values())
    items = [
        decisions.Item(0, stack, [one.path for one in stack.slices], stack.identifier)
        for stack in groups.stacks(cycles)
    ]
    for path in loose:
        told = headers.loose(path)
        said = patterns.told(paths.relative(path, folder), made.settings["files"])
        digest = told.pop("digest")[:12]
        items.append(decisions.Item(0, None, [path], digest, loose=told, said=said))
    items.sort(key=lambda item: min(item.paths))
    broken = collections.Counter(
        os.path.dirname(path) for kind, path in noticed if kind != FOLDER and "archive" not in kind
    )
    for number, item in enumerate(items, 1):
        item.number = number
        beside = {os.path.dirname(path) for path in item.paths} & set(broken)
        if beside and item.stack is not None and item.stack.shared["slices"]:
            count = sum(broken[place] for place in beside)
            text = f"{count} file(s) beside it can't be read and may be slices of it; copy them "
            item.doubts.append(("unreadable beside", text + "again, or remove them"))
    return items, noticed, counts


# --- What is written ----------------------------------------------------------------------------


def write(items, noticed, counts, made, out):
    """Write scans.tsv, index.tsv, paths.tsv, index.html and the links that these name."""
    layout, always = paths.Layout(items), made.settings["links"] == "always"
    links, places = out / "series", {}
    for item in items:
        if item.decision != ASIDE:
            places[item.number] = paths.path_of(item, layout, made.base, links, always)
    scans = [
        {
            "USUBJID": item.usubjid,
            "AVISIT": item.visit,
            "SERIES": item.series,
            "PATH": places[item.number],
            "ADT": item.date,
        }
        for item in items
        if item.decision == TAKEN
    ]
    frame = pd.DataFrame(scans, columns="USUBJID AVISIT SERIES PATH ADT".split())
    order = {visit["name"]: place for place, visit in enumerate(made.visits)}
    series = {name: place for place, name in enumerate(made.rules)}
    frame = frame.sort_values(
        ["USUBJID", "AVISIT", "SERIES"],
        key=lambda s: s.map({"AVISIT": order, "SERIES": series}.get(s.name, str)),
    )
    tables.write(frame, out / "scans.tsv")
    tables.write(facts(items, made), out / "index.tsv")
    tables.write(_paths(items, noticed, places), out / "paths.tsv")
    expected, lacking = decisions.expected(items, made)
    made_page = page.build(items, facts(items, made), counts, expected, lacking, made.config)
    with whole(out / "index.html") as part:
        part.write_text(made_page, encoding="utf-8")


def facts(items, made):
    """Return index.tsv: what is known of each series, nothing that names a patient or a file."""
    return pd.DataFrame([_facts(item, made) for item in items], columns=COLUMNS)


def _facts(item, made):
    row = {
        "NUMBER": item.number,
        "SERIESID": item.identifier,
        "DECISION": item.decision,
        "CODE": item.code,
        "REASON": item.reason,
        "NOTES": "; ".join(dict.fromkeys(item.notes)),
        "USUBJID": item.usubjid,
        "UNKNOWN": item.unknown or None,
        "AVISIT": item.visit,
        "SERIES": item.series,
        "ADY": item.day,
        "FILES": len(item.paths),
    }
    if item.stack is None:
        size, spacing = item.loose["size"], item.loose["spacing"]
        for name, values, k in (
            ("WIDTH", size, 0),
            ("HEIGHT", size, 1),
            ("POSITIONS", size, 2),
            ("PHASES", size, 3),
            ("STEP_MM", spacing, 2),
        ):
            row[name] = values[k] if len(values) > k else None
        row["VOXEL_MM"] = max(spacing[:2]) if len(spacing) > 1 else None
        return row
    stack, shared, tags = item.stack, item.stack.shared, item.stack.shared["tags"]
    size, spacing = shared["size"] or (None, None), shared["spacing"]
    kinds = made.lexicon.kinds(f"{shared['description']} | {shared['protocol']}")
    return row | {
        "MODALITY": tags["modality"],
        "POSITIONS": stack.positions if shared["slices"] else None,
        "PHASES": stack.phases if shared["slices"] else None,
        "WIDTH": size[0],
        "HEIGHT": size[1],
        "VOXEL_MM": max(spacing) if spacing else None,
        "SLICE_MM": tags["slice_mm"],
        "STEP_MM": stack.step_mm,
        "EXTENT_MM": stack.extent_mm,
        "KERNEL": tags["kernel"],
        "KV": tags["kv"],
        "CONTRAST": "yes" if tags["contrast"] else "no agent",
        "MANUFACTURER": tags["manufacturer"],
        "MODEL": tags["model"],
        "COMPRESSION": shared["syntax"],
        "WORDS": ", ".join(sorted(kinds)),
    }


def _paths(items, noticed, places):
    """Return paths.tsv: which series of index.tsv lies where, for the person who has the export."""
    rows = [
        {
            "NUMBER": item.number,
            "DECISION": item.decision,
            "PATH": places.get(item.number, ""),
            "FIRST": _printable(min(item.paths)),
        }
        for item in items
    ]
    rows += [{"NUMBER": "", "DECISION": kind, "FIRST": _printable(path)} for kind, path in noticed]
    return pd.DataFrame(rows, columns=["NUMBER", "DECISION", "PATH", "FIRST"]).fillna("")


def _printable(path):
    """Return a path in which what a sheet can't hold is escaped."""
    text = str(path)
    return ascii(text)[1:-1] if paths.is_odd(text) else text


def summary(items, noticed, counts, made, out):
    """Return what is printed at the end: counts, without any identifier."""
    by = collections.Counter(item.decision for item in items)
    files = counts.total() - counts[FOLDER]
    lines = [
        f"{files} files, {len(items)} series: {by[TAKEN]} taken, {by[ASIDE]} set aside, "
        f"{by[UNDECIDED]} undecided."
    ]
    for decision in (UNDECIDED, ASIDE):
        found = collections.Counter(one.code for one in items if one.decision == decision)
        lines += [f"  {decision}, {code}: {count}" for code, count in found.most_common()]
    noted = sum(bool(one.notes) for one in items if one.decision == TAKEN)
    if noted:
        lines.append(f"{noted} of the series taken have notes; read them in {out / 'index.html'}.")
    strange = len({one.unknown for one in items} - {0})
    if strange:
        lines.append(f"{strange} patient(s) of the export are not known to the trial.")
    kinds = collections.Counter(kind for kind, _ in noticed)
    lines += [f"{count} x {kind}; listed in paths.tsv." for kind, count in kinds.most_common()]
    expected, lacking = decisions.expected(items, made)
    for row in expected:
        lines.append(
            f"{row['visit']}, {row['series']}: {row['taken']} of {row['patients']} patients, "
            f"{row['undecided']} undecided, {row['lacking']} without"
            + (" (optional)." if row["optional"] else ".")
        )
    whom = len({(who, visit) for who, visit, _ in lacking})
    if whom:
        lines.append(f"{whom} visits of patients lack a series; {out / 'index.html'} lists them.")
    lines += [f"{out / name}" for name in ("scans.tsv", "index.tsv", "paths.tsv", "index.html")]
    return lines
