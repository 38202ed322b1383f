"""Operating characteristics of simulated blocks with their Monte Carlo errors, and the document.

Errors of a simulation as Morris, White & Crowther 2019, Stat Med 38:2074, table 6.
"""

import numpy as np
import pandas as pd

from lungitude.validation import markdown
from lungitude.validation.imputations import DRAWS
from lungitude.validation.scenarios import (
    BLOCKS,
    CORRELATION,
    DEVIATION,
    EFFECT,
    ENDPOINTS,
    LEVEL,
    PER_ARM,
    SCENARIOS,
    SHIFT,
    STEEPNESS,
    calibrated,
    truth,
)

COLUMNS = ["scenario", "method", "measure", "value", "mc_error", "trials"]
EXCESS = ("mmrm kenward-roger", "mmrm kenward-roger-linear")
BEYOND = 3  # Monte Carlo errors from the nominal value that are called a difference


def summarise(blocks):
    """Summarise the rows of all blocks of one scenario.

    Parameters
    ----------
    blocks : DataFrame
        As the simulations make them; rows of a failed fit count in ``failed`` only.

    Returns
    -------
    DataFrame
        method measure value mc_error trials. Measures of estimates: failed (share), bias,
        empirical_se, model_se (root of the mean square), se_error_pct (of the model from the
        empirical one), coverage, rejected (type I error or power), rejected_excess (of `EXCESS`,
        the first over the second in the same trials). Of families: fdr, fwer, found
        (mean number of true effects that are rejected).
    """
    measures = _of_family if "fdp" in blocks else _of_estimate
    rows = [
        (method, *row)
        for method, part in blocks.groupby("method", sort=False)
        for row in measures(part)
    ]
    if set(EXCESS) <= set(blocks["method"]):
        rows.append((EXCESS[0], *_excess(blocks)))
    return pd.DataFrame(rows, columns=COLUMNS[1:])


def _of_estimate(rows):
    whole = rows.dropna(subset=["estimate", "se", "df"])
    count, failed = len(whole), 1 - len(whole) / len(rows)
    estimate, square = whole["estimate"], whole["se"] ** 2
    spread, model = estimate.std(), np.sqrt(square.mean())
    # Shares of a standard error by which its own estimate varies.
    of_spread, of_model = 1 / (2 * (count - 1)), square.var() / (4 * count * model**4)
    ratio = model / spread
    yield "failed", failed, share_error(failed, len(rows)), len(rows)
    yield "bias", (estimate - whole["truth"]).mean(), spread / np.sqrt(count), count
    yield "empirical_se", spread, spread * np.sqrt(of_spread), count
    yield "model_se", model, model * np.sqrt(of_model), count
    yield "se_error_pct", 100 * (ratio - 1), 100 * ratio * np.sqrt(of_spread + of_model), count
    for name, event in (("coverage", whole["covered"]), ("rejected", whole["p"] <= LEVEL)):
        share = float(event.mean())
        yield name, share, share_error(share, count), count


def _excess(blocks):
    """By how much a method rejects more often than another one in the same trials."""
    p = blocks.pivot_table(index="trial", columns="method", values="p")[list(EXCESS)].dropna()
    more = (p <= LEVEL).astype(float) @ [1.0, -1.0]
    return "rejected_excess", more.mean(), more.std(ddof=0) / np.sqrt(len(more)), len(more)


def _of_family(rows):
    count = len(rows)
    for name, values in (
        ("fdr", rows["fdp"]),
        ("fwer", (rows["false"] > 0).astype(float)),
        ("found", (rows["rejected"] - rows["false"]).astype(float)),
    ):
        yield name, values.mean(), values.std(ddof=0) / np.sqrt(count), count


def share_error(share, count):
    """Monte Carlo error of a share."""
    return float(np.sqrt(share * (1 - share) / count))


