"""Find lobes, airways, vessels and heart in the scans of one visit with the network.

One job a visit: loading the network costs as much as reading a scan with it.
"""

import logging

import numpy as np
import pandas as pd

from lungitude import images, records, tables
from lungitude.job import job_log, write_empty
from lungitude.networks import inference, trust

log = logging.getLogger(__name__)
# Each structure of a visit: the role of the series that it is sought on.
ROLES = {
    "airways": "inspiration",
    "vessels": "inspiration",
    "coronary": "calcium",
    "heart": "gated",
}


def main(job):
    """Write a label map of each structure, empty where its scan is absent, and what to trust."""
    wanted = outputs(job)
    write_empty(*(path for of_series in wanted.values() for path in of_series.values()))
    reader, rows = None, []
    scans = zip(job.params.series, job.input.images, job.input.records, strict=True)
    for series, image, record in scans:
        if series not in wanted or records.excluded(record):
            continue
        reader = reader or inference.Reader(job.params.weights, job.params.precision)
        cycle = "heart" in wanted[series]
        scan = (images.read_cycle if cycle else images.read)(image)
        made, found = inference.segment(scan, tuple(wanted[series]), reader)
        for part, labels in made.items():
            images.write(images.join_cycle(labels) if cycle else labels, wanted[series][part])
        told = trust.rows(found, {part: volume_ml(labels) for part, labels in made.items()})
        for row in told:
            if row["flag"]:
                log.warning("%s, %s: %s", series, row["STRUCTURE"], row["flag"])
        rows += [{**job.params.identity, "SERIES": series, **row} for row in told]
    columns = [*job.params.identity, "SERIES", *trust.COLUMNS]
    tables.write(pd.DataFrame(rows, columns=columns), job.output.table)


def outputs(job):
    """Return the path of each structure by series and structure."""
    found = {
        series: {"lobes": path}
        for series, path in zip(job.params.chests, job.output.lobes, strict=True)
    }
    for part, role in ROLES.items():
        if role in job.params.roles:
            found.setdefault(job.params.roles[role], {})[part] = job.output[part]
    return found


def volume_ml(labels):
    """Volume of all that is labelled; of a cycle, the mean over its phases."""
    maps = labels if isinstance(labels, list) else [labels]
    return float(np.mean([np.count_nonzero(images.array(m)) * images.voxel_ml(m) for m in maps]))


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
