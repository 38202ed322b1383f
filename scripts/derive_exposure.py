"""Derive the analysis data set of sessions planned and attended."""

import logging

from lungitude import safety, tables
from lungitude.job import job_log


def main(job):
    """Write ADEX as Parquet and as text, and log whose attendance is not known."""
    adsl = tables.read_parquet(job.input.adsl)
    sessions = tables.read(job.input.sessions, text=["PERIOD"])
    table = safety.adex(sessions, adsl, job.params.strata, job.params.data_cut)
    share = table.loc[(table["PARAMCD"] == "ADHER") & table["AVAL"].notna(), "USUBJID"]
    randomised = adsl.loc[adsl["TRT01P"].notna(), "USUBJID"]
    logging.getLogger(__name__).info(
        "%d of %d randomised patients have no known adherence",
        (~randomised.isin(share)).sum(),
        len(randomised),
    )
    tables.write_parquet(table, job.output.adex)
    tables.write(table, job.output.adex_tsv)


if __name__ == "__main__":
    with job_log(snakemake):
        main(snakemake)
