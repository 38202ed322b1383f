"""Classify the lung of one visit by inspiration and registered expiration."""

import logging

from lungitude import images, records, tables
from lungitude.biomarkers.prm import COLOURS, LEGEND, measures, prm_map
from lungitude.job import job_log, write_empty
from lungitude.overlays import label_overlay

log = logging.getLogger("measure_prm")


def main(job):
    """Write the table, the map and its picture."""
    identity = dict(job.params.identity)
    bad = records.excluded(job.input.record)
    if bad:
        log.warning(
            "%s %s: passed over, %s", identity["USUBJID"], identity["AVISIT"], bad["reason"]
        )
        write_empty(*job.output)
        return
    inspiration = images.read(job.input.inspiration)
    expiration = images.read(job.input.expiration)
    lungs = images.read_labels(job.input.lungs, like=inspiration)
    paths = job.input.get("vessels") or []
    if paths and records.left_out(paths):
        raise ValueError(f"vessels, which are to be left out: {records.left_out(paths)}")
    vessels = images.read_labels(paths, like=inspiration) if paths else None
    scheme = records.read(job.input.lungs_record)["scheme"]
    vessel_hu = job.params.vessel_hu
    classes = prm_map(inspiration, expiration, lungs, vessel_hu, vessels)
    found = measures(inspiration, expiration, classes, lungs, scheme, vessel_hu)
    if found["noise_insp_hu"].isna().all():
        log.warning("no air of the trachea in both phases: no value is corrected for noise")
    tables.write(found, job.output.table, identity)
    images.write(classes, job.output.map)
    label_overlay(
        inspiration,
        classes,
        COLOURS,
        job.output.picture,
        f"{identity['USUBJID']} {identity['AVISIT']} parametric response map",
        LEGEND,
    )


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
