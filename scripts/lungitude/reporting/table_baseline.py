"""Characteristics at baseline by arm and in total (no p values unless the plan asks for tests)."""

from lungitude.reporting import results as lookup
from lungitude.reporting.table import (
    DASH,
    Column,
    Marks,
    Row,
    Table,
    cell,
    mark_not_estimated,
)

METHOD = "baseline"
# The test behind a p value, by its NOTE.
TESTS = {
    "student": "t test with pooled variance",
    "welch": "Welch's t test",
    "mann-whitney": "Mann-Whitney rank sum test (statistic: U of the first arm)",
    "chi2": "Pearson's chi-square test",
    "chi2-yates": "Chi-square test with Yates' correction",
    "fisher": "Fisher's exact test, which has no statistic",
}
ABBREVIATIONS = [
    ("SD", "standard deviation"),
    ("Q1\u2013Q3", "first to third quartile"),
    ("SMD", "standardised mean difference"),
]


def build(results, context, display):
    """Build the baseline table.

    Parameters
    ----------
    results : Results
        Rows of method ``baseline`` (and the sizes of the arms from ``disposition``).
    context : Context
        `characteristics` in the order of the table, with label, unit, decimals and section.
    display : dict
        ``id number alias title``.

    Returns
    -------
    Table
        Without rows where the stratum has no patient.
    """
    groups = context.groups
    marks = Marks()
    extra = _extra_columns(results, context)
    columns = [Column("Characteristic")]
    columns += [
        Column(label, cell("(N=", lookup.count_part(results.size(code)), ")"))
        for code, label in groups
    ]
    columns += [Column(label) for label, _, _ in extra]
    rows = [] if results.empty else _rows(results, context, groups, extra, marks)
    notes = [("", note) for note in _notes(context, rows, extra)] + list(marks.footnotes())
    return Table.of(
        display,
        context,
        columns=columns,
        rows=rows,
        footnotes=notes,
        methods=[METHOD, "disposition"],
        abbreviations=ABBREVIATIONS,
    )


def _extra_columns(results, context):
    """SMD, statistic and p columns, for each comparison that has such rows."""
    found = results.where(METHOD=METHOD)
    pairs = context.comparisons
    extra = []
    for stat, name in (("smd", "SMD"), ("statistic", "Statistic"), ("p", "p")):
        rows = found[found["STAT"] == stat]
        for comparison in dict.fromkeys(rows["COMPARISON"]):
            label = name
            if comparison and len(pairs) > 1:
                label = f"{name}: {context.comparison_label(comparison)}"
            extra.append((label, stat, comparison))
    return extra


def _rows(results, context, groups, extra, marks):
    rows, section = [], None
    for item in _characteristics(results, context):
        if item.get("section", "") != section:
            section = item.get("section", "")
            if section:
                rows.append(Row(cell(section), kind="section"))
        make = _category if item.get("type") == "category" else _continuous
        rows += make(results, context, item, groups, extra, marks)
    return rows


def _characteristics(results, context):
    """List the configured characteristics, then strata that the analysis described as well."""
    found = set(results.where(METHOD=METHOD)["PARAMCD"])
    items = [item for item in context.characteristics if item["column"] in found]
    known = {item["column"] for item in items}
    for factor in context.strata:
        if factor["column"] in found - known:
            levels = {str(level["value"]): level["label"] for level in factor["levels"]}
            items.append(
                {
                    "column": factor["column"],
                    "label": factor.get("label", ""),
                    "type": "category",
                    "levels": levels,
                    "section": "Stratification",
                }
            )
    return items


def _continuous(results, context, item, groups, extra, marks):
    column, rounding = item["column"], context.style["rounding"]
    digits = int(item.get("decimals", 0)) + 1
    unit = item.get("unit", "")
    label = f"{item['label']}, {unit}" if unit else item["label"]

    def shown(stat, code):
        return lookup.part(_get(results, column, stat, code), digits, rounding)

    head = _extra_cells(results, context, column, extra, marks)
    blanks = [cell("")] * len(extra)
    means, medians = [], []
    for code, _ in groups:
        spread = _get(results, column, "sd", code)
        means.append(
            cell(
                shown("mean", code),
                " (",
                shown("sd", code),
                ")",
                mark=mark_not_estimated(spread, marks),
            )
        )
        low, high = _get(results, column, "q1", code), _get(results, column, "q3", code)
        joint = " to " if any(q is not None and q.value < 0 for q in (low, high)) else "\u2013"
        medians.append(
            cell(shown("median", code), " (", shown("q1", code), joint, shown("q3", code), ")")
        )
    rows = [
        Row(cell(label), tuple([cell("")] * len(groups) + head), "group")
        if extra
        else Row(cell(label), kind="group"),
        Row(cell("Mean (SD)"), (*means, *blanks), indent=1),
        Row(cell("Median (Q1\u2013Q3)"), (*medians, *blanks), indent=1),
    ]
    return rows + _missing(results, column, groups, blanks)


