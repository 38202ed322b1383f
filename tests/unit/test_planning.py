"""Sample size and power: published and R's numbers, identities, and simulation against them.

R's numbers are those of its help pages and of the packages' own tests. Roots that R finds by
uniroot (tolerance 1.2e-4 of the argument) are compared at 1e-5.
"""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungitude.statistics.planning import (
    power,
    simulate_block,
    simulate_power,
    summarise_trials,
)

VISITS = ["Baseline", "Week 6", "Week 12"]
TRIAL = {"I": 48, "II": 106, "III": 156, "IV": 90}  # the published trial's strata


def one(*arguments, **options):
    table = power(*arguments, **options)
    assert len(table) == 1
    return table.iloc[0]


def plan(n=24, delta=3.0, rho=0.6, sd=5.0, **more):
    correlation = np.array([[1, 0.7, rho], [0.7, 1, 0.7], [rho, 0.7, 1]])
    return {
        "visits": VISITS,
        "arms": {
            "CG": {"n": n, "means": [20, 20, 20]},
            "EG": {"n": n, "means": [20, 20 + delta / 2, 20 + delta]},
        },
        "covariance": sd**2 * correlation,
        **more,
    }


# The published trial ------------------------------------------------------------------------


def test_the_published_sample_size():
    row = one(kind="t", delta=3, sd=5, alpha=0.05, power=0.8, dropout=0.0)
    assert row["n_per_arm_normal"] == 44
    assert row["n_per_arm"] == 45
    assert row["n_second_arm"] == 45
    assert row["n_total"] == row["n_total_randomised"] == 90
    assert 0.8 <= row["power_achieved"] < 0.81
    assert row["power_normal"] > row["power_achieved"]


def test_drop_out_of_the_published_trial():
    row = one(delta=3, sd=5, power=0.8, dropout=0.15)
    assert row["n_per_arm_normal_randomised"] == 52  # the paper says 50
    assert row["n_per_arm_randomised"] == 53
    assert row["n_per_arm"] == 45
    assert row["n_total_randomised"] == 106


def test_power_in_each_stratum_of_the_published_trial():
    table = power(delta=3, sd=5, strata=TRIAL, dropout=0.15)
    assert table["STRATUM"].tolist() == ["all", *TRIAL]
    assert table["n_total_randomised"].tolist() == [400, 48, 106, 156, 90]
    assert table["n_per_arm"].tolist() == [170, 20, 45, 66, 38]
    for _, row in table.iterrows():
        alone = one(delta=3, sd=5, n=row["n_per_arm"])
        assert row["power"] == alone["power"]
    assert table.set_index("STRATUM").loc["I", "power"] < 0.5
    smallest = power(sd=5, strata=TRIAL)
    assert (smallest["power"] == 0.8).all()
    assert smallest["delta"].rank().tolist() == [1, 5, 3, 2, 4]


def test_eleven_primary_endpoints_and_the_interaction():
    assert one(delta=3, sd=5, tests=11)["n_per_arm"] == 78
    # 80% power for a difference of 4.9 between the effects in GOLD I and II
    row = one("interaction", sd=5, strata={"I": 48, "II": 106}, n=77)
    assert round(row["delta"], 1) == 4.9


