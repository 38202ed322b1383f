"""The results as a reporting event of CDISC's Analysis Results Standard (ARS) 1.0, as JSON.

Each row of the results table becomes the result of an operation; analysis, groups and operation
together are the address of the row (`rows` reads it back). ARS has no place for a note at a result,
so what could not be estimated has no raw value, and its note stands in the description of its
analysis under the address.
"""

import html
import json
import math
import re
from collections import Counter
from importlib import metadata
from pathlib import Path

import pandas as pd

from lungitude.adam import flag_of
from lungitude.job import whole
from lungitude.reporting import displays, table
from lungitude.reporting import format as text
from lungitude.reporting.report import ANALYSES
from lungitude.reporting.table_primary import sections

KEYS = "GROUP COMPARISON LEVEL STAT FAMILY".split()
NUMBER = "N"
PLAN = "DOC.plan"
ARM = "GF.ARM"
# Groupings of the rows beside the arm, each a column of the results table.
DRIVEN = {
    "GROUP": "Group that is no arm of the trial",
    "COMPARISON": "Comparison: first minus second of arms, visits or methods",
    "LEVEL": "What the statistic belongs to within its analysis: a category, term or assumption",
    "FAMILY": "Family of hypotheses that a p value is adjusted in",
}
# Statistics that are counted, by the digits that a parameter has, or with digits of their own.
COUNTS = {"n", "missing", "left_out", "n_imputed", "responders", "events", "total", NUMBER}
BY_PARAMETER = set(
    "mean sd median q1 q3 estimate se emmean ci_low ci_high bias loa_low loa_high within_sd rc "
    "mae rmse tipping_delta".split()
)
DIGITS = {
    "pct": 1,
    "df": 1,
    "df1": 1,
    "df2": 1,
    "mape": 1,
    **dict.fromkeys(
        "F statistic r ccc icc_a1 smd ratio odds_ratio or_ci_low or_ci_high".split(), 2
    ),
}
LIKE = (("_df1", 1), ("_df2", 1), ("_F", 2), ("ratio_", 2), ("icc_", 2), ("ccc_", 2), ("r_", 2))
OTHERWISE = 3
LOG_DIGITS = 3  # of what stands on the scale of a logarithm
# Analyses whose limits are those of a correlation, not of a value.
OF_CORRELATIONS = ("association",)
# The variable that an analysis takes where the plan does not say.
VARIABLE = {
    **dict.fromkeys(("ancova", "mixed_model", "mmrm", "imputation", "subgroups"), "CHG"),
    **dict.fromkeys(("within_arm", "arm_tests", "rm_anova", "association", "stepwise"), "AVAL"),
}
# Measurements of these do not come from the analysis data sets, but from sheets.
OUTSIDE = {"agreement": "READS", "accuracy": "MEASUREMENTS"}
PURPOSES = {
    "sensitivity": (
        "SENSITIVITY ANALYSIS",
        "Another analysis of the primary endpoint, under other assumptions.",
    ),
    "description": ("DESCRIPTION OF PATIENTS", "Disposition and values without a comparison."),
    "measurement": (
        "QUALITY OF MEASUREMENT",
        "Agreement of methods, readers and repeats, or with a known truth.",
    ),
}
CONTROLLED = {
    name: f"{name.upper()} OUTCOME MEASURE" for name in ("primary", "secondary", "exploratory")
}
DESCRIPTIONS = ("disposition", "baseline", "describe", "adherence", "adverse")
# Analysis data sets of what is no parameter of the trial.
DATASETS = {"disposition": "ADSL", "baseline": "ADSL", "adherence": "ADEX", "adverse": "ADAE"}
SENSITIVITY = ("ancova", "mixed_model", "mmrm", "imputation")
# Kinds of files of a display that ARS does not name; others are told by their suffix alone.
FILES = {
    "html": "Page for a browser",
    "json": "Table as data",
    "tsv": "Tab-separated text",
    "svg": "Vector picture",
    "png": "Picture, 300 dpi",
    "tiff": "Picture, 600 dpi",
}
_ADDRESS = re.compile(r'data-address="([^"]*)"')


