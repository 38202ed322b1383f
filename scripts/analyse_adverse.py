"""Count patients with adverse events, and events."""

from lungitude import tables
from lungitude.analysis import adverse
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    params = job.params
    adae = getattr(job.input, "adae", None)
    results = adverse.adverse(
        tables.read_parquet(job.input.adsl),
        tables.read_parquet(adae) if adae else None,
        params.plan,
        params.arms,
        params.visits,
        strata=params.strata,
    )
    tables.write_parquet(results, job.output.results)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
