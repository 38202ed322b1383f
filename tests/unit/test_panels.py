"""Panels: files small and reproducible, sides right, colours where things are."""

import io

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image

from lungitude import canvas, panels, panels_heart

SPACING = (3.0, 3.0, 3.0)
SHAPE = (64, 60, 84)  # z, y, x


def image(values, kind=np.int16, spacing=SPACING):
    made = sitk.GetImageFromArray(np.asarray(values, kind))
    made.SetSpacing(spacing)
    made.SetOrigin((-125.0, -90.0, -95.0))
    return made


def axes():
    return np.meshgrid(*[(np.arange(n) - n / 2 + 0.5) * 3.0 for n in SHAPE], indexing="ij")


@pytest.fixture(scope="module")
def chest():
    """Two lungs, a forked airway, an artery right and a vein left, and a map of PRM classes."""
    z, y, x = axes()
    lungs = np.zeros(SHAPE, np.uint8)
    for code, side in ((1, -1), (2, 1)):
        lungs[((x - 60 * side) / 48) ** 2 + (y / 70) ** 2 + (z / 85) ** 2 < 1] = code
    rng = np.random.default_rng(0)
    hu = np.where(lungs > 0, -860, 30) + rng.normal(0, 20, SHAPE)
    airways = np.zeros(SHAPE, np.uint8)
    airways[(x**2 + y**2 < 8**2) & (z > 10)] = 1
    for side in (-1, 1):
        t = x * side
        near = (y**2 + (z - 12 + 0.6 * t) ** 2 < 6**2) & (t > -1) & (t < 50)
        airways[near] = 1
    vessels = np.zeros(SHAPE, np.uint8)
    vessels[(lungs == 1) & (y**2 + z**2 < 5**2)] = 1
    vessels[(lungs == 2) & (y**2 + z**2 < 5**2)] = 2
    hu[airways > 0], hu[vessels > 0] = -990, 40
    prm = np.where(lungs > 0, 1 + (z > 0) + (z > 40), 0)
    return [image(hu), *(image(v, np.uint8) for v in (lungs, airways, vessels, prm))]


def pixels(path):
    data = path.read_bytes()
    assert len(data) < 300_000
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int), data


