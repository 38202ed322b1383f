"""What ADaM calls the analysis data sets: their classes, keys, labels, codes and origins.

The names are those of the implementation guide ADaMIG 1.3 and, of adverse events, of ADaM's
structure for occurrences and SDTM AE. What a trial names itself comes from config.yaml.
"""

from dataclasses import dataclass

from lungitude.safety import EVENT, EXPOSURE, NOT_CODED


@dataclass(frozen=True)
class DataSet:
    """A data set: its label, its ADaM class and subclass, and the variables that name a record."""

    label: str
    structure: str
    keys: tuple[str, ...]
    subclass: str = ""


BDS = "BASIC DATA STRUCTURE"
BDS_KEYS = ("USUBJID", "PARAMCD", "AVISITN")
# In the order of export; a trial without sessions or adverse events has no ADEX or ADAE.
DATASETS = {
    "ADSL": DataSet("Subject-Level Analysis Dataset", "SUBJECT LEVEL ANALYSIS DATASET",
                    ("USUBJID",)),
    "ADQCT": DataSet("Analysis Dataset of Quantitative CT", BDS, BDS_KEYS),
    "ADFUN": DataSet("Analysis Dataset of Function", BDS, BDS_KEYS),
    "ADEX": DataSet("Analysis Dataset of Exposure", BDS, ("USUBJID", "PARAMCD")),
    "ADAE": DataSet("Analysis Dataset of Adverse Events", "OCCURRENCE DATA STRUCTURE",
                    ("USUBJID", "AESEQ"), "ADVERSE EVENT"),
}  # fmt: skip
LABELS = {
    "STUDYID": "Study Identifier",
    "USUBJID": "Unique Subject Identifier",
    "SITE": "Site",
    "TRT01P": "Planned Treatment for Period 01",
    "TRT01PN": "Planned Treatment for Period 01 (N)",
    "AGE": "Age",
    "SEX": "Sex",
    "RANDDT": "Date of Randomization",
    "ITTFL": "Intent-To-Treat Population Flag",
    "SAFFL": "Safety Population Flag",
    "PPROTFL": "Per-Protocol Population Flag",
    "EOSSTT": "End of Study Status",
    "EOSDT": "End of Study Date",
    "DCSREAS": "Reason for Discontinuation from Study",
    "PARAMCD": "Parameter Code",
    "PARAM": "Parameter",
    "PARAMN": "Parameter (N)",
    "AVISIT": "Analysis Visit",
    "AVISITN": "Analysis Visit (N)",
    "ADT": "Analysis Date",
    "ADY": "Analysis Relative Day",
    "AVAL": "Analysis Value",
    "AVALU": "Analysis Value Unit",
    "BASE": "Baseline Value",
    "CHG": "Change from Baseline",
    "PCHG": "Percent Change from Baseline",
    "ABLFL": "Baseline Record Flag",
    "ANL01FL": "Analysis Flag 01",
    "DTYPE": "Derivation Type",
    "SOURCE": "Source of the Value",
    "RFSTDT": "Subject Reference Start Date",
    "ASEQ": "Analysis Sequence Number",
    "VISIT": "Visit Name",
    "AWTARGET": "Analysis Window Target",
    "AWTDIFF": "Analysis Window Diff from Target",
    "AWLO": "Analysis Window Beginning Timepoint",
    "AWHI": "Analysis Window Ending Timepoint",
    "AWRANGE": "Analysis Window Valid Relative Range",
    "AWU": "Analysis Window Unit",
    "ANLREAS": "Reason Record Is Not Analyzed",
    "AESEQ": "Sequence Number",
    "AETERM": "Reported Term for the Adverse Event",
    "AEDECOD": "Dictionary-Derived Term",
    "AEBODSYS": "Body System or Organ Class",
    "AESTDTC": "Start Date/Time of Adverse Event",
    "AEENDTC": "End Date/Time of Adverse Event",
    "AESTDY": "Study Day of Start of Adverse Event",
    "AEENDY": "Study Day of End of Adverse Event",
    "AESEV": "Severity/Intensity",
    "AESER": "Serious Event",
    "AEREL": "Causality",
    "AEACN": "Action Taken with Study Treatment",
    "AEOUT": "Outcome of Adverse Event",
    "ASTDT": "Analysis Start Date",
    "ASTDY": "Analysis Start Relative Day",
    "AREL": "Analysis Causality",
    "TRTEMFL": "Treatment Emergent Analysis Flag",
}


@dataclass(frozen=True)
class CodeList:
    """The values that a variable can have.

    Attributes
    ----------
    name : str
    items : tuple of (str, str)
        Each value and what it means; nothing where the value says it.
    code : str
        Of CDISC's controlled terminology in the NCI thesaurus; "" for a list of the trial's own.
    """

    name: str
    items: tuple[tuple[str, str], ...]
    code: str = ""


def _list(name, values, code=""):
    return CodeList(name, tuple((value, "") for value in values), code)


