"""The published preprocessing: what it does to noise and to a point is known in closed form."""

import math

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy import stats

from lungitude import images
from lungitude.biomarkers.parenchyma import parenchyma
from lungitude.networks import preprocessing
from lungitude.phantom import render
from lungitude.validation import imaging_cases, imaging_preprocessing
from lungitude.validation.imaging_preprocessing import COLUMNS


def image_of(values, spacing=(1.0, 1.0, 1.0)):
    image = sitk.GetImageFromArray(np.asarray(values, np.float32))
    image.SetSpacing(spacing)
    return image


def test_hu_are_cut_and_scaled():
    hu = np.full((3, 3, 3), -300.0)
    hu[0], hu[2] = -1200.0, 900.0
    found = images.array(preprocessing.published(image_of(hu), 0.0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 1, 1], [0.0, 0.5, 1.0], atol=1e-6)
    back = images.array(preprocessing.to_hu(preprocessing.published(image_of(hu), 0.0)))
    np.testing.assert_allclose(back[:, 1, 1], [-1000.0, -300.0, 400.0], atol=1e-3)


@pytest.mark.parametrize(("unit", "sigmas"), [("voxel", (1.2,) * 3), ("mm", (0.6, 1.2, 1.2))])
def test_a_point_is_spread_by_sigma(unit, sigmas):
    hu = np.zeros((25, 25, 25))
    hu[12, 12, 12] = 1000.0
    found = preprocessing.blurred(hu, 1.2, (2.0, 1.0, 1.0), unit)
    assert found.sum() == pytest.approx(1000.0, rel=1e-4)
    at = np.arange(25) - 12.0
    for axis, sigma in enumerate(sigmas):
        line = found.sum(axis=tuple(k for k in range(3) if k != axis)) / found.sum()
        assert (line * at**2).sum() == pytest.approx(sigma**2, rel=0.03)


@pytest.mark.parametrize("sigma", preprocessing.SIGMAS)
def test_low_attenuation_of_noise_falls_as_its_closed_form(sigma):
    # Blurred white noise keeps 1 / (2 sigma sqrt(pi))^(3/2) of its SD; at -900 HU and noise of
    # 50 HU, 16 % of an even lung lie below -950 HU as delivered, and none once it is blurred.
    mean, sd = -900.0, 50.0
    noise = np.random.default_rng(0).normal(mean, sd, (60, 60, 60))
    ct = image_of(noise)
    inside = np.zeros(noise.shape)
    inside[8:-8, 8:-8, 8:-8] = 1  # at the border the blur has fewer voxels to average
    mask = sitk.Cast(image_of(inside), sitk.sitkUInt8)
    hu = preprocessing.to_hu(preprocessing.published(ct, sigma))
    raw, after = (parenchyma(each, mask).iloc[0] for each in (ct, hu))
    left = sd / (2.0 * sigma * math.sqrt(math.pi)) ** 1.5
    assert after["sd_hu"] == pytest.approx(left, rel=0.06)
    assert raw["laa950_pct"] == pytest.approx(100 * stats.norm.cdf(-1.0), abs=0.4)
    assert after["laa950_pct"] < 0.01
    # Of the percentile, the noise's share goes, too.
    assert after["perc15_hu"] == pytest.approx(mean + left * stats.norm.ppf(0.15), abs=1.0)
    assert after["mld_hu"] == pytest.approx(raw["mld_hu"], abs=0.5)


def test_what_cannot_be_preprocessed_is_named():
    image = image_of(np.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match="unit 'cm' is unknown; known: voxel, mm"):
        preprocessing.published(image, 1.0, "cm")
    with pytest.raises(ValueError, match="sigma is -1 voxel"):
        preprocessing.published(image, -1.0)
    with pytest.raises(ValueError, match="not finite"):
        preprocessing.published(image_of(np.full((3, 3, 3), np.nan)))


def test_bias_is_summed_up_by_quantity_and_sigma():
    rows = [
        ("A", "score", 100.0, 98.0, 1.0, "voxel", 90.0, -8.0),
        ("B", "score", 200.0, 204.0, 1.0, "voxel", 200.0, -4.0),
        ("A", "score", 100.0, 98.0, 1.5, "voxel", 80.0, -18.0),
        ("A", "tbv_ml", math.nan, 70.0, 1.0, "voxel", 66.0, -4.0),
    ]
    table = imaging_preprocessing.summarise(pd.DataFrame(rows, columns=COLUMNS))
    first = table.iloc[0]
    assert (first["quantity"], first["sigma"], first["n"]) == ("score", 1.0, 2)
    assert first["error"] == pytest.approx(1.0)
    assert first["bias"] == pytest.approx(-6.0)
    assert first["sd"] == pytest.approx(math.sqrt(8.0))
    assert (first["least"], first["most"]) == (-8.0, -4.0)
    text = imaging_preprocessing.document(table)
    assert "| Agatston score | 1.0 | 2 | 1.0 | -6.0 | 2.8 | -8.0 | -4.0 |" in text
    assert "| Total blood volume (mL) | 1.0 | 1 |  | -4.0 |  | -4.0 | -4.0 |" in text


def test_blurred_calcium_is_scored_lower():
    record = render.prepare(imaging_cases.row(9, "first", ("heart",)), {})
    table = imaging_preprocessing.bias_of_calcium(record).set_index(["quantity", "sigma"])
    assert table.loc[("score", 1.0), "truth"] == pytest.approx(record.quantities["agatston"])
    assert table.loc[("score", 1.0), "raw"] > 10
    assert table.loc[("score", 1.5), "bias"] < table.loc[("score", 1.0), "bias"] < 0
