"""One transform object: points as ITK maps them, chains, inverses of deep breaths, files."""

import time

import numpy as np
import pytest
import SimpleITK as sitk

from lungitude.phantom import breathing
from lungitude.registration.transform import Transform, read

# A breath that moves the base by 28 mm: about the 15 to 30 mm of patients.
BREATH = breathing.make(0.45, apex_mm=110.0, base_mm=-120.0, back_mm=80.0, scale_xy=1.0)
DEEP = breathing.make(0.75, apex_mm=110.0, base_mm=-120.0, back_mm=80.0, scale_xy=1.0)
SHIFT_MM = np.array([3.0, -5.0, 11.0])


def grid(size=(60, 50, 70), spacing=4.0, direction=None):
    """Empty grid about the origin, wide enough for a chest."""
    direction = np.eye(3) if direction is None else direction
    image = sitk.Image(list(size), sitk.sitkUInt8)
    image.SetSpacing([spacing, 1.1 * spacing, spacing])
    image.SetDirection(direction.ravel().tolist())
    half = (np.array(size) - 1) / 2.0 * image.GetSpacing()
    image.SetOrigin((-direction @ half).tolist())
    return image


def oblique():
    a, b = np.radians([20, 10])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x @ np.diag([1.0, -1.0, 1.0])


def nodes(like):
    index = np.moveaxis(np.indices(like.GetSize()[::-1])[::-1], 0, -1)
    axes = np.reshape(like.GetDirection(), (3, 3)) * np.array(like.GetSpacing())
    return index @ axes.T + np.array(like.GetOrigin())


def field_of(move, like):
    """Displacement field of a map of points (..., 3)."""
    points = nodes(like).reshape(-1, 3)
    values = (move(points) - points).reshape(*like.GetSize()[::-1], 3)
    field = sitk.GetImageFromArray(values, isVector=True)
    field.CopyInformation(like)
    return sitk.DisplacementFieldTransform(field)


def breath_of(motion, direction, like=None):
    return Transform(
        field_of(lambda points: breathing.map_points(motion, points, direction), like or grid())
    )


def affine(matrix=(0.9, 1.1, 0.8)):
    made = sitk.AffineTransform(3)
    made.SetMatrix(np.diag(matrix).ravel().tolist())
    made.SetCenter((10.0, 20.0, -30.0))
    made.SetTranslation(SHIFT_MM.tolist())
    return made


def lung_points(number=5000):
    """Points of two ellipsoids about where the lungs of the breath lie."""
    points = np.random.default_rng(0).uniform(-1, 1, (8 * number, 3))
    points = points[(points**2).sum(axis=1) < 1][:number]
    side = np.where(np.arange(len(points)) % 2 == 0, -55.0, 55.0)
    return points * [40.0, 65.0, 100.0] + np.stack([side, 0 * side, 0 * side], axis=1)


def test_points_are_mapped_as_itk_maps_them_in_and_out_of_the_field():
    field = breath_of(BREATH, "insp_to_exp", grid((20, 18, 22), 9.0, oblique())).sitk
    turned = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    whole = sitk.CompositeTransform(
        [affine(), field, sitk.TranslationTransform(3, (2.0, 0.0, -1.0)), turned]
    )
    points = np.random.default_rng(1).uniform(-140.0, 140.0, (4000, 3))
    found = Transform(whole).apply_points(points)
    expected = np.array([whole.TransformPoint(point) for point in points.tolist()])
    assert np.abs(found - expected).max() < 1e-6
    moved = Transform(field).apply_points(points) - points
    outside = (moved == 0).all(axis=1)
    assert 0.2 < outside.mean() < 0.8


def test_a_spline_and_the_identity_map_points_too():
    spline = sitk.BSplineTransform(3, 3)
    spline.SetTransformDomainPhysicalDimensions([200.0] * 3)
    spline.SetTransformDomainOrigin([-100.0] * 3)
    number = len(spline.GetParameters())
    spline.SetParameters(np.random.default_rng(0).normal(0, 5, number).tolist())
    points = lung_points(50)
    expected = [spline.TransformPoint(point) for point in points.tolist()]
    assert np.abs(Transform(spline).apply_points(points) - expected).max() < 1e-9
    nothing = Transform(sitk.Transform(3, sitk.sitkIdentity))
    assert np.array_equal(nothing.apply_points(points), points)
    assert nothing.apply_points(np.empty((0, 3))).shape == (0, 3)


def test_a_hundred_thousand_points_take_under_half_a_second():
    transform = breath_of(BREATH, "insp_to_exp").compose(Transform(affine()))
    points = np.tile(lung_points(5000), (20, 1))
    before = points.copy()
    start = time.process_time()
    transform.apply_points(points)
    assert time.process_time() - start < 0.5
    assert np.array_equal(points, before)


def test_points_go_through_the_first_then_the_second():
    breath, moved = breath_of(BREATH, "insp_to_exp"), Transform(affine())
    points = lung_points(500)
    for first, then in ((breath, moved), (moved, breath), (breath.compose(moved), breath)):
        expected = then.apply_points(first.apply_points(points))
        chained = first.compose(then)
        assert np.abs(chained.apply_points(points) - expected).max() < 1e-9
        plain = [chained.sitk.TransformPoint(point) for point in points[:20].tolist()]
        assert np.abs(np.array(plain) - expected[:20]).max() < 1e-6


