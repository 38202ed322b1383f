"""Render the table of characteristics at baseline of one stratum."""

from lungitude.job import job_log
from lungitude.reporting import table, table_baseline


def main(job):
    """Write the table as HTML and as tab-separated text."""
    table.write(job, table_baseline.build)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
