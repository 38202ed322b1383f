"""Lung function beside that of healthy people: % predicted, z score, predicted value, lower limit.

Equations are those of the Global Lung Function Initiative, whose L, M and S come from pyspiro; what
is made of them is the LMS method (Cole and Green 1992): z = ((value / M)^L - 1) / (L S).
"""

import functools

import numpy as np
import pandas as pd

from lungitude import units
from lungitude.checks import Problem, nearest
from lungitude.sheets import numbers

# By equations: the class of pyspiro, and by quantity its parameter there and the unit it is in.
SPIROMETRY = {"FEV1": ("FEV1", "L"), "FVC": ("FVC", "L"), "FEV1FVC": ("FEV1FVC", "")}
EQUATIONS = {
    "gli_2022": ("BOWERMAN_2022", SPIROMETRY),
    "gli_2012": ("GLI_2012", {**SPIROMETRY, "FEF2575": ("FEF25_75", "L/s")}),
    "gli_2017": (
        "GLI_2017",
        {
            "DLCO": ("TLCO", "mmol/min/kPa"),
            "KCO": ("KCO_SI", "mmol/min/kPa/L"),
            "VA": ("VA", "L"),
        },
    ),
    "gli_2021": (
        "GLI_2021",
        {name: (name, "L") for name in ("FRC", "TLC", "RV", "ERV", "IC", "VC")},
    ),
}
BY_ANCESTRY = ("gli_2012",)
# As pyspiro numbers them.
ANCESTRIES = {
    "caucasian": 1,
    "african_american": 2,
    "north_east_asian": 3,
    "south_east_asian": 4,
    "other": 5,
}
GIVEN = ("percent", "z", "predicted", "lower_limit")
PERCENT = ("%", "% predicted")  # units that a parameter in percent may have
TALL_CM = (50.0, 250.0)
SOURCE = "derived"


@functools.cache
def _equation(name):
    import pyspiro  # seconds to load, and few trials ask for it

    made = getattr(pyspiro, EQUATIONS[name][0])()
    made.set_silence(True)
    return made


def asked(rule, settings):
    """Return equations and quantity of a parameter: its own, else those of all and its source."""
    equations = rule.get("equations") or settings["equations"]
    return equations, rule.get("quantity") or rule["of"]


def lms(equations, quantity, sex, age, height, ancestry=None):
    """Return L, M and S of a quantity.

    Parameters
    ----------
    equations, quantity : str
        Of `EQUATIONS`.
    sex : Series of str
        ``male`` or ``female``.
    age, height : Series of float
        In years and cm.
    ancestry : Series of str, optional
        Of `ANCESTRIES`; only ``gli_2012`` asks for it.

    Returns
    -------
    DataFrame
        l m s, in the unit of the quantity; NaN where a value is missing, or beyond the ages that
        the equations hold for.
    """
    made = _equation(equations)
    parameter = made.Parameters[EQUATIONS[equations][1][quantity][0]]
    rows = {}
    table = pd.DataFrame({"sex": sex, "age": age, "height": height})
    table["ancestry"] = ancestry if ancestry is not None else "other"
    for key in table.dropna().drop_duplicates().itertuples(index=False):
        given = [int(key.sex == "male"), float(key.age), float(key.height)]
        if equations in BY_ANCESTRY:
            given.append(ANCESTRIES[key.ancestry])
        found = made.lms(*given, parameter, 1.0)
        rows[tuple(key)] = [np.nan if pd.isna(value) else float(value) for value in found]
    missing = [np.nan] * 3
    found = [rows.get(tuple(key), missing) for key in table.itertuples(index=False)]
    return pd.DataFrame(found, index=table.index, columns=["l", "m", "s"], dtype=float)


def relative(values, found, give):
    """Return values beside L, M and S: ``percent``, ``z``, ``predicted`` or ``lower_limit``."""
    lam, m, s = found["l"], found["m"], found["s"]
    if give == "predicted":
        return m
    if give == "lower_limit":  # 5 of 100 healthy people lie below it
        return m * (1 - 1.644854 * lam * s) ** (1 / lam)
    return 100 * values / m if give == "percent" else ((values / m) ** lam - 1) / (lam * s)


def of_patients(subjects, settings):
    """Return sex, age, height and ancestry of patients as the equations take them.

    Parameters
    ----------
    subjects : DataFrame
        USUBJID and the columns that the settings name.
    settings : dict
        ``reference_values`` of config.yaml.

    Returns
    -------
    DataFrame
        Indexed by USUBJID.
    """
    table = subjects.set_index("USUBJID")
    sexes = {settings["sex"]["male"]: "male", settings["sex"]["female"]: "female"}
    found = pd.DataFrame({"sex": table[settings["sex"]["column"]].astype(object).map(sexes)})
    for name in ("age", "height"):
        found[name] = numbers(table[settings[name]].astype(object).map(str, na_action="ignore"))
    if "ancestry" in settings:
        given = table[settings["ancestry"]["column"]].astype(object)
        found["ancestry"] = given.map(settings["ancestry"]["values"])
    return found


