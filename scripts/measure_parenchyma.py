"""Measure density, low attenuation, volume and mass of the lungs of one scan."""

import pandas as pd

from lungitude import images, records, tables
from lungitude.biomarkers.parenchyma import COLUMNS, parenchyma
from lungitude.job import job_log


def main(job):
    """Write one row a region."""
    identity = dict(job.params.identity)
    if records.excluded(job.input.record, job.input.lungs_record):
        tables.write(pd.DataFrame(columns=[*identity, *COLUMNS]), job.output.table)
        return
    image = images.read(job.input.image)
    lungs = images.read_labels(job.input.lungs, like=image)
    scheme = records.read(job.input.lungs_record)["scheme"]
    table = parenchyma(image, lungs, scheme)
    for place, (name, value) in enumerate(identity.items()):
        table.insert(place, name, value)
    tables.write(table, job.output.table)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
