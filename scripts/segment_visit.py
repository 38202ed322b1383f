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
    """Write a label map of each structure that is sought, and what to trust.

    It is empty where the scan is absent, or where scans.tsv names another label map.
    """
    wanted, kept = outputs(job), shares(job)
    files = (*wanted.values(), *kept.values())
    write_empty(*(path for of_series in files for path in of_series.values()))
    reader, rows = None, []
    scans = zip(job.params.series, job.input.images, job.input.records, strict=True)
    for series, image, record in scans:
        parts = job.params.sought[series]
        if not parts or records.excluded(record):
            continue
        reader = reader or inference.Reader(
            job.params.weights,
            job.params.precision,
            probabilities=job.params.probabilities,
            vessel_tracking=job.params.vessel_tracking,
        )
        cycle = "heart" in parts
        scan = (images.read_cycle if cycle else images.read)(image)
        made, found = inference.segment(scan, tuple(parts), reader)
        for part, labels in made.items():
            images.write(images.join_cycle(labels) if cycle else labels, wanted[series][part])
        for name, share in inference.probabilities(found, scan).items() if kept else ():
            whole = images.join_cycle(share) if cycle else share
            images.write(whole, kept[series][name], slope=1.0 / 255.0)
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


def shares(job):
    """Return the path of each map of probabilities by series and structure; none if not asked."""
    found = {}
    if job.params.probabilities:
        for name in ("lungs", "low_attenuation"):
            paths = job.output[f"{name}_probability"]
            for series, path in zip(job.params.chests, paths, strict=True):
                found.setdefault(series, {})[name] = path
        for part, role in ROLES.items():
            if role in job.params.roles:
                path = job.output[f"{part}_probability"]
                found.setdefault(job.params.roles[role], {})[part] = path
    return found


def volume_ml(labels):
    """Volume of all that is labelled; of a cycle, the mean over its phases."""
    maps = labels if isinstance(labels, list) else [labels]
    return float(np.mean([np.count_nonzero(images.array(m)) * images.voxel_ml(m) for m in maps]))


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
