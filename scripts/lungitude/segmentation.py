"""Lungs and central airways of a chest CT by thresholds and shape, and labels of other software.

Works on the canonical axes of `images.canonical`: x to the left, y to the back, z to the head.
"""

import cc3d
import edt
import fill_voids
import numpy as np

from lungitude import airtree, external, images, label_names
from lungitude.label_names import LOBES, LUNGS

RIGHT, LEFT = LUNGS["right"], LUNGS["left"]
REGIONS = {"mask": {}, "lungs": LUNGS, "lobes": LOBES}

AIR_HU = -320  # below: lung or air; the inner end of the -400..-320 HU in common use
PADDING_BELOW_HU = -1500  # no noise of a scanner reaches this: outside the field of view
LUNG_MEDIAN_HU = (-980, -400)  # core of a lung; free air lies below, whatever the emphysema
LUNG_MIN_ML = 50.0
FRAGMENT_SHARE = 0.03  # smaller pieces beside the largest lung are bowel gas or noise
BORDER_SHARE = 0.15  # of the surface of a component: more is air around the patient
CORE_MM = 3.0
CLOSING_MM = 8.0
HOLE_MM2 = 400.0
NECK_MM = (1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.0, 13.0)  # erosions tried to part fused lungs


def lungs(ct, method="auto"):
    """Segment the lungs of a chest CT.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU, any orientation, whole chest or cropped; one lung alone is fine.
    method : {"auto", "classical"}
        ``auto`` takes the best method there is; today thresholds and shape.

    Returns
    -------
    SimpleITK.Image
        uint8 on the grid of `ct`: 0 outside, 1 right, 2 left. Trachea and main bronchi are left
        out; vessels and smaller airways inside the lungs belong to them.

    Raises
    ------
    ValueError
        Unknown method; no lung in the image.

    Notes
    -----
    Threshold, air around the patient by its contact with the border, region growth of the trunk of
    the airways [1]_, parting of fused lungs at their neck, closing by 8 mm along the Euclidean
    distance. A component of air belongs to the lungs if its core is denser than free air. A
    scan cropped into the lungs has no enclosed component: then those that touch the border count.

    References
    ----------
    .. [1] Hu, Hoffman, Reinhardt 2001, IEEE Trans Med Imaging 20:490-498.
    """
    return segment(ct, method)[0]


def airway_trunk(ct):
    """Return the trachea and main bronchi (uint8, 1) on the grid of `ct`; empty if not found."""
    axes = images.canonical(ct)
    hu, spacing = images.array(axes), images.spacing_zyx(axes)
    trunk = airtree.grow(hu, inner_air(hu, spacing), spacing)[0].astype(np.uint8)
    return images.restore(images.from_array(trunk, axes), ct)


def segment(ct, method="auto"):
    """Return lungs and airway trunk, as `lungs` and `airway_trunk` do, at the cost of one."""
    if method not in ("auto", "classical"):
        raise ValueError(f"segmentation method {method!r} is unknown; known: auto, classical")
    axes = images.canonical(ct)
    hu, spacing = images.array(axes), images.spacing_zyx(axes)
    inner = inner_air(hu, spacing)
    trunk, tree = airtree.grow(hu, inner, spacing)
    found = _label_lungs(hu, inner & ~tree, trunk, spacing)
    if not found.any():
        raise ValueError("no lung found: no large region between -980 and -320 HU")
    return tuple(
        images.restore(images.from_array(mask.astype(np.uint8), axes), ct)
        for mask in (found, trunk)
    )


def from_labels(labels, names, scheme=None):
    """Translate a label map of other software to the codes of this package.

    Parameters
    ----------
    labels : SimpleITK.Image
        Label map, whole numbers.
    names : str or dict
        A key of `label_names.MAPS` or an nnU-Net's ``dataset.json``; or our names to the codes in
        `labels` (``{"RUL": 12}``; a list of codes is joined); or the codes in `labels` to ours
        (``{"12": 1}``, with `scheme`).
    scheme : {"lungs", "lobes"}, optional
        Which codes the map leads to; needed where it doesn't name regions.

    Returns
    -------
    labels : SimpleITK.Image
        uint8 with the codes of `LUNGS` or `LOBES`; other structures become 0.
    scheme : {"lungs", "lobes"}
        Which of both.

    Raises
    ------
    ValueError
        Unknown map, name or code, a code used twice, or no voxel with any of the codes.
    """
    pairs, scheme = code_pairs(names, scheme)
    result = external.translate(labels, pairs)
    if not images.array(result).any():
        raise ValueError(external.none_of(labels, pairs))
    return result, scheme


def code_pairs(names, scheme):
    """Return {their code: our code} and the scheme of a label map; see `from_labels`."""
    if scheme not in (None, "lungs", "lobes"):
        raise ValueError(f"scheme {scheme!r} is unknown; known: lungs, lobes")
    return label_names.code_pairs(names, scheme)


