"""The results as a reporting event of CDISC ARS: whole, traceable to each row, and valid."""

import copy
import json
import math
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pandas as pd
import pytest
from unit import reporting_fixture as fixture
from unit import reporting_jobs as jobs

from lungitude import tables
from lungitude.reporting import ars, ars_model, rendering

SCRIPTS = Path(__file__).parents[2] / "scripts"
STRATA = [
    {"path": "all", "label": "All patients", "column": "", "value": ""},
    {"path": "grade1", "label": "Grade I", "column": "SEVERITY", "value": "I"},
    {"path": "grade2", "label": "Grade II", "column": "SEVERITY", "value": "II"},
]
SHOWN = ("figure_flow", "table_baseline", "table_primary", "figure_trend")
# A copy of CDISC's own ars_ldm.schema.json, for who has one.
CDISC = os.environ.get("LUNGITUDE_ARS_SCHEMA")


def frame_of(arms):
    if arms > 1:
        return fixture.frame(arms)
    table = fixture.frame()
    return table[(table["COMPARISON"] == "") & table["GROUP"].isin(["", "EG"])]


def event_of(arms=2, table=None, folders=None, **changes):
    table = frame_of(arms) if table is None else table
    return ars.reporting_event(table, fixture.context(arms=arms, **changes), STRATA, folders or {})


def small():
    """Return an event of few analyses, for what is spoiled on purpose."""
    table = fixture.frame()
    table = table[table["METHOD"].isin(["baseline", "ancova"]) & (table["STRATUM"] == "all")]
    return event_of(table=table[table["PARAMCD"].isin(["AGE", "VO2MAX", "FEV1"])])


