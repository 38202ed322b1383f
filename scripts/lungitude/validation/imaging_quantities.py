"""What is validated: each quantity with its truths, and the goals that it is held against."""

import itertools
from dataclasses import dataclass

from lungitude.validation.imaging_cases import CALCIUM, CHEST, HEART, TREES


@dataclass(frozen=True)
class Quantity:
    """One measured number.

    `title`, `unit` and `decimals` are for print; `truth` says what T0 is and `expected` what noise
    makes of T1. Changes between the visits are held against the truth `change`, if there is one.
    A quantity with `of` holds those items of another one whose T0 lies in `bins`; one with
    `agrees` False is of use for changes only.
    """

    part: str
    title: str
    unit: str
    decimals: int
    truth: str = ""
    expected: str = ""
    change: str = ""
    agrees: bool = True
    of: str = ""
    bins: tuple = ()


@dataclass(frozen=True)
class Goal:
    """A limit on a statistic of a quantity against a truth, for some protocols.

    The statistic is one of the agreement, or (`change`) of the change. It must be at least the
    limit (`least`), else its absolute value at most that. `ours`: nobody asked, it is stated here.
    """

    quantity: str
    reference: str
    statistic: str
    limit: float
    protocols: tuple
    change: bool = False
    least: bool = False
    ours: bool = False


_CELLS = "share of voxels below, whole HU: mean of Phi((threshold - 0.5 - T1) / SD)"
_MIXTURE = "percentile of the mixture of N(T1, SD) over the voxels"
_USED = "closed forms over the same branches of the record"
_EVERY = "closed forms over all branches of the rule in the box"
_UNION = "points of a lattice of 0.4 mm in the tubes; in several, once; in an airway, never"
_LINES = "centrelines of the record in the box and the lungs"
_PLAQUES = "ellipsoids of the record"

QUANTITIES = {
    "volume_ml": Quantity("chest", "Lung volume", "mL", 1, "volume asked for"),
    "volume_segmented_ml": Quantity(
        "chest", "Lung volume, lungs segmented", "mL", 1, "volume asked for"
    ),
    "mass_g": Quantity("chest", "Lung mass", "g", 2, "", "as T1", "t1"),
    "mld_hu": Quantity("chest", "MLD", "HU", 3, "", "as T1", "t1"),
    "laa950_pct": Quantity(
        "chest", "LAA-950", "%", 3, "share of the lung in emphysema's spheres", _CELLS, "t1"
    ),
    "laa910_pct": Quantity("chest", "LAA-910", "%", 3, "", _CELLS, "t1"),
    "laa856_pct": Quantity("chest", "LAA-856", "%", 3, "", _CELLS, "t1"),
    "perc15_hu": Quantity("chest", "Perc15", "HU", 2, "", _MIXTURE, "t1"),
    "perc85_hu": Quantity("chest", "Perc85", "HU", 2, "", _MIXTURE, "t1"),
    "cluster_exponent": Quantity("chest", "Cluster exponent D", "", 3),
    "calibrated_mld_hu": Quantity("chest", "MLD, calibrated", "HU", 2, "", "without drift"),
    "calibrated_perc15_hu": Quantity("chest", "Perc15, calibrated", "HU", 2, "", "without drift"),
    "calibrated_laa950_pct": Quantity("chest", "LAA-950, calibrated", "%", 3, "", "without drift"),
    "prm_normal_pct": Quantity("chest", "PRM normal", "%", 2),
    "prm_fsad_pct": Quantity("chest", "PRM fSAD", "%", 2),
    "prm_emphysema_pct": Quantity("chest", "PRM emphysema", "%", 2),
    "shallow_pd15_raw_g_l": Quantity(
        "chest", "Change of PD15 by 8 % less air", "g/L", 2, "0: the tissue is the same"
    ),
    "shallow_pd15_adjusted_g_l": Quantity(
        "chest", "The same, adjusted to the volume", "g/L", 2, "0: the tissue is the same"
    ),
    "airway_pi10_mm": Quantity("trees", "Pi10", "mm", 3, _USED),
    "airway_wa_pct": Quantity("trees", "WA%", "%", 2, _USED),
    "airway_wa_la": Quantity("trees", "WA/LA", "", 3, _USED),
    "airway_lumen_diameter_mm": Quantity("trees", "Lumen diameter", "mm", 3, _USED),
    "airway_all_pi10_mm": Quantity("trees", "Pi10 (all branches)", "mm", 3, _EVERY),
    "airway_all_wa_pct": Quantity("trees", "WA% (all branches)", "%", 2, _EVERY),
    "airway_all_wa_la": Quantity("trees", "WA/LA (all branches)", "", 3, _EVERY),
    "airway_all_lumen_diameter_mm": Quantity(
        "trees", "Lumen diameter (all branches)", "mm", 3, _EVERY
    ),
    "airway_count": Quantity("trees", "Branches that count", "", 1, "branches of the rule"),
    "airway_branch_lumen_mm": Quantity("trees", "Lumen diameter of a branch", "mm", 3, "record"),
    "airway_branch_wall_mm": Quantity("trees", "Wall of a branch", "mm", 3, "record"),
    "airway_matched_pi10_mm": Quantity(
        "trees", "Pi10, branches of both visits", "mm", 3, _USED, change="t0", agrees=False
    ),
    "airway_matched_wa_pct": Quantity(
        "trees", "WA%, branches of both visits", "%", 2, _USED, change="t0", agrees=False
    ),
    "airway_matched_wa_la": Quantity(
        "trees", "WA/LA, branches of both visits", "", 3, _USED, change="t0", agrees=False
    ),
    "airway_matched_lumen_diameter_mm": Quantity(
        "trees", "Lumen diameter, branches of both visits", "mm", 3, _USED, agrees=False
    ),
    "vessel_tbv_ml": Quantity("trees", "TBV", "mL", 2, _UNION, change="t0"),
    "vessel_bv5_ml": Quantity("trees", "BV5", "mL", 2, _UNION, change="t0"),
    "vessel_bv5_pct": Quantity("trees", "BV5%", "%", 2, _UNION, change="t0"),
    "vessel_bv10_ml": Quantity("trees", "BV10", "mL", 2, _UNION, change="t0"),
    "vessel_length_m": Quantity("trees", "Length of vessels", "m", 3, _LINES, change="t0"),
    "vessel_small_length_m": Quantity(
        "trees", "Length of vessels below 5 mm2", "m", 3, _LINES, change="t0"
    ),
    "vessel_fractal_dimension": Quantity("trees", "Fractal dimension", "", 4, _LINES, change="t0"),
    "vessel_alpha": Quantity("trees", "alpha of the law of radii", "", 3, _LINES),
    "vessel_beta": Quantity("trees", "beta of the law of radii", "", 3, _LINES),
    "vessel_radius_mm": Quantity("trees", "Vessel radius of a clear branch", "mm", 3, "record"),
    "vessel_radius_crowded_mm": Quantity(
        "trees", "Vessel radius of a crowded branch", "mm", 3, "record"
    ),
}
RADII_MM = (0.5, 0.75, 1.0, 1.25, 1.75, 2.5, 10.0)
for _low, _high in itertools.pairwise(RADII_MM):
    QUANTITIES[f"vessel_radius_{_low:g}"] = Quantity(
        "trees",
        f"Vessel radius {_low:g} to {_high:g} mm",
        "mm",
        3,
        "record",
        of="vessel_radius_mm",
        bins=(_low, _high),
    )
