"""Test the changes within each arm between all visits."""

from lungitude.analysis import common, within_arm
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, within_arm.within_arm, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
