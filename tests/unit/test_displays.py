"""Displays of a plan: one folder a stratum, and a list of what was left out."""

import json
import re
import zlib

import pytest
from PIL import Image
from unit import reporting_fixture as fixture
from unit import reporting_jobs as jobs

from lungitude import checks
from lungitude.reporting import displays, rendering

SCHEMA = checks.schema("plan")["properties"]["displays"]["items"]["properties"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    asked = [
        {"id": "clinical", "kind": "figure_trend", "title": "Clinical", "parameters": ["FEV1"]},
        {"id": "imaging", "kind": "figure_trend", "title": "Imaging", "parameters": ["LAA950"]},
        {"id": "table_accuracy", "title": "Against truth"},
        {"id": "table_primary", "title": "Effects", "style": "jmir"},
    ]
    plan = {**fixture.plan(), "displays": asked}
    path = tmp_path_factory.mktemp("run") / "displays"
    rendering.write(fixture.frame(), fixture.context(plan=plan), path)
    return path


def test_kinds_of_schema_registry_and_code_are_the_same():
    assert set(SCHEMA["kind"]["enum"]) == set(displays.KINDS) == set(rendering.MODULES)
    assert set(displays.NEEDS) <= set(displays.KINDS)
    tables = {name for name in displays.KINDS if name.startswith("table")}
    assert tables == {module.__name__.rpartition(".")[2] for module in rendering.TABLES}


def test_files_and_manifest(folder):
    entries = json.loads((folder / displays.MANIFEST).read_text())
    # Agreement is shown though the plan does not name it; accuracy has no results here.
    assert [entry["display"]["id"] for entry in entries] == [
        *("clinical", "imaging", "table_accuracy", "table_primary", "table_agreement"),
    ]
    left_out = {entry["display"]["id"]: entry["left_out"] for entry in entries}
    assert left_out.pop("table_accuracy") == "the accuracy has no results here"
    assert set(left_out.values()) == {""}
    wanted = {
        name
        for entry in entries
        if not entry["left_out"]
        for name in displays.files(entry["display"]).values()
    }
    assert {path.name for path in folder.iterdir()} == {*wanted, displays.MANIFEST}
    assert "clinical.tiff" in wanted
    assert entries[0]["caption"].startswith("Least squares means of the mixed model")


def test_two_displays_of_one_kind_show_their_own_parameters(folder):
    shown = {
        name: set(re.findall(r"mixed_model\.(\w+)\.", (folder / f"{name}.svg").read_text()))
        for name in ("clinical", "imaging")
    }
    assert shown == {"clinical": {"FEV1"}, "imaging": {"LAA950"}}


def test_each_table_has_the_style_that_the_plan_gives_it(folder):
    page = (folder / "table_primary.html").read_text()
    assert re.search(r">&lt;?\.?0?01<|>\.\d\d<", page)
    assert not re.search(r">0\.\d{4}<", page)


def test_pictures_are_fit_for_print(folder):
    for suffix, dots in (("png", 300), ("tiff", 600)):
        with Image.open(folder / f"clinical.{suffix}") as picture:
            assert [round(float(value)) for value in picture.info["dpi"]] == [dots, dots]
            width = picture.size[0] / dots * 25.4
            assert suffix == "png" or picture.mode == "RGB"
        assert width == pytest.approx(180, abs=0.2)


def test_what_was_left_out_is_listed_in_the_report(tmp_path):
    plan = fixture.plan(("Week 12",))
    plan["displays"] = [{"id": "table_accuracy", "title": "Against truth"}]
    page = jobs.stratum_report(tmp_path, "all", plan=plan).read_text()
    assert "<li>Against truth: the accuracy has no results here.</li>" in page
    assert "left out" not in jobs.stratum_report(tmp_path / "whole", "all").read_text()


def test_a_file_that_vanished_is_told(folder, tmp_path):
    entries = json.loads((folder / displays.MANIFEST).read_text())
    displays.write_manifest(tmp_path, entries)
    with pytest.raises(FileNotFoundError, match=r"clinical\.svg"):
        displays.read(tmp_path)


def test_sections_of_one_kind_are_told_apart_by_their_titles():
    shown = [
        {"id": "table_models", "title": "All models"},
        {"id": "lung", "kind": "figure_trend", "title": "Lungs by visit"},
        {"id": "heart", "kind": "figure_trend", "title": "Heart by visit"},
    ]
    assert displays.headings(shown) == {
        "table_models": "Models",
        "lung": "Lungs by visit",
        "heart": "Heart by visit",
    }


def test_files_for_print_are_those_that_the_plan_asks_for():
    plan = {"displays": [{"id": "figure_flow"}, {"id": "figure_forest", "print_files": ["tiff"]}]}
    of = lambda plan: [set(displays.files(one)) for one in displays.of_plan(plan)]  # noqa: E731
    assert of(plan) == [{"svg", "png", "pdf", "tiff"}, {"svg", "png", "tiff"}]
    assert of({**plan, "print_files": []}) == [{"svg", "png"}, {"svg", "png", "tiff"}]
    # Tables have no files for print.
    assert of({"displays": [{"id": "table_models"}], "print_files": []}) == [
        {"html", "tsv", "json"}
    ]


def test_a_picture_of_its_own_is_as_large_as_one_beside_a_tiff(tmp_path):
    from lungitude.reporting import figure

    sizes = []
    for wanted in (("png",), ("png", "tiff")):
        drawn = figure.notice("Nothing to show.", "A title")
        figure.save(drawn, {suffix: tmp_path / f"{len(wanted)}.{suffix}" for suffix in wanted}, "A")
        with Image.open(tmp_path / f"{len(wanted)}.png") as picture:
            sizes.append((picture.size, picture.mode, picture.info["dpi"]))
    (alone, *more), (beside, *same) = sizes
    assert more == same
    assert alone == pytest.approx(beside, abs=1)  # half of an odd number of pixels


def test_a_pdf_has_its_letters_whatever_was_drawn_before(tmp_path):
    """Fonts are cut once a process; letters beyond the usual ones are there all the same."""
    from lungitude.reporting import figure

    def made(name, text):
        figure.save(figure.notice(text, "A title"), {"pdf": tmp_path / name}, "A")
        return (tmp_path / name).read_bytes()

    def letters(content):
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, flags=re.S)
        maps = [zlib.decompress(one) for one in streams]
        return b" ".join(one for one in maps if b"beginbf" in one).lower()

    first = made("one.pdf", "Breath 0.5 µm")
    odd = letters(made("two.pdf", "Łódź"))
    assert made("three.pdf", "Breath 0.5 µm") == first
    assert b"<0141>" in odd  # Ł, which the usual letters lack
    assert b"<0141>" not in letters(first)
