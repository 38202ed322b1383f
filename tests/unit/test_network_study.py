"""The study of the network as results: every number that of its table, nothing where none is."""

import json
import runpy
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from unit import network_fixture as fixture

from helpers import ROOT
from lungitude import network_study as study
from lungitude import provenance, results, tables
from lungitude.analysis import network_study as analysis
from lungitude.networks import comparison_summary, evaluation_summary, unseen


def of(table, **names):
    for name, value in names.items():
        table = table[table[name] == value]
    return table


def value(frame, **names):
    (found,) = of(frame, **names)["VALUE"]
    return found


def test_names_are_those_of_the_study():
    assert list(study.QUANTITIES) == list(evaluation_summary.PUBLISHED)
    for name, ours in study.QUANTITIES.items():
        theirs = evaluation_summary.QUANTITIES[name]
        assert (ours.title, ours.unit, ours.decimals) == (
            theirs.title, theirs.unit, theirs.decimals,
        ), name  # fmt: skip
    assert tuple(comparison_summary.TASKS) == study.TASKS
    assert tuple(unseen.DOMAINS) == study.DOMAINS
    assert comparison_summary.REFERENCE == study.REFERENCE
    assert comparison_summary.BOTH == study.BOTH
    assert evaluation_summary.LEVEL == 0.95
    assert study.INTERVAL == "95% CI"


def test_structures_are_those_of_the_study():
    levels = set(fixture.frame("network_overlap")["LEVEL"])
    named = [level for parts in study.STRUCTURES.values() for level in parts]
    assert len(named) == len(set(named))
    assert set(named) == levels


def test_labels_have_their_unit_once():
    assert study.label_of("laa950_pct") == "LAV %"
    assert study.label_of("mld_hu") == "MLD, HU"
    assert study.label_of("fractal_dimension") == "Fractal dimension"
    assert study.label_of("new_mm") == "new_mm"
    assert (study.decimals_of("pi10_mm"), study.decimals_of("new_mm")) == (3, 2)


def test_accuracy_is_that_of_the_table():
    table = tables.read(ROOT / "docs/validation/networks.tsv", text=analysis.TEXT)
    wanted = table[
        (table["kind"] == "biomarker") & (table["source"] == "network") & (table["grade"] == "all")
    ]
    frame = fixture.frame("network_accuracy")
    assert len(wanted) >= 2 * len(study.QUANTITIES)
    columns = {"r": "r", "rmse": "rmse", "icc_a1": "icc", "bias": "bias", "loa_high": "loa_high",
               "icc_ci_low": "icc_ci_low", "truth_sd": "sd"}  # fmt: skip
    for row in wanted.to_dict("records"):
        mine = of(frame, GROUP=row["domain"], LEVEL=row["quantity"])
        for stat, column in columns.items():
            assert value(mine, STAT=stat) == row[column]
        assert set(mine["N"]) == {row["n"]}
    # Neither what true label maps give nor the direct estimates are mixed in.
    assert set(frame["COMPARISON"]) == {"", "network - truth"}
    assert set(of(frame, COMPARISON="network - truth")["LEVEL"]) == set(wanted["quantity"])
    patients = table[(table["kind"] == "cases") & (table["grade"] == "all")]
    for domain, n in zip(patients["domain"], patients["n"], strict=True):
        assert value(frame, STAT="patients", GROUP=domain) == n
    (note,) = of(frame, STAT="weights")["NOTE"]
    facts = table.loc[table["kind"] == "facts", "note"].iloc[0]
    assert note == f"weights {facts}"


def test_overlap_is_that_of_the_table_and_a_missed_structure_has_no_distance():
    table = tables.read(ROOT / "docs/validation/networks.tsv", text=analysis.TEXT)
    table = table[(table["kind"] == "overlap") & (table["grade"] == "all")]
    frame = fixture.frame("network_overlap")
    for row in table[table["quantity"].isin(analysis.SCORES)].to_dict("records"):
        where = {"GROUP": row["domain"], "LEVEL": f"{row['scan']}: {row['structure']}"}
        found = value(frame, STAT=row["quantity"], **where)
        ends = of(frame, STAT=f"{row['quantity']}_ci_low", **where)["VALUE"]
        if np.isinf(row["mean"]):
            assert np.isnan(found)
            assert ends.empty
        else:
            assert found == row["mean"]
            assert ends.tolist() == [row["ci_low"]]


