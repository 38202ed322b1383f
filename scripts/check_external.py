"""Check that the software of a run is there with its weights, and record what they are."""

from lungitude import backends, records
from lungitude.job import job_log


def main(job):
    """Write the provenance of all label maps of the run; end with what is missing."""
    found = backends.backend(**job.params.settings).check()
    records.write(job.output.record, run=job.wildcards.run, **found)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
