"""Protocols change how a case is seen, and what noise does is known beforehand."""

import dataclasses

import numpy as np
import pytest

from lungitude.phantom import protocols, record, render, truth

SECTION = {"voxel_mm": [4.0, 4.0, 4.0], "vessel_terminals": 300}
ROW = {
    "USUBJID": "S001",
    "AVISIT": "Baseline",
    "LUNGVOL_L": 5.0,
    "EMPH_PCT": 10.0,
    "FSAD_PCT": 25.0,
    "EXPRATIO": 0.65,
    "LUNG_HU": -865.0,
}


@pytest.fixture(scope="module")
def case():
    return render.count_lesions(render.prepare(ROW, SECTION))


@pytest.fixture(scope="module")
def scan(case):
    return render.render(case, ("insp",))["insp"]


def _box(case, voxel_mm=2.0):
    """Part of the right lung, with chest wall and mediastinum."""
    return render.box((-130, -40, -40), (30, 60, 20), voxel_mm)


def test_a_protocol_sets_the_scanner_and_nothing_of_the_case(case):
    seen = protocols.apply(case, "sharp 1.25 mm 40 HU drift")
    assert seen.voxel_mm == seen.voxel_of("exp") == (1.25, 1.25, 1.25)
    assert (seen.kernel, seen.noise_hu, seen.noise_cutoff) == ("B70f", 40.0, 0.42)
    assert (seen.air_offset_hu, seen.blood_offset_hu) == (5.0, -3.0)
    scanner = {field.name for field in dataclasses.fields(protocols.Protocol)} - {"name"}
    scanner |= {"protocol", "kernel_sigma_mm", "noise_cutoff", "expiration_voxel_mm"}
    for field in dataclasses.fields(record.Record):
        if field.name not in scanner:
            assert getattr(seen, field.name) == getattr(case, field.name), field.name
    assert record.from_json(record.to_json(seen)) == seen


def test_presets_span_kernels_voxels_noise_drift_and_slices():
    found = protocols.PRESETS.values()
    assert {p.kernel.name for p in found} == {"B31f", "B70f"}
    assert {p.voxel_mm[0] for p in found} >= {0.7, 1.0, 1.25, 2.0}
    assert min(p.noise_hu for p in found) == 10.0
    assert max(p.noise_hu for p in found) == 40.0
    assert {p.slice_mm for p in found} == {None, 3.0}
    assert all(protocols.PRESETS[p.name] is p for p in found)


