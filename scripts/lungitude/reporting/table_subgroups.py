"""Effects of the arms in subgroups: difference by level, and the test of interaction by factor."""

from lungitude.reporting import results as lookup
from lungitude.reporting.results import Absent
from lungitude.reporting.table import (
    DASH,
    Column,
    Marks,
    Row,
    Table,
    cell,
    mark_not_estimated,
)
from lungitude.reporting.table_primary import METHODS_OF_ADJUSTMENT, effect_decimals

METHOD = "subgroups"
EVERYBODY = "all"
ABBREVIATIONS = [
    ("CI", "confidence interval"),
    ("df", "degrees of freedom of the numerator, of the denominator"),
    ("LS", "least squares"),
    ("CHG", "change from baseline"),
    ("AVAL", "value at the visit"),
    ("BASE", "value at baseline"),
    ("TRT01P", "arm as randomised"),
]


def blocks(results, context, display, visits=None):
    """List what was analysed and is to be shown.

    Parameters
    ----------
    results : Results
    context : Context
    display : dict
        Optional ``parameters`` and ``visits`` restrict and order what is shown.
    visits : list of str, optional
        Taken where the display names none.

    Returns
    -------
    list of (str, str)
        Parameter and visit: by the order of the parameters, then of the visits.

    Raises
    ------
    Absent
        If nothing of it was analysed in this stratum.
    """
    found = results.of(METHOD)
    pairs = set(zip(found["PARAMCD"], found["AVISIT"], strict=True))
    parameters = in_order(
        {parameter for parameter, _ in pairs},
        display.get("parameters") or [row["PARAMCD"] for row in context.parameters],
        bool(display.get("parameters")),
    )
    wanted = display.get("visits") or visits
    times = in_order(
        {visit for _, visit in pairs},
        wanted or [visit["name"] for visit in context.visits],
        bool(wanted),
    )
    shown = [(p, v) for p in parameters for v in times if (p, v) in pairs]
    if not shown:
        raise Absent("the subgroups have no results of these parameters and visits")
    return shown


def in_order(found, order, only=False):
    """Sort names by a given order; what the order lacks comes last, or not at all (`only`)."""
    rest = [] if only else sorted(set(found) - set(order))
    return [name for name in dict.fromkeys(order) if name in found] + rest


def factors(results, block):
    """Return the levels of each factor as LEVEL names them, in their order in the table.

    A factor that could not be split has no levels.
    """
    rows = results.where(METHOD=METHOD, PARAMCD=block[0], AVISIT=block[1])
    found = {}
    for level in dict.fromkeys(rows["LEVEL"]):
        if level == EVERYBODY:
            continue
        factor, split, _ = level.partition("=")
        levels = found.setdefault(factor, [])
        if split:
            levels.append(level)
    return found


def factor_label(context, factor):
    """Name a factor.

    A characteristic that shows one level only often has that level's name, such as Male: then the
    column names the factor.
    """
    for one in context.strata:
        if one["column"] == factor:
            return one.get("label", factor)
    for one in context.characteristics:
        if one["column"] == factor:
            label = one.get("label", factor)
            return factor.capitalize() if label in (one.get("levels") or {}).values() else label
    return factor


def level_label(context, level):
    """Name a level, given as LEVEL names it (``factor=value``)."""
    factor, _, value = level.partition("=")
    for one in context.strata:
        if one["column"] == factor:
            named = {str(item["value"]): item.get("label", value) for item in one["levels"]}
            return named.get(value, value)
    for one in context.characteristics:
        if one["column"] == factor:
            return (one.get("levels") or {}).get(value, value)
    return value


def effect(results, context, block, comparison, level):
    """Return the difference in a level and its limits (`Number` or None each).

    A parameter that is analysed on a log scale gives its ratio.
    """
    parameter, visit = block

    def get(stat):
        return results.get(METHOD, stat, parameter, visit, comparison=comparison, level=level)

    if context.is_log(parameter) and get("ratio") is not None:
        return get("ratio"), get("ratio_ci_low"), get("ratio_ci_high")
    return get("estimate"), get("ci_low"), get("ci_high")


