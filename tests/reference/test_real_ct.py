"""Real CT against its peers: density, lungs. Data and peer values: tests/data/realct."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungitude import biomarkers, images, quality, segmentation

DATA = Path(__file__).parents[1] / "data" / "realct"


@pytest.fixture(scope="module")
def chest():
    """Whole chest of 4 mm voxels and its label map (region + 256 x type)."""
    image = images.read(DATA / "ct-64.nrrd")
    return image, images.array(images.read_labels(DATA / "lm-64.nrrd", like=image))


@pytest.fixture(scope="module")
def right_lung():
    """One lung, cut out of a chest, and the peer's mask."""
    image = images.read(DATA / "right_lung.mha")
    return image, images.read_labels(DATA / "right_lung_mask.mha", like=image)


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("kind", [sitk.sitkInt16, sitk.sitkFloat32])
def test_density_equals_the_chest_imaging_platform(chest, kind):
    """All printed digits of the peer's regression baseline."""
    image, labels = chest
    region = (labels & 255).astype(np.uint8)
    row = biomarkers.parenchyma(sitk.Cast(image, kind), images.from_array(region, image)).iloc[0]
    assert row["laa950_pct"] == pytest.approx(19.662, abs=5e-4)
    assert row["laa910_pct"] == pytest.approx(55.4111, abs=5e-5)
    assert row["laa856_pct"] == pytest.approx(75.0731, abs=1e-4)
    assert row["mld_hu"] == pytest.approx(-873.814, abs=5e-4)
    assert row["volume_ml"] == pytest.approx(4554.16, abs=5e-3)
    assert row["mass_g"] == pytest.approx(574.673, abs=5e-4)
    # The peer's percentile is the largest HU with a share of at most 0.15: 1 HU below ours.
    assert row["perc15_hu"] == -955.0
    hu = images.array(image)[region > 0]
    assert row["perc85_hu"] == np.percentile(hu, 85)


def test_lungs_of_a_coarse_chest(chest):
    image, labels = chest
    region, kind = labels & 255, labels >> 8
    found = images.array(segmentation.lungs(image))
    assert _dice(found > 0, region > 0) > 0.97
    assert _dice(found == 1, region >= 12) > 0.97
    assert _dice(found == 2, (region > 0) & (region < 12)) > 0.97
    assert (found[kind == 3] > 0).mean() > 0.99  # vessels inside
    assert (found[kind == 2] > 0).mean() < 0.15  # large airways outside, but for their rim
    # Right and left are never mixed: a handful of voxels at the anterior junction.
    assert ((found == 1) & (region > 0) & (region < 12)).sum() < 10
    assert ((found == 2) & (region >= 12)).sum() < 10


def test_lung_cropped_to_one_side(right_lung):
    image, mask = right_lung
    found = images.array(segmentation.lungs(image))
    assert set(np.unique(found)) == {0, 1}
    assert _dice(found > 0, images.array(mask) > 0) > 0.985


def test_one_side_mirrored_is_the_other(right_lung):
    image, mask = right_lung
    mirrored = images.from_array(images.array(image)[:, :, ::-1].copy(), image)
    found = images.array(segmentation.lungs(mirrored))
    assert set(np.unique(found)) == {0, 2}
    assert _dice(found > 0, images.array(mask)[:, :, ::-1] > 0) > 0.985


def test_quality_of_real_scans(chest, right_lung):
    image, _ = chest
    row = quality.measure(image, segmentation.lungs(image)).iloc[0]
    assert row["lungs_found"] == 2
    assert row["motion_ratio"] < 2
    assert np.isnan(row["blood_hu"])  # too coarse: not found, not guessed
    image, mask = right_lung
    row = quality.measure(image, mask).iloc[0]
    assert row["lungs_found"] == 1
    # This scanner's air lies below -1000 HU: what the check is for.
    assert row["air_hu"] == pytest.approx(-1030, abs=5)
    assert "one_lung" in row["flags"]
