"""Measure lumen and wall of the airways of one inspiration, branch by branch."""

from lungitude import measuring, panels, records, tables
from lungitude.biomarkers.airways import airway_branches, airways_from_branches
from lungitude.job import job_log, write_empty


def main(job):
    """Write the measures of the tree, those of its branches, and their picture."""
    identity = dict(job.params.identity)
    scale = {"psf_mm": job.params.psf_mm}

    def measure(image, labels):
        branches = airway_branches(image, labels, **(of_baseline(job) or scale))
        tables.write(branches, job.output.branches, identity)
        if branches["lumen_diameter_mm"].notna().any():
            title = "   ".join(identity.values())
            panels.airway_fit_panel(image, branches, path=job.output.picture, title=title)
        else:
            write_empty(job.output.picture)
        return airways_from_branches(branches)

    measuring.run(job, "airways", measure)


def of_baseline(job):
    """Return point spread and wall density of the baseline if it was scanned in the same way.

    Estimated anew at each visit they would take part of a change of the walls into themselves.
    """
    if not job.input.baseline:
        return None
    record, branches = job.input.baseline
    first, now = (records.read(path) for path in (record, job.input.record))
    if first["status"] != "ok" or protocol(first) != protocol(now):
        return None
    found = tables.read(branches)
    if not len(found):
        return None
    return {name: float(found[name].iloc[0]) for name in ("psf_mm", "wall_hu")}


def protocol(record):
    """Return what the point spread of a scan depends on."""
    names = ("manufacturer", "model", "kernel", "slice_mm")
    return record["spacing_mm"], *(record["tags"].get(name) for name in names)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
