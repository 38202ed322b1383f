"""Write a sheet of the trial from the files that config.yaml maps."""

import logging

from lungitude import checks, source_maps, sources, tables
from lungitude.job import job_log


def main(job):
    """Write the sheet with the origin of its rows, and what was read, left out and missing."""
    name, params = job.wildcards.sheet, job.params
    extra = params.columns if name == "subjects" else {}
    parameters = tables.read(job.input.parameters) if job.input.parameters else None
    declared = source_maps.declared_units(name, parameters, extra)
    problems = []
    maps = source_maps.of(params.maps)
    made = sources.read(name, maps, params.folder, problems, extra, declared)
    if problems:
        raise checks.TrialError(problems)
    made.write(job.output.sheet, job.output.counts)
    logging.getLogger("lungitude").info("\n".join(made.told()))


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
