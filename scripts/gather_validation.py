"""Put the simulated blocks into one table of operating characteristics, and its document."""

import pandas as pd

from lungitude import tables
from lungitude.job import job_log, whole
from lungitude.validation import summary
from lungitude.validation.scenarios import BLOCKS, SCENARIOS


def main(job):
    """Write the table and the document; the blocks are given scenario by scenario."""
    paths, parts = iter(job.input), []
    for name, scenario in SCENARIOS.items():
        count, _ = BLOCKS[scenario.kind]
        blocks = [tables.read_parquet(next(paths)) for _ in range(count)]
        found = summary.summarise(pd.concat(blocks, ignore_index=True))
        parts.append(found.assign(scenario=name))
    table = pd.concat(parts, ignore_index=True)[summary.COLUMNS]
    tables.write(table, job.output.table)
    with whole(job.output.document) as part:
        part.write_text(summary.document(tables.read(job.output.table)), encoding="utf-8")


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
