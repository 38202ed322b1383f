"""Bring the inspiration of a follow-up onto that of the baseline."""

from lungitude.job import job_log
from lungitude.registration import pairs


def main(job):
    """Register, judge and write; an excluded scan is passed on."""
    identity = {**job.params.identity, "SERIES": "to_baseline"}
    on_bad_scan = job.params.on_bad_scan or "exclude"
    pairs.run(job.input, job.output, identity, job.params.registration, on_bad_scan)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
