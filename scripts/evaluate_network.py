"""Read the scans of a block of unseen patients with the network, and hold them against truth."""

import pandas as pd

from lungitude import tables
from lungitude.job import job_log
from lungitude.networks import evaluation, inference, unseen


def main(job):
    """Write one row a number; see `evaluation.COLUMNS`."""
    reader = inference.Reader(job.params.weights, job.params.precision)
    numbers = unseen.block(int(job.wildcards.block), job.params.patients)
    parts = [
        evaluation.measure(reader, unseen.case(k, job.wildcards.domain, job.input.model))
        for k in numbers
    ]
    tables.write_parquet(pd.concat(parts, ignore_index=True), job.output.block)


if __name__ == "__main__":  # also keeps spawned workers from re-running it
    with job_log(snakemake):
        main(snakemake)