def reporting_event(frame, context, strata, folders):
    """Describe plan, results and displays as an ARS reporting event.

    Parameters
    ----------
    frame : DataFrame
        The analysis results table, of all strata.
    context : Context
        Of any stratum.
    strata : list of dict
        ``path`` and ``label`` of all strata in their order; ``column`` and ``value`` of real ones.
    folders : dict of str to path
        Folder of the displays by path of the stratum; may be empty.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the rows of an analysis belong to several analysis sets, or a row can't be read back.
    """
    rows_of_table = _plain(frame)
    methods = Methods(context)
    groups = Groupings(context, rows_of_table)
    subsets = Subsets(context, strata)
    purposes = Purposes(context)
    analyses = [
        _analysis(part, context, methods, groups, subsets, purposes)
        for _, part in rows_of_table.groupby("ANALYSISID", sort=False)
    ]
    outputs, contents = _outputs(context, strata, folders, {one["id"]: one for one in analyses})
    event = {
        "name": context.trial["title"],
        "id": f"RE.{context.trial.get('name') or 'trial'}",
        "version": 1,
        "description": _about(context),
        "mainListOfContents": contents,
        "otherListsOfContents": [_by_method(analyses, rows_of_table)],
        "referenceDocuments": _documents(context, rows_of_table),
        "terminologyExtensions": _terms(outputs, purposes),
        "analysisSets": _analysis_sets(context),
        "analysisGroupings": groups.subjects(),
        "dataSubsets": subsets.made(),
        "dataGroupings": groups.data(),
        "methods": methods.made(),
        "analyses": analyses,
        "outputs": outputs,
    }
    if not event["terminologyExtensions"]:
        del event["terminologyExtensions"]
    _check(event, rows_of_table)
    return event


def write(event, path):
    """Write a reporting event, one line an item; the same event gives the same bytes."""
    slots = []
    for name, value in event.items():
        if isinstance(value, list):
            lines = ",\n".join(map(_json, value))
            slots.append(f"{_json(name)}:[\n{lines}\n]")
        else:
            slots.append(f"{_json(name)}:{_json(value)}")
    with whole(path) as part:
        part.write_text("{\n" + ",\n".join(slots) + "\n}\n", encoding="utf-8")


def _json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def rows(event):
    """Read the results of a reporting event back.

    Parameters
    ----------
    event : dict

    Returns
    -------
    dict of str to (float, int or None)
        By the address of a row in the results table: its value (NaN where it was not estimated)
        and how many observations stand behind it.
    """
    found, counts = {}, {}
    for analysis in event["analyses"]:
        for result in analysis["results"]:
            *place, stat = address_of(analysis, result)
            value = float(result["rawValue"]) if "rawValue" in result else math.nan
            stat, own, _ = stat.partition("#")
            place = tuple(place)
            if stat == NUMBER:
                counts[place, None] = int(value)
            elif own:
                counts[place, stat] = int(value)
            else:
                found[place, stat] = value
    read = {}
    for (place, stat), value in found.items():
        name, group, comparison, level, family = place
        address = "|".join([name, group, comparison, level, stat, family]).rstrip("|")
        read[address] = (value, counts.get((place, stat), counts.get((place, None))))
    return read


def address_of(analysis, result):
    """Return ANALYSISID, GROUP, COMPARISON, LEVEL, FAMILY and STAT of a result.

    STAT is ``N`` for the observations behind the results of a place, and ``<stat>#N`` where those
    of one statistic are others.
    """
    at = dict.fromkeys(("GROUP", "COMPARISON", "LEVEL", "FAMILY"), "")
    for group in result["resultGroups"]:
        if group["groupingId"] == ARM:
            at["GROUP"] = group["groupId"].removeprefix(f"{ARM}.")
        else:
            at[group["groupingId"].removeprefix("GF.")] = group["groupValue"]
    stat = result["operationId"].removeprefix(f"{analysis['methodId']}.")
    return (analysis["id"], *at.values(), stat)


