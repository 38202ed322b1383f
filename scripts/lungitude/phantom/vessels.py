"""Arteries and veins: volume-filling trees by Murray's law, their truths, and records for targets.

A tree is grown once per patient, in reference coordinates and to its full number of terminals. A
visit shows the paths to a leading share of the terminals, so a visit that shows more contains all
that one with less shows, in the same places; radii follow from the terminals shown.
"""

import dataclasses
import functools
import logging
import math

import numba
import numpy as np
from scipy import optimize

from lungitude.biomarkers import fractal

from . import airways, anatomy
from .branching import frame, gap2, halve, near, own_volumes, unit
from .record import stream

log = logging.getLogger(__name__)

VISIBLE_MM = 0.5  # thinnest radius that a scan with voxels of 0.7 to 1.25 mm shows
BV5_MM2, BV10_MM2 = 5.0, 10.0
TRUNK_MM = (3.0, 11.0)  # radii of the four trunks among which a solution is sought
DEFAULTS = {"trunk_mm": 6.5, "exponent": 3.0}
SHOWN = 300  # terminals of a tree that are shown where no fractal dimension is asked

TREES = (
    # kind (1 artery, 2 vein), side, trunk from, trunk to (the hilum)
    (1, -1, (-8, 2, 26), (-44, 5, 14)),
    (1, 1, (6, -2, 32), (47, 19, 33)),
    (2, -1, (-6, 14, -8), (-45, 6, -14)),
    (2, 1, (12, 14, -6), (50, 8, -4)),
)
_LOW, _HIGH = np.array([-135.0, -85.0, -130.0]), np.array([135.0, 92.0, 127.0])
_FROM_PLEURA_MM = 3.0
_STEP = 0.35  # how far a branch goes towards the middle of what it feeds, as a share
_NOMINAL_MM = 6.5  # radius of a trunk, for the room that vessels need
_THICK_MM = 0.9  # thinner vessels may cross
_APART_MM = 0.5
_BATCH = 8192
_PARTS = 8  # of a segment, of which it is known whether they lie in the lungs
_FLOWS = (0.35, 2.5)  # least and most that a terminal carries: lobules differ in size
_FEWEST = 0.02  # share of the terminals
# Terminals of a tree per litre of lung, and the fractal dimension (SD between patients 0.004).
_DIMENSIONS = np.array(
    [
        (2.5, 1.070),
        (5.0, 1.108),
        (10.0, 1.155),
        (20.0, 1.209),
        (40.0, 1.284),
        (80.0, 1.374),
        (160.0, 1.486),
        (320.0, 1.610),
        (450.0, 1.674),
    ]
)


@numba.njit(cache=True)
def grow(points, root, widest, p0, p1, radius, count):
    """Volume-filling tree to points by halving the cloud that a branch feeds.

    Each branch goes a share of the way to the middle of its points, which a plane then gives to
    two daughters. Thick branches turn away from what is there already.

    Parameters
    ----------
    points : ndarray, (n, 3)
    root : ndarray, (3,)
    widest : float
        About how wide a vessel to all points would be, mm.
    p0, p1, radius : ndarray, (m, 3), (m, 3), (m,)
        Obstacles in the first `count` rows; thick branches are added.
    count : int

    Returns
    -------
    start, end : ndarray, (2 n - 1, 3)
    parent, first : ndarray of int, (2 n - 1,)
        Row of the parent, before its daughters, or -1; the lowest index of the points fed.
    leaf : ndarray of int, (2 n - 1,)
        Index of the point that a last branch ends at, else -1.
    count : int
        Obstacles now.
    """
    n = points.shape[0]
    start, end = np.empty((2 * n - 1, 3)), np.empty((2 * n - 1, 3))
    parent, first = np.full(2 * n - 1, -1), np.zeros(2 * n - 1, np.int64)
    leaf = np.full(2 * n - 1, -1)
    thing = np.full(2 * n - 1, -2)  # row among the obstacles
    index, spare = np.arange(n), np.empty(n, np.int64)
    queue = np.empty((2 * n, 3), np.int64)
    queue[0] = (0, n, -1)
    tail = 1
    for s in range(2 * n - 1):
        low, high, mother = queue[s]
        parent[s], first[s] = mother, index[low]
        start[s] = root if mother < 0 else end[mother]
        if high - low == 1:
            leaf[s] = index[low]
            end[s] = points[leaf[s]]
            continue
        centre = np.zeros(3)
        for i in index[low:high]:
            centre += points[i]
        centre /= high - low
        way = _STEP * (centre - start[s])
        r = widest * ((high - low) / n) ** (1.0 / 3.0)
        if r < _THICK_MM:
            end[s] = start[s] + way
        else:
            kin = -1 if mother < 0 else thing[mother]
            end[s] = _around(start[s], way, r, p0, p1, radius, count, kin)
            thing[s] = count
            p0[count], p1[count], radius[count] = start[s], end[s], r
            count += 1
        way = centre - end[s]
        cut = halve(points, index, low, high, centre, unit(way), 0.0, spare)
        queue[tail] = (low, cut, s)
        queue[tail + 1] = (cut, high, s)
        tail += 2
    return start, end, parent, first, leaf, count


