"""What changed between two runs of a trial: two data cuts, two plans, two versions of the code.

Every number of the results table is held against its counterpart by its address; beside them stand
the inputs that changed: the plan, the patients, their measurements, the fate of their scans.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lungitude import tables
from lungitude.job import whole
from lungitude.reporting import pages

ADDRESS = (
    "METHOD PARAMCD AVISIT STRATUM POPULATION GROUP COMPARISON LEVEL STAT FAMILY ANALYSISID"
).split()
# Numbers whose side of the threshold decides what a sentence says.
P_VALUES = ("p", "p_adj", "interaction_p", "test_p", "p_gg", "p_hf")
RESULTS = Path("analysis/results.parquet")
PLAN = Path("analysis/plan.yaml")
# Inputs: table, columns that name a row, columns that are compared (None: all others).
INPUTS = (
    ("patients", Path("cohort/adsl.parquet"), ["USUBJID"], None),
    ("scans", Path("cohort/scans.tsv"), ["USUBJID", "AVISIT", "SERIES"], ["status", "reason"]),
    ("measurements", Path("cohort/measurements.tsv"), ["USUBJID", "AVISIT", "PARAMCD"], ["AVAL"]),
)
SHOWN = 2000


@dataclass(frozen=True)
class Change:
    """Two runs held against each other.

    Attributes
    ----------
    names : tuple of str
    numbers : DataFrame
        Changed statistics: `ADDRESS`, ``CHANGE`` (changed, new or gone), ``VALUE_A VALUE_B
        DIFFERENCE N_A N_B``.
    crossed : DataFrame
        Those of `numbers` that are p values on different sides of the threshold.
    inputs : DataFrame
        ``WHAT ROW COLUMN A B``: what changed in patients, scans, measurements and plan.
    same : int
        Statistics that are equal.
    """

    names: tuple
    numbers: pd.DataFrame
    crossed: pd.DataFrame
    inputs: pd.DataFrame
    same: int

    @property
    def counts(self):
        """Changed statistics by analysis and kind of change."""
        return pd.crosstab(self.numbers["METHOD"], self.numbers["CHANGE"])


def compare(first, second, tolerance=1e-9, alpha=0.05):
    """Compare the folders of two runs.

    Parameters
    ----------
    first, second : path
        Folders such as ``results/mytrial``.
    tolerance : float
        Relative difference up to which numbers are equal.
    alpha : float
        Threshold of p values.

    Returns
    -------
    Change

    Raises
    ------
    FileNotFoundError
        If a folder has no results table.
    """
    folders = Path(first), Path(second)
    for folder in folders:
        if not (folder / RESULTS).is_file():
            raise FileNotFoundError(
                f"{folder} has no {RESULTS.as_posix()}; name the folder of a run that has ended, "
                "such as results/mytrial"
            )
    frames = [tables.read_parquet(folder / RESULTS) for folder in folders]
    numbers, same = _numbers(*frames, tolerance)
    p = numbers["STAT"].isin(P_VALUES) & (numbers["CHANGE"] == "changed")
    sides = (numbers["VALUE_A"] < alpha) != (numbers["VALUE_B"] < alpha)
    whole_p = numbers["VALUE_A"].notna() & numbers["VALUE_B"].notna()
    inputs = [_plan(*folders), *(_inputs(*folders, *given) for given in INPUTS)]
    inputs = [part for part in inputs if len(part)]
    columns = ["WHAT", "ROW", "COLUMN", "A", "B"]
    return Change(
        names=tuple(folder.as_posix() for folder in folders),
        numbers=numbers,
        crossed=numbers[p & sides & whole_p],
        inputs=pd.concat(inputs, ignore_index=True) if inputs else pd.DataFrame(columns=columns),
        same=same,
    )


def _numbers(first, second, tolerance):
    """Return the statistics that differ, and how many don't."""
    parts = []
    for frame, end in ((first, "_A"), (second, "_B")):
        part = frame[[*ADDRESS, "VALUE", "N"]].copy()
        part[ADDRESS] = part[ADDRESS].fillna("").astype(str)
        parts.append(part.rename(columns={"VALUE": f"VALUE{end}", "N": f"N{end}"}))
    both = parts[0].merge(parts[1], on=ADDRESS, how="outer", indicator=True)
    a, b = both["VALUE_A"].to_numpy(float), both["VALUE_B"].to_numpy(float)
    equal = np.isclose(a, b, rtol=tolerance, atol=0, equal_nan=True)
    used = both[["N_A", "N_B"]].to_numpy(float)
    equal &= np.isclose(*used.T, rtol=0, atol=0, equal_nan=True)
    equal &= (both["_merge"] == "both").to_numpy()
    words = {"both": "changed", "left_only": "gone", "right_only": "new"}
    both["CHANGE"] = both["_merge"].astype(str).map(words)
    both["DIFFERENCE"] = b - a
    order = [*ADDRESS, "CHANGE", "VALUE_A", "VALUE_B", "DIFFERENCE", "N_A", "N_B"]
    return both.loc[~equal, order].reset_index(drop=True), int(equal.sum())