def _check(event, rows_of_table):
    """Make sure that each row of the table can be read back with its value."""
    read = rows(event)
    for row in rows_of_table.to_dict("records"):
        if row["STAT"] == "model":
            continue
        address = _address(row)
        value = read.get(address, (None,))[0]
        if value is None or (value != row["VALUE"] and not (math.isnan(value) and _gone(row))):
            raise ValueError(f"ARS: the result {address} does not come back as it was")


def _plain(frame):
    made = frame.copy()
    for name in made.columns.difference(["VALUE", "N"]):
        made[name] = made[name].fillna("").astype(str)
    made["VALUE"] = made["VALUE"].astype(float)
    several = made.groupby("ANALYSISID")["POPULATION"].nunique()
    if (several > 1).any():
        name = several.index[several > 1][0]
        raise ValueError(f"ARS: the analysis {name} has rows of several analysis sets")
    return made


def _address(row):
    return "|".join([row["ANALYSISID"], *(row[name] for name in KEYS)]).rstrip("|")


def _gone(row):
    return not math.isfinite(row["VALUE"])


class Methods:
    """The methods: one an analysis of the plan and pattern of its results, with its operations.

    The decimals of most results are those of the parameter, and a pattern belongs to the operation,
    so that each number of decimals is a method of its own.
    """

    def __init__(self, context):
        self.context, self.found = context, {}

    def of(self, row):
        """Return the identifier of the method of a row."""
        code = row["PARAMCD"]
        if self.context.has_parameter(code):
            digits, log = self.context.decimals(code), self.context.is_log(code)
        else:
            known = {item["column"]: item for item in self.context.characteristics}
            item = known.get(code) or {}
            digits = int(item.get("decimals", 0)) if item.get("type") == "continuous" else None
            log = False
        tail = "" if digits is None else f".d{digits}{'.log' if log else ''}"
        name = f"M.{row['METHOD']}{tail}"
        self.found.setdefault(name, (row["METHOD"], digits, log, {}))
        return name

    def operation(self, method, stat):
        """Return the identifier of an operation, which the method has from now on."""
        self.found[method][3].setdefault(stat)
        return f"{method}.{stat}"

    def decimals(self, method, stat):
        """Return the decimals of a statistic, or "p" for a p value."""
        name, digits, log, _ = self.found[method]
        return decimals(name, stat, digits, log)

    def shown(self, method, stat, value):
        """Return a number as its pattern prints it."""
        digits = self.decimals(method, stat)
        if digits == "p":
            return text.p_value(value, self.context.style["p"])
        return text.number(value, digits, self.context.style["rounding"])

    def made(self):
        """Return the methods."""
        return [self._made(name, *rest) for name, rest in self.found.items()]

    def _made(self, name, method, digits, log, stats):
        label = ANALYSES.get(method, method)
        what = ""
        if digits is not None:
            what = f" of values with {digits} decimals{' on a log scale' if log else ''}"
        return {
            "name": f"{label}{what}",
            "id": name,
            "label": label,
            "operations": [
                self._operation(name, stat, order) for order, stat in enumerate(stats, start=1)
            ],
            "documentRefs": [{"referenceDocumentId": PLAN}],
        }

    def _operation(self, method, stat, order):
        digits = self.decimals(method, stat)
        bounded = {"csr": "X.XXXX", "jmir": ".XX", "nejm": "X.XX"}[self.context.style["p"]]
        pattern = bounded if digits == "p" else "X" + (f".{'X' * digits}" if digits else "")
        name = "observations used" if stat.endswith(NUMBER) else stat.replace("_", " ")
        return {
            "name": name,
            "id": f"{method}.{stat}",
            "label": stat,
            "order": order,
            "resultPattern": pattern,
        }


