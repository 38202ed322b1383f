"""How good a segmentation is: overlap, surfaces, trees and topology against truth; two models.

Label maps are numpy arrays (z, y, x). What has no value stays NaN: means over cases have to count
it, and leave nothing out in silence.
"""

import functools
import itertools
import warnings

import cc3d
import edt
import numpy as np
import pandas as pd
from scipy import ndimage, spatial, stats

from lungitude.biomarkers import graphs
from lungitude.biomarkers.topology import functionals
from lungitude.statistics.accuracy import accuracy
from lungitude.statistics.frames import require_confidence
from lungitude.statistics.groups import paired
from lungitude.statistics.pairs import vectors

COLUMNS = (
    "STRUCTURE dice iou hd95_mm asd_mm surface_dice volume_found_ml volume_truth_ml status"
).split()
PERCENTILE = 95.0
DETECTED = 0.8  # of a branch's centreline
RESAMPLES = 2000
FEWEST = 3
_SLACK = 1e-4  # of a voxel, by which rounding may lift a distance over the tolerance
_ONES = (1.0, 1.0, 1.0)
_CORNERS = tuple(itertools.product((0, 1), repeat=3))  # of a cell, (z, y, x)


def overlap(found, truth, codes, spacing_mm, tolerance_mm=1.0):
    """Overlap, surface distances and volumes of each structure of a label map.

    Parameters
    ----------
    found, truth : ndarray of int, (z, y, x)
        Label maps on one grid.
    codes : dict of str to int
        The structures; codes from 1.
    spacing_mm : sequence of three float
        Voxel (z, y, x).
    tolerance_mm : float
        Distance up to which a surface is right.

    Returns
    -------
    DataFrame
        One row a structure, `COLUMNS`: dice, iou and surface_dice from 0 to 1; hd95_mm and asd_mm;
        the volumes; status, which is ``scored``, ``missed`` (in truth alone), ``invented`` (found
        alone) or ``absent`` (in neither). Absent: all scores NaN. Missed or invented: dice, iou,
        surface_dice 0 and both distances infinite.

    Raises
    ------
    ValueError
        Grids that differ, labels that are no integers, a voxel or tolerance without size.

    Notes
    -----
    Of the voxels F found and T true, Dice is ``2 |F & T| / (|F| + |T|)`` [1]_ and IoU (Jaccard) is
    ``|F & T| / (|F| + |T| - |F & T|)`` [2]_. A surface is the cells of 2 x 2 x 2 voxels that hold
    both sides, each weighted by the area in mm2 of its triangles of marching cubes, for voxels of
    any shape [3]_. Beyond the image is outside: a structure that is cut has a surface there.
    Distances are Euclidean, to the nearest cell of the other surface. hd95_mm is the larger of both
    directions' 95th percentiles of area [3]_, asd_mm the mean over the area of both surfaces
    (average symmetric surface distance [2]_), surface_dice the share of the area of both surfaces
    that lies within the tolerance of the other one [3]_.

    For surface_dice a cell lies at its middle, as published: it equals
    `monai.metrics.compute_surface_dice` with ``use_subvoxels``. For the distances it lies where the
    surface cuts it, at the mean of the cut edges. Middles make a surface up to a voxel thick, and
    two surfaces then 0.3 to 0.5 voxels too near on average; balls one in another come out right
    within 0.07 of a voxel's longest side. `monai.metrics.compute_hausdorff_distance` takes the
    voxels of the edge, each as one, and differs by less than a voxel.

    An infinite distance is the worst value that [4]_ asks for where one side is empty: ranks and
    medians need no more, a mean becomes infinite and hides nothing. Put the diagonal of the scan
    in its place where a finite one is needed.

    References
    ----------
    .. [1] Dice 1945, Ecology 26:297-302.
    .. [2] Taha & Hanbury 2015, BMC Med Imaging 15:29.
    .. [3] Nikolov et al. 2021, J Med Internet Res 23:e26151 (arXiv:1809.04430).
    .. [4] Maier-Hein et al. 2024, Nat Methods 21:195-212 (Metrics Reloaded).
    """
    who = "overlap"
    found, truth = _label_map(found, "found", who), _label_map(truth, "truth", who)
    spacing = _checked(found, truth, spacing_mm, who)
    if not tolerance_mm > 0:
        raise ValueError(f"{who}: a tolerance of {tolerance_mm:g} mm is not above 0")
    bad = [f"{name} {code}" for name, code in codes.items() if code < 1]
    if bad:
        raise ValueError(f"{who}: codes start at 1, not {', '.join(bad)}")
    most = max(codes.values(), default=1)
    boxes = [ndimage.find_objects(labels, max_label=int(most)) for labels in (found, truth)]
    rows = []
    for name, code in codes.items():
        box = _union(boxes[0][code - 1], boxes[1][code - 1])
        here, there = (labels[box] == code for labels in (found, truth))
        rows.append([name, *_agreement(here, there, spacing, tolerance_mm)])
    return pd.DataFrame(rows, columns=COLUMNS)


