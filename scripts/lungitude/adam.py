"""Analysis data in ADaM form: who was randomised to what, and what was measured when.

Arm and stratum are joined to the measurements here and nowhere before.
"""

import pandas as pd

# Flags of analysis sets as ADaM names them; the rules that hold when a plan does not say.
FLAGS = {"ITT": "ITTFL", "SAF": "SAFFL", "PP": "PPROTFL"}
DEFAULT_POPULATIONS = {
    "ITT": {"rule": "randomised"},
    "SAF": {"rule": "randomised"},
    "PP": {"rule": "completers"},
}
ENDS = ("discontinuation", "death")
UNSCHEDULED = "Unscheduled"  # AVISIT of a record that belongs to no visit
# Of records that `lungitude.windows` gave their visit.
WINDOW = ["VISIT", "AWTARGET", "AWTDIFF", "AWLO", "AWHI", "AWRANGE", "AWU"]
DATASETS = {"ADQCT": "imaging", "ADFUN": "clinical"}


def adsl(
    subjects,
    randomisation,
    arms,
    visits,
    strata=(),
    characteristics=(),
    populations=None,
    events=None,
    measurements=None,
    data_cut=None,
    study="",
    sessions=None,
    reference="RANDDT",
):
    """Derive ADSL, one row a patient.

    Parameters
    ----------
    subjects : DataFrame
        USUBJID, RANDDT (ISO date, optional) and the columns of `strata` and `characteristics`.
    randomisation : DataFrame or None
        USUBJID ARM. A patient without a row has no TRT01P and is in no analysis set.
    arms, visits, strata, characteristics : list of dict
        As in config.yaml.
    populations : dict, optional
        As in plan.yaml.
    events : DataFrame, optional
        USUBJID EVENT ADT REASON; None when the trial keeps no such sheet.
    measurements : DataFrame, optional
        USUBJID AVISIT PARAMCD AVAL; tells who attended the last visit and who has what the plan
        requires.
    data_cut : str, optional
        ISO date; later events and measurements do not count, and a patient randomised later is
        in no analysis set.
    study : str
    sessions : DataFrame, optional
        USUBJID PERIOD PLANNED ATTENDED, for populations with `adherence_pct`.
    reference : str
        Column of `subjects` with day 1 of the study, from which planned days are counted.

    Returns
    -------
    DataFrame
        STUDYID USUBJID TRT01P TRT01PN, strata, characteristics, RANDDT, `reference`, ITTFL SAFFL
        PPROTFL EOSSTT EOSDT DCSREAS; sorted by USUBJID.

    Raises
    ------
    ValueError
        For a patient listed twice, unknown arms, strata, columns or rules; all named.
    """
    table = _one_row_each(subjects, "subjects").sort_values("USUBJID", ignore_index=True)
    wanted = [item["column"] for item in [*strata, *characteristics]]
    lacking = [column for column in dict.fromkeys(wanted) if column not in table.columns]
    if lacking:
        raise ValueError(f"subjects: no column {', '.join(lacking)}, which config.yaml names")
    table["STUDYID"] = study
    table["TRT01P"] = arm_of(table["USUBJID"], randomisation, arms)
    codes = [arm["code"] for arm in arms]
    table["TRT01PN"] = table["TRT01P"].map({code: i + 1 for i, code in enumerate(codes)})
    table["TRT01PN"] = table["TRT01PN"].astype("Int64")
    for factor in strata:
        table[factor["column"]] = stratum_of(table, factor)
    for item in characteristics:
        if item["type"] == "continuous":
            table[item["column"]] = _as_number(table, item["column"])
        else:
            table[item["column"]] = as_text(table[item["column"]])
    if "RANDDT" not in table:
        table["RANDDT"] = pd.Series(pd.NA, index=table.index, dtype=object)
    known = within_cut(_frame(events, ["USUBJID", "EVENT", "ADT", "REASON"]), data_cut)
    taken = within_cut(
        _frame(measurements, ["USUBJID", "AVISIT", "PARAMCD", "AVAL", "ADT"]), data_cut
    )
    taken = taken.loc[taken["AVAL"].notna()]
    status = end_of_study(
        table, visits, None if events is None else known, taken, data_cut, reference
    )
    table = table.assign(**{column: status[column] for column in status})
    rules = {**DEFAULT_POPULATIONS, **(populations or {})}
    shares = None if sessions is None else attendance(sessions, data_cut)
    for name, rule in rules.items():
        table[flag_of(name)] = population(table, rule, known, taken, name, data_cut, shares)
    flags = [flag_of(name) for name in rules]
    columns = [
        "STUDYID",
        "USUBJID",
        "TRT01P",
        "TRT01PN",
        *wanted,
        "RANDDT",
        reference,
        *flags,
        "EOSSTT",
        "EOSDT",
        "DCSREAS",
    ]
    return table[list(dict.fromkeys(columns))]


