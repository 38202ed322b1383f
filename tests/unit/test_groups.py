import itertools
from math import comb, factorial, prod

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungitude.analysis.baseline import baseline
from lungitude.statistics import contingency
from lungitude.statistics.contingency import (
    association,
    breslow_day,
    cross_table,
    fisher_p,
    mantel_haenszel,
    mcnemar,
    odds_ratio,
    risk_difference,
    risk_ratio,
    trend,
)
from lungitude.statistics.distribution import equal_variances, normality, summarise
from lungitude.statistics.groups import (
    _quantile,
    compare_groups,
    compare_many,
    effect_size,
    paired,
    rank_sum_distribution,
    signed_rank_distribution,
)

COLUMNS = ["method", "statistic", "df", "p", "estimate", "ci_low", "ci_high", "n1", "n2"]


def two(one, other):
    return pd.DataFrame({"g": ["a"] * len(one) + ["b"] * len(other), "v": [*one, *other]})


@pytest.fixture
def samples():
    rng = np.random.default_rng(11)
    return two(rng.normal(0, 1, 14), rng.normal(1, 2, 11))


# --- two groups ---


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ([1.0, 2, 3, 4, 5, 7], "welch"),
        (["y", "n", "y", "n", "y", "n"], "fisher"),
        ([True, False] * 3, "fisher"),
        (list("xyzxyz"), "fisher"),
        (["y", "n"] * 20, "chi2"),
    ],
)
def test_auto_looks_at_the_kind_of_data(values, method):
    half = len(values) // 2
    found = compare_groups(two(values[:half], values[half:]), "v", "g")
    assert list(found) == COLUMNS
    assert found["method"][0] == method


def test_auto_takes_chi2_where_the_exact_sum_is_too_large(monkeypatch):
    frame = two(list("xyzxyz"), list("xyzzyz"))
    monkeypatch.setattr(contingency, "LARGEST", 1)
    with pytest.warns(UserWarning, match="too large for fisher"):
        assert compare_groups(frame, "v", "g")["method"][0] == "chi2"
    with pytest.raises(ValueError, match=r"2 x 3 table of 12 observations.*use chi2"):
        compare_groups(frame, "v", "g", "fisher")


def test_order_of_the_groups_turns_the_sign(samples):
    turned = samples.assign(g=pd.Categorical(samples["g"], ["b", "a"]))
    for method in ("welch", "student", "mann-whitney"):
        one, other = (compare_groups(f, "v", "g", method).iloc[0] for f in (samples, turned))
        assert np.isclose(one["p"], other["p"], rtol=1e-12)
        assert np.allclose(
            [one["estimate"], one["ci_low"], one["ci_high"]],
            [-other["estimate"], -other["ci_high"], -other["ci_low"]],
        )


@pytest.mark.parametrize("method", ["welch", "student", "mann-whitney"])
def test_one_sided_interval_is_half_of_a_wider_one(samples, method):
    wide = compare_groups(samples, "v", "g", method, confidence=0.9).iloc[0]
    less, greater = (
        compare_groups(samples, "v", "g", method, alternative=side).iloc[0]
        for side in ("less", "greater")
    )
    assert np.isclose(less["ci_high"], wide["ci_high"])
    assert less["ci_low"] == -np.inf
    assert np.isclose(greater["ci_low"], wide["ci_low"])
    assert greater["ci_high"] == np.inf
    assert np.isclose(2 * min(less["p"], greater["p"]), wide["p"])


def test_exact_rank_sum_is_the_count_of_permutations():
    values = np.array([0.3, 1.1, -0.4, 2.0, 2.2, 0.9, -1.0])
    sums = [sum(c) for c in itertools.combinations(stats.rankdata(values), 3)]
    observed = stats.rankdata(values)[:3].sum()
    less = np.mean([s <= observed for s in sums])
    greater = np.mean([s >= observed for s in sums])
    found = compare_groups(two(values[:3], values[3:]), "v", "g", "mann-whitney")
    assert np.isclose(found["p"][0], min(1, 2 * min(less, greater)))


