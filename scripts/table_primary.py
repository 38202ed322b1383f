"""Render the table of the primary endpoint and the declared families of one stratum."""

from lungitude.job import job_log
from lungitude.reporting import table, table_primary


def main(job):
    """Write the table as HTML and as tab-separated text."""
    table.write(job, table_primary.build)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
