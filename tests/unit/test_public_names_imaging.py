"""A golden call for each public name of the imaging side: names, columns, types, one number."""

import numpy as np
import pytest
import SimpleITK as sitk
from unit import chest

from lungitude import biomarkers, images, registration, segmentation

SHIFT_MM = (5.0, 0.0, 10.0)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A synthetic chest on disk, as a reader meets it, and its true lungs."""
    image, truth, _ = chest.make()
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    sitk.WriteImage(image, str(path))
    return path, image, truth


def test_images_read(scan):
    path, image, _ = scan
    found = images.read(str(path))
    assert isinstance(found, sitk.Image)
    assert found.GetSize() == image.GetSize()
    with pytest.raises(ValueError, match="nowhere"):
        images.read("nowhere.nii.gz")


def test_segmentation_lungs(scan):
    path, _, truth = scan
    found = segmentation.lungs(images.read(path), method="auto")
    labels = sitk.GetArrayFromImage(found)
    truth = truth if isinstance(truth, np.ndarray) else sitk.GetArrayFromImage(truth)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert chest.dice(labels == 1, truth == 1) > 0.97
    assert chest.dice(labels == 2, truth == 2) > 0.97


def test_biomarkers_parenchyma(scan):
    ct = images.read(scan[0])
    lungs = segmentation.lungs(ct)
    whole = biomarkers.parenchyma(ct, lungs)
    names = "region voxels volume_ml mass_g laa950_pct laa910_pct laa856_pct perc15_hu perc85_hu"
    assert list(whole.columns)[:10] == [*names.split(), "mld_hu"]
    assert list(whole["region"]) == ["all"]
    sides = biomarkers.parenchyma(ct, lungs, scheme="lungs")
    assert list(sides["region"]) == ["all", "right", "left"]
    assert sides.loc[0, "voxels"] == sides.loc[1:, "voxels"].sum()
    lobes = biomarkers.parenchyma(ct, lungs, scheme="lobes")
    assert list(lobes["region"]) == ["all", "RUL", "RML", "RLL", "LUL", "LLL", "lingula"]


def test_biomarkers_prm(scan):
    ct = images.read(scan[0])
    lungs = segmentation.lungs(ct)
    found = biomarkers.prm(ct, ct, lungs, scheme="mask")
    assert found.loc[0, "region"] == "all"
    parts = ["normal_pct", "fsad_pct", "emphysema_pct", "other_pct"]
    assert found.loc[0, parts].sum() == pytest.approx(100)


@pytest.fixture(scope="module")
def tube():
    """An airway and a vessel along z in lung, each of known size; labels are their true shapes."""
    _, y, x = np.meshgrid(*[np.arange(n) * 0.7 for n in (60, 64, 110)], indexing="ij")
    air, vessel = np.hypot(y - 22.4, x - 22.4), np.hypot(y - 22.4, x - 54.6)
    hu = np.full(x.shape, -860.0)
    for distance, radius, value in ((air, 3.6, 20), (air, 2.4, -1000), (vessel, 2.0, 45)):
        share = np.clip(0.5 + (radius - distance) / 0.7, 0, 1)
        hu += share * (value - hu)

    def image(values):
        made = sitk.GetImageFromArray(values)
        made.SetSpacing((0.7, 0.7, 0.7))
        return made

    labels = [image((d < r).astype(np.uint8)) for d, r in ((air, 2.4), (vessel, 2.0))]
    return image(hu.astype(np.float32)), *labels, image(np.ones(x.shape, np.uint8))


def test_biomarkers_airways(tube):
    ct, lumen, _, _ = tube
    found = biomarkers.airways(ct, lumen, psf_mm=0.3)
    assert found.loc[0, "region"] == "all"
    wanted = ["pi10_mm", "wa_pct", "wa_la", "lumen_diameter_mm", "n_branches"]
    assert set(wanted) <= set(found.columns)
    branches = biomarkers.airway_branches(ct, lumen, psf_mm=0.3)
    assert branches["lumen_diameter_mm"].max() == pytest.approx(4.8, abs=0.3)


def test_biomarkers_vessels(tube):
    ct, _, vessel, lungs = tube
    for found in (biomarkers.vessels(vessel, lungs), biomarkers.vessels(vessel, lungs, ct=ct)):
        assert found.loc[0, "region"] == "all"
        wanted = "tbv_ml bv5_ml bv5_pct bv10_ml fractal_dimension alpha beta".split()
        assert set(wanted) <= set(found.columns)
        assert found.loc[0, "tbv_ml"] == pytest.approx(np.pi * 4 * 42 / 1000, rel=0.08)
        assert found.loc[0, "bv5_pct"] == pytest.approx(0.0, abs=1.0)


def test_biomarkers_agatston():
    hu = np.full((3, 12, 12), 40, np.int16)
    hu[1, 4:8, 4:8] = 250
    ct, mask = sitk.GetImageFromArray(hu), sitk.GetImageFromArray(np.ones_like(hu, np.uint8))
    for image in (ct, mask):
        image.SetSpacing((0.5, 0.5, 3.0))
    found = biomarkers.agatston(ct, mask, convention="agatston")
    assert found.loc[0, "region"] == "all"
    assert found.loc[0, "score"] == pytest.approx(16 * 0.25 * 2)
    assert found.loc[0, "volume_mm3"] == pytest.approx(12.0)
    assert found.loc[0, "lesions"] == 1
    assert found.loc[0, "mass_mg"] > 0


def test_biomarkers_ventricle():
    phases = []
    for inner in (20.0, 15.0):
        z, y, x = np.meshgrid(*[np.arange(64) - 31.3] * 3, indexing="ij")
        distance = np.sqrt(x * x + y * y + z * z)
        outer = (20.0**3 * 0.9 + inner**3) ** (1 / 3)  # muscle keeps its volume
        labels = np.where(distance < inner, 1, np.where(distance < outer, 2, 0))
        phases.append(sitk.GetImageFromArray(labels.astype(np.uint8)))
    found = biomarkers.ventricle(phases)
    assert found.loc[0, "edv_ml"] == pytest.approx(4 / 3 * np.pi * 8.0, rel=0.01)
    assert found.loc[0, "esv_ml"] == pytest.approx(4 / 3 * np.pi * 3.375, rel=0.02)
    assert found.loc[0, "ef_pct"] == pytest.approx(100 * (1 - (15 / 20) ** 3), abs=0.5)
    assert found.loc[0, "sv_ml"] == pytest.approx(found.loc[0, "edv_ml"] - found.loc[0, "esv_ml"])
    assert found.loc[0, "lvm_g"] == pytest.approx(1.05 * 4 / 3 * np.pi * 8.0 * 0.9, rel=0.02)


def test_registration(scan, tmp_path):
    fixed = images.read(scan[0])
    moving = sitk.Image(fixed)
    moving.SetOrigin([o + s for o, s in zip(fixed.GetOrigin(), SHIFT_MM, strict=True)])
    tx = registration.register(fixed, moving, preset="lung", spacing_mm=6.0)
    points = np.array([[-60.0, 0.0, 0.0], [60.0, 10.0, -20.0]])
    np.testing.assert_allclose(tx.apply_points(points) - points, [SHIFT_MM] * 2, atol=0.5)
    warped = tx.resample(moving, like=fixed, interpolator="linear")
    assert warped.GetSize() == fixed.GetSize()
    assert sitk.GetArrayFromImage(tx.jacobian(like=fixed)).mean() == pytest.approx(1, abs=0.02)
    tx.write(tmp_path / "transform.tfm")
    again = registration.read(tmp_path / "transform.tfm")
    np.testing.assert_allclose(again.apply_points(points), tx.apply_points(points), atol=1e-6)
    back = tx.inverse().apply_points(tx.apply_points(points))
    np.testing.assert_allclose(back, points, atol=0.2)
