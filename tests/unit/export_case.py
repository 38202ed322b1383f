"""An export to be indexed: series of any kind in a folder, and the trial that they belong to."""

from types import SimpleNamespace

import pandas as pd
import yaml
from unit import dicom_series

from lungitude.indexing import export

SHAPE = (12, 8, 6)
NAME, IDENTIFIER, BORN = "PLANTED^NAME", "PLANTED-ID-1", "19010203"
CONFIG = {
    "trial": "mock",
    "title": "An export",
    "visits": [
        {"name": "Baseline", "path": "baseline", "number": 0, "day": 1, "baseline": True,
         "imaging": True, "window": [-28, 7]},
        {"name": "Week 6", "path": "week06", "number": 6, "day": 43, "imaging": True,
         "window": [36, 50]},
    ],
    "sheets": {
        "subjects": "subjects.tsv", "patients": "patients.tsv", "parameters": "parameters.tsv",
    },
    "imaging": {
        "inspiration": "insp",
        "series": {
            "insp": {"phase": "inspiration", "kv": [120], "slice_mm": 1, "kernel": ["B3*"],
                     "contrast": False},
            "exp": {"phase": "expiration", "kv": [120], "slice_mm": 1, "contrast": False},
        },
    },
    "index": {},
}  # fmt: skip
SUBJECTS = "USUBJID\tRANDDT\nP-1\t2024-03-01\nP-2\t2024-04-01\nP-3\t\n"
PATIENTS = f"PATIENTID\tUSUBJID\n{IDENTIFIER}\tP-1\n../../P\tP-2\n0003\tP-3\n"


class Export:
    """A folder of series, and the folder of a trial.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder):
        self.scans, self.trial, self.out = folder / "export", folder / "trial", folder / "out"
        self.scans.mkdir()
        self.trial.mkdir()
        self.config = yaml.safe_load(yaml.safe_dump(CONFIG))
        self.write("subjects.tsv", SUBJECTS)
        self.write("patients.tsv", PATIENTS)
        self.number = 0

    def write(self, name, text):
        """Write a file of the trial."""
        (self.trial / name).write_text(text, encoding="utf-8")

    def put(self, folder="", description="THORAX INSP", seed=None, change=None, n=12, **tags):
        """Write a series that fits `insp` at baseline unless tags say otherwise."""
        self.number += 1
        hu = dicom_series.volume((n, *SHAPE[1:]), seed or self.number)
        given = {
            "PatientName": NAME,
            "PatientID": IDENTIFIER,
            "PatientBirthDate": BORN,
            "StudyInstanceUID": f"{dicom_series.UID}.99",
            "AcquisitionDate": "20240301",
            "AcquisitionTime": "101500",
            "SeriesDescription": description,
            "SliceThickness": 1,
            "PatientPosition": "HFS",
        }
        given |= tags
        given = {tag: value for tag, value in given.items() if value is not None}
        place = self.scans / (folder or f"s{self.number:02d}")
        dicom_series.write(place, hu, self.number, step_mm=1.0, change=change, **given)
        return place

    def run(self, cores=1):
        """Index the export; return its tables, its page and what was printed."""
        self.write("config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        told = []
        made = export.begin(self.trial / "config.yaml")
        lines = export.index(self.scans, made, self.out, cores, lambda text: told.append(text))
        tables = {
            name: pd.read_csv(
                self.out / f"{name}.tsv", sep="\t", dtype=str, keep_default_na=False, quoting=3
            )
            for name in ("scans", "index", "paths")
        }
        page = (self.out / "index.html").read_text(encoding="utf-8")
        return SimpleNamespace(**tables, page=page, lines=lines, told=told, made=made)
