"""What the published preprocessing does to each biomarker, on phantoms with their true labels.

The same scan is measured twice with the same labels: as delivered, and after the blur and the
window of `networks.preprocessing`. What differs is due to the preprocessing alone. Cases are those
of the validation of the imaging.
"""

import dataclasses
import math

import numpy as np
import pandas as pd

from lungitude.biomarkers.agatston import agatston
from lungitude.biomarkers.airways import airway_branches, airways_from_branches
from lungitude.biomarkers.parenchyma import parenchyma
from lungitude.biomarkers.vessels import vessels
from lungitude.networks import preprocessing
from lungitude.phantom import airways, calcium, cardiac, protocols, render
from lungitude.validation.imaging_cases import CALCIUM, row, scanned
from lungitude.validation.imaging_trees import AIRWAY_BOX_MM, CARINA_MM
from lungitude.validation.markdown import table as markdown

COLUMNS = "case quantity truth raw sigma unit preprocessed bias".split()
DENSITY = "laa950_pct laa910_pct perc15_hu perc85_hu mld_hu sd_hu pd15_g_l".split()
AIRWAYS = "wa_pct pi10_mm wa_la lumen_diameter_mm psf_mm n_branches".split()
FWHM = ("fwhm_wa_pct", "fwhm_lumen_diameter_mm")
VESSELS = "tbv_ml bv5_ml bv5_pct bv10_ml fractal_dimension".split()
CORONARIES = ("score", "volume_mm3", "integrated_mass_mg")
PROTOCOL = protocols.make("soft", 1.0, 25.0)
CALCIUM_PROTOCOL = "3 mm, noise 20"
# What the document shows: title, unit, decimals.
SHOWN = {
    "laa950_pct": ("LAA-950", "%", 2),
    "laa910_pct": ("LAA-910", "%", 2),
    "perc15_hu": ("Perc15", "HU", 1),
    "mld_hu": ("MLD", "HU", 1),
    "wa_pct": ("WA%", "points", 2),
    "pi10_mm": ("Pi10", "mm", 3),
    "wa_la": ("WA/LA", "", 3),
    "lumen_diameter_mm": ("Lumen diameter", "mm", 3),
    "fwhm_wa_pct": ("WA% by half maximum", "points", 2),
    "fwhm_lumen_diameter_mm": ("Lumen diameter by half maximum", "mm", 3),
    "tbv_ml": ("Total blood volume", "mL", 1),
    "bv5_pct": ("BV5%", "points", 2),
    "fractal_dimension": ("Fractal dimension", "", 4),
    "score": ("Agatston score", "", 1),
    "volume_mm3": ("Calcium volume", "mm3", 1),
    "integrated_mass_mg": ("Calcium mass, integrated", "mg", 2),
}


