"""Airways and vessels in a box around the root of the right lung."""

import dataclasses

import numpy as np
from scipy import spatial

from lungitude.biomarkers import fractal
from lungitude.biomarkers.airway_match import match_branches
from lungitude.biomarkers.airways import airway_branches, airways_from_branches
from lungitude.biomarkers.vessels import radius_law, vessel_segments
from lungitude.biomarkers.vessels import vessels as measure_vessels
from lungitude.phantom import airways, labels, render, vessels
from lungitude.phantom.view import Place
from lungitude.validation.imaging_cases import TREES, row, scanned

CARINA_MM = np.array([1.0, 20.0, 44.0])  # reference
# From the carina: x, y, z. A tree needs its trachea; vessels take long to measure.
AIRWAY_BOX_MM = ((-105.0, -65.0, -95.0), (12.0, 60.0, 32.0))
VESSEL_BOX_MM = ((-100.0, -55.0, -85.0), (-8.0, 50.0, 10.0))
EDGE_MM = 5.0  # of the box: branches whose middle is nearer to it are cut, and don't count
AIRWAYS = ("pi10_mm", "wa_pct", "wa_la", "lumen_diameter_mm")
VESSELS = "tbv_ml bv5_ml bv5_pct bv10_ml fractal_dimension alpha beta length_m".split()
SECOND = ("soft 0.7 mm", "soft 1.25 mm")  # the protocols of the second visit
SMALL = "soft 0.7 mm"  # where branches are told one by one
DEAR = 4  # every so many cases: noiseless images, and the second visit at the finest voxel
CLEAR_MM = 1.0  # from the surface of a vessel to that of the next tube that is no kin
LATTICE_MM = 0.4  # of the points that tell volumes
ALONG = 0.8  # cosine of the angle between a measured branch and the true one


def measure(rows):
    """Add the rows of one case."""
    first = render.count_lesions(render.prepare(row(rows.case, "first", ("trees",)), {}))
    # Lungs, lesions and all else are those of the first visit: only the trees change.
    second = render.prepare(row(rows.case, "second", ("trees",)), {})
    second = dataclasses.replace(first, airways=second.airways, vessels=second.vessels)
    visits = {"first": Visit(first), "second": Visit(second)}
    for name in TREES:
        baseline = None
        for visit, case in visits.items():
            if visit == "second" and (name not in SECOND or (name == SMALL and not often(rows))):
                continue
            box = rows.attempt(visit, name, Box, case, name)
            if box is None:
                continue
            rows.attempt(visit, name, vessel_rows, rows, visit, box)
            if visit == "first":
                baseline = rows.attempt(visit, name, airway_rows, rows, box)
            elif baseline is not None:
                rows.attempt(visit, name, matched_rows, rows, box, visits["first"], baseline)


def often(rows):
    """Whether a case is one of those that the dearest measurements are made on."""
    return rows.case % DEAR == 0


class Visit:
    """A record and the truth of its trees."""

    def __init__(self, record):
        self.record = record
        corner = CARINA_MM * record.scale
        self.box = tuple(corner + end for end in AIRWAY_BOX_MM)
        self.vessel_box = tuple(corner + end for end in VESSEL_BOX_MM)
        self.airways = airways.branch_table(record)
        self._vessels = None

    def vessels(self, lobes, grid):
        """Return the truth of `vessel_truth`; lungs are those of the first grid that asks."""
        if self._vessels is None:
            self._vessels = vessel_truth(self, lobes, grid)
        return self._vessels


class Box:
    """What is rendered of one visit with one protocol."""

    def __init__(self, visit, name):
        self.visit, self.name = visit, name
        record = scanned(visit.record, TREES[name], name)
        self.grid = render.box(*visit.box, record.voxel_mm)
        self.scan = render.render_box(record, "insp", self.grid, ("airways", "vessels"))
        self.noisy, self.exact = map(self.grid.image, (render.deliver(self.scan), self.scan.t1))

    def within(self, box):
        """Mark the voxels whose centre lies between two corners."""
        low, high = box
        x, y, z = (
            (axis >= a) & (axis < b) for axis, a, b in zip(self.grid.axes(), low, high, strict=True)
        )
        return z[:, None, None] & y[None, :, None] & x[None, None, :]


# Vessels


def vessel_rows(rows, visit, box):
    """Add what is measured of the vessels, with their truths."""
    truth, line = box.visit.vessels(box.scan.lobes, box.grid)
    lungs = np.where(box.within(box.visit.vessel_box), box.scan.lobes, 0).astype(np.uint8)
    label, mask = box.grid.image(box.scan.labels["vessels"]), box.grid.image(lungs)
    found = measure_vessels(label, mask, box.noisy).iloc[0]
    # What noise does is told by the first visit.
    told = visit == "first" and often(rows)
    exact = measure_vessels(label, mask, box.exact).iloc[0] if told else {}
    for name in VESSELS:
        values = {"t1": exact.get(name), "t0": truth[name]}
        rows.add(visit, box.name, f"vessel_{name}", found[name], **values)
    if box.name == SMALL:
        branches = vessel_segments(label, mask, box.noisy)
        small = branches["csa_mm2"] < vessels.BV5_MM2
        length = float(branches.loc[small, "length_mm"].sum()) / 1000.0
        rows.add(visit, box.name, "vessel_small_length_m", length, t0=truth["small_length_m"])
        if visit == "first":
            _radii(rows, visit, box, branches, line)


