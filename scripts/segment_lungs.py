"""Find the lungs of one scan, or take them from a label map of other software."""

import logging
from pathlib import Path

import numpy as np

from lungitude import external, images, label_names, records, segmentation
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
        label_names.check(*names_of(job), masks=Path(given).is_dir())
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
    """Return the path of the label map or masks of other software, None without."""
    given = job.input.get("labels") or None
    return given if isinstance(given, str) or given is None else str(given[0])


def names_of(job):
    """Return label map and structures as `external.read` takes them."""
    names, scheme = job.params.get("label_map"), job.params.get("label_scheme") or "lungs"
    if not names:  # our codes
        return scheme, (scheme,)
    if isinstance(names, str) or not all(str(name).isdigit() for name in names):
        return names, label_names.COLUMNS["LABELS"]  # names say the scheme, too
    return names, (scheme,)


def find(job, given):
    """Return lungs (or lobes) of a scan and what their record tells."""
    image = images.read(job.input.image)
    method = job.params.method or "auto"
    told = {}
    if given:
        resample = bool(job.params.get("resample_labels"))
        labels, facts = external.read(given, image, *names_of(job), resample)
        scheme = facts["structure"]
        if job.params.get("by_network"):
            method = "network"
        else:
            method, told = "external", {"labels": facts}
    elif method == "external":
        raise ValueError("segmentation is external, but scans.tsv names no LABELS for this scan")
    else:
        labels, scheme = segmentation.lungs(image, method), "lungs"
    counts = np.bincount(images.array(labels).ravel(), minlength=8)
    volumes = {
        f"{name}_ml": round(float(counts[code]) * images.voxel_ml(labels), 3)
        for name, code in segmentation.REGIONS[scheme].items()
    }
    return labels, {"method": method, "scheme": scheme, **volumes, **told}


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
