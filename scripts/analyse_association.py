"""Correlate parameters at every visit."""

from lungitude.analysis import association, common
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, association.association, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