def test_distributions_of_ranks():
    # qwilcox(0.025, 5, 6), qwilcox(0.05, 10, 8), qsignrank(0.025, 10)
    assert _quantile(rank_sum_distribution(5, 6), 0.025) == 4
    assert _quantile(rank_sum_distribution(10, 8), 0.05) == 21
    assert _quantile(signed_rank_distribution(10), 0.025) == 9
    assert np.isclose(rank_sum_distribution(30, 20)[0], 1 / comb(50, 20), rtol=1e-12)
    assert np.isclose(rank_sum_distribution(49, 49).sum(), 1)


def test_interval_of_the_shift_agrees_with_the_test():
    """Shifted by just less than a limit the test is significant, by just more it is not."""
    rng = np.random.default_rng(4)
    one, other = np.round(rng.normal(1, 1, 60), 1), np.round(rng.normal(0, 1, 55), 1)
    found = compare_groups(two(one, other), "v", "g", "mann-whitney").iloc[0]
    p = [
        compare_groups(two(one - shift, other), "v", "g", "mann-whitney")["p"][0]
        for shift in (
            found["ci_low"] - 1e-4,
            found["ci_low"] + 1e-4,
            found["ci_high"] - 1e-4,
            found["ci_high"] + 1e-4,
        )
    ]
    assert p[0] < 0.05 < p[1]
    assert p[3] < 0.05 < p[2]


@pytest.mark.parametrize(
    ("one", "other", "method"),
    [
        (stats.norm.ppf(np.arange(1, 20) / 20), stats.norm.ppf(np.arange(1, 20) / 20), "student"),
        (
            stats.norm.ppf(np.arange(1, 20) / 20),
            stats.expon.ppf(np.arange(20) / 20),
            "mann-whitney",
        ),
        (["y"] * 9 + ["n"] * 11, ["y"] * 12 + ["n"] * 8, "chi2"),
        (["y"] * 2 + ["n"] * 18, ["y"] * 5 + ["n"] * 15, "fisher"),
    ],
)
def test_published_way_of_choosing(one, other, method):
    frame = two(one, other)
    chosen, direct = (compare_groups(frame, "v", "g", name) for name in ("published", method))
    pd.testing.assert_frame_equal(chosen, direct)


def test_table_of_baseline_goes_on_where_a_test_cannot():
    adsl = pd.DataFrame({"TRT01P": list("AABBAABB"), "ITTFL": "Y", "AGE": 60.0, "SEX": "F"})
    adsl["USUBJID"], adsl["BMI"] = list("12345678"), [20.0, 22, 24, 26, 21, 23, 25, 28]
    table = baseline(
        adsl,
        {"tests": True},
        [{"code": "A"}, {"code": "B", "reference": True}],
        [],
        characteristics=[
            {"column": "AGE", "type": "continuous"},
            {"column": "SEX", "type": "category"},
            {"column": "BMI", "type": "continuous"},
        ],
    )
    rows = table.loc[table["STAT"] == "p"].set_index("PARAMCD")
    assert rows["VALUE"].notna().to_dict() == {"AGE": False, "SEX": False, "BMI": True}
    assert rows["NOTE"].to_dict() == {
        "AGE": "not estimated: 'AGE' has no variation, all 8 values are equal",
        "SEX": "not estimated: 'SEX' has no variation, all 8 are F",
        "BMI": "welch",
    }


