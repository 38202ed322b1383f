# What the pages of scans show: which label maps, window and links. Functions alone, as common.smk.
from collections import namedtuple

OfScan = namedtuple("OfScan", "subject visit series")  # as the wildcards of a scan
# What a series is first looked at with, by its role; others with the window of the lungs.
VIEWER_WINDOWS = {"calcium": "mediastinum", "gated": "contrast"}


def viewer_pages():
    """The pages of all scans, a folder a visit, and the file that they share."""
    scans = SCANS[["USUBJID", "visit"]].drop_duplicates().itertuples()
    pages = [f"{RESULTS}/report/scans/{scan.USUBJID}/{scan.visit}" for scan in scans]
    return [*pages, f"{RESULTS}/report/assets/niivue.js"] if pages else []


def viewer_scans(wildcards):
    """What the page of each scan of a visit is made from, and shows."""
    return [
        viewer_scan(OfScan(wildcards.subject, wildcards.visit, series))
        for series in SERIES_OF[wildcards.subject, wildcards.visit]
    ]


def viewer_files(wildcards):
    """All files that these pages are made from."""
    return [
        path
        for scan in viewer_scans(wildcards)
        for path in (
            scan["image"],
            scan["record"],
            *scan["lungs"],
            *scan["lungs_record"],
            *scan["structures"],
            *scan["prm"],
        )
    ]


def viewer_scan(wildcards):
    """The files of one scan, and how its page begins."""
    folder = f"{RESULTS}/visit/{wildcards.subject}/{wildcards.visit}/{wildcards.series}"
    chest = wildcards.series not in HEART_SERIES
    inspiration = wildcards.series == IMAGING.get("inspiration")
    roles = {IMAGING.get(role): name for role, name in VIEWER_WINDOWS.items()}
    columns = viewer_columns(wildcards)
    return {
        "identity": identity(wildcards),
        "image": f"{folder}/scan.nii.gz",
        "record": f"{folder}/scan.json",
        "lungs": [f"{folder}/lungs.nii.gz"] if chest else [],
        "lungs_record": [f"{folder}/lungs.json"] if chest else [],
        "columns": columns,
        "structures": [structure(column)(wildcards) for column in columns],
        "prm": prm_of_visit(wildcards) if inspiration else [],
        "windows": [roles.get(wildcards.series, "lung")],
        "links": viewer_links(wildcards),
        "cycle": IMAGING["series"][wildcards.series]["cycle"],
    }


def viewer_columns(wildcards):
    """Which structures have label maps on the series at hand."""
    return [
        column
        for column in trials.STRUCTURES
        if wildcards.series == IMAGING.get(trials.STRUCTURES[column])
        and has_labels((*wildcards,), column)
    ]


def viewer_links(wildcards):
    """The pages of all scans of the patient, as seen from the page of one."""
    scans = SCANS[SCANS["USUBJID"] == wildcards.subject]
    return [
        {
            "group": scan.AVISIT,
            "label": scan.SERIES,
            "href": f"../{scan.visit}/{scan.SERIES}.html",
            "here": (scan.visit, scan.SERIES) == (wildcards.visit, wildcards.series),
        }
        for scan in scans.itertuples()
    ]
