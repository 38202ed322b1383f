"""Agreement of methods, readers and repeated reads, overall and by stratum."""

import itertools

import numpy as np
import pandas as pd

from lungitude.analysis.common import ALL, attempted, chosen, missing, transform_of, why_not
from lungitude.results import Rows
from lungitude.statistics.accuracy import accuracy, ccc, proportional_bias, repeatability
from lungitude.statistics.agreement import bland_altman, icc
from lungitude.statistics.bands import SCALES, verbal_band
from lungitude.statistics.correlation import correlate
from lungitude.statistics.engines import icc_cross_check

METHOD = "agreement"
SCAN = ["USUBJID", "AVISIT"]
FEWEST = 3
ICC = ("icc_a1", "icc_ci_low", "icc_ci_high")
LIMITS = (
    "bias",
    "bias_ci_low",
    "bias_ci_high",
    "sd",
    "sd_ci_low",
    "sd_ci_high",
    "loa_low",
    "loa_low_ci_low",
    "loa_low_ci_high",
    "loa_high",
    "loa_high_ci_low",
    "loa_high_ci_high",
)
# Coefficients of pairs: of the first against the second, whatever the number of pairs a patient.
PAIRED = {
    "pearson": ("r", "r_ci_low", "r_ci_high"),
    "ccc": ("ccc", "ccc_ci_low", "ccc_ci_high"),
    "accuracy": ("mae", "mape", "rmse"),
    "repeatability": ("within_sd", "rc", "rc_ci_low", "rc_ci_high"),
    "proportional_bias": ("slope", "slope_ci_low", "slope_ci_high", "slope_p"),
}


def agreement(adsl, reads, parameters, section, strata=(), confidence=0.95, method=METHOD):
    """Compare methods with each other, readers of a method, and repeats of a method.

    Parameters
    ----------
    adsl : DataFrame
        USUBJID and the stratum columns; the arm is not looked at.
    reads : DataFrame
        USUBJID AVISIT PARAMCD METHOD READER REPEAT AVAL.
    parameters : DataFrame
    section : dict
        Of plan.yaml: parameters, band (scale of the words for the ICC).
    strata : list of dict
        As in config.yaml.
    confidence : float
    method : str
        METHOD of the rows.

    Returns
    -------
    DataFrame
        Results table by COMPARISON: ``network - reader`` (methods, each the mean of its readers
        and repeats), ``reader: R1 - R2`` (readers of a method, means of repeats), ``network: 1 -
        2`` (repeats, by the same reader). STAT icc_a1 icc_ci_low icc_ci_high bias sd loa_low
        loa_high with their intervals; r, ccc, mae mape rmse (of the first against the second),
        within_sd rc (repeatability) and slope (of the difference on the mean); N is the pairs. The
        note of icc_a1 has the words for its interval. Values are on the scale of measurement.
        Patients with several visits are allowed for in the limits of agreement.

    Raises
    ------
    ArithmeticError
        An intraclass correlation differs from that of the second engine.
    """
    rows = Rows(method)
    wanted = chosen(section.get("parameters", "all"), parameters)
    subjects = adsl.set_index("USUBJID")
    known = usable(adsl, reads)
    levels = [(ALL, None, None)]
    levels += [
        (level["path"], factor["column"], str(level["value"]))
        for factor in strata
        for level in factor["levels"]
    ]
    for param in wanted:
        mine = known.loc[known["PARAMCD"] == param]
        note = ""
        if transform_of(parameters, param) != "none":
            note = "scale of measurement"
        for comparison, pairs in comparisons(mine):
            for stratum, column, value in levels:
                part = pairs
                if column:
                    member = pairs["USUBJID"].map(subjects[column]) == value
                    part = pairs.loc[member]
                _compare(
                    rows,
                    part,
                    confidence,
                    note,
                    section.get("band", "icc"),
                    {"param": param, "stratum": stratum, "comparison": comparison},
                )
    return rows.frame()


def usable(adsl, reads):
    """Return the reads that have a value and are of a patient of the trial."""
    known = reads.loc[reads["AVAL"].notna() & reads["USUBJID"].isin(adsl["USUBJID"])]
    known = known.assign(AVAL=known["AVAL"].astype(float))
    for name in ("READER", "REPEAT"):
        known[name] = known[name].astype(object).where(known[name].notna(), "").map(str)
    return known


