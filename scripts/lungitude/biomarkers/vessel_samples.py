"""Vessels as points on their centrelines, each with the cross-section measured there.

Arrays are (z, y, x); places on centrelines are "array mm", an index times the spacing.
"""

import dataclasses

import edt
import numba
import numpy as np

from lungitude.biomarkers import fractal, graphs

STEP_MM = 0.5  # between points of a centreline
PSF_MM = 0.6  # SD of the kernels of chest CT: 0.4 to 0.9
REACH_SD = 2.5  # of the point spread: where the blurred rim of a vessel ends, beyond its label
RING_MM = 1.5  # width of the shell of lung around a vessel that gives its background
STRETCH_MM = 8.0  # of a branch that shares one background
RING_MIN = 40  # voxels; with fewer, the background of the whole branch, then of the lungs, counts
WINDOW_MM = 4.0  # SD of the weights along a branch in the mean that is a cross-section
GUARDS_MM = (1.5, 1.0, 0.5, 0.0)  # distance to a fork's thick branch, whose blurred rim reaches out
FREE_MM = 1.0  # of centreline that is enough for a cross-section
CORES = ((3.0, 200), (2.25, 30))  # depth (mm) that no partial volume reaches, and fewest voxels
LUNG_BELOW_HU = -500.0
RIM_ABOVE_HU = (
    100.0  # of the median of the lungs: more is no parenchyma, less is its texture and noise
)
BLOOD_HU, LUNG_HU = 45.0, -870.0  # without contrast medium, where there is no place to tell


@dataclasses.dataclass(frozen=True)
class Samples:
    """Points on centrelines (n) and the branches they belong to (m).

    Attributes
    ----------
    place : ndarray, (n, 3)
        Array mm.
    length_mm, volume_mm3, csa_mm2 : ndarray, (n,)
        Centreline that a point stands for; blood that is nearer to it than to other points; area
        of the cross-section, a mean over its neighbourhood clear of forks.
    branch : ndarray of int, (n,)
        Branch of a point; the points of a branch follow one another in order.
    kind, ends : ndarray of int, (m,) and (m, 2)
        Label of the branch, and its nodes.
    branch_csa_mm2, background_hu : ndarray, (m,)
        Means over a branch clear of its forks; background NaN without an image.
    blood_hu : float
    flags : tuple of str
        ``blood_assumed``, ``background_assumed``: no place to measure it, the default was taken.
    """

    place: np.ndarray
    length_mm: np.ndarray
    volume_mm3: np.ndarray
    csa_mm2: np.ndarray
    branch: np.ndarray
    kind: np.ndarray
    ends: np.ndarray
    branch_csa_mm2: np.ndarray
    background_hu: np.ndarray
    blood_hu: float
    flags: tuple

    def points(self, use):
        """Return dense points along the centrelines whose points are marked by `use`, mm."""
        same = np.flatnonzero((self.branch[1:] == self.branch[:-1]) & use[1:] & use[:-1])
        return fractal.along(self.place[same], self.place[same + 1])


