"""The results table: one row a statistic, from which every table, figure and sentence is made."""

import numpy as np
import pandas as pd

TEXT = [
    "ANALYSISID",
    "METHOD",
    "PARAMCD",
    "AVISIT",
    "STRATUM",
    "POPULATION",
    "GROUP",
    "COMPARISON",
    "LEVEL",
    "STAT",
]
COLUMNS = [*TEXT, "VALUE", "N", "FAMILY", "NOTE"]
ADDRESS = ["ANALYSISID", "GROUP", "COMPARISON", "LEVEL", "STAT", "FAMILY"]
ADJUSTMENTS = ("none", "bh", "by", "holm", "hochberg", "hommel", "bonferroni")
PROCEDURES = ("fixed_sequence", "graphical")


class Rows:
    """Collects rows of one method; keys that do not apply are empty text.

    Parameters
    ----------
    method, population : str

    Attributes
    ----------
    remark : str
        Is added to the note of every row, as long as it stands.
    """

    def __init__(self, method, population=""):
        self.method, self.population = method, population
        self.remark = ""
        self._rows = []

    def add(
        self,
        values,
        n,
        *,
        param="",
        visit="",
        place=None,
        stratum="all",
        group="",
        comparison="",
        level="",
        family="",
        note="",
    ):
        """Add the statistics of one address.

        Parameters
        ----------
        values : dict
            STAT to value; a value that can't be estimated is NaN and needs a note.
        n : int
            Observations used.
        param, visit : str
            PARAMCD and AVISIT.
        place : str, optional
            Path form of the visit, for ANALYSISID.
        family : str
            Of an adjusted p value.
        note : str or dict
            Text, or a text by STAT.
        """
        parts = [self.method, param, visit if place is None else place, stratum]
        address = ".".join(part for part in parts if part)
        for stat, value in values.items():
            own = note.get(stat, "") if isinstance(note, dict) else note
            own = "; ".join(filter(None, [own, self.remark]))
            self._rows.append(
                (
                    address,
                    self.method,
                    param,
                    visit,
                    stratum,
                    self.population,
                    group,
                    comparison,
                    level,
                    stat,
                    float(value),
                    int(n),
                    family,
                    own,
                )
            )

    def frame(self):
        """Return the rows as a valid results table."""
        return validate(pd.DataFrame(self._rows, columns=COLUMNS))


def empty():
    """Return a results table without rows."""
    return typed(pd.DataFrame(columns=COLUMNS))


def typed(table):
    """Give the columns their types: text, VALUE float64, N int64."""
    types = dict.fromkeys([*TEXT, "FAMILY", "NOTE"], object)
    return table.astype({**types, "VALUE": "float64", "N": "int64"})[COLUMNS]


def validate(table):
    """Return the table with its types, or raise a ValueError that names the first broken row.

    Every row has an address of its own, no text is missing (empty is ""), no value is infinite,
    and a value that is NaN has a note.
    """
    lacking = [column for column in COLUMNS if column not in table]
    if lacking:
        raise ValueError(f"results: no column {', '.join(lacking)}")
    table = typed(table)
    text = table[[*TEXT, "FAMILY", "NOTE"]]
    if not text.map(lambda cell: isinstance(cell, str)).all(axis=None):
        column = text.columns[~text.map(lambda cell: isinstance(cell, str)).all()][0]
        raise ValueError(f"results: {column} has a cell that is not text")
    repeated = table.duplicated(ADDRESS)
    if repeated.any():
        raise ValueError(f"results: two rows for {_address(table.loc[repeated].iloc[0])}")
    unsaid = table["VALUE"].isna() & (table["NOTE"] == "")
    if unsaid.any():
        raise ValueError(f"results: no note on {_address(table.loc[unsaid].iloc[0])}, which is NaN")
    if np.isinf(table["VALUE"]).any():
        row = table.loc[np.isinf(table["VALUE"])].iloc[0]
        raise ValueError(f"results: {_address(row)} is infinite")
    return table


def gather(tables, families=(), populations=None):
    """Join the tables of all methods, add the rows of adjusted p values, and sort.

    Families and populations are those of `adjust_families`. Rows are sorted by METHOD and
    ANALYSISID; within an analysis they keep their order, which is that of the plan (arms, levels),
    and adjusted p values come last.
    """
    parts = [table for table in tables if len(table)]
    joined = pd.concat(parts, ignore_index=True) if parts else empty()
    joined = validate(joined)
    adjusted = adjust_families(joined, families, populations)
    if len(adjusted):
        joined = validate(pd.concat([joined, adjusted], ignore_index=True))
    return joined.sort_values(["METHOD", "ANALYSISID"], kind="stable", ignore_index=True)


