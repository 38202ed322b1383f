"""Hearts of patients: expert contours of the left ventricle in MR; blood and chambers in CT.

Provenance of the contours: tests/data/sunnybrook_contours. The CT is not part of the project: its
test reads the folder named by LUNGITUDE_REALDATA, and is skipped where there is none.
"""

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from skimage.draw import polygon2mask

from lungitude import images
from lungitude.biomarkers.agatston import agatston
from lungitude.biomarkers.ventricle import MUSCLE_G_ML, contour_volume, ventricle

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "sunnybrook_contours"
REAL = Path(os.environ.get("LUNGITUDE_REALDATA", ROOT.parent / "shared" / "realdata"))
REFERENCE = json.loads((DATA / "reference.json").read_text())


def contours(patient):
    """Polygons (x, y in pixels) by phase, kind and slice."""
    table = pd.read_csv(DATA / f"{patient}.tsv", sep="\t")
    return {
        (row.phase, row.kind, row.slice): np.array(
            [[float(v) for v in point.split(",")] for point in row.points.split()]
        )
        for row in table.itertuples()
    }


def stack(found, phase, kind):
    return [points for (p, k, _), points in sorted(found.items()) if (p, k) == (phase, kind)]


@pytest.mark.parametrize("patient", REFERENCE)
def test_contours_give_the_volumes_of_the_reference(patient):
    """All digits that the reference has; the goal is 1 %."""
    reference = REFERENCE[patient]
    grid = (reference["slice_mm"], reference["pixel_mm"])
    found = contours(patient)
    edv, esv, epi = (
        contour_volume(stack(found, *name), *grid)
        for name in (("ED", "endo"), ("ES", "endo"), ("ED", "epi"))
    )
    assert edv == pytest.approx(reference["EDV_ml"], abs=0.0051)
    assert esv == pytest.approx(reference["ESV_ml"], abs=0.0051)
    assert edv - esv == pytest.approx(reference["SV_ml"], abs=0.0101)
    assert 100 * (edv - esv) / edv == pytest.approx(reference["EF_pct"], abs=0.0051)
    assert MUSCLE_G_ML * (epi - edv) == pytest.approx(reference["LV_mass_g_ED_1.05"], abs=0.0051)


@pytest.mark.parametrize("patient", REFERENCE)
def test_label_maps_of_the_contours_give_them_too(patient):
    """Pixels whose centre lies within a contour: volumes and mass within 1 %.

    The points lie on halves of pixels, so contours run through centres of pixels, which would
    count as inside on all sides: 2 % too much. Pixels of a quarter, moved a little, have no ties.
    """
    fine, moved = 4, (0.61, 0.27)
    reference = REFERENCE[patient]
    found = contours(patient)
    depth = 1 + max(number for *_, number in found)
    maps = {phase: np.zeros((depth, 1024, 1024), np.uint8) for phase in ("ED", "ES")}
    for kind, code in (("epi", 2), ("endo", 1)):
        for (phase, this, number), points in found.items():
            if this == kind:
                inside = polygon2mask((1024, 1024), fine * points[:, ::-1] + moved)
                maps[phase][number][inside] = code
    phases = []
    for phase in ("ED", "ES"):
        label = sitk.GetImageFromArray(maps[phase])
        label.SetSpacing((*(mm / fine for mm in reference["pixel_mm"]), reference["slice_mm"]))
        phases.append(label)
    row = ventricle(phases).iloc[0]
    assert row["edv_ml"] == pytest.approx(reference["EDV_ml"], rel=0.01)
    assert row["esv_ml"] == pytest.approx(reference["ESV_ml"], rel=0.01)
    assert row["sv_ml"] == pytest.approx(reference["SV_ml"], rel=0.01)
    assert row["ef_pct"] == pytest.approx(reference["EF_pct"], rel=0.01)
    assert row["lvm_g"] == pytest.approx(reference["LV_mass_g_ED_1.05"], rel=0.01)
    assert row["flag"] == "no myocardium at end-systole: its mass is not checked"
    assert math.isnan(row["rv_edv_ml"])


@pytest.fixture(scope="module")
def angiography():
    folder = REAL / "totalseg_cta"
    if not folder.is_dir():
        pytest.skip("no folder of real CT; set LUNGITUDE_REALDATA")
    return folder, json.loads((folder / "reference.json").read_text())["computed_here"]


def test_volumes_of_labels_in_angiography(angiography):
    folder, reference = angiography
    for name, values in reference.items():
        label = images.read_labels(folder / name)
        volume = np.count_nonzero(images.array(label)) * images.voxel_ml(label)
        assert volume == pytest.approx(values["volume_ml"], abs=0.002), name


def test_angiography_is_refused_as_a_calcium_scan(angiography):
    folder, reference = angiography
    ct = images.read(next(folder.glob("**/ct*.nii.gz")))
    heart = images.read_labels(folder / "pulmonary" / "heart.nii.gz")
    heart = sitk.Resample(heart, ct, sitk.Transform(), sitk.sitkNearestNeighbor)
    with pytest.raises(ValueError, match="contrast medium has no Agatston"):
        agatston(ct, heart)
    aorta = images.read_labels(folder / "aorta" / "aorta_true_lumen.nii.gz", like=ct)
    row = agatston(ct, heart, convention="cta", blood=aorta).iloc[0]
    assert row["blood_hu"] == pytest.approx(
        reference["aorta/aorta_true_lumen.nii.gz"]["mean_HU"], abs=40
    )
    assert row["threshold_hu"] > row["blood_hu"]
