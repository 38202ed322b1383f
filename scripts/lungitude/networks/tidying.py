"""From probabilities to label maps: where a structure is, and what of it stays.

Decisions are taken slab by slab on the voxels of the scan (`passes.View`); pieces, holes and
borders are those of whole maps.
"""

import cc3d
import fill_voids
import numpy as np
from scipy import ndimage

from .hierarchical import CENTRAL, GROUPS, PASSES
from .passes import resized

FRAGMENT_SHARE = 0.02  # pieces of a structure below this share of its largest one are dropped
EDGE_HU, RIM_MM = -400.0, 2.5
EDGE_SHARE = 0.5  # the same for pieces at the sides of the box
LUNG_LEAST_ML = 50.0
LEAST_SHARE = 0.2  # of a voxel of air beside what is lung for sure
COARSE_WEIGHT = 0.6  # of the chest pass in what is lung
CENTRAL_SHARE = 0.2  # above which the central airways may run
# Arteries and veins are told apart where the likelier kind has this share of a vessel on average,
# and the rarer kind this share of all vessels.
KIND_SHARE, RARER_SHARE = 0.75, 0.1

GREAT = GROUPS["heart"]["chambers"].index("aorta")  # from here on, great vessels


def decide(view, group):
    """Inside where the classes together outweigh the outside, as the likeliest of them.

    A thin vessel that may be an artery as well as a vein is a vessel all the same.

    Returns
    -------
    labels : ndarray of uint8, (z, y, x)
        Code of the class.
    share : ndarray of uint8, (z, y, x)
        Probability of the inside, 255 for 1.
    promise : float
        Dice that the probabilities promise.
    """
    labels, share = np.zeros(view.shape, np.uint8), np.zeros(view.shape, np.uint8)
    sums = np.zeros(3)
    codes = range(1, len(view.values[group]))
    for slab in view.slabs():
        each = view.at(group, codes, slab)
        inside = each.sum(axis=0)
        found = np.where(inside > 0.5, each.argmax(axis=0) + 1, 0)
        labels[slab], share[slab] = found, as_bytes(inside)
        sums += _sums(inside, found > 0)
    return labels, share, _promise(sums)


def as_bytes(share):
    """Return probabilities as bytes, 255 for 1."""
    return np.rint(255.0 * np.clip(share, 0.0, 1.0)).astype(np.uint8)


def _sums(share, mask):
    return np.array([share.sum(dtype=np.float64), mask.sum(), share[mask].sum(dtype=np.float64)])


def _promise(sums):
    """Return the expected Dice of a mask whose voxels are right with their probability."""
    share, mask, both = sums
    return float(2.0 * both / (share + mask)) if share + mask else float("nan")


def kinds_told(view, labels):
    """Whether arteries are told from veins, as they are where contrast medium differs in them."""
    counts = np.bincount(labels.ravel(), minlength=3)[1:3]
    if not counts.sum():
        return False
    sure = 0.0
    for slab in view.slabs():
        artery, vein = (share[labels[slab] > 0] for share in view.at("vessels", (1, 2), slab))
        likelier = np.maximum(artery, vein) / np.maximum(artery + vein, 1e-6)
        sure += likelier.sum(dtype=np.float64)
    shares = np.array([sure, counts.min()]) / counts.sum()
    return bool(shares[0] >= KIND_SHARE and shares[1] >= RARER_SHARE)


def lungs(chest, detail, air, outside):
    """Lungs where chest and detail agree: the chest knows what is lung, the detail where it ends.

    A detail of 64 mm can't tell a lung without marks from air around the patient, so it decides
    only where the chest pass is in doubt, which is along the borders. From what is lung for sure
    the lungs go on through air that is less sure (hysteresis), as in bullae.

    Parameters
    ----------
    chest, detail : View
        On the same voxels.
    air, outside : ndarray of bool, (z, y, x)
        What is air, and what is air outside the patient.

    Returns
    -------
    mask : ndarray of bool, (z, y, x)
    lobes : ndarray of uint8
        Likeliest lobe, 1 to 6, of every voxel.
    central : ndarray of bool
        Where the central airways may run.
    share : ndarray of uint8
        Probability of lung, 255 for 1.
    promise : float
        Dice that the probabilities promise.
    """
    sure, perhaps, central = (np.zeros(chest.shape, bool) for _ in range(3))
    lobes, share = np.zeros(chest.shape, np.uint8), np.zeros(chest.shape, np.uint8)
    for slab in chest.slabs():
        each = chest.at("regions", range(1, CENTRAL + 1), slab)
        lobes[slab] = each[:-1].argmax(axis=0) + 1
        central[slab] = each[-1] > CENTRAL_SHARE
        lung, airway = detail.at("regions", (1, 2), slab)
        both = COARSE_WEIGHT * each[:-1].sum(axis=0) + (1.0 - COARSE_WEIGHT) * lung
        free = (airway < 0.5) & ~outside[slab]
        sure[slab] = (both > 0.5) & free
        perhaps[slab] = sure[slab] | ((both > LEAST_SHARE) & free & air[slab])
        share[slab] = as_bytes(both)
    part = cc3d.connected_components(perhaps, connectivity=6)
    held = np.zeros(int(part.max()) + 1, bool)
    held[np.unique(part[sure])] = True
    held[0] = False
    mask = held[part]
    sums = sum(_sums(share[slab] / np.float32(255.0), mask[slab]) for slab in chest.slabs())
    return mask, lobes, central, share, _promise(sums)