# R -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "column", "theirs", "rtol"),
    [
        # power.t.test leaves the far tail out (strict = FALSE), 2.3e-7 here
        ({"delta": 1, "sd": 1, "n": 20}, "power", 0.86895280169249778, 5e-7),
        ({"delta": 1, "sd": 1, "power": 0.9}, "n_fractional", 22.021097703851229, 1e-6),
        ({"delta": 1, "sd": 1, "power": 0.9, "sides": 1}, "n_fractional", 17.84713, 1e-6),
        ({"delta": 1, "sd": 2.5, "n": 100}, "power", 0.8036466, 2e-6),
        ({"kind": "paired", "delta": 0.8, "sd": 1}, "n_fractional", 14.302803316243569, 1e-5),
        # pwr.t2n.test
        (
            {"delta": 0.6, "sd": 1, "n": 90, "ratio": 60 / 90, "sides": 1},
            "power",
            0.973726154629217,
            1e-9,
        ),
        ({"delta": 0.5, "sd": 1, "n": 28, "ratio": 35 / 28}, "power", 0.492458788318539, 1e-9),
        # pwr.r.test
        ({"kind": "correlation", "delta": 0.3, "n": 50}, "power", 0.57155584186020802, 1e-9),
        (
            {"kind": "correlation", "delta": 0.3, "n": 50, "sides": 1},
            "power",
            0.691139485379656,
            1e-9,
        ),
        ({"kind": "correlation", "delta": 0.3}, "n_fractional", 84.073639782287657, 1e-6),
        (
            {"kind": "correlation", "delta": 0.1, "alpha": 0.01},
            "n_fractional",
            1162.56417426414,
            1e-6,
        ),
        # power.prop.test, and pwr.2p.test with h = 0.3
        ({"kind": "proportion", "p1": 0.5, "delta": 0.25, "n": 50}, "power", 0.7401659, 1e-7),
        (
            {
                "kind": "proportion",
                "method": "arcsine",
                "p1": 0.5,
                "delta": np.sin(np.pi / 4 + 0.15) ** 2 - 0.5,
                "n": 80,
                "sides": 1,
            },
            "power",
            0.599677704546438,
            1e-9,
        ),
        # gsDesign::nEvents: 246.79 and 169.18 events, 277.64 with 1:2
        ({"kind": "logrank", "delta": 0.7, "events": 1}, "n_fractional", 246.79 / 2, 2e-5),
        ({"kind": "logrank", "delta": 0.65, "events": 1}, "n_fractional", 169.18 / 2, 3e-5),
        (
            {"kind": "logrank", "delta": 0.7, "events": 1, "ratio": 2},
            "n_fractional",
            277.64 / 3,
            2e-5,
        ),
        # longpower::power.mmrm and power.mmrm.ar1
        (
            {
                "kind": "mmrm",
                "delta": 0.5,
                "sd": 1,
                "n": 87,
                "retention": [1, 0.9, 0.8, 0.7],
                "correlation": ("cs", 0.25),
            },
            "power_normal",
            0.800037187212964,
            1e-6,
        ),
        (
            {
                "kind": "mmrm",
                "delta": 0.9,
                "sd": 1,
                "n": 40,
                "retention": [[1, 0.76, 0.63, 0.52], [1, 0.87, 0.81, 0.78]],
                "correlation": ("ar1", 0.6),
            },
            "power_normal",
            0.907711669457866,
            1e-6,
        ),
    ],
)
def test_r(call, column, theirs, rtol):
    np.testing.assert_allclose(one(**call)[column], theirs, rtol=rtol)


def test_statsmodels():
    from statsmodels.stats.power import NormalIndPower, TTestIndPower, TTestPower

    for d, n, ratio in itertools.product((0.2, 0.7), (9, 60), (1.0, 2.0)):
        theirs = TTestIndPower().power(d, n, 0.05, ratio=ratio)
        np.testing.assert_allclose(one(delta=d, sd=1, n=n, ratio=ratio)["power"], theirs, rtol=1e-9)
        theirs = TTestPower().power(d, n, 0.05)
        np.testing.assert_allclose(one("paired", delta=d, sd=1, n=n)["power"], theirs, rtol=1e-9)
    h = 2 * np.arcsin(np.sqrt(0.45)) - 2 * np.arcsin(np.sqrt(0.3))
    ours = one("proportion", p1=0.3, delta=0.15, n=90, ratio=2, method="arcsine")
    np.testing.assert_allclose(ours["power"], NormalIndPower().power(h, 90, 0.05, 2), rtol=1e-12)


# Lu, Luo & Chen 2008 ---------------------------------------------------------------------------

