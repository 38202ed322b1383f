"""Tables: every number has an address and is what stands there; odd trials still give a table."""

import csv
import html
import re

import pandas as pd
import pytest
from unit import reporting_fixture as fixture

from lungitude.reporting import format as text
from lungitude.reporting import (
    report,
    table,
    table_accuracy,
    table_agreement,
    table_baseline,
    table_primary,
)
from lungitude.reporting.results import Absent, Results

BUILDERS = {"table_baseline": table_baseline.build, "table_primary": table_primary.build}
NUMBER = re.compile(r"[<>]?-?\d+(?:\.\d+)?|NE")


def made(name, stratum="all", arms=2, visits=3, **changes):
    found = fixture.results(stratum, arms, visits)
    trial = fixture.context(stratum, arms, visits, **changes)
    return BUILDERS[name](found, trial, fixture.DISPLAYS[name])


def by_address(frame, stratum):
    found = Results(frame, stratum, fixture.plan())
    return {number.address: number for number in found._numbers.values()}


def same(shown, number, used):
    """Whether a printed text is the number at some rounding."""
    if used:
        return shown == str(number.n)
    if shown == "NE":
        return not number.estimated
    if shown[0] in "<>":
        return (number.value < float(shown[1:])) == (shown[0] == "<")
    decimals = len(shown.partition(".")[2])
    return text.number(number.value, decimals) == shown


def check_parts(parts, known):
    for part in parts:
        if part.address:
            address, _, used = part.address.partition("#")
            assert same(part.text, known[address], used), part
        else:
            assert not NUMBER.search(part.text), part


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("stratum", ["all", "grade1", "grade2"])
@pytest.mark.parametrize("arms", [2, 3])
def test_each_number_of_a_cell_is_found_in_the_results(name, stratum, arms):
    known = by_address(fixture.frame(arms), stratum)
    rendered = made(name, stratum, arms)
    cells = [c for row in rendered.rows for c in row.cells] + [c.sub for c in rendered.columns]
    assert sum(bool(part.address) for c in cells for part in c.parts) > 30
    for c in cells:
        if not c.text.startswith(("(95% CI)", "mean")):
            check_parts(c.parts, known)


@pytest.mark.parametrize("name", BUILDERS)
def test_html_and_tsv_show_the_same_numbers(name):
    rendered = made(name)
    page = table.to_html(rendered)
    body = page[page.index("<tbody") : page.index("</table>")]
    cells = [
        html.unescape(re.sub(r"<sup>.*?</sup>|<[^>]*>", "", c)).replace("\u2212", "-")
        for c in re.findall(r"<td>(.*?)</td>", body)
    ]
    lines = list(csv.reader(table.to_tsv(rendered).splitlines(), delimiter="\t"))
    assert len({len(line) for line in lines}) == 1
    assert cells == [value for line in lines[1:] for value in line[3:]]


@pytest.mark.parametrize("name", BUILDERS)
def test_html_keeps_the_address_of_each_number(name):
    rendered = made(name)
    page = table.to_html(rendered)
    addresses = re.findall(r'data-address="([^"]*)"', page)
    wanted = [
        part.address for row in rendered.rows for c in row.cells for part in c.parts if part.address
    ]
    assert set(wanted) <= set(map(html.unescape, addresses))
    if name == "table_primary":
        assert "ancova.VO2MAX.week12.all||EG - CG||estimate" in addresses


def test_baseline_rows():
    rendered = made("table_baseline")
    labels = [(row.kind, row.label.text) for row in rendered.rows]
    assert labels == [
        ("section", "Demographics"),
        ("group", "Age, years"),
        ("data", "Mean (SD)"),
        ("data", "Median (Q1\u2013Q3)"),
        ("group", "Male, n (%)"),
        ("section", "History"),
        ("group", "Smoking, n (%)"),
        ("data", "Never"),
        ("data", "Former"),
        ("data", "Current"),
        ("data", "Missing"),
    ]
    assert [c.label for c in rendered.columns] == [
        "Characteristic",
        "Cardiopulmonary rehabilitation",
        "Usual care",
        "Total",
        "SMD",
    ]
    assert [c.sub.text for c in rendered.columns[1:4]] == ["(N=200)", "(N=200)", "(N=400)"]
    never = rendered.rows[7].cells
    assert [c.text for c in never] == ["0", "0", "0", ""]  # no percentage for a count of zero
    assert rendered.rows[2].cells[0].text.endswith("(7.3)")  # 7.25, away from zero
    assert rendered.rows[4].cells[-1].text == "0.00"  # -0.004, no minus zero
    assert any("not tested" in note for _, note in rendered.footnotes)


