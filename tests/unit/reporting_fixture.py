"""A small trial's analysis results table, built by code: what reporting tests render."""

import functools

import numpy as np
import pandas as pd

from lungitude.reporting.context import Context
from lungitude.reporting.results import Results

COLUMNS = (
    "ANALYSISID METHOD PARAMCD AVISIT STRATUM POPULATION GROUP COMPARISON LEVEL STAT VALUE "
    "N FAMILY NOTE"
).split()
VISITS = [
    {
        "name": "Baseline",
        "path": "baseline",
        "number": 0,
        "day": 1,
        "baseline": True,
        "imaging": True,
    },
    {"name": "Week 6", "path": "week06", "number": 6, "day": 43, "imaging": True},
    {"name": "Week 12", "path": "week12", "number": 12, "day": 85, "imaging": True},
]
ARMS = [
    {"code": "EG", "label": "Cardiopulmonary rehabilitation", "ratio": 1},
    {"code": "CG", "label": "Usual care", "ratio": 1, "reference": True},
    {"code": "XG", "label": "Breathing training alone", "ratio": 1},
    {"code": "YG", "label": "Education", "ratio": 1},
]
PARAMETERS = [
    ("VO2MAX", "Peak oxygen uptake", "mL/kg/min", 1, "higher", "none", 18.0, 4.0, 1.6),
    ("LAA950", "Emphysema (LAA-950)", "%", 1, "lower", "none", 14.0, 6.0, -1.1),
    ("PERC15", "15th percentile of lung density", "HU", 0, "higher", "none", -935.0, 14.0, 4.0),
    ("FSAD", "Functional small airways disease", "%", 1, "lower", "none", 24.0, 8.0, -2.0),
    ("FEV1", "FEV1", "L", 2, "higher", "none", 1.5, 0.4, 0.06),
    ("SIXMWD", "Six-minute walk distance", "m", 0, "higher", "none", 380.0, 70.0, 28.0),
]
CHARACTERISTICS = [
    {
        "column": "AGE",
        "label": "Age",
        "unit": "years",
        "type": "continuous",
        "decimals": 0,
        "section": "Demographics",
    },
    {
        "column": "SEX",
        "label": "Male",
        "type": "category",
        "levels": {"M": "Male", "F": "Female"},
        "show": ["M"],
        "section": "Demographics",
    },
    {
        "column": "SMOKING",
        "label": "Smoking",
        "type": "category",
        "levels": {"0": "Never", "1": "Former", "2": "Current"},
        "section": "History",
    },
]
STRATA = [
    {
        "column": "SEVERITY",
        "label": "Severity",
        "levels": [
            {"value": "I", "path": "grade1", "label": "Grade I"},
            {"value": "II", "path": "grade2", "label": "Grade II"},
        ],
    }
]
REASONS = ["Lost to follow-up", "Withdrew consent", "Adverse event"]
MODEL = "ANCOVA for CHG: arm, SEVERITY, BASE, AGE, SEX; residual df; LS means with equal weights"


def plan(visits=("Week 12",)):
    """Return an analysis plan with three families."""
    return {
        "confidence": 0.95,
        "quantiles": "averaged_inverted_cdf",
        "populations": {"ITT": {"label": "Intention to treat", "rule": "randomised"}},
        "analyses": {
            "baseline": {"population": "ITT", "smd": True, "tests": False},
            "describe": {"population": "ITT", "parameters": "all"},
            "ancova": {
                "population": "ITT",
                "parameters": "all",
                "visits": "post-baseline",
                "response": "CHG",
                "covariates": ["BASE", "AGE", "SEX"],
                "strata_in_model": True,
                "robust": None,
            },
            "mixed_model": {
                "population": "ITT",
                "parameters": "all",
                "response": "CHG",
                "covariates": ["BASE", "AGE", "SEX"],
                "strata_in_model": True,
                "random": "intercept",
            },
            "agreement": {"parameters": "all"},
        },
        "primary": {"parameter": "VO2MAX", "visit": visits[-1], "method": "ancova"},
        "families": [
            {
                "id": "primary",
                "method": "none",
                "parameters": ["VO2MAX"],
                "visits": [visits[-1]],
                "analysis": "ancova",
            },
            {
                "id": "imaging",
                "label": "Imaging biomarkers",
                "method": "bh",
                "parameters": ["LAA950", "PERC15", "FSAD"],
                "visits": list(visits),
                "analysis": "ancova",
            },
            {
                "id": "clinical",
                "label": "Clinical endpoints",
                "method": "holm",
                "parameters": ["FEV1", "SIXMWD"],
                "visits": list(visits),
                "analysis": "ancova",
            },
        ],
        "displays": [],
    }


