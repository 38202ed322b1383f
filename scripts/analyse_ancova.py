"""Compare the arms at every visit by analysis of covariance."""

from lungitude.analysis import ancova, common
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, ancova.ancova, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
