"""Scores of segmentations against bodies whose answer is known, brute force, scipy and MONAI."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai import metrics
from scipy import ndimage, spatial, stats
from skimage import measure

from lungitude.networks import scores

CUBIC, THICK = (1.0, 1.0, 1.0), (2.5, 0.7, 0.8)
CODES = {"body": 1}
NUMBERS = ["dice", "iou", "hd95_mm", "asd_mm", "surface_dice"]


def one(found, truth, spacing=CUBIC, tolerance_mm=1.0):
    """Row of a single structure."""
    found, truth = (np.asarray(mask).astype(np.uint8) for mask in (found, truth))
    return scores.overlap(found, truth, CODES, spacing, tolerance_mm).iloc[0]


def box(shape, low, high):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def ball(radius_mm, spacing=CUBIC, size_mm=40.0, middle=(0.0, 0.0, 0.0)):
    lines = [(np.arange(int(size_mm / mm)) - int(size_mm / mm) / 2) * mm for mm in spacing]
    z, y, x = np.meshgrid(*lines, indexing="ij")
    return (z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2 < radius_mm**2


def blob(seed, shape=(14, 18, 16), level=0.0):
    """A ragged body of several pieces, some of them at the border."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    return ndimage.gaussian_filter(noise, 2.0) > level


def peer(mask):
    """One-hot, batch first, as MONAI wants it."""
    return torch.as_tensor(np.asarray(mask, np.float32))[None, None]


# Overlap


@pytest.mark.parametrize("shift", [1, 3, 10, 12])
def test_shifted_cubes(shift):
    truth = box((30, 14, 14), (2, 2, 2), (12, 12, 12))
    row = one(np.roll(truth, shift, axis=0), truth, (0.5, 0.8, 0.8), tolerance_mm=0.5 * shift)
    common = max(0, 10 - shift)
    assert row["dice"] == pytest.approx(common / 10)
    assert row["iou"] == pytest.approx(common / (20 - common))
    assert row["surface_dice"] == 1  # nothing is farther than the shift
    assert row["hd95_mm"] == pytest.approx(0.5 * shift)
    assert row["volume_found_ml"] == pytest.approx(1000 * 0.32 / 1000)
    assert row["status"] == "scored"


def test_sides_of_a_shifted_cube_are_free():
    # A cube of n has 6 n^2; of a shift by s along z the two faces are s away, a rim of s of the
    # sides up to s, the rest 0: asd below s / 3 and above (2 / 6) s (n - 2) / n less corners.
    n, shift = 30, 2
    truth = box((40, 36, 36), (3, 3, 3), (3 + n,) * 3)
    row = one(np.roll(truth, shift, axis=0), truth, tolerance_mm=0.5)
    faces = 2 * n**2 * shift + 4 * n * (shift * (shift - 1) / 2)  # mm3 of each surface
    assert row["asd_mm"] == pytest.approx(faces / (6 * n**2), rel=0.05)
    assert row["surface_dice"] == pytest.approx(
        1 - (2 * n**2 + 4 * n * shift) / (6 * n**2), abs=0.03
    )


@pytest.mark.parametrize("spacing", [CUBIC, THICK])
def test_balls_one_in_another(spacing):
    row = one(ball(14.0, spacing), ball(11.0, spacing), spacing, tolerance_mm=5.0)
    assert row["volume_found_ml"] == pytest.approx(4 / 3 * np.pi * 1.4**3, rel=0.02)
    assert row["volume_truth_ml"] == pytest.approx(4 / 3 * np.pi * 1.1**3, rel=0.02)
    assert row["iou"] == pytest.approx((11 / 14) ** 3, rel=0.03)
    assert row["dice"] == pytest.approx(2 * 11**3 / (11**3 + 14**3), rel=0.03)
    assert row["asd_mm"] == pytest.approx(3.0, abs=0.07 * max(spacing))
    assert row["hd95_mm"] == pytest.approx(3.0, abs=0.35)
    assert row["surface_dice"] == 1
    assert one(ball(14.0, spacing), ball(11.0, spacing), spacing, 1.5)["surface_dice"] < 0.05