def response(context):
    """Say what was analysed: the change from baseline, or the value at the visit."""
    section = context.plan.get("analyses", {}).get(METHOD) or {}
    return "value" if section.get("response") == "AVAL" else "change from baseline"


def build(results, context, display):
    """Build the table of subgroups.

    Parameters
    ----------
    results : Results
        Rows of method ``subgroups``.
    context : Context
    display : dict
        ``id number alias title``; optional ``parameters`` and ``visits``.

    Returns
    -------
    Table
        One section a parameter and visit, without rows where the stratum has no patient.

    Raises
    ------
    Absent
        If the stratum has patients but no such rows.
    """
    marks = Marks()
    frame = Frame(results, context, marks)
    rows, notes = [], []
    if not results.empty:
        for block in blocks(results, context, display):
            rows += frame.block(block)
        notes = [("", note) for note in frame.notes()]
    return Table.of(
        display,
        context,
        columns=frame.columns(),
        rows=rows,
        footnotes=(*notes, *marks.footnotes()),
        methods=[METHOD],
        abbreviations=[*ABBREVIATIONS, *_columns(context)],
    )


def _columns(context):
    """Columns that a model line may name, with their labels where these say more."""
    columns = [one["column"] for one in [*context.characteristics, *context.strata]]
    named = {column: factor_label(context, column) for column in columns}
    return [(c, label) for c, label in named.items() if label.lower() != c.lower()]


