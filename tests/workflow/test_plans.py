"""Dry runs: which jobs a trial needs, by what its folder holds."""

import re
import shutil

import pandas as pd

from helpers import ROOT, edit_yaml, snakemake


def jobs(folder, *targets):
    """Count the planned jobs of each rule."""
    run = snakemake(folder, "-n", "--quiet", "rules", "--", *targets)
    counts = re.findall(r"^(\w+)\s+(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in counts}


def scanned(drawn, tmp_path, keep, name="tiny"):
    """Copy the drawn trial, keeping the scans for which `keep` holds."""
    folder = tmp_path / "config" / name
    shutil.copytree(drawn, folder)
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str, keep_default_na=False)
    scans[scans.apply(keep, axis=1)].to_csv(folder / "scans.tsv", sep="\t", index=False)
    return folder


def complete(drawn, count=1):
    """Patients with all four series at all three visits."""
    scans = pd.read_csv(drawn / "scans.tsv", sep="\t", dtype=str)
    sizes = scans.groupby("USUBJID").size()
    return list(sizes.index[sizes == 12][:count])


def test_tables_only_needs_no_imaging(tiny):
    found = jobs(tiny)
    imaging = {"ingest_scan", "segment_lungs", "register_exp_to_insp", "report_quality"}
    assert not imaging & set(found)
    assert found["report_stratum"] == 5
    assert found["gather_measurements"] == found["derive_adam"] == 1


def test_one_patient(drawn, tmp_path):
    (one,) = complete(drawn)
    found = jobs(scanned(drawn, tmp_path, lambda s: one == s.USUBJID))
    assert found["render_chest"] == found["render_heart"] == 3
    assert found["ingest_scan"] == 12
    assert found["segment_lungs"] == found["measure_parenchyma"] == 6
    assert found["measure_airways"] == found["measure_vessels"] == 3
    assert found["measure_calcium"] == found["measure_ventricle"] == 3
    assert found["compare_visits"] == 1
    assert found["register_exp_to_insp"] == found["measure_prm"] == 3
    assert found["register_to_baseline"] == 2
    assert found["register_heart"] == 3


def test_the_network_reads_each_visit_once_and_needs_no_label_maps(drawn, tmp_path):
    (one,) = complete(drawn)
    folder = scanned(drawn, tmp_path, lambda s: one == s.USUBJID)
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str)
    columns = ["AIRWAYS", "VESSELS", "CORONARY", "HEART"]
    assert scans[columns].notna().any().all()
    scans.drop(columns=columns).to_csv(folder / "scans.tsv", sep="\t", index=False)
    without = jobs(folder)
    assert not {"segment_visit", "measure_airways", "measure_ventricle"} & set(without)
    edit_yaml(folder / "config.yaml", lambda c: c["imaging"].update(segmentation="network"))
    found = jobs(folder)
    assert found["segment_visit"] == 3
    assert found["segment_lungs"] == 6
    assert found["measure_airways"] == found["measure_vessels"] == 3
    assert found["measure_calcium"] == found["measure_ventricle"] == 3
    # Maps of probabilities come from the same jobs.
    kept = {"network": {"probabilities": True, "vessel_tracking": True}}
    edit_yaml(folder / "config.yaml", lambda c: c["imaging"].update(kept))
    (one, *_) = scans["USUBJID"]
    share = f"results/tiny/visit/{one}/baseline/network/hrct_insp_lungs_probability.nii.gz"
    assert jobs(folder) == found
    assert jobs(folder, share)["segment_visit"] == 1


TREES = {"airways": True, "vessels": True}


def unlabelled(drawn, tmp_path, *columns, first=False, **imaging):
    """A trial of one patient without label maps of some structures; `first`: at baseline alone."""
    (one,) = complete(drawn)
    folder = scanned(drawn, tmp_path, lambda s: one == s.USUBJID)
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str)
    rows = scans["AVISIT"].isin(["Baseline"] if first else scans["AVISIT"])
    scans.loc[rows, list(columns)] = None
    scans.to_csv(folder / "scans.tsv", sep="\t", index=False)
    edit_yaml(folder / "config.yaml", lambda c: c["imaging"].update(imaging))
    return folder


