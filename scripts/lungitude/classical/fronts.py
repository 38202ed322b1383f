"""Wavefronts of a grown lumen, the branches that they make, and what of these is no airway.

Parts follow the order of the path from the trunk, so mothers have lower numbers than daughters.
"""

import dataclasses

import cc3d
import numpy as np

from lungitude.classical import rays

FRONT_VOXELS = 1.5  # thickness of a front, in voxels of the longest side
ROUNDS = 20
LEAF_MM = 4.0  # a shorter end is noise beside a tube
LEAF_MET = 0.95  # mean share of rays that meet a wall, of an end
WIDENS, WIDE_MM = 1.5, 1.5  # radius by that of the thinnest mother, and itself: a leak
DIM_MM, DIM_VOXELS = 2.3, 1.8  # a lumen of that radius is darker than the lung, or a leak,
DIM_HU, DARK_HU = 20.0, -880.0  # by this, or as dark as this in emphysema
TANGLE_MERGES, TANGLE_SHARE = 2, 0.12  # fronts that part and meet again, in all and a branch


@dataclasses.dataclass
class Branches:
    """Stretches of a grown lumen between forks, and from where it widens at once.

    Attributes
    ----------
    of : ndarray of int, (voxels,)
        Branch of each voxel; 0 is the trunk.
    parent : ndarray of int, (n,)
        -1 of the trunk.
    length_mm, met, inner_hu, merges, radius_mm, count : ndarray, (n,)
        Path length; mean share of rays that met a wall; mean HU of the lumen; fronts with two
        mothers; radius of a disc as large as the mean front; voxels.
    """

    of: np.ndarray
    parent: np.ndarray
    length_mm: np.ndarray
    met: np.ndarray
    inner_hu: np.ndarray
    merges: np.ndarray
    radius_mm: np.ndarray
    count: np.ndarray


def branches(voxel, parent, facts, spacing):
    """Part a grown lumen into branches.

    Parameters
    ----------
    voxel, parent, facts
        Of `rays.grow`, or rows of these with `parent` renumbered; PATH is 0 in the trunk.
    spacing : tuple of float
        mm, (z, y, x).

    Returns
    -------
    Branches
    """
    width = FRONT_VOXELS * max(spacing)
    path = facts[:, rays.PATH]
    band = np.where(path > 0, 1 + (path / width).astype(np.int64), 0)
    low = voxel.min(axis=0)
    place = tuple((voxel - low).T)
    volume = np.zeros(voxel.max(axis=0) - low + 1, np.uint16)
    volume[place] = band + 1
    front = cc3d.connected_components(volume, connectivity=26)[place].astype(np.int64)
    front[band == 0] = 0  # one trunk, though it may be in pieces
    # Numbered outwards: 0 is the trunk.
    _, first, front = np.unique(
        band * (front.max() + 1) + front, return_index=True, return_inverse=True
    )
    level, n = band[first], first.size
    child = np.flatnonzero((parent >= 0) & (front != front[np.maximum(parent, 0)]))
    pairs, votes = np.unique(
        np.stack([front[child], front[parent[child]]], axis=1), axis=0, return_counts=True
    )
    inner = level[pairs[:, 1]] < level[pairs[:, 0]]
    pairs, votes = pairs[inner], votes[inner]
    order = np.argsort(votes, kind="stable")
    mother = np.full(n, -1)
    mother[pairs[order, 0]] = pairs[order, 1]
    merged = np.maximum(np.bincount(pairs[:, 0], minlength=n) - 1, 0)
    daughters = np.bincount(mother[mother >= 0], minlength=n)
    across = np.sqrt(np.bincount(front) * np.prod(spacing) / width / np.pi)
    branch, above, mean, fronts = np.zeros(n, np.int64), [-1], [np.inf], [1]
    for k in range(1, n):
        mum = mother[k]
        if mum > 0 and daughters[mum] == 1 and not _widens(across[k], mean[branch[mum]]):
            branch[k] = own = branch[mum]
            fronts[own] += 1
            mean[own] += (across[k] - mean[own]) / fronts[own]
        else:
            branch[k] = len(above)
            above.append(int(branch[mum]) if mum >= 0 else -1)
            mean.append(across[k])
            fronts.append(1)
    of, number = branch[front], len(above)
    count, length = (np.bincount(i, minlength=number) for i in (of, branch))
    length = length * width
    return Branches(
        of,
        np.array(above),
        length,
        np.bincount(of, facts[:, rays.MET], number) / np.maximum(count, 1),
        np.bincount(of, facts[:, rays.INNER], number) / np.maximum(count, 1),
        np.bincount(branch, merged, number),
        np.sqrt(count * np.prod(spacing) / np.maximum(length, width) / np.pi),
        count,
    )


