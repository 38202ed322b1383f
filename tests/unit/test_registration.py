"""Registration of pairs whose deformation is known in closed form."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from lungitude import images, registration
from lungitude.registration import preparation, settings
from lungitude.registration.transform import Transform

SPACING_MM = 4.0
SHIFT_MM = np.array([60.0, -45.0, 130.0])  # between the origins of two scans: no anatomy in it
WORKING_MM = 4.0


def fixed_to_moving(points):
    """Where a point of the inspiration lies at expiration: the base rises, the chest narrows."""
    x, y, z = np.moveaxis(points, -1, 0)
    rise = 24.0 / (1.0 + np.exp((z + 10.0) / 25.0)) * np.exp(-((x / 120.0) ** 2))
    return np.stack([0.97 * x, 0.95 * y, z + rise], axis=-1)


def moving_to_fixed(points):
    guess = points.copy()
    for _ in range(60):
        guess = guess + points - fixed_to_moving(guess)
    return guess


def anatomy(points, air_hu):
    """Attenuation and lung labels at points of the inspiration: two lungs with blobs of vessel."""
    x, y, z = np.moveaxis(points, -1, 0)
    right, left = (
        1.0 - np.sqrt(((x - side * 52.0) / 40.0) ** 2 + (y / 58.0) ** 2 + (z / 72.0) ** 2)
        for side in (-1, 1)
    )
    labels = np.where(right > 0, 1, np.where(left > 0, 2, 0)).astype(np.uint8)
    hu = 1000.0 * np.clip(0.5 - np.maximum(right, left) * 50.0 / SPACING_MM, 0, 1)
    rng = np.random.default_rng(5)
    grain = ndimage.gaussian_filter(rng.standard_normal((56, 56, 56)), 1.3)
    where = [(v + 110.0) / SPACING_MM for v in (z, y, x)]
    vessels = ndimage.map_coordinates(grain / grain.std(), where, order=1, mode="wrap")
    inside = air_hu + 250.0 * np.clip(vessels - 1.0, 0, 1.2)
    body = ((x / 115.0) ** 4 + (y / 80.0) ** 4) < 1
    tissue = np.where(body, 40.0, -1000.0)
    share = hu / 1000.0
    return share * tissue + (1 - share) * inside, labels


def scan(kind, direction=None):
    """Image and lungs of a phase, on a grid with direction cosines."""
    direction = np.eye(3) if direction is None else direction
    size = np.array([56, 44, 46])
    offsets = (np.indices(size[::-1])[::-1] - (size[:, None, None, None] - 1) / 2.0) * SPACING_MM
    points = np.moveaxis(offsets, 0, -1) @ direction.T
    at = points if kind == "inspiration" else moving_to_fixed(points)
    hu, labels = anatomy(at, -870.0 if kind == "inspiration" else -780.0)
    noise = 10.0 * np.random.default_rng(len(kind)).standard_normal(hu.shape)
    shift = np.zeros(3) if kind == "inspiration" else SHIFT_MM
    found = []
    for values in ((hu + noise).astype(np.float32), labels):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing([SPACING_MM] * 3)
        image.SetDirection(direction.ravel().tolist())
        image.SetOrigin((points[0, 0, 0] + shift).tolist())
        found.append(image)
    return found


def oblique():
    """Rotation by 20 degrees about z and 10 about x, axes swapped and one flipped."""
    a, b = np.radians([20, 10])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x @ np.diag([1.0, -1.0, 1.0])


def lung_points(mask, n=400):
    where = np.argwhere(images.array(mask) != 0)[:, ::-1]
    chosen = where[np.random.default_rng(0).permutation(len(where))[:n]]
    return np.array([mask.TransformIndexToPhysicalPoint(i) for i in chosen.tolist()])


def error_mm(transform, points):
    truth = fixed_to_moving(points) + SHIFT_MM
    return np.linalg.norm(transform.apply_points(points) - truth, axis=1)


@pytest.fixture(scope="module")
def pair():
    return scan("inspiration"), scan("expiration")


@pytest.fixture(scope="module")
def breath(pair):
    (fixed, fixed_mask), (moving, moving_mask) = pair
    return registration.register(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, spacing_mm=WORKING_MM
    )


@pytest.fixture
def made():
    """Transform of a smooth field on an oblique grid, then an affine map, and the two as code."""
    grid = sitk.Image([30, 30, 30], sitk.sitkVectorFloat64, 3)
    grid.SetSpacing([4.0, 4.0, 4.0])
    direction = oblique()
    grid.SetDirection(direction.ravel().tolist())
    grid.SetOrigin((-58.0 * direction.sum(axis=1)).tolist())
    index = np.indices((30, 30, 30))[::-1]
    points = np.moveaxis(index * 4.0 - 58.0, 0, -1) @ direction.T
    bump = np.exp(-(points**2).sum(axis=-1) / (2 * 18.0**2))
    field = sitk.GetImageFromArray(bump[..., None] * np.array([3.0, -5.0, 6.0]), isVector=True)
    field.CopyInformation(grid)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(np.diag([0.9, 1.1, 0.8]).ravel().tolist())
    affine.SetTranslation((5.0, -7.0, 11.0))
    return Transform(sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)]))


def test_a_known_breath_is_recovered(pair, breath):
    points = lung_points(pair[0][1])
    before = np.linalg.norm(fixed_to_moving(points) - points, axis=1).mean()
    error = error_mm(breath, points)
    assert before > 8
    # 1.4 and 3.2 mm when written; where the working grid happens to lie makes 0.2 mm.
    assert error.mean() < 1.8
    assert np.percentile(error, 95) < 4.0


def test_report_of_a_good_registration(pair, breath):
    (fixed, fixed_mask), (moving, moving_mask) = pair
    found = registration.report(fixed, moving, breath, (fixed_mask, moving_mask))
    assert found["dice_before"] < 0.5 < 0.95 < found["dice_after"]
    assert found["folding_pct"] == 0
    assert found["jacobian_mean"] == pytest.approx(found["volume_ratio"], rel=0.03)
    assert found["warnings"] == []


def test_same_input_same_numbers(pair, breath):
    (fixed, fixed_mask), (moving, moving_mask) = pair
    again = registration.register(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, spacing_mm=WORKING_MM
    )
    points = lung_points(fixed_mask)
    assert np.array_equal(again.apply_points(points), breath.apply_points(points))


def test_direction_cosines_do_not_matter():
    (fixed, fixed_mask), (moving, moving_mask) = scan("inspiration", oblique()), scan("expiration")
    transform = registration.register(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, spacing_mm=WORKING_MM
    )
    assert error_mm(transform, lung_points(fixed_mask)).mean() < 1.8


def test_masks_are_found_when_not_given(pair):
    (fixed, fixed_mask), (moving, _) = pair
    transform = registration.register(fixed, moving, spacing_mm=WORKING_MM)
    assert error_mm(transform, lung_points(fixed_mask)).mean() < 2.0


def test_an_image_on_itself_stays_where_it_is(pair):
    fixed, mask = pair[0]
    transform = registration.register(
        fixed, fixed, fixed_mask=mask, moving_mask=mask, spacing_mm=8.0
    )
    points = lung_points(mask)
    assert np.abs(transform.apply_points(points) - points).max() < 0.1
    assert images.array(transform.jacobian(fixed)).mean() == pytest.approx(1, abs=1e-3)


def test_a_shifted_copy_is_a_translation(pair):
    fixed, mask = pair[0]
    moved, moved_mask = sitk.Image(fixed), sitk.Image(mask)
    for image in (moved, moved_mask):
        image.SetOrigin((np.array(image.GetOrigin()) + SHIFT_MM).tolist())
    transform = registration.register(
        fixed, moved, fixed_mask=mask, moving_mask=moved_mask, spacing_mm=8.0
    )
    points = lung_points(mask)
    assert np.abs(transform.apply_points(points) - points - SHIFT_MM).max() < 0.1


def test_resample_and_apply_points_agree(made):
    """An image that holds a coordinate of the moving space shows where each voxel comes from."""
    ramp = sitk.Image([60, 60, 60], sitk.sitkFloat32)
    ramp.SetSpacing([4.0, 4.0, 4.0])
    ramp.SetOrigin([-118.0] * 3)
    fixed = sitk.Image([9, 8, 7], sitk.sitkUInt8)
    fixed.SetSpacing([5.0, 6.0, 7.0])
    fixed.SetDirection(oblique().ravel().tolist())
    fixed.SetOrigin((-15.0, 10.0, -20.0))
    z, y, x = np.indices((60, 60, 60)) * 4.0 - 118.0
    where = np.argwhere(np.ones(fixed.GetSize()))
    points = np.array([fixed.TransformIndexToPhysicalPoint(i) for i in where.tolist()])
    mapped = made.apply_points(points)
    for axis, coordinate in enumerate((x, y, z)):
        warped = images.array(made.resample(images.from_array(coordinate, ramp), like=fixed))
        assert np.abs(warped[tuple(where[:, ::-1].T)] - mapped[:, axis]).max() < 1e-3


def test_resample_fills_with_air_or_no_label(made):
    for kind, value in ((sitk.sitkInt16, -1024), (sitk.sitkUInt8, 0)):
        tiny = sitk.Image([2, 2, 2], kind) + 7
        assert images.array(made.resample(tiny, like=sitk.Image([3, 3, 3], kind)))[2, 2, 2] == value
    with pytest.raises(ValueError, match="interpolator"):
        made.resample(tiny, like=tiny, interpolator="cubic")


def test_jacobian_is_the_determinant_of_the_whole(made):
    like = sitk.Image([5, 5, 5], sitk.sitkUInt8)
    like.SetSpacing([6.0, 6.0, 6.0])
    like.SetOrigin([-12.0] * 3)
    where = np.argwhere(np.ones((5, 5, 5)))
    points = where * 6.0 - 12.0
    columns = [
        (made.apply_points(points + step) - made.apply_points(points - step)) / 8.0
        for step in 4.0 * np.eye(3)
    ]
    expected = np.linalg.det(np.stack(columns, axis=-1))
    found = images.array(made.jacobian(like))[tuple(where[:, ::-1].T)]
    assert expected.max() - expected.min() > 0.2
    assert np.abs(found - expected).max() < 0.02
    far = sitk.Image([2, 2, 2], sitk.sitkUInt8)
    far.SetOrigin([500.0] * 3)
    assert images.array(made.jacobian(far)) == pytest.approx(0.9 * 1.1 * 0.8)


def test_parts_in_any_order(made):
    """A field that comes after a linear map, as in the inverse, has its determinant there."""
    inverse = made.inverse()
    like = sitk.Image([3, 3, 3], sitk.sitkUInt8)
    like.SetSpacing([5.0, 5.0, 5.0])
    centre = np.array([[0.0, 0.0, 0.0]])
    like.SetOrigin((made.apply_points(centre)[0] - 5.0).tolist())
    here = sitk.Image([1, 1, 1], sitk.sitkUInt8)
    forward = images.array(made.jacobian(here))[0, 0, 0]
    assert images.array(inverse.jacobian(like))[1, 1, 1] == pytest.approx(1 / forward, rel=0.03)


def test_inverse_goes_there_and_back(pair, breath):
    points = lung_points(pair[0][1])
    there = breath.apply_points(points)
    back = breath.inverse().apply_points(there)
    assert np.linalg.norm(back - points, axis=1).mean() < 0.1


def test_files_are_plain_itk_transforms(breath, pair, tmp_path):
    points = lung_points(pair[0][1], 50)
    for name in ("t.h5", "t.tfm"):
        breath.write(tmp_path / name)
        again = registration.read(tmp_path / name)
        assert np.abs(again.apply_points(points) - breath.apply_points(points)).max() < 1e-6
        plain = sitk.ReadTransform(str(tmp_path / name))
        assert plain.TransformPoint(points[0].tolist()) == pytest.approx(
            breath.apply_points(points[:1])[0], abs=1e-6
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.h5", "t.tfm"]


def test_bad_transform_files_are_named(made, tmp_path):
    with pytest.raises(ValueError, match="ends in one of"):
        made.write(tmp_path / "t.nii.gz")
    with pytest.raises(ValueError, match="no such transform"):
        registration.read(tmp_path / "none.h5")
    (tmp_path / "empty.h5").touch()
    with pytest.raises(ValueError, match="excluded scan"):
        registration.read(tmp_path / "empty.h5")
    (tmp_path / "junk.h5").write_text("junk")
    with pytest.raises(ValueError, match="not a transform"):
        registration.read(tmp_path / "junk.h5")


def test_report_warns(pair):
    (fixed, fixed_mask), (moving, moving_mask) = pair
    nothing = Transform(sitk.Transform(3, sitk.sitkIdentity))
    found = registration.report(fixed, moving, nothing, (fixed_mask, moving_mask))
    assert found["dice_before"] == found["dice_after"]
    assert [text.split()[0] for text in found["warnings"]] == ["lungs", "mean"]


def test_report_counts_folds(pair):
    fixed, mask = pair[0]
    mirror = sitk.AffineTransform(3)
    mirror.SetMatrix((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    found = registration.report(fixed, fixed, Transform(mirror), (mask, mask))
    assert found["folding_pct"] == 100
    assert any("folds" in text for text in found["warnings"])


def test_start_brings_centre_and_spread_together(pair):
    start = preparation.linear_start(pair[0][1], pair[1][1])
    points = lung_points(pair[0][1])
    mapped = np.array([start.TransformPoint(p) for p in points.tolist()])
    assert np.linalg.norm(mapped - fixed_to_moving(points) - SHIFT_MM, axis=1).mean() < 6


def test_local_contrast_ignores_level_and_gain():
    rng = np.random.default_rng(2)
    hu = rng.normal(-850, 60, (20, 20, 20))
    weight = np.zeros(hu.shape)
    weight[4:16, 4:16, 4:16] = 1
    one = preparation.local_contrast(hu, weight, 3.0, 10.0, 1e-6)
    two = preparation.local_contrast(1.5 * hu + 300, weight, 3.0, 10.0, 1e-6)
    assert np.abs(one - two).max() < 1e-3
    assert (one[weight == 0] == 0).all()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"preset": "knee"}, "preset"),
        ({"spacing": 3}, "unknown settings spacing"),
        ({"spacing_mm": 0}, "spacing_mm"),
        ({"iterations": [10]}, "one entry a level"),
        ({"clip_hu": [0, -100]}, "clip_hu"),
        ({"backend": "none"}, "backend"),
    ],
)
def test_bad_settings_are_refused(pair, given, text):
    with pytest.raises(ValueError, match=text):
        registration.register(pair[0][0], pair[1][0], **given)


def test_bad_images_are_refused(pair):
    (fixed, fixed_mask), (moving, moving_mask) = pair
    with pytest.raises(ValueError, match="fixed image is no 3-D"):
        registration.register(fixed[:, :, 3], moving)
    with pytest.raises(ValueError, match="moving mask"):
        registration.register(fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask[1:])
    with pytest.raises(ValueError, match="moving lung mask is empty"):
        registration.register(fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask * 0)
    with pytest.raises(ValueError, match=r"fixed image.*fixed_mask"):
        registration.register(fixed * 0, moving)
    with pytest.raises(ValueError, match=r"\(n, 3\)"):
        Transform(sitk.Transform(3, sitk.sitkIdentity)).apply_points([1.0, 2.0, 3.0])


def test_presets_state_all_settings():
    assert settings.complete("lung", {})["spacing_mm"] == 1.5
    assert settings.complete("lung", {"spacing_mm": 4})["spacing_mm"] == 4


def test_a_spline_is_refused_by_name():
    spline = Transform(sitk.BSplineTransform(3, 3))
    with pytest.raises(ValueError, match="BSplineTransform"):
        spline.inverse()
    with pytest.raises(ValueError, match="BSplineTransform"):
        spline.jacobian(sitk.Image([2, 2, 2], sitk.sitkUInt8))
