"""Count patients and scans from randomisation to analysis."""

from lungitude import tables
from lungitude.analysis import disposition
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    params = job.params
    scans = getattr(job.input, "scans", None)
    screening = getattr(job.input, "screening", None)
    results = disposition.disposition(
        tables.read_parquet(job.input.adsl),
        [tables.read_parquet(job.input.adqct), tables.read_parquet(job.input.adfun)],
        tables.read(scans) if scans else None,
        params.plan,
        params.arms,
        params.visits,
        strata=params.strata,
        primary=params.primary,
        data_cut=params.data_cut,
        screening=tables.read(screening) if screening else None,
    )
    tables.write_parquet(results, job.output.results)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
