"""What the jobs share that measure one structure on one scan."""

import logging
from pathlib import Path

import pandas as pd

from lungitude import images, records, tables
from lungitude.job import write_empty

log = logging.getLogger(__name__)


def run(job, structure, measure, cycle=False):
    """Read a scan and the label map of a structure, measure, and write the table.

    An excluded scan leaves empty files. A label map that does not fit its scan, or a scan that a
    measure refuses (contrast medium in a calcium scan), leaves a row without numbers whose flag
    says why, or stops the run, as the trial wishes.

    Parameters
    ----------
    job : snakemake.script.Snakemake or a stand-in
        Inputs ``image``, ``record`` and one named `structure`; output ``table`` and others.
    structure : str
    measure : callable
        Takes image and label map (lists of phases with `cycle`), writes the other outputs and
        returns the table.
    cycle : bool
        Whether both are 4-D.
    """
    identity = dict(job.params.identity)
    if records.excluded(job.input.record):
        write_empty(*job.output)
        return
    path = job.input[structure]
    read = images.read_cycle if cycle else images.read
    image = read(job.input.image)
    try:
        table = measure(image, read_labels(path, image, cycle))
    except ValueError as error:
        if job.params.get("on_bad_scan") == "stop":
            raise
        reason = f"{structure}: {getattr(error, 'fault', error)}"
        log.warning("not measured: %s", reason)
        write_empty(*job.output)
        row = pd.DataFrame({"region": ["all"], "flag": [reason]})
        tables.write(row, job.output.table, identity)
        return
    for flag in table["flag"].dropna().unique() if "flag" in table else ():
        log.warning("%s: %s", structure, flag)
    tables.write(table, job.output.table, identity)


def airway_scale(record, baseline, psf_mm):
    """Return point spread and wall density that the airways of a scan are measured with.

    Those of the baseline if it was scanned in the same way: estimated anew at each visit they would
    take part of a change of the walls into themselves.

    Parameters
    ----------
    record : path
        Of the scan.
    baseline : sequence of path
        Record of the baseline's scan and its branches; empty for the baseline itself.
    psf_mm : float or None
        Point spread that the trial declares.

    Returns
    -------
    dict
        Keywords of `airways.airway_branches`.
    """
    if not baseline:
        return {"psf_mm": psf_mm}
    first, now = (records.read(path) for path in (baseline[0], record))
    same = first["status"] == "ok" and _protocol(first) == _protocol(now)
    found = tables.read(baseline[1]) if same else ()
    if not len(found):
        return {"psf_mm": psf_mm}
    return {name: float(found[name].iloc[0]) for name in ("psf_mm", "wall_hu")}


def _protocol(record):
    """Return what the point spread of a scan depends on."""
    names = ("manufacturer", "model", "kernel", "slice_mm")
    return record["spacing_mm"], *(record["tags"].get(name) for name in names)


def read_labels(path, image, cycle):
    """Return the label map of an image, or those of the phases of a cycle."""
    reason = records.left_out(path)
    if reason:
        raise ValueError(reason)
    if not cycle:
        return images.read_labels(path, like=image)
    phases = [images.labels_like(phase, image[0], Path(path)) for phase in images.read_cycle(path)]
    if len(phases) != len(image):
        raise ValueError(f"{len(phases)} phases, the scan has {len(image)}; label every phase")
    return phases
