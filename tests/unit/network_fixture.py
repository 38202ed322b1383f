"""Results of a study of the network: the committed tables, and a made-up comparison of networks."""

import functools
import os
import warnings

import numpy as np
import pandas as pd
from unit import reporting_fixture as fixture

from lungitude import network_study as study
from lungitude import tables
from lungitude.analysis import network_study as analysis
from lungitude.networks import comparison_summary, evaluation_summary, unseen
from lungitude.reporting.results import Results

MODELS = {
    "multi_task": "Hierarchical, all tasks",
    "single_task": "Hierarchical, one task each",
    "vnet": "V-Net, narrow",
}
COLUMNS = (
    "case domain grade protocol weights kind scan structure item quantity source measured t1 t0 "
    "expected note model"
).split()
METHODS = (
    "network_accuracy",
    "network_overlap",
    "network_comparison",
    "network_activation",
    "network_architecture",
)


def plan(**section):
    """Return the plan of the fixture trial with the study."""
    given = fixture.plan()
    given["analyses"]["network_study"] = section
    return given


def context(stratum="all", arms=2, section=None, **changes):
    """Return the context of the fixture trial under this plan."""
    return fixture.context(stratum, arms, **{"plan": plan(**(section or {})), **changes})


@functools.cache
def _comparison(models, patients):
    """Summary of made-up patients; V-Net has no Pi10 of one, and finds no calcium at all."""
    rng = np.random.default_rng(7)
    rows = []
    for domain in unseen.DOMAINS:
        for k in range(patients):
            level = rng.uniform(0.6, 0.9)
            truths = {name: 50.0 + 10.0 * rng.normal() for name in evaluation_summary.PUBLISHED}
            for number, model in enumerate(models):
                head = (f"{domain}-{k:02d}", domain, "I", "p", model)
                places = [
                    (scan, structure)
                    for scans, structures in comparison_summary.STRUCTURES.values()
                    for scan in scans
                    for structure in structures
                ]
                for scan, structure in places:
                    dice = level - 0.03 * number * (1.0 + 0.2 * rng.normal())
                    for score, value in (("dice", dice), ("iou", dice / (2 - dice))):
                        what = ("overlap", scan, structure, "", score, "network")
                        rows.append((*head, *what, value, *[np.nan] * 3, "scored", model))
                for name, true in truths.items():
                    value = true + (1.0 + 2.0 * number) * rng.normal()
                    if model == "vnet" and name == "pi10_mm" and k == 0:
                        value = np.nan
                    if model == "vnet" and name == "agatston":
                        value = 0.0
                    what = ("biomarker", "chest", "", "", name, "network")
                    rows.append((*head, *what, value, true, true, true, "", model))
    facts = {
        model: {"title": MODELS.get(model, model), "steps": 1000, "parameters": 1440000 + n,
                "cpu_s": 2000.5}
        for n, model in enumerate(models)
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the bootstrap, where all errors are nearly one
        return comparison_summary.summary(pd.DataFrame(rows, columns=COLUMNS), facts)


def comparison(models=tuple(MODELS), patients=4):
    """Return the summary of a comparison of networks."""
    return _comparison(tuple(models), patients).copy()


def written(folder, **changed):
    """Put the tables of a study into a folder: the committed ones, and the made-up comparison.

    `changed` gives another frame, or None for a file that is left out, by the name of the file.
    """
    known = study.paths({})
    for name in study.FILES:
        path = folder / study.FILES[name]
        if name in changed and changed[name] is None:
            continue
        if name in changed or name == "comparison":
            tables.write(changed.get(name, comparison()), path)
        else:
            os.symlink(known[name], path)
    return {"tables": str(folder)}


@functools.cache
def _frame():
    found = analysis.read(study.inputs({}, ("accuracy", "explained", "architecture")))
    found["comparison"] = comparison()
    return analysis.network_study(**found)


def frame(*methods):
    """Return the results of these methods of the study; of all if none is named."""
    found = _frame()
    return found[found["METHOD"].isin(methods or METHODS)].copy()


def patients(domain):
    """Return how many patients of a domain the committed study has; it may yet grow."""
    found = frame("network_accuracy")
    found = found[(found["STAT"] == "patients") & (found["GROUP"] == domain)]
    return int(found["VALUE"].iloc[0])


def results(stratum="all", table=None, arms=2):
    """Return the `Results` of a stratum: the fixture trial's, and those of the study."""
    own = frame() if table is None else table
    rows = pd.concat([fixture.frame(arms), own], ignore_index=True)
    return Results(rows, stratum, plan())
