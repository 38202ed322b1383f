"""The generative model of a synthetic trial: read from YAML, checked, turned into arrays."""

import ast
import dataclasses
import operator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.special import ndtri

SOURCES = ("published", "derived", "assumed")
MARGINALS = ("normal", "lognormal", "bounded")
SCALES = ("natural", "log1p")
SHEET_COLUMNS = (
    "PARAM AVALU LOW HIGH DECIMALS DIRECTION TRANSFORM MID DATASET CATEGORY MEASURE"
).split()

DRAWN_KEYS = {
    "marginal",
    "scale",
    "bounds",
    "clip",
    "mean",
    "between_sd",
    "within_sd",
    "drift_sd",
    "change",
    "printed",
}
KEYS = {
    "model": {
        "trial",
        "arms",
        "comparison",
        "visits",
        "stratum",
        "characteristics",
        "parameters",
        "latent",
        "correlations",
        "attrition",
        "events",
        "scans",
        "phantom",
        "reads",
    },
    "characteristic": {
        "decimals",
        "marginal",
        "bounds",
        "mean",
        "between_sd",
        "target",
        "category",
        "count",
        "baseline_of",
    },
    "parameter": DRAWN_KEYS | {"sheet", "tests", "formula"},
    "latent": DRAWN_KEYS - {"printed"},
}

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
_FUNCTIONS = {"probit": ndtri, "log": np.log, "exp": np.exp}


@dataclasses.dataclass(frozen=True)
class Model:
    """A generative model; `content` is the YAML as read, the rest its numbers as arrays.

    Attributes
    ----------
    levels, arms, visits : tuple of str
        In the order of the file; the baseline visit is the first.
    cells : ndarray of int, (arm, level)
        Patients of the full trial.
    drawn : tuple of str
        Quantities with a random value of their own: characteristics, parameters, latent ones.
    mean, between, within, drift : ndarray, (quantity, level)
        Mean, SD over patients, SD from visit to visit, SD of the patients' own drift.
    change : ndarray, (quantity, arm, visit, level)
        Mean change from baseline.
    bounds, clip : ndarray, (quantity, level, 2) and (quantity, 2)
        Ends of a bounded distribution; physical limits of a value.
    formulas : dict
        Derived parameters, in an order in which each can be computed.
    """

    content: dict
    levels: tuple
    arms: tuple
    visits: tuple
    cells: np.ndarray
    drawn: tuple
    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray
    drift: np.ndarray
    change: np.ndarray
    bounds: np.ndarray
    clip: np.ndarray
    formulas: dict

    def spec(self, name):
        """Return the YAML of a drawn quantity."""
        for section in ("parameters", "latent", "characteristics"):
            if name in self.content[section]:
                return self.content[section][name]
        raise KeyError(name)


def read(path):
    """Read and check a generative model.

    Parameters
    ----------
    path : path
        YAML file; config/demo/model.yaml explains each key.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        Names the file, the entry, what is wrong with it and what it should be.
    """
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    try:
        return _build(content)
    except ValueError as error:
        raise ValueError(f"{Path(path).name}: {error}") from None


def _build(content):
    if not isinstance(content, dict):
        raise ValueError("empty or not a mapping; see config/demo/model.yaml")
    _closed(content, "model", "the top level")
    missing = sorted(KEYS["model"] - set(content))
    if missing:
        raise ValueError(f"{', '.join(missing)} missing; add them")
    period = content["trial"]["enrolment"]
    if not period["first"] <= period["last"] <= content["trial"]["data_cut"]:
        raise ValueError("trial: enrolment must go from first to last and end by the data cut")
    arms = tuple(content["arms"])
    visits = tuple(visit["name"] for visit in content["visits"])
    cells = content["stratum"]["cells"]
    levels = tuple(k for k in cells[0] if k not in ("source", "where", "arm", "visit", "all"))
    counts = [by_level(cells, levels, "stratum cells", arm=arm) for arm in arms]

    specs = {}
    for name, spec in content["characteristics"].items():
        _closed(spec, "characteristic", name)
        if "baseline_of" not in spec:
            specs[name] = spec
    for name, spec in content["parameters"].items():
        _closed(spec, "parameter", name)
        _check_sheet(name, spec)
        if "formula" not in spec:
            specs[name] = spec
    for name, spec in content["latent"].items():
        _closed(spec, "latent", name)
        specs[name] = spec

    parts = [_quantity(name, spec, levels, arms, visits) for name, spec in specs.items()]
    arrays = {key: np.array([part[key] for part in parts]) for key in parts[0]}
    return Model(
        content=content,
        levels=levels,
        arms=arms,
        visits=visits,
        cells=np.array(counts, dtype=int),
        drawn=tuple(specs),
        formulas=_ordered(content["parameters"], set(specs)),
        **arrays,
    )


