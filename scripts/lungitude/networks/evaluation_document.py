"""The document of the evaluation, written from its table alone."""

from lungitude.validation.markdown import table as markdown
from lungitude.validation.markdown import wrapped

from . import unseen
from .evaluation_summary import ALL, GROUPS, PUBLISHED, PUBLISHED_OVERLAP, QUANTITIES

# Shown of the overlap: those of the publication first.
STRUCTURES = (
    *PUBLISHED_OVERLAP,
    *("lungs", "right", "left"),
    *("RUL", "RML", "RLL", "LUL", "lingula", "LUL with lingula", "LLL"),
    *("lumen", "wall", "vessels", "artery", "vein"),
    *("heart", "LV blood", "LV myocardium", "RV blood", "left atrium", "right atrium"),
    *("aorta", "pulmonary artery", "coronary", "LM+LAD", "LCX", "RCA"),
)
TREES = {
    "length_detected_pct": ("Length detected", "%", 1),
    "branches_detected_pct": ("Branches detected", "%", 1),
    "precision_pct": ("Precision", "%", 1),
    "leakage_pct": ("Leakage", "%", 2),
    "leakage_ml": ("Leakage", "mL", 2),
    "largest_component_pct": ("In the largest piece", "%", 1),
    "cldice": ("clDice", "", 3),
    "topology_precision": ("Topology precision", "", 3),
    "topology_sensitivity": ("Topology sensitivity", "", 3),
    "betti0_error": ("Error of pieces", "", 1),
    "euler_error": ("Error of Euler number", "", 1),
}
FIGURES = {
    "scatter": """Measured from the network's label maps against truth, one point a patient; the
line is equality. The Agatston score is on a scale that is linear up to 10 and logarithmic
beyond.""",
    "bland_altman": """Difference (measured less truth) against the mean of both; lines are bias and
limits of agreement (95 %), dashed and dotted as the markers of their domain tell.""",
}


def document(table, figures=()):
    """Return the document as Markdown text.

    Parameters
    ----------
    table : DataFrame
        Of `evaluation_summary.summary`, as read back from its file.
    figures : dict of str to str, optional
        File of each figure of `FIGURES`, beside the document.
    """
    parts = [
        _introduction(table),
        _faults(table),
        _overlap(table),
        _trees(table),
        _generations(table),
        _biomarkers(table),
        _figures(figures),
        _own_labels(table),
        _estimates(table),
        _grades(table),
        _trust(table),
        _limits(),
    ]
    return wrapped(parts)


def _domains(table):
    return [name for name in unseen.DOMAINS if name in set(table["domain"])]


def _of(table, **names):
    """Rows with these cells; ``grade`` is all unless it is given."""
    for name, value in {"grade": ALL, **names}.items():
        table = table[table[name] == value]
    return table


def _values(table, domain, quantity, source, grade=ALL):
    """Rows of a biomarker, one a scan."""
    kind = {"kind": "biomarker", "quantity": quantity, "source": source}
    return _of(table, domain=domain, grade=grade, **kind)


def _introduction(table):
    domains = _domains(table)
    counts = {name: int(_of(table, kind="cases", domain=name)["n"].iloc[0]) for name in domains}
    weights = table.loc[table["kind"] == "facts", "note"].iloc[0]
    lines = [_domain_line(name, counts[name]) for name in domains]
    head = ["domain", "patients", "chest", "noise, HU", "drift", "angiography", "calcium scan"]
    told = f"weights {weights}" if weights else "weights without a digest"
    return f"""# Evaluation of the segmentation network on unseen phantoms

Made by the target `evaluate_network`; not to be edited. All figures, with more digits, stand in
`networks.tsv`, those of each patient in `networks_patients.parquet`.
The network ({told}) read synthetic patients that no training saw: the generative
model of the demo trial (`config/demo/model.yaml`) drew them with a seed of its own for each domain,
GOLD grades I to IV in turn. **All accuracies are those on phantoms; none is of patients.**

{markdown(head, lines, left=1)}

Biomarkers are measured from the network's label maps on the delivered images, by the same software
as those of a trial. Truths as in `imaging.md`: T0 is the geometry of the record, T1 the noiseless
image, `expected` what the scan's noise makes of T1. r has an interval by Fisher's z, RMSE one by
bootstrap of patients, means one by t; all 95 %. Published figures are r and RMSE of the
publication's Table 2 (internal, external), against manual annotations of patients; reached is
judged by the estimate itself. r grows with the spread of the patients: here that of the demo trial.
Missing values stay missing and are counted."""