def decimals(method, stat, digits, log=False):
    """Return how many decimals a statistic is printed with, or "p" for a p value.

    Parameters
    ----------
    method, stat : str
    digits : int or None
        Decimals of the raw values of the parameter; None where there is no parameter of numbers.
    log : bool
        Whether estimates stand on a log scale.
    """
    if stat.endswith(f"#{NUMBER}") or stat in COUNTS:
        return 0
    if stat == "p" or stat.startswith("p_") or stat.endswith("_p"):
        return "p"
    if stat in DIGITS:
        return DIGITS[stat]
    for piece, fixed in LIKE:
        if stat.startswith(piece) or stat.endswith(piece):
            return fixed
    base = stat
    for limit in ("_ci_low", "_ci_high"):
        base = base.removesuffix(limit)
    if digits is None:
        return OTHERWISE
    if stat in ("ci_low", "ci_high") and method in OF_CORRELATIONS:
        return 2
    if stat in ("min", "max"):
        return digits
    if base not in BY_PARAMETER:
        return OTHERWISE
    described = method in (*DESCRIPTIONS, *OUTSIDE)
    return LOG_DIGITS if log and not described else digits + 1


class Groupings:
    """The groupings of results: arms as groups of the trial, other columns as groups of data."""

    def __init__(self, context, frame):
        self.context = context
        self.codes = [arm["code"] for arm in context.arms]
        self.used = [name for name in DRIVEN if (frame[name] != "").any()]
        if set(frame["GROUP"]) <= {"", *self.groups()}:
            self.used = [name for name in self.used if name != "GROUP"]

    def groups(self):
        """Return the groups of patients: the arms, and all of them where there are several."""
        return [code for code, _ in self.context.groups]

    def of(self, row):
        """Return the groups that a row stands for."""
        found = []
        if row["GROUP"] in self.groups():
            found.append({"groupingId": ARM, "groupId": f"{ARM}.{row['GROUP']}"})
        elif row["GROUP"]:
            found.append({"groupingId": "GF.GROUP", "groupValue": row["GROUP"]})
        for name in ("COMPARISON", "LEVEL", "FAMILY"):
            if row[name]:
                found.append({"groupingId": f"GF.{name}", "groupValue": row[name]})
        return found

    def subjects(self):
        """Return the arm as a grouping of patients."""
        labels = dict(self.context.groups)
        groups = []
        for order, code in enumerate(self.groups(), start=1):
            one = code in self.codes
            condition = {
                "dataset": "ADSL",
                "variable": "TRT01P",
                "comparator": "EQ" if one else "IN",
                "value": [code] if one else self.codes,
            }
            groups.append(
                {
                    "id": f"{ARM}.{code}",
                    "label": labels[code],
                    "level": 1,
                    "order": order,
                    "condition": condition,
                }
            )
        return [
            {
                "id": ARM,
                "label": "Arm as randomised",
                "dataDriven": False,
                "groupingDataset": "ADSL",
                "groupingVariable": "TRT01P",
                "groups": groups,
            }
        ]

    def data(self):
        """Return the groupings that the columns of the results table are."""
        return [
            {
                "id": f"GF.{name}",
                "label": DRIVEN[name],
                "dataDriven": True,
                "groupingDataset": "results.parquet",
                "groupingVariable": name,
            }
            for name in self.used
        ]


