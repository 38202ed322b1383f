"""What the analyses share: the patients of an analysis set with their values as arrays."""

import re
import warnings

import numpy as np
import pandas as pd

from lungitude import tables
from lungitude.adam import flag_of
from lungitude.analysis import pooling
from lungitude.statistics.multiplicity import adjust

ALL = "all"
TOTAL = "TOTAL"
ARM = "TRT01P"
RATIO = ("ratio", "ratio_ci_low", "ratio_ci_high")
RATIO_NOTE = {
    "log": "ratio of geometric means",
    "log1p": "ratio of geometric means of value + 1",
}


def run(job, analyse, *options):
    """Run an analysis of the records of all visits, and write its rows.

    Parameters
    ----------
    job : snakemake.script.Snakemake or a stand-in
    analyse : callable
        Of the modules of this package, from ADSL to characteristics.
    options : str
        Choices of the plan that the analysis takes: ``confidence``, ``quantiles``.
    """
    params = job.params
    adsl = tables.read_parquet(job.input.adsl)
    records = [tables.read_parquet(job.input.adqct), tables.read_parquet(job.input.adfun)]
    parameters, found = tables.read(job.input.parameters), []
    for section in sections(params.plan):
        found.append(
            analyse(
                adsl,
                records,
                parameters,
                section,
                params.arms,
                params.visits,
                strata=params.strata,
                characteristics=params.characteristics,
                **{option: getattr(params, option) for option in options},
            )
        )
        if section is not params.plan:
            found[-1]["ANALYSISID"] += f".{section['population']}"
    parts = [table for table in found if len(table)] or found[:1]
    tables.write_parquet(pd.concat(parts, ignore_index=True), job.output.results)


def sections(section):
    """Return a section of the plan, and one for each other analysis set of its ``also_in``."""
    others = section.get("also_in") or {}
    return [section] + [
        {**section, "population": population, "parameters": parameters}
        for population, parameters in others.items()
    ]


