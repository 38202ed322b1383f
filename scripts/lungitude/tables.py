"""Tables on disk: tab-separated text for people, Parquet for typed hand-over."""

from pathlib import Path

import pandas as pd

from lungitude.job import whole

# Columns that are names, never numbers: "001" must stay "001".
IDENTIFIERS = (
    "STUDYID USUBJID AVISIT SERIES PARAMCD PARAM AVALU SOURCE ARM TRT01P PATH LABELS "
    "AIRWAYS VESSELS CORONARY HEART METHOD READER REPEAT EVENT REASON ADT RANDDT RFSTDT SCREENID "
    "SCREENDT DIRECTION TRANSFORM DATASET CATEGORY MEASURE ANALYSISID "
    "STRATUM POPULATION GROUP COMPARISON LEVEL STAT FAMILY NOTE DTYPE status stage reason region "
    "name lobe flag COLUMN RECORDED DERIVED USED"
).split()


def read(path, text=()):
    """Read a tab-separated table.

    Parameters
    ----------
    path : path
        UTF-8, tab-separated, one header line; an empty cell is missing.
    text : iterable of str
        Columns to keep as text beside `IDENTIFIERS`.

    Returns
    -------
    DataFrame
        Identifier columns as str (missing: NaN), the others as pandas infers them. A file without
        any byte (the output of an excluded scan) gives an empty frame.
    """
    if Path(path).stat().st_size == 0:
        return pd.DataFrame()
    names = pd.read_csv(path, sep="\t", nrows=0, encoding="utf-8-sig").columns
    kept = [name for name in names if name in {*IDENTIFIERS, *text}]
    return pd.read_csv(
        path,
        sep="\t",
        dtype=dict.fromkeys(kept, str),
        keep_default_na=False,
        na_values=[""],
        encoding="utf-8-sig",
    )


def write(frame, path, identity=None):
    """Write a tab-separated table with the same bytes for the same numbers (10 digits).

    `identity` (dict) names every row: its columns come first.
    """
    if identity:
        frame = pd.concat([pd.DataFrame([identity] * len(frame), frame.index), frame], axis=1)
    with whole(path) as part:
        frame.to_csv(part, sep="\t", index=False, lineterminator="\n", float_format="%.10g")


def read_parquet(path):
    """Read a Parquet table."""
    return pd.read_parquet(path)


def write_parquet(frame, path):
    """Write a Parquet table: all digits and types are kept."""
    with whole(path) as part:
        frame.to_parquet(part, index=False)
