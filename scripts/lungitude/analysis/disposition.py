"""Flow of patients and scans through the trial."""

import re

import numpy as np
import pandas as pd

from lungitude.adam import FLAGS, analysed
from lungitude.analysis.common import TOTAL, Cohort
from lungitude.results import Rows
from lungitude.screening import counts as screening_counts
from lungitude.windows import outside

METHOD = "disposition"


def short_reason(reason):
    """Reason of an exclusion without its particulars: what stands before ``:``, ``;`` or ``(``."""
    text = re.split(r"[:;(]", str(reason), maxsplit=1)[0].strip()
    return text or "no reason recorded"


def disposition(
    adsl,
    records,
    scans,
    section,
    arms,
    visits,
    strata=(),
    primary=None,
    data_cut=None,
    screening=None,
):
    """Count patients and scans by stage, arm and stratum.

    Parameters
    ----------
    adsl : DataFrame
    records : list of DataFrame
        BDS tables.
    scans : DataFrame or None
        One row a scan: USUBJID AVISIT status reason.
    section : dict
        Of plan.yaml: population.
    arms, visits, strata : list of dict
        As in config.yaml.
    primary : dict, optional
        Of plan.yaml: parameter, visit; response CHG (default) or AVAL, so that the count is that
        of the efficacy table.
    data_cut : str, optional
        ISO date.
    screening : DataFrame, optional
        screening.tsv: who was assessed for eligibility.

    Returns
    -------
    DataFrame
        Results table of STAT n, N being the patients of the group. LEVEL without a visit, with
        STAT pct of the patients randomised: randomised (n alone), without:<FACTOR>
        (of no level of a stratum factor, where there is such a patient), discontinued,
        discontinued:<REASON>, completed, ongoing, set:<POPULATION> (in that analysis set), analysed
        (has the endpoint of the primary analysis; who of them is in its model is the N of that
        analysis).
        With screening, of all patients and arms together, STAT pct of those assessed: assessed (n
        alone), not_randomised, not_randomised:<REASON>, awaiting.
        With visit windows, in records of measurements: records (all that were collected),
        records_analysed, records_moved (of these, at another visit than was named),
        records_outside (of these, outside the window of their visit) and
        records_left_out:<reason>.
        By visit: expected (randomised, not discontinued before
        the planned day, and due at the data cut; who came is expected), attended, and with scans
        scans_expected, scans_evaluable, scans_excluded, scans_excluded:<reason>.
    """
    cohort = Cohort(adsl, records, section.get("population", "ITT"), arms, visits, strata)
    rows = Rows(METHOD, cohort.population)
    who = cohort.patients
    stages = {"randomised": who["TRT01P"].notna(), "discontinued": who["EOSSTT"] == "DISCONTINUED"}
    for reason in sorted(set(who.loc[stages["discontinued"], "DCSREAS"])):
        stages[f"discontinued:{reason}"] = stages["discontinued"] & (who["DCSREAS"] == reason)
    stages["completed"] = who["EOSSTT"] == "COMPLETED"
    stages["ongoing"] = who["EOSSTT"] == "ONGOING"
    for name, column in FLAGS.items():
        if column in who:
            stages[f"set:{name}"] = who[column] == "Y"
    if primary:
        endpoint = cohort.response(
            primary["parameter"], primary["visit"], primary.get("response", "CHG")
        )
        stages["analysed"] = pd.Series(~np.isnan(endpoint), index=who.index)
    for factor in strata:
        if who[factor["column"]].isna().any():  # in no report of a level, and in no model with it
            stages[f"without:{factor['column']}"] = who[factor["column"]].isna()
    counts = {("", level): flag.to_numpy(dtype=float) for level, flag in stages.items()}
    counts.update(_of_records(who, records))
    for visit in visits:
        counts.update(_of_visit(cohort, visit, scans, data_cut))
    for stratum, _, mask in cohort.strata():
        groups = cohort.groups(mask)
        for (visit, level), count in counts.items():
            for group, member in groups.items():
                values = {"n": count[member].sum()}
                base = counts["", "randomised"][member].sum()
                if not visit and level in stages and level != "randomised" and base:
                    values["pct"] = 100 * values["n"] / base
                rows.add(
                    values,
                    int(member.sum()),
                    visit=visit,
                    place=cohort.places.get(visit, ""),
                    stratum=stratum,
                    group=group,
                    level=level,
                )
    if screening is not None:
        _add_screening(rows, screening, adsl, cohort, data_cut)
    return rows.frame()


