"""Values of single patients and of single pairs of measurements, as figures of patients show them.

They are kept beside the results table, whose rows are statistics of groups. Each value has an
address: ANALYSISID|USUBJID|COMPARISON|READER|STAT, where STAT is the column that holds it.
"""

import numpy as np
import pandas as pd

from lungitude import tables
from lungitude.adam import flag_of
from lungitude.analysis.accuracy import MEASURED, TRUTH
from lungitude.analysis.agreement import comparisons, usable
from lungitude.analysis.common import ARM, chosen, scaled, transform_of

METHOD = "individual"
TEXT = "ANALYSISID METHOD PARAMCD AVISIT USUBJID TRT01P COMPARISON READER SOURCE".split()
VALUES = "AVAL BASE CHG RATIO REFERENCE MEAN DIFF".split()
KEY = "METHOD PARAMCD AVISIT USUBJID COMPARISON READER".split()


def individual(adsl, records, parameters, visits, strata=()):
    """List the values of each patient, as the analyses of groups use them.

    Parameters
    ----------
    adsl : DataFrame
    records : iterable of DataFrame
        BDS tables; rows with ANL01FL other than Y, or without a value, are left out.
    parameters : DataFrame
        PARAMCD and TRANSFORM.
    visits, strata : list of dict
        As in config.yaml.

    Returns
    -------
    DataFrame
        METHOD ``individual``. AVAL, and after the baseline: BASE, CHG (AVAL - BASE) and, of a
        parameter that is analysed on a log scale, RATIO (to the baseline, of value + 1 for log1p).
        SOURCE as in the BDS. Beside them the stratum columns and the flags of analysis sets of
        ADSL.

    Raises
    ------
    ValueError
        A patient has two values of a parameter at a visit.
    """
    first = next(visit["name"] for visit in visits if visit.get("baseline"))
    own = {visit["name"] for visit in visits}
    parts = [
        table.loc[
            (table["ANL01FL"] == "Y")
            & table["AVAL"].notna()
            & table["USUBJID"].isin(adsl["USUBJID"])
            & table["AVISIT"].isin(own),
            ["USUBJID", "PARAMCD", "AVISIT", "SOURCE", "AVAL"],
        ]
        for table in records
    ]
    known = pd.concat(parts, ignore_index=True)
    known["AVAL"] = known["AVAL"].astype(float)
    base = known.loc[known["AVISIT"] == first, ["USUBJID", "PARAMCD", "AVAL"]]
    base = base.drop_duplicates(["USUBJID", "PARAMCD"]).rename(columns={"AVAL": "BASE"})
    known = known.merge(base, how="left", on=["USUBJID", "PARAMCD"], validate="many_to_one")
    known.loc[known["AVISIT"] == first, "BASE"] = np.nan
    known["CHG"] = known["AVAL"] - known["BASE"]
    transforms = {name: transform_of(parameters, name) for name in known["PARAMCD"].unique()}
    for transform in sorted({*transforms.values()} - {"none"}):
        rows = known["PARAMCD"].map(transforms) == transform
        after, before = (scaled(known.loc[rows, name], transform) for name in ("AVAL", "BASE"))
        known.loc[rows, "RATIO"] = np.exp(after - before)
    arm = adsl.set_index("USUBJID")[ARM]
    known = known.assign(METHOD=METHOD, TRT01P=known["USUBJID"].map(arm))
    return _finished(known, adsl, visits, strata)


def pairs(adsl, reads, parameters, section, visits, strata=(), method="agreement"):
    """List the pairs of measurements that an analysis of agreement compares.

    Parameters
    ----------
    adsl, reads, parameters, section, strata
        As in `lungitude.analysis.agreement.agreement`; the arm is not looked at.
    visits : list of dict
        As in config.yaml.
    method : str
        Whose pairs they are.

    Returns
    -------
    DataFrame
        By COMPARISON: AVAL (the first of the two), REFERENCE (the second), their MEAN and their
        DIFF (AVAL - REFERENCE). READER, where each reader has a pair of repeats.
    """
    known, found = usable(adsl, reads), []
    for param in chosen(section.get("parameters", "all"), parameters):
        for name, table in comparisons(known.loc[known["PARAMCD"] == param]):
            found.append(table.assign(PARAMCD=param, COMPARISON=name))
    return _paired(found, adsl, visits, strata, method)


