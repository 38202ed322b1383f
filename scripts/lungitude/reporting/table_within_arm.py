"""Changes within each arm between every two visits, with their test, as many trials print them."""

from collections import Counter

from lungitude.reporting import results as lookup
from lungitude.reporting.format import NOT_APPLICABLE
from lungitude.reporting.table import Column, Marks, Row, Table, cell
from lungitude.reporting.table_primary import METHODS_OF_ADJUSTMENT, effect_decimals
from lungitude.reporting.table_visits import parameters, section

METHOD = "within_arm"
ABBREVIATIONS = [
    ("CI", "confidence interval"),
    ("df", "degrees of freedom"),
]
# Test: its name in a column, and its line below the table.
TESTS = {
    "t": ("t", "paired t test (change: the mean)"),
    "wilcoxon": (
        "Wilcoxon",
        "Wilcoxon signed-rank test (change: the Hodges-Lehmann estimate; statistic: the sum of the "
        "positive ranks)",
    ),
}
RANKS = ("wilcoxon", "mann-whitney")
LOST, NOT_ADJUSTED = "not estimated", "not adjusted"
SEPARATOR = "; "


def build(results, context, display):
    """Build the table of changes within the arms.

    Parameters
    ----------
    results : Results
        Rows of method ``within_arm``.
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
        If there are patients, but no rows of this analysis.
    """
    marks, rows = Marks(), []
    found = results.where(METHOD=METHOD) if results.empty else results.of(METHOD)
    codes = [] if results.empty else parameters(found, context, display)
    shown = found[found["PARAMCD"].isin(codes)]
    frame = Frame(shown, TESTS)
    for code in codes:
        rows += _parameter(results, context, code, frame, marks)
    return Table.of(
        display,
        context,
        columns=_columns(context, frame),
        rows=rows,
        footnotes=(*_notes(context, frame, rows), *marks.footnotes()),
        methods=[METHOD],
        abbreviations=ABBREVIATIONS,
    )


class Frame:
    """What the rows of tests that could be made have: which tests, df, adjusted p.

    Parameters
    ----------
    shown : DataFrame
        Rows of the analysis that the table shows.
    tests : dict
        The tests that the analysis knows.
    """

    def __init__(self, shown, tests):
        made = shown[shown["VALUE"].notna()]
        notes = made.loc[made["STAT"].isin(["statistic", "groups_statistic"]), "NOTE"]
        self.tests = [test for test in tests if test in {name_of(note) for note in notes}]
        self.several = len(self.tests) > 1
        self.df = bool(made["STAT"].isin(["df", "groups_df1"]).any())
        notes = made.loc[made["STAT"] == "p_adj", "NOTE"]
        notes = notes[~notes.str.startswith(NOT_ADJUSTED)]
        # Most rows have one number of tests; a row with another one gets a footnote.
        self.adjusted = Counter(notes).most_common(1)[0][0] if len(notes) else ""


def name_of(note):
    """Return the test that stands first in the note of a row."""
    return note.partition(SEPARATOR)[0]


def lost_mark(found, marks):
    """Return the footnote letter for a number that was not estimated: only why, not by what."""
    if found is None or found.estimated:
        return ""
    start = max(found.note.find(LOST), 0)
    return marks(_upper(found.note[start:] or LOST))


def remarks(found, tests):
    """Return what the note of a number says beside the test, in words that fit a footnote.

    Parameters
    ----------
    found : Number or None
    tests : dict
        The tests that the analysis knows.

    Returns
    -------
    list of str
    """
    if found is None or not found.note:
        return []
    pieces = [piece for piece in found.note.split(SEPARATOR) if piece not in tests]
    pieces = [piece for piece in pieces if piece and not piece.startswith(LOST)]
    return [f"tested on the {p}" if p.startswith(("log scale", "log1p")) else p for p in pieces]


def estimate_cell(get, context, code, tests, marks):
    """Return the cell of an estimate with its interval, of the ratio on a log scale.

    Parameters
    ----------
    get : callable
        Looks a statistic up.
    context : Context
    code : str
        PARAMCD, for its decimals.
    tests : dict
        The tests that the analysis knows.
    marks : Marks

    Returns
    -------
    Cell
        Its footnote says on which scale it was tested, and what else the analysis remarked.
    """
    ratio, rounding = get("ratio"), context.style["rounding"]
    log = ratio is not None and context.is_log(code)
    found = ratio if log else get("estimate")
    if found is None or not found.estimated:
        return cell(lookup.part(found), mark=lost_mark(found, marks))
    names = ("ratio_ci_low", "ratio_ci_high") if log else ("ci_low", "ci_high")
    limits = [get(name) for name in names]
    digits = effect_decimals(context, code) if log else context.decimals(code) + 1
    said = [*([ratio.note] if log and ratio.note else []), *remarks(get("estimate"), tests)]
    mark = marks(_upper("; ".join(said)) + ".") if said else ""
    mark = mark or next(filter(None, (lost_mark(limit, marks) for limit in limits)), "")
    low, high = (lookup.part(limit, digits, rounding) for limit in limits)
    return cell(lookup.part(found, digits, rounding), " (", low, " to ", high, ")", mark=mark)


