"""Let all networks that are compared read the scans of one unseen patient."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.networks import comparison, unseen


def main(job):
    """Write one row a number; see `evaluation.COLUMNS`, and the model."""
    plan = comparison.load(job.input.plan)
    precision = plan["training"]["precision"]  # scans are read as they were learned from
    models = comparison.readers(job.input.weights, plan, precision)
    case = unseen.case(int(job.wildcards.number), job.wildcards.domain, job.input.model)
    tables.write_parquet(comparison.measure(models, case), job.output.case)


if __name__ == "__main__":  # also keeps spawned workers from re-running it
    with job_log(snakemake):
        main(snakemake)
