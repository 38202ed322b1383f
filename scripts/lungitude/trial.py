"""A trial as its folder describes it: read, checked as a whole, and given defaults.

`load` either returns a `Trial` or raises `TrialError` with every problem of the folder. Rules and
the command line call it; scripts of jobs get what they need as params.
"""

import dataclasses
import functools
import os
import re
from pathlib import Path

import pandas as pd

from lungitude import (
    configs,
    documents,
    grades,
    plans,
    reference_values,
    screening,
    sheets,
    source_maps,
    sources,
    units,
    windows,
)
from lungitude.checks import Problem, Rule, TrialError, nearest, schema, shown
from lungitude.documents import dates_as_text, is_partial_date
from lungitude.sheets import numbers

__all__ = ["Trial", "TrialError", "load"]

SHEETS = (
    *("subjects", "randomisation", "scans", "measurements", "parameters", "events", "reads"),
    *("sessions", "adverse", "screening"),
)

# Columns of scans.tsv with label maps of structures, and the series that each is measured on.
STRUCTURES = {
    "AIRWAYS": "inspiration",
    "VESSELS": "inspiration",
    "CORONARY": "calcium",
    "HEART": "gated",
}
CODE = re.compile(r"-?(9{2,}|8{2,}|7{2,})(\.0*)?")  # of values that are missing, elsewhere
RUN = "run:"  # in a column of labels: made by this run of `imaging: external`


@dataclasses.dataclass(frozen=True)
class Trial:
    """A checked trial.

    Attributes
    ----------
    folder : Path
        Folder of config.yaml.
    config, plan : dict
        With the defaults of the schemas filled in; `plan` is None where plan.yaml is absent.
    subjects, randomisation, scans, measurements, parameters, events, reads, sessions, adverse,
    screening
        Sheets as text (DataFrame of str); empty with the right columns where the trial has none.
        `scans` holds the scans in use (imaging: max_subjects) and, as `visit`, the path form of the
        visit.
    paths : dict
        Path of each sheet that exists; of one that is made by maps, that of the first file.
    mapped : dict
        `sources.Mapped` of each sheet that is made by maps.
    """

    folder: Path
    config: dict
    plan: dict | None
    subjects: pd.DataFrame
    randomisation: pd.DataFrame
    scans: pd.DataFrame
    measurements: pd.DataFrame
    parameters: pd.DataFrame
    events: pd.DataFrame
    reads: pd.DataFrame
    sessions: pd.DataFrame
    adverse: pd.DataFrame
    screening: pd.DataFrame
    paths: dict
    mapped: dict = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def doubts(self):
        """Problems that may be none: values that seem to be in another unit, maps without a row.

        Only a check tells them, so that no other reader of the trial waits for them.
        """
        return _doubts(self)

    @property
    def files(self):
        """Every file that the sheets are read from."""
        named = [path for name, path in self.paths.items() if name not in self.mapped]
        for made in self.mapped.values():
            named += [self.folder / source.file for source in made.maps]
        return list(dict.fromkeys(named))

    @property
    def baseline(self):
        """The baseline visit as a dict of config.yaml."""
        return next(visit for visit in self.config["visits"] if visit["baseline"])

    @property
    def visit_names(self):
        """Names of the visits in order of time."""
        return [visit["name"] for visit in self.config["visits"]]

    @property
    def after_baseline(self):
        """Names of the visits after the baseline; all if there is no baseline yet."""
        visits = self.config["visits"]
        first = [visit["number"] for visit in visits if visit["baseline"]]
        return [visit["name"] for visit in visits if not first or visit["number"] > first[0]]

    @property
    def strata(self):
        """Strata that get a report: everybody first, then each level of each factor."""
        levels = [
            {"path": level["path"], "label": level["label"], "column": factor["column"],
             "value": level["value"]}
            for factor in self.config["strata"]
            for level in factor["levels"]
        ]  # fmt: skip
        return [{"path": "all", "label": "All patients", "column": "", "value": ""}, *levels]

    @property
    def planned(self):
        """Whether there is a plan to analyse the trial by."""
        return self.plan is not None


