"""Calcium scores of lesions counted by hand, and what must not change them."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, special

from lungitude.biomarkers.agatston import (
    MASS_FACTOR,
    agatston,
    agatston_score,
    integrated,
    risk_category,
)

EXACT = {"rel": 1e-12}


def image(values, spacing=(1.0, 1.0, 3.0), kind=np.int16):
    made = sitk.GetImageFromArray(np.asarray(values, kind))
    made.SetSpacing(spacing)
    return made


def tissue(shape=(5, 12, 12)):
    return np.full(shape, 40, np.int16)


def score(hu, spacing=(1.0, 1.0, 3.0), mask=None, **options):
    mask = np.ones(hu.shape, np.uint8) if mask is None else mask
    return agatston(
        image(hu, spacing, hu.dtype), image(mask, spacing, np.uint8), **options
    ).set_index("region")


@pytest.mark.parametrize(
    ("peak", "weight"),
    [(129, 0), (130, 1), (199, 1), (200, 2), (299, 2), (300, 3), (399, 3), (400, 4), (1500, 4)],
)
def test_weight_follows_the_largest_value_of_a_lesion(peak, weight):
    hu = tissue()
    hu[2, 3:5, 3:6] = min(peak, 130)
    hu[2, 4, 4] = peak
    counted = 0 if weight == 0 else 6
    row = score(hu).loc["all"]
    assert row["score"] == counted * weight
    assert (row["voxels"], row["lesions"], row["lesion_slices"]) == (counted, *[weight > 0] * 2)


def test_weight_is_that_of_the_slice_not_of_the_whole_lesion():
    hu = tissue()
    hu[2, 3:5, 3:6], hu[3, 3:5, 3:6] = 450, 150
    row = score(hu).loc["all"]
    assert row["score"] == 6 * 4 + 6 * 1
    assert (row["lesions"], row["lesion_slices"], row["peak_hu"]) == (1, 2, 450)
    assert row["volume_mm3"] == 12 * 3
    assert row["mass_mg"] == pytest.approx(MASS_FACTOR * (6 * 450 + 6 * 150) * 3, **EXACT)


@pytest.mark.parametrize(("side", "area"), [(0.5, 1.0), (0.49, 0.9604), (0.707, 0.999698)])
def test_a_lesion_needs_one_square_millimetre(side, area):
    hu = tissue()
    count = 4 if side < 0.6 else 2
    hu[2, 3, 3 : 3 + count // 2] = hu[2, 4, 3 : 3 + count // 2] = 250
    expected = 0 if area < 1 else 2 * area
    assert score(hu, (side, side, 3.0)).loc["all", "score"] == pytest.approx(expected, **EXACT)
    row = score(hu, (side, side, 3.0), min_area_mm2=0.5).loc["all"]
    assert row["score"] == pytest.approx(2 * area, **EXACT)
    assert row["min_area_mm2"] == 0.5


def test_equal_area_counts_however_its_product_is_rounded():
    hu = tissue()
    hu[2, 3, 3:13] = 250
    hu[2, 3, 3:12] = 250  # 9 voxels of 1/3 x 1/3 mm make 1 mm2, give or take a rounding
    assert score(hu, (1 / 3, 1 / 3, 3.0)).loc["all", "score"] == pytest.approx(2.0)


def test_diagonal_neighbours_are_one_lesion_in_a_slice_and_through_slices():
    hu = tissue()
    hu[2, 3, 3], hu[2, 4, 4] = 150, 250
    row = score(hu).loc["all"]
    assert (row["score"], row["lesions"], row["lesion_slices"]) == (2 * 2, 1, 1)
    hu = tissue()
    hu[2, 3, 3], hu[3, 4, 4] = 150, 250
    row = score(hu).loc["all"]
    assert (row["score"], row["lesions"], row["lesion_slices"]) == (1 + 2, 1, 2)
    hu = tissue()
    hu[2, 3, 3], hu[2, 3, 5] = 150, 250
    row = score(hu).loc["all"]
    assert (row["score"], row["lesions"], row["lesion_slices"]) == (1 + 2, 2, 2)


@pytest.mark.parametrize("increment", [1.5, 3.0, 0.625])
def test_the_score_is_scaled_to_slices_of_3_mm(increment):
    hu = tissue()
    hu[1:4, 3:5, 3:5] = 320
    row = score(hu, (1.0, 1.0, increment)).loc["all"]
    assert row["score"] == pytest.approx(3 * 4 * 3 * increment / 3, **EXACT)
    assert row["slice_mm"] == increment
    assert bool(row["flag"]) == (increment != 3.0)


def test_only_the_mask_counts():
    hu = tissue()
    hu[2, 2:6, 2:6] = 320
    mask = np.zeros(hu.shape, np.uint8)
    mask[2, 2:4, 2:6] = 255
    assert score(hu, mask=mask).loc["all", "score"] == 8 * 3
    assert list(score(hu, mask=mask).index) == ["all"]
    mask[:] = 0
    mask[0] = 1
    row = score(hu, mask=mask).loc["all"]
    assert (row["score"], row["risk"], row["mass_mg"], row["flag"]) == (0, "0", 0, "")
    assert math.isnan(row["peak_hu"])


def test_an_empty_mask_gives_nan_and_says_so():
    row = score(tissue(), mask=np.zeros((5, 12, 12), np.uint8)).loc["all"]
    assert row[["score", "volume_mm3", "mass_mg"]].isna().all()
    assert (row["flag"], row["risk"], row["voxels"]) == ("empty mask", "", 0)


def test_a_lesion_too_large_for_a_coronary_is_flagged():
    hu = tissue((3, 30, 30))
    hu[1, 2:20, 2:20] = 250
    assert score(hu).loc["all", "flag"].startswith("a lesion of 324 mm2")


def test_a_lesion_belongs_to_the_vessel_with_most_of_it():
    hu = tissue()
    mask = np.ones(hu.shape, np.uint8)
    mask[:, :, 6:] = 2
    mask[:, 9:] = 3
    hu[1, 2, 4:9] = 250  # 2 voxels in LAD, 3 in LCX
    hu[3, 4, 4:8] = 150  # 2 and 2: the first
    hu[3, 10:12, 1:3] = 450
    table = score(hu, mask=mask)
    assert table["score"].to_dict() == {"all": 30, "LM+LAD": 4, "LCX": 10, "RCA": 16}
    assert table["lesions"].to_dict() == {"all": 3, "LM+LAD": 1, "LCX": 1, "RCA": 1}
    assert table["risk"].to_dict() == {"all": "11-100", "LM+LAD": "", "LCX": "", "RCA": ""}
    for name in ("score", "volume_mm3", "mass_mg", "integrated_hu_mm3", "lesion_slices", "voxels"):
        assert table[name].iloc[1:].sum() == pytest.approx(table.loc["all", name], **EXACT)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((0, "0"), (0.4, "1-10"), (10, "1-10"), (10.5, "11-100"), (100, "11-100")),
        *((100.1, "101-400"), (400, "101-400"), (400.2, ">400"), (math.nan, "")),
    ],
)
def test_risk_categories(value, name):
    assert risk_category(value) == name


# --- contrast medium ----------------------------------------------------------------------------


def contrast_heart(blood=350.0, noise=20.0, voxel=1.5):
    """A chamber of contrast-filled blood (r 22 mm) beside a coronary with a plaque."""
    n = int(70 / voxel)
    z, y, x = np.meshgrid(*[(np.arange(n) - n / 2) * voxel for _ in range(3)], indexing="ij")
    hu = np.full(x.shape, 45.0)
    hu[(x + 6) ** 2 + y**2 + z**2 < 22**2] = blood
    vessel = (x - 21) ** 2 + y**2 < 2.0**2
    hu[vessel] = blood
    hu[(x - 22) ** 2 + y**2 + z**2 < 2.6**2] = 1100
    mask = ((x - 21) ** 2 + y**2 < 5**2) & (np.abs(z) < 30)
    hu += np.random.default_rng(0).normal(0, noise, hu.shape)
    spacing = (voxel, voxel, voxel)
    aorta = (x + 6) ** 2 + y**2 + z**2 < 22**2
    return image(np.rint(hu), spacing), image(mask, spacing, np.uint8), image(aorta, spacing, "u1")


def test_a_scan_with_contrast_medium_has_no_agatston_score():
    ct, mask, aorta = contrast_heart()
    with pytest.raises(ValueError, match="contrast medium has no Agatston"):
        agatston(ct, mask)
    with pytest.raises(ValueError, match="blood of 350 HU"):
        agatston(ct, mask, blood=aorta)
    with pytest.raises(ValueError, match="blood of 350 HU"):
        agatston(ct, mask, blood=(350, 20))


def test_a_scan_without_is_not_refused():
    ct, mask, aorta = contrast_heart(blood=45.0)
    plain = agatston(ct, mask).iloc[0]
    assert plain["score"] > 0
    assert math.isnan(plain["blood_hu"])
    told = agatston(ct, mask, blood=aorta).iloc[0]
    assert told["score"] == plain["score"]
    assert told["blood_hu"] == pytest.approx(45, abs=1)


def test_bone_beside_a_coronary_is_no_blood():
    ct, mask, _ = contrast_heart(blood=45.0)
    hu = sitk.GetArrayFromImage(ct)
    z, y, x = np.meshgrid(*[(np.arange(n) - n / 2) * 1.5 for n in hu.shape], indexing="ij")
    bone = ((x - 2) ** 2 + y**2 < 13**2) & (np.abs(z) < 16)
    hu[bone] = 240
    row = agatston(image(hu, (1.5, 1.5, 1.5)), mask).iloc[0]
    assert row["score"] == agatston(ct, mask).iloc[0]["score"]
    assert math.isnan(row["blood_hu"])


@pytest.mark.parametrize("given_blood", ["found", "label", "numbers"])
def test_angiography_has_a_score_of_its_own(given_blood):
    ct, mask, aorta = contrast_heart()
    blood = {"found": None, "label": aorta, "numbers": (350.0, 20.0)}[given_blood]
    row = agatston(ct, mask, convention="cta", blood=blood).iloc[0]
    assert "score" not in row
    assert (row["measure"], row["risk"]) == ("cacs_cta", "")
    assert row["threshold_hu"] == pytest.approx(410, abs=3)
    truth = 4 / 3 * math.pi * 2.6**3
    assert row["volume_mm3"] == pytest.approx(truth, rel=0.15)
    low = agatston(ct, mask, convention="cta", blood=(200.0, 10.0)).iloc[0]
    assert low["threshold_hu"] == 350


def test_angiography_needs_blood():
    ct, mask, _ = contrast_heart(blood=45.0)
    with pytest.raises(ValueError, match="needs the blood"):
        agatston(ct, mask, convention="cta")


# --- partial volume -----------------------------------------------------------------------------


def blurred_ball(radius, hu, voxel, shift, background=0.0, sigma=0.6):
    """Ball through a Gaussian point spread and the box of each voxel, drawn on a finer grid."""
    fine = 5
    shape = tuple(int(18 / d) * fine for d in voxel[::-1])
    steps = [d / fine for d in voxel[::-1]]
    z, y, x = np.meshgrid(
        *[(np.arange(n) - n / 2 + 0.5) * d for n, d in zip(shape, steps, strict=True)],
        indexing="ij",
    )
    r = np.sqrt((x - shift[0]) ** 2 + (y - shift[1]) ** 2 + (z - shift[2]) ** 2)
    a, b = (r + radius) / (math.sqrt(2) * sigma), (r - radius) / (math.sqrt(2) * sigma)
    share = 0.5 * (special.erf(a) - special.erf(b)) - sigma / (
        np.maximum(r, 1e-9) * math.sqrt(2 * math.pi)
    ) * (np.exp(-(b**2)) - np.exp(-(a**2)))
    share = share.reshape(-1, fine, shape[1] // fine, fine, shape[2] // fine, fine).mean((1, 3, 5))
    return background + (hu - background) * share


@pytest.mark.parametrize("slice_mm", [0.75, 1.5, 3.0])
@pytest.mark.parametrize(("radius", "hu"), [(1.5, 600.0), (2.5, 400.0), (1.0, 900.0)])
def test_integrated_attenuation_is_the_true_one_whatever_the_slices(slice_mm, radius, hu):
    """Sum of (HU - background) times volume; thresholded mass is off by tens of per cent."""
    rng = np.random.default_rng(round(100 * radius))
    truth = 4 / 3 * math.pi * radius**3 * (hu - 40.0)
    for shift in rng.uniform(-0.5, 0.5, (2, 3)) * slice_mm:
        drawn = blurred_ball(radius, hu, (0.5, 0.5, slice_mm), shift, background=40.0)
        row = score(drawn.astype(np.float32), (0.5, 0.5, slice_mm)).loc["all"]
        assert row["integrated_hu_mm3"] == pytest.approx(truth, rel=0.01)


def test_integrated_refuses_equal_object_and_background():
    with pytest.raises(ValueError, match="must differ"):
        integrated([1, 2], 40, 40)


# --- what must not matter -----------------------------------------------------------------------


def random_case(seed):
    rng = np.random.default_rng(seed)
    hu = ndimage.gaussian_filter(rng.normal(0, 1, (6, 14, 16)), (0.6, 1.0, 1.0))
    hu = np.rint(40 + 250 * hu / hu.std()).astype(np.int16)
    mask = rng.integers(0, 4, (3, 3, 4)).repeat(2, 0).repeat(5, 1).repeat(4, 2)[:, :14]
    return hu, np.asarray(mask, np.uint8)


NUMBERS = ["score", "volume_mm3", "mass_mg", "lesions", "lesion_slices", "integrated_hu_mm3"]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations([0, 1, 2]), flips=st.integers(0, 7))
def test_axis_order_and_orientation_do_not_matter(seed, order, flips):
    hu, mask = random_case(seed)
    ct, labels = (image(v, (0.8, 0.6, 2.5), v.dtype) for v in (hu, mask))
    turned = [
        sitk.Flip(sitk.PermuteAxes(v, order), [bool(flips >> k & 1) for k in range(3)])
        for v in (ct, labels)
    ]
    first, second = agatston(ct, labels), agatston(*turned)
    np.testing.assert_allclose(second[NUMBERS], first[NUMBERS], rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), pad=st.integers(0, 6))
def test_what_surrounds_the_mask_does_not_matter(seed, pad):
    hu, mask = random_case(seed)
    around = np.random.default_rng(seed).integers(-900, 1500, [n + 2 * pad for n in hu.shape])
    inner = tuple(slice(pad, pad + n) for n in hu.shape)
    around[inner] = hu
    wide = np.zeros(around.shape, np.uint8)
    wide[inner] = mask
    names = [name for name in NUMBERS if not name.startswith("integrated")]
    np.testing.assert_allclose(
        score(around.astype(np.int16), mask=wide)[names], score(hu, mask=mask)[names], rtol=1e-12
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([0.5, 1.5, 2.0]))
def test_spacing_scales_area_and_volume(seed, factor):
    hu, mask = random_case(seed)
    one = score(hu, (1.0, 1.0, 3.0), mask)
    options = {"min_area_mm2": factor**2}
    more = score(hu, (factor, factor, 3.0), mask, **options)
    np.testing.assert_allclose(more["score"], factor**2 * one["score"], rtol=1e-12)
    np.testing.assert_allclose(more["mass_mg"], factor**2 * one["mass_mg"], rtol=1e-12)
    thick = score(hu, (1.0, 1.0, 6.0), mask)
    np.testing.assert_allclose(thick["score"], 2 * one["score"], rtol=1e-12)
    np.testing.assert_allclose(thick["volume_mm3"], 2 * one["volume_mm3"], rtol=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_kind_of_number_does_not_matter_and_vessels_add_up(seed):
    hu, mask = random_case(seed)
    whole, broken = score(hu, mask=mask), score(hu.astype(np.float32), mask=mask)
    np.testing.assert_array_equal(whole[NUMBERS], broken[NUMBERS])
    parts = whole.iloc[1:]
    for name in ("score", "volume_mm3", "mass_mg", "lesion_slices"):
        assert parts[name].sum() == pytest.approx(whole.loc["all", name])
    quick = agatston_score(hu, (3.0, 1.0, 1.0), mask > 0)
    assert quick == pytest.approx(whole.loc["all", "score"], **EXACT)


def test_bad_input_is_named():
    hu = tissue()
    ct, mask = image(hu), image(np.ones(hu.shape), kind=np.uint8)
    with pytest.raises(ValueError, match="convention 'siemens' is unknown; known: agatston"):
        agatston(ct, mask, convention="siemens")
    with pytest.raises(ValueError, match="kv 90"):
        agatston(ct, mask, convention="calciumscoring", kv=90)
    with pytest.raises(ValueError, match="another grid"):
        agatston(ct, mask[1:])
    with pytest.raises(ValueError, match="whole numbers"):
        agatston(ct, sitk.Cast(mask, sitk.sitkFloat32))
    with pytest.raises(ValueError, match="1 voxels of the mask hold no finite HU"):
        broken = hu.astype(np.float32)
        broken[2, 2, 2] = np.nan
        score(broken)
    with pytest.raises(ValueError, match="finite mean and SD"):
        agatston(ct, mask, blood=(np.nan, 3))
    with pytest.raises(ValueError, match="label map of the blood is empty"):
        agatston(ct, mask, blood=mask * 0)