def _domain_line(name, n):
    how = unseen.DOMAINS[name]
    slices = " or ".join(f"{mm:g}" for mm in how.slices_mm)
    noise = " to ".join(f"{hu:g}" for hu in dict.fromkeys(how.noise_hu))
    gated = " x ".join(f"{mm:g}" for mm in how.gated_mm)
    calcium = " x ".join(f"{mm:g}" for mm in how.calcium_mm)
    medium = "" if how.contrast == 1.0 else f", {100 * how.contrast:.0f} % of the contrast"
    return [
        name,
        n,
        f"{how.kernel} kernel, {how.voxel_mm:g} mm, slices {slices} mm",
        noise,
        "yes" if how.drift else "no",
        f"{gated} mm, {how.phases} phases, noise {how.gated_noise_hu:g} HU{medium}",
        f"{calcium} mm, noise {how.calcium_noise_hu:g} HU",
    ]


def _faults(table):
    faults = table[table["kind"] == "fault"]
    values = table[(table["kind"] == "biomarker") & (table["grade"] == ALL)]
    values = values[values["missing"] > 0]
    if faults.empty and values.empty:
        return "Every scan of every patient was read and measured."
    lines = [
        [row["domain"], row["scan"] or "all", int(row["n"]), row["note"]]
        for _, row in faults.iterrows()
    ]
    lines += [
        [row["domain"], row["scan"], int(row["missing"]),
         f"{QUANTITIES[row['quantity']].title} ({row['source']}): no value"]
        for _, row in values.iterrows()
    ]  # fmt: skip
    return f"""## What could not be measured

These patients are not in the figures of what failed.

{markdown(["domain", "scan", "times", "reason, with the first of them"], lines, left=2)}"""


def _overlap(table):
    parts = []
    for domain in _domains(table):
        rows = _of(table, kind="overlap", domain=domain)
        lines = []
        for structure in STRUCTURES:
            of_it = rows[rows["structure"] == structure]
            for scan in dict.fromkeys(of_it["scan"]):
                cells = of_it[of_it["scan"] == scan].set_index("quantity")
                lines.append(_overlap_line(structure, scan, cells))
        if lines:
            head = ["structure", "scan", "n", "Dice: mean (95 % interval)", "SD", "IoU", "SD"]
            head += ["HD95, mm: median", "missed", "surface Dice, 1 mm", "published Dice, IoU", ""]
            parts.append(f"### {domain.capitalize()}\n\n{markdown(head, lines, left=2)}")
    if not parts:
        return ""
    groups = "; ".join(f"{name}: {', '.join(parts)}" for name, (_, parts) in GROUPS.items())
    words = f"""Means over patients. Of the first rows, the mean over structures is taken within a
patient first ({groups}); airways are lumen and wall together. Missed: patients in whom one side is
empty, so that the distance is infinite. The publication gives overlap of its internal patients
only."""
    return "\n\n".join([f"## Overlap\n\n{words}", *parts])


def _overlap_line(structure, scan, cells):
    dice, iou = cells.loc["dice"], cells.loc["iou"]
    distances = ["", "", ""]
    if "hd95_mm" in cells.index:
        far = cells.loc["hd95_mm"]
        near = _number(cells.loc["surface_dice", "mean"], 3)
        distances = [_number(far["median"], 1), int(far["infinite"]), near]
    known = PUBLISHED_OVERLAP.get(structure, {})
    reached = [cells.loc[name, "reached"] for name in ("dice", "iou")]
    return [
        structure,
        scan,
        _count(dice),
        _interval(dice, "mean", 3, "ci"),
        _number(dice["sd"], 3),
        _number(iou["mean"], 3),
        _number(iou["sd"], 3),
        *distances,
        f"{known['dice']:.2f}, {known['iou']:.2f}" if known and any(reached) else "",
        _verdict(reached),
    ]


def _verdict(reached):
    """Say whether all of what is published was reached; nothing where nothing is."""
    if not any(reached):
        return ""
    if all(text == "yes" for text in reached):
        return "reached"
    return "**not reached**" if "yes" not in reached else "**reached in part**"


def _trees(table):
    lines = []
    for structure in ("airways", "vessels", "artery", "vein"):
        for quantity, (title, unit, decimals) in TREES.items():
            line = [structure, f"{title} ({unit})" if unit else title]
            seen = False
            for domain in _domains(table):
                rows = _of(table, domain=domain, structure=structure, quantity=quantity)
                rows = rows[rows["kind"].isin(["tree", "topology"])]
                seen |= len(rows) > 0
                cell = rows.iloc[0] if len(rows) else None
                line += ["", ""] if cell is None else [_count(cell), _spread(cell, decimals)]
            if seen:
                lines.append(line)
    if not lines:
        return ""
    head = ["structure", "score"]
    for domain in _domains(table):
        head += [f"{domain}: n", "mean ± SD"]
    return f"""## Trees and topology

Airways by their lumen, branches of the record; vessels by those between forks of the true
centreline. A branch is detected where 80 % of its centreline are; leakage lies more than a voxel
from truth.

{markdown(head, lines, left=2)}"""


