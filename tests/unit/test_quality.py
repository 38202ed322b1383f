"""Quality numbers of a plain chest, flags, changes between visits, pictures."""

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from PIL import Image
from unit import chest

from lungitude import images, overlays, protocol, quality

DECLARED = {"kv": [120], "slice_mm": 2.5, "kernel": ["B31f"], "contrast": False, "voxel_mm": 2.5}
TAGS = {
    "kv": 120.0,
    "slice_mm": 2.5,
    "kernel": "B31f",
    "contrast": False,
    "manufacturer": "A",
    "model": "M",
}


@pytest.fixture(scope="module")
def plain():
    """Chest and its true lungs."""
    image, truth, _ = chest.make()
    return image, images.from_array(truth, image)


def _row(image, lungs, tags=TAGS, declared=DECLARED):
    table = quality.measure(image, lungs, tags, declared)
    assert list(table) == quality.COLUMNS
    assert len(table) == 1
    return table.iloc[0]


def _codes(row):
    return [part.split(":")[0] for part in row["flags"].split("; ") if part]


def test_whole_chest(plain):
    row = _row(*plain)
    assert row["air_hu"] == pytest.approx(-1000, abs=1)
    assert row["noise_hu"] == pytest.approx(15, abs=1)
    assert row["blood_hu"] == pytest.approx(45, abs=1)
    assert row["blood_sd_hu"] == pytest.approx(15, abs=1)
    truth = images.array(plain[1])
    assert row["right_ml"] == pytest.approx((truth == 1).sum() * 2.5**3 / 1000)
    assert row["lungs_found"] == 2
    assert (row["voxel_mm"], row["spacing_z_mm"], row["size_z"]) == (2.5, 2.5, 100)
    assert row["border_pct"] == row["cut_top_mm2"] == row["cut_bottom_mm2"] == 0
    assert row["motion_ratio"] < 1.6
    assert row["n_flags"] == 0
    assert row["flags"] == ""


def test_contrast_is_seen_in_the_blood():
    image, truth, _ = chest.make(blood_hu=350.0)
    row = _row(image, images.from_array(truth, image))
    assert row["blood_hu"] == pytest.approx(350, abs=3)
    assert _codes(row) == ["contrast"]
    assert (
        _codes(
            _row(
                image,
                images.from_array(truth, image),
                {**TAGS, "contrast": True},
                {**DECLARED, "contrast": True},
            )
        )
        == []
    )


def test_cropped_scan(plain):
    image, lungs = plain
    cut = (slice(20, 108), slice(0, 100), slice(40, 100))
    row = _row(image[cut], lungs[cut])
    assert {"cropped_bottom", "cropped_sides"} <= set(_codes(row))
    assert _codes(_row(image[cut], lungs[cut], declared={"phase": "gated"})) == []


def test_one_lung_has_no_blood(plain):
    image, lungs = plain
    one = images.from_array(np.where(images.array(lungs) == 1, 1, 0).astype(np.uint8), image)
    row = _row(image, one)
    assert np.isnan(row["blood_hu"])
    assert "one_lung" in _codes(row)


def test_no_lung_is_not_guessed(plain):
    image, lungs = plain
    row = _row(image, lungs * 0, {}, {})
    assert row["lungs_found"] == 0
    assert np.isnan([row["border_pct"], row["blood_hu"], row["motion_ratio"]]).all()


def test_shifted_slices_are_motion(plain):
    image, lungs = plain
    values, mask = images.array(image).copy(), images.array(lungs).copy()
    values[:45], mask[:45] = np.roll(values[:45], 3, axis=1), np.roll(mask[:45], 3, axis=1)
    row = _row(images.from_array(values, image), images.from_array(mask, image))
    assert row["motion_ratio"] > 2
    assert row["motion_z_mm"] == pytest.approx(-125 + 45 * 2.5)
    assert _codes(row) == ["motion"]


def test_air_offset_and_noise(plain):
    image, lungs = plain
    row = _row(image + 40, lungs)
    assert row["air_hu"] == pytest.approx(-960, abs=1)
    assert _codes(row) == ["air_hu", "blood_hu"]


