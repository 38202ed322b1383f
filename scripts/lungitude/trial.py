"""A trial as its folder describes it: read, checked as a whole, and given defaults.

`load` either returns a `Trial` or raises `TrialError` with every problem of the folder. Rules and
the command line call it; scripts of jobs get what they need as params.
"""

import dataclasses
import itertools
from pathlib import Path

import pandas as pd

from lungitude import checks
from lungitude.checks import Problem, Rule, TrialError, nearest, numbers

__all__ = ["Trial", "TrialError", "load"]

SHEETS = ("subjects", "randomisation", "scans", "measurements", "parameters", "events", "reads")


@dataclasses.dataclass(frozen=True)
class Trial:
    """A checked trial.

    Attributes
    ----------
    folder : Path
        Folder of config.yaml.
    config, plan : dict
        With the defaults of the schemas filled in; `plan` is None where plan.yaml is absent.
    subjects, randomisation, scans, measurements, parameters, events, reads : DataFrame of str
        Sheets as text; empty with the right columns where the trial has none. `scans` holds the
        scans in use (imaging: max_subjects) and, as `visit`, the path form of the visit.
    paths : dict
        Path of each sheet that exists.
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
    paths: dict

    @property
    def baseline(self):
        """The baseline visit as a dict of config.yaml."""
        return next(visit for visit in self.config["visits"] if visit["baseline"])

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


def load(config_path, config=None, root="."):
    """Read and check the folder of a trial.

    Parameters
    ----------
    config_path : path
        config.yaml of the trial; plan.yaml and the sheets are found from there.
    config : dict, optional
        Content to use in place of the file's (Snakemake merges ``--config`` into it).
    root : path
        Folder that PATH in scans.tsv is relative to, unless config.yaml names ``scans_root``.

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
    content = checks.read_yaml(config_path, problems) if config_path.exists() else None
    config = content if config is None else config
    if config is None:
        raise TrialError(problems or [Problem(str(config_path), None, "", "the file is missing")])
    problems += checks.check_mapping(config, "config", config_path)
    plan_path = folder / "plan.yaml"
    plan = None
    if plan_path.exists():
        plan = checks.read_yaml(plan_path, problems)
        if plan is not None:
            problems += checks.check_mapping(plan, "plan", plan_path)
    if problems:  # A sheet can't be judged by a broken config.
        raise TrialError(problems)

    config = with_defaults(checks.dates_as_text(config), checks.schema("config"))
    plan = plan and with_defaults(checks.dates_as_text(plan), checks.schema("plan"))
    problems += _config_problems(config, config_path)
    sheets, paths = {}, {}
    for name in SHEETS:
        if name in config["sheets"]:
            paths[name] = folder / config["sheets"][name]
            sheets[name] = checks.read_sheet(paths[name], problems, name)
        else:
            columns = list(checks.schema(f"sheets/{name}")["properties"])
            sheets[name] = pd.DataFrame(columns=columns, dtype=str)
    trial = Trial(folder, config, plan, **sheets, paths=paths)
    problems += _sheet_problems(trial, Path(root))
    if plan is not None:
        problems += _plan_problems(trial, plan_path)
    if problems:
        raise TrialError(problems)
    return dataclasses.replace(trial, scans=_scans_in_use(trial))


def with_defaults(content, schema, definitions=None):
    """Fill in the defaults that a schema declares, at any depth; return a new mapping."""
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[1]]
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    if isinstance(content, list):
        return [with_defaults(item, schema.get("items", {}), definitions) for item in content]
    if not isinstance(content, dict):
        return content
    filled = {}
    for key, spec in schema.get("properties", {}).items():
        resolved = spec
        if "$ref" in spec:
            resolved = {**definitions[spec["$ref"].rsplit("/", 1)[1]], **spec}
        if key in content:
            filled[key] = with_defaults(content[key], spec, definitions)
        elif "default" in resolved:
            filled[key] = resolved["default"]
    other = schema.get("additionalProperties")
    for key in content:
        if key not in filled:
            spec = other if isinstance(other, dict) else {}
            filled[key] = with_defaults(content[key], spec, definitions)
    return filled


# --- What spans keys, rows and files -----------------------------------------------------------


