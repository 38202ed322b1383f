"""Families, fixed sequences and graphs: what must hold whatever the numbers."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.multiplicity import (
    METHODS,
    adjust,
    fixed_sequence,
    graphical,
    update_graph,
)


def complete_graph(m):
    return (np.ones((m, m)) - np.eye(m)) / (m - 1)


def random_graph(rng, m):
    transitions = rng.random((m, m)) * (rng.random((m, m)) < 0.7)
    np.fill_diagonal(transitions, 0)
    sums = transitions.sum(axis=1, keepdims=True)
    transitions = np.divide(transitions, sums, out=np.zeros_like(transitions), where=sums > 0)
    weights = rng.random(m) * (rng.random(m) < 0.7) + 1e-3
    return weights / weights.sum(), transitions * rng.choice([1, 0.8])


def closed_test(p, weights, transitions):
    """Adjusted p of the closed test with weighted Bonferroni tests, over all intersections."""
    m, adjusted = len(p), np.zeros(len(p))
    for size in range(1, m + 1):
        for subset in itertools.combinations(range(m), size):
            share = pd.Series(weights, index=range(m))
            graph = pd.DataFrame(transitions, index=range(m), columns=range(m))
            for gone in set(range(m)) - set(subset):
                share, graph = update_graph(share, graph, gone)
            inter = min(p[i] / share[i] if share[i] > 0 else np.inf for i in subset)
            for i in subset:
                adjusted[i] = max(adjusted[i], min(1, inter))
    return adjusted


def test_adjust_keeps_the_index_and_what_is_missing():
    p = pd.Series([0.02, np.nan], index=["a", "b"], name="P")
    for method in METHODS:
        found = adjust(p, method)
        assert found.index.tolist() == ["a", "b"]
        assert found.name == "P"
        assert found["a"] == 0.02
        assert np.isnan(found["b"])
        assert np.isnan(adjust([np.nan], method)).all()
        assert len(adjust([], method)) == 0
    assert adjust(pd.Series([0.01, None], dtype="Float64"))[0] == 0.01
    assert adjust([0.01, None])[0] == 0.01


def test_adjust_leaves_its_argument_alone():
    p = np.array([0.3, 0.01])
    for method in METHODS:
        adjust(p, method)
    assert p.tolist() == [0.3, 0.01]
    assert adjust(p, "none").tolist() == [0.3, 0.01]


def test_methods_are_ordered_and_monotone():
    rng = np.random.default_rng(1)
    for _ in range(20):
        p = np.sort(rng.random(rng.integers(1, 12)) ** 2)
        found = {method: adjust(p, method) for method in METHODS}
        chain = ("none", "bh", "hommel", "hochberg", "holm", "bonferroni")
        for less, more in itertools.pairwise(chain):
            assert (found[less] <= found[more] + 1e-12).all(), (less, more)
        assert (found["bh"] <= found["by"]).all()
        for values in found.values():
            assert (np.diff(values) >= 0).all()
            assert (values <= 1).all()


def test_a_larger_family_is_one_with_tests_of_p_1():
    p = [0.001, 0.02, 0.03]
    for method in METHODS:
        np.testing.assert_array_equal(adjust(p, method, n=5), adjust([*p, 1, 1], method)[:3])
        np.testing.assert_array_equal(adjust(p, method, n=3), adjust(p, method))
    assert adjust([0.001, np.nan, 0.02], "bonferroni", n=2)[0] == 0.002
    np.testing.assert_allclose(adjust(p, "bonferroni", n=100), [0.1, 1, 1])


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([0.2, 1.2], "between 0 and 1, number 2 is 1.2"),
        (pd.Series([0.2, -0.1], index=["FEV1", "CAT"]), r"number 2 \(CAT\) is -0.1"),
        ([np.inf], "number 1 is inf"),
        (["<0.001"], "holds text"),
        ([[0.1, 0.2]], "2 dimensions"),
        (0.1, "0 dimensions"),
    ],
)
def test_what_is_no_p_value_is_refused(p, message):
    with pytest.raises(ValueError, match=message):
        adjust(p)


def test_bad_arguments_of_adjust():
    with pytest.raises(ValueError, match="method 'fdr'"):
        adjust([0.2], "fdr")
    for n in (1, 2.5, "4"):
        with pytest.raises(ValueError, match="no family of 2 tests"):
            adjust([0.2, 0.1], n=n)


def test_fixed_sequence():
    p = pd.Series([0.2, 0.01, 0.03, 0.001], index=["C", "A", "B", "D"])
    table = fixed_sequence(p, 0.05, order=["A", "B", "C", "D"])
    assert table["hypothesis"].tolist() == ["C", "A", "B", "D"]
    assert table["p_adjusted"].tolist() == [0.2, 0.01, 0.03, 0.2]
    assert table["rejected"].tolist() == [False, True, True, False]
    assert table["step"].tolist() == [3, 1, 2, 4]
    assert fixed_sequence([0.05, 0.01])["rejected"].tolist() == [True, True]


def test_a_missing_test_ends_the_sequence():
    table = fixed_sequence([0.01, np.nan, 0.01])
    assert table["rejected"].tolist() == [True, False, False]
    assert np.isnan(table["p_adjusted"][1])
    assert table["p_adjusted"][2] == 1


def test_common_procedures_are_graphs():
    rng = np.random.default_rng(2)
    for m in (2, 3, 5, 8):
        for _ in range(10):
            p = rng.random(m) ** 3
            equal = np.full(m, 1 / m)
            holm = graphical(p, equal, complete_graph(m))["p_adjusted"]
            np.testing.assert_allclose(holm, adjust(p, "holm"), rtol=1e-12)
            plain = graphical(p, equal, np.zeros((m, m)))["p_adjusted"]
            np.testing.assert_allclose(plain, adjust(p, "bonferroni"), rtol=1e-12)
            first = np.eye(m)[0]
            chain = graphical(p, first, np.eye(m, k=1))
            np.testing.assert_allclose(chain["p_adjusted"], np.maximum.accumulate(p), rtol=1e-12)
            np.testing.assert_array_equal(chain["rejected"], fixed_sequence(p)["rejected"])


def test_parallel_gatekeeping():
    # Dmitrienko, Offen & Westfall 2003: either primary opens half the level for the secondary
    # family, which is then tested by Holm.
    transitions = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [0, 0, 0, 1], [0, 0, 1, 0]]
    p = [0.01, 0.2, 0.01, 0.02]
    table = graphical(p, [0.5, 0.5, 0, 0], transitions)
    # H3 and H4 share 0.025 by Holm: 0.01 / 0.25, then 0.02 / 0.5.
    np.testing.assert_allclose(table["p_adjusted"], [0.02, 0.4, 0.04, 0.04])
    assert table["rejected"].tolist() == [True, False, True, True]
    np.testing.assert_allclose(table["level"], [0.025, 0.025, 0.0125, 0.025])
    closed = graphical([0.03, 0.2, 0.0, 0.0], [0.5, 0.5, 0, 0], transitions)
    assert not closed["rejected"].any()


def test_the_shortcut_is_the_closed_test():
    rng = np.random.default_rng(3)
    for m in (2, 3, 4):
        for _ in range(4):
            weights, transitions = random_graph(rng, m)
            p = rng.random(m) ** 3
            shortcut = graphical(p, weights, transitions)["p_adjusted"]
            closed = closed_test(p, weights, transitions)
            np.testing.assert_allclose(shortcut, closed, rtol=1e-10)


def test_the_order_of_rejections_does_not_matter_for_the_graph():
    rng = np.random.default_rng(4)
    weights, transitions = random_graph(rng, 5)
    ends = []
    for order in (("H1", "H3", "H5"), ("H5", "H1", "H3"), ("H3", "H5", "H1")):
        graph = weights, transitions
        for gone in order:
            graph = update_graph(*graph, gone)
        ends.append(graph)
    for share, matrix in ends[1:]:
        np.testing.assert_allclose(share, ends[0][0], rtol=1e-10)
        np.testing.assert_allclose(matrix, ends[0][1], rtol=1e-10)


def test_rejection_is_at_the_level_and_steps_count():
    rng = np.random.default_rng(5)
    for _ in range(20):
        weights, transitions = random_graph(rng, 6)
        table = graphical(rng.random(6) ** 4, weights, transitions, alpha=0.05)
        steps = table["step"].dropna().sort_values().tolist()
        assert steps == list(range(1, len(steps) + 1))
        assert table["step"].notna().equals(table["rejected"])
        np.testing.assert_array_equal(table["p"] <= table["level"], table["rejected"])
        left = table.loc[~table["rejected"], "level"].sum()
        assert left <= 0.05 + 1e-12


def test_names_match_weights_and_transitions():
    p = pd.Series([0.01, 0.005, 0.015, 0.022], index=list("abcd"))
    weights = pd.Series([0, 0.5, 0, 0.5], index=list("dbca"))
    transitions = pd.DataFrame(0.0, index=list("dcba"), columns=list("badc"))
    for start, end in ("ac", "bd", "cb", "da"):
        transitions.loc[start, end] = 1
    table = graphical(p, weights, transitions)
    assert table["hypothesis"].tolist() == list("abcd")
    np.testing.assert_allclose(table["p_adjusted"], [0.02, 0.01, 0.03, 0.03])


def test_a_missing_hypothesis_keeps_its_share():
    table = graphical([0.02, np.nan], [0.5, 0.5], [[0, 1], [1, 0]])
    assert table["rejected"].tolist() == [True, False]
    assert np.isnan(table["p_adjusted"][1])
    assert not graphical([0.03, np.nan], [0.5, 0.5], [[0, 1], [1, 0]])["rejected"].any()


def test_levels_are_exact_on_paper():
    # 1/3 + 1/3 + 1/3 is below 1 in floating point, and 0.05 / 3 * 3 is not 0.05.
    table = graphical([0.05 / 3, 0.025, 0.05], np.full(3, 1 / 3), complete_graph(3))
    assert table["rejected"].all()


@pytest.mark.parametrize(
    ("weights", "transitions", "message"),
    [
        ([0.6, 0.5], [[0, 1], [1, 0]], "sum to 1 at most"),
        ([-0.1, 0.5], [[0, 1], [1, 0]], "0 or more"),
        ([0.5, 0.5], [[0, 1.1], [1, 0]], "transitions of H1"),
        ([0.5, 0.5], [[0, 1], [-0.2, 0]], "transitions of H2"),
        ([0.5, 0.5], [[0, 1], [0.5, 0.5]], "transition of H2 to itself is 0.5"),
        ([0.5, 0.5], [[0, np.nan], [1, 0]], "finite"),
        ([0.5, 0.5, 0], [[0, 1], [1, 0]], "2 hypotheses need 2 weights"),
        ([0.5, 0.5], [[0, 1, 0], [1, 0, 0]], "2 x 2 transitions"),
        (["half", 0.5], [[0, 1], [1, 0]], "must be numbers"),
        (pd.Series([0.5, 0.5], index=["H1", "H3"]), [[0, 1], [1, 0]], "weights are of H1, H3"),
    ],
)
def test_bad_graphs(weights, transitions, message):
    with pytest.raises(ValueError, match=message):
        graphical([0.1, 0.2], weights, transitions)


def test_bad_sequences():
    with pytest.raises(ValueError, match="order A, A"):
        fixed_sequence(pd.Series([0.1, 0.2], index=["A", "B"]), order=["A", "A"])
    with pytest.raises(ValueError, match="same name twice"):
        fixed_sequence(pd.Series([0.1, 0.2], index=["A", "A"]))
    with pytest.raises(ValueError, match="alpha 5 is not between"):
        fixed_sequence([0.1], alpha=5)
    with pytest.raises(ValueError, match="p is empty"):
        fixed_sequence([])
    with pytest.raises(ValueError, match="no hypothesis 'H9'"):
        update_graph([0.5, 0.5], [[0, 1], [1, 0]], "H9")
