"""The heat map of networks: each cell its number, darker the larger, texts inside their cells."""

import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from unit import network_fixture as fixture
from unit import sensitivity_fixture as extra
from unit.test_figure_overlap_models import many

from lungitude import network_study as study
from lungitude.reporting import figure, figure_models_heatmap
from lungitude.reporting import format as text
from lungitude.reporting.results import Absent

DISPLAY = {"id": "heatmap", "title": "Biomarkers"}


def drawn(stratum="all", frame=None, arms=2):
    found = fixture.results(stratum, frame, arms)
    return figure_models_heatmap.draw(found, fixture.context(stratum, arms), DISPLAY)


def cells(picture):
    """Fill of each cell: domain, score, biomarker, network in the order of drawing."""
    found = [one for one in picture.axes[0].patches if isinstance(one, Rectangle)]
    keys = [
        (domain, score, name, model)
        for domain in ("internal", "external")
        for score in ("r", "rmse")
        for name in study.QUANTITIES
        for model in fixture.MODELS
    ]
    return dict(zip(keys, found, strict=True))


def lightness(patch):
    return sum(to_rgb(patch.get_facecolor()))


@pytest.mark.parametrize("arms", [2, 3])
def test_numbers_are_those_of_the_frame_with_their_address(tmp_path, arms):
    known = extra.known(fixture.results(arms=arms))
    pairs = extra.numbers_of(drawn(arms=arms), tmp_path / "a.svg")
    counts = [shown for address, shown in pairs if address.endswith("|patients")]
    assert counts == ["4"] * 4
    numbers = [(a, shown) for a, shown in pairs if not a.endswith("|patients")]
    assert len(numbers) == 2 * 2 * len(study.QUANTITIES) * len(fixture.MODELS)
    for address, shown in numbers:
        level, stat = address.split("|")[3:5]
        decimals = 2 if stat == "r" else study.decimals_of(level)
        assert shown == text.number(known[address].value, decimals)


def test_darker_is_larger():
    found, fills = fixture.results(), cells(drawn())
    for domain in ("internal", "external"):
        for name in study.QUANTITIES:
            for score, stat in (("r", "r"), ("rmse", "rmse_ratio")):
                values = [
                    found.get(
                        "network_comparison", stat, group=domain, level=name,
                        comparison=f"{model} - truth",
                    )
                    for model in fixture.MODELS
                ]  # fmt: skip
                shades = [lightness(fills[domain, score, name, m]) for m in fixture.MODELS]
                pairs = [
                    (min(max(v.value, 0), 4), shade)
                    for v, shade in zip(values, shades, strict=True)
                    if v.estimated
                ]
                pairs.sort()
                assert [shade for _, shade in pairs] == sorted(
                    (shade for _, shade in pairs), reverse=True
                )


def test_what_is_missing_is_grey_and_marked():
    picture = drawn()
    grey = cells(picture)["internal", "r", "agatston", "vnet"]
    assert to_rgb(grey.get_facecolor()) == to_rgb("#eceef0")
    shown = [one.get_text() for one in picture.axes[0].texts]
    assert shown.count("NE") == 2  # CACS of a network that finds none, by domain
    # Pi10 of a network that lacks a patient: r and RMSE, by domain, and the line that says so.
    assert sum("\u1d43" in one for one in shown) == 4 + 1
    assert figure_models_heatmap.FEWER_SAID in shown


def test_without_gaps_nothing_is_marked():
    frame = fixture.frame("network_comparison")
    frame.loc[frame["STAT"] == "missing", "VALUE"] = 0
    shown = [one.get_text() for one in drawn(frame=frame).axes[0].texts]
    assert not any("\u1d43" in one for one in shown)


@pytest.mark.parametrize("frame", [None, "many"])
def test_no_text_is_cut_or_covered(frame):
    picture = drawn(frame=many() if frame else None)
    extra.check_texts(picture)


def test_numbers_stay_inside_their_cells():
    picture = drawn(frame=many())
    boxes = [one for one in picture.axes[0].patches if isinstance(one, Rectangle)]
    edges = sorted({round(b.get_x(), 3) for b in boxes})
    width = boxes[0].get_width()
    for one in picture.axes[0].texts:
        if one.get_gid() and "|patients" not in one.get_gid() and one.get_text() != "NE":
            left = one.get_position()[0]
            wide = figure.text_width_mm(one.get_text(), one.get_fontsize())
            start = max(edge for edge in edges if edge <= left + 0.01)
            assert left + wide < start + width + 0.3


def test_domains_and_biomarkers_that_are_not_there_have_no_panel():
    frame = fixture.frame("network_comparison")
    one = drawn(frame=frame[(frame["GROUP"] != "external") & (frame["LEVEL"] != "sv_ml")])
    boxes = [patch for patch in one.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(boxes) == 2 * (len(study.QUANTITIES) - 1) * len(fixture.MODELS)


def test_caption_says_what_is_dark():
    said = figure_models_heatmap.caption(fixture.results(), fixture.context(), DISPLAY)
    assert "Darker is larger: r from 0 to 1" in said
    assert "from 1 to 4 and above" in said


def test_other_strata_and_runs_without_a_comparison_have_none():
    for stratum, frame in (("grade1", None), ("all", fixture.frame("network_accuracy"))):
        with pytest.raises(Absent):
            drawn(stratum, frame)


def test_same_bytes(tmp_path):
    for name in ("a", "b"):
        figure.save(drawn(), {"svg": tmp_path / f"{name}.svg"}, "")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
