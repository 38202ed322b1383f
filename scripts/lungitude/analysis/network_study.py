"""What the study of the segmentation network found on unseen patients, as rows of the results.

Nothing is estimated here: the tables of the study, which need torch and hours, are read and their
figures get an address each (and errors a ratio to the least one, by which a figure shades them).
They belong to no arm and no stratum of the trial.
"""

import json
import logging
import math

import pandas as pd

from lungitude import tables
from lungitude.network_study import FILES, NETWORK, REFERENCE, TRUTH
from lungitude.results import Rows, empty

METHOD = "network_study"
ACCURACY, OVERLAP = "network_accuracy", "network_overlap"
COMPARISON, ACTIVATION = "network_comparison", "network_activation"
ARCHITECTURE = "network_architecture"
AGAINST_TRUTH = f"{NETWORK} - {TRUTH}"
TEXT = "kind domain grade scan structure item quantity source reference note".split()
TEXT_COMPARISON = "kind domain model quantity score family note".split()
TEXT_EXPLAINED = "PATIENT OUTPUT KIND STRUCTURE PASS LAYER".split()
SCORES = ("dice", "iou", "hd95_mm")
# STAT by column of the table of accuracy.
AGREEMENT = {
    "r": "r",
    "r_ci_low": "r_ci_low",
    "r_ci_high": "r_ci_high",
    "rmse": "rmse",
    "rmse_ci_low": "rmse_ci_low",
    "rmse_ci_high": "rmse_ci_high",
    "icc": "icc_a1",
    "icc_ci_low": "icc_ci_low",
    "icc_ci_high": "icc_ci_high",
    "bias": "bias",
    "bias_ci_low": "bias_ci_low",
    "bias_ci_high": "bias_ci_high",
    "loa_low": "loa_low",
    "loa_high": "loa_high",
    "mean": "truth_mean",
    "sd": "truth_sd",
}
DIFFERENCES = {"overlap": "difference of Dice", "biomarkers": "difference of the absolute error"}

log = logging.getLogger(__name__)


def network_study(accuracy=None, comparison=None, explained=None, architecture=None):
    """Put what a study found into one results table.

    Parameters
    ----------
    accuracy, comparison, explained : DataFrame, optional
        As `read` returns networks.tsv, network_comparison.tsv and networks_explained.tsv.
    architecture : dict, optional
        Of architecture.json.

    Returns
    -------
    DataFrame
        Results table, stratum all, without a population. What is absent has no rows.

        ``network_accuracy``: GROUP domain, COMPARISON ``network - truth``, LEVEL biomarker: r,
        rmse, bias, icc_a1 with intervals, limits of agreement, mean and SD of the truth, patients
        without a value (missing). N is the pairs. STAT patients: those of a domain; STAT weights:
        how many files of weights, their digest in NOTE.

        ``network_overlap``: likewise, LEVEL ``scan: structure``: means over patients of dice, iou
        and hd95_mm, with intervals. A mean is NaN where a structure was missed (its distance is
        infinite) or nobody has it.

        ``network_comparison``: GROUP domain (``both`` too), COMPARISON ``model - truth``, LEVEL a
        task: dice and iou; LEVEL a biomarker: r, rmse, bias, and rmse_ratio, the RMSE over the
        least one of all networks in the domain; missing. COMPARISON ``model -
        multi_task``, LEVEL either, or ``branch: `` and a branch: estimate of the paired difference
        of Dice or of absolute error (NOTE), its interval, p, and p_adj with FAMILY overlap or
        biomarkers. Without GROUP and LEVEL: steps, parameters and cpu_s of a model, its title in
        NOTE.

        ``network_activation``: GROUP patient, COMPARISON ``hottest 5%``, LEVEL ``structure:
        output``: overlap_pct, chance_pct, ssim_randomised.

        ``network_architecture``: LEVEL ``network``, ``encoder shared``, ``encoder shared 1`` (level
        from the finest), ``branch lung``, ``branch lung 1``, ``branch lung head``, ``branch lung
        estimate``: parameters, and parameters_million of the larger parts; channels and grid of
        levels; ``pass chest``: voxel_mm; ``window 1``: low_hu, high_hu. N is 0.
    """
    parts = []
    if accuracy is not None:
        whole = accuracy[accuracy["grade"].isin(("", "all"))]
        parts += [_accuracy(whole), _overlap(whole)]
    if comparison is not None:
        parts.append(_comparison(comparison))
    if explained is not None:
        parts.append(_activation(explained))
    if architecture is not None:
        parts.append(_architecture(architecture))
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else empty()


