"""A segmentation network on phantoms it never saw: overlap, trees, biomarkers, each with truth.

Truths are those of the validation of the imaging (`lungitude.validation`):

- density (LAA-950, Perc15, MLD): T1, the noiseless image in the true lungs, beside `expected`, what
  Gaussian noise of the known SD makes of it and what is read from a noisy image without any fault;
  judged by the latter;
- lung volume, airways (Pi10, WA %), vessels (BV5 %, fractal dimension), ventricle (EDV, ESV, SV,
  EF, mass): T0, closed forms of the record. Airways twice: against all branches of the rule in the
  patient, and (`used`) against those branches that were measured;
- Agatston score: T1, the score of the noiseless scan in the true regions, as it depends on the
  grid by nature;
- what the network estimates as a whole: T1, as it was trained on noiseless images; volumes of the
  heart T0 at the phase of the scan; shares of airways and vessels those of the true label maps.
  (Its volumes of lungs and airways are those of a patch, and have no truth here.)

Each biomarker is measured from the network's label maps and, from the same delivered image, from
the true ones: what both have in common is no fault of the network.
"""

import dataclasses
import functools
import logging
import math

import numpy as np
import pandas as pd

from lungitude.biomarkers.agatston import agatston
from lungitude.biomarkers.airways import airway_branches, airways_from_branches
from lungitude.biomarkers.parenchyma import parenchyma
from lungitude.biomarkers.ventricle import ventricle
from lungitude.biomarkers.vessels import vessels as measure_vessels
from lungitude.phantom import airways, anatomy, cardiac, protocols, render, truth, vessels
from lungitude.phantom import heart as hearts
from lungitude.validation.imaging_trees import true_branches

from . import scores
from .evaluation_summary import summary
from .unseen import SEED, case, cases

__all__ = ["case", "cases", "measure", "summary"]

log = logging.getLogger(__name__)

COLUMNS = (
    "case domain grade protocol weights kind scan structure item quantity source measured t1 t0 "
    "expected note"
).split()
NUMBERS = ["measured", "t1", "t0", "expected"]
PARTS = ("lungs", "lobes", "airways", "vessels")
DENSITY = ("laa950_pct", "perc15_hu", "mld_hu")
OVERLAP = ("dice", "iou", "hd95_mm", "asd_mm", "surface_dice")
TREE = (
    "length_detected_pct branches_detected_pct precision_pct leakage_pct leakage_ml "
    "largest_component_pct"
).split()
TOPOLOGY = ("cldice", "topology_precision", "topology_sensitivity", "betti0_error", "euler_error")
VENTRICLE = ("edv_ml", "esv_ml", "sv_ml", "ef_pct", "lvm_g")
HEART = {name: code for code, name in cardiac.LABELS.items()}
CORONARY = {"LM+LAD": 1, "LCX": 2, "RCA": 3}
EJECTED = 0.35  # of the cycle: end-systole of the phantom


def measure(reader, case, patient=None, thorough=True):
    """Read the scans of a patient with a network, and hold what it finds against truth.

    Parameters
    ----------
    reader : inference.Reader
        Anything with its `read` and `cycle`.
    case : unseen.Case
    patient : Patient, optional
        Of the case, whose scans are kept for the next reader.
    thorough : bool
        Whether to take more than overlap and the network's own biomarkers: trees, topology,
        trust, estimates, and what the true label maps give.

    Returns
    -------
    DataFrame
        A row a number, `COLUMNS`. kind: ``overlap``, ``tree``, ``generation`` (item: the branch's),
        ``topology``, ``biomarker``, ``trust`` (what the network expects of its own Dice, beside
        the Dice in t1; and its distance from the training), or ``fault``: a scan that could not be
        measured, with the reason in note. scan: ``chest``, ``calcium``, ``gated``, or of a gated
        scan ``end-diastole`` and ``end-systole``. source: ``network``, ``labels`` (measured from
        the true label maps), ``estimate`` (regressed by the network). note: status of an overlap,
        flag of a biomarker.
    """
    rows = Rows(case, f"{reader.facts.get('digest', '')} in {reader.precision}", thorough)
    patient = patient or rows.attempt("", Patient, case)
    if patient is not None:
        for name, function in (("chest", _chest), ("gated", _gated), ("calcium", _calcium)):
            rows.attempt(name, function, rows, reader, patient)
    table = pd.DataFrame(rows.rows, columns=COLUMNS)
    log.info("%s: %d rows", case.name, len(table))
    return table.astype(dict.fromkeys(NUMBERS, np.float64))


