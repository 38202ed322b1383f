"""Measure what the published preprocessing does to the biomarkers of one random case."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.validation import imaging_preprocessing


def main(job):
    """Write a row a quantity and sigma; see `imaging_preprocessing.COLUMNS`."""
    table = imaging_preprocessing.measure(int(job.wildcards.case))
    tables.write_parquet(table, job.output.case)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
