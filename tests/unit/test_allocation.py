"""Allocation lists: balance, reproducible bytes, and chance as it should be."""

import hashlib
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungitude.statistics.allocation import allocate

ARMS = ["EG", "CG"]


def gold(**more):
    arguments = {"block_sizes": (4, 6), "n_per_stratum": 30, "seed": 7} | more
    return allocate({"GOLD": ["I", "II", "III", "IV"]}, ARMS, **arguments)


def test_columns_and_order():
    table = allocate(
        {"GOLD": ["I", "II"], "SEX": ["F", "M"]}, ARMS, block_sizes=[4], n_per_stratum=8, seed=1
    )
    expected = ["GOLD", "SEX", "BLOCK", "BLOCKSIZE", "SEQUENCE", "TRT01P"]
    assert table.columns.tolist() == expected
    assert len(table) == 4 * 8
    assert table[["GOLD", "SEX"]].drop_duplicates().to_numpy().tolist() == [
        ["I", "F"],
        ["I", "M"],
        ["II", "F"],
        ["II", "M"],
    ]
    assert table["SEQUENCE"].tolist() == list(range(1, 9)) * 4
    assert allocate(["all"], ARMS, n_per_stratum=2, seed=0).columns[0] == "STRATUM"


@pytest.mark.parametrize(
    ("ratio", "sizes"), [(None, (4, 6)), ((2, 1), (3, 6, 9)), ((1, 3), (4, 8)), ((1, 1), (2,))]
)
def test_every_block_has_the_ratio(ratio, sizes):
    table = gold(ratio=ratio, block_sizes=sizes, n_per_stratum=100)
    ratio = np.array(ratio or (1, 1))
    for (_, _, size), block in table.groupby(["GOLD", "BLOCK", "BLOCKSIZE"]):
        assert len(block) == size
        assert size in sizes
        counts = block["TRT01P"].value_counts().reindex(ARMS).to_numpy()
        np.testing.assert_array_equal(counts, ratio * size // ratio.sum())
    for _, stratum in table.groupby("GOLD"):
        assert stratum["SEQUENCE"].tolist() == list(range(1, len(stratum) + 1))
        assert 100 <= len(stratum) < 100 + max(sizes)
        assert (np.diff(stratum["BLOCK"]) >= 0).all()
        assert set(stratum["BLOCKSIZE"]) == set(sizes)


def test_the_same_bytes_from_the_same_seed():
    digest = hashlib.sha256(gold().to_csv(index=False).encode()).hexdigest()
    assert digest == "9d88b660a33266119939195bcdf464adb108583c1a9eba45c0ea1de5723eba99"
    assert gold().equals(gold())
    assert not gold(seed=8)["TRT01P"].equals(gold()["TRT01P"])


def test_a_stratum_does_not_depend_on_the_others():
    four = gold()
    two = allocate({"GOLD": ["IV", "II"]}, ARMS, n_per_stratum={"IV": 30, "II": 60}, seed=7)
    for level in ("II", "IV"):
        alone = four.loc[four["GOLD"] == level].reset_index(drop=True)
        beside = two.loc[two["GOLD"] == level].reset_index(drop=True)
        # The longer list begins with the shorter one.
        pd.testing.assert_frame_equal(alone, beside.iloc[: len(alone)])
    lists = [four.loc[four["GOLD"] == level, "TRT01P"].iloc[:30].tolist() for level in four["GOLD"]]
    assert len({tuple(one) for one in lists}) == 4


def test_the_order_of_the_factors_does_not_matter():
    factors = {"GOLD": ["I", "II"], "SEX": ["F", "M"]}
    table = allocate(factors, ARMS, n_per_stratum=20, seed=3)
    swapped = allocate(dict(reversed(factors.items())), ARMS, n_per_stratum=20, seed=3)
    keys = ["GOLD", "SEX", "SEQUENCE"]
    pd.testing.assert_frame_equal(
        table.sort_values(keys, ignore_index=True),
        swapped[table.columns].sort_values(keys, ignore_index=True),
    )


@pytest.mark.parametrize(("ratio", "size", "patterns"), [((1, 1), 4, 6), ((2, 1), 6, 15)])
def test_all_orders_of_a_block_have_the_same_chance(ratio, size, patterns):
    table = allocate(["all"], ARMS, ratio, [size], n_per_stratum=3000 * size, seed=11)
    blocks = table["TRT01P"].to_numpy().reshape(-1, size)
    counts = pd.Series(["".join(arm[0] for arm in block) for block in blocks]).value_counts()
    assert len(counts) == patterns
    assert stats.chisquare(counts).pvalue > 0.001
    for place in range(size):  # and each place has the ratio
        hits = int((blocks[:, place] == ARMS[0]).sum())
        assert stats.binomtest(hits, len(blocks), ratio[0] / sum(ratio)).pvalue > 0.0005


def test_three_arms_reach_all_orders():
    table = allocate(["all"], "A B C".split(), None, [3], n_per_stratum=900, seed=5)
    blocks = {tuple(block) for block in table["TRT01P"].to_numpy().reshape(-1, 3)}
    assert blocks == set(itertools.permutations("ABC"))


def test_block_sizes_have_the_same_chance_and_no_memory():
    table = gold(n_per_stratum=6000, block_sizes=(4, 6, 8))
    sizes = table.drop_duplicates(["GOLD", "BLOCK"])["BLOCKSIZE"].to_numpy()
    assert stats.chisquare(np.unique(sizes, return_counts=True)[1]).pvalue > 0.001
    after = pd.crosstab(sizes[:-1], sizes[1:])
    assert stats.chi2_contingency(after).pvalue > 0.001


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"block_sizes": (4, 5)}, "not multiples of 2"),
        ({"block_sizes": ()}, "not multiples of 2"),
        ({"block_sizes": (4,), "ratio": (2, 1)}, "not multiples of 3, the sum of the ratio 2:1"),
        ({"ratio": (1, 1, 1)}, "whole number for each of 2 arms"),
        ({"ratio": (1, 0.5)}, "whole number for each of 2 arms"),
        ({"n_per_stratum": 0}, "of I is 0, not a count"),
        ({"n_per_stratum": {"I": 4, "II": 4}}, "the strata are I, II, III, IV"),
        ({"seed": -1}, "seed -1"),
        ({"seed": None}, "seed None"),
    ],
)
def test_bad_arguments(more, message):
    with pytest.raises(ValueError, match=message):
        gold(**more)


def test_bad_names():
    with pytest.raises(ValueError, match="two arms or more"):
        allocate(["all"], ["EG"], n_per_stratum=4, seed=1)
    with pytest.raises(ValueError, match="arms are missing or the same twice"):
        allocate(["all"], ["EG", "EG"], n_per_stratum=4, seed=1)
    with pytest.raises(ValueError, match="levels of 'GOLD' are missing"):
        allocate({"GOLD": []}, ARMS, n_per_stratum=4, seed=1)
    with pytest.raises(ValueError, match="there is no stratum"):
        allocate({}, ARMS, n_per_stratum=4, seed=1)
