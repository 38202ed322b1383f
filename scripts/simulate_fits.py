"""Simulate a block of trials and fit the mixed model for repeated measures."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.validation import fits
from lungitude.validation.scenarios import BLOCKS, SCENARIOS


def main(job):
    """Write one row a trial and method."""
    scenario = SCENARIOS[job.wildcards.scenario]
    table = fits.block(scenario, int(job.wildcards.block), BLOCKS[scenario.kind][1])
    tables.write_parquet(table, job.output.block)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
