"""Join measurements with patients and arms to the analysis data sets of the trial."""

import pandas as pd

from lungitude import adam, cohort, grades, reference_values, tables, windows
from lungitude.job import job_log


def main(job):
    """Write ADSL, ADQCT and ADFUN, each as Parquet and as text."""
    params = job.params
    text = [factor["column"] for factor in params.strata]
    text += [item["column"] for item in params.characteristics if item["type"] == "category"]
    rules = getattr(params, "derive", None) or {}
    subjects = tables.read(job.input.subjects, text=[*text, *grades.text_columns(rules)])
    measurements = tables.read(job.input.measurements)
    parameters = tables.read(job.input.parameters)
    events = getattr(job.input, "events", None)
    randomisation = getattr(job.input, "randomisation", None)
    sessions = getattr(job.input, "sessions", None)
    settings = getattr(params, "visit_windows", None) or {}
    taken = measurements
    if settings:
        scans = pd.DataFrame(params.scans, columns=[*cohort.IDENTITY, "ADT"])
        measurements = windows.derive(
            *(measurements, subjects, parameters, params.visits, settings),
            scans=scans,
            data_cut=params.data_cut,
        )
        taken = measurements.loc[measurements["ANLREAS"] == ""]
    if rules:
        first = next(visit["name"] for visit in params.visits if visit["baseline"])
        made = getattr(params, "reference_values", None)
        described = reference_values.onto(subjects, taken, first, made)
        described, listed = grades.derive(described, rules)
        tables.write(listed, job.output.grades)
        subjects = described.drop(columns=list(reference_values.taken(made)))
    adsl = adam.adsl(
        subjects,
        tables.read(randomisation) if randomisation else None,
        params.arms,
        params.visits,
        strata=params.strata,
        characteristics=params.characteristics,
        populations=params.populations,
        events=tables.read(events) if events else None,
        measurements=taken,
        data_cut=params.data_cut,
        study=params.study,
        sessions=tables.read(sessions, text=["PERIOD"]) if sessions else None,
        reference=settings.get("reference", "RANDDT"),
    )
    written = {"adsl": adsl}
    for name in adam.DATASETS:
        written[name.lower()] = adam.bds(
            measurements,
            adsl,
            parameters,
            params.visits,
            strata=params.strata,
            characteristics=params.characteristics,
            data_cut=params.data_cut,
            dataset=name,
        )
    for name, table in written.items():
        tables.write_parquet(table, getattr(job.output, name))
        tables.write(table, getattr(job.output, f"{name}_tsv"))


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
