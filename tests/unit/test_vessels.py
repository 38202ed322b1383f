"""Vessels: tubes and trees with closed-form truth, laws on made-up radii, properties, faults."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from unit import tubes

from lungitude import images
from lungitude.biomarkers import fractal, vessel_samples
from lungitude.biomarkers.vessels import COLUMNS, RADII_MM, radius_law, vessel_segments, vessels

SIZE_MM = 62.0
EDGE_MM = 3.0
BOXED = ["tbv_ml", "bv5_ml", "bv5_pct", "bv10_ml", "fractal_dimension", "alpha", "beta", "length_m"]


def _lungs(n, voxel_mm):
    """A lung that fills the image but for its rim, with its corners in mm."""
    m = int(np.ceil(EDGE_MM / voxel_mm))
    mask = np.zeros((n, n, n), np.uint8)
    mask[m : n - m, m : n - m, m : n - m] = 1
    corners = np.full(3, (m - 0.5) * voxel_mm), np.full(3, (n - m - 0.5) * voxel_mm)
    return tubes.image(mask, voxel_mm), *corners


def _tree_scan(table, voxel_mm, noise_hu=25.0, seed=0):
    n = int(SIZE_MM / voxel_mm)
    ct, label = tubes.scan(table, (n, n, n), voxel_mm, noise_hu=noise_hu, seed=seed)
    lungs, low, high = _lungs(n, voxel_mm)
    return ct, label, lungs, low, high


@pytest.fixture(scope="module")
def trees():
    """Two patients' vessels, and scans of them at 0.7 mm with noise of 25 HU."""
    made = []
    for seed in (1, 3):
        table = tubes.tree(seed)
        made.append((table, *_tree_scan(table, 0.7, seed=seed)))
    return made


def _tube(radius, way, voxel_mm, noise_hu, seed=0, length_mm=26.0):
    way = np.array(way, float) / np.linalg.norm(way)
    n = int((length_mm + 14.0) / voxel_mm)
    middle = np.full(3, n * voxel_mm / 2) + 0.3 * voxel_mm * np.array([1, -0.7, 0.4])
    table = {
        "p0": (middle - 0.5 * length_mm * way)[None],
        "p1": (middle + 0.5 * length_mm * way)[None],
        "radius": np.array([radius]),
    }
    ct, label = tubes.scan(table, (n, n, n), voxel_mm, noise_hu=noise_hu, seed=seed)
    return ct, label, tubes.image(np.ones((n, n, n), np.uint8), voxel_mm)


@pytest.mark.parametrize("way", [(0, 0, 1), (1, 0.6, 0.3), (-0.4, 1, 0.9)])
@pytest.mark.parametrize("radius", [1.0, 1.26, 2.0])
def test_radius_within_5_pct_from_1_mm(radius, way):
    """At 0.7 mm voxels, point spread 0.5 mm, noise 25 HU, any tilt; the label isn't the measure."""
    ct, label, lungs = _tube(radius, way, 0.7, 25.0)
    longest = vessel_segments(label, lungs, ct).nlargest(1, "length_mm").iloc[0]
    assert longest["radius_mm"] == pytest.approx(radius, rel=0.05)
    assert longest["length_mm"] == pytest.approx(26.0, abs=1.5)
    assert longest["background_hu"] == pytest.approx(tubes.LUNG_HU, abs=3.0)


@pytest.mark.parametrize("voxel_mm", [0.7, 1.0, 1.25])
@pytest.mark.parametrize("radius", [0.6, 0.8, 1.26])
def test_partial_volume_is_conserved(radius, voxel_mm):
    """Without noise, 2 % in radius down to half a voxel: the label alone is off by up to half."""
    ct, label, lungs = _tube(radius, (1, 0.6, 0.3), voxel_mm, 0.0)
    longest = vessel_segments(label, lungs, ct).nlargest(1, "length_mm").iloc[0]
    assert longest["radius_mm"] == pytest.approx(radius, rel=0.02)


