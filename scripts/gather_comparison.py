"""Put what all networks found in all patients into one table, its figures and its document."""

from pathlib import Path

import pandas as pd

from lungitude import tables
from lungitude.job import job_log, whole
from lungitude.networks import (
    comparison,
    comparison_document,
    comparison_figure,
    comparison_summary,
)
from lungitude.reporting import figure


def main(job):
    """Write the table, the document, and each figure as SVG, PNG and PDF."""
    models = comparison.readers(job.input.weights, comparison.load(job.input.plan))
    facts = {model: reader.facts for model, reader in models.items()}
    rows = pd.concat([tables.read_parquet(path) for path in job.input.cases], ignore_index=True)
    tables.write(comparison_summary.summary(rows, facts), job.output.table)
    table = tables.read(job.output.table, text=comparison_summary.TEXT)
    table[comparison_summary.TEXT] = table[comparison_summary.TEXT].fillna("")
    files = {}
    for kind, title in comparison_figure.TITLES.items():
        paths = {suffix: job.output[f"{kind}_{suffix}"] for suffix in ("svg", "png", "pdf")}
        figure.save(comparison_figure.draw(table, kind), paths, title)
        files[kind] = Path(paths["svg"]).name
    with whole(job.output.document) as part:
        part.write_text(comparison_document.document(table, files), encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