@pytest.mark.parametrize(
    ("tag", "value", "text"),
    [
        ("kv", 100.0, "kv: 100 kV (declared 120 kV)"),
        ("slice_mm", 5.0, "slice_mm: 5 mm (declared 2.5 mm)"),
        ("kernel", "B70f", "kernel: B70f (declared B31f)"),
        ("kernel", None, "kernel: not recorded (declared B31f)"),
        ("contrast", True, "contrast: header says with contrast medium (declared without)"),
        ("slice_mm", 1.25, "slices of 1.25 mm lie 2.5 mm apart"),
    ],
)
def test_protocol(plain, tag, value, text):
    assert text in _row(*plain, tags={**TAGS, tag: value})["flags"]


def test_protocol_voxel_and_kernel_case(plain):
    row = _row(*plain, declared={**DECLARED, "voxel_mm": 1.0, "kernel": "b31F", "kv": 120})
    assert row["flags"] == "voxel_mm: 2.5 mm (declared up to 1 mm)"


def _visits():
    table = pd.DataFrame(
        {
            "USUBJID": ["1", "1", "2", "2", "1"],
            "AVISIT": ["Baseline", "Week 6", "Baseline", "Week 6", "Week 12"],
            "SERIES": "insp",
            "kernel": ["B31f", "B70f", "B31f", np.nan, "B31f"],
            "manufacturer": "A",
            "slice_mm": [1.0, 1.0, 1.0, 1.0, 2.0],
            "kv": 120.0,
            "voxel_mm": [0.70, 0.72, 0.70, 0.70, 0.70],
            "air_hu": [-1000.0, -985.0, -1000.0, np.nan, -999.0],
            "n_flags": [0, 1, 0, 0, 0],
            "flags": [np.nan, "motion: x", np.nan, np.nan, np.nan],
        }
    )
    return table


def test_changes_between_visits():
    found = quality.changes_between_visits(_visits())
    assert list(found) == ["USUBJID", "AVISIT", "SERIES", "reference_visit", "code", "text"]
    assert found[["USUBJID", "AVISIT", "code"]].to_numpy().tolist() == [
        ["1", "Week 6", "change_kernel"],
        ["1", "Week 6", "change_air_hu"],
        ["1", "Week 12", "change_slice_mm"],
    ]
    assert found["text"].tolist() == [
        "B31f to B70f",
        "-1000 to -985 (limit 10)",
        "1 to 2 (limit 0.1)",
    ]
    assert len(quality.changes_between_visits(_visits().iloc[:0])) == 0


def test_changes_join_the_flags():
    table = protocol.with_changes(_visits())
    assert table["n_flags"].tolist() == [0, 3, 0, 0, 1]
    assert table["flags"].iloc[1] == (
        "motion: x; change_kernel: B31f to B70f; change_air_hu: -1000 to -985 (limit 10)"
    )
    assert table["flags"].isna().tolist() == [True, False, True, True, False]


def test_pictures_are_small_and_equal(plain, tmp_path):
    image, lungs = plain
    moved = images.from_array(np.roll(images.array(image), 5, axis=1), image)
    for name in ("a", "b"):
        overlays.lung_overlay(image, lungs, tmp_path / f"lung_{name}.png", "001   Week 6", ["x"])
        overlays.registration_overlay(image, moved, image, lungs, tmp_path / f"reg_{name}.png", "t")
        overlays.label_overlay(
            image,
            lungs,
            {1: (255, 0, 0), 2: (0, 0, 255)},
            tmp_path / f"label_{name}.png",
            "t",
            {1: "one", 2: "two"},
        )
    for kind in ("lung", "reg", "label"):
        first = (tmp_path / f"{kind}_a.png").read_bytes()
        assert first == (tmp_path / f"{kind}_b.png").read_bytes()
        assert len(first) < overlays.MAX_BYTES
        with Image.open(tmp_path / f"{kind}_a.png") as picture:
            assert picture.width > 300
            picture.verify()


def test_picture_of_noise_is_small_too(tmp_path):
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.integers(-1000, 200, (60, 400, 400)).astype(np.int16))
    overlays.lung_overlay(image, image * 0, tmp_path / "a.png", "noise")
    assert (tmp_path / "a.png").stat().st_size < overlays.MAX_BYTES