def read(files):
    """Read the files of a study, as `network_study` takes them.

    Parameters
    ----------
    files : dict of str to path
        By name, those that are there: accuracy, comparison, explained, architecture.

    Raises
    ------
    ValueError
        A table that lacks a column, with its name.
    """
    found = {}
    columns = {
        "accuracy": (TEXT, ["n", "missing", *AGREEMENT, "infinite"]),
        "comparison": (TEXT_COMPARISON, ["n", "missing", "estimate", "p", "p_adj"]),
        "explained": (TEXT_EXPLAINED, ["QUANTILE", "overlap_pct", "chance_pct"]),
    }
    for name, (text, numbers) in columns.items():
        if name not in files:
            log.warning("%s is not there: no rows of it", FILES[name])
            continue
        table = tables.read(files[name], text=text)
        lacking = [column for column in (*text, *numbers) if column not in table]
        if lacking:
            raise ValueError(f"{FILES[name]}: no column {', '.join(lacking)}")
        table[text] = table[text].fillna("")
        found[name] = table
    if "architecture" in files:
        with open(files["architecture"], encoding="utf-8") as file:
            found["architecture"] = json.load(file)
    else:
        log.warning("architecture.json is not there: no rows of it")
    return found


def _accuracy(table):
    rows = Rows(ACCURACY)
    for row in table[table["kind"] == "facts"].to_dict("records"):
        rows.add({"weights": row["n"]}, row["n"], note=f"weights {row['note']}")
    for row in table[table["kind"] == "cases"].to_dict("records"):
        rows.add({"patients": row["n"]}, row["n"], group=row["domain"])
    measured = table[(table["kind"] == "biomarker") & (table["source"] == "network")]
    for row in measured.to_dict("records"):
        where = {"group": row["domain"], "comparison": AGAINST_TRUTH, "level": row["quantity"]}
        values = {stat: row[column] for column, stat in AGREEMENT.items()}
        _add(rows, values, row["n"], "too few patients, or none that differ", **where)
        rows.add({"missing": row["missing"]}, row["n"], **where)
    return rows.frame()


def _overlap(table):
    rows = Rows(OVERLAP)
    found = table[(table["kind"] == "overlap") & (table["source"] == "network")]
    for row in found[found["quantity"].isin(SCORES)].to_dict("records"):
        score = row["quantity"]
        values = {
            score: row["mean"],
            f"{score}_ci_low": row["ci_low"],
            f"{score}_ci_high": row["ci_high"],
        }
        why = "no patient has a value"
        if row["infinite"] > 0:
            counts = f"{row['infinite']:.0f} of {row['n']:.0f} patients"
            why = f"{row['structure']} missed, or none there, in {counts}"
        where = {"group": row["domain"], "comparison": AGAINST_TRUTH}
        _add(rows, values, row["n"], why, level=f"{row['scan']}: {row['structure']}", **where)
    return rows.frame()


def _comparison(table):
    rows = Rows(COMPARISON)
    for row in table[table["kind"] == "facts"].to_dict("records"):
        model = f"{row['model']} - {TRUTH}"
        rows.add({row["score"]: row["estimate"]}, 0, comparison=model, note=row["note"])
    for row in table[table["kind"] == "cases"].to_dict("records"):
        rows.add({"patients": row["n"]}, row["n"], group=row["domain"])
    for row in table[table["kind"].isin(("overlap", "biomarker"))].to_dict("records"):
        score, why = row["score"], "too few patients, or none that differ"
        values = {
            score: row["estimate"],
            f"{score}_ci_low": row["ci_low"],
            f"{score}_ci_high": row["ci_high"],
        }
        where = {"group": row["domain"], "comparison": f"{row['model']} - {TRUTH}"}
        _add(rows, values, row["n"], why, level=row["quantity"], **where)
        if score in ("dice", "r"):  # once a task or biomarker
            rows.add({"missing": row["missing"]}, row["n"], level=row["quantity"], **where)
    _ratios(rows, table)
    _differences(rows, table)
    return rows.frame()


