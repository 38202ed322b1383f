"""The forest plot: text that fits, marks at their numbers, the band, the same bytes twice."""

import html
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit.test_table_subgroups import frame, plan

from lungitude.reporting import figure, figure_forest
from lungitude.reporting import format as text
from lungitude.reporting.results import Absent, Results

DISPLAY = {"id": "figure_forest", "title": "Effects in subgroups", "number": "14.2.4"}
LONG = "Breathing training of the whole chest wall with a supervisor at home on four days"


def setting(data, arms=2, stratum="all", **changes):
    planned = changes.pop("plan", plan())
    trial = fixture.context(stratum, arms, plan=planned)
    return Results(data, stratum, planned), replace(trial, **changes)


def with_noise(data, parameter="VO2MAX", value=0.9, name="network: repeat 1 - 2"):
    builder = fixture.Builder("all", {})
    builder.add("agreement", "rc", value, 40, parameter, COMPARISON=name, POPULATION="")
    return pd.concat([data, pd.DataFrame(builder.rows, columns=fixture.COLUMNS)])


def svg_of(picture, folder, name="a.svg"):
    figure.save(picture, {"svg": folder / name}, "A title")
    return (folder / name).read_text()


def check_texts(picture):
    """No text leaves the figure, and none lies on another."""
    picture.set_dpi(300)  # as it is written; fewer pixels make wider letters
    canvas = picture.canvas.get_renderer()
    found = [t for axes in picture.axes for t in axes.texts] + list(picture.texts)
    for axes in picture.axes:
        low, high = axes.get_xlim()
        # Matplotlib keeps labels of ticks beyond the limits, and doesn't draw them.
        labels = axes.get_xticklabels() if axes.axison else []
        found += [label for label in labels if low <= label.get_position()[0] <= high]
    found = [t for t in found if t.get_text().strip()]
    said = [t.get_text() for t in found]
    boxes = np.array([t.get_window_extent(canvas).extents for t in found])
    edge = np.array([picture.bbox.width, picture.bbox.height])
    out = (boxes[:, :2] < -0.5).any(axis=1) | (boxes[:, 2:] > edge + 0.5).any(axis=1)
    assert not out.any(), [said[i] for i in np.flatnonzero(out)]
    shared = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = shared - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    over = np.triu((shared[..., 0] > 2.0) & (shared[..., 1] > 4.0), 1)
    assert not over.any(), [(said[i], said[j]) for i, j in np.argwhere(over)]


def check_addresses(svg, data):
    known = {
        f"{r.ANALYSISID}|{r.GROUP}|{r.COMPARISON}|{r.LEVEL}|{r.STAT}".rstrip("|"): r
        for r in data.itertuples()
    }
    pairs = figure.addresses(svg)
    for address, shown in pairs:
        address, _, used = html.unescape(address).partition("#")
        shown = shown.strip().replace("\u2212", "-")
        row = known[address]
        if used:
            assert shown == str(int(row.N))
        elif shown == "NE":
            assert np.isnan(row.VALUE)
        elif shown[0] in "<>":
            value = row.VALUE
            assert (value < float(shown[1:])) == (shown[0] == "<")
        else:
            assert shown == text.number(row.VALUE, len(shown.partition(".")[2]))
    return pairs


@pytest.mark.parametrize("arms", [2, 3, 4])
def test_texts_fit_and_numbers_have_their_address(tmp_path, arms):
    given = {"parameters": ("VO2MAX", "FEV1")} if arms == 2 else {"visits": ("Week 12",)}
    data = with_noise(frame(arms=arms, **given))
    found, trial = setting(data, arms)
    picture = figure_forest.draw(found, trial, {**DISPLAY, "visits": ["Week 6", "Week 12"]})
    check_texts(picture)
    pairs = check_addresses(svg_of(picture, tmp_path), data)
    shown = {html.unescape(address) for address, _ in pairs}
    wanted = data[data["STAT"].isin(["n", "estimate", "ci_low", "ci_high", "interaction_p", "rc"])]
    addresses = wanted.apply(
        lambda r: f"{r.ANALYSISID}|{r.GROUP}|{r.COMPARISON}|{r.LEVEL}|{r.STAT}", axis=1
    )
    assert shown == set(addresses)
    assert picture.get_size_inches()[0] * 25.4 == pytest.approx(180)


