"""The table of overlap: structures by domain, networks where they were compared."""

import pytest
from unit import network_fixture as fixture
from unit import sensitivity_fixture as extra

from lungitude import network_study as study
from lungitude.reporting import format as text
from lungitude.reporting import table, table_segmentation_accuracy
from lungitude.reporting.results import Absent

DISPLAY = {"id": "overlap", "number": "14.2.21", "title": "Overlap"}
DECIMALS = {"dice": 3, "iou": 3, "hd95_mm": 1}


def made(stratum="all", frame=None, arms=2):
    found = fixture.results(stratum, frame, arms)
    return table_segmentation_accuracy.build(found, fixture.context(stratum, arms), DISPLAY)


def heads(rendered, kind="group"):
    return [row.label.text for row in rendered.rows if row.kind == kind]


def data(rendered):
    return [row for row in rendered.rows if row.kind == "data"]


def test_all_structures_stand_in_order():
    rendered = made(frame=fixture.frame("network_overlap"))
    assert heads(rendered) == list(study.STRUCTURES)
    assert heads(rendered, "section") == []
    assert [row.label.text for row in data(rendered)] == [
        name for parts in study.STRUCTURES.values() for name in parts.values()
    ]
    assert len(rendered.columns) == 1 + 2 * 4


def test_unknown_structures_come_last():
    frame = fixture.frame("network_overlap").replace({"LEVEL": {"chest: wall": "chest: fissure"}})
    rendered = made(frame=frame)
    assert heads(rendered)[-1] == "Other structures"
    assert data(rendered)[-1].label.text == "chest: fissure"
    assert data(rendered)[-1].cells[0].text == str(fixture.patients("internal"))


@pytest.mark.parametrize("arms", [2, 3])
def test_numbers_are_those_of_the_frame_with_their_address(arms):
    known = extra.known(fixture.results(arms=arms))
    pieces = [
        part for row in data(made(arms=arms)) for one in row.cells for part in one.parts
        if part.address
    ]  # fmt: skip
    for part in pieces:
        number = known[part.address.removesuffix("#N")]
        if part.address.endswith("#N"):
            assert part.text == str(number.n)
        else:
            stat = part.address.rpartition("|")[2].partition("_ci_")[0]
            assert part.text == text.number(number.value, DECIMALS[stat])
    # All of the overlap is shown, and of the comparison that of both domains.
    frame = fixture.frame("network_overlap", "network_comparison")
    wanted = frame[
        frame["STAT"].str.match(r"^(dice|iou|hd95_mm)(_ci_low|_ci_high)?$")
        & (frame["GROUP"] != study.BOTH)
    ]
    assert len({part.address for part in pieces if not part.address.endswith("#N")}) == len(wanted)


def test_a_missed_structure_is_not_estimated_and_says_why():
    frame = fixture.frame("network_overlap")
    here = (frame["LEVEL"] == "chest: vein") & frame["STAT"].str.startswith("hd95_mm")
    gone = frame[here].drop_duplicates("GROUP").assign(STAT="hd95_mm", VALUE=float("nan"))
    gone["NOTE"] = "not estimated: vein missed, or none there, in 3 of 9 patients"
    rendered = made(frame=fixture.pd.concat([frame[~here], gone]))
    (veins,) = (row for row in data(rendered) if row.label.text == "Veins")
    assert [veins.cells[place].text for place in (3, 7)] == ["NE", "NE"]
    notes = dict(rendered.footnotes)
    assert "vein missed, or none there, in 3 of 9 patients" in notes[veins.cells[3].mark]
    assert any("NE, not estimated" in note for _, note in rendered.footnotes)


def test_means_of_structures_have_no_distance():
    lobes = data(made())[0]
    assert lobes.label.text == "Mean of five lobes"
    assert lobes.cells[3].text == "\u2013"
    assert lobes.cells[3].parts[0].address == ""


def test_networks_stand_below_by_task():
    rendered = made()
    assert heads(rendered, "section") == ["Comparison of networks"]
    place = next(k for k, row in enumerate(rendered.rows) if row.kind == "section")
    below = rendered.rows[place + 1 :]
    assert [row.label.text for row in below if row.kind == "group"] == [
        task.capitalize() for task in study.TASKS
    ]
    titles = [row.label.text for row in below if row.kind == "data"]
    assert titles == [*fixture.MODELS.values()] * len(study.TASKS)
    found = fixture.results()
    dice = found.get(
        "network_comparison", "dice", group="internal", comparison="vnet - truth", level="lobes"
    )
    assert below[3].cells[1].text.startswith(f"{dice.value:.3f} (")
    assert dict(rendered.footnotes)[rendered.rows[place].label.mark].startswith("Trained briefly")
    assert "network_overlap, network_comparison" in rendered.source


def test_the_comparison_alone_is_a_table_too():
    rendered = made(frame=fixture.frame("network_comparison"))
    assert rendered.rows[0].label.text == "Comparison of networks"
    assert len(data(rendered)) == len(study.TASKS) * len(fixture.MODELS)


def test_other_strata_and_runs_without_the_study_have_none():
    with pytest.raises(Absent):
        made("grade1")
    with pytest.raises(Absent):
        made(frame=fixture.frame("network_accuracy"))


def test_same_bytes():
    assert table.to_json(made()) == table.to_json(made())