def bias_of_preprocessing(record, sigmas=preprocessing.SIGMAS, unit="voxel", protocol=PROTOCOL):
    """Measure one phantom before and after the published preprocessing, with true labels.

    Parameters
    ----------
    record : Record
        With lesion counts, see `render.count_lesions`.
    sigmas : sequence of float
        Of the Gaussian.
    unit : {"voxel", "mm"}
        Of the sigmas.
    protocol : Protocol
        Of the scan; sigmas in voxels mean its voxels.

    Returns
    -------
    DataFrame
        `COLUMNS`, a row a quantity and sigma: truth, density of the noiseless scan (closed form
        for the airways, over all branches of the rule in the box; NaN for vessels, lengths and
        counts); raw and preprocessed, as measured; bias, preprocessed less raw.

    Notes
    -----
    One box around the carina and the right lung root holds all: densities are of the lung in it,
    and no whole lung's. Airways are fitted as in a trial, which finds the point spread in the
    image and so takes part of the blur back; `FWHM` are the half-maximum measures of the same
    branches, which don't. The labels of a network that was given blurred images are another matter:
    these are the true ones.
    """
    record = scanned(record, protocol, f"preprocessing {protocol.name}")
    corner = CARINA_MM * record.scale
    grid = render.box(*(corner + end for end in AIRWAY_BOX_MM), record.voxel_mm)
    scan = render.render_box(record, "insp", grid, ("airways", "vessels"))
    labels = {name: grid.image(values) for name, values in scan.labels.items()}
    labels["lobes"] = grid.image(scan.lobes)
    delivered = grid.image(render.deliver(scan))
    raw = measured(delivered, labels)
    truth = _truth(record, corner, grid.image(scan.t1), labels)
    rows = []
    for sigma in sigmas:
        hu = preprocessing.to_hu(preprocessing.published(delivered, sigma, unit))
        found = measured(hu, labels)
        rows += [
            (record.usubjid, name, truth.get(name, math.nan), raw[name], sigma, unit, value,
             value - raw[name])
            for name, value in found.items()
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def measured(ct, labels):
    """Return the biomarkers of a scan by name, with the labels given.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU.
    labels : dict of SimpleITK.Image
        ``lobes``, ``airways`` (1 lumen, 2 wall) and ``vessels`` (1 artery, 2 vein).

    Returns
    -------
    dict of float
        `DENSITY`, `AIRWAYS`, `FWHM`, `VESSELS`.
    """
    found = {name: float(parenchyma(ct, labels["lobes"])[name][0]) for name in DENSITY}
    branches = airway_branches(ct, labels["airways"])
    row = airways_from_branches(branches).iloc[0]
    found |= {name: float(row[name]) for name in AIRWAYS}
    used = branches[branches["used"]]
    inner = used["fwhm_lumen_diameter_mm"].to_numpy(float)
    outer = inner + 2.0 * used["fwhm_wall_mm"].to_numpy(float)
    share = 100.0 * (1.0 - (inner / outer) ** 2)
    found |= {name: _mean(values) for name, values in zip(FWHM, (share, inner), strict=True)}
    row = vessels(labels["vessels"], labels["lobes"], ct).iloc[0]
    return found | {name: float(row[name]) for name in VESSELS}


def _mean(values):
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else math.nan


def _truth(record, corner, exact, labels):
    """Density of the noiseless scan, and closed forms of the airways whose middle is in the box."""
    found = {name: float(parenchyma(exact, labels["lobes"])[name][0]) for name in DENSITY}
    table = airways.branch_table(record)
    low, high = (corner + end for end in AIRWAY_BOX_MM)
    middle = table[["x_mm", "y_mm", "z_mm"]].to_numpy()
    table = table[((middle > low) & (middle < high)).all(axis=1)]
    radius = 0.5 * table["lumen_diameter_mm"].to_numpy()
    forms = airways.measures(radius, table["wall_mm"].to_numpy(), table["generation"].to_numpy())
    found |= {name: forms[name] for name in AIRWAYS if name in forms}
    found["fwhm_wa_pct"] = forms["wa_pct"]
    found["fwhm_lumen_diameter_mm"] = forms["lumen_diameter_mm"]
    return found


def bias_of_calcium(record, sigmas=preprocessing.SIGMAS, unit="voxel"):
    """Score the coronary calcium of one phantom before and after, as `bias_of_preprocessing`.

    Its scan is without contrast medium and has slices of 3 mm, so that a sigma in voxels blurs far
    more along z. Truths are those of the record.
    """
    protocol = CALCIUM[CALCIUM_PROTOCOL]
    seen = dataclasses.replace(record, avisit=f"{record.avisit}, preprocessing")  # keys noise
    scan = cardiac.calcium_scan(seen, cardiac.heart_grid(seen, protocol.voxel_mm))
    mask = scan.grid.image(cardiac.coronary_labels(record, scan.cycle, scan.grid))
    delivered = scan.grid.image(cardiac.deliver(scan, protocol.noise_hu))
    held = calcium.truth(record)
    exact = (record.quantities["agatston"], held["calcium_mm3"], held["calcium_mg"])
    raw, rows = agatston(delivered, mask).iloc[0], []
    for sigma in sigmas:
        hu = preprocessing.to_hu(preprocessing.published(delivered, sigma, unit))
        found = agatston(hu, mask).iloc[0]
        rows += [
            (record.usubjid, name, truth, raw[name], sigma, unit, found[name],
             found[name] - raw[name])
            for name, truth in zip(CORONARIES, exact, strict=True)
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def measure(case):
    """Measure one case of the validation of the imaging, a DataFrame of `COLUMNS`."""
    chest = render.count_lesions(render.prepare(row(case, "first", ("trees",)), {}))
    heart = render.prepare(row(case, "first", ("heart",)), {})
    tables = [bias_of_preprocessing(chest), bias_of_calcium(heart)]
    return pd.concat(tables, ignore_index=True)


def summarise(rows):
    """Summarise cases by quantity and sigma.

    Returns
    -------
    DataFrame
        `quantity`, `sigma`, `n`; `error`, mean of raw less truth; `bias`, mean of preprocessed less
        raw, its `sd`, `least` and `most`.
    """
    error = rows["raw"] - rows["truth"]
    by = rows.assign(error=error).groupby(["quantity", "sigma"], sort=False)
    table = by.agg(
        n=("bias", "count"),
        error=("error", "mean"),
        bias=("bias", "mean"),
        sd=("bias", "std"),
        least=("bias", "min"),
        most=("bias", "max"),
    )
    return table.reset_index()


def document(table):
    """Return the document as Markdown, from the table of `summarise`."""
    low, high = preprocessing.LIMITS_HU
    head = ["quantity", "sigma", "n", "error as delivered", "bias", "SD", "least", "most"]
    lines = []
    for name, (title, unit, decimals) in SHOWN.items():
        for at in table[table["quantity"] == name].itertuples():
            numbers = [
                "" if math.isnan(value) else f"{value:.{decimals}f}"
                for value in (at.error, at.bias, at.sd, at.least, at.most)
            ]
            lines.append([f"{title} ({unit})" if unit else title, at.sigma, at.n, *numbers])
    cases = table["n"].max()
    voxel = " x ".join(f"{mm:g}" for mm in CALCIUM[CALCIUM_PROTOCOL].voxel_mm)
    return f"""# What the published preprocessing does to the biomarkers

Made by `make validate-imaging`; not to be edited. All figures stand in `preprocessing.tsv`.

The publication blurs every scan by a Gaussian (sigma 1 to 1.5, read as voxels), cuts HU to
{low:g} to {high:g} and hands that to its networks. Here the same scans of {cases} phantoms were
measured as delivered and so preprocessed, with the same true labels: the bias is preprocessed
less as delivered, and due to the preprocessing alone. The error as delivered is against the truth:
the noiseless scan for densities, the record for the rest; its sign tells whether the blur mends or
adds. Lungitude measures scans as delivered and blurs for the network alone
(`network: blur_voxels`).

Chests: soft kernel, 1 mm, noise of 25 HU, a box about the right lung root. Calcium: voxels of
{voxel} mm, noise of 20 HU. Fractal dimension, EF, SV and LVM come from labels alone: the
preprocessing touches them by way of the labels, if at all.

{markdown(head, lines, left=1)}

- Blur takes noise away and with it the voxels that noise alone put below -950 HU, and, of small
  lesions, the lesion: LAA falls, Perc15 rises.
- Airways as fitted take the point spread from the image and give a blur of 1 voxel back but for
  little; that of 1.5 voxels is beyond what they fit. The half-maximum measures see walls too thick
  by themselves, and the blur hides that in the lumen.
- Plaques are spread until they fall below 130 HU: scores fall.
"""
