"""Render the synthetic scans of one visit and write them as DICOM series."""

import logging
from pathlib import Path

from lungitude.job import job_log
from lungitude.phantom import dicom, render

log = logging.getLogger("render_scans")

PHASES = {"inspiration": "insp", "expiration": "exp"}


def main(job):
    """Write the folders ``inspiration`` and ``expiration``, whose last part names the series.

    A row of the truth sheet may have a column FAULT, ``series:fault`` parted by spaces, that plants
    faults of `dicom.FAULTS` in its series.
    """
    row = dict(job.params.truth)
    words = str(row.get("FAULT", "")).split()
    faults = dict(word.split(":", 1) for word in words if ":" in word)
    # Where the files lie is the rule's matter.
    section = {
        key: value for key, value in job.params.phantom.items() if key not in ("root", "records")
    }
    scans = render.render(render.prepare(row, section))
    for output, phase in PHASES.items():
        folder = Path(job.output[output])
        scan = scans[phase]
        dicom.write_series(
            scan, render.deliver(scan), folder, folder.name, fault=faults.get(folder.name)
        )
    log.info("noiseless truth: %s", render.truth(scans, every=3))


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
