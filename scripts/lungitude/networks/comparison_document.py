"""The document of the comparison of networks, written from its table alone."""

import numpy as np

from lungitude.reporting import format as text
from lungitude.validation.markdown import table as markdown
from lungitude.validation.markdown import wrapped

from . import unseen
from .comparison_summary import BOTH, PARTS, REFERENCE, TASKS, title_of
from .evaluation_summary import GROUPS, PUBLISHED, QUANTITIES

ALPHA = 0.05
EQUAL_SIZE = 0.1  # of the parameters of `REFERENCE`: networks within it have one size
HEART = ("agatston", "lvm_g", "ef_pct", "sv_ml")
# Of the publication's comparators only these are printed: r of LAV %, internal (section 3.2.2).
PUBLISHED_R = {"unet": 0.89, "vnet": 0.87}
PUBLISHED_GAIN_PCT = (10, 20)  # RMSE of `HEART` below that of the other networks, as printed
FIGURES = {
    "overlap": """Mean overlap of each network by task, with 95 % intervals by t: filled circles are
internal patients, open squares external ones.""",
    "heatmap": """Correlation with truth (r) and RMSE of each biomarker by network. Darker is
larger, so that dark is good in r and bad in RMSE, which is shaded by its ratio to the least one of
a biomarker; the best of a biomarker is bold. NE: too few values, or none that differ.""",
}


def document(table, figures=()):
    """Return the document as Markdown text.

    Parameters
    ----------
    table : DataFrame
        Of `comparison_summary.summary`, as read back from its file.
    figures : dict of str to str, optional
        File of each figure of `FIGURES`, beside the document.
    """
    parts = [
        _introduction(table),
        _terms(table),
        _faults(table),
        _overlap(table),
        _figure(figures, "overlap"),
        _overlap_differences(table),
        _shared(table),
        _biomarkers(table),
        _figure(figures, "heatmap"),
        _biomarker_differences(table),
        _published(table),
    ]
    return wrapped(parts)


def _of(table, **names):
    for name, value in names.items():
        table = table[table[name] == value]
    return table


def _row(table, **names):
    """Row of these names, which is there for every network of the table."""
    return _of(table, **names).iloc[0]


def _models(table):
    facts = _of(table, kind="facts", score="steps")
    return dict(zip(facts["model"], facts["note"], strict=True))


def _domains(table):
    known = set(table["domain"])
    return [name for name in (*unseen.DOMAINS, BOTH) if name in known]


def _whole(table):
    """Domain of all patients."""
    return _domains(table)[-1]


def _cases(table, domain):
    return int(_row(table, kind="cases", domain=domain)["n"])


def _introduction(table):
    models = _models(table)
    lines = []
    for model, title in models.items():
        steps, parameters, cpu_s = (
            _row(table, kind="facts", model=model, score=name)["estimate"]
            for name in ("steps", "parameters", "cpu_s")
        )
        lines.append([title, f"`{model}`", text.count(steps), f"{parameters / 1e6:.2f}"])
        lines[-1].append(text.number(cpu_s))
    head = ["network", "name", "steps", "parameters, millions", "CPU time of training, s"]
    counts = [f"{_cases(table, name)} {name}" for name in _domains(table) if name != BOTH]
    return f"""# Comparison of networks on unseen phantoms

Made by the target `compare_networks` of `rules/train.smk`; not to be edited. All figures, with
more digits, stand in `network_comparison.tsv`, and all settings in
`config/networks/comparison.yaml`. {len(models)} ways to read a scan were trained together, and then
read the same synthetic patients, which no training saw ({" and ".join(counts)}). Internal patients
are scanned by the protocol of the demo trial, external ones are others, on another scanner. **All
accuracies are those on phantoms; none is of patients.**

{markdown(head, lines, left=2)}"""


def _terms(table):
    models, whole = _models(table), _whole(table)
    n = _cases(table, whole)
    return f"""## On what terms

Each step's samples were drawn once, and every network learned from them: none has other data, more
of it, or a better order. Losses, schedule, number of steps and averaging of weights are the same;
the learning rate is the design's own where it can't do with the common one. {_sizes(table)} CPU
time is that of the training steps alone, without drawing the samples; it is the price of a design,
and was not made equal. {_single(models)} Names in `like` are designs that were written anew after
their publication, without their weights; all are narrower than they are usually used.

What this can tell: how these designs, at these sizes, learn the same from the same samples in the
same short time, on patients and scanners that they never saw. What it can't tell:

- Ranks may change with more training. It is short, on a CPU, and a design that learns slowly at
first may win in the end.

- It is one training with one seed, and no cross-validation: what another seed would change is part
of no interval. Intervals are of patients, not of trainings.

- There are few patients. With n = {n} ({whole}) the least p that Wilcoxon's test can give is
{_least_p(n)} before it is adjusted; a difference that is not shown is not shown to be none.

- Phantoms are easier than patients, and all of one family of shapes, that of the training. None of
this chooses a network for patients."""


