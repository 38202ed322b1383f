"""Simulate a block of trials and adjust its families of endpoints."""

import gc

from lungitude import tables
from lungitude.job import job_log
from lungitude.validation import families
from lungitude.validation.scenarios import BLOCKS, SCENARIOS


def main(job):
    """Write one row a trial and method."""
    gc.freeze()  # Holm of statsmodels collects garbage at each call: 16 of 17 ms
    scenario = SCENARIOS[job.wildcards.scenario]
    table = families.block(scenario, int(job.wildcards.block), BLOCKS[scenario.kind][1])
    tables.write_parquet(table, job.output.block)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
