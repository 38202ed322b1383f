"""Measure volumes and mass of the left ventricle over one cardiac cycle."""

from lungitude import measuring, panels_heart, tables
from lungitude.biomarkers.ventricle import ventricle, volume_curve
from lungitude.job import job_log, write_empty


def main(job):
    """Write the measures, the volume of each phase, and their picture."""
    identity = dict(job.params.identity)

    def measure(phases, labels):
        table = ventricle(labels)
        tables.write(volume_curve(labels), job.output.curve, identity)
        if table["lvm_g"].notna().all():
            title = "   ".join(identity.values())
            panels_heart.heart_panel(labels, phases, path=job.output.picture, title=title)
        else:
            write_empty(job.output.picture)
        return table

    measuring.run(job, "heart", measure, cycle=True)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
