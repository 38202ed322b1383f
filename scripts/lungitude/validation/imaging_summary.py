"""Agreement of measured biomarkers with their truths over the cases, and sensitivity to change."""

import numpy as np
import pandas as pd

from lungitude.statistics.agreement import bland_altman, icc
from lungitude.statistics.linear import inference
from lungitude.validation.imaging_quantities import QUANTITIES

REFERENCES = ("t1", "expected", "t0")
KEYS = "kind part quantity protocol reference n missing".split()
AGREEMENT = (
    "bias sd rmse largest bias_pct rmse_pct largest_pct icc icc_ci_low icc_ci_high loa_low loa_high"
).split()
CHANGE = (
    "mean_true mean_measured slope slope_ci_low slope_ci_high residual_sd r right_sign "
    "within_quarter"
).split()
TEXT = "kind part quantity protocol reference note".split()
COLUMNS = [*KEYS, *AGREEMENT, *CHANGE, "note"]
LEVEL = 0.95
TELLING = 0.25  # of the SD of true changes: smaller ones are not asked for their sign


def agreement_table(rows):
    """Compare measured values with each reference, by quantity and protocol.

    Parameters
    ----------
    rows : DataFrame
        Rows of all blocks, see `imaging_cases.COLUMNS`. Rows of a fault have no quantity.

    Returns
    -------
    DataFrame
        Columns `KEYS` and `AGREEMENT`, first visits only. reference: ``t1``, ``expected`` or
        ``t0``; n pairs; missing, pairs whose measured value is NaN though the reference is known;
        bias, sd and rmse of measured - reference; largest, the greatest absolute difference; the
        same in % of the reference (``_pct``; NaN where a reference is not above 0); ICC(A,1) and
        limits of agreement. Quantities that are measured on many items of a patient are compared
        item by item; their limits are those of several pairs a patient.
    """
    found = []
    for quantity, protocol, part in _groups(rows[rows["visit"] == "first"]):
        if not QUANTITIES[quantity].agrees:
            continue
        for reference in REFERENCES:
            known = part[part[reference].notna()]
            if len(known):
                one = agreement(known["measured"], known[reference], known["case"])
                found.append(_named("agreement", quantity, protocol, reference) | one)
    return pd.DataFrame(found, columns=COLUMNS)


def agreement(measured, reference, case):
    """Return the figures of `agreement_table` for pairs of values; `case` tells whose they are."""
    measured, reference = np.asarray(measured, float), np.asarray(reference, float)
    seen = np.isfinite(measured)
    x, y, case = measured[seen], reference[seen], np.asarray(case)[seen]
    out = {"n": int(seen.sum()), "missing": int((~seen).sum())}
    if out["n"] < 3:
        return out
    error = x - y
    out.update(_errors(error))
    if (y > 0).all():
        out.update({f"{k}_pct": v for k, v in _errors(100 * error / y).items() if k != "sd"})
    # Truth that doesn't vary, or equals what is measured up to rounding, has no variance to share.
    if np.ptp(y) > 0:
        out.update(_icc(x, y))
    if out["sd"] > 1e-12 * np.abs(y).max():
        several = case if 1 < len(np.unique(case)) < len(case) else None
        limits = bland_altman(x, y, repeated=several).iloc[0]
        out.update(loa_low=limits["loa_low"], loa_high=limits["loa_high"])
    else:
        out.update(loa_low=out["bias"], loa_high=out["bias"])
    return out


def _errors(error):
    return {
        "bias": float(error.mean()),
        "sd": float(error.std(ddof=1)),
        "rmse": float(np.sqrt((error**2).mean())),
        "largest": float(np.abs(error).max()),
    }


def _icc(x, y):
    n = len(x)
    pairs = pd.DataFrame(
        {
            "id": np.tile(np.arange(n), 2),
            "rater": np.repeat(["measured", "reference"], n),
            "score": np.concatenate([x, y]),
        }
    )
    with np.errstate(all="ignore"):
        row = icc(pairs).set_index("type").loc["ICC(A,1)"]
    return {"icc": row["icc"], "icc_ci_low": row["ci_low"], "icc_ci_high": row["ci_high"]}