def test_long_names_still_fit():
    data = frame(arms=4, visits=("Week 12",))
    arms = [{**arm, "label": f"{LONG} {arm['code']}"} for arm in fixture.ARMS]
    characteristics = [
        {"column": "SEX", "label": LONG, "type": "category", "levels": {"M": LONG * 2, "F": "F"}}
    ]
    parameters = fixture.context().parameters
    parameters[0]["PARAM"] = f"{LONG} {LONG} {LONG}"
    found, trial = setting(data, 4, characteristics=characteristics, parameters=parameters)
    check_texts(figure_forest.draw(found, replace(trial, arms=arms), DISPLAY))


def test_marks_stand_at_their_numbers_and_lines():
    data = frame(visits=("Week 12",))
    found, trial = setting(data)
    picture = figure_forest.draw(found, trial, DISPLAY)
    axes = picture.axes[1]
    drawn = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "s"]
    levels = ["SEX=M", "SEX=F", "SEVERITY=I", "SEVERITY=II"]
    wanted = [
        found.get("subgroups", "estimate", "VO2MAX", "Week 12", "", "EG - CG", level).value
        for level in levels
    ]
    assert drawn == wanted
    assert len(axes.patches) == 1  # the diamond of all patients
    diamond = axes.patches[0].get_xy()[:, 0]
    limits = [
        found.get("subgroups", stat, "VO2MAX", "Week 12", "", "EG - CG", "all").value
        for stat in ("ci_low", "ci_high")
    ]
    assert [min(diamond), max(diamond)] == limits


def test_default_is_the_visit_of_the_primary_endpoint():
    found, trial = setting(frame())
    assert [p.visit for p in figure_forest.panels(found, trial, DISPLAY)] == ["Week 12"]
    found, trial = setting(frame(visits=("Week 6",)))
    assert [p.visit for p in figure_forest.panels(found, trial, DISPLAY)] == ["Week 6"]


def test_panels_of_a_parameter_have_one_scale():
    found, trial = setting(frame(parameters=("VO2MAX", "FEV1")))
    shown = figure_forest.panels(found, trial, {**DISPLAY, "visits": ["Week 6", "Week 12"]})
    assert [p.parameter for p in shown] == ["VO2MAX", "VO2MAX", "FEV1", "FEV1"]
    assert shown[0].limits == shown[1].limits
    for panel in shown:
        low, high = panel.limits
        assert low < 0 < high
        for estimate in figure_forest._estimates(panel):
            assert low < estimate.found.value < high


def test_a_very_wide_interval_is_cut_and_said():
    data = frame(visits=("Week 12",))
    row = (data["LEVEL"] == "SEVERITY=I") & (data["STAT"] == "ci_high")
    data.loc[row, "VALUE"] = 400.0
    found, trial = setting(data)
    panel = figure_forest.panels(found, trial, DISPLAY)[0]
    assert panel.limits[1] < 10
    axes = figure_forest.draw(found, trial, DISPLAY).axes[1]
    assert [line.get_marker() for line in axes.lines].count(">") == 1
    assert "arrowhead" in figure_forest.caption(found, trial, DISPLAY)
    found, trial = setting(frame(visits=("Week 12",)))
    assert "arrowhead" not in figure_forest.caption(found, trial, DISPLAY)


def test_band_is_the_repeatability_of_repeats_first():
    data = with_noise(frame(), name="network - reader", value=3.0)
    data = with_noise(with_noise(data, name="reader: R1 - R2", value=2.0), value=0.5)
    found, trial = setting(data)
    number, name = figure_forest.noise(found, trial, "VO2MAX", {})
    assert (number.value, name) == (0.5, "network: repeat 1 - 2")
    chosen = figure_forest.noise(found, trial, "VO2MAX", {"noise": "network - reader"})
    assert chosen[0].value == 3.0
    assert figure_forest.noise(found, trial, "FEV1", {}) is None
    axes = figure_forest.draw(found, trial, DISPLAY).axes[1]
    band = axes.patches[0]
    assert (band.get_x(), band.get_width()) == (-0.5, 1.0)
    assert "repeatability" in figure_forest.caption(found, trial, DISPLAY)
    assert "repeatability" not in figure_forest.caption(*setting(frame()), DISPLAY)


