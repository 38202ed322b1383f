"""The results in words: a paragraph each, whose every number has the address of its row.

A paragraph says what the results table says and no more: how many tests fell below the level, with
each of them named; a p value stands beside its estimate and interval. What was not analysed has no
paragraph.
"""

from dataclasses import dataclass
from decimal import Decimal

from lungitude.reporting import format as text
from lungitude.reporting import results as lookup
from lungitude.reporting import (
    table_adherence,
    table_adverse,
    table_sensitivity,
    table_subgroups,
)
from lungitude.reporting.methods import listed
from lungitude.reporting.results import Absent, Part
from lungitude.reporting.table_primary import (
    METHODS_OF_ADJUSTMENT,
    adjusted_p,
    effect,
    effect_decimals,
    primary_sentence,
)

REASON = "discontinued:"
OF_ALL = " of all patients of the analysis set"
UNTOLD = "not_recorded:AESER"
NO_BREAK = "\u00a0"


@dataclass(frozen=True)
class Finding:
    """A paragraph: what it is about, and its text in pieces."""

    heading: str
    parts: tuple[Part, ...]

    @property
    def text(self):
        """The paragraph as plain text."""
        return "".join(part.text for part in self.parts)


def paragraphs(results, context):
    """Write the results of a stratum.

    Parameters
    ----------
    results : Results
    context : Context

    Returns
    -------
    list of Finding
        In the order of a paper; empty where the stratum has no patient.
    """
    if results.empty:
        return []
    found = [
        ("Patients", disposition(results, context)),
        ("Baseline", baseline(results, context)),
        ("Adherence", adherence(results, context)),
        ("Primary endpoint", primary(results, context)),
        *families(results, context),
        ("Interaction", interaction(results, context)),
        ("Sensitivity analyses", sensitivity(results, context)),
        ("Missing values", missing(results, context)),
        ("Adverse events", adverse(results, context)),
        ("Agreement", agreement(results, context)),
    ]
    return [Finding(heading, tuple(_joined(said))) for heading, said in found if said]


def document_paragraphs(results, context):
    """Return the paragraphs as pieces, each led by its heading, for documents without headings."""
    return [
        (Part(f"{finding.heading}. "), *finding.parts) for finding in paragraphs(results, context)
    ]


def _joined(sentences):
    """Put sentences after each other."""
    pieces = []
    for sentence in sentences:
        pieces += [Part(" "), *sentence] if pieces else sentence
    return pieces


def _sentence(*pieces):
    """Make a sentence of strings and parts, also of lists of them."""
    made = []
    for piece in pieces:
        if isinstance(piece, str):
            made.append(Part(piece))
        elif isinstance(piece, Part):
            made.append(piece)
        else:
            made += _sentence(*piece)
    return made


def _series(items, between=", ", last=" and "):
    """Put items (pieces each) in a row, as a sentence does."""
    made = []
    for index, item in enumerate(items):
        if index:
            made.append(last if index == len(items) - 1 else between)
        made.append(item)
    return made


def alpha(context):
    """Return the level of the tests, one minus the confidence."""
    return float(1 - Decimal(repr(float(context.plan.get("confidence", 0.95)))))


def _in_order(context, arms=None):
    """Say in which order the numbers of the arms stand; those of `context` if none are named."""
    names = [arm["label"] for arm in (context.arms if arms is None else arms)]
    return f" ({listed(names)}, in this order)" if len(names) > 1 else ""


def _counts(results, context, level, visit=""):
    """Return the counts of the arms at a stage, or None where the results have none."""
    found = [
        results.get("disposition", "n", visit=visit, group=arm["code"], level=level)
        for arm in context.arms
    ]
    if any(number is None for number in found):
        return None
    return _series([lookup.count_part(number) for number in found])


def disposition(results, context):
    """Say who was randomised, completed and discontinued, and why."""
    size, own = results.size(context.total), _counts(results, context, "randomised")
    if size is None or own is None:
        return []
    several = len(context.arms) > 1
    split = [": ", own, _in_order(context)] if several else []
    were = (
        f" patient was {context.entered}"
        if size.value == 1
        else f" patients were {context.entered}"
    )
    said = [_sentence(lookup.count_part(size), were, *split, ".")]
    done, gone = (_counts(results, context, level) for level in ("completed", "discontinued"))
    order = ", in the same order of arms" if several else ""
    if done and gone:
        said.append(
            _sentence("The trial was completed by ", done, " and discontinued by ", gone, order)
        )
        why = _reasons(results, context)
        said[-1] += _sentence(*([": ", *why] if why else []), ".")
    ongoing = results.get("disposition", "n", group=context.total, level="ongoing")
    if ongoing is not None and ongoing.value > 0:
        verb = "was" if ongoing.value == 1 else "were"
        said.append(_sentence(lookup.count_part(ongoing), f" {verb} still in the trial."))
    return said