class Subsets:
    """The subsets of data: a stratum, a parameter and a visit, as far as an analysis has them."""

    def __init__(self, context, strata):
        self.context, self.found = context, {}
        self.strata = {stratum["path"]: stratum for stratum in strata}

    def of(self, row):
        """Return the identifier of the subset of an analysis, or None where it takes all data."""
        conditions, labels = self._conditions(row)
        if not conditions:
            return None
        name = f"DS.{row['ANALYSISID'].removeprefix(row['METHOD']).lstrip('.')}"
        subset = {"id": name, "label": ", ".join(labels), "level": 1, "order": 1}
        if len(conditions) == 1:
            subset["condition"] = conditions[0]
        else:
            clauses = [
                {"level": 2, "order": order, "condition": condition}
                for order, condition in enumerate(conditions, start=1)
            ]
            subset["compoundExpression"] = {"logicalOperator": "AND", "whereClauses": clauses}
        # Readings and characteristics select in another way than the analysis data of a parameter.
        while name in self.found and _where(self.found[name]) != _where(subset):
            name = f"{name}.{row['METHOD']}"
        subset["id"] = name
        subset["order"] = self.found.get(name, {}).get("order", len(self.found) + 1)
        self.found[name] = subset
        return name

    def _conditions(self, row):
        context, code, conditions, labels = self.context, row["PARAMCD"], [], []
        dataset = OUTSIDE.get(row["METHOD"]) or dataset_of(context, row)
        # A data set of patients knows neither parameters nor visits.
        if dataset != "ADSL" and code:
            conditions.append(_condition(dataset, "PARAMCD", code))
            labels.append(context.label(code) if context.has_parameter(code) else code)
        if dataset != "ADSL" and row["AVISIT"]:
            conditions.append(_condition(dataset, "AVISIT", row["AVISIT"]))
            labels.append(row["AVISIT"])
        stratum = self.strata.get(row["STRATUM"]) or {}
        if stratum.get("column"):
            conditions.append(_condition("ADSL", stratum["column"], str(stratum["value"])))
            labels.append(stratum["label"])
        return conditions, labels

    def made(self):
        """Return the subsets."""
        return list(self.found.values())


def _where(subset):
    return {key: subset[key] for key in ("condition", "compoundExpression") if key in subset}


def _condition(dataset, variable, value):
    return {"dataset": dataset, "variable": variable, "comparator": "EQ", "value": [value]}


def dataset_of(context, row):
    """Return the analysis data set of a row."""
    if row["METHOD"] in DATASETS:
        return DATASETS[row["METHOD"]]
    if not context.has_parameter(row["PARAMCD"]):
        return "ADSL"
    return context.parameter(row["PARAMCD"]).get("DATASET") or "ADQCT"


class Purposes:
    """Why an analysis was made: primary, secondary, exploratory, or a term of our own."""

    def __init__(self, context):
        parts = sections(context.plan, {}) if context.plan.get("primary") else []
        self.primary = parts[0][2][0] if parts else ("", "", "")
        self.secondary = {block for _, _, blocks in parts[1:] for block in blocks}
        self.used = {}

    def of(self, row):
        """Return the coded purpose of an analysis."""
        name = self._name(row)
        if name in PURPOSES:
            self.used[name] = None
            return {"sponsorTermId": f"TE.purpose.{name}"}
        return {"controlledTerm": CONTROLLED[name]}

    def _name(self, row):
        block = (row["PARAMCD"], row["AVISIT"], row["METHOD"])
        if row["METHOD"] in DESCRIPTIONS:
            return "description"
        if row["METHOD"] in OUTSIDE:
            return "measurement"
        if row["STRATUM"] == "all":
            if block == self.primary:
                return "primary"
            if block in self.secondary:
                return "secondary"
            if block[:2] == self.primary[:2] and row["METHOD"] in SENSITIVITY:
                return "sensitivity"
        return "exploratory"


