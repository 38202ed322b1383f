"""The document of the validation of the imaging, written from its table alone."""

from lungitude.validation import imaging_cases as cases
from lungitude.validation.imaging_cases import PARTS
from lungitude.validation.imaging_quantities import GOALS, QUANTITIES
from lungitude.validation.markdown import table as markdown

NAMES = {"t0": "T0", "t1": "T1", "expected": "expected"}
STATISTICS = {
    "largest": "largest error",
    "largest_pct": "largest error, %",
    "rmse": "RMSE",
    "rmse_pct": "RMSE, %",
    "bias_pct": "bias, %",
    "slope": "share of a true change seen",
}


def document(table):
    """Return the document as Markdown text.

    Parameters
    ----------
    table : DataFrame
        Of `imaging_summary.summarise`, as read back from its file.
    """
    parts = [_introduction(table), _goals(table), _faults(table), _chest(table), _trees(table)]
    return "\n\n".join([*parts, _heart(table)]) + "\n"


def _introduction(table):
    counts = table[table["kind"] == "cases"].set_index("part")["n"]
    number = ", ".join(f"{int(counts[part])} ({part})" for part in PARTS if part in counts)
    r = {name: f"{low:g} to {high:g}" for name, (low, high) in cases.RANGES.items()}
    c = cases.CHANGES
    emphysema, agatston = (
        f"{low:g} to {high:g}" for low, high in (cases.EMPHYSEMA_PCT, cases.AGATSTON)
    )
    return f"""# Validation of the imaging on phantoms

Made by `make validate-imaging`; not to be edited. All figures, with more digits, stand in
`imaging.tsv`. The software measures images of the phantom (`docs/phantom.md`) as it would those of
a patient; it is given the label maps, and nothing else of the truth. Nothing was tuned on these
cases.

- **T0** is geometry: closed forms of the parameter record, without images (where tubes overlap:
  points of a fine lattice).
- **T1** is the noiseless image at its voxel and point spread: the same measurement on it, or the
  definition applied to it in two lines of other code (density, PRM). T1 - T0 is what the image
  loses; measured - T1 is what noise and rounding do. Of the trees, every fourth case has it.
- **Expected** is what Gaussian noise of the known SD makes of T1, in closed form, and what an
  unbiased measurement on the noisy image must give. Only density has it.

Errors are measured minus truth: bias (mean), SD, RMSE, the largest of all cases; ICC(A,1);
Bland-Altman limits, 95 %. ICC depends on how much cases differ; here as much as these ranges.

Cases: {number}; drawn at random, uniformly unless said otherwise: lung volume {r["LUNGVOL_L"]} L,
density of healthy lung {r["LUNG_HU"]} HU, emphysema {emphysema} % (log-uniform), trapped
air {cases.FSAD_PCT[0]:g} to {cases.FSAD_PCT[1]:g} %, expiration {r["EXPRATIO"]} of inspiration,
Pi10 {r["PI10"]} mm, WA% {r["WA"]}, BV5% {r["BV5"]}, fractal dimension {r["FRACDIM"]},
LVM {r["LVM"]} g, EF {r["EF"]} %, SV {r["SV"]} mL, Agatston score 0 in
{100 * cases.WITHOUT_CALCIUM:g} %, else {agatston} (log-uniform). What the anatomy can't combine
comes as near as it can; truths are those of the record, not of the request. A second visit changes
each by up to: emphysema {c["EMPH_PCT"]:g} points, Pi10 {c["PI10"]:g} mm, WA% {c["WA"]:g}, BV5%
{c["BV5"]:g}, fractal dimension {c["FRACDIM"]:g}, LVM {c["LVM"]:g} g, EF {c["EF"]:g} points, SV
{c["SV"]:g} mL, either way; the score by a factor of up to {cases.AGATSTON_FACTOR:g}."""


