"""Put the evaluated blocks of patients into one table, its figures and its document."""

from pathlib import Path

import pandas as pd

from lungitude import tables
from lungitude.job import job_log, whole
from lungitude.networks import evaluation_document, evaluation_figure, evaluation_summary
from lungitude.reporting import figure


def main(job):
    """Write the rows of all patients, the table, the document, each figure as SVG, PNG and PDF."""
    rows = pd.concat([tables.read_parquet(path) for path in job.input], ignore_index=True)
    tables.write_parquet(rows, job.output.patients)
    tables.write(evaluation_summary.summary(rows), job.output.table)
    files = {}
    for kind in evaluation_document.FIGURES:
        paths = {suffix: job.output[f"{kind}_{suffix}"] for suffix in ("svg", "png", "pdf")}
        figure.save(evaluation_figure.draw(rows, kind), paths, evaluation_figure.TITLES[kind])
        files[kind] = Path(paths["svg"]).name
    table = tables.read(job.output.table, text=evaluation_summary.TEXT)
    table[evaluation_summary.TEXT] = table[evaluation_summary.TEXT].fillna("")
    with whole(job.output.document) as part:
        part.write_text(evaluation_document.document(table, files), encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
