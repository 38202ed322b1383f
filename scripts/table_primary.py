"""Render the table of the primary endpoint and the declared families of one stratum."""

from lungitude import tables
from lungitude.job import job_log, whole
from lungitude.reporting import context, table, table_primary
from lungitude.reporting.results import Results


def main(job):
    """Write the table as HTML and as tab-separated text."""
    trial = context.from_params(job.params, job.input.results)
    frame = tables.read_parquet(job.input.results)
    found = Results(frame, trial.stratum["path"], trial.plan, job.params.display.get("population"))
    made = table_primary.build(found, trial, job.params.display)
    with whole(job.output.html) as part:
        part.write_text(table.to_page(made, trial.trial), encoding="utf-8")
    with whole(job.output.tsv) as part:
        part.write_text(table.to_tsv(made), encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