def change_table(rows):
    """Compare measured changes between the visits with true ones.

    Returns
    -------
    DataFrame
        Columns `KEYS` and `CHANGE`. reference: ``t0``, or ``t1`` for quantities without a
        geometric truth. slope: of measured on true change by least squares, with its 95 %
        interval: the share of a true change that is seen; residual_sd about that line; r, the
        correlation; right_sign, the share of cases whose change has the right sign among those
        that change by more than a quarter of an SD of the true changes; within_quarter, the share
        of those cases whose measured change is within 25 % of the true one.
    """
    found = []
    for quantity, protocol, part in _groups(rows[rows["item"] == ""]):
        reference = QUANTITIES[quantity].change
        if not reference or set(part["visit"]) != {"first", "second"}:
            continue
        pairs = part.set_index(["case", "visit"])[[reference, "measured"]].unstack("visit")  # noqa: PD010
        missing = int(pairs["measured"].isna().any(axis=1).sum())
        pairs = pairs.dropna()
        true, seen = (pairs[k]["second"] - pairs[k]["first"] for k in (reference, "measured"))
        if len(pairs) >= 3 and true.std() > 0:
            one = change(true.to_numpy(), seen.to_numpy()) | {"missing": missing}
            found.append(_named("change", quantity, protocol, reference) | one)
    return pd.DataFrame(found, columns=COLUMNS)


def change(true, seen):
    """Return the figures of `change_table` for pairs of changes."""
    n = len(true)
    centred = true - true.mean()
    square = float(centred @ centred)
    slope = float(centred @ seen) / square
    rest = seen - seen.mean() - slope * centred
    spread = float(np.sqrt(rest @ rest / (n - 2)))
    limits = inference(slope, spread / np.sqrt(square), n - 2, LEVEL)
    told = np.abs(true) > TELLING * true.std(ddof=1)
    right = np.sign(seen[told]) == np.sign(true[told])
    close = np.abs(seen[told] - true[told]) <= 0.25 * np.abs(true[told])
    return {
        "n": n,
        "mean_true": float(true.mean()),
        "mean_measured": float(seen.mean()),
        "slope": slope,
        "slope_ci_low": float(limits["ci_low"]),
        "slope_ci_high": float(limits["ci_high"]),
        "residual_sd": spread,
        "r": float(np.corrcoef(true, seen)[0, 1]) if seen.std() > 0 else np.nan,
        "right_sign": float(right.mean()) if len(right) else np.nan,
        "within_quarter": float(close.mean()) if len(close) else np.nan,
    }


def summarise(rows):
    """Return all tables of the rows of all blocks as one, with columns `COLUMNS`.

    kind is ``agreement``, ``change``, or ``fault``: a measurement that failed, n times with one
    reason, which stands in note; and ``cases``, whose n is the number of cases by part.
    """
    whole = with_bins(rows[rows["fault"] == ""])
    tables = [agreement_table(whole), change_table(whole), faults(rows)]
    for part, some in rows.groupby("part", sort=False):
        one = {"kind": "cases", "part": part, "n": some["case"].nunique()}
        tables.append(pd.DataFrame([one], columns=COLUMNS))
    # Columns without any number would decide on types.
    return pd.concat([table.astype(object) for table in tables], ignore_index=True)[COLUMNS]


def faults(rows):
    """Count the measurements that failed, by reason."""
    rows = rows[rows["fault"] != ""]
    keys = ["part", "protocol", "fault"]
    counts = rows.groupby(keys, sort=False).agg(n=("case", "size"), case=("case", "min"))
    table = counts.reset_index().rename(columns={"fault": "note"})
    table["note"] = "case " + table["case"].astype(str) + ": " + table["note"]
    return table.assign(kind="fault").reindex(columns=COLUMNS)


def with_bins(rows):
    """Add items by size: quantities that are judged in classes of their true value."""
    parts = [rows]
    for quantity, spec in QUANTITIES.items():
        if spec.of:
            low, high = spec.bins
            part = rows[(rows["quantity"] == spec.of) & (rows["t0"] >= low) & (rows["t0"] < high)]
            parts.append(part.assign(quantity=quantity))
    return pd.concat(parts, ignore_index=True)


def _named(kind, quantity, protocol, reference):
    part = QUANTITIES[quantity].part
    names = (kind, part, quantity, protocol, reference)
    return dict(zip(KEYS, names, strict=False))


def _groups(rows):
    """Yield quantity, protocol and their rows: quantities as listed, protocols as they come."""
    for quantity in QUANTITIES:
        part = rows[rows["quantity"] == quantity]
        for protocol in dict.fromkeys(part["protocol"]):
            yield quantity, protocol, part[part["protocol"] == protocol]