def lobes_to_lungs(labels):
    """Merge lobes (codes of `LOBES`) to lungs (codes of `LUNGS`)."""
    table = np.array([0, RIGHT, RIGHT, RIGHT, LEFT, LEFT, LEFT], np.uint8)
    values = images.array(labels)
    if values.max() >= table.size:
        raise ValueError(f"label {values.max()} is no lobe")
    return images.from_array(table[values], labels)


def inner_air(hu, spacing):
    """Return lungs, airways and other gas inside the body; bool, (z, y, x)."""
    padding = hu < PADDING_BELOW_HU
    air = (hu < AIR_HU) & ~padding
    parts = cc3d.connected_components(air.view(np.uint8), connectivity=6)
    counts = np.bincount(parts.ravel())
    voxel_ml = np.prod(spacing) / 1000.0
    large = np.flatnonzero(counts * voxel_ml >= 1.0)
    large = large[large > 0]
    if not large.size:
        return np.zeros(hu.shape, bool)
    share = _border_share(parts, padding, counts.size, spacing)
    median = _core_medians(hu, parts, counts.size, spacing)
    like_lung = (median > LUNG_MEDIAN_HU[0]) & (median < LUNG_MEDIAN_HU[1])
    inside = [i for i in large if share[i] < BORDER_SHARE]
    if not any(like_lung[i] and counts[i] * voxel_ml >= LUNG_MIN_ML for i in inside):
        # Cropped into the lungs: what touches the border and looks like lung is lung.
        inside += [i for i in large if share[i] >= BORDER_SHARE and like_lung[i]]
    keep = np.zeros(counts.size, bool)
    keep[inside] = True
    return keep[parts]


def _border_share(parts, padding, n, spacing):
    """Share of each component's surface that lies on the border in the plane or on padding.

    The first and last slice don't count: lungs cut there are still lungs, and the air around a
    patient always reaches the border in the plane too.
    """
    border = np.zeros(n)
    surface = np.zeros(n)
    dz, dy, dx = spacing
    for axis, area in ((0, dy * dx), (1, dz * dx), (2, dz * dy)):
        moved = np.moveaxis(parts, axis, 0)
        void = np.moveaxis(padding, axis, 0)
        for end in (0, -1):
            faces = area * np.bincount(moved[end].ravel(), minlength=n)
            surface += faces
            if axis:
                border += faces
        front, back = moved[:-1], moved[1:]
        differ = front != back
        for here, beyond in ((front, void[1:]), (back, void[:-1])):
            surface += area * np.bincount(here[differ], minlength=n)
            if axis:
                border += area * np.bincount(here[differ & beyond], minlength=n)
    return border / np.maximum(surface, 1e-9)


def _core_medians(hu, parts, n, spacing):
    """Median HU of each component away from its surface; NaN without a core."""
    depth = max(CORE_MM, 1.01 * max(spacing))
    core = edt.edt(parts, anisotropy=spacing, black_border=False, parallel=1) > depth
    labels, values = parts[core], hu[core]
    order = np.argsort(labels, kind="stable")
    labels, values = labels[order], values[order]
    median = np.full(n, np.nan)
    starts = np.searchsorted(labels, np.arange(n + 1))
    for i in range(1, n):
        if starts[i + 1] > starts[i]:
            median[i] = np.median(values[starts[i] : starts[i + 1]])
    return median


def _label_lungs(hu, inner, trunk, spacing):
    """Return uint8 labels of both lungs from the air inside the body, airways taken out.

    Bronchi inside the lungs come back with the closing; the trunk stays out.
    """
    voxel_ml = np.prod(spacing) / 1000.0
    parts = cc3d.connected_components(inner.view(np.uint8), connectivity=6)
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    result = np.zeros(hu.shape, np.uint8)
    if not counts.any() or counts.max() * voxel_ml < LUNG_MIN_ML:
        return result
    median = _core_medians(hu, parts, counts.size, spacing)
    like_lung = (median > LUNG_MEDIAN_HU[0]) & (median < LUNG_MEDIAN_HU[1])
    limit = max(LUNG_MIN_ML / voxel_ml, FRAGMENT_SHARE * counts[like_lung].max(initial=0))
    chosen = [i for i in np.argsort(-counts, kind="stable") if like_lung[i] and counts[i] >= limit]
    if not chosen:
        return result
    keep = np.isin(np.arange(counts.size), chosen)
    mask = keep[parts]
    box = bounding_box(mask, spacing, CLOSING_MM + 2.0)
    sides = _sides(hu[box], mask[box], parts[box], chosen, trunk[box], spacing)
    closed = np.zeros(sides.shape, np.uint8)
    for code in (RIGHT, LEFT):
        one = sides == code
        if one.any():
            one = _close(one, spacing)
            closed[one & (closed == 0) & ((sides == 0) | (sides == code))] = code
    closed[trunk[box]] = 0
    result[box] = closed
    return result