def _reasons(results, context):
    """Reasons that somebody here had, each with the counts of the arms."""
    items = []
    for level in results.levels("disposition", REASON):
        whole = results.get("disposition", "n", group=context.total, level=level)
        own = _counts(results, context, level)
        if whole is not None and whole.value > 0 and own:
            reason = level.removeprefix(REASON)
            if reason[1:2].islower():  # not COPD
                reason = reason[:1].lower() + reason[1:]
            items.append([f"{reason} ", own])
    return _series(items, "; ", "; ")


def baseline(results, context):
    """Say in one sentence who the patients were: the first section of the characteristics."""
    known = set(results.where(METHOD="baseline")["PARAMCD"])
    chosen = [item for item in context.characteristics if item["column"] in known]
    chosen = [item for item in chosen if item.get("section") == chosen[0].get("section")]
    items = [item for one in chosen for item in _characteristic(results, context, one)]
    items += _at_baseline(results, context)
    if not items:
        return []
    lead = f"At baseline{_in_order(context)}, given as mean (SD) or number (percentage): "
    return [_sentence(lead, _series(items, "; ", "; "), ".")]


def _characteristic(results, context, item):
    column, rounding = item["column"], context.style["rounding"]

    def by_arm(*stats, level=""):
        found = [
            [
                results.get("baseline", stat, column, group=arm["code"], level=level)
                for stat in stats
            ]
            for arm in context.arms
        ]
        complete = all(number is not None for pair in found for number in pair)
        return found if complete else None

    if item.get("type") != "category":
        digits, unit = int(item.get("decimals", 0)) + 1, item.get("unit", "")
        found = by_arm("mean", "sd")
        name = f"{item['label']}, {unit}, " if unit else f"{item['label']} "
        return [[name, _means(found, digits, rounding)]] if found else []
    names = {str(key): label for key, label in (item.get("levels") or {}).items()}
    shown = [str(level) for level in item.get("show") or names]
    items = []
    for level in shown:
        found = by_arm("n", "pct", level=level)
        if not found:
            continue
        alone = len(shown) == 1
        name = item["label"] if alone else f"{item['label']}, {names.get(level, level)},"
        shares = [
            [lookup.count_part(n), " (", lookup.part(pct, 1, rounding), "%)"] for n, pct in found
        ]
        items.append([f"{name} ", _series(shares)])
    return items


def _means(found, digits, rounding):
    """Means with their SD, an arm each."""
    return _series(
        [
            [lookup.part(mean, digits, rounding), " (", lookup.part(sd, digits, rounding), ")"]
            for mean, sd in found
        ]
    )


def _at_baseline(results, context):
    """Return the primary endpoint at baseline."""
    code = context.plan["primary"]["parameter"]
    found = [
        [
            results.get("describe", stat, code, context.baseline, arm["code"], level="AVAL")
            for stat in ("mean", "sd")
        ]
        for arm in context.arms
    ]
    if any(number is None for pair in found for number in pair):
        return []
    digits, rounding = context.decimals(code) + 1, context.style["rounding"]
    return [[f"{_with_unit(context, code)} ", _means(found, digits, rounding)]]


def _with_unit(context, code):
    unit = context.unit(code)
    return f"{context.label(code)}, {unit}," if unit else context.label(code)