def _sizes(table):
    models = _models(table)
    size = {
        model: _row(table, kind="facts", model=model, score="parameters")["estimate"]
        for model in models
    }
    off = {name: n / size[REFERENCE] for name, n in size.items()}
    odd = [name for name, ratio in off.items() if abs(ratio - 1.0) > EQUAL_SIZE]
    told = f"Sizes are within {100 * EQUAL_SIZE:.0f} % of that of `{REFERENCE}`"
    if not odd:
        return f"{told}, so that none wins by its size."
    listed = ", ".join(f"`{name}` ({off[name]:.2f} times as large)" for name in odd)
    return f"{told} but for {listed}, and these are compared less fairly."


def _single(models):
    if PARTS not in models:
        return ""
    return f"""`{PARTS}` is one network for each of the four branches, of the same design as
`{REFERENCE}`, and all of them together are as large; each learned from the steps that show its
branch, as that branch of `{REFERENCE}` did."""


def _least_p(n):
    """Two-sided p of signed ranks where all n differences have one sign."""
    return text.p_value(min(1.0, 2.0 ** (1 - n)))


def _faults(table):
    models = _models(table)
    lines = [
        [models[row["model"]], row["domain"], row["quantity"] or "all", int(row["n"]), row["note"]]
        for _, row in _of(table, kind="fault").iterrows()
    ]
    values = _of(table, kind="biomarker", score="rmse")
    for _, row in values[(values["missing"] > 0) & (values["domain"] != BOTH)].iterrows():
        title = QUANTITIES[row["quantity"]].title
        lines.append(
            [models[row["model"]], row["domain"], title, int(row["missing"]), "no value measured"]
        )
    if not lines:
        return "Every scan of every patient was read and measured by every network."
    head = ["network", "domain", "scan or biomarker", "patients", "reason, with the first of them"]
    return f"""## What could not be measured

A network that finds no airways has no wall to measure. Such a patient is missing in the biomarker
of that network, which may so look better than it is, and in its paired difference; n tells how many
are left. Overlap of what was not found is 0; of a scan that could not be read it is missing, too.

{markdown(head, lines, left=3)}"""


def _overlap(table):
    models, lines = _models(table), []
    for task in TASKS:
        for model, title in models.items():
            line = [task, title]
            for domain in _domains(table):
                cells = [
                    _row(
                        table,
                        kind="overlap",
                        domain=domain,
                        model=model,
                        quantity=task,
                        score=score,
                    )
                    for score in ("dice", "iou")
                ]
                line += [_count(cells[0]), *(_estimate(cell, 3) for cell in cells)]
            lines.append(line)
    head = ["task", "network"]
    for domain in _domains(table):
        head += [f"{domain}: n", "Dice (95 % interval)", "IoU (95 % interval)"]
    groups = {**GROUPS, "coronary territories": (None, ("LM+LAD", "LCX", "RCA"))}
    told = "; ".join(f"{name}: {', '.join(parts)}" for name, (_, parts) in groups.items())
    return f"""## Overlap

Means over patients, with intervals by t. Of several structures the mean is taken within a patient
first ({told}); airways are lumen and wall together, vessels arteries and veins.

{markdown(head, lines, left=2)}"""


def _overlap_differences(table):
    verdict = _counted(table, "overlap", higher_is_better=True)
    lines = _difference_lines(table, "overlap", TASKS, dict.fromkeys(TASKS, 3), _domains(table))
    head = _difference_head(table, "task", _domains(table))
    return f"""## Paired differences of Dice

Each network less `{REFERENCE}`, patient by patient: **below 0, `{REFERENCE}` is better**. Intervals
are by t (those by bootstrap stand in the table of all figures), p by Wilcoxon's signed ranks,
adjusted by Benjamini and Hochberg over all networks and tasks of a domain. {verdict}

{markdown(head, lines, left=2)}"""