def load(config_path, config=None, root=".", only=None):
    """Read and check the folder of a trial.

    Parameters
    ----------
    config_path : path
        config.yaml of the trial; plan.yaml and the sheets are found from there.
    config : dict, optional
        Content to use in place of the file's (Snakemake merges ``--config`` into it).
    root : path
        Folder that PATH in scans.tsv is relative to, unless config.yaml names ``scans_root``.
    only : collection of str, optional
        Sheets to read of a trial that is not complete yet; neither the other ones nor plan.yaml
        need exist.

    Returns
    -------
    Trial

    Raises
    ------
    TrialError
        With all the problems of the folder, one line each.
    """
    config_path = Path(config_path)
    folder = config_path.parent
    problems = []
    document = documents.read(config_path, problems)
    if document and config is not None:
        document = dataclasses.replace(document, content=config)
    problems += document.check("config") if document else []
    broken = bool(problems)
    plan_path, planned, faults = folder / "plan.yaml", None, []
    wanted = SHEETS if only is None else [name for name in SHEETS if name in only]
    if os.path.lexists(plan_path) and only is None:
        planned = documents.read(plan_path, faults)
        faults += planned.check("plan") if planned else []
        planned = None if faults else planned
        problems += faults
    if broken:
        raise TrialError(problems + (_alone(document, folder, wanted) if document else []))

    config = with_defaults(dates_as_text(document.content), schema("config"))
    plan = planned and with_defaults(dates_as_text(planned.content), schema("plan"))
    clashes = list(configs.problems(config, document))
    problems += clashes
    given, paths, unsure, mapped, places = {}, {}, set(), {}, set()
    for name in sorted(wanted, key="parameters".__ne__):  # maps convert to its units
        if name not in config["sheets"]:
            continue
        faults, maps = [], source_maps.of(config["sheets"][name])
        paths[name] = folder / (maps[0].file if maps else config["sheets"][name])
        if maps:
            parameters = None if "parameters" in unsure else given.get("parameters")
            mapped[name] = _by_maps(name, maps, config, document, folder, parameters, faults)
            given[name] = mapped[name] and mapped[name].frame
        else:
            given[name] = sheets.read(paths[name], faults, name, _remedy(name))
        columns = [] if given[name] is None else given[name].columns
        if faults or not set(schema(f"sheets/{name}")["required"]) <= set(columns):
            unsure.add(name)
        problems += faults
        places |= {(fault.file, fault.line, fault.column) for fault in faults if maps}
    frames = {name: _complete(given.get(name), name) for name in SHEETS}
    mapped = {name: made for name, made in mapped.items() if made}
    trial = Trial(folder, config, plan, **frames, paths=paths, mapped=mapped)
    found = _sheet_problems(trial, given, unsure, Path(root))
    # A cell that a map could not read is told already.
    problems += [p for p in found if (p.file, p.line, p.column) not in places]
    if only is not None:
        if problems:
            raise TrialError(problems)
        return trial
    problems += [] if clashes or "scans" in unsure else _second_opinion_problems(trial, document)
    problems += [] if clashes or "parameters" in unsure else _spread_problems(trial, document)
    if "screening" in paths and not {"screening", "subjects", "randomisation"} & unsure:
        problems += screening.problems(trial)
    settings = config.get("reference_values")
    if settings and not clashes and "parameters" not in unsure:
        problems += reference_values.problems(config, trial.parameters, document.problem)
        problems += reference_values.measured(trial)
    broken = {problem.file for problem in problems}
    ready = not clashes and str(paths.get("subjects")) not in broken
    if "derive" in config and ready and not (settings and broken):
        problems += grades.problems(trial)
    if "visit_windows" in config and not clashes and not broken & set(map(str, paths.values())):
        problems += windows.problems(trial)
    if "phantom" in config and not clashes:
        problems += _phantom_problems(trial)
    if plan is not None:
        problems += plans.problems(trial, planned)
    if problems:
        raise TrialError(problems)
    return dataclasses.replace(trial, scans=_scans_in_use(trial))