def adherence(results, context):
    """Say which share of the planned sessions was attended, and by how many patients enough."""
    method, rounding = table_adherence.METHOD, context.style["rounding"]
    if results.where(METHOD=method).empty:
        return []

    def described(stat, arm):
        return results.get(method, stat, "ADHER", group=arm["code"])

    asked = [arm for arm in context.arms if described("mean", arm) is not None]
    known = [arm for arm in asked if described("mean", arm).estimated]
    said = []
    if known:
        means = []
        for arm in known:
            mean, sd = described("mean", arm), described("sd", arm)
            means.append([lookup.part(mean, 1, rounding), "%"])
            if sd is not None and sd.estimated:
                means[-1] += [" (SD ", lookup.part(sd, 1, rounding), ")"]
        tail = f" of the sessions planned for them{_in_order(context, known)}."
        said.append(_sentence("Patients attended a mean of ", _series(means), tail))
    said += [
        _sentence(f"In {arm['label']} no adherence is known.") for arm in asked if arm not in known
    ]
    none = [arm["label"] for arm in context.arms if arm not in asked]
    if none:
        said.append(_sentence(f"No sessions were planned in {listed(none)}."))
    shares = []
    for level in results.levels(method, table_adherence.LIMIT):
        who = _patients(results, context, method, level, asked)
        limit = level.removeprefix(table_adherence.LIMIT)
        if who and shares:
            shares.append([f"at least {limit}% by ", who])
        elif who:
            order = "" if known == asked else _in_order(context, asked)
            lead = f"At least {limit}% of their sessions were attended by "
            shares.append([lead, who, f"{OF_ALL}{order}"])
    if shares:
        said.append(_sentence(_series(shares), "."))
    others = {"none": "None was attended by ", "unknown": "Adherence is not known of "}
    for level, lead in others.items():
        if _any(results, method, level, asked):
            said.append(_sentence(lead, _patients(results, context, method, level, asked), "."))
    return said


def adverse(results, context):
    """Say how many patients had an adverse event, a serious one, and one that was fatal."""
    method, arms = table_adverse.METHOD, context.arms
    who = _patients(results, context, method, "any", arms)
    if not who:
        return []
    emergent = context.plan.get("analyses", {}).get(method, {}).get("emergent", True)
    kind = "A treatment-emergent adverse event" if emergent else "An adverse event"
    told = [[f"{kind} was recorded in ", who, f"{OF_ALL}{_in_order(context)}"]]
    serious, fatal = (
        _patients(results, context, method, level, arms) for level in ("serious", "fatal")
    )
    told += [["a serious one in ", serious]] * bool(serious)
    told += [["a fatal one in ", fatal]] * bool(fatal)
    said = [_sentence(_series(told, last=", and "), ".")]
    if not serious:
        said.append(_sentence("It was not recorded which events were serious."))
    elif _any(results, method, UNTOLD, arms):
        who = _patients(results, context, method, UNTOLD, arms)
        said.append(_sentence("Whether an event was serious was not recorded in ", who, "."))
    return said


def _patients(results, context, method, level, arms):
    """Patients of a level as number and percentage, an arm each; None where the results lack one.

    A percentage of nobody is not told.
    """
    found = []
    for arm in arms:
        count, share = (
            results.get(method, stat, group=arm["code"], level=level) for stat in ("n", "pct")
        )
        if count is None:
            return None
        found.append([lookup.count_part(count)])
        if count.value > 0 and share is not None and share.estimated:
            percent = lookup.part(share, 1, context.style["rounding"])
            found[-1] += [" (", percent, "%)"]
    return _series(found) or None


def _any(results, method, level, arms):
    """Whether anybody of some arms is counted in a level."""
    found = [results.get(method, "n", group=arm["code"], level=level) for arm in arms]
    return any(count is not None and count.value > 0 for count in found)


def primary(results, context):
    """Say the primary result; where p is not below the level, that no difference was shown."""
    block = tuple(context.plan["primary"][key] for key in ("parameter", "visit", "method"))
    said = [*_within(results, context, block)] if block[2] == "within_arm" else []
    pairs = zip(context.comparisons, primary_sentence(results, context), strict=True)
    for (_, comparison), sentence in pairs:
        said.append(sentence)
        p = results.get(block[2], "p", block[0], block[1], comparison=comparison)
        if p is not None and p.estimated and not p.value < alpha(context):
            said.append(_sentence("No difference was shown."))
    return said


def _within(results, context, block):
    """Yield the change of the primary endpoint in each arm."""
    code, visit, method = block
    for arm in context.arms:
        found, limits, _ = effect(results, context, block, group=arm["code"])
        if found is None or not found.estimated:
            continue
        p = results.get(method, "p", code, visit, arm["code"], context.since_baseline(visit))
        lead = f"{context.label(code)} changed from {context.baseline} to {visit} by "
        change = difference(context, code, found, limits, p)
        who = [" in ", lookup.used_part(found), f" patients of {arm['label']}."]
        yield _sentence(lead, change, who)