DISPLAYS = {
    "table_baseline": {
        "id": "table_baseline",
        "number": "14.1.3",
        "alias": "Table 1",
        "title": "Characteristics of the patients at baseline",
    },
    "table_primary": {
        "id": "table_primary",
        "number": "14.2.1",
        "alias": "Table 2",
        "title": "Change from baseline and difference between the arms",
    },
    "figure_trend": {
        "id": "figure_trend",
        "number": "14.2.2",
        "alias": "Figure 2",
        "title": "Change from baseline by visit and arm",
        "parameters": [row[0] for row in PARAMETERS],
    },
    "figure_flow": {
        "id": "figure_flow",
        "number": "14.1.1",
        "alias": "Figure 1",
        "title": "Flow of patients and scans",
    },
}


def context(stratum="all", arms=2, visits=3, plan_visits=None, **changes):
    """Return the `Context` of the fixture trial."""
    kept = VISITS[:1] + VISITS[4 - visits :] if visits < 3 else VISITS
    label = {"all": "All patients"}.get(stratum, stratum.replace("grade", "Grade "))
    given = {
        "stratum": {"path": stratum, "label": label},
        "arms": ARMS[:arms],
        "visits": kept,
        "parameters": [
            dict(
                zip(
                    ["PARAMCD", "PARAM", "AVALU", "DECIMALS", "DIRECTION", "TRANSFORM"],
                    row,
                    strict=False,
                )
            )
            for row in PARAMETERS
        ],
        "plan": plan(plan_visits or ("Week 12",)),
        "trial": {
            "name": "toy",
            "title": "A toy trial of breathing",
            "synthetic": True,
            "data_cut": "2026-01-31",
        },
        "provenance": {"code": "c0de" * 16, "plan": "91a4" * 16, "data": "da7a" * 16},
        "characteristics": CHARACTERISTICS,
        "strata": STRATA,
    }
    return Context(**{**given, **changes})


class Builder:
    """Collects rows of the results table."""

    def __init__(self, stratum, sizes, seed=7):
        self.stratum, self.sizes, self.rows = stratum, sizes, []
        self.rng = np.random.default_rng(seed)

    def add(self, method, stat, value, n=None, param="", visit="", **more):
        """Add one row."""
        given = [method, param, visit.lower().replace(" ", ""), self.stratum]
        row = dict.fromkeys(COLUMNS, "")
        row.update(
            ANALYSISID=".".join(part for part in given if part),
            METHOD=method,
            PARAMCD=param,
            AVISIT=visit,
            STRATUM=self.stratum,
            POPULATION="ITT",
            STAT=stat,
            VALUE=float(value),
            N=n,
        )
        row.update(more)
        self.rows.append(row)