def _by_maps(name, maps, config, document, folder, parameters, faults):
    """Make a sheet by its maps; None if they, or the files, are at fault."""
    extra = subject_columns(config) if name == "subjects" else {}
    faults += source_maps.problems(name, config, document, extra)
    if faults:
        return None
    lacking = parameters is None and name != "subjects"
    declared = None if lacking else source_maps.declared_units(name, parameters, extra)
    return sources.read(name, maps, folder, faults, extra, declared)


def _doubts(trial):
    """Return what is odd about sheets without being wrong."""
    found = []
    for name, made in trial.mapped.items():
        for count in made.counts.itertuples():
            if not count.rows_given:
                text = f"none of {count.rows_read} rows is taken for '{name}'"
                found.append(Problem(str(trial.folder / count.file), None, "", text))
    frame, declared = trial.measurements, trial.parameters.set_index("PARAMCD")["AVALU"]
    unit = frame["PARAMCD"].map(declared)
    values = pd.DataFrame(
        {"PARAMCD": frame["PARAMCD"], "AVAL": numbers(frame["AVAL"]), "AVALU": unit}
    )
    for slip in units.slips(values).itertuples():
        row = frame.loc[slip.Index]
        how = f"is {slip.times:.3g} times" if slip.times > 1 else f"is 1/{1 / slip.times:.3g} of"
        text = (
            f"{row.PARAMCD} of {row.USUBJID} at {row.AVISIT} is {row.AVAL}, which {how} what is "
            f"usual here (median {slip.median:.3g} {unit[slip.Index]}); "
        )
        text += f"is it in {slip.unit}?" if slip.unit else "another unit, or a lost decimal point?"
        problem = Problem(str(trial.paths["measurements"]), slip.Index + 2, "AVAL", text)
        made = trial.mapped.get("measurements")
        found.append(made.placed(problem) if made else problem)
    return found


def _alone(document, folder, wanted):
    """Return the problems of each sheet on its own: a broken config says nothing of the rest."""
    found = []
    named = document.content.get("sheets")
    for name in wanted:
        file = named.get(name) if isinstance(named, dict) else None
        if not isinstance(file, str) or not file:
            continue
        frame = sheets.read(folder / file, found, name, _remedy(name))
        if frame is not None:
            closed = name != "subjects"
            found += sheets.check(frame, name, folder / file, [], closed=closed)
    return found


def _remedy(name):
    return f"create it or mend 'sheets: {name}' in config.yaml"


def _complete(frame, name):
    """Give a sheet all columns of its schema; one that is not there has no rows."""
    columns = list(schema(f"sheets/{name}")["properties"])
    if frame is None:
        return pd.DataFrame(columns=columns, dtype=str)
    return frame.reindex(columns=list(dict.fromkeys([*frame.columns, *columns])))


def with_defaults(content, schema, definitions=None):
    """Fill in the defaults that a schema declares, at any depth; return a new mapping."""
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    schema = _resolved(schema, definitions)
    if isinstance(content, list):
        return [with_defaults(item, schema.get("items", {}), definitions) for item in content]
    if not isinstance(content, dict):
        return content
    filled = {}
    for key, spec in schema.get("properties", {}).items():
        spec = _resolved(spec, definitions)
        if key in content:
            filled[key] = with_defaults(content[key], spec, definitions)
        elif "default" in spec:
            filled[key] = spec["default"]
    other = schema.get("additionalProperties")
    for key in content:
        if key not in filled:
            spec = other if isinstance(other, dict) else {}
            filled[key] = with_defaults(content[key], spec, definitions)
    return filled


def _resolved(spec, definitions):
    """Put what a ``$ref`` points at in its place; keys beside it win."""
    if "$ref" not in spec:
        return spec
    beside = {key: value for key, value in spec.items() if key != "$ref"}
    return {**definitions[spec["$ref"].rsplit("/", 1)[1]], **beside}


# --- What spans keys, rows and files -----------------------------------------------------------