def test_bad_protocols_are_named(case):
    with pytest.raises(ValueError, match="protocol 'best': known are"):
        protocols.apply(case, "best")
    with pytest.raises(ValueError, match="kernel 'edge'"):
        protocols.make("edge")
    with pytest.raises(ValueError, match="odd: lengths must be above 0"):
        protocols.Protocol("odd", (1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="odd: lengths"):
        protocols.Protocol("odd", (1.0, 1.0))
    with pytest.raises(ValueError, match="noise of -1"):
        protocols.Protocol("odd", (1.0, 1.0, 1.0), noise_hu=-1.0)


def test_drift_is_linear_between_air_and_blood(case):
    plain = render.render_box(case, "insp", _box(case))
    seen = dataclasses.replace(case, air_offset_hu=5.0, blood_offset_hu=-3.0)
    drifted = render.render_box(seen, "insp", _box(case))
    added = drifted.t1 - plain.t1
    assert added == pytest.approx(5.0 - 8.0 * (plain.t1 + 1000.0) / 1045.0, abs=1e-3)
    assert np.array_equal(drifted.lobes, plain.lobes)


def test_contrast_brightens_blood_alone(case):
    plain = render.render_box(case, "insp", _box(case))
    bright = render.render_box(dataclasses.replace(case, contrast=True), "insp", _box(case))
    added = bright.t1 - plain.t1
    blood = plain.covers["vessels"] > 0.99
    assert blood.sum() > 20
    assert np.median(added[blood]) == pytest.approx(250.0, abs=1.0)
    muscle = (plain.lobes == 0) & (np.abs(plain.t1 - 45.0) < 1.0) & (added < 1.0)
    assert muscle.sum() > 1000
    assert added.min() > -0.01


def test_a_sharp_kernel_blurs_less(case):
    grid = _box(case, 1.0)
    edges = {}
    for name in protocols.KERNELS:
        seen = protocols.apply(case, protocols.make(name, 1.0))
        t1 = render.render_box(seen, "insp", grid).t1
        edges[name] = np.abs(np.diff(t1, axis=2)).max(axis=2).mean()
    assert edges["sharp"] > 1.2 * edges["soft"]


def test_a_thick_slice_is_the_mean_of_what_it_spans(case):
    thick = protocols.apply(case, protocols.make("soft", 1.0, slice_mm=3.0))
    low, high = (-100, -20, -20), (-60, 20, 10)
    scan = render.render_box(thick, "insp", render.box(low, high, (1.0, 1.0, 3.0)))
    thin = render.render_box(
        dataclasses.replace(thick, slice_mm=None), "insp", render.box(low, high, 1.0)
    )
    assert scan.grid.spacing_mm == (1.0, 1.0, 3.0)
    # The point spread of the thinner slices differs a little (1.5 mm within it, against 1 mm).
    mean = (thin.t1[2:-2:3] + thin.t1[3:-1:3] + thin.t1[4::3]) / 3.0
    inner = scan.t1[1 : 1 + len(mean)]
    assert np.abs(inner - mean).mean() < 6.0
    assert np.abs(scan.t1 - thin.t1[::3]).mean() > 2.0 * np.abs(inner - mean).mean()
    assert scan.lobes.shape == scan.t1.shape == scan.covers["vessels"].shape
    assert np.array_equal(scan.lobes, thin.lobes[::3])


def test_slices_overlap_where_they_are_thicker_than_their_step():
    grid = render.Grid((0.0, 0.0, 0.0), (0.7, 0.7, 2.0), (4, 3, 3))
    finer, every, weights = grid.slices(5.0)
    assert weights.sum() == pytest.approx(1.0)
    assert finer.spacing_mm[2] * every == pytest.approx(2.0)
    centre = finer.origin_mm[2] + (len(weights) // 2) * finer.spacing_mm[2]
    assert centre == pytest.approx(0.0)
    offsets = (np.arange(len(weights)) - len(weights) // 2) * finer.spacing_mm[2]
    # A box of 5 mm has the variance 25 / 12; steps that are cut at its ends cost a little.
    assert (weights * offsets**2).sum() == pytest.approx(25.0 / 12.0, rel=0.1)
    assert grid.slices(0.5)[2].tolist() != weights.tolist()
    assert render.Grid((0.0, 0.0, 0.0), (2.0, 2.0, 3.0), (4, 3, 3)).slices()[1] == 1


@pytest.mark.parametrize("noise_hu", [10.0, 25.0, 40.0])
def test_low_attenuation_under_noise_is_what_was_expected(case, scan, noise_hu):
    noisy = dataclasses.replace(case, noise_hu=noise_hu)
    delivered = render.deliver(dataclasses.replace(scan, record=noisy))
    mask = scan.lobes > 0
    expected = truth.density(scan, noise_hu, rounded=True)
    for threshold in (950, 910, 856):
        found = 100.0 * (delivered[mask] < -threshold).mean()
        assert found == pytest.approx(expected[f"laa{threshold}_pct"], abs=0.35)
    assert np.percentile(delivered[mask], 15) == pytest.approx(expected["perc15_hu"], abs=1.5)
    assert np.percentile(delivered[mask], 85) == pytest.approx(expected["perc85_hu"], abs=1.5)
    assert delivered[mask].mean() == pytest.approx(expected["mld_hu"], abs=0.3)


def test_closed_forms_of_noise():
    """A lung of -870 +- 20 HU under noise, and the mixture with emphysema, by their formulas."""
    rng = np.random.default_rng(0)
    tissue = rng.normal(-870.0, 20.0, 400_000)
    for noise_hu, pct in ((10.0, 0.02), (20.0, 0.23), (30.0, 1.3), (40.0, 3.7), (60.0, 10.3)):
        found = truth.laa_under_noise(tissue, None, -950, noise_hu, rounded=False)
        assert found == pytest.approx(pct, abs=0.06)
    mixed = np.where(rng.uniform(size=tissue.size) < 0.3, -985.0, tissue)
    half = truth.percentile_under_noise(mixed, None, 15.0, 15.0)  # amid emphysema
    assert half == pytest.approx(-985.0, abs=0.2)


def test_rounding_moves_the_threshold_by_half_a_unit():
    values = np.array([-950.4, -950.6, -949.0, -951.0])
    assert truth.laa_under_noise(values, None, -950, 0.0, rounded=True) == 50.0
    assert (np.rint(values) < -950).mean() == 0.5
    assert truth.laa_under_noise(values, None, -950, 0.0, rounded=False) == 75.0


def test_an_empty_mask_gives_nan():
    values = np.zeros((2, 2, 2))
    none = np.zeros((2, 2, 2), bool)
    assert np.isnan(truth.laa_under_noise(values, none, -950, 20.0))
    assert np.isnan(truth.percentile_under_noise(values, none, 15, 20.0))