def bds(
    measurements,
    adsl_table,
    parameters,
    visits,
    strata=(),
    characteristics=(),
    data_cut=None,
    dataset=None,
):
    """Derive a basic data structure, one row a patient x parameter x visit.

    Parameters
    ----------
    measurements : DataFrame
        USUBJID AVISIT PARAMCD AVAL, optionally AVALU SOURCE ADT; or what `windows.derive` gives.
    adsl_table : DataFrame
        From `adsl`.
    parameters : DataFrame
        PARAMCD PARAM AVALU DATASET; its order gives PARAMN.
    visits, strata, characteristics : list of dict
        As in config.yaml.
    data_cut : str, optional
        ISO date; ANL01FL is N for later records.
    dataset : str, optional
        Take only the parameters of this DATASET, such as ``ADQCT``.

    Returns
    -------
    DataFrame
        STUDYID USUBJID TRT01P TRT01PN, strata, continuous characteristics, ITTFL SAFFL PPROTFL
        PARAMCD PARAM PARAMN AVISIT AVISITN ADT ADY AVAL AVALU BASE CHG PCHG ABLFL ANL01FL DTYPE
        SOURCE; sorted by USUBJID, PARAMN, AVISITN. With visit windows also ASEQ, `WINDOW` and
        ANLREAS; ANL01FL is empty where ANLREAS says why, and BASE is of the record that is
        analysed.

    Raises
    ------
    ValueError
        For unknown patients, visits or parameters, another unit than the parameter's, or two
        records of one patient, parameter and visit; all named.
    """
    table = _frame(measurements, ["USUBJID", "AVISIT", "PARAMCD", "AVAL", "AVALU", "SOURCE", "ADT"])
    _known(table, "USUBJID", adsl_table["USUBJID"], "subjects")
    windowed = "ANLREAS" in table
    names = [*(visit["name"] for visit in visits), *([UNSCHEDULED] if windowed else [])]
    _known(table, "AVISIT", names, "the visits of config.yaml")
    _known(table, "PARAMCD", parameters["PARAMCD"], "parameters")
    described = parameters.assign(PARAMN=range(1, len(parameters) + 1))
    if dataset is not None:
        described = described.loc[described["DATASET"] == dataset]
    table = table.loc[table["PARAMCD"].isin(described["PARAMCD"])]
    described = described[["PARAMCD", "PARAM", "PARAMN", "AVALU"]].rename(columns={"AVALU": "UNIT"})
    table = table.merge(described, on="PARAMCD", how="left", validate="many_to_one")
    other = table["AVALU"].notna() & table["UNIT"].notna() & (table["AVALU"] != table["UNIT"])
    if other.any():
        row = table.loc[other].iloc[0]
        raise ValueError(
            f"{_address(row)}: unit {row['AVALU']!r}, but parameters has "
            f"{row['UNIT']!r}; convert the values or mend the sheet"
        )
    table["AVALU"] = table["UNIT"]
    table["AVAL"] = _as_number(table, "AVAL")
    table["AVISITN"] = table["AVISIT"].map({v["name"]: v["number"] for v in visits}).astype(float)
    covariates = [c["column"] for c in characteristics if c["type"] == "continuous"]
    flags = [name for name in adsl_table.columns if name.endswith("FL")]
    joined = ["STUDYID", "TRT01P", "TRT01PN", *(s["column"] for s in strata), *covariates, *flags]
    joined = list(dict.fromkeys(joined))
    table = table.merge(
        adsl_table[["USUBJID", *joined, "RANDDT"]], on="USUBJID", how="left", validate="many_to_one"
    )
    table["ANL01FL"] = analysed(table["ADT"], data_cut)
    if windowed:
        table["ANL01FL"] = table["ANL01FL"].mask(
            (table["ANLREAS"] != "") & (table["ANL01FL"] == "Y"), ""
        )
        table = derive_baseline(table, visits, table["ANLREAS"] == "")
    else:
        table["ADY"] = study_day(table["ADT"], table["RANDDT"])
        table = derive_baseline(table, visits)
        table["DTYPE"] = pd.Series("", index=table.index, dtype=object)
    order = ["USUBJID", "PARAMN", "AVISITN", *(["ADT"] if windowed else [])]
    table = table.sort_values(order, kind="stable", ignore_index=True)
    if windowed:
        table["ASEQ"] = table.groupby("USUBJID").cumcount() + 1
    columns = [
        joined[0],
        "USUBJID",
        *(["ASEQ"] if windowed else []),
        *joined[1:],
        "PARAMCD",
        "PARAM",
        "PARAMN",
        "AVISIT",
        "AVISITN",
        *(WINDOW if windowed else []),
        "ADT",
        "ADY",
        "AVAL",
        "AVALU",
        "BASE",
        "CHG",
        "PCHG",
        "ABLFL",
        "ANL01FL",
        *(["ANLREAS"] if windowed else []),
        "DTYPE",
        "SOURCE",
    ]
    return table[columns]