TABLE_2 = """
1.11111111111111 1.11             1.10111111111111 1.08333333333333 1.05666666666667 1.02111111111111
1.25             1.2475           1.2275           1.1875           1.1275           1.0475
1.42857142857143 1.42428571428571 1.39             1.32142857142857 1.21857142857143 1.08142857142857
1.66666666666667 1.66             1.60666666666667 1.5              1.34             1.12666666666667
1.11111111111111 1.10050206679506 1.08280448732802 1.06283003239702 1.03996686151349 1.01408550239776
1.25             1.2247445108099  1.18392908471514 1.13886229048648 1.08796962333115 1.03089517940421
1.42857142857143 1.38254161826624 1.31065330422472 1.23318260782795 1.14702199890211 1.0514263712482
1.66666666666667 1.59010470647863 1.47488822527398 1.35405269950478 1.221989488974   1.07728040119987
"""  # noqa: E501


def test_inflation_by_drop_out():
    expected = np.array(TABLE_2.split(), dtype=float).reshape(8, 6)
    cells = itertools.product((2, 4), (0.1, 0.2, 0.3, 0.4))
    for (visits, lost), row in zip(cells, expected, strict=True):
        for first_to_last, phi in zip((0, 0.1, 0.3, 0.5, 0.7, 0.9), row, strict=True):
            ours = one(
                "mmrm",
                delta=1,
                sd=1,
                retention=np.linspace(1, 1 - lost, visits),
                correlation=("ar1", first_to_last ** (1 / (visits - 1))),
            )
            np.testing.assert_allclose([ours["phi_1"], ours["phi_2"]], phi, rtol=1e-12)


@pytest.mark.parametrize(
    ("phi1", "phi2", "ratio_1_to_2", "total"),
    [
        (1, 1, 1, 168.11876898305),
        (1, 1, 2, 189.133615105931),
        (1, 2, np.sqrt(0.5), 244.966998329937),
        (1, 2, 0.5, 252.178153474575),
        (1, 2, 1, 252.178153474575),
        (1, 2, 2, 315.222691843219),
        (2, 2, 1, 336.2375379661),
        (2, 2, 2, 378.267230211862),
    ],
)
def test_table_1(phi1, phi2, ratio_1_to_2, total):
    row = one(
        "mmrm",
        delta=0.5,
        sd=1,
        power=0.9,
        ratio=1 / ratio_1_to_2,
        retention=[[1 / phi1], [1 / phi2]],
        correlation=[[1]],
    )
    first = total * ratio_1_to_2 / (1 + ratio_1_to_2)
    assert row["n_per_arm_normal"] == np.ceil(first)
    assert 0 < row["n_fractional"] - first < 3  # what t costs over normal


def test_mmrm_with_nobody_lost_or_nothing_shared_is_a_t_test():
    same = one(delta=3, sd=5)
    full = one("mmrm", delta=3, sd=5, retention=[1, 1, 1], correlation=("ar1", 0.6))
    assert full["n_per_arm"] == same["n_per_arm"]
    np.testing.assert_allclose(full["n_fractional"], same["n_fractional"], rtol=1e-10)
    # Visits without correlation tell nothing of the last: those lost are simply lost.
    alone = one("mmrm", delta=3, sd=5, retention=[1, 0.9, 0.8], correlation=np.eye(3))
    np.testing.assert_allclose(alone["n_fractional"] * 0.8, same["n_fractional"], rtol=1e-10)


# Identities -------------------------------------------------------------------------------------

