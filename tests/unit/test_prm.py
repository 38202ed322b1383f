"""Parametric response map on arrays whose classes are known by hand."""

import numpy as np
import pytest
import SimpleITK as sitk

from lungitude.biomarkers.prm import (
    CHANGES,
    CLASSES,
    COLUMNS,
    SHARES,
    air_noise,
    corrected,
    measures,
    prm,
    prm_map,
    transitions,
)
from lungitude.checks import schema
from lungitude.phantom import render, truth
from lungitude.registration import Transform


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
    assert list(table.columns) == SHARES
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


def test_a_label_map_of_vessels_leaves_them_out_too():
    vessels = image([0, 0, 2, 0, 1, 0, 0, 0], np.uint8)
    mask = image([1] * 8, np.uint8)
    row = prm(image(INSP), image(EXP), mask, vessels=vessels).iloc[0]
    assert (row["voxels"], row["vessel_pct"]) == (6, 25.0)
    both = prm_map(image(INSP), image(EXP), mask, vessel_hu=-500, vessels=vessels)
    assert sitk.GetArrayFromImage(both).ravel().tolist() == [3, 2, 0, 4, 0, 2, 0, 4]
    with pytest.raises(ValueError, match="label map of the vessels"):
        prm_map(image(INSP), image(EXP), mask, vessels=vessels[1:])


BEFORE = [1, 1, 1, 2, 2, 3, 0, 4]
AFTER = [1, 2, 0, 3, 2, 3, 1, 1]


def test_transitions_of_known_voxels():
    sides = image([1, 1, 1, 1, 2, 2, 2, 2], np.uint8)
    found = transitions(image(BEFORE, np.uint8), image(AFTER, np.uint8), sides, "lungs")
    assert list(found.columns) == CHANGES
    found = found.set_index("region")
    assert found["voxels"].tolist() == [6, 3, 3]
    whole = found.loc["all"]
    assert whole["normal_to_fsad_pct"] == pytest.approx(100 / 6)
    assert whole["fsad_to_emphysema_pct"] == pytest.approx(100 / 6)
    assert whole["other_to_normal_pct"] == pytest.approx(100 / 6)
    assert whole["emphysema_to_normal_pct"] == 0
    assert whole["emphysema_change_pct"] == pytest.approx(100 / 6)
    changes, moves = [f"{name}_change_pct" for name in CLASSES], list(CHANGES[6:])
    assert found[changes].sum(axis=1).tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    assert found[moves].sum(axis=1).tolist() == pytest.approx([100] * 3)
    assert found.loc["right", "fsad_change_pct"] == pytest.approx(0)


def test_transitions_need_voxels_of_both_visits():
    mask = image([1] * 8, np.uint8)
    found = transitions(image([1] * 8, np.uint8), image([0] * 8, np.uint8), mask).iloc[0]
    assert found["voxels"] == 0
    assert found[CHANGES[2:]].astype(float).isna().all()
    with pytest.raises(ValueError, match="follow-up"):
        transitions(image(BEFORE), image(AFTER)[1:], mask)


@pytest.mark.parametrize("sd", [(25.0, 18.0), (40.0, 30.0)])
def test_shares_lose_their_noise_where_the_truth_is_known(sd):
    """Three kinds of lung whose densities are spread about the thresholds, and known noise."""
    rng = np.random.default_rng(0)
    means = {"normal": (-870, -760), "fsad": (-890, -880), "emphysema": (-975, -930)}
    size = {"normal": 60_000, "fsad": 24_000, "emphysema": 36_000}
    parts = [rng.normal(means[k], 22, (size[k], 2)) for k in means]
    clean = np.concatenate(parts)
    noisy = clean + rng.normal(0, sd, clean.shape)
    mask = image(np.ones(len(clean)), np.uint8)
    known, raw = (prm(*(image(v, np.float32) for v in pair.T), mask) for pair in (clean, noisy))
    pair = [image(values, np.float32) for values in noisy.T]
    found = corrected(*pair, prm_map(*pair, mask), mask, sd).iloc[0, 1:5].to_numpy(float)
    known, raw = (table.loc[0, SHARES[2:6]].to_numpy(float) for table in (known, raw))
    assert found.sum() == pytest.approx(100)
    assert np.abs(found - known).max() < 0.35 * np.abs(raw - known).max()
    assert np.abs(found - known).max() < (1 if sd[0] == 25 else 2)