def test_a_distance_that_is_infinite_has_a_reason():
    table = tables.read(ROOT / "docs/validation/networks.tsv", text=analysis.TEXT)
    table[analysis.TEXT] = table[analysis.TEXT].fillna("")
    row = (table["structure"] == "airways") & (table["quantity"] == "hd95_mm")
    row &= (table["grade"] == "all") & (table["domain"] == "internal")
    table.loc[row, ["n", "infinite", "mean", "ci_low", "ci_high"]] = [20, 3, np.inf, np.nan, np.inf]
    frame = analysis.network_study(accuracy=table)
    (found,) = of(frame, LEVEL="chest: airways", GROUP="internal", STAT="hd95_mm").to_dict(
        "records"
    )
    assert np.isnan(found["VALUE"])
    assert found["N"] == 20
    assert found["NOTE"] == "not estimated: airways missed, or none there, in 3 of 20 patients"
    assert (
        not frame["STAT"]
        .str.startswith("hd95_mm_ci")[
            (frame["LEVEL"] == "chest: airways") & (frame["GROUP"] == "internal")
        ]
        .any()
    )


def test_comparison_is_that_of_the_summary():
    summary, frame = fixture.comparison(), fixture.frame("network_comparison")
    for kind in ("overlap", "biomarker"):
        for row in of(summary, kind=kind).to_dict("records"):
            where = {"GROUP": row["domain"], "COMPARISON": f"{row['model']} - truth",
                     "LEVEL": row["quantity"]}  # fmt: skip
            found = value(frame, STAT=row["score"], **where)
            assert found == row["estimate"] or (np.isnan(found) and np.isnan(row["estimate"]))
            assert value(frame, STAT="missing", **where) == row["missing"]
    for row in summary[summary["kind"].isin(["difference", "branch"])].to_dict("records"):
        level = f"branch: {row['quantity']}" if row["kind"] == "branch" else row["quantity"]
        where = {"GROUP": row["domain"], "COMPARISON": f"{row['model']} - multi_task",
                 "LEVEL": level}  # fmt: skip
        assert value(frame, STAT="estimate", **where) == row["estimate"]
        assert value(frame, STAT="p", **where) == row["p"]
        adjusted = of(frame, STAT="p_adj", **where)
        assert adjusted["VALUE"].tolist() == ([row["p_adj"]] if row["family"] else [])
    tests = of(frame, STAT="p_adj", GROUP="both", FAMILY="biomarkers")
    assert set(tests["NOTE"]) == {f"bh, {2 * len(study.QUANTITIES)} tests"}
    titles = of(frame, STAT="parameters")
    assert dict(zip(titles["COMPARISON"], titles["NOTE"], strict=True)) == {
        f"{model} - truth": title for model, title in fixture.MODELS.items()
    }


def test_errors_have_their_ratio_to_the_least_one():
    frame = of(fixture.frame("network_comparison"), GROUP="external", LEVEL="mld_hu")
    errors = of(frame, STAT="rmse").set_index("COMPARISON")["VALUE"]
    ratios = of(frame, STAT="rmse_ratio").set_index("COMPARISON")["VALUE"]
    assert ratios.min() == 1.0
    assert ratios.to_dict() == pytest.approx((errors / errors.min()).to_dict())


def test_what_is_known_beside_a_missing_estimate_is_kept():
    frame = of(
        fixture.frame("network_comparison"), COMPARISON="vnet - truth", LEVEL="agatston",
        GROUP="internal",
    )  # fmt: skip
    assert np.isnan(value(frame, STAT="r"))
    assert of(frame, STAT="r")["NOTE"].str.startswith("not estimated: ").all()
    assert of(frame, STAT="r_ci_low").empty
    assert value(frame, STAT="rmse") > 0


def test_few_patients_give_rows_with_reasons():
    found = analysis.network_study(comparison=fixture.comparison(patients=2))
    gone = found[found["VALUE"].isna()]
    assert {"estimate", "p", "p_adj", "r"} <= set(gone["STAT"])
    assert gone["NOTE"].str.startswith("not estimated: ").all()
    results.validate(found)


