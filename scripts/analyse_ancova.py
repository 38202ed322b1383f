"""Compare the arms at every visit by analysis of covariance."""

from lungitude import tables
from lungitude.analysis import ancova
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    params = job.params
    results = ancova.ancova(
        tables.read_parquet(job.input.adsl),
        [tables.read_parquet(job.input.adqct), tables.read_parquet(job.input.adfun)],
        tables.read(job.input.parameters),
        params.plan,
        params.arms,
        params.visits,
        strata=params.strata,
        characteristics=params.characteristics,
        confidence=params.confidence,
    )
    tables.write_parquet(results, job.output.results)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
