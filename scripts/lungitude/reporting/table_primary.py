"""The primary endpoint and every parameter of the declared families: change by arm, difference, p.

One block a parameter and visit: a line an arm with what was observed and the model's mean change,
and on the line of each compared arm its difference from the reference arm.
"""

from lungitude.reporting import format as text
from lungitude.reporting import results as lookup
from lungitude.reporting.results import Part
from lungitude.reporting.table import (
    DASH,
    Column,
    Marks,
    Row,
    Table,
    cell,
    mark_not_estimated,
)

ABBREVIATIONS = [
    ("SD", "standard deviation"),
    ("SE", "standard error"),
    ("CI", "confidence interval"),
    ("LS", "least squares"),
    ("CHG", "change from baseline"),
    ("BASE", "value at baseline"),
    ("TRT01P", "arm as randomised"),
    ("AVISIT", "visit"),
]
NO_VALUE = "Not analysed: no patient has a value at the visit."
METHODS_OF_ADJUSTMENT = {
    "bh": "Benjamini-Hochberg (false discovery rate)",
    "by": "Benjamini-Yekutieli (false discovery rate)",
    "holm": "Holm (familywise error)",
    "hochberg": "Hochberg (familywise error)",
    "hommel": "Hommel (familywise error)",
    "bonferroni": "Bonferroni (familywise error)",
    "fixed_sequence": "fixed sequence (familywise error)",
    "graphical": "graphical procedure of Bretz (familywise error)",
}


def sections(plan, display):
    """Return what the table shows, from the plan.

    Parameters
    ----------
    plan : dict
    display : dict
        ``parameters`` or ``families``, where given, restrict the table.

    Returns
    -------
    list of (str, dict, list of (parameter, visit, analysis))
        Title of a section, its family (the primary endpoint's, too), and its blocks in order.
        A parameter and visit stands in the first section that names it.
    """
    primary = plan["primary"]
    first = (primary["parameter"], primary["visit"], primary["method"])
    wanted = set(display.get("parameters") or [])
    families = [
        f
        for f in plan.get("families", [])
        if not display.get("families") or f["id"] in display["families"]
    ]
    own = next((f for f in plan.get("families", []) if _names(f, first)), {})
    found, seen = [("Primary endpoint", own, [first])], {first}
    for family in families:
        blocks = []
        for parameter in family["parameters"]:
            for visit in family.get("visits") or [primary["visit"]]:
                block = (parameter, visit, family.get("analysis", primary["method"]))
                if block not in seen and (not wanted or parameter in wanted):
                    blocks.append(block)
                    seen.add(block)
        if blocks:
            found.append((family.get("label", f"Family: {family['id']}"), family, blocks))
    return found


def _names(family, block):
    parameter, visit, analysis = block
    return (
        parameter in family["parameters"]
        and visit in (family.get("visits") or [visit])
        and family.get("analysis", analysis) == analysis
    )


def build(results, context, display):
    """Build the primary table.

    Parameters
    ----------
    results : Results
        Rows of ``describe``, ``disposition`` and of the methods that the families name.
    context : Context
    display : dict
        ``id number alias title``; optional ``parameters``.

    Returns
    -------
    Table
        Without rows where the stratum has no patient.
    """
    parts = sections(context.plan, display)
    blocks = [block for _, _, found in parts for block in found]
    marks = Marks()
    frame = Frame(results, context, blocks, marks)
    rows = []
    if not results.empty:
        models = Models(results, blocks, marks)
        for title, family, found in parts:
            rows.append(Row(cell(title), kind="section"))
            for block in found:
                mark = models.mark(block) if analysed(results, block) else marks(NO_VALUE)
                rows += frame.block(block, family, mark)
    methods = list(dict.fromkeys(["describe", *(analysis for _, _, analysis in blocks)]))
    notes = list(marks.footnotes())
    if rows:
        notes = [*models.footnotes, *_notes(results, context, parts, blocks), *notes]
    return Table.of(
        display,
        context,
        population=context.population_line(blocks[0][2]),
        columns=frame.columns(),
        rows=rows,
        footnotes=notes,
        methods=methods,
        abbreviations=[*ABBREVIATIONS, *_columns(context)],
    )


