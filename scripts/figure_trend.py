"""Draw the change from baseline by visit and arm of one stratum."""

from lungitude.job import job_log
from lungitude.reporting import figure, figure_trend


def main(job):
    """Write the figure as SVG, PNG and PDF."""
    figure.write(job, figure_trend.draw)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