KINDS = {
    "t": {"delta": 3, "sd": 5},
    "paired": {"delta": 2, "sd": 5},
    "ancova": {"delta": 3, "sd": 5, "rho": 0.6},
    "change": {"delta": 3, "sd": 5, "rho": 0.6},
    "mmrm": {"delta": 3, "sd": 5, "retention": [1, 0.9, 0.8], "correlation": ("cs", 0.5)},
    "proportion": {"delta": 0.2, "p1": 0.3},
    "interaction": {"delta": 4, "sd": 5, "strata": {"I": 2, "II": 3, "III": 5}},
    "logrank": {"delta": 0.6, "events": 0.7},
    "correlation": {"delta": 0.3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_n_power_and_delta_agree(kind):
    given = {"kind": kind, **KINDS[kind]}
    size = one(**given, power=0.85)
    n = int(size["n_per_arm"])
    back = one(**given, n=n)
    np.testing.assert_allclose(back["power"], size["power_achieved"], rtol=1e-12)
    assert back["power"] >= 0.85
    assert one(**given, n=n - 1)["power"] < 0.85
    delta = given.pop("delta")
    np.testing.assert_allclose(one(**given, n=n, power=back["power"])["delta"], delta, rtol=1e-8)
    assert size["n_fractional"] <= n < size["n_fractional"] + 1
    assert abs(size["n_per_arm_normal"] - n) <= 4


@pytest.mark.parametrize("kind", KINDS)
def test_what_helps_helps(kind):
    given = {"kind": kind, **KINDS[kind]}
    n = one(**given)["n_fractional"]
    assert one(**given, power=0.9)["n_fractional"] > n
    assert one(**given, tests=2)["n_fractional"] > n
    if kind != "interaction":
        assert one(**given, sides=1)["n_fractional"] < n
    if kind not in ("paired", "correlation"):
        double = one(**given, ratio=2)
        assert double["n_fractional"] < n
        assert double["n_total"] > one(**given)["n_total"]
        assert double["n_second_arm"] == np.ceil(2 * double["n_per_arm"])


def test_the_sign_of_delta_does_not_matter():
    assert one(delta=-3, sd=5)["n_per_arm"] == 45
    assert one(delta=-3, sd=5)["delta"] == -3
    assert one("correlation", delta=-0.3)["n_per_arm"] == 85
    up, down = one("proportion", p1=0.3, delta=0.2), one("proportion", p1=0.5, delta=-0.2)
    assert up["n_per_arm"] == down["n_per_arm"]
    better, worse = one("logrank", delta=0.5, events=1), one("logrank", delta=2, events=1)
    assert better["n_per_arm"] == worse["n_per_arm"]


def test_normal_formulas_on_paper():
    z = stats.norm.isf(0.025) + stats.norm.ppf(0.8)
    base = z**2 * 25 / 9
    for ratio in (1, 2, 0.5):
        expected = np.ceil(base * (1 + 1 / ratio))
        assert one(delta=3, sd=5, ratio=ratio)["n_per_arm_normal"] == expected
    assert one("paired", delta=3, sd=5)["n_per_arm_normal"] == np.ceil(base)
    borm = np.ceil(2 * base * (1 - 0.6**2))
    assert one("ancova", delta=3, sd=5, rho=0.6)["n_per_arm_normal"] == borm
    change = np.ceil(2 * base * 2 * (1 - 0.6))
    assert one("change", delta=3, sd=5, rho=0.6)["n_per_arm_normal"] == change
    fisher = np.ceil((z / np.arctanh(0.3)) ** 2 + 3)
    assert one("correlation", delta=0.3)["n_per_arm_normal"] == fisher
    events = one("logrank", delta=0.5, events=[0.8, 0.5])
    assert events["n_per_arm"] == np.ceil(4 * z**2 / np.log(2) ** 2 / (0.8 + 0.5))
    np.testing.assert_allclose(events["n_events"], events["n_per_arm"] * 1.3)


def test_change_is_never_better_than_ancova_and_equals_t_at_rho_a_half():
    n = {
        (kind, rho): one(kind, delta=3, sd=5, rho=rho)["n_fractional"]
        for kind in ("ancova", "change")
        for rho in (0.0, 0.3, 0.5, 0.8)
    }
    plain = one(delta=3, sd=5)["n_fractional"]
    np.testing.assert_allclose(n["change", 0.5], plain, rtol=1e-10)
    np.testing.assert_allclose(n["change", 0.0] / plain, 2, rtol=0.02)
    assert all(n["ancova", rho] < n["change", rho] for rho in (0.0, 0.3, 0.5, 0.8))
    assert 0 < n["ancova", 0.0] - plain < 0.1  # one df


def test_interaction_of_two_strata_is_a_contrast():
    row = one("interaction", delta=4, sd=5, strata={"I": 24, "II": 53}, n=77)
    se = 5 * np.sqrt(2 / 24 + 2 / 53)
    df = 2 * 77 - 4
    expected = stats.ncf.sf(stats.f.isf(0.05, 1, df), 1, df, (4 / se) ** 2)
    np.testing.assert_allclose(row["power"], expected, rtol=1e-12)


def test_interaction_is_the_extra_sum_of_squares():
    sizes, pattern, ratio = {"I": 10, "II": 20, "III": 30, "IV": 40}, [0, 1, -1, 2], 2
    effects = 1.5 * np.array(pattern)
    stratum = np.repeat(range(4), [30, 60, 90, 120])
    arm = np.concatenate([np.repeat([0, 1], [k, 2 * k]) for k in (10, 20, 30, 40)])
    mean = np.array([3.0, 1, 4, 2])[stratum] + arm * effects[stratum]
    additive = np.column_stack([np.equal.outer(stratum, range(4)), arm]).astype(float)
    rest = mean - additive @ np.linalg.lstsq(additive, mean, rcond=None)[0]
    df = 300 - 8
    expected = stats.ncf.sf(stats.f.isf(0.05, 3, df), 3, df, rest @ rest / 25)
    row = one("interaction", delta=1.5, sd=5, strata=sizes, pattern=pattern, n=100, ratio=ratio)
    np.testing.assert_allclose(row["power"], expected, rtol=1e-10)


def test_far_from_the_usual():
    assert one(delta=1e6, sd=1)["n_per_arm"] == 2
    assert one(delta=1e6, sd=1, n=50)["power"] == 1
    large = one(delta=0.01, sd=1)
    assert large["n_per_arm"] - large["n_per_arm_normal"] in (0, 1)
    np.testing.assert_allclose(one(sd=1e-9, n=45)["delta"] * 1e9, one(sd=1, n=45)["delta"])
    np.testing.assert_allclose(one(sd=1e12, n=45)["delta"] / 1e12, one(sd=1, n=45)["delta"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"kind": "z", "delta": 1, "sd": 1}, "kind 'z' is not one of"),
        ({"delta": 1, "sd": 1, "n": 9, "power": 0.8}, "one of n, power and delta must be left out"),
        ({"sd": 1}, "two of n, power and delta"),
        ({"delta": 0, "sd": 1}, "is no effect"),
        ({"delta": "3", "sd": 1}, "delta '3' is not a number"),
        ({"delta": np.nan, "sd": 1}, "delta nan is not a number"),
        ({"delta": 3}, "sd must be given"),
        ({"delta": 3, "sd": -1}, "sd must be given and positive"),
        ({"delta": 3, "sd": 1, "alpha": 5}, "alpha 5 is not between 0 and 1"),
        ({"delta": 3, "sd": 1, "power": 80}, "power 80 is not between 0 and 1"),
        ({"delta": 3, "sd": 1, "dropout": 1}, "dropout 1"),
        ({"delta": 3, "sd": 1, "dropout": 15}, "dropout 15"),
        ({"delta": 3, "sd": 1, "ratio": 0}, "ratio 0"),
        ({"delta": 3, "sd": 1, "sides": 3}, "sides 3 is not one of"),
        ({"delta": 3, "sd": 1, "tests": 0}, "tests 0"),
        ({"delta": 3, "sd": 1, "n": 20.5}, "n 20.5 is not a whole number"),
        ({"delta": 3, "sd": 1, "n": 2, "dropout": 0.5}, "1 and 1 patients analysed are too few"),
        ({"delta": 3, "sd": 1, "rho": 0.5}, "rho is not an input of this kind"),
        ({"sd": 1, "n": 20, "power": 0.04}, "not above the significance level"),
        ({"delta": 3, "sd": 1, "strata": {"I": 0}}, "wrong: I"),
        ({"delta": 3, "sd": 1, "strata": [48]}, "patients of each stratum by name"),
        ({"delta": 3, "sd": 1, "strata": {"I": 48}, "n": 24}, "leave n out"),
        ({"delta": 3, "sd": 1, "strata": {"I": 48, "II": 3}}, "stratum II: 1 and 2 patients"),
        ({"kind": "ancova", "delta": 3, "sd": 1}, "rho must be a correlation"),
        ({"kind": "ancova", "delta": 3, "sd": 1, "rho": 1}, "rho must be a correlation"),
        ({"kind": "proportion", "delta": 0.2}, "p1 must be given"),
        ({"kind": "proportion", "delta": 0.8, "p1": 0.3}, "p1 . delta = 1.1"),
        ({"kind": "proportion", "delta": 0.2, "p1": 0.3, "sd": 1}, "sd is not an input"),
        ({"kind": "proportion", "p1": 0.9, "n": 20, "power": 0.9}, "no effect reaches"),
        ({"kind": "correlation", "delta": 1}, "between -1 and 1"),
        ({"kind": "logrank", "delta": -0.5, "events": 1}, "hazard ratio"),
        ({"kind": "logrank", "delta": 1, "events": 1}, "is no effect"),
        ({"kind": "logrank", "delta": 0.5}, "events must be a share"),
        ({"kind": "interaction", "delta": 1, "sd": 1}, "two strata or more"),
        (
            {"kind": "interaction", "delta": 1, "sd": 1, "strata": {"I": 1, "II": 1}, "sides": 1},
            "no one-sided form",
        ),
        (
            {
                "kind": "interaction",
                "delta": 1,
                "sd": 1,
                "strata": {"I": 1, "II": 1},
                "pattern": [1, 1],
            },
            "not all the same",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        power(**call)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"retention": None}, "must be given"),
        ({"retention": [1, 0.8, 0.9]}, "must fall"),
        ({"retention": [1, 0.5, 0]}, "stay above 0"),
        ({"retention": [1, "a", 0.5]}, "must hold numbers"),
        ({"retention": [[1, 0.9, 0.8]] * 3}, "two lists"),
        ({"correlation": np.eye(2)}, "3 visits"),
        ({"correlation": np.full((3, 3), 1.0)}, "no positive definite"),
        ({"correlation": ("us", 0.5)}, "correlation 'us'"),
        ({"correlation": ("ar1", 2)}, "2 is no correlation"),
        ({"dropout": 0.1}, "leave dropout 0"),
    ],
)
def test_bad_repeated_measures(more, message):
    call = {"delta": 1, "sd": 1, "retention": [1, 0.9, 0.8], "correlation": ("ar1", 0.5)}
    with pytest.raises(ValueError, match=message):
        power("mmrm", **call | more)


