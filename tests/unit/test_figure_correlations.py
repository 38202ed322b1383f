"""The map of correlations: text that fits its cell, colours and marks that follow the numbers."""

import pytest
from matplotlib.colors import to_hex, to_rgb
from unit import reporting_fixture as fixture
from unit.test_figure_forest import check_addresses, check_texts, svg_of
from unit.test_figure_forest import setting as given
from unit.test_table_correlations import X, Y, frame, plan

from lungitude.reporting import figure, figure_correlations
from lungitude.reporting.results import Absent
from lungitude.reporting.table_correlations import Grid

DISPLAY = {"id": "figure_correlations", "title": "Correlations", "number": "14.2.7"}
LONG = "Volume of the lung below a threshold that was chosen before the trial began"


def setting(data, arms=2, stratum="all", **changes):
    return given(data, arms, stratum, **{"plan": plan(), **changes})


def many(count, name="P"):
    """Return as many parameters as asked for, with names of several lengths."""
    return [
        {"PARAMCD": f"{name}{i}", "PARAM": LONG[: 8 + 9 * i % len(LONG)].strip(), "AVALU": ""}
        for i in range(count)
    ]


@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_texts_fit_and_numbers_have_their_address(tmp_path, arms):
    data = frame(arms=arms)
    found, trial = setting(data, arms)
    picture = figure_correlations.draw(found, trial, DISPLAY)
    check_texts(picture)
    pairs = check_addresses(svg_of(picture, tmp_path), data)
    r = data[(data["STAT"] == "r")]
    assert len(pairs) == 2 * len(r)
    assert picture.get_size_inches()[0] * 25.4 == pytest.approx(180)


@pytest.mark.parametrize(("wide", "high"), [(1, 3), (6, 4), (11, 2), (25, 2)])
@pytest.mark.parametrize("by_arm", [True, False])
def test_any_number_of_parameters_fits(wide, high, by_arm):
    parameters = [*many(high, "X"), *many(wide, "Y")]
    x, y = ([row["PARAMCD"] for row in parameters if row["PARAMCD"][0] == one] for one in "XY")
    planned = plan(x=x, y=y, by_arm=by_arm)
    data = frame(arms=3, by_arm=by_arm, x=x, y=y)
    found, trial = setting(data, 3, plan=planned, parameters=parameters)
    placed = figure_correlations.layout(Grid(found, trial, DISPLAY), trial)
    assert placed.cell >= figure_correlations.LEAST
    shown = [(p.visit, p.group, y) for line in placed.lines for p in line for y in p.columns]
    assert len(shown) == len(set(shown)) == 2 * wide * (3 if by_arm else 1)
    for line in placed.lines:
        width = sum(map(placed.width, line)) + figure_correlations.GAP * (len(line) - 1)
        start = figure_correlations.LEFT + figure_correlations.LABEL + 1.5
        assert start + width <= figure.WIDTH_MM - figure_correlations.RIGHT + 0.01
    check_texts(figure_correlations.draw(found, trial, DISPLAY))


def test_colours_are_white_at_zero_and_as_dark_at_both_ends():
    def grey(r):
        red, green, blue = to_rgb(figure_correlations.colour(r))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    assert to_hex(figure_correlations.colour(0.0)) == "#ffffff"
    assert grey(-1) == pytest.approx(grey(1), abs=0.05)
    for sign in (-1, 1):
        shades = [grey(sign * r / 10) for r in range(11)]
        assert shades == sorted(shades, reverse=True)


def test_each_cell_has_the_colour_of_its_number():
    data = frame(visits=("Week 12",))
    found, trial = setting(data)
    page = figure_correlations.draw(found, trial, DISPLAY).axes[0]
    faces = [to_hex(p.get_facecolor()) for p in page.patches if p.get_edgecolor()[:3] != (0, 0, 0)]
    for group in ("EG", "CG"):
        for x in X:
            for y in Y:
                r = found.get("association", "r", x, "Week 12", group, "", y).value
                assert to_hex(figure_correlations.colour(r)) in faces


def frames(picture):
    dark = to_hex(figure.INK)
    return [
        p for p in picture.axes[0].patches
        if to_hex(p.get_edgecolor()) == dark and p.get_linewidth() > 1
    ]  # fmt: skip


def test_frames_mark_small_adjusted_p():
    data = frame()
    adjusted = data["STAT"] == "p_adj"
    data.loc[adjusted, "VALUE"] = 0.05  # not below
    few = data.index[adjusted][:3]
    data.loc[few, "VALUE"] = 0.0499
    found, trial = setting(data)
    picture = figure_correlations.draw(found, trial, DISPLAY)
    assert len(frames(picture)) == 3 + 1  # and the one of the key
    assert "Framed: adjusted p below 0.05, Benjamini" in figure_correlations.caption(
        found, trial, DISPLAY
    )


def test_without_adjustment_nothing_is_marked():
    found, trial = setting(frame(adjust="none"), plan=plan(adjust="none"))
    assert frames(figure_correlations.draw(found, trial, DISPLAY)) == []
    assert "none is marked" in figure_correlations.caption(found, trial, DISPLAY)


def test_not_estimated_and_missing_pairs(tmp_path):
    data = frame(lost=[("PERC15", "VO2MAX")])
    data = data[~((data["PARAMCD"] == "LAA950") & (data["LEVEL"] == "FEV1"))]
    found, trial = setting(data)
    picture = figure_correlations.draw(found, trial, DISPLAY)
    check_texts(picture)
    pairs = check_addresses(svg_of(picture, tmp_path), data)
    assert [shown.strip() for _, shown in pairs].count("NE") == 4
    said = [t.get_text() for t in picture.axes[0].texts]
    assert said.count("\u2013") == 4
    assert "NE, not estimated: 2 patients." in figure_correlations.caption(found, trial, DISPLAY)


def test_empty_and_absent(tmp_path):
    found, trial = setting(frame(), stratum="nobody")
    assert "No patients" in svg_of(figure_correlations.draw(found, trial, DISPLAY), tmp_path)
    assert figure_correlations.caption(found, trial, DISPLAY)
    with pytest.raises(Absent):
        figure_correlations.draw(fixture.results(), fixture.context(plan=plan()), DISPLAY)


def test_more_panels_than_a_figure_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(figure_correlations, "MOST_HEIGHT", 50.0)
    svg = svg_of(figure_correlations.draw(*setting(frame()), DISPLAY), tmp_path)
    assert "4 panels do not fit" in svg


def test_same_bytes_twice(tmp_path):
    one, two = (
        svg_of(figure_correlations.draw(*setting(frame()), DISPLAY), tmp_path, f"{name}.svg")
        for name in "ab"
    )
    assert one == two
