"""Measure whole chests of a block of random cases, with their truths."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.validation import imaging_chest, imaging_rows


def main(job):
    """Write one row a number; see `imaging_cases.COLUMNS`."""
    table = imaging_rows.block(int(job.wildcards.block), "chest", imaging_chest.measure)
    tables.write_parquet(table, job.output.block)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