@pytest.mark.parametrize("psf_mm", [0.35, 0.9])
def test_the_kernel_does_not_matter(psf_mm):
    n = 56
    table = {
        "p0": np.array([[8.0, 9, 7]]),
        "p1": np.array([[30.0, 27, 33]]),
        "radius": np.array([1.2]),
    }
    ct, label = tubes.scan(table, (n, n, n), 0.7, psf_mm=psf_mm)
    lungs = tubes.image(np.ones((n, n, n), np.uint8), 0.7)
    found = vessel_segments(label, lungs, ct, psf_mm=psf_mm).nlargest(1, "length_mm").iloc[0]
    assert found["radius_mm"] == pytest.approx(1.2, rel=0.03)
    assert vessels(label, lungs, ct, psf_mm=psf_mm)["psf_mm"][0] == psf_mm


def test_tree_volumes_and_dimension(trees):
    """Two trees, 0.7 mm, 25 HU: BV5/TBV within 2.5 points, TBV 4 %, dimension 0.03."""
    errors = []
    for table, ct, label, lungs, low, high in trees:
        row, true = vessels(label, lungs, ct).iloc[0], tubes.truth(table, low, high)
        errors.append(row["bv5_pct"] - true["bv5_pct"])
        assert row["tbv_ml"] == pytest.approx(true["tbv_ml"], rel=0.04)
        assert row["bv5_ml"] == pytest.approx(true["bv5_ml"], rel=0.08)
        points = fractal.along(table["p0"], table["p1"])
        points = points[((points > low) & (points < high)).all(axis=1)]
        dimension = fractal.fractal_dimension(points)["fractal_dimension"]
        assert row["fractal_dimension"] == pytest.approx(dimension, abs=0.03)
        assert row["method"] == "integral"
        assert row["flag"] == ""
    assert np.sqrt(np.mean(np.square(errors))) < 2.5


def test_pruned_tree(trees):
    """A tenth of the small vessels' length gone: seen, and within a quarter of its size."""
    for table, ct, label, lungs, low, high in trees:
        rng = np.random.default_rng(5)
        leaf = ~np.isin(np.arange(len(table["radius"])), table["parent"])
        small = np.pi * table["radius"] ** 2 < 5.0
        length = np.linalg.norm(table["p1"] - table["p0"], axis=1)
        order = rng.permutation(np.flatnonzero(leaf & small))
        gone = order[np.cumsum(length[order]) <= 0.1 * length[small].sum()]
        keep = np.setdiff1d(np.arange(len(length)), gone)
        less = {name: values[keep] for name, values in table.items()}
        true = [tubes.truth(part, low, high)["bv5_ml"] for part in (table, less)]
        n = int(SIZE_MM / 0.7)
        after = tubes.scan(less, (n, n, n), 0.7, noise_hu=25.0, seed=77)
        found = [
            vessels(labels, lungs, image)["bv5_ml"][0] for image, labels in ((ct, label), after)
        ]
        assert true[1] < true[0]
        assert found[1] - found[0] == pytest.approx(true[1] - true[0], rel=0.25)


def test_arteries_and_veins_add_up(trees):
    _, ct, label, lungs, _, _ = trees[0]
    table = vessels(label, lungs, ct, "lungs")
    assert list(table) == COLUMNS
    assert table["region"].tolist() == ["all", "right", "left", "artery", "vein"]
    row = table.set_index("region")
    for name in ("tbv_ml", "bv5_ml", "bv10_ml", "length_m", "n_branches"):
        assert row.loc["artery", name] + row.loc["vein", name] == pytest.approx(
            row.loc["all", name]
        )
        assert row.loc["right", name] == pytest.approx(row.loc["all", name])
    assert row.loc["left", "flag"] == "no_vessel"
    assert np.isnan(row.loc["left", "tbv_ml"])
    one = sitk.Cast(label > 0, sitk.sitkUInt8)
    merged = vessels(one, lungs, ct)
    assert merged["region"].tolist() == ["all"]
    assert merged["tbv_ml"][0] == pytest.approx(row.loc["all", "tbv_ml"], rel=0.03)