def tree(found, truth, branches, spacing_mm, generation=None):
    """How much of a tree of airways or vessels was found, and how much beside it.

    Parameters
    ----------
    found, truth : ndarray, (z, y, x)
        Masks; all but 0 is the tree.
    branches : ndarray of int, same shape, or None
        Number of the branch at each voxel from 1 on, such as ``airway_branches`` of the phantom;
        0 where none is. None: those between the forks of the true centreline.
    spacing_mm : sequence of three float
        Voxel (z, y, x).
    generation : array_like of int, optional
        Generation of branch k at place k - 1, such as ``generation`` of `phantom.airways.tree`.
        It needs `branches`.

    Returns
    -------
    dict
        Of the true centreline: ``length_mm``, ``length_detected_mm``, ``length_detected_pct``. Of
        the branches that hold some of it: ``branches``, ``branches_detected``,
        ``branches_detected_pct``. Of the voxels found: ``precision_pct`` in truth, ``leakage_pct``
        and ``leakage_ml`` farther than one voxel (26 neighbours) from it,
        ``largest_component_pct`` in the largest piece (26 neighbours). With `generation` also
        ``by_generation``, a DataFrame: generation branches branches_detected
        branches_detected_pct length_mm length_detected_pct. A share of nothing is NaN.

    Raises
    ------
    ValueError
        Grids that differ, a voxel without size, a generation that doesn't fit the branches.

    Notes
    -----
    Length and branches as in ATM'22 [1]_: a piece of centreline is detected where its voxel is
    found, a branch where 80 % or more of its voxels are. Other than there length is in mm and not
    in voxels, all that was found counts and not its largest piece alone, and the centreline is cut
    of spurs (`graphs.prune`) and laid through tubes that thinning loses. Length and leakage follow
    the idea of EXACT'09 [2]_; the tolerance of one voxel keeps a wall that was set differently
    from counting as a leak.

    References
    ----------
    .. [1] Zhang et al. 2023, Med Image Anal 90:102957.
    .. [2] Lo et al. 2012, IEEE Trans Med Imaging 31:2093-2107.
    """
    who = "tree"
    found, truth = (np.asarray(mask) != 0 for mask in (found, truth))
    spacing = _checked(found, truth, spacing_mm, who)
    if branches is not None:
        branches = _label_map(branches, "branches", who)
        _same_grid(truth, branches, "truth", "branches", who)
    elif generation is not None:
        raise ValueError(f"{who}: generation without branches")
    box = _union(*(graphs.bounding_box(mask, pad=1) for mask in (found, truth)))
    found, truth = found[box], truth[box]
    line = _centreline(truth, None if branches is None else branches[box], spacing)
    line["hit"] = found[tuple(line[axis].to_numpy() for axis in "zyx")]
    line["hit_mm"] = line["mm"].where(line["hit"], 0.0)
    each = _each_branch(line)
    length, hit_mm = (float(line[name].sum()) for name in ("mm", "hit_mm"))
    row = {
        "length_mm": length,
        "length_detected_mm": hit_mm,
        "length_detected_pct": _pct(hit_mm, length),
        "branches": len(each),
        "branches_detected": int(each["detected"].sum()),
        "branches_detected_pct": _pct(each["detected"].sum(), len(each)),
        **_beside(found, truth, spacing),
    }
    if generation is not None:
        row["by_generation"] = _by_generation(each, np.asarray(generation), who)
    return row


