"""Compare the shares of responders between the arms."""

from lungitude.analysis import common, responders
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, responders.responders, "confidence")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
