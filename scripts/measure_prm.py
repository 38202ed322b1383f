"""Classify the lung of one visit by inspiration and registered expiration."""

import logging

from lungitude import images, records, tables
from lungitude.biomarkers.prm import COLOURS, LEGEND, prm_map, table
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
    lungs = images.read_labels(job.input.lungs, like=inspiration)
    scheme = records.read(job.input.lungs_record)["scheme"]
    classes = prm_map(inspiration, images.read(job.input.expiration), lungs, job.params.vessel_hu)
    found = table(classes, lungs, scheme, job.params.vessel_hu)
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