def statistic_cell(found, context, marks):
    """Return the cell of a test statistic: two decimals, a rank sum (which has halves) one."""
    digits = 1 if found is not None and name_of(found.note) in RANKS else 2
    shown = lookup.part(found, digits, context.style["rounding"])
    return cell(shown, mark=lost_mark(found, marks))


def df_part(found, context):
    """Return degrees of freedom: whole where they are, else with one decimal."""
    whole = found is not None and found.estimated and found.value == int(found.value)
    return lookup.part(found, 0 if whole else 1, context.style["rounding"])


def p_cell(found, context, marks, mark=""):
    """Return the cell of a p value."""
    return cell(lookup.p_part(found, context.style["p"]), mark=lost_mark(found, marks) or mark)


def test_cell(found, tests):
    """Return the cell of the name of a test; a dash where none was made."""
    name = name_of(found.note) if found is not None and found.estimated else ""
    return cell(tests[name][0] if name in tests else NOT_APPLICABLE)


def _upper(text):
    return text[:1].upper() + text[1:]


def visit_pairs(found, context):
    """Return the comparisons of visits in the order of time, with their visits.

    Parameters
    ----------
    found : DataFrame
        Rows of one parameter.
    context : Context

    Returns
    -------
    list of (str, str, str)
        COMPARISON, AVISIT (the later visit) and label, such as "Baseline to Week 6".
    """
    names = [visit["name"] for visit in context.visits]
    known = set(zip(found["COMPARISON"], found["AVISIT"], strict=True))
    pairs = [
        (f"{after} - {before}", after, f"{before} to {after}")
        for later, after in enumerate(names)
        for before in names[:later]
    ]
    return [pair for pair in pairs if pair[:2] in known]


def _columns(context, frame):
    change = "Change" if set(frame.tests) & set(RANKS) else "Mean change"
    return (
        Column("Parameter, arm and visits"),
        Column("n"),
        Column(change, cell(f"({context.ci_label})")),
        *([Column("Test")] if frame.several else []),
        Column("Statistic"),
        *([Column("df")] if frame.df else []),
        Column("p"),
        *([Column("Adjusted p")] if frame.adjusted else []),
    )


def _parameter(results, context, code, frame, marks):
    """Rows of a parameter: a group an arm, a line a pair of visits."""
    pairs = visit_pairs(results.where(METHOD=METHOD, PARAMCD=code), context)
    rows = [section(context, code, pairs, marks)]
    for arm in context.arms if pairs else ():
        rows.append(Row(cell(arm["label"]), kind="group"))
        rows += [_change(results, context, code, arm["code"], pair, frame, marks) for pair in pairs]
    return rows


def _change(results, context, code, arm, pair, frame, marks):
    """One line: the change of an arm between two visits."""
    comparison, visit, label = pair

    def get(stat):
        return results.get(METHOD, stat, code, visit, arm, comparison)

    statistic = get("statistic")
    cells = [
        cell(lookup.used_part(get("estimate"))),
        estimate_cell(get, context, code, TESTS, marks),
    ]
    if frame.several:
        cells.append(test_cell(statistic, TESTS))
    cells.append(statistic_cell(statistic, context, marks))
    if frame.df:
        found = get("df")
        cells.append(cell(df_part(found, context), mark=lost_mark(found, marks)))
    cells.append(p_cell(get("p"), context, marks))
    if frame.adjusted:
        found = results.get(METHOD, "p_adj", code, visit, arm, comparison, family=METHOD)
        other = found is not None and found.estimated and found.note != frame.adjusted
        mark = marks(f"Adjusted for {found.note.partition(', ')[2]}.") if other else ""
        cells.append(p_cell(found, context, marks, mark))
    return Row(cell(label), tuple(cells), indent=1)


def _notes(context, frame, rows):
    if not rows:
        return ()
    notes = [
        "n, patients with a value at both visits. Change, the later visit minus the earlier. It "
        "includes the course that the disease takes without treatment, and does not compare arms.",
        tests_line(frame, TESTS),
    ]
    if frame.tests and _chosen_by_data(context):
        notes.append(
            "Which test, a Shapiro-Wilk test of the differences decided; such a choice does not "
            "keep the level of a test."
        )
    if frame.adjusted:
        name, _, count = frame.adjusted.partition(", ")
        method = METHODS_OF_ADJUSTMENT.get(name, name)
        notes.append(
            f"Adjusted p: {method} over the pairs of visits of a parameter and arm ({count})."
        )
    else:
        notes.append("p values are not adjusted for multiple testing.")
    return tuple(("", note) for note in notes if note)


def _chosen_by_data(context):
    planned = context.plan.get("analyses", {}).get(METHOD) or {}
    return planned.get("method") == "published"


def tests_line(frame, tests):
    """Return the line that says which tests were made."""
    said = SEPARATOR.join(tests[name][1] for name in frame.tests)
    return f"{'Tests' if frame.several else 'Test'}: {said}." if said else ""