def _config_problems(config, path):
    """Yield what a schema can't say of config.yaml: names that must be unique or known."""

    def problem(keys, text):
        return Problem(str(path), checks.line_of(path, keys), "", text)

    for group, key in (("arms", "code"), ("visits", "name"), ("visits", "path")):
        seen = set()
        for index, item in enumerate(config[group]):
            if item[key] in seen:
                text = f"'{group}' has {key} '{item[key]}' twice; each must be unique"
                yield problem([group, index], text)
            seen.add(item[key])
    references = [arm["code"] for arm in config["arms"] if arm["reference"]]
    if len(config["arms"]) > 1 and len(references) != 1:
        text = f"{len(references)} arms say 'reference: true'; exactly one must, the comparator"
        yield problem(["arms"], text)
    baselines = [visit["name"] for visit in config["visits"] if visit["baseline"]]
    if len(baselines) != 1:
        text = f"{len(baselines)} visits say 'baseline: true'; exactly one must"
        yield problem(["visits"], text)
    yield from _strata_problems(config, problem)
    sheets = config["sheets"]
    for name, needs in (("randomisation", "arms"), ("subjects", "strata")):
        if name in sheets and not config[needs] and name == "randomisation":
            yield problem(["sheets", name], f"there is a {name} sheet but no '{needs}'; name them")
    if "randomisation" in sheets and "subjects" not in sheets:
        yield problem(["sheets"], "a trial with arms needs 'sheets: subjects'; add it")
    if "scans" in sheets and "imaging" not in config:
        yield problem(["sheets", "scans"], "there are scans but no 'imaging' section; add it")
    imaging = config.get("imaging", {})
    for role in ("inspiration", "expiration"):
        if role in imaging and imaging[role] not in imaging["series"]:
            text = f"'imaging.{role}' is '{imaging[role]}', which is not in 'imaging.series'; "
            yield problem(["imaging", role], text + nearest(imaging[role], imaging["series"]))


def _strata_problems(config, problem):
    seen = {"all", "quality"}
    for index, factor in enumerate(config["strata"]):
        for level in factor["levels"]:
            if level["path"] in seen:
                text = f"stratum path '{level['path']}' is taken; choose another"
                yield problem(["strata", index], text)
            seen.add(level["path"])
    described = {item["column"] for item in config["characteristics"]}
    clash = described & {"ARM", "USUBJID", "RANDDT", "BASE", "AVAL", "CHG"}
    for column in sorted(clash):
        text = f"characteristic '{column}' has a reserved name; rename the column"
        yield problem(["characteristics"], text)


def _sheet_problems(trial, root):
    """Yield the problems of all sheets, each against the config and the other sheets."""
    known = set(trial.subjects["USUBJID"].dropna()) if "subjects" in trial.paths else None
    rules = {
        "subjects": [],
        "randomisation": [_known_subject(known), _arm_rule(trial)],
        "scans": [_known_subject(known), *_scan_rules(trial, root)],
        "measurements": [_known_subject(known), _visit_rule(trial), *_measurement_rules(trial)],
        "parameters": _parameter_rules(trial),
        "events": [_known_subject(known)],
        "reads": [_known_subject(known), _visit_rule(trial), *_measurement_rules(trial)[:1]],
    }
    for name, path in trial.paths.items():
        extra = _subject_columns(trial.config) if name == "subjects" else {}
        frame = getattr(trial, name)
        kept = [rule for rule in rules[name] if rule is not None]
        yield from checks.check_sheet(frame, name, path, kept, extra)


def _subject_columns(config):
    """Return the schema of the columns of subjects.tsv that config.yaml declares."""
    columns = {}
    for item in config["characteristics"]:
        if item["type"] == "continuous":
            spec = {"type": "number", "unit": item.get("unit", "")}
            spec |= {k: item[s] for k, s in (("minimum", "low"), ("maximum", "high")) if s in item}
        else:
            spec = {"type": "string"}
            if item.get("levels"):
                spec["enum"] = list(item["levels"])
        columns[item["column"]] = spec
    for factor in config["strata"]:
        values = [level["value"] for level in factor["levels"]]
        columns[factor["column"]] = {"type": "string", "enum": values}
    return columns


def _known_subject(known):
    if known is None:
        return None
    return Rule(
        "USUBJID",
        lambda s: s.isin(known),
        lambda v, row: (
            f"patient '{v}' is not in subjects.tsv; add the patient there or delete the row"
        ),
    )