def derive(measurements, subjects, parameters, settings):
    """Make the parameters that are values beside those of healthy people.

    Parameters
    ----------
    measurements : DataFrame
        USUBJID AVISIT PARAMCD AVAL, and more columns, which each made row takes over.
    subjects : DataFrame
    parameters : DataFrame
        PARAMCD AVALU.
    settings : dict
        ``reference_values`` of config.yaml.

    Returns
    -------
    DataFrame
        Rows like those of `measurements`, SOURCE ``derived``; a value without a reference, since
        sex, age or height is missing or beyond the equations, has none.
    """
    patients, made = of_patients(subjects, settings), []
    unit_of = parameters.set_index("PARAMCD")["AVALU"].fillna("")
    for code, rule in settings["parameters"].items():
        rows = measurements.loc[measurements["PARAMCD"] == rule["of"]].copy()
        equations, quantity = asked(rule, settings)
        unit = EQUATIONS[equations][1][quantity][1]
        who = patients.reindex(rows["USUBJID"]).set_axis(rows.index)
        found = lms(
            *(equations, quantity, who["sex"], who["age"], who["height"], who.get("ancestry"))
        )
        factor = float(units.convert("1", unit_of[rule["of"]], unit))
        values = relative(
            pd.to_numeric(rows["AVAL"], errors="coerce") * factor, found, rule["give"]
        )
        if rule["give"] in ("predicted", "lower_limit"):
            values = values * float(units.convert("1", unit, unit_of[code]))
        rows = rows.assign(PARAMCD=code, AVAL=values, AVALU=unit_of[code], SOURCE=SOURCE)
        made.append(rows.loc[rows["AVAL"].notna()])
    return pd.concat(made, ignore_index=True)


# --- Checks of a trial's folder ---------------------------------------------------------------


def sheet_columns(config):
    """Return the schema of the columns of subjects.tsv that the equations ask for."""
    settings = config.get("reference_values")
    if not settings:
        return {}
    declared = {item["column"] for item in config["characteristics"]}
    sex, low, high = settings["sex"], *TALL_CM
    found = {
        settings["age"]: {"type": "number", "minimum": 0, "maximum": 120, "unit": "years"},
        settings["height"]: {"type": "number", "minimum": low, "maximum": high, "unit": "cm"},
        sex["column"]: {"type": "string", "enum": [sex["male"], sex["female"]]},
    }
    if "ancestry" in settings:
        ancestry = settings["ancestry"]
        found[ancestry["column"]] = {"type": "string", "enum": list(ancestry["values"])}
    return {name: spec for name, spec in found.items() if name not in declared}


def problems(config, parameters, problem):
    """Yield what is wrong with the settings.

    Parameters
    ----------
    config : dict
        With the defaults of the schema filled in.
    parameters : DataFrame
        Of parameters.tsv.
    problem : callable
        Of a `Document`.
    """
    settings = config["reference_values"]
    unit_of = parameters.dropna(subset=["PARAMCD"]).set_index("PARAMCD")["AVALU"].fillna("")
    for code, rule in settings["parameters"].items():
        keys = ["reference_values", "parameters", code]
        unknown = [name for name in (code, rule["of"]) if name not in unit_of]
        for name in unknown:
            text = (
                f"parameter '{name}' is not in parameters.tsv; {nearest(name, list(unit_of.index))}"
            )
            yield problem(keys, text)
        equations, quantity = asked(rule, settings)
        known = EQUATIONS[equations][1]
        if quantity not in known:
            text = f"{equations} has no '{quantity}'; say 'quantity', {nearest(quantity, known)}"
            yield problem(keys, text)
            continue
        if equations in BY_ANCESTRY and "ancestry" not in settings:
            text = (
                f"{equations} differs by ancestry; name the column of subjects.tsv as 'ancestry',"
            )
            yield problem(keys, f"{text} or take gli_2022, which does not")
        if unknown:
            continue
        unit, give = known[quantity][1], rule["give"]
        if give == "percent" and unit_of[code] not in PERCENT:
            text = f"{code} is in percent, but parameters.tsv says '{unit_of[code]}'; write "
            yield problem(keys, text + " or ".join(f"'{name}'" for name in PERCENT))
        for name in [rule["of"], *([code] if give in ("predicted", "lower_limit") else [])]:
            try:
                units.convert("1", unit_of[name], unit)
            except units.UnitError:
                text = f"the unit of {name} in parameters.tsv is '{unit_of[name]}', which does not "
                yield problem(keys, f"{text}convert to '{unit or '1'}'; mend it there")


def measured(trial):
    """Yield the rows of measurements.tsv with parameters that are made here."""
    made, frame = taken(trial.config["reference_values"]), trial.measurements
    path = str(trial.paths.get("measurements", ""))
    for row in frame.loc[frame["PARAMCD"].isin(made)].itertuples():
        text = (
            f"{row.PARAMCD} is made by 'reference_values' of config.yaml; delete it here, or there"
        )
        yield Problem(path, row.Index + 2, "PARAMCD", text)


def with_baseline(trial):
    """Return the patients of a trial with the made parameters at the baseline, as `onto` does."""
    settings = trial.config.get("reference_values")
    if not settings:
        return trial.subjects
    rows = trial.measurements
    rows = rows.loc[rows["AVISIT"] == trial.baseline["name"]]
    values = rows.assign(AVAL=numbers(rows["AVAL"]))
    made = derive(values, trial.subjects, trial.parameters, settings)
    return onto(trial.subjects, made, trial.baseline["name"], settings)


def taken(settings):
    """Return the parameters that are made, and can't be measured as well."""
    return set((settings or {}).get("parameters", ()))


def onto(subjects, measurements, baseline, settings):
    """Add to the patients the made parameters at the baseline, of which classes can be made.

    Parameters
    ----------
    subjects : DataFrame
    measurements : DataFrame
        With the rows of `derive`.
    baseline : str
        Name of the visit.
    settings : dict or None

    Returns
    -------
    DataFrame
        The subjects, with a column for each parameter.
    """
    table = subjects.copy()
    for code in taken(settings):
        rows = measurements.loc[
            (measurements["PARAMCD"] == code) & (measurements["AVISIT"] == baseline)
        ]
        values = rows.drop_duplicates("USUBJID").set_index("USUBJID")["AVAL"]
        table[code] = table["USUBJID"].map(values)
    return table
