"""The methods paragraph of a report, written from the plan: models, families, software."""

from lungitude.reporting.table_primary import METHODS_OF_ADJUSTMENT

RULES = {"randomised": "all randomised patients", "completers": "patients who completed the trial"}


def paragraphs(context, models, versions):
    """Write the statistical methods.

    Parameters
    ----------
    context : Context
    models : dict of str to list of str
        Model lines (NOTE of STAT ``model``) by analysis, as the results table gives them.
    versions : dict of str to str
        Software and version.

    Returns
    -------
    list of str
        Paragraphs of plain text.
    """
    return [
        p
        for p in (
            _populations(context),
            _description(context),
            _models(context, models),
            _multiplicity(context),
            _software(versions),
        )
        if p
    ]


def _populations(context):
    said = []
    for name, population in (context.plan.get("populations") or {}).items():
        rule = str(population.get("rule", ""))
        text = f"{population.get('label', name)} ({name}): {RULES.get(rule, rule)}"
        if population.get("no_events"):
            text += f" without {listed(population['no_events'], 'or')}"
        if population.get("require"):
            needed = [
                f"{context.label(item['param'])} at {item['visit']}"
                for item in population["require"]
            ]
            text += f" with {listed(needed)}"
        said.append(text)
    return f"Analysis sets. {'; '.join(said)}." if said else ""


def _description(context):
    plan = context.plan
    text = (
        "Description. Continuous values are given as mean (SD) and median (first to third "
        "quartile), categories as number (percentage)."
    )
    if plan.get("quantiles"):
        text += f" Quantiles follow the rule {str(plan['quantiles']).replace('_', ' ')}."
    if plan.get("analyses", {}).get("baseline", {}).get("tests") is not True:
        text += " Differences at baseline were not tested."
    return text


def _models(context, models):
    primary = context.plan.get("primary") or {}
    said = []
    if primary:
        said.append(
            f"The primary endpoint was {context.label_with_unit(primary['parameter'])} at "
            f"{primary['visit']}, analysed by {_name(primary['method'])}."
        )
    for analysis, lines in models.items():
        name = _name(analysis)
        said += [f"{name[:1].upper()}{name[1:]}: {line.rstrip('. ')}." for line in lines]
    said.append(
        f"Intervals are two-sided {context.ci_label}; p values are two-sided. Missing "
        "values were not replaced by single values."
    )
    return "Models. " + " ".join(said)


def _name(analysis):
    return {"ancova": "ANCOVA", "mmrm": "MMRM"}.get(analysis, analysis.replace("_", " "))


def _multiplicity(context):
    said = []
    for family in context.plan.get("families", []):
        method = METHODS_OF_ADJUSTMENT.get(str(family.get("method")), "no adjustment")
        names = [context.label(code) for code in family["parameters"]]
        visits = f" at {listed(family['visits'])}" if family.get("visits") else ""
        said.append(f"{family.get('label', family['id'])} ({listed(names)}{visits}): {method}")
    return f"Multiplicity. Families declared in the plan: {'; '.join(said)}." if said else ""


def _software(versions):
    if not versions:
        return ""
    return "Software. " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def listed(items, word="and"):
    """Join words as a sentence does: a, b and c."""
    items = [str(item) for item in items]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"
