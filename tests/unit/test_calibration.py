"""Internal calibration of HU on a plain chest whose scale drifts."""

import numpy as np
import pytest
from unit import chest

from lungitude import biomarkers, images, quality
from lungitude.biomarkers.calibration import apply, internal_calibration


def _drift(ct, air, blood):
    """Shift air by `air` HU and blood by `blood` HU, linearly between, rounded as scanners do."""
    hu = images.array(ct).astype(float)
    slope = 1.0 + (blood - air) / 1045.0
    return images.from_array(np.rint(slope * (hu + 1000.0) - 1000.0 + air).astype(np.int16), ct)


@pytest.fixture(scope="module")
def scan():
    """A chest without drift, its lungs, and what calibration makes of it."""
    ct, truth, _ = chest.make()
    lungs = images.from_array(truth, ct)
    return ct, lungs, internal_calibration(ct, lungs)


def test_undrifted(scan):
    found = scan[2]
    assert found["flag"] == ""
    assert found["slope"] == pytest.approx(1.0, abs=0.003)
    assert found["measured_air_hu"] == pytest.approx(-1000, abs=1.0)
    assert found["measured_blood_hu"] == pytest.approx(45, abs=3.0)
    assert found["n_air"] > 500
    assert found["n_blood"] > 100
    assert 0 < found["error_hu"] < 1.0


@pytest.mark.parametrize(("air", "blood"), [(5.0, -3.0), (-8.0, 4.0), (10.0, 10.0)])
def test_drift_is_taken_back(scan, air, blood):
    """Each voxel of lung comes back within 1 HU of the same scan without drift."""
    ct, lungs, plain = scan
    drifted = _drift(ct, air, blood)
    found = internal_calibration(drifted, lungs)
    back = images.array(apply(drifted, found))
    inside = images.array(lungs) > 0
    expected = images.array(apply(ct, plain))
    assert np.abs(back - expected)[inside].max() < 1.0
    raw = [biomarkers.parenchyma(image, lungs)["mld_hu"][0] for image in (ct, drifted)]
    assert abs(raw[1] - raw[0]) > 2.0  # what it would have cost
    again = biomarkers.parenchyma(apply(drifted, found), lungs)["mld_hu"][0]
    assert again == pytest.approx(raw[0], abs=1.0)


def test_row_of_the_quality_table_is_enough(scan):
    ct, lungs, found = scan
    row = quality.measure(ct, lungs).iloc[0]
    assert internal_calibration(None, row=row) == found
    own = internal_calibration(None, row=row, blood_hu=row["blood_hu"])
    assert own["slope"] * row["blood_hu"] + own["offset"] == pytest.approx(row["blood_hu"])


def test_contrast_medium_is_refused():
    ct, truth, _ = chest.make(blood_hu=320.0)
    found = internal_calibration(ct, images.from_array(truth, ct))
    assert found["flag"] == "contrast"
    assert np.isnan(found["slope"])
    with pytest.raises(ValueError, match="contrast"):
        apply(ct, found)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"air_hu": np.nan}, "no_air"),
        ({"air_voxels": 3}, "no_air"),
        ({"blood_hu": np.nan, "blood_voxels": 0}, "no_blood"),
        ({"air_hu": -860.0}, "implausible_air"),
        ({"blood_hu": 2.0}, "implausible_blood"),
    ],
)
def test_no_reference_no_map(changes, flag):
    row = {"air_hu": -998.0, "blood_hu": 44.0, "air_voxels": 400, "blood_voxels": 300}
    row |= {"noise_hu": 20.0, "blood_sd_hu": 20.0, **changes}
    found = internal_calibration(None, row=row)
    assert found["flag"] == flag
    assert np.isnan(found["slope"])


def test_padding_stays_and_nonsense_is_refused(scan):
    ct = scan[0]
    hu = images.array(ct).copy()
    hu[0] = images.PADDING_HU
    padded = images.from_array(hu, ct)
    back = images.array(apply(padded, {"slope": 1.01, "offset": 5.0}))
    assert (back[0] == images.PADDING_HU).all()
    assert back[50, 50, 64] == pytest.approx(1.01 * hu[50, 50, 64] + 5.0, abs=1e-3)
    with pytest.raises(ValueError, match="below blood"):
        internal_calibration(ct, air_hu=50.0)
