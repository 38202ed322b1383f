"""The same airways at two visits: branches matched through the registration of the scans."""

import numpy as np
from scipy import optimize

from lungitude.biomarkers.airways import airways_from_branches, used

ASIDE_MM = 4.0  # between the axes, registration error included
MIN_COS = 0.8  # 37 degrees between the axes
DIAMETER_RATIO = 2.0
MAX_APART_MM = 1.5
MIN_MATCHED_PCT = 75.0
_NO_PAIR = 1e6
_CHANGING = ("pi10_mm", "wa_pct", "wa_la", "lumen_diameter_mm")


def match_branches(baseline_branches, followup_branches, transform):
    """Match branches of two visits, and mark those that both summaries are to use.

    Parameters
    ----------
    baseline_branches, followup_branches : DataFrame
        Of `airways.airway_branches`.
    transform : object
        ``apply_points`` maps points (n, 3) of the baseline, LPS mm, to the follow-up, as
        `registration.register` with the baseline fixed gives it.

    Returns
    -------
    baseline, followup : DataFrame
        Rows of the two tables that belong together, in the same order; with ``distance_mm``
        between the axes after registration, and ``used``: measured at both visits, and counted by
        `airways.used` with the generation of the baseline and the mean inner perimeter of both
        visits.

    Notes
    -----
    A pair must lie within 4 mm across and half a branch along the axis, point the same way within
    37 degrees (or the opposite one, where a generation is unknown and with it what is ahead) and
    not differ twofold in lumen diameter. Pairs are one to one, at the least sum of squared
    distances (half of those along the axis, where the middle of a branch is vague). The mean of
    both visits decides on the perimeter because a limit on one of them alone would turn its noise
    into change.
    """
    first, second = baseline_branches, followup_branches
    pairs, aside = _pairs(first, second, transform)
    rows = []
    for table, index in zip(
        (first, second), zip(*pairs, strict=True) if pairs else ((), ()), strict=True
    ):
        part = table.iloc[list(index)].reset_index(drop=True)
        part["distance_mm"] = aside
        part.attrs = dict(table.attrs)
        rows.append(part)
    mean = 0.5 * (rows[0]["perimeter_mm"] + rows[1]["perimeter_mm"])  # NaN where one isn't measured
    both = used(rows[0].assign(perimeter_mm=mean), first)
    for part in rows:
        part["used"] = both
    return rows[0], rows[1]


def landmarks(baseline_branches, followup_branches, matched):
    """Judge a registration by the branches that it brought together.

    Parameters
    ----------
    baseline_branches, followup_branches : DataFrame
        Of `airways.airway_branches`.
    matched : DataFrame
        The baseline's part of `match_branches`.

    Returns
    -------
    dict
        ``matched_pct`` of the branches of the visit with fewer (NaN where none has any),
        ``apart_mm`` (mean distance between the axes, NaN without a pair), ``registration_flag``
        (empty when all is well).

    Notes
    -----
    On phantoms at 1.25 mm voxels a good map matches 88 to 97 % of the branches at 0.2 to 0.4 mm;
    one that is off by 2 mm still matches them, but at 1.6 to 1.7 mm, one off by 4 mm two thirds of
    them (docs/registration.md). The similarity of the lungs sees such shifts only from 4 mm on.
    """
    fewer, more = sorted((len(baseline_branches), len(followup_branches)))
    # None at one visit alone is no agreement.
    matched_pct = 100.0 * len(matched) / max(fewer, 1) if more else np.nan
    apart_mm = float(matched["distance_mm"].mean()) if len(matched) else np.nan
    flags = []
    if matched_pct < MIN_MATCHED_PCT:
        text = f"{matched_pct:.0f} % of the airways found again"
        flags.append(f"{text}, less than {MIN_MATCHED_PCT:g} %")
    if apart_mm > MAX_APART_MM:
        flags.append(f"airways {apart_mm:.1f} mm apart on average, more than {MAX_APART_MM:g} mm")
    return {
        "matched_pct": matched_pct,
        "apart_mm": apart_mm,
        "registration_flag": "; ".join(flags),
    }


def follow(baseline_branches, followup_branches, transform):
    """Airways of a follow-up as they compare with those of the baseline.

    Parameters
    ----------
    baseline_branches, followup_branches, transform
        As `match_branches`.

    Returns
    -------
    DataFrame
        As `airways.airways_from_branches` of the follow-up, but what changes is that of the
        baseline plus the change over the branches that are measured at both visits; its own is
        kept as ``..._unmatched``. Also n_matched and what `landmarks` says.
    """
    before, after = match_branches(baseline_branches, followup_branches, transform)
    agreement = landmarks(baseline_branches, followup_branches, before)
    own = airways_from_branches(baseline_branches)
    before, after = airways_from_branches(before), airways_from_branches(after)
    table = airways_from_branches(followup_branches)
    for name in _CHANGING:
        table[f"{name}_unmatched"] = table[name]
        table[name] = own[name] + after[name] - before[name]
    return table.assign(n_matched=after["n_branches"], **agreement)


def _pairs(first, second, transform):
    """Return index pairs and their distances across the axis."""
    if not len(first) or not len(second):
        return [], np.zeros(0)
    names = (["x_mm", "y_mm", "z_mm"], ["tangent_x", "tangent_y", "tangent_z"])
    (here, along), (there, axis) = (
        tuple(table[n].to_numpy(float) for n in names) for table in (first, second)
    )
    moved = np.asarray(transform.apply_points(np.concatenate((here, here + along, here - along))))
    middle, ahead, behind = moved.reshape(3, -1, 3)
    along = ahead - behind
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    gap = there[None] - middle[:, None]
    down = (gap * axis[None]).sum(axis=2)
    across = np.sqrt(np.maximum((gap**2).sum(axis=2) - down**2, 0.0))
    reach = 0.5 * np.maximum.outer(first["length_mm"].to_numpy(), second["length_mm"].to_numpy())
    cos = along @ axis.T
    unknown, vague = (t["generation"].isna().to_numpy() for t in (first, second))
    cos = np.where(unknown[:, None] | vague, np.abs(cos), cos)
    allowed = (across <= ASIDE_MM) & (np.abs(down) <= reach) & (cos >= MIN_COS)
    wide, wider = (np.log(t["lumen_diameter_mm"].to_numpy(float)) for t in (first, second))
    allowed &= ~(np.abs(wide[:, None] - wider[None]) > np.log(DIAMETER_RATIO))  # NaN is allowed
    cost = np.where(allowed, across**2 + 0.5 * down**2, _NO_PAIR)
    found = [
        (i, j) for i, j in zip(*optimize.linear_sum_assignment(cost), strict=True) if allowed[i, j]
    ]
    return found, np.array([across[i, j] for i, j in found])