def _analysis(part, context, methods, groups, subsets, purposes):
    """Describe the rows of one ANALYSISID."""
    records = part.to_dict("records")
    first = records[0]
    method, name = methods.of(first), first["METHOD"]
    made = {
        "name": _name(context, first, subsets.strata),
        "id": first["ANALYSISID"],
        "version": 1,
        "description": _description(records),
        "reason": {"controlledTerm": "SPECIFIED IN SAP"},
        "purpose": purposes.of(first),
        "documentRefs": [{"referenceDocumentId": PLAN}],
    }
    if not made["description"]:
        del made["description"]
    if first["POPULATION"]:
        made["analysisSetId"] = f"AS.{first['POPULATION']}"
    subset = subsets.of(first)
    if subset:
        made["dataSubsetId"] = subset
    if name not in OUTSIDE:
        made["dataset"] = dataset_of(context, first)
        variable = _variable(context, first)
        if variable:
            made["variable"] = variable
    results = _results(records, method, methods, groups)
    used = dict.fromkeys(g["groupingId"] for one in results for g in one["resultGroups"])
    made["orderedGroupings"] = [
        {"order": order, "groupingId": grouping, "resultsByGroup": True}
        for order, grouping in enumerate(used, start=1)
    ]
    made["methodId"] = method
    made["programmingCode"] = {
        "context": _software(),
        "documentRef": {"referenceDocumentId": f"DOC.{name}"},
    }
    made["results"] = results
    return made


def _variable(context, row):
    if row["METHOD"] == "disposition":
        return "USUBJID"
    if row["METHOD"] == "baseline":
        return row["PARAMCD"] or None
    section = context.plan.get("analyses", {}).get(row["METHOD"]) or {}
    said = section.get("values") or section.get("response")
    return said if said in ("CHG", "AVAL", "PCHG") else VARIABLE.get(row["METHOD"])


def _name(context, row, strata):
    method = ANALYSES.get(row["METHOD"], row["METHOD"])
    code = row["PARAMCD"]
    known = {item["column"]: item["label"] for item in context.characteristics}
    what = context.label(code) if context.has_parameter(code) else known.get(code, code)
    stratum = (strata.get(row["STRATUM"]) or {}).get("label", row["STRATUM"])
    return f"{method}: {', '.join(filter(None, [what, row['AVISIT'], stratum]))}"


def _description(records):
    """Say the model of an analysis and the notes of its results, each with its address."""
    lines, notes = [], {}
    for row in records:
        if row["STAT"] == "model":
            level = f" ({row['LEVEL']})" if row["LEVEL"] else ""
            lines.append(f"Model{level}: {row['NOTE'].rstrip('. ')}.")
        elif row["NOTE"]:
            notes.setdefault((_gone(row), row["NOTE"]), []).append(_tail(row))
    told = Counter({key: len(places) for key, places in notes.items() if not key[0]})
    usual = told.most_common(1)[0][0] if told else None
    others = sum(row["STAT"] != "model" for row in records)
    # A note of most results is said once; the others then have theirs, or say that they have none.
    if usual and 2 * told[usual] > others:
        bare = [_tail(row) for row in records if row["STAT"] != "model" and not row["NOTE"]]
        notes.pop(usual)
        lines.append(f"Note of all results but those below: {usual[1]}.")
        if bare:
            lines.append(f"No note: {'; '.join(bare)}.")
    for (gone, note), places in notes.items():
        head = "Not estimated" if gone else "Note"
        lines.append(f"{head}: {note}: {'; '.join(places)}.")
    return "\n".join(lines)


def _tail(row):
    return "|".join(row[name] for name in KEYS).rstrip("|")


def _results(records, method, methods, groups):
    """Return the results of an analysis; N stands once a place, or beside what has its own."""
    found, counted = [], {}
    for row in records:
        if row["STAT"] == "model":
            continue
        at = groups.of(row)
        result = {"operationId": methods.operation(method, row["STAT"]), "resultGroups": at}
        if _gone(row):
            result["formattedValue"] = text.NOT_ESTIMATED
        else:
            result["rawValue"] = repr(row["VALUE"])
            result["formattedValue"] = methods.shown(method, row["STAT"], row["VALUE"])
        found.append(result)
        number, place = row["N"], json.dumps(at)
        if number is None or pd.isna(number):
            continue
        if place not in counted:
            counted[place] = number
            found.append(_count(methods, method, NUMBER, at, number))
        elif counted[place] != number:
            found.append(_count(methods, method, f"{row['STAT']}#{NUMBER}", at, number))
    return found


