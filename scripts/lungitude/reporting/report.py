"""The report of a stratum: one HTML page that needs nothing beside it."""

import math
from pathlib import Path
from posixpath import relpath

from lungitude.reporting import displays, findings, lineage, methods, pages
from lungitude.reporting import format as text
from lungitude.reporting import results as lookup
from lungitude.reporting.results import Part
from lungitude.reporting.table_primary import analysed, primary_sentence, sections

ANALYSES = {
    "baseline": "Description of baseline",
    "adherence": "Adherence",
    "adverse": "Adverse events",
    "describe": "Description by visit",
    "ancova": "ANCOVA",
    "mixed_model": "Mixed model",
    "mmrm": "MMRM",
    "imputation": "Imputation",
    "subgroups": "Subgroups",
    "within_arm": "Changes within arms",
    "arm_tests": "Tests between arms",
    "rm_anova": "Repeated-measures ANOVA",
    "association": "Associations",
    "stepwise": "Stepwise regression",
    "responders": "Responders",
    "agreement": "Agreement",
    "accuracy": "Accuracy",
    "disposition": "Disposition",
    "network_accuracy": "Accuracy of the network",
    "network_overlap": "Overlap of the network",
    "network_comparison": "Comparison of networks",
    "network_activation": "Activation maps",
    "network_architecture": "Architecture of the network",
}


def build(
    results,
    context,
    pieces,
    scans,
    files,
    versions,
    pages_of_strata,
    subjects=None,
    records=None,
    viewers=False,
    grades=None,
):
    """Write the page.

    Parameters
    ----------
    results : Results
        Of the stratum.
    context : Context
    pieces : list of dict
        What `displays.read` returns, in the order of the page.
    scans : DataFrame
        One row a scan (USUBJID AVISIT SERIES status stage reason), of the stratum's patients or
        of all; empty where the trial has no scan.
    files : list of dict
        ``label`` and ``href`` (relative to the page) of what was written beside it.
    versions : dict
        Software and version.
    pages_of_strata : list of dict
        ``label``, ``href`` and ``here`` of all reports of the trial.
    subjects, records : DataFrame, optional
        ADSL and BDS records of the stratum's patients, which stand behind its numbers.
    viewers : bool
        Whether each scan has a page of its own.
    grades : DataFrame, optional
        Of `grades.derive`: derived classes that are missing or not those recorded.

    Returns
    -------
    str
        The page.
    """
    empty = results.empty
    made = [piece for piece in pieces if not piece["left_out"]]
    headings = displays.headings([piece["display"] for piece in made])
    shown = [_shown(piece, headings) for piece in made]
    page = pages.render(
        "report.html.j2",
        trial=context.trial,
        stratum=context.stratum,
        empty=empty,
        facts=[] if empty else facts(results, context),
        sentences=[] if empty else primary_sentence(results, context),
        findings=findings.paragraphs(results, context),
        shown=[] if empty else shown,
        grades=None if grades is None else graded(grades, context),
        excluded=exclusions(scans),
        scan_count=len(scans),
        reasons=[] if empty else scan_counts(results, context),
        records=[] if empty else record_counts(results, context),
        groups=context.groups,
        not_estimated=not_estimated(results, context),
        left_out=[(p["display"]["title"], p["left_out"]) for p in pieces if p["left_out"]],
        methods=methods.paragraphs(context, model_lines(results), versions),
        files=files,
        navigation=pages_of_strata,
        digests=[(name, str(value)[:16]) for name, value in context.provenance.items()],
    )
    behind = lineage.of_page(page, results, context, subjects, records, scans, viewers)
    return page.replace(lineage.PLACE, lineage.PLACE + lineage.embed(behind), 1)


def _shown(piece, headings):
    """Return what the page needs of a display that was made."""
    display = piece["display"]
    number, title = displays.title_number(display), display["title"]
    picture = displays.kind_of(display).startswith("figure")
    if picture:
        body = pages.inline_svg(piece["body"], display["id"], f"{number} {title}")
    else:
        body = pages.display_of(piece["body"])
    return {
        "id": display["id"],
        "body": body,
        "picture": picture,
        "number": number,
        "title": title,
        "note": piece["caption"],
        "heading": headings[display["id"]],
    }


def facts(results, context):
    """Return the lines of the summary box: label and parts."""
    sizes = [Part("")]
    for arm in context.arms:
        sizes += [
            Part(f"{arm['label']} "),
            lookup.count_part(results.size(arm["code"])),
            Part("; "),
        ]
    assessed = results.get("disposition", "n", group=context.total, level="assessed")
    lines = [] if assessed is None else [("Assessed", [lookup.count_part(assessed)])]
    lines += [
        (f"Patients {context.entered}", [lookup.count_part(results.size(context.total))]),
        ("By arm", sizes[1:-1]),
    ]
    gone = results.get("disposition", "n", group=context.total, level="discontinued")
    if gone is not None:
        lines.append(("Discontinued", [lookup.count_part(gone)]))
    primary = context.plan.get("primary") or {}
    if primary:
        absent = []
        for arm in context.arms:
            found = results.get(
                "describe",
                "missing",
                primary["parameter"],
                primary["visit"],
                arm["code"],
                level="CHG",
            )
            if found is not None:
                absent += [Part(f"{arm['label']} "), lookup.count_part(found), Part("; ")]
        name = context.label(primary["parameter"])
        lines.append(
            (
                f"Missing, change of {name} at {primary['visit']}",
                absent[:-1] or [Part("not counted")],
            )
        )
        where = (primary["method"], "left_out", primary["parameter"], primary["visit"])
        lost = [(arm["label"], results.get(*where, group=arm["code"])) for arm in context.arms]
        counted = [
            part
            for label, found in lost
            if found is not None
            for part in (Part(f"{label} "), lookup.count_part(found), Part("; "))
        ]
        if counted:
            note = next(found.note for _, found in lost if found is not None)
            lines.append((f"Measured, but not in the model ({note})", counted[:-1]))
    return lines


