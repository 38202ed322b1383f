"""Vessel tracking: from the ends of broken vessels to where they go on.

A network loses thin vessels over a few voxels where they are faint. What is left of such a vessel
has an end that points at the next piece. From each end the cheapest path is sought in a cone ahead;
a step is cheap where the network still says vessel and where the scan shows a tube [1]_ [2]_. A
path of little evidence, or one that leaves sideways, is none, so vessels that only pass each other
stay apart. Large pieces are the seeds: what no chain of links ties to one stays as it is, and a
piece of which the network is not sure seeks none, since a false piece makes a false link. Links add
to the vessels and take nothing away.

References
----------
.. [1] Cohen and Kimmel 1997, Int J Comput Vis 24:57-78 (minimal paths).
.. [2] Sato et al. 1998, Med Image Anal 2:143-168 (tubes).
"""

import dataclasses

import cc3d
import numpy as np
import torch
from scipy import ndimage
from scipy.cluster.hierarchy import DisjointSet
from skimage.graph import MCP_Geometric
from skimage.morphology import skeletonize

from . import blocks
from .hierarchical import WINDOWS_HU, windows

SURE = 0.5  # probability from which a voxel is vessel
SEED_MM3 = 300.0  # pieces from this size are seeds, which are found and seek nothing
SURE_PIECE = 0.7  # mean probability from which a smaller piece seeks
GAP_MM = 6.0  # longest gap
CONE = np.cos(np.deg2rad(40.0))
TAIL_MM = 5.0  # of a piece before its end, which tells where it points
# Of the evidence along a gap (harmonic mean); half of it is the network's, half the scan's.
LEAST_EVIDENCE, NO_EVIDENCE = 0.1, 0.02
LEAST_SHARE = 0.05  # probability of each voxel of a gap
TUBE_SIGMAS = (0.8, 1.6)  # voxels
MARGIN = 5  # voxels of the scan around what is looked at, for the tubes


