"""Make the tables and figures of one stratum."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.reporting import context, rendering


def main(job):
    """Write all displays of the plan into one folder."""
    trial = context.from_params(job.params, job.input.results)
    results = tables.read_parquet(job.input.results)
    individual = getattr(job.input, "individual", None)
    individual = tables.read_parquet(individual) if individual else None
    rendering.write(results, trial, job.output.displays, individual)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
