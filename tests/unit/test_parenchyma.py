"""Density of the parenchyma on arrays known by hand and on a mixture with a closed form."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from lungitude import biomarkers, images
from lungitude.biomarkers import regions
from lungitude.biomarkers.clusters import clusters, exponent
from lungitude.biomarkers.parenchyma import ADJUSTED, COLUMNS, adjusted

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
        "region voxels volume_ml mass_g laa950_pct laa910_pct laa856_pct perc15_hu perc85_hu "
        "mld_hu sd_hu pd15_g_l flag"
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
    assert row["sd_hu"] == pytest.approx(np.std(HU))
    assert row["pd15_g_l"] == pytest.approx(np.percentile(HU, 15) + 1000)
    assert row["flag"] == ""
    assert row["mass_g"] == pytest.approx(sum((h + 1000) / 1000 * 0.001 for h in HU))


def test_histogram_equals_sorting():
    rng = np.random.default_rng(5)
    hu = np.rint(rng.normal(-870, 90, 4002))
    mask = _image(rng.integers(0, 7, 4002), np.uint8)
    whole = biomarkers.parenchyma(_image(hu, np.int16), mask, "lobes")
    broken = biomarkers.parenchyma(_image(hu, np.float64), mask, "lobes")
    for column in COLUMNS[1:-1]:
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
    assert empty["flag"] == "empty"
    assert empty.drop(["voxels", "flag"]).isna().all()


def test_empty_mask():
    for kind in (np.int16, np.float32):
        table = biomarkers.parenchyma(_image(HU, kind), _image([0] * 10, np.uint8), "lungs")
        assert table["voxels"].tolist() == [0, 0, 0]
        assert table["flag"].tolist() == ["empty"] * 3
        assert table.drop(columns=["region", "voxels", "flag"]).isna().all().all()


def test_faults():
    image, mask = _image(HU), _image([1] * 10, np.uint8)
    with pytest.raises(ValueError, match="scheme 'quarters' is unknown"):
        biomarkers.parenchyma(image, mask, "quarters")
    with pytest.raises(ValueError, match=r"labels \[3\] in the mask"):
        biomarkers.parenchyma(image, _image([3] * 10, np.uint8), "thirds")
    with pytest.raises(ValueError, match="positive, in ml"):
        biomarkers.parenchyma(image, mask, reference_volume_ml=-1.0)
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


def _cube(values, spacing=(1.0, 1.0, 1.0)):
    image = sitk.GetImageFromArray(np.ascontiguousarray(values))
    image.SetSpacing(spacing)
    return image


@pytest.mark.parametrize("ratio", [0.85, 0.92, 1.0, 1.1])
def test_sponge(ratio):
    """Truth 60 g/L at the reference volume: raw PD15 goes with inflation, the adjusted doesn't."""
    rng = np.random.default_rng(2)
    density = rng.gamma(25.0, 4.0, 64000)
    density *= 60.0 / np.percentile(density, 15)
    hu = (density / ratio - 1000.0).reshape(40, 40, 40)
    side = np.cbrt(ratio)  # the same tissue in a volume `ratio` as large
    ct = _cube(hu, (side, side, side))
    mask = _cube(np.ones(hu.shape, np.uint8), (side, side, side))
    table = biomarkers.parenchyma(ct, mask, reference_volume_ml=64.0)
    row = table.iloc[0]
    assert list(table) == [*COLUMNS, *ADJUSTED]
    assert row["pd15_g_l"] == pytest.approx(60.0 / ratio)
    assert row["pd15_adj_g_l"] == pytest.approx(60.0)
    assert row["volume_ratio"] == pytest.approx(ratio)
    assert row["mld_adj_hu"] == pytest.approx(density.mean() - 1000.0)
    for name, threshold in (("laa950_adj_pct", 50), ("laa910_adj_pct", 90)):
        assert row[name] == pytest.approx(100 * (density < threshold).mean(), abs=0.002)
    assert row["mass_g"] == pytest.approx(density.mean() * 0.064, rel=1e-6)  # tissue stays
    later = adjusted(biomarkers.parenchyma(ct, mask), {"all": 64.0})
    assert later["pd15_adj_g_l"][0] == pytest.approx(60.0)


def test_regions_have_their_own_reference():
    mask = _image([1, 1, 1, 2, 2, 2, 2, 0, 0, 0], np.uint8)
    table = biomarkers.parenchyma(
        _image(HU), mask, "lungs", reference_volume_ml={"right": 0.006, "left": 0.002}
    )
    assert np.isnan(table["pd15_adj_g_l"][0])
    assert table["volume_ratio"].tolist()[1:] == pytest.approx([0.5, 2.0])
    expected = table["pd15_g_l"] * table["volume_ratio"]
    assert table["pd15_adj_g_l"].tolist()[1:] == pytest.approx(expected.tolist()[1:])


def test_thirds():
    lungs = np.zeros((12, 4, 6), np.uint8)
    lungs[2:11, :, :3], lungs[2:11, :, 3:] = 1, 2
    lungs[8:11, 2:] = 0  # the top is narrow: its third reaches further down
    found = images.array(regions.thirds(_cube(lungs)))
    for z, codes in ((10, {0, 1, 4}), (7, {1, 4}), (5, {2, 5}), (2, {3, 6})):
        assert set(found[z].ravel()) == codes
    sizes = np.bincount(found.ravel(), minlength=7)[1:]
    assert sizes.sum() == (lungs > 0).sum()
    assert np.abs(sizes[:3] / sizes[:3].sum() - 1 / 3).max() < 0.12
    # The head may lie at either end of the array.
    turned = sitk.Flip(_cube(lungs), [False, False, True])
    again = images.array(regions.thirds(turned))[::-1]
    np.testing.assert_array_equal(again, found)