def test_noise_that_is_not_known_corrects_nothing():
    mask = image([1] * 8, np.uint8)
    pair = [image(INSP), image(EXP)]
    table = measures(*pair, prm_map(*pair, mask), mask)
    assert list(table.columns) == COLUMNS
    assert table.loc[0, "fsad_pct"] == 25
    assert np.isnan(table.loc[0, ["noise_insp_hu", "fsad_corrected_pct"]].astype(float)).all()
    with pytest.raises(ValueError, match="noise"):
        corrected(*pair, prm_map(*pair, mask), mask, (0.0, 10.0))


def test_parameters_can_name_every_column():
    spec = schema("sheets/parameters")
    assert spec["measures"]["prm"] == COLUMNS[1:]
    shares = [f"{name}_pct" for name in CLASSES]
    assert spec["compared"]["prm"] == ["voxels", *shares, *CHANGES[2:]]


@pytest.fixture(scope="module")
def breath():
    """A phantom with much emphysema at 1.5 mm: its scans and its true motion as a transform."""
    row = {"USUBJID": "S002", "AVISIT": "Baseline", "LUNGVOL_L": 3.0, "EXPRATIO": 0.75}
    row |= {"EMPH_PCT": 25.0, "FSAD_PCT": 35.0, "LUNG_HU": -880.0}
    section = {"voxel_mm": [1.5] * 3, "vessel_terminals": 400, "noise_hu": 25.0}
    scans = render.render(render.prepare(row, section))
    insp = scans["insp"]
    # The motion is smooth: nodes of 6 mm tell it to a hundredth of a millimetre.
    nodes = sitk.Shrink(insp.grid.image(insp.t1), [4] * 3)
    index = np.stack(np.indices(nodes.GetSize()[::-1])[::-1], axis=-1).reshape(-1, 3)
    points = np.array(nodes.GetOrigin()) + index * np.array(nodes.GetSpacing())
    moved = truth.map_points(insp.record, "insp", scans["exp"].record, "exp", points)
    shape = (*nodes.GetSize()[::-1], 3)
    field = sitk.GetImageFromArray((moved - points).reshape(shape), isVector=True)
    field.CopyInformation(nodes)
    return scans, Transform(sitk.DisplacementFieldTransform(field))


def shares_of(scans, motion, values):
    """Return shares of the map and corrected ones, measured on some images of the phases."""
    insp, exp = (scan.grid.image(values(scan)) for scan in scans.values())
    exp = motion.resample(exp, like=insp)
    lungs = scans["insp"].grid.image((scans["insp"].lobes > 0).astype(np.uint8))
    classes = prm_map(insp, exp, lungs)
    noise = air_noise(insp, exp)
    table = prm(insp, exp, lungs).iloc[0][SHARES[2:6]].to_numpy(float)
    return table, corrected(insp, exp, classes, lungs, noise).iloc[0, 1:5].to_numpy(float), noise


def test_a_phantom_without_noise_gives_its_truth(breath):
    scans, motion = breath
    known = np.array([truth.response(scans)[name] for name in SHARES[2:6]])
    found, _, _ = shares_of(scans, motion, lambda scan: scan.t1)
    assert found == pytest.approx(known, abs=0.3)


def test_a_noisy_phantom_gives_its_truth_once_corrected(breath):
    scans, motion = breath
    known = np.array([truth.response(scans)[name] for name in SHARES[2:6]])
    raw, found, noise = shares_of(scans, motion, render.deliver)
    assert noise == pytest.approx((25.0, 17.8), abs=1.8)
    assert found == pytest.approx(known, abs=0.6)
    assert raw == pytest.approx(known, abs=2.0)
    assert np.abs(found - known).max() < 0.5 * np.abs(raw - known).max()


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
