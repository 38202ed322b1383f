"""Parametric response map on arrays whose classes are known by hand."""

import numpy as np
import pytest
import SimpleITK as sitk

from lungitude.biomarkers.prm import CLASSES, COLUMNS, prm, prm_map


def image(values, kind=np.int16):
    return sitk.GetImageFromArray(np.asarray(values, kind).reshape(1, 2, -1))


# Each class twice, the thresholds themselves included: -950 and -856 are not below.
INSP = [-951, -950, -900, -960, -1000, -940, -100, -955]
EXP = [-857, -857, -856, -856, -900, -870, 40, -700]
TRUTH = [3, 2, 1, 4, 3, 2, 1, 4]


def test_map_follows_the_thresholds_strictly():
    found = prm_map(image(INSP), image(EXP), image([1] * 8, np.uint8))
    assert sitk.GetArrayFromImage(found).ravel().tolist() == TRUTH


def test_percentages_of_all_come_first_and_sum_to_100():
    table = prm(image(INSP), image(EXP), image([1, 1, 1, 0, 2, 2, 2, 0], np.uint8))
    assert list(table.columns) == COLUMNS
    row = table.iloc[0]
    assert len(table) == 1
    assert (row["region"], row["voxels"]) == ("all", 6)
    shares = row[["normal_pct", "fsad_pct", "emphysema_pct", "other_pct"]].astype(float)
    assert shares.tolist() == pytest.approx([100 / 3, 100 / 3, 100 / 3, 0])
    assert shares.sum() == pytest.approx(100)


def test_rows_of_the_lungs_and_an_empty_region():
    mask = image([1, 1, 1, 0, 1, 0, 0, 0], np.uint8)
    table = prm(image(INSP), image(EXP), mask, scheme="lungs").set_index("region")
    assert list(table.index) == ["all", "right", "left"]
    assert table.loc["right", "emphysema_pct"] == 50
    assert table.loc["left", "voxels"] == 0
    assert np.isnan(table.loc["left", ["normal_pct", "other_pct"]].astype(float)).all()


def test_rows_of_the_lobes():
    table = prm(image(INSP), image(EXP), image([1, 2, 3, 4, 5, 6, 1, 1], np.uint8), "lobes")
    assert list(table["region"]) == ["all", "RUL", "RML", "RLL", "LUL", "LLL", "lingula"]
    assert table["voxels"].tolist() == [8, 3, 1, 1, 1, 1, 1]


def test_vessels_are_left_out_on_request_only():
    mask = image([1] * 8, np.uint8)
    kept = prm(image(INSP), image(EXP), mask).iloc[0]
    out = prm(image(INSP), image(EXP), mask, vessel_hu=-500).iloc[0]
    assert (kept["voxels"], kept["vessel_pct"]) == (8, 0)
    assert np.isnan(kept["vessel_hu"])
    assert (out["voxels"], out["vessel_hu"], out["vessel_pct"]) == (7, -500, 12.5)
    assert out["normal_pct"] == pytest.approx(100 / 7)


def test_a_mask_without_voxels_gives_nan():
    row = prm(image(INSP), image(EXP), image([0] * 8, np.uint8)).iloc[0]
    assert row["voxels"] == 0
    assert np.isnan(row[[f"{name}_pct" for name in CLASSES]].astype(float)).all()


def test_bad_input_is_named():
    mask = image([1] * 8, np.uint8)
    with pytest.raises(ValueError, match="scheme"):
        prm(image(INSP), image(EXP), mask, scheme="thirds")
    with pytest.raises(ValueError, match="registered expiration"):
        prm(image(INSP), image(EXP)[1:], mask)
    with pytest.raises(ValueError, match="finite"):
        prm(image(INSP), image([np.nan] * 8, np.float32), mask)
