"""Figures of a comparison of networks: overlap and biomarkers of each, and paired differences."""

import itertools
import warnings

import numpy as np
import pandas as pd

from lungitude.statistics.linear import inference
from lungitude.statistics.multiplicity import adjust

from . import scores, unseen
from .evaluation_summary import GROUPS, LEVEL, PUBLISHED, QUANTITIES, grouped, reference_of
from .unseen import SEED

REFERENCE = "multi_task"  # each other network is compared with it
PARTS = "single_task"  # the same design, a network a branch
BOTH = "both"  # all patients, of either domain
TASKS = {  # overlap that is compared, and the branch that makes it
    "lobes": "lung",
    "airways": "airway",
    "vessels": "vessel",
    "ventricles and myocardium": "heart",
    "coronary territories": "heart",
}
STRUCTURES = {
    "lobes": GROUPS["lobes"],
    "airways": (("chest",), ("airways",)),
    "vessels": (("chest",), ("vessels",)),
    "ventricles and myocardium": GROUPS["ventricles and myocardium"],
    "coronary territories": (("calcium",), ("LM+LAD", "LCX", "RCA")),
}
SCORES = ("dice", "iou")
FACTS = ("steps", "parameters", "cpu_s")
ACCURACY = ("r", "rmse", "bias")

KEYS = "kind domain model quantity score family".split()
NUMBERS = "n missing estimate sd ci_low ci_high boot_ci_low boot_ci_high p p_adj".split()
COLUMNS = [*KEYS, *NUMBERS, "note"]
TEXT = [*KEYS, "note"]


def summary(rows, facts, seed=SEED):
    """Summarise what all networks found in all patients.

    Parameters
    ----------
    rows : DataFrame
        Of `comparison.measure`, of all patients.
    facts : dict of dict
        By model: title, steps, parameters and cpu_s, as the readers of `comparison.readers` tell.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        `COLUMNS`; domain: those of the rows and, if there are two, ``both``. n: patients with a
        value, missing: patients without one. All intervals are of 95 %.

        ``facts``: a number of `FACTS` a row, the title in note. ``cases``: n patients. ``fault``:
        n scans of a network that could not be measured, with reason and first patient in note.

        ``overlap``: mean of each of `TASKS`, a patient's mean over structures, with sd and interval
        by t. ``biomarker``: r (interval by Fisher's z), rmse (bootstrap of patients, BCa) and bias
        (by t) against truth.

        ``difference``: other network less `REFERENCE`, paired by patient: of Dice, or of the
        absolute error of a biomarker. n: patients in whom both have a value; interval by t, and
        boot by bootstrap (BCa); p by Wilcoxon's signed ranks; p_adj by Benjamini and Hochberg over
        all networks and tasks, or all networks and biomarkers, of a domain. ``branch``: the
        difference of Dice of `PARTS`, a patient's mean over the tasks of a branch; not adjusted.

    Raises
    ------
    ValueError
        Rows of a network without facts, or no facts of `REFERENCE`.
    """
    _check(rows, facts)
    found = [
        {"kind": "facts", "model": model, "score": name, "estimate": told[name],
         "note": told["title"]}
        for model, told in facts.items()
        for name in FACTS
    ]  # fmt: skip
    dice, values = overlaps(rows, list(facts)), biomarkers(rows, list(facts))
    for domain, cases in _patients(rows).items():
        found.append({"kind": "cases", "domain": domain, "n": len(cases)})
        some = [
            *_overlap_rows(dice, cases),
            *_biomarker_rows(values, cases, seed),
            *_difference_rows(dice, values, cases, seed),
        ]
        found += [{"domain": domain, **row} for row in some]
    found += _fault_rows(rows)
    table = pd.DataFrame(found).reindex(columns=COLUMNS)
    table[TEXT] = table[TEXT].fillna("")
    table = table.astype(dict.fromkeys(NUMBERS, float))
    for _, part in table[table["family"] != ""].groupby(["family", "domain"], sort=False):
        table.loc[part.index, "p_adj"] = adjust(part["p"])
    return table


def title_of(quantity):
    """Return the name of a task as it is, and that of a biomarker with its unit."""
    if quantity in TASKS:
        return quantity
    spec = QUANTITIES[quantity]
    told = not spec.unit or spec.title.endswith(spec.unit)
    return spec.title if told else f"{spec.title} ({spec.unit})"


def overlaps(rows, models):
    """Return Dice and IoU: by task and score a table of patients by models, NaN where none is."""
    parts = [
        grouped(part, STRUCTURES).assign(model=model)
        for model, part in rows.groupby("model", sort=False)
    ]
    whole = pd.concat(parts, ignore_index=True)
    found = {}
    for task in TASKS:
        for score in SCORES:
            some = whole[(whole["structure"] == task) & (whole["quantity"] == score)]
            found[task, score] = _by_model(some, models)
    return found


def biomarkers(rows, models):
    """Return measured values, a table of patients by models, and truths, by biomarker."""
    some = rows[(rows["kind"] == "biomarker") & (rows["source"] == "network")]
    found = {}
    for quantity in PUBLISHED:
        part = some[some["quantity"] == quantity]
        truth = part.groupby("case")[reference_of(quantity, "network")].first()
        found[quantity] = (_by_model(part, models), truth)
    return found


