"""Draw one inspiration with all that was found in it."""

from pathlib import Path

from lungitude import images, panels, records
from lungitude.job import job_log, write_empty


def main(job):
    """Write the picture; nothing for a scan that was excluded."""
    if records.excluded(job.input.record, job.input.lungs_record):
        write_empty(job.output.picture)
        return
    image = images.read(job.input.image)
    shown = dict(zip(job.params.columns, job.input.structures, strict=True))
    shown = {name: path for name, path in shown.items() if not records.left_out(path)}
    classes = [path for path in job.input.prm if Path(path).stat().st_size]
    if classes:
        shown["prm"] = classes[0]
    panels.chest_panel(
        image,
        images.read_labels(job.input.lungs, like=image),
        **{name.lower(): images.read_labels(path, like=image) for name, path in shown.items()},
        path=job.output.picture,
        title="   ".join(job.params.identity.values()),
    )


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
