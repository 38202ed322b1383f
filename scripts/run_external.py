"""Run segmentation software of others on one scan; its label map keeps its own codes."""

import shutil
import tempfile
from pathlib import Path

from lungitude import backends, images, records
from lungitude.job import job_log, write_empty


def main(job):
    """Write the label map (4-D of a cardiac cycle) and its provenance."""
    identity = dict(job.params.identity)
    bad = records.excluded(job.input.record)
    if bad:
        records.exclude(job.output.record, bad["stage"], bad["reason"], **identity)
        write_empty(job.output.labels)
        return
    software = backends.backend(**job.params.settings, threads=job.threads)
    software.ready()  # the check may have run on another machine
    if job.params.cycle:
        phases = images.read_cycle(job.input.image)
        labels = images.join_cycle([segment(software, phase) for phase in phases])
    else:
        labels = segment(software, images.read(job.input.image))
    images.write(labels, job.output.labels)
    known = records.read(job.input.check)
    del known["status"]
    records.write(job.output.record, **identity, stage="external", reason="", **known)


def segment(software, scan):
    """Return the label map of one 3-D scan, on its grid."""
    with tempfile.TemporaryDirectory(prefix="lungitude-") as folder:
        source, target = (Path(folder) / f"{name}{software.suffix()}" for name in ("ct", "labels"))
        images.write(scan, source)
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        software.segment(source, target, scratch)
        labels = images.read_labels(target, like=scan)
        shutil.rmtree(scratch)
    labels.CopyInformation(scan)
    return labels


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
