"""Airway measures against tubes whose blurred image is a closed form."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from lungitude import tables
from lungitude.biomarkers import airway_calibration, airway_fit, graphs, sections
from lungitude.biomarkers.airway_match import landmarks, match_branches
from lungitude.biomarkers.airway_tree import tree
from lungitude.biomarkers.airways import airway_branches, airways, airways_from_branches, pi10

PSF_MM = 0.45
WALL_HU = 20.0
LUNG_HU = -870.0
MEASURES = ["pi10_mm", "wa_pct", "wa_la", "lumen_diameter_mm"]


def _noise(shape, sd, seed):
    """Coloured noise: strong at middle frequencies in the plane."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(shape[1])[:, None], np.fft.rfftfreq(shape[2])[None]
    f = np.hypot(fy, fx)
    gain = np.sqrt(f) * np.exp(-((f / 0.25) ** 2))
    values = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * gain, s=shape[1:])
    return sd * values / values.std()


def _tube(inner, wall, voxel, seed, vessel=False, sd=25.0, length=10.0):
    """A tube of random direction in lung; returns volume, spacing, centre, direction (zyx)."""
    rng = np.random.default_rng(seed)
    along = rng.normal(size=3)
    along /= np.linalg.norm(along)
    reach = inner + wall + 6.0
    shape = np.ceil((2 * reach + np.abs(along) * length) / voxel).astype(int)
    centre = (shape - 1) * voxel / 2 + rng.uniform(-0.5, 0.5, 3) * voxel
    offset = np.stack(np.indices(shape), axis=-1) * voxel - centre
    across = offset - (offset @ along)[..., None] * along
    sigma = np.sqrt(PSF_MM**2 + voxel**2 / 12)
    distance = np.linalg.norm(across, axis=-1)
    hu = airway_fit.profile(distance, inner, wall, sigma, -1000.0, WALL_HU, LUNG_HU)
    if vessel:
        side = np.cross(along, rng.normal(size=3))
        side *= (2 * inner + wall) / np.linalg.norm(side)
        away = np.linalg.norm(across - side, axis=-1)
        hu = hu + (40.0 - LUNG_HU) * airway_fit.disc(away, inner, sigma)
    hu = hu + _noise(hu.shape, sd, seed) if sd else hu
    return np.rint(hu).astype(np.int16), np.full(3, float(voxel)), centre, along


def _slabs(volume, spacing, centre, along, near, psf=PSF_MM):
    """Fit two slabs of a tube from a start that is off, as that of a skeleton is."""
    rng = np.random.default_rng(1)
    found, edges = [], []
    for shift in (-2.0, 2.0):
        start = centre + shift * along + 0.3 * rng.normal(size=3)
        here = sections.frame(start, along + 0.1 * rng.normal(size=3))
        here, rays = sections.centred(volume, spacing, here, near + 5.0, 2.0, near)
        edge = sections.fwhm(rays, sections.STEP_MM, near)
        found.append(sections.fit(volume, spacing, here, edge, 2.0, psf, -1000.0, WALL_HU, near))
        edges.append(edge)
    return found, edges


def _legs():
    """A tree: start, end (mm, zyx), radius of the lumen; forks of two, three generations deep."""
    legs = [((80, 24, 60), (58, 24, 60), 6.0)]
    ends = [((58, 24, 60), np.array([-1.0, 0.0, 0.0]), 6.0, np.array([0.0, 0.0, 1.0]))]
    for depth in range(4):
        below = []
        for at, way, radius, side in ends:
            for sign, share in ((-1, 0.72), (1, 0.62)):
                new = way * 0.75 + sign * side * 0.66
                new /= np.linalg.norm(new)
                thin = max(radius * share, 1.0)
                end = np.array(at) + new * (19.0 - 2.5 * depth)
                legs.append((tuple(at), tuple(end), thin))
                other = np.cross(new, side)
                below.append((tuple(end), new, thin, other / np.linalg.norm(other)))
        ends = below if depth < 3 else []
    return legs


def _wall(radius, factor):
    return factor * (0.35 + 0.17 * radius)