def document(table):
    """Write the summary of all scenarios as a Markdown document."""
    kinds = table["scenario"].map(lambda name: SCENARIOS[name].kind)
    parts = [_introduction()]
    for kind, write in (("fits", _fits), ("imputations", _imputations), ("families", _families)):
        if (kinds == kind).any():
            parts.append(write(table[kinds == kind]))
    return "\n\n".join(parts) + "\n"


def _introduction():
    _, left = calibrated(0.25, 0.0)
    spreads = ", ".join(f"{sd:.0f}" for sd in DEVIATION)
    pairs = ", ".join(f"{CORRELATION[i, j]:.2f}" for i, j in ((0, 1), (1, 2), (0, 2)))
    odds = np.exp(STEEPNESS)
    return f"""# Validation of the statistics by simulation

Made by `make validate-statistics`; not to be edited. All figures, with more digits, stand in
`statistics.tsv`. In brackets: Monte Carlo error in units of the last digit. **Bold**: more than
{BEYOND} such errors from the nominal value. Blocks of trials have seeds of their own, so that their
order and number at a time do not matter.

Two arms of n patients; change of FEV1 (mL) at three visits given the baseline: normal, SD
{spreads}, correlations {pairs} (1-2, 2-3, 1-3). Effect at the last visit, where the
arms are compared, 0 or {EFFECT:.0f} mL. Drop-out is at random (MAR): before each visit its odds are
multiplied by {odds[0]:.1f} in the control arm, and by {odds[1]:.1f} in the active arm, for each SD
by which the last observed value is lower. With 25 % in all and no effect,
{100 * left[0]:.0f} % of the control arm and {100 * left[1]:.0f} % of the active arm leave.
Two-sided level {LEVEL}, intervals of 95 %."""


def _fits(table):
    small = table[table["method"] == EXCESS[0]]
    return f"""## Mixed model for repeated measures

`change ~ baseline * visit + arm * visit`, unstructured covariance, REML; {_size("fits")}.
Kenward-Roger with second derivatives (as R mmrm), without (linear; SAS DDFM=KR(LINEAR)), and
Satterthwaite; estimates and df of the three are the same. For comparison, ANCOVA of the patients
who have the last visit: without drop-out it is exact and equals the mixed model; with drop-out at
random it is biased, and a larger trial only makes it surer of the wrong value.

{_failures(table)}

{_of_effect(table)}

Kenward-Roger with second derivatives depends on how the covariance is parametrised; log standard
deviations and Cholesky factors, as in mmrm, make its standard error too small in small trials,
even where data are complete and the linear form is exact. By how much it rejects more often than
the linear form in the same trials:

{_grid(small, "rejected_excess", effect=False, digits=4)}

With fewer than 50 patients an arm use `kenward-roger-linear`."""


def _imputations(table):
    name = next(iter(table["scenario"]))
    kept = truth(SCENARIOS[name.replace("null", "effect")], "j2r")
    parts = [
        f"""## Imputation

{_size("imputations").capitalize()}, 25 % drop-out; ANCOVA of the last visit after imputation at
random (MAR) or by jump to reference (J2R). Conditional means with jackknife standard errors and
normal quantiles; or approximate Bayesian multiple imputation, {DRAWS} imputations, Rubin's rules
and Barnard & Rubin's df. The truth under J2R follows from the model of the data: of
{EFFECT:.0f} mL, {kept:.2f} mL are left.

{_failures(table)}"""
    ]
    for label, title in (
        ("by arm", "A model of each arm (default)"),
        ("joint", "One covariance and common slopes (`by_arm=False`, rbmi's default)"),
    ):
        rows = table[table["method"].str.endswith(f", {label}")]
        rows = rows.assign(method=rows["method"].str.removesuffix(f", {label}"))
        parts.append(f"### {title}\n\n{_of_effect(rows)}")
    parts.append(
        """Rubin's rules under J2R are conservative in repeated samples, and lose power: imputation
borrows from the reference arm, so that the estimate varies less than the rules take it to. They
keep instead the share of information that MAR has (Cro et al. 2019, Stat Med 38:2385). The
jackknife estimates the variance in repeated samples (Bartlett 2023, Stat Biopharm Res 15:178);
with 20 patients an arm it is too large, and more so with a model of each arm."""
    )
    return "\n\n".join(parts)


