"""Trends of all strata side by side: numbers of each stratum, one axis a row, texts that fit."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from unit import individual_fixture as own
from unit import reporting_fixture as fixture

from lungitude.reporting import figure
from lungitude.reporting import figure_trends_grades as module
from lungitude.reporting.results import Absent

DISPLAY = {"id": "figure_trends_grades", "title": "Course by grade", "number": "14.2.3"}
NAMED = {**DISPLAY, "parameters": ["VO2MAX", "LAA950"]}
LONG = "Breathing training of the whole chest wall with a supervisor at home on four days"


def many(count):
    """Return the strata of a trial with many levels, and the results of all of them."""
    levels = [
        {"value": str(i), "path": f"grade{i}", "label": f"Grade {i}"} for i in range(1, count + 1)
    ]
    data = fixture.frame()
    first = data[data["STRATUM"] == "grade1"]
    more = [
        first.assign(
            STRATUM=level["path"],
            ANALYSISID=first["ANALYSISID"].str.replace("grade1", level["path"]),
        )
        for level in levels[2:]
    ]
    return [{"column": "SEVERITY", "label": "Severity", "levels": levels}], pd.concat([data, *more])


@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_texts_fit_and_numbers_have_their_address(arms, tmp_path):
    data = fixture.frame(max(arms, 2))
    results, context = own.setting(arms=max(arms, 2), frame=data)
    context = replace(context, arms=context.arms[:arms])
    picture = module.draw(results, context, NAMED)
    own.check_texts(picture)
    found = own.check_addresses(own.svg_of(picture, tmp_path), data)
    for stratum in ("grade1", "grade2", "all"):
        assert f"disposition.{stratum}|{context.total}||randomised|n" in found
        for arm in context.arms:
            for visit in ("week6", "week12"):
                rows = [a for a in found if a.startswith(f"mixed_model.VO2MAX.{visit}.{stratum}|")]
                assert any(f"|{arm['code']}|" in address for address in rows) or stratum == "grade2"
    panels = picture.axes[1:]
    assert len(panels) == 6
    assert len({axes.get_ylim() for axes in panels[:3]}) == 1
    assert panels[0].get_ylim() != panels[3].get_ylim()


def test_means_and_intervals_are_those_of_the_stratum():
    results, context = own.setting()
    picture = module.draw(results, context, {**DISPLAY, "parameters": ["VO2MAX"]})
    for axes, stratum in zip(picture.axes[1:], ("grade1", "grade2", "all"), strict=True):
        other = results.at(stratum)
        for arm, marker in (("EG", "o"), ("CG", "s")):
            drawn = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == marker]
            wanted = []
            for visit in ("Week 6", "Week 12"):
                mean = other.get("mixed_model", "emmean", "VO2MAX", visit, arm)
                if not mean.estimated:
                    mean = other.get("describe", "mean", "VO2MAX", visit, arm, level="CHG")
                wanted.append(mean.value)
            assert drawn == wanted
    whole = picture.axes[-1]
    low = results.get("mixed_model", "ci_low", "VO2MAX", "Week 12", "EG").value
    high = results.get("mixed_model", "ci_high", "VO2MAX", "Week 12", "EG").value
    bars = [tuple(line.get_ydata()) for line in whole.lines]
    assert (low, high) in bars


def test_a_tiny_stratum_does_not_flatten_the_others():
    data = fixture.frame()
    mine = data["ANALYSISID"] == "mixed_model.VO2MAX.week6.grade1"
    mine &= data["GROUP"] == "EG"
    data.loc[mine & (data["STAT"] == "ci_high"), "VALUE"] += 500
    results, context = own.setting(frame=data)
    cells = dict(module.collect(results, context, NAMED))["VO2MAX"]
    _, high = module.limits(context, "VO2MAX", cells)
    assert high < 100
    assert "arrowhead" in module.caption(results, context, NAMED)
    picture = module.draw(results, context, NAMED)
    assert any(line.get_marker() == "^" for line in picture.axes[1].lines)
    results, context = own.setting()
    assert "arrowhead" not in module.caption(results, context, NAMED)


def test_not_estimated_is_said_and_observed_means_are_hollow():
    results, context = own.setting()
    said = module.caption(results, context, NAMED)
    assert "observed mean, not modelled" in said
    grade2 = module.draw(results, context, NAMED).axes[2]
    assert {line.get_markerfacecolor() for line in grade2.lines if line.get_marker() == "o"} == {
        "white"
    }


@pytest.mark.parametrize("count", [6, 7, 13])
def test_many_strata_break_into_rows(count):
    strata, data = many(count)
    results, context = own.setting(frame=data, strata=strata)
    picture = module.draw(results, context, {**DISPLAY, "parameters": ["VO2MAX"]})
    own.check_texts(picture)
    assert len(picture.axes) == 1 + count + 1


def test_long_names_fit():
    strata = [
        {
            "column": "SEVERITY",
            "label": LONG,
            "levels": [
                {"value": "I", "path": "grade1", "label": LONG},
                {"value": "II", "path": "grade2", "label": "II"},
            ],
        }
    ]
    arms = [{**arm, "label": f"{LONG} {LONG} {arm['code']}"} for arm in fixture.ARMS[:3]]
    parameters = fixture.context().parameters
    parameters[0] |= {"PARAM": f"{LONG} {LONG} {LONG}", "AVALU": "mL of air per kg and minute"}
    results, context = own.setting(arms=3, strata=strata, parameters=parameters)
    own.check_texts(module.draw(results, replace(context, arms=arms), NAMED))


@pytest.mark.parametrize("width", [24.0, 30.0, 60.0])
@pytest.mark.parametrize(
    "places",
    [
        {"Baseline": 0.0, "Week 6": 0.5, "Week 12": 1.0},
        {"Baseline": 0.0, "Day 3": 0.02, "Day 90": 1.0},
        {"Baseline": 0.0, "After rehabilitation": 0.5, "End": 1.0},
    ],
)
def test_names_of_visits_stand_side_by_side_or_upright(places, width):
    texts, upright, height = module.tick_texts(places, width)
    at = [(x + module.EDGE) / (1 + 2 * module.EDGE) * width for x in places.values()]
    half = [
        max(figure.text_width_mm(line, module.SMALL) for line in text.split("\n")) / 2
        for text in texts
    ]
    assert "".join(texts).replace("\n", " ").count("-") == 0  # no word is cut
    if upright:
        assert height >= 2 * max(half)
        return
    ends = [(x - w, x + w) for x, w in zip(at, half, strict=True)]
    assert all(left[1] < right[0] for left, right in itertools.pairwise(ends))
    assert ends[0][0] >= -module.GAP / 2
    assert ends[-1][1] <= width + module.GAP / 2


def test_ratios_have_a_log_axis(tmp_path):
    data = fixture.frame()
    rows = data[(data["METHOD"] == "mixed_model") & (data["PARAMCD"] == "VO2MAX")]
    extra = []
    for stat, name, value in (
        ("emmean", "ratio", 1.25), ("ci_low", "ratio_ci_low", 1.1),
        ("ci_high", "ratio_ci_high", 1.5),
    ):  # fmt: skip
        own_rows = rows[(rows["STAT"] == stat) & (rows["GROUP"] != "")]
        extra.append(own_rows.assign(STAT=name, VALUE=value, NOTE=""))
    data = pd.concat([data, *extra])
    parameters = fixture.context().parameters
    parameters[0]["TRANSFORM"] = "log"
    results, context = own.setting(frame=data, parameters=parameters)
    picture = module.draw(results, context, NAMED)
    assert picture.axes[1].get_yscale() == "log"
    low, high = picture.axes[1].get_ylim()
    assert 0 < low < 1
    assert high > 1.5
    assert picture.axes[1].get_ylabel() == "Ratio to baseline"
    own.check_texts(picture)


def test_only_in_the_report_of_all_patients():
    results, context = own.setting("grade1")
    with pytest.raises(Absent, match="report of all patients"):
        module.draw(results, context, NAMED)
    results, context = own.setting(strata=[])
    with pytest.raises(Absent, match="no stratification factor"):
        module.draw(results, context, NAMED)
    results, context = own.setting()
    with pytest.raises(Absent, match="no stratification factor OTHER"):
        module.draw(results, context, {**NAMED, "factor": "OTHER"})


def test_nobody_and_nothing_give_a_notice():
    results, context = own.setting(frame=fixture.frame().assign(VALUE=0.0))
    assert "No patients" in module.draw(results, context, NAMED).texts[1].get_text()
    results, context = own.setting()
    nothing = module.draw(results, context, {**NAMED, "parameters": ["UNKNOWN"]})
    assert "No change from baseline" in nothing.texts[1].get_text()
    heights = [
        module.draw(results, context, {**DISPLAY, "parameters": names}).get_size_inches()[1]
        for names in (["VO2MAX"], ["VO2MAX", "LAA950", "FEV1"])
    ]
    assert np.diff(heights)[0] > 0


def test_same_bytes_twice(tmp_path):
    results, context = own.setting()
    first, second = (
        own.svg_of(module.draw(results, context, NAMED), tmp_path, name)
        for name in ("a.svg", "b.svg")
    )
    assert first == second
