"""The figure of activation maps: the study's picture as it is, and the shares of the results."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from unit import network_fixture as fixture
from unit import sensitivity_fixture as extra

from helpers import ROOT
from lungitude import tables
from lungitude.provenance import digest_of
from lungitude.reporting import figure, figure_activation
from lungitude.reporting import format as text
from lungitude.reporting.results import Absent

DISPLAY = {"id": "activation", "title": "Where the network looks"}
PICTURE = ROOT / "docs/validation/networks_explained.png"
SHARES = {"overlap_pct": 0, "chance_pct": 0, "ssim_randomised": 2}


def drawn(stratum="all", frame=None, section=None):
    found = fixture.results(stratum, frame)
    return figure_activation.draw(found, fixture.context(stratum, section=section), DISPLAY)


def test_the_picture_is_shown_whole_and_undistorted():
    picture = drawn()
    (shown,) = picture.axes[0].images
    with Image.open(PICTURE) as opened:
        wanted = np.asarray(opened.convert("RGB"))
    assert np.array_equal(shown.get_array(), wanted)
    box = picture.axes[0].get_position()
    wide, high = picture.get_size_inches()
    assert box.width * wide / (box.height * high) == pytest.approx(
        wanted.shape[1] / wanted.shape[0], rel=1e-6
    )
    assert wide * 25.4 == pytest.approx(180.0)


def test_shares_are_those_of_the_table_with_their_address(tmp_path):
    known = extra.known(fixture.results())
    pairs = extra.numbers_of(drawn(), tmp_path / "a.svg")
    table = tables.read(ROOT / "docs/validation/networks_explained.tsv")
    table = table[table["QUANTILE"] == 0.95]
    assert len(pairs) == len(SHARES) * len(table)
    wanted = [
        text.number(row[stat], decimals)
        for row in table.to_dict("records")
        for stat, decimals in SHARES.items()
    ]
    assert [shown for _, shown in pairs] == wanted
    for address, shown in pairs:
        stat = address.rpartition("|")[2]
        assert "|hottest 5%|" in address
        assert shown == text.number(known[address].value, SHARES[stat])


def test_no_text_is_cut_or_covered():
    extra.check_texts(drawn())


def test_several_patients_are_named():
    frame = fixture.frame("network_activation")
    both = pd.concat([frame, frame.assign(GROUP="another patient")], ignore_index=True)
    picture = drawn(frame=both)
    shown = [one.get_text() for one in picture.axes[1].texts]
    assert "another patient" in shown
    assert picture.get_size_inches()[1] > drawn(frame=frame).get_size_inches()[1] + 1
    extra.check_texts(picture)
    assert "unseen phantom" not in [one.get_text() for one in drawn().axes[1].texts]


def test_another_part_is_quoted_where_the_usual_one_is_not_there():
    frame = fixture.frame("network_activation")
    frame = frame[frame["COMPARISON"] == "hottest 1%"]
    shown = [one.get_text() for one in drawn(frame=frame).axes[1].texts]
    assert "Heat of (hottest 1% of the voxels)" in shown


def test_a_map_without_heat_is_not_estimated():
    frame = fixture.frame("network_activation")
    here = (frame["LEVEL"] == "heart: heart") & (frame["STAT"] == "overlap_pct")
    frame.loc[here, ["VALUE", "NOTE"]] = [float("nan"), "not estimated: nothing speaks for it"]
    assert "NE" in [one.get_text() for one in drawn(frame=frame).axes[1].texts]


def test_caption_names_the_file():
    said = figure_activation.caption(fixture.results(), fixture.context(), DISPLAY)
    assert f"Picture networks_explained.png (sha256 {digest_of(PICTURE)})" in said
    assert "hottest 5%" in said


def test_without_rows_or_picture_there_is_none(tmp_path):
    with pytest.raises(Absent):
        drawn("grade1")
    with pytest.raises(Absent):
        drawn(frame=fixture.frame("network_overlap"))
    with pytest.raises(Absent, match=r"no networks_explained\.png"):
        drawn(section={"tables": str(tmp_path)})


def test_vector_files_hold_the_picture_as_it_is_and_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        paths = {suffix: tmp_path / f"{name}.{suffix}" for suffix in ("svg", "pdf")}
        figure.save(drawn(), paths, "")
    for suffix in ("svg", "pdf"):
        one, other = (tmp_path / f"{name}.{suffix}" for name in "ab")
        assert one.read_bytes() == other.read_bytes()
    with Image.open(PICTURE) as opened:
        wide, _ = opened.size
    assert b"/Width " + str(wide).encode() in (tmp_path / "a.pdf").read_bytes()
