"""Cardiac MRI of the phantom: volumes, flow and poses are those of its record."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.phantom_case import ROW as CHEST

from lungitude.phantom import cardiac, cmr, heart, mri, render
from lungitude.phantom.record import draw

ROW = {**CHEST, "USUBJID": "S002", "EF": 55.0, "SV": 70.0, "LVM": 150.0, "CACS": 0.0}
STENOSIS = {"vessel": 1, "position": 0.2, "severity": 0.8}  # of the left anterior descending


def _solve(**changes):
    return heart.solve(render.solve(draw({**ROW, **changes}, {})))


@pytest.fixture(scope="module")
def case():
    record = _solve()
    return dataclasses.replace(record, heart={**record.heart, "stenoses": [STENOSIS]})


@pytest.fixture(scope="module")
def cine(case):
    return cmr.cine(case, voxel_mm=2.0, phases=10)


@pytest.fixture(scope="module")
def first_pass(case):
    return cmr.perfusion(case)


def test_cine_holds_the_volumes_of_the_record(case, cine):
    truth, ml = heart.truth(case), np.prod(cine.grid.spacing_mm) / 1000.0
    volumes = ml * cine.truth["lv_blood"].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(volumes, truth["lv_ml"][::2], rtol=0.005)
    mass = 1.05 * ml * cine.truth["lv_myocardium"].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(mass, 150.0, rtol=0.005)
    # Labels know the middle of a slice: half a slice at the base may be wrong.
    labelled = ml * (cine.labels == 1).sum(axis=(1, 2, 3))
    area = np.pi * heart.geometry(case.heart, 0.0)["endo_a"] ** 2
    assert np.abs(labelled - truth["lv_ml"][::2]).max() < area * 4.0 / 1000.0
    assert labelled[0] == pytest.approx(truth["edv_ml"], rel=0.02)


def test_labels_of_thin_slices_are_within_two_percent(case):
    thin = cmr.cine(case, voxel_mm=2.0, slice_mm=2.0, phases=4)
    ml = np.prod(thin.grid.spacing_mm) / 1000.0
    labelled = ml * (thin.labels == 1).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(labelled, heart.truth(case)["lv_ml"][::5], rtol=0.02)
    mass = 1.05 * ml * (thin.labels == 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(mass, 150.0, rtol=0.02)


def test_cine_has_the_contrast_of_bssfp(case, cine):
    blood, muscle = cine.truth["lv_blood"][0] > 0.999, cine.truth["lv_myocardium"][0] > 0.999
    assert np.median(cine.t1[0][blood]) == pytest.approx(1000.0, rel=0.01)
    # Muscle is but five voxels wide, so the point spread of blood reaches it.
    assert np.median(cine.t1[0][muscle]) == pytest.approx(300.0, rel=0.03)
    assert cine.image.dtype == np.int16
    assert cine.image.shape == cine.t1.shape == cine.labels.shape
    field = mri.coil(case, cine.grid)
    noise = (cine.image[0] - cine.t1[0] * field)[blood]
    assert noise.std() == pytest.approx(1000.0 / 25.0, rel=0.05)
    lung = cine.t1[0] < 40.0
    assert lung.sum() > 500
    assert cine.image[0][lung].mean() > cine.t1[0][lung].mean() + 0.5 * cine.noise_sd
    beat = 60.0 / case.heart["rate_bpm"]
    np.testing.assert_allclose(cine.times_s, beat * cine.cycle)


def test_short_axis_shows_a_round_ventricle_with_the_right_one_on_the_left(case, cine):
    level = cine.grid.shape[0] // 2
    rows, columns = np.nonzero(cine.labels[0, level] == 1)
    right = np.nonzero(cine.labels[0, level] == 3)[1]
    assert right.mean() < columns.mean() - 5
    wide, high = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert wide / high == pytest.approx(1.0, abs=2.5 * cmr.ASPECT)
    np.testing.assert_allclose(cine.grid.direction.T @ cine.grid.direction, np.eye(3), atol=1e-12)
    assert np.linalg.det(cine.grid.direction) == pytest.approx(1.0)
    long_axis = heart.axes(case.heart)[2]
    np.testing.assert_allclose(cine.grid.direction[:, 2], long_axis, atol=1e-12)


def test_grid_is_that_of_its_image(cine):
    image = cine.grid.image(cine.labels[0])
    points = cine.grid.points()
    for index in ((0, 0, 0), (3, 20, 50), (1, 2, 3)):
        place = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(points[index], place, atol=1e-9)
    with pytest.raises(ValueError, match="does not fit the grid"):
        cine.grid.image(cine.labels)


def test_labels_are_those_of_ct_under_the_known_transform(case, cine):
    """The tissue of a voxel's centre, seen through the transform, is its label."""
    for number in (0, 4):
        phase = cine.cycle[number]
        points = cine.breath_hold.to_cta(cine.grid.points(), phase)
        whole = cine.truth["lv_blood"][number] == 1.0, cine.truth["lv_myocardium"][number] == 1.0
        for code, voxels in enumerate(whole, 1):
            for point in points[voxels][::97]:
                found = cardiac.labels_at(case, phase, point, np.eye(3), (1, 1, 1))
                assert found.item() == code