@pytest.mark.parametrize(
    ("frame", "method", "text"),
    [
        (two([1.0, 1], [1.0, 1]), "welch", "'v' has no variation"),
        (two([1.0, 1], [1.0, 1]), "mann-whitney", "'v' has no variation"),
        (two([1.0, 1], [2.0, 2]), "student", "'v' has no variation within the groups"),
        (two([1e6 + 0.1] * 3, [1e6 + 0.3] * 3), "welch", "'v' has no variation within the groups"),
        (two(["x", "x"], ["x", "x"]), "auto", "'v' has no variation, all 4 are x"),
        (two([1.0], [2.0, 3]), "welch", "needs two values of 'v' in each group, there are 1 and 2"),
        (two([1.0, np.inf], [2.0, 3]), "welch", "infinite"),
        (two([np.nan] * 2, [2.0, 3]), "welch", r"two levels with data \(found: b\)"),
        (two([np.nan] * 2, [np.nan] * 2), "auto", "found: none"),
        (two(list("xyz"), list("xyz")), "chi2-yates", "needs two categories, 3 are there"),
        (two(list("xyz"), list("xyz")), "welch", "holds text"),
        (two([1.0, 2], [3.0, 4]), "anova", "method 'anova'"),
    ],
)
def test_bad_input_of_compare_groups(frame, method, text):
    with pytest.raises(ValueError, match=f"compare_groups: .*{text}"):
        compare_groups(frame, "v", "g", method)


def test_options_that_do_not_apply(samples):
    with pytest.raises(ValueError, match="no column 'w'"):
        compare_groups(samples, "w", "g")
    with pytest.raises(ValueError, match="alternative 'up'"):
        compare_groups(samples, "v", "g", alternative="up")
    with pytest.raises(ValueError, match="no exact distribution with ties"):
        compare_groups(two([1.0, 1, 2], [2.0, 3]), "v", "g", "mann-whitney", exact=True)
    with pytest.raises(ValueError, match="chi2 is two-sided"):
        compare_groups(two("xyxy", "xxyy"), "v", "g", "chi2", alternative="less")


# --- pairs ---


def test_exact_signed_rank_is_the_count_of_signs():
    difference = np.array([0.5, -1.2, 2.3, 3.1, -0.1, 1.7])
    frame = pd.DataFrame({"x": 0.0, "y": difference})
    ranks = stats.rankdata(np.abs(difference))
    sums = [(ranks * signs).sum() for signs in itertools.product([0, 1], repeat=6)]
    v = ranks[difference > 0].sum()
    p = min(1, 2 * min(np.mean(np.array(sums) <= v), np.mean(np.array(sums) >= v)))
    found = paired(frame, "x", "y", "wilcoxon").iloc[0]
    assert np.isclose(found["p"], p)
    assert found["statistic"] == v
    averages = np.sort(
        [(a + b) / 2 for a, b in itertools.combinations_with_replacement(difference, 2)]
    )
    assert np.isclose(found["estimate"], np.median(averages))
    # qsignrank(0.025, 6) is 1: the outermost averages
    assert np.allclose(found[["ci_low", "ci_high"]].astype(float), averages[[0, -1]])


def test_paired_is_after_minus_before():
    frame = pd.DataFrame({"x": [1.0, 2, 3, 4, 5, 6, np.nan], "y": [2.0, 4, 6, 8, 10, 12, 1]})
    for method in ("auto", "wilcoxon"):
        found = paired(frame, "x", "y", method).iloc[0]
        assert found["estimate"] == 3.5
        assert found["n"] == 6


def test_few_pairs_cannot_give_the_interval():
    frame = pd.DataFrame({"x": 0.0, "y": [1.0, 1, 2, 3, 0]})
    with pytest.warns(UserWarning, match="4 differences that are not 0 cannot give confidence"):
        found = paired(frame, "x", "y", "wilcoxon").iloc[0]
    assert found["ci_low"] <= found["estimate"] <= found["ci_high"]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ([1.0, 2, 3], [2.0, 3, 4], "all differences of 'y' from 'x' are equal"),
        ([1.0, np.nan], [2.0, 3], "1 complete pairs"),
        (["a", "b"], [2.0, 3], "holds text"),
    ],
)
def test_bad_input_of_paired(before, after, text):
    with pytest.raises(ValueError, match=text):
        paired(pd.DataFrame({"x": before, "y": after}), "x", "y")


