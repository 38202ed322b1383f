"""Airway walls and lumens: Pi10, WA%, WA/LA and lumen diameter from CT and a label of the lumen."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from lungitude import images
from lungitude.biomarkers import airway_calibration, graphs, sections
from lungitude.biomarkers.airway_names import LOBES
from lungitude.biomarkers.airway_tree import tree

USED_GENERATION = 3  # segmental bronchi and beyond
USED_PERIMETER_MM = (7.5, 25.0)  # of the lumen; as the Chest Imaging Platform fits Pi10
CENTRAL = 0.6  # share of a branch, away from its forks, that is measured
SLAB_MM = 4.0  # of a branch in one fit
SLABS = 8  # a branch at most
MIN_LENGTH_MM = 3.0  # between the forks' own radii; shorter branches aren't measured
AROUND_MM = 5.0  # sampled outside the label
MIN_RAYS = 0.4
MAX_OUTSIDE_HU = -500.0  # the lung outside the wall; above it the wall isn't seen
MAX_RESIDUAL_HU = 120.0
STRANGE = 2.5  # residuals larger than this times the scan's median
STRANGE_HU = 60.0  # and than this, which a slip of the point spread gives without any noise
MAX_WALL_MM = 4.0
CALIBRATION_RAYS = 0.6
CALIBRATION_SECTIONS = 40  # with lung around, and as many without
EDGE_RADIUS_MM = (2.5, 10.0)  # of bronchi in soft tissue whose edge tells the point spread
EDGE_OUTSIDE_HU = -200.0
OUTLIER_MAD = 3.0
PI10_OUTLIER_MAD = 4.0
PI10_SPREAD_MM = 0.02  # of the square root of wall area about the line, at least
MIN_BRANCHES = 3
FEW_BRANCHES = 10
VALID_VOXEL_MM = 1.3  # the coarsest that the measured errors cover
LUMEN_DEPTH_MM = 3.0
LUMEN_LIMITS_HU = (-1050.0, -900.0)
LUMEN_HU = -1000.0

SCAN_COLUMNS = ["lumen_hu", "wall_hu", "psf_mm", "psf_source", "spacing_mm"]
BRANCH_COLUMNS = [
    "branch",
    "name",
    "segment",
    "lobe",
    "generation",
    "parent",
    "piece",
    "length_mm",
    "lumen_diameter_mm",
    "wall_mm",
    "inner_area_mm2",
    "outer_area_mm2",
    "wa_pct",
    "wa_la",
    "perimeter_mm",
    "n_sections",
    "rejected_pct",
    "outside_hu",
    "residual_hu",
    "fwhm_lumen_diameter_mm",
    "fwhm_wall_mm",
    "x_mm",
    "y_mm",
    "z_mm",
    "tangent_x",
    "tangent_y",
    "tangent_z",
    *SCAN_COLUMNS,
    "used",
]
COLUMNS = [
    "region",
    "pi10_mm",
    "wa_pct",
    "wa_la",
    "lumen_diameter_mm",
    "n_branches",
    "n_sections",
    "pi10_se_mm",
    "pi10_slope",
    "pi10_intercept_mm",
    "pi10_r2",
    "pi10_residual_mm",
    "pi10_n",
    "perimeter_min_mm",
    "perimeter_max_mm",
    *SCAN_COLUMNS,
    "flag",
]


def airways(ct, lumen_label, psf_mm=None, lobes=None, wall_hu=None):
    """Measure walls and lumens of the airways.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU, unsmoothed.
    lumen_label : SimpleITK.Image
        Airway lumen on the same grid (nonzero, or 1 where a wall is labelled 2). It only says
        where airways run: dilation by a voxel doesn't change the measures.
    psf_mm : float, optional
        SD of the scanner's point spread without the voxel, mm. Default: estimated from the image.
    lobes : SimpleITK.Image, optional
        1 RUL 2 RML 3 RLL 4 LUL 5 LLL 6 lingula: a row follows for each.
    wall_hu : float, optional
        HU of the wall. Default: estimated with the point spread; 30 where that is given. For
        visits of one patient on one scanner, the baseline's values of both may be given to the
        later ones.

    Returns
    -------
    DataFrame
        First row ``all``. Columns: region; pi10_mm, the square root of the wall area at an inner
        perimeter of 10 mm; wa_pct, 100 x wall / outer area; wa_la, wall / lumen area;
        lumen_diameter_mm; n_branches and n_sections behind them; pi10_se_mm pi10_slope
        pi10_intercept_mm pi10_r2 pi10_residual_mm pi10_n, perimeter_min_mm perimeter_max_mm: the
        line's diagnostics; lumen_hu wall_hu psf_mm psf_source (given, estimated, default)
        spacing_mm: what was used; flag, empty if nothing is odd. NaN and a flag without airways.

    Raises
    ------
    ValueError
        Another grid, labels that can't be a lumen, HU that are not finite, absurd psf_mm.

    Notes
    -----
    All four are over the same branches: generation 3 and beyond, inner perimeter 7.5 to 25 mm (see
    `used` for labels without a trachea, and for pieces apart from it). For Pi10 [1]_ the square
    root of wall area is regressed on inner perimeter (least squares, a branch a point; from 10
    points on without those beyond 4 robust SD of Theil's line); the others are plain means over
    branches. With fewer than 3 branches Pi10 is NaN. How a branch is measured: see
    `airway_branches`.

    References
    ----------
    .. [1] Grydeland et al. 2009, Am J Respir Crit Care Med 180:1-6; Schroeder et al. 2013, AJR
       201:W460-W470.
    """
    branches = airway_branches(ct, lumen_label, psf_mm, lobes, wall_hu)
    return airways_from_branches(branches, by_lobe=lobes is not None)


def airway_branches(ct, lumen_label, psf_mm=None, lobes=None, wall_hu=None):
    """Measure each branch of the airway tree.

    Parameters
    ----------
    ct, lumen_label, psf_mm, lobes, wall_hu
        As `airways`.

    Returns
    -------
    DataFrame
        A row a branch, parents first: branch, name, segment, lobe (name or empty), generation (0
        trachea; NaN in a piece apart from it), parent (branch, -1), piece (0 that with the
        trachea), length_mm, lumen_diameter_mm, wall_mm, inner_area_mm2,
        outer_area_mm2, wa_pct, wa_la, perimeter_mm (inner), n_sections, rejected_pct (of
        sections), outside_hu, residual_hu (robust SD about the model), fwhm_lumen_diameter_mm and
        fwhm_wall_mm for comparison, x_mm y_mm z_mm (middle, LPS), tangent_x tangent_y tangent_z
        (away from the trachea), lumen_hu wall_hu psf_mm psf_source spacing_mm, used (whether
        `airways` counts it). NaN where a branch can't be measured. ``attrs["flag"]`` holds what
        is odd about the tree.

    Notes
    -----
    The central 60 % of a branch is cut into slabs of 4 mm. In each, lumen and wall are sampled
    along 36 rays (cubic convolution) for the centre, full widths at half maximum, and sectors with
    a vessel. Then a blurred tube is fitted to the voxels of the slab as they are: axis (place and
    tilt), inner radius with ellipse, wall and outside HU; lumen and wall HU and the blur are held
    fixed. The blur at a voxel is sqrt(psf^2 + voxel^2 / 12) in the radial direction there. Branch
    values are means over slabs without outliers (3 robust SD).
    """
    if psf_mm is not None and not 0.05 <= psf_mm <= 3.0:
        raise ValueError(f"psf_mm {psf_mm!r} is absurd: an SD in mm, 0.05 to 3, is needed")
    images.check_grid(ct, lumen_label, "lumen label")
    found = tree(lumen_label, lobes)
    if not found.airways:
        return _empty(found)
    box = graphs.bounding_box(found.radius > 0, pad=_pad(found))
    volume = images.array(images.canonical(ct))[box]
    if volume.dtype.kind == "f" and not np.isfinite(volume).all():
        raise ValueError(f"{int((~np.isfinite(volume)).sum())} voxels near the airways hold no HU")
    volume = np.ascontiguousarray(volume)
    spacing = np.array(images.spacing_zyx(found.image))
    offset = np.array([s.start for s in box]) * spacing
    lumen_hu = _lumen_hu(volume, found.radius[box])
    slabs = [
        s for i in range(len(found.airways)) for s in _slabs(found, i, volume, spacing, offset)
    ]
    floor = airway_calibration.residual_floor_hu(volume, lumen_hu)
    psf, wall, source = _calibrated(slabs, volume, spacing, lumen_hu, floor, psf_mm, wall_hu)
    scan = {
        "lumen_hu": lumen_hu,
        "wall_hu": wall,
        "psf_mm": psf,
        "psf_source": source,
        "spacing_mm": " x ".join(f"{v:.4g}" for v in ct.GetSpacing()),
    }
    for s in slabs:
        fit = _fit(s, volume, spacing, psf, lumen_hu, wall, floor)
        s["fit"] = fit if fit is not None and _seen(fit) else None
    _drop_strange(slabs)
    rows = []
    for i, airway in enumerate(found.airways):
        row = {"branch": i, "name": airway.name, "segment": airway.segment}
        row["lobe"] = LOBES.get(airway.lobe, "")
        row["generation"] = airway.generation if airway.known else np.nan
        row |= {"parent": airway.parent, "piece": airway.piece, "length_mm": airway.length_mm}
        row |= _mean([s for s in slabs if s["branch"] == i]) | _place(found, airway) | scan
        rows.append(row)
    table = pd.DataFrame(rows)
    table["used"] = used(table)
    table = table[BRANCH_COLUMNS]
    table.attrs["flag"] = found.flag
    return table


def used(branches, whole=None):
    """Return which branches `airways` counts.

    Parameters
    ----------
    branches : DataFrame
        Rows of `airway_branches`.
    whole : DataFrame, optional
        The table that they come from, if they are only a part of it.

    Returns
    -------
    Series of bool
        With a trachea: generation 3 and beyond, or unknown, and a perimeter of 7.5 to 25 mm.
        Without one: that perimeter. Where nothing in the label forks, so that there is no tree to
        select from: all that are measured.
    """
    whole = branches if whole is None else whole
    if whole["generation"].isna().all() and (whole["parent"] < 0).all():
        return branches["perimeter_mm"].notna()
    low, high = USED_PERIMETER_MM
    generation = branches["generation"]
    far = generation.isna() | (generation >= USED_GENERATION)
    return branches["perimeter_mm"].between(low, high) & far


def airways_from_branches(branches, by_lobe=False):
    """Summarise a table of branches as `airways` does, over the branches marked as used.

    Parameters
    ----------
    branches : DataFrame
        Of `airway_branches`, or of one visit from `match_branches`.
    by_lobe : bool
        Add a row a lobe.

    Returns
    -------
    DataFrame
        As `airways`.
    """
    rows = [_row("all", branches, branches.attrs.get("flag", ""))]
    if by_lobe:
        rows += [_row(n, branches[branches["lobe"] == n], "") for n in LOBES.values()]
    return pd.DataFrame(rows, columns=COLUMNS)


def pi10(perimeter_mm, wall_area_mm2):
    """Regress the square root of wall area on inner perimeter.

    Parameters
    ----------
    perimeter_mm, wall_area_mm2 : array-like, (n,)
        A value a branch.

    Returns
    -------
    dict
        pi10_mm, pi10_se_mm, pi10_slope, pi10_intercept_mm, pi10_r2, pi10_residual_mm (SD), pi10_n
        (points kept); NaN with fewer than 3 points or of one perimeter.
    """
    x = np.asarray(perimeter_mm, float)
    y = np.sqrt(np.asarray(wall_area_mm2, float))
    names = ("pi10_mm", "pi10_se_mm", "pi10_slope", "pi10_intercept_mm", "pi10_r2")
    row = dict.fromkeys((*names, "pi10_residual_mm"), np.nan) | {"pi10_n": x.size}
    if x.size < MIN_BRANCHES or np.ptp(x) < 1e-6:
        return row
    if x.size >= FEW_BRANCHES:  # fewer don't tell their spread
        # Outliers are judged against a line that they can't pull: Theil's.
        off = y - stats.theilslopes(y, x)[0] * x
        off = np.abs(off - np.median(off))
        kept = off <= PI10_OUTLIER_MAD * max(1.4826 * np.median(off), PI10_SPREAD_MM)
        if np.ptp(x[kept]) > 1e-6:
            x, y = x[kept], y[kept]
    slope, intercept = np.polyfit(x, y, 1)
    off = y - intercept - slope * x
    n = x.size
    sd = math.sqrt((off**2).sum() / max(n - 2, 1))
    sxx = ((x - x.mean()) ** 2).sum()
    total = ((y - y.mean()) ** 2).sum()
    values = (
        intercept + 10.0 * slope,
        sd * math.sqrt(1.0 / n + (10.0 - x.mean()) ** 2 / sxx),
        slope,
        intercept,
        1.0 - (off**2).sum() / total if total > 0 else np.nan,
        sd,
    )
    return dict(zip((*names, "pi10_residual_mm"), map(float, values), strict=True)) | {"pi10_n": n}


def _row(region, branches, flag):
    part = branches[branches["used"].astype(bool)]  # read from a file without rows it is text
    row = {"region": region, "n_branches": len(part), "n_sections": int(part["n_sections"].sum())}
    for column in ("wa_pct", "wa_la", "lumen_diameter_mm"):
        row[column] = float(part[column].mean()) if len(part) else np.nan
    row |= pi10(part["perimeter_mm"], part["outer_area_mm2"] - part["inner_area_mm2"])
    low, high = part["perimeter_mm"].min(), part["perimeter_mm"].max()
    row |= {"perimeter_min_mm": low, "perimeter_max_mm": high}
    for column in SCAN_COLUMNS:
        row[column] = branches[column].iloc[0] if len(branches) else np.nan
    row["flag"] = "; ".join(filter(None, [flag, *_flags(part, branches, low, high)]))
    return row


def _flags(part, branches, low, high):
    if not len(part):
        return ["no branch to measure"]
    flags = []
    if len(part) < FEW_BRANCHES:
        flags.append(f"only {len(part)} branch{'es'[: 2 * (len(part) > 1)]}")
    if len(part) < MIN_BRANCHES:
        flags.append("too few for Pi10")
    elif not low <= 10.0 <= high:
        flags.append("Pi10 extrapolated")
    if branches["psf_source"].iloc[0] == "default":
        flags.append("point spread not known, default used")
    if branches["wall_hu"].iloc[0] in airway_calibration.WALL_LIMITS_HU:
        flags.append("wall density at its limit")
    if max(map(float, branches["spacing_mm"].iloc[0].split(" x "))) > VALID_VOXEL_MM:
        flags.append(f"voxels above {VALID_VOXEL_MM} mm")
    return flags


def _pad(found):
    return int(np.ceil((AROUND_MM + 3.0) / min(found.image.GetSpacing())))


def _empty(found):
    table = pd.DataFrame(columns=BRANCH_COLUMNS)
    table["used"] = table["used"].astype(bool)
    table.attrs["flag"] = found.flag
    return table


def _lumen_hu(volume, radius):
    """Return the HU of air in the large airways: clear of walls, where there is enough of it."""
    deep = radius >= LUMEN_DEPTH_MM
    if deep.sum() < 50:
        return LUMEN_HU
    return float(np.clip(np.median(volume[deep]), *LUMEN_LIMITS_HU))


def _slabs(found, i, volume, spacing, offset):
    """Cut the central part of a branch into slabs, each with its frame and its rays."""
    airway = found.airways[i]
    bandwidth = max(2.0, 2.5 * spacing.max(), 0.7 * airway.radius_mm)
    points, tangents = graphs.centreline(airway.path - offset, 0.5, bandwidth)
    arc = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))
    at = np.rint(airway.path[0] / spacing).astype(int)
    first = min(float(found.radius[tuple(at)]), 0.4 * arc[-1])
    length = arc[-1] - first
    if length < MIN_LENGTH_MM:
        return []
    count = min(SLABS, max(1, round(CENTRAL * length / SLAB_MM)))
    half = min(0.5 * SLAB_MM, 0.5 * CENTRAL * length / count)
    low = first + 0.5 * (1.0 - CENTRAL) * length
    slabs = []
    for k in range(count):
        middle = low + (k + 0.5) * CENTRAL * length / count
        origin, along = (
            np.array([np.interp(middle, arc, values[:, a]) for a in range(3)])
            for values in (points, tangents)
        )
        near = airway.radius_mm
        reach = near + AROUND_MM
        here = sections.frame(origin, along)
        here, rays = sections.centred(volume, spacing, here, reach, half, near)
        edge = sections.fwhm(rays, sections.STEP_MM, near)
        slabs.append({"branch": i, "frame": here, "edge": edge, "half": half, "near": near})
    return slabs


def _fit(s, volume, spacing, psf, lumen, wall, floor):
    """Fit the tube of a slab; None where that fails or what it finds is no airway."""
    args = (volume, spacing, s["frame"], s["edge"], s["half"], psf, lumen, wall, s["near"], floor)
    found = sections.fit(*args)
    if found is None or found["rays"] < MIN_RAYS or found["residual_hu"] > MAX_RESIDUAL_HU:
        return None
    moved = np.linalg.norm(found["frame"][0] - s["frame"][0])
    near = 0.3 * s["near"] <= found["inner_radius_mm"] <= 2.0 * s["near"] + 1.0
    return found if near and moved <= 0.5 * s["near"] + 0.5 else None


def _seen(found):
    """Whether a fit shows a wall with lung outside."""
    return (
        found["outside_hu"] <= MAX_OUTSIDE_HU
        and sections.MIN_WALL_MM <= found["wall_mm"] <= MAX_WALL_MM
    )


def _drop_strange(slabs):
    """Drop fits whose residual stands out among those of the scan; in place."""
    residuals = [s["fit"]["residual_hu"] for s in slabs if s["fit"] is not None]
    if residuals:
        limit = max(STRANGE * float(np.median(residuals)), STRANGE_HU)
        for s in slabs:
            if s["fit"] is not None and s["fit"]["residual_hu"] > limit:
                s["fit"] = None


def _calibrated(slabs, volume, spacing, lumen_hu, floor, psf_mm, wall_hu):
    """Find point spread and wall density, from the widest sections that are well seen."""
    if psf_mm is not None:
        return airway_calibration.calibrate([], lumen_hu, psf_mm, wall_hu)
    wall = airway_calibration.WALL_HU if wall_hu is None else wall_hu
    data = []
    for psf in airway_calibration.STARTS_MM:
        found = _told(slabs, volume, spacing, psf, lumen_hu, wall, floor)
        data = found if len(found) > len(data) else data
        if len(data) >= airway_calibration.MIN_SECTIONS:
            break
    return airway_calibration.calibrate(data, lumen_hu, None, wall_hu, floor)


def _told(slabs, volume, spacing, psf, lumen_hu, wall, floor):
    """Return the sections that tell point spread and wall density, fitted with an assumed one."""
    walls, edges = [], []
    for s in slabs:
        found = _fit(s, volume, spacing, psf, lumen_hu, wall, floor)
        if found is None or found["rays"] < CALIBRATION_RAYS:
            continue
        found["half"] = s["half"]
        low, high = EDGE_RADIUS_MM
        if _seen(found):
            walls.append(found)
        elif found["outside_hu"] > EDGE_OUTSIDE_HU and low <= found["inner_radius_mm"] <= high:
            edges.append(found)
    data = []
    for group in (walls, edges):
        group.sort(key=lambda f: -f["inner_radius_mm"])
        for found in group[:CALIBRATION_SECTIONS]:
            reach = found["outer_radius_mm"] + 2.0 * sections.MARGIN_MM
            args = (found["frame"], reach, found["half"], psf)
            points, hu, sigma = sections.slab(volume, spacing, *args)
            part = {"points": points, "hu": hu, "voxel": sigma**2 - psf**2}
            data.append(part | {"theta": found["theta"], "open": found["open"]})
    return data


def _mean(slabs):
    """Average the sections of a branch."""
    fits = [s["fit"] for s in slabs if s["fit"] is not None]
    row = {"n_sections": len(fits)}
    row["rejected_pct"] = 100.0 * (1.0 - len(fits) / len(slabs)) if slabs else np.nan
    values = {
        name: _robust([f[name] for f in fits])
        for name in ("inner_radius_mm", "wall_mm", "outside_hu", "residual_hu")
    }
    inner, wall = values.pop("inner_radius_mm"), values["wall_mm"]
    shape = sections.shape(inner, wall)
    row |= {"lumen_diameter_mm": 2.0 * inner} | values | shape
    edges = [s["edge"] for s in slabs if s["edge"]["rays"] >= MIN_RAYS]
    row["fwhm_lumen_diameter_mm"] = 2.0 * _robust([e["clear_inner_radius_mm"] for e in edges])
    row["fwhm_wall_mm"] = _robust([e["clear_wall_mm"] for e in edges])
    return row


def _robust(values):
    values = np.asarray(values, float)
    if not values.size:
        return np.nan
    off = np.abs(values - np.median(values))
    return float(values[off <= OUTLIER_MAD * max(1.4826 * np.median(off), 1e-6)].mean())


def _place(found, airway):
    points, tangents = graphs.centreline(airway.path, 0.5)
    middle = len(points) // 2
    row = dict(zip(("x_mm", "y_mm", "z_mm"), found.physical(points[middle])[0], strict=True))
    along = found.physical_directions(tangents[middle])[0]
    return row | dict(zip(("tangent_x", "tangent_y", "tangent_z"), along, strict=True))
