"""Visits by date: windows of days around planned visits, and which of several records counts.

`visit_windows` of config.yaml asks for it. Every record is kept; what is not analysed says why.
"""

import pandas as pd

from lungitude.adam import UNSCHEDULED, analysed, study_day
from lungitude.checks import Problem
from lungitude.cohort import given_by_scans
from lungitude.sheets import numbers

# Why a record is not analysed, as ANLREAS and the report say it.
OUTSIDE_ALL = "outside all windows"
OUTSIDE = "outside the window of its visit"
OTHER_VISIT = "its date is of another visit"
NOT_PLANNED = "unscheduled visit"
NO_DATE = "no date to find its visit by"
SCANNED = "the visit was scanned"
NO_VALUE = "no value"
LATE = "after the data cut"
AVERAGED = "averaged with others of the visit"
NOT_CHOSEN = "another record of the visit was chosen"

DISAGREE = "mend date or visit, or say 'visit_windows: disagree' exclude or assign"
KEYS = ["USUBJID", "PARAMCD", "AVISIT"]
DATED = ("closest", "first", "last")
WORSE = {"higher": 1, "lower": -1}  # the sign of AVAL whose smallest value is the worst
DAYS_OF_YEAR = 365.25
YOUNGER = 2  # years that AGE may be behind at the reference date, one of them for its rounding


def distance(days, target):
    """Days between two days of the study, of which there is no day 0."""
    days, target = (value - (value > 0).astype("Int64") for value in (days, target))
    return (days - target).abs()


def place(measurements, subjects, visits, settings):
    """Give each record its visit, by name or by date.

    Parameters
    ----------
    measurements : DataFrame
        USUBJID AVISIT PARAMCD AVAL ADT, optionally SOURCE; what a scan gave stays at its visit.
    subjects : DataFrame
        USUBJID and the column of the reference date.
    visits : list of dict
        As in config.yaml, with ``window`` (first and last day).
    settings : dict
        ``visit_windows`` of config.yaml.

    Returns
    -------
    DataFrame
        The records, same index, with VISIT (as named in the sheet), AVISIT (as analysed;
        ``Unscheduled`` where there is none), ADY, AWTARGET AWTDIFF AWLO AWHI AWRANGE AWU of the
        visit, and ANLREAS (why it is not analysed, empty if nothing speaks against it).
    """
    reference = subjects.set_index("USUBJID")[settings["reference"]]
    days = study_day(measurements["ADT"], measurements["USUBJID"].map(reference))
    named = measurements["AVISIT"].astype(object)
    planned = {visit["name"]: visit for visit in visits}
    declared, dated = named.isin(list(planned)), days.notna()
    imported = measurements.get("SOURCE", pd.Series("", measurements.index)) != "scan"
    at = named.where(declared, UNSCHEDULED)
    reason = pd.Series("", measurements.index, dtype=object)
    follow = settings["disagree"] == "assign"
    if settings["assign"] == "by_date":
        found = pd.Series(float("nan"), measurements.index, dtype=object)
        for name, visit in planned.items():
            found = found.mask(days.between(*visit["window"]).fillna(False).astype(bool), name)
        other = imported & declared & found.notna() & (found != named)
        reason = reason.mask(other & (not follow), OTHER_VISIT)
        moved = imported & dated & (reason == "")
        at = at.mask(moved, found.where(found.notna(), UNSCHEDULED))
        reason = reason.mask(moved & found.isna(), OUTSIDE_ALL)
        lost = imported & ~dated & ((settings["undated"] != "named") | ~declared)
        reason = reason.mask(lost, NO_DATE)
    else:
        reason = reason.mask(~declared, NOT_PLANNED)
    table = measurements.assign(VISIT=named, AVISIT=at, ADY=days)
    spans = {name: visit["window"] for name, visit in planned.items() if "window" in visit}
    target = at.map({name: visit.get("day") for name, visit in planned.items()}).astype("Int64")
    table["AWTARGET"], table["AWTDIFF"] = target, distance(days, target)
    for column, end in (("AWLO", 0), ("AWHI", 1)):
        table[column] = at.map({name: span[end] for name, span in spans.items()}).astype("Int64")
    told = {name: f"DAY {first} TO DAY {last}" for name, (first, last) in spans.items()}
    table["AWRANGE"] = at.map(told).astype(object)
    table["AWU"] = table["AWRANGE"].mask(table["AWRANGE"].notna(), "DAYS")
    if settings["assign"] == "named" and not follow:
        reason = reason.mask(imported & outside(table), OUTSIDE)
    return table.assign(ANLREAS=reason)


