"""The airway tree of a lumen label: directed branches with generation, lobe and name.

Arrays are in LPS order: index rises to the head (z), back (y), left (x).
"""

import dataclasses

import cc3d
import edt
import fill_voids
import numpy as np
from scipy import sparse, spatial
from scipy.sparse import csgraph

from lungitude import images
from lungitude.biomarkers import airway_names, graphs

TRACHEA_MIN_RADIUS_MM = 5.0
ROOT_SHARE = 0.7  # of the largest radius: ends that thick may be the trachea's, the highest is
STEM = 0.7  # a branch between two forks shorter than this many radii is part of the fork
STEM_VOXELS = 1.2  # or than this many voxels
PIECE_MM = 5.0  # a shorter piece has no section that is clear of its ends
GAP_MM = 7.5  # between pieces that follow each other in a line: a thin branch that the label broke
LINE_COS = 0.95  # 18 degrees
LOBE_SHARE = 0.8  # of a branch in a piece of its own that lies in its lobe


@dataclasses.dataclass
class Airway:
    """A branch of the tree, from its fork to the next.

    Attributes
    ----------
    path : ndarray, (k, 3)
        Array mm, (z, y, x), away from the trachea.
    parent : int
        -1 of the trachea, and of the first branch of each other piece.
    generation : int
        0 of the trachea, and one more at each fork; an order only where `known` is False, from the
        thickest end of the piece.
    children : list of int
    radius_mm : float
        Median distance from the middle half of the path to the surface of the label.
    length_mm : float
    lobe : int
        1 RUL 2 RML 3 RLL 4 LUL 5 LLL 6 lingula; 0 central or unsure.
    name : str
        ``trachea RMB LMB RUL BronInt RML RLL LUL lingula LLL``, segments ``RB1``...; or empty.
    segment : str
        Name of the segmental bronchus from which it comes, or empty.
    piece : int
        0 of the piece with the trachea; without one, and for others, by size.
    known : bool
        Whether it hangs together with the trachea, so that its generation is known.
    """

    path: np.ndarray
    parent: int
    generation: int
    children: list
    radius_mm: float
    length_mm: float
    lobe: int = 0
    name: str = ""
    segment: str = ""
    piece: int = 0
    known: bool = False


@dataclasses.dataclass
class Tree:
    """Airways, parents before children by piece, and the canonical image that array mm refer to.

    ``radius`` is the distance to the surface of the label on that grid (float32, mm); ``flag`` says
    what is odd, or is empty.
    """

    airways: list
    image: object
    radius: np.ndarray
    flag: str

    def physical(self, points_mm):
        """Return (n, 3) LPS mm (x, y, z) of points in array mm (z, y, x)."""
        return self._turned(points_mm) + np.asarray(self.image.GetOrigin())

    def physical_directions(self, vectors):
        """Return directions as `physical` does for points."""
        return self._turned(vectors)

    def _turned(self, values):
        values = np.asarray(values, float).reshape(-1, 3)[:, ::-1]
        return values @ np.reshape(self.image.GetDirection(), (3, 3)).T


def lumen(label):
    """Return the lumen of a label map as bool, (z, y, x).

    Raises
    ------
    ValueError
        Labels other than one value, or 1 lumen and 2 wall.
    """
    values = images.array(label)
    if values.dtype.kind not in "iub":
        raise ValueError(f"a lumen label holds whole numbers, this one is {values.dtype}")
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0:
        raise ValueError(f"label {low} in the lumen label; labels are 0 or more")
    if high == 2 and (values == 1).any():
        return values == 1
    inside = values != 0
    if high > 1:
        least = int(values[inside].min())
        if least != high:
            raise ValueError(
                f"the lumen label holds {least} to {high}; give one value, or 1 lumen and 2 wall"
            )
    return inside


