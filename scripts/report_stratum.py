"""Put the displays of one stratum together in one page."""

from pathlib import Path

import pandas as pd

from lungitude import tables
from lungitude.job import job_log, whole
from lungitude.reporting import context, displays, report
from lungitude.reporting.results import Results

FORMATS = {"html": "page"}


def main(job):
    """Write the page; a display is a file of its own, and this page only shows it."""
    trial = context.from_params(job.params, job.input.results)
    page = str(job.output.report)
    frame = tables.read_parquet(job.input.results)
    found = Results(frame, trial.stratum["path"], trial.plan)
    folder = Path(str(job.input.displays))
    pieces = displays.read(folder)
    files = [
        {
            "label": f"{piece['display']['title']} ({FORMATS.get(suffix, suffix.upper())})",
            "href": report.relative(folder / name, page),
        }
        for piece in pieces
        if not piece["left_out"]
        for suffix, name in displays.files(piece["display"]).items()
    ]
    files += [
        {"label": link["label"], "href": report.relative(link["path"], page)}
        for link in getattr(job.params, "links", None) or []
    ]
    scans = getattr(job.input, "scans", None)
    scans = tables.read(scans) if scans else pd.DataFrame()
    subjects = getattr(job.input, "adsl", None)
    subjects = tables.read_parquet(subjects) if subjects else None
    scans = report.of_stratum(scans, subjects, trial.stratum)
    names = [getattr(job.input, name, None) for name in ("adqct", "adfun")]
    records = [tables.read_parquet(name) for name in names if name]
    records = pd.concat(records, ignore_index=True) if records else None
    grades = getattr(job.input, "grades", None)
    grades = report.of_stratum(tables.read(grades), subjects, trial.stratum) if grades else None
    subjects = report.of_stratum(subjects, subjects, trial.stratum)
    here = trial.stratum["path"]
    navigation = [
        {
            "label": stratum["label"],
            "here": stratum["path"] == here,
            "href": f"../{stratum['path']}/{Path(page).name}",
        }
        for stratum in job.params.pages
    ]
    versions = dict(job.params.versions)
    text = report.build(
        found,
        trial,
        pieces,
        scans,
        files,
        versions,
        navigation,
        subjects,
        records,
        viewers=getattr(job.params, "viewers", False),
        grades=grades,
    )
    with whole(page) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