def _add_screening(rows, screening, adsl, cohort, data_cut):
    """Add how many were assessed, and what became of those who were not randomised."""
    since = adsl["TRT01P"].notna() & (analysed(adsl["RANDDT"], data_cut) == "Y")
    counted = screening_counts(screening, adsl.loc[since, "USUBJID"], data_cut)
    size = counted["assessed"]
    for level, number in counted.items():
        values = {"n": number}
        if level != "assessed" and size:
            values["pct"] = 100 * number / size
        rows.add(values, size, group=TOTAL if len(cohort.arms) > 1 else cohort.arms[0], level=level)


def _of_records(who, records):
    """Count the records of each patient by what became of them; nothing without visit windows."""
    parts = [table for table in records if "ANLREAS" in table]
    if not parts:
        return {}
    table = pd.concat(parts, ignore_index=True)
    table = table.loc[table["DTYPE"] == ""]  # a mean of several was not collected
    used = table["ANL01FL"] == "Y"
    moved = table["VISIT"].notna() & (table["VISIT"] != table["AVISIT"])
    parts = {
        "records": table,
        "records_analysed": table.loc[used],
        "records_moved": table.loc[used & moved],
        "records_outside": table.loc[used & outside(table)],
    }
    for reason in sorted(set(table["ANLREAS"]) - {""}):
        parts[f"records_left_out:{reason}"] = table.loc[table["ANLREAS"] == reason]
    return {
        ("", level): who["USUBJID"].map(part.groupby("USUBJID").size()).fillna(0).to_numpy(float)
        for level, part in parts.items()
    }


def _of_visit(cohort, visit, scans, data_cut):
    """Count scans and attendance of each patient at one visit, by (visit, level)."""
    name, who = visit["name"], cohort.patients
    attended = np.zeros(len(who), dtype=bool)
    for (_, at), values in cohort.measured.items():
        if at == name:
            attended |= ~np.isnan(values)
    expected = np.ones(len(who), dtype=bool)
    if "day" in visit:
        day_one = who["RFSTDT"] if "RFSTDT" in who else who["RANDDT"]
        planned = pd.to_datetime(day_one) + pd.Timedelta(days=visit["day"] - 1)
        expected &= ~(pd.to_datetime(who["EOSDT"]) < planned).to_numpy()
        if data_cut is not None:
            expected &= ~(planned > pd.Timestamp(data_cut)).to_numpy()
    found = {}
    if scans is not None and len(scans):
        here = scans.loc[scans["AVISIT"] == name]
        attended |= who["USUBJID"].isin(here["USUBJID"]).to_numpy()
        if len(here):
            bad = here.loc[here["status"] == "excluded"]
            parts = {
                "scans_expected": here,
                "scans_evaluable": here.drop(bad.index),
                "scans_excluded": bad,
            }
            reasons = bad["reason"].map(short_reason)
            parts.update(
                {
                    f"scans_excluded:{reason}": bad.loc[reasons == reason]
                    for reason in sorted(set(reasons))
                }
            )
            for level, part in parts.items():
                number = part.groupby("USUBJID").size()
                found[name, level] = who["USUBJID"].map(number).fillna(0).to_numpy(dtype=float)
    first = {
        (name, "expected"): (expected | attended).astype(float),
        (name, "attended"): attended.astype(float),
    }
    return {**first, **found}