def disposition(builder, visits, excluded=(("truncated series", 1), ("slices missing", 0))):
    """Add disposition rows; the first arm loses patients for the first two reasons."""
    total = {}
    for index, (arm, size) in enumerate(builder.sizes.items()):
        lost = {REASONS[0]: min(3 + index, size), REASONS[1]: 0, REASONS[2]: 0 if index else 1}
        if size < 10:
            lost = dict.fromkeys(REASONS, 0)
        gone = sum(lost.values())
        counts = {
            ("", "randomised"): size,
            ("", "discontinued"): gone,
            **{("", f"discontinued:{k}"): v for k, v in lost.items()},
            ("", "completed"): size - gone,
            ("", "analysed"): size - gone,
        }
        for visit in visits:
            out = 0 if visit["name"] == "Baseline" else gone
            counts[visit["name"], "expected"] = size
            counts[visit["name"], "attended"] = size - out
            counts[visit["name"], "scans_expected"] = 2 * (size - out)
            counts[visit["name"], "scans_evaluable"] = max(2 * (size - out) - 1, 0)
            counts[visit["name"], "scans_excluded"] = 1 if size - out else 0
            for reason, n in excluded:
                counts[visit["name"], f"scans_excluded:{reason}"] = n if size - out else 0
        for key, n in counts.items():
            builder.add("disposition", "n", n, n, visit=key[0], LEVEL=key[1], GROUP=arm)
            total[key] = total.get(key, 0) + n
    for (visit, level), n in total.items():
        builder.add("disposition", "n", n, n, visit=visit, LEVEL=level, GROUP="TOTAL")


