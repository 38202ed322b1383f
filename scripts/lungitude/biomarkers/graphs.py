"""Skeletons of tubes and their graphs: nodes, branches, smooth centrelines.

Voxel places are (z, y, x) indices, lengths mm; "array mm" is an index times the spacing.
"""

import dataclasses

import cc3d
import numba
import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from skimage import graph as paths
from skimage import morphology

LOST = 0.6  # a skeleton that covers less of its piece's length than this has been eaten up
ENDS = 0.1  # of that length, in which its path ends
_SMOOTHING = 6  # passes of [1 2 1]/4 before a path is measured: they undo the stairs of voxels


@dataclasses.dataclass(frozen=True)
class Branch:
    """A stretch of skeleton between two nodes.

    Attributes
    ----------
    path : ndarray of int32, (k, 3)
        Voxels (z, y, x) in order, both nodes included; neighbours, but for the widest junctions.
    start, end : int
        Nodes; equal in a loop.
    length_mm : float
        Of the smoothed path, from node to node.
    """

    path: np.ndarray
    start: int
    end: int
    length_mm: float


@dataclasses.dataclass(frozen=True)
class Graph:
    """A skeleton as nodes and branches.

    Attributes
    ----------
    nodes : ndarray of int32, (n, 3)
        Voxel (z, y, x) of each end or junction; of a junction of several voxels the most central.
    branches : list of Branch
    spacing : tuple of float
        mm, (z, y, x).
    """

    nodes: np.ndarray
    branches: list
    spacing: tuple

    def degree(self):
        """Return how many branches meet at each node; a loop counts twice."""
        ends = [n for b in self.branches for n in (b.start, b.end)]
        return np.bincount(np.array(ends, np.intp), minlength=len(self.nodes))

    def path_mm(self, branch):
        """Return the path of a branch in array mm, (k, 3), (z, y, x)."""
        return branch.path * np.asarray(self.spacing)


def skeletonise(mask):
    """Thin a mask to curves one voxel wide.

    Parameters
    ----------
    mask : ndarray of bool, (z, y, x)

    Returns
    -------
    ndarray of bool, same shape

    Notes
    -----
    Thinning of [1]_ by scikit-image, on the bounding box: the result doesn't depend on cropping.

    References
    ----------
    .. [1] Lee, Kashyap, Chu 1994, CVGIP: Graph Models Image Process 56:462-478.
    """
    mask = np.asarray(mask) != 0
    thin = np.zeros(mask.shape, bool)
    box = bounding_box(mask)
    if box is not None:
        thin[box] = morphology.skeletonize(mask[box])
    return thin


def mend(thin, mask, radius, spacing):
    """Lay a path through each piece of a mask that thinning has eaten up.

    Parameters
    ----------
    thin : ndarray of bool, (z, y, x)
        Of `skeletonise`.
    mask : ndarray of bool, same shape
    radius : ndarray, same shape
        Distance to the surface, mm.
    spacing : sequence of float
        mm, (z, y, x).

    Returns
    -------
    ndarray of bool, same shape

    Notes
    -----
    Thinning deletes straight tubes along the grid that are an even number of voxels wide (a known
    fault of scikit-image, number 3757 of its tracker). Their path is the one of least cost.
    """
    thin = thin.copy()
    labels = cc3d.connected_components(mask.view(np.uint8), connectivity=26)
    boxes = cc3d.statistics(labels)["bounding_boxes"][1:]
    for number, box in enumerate(boxes, 1):
        inside = labels[box] == number
        voxels = np.argwhere(inside)
        places = (voxels - voxels.mean(axis=0)) * spacing
        along = places @ np.linalg.eigh(places.T @ places)[1][:, -1]
        wide = radius[box][tuple(voxels.T)]
        length = np.ptp(along)
        kept = along[thin[box][tuple(voxels.T)]]
        covered = np.ptp(kept) if kept.size else 0.0
        if covered >= LOST * (length - 2.0 * wide.max()):
            continue
        first, last = (
            voxels[np.where(end, wide, 0.0).argmax()]
            for end in (
                along <= along.min() + ENDS * length,
                along >= along.max() - ENDS * length,
            )
        )
        cost = np.full(inside.shape, -1.0)
        cost[inside] = (wide.max() / wide) ** 2
        path = paths.route_through_array(cost, first, last, fully_connected=True)[0]
        part = thin[box]
        part[inside] = False
        part[tuple(np.transpose(path))] = True
    return thin