def address_of(row):
    keys = ["ANALYSISID", "GROUP", "COMPARISON", "LEVEL", "STAT", "FAMILY"]
    return "|".join(str(row[key]) for key in keys).rstrip("|")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Displays of two strata of the fixture trial."""
    root, made = tmp_path_factory.mktemp("report"), {}
    plan = {**fixture.plan(), "displays": [fixture.DISPLAYS[name] for name in SHOWN]}
    for path in ("all", "grade1"):
        made[path] = root / path / "displays"
        rendering.write(fixture.frame(), fixture.context(path, plan=plan), made[path])
    return made


@pytest.mark.parametrize("arms", [1, 2, 3])
def test_event_is_valid(arms):
    event = event_of(arms)
    assert ars_model.faults(event, CDISC) == []
    arm = event["analysisGroupings"][0]["groups"]
    assert [group["id"] for group in arm] == [
        f"GF.ARM.{code}" for code in ["EG", "CG", "XG"][:arms] + ["TOTAL"] * (arms > 1)
    ]
    comparisons = {
        group["groupValue"]
        for analysis in event["analyses"]
        for result in analysis["results"]
        for group in result["resultGroups"]
        if group["groupingId"] == "GF.COMPARISON" and analysis["id"].startswith("ancova")
    }
    assert comparisons == {f"{code} - CG" for code in ["EG", "XG"][: arms - 1]}


@pytest.mark.parametrize("arms", [1, 2, 3])
def test_every_number_of_the_table_is_in_the_event(arms):
    table = frame_of(arms)
    read = ars.rows(event_of(arms))
    wanted = table[table["STAT"] != "model"]
    assert set(read) == {address_of(row) for row in wanted.to_dict("records")}
    for row in wanted.to_dict("records"):
        value, count = read[address_of(row)]
        if math.isnan(row["VALUE"]):
            assert math.isnan(value)
        else:
            assert value == row["VALUE"]  # the same double, not a printed one
        if row["N"] == row["N"] and row["N"] is not None:
            assert count == row["N"]


def test_own_count_of_a_statistic_stays_beside_it():
    builder = fixture.Builder("all", {"EG": 5})
    for stat, n in (("r", 30), ("ci_low", 30), ("p", 28)):
        builder.add("association", stat, 0.5, n, "FEV1", "Week 6", LEVEL="VO2MAX", GROUP="EG")
    table = pd.DataFrame(builder.rows, columns=fixture.COLUMNS)
    event = event_of(table=table)
    found = {address.split("|")[4]: count for address, (_, count) in ars.rows(event).items()}
    assert found == {"r": 30, "ci_low": 30, "p": 28}
    operations = [result["operationId"] for result in event["analyses"][0]["results"]]
    assert operations == [f"M.association.d2.{name}" for name in ("r", "N", "ci_low", "p", "p#N")]
    assert ars_model.faults(event) == []


def test_what_was_not_estimated_has_no_raw_value_but_its_note():
    event = event_of()
    one = next(a for a in event["analyses"] if a["id"] == "ancova.FEV1.week12.grade2")
    gone = [result for result in one["results"] if result["formattedValue"] == "NE"]
    assert gone
    assert not any("rawValue" in result for result in gone)
    line = next(x for x in one["description"].splitlines() if x.startswith("Not estimated"))
    assert line.startswith("Not estimated: not estimated: 1 patient in an arm: ")
    assert "|EG - CG||estimate" in line
    assert f"Model: {fixture.MODEL}." in one["description"]
    whole = next(a for a in event["analyses"] if a["id"] == "ancova.FEV1.week12.all")
    assert "Not estimated" not in whole["description"]


def test_note_of_most_results_is_said_once():
    builder = fixture.Builder("all", {"EG": 5})
    notes = {"r": "pearson", "ci_low": "pearson", "ci_high": "pearson", "p": "exact", "z": ""}
    for stat, note in notes.items():
        builder.add("association", stat, 0.5, 9, "FEV1", "Week 6", LEVEL="VO2MAX", NOTE=note)
    table = pd.DataFrame(builder.rows, columns=fixture.COLUMNS)
    said = event_of(table=table)["analyses"][0]["description"].splitlines()
    assert said == [
        "Note of all results but those below: pearson.",
        "No note: ||VO2MAX|z.",
        "Note: exact: ||VO2MAX|p.",
    ]


def test_printed_values_follow_the_declared_decimals():
    event = event_of()
    patterns = {o["id"]: o["resultPattern"] for m in event["methods"] for o in m["operations"]}
    seen = set()
    for analysis in event["analyses"]:
        for result in analysis["results"]:
            shown, pattern = result["formattedValue"], patterns[result["operationId"]]
            if shown == "NE" or shown[0] in "<>":
                continue
            assert len(shown.partition(".")[2]) == len(pattern.partition(".")[2]), result
            seen.add(pattern)
    assert {"X", "X.X", "X.XX", "X.XXX", "X.XXXX"} <= seen
    assert patterns["M.ancova.d1.estimate"] == "X.XX"  # one decimal more than the raw values
    assert patterns["M.ancova.d2.estimate"] == "X.XXX"
    assert patterns["M.ancova.d0.p"] == "X.XXXX"
    assert patterns["M.describe.d1.min"] == "X.X"
    assert patterns["M.disposition.n"] == "X"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (("ancova", "ci_low", 1), 2),
        (("association", "ci_low", 1), 2),
        (("association", "ci_low", 2), 2),
        (("mmrm", "estimate", 0, True), 3),
        (("describe", "mean", 0, True), 1),
        (("mmrm", "ratio_ci_low", 0, True), 2),
        (("agreement", "loa_low_ci_high", 2), 3),
        (("agreement", "icc_ci_low", 2), 2),
        (("rm_anova", "p_gg", 1), "p"),
        (("mixed_model", "interaction_p", 1), "p"),
        (("imputation", "tipping_delta", 1), 2),
        (("ancova", "p#N", 1), 0),
        (("responders", "share", None), 3),
    ],
)
def test_decimals(given, wanted):
    assert ars.decimals(*given) == wanted


def test_purposes_are_those_of_the_plan():
    found = {a["id"]: a["purpose"] for a in event_of()["analyses"]}
    assert found["ancova.VO2MAX.week12.all"] == {"controlledTerm": "PRIMARY OUTCOME MEASURE"}
    assert found["ancova.FEV1.week12.all"] == {"controlledTerm": "SECONDARY OUTCOME MEASURE"}
    assert found["ancova.VO2MAX.week12.grade1"] == {"controlledTerm": "EXPLORATORY OUTCOME MEASURE"}
    assert found["ancova.FEV1.week6.all"]["controlledTerm"].startswith("EXPLORATORY")
    assert found["mixed_model.VO2MAX.week12.all"] == {"sponsorTermId": "TE.purpose.sensitivity"}
    assert found["baseline.AGE.all"] == {"sponsorTermId": "TE.purpose.description"}
    assert found["agreement.LAA950.all"] == {"sponsorTermId": "TE.purpose.measurement"}


def test_sets_and_subsets_are_those_of_plan_and_strata():
    event = event_of()
    assert event["analysisSets"][0]["condition"] == {
        "dataset": "ADSL",
        "variable": "ITTFL",
        "comparator": "EQ",
        "value": ["Y"],
    }
    subsets = {subset["id"]: subset for subset in event["dataSubsets"]}
    by_id = {analysis["id"]: analysis for analysis in event["analyses"]}
    one = subsets[by_id["ancova.FEV1.week12.grade1"]["dataSubsetId"]]
    conditions = [c["condition"] for c in one["compoundExpression"]["whereClauses"]]
    assert [(c["variable"], c["value"]) for c in conditions] == [
        ("PARAMCD", ["FEV1"]),
        ("AVISIT", ["Week 12"]),
        ("SEVERITY", ["I"]),
    ]
    assert "dataSubsetId" not in by_id["disposition.all"]
    assert by_id["disposition.all"]["analysisSetId"] == "AS.ITT"
    assert by_id["baseline.AGE.all"]["variable"] == "AGE"
    assert by_id["ancova.FEV1.week12.all"]["variable"] == "CHG"
    assert "dataset" not in by_id["agreement.LAA950.all"]
    # A characteristic and a parameter of one name select in different ways.
    builder = fixture.Builder("grade1", {"EG": 5})
    builder.add("baseline", "mean", 1.5, 5, "FEV1", GROUP="EG")
    builder.add("mmrm", "test_p", 0.5, 5, "FEV1", LEVEL="TRT01P:AVISIT")
    table = pd.DataFrame(builder.rows, columns=fixture.COLUMNS)
    event = event_of(table=table)
    assert len({analysis["dataSubsetId"] for analysis in event["analyses"]}) == 2
    assert ars_model.faults(event) == []


def test_adherence_and_adverse_events_have_data_sets_of_their_own():
    builder = fixture.Builder("grade1", {"EG": 5})
    builder.add("adherence", "total", 12, 5, "NSESSUN", GROUP="EG")
    builder.add("adverse", "n", 2, 5, GROUP="EG", LEVEL="serious")
    event = event_of(table=pd.DataFrame(builder.rows, columns=fixture.COLUMNS))
    assert ars_model.faults(event) == []
    assert [analysis["dataset"] for analysis in event["analyses"]] == ["ADEX", "ADAE"]
    shown = [a["results"][0]["formattedValue"] for a in event["analyses"]]
    assert shown == ["12", "2"]


def test_outputs_name_the_analyses_that_they_show(folders):
    event = event_of(folders=folders)
    assert ars_model.faults(event, CDISC) == []
    outputs = {output["id"]: output for output in event["outputs"]}
    # The agreement that the plan need not name was made of all patients alone.
    assert list(outputs) == [
        *(f"OUT.all.{name}" for name in (*SHOWN, "table_agreement")),
        *(f"OUT.grade1.{name}" for name in SHOWN),
    ]
    strata = event["mainListOfContents"]["contentsList"]["listItems"]
    assert [item["name"] for item in strata] == ["All patients", "Grade I"]
    items = {i["outputId"]: i for s in strata for i in s["sublist"]["listItems"]}
    shown = {
        name: [i["analysisId"] for i in item["sublist"]["listItems"]]
        for name, item in items.items()
    }
    assert "ancova.VO2MAX.week12.all" in shown["OUT.all.table_primary"]
    assert "mixed_model.VO2MAX.week12.all" in shown["OUT.all.figure_trend"]
    assert all(name.endswith(".grade1") for name in shown["OUT.grade1.table_primary"])
    made = json.loads((folders["all"] / "table_primary.json").read_text())
    addresses = [
        part["address"].partition("|")[0]
        for row in made["rows"]
        for cell in (row["label"], *row["cells"])
        for part in cell["parts"]
    ]
    assert set(shown["OUT.all.table_primary"]) == set(filter(None, addresses))
    display = outputs["OUT.all.table_primary"]["displays"][0]["display"]
    assert display["displayTitle"].startswith("Table 2 (14.2.1) Change from baseline and ")
    texts = [
        sub["subSection"]["text"]
        for section in display["displaySections"]
        for sub in section["orderedSubSections"]
    ]
    for _, note in made["footnotes"]:
        assert any(note in text for text in texts)
    files = outputs["OUT.all.figure_flow"]["fileSpecifications"]
    assert {"name": "figure_flow.pdf", "fileType": {"controlledTerm": "pdf"}}.items() <= next(
        file for file in files if file["name"].endswith("pdf")
    ).items()
    for file in files:
        place = (folders["all"].parents[1] / "analysis" / file["location"]).parts[-3:]
        assert folders["all"].parents[1].joinpath(*place).is_file()


def test_display_that_was_left_out_is_no_output(folders, tmp_path):
    plan = {**fixture.plan(), "displays": [fixture.DISPLAYS["table_baseline"]]}
    table = fixture.frame()
    table = table[table["METHOD"] != "agreement"]
    folder = tmp_path / "all" / "displays"
    rendering.write(table, fixture.context(plan=plan), folder)
    event = event_of(table=table, folders={"all": folder})
    assert [output["id"] for output in event["outputs"]] == ["OUT.all.table_baseline"]


def test_every_analysis_is_listed_by_its_method():
    event = event_of()
    items = event["otherListsOfContents"][0]["contentsList"]["listItems"]
    listed = [i["analysisId"] for item in items for i in item["sublist"]["listItems"]]
    assert sorted(listed) == sorted(analysis["id"] for analysis in event["analyses"])
    documents = {document["id"]: document for document in event["referenceDocuments"]}
    for analysis in event["analyses"]:
        place = analysis["programmingCode"]["documentRef"]["referenceDocumentId"]
        assert (SCRIPTS.parent / documents[place]["location"]).is_file()


def test_schema_refuses_what_the_standard_does_not_know():
    event = small()
    jsonschema.Draft7Validator.check_schema(ars_model.schema())
    for spoil, said in (
        (lambda e: e["analyses"][0].update(note="x"), "note"),
        (lambda e: e["analyses"][0].pop("reason"), "reason"),
        (lambda e: e["analyses"][0]["results"][0].update(rawValue=1.5), "1.5"),
        (lambda e: e["analyses"][0]["results"][0].update(rawValue=None), "None"),
        (lambda e: e["analyses"][0]["reason"].update(controlledTerm="PLANNED"), "PLANNED"),
        (lambda e: e["methods"][0].update(operations={}), "array"),
        (lambda e: e.pop("mainListOfContents"), "mainListOfContents"),
    ):
        wrong = copy.deepcopy(event)
        spoil(wrong)
        assert said in " ".join(ars_model.faults(wrong))


def test_loose_and_double_identifiers_are_found():
    event = small()
    wrong = copy.deepcopy(event)
    wrong["analyses"][0]["analysisSetId"] = "AS.OTHER"
    assert ars_model.faults(wrong) == ["AS.OTHER: named as analysisSetId, but not given"]
    wrong = copy.deepcopy(event)
    wrong["dataSubsets"].append(wrong["dataSubsets"][0])
    name = wrong["dataSubsets"][0]["id"]
    assert ars_model.faults(wrong) == [f"{name}: given twice (dataSubsetId)"]
    wrong = copy.deepcopy(event)
    first = next(a for a in wrong["analyses"] if a["methodId"].startswith("M.ancova"))
    first["methodId"] = "M.baseline"
    assert any("is no operation of its method M.baseline" in f for f in ars_model.faults(wrong))


def test_rows_of_two_analysis_sets_are_refused():
    table = fixture.frame()
    table.loc[table.index[table["ANALYSISID"] == "baseline.AGE.all"][0], "POPULATION"] = "PP"
    with pytest.raises(ValueError, match=r"baseline\.AGE\.all has rows of several analysis sets"):
        event_of(table=table)


def run(folder, displays, folders_of=("all", "grade1")):
    """Run the script with a stand-in job; return the path of what it wrote."""
    results = folder / "results.parquet"
    tables.write_parquet(fixture.frame(), results)
    given = jobs.params("all")
    given.pages = STRATA
    job = SimpleNamespace(
        input=SimpleNamespace(
            results=results, displays=[str(displays[name]) for name in folders_of]
        ),
        output=SimpleNamespace(event=folder / "ars.json"),
        params=given,
        wildcards=[],
        log=[],
        rule="write_ars",
    )
    runpy.run_path(str(SCRIPTS / "write_ars.py"))["main"](job)
    return job.output.event


def test_script_writes_the_same_bytes_twice(folders, tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.mkdir()
    written = run(first, folders)
    assert written.read_bytes() == run(second, folders).read_bytes()
    event = json.loads(written.read_text(encoding="utf-8"))
    assert ars_model.faults(event, CDISC) == []
    assert len(ars.rows(event)) == (fixture.frame()["STAT"] != "model").sum()
    assert str(tmp_path) not in written.read_text(encoding="utf-8")
    assert "SYNTHETIC TRIAL" in event["description"]


def test_script_writes_nothing_that_breaks_the_standard(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(ars_model, "faults", lambda event: ["analyses/0: broken"])
    with pytest.raises(ValueError, match="breaks ARS"):
        run(tmp_path, folders)
    assert not (tmp_path / "ars.json").exists()