def test_baseline_prints_statistic_and_p_of_the_tests_of_a_plan():
    builder = fixture.Builder("all", {"EG": 200, "CG": 200})
    for column, test, statistic in (("AGE", "welch", 1.173), ("SEX", "chi2", 0.377)):
        row = {"COMPARISON": "EG - CG", "NOTE": test}
        builder.add("baseline", "statistic", statistic, 400, column, **row)
        builder.add("baseline", "p", 0.0416, 400, column, **row)
    builder.add("baseline", "p", 0.5, 400, "SMOKING", COMPARISON="EG - CG", NOTE="fisher")
    frame = fixture.frame()
    frame = pd.concat([frame, pd.DataFrame(builder.rows)[list(frame)]], ignore_index=True)
    rendered = table_baseline.build(
        fixture.results(table=frame), fixture.context(), fixture.DISPLAYS["table_baseline"]
    )
    assert [c.label for c in rendered.columns][-3:] == ["SMD", "Statistic", "p"]
    by_label = {row.label.text: row.cells for row in rendered.rows}
    assert [c.text for c in by_label["Age, years"][-2:]] == ["1.17", "0.0416"]
    assert by_label["Smoking, n (%)"][-2].text == "\u2013"  # Fisher's test has no statistic
    notes = dict(rendered.footnotes)
    for label, said in (
        ("Age, years", "Welch"),
        ("Male, n (%)", "Pearson"),
        ("Smoking, n (%)", "F"),
    ):
        assert notes[by_label[label][-1].mark].startswith(said)


def test_baseline_has_no_total_with_one_arm():
    frame = fixture.frame()
    frame = frame[
        (frame["GROUP"] != "TOTAL") & (frame["GROUP"] != "CG") & (frame["COMPARISON"] == "")
    ]
    found = fixture.results(table=frame)
    rendered = table_baseline.build(
        found, fixture.context(arms=1), fixture.DISPLAYS["table_baseline"]
    )
    assert [c.label for c in rendered.columns] == [
        "Characteristic",
        "Cardiopulmonary rehabilitation",
    ]


def test_primary_table_has_the_model_line_and_the_families():
    rendered = made("table_primary")
    notes = [note for _, note in rendered.footnotes]
    assert f"Model: {fixture.MODEL}." in notes
    assert any(
        "Benjamini-Hochberg" in note and "Imaging biomarkers (3 tests)" in note for note in notes
    )
    assert any("Holm" in note for note in notes)
    sections = [row.label.text for row in rendered.rows if row.kind == "section"]
    assert sections == ["Primary endpoint", "Imaging biomarkers", "Clinical endpoints"]
    labels = [c.label for c in rendered.columns]
    assert labels[-2:] == ["Adjusted p", "Interaction p"]
    first = rendered.rows[2].cells
    assert first[0].text == "196/200"
    assert first[-2].text == "\u2013"  # the primary endpoint is alone in its family
    assert first[-1].text == "0.0413"


def test_primary_table_of_a_stratum_says_that_p_is_not_adjusted():
    rendered = made("table_primary", "grade1")
    assert "Adjusted p" not in [c.label for c in rendered.columns]
    assert any("not adjusted" in note for _, note in rendered.footnotes)


def test_another_model_line_gets_a_footnote_of_its_own():
    frame = fixture.frame()
    other = (frame["STAT"] == "model") & (frame["PARAMCD"] == "FEV1")
    frame.loc[other & (frame["METHOD"] == "ancova"), "NOTE"] = "log scale; not estimated: x"
    rendered = table_primary.build(
        fixture.results(table=frame), fixture.context(), fixture.DISPLAYS["table_primary"]
    )
    assert ("a", "Model: log scale.") in rendered.footnotes
    marked = [row.label.text for row in rendered.rows if row.label.mark]
    assert marked == ["FEV1, L: Week 12"]


def test_population_of_a_display_never_hides_an_analysis():
    """An analysis has rows of its own population only; a display can't ask for another."""
    frame = fixture.frame()
    frame.loc[frame["METHOD"] == "ancova", "POPULATION"] = "PP"
    plan = fixture.plan()
    plan["analyses"]["ancova"]["population"] = "PP"
    plan["analyses"]["disposition"] = {"population": "ITT"}
    found = Results(frame, "all", plan, "ITT")
    rendered = table_primary.build(
        found, fixture.context(plan=plan), fixture.DISPLAYS["table_primary"]
    )
    assert "\u2013" not in rendered.rows[2].cells[4].text
    assert rendered.population == "Analysis set: PP (PP); All patients"
    assert any("are not in the analysis set, or have no value" in n for _, n in rendered.footnotes)
    assert any("patients of the analysis set ITT with" in n for _, n in rendered.footnotes)