def pairs_with_truth(adsl, measurements, truth, section, visits, strata=()):
    """List what was measured on scans beside the truth that the scans were made from.

    Parameters
    ----------
    adsl, measurements, truth, section, strata
        As in `lungitude.analysis.accuracy.accuracy`.
    visits : list of dict

    Returns
    -------
    DataFrame
        As of `pairs`, of METHOD ``accuracy``.
    """
    scan = ["USUBJID", "AVISIT"]
    kept = measurements["AVAL"].notna() & measurements["USUBJID"].isin(adsl["USUBJID"])
    known = measurements.loc[kept & (measurements["SOURCE"] == "scan")]
    found = []
    for param, source in section["truth"].items():
        true = truth[scan].assign(y=truth[source["column"]] * source.get("factor", 1))
        mine = known.loc[known["PARAMCD"] == param, [*scan, "AVAL"]].rename(columns={"AVAL": "x"})
        table = mine.merge(true.dropna(), on=scan, validate="one_to_one")
        found.append(table.assign(PARAMCD=param, COMPARISON=f"{MEASURED} - {TRUTH}", READER=""))
    return _paired(found, adsl, visits, strata, "accuracy")


def _paired(found, adsl, visits, strata, method):
    found = [table for table in found if len(table)]
    if not found:
        return _finished(empty(), adsl, visits, strata)
    known = pd.concat(found, ignore_index=True).rename(columns={"x": "AVAL", "y": "REFERENCE"})
    known["MEAN"] = (known["AVAL"] + known["REFERENCE"]) / 2
    known["DIFF"] = known["AVAL"] - known["REFERENCE"]
    return _finished(known.assign(METHOD=method), adsl, visits, strata)


def empty():
    """Return a table without rows."""
    return pd.DataFrame({**{name: [] for name in TEXT}, **{name: [] for name in VALUES}})


def _finished(known, adsl, visits, strata):
    """Give the rows their address, the strata and the analysis sets of their patients."""
    places = {visit["name"]: visit["path"] for visit in visits}
    known = known.reindex(columns=[*TEXT, *VALUES])
    at = known["AVISIT"].map(places)
    if at.isna().any():
        name = known.loc[at.isna(), "AVISIT"].iloc[0]
        raise ValueError(f"individual values: visit {name!r} is not in config.yaml")
    prefix = known["METHOD"].where(known["METHOD"] == METHOD, METHOD + "." + known["METHOD"])
    known["ANALYSISID"] = prefix + "." + known["PARAMCD"] + "." + at
    known[TEXT] = known[TEXT].astype(object).fillna("")
    known[VALUES] = known[VALUES].astype(float)
    columns = [factor["column"] for factor in strata]
    columns += [name for name in adsl if name.endswith("FL") and name not in columns]
    of = adsl.set_index("USUBJID")[columns]
    for name in columns:
        known[name] = known["USUBJID"].map(of[name]).astype(object).fillna("").map(str)
    twice = known.duplicated(KEY)
    if twice.any():
        row = known.loc[twice].iloc[0]
        raise ValueError(
            f"individual values: two of {row['PARAMCD']} for {row['USUBJID']} at {row['AVISIT']}; "
            "an analysis takes one"
        )
    number = {name: place for place, name in enumerate(places)}
    order = pd.DataFrame({name: known[name] for name in KEY})
    order["AVISIT"] = order["AVISIT"].map(number)
    order["PARAMCD"] = pd.factorize(order["PARAMCD"])[0]
    return known.loc[order.sort_values(KEY, kind="stable").index].reset_index(drop=True)


def gather(parts):
    """Join the tables of patients and of pairs.

    Parameters
    ----------
    parts : list of DataFrame
        Of `individual`, `pairs` and `pairs_with_truth`.
    """
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else empty()


def run(job):
    """Write the individual values of a trial.

    Parameters
    ----------
    job : snakemake.script.Snakemake or a stand-in
        ``input``: adsl, adqct, adfun, parameters; with an analysis of agreement ``reads``, with one
        of accuracy ``measurements`` and ``truth``. ``params``: ``analyses`` (of plan.yaml),
        ``visits``, ``strata``. ``output``: individual.
    """
    params = job.params
    adsl = tables.read_parquet(job.input.adsl)
    parameters = tables.read(job.input.parameters)
    own = (params.visits, params.strata)
    records = [tables.read_parquet(job.input.adqct), tables.read_parquet(job.input.adfun)]
    parts = [individual(adsl, records, parameters, *own)]
    planned = params.analyses
    if "agreement" in planned and getattr(job.input, "reads", None):
        reads = tables.read(job.input.reads)
        parts.append(pairs(adsl, reads, parameters, planned["agreement"], *own))
    if "accuracy" in planned and getattr(job.input, "truth", None):
        measured, truth = tables.read(job.input.measurements), tables.read(job.input.truth)
        parts.append(pairs_with_truth(adsl, measured, truth, planned["accuracy"], *own))
    tables.write_parquet(gather(parts), job.output.individual)


def of_population(table, population):
    """Return the rows of the patients of an analysis set."""
    flag = flag_of(population)
    if flag not in table:
        raise ValueError(f"population {population!r}: the individual values have no flag {flag}")
    return table.loc[table[flag] == "Y"]