def test_breath_hold_moves_the_heart_and_keeps_its_volume(case):
    held, other = (cmr.breath_hold(case, series) for series in ("cine", "perfusion"))
    for each in (held, other):
        assert 3.0 <= np.linalg.norm(each.shift_mm) <= 6.0
        assert np.linalg.det(each.matrix) == pytest.approx(1.0)
        assert 0.0 < np.abs(each.matrix - np.eye(3)).max() <= 1.1 * cmr.ASPECT
    assert (held.shift_mm != other.shift_mm).any()
    later = cmr.breath_hold(dataclasses.replace(case, avisit="Week 6"), "cine")
    assert (held.shift_mm != later.shift_mm).any()


@given(
    st.tuples(*[st.floats(-60.0, 60.0)] * 3),
    st.floats(0.0, 0.95),
    st.sampled_from([None, 0.0, 0.35, 0.75]),
)
@settings(max_examples=60, deadline=None)
def test_transform_inverts(case, local, phase, cta_phase):
    held = cmr.breath_hold(case, "perfusion")
    point = heart.to_patient(case.heart, np.array([local]))
    there = held.to_cta(point, phase, cta_phase)
    np.testing.assert_allclose(held.to_cmr(there, phase, cta_phase), point, atol=1e-5)


@pytest.mark.parametrize(("phase", "other"), [(0.0, 0.35), (0.35, 0.75), (0.5, 0.0)])
def test_ventricle_follows_the_cycle_wall_to_wall(case, phase, other):
    now, then = heart.geometry(case.heart, phase), heart.geometry(case.heart, other)
    rng = np.random.default_rng(0)
    local = rng.uniform(-60.0, 60.0, (20_000, 3)) + np.array([0, 0, now["centre"]])
    moved = cmr.between_phases(case.heart, local, phase, other)

    def tissue(points, sizes):
        across, along = np.hypot(points[:, 0], points[:, 1]), points[:, 2] - sizes["centre"]
        inner, outer = (
            (across / sizes[f"{part}_a"]) ** 2 + (along / sizes[f"{part}_c"]) ** 2 < 1.0
            for part in ("endo", "epi")
        )
        return np.where(points[:, 2] > sizes["base"], 0, np.where(inner, 1, np.where(outer, 2, 0)))

    before = tissue(local, now)
    assert (before > 0).mean() > 0.05
    assert (tissue(moved, then) == before).mean() > 0.9999
    same = cmr.between_phases(case.heart, local, phase, phase)
    np.testing.assert_allclose(same, local, atol=1e-6)


def test_flow_is_low_behind_the_stenosis_and_shows_in_the_upslope(case, first_pass):
    flow, fed = first_pass.truth["mbf"], first_pass.truth["territory"]
    pure = first_pass.truth["lv_myocardium"] > 0.999
    healthy, defect = pure & (fed != 1), pure & (flow < 0.5 * case.heart["flow_ml_min_g"])
    assert defect.sum() > 100
    assert (fed[defect] == 1).all()
    np.testing.assert_allclose(flow[healthy], case.heart["flow_ml_min_g"], rtol=1e-5)
    # Erode by the point spread: deep in the wall, the upslope is in proportion to the flow.
    deep = {}
    for name, where in (("healthy", healthy), ("defect", defect)):
        core = where & np.roll(where, 2, 1) & np.roll(where, -2, 1)
        core &= np.roll(where, 2, 2) & np.roll(where, -2, 2)
        assert core.sum() > 10
        deep[name] = core
    before = 8  # frames before anything arrives in the muscle

    def upslope(images, where):
        curve = images[:, where].mean(axis=1)
        return np.diff(curve[before:]).max()

    expected = flow[deep["defect"]].mean() / flow[deep["healthy"]].mean()
    assert expected < 0.5
    clean = upslope(first_pass.t1, deep["defect"]) / upslope(first_pass.t1, deep["healthy"])
    assert clean == pytest.approx(expected, abs=0.05)
    # The signal of the coils cancels in the relative rise.
    field = mri.coil(case, first_pass.grid)
    noisy = first_pass.image / field
    found = upslope(noisy, deep["defect"]) / upslope(noisy, deep["healthy"])
    assert found == pytest.approx(expected, abs=0.2)


