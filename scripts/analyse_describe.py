"""Describe every parameter by visit and arm."""

from lungitude.analysis import common, describe
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, describe.describe, "quantiles")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
