"""Select the terms of a linear regression step by step."""

from lungitude.analysis import common, stepwise
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, stepwise.stepwise, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
