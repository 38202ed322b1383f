"""Compare the arms in the levels of factors."""

from lungitude.analysis import common, subgroups
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, subgroups.subgroups, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
