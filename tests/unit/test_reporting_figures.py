"""Figures: geometry, numbers with addresses, the same bytes twice."""

import html
import itertools
import re
import zlib

import pytest
from fontTools import subset
from PIL import Image
from unit import reporting_fixture as fixture

from lungitude.reporting import figure, figure_flow, figure_trend
from lungitude.reporting.results import Results

DRAW = {"figure_flow": figure_flow.draw, "figure_trend": figure_trend.draw}


def drawn(folder, name, stratum="all", arms=2, visits=3, stem="a"):
    """Draw and save; return the paths by kind."""
    found = fixture.results(stratum, max(arms, 2), visits)
    picture = DRAW[name](found, fixture.context(stratum, arms, visits), fixture.DISPLAYS[name])
    paths = {kind: folder / f"{stem}.{kind}" for kind in ("svg", "png", "pdf", "tiff")}
    figure.save(picture, paths, "A title")
    return paths


def test_fonts_of_a_pdf_are_embedded_without_tables_of_layout(tmp_path):
    before = list(subset.Options().drop_tables)
    paths = drawn(tmp_path, "figure_trend")
    content = paths["pdf"].read_bytes()
    found = re.findall(rb"/FontFile2 (\d+) 0 R", content)
    assert found
    for number in found:
        stream = re.search(
            rb"\b%s 0 obj\n.*?stream\r?\n(.*?)\r?\nendstream" % number, content, re.S
        )
        font = zlib.decompress(stream[1])
        assert font[:4] in (b"\0\1\0\0", b"true")
        assert not {b"GSUB", b"GPOS"} & {font[12 + 16 * k :][:4] for k in range(font[5])}
    assert subset.Options().drop_tables == before  # of other users of the library nothing changes


def test_png_and_tiff_are_one_drawing(tmp_path):
    paths = drawn(tmp_path, "figure_trend")
    with Image.open(paths["png"]) as small, Image.open(paths["tiff"]) as large:
        assert small.mode == large.mode == "RGB"
        assert small.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert large.info["dpi"] == pytest.approx((600, 600), abs=0.1)
        assert small.tobytes() == large.reduce(2).tobytes()


def inside(inner, outer, slack=0.01):
    return (
        outer.x - slack <= inner.x
        and outer.y - slack <= inner.y
        and inner.x + inner.width <= outer.x + outer.width + slack
        and inner.y + inner.height <= outer.y + outer.height + slack
    )


@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_flow_boxes_do_not_overlap_and_hold_their_text(arms):
    trial = fixture.context(arms=arms)
    placed = figure_flow.layout(fixture.results(arms=max(arms, 2)), trial)
    page = figure_flow.Box(0, 0, figure.WIDTH_MM, placed.height, ())
    everything = [*placed.boxes, *placed.bands]
    assert len(placed.boxes) == 1 + arms * 6
    for one, two in itertools.combinations(everything, 2):
        assert not one.overlaps(two), (one, two)
    for box in everything:
        assert inside(box, page)
    step = placed.points * figure.POINT_MM * 1.32
    for box in placed.boxes:
        assert len(box.lines) * step + 2 * figure_flow.PAD <= box.height + 0.01
        for line in box.lines:
            width = figure.text_width_mm(line.text, placed.points, line.bold) + line.indent_mm
            assert width <= box.width - 2 * figure_flow.PAD + 0.01, line.text


def test_flow_wraps_long_reasons_and_keeps_counts_whole():
    frame = fixture.frame(4)
    long = "discontinued:Withdrew consent because of a move to another, very far away country"
    frame["LEVEL"] = frame["LEVEL"].replace("discontinued:Withdrew consent", long)
    frame["LEVEL"] = frame["LEVEL"].replace(
        "discontinued:Adverse event", f"discontinued:{'Donaudampfschiff' * 6}"
    )
    trial = fixture.context(arms=4)
    placed = figure_flow.layout(fixture.results(arms=4, table=frame), trial)
    lines = [line for box in placed.boxes for line in box.lines]
    for box in placed.boxes:
        for line in box.lines:
            width = figure.text_width_mm(line.text, placed.points, line.bold) + line.indent_mm
            assert width <= box.width - 2 * figure_flow.PAD + 0.01, line.text
    assert all(("n\u00a0=" in line.text) == any(p.address for p in line.parts) for line in lines)


def test_flow_shows_zeros_and_counts_of_the_results():
    trial = fixture.context()
    found = fixture.results()
    placed = figure_flow.layout(found, trial)
    lines = [line.text.replace("\u00a0", " ") for box in placed.boxes for line in box.lines]
    assert "Patients randomised (n = 400)" in lines
    assert lines.count("Withdrew consent (n = 0)") == 2
    assert lines.count("slices missing (n = 0)") == 6
    assert "Lost to follow-up (n = 3)" in lines
    assert "Lost to follow-up (n = 4)" in lines
    assert "Peak oxygen uptake, Week 12" in lines
    values = {n.address: n.value for n in found._numbers.values()}
    sizes = {n.address: n.n for n in found._numbers.values()}
    for box in placed.boxes:
        for line in box.lines:
            for part in line.parts:
                address, _, used = part.address.partition("#")
                if address:
                    assert (sizes if used else values)[address] == int(part.text)