def _columns(context):
    """Columns that a model line may name, with their labels where these say more."""
    items = [item for item in context.characteristics if item.get("type") == "continuous"]
    named = {item["column"]: item.get("label", "") for item in [*items, *context.strata]}
    return [(c, label) for c, label in named.items() if label and label.lower() != c.lower()]


def analysed(results, block):
    """Whether the results have rows of a planned analysis (a parameter, visit and method)."""
    parameter, visit, analysis = block
    return not results.where(METHOD=analysis, PARAMCD=parameter, AVISIT=visit).empty


class Models:
    """The model lines: that of the primary analysis once, others by a footnote of their block."""

    def __init__(self, results, blocks, marks):
        self.lines, self.marks = {}, marks
        for block in blocks:
            found = results.get(block[2], "model", block[0], block[1])
            line = found.note.partition("; not estimated")[0] if found is not None else ""
            if line:
                self.lines[block] = line
        self.common = next(iter(self.lines.values()), "")

    @property
    def footnotes(self):
        """The model line that holds for all blocks without a mark."""
        return [("", f"Model: {_sentence(self.common)}")] if self.common else []

    def mark(self, block):
        """Footnote letter of a block whose model is another one."""
        line = self.lines.get(block, self.common)
        return "" if line == self.common else self.marks(f"Model: {_sentence(line)}")


def _sentence(line):
    return line.rstrip(". ") + "."