def test_one_voxel_two_apart():
    # The example of the authors of the surface Dice: half the corners lie 1 mm apart, half 2 mm.
    found, truth = np.zeros((2, 8, 8, 8), bool)
    found[4, 4, 2] = truth[4, 4, 4] = True
    row = one(found, truth, (3.0, 2.0, 1.0))
    # The surface of a voxel is an octahedron, whose faces have their middles at a sixth.
    assert list(row[NUMBERS]) == pytest.approx([0, 0, 2.0, (2.0 + 5 / 3) / 2, 0.5])
    assert list(one(truth, truth)[NUMBERS]) == [1, 1, 0, 0, 1]


def test_the_tolerance_is_met_by_what_is_equal_to_it():
    truth = box((20, 8, 8), (2, 2, 2), (10, 6, 6))
    for mm in (0.7, 0.1, 1 / 3):
        row = one(np.roll(truth, 3, axis=0), truth, (mm,) * 3, tolerance_mm=3 * mm)
        assert row["surface_dice"] == 1


def test_empty_maps():
    body, empty = ball(6.0, size_mm=16.0), np.zeros((16, 16, 16), bool)
    for found, truth, status in ((body, empty, "invented"), (empty, body, "missed")):
        row = one(found, truth)
        assert list(row[NUMBERS]) == [0, 0, np.inf, np.inf, 0]
        assert row["status"] == status
        assert {row["volume_found_ml"] > 0, row["volume_truth_ml"] > 0} == {True, False}
    row = one(empty, empty)
    assert row[NUMBERS].isna().all()
    assert (row["status"], row["volume_truth_ml"]) == ("absent", 0)