class Rows:
    """Collects the rows of one case; see `COLUMNS`."""

    def __init__(self, case, weights, thorough=True):
        self.thorough = thorough
        self.sources = ("network", "labels") if thorough else ("network",)
        self.identity = (case.name, case.domain, case.grade, case.protocol.name, weights)
        self.rows = []

    def add(self, kind, scan, structure, quantity, measured, **more):
        """Add one number; a truth that is absent does not exist."""
        found = {"item": "", "source": "network", "note": "", **dict.fromkeys(NUMBERS[1:]), **more}
        numbers = [
            math.nan if value is None else float(value)
            for value in (measured, found["t1"], found["t0"], found["expected"])
        ]
        names = (kind, scan, structure, found["item"], quantity, found["source"])
        self.rows.append((*self.identity, *names, *numbers, found["note"]))

    def attempt(self, scan, function, *arguments):
        """Run a measurement; an error becomes a row that says so, and the rest goes on."""
        try:
            return function(*arguments)
        except Exception as error:
            log.exception("%s, %s", self.identity[0], scan)
            words = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            self.add("fault", scan, "", "", None, source="", note=words)
            return None

    def overlap(self, scan, found, true, codes, spacing_mm):
        """Add the overlap of each structure of two label maps; return their Dice by name."""
        table = scores.overlap(found, true, codes, spacing_mm)
        for row in table.to_dict("records"):
            for name in OVERLAP:
                self.add("overlap", scan, row["STRUCTURE"], name, row[name], note=row["status"])
        return table.set_index("STRUCTURE")["dice"].to_dict()

    def whole(self, scan, name, found, true, spacing_mm):
        """Add the overlap of all that is labelled, taken together; return its Dice."""
        masks = ((labels > 0).astype(np.uint8) for labels in (found, true))
        return self.overlap(scan, *masks, {name: 1}, spacing_mm)[name]

    def trust(self, scan, found, dice):
        """Add what the network expects of its own Dice beside the Dice; and its distance."""
        for part, sure in found.confidence.items():
            self.add("trust", scan, part, "confidence", sure, t1=dice.get(part))
        self.add("trust", scan, "", "distance", found.distance)


class Patient:
    """The record of a case, and its scans as a domain makes them."""

    def __init__(self, case):
        self.case, self.how = case, case.how
        record = render.prepare(case.row, {"seed": SEED})
        self.record = render.count_lesions(record, case.how.count_mm)

    @functools.cached_property
    def chest(self):
        """The inspiration with its label maps, and the delivered HU."""
        record = protocols.apply(self.record, self.case.protocol)
        names = ("airways", "airway_branches", "vessels")
        scan = render.render(record, ("insp",), labels=names)["insp"]
        return dataclasses.replace(scan, covers={}), render.deliver(scan)

    @functools.cached_property
    def gated(self):
        """The grid of the angiography, the HU of its phases and their label maps."""
        how, record = self.how, self.record
        grid = cardiac.heart_grid(record, how.gated_mm)
        chests = {medium: cardiac.background(record, grid, medium) for medium in (True, False)}
        images, labels = [], []
        for number in range(how.phases):
            phase = number / how.phases
            scan = cardiac.cta(record, phase, grid, chests[True])
            if how.contrast < 1.0:
                # Linear in the tissues' HU: less medium is a mixture with the plain scan.
                plain = cardiac.draw(record, phase, grid, False, chests[False])
                shapes = cardiac.coronaries.plaque_shapes(record, phase)
                cardiac.blend_plaques(plain, *cardiac.plaque_cover(grid, shapes))
                mixed = how.contrast * scan.t1 + (1.0 - how.contrast) * plain
                scan = dataclasses.replace(scan, t1=mixed.astype(np.float32))
            images.append(cardiac.deliver(scan, how.gated_noise_hu))
            labels.append(cardiac.labels(record, phase, grid))
        return grid, images, labels

    @functools.cached_property
    def calcium(self):
        """The noiseless calcium scan, its delivered HU, and where calcium counts."""
        grid = cardiac.heart_grid(self.record, self.how.calcium_mm)
        scan = cardiac.calcium_scan(self.record, grid)
        regions = cardiac.coronary_labels(self.record, scan.cycle, grid)
        return scan, cardiac.deliver(scan, self.how.calcium_noise_hu), regions


class Chest:
    """An inspiration, its true label maps, and the truths of what is measured on it."""

    def __init__(self, scan, hu):
        self.scan, self.hu, self.grid = scan, hu, scan.grid
        self.spacing_mm = scan.grid.spacing_mm[::-1]
        self.true = {"lungs": scan.lungs, "lobes": scan.lobes, **scan.labels}

    @functools.cached_property
    def exact(self):
        """Density of the noiseless image (T1)."""
        return truth.density(self.scan)

    @functools.cached_property
    def expected(self):
        """Density that is expected under the noise of the scan."""
        return truth.density(self.scan, self.scan.record.noise_hu, rounded=True)

    @functools.cached_property
    def vessels(self):
        """Vessels of the record (T0)."""
        return vessels.truth(self.scan.record)