# Simulation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "delta", "rho", "alpha"),
    [(24, 3.0, 0.6, 0.05), (8, 6.0, 0.3, 0.05), (40, 2.0, 0.8, 0.01)],
)
def test_simulation_agrees_with_the_closed_form(n, delta, rho, alpha):
    row = simulate_power(plan(n, delta, rho, alpha=alpha), n_trials=6000, seed=4).iloc[0]
    closed = one("ancova", delta=delta, sd=5, rho=rho, n=n, alpha=alpha)
    assert abs(row["power"] - closed["power_random_baseline"]) < 3 * row["mc_se"]
    assert closed["power_random_baseline"] < closed["power"]
    assert abs(row["estimate"] - delta) < 3 * row["sd_estimate"] / np.sqrt(6000)
    np.testing.assert_allclose(row["mean_se"], row["sd_estimate"], rtol=0.05)
    np.testing.assert_allclose(row["mc_se"], np.sqrt(row["power"] * (1 - row["power"]) / 6000))
    assert row["ci_low"] < row["power"] < row["ci_high"]
    assert row["effect"] == delta
    assert row["n"] == 2 * n


def test_simulation_tells_a_wrong_closed_form():
    # A test that could not fail would prove nothing: with another rho it must be seen.
    row = simulate_power(plan(24, 3.0, 0.6), n_trials=6000, seed=4).iloc[0]
    other = one("ancova", delta=3, sd=5, rho=0.5, n=24)["power_random_baseline"]
    assert abs(row["power"] - other) > 5 * row["mc_se"]


