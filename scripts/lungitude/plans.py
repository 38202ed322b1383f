"""What plan.yaml asks for, held against the trial: unknown names, and numbers nobody computes."""

import itertools

from lungitude.checks import nearest

# What a display shows nothing without.
SHOWS = {"figure_flow": "disposition", "table_baseline": "baseline"}


def problems(trial, document):
    """Yield the problems of a plan.

    Parameters
    ----------
    trial : Trial
        With the defaults of the plan filled in.
    document : Document
        plan.yaml, for the place of each problem.
    """
    for name in ("subjects", "randomisation"):
        if name not in trial.config["sheets"]:
            text = f"a plan needs 'sheets: {name}' in config.yaml; add it, or remove plan.yaml"
            yield document.problem([], text)
    for keys, what, value, known in _names(trial):
        if value not in known:
            yield document.problem(keys, f"{what} '{value}' is unknown; {nearest(value, known)}")
    yield from _uncomputed(trial, document)
    yield from _families_overlap(trial.plan, document)
    for kind in ("families", "displays"):
        names = [item["id"] for item in trial.plan[kind]]
        for index, name in enumerate(names):
            if name in names[:index]:
                text = f"'{kind}' has id '{name}' twice; each must be unique"
                yield document.problem([kind, index], text)


def _names(trial):
    """Yield (keys, what, name, known names) of every name that stands in the plan."""
    plan, config = trial.plan, trial.config
    parameters = sorted(trial.parameters["PARAMCD"].dropna())
    visits = [visit["name"] for visit in config["visits"]]
    columns = ["BASE", *(item["column"] for item in config["characteristics"])]
    columns += [factor["column"] for factor in config["strata"]]
    strata = [stratum["path"] for stratum in trial.strata]
    known = {"parameters": parameters, "visits": visits, "covariates": columns}
    populations, analyses = list(plan["populations"]), list(plan["analyses"])
    if not parameters:  # the sheet could not be read, which is told already
        known["parameters"] = _Anything()
    sections = [(["analyses", name], section) for name, section in plan["analyses"].items()]
    sections += [(["families", index], item) for index, item in enumerate(plan["families"])]
    sections += [(["displays", index], item) for index, item in enumerate(plan["displays"])]
    for keys, section in sections:
        for kind, names in known.items():
            for item in _listed(section, kind):
                yield [*keys, kind], kind[:-1], item, names
        for item in _listed(section, "strata"):
            yield [*keys, "strata"], "stratum", item, strata
        if "population" in section:
            yield [*keys, "population"], "population", section["population"], populations
        if "analysis" in section:
            yield [*keys, "analysis"], "analysis", section["analysis"], analyses
    primary = plan["primary"]
    yield ["primary", "parameter"], "parameter", primary["parameter"], known["parameters"]
    yield ["primary", "visit"], "visit", primary["visit"], visits
    yield ["primary", "method"], "analysis", primary["method"], analyses
    for name, population in plan["populations"].items():
        for item in population["require"]:
            keys = ["populations", name, "require"]
            yield keys, "parameter", item["param"], known["parameters"]
            yield keys, "visit", item["visit"], visits


class _Anything(tuple):
    """A collection that holds every name."""

    def __contains__(self, item):
        return True


def _listed(section, kind):
    """Return the names of a section; none where it says a word such as all."""
    return section[kind] if isinstance(section.get(kind), list) else []


def _uncomputed(trial, document):
    """Yield what the plan shows or adjusts, but no analysis of it computes."""
    plan = trial.plan
    analyses = plan["analyses"]
    after = trial.after_baseline
    asked = [(["primary"], plan["primary"]["method"], [plan["primary"]["parameter"]],
              [plan["primary"]["visit"]])]  # fmt: skip
    asked += [
        (["families", index], family["analysis"], family["parameters"], family["visits"])
        for index, family in enumerate(plan["families"])
    ]
    for keys, name, parameters, visits in asked:
        section = analyses.get(name, {})
        for kind, wanted in (("parameters", parameters), ("visits", visits)):
            computed = _listed(section, kind)
            for item in wanted:
                if computed and item not in computed:
                    text = (
                        f"{kind[:-1]} '{item}' is not in 'analyses.{name}.{kind}'; add it there, "
                        "or take it out here"
                    )
                    yield document.problem(keys, text)
    asked = [(["analyses", name, "visits"], name, _listed(s, "visits"))
             for name, s in analyses.items()]  # fmt: skip
    asked.append((["primary", "visit"], plan["primary"]["method"], [plan["primary"]["visit"]]))
    for keys, name, visits in asked:
        for visit in visits:
            change = analyses.get(name, {}).get("response") == "CHG"
            if change and visit in trial.visit_names and visit not in after:
                text = f"visit '{visit}' is not after the baseline, so there is no change; "
                yield document.problem(keys, text + "name a later visit")
    for index, display in enumerate(plan["displays"]):
        name = SHOWS.get(display["id"])
        if name and name not in analyses:
            text = f"'{display['id']}' shows the analysis '{name}', which the plan lacks; add "
            yield document.problem(["displays", index], text + f"'{name}: {{}}' to 'analyses'")
    if "agreement" in analyses and "reads" not in trial.config["sheets"]:
        text = "the analysis of agreement needs 'sheets: reads' in config.yaml; add it there, or "
        yield document.problem(["analyses", "agreement"], text + "delete 'agreement'")


def _families_overlap(plan, document):
    """Yield the hypotheses that stand in two families; their p value would have two adjustments."""
    owner = {}
    for index, family in enumerate(plan["families"]):
        for test in itertools.product(family["parameters"], family["visits"]):
            key = (family["analysis"], *test)
            if key in owner and owner[key] != family["id"]:
                text = (
                    f"{' at '.join(test)} ({family['analysis']}) is in the families "
                    f"'{owner[key]}' and '{family['id']}'; keep it in one"
                )
                yield document.problem(["families", index], text)
            owner.setdefault(key, family["id"])
