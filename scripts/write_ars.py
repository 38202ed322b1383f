"""Write the results as a reporting event of CDISC's Analysis Results Standard (ARS) 1.0."""

from pathlib import Path

from lungitude import tables
from lungitude.job import job_log
from lungitude.reporting import ars, ars_model, context


def main(job):
    """Write the reporting event if nothing is wrong with it."""
    trial = context.from_params(job.params, job.input.results)
    # Each folder of displays is report/<stratum>/displays.
    folders = {Path(str(path)).parent.name: path for path in job.input.displays}
    frame = tables.read_parquet(job.input.results)
    event = ars.reporting_event(frame, trial, list(job.params.pages), folders)
    wrong = ars_model.faults(event)
    if wrong:
        raise ValueError("the reporting event breaks ARS:\n" + "\n".join(wrong[:20]))
    ars.write(event, job.output.event)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
