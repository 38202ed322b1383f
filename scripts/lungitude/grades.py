"""Factors made from numbers by cut-points, such as a GOLD grade, beside what was recorded.

`derive` of config.yaml declares them; nothing here knows a disease.
"""

import pandas as pd

from lungitude import reference_values
from lungitude.checks import Problem, nearest, shown
from lungitude.sheets import numbers

COLUMNS = ["USUBJID", "COLUMN", "RECORDED", "DERIVED", "USED", "REASON"]
DIFFERS = "the recorded one differs"
NOT_RECORDED = "not recorded"


def classes(values, rule):
    """Class of each value.

    Parameters
    ----------
    values : Series of float
    rule : dict
        ``cuts`` (in one direction), ``labels`` (one more, from the side of the first cut) and
        ``at_cut``: whether a value at a cut belongs to the class of larger values (``upper``).

    Returns
    -------
    Series of str
        Missing where the value is.
    """
    cuts, labels = list(rule["cuts"]), list(rule["labels"])
    if cuts != sorted(cuts):
        cuts, labels = cuts[::-1], labels[::-1]
    edges = [-float("inf"), *cuts, float("inf")]
    found = pd.cut(values, edges, labels=labels, right=rule.get("at_cut") == "lower")
    return found.astype(object).where(values.notna())


def derive(subjects, rules):
    """Add the factors that config.yaml derives.

    Parameters
    ----------
    subjects : DataFrame
        USUBJID and the columns that the rules name.
    rules : dict of str to dict
        ``derive`` of config.yaml, by column.

    Returns
    -------
    DataFrame, DataFrame
        The subjects with the columns; and one row (`COLUMNS`) for each patient whose derived class
        is missing, differs from the recorded one, or was not recorded.
    """
    table, listed = subjects.copy(), []
    for column, rule in rules.items():
        values = numbers(subjects[rule["from"]].astype(object).map(str, na_action="ignore"))
        made = classes(values, rule)
        reason = pd.Series("", subjects.index, dtype=object)
        reason = reason.mask(values.isna(), f"{rule['from']} is missing")
        where = rule.get("where")
        if where:
            name, limit = where["column"], where["below"]
            other = numbers(subjects[name].astype(object).map(str, na_action="ignore"))
            told = f"{name} is not below {limit:g}"
            reason = reason.mask(other.isna() & (reason == ""), f"{name} is missing")
            reason = reason.mask((other >= limit) & (reason == ""), told)
            made = made.where(other < limit)
        made = made.where(made.notna(), None)
        recorded, used = pd.Series(None, subjects.index, dtype=object), made
        if "recorded" in rule:
            recorded = subjects[rule["recorded"]].astype(object)
            used = recorded if rule["use"] == "recorded" else made
            differs = recorded.notna() & made.notna() & (recorded != made)
            reason = reason.mask(differs, DIFFERS)
            reason = reason.mask(recorded.isna() & (reason == ""), NOT_RECORDED)
        table[column] = used
        odd = reason != ""
        listed.append(
            pd.DataFrame(
                {
                    "USUBJID": subjects["USUBJID"],
                    "COLUMN": column,
                    "RECORDED": recorded,
                    "DERIVED": made,
                    "USED": used,
                    "REASON": reason,
                }
            ).loc[odd]
        )
    return table, pd.concat(listed, ignore_index=True)[COLUMNS]


def text_columns(rules):
    """Columns of subjects.tsv with recorded classes, to be read as text."""
    return [rule["recorded"] for rule in rules.values() if "recorded" in rule]


# --- Checks of a trial's folder ---------------------------------------------------------------


def sheet_columns(config):
    """Return the schema of the columns of subjects.tsv that factors are derived from."""
    declared = {item["column"] for item in config["characteristics"]}
    found = {}
    for rule in config.get("derive", {}).values():
        for name in (rule["from"], rule.get("where", {}).get("column")):
            if name and name not in declared:
                found[name] = {"type": "number"}
        if "recorded" in rule:
            found[rule["recorded"]] = {"type": "string", "enum": list(rule["labels"])}
    return found


def made(config):
    """Columns that subjects.tsv need not have, since they are derived."""
    return set(config.get("derive", {})) - set(text_columns(config.get("derive", {})))


def config_problems(config, problem):
    """Yield what is wrong with the rules in config.yaml.

    Parameters
    ----------
    config : dict
        With the defaults of the schema filled in.
    problem : callable
        Of a `Document`.
    """
    described = {item["column"]: item for item in config["characteristics"]}
    factors = {factor["column"]: factor for factor in config["strata"]}
    for column, rule in config.get("derive", {}).items():
        keys, cuts, labels = ["derive", column], list(rule["cuts"]), list(rule["labels"])
        if len(labels) != len(cuts) + 1:
            text = f"{len(cuts)} cuts make {len(cuts) + 1} classes, but there are {len(labels)} "
            yield problem([*keys, "labels"], text + "labels; mend one of the two")
        if len(set(labels)) < len(labels):
            yield problem([*keys, "labels"], "a label is there twice; each must be unique")
        if cuts not in (sorted(set(cuts)), sorted(set(cuts), reverse=True)):
            text = "the cuts must rise or fall from one to the next; put them in order"
            yield problem([*keys, "cuts"], text)
        if column not in {**described, **factors}:
            text = f"neither 'strata' nor 'characteristics' has the column '{column}' that is "
            yield problem(keys, text + "derived here; name it there, or delete the rule")
        for name in (rule["from"], rule.get("where", {}).get("column")):
            if described.get(name, {}).get("type") == "category":
                text = f"'{name}' is a 'category' in 'characteristics', but classes are made of "
                yield problem(keys, text + "numbers; name a continuous column")
        known = [level["value"] for level in factors.get(column, {}).get("levels", ())]
        known = known or list(described.get(column, {}).get("levels", ()))
        for label in labels if known else ():
            if label not in known:
                text = f"label '{label}' is no level of '{column}' in 'strata' or "
                text += f"'characteristics'; {nearest(label, known)}"
                yield problem([*keys, "labels"], text)
        if "recorded" not in rule and (rule["use"] == "recorded" or rule["discordance"] == "stop"):
            text = "'use: recorded' and 'discordance: stop' need the recorded classes; name their "
            yield problem(keys, text + "column as 'recorded', or delete them")
        if "subjects" not in config["sheets"]:
            text = "classes are made of columns of subjects.tsv; add 'sheets: subjects'"
            yield problem(keys, text)


def problems(trial):
    """Yield the patients whose recorded class is not the derived one, where that is to stop.

    Parameters
    ----------
    trial : Trial
        Whose subjects.tsv was read without faults.
    """
    every = trial.config["derive"]
    rules = {column: rule for column, rule in every.items() if rule["discordance"] == "stop"}
    if not rules:
        return
    subjects = reference_values.with_baseline(trial)
    _, listed = derive(subjects, rules)
    line = pd.Series(trial.subjects.index, trial.subjects["USUBJID"]) + 2
    for row in listed.itertuples():
        rule = rules[row.COLUMN]
        if pd.isna(row.RECORDED):
            continue
        place = (str(trial.paths["subjects"]), int(line[row.USUBJID]), rule["recorded"])
        told = f"{shown(row.RECORDED)} is recorded for {row.USUBJID}, but "
        if row.REASON == DIFFERS:
            value = subjects.set_index("USUBJID").loc[row.USUBJID, rule["from"]]
            told += f"by {rule['from']} {value} it is '{row.DERIVED}'"
        else:
            told += f"there is no class by the rule: {row.REASON}"
        yield Problem(*place, f"{told}; mend one, or say 'discordance: list'")
