"""The parameter record of a synthetic case (truth level T0) and its keyed random streams."""

import dataclasses
import hashlib
import json
import math

import numpy as np

# The settings of a phantom, and what each is when the configuration is silent.
DEFAULTS = {
    "seed": 20240,
    "voxel_mm": [2.0, 2.0, 2.0],
    "expiration_voxel_mm": None,
    "calcium_voxel_mm": [0.8, 0.8, 3.0],
    "gated_voxel_mm": [1.5, 1.5, 3.0],
    "field_of_view_mm": [340.0, 250.0],
    "noise_hu": 20.0,
    "noise_cutoff": 0.25,
    "kernel_sigma_mm": 0.8,
    "kernel": "B31f",
    "texture_sd_hu": 20.0,
    "texture_mm": 5.0,
    "vessel_terminals": 1800,
}

# What a row of the truth sheet must hold, with the range that the anatomy can be built in.
TARGETS = {
    "LUNGVOL_L": ("lung_volume_l", 1.5, 9.0),
    "EMPH_PCT": ("emphysema_pct", 0.0, 60.0),
    "FSAD_PCT": ("fsad_pct", 0.0, 70.0),
    "EXPRATIO": ("expiration_ratio", 0.40, 0.95),
    "LUNG_HU": ("lung_hu", -930.0, -750.0),
}

# What it may hold: a quantity that is absent is what the anatomy of the patient happens to be.
QUANTITIES = {
    "PI10": ("pi10_mm", 2.0, 6.5),
    "WA": ("wa_pct", 30.0, 90.0),
    "BV5": ("bv5_pct", 5.0, 80.0),
    "FRACDIM": ("fractal_dimension", 0.8, 2.0),
    "CACS": ("agatston", 0.0, 8000.0),
    "LVM": ("lvm_g", 50.0, 350.0),
    "EF": ("ef_pct", 15.0, 85.0),
    "SV": ("sv_ml", 20.0, 160.0),
}

_TUPLES = (
    "voxel_mm",
    "expiration_voxel_mm",
    "calcium_voxel_mm",
    "gated_voxel_mm",
    "field_of_view_mm",
)


@dataclasses.dataclass(frozen=True)
class Record:
    """All that decides the images of one patient at one visit; plain numbers and text.

    Lengths named ``_mm`` are in the patient; the anatomy itself is drawn in reference coordinates
    (a lung of about 5.5 L), which `scale_xy` and `scale_z` carry to the patient.
    `quantities` holds what the truth sheet asks of airways, vessels and heart, by the names of
    `QUANTITIES`; `airways`, `vessels` and `heart` the parameters that meet it.
    `breath` is the field between full inspiration, at which the anatomy is drawn, and expiration;
    `inflation`, None at full inspiration, the one between it and a shallower inspiration, with
    `inflation_ratio` of the volume.
    `protocol` to `contrast` are the scanner's part beside voxel, point spread and noise: HU drift
    of air and of blood, tube voltage, slice thickness if it is not the voxel's height.
    `emphysema_spheres` and `trapped_spheres` are lengths of prefixes of the patient's lesion lists,
    None until `render.render` has found those that meet the targets.
    """

    usubjid: str
    avisit: str
    seed: int
    lung_volume_l: float
    emphysema_pct: float
    fsad_pct: float
    expiration_ratio: float
    lung_hu: float
    voxel_mm: tuple
    field_of_view_mm: tuple
    noise_hu: float
    noise_cutoff: float
    kernel_sigma_mm: float
    kernel: str
    texture_sd_hu: float
    texture_mm: float
    vessel_terminals: int
    body: dict
    quantities: dict = dataclasses.field(default_factory=dict)
    airways: dict = None
    vessels: dict = None
    heart: dict = None
    expiration_voxel_mm: tuple = None
    calcium_voxel_mm: tuple = (0.8, 0.8, 3.0)
    gated_voxel_mm: tuple = (1.5, 1.5, 3.0)
    protocol: str = ""
    slice_mm: float = None
    air_offset_hu: float = 0.0
    blood_offset_hu: float = 0.0
    kv: float = 120.0
    contrast: bool = False
    scale_xy: float = 1.0
    scale_z: float = 1.0
    breath: dict = None
    inflation: dict = None
    inflation_ratio: float = 1.0
    emphysema_spheres: int = None
    trapped_spheres: int = None

    @property
    def scale(self):
        """Millimetres in the patient of one reference millimetre along x, y, z."""
        return np.array([self.scale_xy, self.scale_xy, self.scale_z])

    def voxel_of(self, phase):
        """Voxel along x, y, z of the scan of a phase, ``insp`` or ``exp``."""
        return (self.expiration_voxel_mm if phase == "exp" else None) or self.voxel_mm