def _closed(spec, kind, name):
    unknown = sorted(set(spec) - KEYS[kind])
    if unknown:
        known = ", ".join(sorted(KEYS[kind]))
        raise ValueError(f"{name}: unknown key {', '.join(unknown)}; known: {known}")


def _check_sheet(name, spec):
    if not (name.isalnum() and name[0].isalpha() and len(name) <= 8):
        raise ValueError(
            f"{name}: a parameter code has at most 8 letters and digits, "
            "and begins with a letter; rename it"
        )
    unknown = sorted(set(spec.get("sheet", {})) - set(SHEET_COLUMNS))
    if unknown or "sheet" not in spec:
        raise ValueError(
            f"{name}: sheet must hold columns of parameters.tsv "
            f"({', '.join(SHEET_COLUMNS)}){'; unknown: ' * bool(unknown)}"
            f"{', '.join(unknown)}"
        )


def _quantity(name, spec, levels, arms, visits):
    """Return the arrays of one drawn quantity."""
    n = len(levels)
    nothing = {
        "within": np.zeros(n),
        "drift": np.zeros(n),
        "change": np.zeros((len(arms), len(visits), n)),
        "bounds": np.full((n, 2), np.nan),
        "clip": np.array([-np.inf, np.inf]),
    }
    if "category" in spec:
        # A latent propensity; the patients with the largest ones get the first value.
        return {"mean": np.zeros(n), "between": np.ones(n), **nothing}
    _known(spec.get("marginal", "normal"), MARGINALS, f"{name} marginal")
    _known(spec.get("scale", "natural"), SCALES, f"{name} scale")
    found = dict(nothing)
    for key, entry in (
        ("mean", "mean"),
        ("between", "between_sd"),
        ("within", "within_sd"),
        ("drift", "drift_sd"),
    ):
        if entry in spec or entry in ("mean", "between_sd"):
            found[key] = by_level(spec.get(entry, []), levels, f"{name} {entry}")
    for i, arm in enumerate(arms):
        for j, visit in enumerate(visits):
            entries = _matching(spec.get("change", []), arm=arm, visit=visit)
            if entries:
                where = f"{name} change of {arm} at {visit}"
                found["change"][i, j] = by_level(entries, levels, where)
    if "bounds" in spec:
        found["bounds"] = by_level(spec["bounds"], levels, f"{name} bounds", width=2)
        low, high = found["bounds"].T
        if not ((low < found["mean"]) & (found["mean"] < high)).all():
            raise ValueError(f"{name}: a mean lies outside its bounds; mend one of them")
    elif spec.get("marginal") == "bounded":
        raise ValueError(f"{name}: a bounded quantity needs bounds; add them")
    if "clip" in spec:
        found["clip"] = np.array(spec["clip"], dtype=float)
    return found


def _known(value, known, where):
    if value not in known:
        raise ValueError(f"{where}: '{value}' is unknown; known: {', '.join(known)}")


def _matching(entries, **keys):
    return [e for e in entries if all(e.get(key) == value for key, value in keys.items())]


def by_level(entries, levels, where, width=1, **keys):
    """Collect the values of a quantity from its groups.

    Parameters
    ----------
    entries : list of dict
        Groups: ``source`` (published, derived, assumed), optionally ``where``, ``arm``, ``visit``,
        and one value a level, or one for ``all``.
    levels : sequence of str
        Levels of the stratum.
    where : str
        Name of the quantity, for messages.
    width : int
        Numbers in one value.
    **keys
        Only groups with these values of ``arm`` or ``visit`` count.

    Returns
    -------
    ndarray, (level,) or (level, width)

    Raises
    ------
    ValueError
        A level has no value, or two; or a group does not say its source.
    """
    found = {}
    for entry in _matching(entries, **keys):
        _known(entry.get("source"), SOURCES, f"{where}, source")
        values = {k: v for k, v in entry.items() if k not in ("source", "where", "arm", "visit")}
        if "all" in values:
            values = dict.fromkeys(levels, values["all"])
        for level, value in values.items():
            _known(level, levels, f"{where}, level")
            if level in found:
                raise ValueError(f"{where}: level {level} is given twice; delete one")
            found[level] = value
    absent = [level for level in levels if level not in found]
    if absent:
        raise ValueError(f"{where}: no value for level {', '.join(absent)}; add a group with it")
    array = np.array([found[level] for level in levels], dtype=float)
    if array.shape != ((len(levels),) if width == 1 else (len(levels), width)):
        raise ValueError(f"{where}: each level needs {width} number{'s' * (width > 1)}")
    return array