class Cohort:
    """An analysis set: one position a patient in every array.

    Parameters
    ----------
    adsl : DataFrame
    records : iterable of DataFrame
        BDS tables; rows with ANL01FL other than Y are left out.
    population : str
        ITT, SAF, PP or another flag of ADSL.
    arms, visits, strata, characteristics : list of dict
        As in config.yaml.

    Attributes
    ----------
    patients : DataFrame
    arms : list of str
        Codes in the order of config.yaml.
    reference : str
    arm : ndarray of str
    measured : dict of (PARAMCD, AVISIT) to ndarray
        AVAL, NaN where missing.
    dated : dict of (PARAMCD, AVISIT) to ndarray
        Their dates (ADT) as text, None where missing.
    """

    def __init__(self, adsl, records, population, arms, visits, strata=(), characteristics=()):
        flag = flag_of(population)
        if flag not in adsl:
            raise ValueError(f"population {population!r}: ADSL has no flag {flag}")
        self.population = population
        self.patients = adsl.loc[adsl[flag] == "Y"].reset_index(drop=True)
        self.arms = [arm["code"] for arm in arms]
        self.reference = reference_arm(arms)
        self.arm = self.patients[ARM].to_numpy(dtype=object)
        self.visits, self.factors = list(visits), list(strata)
        self.characteristics = list(characteristics)
        self.places = {visit["name"]: visit["path"] for visit in visits}
        self.measured, self.dated = {}, {}
        position = pd.Series(self.patients.index, index=self.patients["USUBJID"])
        for table in records:
            used = table.loc[
                (table["ANL01FL"] == "Y")
                & table["AVAL"].notna()
                & table["USUBJID"].isin(position.index)
            ]
            for key, rows in used.groupby(["PARAMCD", "AVISIT"], sort=False, observed=True):
                values = np.full(len(self.patients), np.nan)
                at = position[rows["USUBJID"]].to_numpy()
                values[at] = rows["AVAL"].to_numpy(dtype=float)
                self.measured[key] = values
                self.dated[key] = np.full(len(self.patients), None, dtype=object)
                self.dated[key][at] = rows["ADT"].to_numpy(dtype=object)

    @property
    def baseline(self):
        """Name of the baseline visit."""
        return next(visit["name"] for visit in self.visits if visit.get("baseline"))

    @property
    def post_baseline(self):
        """Names of the visits after the baseline."""
        first = next(visit["number"] for visit in self.visits if visit.get("baseline"))
        return [visit["name"] for visit in self.visits if visit["number"] > first]

    @property
    def compared(self):
        """Arms that are compared with the reference."""
        return [code for code in self.arms if code != self.reference]

    def strata(self):
        """Yield path, column and mask of all patients and of each level of each factor."""
        yield ALL, "", np.ones(len(self.patients), dtype=bool)
        for factor in self.factors:
            values = self.patients[factor["column"]].to_numpy(dtype=object)
            for level in factor["levels"]:
                yield level["path"], factor["column"], values == str(level["value"])

    def groups(self, mask, total=True):
        """Return masks of the patients of a stratum by arm, and of several arms together."""
        found = {code: mask & (self.arm == code) for code in self.arms}
        return {**found, TOTAL: mask} if total and len(self.arms) > 1 else found

    def value(self, param, visit, transform="none"):
        """AVAL of a parameter at a visit on the scale of the analysis, NaN where missing."""
        raw = self.measured.get((param, visit))
        if raw is None:
            return np.full(len(self.patients), np.nan)
        return scaled(raw, transform)

    def response(self, param, visit, kind="CHG", transform="none"):
        """AVAL or CHG (log scale: log ratio to the baseline) of a parameter at a visit."""
        values = self.value(param, visit, transform)
        return values - self.value(param, self.baseline, transform) if kind == "CHG" else values

    def days_apart(self, one, other, visit):
        """Days between two parameters at a visit, NaN where a date is missing."""
        nobody = np.full(len(self.patients), None, dtype=object)
        first, second = (
            pd.to_datetime(pd.Series(self.dated.get((param, visit), nobody)))
            for param in (one, other)
        )
        return (first - second).dt.days.abs().to_numpy(dtype=float)

    def covariate(self, name, param, transform="none"):
        """Give BASE of a parameter, or a column of ADSL as numbers or ordered categories."""
        if name == "BASE":
            return pd.Series(self.value(param, self.baseline, transform))
        if name not in self.patients:
            raise ValueError(
                f"covariate {name!r} is neither BASE nor a column of ADSL "
                f"({', '.join(self.patients.columns)})"
            )
        column = self.patients[name]
        if pd.api.types.is_numeric_dtype(column):
            return column.astype(float)
        return pd.Series(pd.Categorical(column, categories=self.levels(name)))

    def levels(self, name):
        """Levels of a category in the order of config.yaml, else sorted."""
        for factor in self.factors:
            if factor["column"] == name:
                return [str(level["value"]) for level in factor["levels"]]
        found = sorted(self.patients[name].dropna().unique())
        for item in self.characteristics:
            if item["column"] == name and item.get("levels"):
                named = [str(value) for value in item["levels"]]
                return named + [value for value in found if value not in named]
        return found

    def pooled(self, data, terms, patient=None):
        """Join sparse levels of stratum factors among the terms of a model, as config.yaml says.

        Parameters
        ----------
        data : DataFrame
            The rows of the model; `patient` is the column of patients who have several.
        terms : list of str

        Returns
        -------
        DataFrame, str
            What was pooled, for notes.
        """
        said = []
        for factor in self.factors:
            rule, name = factor.get("pool"), factor["column"]
            if not rule or name not in terms or data.empty:
                continue
            one = data if patient is None else data.drop_duplicates(patient)
            count = pd.crosstab(one[name].astype(object), one[ARM])
            count = count.loc[:, count.sum() >= 2]  # other arms are in no model
            if count.empty:
                continue
            count = dict(zip(count.index, count.to_numpy().tolist(), strict=True))
            found = pooling.groups(count, self.levels(name), rule["below"], rule["into"])
            names = {level: pooling.JOINT.join(group) for group in found for level in group}
            joint = data[name].astype(object).map(names)
            levels = list(dict.fromkeys(names.values()))
            data = data.assign(**{name: pd.Categorical(joint, categories=levels)})
            said.append(pooling.told(name, found, rule["below"]))
        return data, "; ".join(filter(None, said))

    def data(self, param, covariates, transform="none"):
        """Frame of arm and covariates; a response is added by the caller."""
        columns = {ARM: self.arm}
        columns.update({name: self.covariate(name, param, transform) for name in covariates})
        return pd.DataFrame(columns)


def reference_arm(arms):
    """Code of the arm that others are compared with."""
    marked = [arm["code"] for arm in arms if arm.get("reference")]
    if len(arms) < 2:
        return arms[0]["code"] if arms else ""
    if len(marked) != 1:
        raise ValueError(
            f"{len(marked)} arms are marked 'reference: true'; one of "
            f"{', '.join(arm['code'] for arm in arms)} must be"
        )
    return marked[0]


def scaled(values, transform="none"):
    """Values on the scale of the analysis; what has no logarithm becomes NaN."""
    if transform in ("log", "log1p"):
        shifted = values + (transform == "log1p")
        return np.log(np.where(shifted > 0, shifted, np.nan))
    if transform != "none":
        raise ValueError(f"transform {transform!r} is not one of 'none', 'log', 'log1p'")
    return values


