"""The methods paragraph of a report, written from the plan: models, families, software."""

from lungitude import reference_values
from lungitude.reporting import references
from lungitude.reporting.format import analysis_name
from lungitude.reporting.table_primary import METHODS_OF_ADJUSTMENT

RULES = {"randomised": "all {entered} patients", "completers": "patients who completed the trial"}


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
        Paragraphs of plain text; the last ones are the references of the software.
    """
    return [
        p
        for p in (
            _populations(context),
            _windows(context),
            _reference_values(context),
            _description(context),
            _models(context, models),
            _tests(context),
            _agreement(context),
            _accuracy(context),
            _multiplicity(context),
            *_software(versions),
        )
        if p
    ]


def _populations(context):
    said = []
    for name, population in (context.plan.get("populations") or {}).items():
        rule = str(population.get("rule", ""))
        who = RULES.get(rule, rule).format(entered=context.entered)
        text = f"{population.get('label', name)} ({name}): {who}"
        limits = []
        if population.get("no_events"):
            limits.append(f"without {listed(population['no_events'], 'or')}")
        if population.get("require"):
            needed = [
                f"{context.label(item['param'])} at {item['visit']}"
                for item in population["require"]
            ]
            limits.append(f"with {listed(needed)}")
        if population.get("adherence_pct") is not None:
            share = f"{population['adherence_pct']:g}%"
            limits.append(f"with at least {share} of their planned sessions attended")
        text = " ".join(filter(None, [text, " and ".join(limits)]))
        said.append(text)
    return f"Analysis sets. {'; '.join(said)}." if said else ""


CHOICES = {
    "closest": "the one closest to the planned day",
    "first": "the first",
    "last": "the last",
    "mean": "their mean",
    "worst": "the worst",
}


def _windows(context):
    """Say how records came to their visits; nothing where each says its own."""
    settings = context.visit_windows
    if not settings:
        return ""
    origin = {"RANDDT": "randomisation", "RFSTDT": "the reference start"}
    spans = [
        f"{visit['name']} (day {visit['window'][0]} to {visit['window'][1]})".replace(
            " -", " \u2212"
        )
        for visit in context.visits
        if "window" in visit
    ]
    told = listed(spans)
    by_date = settings["assign"] == "by_date"
    how = "by their date" if by_date else "as named"
    text = (
        f"Visits. Records were assigned to visits {how}; windows were {told}, "
        f"day 1 being that of {origin[settings['reference']]}."
    )
    if settings["disagree"] == "exclude":
        what = "whose date is of another visit than was named" if by_date else "outside the window"
        text += f" Records {what} were not analysed."
    if settings["several"] != "stop":
        text += f" Of several records of a patient at a visit, {CHOICES[settings['several']]} "
        text += "was analysed"
        if settings["ties"] != "stop":
            text += f", of those alike {CHOICES[settings['ties']]}"
        text += "."
    return f"{text} Unscheduled records were not analysed."


EQUATIONS = {
    "gli_2022": "GLI Global (Bowerman et al., Am J Respir Crit Care Med 2023;207:768)",
    "gli_2012": "GLI 2012 (Quanjer et al., Eur Respir J 2012;40:1324)",
    "gli_2017": "GLI 2017 for diffusing capacity (Stanojevic et al., Eur Respir J 2017;50:1700010)",
    "gli_2021": "GLI 2021 for lung volumes (Hall et al., Eur Respir J 2021;57:2000289)",
}
RELATIVE = {
    "percent": "in percent of the predicted value",
    "z": "as z score",
    "predicted": "as predicted value",
    "lower_limit": "as lower limit of normal",
}


def _reference_values(context):
    """Say which parameters are values beside those of healthy people, and by which equations."""
    settings = context.reference_values
    if not settings:
        return ""
    used, made = {}, []
    for code, rule in settings["parameters"].items():
        used[reference_values.asked(rule, settings)[0]] = None
        of = context.label(rule["of"]) if context.has_parameter(rule["of"]) else rule["of"]
        made.append(f"{of} {RELATIVE[rule['give']]} ({code})")
    return (
        f"Reference values. {listed(made)} follow the equations of the Global Lung Function "
        f"Initiative: {listed([EQUATIONS[name] for name in used])}; age and height are those at "
        "inclusion."
    )


def _description(context):
    plan = context.plan
    text = (
        "Description. Continuous values are given as mean (SD) and median (first to third "
        "quartile), categories as number (percentage)."
    )
    if plan.get("analyses", {}).get("baseline", {}).get("smd") and len(context.arms) > 1:
        text += " Arms are compared at baseline by standardised mean differences."
    if plan.get("quantiles"):
        text += f" Quantiles follow the rule {str(plan['quantiles']).replace('_', ' ')}."
    tests = plan.get("analyses", {}).get("baseline", {}).get("tests")
    if tests is not True and len(context.arms) > 1:
        text += " Differences at baseline were not tested."
    return text


def _models(context, models):
    primary = context.plan.get("primary") or {}
    said = []
    if primary:
        section = context.plan.get("analyses", {}).get(primary["method"], {})
        change = "" if section.get("response", "CHG") != "CHG" else "the change of "
        since = f" from {context.baseline} to " if change else " at "
        how = f"analysed by {analysis_name(primary['method'])}"
        how = "within patients" if primary["method"] == "within_arm" else how
        said.append(
            f"The primary endpoint was {change}{context.label(primary['parameter'])}{since}"
            f"{primary['visit']}, {how}."
        )
    for analysis, lines in models.items():
        name = analysis_name(analysis)
        said += [f"{name[:1].upper()}{name[1:]}: {line.rstrip('. ')}." for line in lines]
    if models:
        said.append(
            "In the model lines CHG is the change from baseline, BASE the value at baseline, "
            "TRT01P the arm as randomised, AVISIT the visit and USUBJID the patient; other names "
            "are columns of the analysis data."
        )
    every = " ".join(line for lines in models.values() for line in lines)
    if "log scale" in every or "log1p scale" in every:
        said.append(
            "What was analysed on a log scale (log1p: of the value + 1) is given as ratio, the "
            "exponential of the difference."
        )
    for factor in context.strata if models else ():
        if "pool" in factor:
            ways = {"neighbour": "a neighbouring level", "together": "each other"}
            said.append(
                f"In the models, levels of {factor.get('label', factor['column'])} with fewer than "
                f"{factor['pool']['below']} patients of an arm were pooled with "
                f"{ways[factor['pool']['into']]}."
            )
    if "ancova" in models and context.strata and len(context.arms) > 1:
        factors = listed([factor.get("label", factor["column"]) for factor in context.strata])
        said.append(
            f"Whether the effect depends on {factors} was tested in all patients by the F test of "
            "the interaction with the arm, added to the ANCOVA."
        )
    used = "ANCOVA uses the patients with a value at baseline, at the visit and of each covariate"
    over_visits = [name for name in ("mixed_model", "mmrm") if name in models]
    if over_visits:
        named = listed([f"the {analysis_name(name)}" for name in over_visits])
        verb = "use" if len(over_visits) > 1 else "uses"
        used += f"; {named} {verb} all visits with a value, as if values were missing at random"
    used = f" {used}." if "ancova" in models else ""
    used += "".join(f" {line}" for line in _other_sets(context, models))
    imputed = _imputation(context) or "Missing values were not imputed."
    said.append(f"Intervals ({context.ci_label}) and p values are two-sided. {imputed}{used}")
    return "Models. " + " ".join(said)


def _other_sets(context, models):
    """Say which analyses were repeated in another analysis set."""
    repeated = {}
    for name in models:
        for population in context.plan["analyses"].get(name, {}).get("also_in") or {}:
            repeated.setdefault(population, []).append(f"the {analysis_name(name)}")
    for population, names in repeated.items():
        label = context.plan["populations"][population]["label"]
        verb = "was" if len(names) == 1 else "were"
        text = listed(names)
        yield f"{text[:1].upper()}{text[1:]} {verb} repeated in the set {label} ({population})."


STRATEGIES = {
    "mar": "missing at random",
    "j2r": "jump to reference",
    "cr": "copy reference",
    "cir": "copy increments in reference",
}


def _imputation(context):
    """Say how missing values were imputed; nothing where the plan does not impute."""
    section = context.plan.get("analyses", {}).get("imputation")
    if section is None:
        return ""
    how = (
        "by their conditional mean, with jackknife standard errors"
        if section.get("method", "conditional-mean") == "conditional-mean"
        else f"{section.get('n_imputations', 500)} times, joined by Rubin's rules"
    )
    named = listed([STRATEGIES[name] for name in section.get("strategies", ("mar", "j2r"))])
    text = (
        f"In a sensitivity analysis values after drop-out were imputed {how}, under the "
        f"assumptions {named}, and each visit was analysed by ANCOVA; the other analyses impute "
        "nothing."
    )
    if section.get("tipping"):
        text += (
            " How far imputed values of the compared arms would have to be shifted to change the "
            "conclusion was searched for (tipping point)."
        )
    return text


PAIRED = {
    "t": "paired t tests",
    "wilcoxon": "Wilcoxon signed-rank tests",
    "published": "paired t tests (Wilcoxon signed-rank tests where Shapiro-Wilk p <= 0.05)",
}
UNPAIRED = {
    "auto": "Welch's t test",
    "welch": "Welch's t test",
    "student": "Student's t test",
    "mann-whitney": "the Mann-Whitney test",
    "published": "Student's t test (the Mann-Whitney test where Shapiro-Wilk p <= 0.05)",
}


def _tests(context):
    """Say what was tested without a model that adjusts for the baseline."""
    analyses, said = context.plan.get("analyses", {}), []

    def adjusted(section):
        method = METHODS_OF_ADJUSTMENT.get(section.get("adjust", "bh"))
        return f", p values adjusted by {method}" if method else ""

    if "within_arm" in analyses:
        section = analyses["within_arm"]
        said.append(
            "Changes between all visits within each arm were tested by "
            f"{PAIRED[section.get('method', 't')]}{adjusted(section)} over the comparisons of a "
            "parameter; they do not compare arms."
        )
    if "arm_tests" in analyses:
        method = analyses["arm_tests"].get("method", "auto")
        said.append(
            f"Arms were also compared at each visit, without adjustment, by {UNPAIRED[method]}."
        )
    if "rm_anova" in analyses:
        said.append(
            "Repeated-measures analysis of variance of arm x visit used patients with all visits "
            "(type III, Greenhouse-Geisser and Huynh-Feldt corrections)."
        )
    if "association" in analyses:
        section = analyses["association"]
        name = {"pearson": "Pearson", "spearman": "Spearman"}[section.get("method", "pearson")]
        what = "changes" if section.get("values") == "CHG" else "values"
        if what == "changes":
            what += " from baseline"
        where = " within each arm" if section.get("by_arm") else ""
        partial = section.get("covariates")
        given = f", given {listed(partial)}" if partial else ""
        said.append(
            f"{name} correlations of {what} were computed{where}{given}{adjusted(section)} over "
            "all pairs and visits."
        )
        if "max_days_apart" in section:
            said[-1] += (
                f" Pairs of measurements more than {section['max_days_apart']} days apart, or "
                "without both dates, were left out."
            )
    if "stepwise" in analyses:
        section = analyses["stepwise"]
        said.append(
            f"Stepwise regression of {context.label(section['response'])} at "
            f"{section['response_visit']} let variables in at p < {section.get('p_enter', 0.05):g} "
            f"and out at p > {section.get('p_remove', 0.1):g}; p values disregard the selection."
        )
    if "responders" in analyses:
        missing = analyses["responders"].get("missing", "observed")
        end = "counted as no responder" if missing == "nonresponder" else "left out"
        said.append(
            "Responders were compared by logistic regression, with the standardised risk "
            f"difference; patients without a value were {end}."
        )
    return f"Tests without a model. {' '.join(said)}" if said else ""


def _agreement(context):
    if "agreement" not in context.plan.get("analyses", {}):
        return ""
    return (
        "Agreement. Methods, readers and repeats were compared by the intraclass correlation "
        "ICC(A,1) (two-way, absolute agreement, single measurement) and by bias and 95% limits of "
        "agreement (Bland and Altman); where a patient has several pairs, the limits allow for it. "
        "Values of readers and repeats are averaged before methods are compared."
    )


def _accuracy(context):
    if "accuracy" not in context.plan.get("analyses", {}):
        return ""
    return (
        "Accuracy. The scans are synthetic, so the truth of each is known. What was measured on "
        "them was held against it by Pearson's correlation, the root mean squared error, the bias "
        "and 95% limits of agreement."
    )


def _multiplicity(context):
    said = []
    for family in context.plan.get("families", []):
        method = METHODS_OF_ADJUSTMENT.get(str(family.get("method")), "no adjustment")
        names = [context.label(code) for code in family["parameters"]]
        visits = f" at {listed(family['visits'])}" if family.get("visits") else ""
        strata = family.get("strata", "all")
        place = {"all": "", "each": ", in each stratum by itself"}.get(
            strata if isinstance(strata, str) else "", ", over the strata that the plan names"
        )
        said.append(
            f"{family.get('label', family['id'])} ({listed(names)}{visits}): {method}{place}"
        )
    if not said:
        return ""
    end = ""
    if all(family.get("strata", "all") == "all" for family in context.plan["families"]):
        end = (
            " Families hold the tests in all patients; p values within a stratum are not adjusted."
        )
    return f"Multiplicity. Families declared in the plan: {'; '.join(said)}.{end}"


def _software(versions):
    """Name the software, then its references, a paragraph each."""
    if not versions:
        return []
    named, listed_below = references.cited(versions)
    return [f"Software. {', '.join(named)}.", *listed_below]


def listed(items, word="and"):
    """Join words as a sentence does: a, b and c."""
    items = [str(item) for item in items]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"