def test_simulated_level_without_effect():
    row = simulate_power(plan(15, 0.0), n_trials=6000, seed=9).iloc[0]
    assert abs(row["power"] - 0.05) < 3 * row["mc_se"]


def test_simulated_drop_out():
    stay = [1, 0.9, 0.8]
    chance = simulate_power(plan(30, retention=stay), n_trials=2000, seed=2).iloc[0]
    slope = plan(30, retention=[1, 0.8, 0.5], mar_slope=2.0)
    given = simulate_power(slope, n_trials=4000, seed=2).iloc[0]
    full = simulate_power(plan(30), n_trials=2000, seed=2).iloc[0]
    assert abs(chance["n"] - 48) < 3 * np.sqrt(60 * 0.8 * 0.2 / 2000)
    assert chance["power"] < full["power"] - 3 * chance["mc_se"]
    expected = one("ancova", delta=3, sd=5, rho=0.6, n=24)["power_random_baseline"]
    assert abs(chance["power"] - expected) < 4 * chance["mc_se"]
    # Those who do well leave, more of them in the better arm: the completers tell too little.
    assert given["estimate"] < 3 - 3 * given["sd_estimate"] / np.sqrt(4000)


def test_drop_out_on_baseline_alone_does_no_harm_to_ancova():
    two = {
        "visits": ["Baseline", "Week 12"],
        "arms": {"CG": {"n": 40, "means": [20, 20]}, "EG": {"n": 40, "means": [20, 23]}},
        "covariance": 25 * np.array([[1, 0.6], [0.6, 1]]),
        "retention": [1, 0.7],
        "mar_slope": 1.5,
    }
    row = simulate_power(two, n_trials=3000, seed=6).iloc[0]
    assert abs(row["estimate"] - 3) < 3 * row["sd_estimate"] / np.sqrt(3000)
    assert abs(row["n"] - 56) < 3 * np.sqrt(80 * 0.7 * 0.3 / 3000)


