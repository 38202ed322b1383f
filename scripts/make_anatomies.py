"""Draw a block of patients of the phantom as label maps to train on."""

from pathlib import Path

from lungitude.job import job_log
from lungitude.networks import anatomies


def main(job):
    """Write the anatomies of each patient into one folder."""
    folder = Path(job.output[0])
    folder.mkdir(parents=True, exist_ok=True)
    for number in job.params.patients:
        anatomies.write(folder, job.params.seed, f"TRAIN-{number:04d}")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