def test_planned_analysis_without_any_value_says_so():
    frame = fixture.frame()
    frame = frame[~((frame["PARAMCD"] == "FEV1") & (frame["METHOD"] == "ancova"))]
    found = fixture.results(table=frame)
    rendered = table_primary.build(found, fixture.context(), fixture.DISPLAYS["table_primary"])
    marked = {row.label.text: row.label.mark for row in rendered.rows if row.label.mark}
    assert list(marked) == ["FEV1, L: Week 12"]
    note = (marked["FEV1, L: Week 12"], "Not analysed: no patient has a value at the visit.")
    assert note in rendered.footnotes
    last = report.not_estimated(found, fixture.context())[-1]
    assert (last["analysis"], last["what"]) == ("ANCOVA", "FEV1 (Week 12)")


def test_patients_left_out_of_the_model_are_told():
    frame = fixture.frame()
    rows = frame[(frame["STAT"] == "emmean") & (frame["PARAMCD"] == "VO2MAX")]
    rows = rows[(rows["METHOD"] == "ancova") & (rows["GROUP"] == "EG")]
    rows = rows.assign(STAT="left_out", VALUE=3.0, NOTE="AGE missing")
    found = fixture.results(table=type(frame)(frame.to_dict("records") + rows.to_dict("records")))
    rendered = table_primary.build(found, fixture.context(), fixture.DISPLAYS["table_primary"])
    assert rendered.rows[2].cells[0].mark == "a"
    assert ("a", "Patients with a change are not in the model: AGE missing.") in rendered.footnotes
    label, parts = report.facts(found, fixture.context())[-1]
    assert label == "Measured, but not in the model (AGE missing)"
    assert [part.text for part in parts] == ["Cardiopulmonary rehabilitation ", "3"]


def test_abbreviations_are_whole_words_and_name_the_model():
    shown = made("table_primary").footnotes[0][1]
    assert "SE, standard error" not in shown  # SEX is in the model line
    assert "CHG, change from baseline" in shown
    assert "SEVERITY" not in shown  # its label says no more than its name


def test_baseline_says_which_way_its_difference_goes():
    notes = [note for _, note in made("table_baseline").footnotes]
    assert any(
        "SMD of numbers: Cardiopulmonary rehabilitation minus Usual care" in note for note in notes
    )
    assert any(
        "SMD of numbers: arm minus" in n for _, n in made("table_baseline", arms=3).footnotes
    )


def test_one_patient_stratum_says_why_nothing_is_estimated():
    rendered = made("table_primary", "grade2")
    assert ("a", "Not estimated: 1 patient in an arm") in rendered.footnotes
    cells = rendered.rows[2].cells
    assert (cells[4].text, cells[4].mark) == ("NE", "a")
    assert any("NE, not estimated" in note for _, note in rendered.footnotes)


def test_a_parameter_on_the_log_scale_is_shown_as_ratio():
    frame = fixture.frame()
    rows = frame[(frame["PARAMCD"] == "FEV1") & (frame["METHOD"] == "ancova")]
    for stat, ratio in (
        ("estimate", "ratio"),
        ("emmean", "ratio"),
        ("ci_low", "ratio_ci_low"),
        ("ci_high", "ratio_ci_high"),
    ):
        extra = rows[rows["STAT"] == stat].assign(
            STAT=ratio, VALUE=1.234, NOTE="ratio of geometric means"
        )
        frame = type(frame)(frame.to_dict("records") + extra.to_dict("records"))
    trial = fixture.context()
    next(p for p in trial.parameters if p["PARAMCD"] == "FEV1")["TRANSFORM"] = "log"
    rendered = table_primary.build(
        fixture.results(table=frame), trial, fixture.DISPLAYS["table_primary"]
    )
    start = next(i for i, r in enumerate(rendered.rows) if r.label.text.startswith("FEV1"))
    assert rendered.rows[start + 1].cells[4].text == "1.23 (1.23 to 1.23)"
    assert any("Ratio of geometric means" in note for _, note in rendered.footnotes)


def test_empty_stratum_gives_a_table_that_says_so():
    for name in BUILDERS:
        rendered = made(name, "nobody")
        assert rendered.rows == ()
        assert table.NO_DATA in table.to_html(rendered)
        assert len(table.to_tsv(rendered).splitlines()) == 1