def test_structures_are_scored_each_on_its_own():
    truth = np.zeros((20, 20, 20), np.int16)
    truth[2:10, 2:10, 2:10] = 3
    truth[10:18, 2:10, 2:10] = 700
    found = np.where(truth == 3, 700, np.where(truth == 700, 3, 0))
    found[2, 2, 2] = 3
    codes = {"b": 700, "a": 3, "none": 5}
    table = scores.overlap(found, truth, codes, CUBIC)
    assert list(table.columns) == scores.COLUMNS
    assert list(table["STRUCTURE"]) == ["b", "a", "none"]
    assert list(table["status"]) == ["scored", "scored", "absent"]
    for name, code in (("b", 700), ("a", 3)):
        row = table.set_index("STRUCTURE").loc[name]
        alone = one(found == code, truth == code)
        pd.testing.assert_series_equal(row, alone.drop("STRUCTURE"), check_names=False)
    assert scores.overlap(truth, truth, codes, CUBIC)["dice"][:2].eq(1).all()
    assert scores.overlap(truth, truth, {}, CUBIC).empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"found": np.zeros((4, 4, 5), int)}, r"\(4, 4, 5\).*\(4, 4, 4\)"),
        ({"found": np.zeros((4, 4, 4))}, "found are float64"),
        ({"codes": {"rest": 0}}, "rest 0"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing"),
        ({"tolerance_mm": 0.0}, "tolerance"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    given = {"found": np.zeros((4, 4, 4), int), "truth": np.zeros((4, 4, 4), int)}
    given |= {"codes": CODES, "spacing_mm": CUBIC} | change
    with pytest.raises(ValueError, match=message):
        scores.overlap(**given)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [CUBIC, THICK])
def test_as_monai(seed, spacing):
    found, truth = blob(seed), blob(seed + 100, level=0.05) | blob(seed, level=0.06)
    peers = peer(found), peer(truth)
    for tolerance in (0.75, 1.0, 2.0):
        row = one(found, truth, spacing, tolerance)
        expected = metrics.compute_surface_dice(
            *peers, [tolerance], include_background=True, spacing=spacing, use_subvoxels=True
        )
        assert row["surface_dice"] == pytest.approx(float(expected), abs=1e-5)
    assert row["dice"] == pytest.approx(float(metrics.compute_dice(*peers)), abs=1e-6)
    assert row["iou"] == pytest.approx(float(metrics.compute_iou(*peers)), abs=1e-6)
    expected = metrics.compute_hausdorff_distance(
        *peers, include_background=True, percentile=95, spacing=spacing
    )
    assert row["hd95_mm"] == pytest.approx(float(expected), abs=np.linalg.norm(spacing))


def cut(mask, cell):
    """Mean of the middles of a cell's edges between inside and outside."""
    corners = [cell + step for step in itertools.product((0, 1), repeat=3)]
    pairs = itertools.combinations(corners, 2)
    edges = [(a, b) for a, b in pairs if np.abs(a - b).sum() == 1]
    return np.mean([(a + b) / 2 for a, b in edges if mask[tuple(a)] != mask[tuple(b)]], axis=0)


@pytest.mark.parametrize("spacing", [CUBIC, THICK])
def test_as_all_pairs_of_surface_cells(spacing):
    found, truth = blob(7, (9, 10, 11)), blob(8, (9, 10, 11))
    places, areas = [], []
    for mask in (found, truth):
        padded = np.pad(mask, 1)
        edge, _, area, _ = metrics.utils.get_mask_edges(
            peer(padded)[0, 0], peer(padded)[0, 0], crop=False, spacing=spacing
        )
        cells = np.argwhere(edge.numpy())
        places.append([cut(padded, cell) * spacing for cell in cells])
        areas.append(area.numpy()[edge.numpy()].astype(float))
    apart = spatial.distance.cdist(*places)
    ways = [(apart.min(axis=1), areas[0]), (apart.min(axis=0), areas[1])]
    row = one(found, truth, spacing)
    mean = sum(d @ a for d, a in ways) / sum(a.sum() for a in areas)
    assert row["asd_mm"] == pytest.approx(mean, rel=1e-5)
    for distance, area in ways:  # 95 % of the area of each is within, and less is not for one
        assert area[distance <= row["hd95_mm"] + 1e-5].sum() >= 0.95 * area.sum() - 1e-9
    below = [a[d < row["hd95_mm"] - 1e-5].sum() / a.sum() for d, a in ways]
    assert min(below) < 0.95


@given(
    seed=st.integers(0, 10**6),
    axes=st.permutations([0, 1, 2]),
    flip=st.sampled_from([(), (0,), (1, 2)]),
    margin=st.integers(0, 3),
)
@settings(max_examples=15, deadline=None)
def test_axes_margins_and_units_do_not_matter(seed, axes, flip, margin):
    found, truth = blob(seed, (9, 8, 10)), blob(seed + 1, (9, 8, 10))
    plain = one(found, truth, THICK)
    turned = [np.pad(np.flip(m.transpose(axes), flip), margin) for m in (found, truth)]
    spacing = [THICK[axis] for axis in axes]
    columns = [*NUMBERS, "volume_found_ml", "volume_truth_ml"]
    # Marching cubes cut a few cells otherwise when mirrored, the rest is the same.
    assert list(one(*turned, spacing)[columns]) == pytest.approx(list(plain[columns]), rel=0.02)
    swapped = one(truth, found, THICK)
    assert list(swapped[NUMBERS]) == pytest.approx(list(plain[NUMBERS]))
    larger = one(found, truth, [3 * mm for mm in THICK], 3.0)
    assert list(larger[NUMBERS]) == pytest.approx(
        [value * (3 if name.endswith("_mm") else 1) for name, value in plain[NUMBERS].items()]
    )
    assert 0 <= plain["iou"] <= plain["dice"] <= 1
    assert plain["dice"] == pytest.approx(2 * plain["iou"] / (1 + plain["iou"]))


# Trees


def fork(spacing=CUBIC, radius=2.2):
    """A trunk of 20 mm and two daughters of 25 mm; mask and branches 1, 2, 3."""
    shape = [int(size / mm) for size, mm in zip((44.0, 24.0, 44.0), spacing, strict=True)]
    grid = np.stack(np.indices(shape), axis=-1) * spacing
    legs = [((2, 12, 22), (20, 12, 22)), ((20, 12, 22), (38, 12, 5)), ((20, 12, 22), (38, 12, 39))]
    numbers = np.zeros(shape, np.int16)
    for number, leg in reversed(list(enumerate(legs, 1))):
        a, b = (np.asarray(end, float) for end in leg)
        along = np.clip((grid - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)[..., None]
        numbers[np.linalg.norm(grid - a - along * (b - a), axis=-1) <= radius] = number
    return numbers


@pytest.mark.parametrize("spacing", [CUBIC, (1.5, 0.8, 0.8)])
def test_a_missing_branch(spacing):
    numbers = fork(spacing)
    truth = numbers > 0
    generation = [0, 1, 1]
    whole = scores.tree(truth, truth, numbers, spacing, generation)
    assert whole["length_mm"] == pytest.approx(18 + 2 * 24.8, rel=0.12)  # steps of voxels are long
    assert whole["length_detected_pct"] == whole["branches_detected_pct"] == 100
    assert (whole["branches"], whole["leakage_pct"], whole["precision_pct"]) == (3, 0, 100)
    assert whole["largest_component_pct"] == 100
    lost = scores.tree(truth & (numbers != 2), truth, numbers, spacing, generation)
    assert (lost["branches"], lost["branches_detected"]) == (3, 2)
    assert lost["branches_detected_pct"] == pytest.approx(200 / 3)
    assert lost["length_detected_pct"] == pytest.approx(65, abs=5)
    assert lost["length_detected_mm"] == pytest.approx(
        lost["length_mm"] * lost["length_detected_pct"] / 100
    )
    table = lost["by_generation"]
    assert list(table["generation"]) == [0, 1]
    assert list(table["branches"]) == [1, 2]
    assert list(table["branches_detected_pct"]) == [100, 50]
    assert list(table["length_detected_pct"]) == pytest.approx([100, 50], abs=4)
    assert table["length_mm"].sum() == pytest.approx(whole["length_mm"])


def test_branches_without_a_map_are_those_of_the_centreline():
    numbers = fork()
    found = scores.tree(numbers != 0, numbers, None, CUBIC)
    assert (found["branches"], found["branches_detected"]) == (3, 3)
    found = scores.tree(numbers == 1, numbers, None, CUBIC)
    assert (found["branches"], found["branches_detected"]) == (3, 1)
    assert "by_generation" not in found


@pytest.mark.parametrize(("kept", "detected"), [(20, 1), (16, 1), (15, 0), (1, 0)])
def test_a_branch_is_detected_from_four_fifths_on(kept, detected):
    truth = box((24, 5, 5), (2, 2, 2), (22, 3, 3))
    found = box((24, 5, 5), (2, 2, 2), (2 + kept, 3, 3))
    row = scores.tree(found, truth, truth.astype(np.uint8), CUBIC)
    assert row["branches_detected"] == detected
    # each voxel has the halves of the steps at its sides
    assert row["length_detected_mm"] == pytest.approx(19.0 if kept == 20 else kept - 0.5)


def test_tubes_that_thinning_loses_have_a_centreline():
    truth = box((44, 8, 8), (2, 2, 2), (42, 6, 6))
    row = scores.tree(truth, truth, truth.astype(np.uint8), CUBIC)
    assert row["length_detected_pct"] == row["branches_detected_pct"] == 100
    assert row["length_mm"] > 30


def test_leaks_and_pieces():
    truth = box((20, 20, 20), (5, 5, 2), (10, 10, 18))
    thicker = ndimage.binary_dilation(truth, np.ones((3, 3, 3)))
    row = scores.tree(thicker, truth, None, CUBIC)
    assert row["leakage_pct"] == 0
    assert row["precision_pct"] == pytest.approx(100 * 25 * 16 / (49 * 18))
    leak = truth | box((20, 20, 20), (14, 14, 4), (18, 19, 9))  # 100 voxels apart from 400
    row = scores.tree(leak, truth, None, (2.0, 1.0, 1.0))
    assert row["leakage_pct"] == pytest.approx(20)
    assert row["leakage_ml"] == pytest.approx(0.2)
    assert row["precision_pct"] == row["largest_component_pct"] == pytest.approx(80)


def test_trees_of_nothing():
    truth, empty = fork(), np.zeros_like(fork())
    row = scores.tree(empty, truth, truth, CUBIC, [0, 1, 1])
    assert row["length_detected_pct"] == row["branches_detected_pct"] == 0
    assert np.isnan(
        [row[f"{name}_pct"] for name in ("precision", "leakage", "largest_component")]
    ).all()
    assert row["leakage_ml"] == 0
    row = scores.tree(truth, empty, empty, CUBIC, [0, 1, 1])
    assert np.isnan([row["length_detected_pct"], row["branches_detected_pct"]]).all()
    assert (row["leakage_pct"], row["precision_pct"], row["branches"]) == (100, 0, 0)
    assert row["by_generation"].empty
    row = scores.tree(empty, empty, None, CUBIC)
    assert np.isnan([row["length_detected_pct"], row["leakage_pct"]]).all()
    voxel = box((5, 5, 5), (2, 2, 2), (3, 3, 3))
    row = scores.tree(voxel, voxel, voxel.astype(np.uint8), CUBIC)
    assert (row["branches"], row["branches_detected"], row["length_mm"]) == (1, 1, 0)
    assert np.isnan(row["length_detected_pct"])


def test_trees_that_do_not_fit_are_refused():
    numbers = fork()
    with pytest.raises(ValueError, match=r"branches \(43, 24, 44\)"):
        scores.tree(numbers, numbers, numbers[1:], CUBIC)
    with pytest.raises(ValueError, match="2 generations for branches up to 3"):
        scores.tree(numbers, numbers, numbers, CUBIC, [0, 1])
    with pytest.raises(ValueError, match="generation without branches"):
        scores.tree(numbers, numbers, None, CUBIC, [0, 1, 1])


# Topology


def test_topology_of_a_fork_without_a_daughter():
    numbers = fork()
    same = scores.topology(numbers, numbers)
    assert same["cldice"] == same["topology_precision"] == same["topology_sensitivity"] == 1
    assert (same["components_found"], same["betti0_error"], same["euler_error"]) == (1, 0, 0)
    lost = scores.topology(numbers * (numbers != 2), numbers)
    assert lost["topology_precision"] == 1
    assert lost["topology_sensitivity"] == pytest.approx(0.66, abs=0.06)
    both = lost["topology_sensitivity"]
    assert lost["cldice"] == pytest.approx(2 * both / (1 + both))
    broken = scores.topology(np.where(np.arange(44)[:, None, None] == 10, 0, numbers), numbers)
    assert (broken["components_found"], broken["components_truth"]) == (2, 1)
    assert (broken["betti0_error"], broken["euler_error"]) == (1, 1)
    assert broken["cldice"] > 0.95


@pytest.mark.parametrize(
    ("body", "euler"),
    [
        (ball(6.0, size_mm=16.0), 1),
        (ball(6.0, size_mm=16.0) & ~ball(3.0, size_mm=16.0), 2),  # a cavity
        (box((9, 9, 9), (2, 1, 1), (7, 8, 8)) & ~box((9, 9, 9), (0, 4, 4), (9, 5, 5)), 0),
        (box((6, 6, 6), (1, 1, 1), (3, 3, 3)) | box((6, 6, 6), (3, 3, 3), (5, 5, 5)), 1),
    ],
)
def test_euler_numbers(body, euler):
    found = scores.topology(body, body)
    assert found["euler_truth"] == found["euler_found"] == euler
    assert found["cldice"] == 1  # blocks of even width too, whose skeletons thinning deletes


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_topology_as_scikit_image_and_by_its_bounds(seed):
    found, truth = blob(seed, (9, 10, 11)), blob(seed + 1, (9, 10, 11))
    row, swapped = scores.topology(found, truth), scores.topology(truth, found)
    assert row["euler_found"] == measure.euler_number(found, connectivity=3)
    assert row["components_truth"] == measure.label(truth, connectivity=3).max()
    assert row["cldice"] == pytest.approx(swapped["cldice"])
    assert row["topology_precision"] == swapped["topology_sensitivity"]
    assert 0 <= row["cldice"] <= 1
    assert row["euler_error"] == -swapped["euler_error"]
    assert scores.topology(truth, truth)["cldice"] == 1


def test_topology_of_nothing():
    empty, body = np.zeros((6, 6, 6)), box((6, 6, 6), (1, 1, 1), (5, 5, 5))
    row = scores.topology(empty, empty)
    assert np.isnan([row["cldice"], row["topology_precision"]]).all()
    assert (row["components_truth"], row["euler_truth"]) == (0, 0)
    row = scores.topology(empty, body)
    assert (row["cldice"], row["topology_sensitivity"], row["betti0_error"]) == (0, 0, 1)
    assert np.isnan(row["topology_precision"])
    assert scores.topology(body, empty)["cldice"] == 0
    apart = np.roll(body, 3, axis=0) & ~body
    assert scores.topology(apart, body & ~apart)["cldice"] == 0


# Two models, and measures on their segmentations


def cases(seed, n=20, gain=0.02):
    rng = np.random.default_rng(seed)
    names = [f"S{k:03d}" for k in range(n)]
    first = pd.Series(rng.normal(0.9, 0.03, n), names)
    return first, first + rng.normal(gain, 0.02, n)


def test_compare_is_that_of_scipy():
    a, b = cases(1)
    row = scores.compare(a, b.sample(frac=1, random_state=3)).iloc[0]
    test = stats.ttest_rel(b, a)
    interval = test.confidence_interval()
    assert row["p"] == pytest.approx(test.pvalue)
    assert [row["ci_low"], row["ci_high"]] == pytest.approx([interval.low, interval.high])
    assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(b, a).pvalue)
    assert (row["n"], row["absent"], row["df"]) == (20, 0, 19)
    assert row["estimate"] == pytest.approx(row["mean_b"] - row["mean_a"])
    assert row["boot_ci_low"] == pytest.approx(row["ci_low"], abs=0.004)
    assert row["boot_ci_high"] == pytest.approx(row["ci_high"], abs=0.004)


def test_compare_turned_round_repeated_and_seeded():
    a, b = cases(2)
    row, back = scores.compare(a, b, 5).iloc[0], scores.compare(b, a, 5).iloc[0]
    assert back["estimate"] == pytest.approx(-row["estimate"])
    assert [back["p"], back["wilcoxon_p"]] == pytest.approx([row["p"], row["wilcoxon_p"]])
    pd.testing.assert_series_equal(row, scores.compare(dict(a), dict(b), 5).iloc[0])
    other = scores.compare(a, b, 6).iloc[0]
    assert other["boot_ci_low"] != row["boot_ci_low"]
    assert other["boot_ci_low"] == pytest.approx(row["boot_ci_low"], abs=0.002)


def test_absent_structures_are_left_out_and_counted():
    a, b = cases(3)
    plain = scores.compare(a, b).iloc[0]
    a["S998"] = b["S998"] = np.nan
    row = scores.compare(a, b).iloc[0]
    assert (row["n"], row["absent"]) == (20, 1)
    assert row["p"] == pytest.approx(plain["p"])


def test_equal_models_have_no_p():
    a, _ = cases(4)
    with pytest.warns(UserWarning, match="all differences are 0"):
        row = scores.compare(a, a).iloc[0]
    assert list(row[["estimate", "ci_low", "boot_ci_high"]]) == [0, 0, 0]
    assert row[["p", "wilcoxon_p"]].isna().all()


def test_few_cases_are_compared_without_a_warning():
    a, b = cases(5, n=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = scores.compare(a, b).iloc[0]
    assert row["n"] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.drop("S004"), "b lacks S004"),
        (lambda b: pd.concat([b, pd.Series({"S999": 0.9})]), "a lacks S999"),
        (lambda b: pd.concat([b, b[:2]]), "b has S000, S001 twice"),
        (lambda b: b.replace(b["S002"], np.nan), "S002 scored by one model"),
        (lambda b: b.replace(b["S003"], np.inf), "S003 infinite"),
        (lambda b: b.to_numpy(), "no names of cases"),
        (lambda b: b.add_prefix("x"), "b lacks S000, S001, S002, S003, S004 and 15 more"),
    ],
)
def test_what_is_not_paired_is_refused(change, message):
    a, b = cases(6)
    with pytest.raises(ValueError, match=message):
        scores.compare(a, change(b))
    with pytest.raises(ValueError, match="2 cases"):
        scores.compare(a[:2], b[:2])


