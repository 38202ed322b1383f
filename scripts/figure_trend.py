"""Draw the change from baseline by visit and arm of one stratum."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.reporting import context, figure, figure_trend
from lungitude.reporting.results import Results


def main(job):
    """Write the figure as SVG, PNG and PDF."""
    trial = context.from_params(job.params, job.input.results)
    display = job.params.display
    frame = tables.read_parquet(job.input.results)
    found = Results(frame, trial.stratum["path"], trial.plan, display.get("population"))
    drawn = figure_trend.draw(found, trial, display)
    title = f"{display['title']}: {trial.stratum['label']}"
    figure.save(drawn, job.output.svg, job.output.png, job.output.pdf, title)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