# --- effect sizes and several groups ---


def test_effect_sizes(samples):
    one, other = (part["v"].to_numpy() for _, part in samples.groupby("g"))
    cohen = effect_size(samples, "v", "g", "cohen").iloc[0]
    t = compare_groups(samples, "v", "g", "student")["statistic"][0]
    scale = np.sqrt(1 / len(one) + 1 / len(other))
    assert np.isclose(cohen["estimate"], t * scale)
    # the limits are the noncentralities that put t at the tails
    tails = stats.nct.cdf(t, len(samples) - 2, cohen[["ci_high", "ci_low"]].astype(float) / scale)
    assert np.allclose(tails, [0.025, 0.975], atol=1e-10)
    hedges = effect_size(samples, "v", "g").iloc[0]
    assert np.isclose(hedges["estimate"] / cohen["estimate"], 1 - 3 / (4 * 23 - 1), atol=1e-4)
    glass = effect_size(samples, "v", "g", "glass").iloc[0]
    assert np.isclose(glass["estimate"], (one.mean() - other.mean()) / other.std(ddof=1))
    assert glass["ci_low"] < glass["estimate"] < glass["ci_high"]
    cliff = np.sign(np.subtract.outer(one, other)).mean()
    rank = effect_size(samples, "v", "g", "rank-biserial").iloc[0]
    share = effect_size(samples, "v", "g", "common-language").iloc[0]
    assert np.isclose(rank["estimate"], cliff)
    assert np.isclose(share["estimate"], (cliff + 1) / 2)
    assert np.isclose(share["ci_low"], (rank["ci_low"] + 1) / 2)
    half = stats.norm.ppf(0.975) * np.sqrt((len(samples) + 1) / (3 * len(one) * len(other)))
    assert np.isclose(np.arctanh(rank["ci_high"]) - np.arctanh(cliff), half)


def test_effect_size_at_the_edges():
    apart = two([1.0, 2, 3], [5.0, 6])
    with pytest.warns(UserWarning, match="do not overlap"):
        assert effect_size(apart, "v", "g", "rank-biserial")["estimate"][0] == -1
    far = two([1.0, 1 + 1e-9, 1], [9.0, 9 + 1e-9, 9])
    with pytest.warns(UserWarning, match="too far apart"):
        assert np.isnan(effect_size(far, "v", "g")["ci_low"][0])
    with pytest.raises(ValueError, match="two values of 'v' are needed in each group"):
        effect_size(two([1.0], [5.0, 6]), "v", "g")
    with pytest.raises(ValueError, match="no variation in the second group"):
        effect_size(two([1.0, 2], [5.0, 5]), "v", "g", "glass")


def test_two_of_several_groups_are_two_groups(samples):
    pairs = {"anova": "student", "welch": "welch"}
    for many, pair in pairs.items():
        f, t = compare_many(samples, "v", "g", many), compare_groups(samples, "v", "g", pair)
        assert np.isclose(f["statistic"][0], t["statistic"][0] ** 2)
        assert np.isclose(f["p"][0], t["p"][0])
        assert np.isclose(f["df2"][0], t["df"][0])
    # without ties and correction Kruskal-Wallis is the square of the rank sum's z
    p = compare_groups(samples, "v", "g", "mann-whitney", exact=False, correct=False)["p"][0]
    assert np.isclose(compare_many(samples, "v", "g", "kruskal")["p"][0], p)


