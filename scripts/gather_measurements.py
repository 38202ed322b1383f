"""Put the measurements of scans and the imported ones into one long table."""

import pandas as pd

from lungitude import cohort, tables
from lungitude.job import job_log


def main(job):
    """Write measurements, and what became of each scan and registration."""
    parameters = tables.read(job.input.parameters)
    imported = tables.read(job.input.measurements) if job.input.measurements else pd.DataFrame()
    scans = pd.DataFrame(job.params.expected, columns=[*cohort.IDENTITY, "ADT"])
    biomarkers = {name: cohort.stack(job.input[name]) for name in job.params.tables}
    measurements = cohort.gather(biomarkers, imported, parameters, scans, job.params.visits)
    tables.write(measurements, job.output.measurements)
    tables.write(cohort.fates(job.input.scans, job.input.lungs), job.output.scans)
    registered = cohort.registrations(job.input.registrations, biomarkers["airways"])
    tables.write(registered, job.output.registrations)
    tables.write(quality_of_trial(job.input.quality), job.output.quality)


def quality_of_trial(paths):
    """Stack the quality tables and add what changed between the visits of a patient."""
    table = cohort.stack(paths)
    if not len(table):
        return table
    from lungitude import protocol  # needed only where there are scans

    return protocol.with_changes(table)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