def test_first_pass_reaches_right_then_left_then_muscle(case, first_pass):
    labels, t1 = first_pass.labels, first_pass.t1
    arrivals, peaks = [], []
    for code in (3, 1, 2):
        curve = t1[:, labels == code].mean(axis=1)
        curve = curve - curve[0]
        arrivals.append(first_pass.times_s[np.argmax(curve > 0.2 * curve.max())])
        peaks.append(curve.max())
    assert arrivals[0] + 3.0 < arrivals[1] <= arrivals[2]
    assert peaks[0] > peaks[1] > 3.0 * peaks[2] > 0.0
    beat = 60.0 / case.heart["rate_bpm"]
    np.testing.assert_allclose(np.diff(first_pass.times_s), beat)
    assert t1.shape == first_pass.image.shape == (50, *first_pass.grid.shape)
    assert first_pass.grid.spacing_mm[:2] == (1.8, 1.8)


def test_curves_obey_their_definitions():
    t = np.arange(0.0, 60.0, 0.02)
    right, left = (cmr.blood_curve(t, side) for side in ("right", "left"))
    assert right.sum() == pytest.approx(left.sum(), rel=1e-3)
    assert left.max() == pytest.approx(1.0, abs=1e-4)
    assert cmr.fermi(0.0) == pytest.approx(1.0)
    assert cmr.fermi(30.0) < 1e-4
    # Area of a convolution is the product of the areas; it starts with its input.
    muscle = cmr.myocardium_curve(t)
    assert 0.02 * muscle.sum() == pytest.approx(
        0.02**2 * left.sum() * cmr.fermi(t).sum(), rel=0.005
    )
    assert muscle[t <= cmr.LV_ARRIVAL_S].max() < 1e-9
    by_definition = [
        np.trapezoid(left[t <= at] * cmr.fermi(at - t[t <= at]), dx=0.02) for at in (12.0, 20.0)
    ]
    np.testing.assert_allclose(
        cmr.myocardium_curve(np.array([12.0, 20.0, 59.0]))[:2], by_definition, rtol=1e-3
    )


def test_noise_of_the_first_pass(first_pass):
    inside = first_pass.truth["lv_myocardium"] > 0.5
    uptake = first_pass.truth["mbf"] * first_pass.truth["lv_myocardium"] * 1.05 / 60.0
    peak = 1000.0 * uptake[inside].mean() * cmr.myocardium_curve(first_pass.times_s).max()
    assert peak / first_pass.noise_sd == pytest.approx(10.0, rel=1e-3)


def test_same_record_same_bytes(case, first_pass):
    again = cmr.perfusion(case)
    assert again.t1.tobytes() == first_pass.t1.tobytes()
    assert again.image.tobytes() == first_pass.image.tobytes()
    later = cmr.perfusion(dataclasses.replace(case, avisit="Week 6"))
    assert (later.image != first_pass.image).mean() > 0.3


def test_no_stenosis_no_defect(case):
    whole = dataclasses.replace(case, heart={**case.heart, "stenoses": []})
    flow = cmr.perfusion(whole, dynamics=2).truth["mbf"]
    np.testing.assert_allclose(flow[flow > 0], case.heart["flow_ml_min_g"], rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"voxel_mm": 0.0}, "voxel_mm is too small"),
        ({"snr": -1.0}, "snr is too small"),
    ],
)
def test_bad_settings_are_named(case, more, message):
    for series in (cmr.cine, cmr.perfusion):
        with pytest.raises(ValueError, match=message):
            series(case, **more)


def test_record_without_heart_is_refused(case):
    with pytest.raises(ValueError, match="S002 Baseline: the record has no heart"):
        cmr.cine(dataclasses.replace(case, heart=None))