# --- Derivations, each small --------------------------------------------------------------------


def flag_of(name):
    """Column of an analysis set: ITT is ITTFL, PP is PPROTFL."""
    return FLAGS.get(name, f"{name}FL")


def arm_of(subjects, randomisation, arms):
    """Planned arm of each patient; missing where the randomisation has no row."""
    table = _one_row_each(_frame(randomisation, ["USUBJID", "ARM"]), "randomisation")
    codes = [arm["code"] for arm in arms]
    unknown = sorted(set(table["ARM"].dropna()) - set(codes))
    if unknown:
        raise ValueError(
            f"randomisation: arm {', '.join(unknown)} is not in config.yaml "
            f"(arms: {', '.join(codes)})"
        )
    _known(table, "USUBJID", subjects, "subjects")
    return subjects.map(table.set_index("USUBJID")["ARM"]).astype(object)


def stratum_of(subjects, factor):
    """Values of a stratum factor as text, each of them one that config.yaml lists."""
    values = as_text(subjects[factor["column"]])
    levels = [str(level["value"]) for level in factor["levels"]]
    unknown = sorted(set(values.dropna()) - set(levels))
    if unknown:
        who = subjects.loc[values.isin(unknown), "USUBJID"].iloc[0]
        raise ValueError(
            f"subjects: {who} has {factor['column']} {unknown[0]!r}, which is not "
            f"a level in config.yaml ({', '.join(levels)})"
        )
    return values


def end_of_study(subjects, visits, events, measurements, data_cut=None, reference="RANDDT"):
    """EOSSTT, EOSDT and DCSREAS of each patient.

    DISCONTINUED: a discontinuation or death is recorded; the earliest counts, of one day the death.
    The reason of a death is "Death"; its cause stays in the events. COMPLETED: the last
    visit has a measurement; or it is due and the trial records discontinuations, so that a last
    visit without data is a missed visit. ONGOING: the last visit is not due at the data cut. A
    patient who is none of these, in a trial without an events sheet, is DISCONTINUED with reason
    "Not recorded".
    """
    last = max(visits, key=lambda visit: visit["number"])
    attended = subjects["USUBJID"].isin(
        measurements.loc[measurements["AVISIT"] == last["name"], "USUBJID"]
    )
    ongoing = pd.Series(False, index=subjects.index)
    if data_cut is not None and "day" in last:
        planned = pd.to_datetime(subjects[reference]) + pd.Timedelta(days=last["day"] - 1)
        ongoing = (planned > pd.Timestamp(data_cut)) & ~attended
    frame = pd.DataFrame(
        {
            "EOSSTT": pd.Series("COMPLETED", index=subjects.index, dtype=object),
            "EOSDT": pd.Series(pd.NA, index=subjects.index, dtype=object),
            "DCSREAS": pd.Series("", index=subjects.index, dtype=object),
        }
    )
    frame.loc[ongoing, "EOSSTT"] = "ONGOING"
    if events is None:
        lost = ~attended & ~ongoing
        frame.loc[lost, ["EOSSTT", "DCSREAS"]] = ["DISCONTINUED", "Not recorded"]
        return frame
    ends = events.loc[events["EVENT"].isin(ENDS)]
    ends = ends.assign(LATER=ends["EVENT"] != "death")
    ends = ends.sort_values(["USUBJID", "ADT", "LATER"], kind="stable").drop_duplicates("USUBJID")
    ends = ends.set_index("USUBJID")
    gone = subjects["USUBJID"].isin(ends.index)
    who = subjects.loc[gone, "USUBJID"]
    reason = ends["REASON"].where(ends["REASON"].notna(), "Not recorded")
    reason = reason.mask(ends["EVENT"] == "death", "Death")
    frame.loc[gone, "EOSSTT"] = "DISCONTINUED"
    frame.loc[gone, "EOSDT"] = who.map(ends["ADT"])
    frame.loc[gone, "DCSREAS"] = who.map(reason)
    return frame