def near(picture, colour, reach=40):
    """Mark pixels of about a colour."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return (np.abs(picture - rgb) <= reach).all(axis=-1)


def test_chest_panel_is_small_reproducible_and_blind_to_orientation(chest, tmp_path):
    written = []
    turned = [sitk.Flip(sitk.PermuteAxes(v, (2, 0, 1)), (True, False, True)) for v in chest]
    for number, maps in enumerate((chest, turned)):
        path = tmp_path / f"{number}.png"
        panels.chest_panel(*maps, path=path, title="P-001 Baseline", lines=["5 l", "no flags"])
        picture, data = pixels(path)
        written.append(data)
    assert written[0] == written[1]
    for colour in (panels.VESSEL_COLOURS[1], panels.VESSEL_COLOURS[2], panels.PRM_COLOURS[3]):
        assert near(picture, colour, 4).sum() > 30


def test_the_patients_right_is_on_the_left(chest, tmp_path):
    ct, lungs = chest[:2]
    path = tmp_path / "chest.png"
    panels.chest_panel(ct, lungs, path=path, title="right lung orange, left one blue")
    picture, _ = pixels(path)
    height, width = picture.shape[:2]
    axial = picture[: int(0.75 * height), : int(0.38 * width)]  # without the legend
    right, left = (np.argwhere(near(axial, canvas.ORANGE)), np.argwhere(near(axial, canvas.SKY)))
    assert len(right) > 100
    assert len(left) > 100
    assert right[:, 1].max() < left[:, 1].min()


def test_each_part_adds_its_row_and_its_column(chest, tmp_path):
    sizes = []
    for number, extra in enumerate(
        ({}, {"airways": chest[2]}, {"vessels": chest[3], "prm": chest[4]})
    ):
        path = tmp_path / f"{number}.png"
        panels.chest_panel(*chest[:2], **extra, path=path, title="t")
        sizes.append(pixels(path)[0].shape)
    assert sizes[0][0] < sizes[1][0] < sizes[2][0]
    assert sizes[0][1] < sizes[1][1] == sizes[2][1]


def test_bad_input_is_named(chest, tmp_path):
    ct, lungs = chest[:2]
    with pytest.raises(ValueError, match="airways is on another grid"):
        panels.chest_panel(ct, lungs, chest[2][1:], path=tmp_path / "x.png", title="t")
    with pytest.raises(ValueError, match="lungs is empty"):
        panels.chest_panel(ct, lungs * 0, path=tmp_path / "x.png", title="t")
    assert not list(tmp_path.iterdir())


def test_empty_label_maps_leave_their_places_empty(chest, tmp_path):
    ct, lungs, airways, vessels, _ = chest
    panels.chest_panel(
        ct, lungs, airways * 0, vessels * 0, lungs * 0, path=tmp_path / "x.png", title="t"
    )
    pixels(tmp_path / "x.png")


# --- heart --------------------------------------------------------------------------------------


def heart(radius, scan=False):
    """A left ventricle whose apex points left, front and down, with a right one beside it."""
    z, y, x = axes()
    long = np.array([-0.7, 0.5, 0.5]) / np.linalg.norm([0.7, 0.5, 0.5])  # apex to base
    w = x * long[0] + y * long[1] + z * long[2]
    r2 = x**2 + y**2 + z**2 - w**2
    labels = np.zeros(SHAPE, np.uint8)
    side = np.array([-0.6, -0.8, 0.0])
    right = (x - 38 * side[0]) ** 2 + (y - 38 * side[1]) ** 2 + z**2 < 26**2
    labels[right & (w < 18)] = 3
    labels[(r2 / (radius + 10) ** 2 + w**2 / 55**2 < 1) & (w < 20)] = 2
    labels[(r2 / radius**2 + w**2 / 45**2 < 1) & (w < 20)] = 1
    if scan:
        return image(np.select([labels == 2, labels > 0], [110, 350], -80))
    return image(labels, np.uint8)


def test_heart_panel(tmp_path):
    volumes = 27 - 8 * np.sin(np.pi * np.arange(10) / 10) ** 2
    phases = [heart(r) for r in volumes]
    scans = [heart(volumes[0], True), *[None] * 4, heart(volumes[5], True), *[None] * 4]
    paths = [tmp_path / f"{n}.png" for n in range(2)]
    for path in paths:
        panels.heart_panel(phases, scans, path=path, title="t", lines=["10 phases"])
    picture, data = pixels(paths[0])
    assert data == pixels(paths[1])[1]
    for colour in (panels_heart.CAVITY, panels_heart.MUSCLE, panels_heart.RIGHT):
        assert near(picture, colour, 4).sum() > 100
    # Short axis, upper left picture: the right ventricle lies to the left of the left one.
    first = picture[60 : picture.shape[0] // 2 - 20, : picture.shape[1] // 7]
    right, cavity = (
        np.argwhere(near(first, c, 25))[:, 1] for c in (panels_heart.RIGHT, panels_heart.CAVITY)
    )
    assert np.median(right) < np.median(cavity)


def test_heart_panel_of_two_label_maps_alone(tmp_path):
    panels.heart_panel([heart(27), heart(19)], path=tmp_path / "x.png", title="t")
    assert near(pixels(tmp_path / "x.png")[0], panels_heart.CAVITY, 4).sum() > 100
    with pytest.raises(ValueError, match="nothing to draw"):
        panels.heart_panel([heart(27) * 0, heart(19) * 0], path=tmp_path / "y.png", title="t")


def test_planes_of_the_heart_follow_its_axis():
    planes = panels_heart._planes(heart(27))
    for name, (_, right, down) in planes.items():
        assert right @ down == pytest.approx(0, abs=1e-9)
        long = np.array([-0.7, 0.5, 0.5]) / np.linalg.norm([0.7, 0.5, 0.5])
        across = np.cross(right, down)
        if name.startswith("Short"):
            assert abs(across @ long) > 0.99
        else:
            assert down @ long < -0.99  # apex below
    oblique = panels_heart._sides(np.array([0.8, 0.6, 0]), np.array([0, 0, -1.0]))
    assert oblique == ("RA", "LP", "H", "F")
    assert panels_heart._sides(np.array([1.0, 0, 0]), np.array([0, 0, -1.0])) == tuple("RLHF")
    assert panels_heart._sides(np.array([0, 1.0, 0]), np.array([0, 0, -1.0])) == tuple("APHF")


def test_calcium_panel(tmp_path):
    shape = (20, 80, 80)
    hu = np.random.default_rng(0).normal(40, 10, shape)
    hu[8, 20:25, 20:24], hu[9, 50:53, 60:64] = 450, 250
    mask = np.zeros(shape, np.uint8)
    mask[4:16, 10:40, 10:40], mask[4:16, 45:70, 45:70] = 1, 3
    ct, mask = image(hu, spacing=(0.7, 0.7, 3.0)), image(mask, np.uint8, (0.7, 0.7, 3.0))
    paths = [tmp_path / f"{n}.png" for n in range(2)]
    for path in paths:
        panels.calcium_panel(ct, mask, path=path, title="t")
    picture, data = pixels(paths[0])
    assert data == pixels(paths[1])[1]
    for code in (1, 3):
        assert near(picture, panels_heart.VESSEL_COLOURS[code], 4).sum() > 50
    panels.calcium_panel(ct * 0, mask, path=tmp_path / "none.png", title="t")
    with pytest.raises(ValueError, match="mask is empty"):
        panels.calcium_panel(ct, mask * 0, path=tmp_path / "x.png", title="t")


# --- airway walls -------------------------------------------------------------------------------


def test_airway_fit_panel(tmp_path):
    n, h = 60, 0.8
    z, y, x = np.meshgrid(*[(np.arange(n) - n / 2 + 0.5) * h for _ in range(3)], indexing="ij")
    r = np.hypot(x, y)
    hu = np.where(r < 2.0, -1000, np.where(r < 3.2, 30, -870)) + 0.0 * z
    ct = sitk.SmoothingRecursiveGaussian(image(hu, np.float32, (h, h, h)), 0.7)
    ct.SetOrigin([-(n / 2 - 0.5) * h] * 3)
    rows = [
        {
            "branch": k, "name": "", "segment": "RB1", "generation": 3 + k, "wall_mm": 1.2,
            "lumen_diameter_mm": 4.0, "inner_area_mm2": 12.6 + k, "outer_area_mm2": 32.2 + 2 * k,
            "perimeter_mm": 9.0 + 2 * k, "x_mm": 0.0, "y_mm": 0.0, "z_mm": 2.0 * k - 4,
            "tangent_x": 0.0, "tangent_y": 0.0, "tangent_z": -1.0, "psf_mm": 0.7,
            "lumen_hu": -1000.0, "wall_hu": 30.0, "outside_hu": -870.0, "used": k < 3,
        }
        for k in range(4)
    ]  # fmt: skip
    branches = pd.DataFrame(rows)
    paths = [tmp_path / f"{k}.png" for k in range(2)]
    for path in paths:
        panels.airway_fit_panel(ct, branches, path=path, title="t", lines=["psf 0.7 mm"])
    picture, data = pixels(paths[0])
    assert data == pixels(paths[1])[1]
    assert near(picture, canvas.SKY, 4).sum() > 50
    with pytest.raises(ValueError, match="no branch was measured"):
        panels.airway_fit_panel(ct, branches[:0], path=tmp_path / "x.png", title="t")


def test_a_picture_of_pure_noise_still_fits_the_limit(tmp_path):
    made, area = canvas.figure(6, 6, "t")
    axes = made.add_axes((area[0], area[1], area[2] - area[0], area[3] - area[1]))
    noise = np.random.default_rng(0).normal(-500, 400, (600, 600))
    canvas.picture(axes, noise, (1, 1), canvas.LUNG_WINDOW_HU, "RLAP", 50.0)
    canvas.save(made, tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size < 300_000
