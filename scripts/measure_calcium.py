"""Score the coronary calcium of one scan without contrast."""

from lungitude import images, measuring, panels_heart
from lungitude.biomarkers.agatston import agatston
from lungitude.job import job_log, write_empty


def main(job):
    """Write one row a vessel, and the picture of the lesions."""

    def measure(image, labels):
        if images.array(labels).any():
            title = "   ".join(job.params.identity.values())
            panels_heart.calcium_panel(image, labels, path=job.output.picture, title=title)
        else:
            write_empty(job.output.picture)
        return agatston(image, labels)

    measuring.run(job, "coronary", measure)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