def _sheet_problems(trial, given, unsure, root):
    """Yield the problems of all sheets, each against the config and the other sheets.

    What a sheet in `unsure` names is not used: its lost rows would be missed in all the others.
    """
    known = None
    if "subjects" in trial.paths and "subjects" not in unsure:
        known = dict.fromkeys(trial.subjects["USUBJID"].dropna())
    subject = _subject_rules(trial, known)
    measured = _measurement_rules(trial) if "parameters" not in unsure else []
    rules = {
        "subjects": [_same_but_case(trial.subjects)],
        "randomisation": [*subject, _arm_rule(trial), _one_arm_rule(trial.randomisation)],
        "scans": [*subject, *_scan_rules(trial, root)],
        "measurements": [
            *(*subject, _visit_rule(trial, extra=windows.unscheduled(trial.config))),
            *measured,
        ],
        "parameters": _parameter_rules(trial),
        "events": subject,
        "reads": [*subject, _visit_rule(trial), *measured[:1]],
        "sessions": [*subject, _attended_rule(trial)],
        "adverse": [*subject, *_adverse_rules(trial)],
        "screening": [
            *subject,
            *screening.rules(trial),
            _one_writing(trial.screening, "REASON"),
        ],
    }
    if "subjects" not in trial.paths:
        rules["scans"].append(_same_but_case(trial.scans))
    for name, frame in given.items():
        if frame is None:
            continue
        extra = subject_columns(trial.config) if name == "subjects" else {}
        own = windows.sheet_schema(trial.config) if name == "measurements" else None
        found = sheets.check(frame, name, trial.paths[name], rules[name], extra, own=own)
        made = trial.mapped.get(name)
        yield from map(made.placed, found) if made else found


def subject_columns(config):
    """Return the schema of the columns of subjects.tsv that config.yaml declares."""
    columns = {}
    for item in config["characteristics"]:
        if item["type"] == "continuous":
            spec = {"type": "number", "unit": item.get("unit", "")}
            low, high = item.get("low", -float("inf")), item.get("high", float("inf"))
            if low < high:
                spec |= {"minimum": low, "maximum": high}
        else:
            spec = {"type": "string"}
            levels = {"enum": list(item.get("levels") or ()), "declared": "'characteristics'"}
            spec |= levels if levels["enum"] else {"words": True}
        columns[item["column"]] = spec
    for factor in config["strata"]:
        values = [level["value"] for level in factor["levels"]]
        spec = {"type": "string", "enum": values, "declared": "'strata'"}
        columns[factor["column"]] = spec
    reference = config.get("index", {}).get("reference")
    if reference and reference != "RANDDT":  # that one is checked for where it is used
        columns[reference] = {"type": "string", "format": "date"}
    made = reference_values.taken(config.get("reference_values"))
    derived = grades.made(config) | made
    columns = {name: spec for name, spec in columns.items() if name not in derived}
    cut = {name: spec for name, spec in grades.sheet_columns(config).items() if name not in made}
    return {**reference_values.sheet_columns(config), **columns, **cut}


def _subject_rules(trial, known):
    """Patients are those of subjects.tsv; where there is no such sheet, only their form counts."""
    if "subjects" not in trial.paths:
        return [r for r in sheets.rules_of_schema("subjects") if r.column == "USUBJID"]
    if known is None:
        return []
    folded = {name.casefold(): name for name in known}
    bare = {re.sub(r"(?<!\d)0+(?=\d)", "", name): name for name in folded}  # 0012 and 12

    def tell(value, row):
        like = value.casefold()
        like = folded.get(like) or folded.get(bare.get(re.sub(r"(?<!\d)0+(?=\d)", "", like)))
        remedy = "add the patient there or delete the row"
        remedy = f"there it is '{like}', write it so" if like else remedy
        return f"patient {shown(value)} is not in subjects.tsv; {remedy}"

    return [Rule("USUBJID", lambda s: s.isin(known), tell)]


def _same_but_case(frame):
    """Two patients that differ by capitals only would share a folder on some computers."""
    first = {}
    for index, name in frame["USUBJID"].dropna().items():
        first.setdefault(name.casefold(), (name, index + 2))

    def tell(value, row):
        name, line = first[value.casefold()]
        return f"patient '{value}' is '{name}' of line {line} but for capitals; rename one"

    return Rule("USUBJID", lambda s: s == s.map(lambda name: first[name.casefold()][0]), tell)