# The package of CDISC's controlled terminology that has the lists with a code.
TERMINOLOGY = "2023-12-15"
YES_NO = CodeList("No Yes Response", (("N", "No"), ("Y", "Yes")), "C66742")
CODES = {
    "AESER": YES_NO,
    "AREL": YES_NO,
    "AESEV": _list(
        "Severity/Intensity Scale for Adverse Events", ("MILD", "MODERATE", "SEVERE"), "C66769"
    ),
    "AEREL": _list(
        "Causality",
        (
            "N",
            "NOT RELATED",
            "UNLIKELY RELATED",
            "Y",
            "POSSIBLY RELATED",
            "PROBABLY RELATED",
            "DEFINITELY RELATED",
            "RELATED",
        ),
    ),
    "AEACN": _list(
        "Action Taken with Study Treatment",
        (
            "DOSE INCREASED",
            "DOSE NOT CHANGED",
            "DOSE REDUCED",
            "DRUG INTERRUPTED",
            "DRUG WITHDRAWN",
            "NOT APPLICABLE",
            "UNKNOWN",
        ),
        "C66767",
    ),
    "AEOUT": _list(
        "Outcome of Event",
        (
            "FATAL",
            "NOT RECOVERED/NOT RESOLVED",
            "RECOVERED/RESOLVED",
            "RECOVERED/RESOLVED WITH SEQUELAE",
            "RECOVERING/RESOLVING",
            "UNKNOWN",
        ),
        "C66768",
    ),
}
# How each variable of ADEX and ADAE that is no other data set's is made of the sheets.
METHODS = {
    ("ADEX", "AVAL"): (
        "By PARAMCD, over the rows of sessions.tsv of a patient that are not after the data cut. "
        "NSESSPL: sum of PLANNED. NSESSUN: sum of PLANNED of the rows without ATTENDED. "
        "NSESSAT: sum of ATTENDED, missing where NSESSUN is above 0. ADHER: 100 NSESSAT / "
        "NSESSPL, missing where NSESSAT is missing or NSESSPL is 0."
    ),
    ("ADAE", "AESEQ"): (
        "AESEQ of adverse.tsv; where it has none, the number of the row within the patient."
    ),
    ("ADAE", "AEDECOD"): "AEDECOD of adverse.tsv; where it is empty, AETERM.",
    ("ADAE", "AEBODSYS"): f"AEBODSYS of adverse.tsv; where it is empty, '{NOT_CODED}'.",
    ("ADAE", "ASTDT"): "AESTDTC where it is a whole date; else missing.",
    ("ADAE", "ASTDY"): (
        "ASTDT - ADSL.RANDDT, plus 1 from the day of randomisation on; where ASTDT or RANDDT is "
        "missing, AESTDY."
    ),
    ("ADAE", "AREL"): (
        "N where AEREL is N, NOT RELATED or UNLIKELY RELATED; Y for its other values; missing "
        "where AEREL is."
    ),
    ("ADAE", "TRTEMFL"): (
        "N where ASTDY is below 1 or, ASTDY being missing, the last day that AESTDTC can mean is "
        "before ADSL.RANDDT; else Y, also where the start is not known."
    ),
    ("ADAE", "ANL01FL"): (
        "N where the first day that AESTDTC can mean or, AESTDTC being missing, the day that "
        "AESTDY tells is after the data cut; else Y."
    ),
}
ASSIGNED = {("ADEX", name) for name in ("PARAMCD", "PARAM", "PARAMN")}


def codes_of(dataset, name, frame, own):
    """Return the list of codes of a variable, or None where it has none.

    Parameters
    ----------
    dataset, name : str
    frame : DataFrame
        The data set, which tells what a parameter is called.
    own : dict of str to CodeList
        Of the trial's own variables, from `own_codes`.
    """
    if name in own:
        return own[name]
    if name.endswith("FL") and set(frame[name].dropna()) <= {"Y", "N", ""}:
        return YES_NO
    if name == "PARAMCD" and dataset == "ADEX":
        return CodeList("Parameters of ADEX", tuple(EXPOSURE.items()))
    if name == "PARAMCD":
        pairs = frame[["PARAMCD", "PARAM"]].drop_duplicates().itertuples(index=False, name=None)
        return CodeList(f"Parameters of {dataset}", tuple(pairs)) if len(frame) else None
    return CODES.get(name)


def own_codes(arms, columns):
    """Return the lists of codes of a trial's own variables.

    Parameters
    ----------
    arms : list of dict
        Of config.yaml: ``code``, ``label``.
    columns : list of dict
        Of config.yaml, characteristics and strata; one without levels has no list.

    Returns
    -------
    dict of str to CodeList
    """
    found = {}
    if arms:
        numbers = tuple((str(number), arm["label"]) for number, arm in enumerate(arms, start=1))
        codes = tuple((arm["code"], arm["label"]) for arm in arms)
        found["TRT01P"] = CodeList(LABELS["TRT01P"], codes)
        found["TRT01PN"] = CodeList(LABELS["TRT01PN"], numbers)
    for item in columns:
        levels = item.get("levels") or {}
        if not isinstance(levels, dict):
            levels = {level["value"]: level.get("label") or level["value"] for level in levels}
        if levels:
            items = tuple((str(value), str(label)) for value, label in levels.items())
            found.setdefault(item["column"], CodeList(item.get("label", item["column"]), items))
    return found


def origin_of(dataset, name, known):
    """Return where a variable comes from: the type of origin of define.xml, and what is told of it.

    Parameters
    ----------
    dataset, name : str
    known : container of str
        Variables of ADSL, which the other data sets have from it.
    """
    if (dataset, name) in METHODS:
        return "Derived", ""
    if (dataset, name) in ASSIGNED:
        return "Assigned", ""
    if dataset != "ADSL" and name in known:
        return "Predecessor", f"ADSL.{name}"
    if dataset == "ADAE" and name in EVENT:
        return "Predecessor", f"AE.{name}"
    return "Derived", ""
