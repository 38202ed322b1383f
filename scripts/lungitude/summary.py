"""What a run tells at its end: where the report is, and what was left out."""

from pathlib import Path

from lungitude import tables


def lines(results):
    """Return the closing lines of a run.

    Parameters
    ----------
    results : path
        Folder of the trial's results.

    Returns
    -------
    list of str
        Pages that exist, the scans that were excluded with their reasons, the flags of quality.
    """
    results = Path(results)
    told = []
    scans = _table(results / "cohort" / "scans.tsv")
    if len(scans):
        out = scans[scans["status"] == "excluded"]
        told.append(f"Scans: {len(scans) - len(out)} of {len(scans)} in use, {len(out)} excluded.")
        told += [
            f"  {row.USUBJID} {row.AVISIT} {row.SERIES}: {row.reason} (at {row.stage})"
            for row in out.itertuples()
        ]
    registered = _table(results / "cohort" / "registrations.tsv")
    if len(registered):
        bad = registered[registered["status"] == "excluded"]
        told += [
            f"  {row.USUBJID} {row.AVISIT} registration {row.SERIES}: {row.reason}"
            for row in bad.itertuples()
            if row.stage == "registration"
        ]
    for name, page in (("Report", "all/report.html"), ("Scans", "quality.html")):
        if (results / "report" / page).exists():
            told.append(f"{name + ':':<8}{results / 'report' / page}")
    return told


def _table(path):
    return tables.read(path) if path.exists() else ()
