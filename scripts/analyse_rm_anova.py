"""Compare arms and visits by repeated-measures analysis of variance."""

from lungitude.analysis import common, rm_anova
from lungitude.job import job_log


def main(job):
    """Write the results of the method."""
    common.run(job, rm_anova.rm_anova)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