def _widens(radius_mm, before_mm):
    """Whether a radius is too large for what comes after another."""
    return radius_mm > max(WIDENS * before_mm + 0.2, WIDE_MM)


def prune(voxel, parent, facts, spacing, lung_hu):
    """Cut what is no airway off a grown lumen.

    Parameters
    ----------
    voxel, parent, facts, spacing
        As `branches`.
    lung_hu : float
        Median of the lungs.

    Returns
    -------
    keep : ndarray of bool, (voxels,)
    left : Branches
        What was kept.
    cut : dict of int
        Branches cut as ``wide`` (a leak: wider than the airway it comes from, or too wide to be as
        bright as lung), ``tangle`` (a leak: its fronts part and meet again as those of a mesh do)
        and ``short`` (ends of a few mm or with half a wall); ``leak_voxels`` of the former two.
    """
    keep = np.ones(len(voxel), bool)
    cut = dict.fromkeys(("wide", "tangle", "short", "leak_voxels"), 0)
    for _ in range(ROUNDS):
        rows = np.flatnonzero(keep)
        number = np.full(len(keep) + 1, -1)  # the last for no parent
        number[rows] = np.arange(rows.size)
        left = branches(voxel[rows], number[parent[rows]], facts[rows], spacing)
        leaf = ~np.isin(np.arange(left.parent.size), left.parent)
        short = leaf & ((left.length_mm < LEAF_MM) | (left.met < LEAF_MET))
        short[0] = False
        tangle, wide = _tangled(left), np.zeros(leaf.size, bool)
        if not short.any():  # short ends part a tube into stumps: they go first
            wide = _wide(left, lung_hu, max(DIM_MM, DIM_VOXELS * max(spacing)))
        bad = wide | tangle | short
        if not bad.any():
            break
        for name, found in (("wide", wide), ("tangle", tangle & ~wide), ("short", short & ~tangle)):
            cut[name] += int(found.sum())
        cut["leak_voxels"] += int(left.count[wide | tangle].sum())
        keep[rows[bad[left.of]]] = False
    return keep, left, cut


def _wide(found, lung_hu, dim_mm):
    """Mark branches wider than all before them or wide and bright, and what follows."""
    least, bad = found.radius_mm.copy(), np.zeros(found.parent.size, bool)
    dim = (found.radius_mm >= dim_mm) & (found.inner_hu > max(lung_hu - DIM_HU, DARK_HU))
    for k in range(1, bad.size):
        mum = found.parent[k]
        if mum > 0:
            bad[k] = bad[mum] or _widens(found.radius_mm[k], least[mum])
            least[k] = min(least[k], least[mum])
        bad[k] |= dim[k]
    return bad


def _tangled(found):
    """Mark the smallest subtrees that are meshes, but for a stem without loops of its own."""
    size, merges = np.ones(found.parent.size), found.merges.astype(float)
    root = np.zeros(size.size, bool)
    for k in range(size.size - 1, 0, -1):
        if merges[k] >= TANGLE_MERGES and merges[k] >= TANGLE_SHARE * size[k]:
            root[k] = True
        elif found.parent[k] >= 0:
            size[found.parent[k]] += size[k]
            merges[found.parent[k]] += merges[k]
    inside = root.copy()
    for k in range(1, inside.size):
        inside[k] |= found.parent[k] > 0 and inside[found.parent[k]]
    return inside & ~(root & (found.merges == 0))