def bounding_box(mask, pad=0):
    """Return slices around what is set in a mask, or None if it is empty."""
    box = []
    for axis in range(mask.ndim):
        where = np.flatnonzero(mask.any(tuple(k for k in range(mask.ndim) if k != axis)))
        if not where.size:
            return None
        box.append(slice(max(0, where[0] - pad), min(mask.shape[axis], where[-1] + 1 + pad)))
    return tuple(box)


def trace(skeleton, spacing):
    """Turn a skeleton into a graph.

    Parameters
    ----------
    skeleton : ndarray of bool, (z, y, x)
        Of `skeletonise`.
    spacing : sequence of float
        mm, (z, y, x).

    Returns
    -------
    Graph
        A node where a curve ends and where three or more meet; touching junction voxels are one
        node. A closed curve without a junction gets one node. A lone voxel is a node without a
        branch. Parallel branches and loops are kept, see `tree`.
    """
    voxels, start, neighbour = _adjacency(skeleton)
    if not voxels.size:
        return Graph(np.zeros((0, 3), np.int32), [], tuple(spacing))
    degree = np.diff(start)
    node = _cluster(degree, start, neighbour)
    walks = _walk(start, neighbour, node)
    place = np.stack(np.unravel_index(voxels, skeleton.shape), axis=1).astype(np.int32)
    node, centre = _centres(place, node, walks[3])
    branches = []
    flat, stops, ends = walks[:3]
    for i in range(len(ends)):
        a, b = node[ends[i, 0]], node[ends[i, 1]]
        inner = flat[stops[i] : stops[i + 1]]
        if a == b and inner.size < 3:  # a corner of the junction, no loop
            continue
        ids = np.concatenate(([centre[a], ends[i, 0]], inner, [ends[i, 1], centre[b]]))
        ids = ids[np.concatenate(([True], ids[1:] != ids[:-1]))]
        branches.append(_branch(place[ids], a, b, spacing))
    return merge(Graph(place[centre], branches, tuple(float(v) for v in spacing)))


def of_label(mask, box, depth_mm, spacing):
    """Graph of a label: thinned, mended where thinning lost a tube, and traced.

    Parameters
    ----------
    mask : ndarray of bool, (z, y, x)
    box : tuple of slice
        Of `bounding_box`: the part that holds the label.
    depth_mm : ndarray of float, (z, y, x)
        Distance to the surface of the label.
    spacing : sequence of float
        mm, (z, y, x).

    Returns
    -------
    Graph
    """
    thin = skeletonise(mask)
    thin[box] = mend(thin[box], mask[box], depth_mm[box], spacing)
    return trace(thin, spacing)


def merge(graph):
    """Join the two branches at each node where only two meet; drop nodes nobody uses.

    Lone voxels stay nodes only if the graph has no branch at all.
    """
    branches = dict(enumerate(graph.branches))
    at = {}
    for key, b in branches.items():
        at.setdefault(b.start, []).append(key)
        at.setdefault(b.end, []).append(key)
    for n in sorted(at):
        if len(at[n]) != 2 or at[n][0] == at[n][1]:
            continue
        first, second = branches.pop(at[n][0]), branches.pop(at[n][1])
        if first.end != n:
            first = _reverse(first)
        if second.start != n:
            second = _reverse(second)
        key = max(at[n])
        path = np.concatenate((first.path, second.path[1:]))
        branches[key] = _branch(path, first.start, second.end, graph.spacing)
        for other in (first.start, second.end):
            at[other] = [key if k in at[n] else k for k in at[other]]
        at[n] = []
    if not branches:
        return dataclasses.replace(graph, branches=[])
    kept = sorted({n for b in branches.values() for n in (b.start, b.end)})
    new = {old: i for i, old in enumerate(kept)}
    found = [
        dataclasses.replace(branches[k], start=new[branches[k].start], end=new[branches[k].end])
        for k in sorted(branches)
    ]
    return Graph(graph.nodes[kept], found, graph.spacing)


def prune(graph, radius_mm, ratio=1.0, extra_mm=None):
    """Cut the spurs that thinning grows from bumps of a surface.

    Parameters
    ----------
    graph : Graph
    radius_mm : ndarray, (z, y, x)
        Distance to the surface (of `edt.edt`) on the grid of the skeleton.
    ratio, extra_mm : float
        An end branch is a spur if it is no longer than `ratio` times the radius at its junction
        plus `extra_mm` (default: one voxel's largest side): it doesn't leave the tube.

    Returns
    -------
    Graph
        Shortest spurs are cut first, and what then is one branch is joined before the next cut.
    """
    extra_mm = max(graph.spacing) if extra_mm is None else extra_mm
    while True:
        degree = graph.degree()
        spurs = {}
        for i, b in enumerate(graph.branches):
            if min(degree[b.start], degree[b.end]) != 1 or b.start == b.end:
                continue
            fork = b.start if degree[b.end] == 1 else b.end
            if degree[fork] < 3:
                continue
            over = b.length_mm - ratio * radius_mm[tuple(graph.nodes[fork])] - extra_mm
            if over <= 0 and (fork not in spurs or over < spurs[fork][0]):
                spurs[fork] = (over, i)  # one a junction, as the others may then not be spurs
        if not spurs:
            return graph
        cut = {i for _, i in spurs.values()}
        kept = [b for i, b in enumerate(graph.branches) if i not in cut]
        graph = merge(dataclasses.replace(graph, branches=kept))


