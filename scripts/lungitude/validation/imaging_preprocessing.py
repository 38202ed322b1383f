"""What the published preprocessing does to each biomarker, on phantoms with their true labels.

The same scan is measured twice with the same labels: as delivered, and after the blur and the
window of `networks.preprocessing`. What differs is due to the preprocessing alone.

    python -m lungitude.validation.imaging_preprocessing 2 bias.tsv      (PYTHONPATH=scripts)

measures the first two cases of the validation of the imaging.
"""

import math
import sys

import numpy as np
import pandas as pd

from lungitude.biomarkers.airways import airway_branches, airways_from_branches
from lungitude.biomarkers.parenchyma import parenchyma
from lungitude.biomarkers.vessels import vessels
from lungitude.networks import preprocessing
from lungitude.phantom import airways, protocols, render
from lungitude.validation.imaging_cases import row, scanned
from lungitude.validation.imaging_trees import AIRWAY_BOX_MM, CARINA_MM

COLUMNS = "case quantity truth raw sigma unit preprocessed bias".split()
DENSITY = "laa950_pct laa910_pct perc15_hu perc85_hu mld_hu sd_hu pd15_g_l".split()
AIRWAYS = "wa_pct pi10_mm wa_la lumen_diameter_mm psf_mm n_branches".split()
FWHM = ("fwhm_wa_pct", "fwhm_lumen_diameter_mm")
VESSELS = "tbv_ml bv5_ml bv5_pct bv10_ml fractal_dimension".split()
PROTOCOL = protocols.make("soft", 1.0, 25.0)


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


def main(cases, path):
    """Measure the first cases of the validation and write the table."""
    tables = []
    for case in range(cases):
        record = render.count_lesions(render.prepare(row(case, "first", ("trees",)), {}))
        tables.append(bias_of_preprocessing(record))
        pd.concat(tables).to_csv(path, sep="\t", index=False, float_format="%.5g")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
