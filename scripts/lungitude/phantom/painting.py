"""Tissues and trees painted into a view, and the healthy lung's density."""

import numpy as np
from scipy import special

from . import airways, anatomy, labels, raster, vessels

_CONTRAST_HU = 250.0  # what contrast medium adds to blood


def blood_hu(record):
    """HU of blood, with or without contrast medium."""
    return anatomy.BLOOD_HU + (_CONTRAST_HU if record.contrast else 0.0)


def chest(view):
    """Everything around the lungs, from the skin inwards."""
    body, at = view.record.body, view.coarse_reference
    blood = blood_hu(view.record)
    skin = view.distance(anatomy.torso(*at))
    view.paint(skin, anatomy.FAT_HU)
    view.paint(skin - np.float32(body["fat_mm"]), anatomy.MUSCLE_HU)
    view.paint(view.distance(anatomy.abdomen(*at, body)), 55.0)
    view.paint(view.distance(view.between), -60.0)
    view.paint(view.distance(view.heart), blood - 3.0)
    view.paint(view.distance(view.aorta), blood)
    view.paint(view.distance(anatomy.ribs(*at)), 380.0)
    view.paint(view.distance(anatomy.spine(*at)), 240.0)
    view.paint(view.distance(anatomy.discs(*at)), 80.0)


def lungs(view):
    """Open the lungs; lobe labels with the trachea and the main bronchi still in them."""
    body, at = view.record.body, view.coarse_reference
    right, left = (view.distance(anatomy.lung(*at, side, body, view.between)) for side in (-1, 1))
    lung = np.maximum(right, left)
    view.paint(lung)
    heights = (view.field(height) for height in anatomy.fissures(*at))
    return raster.lobes(lung, left - right, *heights, view.grid.shape, view.every)


def tips(table):
    """Whether nothing follows a segment of a tree."""
    last = np.ones(len(table["parent"]), bool)
    last[table["parent"][table["parent"] >= 0]] = False
    return last


def blood_vessels(view):
    """Arteries and veins; returns their coverage."""
    tree = vessels.tree(view.record)
    cover = view.tubes(tree["p0"], tree["p1"], tree["radius"], tips(tree))
    view.paint_cover(cover, blood_hu(view.record))
    return cover


def airway_tree(view, lobes):
    """Walls and lumina; `lobes` loses the trachea and the main bronchi.

    Returns the coverage of the lumina.
    """
    tree = airways.tree(view.record)
    outer, lumen = (
        view.tubes(tree["p0"], tree["p1"], radius, tips(tree))
        for radius in (tree["radius"] + tree["wall"], tree["radius"])
    )
    raster.paint_pipe(view.frame, view.weight, outer, lumen, anatomy.WALL_HU, anatomy.AIR_HU)
    mark_central(view, lobes)
    return lumen


def mark_central(view, lobes):
    """Take the lumina of the trachea and the main bronchi out of lobe labels, in place."""
    tree = airways.tree(view.record)
    labels.mark(view, lobes, tree, tree["generation"] <= 1, tree["radius"], 0)


def table_top(view):
    """Paint a curved table top under the back; it does not breathe."""
    x, y, _ = (axis.astype(np.float32) for axis in view.grid.axes())
    below = float(anatomy.BACK_MM * view.record.scale_xy + 6.0)
    rows = slice(int(np.searchsorted(y, below - 25.0)), None)
    depth = 4.0 - np.abs(y[rows, None] - below + 0.0006 * x[None, :] ** 2 - 4.0)
    cover = special.ndtr(depth / view.sigma_mm).astype(np.float32)
    view.frame[:, rows] += cover * (np.float32(anatomy.TABLE_HU) - view.frame[:, rows])


def healthy(view):
    """Healthy density at full inspiration (HU + 1000), on the coarse grid."""
    record, points = view.record, view.coarse_reference
    field = record.texture_sd_hu * anatomy.texture(record, points)
    # Dependent lung is denser; zero in the middle of the lungs.
    return view.field(field + 0.12 * points[1] + (record.lung_hu + 1000.0))


def levels(record):
    """Least healthy density, that of emphysema, and of trapped lung as a + b * healthy.

    Trapped lung keeps nearly its inspiratory density, so its mass is not conserved under a field
    that is smooth across it: a registration that demands conservation degrades there.
    """
    held = anatomy.TRAPPED_HU + 1000.0 - 0.4 * (record.lung_hu + 1000.0)
    return tuple(map(np.float32, (5.0, anatomy.EMPHYSEMA_HU + 1000.0, held, 0.4)))
