"""Measure density, low attenuation and its clusters, volume and mass of the lungs of one scan."""

from lungitude import images, records, tables
from lungitude.biomarkers.density import density
from lungitude.job import job_log, write_empty


def main(job):
    """Write one row a region."""
    identity = dict(job.params.identity)
    if records.excluded(job.input.record, job.input.lungs_record):
        write_empty(job.output.table)
        return
    image = images.read(job.input.image)
    lungs = images.read_labels(job.input.lungs, like=image)
    scheme = records.read(job.input.lungs_record)["scheme"]
    tables.write(density(image, lungs, scheme), job.output.table, identity)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
