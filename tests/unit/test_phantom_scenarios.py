"""Scenarios change what they say and leave the rest of a patient alone."""

import dataclasses

import numpy as np
import pytest

from lungitude.phantom import protocols, render, scenarios, truth

SECTION = {"voxel_mm": [4.0, 4.0, 4.0], "vessel_terminals": 300, "noise_hu": 15.0}
ROW = {
    "USUBJID": "S001",
    "AVISIT": "Baseline",
    "LUNGVOL_L": 5.5,
    "EMPH_PCT": 10.0,
    "FSAD_PCT": 25.0,
    "EXPRATIO": 0.65,
    "LUNG_HU": -865.0,
    "PI10": 4.1,
    "WA": 62.0,
    "BV5": 39.0,
    "FRACDIM": 1.28,
    "EF": 54.5,
    "SV": 70.0,
    "LVM": 155.0,
    "CACS": 0.0,
}


@pytest.fixture(scope="module")
def baseline():
    return render.count_lesions(render.prepare(ROW, SECTION))


@pytest.fixture(scope="module")
def scans(baseline):
    return render.render(baseline)


def _differing(a, b):
    return {
        field.name
        for field in dataclasses.fields(a)
        if getattr(a, field.name) != getattr(b, field.name)
    }


def test_no_effect_changes_the_name_and_the_noise(baseline, scans):
    for treated in (True, False):
        later = scenarios.visit(baseline, "null", treated, 12)
        assert _differing(baseline, later) == {"avisit"}
        assert later.avisit == "Week 12"
    again = render.render(later, ("insp",))["insp"]
    assert again.t1.tobytes() == scans["insp"].t1.tobytes()
    assert not np.array_equal(render.deliver(again), render.deliver(scans["insp"]))


def test_published_effects_come_in_the_treated_arm_and_have_their_sizes(baseline):
    assert _differing(baseline, scenarios.visit(baseline, "published", False, 12)) == {"avisit"}
    six, twelve = (scenarios.visit(baseline, "published", True, weeks) for weeks in (6, 12))
    assert six.emphysema_pct == pytest.approx(10.0 - 1.3)
    assert twelve.emphysema_pct == pytest.approx(10.0 - 3.0)
    assert twelve.emphysema_spheres < six.emphysema_spheres < baseline.emphysema_spheres
    wanted = {"bv5_pct": 42.1, "fractal_dimension": 1.33, "ef_pct": 58.0, "sv_ml": 75.0}
    wanted |= {"lvm_g": 148.0, "pi10_mm": 3.97, "wa_pct": 59.8, "agatston": 0.0}
    assert twelve.quantities == pytest.approx(wanted)
    found = truth.geometric(twelve, step_mm=4.0)
    assert found["ef_pct"] == pytest.approx(58.0)
    assert found["lvm_g"] == pytest.approx(148.0)
    assert found["pi10_mm"] == pytest.approx(3.97, abs=0.02)
    assert twelve.lung_volume_l == baseline.lung_volume_l


def test_published_effects_start_from_the_anatomy_where_nothing_was_asked_for():
    plain = {key: value for key, value in ROW.items() if key in ("USUBJID", "AVISIT")}
    plain |= {key: ROW[key] for key in ("LUNGVOL_L", "EMPH_PCT", "FSAD_PCT", "EXPRATIO", "LUNG_HU")}
    record = render.count_lesions(render.prepare(plain, SECTION))
    before = truth.geometric(record, step_mm=4.0)
    after = truth.geometric(scenarios.visit(record, "published", True, 12, grade=3), step_mm=4.0)
    assert after["ef_pct"] - before["ef_pct"] == pytest.approx(3.0, abs=0.05)
    assert after["bv5_pct"] - before["bv5_pct"] == pytest.approx(2.8, abs=0.3)


