"""An invented data set of a trial that has no data yet, and what its plan makes of it.

Mock shells show the tables of a plan before there is a patient. To have exactly the layout of the
real ones, they are made from real analyses of values that are drawn at random. All of it lies in a
temporary folder that is gone when the shells are made.
"""

import math
import runpy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from lungitude import results, tables
from lungitude.provenance import SCRIPTS

SEED = 1
# Patients of an arm in a level of the largest stratum factor: enough for a model of some covariates
# in each stratum, few enough to be quick.
PER_LEVEL = 14
LEAVERS = 4  # of them, who discontinue: so many that shifts of imputed values tell
FIRST_DAY = "2000-01-03"
RECORDED = "[reason as recorded]"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Analyses of one parameter at a time: one of each scale and data set stands for the others, whose
# rows are the same but for their names.
EACH_ALONE = (
    "ancova",
    "mixed_model",
    "mmrm",
    "imputation",
    "describe",
    "within_arm",
    "arm_tests",
    "rm_anova",
)
# What a parameter without plausible limits is drawn from, and the same of a characteristic.
LIMITS = (0.0, 100.0)
SPREAD, NOISE = 0.08, 0.04  # SD of patients and of visits, as shares of the plausible range
SESSIONS = 12  # planned for each patient
# Classes and terms of adverse events, and how many of the patients of an arm and level have them.
# Who has a rarer one has the more frequent ones, too, so that their order is the same everywhere.
TERMS = (("A", "A", 6), ("A", "B", 4), ("B", "C", 2))
FEW = 2  # patients of an arm and level with what is rare: gaps in the records, early events
# Analyses of a sheet that a trial need not have.
OF_SHEETS = {"adherence": "sessions", "adverse": "adverse"}
NETWORK = "network_study"


@dataclass(frozen=True)
class Invented:
    """What the analyses of a plan make of invented patients.

    Attributes
    ----------
    results : DataFrame
        The analysis results table.
    individual : DataFrame
        The values of single patients.
    undone : dict of str to str
        By analysis that was not run, why.
    """

    results: pd.DataFrame
    individual: pd.DataFrame
    undone: dict


def results_of(config, plan, parameters, reads=None, seed=SEED):
    """Run the analyses of a plan on invented patients.

    Parameters
    ----------
    config, plan : dict
        With the defaults of the schemas.
    parameters : path
        parameters.tsv.
    reads : DataFrame, optional
        Rows of reads.tsv, of which METHOD, READER and REPEAT are taken where they are known.
    seed : int

    Returns
    -------
    Invented

    Notes
    -----
    Each analysis is run by its own script of the workflow, in this process. An analysis of many
    parameters is run for one of each kind, and its rows are repeated for the others, which saves
    most of the time and changes no layout.
    """
    rng = np.random.default_rng(seed)
    described = tables.read(parameters)
    made = sheets(config, plan, described, reads, rng)
    with tempfile.TemporaryDirectory(prefix="lungitude-shells-") as name:
        folder = Path(name)
        files = {"parameters": str(parameters)}
        for sheet, frame in made.items():
            files[sheet] = folder / f"{sheet}.tsv"
            tables.write(frame, files[sheet])
        files |= _cohort(config, plan, files, folder)
        undone = {name: why for name in plan["analyses"] if (why := not_run(name, config))}
        parts = [
            _analysis(method, config, plan, described, files, folder)
            for method in plan["analyses"]
            if method not in undone
        ]
        output = folder / "individual.parquet"
        params = {"analyses": plan["analyses"], "visits": config["visits"]}
        params["strata"] = config["strata"]
        _run("list_individuals", files, {"individual": output}, params)
        populations = results.planned_populations(plan)
        gathered = results.gather(parts, plan.get("families"), populations)
        return Invented(gathered, tables.read_parquet(output), undone)


def not_run(method, config):
    """Return why an analysis is not run on invented patients; "" where it is."""
    if method == NETWORK:
        return "it tells how the network was tested, not about patients, and needs no shell"
    sheet = OF_SHEETS.get(method)
    if sheet and sheet not in config["sheets"]:
        return f"config.yaml names no 'sheets: {sheet}', without which a run leaves it out as well"
    return ""


