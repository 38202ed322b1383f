"""Linear registration of phantom hearts that were put elsewhere by a known rigid map."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation
from unit.phantom_case import ROW

from lungitude.phantom import cardiac, cmr, heart, render
from lungitude.phantom import record as records
from lungitude.registration.linear import register_linear
from lungitude.registration.settings import CMR, HEART
from lungitude.registration.transform import Transform

SIZES = {"LVM": 140.0, "EF": 57.0, "SV": 70.0, "CACS": 250.0}
PHASE = 0.75


@pytest.fixture(scope="module")
def case():
    names = {column: name for column, (name, *_) in records.QUANTITIES.items()}
    wanted = {names[column]: value for column, value in SIZES.items()}
    solved = render.solve(records.draw(ROW, {}))
    return heart.solve(dataclasses.replace(solved, quantities=wanted))


@pytest.fixture(scope="module")
def points(case):
    """Points of chambers and wall, LPS mm."""
    grid = cardiac.heart_grid(case, (5.0, 5.0, 5.0))
    labels = cardiac.labels(case, PHASE, grid)
    where = np.argwhere((labels > 0) & (labels < 6))[:, ::-1]
    return np.array(grid.origin_mm) + where * np.array(grid.spacing_mm)


def angiography(case, phase=PHASE):
    scan = cardiac.cta(case, phase, cardiac.heart_grid(case, (2.0, 2.0, 2.0)))
    return scan.grid.image(cardiac.deliver(scan))


def plain_scan(case):
    grid = cardiac.heart_grid(case, (1.6, 1.6, 2.5), margin_mm=20.0)
    scan = cardiac.calcium_scan(case, grid)
    return grid.image(cardiac.deliver(scan))


@pytest.fixture(scope="module")
def pair(case):
    return plain_scan(case), angiography(case)


class Pose:
    """A known rigid map about a centre: the same anatomy elsewhere in the scanner."""

    def __init__(self, seed, centre, degrees=8.0, mm=15.0):
        rng = np.random.default_rng(seed)
        turn = np.radians(rng.uniform(-degrees, degrees, 3))
        self.matrix = Rotation.from_rotvec(turn).as_matrix()
        self.centre = centre
        self.shift = centre + rng.uniform(-mm, mm, 3)

    def points(self, points):
        return (points - self.centre) @ self.matrix.T + self.shift

    def image(self, image):
        placed = sitk.Image(image)
        placed.SetOrigin(self.points(np.array(image.GetOrigin())).tolist())
        direction = self.matrix @ np.reshape(image.GetDirection(), (3, 3))
        placed.SetDirection(direction.ravel().tolist())
        return placed


def error_mm(found, points, truth):
    return np.linalg.norm(Transform(found).apply_points(points) - truth, axis=1)


@pytest.mark.parametrize(("seed", "degrees", "mm"), [(0, 8.0, 15.0), (1, 15.0, 30.0)])
def test_angiography_is_found_in_a_scan_without_contrast(pair, points, seed, degrees, mm):
    pose = Pose(seed, points.mean(axis=0), degrees, mm)
    fixed, moving = pair
    found = register_linear(fixed, pose.image(moving), **HEART)
    truth = pose.points(points)
    assert np.linalg.norm(points - truth, axis=1).mean() > 10
    error = error_mm(found, points, truth)
    assert error.mean() < 0.5
    assert error.max() < 1.0


def test_a_mask_of_the_heart_suffices(case, pair, points):
    fixed, moving = pair
    grid = cardiac.heart_grid(case, (1.6, 1.6, 2.5), margin_mm=20.0)
    hearts = grid.image((cardiac.labels(case, PHASE, grid) > 0).astype(np.uint8))
    mask = sitk.SignedMaurerDistanceMap(hearts, squaredDistance=False, useImageSpacing=True) < 20
    pose = Pose(2, points.mean(axis=0))
    found = register_linear(fixed, pose.image(moving), fixed_mask=mask, **HEART)
    assert error_mm(found, points, pose.points(points)).mean() < 0.5


def test_phases_of_a_cycle_stay_together_as_the_chest_does(case, points):
    pose = Pose(3, points.mean(axis=0), 4.0, 8.0)
    fixed, moving = angiography(case, 0.0), pose.image(angiography(case, 0.35))
    for metric in ("mattes", "correlation"):
        found = register_linear(fixed, moving, **{**HEART, "metric": metric})
        assert error_mm(found, points, pose.points(points)).mean() < 0.6


def test_magnetic_resonance_is_found_in_angiography(case, pair, points):
    cine = cmr.cine(case, voxel_mm=2.0, phases=4)
    frame = int(np.argmin(np.abs(cine.cycle - PHASE)))
    pose = Pose(4, points.mean(axis=0))
    moving = pose.image(cine.grid.image(cine.image[frame]))
    found = register_linear(pair[1], moving, **CMR)
    # The other breath-hold also flattens the heart by up to 6 %, which no rigid map follows.
    truth = pose.points(cine.breath_hold.to_cmr(points, PHASE))
    assert error_mm(found, points, truth).mean() < 2.0


def test_an_affine_map_finds_a_change_of_size(pair, points):
    moving = sitk.Image(pair[1])
    scale = np.array([1.06, 0.95, 1.03])
    moving.SetSpacing((np.array(moving.GetSpacing()) * scale).tolist())
    moving.SetOrigin((np.array(moving.GetOrigin()) * scale).tolist())
    truth = points * scale
    settings = {**HEART, "metric": "correlation", "iterations": 120}
    error = {
        kind: error_mm(
            register_linear(pair[1], moving, **{**settings, "kind": kind}), points, truth
        )
        for kind in ("rigid", "affine")
    }
    assert error["rigid"].mean() > 1.0
    assert error["affine"].mean() < 0.5


def test_an_image_on_itself_does_not_move_and_repeats_to_the_last_digit(pair, points):
    found = [register_linear(pair[0], pair[0], **HEART) for _ in range(2)]
    assert error_mm(found[0], points, points).max() < 0.05
    assert found[0].GetParameters() == found[1].GetParameters()


def test_bad_input_is_named(pair):
    fixed, moving = pair
    for more, text in (
        ({"kind": "spline"}, "kind is 'spline'"),
        ({"metric": "demons"}, "metric is 'demons'"),
        ({"fixed_mask": sitk.Cast(fixed * 0, sitk.sitkUInt8)}, "fixed mask is empty"),
        ({"moving_mask": sitk.Cast(fixed * 0 + 1, sitk.sitkUInt8)}, "moving mask"),
    ):
        with pytest.raises(ValueError, match=text):
            register_linear(fixed, moving, **more)
    with pytest.raises(ValueError, match="moving image holds one value"):
        register_linear(fixed, moving * 0)
    with pytest.raises(ValueError, match="fixed image is no 3-D"):
        register_linear(fixed[:, :, 3], moving)


def test_a_mask_in_which_nothing_shows_is_refused():
    values = np.random.default_rng(0).normal(size=(30, 30, 30))
    blank = values.copy()
    blank[5:20, 5:20, 5:20] = 0.0
    mask = np.zeros(values.shape, np.uint8)
    mask[8:16, 8:16, 8:16] = 1
    fixed, moving, where = (sitk.GetImageFromArray(array) for array in (values, blank, mask))
    with pytest.raises(ValueError, match="hold one value only"):
        register_linear(fixed, moving, moving_mask=where, spacing_mm=(2.0, 1.0), reach_mm=3.0)