def test_activation_has_each_output_and_part():
    table = tables.read(ROOT / "docs/validation/networks_explained.tsv")
    frame = fixture.frame("network_activation")
    assert len(frame) == 3 * len(table)
    for row in table.to_dict("records"):
        hottest = {0.9: "hottest 10%", 0.95: "hottest 5%", 0.99: "hottest 1%"}[row["QUANTILE"]]
        where = {"COMPARISON": hottest, "LEVEL": f"{row['STRUCTURE']}: {row['OUTPUT']}"}
        assert value(frame, STAT="overlap_pct", **where) == row["overlap_pct"]
        assert value(frame, STAT="chance_pct", **where) == row["chance_pct"]


def test_parameters_of_the_parts_sum_to_the_whole():
    frame = fixture.frame("network_architecture")
    counts = of(frame, STAT="parameters").set_index("LEVEL")["VALUE"]
    parts = counts[counts.index.str.match(r"^(encoder|branch) \w+$")]
    assert parts.sum() == counts["network"]
    for name, whole in parts.items():
        assert counts[counts.index.str.startswith(f"{name} ")].sum() == whole


def test_rows_are_a_valid_part_of_the_results(tmp_path):
    frame = fixture.frame()
    results.validate(frame)
    assert set(frame["METHOD"]) == set(fixture.METHODS)
    assert set(frame["STRATUM"]) == {"all"}
    assert set(frame["POPULATION"]) == {""}
    assert set(frame["PARAMCD"]) == {""}  # no parameter of the trial, whose patients these aren't
    gathered = results.gather([frame, results.empty()])
    assert len(gathered) == len(frame)
    tables.write_parquet(frame, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(tables.read_parquet(tmp_path / "a.parquet"), frame)


def run(files, path):
    job = SimpleNamespace(input=files, output=SimpleNamespace(results=path))
    runpy.run_path(str(ROOT / "scripts/analyse_network_study.py"))["main"](job)
    return results.validate(tables.read_parquet(path))


def test_the_script_writes_what_is_there(tmp_path):
    section = fixture.written(tmp_path)
    files = study.inputs(section)
    assert set(files) == {"accuracy", "comparison", "explained", "architecture"}
    whole = run(files, tmp_path / "whole.parquet")
    assert len(whole) == len(fixture.frame())
    pd.testing.assert_frame_equal(
        whole[whole["METHOD"] == "network_overlap"].reset_index(drop=True),
        fixture.frame("network_overlap").reset_index(drop=True),
    )


@pytest.mark.parametrize(
    ("left_out", "gone"),
    [
        ("accuracy", {"network_accuracy", "network_overlap"}),
        ("comparison", {"network_comparison"}),
        ("explained", {"network_activation"}),
    ],
)
def test_files_that_are_absent_give_no_rows_and_are_told(tmp_path, caplog, left_out, gone):
    section = fixture.written(tmp_path, **{left_out: None})
    found = run(study.inputs(section), tmp_path / "a.parquet")
    assert set(found["METHOD"]) == set(fixture.METHODS) - gone
    assert f"{study.FILES[left_out]} is not there" in caplog.text


def test_nothing_at_all_is_an_empty_table(tmp_path):
    section = {"tables": str(tmp_path), "architecture": str(tmp_path / "none.json")}
    assert study.inputs(section) == {}
    assert run({}, tmp_path / "a.parquet").empty


def test_a_table_without_a_column_is_named(tmp_path):
    fixture.written(tmp_path, comparison=fixture.comparison().drop(columns="p_adj"))
    with pytest.raises(ValueError, match=r"network_comparison\.tsv: no column p_adj"):
        analysis.read(study.inputs({"tables": str(tmp_path)}))


def test_paths_are_below_the_repository_or_absolute(tmp_path):
    assert study.section_of({"analyses": {}}) is None
    assert study.section_of({"analyses": {"network_study": None}})["tables"] == "docs/validation"
    known = study.paths({"tables": "other/place"})
    assert known["accuracy"] == ROOT / "other/place/networks.tsv"
    assert known["architecture"] == ROOT / "docs/networks/architecture.json"
    assert study.paths({"tables": str(tmp_path)})["picture"].parent == tmp_path


def test_it_needs_no_library_of_networks_or_images():
    files = provenance.reached(ROOT / "scripts/analyse_network_study.py")
    assert not [path for path in files if "networks" in path.parts]
    code = "import sys; import lungitude.analysis.network_study; print(json.dumps([*sys.modules]))"
    shown = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True
    )
    assert not {"torch", "monai", "SimpleITK", "scipy"} & set(json.loads(shown.stdout))