@numba.njit(cache=True)
def _around(start, way, r, p0, p1, radius, count, mother):
    """End of a branch, turned as little as keeps it clear of obstacles other than its mother."""
    length = math.sqrt((way * way).sum())
    aim = unit(way)
    v, w = frame(aim)
    rows = np.empty(count, np.int64)
    found = near(start, length + r + _APART_MM, p0, p1, radius, count, rows)
    best, chosen = 1e30, start + way
    for ring in range(6):
        for spoke in range(1 if ring == 0 else 8):
            tilt, turn = 0.18 * ring, 0.785398 * spoke + 0.39 * ring
            side = math.cos(turn) * v + math.sin(turn) * w
            stop = start + length * (math.cos(tilt) * aim + math.sin(tilt) * side)
            half = 0.5 * (start + stop)
            bad = 0.3 * ring
            for k in rows[:found]:
                if k == mother:
                    continue
                # What begins here too can only be cleared further on.
                here = p0[k, 0] == start[0] and p0[k, 1] == start[1] and p0[k, 2] == start[2]
                need = r + radius[k] + _APART_MM
                d2 = gap2(half if here else start, stop, p0[k], p1[k])
                if d2 < need * need:
                    bad += need - math.sqrt(d2)
                    if bad >= best:
                        break
            if bad < best:
                best, chosen = bad, stop
        if best <= 0.3 * ring:
            break
    return chosen


def _points(rng, body, count):
    """Uniform points in the lungs off the pleura, and their side, -1 right and 1 left."""
    found, sides, total = [], [], 0
    while total < count:
        points = rng.uniform(_LOW, _HIGH, (_BATCH, 3))
        between = anatomy.mediastinum(*points.T, body)
        side = np.where(points[:, 0] < 0, -1, 1)
        depth = np.where(
            side < 0,
            anatomy.lung(*points.T, -1, body, between),
            anatomy.lung(*points.T, 1, body, between),
        )
        deep = depth > _FROM_PLEURA_MM
        found.append(points[deep])
        sides.append(side[deep])
        total += int(deep.sum())
    return np.concatenate(found)[:count], np.concatenate(sides)[:count]


def lobes_of(points, sides):
    """Lobe codes of reference points (n, 3), given the side of each."""
    heights = anatomy.fissures(*points.T)
    return anatomy.lobe_labels(sides < 0, sides > 0, *heights).astype(np.int64)