def _count(methods, method, stat, at, number):
    return {
        "operationId": methods.operation(method, stat),
        "resultGroups": at,
        "rawValue": str(int(number)),
        "formattedValue": str(int(number)),
    }


def _software():
    return f"Python; Lungitude {metadata.version('lungitude')}"


def _analysis_sets(context):
    """Return the analysis sets of the plan, each the flag of its patients."""
    return [
        {
            "id": f"AS.{name}",
            "label": population.get("label", name),
            "level": 1,
            "order": order,
            "condition": _condition("ADSL", flag_of(name), "Y"),
        }
        for order, (name, population) in enumerate(
            (context.plan.get("populations") or {}).items(), start=1
        )
    ]


def _outputs(context, strata, folders, analyses):
    """Describe the displays that were made, and list them with the analyses that they show.

    Returns
    -------
    list of dict, dict
        The outputs; the main list of contents: strata, their displays, and the analyses of each.
    """
    outputs, items = [], []
    for stratum in strata:
        folder = folders.get(stratum["path"])
        if folder is None:
            continue
        sublist = []
        for entry in displays.read_manifest(folder):
            if entry["left_out"]:
                continue
            output, shown = _output(entry, stratum, Path(folder))
            outputs.append(output)
            known = [name for name in shown if name in analyses]
            sublist.append(
                {
                    "name": output["name"],
                    "level": 2,
                    "order": len(sublist) + 1,
                    "outputId": output["id"],
                    **_listed(known, analyses, 3),
                }
            )
        items.append(
            {
                "name": stratum["label"],
                "level": 1,
                "order": len(items) + 1,
                "sublist": {"listItems": sublist},
            }
        )
    title = "Tables and figures by stratum, each with the analyses that it shows"
    contents = {"name": title, "label": "Contents", "contentsList": {"listItems": items}}
    return outputs, contents


def _listed(names, analyses, level):
    if not names:
        return {}
    items = [
        {"name": analyses[name]["name"], "level": level, "order": order, "analysisId": name}
        for order, name in enumerate(names, start=1)
    ]
    return {"sublist": {"listItems": items}}


def _output(entry, stratum, folder):
    """Return an output, and the analyses whose numbers it prints in their order."""
    display = entry["display"]
    names = displays.files(display)
    place = f"{stratum['path']}.{display['id']}"
    title = " ".join(filter(None, [displays.title_number(display), display["title"]]))
    if "json" in names:
        made = table.from_json((folder / names["json"]).read_text(encoding="utf-8"))
        addresses = [
            part.address
            for row in made.rows
            for cell in (row.label, *row.cells)
            for part in cell.parts
            if part.address
        ]
        lines = [title, made.population]
        notes = [" ".join(filter(None, note)) for note in made.footnotes] + [made.source]
    else:
        first = next(iter(names.values()))
        picture = (folder / first).read_text(encoding="utf-8")
        addresses = [html.unescape(found) for found in _ADDRESS.findall(picture)]
        lines, notes = [title, stratum["label"]], [entry["caption"]]
    parts = {"Title": lines, "Footnote": notes}
    made = {
        "name": title,
        "id": f"OUT.{place}",
        "label": f"{display['title']}: {stratum['label']}",
        "version": 1,
        "fileSpecifications": [_file(stratum, suffix, name) for suffix, name in names.items()],
        "displays": [
            {
                "order": 1,
                "display": {
                    "name": title,
                    "id": f"DISP.{place}",
                    "displayTitle": "; ".join(filter(None, lines)),
                    "displaySections": [
                        _section(place, kind, list(filter(None, found)))
                        for kind, found in parts.items()
                    ],
                },
            }
        ],
    }
    return made, list(dict.fromkeys(address.partition("|")[0] for address in addresses))