def tree(graph, radius_mm):
    """Break loops: keep the spanning forest of short, thick branches.

    Parameters
    ----------
    graph : Graph
    radius_mm : ndarray, (z, y, x)
        Distance to the surface on the grid of the skeleton.

    Returns
    -------
    Graph
        Without loops. Of each loop the branch with the largest length / radius is gone.
    """
    weight = [
        b.length_mm / max(np.median(radius_mm[tuple(b.path.T)]), 1e-3) for b in graph.branches
    ]
    root = list(range(len(graph.nodes)))

    def find(n):
        while root[n] != n:
            root[n] = root[root[n]]
            n = root[n]
        return n

    kept = set()
    for i in sorted(range(len(weight)), key=weight.__getitem__):
        a, b = find(graph.branches[i].start), find(graph.branches[i].end)
        if a != b:
            root[a] = b
            kept.add(i)
    if len(kept) == len(weight):
        return graph
    branches = [b for i, b in enumerate(graph.branches) if i in kept]
    return merge(dataclasses.replace(graph, branches=branches))


def centreline(path_mm, step_mm, bandwidth_mm=None):
    """Smooth a path and sample it at equal steps.

    Parameters
    ----------
    path_mm : ndarray, (k, 3)
        Points in order, in mm.
    step_mm : float
        Distance of samples, at most; they divide the path evenly and include both its ends.
    bandwidth_mm : float, optional
        SD of the Gaussian weights along the path; default 2.5 times the largest step of the path,
        and at least 2 mm. A path shorter than four bandwidths becomes nearly straight. Never less
        than half a step of the path, or nothing would lie near the samples between its points.

    Returns
    -------
    points, tangents : ndarray, (n, 3)
        Tangents have length 1 and point along the path.

    Notes
    -----
    Local quadratic regression on arc length: a straight or parabolic axis comes back unbiased, its
    ends included. It stands in for a smoothing spline at a tenth of the time.
    """
    path = np.ascontiguousarray(path_mm, np.float64)
    if len(path) < 2:
        raise ValueError(f"a centreline needs two points or more, got {len(path)}")
    leg = np.linalg.norm(np.diff(path, axis=0), axis=1)
    if bandwidth_mm is None:
        bandwidth_mm = max(2.0, 2.5 * float(leg.max()))
    bandwidth_mm = max(bandwidth_mm, 0.5 * float(leg.max()))
    arc = np.concatenate(([0.0], np.cumsum(leg)))
    n = max(2, int(np.ceil(arc[-1] / step_mm)) + 1)
    return _local_fit(path, arc, np.linspace(0.0, arc[-1], n), float(bandwidth_mm))


def _adjacency(skeleton):
    """Return flat voxels, and their 26-neighbours as rows of a compressed matrix."""
    voxels = np.flatnonzero(skeleton)
    shape = skeleton.shape
    z, y, x = np.unravel_index(voxels, shape)
    rows, columns = [], []
    for dz in (0, 1):
        for dy in (-1, 0, 1) if dz else (0, 1):
            for dx in (-1, 0, 1) if dz or dy else (1,):
                inside = (z + dz < shape[0]) & (y + dy >= 0) & (y + dy < shape[1])
                inside = np.flatnonzero(inside & (x + dx >= 0) & (x + dx < shape[2]))
                wanted = voxels[inside] + (dz * shape[1] + dy) * shape[2] + dx
                found = np.minimum(np.searchsorted(voxels, wanted), voxels.size - 1)
                hit = voxels[found] == wanted
                rows.append(inside[hit])
                columns.append(found[hit])
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    one = np.ones(2 * rows.size, np.int8)
    both = (np.concatenate((rows, columns)), np.concatenate((columns, rows)))
    matrix = sparse.csr_matrix((one, both), shape=(voxels.size, voxels.size))
    matrix.sort_indices()
    return voxels, matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)