def test_erosion_takes_the_rim_off():
    hu = np.full((20, 20, 20), -850, np.int16)
    mask = np.zeros(hu.shape, np.uint8)
    mask[4:16, 4:16, 4:16] = 1
    mask[4:16, 4:16, 10:16] = 2
    hu[(mask > 0) & ~np.pad(np.ones((10, 10, 10), bool), 5)] = -500  # the chest wall shines in
    whole = biomarkers.parenchyma(_cube(hu), _cube(mask), "lungs")
    inner = biomarkers.parenchyma(_cube(hu), _cube(mask), "lungs", erode_mm=1.0)
    assert whole["mld_hu"][0] > -760
    assert inner["mld_hu"].tolist() == [-850.0] * 3
    assert inner["voxels"].tolist() == [1000, 500, 500]  # no rim between the regions


@settings(deadline=None, max_examples=15)
@given(
    order=st.permutations([0, 1, 2]),
    flips=st.tuples(*[st.booleans()] * 3),
    spacing=st.floats(0.4, 3.0),
    seed=st.integers(0, 9),
)
def test_axes_cropping_and_spacing_do_not_matter(order, flips, spacing, seed):
    rng = np.random.default_rng(seed)
    hu = np.rint(rng.normal(-880, 60, (9, 10, 11))).astype(np.int16)
    mask = np.zeros(hu.shape, np.uint8)
    mask[2:7, 3:8, 2:9] = rng.integers(0, 3, (5, 5, 7))
    first = biomarkers.parenchyma(_cube(hu), _cube(mask), "lungs")
    turned = [sitk.Flip(sitk.PermuteAxes(_cube(a), order), list(flips)) for a in (hu, mask)]
    for pair in (turned, [image[1:10, 2:9, 1:8] for image in (_cube(hu), _cube(mask))]):
        assert biomarkers.parenchyma(*pair, "lungs").equals(first) or np.allclose(
            biomarkers.parenchyma(*pair, "lungs")[COLUMNS[1:-1]].to_numpy(float),
            first[COLUMNS[1:-1]].to_numpy(float),
            equal_nan=True,
        )
    wide = biomarkers.parenchyma(_cube(hu, (spacing,) * 3), _cube(mask, (spacing,) * 3), "lungs")
    assert wide["volume_ml"].to_numpy() == pytest.approx(first["volume_ml"] * spacing**3)
    assert wide["laa950_pct"].equals(first["laa950_pct"])


def _planted(d, seed, cell=9):
    """Clusters of whole sizes with P(size >= k) = (k / 5)^-d for k >= 5, apart from each other."""
    rng = np.random.default_rng(seed)
    counts = (13, 13, 13)
    sizes = np.floor(4.5 * (1.0 - rng.random(counts)) ** (-1.0 / d) + 0.5).astype(int)
    sizes = np.minimum(sizes, (cell - 1) ** 3)
    block = np.arange((cell - 1) ** 3).reshape((cell - 1,) * 3)
    hu = np.full([n * cell for n in counts], -900, np.int16)
    for place in np.ndindex(*counts):
        box = tuple(slice(i * cell, i * cell + cell - 1) for i in place)
        hu[box][block < sizes[place]] = -960
    return hu, sizes.ravel()


@pytest.mark.parametrize("d", [1.2, 1.6, 2.0])
def test_cluster_exponent_of_planted_clusters(d):
    hu, sizes = _planted(d, seed=3)
    mask = np.ones(hu.shape, np.uint8)
    row = clusters(_cube(hu, (0.5, 1.0, 2.0)), _cube(mask, (0.5, 1.0, 2.0))).iloc[0]
    assert row["n_clusters"] == row["n_in_fit"] == sizes.size
    assert row["cluster_exponent"] == pytest.approx(d, abs=0.15)
    assert row["cluster_exponent_ml"] == pytest.approx(d, abs=0.1)
    assert row["cluster_r2"] > 0.98
    assert row["cluster_low_mm3"] == 5.0
    assert row["largest_ml"] == pytest.approx(sizes.max() / 1000.0)
    assert row["flag"] == ""


def test_cluster_exponent_is_unbiased():
    """Mean over 60 draws of 2000 sizes, within 0.05 and 0.02 of the truth."""
    rng = np.random.default_rng(8)
    for d in (0.8, 1.3, 1.8):
        fits = [
            exponent(np.floor(4.5 * (1.0 - rng.random(2000)) ** (-1.0 / d) + 0.5))
            for _ in range(60)
        ]
        assert np.mean([f["exponent"] for f in fits]) == pytest.approx(d, abs=0.05)
        assert np.mean([f["exponent_ml"] for f in fits]) == pytest.approx(d, abs=0.02 + 0.01 * d)


def test_clusters_end_with_their_region():
    hu = np.full((6, 6, 12), -900, np.int16)
    hu[2, 2, 4:8] = -970  # across the border
    hu[3, 3, 8] = -970  # touches by a corner
    mask = np.ones(hu.shape, np.uint8)
    mask[..., 6:] = 2
    table = clusters(_cube(hu), _cube(mask), "lungs")
    assert table["n_clusters"].tolist() == [1, 1, 1]
    assert table["largest_ml"].tolist() == pytest.approx([0.005, 0.002, 0.003])
    assert table["flag"].tolist() == ["few_clusters"] * 3
    none = clusters(_cube(hu), _cube(np.zeros_like(mask)), "lungs")
    assert none["n_clusters"].tolist() == [0, 0, 0]
    assert none["cluster_exponent"].isna().all()