def measure(vessels, inside, hu, spacing, psf_mm=PSF_MM):
    """Trace vessels and measure their cross-sections.

    Parameters
    ----------
    vessels : ndarray of int, (z, y, x)
        Labels; different ones are traced apart, so that a vein that touches an artery is no fork.
    inside : ndarray of bool, same shape
        The lungs. What is neither lung nor vessel is never taken for background or blood.
    hu : ndarray, same shape, or None
        HU; None: the voxels of the label are the vessel.
    spacing : tuple of float
        mm, (z, y, x).
    psf_mm : float
        Point spread of the scan (SD), of which the reach beyond the label is taken; too large a
        value costs some noise, too small a one volume.

    Returns
    -------
    Samples

    Notes
    -----
    The area at a point is a volume over a length: sum of (HU - background) / (blood - background)
    over the voxels that are nearest to the point, over the centreline that the point stands for.
    A vessel's blurred rim is thus counted by what it holds, whatever the voxel and the kernel, and
    tilt doesn't matter. A voxel goes to the branch with the least d^2 - r^2 (d distance, r the
    label's radius), which parts two tubes where they touch, and within the branch to its nearest
    point; so volume is neither lost nor counted twice. The area is then a mean along the branch
    (Gaussian weights, SD 4 mm: vessels taper slowly) over points clear of its forks, whose thicker
    branch shines in; points inside a fork take that of their neighbours.
    """
    spacing = np.asarray(spacing, np.float64)
    voxel = float(spacing.max())
    margin = voxel + REACH_SD * np.hypot(psf_mm, voxel / np.sqrt(12.0))
    kinds = np.unique(vessels[vessels > 0])
    parts = [_trace(vessels == kind, spacing) for kind in kinds]
    lines = _join(parts, kinds, STEP_MM)
    if lines is None:
        return None
    place, length, branch, kind, ends, radius, clear = lines
    count = len(kind)
    reach = radius[branch] + margin + (RING_MM if hu is not None else 0.0)
    owner, gap = _own(vessels, spacing, place, kind[branch], radius[branch], reach)
    label = vessels != 0
    blood, flags, background = np.nan, [], np.full(count, np.nan)
    if hu is None:
        cells = np.bincount(owner[label & (owner >= 0)], minlength=len(place))
        volume = cells * float(spacing.prod())
    else:
        blood = _blood(label, hu, spacing)
        if np.isnan(blood):
            blood, flags = BLOOD_HU, ["blood_assumed"]
        stretch, stretch_branch = _stretches(branch, length)
        # Beyond a vessel's rim, what is brighter than lung belongs to something else.
        usable = (owner >= 0) & inside & ((gap <= 0.5 * margin) | (hu < LUNG_BELOW_HU))
        # The blurred rims of neighbours are darker than that, and would brighten the background.
        plain = float(np.median(hu[inside & ~label])) + RIM_ABOVE_HU
        ring = ~label & usable & (gap > margin) & (hu < plain)
        at = _backgrounds(hu[ring], stretch[owner[ring]], stretch_branch)
        if np.isnan(at).any():
            at, flags = np.where(np.isnan(at), LUNG_HU, at), [*flags, "background_assumed"]
        core = (label & (owner >= 0)) | (usable & (gap <= margin))
        who = owner[core]
        cells = np.bincount(who, minlength=len(place))
        total = np.bincount(who, hu[core], minlength=len(place))
        local = at[stretch]
        volume = (total - local * cells) / (blood - local) * float(spacing.prod())
        background = np.bincount(branch, local * length) / np.bincount(branch, length)
    csa, mean = _areas(volume, length, branch, clear, count)
    return Samples(
        place,
        length,
        volume,
        np.maximum(csa, 0.0),
        branch,
        kind,
        ends,
        np.maximum(mean, 0.0),
        background,
        blood,
        tuple(flags),
    )


def _trace(mask, spacing):
    """Return the graph of one kind of vessel and the depth in its label."""
    box = graphs.bounding_box(mask)
    depth = np.zeros(mask.shape, np.float32)
    depth[box] = edt.edt(mask[box], anisotropy=tuple(spacing), black_border=True, parallel=1)
    return graphs.prune(graphs.of_label(mask, box, depth, spacing), depth), depth