QUANTITIES |= {
    "edv_ml": Quantity("heart", "EDV", "mL", 2, "closed form", change="t0"),
    "esv_ml": Quantity("heart", "ESV", "mL", 2, "closed form", change="t0"),
    "sv_ml": Quantity("heart", "SV", "mL", 2, "closed form", change="t0"),
    "ef_pct": Quantity("heart", "EF", "%", 2, "closed form", change="t0"),
    "lvm_g": Quantity("heart", "LVM", "g", 2, "closed form", change="t0"),
    "rv_edv_ml": Quantity("heart", "RV EDV", "mL", 2, "integral of closed areas"),
    "rv_ef_pct": Quantity("heart", "RV EF", "%", 2, "integral of closed areas"),
    "agatston": Quantity(
        "heart", "Agatston score", "", 1, "score asked for, at 0.7 x 0.7 x 3 mm", change="t1"
    ),
    "calcium_volume_mm3": Quantity("heart", "Calcium volume", "mm3", 1, _PLAQUES),
    "calcium_mass_mg": Quantity("heart", "Calcium mass", "mg", 2, _PLAQUES),
    "calcium_integrated_mg": Quantity("heart", "Calcium mass, integrated", "mg", 2, _PLAQUES),
}

_NOISELESS = ("noiseless",)
_DELIVERED = tuple(name for name in CHEST if name not in _NOISELESS)
_SOFT = tuple(name for name in TREES if name.startswith("soft"))
_FINE = ("soft 0.7 mm",)
_CYCLES = tuple(name for name, protocol in HEART.items() if protocol.phases == 20)
_SLICES = tuple(name for name, protocol in CALCIUM.items() if protocol.voxel_mm[2] == 3.0)
GOALS = (
    *(
        Goal(quantity, reference, "largest", limit, protocols)
        for quantity, limit in (("laa950_pct", 0.1), ("perc15_hu", 1.0), ("mld_hu", 1.0))
        for reference, protocols in (("t1", _NOISELESS), ("expected", _DELIVERED))
    ),
    Goal("volume_ml", "t0", "largest_pct", 0.5, tuple(CHEST)),
    Goal("shallow_pd15_adjusted_g_l", "t0", "largest", 1.0, _NOISELESS, ours=True),
    Goal("airway_pi10_mm", "t0", "rmse", 0.1, _SOFT),
    Goal("airway_all_pi10_mm", "t0", "rmse", 0.1, _SOFT),
    Goal("airway_matched_pi10_mm", "t0", "slope", 0.8, _SOFT, change=True, least=True),
    Goal("airway_wa_pct", "t0", "rmse", 1.8, _SOFT),
    Goal("airway_wa_la", "t0", "rmse", 0.15, _SOFT, ours=True),
    Goal("airway_lumen_diameter_mm", "t0", "rmse", 0.15, _SOFT, ours=True),
    *(
        Goal(f"vessel_radius_{low:g}", "t0", statistic, 5.0, _FINE)
        for low in RADII_MM[:-1]
        if low >= 1.0
        for statistic in ("bias_pct", "rmse_pct")
    ),
    Goal("vessel_bv5_pct", "t0", "rmse", 2.5, _SOFT),
    Goal("vessel_fractal_dimension", "t0", "rmse", 0.03, _SOFT),
    Goal("vessel_small_length_m", "t0", "slope", 0.75, _FINE, change=True, least=True),
    Goal("agatston", "t1", "rmse", 12.0, _SLICES),
    Goal("ef_pct", "t0", "largest", 1.0, _CYCLES),
    Goal("sv_ml", "t0", "largest", 2.0, _CYCLES),
    Goal("lvm_g", "t0", "largest_pct", 3.0, _CYCLES),
)
