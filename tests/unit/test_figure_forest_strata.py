"""Effects within strata as a forest plot: rows of each stratum with their own addresses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from unit import individual_fixture as own
from unit import reporting_fixture as fixture

from lungitude.reporting import figure_forest_strata as module
from lungitude.reporting.results import Absent

DISPLAY = {"id": "figure_forest_strata", "title": "Effects by grade", "number": "14.2.8"}
NAMED = {**DISPLAY, "parameters": ["VO2MAX", "LAA950"]}
LEVELS = ["all", "SEVERITY=I", "SEVERITY=II"]


def with_subgroups(data, codes, p=0.0123):
    builder = fixture.Builder("all", {})
    for code in codes:
        builder.add("subgroups", "interaction_p", p, 380, code, "Week 12", LEVEL="SEVERITY")
    return pd.concat([data, pd.DataFrame(builder.rows, columns=fixture.COLUMNS)])


@pytest.mark.parametrize("arms", [2, 3, 4])
def test_texts_fit_and_numbers_keep_their_address(arms, tmp_path):
    data = fixture.frame(arms)
    results, context = own.setting(arms=arms, frame=data)
    picture = module.draw(results, context, NAMED)
    own.check_texts(picture)
    found = own.check_addresses(own.svg_of(picture, tmp_path), data)
    for code in ("VO2MAX", "LAA950"):
        assert found[f"ancova.{code}.week12.all|||SEVERITY|interaction_p"] == "0.0413"
        for stratum in ("all", "grade1", "grade2"):
            for _, comparison in context.comparisons:
                where = f"ancova.{code}.week12.{stratum}||{comparison}|"
                assert f"{where}|estimate" in found
                assert (found[f"{where}|estimate"] == "NE") == (stratum == "grade2")
                assert (f"{where}|ci_low" in found) == (stratum != "grade2")
            for arm in context.arms:
                where = f"ancova.{code}.week12.{stratum}|{arm['code']}|||emmean#N"
                assert where in found


def test_marks_stand_at_the_estimates_of_the_strata():
    results, context = own.setting()
    picture = module.draw(results, context, {**NAMED, "parameters": ["VO2MAX"]})
    axes = picture.axes[1]
    drawn = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "s"]
    grade = results.at("grade1").get("ancova", "estimate", "VO2MAX", "Week 12", "", "EG - CG")
    assert drawn == [grade.value]  # grade II has one patient in an arm
    diamond = axes.patches[0].get_xy()[:, 0]
    limits = [
        results.get("ancova", stat, "VO2MAX", "Week 12", "", "EG - CG").value
        for stat in ("ci_low", "ci_high")
    ]
    assert [min(diamond), max(diamond)] == limits


def test_the_test_is_of_one_analysis_for_all_endpoints(tmp_path):
    whole = with_subgroups(fixture.frame(), ["VO2MAX", "LAA950"])
    results, context = own.setting(frame=whole)
    assert module.Strata(results, context, NAMED).test == "subgroups"
    found = own.check_addresses(own.svg_of(module.draw(results, context, NAMED), tmp_path), whole)
    assert found["subgroups.VO2MAX.week12.all|||SEVERITY|interaction_p"] == "0.0123"
    assert "by the analysis of subgroups" in module.caption(results, context, NAMED)
    part = with_subgroups(fixture.frame(), ["VO2MAX"])
    results, context = own.setting(frame=part)
    assert module.Strata(results, context, NAMED).test == "ancova"
    assert "by the ANCOVA; not adjusted" in module.caption(results, context, NAMED)
    asked = {**NAMED, "interaction": "subgroups"}
    assert module.Strata(results, context, asked).test == "subgroups"
    none = part[part["STAT"] != "interaction_p"]
    results, context = own.setting(frame=none)
    assert module.Strata(results, context, NAMED).test == ""
    own.check_texts(module.draw(results, context, NAMED))
    assert "Interaction" not in module.caption(results, context, NAMED)


def test_analysis_visits_and_order_of_the_endpoints():
    results, context = own.setting()
    view = module.Strata(results, context, {**NAMED, "analysis": "mixed_model"})
    assert view.get("subgroups", "estimate", "VO2MAX", "Week 12", "", "EG - CG", "all") == (
        results.get("mixed_model", "estimate", "VO2MAX", "Week 12", "", "EG - CG")
    )
    assert "mixed model" in module.caption(results, context, {**NAMED, "analysis": "mixed_model"})
    shown = {**DISPLAY, "parameters": ["FEV1", "VO2MAX"], "visits": ["Week 6", "Week 12"]}
    assert module.Strata(results, context, shown).blocks == [
        ("FEV1", "Week 6"),
        ("FEV1", "Week 12"),
        ("VO2MAX", "Week 6"),
        ("VO2MAX", "Week 12"),
    ]
    assert len(module.Strata(results, context, DISPLAY).blocks) == 6
    with pytest.raises(Absent, match="no effect"):
        module.draw(results, context, {**DISPLAY, "parameters": ["UNKNOWN"]})
    with pytest.raises(Absent, match="MMRM has no results"):
        module.draw(results, context, {**DISPLAY, "analysis": "mmrm"})


def test_band_is_the_repeatability(tmp_path):
    builder = fixture.Builder("all", {})
    name = "network: repeat 1 - 2"
    builder.add("agreement", "rc", 0.9, 40, "VO2MAX", COMPARISON=name, POPULATION="")
    data = pd.concat([fixture.frame(), pd.DataFrame(builder.rows, columns=fixture.COLUMNS)])
    results, context = own.setting(frame=data)
    picture = module.draw(results, context, NAMED)
    found = own.check_addresses(own.svg_of(picture, tmp_path), data)
    assert found[f"agreement.VO2MAX.all||{name}||rc"] == "0.90"
    assert "Grey band" in module.caption(results, context, NAMED)


def test_ratios():
    data = fixture.frame()
    rows = data[(data["METHOD"] == "ancova") & (data["PARAMCD"] == "VO2MAX")]
    rows = rows[rows["COMPARISON"] != ""]
    extra = [
        rows[rows["STAT"] == stat].assign(STAT=name, VALUE=value, NOTE="")
        for stat, name, value in (
            ("estimate", "ratio", 1.2), ("ci_low", "ratio_ci_low", 1.1),
            ("ci_high", "ratio_ci_high", 1.4),
        )
    ]  # fmt: skip
    parameters = fixture.context().parameters
    parameters[0]["TRANSFORM"] = "log"
    results, context = own.setting(frame=pd.concat([data, *extra]), parameters=parameters)
    picture = module.draw(results, context, {**DISPLAY, "parameters": ["VO2MAX"]})
    assert picture.axes[1].get_xscale() == "log"
    assert module.caption(results, context, {**DISPLAY, "parameters": ["VO2MAX"]}).startswith(
        "Ratios"
    )


def test_caption_says_what_was_not_estimated_and_what_is_cut():
    results, context = own.setting()
    said = module.caption(results, context, NAMED)
    assert "NE, not estimated: 1 patient in an arm." in said
    assert "arrowhead" not in said
    data = fixture.frame()
    mine = (data["STRATUM"] == "grade1") & (data["STAT"] == "ci_high")
    data.loc[mine & (data["METHOD"] == "ancova"), "VALUE"] += 500
    results, context = own.setting(frame=data)
    assert "arrowhead" in module.caption(results, context, NAMED)


def test_only_in_the_report_of_all_patients():
    results, context = own.setting("grade1")
    with pytest.raises(Absent, match="report of all patients"):
        module.draw(results, context, NAMED)
    results, context = own.setting(strata=[])
    with pytest.raises(Absent, match="no stratification factor"):
        module.draw(results, context, NAMED)


def test_one_arm_and_nobody_give_a_notice():
    results, context = own.setting()
    alone = replace(context, arms=context.arms[:1])
    assert "One arm" in module.draw(results, alone, NAMED).texts[1].get_text()
    assert module.caption(results, alone, NAMED).endswith("All patients")
    results, context = own.setting(frame=fixture.frame().assign(VALUE=0.0))
    assert "No patients" in module.draw(results, context, NAMED).texts[1].get_text()
    assert module.caption(results, context, NAMED).endswith("All patients")


def test_long_names_fit():
    long = "Breathing training of the whole chest wall with a supervisor at home on four days"
    arms = [{**arm, "label": f"{long} {arm['code']}"} for arm in fixture.ARMS[:3]]
    parameters = fixture.context().parameters
    parameters[0]["PARAM"] = f"{long} {long}"
    strata = [
        {**fixture.STRATA[0], "label": long,
         "levels": [{**one, "label": long} for one in fixture.STRATA[0]["levels"]]}
    ]  # fmt: skip
    results, context = own.setting(arms=3, parameters=parameters, strata=strata)
    own.check_texts(module.draw(results, replace(context, arms=arms), NAMED))


def test_same_bytes_twice(tmp_path):
    results, context = own.setting()
    first, second = (
        own.svg_of(module.draw(results, context, NAMED), tmp_path, name)
        for name in ("a.svg", "b.svg")
    )
    assert first == second
    levels = list(module.Strata(results, context, NAMED).strata)
    assert levels == LEVELS
    assert np.isfinite(module.Strata(results, context, NAMED).estimates()[0].value)
