"""Minkowski functionals against bodies whose surface, curvature and topology are known."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from skimage import measure

from lungitude.biomarkers.topology import columns, topology

NAMES = {"rest": 1, "body": 2}
CUBIC, OBLONG, THICK = (1.0, 1.0, 1.0), (1.5, 0.7, 0.7), (2.5, 0.8, 0.6)


def image(values, spacing=CUBIC):
    made = sitk.GetImageFromArray(np.asarray(values, np.uint8))
    made.SetSpacing([float(mm) for mm in spacing[::-1]])
    return made


def densities(body, spacing=CUBIC):
    """Return surface, curvature and Euler number of a body in a lung that fills the image."""
    lungs = image(np.ones(body.shape), spacing)
    row = topology(image(np.where(body, 2, 1), spacing), NAMES, lungs).iloc[0]
    cells = np.prod(np.array(body.shape) - 1) * np.prod(spacing)
    return [row[f"body_{name}"] * cells for name in ("surface_per_mm", "curvature_per_mm2")] + [
        row["body_euler_per_mm3"] * cells
    ]


def axes(size_mm, spacing, shift=(0.1, -0.2, 0.3)):
    """Return coordinates z, y, x in mm about a middle that lies off the voxels."""
    counts = [int(size_mm / mm) for mm in spacing]
    lines = [
        (np.arange(n) - n / 2) * mm + off for n, mm, off in zip(counts, spacing, shift, strict=True)
    ]
    return np.meshgrid(*lines, indexing="ij")


def ball(radius, spacing=CUBIC, shift=(0.1, -0.2, 0.3), middle=(0, 0, 0), size_mm=None):
    z, y, x = axes(size_mm or 2 * radius + 14, spacing, shift)
    return (z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2 < radius**2


@pytest.mark.parametrize("spacing", [CUBIC, OBLONG, THICK])
@pytest.mark.parametrize(("radius", "tolerance"), [(5.0, 0.04), (8.0, 0.03), (15.0, 0.01)])
def test_balls_have_their_surface_and_curvature(spacing, radius, tolerance):
    shifts = np.random.default_rng(1).uniform(-0.5, 0.5, (6, 3)) * spacing
    found = np.mean([densities(ball(radius, spacing, shift), spacing) for shift in shifts], axis=0)
    truth = [4 * np.pi * radius**2, 4 * np.pi * radius, 1]
    assert found == pytest.approx(truth, rel=tolerance)


@pytest.mark.parametrize("spacing", [CUBIC, OBLONG])
def test_a_torus_has_a_tunnel(spacing):
    z, y, x = axes(40.0, spacing)
    for one, two, three in itertools.permutations((z, y, x), 3):
        surface, curvature, euler = densities((np.hypot(one, two) - 11) ** 2 + three**2 < 4.5**2)
        assert euler == pytest.approx(0, abs=1e-9)
        if spacing == CUBIC:
            assert surface == pytest.approx(4 * np.pi**2 * 11 * 4.5, rel=0.02)
            assert curvature == pytest.approx(2 * np.pi**2 * 11, rel=0.03)


def test_a_shell_has_a_cavity_whose_curvature_counts_against():
    shell = ball(15.0) & ~ball(9.0, size_mm=44)
    surface, curvature, euler = densities(shell)
    assert euler == pytest.approx(2)
    assert surface == pytest.approx(4 * np.pi * (15**2 + 9**2), rel=0.01)
    assert curvature == pytest.approx(4 * np.pi * (15 - 9), rel=0.03)


def test_two_balls_count_twice():
    two = ball(6.0, middle=(-9, 0, 0), size_mm=40) | ball(6.0, middle=(9, 2, 1), size_mm=40)
    found = densities(two)
    assert found == pytest.approx([8 * np.pi * 36, 8 * np.pi * 6, 2], rel=0.03)


@pytest.mark.parametrize("spacing", [CUBIC, OBLONG])
def test_an_oblique_cylinder(spacing):
    axis = np.array([0.3, 0.5, 0.81])
    axis /= np.linalg.norm(axis)
    z, y, x = axes(60.0, spacing)
    along = z * axis[0] + y * axis[1] + x * axis[2]
    across = np.sqrt(np.maximum(z * z + y * y + x * x - along**2, 0))
    surface, curvature, euler = densities((across < 6) & (np.abs(along) < 20), spacing)
    assert surface == pytest.approx(2 * np.pi * 6 * 40 + 2 * np.pi * 36, rel=0.03)
    assert curvature == pytest.approx(np.pi * 40 + np.pi**2 * 6, rel=0.06)
    assert euler == pytest.approx(1)


def test_euler_number_is_that_of_scikit_image_to_the_digit():
    random = np.pad(np.random.default_rng(0).random((20, 21, 22)) < 0.3, 1)
    assert densities(random)[2] == pytest.approx(measure.euler_number(random, connectivity=3))


def test_surface_agrees_with_the_triangles_of_scikit_image_on_a_smooth_body():
    """Triangles of a smooth function, not of voxels: those are 9 % too large."""
    z, y, x = axes(40.0, CUBIC)
    depth = 14 - np.sqrt((z / 0.8) ** 2 + y**2 + (x / 1.1) ** 2)
    points, faces, _, _ = measure.marching_cubes(depth, 0.0)
    surface = densities(depth > 0)[0]
    assert surface == pytest.approx(measure.mesh_surface_area(points, faces), rel=0.01)


def test_a_class_and_the_rest_differ_in_the_sign_of_curvature_alone():
    body = np.random.default_rng(0).random((20, 20, 20)) < 0.4
    row = topology(image(np.where(body, 2, 1)), NAMES, image(np.ones(body.shape))).iloc[0]
    assert row["body_surface_per_mm"] == pytest.approx(row["rest_surface_per_mm"])
    assert row["body_curvature_per_mm2"] == pytest.approx(-row["rest_curvature_per_mm2"])


def test_order_and_direction_of_the_axes_do_not_matter():
    body = np.random.default_rng(0).random((12, 14, 16)) < 0.4
    first = densities(body, THICK)
    for order in itertools.permutations(range(3)):
        turned = np.transpose(body, order)[::-1]
        assert densities(turned, [THICK[k] for k in order]) == pytest.approx(first)


def test_air_around_the_lung_and_its_edge_do_not_count():
    rng = np.random.default_rng(0)
    classes = np.where(rng.random((20, 20, 20)) < 0.4, 2, 1)
    lungs = np.zeros(classes.shape, np.uint8)
    lungs[3:-3, 4:-4, 2:-2] = 1
    whole = topology(image(classes), NAMES, image(lungs))
    cut = (slice(3, -3), slice(4, -4), slice(2, -2))
    part = topology(image(classes[cut]), NAMES, image(lungs[cut]))
    assert whole.iloc[0, 1:].tolist() == pytest.approx(part.iloc[0, 1:].tolist())
    full = topology(image(np.ones(classes.shape)), NAMES, image(lungs))
    assert full.iloc[0, 1:].tolist() == [0] * 6


def test_each_region_has_its_own_row_and_an_empty_one_no_number():
    body = ball(6.0)
    lungs = np.ones(body.shape, np.uint8)
    lungs[:, :, 0] = 0
    found = topology(image(np.where(body, 2, 1)), NAMES, image(lungs), "lungs")
    found = found.set_index("region")
    assert list(found.columns) == columns(NAMES)[1:]
    assert found.loc["right"].tolist() == pytest.approx(found.loc["all"].tolist())
    assert found.loc["left"].isna().all()


def test_voxels_that_are_left_out_are_no_surface():
    classes = np.ones((10, 10, 10), np.uint8)
    classes[4:6, 4:6] = 0
    found = topology(image(classes), NAMES, image(np.ones(classes.shape)))
    assert found.iloc[0, 1:].tolist() == [0] * 6


def test_another_grid_is_told():
    with pytest.raises(ValueError, match="lung mask"):
        topology(image(np.ones((4, 4, 4))), NAMES, image(np.ones((4, 4, 5))))
