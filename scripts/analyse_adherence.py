"""Describe the sessions planned and attended."""

from lungitude import tables
from lungitude.analysis import adherence
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    params = job.params
    adex = getattr(job.input, "adex", None)
    results = adherence.adherence(
        tables.read_parquet(job.input.adsl),
        tables.read_parquet(adex) if adex else None,
        params.plan,
        params.arms,
        params.visits,
        strata=params.strata,
        quantiles=params.quantiles,
    )
    tables.write_parquet(results, job.output.results)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