def _run(script, inputs, outputs, params):
    """Run a script of the workflow with a stand-in job."""
    job = SimpleNamespace(
        input=SimpleNamespace(**inputs),
        output=SimpleNamespace(**outputs),
        params=SimpleNamespace(**params),
        wildcards=[],
        log=[],
        rule=script,
    )
    runpy.run_path(str(SCRIPTS / f"{script}.py"))["main"](job)


def _cohort(config, plan, files, folder):
    """Derive the analysis data sets; return their files by name."""
    names = ("adsl", "adqct", "adfun")
    made = {name: folder / f"{name}.parquet" for name in names}
    outputs = {**made, **{f"{name}_tsv": folder / f"{name}.tsv" for name in names}}
    used = ["subjects", "randomisation", "measurements", "parameters", "events"]
    used += [name for name in ("sessions",) if name in files]
    params = {key: config[key] for key in ("arms", "visits", "strata", "characteristics")}
    params |= {"populations": plan["populations"], "data_cut": None, "study": "SHELL"}
    _run("derive_adam", {name: files[name] for name in used}, outputs, params)
    for script, sheet, name in (
        ("derive_exposure", "sessions", "adex"),
        ("derive_adverse", "adverse", "adae"),
    ):
        if sheet in files:
            made[name] = folder / f"{name}.parquet"
            inputs = {"adsl": made["adsl"], sheet: files[sheet]}
            outputs = {name: made[name], f"{name}_tsv": folder / f"{name}.tsv"}
            _run(script, inputs, outputs, {"strata": config["strata"], "data_cut": None})
    return made


def _analysis(method, config, plan, parameters, files, folder):
    """Run one analysis; return its rows."""
    output = folder / f"{method}.parquet"
    section = dict(plan["analyses"][method])
    same = {}
    if method in EACH_ALONE:
        same = _represented(section, parameters)
        section["parameters"] = list(same)
    pairs = {}
    if method == "association":
        pairs = _represented_pairs(section, parameters)
        section["x"] = list(dict.fromkeys(x for x, _ in pairs))
        section["y"] = list(dict.fromkeys(y for _, y in pairs))
    params = {key: config[key] for key in ("arms", "visits", "strata", "characteristics")}
    params |= {key: plan.get(key) for key in ("primary", "confidence", "quantiles")}
    params |= {"plan": section, "data_cut": None}
    _run(f"analyse_{method}", files, {"results": output}, params)
    return _repeated_pairs(_repeated(tables.read_parquet(output), same), pairs)


def _represented(section, parameters):
    """Choose the parameters that are analysed, and those that each stands for.

    Returns
    -------
    dict of str to list of str
        By PARAMCD that is analysed, the others. One with tipping points stands for itself alone.
    """
    known = parameters.set_index("PARAMCD")
    wanted = section.get("parameters", "all")
    wanted = list(known.index) if wanted == "all" else list(wanted)
    alone = (section.get("tipping") or {}).get("parameters", ())
    found, of_kind = {}, {}
    for code in wanted:
        kind = _kind(known.loc[code])
        if code in alone:
            found[code] = []
        elif kind in of_kind:
            found[of_kind[kind]].append(code)
        else:
            of_kind[kind] = code
            found[code] = []
    return found


def _kind(row):
    """Return what the rows of a parameter depend on: its scale, and where it is measured."""
    transform = row.get("TRANSFORM")
    return (transform if isinstance(transform, str) else "none", row.get("DATASET"))


def _represented_pairs(section, parameters):
    """Choose the pairs that are correlated: by pair (x, y), the pairs that each stands for."""
    known = parameters.set_index("PARAMCD")
    first, second, found, seen = {}, {}, {}, set()
    for x in section["x"]:
        first.setdefault(_kind(known.loc[x]), x)
    others = [y for y in section["y"] if y not in first.values()]
    for y in [*others, *section["y"]]:
        second.setdefault(_kind(known.loc[y]), y)
    for x in section["x"]:
        for y in section["y"]:
            if x == y or frozenset((x, y)) in seen:
                continue
            seen.add(frozenset((x, y)))
            own = (first[_kind(known.loc[x])], second[_kind(known.loc[y])])
            found.setdefault(own, []).append((x, y))
    return found