def _arm_rule(trial):
    arms = {arm["code"]: arm["label"] for arm in trial.config["arms"]}

    def tell(value, row):
        codes = [code for code, label in arms.items() if label.casefold() == value.casefold()]
        remedy = f"that is a label, write the code '{codes[0]}'" if codes else nearest(value, arms)
        return f"arm {shown(value)} is not among 'arms' of config.yaml; {remedy}"

    return Rule("ARM", lambda s: s.isin(arms), tell)


def _one_arm_rule(frame):
    """Refuse a patient of two arms: a slip, or a design that no analysis here is made for."""
    first, turned = {}, set()
    for index, name, arm in frame[["USUBJID", "ARM"]].dropna().itertuples():
        known, _ = first.setdefault(name, (arm, index + 2))
        if arm != known:
            turned.add(index)

    def tell(value, row):
        known, line = first[row["USUBJID"]]
        return (
            f"{row['USUBJID']} has arm '{known}' in line {line} and '{value}' here, but a patient "
            "has one arm: delete the wrong row; a crossover trial, whose patients take one arm "
            "after the other, can't be analysed here"
        )

    return Rule("ARM", lambda s: ~s.index.to_series().isin(turned), tell)


def _visit_rule(trial, imaging=False, extra=()):
    names = [v["name"] for v in trial.config["visits"] if v["imaging"] or not imaging]
    names += extra
    what = "'visits' with imaging" if imaging else "'visits'"

    def tell(value, row):
        if value in trial.visit_names:
            return f"visit '{value}' has no scans in config.yaml; say 'imaging: true' there"
        return f"visit {shown(value)} is not among {what} of config.yaml; {nearest(value, names)}"

    return Rule("AVISIT", lambda s: s.isin(names), tell)


def _scan_rules(trial, root):
    config = trial.config
    if "imaging" not in config:  # told already
        return []
    imaging = config["imaging"]
    series = list(imaging["series"])
    base = scans_root(config, root)
    filled = {column for run in imaging.get("external", {}).values() for column in run["fills"]}
    made = config.get("phantom", {}).get("root")
    nowhere = config["skip_without_scans"] and not os.path.exists(base)

    def present(paths):
        if nowhere:  # nothing will run, so nothing needs to be there
            return pd.Series(True, paths.index)
        unique = {path: bool(made and _below(path, made)) or _holds_data(base / path)
                  for path in paths.unique()}  # fmt: skip
        return paths.map(unique).astype(bool)

    def absent(value, row):
        who = f"{row.USUBJID} {row.AVISIT} {row.SERIES}: {shown(value, 120)}"
        if os.path.isdir(base / value):
            return f"{who} is an empty folder; copy the scan there, or delete the row"
        slash = "write / between folders" if "\\" in value else "mend the path"
        return (
            f"{who} does not exist under '{base.as_posix()}'; {slash}, or delete the row if there "
            "is no scan"
        )

    paths = trial.scans["PATH"].dropna().map(os.path.normpath)
    first = {path: index + 2 for index, path in reversed(list(paths.items()))}

    def again(value, row):
        return (
            f"{shown(value, 120)} is the scan of line {first[os.path.normpath(value)]}, too; mend "
            "one of the two, or delete the row"
        )

    return [
        _visit_rule(trial, imaging=True),
        Rule(
            "SERIES",
            lambda s: s.isin(series),
            lambda v, row: f"series {shown(v)} is not in 'imaging.series'; {nearest(v, series)}",
        ),
        Rule("PATH", present, absent),
        Rule("PATH", lambda s: ~s.map(os.path.normpath).duplicated(), again),
        *(Rule(column, present, absent) for column in ("LABELS", *STRUCTURES)),
        *(_structure_rule(trial, column, role) for column, role in STRUCTURES.items()),
        *(
            [_labels_needed(trial)]
            if imaging.get("segmentation") == "external" and "LABELS" not in filled
            else []
        ),
    ]