def source(entries, level, **keys):
    """Return the source of the value of one level; None if no group gives it."""
    for entry in _matching(entries, **keys):
        if level in entry or "all" in entry:
            return entry["source"]
    return None


# --- Formulas -----------------------------------------------------------------------------------


def evaluate(formula, values):
    """Compute an arithmetic formula: numbers, names, + - * / and probit, log, exp.

    Parameters
    ----------
    formula : str
        Such as ``100 * A / B``.
    values : mapping of str to ndarray or float
        What the names stand for.

    Raises
    ------
    ValueError
        The formula holds something else, or a name that `values` has not.
    """

    def of(node):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return float(node.value)
        if isinstance(node, ast.Name) and node.id in values:
            return values[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](of(node.left), of(node.right))
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](of(node.operand))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in _FUNCTIONS:
            return _FUNCTIONS[node.func.id](*[of(argument) for argument in node.args])
        raise ValueError(
            f"formula '{formula}': '{ast.unparse(node)}' is not known; use numbers, "
            "names of quantities, + - * / and probit, log, exp"
        )

    return of(ast.parse(formula, mode="eval").body)


def names(formula):
    """Return the quantities that a formula speaks of."""
    tree = ast.walk(ast.parse(formula, mode="eval"))
    return {node.id for node in tree if isinstance(node, ast.Name)} - set(_FUNCTIONS)


def _ordered(parameters, known):
    """Return the formulas of derived parameters, each after those that it needs."""
    waiting = {name: spec["formula"] for name, spec in parameters.items() if "formula" in spec}
    found, known = {}, set(known)
    while waiting:
        ready = [name for name, formula in waiting.items() if names(formula) <= known]
        if not ready:
            name, formula = next(iter(waiting.items()))
            raise ValueError(
                f"{name}: formula '{formula}' needs "
                f"{', '.join(sorted(names(formula) - known))}, which is not drawn "
                "and can't be computed before it"
            )
        for name in ready:
            found[name] = waiting.pop(name)
            known.add(name)
    return found


# --- What was planted ---------------------------------------------------------------------------


def effects(model):
    """Return the planted treatment effects of the drawn parameters.

    Returns
    -------
    DataFrame
        PARAMCD AVISIT STRATUM EFFECT SOURCE: EFFECT is the mean change of the compared arm minus
        that of the reference, on the parameter's own scale; SOURCE is ``assumed`` as soon as one
        of its numbers is, else ``published`` (printed, or computed from printed numbers).
        STRATUM ``all`` weighs the levels by their numbers of patients. Derived parameters (with a
        formula) are absent: their effects follow from the others.
    """
    first, second = (model.arms.index(model.content["comparison"][k]) for k in ("arm", "reference"))
    share = model.cells.sum(axis=0) / model.cells.sum()
    rows = []
    for q, name in enumerate(model.drawn):
        if name not in model.content["parameters"]:
            continue
        entries = model.spec(name).get("change", [])
        for v, visit in enumerate(model.visits[1:], start=1):
            effect = model.change[q, first, v] - model.change[q, second, v]
            said = []
            for level in model.levels:
                by_arm = [
                    source(entries, level, arm=model.arms[a], visit=visit) for a in (first, second)
                ]
                # No change in the reference arm is no number of its own.
                said.append("assumed" if "assumed" in by_arm or by_arm[0] is None else "published")
            rows += [(name, visit, *row) for row in zip(model.levels, effect, said, strict=True)]
            pooled = "assumed" if "assumed" in said else "published"
            rows.append((name, visit, "all", float(share @ effect), pooled))
    return pd.DataFrame(rows, columns=["PARAMCD", "AVISIT", "STRATUM", "EFFECT", "SOURCE"])