def population(subjects, rule, events, measurements, name="population", data_cut=None, shares=None):
    """Flag Y or N of an analysis set.

    ``randomised`` takes everybody with an arm who was randomised by the data cut, ``completers``
    those of them who completed; both then lose patients with an event of `no_events`, without a
    value that `require` names, or who attended less than `adherence_pct` of their sessions
    (`shares`, of `attendance`).
    """
    kind = rule["rule"]
    if kind not in ("randomised", "completers"):
        raise ValueError(f"{name}: rule {kind!r} is not one of 'randomised', 'completers'")
    member = subjects["TRT01P"].notna() & (analysed(subjects["RANDDT"], data_cut) == "Y")
    if kind == "completers":
        member &= subjects["EOSSTT"] == "COMPLETED"
    barred = events.loc[events["EVENT"].isin(rule.get("no_events") or []), "USUBJID"]
    member &= ~subjects["USUBJID"].isin(barred)
    for need in rule.get("require") or []:
        there = (measurements["PARAMCD"] == need["param"]) & (
            measurements["AVISIT"] == need["visit"]
        )
        member &= subjects["USUBJID"].isin(measurements.loc[there, "USUBJID"])
    limit = rule.get("adherence_pct")
    if limit is not None:
        if shares is None:
            raise ValueError(
                f"{name}: adherence_pct {limit:g} needs the sessions of each patient; name "
                "'sheets: sessions' in config.yaml"
            )
        member &= adherent(subjects, shares, limit)
    return member.map({True: "Y", False: "N"})


def attendance(sessions, data_cut=None):
    """Sessions of each patient who has any row of sessions.tsv that is not after the data cut.

    Parameters
    ----------
    sessions : DataFrame
        USUBJID PERIOD PLANNED ATTENDED, optionally ADT.
    data_cut : str, optional
        ISO date.

    Returns
    -------
    DataFrame
        By USUBJID: NSESSPL planned, NSESSUN planned without a record of attendance, NSESSAT
        attended and ADHER their percentage. One session without a record leaves NSESSAT and ADHER
        missing; ADHER is missing, too, where no session was planned.
    """
    table = _frame(sessions, ["USUBJID", "PERIOD", "PLANNED", "ATTENDED", "ADT"])
    table = within_cut(table, data_cut)
    planned, came = _as_number(table, "PLANNED"), _as_number(table, "ATTENDED")
    table = pd.DataFrame(
        {
            "USUBJID": table["USUBJID"],
            "NSESSPL": planned,
            "NSESSUN": planned.where(came.isna(), 0.0),
            "NSESSAT": came.fillna(0.0),
        }
    )
    found = table.groupby("USUBJID", sort=True).sum()
    found["NSESSAT"] = found["NSESSAT"].where(found["NSESSUN"] == 0)
    found["ADHER"] = (100 * found["NSESSAT"] / found["NSESSPL"]).where(found["NSESSPL"] > 0)
    return found


def adherent(subjects, shares, limit):
    """Whether each patient attended at least `limit` percent of the planned sessions.

    An arm or a patient without planned sessions is not held against the limit. A patient whose
    attendance is not known is not adherent.
    """
    who = subjects["USUBJID"]
    planned = who.map(shares["NSESSPL"])
    asked = subjects["TRT01P"].isin(subjects.loc[planned > 0, "TRT01P"].dropna())
    return (who.map(shares["ADHER"]) >= limit) | (planned == 0) | ~asked


