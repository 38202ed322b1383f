"""Find airways and vessels of one inspiration by region growing and tubes."""

import logging

import numpy as np

from lungitude import images, records
from lungitude.classical.airways import airways_with_facts
from lungitude.classical.vessels import vessels
from lungitude.job import job_log, write_empty

log = logging.getLogger(__name__)
STAGE = "segmentation"


def main(job):
    """Write the label maps that are asked for, and a record of each."""
    outputs = list(zip(job.params.parts, job.output.labels, job.output.records, strict=True))
    bad = records.excluded(job.input.record, job.input.lungs_record)
    if bad:
        for part, labels, record in outputs:
            fate = {**job.params.identity, "STRUCTURE": part}
            records.exclude(record, bad["stage"], bad["reason"], **fate)
            write_empty(labels)
        return
    image = images.read(job.input.image)
    lungs = images.read_labels(job.input.lungs, like=image)
    # No vessel may take the wall of an airway, so airways come first whatever is asked for.
    airways, facts = airways_with_facts(image, lungs)
    found = {"airways": (airways, facts)}
    if "vessels" in job.params.parts:
        found["vessels"] = vessels(image, lungs, airways), {"faults": []}
    for part, labels, record in outputs:
        label, facts = found[part]
        volume = round(float(np.count_nonzero(images.array(label))) * images.voxel_ml(label), 3)
        faults = facts["faults"] or ([] if volume else [f"no {part} found"])
        for fault in faults:
            log.warning("%s: %s", part, fault)
        images.write(label, labels)
        told = {**facts, "faults": faults}
        told = {name: round(v, 3) if isinstance(v, float) else v for name, v in told.items()}
        fate = {**job.params.identity, "STRUCTURE": part, "volume_ml": volume}
        records.write(record, stage=STAGE, reason="", method="classical", **fate, **told)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