def stream(seed, usubjid, structure, *more):
    """Random generator of one structure of one patient.

    Keyed by name, not by order of use: a structure added later changes none of the others, and
    without a visit in the key a structure is the same at every visit.
    """
    words = "|".join(str(part) for part in (usubjid, structure, *more)).encode()
    digest = np.frombuffer(hashlib.sha256(words).digest(), dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence([int(seed), *digest.tolist()]))


def settings(section):
    """Return the configuration section with defaults filled in; an unknown key is a ValueError."""
    unknown = sorted(set(section) - set(DEFAULTS))
    if unknown:
        raise ValueError(
            f"phantom: unknown settings {', '.join(unknown)}; known: {', '.join(DEFAULTS)}"
        )
    return {**DEFAULTS, **section}


def draw(row, section):
    """Identity, targets and body shape of a case; sizes and breathing are solved by `solve`.

    Parameters
    ----------
    row : dict
        One row of the truth sheet: USUBJID AVISIT LUNGVOL_L EMPH_PCT FSAD_PCT EXPRATIO LUNG_HU.
    section : dict
        The ``phantom`` section of the configuration, see `DEFAULTS`.

    Returns
    -------
    Record
        Without scale, breathing and lesion counts.
    """
    usubjid, avisit = str(row["USUBJID"]), str(row["AVISIT"])
    whom = f"{usubjid} {avisit}"
    targets = {name: _number(row, whom, column, *ends) for column, (name, *ends) in TARGETS.items()}
    quantities = {
        name: _number(row, whom, column, *ends)
        for column, (name, *ends) in QUANTITIES.items()
        if not _absent(row.get(column))
    }
    options = settings(section)
    rng = stream(options["seed"], usubjid, "body")
    body = {
        "fat_mm": float(rng.uniform(6.0, 15.0)),
        "lung_width": float(rng.uniform(0.96, 1.04)),
        "lung_depth": float(rng.uniform(0.96, 1.04)),
        "dome_mm": float(rng.uniform(52.0, 64.0)),
        "heart": float(rng.uniform(0.94, 1.08)),
        "heart_turn": float(rng.uniform(-0.1, 0.1)),
        # Share of emphysema that is paraseptal, of the volume of all lesions.
        "paraseptal": float(rng.beta(1.2, 4.0)),
    }
    return Record(
        usubjid=usubjid,
        avisit=avisit,
        seed=int(options["seed"]),
        body=body,
        **targets,
        quantities=quantities,
        **{name: _triple(options[name]) for name in _TUPLES},
        noise_hu=float(options["noise_hu"]),
        noise_cutoff=float(options["noise_cutoff"]),
        kernel_sigma_mm=float(options["kernel_sigma_mm"]),
        kernel=str(options["kernel"]),
        texture_sd_hu=float(options["texture_sd_hu"]),
        texture_mm=float(options["texture_mm"]),
        vessel_terminals=int(options["vessel_terminals"]),
    )


def _triple(numbers):
    return None if numbers is None else tuple(float(mm) for mm in numbers)


def _absent(cell):
    return cell is None or cell == "" or cell != cell


def _number(row, whom, column, low, high):
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not low <= value <= high:
        raise ValueError(
            f"{whom}: {column} of the phantom's truth sheet is "
            f"{row.get(column)!r}, expected a number from {low:g} to {high:g}"
        )
    return value


def to_json(record):
    """Record as JSON text with sorted keys."""
    return json.dumps(dataclasses.asdict(record), indent=1, sort_keys=True)


def from_json(text):
    """Record from the text of `to_json`."""
    fields = json.loads(text)
    for name in _TUPLES:
        fields[name] = _triple(fields[name])
    return Record(**fields)
