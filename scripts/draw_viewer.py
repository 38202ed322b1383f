"""Make the page on which one scan is looked through, with all label maps that were found on it."""

import logging
from pathlib import Path

from lungitude import images, measuring, records
from lungitude.job import job_log, whole
from lungitude.reporting import pages, viewer

log = logging.getLogger("draw_viewer")


def main(job):
    """Write the page; that of a scan that was excluded says why."""
    record = records.read(job.input.record)
    identity = job.params.identity
    scan = {
        "subject": identity["USUBJID"],
        "visit": identity["AVISIT"],
        "series": identity["SERIES"],
        "id": (record.get("pixel_digest") or "")[:16],
    }
    shared = {
        "scan": scan,
        "trial": dict(job.params.trial),
        "links": list(job.params.links),
        "back": back_to(job.params.back, scan),
    }
    if record["status"] == "excluded":
        why = ": ".join(filter(None, (record.get("stage"), record.get("reason"))))
        text = viewer.build(found=None, why=f"This scan was excluded. {why}.", **shared)
    else:
        text = _page(job, record, shared)
    with whole(job.output.page) as part:
        part.write_text(text, encoding="utf-8")


def _page(job, record, shared):
    """Return the page of a scan that can be shown."""
    cycle = bool(job.params.get("cycle"))
    facts, notes = [], []
    image = (images.read_cycle if cycle else images.read)(job.input.image)
    shown, number = image, 0
    if cycle:
        number, words = viewer.phase_of(record.get("phases"), record.get("phases_unit"), len(image))
        facts.append(("Phase", words))
        shown = image[number]
    maps = {}
    for key, path in layers(job).items():
        try:
            labels = measuring.read_labels(path, image, cycle and key == "heart")
        except ValueError as error:
            reason = getattr(error, "fault", error)
            log.warning("not shown: %s: %s", key, reason)
            notes.append(f"{viewer.LAYERS[key][0]}: not shown; {reason}.")
            continue
        maps[key] = labels[number] if isinstance(labels, list) else labels
    found = viewer.volumes(shown, maps)
    facts += [
        ("Measured", viewer.words_of_size(shown.GetSize(), shown.GetSpacing())),
        ("Shown", viewer.words_of_size(found["size"], found["spacing"])),
        ("Steps of the picture", f"{viewer.STEP_HU} HU"),
    ]
    if found["coarse"]:
        notes.append(viewer.COARSE)
    return viewer.build(
        found=found,
        presets=job.params.windows,
        facts=facts,
        notes=notes,
        bundle=job.params.bundle,
        **shared,
    )


def back_to(link, scan):
    """Return the link to the page of quality, at the visit of the scan."""
    place = pages.anchor(scan["subject"], scan["visit"])
    return {**link, "href": f"{link['href']}#{place}"}


def layers(job):
    """Return the label maps of the scan by their key, the lowest first.

    Files of a step that was excluded are empty.
    """
    found = {}
    for path, told in zip(job.input.lungs, job.input.lungs_record, strict=True):
        found[records.read(told).get("scheme", "mask")] = path
    for path in job.input.prm:
        if Path(path).stat().st_size:
            found["prm"] = path
    columns = [column.lower() for column in job.params.columns]
    return {**found, **dict(zip(columns, job.input.structures, strict=True))}


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
