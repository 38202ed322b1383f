"""Measure airways and vessels of a block of random cases, with their truths."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.validation import imaging_rows, imaging_trees


def main(job):
    """Write one row a number; see `imaging_cases.COLUMNS`."""
    table = imaging_rows.block(int(job.wildcards.block), "trees", imaging_trees.measure)
    tables.write_parquet(table, job.output.block)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