def _cluster(degree, start, neighbour):
    """Return the node of each voxel (end, lone voxel, cluster of junction voxels) or -1."""
    node = np.full(degree.size, -1)
    fork = np.flatnonzero(degree >= 3)
    n = 0
    if fork.size:
        matrix = sparse.csr_matrix(
            (np.ones(neighbour.size, np.int8), neighbour, start), shape=(degree.size, degree.size)
        )
        n, node[fork] = csgraph.connected_components(matrix[fork][:, fork], directed=False)
    ends = np.flatnonzero(degree <= 1)
    node[ends] = n + np.arange(ends.size)
    return node


@numba.njit(cache=True)
def _walk(start, neighbour, node):
    """Follow each branch once; return inner voxels, their stops, end voxels, nodes of rings."""
    n = node.size
    flat = np.empty(n, np.int64)
    # Every branch leaves a junction voxel or an end, so there are no more than half-edges.
    stops = np.zeros(neighbour.size + n + 1, np.int64)
    ends = np.empty((neighbour.size + n, 2), np.int64)
    seen = np.zeros(n, np.bool_)
    ring = np.full(n, -1)
    used, count, rings = 0, 0, 0
    for sweep in range(2):
        for v in range(n):
            if sweep == 1:
                if seen[v] or node[v] >= 0:
                    continue
                ring[v] = rings
                rings += 1
            elif node[v] < 0:
                continue
            for e in range(start[v], start[v + 1]):
                w = neighbour[e]
                if sweep == 0 and node[w] >= 0:
                    if node[v] < node[w]:
                        ends[count, 0], ends[count, 1] = v, w
                        count += 1
                        stops[count] = used
                    continue
                if seen[w] or (sweep == 1 and seen[v]):
                    continue
                before, now = v, w
                while node[now] < 0 and not (sweep == 1 and now == v):
                    seen[now] = True
                    flat[used] = now
                    used += 1
                    after = neighbour[start[now]]
                    if after == before:
                        after = neighbour[start[now] + 1]
                    before, now = now, after
                ends[count, 0], ends[count, 1] = v, now
                count += 1
                stops[count] = used
            if sweep == 1:
                seen[v] = True
    return flat[:used], stops[: count + 1], ends[:count], ring


def _centres(place, node, ring):
    """Give rings a node, and return each node's most central voxel."""
    node = np.where(ring >= 0, ring + node.max() + 1, node)
    held = np.flatnonzero(node >= 0)
    ids = node[held]
    count = np.bincount(ids)
    mean = np.stack([np.bincount(ids, place[held, k]) / count for k in range(3)], axis=1)
    far = ((place[held] - mean[ids]) ** 2).sum(axis=1)
    order = np.lexsort((held, far, ids))
    first = np.concatenate(([True], ids[order][1:] != ids[order][:-1]))
    return node, held[order][first]


def _branch(path, start, end, spacing):
    return Branch(
        path, int(start), int(end), _length(path * np.asarray(spacing, np.float64), _SMOOTHING)
    )


def _reverse(branch):
    return Branch(branch.path[::-1], branch.end, branch.start, branch.length_mm)


@numba.njit(cache=True)
def _length(path, passes):
    n = path.shape[0]
    now = path.copy()
    for _ in range(passes):
        last = now.copy()
        for i in range(1, n - 1):
            for k in range(3):
                now[i, k] = 0.25 * (last[i - 1, k] + 2 * last[i, k] + last[i + 1, k])
    total = 0.0
    for i in range(1, n):
        d2 = 0.0
        for k in range(3):
            d2 += (now[i, k] - now[i - 1, k]) ** 2
        total += np.sqrt(d2)
    return total


@numba.njit(cache=True)
def _local_fit(path, arc, at, bandwidth):
    n, m = arc.size, at.size
    points, tangents = np.empty((m, 3)), np.empty((m, 3))
    for j in range(m):
        normal = np.zeros((3, 3))
        right = np.zeros((3, 3))
        for i in range(n):
            t = (arc[i] - at[j]) / bandwidth
            if abs(t) > 4.0:
                continue
            w = np.exp(-0.5 * t * t)
            basis = (1.0, t, t * t)
            for a in range(3):
                for b in range(3):
                    normal[a, b] += w * basis[a] * basis[b]
                    right[a, b] += w * basis[a] * path[i, b]
        scale = normal[0, 0]
        for a in range(3):
            normal[a, a] += 1e-9 * scale
        # Short paths can't bear the curvature: damp it where the spread of points is small.
        normal[2, 2] += 0.02 * scale
        found = np.linalg.solve(normal, right)
        size = np.sqrt((found[1] ** 2).sum())
        for k in range(3):
            points[j, k] = found[0, k]
            tangents[j, k] = found[1, k] / size if size > 0 else 0.0
    return points, tangents
