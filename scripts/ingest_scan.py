"""Read one series, check it, and keep it in HU without anything that names the patient."""

import hashlib
import logging
from pathlib import Path

from lungitude import dicom, images, records
from lungitude.job import job_log, write_empty

log = logging.getLogger(__name__)
STAGE = "ingest"
AIR_AT_MOST_HU = -500  # every chest CT holds lung or air


def main(job):
    """Write the scan in canonical orientation, and its record."""
    identity = dict(job.params.identity)
    try:
        image, facts = read(job.input.scan, cycle=bool(job.params.get("cycle")))
    except ValueError as error:
        if job.params.on_bad_scan == "stop":
            raise
        # The reason is shown in reports: without the path, which can name the patient.
        reason = getattr(error, "fault", None) or f"can't be read ({type(error).__name__})"
        log.warning("excluded: %s", reason)
        records.exclude(job.output.record, STAGE, reason, **identity)
        write_empty(job.output.image)
        return
    images.write(image, job.output.image)
    records.write(job.output.record, **identity, stage=STAGE, reason="", **facts)


def read(path, cycle=False):
    """Return the canonical image of a series (4-D of a cardiac cycle) and what its record tells."""
    path = Path(path)
    source = "dicom" if path.is_dir() else "nifti" if ".nii" in path.name.lower() else "other"
    if path.is_dir():
        found, facts = (dicom.read_cycle if cycle else dicom.read)(path)
    else:
        found, facts = (images.read_cycle if cycle else images.read)(path), {"tags": {}}
    phases = found if cycle else [found]
    was = images.orientation(phases[0])
    phases = [images.canonical(phase) for phase in phases]
    first = phases[0]
    image = images.join_cycle(phases) if cycle else first
    values = images.array(image)
    low, high = values.min(), values.max()
    if low > AIR_AT_MOST_HU or high < AIR_AT_MOST_HU:
        raise images.ScanError(
            path,
            f"values of {low:g} to {high:g} are no HU of a chest; are slope and intercept applied?",
        )
    return image, {
        "source": source,
        "size": list(image.GetSize()),
        "spacing_mm": [round(v, 6) for v in first.GetSpacing()],
        "origin_mm": [round(v, 4) for v in first.GetOrigin()],
        "direction": [round(v, 6) for v in first.GetDirection()],
        "orientation": images.CANONICAL,
        "orientation_of_source": was,
        "voxel_type": str(values.dtype),
        "hu_min": float(low),
        "hu_max": float(high),
        "pixel_digest": hashlib.sha256(values.tobytes()).hexdigest(),
        **facts,
    }


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
