"""Vessel particles, thirds of the lungs and simple density against the Chest Imaging Platform."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lungitude import biomarkers, images
from lungitude.biomarkers import regions
from lungitude.biomarkers.clusters import clusters
from lungitude.biomarkers.particles import particle_volumes, radius_mm

SMALL = Path(__file__).parents[1] / "data" / "cip_vessels"
CHEST = Path(__file__).parents[1] / "data" / "realct"


def _particles():
    """Places, scales and spacing of a binary VTK file."""
    raw = (SMALL / "vessel_particles.vtk").read_bytes()

    def block(key, n):
        start = raw.index(b"\n", raw.index(key)) + 1
        return np.frombuffer(raw[start : start + 4 * n], ">f4").astype(float)

    points = block(b"POINTS 479 float", 479 * 3).reshape(-1, 3)
    return points, block(b"scale 1 479 float", 479), block(b"spacing 3 1 float", 3)


def test_particles_equal_the_chest_imaging_platform():
    """Within the 1 % of the peer's random draw; exactly what its formulas give without one."""
    found = particle_volumes(*_particles())
    assert found["tbv_ml"] * 1000 == pytest.approx(4493.1982078, rel=0.01)
    assert found["bv5_ml"] * 1000 == pytest.approx(15.6746190252, rel=0.01)
    assert found["step_mm"] == pytest.approx(0.562355, abs=1e-6)
    assert found["tbv_ml"] * 1000 == pytest.approx(4496.675, abs=1e-3)
    assert found["bv5_ml"] * 1000 == pytest.approx(15.68675, abs=1e-5)
    assert found["tbv_sum_ml"] * 1000 == pytest.approx(27921.3, abs=0.05)
    assert found["n"] == 479


def test_particles_scale_with_the_voxel_and_refuse_nonsense():
    points, scale, spacing = _particles()
    wide = particle_volumes(2 * points, scale, 2 * spacing)
    once = particle_volumes(points, scale, spacing)
    assert wide["tbv_sum_ml"] == pytest.approx(8 * once["tbv_sum_ml"])
    assert radius_mm(1.0, 1.0) == pytest.approx(np.sqrt(2) * (np.sqrt(1.125) - np.sqrt(2) / 8))
    even = particle_volumes(points, np.ones(479), 1.0)  # one area: no density to estimate
    assert even["tbv_ml"] == pytest.approx(even["tbv_sum_ml"])
    with pytest.raises(ValueError, match="positive"):
        particle_volumes(points, scale - 1.0, spacing)
    with pytest.raises(ValueError, match=r"\(n,\)"):
        particle_volumes(points, scale[1:], spacing)


def test_thirds_equal_the_chest_imaging_platform():
    """Voxel for voxel: regions 9-11 left, 12-14 right, upper to lower."""
    ct = images.read(CHEST / "ct-64.nrrd")
    peer = images.array(images.read_labels(CHEST / "lm-64.nrrd", like=ct)) & 255
    lungs = np.where(peer >= 12, 1, np.where(peer >= 9, 2, 0)).astype(np.uint8)
    ours = images.array(regions.thirds(images.from_array(lungs, ct)))
    expected = np.zeros_like(lungs)
    for code, region in enumerate((12, 13, 14, 9, 10, 11), start=1):
        expected[peer == region] = code
    np.testing.assert_array_equal(ours, expected)
    table = biomarkers.parenchyma(ct, images.from_array(lungs, ct), "thirds")
    assert table["region"].tolist() == ["all", *regions.THIRDS]
    assert table.loc[1:, "voxels"].sum() == table.loc[0, "voxels"] == 65624
    assert table.loc[0, "sd_hu"] == pytest.approx(120.955, abs=5e-4)  # the peer's printed digits
    assert table.loc[0, "pd15_g_l"] == 45.0


def test_clusters_of_a_real_chest():
    """Numbers and sizes as scipy labels them; at 4 mm they have merged, too few for an exponent."""
    ct = images.read(CHEST / "ct-64.nrrd")
    lung = images.array(images.read_labels(CHEST / "lm-64.nrrd", like=ct)) & 255 > 0
    row = clusters(ct, images.from_array(lung.astype(np.uint8), ct)).iloc[0]
    parts, count = ndimage.label(lung & (images.array(ct) < -950), np.ones((3, 3, 3)))
    assert row["n_clusters"] == count
    largest = np.bincount(parts[parts > 0]).max() * images.voxel_ml(ct)
    assert row["largest_ml"] == pytest.approx(largest)
    assert row["flag"] == "few_clusters"
    assert np.isnan(row["cluster_exponent"])


def _simple(region=None, kind=None):
    """First row of the hand-made image, over one region or type."""
    ct = images.read(SMALL / "simple_ct.nrrd")
    labels = images.array(images.read_labels(SMALL / "simple_lm.nrrd", like=ct))
    # The peer's whole lung leaves out the trachea (region 0).
    mask = labels & 255 > 0
    if region:
        mask &= labels & 255 == region
    if kind:
        mask &= labels >> 8 == kind
    return biomarkers.parenchyma(ct, images.from_array(mask.astype(np.uint8), ct)).iloc[0], (
        images.array(ct)[mask]
    )


def test_simple_image_of_the_chest_imaging_platform():
    row, hu = _simple()
    assert row["laa950_pct"] == pytest.approx(5.55555, abs=1e-5)  # strict: -950 itself is not below
    assert row["laa910_pct"] == pytest.approx(11.11111, abs=1e-5)
    assert row["laa856_pct"] == pytest.approx(11.11111, abs=1e-5)
    assert row["sd_hu"] == pytest.approx(256.9695, abs=1e-4)
    assert row["volume_ml"] == pytest.approx(0.018)
    assert np.median(hu) == -825
    assert _simple(region=2)[0]["laa950_pct"] == 0
    left = _simple(region=3)[0]
    assert left["laa950_pct"] == pytest.approx(11.11111, abs=1e-5)
    assert left["mld_hu"] == pytest.approx(-773.333333, abs=1e-6)
    assert np.percentile(_simple(kind=2)[1], 10) == pytest.approx(-977)
    assert _simple(kind=3)[0]["perc15_hu"] == pytest.approx(-47)