def track(share, hu, voxel_mm=1.0):
    """Find what links broken vessels.

    Parameters
    ----------
    share : ndarray of float, (z, y, x)
        Probability of a vessel, 0 where none is to be sought.
    hu : ndarray of float, same shape
    voxel_mm : float
        Side of a voxel; about 1, see `TUBE_SIGMAS`.

    Returns
    -------
    ndarray of bool, same shape
        Voxels of the links; none of them has a probability above `SURE`. A link is as wide as the
        vessel that it starts from. No two pieces are linked twice, not by way of others either.
    """
    pieces = cc3d.connected_components((share > SURE).astype(np.uint8), connectivity=26)
    seeds = np.bincount(pieces.ravel()) * voxel_mm**3 >= SEED_MM3
    found = []
    for piece, box in enumerate(ndimage.find_objects(pieces), 1):
        mask = pieces[box] == piece
        if seeds[piece] or share[box][mask].mean() < SURE_PIECE:
            continue
        for end, ahead, radius in _ends(mask, voxel_mm):
            end = end + [part.start for part in box]
            link = _link(share, hu, pieces, end, ahead, voxel_mm)
            if link is not None:
                found.append(Link(piece, *link, radius))
    out = np.zeros(share.shape, bool)
    for link in _chained(found, seeds):
        _paint(out, link.path, link.radius)
    return out & (pieces == 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Link:
    """From a piece to another: cost of the path, its voxels outside of all pieces, its radius.

    piece, other : int, labels; cost, radius : float, radius in voxels; path : ndarray, (n, 3).
    """

    piece: int
    other: int
    cost: float
    path: np.ndarray
    radius: float


def _chained(links, seeds):
    """Yield the links that lead to a seed, the cheapest first; without loops."""
    sets, reached = DisjointSet(range(seeds.size)), seeds.copy()
    waiting = sorted(links, key=lambda link: link.cost)
    while found := next((k for k in waiting if reached[k.piece] or reached[k.other]), None):
        waiting.remove(found)
        if sets.merge(found.piece, found.other):
            yield found
            reached[list(sets.subset(found.piece))] = True


def _ends(mask, voxel_mm):
    """Yield the ends of a piece's centrelines: index, direction ahead, radius in voxels before it.

    A piece whose centreline is shorter than three voxels points nowhere.
    """
    padded = np.pad(mask, 1)
    thin = skeletonize(padded)
    line = np.argwhere(thin)
    if len(line) < 3:
        return
    near = ndimage.convolve(thin.astype(np.uint8), np.ones((3, 3, 3), np.uint8), mode="constant")
    filled = np.argwhere(padded)
    for end in np.argwhere(thin & (near == 2)):  # itself and one neighbour
        tail = line[np.linalg.norm(line - end, axis=1) * voxel_mm <= TAIL_MM]
        ahead = end - tail.mean(axis=0)
        ahead /= np.linalg.norm(ahead)
        # Of a rod with as many voxels behind the end as the piece has there.
        away = filled - end
        far = np.linalg.norm(away, axis=1)
        behind = (far * voxel_mm <= TAIL_MM) & (away @ ahead <= 0.5)
        length = np.linalg.norm(tail - end, axis=1).max() + 1.0
        yield end - 1, ahead, float(np.sqrt(np.count_nonzero(behind) / (np.pi * length)))


def _link(share, hu, pieces, end, ahead, voxel_mm):
    """Cheapest path from an end to another piece: which, its cost, its voxels outside of all.

    None where there is no piece in the cone, or too little evidence on the way.
    """
    reach = int(np.ceil(GAP_MM / voxel_mm)) + 2  # the end lies inside its piece
    low = np.maximum(end - reach - MARGIN, 0)
    box = tuple(slice(a, b) for a, b in zip(low, end + reach + MARGIN + 1, strict=True))
    here, start = pieces[box], tuple(end - low)
    away = np.stack(np.indices(here.shape), axis=-1) - start
    far = np.linalg.norm(away, axis=-1)
    inside = (far <= reach) & (away @ ahead >= CONE * far)
    own = pieces[tuple(end)]
    if not np.any(inside & (here > 0) & (here != own)):
        return None
    cost = np.where(inside, 1.0 / _evidence(share[box], hu[box]), -1.0)  # negative: no way
    costs, _ = (mcp := MCP_Geometric(cost)).find_costs([start])
    costs[~inside | (here == 0) | (here == own)] = np.inf
    at = np.unravel_index(np.argmin(costs), costs.shape)
    if not np.isfinite(costs[at]):
        return None
    path = np.array([place for place in mcp.traceback(at) if here[place] == 0])
    price = cost[tuple(path.T)]
    if len(path) * voxel_mm > GAP_MM or price.mean() > 1.0 / LEAST_EVIDENCE:
        return None
    if share[box][tuple(path.T)].min() < LEAST_SHARE:
        return None
    return int(here[at]), float(price.sum()), path + low


def _evidence(share, hu):
    """How much speaks for a vessel, from `NO_EVIDENCE` to 1: network and scan."""
    image = windows(torch.from_numpy(np.ascontiguousarray(hu, np.float32))[None, None], WINDOWS_HU)
    # A tube as wide as the filter has a quarter of its contrast.
    tubes = 4.0 * blocks.tubeness(image[:, :1], TUBE_SIGMAS)[0].amax(dim=0).numpy()
    return np.clip(0.5 * (share + np.minimum(tubes, 1.0)), NO_EVIDENCE, 1.0)


def _paint(out, path, radius):
    """Mark all voxels nearer to a path than a radius; at least the path."""
    reach = int(np.ceil(radius))
    low = np.maximum(path.min(axis=0) - reach, 0)
    box = tuple(slice(a, b) for a, b in zip(low, path.max(axis=0) + reach + 1, strict=True))
    away = np.ones(out[box].shape, bool)
    away[tuple((path - low).T)] = False
    out[box] |= ndimage.distance_transform_edt(away) < max(radius, 1.0)
