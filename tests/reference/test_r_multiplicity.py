"""Adjusted p values against R's p.adjust, and graphs against gMCP, graphicalMCP and lrstat.

Relative tolerance 1e-9. R prints 15 digits in the files; the graphs' results are as published.
"""

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.multiplicity import adjust, graphical, update_graph

METHODS = {
    "bh": "BH",
    "by": "BY",
    "holm": "holm",
    "hochberg": "hochberg",
    "hommel": "hommel",
    "bonferroni": "bonferroni",
}
CASES = ("all40", "with_missing", "classic_bh1995", "single", "two_equal")
# Figure 1 of Bretz et al. 2011: two primary hypotheses, each with a secondary one.
SUCCESSIVE = [[0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]


def close(ours, theirs):
    theirs = np.atleast_1d(np.array(theirs, dtype=float))
    np.testing.assert_allclose(np.asarray(ours, float), theirs, rtol=1e-9, atol=1e-14)


def values(numbers):
    return np.atleast_1d(np.array(numbers, dtype=float))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_adjust(case, method, reference):
    want = reference("multiplicity")[case]
    close(adjust(values(want["p"]), method), want[METHODS[method]])


def test_every_case_of_the_file_is_tested(reference):
    assert set(reference("multiplicity")) == {*CASES, "by_stratum_BH", "n_larger_BH"}
    for case in CASES:
        assert set(reference("multiplicity")[case]) == {"p", *METHODS.values()}


def test_one_family_for_each_stratum(data, reference):
    want, table = reference("multiplicity")["by_stratum_BH"], data("pvalues")
    table["adjusted"] = table.groupby("stratum")["p"].transform(adjust)
    assert set(want) == set(table["stratum"])
    for stratum, theirs in want.items():
        part = table.loc[table["stratum"] == stratum].set_index("endpoint").loc[theirs["endpoint"]]
        close(part["p"], theirs["p"])
        close(part["adjusted"], theirs["BH"])


def test_larger_family(reference):
    want = reference("multiplicity")["n_larger_BH"]
    close(adjust(want["p"], "bh", n=want["n"]), want["BH"])


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        # lrstat::fadjpbon, the two rows of its example
        ([0.01, 0.005, 0.015, 0.022], [0.02, 0.01, 0.03, 0.03]),
        ([0.02, 0.015, 0.010, 0.023], [0.04, 0.03, 0.04, 0.04]),
        # graphicalMCP::graph_test_shortcut, its example, its tests, and its first vignette
        ([0.018, 0.01, 0.105, 0.006], [0.02, 0.02, 0.105, 0.02]),
        ([0.01, 0.01, 0.01, 0.01], [0.02, 0.02, 0.02, 0.02]),
        ([0.01, 0.02, 0.03, 0.05], [0.02, 0.04, 0.06, 0.06]),
    ],
)
def test_graphical(p, adjusted):
    for alpha in (0.025, 0.05):
        table = graphical(p, [0.5, 0.5, 0, 0], SUCCESSIVE, alpha=alpha)
        close(table["p_adjusted"], adjusted)
        assert table["rejected"].tolist() == [value <= alpha for value in adjusted]


def test_graph_that_is_left():
    # graphicalMCP's example at 0.025: H2, H4 and H1 go, H3 is left with the whole level.
    table = graphical([0.018, 0.01, 0.105, 0.006], [0.5, 0.5, 0, 0], SUCCESSIVE, alpha=0.025)
    assert table["step"].tolist() == [3, 1, pd.NA, 2]
    close(table["level"], [0.025, 0.0125, 0.025, 0.0125])
    weights, transitions = [0.5, 0.5, 0, 0], SUCCESSIVE
    for hypothesis in ("H2", "H4", "H1"):
        weights, transitions = update_graph(weights, transitions, hypothesis)
    assert weights.to_dict() == {"H3": 1.0}
    assert transitions.to_numpy().tolist() == [[0.0]]
    # graphicalMCP's vignette at 0.05: only A1 goes, and its level passes to B1.
    weights, transitions = update_graph([0.5, 0.5, 0, 0], SUCCESSIVE, "H1")
    assert weights.to_dict() == {"H2": 0.5, "H3": 0.5, "H4": 0.0}
    assert transitions.to_numpy().tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