def _chest(rows, reader, patient):
    chest = Chest(*patient.chest)
    spacing, true = chest.spacing_mm, chest.true
    found = reader.read(chest.hu, spacing, PARTS)
    labels = found.labels
    dice = {
        name: rows.whole("chest", name, labels[part], true[part], spacing)
        for name, part in (("lungs", "lungs"), ("airways", "airways"), ("vessels", "vessels"))
    }
    rows.overlap("chest", labels["lungs"], true["lungs"], {"right": 1, "left": 2}, spacing)
    lobes = {name: code for code, name in anatomy.LOBES.items()}
    rows.overlap("chest", labels["lobes"], true["lobes"], lobes, spacing)
    # Of the five lobes of other label maps the left upper one holds the lingula.
    upper = (np.isin(part["lobes"], (4, 6)).astype(np.uint8) for part in (labels, true))
    rows.overlap("chest", *upper, {"LUL with lingula": 1}, spacing)
    rows.overlap("chest", labels["airways"], true["airways"], {"lumen": 1, "wall": 2}, spacing)
    rows.overlap("chest", labels["vessels"], true["vessels"], {"artery": 1, "vein": 2}, spacing)
    for source in rows.sources:
        maps = labels if source == "network" else true
        for function in (_density, _airways, _vessels):
            rows.attempt("chest", function, rows, source, chest, maps)
    if rows.thorough:
        rows.trust("chest", found, dice)
        rows.attempt("chest", _trees, rows, chest, labels)
        rows.attempt("chest", _chest_estimates, rows, chest, found.values)


def _trees(rows, chest, labels):
    spacing, true = chest.spacing_mm, chest.true
    generation = airways.tree(chest.scan.record)["generation"]
    lumen, true_lumen = labels["airways"] == 1, true["airways"] == 1
    of_airways = scores.tree(lumen, true_lumen, true["airway_branches"], spacing, generation)
    for row in of_airways.pop("by_generation").to_dict("records"):
        item = f"{int(row['generation'])}"
        share = row["branches_detected_pct"]
        rows.add("generation", "chest", "airways", "branches_detected_pct", share, item=item)
    of_vessels = scores.tree(labels["vessels"], true["vessels"], None, spacing)
    for name, found in (("airways", of_airways), ("vessels", of_vessels)):
        for quantity in TREE:
            rows.add("tree", "chest", name, quantity, found[quantity])
    pairs = (
        ("airways", lumen, true_lumen),
        ("vessels", labels["vessels"], true["vessels"]),
        *(
            (name, labels["vessels"] == code, true["vessels"] == code)
            for name, code in (("artery", 1), ("vein", 2))
        ),
    )
    for name, one, other in pairs:
        found = scores.topology(one, other)
        for quantity in TOPOLOGY:
            rows.add("topology", "chest", name, quantity, found[quantity])


def _density(rows, source, chest, maps):
    found = parenchyma(*map(chest.grid.image, (chest.hu, maps["lobes"]))).iloc[0]
    for name in DENSITY:
        rows.add(
            "biomarker", "chest", "lungs", name, found[name],
            source=source, t1=chest.exact[name], expected=chest.expected[name],
            note=found["flag"],
        )  # fmt: skip
    volume_ml = 1000.0 * chest.scan.record.lung_volume_l
    volumes = {"t0": volume_ml, "t1": chest.exact["volume_ml"]}
    measured = 0.0 if found["flag"] == "empty" else found["volume_ml"]
    rows.add("biomarker", "chest", "lungs", "volume_ml", measured, source=source, **volumes)


def _airways(rows, source, chest, maps):
    branches = airway_branches(*map(chest.grid.image, (chest.hu, maps["airways"])))
    found = airways_from_branches(branches).iloc[0]
    record = chest.scan.record
    every, used = airways.truth(record), _of_used(record, branches)
    for name in ("pi10_mm", "wa_pct"):
        for end, facts in (("", every), ("_used", used)):
            stem, unit = name.rsplit("_", 1)
            rows.add(
                "biomarker", "chest", "airways", f"{stem}{end}_{unit}", found[name],
                source=source, t0=facts[name], note=found["flag"],
            )  # fmt: skip
    count = {"t0": every["n_branches"], "source": source}
    rows.add("biomarker", "chest", "airways", "n_branches", found["n_branches"], **count)


