"""Put the held-out Dice of cross-validated trainings into one table."""

from lungitude.job import job_log, whole
from lungitude.networks import card


def main(job):
    """Write the table."""
    with whole(job.output.table) as part:
        part.write_text(card.folds_table(job.input.weights), encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