def test_shallow_inspiration_shows_in_raw_density_and_not_in_the_adjusted(baseline, scans):
    """A tissue change and 8 % less inflation: volume adjustment tells them apart."""
    shallow = scenarios.visit(baseline, "inflation", True, 12)
    assert scenarios.visit(baseline, "inflation", False, 12).inflation is None
    before = truth.density(scans["insp"])
    later = render.render(shallow)
    after = truth.density(later["insp"])
    assert after["volume_ml"] / before["volume_ml"] == pytest.approx(0.92, abs=0.005)
    raw = after["pd15_g_l"] - before["pd15_g_l"]
    adjusted = after["pd15_g_l"] * after["volume_ml"] / before["volume_ml"] - before["pd15_g_l"]
    assert raw > 4.0
    assert abs(adjusted) < 1.0
    assert after["laa950_pct"] < before["laa950_pct"] - 0.4
    # Parenchyma's mass is kept; vessels get shorter, and the blurred pleura's share changes.
    assert after["mass_g"] / before["mass_g"] == pytest.approx(0.97, abs=0.03)
    # Expiration starts from the same level as before.
    assert later["exp"].t1.tobytes() == render.render(baseline, ("exp",))["exp"].t1.tobytes()

    tissue = scenarios.visit(baseline, "published", True, 12)
    changed = truth.density(render.render(tissue, ("insp",))["insp"])
    adjusted = changed["pd15_g_l"] * changed["volume_ml"] / before["volume_ml"]
    assert adjusted - before["pd15_g_l"] > 1.5
    assert changed["volume_ml"] == before["volume_ml"]


def test_points_of_a_shallow_inspiration_are_followed(baseline):
    shallow = scenarios.visit(baseline, "inflation", True, 12)
    points = np.random.default_rng(0).uniform((-100, -60, -80), (100, 60, 80), (200, 3))
    there = truth.map_points(baseline, "insp", shallow, "insp", points)
    assert np.linalg.norm(there - points, axis=1).max() > 8.0
    back = truth.map_points(shallow, "insp", baseline, "insp", there)
    assert back == pytest.approx(points, abs=0.01)
    larger = dataclasses.replace(baseline, scale_z=baseline.scale_z * 1.05)
    grown = truth.map_points(baseline, "insp", larger, "insp", points)
    assert grown == pytest.approx(points * (1.0, 1.0, 1.05))
    on = truth.map_points(shallow, "insp", shallow, "exp", there)
    assert on == pytest.approx(
        truth.map_points(baseline, "insp", baseline, "exp", points), abs=0.02
    )
    forks, _ = render.landmarks(shallow)
    before, _ = render.landmarks(baseline)
    assert forks == pytest.approx(
        truth.map_points(baseline, "insp", shallow, "insp", before), abs=0.01
    )


def test_a_kernel_changes_in_one_arm_from_a_visit_on(baseline):
    assert _differing(baseline, scenarios.visit(baseline, "kernel", False, 6)) == {"avisit"}
    seen = scenarios.visit(baseline, "kernel", True, 6)
    assert seen.kernel == protocols.KERNELS["sharp"].name != baseline.kernel
    assert seen.noise_hu > baseline.noise_hu
    assert seen.emphysema_spheres == baseline.emphysema_spheres


def test_a_scanner_changes_for_all(baseline):
    for treated in (True, False):
        seen = scenarios.visit(baseline, "scanner", treated, 6)
        assert seen.voxel_mm == (5.0, 5.0, 5.0)
        assert (seen.air_offset_hu, seen.blood_offset_hu) == (5.0, -3.0)
        assert seen.emphysema_spheres == baseline.emphysema_spheres
    assert _differing(baseline, scenarios.visit(baseline, "scanner", True, 0)) == set()


def test_wide_patients_depart_for_good(baseline):
    start, end = (scenarios.visit(baseline, "wide", False, weeks) for weeks in (0, 12))
    assert _differing(start, end) == {"avisit"}
    assert start.lung_volume_l != baseline.lung_volume_l
    assert start.quantities["ef_pct"] != baseline.quantities["ef_pct"]
    treated = scenarios.visit(baseline, "wide", True, 12)
    assert treated.quantities["ef_pct"] - end.quantities["ef_pct"] == pytest.approx(3.5)
    found = render.render(start, ("insp",))["insp"]
    volume = truth.density(found)["volume_ml"]
    assert volume / (1000.0 * start.lung_volume_l) == pytest.approx(1.0, abs=0.015)


def test_what_cannot_be_is_refused(baseline):
    with pytest.raises(ValueError, match="scenario 'miracle': known are published"):
        scenarios.visit(baseline, "miracle", True, 6)
    with pytest.raises(ValueError, match="S001 Baseline: GOLD grade 0"):
        scenarios.visit(baseline, "published", True, 6, grade=0)
    with pytest.raises(ValueError, match="weeks after baseline"):
        scenarios.visit(baseline, "null", True, -1)
    shallow = scenarios.visit(baseline, "inflation", True, 6)
    with pytest.raises(ValueError, match="full inspiration"):
        scenarios.visit(shallow, "null", True, 12)
