"""Render the synthetic scans of the lungs of one visit, as DICOM series, and their true labels."""

import logging
from pathlib import Path

from lungitude import images
from lungitude.job import job_log
from lungitude.phantom import dicom, render, truth

log = logging.getLogger("render_chest")

PHASES = {"inspiration": "insp", "expiration": "exp"}
LABELS = ("airways", "vessels")


def main(job):
    """Write the folders ``inspiration`` and ``expiration``, whose last part names the series.

    A row of the truth sheet may have a column FAULT, ``series:fault`` parted by spaces, that plants
    faults of `dicom.FAULTS` in its series.
    """
    row = dict(job.params.truth)
    words = str(row.get("FAULT", "")).split()
    faults = dict(word.split(":", 1) for word in words if ":" in word)
    scans = render.render(render.prepare(row, dict(job.params.phantom)), labels=LABELS)
    for output, phase in PHASES.items():
        folder = Path(job.output[output])
        scan = scans[phase]
        dicom.write_series(
            scan, render.deliver(scan), folder, folder.name, fault=faults.get(folder.name)
        )
    inspired = scans["insp"]
    for structure in LABELS:
        images.write(inspired.grid.image(inspired.labels[structure]), job.output[structure])
    log.info("noiseless truth: %s", truth.response(scans, every=3))


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
