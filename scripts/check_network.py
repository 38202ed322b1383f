"""Find lungs, airways and vessels of one inspiration without the network, and compare."""

import logging

import pandas as pd

from lungitude import images, records, segmentation, tables
from lungitude.classical.airways import LUMEN, airways
from lungitude.classical.disagreement import disagreement
from lungitude.classical.vessels import vessels
from lungitude.job import job_log, write_empty

log = logging.getLogger(__name__)
PARTS = ("lobes", "airways", "vessels")
NAMES = ("the network", "the classical method")
COLUMNS = ("STRUCTURE", "network_ml", "classical_ml", "dice", "ratio", "hd95_mm")
COLUMNS += ("network_covered_pct", "classical_covered_pct", "flag")


def main(job):
    """Write how far both agree on each structure, and a flag where they don't."""
    if records.excluded(job.input.record):
        write_empty(job.output.table)
        return
    image = images.read(job.input.image)
    network = {part: images.read_labels(job.input[part], like=image) for part in PARTS}
    try:
        rows = compare(network, classical(image))
    except ValueError as error:  # no lung was found to compare in
        rows = [{"STRUCTURE": part, "flag": f"{part} not compared: {error}"} for part in PARTS]
    for row in rows:
        if row["flag"]:
            log.warning("%s: %s", row["STRUCTURE"], row["flag"])
    tables.write(pd.DataFrame(rows, columns=COLUMNS), job.output.table, job.params.identity)


def classical(image):
    """Return the label map of each structure that is found without the network."""
    lungs = segmentation.lungs(image)
    tree = airways(image, lungs)
    return {"lobes": lungs, "airways": tree, "vessels": vessels(image, lungs, tree)}


def compare(network, other):
    """Compare lungs as wholes, and in the lungs the lumen of airways and all vessels."""
    lungs = other["lobes"]
    rows = []
    for part in PARTS:
        found = disagreement(
            network[part],
            other[part],
            "lungs" if part == "lobes" else part,
            within=None if part == "lobes" else lungs,
            codes=[LUMEN] if part == "airways" else None,
            names=NAMES,
        )
        row = (part, *(found[name] for name in ("a_ml", "b_ml", "dice", "ratio", "hd95_mm")))
        row += (found["a_covered_pct"], found["b_covered_pct"], "; ".join(found["flags"]))
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
