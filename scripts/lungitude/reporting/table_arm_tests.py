"""Arms compared at each visit by a test without a model, as many trials print it."""

from lungitude.reporting import results as lookup
from lungitude.reporting.table import BLANK, Column, Marks, Row, Table, cell
from lungitude.reporting.table_visits import mean_cell, median_cell, parameters, section
from lungitude.reporting.table_within_arm import (
    RANKS,
    SEPARATOR,
    Frame,
    df_part,
    estimate_cell,
    lost_mark,
    name_of,
    p_cell,
    remarks,
    statistic_cell,
    test_cell,
    tests_line,
)

METHOD = "arm_tests"
ABBREVIATIONS = [
    ("CI", "confidence interval"),
    ("SD", "standard deviation"),
    ("Q1\u2013Q3", "first to third quartile"),
    ("df", "degrees of freedom"),
]
# Test of two arms or of all: its name in a column, and its line below the table.
TESTS = {
    "student": ("t", "t test with pooled variance (difference: of the means)"),
    "welch": ("Welch", "Welch's test for unequal variances (t of two arms, F of all)"),
    "mann-whitney": (
        "Mann-Whitney",
        "Mann-Whitney rank sum test (difference: the Hodges-Lehmann shift; statistic: U of the "
        "first arm)",
    ),
    "anova": ("ANOVA", "analysis of variance of all arms (statistic: F)"),
    "kruskal": ("Kruskal-Wallis", "Kruskal-Wallis rank test of all arms (statistic: chi-square)"),
}
DESCRIPTION = "describe"
# How the values of an arm are described.
MEAN, MEDIAN = "mean (SD)", "median (Q1\u2013Q3)"
SHOWN = {MEAN: mean_cell, MEDIAN: median_cell}


def build(results, context, display):
    """Build the table of tests between the arms.

    Parameters
    ----------
    results : Results
        Rows of method ``arm_tests``, and of ``describe`` for what is compared.
    context : Context
    display : dict
        ``id number alias title``; optional ``parameters`` (default: all that were analysed).

    Returns
    -------
    Table
        Without rows where the stratum has no patient.

    Raises
    ------
    Absent
        If there are patients, but no rows of this analysis, as in a trial of one arm.
    """
    marks, rows = Marks(), []
    found = results.where(METHOD=METHOD) if results.empty else results.of(METHOD)
    codes = [] if results.empty else parameters(found, context, display)
    shown = found[found["PARAMCD"].isin(codes)]
    frame = Frame(shown, TESTS)
    kinds = _kinds(results, context, shown)
    for code in codes:
        rows += _parameter(results, context, code, frame, bool(kinds), marks)
    methods = [METHOD, DESCRIPTION] if kinds else [METHOD]
    return Table.of(
        display,
        context,
        columns=_columns(context, frame, kinds),
        rows=rows,
        footnotes=(*_notes(context, frame, kinds, rows), *marks.footnotes()),
        methods=methods,
        abbreviations=ABBREVIATIONS,
    )


def _kinds(results, context, shown):
    """How the values of the arms are described, in the order of `SHOWN`; none if they are not."""
    described = results.where(METHOD=DESCRIPTION, LEVEL="AVAL")
    pairs = set(zip(shown["PARAMCD"], shown["AVISIT"], strict=True))
    pairs &= set(zip(described["PARAMCD"], described["AVISIT"], strict=True))
    found = {_kind(results, context, code, visit) for code, visit in pairs}
    return [kind for kind in SHOWN if kind in found]


def _kind(results, context, code, visit):
    """How values are described: by the median where their ranks or logarithms are tested."""
    notes = results.where(METHOD=METHOD, PARAMCD=code, AVISIT=visit)
    notes = notes.loc[notes["STAT"].isin(["statistic", "groups_statistic"]), "NOTE"]
    ranked = any(name_of(note) in (*RANKS, "kruskal") for note in notes)
    return MEDIAN if ranked or context.is_log(code) else MEAN


def _columns(context, frame, kinds):
    one = len(context.comparisons) == 1
    return (
        Column("Parameter and visit" if one else "Parameter, visit and arms"),
        *(Column(arm["label"], cell(" or ".join(kinds))) for arm in context.arms if kinds),
        Column("n"),
        Column("Difference", cell(f"({context.ci_label})")),
        *([Column("Test")] if frame.several else []),
        Column("Statistic"),
        *([Column("df")] if frame.df else []),
        Column("p"),
    )


