"""The figure of agreement: a point a pair, lines at the numbers of the results, texts that fit."""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from unit import individual_fixture as own
from unit import reporting_fixture as fixture

from lungitude.analysis.agreement import agreement
from lungitude.analysis.individual import pairs
from lungitude.reporting import figure_agreement as module
from lungitude.reporting.results import Absent

DISPLAY = {"id": "figure_agreement", "title": "Measurements against readers", "number": "14.2.8"}
LONG = "Emphysema of both lungs at full inspiration as the network reads it on thin slices"


@functools.cache
def analysed(codes=("LAA950",), method="agreement", visits=("Baseline",), kind="both"):
    """Return the results table, and the individual values, of an analysis of reads."""
    adsl, _ = own.trial()
    context = fixture.context()
    reads = pd.concat(
        own.reads(adsl, parameter=code, seed=index).assign(AVISIT=visit)
        for index, code in enumerate(codes)
        for visit in visits
    )
    if kind == "readers":
        reads = reads[reads["METHOD"] == "reader"]
    elif kind != "both":
        reads = reads[reads["READER"].isin(["", "R1"]) & (reads["REPEAT"] == "1")]
    if kind == "large":
        reads = reads.assign(AVAL=1e6 + 1e5 * reads["AVAL"])
    if kind == "equal":
        reads = reads.assign(AVAL=4.0)
    found = agreement(adsl, reads, own.PARAMETERS, {}, context.strata, method=method)
    single = pairs(adsl, reads, own.PARAMETERS, {}, context.visits, context.strata, method=method)
    data = fixture.frame()
    return pd.concat([data[data["METHOD"] != "agreement"], found]), single


def setting(stratum="all", parameters=None, **more):
    data, single = analysed(**more)
    changes = {"parameters": parameters} if parameters else {}
    results, context = own.setting(stratum, frame=data, single=single, **changes)
    return results, context, data


@pytest.mark.parametrize("names", [None, ["network - reader", "reader: R1 - R2"]])
def test_texts_fit_and_numbers_have_their_address(names, tmp_path):
    results, context, data = setting(codes=("LAA950", "VO2MAX"))
    display = {**DISPLAY, "comparisons": names} if names else DISPLAY
    picture = module.draw(results, context, display)
    own.check_texts(picture)
    found = own.check_addresses(own.svg_of(picture, tmp_path), data)
    for name in names or ["network - reader"]:
        for code in ("LAA950", "VO2MAX"):
            where = f"agreement.{code}.all||{name}|"
            assert found[f"{where}|bias#N"] == "60"
            for stat in ("bias", "bias_ci_low", "loa_low", "loa_high_ci_high", "icc_a1", "rmse"):
                assert f"{where}|{stat}" in found
    assert len(picture.axes) == 1 + 2 * 2 * len(names or [1])


def test_points_are_the_pairs_and_lines_the_numbers():
    results, context, _ = setting()
    _, scatter, wide = module.draw(results, context, DISPLAY).axes
    pair = results.individual.pairs("agreement", "LAA950", "network - reader")
    points = scatter.lines[-1]
    assert list(points.get_xdata()) == [one.second.value for one in pair]
    assert list(points.get_ydata()) == [one.first.value for one in pair]
    assert scatter.get_xlim() == scatter.get_ylim()
    points = wide.lines[-1]
    assert list(points.get_xdata()) == [one.mean.value for one in pair]
    assert list(points.get_ydata()) == [one.difference.value for one in pair]
    level = {line.get_ydata()[0] for line in wide.lines[:-1]}
    wanted = {0}
    for stat in ("bias", "loa_low", "loa_high"):
        number = results.get("agreement", stat, "LAA950", comparison="network - reader")
        wanted.add(number.value)
    assert level == wanted
    ends = sorted(end for band in wide.patches for end in band.get_extents().intervaly)
    assert len(wide.patches) == 3
    held = wide.get_ylim()
    axes_ends = wide.transData.transform([(0, held[0]), (0, held[1])])[:, 1]
    assert axes_ends[0] <= ends[0]
    assert ends[-1] <= axes_ends[1]


