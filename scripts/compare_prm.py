"""Follow the response map of one patient from visit to visit, on the anatomy of the baseline."""

from pathlib import Path

import numpy as np
import pandas as pd

from lungitude import canvas, images, records, registration, segmentation, tables
from lungitude.biomarkers.prm import CLASSES, table, transitions
from lungitude.job import job_log, write_empty

SHARES = [f"{name}_pct" for name in CLASSES]
COLOURS = {1: canvas.GREEN, 2: canvas.YELLOW, 3: canvas.VERMILION, 4: canvas.PURPLE}
ALPHA = {1: 0.3, 2: 0.6, 3: 0.7, 4: 0.7}
NAMES = {"normal": "normal", "fsad": "fSAD", "emphysema": "emphysema", "other": "other"}


def main(job):
    """Write the classes of each visit as they compare with the baseline, and their picture.

    Without a map of the baseline there is no row and no picture; a follow-up without a map or
    a registration has neither.
    """
    names = {visit["path"]: visit["name"] for visit in job.params.visits}
    baseline = next(visit["path"] for visit in job.params.visits if visit["baseline"])
    maps, scans = by_visit(job.input.maps), by_visit(job.input.images)
    lungs, lungs_records = by_visit(job.input.lungs), by_visit(job.input.lungs_records)
    if baseline not in maps or baseline not in lungs:
        tables.write(pd.DataFrame({"region": []}), job.output.table)
        write_empty(job.output.picture)
        return
    image = images.read(scans[baseline])
    mask = images.read_labels(lungs[baseline], like=image)
    scheme = records.read(lungs_records[baseline])["scheme"]
    shown = {baseline: (image, images.read_labels(maps[baseline], like=image))}
    for path, record in zip(job.input.transforms, job.input.registrations, strict=True):
        visit = Path(path).parent.name.removesuffix("_to_baseline")
        if visit in maps and not records.excluded(record):
            shown[visit] = carried(registration.read(path), scans[visit], maps[visit], image)
    found = {visit: classes for visit, (_, classes) in shown.items()}
    rows = compare(found, baseline, mask, scheme)
    identity = {"USUBJID": job.params.subject, "AVISIT": rows.pop("visit").map(names)}
    rows = rows.assign(**identity, SERIES="subject")
    first = ["USUBJID", "AVISIT", "SERIES"]
    tables.write(rows[[*first, *rows.columns.drop(first)]], job.output.table)
    title = f"{job.params.subject} parametric response map on the lungs of {names[baseline]}"
    draw({told(rows, names[visit]): pair for visit, pair in shown.items()}, mask, title, job.output)


def by_visit(paths):
    """Return the files that are not empty by their visit: <visit>/<series>/<file>."""
    return {Path(path).parents[1].name: path for path in paths if Path(path).stat().st_size}


def carried(transform, scan, classes, like):
    """Bring scan and classes of a follow-up onto the baseline.

    The classes are carried, not the densities: interpolation would blur the follow-up alone, and
    fewer voxels would pass a threshold than at baseline.
    """
    scan = images.read(scan)
    classes = images.read_labels(classes, like=scan)
    return (
        transform.resample(scan, like=like),
        transform.resample(classes, like=like, interpolator="nearest"),
    )


def compare(maps, baseline, mask, scheme):
    """Shares of the classes at each visit, and what became of them.

    The baseline keeps all its voxels, so that its values don't depend on later visits; a follow-up
    is the baseline plus the change over the voxels that are classified at both.
    """
    first = table(maps[baseline], mask, scheme)[["region", "voxels", *SHARES]]
    found = [first.assign(visit=baseline)]
    for visit, classes in maps.items():
        if visit == baseline:
            continue
        change = transitions(maps[baseline], classes, mask, scheme)
        for name, share in zip(CLASSES, SHARES, strict=True):
            change[share] = first[share] + change[f"{name}_change_pct"]
        found.append(change.assign(visit=visit))
    return pd.concat(found, ignore_index=True)


@canvas.styled
def draw(visits, mask, title, output):
    """Draw one coronal and one axial slice of the baseline with the classes of each visit."""
    labels = images.array(images.canonical(mask))
    spacing = images.spacing_zyx(images.canonical(mask))
    if not labels.any():
        write_empty(output.picture)
        return
    box = segmentation.bounding_box(labels > 0, spacing, 8.0)
    labels = labels[box]
    share = [np.cumsum((labels > 0).sum(axis)) for axis in ((1, 2), (0, 2))]
    middle = [int(np.searchsorted(total, total[-1] / 2)) for total in share]
    tall, deep, wide = (n * d for n, d in zip(labels.shape, spacing, strict=True))
    inch = 2.4 / wide  # a mm
    height = (tall + deep) * inch + 1.15
    made, area = canvas.figure(2.45 * max(len(visits), 2) + 0.1, height, title, [""], dpi=110)
    grid = made.add_gridspec(
        2, max(len(visits), 2), left=area[0], bottom=area[1], right=area[2], top=area[3] - 0.02,
        wspace=0.03, hspace=0.04, height_ratios=(tall, deep),
    )  # fmt: skip
    for column, (name, pair) in enumerate(visits.items()):
        pictures = [made.add_subplot(grid[row, column]) for row in range(2)]
        draw_visit(pictures, pair, labels > 0, box, middle, spacing)
        pictures[0].set_title(name)
    foot = made.add_axes((0.008, 0.0, 0.98, 0.22 / height))
    foot.set_axis_off()
    entries = {NAMES[name]: COLOURS[code] for name, code in CLASSES.items()}
    canvas.key(foot, entries, len(entries), loc="center left")
    canvas.save(made, output.picture)


def draw_visit(pictures, pair, inside, box, middle, spacing):
    """Draw scan and classes of a visit: a coronal and an axial slice of the lungs of the baseline.

    `inside` is the lung (z, y, x) within `box`; `middle` the axial and the coronal slice.
    """
    hu, classes = (images.array(images.canonical(image))[box] for image in pair)
    classes = np.where(inside, classes, 0)
    coronal, axial = (np.s_[::-1, middle[1]], spacing[::2]), (np.s_[middle[0]], spacing[1:])
    for axes, (cut, step), sides in zip(pictures, (coronal, axial), ("RLHF", "RLAP"), strict=True):
        canvas.picture(axes, hu[cut], step, canvas.LUNG_WINDOW_HU, sides, 50.0)
        for code, colour in COLOURS.items():
            canvas.fill(axes, classes[cut], step, {code: colour}, ALPHA[code])


def told(rows, visit):
    """Name a visit with its shares of small airways disease and emphysema."""
    row = rows[(rows["AVISIT"] == visit) & (rows["region"] == "all")].iloc[0]
    shares = (f"{NAMES[name]} {row[f'{name}_pct']:.1f} %" for name in ("fsad", "emphysema"))
    return f"{visit}: {', '.join(shares)}"


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
