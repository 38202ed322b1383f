"""What plan.yaml asks for, held against the trial: unknown names, and numbers nobody computes."""

import itertools

from lungitude.checks import nearest
from lungitude.reporting.displays import KINDS, NEEDS, kind_of

WORDS = {"visits": "visit", "covariates": "covariate", "by_visit": "covariate", "factors": "factor"}


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
    yield from _contradictions(trial, document)
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
    known = {
        "parameters": parameters,
        "visits": visits,
        "covariates": columns,
        "by_visit": columns,
        "factors": columns[1:],
        "x": parameters,
        "y": parameters,
    }
    populations, analyses = list(plan["populations"]), list(plan["analyses"])
    if not parameters:  # the sheet could not be read, which is told already
        known.update(dict.fromkeys(("parameters", "x", "y"), _Anything()))
    sections = [(["analyses", name], section) for name, section in plan["analyses"].items()]
    sections += [(["families", index], item) for index, item in enumerate(plan["families"])]
    sections += [(["displays", index], item) for index, item in enumerate(plan["displays"])]
    for keys, section in sections:
        for kind, names in known.items():
            for item in _listed(section, kind):
                yield [*keys, kind], WORDS.get(kind, "parameter"), item, names
        for item in _listed(section, "strata"):
            yield [*keys, "strata"], "stratum", item, strata
        for population, items in (section.get("also_in") or {}).items():
            keys_of = [*keys, "also_in", population]
            yield keys_of, "population", population, populations
            for item in _listed({"parameters": items}, "parameters"):
                yield keys_of, "parameter", item, known["parameters"]
        if "population" in section:
            yield [*keys, "population"], "population", section["population"], populations
        if "factor" in section:
            factors = [factor["column"] for factor in config["strata"]]
            yield [*keys, "factor"], "stratum factor", section["factor"], factors
        if "analysis" in section:
            yield [*keys, "analysis"], "analysis", section["analysis"], analyses
    yield from _names_of_sections(plan["analyses"], known)
    for index, family in enumerate(plan["families"]):
        tests = [f"{p} {v}" for p in family["parameters"] for v in family["visits"]]
        for name in family.get("weights", {}):
            yield ["families", index, "weights"], "hypothesis", name, tests
        for edge in family.get("transitions", ()):
            for end in ("from", "to"):
                yield ["families", index, "transitions"], "hypothesis", edge[end], tests
    primary = plan["primary"]
    yield ["primary", "parameter"], "parameter", primary["parameter"], known["parameters"]
    yield ["primary", "visit"], "visit", primary["visit"], visits
    yield ["primary", "method"], "analysis", primary["method"], analyses
    for name, population in plan["populations"].items():
        for item in population["require"]:
            keys = ["populations", name, "require"]
            yield keys, "parameter", item["param"], known["parameters"]
            yield keys, "visit", item["visit"], visits


def _names_of_sections(analyses, known):
    """Yield the names that only one kind of analysis has."""
    columns, parameters, visits = known["covariates"], known["parameters"], known["visits"]
    for item in analyses.get("imputation", {}).get("tipping", {}).get("parameters", ()):
        yield ["analyses", "imputation", "tipping"], "parameter", item, parameters
    if "site" in analyses.get("mixed_model", {}):
        keys = ["analyses", "mixed_model", "site"]
        yield keys, "column", analyses["mixed_model"]["site"], columns[1:]
    if "stepwise" in analyses:
        section, keys = analyses["stepwise"], ["analyses", "stepwise"]
        yield [*keys, "response"], "parameter", section["response"], parameters
        yield [*keys, "response_visit"], "visit", section["response_visit"], visits
        either = _Anything() if isinstance(parameters, _Anything) else [*parameters, *columns]
        for item in section["candidates"]:
            yield [*keys, "candidates"], "candidate", item, either
    for item, source in analyses.get("accuracy", {}).get("truth", {}).items():
        keys = ["analyses", "accuracy", "truth", item]
        yield keys, "parameter", item, known["parameters"]
        yield [*keys, "column"], "column of the phantom", source["column"], phantom_columns()
    for index, item in enumerate(analyses.get("responders", {}).get("endpoints", ())):
        keys = ["analyses", "responders", "endpoints", index]
        yield [*keys, "parameter"], "parameter", item["parameter"], parameters
        for visit in _listed(item, "visits"):
            yield [*keys, "visits"], "visit", visit, visits


