"""A small trial whose sheets are made by maps, for tests to write files and maps for."""

import copy

import yaml

CONFIG = {
    "trial": "mapped",
    "title": "A mapped trial",
    "arms": [
        {"code": "ACT", "label": "Active"},
        {"code": "PBO", "label": "Placebo", "reference": True},
    ],
    "visits": [
        {"name": "Baseline", "path": "baseline", "number": 0, "day": 1, "baseline": True},
        {"name": "Week 2", "path": "week02", "number": 2, "day": 15},
        {"name": "Week 6", "path": "week06", "number": 6, "day": 43},
    ],
    "sheets": {"parameters": "parameters.tsv"},
}
PARAMETERS = (
    "PARAMCD\tPARAM\tAVALU\tLOW\tHIGH\tDECIMALS\tDIRECTION\tDATASET\n"
    "FEV1\tForced expiratory volume\tL\t0.2\t7\t2\thigher\tADFUN\n"
    "FVC\tForced vital capacity\tL\t0.4\t9\t2\thigher\tADFUN\n"
    "CAT\tCOPD Assessment Test\tpoints\t0\t40\t0\tlower\tADFUN\n"
)
LONG = (
    "SUBJ,WHEN,TEST,RESULT,DAY,OK\n"
    "P-1,BASE,FEV1,2.10,2024-03-01,Y\n"
    "P-1,W2,FEV1,2.30,2024-03-15,Y\n"
    "P-2,BASE,FEV1,1.50,2024-03-02,Y\n"
    "P-2,W2,FEV1,,2024-03-16,Y\n"
    "P-2,W2,FEV1,9.90,2024-03-17,N\n"
)
MAP = {
    "file": "long.csv",
    "columns": {
        "USUBJID": "SUBJ",
        "AVISIT": "WHEN",
        "PARAMCD": "TEST",
        "AVAL": "RESULT",
        "ADT": "DAY",
    },
    "where": {"OK": "Y"},
    "values": {"AVISIT": {"BASE": "Baseline", "W2": "Week 2"}},
}


def changed(change=None, **keys):
    """Return the map of long.csv with other keys; those that are None are left out."""
    made = copy.deepcopy(MAP) | keys
    if change:
        change(made)
    return {key: told for key, told in made.items() if told is not None}


def folder_of(path, files=None, config=None, **sheets):
    """Write a trial's folder: its sheets as config.yaml is to name them, and files by name."""
    folder = path / "config" / "mapped"
    folder.mkdir(parents=True)
    content = copy.deepcopy(CONFIG) | (config or {})
    content["sheets"] |= sheets
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    written = {"parameters.tsv": PARAMETERS, "long.csv": LONG} | (files or {})
    for name, text in written.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder
