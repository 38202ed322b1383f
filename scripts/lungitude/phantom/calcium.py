"""Plaques that give the calcium scan of a patient the Agatston score asked for."""

import dataclasses
import math

import numpy as np
from scipy import ndimage

from lungitude.biomarkers.agatston import MASS_FACTOR, PROTOCOL_SLICE_MM, lesion_slices

from . import cardiac, coronaries, grids
from .record import stream

MG_PER_MM3_HU = MASS_FACTOR
TOLERANCE_AU, TOLERANCE = 3.0, 0.03
# Stretches of a vessel, 8 mm and longer, that take one plaque on each side.
_SLOTS = {1: 14, 2: 8, 3: 26}
_LONGEST_MM = 4.0  # semi-axis along the vessel
_SIDES = 3
_GROWTH = (1.0, 1.25, 1.5, 1.8)  # of all plaques, tried until their sum is enough
_SHARE = {1: 0.5, 2: 0.2, 3: 0.3}
_TRIALS = 48


def candidates(record):
    """Possible plaques of a patient in the order in which they appear, the same at each visit.

    Each takes its own stretch of one side of a vessel, so they hardly touch.

    Returns
    -------
    list of dict
        ``vessel`` (1-3), ``position`` (0-1 of the length), ``angle_rad`` about the vessel,
        ``semi_mm`` (along the vessel, its radius, across), ``hu``.
    """
    rng = stream(record.seed, record.usubjid, "plaques")
    rows, keys = [], []
    turn = rng.uniform(0.0, 2.0 * math.pi)
    for vessel, slots in _SLOTS.items():
        draws = rng.uniform(size=(_SIDES, slots, 6))
        for side in range(_SIDES):
            for slot in range(slots):
                u = draws[side, slot]
                position = 0.03 + 0.94 * (slot + 0.45 + 0.1 * u[0]) / slots
                small = 0.75 if side else 1.0
                radial = small * (0.8 + 1.1 * u[1])
                semi = (min(radial * (1.2 + 1.3 * u[2]), _LONGEST_MM), radial, 1.15 * radial)
                angle = turn + 2.0 * math.pi * side / _SIDES + 0.6 * (u[3] - 0.5)
                rows.append(
                    {
                        "vessel": vessel,
                        "position": float(position),
                        "angle_rad": float(angle),
                        "semi_mm": [float(s) for s in semi],
                        "hu": float(round(320.0 + 680.0 * u[4])),
                    }
                )
                # Proximal plaques first, one side before the others.
                keys.append(u[5] + side + 0.8 * position - _SHARE[vessel])
    return [rows[n] for n in np.argsort(keys, kind="stable")]


def solve(record):
    """Record whose `heart` has plaques, stenoses and blood flow.

    With the quantity `agatston` the plaques make that score on the noiseless calcium scan of
    `cardiac.calcium_grid`, within 3 AU or 3 %; without it, a few are drawn.

    Raises
    ------
    ValueError
        All the plaques that fit on the coronaries make less.
    """
    heart = {
        **record.heart,
        "stenoses": coronaries.draw_stenoses(record),
        "flow_ml_min_g": coronaries.draw_flow(record),
        "plaques": [],
    }
    record = dataclasses.replace(record, heart=heart)
    if "agatston" in record.quantities:
        plaques = _fit(record, float(record.quantities["agatston"]))
    else:
        rng = stream(record.seed, record.usubjid, "plaque count")
        number = 0 if rng.uniform() < 0.4 else int(rng.geometric(0.2))
        plaques = candidates(record)[:number]
    return dataclasses.replace(record, heart={**heart, "plaques": plaques})


def _fit(record, target):
    """Return a prefix of the candidates, the last of them sized so that the score is right."""
    if target <= 0.0:
        return []
    bench = _Bench(record)
    rows = candidates(record)
    for growth in _GROWTH:
        bench.clear()
        listed = [_sized(row, growth) for row in rows]
        number, before = 0, 0.0
        while number < len(listed) and bench.add(listed[number]) < target:
            number, before = number + 1, bench.score
        if bench.score >= target:
            break
    else:
        raise ValueError(
            f"{record.usubjid} {record.avisit}: CACS {target:g} does not fit on the coronary "
            f"arteries ({bench.score:.0f} do); lower it"
        )
    bench.take_last()
    # The score of the last plaque is a staircase in its size and density: the nearest step is
    # taken, of sizes first.
    best = (abs(before - target), None)
    good = max(TOLERANCE_AU, TOLERANCE * target) / 3.0
    for thinner in (1.0, 0.7, 0.5):
        low, high = 0.15, 1.0
        for trial in range(_TRIALS):
            if trial < 14:  # bisection, then a fine scan about where it ended
                factor = 0.5 * (low + high)
            else:
                factor = np.clip(high * (1.0 + 0.02 * (trial - 30)), 0.15, 1.0)
            last = _sized(listed[number], float(factor), thinner)
            score = bench.add(last, keep=False)
            best = min(best, (abs(score - target), last), key=lambda pair: pair[0])
            if best[0] <= good:
                break
            if score < target:
                low = factor if trial < 14 else low
            else:
                high = factor if trial < 14 else high
        if best[0] <= good:
            break
    return listed[:number] + ([] if best[1] is None else [best[1]])