def topology(found, truth):
    """Centreline Dice, pieces and Euler number of a mask against truth.

    Parameters
    ----------
    found, truth : ndarray, (z, y, x)
        Masks; all but 0 counts.

    Returns
    -------
    dict
        ``topology_precision`` (share of the found skeleton inside truth), ``topology_sensitivity``
        (of the true skeleton inside what was found), ``cldice`` (their harmonic mean);
        ``components_found``, ``components_truth`` and ``betti0_error``, the difference of the two
        without sign; ``euler_found``, ``euler_truth`` and ``euler_error`` (found less truth). All
        with 26 neighbours. NaN where a skeleton is empty; cldice is then NaN if both are, else 0.

    Notes
    -----
    clDice [1]_ with hard skeletons of scikit-image, in voxels. A piece that thinning deletes (such
    as blocks and tubes of even width) keeps a path or its deepest voxel: nothing found is free, and
    a mask agrees with itself. Euler number: pieces less tunnels plus cavities.

    References
    ----------
    .. [1] Shit et al. 2021, CVPR: 16560-16569.
    """
    found, truth = (np.asarray(mask) != 0 for mask in (found, truth))
    _checked(found, truth, _ONES, "topology")
    box = _union(*(graphs.bounding_box(mask) for mask in (found, truth)))
    found, truth = found[box], truth[box]
    thin, thin_truth = _skeleton(found), _skeleton(truth)
    precision, sensitivity = _share(truth[thin]), _share(found[thin_truth])
    parts, parts_truth = (_components(mask)[1] for mask in (found, truth))
    euler, euler_truth = _euler(found), _euler(truth)
    return {
        "cldice": _harmonic(precision, sensitivity),
        "topology_precision": precision,
        "topology_sensitivity": sensitivity,
        "components_found": parts,
        "components_truth": parts_truth,
        "betti0_error": abs(parts - parts_truth),
        "euler_found": euler,
        "euler_truth": euler_truth,
        "euler_error": euler - euler_truth,
    }


def compare(scores_a, scores_b, seed=1, confidence=0.95, resamples=RESAMPLES):
    """Compare two models by one score over the same cases; differences are b minus a.

    Parameters
    ----------
    scores_a, scores_b : Series or dict
        One score a case, by the case's name; order is of no matter. Cases with NaN in both (the
        structure is absent) are left out.
    seed : int
        Of the bootstrap; the same seed gives the same interval.
    confidence : float
    resamples : int

    Returns
    -------
    DataFrame
        One row: n; absent (cases left out); mean_a mean_b; estimate (mean difference), its
        interval ci_low ci_high and p by t, df; boot_ci_low boot_ci_high (cases resampled, BCa);
        wilcoxon_p (signed ranks).

    Raises
    ------
    ValueError
        Cases that one side lacks or has twice, NaN on one side only, infinite scores, scores
        without names, fewer than 3 cases.

    Warns
    -----
    UserWarning
        All differences are equal: they have no p, and the interval is the difference.

    Notes
    -----
    t and Wilcoxon by `statistics.paired` (exact p below 50 cases without ties or zeros), bootstrap
    as in `statistics.accuracy`. A case is a patient: average visits or structures first, since
    these aren't independent. A Wilcoxon test is of ranks and needs no normal differences.
    """
    who = "compare"
    require_confidence(confidence, who)
    a, b = _paired(scores_a, scores_b, ("a", "b"), who)
    one_side = a.isna() != b.isna()
    if one_side.any():
        raise ValueError(
            f"{who}: {_named(a.index[one_side])} scored by one model only; an empty structure that "
            "one model rightly leaves empty needs a value, such as Dice 1"
        )
    infinite = np.isinf(a) | np.isinf(b)
    if infinite.any():
        raise ValueError(
            f"{who}: {_named(a.index[infinite])} infinite; put a worst value in its place, such as "
            "the diagonal of the scan, or compare a score that has bounds"
        )
    absent = int(a.isna().sum())
    a, b = a.dropna(), b.dropna()
    if len(a) < FEWEST:
        raise ValueError(f"{who}: {len(a)} cases with scores, at least {FEWEST} are needed")
    difference = (b - a).to_numpy()
    row = {"n": len(a), "absent": absent, "mean_a": a.mean(), "mean_b": b.mean()}
    row["estimate"] = float(difference.mean())
    if np.ptp(difference) == 0:
        warnings.warn(f"{who}: all differences are {difference[0]:g}, p is NaN", stacklevel=2)
        row |= dict.fromkeys(("ci_low", "ci_high"), row["estimate"])
        row |= {"p": np.nan, "df": len(a) - 1.0}
        row |= dict.fromkeys(("boot_ci_low", "boot_ci_high"), row["estimate"])
        return pd.DataFrame([row | {"wilcoxon_p": np.nan}])
    frame = pd.DataFrame({"a": a, "b": b})
    by_t = paired(frame, "a", "b", "t", confidence).iloc[0]
    row |= {name: by_t[name] for name in ("ci_low", "ci_high", "p", "df")}
    row["boot_ci_low"], row["boot_ci_high"] = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    with warnings.catch_warnings():  # of an interval that isn't asked for
        warnings.filterwarnings("ignore", message="paired: .*confidence")
        row["wilcoxon_p"] = float(paired(frame, "a", "b", "wilcoxon", confidence).loc[0, "p"])
    return pd.DataFrame([row])


