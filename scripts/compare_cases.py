"""Let all networks that are compared read the scans of one unseen patient."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.networks import comparison, unseen


def main(job):
    """Write one row a number; see `evaluation.COLUMNS`, and the model."""
    models = comparison.readers(job.input.weights, comparison.load(job.input.plan))
    case = unseen.case(int(job.wildcards.number), job.wildcards.domain, job.input.model)
    tables.write_parquet(comparison.measure(models, case), job.output.case)


if __name__ == "__main__":  # also keeps spawned workers from re-running it
    with job_log(snakemake):
        main(snakemake)
