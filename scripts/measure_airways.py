"""Measure lumen and wall of the airways of one inspiration, branch by branch."""

from lungitude import measuring, panels, tables
from lungitude.biomarkers.airways import airway_branches, airways_from_branches
from lungitude.job import job_log, write_empty


def main(job):
    """Write the measures of the tree, those of its branches, and their picture."""
    identity = dict(job.params.identity)

    def measure(image, labels):
        scale = measuring.airway_scale(job.input.record, job.input.baseline, job.params.psf_mm)
        branches = airway_branches(image, labels, **scale)
        tables.write(branches, job.output.branches, identity)
        if branches["lumen_diameter_mm"].notna().any():
            title = "   ".join(identity.values())
            panels.airway_fit_panel(image, branches, path=job.output.picture, title=title)
        else:
            write_empty(job.output.picture)
        return airways_from_branches(branches)

    measuring.run(job, "airways", measure)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