def interval_of_r(found, truth, seed=1, confidence=0.95, resamples=RESAMPLES):
    """Correlation, error and bias of a measure on found structures against that on true ones.

    Parameters
    ----------
    found, truth : Series, dict or array_like
        One value a case, in one unit. By the case's name if both have names, else by position.
        Pairs with a missing value are left out.
    seed : int
        Of the bootstrap.
    confidence : float
    resamples : int

    Returns
    -------
    DataFrame
        One row: n; r (Pearson, interval by Fisher's z), rmse (bootstrap of cases, BCa) and bias
        (mean of found less truth, by t), each with _ci_low and _ci_high.

    Raises
    ------
    ValueError
        Unpaired cases, infinite values, fewer than 3 pairs, truth that is constant.

    Notes
    -----
    A selection of `statistics.accuracy`. r says nothing of bias: report both.
    """
    who = "interval_of_r"
    if all(isinstance(values, pd.Series | dict) for values in (found, truth)):
        found, truth = _paired(found, truth, ("found", "truth"), who)
    found, truth = vectors(who, found=found, truth=truth)
    with warnings.catch_warnings():  # a volume of 0 is no fault here
        warnings.filterwarnings("ignore", message="accuracy: .*mape")
        row = accuracy(found, truth, confidence, resamples, seed)
    names = [
        f"{name}{end}" for name in ("r", "rmse", "bias") for end in ("", "_ci_low", "_ci_high")
    ]
    return row[["n", *names]]


def _label_map(labels, name, who):
    labels = np.asarray(labels)
    if labels.dtype == bool:
        return labels.view(np.uint8)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{who}: labels of {name} are {labels.dtype}, integers are needed")
    return labels


def _checked(found, truth, spacing_mm, who):
    """Return the spacing as floats; grids that differ, or have no size, are refused."""
    _same_grid(found, truth, "found", "truth", who)
    spacing = tuple(float(mm) for mm in spacing_mm)
    if len(spacing) != 3 or not all(0 < mm < np.inf for mm in spacing):
        raise ValueError(f"{who}: spacing {spacing} mm is not of a voxel (z, y, x)")
    return spacing


def _same_grid(first, second, name, other, who):
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(
            f"{who}: {name} has shape {first.shape}, {other} {second.shape}; one grid is needed"
        )


def _union(first, second):
    """Return slices around two boxes, either of which may be None; empty ones if both are."""
    boxes = [box for box in (first, second) if box is not None]
    if not boxes:
        return (slice(0, 0),) * 3
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*boxes, strict=True)
    )


def _agreement(found, truth, spacing, tolerance_mm):
    """Return the columns after the name."""
    n_found, n_truth = (int(np.count_nonzero(mask)) for mask in (found, truth))
    both = int(np.count_nonzero(found & truth))
    voxel_ml = float(np.prod(spacing)) / 1000.0
    volumes = [n_found * voxel_ml, n_truth * voxel_ml]
    if not n_found and not n_truth:
        return [np.nan] * 5 + [*volumes, "absent"]
    if not n_found or not n_truth:
        return [0.0, 0.0, np.inf, np.inf, 0.0, *volumes, "missed" if n_truth else "invented"]
    surfaces = [_surface(mask, spacing) for mask in (found, truth)]
    ways = [
        _ways(*surfaces, "at"),
        _ways(*surfaces, "middle", tolerance_mm + _SLACK * min(spacing)),
    ]
    areas = [surface["area"] for surface in surfaces]
    total = sum(area.sum() for area in areas)
    far, near = (list(zip(way, areas, strict=True)) for way in ways)
    return [
        2.0 * both / (n_found + n_truth),
        both / (n_found + n_truth - both),
        float(max(_percentile(distance, area) for distance, area in far)),
        float(sum(distance @ area for distance, area in far) / total),
        float(sum(area[np.isfinite(distance)].sum() for distance, area in near) / total),
        *volumes,
        "scored",
    ]


