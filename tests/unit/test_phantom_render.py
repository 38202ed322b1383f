"""The image phantom: its truths hold in its images, and equal seeds give equal images."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage
from unit.phantom_case import ROW

from lungitude.phantom import anatomy, breathing, record, render

SECTION = {"voxel_mm": [4.0, 4.0, 4.0], "vessel_terminals": 300}


@pytest.fixture(scope="module")
def scans():
    return render.render(render.prepare(ROW, SECTION))


def _render(**changes):
    return render.render(render.prepare({**ROW, **changes}, SECTION))


def test_same_record_gives_same_bytes(scans):
    again = _render()
    for phase in ("insp", "exp"):
        assert again[phase].t1.tobytes() == scans[phase].t1.tobytes()
        assert render.deliver(again[phase]).tobytes() == render.deliver(scans[phase]).tobytes()
    other = _render(USUBJID="S002")
    assert other["insp"].grid.shape != scans["insp"].grid.shape or (
        other["insp"].t1.tobytes() != scans["insp"].t1.tobytes()
    )


def test_truth_reaches_the_targets(scans):
    found = render.truth(scans)
    assert abs(found["laa950_pct"] - 12.0) < 0.3
    assert abs(found["fsad_pct"] - 28.0) < 1.0
    assert abs(found["emphysema_pct"] - 12.0) < 0.5
    assert abs(found["volume_insp_ml"] / 5500.0 - 1.0) < 0.015
    assert abs(found["expiration_ratio"] / 0.65 - 1.0) < 0.03
    parts = ("normal_pct", "fsad_pct", "emphysema_pct", "other_pct")
    assert sum(found[part] for part in parts) == pytest.approx(100.0)


@pytest.mark.parametrize("ratio", [0.45, 0.85])
def test_volume_ratio_at_the_ends_of_its_range(ratio):
    found = render.truth(_render(EXPRATIO=ratio, FSAD_PCT=35.0))
    assert abs(found["expiration_ratio"] / ratio - 1.0) < 0.03


def test_less_emphysema_is_part_of_more(scans):
    """Other visits change lesions only: the images nest voxel for voxel."""
    before, after = scans["insp"], _render(AVISIT="Week 12", EMPH_PCT=9.0)["insp"]
    assert after.record.emphysema_spheres < before.record.emphysema_spheres
    assert np.array_equal(after.lobes, before.lobes)
    assert (after.covers["emphysema"] <= before.covers["emphysema"]).all()
    low_after, low_before = (scan.t1[scan.lobes > 0] < -950 for scan in (after, before))
    assert not (low_after & ~low_before).any()
    assert abs(100 * (low_before.mean() - low_after.mean()) - 3.0) < 0.4
    untouched = before.covers["emphysema"] == 0
    assert np.array_equal(after.t1[untouched], before.t1[untouched])


def test_no_emphysema_makes_hardly_any_low_attenuation():
    scan = _render(EMPH_PCT=0.0, FSAD_PCT=10.0)["insp"]
    assert scan.record.emphysema_spheres == 0
    assert (scan.t1[scan.lobes > 0] < -950).mean() < 0.002


def test_normal_lung_has_the_density_asked_for(scans):
    scan = scans["insp"]
    healthy = ndimage.binary_erosion(scan.lobes > 0, iterations=2)
    for name in ("emphysema", "lumen", "vessels"):
        healthy &= scan.covers[name] < 1e-3
    healthy &= scan.t1 < -750  # no airway walls
    assert abs(scan.t1[healthy].mean() + 865.0) < 4.0
    assert 14.0 < scan.t1[healthy].std() < 26.0


def test_expiration_keeps_the_mass_of_normal_lung(scans):
    """exp(x) + 1000 = (insp(x + u) + 1000) J where nothing is diseased, trapped or an edge."""
    insp, exp = scans["insp"], scans["exp"]
    inside = (exp.lobes > 0) & (np.abs(exp.t1 + 800) < 90)
    for cover in exp.covers.values():
        inside &= cover < 1e-3
    index = np.argwhere(inside)[:, ::-1]
    points = np.array(exp.grid.origin_mm) + index * np.array(exp.grid.spacing_mm)
    moved = breathing.map_points(exp.record.breath, points, "exp_to_insp")
    jacobian = breathing.jacobian(exp.record.breath, *points.T)
    place = np.rint((moved - np.array(insp.grid.origin_mm)) / np.array(insp.grid.spacing_mm))
    at = tuple(place.astype(int)[:, ::-1].T)
    clean = np.ones(len(at[0]), bool)
    for cover in insp.covers.values():
        clean &= cover[at] < 1e-3
    clean &= np.abs(insp.t1[at] + 865) < 90
    mass_exp = (exp.t1[inside] + 1000)[clean]
    mass_insp = ((insp.t1[at] + 1000) * jacobian)[clean]
    assert clean.sum() > 500
    assert abs(mass_exp.mean() / mass_insp.mean() - 1.0) < 0.02


def test_field_and_its_inverse_are_one_map(scans):
    breath = scans["insp"].record.breath
    rng = np.random.default_rng(1)
    points = rng.uniform((-160, -110, -160), (160, 110, 150), (5000, 3))
    there = breathing.map_points(breath, points, "insp_to_exp")
    back = breathing.map_points(breath, there, "exp_to_insp")
    assert np.abs(back - points).max() < 0.01
    with pytest.raises(ValueError, match="direction"):
        breathing.map_points(breath, points, "sideways")


def test_jacobian_is_the_derivative_of_the_field(scans):
    breath = scans["exp"].record.breath
    point, h = np.array([-70.0, 20.0, 10.0]), 1e-3
    columns = [
        (
            breathing.map_points(breath, point + h * e, "exp_to_insp")
            - breathing.map_points(breath, point - h * e, "exp_to_insp")
        )[0]
        / (2 * h)
        for e in np.eye(3)
    ]
    assert breathing.jacobian(breath, *point) == pytest.approx(
        np.linalg.det(np.array(columns)), rel=1e-5
    )


def test_landmarks_are_vessels_in_both_scans(scans):
    rec = scans["insp"].record
    ends = dict(zip(("insp", "exp"), render.landmarks(rec, 1.8), strict=True))
    assert len(ends["insp"]) >= 30
    assert ends["insp"].shape == ends["exp"].shape
    assert np.linalg.norm(ends["insp"] - ends["exp"], axis=1).max() > 15.0
    for phase, points in ends.items():
        grid = scans[phase].grid
        at = np.rint((points - np.array(grid.origin_mm)) / np.array(grid.spacing_mm)).astype(int)
        assert np.median(scans[phase].covers["vessels"][tuple(at[:, ::-1].T)]) > 0.3


def test_lobes_lie_where_they_should(scans):
    scan = scans["insp"]
    x, y, z = scan.grid.axes()
    volume = np.bincount(scan.lobes.ravel(), minlength=7)[1:]
    assert set(np.unique(scan.lobes)) == set(range(7))
    assert len(anatomy.LOBES) == 6
    assert (volume / volume.sum() > 0.02).all()
    middle = {
        code: [
            axis[i].mean()
            for axis, i in zip((z, y, x), np.nonzero(scan.lobes == code), strict=True)
        ]
        for code in anatomy.LOBES
    }
    assert all(middle[code][2] < 0 for code in (1, 2, 3))  # the patient's right has negative x
    assert all(middle[code][2] > 0 for code in (4, 5, 6))
    assert middle[1][0] > middle[2][0]
    assert middle[3][1] > middle[2][1]
    assert middle[5][1] > 0


def test_trachea_is_air_outside_the_lungs_and_blood_fills_the_aorta(scans):
    scan = scans["insp"]
    scale = scan.record.scale

    def at(x, y, z):
        point = (np.array([x, y, z]) * scale - scan.grid.origin_mm) / scan.grid.spacing_mm
        return tuple(np.rint(point).astype(int)[::-1])

    assert scan.t1[at(0.3, 12.0, 100.0)] < -900
    assert scan.lobes[at(0.3, 12.0, 100.0)] == 0
    assert abs(scan.t1[at(25.0, 49.0, -40.0)] - 45.0) < 10.0
    assert scan.t1[0, 0, 0] == -1000.0


def test_delivered_noise_has_its_size(scans):
    hu = render.deliver(scans["insp"])
    assert hu.dtype == np.int16
    added = hu - scans["insp"].t1
    assert abs(added.std() - 20.0) < 0.5
    assert abs(added.mean()) < 0.2
    assert not np.array_equal(
        render.noise(scans["insp"].record, "insp", (2, 40, 40)),
        render.noise(scans["insp"].record, "exp", (2, 40, 40)),
    )


def test_record_survives_json_and_draws_the_same_anatomy_on_another_grid(scans):
    rec = scans["exp"].record
    assert record.from_json(record.to_json(rec)) == rec
    again = render.render(rec, phases=("exp",))["exp"]
    assert again.t1.tobytes() == scans["exp"].t1.tobytes()
    fine = render.render(dataclasses.replace(rec), phases=("insp",), voxel_mm=(4.0, 4.0, 2.0))
    assert fine["insp"].record.emphysema_spheres == rec.emphysema_spheres
    assert fine["insp"].grid.spacing_mm == (4.0, 4.0, 2.0)


def test_streams_are_keyed_by_structure_not_by_order():
    one = record.stream(1, "S001", "emphysema").uniform(size=3)
    record.stream(1, "S001", "new organ").uniform(size=100)
    assert np.array_equal(record.stream(1, "S001", "emphysema").uniform(size=3), one)
    assert not np.array_equal(record.stream(1, "S002", "emphysema").uniform(size=3), one)
    assert not np.array_equal(record.stream(2, "S001", "emphysema").uniform(size=3), one)


def test_bad_rows_and_settings_are_named():
    with pytest.raises(ValueError, match=r"S001 Baseline: LUNGVOL_L .* 'lots'"):
        record.draw({**ROW, "LUNGVOL_L": "lots"}, SECTION)
    with pytest.raises(ValueError, match="EXPRATIO"):
        record.draw({**ROW, "EXPRATIO": 1.4}, SECTION)
    with pytest.raises(ValueError, match="unknown settings colour"):
        record.draw(ROW, {**SECTION, "colour": 1})
    with pytest.raises(ValueError, match="FSAD_PCT 70 does not fit"):
        _render(EMPH_PCT=40.0, FSAD_PCT=70.0)
    with pytest.raises(ValueError, match="phase 'systole'"):
        render.render(render.prepare(ROW, SECTION), phases=("systole",))
