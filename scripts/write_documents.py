"""Write the report of one stratum as Word, RTF, LaTeX and PDF."""

from lungitude import tables
from lungitude.job import job_log
from lungitude.reporting import context, document, latex, pdf, rtf, word
from lungitude.reporting.results import Results

WRITERS = {"docx": word.write, "rtf": rtf.write, "tex": latex.write, "pdf": pdf.write}


def main(job):
    """Write each format from one document."""
    trial = context.from_params(job.params, job.input.results)
    frame = tables.read_parquet(job.input.results)
    found = Results(frame, trial.stratum["path"], trial.plan)
    made = document.of_folder(found, trial, job.input.displays, dict(job.params.versions))
    for name, write in WRITERS.items():
        write(made, getattr(job.output, name))


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