class Frame:
    """The columns that this table needs, and its blocks of rows."""

    def __init__(self, results, context, blocks, marks):
        self.results, self.context, self.marks = results, context, marks
        self.visits = list(dict.fromkeys(visit for _, visit, _ in blocks))
        shown = (
            results.rows[
                [
                    row in set(blocks)
                    for row in zip(
                        results.rows["PARAMCD"],
                        results.rows["AVISIT"],
                        results.rows["METHOD"],
                        strict=True,
                    )
                ]
            ]
            if len(results.rows)
            else results.rows
        )
        self.factors = list(dict.fromkeys(shown.loc[shown["STAT"] == "interaction_p", "LEVEL"]))
        adjusting = {
            family["id"]
            for family in context.plan.get("families", [])
            if family.get("method") in METHODS_OF_ADJUSTMENT
        }
        families = shown.loc[shown["STAT"] == "p_adj", "FAMILY"]
        self.adjusted = any(family.partition(".")[0] in adjusting for family in families)

    def columns(self):
        """Heads of the columns; adjusted p and interaction only where the results have them."""
        context = self.context
        visit = self.visits[0] if len(self.visits) == 1 else "Visit"
        interval = "SE" if context.style["interval"] == "se" else context.ci_label
        columns = [
            Column("Parameter and arm"),
            Column("n/N"),
            Column(context.baseline, cell("mean (SD)")),
            Column(visit, cell("mean (SD)")),
            Column("LS mean change", cell(f"({interval})")),
            Column("Difference", cell(f"({context.ci_label})")),
            Column("p"),
        ]
        if self.adjusted:
            columns.append(Column("Adjusted p"))
        columns += [
            Column("Interaction p", cell(context.stratum_column_label(factor)))
            for factor in self.factors
        ]
        return columns

    def block(self, block, family, mark):
        """Return the rows of a parameter at a visit."""
        parameter, visit, analysis = block
        context, results = self.context, self.results
        label = f"{context.label_with_unit(parameter)}: {visit}"
        rows = [Row(cell(label, mark=mark), kind="group")]
        compared = {arm["code"]: comparison for arm, comparison in context.comparisons}
        first = next(iter(compared), None)
        for arm in context.arms:
            code = arm["code"]
            cells = [*self._observed(block, code), self._change(block, code)]
            if code in compared:
                cells += self._difference(block, compared[code], family)
            else:
                cells += [cell("reference" if compared else "")]
                cells += [cell("")] * (1 + self.adjusted)
            for factor in self.factors:
                found = results.get(analysis, "interaction_p", parameter, visit, level=factor)
                cells.append(self._p(found) if code == first else cell(""))
            rows.append(Row(cell(arm["label"]), tuple(cells), indent=1))
        return rows

    def _p(self, found):
        note = found.note if found is not None and found.note and found.estimated else ""
        mark = self.marks(_upper(note)) if note else mark_not_estimated(found, self.marks)
        return cell(lookup.p_part(found, self.context.style["p"]), mark=mark)

    def _observed(self, block, arm):
        """Cells n/N, baseline mean (SD) and visit mean (SD)."""
        parameter, visit, analysis = block
        results = self.results
        used = results.get(analysis, "emmean", parameter, visit, group=arm)
        n = lookup.used_part(used)
        if used is None:
            n = lookup.count_part(results.get("describe", "n", parameter, visit, arm, level="CHG"))
        size = lookup.count_part(results.size(arm))
        lost = results.get(analysis, "left_out", parameter, visit, group=arm)
        mark = ""
        if lost is not None and lost.value > 0:
            mark = self.marks(f"Patients with a change are not in the model: {lost.note}.")
        return [
            cell(n, "/", size, mark=mark),
            *(self._mean_sd(parameter, when, arm) for when in (self.context.baseline, visit)),
        ]

    def _mean_sd(self, parameter, visit, arm):
        digits = self.context.decimals(parameter) + 1
        rounding = self.context.style["rounding"]
        mean, sd = (
            self.results.get("describe", stat, parameter, visit, arm, level="AVAL")
            for stat in ("mean", "sd")
        )
        if mean is None:
            return DASH
        if not mean.estimated:
            return cell(lookup.part(mean), mark=mark_not_estimated(mean, self.marks))
        return cell(
            lookup.part(mean, digits, rounding), " (", lookup.part(sd, digits, rounding), ")"
        )

    def _change(self, block, arm):
        found, limits, se = effect(self.results, self.context, block, group=arm)
        digits, rounding = effect_decimals(self.context, block[0]), self.context.style["rounding"]
        if found is None or not found.estimated:
            return cell(lookup.part(found), mark=mark_not_estimated(found, self.marks))
        inner = _limits(*limits, digits, rounding)
        if self.context.style["interval"] == "se" and se is not None:
            inner = [lookup.part(se, digits, rounding)]
        return cell(
            lookup.part(found, digits, rounding),
            " (",
            *inner,
            ")",
            mark=self._ratio_mark(found, block[0]),
        )

    def _ratio_mark(self, found, parameter):
        if not self.context.is_log(parameter) or not found.note:
            return ""
        scale = found.note.partition("; pooled: ")[0]  # the model line tells what was pooled
        return self.marks(f"{_upper(scale)}: to the baseline by arm, and between the arms.")

    def _difference(self, block, comparison, family):
        """Cells difference (CI), p and, where the table has them, adjusted p."""
        parameter, visit, analysis = block
        digits, rounding = effect_decimals(self.context, parameter), self.context.style["rounding"]
        found, limits, _ = effect(self.results, self.context, block, comparison=comparison)
        p = self.results.get(analysis, "p", parameter, visit, comparison=comparison)
        adjusted = adjusted_p(self.results, block, comparison, family)
        mark = mark_not_estimated(found, self.marks)
        if found is None or not found.estimated:
            return [
                cell(lookup.part(found), mark=mark),
                cell(lookup.part(p)),
                *[cell(lookup.part(adjusted))] * self.adjusted,
            ]
        shown = [
            cell(
                lookup.part(found, digits, rounding),
                " (",
                *_limits(*limits, digits, rounding),
                ")",
                mark=self._ratio_mark(found, parameter),
            ),
            cell(lookup.p_part(p, self.context.style["p"])),
        ]
        if self.adjusted:
            shown.append(cell(lookup.p_part(adjusted, self.context.style["p"])))
        return shown


def adjusted_p(results, block, comparison, family):
    """Return the adjusted p of a family that adjusts, None otherwise."""
    if family.get("method") not in METHODS_OF_ADJUSTMENT:
        return None
    parameter, visit, analysis = block
    names = (family["id"], f"{family['id']}.{results.stratum}")
    found = (
        results.get(analysis, "p_adj", parameter, visit, comparison=comparison, family=name)
        for name in names
    )
    return next((number for number in found if number is not None), None)


