"""Label maps of the phantom on any grid, from its geometry and not from its image.

A tube is marked where a voxel's centre lies in it, and along its centreline with steps below half
a voxel, so that a thin branch is one 26-connected path at any voxel size.
"""

import numpy as np

from . import airways, lesions, raster, vessels
from .view import Place

# airways: 1 lumen, 2 wall; airway_branches: row of `airways.tree` plus 1, in lumen and wall;
# vessels: 1 artery, 2 vein, in the lungs; emphysema: codes of `lesions.SUBTYPES`, in the lungs
NAMES = ("airways", "airway_branches", "vessels", "emphysema")


def maps(record, phase, grid, names, lobes):
    """Label maps by name.

    Parameters
    ----------
    record : Record
        With lesion counts, if emphysema is asked for.
    phase : str
    grid : Grid
    names : sequence of str
        Of `NAMES`.
    lobes : ndarray, (z, y, x)
        Lobe labels on the grid.

    Returns
    -------
    dict of ndarray of uint8 (airway_branches: int16), (z, y, x)
    """
    place = Place(record, phase, grid) if len(names) else None
    return {name: _MAKERS[name](place, lobes) for name in names}


def mark(place, out, table, chosen, radius, value, line=False):
    """Set `out` to `value`, one or one a tube, in the chosen tubes of a table, later over earlier.

    With `line` also along the centreline, however thin the tube.
    """
    rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    p0, p1 = (table[name][rows] * place.record.scale for name in ("p0", "p1"))
    radius = radius[rows]
    value = np.broadcast_to(value, len(table["p0"]))[rows].astype(out.dtype)
    near = place.near(p0, p1, radius + 1.0)
    p0, p1, tube, _ = place.pieces(p0[near], p1[near], 6.0)
    radius, value = radius[near][tube], value[near][tube]
    boxes = place.boxes(np.minimum(p0, p1), np.maximum(p0, p1), radius)
    raster.mark_tubes(out, *place.voxel_mm, place.straight, boxes, p0, p1, radius, value)
    if line:
        _mark_lines(place, out, p0, p1, value)


def _mark_lines(place, out, p0, p1, value):
    step = 0.4 * min(place.grid.spacing_mm)
    if place.breath:
        step *= 0.9  # breathing may stretch a little in the plane
    counts = np.ceil(np.linalg.norm(p1 - p0, axis=1) / step).astype(int) + 1
    tube = np.repeat(np.arange(len(p0)), counts)
    number = np.arange(len(tube)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = number / np.maximum(counts - 1, 1)[tube]
    points = p0[tube] + share[:, None] * (p1 - p0)[tube]
    index = np.rint(place.grid.index(place.to_image(points))).astype(int)
    inside = ((index >= 0) & (index < place.grid.shape)).all(axis=1)
    out[tuple(index[inside].T)] = value[tube[inside]]


def _airways(place, lobes):
    tree = airways.tree(place.record)
    out = np.zeros(place.grid.shape, np.uint8)
    everything = np.ones(len(tree["radius"]), bool)
    mark(place, out, tree, everything, tree["radius"] + tree["wall"], 2)
    mark(place, out, tree, everything, tree["radius"], 1, line=True)
    return out


def _airway_branches(place, lobes):
    tree = airways.tree(place.record)
    out = np.zeros(place.grid.shape, np.int16)
    number = np.arange(1, len(tree["radius"]) + 1)
    outwards = np.argsort(-tree["generation"], kind="stable")  # parents last: over their daughters
    mark(place, out, tree, outwards, tree["radius"] + tree["wall"], number)
    mark(place, out, tree, outwards, tree["radius"], number, line=True)
    return out


def _vessels(place, lobes):
    tree = vessels.tree(place.record)
    out = np.zeros(place.grid.shape, np.uint8)
    # Thin over thick: a line through a thick vessel cuts neither.
    inwards = np.argsort(-tree["radius"], kind="stable")
    inwards = inwards[tree["radius"][inwards] >= vessels.VISIBLE_MM]
    mark(place, out, tree, inwards, tree["radius"], tree["kind"], line=True)
    out[lobes == 0] = 0
    return out


def _emphysema(place, lobes):
    out = np.zeros(place.grid.shape, np.uint8)
    mark_lesions(
        place, out, lesions.table(place.record, "emphysema", place.record.emphysema_spheres)
    )
    out[lobes == 0] = 0
    return out


def mark_lesions(place, out, found):
    """Set `out` to the subtype (to 1 where that is 0) in the spheres of a lesion table.

    Where two subtypes meet, the higher code stands.
    """
    order = np.argsort(found["subtype"], kind="stable")
    balls = {"p0": found["centre"], "p1": found["centre"]}
    radius = found["radius"] * np.cbrt(place.record.scale.prod())
    mark(place, out, balls, order, radius, np.maximum(found["subtype"], 1))


_MAKERS = {
    "airways": _airways,
    "airway_branches": _airway_branches,
    "vessels": _vessels,
    "emphysema": _emphysema,
}
