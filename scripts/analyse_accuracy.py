"""Hold what was measured on synthetic scans against the truth that they were made from."""

from lungitude import tables
from lungitude.analysis import accuracy
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    params = job.params
    results = accuracy.accuracy(
        tables.read_parquet(job.input.adsl),
        tables.read(job.input.measurements),
        tables.read(job.input.truth),
        tables.read(job.input.parameters),
        params.plan,
        strata=params.strata,
        confidence=params.confidence,
    )
    tables.write_parquet(results, job.output.results)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
