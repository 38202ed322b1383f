"""Find the lungs of one scan, or take them from a label map of other software."""

import logging

import numpy as np

from lungitude import images, records, segmentation
from lungitude.job import job_log, write_empty

log = logging.getLogger(__name__)
STAGE = "segmentation"


def main(job):
    """Write the label map of the lungs, and its record."""
    identity = dict(job.params.identity)
    bad = records.excluded(job.input.record)
    if bad:
        pass_on(job, identity, bad["stage"], bad["reason"])
        return
    given = labels_of(job)
    if given:  # a wrong label map is a fault of the trial, not of a scan: stop
        segmentation.code_pairs(*names_of(job))
    try:
        labels, facts = find(job, given)
    except ValueError as error:
        if job.params.on_bad_scan == "stop":
            raise
        log.warning("excluded: %s", error)
        pass_on(job, identity, STAGE, getattr(error, "fault", str(error)))
        return
    images.write(labels, job.output.lungs)
    records.write(job.output.record, **identity, stage=STAGE, reason="", **facts)


def pass_on(job, identity, stage, reason):
    """Write the outputs of an excluded scan."""
    records.exclude(job.output.record, stage, reason, **identity)
    write_empty(job.output.lungs)


def labels_of(job):
    """Return the path of the label map of other software, None without one."""
    given = job.input.get("labels") or None
    return given if isinstance(given, str) or given is None else str(given[0])


def names_of(job):
    """Return label map and scheme as `segmentation.from_labels` takes them."""
    names, scheme = job.params.get("label_map"), job.params.get("label_scheme")
    if isinstance(names, str):  # the name of a software says the scheme, too
        return names, None
    return names or scheme or "lungs", scheme


def find(job, given):
    """Return lungs (or lobes) of a scan and what their record tells."""
    image = images.read(job.input.image)
    method = job.params.method or "auto"
    if given:
        labels = images.read_labels(given, like=image)
        labels, scheme = segmentation.from_labels(labels, *names_of(job))
        method = "external"
    elif method == "external":
        raise ValueError("segmentation is external, but scans.tsv names no LABELS for this scan")
    else:
        labels, scheme = segmentation.lungs(image, method), "lungs"
    counts = np.bincount(images.array(labels).ravel(), minlength=8)
    volumes = {
        f"{name}_ml": round(float(counts[code]) * images.voxel_ml(labels), 3)
        for name, code in segmentation.REGIONS[scheme].items()
    }
    return labels, {"method": method, "scheme": scheme, **volumes}


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
