"""Compare methods, readers and repeats that measured the same scans."""

from lungitude import tables
from lungitude.analysis import agreement
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    params = job.params
    results = agreement.agreement(
        tables.read_parquet(job.input.adsl),
        tables.read(job.input.reads),
        tables.read(job.input.parameters),
        params.plan,
        strata=params.strata,
        confidence=params.confidence,
    )
    tables.write_parquet(results, job.output.results)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
