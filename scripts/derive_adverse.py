"""Derive the analysis data set of adverse events."""

import logging

from lungitude import safety, tables
from lungitude.job import job_log


def main(job):
    """Write ADAE as Parquet and as text, and log how many cells are missing."""
    adverse = tables.read(job.input.adverse, text=safety.TEXT)
    table = safety.adae(
        adverse, tables.read_parquet(job.input.adsl), job.params.strata, job.params.data_cut
    )
    log = logging.getLogger(__name__)
    for name in ("AEDECOD", "AEBODSYS", "AESTDTC", "AESEV", "AESER", "AEREL"):
        empty = int(adverse[name].isna().sum()) if name in adverse else len(adverse)
        log.info("%s: missing in %d of %d events", name, empty, len(adverse))
    tables.write_parquet(table, job.output.adae)
    tables.write(table, job.output.adae_tsv)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
