"""Bring the labels of other software onto a scan, with our codes."""

import logging
from pathlib import Path

from lungitude import external, images, label_names, records
from lungitude.job import job_log, write_empty

log = logging.getLogger(__name__)
STAGE = "labels"


def main(job):
    """Write the label map of one structure, and what is known of it."""
    identity = dict(job.params.identity)
    bad = records.excluded(job.input.record)
    if bad:
        pass_on(job, identity, bad["stage"], bad["reason"])
        return
    names = job.params.get("label_map")
    structures = label_names.COLUMNS[job.params.column]
    given = str(job.input.labels)
    # A wrong label map is a fault of the trial, not of a scan: stop.
    label_names.check(names, structures, masks=Path(given).is_dir() and not job.params.cycle)
    resample = bool(job.params.get("resample_labels"))
    try:
        if job.params.cycle:
            scan = images.read_cycle(job.input.image)
            phases, facts = external.read_cycle(given, scan, names, structures, resample)
            labels = images.join_cycle(phases)
        else:
            scan = images.read(job.input.image)
            labels, facts = external.read(given, scan, names, structures, resample)
    except ValueError as error:
        if job.params.get("on_bad_scan") == "stop":
            raise
        log.warning("left out: %s", error)
        pass_on(job, identity, STAGE, getattr(error, "fault", str(error)))
        return
    for flag in filter(None, facts["flag"].split("; ")):
        log.warning("%s: %s", job.params.column, flag)
    images.write(labels, job.output.labels)
    records.write(job.output.record, **identity, stage=STAGE, reason="", **facts)


def pass_on(job, identity, stage, reason):
    """Write the outputs where there are no labels to use."""
    records.exclude(job.output.record, stage, reason, **identity)
    write_empty(job.output.labels)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
