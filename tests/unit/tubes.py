"""Tubes with a closed-form blur, and trees of them that do not touch: vessels of known truth."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, special

LUNG_HU, BLOOD_HU = -870.0, 45.0


def cover(table, shape, voxel_mm, sigma_mm, extra_mm=0.0):
    """Share of each voxel's point spread that tubes with round ends fill; (z, y, x).

    A round Gaussian at distance d of the axis of a long tube lies in it with the probability of a
    noncentral chi-squared (Marcum's Q).
    """
    image = np.zeros(shape, np.float32)
    for p, q, radius in zip(table["p0"], table["p1"], table["radius"], strict=True):
        radius = radius + extra_mm
        reach = radius + 4.0 * sigma_mm
        low = np.maximum(np.ceil((np.minimum(p, q) - reach) / voxel_mm), 0).astype(int)
        high = np.floor((np.maximum(p, q) + reach) / voxel_mm).astype(int) + 1
        high = np.minimum(high, shape[::-1])
        if (high <= low).any():
            continue
        x, y, z = (np.arange(a, b) * voxel_mm for a, b in zip(low, high, strict=True))
        x, y, z = x[None, None] - p[0], y[None, :, None] - p[1], z[:, None, None] - p[2]
        u = q - p
        t = np.clip((x * u[0] + y * u[1] + z * u[2]) / max(u @ u, 1e-9), 0.0, 1.0)
        d = np.sqrt((x - t * u[0]) ** 2 + (y - t * u[1]) ** 2 + (z - t * u[2]) ** 2)
        at = np.linspace(0.0, 2.0 * reach, 600)
        if radius < 20.0 * sigma_mm:
            share = special.chndtr((radius / sigma_mm) ** 2, 2, (at / sigma_mm) ** 2)
        else:
            share = special.ndtr((radius - at) / sigma_mm)
        box = tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))
        image[box] = np.maximum(image[box], np.interp(d, at, share))
    return image


def scan(table, shape, voxel_mm, psf_mm=0.5, noise_hu=0.0, seed=0):
    """Return image and vessel label map of tubes, SimpleITK, (x, y, z) = index * voxel."""
    sigma = np.sqrt(psf_mm**2 + voxel_mm**2 / 12.0)
    hu = LUNG_HU + (BLOOD_HU - LUNG_HU) * cover(table, shape, voxel_mm, sigma)
    if noise_hu:
        noise = np.random.default_rng(seed).standard_normal(shape)
        noise = ndimage.gaussian_filter(noise, 0.6)  # neighbours go together, as in a scan
        hu = hu + noise_hu * noise / noise.std()
    label = np.zeros(shape, np.uint8)
    kinds = table.get("kind", np.ones(len(table["radius"]), int))
    for kind in np.unique(kinds)[::-1]:
        part = {name: values[kinds == kind] for name, values in table.items()}
        part["radius"] = np.maximum(part["radius"], 0.58 * voxel_mm)
        label[cover(part, shape, voxel_mm, 0.03 * voxel_mm) > 0.5] = kind
    return image(np.rint(hu).astype(np.int16), voxel_mm), image(label, voxel_mm)


def image(values, voxel_mm):
    """Return an image of an array with cubic or other voxels."""
    made = sitk.GetImageFromArray(np.ascontiguousarray(values))
    made.SetSpacing((float(voxel_mm),) * 3 if np.isscalar(voxel_mm) else voxel_mm)
    return made


def tree(seed, size_mm=62.0, gap_mm=1.5, trunk_mm=3.0, thinnest_mm=0.6):
    """Grow two trees (kinds 1 and 2) whose tubes touch only at their forks; Murray's law."""
    rng = np.random.default_rng(seed)
    middle = 0.5 * size_mm
    rows = []  # p0, p1, radius, parent, kind
    waiting = []
    for kind, x in ((1, middle - 12.0), (2, middle + 12.0)):
        rows.append((np.array([x, middle, -6.0]), np.array([x, middle, 9.0]), trunk_mm, -1, kind))
        waiting.append(len(rows) - 1)
    while waiting:
        at = waiting.pop(0)
        _, end, radius, _, kind = rows[at]
        way = rows[at][1] - rows[at][0]
        way /= np.linalg.norm(way)
        share = rng.uniform(0.3, 0.7)
        for part in (share, 1.0 - share):
            thin = radius * np.cbrt(part)
            if thin < thinnest_mm:
                continue
            for _ in range(30):
                turn = rng.normal(size=3)
                turn -= (turn @ way) * way
                turn /= np.linalg.norm(turn)
                angle = rng.uniform(0.4, 1.0)
                step = np.cos(angle) * way + np.sin(angle) * turn
                stop = end + (2.0 * radius + rng.uniform(4.0, 7.0)) * step
                if _free(rows, at, end, stop, thin, gap_mm, size_mm):
                    rows.append((end, stop, thin, at, kind))
                    waiting.append(len(rows) - 1)
                    break
    p0, p1, radius, parent, kind = (np.array(column) for column in zip(*rows, strict=True))
    return {"p0": p0, "p1": p1, "radius": radius, "parent": parent, "kind": kind}


def _free(rows, at, start, stop, radius, gap_mm, size_mm):
    """Whether a new tube keeps off the walls and others; of its kin only its end has to."""
    if (stop < 4.0).any() or (stop > size_mm - 4.0).any():
        return False
    share = np.linspace(0.0, 1.0, 20)[:, None]
    here = start + share * (stop - start)
    p, q, other, parent = (np.array([row[k] for row in rows]) for k in range(4))
    kin = (np.arange(len(rows)) == at) | (parent == at)
    along = q - p
    t = ((here[:, None] - p) * along).sum(axis=2) / (along**2).sum(axis=1)
    near = p + np.clip(t, 0.0, 1.0)[..., None] * along
    gap = np.linalg.norm(here[:, None] - near, axis=2) - other - radius
    gap = np.where(kin, gap[-1], gap.min(axis=0))
    return gap.min() > gap_mm


def truth(table, low_mm, high_mm, fine_mm=0.3):
    """Volumes (ml) of the union of tubes in a box, of those below 5 mm^2, and their lengths (m).

    Where a small tube lies in a large one, the volume is the large one's.
    """
    shape = tuple(np.rint((high_mm - low_mm) / fine_mm).astype(int)[::-1])
    moved = {**table, "p0": table["p0"] - low_mm, "p1": table["p1"] - low_mm}
    moved["p0"], moved["p1"] = moved["p0"] - fine_mm / 2, moved["p1"] - fine_mm / 2
    small = np.pi * table["radius"] ** 2 < 5.0
    large = {name: values[~small] for name, values in moved.items()}
    full, thick = (
        1e-3 * fine_mm**3 * np.count_nonzero(cover(part, shape, fine_mm, 0.02 * fine_mm) > 0.5)
        for part in (moved, large)
    )
    share = (np.arange(64) + 0.5) / 64
    spots = table["p0"][:, None] + share[:, None] * (table["p1"] - table["p0"])[:, None]
    inside = ((spots > low_mm) & (spots < high_mm)).all(axis=2).mean(axis=1)
    length = inside * np.linalg.norm(table["p1"] - table["p0"], axis=1) / 1000.0
    return {
        "tbv_ml": full,
        "bv5_ml": full - thick,
        "bv5_pct": 100.0 * (full - thick) / full,
        "length_m": length.sum(),
        "small_m": length[small].sum(),
    }