def _category(results, context, item, groups, extra, marks):
    column = item["column"]
    names = {str(key): label for key, label in (item.get("levels") or {}).items()}
    if not names:
        rows = results.where(METHOD=METHOD, PARAMCD=column, STAT="n")
        names = {level: level for level in dict.fromkeys(rows["LEVEL"]) if level}
    shown = [str(level) for level in item.get("show") or names]
    head = _extra_cells(results, context, column, extra, marks)
    blanks = [cell("")] * len(extra)
    lines = []
    for level in shown:
        cells = []
        for code, _ in groups:
            number = _get(results, column, "n", code, level)
            share = _get(results, column, "pct", code, level)
            cells.append(_count_cell(number, share, context.style["rounding"]))
        lines.append((names.get(level, level), cells))
    missing = _missing(results, column, groups, blanks)
    if len(lines) == 1 and item.get("show"):
        # One level is shown: the label of the characteristic says which.
        return [Row(cell(f"{item['label']}, n (%)"), (*lines[0][1], *head), "group"), *missing]
    top = (
        Row(cell(f"{item['label']}, n (%)"), tuple([cell("")] * len(groups) + head), "group")
        if extra
        else Row(cell(f"{item['label']}, n (%)"), kind="group")
    )
    return [
        top,
        *(Row(cell(label), (*cells, *blanks), indent=1) for label, cells in lines),
        *missing,
    ]


def _count_cell(number, share, rounding):
    if number is None:
        return DASH
    if not number.value > 0 or share is None:
        return cell(lookup.count_part(number))
    return cell(lookup.count_part(number), " (", lookup.part(share, 1, rounding), ")")


def _missing(results, column, groups, blanks):
    """Make a row of missing values, where any group has one."""
    found = [_get(results, column, "missing", code) for code, _ in groups]
    if not any(number is not None and number.value > 0 for number in found):
        return []
    return [Row(cell("Missing"), (*(cell(lookup.count_part(n)) for n in found), *blanks), indent=1)]


def _extra_cells(results, context, column, extra, marks):
    cells = []
    for _, stat, comparison in extra:
        number = results.get(METHOD, stat, column, comparison=comparison)
        if stat == "p":
            shown = lookup.p_part(number, context.style["p"])
        else:
            shown = lookup.part(number, 2, context.style["rounding"])
        mark = mark_not_estimated(number, marks)
        if stat == "p" and number is not None and number.estimated:
            mark = marks(TESTS.get(number.note, number.note))
        cells.append(cell(shown, mark=mark))
    return cells


def _get(results, column, stat, group, level=""):
    return results.get(METHOD, stat, column, group=group, level=level)


def _notes(context, rows, extra):
    if not rows:
        return []
    notes = []
    labels = [row.label.text for row in rows]
    if any("Median" in label for label in labels):
        rule = context.plan.get("quantiles", "")
        sas = " (as SAS PCTLDEF=5)" if rule == "averaged_inverted_cdf" else ""
        if rule:
            notes.append(f"Quartiles by the rule {str(rule).replace('_', ' ')}{sas}.")
    if any(stat == "smd" for _, stat, _ in extra):
        whole = "arm" if len(context.comparisons) > 1 else context.comparisons[0][0]["label"]
        notes.append(
            f"SMD of numbers: {whole} minus {context.reference['label']} by the pooled SD; of "
            "categories: a distance, without sign."
        )
    if any("n (%)" in label for label in labels):
        notes.append(
            "Percentages are of the patients with a value and need not add to 100 "
            "because of rounding."
        )
    notes.append(
        "Missing values have a row of their own; where there is no such row, none is missing."
    )
    tests = context.plan.get("analyses", {}).get(METHOD, {}).get("tests")
    if tests is not True and len(context.arms) > 1:
        notes.append("Differences at baseline are not tested: patients were allocated at random.")
    return notes