def _surface(mask, spacing):
    """Return the cells of a surface: middle and where it is cut (mm), area (mm2)."""
    patterns = _patterns(mask)
    cells = np.argwhere((patterns != 0) & (patterns != 255))
    found = patterns[tuple(cells.T)]
    return {
        "middle": cells * np.asarray(spacing),
        "at": (cells + _CUTS[found] - 0.5) * spacing,
        "area": _areas(spacing)[found],
    }


def _ways(first, second, place, most_mm=np.inf):
    """Return the distances from each surface to the other one; infinite beyond `most_mm`."""
    trees = [
        spatial.KDTree(one[place], leafsize=32, balanced_tree=False, compact_nodes=False)
        for one in (first, second)
    ]
    return [
        tree.query(one[place], distance_upper_bound=most_mm)[0]
        for tree, one in zip(trees[::-1], (first, second), strict=True)
    ]


def _percentile(distance, area):
    """Return the distance below which the percentile of the area lies."""
    order = np.argsort(distance, kind="stable")
    total = np.cumsum(area[order])
    place = np.searchsorted(total, PERCENTILE / 100.0 * total[-1])
    return distance[order[min(place, order.size - 1)]]


def _patterns(mask):
    """Return the pattern of each cell of a mask with a rim; corner (z, y, x) is bit 4z + 2y + x."""
    padded = np.pad(mask, 1).view(np.uint8)
    found = np.zeros(tuple(n - 1 for n in padded.shape), np.uint8)
    for bit, start in enumerate(_CORNERS):
        corner = tuple(slice(k, k + n) for k, n in zip(start, found.shape, strict=True))
        found |= padded[corner] << bit
    return found


def _cuts():
    """Return the mean of the cut edges of each pattern, (256, 3), from 0 to 1."""
    corners = np.array(_CORNERS)
    pairs = [(a, b) for a in range(8) for b in range(a) if (a ^ b).bit_count() == 1]
    middles = np.array([corners[[a, b]].mean(axis=0) for a, b in pairs])
    cut = np.array([[(p >> a ^ p >> b) & 1 for a, b in pairs] for p in range(256)])
    return cut @ middles / np.maximum(cut.sum(axis=1, keepdims=True), 1)


_CUTS = _cuts()


@functools.lru_cache(maxsize=16)
def _areas(spacing):
    """Return the area (mm2) of each pattern: that of its triangles of marching cubes."""
    from monai.metrics.utils import create_table_neighbour_code_to_surface_area

    table = create_table_neighbour_code_to_surface_area(spacing)[0].numpy().astype(np.float64)
    mirrored = [int(f"{pattern:08b}"[::-1], 2) for pattern in range(256)]  # corner 0 is its bit 7
    return table[mirrored]


def _centreline(truth, branches, spacing):
    """Return the voxels of the true centreline: z y x mm (its part of the length) branch."""
    rows, mm, numbers = [np.zeros((0, 3), int)], [np.zeros(0)], [np.zeros(0, int)]
    if truth.any():
        depth = edt.edt(truth, anisotropy=spacing, black_border=True, parallel=1)
        whole = tuple(slice(0, n) for n in truth.shape)
        graph = graphs.prune(graphs.of_label(truth, whole, depth, spacing), depth)
        for number, branch in enumerate(graph.branches, 1):
            half = 0.5 * np.linalg.norm(np.diff(graph.path_mm(branch), axis=0), axis=1)
            rows.append(branch.path)
            mm.append(np.append(half, 0.0) + np.insert(half, 0, 0.0))
            numbers.append(np.full(len(half) + 1, number))
        if not graph.branches:  # a lone voxel has no length, and may be a branch
            rows.append(graph.nodes)
            mm.append(np.zeros(len(graph.nodes)))
            numbers.append(np.arange(1, len(graph.nodes) + 1))
    rows = np.concatenate(rows)
    frame = pd.DataFrame(rows, columns=list("zyx")).assign(mm=np.concatenate(mm))
    frame["branch"] = np.concatenate(numbers) if branches is None else branches[tuple(rows.T)]
    return frame


