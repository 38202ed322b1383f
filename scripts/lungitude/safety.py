"""Analysis data sets of adherence (ADEX) and of adverse events (ADAE), in ADaM form.

Like the other data sets they take arm, stratum and analysis sets from ADSL: no sheet that they are
made of knows an arm.
"""

import pandas as pd

from lungitude.adam import analysed, attendance, study_day

# PARAMCD and PARAM of ADEX in their order.
EXPOSURE = {
    "NSESSPL": "Sessions planned",
    "NSESSAT": "Sessions attended",
    "NSESSUN": "Sessions planned without a record of attendance",
    "ADHER": "Sessions attended of those planned (%)",
}
# Columns of adverse.tsv that ADAE holds, beside USUBJID and AESEQ.
EVENT = (
    "AETERM AEDECOD AEBODSYS AESTDTC AEENDTC AESTDY AEENDY AESEV AESER AEREL AEACN AEOUT".split()
)
NUMBERS = ("AESEQ", "AESTDY", "AEENDY")
# What ADAE makes of them.
DERIVED = ("ASTDT", "ASTDY", "AREL", "TRTEMFL", "ANL01FL")
# They are text even where all their cells look like numbers: a year alone, a term such as 1.
TEXT = [name for name in EVENT if name not in NUMBERS]
NOT_CODED = "Not coded"
# Whether a relation to the intervention counts as one (AREL).
RELATED = {
    **dict.fromkeys(("N", "NOT RELATED", "UNLIKELY RELATED"), "N"),
    **dict.fromkeys(
        ("Y", "POSSIBLY RELATED", "PROBABLY RELATED", "DEFINITELY RELATED", "RELATED"), "Y"
    ),
}


def adex(sessions, adsl, strata=(), data_cut=None):
    """Derive ADEX, one row a patient x parameter.

    Parameters
    ----------
    sessions : DataFrame
        sessions.tsv: USUBJID PERIOD PLANNED ATTENDED, optionally ADT.
    adsl : DataFrame
        From `adam.adsl`.
    strata : list of dict
        As in config.yaml.
    data_cut : str, optional
        ISO date; later sessions do not count.

    Returns
    -------
    DataFrame
        STUDYID USUBJID TRT01P TRT01PN, strata, flags of analysis sets, PARAMCD PARAM PARAMN AVAL;
        of the patients who have a row in the sheet, sorted by USUBJID and PARAMN. AVAL is missing
        where `adam.attendance` says so.

    Raises
    ------
    ValueError
        For patients whom ADSL does not have.
    """
    _known(sessions, adsl, "sessions.tsv")
    wide = attendance(sessions, data_cut).reset_index()
    parts = [
        wide[["USUBJID"]].assign(PARAMCD=code, PARAM=name, PARAMN=number, AVAL=wide[code])
        for number, (code, name) in enumerate(EXPOSURE.items(), start=1)
    ]
    return _joined(pd.concat(parts), adsl, strata, ["PARAMCD", "PARAM", "PARAMN", "AVAL"])


def adae(adverse, adsl, strata=(), data_cut=None):
    """Derive ADAE, one row an adverse event.

    Parameters
    ----------
    adverse : DataFrame
        adverse.tsv: USUBJID AETERM, and what it has of the other columns of `EVENT`, as text but
        for `NUMBERS`.
    adsl : DataFrame
        From `adam.adsl`.
    strata : list of dict
        As in config.yaml.
    data_cut : str, optional
        ISO date; ANL01FL is N for events that began later.

    Returns
    -------
    DataFrame
        STUDYID USUBJID TRT01P TRT01PN, strata, flags of analysis sets, AESEQ, `EVENT` and
        `DERIVED`; sorted by USUBJID and AESEQ. AEDECOD is AETERM where the sheet has no
        term, AEBODSYS "Not coded" where it has no class. ASTDT is the start where its day is
        known, ASTDY its study day, else AESTDY. TRTEMFL is N only for events that certainly began
        before the day of randomisation: an unknown start counts as emergent.

    Raises
    ------
    ValueError
        For patients whom ADSL does not have.
    """
    _known(adverse, adsl, "adverse.tsv")
    table = adverse.reindex(columns=["USUBJID", "AESEQ", *EVENT]).reset_index(drop=True)
    order = table.groupby("USUBJID").cumcount() + 1
    table["AESEQ"] = table["AESEQ"].fillna(order).astype("Int64")
    for name in ("AESTDY", "AEENDY"):
        table[name] = table[name].astype("Float64").astype("Int64")
    table = table.astype(dict.fromkeys(TEXT, object))
    table["AEDECOD"] = table["AEDECOD"].where(table["AEDECOD"].notna(), table["AETERM"])
    table["AEBODSYS"] = table["AEBODSYS"].where(table["AEBODSYS"].notna(), NOT_CODED)
    randomised = pd.to_datetime(table["USUBJID"].map(adsl.set_index("USUBJID")["RANDDT"]))
    first, last = _bounds(table["AESTDTC"])
    day = (first == last) & first.notna()
    table["ASTDT"] = table["AESTDTC"].where(day)
    own = study_day(first.where(day), randomised)
    table["ASTDY"] = own.where(own.notna(), table["AESTDY"])
    before = (table["ASTDY"] < 1).fillna(False).astype(bool)
    before |= table["ASTDY"].isna() & (last < randomised)
    table["AREL"] = table["AEREL"].map(RELATED).astype(object)
    table["TRTEMFL"] = before.map({True: "N", False: "Y"})
    # A study day stands for the date where only it is known.
    days = table["AESTDY"].astype("Float64").astype(float)
    told = randomised + pd.to_timedelta(days - (days > 0), unit="D")
    table["ANL01FL"] = analysed(first.where(first.notna(), told), data_cut)
    return _joined(table, adsl, strata, ["AESEQ", *EVENT, *DERIVED])


def _bounds(dates):
    """Return the first and the last day that a whole or partial date can mean."""
    text = dates.astype(object)
    parts = text.str.count("-")
    padded = text.where(parts != 1, text + "-01").where(parts != 0, text + "-01-01")
    first = pd.to_datetime(padded, format="%Y-%m-%d")
    last = first.where(parts != 1, first + pd.offsets.MonthEnd(0))
    return first, last.where(parts != 0, first + pd.offsets.YearEnd(0))


def _known(table, adsl, sheet):
    unknown = table.loc[~table["USUBJID"].isin(adsl["USUBJID"]), "USUBJID"]
    if len(unknown):
        names = ", ".join(dict.fromkeys(map(str, unknown.head(20))))
        raise ValueError(f"{sheet}: patient {names} is not in subjects.tsv")


def _joined(table, adsl, strata, columns):
    """Join arm, strata and flags to the rows of a data set, and sort it."""
    flags = [name for name in adsl.columns if name.endswith("FL")]
    own = ["STUDYID", "TRT01P", "TRT01PN", *(factor["column"] for factor in strata), *flags]
    own = list(dict.fromkeys(own))
    table = table.merge(adsl[["USUBJID", *own]], on="USUBJID", how="left", validate="many_to_one")
    order = ["USUBJID", "PARAMN" if "PARAMN" in columns else "AESEQ"]
    table = table.sort_values(order, kind="stable", ignore_index=True)
    return table[[own[0], "USUBJID", *own[1:], *columns]]
