"""Figures at the widths of journals: their sizes on paper; those that do not fit are refused."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.ft2font import FT2Font
from PIL import Image
from unit import reporting_fixture as fixture

from lungitude import checks
from lungitude.reporting import figure, figure_flow, figure_trend, journals

TREND = {"id": "trend", "title": "Course", "parameters": ["VO2MAX", "FEV1"]}
LAYOUTS = [(name, n) for name, one in journals.profiles().items() for n in one["columns"]]


def trend(style, context=None):
    context = context or fixture.context()
    results = fixture.results(arms=max(2, len(context.arms)))
    return figure_trend.draw(results, context, {**TREND, "style": style})


def test_profiles_and_schema_name_the_same_journals():
    style = checks.schema("plan")["properties"]["displays"]["items"]["properties"]["style"]
    asked = style["else"]["properties"]
    assert asked["journal"]["enum"] == list(journals.profiles())
    known = {n for one in journals.profiles().values() for n in one["columns"]}
    assert set(asked["columns"]["enum"]) == known
    for name, profile in journals.profiles().items():
        assert set(profile) == {"label", "columns", "height_mm", "smallest_pt", "fonts", "p"}, name
        assert list(profile["columns"].values()) == sorted(profile["columns"].values())
        assert profile["p"] in asked["p"]["enum"]


@pytest.mark.parametrize(("name", "columns"), LAYOUTS)
def test_every_format_has_the_size_of_the_journal(name, columns, tmp_path):
    drawn = trend({"journal": name, "columns": columns})
    profile = journals.profiles()[name]
    width = profile["columns"][columns]
    paths = {suffix: tmp_path / f"one.{suffix}" for suffix in ("svg", "pdf", "png", "tiff")}
    figure.save(drawn, paths, "Course")
    svg = paths["svg"].read_text()
    shown = float(re.search(r'<svg[^>]*? width="([\d.]+)pt"', svg)[1]) * figure.POINT_MM
    assert shown == pytest.approx(width, abs=0.05)
    inside = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1]) * figure.POINT_MM
    scale = width / inside
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
    assert min(sizes) * scale >= max(6.0, profile["smallest_pt"]) - 1e-6
    assert f"font-family: '{profile['fonts'][0]}', " in svg
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", paths["pdf"].read_bytes())
    assert float(box[1]) * figure.POINT_MM == pytest.approx(width, abs=0.05)
    assert float(box[2]) * figure.POINT_MM <= profile["height_mm"]
    for suffix, dots in (("png", 300), ("tiff", 600)):
        with Image.open(paths[suffix]) as picture:
            assert [round(float(value)) for value in picture.info["dpi"]] == [dots, dots]
            assert picture.size[0] / dots * 25.4 == pytest.approx(width, abs=0.2)


def test_enlarged_files_have_the_same_bytes_twice(tmp_path):
    for run in ("a", "b"):
        paths = {suffix: tmp_path / f"{run}.{suffix}" for suffix in ("svg", "pdf", "png", "tiff")}
        figure.save(trend({"journal": "plos", "columns": 2}), paths, "Course")
    for suffix in ("svg", "pdf", "png", "tiff"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_figure_without_a_journal_is_as_it_was(tmp_path):
    plain = trend("csr")
    assert plain.get_size_inches()[0] * 25.4 == pytest.approx(180.0)
    assert not hasattr(plain, "print")
    trend({"journal": "nature", "columns": 1})
    assert figure.WIDTH_MM == 180.0
    figure.save(trend("csr"), {"svg": tmp_path / "again.svg"}, "Course")
    figure.save(plain, {"svg": tmp_path / "first.svg"}, "Course")
    first, again = (tmp_path / name for name in ("first.svg", "again.svg"))
    assert first.read_bytes() == again.read_bytes()
    assert "'DejaVu Sans', 'Verdana'" in first.read_text()


@pytest.mark.parametrize("columns", [1, 1.5, 2])
@pytest.mark.parametrize("arms", [1, 2, 4])
def test_text_of_a_trend_is_whole_at_every_width(columns, arms):
    context = fixture.context(arms=arms)
    drawn = trend({"journal": "nature", "columns": columns}, context)
    assert figure.misfits(drawn) == []


def test_a_figure_that_does_not_fit_says_what_it_needs():
    display = {"id": "flow", "title": "Flow", "style": {"journal": "nature", "columns": 1}}
    with pytest.raises(journals.TooNarrow, match=r"figure_flow does not fit 89 mm \(nature, "):
        figure_flow.draw(fixture.results(), fixture.context(), display)
    assert figure.WIDTH_MM == 180.0
    layout = journals.print_of({"journal": "plos", "columns": 1})
    assert "it needs two columns" in str(layout.refuse("figure_flow", "'n' is cut"))
    layout = journals.print_of({"journal": "nature", "columns": 1})
    assert "more columns of 'nature' (1.5, 2)" in str(layout.refuse("figure_flow", "'n' is cut"))
    widest = journals.print_of({"journal": "nature"})
    assert "show fewer parameters" in str(widest.refuse("figure_flow", "'n' is cut"))


def test_a_figure_higher_than_a_page_is_refused():
    many = {**TREND, "parameters": [p["PARAMCD"] for p in fixture.context().parameters]}
    with pytest.raises(journals.TooNarrow, match=r"mm high, and 170 mm is the most"):
        figure_trend.draw(
            fixture.results(), fixture.context(),
            {**many, "style": {"journal": "nature", "columns": 1}},
        )  # fmt: skip


def drawn_by_hand(*places, width=60.0):
    made = figure.new(40.0, width)
    for x, y, text in places:
        made.text(x / width, y / 40.0, text, fontsize=7)
    return made


def test_misfits_are_found():
    assert figure.misfits(drawn_by_hand((5, 20, "whole"), (5, 30, "apart"))) == []
    assert figure.misfits(drawn_by_hand((50, 20, "a long line of text"))) == [
        "'a long line of text' is cut"
    ]
    assert figure.misfits(drawn_by_hand((5, 20, "one line"), (8, 20, "another"))) == [
        "'one line' and 'another' overlap"
    ]
    made = drawn_by_hand((20, 20, "over a panel"))
    made.add_axes((0.2, 0.2, 0.7, 0.7))
    assert "'over a panel' stands in a panel" in figure.misfits(made)
    made = drawn_by_hand((1, 1, "text"))
    made.add_axes((0.4, 0.2, 0.1, 0.7))
    assert "a panel is only 6 mm wide" in figure.misfits(made)


def test_ticks_beyond_the_axis_are_no_misfit():
    made = figure.new(40.0, 60.0)
    axes = made.add_axes((0.3, 0.3, 0.6, 0.6))
    axes.set_xticks([0, 0.5, 100], ["a", "b", "far away"])
    axes.set_xlim(0, 1)
    assert figure.misfits(made) == []


def test_p_values_follow_the_journal_or_the_plan():
    assert journals.p_style(None) == "csr"
    assert journals.p_style("jmir") == "jmir"
    assert journals.p_style({"journal": "nature"}) == journals.profiles()["nature"]["p"]
    assert journals.p_style({"journal": "nature", "p": "nejm"}) == "nejm"
    context = fixture.context(p_style={"journal": "nature", "p": "nejm"})
    assert context.style["p"] == "nejm"


def test_unknown_journals_and_columns_are_told():
    with pytest.raises(ValueError, match=r"journal 'sciense' is not one of elsevier, nature"):
        journals.print_of({"journal": "sciense"})
    with pytest.raises(ValueError, match=r"'plos' has figures over 1, 2 columns, not 1\.5"):
        journals.print_of({"journal": "plos", "columns": 1.5})


def test_fonts_of_the_report_are_never_narrower_than_measured():
    # Journals' fonts stand first in SVG files; text was measured in DejaVu Sans, which is wider.
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = FT2Font(str(path))
    font.set_size(7, 72)
    font.set_text("0123456789", 0.0)
    dejavu = font.get_width_height()[0] / 64
    assert dejavu > 10 * 7 * 0.556  # a figure of Arial and Helvetica is 0.556 em wide
