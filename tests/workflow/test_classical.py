"""A trial whose airways and vessels are found without a network, from scan to page."""

import shutil

import pytest
from unit import chest

from helpers import ROOT, edit_yaml, snakemake
from lungitude import images, tables

PARAMETERS = """\
PARAMCD	PARAM	AVALU	LOW	HIGH	DECIMALS	DIRECTION	DATASET	MEASURE
LUNGVOL	Volume	mL	0	9000	0	none	ADQCT	hrct_insp:parenchyma:all:volume_ml
BRANCHES	Branches		0	999	0	none	ADQCT	hrct_insp:airways:all:n_branches
TBV	Volume	mL	0	999	0	none	ADQCT	hrct_insp:vessels:all:tbv_ml
"""


@pytest.fixture
def public(tmp_path):
    """The trial of public scans with one scan, whose trachea is blocked, and no label map."""
    folder = tmp_path / "config" / "public"
    shutil.copytree(ROOT / "config" / "public", folder)
    (tmp_path / "scans").mkdir()
    image, _, trunk = chest.make()
    hu = images.array(image).copy()
    hu[trunk] = 30
    images.write(images.from_array(hu, image), tmp_path / "scans" / "one.nii.gz")
    sheet = "USUBJID\tAVISIT\tSERIES\tPATH\n001\tBaseline\thrct_insp\tone.nii.gz\n"
    (folder / "scans.tsv").write_text(sheet)
    (folder / "parameters.tsv").write_text(PARAMETERS)

    def change(config):
        config["scans_root"] = str(tmp_path / "scans")
        config["imaging"]["classical"] = {"airways": True, "vessels": True}

    edit_yaml(folder / "config.yaml", change)
    return folder


def test_a_trial_without_a_network(public):
    snakemake(public)
    results = public.parents[1] / "results" / "public"
    trust = tables.read(results / "cohort" / "trust.tsv").set_index("STRUCTURE")
    assert trust["found_by"].to_dict() == {"airways": "classical", "vessels": "classical"}
    assert trust.loc["airways", "flag"] == "no trachea was found, so there are no airways"
    own = tables.read(results / "visit/001/baseline/hrct_insp/vessels.tsv").set_index("region")
    found = tables.read(results / "cohort" / "measurements.tsv").set_index("PARAMCD").fillna("")
    assert (
        found.loc["TBV", ["AVAL", "FLAG"]].tolist() == own.loc["all", ["tbv_ml", "flag"]].tolist()
    )
    assert found.loc["LUNGVOL", "FLAG"] == ""
    assert found.loc["BRANCHES", "AVAL"] == 0
    assert found.loc["BRANCHES", "FLAG"].endswith("classical: " + trust.loc["airways", "flag"])
    page = (results / "report" / "quality.html").read_text()
    assert f"<td>classical: {trust.loc['airways', 'flag']}</td>" in page