def _biomarker_differences(table):
    verdict = _counted(table, "biomarkers", higher_is_better=False)
    decimals = {name: QUANTITIES[name].decimals for name in PUBLISHED}
    lines = _difference_lines(table, "biomarkers", PUBLISHED, decimals, [_whole(table)])
    head = _difference_head(table, "biomarker", [_whole(table)])
    return f"""## Paired differences of absolute errors

Absolute error of each network less that of `{REFERENCE}`, patient by patient: **above 0,
`{REFERENCE}` is better**. Intervals and p as above, adjusted over all networks and biomarkers of a
domain. {verdict}

{markdown(head, lines, left=2)}"""


def _counted(table, family, higher_is_better):
    """Say how many differences are shown, and for whom."""
    rows = _of(table, kind="difference", family=family, domain=_whole(table))
    known = rows[rows["p_adj"].notna()]
    shown = known[known["p_adj"] < ALPHA]
    behind = (shown["estimate"] < 0) == higher_is_better
    lost = len(rows) - len(known)
    gone = f" ({lost} could not be tested)" if lost else ""
    if not len(shown):
        return f"""None of {len(rows)} differences ({_whole(table)}){gone} has an adjusted p below
{ALPHA:g}."""
    return f"""Of {len(rows)} differences ({_whole(table)}){gone}, {len(shown)}
{"has" if len(shown) == 1 else "have"} an adjusted p below {ALPHA:g}: {int(behind.sum())} in favour
of `{REFERENCE}`, {int((~behind).sum())} of another network."""


def _difference_lines(table, family, quantities, decimals, domains):
    models, lines = _models(table), []
    rows = _of(table, kind="difference", family=family)
    for quantity in quantities:
        for model, title in models.items():
            if model == REFERENCE:
                continue
            line = [title_of(quantity), title]
            for domain in domains:
                row = _row(rows, domain=domain, model=model, quantity=quantity)
                line += [_count(row), _estimate(row, decimals[quantity])]
                line += [text.p_value(row["p"]), text.p_value(row["p_adj"])]
            lines.append(line)
    return lines


def _difference_head(table, what, domains):
    head = [what, "network"]
    for domain in domains:
        head += [f"{domain}: n", "difference (95 % interval)", "p", "adjusted p"]
    return head


def _shared(table):
    if PARTS not in _models(table):
        return ""
    lines = []
    for domain in _domains(table):
        for _, row in _of(table, kind="branch", domain=domain).iterrows():
            cells = [_count(row), _estimate(row, 3), text.p_value(row["p"])]
            lines.append([row["quantity"], domain, *cells])
    sizes = [
        f"{_row(table, kind='facts', model=model, score='parameters')['estimate'] / 1e6:.2f}"
        for model in (REFERENCE, PARTS)
    ]
    head = ["branch", "domain", "n", "difference of Dice (95 % interval)", "p"]
    return f"""## Shared against single tasks

Do tasks gain by a common encoder, or would the same parameters be spent better on a network a task?
`{REFERENCE}` has {sizes[0]} million parameters, the networks of `{PARTS}` together {sizes[1]}.
{_shared_verdict(table)}

The difference is `{PARTS}` less `{REFERENCE}`; below 0, sharing is better. The heart's is of its
mean over both tasks within a patient. p is Wilcoxon's and not adjusted.

{markdown(head, lines, left=2)}"""


def _shared_verdict(table):
    rows = _of(table, kind="branch", domain=_whole(table))
    better, worse = rows[rows["estimate"] < 0], rows[rows["estimate"] > 0]
    sure, sure_worse = better[better["ci_high"] < 0], worse[worse["ci_low"] > 0]
    n = len(rows)
    told = f"""By mean Dice ({_whole(table)}) `{REFERENCE}` beats `{PARTS}` on {len(better)} of {n}
branches{_named(better)}, on {len(sure)} of them with an interval that leaves out 0, and loses on
{len(worse)}{_named(worse)}, on {len(sure_worse)} with such an interval."""
    if rows["estimate"].isna().any():
        told += f" {int(rows['estimate'].isna().sum())} could not be compared."
    return f"{told} {_conclusion(len(sure), len(sure_worse), n)}"


def _named(rows):
    return f" ({', '.join(rows['quantity'])})" if len(rows) else ""


def _conclusion(gains, losses, n):
    if gains and losses:
        return "**So sharing helps some branches here and harms others.**"
    if gains:
        where = "on every branch" if gains == n else "where the interval says so, and harms nowhere"
        return f"**So sharing pays here, {where}.**"
    if losses:
        return """**So sharing does not pay here: a network a task makes the better use of as many
parameters, after as short a training.**"""
    return "**So neither is shown to be better here.**"