def _repeated_pairs(rows, pairs):
    """Repeat the rows of a pair for those that it stands for."""
    parts = [rows] * (not pairs)
    for (one, two), others in pairs.items():
        mine = rows.loc[(rows["PARAMCD"] == one) & (rows["LEVEL"] == two)]
        for x, y in others:
            names = mine["ANALYSISID"].str.replace(f".{one}.", f".{x}.", n=1, regex=False)
            notes = mine["NOTE"].str.replace(f"{one} on the", "\0 on the", regex=False)
            notes = notes.str.replace(f"{two} on the", f"{y} on the", regex=False)
            notes = notes.str.replace("\0 on the", f"{x} on the", regex=False)
            parts.append(mine.assign(PARAMCD=x, LEVEL=y, ANALYSISID=names, NOTE=notes))
    return pd.concat(parts, ignore_index=True)


def _repeated(rows, same):
    """Repeat the rows of a parameter for those that it stands for."""
    parts = [rows]
    for code, others in same.items():
        mine = rows.loc[rows["PARAMCD"] == code]
        for other in others:
            names = mine["ANALYSISID"].str.replace(f".{code}.", f".{other}.", n=1, regex=False)
            parts.append(mine.assign(PARAMCD=other, ANALYSISID=names))
    return pd.concat(parts, ignore_index=True)


def sheets(config, plan, parameters, reads, rng):
    """Invent the sheets of a trial.

    Parameters
    ----------
    config, plan : dict
    parameters : DataFrame
        Rows of parameters.tsv.
    reads : DataFrame or None
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to DataFrame
        subjects, randomisation, measurements, events, reads, scans and truth; sessions and adverse
        where config.yaml names them.
    """
    patients = subjects(config, rng)
    arms = patients.pop("ARM")
    leavers = patients.pop("LEAVES")
    visits = sorted(config["visits"], key=lambda visit: visit["number"])
    taken = measurements(patients, leavers, visits, plan, parameters, rng)
    made = {
        "subjects": patients,
        "randomisation": pd.DataFrame({"USUBJID": patients["USUBJID"], "ARM": arms}),
        "measurements": taken,
        "events": events(patients, leavers, visits),
        "reads": read_again(taken, plan, visits, reads, rng),
        "scans": scans(patients, leavers, visits if "scans" in config["sheets"] else []),
        "truth": truth(taken, plan, rng),
    }
    if "sessions" in config["sheets"]:
        made["sessions"] = sessions(patients, rng)
    if "adverse" in config["sheets"]:
        made["adverse"] = adverse(patients)
    return made


def subjects(config, rng):
    """Invent patients: as many in each arm and level, all categories in each of them.

    Returns
    -------
    DataFrame
        USUBJID, the columns that config.yaml names, RANDDT, ARM, and LEAVES (who discontinues).
    """
    factors = {
        f["column"]: [str(level["value"]) for level in f["levels"]] for f in config["strata"]
    }
    first = max(factors, key=lambda column: len(factors[column]), default=None)
    rows = []
    for arm in config["arms"]:
        for level in factors[first] if first else [None]:
            block = {"ARM": [arm["code"]] * PER_LEVEL}
            block |= {
                column: [level] * PER_LEVEL if column == first else _balanced(levels, rng)
                for column, levels in factors.items()
            }
            for item in config["characteristics"]:
                if item["column"] not in block:
                    block[item["column"]] = _characteristic(item, rng)
            block["LEAVES"] = [False] * (PER_LEVEL - LEAVERS) + [True] * LEAVERS
            rows.append(pd.DataFrame(block))
    table = pd.concat(rows, ignore_index=True)
    table.insert(0, "USUBJID", [f"SHELL-{index:04d}" for index in range(1, len(table) + 1)])
    table["RANDDT"] = FIRST_DAY
    return table


def _balanced(levels, rng):
    """Give a block of patients each level equally often, in random order."""
    return list(rng.permutation(np.resize(np.array(levels, dtype=object), PER_LEVEL)))


