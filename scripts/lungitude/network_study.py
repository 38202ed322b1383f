"""The files of the network's study on unseen patients, and how its biomarkers are called.

Plain names alone, so that analyses and displays share them without the libraries of networks. The
study writes its tables in rules/evaluation.smk and rules/comparison.smk; a trial's plan that has
the analysis ``network_study`` shows them in its report.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLES = "docs/validation"
ARCHITECTURE = "docs/networks/architecture.json"
# Files below the folder of tables.
FILES = {
    "accuracy": "networks.tsv",
    "comparison": "network_comparison.tsv",
    "explained": "networks_explained.tsv",
    "picture": "networks_explained.png",
}
# The network of the study against truth; another network has its own name in this place.
NETWORK, TRUTH = "network", "truth"
INTERVAL = "95% CI"  # the tables of the study have no others
DOMAINS = ("internal", "external")
BOTH = "both"  # the patients of both domains together
REFERENCE = "multi_task"  # what the other networks of the comparison are held against


@dataclass(frozen=True)
class Quantity:
    """A biomarker: title, unit ("" without), decimals of its errors, and the organ it is of."""

    title: str
    unit: str
    decimals: int
    section: str

    @property
    def label(self):
        """Title, then unit."""
        told = not self.unit or self.title.endswith(self.unit)
        return self.title if told else f"{self.title}, {self.unit}"


PARENCHYMA, AIRWAYS, VESSELS, HEART = "Lung parenchyma", "Airways", "Pulmonary vessels", "Heart"
# Those of the publication's Table 2, in its order.
QUANTITIES = {
    "laa950_pct": Quantity("LAV %", "%", 2, PARENCHYMA),
    "perc15_hu": Quantity("Perc15", "HU", 1, PARENCHYMA),
    "mld_hu": Quantity("MLD", "HU", 1, PARENCHYMA),
    "wa_pct": Quantity("WA %", "%", 2, AIRWAYS),
    "pi10_mm": Quantity("Pi10", "mm", 3, AIRWAYS),
    "bv5_pct": Quantity("BV5 %", "%", 2, VESSELS),
    "fractal_dimension": Quantity("Fractal dimension", "", 4, VESSELS),
    "agatston": Quantity("CACS", "AU", 1, HEART),
    "lvm_g": Quantity("LVM", "g", 1, HEART),
    "ef_pct": Quantity("EF", "%", 2, HEART),
    "sv_ml": Quantity("SV", "mL", 1, HEART),
}
TASKS = ("lobes", "airways", "vessels", "ventricles and myocardium", "coronary territories")
# Structures in the order of a table: section, then scan and structure with its label.
_CHAMBERS = {
    "heart": "All parts together",
    "LV blood": "LV blood",
    "LV myocardium": "LV myocardium",
    "RV blood": "RV blood",
    "left atrium": "Left atrium",
    "right atrium": "Right atrium",
    "aorta": "Aorta",
    "pulmonary artery": "Pulmonary artery",
}
STRUCTURES = {
    "Lungs and lobes": {
        "chest: lobes": "Mean of five lobes",
        "chest: RUL": "Right upper",
        "chest: RML": "Right middle",
        "chest: RLL": "Right lower",
        "chest: LUL with lingula": "Left upper, lingula",
        "chest: LUL": "Left upper alone",
        "chest: lingula": "Lingula alone",
        "chest: LLL": "Left lower",
        "chest: lungs": "Both lungs",
        "chest: right": "Right lung",
        "chest: left": "Left lung",
    },
    "Airways": {
        "chest: airways": "Lumen and wall",
        "chest: lumen": "Lumen",
        "chest: wall": "Wall",
    },
    "Pulmonary vessels": {
        "chest: vessels": "Arteries and veins",
        "chest: artery": "Arteries",
        "chest: vein": "Veins",
    },
    "Heart at end-diastole and end-systole": {
        "gated: ventricles and myocardium": "Mean of ventricles and myocardium",
    },
    "Heart at end-diastole": {f"end-diastole: {key}": name for key, name in _CHAMBERS.items()},
    "Heart at end-systole": {f"end-systole: {key}": name for key, name in _CHAMBERS.items()},
    "Coronary territories": {
        "calcium: coronary": "All together",
        "calcium: LM+LAD": "LM and LAD",
        "calcium: LCX": "LCX",
        "calcium: RCA": "RCA",
    },
}


def label_of(quantity):
    """Return the label of a biomarker with its unit; its own name where it is none of ours."""
    known = QUANTITIES.get(quantity)
    return known.label if known else quantity


def decimals_of(quantity):
    """Return the decimals of a biomarker's errors."""
    known = QUANTITIES.get(quantity)
    return known.decimals if known else 2


def section_of(plan):
    """Return the entry of a plan with its defaults, None where it has no such analysis."""
    if "network_study" not in plan.get("analyses", {}):
        return None
    given = plan["analyses"]["network_study"] or {}
    return {"tables": TABLES, "architecture": ARCHITECTURE, **given}


def paths(section, root=ROOT):
    """Return the files of the study by name (`FILES`, and architecture), there or not.

    Parameters
    ----------
    section : dict
        ``tables``, a folder, and ``architecture``, a file: below `root`, or absolute.
    root : path
        Of the package's repository.
    """
    section = {"tables": TABLES, "architecture": ARCHITECTURE, **(section or {})}
    folder = Path(root) / section["tables"]
    found = {name: folder / file for name, file in FILES.items()}
    return found | {"architecture": Path(root) / section["architecture"]}


def inputs(section, names=("accuracy", "comparison", "explained", "architecture"), root=ROOT):
    """Return the files that are there, as texts by name: inputs of a rule."""
    known = paths(section, root)
    return {name: str(known[name]) for name in names if known[name].is_file()}
