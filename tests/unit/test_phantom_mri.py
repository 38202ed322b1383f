"""Chest MRI of the phantom: its signal model, its truths, and what analysis recovers of them."""

import dataclasses

import numpy as np
import pytest
from scipy import interpolate
from unit.phantom_case import ROW

from lungitude.phantom import mri, record, render

SECTION = {"voxel_mm": [5.0, 5.0, 5.0], "vessel_terminals": 300}
VOXEL = (5.0, 4.0, 5.0)


@pytest.fixture(scope="module")
def solved():
    return render.render(render.prepare(ROW, SECTION))


@pytest.fixture(scope="module")
def case(solved):
    return solved["insp"].record


@pytest.fixture(scope="module")
def images(case):
    return mri.render(case, mri.SEQUENCES, VOXEL)


def test_voxels_are_those_of_the_chest(case, images):
    vibe = images["vibe"]
    assert vibe.t1.shape == vibe.image.shape == vibe.lobes.shape == vibe.grid.shape
    assert vibe.grid.spacing_mm == VOXEL
    assert {name: image.modality for name, image in images.items()} == dict.fromkeys(
        mri.SEQUENCES, "MR"
    )
    volume = (vibe.lobes > 0).sum() * np.prod(vibe.grid.spacing_mm) / 1e6
    assert volume == pytest.approx(5.5, rel=0.02)
    assert set(np.unique(vibe.lobes)) == set(range(7))
    dce = images["dce"]
    assert dce.t1.shape == dce.image.shape == (mri.DYNAMICS, *dce.grid.shape)
    assert np.allclose(np.diff(dce.times_s), mri.INTERVAL_S)


def test_lung_signal_is_density_of_the_ct(case):
    """With slices thin enough to be drawn as one, CT and MRI have the same voxels."""
    voxel = (6.0, 1.6, 6.0)
    vibe = mri.render(case, ("vibe",), voxel)["vibe"]
    ct = render.render(case, ("insp",), voxel)["insp"].t1
    assert vibe.t1.shape == ct.shape
    pure = vibe.truth["parenchyma"] > 0.999
    assert pure.sum() > 10_000
    density = ct[pure] / 1000.0 + 1.0
    np.testing.assert_allclose(vibe.t1[pure], 800.0 * density, atol=1.0)
    # In muscle: from 0.08 to 0.15 of muscle at the densities of inspired lung.
    assert 80.0 < np.percentile(vibe.t1[pure], 60) < 150.0


def test_contrast_raises_blood_threefold_and_parenchyma_by_its_flow(images):
    vibe, post = images["vibe"].t1, images["post_vibe"].t1
    truth = images["vibe"].truth
    blood = (truth["vessels"] > 0.99) & (truth["parenchyma"] < 0.005)
    assert blood.sum() > 10
    np.testing.assert_allclose(vibe[blood], mri.BLOOD, rtol=0.02)
    np.testing.assert_allclose(post[blood] / vibe[blood], 3.0, rtol=0.02)
    pure = (truth["parenchyma"] > 0.999) & (truth["vessels"] == 0.0)
    gain = 1.0 + mri.PARENCHYMA_GAIN * truth["pbf"][pure]
    np.testing.assert_allclose(post[pure] / vibe[pure], gain, rtol=0.01)
    assert np.percentile(vibe, 99) > mri.MUSCLE  # fat and liver are brighter than muscle
    assert np.isclose(vibe, mri.MUSCLE, atol=1.0).mean() > 0.05


def test_flow_is_lost_in_disease_and_grows_to_the_back(case, images):
    truth, grid = images["vibe"].truth, images["vibe"].grid
    inside = truth["parenchyma"] > 0.9
    healthy = inside & (truth["emphysema"] < 0.01) & (truth["trapped"] < 0.01)
    diseased = inside & (truth["emphysema"] > 0.99)
    flow = truth["pbf"]
    assert flow[diseased].max() < 0.01 * flow[healthy].mean() + 2.0
    y = np.broadcast_to(grid.axes()[1][None, :, None], flow.shape)[healthy] / case.scale_xy
    slope, level = np.polyfit(y, flow[healthy], 1)
    assert slope / level == pytest.approx(mri.GRAVITY, rel=0.25)
    np.testing.assert_allclose(truth["pbv"], flow * truth["mtt"] / 60.0, rtol=1e-5)


def test_trapped_air_shows_as_much_as_pi_says(case):
    flows = [
        mri.render(case, ("vibe",), (8.0, 6.0, 8.0), pi=pi)["vibe"].truth for pi in (0.0, 0.5, 1.0)
    ]
    trapped = flows[0]["trapped"]
    held = (flows[0]["pbf"] > 0) & (trapped > 0.2)
    for pi, truth in zip((0.5, 1.0), flows[1:], strict=True):
        ratio = truth["pbf"][held] / flows[0]["pbf"][held]
        np.testing.assert_allclose(ratio, 1.0 - mri.FSAD_LOSS * pi * trapped[held], rtol=1e-4)