def difference(context, code, found, limits, p=None, name="", unit=True):
    """Print an estimate with its interval, and its p value where there is one.

    Parameters
    ----------
    context : Context
    code : str
        Parameter.
    found : Number
        A difference; of a parameter on a log scale the ratio.
    limits : pair of Number
    p : Number, optional
    name : str
        Of the p value, such as "adjusted".
    unit : bool
        Whether the unit is told.
    """
    digits, rounding = effect_decimals(context, code), context.style["rounding"]
    told = _unit(context, code) if unit and not context.is_log(code) else ""
    low, high = limits
    pieces = [
        lookup.part(found, digits, rounding),
        f"{told} ({context.ci_label} ",
        lookup.part(low, digits, rounding),
        " to ",
        lookup.part(high, digits, rounding),
    ]
    if p is not None and p.estimated:
        pieces += ["; ", _p(context, p, name)]
    return _sentence(*pieces, ")")


def _p(context, p, name=""):
    """Print a p value that no line break can part, such as "adjusted p = 0.0312"."""
    shown = f"{name} {text.p_phrase(p.value, context.style['p'])}".strip()
    return Part(shown.replace(" ", NO_BREAK), p.address)


def _unit(context, code):
    """Return the unit of a difference, with a blank before it."""
    unit = context.unit(code)
    return {"": "", "%": " percentage points"}.get(unit, f" {unit}")


def _of_changes(context, method):
    """Whether an analysis is of changes from baseline, not of values."""
    section = context.plan.get("analyses", {}).get(method) or {}
    return section.get("response", "CHG") == "CHG"


def _kind(context, code):
    return "ratio " if context.is_log(code) else ""


def families(results, context):
    """Say of each family that adjusts which of its tests fell below the level.

    Returns
    -------
    list of (str, list)
        Heading and sentences of each family; a family without adjusted p values here has none.
    """
    found = []
    for family in context.plan.get("families", []):
        said = []
        for _, comparison in context.comparisons:
            said += _family(results, context, family, comparison)
        if said:
            found.append((family.get("label", f"Family {family['id']}"), said))
    return found


def _family(results, context, family, comparison):
    """Sentences of one family and comparison."""
    plan = context.plan["primary"]
    analysis, level = family.get("analysis", plan["method"]), alpha(context)
    below, others, lost = {}, {}, []
    for code in family["parameters"]:
        for visit in family.get("visits") or [plan["visit"]]:
            block = (code, visit, analysis)
            p = adjusted_p(results, block, comparison, family)
            if p is None:
                continue
            estimate, limits, _ = effect(results, context, block, comparison=comparison)
            if not p.estimated or estimate is None or None in limits:
                lost.append(f"{context.label(code)} at {visit} ({p.note or 'not estimated'})")
                continue
            own = (below if p.value < level else others).setdefault(code, [])
            said = difference(context, code, estimate, limits, p, "adjusted", unit=not own)
            own.append([_kind(context, code), said, f" at {visit}"])
    count = sum(map(len, below.values()))
    tests = count + sum(map(len, others.values()))
    if not tests and not lost:
        return []
    method = METHODS_OF_ADJUSTMENT[family["method"]]
    arms = context.comparison_label(comparison, " minus ")
    what = f"change from {context.baseline}" if _of_changes(context, analysis) else "value"
    head = f"{arms}, {what} by {text.analysis_name(analysis)}, "
    head += f"p values adjusted by {method}: "
    sentences = []
    if tests:
        first = f"{head}{_of(count, tests)} an adjusted p below {level:g}"
        sentences.append(_sentence(first, *([": ", _named(context, below)] if below else []), "."))
    if others:
        sentences.append(_sentence("No difference was shown in ", _named(context, others), "."))
    if lost:
        lead = "" if tests else head
        sentences.append(_sentence(f"{lead}Not estimated: {'; '.join(lost)}."))
    return sentences


def _of(count, tests):
    """Say how many of how many tests had something."""
    if tests == 1:
        return "the one test had" if count else "the one test did not have"
    if count in (0, tests):
        return f"{'all' if count else 'none of the'} {tests} tests had"
    return f"{count} of {tests} tests had"


def _named(context, side):
    """Name the endpoints of a list, each with its numbers."""
    return _series(
        [[f"{context.label(code)}, ", _series(tests)] for code, tests in side.items()], "; ", "; "
    )


