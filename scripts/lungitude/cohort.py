"""From the tables and records of single scans to the long tables of the whole trial.

No arm is known here. Where a visit was scanned, a parameter that scans give comes from the scan
and never from an imported value, also when the scan was excluded: missing stays missing.
"""

import pandas as pd

from lungitude import records, tables

MEASUREMENTS = ["USUBJID", "AVISIT", "PARAMCD", "AVAL", "AVALU", "SOURCE", "ADT", "FLAG", "SPREAD"]
VALUE = ["USUBJID", "AVISIT", "PARAMCD"]
IDENTITY = ["USUBJID", "AVISIT", "SERIES"]


def stack(paths):
    """Concatenate tables of single scans; those of excluded scans hold no rows.

    Returns
    -------
    DataFrame
        With the columns of `IDENTITY` even where there is no table at all.
    """
    frames = [frame for frame in map(tables.read, paths) if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=IDENTITY)


def from_scans(biomarkers, parameters):
    """Pick the parameters of the trial from the biomarker tables.

    Parameters
    ----------
    biomarkers : dict of str to DataFrame
        Tables by name (``parenchyma``, ``airways``) with `IDENTITY`, ``region`` and measures.
    parameters : DataFrame
        parameters.tsv; MEASURE reads ``series:table:region:column``.

    Returns
    -------
    DataFrame
        USUBJID, AVISIT, PARAMCD, AVAL, AVALU, FLAG (``flag`` of the table, empty if nothing is
        odd); a value that could not be measured is left out.

    Raises
    ------
    ValueError
        If MEASURE names a column that its table does not have.
    """
    picked = []
    for parameter in _measured(parameters).itertuples():
        series, name, region, column = parameter.MEASURE.split(":")
        table = biomarkers[name]
        if not len(table):
            continue
        if column not in table:
            known = ", ".join(c for c in table if c not in (*IDENTITY, "region"))
            raise ValueError(
                f"parameters.tsv, {parameter.PARAMCD}: MEASURE asks for '{column}' of the table "
                f"'{name}', which has {known}; mend MEASURE"
            )
        rows = table[(table["SERIES"] == series) & (table["region"] == region)]
        flag = rows.get("flag", pd.Series("", rows.index)).astype(object)
        rows = rows[["USUBJID", "AVISIT"]].assign(
            PARAMCD=parameter.PARAMCD,
            AVAL=rows[column].astype(float),
            AVALU=parameter.AVALU,
            FLAG=flag.where(flag.notna(), ""),
        )
        picked.append(rows.dropna(subset="AVAL"))
    columns = ["USUBJID", "AVISIT", "PARAMCD", "AVAL", "AVALU", "FLAG"]
    return pd.concat(picked, ignore_index=True) if picked else pd.DataFrame(columns=columns)


def gather(biomarkers, imported, parameters, scans, visits, spreads=None, by_date=False):
    """Join measured and imported values into one long table.

    Parameters
    ----------
    biomarkers : dict of str to DataFrame
        See `from_scans`.
    imported : DataFrame
        measurements.tsv; may be empty.
    parameters : DataFrame
        parameters.tsv.
    scans : DataFrame
        Scans in use: `IDENTITY` and, if known, ADT.
    visits : list of dict
        ``visits`` of config.yaml, for the order of rows.
    spreads : DataFrame, optional
        See `doubts.of_spreads`.
    by_date : bool
        Whether visits are found by date: what was imported for a scanned visit is then told there.

    Returns
    -------
    DataFrame
        Columns `MEASUREMENTS`; SOURCE is ``scan`` or ``imported``; SPREAD the SD over the views of
        the scan, NaN where none were read. Sorted by patient, visit and the order of
        parameters.tsv.
    """
    measured = from_scans(biomarkers, parameters).assign(SOURCE="scan")
    dates = scans.reindex(columns=[*IDENTITY, "ADT"])
    dates = dates.groupby(["USUBJID", "AVISIT"], as_index=False)["ADT"].first()
    measured = measured.merge(dates, how="left", on=["USUBJID", "AVISIT"])
    measured = with_spread(measured, spreads)
    imported = imported.reindex(columns=[c for c in MEASUREMENTS if c not in ("SOURCE", "SPREAD")])
    imported = imported.assign(SOURCE="imported", FLAG="")
    units = parameters.set_index("PARAMCD")["AVALU"]
    imported["AVALU"] = imported["AVALU"].fillna(imported["PARAMCD"].map(units))
    if not by_date:
        imported = imported[~given_by_scans(imported, parameters, scans)]
    frames = [frame for frame in (measured, imported) if len(frame)]
    if not frames:
        return pd.DataFrame(columns=MEASUREMENTS)
    return ordered(frames, parameters, visits)


