"""Calcium scores of the vectors of CalciumScoring.jl, exact.

Provenance: tests/data/calcium_vectors. The peer's arrays are (x, y, z), ours are (z, y, x).
"""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungitude.biomarkers.agatston import PEER_FROM_HU, agatston, integrated

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "data" / "calcium_vectors" / "reference.json").read_text()
)
CASES = {case["name"]: case for case in REFERENCE["cases"]}
SPACING = (0.5, 0.5, 0.5)


def scored(peer_array, **options):
    values = np.asarray(peer_array, np.int16).transpose(2, 1, 0)
    ct, mask = (sitk.GetImageFromArray(v) for v in (values, np.ones(values.shape, np.uint8)))
    for made in (ct, mask):
        made.SetSpacing(SPACING)
    return agatston(ct, mask, **{"convention": "calciumscoring", **options}).iloc[0]


def test_thresholds_and_weights():
    theirs = {int(kv): tuple(v) for kv, v in REFERENCE["thresholds_weights_by_kV"].items()}
    assert theirs == PEER_FROM_HU


def test_block():
    case = CASES["block 400 HU"]
    array = np.zeros((4, 4, 2))
    array[:, 0:2, :] = 400
    row = scored(array, mass_factor=0.00075)
    assert row["score"] == case["agatston"]
    assert row["volume_mm3"] == case["volume_mm3"]
    assert row["mass_mg"] == pytest.approx(case["mass_with_factor_0.00075"], rel=1e-14)
    # The clinical convention: slices of 0.5 mm count as a sixth of 3 mm.
    assert scored(array, convention="agatston")["score"] == pytest.approx(case["agatston"] / 6)


def test_nothing():
    row = scored(np.zeros((4, 4, 2)))
    assert (row["score"], row["volume_mm3"]) == (0, 0)


@pytest.mark.parametrize(("hu", "kv"), CASES["kV series"]["HU_kV_pairs"])
def test_tube_voltages(hu, kv):
    array = np.zeros((4, 7, 2))
    array[:, 1:4, :] = hu
    assert scored(array, kv=kv)["score"] == CASES["kV series"]["agatston_each"]


@pytest.mark.parametrize(("kv", "limits"), PEER_FROM_HU.items())
def test_weights_begin_where_the_peer_begins_them(kv, limits):
    """At 120 kV one HU earlier than Agatston's: 199, 299, 399."""
    for weight, limit in enumerate(limits, start=1):
        for hu, expected in ((limit, weight), (limit - 1, weight - 1)):
            array = np.zeros((4, 7, 2))
            array[:, 1:4, :] = hu
            assert scored(array, kv=kv)["score"] == 2 * 3 * expected


def test_volume_fraction():
    case = CASES["volume fraction 2D"]
    found = integrated(case["array"], case["hu_heart_tissue"], case["hu_calcium"])
    assert found == pytest.approx(case["voxels"], abs=1e-9)


def test_integrated():
    case = CASES["integrated"]
    array = np.full((2, 4, 4), case["S_bkg"])
    array[:, 1:3, 1:3] = case["S_obj"]
    assert integrated(array, case["S_bkg"], case["S_obj"]) == case["voxels"]
    volume = integrated(array, case["S_bkg"], case["S_obj"], 0.5**3)
    assert volume == case["volume_mm3_at_0.5mm"]
    assert 10 * volume == case["mass_rho10"]