def _section(place, kind, lines):
    return {
        "sectionType": kind,
        "orderedSubSections": [
            {
                "order": order,
                "subSection": {"id": f"SEC.{place}.{kind.lower()}.{order}", "text": line},
            }
            for order, line in enumerate(lines, start=1)
        ],
    }


def _file(stratum, suffix, name):
    kind = {"controlledTerm": "pdf"} if suffix == "pdf" else {"sponsorTermId": f"TE.file.{suffix}"}
    location = f"../report/{stratum['path']}/displays/{name}"
    return {"name": name, "location": location, "fileType": kind}


def _by_method(analyses, frame):
    """List all analyses by their method, also those that no display shows."""
    known = {analysis["id"]: analysis for analysis in analyses}
    order = dict(zip(frame["ANALYSISID"], frame["METHOD"], strict=True))
    names = {}
    for analysis, method in order.items():
        names.setdefault(method, []).append(analysis)
    items = [
        {
            "name": ANALYSES.get(method, method),
            "level": 1,
            "order": place,
            **_listed(found, known, 2),
        }
        for place, (method, found) in enumerate(names.items(), start=1)
    ]
    return {"name": "All analyses by method", "contentsList": {"listItems": items}}


def _documents(context, frame):
    """Return the documents that analyses refer to: the plan, and the script of each analysis."""
    digest = context.provenance.get("plan", "")
    plan = {
        "name": "Analysis plan",
        "id": PLAN,
        "description": f"plan.yaml as it was run; digest {str(digest)[:16]}",
    }
    scripts = [
        {
            "name": f"analyse_{method}.py",
            "id": f"DOC.{method}",
            "description": f"Script of Lungitude: {ANALYSES.get(method, method)}",
            "location": f"scripts/analyse_{method}.py",
        }
        for method in dict.fromkeys(frame["METHOD"])
    ]
    return [plan, *scripts]


def _terms(outputs, purposes):
    """Return the terms that ARS lacks and that are used here."""
    suffixes = dict.fromkeys(
        file["fileType"].get("sponsorTermId", "").rpartition(".")[2]
        for output in outputs
        for file in output["fileSpecifications"]
    )
    sets = [
        (
            "AnalysisPurposeEnum",
            [(f"TE.purpose.{name}", *PURPOSES[name]) for name in PURPOSES if name in purposes.used],
        ),
        (
            "OutputFileTypeEnum",
            [
                (f"TE.file.{suffix}", suffix, FILES.get(suffix, f"File .{suffix}"))
                for suffix in suffixes
                if suffix
            ],
        ),
    ]
    return [
        {
            "id": f"TE.{name}",
            "enumeration": name,
            "sponsorTerms": [
                {"id": term, "submissionValue": value, "description": said}
                for term, value, said in terms
            ],
        }
        for name, terms in sets
        if terms
    ]


def _about(context):
    lines = [
        "Results of a run of Lungitude. The address of a result in results.parquet is its analysis "
        "(ANALYSISID), its groups (GROUP, COMPARISON, LEVEL, FAMILY) and its operation (STAT); the "
        "operation N counts the observations behind the results of the same groups.",
        "Without a raw value: not estimated, with the reason in the description of the analysis.",
        "Specified in SAP: in plan.yaml, which the run obeyed; when it was written is not known "
        "here.",
        *(f"{name} {str(value)[:16]}" for name, value in context.provenance.items()),
    ]
    if context.trial.get("data_cut"):
        lines.append(f"Data cut {context.trial['data_cut']}.")
    if context.trial.get("synthetic"):
        lines.append("SYNTHETIC TRIAL: every patient and every number is simulated.")
    return "\n".join(lines)