def _sides(hu, mask, parts, chosen, trunk, spacing):
    """Tell right from left, and part lungs that touch."""
    pieces = _part(mask, parts, chosen, spacing)
    ids = list(range(1, int(pieces.max()) + 1))
    x = np.arange(mask.shape[2]) * spacing[2]
    profile = {i: (pieces == i).sum((0, 1)) for i in ids}
    centre = {i: float((profile[i] * x).sum() / profile[i].sum()) for i in ids}
    volume = {i: int(profile[i].sum()) for i in ids}
    first = ids[0]
    beside = [
        i
        for i in ids[1:]
        if volume[i] > 0.1 * volume[first] and _is_beside(pieces, first, i, spacing)
    ]
    if beside:
        middle = (centre[first] + centre[beside[0]]) / 2.0
    elif trunk.any():
        middle = float((trunk.sum((0, 1)) * x).sum() / trunk.sum())
    else:
        middle = centre[first] + (1.0 if _is_right(hu, mask, spacing) else -1.0) * 60.0
    table = np.zeros(len(ids) + 1, np.uint8)
    for i in ids:
        table[i] = RIGHT if centre[i] < middle else LEFT
    return table[pieces]


def _is_beside(pieces, a, b, spacing):
    """Whether two pieces lie side by side, not above or in front of each other."""
    shift = []
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        where = np.arange(pieces.shape[axis]) * spacing[axis]
        means = [
            float((p * where).sum() / p.sum())
            for p in ((pieces == a).sum(others), (pieces == b).sum(others))
        ]
        shift.append(abs(means[0] - means[1]))
    return shift[2] > 40.0 and shift[2] > max(shift[0], shift[1])


def _part(mask, parts, chosen, spacing):
    """Return pieces 1..n, largest first; a piece that holds both lungs is cut at its neck."""
    pieces = np.zeros(mask.shape, np.int32)
    for number, i in enumerate(chosen, start=1):
        pieces[parts == i] = number
    # Both lungs apart already: the two largest lie side by side.
    if len(chosen) > 1:
        sizes = np.bincount(pieces.ravel(), minlength=3)
        if sizes[2] > 0.2 * sizes[1] and _is_beside(pieces, 1, 2, spacing):
            return pieces
    whole = pieces == 1
    depth = edt.edt(whole, anisotropy=spacing, black_border=False, parallel=1)
    for radius in NECK_MM:
        cores = cc3d.connected_components((depth > radius).view(np.uint8), connectivity=6)
        sizes = np.bincount(cores.ravel())
        sizes[0] = 0
        if sizes.size < 3:
            continue
        a, b = np.argsort(-sizes, kind="stable")[:2]
        if sizes[b] > 0.2 * sizes[a] and _is_beside(cores, a, b, spacing):
            to_a = edt.edt(cores != a, anisotropy=spacing, black_border=False, parallel=1)
            to_b = edt.edt(cores != b, anisotropy=spacing, black_border=False, parallel=1)
            pieces[whole & (to_b < to_a)] = int(pieces.max()) + 1
            break
    return pieces


def _is_right(hu, mask, spacing):
    """Whether a lone lung without trachea is the right one.

    Beside it, tissue lies towards the middle and the air around the patient away from it: each
    gives a balance of -1..1, and their sum decides.
    """
    slices = mask.any((1, 2))
    x = np.arange(hu.shape[2]) * spacing[2]
    profile = mask.sum((0, 1))
    side = np.sign(x - float((profile * x).sum() / profile.sum()))
    score = 0.0
    for sign, voxels in (
        (1, hu[slices] > -100),
        (-1, (hu[slices] < -500) & ~mask[slices]),
    ):
        weight = voxels.sum((0, 1))
        score += sign * float((weight * side).sum()) / max(1.0, float(weight.sum()))
    return score >= 0.0


def bounding_box(mask, spacing, margin_mm):
    """Return slices of the bounding box of a mask, widened by a margin."""
    box = []
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        where = np.flatnonzero(mask.any(others))
        pad = int(np.ceil(margin_mm / spacing[axis])) + 1
        box.append(slice(max(0, where[0] - pad), min(mask.shape[axis], where[-1] + pad + 1)))
    return tuple(box)


def _close(mask, spacing):
    """Close a mask by a ball, then fill its cavities and the small holes of its slices."""
    grown = edt.edt(~mask, anisotropy=spacing, black_border=False, parallel=1) <= CLOSING_MM
    closed = edt.edt(grown, anisotropy=spacing, black_border=False, parallel=1) > CLOSING_MM
    closed |= mask
    closed = fill_voids.fill(closed)
    limit = HOLE_MM2 / (spacing[1] * spacing[2])
    for plane in closed:
        if plane.any():
            holes = cc3d.connected_components((~plane).view(np.uint8), connectivity=4)
            counts = np.bincount(holes.ravel())
            edge = np.unique(np.r_[holes[0], holes[-1], holes[:, 0], holes[:, -1]])
            small = counts <= limit
            small[edge] = False
            small[0] = False
            plane |= small[holes]
    return closed
