"""Box counting on sets whose dimension is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungitude.biomarkers import fractal

POWERS_OF_2 = (1, 2, 4, 8, 16)
POWERS_OF_3 = (1, 3, 9, 27)


def _self_similar(kernel, levels):
    found = np.ones((1,) * kernel.ndim, bool)
    for _ in range(levels):
        found = np.kron(found, kernel)
    return found


def _menger():
    kernel = np.ones((3, 3, 3), bool)
    for place in np.ndindex(3, 3, 3):
        kernel[place] = sum(axis == 1 for axis in place) < 2
    return _self_similar(kernel, 4)


def _solid(axes, at=0):
    mask = np.zeros((72, 72, 72), bool)
    mask[tuple(slice(at, at + 64) if k < axes else at for k in range(3))] = True
    return mask


@pytest.mark.parametrize("at", [0, 5])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_line_plane_cube(axes, at):
    found = fractal.of_voxels(_solid(axes, at), (1, 1, 1), POWERS_OF_2)
    assert found["fractal_dimension"] == pytest.approx(axes, abs=0.03)
    assert found["fd_r2"] > 0.999
    assert found["fd_local"] == pytest.approx([axes] * 4, abs=0.03)


def test_self_similar_sets_in_their_own_ratio():
    sponge = _menger()
    found = fractal.of_voxels(sponge, (1, 1, 1), POWERS_OF_3)
    assert found["fractal_dimension"] == pytest.approx(np.log(20) / np.log(3), abs=1e-9)
    assert found["fd_counts"] == (20**4, 20**3, 20**2, 20)
    # In another ratio the answer is another: why the range of boxes is part of a result.
    assert fractal.of_voxels(sponge, (1, 1, 1), POWERS_OF_2)["fractal_dimension"] < 2.6
    corners = np.zeros((3, 3, 3), bool)
    corners[::2, ::2, ::2] = True
    dust = fractal.of_voxels(_self_similar(corners, 4), (1, 1, 1), POWERS_OF_3)
    assert dust["fractal_dimension"] == pytest.approx(np.log(8) / np.log(3), abs=1e-9)
    carpet = np.ones((3, 3), bool)
    carpet[1, 1] = False
    flat = fractal.of_voxels(_self_similar(carpet, 5), (0.5, 0.5), (0.5, 1.5, 4.5, 13.5))
    assert flat["fractal_dimension"] == pytest.approx(np.log(8) / np.log(3), abs=1e-9)


@pytest.mark.parametrize("turned", [True, False])
def test_curves_of_points(turned):
    start = np.array([[0.0, 0, 0], [0, 300, 40]])
    points = fractal.along(start, start + np.array([[700.0, 200, 150], [700, -100, 250]]))
    found = fractal.fractal_dimension(points, turned=turned)
    assert found["fractal_dimension"] == pytest.approx(1.0, abs=0.03)
    assert found["fd_low_mm"] == 1.0
    assert found["fd_high_mm"] == 16.0


def test_along():
    points = fractal.along([[0, 0, 0], [5, 5, 5]], [[1, 0, 0], [5, 5, 5]], step_mm=0.3)
    np.testing.assert_allclose(points[:5, 0], [0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(points[5:], [[5, 5, 5], [5, 5, 5]])


def test_turned_grid_ignores_the_lattice():
    """Lines rounded to voxels of the smallest box's size fall into too few boxes along the axes."""
    rng = np.random.default_rng(4)
    start = rng.uniform(0, 100, (300, 3))
    stop = start + 20 * rng.normal(size=(300, 3)) / np.sqrt(3)
    pieces = np.linspace(0, 1, 20)[:, None, None]
    exact = start + pieces * (stop - start)
    errors = []
    for turned in (True, False):
        found = [
            fractal.fractal_dimension(
                fractal.along(p[:-1].reshape(-1, 3), p[1:].reshape(-1, 3)), turned=turned
            )["fractal_dimension"]
            for p in (exact, np.rint(exact))
        ]
        errors.append(found[1] - found[0])
    # Rounding lengthens a line, so the dimension may rise; the lattice must not make it fall.
    assert 0.0 < errors[0] < 0.05
    assert errors[1] < -0.03


def test_denser_sets_have_more_dimension():
    rng = np.random.default_rng(6)
    found = []
    for lines in (100, 300, 900):
        start = rng.uniform(0, 80, (lines, 3))
        points = fractal.along(start, start + rng.normal(scale=5, size=(lines, 3)))
        found.append(fractal.fractal_dimension(points)["fractal_dimension"])
    assert found[0] + 0.1 < found[1] < found[2] - 0.1


@settings(deadline=None, max_examples=20)
@given(
    shift=st.tuples(*[st.floats(-1e3, 1e3)] * 3),
    scale=st.sampled_from([0.5, 2.0, 4.0]),
    seed=st.integers(0, 5),
)
def test_moved_and_scaled(shift, scale, seed):
    """Neither the place nor the unit matters, if the boxes go with the unit."""
    points = np.random.default_rng(seed).uniform(0, 20, (500, 3))
    first = fractal.fractal_dimension(points, (1, 2, 4))
    moved = fractal.fractal_dimension(points + np.array(shift), (1, 2, 4))
    assert moved["fd_counts"] == pytest.approx(first["fd_counts"], abs=2)  # rounding on faces
    scaled = fractal.fractal_dimension(points * scale, (scale, 2 * scale, 4 * scale))
    assert scaled["fd_counts"] == pytest.approx(first["fd_counts"], abs=2)


def test_large_range_without_a_grid(monkeypatch):
    points = np.random.default_rng(1).uniform(0, 30, (2000, 3))
    first = fractal.fractal_dimension(points)
    monkeypatch.setattr(fractal, "MAX_CELLS", 10)
    assert fractal.fractal_dimension(points) == first


def test_nothing_to_count():
    for points in (np.empty((0, 3)), np.zeros((1, 3)), np.zeros((9, 3))):
        found = fractal.fractal_dimension(points)
        assert np.isnan(found["fractal_dimension"])
        assert found["fd_points"] == len(points)
    assert np.isnan(fractal.of_voxels(np.zeros((3, 3, 3)), (1, 1, 1))["fractal_dimension"])


@pytest.mark.parametrize(
    ("points", "boxes", "match"),
    [
        (np.zeros((5, 4)), (1, 2), "must be"),
        (np.full((5, 3), np.nan), (1, 2), "not finite"),
        (np.zeros((5, 3)), (1, 1), "2 or more different"),
        (np.zeros((5, 3)), (0, 1), "positive"),
    ],
)
def test_faults(points, boxes, match):
    with pytest.raises(ValueError, match=match):
        fractal.fractal_dimension(points, boxes)