def _parameter(results, context, code, frame, described, marks):
    """Rows of a parameter: a line a visit, of more than two arms a group a visit."""
    found = results.where(METHOD=METHOD, PARAMCD=code)
    there = set(found["AVISIT"])
    visits = [visit["name"] for visit in context.visits if visit["name"] in there]
    rows = [section(context, code, visits, marks)]
    for visit in visits:
        values = _values(results, context, code, visit, marks) if described else []
        tests = _tests(results, context, code, visit, frame, marks)
        if len(context.comparisons) == 1:
            rows += [Row(cell(visit), (*values, *cells), indent=1) for _, cells in tests]
            continue
        blanks = (BLANK,) * len(_heads(frame))
        rows.append(Row(cell(visit), (*values, *blanks), kind="group"))
        blanks = (BLANK,) * len(values)
        rows += [Row(cell(label), (*blanks, *cells), indent=1) for label, cells in tests]
    return rows


def _heads(frame):
    """List the columns of a test that this table has."""
    heads = ["n", "difference", "test", "statistic", "df", "p"]
    absent = {"test": not frame.several, "df": not frame.df}
    return [head for head in heads if not absent.get(head)]


def _values(results, context, code, visit, marks):
    """Cells of the values of the arms that are compared."""
    show = SHOWN[_kind(results, context, code, visit)]
    digits, rounding = context.decimals(code) + 1, context.style["rounding"]
    cells = []
    for arm in context.arms:

        def get(stat, arm=arm):
            return results.get(DESCRIPTION, stat, code, visit, arm["code"], level="AVAL")

        cells.append(show(get, digits, rounding, marks))
    return cells


def _tests(results, context, code, visit, frame, marks):
    """Label and cells of each comparison with the reference, and of all arms together."""
    found = []
    for _, comparison in context.comparisons:

        def get(stat, comparison=comparison):
            return results.get(METHOD, stat, code, visit, comparison=comparison)

        if get("statistic") is not None:
            label = context.comparison_label(comparison, " minus ")
            found.append((label, _pair(get, context, code, frame, marks)))
    statistic = results.get(METHOD, "groups_statistic", code, visit)
    if statistic is not None:
        cells = _all_arms(results, context, code, visit, frame, marks)
        found.append(("All arms", cells))
    return found


def _pair(get, context, code, frame, marks):
    """Cells of the test of two arms."""
    statistic, df = get("statistic"), get("df")
    cells = {
        "n": cell(lookup.used_part(statistic)),
        "difference": estimate_cell(get, context, code, TESTS, marks),
        "test": test_cell(statistic, TESTS),
        "statistic": statistic_cell(statistic, context, marks),
        "df": cell(df_part(df, context), mark=lost_mark(df, marks)),
        "p": p_cell(get("p"), context, marks),
    }
    return [cells[head] for head in _heads(frame)]


def _all_arms(results, context, code, visit, frame, marks):
    """Cells of the test of all arms, which has no difference, and of most tests two df."""

    def get(stat):
        return results.get(METHOD, f"groups_{stat}", code, visit)

    statistic, p, second = get("statistic"), get("p"), get("df2")
    known = statistic is not None and statistic.estimated
    said = SEPARATOR.join(remarks(statistic, TESTS)) if known else ""
    mark = marks(f"{said[:1].upper()}{said[1:]}.") if said else ""
    df = [df_part(get("df1"), context)]
    if second is not None and second.estimated:
        df += [", ", df_part(second, context)]
    cells = {
        "n": cell(lookup.used_part(statistic), mark=mark),
        "difference": BLANK,
        "test": test_cell(statistic, TESTS),
        "statistic": statistic_cell(statistic, context, marks),
        "df": cell(*df, mark=lost_mark(get("df1"), marks)),
        "p": p_cell(p, context, marks),
    }
    return [cells[head] for head in _heads(frame)]


def _notes(context, frame, kinds, rows):
    if not rows:
        return ()
    planned = context.plan.get("analyses", {})
    notes = []
    if len(context.comparisons) == 1:
        arm, _ = context.comparisons[0]
        notes.append(f"Difference, {arm['label']} minus {context.reference['label']}.")
    notes.append(f"n, patients in the test. {tests_line(frame, TESTS)}".rstrip())
    if frame.tests and (planned.get(METHOD) or {}).get("method") == "published":
        notes.append(
            "Which test, Shapiro-Wilk tests of the values of the arms decided; such a choice does "
            "not keep the level of a test."
        )
    if len(kinds) > 1:
        notes.append(f"Of an arm, {MEDIAN} where ranks or logarithms are tested, else {MEAN}.")
    own, other = ((planned.get(name) or {}).get("population") for name in (METHOD, DESCRIPTION))
    if kinds and own and other and own != other:
        notes.append(f"Values of the arms are of the analysis set {other}.")
    notes.append(
        "The tests take no account of the values at baseline and of covariates; p values are not "
        "adjusted for multiple testing."
    )
    return tuple(("", note) for note in notes)
