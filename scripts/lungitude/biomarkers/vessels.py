"""Pulmonary vessels: volume by calibre, radius law, fractal dimension."""

import numpy as np
import pandas as pd

from lungitude import images
from lungitude.biomarkers import fractal, graphs, regions, vessel_samples

BV5_MM2 = 5.0  # area of a cross-section, not a diameter: 5 mm^2 is 2.52 mm across
BV10_MM2 = 10.0
RADII_MM = tuple(np.geomspace(0.8, 4.0, 9))  # edges of the bins of the radius law
KINDS = {"artery": 1, "vein": 2}
LAW = ["alpha", "beta", "law_r2", "alpha_semilog", "beta_semilog", "law_low_mm", "law_high_mm"]
COLUMNS = [
    "region",
    "tbv_ml",
    "bv5_ml",
    "bv5_pct",
    "bv10_ml",
    "fractal_dimension",
    "alpha",
    "beta",
    "fd_r2",
    "fd_low_mm",
    "fd_high_mm",
    *LAW[2:],
    "length_m",
    "n_branches",
    "blood_hu",
    "background_hu",
    "spacing_mm",
    "psf_mm",
    "method",
    "flag",
]
COARSE_MM = 1.3
_MARGIN_MM = 6.0


def vessels(vessel_label, lungs, ct=None, scheme="mask", psf_mm=None):
    """Measure the vessels inside the lungs.

    Parameters
    ----------
    vessel_label : SimpleITK.Image
        Label map: 1 artery, 2 vein; any nonzero is vessel where they aren't told apart.
    lungs : SimpleITK.Image
        Label map of the lungs, vessels included; a vessel counts where its centreline is inside.
    ct : SimpleITK.Image, optional
        HU. With it, cross-sections are integrals of what the voxels hold; without it, they are
        voxels of the label, and vessels thinner than 3 voxels come out as thick as the label is.
    scheme : {"mask", "lungs", "lobes", "thirds"}
        Which regions of `lungs` have rows.
    psf_mm : float, optional
        SD of the scan's point spread, which sets how far around the label is looked; 0.6 mm holds
        for kernels of 0.4 to 0.9.

    Returns
    -------
    DataFrame
        Row ``all``, a row a region, and ``artery`` and ``vein`` where both labels are there.
        tbv_ml, volume of all vessels; bv5_ml and bv10_ml, of those with a cross-section below 5
        and 10 mm^2; bv5_pct of tbv_ml; fractal_dimension of the centrelines with fd_r2 and the
        range of boxes (`fractal.fractal_dimension`); alpha, beta and their company (`radius_law`);
        length_m of centreline; n_branches; blood_hu and background_hu, what the cross-sections
        were taken between (background: mean along the vessels); spacing_mm (z, y, x of the
        canonical axes); psf_mm; method, ``integral`` or ``label``; flag. NaN for a region without
        vessels.

    Raises
    ------
    ValueError
        Another grid, labels that are not whole or not of the scheme, HU that are not finite.

    Notes
    -----
    Small-vessel volume after [1]_, by direct sums over the centreline in place of the density
    estimate of that work, which smears volume across the threshold. Cross-sections as in
    `vessel_samples.measure`. Flags: ``no_vessel``; ``blood_assumed``, no vessel is thick enough
    to tell, 45 HU taken; ``background_assumed``, no lung beside a vessel, -870 HU taken;
    ``coarse``, voxels above 1.3 mm; ``vessels_outside_lungs``, most of the label's centreline near
    the lungs lies outside of them: fill vessels into the lung mask first.

    References
    ----------
    .. [1] Estepar et al. 2013, Am J Respir Crit Care Med 188:231-239.
    """
    found = _find(vessel_label, lungs, ct, scheme, psf_mm)
    in_lungs = found.region > 0
    rows = [_row("all", found, in_lungs)]
    rows += [_row(name, found, found.region == code) for name, code in found.codes.items()]
    if found.told_apart:
        kind = found.samples.kind[found.samples.branch] if found.samples else found.region
        rows += [_row(name, found, in_lungs & (kind == code)) for name, code in KINDS.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def vessel_segments(vessel_label, lungs, ct=None, psf_mm=None):
    """Measure each branch between two forks.

    Parameters
    ----------
    vessel_label, lungs, ct, psf_mm
        As `vessels`.

    Returns
    -------
    DataFrame
        A row a branch whose middle is in the lungs: kind (label), region (label of `lungs` there),
        radius_mm and csa_mm2 (means clear of the forks), length_mm, volume_ml, background_hu,
        x_mm y_mm z_mm (its middle, LPS), node_a and node_b (equal numbers meet).
    """
    found = _find(vessel_label, lungs, ct, "mask", psf_mm)
    columns = ["kind", "region", "radius_mm", "csa_mm2", "length_mm", "volume_ml"]
    columns += ["background_hu", "x_mm", "y_mm", "z_mm", "node_a", "node_b"]
    if found.samples is None:
        return pd.DataFrame(columns=columns)
    s = found.samples
    begin = np.searchsorted(s.branch, np.arange(len(s.kind) + 1))
    middle = (begin[:-1] + begin[1:]) // 2
    length = np.bincount(s.branch, s.length_mm)
    table = pd.DataFrame(
        {
            "kind": s.kind,
            "region": found.region[middle],
            "radius_mm": np.sqrt(s.branch_csa_mm2 / np.pi),
            "csa_mm2": s.branch_csa_mm2,
            "length_mm": length,
            "volume_ml": np.bincount(s.branch, s.volume_mm3) / 1000.0,
            "background_hu": s.background_hu,
            "node_a": s.ends[:, 0],
            "node_b": s.ends[:, 1],
        }
    )
    table[["x_mm", "y_mm", "z_mm"]] = found.points(s.place[middle])
    return table.loc[table["region"] > 0, columns].reset_index(drop=True)


def radius_law(radius_mm, length_mm):
    """Slope and intercept of the distribution of vessel radii.

    Parameters
    ----------
    radius_mm, length_mm : ndarray, (n,)
        Radii, and the centreline that each stands for.

    Returns
    -------
    dict
        alpha and beta: slope, and value at 1 mm, of log10(length per mm of radius) against
        log10(radius), by least squares over bins of equal ratio between 0.8 and 4 mm that hold a
        vessel; law_r2; law_low_mm and law_high_mm, the range of the bins; alpha_semilog and
        beta_semilog, slope and intercept (at 0 mm) against the radius itself. NaN for fewer than 3
        bins.

    Notes
    -----
    After [1]_ (a steeper slope: fewer large or more small vessels; a lower intercept: a pruned
    tree), whose axes the abstract leaves open: log-log by default, and by length in place of
    voxels, as lengths don't depend on the voxel.

    References
    ----------
    .. [1] Zhai et al. 2019, J Thorac Imaging, doi:10.1097/RTI.0000000000000395.
    """
    edges = np.array(RADII_MM)
    total = np.histogram(radius_mm, edges, weights=length_mm)[0]
    held = total > 0
    if np.count_nonzero(held) < 3:
        return dict.fromkeys(LAW, np.nan)
    middle = np.sqrt(edges[:-1] * edges[1:])[held]
    y = np.log10(total[held] / np.diff(edges)[held])
    slope, level = np.polyfit(np.log10(middle), y, 1)
    rest = ((y - level - slope * np.log10(middle)) ** 2).sum()
    slope_semi, level_semi = np.polyfit(middle, y, 1)
    first, last = np.flatnonzero(held)[[0, -1]]
    values = [slope, level, 1.0 - rest / max(((y - y.mean()) ** 2).sum(), 1e-12)]
    values += [slope_semi, level_semi, edges[first], edges[last + 1]]
    return dict(zip(LAW, map(float, values), strict=True))


class _Found:
    """Samples of a scan, the region each point lies in, and how to get back to the patient."""

    def __init__(self, axes, box, samples, labels, codes, told_apart, method, psf_mm):
        self.psf_mm = psf_mm
        self.axes, self.box, self.samples = axes, box, samples
        self.codes, self.told_apart, self.method = codes, told_apart, method
        self.spacing = np.asarray(images.spacing_zyx(axes))
        if samples is None:
            self.region = np.zeros(0, np.intp)
            return
        index = np.rint(samples.place / self.spacing).astype(np.intp)
        index = np.clip(index, 0, np.array(labels.shape) - 1)
        self.region = labels[tuple(index.T)].astype(np.intp)

    def points(self, place):
        """Return LPS mm of array mm."""
        index = place / self.spacing + [part.start for part in self.box]
        direction = np.reshape(self.axes.GetDirection(), (3, 3))
        steps = index[:, ::-1] * np.asarray(self.axes.GetSpacing())
        return np.asarray(self.axes.GetOrigin()) + steps @ direction.T


def _find(vessel_label, lungs, ct, scheme, psf_mm=None):
    psf_mm = vessel_samples.PSF_MM if psf_mm is None else float(psf_mm)
    if not 0.0 <= psf_mm <= 5.0:
        raise ValueError(f"a point spread of {psf_mm:g} mm is absurd; expected 0 to 5")
    lungs, codes = regions.labelled(lungs, scheme)
    regions.codes(vessel_label, "mask")
    images.check_grid(lungs, vessel_label, "vessel label map")
    if ct is not None:
        images.check_grid(lungs, ct, "image")
    axes = images.canonical(lungs)
    labels, tubes = images.array(axes), images.array(images.canonical(vessel_label))
    hu = None if ct is None else images.array(images.canonical(ct))
    spacing = images.spacing_zyx(axes)
    pad = int(np.ceil(_MARGIN_MM / min(spacing)))
    box = graphs.bounding_box(labels, pad)
    method = "label" if ct is None else "integral"
    if box is None:
        return _Found(axes, box, None, labels, codes, False, method, psf_mm)
    labels, tubes = labels[box], tubes[box]
    # A label that is neither is one kind: binary masks come with any value.
    told_apart = set(np.unique(tubes[tubes > 0]).tolist()) == set(KINDS.values())
    if not told_apart:
        tubes = tubes > 0
    if hu is not None:
        hu = hu[box].astype(np.float32, copy=False)
        bad = int(np.count_nonzero(~np.isfinite(hu[labels > 0])))
        if bad:
            raise ValueError(f"{bad} voxels of the lungs hold no finite HU")
        hu = np.nan_to_num(hu, nan=-1000.0, posinf=-1000.0, neginf=-1000.0)
    samples = vessel_samples.measure(tubes.astype(np.uint8), labels > 0, hu, spacing, psf_mm)
    return _Found(axes, box, samples, labels, codes, told_apart, method, psf_mm)


def _row(name, found, use):
    row = dict.fromkeys(COLUMNS, np.nan)
    row |= {"region": name, "n_branches": 0, "method": found.method, "flag": "no_vessel"}
    row["psf_mm"] = found.psf_mm if found.method == "integral" else np.nan
    row["spacing_mm"] = " ".join(f"{v:.4g}" for v in found.spacing)
    if not use.any():
        return row
    s = found.samples
    area, length = s.csa_mm2[use], s.length_mm[use]
    volume = s.volume_mm3[use] / 1000.0
    row["tbv_ml"] = float(volume.sum())
    row["bv5_ml"] = float(volume[area < BV5_MM2].sum())
    row["bv10_ml"] = float(volume[area < BV10_MM2].sum())
    row["bv5_pct"] = 100.0 * row["bv5_ml"] / row["tbv_ml"] if row["tbv_ml"] > 0 else np.nan
    row |= radius_law(np.sqrt(area / np.pi), length)
    row["length_m"] = float(length.sum()) / 1000.0
    row["n_branches"] = len(np.unique(s.branch[use]))
    row["blood_hu"] = s.blood_hu
    if found.method == "integral":
        row["background_hu"] = float(np.average(s.background_hu[s.branch[use]], weights=length))
    box = fractal.fractal_dimension(s.points(use))
    row |= {k: box[k] for k in ("fractal_dimension", "fd_r2", "fd_low_mm", "fd_high_mm")}
    flags = {
        **dict.fromkeys(s.flags, True),
        "coarse": max(found.spacing) > COARSE_MM,
        "vessels_outside_lungs": name == "all" and length.sum() < 0.5 * s.length_mm.sum(),
    }
    row["flag"] = ";".join(name for name, raised in flags.items() if raised)
    return row