def tree(lumen_label, lobes=None):
    """Find the airway tree of a lumen label.

    Parameters
    ----------
    lumen_label : SimpleITK.Image
        Nonzero, or 1 where a wall is labelled 2.
    lobes : SimpleITK.Image, optional
        Label map of lobes (1 RUL 2 RML 3 RLL 4 LUL 5 LLL 6 lingula) on the same grid: a branch
        belongs to the lobe where 80 % of its subtree ends. Without it lobes come from the
        branching pattern, and stay 0 where that isn't clear.

    Returns
    -------
    Tree

    Raises
    ------
    ValueError
        Labels that can't be a lumen; another grid.

    Notes
    -----
    Holes are filled and all pieces longer than 5 mm are thinned. Spurs that don't leave their tube
    by a voxel are cut, loops broken where they are longest and thinnest. The root of a piece is its
    thickest end (the highest of those within 70 %); if that has a radius of 5 mm and forks it is
    the trachea. Forks closer than 0.7 radii or 1.2 voxels are one fork. Pieces without forks that
    follow each other in a line are one.
    """
    if lobes is not None:
        images.check_grid(lumen_label, lobes, "lobes")
    image = images.canonical(lumen_label)
    mask = lumen(image)
    spacing = images.spacing_zyx(image)
    radius = np.zeros(mask.shape, np.float32)
    box = graphs.bounding_box(mask, pad=1)  # so that no surface of the label lies on its border
    if box is None:
        return Tree([], image, radius, "empty lumen label")
    part = _large(np.ascontiguousarray(mask[box]), spacing)
    mask[:] = False
    mask[box] = part
    radius[box] = edt.edt(part, anisotropy=spacing, black_border=False, parallel=1)
    graph = graphs.of_label(mask, box, radius, spacing)
    graph = graphs.tree(graphs.prune(graph, radius), radius)
    graph = graphs.prune(graph, radius)
    if not graph.branches:
        return Tree([], image, radius, "label too small for a tree")
    pieces = _joined([_direct(graph, members, radius) for members in _pieces(graph, radius)])
    trunk = next((p for p in pieces if _is_trachea(p)), None)
    where = None if lobes is None else images.array(images.canonical(lobes))
    if trunk is not None:
        airway_names.name(trunk, where, spacing)
        pieces = [trunk, *(p for p in pieces if p is not trunk)]
        apart = len(pieces) - 1
        flags = [f"{apart} piece{'s'[: apart > 1]} apart from the trunk"] if apart else []
    else:
        flags = ["no trachea: generations unknown"]
        flags += [f"label in {len(pieces)} pieces"] if len(pieces) > 1 else []
        flags += [] if any(len(p) > 1 for p in pieces) else ["no forks: all branches count"]
    airways = []
    for number, piece in enumerate(pieces):
        first = len(airways)
        for a in piece:
            a.piece, a.known = number, piece is trunk
            a.parent += first if a.parent >= 0 else 0
            a.children = [c + first for c in a.children]
            if piece is not trunk and where is not None:
                a.lobe = _lobe_of(a, where, spacing)
        airways += piece
    return Tree(airways, image, radius, "; ".join(flags))


def _large(mask, spacing):
    """Return the largest piece of a mask and all that extend over 5 mm, their holes filled."""
    labels, count = cc3d.connected_components(mask.view(np.uint8), connectivity=26, return_N=True)
    if count > 1:
        found = cc3d.statistics(labels)
        sides = [[s.stop - s.start for s in box] for box in found["bounding_boxes"]]
        keep = np.linalg.norm(np.array(sides) * spacing, axis=1) >= PIECE_MM
        keep[1 + int(found["voxel_counts"][1:].argmax())] = True
        keep[0] = False
        mask = keep[labels]
    return fill_voids.fill(mask, in_place=False)


def _pieces(graph, radius):
    """Return the branches of each piece of a graph, the largest first; without short pieces."""
    starts, ends = (np.array([getattr(b, n) for b in graph.branches]) for n in ("start", "end"))
    links = sparse.coo_matrix((np.ones(starts.size), (starts, ends)), shape=2 * [len(graph.nodes)])
    piece = csgraph.connected_components(links, directed=False)[1][starts]
    length = np.array([b.length_mm for b in graph.branches])
    volume = length * [_middle_radius(b.path, radius) ** 2 for b in graph.branches]
    order = sorted(set(piece.tolist()), key=lambda p: (-volume[piece == p].sum(), p))
    members = [np.flatnonzero(piece == p).tolist() for p in order]
    return [m for k, m in enumerate(members) if k == 0 or length[m].max() >= PIECE_MM]