@functools.lru_cache(maxsize=4)
def _grown(seed, usubjid, body_items, terminals):
    """Full trees of a patient: the fields of `tree` but radii, and what decides them.

    `place` is the position of a segment's first terminal in the order of showing, 0 to 1; `flow`
    of a last segment what it carries, else 0; `in_lung` whether each eighth lies in the lungs.
    """
    body = dict(body_items)
    # Vessels keep clear of airways and of each other where they are thick.
    room = 4096
    q0, q1, thick = np.zeros((room, 3)), np.zeros((room, 3)), np.zeros(room)
    bronchi = airways.grown(seed, usubjid, body_items)
    count = len(bronchi["radius"])
    q0[:count], q1[:count] = bronchi["p0"], bronchi["p1"]
    thick[:count] = 1.1 * bronchi["radius"] + 0.8
    for _, _, trunk, hilum in TREES:
        q0[count], q1[count], thick[count] = trunk, hilum, _NOMINAL_MM
        count += 1
    parts, rows = [], 0
    for number, (kind, side, trunk, hilum) in enumerate(TREES):
        if number % 2 == 0:
            rng = stream(seed, usubjid, "artery" if kind == 1 else "vein")
            points, sides = _points(rng, body, 2 * terminals)
            flows = np.exp(rng.uniform(*np.log(_FLOWS), 2 * terminals))
            lobes = lobes_of(points, sides)
        hilum = np.array(hilum, float)
        trunk_row = rows
        parts.append(
            {
                "p0": np.array([trunk], float),
                "p1": hilum[None],
                "parent": np.array([-1]),
                "place": np.zeros(1),
                "flow": np.zeros(1),
                "lobe": np.zeros(1, int),
                "kind": np.array([kind]),
                "tree": np.array([number]),
            }
        )
        rows += 1
        for lobe in np.unique(lobes[sides == side]):
            chosen = np.flatnonzero((lobes == lobe) & (sides == side))
            widest = _NOMINAL_MM * (len(chosen) / terminals) ** (1.0 / 3.0)
            start, end, parent, first, leaf, count = grow(
                points[chosen], hilum, widest, q0, q1, thick, count
            )
            n = len(parent)
            parts.append(
                {
                    "p0": start,
                    "p1": end,
                    "parent": np.where(parent < 0, trunk_row, parent + rows),
                    "place": (chosen[first] + 0.5) / (2 * terminals),
                    "flow": np.where(leaf >= 0, flows[chosen[leaf]], 0.0),
                    "lobe": np.full(n, lobe),
                    "kind": np.full(n, kind),
                    "tree": np.full(n, number),
                }
            )
            rows += n
    full = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    share = (np.arange(_PARTS) + 0.5) / _PARTS
    spots = full["p0"] + share[:, None, None] * (full["p1"] - full["p0"])
    flat = spots.reshape(-1, 3).T
    between = anatomy.mediastinum(*flat, body)
    depth = np.maximum(*(anatomy.lung(*flat, side, body, between) for side in (-1, 1)))
    full["in_lung"] = (depth > 0).reshape(_PARTS, -1).T
    return full


def _full(record):
    return _grown(
        record.seed, record.usubjid, tuple(sorted(record.body.items())), record.vessel_terminals
    )


@numba.njit(cache=True)
def _gather(parent, flow):
    """Flow and number of terminals of each segment: rows are after their parents'."""
    total, leaves = flow.copy(), (flow > 0).astype(np.int64)
    order = np.zeros(len(parent), np.int64)
    for s in range(len(parent) - 1, -1, -1):
        if parent[s] >= 0:
            total[parent[s]] += total[s]
            leaves[parent[s]] += leaves[s]
    for s in range(len(parent)):
        if parent[s] >= 0:
            order[s] = order[parent[s]] + 1
    return total, leaves, order


def _shown(full, share):
    """Segments on the way to the first share of the terminals, with flows; parents renumbered."""
    keep = full["place"] < max(share, _FEWEST)
    table = {name: values[keep] for name, values in full.items()}
    number = np.cumsum(keep) - 1
    table["parent"] = np.where(table["parent"] >= 0, number[table["parent"]], -1)
    table["flow"], table["leaves"], table["order"] = _gather(table["parent"], table["flow"])
    return table


def _radius(table, parameters):
    """Murray's law: flow ~ radius ** exponent; the mean of the four trunks has `trunk_mm`."""
    trunks = table["flow"][table["parent"] < 0].mean()
    return parameters["trunk_mm"] * (table["flow"] / trunks) ** (1.0 / parameters["exponent"])


def _usual(record):
    return min(1.0, SHOWN / record.vessel_terminals)