def test_wide_band_does_not_squeeze_the_effects(tmp_path):
    found, trial = setting(with_noise(frame(), value=60.0))
    panel = figure_forest.panels(found, trial, DISPLAY)[0]
    assert panel.limits[1] < 10
    svg = svg_of(figure_forest.draw(found, trial, DISPLAY), tmp_path)
    assert "wider than the axis" in svg
    assert "wider than the axis" not in svg_of(
        figure_forest.draw(*setting(with_noise(frame())), DISPLAY), tmp_path
    )


@pytest.mark.parametrize(
    ("way", "left", "right"),
    [
        ("higher", "Favours Usual care", "Favours Cardiopulmonary rehabilitation"),
        ("lower", "Favours Cardiopulmonary rehabilitation", "Favours Usual care"),
        ("none", "Lower with Cardio", "Higher with Cardio"),
    ],
)
def test_sides_follow_the_direction_of_the_parameter(way, left, right):
    trial = fixture.context()
    trial.parameters[0]["DIRECTION"] = way
    sides = figure_forest.favours(trial, "VO2MAX")
    assert sides[0].startswith(f"\u2190 {left}")
    assert right in sides[1]


def test_not_estimated_is_written_and_explained(tmp_path):
    data = frame(thin=("SEX=M",))
    found, trial = setting(data)
    picture = figure_forest.draw(found, trial, DISPLAY)
    check_texts(picture)
    pairs = check_addresses(svg_of(picture, tmp_path), data)
    assert [shown.strip() for _, shown in pairs].count("NE") == 1
    said = figure_forest.caption(found, trial, DISPLAY)
    assert "NE, not estimated: 1 patient in EG." in said


def test_ratios_stand_on_a_log_axis(tmp_path):
    data = frame(visits=("Week 12",))
    logged = data[data["STAT"].isin(["estimate", "ci_low", "ci_high"])].copy()
    logged["VALUE"] = np.exp(logged["VALUE"] / 4)
    names = {"estimate": "ratio", "ci_low": "ratio_ci_low", "ci_high": "ratio_ci_high"}
    logged["STAT"] = logged["STAT"].map(names)
    data = pd.concat([data, logged])
    parameters = fixture.context().parameters
    parameters[0]["TRANSFORM"] = "log"
    found, trial = setting(with_noise(data), parameters=parameters)
    picture = figure_forest.draw(found, trial, DISPLAY)
    check_texts(picture)
    assert picture.axes[1].get_xscale() == "log"
    assert any(
        "ratio" in address for address, _ in check_addresses(svg_of(picture, tmp_path), data)
    )
    assert "Ratios between the arms" in figure_forest.caption(found, trial, DISPLAY)


def test_empty_absent_one_arm_and_too_many(tmp_path):
    found, trial = setting(frame(), stratum="nobody")
    assert "No patients" in svg_of(figure_forest.draw(found, trial, DISPLAY), tmp_path)
    assert figure_forest.caption(found, trial, DISPLAY)
    found, trial = setting(frame(arms=1), 1)
    assert "One arm" in svg_of(figure_forest.draw(found, trial, DISPLAY), tmp_path)
    with pytest.raises(Absent):
        figure_forest.draw(fixture.results(), fixture.context(plan=plan()), DISPLAY)


def test_more_panels_than_a_figure_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(figure_forest, "MOST_HEIGHT", 90.0)
    found, trial = setting(frame())
    display = {**DISPLAY, "visits": ["Week 6", "Week 12"]}
    svg = svg_of(figure_forest.draw(found, trial, display), tmp_path)
    assert "2 panels do not fit" in svg


def test_same_bytes_twice(tmp_path):
    data = with_noise(frame(visits=("Week 12",)))
    one, two = (
        svg_of(figure_forest.draw(*setting(data), DISPLAY), tmp_path, f"{name}.svg")
        for name in "ab"
    )
    assert one == two
