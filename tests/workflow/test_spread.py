"""Which visits are read again in other views, with what, and which settings are refused."""

import re
import shutil

import pandas as pd
import pytest

from helpers import edit_yaml, problems_of, snakemake

STRUCTURES = ["AIRWAYS", "VESSELS", "CORONARY", "HEART"]


def sheet(folder, change):
    scans = pd.read_csv(folder / "scans.tsv", sep="\t", dtype=str)
    change(scans).to_csv(folder / "scans.tsv", sep="\t", index=False)


@pytest.fixture
def trial(drawn, tmp_path):
    """One patient with all scans of three visits, all of whose structures the network finds."""
    folder = tmp_path / "config" / "tiny"
    shutil.copytree(drawn, folder)

    def one(scans):
        sizes = scans.groupby("USUBJID", sort=False).size()
        mine = scans["USUBJID"] == sizes.index[sizes == 12][0]
        return scans[mine].drop(columns=STRUCTURES)

    sheet(folder, one)
    change = {"segmentation": "network", "network": {"spread": 3}}
    edit_yaml(folder / "config.yaml", lambda c: c["imaging"].update(change))
    return folder


def planned(folder):
    """Input files of the planned jobs of spread_network by visit, without the patient's folders."""
    run = snakemake(folder, "-n", "--", "measurements")
    found = {}
    for block in re.split(r"\n(?=rule |localrule )", run.stdout + run.stderr):
        if block.startswith("rule spread_network:"):
            files = re.search(r"input: (.*)", block).group(1).split(", ")
            visit = re.search(r"visit=(\w+)", block).group(1)
            found[visit] = {re.sub(r".*?/(visit|subject)/[^/]*/", "", path) for path in files}
    return found


def test_each_visit_is_read_again_where_it_is_asked_for(trial):
    found = planned(trial)
    assert set(found) == {"baseline", "week06", "week12"}
    first, later = found["baseline"], found["week06"]
    tables = {"hrct_insp/parenchyma.tsv", "hrct_insp/vessels.tsv", "calcium/calcium.tsv"}
    tables |= {"cta/ventricle.tsv", "prm/prm.tsv", "hrct_insp/branches.tsv"}
    assert {f"baseline/{name}" for name in tables} <= first
    assert {f"week06/{name}" for name in tables} <= later
    # No parameter of the demo is a density of the expiration.
    assert "baseline/hrct_exp/parenchyma.tsv" not in first
    change = {"baseline/hrct_insp/branches.tsv", "week06_to_baseline/transform.tfm"}
    assert change <= later
    assert not any("to_baseline" in path for path in first)
    edit_yaml(trial / "config.yaml", lambda c: c["imaging"]["network"].pop("spread"))
    assert planned(trial) == {}


def test_what_scans_tsv_gives_is_not_read_again(trial):
    def labelled(scans):
        lungs = scans["SERIES"].isin(["hrct_insp", "hrct_exp"])
        later = scans["AVISIT"] != "Baseline"
        scans["LABELS"] = scans["PATH"].where(lungs & later)
        for column, series in (("AIRWAYS", "hrct_insp"), ("HEART", "cta")):
            own = (scans["SERIES"] == series) & later
            folder = scans["PATH"].str.rsplit("/", n=1).str[0]
            scans[column] = (folder + f"/labels/{column.lower()}.nii.gz").where(own)
        return scans

    sheet(trial, labelled)
    found = planned(trial)["week06"]
    assert {"week06/hrct_insp/vessels.tsv", "week06/calcium/calcium.tsv"} <= found
    gone = {"parenchyma.tsv", "branches.tsv", "ventricle.tsv", "prm.tsv"}
    assert not gone & {path.rsplit("/", 1)[1] for path in found}


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ({"spread": 1}, "one further reading has no spread; ask for 2 or more"),
        ({"spread": -2}, "'imaging.network.spread' is -2; it must be at least 0"),
        ({"spread": 2.5}, "must be a whole number"),
        ({"spread_limits": {"LAV950": 1.0}}, "no scan is read again; say how often"),
        ({"spread": 3, "spread_limits": {"LAV95": 1}}, "'LAV95' has no spread: parameters.tsv"),
        ({"spread": 3, "spread_limits": {"LAV95": 1}}, "did you mean 'LAV950'?"),
        ({"spread": 3, "spread_limits": {"FEV1": 0.1}}, "'FEV1' has no spread: parameters.tsv"),
        ({"spread": 3, "spread_limits": {"LAV950": 0}}, "must be above 0"),
        ({"spread": 3, "spread_limits": {"lav": 1}}, "a PARAMCD of parameters.tsv, such as"),
    ],
)
def test_slips_of_the_hand(trial, network, told):
    edit_yaml(trial / "config.yaml", lambda c: c["imaging"].update(network=network))
    (problem,) = problems_of(trial)
    assert told in problem


def test_limits_of_what_is_measured_are_fine(trial):
    limits = {"spread": 3, "spread_limits": {"LAV950": 1, "PI10": 0.2}}
    edit_yaml(trial / "config.yaml", lambda c: c["imaging"].update(network=limits))
    assert set(planned(trial)) == {"baseline", "week06", "week12"}
