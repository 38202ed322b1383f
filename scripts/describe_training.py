"""Draw the curves of a training and write the card of its weights."""

from lungitude.job import job_log, whole
from lungitude.networks import card


def main(job):
    """Write the figure and the card."""
    rows = card.read_log(job.input.log)
    with whole(job.output.curves) as part:
        card.draw_curves(rows, part)
    with whole(job.output.card) as part:
        part.write_text(card.card(job.params.name, job.input.weights), encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
