"""Scripts that measure organs by their label maps, and that compare visits, run in-process."""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from helpers import ROOT, Files
from lungitude import images, records, registration, tables

IDENTITY = {"USUBJID": "001", "AVISIT": "Week 6", "SERIES": "calcium"}


def run(script, folder, inputs, outputs, **params):
    """Run a script as Snakemake does."""
    job = SimpleNamespace(
        rule=script,
        wildcards=["001"],
        log=[str(folder / "log")],
        input=Files(**inputs),
        output=Files(**{name: str(folder / file) for name, file in outputs.items()}),
        params=Files(**params),
    )
    script = str(ROOT / "scripts" / f"{script}.py")
    runpy.run_path(script, init_globals={"snakemake": job}, run_name="__main__")


@pytest.fixture
def calcium(tmp_path):
    """A calcium scan with one lesion of 2 x 16 x 0.25 mm2 and where calcium counts."""
    hu = np.full((8, 48, 48), 40, np.int16)
    hu[:, 2:46, 2:6] = -850
    hu[1:3, 20:24, 20:24] = 250
    scan = images.from_array(hu, sitk.Image(48, 48, 8, sitk.sitkInt16))
    scan.SetSpacing((0.5, 0.5, 3.0))
    images.write(scan, tmp_path / "scan.nii.gz")
    region = np.zeros(hu.shape, np.uint8)
    region[:, 15:30, 15:30] = 2
    images.write(images.from_array(region, scan), tmp_path / "region.nii.gz")
    records.write(tmp_path / "scan.json", **IDENTITY)
    return tmp_path


def score(folder, **params):
    inputs = {"image": folder / "scan.nii.gz", "record": folder / "scan.json"}
    outputs = {"table": "calcium.tsv", "picture": "calcium.png"}
    inputs["coronary"] = folder / "region.nii.gz"
    run("measure_calcium", folder, inputs, outputs, identity=IDENTITY, **params)
    return tables.read(folder / "calcium.tsv")


def test_calcium_is_scored_and_drawn(calcium):
    found = score(calcium).set_index("region")
    assert found.loc["all", "score"] == pytest.approx(2 * 16 * 0.25 * 2)
    assert found.loc["all", "USUBJID"] == "001"
    assert (calcium / "calcium.png").stat().st_size > 1000


def test_a_label_map_on_another_grid_is_told_and_not_measured(calcium):
    region = images.read_labels(calcium / "region.nii.gz")
    images.write(region[:40, :40, :], calcium / "region.nii.gz")
    found = score(calcium, on_bad_scan="exclude")
    assert len(found) == 1
    assert "another grid" in found.loc[0, "flag"]
    assert "score" not in found
    with pytest.raises(SystemExit):
        score(calcium, on_bad_scan="stop")


def test_a_scan_that_is_refused_is_told_and_not_measured(calcium):
    scan, region = images.read(calcium / "scan.nii.gz"), images.read(calcium / "region.nii.gz")
    for image in (scan, region):
        image.SetSpacing((1.0, 1.0, 3.0))  # as large as the chambers of a heart
    images.write(scan + 310, calcium / "scan.nii.gz")  # all as bright as blood with contrast
    images.write(region, calcium / "region.nii.gz")
    found = score(calcium)
    assert "contrast" in found.loc[0, "flag"]
    assert (calcium / "calcium.png").stat().st_size == 0


def test_an_excluded_scan_leaves_empty_files(calcium):
    records.exclude(calcium / "scan.json", "ingest", "missing slice", **IDENTITY)
    assert score(calcium).empty
    assert (calcium / "calcium.png").stat().st_size == 0


@pytest.mark.parametrize("scheme", ["lungs", "lobes"])
def test_visits_are_compared_in_the_regions_of_the_baseline(tmp_path, scheme):
    """The second visit is the first, 6 mm higher and with 10 % less air at the same tissue."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in (40, 30, 40)], indexing="ij")
    labels = np.where(x < 18, 1, np.where(x > 21, 2, 0))
    labels[(y < 3) | (y > 26) | (z < 3) | (z > 36)] = 0
    if scheme == "lobes":
        labels = np.where(labels == 1, np.where(z > 20, 1, 3), np.where(labels == 2, 5, 0))
    paths = {}
    for visit, density, shift in (("baseline", 150, 0.0), ("week06", 180, 6.0)):
        folder = tmp_path / "visit" / "001" / visit / "hrct_insp"
        folder.mkdir(parents=True)
        hu = np.where(labels > 0, density - 1000 + (z - 20), 40).astype(np.int16)
        scan = images.from_array(hu, sitk.Image(40, 30, 40, sitk.sitkInt16))
        scan.SetSpacing((3.0, 3.0, 3.0))
        scan.SetOrigin((0.0, 0.0, shift))
        images.write(scan, folder / "scan.nii.gz")
        images.write(images.from_array(labels.astype(np.uint8), scan), folder / "lungs.nii.gz")
        records.write(folder / "lungs.json", scheme=scheme)
        paths[visit] = folder
    change = tmp_path / "subject" / "001" / "week06_to_baseline"
    change.mkdir(parents=True)
    moved = sitk.TranslationTransform(3, (0.0, 0.0, 6.0))
    registration.Transform(moved).write(change / "transform.tfm")
    records.write(change / "registration.json")

    def of(name):
        return [str(folder / name) for folder in paths.values()]

    visits = [
        {"path": "baseline", "name": "Baseline", "baseline": True},
        {"path": "week06", "name": "Week 6", "baseline": False},
    ]
    run(
        "compare_visits",
        tmp_path,
        {
            **{"images": of("scan.nii.gz"), "lungs": of("lungs.nii.gz"), "branches": []},
            **{"lungs_records": of("lungs.json"), "transforms": [str(change / "transform.tfm")]},
            "registrations": [str(change / "registration.json")],
        },
        {"parenchyma": "parenchyma.tsv", "airways": "airways.tsv"},
        subject="001",
        visits=visits,
    )
    found = tables.read(tmp_path / "parenchyma.tsv").set_index(["AVISIT", "region"])
    assert tables.read(tmp_path / "airways.tsv").empty
    names = ["RUL", "RLL", "LLL"] if scheme == "lobes" else ["right_upper", "left_lower"]
    for name in names:
        first, second = found.loc[("Baseline", name)], found.loc[("Week 6", name)]
        assert second["voxels"] == first["voxels"] > 0
        assert second["mld_hu"] - first["mld_hu"] == pytest.approx(30.0)
        assert second["volume_ratio"] == pytest.approx(1.0)