def exclusions(scans):
    """List the excluded scans: patient, visit, series, stage and reason, in this order."""
    if scans.empty or "status" not in scans:
        return []
    rows = scans[scans["status"] == "excluded"]
    wanted = ["USUBJID", "AVISIT", "SERIES", "stage", "reason"]
    return [[_text(row.get(name)) for name in wanted] for row in rows.to_dict("records")]


def scan_counts(results, context):
    """Count scans by visit and fate, with an address for each number.

    Returns
    -------
    list of dict
        ``visit``, ``label``, and ``cells``: parts for each arm and for all.
    """
    lines = []
    groups = [code for code, _ in context.groups]
    for visit in context.visits:
        name = visit["name"]
        reasons = results.levels("disposition", "scans_excluded:", name)
        if not results.levels("disposition", "scans_expected", name):
            continue
        for level in ("scans_expected", "scans_evaluable", "scans_excluded", *reasons):
            cells = [
                lookup.count_part(
                    results.get("disposition", "n", visit=name, group=code, level=level)
                )
                for code in groups
            ]
            kind, _, reason = level.partition(":")
            lines.append(
                {
                    "visit": name,
                    "label": reason or kind.removeprefix("scans_"),
                    "indent": bool(reason),
                    "cells": cells,
                }
            )
    return lines


RECORDS = {
    "records": "collected",
    "records_analysed": "analysed",
    "records_moved": "at another visit than was named",
    "records_outside": "outside the window of their visit",
}


def record_counts(results, context):
    """Count records of measurements by what became of them, as `scan_counts` does scans.

    Nothing where the trial has no visit windows.
    """
    lines = []
    for level in results.levels("disposition", "records"):
        kind, _, reason = level.partition(":")
        found = [
            results.get("disposition", "n", group=code, level=level) for code, _ in context.groups
        ]
        label = f"not analysed: {reason}" if reason else RECORDS[kind]
        cells = [lookup.count_part(number) for number in found]
        indent = kind in ("records_moved", "records_outside")
        lines.append({"label": label, "indent": indent, "cells": cells})
    return lines


def graded(grades, context):
    """List derived classes that are missing or not those recorded: patient, factor, and why."""
    wanted = ["RECORDED", "DERIVED", "USED", "REASON"]
    return [
        [
            row["USUBJID"],
            context.stratum_column_label(row["COLUMN"]),
            *(_text(row[name]) or text.NOT_APPLICABLE for name in wanted),
        ]
        for row in grades.to_dict("records")
    ]


def not_estimated(results, context):
    """Say what could not be estimated and why, one line a reason.

    Returns
    -------
    list of dict
        ``analysis``, ``reason``, ``what`` (parameters and visits in words) and ``rows`` (how many
        rows of the results table).
    """
    rows = results.rows
    gone = rows[rows["VALUE"].isna() & (rows["STAT"] != "model") & (rows["NOTE"] != "")]
    lines = []
    for (method, note), part in gone.groupby(["METHOD", "NOTE"], sort=False):
        names = {}
        for code, visit in zip(part["PARAMCD"], part["AVISIT"], strict=True):
            names.setdefault(_name(context, code), {})[visit] = None
        what = "; ".join(
            f"{name} ({', '.join(filter(None, visits))})" if any(visits) else name
            for name, visits in names.items()
        )
        lines.append(
            {
                "analysis": ANALYSES.get(method, method),
                "reason": note,
                "what": what,
                "rows": len(part),
            }
        )
    return lines + _never_measured(results, context)


def _never_measured(results, context):
    """List the analyses of the primary endpoint and the families that have no rows at all."""
    gone = {}
    for _, _, blocks in sections(context.plan, {}):
        for block in blocks:
            if not analysed(results, block):
                gone.setdefault(block[2], {}).setdefault(block[0], []).append(block[1])
    return [
        {
            "analysis": ANALYSES.get(method, method),
            "reason": "not analysed: no patient has a value at the visit",
            "what": "; ".join(
                f"{_name(context, code)} ({', '.join(visits)})" for code, visits in names.items()
            ),
            "rows": text.NOT_APPLICABLE,
        }
        for method, names in gone.items()
    ]


def _name(context, code):
    if context.has_parameter(code):
        return context.label(code)
    known = {item["column"]: item["label"] for item in context.characteristics}
    return known.get(code, code)


def model_lines(results):
    """Return the model lines by analysis, in the order of the results table."""
    found = {}
    for row in results.where(STAT="model").to_dict("records"):
        line = row["NOTE"].partition("; not estimated")[0]
        if line:
            found.setdefault(row["METHOD"], {})[line] = None
    return {method: list(lines) for method, lines in found.items()}


def of_stratum(scans, subjects, stratum):
    """Keep the scans of a stratum's patients; all of them where the stratum is the whole trial.

    Parameters
    ----------
    scans, subjects : DataFrame
        `subjects` has USUBJID and the column that ``stratum["column"]`` names, or is None.
    stratum : dict
        ``path``; ``column`` and ``value`` for a real stratum.
    """
    if subjects is None or not stratum.get("column") or scans.empty:
        return scans
    here = subjects.loc[subjects[stratum["column"]].astype(str) == str(stratum["value"]), "USUBJID"]
    return scans[scans["USUBJID"].isin(set(here))]


def relative(path, page):
    """Return the link from a page to a file, both given relative to one folder."""
    return relpath(Path(path).as_posix(), Path(page).parent.as_posix())


def _text(value):
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
