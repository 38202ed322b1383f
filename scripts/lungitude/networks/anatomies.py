"""Label maps to train on: patients of the phantom with wider bodies than a trial's, on disk.

An anatomy is one grid of one patient: noiseless HU, regions, trees (`TREES`) and the heart in some
phases of its cycle (`HEART_CODES`). Wholes are chests at 2 mm (lungs, lobes, heart), details boxes
at 1 mm (airways and vessels). What a scanner and a patient's day add is drawn anew at each step,
see `synthesis`.
"""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np

from lungitude.phantom import cardiac, render
from lungitude.phantom.record import draw, stream

from .hierarchical import CENTRAL

log = logging.getLogger(__name__)

TREES = {"lumen": 1, "wall": 2, "artery": 3, "vein": 4, "LAD": 5, "LCX": 6, "RCA": 7}
HEART_CODES = 8  # a voxel of the heart: its chamber, and `HEART_CODES` times its coronary, 0 to 3
BEATS = 6  # phases of a whole's heart, one at random in each sixth of the cycle
LAYERS = ("regions", "trees", "heart")
WHOLE_MM, DETAIL_MM = 2.0, 1.0
DETAIL_SIDE = 112
DETAILS = 3  # boxes a patient: hila and mid-lungs, upper and lower lungs
EXPIRED_SHARE = 0.25
EMPHYSEMA_PCT = (0.2, 45.0)  # log-uniform
# Patients of GOLD I to IV in the publication (Table 1), whose shares the stand-ins of grades have.
GRADES = {"I": 48, "II": 106, "III": 156, "IV": 90}

# Uniform ranges of the truth sheet, wider than what a trial of COPD would enrol.
RANGES = {
    "LUNGVOL_L": (2.2, 8.6),
    "EXPRATIO": (0.45, 0.85),
    "LUNG_HU": (-905.0, -790.0),
    "PI10": (3.0, 5.2),
    "LVM": (70.0, 290.0),
    "EF": (20.0, 78.0),
    "SV": (30.0, 125.0),
}
BODY = {
    "fat_mm": (3.0, 28.0),
    "lung_width": (0.92, 1.07),
    "lung_depth": (0.90, 1.08),
    "dome_mm": (42.0, 70.0),
    "heart": (0.86, 1.20),
    "heart_turn": (-0.25, 0.25),
}


def patient(seed, name):
    """Record of a patient, solved but for a name's own chance.

    Parameters
    ----------
    seed : int
    name : str
        Keys all random streams: another name is another patient.

    Returns
    -------
    Record, Generator
        The generator goes on with what else is to be drawn of this patient.
    """
    rng = stream(seed, name, "training anatomy")
    cells = {column: float(rng.uniform(*ends)) for column, ends in RANGES.items()}
    cells["EMPH_PCT"] = float(np.exp(rng.uniform(*np.log(EMPHYSEMA_PCT))))
    cells["FSAD_PCT"] = float(rng.uniform(1.0, max(2.0, min(30.0, 52.0 - cells["EMPH_PCT"]))))
    cells["CACS"] = 0.0 if rng.uniform() < 0.3 else float(np.exp(rng.uniform(0.0, 7.0)))
    row = {"USUBJID": name, "AVISIT": "once", **cells}
    record = draw(row, {"seed": seed, "field_of_view_mm": [370.0, 280.0]})
    body = {key: float(rng.uniform(*ends)) for key, ends in BODY.items()}
    record = dataclasses.replace(record, body={**record.body, **body})
    record = render.solve_organs(render.solve(record))
    return render.count_lesions(record, (2.5, 2.5, 2.5)), rng


def grade(record):
    """Stand-in for the GOLD grade of a patient, I to IV, to stratify by.

    A phantom breathes into no spirometer; what narrows the flow of COPD it has: emphysema and thick
    walls of the airways. Both are drawn evenly between their ends (emphysema on a log scale), so
    their places there, 0 to 1, add up to a score of known distribution (triangular, 0 to 2). It is
    cut so that grades are as frequent as in the publication.
    """
    emphysema = np.interp(np.log(record.emphysema_pct), np.log(EMPHYSEMA_PCT), (0.0, 1.0))
    score = emphysema + np.interp(record.quantities["pi10_mm"], RANGES["PI10"], (0.0, 1.0))
    share = 0.5 * score**2 if score < 1.0 else 1.0 - 0.5 * (2.0 - score) ** 2
    ends = np.cumsum(list(GRADES.values())) / sum(GRADES.values())
    return list(GRADES)[int(np.searchsorted(ends[:-1], share, side="right"))]