def _characteristic(item, rng):
    if item["type"] == "category":
        levels = list(item.get("levels") or [f"[level {letter}]" for letter in LETTERS[:2]])
        return _balanced([str(level) for level in levels], rng)
    low, high = item.get("low", LIMITS[0]), item.get("high", LIMITS[1])
    return np.round(_within(rng.normal(0, 0.15, PER_LEVEL), low, high), item.get("decimals", 0))


def _within(z, low, high):
    """Place standardised values around the middle of a range, and keep them inside."""
    middle, size = (low + high) / 2, high - low
    return np.clip(middle + z * size, low + 0.01 * size, high - 0.01 * size)


def measurements(patients, leavers, visits, plan, parameters, rng):
    """Invent the values of all parameters at all visits.

    Who discontinues has none of the last visit, and others miss a visit between the first and it.
    Imaging parameters are measured at the visits with scans. Changes of a parameter with responders
    lie around the threshold, so that there are responders and others.
    """
    imaged = [visit for visit in visits if visit["imaging"]] or visits
    who = patients["USUBJID"].to_numpy(dtype=object)
    parts = []
    for row in parameters.to_dict("records"):
        low, high = (
            _number(row.get(key), end) for key, end in zip(("LOW", "HIGH"), LIMITS, strict=True)
        )
        low, high = (low, high) if low < high else (low, low + LIMITS[1])
        digits = int(_number(row.get("DECIMALS"), 1))
        person = rng.normal(0, SPREAD, len(who))
        for visit in imaged if row.get("DATASET") == "ADQCT" else visits:
            z = person + rng.normal(0, NOISE, len(who))
            values = _within(z, low, high)
            values = values + _aim(values, row["PARAMCD"], visit, plan, low, high)
            there = ~leavers.to_numpy() | (visit is not visits[-1]) | (len(visits) == 1)
            if visit is not visits[-1] and not visit["baseline"]:  # missed between two others
                there = np.arange(len(who)) % PER_LEVEL >= LEAVERS
            parts.append(
                pd.DataFrame(
                    {
                        "USUBJID": who[there],
                        "AVISIT": visit["name"],
                        "PARAMCD": row["PARAMCD"],
                        "AVAL": np.round(values[there], digits),
                        "ADT": _day(visit),
                        "SOURCE": "scan",
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def _number(value, otherwise):
    """Return a cell of a sheet as number, or what stands in for an empty one."""
    known = (
        value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
    )
    return float(value) if known else float(otherwise)


def _aim(values, param, visit, plan, low, high):
    """Shift values after baseline to the threshold of a responder."""
    for endpoint in plan["analyses"].get("responders", {}).get("endpoints", ()):
        if endpoint["parameter"] != param:
            continue
        kind, threshold = endpoint.get("values", "CHG"), endpoint["threshold"]
        if kind == "AVAL":
            return threshold - (low + high) / 2
        if not visit["baseline"]:
            return threshold if kind == "CHG" else threshold / 100 * values
    return 0.0


def _day(visit):
    """Date of a visit: its planned day, else its number in weeks."""
    day = visit.get("day")
    day = day - 1 if day is not None else round(7 * visit["number"])
    return (pd.Timestamp(FIRST_DAY) + pd.Timedelta(days=int(day))).date().isoformat()


def events(patients, leavers, visits):
    """Invent why patients discontinue: on the day before their last visit would have been."""
    gone = patients.loc[leavers, "USUBJID"] if len(visits) > 1 else []
    day = (pd.Timestamp(_day(visits[-1])) - pd.Timedelta(days=1)).date().isoformat()
    return pd.DataFrame(
        {"USUBJID": list(gone), "EVENT": "discontinuation", "ADT": day, "REASON": RECORDED},
        columns=["USUBJID", "EVENT", "ADT", "REASON"],
    )


def read_again(taken, plan, visits, reads, rng):
    """Invent the reads of the analysis of agreement, by the methods and readers that are known."""
    columns = ["USUBJID", "AVISIT", "PARAMCD", "METHOD", "READER", "REPEAT", "AVAL"]
    wanted = plan["analyses"].get("agreement")
    if wanted is None:
        return pd.DataFrame(columns=columns)
    keys = ["PARAMCD", "METHOD", "READER", "REPEAT"]
    if reads is not None and len(reads):
        how = reads.reindex(columns=keys).drop_duplicates()
    else:
        codes = wanted.get("parameters", "all")
        codes = list(dict.fromkeys(taken["PARAMCD"])) if codes == "all" else codes
        how = pd.DataFrame(
            [(code, f"[method {name}]", "", "1") for code in codes for name in "AB"], columns=keys
        )
    here = taken.loc[taken["AVISIT"] == visits[0]["name"], ["USUBJID", "AVISIT", "PARAMCD", "AVAL"]]
    table = how.merge(here, on="PARAMCD", how="inner")
    size = table.groupby("PARAMCD")["AVAL"].transform("std").fillna(1.0)
    table["AVAL"] = table["AVAL"] + rng.normal(0, 0.2, len(table)) * size
    return table[columns]


def scans(patients, leavers, visits):
    """Invent the fate of one scan a patient and visit: the first patient's first is excluded."""
    imaged = [visit for visit in visits if visit["imaging"]]
    rows = [
        (who, visit["name"], "scan", "ok", "", "")
        for visit in imaged
        for who, leaves in zip(patients["USUBJID"], leavers, strict=True)
        if not (leaves and visit is visits[-1])
    ]
    table = pd.DataFrame(rows, columns=["USUBJID", "AVISIT", "SERIES", "status", "stage", "reason"])
    first = ~table.duplicated("AVISIT")
    table.loc[first, ["status", "stage", "reason"]] = ["excluded", "ingest", RECORDED]
    return table


def truth(taken, plan, rng):
    """Invent the sheet of a phantom whose scans were measured as they were."""
    table = taken[["USUBJID", "AVISIT"]].drop_duplicates()
    for param, source in plan["analyses"].get("accuracy", {}).get("truth", {}).items():
        mine = taken.loc[taken["PARAMCD"] == param, ["USUBJID", "AVISIT", "AVAL"]]
        size = float(mine["AVAL"].std() or 1.0)
        mine["AVAL"] = (mine["AVAL"] + rng.normal(0, 0.2, len(mine)) * size) / source["factor"]
        if source["column"] not in table:
            named = mine.rename(columns={"AVAL": source["column"]})
            table = table.merge(named, on=["USUBJID", "AVISIT"], how="left")
    return table


def sessions(patients, rng):
    """Invent the sessions of each patient: some come to none, and of some it is not recorded."""
    place = np.arange(len(patients)) % PER_LEVEL
    came = pd.Series(rng.integers(SESSIONS // 2, SESSIONS + 1, len(patients)), dtype="Int64")
    came[place < FEW] = 0
    came[(place >= FEW) & (place < 2 * FEW)] = pd.NA
    return pd.DataFrame({
        "USUBJID": patients["USUBJID"], "PERIOD": "[period]", "PLANNED": SESSIONS, "ATTENDED": came,
    })  # fmt: skip


def adverse(patients):
    """Invent adverse events, so that the table has every line that it can have.

    Of the patients of an arm and level, the first ones have them, of all kinds; the first ones of
    these also have an event of which nothing was recorded, and one before randomisation. A class
    that one patient alone had shows what is said of classes that are left out.
    """
    columns = ["USUBJID", "AETERM", "AEDECOD", "AEBODSYS", "AESTDY", "AESEV", "AESER", "AEREL",
               "AEACN", "AEOUT"]  # fmt: skip
    severe = ("SEVERE", "Y", "RELATED", "DRUG WITHDRAWN", "FATAL")
    mild = ("MILD", "N", "NOT RELATED", "DOSE NOT CHANGED", "RECOVERED/RESOLVED")
    rows = []

    def add(who, letter, term, day, kind=(None,) * 5):
        name = f"[preferred term {term}]"
        rows.append((who, name, name, f"[system organ class {letter}]", day, *kind))

    for index, who in enumerate(patients["USUBJID"]):
        place = index % PER_LEVEL
        for letter, term, count in TERMS:
            if place < count:
                add(who, letter, term, 2, severe if place < FEW else mild)
        if place < FEW:
            add(who, "A", "A", 2)
            add(who, "A", "A", -2, mild)
        if index == 0:
            add(who, "C", "D", 2, mild)
    return pd.DataFrame(rows, columns=columns)