def low_attenuation(view, inside):
    """Probability of low attenuation as bytes, 0 outside a mask."""
    share = np.zeros(view.shape, np.uint8)
    for slab in view.slabs():
        share[slab] = as_bytes(view.at("low_attenuation", (0,), slab)[0])
    share[~inside] = 0
    return share


def rim(mask, hu, spacing_mm):
    """Return what is denser than half air in the rim of the lungs: the wall beside them."""
    return (hu > EDGE_HU) & grown(~mask, spacing_mm, RIM_MM)


def link(labels, detail, view, hu, inside, track):
    """Add to the labels of vessels, in place, what links them on the grid of the pass.

    `track` is `tracking.track`.
    """
    share = detail.shares("vessels")[1:].sum(axis=0)
    share[resized(inside, share.shape).numpy() < 0.5] = 0.0
    links = track(share, resized(hu, share.shape).numpy(), PASSES["detail"]["voxel_mm"])
    new = each(links, labels.shape) & inside & (labels == 0)
    for slab in view.slabs():
        if new[slab].any():
            artery, vein = view.at("vessels", (1, 2), slab)
            labels[slab][new[slab]] = np.where(vein > artery, 2, 1)[new[slab]]


def each(mask, shape):
    """Put a mask on another grid over the same field; each of its voxels marks one at least."""
    lines = [(np.arange(n) + 0.5) * (m / n) for n, m in zip(shape, mask.shape, strict=True)]
    out = mask[np.ix_(*(line.astype(int) for line in lines))]
    scale = np.array(shape) / mask.shape
    out[tuple(((np.argwhere(mask) + 0.5) * scale).astype(int).T)] = True
    return out


def tidy_lungs(mask, lobes, spacing_mm):
    """Lobe of each voxel of the lungs: large pieces only, no holes.

    A small piece at the sides of the box, where the scan or the patient ends, is air around him.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    out = np.zeros(mask.shape, np.uint8)
    for side in (lobes <= 3, lobes > 3):
        part = cc3d.connected_components((mask & side).astype(np.uint8), connectivity=6)
        sizes = np.bincount(part.ravel())
        sizes[0] = 0
        if sizes.max() * voxel_ml < LUNG_LEAST_ML:
            continue
        keep = sizes > FRAGMENT_SHARE * sizes.max()
        edge = np.unique(np.concatenate([part[:, [0, -1]].ravel(), part[:, :, [0, -1]].ravel()]))
        keep[edge] &= sizes[edge] > EDGE_SHARE * sizes.max()
        filled = fill_voids.fill(keep[part])
        out[filled] = lobes[filled]
    return clean_lobes(out)


def clean_lobes(lobes):
    """Pieces of a lobe apart from its largest go to the lobe that surrounds them."""
    loose = np.zeros(lobes.shape, bool)
    for code in range(1, CENTRAL):
        mask = lobes == code
        if mask.any():
            part = cc3d.connected_components(mask.astype(np.uint8), connectivity=6)
            sizes = np.bincount(part.ravel())
            sizes[0] = 0
            # A lobe may be parted by a cut of the field of view; crumbs are not.
            loose |= (sizes < 0.05 * sizes.max())[part] & mask
    if loose.any():
        at = ndimage.distance_transform_edt(
            loose | (lobes == 0), return_distances=False, return_indices=True
        )
        lobes = np.where(loose, lobes[tuple(at)], lobes)
    return lobes


def grown(mask, spacing_mm, reach_mm):
    """Return a mask and the box of a reach around each of its voxels."""
    reach = [max(1, round(reach_mm / mm)) for mm in spacing_mm]
    for axis, n in enumerate(reach):
        mask = ndimage.maximum_filter1d(mask.astype(np.uint8), 2 * n + 1, axis=axis)
    return mask > 0


def largest(labels):
    """Return the largest connected piece, whatever its codes."""
    if not labels.any():
        return labels
    part = cc3d.connected_components((labels > 0).astype(np.uint8), connectivity=26)
    sizes = np.bincount(part.ravel())
    sizes[0] = 0
    return np.where(part == sizes.argmax(), labels, 0).astype(np.uint8)


def pieces(labels):
    """Each chamber's largest piece, of what touches the largest piece of the heart; great vessels.

    A gated scan shows the aorta twice, rising from the heart and descending behind it.
    """
    out = np.zeros_like(labels)
    heart = largest(np.where(labels < GREAT, labels, 0)) > 0
    for code in np.unique(labels[labels > 0]):
        mask = (labels == code) & (heart | (code >= GREAT))
        if mask.any():
            part = cc3d.connected_components(mask.astype(np.uint8), connectivity=6)
            sizes = np.bincount(part.ravel())
            sizes[0] = 0
            keep = sizes >= (0.2 if code >= GREAT else 1.0) * sizes.max()
            out[keep[part]] = code
    return out


def widened(labels, spacing_mm, reach_mm):
    """Each label and what lies within a reach of it, nearest first."""
    if not labels.any():
        return labels
    away, at = ndimage.distance_transform_edt(labels == 0, sampling=spacing_mm, return_indices=True)
    return np.where(away <= reach_mm, labels[tuple(at)], 0).astype(np.uint8)
