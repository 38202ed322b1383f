"""Make the pages on which the scans of a visit are looked through, with all label maps on them."""

import logging
from pathlib import Path

from lungitude import images, measuring, records
from lungitude.job import job_log, whole
from lungitude.reporting import pages, viewer

log = logging.getLogger("draw_viewer")


def main(job):
    """Write the page of each scan of a visit into one folder."""
    folder = Path(job.output.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for scan in job.params.scans:
        text = page(scan, job.params)
        with whole(folder / f"{scan['identity']['SERIES']}.html") as part:
            part.write_text(text, encoding="utf-8")


def page(scan, params):
    """Return the page of a scan; that of one that was excluded says why.

    Parameters
    ----------
    scan : dict
        ``identity columns windows links cycle`` and the files ``image record lungs lungs_record
        structures prm``; all but the first two are lists.
    params : mapping
        ``trial back bundle``, for all scans.
    """
    record = records.read(scan["record"])
    identity = scan["identity"]
    named = {
        "subject": identity["USUBJID"],
        "visit": identity["AVISIT"],
        "series": identity["SERIES"],
        "id": (record.get("pixel_digest") or "")[:16],
    }
    shared = {
        "scan": named,
        "trial": dict(params["trial"]),
        "links": list(scan["links"]),
        "back": back_to(params["back"], named),
    }
    if record["status"] == "excluded":
        why = ": ".join(filter(None, (record.get("stage"), record.get("reason"))))
        return viewer.build(found=None, why=f"This scan was excluded. {why}.", **shared)
    return _shown(scan, record, params["bundle"], shared)


def _shown(scan, record, bundle, shared):
    """Return the page of a scan that can be shown."""
    cycle = bool(scan.get("cycle"))
    facts, notes = [], []
    image = (images.read_cycle if cycle else images.read)(scan["image"])
    shown, number = image, 0
    if cycle:
        number, words = viewer.phase_of(record.get("phases"), record.get("phases_unit"), len(image))
        facts.append(("Phase", words))
        shown = image[number]
    maps = {}
    for key, path in layers(scan).items():
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
        presets=scan["windows"],
        facts=facts,
        notes=notes,
        bundle=bundle,
        **shared,
    )


def back_to(link, scan):
    """Return the link to the page of quality, at the visit of the scan."""
    place = pages.anchor(scan["subject"], scan["visit"])
    return {**link, "href": f"{link['href']}#{place}"}


def layers(scan):
    """Return the label maps of the scan by their key, the lowest first.

    Files of a step that was excluded are empty.
    """
    found = {}
    for path, told in zip(scan["lungs"], scan["lungs_record"], strict=True):
        found[records.read(told).get("scheme", "mask")] = path
    for path in scan["prm"]:
        if Path(path).stat().st_size:
            found["prm"] = path
    columns = [column.lower() for column in scan["columns"]]
    return {**found, **dict(zip(columns, scan["structures"], strict=True))}


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