def planned_populations(plan):
    """Return the analysis set of each analysis of a plan that has one, by METHOD."""
    sections = (plan.get("analyses") or {}).items()
    return {name: part["population"] for name, part in sections if (part or {}).get("population")}


def adjust_families(table, families, populations=None):
    """Rows of STAT ``p_adj`` for the declared families of hypotheses.

    Parameters
    ----------
    table : DataFrame
        Results with rows of STAT ``p``.
    families : list of dict
        id, method (none bh by holm hochberg hommel bonferroni fixed_sequence graphical), analysis
        (METHOD), parameters, visits; graphical has weights (by hypothesis, "PARAMCD AVISIT") and
        transitions (from, to, share); fixed_sequence tests in the order of parameters, then visits;
        optional strata: ``all`` (default: the analyses of all patients), ``each`` (every stratum
        is a family of its own, FAMILY ``id.stratum``) or a list of strata in one family.
    populations : dict of str to str, optional
        By METHOD the analysis set whose p values are adjusted; those of other sets are not tests of
        a family. All if absent.

    Returns
    -------
    DataFrame
        One row for each p of a family. A p that is NaN stays NaN and is not counted; the note
        says how many tests there are, and how many were planned if more.

    Raises
    ------
    ValueError
        When a family has no p value at all, or an unknown method.
    """
    found = []
    for family in families or ():
        name, method = family["id"], family["method"]
        if method not in (*ADJUSTMENTS, *PROCEDURES):
            raise ValueError(
                f"family {name}: method {method!r} is not one of "
                f"{', '.join((*ADJUSTMENTS, *PROCEDURES))}"
            )
        rows = table.loc[
            (table["STAT"] == "p")
            & (table["METHOD"] == family["analysis"])
            & table["PARAMCD"].isin(family["parameters"])
            & table["AVISIT"].isin(family["visits"])
        ]
        own = (populations or {}).get(family["analysis"])
        rows = rows if own is None else rows.loc[rows["POPULATION"] == own]
        strata = family.get("strata", "all")
        planned = len(family["parameters"]) * len(family["visits"])
        planned *= max(1, rows["COMPARISON"].nunique())
        if strata == "each":
            for stratum, part in rows.groupby("STRATUM", sort=True):
                label = name if stratum == "all" else f"{name}.{stratum}"
                found.append(_adjusted(part, label, family, planned))
            continue
        rows = rows.loc[rows["STRATUM"].isin(["all"] if strata == "all" else strata)]
        if rows.empty:
            raise ValueError(
                f"family {name}: there is no p of {family['analysis']} for "
                f"{', '.join(family['parameters'])} at {', '.join(family['visits'])}"
            )
        found.append(_adjusted(rows, name, family, planned * rows["STRATUM"].nunique()))
    return typed(pd.concat(found, ignore_index=True)) if found else empty()


def _adjusted(rows, name, family, planned):
    from lungitude.statistics.multiplicity import adjust

    method = family["method"]
    if method in PROCEDURES:
        values = _by_procedure(rows, name, family)
    else:
        values = adjust(rows["VALUE"], method)
    count = int(rows["VALUE"].notna().sum())
    size = f"{count} tests" if count == planned else f"{count} of {planned} planned tests"
    note = "not adjusted" if method == "none" else f"{method.replace('_', ' ')}, {size}"
    notes = rows["NOTE"].where(rows["VALUE"].isna(), note)
    return rows.assign(STAT="p_adj", VALUE=values, FAMILY=name, NOTE=notes)


def _by_procedure(rows, name, family):
    """Adjust by a procedure that treats the hypotheses of a family differently."""
    from lungitude.statistics.multiplicity import fixed_sequence, graphical

    planned = [f"{p} {v}" for p in family["parameters"] for v in family["visits"]]
    labels = rows["PARAMCD"] + " " + rows["AVISIT"]
    if labels.duplicated().any():
        raise ValueError(
            f"family {name}: {family['method']} needs one test a parameter and visit; "
            f"{labels[labels.duplicated()].iloc[0]} has several (arms or strata)"
        )
    # What could not be computed stands in its place, unrejected.
    p = pd.Series(rows["VALUE"].to_numpy(), index=labels).reindex(planned)
    if family["method"] == "fixed_sequence":
        table = fixed_sequence(p, order=planned)
    else:
        weights = pd.Series(family.get("weights") or {}, dtype=float).reindex(planned).fillna(0)
        shares = pd.DataFrame(0.0, index=planned, columns=planned)
        for edge in family.get("transitions") or ():
            shares.loc[edge["from"], edge["to"]] = edge["share"]
        table = graphical(p, weights, shares)
    return table.set_index("hypothesis")["p_adjusted"].loc[labels].to_numpy()


def _address(row):
    return " ".join(f"{key}={row[key]}" for key in ADDRESS if row[key])
