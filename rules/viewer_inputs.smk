# What the pages of scans show: which label maps, window and links. Functions alone, as common.smk.
# What a series is first looked at with, by its role; others with the window of the lungs.
VIEWER_WINDOWS = {"calcium": "mediastinum", "gated": "contrast"}


def viewer_pages():
    """The page of every scan, and the file that they share."""
    pages = [
        f"{RESULTS}/report/scans/{scan.USUBJID}/{scan.visit}/{scan.SERIES}.html"
        for scan in SCANS.itertuples()
    ]
    return [*pages, f"{RESULTS}/report/assets/niivue.js"] if pages else []


def viewer_columns(wildcards):
    """Which structures have label maps on the series at hand."""
    return [
        column
        for column in trials.STRUCTURES
        if wildcards.series == IMAGING.get(trials.STRUCTURES[column])
        and has_labels((*wildcards,), column)
    ]


def viewer_structures(wildcards):
    """Their label maps, in the same order."""
    return [structure(column)(wildcards) for column in viewer_columns(wildcards)]


def viewer_lungs(name):
    """A file of the lungs, for a scan of the chest."""
    return lambda wildcards: (
        []
        if wildcards.series in HEART_SERIES
        else [f"{RESULTS}/visit/{'/'.join(wildcards)}/{name}"]
    )


def viewer_prm(wildcards):
    """The response map, on the inspiration."""
    return (
        prm_of_visit(wildcards)
        if wildcards.series == IMAGING.get("inspiration")
        else []
    )


def viewer_windows(wildcards):
    """The window that the page begins with."""
    roles = {IMAGING.get(role): name for role, name in VIEWER_WINDOWS.items()}
    return [roles.get(wildcards.series, "lung")]


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
