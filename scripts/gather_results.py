"""Join the results of all methods, and adjust p values by the families of the plan."""

import yaml

from lungitude import results, tables
from lungitude.job import job_log, whole


def main(job):
    """Write the results table as Parquet and as text, and the plan beside it."""
    parts = [tables.read_parquet(path) for path in job.input]
    plan = job.params.plan
    table = results.gather(parts, plan.get("families"), results.planned_populations(plan))
    tables.write_parquet(table, job.output.results)
    tables.write(table, job.output.results_tsv)
    # The plan as it was run, with its defaults: `lungitude compare` holds it against another.
    with whole(job.output.plan) as part:
        text = yaml.safe_dump(dict(plan), sort_keys=False, allow_unicode=True)
        part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