def _generations(table):
    rows = _of(table, kind="generation")
    if rows.empty:
        return ""
    domains = _domains(table)
    lines = []
    for item in sorted(set(rows["item"]), key=int):
        line = [int(item)]
        for domain in domains:
            cell = rows[(rows["item"] == item) & (rows["domain"] == domain)]
            line.append(_number(cell["mean"].iloc[0], 1) if len(cell) else "")
        lines.append(line)
    head = ["generation", *(f"{domain}: branches detected, %" for domain in domains)]
    return f"Airways by generation (0 is the trachea):\n\n{markdown(head, lines)}"


def _biomarkers(table):
    parts = []
    for domain in _domains(table):
        lines = [
            _agreement_line(quantity, row)
            for quantity in QUANTITIES
            for _, row in _values(table, domain, quantity, "network").iterrows()
        ]
        if lines:
            head = ["quantity", "n", "truth: mean ± SD", "r (95 % interval)", "published", ""]
            head += ["RMSE (95 % interval)", "published", "", "ICC(A,1)", "bias"]
            head += ["limits of agreement", "r, truths shuffled"]
            parts.append(f"### {domain.capitalize()}\n\n{markdown(head, lines, left=1)}")
    if not parts:
        return ""
    told = {}
    for spec in QUANTITIES.values():
        told.setdefault(spec.told, []).append(spec.title)
    truths = "; ".join(f"{', '.join(names)}: {what}" for what, names in told.items())
    words = f"""Truths: {truths}. In brackets behind n: patients without a value. Shuffled: mean and
middle 95 % of r where truths are permuted over the patients, which must hold 0."""
    return "\n\n".join([f"## Biomarkers from the network's label maps\n\n{words}", *parts])


def _agreement_line(quantity, row):
    spec = QUANTITIES[quantity]
    decimals = spec.decimals
    published = quantity in PUBLISHED and row["published"] == row["published"]
    known = ["", ""]
    if published:
        known = [f"{row['published']:.2f}", f"{row['published_rmse']:g}"]
    return [
        _title(spec),
        _count(row),
        _spread(row, decimals),
        _interval(row, "r", 3),
        known[0],
        _verdict([row["reached"]]),
        _interval(row, "rmse", decimals),
        known[1],
        _verdict([row["rmse_reached"]]),
        _number(row["icc"], 3),
        _number(row["bias"], decimals),
        _range(row, "loa_low", "loa_high", decimals),
        f"{_number(row['shuffled_r'], 2)} ({_range(row, 'shuffled_low', 'shuffled_high', 2)})",
    ]


def _figures(figures):
    parts = [
        f"![{name.replace('_', ' ')}]({figures[name]})\n\n**Figure {number}.** {FIGURES[name]}"
        for number, name in enumerate((name for name in FIGURES if name in figures), start=1)
    ]
    return "\n\n".join(parts)


def _own_labels(table):
    """Write what is left of the errors where the label maps are true."""
    lines = []
    for quantity, spec in QUANTITIES.items():
        line, seen = [_title(spec)], False
        for domain in _domains(table):
            for source in ("network", "labels"):
                rows = _values(table, domain, quantity, source)
                cell = rows.iloc[0] if len(rows) else None
                seen |= cell is not None and source == "labels"
                line += _short(cell, spec.decimals)
        if seen:
            lines.append(line)
    if not lines:
        return ""
    head = ["quantity"]
    for domain in _domains(table):
        for source in ("network", "true labels"):
            head += [f"{domain}, {source}: r", "RMSE", "bias"]
    return f"""## How much of an error is the network's

The same biomarkers from the network's label maps and from the true ones, on the same images: what
both have in common is of the scan and of the measurement.

{markdown(head, lines, left=1)}"""


def _short(cell, decimals):
    if cell is None:
        return ["", "", ""]
    return [_number(cell["r"], 3), *(_number(cell[k], decimals) for k in ("rmse", "bias"))]


def _estimates(table):
    lines = []
    for quantity, spec in QUANTITIES.items():
        for domain in _domains(table):
            rows = _values(table, domain, quantity, "estimate")
            for _, row in rows.iterrows():
                figures = [_number(row["bias"], spec.decimals), _number(row["icc"], 3)]
                lines.append(
                    [
                        _title(spec),
                        domain,
                        _count(row),
                        row["reference"].upper(),
                        _interval(row, "r", 3),
                        _interval(row, "rmse", spec.decimals),
                        *figures,
                    ]
                )
    if not lines:
        return ""
    head = ["quantity", "domain", "n", "truth", "r (95 % interval)", "RMSE (95 % interval)"]
    return f"""## What the network estimates as a whole

Regressed beside the label maps, from the features of a whole scan. Density is that of a noiseless
image (T1); shares of airways and vessels are those of the true label maps; volumes of the heart
are read on the calcium scan.

{markdown([*head, "bias", "ICC(A,1)"], lines, left=2)}"""


