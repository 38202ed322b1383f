"""Figures of single patients: every patient drawn, numbers of the results, texts that fit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from unit import individual_fixture as own
from unit import reporting_fixture as fixture

from lungitude.reporting import figure_individual as module
from lungitude.reporting.results import Absent

DISPLAY = {"id": "figure_individual", "title": "Changes of patients", "number": "14.2.9"}
NAMED = ["VO2MAX", "LAA950", "PERC15"]
FORMS = ["spaghetti", "waterfall", "ridge"]
LONG = "Breathing training of the whole chest wall with a supervisor at home on four days"


def shown(**more):
    return {**DISPLAY, "parameters": NAMED[:2], **more}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_texts_fit_and_numbers_are_of_the_results(form, arms, tmp_path):
    data = fixture.frame(max(arms, 2))
    results, context = own.setting(arms=max(arms, 2))
    context = replace(context, arms=context.arms[:arms])
    picture = module.draw(results, context, shown(form=form))
    own.check_texts(picture)
    found = own.check_addresses(own.svg_of(picture, tmp_path), data)
    for arm in context.arms:
        for stat in ("n", "mean", "sd"):
            assert f"describe.VO2MAX.week12.all|{arm['code']}||CHG|{stat}" in found


@pytest.mark.parametrize("form", FORMS)
def test_long_names_fit(form):
    arms = [{**arm, "label": f"{LONG} {arm['code']}"} for arm in fixture.ARMS[:3]]
    parameters = fixture.context().parameters
    parameters[0]["PARAM"] = f"{LONG} {LONG} {LONG}"
    results, context = own.setting(arms=3, parameters=parameters)
    context = replace(context, arms=arms)
    own.check_texts(module.draw(results, context, shown(form=form)))


def test_every_patient_is_a_line_from_no_change_on():
    results, context = own.setting()
    picture = module.draw(results, context, shown(parameters=["VO2MAX"]))
    drawn = [c for axes in picture.axes for c in axes.collections if isinstance(c, LineCollection)]
    assert [len(one.get_segments()) for one in drawn] == [196, 196]
    table = own.values()
    mine = table[(table["PARAMCD"] == "VO2MAX") & (table["USUBJID"] == "EG-I-004")]
    wanted = [0.0, *mine.set_index("AVISIT").loc[["Week 6", "Week 12"], "CHG"]]
    assert list(drawn[0].get_segments()[0][:, 1]) == wanted
    means = [line for line in picture.axes[1].lines if line.get_marker() == "o"]
    wanted = [
        results.get("describe", "mean", "VO2MAX", visit, "EG", level="CHG").value
        for visit in ("Week 6", "Week 12")
    ]
    assert list(means[0].get_ydata()) == [0.0, *wanted]


@pytest.mark.parametrize(("count", "many"), [(12, False), (200, True)])
def test_a_waterfall_falls(count, many):
    table = own.values()
    kept = table[table["USUBJID"].isin(sorted(table["USUBJID"].unique())[4 : 4 + count])]
    results, context = own.setting(single=kept)
    picture = module.draw(results, context, shown(parameters=["VO2MAX"], form="waterfall"))
    wanted = kept[
        (kept["PARAMCD"] == "VO2MAX") & (kept["AVISIT"] == "Week 12") & (kept["TRT01P"] == "CG")
    ]
    wanted = sorted(wanted["CHG"].dropna(), reverse=True)
    axes = picture.axes[2]
    if many:
        drawn = list(axes.patches[0].get_data().values)
    else:
        found = [c for c in axes.collections if isinstance(c, LineCollection)]
        drawn = [segment[1, 1] for segment in found[0].get_segments()]
    assert drawn == wanted


def test_a_dot_a_patient_at_its_change():
    results, context = own.setting()
    picture = module.draw(results, context, shown(parameters=["VO2MAX"], form="ridge"))
    dots = [line for line in picture.axes[1].lines if len(line.get_xdata()) > 10]
    assert [len(line.get_xdata()) for line in dots] == [196, 196]
    values = [one.value for one in results.individual.values("VO2MAX", "Week 12", "EG")]
    assert list(dots[0].get_xdata()) == sorted(values)
    places = list(zip(dots[0].get_xdata(), dots[0].get_ydata(), strict=True))
    assert len(set(places)) == len(set(values)) if len(set(values)) == 196 else True
    low, high = sorted(picture.axes[1].get_ylim())
    assert min(dots[0].get_ydata()) >= low
    assert max(dots[0].get_ydata()) <= high


def test_a_parameter_on_a_log_scale_shows_ratios(tmp_path):
    single = own.values(2, 3, ("VO2MAX",))
    parameters = fixture.context().parameters
    parameters[0]["TRANSFORM"] = "log"
    data = fixture.frame()
    rows = data[(data["METHOD"] == "mixed_model") & (data["STAT"] == "emmean")]
    data = pd.concat([data, rows.assign(STAT="ratio", VALUE=1.25)])
    results, context = own.setting(single=single, frame=data, parameters=parameters)
    for form in FORMS:
        display = shown(parameters=["VO2MAX"], form=form)
        picture = module.draw(results, context, display)
        own.check_texts(picture)
        found = own.check_addresses(own.svg_of(picture, tmp_path), data)
        assert found["mixed_model.VO2MAX.week12.all|EG|||ratio"] == "1.25"
        assert not any("|CHG|mean" in address for address in found)
        assert "geometric mean ratio of the mixed model" in module.caption(
            results, context, display
        )


def test_numbers_of_other_patients_are_not_written(tmp_path):
    table = own.values()
    gone = table["USUBJID"] == "EG-I-010"
    results, context = own.setting(single=table[~gone])
    display = shown(parameters=["VO2MAX"])
    found = own.check_addresses(
        own.svg_of(module.draw(results, context, display), tmp_path), fixture.frame()
    )
    assert not any("|EG||" in address for address in found)
    assert any("|CG||" in address for address in found)
    assert "not of the same patients" in module.caption(results, context, display)


def test_band_of_repeatability_only_where_the_axis_holds_it():
    for value, drawn in ((0.3, True), (500.0, False)):
        builder = fixture.Builder("all", {})
        builder.add("agreement", "rc", value, 40, "VO2MAX", COMPARISON="network: repeat 1 - 2")
        rows = pd.DataFrame(builder.rows, columns=fixture.COLUMNS)
        results, context = own.setting(frame=pd.concat([fixture.frame(), rows]))
        display = shown(parameters=["VO2MAX"], form="ridge")
        picture = module.draw(results, context, display)
        assert bool(picture.axes[1].patches) == drawn
        assert ("Grey band" in module.caption(results, context, display)) == drawn


def test_forms_and_visits():
    results, context = own.setting()
    panels = module.panels(results, context, shown(form="waterfall"))
    assert [(p.parameter, p.visits) for p in panels] == [
        ("VO2MAX", ["Week 12"]),
        ("LAA950", ["Week 12"]),
    ]
    panels = module.panels(results, context, shown(form="waterfall", visits=["Week 6", "Week 12"]))
    assert len(panels) == 4
    panels = module.panels(results, context, shown(form="ridge", visits=["Week 6", "Week 12"]))
    assert [p.visits for p in panels] == [["Week 6", "Week 12"]] * 2
    with pytest.raises(ValueError, match="'violin' is not one of"):
        module.draw(results, context, shown(form="violin"))


def test_strata_and_absent_values():
    results, context = own.setting("grade1")
    panel = module.panels(results, context, shown())[0]
    assert len(panel.found["EG", "Week 12"]) == 20
    assert panel.count("EG", "Week 12").value == 20
    results, context = own.setting("grade2")
    own.check_texts(module.draw(results, context, shown()))
    results, context = own.setting(frame=fixture.frame().assign(VALUE=0.0))
    assert results.empty
    picture = module.draw(results, context, shown())
    assert "No patients" in picture.texts[1].get_text()
    results, context = own.setting(single=pd.DataFrame())
    with pytest.raises(Absent, match="single patients"):
        module.draw(results, context, shown())


def test_many_panels_grow_the_figure_and_nobody_gives_a_notice():
    results, context = own.setting()
    one = module.draw(results, context, shown(parameters=["VO2MAX"]))
    three = module.draw(results, context, shown(parameters=NAMED))
    assert three.get_size_inches()[1] > one.get_size_inches()[1]
    nothing = module.draw(results, context, shown(parameters=["FEV1"]))
    assert "No change from baseline" in nothing.texts[1].get_text()


@pytest.mark.parametrize("form", FORMS)
def test_same_bytes_twice(form, tmp_path):
    results, context = own.setting()
    first, second = (
        own.svg_of(module.draw(results, context, shown(form=form)), tmp_path, name)
        for name in ("a.svg", "b.svg")
    )
    assert first == second


def test_the_more_patients_the_fainter():
    shades = [module.faint(count) for count in (1, 10, 50, 100, 400)]
    assert shades == sorted(shades, reverse=True)
    assert np.all(np.array(shades) > 0.2)