def test_default_is_methods_and_else_all():
    results, context, _ = setting()
    assert [one.name for one in module.shown(results, context, DISPLAY)] == ["network - reader"]
    results, context, _ = setting(kind="readers")
    names = [one.name for one in module.shown(results, context, DISPLAY)]
    assert names == ["reader: R1 - R2", "reader: repeat 1 - 2"]
    first = module.shown(results, context, DISPLAY)[0]
    assert (first.first, first.second) == ("reader R1", "reader R2")
    second = module.shown(results, context, DISPLAY)[1]
    assert (second.first, second.second) == ("reader repeat 1", "reader repeat 2")


def test_accuracy_where_there_is_no_agreement():
    results, context, _ = setting(method="accuracy", kind="one")
    assert module.method_of(results, DISPLAY) == "accuracy"
    assert "truth" in module.caption(results, context, DISPLAY)
    with pytest.raises(Absent):
        module.draw(results, context, {**DISPLAY, "analysis": "agreement"})


def test_few_pairs_of_a_stratum_are_shown_without_lines(tmp_path):
    results, context, data = setting("grade2", kind="one")
    assert len(module.shown(results, context, DISPLAY)[0].pairs) == 1
    picture = module.draw(results, context, DISPLAY)
    found = own.check_addresses(own.svg_of(picture, tmp_path), data)
    assert found["agreement.LAA950.grade2||network - reader||bias"] == "NE"
    assert found["agreement.LAA950.grade2||network - reader||bias#N"] == "1"
    assert len(picture.axes[2].lines) == 2  # no difference, and the points
    assert "NE, not estimated: 1 pairs, 3 are needed." in module.caption(results, context, DISPLAY)
    own.check_texts(picture)


def test_several_pairs_a_patient_are_said():
    results, context, _ = setting(visits=("Baseline", "Week 12"), kind="one")
    assert "Several pairs of a patient" in module.caption(results, context, DISPLAY)
    assert len(module.shown(results, context, DISPLAY)[0].pairs) == 120
    results, context, _ = setting()
    assert "Several pairs of a patient" not in module.caption(results, context, DISPLAY)


def test_long_names_and_many_rows_fit():
    parameters = fixture.context().parameters
    for row in parameters:
        row["PARAM"] = f"{LONG} {LONG} {row['PARAMCD']}"
        row["AVALU"] = "mL of air per kg and minute"
    codes = tuple(row["PARAMCD"] for row in parameters)
    results, context, _ = setting(codes=codes, parameters=parameters, kind="one")
    picture = module.draw(results, context, DISPLAY)
    own.check_texts(picture)
    assert picture.get_size_inches()[1] * 25.4 > 300


def test_large_numbers_fit():
    results, context, _ = setting(kind="large")
    own.check_texts(module.draw(results, context, DISPLAY))


def test_equal_values_have_axes():
    results, context, _ = setting(kind="equal")
    picture = module.draw(results, context, DISPLAY)
    assert all(np.ptp(axes.get_xlim()) > 0 for axes in picture.axes)
    assert "no variation" in module.caption(results, context, DISPLAY)


def test_what_is_not_there():
    results, context, _ = setting("grade1")
    results._individual = None
    with pytest.raises(Absent, match="single patients"):
        module.draw(results, context, DISPLAY)
    results, context, _ = setting()
    with pytest.raises(Absent, match="no such comparison"):
        module.draw(results, context, {**DISPLAY, "parameters": ["FEV1"]})
    results, context = own.setting(frame=fixture.frame().assign(VALUE=0.0))
    picture = module.draw(results, context, DISPLAY)
    assert "No patients" in picture.texts[1].get_text()


def test_arms_do_not_matter_and_bytes_are_the_same(tmp_path):
    results, context, _ = setting()
    one = replace(context, arms=context.arms[:1])
    three = replace(context, arms=fixture.ARMS[:3])
    written = [
        own.svg_of(module.draw(results, trial, DISPLAY), tmp_path) for trial in (one, three, three)
    ]
    assert len(set(written)) == 1