def _grades(table):
    grades = [grade for grade in dict.fromkeys(table["grade"]) if grade not in ("", ALL)]
    if not grades:
        return ""
    overlaps, values = [], []
    for domain in _domains(table):
        for structure in (*PUBLISHED_OVERLAP, "vessels"):
            line = [structure, domain]
            for grade in grades:
                rows = _of(
                    table, kind="overlap", domain=domain, grade=grade, structure=structure,
                    quantity="dice",
                )  # fmt: skip
                line += [_spread(rows.iloc[0], 3)] if len(rows) else [""]
            overlaps.append(line)
        for quantity in PUBLISHED:
            spec = QUANTITIES[quantity]
            line = [_title(spec), domain]
            for grade in grades:
                rows = _values(table, domain, quantity, "network", grade)
                line += _short(rows.iloc[0] if len(rows) else None, spec.decimals)
            values.append(line)
    counts = []
    for domain in _domains(table):
        patients = [
            f"{int(_of(table, kind='cases', domain=domain, grade=g)['n'].iloc[0])} ({g})"
            for g in grades
            if len(_of(table, kind="cases", domain=domain, grade=g))
        ]
        counts.append(f"{domain} {', '.join(patients)}")
    head = ["structure", "domain", *(f"GOLD {grade}: Dice, mean ± SD" for grade in grades)]
    more = ["quantity", "domain"]
    for grade in grades:
        more += [f"GOLD {grade}: r", "RMSE", "bias"]
    return f"""## By GOLD grade

Patients: {"; ".join(counts)}. Within a grade patients differ less, and r is lower for the same
error.

{markdown(head, overlaps, left=2)}

{markdown(more, values, left=2)}"""


def _trust(table):
    lines = []
    for domain in _domains(table):
        rows = _of(table, kind="trust", domain=domain)
        for _, row in rows[rows["quantity"] == "confidence"].iterrows():
            # The Dice is the reference; what is expected of it lies a bias above.
            expected = row["mean"] + row["bias"]
            lines.append(
                [
                    row["structure"],
                    domain,
                    _count(row),
                    _number(row["mean"], 3),
                    _number(expected, 3),
                    _range(row, "loa_low", "loa_high", 3),
                    _number(row["r"], 2),
                ]
            )
    if not lines:
        return ""
    away = []
    for domain in _domains(table):
        for _, row in _of(table, kind="trust", domain=domain, quantity="distance").iterrows():
            if row["n"]:
                away.append(f"{domain}, {row['scan']}: {_spread(row, 2)}")
    distance = f"Distance from the training (above 1 is unlike it): {'; '.join(away)}."
    head = ["structure", "domain", "n", "Dice", "expected", "limits of expected - Dice", "r"]
    return f"""## What the network says of itself

The Dice that the network expects of its own map, by its probabilities, beside the Dice it has.

{markdown(head, lines, left=2)}

{distance if away else "These weights tell no distance from their training."}"""


def _limits():
    return """## Limits

Patients, anatomy and images are synthetic, of the same family of shapes as those that the network
was trained on: other bodies, other seeds, other scanners, but the same phantom. External means
another scanner and other patients of that phantom, not another centre. Angiographies and calcium
scans have no drift. Agreement with published figures says that the software measures what was
planted as well as the publication reports for patients; it says nothing of patients."""


def _title(spec):
    return f"{spec.title} ({spec.unit})" if spec.unit else spec.title


def _count(row):
    """Patients with a value; in brackets those without one."""
    lost = int(row["missing"]) if row["missing"] == row["missing"] else 0
    absent = int(row["absent"]) if row["absent"] == row["absent"] else 0
    told = [f"{lost} missing"] * (lost > 0) + [f"{absent} absent"] * (absent > 0)
    return f"{int(row['n'])}" + (f" ({', '.join(told)})" if told else "")


def _spread(row, decimals):
    mean, sd = _number(row["mean"], decimals), _number(row["sd"], decimals)
    return f"{mean} ± {sd}" if mean and sd else mean


def _interval(row, name, decimals, ends=None):
    ends = ends or f"{name}_ci"
    value = _number(row[name], decimals)
    limits = _range(row, f"{ends}_low", f"{ends}_high", decimals)
    return f"{value} ({limits})" if value and limits else value


def _range(row, low, high, decimals):
    ends = [_number(row[name], decimals) for name in (low, high)]
    return " to ".join(ends) if all(ends) else ""


def _number(value, decimals):
    if value != value:
        return ""
    text = f"{value:.{decimals}f}"
    return text if text.strip("-0.") or not text.startswith("-") else text[1:]
