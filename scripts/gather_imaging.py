"""Put the measured blocks of phantoms into one table of agreement, and its document."""

import pandas as pd

from lungitude import tables
from lungitude.job import job_log, whole
from lungitude.validation import imaging_document, imaging_summary


def main(job):
    """Write the table and the document."""
    rows = pd.concat([tables.read_parquet(path) for path in job.input], ignore_index=True)
    tables.write(imaging_summary.summarise(rows), job.output.table)
    table = tables.read(job.output.table, text=imaging_summary.TEXT)
    with whole(job.output.document) as part:
        part.write_text(imaging_document.document(table), encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