def least_squares(frame):
    """ANCOVA at each visit, as a user might write it."""
    rows = []
    for visit, part in frame.groupby("AVISIT", observed=True):
        dummy = (part["TRT01P"] == "EG").to_numpy(dtype=float)
        design = np.column_stack([np.ones(len(part)), dummy, part["BASE"]])
        inverse = np.linalg.inv(design.T @ design)
        beta = inverse @ design.T @ part["CHG"].to_numpy()
        rest = part["CHG"].to_numpy() - design @ beta
        df = len(part) - 3
        se = np.sqrt(rest @ rest / df * inverse[1, 1])
        p = 2 * stats.t.sf(abs(beta[1] / se), df)
        rows.append({"contrast": "EG - CG", "AVISIT": visit, "estimate": beta[1], "se": se, "p": p})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("visit", VISITS[1:])
def test_the_batched_ancova_is_the_plain_one(visit):
    given = plan(12, retention={"CG": [1, 0.9, 0.7], "EG": [1, 0.8, 0.8]}, visit=visit)
    batched = simulate_block(given, 3, seed=5, n_trials=20)
    single = simulate_block(given, 3, seed=5, n_trials=20, analysis=least_squares)
    pd.testing.assert_frame_equal(batched, single, rtol=1e-9)


def test_three_arms():
    given = plan(20)
    given["arms"]["HG"] = {"n": 10, "means": [20, 20, 20]}
    table = simulate_power(given, n_trials=300, seed=1)
    assert table["contrast"].tolist() == ["EG - CG", "HG - CG"]
    assert table["effect"].tolist() == [3, 0]
    assert table["n"].tolist() == [50, 50]
    assert table["power"][0] > 0.4 > table["power"][1]