def test_more_emphysema_means_less_flow_in_every_voxel(case, images):
    more = dataclasses.replace(case, emphysema_spheres=3 * case.emphysema_spheres)
    other = mri.render(more, ("pbf",), VOXEL)["pbf"]
    before, after = images["pbf"].truth["pbf"], other.truth["pbf"]
    assert (after <= before + 1e-4).all()
    inside = images["pbf"].lobes > 0
    assert after[inside].mean() < 0.95 * before[inside].mean()
    assert other.t1[inside].mean() < images["pbf"].t1[inside].mean()


def test_shallower_inspiration_is_a_smaller_and_brighter_lung(case):
    shallow = dataclasses.replace(case, inflation=render.emptied(case, 0.85))
    full, less = (mri.render(each, ("vibe",), (8.0, 6.0, 8.0))["vibe"] for each in (case, shallow))
    volumes = [(image.lobes > 0).sum() for image in (less, full)]
    assert volumes[0] / volumes[1] == pytest.approx(0.85, abs=0.02)
    signals = [np.median(image.t1[image.truth["parenchyma"] > 0.99]) for image in (full, less)]
    assert signals[0] / signals[1] == pytest.approx(0.85, abs=0.04)


def test_scanner_of_the_ct_leaves_no_trace(case):
    drifted = dataclasses.replace(case, air_offset_hu=5.0, kernel_sigma_mm=0.5, noise_hu=40.0)
    images = (mri.render(each, ("vibe",), (8.0, 6.0, 8.0))["vibe"] for each in (case, drifted))
    assert len({image.image.tobytes() for image in images}) == 1


def test_prm_is_that_of_the_ct(solved, images):
    found = render.truth(solved)
    classes = mri.prm_classes(solved["insp"], solved["exp"])
    for code, name in ((1, "normal_pct"), (2, "fsad_pct"), (3, "emphysema_pct"), (4, "other_pct")):
        share = 100.0 * (classes[classes > 0] == code).mean()
        assert share == pytest.approx(found[name], abs=1e-9)
    # On the grid of the MRI, emphysema is where its lesions are.
    classes = images["vibe"].truth["prm"]
    assert ((classes > 0) == (images["vibe"].lobes > 0)).all()
    cover = images["vibe"].truth["emphysema"]
    assert cover[classes == 3].mean() > 0.6 > 0.2 > cover[classes == 1].mean()


def test_noise_is_rician(images):
    rng = np.random.default_rng(0)
    floor = mri.rician(np.zeros((50, 60, 70), np.float32), 40.0, rng).astype(float)
    assert floor.mean() == pytest.approx(40.0 * np.sqrt(np.pi / 2.0), rel=0.01)
    assert floor.std() == pytest.approx(40.0 * np.sqrt(2.0 - np.pi / 2.0), rel=0.01)
    strong = mri.rician(np.full((50, 60, 70), 800.0, np.float32), 40.0, rng).astype(float)
    assert strong.mean() == pytest.approx(800.0 + 40.0**2 / 1600.0, abs=0.5)
    assert strong.std() == pytest.approx(40.0, rel=0.01)
    vibe = images["vibe"]
    air = vibe.t1 == 0.0
    assert air.mean() > 0.05
    expected = vibe.noise_sd * np.sqrt(np.pi / 2.0)
    assert vibe.image[air].mean() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("snr", [5.0, 10.0])
def test_signal_to_noise_of_perfusion(case, snr):
    pbf = mri.render(case, ("pbf",), (8.0, 6.0, 8.0), snr=snr)["pbf"]
    inside = pbf.lobes > 0
    assert pbf.t1[inside].mean() / pbf.noise_sd == pytest.approx(snr, rel=1e-3)
    residual = (pbf.image - pbf.t1)[inside & (pbf.t1 > 6.0 * pbf.noise_sd)]
    assert residual.std() == pytest.approx(pbf.noise_sd, rel=0.1)


def test_coil_is_a_smooth_second_order_field(case, images):
    vibe = images["vibe"]
    field = mri.coil(case, vibe.grid)
    assert np.abs(field - 1.0).max() == pytest.approx(mri.COIL, rel=1e-5)
    for axis in range(3):
        assert np.abs(np.diff(field, 3, axis=axis)).max() < 1e-4
    bright = vibe.t1 > 900.0
    np.testing.assert_allclose((vibe.image / (vibe.t1 + 1e-6) / field)[bright].mean(), 1, rtol=0.01)


@pytest.mark.parametrize(("mtt", "delay"), [(4.0, 0.2), (6.0, 2.0)])
def test_tissue_curve_is_the_convolution_it_stands_for(mtt, delay):
    step = 0.005
    t = np.arange(0.0, 90.0, step)
    by_sum = step * np.convolve(mri.gamma_variate(t), np.exp(-t / mtt))[: t.size]
    late = np.interp(t - delay, t, by_sum, left=0.0)
    np.testing.assert_allclose(mri.tissue_curve(t, mtt, delay), late, atol=0.02)
    assert mri.gamma_variate(t).max() == pytest.approx(1.0, abs=1e-4)
    # Central volume theorem: area under tissue is transit time times area under the input.
    area = mri.tissue_curve(t, mtt, delay).sum() / mri.gamma_variate(t).sum()
    assert area == pytest.approx(mtt, rel=1e-3)