def tree(record):
    """Arteries and veins that a visit shows.

    Returns
    -------
    dict of ndarray
        By segment, parents before daughters: `p0`, `p1` (n, 3) ends in reference mm; `radius` in
        mm of the patient; `parent` row or -1; `leaves` terminals fed; `flow`; `order` steps from
        the trunk; `lobe` codes of `anatomy.LOBES`, 0 the trunk; `kind` 1 artery, 2 vein; `tree`
        0 to 3; `place` 0 to 1, below the visit's `shown`; `in_lung` (n, 8) whether each eighth of
        the segment lies in the lungs.

    Notes
    -----
    Terminals fill the lungs uniformly; each lobe is fed by its own branch from the hilum, and a
    branch halves its territory as in the airway growth of Tawhai et al. 2000 [1]_. Cubes of radii
    add up at forks (Murray's law).

    References
    ----------
    .. [1] Tawhai, Pullan, Hunter 2000, Ann Biomed Eng 28:793-802.
    """
    parameters = {"shown": _usual(record), **DEFAULTS, **(record.vessels or {})}
    table = _shown(_full(record), parameters["shown"])
    return {**table, "radius": _radius(table, parameters)}


def in_lungs(table):
    """Return the ends of the part of each segment in the lungs, reference mm, and its share.

    A segment that lies outside has equal ends and a share of 0.
    """
    inside = table["in_lung"]
    some = inside.any(axis=1)
    first = np.where(some, inside.argmax(axis=1), 0) / _PARTS
    last = np.where(some, _PARTS - inside[:, ::-1].argmax(axis=1), 0) / _PARTS
    along = table["p1"] - table["p0"]
    start, end = table["p0"] + first[:, None] * along, table["p0"] + last[:, None] * along
    return start, end, inside.mean(axis=1)


def _volumes(record, table, slices=12, spots=12):
    """Volume of each segment in the lungs, mL; nothing counts twice."""
    p0, p1 = table["p0"] * record.scale, table["p1"] * record.scale
    own = own_volumes(p0, p1, table["radius"], table["parent"], slices, spots)
    return own * table["in_lung"].mean(axis=1) / 1000.0


def _dimension(record, table):
    """Fractal dimension of the centrelines in the lungs by the protocol of the biomarkers."""
    start, end, share = in_lungs(table)
    inside = share > 0
    points = fractal.along(start[inside] * record.scale, end[inside] * record.scale)
    return fractal.fractal_dimension(points)


def truth(record, visible_mm=VISIBLE_MM):
    """Geometric truth (T0) of the vessels in the lungs.

    Parameters
    ----------
    record : Record
    visible_mm : float
        Thinner segments don't count, as label maps don't show them.

    Returns
    -------
    dict
        `tbv_ml`, `bv5_ml`, `bv10_ml` volume in all vessels and in those of a cross-section below 5
        and 10 mm2; `bv5_pct` of the total; `length_mm`; `fractal_dimension` and `fd_r2` of the
        centrelines; `alpha`, `beta` of the law of radii; `tbv_artery_ml`, `tbv_vein_ml`.

    Notes
    -----
    Volumes are those of the union of the tubes, a fork's overlap counted once (`own_volumes`);
    where arteries and veins happen to cross they count twice, below 1 % of the volume.
    """
    # Here, as images are made without what measuring them needs.
    from lungitude.biomarkers.vessels import radius_law

    table = tree(record)
    visible = table["radius"] >= visible_mm
    volume = _volumes(record, table)[visible]
    table = {name: values[visible] for name, values in table.items()}
    start, end, _ = in_lungs(table)
    length = np.linalg.norm((end - start) * record.scale, axis=1)
    area = math.pi * table["radius"] ** 2
    dimension = _dimension(record, table)
    total, bv5 = float(volume.sum()), float(volume[area < BV5_MM2].sum())
    law = radius_law(table["radius"], length)
    return {
        "tbv_ml": total,
        "bv5_ml": bv5,
        "bv5_pct": 100.0 * bv5 / total if total else math.nan,
        "bv10_ml": float(volume[area < BV10_MM2].sum()),
        "length_mm": float(length.sum()),
        "fractal_dimension": dimension["fractal_dimension"],
        "fd_r2": dimension["fd_r2"],
        "alpha": law["alpha"],
        "beta": law["beta"],
        "tbv_artery_ml": float(volume[table["kind"] == 1].sum()),
        "tbv_vein_ml": float(volume[table["kind"] == 2].sum()),
    }