def test_airways_and_vessels_can_be_found_without_a_network(drawn, tmp_path):
    folder = unlabelled(drawn, tmp_path, "AIRWAYS", "VESSELS", classical=TREES)
    found = jobs(folder)
    assert found["segment_trees"] == found["measure_airways"] == found["measure_vessels"] == 3
    edit_yaml(folder / "config.yaml", lambda c: c["imaging"].update(classical={"vessels": True}))
    found = jobs(folder)
    assert found["segment_trees"] == found["measure_vessels"] == 3
    assert "measure_airways" not in found


def test_label_maps_of_the_sheet_come_first(drawn, tmp_path):
    folder = unlabelled(drawn, tmp_path, "AIRWAYS", "VESSELS", first=True, classical=TREES)
    found = jobs(folder)
    assert found["segment_trees"] == 1
    assert found["measure_airways"] == found["measure_vessels"] == 3


def test_the_network_is_checked_where_it_is_used(drawn, tmp_path):
    columns = ["AIRWAYS", "VESSELS", "CORONARY", "HEART"]
    folder = unlabelled(
        drawn, tmp_path, *columns, first=True, segmentation="network", cross_check=True
    )
    # Lungs come from the network at each visit, whatever else is given.
    assert jobs(folder)["check_network"] == 3
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str)
    lungs = ["hrct_insp", "hrct_exp"]
    later = scans["SERIES"].isin(lungs) & (scans["AVISIT"] != "Baseline")
    scans.loc[later, "LABELS"] = scans.loc[later, "PATH"]
    scans.to_csv(folder / "scans.tsv", sep="\t", index=False)
    found = jobs(folder)
    assert found["check_network"] == found["segment_visit"] == 1


def test_a_missing_visit(drawn, tmp_path):
    (one,) = complete(drawn)
    folder = scanned(drawn, tmp_path, lambda s: one == s.USUBJID and s.AVISIT != "Week 12")
    found = jobs(folder)
    assert found["register_exp_to_insp"] == 2
    assert found["register_to_baseline"] == 1


def test_no_expiration_series(drawn, tmp_path):
    (one,) = complete(drawn)
    folder = scanned(drawn, tmp_path, lambda s: one == s.USUBJID and s.SERIES == "hrct_insp")
    found = jobs(folder)
    lacking = {"register_exp_to_insp", "register_heart", "measure_prm", "measure_calcium"}
    assert not {*lacking, "render_heart"} & set(found)
    assert found["register_to_baseline"] == 2


def test_a_missing_baseline_scan(drawn, tmp_path):
    (one,) = complete(drawn)
    folder = scanned(drawn, tmp_path, lambda s: one == s.USUBJID and s.AVISIT != "Baseline")
    assert "register_to_baseline" not in jobs(folder)


def test_one_number_gives_more_patients_scans(drawn, tmp_path):
    folder = scanned(drawn, tmp_path, lambda s: True)
    before = jobs(folder)["render_chest"]
    edit_yaml(folder / "config.yaml", lambda c: c["imaging"].update(max_subjects=16))
    assert jobs(folder)["render_chest"] > before


def test_without_a_plan_there_are_measurements_and_no_analysis(drawn, tmp_path):
    (one,) = complete(drawn)
    folder = scanned(drawn, tmp_path, lambda s: one == s.USUBJID)
    (folder / "plan.yaml").unlink()
    found = jobs(folder)
    assert "analyse" not in found
    assert found["gather_measurements"] == found["report_quality"] == 1


def test_public_without_its_folder_says_so(tmp_path):
    folder = tmp_path / "config" / "public"
    shutil.copytree(ROOT / "config" / "public", folder)
    run = snakemake(folder)
    assert "Trial 'public' is skipped: there is no folder" in run.stderr
    assert not (tmp_path / "results" / "public" / "report").exists()


def test_targets_of_each_level(tiny):
    assert "analyse" not in jobs(tiny, "measurements")
    assert "report_stratum" not in jobs(tiny, "analysis")
