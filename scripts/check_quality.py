"""Measure the quality of one scan, compare it with the declared protocol, and draw it."""

import pandas as pd

from lungitude import images, overlays, quality, records, segmentation, tables
from lungitude.job import job_log, write_empty


def main(job):
    """Write the row of quality and the picture."""
    identity = dict(job.params.identity)
    if records.excluded(job.input.record, job.input.lungs_record):
        tables.write(pd.DataFrame(columns=[*identity, *quality.COLUMNS]), job.output.table)
        write_empty(job.output.picture)
        return
    image = images.read(job.input.image)
    labels = images.read_labels(job.input.lungs, like=image)
    lungs = labels
    if records.read(job.input.lungs_record)["scheme"] == "lobes":
        lungs = segmentation.lobes_to_lungs(labels)
    tags = records.read(job.input.record)["tags"]
    table = quality.measure(image, lungs, tags, dict(job.params.protocol or {}))
    tables.write(pd.DataFrame([identity]).join(table), job.output.table)
    title = "   ".join(identity.values())
    overlays.lung_overlay(image, lungs, job.output.picture, title, lines(table.iloc[0]))


def lines(row):
    """Return the numbers and flags that stand below the picture."""
    numbers = (
        ("right", "right_ml", "ml"),
        ("left", "left_ml", "ml"),
        ("air", "air_hu", "HU"),
        ("noise", "noise_hu", "HU"),
        ("blood", "blood_hu", "HU"),
        ("motion", "motion_ratio", ""),
    )
    shown = [
        f"{name} {row[key]:.{1 if key == 'motion_ratio' else 0}f} {unit}".strip()
        for name, key, unit in numbers
        if not pd.isna(row[key])
    ]
    flags = [part for part in str(row["flags"]).split("; ") if part]
    return ["   ".join(shown), *flags]


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
