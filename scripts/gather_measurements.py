"""Put the measurements of scans and the imported ones into one long table."""

import pandas as pd

from lungitude import cohort, doubts, reference_values, tables
from lungitude.job import job_log


def main(job):
    """Write measurements, what became of each scan and registration, and which maps are doubted."""
    parameters = tables.read(job.input.parameters)
    imported = tables.read(job.input.measurements) if job.input.measurements else pd.DataFrame()
    scans = pd.DataFrame(job.params.expected, columns=[*cohort.IDENTITY, "ADT"])
    biomarkers = {name: cohort.stack(job.input[name]) for name in job.params.tables}
    spreads = None
    if job.params.made:
        biomarkers, spreads = doubted(biomarkers, parameters, job)
    by_date = getattr(job.params, "by_date", False)
    measurements = cohort.gather(
        biomarkers, imported, parameters, scans, job.params.visits, spreads, by_date
    )
    settings = getattr(job.params, "reference_values", None)
    if settings:
        subjects = tables.read(job.input.subjects)
        made = reference_values.derive(measurements, subjects, parameters, settings)
        measurements = cohort.ordered([measurements, made], parameters, job.params.visits)
    tables.write(measurements, job.output.measurements)
    tables.write(cohort.fates(job.input.scans, job.input.lungs), job.output.scans)
    registered = cohort.registrations(job.input.registrations, biomarkers["airways"])
    tables.write(registered, job.output.registrations)
    tables.write(quality_of_trial(job.input.quality), job.output.quality)


def doubted(biomarkers, parameters, job):
    """Write what is doubted of label maps that the run made, and flag what is made of them.

    Returns
    -------
    dict of str to DataFrame, DataFrame or None
        The tables with their flags; how far values spread over the views of their scans.
    """
    found = doubts.gather(job.input.trust, job.input.checks, job.input.grown, job.params.made)
    baseline = next(visit["name"] for visit in job.params.visits if visit["baseline"])
    roles = job.params.roles
    flagged = doubts.onto(biomarkers, found, roles, baseline, job.params.without_vessels)
    spreads = cohort.stack(job.input.get("spread") or [])
    if not len(spreads):
        tables.write(found, job.output.trust)
        return flagged, None
    spreads = doubts.of_spreads(spreads, parameters, job.params.spread_limits)
    tables.write(doubts.with_spreads(found, spreads, roles), job.output.trust)
    return flagged, spreads


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