def test_segments_tell_where(trees):
    table, ct, label, lungs, low, high = trees[1]
    found = vessel_segments(label, lungs, ct)
    assert set(found["kind"]) == {1, 2}
    middle = found[["x_mm", "y_mm", "z_mm"]].to_numpy()
    assert ((middle > low - 1) & (middle < high + 1)).all()
    # Each lies on a true axis, and most have its radius.
    share = np.linspace(0, 1, 40)[:, None, None]
    spots = table["p0"] + share * (table["p1"] - table["p0"])
    far = np.linalg.norm(spots[None] - middle[:, None, None], axis=3).min(axis=1)
    assert np.quantile(far.min(axis=1), 0.9) < 0.7
    long = found["length_mm"].to_numpy() > 5.0
    error = found["radius_mm"][long] / table["radius"][far.argmin(axis=1)[long]] - 1
    assert abs(error.median()) < 0.03
    assert error.abs().quantile(0.75) < 0.1
    whole = vessels(label, lungs, ct).iloc[0]
    assert found["volume_ml"].sum() == pytest.approx(whole["tbv_ml"], rel=0.05)


def test_label_alone(trees):
    """Without an image volumes are those of the label."""
    _, _, label, lungs, _, _ = trees[0]
    row = vessels(label, lungs).iloc[0]
    inside = (images.array(label) > 0) & (images.array(lungs) > 0)
    assert row["tbv_ml"] == pytest.approx(inside.sum() * 0.343e-3, rel=0.03)
    assert row["method"] == "label"
    assert np.isnan(row["blood_hu"])


def test_local_background():
    """A vessel half in lung, half in emphysema: each stretch has its own background."""
    n = 76
    table = {
        "p0": np.array([[6.0, 26, 26]]),
        "p1": np.array([[47.0, 26, 27]]),
        "radius": np.array([1.2]),
    }
    share = tubes.cover(table, (n, n, n), 0.7, 0.55)
    around = np.where(np.arange(n) * 0.7 < 26.5, -985.0, -870.0)
    hu = around + (45.0 - around) * share
    label = tubes.image((tubes.cover(table, (n, n, n), 0.7, 0.03) > 0.5).astype(np.uint8), 0.7)
    lungs = tubes.image(np.ones((n, n, n), np.uint8), 0.7)
    row = vessels(label, lungs, tubes.image(np.rint(hu).astype(np.int16), 0.7)).iloc[0]
    assert row["tbv_ml"] == pytest.approx(np.pi * 1.2**2 * (41.0 + 1.6) / 1000.0, rel=0.04)
    assert row["flag"] == "blood_assumed"


def test_bv5_is_an_area():
    """5 mm^2 is a diameter of 2.52 mm: a vessel of 3.2 mm is not small."""
    for radius, small in ((1.1, True), (1.6, False)):
        ct, label, lungs = _tube(radius, (0.2, 1, 0.1), 0.7, 0.0)
        row = vessels(label, lungs, ct).iloc[0]
        assert row["bv5_pct"] == (100.0 if small else 0.0)
        assert row["bv10_ml"] == pytest.approx(row["tbv_ml"])


def test_radius_law():
    edges = np.array(RADII_MM)
    middle = np.sqrt(edges[:-1] * edges[1:])
    length = 10**3.2 * middle**-2.5 * np.diff(edges)
    found = radius_law(middle, length)
    assert found["alpha"] == pytest.approx(-2.5)
    assert found["beta"] == pytest.approx(3.2)
    assert found["law_r2"] == pytest.approx(1.0)
    assert (found["law_low_mm"], found["law_high_mm"]) == pytest.approx((0.8, 4.0))
    semi = radius_law(middle, 10 ** (3.0 - 0.6 * middle) * np.diff(edges))
    assert semi["alpha_semilog"] == pytest.approx(-0.6)
    assert semi["beta_semilog"] == pytest.approx(3.0)
    pruned = radius_law(middle, length * np.where(middle < 1.2, 0.5, 1.0))
    assert pruned["alpha"] > found["alpha"]
    assert all(np.isnan(v) for v in radius_law([1.0, 2.0], [5.0, 5.0]).values())


