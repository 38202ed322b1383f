"""Compare the arms at every visit by tests without a model."""

from lungitude.analysis import arm_tests, common
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, arm_tests.arm_tests, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
