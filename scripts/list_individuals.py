"""List the values of single patients, for figures that draw each of them."""

from lungitude.analysis import individual
from lungitude.job import job_log


def main(job):
    """Write one row a value."""
    individual.run(job)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