@settings(deadline=None, max_examples=6)
@given(order=st.permutations([0, 1, 2]), flips=st.tuples(*[st.booleans()] * 3))
def test_axes_type_and_cropping_do_not_matter(order, flips):
    ct, label, lungs = _fork()
    first = vessels(label, lungs, ct)
    whole = [ct, label, lungs]
    turned = [sitk.Flip(sitk.PermuteAxes(part, order), list(flips)) for part in whole]
    padded = [sitk.ConstantPad(part, (3, 9, 0), (5, 1, 7), 0) for part in whole]
    broken = [sitk.Cast(ct, sitk.sitkFloat32), label, lungs]
    for image, tube, lung in (turned, padded, broken):
        found = vessels(tube, lung, image)
        np.testing.assert_allclose(
            found[BOXED].to_numpy(float), first[BOXED].to_numpy(float), rtol=1e-6
        )


def _fork(voxel_mm=1.0):
    """A small fork deep in a lung."""
    table = {
        "p0": np.array([[20.0, 20, 10], [20, 20, 22], [20, 20, 22]]),
        "p1": np.array([[20.0, 20, 22], [13, 24, 33], [28, 17, 32]]),
        "radius": np.array([1.9, 1.4, 1.6]),
    }
    ct, label = tubes.scan(table, (44, 42, 42), 1.0, noise_hu=10.0)
    mask = np.zeros((44, 42, 42), np.uint8)
    mask[8:36, 8:34, 8:34] = 1
    lungs = tubes.image(mask, 1.0)
    for part in (ct, label, lungs):
        part.SetSpacing((voxel_mm,) * 3)
    return ct, label, lungs


def test_volume_goes_with_the_voxel():
    small, large = (vessels(*_fork(mm)[1:], None).iloc[0] for mm in (1.0, 1.2))
    assert large["tbv_ml"] == pytest.approx(1.2**3 * small["tbv_ml"], rel=0.02)
    assert large["length_m"] == pytest.approx(1.2 * small["length_m"], rel=0.05)
    assert large["spacing_mm"] == "1.2 1.2 1.2"


def test_nothing_there():
    ct, label, lungs = _fork()
    none = sitk.Image(label) * 0
    for parts in ((none, lungs, ct), (label, none, ct), (none, none, None)):
        table = vessels(*parts, scheme="lungs")
        assert table["region"].tolist() == ["all", "right", "left"]
        assert table["flag"].tolist() == ["no_vessel"] * 3
        assert table[BOXED].isna().all().all()
        assert vessel_segments(*parts).empty
    coarse = vessels(*_fork(2.0)[1:]).iloc[0]
    assert coarse["flag"] == "coarse"
    beside = images.array(lungs).copy()
    beside[10:] = 0
    apart = vessels(label, images.from_array(beside, lungs), ct).iloc[0]
    assert "vessels_outside_lungs" in apart["flag"]


def test_an_end_without_label_right_ahead_stays_where_it_is():
    """A speck beyond a gap, with the end of one radius before it in the gap."""
    depth = np.zeros((20, 9, 9), np.float32)
    depth[14, 4, 4] = 0.5
    points = np.stack([np.arange(6.0, 13.0), *np.full((2, 7), 4.0)], axis=1)
    tangents = np.tile([1.0, 0.0, 0.0], (7, 1))
    found = vessel_samples._to_tips(points, tangents, (False, True), 1.5, depth, (1.0, 1.0, 1.0))
    assert (found == points).all()


def test_faults():
    ct, label, lungs = _fork()
    other = sitk.Image(label)
    other.SetSpacing((1.0, 1.0, 2.0))
    with pytest.raises(ValueError, match="vessel label map is on another grid"):
        vessels(other, lungs, ct)
    with pytest.raises(ValueError, match="image is on another grid"):
        vessels(label, lungs, ct[:-1])
    with pytest.raises(ValueError, match="whole numbers"):
        vessels(sitk.Cast(label, sitk.sitkFloat32), lungs, ct)
    with pytest.raises(ValueError, match="absurd"):
        vessels(label, lungs, ct, psf_mm=-1.0)
    with pytest.raises(ValueError, match="scheme 'thirds of it' is unknown"):
        vessels(label, lungs, ct, "thirds of it")
    bad = images.array(ct).astype(np.float32)
    bad[20, 20, 20] = np.inf
    with pytest.raises(ValueError, match="no finite HU"):
        vessels(label, lungs, images.from_array(bad, ct))
