"""The results in words: each number that of the table, each claim only what the table shows."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from unit import reporting_fixture as fixture
from unit import test_table_adherence as sessions
from unit import test_table_adverse as events

from lungitude.reporting import document, findings, methods, references, report
from lungitude.reporting import results as lookup

LABELS = {row[0]: row[1] for row in fixture.PARAMETERS}


def address_of(row):
    keys = ["ANALYSISID", "GROUP", "COMPARISON", "LEVEL", "STAT", "FAMILY"]
    return "|".join(str(row[key]) for key in keys).rstrip("|")


def told(stratum="all", arms=2, table=None, more=None, **changes):
    """Return the paragraphs by heading, and the table behind them."""
    table = fixture.frame(arms) if table is None else table
    if more is not None:
        table = pd.concat([table, more], ignore_index=True)
    trial = fixture.context(stratum, arms, **changes)
    found = lookup.Results(table, stratum, trial.plan)
    made = findings.paragraphs(found, trial)
    return {finding.heading: finding for finding in made}, table


def with_p(table, codes, value):
    """Set the adjusted p of parameters."""
    table = table.copy()
    chosen = (table["STAT"] == "p_adj") & table["PARAMCD"].isin(codes)
    assert chosen.any()
    table.loc[chosen, "VALUE"] = value
    return table


def several_analyses():
    """Rows of the mixed model, an imputation and subgroups beside those of the fixture."""
    builder = fixture.Builder("all", {"EG": 200, "CG": 200})
    place = {"param": "VO2MAX", "visit": "Week 12"}
    for level, middle in (("mar", 1.5), ("j2r", 1.25)):
        values = {"estimate": middle, "ci_low": middle - 1, "ci_high": middle + 1, "p": 0.0042}
        for stat, value in values.items():
            builder.add("imputation", stat, value, 398, **place, COMPARISON="EG - CG", LEVEL=level)
    for arm, number, shift in (("EG", 21, -4.5), ("CG", 17, math.nan)):
        builder.add("imputation", "n_imputed", number, 398, **place, GROUP=arm)
        note = "no shift changes the conclusion" if math.isnan(shift) else ""
        where = {"GROUP": arm, "COMPARISON": "EG - CG", "LEVEL": "tipping"}
        builder.add("imputation", "tipping_delta", shift, 398, **place, **where, NOTE=note)
    for stat, value in (("F", 4.51), ("df1", 1), ("df2", 390), ("p", 0.0344)):
        builder.add("subgroups", f"interaction_{stat}", value, 392, **place, LEVEL="SEX")
    for level, middle in (("M", 2.125), ("F", 0.625)):
        values = {"estimate": middle, "ci_low": middle - 0.75, "ci_high": middle + 0.75, "p": 0.5}
        for stat, value in values.items():
            where = {"COMPARISON": "EG - CG", "LEVEL": f"SEX={level}"}
            builder.add("subgroups", stat, value, 200, **place, **where)
    return pd.DataFrame(builder.rows, columns=fixture.COLUMNS)


def plan_with_imputation():
    plan = fixture.plan()
    plan["analyses"]["imputation"] = {"population": "ITT"}
    plan["analyses"]["subgroups"] = {"population": "ITT", "factors": ["SEX"]}
    return plan


@pytest.mark.parametrize("arms", [2, 3, 4])
@pytest.mark.parametrize("stratum", ["all", "grade1", "grade2"])
def test_each_number_is_that_of_its_row(stratum, arms):
    more = several_analyses() if stratum == "all" and arms == 2 else None
    made, table = told(stratum, arms, more=more, plan=plan_with_imputation())
    values = {address_of(row): row for row in table.to_dict("records")}
    seen = 0
    for finding in made.values():
        for part in finding.parts:
            if not part.address:
                continue
            seen += 1
            name, _, own = part.address.partition("#")
            row = values[name]
            if own:
                assert part.text == str(int(row["N"]))
            elif re.search(r"[pP][\s=<>]", part.text):
                bound = re.search(r"[<>]?\s*([\d.]+)$", part.text.replace("\u00a0", " "))
                assert ("<" in part.text) == (row["VALUE"] < 0.0001)
                assert "<" in part.text or float(bound[1]) == pytest.approx(row["VALUE"], abs=6e-5)
            elif row["VALUE"] != row["VALUE"]:
                assert part.text == "NE"
            else:
                digits = len(part.text.partition(".")[2])
                assert float(part.text) == pytest.approx(row["VALUE"], abs=0.5001 * 10**-digits)
    assert seen > 15


def test_no_bare_number_stands_in_the_text():
    made, _ = told(more=several_analyses(), plan=plan_with_imputation())
    allowed = re.compile(
        r"Week \d+|95%|ICC\(A,1\)|LAA-950|FEV1|15th|\d+ of( the)? \d+ tests|all \d+ tests"
        r"|none of the \d+ tests|below 0\.05|p would be 0\.05"
    )
    for finding in made.values():
        plain = "".join(part.text if not part.address else "" for part in finding.parts)
        assert not re.search(r"\d", allowed.sub("", plain)), plain


def test_patients_who_left_and_why():
    made, table = told()
    text = made["Patients"].text
    assert text.startswith(
        "400 patients were randomised: 200 and 200 (Cardiopulmonary rehabilitation and Usual "
        "care, in this order). The trial was completed by 196 and 196 and discontinued by 4 and 4"
    )
    assert "lost to follow-up 3 and 4" in text
    assert "adverse event 1 and 0." in text
    assert "ithdrew" not in text  # a reason that nobody had
    assert "still in the trial" not in text
    builder = fixture.Builder("all", {"EG": 200, "CG": 200})
    builder.add("disposition", "n", 2, 400, LEVEL="ongoing", GROUP="TOTAL")
    more = pd.DataFrame(builder.rows, columns=fixture.COLUMNS)
    made, _ = told(table=table, more=more)
    assert made["Patients"].text.endswith("2 were still in the trial.")


def test_baseline_is_one_sentence_of_the_first_section():
    made, _ = told()
    text = made["Baseline"].text
    assert re.search(r"Age, years, [\d.]+ \(7\.3\) and [\d.]+ \(7\.3\); Male 150 \(75\.0%\)", text)
    assert "Smoking" not in text
    assert "Peak oxygen uptake, mL/kg/min, " in text
    assert text.count(". ") == 0


def test_count_of_a_family_is_that_of_the_tests_it_names():
    table = with_p(fixture.frame(), ["LAA950", "PERC15", "FSAD", "FEV1", "SIXMWD"], 0.2)
    table = with_p(table, ["PERC15"], 0.0123)
    made, _ = told(table=table)
    text = made["Imaging biomarkers"].text.replace("\u00a0", " ")
    assert "p values adjusted by Benjamini-Hochberg (false discovery rate): 1 of 3 tests" in text
    below, others = text.split("No difference was shown in ")
    assert "adjusted p below 0.05: 15th percentile of lung density, " in below
    assert "adjusted p = 0.0123) at Week 12." in below
    assert [name in below for name in (LABELS["LAA950"], LABELS["FSAD"])] == [False, False]
    assert [name in others for name in (LABELS["LAA950"], LABELS["FSAD"])] == [True, True]
    assert "percentage points (95% CI" in others
    clinical = made["Clinical endpoints"].text
    assert "Holm (familywise error): none of the 2 tests had an adjusted p below 0.05." in clinical
    made, _ = told(table=with_p(table, ["FEV1", "SIXMWD"], 0.0499))
    clinical = made["Clinical endpoints"].text
    assert "all 2 tests had an adjusted p below 0.05: FEV1, " in clinical
    assert "No difference" not in clinical


def test_test_at_the_level_is_not_below_it():
    made, _ = told(table=with_p(fixture.frame(), ["FEV1", "SIXMWD"], 0.05))
    assert "none of the 2 tests" in made["Clinical endpoints"].text
    plan = {**fixture.plan(), "confidence": 0.9}
    made, _ = told(table=with_p(fixture.frame(), ["FEV1", "SIXMWD"], 0.05), plan=plan)
    assert "all 2 tests had an adjusted p below 0.1:" in made["Clinical endpoints"].text
    assert "90% CI" in made["Clinical endpoints"].text


def test_test_that_was_not_estimated_is_named_and_not_counted():
    table = with_p(fixture.frame(), ["FEV1"], math.nan)
    table.loc[(table["STAT"] == "p_adj") & (table["PARAMCD"] == "FEV1"), "NOTE"] = "no value"
    table = with_p(table, ["SIXMWD"], 0.01)
    text = told(table=table)[0]["Clinical endpoints"].text
    assert "the one test had an adjusted p below 0.05: Six-minute walk distance, " in text
    assert text.endswith("Not estimated: FEV1 at Week 12 (no value).")


def test_primary_endpoint_without_a_shown_difference_says_so():
    table = fixture.frame()
    chosen = (table["METHOD"] == "ancova") & (table["STAT"] == "p") & (table["STRATUM"] == "all")
    for p, said in ((0.049, False), (0.05, True), (0.7, True)):
        table.loc[chosen, "VALUE"] = p
        text = told(table=table)[0]["Primary endpoint"].text
        assert text.endswith("No difference was shown.") == said


def test_p_value_never_stands_without_its_interval():
    made, _ = told(more=several_analyses(), plan=plan_with_imputation())
    for heading, finding in made.items():
        previous = ""
        for part in finding.parts:
            if part.address.endswith(("|p", "|interaction_p")) or "|p_adj|" in part.address:
                assert "CI" in previous or "interaction" in previous, heading
            previous += part.text
        if "interaction:" in finding.text:
            assert "CI" in finding.text.partition("interaction:")[2]


def test_nothing_is_claimed_beyond_the_numbers():
    for arms in (2, 3):
        made, _ = told(arms=arms)
        text = " ".join(finding.text for finding in made.values()).lower()
        for word in ("significan", "trend", "because", "due to", "caus", "effective", "improve"):
            assert word not in text


def test_interaction_stands_with_the_difference_in_each_level():
    made, _ = told(more=several_analyses(), plan=plan_with_imputation())
    text = made["Interaction"].text.replace("\u00a0", " ")
    assert (
        "The difference in Peak oxygen uptake at Week 12 varied with Sex (test of the interaction: "
        "F = 4.51 with 1 and 390 degrees of freedom, p = 0.0344); difference by level: Male, 2.13 "
        "mL/kg/min (95% CI 1.38 to 2.88); Female, 0.63 (95% CI -0.13 to 1.38)."
    ) in text


def test_interaction_with_a_stratum_takes_its_levels_from_the_strata():
    made, table = told()
    finding = made["Interaction"]
    assert "varied with Severity (test of the interaction: F = 2.70, p" in finding.text
    assert "Grade I, " in finding.text
    # The second stratum has one patient in an arm: no difference, and none is printed.
    assert "Grade II" not in finding.text
    addresses = [part.address for part in finding.parts if part.address]
    assert "ancova.VO2MAX.week12.grade1||EG - CG||estimate" in addresses
    chosen = table["STAT"] == "interaction_p"
    table.loc[chosen, "VALUE"] = 0.31
    text = told(table=table)[0]["Interaction"].text
    assert text.startswith("No dependence of the difference in Peak oxygen uptake at Week 12 on ")


def test_sensitivity_range_is_that_of_what_follows():
    made, _ = told(more=several_analyses(), plan=plan_with_imputation())
    text = made["Sensitivity analyses"].text.replace("\u00a0", " ")
    assert "imputation (jump to reference) 1.25 (95% CI 0.25 to 2.25; p = 0.0042)" in text
    low, high = re.search(r"ranged from ([-\d.]+) to ([-\d.]+) over", text).groups()
    shown = [float(one) for one in re.findall(r"\) ([-\d.]+)(?: mL/kg/min)? \(95% CI", text)]
    assert (float(low), float(high)) == (min(shown), max(shown))
    assert len(shown) == 3  # mixed model and two imputations, not the primary analysis
    assert "mixed model (missing at random)" in text


def test_one_other_analysis_has_no_range():
    text = told()[0]["Sensitivity analyses"].text
    assert "difference by another analysis, mixed model (missing at random) " in text
    assert "ranged" not in text


def test_missing_values_and_shifts():
    text = told(more=several_analyses(), plan=plan_with_imputation())[0]["Missing values"].text
    assert (
        "The change of Peak oxygen uptake from Baseline to Week 12 was missing in 4 and 4 patients"
    ) in text
    assert "values of 21 and 17 patients were imputed." in text
    assert (
        "p would be 0.05 with the imputed values of Cardiopulmonary rehabilitation shifted by "
        "-4.50 mL/kg/min, those of the other arm being left as they are."
    ) in text
    assert "Shifts of the imputed values of Usual care: no shift changes the conclusion." in text
    assert "imputed" not in told()[0]["Missing values"].text


def safe(table, stratum="all", arms=2, **section):
    """Return the paragraphs of a results table of sessions and events."""
    return told(stratum, arms, table=table, plan=events.plan(**section))[0]


def test_adherence_by_hand():
    text = safe(sessions.hand())["Adherence"].text
    # Of the exercise one came to 4 of 5 sessions, one to none, two are not known.
    assert text == (
        "Patients attended a mean of 40.0% (SD 56.6) and 100.0% of the sessions planned for them "
        "(Cardiopulmonary rehabilitation and Usual care, in this order). At least 80% of their "
        "sessions were attended by 1 (25.0%) and 1 (50.0%) of all patients of the analysis set and "
        "at least 50% by 1 (25.0%) and 1 (50.0%). None was attended by 1 (25.0%) and 0. Adherence "
        "is not known of 2 (50.0%) and 1 (50.0%)."
    )


def test_adherence_of_an_arm_without_sessions():
    only = sessions.case.SESSIONS
    text = safe(sessions.hand(only[only["USUBJID"] != "P5"]))["Adherence"].text
    assert text.startswith(
        "Patients attended a mean of 40.0% (SD 56.6) of the sessions planned for them. No sessions "
        "were planned in Usual care. At least 80% of their sessions were attended by 1 (25.0%) of "
    )
    nobody = sessions.hand(only[only["USUBJID"] == "P3"])
    text = safe(nobody)["Adherence"].text
    assert text.startswith("In Cardiopulmonary rehabilitation no adherence is known. No sessions ")


def test_adverse_events_by_hand():
    made = safe(events.hand())
    assert made["Adverse events"].text == (
        "A treatment-emergent adverse event was recorded in 2 (50.0%) and 1 (50.0%) of all "
        "patients of the analysis set (Cardiopulmonary rehabilitation and Usual care, in this "
        "order), a serious one in 1 (25.0%) and 1 (50.0%), and a fatal one in 0 and 1 (50.0%)."
    )
    every = safe(events.hand(emergent=False), emergent=False)["Adverse events"].text
    assert every.startswith("An adverse event was recorded in 2 (50.0%) and 2 (100.0%) of all ")


def test_what_was_not_recorded_of_events_is_said():
    some = [{**event, "AEOUT": None} for event in events.case.EVENTS]
    some[0]["AESER"] = some[1]["AESER"] = None
    text = safe(events.hand(some))["Adverse events"].text
    assert "fatal" not in text
    assert text.endswith("Whether an event was serious was not recorded in 1 (25.0%) and 0.")
    none = [{**event, "AESER": None} for event in some]
    text = safe(events.hand(none))["Adverse events"].text
    assert text.endswith("in this order). It was not recorded which events were serious.")


@pytest.mark.parametrize("arms", [1, 2, 3])
@pytest.mark.parametrize("stratum", ["all", "gold1"])
def test_each_number_of_sessions_and_events_is_that_of_its_row(stratum, arms):
    table = pd.concat([sessions.drawn(arms), events.drawn(arms)], ignore_index=True)
    made = safe(table, stratum, arms)
    values = {address_of(row): row["VALUE"] for row in table.to_dict("records")}
    seen = []
    for name in ("Adherence", "Adverse events"):
        for part in made[name].parts:
            if part.address:
                seen.append(part.address)
                digits = len(part.text.partition(".")[2])
                found = values[part.address]
                assert float(part.text) == pytest.approx(found, abs=0.5001 * 10**-digits)
        plain = "".join(part.text for part in made[name].parts if not part.address)
        assert not re.search(r"\d", re.sub(r"[Aa]t least \d+%", "", plain))
        assert not re.search(r"\bp\b|significan|toler|safe|more|fewer", plain)
    assert len(seen) > 8 * arms
    if arms == 1:
        assert "order" not in "".join(finding.text for finding in made.values())


def test_sessions_and_events_that_were_not_analysed_are_not_mentioned():
    made, _ = told()
    assert not {"Adherence", "Adverse events"} & set(made)


def test_agreement_by_comparison():
    text = told()[0]["Agreement"].text
    assert text == (
        "Network - reader: Emphysema (LAA-950), ICC(A,1) 0.91 (95% CI 0.88 to 0.94), bias -0.35 "
        "percentage points (95% CI -0.60 to -0.10), 95% limits of agreement -3.10 to 2.40, n = 60."
    )


def test_absent_analyses_have_no_paragraph():
    table = fixture.frame()
    table = table[table["METHOD"].isin(["disposition", "ancova"])]
    made, _ = told(table=table)
    assert list(made) == [
        "Patients",
        "Primary endpoint",
        "Imaging biomarkers",
        "Clinical endpoints",
        "Interaction",
    ]
    # A stratum has no adjusted p values: no count of tests.
    made, _ = told("grade1")
    assert "Imaging biomarkers" not in made
    assert "Agreement" not in made
    assert told("nobody")[0] == {}


def test_one_arm_compares_nothing():
    table = fixture.frame()
    table = table[(table["COMPARISON"] == "") & table["GROUP"].isin(["", "EG"])]
    made, _ = told(arms=1, table=table)
    assert made["Patients"].text.startswith("200 patients were enrolled. The trial was completed")
    assert "in this order" not in " ".join(finding.text for finding in made.values())
    for heading in ("Primary endpoint", "Imaging biomarkers", "Interaction"):
        assert heading not in made


def test_three_arms_say_who_is_compared():
    made, _ = told(arms=3)
    text = made["Imaging biomarkers"].text
    assert text.count("minus Usual care, change from Baseline by ANCOVA") == 2
    assert "Breathing training alone minus Usual care" in text
    assert len(re.findall("minus Usual care: ", made["Primary endpoint"].text)) == 2
    assert "200, 200 and 198 (" in made["Patients"].text


def test_ratio_of_a_parameter_on_a_log_scale():
    trial = fixture.context()
    rows = [
        {**row, "TRANSFORM": "log1p"} if row["PARAMCD"] == "FEV1" else row
        for row in trial.parameters
    ]
    builder = fixture.Builder("all", {"EG": 200, "CG": 200})
    for stat, value in (("ratio", 1.125), ("ratio_ci_low", 0.925), ("ratio_ci_high", 1.333)):
        builder.add("ancova", stat, value, 392, "FEV1", "Week 12", COMPARISON="EG - CG")
    more = pd.DataFrame(builder.rows, columns=fixture.COLUMNS)
    text = told(more=more, parameters=rows)[0]["Clinical endpoints"].text
    assert "FEV1, ratio 1.13 (95% CI 0.93 to 1.33; " in text


def test_page_and_documents_carry_the_paragraphs(tmp_path):
    found, trial = fixture.results(), fixture.context()
    page = report.build(found, trial, [], pd.DataFrame(), [], {}, [])
    assert '<h2 id="findings">Results in words</h2>' in page
    assert 'href="#findings"' in page
    section = page.partition('id="findings"')[2].partition("</section>")[0]
    assert "<strong>Patients.</strong>" in section
    assert 'data-address="ancova.FEV1.week12.all||EG - CG||p_adj|clinical"' in section
    assert "\u22120.35" in section
    (tmp_path / "displays.json").write_text("[]")
    made = document.of_folder(found, trial, tmp_path, {})
    texts = ["".join(part.text for part in sentence) for sentence in made.sentences]
    assert texts[0].startswith("Patients. 400 patients were randomised")
    assert any("bias \u22120.35" in text for text in texts)
    empty = fixture.context("nobody")
    page = report.build(fixture.results("nobody"), empty, [], pd.DataFrame(), [], {}, [])
    assert "Results in words" not in page


def test_same_paragraphs_twice():
    first, _ = told(arms=3)
    second, _ = told(arms=3)
    assert first == second


def test_software_is_cited_with_its_version_once():
    versions = {"Python": "3.11.7", "lungitude": "0.1.0", "pandas": "2.3.3", "SimpleITK": "2.5.7"}
    pieces, listed = references.cited(versions)
    assert pieces == [
        "Python 3.11.7",
        "Lungitude 0.1.0 [1]",
        "pandas 2.3.3 [2]",
        "SimpleITK 2.5.7 [3]",
    ]
    assert listed[0] == "[1] The Lungitude developers. Lungitude. Software; version 0.1.0."
    assert listed[1].startswith("[2] McKinney W. Data structures for statistical computing")
    assert listed[2].endswith("doi:10.3389/fninf.2013.00045")
    said = methods.paragraphs(fixture.context(), {}, versions)
    assert said[-4] == f"Software. {', '.join(pieces)}."
    assert said[-3:] == listed
    assert not any("PyTorch" in line for line in said)  # it was not used


def test_references_are_whole():
    for name, reference in references.SOFTWARE.items():
        assert name == name.lower()
        assert reference.authors
        assert reference.title
        assert re.search(r"\d", reference.source) or "{version}" in reference.source
        assert not reference.doi or re.fullmatch(r"10\.\d{4,5}/\S+", reference.doi)
    dois = [reference.doi for reference in references.SOFTWARE.values() if reference.doi]
    assert len(dois) == len(set(dois))


def test_own_citation_is_that_of_the_citation_file():
    path = Path(__file__).parents[2] / "CITATION.cff"
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    own = references.SOFTWARE["lungitude"]
    assert own.title == given["title"]
    assert own.authors == given["authors"][0]["name"]