def _structure_rule(trial, column, role):
    """Each structure is labelled on the series that it is measured on."""
    wanted = trial.config["imaging"].get(role)
    elsewhere = trial.scans.index[trial.scans["SERIES"] != wanted]
    told = f"'{wanted}', the {role}" if wanted else f"the {role}, which 'imaging' does not name"
    return Rule(
        column,
        lambda s: pd.Series(~s.index.isin(elsewhere), s.index),
        lambda v, row: f"{column} belongs to a row of series {told}; move it there",
    )


def _labels_needed(trial):
    lacking = trial.scans.index[trial.scans["LABELS"].isna()]
    return Rule(
        "SERIES",
        lambda s: pd.Series(~s.index.isin(lacking), s.index),
        lambda v, row: (
            "LABELS is empty, but 'imaging.segmentation' is 'external'; name the label "
            "map of the scan, or say 'classical'"
        ),
    )


def with_runs(scans, imaging):
    """Return scans.tsv with the runs of `imaging: external` in the empty cells that they fill."""
    scans = scans.copy()
    heart = {imaging.get("calcium"), imaging.get("gated")}
    for name, run in imaging.get("external", {}).items():
        for column in run["fills"]:
            role = STRUCTURES.get(column)
            at = scans["SERIES"] == imaging.get(role) if role else ~scans["SERIES"].isin(heart)
            cells = scans[column].astype(object)
            scans[column] = cells.mask(at & cells.isna(), RUN + name)
    return scans


def scans_root(config, root="."):
    """Return the folder that PATH and LABELS of scans.tsv are relative to."""
    return Path(root) / config.get("scans_root", "")


def _holds_data(path):
    """Whether there is a file, or a folder that is not empty."""
    try:
        return os.path.isfile(path) or any(os.scandir(path))
    except OSError:  # there is none, or its content may not be seen
        return os.path.exists(path)


def _below(path, folder):
    return Path(folder) in Path(path).parents


def _measurement_rules(trial):
    parameters = trial.parameters.dropna(subset="PARAMCD").drop_duplicates("PARAMCD")
    parameters = parameters.set_index("PARAMCD")
    codes = Rule(
        "PARAMCD",
        lambda s: s.isin(parameters.index),
        lambda v, row: (
            f"parameter {shown(v)} is not in parameters.tsv; {nearest(v, parameters.index)}"
        ),
    )
    frame = trial.measurements
    low = numbers(frame["PARAMCD"].map(parameters["LOW"])).fillna(-float("inf"))
    high = numbers(frame["PARAMCD"].map(parameters["HIGH"])).fillna(float("inf"))
    low, high = low.where(low < high, -float("inf")), high.where(low < high, float("inf"))
    unit = frame["PARAMCD"].map(parameters["AVALU"])

    said = frame["AVALU"]
    other = said.notna() & unit.notna() & (said != unit)

    def in_range(cells):
        value, at = numbers(cells), cells.index
        return value.between(low[at], high[at]) | value.isna() | other[at]  # told by its unit

    def out_of_range(value, row):
        parameter = parameters.loc[row.PARAMCD]
        return (
            f"{row.PARAMCD} of {row.USUBJID} at {row.AVISIT} is {value}, outside "
            f"{parameter.LOW} to {parameter.HIGH} {parameter.AVALU}; "
            + ("leave the cell empty if it is missing, " if CODE.fullmatch(value) else "")
            + f"convert it to {parameter.AVALU}, mend it, or widen LOW and HIGH in parameters.tsv"
        )

    def unit_told(value, row):
        wanted = parameters["AVALU"].get(row.PARAMCD)
        return (
            f"{row.PARAMCD} of {row.USUBJID} at {row.AVISIT} is in {shown(value)}, declared "
            f"is '{wanted}'; convert the value and its unit"
        )

    return [
        codes,
        Rule("AVAL", in_range, out_of_range),
        Rule("AVALU", lambda s: ~other[s.index], unit_told, lambda v, row: f"{row.PARAMCD} {v}"),
    ]


