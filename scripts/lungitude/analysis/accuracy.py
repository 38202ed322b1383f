"""What was measured on synthetic scans against the truth that they were made from."""

import pandas as pd

from lungitude.analysis.agreement import agreement

METHOD = "accuracy"
MEASURED, TRUTH = "measured", "truth"  # their order makes differences measured - truth


def accuracy(adsl, measurements, truth, parameters, section, strata=(), confidence=0.95):
    """Compare the measurements of scans with the sheet that a phantom was made from.

    Parameters
    ----------
    adsl : DataFrame
        USUBJID and the stratum columns; the arm is not looked at.
    measurements : DataFrame
        As measurements.tsv; values that came from a sheet (another SOURCE than ``scan``) are left
        out.
    truth : DataFrame
        The phantom's sheet: USUBJID AVISIT and a column a quantity.
    parameters : DataFrame
    section : dict
        Of plan.yaml: ``truth``, by PARAMCD the ``column`` of the sheet and the ``factor`` that
        brings it to the unit of the parameter.
    strata : list of dict
        As in config.yaml.
    confidence : float

    Returns
    -------
    DataFrame
        Results table of METHOD ``accuracy``, COMPARISON ``measured - truth``; STAT as in
        `agreement`: r, rmse, bias, limits, icc_a1 and more. N is the scans.
    """
    found = measurements.loc[measurements["SOURCE"] == "scan"]
    parts = []
    for param, source in section["truth"].items():
        mine = found.loc[(found["PARAMCD"] == param) & found["AVAL"].notna()]
        keys = mine[["USUBJID", "AVISIT"]]
        true = keys.merge(truth, on=["USUBJID", "AVISIT"], how="inner")
        true = true[["USUBJID", "AVISIT"]].assign(AVAL=true[source["column"]] * source["factor"])
        for name, values in ((MEASURED, mine[["USUBJID", "AVISIT", "AVAL"]]), (TRUTH, true)):
            parts.append(values.assign(PARAMCD=param, METHOD=name, READER="", REPEAT="1"))
    reads = pd.concat(parts, ignore_index=True)
    chosen = {"parameters": list(section["truth"])}
    return agreement(adsl, reads, parameters, chosen, strata, confidence, METHOD)
