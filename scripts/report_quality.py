"""Show every scan with its pictures, its numbers and its flags; the excluded ones first."""

import pandas as pd

from lungitude import tables
from lungitude.job import job_log, whole
from lungitude.reporting import quality

PICTURES = ("pictures", "registration_pictures", "prm_pictures")


def main(job):
    """Write the page of all scans."""
    page = str(job.output.page)
    pictures = [str(path) for name in PICTURES for path in getattr(job.input, name, None) or []]
    registrations = getattr(job.input, "registrations", None)
    trust = getattr(job.input, "trust", None)
    text = quality.build(
        pictures=pictures,
        registrations=tables.read(registrations) if registrations else pd.DataFrame(),
        quality=tables.read(job.input.quality),
        scans=tables.read(job.input.scans),
        visits=list(job.params.visits),
        trial=dict(job.params.trial),
        digests={"code": job.params.code},
        page=page,
        trust=tables.read(trust) if trust else None,
        viewers=getattr(job.params, "viewers", False),
    )
    with whole(page) as part:
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