def _arm_rule(trial):
    arms = [arm["code"] for arm in trial.config["arms"]]
    return Rule(
        "ARM",
        lambda s: s.isin(arms),
        lambda v, row: f"arm '{v}' is not among 'arms' of config.yaml; {nearest(v, arms)}",
    )


def _visit_rule(trial, imaging=False):
    names = [v["name"] for v in trial.config["visits"] if v["imaging"] or not imaging]
    what = "'visits' with imaging" if imaging else "'visits'"
    return Rule(
        "AVISIT",
        lambda s: s.isin(names),
        lambda v, row: f"visit '{v}' is not among {what} of config.yaml; {nearest(v, names)}",
    )


def _scan_rules(trial, root):
    config = trial.config
    series = list(config.get("imaging", {}).get("series", {}))
    base = scans_root(config, root)
    made = config.get("phantom", {}).get("root")
    nowhere = config["skip_without_scans"] and not base.exists()

    def present(paths):
        if nowhere:  # nothing will run, so nothing needs to be there
            return pd.Series(True, paths.index)
        unique = {path: bool(made and _below(path, made)) or (base / path).exists()
                  for path in paths.unique()}  # fmt: skip
        return paths.map(unique).astype(bool)

    def absent(value, row):
        return (
            f"{row.USUBJID} {row.AVISIT} {row.SERIES}: '{value}' does not exist under "
            f"'{base.as_posix()}'; mend the path, or delete the row if there is no scan"
        )

    return [
        _visit_rule(trial, imaging=True),
        Rule(
            "SERIES",
            lambda s: s.isin(series),
            lambda v, row: f"series '{v}' is not in 'imaging.series'; {nearest(v, series)}",
        ),
        Rule("PATH", present, absent),
        Rule("LABELS", present, absent),
    ]


def scans_root(config, root="."):
    """Return the folder that PATH and LABELS of scans.tsv are relative to."""
    return Path(root) / config.get("scans_root", "")


def _below(path, folder):
    return Path(folder) in Path(path).parents


def _measurement_rules(trial):
    parameters = trial.parameters.dropna(subset="PARAMCD").drop_duplicates("PARAMCD")
    parameters = parameters.set_index("PARAMCD")
    codes = Rule(
        "PARAMCD",
        lambda s: s.isin(parameters.index),
        lambda v, row: f"parameter '{v}' is not in parameters.tsv; {nearest(v, parameters.index)}",
    )
    frame = trial.measurements
    if "PARAMCD" not in frame or not {"LOW", "HIGH", "AVALU"} <= set(parameters.columns):
        return [codes]
    low = numbers(frame["PARAMCD"].map(parameters["LOW"])).fillna(-float("inf"))
    high = numbers(frame["PARAMCD"].map(parameters["HIGH"])).fillna(float("inf"))
    unit = frame["PARAMCD"].map(parameters["AVALU"])

    def in_range(cells):
        value = numbers(cells)
        return value.between(low[cells.index], high[cells.index]) | value.isna()

    def out_of_range(value, row):
        parameter = parameters.loc[row.PARAMCD]
        return (
            f"{row.PARAMCD} of {row.USUBJID} at {row.AVISIT} is {value}, outside "
            f"{parameter.LOW} to {parameter.HIGH} {parameter.AVALU}; convert it to "
            f"{parameter.AVALU}, mend it, or widen LOW and HIGH in parameters.tsv"
        )

    def unit_told(value, row):
        wanted = parameters["AVALU"].get(row.PARAMCD)
        return (
            f"{row.PARAMCD} of {row.USUBJID} at {row.AVISIT} is in '{value}', declared is "
            f"'{wanted}'; convert the value and its unit"
        )

    return [
        codes,
        Rule("AVAL", in_range, out_of_range),
        Rule("AVALU", lambda s: (s == unit[s.index]) | unit[s.index].isna(), unit_told),
    ]


def _parameter_rules(trial):
    frame = trial.parameters
    if not {"LOW", "HIGH"} <= set(frame.columns):
        return []
    high = numbers(frame["HIGH"])
    series = [*trial.config.get("imaging", {}).get("series", {}), "visit"]
    rules = [
        Rule(
            "LOW",
            lambda s: ~(numbers(s) >= high[s.index]),
            lambda v, row: f"LOW {v} of {row.PARAMCD} is not below HIGH {row.HIGH}; mend them",
        )
    ]
    if "imaging" in trial.config:
        rules.append(
            Rule(
                "MEASURE",
                lambda s: s.str.split(":").str[0].isin(series),
                lambda v, row: f"'{v}' names no series of 'imaging.series' (or 'visit'); mend it",
            )
        )
    return rules