def _attended_rule(trial):
    """Nobody attends more sessions than were planned."""
    planned = numbers(trial.sessions["PLANNED"])
    return Rule(
        "ATTENDED",
        lambda s: ~(numbers(s) > planned[s.index]),
        lambda v, row: (
            f"{row.USUBJID} attended {v} of {row.PLANNED} sessions planned in {shown(row.PERIOD)}; "
            "mend one of the two, or count a session that was caught up in the period it was "
            "planned for"
        ),
    )


def _adverse_rules(trial):
    """Contradictions within a row of adverse.tsv, rows told twice, terms in two writings."""
    frame = trial.adverse
    fatal, start = frame["AEOUT"] == "FATAL", frame["AESTDTC"].fillna("")
    ends_first = [
        is_partial_date(begin) and is_partial_date(end) and end[: len(begin)] < begin[: len(end)]
        for begin, end in zip(start, frame["AEENDTC"].fillna(""), strict=True)
    ]
    ends_first = pd.Series(ends_first, frame.index, dtype=bool) & frame["AEENDTC"].notna()

    def event(row):
        return f"{shown(row.AETERM)} of {row.USUBJID}"

    def none_of(lines):
        return lambda s: pd.Series(~s.index.isin(lines), s.index)

    return [
        *(
            Rule(
                column,
                lambda s: numbers(s) != 0,
                lambda v, row: (
                    f"{event(row)} is on day 0, which there is not; day 1 is that of "
                    "randomisation, the day before it is -1"
                ),
            )
            for column in ("AESTDY", "AEENDY")
        ),
        Rule(
            "AESER",
            lambda s: (s != "N") | ~fatal[s.index],
            lambda v, row: (
                f"{event(row)} was fatal, so it was serious; write AESER Y, or mend AEOUT"
            ),
        ),
        Rule(
            "AEENDTC",
            none_of(frame.index[ends_first]),
            lambda v, row: f"{event(row)} ends on {v} before its start {row.AESTDTC}; mend one",
        ),
        _said_twice(frame, event),
        *(_one_writing(frame, column) for column in ("AEDECOD", "AEBODSYS")),
    ]


def _said_twice(frame, event):
    """Two rows with the same cells are taken for one event."""
    columns = list(frame.columns)
    first = frame.fillna("").reset_index().groupby(columns, sort=False)["index"].transform("min")
    first = pd.Series(first.to_numpy(), frame.index)

    def tell(value, row):
        line = int(first[row.name]) + 2
        return (
            f"{event(row)} stands in the same words in line {line}; delete one of the two, or tell "
            "two events apart by AESEQ"
        )

    return Rule("USUBJID", lambda s: first[s.index] == s.index, tell)


def _one_writing(frame, column):
    """Terms that differ by capitals only would be counted as two."""
    first = {}
    for index, value in frame[column].dropna().items():
        first.setdefault(value.casefold(), (value, index + 2))

    def tell(value, row):
        name, line = first[value.casefold()]
        return f"{shown(value)} is {shown(name)} in line {line}; write both alike"

    return Rule(column, lambda s: s == s.map(lambda value: first[value.casefold()][0]), tell)


def _parameter_rules(trial):
    frame = trial.parameters
    high = numbers(frame["HIGH"])
    return [
        Rule(
            "LOW",
            lambda s: ~(numbers(s) >= high[s.index]),
            lambda v, row: f"LOW {v} of {row.PARAMCD} is not below HIGH {row.HIGH}; mend them",
        ),
        Rule(
            "MEASURE",
            lambda s: s.map(lambda value: sheets.measure_fault(value, trial.config) is None),
            lambda v, row: f"{shown(v)}: {sheets.measure_fault(v, trial.config)}",
        ),
    ]


def _second_opinion_problems(trial, document):
    """Yield the patients whose registration is to be repeated, and who have no scan in use."""
    keys = ("imaging", "registration", "second_opinion", "subjects")
    named = trial.config
    for key in keys:
        named = named.get(key) or {}
    if not named:
        return
    known = _scans_in_use(trial)["USUBJID"].dropna().unique()
    for index, name in enumerate(named):
        if name not in known:
            text = f"patient {shown(name)} of 'second_opinion' has no scan in use (scans.tsv, "
            text += f"'imaging.max_subjects'); {nearest(name, known)}"
            yield document.problem([*keys, index], text)


