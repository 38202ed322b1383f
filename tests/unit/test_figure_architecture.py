"""The figure of the network: its boxes and lines are those of the description, texts fit."""

import copy
import json

import pytest
from matplotlib.patches import FancyBboxPatch
from unit import network_fixture as fixture
from unit import sensitivity_fixture as extra

from helpers import ROOT
from lungitude.analysis import network_study as analysis
from lungitude.reporting import figure, figure_architecture
from lungitude.reporting import format as text
from lungitude.reporting.results import Absent

DISPLAY = {"id": "network", "title": "The network"}
SHIPPED = json.loads((ROOT / "docs/networks/architecture.json").read_text(encoding="utf-8"))


def made(tmp_path, found=SHIPPED):
    """Results and context of a described network."""
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    frame = analysis.network_study(architecture=found)
    section = {"architecture": str(path)}
    return fixture.results(table=frame), fixture.context(section=section)


def drawn(tmp_path, found=SHIPPED):
    return figure_architecture.draw(*made(tmp_path, found), DISPLAY)


def own_encoder():
    """Return a network whose airways have an encoder of their own."""
    found = copy.deepcopy(SHIPPED)
    second = copy.deepcopy(found["encoders"][0])
    second |= {"name": "airway", "branches": ["airway"], "kind": "resnet50"}
    second["levels"].append({"grid": 32, "channels": 2048, "parameters": 14_942_208})
    found["encoders"][0]["branches"].remove("airway")
    found["encoders"].append(second)
    found["branches"][1]["encoder"] = "airway"
    return found


def one_branch():
    """Return a network of the heart alone, without gates."""
    found = copy.deepcopy(SHIPPED)
    found["branches"] = [{**found["branches"][3], "gates": False}]
    found["encoders"][0]["branches"] = ["heart"]
    for one in found["passes"]:
        one["branches"] = [name for name in one["branches"] if name == "heart"]
    return found


def test_numbers_are_those_of_the_description_with_their_address(tmp_path):
    known = extra.known(made(tmp_path)[0])
    pairs = extra.numbers_of(drawn(tmp_path), tmp_path / "a.svg")
    for address, shown in pairs:
        decimals = 2 if address.endswith("parameters_million") else 0
        assert shown == text.number(known[address].value, decimals)
    by_stat = [address.rpartition("|")[2] for address, _ in pairs]
    levels = sum(len(part["levels"]) for part in (*SHIPPED["encoders"], *SHIPPED["branches"]))
    assert by_stat.count("channels") == levels
    assert by_stat.count("grid") == 4
    assert by_stat.count("parameters_million") == 1 + 1 + 4
    assert by_stat.count("voxel_mm") == 3
    assert by_stat.count("low_hu") == by_stat.count("high_hu") == 2


def test_each_level_and_end_has_a_box(tmp_path):
    boxes = [one for one in drawn(tmp_path).axes[0].patches if isinstance(one, FancyBboxPatch)]
    levels = sum(len(part["levels"]) for part in (*SHIPPED["encoders"], *SHIPPED["branches"]))
    # Above them the scan or the classes of each column, below them the estimates of the branches.
    assert len(boxes) == levels + 5 + 4


def test_gates_and_passes_are_drawn_where_they_are(tmp_path):
    def markers(found, face):
        lines = drawn(tmp_path, found).axes[0].lines
        return [
            one for one in lines
            if one.get_marker() == "o" and one.get_markerfacecolor() == face
        ]  # fmt: skip

    assert len(markers(SHIPPED, "white")) == 3
    assert len(markers(SHIPPED, figure.INK)) == 2 + 1 + 3
    assert markers(one_branch(), "white") == []
    assert len(markers(one_branch(), figure.INK)) == 2


def test_classes_and_estimates_are_named(tmp_path):
    shown = " ".join(one.get_text() for one in drawn(tmp_path).axes[0].texts)
    for word in ("Lumen", "Artery", "coarser scales", "tubes", "LAV %", "arteries %", "Shared"):
        assert word in shown, word
    assert "outside" not in shown
    assert "_pct" not in shown


@pytest.mark.parametrize("found", [SHIPPED, own_encoder(), one_branch()])
def test_no_text_is_cut_or_covered(tmp_path, found):
    extra.check_texts(drawn(tmp_path, found))


def test_texts_stay_inside_their_boxes(tmp_path):
    picture = drawn(tmp_path)
    drawing = figure_architecture.Drawing(made(tmp_path)[0], SHIPPED)
    room = drawing.width - figure_architecture.PAD
    for lines in (*drawing.outputs, *drawing.estimates):
        for parts in lines:
            said = parts if isinstance(parts, str) else "".join(part.text for part in parts)
            assert figure.text_width_mm(said, figure_architecture.NOTE_POINTS) < room, said
    wide = picture.get_size_inches()[0] * 25.4
    assert wide == pytest.approx(180.0)


def test_an_encoder_of_its_own_is_joined_to_its_branch(tmp_path):
    def lines(found):
        return [
            one for one in drawn(tmp_path, found).axes[0].lines
            if one.get_color() in figure_architecture.LINES and len(one.get_xdata()) == 2
        ]  # fmt: skip

    assert len(lines(SHIPPED)) == 4 * 4
    starts = {round(one.get_xdata()[0], 2) for one in lines(own_encoder())}
    assert len(starts) == 2
    own = [one for one in lines(own_encoder()) if one.get_color() == figure_architecture.LINES[1]]
    # 1/2 to 1/8, and the coarsest features; 1/16 is no level of the branch.
    assert len(own) == 4
    shown = " ".join(one.get_text() for one in drawn(tmp_path, own_encoder()).axes[0].texts)
    assert "Encoder, airway" in shown
    assert "ResNet50" in shown


def test_caption_names_the_weights_and_gates(tmp_path):
    said = figure_architecture.caption(*made(tmp_path), DISPLAY)
    assert said.endswith(f"Weights {SHIPPED['weights']['digest']}")
    assert "attention gates" in said
    assert "attention gates" not in figure_architecture.caption(
        *made(tmp_path, one_branch()), DISPLAY
    )


def test_without_rows_or_file_there_is_none(tmp_path):
    with pytest.raises(Absent):
        figure_architecture.draw(
            fixture.results(table=fixture.frame("network_overlap")), fixture.context(), DISPLAY
        )
    with pytest.raises(Absent):
        figure_architecture.draw(fixture.results("grade1"), fixture.context("grade1"), DISPLAY)
    nowhere = fixture.context(section={"architecture": str(tmp_path / "none.json")})
    with pytest.raises(Absent, match=r"no none\.json"):
        figure_architecture.draw(fixture.results(), nowhere, DISPLAY)


def test_same_bytes(tmp_path):
    for name in ("a", "b"):
        figure.save(drawn(tmp_path), {"svg": tmp_path / f"{name}.svg"}, "")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