def _goals(table):
    lines = []
    for goal in GOALS:
        spec = QUANTITIES[goal.quantity]
        value, worst, n = _reached(table, goal)
        met = "not run"
        if value is not None:
            fine = value >= goal.limit if goal.least else abs(value) <= goal.limit
            met = "met" if fine else "**not met**"
        lines.append(
            [
                spec.title + (" (our own goal)" if goal.ours else ""),
                NAMES[goal.reference],
                STATISTICS[goal.statistic],
                f"{'at least' if goal.least else 'at most'} {_limit(goal, spec)}",
                "" if value is None else _number(value, _decimals(goal, spec)),
                worst,
                n,
                met,
            ]
        )
    head = ["quantity", "against", "judged by", "goal", "measured", "where worst", "n", ""]
    protocols = "\n".join(
        f"- {part}: " + "; ".join(PARTS[part]) for part in PARTS if part in set(table["part"])
    )
    return f"""## Goals

Measured is the worst of the protocols that a goal is for (all that are as fine as it says; noise of
25 HU and voxels up to 1.25 mm for trees). Figures of all protocols follow below.

{markdown(head, lines, left=3)}

Protocols:

{protocols}"""


def _reached(table, goal):
    """Return the statistic of the worst protocol, that protocol, and its n; None if not there."""
    kind = "change" if goal.change else "agreement"
    rows = table[
        (table["kind"] == kind)
        & (table["quantity"] == goal.quantity)
        & (table["reference"] == goal.reference)
        & table["protocol"].isin(goal.protocols)
    ].dropna(subset=[goal.statistic])
    if rows.empty:
        return None, "", 0
    values = rows[goal.statistic].astype(float)
    worst = rows.loc[values.idxmin() if goal.least else values.abs().idxmax()]
    return float(worst[goal.statistic]), worst["protocol"], int(worst["n"])


def _decimals(goal, spec):
    if goal.statistic.endswith("_pct") or goal.statistic == "slope":
        return 2
    return spec.decimals


def _limit(goal, spec):
    if goal.statistic == "slope":
        return f"{goal.limit:g}"
    unit = "%" if goal.statistic.endswith("_pct") else {"%": "points"}.get(spec.unit, spec.unit)
    return f"{goal.limit:g} {unit}".strip()


def _faults(table):
    faults = table[table["kind"] == "fault"]
    missing = table[(table["kind"] == "agreement") & (table["missing"].fillna(0) > 0)]
    if faults.empty and missing.empty:
        return "Every measurement of every case succeeded."
    lines = [
        [row["part"], row["protocol"] if row["protocol"] == row["protocol"] else "all",
         int(row["n"]), row["note"]]
        for _, row in faults.iterrows()
    ]  # fmt: skip
    seen = missing.drop_duplicates(["quantity", "protocol"])
    lines += [
        [row["part"], row["protocol"], int(row["missing"]),
         f"{QUANTITIES[row['quantity']].title}: no value"]
        for _, row in seen.iterrows()
    ]  # fmt: skip
    return f"""## What could not be measured

These cases are not in the figures of what failed.

{markdown(["part", "protocol", "times", "first of them"], lines, left=2)}"""


def _definitions(part):
    lines = [
        [spec.title, spec.unit, spec.truth or "-", spec.expected or "-"]
        for spec in QUANTITIES.values()
        if spec.part == part and spec.agrees and not spec.of
    ]
    return markdown(["quantity", "unit", "T0", "expected under noise"], lines, left=4)


def _agreement(table, part):
    """One table a protocol: a row a quantity, against the strictest truth it has there."""
    rows = table[(table["kind"] == "agreement") & (table["part"] == part)]
    parts = []
    for protocol in PARTS[part]:
        lines = []
        for quantity, spec in QUANTITIES.items():
            own = rows[(rows["quantity"] == quantity) & (rows["protocol"] == protocol)]
            own = own.set_index("reference")
            if own.empty:
                continue
            bias = own.loc["t1", "bias"] if "t1" in own.index else None
            shown = [name for name in ("expected", "t0") if name in own.index] or ["t1"]
            if "t1" in own.index and _judged_by_t1(quantity, protocol):
                shown = ["t1", *(name for name in shown if name != "t1")]
            lines += [_line(spec, name, own.loc[name], bias) for name in shown]
        if lines:
            head = ["quantity", "n", "bias to T1", "against", "bias", "SD", "RMSE", "largest"]
            head += ["ICC(A,1)", "limits of agreement"]
            parts.append(f"### {protocol}\n\n{markdown(head, lines, left=1)}")
    return "\n\n".join(parts)


