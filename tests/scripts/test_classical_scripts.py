"""Scripts that find or check airways, vessels and lungs without a network, run in-process."""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from unit import chest

from helpers import ROOT, Files
from lungitude import images, records, tables

IDENTITY = {"USUBJID": "001", "AVISIT": "Week 6", "SERIES": "hrct_insp"}
PARTS = ("airways", "vessels")


def run(script, folder, inputs, output, **params):
    """Run a script as Snakemake does."""
    job = SimpleNamespace(
        rule=script,
        wildcards=["001"],
        log=[str(folder / "log")],
        input=Files(**{name: str(folder / file) for name, file in inputs.items()}),
        output=Files(**output),
        params=Files(identity=IDENTITY, **params),
    )
    script = str(ROOT / "scripts" / f"{script}.py")
    runpy.run_path(script, init_globals={"snakemake": job}, run_name="__main__")


@pytest.fixture
def scan(tmp_path):
    """A plain chest with its lungs; returns its folder and the true trunk of the airways."""
    image, truth, trunk = chest.make()
    images.write(image, tmp_path / "scan.nii.gz")
    images.write(images.from_array(truth, image), tmp_path / "lungs.nii.gz")
    records.write(tmp_path / "scan.json", **IDENTITY)
    records.write(tmp_path / "lungs.json", **IDENTITY)
    return tmp_path, trunk


def trees(folder, *parts):
    inputs = {"image": "scan.nii.gz", "record": "scan.json"}
    inputs |= {"lungs": "lungs.nii.gz", "lungs_record": "lungs.json"}
    output = {
        "labels": [str(folder / f"{part}.nii.gz") for part in parts],
        "records": [str(folder / f"{part}.json") for part in parts],
    }
    run("segment_trees", folder, inputs, output, parts=list(parts))
    return [records.read(folder / f"{part}.json") for part in parts]


def test_trees_have_the_codes_that_measuring_expects(scan):
    folder, trunk = scan
    airways, vessels = trees(folder, *PARTS)
    label = images.array(images.read_labels(folder / "airways.nii.gz"))
    assert set(np.unique(label)) == {0, 1, 2}
    assert chest.dice(label == 1, trunk) > 0.85
    tubes = images.array(images.read_labels(folder / "vessels.nii.gz"))
    assert set(np.unique(tubes)) <= {0, 1}
    assert not (tubes > 0)[label > 0].any()
    assert airways["volume_ml"] == pytest.approx((label > 0).sum() * 2.5**3 / 1000, rel=1e-3)
    assert airways["lumen_ml"] + airways["wall_ml"] == pytest.approx(airways["volume_ml"], abs=0.01)
    assert (airways["STRUCTURE"], vessels["STRUCTURE"]) == PARTS
    assert vessels["volume_ml"] == pytest.approx((tubes > 0).sum() * 2.5**3 / 1000, rel=1e-3)
    assert vessels["faults"] == ([] if vessels["volume_ml"] else ["no vessels found"])


def test_a_chest_without_trachea_says_so(scan):
    folder, trunk = scan
    image = images.read(folder / "scan.nii.gz")
    hu = images.array(image).copy()
    hu[trunk] = 30
    images.write(images.from_array(hu, image), folder / "scan.nii.gz")
    (airways,) = trees(folder, "airways")
    assert airways["volume_ml"] == 0
    assert airways["faults"] == ["no trachea was found, so there are no airways"]


def test_an_excluded_scan_has_no_trees_and_says_why(scan):
    folder, _ = scan
    records.exclude(folder / "lungs.json", "segmentation", "no lung found", **IDENTITY)
    trees(folder, *PARTS)
    for part in PARTS:
        assert records.left_out(folder / f"{part}.nii.gz") == "no lung found"
        assert records.read(folder / f"{part}.json")["STRUCTURE"] == part


def check(folder):
    inputs = {"image": "scan.nii.gz", "record": "scan.json", "lobes": "lobes.nii.gz"}
    inputs |= {part: f"{part}.nii.gz" for part in PARTS}
    run("check_network", folder, inputs, {"table": str(folder / "check.tsv")})
    return tables.read(folder / "check.tsv")


def test_a_network_is_held_against_the_classical_method(scan):
    folder, _ = scan
    trees(folder, *PARTS)  # in place of the network: both agree on these
    lungs = images.read_labels(folder / "lungs.nii.gz")
    right = np.where(images.array(lungs) == 1, 3, 0).astype(np.uint8)  # one lobe, one lung lost
    images.write(images.from_array(right, lungs), folder / "lobes.nii.gz")
    found = check(folder).set_index("STRUCTURE")
    assert found.loc["lobes", "USUBJID"] == "001"
    assert found.loc["lobes", "ratio"] == pytest.approx(0.5, abs=0.03)
    assert (
        "lungs of the classical method have 2.0 times the volume of those of the network"
        in (found.loc["lobes", "flag"])
    )
    images.write(lungs, folder / "lobes.nii.gz")
    found = check(folder).set_index("STRUCTURE")
    assert found.loc["lobes", "dice"] > 0.97
    assert np.isnan(found.loc["lobes", "flag"])


def test_where_no_lung_is_found_nothing_is_compared(scan):
    folder, _ = scan
    image = images.read(folder / "scan.nii.gz")
    nothing = images.from_array(np.zeros(images.array(image).shape, np.uint8), image)
    images.write(image * 0, folder / "scan.nii.gz")
    for part in ("lobes", *PARTS):
        images.write(nothing, folder / f"{part}.nii.gz")
    found = check(folder)
    assert found["STRUCTURE"].tolist() == ["lobes", *PARTS]
    assert found["flag"].str.contains("not compared: no lung found").all()


def test_an_excluded_scan_is_not_checked(scan):
    folder, _ = scan
    records.exclude(folder / "scan.json", "ingest", "a slice is missing", **IDENTITY)
    assert check(folder).empty