class Frame:
    """The columns that this table needs, and its rows."""

    def __init__(self, results, context, marks):
        self.results, self.context, self.marks = results, context, marks
        self.style = context.style
        self.several = len(context.comparisons) > 1
        self.families = self._families()

    def _families(self):
        """Families that adjust p values of subgroups: FAMILY, and its entry of the plan."""
        rows = self.results.where(METHOD=METHOD, STAT="p_adj")
        planned = {family["id"]: family for family in self.context.plan.get("families", [])}
        found = {}
        for name in dict.fromkeys(rows["FAMILY"]):
            family = planned.get(name.partition(".")[0], {})
            if family.get("method") in METHODS_OF_ADJUSTMENT:
                found[name] = family
        return found

    def columns(self):
        """Heads of the columns; without a comparison there are counts and tests only."""
        context = self.context
        columns = [Column("Subgroup")]
        columns += [Column(arm["label"], cell("n")) for arm in context.arms]
        if self.several:
            columns.append(Column("Comparison"))
        if context.comparisons:
            columns += [Column("Difference", cell(f"({context.ci_label})")), Column("p")]
            if self.families:
                columns.append(Column("Adjusted p"))
        return [*columns, Column("Interaction F", cell("(df)")), Column("Interaction p")]

    def block(self, block):
        """Return the rows of a parameter at a visit."""
        parameter, visit = block
        label = f"{self.context.label_with_unit(parameter)}: {visit}"
        rows = [Row(cell(label), kind="section")]
        # In a stratum these are the patients of the stratum, and the title says so.
        rows += self._level(block, EVERYBODY, "All patients", 0)
        for factor, levels in factors(self.results, block).items():
            rows.append(self._factor(block, factor))
            for level in levels:
                rows += self._level(block, level, level_label(self.context, level), 1)
        return rows

    def _factor(self, block, factor):
        """Row of a factor with its test of interaction."""
        blank = len(self.context.arms) + self.several
        blank += 2 + bool(self.families) if self.context.comparisons else 0
        f, df1, df2, p = (
            self.results.get(METHOD, f"interaction_{stat}", *block, level=factor)
            for stat in ("F", "df1", "df2", "p")
        )
        mark = self._note(p)
        test = cell(lookup.part(f), mark=mark)
        if f is not None and f.estimated:
            test = cell(
                lookup.part(f, 2, self.style["rounding"]),
                " (",
                lookup.part(df1),
                ", ",
                lookup.part(df2),
                ")",
                mark=mark,
            )
        shown = (test, cell(lookup.p_part(p, self.style["p"]), mark="" if f else mark))
        label = factor_label(self.context, factor)
        return Row(
            cell(label, mark=self._model_mark(block, factor)),
            (*[cell("")] * blank, *shown),
            kind="group",
        )

    def _note(self, found):
        """Letter of what the table says about a test, whether or not it was estimated."""
        if found is not None and found.estimated and found.note:
            return self.marks(found.note[:1].upper() + found.note[1:] + ".")
        return mark_not_estimated(found, self.marks)

    def _model_mark(self, block, factor):
        """Letters of a factor: its model, and that patients are not in it."""
        letters = []
        model = self.results.get(METHOD, "model", *block, level=factor)
        line = model.note.partition("; not estimated")[0] if model is not None else ""
        if line:
            letters.append(self.marks(f"Model: {line.rstrip('. ')}."))
        for arm in self.context.arms:
            lost = self.results.get(METHOD, "left_out", *block, group=arm["code"], level=factor)
            if lost is not None and lost.value > 0:
                why = f"Patients with a {response(self.context)} are not in the model: {lost.note}."
                letters.append(self.marks(why))
        return ",".join(dict.fromkeys(letters))

    def _level(self, block, level, label, indent):
        """Rows of a level, one a comparison; the counts stand on the first."""
        counts = [
            cell(lookup.count_part(self.results.get(METHOD, "n", *block, arm["code"], level=level)))
            for arm in self.context.arms
        ]
        after = [cell(""), cell("")]
        if not self.context.comparisons:
            return [Row(cell(label), (*counts, *after), indent=indent)]
        rows = []
        for _, comparison in self.context.comparisons:
            shown = [*counts]
            if self.several:
                shown.append(cell(self.context.comparison_label(comparison)))
            shown += self._difference(block, comparison, level)
            rows.append(Row(cell(label), (*shown, *after), indent=indent))
            counts = [cell("")] * len(counts)
        return rows

    def _difference(self, block, comparison, level):
        """Cells difference (CI), p and, where the table has them, adjusted p."""
        parameter, visit = block
        digits, rounding = effect_decimals(self.context, parameter), self.style["rounding"]
        found, low, high = effect(self.results, self.context, block, comparison, level)
        p = self.results.get(METHOD, "p", parameter, visit, comparison=comparison, level=level)
        if found is None:
            return [DASH] * (2 + bool(self.families))
        if found.estimated:
            mark = ""
            if self.context.is_log(parameter) and found.note:
                mark = self.marks(f"{found.note[:1].upper()}{found.note[1:]} between the arms.")
            shown = cell(
                lookup.part(found, digits, rounding),
                " (",
                lookup.part(low, digits, rounding),
                " to ",
                lookup.part(high, digits, rounding),
                ")",
                mark=mark,
            )
        else:
            shown = cell(lookup.part(found), mark=mark_not_estimated(found, self.marks))
        cells = [shown, cell(lookup.p_part(p, self.style["p"]))]
        if self.families:
            adjusted = (
                self.results.get(METHOD, "p_adj", parameter, visit, "", comparison, level, family)
                for family in self.families
            )
            first = next((number for number in adjusted if number is not None), None)
            cells.append(cell(lookup.p_part(first, self.style["p"])))
        return cells

    def notes(self):
        """Footnotes that hold for the whole table."""
        context = self.context
        said = ["n, patients in the model of the factor; of all patients, in the model without it."]
        if context.comparisons:
            said.append(
                f"Difference, arm minus {context.reference['label']} in LS mean "
                f"{response(context)}: of all patients by the model without interaction, of the "
                "levels of a factor by one model with the interaction of arm and factor."
            )
        said.append("Interaction: F test of arm and factor, not adjusted for multiple testing.")
        for name, family in self.families.items():
            rows = self.results.where(METHOD=METHOD, STAT="p_adj", FAMILY=name)
            counts = {note.partition(", ")[2] for note in rows["NOTE"] if ", " in note}
            count = f" ({'; '.join(sorted(counts))})" if counts else ""
            method = METHODS_OF_ADJUSTMENT[family["method"]]
            label = family.get("label", name)
            said.append(f"Adjusted p: {method} within the family {label}{count}.")
        if context.comparisons and not self.families:
            said.append("p values of the differences are not adjusted for multiple testing.")
        return said