def _judged_by_t1(quantity, protocol):
    return any(
        goal.quantity == quantity and goal.reference == "t1" and protocol in goal.protocols
        for goal in GOALS
    )


def _line(spec, reference, row, bias):
    figures = [_number(row[name], spec.decimals) for name in ("bias", "sd", "rmse", "largest")]
    icc = f"{row['icc']:.4f}" if row["icc"] == row["icc"] else ""
    limits = [_number(row[name], spec.decimals) for name in ("loa_low", "loa_high")]
    named = f"{spec.title} ({spec.unit})" if spec.unit else spec.title
    to_t1 = "" if bias is None else _number(bias, spec.decimals)
    return [named, int(row["n"]), to_t1, NAMES[reference], *figures, icc, " to ".join(limits)]


def _changes(table, part):
    rows = table[(table["kind"] == "change") & (table["part"] == part)]
    if rows.empty:
        return ""
    lines = []
    for _, row in rows.iterrows():
        spec = QUANTITIES[row["quantity"]]
        slope = f"{row['slope']:.2f} ({row['slope_ci_low']:.2f} to {row['slope_ci_high']:.2f})"
        lines.append(
            [
                f"{spec.title} ({spec.unit})" if spec.unit else spec.title,
                row["protocol"],
                int(row["n"]),
                slope,
                _number(row["residual_sd"], spec.decimals),
                f"{row['r']:.3f}",
                f"{100 * row['right_sign']:.0f} %",
                f"{100 * row['within_quarter']:.0f} %",
            ]
        )
    head = ["quantity", "protocol", "n", "share seen (95 % interval)", "SD about it", "r"]
    head += ["right sign", "within 25 %"]
    return f"""### True changes

Slope of the measured on the true change between two visits: the share of a change that is seen;
SD about that line. Right sign, and within 25 % of the true change: of those cases that change by
more than a quarter of an SD of all changes.

{markdown(head, lines, left=2)}"""


def _number(value, decimals):
    text = f"{value:.{decimals}f}" if value == value else ""
    return text if text.strip("-0.") or not text.startswith("-") else text[1:]


def _section(title, words, table, part):
    parts = [f"## {title}\n\n{words}", _definitions(part), _agreement(table, part)]
    return "\n\n".join(filter(None, [*parts, _changes(table, part)]))


def _chest(table):
    return _section(
        "Density and parametric response",
        f"""Whole chests at 2 mm (or 1.5 mm with slices of 3 mm), lungs as the phantom labels them;
names are kernel and SD of the noise in HU. `noiseless` is measured before rounding to whole HU,
which alone shifts LAA by the share of voxels between -950.5 and -950. With drift, air reads 5 HU
high and blood 3 HU low, in T1 as well; calibrated values are held against those without drift. PRM
takes the true deformation. Less air: the second inspiration holds {100 * cases.SHALLOWER:g} % of
the first, mass unchanged. Low attenuation of T1 is less than the spheres of emphysema hold (T0), as
their blurred rims are denser than -950 HU.""",
        table,
        "chest",
    )


def _trees(table):
    return _section(
        "Airways and vessels",
        """A box around the root of the right lung, from the carina to the segmental bronchi and
beyond (airways 117 x 125 x 127 mm, vessels 92 x 105 x 95 mm); labels from the geometry. Point
spread and wall density are estimated from the image. Airways count from generation 3 with an inner
perimeter of 7.5 to 25 mm; T0 is of the same branches, or of all branches of that rule in the box,
so that what selection does is seen. For changes, branches of both visits are matched, and the
second visit takes point spread and wall density of the first. Branches are compared one by one;
limits are those of several pairs a patient. A vessel's branch is crowded where another vessel or an
airway, parent, daughters and sisters aside, lies within 1 mm of it or overlaps it; the classes of
radius are of clear ones.""",
        table,
        "trees",
    )


def _heart(table):
    return _section(
        "Heart and coronary calcium",
        """Label maps of 20 phases (10 for contrast) from the geometry: what is tested are voxels
and phases, not a segmentation. Calcium scans have no contrast medium; names are the thickness of
the slices and the SD of the noise. The score asked for is met on a noiseless scan with slices of
3 mm, so it is no T0 of other slices.""",
        table,
        "heart",
    )
