"""Join the results of all methods, and adjust p values by the families of the plan."""

from lungitude import results, tables
from lungitude.job import job_log


def main(job):
    """Write the results table as Parquet and as text."""
    parts = [tables.read_parquet(path) for path in job.input]
    table = results.gather(parts, job.params.families)
    tables.write_parquet(table, job.output.results)
    tables.write(table, job.output.results_tsv)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