def transform_of(parameters, param):
    """TRANSFORM of a parameter, none where the sheet has none."""
    if "TRANSFORM" not in parameters:
        return "none"
    found = parameters.loc[parameters["PARAMCD"] == param, "TRANSFORM"]
    return found.iloc[0] if len(found) and pd.notna(found.iloc[0]) else "none"


def chosen(wanted, parameters):
    """PARAMCD of a section: all in the order of the sheet, or those that the plan lists."""
    known = list(parameters["PARAMCD"])
    if wanted == "all":
        return known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"plan: parameter {', '.join(unknown)} is not in parameters")
    return list(wanted)


def chosen_visits(wanted, cohort):
    """AVISIT of a section: post-baseline, or those that the plan lists."""
    if wanted == "post-baseline":
        return cohort.post_baseline
    unknown = [name for name in wanted if name not in cohort.places]
    if unknown:
        raise ValueError(f"plan: visit {', '.join(unknown)} is not in config.yaml")
    return list(wanted)


def patients(count):
    """``no patient``, ``1 patient`` or ``7 patients``."""
    return "no patient" if count == 0 else f"{count} patient{'s' * (count != 1)}"


def why_not(cause):
    """Note of a row that could not be estimated."""
    return f"not estimated: {cause}"


def missing(stats, note):
    """NaN for each of `stats`, with the note that says why."""
    return dict.fromkeys(stats, np.nan), note


def planned_visits(section, cohort):
    """AVISIT of a section that takes all by default, the baseline too, in the order of time."""
    wanted = section.get("visits", "all")
    named = list(cohort.places) if wanted == "all" else chosen_visits(wanted, cohort)
    number = {visit["name"]: visit["number"] for visit in cohort.visits}
    return sorted(named, key=number.get)


def attempted(function, *args, **kwargs):
    """Call a statistic: what it returns and what it warns of, or None and why there is nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            found = function(*args, **kwargs)
        except ValueError as error:
            return None, _plain(error)
    said = []
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            said.append(_plain(warning.message))
        else:  # of a library, for the log and not for a reader of a table
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return found, "; ".join(dict.fromkeys(said))


def _plain(message):
    """Message without the name of the function, which says nothing to a reader of a table."""
    return re.sub(r"^[a-z_]+( of \w+)?: (not estimable: )?", "", str(message))


def noted(values, note="", gap="no finite value"):
    """Values for `Rows.add` with a note of each: what is not finite becomes NaN and says why."""
    known = {stat: value if np.isfinite(value) else np.nan for stat, value in values.items()}
    lost = "; ".join(filter(None, [note, why_not(gap or "no finite value")]))
    return known, {stat: lost if np.isnan(value) else note for stat, value in known.items()}


def too_few(count, codes, least=2):
    """Say which of the arms have fewer than `least` patients, such as ``1 patient in EG``."""
    short = [(code, int(count.get(code, 0))) for code in codes if count.get(code, 0) < least]
    return ", ".join(f"{patients(size)} in {code}" for code, size in short)


def scale_note(transform, lost=0):
    """Say on which scale the values were analysed, and how many have no value on it."""
    if transform == "none":
        return ""
    return f"{transform} scale" + (f", {patients(lost)} left out without a logarithm" * (lost > 0))


def add_difference(rows, values, n, note, transform, ratio_note=None, **keys):
    """Add an estimate with its interval and, of a difference of logarithms, the ratio."""
    found, notes = noted(values, note)
    if transform != "none":
        with np.errstate(over="ignore"):
            ratio = np.exp([found[name] for name in ("estimate", "ci_low", "ci_high")])
        ratio = dict(zip(RATIO, ratio, strict=True))
        more = noted(ratio, ratio_note or RATIO_NOTE[transform])
        found, notes = {**found, **more[0]}, {**notes, **more[1]}
    rows.add(found, n, note=notes, **keys)


def add_adjusted(rows, method, cells, family):
    """Add STAT p_adj of a family of tests.

    Parameters
    ----------
    rows : Rows
    method : str
        Of `lungitude.statistics.multiplicity.adjust`.
    cells : list of (float, int, dict)
        p, N and the keys of each test; a p that is NaN stays NaN and is not counted.
    family : str
    """
    if not cells:
        return
    p = np.array([cell[0] for cell in cells], dtype=float)
    known = int(np.isfinite(p).sum())
    size = f"{known} tests" if known == len(p) else f"{known} of {len(p)} planned tests"
    note = "not adjusted" if method == "none" else f"{method}, {size}"
    for value, (_, n, keys) in zip(adjust(p, method), cells, strict=True):
        own = why_not("no p to adjust") if np.isnan(value) else note
        rows.add({"p_adj": value}, n, family=family, note=own, **keys)
