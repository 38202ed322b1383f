"""The demons backend on images that already share a grid, against a breath known in closed form."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from lungitude.phantom import breathing
from lungitude.registration import settings
from lungitude.registration.demons import displacement
from lungitude.registration.transform import Transform

SETTINGS = settings.complete("lung", {"backend": "simpleitk"})
SPACING_MM = 4.0
SHAPE = (64, 44, 60)
ORIGIN_MM = np.array([-118.0, -86.0, -126.0])
# Moves the base by 11 mm: what a linear start leaves of a breath.
MOTION = breathing.make(0.08, apex_mm=100.0, base_mm=-100.0, back_mm=70.0, scale_xy=1.0)


def image(values):
    made = sitk.GetImageFromArray(np.asarray(values, np.float32))
    made.SetSpacing([SPACING_MM] * 3)
    made.SetOrigin(ORIGIN_MM.tolist())
    return made


def nodes():
    return np.moveaxis(np.indices(SHAPE)[::-1], 0, -1) * SPACING_MM + ORIGIN_MM


def lungs(points):
    """Positive inside two ellipsoids."""
    x, y, z = np.moveaxis(points, -1, 0)
    return np.maximum(
        *(1 - ((x - c) / 42) ** 2 - (y / 58) ** 2 - (z / 92) ** 2 for c in (-52.0, 52.0))
    )


def texture(points):
    """Contrast at points of the inspiration: a grain of about 8 mm, as vessels are."""
    grain = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((70, 70, 70)), 1.5)
    where = np.moveaxis((points + 140.0) / SPACING_MM, -1, 0)[::-1]
    return ndimage.map_coordinates(grain / grain.std(), where, order=3, mode="wrap")


def channels_at(points, seed):
    """Contrast, overlap and mask as seen at points, with noise."""
    weight = np.clip(lungs(points) * 8 + 0.5, 0, 1)
    noise = 0.1 * np.random.default_rng(seed).standard_normal(SHAPE)
    overlap = ndimage.gaussian_filter(weight, 1.0)
    rim = ndimage.binary_dilation(weight > 0.5, iterations=2).astype(np.uint8)
    return image(weight * (texture(points) + noise)), image(overlap), image(rim)


@pytest.fixture(scope="module")
def pair():
    here = nodes()
    there = breathing.map_points(MOTION, here.reshape(-1, 3), "exp_to_insp").reshape(here.shape)
    fixed, moving = channels_at(here, 0), channels_at(there, 1)
    channels = [("CC", fixed[0], moving[0], 1, 1), ("MeanSquares", fixed[1], moving[1], 1.0, 0)]
    return channels, fixed[2], moving[2]


@pytest.fixture(scope="module")
def field(pair):
    return displacement(*pair, SETTINGS)


def error_mm(field):
    """Distance from the known breath at the voxels of the lungs, before and after."""
    points = nodes()[lungs(nodes()) > 0]
    truth = breathing.map_points(MOTION, points, "insp_to_exp")
    found = Transform(sitk.DisplacementFieldTransform(sitk.Image(field))).apply_points(points)
    return np.linalg.norm(points - truth, axis=1), np.linalg.norm(found - truth, axis=1)


def determinants(field):
    whole = Transform(sitk.DisplacementFieldTransform(sitk.Image(field)))
    return sitk.GetArrayFromImage(whole.jacobian(field))[lungs(nodes()) > 0]


def test_a_known_breath_is_found_within_a_fraction_of_a_voxel(field):
    before, after = error_mm(field)
    assert before.max() > 11
    assert after.mean() < 0.25 * SPACING_MM
    assert np.percentile(after, 95) < 0.75 * SPACING_MM


def test_no_lung_folds_and_its_volume_is_that_of_the_other_breath(field):
    found = determinants(field)
    assert found.min() > 0
    points = nodes()[lungs(nodes()) > 0]
    moved = breathing.map_points(MOTION, points, "insp_to_exp")
    truth = 1.0 / breathing.jacobian(MOTION, *moved.T)
    assert found.mean() == pytest.approx(truth.mean(), rel=0.02)


def test_diffeomorphic_updates_find_the_same_breath(pair, field):
    settings = {**SETTINGS, "diffeomorphic": True, "iterations": [40, 20, 5]}
    found = displacement(*pair, settings)
    assert error_mm(found)[1].mean() < 0.3 * SPACING_MM
    assert determinants(found).min() > 0


def test_equal_bytes_at_any_number_of_threads(pair, field):
    again = displacement(*pair, {**SETTINGS, "threads": 3})
    expected = sitk.GetArrayFromImage(field)
    assert again.GetPixelID() == sitk.sitkVectorFloat64
    assert sitk.GetArrayFromImage(again).tobytes() == expected.tobytes()


def test_an_image_on_itself_does_not_move(pair):
    (_, fixed, _, *_), overlap = pair[0][0], pair[0][1][1]
    channels = [("CC", fixed, fixed, 1, 1), ("MeanSquares", overlap, overlap, 1.0, 0)]
    found = displacement(channels, pair[1], pair[1], SETTINGS)
    assert np.abs(sitk.GetArrayFromImage(found)).max() < 0.01


def test_what_lies_outside_the_masks_exerts_no_force(pair):
    """A bright block beside the lungs of one image only."""
    (metric, fixed, moving, *rest), overlap = pair[0]
    values = sitk.GetArrayFromImage(moving)
    values[:, :4] = 50.0
    block = image(values)
    few = {**SETTINGS, "iterations": [20, 10, 2]}
    plain, with_block = (
        sitk.GetArrayFromImage(displacement([(metric, fixed, other, *rest), overlap], *masks, few))
        for other, masks in ((moving, pair[1:]), (block, pair[1:]))
    )
    assert np.array_equal(plain, with_block)
    unmasked = displacement([(metric, fixed, block, *rest), overlap], None, None, few)
    assert np.abs(sitk.GetArrayFromImage(unmasked) - plain).max() > 1


def test_a_grid_without_room_for_the_levels_is_refused(pair):
    with pytest.raises(ValueError, match="shrink 16 leaves 2 voxels"):
        displacement(*pair, {**SETTINGS, "shrink": [16, 4, 2]})