def test_flow_says_who_is_in_the_model_and_who_was_measured():
    """A covariate that is missing costs the model patients; flow and table of effects agree."""
    frame = fixture.frame()
    row = (frame["METHOD"] == "ancova") & (frame["PARAMCD"] == "VO2MAX")
    row &= (frame["STAT"] == "emmean") & (frame["GROUP"] == "EG") & (frame["STRATUM"] == "all")
    frame.loc[row & (frame["AVISIT"] == "Week 12"), "N"] = 151
    placed = figure_flow.layout(fixture.results(table=frame), fixture.context())
    lines = [line.text.replace("\u00a0", " ") for box in placed.boxes for line in box.lines]
    end = lines.index("Analysed (n = 151)")
    assert lines[end : end + 3] == [
        "Analysed (n = 151)",
        "Peak oxygen uptake, Week 12",
        "measured (n = 196)",
    ]


def test_flow_without_a_model_counts_who_was_measured():
    frame = fixture.frame()
    placed = figure_flow.layout(
        fixture.results(table=frame[frame["METHOD"] == "disposition"]), fixture.context()
    )
    lines = [line.text.replace("\u00a0", " ") for box in placed.boxes for line in box.lines]
    assert lines.count("Analysed (n = 196)") == 2


def test_flow_without_scans_has_no_scan_lines():
    frame = fixture.frame()
    frame = frame[~frame["LEVEL"].str.startswith("scans_")]
    placed = figure_flow.layout(fixture.results(table=frame), fixture.context())
    assert not any("can" in line.text for box in placed.boxes for line in box.lines)


@pytest.mark.parametrize("name", DRAW)
def test_second_rendering_has_the_same_bytes(tmp_path, name):
    one, two = (drawn(tmp_path, name, stem=stem) for stem in "ab")
    for kind, path in one.items():
        content = path.read_bytes()
        assert content == two[kind].read_bytes()
        assert str(tmp_path).encode() not in content


@pytest.mark.parametrize("name", DRAW)
def test_svg_numbers_carry_their_address(tmp_path, name):
    svg = drawn(tmp_path, name)["svg"].read_text()
    pairs = figure.addresses(svg)
    assert len(pairs) >= 24
    known = {
        n.address: n for n in Results(fixture.frame(), "all", fixture.plan())._numbers.values()
    }
    for address, shown in pairs:
        plain, _, used = html.unescape(address).partition("#")
        number = known[plain]
        assert shown.strip() == str(number.n if used else int(number.value))


@pytest.mark.parametrize(
    ("name", "stratum"),
    [("figure_flow", "nobody"), ("figure_trend", "nobody"), ("figure_trend", "grade2")],
)
def test_strata_with_nothing_or_little_to_draw(tmp_path, name, stratum):
    svg = drawn(tmp_path, name, stratum)["svg"].read_text()
    if stratum == "nobody":
        assert "No patients: nobody." in svg
    else:
        assert "observed means" in svg


def test_trend_uses_the_display_list_and_the_model():
    trial, found = fixture.context(), fixture.results()
    display = {**fixture.DISPLAYS["figure_trend"], "parameters": ["FEV1"]}
    assert figure_trend.parameters(trial, display) == ["FEV1"]
    assert figure_trend.parameters(trial, {}) == [row[0] for row in fixture.PARAMETERS]
    assert found.trend_method(display) == "mixed_model"
    assert found.trend_method({"analysis": "ancova"}) == "ancova"
    points = figure_trend.series(found, trial, "FEV1", "mixed_model")
    assert [p["visit"] for p in points["EG"]] == ["Week 6", "Week 12"]
    assert points["EG"][1]["mean"].address == "mixed_model.FEV1.week12.all|EG|||emmean"
    assert len(figure_trend.draw(found, trial, display).axes) == 1


def test_trend_places_visits_by_day():
    trial = fixture.context()
    assert figure_trend.positions(trial) == {"Baseline": 0.0, "Week 6": 0.5, "Week 12": 1.0}
    for visit in trial.visits[1:2]:
        del visit["day"]
    try:
        assert figure_trend.positions(trial)["Week 6"] == 0.5
    finally:
        fixture.VISITS[1]["day"] = 43


def test_names_with_dollar_and_angle_brackets_are_plain_text(tmp_path):
    trial = fixture.context()
    trial.parameters[0]["PARAM"] = "cost $x_1$ <script>"
    display = {**fixture.DISPLAYS["figure_trend"], "parameters": ["VO2MAX"]}
    picture = figure_trend.draw(fixture.results(), trial, display)
    figure.save(picture, {"svg": tmp_path / "a.svg"}, "t")
    svg = (tmp_path / "a.svg").read_text()
    assert "cost $x_1$ &lt;script&gt;" in svg
    assert "<script>" not in svg


def test_wrap_keeps_lines_within_the_width():
    lines = figure.wrap("one two three four five six seven", 7, 20)
    assert len(lines) > 1
    assert all(figure.text_width_mm(line, 7) <= 20 for line in lines)
    assert figure.wrap("", 7, 20) == [""]
    name = "Forced expiratory volume in 1 s"
    width = figure.text_width_mm(name, 7) - 0.5
    assert figure.wrap(name, 7, width) == ["Forced expiratory volume in", "1 s"]