def phantom_columns():
    """Return the columns of a phantom's sheet; imported when a plan asks, which few do."""
    from lungitude.phantom.record import QUANTITIES, TARGETS

    return [*TARGETS, *QUANTITIES]


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
        kind = kind_of(display)
        if kind not in KINDS:
            text = f"'{display['id']}' is no kind of display; give it a 'kind' "
            yield document.problem(["displays", index], text + f"({nearest(kind, KINDS)})")
        needed = NEEDS.get(kind, ())
        if needed and not any(name in analyses for name in needed):
            text = f"'{display['id']}' shows the analysis '{needed[0]}', which the plan lacks; add "
            yield document.problem(["displays", index], text + f"'{needed[0]}: {{}}' to 'analyses'")
    for name, population in plan["populations"].items():
        if "adherence_pct" in population and "sessions" not in trial.config["sheets"]:
            text = (
                f"the set '{name}' asks for attended sessions, which needs 'sheets: sessions' in "
            )
            text += "config.yaml; add it there, or delete 'adherence_pct'"
            yield document.problem(["populations", name, "adherence_pct"], text)
    if "agreement" in analyses and "reads" not in trial.config["sheets"]:
        text = "the analysis of agreement needs 'sheets: reads' in config.yaml; add it there, or "
        yield document.problem(["analyses", "agreement"], text + "delete 'agreement'")
    if "accuracy" in analyses and "phantom" not in trial.config:
        text = "the analysis of accuracy needs scans of a phantom, whose truth is known; delete it"
        yield document.problem(["analyses", "accuracy"], text)


def _contradictions(trial, document):
    """Yield the choices that exclude each other."""
    plan, analyses = trial.plan, trial.plan["analyses"]
    for name, section in analyses.items():
        if section.get("population") in (section.get("also_in") or {}):
            text = (
                f"'also_in' names '{section['population']}', the analysis set of '{name}' itself; "
            )
            yield document.problem(["analyses", name, "also_in"], text + "delete it there")
    if plan["primary"]["method"] == "within_arm" and len(trial.config["arms"]) > 1:
        text = "'within_arm' compares no arms, and the trial has several; name a model, such as "
        yield document.problem(["primary", "method"], text + "'ancova'")
    section = analyses.get("mmrm", {})
    for item in section.get("by_visit", ()):
        if item not in section.get("covariates", ()):
            text = f"'by_visit' names '{item}', which 'covariates' lacks; add it there"
            yield document.problem(["analyses", "mmrm", "by_visit"], text)
    if section.get("vcov", "model") != "model" and section["df"].startswith("kenward-roger"):
        text = f"df '{section['df']}' has its own covariance; choose 'df: satterthwaite' with "
        yield document.problem(["analyses", "mmrm", "vcov"], text + f"'vcov: {section['vcov']}'")
    section = analyses.get("association", {})
    if section.get("compare_visits") and section.get("covariates"):
        text = "'compare_visits' compares plain correlations; delete it, or 'covariates'"
        yield document.problem(["analyses", "association", "compare_visits"], text)
    limits = analyses.get("adherence", {}).get("limits_pct", ())
    for name, population in plan["populations"].items():
        limit = population.get("adherence_pct")
        if limits and limit is not None and limit not in limits:
            text = f"the set '{name}' has its limit at {limit:g} %, which 'analyses.adherence."
            text += "limits_pct' does not count; add it there"
            yield document.problem(["analyses", "adherence"], text)
    section = analyses.get("stepwise", {})
    if section and section["p_remove"] < section["p_enter"]:
        text = "'p_remove' is less than 'p_enter', so that a variable would go in and out forever; "
        yield document.problem(["analyses", "stepwise", "p_remove"], text + "raise 'p_remove'")
    for index, family in enumerate(plan["families"]):
        place = ["families", index]
        if family["method"] in ("fixed_sequence", "graphical") and len(trial.config["arms"]) > 2:
            text = f"method '{family['method']}' needs one comparison, the trial has several arms; "
            yield document.problem(place, text + "choose another method")
        if family["method"] != "graphical":
            if {"weights", "transitions"} & set(family):
                text = "'weights' and 'transitions' belong to 'method: graphical'; delete them, or "
                yield document.problem(place, text + "choose that method")
            continue
        total = sum(family.get("weights", {}).values())
        if not 0 < total <= 1 + 1e-9:
            text = f"the weights of the graph sum to {total:g}; they must sum to 1 (or less)"
            yield document.problem([*place, "weights"], text)
        out = {}
        for edge in family.get("transitions", ()):
            out[edge["from"]] = out.get(edge["from"], 0) + edge["share"]
            if edge["from"] == edge["to"]:
                text = f"a transition leads from '{edge['from']}' to itself; delete it"
                yield document.problem([*place, "transitions"], text)
        for name, share in out.items():
            if share > 1 + 1e-9:
                text = (
                    f"the transitions from '{name}' sum to {share:g}; they must sum to 1 (or less)"
                )
                yield document.problem([*place, "transitions"], text)


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