def vessel_truth(visit, lobes, grid):
    """Return the geometric truth of the vessels in a visit's box and lungs.

    Parameters
    ----------
    visit : Visit
    lobes : ndarray, (z, y, x)
        Nonzero in the lungs, on `grid`.

    Returns
    -------
    truth : dict
        By `VESSELS`, and small_length_m. Volumes count the points of a fine lattice that lie in
        the tubes: one that lies in several belongs to the thickest, one in an airway to none, as
        the airway is drawn over it. Lengths are those of the centrelines.
    line : dict of ndarray
        Points on the centrelines: point (n, 3) LPS mm, radius_mm, segment, kind.
    """
    table, record = vessels.tree(visit.record), visit.record
    p0, p1 = table["p0"] * record.scale, table["p1"] * record.scale
    length = np.linalg.norm(p1 - p0, axis=1)
    seen = np.flatnonzero(table["radius"] >= vessels.VISIBLE_MM)
    count = np.maximum(np.ceil(length[seen] / fractal.STEP_MM).astype(np.intp), 1)
    segment = np.repeat(seen, count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    share = ((number + 0.5) / np.repeat(count, count))[:, None]
    points = p0[segment] + share * (p1 - p0)[segment]
    low, high = visit.vessel_box
    keep = ((points >= low) & (points <= high)).all(axis=1)
    keep[keep] = _in(points[keep], lobes, grid)
    points, segment = points[keep], segment[keep]
    along = np.bincount(segment, (length[seen] / count).repeat(count)[keep], len(length))
    volume = _volumes(visit, table, seen, lobes, grid)
    area = np.pi * table["radius"] ** 2
    small = area < vessels.BV5_MM2
    truth = {
        "tbv_ml": volume.sum(),
        "bv5_ml": volume[small].sum(),
        "bv5_pct": 100.0 * volume[small].sum() / volume.sum() if volume.any() else np.nan,
        "bv10_ml": volume[area < vessels.BV10_MM2].sum(),
        "fractal_dimension": fractal.fractal_dimension(points)["fractal_dimension"],
        **radius_law(table["radius"], along),
        "length_m": along.sum() / 1000.0,
        "small_length_m": along[small].sum() / 1000.0,
    }
    line = {"point": points, "radius_mm": table["radius"][segment], "segment": segment}
    return truth, line | {"kind": table["kind"][segment]}


def _in(points, lobes, grid):
    index = np.rint(grid.index(points)).astype(np.intp)
    return lobes[tuple(np.clip(index, 0, np.array(grid.shape) - 1).T)] > 0


def _volumes(visit, table, seen, lobes, grid):
    """Return the volume of each segment in the box and the lungs, mL."""
    low, high = visit.vessel_box
    lattice = render.box(low + 0.5 * LATTICE_MM, high - 0.5 * LATTICE_MM, LATTICE_MM)
    place = Place(visit.record, "insp", lattice)
    owner = np.zeros(lattice.shape, np.int32)
    inwards = seen[np.argsort(table["radius"][seen], kind="stable")]
    number = np.arange(1, len(table["radius"]) + 1)
    labels.mark(place, owner, table, inwards, table["radius"], number)
    tree = airways.tree(visit.record)
    outer = tree["radius"] + tree["wall"]
    labels.mark(place, owner, tree, np.ones(len(outer), bool), outer, 0)
    held = np.argwhere(owner)
    points = np.array(lattice.origin_mm) + held[:, ::-1] * LATTICE_MM
    held = owner[tuple(held[_in(points, lobes, grid)].T)]
    return np.bincount(held - 1, minlength=len(number)) * LATTICE_MM**3 / 1000.0


def _radii(rows, visit, box, branches, line):
    """Add the radius of each branch whose middle lies on a true centreline of its kind.

    Branches near another tube than their kin are told apart: there, two are blurred into one, and
    the phantom even lets some overlap.
    """
    gap = _gaps(box.visit)
    for kind, part in branches.groupby("kind"):
        mine = np.flatnonzero(line["kind"] == kind)
        near = spatial.cKDTree(line["point"][mine])
        away, place = near.query(part[["x_mm", "y_mm", "z_mm"]].to_numpy())
        place = mine[place]
        true = line["radius_mm"][place]
        for number in np.flatnonzero(away < np.maximum(0.5 * true, max(box.grid.spacing_mm))):
            item, at = f"{kind}-{part.index[number]}", place[number]
            clear = gap(line["point"][at], line["segment"][at]) >= CLEAR_MM
            quantity = "vessel_radius_mm" if clear else "vessel_radius_crowded_mm"
            measured = part["radius_mm"].iloc[number]
            rows.add(visit, box.name, quantity, measured, t0=true[number], item=item)


def _gaps(visit):
    """Return a function of a point and its vessel segment: mm to the next tube that is no kin."""
    tree, other, record = vessels.tree(visit.record), airways.tree(visit.record), visit.record
    p0, p1 = (np.vstack([tree[end], other[end]]) * record.scale for end in ("p0", "p1"))
    radius = np.concatenate([tree["radius"], other["radius"] + other["wall"]])
    along, parent = p1 - p0, tree["parent"]
    square = np.maximum((along**2).sum(axis=1), 1e-9)

    def gap(point, segment):
        t = np.clip(((point - p0) * along).sum(axis=1) / square, 0.0, 1.0)
        away = np.linalg.norm(p0 + t[:, None] * along - point, axis=1) - radius
        mother = parent[segment]
        kin = (parent == segment) | ((parent == mother) & (mother >= 0))
        kin[[segment, max(mother, 0)]] = True
        away[: len(kin)][kin] = np.inf
        return away.min() - radius[segment]

    return gap


# Airways


def airway_rows(rows, box):
    """Add what is measured of the airways, with their truths; return the measured branches."""
    label = box.grid.image(box.scan.labels["airways"])
    branches = true_branches(box.visit, airway_branches(box.noisy, label))
    found = airways_from_branches(branches).iloc[0]
    exact = {}
    if often(rows):
        exact = airways_from_branches(airway_branches(box.exact, label)).iloc[0]
    truth, every = _truth(box.visit, branches), _truth(box.visit)
    for name in AIRWAYS:
        values = {"t1": exact.get(name), "t0": truth[name]}
        rows.add("first", box.name, f"airway_{name}", found[name], **values)
        rows.add("first", box.name, f"airway_all_{name}", found[name], t0=every[name])
    rows.add("first", box.name, "airway_count", found["n_branches"], t0=every["n_branches"])
    used = branches[branches["used"] & (branches["true"] >= 0)]
    true = box.visit.airways.loc[used["true"]]
    for name, quantity in (("lumen_diameter_mm", "lumen"), ("wall_mm", "wall")):
        quantity = f"airway_branch_{quantity}_mm"
        for item, measured, t0 in zip(used["true"], used[name], true[name], strict=True):
            rows.add("first", box.name, quantity, measured, t0=t0, item=str(item))
    return branches


def true_branches(visit, branches):
    """Add the column true: row of the branch table whose axis the middle lies on, or -1."""
    table = airways.tree(visit.record)
    p0, p1 = table["p0"] * visit.record.scale, table["p1"] * visit.record.scale
    along = p1 - p0
    square = (along**2).sum(axis=1)
    way = along / np.sqrt(square)[:, None]
    found = np.full(len(branches), -1)
    middles = branches[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    tangents = branches[["tangent_x", "tangent_y", "tangent_z"]].to_numpy(float)
    for k, (middle, tangent) in enumerate(zip(middles, tangents, strict=True)):
        t = np.clip(((middle - p0) * along).sum(axis=1) / square, 0.0, 1.0)
        away = np.linalg.norm(p0 + t[:, None] * along - middle, axis=1)
        away[way @ tangent < ALONG] = np.inf
        nearest = int(away.argmin())
        if away[nearest] < max(1.5, 0.5 * table["radius"][nearest]):
            found[k] = nearest
    return branches.assign(true=found)


def _truth(visit, branches=None):
    """Return closed forms over the branches used, or over all of the rule in the box."""
    table = visit.airways
    if branches is None:
        low, high = visit.box
        middle = table[["x_mm", "y_mm", "z_mm"]].to_numpy()
        table = table[((middle > low + EDGE_MM) & (middle < high - EDGE_MM)).all(axis=1)]
        rule = {}
    else:
        table = table.loc[branches.loc[branches["used"] & (branches["true"] >= 0), "true"]]
        rule = {"least": 0, "perimeter_mm": (0.0, np.inf)}
    radius = 0.5 * table["lumen_diameter_mm"].to_numpy()
    return airways.measures(
        radius, table["wall_mm"].to_numpy(), table["generation"].to_numpy(), **rule
    )


def matched_rows(rows, box, first, baseline):
    """Add both visits over the branches that both have, as a trial compares them.

    The second visit takes point spread and wall density of the first, as it is the same scanner.
    """
    label = box.grid.image(box.scan.labels["airways"])
    known = {name: baseline[name].iloc[0] for name in ("psf_mm", "wall_hu")}
    later = true_branches(box.visit, airway_branches(box.noisy, label, **known))
    pair = match_branches(baseline, later, _Still())
    for name, case, branches in zip(("first", "second"), (first, box.visit), pair, strict=True):
        found, truth = airways_from_branches(branches).iloc[0], _truth(case, branches)
        for quantity in AIRWAYS:
            values = {"t0": truth[quantity]}
            rows.add(name, box.name, f"airway_matched_{quantity}", found[quantity], **values)


class _Still:
    """The transform between visits of the phantom, whose lungs are the same."""

    def apply_points(self, points_mm):
        return points_mm
