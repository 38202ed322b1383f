"""Density of the parenchyma on arrays known by hand and on a mixture with a closed form."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

from lungitude import biomarkers
from lungitude.biomarkers.parenchyma import COLUMNS

HU = [-1000, -951, -950, -949, -910, -909, -857, -856, -700, 30]


def _image(values, kind=np.int16, spacing=(0.5, 1.0, 2.0)):
    image = sitk.GetImageFromArray(np.asarray(values, kind).reshape(1, 2, -1))
    image.SetSpacing(spacing)
    return image


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32, np.float64])
def test_hand_array(kind):
    table = biomarkers.parenchyma(_image(HU, kind), _image([1] * 10, np.uint8))
    assert list(table) == COLUMNS
    assert " ".join(table) == (
        "region voxels volume_ml mass_g laa950_pct laa910_pct laa856_pct perc15_hu perc85_hu mld_hu"
    )
    row = table.iloc[0]
    assert row["region"] == "all"
    assert row["voxels"] == 10
    assert row["volume_ml"] == pytest.approx(0.01)
    assert row["laa950_pct"] == pytest.approx(20.0)  # strictly below
    assert row["laa910_pct"] == pytest.approx(40.0)
    assert row["laa856_pct"] == pytest.approx(70.0)
    assert row["perc15_hu"] == pytest.approx(np.percentile(HU, 15))
    assert row["perc85_hu"] == pytest.approx(np.percentile(HU, 85))
    assert row["mld_hu"] == pytest.approx(np.mean(HU))
    assert row["mass_g"] == pytest.approx(sum((h + 1000) / 1000 * 0.001 for h in HU))


def test_histogram_equals_sorting():
    rng = np.random.default_rng(5)
    hu = np.rint(rng.normal(-870, 90, 4002))
    mask = _image(rng.integers(0, 7, 4002), np.uint8)
    whole = biomarkers.parenchyma(_image(hu, np.int16), mask, "lobes")
    broken = biomarkers.parenchyma(_image(hu, np.float64), mask, "lobes")
    for column in COLUMNS[1:]:
        assert whole[column].to_numpy() == pytest.approx(broken[column].to_numpy(), abs=1e-9)


def test_regions():
    mask = _image([1, 1, 1, 2, 2, 2, 2, 0, 0, 0], np.uint8)
    table = biomarkers.parenchyma(_image(HU), mask, "lungs")
    assert table["region"].tolist() == ["all", "right", "left"]
    assert table["voxels"].tolist() == [7, 3, 4]
    means = [np.mean(HU[:7]), np.mean(HU[:3]), np.mean(HU[3:7])]
    assert table["mld_hu"].tolist() == pytest.approx(means)
    table = biomarkers.parenchyma(_image(HU), mask, "lobes")
    assert table["region"].tolist() == ["all", "RUL", "RML", "RLL", "LUL", "LLL", "lingula"]
    empty = table.set_index("region").loc["lingula"]
    assert empty["voxels"] == 0
    assert empty.drop("voxels").isna().all()


def test_empty_mask():
    for kind in (np.int16, np.float32):
        table = biomarkers.parenchyma(_image(HU, kind), _image([0] * 10, np.uint8), "lungs")
        assert table["voxels"].tolist() == [0, 0, 0]
        assert table.drop(columns=["region", "voxels"]).isna().all().all()


def test_faults():
    image, mask = _image(HU), _image([1] * 10, np.uint8)
    with pytest.raises(ValueError, match="scheme 'thirds' is unknown"):
        biomarkers.parenchyma(image, mask, "thirds")
    with pytest.raises(ValueError, match=r"labels \[3\] in the mask"):
        biomarkers.parenchyma(image, _image([3] * 10, np.uint8), "lungs")
    with pytest.raises(ValueError, match="another grid"):
        biomarkers.parenchyma(image, _image([1] * 10, np.uint8, spacing=(1.0, 1.0, 1.0)))
    with pytest.raises(ValueError, match="whole numbers"):
        biomarkers.parenchyma(image, _image([1] * 10, np.float32))
    with pytest.raises(ValueError, match="1 voxels of the mask hold no finite HU"):
        biomarkers.parenchyma(_image([*HU[:9], np.nan], np.float32), mask)


def _phi(value):
    return 0.5 * math.erfc(-value / math.sqrt(2))


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("noise", [10.0, 20.0, 40.0])
def test_mixture_of_normal_and_emphysema(share, noise):
    """Of f N(-985, s) + (1 - f) N(-870, sqrt(20^2 + s^2)), within 0.1 percentage points."""
    n = 2_000_000
    rng = np.random.default_rng(11)
    sick = int(share * n)
    wide = math.hypot(20.0, noise)
    hu = np.r_[rng.normal(-985, noise, sick), rng.normal(-870, wide, n - sick)]
    truth = 100 * (share * _phi(35 / noise) + (1 - share) * _phi(-80 / wide))
    table = biomarkers.parenchyma(_image(hu, np.float32), _image(np.ones(n), np.uint8))
    assert table["laa950_pct"].iloc[0] == pytest.approx(truth, abs=0.1)
    assert table["mld_hu"].iloc[0] == pytest.approx(-985 * share - 870 * (1 - share), abs=0.2)
