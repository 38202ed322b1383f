"""Patients parted by grade: sizes by hand, no patient twice, the same whatever the order."""

import collections
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungitude.networks import folds

# The trial of the publication: GOLD I to IV of 400; the network was made from 250.
PUBLISHED = {"I": 30, "II": 66, "III": 98, "IV": 56}


def cohort(counts):
    grades = [grade for grade, n in counts.items() for _ in range(n)]
    return [f"P{k:03d}" for k in range(len(grades))], grades


def count(names, patients, grades):
    known = dict(zip(patients, grades, strict=True))
    return collections.Counter(known[name] for name in names)


def test_five_folds_of_the_published_cohort():
    patients, grades = cohort(PUBLISHED)
    found = folds.folds(patients, grades, 5, 1)
    assert [len(names) for names in found] == [50] * 5
    assert sorted(itertools.chain(*found)) == patients
    for grade, n in PUBLISHED.items():
        sizes = [count(names, patients, grades)[grade] for names in found]
        assert max(sizes) - min(sizes) <= 1
        assert sum(sizes) == n


def test_the_published_shares():
    patients, grades = cohort(PUBLISHED)
    found = folds.split(patients, grades)
    assert {part: len(names) for part, names in found.items()} == {
        "train": 175,
        "validation": 38,
        "test": 37,
    }
    for part, names in found.items():
        for grade, n in count(names, patients, grades).items():
            assert abs(n - folds.SHARES[part] * PUBLISHED[grade]) < 1.0


COUNTS = st.dictionaries(st.sampled_from("ABCDEF"), st.integers(1, 40), min_size=1)


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.integers(2, 6), st.integers(0, 5))
def test_any_cohort_is_parted_evenly(counts, k, seed):
    patients, grades = cohort(counts)
    if k <= len(patients):
        found = folds.folds(patients, grades, k, seed)
        assert sorted(itertools.chain(*found)) == patients
        sizes = [len(names) for names in found]
        assert max(sizes) - min(sizes) <= 1
        for grade in counts:
            sizes = [count(names, patients, grades)[grade] for names in found]
            assert max(sizes) - min(sizes) <= 1
    shares = {"a": 0.6, "b": 0.25, "c": 0.15}
    found = folds.split(patients, grades, shares, seed)
    assert sorted(itertools.chain(*found.values())) == patients
    for part, share in shares.items():
        for grade, n in counts.items():
            assert abs(count(found[part], patients, grades)[grade] - share * n) < 1.0 + 1e-6
        assert abs(len(found[part]) - share * len(patients)) < 2.0


def test_neither_the_order_nor_another_grade_matters():
    patients, grades = cohort({"I": 7, "II": 9})
    mixed = np.random.default_rng(0).permutation(len(patients))
    again = [patients[k] for k in mixed], [grades[k] for k in mixed]
    assert folds.folds(patients, grades, 3, 4) == folds.folds(*again, 3, 4)
    assert folds.split(patients, grades, seed=4) == folds.split(*again, seed=4)
    assert folds.folds(patients, grades, 3, 4) != folds.folds(patients, grades, 3, 5)
    more = folds.folds([*patients, "Q1"], [*grades, "III"], 3, 4)
    less = folds.folds(patients, grades, 3, 4)
    assert [[name for name in names if name != "Q1"] for names in more] == less


def test_what_cannot_be_parted_is_named():
    with pytest.raises(ValueError, match="P000 given twice; part patients, not scans"):
        folds.folds(["P000", "P000"], ["I", "I"], 2)
    with pytest.raises(ValueError, match="no grade of P001"):
        folds.folds(["P000", "P001"], ["I", float("nan")], 2)
    with pytest.raises(ValueError, match="2 patients, 1 grades"):
        folds.split(["P000", "P001"], ["I"])
    with pytest.raises(ValueError, match="5 folds of 2 patients"):
        folds.folds(["P000", "P001"], ["I", "I"])
    with pytest.raises(ValueError, match="sum to 1"):
        folds.split(["P000"], ["I"], {"train": 0.8, "test": 0.1})
    with pytest.raises(ValueError, match="no patients"):
        folds.split([], [])