def _ratios(rows, table):
    """Add each error as a multiple of the least one of its biomarker and domain."""
    errors = table[(table["kind"] == "biomarker") & (table["score"] == "rmse")]
    least = errors.groupby(["domain", "quantity"])["estimate"].transform("min")
    for row, lowest in zip(errors.to_dict("records"), least, strict=True):
        if math.isfinite(row["estimate"]) and lowest > 0:
            where = {"group": row["domain"], "comparison": f"{row['model']} - {TRUTH}"}
            ratio = {"rmse_ratio": row["estimate"] / lowest}
            rows.add(ratio, row["n"], level=row["quantity"], **where)


def _differences(rows, table):
    """Add the paired differences between networks; adjusted p name their family."""
    found = table[table["kind"].isin(("difference", "branch"))]
    tests = found[found["p"].notna()].groupby(["family", "domain"]).size().to_dict()
    for row in found.to_dict("records"):
        branch = row["kind"] == "branch"
        where = {
            "group": row["domain"],
            "comparison": f"{row['model']} - {REFERENCE}",
            "level": f"branch: {row['quantity']}" if branch else row["quantity"],
        }
        what = DIFFERENCES.get(row["family"], DIFFERENCES["overlap"])
        why = row["note"] or "too few patients"
        values = {name: row[name] for name in ("estimate", "ci_low", "ci_high")}
        _add(rows, values, row["n"], why, note=what, **where)
        _add(rows, {"p": row["p"]}, row["n"], why, note="Wilcoxon's signed ranks", **where)
        if row["family"]:
            count = tests.get((row["family"], row["domain"]), 0)
            adjusted = {"family": row["family"], "note": f"bh, {count} tests"}
            _add(rows, {"p_adj": row["p_adj"]}, row["n"], why, **adjusted, **where)


def _activation(table):
    rows = Rows(ACTIVATION)
    for row in table.to_dict("records"):
        hottest = f"hottest {100 * (1 - row['QUANTILE']):.3g}%"
        values = {name: row[name] for name in ("overlap_pct", "chance_pct", "ssim_randomised")}
        where = {"group": row["PATIENT"], "comparison": hottest}
        level = f"{row['STRUCTURE']}: {row['OUTPUT']}"
        _add(rows, values, 1, "nothing speaks for it in this field", level=level, **where)
    return rows.frame()


def _architecture(found):
    rows = Rows(ARCHITECTURE)
    note = f"weights {found.get('weights', {}).get('digest', 'unknown')}"
    rows.add(_parameters(found), 0, level="network", note=note)
    for number, (low, high) in enumerate(found["input"]["windows_hu"], 1):
        rows.add({"low_hu": low, "high_hu": high}, 0, level=f"window {number}")
    for read in found["passes"]:
        rows.add({"voxel_mm": read["voxel_mm"]}, 0, level=f"pass {read['name']}")
    for kind, parts in (("encoder", found["encoders"]), ("branch", found["branches"])):
        for part in parts:
            stem = f"{kind} {part['name']}"
            rows.add(_parameters(part), 0, level=stem)
            for number, level in enumerate(part["levels"], 1):
                values = {name: level[name] for name in ("grid", "channels", "parameters")}
                rows.add(values, 0, level=f"{stem} {number}")
            for name in ("head", "estimate"):
                if name in part:
                    rows.add(part[name], 0, level=f"{stem} {name}")
    return rows.frame()


def _parameters(part):
    count = part["parameters"]
    return {"parameters": count, "parameters_million": count / 1e6}


def _add(rows, values, n, why, note="", **where):
    """Add statistics; without the first, which has a note then, its interval has no row."""
    stat, value = next(iter(values.items()))
    if not math.isfinite(value):
        rows.add({stat: math.nan}, n, note=f"not estimated: {why}", **where)
        # What else is known, such as an error where no correlation is, is kept.
        values = {key: known for key, known in values.items() if not key.startswith(f"{stat}_ci")}
        del values[stat]
    kept = {key: known for key, known in values.items() if math.isfinite(known)}
    rows.add(kept, n, note=note, **where)
