"""The figure of overlap by network: points and intervals of the results, texts in their place."""

import pytest
from unit import network_fixture as fixture
from unit import sensitivity_fixture as extra

from lungitude import network_study as study
from lungitude.analysis import network_study as analysis
from lungitude.reporting import figure, figure_overlap_models
from lungitude.reporting.results import Absent

DISPLAY = {"id": "overlap", "title": "Overlap"}


def drawn(stratum="all", frame=None, arms=2):
    found = fixture.results(stratum, frame, arms)
    return figure_overlap_models.draw(found, fixture.context(stratum, arms), DISPLAY)


def many():
    """Rows of eleven networks with long names."""
    base, parts = fixture.comparison(), []
    for number in range(11):
        part = base[base["model"].isin(["vnet"])].assign(model=f"net{number}")
        name = f"A network with a rather long name, number {number}"
        parts.append(part.assign(note=part["note"].where(part["kind"] != "facts", name)))
    cases = base[base["kind"] == "cases"]
    return analysis.network_study(comparison=fixture.pd.concat([cases, *parts]))


def test_points_and_intervals_are_those_of_the_results():
    found, picture = fixture.results(), drawn()
    panels = picture.axes[1:]
    assert len(panels) == 2 * len(study.TASKS)
    order = [(score, task) for score in ("dice", "iou") for task in study.TASKS]
    for plot, (score, task) in zip(panels, order, strict=True):
        points = [line.get_xdata()[0] for line in plot.lines if len(line.get_xdata()) == 1]
        spans = [tuple(line.get_xdata()) for line in plot.lines if len(line.get_xdata()) == 2]
        wanted, ends = [], []
        for model in fixture.MODELS:
            for domain in ("internal", "external"):
                where = {"group": domain, "comparison": f"{model} - truth", "level": task}

                def get(stat, where=where):
                    return found.get("network_comparison", stat, **where).value

                wanted.append(get(score))
                ends.append((get(f"{score}_ci_low"), get(f"{score}_ci_high")))
        assert points == wanted
        assert spans == ends
        assert plot.get_xlabel() == {"dice": "Dice", "iou": "IoU"}[score]
        low, high = plot.get_xlim()
        assert low < min(min(pair) for pair in ends)
        assert high > max(max(pair) for pair in ends)


def test_domains_differ_by_colour_marker_and_fill():
    lines = [line for line in drawn().axes[1].lines if len(line.get_xdata()) == 1]
    first, second = lines[:2]
    for look in ("get_color", "get_marker", "get_markerfacecolor"):
        assert getattr(first, look)() != getattr(second, look)()


def test_numbers_carry_their_address(tmp_path):
    known = extra.known(fixture.results())
    pairs = extra.numbers_of(drawn(), tmp_path / "a.svg")
    assert [shown for _, shown in pairs] == ["4", "4"]
    assert all(known[address].value == 4 for address, _ in pairs)


@pytest.mark.parametrize("frame", [None, "many", "one domain"])
def test_no_text_is_cut_or_covered(frame):
    frames = {"many": many, "one domain": lambda: _one_domain()}
    extra.check_texts(drawn(frame=frames[frame]() if frame else None))


def _one_domain():
    frame = fixture.frame("network_comparison")
    return frame[frame["GROUP"].isin(["internal", ""])]


def test_more_networks_make_it_higher():
    assert drawn(frame=many()).get_size_inches()[1] > drawn().get_size_inches()[1] + 3


def test_a_task_that_nobody_has_has_no_panel():
    frame = fixture.frame("network_comparison")
    assert len(drawn(frame=frame[frame["LEVEL"] != "vessels"]).axes) == 1 + 2 * 4


def test_an_estimate_that_is_missing_is_not_drawn():
    frame = fixture.frame("network_comparison")
    here = (frame["COMPARISON"] == "vnet - truth") & (frame["LEVEL"] == "lobes")
    frame.loc[here & (frame["STAT"] == "dice"), ["VALUE", "NOTE"]] = [float("nan"), "why"]
    points = [line for line in drawn(frame=frame).axes[1].lines if len(line.get_xdata()) == 1]
    assert len(points) == 2 * 2


def test_caption_names_domains_and_patients():
    said = figure_overlap_models.caption(fixture.results(), fixture.context(), DISPLAY)
    assert "internal, filled; external, open" in said
    assert "none is a patient of the trial" in said
    assert "95% CI" in said


def test_other_strata_and_runs_without_a_comparison_have_none():
    for stratum, frame in (("grade1", None), ("all", fixture.frame("network_overlap"))):
        with pytest.raises(Absent):
            drawn(stratum, frame)
        with pytest.raises(Absent):
            figure_overlap_models.caption(
                fixture.results(stratum, frame), fixture.context(), DISPLAY
            )


def test_same_bytes(tmp_path):
    for name in ("a", "b"):
        figure.save(drawn(), {"svg": tmp_path / f"{name}.svg", "pdf": tmp_path / f"{name}.pdf"}, "")
    for suffix in ("svg", "pdf"):
        one, other = (tmp_path / f"{name}.{suffix}" for name in "ab")
        assert one.read_bytes() == other.read_bytes()
