"""Compare the arms after imputation of missing values."""

from lungitude.analysis import common, imputation
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, imputation.imputation, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