def _of_used(record, branches):
    """Return the closed forms over those true branches that were measured and count."""
    if branches.empty:
        return airways.measures(*(np.zeros(0) for _ in range(3)))
    branches = true_branches(_Of(record), branches)
    rows = branches.loc[branches["used"] & (branches["true"] >= 0), "true"].to_numpy(int)
    table = airways.tree(record)
    parts = (table[name][rows] for name in ("radius", "wall", "generation"))
    return airways.measures(*parts, least=0, perimeter_mm=(0.0, np.inf))


@dataclasses.dataclass(frozen=True)
class _Of:
    """What `true_branches` asks of a visit."""

    record: object


def _vessels(rows, source, chest, maps):
    parts = (maps["vessels"], maps["lobes"], chest.hu)
    found = measure_vessels(*map(chest.grid.image, parts)).iloc[0]
    for name in ("bv5_pct", "fractal_dimension", "tbv_ml"):
        rows.add(
            "biomarker", "chest", "vessels", name, found[name],
            source=source, t0=chest.vessels[name], note=found["flag"],
        )  # fmt: skip


def _chest_estimates(rows, chest, values):
    counts = np.bincount(chest.true["airways"].ravel(), minlength=3)
    of_vessels = np.bincount(chest.true["vessels"].ravel(), minlength=3)
    lung = np.count_nonzero(chest.true["lobes"])
    known = {
        **{name: chest.exact[name] for name in DENSITY},
        "wall_pct": _pct(counts[2], counts[1] + counts[2]),
        "vessel_pct": _pct(of_vessels[1] + of_vessels[2], lung),
        "artery_pct": _pct(of_vessels[1], of_vessels[1] + of_vessels[2]),
    }
    _estimates(rows, "chest", values, "t1", known)


def _estimates(rows, scan, values, level, known):
    """Add those quantities of which the truth is known that the network estimated."""
    for name, exactly in known.items():
        if name in values:
            more = {"source": "estimate", level: exactly}
            rows.add("biomarker", scan, "", name, values[name], **more)


def _pct(part, whole):
    return 100.0 * float(part) / float(whole) if whole else math.nan


def _gated(rows, reader, patient):
    grid, images, true = patient.gated
    spacing = grid.spacing_mm[::-1]
    found = reader.cycle(images, spacing)
    labels = found.labels["heart"]
    dice = []
    for name, number in (("end-diastole", 0), ("end-systole", round(EJECTED * len(true)))):
        rows.overlap(name, labels[number], true[number], HEART, spacing)
        dice.append(rows.whole(name, "heart", labels[number], true[number], spacing))
    if rows.thorough:
        rows.trust("gated", found, {"heart": float(np.mean(dice))})
    facts = hearts.truth(patient.record)
    for source in rows.sources:
        maps = labels if source == "network" else true
        rows.attempt("gated", _ventricle, rows, source, grid, maps, facts)


def _ventricle(rows, source, grid, maps, facts):
    found = ventricle([grid.image(labels) for labels in maps]).iloc[0]
    for name in VENTRICLE:
        rows.add(
            "biomarker", "gated", "heart", name, found[name],
            source=source, t0=facts[name], note=found["flag"],
        )  # fmt: skip


def _calcium(rows, reader, patient):
    scan, hu, true = patient.calcium
    spacing = scan.grid.spacing_mm[::-1]
    found = reader.read(hu, spacing, ("coronary",))
    regions = found.labels["coronary"]
    rows.overlap("calcium", regions, true, CORONARY, spacing)
    dice = rows.whole("calcium", "coronary", regions, true, spacing)
    exact = agatston(scan.grid.image(scan.t1), scan.grid.image(true)).iloc[0]["score"]
    asked = patient.record.quantities.get("agatston")
    for source in rows.sources:
        maps = regions if source == "network" else true
        rows.attempt("calcium", _score, rows, source, scan, hu, maps, {"t1": exact, "t0": asked})
    if not rows.thorough:
        return
    rows.trust("calcium", found, {"coronary": dice})
    heart = patient.record.heart
    known = {
        "lv_ml": hearts.lv_ml(heart, scan.cycle),
        "rv_ml": hearts.rv_ml(heart, scan.cycle),
        "myocardium_ml": heart["lvm_g"] / hearts.MUSCLE_G_PER_ML,
    }
    _estimates(rows, "calcium", found.values, "t0", known)


def _score(rows, source, scan, hu, maps, known):
    found = agatston(scan.grid.image(hu), scan.grid.image(maps)).iloc[0]
    rows.add(
        "biomarker", "calcium", "coronary", "agatston", found["score"],
        source=source, note=found["flag"], **known,
    )  # fmt: skip
