"""Bring the gated scan of a visit onto its inspiration."""

from lungitude.job import job_log
from lungitude.registration import hearts


def main(job):
    """Register, judge and write; an excluded scan is passed on."""
    identity = {**job.params.identity, "SERIES": "heart_to_insp"}
    on_bad_scan = job.params.on_bad_scan or "exclude"
    hearts.run(job.input, job.output, identity, job.params.registration, on_bad_scan)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
