"""Compare the arms over all visits by a mixed model for repeated measures."""

from lungitude.analysis import common, mmrm
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, mmrm.mmrm, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