def ordered(frames, parameters, visits):
    """Put rows of measurements together, by patient, visit and the order of parameters.tsv."""
    together = pd.concat(frames, ignore_index=True).reindex(columns=MEASUREMENTS)
    order = {
        "AVISIT": {visit["name"]: index for index, visit in enumerate(visits)},
        "PARAMCD": {code: index for index, code in enumerate(parameters["PARAMCD"])},
    }
    return together.sort_values(
        ["USUBJID", "AVISIT", "PARAMCD"],
        key=lambda column: column.map(order.get(column.name, lambda value: value)),
        ignore_index=True,
    )


def with_spread(measured, spreads):
    """Add to measured values their SD over the views of the scan, as SPREAD, and what is doubted.

    Parameters
    ----------
    measured : DataFrame
        Of `from_scans`.
    spreads : DataFrame or None
        See `doubts.of_spreads`.

    Returns
    -------
    DataFrame
        The table with SPREAD; its FLAG with ``spread: ...`` after what stood there.
    """
    if spreads is None or not len(spreads):
        return measured.assign(SPREAD=float("nan"))
    table = measured.merge(spreads[[*VALUE, "sd", "flag"]], how="left", on=VALUE)
    told = table["flag"].fillna("")
    own = table["FLAG"].where((table["FLAG"] == "") | (told == ""), table["FLAG"] + "; ")
    flags = own + told.where(told == "", "spread: " + told)
    return table.assign(FLAG=flags).drop(columns="flag").rename(columns={"sd": "SPREAD"})


def _measured(parameters):
    return parameters.reindex(columns=["PARAMCD", "AVALU", "MEASURE"]).dropna(subset="MEASURE")


def given_by_scans(imported, parameters, scans):
    """Tell which imported rows stand for something that a scan of that visit is measured for."""
    series = _measured(parameters).set_index("PARAMCD")["MEASURE"].astype(str)
    series = imported["PARAMCD"].map(series.str.split(":").str[0])
    visited = pd.MultiIndex.from_frame(scans[["USUBJID", "AVISIT"]])
    scanned = pd.MultiIndex.from_frame(scans[IDENTITY])
    visit = pd.MultiIndex.from_frame(imported[["USUBJID", "AVISIT"]])
    scan = pd.MultiIndex.from_arrays([imported["USUBJID"], imported["AVISIT"], series])
    joint = series.isin(["visit", "subject"])
    return (joint & visit.isin(visited)) | scan.isin(scanned)


def fates(scan_records, later_records):
    """One row a scan: whether it is in use, else at which stage it was left out and why.

    Parameters
    ----------
    scan_records, later_records : list of path
        Records of ingest, and of segmentation, in any order.

    Returns
    -------
    DataFrame
        `IDENTITY`, status, stage, reason.
    """
    rows = {}
    for path in [*scan_records, *later_records]:
        record = records.read(path)
        key = tuple(record[name] for name in IDENTITY)
        if key not in rows or rows[key]["status"] == "ok":
            rows[key] = record
    frame = pd.DataFrame(list(rows.values()))
    frame = frame.reindex(columns=[*IDENTITY, "status", "stage", "reason"])
    return frame.assign(stage=frame["stage"].where(frame["status"] == "excluded"))


def registrations(paths, airways):
    """One row a registration, with its own check of itself and that by the airways.

    Parameters
    ----------
    paths : list of path
        Records of registrations.
    airways : DataFrame
        Stacked tables of airways; rows of series ``subject`` tell how well the branches of a
        follow-up lie on those of the baseline: matched_pct, apart_mm, registration_flag.

    Returns
    -------
    DataFrame
        What the records hold; `IDENTITY` and status even where there is none. Follow-ups also
        airways_matched_pct and airways_apart_mm, and the flag among their warnings.
    """
    rows = [records.read(path) for path in paths]
    rows = [{key: _flat(value) for key, value in row.items()} for row in rows]
    if not rows:
        return pd.DataFrame(columns=[*IDENTITY, "status"])
    table = pd.DataFrame(rows)
    if "registration_flag" not in airways:
        return table
    seen = airways[(airways["SERIES"] == "subject") & (airways["region"] == "all")]
    seen = seen.dropna(subset="matched_pct").assign(SERIES="to_baseline")
    names = {"matched_pct": "airways_matched_pct", "apart_mm": "airways_apart_mm"}
    seen = seen[[*IDENTITY, *names, "registration_flag"]].rename(columns=names)
    table = table.merge(seen, how="left", on=IDENTITY)
    told = table[["warnings", "registration_flag"]].fillna("").agg(list, axis=1)
    table["warnings"] = told.map(lambda parts: "; ".join(filter(None, parts)))
    return table.drop(columns="registration_flag")


def _flat(value):
    return "; ".join(map(str, value)) if isinstance(value, list) else value
