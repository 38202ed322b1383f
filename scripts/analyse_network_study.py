"""Put what the study of the network found on unseen patients into the results."""

from lungitude import tables
from lungitude.analysis import network_study
from lungitude.job import job_log

FILES = ("accuracy", "comparison", "explained", "architecture")


def main(job):
    """Write the results of the method, of those files that are there."""
    files = {name: job.input.get(name) for name in FILES if job.input.get(name)}
    results = network_study.network_study(**network_study.read(files))
    tables.write_parquet(results, job.output.results)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
