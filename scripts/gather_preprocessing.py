"""Summarise what the published preprocessing does to the biomarkers, and write the document."""

import pandas as pd

from lungitude import tables
from lungitude.job import job_log, whole
from lungitude.validation import imaging_preprocessing


def main(job):
    """Write the table and the document."""
    rows = pd.concat([tables.read_parquet(path) for path in job.input], ignore_index=True)
    table = imaging_preprocessing.summarise(rows)
    tables.write(table, job.output.table)
    with whole(job.output.document) as part:
        part.write_text(imaging_preprocessing.document(table), encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
