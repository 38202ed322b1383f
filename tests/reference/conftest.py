"""Data and results in R that the tests of this folder are held against."""

import json
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent / "stats"
LEVELS = {
    "arm": ["Placebo", "Active"],
    "gold": ["I", "II", "III", "IV"],
    "sex": ["F", "M"],
    "med": ["LAMA", "LABA_LAMA", "ICS_LABA", "Triple"],
    "visit": ["baseline", "week6", "week12"],
}


@pytest.fixture(scope="session")
def reference():
    """Read the cases of one file of results."""
    return lambda name: json.loads((ROOT / "json" / f"{name}.json").read_text())["cases"]


@pytest.fixture(scope="session")
def data():
    """Read one file of data, with the levels of its factors in R's order."""

    def read(name):
        frame = pd.read_csv(ROOT / "data" / f"{name}.csv")
        for column, levels in LEVELS.items():
            if column in frame:
                frame[column] = pd.Categorical(frame[column], levels)
        return frame

    return read