def outside(table):
    """Whether the day of each record lies outside the window of its visit."""
    return ((table["ADY"] < table["AWLO"]) | (table["ADY"] > table["AWHI"])).fillna(False)


def derive(measurements, subjects, parameters, visits, settings, scans=None, data_cut=None):
    """Place records by visit, and choose one of each patient, parameter and visit.

    Parameters
    ----------
    measurements, subjects, visits, settings
        As of `place`.
    parameters : DataFrame
        PARAMCD, DIRECTION (for the worst of several) and MEASURE.
    scans : DataFrame, optional
        USUBJID AVISIT SERIES of the scans in use: what they measure is not taken from elsewhere.
    data_cut : str, optional
        ISO date; later records are not chosen.

    Returns
    -------
    DataFrame
        As of `place`, with DTYPE: a mean of several records is a record of its own (AVERAGE). Of
        one patient, parameter and visit at most one has an empty ANLREAS.

    Raises
    ------
    ValueError
        For records that the settings refuse.
    """
    table, faults = choose(
        *(measurements, subjects, parameters, visits, settings), scans=scans, data_cut=data_cut
    )
    if faults:
        lines = [text for _, _, text in faults]
        raise ValueError("\n".join(["measurements do not fit visit_windows:", *lines]))
    return table


def choose(measurements, subjects, parameters, visits, settings, scans=None, data_cut=None):
    """Return what `derive` does, and the faults: index of a record, column, and what to do."""
    table = place(measurements, subjects, visits, settings)
    faults = list(_refused(table, settings))
    table["AVAL"] = pd.to_numeric(table["AVAL"], errors="coerce").astype(float)
    reasons = {NO_VALUE: table["AVAL"].isna(), LATE: analysed(table["ADT"], data_cut) == "N"}
    if scans is not None and len(scans):
        imported = table.get("SOURCE", pd.Series("", table.index)) != "scan"
        reasons[SCANNED] = imported & given_by_scans(table, parameters, scans)
    for reason, rows in reasons.items():
        table["ANLREAS"] = table["ANLREAS"].mask((table["ANLREAS"] == "") & rows, reason)
    table["DTYPE"] = pd.Series("", table.index, dtype=object)
    ways = parameters.reindex(columns=["PARAMCD", "DIRECTION"]).set_index("PARAMCD")["DIRECTION"]
    free = table.loc[table["ANLREAS"] == ""]
    averages = []
    for (_, code, _), rows in free.loc[free.duplicated(KEYS, keep=False)].groupby(KEYS, sort=False):
        kept, rule, fault = _pick(rows, settings, WORSE.get(ways.get(code)))
        if fault:
            faults.append((rows.index[1], "USUBJID", f"{len(rows)} {_told(rows.iloc[0])}{fault}"))
        elif rule == "mean":
            averages.append(_average(kept))
            table.loc[kept.index, "ANLREAS"] = AVERAGED
        others = rows.index.difference(kept.index)
        table.loc[others, "ANLREAS"] = NOT_CHOSEN
    return pd.concat([table, *averages], ignore_index=True) if averages else table, faults


def _pick(rows, settings, sign):
    """Choose among records of one visit: those kept, the rule that ended it, or the fault."""
    if settings["several"] == "stop":
        fault = "; keep one, or say which by 'visit_windows: several' in config.yaml"
        return rows, "stop", fault
    for key in ("several", "ties"):
        rule = settings[key]
        if rule in ("mean", "stop"):
            break
        if rule in DATED and rows["ADT"].isna().any():
            fault = f", and not all have a date, which 'visit_windows: {key}: {rule}' needs; fill "
            return rows, rule, fault + "in ADT, or choose worst or mean"
        if rule == "worst" and sign is None:
            fault = "; which is the worst is not known: write DIRECTION (higher or lower is better)"
            return rows, rule, fault + " in parameters.tsv, or choose another rule"
        score = {
            "closest": lambda part: part["AWTDIFF"],
            "first": lambda part: pd.to_datetime(part["ADT"]),
            "last": lambda part: pd.Timestamp(0) - pd.to_datetime(part["ADT"]),
            "worst": lambda part: sign * part["AVAL"],
        }[rule](rows)
        rows = rows.loc[(score == score.min()).astype(bool)]
        alike = _alike(rows)
        if alike is not None:
            return alike, rule, ""
    if rule == "mean":
        return rows, rule, ""
    told = f"'several: {settings['several']}'"
    told += "" if settings["ties"] == "stop" else f" and 'ties: {settings['ties']}'"
    fault = (
        f", and {told} cannot tell {len(rows)} of them apart; say 'ties: mean' or 'ties: worst' "
    )
    return rows, rule, fault + "in 'visit_windows', or keep one"


def _average(rows):
    """Return the mean of records as a record; what they do not share is missing."""
    made = rows.head(1).copy()
    made["AVAL"], made["DTYPE"] = rows["AVAL"].mean(), "AVERAGE"
    for name in ("ADT", "VISIT", "ADY", "AWTDIFF", "SOURCE"):
        if name in rows and len(rows[name].drop_duplicates()) > 1:
            made[name] = made[name].mask(made[name].notna())
    return made


def _alike(rows):
    """Return the first by date of records with one value, as any of them gives the same."""
    first = rows.sort_values("ADT", kind="stable").head(1)
    return first if (rows["AVAL"] == first["AVAL"].iloc[0]).all() else None


def _told(row):
    return f"records of {row['PARAMCD']} of {row['USUBJID']} at {row['AVISIT']}"


def _refused(table, settings):
    """Yield the records that the settings do not let pass."""
    undated = (table["ANLREAS"] == NO_DATE) & (settings["undated"] == "stop")
    for index, row in table.loc[undated].iterrows():
        cause = "has no date (ADT)"
        if pd.notna(row["ADT"]):
            cause = f"has a date, but the patient has no {settings['reference']} in subjects.tsv"
        text = f"{row['PARAMCD']} of {row['USUBJID']} {cause}, and visits are found by date; "
        text += "fill it in, or say 'visit_windows: undated' named or exclude"
        yield index, "USUBJID", text
    if settings["disagree"] != "stop":
        return
    wrong = table["ANLREAS"].isin([OUTSIDE, OTHER_VISIT])
    for index, row in table.loc[wrong].iterrows():
        text = f"{row['PARAMCD']} of {row['USUBJID']} {_outside_told(row)}; {DISAGREE}"
        yield index, "ADT", text


def _outside_told(row):
    return (
        f"is of {row['ADT']}, day {row['ADY']} of the study, outside the window of {row['AVISIT']} "
        f"({row['AWRANGE'].lower()})"
    )


# --- Checks of a trial's folder ---------------------------------------------------------------


def config_problems(config, problem):
    """Yield what is wrong with the windows in config.yaml.

    Parameters
    ----------
    config : dict
        With the defaults of the schema filled in.
    problem : callable
        Of a `Document`.
    """
    settings, visits = config.get("visit_windows"), config["visits"]
    for index, visit in enumerate(visits):
        keys, name = ["visits", index, "window"], visit["name"]
        if "window" not in visit:
            if settings and settings["assign"] == "by_date":
                text = f"visit '{name}' has no window, and visits are found by date; "
                yield problem(["visits", index], text + "add 'window: [first day, last day]'")
            continue
        first, last = visit["window"]
        if settings is None and "imaging" not in config:  # scans of an export are placed by it, too
            text = f"visit '{name}' has a window, which 'visit_windows' is to use; add it, or "
            yield problem(keys, text + "delete the window")
        if 0 in (first, last):
            text = f"the window of '{name}' names day 0, which there is not: day 1 is the "
            yield problem(keys, text + "reference date, the day before it is -1")
        if first > last:
            text = f"the window of '{name}' begins on day {first} after its end {last}; mend it"
            yield problem(keys, text)
        elif not first <= visit.get("day", first) <= last:
            text = f"day {visit['day']} of '{name}' lies outside its window {first} to {last}"
            text += "; mend one, a window is of days of the study, such as "
            yield problem(keys, text + f"[{visit['day'] - 7}, {visit['day'] + 7}]")
        for other in visits[:index]:
            if "window" in other and other["window"][1] >= first and other["window"][0] <= last:
                text = f"the windows of '{other['name']}' and '{name}' overlap; a day belongs to "
                yield problem(keys, text + "one visit, mend them")
    if settings is None:
        return
    keys, names = ["visit_windows"], [visit["name"] for visit in visits]
    if "closest" in (settings["several"], settings["ties"]):
        for visit in visits:
            if "day" not in visit:
                text = f"'closest' looks for the planned day, which '{visit['name']}' lacks; "
                yield problem([*keys, "several"], text + "add 'day' to the visit")
    if settings["several"] in ("stop", "mean") and settings["ties"] != "stop":
        text = f"'several: {settings['several']}' leaves no ties; delete 'ties'"
        yield problem([*keys, "ties"], text)
    if settings["assign"] == "named" and settings["undated"] != "stop":
        text = "'undated' is for 'assign: by_date'; delete it"
        yield problem([*keys, "undated"], text)
    for name in settings["unscheduled"]:
        if name in names:
            text = f"'{name}' is one of 'visits', so it is not unscheduled; delete it here"
            yield problem([*keys, "unscheduled"], text)
    if UNSCHEDULED in names:
        text = f"a visit is called '{UNSCHEDULED}', which is kept for records of no visit"
        yield problem(["visits"], text + "; rename it")
    if "subjects" not in config["sheets"]:
        text = "windows count days from a date of subjects.tsv; add 'sheets: subjects'"
        yield problem(keys, text)