def baseline(builder):
    """Add baseline rows."""
    groups = {**builder.sizes, "TOTAL": sum(builder.sizes.values())}
    for group, size in groups.items():
        mean = 65 + builder.rng.normal()
        values = {
            "n": size,
            "missing": 0,
            "mean": mean,
            "sd": 7.25 if size > 1 else np.nan,
            "median": mean + 0.35,
            "q1": mean - 5,
            "q3": mean + 5,
            "min": 41,
            "max": 84,
        }
        for stat, value in values.items():
            note = "not estimated: 1 patient" if np.isnan(value) else ""
            builder.add("baseline", stat, value, size, "AGE", GROUP=group, NOTE=note)
        males = size * 3 // 4
        for level, n in (("M", males), ("F", size - males)):
            builder.add("baseline", "n", n, size, "SEX", GROUP=group, LEVEL=level)
            builder.add("baseline", "pct", 100 * n / size, size, "SEX", GROUP=group, LEVEL=level)
        gone = min(2, size - 1)
        for level, n in (
            ("0", 0),
            ("1", (size - gone) // 2),
            ("2", size - gone - (size - gone) // 2),
        ):
            builder.add("baseline", "n", n, size - gone, "SMOKING", GROUP=group, LEVEL=level)
            builder.add(
                "baseline",
                "pct",
                100 * n / max(size - gone, 1),
                size - gone,
                "SMOKING",
                GROUP=group,
                LEVEL=level,
            )
        builder.add("baseline", "missing", gone, size, "SMOKING", GROUP=group)
    first, second = list(builder.sizes)[:2]
    for column, value in (("AGE", 0.125), ("SEX", -0.004), ("SMOKING", 0.07)):
        builder.add("baseline", "smd", value, None, column, COMPARISON=f"{first} - {second}")


def effects(builder, visits, reference="CG"):
    """Add describe, ancova and mixed_model rows, with p_adj as the gatherer adds it."""
    rng = builder.rng
    for code, _, _, _, _, _, mean, sd, effect in PARAMETERS:
        for number, visit in enumerate(visits):
            name = visit["name"]
            for arm, size in builder.sizes.items():
                n = size if number == 0 else max(size - 4, min(size, 1))
                gain = 0 if arm == reference else effect * number / 2
                for level, middle in (("AVAL", mean + gain), ("CHG", gain)):
                    if number == 0 and level == "CHG":
                        continue
                    middle = middle + rng.normal() * sd / 30
                    stats = {
                        "n": n,
                        "missing": size - n,
                        "mean": middle,
                        "sd": sd if n > 1 else np.nan,
                        "median": middle,
                        "q1": middle - sd,
                        "q3": middle + sd,
                        "min": middle - 2 * sd,
                        "max": middle + 2 * sd,
                    }
                    for stat, value in stats.items():
                        builder.add("describe", stat, value, n, code, name, GROUP=arm, LEVEL=level)
            if number == 0:
                continue
            for method in ("ancova", "mixed_model"):
                _model(builder, method, code, name, sd, effect * number / 2, reference)


def _model(builder, method, code, visit, sd, effect, reference):
    smallest = min(builder.sizes.values())
    why = f"not estimated: {smallest} patient in an arm" if smallest < 2 else ""
    rng = builder.rng
    for arm, size in builder.sizes.items():
        n = max(size - 4, min(size, 1))
        mean = (0 if arm == reference else effect) + rng.normal() * sd / 40
        se = sd / np.sqrt(max(n, 1))
        found = {
            "emmean": mean,
            "se": se,
            "df": 300.0,
            "ci_low": mean - 2 * se,
            "ci_high": mean + 2 * se,
        }
        for stat, value in found.items():
            builder.add(method, stat, np.nan if why else value, n, code, visit, GROUP=arm, NOTE=why)
    for arm in builder.sizes:
        if arm == reference:
            continue
        value, se = effect + rng.normal() * sd / 40, sd / np.sqrt(max(smallest, 1))
        p = float(np.exp(-abs(value / se) * 2))
        found = {
            "estimate": value,
            "se": se,
            "df": 300.0,
            "statistic": value / se,
            "p": p,
            "ci_low": value - 2 * se,
            "ci_high": value + 2 * se,
            "partial_eta_sq": 0.02,
        }
        family = (
            ""
            if method != "ancova"
            else {"VO2MAX": "primary", "FEV1": "clinical", "SIXMWD": "clinical"}.get(
                code, "imaging"
            )
        )
        if family not in ("", "primary") and builder.stratum == "all":
            found["p_adj"] = min(1.0, 2 * p)
        for stat, number in found.items():
            builder.add(
                method,
                stat,
                np.nan if why else number,
                sum(builder.sizes.values()) - 8,
                code,
                visit,
                COMPARISON=f"{arm} - {reference}",
                NOTE=why or ("bh, 3 tests" if stat == "p_adj" else ""),
                FAMILY=family if stat == "p_adj" else "",
            )
    builder.add(
        method,
        "model",
        np.nan,
        None,
        code,
        visit,
        NOTE=MODEL if method == "ancova" else "Mixed model for CHG",
    )
    if builder.stratum == "all" and method == "ancova":
        builder.add(method, "interaction_p", 0.0413, 380, code, visit, LEVEL="SEVERITY")
        builder.add(method, "interaction_F", 2.7, 380, code, visit, LEVEL="SEVERITY")


def agreement(builder):
    """Add agreement rows of one parameter."""
    values = {
        "icc_a1": 0.914,
        "icc_ci_low": 0.88,
        "icc_ci_high": 0.94,
        "bias": -0.35,
        "bias_ci_low": -0.6,
        "bias_ci_high": -0.1,
        "sd": 1.4,
        "loa_low": -3.1,
        "loa_low_ci_low": -3.5,
        "loa_low_ci_high": -2.7,
        "loa_high": 2.4,
        "loa_high_ci_low": 2.0,
        "loa_high_ci_high": 2.8,
    }
    for stat, value in values.items():
        builder.add(
            "agreement", stat, value, 60, "LAA950", "", COMPARISON="network - reader", POPULATION=""
        )


def frame(arms=2, visits=3):
    """Return the results table: all, grade1 (enough patients), grade2 (one patient in an arm)."""
    return _frame(arms, visits).copy()


@functools.cache
def _frame(arms, visits):
    kept = VISITS[:1] + VISITS[4 - visits :] if visits < 3 else VISITS
    rows = []
    codes = [arm["code"] for arm in ARMS[:arms]]
    for stratum, sizes in (
        ("all", [200, 200, 198, 202]),
        ("grade1", [24, 24, 23, 25]),
        ("grade2", [1, 3, 2, 2]),
    ):
        builder = Builder(stratum, dict(zip(codes, sizes, strict=False)))
        disposition(builder, kept)
        baseline(builder)
        effects(builder, kept)
        if stratum == "all":
            agreement(builder)
        rows += builder.rows
    return pd.DataFrame(rows, columns=COLUMNS)


def results(stratum="all", arms=2, visits=3, table=None):
    """Return the `Results` of a stratum of the fixture trial."""
    return Results(frame(arms, visits) if table is None else table, stratum, plan())