def interaction(results, context):
    """Say whether the primary effect depends on a factor, with the difference in each level."""
    primary = context.plan["primary"]
    block = (primary["parameter"], primary["visit"])
    said, seen = [], set()
    for factor, levels in table_subgroups.factors(results, block).items():
        place = (table_subgroups.METHOD, *block, factor)
        shown = _by_level(results, context, block, levels)
        sentence = _interaction(results, context, place, shown)
        if sentence:
            seen.add(factor)
            said.append(sentence)
    for one in context.strata:
        if one["column"] not in seen:
            place = (primary["method"], *block, one["column"])
            sentence = _interaction(results, context, place, _by_stratum(results, context, one))
            if sentence:
                said.append(sentence)
    return said


def _by_level(results, context, block, levels):
    """Differences in the levels of a factor: label and pieces, by comparison."""
    shown = {}
    for _, comparison in context.comparisons:
        for level in levels:
            found = table_subgroups.effect(results, context, block, comparison, level)
            if None not in found and all(number.estimated for number in found):
                label = table_subgroups.level_label(context, level)
                shown.setdefault(comparison, []).append((label, found))
    return shown


def _by_stratum(results, context, factor):
    """Differences in the strata of a factor, each analysed by itself."""
    primary, shown = context.plan["primary"], {}
    block = (primary["parameter"], primary["visit"], primary["method"])
    for _, comparison in context.comparisons:
        for level in factor["levels"]:
            here = results.at(level["path"])
            found, limits, _ = effect(here, context, block, comparison=comparison)
            numbers = (found, *limits)
            if None not in numbers and all(number.estimated for number in numbers):
                shown.setdefault(comparison, []).append((level.get("label"), numbers))
    return shown


def _interaction(results, context, place, shown):
    """Return a sentence on the test of a factor; none without estimates beside its p value."""
    method, code, visit, factor = place
    f, df1, df2, p = (
        results.get(method, f"interaction_{stat}", code, visit, level=factor)
        for stat in ("F", "df1", "df2", "p")
    )
    if p is None or not p.estimated or not shown:
        return []
    label = table_subgroups.factor_label(context, factor)
    if p.value < alpha(context):
        lead = f"The difference in {context.label(code)} at {visit} varied with {label} ("
    else:
        lead = f"No dependence of the difference in {context.label(code)} at {visit} on {label} "
        lead += "was shown ("
    test = ["test of the interaction: "]
    if f is not None and f.estimated:
        test += ["F = ", lookup.part(f, 2, context.style["rounding"])]
        if df1 is not None and df2 is not None:
            test += [" with ", lookup.part(df1), " and ", lookup.part(df2), " degrees of freedom"]
        test.append(", ")
    test.append(_p(context, p))
    several, levels = len(context.comparisons) > 1, []
    for comparison, found in shown.items():
        items = [
            [f"{name}, ", difference(context, code, numbers[0], numbers[1:], unit=not index)]
            for index, (name, numbers) in enumerate(found)
        ]
        who = f"{context.comparison_label(comparison, ' minus ')}, " if several else ""
        levels.append([f"; {who}{_kind(context, code) or 'difference '}by level: "])
        levels.append(_series(items, "; ", "; "))
    return _sentence(lead, test, ")", levels, ".")


def sensitivity(results, context):
    """Say the range of the difference over the other analyses of the primary endpoint, and each."""
    try:
        blocks = table_sensitivity.blocks(results, context, {})
    except Absent:
        return []
    said = []
    for block in blocks:
        code = block.parameter
        lines = [
            line
            for line in block.lines
            if not line.primary
            and None not in (line.found, line.low, line.high)
            and line.found.estimated
        ]
        if not lines:
            continue
        digits, rounding = effect_decimals(context, code), context.style["rounding"]
        lead = f"{context.label(code)} at {block.visit}"
        if len(context.comparisons) > 1:
            lead += f", {context.comparison_label(block.comparison, ' minus ')}"
        what = "ratio" if context.is_log(code) else "difference"
        if len(lines) == 1:
            span = f": {what} by another analysis, "
        else:
            ends = [pick(lines, key=lambda line: line.found.value) for pick in (min, max)]
            shown = [lookup.part(line.found, digits, rounding) for line in ends]
            span = [f": the {what} ranged from ", _series(shown, last=" to ")]
            span.append(" over the other analyses: ")
        several = len({line.population for line in block.lines}) > 1
        items = [
            [
                f"{text.analysis_name(line.method)} ({line.assumption}"
                f"{', ' + line.population if several and line.population else ''}) ",
                difference(context, code, line.found, (line.low, line.high), line.p, unit=not i),
            ]
            for i, line in enumerate(lines)
        ]
        said.append(_sentence(lead, span, _series(items, "; ", "; "), "."))
    return said


