"""Draw the flow of patients and scans of one stratum."""

from lungitude.job import job_log
from lungitude.reporting import figure, figure_flow


def main(job):
    """Write the figure as SVG, PNG and PDF."""
    figure.write(job, figure_flow.draw)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
