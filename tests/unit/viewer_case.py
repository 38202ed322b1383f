"""A small chest with label maps, as files of a run, and the page that is made of it."""

import gzip
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import SimpleITK as sitk

from helpers import ROOT
from lungitude import images, records

SIZE = (72, 52, 64)  # x, y, z
SPACING = (4.0, 4.0, 3.0)
NAME = b"DOE^JANE 1950-01-01"
IDENTITY = {"USUBJID": "P001", "AVISIT": "Week <6>", "SERIES": "hrct_insp"}
TRIAL = {"title": "A trial", "synthetic": True, "data_cut": "2024-06-30", "name": "t"}
BUNDLE = ROOT / "scripts/lungitude/reporting/assets/niivue.js"


class Params(dict):
    """Params as Snakemake gives them."""

    __getattr__ = dict.__getitem__


def grid():
    """Return x (to the left), y (to the back), z (to the head) of each voxel, in mm."""
    x, y, z = ((np.arange(n) - (n - 1) / 2) * d for n, d in zip(SIZE, SPACING, strict=True))
    return np.meshgrid(z, y, x, indexing="ij")[::-1]


def chest(noise_hu=20.0, seed=0):
    """Return HU and label maps (lobes, airways, vessels, prm) as arrays."""
    x, y, z = grid()
    hu = np.full(x.shape, -1000.0)
    hu[(x / 140) ** 2 + (y / 98) ** 2 < 1] = 40.0
    lobes = np.zeros(x.shape, np.uint8)
    for side, low, high in ((-1, 3, 1), (1, 5, 4)):  # the patient's right has the smaller x
        lung = ((x - 66 * side) / 50) ** 2 + (y / 70) ** 2 + (z / 88) ** 2 < 1
        lobes[lung] = np.where(z + 0.4 * y < 0, low, high)[lung]
    lobes[(lobes == 1) & (z < 25) & (y < 0)] = 2
    hu[lobes > 0] = -860.0
    airways = np.zeros(x.shape, np.uint8)
    trachea = x**2 + y**2
    airways[(trachea < 15**2) & (z > 20)] = 2
    airways[(trachea < 9**2) & (z > 20)] = 1
    hu[airways == 1], hu[airways == 2] = -1000.0, 20.0
    vessels = np.zeros(x.shape, np.uint8)
    vessels[(np.abs(y - 10) < 5) & (np.abs(z + 10) < 5) & (lobes > 0)] = 1
    vessels[(np.abs(y + 20) < 5) & (np.abs(z + 10) < 5) & (lobes > 0)] = 2
    hu[vessels > 0] = 30.0
    prm = np.where(lobes > 0, 1 + (np.abs(z) > 40) + (z > 60), 0).astype(np.uint8)
    hu += np.random.default_rng(seed).normal(0.0, noise_hu, hu.shape)
    maps = {"lobes": lobes, "airways": airways, "vessels": vessels, "prm": prm}
    return np.rint(hu).astype(np.int16), maps


def image_of(values):
    """Return an array on the grid of the chest."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING)
    image.SetOrigin((-144.0, -104.0, -96.0))
    return image


def named(path):
    """Write a name into the header of a NIfTI file, as scanners and converters do."""
    stored = bytearray(gzip.decompress(path.read_bytes()))
    stored[148 : 148 + len(NAME)] = NAME
    stored[228 : 228 + 8] = NAME[:8]
    path.write_bytes(gzip.compress(bytes(stored), mtime=0))


def write(folder, status="ok", leave_out=()):
    """Write the files of a scan into a folder and return the inputs of the job."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    hu, maps = chest()
    images.write(image_of(hu), folder / "scan.nii.gz")
    named(folder / "scan.nii.gz")
    facts = {"stage": "ingest", "reason": "" if status == "ok" else "3 slices <missing> & more"}
    facts |= {"pixel_digest": "0123456789abcdef" * 4, "tags": {"model": NAME.decode()}}
    records.write(folder / "scan.json", status, **IDENTITY, **facts)
    records.write(folder / "lungs.json", **IDENTITY, stage="segmentation", scheme="lobes")
    for name, values in maps.items():
        path = folder / f"{'lungs' if name == 'lobes' else name}.nii.gz"
        images.write(image_of(values), path)
        if name in leave_out:
            path.write_bytes(b"")
    return {
        "image": folder / "scan.nii.gz",
        "record": folder / "scan.json",
        "lungs": [folder / "lungs.nii.gz"],
        "lungs_record": [folder / "lungs.json"],
        "structures": [folder / "airways.nii.gz", folder / "vessels.nii.gz"],
        "prm": [folder / "prm.nii.gz"],
    }


def page(folder, inputs=None, bundle=True, **changes):
    """Make the page as the rule would; return its path."""
    folder = Path(folder)
    path = folder / "report/scans/P001/week06/hrct_insp.html"
    if bundle:
        (folder / "report/assets").mkdir(parents=True, exist_ok=True)
        shutil.copy(BUNDLE, folder / "report/assets/niivue.js")
    links = [
        {"group": visit, "label": "hrct_insp", "href": f"../{here}/hrct_insp.html", "here": at}
        for visit, here, at in (("Baseline", "baseline", False), ("Week <6>", "week06", True))
    ]
    scan = {
        "identity": IDENTITY,
        "columns": ["AIRWAYS", "VESSELS"],
        "windows": ["lung"],
        "links": links,
        "cycle": False,
        **(inputs or write(folder / "visit")),
    }
    params = {
        "scans": [scan | changes],
        "back": {"label": "Quality of all scans", "href": "../../../quality.html"},
        "trial": TRIAL,
        "bundle": "../../../assets/niivue.js",
    }
    job = SimpleNamespace(
        output=SimpleNamespace(folder=path.parent),
        params=Params(params),
        wildcards=[],
        log=[],
        rule="draw_viewer",
    )
    runpy.run_path(str(ROOT / "scripts/draw_viewer.py"))["main"](job)
    return path