def test_determinants_multiply_along_a_chain():
    breath = breath_of(BREATH, "insp_to_exp")
    small = grid((5, 5, 5), 10.0)
    alone = sitk.GetArrayFromImage(breath.jacobian(small))
    chained = sitk.GetArrayFromImage(breath.compose(Transform(affine())).jacobian(small))
    assert chained == pytest.approx(alone * 0.9 * 1.1 * 0.8)
    moved = breathing.map_points(BREATH, nodes(small).reshape(-1, 3), "insp_to_exp")
    truth = 1.0 / breathing.jacobian(BREATH, *moved.T)
    assert alone.ravel() == pytest.approx(truth, rel=0.02)


def test_there_and_back_through_two_breaths_closes():
    """Baseline to week 6, week 6 to week 12, and from there back to baseline."""
    first, then = breath_of(BREATH, "insp_to_exp"), breath_of(DEEP, "exp_to_insp")
    loop = first.compose(then).compose(first.compose(then).inverse())
    points = lung_points()
    error = np.linalg.norm(loop.apply_points(points) - points, axis=1)
    assert error.mean() < 0.02
    assert error.max() < 0.2


@pytest.mark.parametrize("direction", ["insp_to_exp", "exp_to_insp"])
@pytest.mark.parametrize("motion", [BREATH, DEEP], ids=["breath", "deep"])
def test_inverse_of_a_breath_is_the_known_one(motion, direction):
    breath = breath_of(motion, direction)
    other = {"insp_to_exp": "exp_to_insp", "exp_to_insp": "insp_to_exp"}[direction]
    points = lung_points()
    there = breathing.map_points(motion, points, direction)
    assert np.linalg.norm(there - points, axis=1).max() > 25
    inverse = breath.inverse()
    # The field itself knows the breath between its nodes to about 0.1 mm only.
    truth = breathing.map_points(motion, there, other)
    assert np.linalg.norm(inverse.apply_points(there) - truth, axis=1).mean() < 0.1
    back = inverse.apply_points(breath.apply_points(points))
    error = np.linalg.norm(back - points, axis=1)
    assert error.mean() < 0.02
    assert error.max() < 0.2


def test_an_inverse_holds_where_lung_stretches_to_four_times_its_length():
    """Fixed-point iteration would diverge: the slope of the displacement is far above 1."""

    def stretch(points):
        moved = points.copy()
        moved[:, 2] += 30.0 * np.tanh(points[:, 2] / 10.0) * np.exp(-((points[:, 2] / 80.0) ** 2))
        return moved

    like = grid((16, 16, 80), 3.0)
    stretched = Transform(field_of(stretch, like))
    points = np.random.default_rng(0).uniform(-20, 20, (3000, 3))
    back = stretched.inverse().apply_points(stretched.apply_points(points))
    error = np.linalg.norm(back - points, axis=1)
    assert error.mean() < 0.05
    assert error.max() < 0.5


def test_an_inverse_reaches_as_far_as_the_field_moves():
    """A field that does not vanish at its border: a shift."""
    shifted = Transform(field_of(lambda points: points + SHIFT_MM, grid((12, 12, 12), 5.0)))
    corner = np.array([[20.0, -20.0, 25.0]])
    there = shifted.apply_points(corner)
    assert shifted.inverse().apply_points(there) == pytest.approx(corner)


def test_an_inverse_of_parts_on_an_oblique_grid():
    field = breath_of(BREATH, "insp_to_exp", grid((60, 60, 70), 4.0, oblique()))
    whole = field.compose(Transform(affine()))
    points = lung_points(1000)
    back = whole.inverse().apply_points(whole.apply_points(points))
    error = np.linalg.norm(back - points, axis=1)
    assert error.mean() < 0.02


def test_a_folded_field_has_an_inverse_without_holes():
    """A fold has several answers: one of them, and no wild value."""

    def fold(points):
        moved = points.copy()
        moved[:, 2] -= 25.0 * np.tanh(points[:, 2] / 8.0) * np.exp(-((points[:, 2] / 40.0) ** 2))
        return moved

    folded = Transform(field_of(fold, grid((10, 10, 60), 3.0)))
    field = sitk.DisplacementFieldTransform(folded.inverse().sitk.Downcast().GetNthTransform(0))
    values = sitk.GetArrayFromImage(field.GetDisplacementField())
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 60


def test_displacement_is_the_whole_transform_on_a_grid():
    whole = breath_of(BREATH, "insp_to_exp").compose(Transform(affine()))
    like = grid((7, 6, 5), 20.0, oblique())
    field = whole.displacement(like)
    assert field.GetSize() == like.GetSize()
    assert field.GetDirection() == like.GetDirection()
    points = nodes(like).reshape(-1, 3)
    expected = whole.apply_points(points) - points
    assert np.abs(sitk.GetArrayFromImage(field).reshape(-1, 3) - expected).max() < 1e-6


def test_text_files_have_the_same_bytes_and_every_digit(tmp_path):
    whole = breath_of(BREATH, "insp_to_exp", grid((12, 10, 14), 18.0)).compose(Transform(affine()))
    points = lung_points(200)
    for name in ("one.tfm", "two.tfm"):
        whole.write(tmp_path / name)
    assert (tmp_path / "one.tfm").read_bytes() == (tmp_path / "two.tfm").read_bytes()
    again = read(tmp_path / "one.tfm")
    assert np.array_equal(again.apply_points(points), whole.apply_points(points))
    chained = again.compose(again)
    chained.write(tmp_path / "chain.tfm")
    plain = sitk.ReadTransform(str(tmp_path / "chain.tfm"))
    assert plain.TransformPoint(points[0].tolist()) == pytest.approx(
        chained.apply_points(points[:1])[0], abs=1e-6
    )
