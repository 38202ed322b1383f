"""The figure of sensitivity analyses: its numbers, its geometry, trials that have few of them."""

import pytest
from unit import sensitivity_fixture as extra

from lungitude.reporting import figure, figure_sensitivity
from lungitude.reporting import format as text
from lungitude.reporting.results import Absent

DISPLAY = {"id": "sensitivity", "title": "Analyses of the primary endpoint"}


def drawn(stratum="all", arms=2, frame=None, **more):
    found = extra.results(stratum, arms, frame)
    context = extra.context(stratum, arms)
    return figure_sensitivity.draw(found, context, {**DISPLAY, **more})


@pytest.mark.parametrize("arms", [2, 3])
def test_numbers_carry_their_address(tmp_path, arms):
    known = extra.known(extra.results(arms=arms))
    pairs = extra.numbers_of(drawn(arms=arms), tmp_path / "a.svg")
    assert len(pairs) == 5 * 5 * (arms - 1)
    for address, shown in pairs:
        plain, _, used = address.partition("#")
        number = known[plain]
        if used:
            assert shown == str(number.n)
        elif address.endswith("|p"):
            assert shown == text.p_value(number.value)
        else:
            assert shown == text.number(number.value, 2)


@pytest.mark.parametrize(("stratum", "arms"), [("all", 2), ("all", 4), ("grade2", 3)])
def test_no_text_is_cut_or_covered(stratum, arms):
    extra.check_texts(drawn(stratum, arms, parameters=["VO2MAX", "SIXMWD"]))


def test_wide_numbers_narrow_the_plot_and_not_the_text():
    frame = extra.frame()
    frame.loc[frame["METHOD"].eq("mmrm") & frame["STAT"].ne("p"), "VALUE"] *= -123456
    extra.check_texts(drawn(frame=frame))


def test_estimates_are_drawn_where_they_are_and_the_primary_one_is_on_top():
    found = extra.results()
    picture = drawn()
    plot = picture.axes[1]
    markers = [line for line in plot.lines if line.get_marker() in ("s", "o")]
    values = [line.get_xdata()[0] for line in markers]
    block = figure_sensitivity.blocks(found, extra.context(), DISPLAY)[0]
    assert values == [line.found.value for line in block.lines]
    heights = [line.get_ydata()[0] for line in markers]
    assert heights == sorted(heights)
    assert markers[0].get_marker() == "s"
    assert [line.get_marker() for line in markers[1:]] == ["o"] * 4
    assert plot.get_ylim()[0] > plot.get_ylim()[1]
    low, high = plot.get_xlim()
    assert low < 0 < high


def test_what_was_not_estimated_is_not_drawn_and_says_why():
    picture = drawn("grade2")
    plot = picture.axes[1]
    assert not [line for line in plot.lines if line.get_marker() in ("s", "o")]
    shown = [one.get_text() for one in picture.axes[0].texts]
    assert any("NE, not estimated: 1 patient in an arm; 1 patient in EG." in one for one in shown)
    assert shown.count("NE") == 10


def test_nobody_one_arm_and_no_analysis():
    assert "No patients" in drawn("nobody").texts[1].get_text()
    with pytest.raises(Absent):
        drawn(arms=1)
    frame = extra.frame()
    with pytest.raises(Absent):
        drawn(frame=frame[frame["STAT"] != "estimate"])


def test_caption_names_assumptions_and_set():
    said = figure_sensitivity.caption(extra.results(), extra.context(), DISPLAY)
    assert "arm minus Usual care" in said
    assert "95% CI; the primary analysis on top" in said
    other = {**DISPLAY, "parameters": ["FEV1"]}
    assert "primary" not in figure_sensitivity.caption(extra.results(), extra.context(), other)
    assert said.endswith("Analysis set: Intention to treat (ITT); All patients")
    nobody = figure_sensitivity.caption(extra.results("nobody"), extra.context("nobody"), DISPLAY)
    assert nobody


def test_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        figure.save(
            drawn(arms=3), {kind: tmp_path / f"{name}.{kind}" for kind in ("svg", "pdf")}, "T"
        )
    for kind in ("svg", "pdf"):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
        assert one == two
