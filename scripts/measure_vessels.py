"""Measure the volume of the vessels of one inspiration by their cross-section."""

from lungitude import images, measuring, records
from lungitude.biomarkers.vessels import vessels
from lungitude.job import job_log, write_empty


def main(job):
    """Write one row a region and kind of vessel."""
    if records.excluded(job.input.lungs_record):
        write_empty(*job.output)
        return

    def measure(image, labels):
        lungs = images.read_labels(job.input.lungs, like=image)
        return vessels(labels, lungs, image)

    measuring.run(job, "vessels", measure)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
