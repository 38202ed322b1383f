"""The figure of tipping points: shifts, comparisons and limits as the results have them."""

import pytest
from unit import sensitivity_fixture as extra

from lungitude.reporting import figure, figure_tipping
from lungitude.reporting import format as text
from lungitude.reporting.results import Absent

DISPLAY = {"id": "tipping", "title": "Shifts of imputed values"}


def drawn(stratum="all", arms=2, frame=None, **more):
    found = extra.results(stratum, arms, frame)
    context = extra.context(stratum, arms)
    return figure_tipping.draw(found, context, {**DISPLAY, **more})


@pytest.mark.parametrize("arms", [2, 3])
def test_numbers_carry_their_address(tmp_path, arms):
    known = extra.known(extra.results(arms=arms))
    pairs = extra.numbers_of(drawn(arms=arms), tmp_path / "a.svg")
    # By comparison: difference, SE and p of each shift; imputed values and limit of two arms.
    assert len(pairs) == (3 * len(extra.DELTAS) + 4) * (arms - 1)
    for address, shown in pairs:
        number = known[address]
        stat = address.rpartition("|")[2]
        if stat == "p":
            assert shown == text.p_value(number.value)
        elif stat == "n_imputed":
            assert shown == text.count(number.value)
        else:
            assert shown == text.number(number.value, 3 if stat == "se" else 2)


def test_intervals_stand_in_for_standard_errors_where_they_are(tmp_path):
    frame = extra.frame(interval=True)
    pairs = extra.numbers_of(drawn(frame=frame), tmp_path / "a.svg")
    stats = [address.rpartition("|")[2] for address, _ in pairs]
    assert stats.count("ci_low") == stats.count("ci_high") == len(extra.DELTAS)
    assert "se" not in stats
    found = extra.results(table=frame)
    assert "with 95% CI" in figure_tipping.caption(found, extra.context(), DISPLAY)
    assert "95% CI" not in figure_tipping.caption(extra.results(), extra.context(), DISPLAY)


@pytest.mark.parametrize(
    ("stratum", "arms", "interval"),
    [("all", 2, False), ("all", 4, True), ("grade2", 3, False)],
)
def test_no_text_is_cut_or_covered(stratum, arms, interval):
    frame = extra.frame(arms, interval)
    extra.check_texts(drawn(stratum, arms, frame))


def test_a_long_grid_makes_the_figure_higher():
    frame = extra.frame()
    grid = frame[frame["LEVEL"] == "delta 2"]
    more = [grid.assign(LEVEL=f"delta {value}") for value in range(3, 30)]
    longer = extra.pd.concat([frame, *more], ignore_index=True)
    tall = drawn(frame=longer)
    assert tall.get_size_inches()[1] > drawn().get_size_inches()[1] + 2
    extra.check_texts(tall)


def test_points_stand_at_their_shifts_in_order():
    frame = extra.frame()
    shuffled = frame.sample(frac=1, random_state=3)
    plot = drawn(frame=shuffled).axes[1]
    found = extra.results()
    shifts = figure_tipping.shifts(found, "VO2MAX", "Week 12", "EG - CG")
    assert [shift.delta for shift in shifts] == list(map(float, extra.DELTAS))
    points = [line for line in plot.lines if line.get_marker() == "o"]
    assert [(p.get_xdata()[0], p.get_ydata()[0]) for p in points] == [
        (shift.delta, shift.estimate.value) for shift in shifts
    ]


def test_limit_of_the_compared_arm_is_drawn_unless_it_is_far():
    frame = extra.frame()

    def upright(table):
        plot = drawn(frame=table).axes[1]
        return [line.get_xdata()[0] for line in plot.lines if list(line.get_ydata()) == [0, 1]]

    tip = extra.results().get(
        "imputation", "tipping_delta", "VO2MAX", "Week 12", "EG", "EG - CG", "tipping"
    )
    assert upright(frame) == [tip.value]
    frame.loc[frame["STAT"] == "tipping_delta", "VALUE"] *= 1000
    assert upright(frame) == []
    shown = [one.get_text() for one in drawn(frame=frame).axes[0].texts]
    assert "\u22126678.00" in shown


def test_limit_follows_the_confidence_of_the_plan():
    plan = {**extra.plan(), "confidence": 0.9}
    said = figure_tipping.caption(extra.results(), extra.context(plan=plan), DISPLAY)
    assert "p is 0.1," in said
    assert "p is 0.05," in figure_tipping.caption(extra.results(), extra.context(), DISPLAY)


def test_without_a_limit_it_says_why():
    shown = [one.get_text() for one in drawn("grade2").axes[0].texts]
    assert shown.count("NE") == 2
    assert any("no shift changes the conclusion" in one for one in shown)


def test_log_scale_is_named():
    context = extra.context()
    for row in context.parameters:
        row["TRANSFORM"] = "log1p"
    picture = figure_tipping.draw(extra.results(), context, DISPLAY)
    assert picture.axes[1].get_ylabel() == "Difference, log1p scale"


def test_nobody_one_arm_and_no_shifts():
    assert "No patients" in drawn("nobody").texts[1].get_text()
    with pytest.raises(Absent):
        drawn(arms=1)
    frame = extra.frame()
    with pytest.raises(Absent):
        drawn(frame=frame[frame["METHOD"] != "imputation"])
    with pytest.raises(Absent):
        drawn(frame=frame[~frame["LEVEL"].str.startswith(("delta", "tipping"))])
    with pytest.raises(Absent):
        drawn(parameters=["FEV1"])


def test_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        figure.save(
            drawn(arms=3), {kind: tmp_path / f"{name}.{kind}" for kind in ("svg", "pdf")}, "T"
        )
    for kind in ("svg", "pdf"):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
        assert one == two
