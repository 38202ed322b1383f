"""The tiles of missing values: numbers, greys, bands of visits, analysis sets."""

from dataclasses import replace

import pytest
from unit import reporting_fixture as fixture
from unit import sensitivity_fixture as extra

from lungitude.reporting import figure, figure_missing
from lungitude.reporting.results import Absent

DISPLAY = {"id": "missing", "title": "Values that are missing"}


def results(stratum="all", arms=2, frame=None):
    table = extra.plain_frame(max(arms, 2)) if frame is None else frame
    return fixture.results(stratum, table=table)


def drawn(stratum="all", arms=2, frame=None, context=None, **more):
    found = results(stratum, arms, frame)
    return figure_missing.draw(
        found, context or fixture.context(stratum, arms), {**DISPLAY, **more}
    )


def tiles(**options):
    found, context = results(frame=options.pop("frame", None)), fixture.context()
    return figure_missing.tiles(found, context, {**DISPLAY, **options})


@pytest.mark.parametrize("arms", [1, 2, 4])
@pytest.mark.parametrize("stratum", ["all", "grade1", "grade2"])
def test_numbers_carry_their_address(tmp_path, stratum, arms):
    known = extra.known(results(stratum, arms))
    pairs = extra.numbers_of(drawn(stratum, arms), tmp_path / "a.svg")
    assert len(pairs) == 2 * len(fixture.PARAMETERS) * 3 * arms
    for address, shown in pairs:
        assert shown == str(int(known[address].value))
        assert address.endswith(("|AVAL|missing", "randomised|n"))


@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_no_text_is_cut_or_covered(arms):
    extra.check_texts(drawn(arms=arms))


def test_long_names_are_wrapped():
    context = fixture.context()
    context.parameters[0]["PARAM"] = "A very long name of a measurement " * 5
    context.arms[0] = {**context.arms[0], "label": "Another very long name " * 8}
    plain, long = drawn(), drawn(context=context)
    extra.check_texts(long)
    assert long.get_size_inches()[1] > plain.get_size_inches()[1]


def test_many_visits_go_on_below():
    visits = [{"name": f"Week {i}", "baseline": i == 0} for i in range(12)]
    context = replace(fixture.context(arms=4), visits=visits)
    builder = fixture.Builder("all", {arm["code"]: 900 for arm in fixture.ARMS})
    fixture.disposition(builder, [])
    fixture.effects(builder, [{"name": visit["name"]} for visit in visits])
    frame = fixture.pd.DataFrame(builder.rows, columns=fixture.COLUMNS)
    picture = drawn(arms=4, frame=frame, context=context)
    extra.check_texts(picture)
    shown = [one.get_text() for one in picture.axes[0].texts]
    assert all(shown.count(visit["name"]) == 1 for visit in visits)
    assert shown.count("Peak oxygen uptake") > 1


def test_greys_follow_the_share():
    found = tiles()
    grid = figure_missing.Grid(fixture.context(), found, ["Baseline", "Week 6", "Week 12"], None)
    own = found["VO2MAX"]
    assert own["Baseline", "EG"].share == 0
    assert own["Week 6", "EG"].share == pytest.approx(4 / 200)
    assert float(grid._grey(0)) == 1
    assert float(grid._grey(0.02)) > float(grid._grey(0.05)) > figure_missing.DARKEST
    assert grid.end == 10


@pytest.mark.parametrize(("n", "end"), [(180, 10), (179, 20), (40, 100)])
def test_scale_holds_the_largest_share(n, end):
    frame = extra.plain_frame()
    row = (frame["METHOD"] == "describe") & (frame["PARAMCD"] == "FEV1")
    row &= (frame["AVISIT"] == "Week 12") & (frame["LEVEL"] == "AVAL") & (frame["GROUP"] == "EG")
    frame.loc[row & (frame["STAT"] == "n"), "VALUE"] = n
    frame.loc[row & (frame["STAT"] == "missing"), "VALUE"] = 200 - n
    picture = drawn(frame=frame)
    assert f"{end}%" in [one.get_text() for one in picture.axes[0].texts]


def test_denominator_is_left_out_where_it_is_another_set():
    frame = extra.plain_frame()
    row = (frame["METHOD"] == "describe") & (frame["STAT"] == "missing")
    frame.loc[row, "VALUE"] += 5
    shown = [one.get_text() for one in drawn(frame=frame).axes[0].texts]
    assert "200" not in shown
    assert "/" not in shown
    assert "9" in shown
    said = figure_missing.caption(results(frame=frame), fixture.context(), DISPLAY)
    assert "randomised" not in said
    assert "randomised" in figure_missing.caption(results(), fixture.context(), DISPLAY)


def test_a_parameter_that_was_not_measured_at_a_visit_has_a_dash():
    frame = extra.plain_frame()
    gone = (frame["METHOD"] == "describe") & (frame["PARAMCD"] == "FEV1")
    frame = frame[~(gone & (frame["AVISIT"] == "Week 6"))]
    shown = [one.get_text() for one in drawn(frame=frame).axes[0].texts]
    assert shown.count("\u2013") == 2
    said = figure_missing.caption(results(frame=frame), fixture.context(), DISPLAY)
    assert "not measured" in said
    frame = frame[~((frame["METHOD"] == "describe") & (frame["PARAMCD"] == "FEV1"))]
    assert "FEV1" not in tiles(frame=frame)


def test_display_chooses_parameters_and_visits():
    found = tiles(parameters=["FEV1", "VO2MAX"], visits=["Week 12"])
    assert list(found) == ["FEV1", "VO2MAX"]
    assert {visit for visit, _ in found["FEV1"]} == {"Week 12"}


def test_nobody_and_nothing():
    assert "No patients" in drawn("nobody").texts[1].get_text()
    frame = extra.plain_frame()
    with pytest.raises(Absent):
        drawn(frame=frame[frame["METHOD"] != "describe"])


def test_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        figure.save(
            drawn(arms=3), {kind: tmp_path / f"{name}.{kind}" for kind in ("svg", "pdf")}, "T"
        )
    for kind in ("svg", "pdf"):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
        assert one == two
