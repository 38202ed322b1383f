"""Names of bronchi, from a map of the lobes or from how the tree branches.

Directions are (z, y, x): to the head, to the back, to the left.
"""

import numpy as np
from scipy import optimize

LOBES = {1: "RUL", 2: "RML", 3: "RLL", 4: "LUL", 5: "LLL", 6: "lingula"}
LOBE_SHARE = 0.8  # of the ends of a subtree
ASIDE_MM = 20.0  # between the ends of the right and the left lung, on average
APART_MM = 8.0  # between the ends of neighbouring lobes, on average
SEGMENT_DEG = 65.0
# Where the ends of a segment lie, seen from the fork of its lobe's bronchus; after the usual
# drawings of bronchoscopy (Boyden's numbers, on the left 1+2 and 8 as one).
SEGMENTS = {
    1: {"RB1": (1.0, 0.1, 0.0), "RB2": (0.3, 0.9, -0.5), "RB3": (0.0, -1.0, -0.3)},
    2: {"RB4": (-0.3, -0.5, -0.9), "RB5": (-0.5, -1.0, 0.1)},
    3: {
        "RB6": (0.3, 1.0, -0.3),
        "RB7": (-0.9, -0.2, 0.6),
        "RB8": (-0.8, -0.8, -0.4),
        "RB9": (-0.8, 0.2, -0.8),
        "RB10": (-1.0, 0.7, 0.0),
    },
    4: {"LB1+2": (1.0, 0.6, 0.1), "LB3": (0.2, -1.0, 0.4)},
    5: {
        "LB6": (0.3, 1.0, 0.3),
        "LB8": (-0.8, -0.8, 0.4),
        "LB9": (-0.8, 0.2, 0.8),
        "LB10": (-1.0, 0.7, 0.0),
    },
    6: {"LB4": (0.0, -0.6, 0.9), "LB5": (-0.6, -1.0, 0.4)},
}


def name(airways, lobes, spacing):
    """Fill in lobe, name and segment of airways; in place.

    Parameters
    ----------
    airways : list of airway_tree.Airway
        Parents before children, the trachea first.
    lobes : ndarray of int, (z, y, x), or None
    spacing : tuple of float
        Of `lobes`.

    Notes
    -----
    Lobar bronchi are the highest branches whose subtree ends in one lobe. Without a map they come
    from the pattern: of the two main bronchi the right one ends further right; the upper lobe's
    bronchus ends higher than what remains, the middle lobe's further in front, the lingula's lower
    than the rest of the upper lobe. Segments are given by the best assignment of subtrees to
    directions, within 65 degrees. What doesn't fit stays without a name.
    """
    ends = _ends(airways)
    tips = np.array([a.path[-1] for a in airways])
    if lobes is not None:
        roots = _from_map(airways, ends, tips, lobes, spacing)
    else:
        roots = _from_pattern(airways, ends, tips)
    for lobe, i in roots.items():
        for k in below(airways, i):
            airways[k].lobe = lobe
    if lobes is None and {4, 6} <= roots.keys():
        for k in below(airways, roots[6]):
            airways[k].lobe = 6
    _name_central(airways, roots)
    for lobe, i in roots.items():
        airways[i].name = LOBES[lobe]
        _name_segments(airways, ends, tips, lobe, i)


def below(airways, i):
    """Return a branch and all that come from it."""
    found = [i]
    for k in found:
        found.extend(airways[k].children)
    return found


def _ends(airways):
    """Return, by branch, the branches of its subtree that have no children."""
    ends = [[] for _ in airways]
    for i in range(len(airways) - 1, -1, -1):
        children = airways[i].children
        ends[i] = [e for c in children for e in ends[c]] if children else [i]
    return ends


def _from_map(airways, ends, tips, lobes, spacing):
    at = np.rint(tips / np.asarray(spacing)).astype(int)
    at = np.clip(at, 0, np.array(lobes.shape) - 1)
    lobe_at = lobes[tuple(at.T)]
    roots = {}
    for lobe in LOBES:
        best = 0
        for i, a in enumerate(airways):
            hit = int((lobe_at[ends[i]] == lobe).sum())
            pure = hit >= LOBE_SHARE * len(ends[i])
            if a.generation >= 1 and pure and hit > best:
                roots[lobe], best = i, hit
    return roots


def _from_pattern(airways, ends, tips):
    """Return the lobar bronchi that the pattern shows clearly."""

    def middle(i):
        return tips[ends[i]].mean(axis=0)

    def kids(i):
        return sorted(airways[i].children, key=lambda c: (-len(ends[c]), c))

    def split(group, axis):
        """Order a group along an axis; empty unless its first is clearly apart."""
        order = sorted(group, key=lambda i: middle(i)[axis])
        far = len(order) > 1 and middle(order[1])[axis] - middle(order[0])[axis] >= APART_MM
        return order if far else []

    roots = {}
    main = kids(0)[:2]
    if len(main) < 2:
        return roots
    right, left = sorted(main, key=lambda i: middle(i)[2])
    if middle(left)[2] - middle(right)[2] < ASIDE_MM:
        return roots
    group = sorted(kids(right)[:3], key=lambda i: -middle(i)[0])
    if len(group) > 1 and middle(group[0])[0] - middle(group[1])[0] >= APART_MM:
        roots[1] = group[0]
        group = group[1:] if len(group) > 2 else kids(group[1])[:2]
        group = split(group, 1)
        if group:
            roots[2], roots[3] = group
    group = split(kids(left)[:2], 0)
    if group:
        roots[5], roots[4] = group
        group = split(kids(roots[4])[:3], 0)
        if group:
            roots[6] = group[0]
    return roots


def _name_central(airways, roots):
    airways[0].name = "trachea"
    above = {lobe: _line(airways, i) for lobe, i in roots.items()}
    for title, lobes in (("RMB", (1, 2, 3)), ("LMB", (4, 5, 6))):
        lines = [above[k] for k in lobes if k in above]
        if lines and len(lines[0]) > 1 and all(line[1:2] == lines[0][1:2] for line in lines):
            airways[lines[0][1]].name = title
    if {2, 3} <= roots.keys():
        shared = [i for i in above[2][2:] if i in above[3]]
        if shared and not (1 in roots and set(shared) & set(above[1])):
            airways[shared[0]].name = "BronInt"


def _line(airways, i):
    """Return the ancestors of a branch, from the trachea on, without itself."""
    line = []
    while airways[i].parent >= 0:
        i = airways[i].parent
        line.append(i)
    return line[::-1]


def _name_segments(airways, ends, tips, lobe, root):
    wanted = SEGMENTS[lobe]
    found = [c for c in airways[root].children if airways[c].lobe == lobe]
    while found and len(found) < len(wanted):
        large = max(found, key=lambda i: (len(ends[i]) if airways[i].children else 0, -i))
        if not airways[large].children:
            break
        found.remove(large)
        found += airways[large].children
    if not found:
        return
    fork = airways[root].path[-1]
    seen = np.array([tips[ends[i]].mean(axis=0) - fork for i in found])
    seen /= np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-9)
    known = np.array(list(wanted.values()))
    known = known / np.linalg.norm(known, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(np.clip(seen @ known.T, -1.0, 1.0)))
    for row, column in zip(*optimize.linear_sum_assignment(angle), strict=True):
        if angle[row, column] <= SEGMENT_DEG:
            title = list(wanted)[column]
            airways[found[row]].name = title
            for k in below(airways, found[row]):
                airways[k].segment = title
