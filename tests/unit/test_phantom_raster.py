"""Blurred tubes, walls and spheres against their closed forms; noise against its spectrum."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from lungitude.phantom import raster, record, render

SIGMA = 0.9
ROW = {
    "USUBJID": "S001",
    "AVISIT": "Baseline",
    "LUNGVOL_L": 5.0,
    "EMPH_PCT": 10.0,
    "FSAD_PCT": 25.0,
    "EXPRATIO": 0.65,
    "LUNG_HU": -865.0,
}


def _points(n, step):
    axis = (np.arange(n, dtype=np.float32) - n / 2) * np.float32(step)
    shape = (n, n, n)
    return (
        np.broadcast_to(axis[None, None, :], shape),
        np.broadcast_to(axis[None, :, None], shape),
        np.broadcast_to(axis[:, None, None], shape),
    )


def _tube(points, p0, p1, radius, tip=False, straight=True):
    shape = points[0].shape
    cover = np.zeros(shape, np.float32)
    boxes = np.array([[0, shape[0], 0, shape[1], 0, shape[2]]])
    if not straight:
        points = tuple(np.ascontiguousarray(p) for p in points)
    raster.tubes(
        cover,
        *points,
        straight,
        boxes,
        np.array([p0], float),
        np.array([p1], float),
        np.array([radius]),
        np.array([SIGMA]),
        np.array([tip]),
        raster.cylinder_table(),
    )
    return cover


@pytest.mark.parametrize("direction", [(0, 0, 1), (1, 0, 0), (0, 1, 0), (1, -2, 0.5)])
@pytest.mark.parametrize("radius", [0.4, 1.5, 4.0, 7.0])
def test_a_long_tube_is_the_blurred_disc(direction, radius):
    points = _points(24, 0.8)
    u = np.array(direction) / np.linalg.norm(direction)
    cover = _tube(points, -40 * u, 40 * u, radius)
    v = np.stack(points, axis=-1).astype(float)
    distance = np.linalg.norm(v - (v @ u)[..., None] * u, axis=-1)
    exact = stats.ncx2.cdf((radius / SIGMA) ** 2, 2, (distance / SIGMA) ** 2)
    # Beyond six times the blur a tube's edge is drawn as a plane's.
    assert np.abs(cover - exact).max() < (0.006 if radius < 5.3 else 0.03)
    assert cover == pytest.approx(_tube(points, -40 * u, 40 * u, radius, straight=False), abs=1e-5)


@pytest.mark.parametrize("radius", [0.5, 1.2])
def test_a_tip_has_the_volume_of_its_round_end_and_no_more(radius):
    step = 0.5
    points = _points(64, step)
    u = np.array([1.0, 2.0, 2.0]) / 3.0
    long, short = (_tube(points, -20 * u, end * u, radius, tip=True) for end in (4.0, 0.0))
    ml = step**3
    assert (long - short).sum() * ml == pytest.approx(math.pi * radius**2 * 4.0, rel=0.01)
    half = _tube(points, 0 * u, 8 * u, radius, tip=True) - _tube(points, 0 * u, 4 * u, radius, True)
    assert half.sum() * ml == pytest.approx(math.pi * radius**2 * 4.0, rel=0.01)


def test_a_thin_wall_is_exact():
    """Wall of 0.6 mm around a lumen of 1 mm: the blurred annulus, with what lies around it."""
    points = _points(24, 0.7)
    u = np.array([0.0, 0.6, 0.8])
    outer, inner = (_tube(points, -40 * u, 40 * u, r) for r in (1.6, 1.0))
    frame, weight = np.full(outer.shape, -1000.0, np.float32), np.ones(outer.shape, np.float32)
    frame[:] = 0.0
    raster.paint_pipe(frame, weight, outer, inner, 20.0, -1000.0)
    hu = frame + weight * -860.0
    v = np.stack(points, axis=-1).astype(float)
    distance = np.linalg.norm(v - (v @ u)[..., None] * u, axis=-1)
    big, small = (stats.ncx2.cdf((r / SIGMA) ** 2, 2, (distance / SIGMA) ** 2) for r in (1.6, 1.0))
    exact = -860.0 + 880.0 * big - 1020.0 * small
    assert np.abs(hu - exact).max() < 4.0


@pytest.mark.parametrize("straight", [True, False])
def test_a_sphere_keeps_its_volume(straight):
    step, radius = 0.8, 4.0
    points = _points(32, step)
    if not straight:
        points = tuple(np.ascontiguousarray(p) for p in points)
    cover = np.zeros(points[0].shape, np.float32)
    n = cover.shape[0]
    args = (
        np.array([[0, n, 0, n, 0, n]]),
        np.array([[0.3, -0.2, 0.1]]),
        np.array([radius]),
        np.array([SIGMA]),
    )
    drawn, count = raster.balls(cover, *points, straight, *args, cover, False, 0, 0)
    assert (drawn, count) == (1, 0)
    assert cover.sum() * step**3 == pytest.approx(4.0 / 3.0 * math.pi * radius**3, rel=0.005)
    critical = np.full(cover.shape, 0.5, np.float32)
    counted = raster.balls(
        np.zeros_like(cover), *points, straight, *args, critical, True, 0, 10**9
    )[1]
    assert counted == (cover > 0.5).sum()


def test_a_coarse_field_is_linear_between_its_points():
    grid = render.Grid((0.0, 0.0, 0.0), (1.0, 1.3, 2.0), (9, 14, 21))
    coarse, every = grid.coarse()
    x, y, z = np.meshgrid(*coarse.axes(), indexing="ij")
    plane = (2.0 * x - y + 0.5 * z).transpose(2, 1, 0).astype(np.float32)
    x, y, z = np.meshgrid(*grid.axes(), indexing="ij")
    exact = (2.0 * x - y + 0.5 * z).transpose(2, 1, 0)
    assert raster.upsample(plane, grid.shape, every) == pytest.approx(exact, abs=1e-4)


def test_painting_a_plane_is_its_blurred_edge():
    grid = render.Grid((-10.0, 0.0, 0.0), (1.0, 1.0, 1.0), (5, 5, 21))
    coarse, every = grid.coarse()
    depth = np.broadcast_to(coarse.axes()[0].astype(np.float32), coarse.shape)
    frame = np.full(grid.shape, -1000.0, np.float32)
    weight = np.zeros(grid.shape, np.float32)
    raster.paint(frame, weight, np.ascontiguousarray(depth), every, 50.0, 1.5, False)
    exact = -1000.0 + 1050.0 * stats.norm.cdf(grid.axes()[0] / 1.5)
    assert frame[2, 2] == pytest.approx(exact, abs=2.0)
    raster.paint(frame, weight, np.ascontiguousarray(-depth), every, 0.0, 1.5, True)
    assert weight[2, 2] == pytest.approx(stats.norm.cdf(-grid.axes()[0] / 1.5), abs=0.002)


@pytest.mark.parametrize("cutoff", [0.25, 0.42])
def test_noise_has_the_spectrum_of_its_kernel(cutoff):
    case = dataclasses.replace(record.draw(ROW, {}), noise_cutoff=cutoff)
    field = render.noise(case, "insp", (60, 144, 200))
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0.0, abs=0.01)
    assert field.std() == pytest.approx(1.0, abs=0.01)
    assert stats.kurtosis(field.ravel()[::7]) == pytest.approx(0.0, abs=0.06)
    power = (np.abs(np.fft.fft2(field)) ** 2).mean(axis=0)
    f = np.hypot(np.fft.fftfreq(144)[:, None], np.fft.fftfreq(200)[None, :])
    exact = f * np.exp(-2.0 * (f / cutoff) ** 2)
    bands = [(f >= low) & (f < low + 0.06) for low in np.arange(0.0, 0.48, 0.06)]
    found = np.array([power[band].sum() for band in bands])
    wanted = np.array([exact[band].sum() for band in bands])
    assert found / found.sum() == pytest.approx(wanted / wanted.sum(), abs=0.01)


def test_noise_does_not_repeat_in_sight():
    """Slices are made of fewer: no two are alike where they lie over one another."""
    field = render.noise(record.draw(ROW, {}), "insp", (120, 90, 100)).reshape(120, -1)
    alike = np.corrcoef(field) - np.eye(120)
    assert np.abs(alike).max() < 0.2
    assert np.abs(np.diag(alike, 1)).mean() < 0.03


def test_rounding_and_clipping_of_delivered_values():
    hu = np.array([[[-1000.4, -1000.6, 40000.0, -40000.0]]], np.float32)
    found = raster.digitise(hu, np.zeros_like(hu), 20.0)
    assert found.dtype == np.int16
    assert found.ravel().tolist() == [-1000, -1001, 32767, -32768]