def one_record(table):
    """Raise a ValueError that names two records of one patient, parameter and visit."""
    keys = ["USUBJID", "PARAMCD", "AVISIT"]
    repeated = table.duplicated(keys, keep=False)
    if repeated.any():
        row = table.loc[repeated].iloc[0]
        count = int((table[keys] == row[keys]).all(axis=1).sum())
        raise ValueError(f"{_address(row)}: {count} records of one visit; keep one of them")


def derive_baseline(table, visits, used=None):
    """Add ABLFL, BASE, CHG and PCHG.

    The record of the visit that config.yaml marks as baseline is the baseline, if it has a value.
    CHG and PCHG are of later visits only; without a baseline they are missing, and PCHG of a
    baseline of 0 is missing, too. Where there are several records of a visit, `used` (boolean,
    by row) tells which one counts.
    """
    used = pd.Series(True, table.index) if used is None else used
    one_record(table.loc[used])
    baseline = [visit for visit in visits if visit.get("baseline")]
    if len(baseline) != 1:
        raise ValueError(f"{len(baseline)} visits are marked as baseline; one is needed")
    at_baseline = used & (table["AVISIT"] == baseline[0]["name"]) & table["AVAL"].notna()
    table["ABLFL"] = at_baseline.map({True: "Y", False: ""})
    keys = ["USUBJID", "PARAMCD"]
    base = table.loc[at_baseline, [*keys, "AVAL"]].rename(columns={"AVAL": "BASE"})
    table = table.drop(columns="BASE", errors="ignore")
    table = table.merge(base, on=keys, how="left", validate="many_to_one")
    number = table["AVISIT"].map({visit["name"]: visit["number"] for visit in visits})
    after = number > baseline[0]["number"]
    table["CHG"] = (table["AVAL"] - table["BASE"]).where(after)
    table["PCHG"] = (100 * table["CHG"] / table["BASE"]).where(table["BASE"] != 0)
    return table


def study_day(dates, reference):
    """ADY: the day of randomisation is 1, the day before it -1, and there is no day 0."""
    days = (pd.to_datetime(dates) - pd.to_datetime(reference)).dt.days
    return (days + (days >= 0)).where(days.notna()).astype("Int64")


def analysed(dates, data_cut=None):
    """ANL01FL: N for records after the data cut; a record without a date stays in."""
    late = pd.Series(False, index=dates.index)
    if data_cut is not None:
        late = pd.to_datetime(dates) > pd.Timestamp(data_cut)
    return late.map({True: "N", False: "Y"})


def within_cut(table, data_cut=None):
    """Rows whose ADT is not after the data cut."""
    return table.loc[analysed(table["ADT"], data_cut) == "Y"]


def as_text(column):
    """Column as text, whole numbers without a decimal point; missing stays missing."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype(object).where(column.notna()).map(str, na_action="ignore")


# --- Checks -------------------------------------------------------------------------------------


def _frame(table, columns):
    """Copy a table so that it has all of `columns`; None is a table without rows."""
    if table is None:
        return pd.DataFrame({column: pd.Series(dtype=object) for column in columns})
    lacking = [column for column in columns if column not in table]
    optional = {"ADT", "REASON", "AVALU", "SOURCE"}
    if set(lacking) - optional:
        raise ValueError(
            f"no column {', '.join(sorted(set(lacking) - optional))} in a sheet with "
            f"{', '.join(table.columns)}"
        )
    return table.assign(**{c: pd.Series(pd.NA, index=table.index, dtype=object) for c in lacking})


def _one_row_each(table, sheet):
    repeated = table["USUBJID"].duplicated()
    if repeated.any():
        who = table.loc[repeated, "USUBJID"].iloc[0]
        raise ValueError(f"{sheet}: {who} has more than one row; keep one of them")
    return table.copy()


def _known(table, column, known, where):
    unknown = table.loc[~table[column].isin(list(known)), column]
    if len(unknown):
        names = ", ".join(dict.fromkeys(map(str, unknown.head(20))))
        raise ValueError(f"{column} {names} of {len(unknown)} rows is not in {where}")


def _as_number(table, column):
    values = pd.to_numeric(table[column], errors="coerce")
    broken = values.isna() & table[column].notna()
    if broken.any():
        row = table.loc[broken].iloc[0]
        raise ValueError(f"{_address(row)}: {column} {row[column]!r} is not a number")
    return values.astype(float)


def _address(row):
    return " ".join(str(row[key]) for key in ("USUBJID", "PARAMCD", "AVISIT") if key in row)