def _input_matrix(curve, step):
    """Convolution with a curve, sampled values weighted 1 4 1 (Ostergaard et al. 1996, eq. 9)."""
    n = curve.size
    padded = np.concatenate([[0.0], curve, [0.0]])
    smooth = step * (padded[:-2] + 4.0 * padded[1:-1] + padded[2:]) / 6.0
    lag = np.arange(n)[:, None] - np.arange(n)[None, :]
    return np.where(lag >= 0, smooth[np.maximum(lag, 0)], 0.0)


def test_deconvolution_finds_the_flow(images):
    """Truncated SVD of the noiseless series: PBF within 20 % a voxel, 15 % on average.

    The method itself, not the image, costs that: it smears what is shorter than a sampling step.
    """
    dce = images["dce"]
    inside = (dce.truth["parenchyma"] > 0.97) & (dce.truth["pbf"] > 20.0)
    inside &= dce.truth["vessels"] == 0.0
    assert inside.sum() > 3000
    curves = (dce.t1[:, inside] - dce.t1[0, inside]) / mri.BLOOD_ENHANCEMENT
    blood = mri.gamma_variate(dce.times_s)
    fine = np.arange(0.0, dce.times_s[-1] + 1e-9, mri.INTERVAL_S / 2.0)
    matrix = _input_matrix(interpolate.CubicSpline(dce.times_s, blood)(fine), fine[1])
    left, values, right = np.linalg.svd(matrix)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=values > 0.01 * values[0])
    solve = right.T @ (inverse[:, None] * left.T)
    residue = solve @ interpolate.CubicSpline(dce.times_s, curves)(fine)
    flow = dce.truth["pbf"][inside] * dce.truth["parenchyma"][inside]
    found = 6000.0 * residue.max(axis=0)
    assert np.abs(found / flow - 1.0).max() < 0.20
    assert np.mean(found / flow) == pytest.approx(1.0, abs=0.15)
    assert np.corrcoef(found, flow)[0, 1] > 0.97
    volume = 100.0 * curves.sum(axis=0) / blood.sum()
    expected = (dce.truth["pbv"] * dce.truth["parenchyma"])[inside]
    np.testing.assert_allclose(volume, expected, rtol=0.08)


def test_dynamics_fill_the_lungs_before_the_aorta(images):
    dce = images["dce"]
    assert (dce.t1[0] == dce.t1[1]).all()  # before the contrast
    vessels = dce.truth["vessels"] > 0.95
    curve = dce.t1[:, vessels].mean(axis=1)
    blood = mri.gamma_variate(dce.times_s)
    assert np.corrcoef(curve, blood)[0, 1] > 0.999
    x, y, z = dce.grid.axes()
    column = [int(np.argmin(np.abs(p - at))) for p, at in ((z, -90.0), (y, 50.0), (x, 25.0))]
    aorta = dce.t1[(slice(None), *column)]
    assert aorta.max() > 1.5 * aorta[0]
    assert dce.times_s[aorta.argmax()] > dce.times_s[curve.argmax()] + 1.0


def test_same_record_same_bytes_and_visits_differ_in_noise_alone(case):
    names, coarse = ("vibe", "pbf"), (8.0, 6.0, 8.0)
    visits = case, case, dataclasses.replace(case, avisit="Week 6")
    first, again, later = (mri.render(visit, names, coarse) for visit in visits)
    for name in names:
        assert again[name].t1.tobytes() == first[name].t1.tobytes() == later[name].t1.tobytes()
        assert again[name].image.tobytes() == first[name].image.tobytes()
        assert (later[name].image != first[name].image).mean() > 0.5


def test_thick_slices_are_means_of_thin_ones(case):
    thick = mri.render(case, ("vibe",), (8.0, 4.8, 8.0))["vibe"]
    thin = mri.render(case, ("vibe",), (8.0, 1.6, 8.0))["vibe"]
    number = thick.grid.shape[1]
    means = thin.t1[:, : 3 * number].reshape(thin.t1.shape[0], number, 3, -1).mean(axis=2)
    np.testing.assert_allclose(thick.t1, means, atol=1e-2)
    assert thick.grid.origin_mm[1] == pytest.approx(thin.grid.origin_mm[1] + 1.6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sequences": ("flair",)}, "'flair'.*vibe"),
        ({"pi": 1.5}, "pi is 1.5"),
        ({"snr": 0.0}, "snr is 0.0"),
    ],
)
def test_bad_settings_are_named(case, more, message):
    with pytest.raises(ValueError, match=message):
        mri.render(case, **more)


def test_record_without_lesion_counts_is_solved_first():
    row = {**ROW, "EMPH_PCT": 3.0, "FSAD_PCT": 10.0}
    case = render.prepare(row, SECTION)
    assert case.emphysema_spheres is None
    vibe = mri.render(case, ("vibe",), (8.0, 6.0, 8.0))["vibe"]
    assert vibe.record.emphysema_spheres > 0
    assert record.to_json(vibe.record)