def solve(record):
    """Record whose vessels meet the fractal dimension and BV5 % asked, where it asks.

    The dimension is met by the share of twigs shown, then BV5 % by the radius of the trunks, which
    moves no centreline. What can't be met comes as near as the tree allows, and is logged.
    """
    full, asked = _full(record), record.quantities
    shown, trunk = _usual(record), DEFAULTS["trunk_mm"]
    whom = f"{record.usubjid} {record.avisit}"
    if "fractal_dimension" in asked:
        shown, reached = _solve_shown(record, full, asked["fractal_dimension"])
        if abs(reached - asked["fractal_dimension"]) > 0.005:
            log.warning(
                "%s: FRACDIM asks for %.3f, the vessels have %.3f",
                whom,
                asked["fractal_dimension"],
                reached,
            )
    table = _shown(full, shown)
    thinnest = _radius(table, {**DEFAULTS, "trunk_mm": 1.0}).min()
    least = max(TRUNK_MM[0], 1.0001 * VISIBLE_MM / thinnest)
    trunk = max(trunk, least)
    if "bv5_pct" in asked:
        trunk, reached = _solve_trunk(record, table, asked["bv5_pct"], least)
        if abs(reached - asked["bv5_pct"]) > 0.2:
            log.warning(
                "%s: BV5 asks for %.1f %%, the vessels have %.1f %%",
                whom,
                asked["bv5_pct"],
                reached,
            )
    parameters = {**DEFAULTS, "shown": float(shown), "trunk_mm": float(trunk)}
    return dataclasses.replace(record, vessels=parameters)


def _solve_shown(record, full, target):
    """Share of terminals that gives a fractal dimension, and the dimension it gives.

    The dimension follows nearly from terminals by volume of lung, so a step from near the target
    along the known slope lands on it and need not be looked at again.
    """
    known, values = _DIMENSIONS.T
    slopes = np.gradient(values, np.log(known))
    least, most = math.log(_FEWEST), 0.0
    per_share = record.vessel_terminals / record.lung_volume_l
    x = np.interp(target, values, np.log(known / per_share))
    for _ in range(5):
        x = min(max(x, least), most)
        value = _dimension(record, _shown(full, math.exp(x)))["fractal_dimension"]
        step = (target - value) / np.interp(target, values, slopes)
        if not least < x + step < most:
            if x == min(max(x + step, least), most):
                break
        elif abs(step) < 0.08:
            return math.exp(x + step), target
        x += step
    return math.exp(x), value


def _solve_trunk(record, table, target, least):
    """Radius of the trunks that gives BV5 %, and the percentage it gives."""
    start, end, _ = in_lungs(table)
    length = np.linalg.norm((end - start) * record.scale, axis=1)
    relative = _radius(table, {**DEFAULTS, "trunk_mm": 1.0})
    order = np.argsort(relative)
    calibre = relative[order]
    cumulative = np.cumsum((relative**2 * length)[order])
    cumulative /= cumulative[-1]
    limit = math.sqrt(BV5_MM2 / math.pi)

    def above(trunk, aim):  # forks counted twice; only ever a step on the way
        return 100.0 * np.interp(limit / trunk, calibre, cumulative, left=0.0) - aim

    def union(trunk):
        volume = _volumes(record, {**table, "radius": trunk * relative})
        return 100.0 * float(volume[trunk * relative < limit].sum() / volume.sum())

    low, high = least, max(TRUNK_MM[1], least)
    aim, best = target, None
    for _ in range(5):
        if above(low, aim) <= 0:
            trunk = low
        elif above(high, aim) >= 0:
            trunk = high
        else:
            trunk = optimize.brentq(above, low, high, args=(aim,), xtol=1e-5)
        reached = union(trunk)
        if best is None or abs(reached - target) < abs(best[1] - target):
            best = (trunk, reached)
        if abs(reached - target) < 0.03:
            break
        aim += target - reached
    return best