def _sized(plaque, factor, density=1.0):
    return {
        **plaque,
        "semi_mm": [factor * semi for semi in plaque["semi_mm"]],
        "hu": round(200.0 + density * (plaque["hu"] - 200.0), 1),
    }


class _Bench:
    """Calcium scan around the coronary arteries, to which plaques are added one by one.

    Only slices that a plaque touches are scored again.
    """

    def __init__(self, record):
        self.record = record
        grid = cardiac.calcium_grid(record)
        self.phase = cardiac.CALCIUM_PHASE
        self.mask = cardiac.coronary_labels(record, self.phase, grid)
        self.lines = coronaries.centrelines(record, self.phase)
        box = ndimage.find_objects((self.mask > 0).astype(np.uint8))[0]
        origin = [
            o + s * part.start
            for o, s, part in zip(grid.origin_mm, grid.spacing_mm, box[::-1], strict=True)
        ]
        self.mask = np.ascontiguousarray(self.mask[box])
        self.grid = grids.Grid(tuple(origin), grid.spacing_mm, self.mask.shape)
        where = (self.mask > 0).astype(np.uint8)
        self.plain = cardiac.draw(record, self.phase, self.grid, False, where=where)
        self.clear()

    def clear(self):
        """Remove all plaques."""
        self.weight, self.dense = np.zeros(self.grid.shape), np.zeros(self.grid.shape)
        self.slices = self._scores(slice(0, self.grid.shape[0]), self.weight, self.dense)
        self.last = None

    @property
    def score(self):
        return float(self.slices.sum())

    def add(self, plaque, keep=True):
        """Score with one more plaque."""
        shapes = coronaries.plaque_shapes(self.record, self.phase, [plaque], self.lines)
        reach = float(max(plaque["semi_mm"])) + 4.0 * cardiac.SIGMA_MM
        z = (shapes[0][0, 2] - self.grid.origin_mm[2]) / self.grid.spacing_mm[2]
        step = reach / self.grid.spacing_mm[2] + 0.5
        first = max(math.floor(z - step), 0)
        part = slice(first, max(min(math.ceil(z + step) + 1, self.grid.shape[0]), first))
        if part.stop <= part.start:
            return self.score
        origin = (
            *self.grid.origin_mm[:2],
            self.grid.origin_mm[2] + first * self.grid.spacing_mm[2],
        )
        shape = (part.stop - part.start, *self.grid.shape[1:])
        weight, dense = cardiac.plaque_cover(
            grids.Grid(origin, self.grid.spacing_mm, shape), shapes
        )
        weight += self.weight[part]
        dense += self.dense[part]
        slices = self.slices.copy()
        slices[part] = self._scores(part, weight, dense)
        if keep:
            self.last = part, self.weight[part].copy(), self.dense[part].copy(), self.slices
            self.weight[part], self.dense[part], self.slices = weight, dense, slices
        return float(slices.sum())

    def take_last(self):
        """Remove the plaque that was added last."""
        part, self.weight[part], self.dense[part], self.slices = self.last

    def _scores(self, part, weight, dense):
        """Agatston score of each slice of a part."""
        hu = self.plain[part].copy()
        cardiac.blend_plaques(hu, weight, dense)
        inside = self.mask[part]
        found = lesion_slices(
            hu, inside, min_voxels=1.0 / (self.grid.spacing_mm[0] * self.grid.spacing_mm[1])
        )
        scores = np.zeros(len(hu))
        first = np.full(found["voxels"].size, -1)
        first[found["number"]] = found["place"] // (hu.shape[1] * hu.shape[2])
        area = self.grid.spacing_mm[0] * self.grid.spacing_mm[1]
        thick = self.grid.spacing_mm[2] / PROTOCOL_SLICE_MM
        np.add.at(scores, first, found["voxels"] * found["weight"] * area * thick)
        return scores


def truth(record):
    """Calcium of the record alone: what is there, not what a scan shows.

    Returns
    -------
    dict
        plaques (count), calcium_mm3 (sum of the ellipsoids), calcium_hu_mm3 (times HU), and
        calcium_mg (times the nominal `MG_PER_MM3_HU`); the same by vessel under ``LAD`` ``LCX``
        ``RCA``.
    """
    out = {}
    for name, code in {
        "": None,
        **{name: code for code, name in coronaries.VESSELS.items()},
    }.items():
        mine = [p for p in record.heart["plaques"] if code in (None, p["vessel"])]
        volume = [4.0 / 3.0 * math.pi * float(np.prod(p["semi_mm"])) for p in mine]
        dense = [v * p["hu"] for v, p in zip(volume, mine, strict=True)]
        row = {
            "plaques": len(mine),
            "calcium_mm3": float(sum(volume)),
            "calcium_hu_mm3": float(sum(dense)),
            "calcium_mg": MG_PER_MM3_HU * float(sum(dense)),
        }
        out.update(row if code is None else {name: row})
    return out
