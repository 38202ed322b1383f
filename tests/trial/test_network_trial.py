"""A patient from DICOM to measurements with the network in place of label maps."""

import shutil

import pandas as pd
import pytest

from helpers import edit_yaml, snakemake
from lungitude import tables

# What the network's measurement of one baseline visit may be away from the truth.
NEAR = {"LUNGVOL": 100.0, "LAV950": 1.0, "PI10": 0.3, "CACS": 25.0, "LVM": 25.0, "EF": 8.0}
TRUTH = {"LUNGVOL": "LUNGVOL_L", "LAV950": "EMPH_PCT"}


@pytest.fixture(scope="module")
def trial(drawn, tmp_path_factory):
    """One visit of one patient, without any label map."""
    root = tmp_path_factory.mktemp("network")
    folder = root / "config" / "tiny"
    shutil.copytree(drawn, folder)
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str, keep_default_na=False)
    sizes = scans.groupby("USUBJID", sort=False).size()
    subject = sizes.index[sizes == 12][0]
    mine = (scans["USUBJID"] == subject) & (scans["AVISIT"] == "Baseline")
    scans = scans[mine & (scans["SERIES"] != "hrct_exp")]
    scans = scans.drop(columns=["AIRWAYS", "VESSELS", "CORONARY", "HEART"])
    scans.to_csv(folder / "scans.tsv", sep="\t", index=False, lineterminator="\n")

    def change(config):
        config["imaging"]["segmentation"] = "network"

    edit_yaml(folder / "config.yaml", change)
    snakemake(folder, "measurements", cores=2)
    return {"folder": folder, "results": root / "results" / "tiny", "subject": subject}


def test_what_the_network_gives_is_near_the_truth(trial):
    found = tables.read(trial["results"] / "cohort" / "measurements.tsv")
    found = found[found["SOURCE"] == "scan"].set_index("PARAMCD")["AVAL"]
    truth = tables.read(trial["folder"] / "phantom.tsv")
    truth = truth[(truth["USUBJID"] == trial["subject"]) & (truth["AVISIT"] == "Baseline")].iloc[0]
    for name, reach in NEAR.items():
        true = truth[TRUTH.get(name, name)] * (1000.0 if name == "LUNGVOL" else 1.0)
        assert found[name] == pytest.approx(true, abs=reach), name


def test_each_map_says_how_far_to_trust_it(trial):
    folder = trial["results"] / "visit" / trial["subject"] / "baseline" / "network"
    told = tables.read(folder / "trust.tsv").set_index(["SERIES", "STRUCTURE"])
    assert set(told.index) == {
        ("hrct_insp", "lobes"),
        ("hrct_insp", "airways"),
        ("hrct_insp", "vessels"),
        ("calcium", "coronary"),
        ("cta", "heart"),
    }
    assert told["confidence"].between(0.5, 1.0).all()
    assert told["distance"].between(0.0, 2.0).all()