def _joined(pieces):
    """Join pieces without forks that follow each other in a line; they stand where the larger did.

    Thin airways that run askew of large voxels come in pieces, and would count as often.
    """
    while True:
        lone = [k for k, piece in enumerate(pieces) if len(piece) == 1]
        if len(lone) < 2:
            return pieces
        ends = np.concatenate([pieces[k][0].path[[0, -1]] for k in lone])
        near = spatial.cKDTree(ends).query_pairs(GAP_MM)
        pairs = sorted({(lone[a // 2], lone[b // 2]) for a, b in near if a // 2 != b // 2})
        found = [(_follow(pieces[i][0], pieces[j][0]), i, j) for i, j in pairs]
        found = [f for f in found if f[0] is not None]
        if not found:
            return pieces
        (_, path), i, j = min(found, key=lambda f: (f[0][0], f[1:]))
        first, second = pieces[i][0], pieces[j][0]
        first.radius_mm = max(first.radius_mm, second.radius_mm)
        first.path = path
        first.length_mm = float(np.linalg.norm(path[-1] - path[0]))
        pieces = [p for k, p in enumerate(pieces) if k != j]


def _follow(first, second):
    """Return the gap between two branches in a line, mm, and the path along both; None if not."""
    ends = [a.path[[0, -1]] for a in (first, second)]
    gap = np.linalg.norm(ends[0][:, None] - ends[1], axis=2)
    i, j = np.unravel_index(gap.argmin(), (2, 2))
    if gap[i, j] > GAP_MM:
        return None
    path = np.concatenate((first.path[:: 1 if i else -1], second.path[:: -1 if j else 1]))
    whole = _unit(path[-1] - path[0])
    sides = [_unit(ends[0][i] - ends[0][1 - i]), _unit(ends[1][1 - j] - ends[1][j])]
    return (gap[i, j], path) if min(s @ whole for s in sides) >= LINE_COS else None


def _unit(vector):
    return vector / max(np.linalg.norm(vector), 1e-9)


def _is_trachea(piece):
    return piece[0].radius_mm >= TRACHEA_MIN_RADIUS_MM and len(piece[0].children) > 0


def _lobe_of(airway, lobes, spacing):
    """Return the lobe that a branch lies in, 0 if it isn't one."""
    at = np.rint(airway.path / np.asarray(spacing)).astype(int)
    count = np.bincount(lobes[tuple(at.T)], minlength=2)
    lobe = 1 + int(count[1:].argmax())
    clear = lobe in airway_names.LOBES and count[lobe] >= LOBE_SHARE * len(at)
    return lobe if clear else 0


def _direct(graph, members, radius):
    """Order the branches of a piece from its root; forks that all but touch become one."""
    degree = graph.degree()
    thick = {i: _middle_radius(graph.branches[i].path, radius) for i in members}
    thickest = max(members, key=thick.__getitem__)
    ends = [
        (i, n)
        for i in members
        for n in (graph.branches[i].start, graph.branches[i].end)
        if degree[n] == 1
    ] or [(thickest, graph.branches[thickest].start)]
    most = max(thick[i] for i, _ in ends)
    first, root = max(
        (e for e in ends if thick[e[0]] >= ROOT_SHARE * most),
        key=lambda e: (graph.nodes[e[1]][0], thick[e[0]]),
    )
    at = {}
    for i in members:
        for n in (graph.branches[i].start, graph.branches[i].end):
            at.setdefault(n, []).append(i)
    spacing = np.asarray(graph.spacing)
    airways = []
    queue = [(first, root, -1, None)]
    while queue:
        i, start, parent, stem = queue.pop(0)
        b = graph.branches[i]
        path, end = (b.path, b.end) if b.start == start else (b.path[::-1], b.start)
        length = b.length_mm
        if stem is not None:
            path = np.concatenate((stem, path[1:]))
        further = [k for k in at[end] if k != i]
        if (
            parent >= 0
            and further
            and length < max(STEM * thick[i], STEM_VOXELS * max(graph.spacing))
        ):
            queue = [(k, end, parent, path) for k in further] + queue
            continue
        generation = airways[parent].generation + 1 if parent >= 0 else 0
        leg = 0.0 if stem is None else float(np.linalg.norm((stem[-1] - stem[0]) * spacing))
        airways.append(Airway(path * spacing, parent, generation, [], thick[i], length + leg))
        if parent >= 0:
            airways[parent].children.append(len(airways) - 1)
        queue += [(k, end, len(airways) - 1, None) for k in further]
    return airways


def _middle_radius(path, radius):
    n = len(path)
    part = path[n // 4 : max(n - n // 4, n // 4 + 1)]
    return float(np.median(radius[tuple(part.T)]))