def comparisons(reads):
    """List each comparison with its frame of pairs: USUBJID AVISIT x y."""
    found = []
    by_method = _means(reads, ["METHOD"])
    for one, two in itertools.combinations(sorted(by_method["METHOD"].unique()), 2):
        found.append((f"{one} - {two}", _pairs(by_method, "METHOD", one, two, SCAN)))
    for method, part in reads.groupby("METHOD", sort=True):
        by_reader = _means(part, ["READER"])
        for one, two in itertools.combinations(sorted(by_reader["READER"].unique()), 2):
            found.append((f"{method}: {one} - {two}", _pairs(by_reader, "READER", one, two, SCAN)))
        by_repeat = _means(part, ["READER", "REPEAT"])
        for one, two in itertools.combinations(sorted(by_repeat["REPEAT"].unique()), 2):
            found.append(
                (
                    f"{method}: repeat {one} - {two}",
                    _pairs(by_repeat, "REPEAT", one, two, [*SCAN, "READER"]),
                )
            )
    return [(name, pairs) for name, pairs in found if len(pairs)]


def _means(reads, columns):
    return reads.groupby([*SCAN, *columns], sort=True)["AVAL"].mean().reset_index()


def _pairs(table, column, one, two, keys):
    first, second = (table.loc[table[column] == level, [*keys, "AVAL"]] for level in (one, two))
    return first.rename(columns={"AVAL": "x"}).merge(
        second.rename(columns={"AVAL": "y"}), on=keys, validate="one_to_one"
    )


def _compare(rows, pairs, confidence, note, band, keys):
    n = len(pairs)
    if n < FEWEST:
        stats = [*ICC, *LIMITS, *itertools.chain.from_iterable(PAIRED.values())]
        values, reason = missing(stats, why_not(f"{n} pairs, {FEWEST} are needed"))
        rows.add(values, n, note=reason, **keys)
        return
    long = pd.DataFrame(
        {
            "id": np.tile(np.arange(n), 2),
            "rater": np.repeat(["x", "y"], n),
            "score": np.r_[pairs["x"], pairs["y"]],
        }
    )
    values = dict.fromkeys(ICC, np.nan)
    if np.ptp(pairs["x"]) > 0 or np.ptp(pairs["y"]) > 0:
        found = icc(long, confidence=confidence).set_index("type").loc["ICC(A,1)"]
        icc_cross_check(long)
        values = dict(zip(ICC, found[["icc", "ci_low", "ci_high"]], strict=True))
    who = pairs["USUBJID"]
    several = who.duplicated().any() and (who != who.iloc[0]).any()
    limits = bland_altman(
        pairs["x"], pairs["y"], confidence, repeated=who if several else None
    ).iloc[0]
    values.update({name: limits[name] for name in LIMITS})
    values.update(_coefficients(pairs["x"].to_numpy(), pairs["y"].to_numpy(), confidence))
    said = [text for text in (note, "several pairs a patient" if several else "") if text]
    notes = {name: "; ".join(said) for name in values}
    if several:
        alone = [*ICC, *itertools.chain.from_iterable(PAIRED.values())]
        notes.update({name: "; ".join([*said, "taken as independent"]) for name in alone})
    if np.isfinite(values["icc_a1"]):
        source = (SCALES[band] if isinstance(band, str) else band)["source"]
        words = verbal_band(values["icc_a1"], band, (values["icc_ci_low"], values["icc_ci_high"]))
        notes["icc_a1"] = "; ".join([part for part in (notes["icc_a1"], words) if part])
        notes["icc_a1"] += f" ({source})"
    for name, value in values.items():
        if not np.isfinite(value):
            values[name], notes[name] = np.nan, why_not("no variation")
    rows.add(values, n, note=notes, **keys)


def _coefficients(x, y, confidence):
    """Give the coefficients of `PAIRED`; NaN where the pairs do not allow one."""
    calls = {
        "pearson": _pearson,
        "ccc": ccc,
        "accuracy": accuracy,
        "repeatability": repeatability,
        "proportional_bias": proportional_bias,
    }
    found = {}
    for name, stats in PAIRED.items():
        table, _ = attempted(calls[name], x, y, confidence=confidence)
        if table is None:  # a NaN has its note in the table
            found.update(dict.fromkeys(stats, np.nan))
            continue
        row = table.iloc[0]
        for stat in stats:
            plain = stat if stat in row else stat.partition("_")[2]
            found[stat] = float(row[plain])
    return found


def _pearson(x, y, confidence):
    return correlate(pd.DataFrame({"x": x, "y": y}), "x", "y", confidence=confidence)