def test_stratum_of_zero_randomised_is_empty():
    frame = fixture.frame()
    frame = frame[(frame["STRATUM"] == "grade2") & (frame["METHOD"] == "disposition")]
    assert Results(frame.assign(VALUE=0.0), "grade2", fixture.plan()).empty
    assert not fixture.results("grade2").empty


def test_three_arms_compare_each_with_the_reference():
    rendered = made("table_primary", arms=3)
    arms = rendered.rows[2:5]
    assert [row.label.text for row in arms] == [
        "Cardiopulmonary rehabilitation",
        "Usual care",
        "Breathing training alone",
    ]
    assert [row.cells[4].text == "reference" for row in arms] == [False, True, False]
    assert "\u2013" not in arms[2].cells[4].text


def test_one_visit_after_baseline():
    rendered = made("table_primary", visits=2)
    assert len(rendered.rows) > 10
    assert rendered.columns[3].label == "Week 12"


def test_p_style_of_the_display():
    trial = fixture.context(p_style="jmir")
    rendered = table_primary.build(fixture.results(), trial, fixture.DISPLAYS["table_primary"])
    assert rendered.rows[2].cells[-1].text == ".04"


def test_hostile_labels_are_escaped():
    trial = fixture.context()
    trial.parameters[0]["PARAM"] = "<script>alert(1)</script>"
    display = {**fixture.DISPLAYS["table_primary"], "title": 'a "quoted" <b>title</b>'}
    rendered = table_primary.build(fixture.results(), trial, display)
    page = table.to_page(rendered, trial.trial)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page


def test_two_rows_for_one_question_are_refused():
    frame = fixture.frame()
    frame = type(frame)(frame.to_dict("records") + frame.head(1).to_dict("records"))
    with pytest.raises(ValueError, match="one address"):
        fixture.results(table=frame)


def test_unknown_parameter_names_the_sheet():
    with pytest.raises(ValueError, match=r"parameters\.tsv"):
        fixture.context().parameter("NOPE")


def test_agreement_table():
    trial = fixture.context()
    display = {"id": "table_agreement", "title": "Agreement"}
    rendered = table_agreement.build(fixture.results(), trial, display)
    assert [c.text for c in rendered.rows[1].cells] == [
        "60",
        "0.91 (0.88 to 0.94)",
        "-0.35 (-0.60 to -0.10)",
        "1.40",
        "-3.10 (-3.50 to -2.70)",
        "2.40 (2.00 to 2.80)",
    ]
    with pytest.raises(Absent, match="the agreement has no results here"):
        table_agreement.build(fixture.results("grade1"), trial, display)
    frame = fixture.frame()
    icc = (frame["METHOD"] == "agreement") & frame["STAT"].str.startswith("icc")
    frame.loc[icc, "NOTE"] = "several pairs a patient; taken as independent"
    rendered = table_agreement.build(fixture.results(table=frame), trial, display)
    assert [c.mark for c in rendered.rows[1].cells] == ["", "a", "", "", "", ""]
    assert rendered.footnotes[-1][0] == "a"


def test_accuracy_table():
    trial, frame = fixture.context(), fixture.frame()
    mine = frame.loc[frame["METHOD"] == "agreement"].assign(
        METHOD="accuracy", COMPARISON="measured - truth"
    )
    mine = mine.loc[~mine["STAT"].str.contains("icc")]
    more = {"rmse": 1.44, "r": 0.956, "r_ci_low": 0.93, "r_ci_high": 0.97}
    rows = [{**mine.iloc[0].to_dict(), "STAT": stat, "VALUE": v} for stat, v in more.items()]
    frame = type(frame)(frame.to_dict("records") + mine.to_dict("records") + rows)
    display = {"id": "table_accuracy", "title": "Accuracy"}
    rendered = table_accuracy.build(fixture.results(table=frame), trial, display)
    assert [c.text for c in rendered.rows[0].cells] == [
        "60",
        "0.956 (0.930 to 0.970)",
        "1.44",
        "-0.35 (-0.60 to -0.10)",
        "-3.10",
        "2.40",
    ]
    with pytest.raises(Absent, match="the accuracy has no results here"):
        table_accuracy.build(fixture.results(), trial, display)


def test_footnote_letters_go_beyond_z():
    marks = table.Marks()
    letters = [marks(f"note {index}") for index in range(28)]
    assert letters[0] == "a"
    assert letters[25:] == ["z", "aa", "ab"]
    assert marks("note 3") == "d"