def _of_effect(table):
    """Tables of a comparison of the arms."""
    return f"""Type I error (no effect; nominal {LEVEL}):

{_grid(table, "rejected", LEVEL, effect=False)}

Coverage of the 95 % interval (effect {EFFECT:.0f} mL):

{_grid(table, "coverage", 1 - LEVEL, effect=True)}

Power (effect {EFFECT:.0f} mL):

{_grid(table, "rejected", effect=True)}

Bias against the truth of the method's estimand (mL):

{_grid(table, "bias", 0.0, digits=2)}

Error of the standard errors (root mean square) against the spread of the estimates (%):

{_grid(table, "se_error_pct", 0.0, digits=1)}"""


def _families(table):
    cells = table.set_index(["scenario", "method", "measure"])
    lines = []
    for name in dict.fromkeys(table["scenario"]):
        scenario = SCENARIOS[name]
        bound = LEVEL * (1 - scenario.effects / ENDPOINTS)
        exact = scenario.correlation == 0
        lines.append(
            [
                f"{scenario.correlation:g}",
                scenario.effects,
                f"{bound:.4f}",
                _cell(cells.loc[name, "bh", "fdr"], bound, 4, above=not exact),
                _cell(cells.loc[name, "bh", "found"], digits=2),
                _cell(cells.loc[name, "holm", "fwer"], LEVEL, 4, above=True),
                _cell(cells.loc[name, "holm", "found"], digits=2),
            ]
        )
    head = ["correlation", "with effect", "bound", "BH: FDR", "BH: found", "Holm: FWER"]
    return f"""## Families of endpoints

{ENDPOINTS} endpoints of one trial, {PER_ARM} patients an arm, t tests; effects of {SHIFT} SD;
{_size("families")}. Independent endpoints have a false discovery rate equal to the bound of
Benjamini & Hochberg, correlated ones at most that; the familywise error rate of Holm is at most
{LEVEL}. Found: mean number of true effects that are rejected.

{markdown.table([*head, "Holm: found"], lines)}"""


def _size(kind):
    count, trials = BLOCKS[kind]
    return f"{count * trials:,} trials a scenario"


def _failures(table):
    failed = table[(table["measure"] == "failed") & (table["value"] > 0)]
    if failed.empty:
        return "Every fit converged."
    worst = failed.loc[failed["value"].idxmax()]
    return (
        f"Fits that failed are left out: at most {100 * worst['value']:.2f} % "
        f"({worst['scenario']}, {worst['method']})."
    )


def _cell(row, nominal=None, digits=3, above=False):
    """Value with its error in units of the last digit; bold where it is not the nominal one."""
    text = f"{row['value']:.{digits}f} ({round(row['mc_error'] * 10**digits)})"
    if nominal is None:
        return text
    off = row["value"] - nominal
    off = off if above else abs(off)
    return f"**{text}**" if off > BEYOND * row["mc_error"] else text


def _grid(table, measure, nominal=None, digits=3, effect=None):
    """Table of one measure, scenarios by methods."""
    rows = table[table["measure"] == measure].set_index(["scenario", "method"])
    methods = list(dict.fromkeys(table["method"]))
    lines = []
    for name in dict.fromkeys(table["scenario"]):
        scenario = SCENARIOS[name]
        if effect is not None and bool(scenario.effect) != effect:
            continue
        lines.append(
            [
                scenario.n,
                f"{100 * scenario.dropout:.0f} %",
                f"{scenario.effect:.0f}",
                *(_cell(rows.loc[(name, method)], nominal, digits) for method in methods),
            ]
        )
    return markdown.table(["n", "drop-out", "effect", *methods], lines)
