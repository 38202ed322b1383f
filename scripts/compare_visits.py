"""Measure the same branches and the same regions of the lungs at each visit of one patient."""

import logging
from pathlib import Path

import pandas as pd

from lungitude import images, records, registration, tables
from lungitude.biomarkers import regions
from lungitude.biomarkers.airway_match import follow
from lungitude.biomarkers.airways import airways_from_branches
from lungitude.biomarkers.parenchyma import parenchyma
from lungitude.job import job_log
from lungitude.segmentation import LOBES

log = logging.getLogger("compare_visits")


def main(job):
    """Write density and airways of each visit, as they compare with the baseline.

    Without a usable baseline there is nothing to compare with, and no row; a follow-up that could
    not be registered has none either.
    """
    visits = {visit["path"]: visit["name"] for visit in job.params.visits}
    baseline = next(visit["path"] for visit in job.params.visits if visit["baseline"])
    transforms = {
        Path(path).parent.name.removesuffix("_to_baseline"): registration.read(path)
        for path, record in zip(job.input.transforms, job.input.registrations, strict=True)
        if not records.excluded(record)
    }
    names = ("images", "lungs", "lungs_records", "branches")
    files = {name: by_visit(job.input[name], visits) for name in names}
    for name, measure in (("parenchyma", densities), ("airways", airways)):
        found = measure(files, baseline, transforms)
        rows = [
            pd.DataFrame(
                {"USUBJID": job.params.subject, "AVISIT": visits[visit], "SERIES": "subject"},
                index=table.index,
            ).join(table)
            for visit, table in found.items()
        ]
        tables.write(pd.concat(rows) if rows else pd.DataFrame({"region": []}), job.output[name])


def by_visit(paths, visits):
    """Return the files that are not empty, by the visit whose folder they lie in."""
    return {
        next(part for part in reversed(Path(path).parts) if part in visits): path
        for path in paths
        if Path(path).stat().st_size
    }


def densities(files, baseline, transforms):
    """Density at the volume of the baseline, in the regions of the baseline: lobes, else thirds."""
    if baseline not in files["lungs"] or baseline not in files["images"]:
        return {}
    image = images.read(files["images"][baseline])
    lungs = images.read_labels(files["lungs"][baseline], like=image)
    if records.read(files["lungs_records"][baseline])["scheme"] == "lobes":
        cut, codes = lungs, LOBES
    else:
        cut, codes = regions.thirds(lungs), regions.THIRDS
    whole = parenchyma(image, lungs)
    parts = parenchyma(image, cut, codes)
    reference = pd.concat([whole, parts.iloc[1:]]).set_index("region")["volume_ml"]
    found = {}
    for visit, path in files["images"].items():
        carried = cut
        if visit != baseline:
            if visit not in transforms or visit not in files["lungs"]:
                continue
            image = images.read(path)
            lungs = images.read_labels(files["lungs"][visit], like=image)
            back = transforms[visit].inverse()
            carried = back.resample(cut, like=image, interpolator="nearest")
            inside = images.array(carried) * (images.array(lungs) > 0)
            carried = images.from_array(inside, image)
        whole = parenchyma(image, lungs, reference_volume_ml=reference)
        parts = parenchyma(image, carried, codes, reference_volume_ml=reference)
        found[visit] = pd.concat([whole, parts.iloc[1:]], ignore_index=True)
    return found


def airways(files, baseline, transforms):
    """Airways of the baseline, and their change over the branches that a follow-up shows, too.

    The baseline keeps all its branches, so that its values don't depend on later visits; a
    follow-up is the baseline plus the change over the branches that are measured at both, and says
    how well the registration brings the branches together.
    """
    if baseline not in files["branches"]:
        return {}
    first = tables.read(files["branches"][baseline])
    own = airways_from_branches(first)
    found = {baseline: own.assign(n_matched=own["n_branches"])}
    for visit, transform in transforms.items():
        if visit not in files["branches"]:
            continue
        table = follow(first, tables.read(files["branches"][visit]), transform)
        flag = table["registration_flag"].iloc[0]
        if flag:
            log.warning("%s: %s", visit, flag)
        found[visit] = table
    return found


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