def missing(results, context):
    """Say how often the primary endpoint was missing, what was imputed, and where it would tip."""
    primary = context.plan["primary"]
    code, visit = primary["parameter"], primary["visit"]

    def by_arm(method, stat, level=""):
        found = [
            results.get(method, stat, code, visit, arm["code"], level=level) for arm in context.arms
        ]
        if any(number is None for number in found):
            return None
        return _series([lookup.count_part(number) for number in found])

    change = _of_changes(context, primary["method"])
    what = f"The change of {context.label(code)} from {context.baseline} to {visit}"
    what = what if change else f"{context.label(code)} at {visit}"
    gone = by_arm("describe", "missing", "CHG" if change else "AVAL")
    said = []
    if gone:
        said.append(_sentence(f"{what} was missing in ", gone, f" patients{_in_order(context)}."))
    filled = by_arm("imputation", "n_imputed")
    if filled:
        order = "" if gone else _in_order(context)
        lead = "For the sensitivity analysis by imputation, values of "
        said.append(_sentence(lead, filled, f" patients were imputed{order}."))
    return said + _tipping(results, context, code, visit)


def _tipping(results, context, code, visit):
    """Say the shifts of imputed values at which p is at the level."""
    said, level = [], f"{alpha(context):g}"
    unit = " on the log scale" if context.is_log(code) else _unit(context, code)
    digits, rounding = context.decimals(code) + 1, context.style["rounding"]
    for _, comparison in context.comparisons:
        for arm in context.arms:
            found = results.get(
                "imputation", "tipping_delta", code, visit, arm["code"], comparison, "tipping"
            )
            if found is None:
                continue
            who = f"the imputed values of {arm['label']}"
            if len(context.comparisons) > 1:
                who += f" ({context.comparison_label(comparison, ' minus ')})"
            if not found.estimated:
                said.append(_sentence(f"Shifts of {who}: {found.note}."))
                continue
            shift = lookup.part(found, digits, rounding)
            alone = ", those of the other arm being left as they are"
            lead = f"p would be {level} with {who} shifted by "
            said.append(_sentence(lead, shift, unit, f"{alone}."))
    return said


def agreement(results, context):
    """Say how well methods, readers and repeats agree: ICC, bias and limits of agreement."""
    rows = results.where(METHOD="agreement", STAT="bias")
    said = {}
    for row in rows.to_dict("records"):
        where = (row["PARAMCD"], row["AVISIT"])
        if not context.has_parameter(where[0]):
            continue
        item = _agreement(results, context, where, row["COMPARISON"])
        if item:
            said.setdefault(row["COMPARISON"], []).append(item)
    return [
        _sentence(f"{comparison[:1].upper()}{comparison[1:]}: ", _series(items, "; ", "; "), ".")
        for comparison, items in said.items()
    ]


def _agreement(results, context, where, comparison):
    code, visit = where
    digits, rounding = context.decimals(code) + 1, context.style["rounding"]

    def shown(stat, prefix, decimals, unit=""):
        found, low, high = (
            results.get("agreement", name, code, visit, comparison=comparison)
            for name in (stat, f"{prefix}_ci_low", f"{prefix}_ci_high")
        )
        if found is None or not found.estimated:
            return None
        pieces = [lookup.part(found, decimals, rounding), unit]
        if low is not None and high is not None and low.estimated and high.estimated:
            ends = [lookup.part(end, decimals, rounding) for end in (low, high)]
            pieces += [f" ({context.ci_label} ", _series(ends, last=" to "), ")"]
        return pieces

    icc = shown("icc_a1", "icc", 2)
    bias = shown("bias", "bias", digits, _unit(context, code))
    limits = [
        results.get("agreement", stat, code, visit, comparison=comparison)
        for stat in ("loa_low", "loa_high")
    ]
    if bias is None:
        return None
    name = f"{context.label(code)} at {visit}" if visit else context.label(code)
    pieces = [f"{name}, ", *(["ICC(A,1) ", icc, ", "] if icc else []), "bias ", bias]
    if all(end is not None and end.estimated for end in limits):
        ends = [lookup.part(end, digits, rounding) for end in limits]
        pieces += [", 95% limits of agreement ", _series(ends, last=" to ")]
    used = results.get("agreement", "bias", code, visit, comparison=comparison)
    return [*pieces, ", n = ", lookup.used_part(used)]