def _join(parts, kinds, step_mm):
    """Put the centrelines of all branches into arrays; None without a branch."""
    place, length, branch, clear, radius, kind, ends = [], [], [], [], [], [], []
    nodes = 0
    for (graph, depth), code in zip(parts, kinds, strict=True):
        half = 0.5 * float(np.mean(graph.spacing))
        thick = np.zeros(len(graph.nodes))
        middle = []
        for item in graph.branches:
            along = depth[tuple(item.path.T)]
            # The depth of the label runs to the middle of the first voxel outside.
            middle.append(max(float(np.median(along)) - half, half))
            for node in (item.start, item.end):
                thick[node] = max(thick[node], middle[-1])
        degree = graph.degree()
        for item, r in zip(graph.branches, middle, strict=True):
            if len(item.path) < 2:
                continue
            points, tangents = graphs.centreline(graph.path_mm(item), step_mm)
            free = [degree[n] == 1 for n in _ends(item)]
            points = _to_tips(points, tangents, free, r, depth, graph.spacing)
            leg = np.linalg.norm(np.diff(points, axis=0), axis=1)
            arc = np.concatenate(([0.0], np.cumsum(leg)))
            share = 0.5 * (np.concatenate(([0.0], leg)) + np.concatenate((leg, [0.0])))
            # How far a point is outside the thickest branch at a fork; free ends disturb little.
            inner = [
                thick[n] if degree[n] > 1 else -GUARDS_MM[0] + 0.5 * step_mm for n in _ends(item)
            ]
            place.append(points)
            length.append(share)
            clear.append(np.minimum(arc - inner[0], arc[-1] - arc - inner[1]))
            branch.append(np.full(len(points), len(kind)))
            radius.append(r)
            kind.append(int(code))
            ends.append([n + nodes for n in _ends(item)])
        nodes += len(graph.nodes)
    if not kind:
        return None
    join = np.concatenate
    return (
        join(place),
        join(length),
        join(branch),
        np.array(kind),
        np.array(ends),
        np.array(radius),
        join(clear),
    )


def _to_tips(points, tangents, free, radius, depth, spacing):
    """Lengthen the free ends of a centreline, which thinning leaves short by up to 3 radii.

    The end follows the label's voxels ahead of it, in a cone, until they end one radius further
    on: the label of a tube with a round end comes back with its length.
    """
    spacing = np.asarray(spacing)
    voxel = float(spacing.max())
    reach = 3.0 * radius + 3.0 * voxel
    for last, way in ((0, -1.0), (-1, 1.0)):
        if not free[last]:
            continue
        tip = points[last]
        low = np.maximum(np.ceil((tip - reach) / spacing), 0).astype(np.intp)
        high = np.floor((tip + reach) / spacing).astype(np.intp) + 1
        ahead = np.argwhere(depth[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] > 0)
        ahead = (ahead + low) * spacing - tip
        along = way * (ahead @ tangents[last])
        aside = np.sqrt(np.maximum((ahead**2).sum(axis=1) - along**2, 0.0))
        use = (along > 0.0) & (aside <= 1.2 * radius + 0.5 * voxel + 0.3 * along)
        ahead, along = ahead[use], along[use]
        if not len(along):
            continue
        steps = np.sort(along)
        gap = np.flatnonzero(np.diff(steps) > voxel)
        more = steps[gap[0] if len(gap) else -1] - radius
        near = ahead[np.abs(along - more) <= 0.75 * voxel]
        if more > 0.1 and len(near):
            new = tip + near.mean(axis=0)
            points = np.concatenate((new[None], points) if last == 0 else (points, new[None]))
    return points


def _ends(item):
    return item.start, item.end


def _blood(label, hu, spacing):
    """Return HU of blood where vessels are thick; NaN where none is."""
    depth = edt.edt(label, anisotropy=tuple(spacing), black_border=True, parallel=1)
    for limit, fewest in CORES:
        core = depth > limit
        if np.count_nonzero(core) >= fewest:
            return float(np.median(hu[core]))
    return np.nan


def _stretches(branch, length):
    """Cut branches into equal stretches; return the stretch of each point, and its branch."""
    total = np.bincount(branch, length)
    pieces = np.maximum(np.ceil(total / STRETCH_MM).astype(np.intp), 1)
    first = np.cumsum(pieces) - pieces
    done = np.cumsum(length)
    begin = np.searchsorted(branch, np.arange(pieces.size))
    arc = done - length - (done - length)[begin][branch]
    share = np.clip(arc / total[branch], 0.0, 1.0 - 1e-9)
    stretch = first[branch] + (share * pieces[branch]).astype(np.intp)
    return stretch, np.repeat(np.arange(pieces.size), pieces)