def _plan_problems(trial, path):
    """Yield the names in plan.yaml that the trial does not know."""
    config, plan = trial.config, trial.plan

    def unknown(keys, what, value, known):
        text = f"{what} '{value}' is unknown; {nearest(value, known)}"
        return Problem(str(path), checks.line_of(path, keys), "", text)

    parameters = set(trial.parameters["PARAMCD"].dropna())
    visits = [visit["name"] for visit in config["visits"]]
    columns = {"BASE", *(c["column"] for c in config["characteristics"])}
    columns |= {factor["column"] for factor in config["strata"]}
    populations = plan["populations"]
    for name in ("subjects", "randomisation"):
        if name not in config["sheets"]:
            text = f"a plan needs 'sheets: {name}' in config.yaml; add it, or remove plan.yaml"
            yield Problem(str(path), None, "", text)
    for name, section in plan["analyses"].items():
        keys = ["analyses", name]
        if section.get("population", next(iter(populations))) not in populations:
            found = section["population"]
            yield unknown([*keys, "population"], "population", found, populations)
        for kind, known in (("parameters", parameters), ("visits", visits)):
            for item in section.get(kind, []) if isinstance(section.get(kind), list) else []:
                if item not in known:
                    yield unknown([*keys, kind], kind[:-1], item, sorted(known))
        for item in section.get("covariates", []):
            if item not in columns:
                yield unknown([*keys, "covariates"], "covariate", item, sorted(columns))
    primary = plan["primary"]
    asked = [(["primary", "parameter"], "parameter", primary["parameter"], parameters)]
    asked += [(["primary", "visit"], "visit", primary["visit"], visits)]
    asked += [(["primary", "method"], "analysis", primary["method"], plan["analyses"])]
    for name, population in populations.items():
        for item in population["require"]:
            keys = ["populations", name, "require"]
            asked += [(keys, "parameter", item["param"], parameters)]
            asked += [(keys, "visit", item["visit"], visits)]
    for index, family in enumerate(plan["families"]):
        keys = ["families", index]
        asked += [(keys, "analysis", family["analysis"], plan["analyses"])]
        asked += [(keys, "parameter", item, parameters) for item in family["parameters"]]
        asked += [(keys, "visit", item, visits) for item in family["visits"]]
        strata = family["strata"] if isinstance(family["strata"], list) else []
        paths = [stratum["path"] for stratum in trial.strata]
        asked += [(keys, "stratum", item, paths) for item in strata]
    yield from _families_overlap(plan, path)
    for index, display in enumerate(plan["displays"]):
        keys = ["displays", index]
        asked += [(keys, "parameter", item, parameters) for item in display["parameters"]]
    for keys, what, value, known in asked:
        if value not in known:
            yield unknown(keys, what, value, sorted(known))
    for kind in ("families", "displays"):
        names = [item["id"] for item in plan[kind]]
        for name in sorted({name for name in names if names.count(name) > 1}):
            text = f"'{kind}' has id '{name}' twice; each must be unique"
            yield Problem(str(path), checks.line_of(path, [kind]), "", text)


def _families_overlap(plan, path):
    """Yield the hypotheses that stand in two families; their p value would have two adjustments."""
    owner = {}
    for index, family in enumerate(plan["families"]):
        for test in itertools.product(family["parameters"], family["visits"]):
            key = (family["analysis"], *test)
            if key in owner and owner[key] != family["id"]:
                text = (
                    f"{' at '.join(test)} ({family['analysis']}) is in the families "
                    f"'{owner[key]}' and '{family['id']}'; keep it in one"
                )
                line = checks.line_of(path, ["families", index])
                yield Problem(str(path), line, "", text)
            owner.setdefault(key, family["id"])


def _scans_in_use(trial):
    """Keep the scans of the first patients of the sheet that `max_subjects` allows."""
    scans = trial.scans.copy()
    limit = trial.config.get("imaging", {}).get("max_subjects")
    if limit:
        first = scans["USUBJID"].drop_duplicates().head(limit)
        scans = scans[scans["USUBJID"].isin(first)]
    paths = {visit["name"]: visit["path"] for visit in trial.config["visits"]}
    return scans.assign(visit=scans["AVISIT"].map(paths)).reset_index(drop=True)