def _spread_problems(trial, document):
    """Yield the limits of parameters whose spread over the network's readings is not told."""
    keys = ("imaging", "network", "spread_limits")
    named = trial.config
    for key in keys:
        named = named.get(key) or {}
    if not named:
        return
    measured = trial.parameters.dropna(subset=["PARAMCD", "MEASURE"]).astype({"MEASURE": str})
    told = ~measured["MEASURE"].str.contains("^subject:(?!airways:)")
    known = measured["PARAMCD"][told].tolist()
    for code in named:
        if code not in known:
            text = f"{shown(code)} has no spread: parameters.tsv gives it no MEASURE of one visit "
            text += f"(or of subject:airways); {nearest(code, known)}"
            yield document.problem([*keys, code], text)


def _phantom_problems(trial):
    """Return the problems of the scans that the run is to make."""
    from lungitude.phantom.record import QUANTITIES, TARGETS

    found = []
    phantom, imaging = trial.config["phantom"], trial.config.get("imaging", {})
    path = trial.folder / phantom["records"]
    remedy = "create it or mend 'phantom: records' in config.yaml"
    frame = sheets.read(path, found, "phantom", remedy)
    if frame is None:
        return found
    whole = not found
    extra = {
        column: {"type": "number", "minimum": low, "maximum": high}
        for column, (_, low, high) in {**TARGETS, **QUANTITIES}.items()
        if column in TARGETS or column in frame
    }
    found += sheets.check(frame, "phantom", path, [_visit_rule(trial)], extra)
    if not whole or not {"USUBJID", "AVISIT"} <= set(frame.columns) or "scans" not in trial.paths:
        return found
    made = {imaging.get(role) for role in configs.ROLES}
    records = set(zip(frame["USUBJID"], frame["AVISIT"], strict=True))
    places = {visit["name"]: visit["path"] for visit in trial.config["visits"]}
    for scan in trial.scans.dropna(subset=["USUBJID", "AVISIT", "SERIES", "PATH"]).itertuples():
        if not _below(scan.PATH, phantom["root"]) or scan.AVISIT not in places:
            continue
        visit = f"{phantom['root']}/{scan.USUBJID}/{places[scan.AVISIT]}"
        where, text = f"{visit}/{scan.SERIES}", None
        if scan.SERIES not in made:
            text = f"the phantom makes no series '{scan.SERIES}'; delete the row"
        elif os.path.normpath(scan.PATH) != os.path.normpath(where):
            text = f"{shown(scan.PATH)} is not where the phantom's scan is made; write '{where}'"
        elif (scan.USUBJID, scan.AVISIT) not in records:
            text = f"{path.name} has no row {scan.USUBJID} {scan.AVISIT}; add it or delete this row"
        if text:
            found.append(Problem(str(trial.paths["scans"]), scan.Index + 2, "PATH", text))
        for column in STRUCTURES:
            labels, where = getattr(scan, column), f"{visit}/labels/{column.lower()}.nii.gz"
            if isinstance(labels, str) and os.path.normpath(labels) != where:
                text = f"{shown(labels)} is not where the phantom's labels are; write '{where}'"
                found.append(Problem(str(trial.paths["scans"]), scan.Index + 2, column, text))
    return found


def _scans_in_use(trial):
    """Keep the scans of the first patients of the sheet that `max_subjects` allows."""
    scans = trial.scans.copy()
    limit = trial.config.get("imaging", {}).get("max_subjects")
    if limit:
        first = scans["USUBJID"].drop_duplicates().head(limit)
        scans = scans[scans["USUBJID"].isin(first)]
    paths = {visit["name"]: visit["path"] for visit in trial.config["visits"]}
    return scans.assign(visit=scans["AVISIT"].map(paths)).reset_index(drop=True)
