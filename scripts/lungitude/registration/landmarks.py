"""Landmarks of the airway tree: how far a registration brings the same forks from each other."""

import math

import numpy as np
import pandas as pd
from scipy import spatial

_REACH_MM = 10.0  # between forks without a name


def airway_forks(tree):
    """List the forks of an airway tree as landmarks.

    Parameters
    ----------
    tree : biomarkers.airway_tree.Tree
        Of a label map of the airways.

    Returns
    -------
    DataFrame
        ``name`` of the branches that begin there (those with a name, joined by ``+``; empty where
        none has one) and ``x_mm y_mm z_mm``, LPS.
    """
    parents = sorted({airway.parent for airway in tree.airways if airway.parent >= 0})
    ends, names = [], []
    for parent in parents:
        children = [airway for airway in tree.airways if airway.parent == parent]
        if len(children) > 1:
            ends.append(tree.airways[parent].path[-1])
            names.append("+".join(sorted(child.name for child in children if child.name)))
    points = tree.physical(ends) if ends else np.zeros((0, 3))
    table = pd.DataFrame(points, columns=["x_mm", "y_mm", "z_mm"])
    table.insert(0, "name", names)
    return table


def landmark_error(fixed_forks, moving_forks, transform):
    """Measure how far from each other a transform brings the forks of two airway trees.

    Parameters
    ----------
    fixed_forks, moving_forks : DataFrame
        Of `airway_forks`.
    transform : Transform
        From fixed to moving.

    Returns
    -------
    dict
        ``n`` pairs, ``matched_pct`` of the forks of the tree with fewer, ``mean_mm``, ``p95_mm``
        (NaN without a pair).

    Notes
    -----
    Forks of one name belong together whatever their distance. The others are matched where each is
    the other's nearest within 10 mm: a poor map shows in fewer matches as much as in the distance.
    """
    here = transform.apply_points(fixed_forks[["x_mm", "y_mm", "z_mm"]].to_numpy(float))
    there = moving_forks[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    pairs = _named(fixed_forks["name"], moving_forks["name"])
    pairs += _nearest(here, there, *(set(side) for side in zip(*pairs, strict=True)))
    gap = np.array([np.linalg.norm(here[i] - there[j]) for i, j in pairs])
    fewer = min(len(here), len(there))
    return {
        "n": len(pairs),
        "matched_pct": 100.0 * len(pairs) / fewer if fewer else math.nan,
        "mean_mm": float(gap.mean()) if gap.size else math.nan,
        "p95_mm": float(np.percentile(gap, 95)) if gap.size else math.nan,
    }


def _named(first, second):
    """Pair the rows whose name stands once in each column."""
    places = []
    for names in (first, second):
        once = names[(names != "") & ~names.duplicated(keep=False)]
        places.append({name: place for place, name in enumerate(names) if name in set(once)})
    return [(i, places[1][name]) for name, i in places[0].items() if name in places[1]]


def _nearest(here, there, taken_here=(), taken_there=()):
    """Pair the points that are not taken and each other's nearest within reach."""
    left = [i for i in range(len(here)) if i not in taken_here]
    right = [j for j in range(len(there)) if j not in taken_there]
    if not left or not right:
        return []
    gap = spatial.distance.cdist(here[left], there[right])
    back = gap.argmin(axis=0)
    return [
        (left[i], right[j])
        for i, j in enumerate(gap.argmin(axis=1))
        if back[j] == i and gap[i, j] <= _REACH_MM
    ]
