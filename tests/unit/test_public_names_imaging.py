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
    assert list(whole.columns) == [*names.split(), "mld_hu"]
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
