"""Describe the patients at baseline."""

from lungitude import tables
from lungitude.analysis import baseline
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    params = job.params
    results = baseline.baseline(
        tables.read_parquet(job.input.adsl),
        params.plan,
        params.arms,
        params.visits,
        strata=params.strata,
        characteristics=params.characteristics,
        quantiles=params.quantiles,
    )
    tables.write_parquet(results, job.output.results)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
