"""Overlap of the network's label maps with the truth: Dice, IoU and distance of each structure.

Below the structures stand the networks of the comparison, where it was made: their overlap by task,
read on the same unseen patients of its own.
"""

from lungitude import network_study as study
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
from lungitude.reporting.table_network_accuracy import (
    AGAINST_TRUTH,
    DOMAINS,
    PATIENTS,
    domains,
    interval_parts,
)

METHOD, COMPARISON = "network_overlap", "network_comparison"
# Score: its name, and decimals.
SCORES = {"dice": ("Dice", 3), "iou": ("IoU", 3), "hd95_mm": ("HD95, mm", 1)}
ABBREVIATIONS = [
    ("CI", "confidence interval"),
    ("HD95", "95th percentile of the distance between the surfaces"),
    ("IoU", "intersection over union"),
    ("LAD", "left anterior descending artery"),
    ("LCX", "left circumflex artery"),
    ("LM", "left main artery"),
    ("LV", "left ventricle"),
    ("RCA", "right coronary artery"),
    ("RV", "right ventricle"),
]


def build(results, context, display):
    """Build the table of overlap.

    Parameters
    ----------
    results : Results
        Rows of method ``network_overlap``, ``network_comparison`` or both.
    context : Context
    display : dict
        ``id number alias title``.

    Raises
    ------
    Absent
        If the stratum has rows of neither; they stand in that of all patients.
    """
    found, compared = results.where(METHOD=METHOD), results.where(METHOD=COMPARISON)
    if found.empty and compared.empty:
        raise Absent("the study of the network has no overlap here")
    groups = domains(found if len(found) else compared)
    marks = Marks()
    rows = [
        *_structures(results, context, found, groups, marks),
        *_models(results, context, compared, groups, marks),
    ]
    notes = [
        (
            "",
            "n, patients with a value; a structure that is neither there nor found has none. Means "
            f"over patients with {study.INTERVAL}; mean of several structures: taken within a "
            f"patient first. {DOMAINS}",
        )
    ]
    interval = cell(f"({study.INTERVAL})")
    columns = [Column("Structure")]
    for domain in groups:
        name = domain.capitalize()
        columns.append(Column(f"{name}: n"))
        columns += [Column(f"{name}: {title}", interval) for title, _ in SCORES.values()]
    return Table.of(
        display,
        context,
        columns=columns,
        rows=rows,
        footnotes=(*notes, *marks.footnotes()),
        methods=[name for name, part in ((METHOD, found), (COMPARISON, compared)) if len(part)],
        population=PATIENTS,
        abbreviations=ABBREVIATIONS,
    )


def models(results):
    """Return the networks of the comparison in their order: name to title."""
    rows = results.where(METHOD=COMPARISON, STAT="parameters", GROUP="")
    names = (name.removesuffix(f" - {study.TRUTH}") for name in rows["COMPARISON"])
    return dict(zip(names, rows["NOTE"], strict=True))


def _structures(results, context, found, groups, marks):
    """Rows of the network of the study, those of unknown structures last."""
    known = set(found["LEVEL"])
    named = {level for parts in study.STRUCTURES.values() for level in parts}
    others = {level: level for level in dict.fromkeys(found["LEVEL"]) if level not in named}
    for section, parts in {**study.STRUCTURES, "Other structures": others}.items():
        levels = [level for level in parts if level in known]
        if levels:
            yield Row(cell(section), kind="group")
        for level in levels:
            cells = _cells(results, context, METHOD, level, AGAINST_TRUTH, groups, marks)
            yield Row(cell(parts[level]), cells, indent=1)


def _models(results, context, compared, groups, marks):
    """Rows of the comparison: a group a task, a row a network."""
    known = set(compared["LEVEL"])
    tasks = [task for task in study.TASKS if task in known]
    titles = models(results)
    if not tasks or not titles:
        return
    mark = marks(
        "Trained briefly on the same samples; other weights and fewer patients than above, so that "
        "only these rows compare with each other."
    )
    yield Row(cell("Comparison of networks", mark=mark), kind="section")
    for task in tasks:
        yield Row(cell(task.capitalize()), kind="group")
        for model, title in titles.items():
            versus = f"{model} - {study.TRUTH}"
            cells = _cells(results, context, COMPARISON, task, versus, groups, marks)
            yield Row(cell(title), cells, indent=1)


def _cells(results, context, method, level, comparison, groups, marks):
    cells = []
    for domain in groups:

        def get(stat, domain=domain):
            return results.get(method, stat, group=domain, comparison=comparison, level=level)

        cells.append(cell(lookup.used_part(get("dice"))))
        for score, (_, decimals) in SCORES.items():
            if get(score) is None:
                cells.append(DASH)
                continue
            parts = interval_parts(get, score, decimals, context.style["rounding"])
            cells.append(cell(*parts, mark=mark_not_estimated(get(score), marks)))
    return tuple(cells)