def _backgrounds(hu, stretch, stretch_branch):
    """Mean of the lung around each stretch; of its branch, or of all, where that is little.

    A mean, not a median: what lies in the ring lies under the vessel's rim as well, so the skewed
    and two-peaked lung of emphysema must weigh the same in both.
    """
    every = hu.mean(dtype=np.float64) if len(hu) else np.nan
    count = stretch_branch.size
    whole = _mean(hu, stretch_branch[stretch], int(stretch_branch.max()) + 1, every)
    return _mean(hu, stretch, count, whole[stretch_branch])


def _mean(hu, group, count, otherwise):
    """Mean by group; where a group is small, what is given."""
    seen = np.bincount(group, minlength=count)
    total = np.bincount(group, hu, minlength=count)
    return np.where(seen >= RING_MIN, total / np.maximum(seen, 1), otherwise)


def _areas(volume, length, branch, clear, count):
    """Cross-section at each point, and of each branch, from points clear of forks."""
    use = np.ones(len(branch), bool)  # a branch within its forks: all of it
    for guard in GUARDS_MM[::-1]:  # the widest that leaves enough of a branch
        free = clear >= guard
        enough = np.bincount(branch, free * length, minlength=count) >= FREE_MM
        use = np.where(enough[branch], free, use)
    mean = np.bincount(branch, volume * use) / np.bincount(branch, length * use)
    begin = np.searchsorted(branch, np.arange(count + 1))
    return _windows(volume, length, use, begin, mean), mean


@numba.njit(cache=True)
def _windows(volume, length, use, begin, mean):
    """Weighted mean of volume / length along each branch."""
    area = np.empty(volume.size)
    for b in range(begin.size - 1):
        low, high = begin[b], begin[b + 1]
        arc = np.empty(high - low)
        total = 0.0
        for i in range(low, high):
            total += 0.5 * length[i]
            arc[i - low] = total
            total += 0.5 * length[i]
        for i in range(low, high):
            top, base = 0.0, 0.0
            for j in range(low, high):
                t = (arc[j - low] - arc[i - low]) / WINDOW_MM
                if use[j] and abs(t) < 4.0:
                    w = np.exp(-0.5 * t * t)
                    top += w * volume[j]
                    base += w * length[j]
            area[i] = top / base if base > 1e-9 else mean[b]
    return area


@numba.njit(cache=True)
def _own(vessels, spacing, place, kind, radius, reach):
    """Give each voxel near a centreline to one of its points.

    Returns
    -------
    owner : ndarray of int32
        Point with the least d^2 - r^2 among those whose reach holds the voxel, and of the voxel's
        own label where it has one; -1 far away.
    gap : ndarray of float32
        Least d - r, mm: how far outside of all vessels the voxel is.
    """
    shape = vessels.shape
    owner = np.full(shape, -1, np.int32)
    gap = np.full(shape, np.inf, np.float32)
    power = np.full(shape, np.inf, np.float32)
    low = np.empty(3, np.int64)
    high = np.empty(3, np.int64)
    for p in range(radius.size):
        r, far = radius[p], reach[p]
        for a in range(3):
            low[a] = max(0, int(np.ceil((place[p, a] - far) / spacing[a])))
            high[a] = min(shape[a] - 1, int(np.floor((place[p, a] + far) / spacing[a])))
        for k in range(low[0], high[0] + 1):
            dz = k * spacing[0] - place[p, 0]
            for j in range(low[1], high[1] + 1):
                dy = j * spacing[1] - place[p, 1]
                for i in range(low[2], high[2] + 1):
                    dx = i * spacing[2] - place[p, 2]
                    d2 = dz * dz + dy * dy + dx * dx
                    if d2 > far * far:
                        continue
                    score = np.float32(d2 - r * r)
                    own = vessels[k, j, i]
                    if score < power[k, j, i] and (own == 0 or own == kind[p]):
                        power[k, j, i] = score
                        owner[k, j, i] = p
                    limit = gap[k, j, i] + r
                    if limit > 0.0 and d2 < limit * limit:
                        gap[k, j, i] = np.sqrt(d2) - r
    return owner, gap