def layers(record, phase, grid, cycles):
    """Label maps and HU of a patient on a grid.

    Parameters
    ----------
    record : Record
        With lesion counts.
    phase : str
        ``insp`` or ``exp``; the heart is drawn at ``insp`` only, since it does not breathe.
    grid : Grid
    cycles : sequence of float
        Parts of the cardiac cycle, 0 to 1.

    Returns
    -------
    dict of ndarray, (z, y, x)
        hu int16 without noise; regions uint8 (lobes, `CENTRAL`), trees uint8 (`TREES` 1 to 4),
        heart (cycles, z, y, x) uint8 (`cardiac.LABELS` and `HEART_CODES`), a single empty one
        where no heart is drawn.
    """
    scan = render.render_box(record, phase, grid, ("airways", "vessels"))
    airways, vessels = scan.labels["airways"], scan.labels["vessels"]
    regions = scan.lobes.copy()
    regions[(airways == TREES["lumen"]) & (regions == 0)] = CENTRAL
    trees = np.where(vessels > 0, vessels + np.uint8(2), 0).astype(np.uint8)
    trees[airways > 0] = airways[airways > 0]
    hearts = [np.zeros(grid.shape, np.uint8)]
    if phase == "insp":
        hearts = [_heart(record, cycle, grid, regions, trees) for cycle in cycles]
    hu = np.clip(np.rint(scan.t1), -1024, 3000).astype(np.int16)
    return {"hu": hu, "regions": regions, "trees": trees, "heart": np.stack(hearts)}


def _heart(record, cycle, grid, regions, trees):
    heart = cardiac.labels(record, cycle, grid)
    # The chest's own aorta and the gated one differ by a fraction of a voxel: lungs stay lungs
    # beside great vessels, and give way to chambers.
    heart[(regions > 0) & (heart > 5)] = 0
    heart[(trees == TREES["lumen"]) | (trees == TREES["wall"])] = 0
    coronary = cardiac.coronary_labels(record, cycle, grid)
    free = (trees == 0) & ((regions == 0) | (heart > 0))
    return (heart + HEART_CODES * np.where(free, coronary, 0)).astype(np.uint8)


def write(folder, seed, name):
    """Write the anatomies of one patient: one whole and `DETAILS` details.

    Returns
    -------
    list of str
        Names of the anatomies, as `read` takes them; none for a patient whose draws ask for more
        disease than the lungs hold, which the log tells.
    """
    folder = Path(folder)
    try:
        record, rng = patient(seed, name)
    except ValueError as error:
        log.warning("left out: %s", error)
        return []
    phase = "exp" if rng.uniform() < EXPIRED_SHARE else "insp"
    cycles = (np.arange(BEATS) + rng.uniform(size=BEATS)) / BEATS
    found = []
    whole = render.scan_grid(record, phase, (WHOLE_MM,) * 3)
    jobs = [("whole", whole)] + [("detail", _box(rng, record, whole)) for _ in range(DETAILS)]
    for number, (kind, grid) in enumerate(jobs):
        entry = f"{kind}-{name}-{number}"
        arrays = layers(record, phase, grid, cycles[: BEATS if kind == "whole" else 1])
        for layer, values in arrays.items():
            np.save(folder / f"{entry}.{layer}.npy", values)
        known = {"phase": phase, "spacing_mm": grid.spacing_mm[0], "heart": phase == "insp"}
        known["GOLDGR"] = grade(record)
        (folder / f"{entry}.json").write_text(json.dumps(known), encoding="utf-8")
        found.append(entry)
    return found


def _box(rng, record, whole):
    """Box of `DETAIL_SIDE` voxels around a random point of the lungs or of their roots."""
    scale = record.scale
    side = rng.choice([-1.0, 1.0])
    at = np.array([side * rng.uniform(15.0, 95.0), rng.uniform(-55.0, 60.0), 0.0])
    at[2] = rng.uniform(-85.0, 95.0)
    if rng.uniform() < 0.2:  # the trachea and its fork
        at = np.array([rng.uniform(-20.0, 20.0), rng.uniform(-10.0, 20.0), rng.uniform(10.0, 110)])
    low = at * scale - 0.5 * DETAIL_MM * (DETAIL_SIDE - 1)
    return render.box(low, low + DETAIL_MM * (DETAIL_SIDE - 1), DETAIL_MM)


def names(folder, kind):
    """Return the anatomies of a kind, ``whole`` or ``detail``, below a folder; sorted."""
    found = Path(folder).rglob(f"{kind}-*.json")
    return sorted(path.relative_to(folder).as_posix()[: -len(".json")] for path in found)


def patients(folder):
    """Return the patients who have anatomies below a folder; sorted."""
    return sorted({patient_of(name) for name in names(folder, "whole")})


def patient_of(name):
    """Return the patient of an anatomy."""
    return name.rsplit("/", 1)[-1].split("-", 1)[1].rsplit("-", 1)[0]


def known(folder, name):
    """Return what is known of an anatomy."""
    return json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))


def read(folder, name):
    """Arrays of an anatomy, memory-mapped, and what is known of it."""
    folder = Path(folder)
    arrays = {
        layer: np.load(folder / f"{name}.{layer}.npy", mmap_mode="r") for layer in ("hu", *LAYERS)
    }
    return arrays, known(folder, name)
