"""Patients that no training saw: who they are, and how each domain scans them.

Patients come from the generative model of the demo trial (`config/demo/model.yaml`, which says of
each mean, spread and correlation whether it is published or assumed), with a seed of their own for
each domain; GOLD grades I to IV take turns. Nothing here needs images: rules import it.
"""

import dataclasses
import functools

from lungitude.phantom import cohort, model, protocols
from lungitude.phantom.record import stream
from lungitude.provenance import SCRIPTS

SEED = 20270611
# As many as were tested in the publication: 15 % of 250 patients, and 50 of another centre.
CASES = {"internal": 38, "external": 50}
PER_BLOCK = 2
MODEL = SCRIPTS.parent / "config" / "demo" / "model.yaml"


@dataclasses.dataclass(frozen=True)
class Domain:
    """How scans of a domain are made; voxels are (x, y, z) in mm.

    kernel : of `protocols.KERNELS`; voxel_mm : in the plane of a chest scan; slices_mm : thickness
    and step of its slices, patient by patient in turn; noise_hu : ends of its SD, uniform; drift :
    whether HU are off, as in `protocols`. gated_mm, phases, gated_noise_hu : angiography; contrast
    : share of the usual contrast medium. calcium_mm, calcium_noise_hu : calcium scan. count_mm :
    voxel at which lesions are counted against what is asked for.
    """

    kernel: str
    voxel_mm: float
    slices_mm: tuple
    noise_hu: tuple
    drift: bool
    gated_mm: tuple
    phases: int
    gated_noise_hu: float
    contrast: float
    calcium_mm: tuple
    calcium_noise_hu: float
    count_mm: tuple = (2.0, 2.0, 2.0)


DOMAINS = {
    # The protocol of the demo trial.
    "internal": Domain(
        kernel="soft",
        voxel_mm=1.25,
        slices_mm=(1.25,),
        noise_hu=(20.0, 25.0),
        drift=False,
        gated_mm=(1.5, 1.5, 3.0),
        phases=20,
        gated_noise_hu=25.0,
        contrast=1.0,
        calcium_mm=(0.7, 0.7, 3.0),
        calcium_noise_hu=20.0,
    ),
    # Another scanner: no part of it is that of the demo trial.
    "external": Domain(
        kernel="sharp",
        voxel_mm=1.0,
        slices_mm=(2.0, 1.5),
        noise_hu=(40.0, 40.0),
        drift=True,
        gated_mm=(1.2, 1.2, 2.0),
        phases=10,
        gated_noise_hu=40.0,
        contrast=0.6,
        calcium_mm=(0.5, 0.5, 3.0),
        calcium_noise_hu=25.0,
    ),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One patient: `row` is that of the truth sheet, `protocol` that of the chest scan."""

    number: int
    domain: str
    grade: str
    row: dict
    protocol: protocols.Protocol
    how: Domain

    @property
    def name(self):
        """Identifier of the patient."""
        return self.row["USUBJID"]


def case(number, domain, path=MODEL):
    """Return a patient of a domain.

    Parameters
    ----------
    number : int
        From 0; the patient is the same however many there are.
    domain : str
        Of `DOMAINS`.
    path : path
        Generative model of the patients.

    Returns
    -------
    Case

    Raises
    ------
    ValueError
        An unknown domain, or a number beyond the patients of a grade.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain '{domain}' is unknown; known: {', '.join(DOMAINS)}")
    how, patients = DOMAINS[domain], _patients(domain, str(path))
    grades = list(patients)
    grade, place = grades[number % len(grades)], number // len(grades)
    if not 0 <= place < len(patients[grade]):
        most = len(grades) * min(map(len, patients.values()))
        raise ValueError(f"case {number}: the model has {most} patients in equal grades")
    name = f"UNSEEN-{domain[:3].upper()}-{number:04d}"
    row = {**patients[grade][place], "USUBJID": name, "AVISIT": "once"}
    rng = stream(SEED, name, "protocol")
    step = how.slices_mm[(number // len(grades)) % len(how.slices_mm)]
    protocol = protocols.make(
        how.kernel,
        how.voxel_mm,
        round(float(rng.uniform(*how.noise_hu)), 1),
        how.drift,
        None if step == how.voxel_mm else step,
    )
    return Case(number, domain, grade, row, protocol, how)


def cases(domain, n, path=MODEL):
    """Return the first `n` patients of a domain; see `case`."""
    return [case(number, domain, path) for number in range(n)]


@functools.lru_cache(maxsize=2)
def _patients(domain, path):
    """Rows of the truth sheet at baseline by GOLD grade, in order of enrolment."""
    trial = model.read(path)
    seed = int(stream(SEED, domain, "patients").integers(2**31))
    sheets = cohort.sheets(trial, seed, cohort.draw(trial, seed))
    grade = sheets["subjects"].set_index("USUBJID")[trial.content["stratum"]["column"]]
    sheet = sheets["phantom"]
    found = {level: [] for level in trial.levels}
    for row in sheet[sheet["AVISIT"] == trial.visits[0]].to_dict("records"):
        found[grade[row["USUBJID"]]].append(row)
    return found


def blocks(n):
    """Return the number of blocks of `PER_BLOCK` that hold `n` patients."""
    return -(-n // PER_BLOCK)


def block(number, n):
    """Return the numbers of the patients of a block, of `n` in all."""
    return range(number * PER_BLOCK, min(n, (number + 1) * PER_BLOCK))