def effect(results, context, block, group="", comparison=""):
    """Return a mean change or a difference with its limits and SE: `Number` or None each.

    A parameter that is analysed on a log scale gives its ratio, and no SE.
    """
    parameter, visit, analysis = block

    if analysis == "within_arm":
        comparison = context.since_baseline(visit)

    def get(stat):
        return results.get(analysis, stat, parameter, visit, group, comparison)

    if context.is_log(parameter) and get("ratio") is not None:
        return get("ratio"), (get("ratio_ci_low"), get("ratio_ci_high")), None
    found = get("emmean" if group and analysis != "within_arm" else "estimate")
    return found, (get("ci_low"), get("ci_high")), get("se")


def _upper(note):
    return note[:1].upper() + note[1:]


def effect_decimals(context, parameter):
    """Digits of a mean change or difference: one more than the raw values; of a ratio: two."""
    return 2 if context.is_log(parameter) else context.decimals(parameter) + 1


def _limits(low, high, digits, rounding):
    return [lookup.part(low, digits, rounding), " to ", lookup.part(high, digits, rounding)]


def _notes(results, context, parts, blocks):
    planned = context.plan.get("analyses", {})
    own, observed, flow = (
        planned.get(name, {}).get("population")
        for name in (blocks[0][2], "describe", "disposition")
    )
    outside = "are not in the analysis set, or " if own and flow and own != flow else ""
    others = f" of the analysis set {observed}" if own and observed and own != observed else ""
    notes = [
        f"n/N, patients in the model of those randomised; the others {outside}have no value at "
        "the visit, at baseline or of a covariate, and none is imputed. "
        f"Means (SD) are of all patients{others} with a value at that visit."
    ]
    if context.comparisons:
        notes.append(
            f"Difference, arm minus {context.reference['label']} in LS mean change from baseline."
        )
    for family in context.plan.get("families", []):
        method = METHODS_OF_ADJUSTMENT.get(family.get("method"))
        rows = results.where(STAT="p_adj")
        rows = rows[rows["FAMILY"].str.partition(".")[0] == family["id"]] if len(rows) else rows
        if method and len(rows):
            count = rows["NOTE"].iloc[0].partition(", ")[2]
            name = family.get("label", family["id"])
            notes.append(
                f"Adjusted p: {method} within the family {name}{f' ({count})' if count else ''}."
            )
    if any(family.get("method") in METHODS_OF_ADJUSTMENT for _, family, _ in parts) and not len(
        results.where(STAT="p_adj")
    ):
        notes.append("p values of this stratum are not adjusted for multiple testing.")
    if len(results.where(STAT="interaction_p")):
        notes.append(
            "Interaction p: F test of the interaction of arm and stratum factor, not adjusted for "
            "multiple testing."
        )
    return [("", note) for note in notes]


def primary_sentence(results, context):
    """Say the primary result in one sentence a comparison.

    Returns
    -------
    list of list of Part
        Text and numbers (with their addresses) of each sentence.
    """
    primary = context.plan["primary"]
    block = parameter, visit, analysis = (primary["parameter"], primary["visit"], primary["method"])
    digits, rounding = effect_decimals(context, parameter), context.style["rounding"]
    log = context.is_log(parameter)
    unit = "" if log else context.unit(parameter)
    sentences = []
    for _, comparison in context.comparisons:
        found, limits, _ = effect(results, context, block, comparison=comparison)
        p = results.get(analysis, "p", parameter, visit, comparison=comparison)
        lead = (
            f"{context.label(parameter)}, change from {context.baseline} to {visit}, "
            f"{context.comparison_label(comparison, ' relative to ' if log else ' minus ')}: "
        )
        what = "adjusted mean difference"
        if log and found is not None:
            what = found.note.partition("; pooled: ")[0]
        if found is None or not found.estimated:
            why = found.note if found is not None and found.note else "no such analysis"
            sentences.append([Part(f"{lead}{why}.")])
            continue
        sentence = [
            Part(f"{lead}{what} "),
            lookup.part(found, digits, rounding),
            Part(f" {unit} ({context.ci_label} " if unit else f" ({context.ci_label} "),
        ]
        sentence += [
            Part(piece) if isinstance(piece, str) else piece
            for piece in _limits(*limits, digits, rounding)
        ]
        if p is not None:
            shown = text.p_phrase(p.value, context.style["p"])
            sentence += [Part("; "), Part(shown, p.address)]
        if found.n is not None:
            sentence += [Part("; n = "), lookup.used_part(found)]
        sentences.append([*sentence, Part(").")])
    return sentences