def test_blocks_come_in_any_order_and_a_longer_run_begins_with_a_shorter_one():
    given = plan(10)
    whole = simulate_power(given, n_trials=250, seed=8)
    blocks = [simulate_block(given, block, 8, n_trials=size) for block, size in ((2, 50), (0, 100))]
    blocks.append(simulate_block(given, 1, 8))
    pd.testing.assert_frame_equal(whole, summarise_trials(given, pd.concat(blocks)))
    short = simulate_block(given, 0, 8, n_trials=30)
    pd.testing.assert_frame_equal(short, blocks[1].iloc[:30])
    assert not blocks[1]["p"].equals(blocks[2]["p"])
    assert not simulate_block(given, 0, 9)["p"].equals(blocks[1]["p"])
    with pytest.raises(ValueError, match="occurs twice"):
        summarise_trials(given, pd.concat([blocks[0], blocks[0]]))


def test_trials_that_fail_are_no_rejections():
    def never(frame):
        raise ValueError("did not converge")

    with pytest.warns(UserWarning, match="5 trials could not be analysed"):
        row = simulate_power(plan(5), n_trials=5, analysis=never).iloc[0]
    assert row["power"] == 0
    assert row["n_failed"] == 5
    with pytest.warns(UserWarning, match="could not be analysed"):
        few = simulate_power(plan(2, retention=[1, 0.5, 0.1]), n_trials=200).iloc[0]
    assert 0 < few["n_failed"] <= 200


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"covariance": -np.eye(3)}, "not positive definite"),
        ({"covariance": np.eye(2)}, "symmetric matrix of 3 visits"),
        ({"covariance": {"CG": np.eye(3)}}, "does not name arm 'EG'"),
        ({"retention": [1, 0.9]}, "3 numbers are needed"),
        ({"retention": [0.9, 0.9, 0.9]}, "must start at 1"),
        ({"retention": [1, 0.8, 0.9]}, "must start at 1, fall"),
        ({"visit": "Baseline"}, "visit 'Baseline' is not one of"),
        ({"visits": ["Baseline"]}, "two visits"),
        ({"arms": {"CG": {"n": 5, "means": [1, 1, 1]}}}, "two arms"),
        ({"alpha": 5}, "alpha 5"),
        ({"sd": 5}, "no such key sd"),
        (
            {"arms": {"A": {"n": 5, "means": [1, 1, 1]}, "B": {"n": 5, "means": [2, 2, 2]}}},
            "differ at baseline",
        ),
        ({"arms": {"A": {"n": 5}, "B": {"n": 5, "means": [2, 2, 2]}}}, "arm 'A' needs n"),
        (
            {"arms": {"A": {"n": 5, "means": "a"}, "B": {"n": 5, "means": [2, 2, 2]}}},
            "must hold numbers",
        ),
    ],
)
def test_bad_plans(more, message):
    with pytest.raises(ValueError, match=message):
        simulate_power({**plan(), **more}, n_trials=10)


def test_bad_arguments_of_a_simulation():
    with pytest.raises(ValueError, match="n_trials 0"):
        simulate_power(plan(), n_trials=0)
    with pytest.raises(ValueError, match="analysis 'mmrm'"):
        simulate_power(plan(), n_trials=1, analysis="mmrm")
    with pytest.raises(ValueError, match="seed -1"):
        simulate_power(plan(), n_trials=1, seed=-1)
    with pytest.raises(ValueError, match="gives no p, se"):
        simulate_power(
            plan(), n_trials=1, analysis=lambda d: least_squares(d)[["contrast", "estimate"]]
        )
    with pytest.raises(ValueError, match="one row each of EG - CG"):
        simulate_power(
            plan(), n_trials=1, analysis=lambda d: least_squares(d).drop(columns="AVISIT")
        )