def _biomarkers(table):
    models, lines = _models(table), []
    domains = [name for name in _domains(table) if name != BOTH]
    for quantity in PUBLISHED:
        for model, title in models.items():
            line = [title_of(quantity), title]
            for domain in domains:
                names = {"kind": "biomarker", "domain": domain, "model": model}
                r, rmse = (
                    _row(table, quantity=quantity, score=score, **names) for score in ("r", "rmse")
                )
                decimals = QUANTITIES[quantity].decimals
                line += [_count(r), _estimate(r, 2), _estimate(rmse, decimals)]
            lines.append(line)
    head = ["biomarker", "network"]
    for domain in domains:
        head += [f"{domain}: n", "r (95 % interval)", "RMSE (95 % interval)"]
    return f"""## Biomarkers

Measured from each network's label maps by the same software. Truth is the geometry of the phantom;
of densities what the scan's noise makes of the noiseless image, of CACS the score of the noiseless
scan in the true regions. r has an interval by Fisher's z, RMSE one by bootstrap of patients (BCa).
r grows with the spread of the patients: compare it within a domain only. NE: not estimated, for too
few values or none that differ.

{markdown(head, lines, left=2)}"""


def _published(table):
    models, first = _models(table), _domains(table)[0]
    known = {REFERENCE: PUBLISHED["laa950_pct"]["internal"][0], **PUBLISHED_R}
    lines = []
    for model in (name for name in known if name in models):
        row = _row(
            table, kind="biomarker", domain=first, model=model, quantity="laa950_pct", score="r"
        )
        lines.append([models[model], f"{known[model]:.2f}", _count(row), _estimate(row, 2)])
    head = ["network", "published r of LAV %", f"here ({first}): n", "r (95 % interval)"]
    low, high = PUBLISHED_GAIN_PCT
    return f"""## Beside the publication

The publication compares its network with five others of these kinds on patients of one centre. Its
text prints r of LAV % of two of them, called single-task there; the rest is drawn in figures. It
says that its network was the best in all tasks, and that its RMSE of the heart's biomarkers was
{low} % to {high} % below that of the others. Here ({first})
{_best(table, first)}. {_heart(table, first)} Patients, sizes, training and truth differ; only the
order of the networks can be compared.

{markdown(head, lines, left=1)}"""


def _best(table, domain):
    """Say of how many tasks and biomarkers the reference has the best mean."""
    told = []
    for kind, score, what in (
        ("overlap", "dice", "tasks by Dice"),
        ("biomarker", "r", "biomarkers by r"),
        ("biomarker", "rmse", "by RMSE"),
    ):
        wide = _by_model(table, kind, domain, score)
        best = wide.min(axis=1) if score == "rmse" else wide.max(axis=1)
        told.append(f"{int((wide[REFERENCE] == best).sum())} of {len(wide)} {what}")
    return f"`{REFERENCE}` is the best in {', '.join(told)}"


def _heart(table, domain):
    wide = _by_model(table, "biomarker", domain, "rmse").reindex(list(HEART))
    others = wide.drop(columns=REFERENCE)
    values = 100.0 * (1.0 - wide[[REFERENCE]].to_numpy() / others.to_numpy()).ravel()
    values = values[np.isfinite(values)]
    if not len(values):
        return "Its RMSE of the heart's biomarkers can't be compared here."
    return f"""Its RMSE of the heart's biomarkers lies below that of another network in
{int((values > 0).sum())} of {len(values)} comparisons, by {_pct(np.median(values))} in the median
(from {_pct(values.min())} to {_pct(values.max())}; below 0 it is larger)."""


def _by_model(table, kind, domain, score):
    rows = _of(table, kind=kind, domain=domain, score=score)
    return rows.pivot(index="quantity", columns="model", values="estimate")


def _pct(value):
    return f"{text.number(value)} %"


def _figure(figures, kind):
    if kind not in figures:
        return ""
    number = list(FIGURES).index(kind) + 1
    return f"![{kind}]({figures[kind]})\n\n**Figure {number}.** {FIGURES[kind]}"


def _count(row):
    """Patients with a value; in brackets those without one."""
    lost = int(row["missing"])
    return f"{int(row['n'])}" + (f" ({lost} missing)" if lost else "")


def _estimate(row, decimals):
    if text.missing(row["ci_low"]):
        return text.number(row["estimate"], decimals)
    return text.estimate(row["estimate"], row["ci_low"], row["ci_high"], decimals)