def test_interval_of_r():
    truth = pd.Series(np.linspace(0.0, 6.0, 25), [f"S{k}" for k in range(25)])
    error = np.random.default_rng(1).normal(0.1, 0.2, 25)
    row = scores.interval_of_r((truth + error)[::-1], truth).iloc[0]
    test = stats.pearsonr(truth + error, truth)
    interval = test.confidence_interval()
    assert [row["r"], row["r_ci_low"], row["r_ci_high"]] == pytest.approx(
        [test.statistic, interval.low, interval.high]
    )
    assert row["bias"] == pytest.approx(error.mean())
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert row["rmse_ci_low"] < row["rmse"] < row["rmse_ci_high"]
    limits = stats.t.interval(0.95, 24, error.mean(), stats.sem(error))
    assert [row["bias_ci_low"], row["bias_ci_high"]] == pytest.approx(limits)
    by_place = scores.interval_of_r((truth + error).to_numpy(), truth.to_numpy()).iloc[0]
    assert by_place["r"] == pytest.approx(row["r"])
    with pytest.raises(ValueError, match="truth lacks S0"):
        scores.interval_of_r(truth, truth[1:])


def test_every_direction_of_a_tube_is_scored_alike():
    rows = []
    for axes in itertools.permutations(range(3)):
        numbers = fork().transpose(axes)
        rows.append(scores.tree(numbers == 1, numbers, numbers, CUBIC)["length_detected_pct"])
    assert np.ptp(rows) < 3