def _by_model(rows, models):
    wide = rows.pivot(index="case", columns="model", values="measured")  # noqa: PD010
    return wide.reindex(columns=models).astype(float)


def _check(rows, facts):
    if REFERENCE not in facts:
        raise ValueError(
            f"comparison: no model '{REFERENCE}', which the others are compared with; name it in "
            "config/networks/comparison.yaml"
        )
    strange = sorted(set(rows["model"]) - set(facts))
    if strange:
        raise ValueError(
            f"comparison: patients were read by {', '.join(strange)}, which config/networks/"
            "comparison.yaml lacks; delete results/networks/comparison/cases"
        )


def _patients(rows):
    """Patients by domain, then all of them if there are two domains."""
    known = rows[["domain", "case"]].drop_duplicates()
    found = {
        domain: list(known.loc[known["domain"] == domain, "case"])
        for domain in unseen.DOMAINS
        if domain in set(known["domain"])
    }
    return found if len(found) < 2 else found | {BOTH: [*itertools.chain(*found.values())]}


def _overlap_rows(dice, cases):
    for (task, score), wide in dice.items():
        for model, values in wide.reindex(cases).items():
            named = {"kind": "overlap", "model": model, "quantity": task, "score": score}
            yield named | _mean(values)


def _mean(values):
    known = values.dropna()
    n = len(known)
    row = {"n": n, "missing": len(values) - n}
    if n:
        row["estimate"] = known.mean()
    if n > 1:
        row["sd"] = known.std()
        limits = inference(row["estimate"], row["sd"] / np.sqrt(n), n - 1, LEVEL)
        row |= {end: float(limits[end]) for end in ("ci_low", "ci_high")}
    return row


def _biomarker_rows(values, cases, seed):
    for quantity, (wide, truth) in values.items():
        true = truth.reindex(cases)
        for model, measured in wide.reindex(cases).items():
            accuracy = _accuracy(measured, true, seed)
            known = accuracy.pop("n")
            for score in ACCURACY:
                yield {
                    "kind": "biomarker", "model": model, "quantity": quantity, "score": score,
                    "n": known, "missing": len(cases) - known,
                    "estimate": accuracy.get(score),
                    **{end: accuracy.get(f"{score}_{end}") for end in ("ci_low", "ci_high")},
                }  # fmt: skip


def _accuracy(measured, truth, seed):
    pairs = pd.DataFrame({"measured": measured, "truth": truth}).dropna()
    if len(pairs) < scores.FEWEST or np.ptp(pairs["truth"].to_numpy()) == 0:
        return {"n": len(pairs)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="accuracy: measured is constant")
        found = scores.interval_of_r(pairs["measured"], pairs["truth"], seed, LEVEL)
    return found.iloc[0].to_dict()


def _difference_rows(dice, values, cases, seed):
    others = [model for model in dice["lobes", "dice"].columns if model != REFERENCE]
    for task in TASKS:
        wide = dice[task, "dice"].reindex(cases)
        for model in others:
            named = {"kind": "difference", "family": "overlap", "model": model}
            row = _difference(wide[REFERENCE], wide[model], seed)
            yield {**named, "quantity": task, "score": "dice", **row}
    for quantity, (wide, truth) in values.items():
        error = wide.reindex(cases).sub(truth.reindex(cases), axis=0).abs()
        for model in others:
            named = {"kind": "difference", "family": "biomarkers", "model": model}
            row = _difference(error[REFERENCE], error[model], seed)
            yield {**named, "quantity": quantity, "score": "absolute_error", **row}
    if PARTS in others:
        for branch in dict.fromkeys(TASKS.values()):
            tasks = [dice[task, "dice"].reindex(cases) for task in TASKS if TASKS[task] == branch]
            means = sum(tasks) / len(tasks)
            row = _difference(means[REFERENCE], means[PARTS], seed)
            yield {"kind": "branch", "model": PARTS, "quantity": branch, "score": "dice", **row}


def _difference(first, second, seed):
    """Compare over the patients in whom both have a value."""
    both = pd.DataFrame({"a": first, "b": second}).dropna()
    row = {"n": len(both), "missing": len(first) - len(both)}
    if len(both) < scores.FEWEST:
        return row
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="compare: all differences")
        found = scores.compare(both["a"], both["b"], seed, LEVEL).iloc[0]
    if np.isnan(found["wilcoxon_p"]):
        row["note"] = "all differences are equal"
    names = ("estimate", "ci_low", "ci_high", "boot_ci_low", "boot_ci_high")
    return row | {name: found[name] for name in names} | {"p": found["wilcoxon_p"]}


def _fault_rows(rows):
    """Count the scans that could not be measured, by network and reason; with the first patient."""
    some = rows[rows["kind"] == "fault"]
    keys = ["domain", "model", "scan", "note"]
    counts = some.groupby(keys, sort=False).agg(n=("case", "size"), case=("case", "min"))
    return [
        {"kind": "fault", "domain": domain, "model": model, "quantity": scan, "n": row["n"],
         "note": f"{row['case']}: {note}"}
        for (domain, model, scan, note), row in counts.iterrows()
    ]  # fmt: skip
