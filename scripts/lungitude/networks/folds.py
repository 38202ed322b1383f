"""Patients parted for training and testing, stratified by grade: folds, and shares.

Patients are parted, never scans: visits of one patient look alike. The result depends on names,
grades and seed alone, and not on the order in which patients are given.
"""

import hashlib
import math

import numpy as np

SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}


def folds(patients, grades, k=5, seed=1):
    """Part patients into k folds of equal size, each with its share of every grade.

    Parameters
    ----------
    patients : sequence of str
    grades : sequence
        One a patient, such as the GOLD grade; any values that are not missing.
    k : int
        At least 2.
    seed : int

    Returns
    -------
    list of list of str
        Names, sorted, by fold. Sizes differ by at most 1, of the whole and of each grade.

    Raises
    ------
    ValueError
        A patient twice or without a grade, fewer patients than folds.
    """
    by_grade = _grouped(patients, grades, "folds")
    if k < 2 or k > len(patients):
        raise ValueError(
            f"folds: {k} folds of {len(patients)} patients; give 2 to as many as these"
        )
    found, place = [[] for _ in range(k)], 0
    for grade, names in by_grade.items():
        for name in _shuffled(names, seed, "folds", grade):
            found[place % k].append(name)
            place += 1
    return [sorted(names) for names in found]


def split(patients, grades, shares=None, seed=1):
    """Part patients into parts of given shares, each with its share of every grade.

    Parameters
    ----------
    patients, grades
        As `folds`.
    shares : dict of float, optional
        By part; they sum to 1. `SHARES` if absent.
    seed : int

    Returns
    -------
    dict of list of str
        Names, sorted, by part. Of every grade a part has its share of it, rounded up or down; what
        the roundings leave over goes where most is lacking so far. A grade of few patients may so
        be absent from a small part.

    Raises
    ------
    ValueError
        As `folds`; shares that are not above 0 or don't sum to 1.
    """
    shares = dict(SHARES if shares is None else shares)
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1.0) > 1e-6:
        raise ValueError(f"split: shares {shares} must be above 0 and sum to 1")
    found = {part: [] for part in shares}
    due = dict.fromkeys(shares, 0.0)
    for grade, names in _grouped(patients, grades, "split").items():
        names = _shuffled(names, seed, "split", grade)
        counts = {part: math.floor(share * len(names) + 1e-9) for part, share in shares.items()}
        for part, share in shares.items():
            due[part] += share * len(names)
        lacking = {part: due[part] - len(found[part]) - counts[part] for part in shares}
        for part in sorted(lacking, key=lacking.get, reverse=True)[
            : len(names) - sum(counts.values())
        ]:
            counts[part] += 1
        for part, count in counts.items():
            found[part] += names[:count]
            names = names[count:]
    return {part: sorted(names) for part, names in found.items()}


def _grouped(patients, grades, who):
    """Return sorted names by grade, in the order of the grades as text."""
    patients, grades = [str(name) for name in patients], list(grades)
    if len(patients) != len(grades):
        raise ValueError(f"{who}: {len(patients)} patients, {len(grades)} grades")
    if not patients:
        raise ValueError(f"{who}: no patients")
    twice = sorted({name for name in patients if patients.count(name) > 1})
    if twice:
        raise ValueError(f"{who}: {', '.join(twice[:5])} given twice; part patients, not scans")
    without = [n for n, g in zip(patients, grades, strict=True) if g is None or g != g or g == ""]
    if without:
        raise ValueError(f"{who}: no grade of {', '.join(without[:5])}")
    found = {}
    for name, grade in sorted(zip(patients, map(str, grades), strict=True)):
        found.setdefault(grade, []).append(name)
    return dict(sorted(found.items()))


def _shuffled(names, seed, *key):
    """Names in an order of chance, keyed by words: a new grade leaves the others' order alone."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    order = np.random.default_rng([int(seed), *words]).permutation(len(names))
    return [names[k] for k in order]
