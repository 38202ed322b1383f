"""What a display knows about the trial beside its numbers: names, order, units, style."""

import math
from dataclasses import dataclass, field

from lungitude.provenance import digest_of
from lungitude.reporting import journals
from lungitude.reporting.displays import kind_of, of_plan
from lungitude.reporting.format import confidence_label
from lungitude.reporting.results import TOTAL


@dataclass(frozen=True)
class Context:
    """The structure of a trial, as configured; no display reads config files itself.

    Attributes
    ----------
    stratum : dict
        ``path`` and ``label``; for a real stratum also ``column`` and ``value``.
    arms, visits, parameters, characteristics, strata : list of dict
        As in the configuration; `parameters` are the rows of parameters.tsv.
    plan, trial, provenance : dict
        The plan; ``name title synthetic data_cut``; digests by name.
    visit_windows, reference_values : dict
        As in config.yaml; empty where the trial has none.
    p_style : str or dict
        The style of a display: of its p values, or its journal's.
    """

    stratum: dict
    arms: list
    visits: list
    parameters: list
    plan: dict
    trial: dict
    provenance: dict
    characteristics: list = field(default_factory=list)
    strata: list = field(default_factory=list)
    visit_windows: dict = field(default_factory=dict)
    reference_values: dict = field(default_factory=dict)
    p_style: str | dict = "csr"

    @property
    def style(self):
        """Choices of printing: ``p`` style, ``rounding``, ``interval`` (ci or se) of a mean."""
        return {
            "p": journals.p_style(self.p_style),
            "rounding": self.plan.get("rounding", "half_away"),
            "interval": self.plan.get("interval", "ci"),
        }

    @property
    def reference(self):
        """The arm that others are compared with: the marked one, else the last."""
        marked = [arm for arm in self.arms if arm.get("reference")]
        return (marked or self.arms[-1:])[0]

    @property
    def comparisons(self):
        """Pairs (arm, comparison as the results table names it) against the reference."""
        code = self.reference["code"]
        return [(arm, f"{arm['code']} - {code}") for arm in self.arms if arm["code"] != code]

    @property
    def entered(self):
        """How patients came into the trial: one arm is not allocated at random."""
        return "randomised" if len(self.arms) > 1 else "enrolled"

    def since_baseline(self, visit):
        """Name the comparison of a visit with the baseline as the results table does."""
        return f"{visit} - {self.baseline}"

    @property
    def total(self):
        """Group of all patients: TOTAL, or the arm where there is only one."""
        return TOTAL if len(self.arms) > 1 else self.arms[0]["code"]

    @property
    def groups(self):
        """Pairs (code, label) of the arms, then of all patients."""
        pairs = [(arm["code"], arm["label"]) for arm in self.arms]
        return [*pairs, (TOTAL, "Total")] if len(pairs) > 1 else pairs

    @property
    def baseline(self):
        """Name of the baseline visit."""
        return next((v["name"] for v in self.visits if v.get("baseline")), self.visits[0]["name"])

    @property
    def followups(self):
        """The visits after baseline."""
        return [visit for visit in self.visits if visit["name"] != self.baseline]

    @property
    def ci_label(self):
        """Such as "95% CI"."""
        return confidence_label(self.plan.get("confidence", 0.95))

    def comparison_label(self, comparison, sign=" \u2212 "):
        """Spell a comparison with the labels of its arms."""
        label = {arm["code"]: arm["label"] for arm in self.arms}
        for first in label:
            for second in label:
                if comparison == f"{first} - {second}":
                    return f"{label[first]}{sign}{label[second]}"
        return comparison

    def stratum_column_label(self, column):
        """Return the label of a stratification factor."""
        return next((s.get("label", column) for s in self.strata if s["column"] == column), column)

    def parameter(self, code):
        """Return the row of a parameter.

        Raises
        ------
        ValueError
            If the trial has no such parameter.
        """
        for row in self.parameters:
            if row["PARAMCD"] == code:
                return row
        raise ValueError(
            f"parameter {code} is named by the plan or the results table but is not "
            "in parameters.tsv; add its row"
        )

    def has_parameter(self, code):
        """Whether parameters.tsv has a row of this code."""
        return any(row["PARAMCD"] == code for row in self.parameters)

    def unit(self, code):
        """Return the unit of a parameter, or an empty text."""
        return _text(self.parameter(code).get("AVALU"))

    def label(self, code):
        """Return the name of a parameter, without its unit."""
        row = self.parameter(code)
        name, unit = _text(row.get("PARAM")) or code, self.unit(code)
        return name.removesuffix(f"({unit})").rstrip() if unit else name

    def label_with_unit(self, code):
        """Return the name of a parameter, then its unit."""
        unit = self.unit(code)
        return f"{self.label(code)}, {unit}" if unit else self.label(code)

    def decimals(self, code):
        """Return the digits of the raw values of a parameter; statistics of it get one more."""
        value = self.parameter(code).get("DECIMALS")
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            return 1
        return int(value)

    def is_log(self, code):
        """Whether a parameter is analysed on a log scale and reported as ratios."""
        return self.parameter(code).get("TRANSFORM") in ("log", "log1p")

    def direction(self, code):
        """Which way is better, in words; empty when neither."""
        way = _text(self.parameter(code).get("DIRECTION"))
        return {"higher": "higher is better", "lower": "lower is better"}.get(way, "")

    def population_line(self, method):
        """Return analysis set and stratum, the third line of a title."""
        name = self.plan.get("analyses", {}).get(method, {}).get("population")
        known = (self.plan.get("populations") or {}).get(name) or {}
        lines = [f"Analysis set: {known.get('label', name)} ({name})"] if name else []
        return "; ".join([*lines, self.stratum["label"]])

    def source_line(self, methods):
        """Where the numbers come from: results table, digests, data cut; no time, no path."""
        digest = {name: str(value)[:12] for name, value in self.provenance.items()}
        parts = [f"Source: analysis results table ({', '.join(methods)})"]
        parts += [f"{name} {value}" for name, value in digest.items()]
        if self.trial.get("data_cut"):
            parts.append(f"data cut {self.trial['data_cut']}")
        if self.trial.get("synthetic"):
            parts.append("SYNTHETIC TRIAL")
        return "; ".join(parts) + "."


def from_params(params, results):
    """Make a `Context` from the params of a job and the path of its results table.

    The style of p values is that of the table of effects; a display may have its own.
    """

    def given(name, default=None):
        return getattr(params, name, default)

    plan = dict(given("plan"))
    effects = next((d for d in of_plan(plan) if kind_of(d) == "table_primary"), {})
    return Context(
        stratum=dict(given("stratum")),
        arms=list(given("arms")),
        visits=list(given("visits")),
        parameters=list(given("parameters")),
        plan=plan,
        trial=dict(given("trial")),
        provenance={**dict(given("provenance") or {}), "results": digest_of(results)},
        characteristics=list(given("characteristics") or []),
        strata=list(given("strata") or []),
        visit_windows=dict(given("visit_windows") or {}),
        reference_values=dict(given("reference_values") or {}),
        p_style=effects.get("style") or "csr",
    )


def _text(value):
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)