def _each_branch(line):
    """Return per branch: mm hit_mm detected; voxels that branches of the graph share count once."""
    known = line[line["branch"] > 0].groupby(["branch", "z", "y", "x"])
    voxels = known.agg(mm=("mm", "sum"), hit_mm=("hit_mm", "sum"), hit=("hit", "first"))
    each = voxels.groupby("branch").agg(
        mm=("mm", "sum"), hit_mm=("hit_mm", "sum"), hit=("hit", "mean")
    )
    return each.assign(detected=each["hit"] >= DETECTED - 1e-9)


def _by_generation(each, generation, who):
    most = int(each.index.max()) if len(each) else 0
    if generation.ndim != 1 or len(generation) < most:
        raise ValueError(f"{who}: {generation.size} generations for branches up to {most}")
    groups = each.groupby(generation[each.index.to_numpy(int) - 1])
    table = groups.agg(
        branches=("detected", "size"),
        branches_detected=("detected", "sum"),
        length_mm=("mm", "sum"),
        hit_mm=("hit_mm", "sum"),
    ).rename_axis("generation")
    table.insert(2, "branches_detected_pct", 100.0 * table["branches_detected"] / table["branches"])
    table["length_detected_pct"] = 100.0 * table["hit_mm"] / table["length_mm"].replace(0, np.nan)
    return table.drop(columns="hit_mm").reset_index()


def _beside(found, truth, spacing):
    """Return what was found in truth, beside it, and in one piece."""
    n = int(np.count_nonzero(found))
    near = ndimage.maximum_filter(truth.view(np.uint8), 3, mode="constant") if n else truth
    leak = int(np.count_nonzero(found & (near == 0)))
    pieces, count = _components(found)
    largest = int(np.bincount(pieces.ravel())[1:].max()) if count else 0
    return {
        "precision_pct": _pct(np.count_nonzero(found & truth), n),
        "leakage_pct": _pct(leak, n),
        "leakage_ml": leak * float(np.prod(spacing)) / 1000.0,
        "largest_component_pct": _pct(largest, n),
    }


def _components(mask):
    """Return the pieces of a mask with 26 neighbours, and how many they are."""
    if not mask.size:
        return np.zeros(mask.shape, np.uint8), 0
    labels, count = cc3d.connected_components(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=26, return_N=True
    )
    return labels, int(count)


def _skeleton(mask):
    """Thin a mask so that each piece keeps a path, or its deepest voxel."""
    if not mask.any():
        return np.zeros(mask.shape, bool)
    mask = np.ascontiguousarray(mask)
    depth = edt.edt(mask, black_border=True, parallel=1)
    thin = graphs.mend(graphs.skeletonise(mask), mask, depth, _ONES)
    pieces, count = _components(mask)
    lost = np.setdiff1d(np.arange(1, count + 1), pieces[thin])
    if lost.size:
        thin[tuple(np.transpose(ndimage.maximum_position(depth, pieces, lost)))] = True
    return thin


def _euler(mask):
    counts = np.bincount(_patterns(mask).ravel(), minlength=256)
    return round(functionals(counts, _ONES)[2])


def _share(hits):
    return float(hits.mean()) if hits.size else np.nan


def _pct(part, whole):
    return 100.0 * float(part) / float(whole) if whole else np.nan


def _harmonic(first, second):
    """Return the harmonic mean; 0 if one of both is 0 or NaN."""
    if np.isnan(first) and np.isnan(second):
        return np.nan
    total = first + second
    return 2.0 * first * second / total if total > 0 else 0.0


def _paired(first, second, names, who):
    """Return two Series over the same cases, in the order of the first."""
    found = []
    for values, name in zip((first, second), names, strict=True):
        if not isinstance(values, pd.Series | dict):
            raise ValueError(f"{who}: {name} has no names of cases; give a Series or a dict")
        values = pd.Series(values, dtype=float)
        twice = values.index[values.index.duplicated()].unique()
        if len(twice):
            raise ValueError(f"{who}: {name} has {_named(twice)} twice")
        found.append(values)
    first, second = found
    for here, there, name in ((first, second, names[1]), (second, first, names[0])):
        lacking = here.index.difference(there.index, sort=False)
        if len(lacking):
            raise ValueError(f"{who}: unpaired cases, {name} lacks {_named(lacking)}")
    return first, second.reindex(first.index)


def _named(cases, most=5):
    """List cases for a message."""
    listed = ", ".join(map(str, cases[:most]))
    return listed if len(cases) <= most else f"{listed} and {len(cases) - most} more"