@pytest.mark.parametrize(
    ("frame", "method", "text"),
    [
        (two([1.0, 2], [np.nan]), "anova", r"two or more levels \(found: a\)"),
        (two([1.0, 1], [2.0, 2]), "anova", "no variation within the groups"),
        (two([1.0, 2], [2.0]), "welch", "welch needs variation of 'v' in group b"),
        (two([1.0, 1], [1.0]), "kruskal", "no variation"),
        (two("xx", "xx"), "chi2", "no variation, all 4 are x"),
        (two("xy", "xy"), "kruskal", "holds text"),
    ],
)
def test_bad_input_of_compare_many(frame, method, text):
    with pytest.raises(ValueError, match=f"compare_many: .*{text}"):
        compare_many(frame, "v", "g", method)


# --- tables ---


def enumerated(table):
    """Compute p of Fisher's test from every table with the margins, in whole numbers."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)

    def columns_of(room, total):
        if len(room) == 1:
            return [(total,)] if total <= room[0] else []
        return [
            (first, *rest)
            for first in range(min(room[0], total) + 1)
            for rest in columns_of(room[1:], total - first)
        ]

    def tables(room, left):
        if not left:
            yield ()
            return
        for column in columns_of(room, left[0]):
            after = tuple(r - c for r, c in zip(room, column, strict=True))
            for rest in tables(after, left[1:]):
                yield (column, *rest)

    numerator = prod(factorial(int(k)) for k in (*rows, *columns))
    weights = [
        numerator // prod(factorial(int(k)) for column in found for k in column)
        for found in tables(tuple(map(int, rows)), tuple(map(int, columns)))
    ]
    own = numerator // prod(factorial(int(k)) for k in table.ravel())
    assert sum(weights) == factorial(int(table.sum()))
    return sum(w for w in weights if w <= own) / sum(weights)


@pytest.mark.parametrize(
    ("shape", "n"),
    [((2, 2), 17), ((2, 3), 25), ((3, 3), 14), ((3, 4), 13), ((5, 2), 18), ((4, 4), 9)],
)
@pytest.mark.parametrize("seed", range(4))
def test_fisher_is_the_sum_over_all_tables(shape, n, seed):
    rng = np.random.default_rng(seed)
    table = np.ones(shape, int) * (rng.random(shape) < 0.3)
    np.add.at(table, tuple(rng.integers(0, size, n) for size in shape), 1)
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    expected = enumerated(table)
    assert np.isclose(fisher_p(table), expected, rtol=1e-11)
    turned = table[rng.permutation(table.shape[0])][:, rng.permutation(table.shape[1])].T
    assert np.isclose(fisher_p(turned), expected, rtol=1e-11)


def test_fisher_in_small_batches_is_the_same(monkeypatch):
    # the table of job satisfaction in R's help of fisher.test, p = 0.7827
    table = np.array([[1, 3, 10, 6], [2, 3, 10, 7], [1, 6, 14, 12], [0, 1, 9, 11]])
    whole = fisher_p(table)
    assert round(whole, 4) == 0.7827
    monkeypatch.setattr(contingency, "BATCH", 5000)
    assert np.isclose(fisher_p(table), whole, rtol=1e-12)
    monkeypatch.setattr(contingency, "HELD", 500)
    with pytest.raises(ValueError, match="4 x 4 table of 96 observations has too many tables"):
        fisher_p(table)


def test_fisher_of_a_large_table():
    """Probability of the only table that is as extreme: all of a row in one column."""
    table = np.diag([60, 50, 40])
    ways = factorial(150) // (factorial(60) * factorial(50) * factorial(40))
    assert np.isclose(fisher_p(table), 1 / ways, rtol=1e-10)
    with pytest.raises(ValueError, match=r"too many tables with its margins.*use chi2"):
        fisher_p(np.full((6, 6), 40))


def test_conditional_odds_ratio_of_scipy_is_the_same():
    for table in ([[7, 3], [2, 9]], [[120, 80], [95, 110]], [[0, 9], [7, 6]], [[5, 0], [2, 6]]):
        theirs = stats.contingency.odds_ratio(table)
        ours = odds_ratio(table, "conditional").iloc[0]
        interval = theirs.confidence_interval()
        assert np.allclose(
            ours[["estimate", "ci_low", "ci_high"]].astype(float),
            [theirs.statistic, interval.low, interval.high],
            rtol=1e-7,
        )


def test_strata_of_the_exact_test():
    tables = [np.array([[4, 2], [1, 5]]), np.array([[3, 3], [2, 6]])]
    alone = mantel_haenszel(tables[:1], "exact").iloc[0]
    single = odds_ratio(tables[0], "conditional").iloc[0]
    for name in ("estimate", "ci_low", "ci_high"):
        assert np.isclose(alone[name], single[name], rtol=1e-12)
    assert np.isclose(alone["p"], fisher_p(tables[0]))
    # all pairs of tables, weighted at the odds ratios that were found
    both = mantel_haenszel(tables, "exact").iloc[0]

    def chances(ratio):
        found = {}
        for a, b in itertools.product(range(6), range(7)):
            weight = comb(6, a) * comb(6, 5 - a) * comb(6, b) * comb(8, 5 - b) if b <= 5 else 0
            found[a + b] = found.get(a + b, 0) + weight * ratio ** (a + b)
        total = sum(found.values())
        return {key: value / total for key, value in found.items()}

    assert np.isclose(sum(k * v for k, v in chances(both["estimate"]).items()), 7, rtol=1e-10)
    assert np.isclose(sum(v for k, v in chances(both["ci_low"]).items() if k >= 7), 0.025)
    assert np.isclose(sum(v for k, v in chances(both["ci_high"]).items() if k <= 7), 0.025)


def test_same_odds_ratio_in_all_strata():
    tables = np.array([[[6, 3], [4, 2]], [[10, 5], [8, 4]]])  # 1 in each
    found = breslow_day(tables)
    assert np.isclose(found["statistic"][0], 0, atol=1e-12)
    assert found["estimate"][0] == 1
    three = np.array([[[6, 3], [2, 3]], [[20, 10], [10, 15]]])  # 3 in each
    assert np.isclose(breslow_day(three, tarone=False)["statistic"][0], 0, atol=1e-12)
    assert np.isclose(mantel_haenszel(three)["estimate"][0], 3)


def test_strata_that_tell_nothing_are_left_out():
    tables = {"I": [[4, 2], [1, 5]], "II": [[3, 0], [2, 0]]}
    with pytest.warns(UserWarning, match="1 strata lack a group or an outcome"):
        found = mantel_haenszel(tables)
    alone = mantel_haenszel([tables["I"]])
    assert found["p"][0] == alone["p"][0]
    assert (found["n"][0], found["strata"][0]) == (17, 1)
    with pytest.raises(ValueError, match="no stratum has both groups"):
        mantel_haenszel([tables["II"]])
    with (
        pytest.warns(UserWarning, match="1 strata"),
        pytest.raises(ValueError, match="breslow_day: two strata"),
    ):
        breslow_day(tables)
    with pytest.warns(UserWarning, match="no interval on the log scale"):
        assert mantel_haenszel([[[4, 2], [0, 5]]])["estimate"][0] == np.inf


def test_table_of_patients_and_of_counts():
    patients = pd.DataFrame({"g": list("aabbb"), "v": list("ynyny"), "s": list("uuvvv")})
    table = cross_table(patients, "g", "v", event="y")
    assert table.to_numpy().tolist() == [[1, 1], [2, 1]]
    counts = table.reset_index().melt("g", value_name="size")
    pd.testing.assert_frame_equal(cross_table(counts, "g", "v", counts="size", event="y"), table)
    strata = cross_table(patients, "g", "v", strata="s", event="y")
    assert {key: part.to_numpy().tolist() for key, part in strata.items()} == {
        "u": [[1, 1], [0, 0]],
        "v": [[0, 0], [2, 1]],
    }
    with pytest.raises(ValueError, match="event 'z' is no level of 'v'"):
        cross_table(patients, "g", "v", event="z")
    with pytest.raises(ValueError, match="'size' must hold counts"):
        cross_table(counts.assign(size=0.5), "g", "v", counts="size")


def test_differences_of_shares_at_the_edges():
    none = [[0, 10], [0, 12]]
    found = risk_difference(none).iloc[0]
    assert found["estimate"] == 0
    assert found["ci_low"] < 0 < found["ci_high"]
    with pytest.raises(ValueError, match="neither group has an event"):
        risk_ratio(none)
    with pytest.raises(ValueError, match="column 1 of the table is empty"):
        odds_ratio(none)
    with pytest.warns(UserWarning, match="a count is 0"):
        assert odds_ratio([[3, 0], [2, 4]])["estimate"][0] == np.inf
    with pytest.raises(ValueError, match="group 2 of the table is empty"):
        risk_difference([[1, 2], [0, 0]])


def test_mcnemar_sees_only_who_changed():
    one, other = mcnemar([[50, 3], [9, 7]]).iloc[0], mcnemar([[0, 3], [9, 0]]).iloc[0]
    assert one["p"] == other["p"]
    assert one["estimate"] == other["estimate"] == 3 / 9
    assert np.isclose(mcnemar([[1, 3], [9, 1]], "exact")["p"][0], stats.binomtest(3, 12).pvalue)
    # no correction below 0, as R and unlike statsmodels
    assert mcnemar([[1, 4], [4, 1]])["p"][0] == 1
    with pytest.raises(ValueError, match="no pair differs"):
        mcnemar([[4, 0], [0, 5]])


def test_trend_is_the_correlation_of_outcome_and_score():
    table = np.array([[3, 6, 9], [12, 8, 5]])
    score = np.repeat([1, 2, 3, 1, 2, 3], table.ravel())
    outcome = np.repeat([1, 1, 1, 0, 0, 0], table.ravel())
    found = trend(table).iloc[0]
    assert np.isclose(found["statistic"], len(score) * np.corrcoef(score, outcome)[0, 1] ** 2)
    assert np.isclose(found["slope"], np.polyfit(score, outcome, 1)[0])
    assert np.isclose(trend(table, [10, 20, 30])["p"][0], found["p"])
    with pytest.raises(ValueError, match="scores must be 3 finite numbers"):
        trend(table, [1, 2])


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ([[1, 2]], "at least 2 x 2 is needed, this one is 1 x 2"),
        ([[1, -2], [3, 4]], "must hold counts"),
        ([[1, 2.5], [3, 4]], "must hold counts"),
        ([[1, np.nan], [3, 4]], "must hold counts"),
        ([["a", 2], [3, 4]], "must hold numbers"),
        ([[1, 2], [0, 0]], "row 2 of the table is empty"),
        ([[1, 0], [3, 0]], "column 2 of the table is empty"),
    ],
)
def test_bad_tables(table, text):
    with pytest.raises(ValueError, match=f"association: .*{text}"):
        association(table)


# --- distribution ---


def test_normality_by_group():
    frame = pd.DataFrame({"v": [1.0, 2, 4, 8, 3, 5, 5, 5, 5], "g": list("aaaabbccc")})
    with pytest.warns(UserWarning, match="normality: 'v'") as caught:
        found = normality(frame, "v", by="g").set_index("g")
    texts = " ".join(str(item.message) for item in caught)
    assert "not 2 (b)" in texts
    assert "all 3 values are equal (c)" in texts
    assert np.isclose(found.loc["a", "p"], stats.shapiro([1, 2, 4, 8]).pvalue)
    assert found.loc[["b", "c"], "p"].isna().all()
    assert list(found["n"]) == [4, 2, 3]
    with pytest.raises(
        ValueError, match="'v': the Shapiro-Wilk test needs 3 to 5000 values, not 2"
    ):
        normality(frame.iloc[4:6], "v")
    with pytest.raises(ValueError, match="are equal"):
        normality(frame.iloc[6:], "v", by="g")
    with pytest.raises(ValueError, match="holds text"):
        normality(frame, "g")
    with pytest.raises(ValueError, match="no row has all of"):
        normality(frame.assign(v=np.nan), "v", by="g")


def test_normality_has_no_unit():
    x = np.random.default_rng(1).gamma(2, size=50)
    found = [normality(pd.DataFrame({"v": v}), "v").iloc[0] for v in (x, 1e-12 * x, 1e6 + 1e-3 * x)]
    for other in found[1:]:
        assert np.isclose(found[0]["p"], other["p"], rtol=1e-5)


@pytest.mark.parametrize(
    ("frame", "method", "text"),
    [
        (two([1.0, 2], [3.0]), "levene", "a single value in group b"),
        (two([1.0, 2], [3.0, 3]), "bartlett", "no variation in group b"),
        (two([1.0, 1], [3.0, 3]), "levene", "no variation in any group"),
        (two([1.0, 2], [3.0, 5]), "levene", "as far from their mean"),
        (two([1.0, 2], [np.nan, np.nan]), "f", r"must have two levels with data \(found: a\)"),
    ],
)
def test_bad_input_of_equal_variances(frame, method, text):
    with pytest.raises(ValueError, match=text):
        equal_variances(frame, "v", "g", method)


def test_levene_is_the_analysis_of_distances(samples):
    for method, centre in (("levene", "mean"), ("brown-forsythe", "median")):
        away = (samples["v"] - samples.groupby("g")["v"].transform(centre)).abs()
        direct = compare_many(samples.assign(v=away), "v", "g", "anova")
        found = equal_variances(samples, "v", "g", method)
        assert np.isclose(found["p"][0], direct["p"][0])


def test_summary_by_group():
    frame = pd.DataFrame({"g": list("bbbba"), "v": [1.0, 2, 3, 4, np.nan]})
    with pytest.warns(UserWarning, match="no value of 'v' in a"):
        found = summarise(frame, "v", "g").set_index("g")
    assert list(found["n"]) == [0, 4]
    assert list(found["missing"]) == [1, 0]
    assert found.loc["b", ["q1", "median", "q3"]].tolist() == [1.5, 2.5, 3.5]  # PCTLDEF=5
    seven = summarise(frame, "v", quantiles="linear").iloc[0]
    assert seven[["q1", "median", "q3"]].tolist() == [1.75, 2.5, 3.25]
    with pytest.raises(ValueError, match="holds no value"):
        summarise(frame.tail(1), "v")
    with pytest.raises(ValueError, match="quantiles 'sas'"):
        summarise(frame, "v", quantiles="sas")


def test_what_is_shown_is_one_choice_for_all_arms():
    normal, skew = stats.norm.ppf(np.arange(1, 31) / 31), stats.expon.ppf(np.arange(30) / 30)
    frame = pd.concat(
        [
            pd.DataFrame({"visit": visit, "arm": arm, "v": values})
            for visit, arm, values in (
                ("w0", "A", normal),
                ("w0", "B", normal + 1),
                ("w6", "A", normal),
                ("w6", "B", skew),
            )
        ]
    )
    found = summarise(frame, "v", by=["visit", "arm"], by_normality="arm")
    assert list(found["shown"]) == ["mean (SD)"] * 2 + ["median (IQR)"] * 2
    assert np.isclose(found["normality_p"][3], stats.shapiro(skew).pvalue)
    week6 = frame.loc[frame["visit"] == "w6"]
    assert set(summarise(week6, "v", "arm", "arm")["shown"]) == {"median (IQR)"}
    with pytest.raises(ValueError, match="by_normality 'arm' is not one of by"):
        summarise(frame, "v", by="visit", by_normality="arm")
