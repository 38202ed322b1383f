"""The table of the network's accuracy: Table 2's rows, numbers of the results, their addresses."""

import pytest
from unit import network_fixture as fixture
from unit import sensitivity_fixture as extra

from lungitude import network_study as study
from lungitude.reporting import format as text
from lungitude.reporting import table, table_network_accuracy
from lungitude.reporting.results import Absent

DISPLAY = {"id": "accuracy", "number": "14.2.20", "alias": "Table 2", "title": "Accuracy"}


def made(stratum="all", frame=None, arms=2):
    found = fixture.results(stratum, frame, arms)
    return table_network_accuracy.build(found, fixture.context(stratum, arms), DISPLAY)


def lines(rendered):
    return {row.label.text: row for row in rendered.rows if row.kind == "data"}


def test_rows_are_the_biomarkers_by_organ():
    rendered = made()
    assert [row.label.text for row in rendered.rows if row.kind == "group"] == [
        "Lung parenchyma", "Airways", "Pulmonary vessels", "Heart",
    ]  # fmt: skip
    assert list(lines(rendered)) == [study.label_of(name) for name in study.QUANTITIES]
    heads = [column.label for column in rendered.columns[1:]]
    wanted = [f"{domain}: {name}" for domain in ("Internal", "External")
              for name in ("n", "r", "RMSE", "ICC(A,1)")]  # fmt: skip
    assert heads == wanted
    assert rendered.columns[1].sub.text == f"(n={fixture.patients('internal')})"
    assert rendered.columns[5].sub.text == f"(n={fixture.patients('external')})"
    assert all(len(row.cells) == len(heads) for row in lines(rendered).values())


@pytest.mark.parametrize("arms", [1, 3])
def test_numbers_are_those_of_the_frame_with_their_address(arms):
    found = fixture.results(arms=max(arms, 2))
    known = extra.known(found)
    rendered = lines(made(arms=max(arms, 2)))
    assert len(rendered) == len(study.QUANTITIES)
    for name, named in study.QUANTITIES.items():
        pieces = [part for one in rendered[named.label].cells for part in one.parts if part.address]
        assert len(pieces) == 2 * (1 + 3 + 1 + 3)
        for part in pieces:
            number = known[part.address.removesuffix("#N")]
            level, stat = part.address.split("|")[3:5]
            assert level == name
            if part.address.endswith("#N"):
                assert part.text == str(number.n)
            else:
                decimals = named.decimals if stat.startswith("rmse") else 3
                assert part.text == text.number(number.value, decimals)


def test_published_numbers_are_not_shown():
    shown = " ".join(one.text for row in made().rows for one in row.cells)
    assert "0.93 " not in shown
    assert "published" not in " ".join(note for _, note in made().footnotes).lower()


def test_it_says_whose_patients_these_are():
    rendered = made()
    assert "none is a patient of the trial" in rendered.population
    notes = " ".join(note for _, note in rendered.footnotes)
    (known,) = fixture.frame("network_accuracy").query("STAT == 'weights'")["NOTE"]
    assert len(known.split()[1]) == 16
    assert f"Network: {known}." in notes
    assert "RMSE, root mean squared error" in notes
    assert "network_accuracy" in rendered.source


def test_one_domain_and_unknown_ones():
    frame = fixture.frame("network_accuracy")
    one = made(frame=frame[frame["GROUP"] != "external"])
    assert [column.label for column in one.columns] == [
        "Biomarker", "Internal: n", "Internal: r", "Internal: RMSE", "Internal: ICC(A,1)",
    ]  # fmt: skip
    other = made(frame=frame.replace({"GROUP": {"internal": "clinic"}}))
    assert other.columns[1].label == "External: n"
    assert other.columns[5].label == "Clinic: n"


def test_what_was_not_estimated_says_why():
    frame = fixture.frame("network_accuracy")
    place = (frame["LEVEL"] == "sv_ml") & (frame["GROUP"] == "internal")
    frame.loc[place & (frame["STAT"] == "r"), ["VALUE", "NOTE"]] = [
        float("nan"), "not estimated: too few patients",
    ]  # fmt: skip
    gone = place & frame["STAT"].isin(["rmse", "icc_a1", "icc_ci_low", "icc_ci_high"])
    rendered = made(frame=frame[~gone])
    cells = lines(rendered)["SV, mL"].cells
    counted = fixture.results().get(
        "network_accuracy", "r", group="internal", comparison="network - truth", level="sv_ml"
    )
    assert [one.text for one in cells[:4]] == [str(counted.n), "NE", "\u2013", "\u2013"]
    assert (cells[1].mark, "Not estimated: too few patients") in rendered.footnotes


def test_other_strata_and_runs_without_the_study_have_none():
    with pytest.raises(Absent):
        made("grade1")
    with pytest.raises(Absent):
        made(frame=fixture.frame("network_overlap"))


def test_same_bytes_and_all_formats():
    first, second = made(), made()
    assert table.to_json(first) == table.to_json(second)
    assert table.from_json(table.to_json(first)) == first
    page = table.to_page(first, {"title": "A trial", "synthetic": True})
    assert 'data-address="network_accuracy.all|internal|network - truth|laa950_pct|r"' in page
    assert table.to_tsv(first).count("\n") == len(study.QUANTITIES) + 1
