"""What stands behind the numbers of a page: rows of the results table, values, patients, scans.

The page carries it as data, so that a click on a number shows where it comes from without a server
and without a file beside it.
"""

import json
import math
import re
from html import unescape

import pandas as pd

from lungitude.reporting.pages import anchor

COLUMNS = (
    "METHOD PARAMCD AVISIT STRATUM POPULATION GROUP COMPARISON LEVEL STAT VALUE N FAMILY NOTE"
).split()
# Where a page takes the data up.
PLACE = '<script type="application/json" id="lineage">'
_ADDRESS = re.compile(r'data-address="([^"]*)"')


def of_page(body, results, context, subjects, records, scans, viewers=False):
    """Collect what a page needs to explain its numbers.

    Parameters
    ----------
    body : str
        The page so far; its ``data-address`` say which numbers it shows.
    results : Results
    context : Context
    subjects : DataFrame or None
        ADSL of the stratum's patients.
    records : DataFrame or None
        BDS records (USUBJID PARAMCD AVISIT AVAL CHG SOURCE ANL01FL), all data sets together.
    scans : DataFrame
        One row a scan, of the stratum's patients.
    viewers : bool
        Whether each scan has a page of its own.

    Returns
    -------
    dict
        ``columns`` and ``numbers`` (rows of the results table by address); ``arms`` (code, label);
        ``patients`` (``id``, ``arm`` as index, ``flags`` by name and ``strata`` by path as texts of
        Y and N); ``values``
        by parameter and visit: patient (index), AVAL, CHG, measured on a scan (1) or not (0);
        ``scans``: anchors of the page of scans by visit and patient (index); ``units``, ``labels``
        of parameters.
    """
    wanted = {unescape(a).partition("#")[0] for a in _ADDRESS.findall(body)}
    rows = _rows(results, context)
    keys = rows[["ANALYSISID", "GROUP", "COMPARISON", "LEVEL", "STAT", "FAMILY"]]
    address = keys.agg("|".join, axis=1).str.rstrip("|") if len(rows) else []
    shown = rows.assign(address=address)
    shown = shown[shown["address"].isin(wanted)] if len(rows) else shown
    numbers = {
        row["address"]: [_plain(row[name]) for name in COLUMNS] for row in shown.to_dict("records")
    }
    found = {"columns": COLUMNS, "numbers": numbers, "baseline": context.baseline}
    found["arms"] = [[arm["code"], arm["label"]] for arm in context.arms]
    if subjects is None or subjects.empty:
        return {**found, "patients": {"id": [], "arm": [], "flags": {}}, "values": {}, "scans": {}}
    subjects = subjects.sort_values("USUBJID").reset_index(drop=True)
    place = {name: index for index, name in enumerate(subjects["USUBJID"])}
    codes = [arm["code"] for arm in context.arms]
    flags = [name for name in subjects if name.endswith("FL")]
    found["patients"] = {
        "id": list(place),
        "arm": [codes.index(code) if code in codes else -1 for code in subjects["TRT01P"]],
        "flags": {name: "".join(subjects[name].fillna("N").map(str)) for name in flags},
        "strata": _members(subjects, context) if context.stratum["path"] == "all" else {},
    }
    parameters = set(shown["PARAMCD"]) - {""}
    found["values"] = _values(records, parameters, place)
    found["values"].update(_characteristics(subjects, parameters, context))
    names = [code for code in found["values"] if context.has_parameter(code)]
    found["labels"] = {code: context.label(code) for code in names}
    found["units"] = {code: context.unit(code) for code in names}
    found["scans"] = _scans(scans, place)
    found["viewers"] = _viewers(scans, place, context) if viewers else {}
    return found


def _rows(results, context):
    """Return the rows that a page can show: the page of all patients also shows the strata."""
    if context.stratum["path"] != "all":
        return results.known
    paths = [level["path"] for factor in context.strata for level in factor.get("levels", ())]
    return pd.concat(
        [results.known, *(results.at(path).known for path in paths)], ignore_index=True
    )


def _members(subjects, context):
    """Return who is of each stratum, by its path, as a text of Y and N."""
    return {
        level["path"]: "".join(
            "Y" if value == str(level["value"]) else "N"
            for value in subjects[factor["column"]].map(str)
        )
        for factor in context.strata
        if factor["column"] in subjects
        for level in factor.get("levels", ())
    }


def embed(found):
    """Return the data as JSON that can stand in a page: no markup can begin inside it."""
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _values(records, parameters, place):
    if records is None or records.empty:
        return {}
    rows = records[records["PARAMCD"].isin(parameters) & records["USUBJID"].isin(set(place))]
    if "ANL01FL" in rows:
        rows = rows[rows["ANL01FL"] == "Y"]
    values = {}
    for (code, visit), part in rows.groupby(["PARAMCD", "AVISIT"], sort=False):
        values.setdefault(code, {})[visit] = [
            [place[name], _plain(value), _plain(change), int(source == "scan")]
            for name, value, change, source in zip(
                part["USUBJID"], part["AVAL"], part["CHG"], part["SOURCE"], strict=True
            )
        ]
    return values


def _characteristics(subjects, columns, context):
    """Return characteristics at baseline in the form of `_values`."""
    known = {item["column"] for item in context.characteristics} & set(subjects.columns)
    return {
        name: {
            context.baseline: [
                [index, _plain(value), None, 0] for index, value in enumerate(subjects[name])
            ]
        }
        for name in sorted(columns & known)
    }


def _scans(scans, place):
    """Return the anchors of the scans' page by visit, then by the index of the patient."""
    found = {}
    if scans.empty:
        return found
    for name, visit in dict.fromkeys(zip(scans["USUBJID"], scans["AVISIT"], strict=True)):
        if name in place:
            found.setdefault(visit, {})[place[name]] = anchor(name, visit)
    return found


def _viewers(scans, place, context):
    """Return series and page of each scan by visit, then by the index of the patient."""
    paths = {visit["name"]: visit["path"] for visit in context.visits}
    found = {}
    for row in scans.to_dict("records"):
        name, visit, series = row["USUBJID"], row["AVISIT"], row["SERIES"]
        if name in place and visit in paths:
            page = f"../scans/{name}/{paths[visit]}/{series}.html"
            found.setdefault(visit, {}).setdefault(place[name], []).append([series, page])
    return found


def _plain(value):
    """Return a value as JSON takes it: missing as None, numbers with ten digits."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, float):
        return float(f"{value:.10g}") if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value