def _picture(voxel=1.0, factor=1.0, sd=25.0, seed=0):
    """CT and lumen label of the tree of `_legs`; middle, radius and wall of each branch."""
    legs = [(np.array(a, float), np.array(b, float), r) for a, b, r in _legs()]
    low = np.min([np.minimum(a, b) for a, b, _ in legs], axis=0) - 9.0
    high = np.max([np.maximum(a, b) for a, b, _ in legs], axis=0) + 9.0
    high[0] -= 8.0  # the trachea leaves the image at the top
    shape = np.ceil((high - low) / voxel).astype(int)
    sigma = np.sqrt(PSF_MM**2 + voxel**2 / 12)
    cover = np.zeros((2, *shape))
    label = np.zeros(shape, np.uint8)
    for a, b, r in legs:
        reach = r + _wall(r, factor) + 5 * sigma
        first = np.maximum(np.floor((np.minimum(a, b) - reach - low) / voxel), 0).astype(int)
        last = np.minimum(np.ceil((np.maximum(a, b) + reach - low) / voxel), shape).astype(int)
        box = tuple(slice(i, j) for i, j in zip(first, last, strict=True))
        at = np.stack(np.indices(last - first), axis=-1) * voxel + (low + first * voxel)
        t = np.clip((at - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)[..., None]
        distance = np.linalg.norm(at - a - t * (b - a), axis=-1)
        for k, radius in enumerate((r + _wall(r, factor), r)):
            cover[k][box] = np.maximum(cover[k][box], airway_fit.disc(distance, radius, sigma))
        label[box] |= distance <= max(r, 0.6 * voxel)
    outer, inner = np.maximum(cover[0], cover[1]), cover[1]
    hu = LUNG_HU * (1 - outer) + WALL_HU * (outer - inner) - 1000.0 * inner
    hu += _noise(hu.shape, sd, seed) if sd else 0.0
    images = []
    for values in (np.rint(hu).astype(np.int16), label):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing([voxel] * 3)
        image.SetOrigin([float(v) for v in low[::-1]])
        images.append(image)
    truth = [(*(0.5 * (a + b))[::-1], r, _wall(r, factor)) for a, b, r in legs]
    return (*images, truth)


def _truth(legs, branches):
    """Measures of the true branches behind those that are used."""
    legs = np.array(legs)
    middle = branches.loc[branches["used"], ["x_mm", "y_mm", "z_mm"]].to_numpy()
    nearest = np.linalg.norm(middle[:, None] - legs[None, :, :3], axis=2).argmin(axis=1)
    assert len(set(nearest)) == len(nearest)
    r, t = legs[nearest, 3:].T
    area = np.pi * ((r + t) ** 2 - r**2)
    return {
        "pi10_mm": pi10(2 * np.pi * r, area)["pi10_mm"],
        "wa_pct": (100 * area / (np.pi * (r + t) ** 2)).mean(),
        "wa_la": (area / (np.pi * r**2)).mean(),
        "lumen_diameter_mm": 2 * r.mean(),
    }


@pytest.fixture(scope="module")
def picture():
    return _picture()


@pytest.fixture(scope="module")
def branches(picture):
    return airway_branches(picture[0], picture[1])


def test_table_of_the_disc():
    rng = np.random.default_rng(0)
    radius = rng.uniform(0.0, 30.0, 4000)
    distance = np.abs(radius + rng.uniform(-6.0, 6.0, 4000))
    table = airway_fit.disc_table()
    found = [airway_fit._disc(a, b, table) for a, b in zip(radius, distance, strict=True)]
    assert np.abs(found - airway_fit.disc(distance, radius, 1.0)).max() < 5e-4
    slopes = np.array([airway_fit._slopes(a, b) for a, b in zip(radius, distance, strict=True)])
    step = 1e-4
    by_radius = airway_fit.disc(distance, radius + step, 1.0) - airway_fit.disc(
        distance, radius, 1.0
    )
    by_distance = airway_fit.disc(distance + step, radius, 1.0) - airway_fit.disc(
        distance, radius, 1.0
    )
    assert np.abs(slopes[:, 0] - by_radius / step).max() < 1e-3
    assert np.abs(slopes[:, 1] - by_distance / step).max() < 1e-3


@pytest.mark.parametrize(("inner", "wall"), [(0.75, 0.5), (1.2, 0.6), (2.0, 0.8), (5.0, 1.5)])
def test_section_without_noise_is_exact(inner, wall):
    y, x = np.indices((41, 45))
    distance = np.hypot(y - 19.6, x - 22.7) * 0.625
    sigma = np.sqrt(PSF_MM**2 + 0.625**2 / 12)
    plane = airway_fit.profile(distance, inner, wall, sigma, -1000.0, WALL_HU, LUNG_HU)
    found = sections.measure_section(plane, 0.625, psf_mm=PSF_MM, wall_hu=WALL_HU)
    assert found["inner_radius_mm"] == pytest.approx(inner, abs=0.005)
    assert found["wall_mm"] == pytest.approx(wall, abs=0.005)
    assert found["wa_pct"] == pytest.approx(100 * (1 - (inner / (inner + wall)) ** 2), abs=0.3)
    assert found["wa_la"] == pytest.approx(found["wa_pct"] / (100 - found["wa_pct"]))
    half = sections.measure_section(plane, 0.625, method="fwhm")
    assert half["wall_mm"] > wall + 0.1  # what the fit is for


@settings(max_examples=10, deadline=None)
@given(
    inner=st.floats(1.2, 4.0),
    share=st.floats(0.25, 0.45),
    scale=st.floats(0.5, 2.0),
    shift=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_section_scales_with_spacing(inner, share, scale, shift):
    y, x = np.indices((49, 49))
    distance = np.hypot(y - 24 - shift[0], x - 24 - shift[1]) * 0.6
    args = (inner, share * inner, 0.5, -1000.0, WALL_HU, LUNG_HU)
    plane = np.rint(airway_fit.profile(distance, *args)).astype(np.int16)
    psf = scale * np.sqrt(0.25 - 0.6**2 / 12)
    found = sections.measure_section(plane, 0.6 * scale, psf_mm=psf, wall_hu=WALL_HU)
    assert found["inner_radius_mm"] == pytest.approx(scale * inner, rel=0.01)
    assert found["wall_mm"] == pytest.approx(scale * share * inner, rel=0.03)


def test_ellipse_keeps_its_areas():
    y, x = np.indices((49, 49))
    y, x = (y - 24) * 0.6, (x - 24) * 0.6
    radius = 2.5 + 0.3 * np.cos(2 * np.arctan2(y, x) - 0.7)
    sigma = np.sqrt(PSF_MM**2 + 0.6**2 / 12)
    plane = airway_fit.profile(np.hypot(y, x), radius, 0.8, sigma, -1000.0, WALL_HU, LUNG_HU)
    found = sections.measure_section(plane, 0.6, psf_mm=PSF_MM, wall_hu=WALL_HU)
    assert found["inner_area_mm2"] == pytest.approx(np.pi * (2.5**2 + 0.3**2 / 2), rel=0.01)
    assert found["wall_mm"] == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("voxel", [0.625, 0.7, 1.0, 1.25])
@pytest.mark.parametrize("vessel", [False, True])
def test_oblique_tubes_with_noise(voxel, vessel):
    """Radius and wall of six airways, each in four directions, at 25 HU of noise."""
    errors = []
    for k, (inner, wall) in enumerate(((1.2, 0.6), (1.6, 0.75), (2.0, 0.8), (3.0, 1.0))):
        for seed in range(4 * k, 4 * k + 4):
            tube = _tube(inner, wall, voxel, seed, vessel)
            found, _ = _slabs(*tube, near=inner + 0.3)
            errors += [
                (f["inner_radius_mm"] - inner, f["wall_mm"] - wall) for f in found if f is not None
            ]
    errors = np.array(errors)
    assert len(errors) >= 28
    assert np.abs(np.median(errors, axis=0)).max() < 0.02
    assert np.abs(errors).mean(axis=0).max() < 0.04


def test_point_spread_and_wall_are_found():
    data = []
    for seed in range(16):
        inner = 1.5 + 0.2 * seed
        volume, spacing, centre, along = _tube(inner, _wall(inner, 1.0), 0.8, seed)
        found, _ = _slabs(volume, spacing, centre, along, inner, psf=0.6)
        for f in filter(None, found):
            reach = f["outer_radius_mm"] + 3.0
            points, hu, sigma = sections.slab(volume, spacing, f["frame"], reach, 2.0, 0.6)
            part = {"points": points, "hu": hu, "voxel": sigma**2 - 0.36}
            data.append(part | {"theta": f["theta"], "open": f["open"]})
    psf, wall, source = airway_calibration.calibrate(data, -1000.0)
    assert source == "estimated"
    assert psf == pytest.approx(PSF_MM, rel=0.04)
    assert wall == pytest.approx(WALL_HU, abs=15.0)
    assert airway_calibration.calibrate(data, -1000.0, psf_mm=0.7) == (0.7, 30.0, "given")
    assert airway_calibration.calibrate([], -1000.0)[2] == "default"


def test_pi10_of_a_line():
    perimeter = np.array([8.0, 9.0, 12.0, 15.0, 20.0, 22.0])
    found = pi10(perimeter, (0.9 + 0.25 * perimeter) ** 2)
    assert found["pi10_mm"] == pytest.approx(3.4)
    assert found["pi10_slope"] == pytest.approx(0.25)
    assert found["pi10_r2"] == pytest.approx(1.0)
    perimeter = np.linspace(8.0, 22.0, 10)
    area = (0.9 + 0.25 * perimeter + 0.01 * (-1) ** np.arange(10)) ** 2
    area[3] *= 3.0
    assert pi10(perimeter, area)["pi10_mm"] == pytest.approx(3.4, abs=0.02)
    assert pi10(perimeter, area)["pi10_n"] == 9
    few = pi10(perimeter[:9], area[:9])  # too few to judge the spread by: nothing is left out
    line = np.polyfit(perimeter[:9], np.sqrt(area[:9]), 1)
    assert few["pi10_n"] == 9
    assert few["pi10_mm"] == pytest.approx(np.polyval(line, 10.0))
    assert np.isnan(pi10([9.0, 11.0], [9.0, 10.0])["pi10_mm"])


def test_tree_has_its_generations(picture):
    found = tree(picture[1])
    assert found.flag == ""
    assert np.bincount([a.generation for a in found.airways]).tolist() == [1, 2, 4, 8, 16]
    assert all(found.airways[a.parent].generation == a.generation - 1 for a in found.airways[1:])
    legs = _legs()
    fork = found.physical(found.airways[0].path[-1])[0][::-1]
    assert np.linalg.norm(fork - legs[0][1]) < 3.0
    assert found.airways[0].radius_mm == pytest.approx(6.0, abs=0.7)


def test_whole_tree(picture, branches):
    """All four measures with point spread and wall density estimated from the image."""
    truth = _truth(picture[2], branches)
    row = airways_from_branches(branches).iloc[0]
    assert row["region"] == "all"
    assert abs(row["pi10_mm"] - truth["pi10_mm"]) < 0.1
    assert abs(row["wa_pct"] - truth["wa_pct"]) < 1.8
    assert abs(row["lumen_diameter_mm"] - truth["lumen_diameter_mm"]) < 0.15
    assert abs(row["wa_la"] - truth["wa_la"]) < 0.1
    assert row["n_branches"] >= 10
    assert row["psf_mm"] == pytest.approx(PSF_MM, rel=0.1)
    assert row["psf_source"] == "estimated"
    measured = branches[branches["n_sections"] > 0]
    share = measured["wa_pct"] / (100.0 - measured["wa_pct"])
    assert np.allclose(measured["wa_la"], share)
    slip = {f: airways(*picture[:2], psf_mm=f * PSF_MM).iloc[0]["pi10_mm"] for f in (0.8, 1.2)}
    assert slip[0.8] < row["pi10_mm"] < slip[1.2]
    assert max(abs(v - truth["pi10_mm"]) for v in slip.values()) < 0.25


@pytest.mark.parametrize("voxel", [0.8, 1.25])
def test_thinner_walls_are_seen(voxel):
    """Of walls 5 % thinner at least 80 % of the change of Pi10, over the same branches."""

    class Still:
        def apply_points(self, points):
            return points

    tables, truths = [], []
    for seed, factor in enumerate((1.0, 0.95)):
        ct, label, legs = _picture(voxel, factor, seed=seed)
        tables.append(airway_branches(ct, label, psf_mm=PSF_MM, wall_hu=WALL_HU))
        truths.append(legs)
    first, second = match_branches(*tables, Still())
    truths = [
        _truth(legs, table)["pi10_mm"] for legs, table in zip(truths, (first, second), strict=True)
    ]
    rows = [airways_from_branches(t).iloc[0] for t in (first, second)]
    assert rows[0]["n_branches"] == rows[1]["n_branches"] >= 10
    seen = (rows[1]["pi10_mm"] - rows[0]["pi10_mm"]) / (truths[1] - truths[0])
    assert 0.8 < seen < 1.3  # of about 15 branches, one section each


def test_label_only_leads(picture, branches):
    """A label one voxel wider or narrower gives nearly the same measures."""
    base = airways_from_branches(branches).iloc[0]
    wide = sitk.BinaryDilate(picture[1], [1, 1, 1])
    wall = picture[1] + 2 * (wide - picture[1])
    row = airways(picture[0], wide).iloc[0]
    assert abs(row["pi10_mm"] - base["pi10_mm"]) < 0.05
    assert abs(row["lumen_diameter_mm"] - base["lumen_diameter_mm"]) < 0.1
    same = airways(picture[0], wall).iloc[0]  # 1 lumen, 2 wall: as the lumen alone
    assert same[MEASURES].tolist() == pytest.approx(base[MEASURES].tolist(), rel=1e-9)


def test_axes_crop_and_type_change_nothing(picture, branches):
    base = airways_from_branches(branches).iloc[0]
    ct, label, _ = picture
    turned = [sitk.PermuteAxes(sitk.Flip(i, (True, False, True)), (2, 0, 1)) for i in (ct, label)]
    cropped = [sitk.Crop(i, (3, 4, 2), (2, 3, 0)) for i in (ct, label)]
    as_float = [sitk.Cast(ct, sitk.sitkFloat32), label]
    for one in (turned, cropped, as_float):
        row = airways(*one).iloc[0]
        assert row[MEASURES].tolist() == pytest.approx(base[MEASURES].tolist(), rel=0.01)
        assert abs(row["n_branches"] - base["n_branches"]) <= 1
    again = airways(ct, label).iloc[0]
    assert again[MEASURES].tolist() == base[MEASURES].tolist()


TUBES = [(0.8, 0.55), (1.1, 0.6), (1.6, 0.8), (2.3, 0.8), (3.3, 1.2), (4.8, 1.3)]  # radius, wall


def _image(values, voxel):
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([voxel] * 3)
    return image


def _tubes(voxel, sd, seed, factor=1.0, tubes=TUBES):
    """CT and lumen label of straight tubes that don't touch, each of a random direction."""
    rng = np.random.default_rng(seed)
    side = int(34 / voxel)
    sigma = np.sqrt(PSF_MM**2 + voxel**2 / 12)
    parts, labels = [], []
    for inner, wall in tubes:
        along = rng.normal(size=3)
        along /= np.linalg.norm(along)
        offset = np.stack(np.indices([side] * 3), axis=-1) * voxel - 17.0
        offset -= rng.uniform(-0.5, 0.5, 3) * voxel
        down = offset @ along
        distance = np.linalg.norm(offset - down[..., None] * along, axis=-1)
        hu = airway_fit.profile(distance, inner, factor * wall, sigma, -1000.0, WALL_HU, LUNG_HU)
        share = airway_fit.disc(down, 12.0, sigma)  # both ends are closed by lung
        parts.append(LUNG_HU + share * (hu - LUNG_HU))
        labels.append(((distance < inner) & (np.abs(down) < 12.0)).astype(np.uint8))
    hu, label = np.concatenate(parts, axis=1), np.concatenate(labels, axis=1)
    hu = hu + rng.normal(0.0, sd, hu.shape) if sd else hu
    return _image(hu.astype(np.float32), voxel), _image(label, voxel)


def _all_of(tubes, factor=1.0):
    """Closed forms over all tubes."""
    r, t = np.array(tubes).T * [[1.0], [factor]]
    share = 1 - (r / (r + t)) ** 2
    line = np.polyfit(2 * np.pi * r, np.sqrt(np.pi * ((r + t) ** 2 - r**2)), 1)
    return [np.polyval(line, 10.0), 100 * share.mean(), (share / (1 - share)).mean(), 2 * r.mean()]


@pytest.mark.parametrize("psf", [PSF_MM, None])
@pytest.mark.parametrize(("voxel", "sd"), [(0.7, 0.0), (0.7, 25.0), (1.0, 0.0), (1.0, 25.0)])
def test_isolated_tubes(voxel, sd, psf):
    """A label without a tree: all of its pieces are measured, and all count."""
    row = airways(*_tubes(voxel, sd, seed=7), psf_mm=psf).iloc[0]
    assert row["n_branches"] == row["pi10_n"] == len(TUBES)
    off = np.abs(row[MEASURES].to_numpy(float) - _all_of(TUBES))
    assert (off < [0.1, 1.8, 0.1, 0.1]).all()
    assert row["psf_mm"] == pytest.approx(PSF_MM, rel=0.1)
    assert "generations unknown; label in 6 pieces; no forks: all branches count" in row["flag"]


def test_isolated_tubes_with_thinner_walls():
    rows = [airways(*_tubes(0.8, 25.0, 3 + k, f)).iloc[0] for k, f in enumerate((1.0, 0.95))]
    truth = np.subtract(_all_of(TUBES, 0.95), _all_of(TUBES))[:3]
    seen = (rows[1][MEASURES[:3]] - rows[0][MEASURES[:3]]).to_numpy(float) / truth
    assert ((seen > 0.7) & (seen < 1.3)).all()


@pytest.mark.parametrize("sd", [0.0, 20.0])
@pytest.mark.parametrize("psf", [0.3, None])
def test_one_tube_that_leaves_the_image(sd, psf):
    """Its edges are ramps, no Gaussian ones: without noise all residuals are those of the model."""
    y, x = np.indices((64, 64))
    distance = np.hypot(y - 32, x - 32) * 0.7
    plane = np.full(distance.shape, -860.0)
    for radius, hu in ((3.6, WALL_HU), (2.4, -1000.0)):
        plane += np.clip(0.5 + (radius - distance) / 0.7, 0.0, 1.0) * (hu - plane)
    volume = np.repeat(plane[None], 60, axis=0)
    volume = volume + np.random.default_rng(0).normal(0.0, sd, volume.shape)
    label = np.repeat((distance < 2.4)[None].astype(np.uint8), 60, axis=0)
    row = airways(_image(volume.astype(np.float32), 0.7), _image(label, 0.7), psf_mm=psf).iloc[0]
    assert row["n_branches"] == 1
    assert row["lumen_diameter_mm"] == pytest.approx(4.8, abs=0.1)
    assert row["wa_pct"] == pytest.approx(100 * (1 - (2.4 / 3.6) ** 2), abs=1.5)
    assert np.isnan(row["pi10_mm"])
    assert "only 1 branch; too few for Pi10" in row["flag"]


def test_a_thick_tube_is_no_trachea():
    found = tree(_tubes(1.0, 0.0, 0, tubes=[(6.5, 1.5), (2.0, 0.8)])[1])
    assert [a.parent for a in found.airways] == [-1, -1]
    assert not any(a.known or a.name for a in found.airways)


def test_a_thin_tube_in_pieces_is_one():
    ct, label = _tubes(1.0, 10.0, 11, tubes=[(1.0, 0.7), (1.6, 0.8)])
    whole = airways(ct, label, psf_mm=PSF_MM).iloc[0]
    array = sitk.GetArrayFromImage(label)
    tube = np.argwhere(array[:, :34])
    at = tube[:, np.ptp(tube, axis=0).argmax()]
    array[tuple(tube[np.abs(at - np.median(at)) <= 1.0].T)] = 0
    row = airways(ct, _image(array, 1.0), psf_mm=PSF_MM).iloc[0]
    assert row["n_branches"] == whole["n_branches"] == 2
    assert abs(row["wa_pct"] - whole["wa_pct"]) < 1.0
    assert "label in 2 pieces" in row["flag"]


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("inner", [1.5, 2.0, 3.0])
def test_tubes_along_the_grid(inner, shift):
    """Thinning leaves nothing of straight tubes an even number of voxels wide."""
    y, x = np.indices((24, 24))
    distance = np.hypot(y - 12 - shift, x - 12 - shift)
    sigma = np.sqrt(PSF_MM**2 + 1 / 12)
    plane = airway_fit.profile(distance, inner, 0.8, sigma, -1000.0, WALL_HU, LUNG_HU)
    for axis in (0, 2):
        hu, label = (
            np.ascontiguousarray(np.moveaxis(np.repeat(p[None], 30, axis=0), 0, axis))
            for p in (plane.astype(np.float32), (distance < inner).astype(np.uint8))
        )
        row = airways(_image(hu, 1.0), _image(label, 1.0), psf_mm=PSF_MM, wall_hu=WALL_HU).iloc[0]
        assert row["n_branches"] == 1
        assert row["lumen_diameter_mm"] == pytest.approx(2 * inner, abs=0.02)
        assert row["wa_pct"] == pytest.approx(100 * (1 - (inner / (inner + 0.8)) ** 2), abs=0.5)


def test_pieces_apart_from_the_trunk(picture):
    """They count, with an unknown generation."""
    ct, label, _ = picture
    array = sitk.GetArrayFromImage(label)
    whole = airway_branches(ct, label, psf_mm=PSF_MM, wall_hu=WALL_HU)
    victim = whole[whole["used"] & (whole["generation"] == 4)].iloc[0]
    at = ct.TransformPhysicalPointToContinuousIndex(victim[["x_mm", "y_mm", "z_mm"]].tolist())
    along = victim[["tangent_x", "tangent_y", "tangent_z"]].to_numpy(float)
    z, y, x = np.indices(array.shape)
    offset = np.stack((x, y, z), axis=-1) - np.array(at)  # voxels of 1 mm
    down = offset @ along
    near = np.linalg.norm(offset - down[..., None] * along, axis=-1) < 4.0
    start = 0.5 * victim["length_mm"]
    array[near & (down > -start) & (down < -start + 3.0)] = 0
    cut = sitk.GetImageFromArray(array)
    cut.CopyInformation(label)
    found = airway_branches(ct, cut, psf_mm=PSF_MM, wall_hu=WALL_HU)
    assert found.attrs["flag"] == "1 piece apart from the trunk"
    apart = found[found["piece"] > 0]
    assert len(apart) == 1
    assert apart["generation"].isna().all()
    assert apart["used"].all()
    assert float(apart["wall_mm"].iloc[0]) == pytest.approx(victim["wall_mm"], abs=0.05)
    assert found.loc[found["piece"] == 0, "generation"].notna().all()
    assert len(found) == len(whole) - 1  # the parent and its other child are one branch now
    assert found["used"].sum() >= whole["used"].sum() - 1


def test_tree_without_a_trachea(picture):
    """Generations are unknown, and the perimeter alone selects."""
    size = picture[0].GetSize()
    ct, label = (sitk.Crop(i, (0, 0, 0), (0, 0, 30)) for i in picture[:2])
    assert ct.GetSize()[2] == size[2] - 30
    found = airway_branches(ct, label)
    assert "no trachea: generations unknown; label in" in found.attrs["flag"]
    assert found["generation"].isna().all()
    assert (found["name"] == "").all()
    assert (found["parent"] >= 0).any()
    assert (found["used"] == found["perimeter_mm"].between(7.5, 25.0)).all()
    assert found["used"].any()


def test_unknown_generations_are_matched():
    """What is ahead of a lone tube is a matter of chance: the other way round it is the same."""

    class Still:
        def apply_points(self, points):
            return points

    first = airway_branches(*_tubes(1.0, 10.0, 5), psf_mm=PSF_MM)
    second = first.copy()
    second[["tangent_x", "tangent_y", "tangent_z"]] *= -1.0
    second.loc[2, "perimeter_mm"] = np.nan
    pair = match_branches(first, second, Still())
    assert pair[0]["branch"].tolist() == pair[1]["branch"].tolist() == list(range(6))
    assert pair[0]["used"].tolist() == [True, True, False, True, True, True]
    assert (pair[0]["used"] == pair[1]["used"]).all()


def test_rows_by_lobe(picture):
    ct, label, _ = picture
    z, _, x = np.indices(ct.GetSize()[::-1])
    lobes = np.where(x < x.max() / 2, np.where(z > 25, 1, 3), np.where(z > 25, 4, 5)).astype(
        np.uint8
    )
    image = sitk.GetImageFromArray(lobes)
    image.CopyInformation(ct)
    table = airways(ct, label, lobes=image)
    assert table["region"].tolist() == ["all", "RUL", "RML", "RLL", "LUL", "LLL", "lingula"]
    assert table["n_branches"].iloc[1:].sum() <= table["n_branches"].iloc[0]
    empty = table.set_index("region").loc["RML"]
    assert np.isnan(empty["wa_pct"])
    assert "no branch" in empty["flag"]


def test_nothing_to_measure(picture):
    ct, label, _ = picture
    empty = label * 0
    table = airways(ct, empty)
    assert table["n_branches"].tolist() == [0]
    assert table[MEASURES].isna().all(axis=None)
    assert "empty lumen label" in table["flag"].iloc[0]
    assert not len(airway_branches(ct, empty))
    array = sitk.GetArrayFromImage(empty)
    array[10:14, 10:14, 10:14] = 1
    dot = sitk.GetImageFromArray(array)
    dot.CopyInformation(ct)
    assert airways(ct, dot)["flag"].iloc[0]


def test_bad_input_is_named(picture):
    ct, label, _ = picture
    with pytest.raises(ValueError, match="another grid"):
        airways(ct, sitk.Crop(label, (1, 0, 0), (0, 0, 0)))
    with pytest.raises(ValueError, match="1 lumen and 2 wall"):
        airways(ct, label * 3 + sitk.BinaryDilate(label, [1, 1, 1]))
    with pytest.raises(ValueError, match="whole numbers"):
        airways(ct, sitk.Cast(label, sitk.sitkFloat32))
    with pytest.raises(ValueError, match="psf_mm"):
        airways(ct, label, psf_mm=20.0)
    broken = sitk.Cast(ct, sitk.sitkFloat32)
    size = broken.GetSize()
    broken[size[0] // 2, size[1] // 2, size[2] // 2] = float("nan")
    with pytest.raises(ValueError, match="no HU"):
        airways(broken, label)
    for plane, message in ((np.zeros(5), "plane"), (np.full((5, 5), np.nan), "finite")):
        with pytest.raises(ValueError, match=message):
            sections.measure_section(plane, 1.0)
    with pytest.raises(ValueError, match="unknown"):
        sections.measure_section(np.zeros((9, 9)), 1.0, method="zero crossing")
    assert np.isnan(sections.measure_section(np.full((21, 21), -870.0), 0.6)["wall_mm"])


def test_branches_are_matched_through_the_transform(branches):
    class Shift:
        def apply_points(self, points):
            return np.asarray(points) + np.array([5.0, -20.0, 7.0])

    moved = branches.copy()
    moved[["x_mm", "y_mm", "z_mm"]] += (6.0, -20.5, 7.5)
    moved = moved.sample(frac=1.0, random_state=1).drop(index=5)
    first, second = match_branches(branches, moved, Shift())
    assert len(first) == len(branches) - 1
    assert (first["branch"].to_numpy() == second["branch"].to_numpy()).all()
    assert (first["distance_mm"] < 1.3).all()
    assert (first["used"] == second["used"]).all()
    good = landmarks(branches, moved, first)
    assert good["matched_pct"] == 100
    assert good["apart_mm"] < 1.3
    assert good["registration_flag"] == ""
    off = moved.assign(x_mm=moved["x_mm"] + 2.0)
    found = landmarks(branches, off, match_branches(branches, off, Shift())[0])
    assert "mm apart on average, more than 1.5 mm" in found["registration_flag"]
    far = moved.assign(z_mm=moved["z_mm"] + 40.0)
    first, _ = match_branches(branches, far, Shift())
    assert len(first) < 0.3 * len(branches)
    found = landmarks(branches, far, first)
    assert "of the airways found again, less than 75 %" in found["registration_flag"]
    first, _ = match_branches(branches.iloc[:0], moved, Shift())
    assert not len(first)
    lost = landmarks(branches.iloc[:0], moved, first)
    assert lost["matched_pct"] == 0
    assert "0 % of the airways found again" in lost["registration_flag"]
    none = landmarks(branches.iloc[:0], moved.iloc[:0], first)
    assert np.isnan([none["matched_pct"], none["apart_mm"]]).all()
    assert none["registration_flag"] == ""


@pytest.mark.parametrize("emptied", [(True, False), (False, True), (True, True)])
def test_a_visit_without_airways_gives_no_numbers_and_no_crash(branches, tmp_path, emptied):
    class Still:
        def apply_points(self, points):
            return np.asarray(points)

    pair = []
    for number, empty in enumerate(emptied):
        path = tmp_path / f"{number}.tsv"
        tables.write(branches.iloc[:0] if empty else branches, path)
        pair.append(tables.read(path))
    for table in (*pair, *match_branches(*pair, Still())):
        assert airways_from_branches(table)["n_branches"].notna().all()
    for part in match_branches(*pair, Still()):
        assert airways_from_branches(part)["pi10_mm"].isna().all()


def test_frame_is_orthonormal():
    here = sections.frame((1.0, 2.0, 3.0), (0.2, -3.0, 1.0))
    assert np.allclose(here[1:] @ here[1:].T, np.eye(3))
    assert np.allclose(np.cross(here[3], here[1]), here[2])
    assert graphs.bounding_box(np.zeros((2, 2, 2), bool)) is None


def test_a_tube_that_ran_away_from_its_voxels_is_no_fit(monkeypatch):
    """Far from its voxels the equations of a tube become singular."""

    def singular(*_):
        raise np.linalg.LinAlgError

    y, x, z = (axis.ravel() for axis in np.mgrid[-6:7, -6:7, 0:1] * 0.6)
    points = np.stack([x, y, z], axis=1)
    hu = airway_fit.profile(np.hypot(x, y), 1.5, 1.0, 0.6, -1000.0, WALL_HU, LUNG_HU)
    start = np.array([0.0, 0.0, 0.0, 0.0, 1.2, 0.8, LUNG_HU, 0.0, 0.0])
    args = (points, hu, np.full(hu.size, 0.6), start, -1000.0, WALL_HU, np.ones(24, bool))
    args = (*args, airway_fit.disc_table(), 0)
    assert airway_fit.fit_tube(*args)[2] > 0
    monkeypatch.setattr(np.linalg, "solve", singular)
    assert airway_fit.fit_tube.py_func(*args)[2] == -1
