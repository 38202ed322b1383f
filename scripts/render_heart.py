"""Render the synthetic scans of the heart of one visit, as DICOM series, and their true labels."""

from pathlib import Path

from lungitude import images
from lungitude.job import job_log
from lungitude.phantom import cardiac, dicom, render


def main(job):
    """Write the calcium scan, the gated scan over the cardiac cycle, and the labels of both."""
    record = render.prepare(dict(job.params.truth), dict(job.params.phantom))
    scan = cardiac.calcium_scan(record, cardiac.heart_grid(record, record.calcium_voxel_mm))
    folder = Path(job.output.calcium)
    dicom.write_series(scan, cardiac.deliver(scan), folder, folder.name)
    labels = cardiac.coronary_labels(record, scan.cycle, scan.grid)
    images.write(scan.grid.image(labels), job.output.coronary)

    phases = list(cardiac.cycle(record, cardiac.heart_grid(record, record.gated_voxel_mm)))
    folder = Path(job.output.gated)
    dicom.write_cycle(phases, [cardiac.deliver(phase) for phase in phases], folder, folder.name)
    labels = [phase.grid.image(cardiac.labels(record, phase.cycle, phase.grid)) for phase in phases]
    images.write(images.join_cycle(labels), job.output.heart)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