def _inputs(first, second, what, path, keys, columns):
    """Return the cells of one input table that differ, one row each."""
    frames = []
    for folder in (first, second):
        file = folder / path
        if not file.is_file():
            frame = pd.DataFrame(columns=keys)
        else:
            frame = tables.read_parquet(file) if path.suffix == ".parquet" else tables.read(file)
        frames.append(frame.astype(object).where(frame.notna(), None))
    names = columns or sorted({*frames[0].columns, *frames[1].columns} - {*keys})
    rows = [_cells(frame, keys, names) for frame in frames]
    found = []
    for row in dict.fromkeys([*rows[0], *rows[1]]):
        a, b = (side.get(row) for side in rows)
        label = " ".join(row)
        if a is None or b is None:
            sides = ("", "present") if a is None else ("present", "")
            found.append((what, label, "row", *sides))
            continue
        found += [
            (what, label, name, _text(a[k]), _text(b[k]))
            for k, name in enumerate(names)
            if a[k] != b[k]
        ]
    return pd.DataFrame(found, columns=["WHAT", "ROW", "COLUMN", "A", "B"])


def _cells(frame, keys, names):
    """Return the compared cells of a table by the names of its rows."""
    if frame.empty:
        return {}
    values = frame.reindex(columns=names).to_numpy(object)
    rows = frame[keys].astype(str).itertuples(index=False, name=None)
    return dict(zip(rows, map(tuple, values), strict=True))


def _plan(first, second):
    """Return the keys of the plan that differ; none where a run kept no plan."""
    given = []
    for folder in (first, second):
        file = folder / PLAN
        given.append(_flat(yaml.safe_load(file.read_text("utf-8"))) if file.is_file() else {})
    if not all(given):
        return pd.DataFrame()
    found = [
        ("plan", "", key, given[0].get(key, ""), given[1].get(key, ""))
        for key in dict.fromkeys([*given[0], *given[1]])
        if given[0].get(key) != given[1].get(key)
    ]
    return pd.DataFrame(found, columns=["WHAT", "ROW", "COLUMN", "A", "B"])


def _flat(content, name=""):
    """Return the leaves of a document by their dotted names."""
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list) and any(isinstance(item, dict) for item in content):
        items = ((item.get("id", k) if isinstance(item, dict) else k, item)
                 for k, item in enumerate(content))  # fmt: skip
    else:
        shown = ", ".join(map(str, content)) if isinstance(content, list) else str(content)
        return {name: shown}
    flat = {}
    for key, item in items:
        flat.update(_flat(item, f"{name}.{key}" if name else str(key)))
    return flat


def _text(value):
    return "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def summary(change):
    """Return the lines that tell a person what changed."""
    lines = [
        f"{change.names[0]} against {change.names[1]}: {change.same} statistics are equal, "
        f"{len(change.numbers)} are not."
    ]
    for method, row in change.counts.iterrows():
        told = ", ".join(f"{count} {kind}" for kind, count in row.items() if count)
        lines.append(f"  {method}: {told}")
    if len(change.crossed):
        lines.append(f"p values that crossed the threshold: {len(change.crossed)}")
    for what, part in change.inputs.groupby("WHAT", sort=False):
        lines.append(f"{what}: {len(part)} changes in {part['ROW'].nunique()} rows")
    return lines


def write(change, folder):
    """Write all changes as tables, and a page for reading.

    Parameters
    ----------
    change : Change
    folder : path
        Gets ``numbers.tsv``, ``inputs.tsv`` and ``compare.html``.

    Returns
    -------
    path
        Of the page.
    """
    folder = Path(folder)
    tables.write(change.numbers, folder / "numbers.tsv")
    tables.write(change.inputs, folder / "inputs.tsv")
    page = folder / "compare.html"
    with whole(page) as part:
        part.write_text(
            pages.render(
                "compare.html.j2",
                change=change,
                counts=[
                    (method, [row.get(kind, 0) for kind in ("changed", "new", "gone")])
                    for method, row in change.counts.iterrows()
                ],
                tables=[
                    ("Conclusions that may change", "p values on another side of the threshold",
                     _rows(change.crossed), len(change.crossed)),
                    ("Numbers", "statistics that differ, are new or gone",
                     _rows(change.numbers), len(change.numbers)),
                ],
                inputs=change.inputs.head(SHOWN).to_dict("records"),
                shown=SHOWN,
            ),
            encoding="utf-8",
        )  # fmt: skip
    return page


def _rows(numbers):
    """Return what the page shows of statistics, the largest relative differences first."""
    scale = numbers[["VALUE_A", "VALUE_B"]].abs().max(axis=1)
    order = (numbers["DIFFERENCE"].abs() / scale).fillna(np.inf).sort_values(ascending=False)
    return [
        {
            "analysis": row["METHOD"],
            "what": " ".join(row[k] for k in ("PARAMCD", "AVISIT", "STRATUM") if row[k]),
            "where": " ".join(
                row[k] for k in ("POPULATION", "GROUP", "COMPARISON", "LEVEL", "FAMILY") if row[k]
            ),
            "stat": row["STAT"],
            "change": row["CHANGE"],
            "cells": [_number(row[k]) for k in ("VALUE_A", "VALUE_B", "DIFFERENCE", "N_A", "N_B")],
        }
        for row in numbers.loc[order.index[:SHOWN]].to_dict("records")
    ]


def _number(value):
    return "" if value != value else f"{value:.6g}"
