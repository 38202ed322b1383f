"""Compare the arms over all visits by a mixed model."""

from lungitude.analysis import common, mixed_model
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, mixed_model.mixed_model, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