def sheet_schema(config):
    """Return what differs in the schema of measurements.tsv where records are chosen."""
    settings = config.get("visit_windows")
    if settings is None:
        return {}
    filled = ["PARAMCD"] if settings["assign"] == "by_date" else ["AVISIT", "PARAMCD"]
    required = ["USUBJID", "AVISIT", "PARAMCD", "AVAL"]
    required += ["ADT"] if settings["assign"] == "by_date" else []
    return {
        "filled": filled,
        "required": required,
        "unique": ["USUBJID", "AVISIT", "PARAMCD", "ADT", "AVAL"],
    }


def unscheduled(config):
    """Names of visits that measurements.tsv may hold beside those that are planned."""
    return config.get("visit_windows", {}).get("unscheduled", [])


def problems(trial):
    """Yield the problems of dates against the windows, the reference date and the age.

    Parameters
    ----------
    trial : Trial
        Whose sheets were read without faults.
    """
    settings = trial.config["visit_windows"]
    reference, subjects = settings["reference"], trial.subjects
    path = str(trial.paths["subjects"])
    if reference not in subjects or subjects[reference].isna().all():
        text = f"the column is missing or empty, and 'visit_windows' counts days from {reference}; "
        yield Problem(path, 1, reference, text + "fill it in, or name another 'reference'")
        return
    for name in ("measurements", "scans", "events"):
        if name in trial.paths:
            yield from _before_birth(trial, name, reference)
    if settings["disagree"] == "stop":
        for index, text in _odd_scans(trial):
            yield Problem(str(trial.paths["scans"]), index + 2, "ADT", f"{text}; {DISAGREE}")
    if "measurements" in trial.paths:
        frame = trial.measurements
        frame = frame.assign(AVAL=numbers(frame["AVAL"]))
        scans = trial.scans[["USUBJID", "AVISIT", "SERIES"]]
        _, faults = choose(
            *(frame, subjects, trial.parameters, trial.config["visits"], settings),
            scans=scans,
            data_cut=trial.config.get("data_cut"),
        )
        for index, column, text in faults:
            yield Problem(str(trial.paths["measurements"]), index + 2, column, text)


def notes(trial):
    """Return what is odd but no fault, a line each: scans outside the window of their visit."""
    if "visit_windows" not in trial.config or "scans" not in trial.paths:
        return []
    path = str(trial.paths["scans"])
    return [
        str(Problem(path, index + 2, "ADT", f"{text}; it is analysed as named"))
        for index, text in _odd_scans(trial)
    ]


def _odd_scans(trial):
    """Yield index and text of each scan whose date lies outside the window of its visit."""
    config, frame = trial.config, trial.scans
    settings = {**config["visit_windows"], "assign": "named", "disagree": "assign"}
    placed = place(frame, trial.subjects, config["visits"], settings)
    for index, row in placed.loc[outside(placed)].iterrows():
        yield index, f"the scan {row['SERIES']} of {row['USUBJID']} {_outside_told(row)}"


def _before_birth(trial, name, reference):
    """Yield dates at which the patient was not born, by AGE in years."""
    age = next((c for c in trial.config["characteristics"] if c["column"] == "AGE"), {})
    if age.get("unit", "years") != "years" or "AGE" not in trial.subjects:
        return
    subjects = trial.subjects.set_index("USUBJID")
    frame = getattr(trial, name)
    years = numbers(frame["USUBJID"].map(subjects["AGE"])) + YOUNGER
    day_one = pd.to_datetime(frame["USUBJID"].map(subjects[reference]))
    gone = (day_one - pd.to_datetime(frame["ADT"])).dt.days / DAYS_OF_YEAR > years
    for index, row in frame.loc[gone].iterrows():
        text = f"{row['ADT']} is before {row['USUBJID']} was born, by AGE in subjects.tsv; mend "
        yield Problem(str(trial.paths[name]), index + 2, "ADT", text + "one of the two")
