"""Figures of an evaluation by domain and GOLD grade, beside those of the publication."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lungitude.validation.imaging_summary import agreement

from . import scores
from .unseen import SEED

LEVEL = 0.95
SHUFFLES = 1000
ALL = "all"
# Structures whose scores are averaged within a patient first; the score of one that is absent, or
# that a fault took, is missing in the mean, too.
GROUPS = {
    "lobes": (("chest",), ("RUL", "RML", "RLL", "LUL with lingula", "LLL")),
    "ventricles and myocardium": (
        ("end-diastole", "end-systole"),
        ("LV blood", "LV myocardium", "RV blood"),
    ),
}


@dataclass(frozen=True)
class Quantity:
    """One biomarker; `truth`: column that it is judged by; `estimate`: that of a regression."""

    title: str
    unit: str
    decimals: int
    truth: str = "t0"
    estimate: str = "t1"
    told: str = ""


QUANTITIES = {
    "laa950_pct": Quantity("LAV %", "%", 2, "expected", told="T1 under the scan's noise"),
    "perc15_hu": Quantity("Perc15", "HU", 1, "expected", told="T1 under the scan's noise"),
    "mld_hu": Quantity("MLD", "HU", 1, "expected", told="T1 under the scan's noise"),
    "volume_ml": Quantity("Lung volume", "mL", 0, told="T0, volume of the record"),
    "wa_pct": Quantity("WA %", "%", 2, told="T0, all branches of the rule"),
    "pi10_mm": Quantity("Pi10", "mm", 3, told="T0, all branches of the rule"),
    "wa_used_pct": Quantity("WA % (same branches)", "%", 2, told="T0, branches measured"),
    "pi10_used_mm": Quantity("Pi10 (same branches)", "mm", 3, told="T0, branches measured"),
    "n_branches": Quantity("Branches that count", "", 0, told="T0, branches of the rule"),
    "bv5_pct": Quantity("BV5 %", "%", 2, told="T0, all visible vessels"),
    "fractal_dimension": Quantity("Fractal dimension", "", 4, told="T0, all visible vessels"),
    "tbv_ml": Quantity("TBV", "mL", 1, told="T0, all visible vessels"),
    "agatston": Quantity("CACS", "AU", 1, "t1", told="T1, true regions"),
    "lvm_g": Quantity("LVM", "g", 1, told="T0"),
    "ef_pct": Quantity("EF", "%", 2, told="T0"),
    "sv_ml": Quantity("SV", "mL", 1, told="T0"),
    "edv_ml": Quantity("EDV", "mL", 1, told="T0"),
    "esv_ml": Quantity("ESV", "mL", 1, told="T0"),
    "wall_pct": Quantity("Wall, % of airway voxels", "%", 2, told="true label map"),
    "vessel_pct": Quantity("Vessels, % of the lungs", "%", 2, told="true label map"),
    "artery_pct": Quantity("Arteries, % of vessels", "%", 2, told="true label map"),
    "lv_ml": Quantity("LV cavity at 75 %", "mL", 1, estimate="t0", told="T0"),
    "rv_ml": Quantity("RV cavity at 75 %", "mL", 1, estimate="t0", told="T0"),
    "myocardium_ml": Quantity("Myocardium", "mL", 1, estimate="t0", told="T0"),
}
# Of the publication: r and RMSE by domain (sections 3.2.2 and 3.2.4, Table 2), in the units above.
PUBLISHED = {
    "laa950_pct": {"internal": (0.93, 2.3), "external": (0.91, 2.7)},
    "perc15_hu": {"internal": (0.91, 6.0), "external": (0.89, 7.0)},
    "mld_hu": {"internal": (0.90, 8.0), "external": (0.88, 9.0)},
    "wa_pct": {"internal": (0.88, 1.8), "external": (0.86, 2.0)},
    "pi10_mm": {"internal": (0.87, 0.12), "external": (0.85, 0.13)},
    "bv5_pct": {"internal": (0.86, 2.5), "external": (0.84, 2.7)},
    "fractal_dimension": {"internal": (0.84, 0.03), "external": (0.82, 0.03)},
    "agatston": {"internal": (0.92, 12.0), "external": (0.90, 14.0)},
    "lvm_g": {"internal": (0.89, 8.0), "external": (0.87, 9.0)},
    "ef_pct": {"internal": (0.90, 3.0), "external": (0.88, 4.0)},
    "sv_ml": {"internal": (0.88, 5.0), "external": (0.86, 6.0)},
}
# Dice and IoU (section 3.2.1); of the external domain none are published.
PUBLISHED_OVERLAP = {
    "lobes": {"dice": 0.95, "iou": 0.90},
    "airways": {"dice": 0.87, "iou": 0.78},
    "ventricles and myocardium": {"dice": 0.92, "iou": 0.85},
}

KEYS = "kind domain grade scan structure item quantity source reference".split()
COUNTS = "n missing absent infinite".split()
MEANS = "mean sd ci_low ci_high median".split()
PAIRS = (
    "r r_ci_low r_ci_high rmse rmse_ci_low rmse_ci_high bias bias_ci_low bias_ci_high "
    "icc icc_ci_low icc_ci_high loa_low loa_high shuffled_r shuffled_low shuffled_high"
).split()
AGAINST = "published published_rmse reached rmse_reached".split()
COLUMNS = [*KEYS, *COUNTS, *MEANS, *PAIRS, *AGAINST, "note"]
TEXT = [*KEYS, "reached", "rmse_reached", "note"]


def summary(rows, seed=SEED):
    """Summarise the rows of all patients.

    Parameters
    ----------
    rows : DataFrame
        Of `evaluation.measure`, of one domain or more.
    seed : int
        Of bootstrap and shuffles; the same seed gives the same table.

    Returns
    -------
    DataFrame
        `COLUMNS`; each domain over all patients (grade ``all``) and by grade. kind: the kinds of
        the rows, and ``cases`` (n patients), ``facts`` (digest of the weights in note), ``fault``
        (n scans that failed with the reason in note, which are missing elsewhere).

        ``overlap``, ``tree``, ``generation``, ``topology``, ``trust`` (distance): mean, sd, its
        interval by t, and median over the n patients that have a value. absent: neither found nor
        true, so that there is no score; missing: no value for another reason; infinite: distances
        to a structure that was missed, which make a mean infinite.

        ``biomarker`` and ``trust`` (confidence): of measured against `reference`, over n pairs: r
        with its interval by Fisher's z, rmse with one by bootstrap (BCa), bias with one by t,
        ICC(A,1), limits of agreement, and mean and SD of the reference. missing: nothing measured
        though the truth is known. shuffled: mean and range of 95 % of r where truths are permuted
        over the patients.

        published and published_rmse: r or mean overlap, and RMSE; reached, rmse_reached: ``yes`` or
        ``no``, by the estimate itself.
    """
    whole = rows[rows["kind"] != "fault"]
    whole = pd.concat([whole, grouped(whole)], ignore_index=True)
    found = []
    for domain in dict.fromkeys(rows["domain"]):
        of_domain = whole[whole["domain"] == domain]
        patients = rows.loc[rows["domain"] == domain, ["case", "grade"]].drop_duplicates()
        for grade in (ALL, *sorted(set(patients["grade"]))):
            some, who = of_domain, patients
            if grade != ALL:
                some, who = of_domain[of_domain["grade"] == grade], who[who["grade"] == grade]
            names = {"domain": domain, "grade": grade}
            found.append({"kind": "cases", "n": len(who), **names})
            found += [{**names, **row} for row in _of_patients(some, len(who), domain, seed)]
    found += _faults(rows)
    digests = sorted({str(text) for text in rows["weights"]})
    found.append({"kind": "facts", "n": len(digests), "note": ", ".join(digests)})
    table = pd.DataFrame(found).reindex(columns=COLUMNS)
    table[TEXT] = table[TEXT].fillna("")
    return table.astype(dict.fromkeys([*COUNTS, *MEANS, *PAIRS, *AGAINST[:2]], float))


def grouped(rows, groups=GROUPS):
    """Mean overlap of each patient over the structures of groups such as `GROUPS`, as rows."""
    parts = []
    rows = rows[(rows["kind"] == "overlap") & rows["quantity"].isin(["dice", "iou"])]
    for name, (scans, structures) in groups.items():
        some = rows[rows["scan"].isin(scans) & rows["structure"].isin(structures)]
        keys = ["case", "domain", "grade", "protocol", "weights", "quantity"]
        means = some.groupby(keys, sort=False)["measured"].agg(["mean", "count"]).reset_index()
        whole = means["count"] == len(scans) * len(structures)
        means["measured"] = means["mean"].where(whole)
        parts.append(
            means.drop(columns=["mean", "count"]).assign(
                kind="overlap", scan=scans[0].split("-")[0], structure=name, source="network"
            )
        )
    found = pd.concat(parts, ignore_index=True)
    found.loc[found["scan"] == "end", "scan"] = "gated"
    return found.assign(item="", note="", t1=np.nan, t0=np.nan, expected=np.nan)


def _of_patients(rows, patients, domain, seed):
    keys = ["kind", "scan", "structure", "item", "quantity", "source"]
    for names, part in rows.groupby(keys, sort=False):
        named = dict(zip(keys, names, strict=True))
        pairs = named["kind"] == "biomarker" or named["quantity"] == "confidence"
        if pairs:
            yield named | _pairs(part, named, patients, domain, seed)
        else:
            yield named | _means(part, named, patients, domain)


def _means(part, named, patients, domain):
    values = part["measured"].to_numpy(float)
    absent = int((np.isnan(values) & (part["note"] == "absent").to_numpy()).sum())
    values = values[~np.isnan(values)]
    n = len(values)
    # Of a generation, patients without one have no row.
    expected = len(part) if named["kind"] == "generation" else patients
    row = {"n": n, "missing": expected - n - absent, "absent": absent}
    row["infinite"] = int(np.isinf(values).sum())
    if n:
        row |= _mean(values)
    known = PUBLISHED_OVERLAP.get(named["structure"], {}).get(named["quantity"])
    if known is not None and domain == "internal" and named["kind"] == "overlap" and n:
        row |= {"published": known, "reached": _yes(row["mean"] >= known)}
    return row


def _mean(values):
    """Mean with SD and interval by t, and median."""
    row = {"mean": float(values.mean()), "median": float(np.median(values))}
    if len(values) > 1 and np.isfinite(values).all():
        row["sd"] = float(values.std(ddof=1))
        half = stats.t.ppf(0.5 + LEVEL / 2, len(values) - 1) * row["sd"] / np.sqrt(len(values))
        row |= {"ci_low": row["mean"] - half, "ci_high": row["mean"] + half}
    return row


def _pairs(part, named, patients, domain, seed):
    reference = reference_of(named["quantity"], named["source"])
    known = part[part[reference].notna()]
    pairs = known.dropna(subset=["measured"])
    x, y = (pairs[name].to_numpy(float) for name in ("measured", reference))
    row = {"reference": reference, "n": len(x), "absent": 0, "infinite": 0}
    # A patient whose scan failed has no row at all.
    row["missing"] = patients - len(x) - int(part[reference].isna().sum())
    if len(y):
        row |= _mean(y)
    if len(x) >= scores.FEWEST and np.ptp(y) > 0:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="accuracy: measured is constant")
            row |= scores.interval_of_r(x, y, seed, LEVEL).iloc[0].drop("n").to_dict()
        of_both = agreement(x, y, np.arange(len(x)))
        names = ("icc", "icc_ci_low", "icc_ci_high", "loa_low", "loa_high")
        row |= {name: of_both.get(name, np.nan) for name in names}
        row |= shuffled(x, y, seed)
    if named["source"] == "network" and domain in PUBLISHED.get(named["quantity"], {}):
        r, rmse = PUBLISHED[named["quantity"]][domain]
        row |= {"published": r, "published_rmse": rmse}
        if "rmse" in row:
            row["reached"] = _yes(row["r"] >= r)
            row["rmse_reached"] = _yes(row["rmse"] <= rmse)
    return row


def reference_of(quantity, source):
    """Return the column of the truth that a quantity is judged by."""
    if quantity == "confidence":
        return "t1"
    spec = QUANTITIES[quantity]
    return spec.estimate if source == "estimate" else spec.truth


def shuffled(measured, truth, seed=SEED, times=SHUFFLES):
    """Correlation with truths permuted over the patients: what chance alone would give.

    Returns
    -------
    dict
        shuffled_r, the mean over permutations (0, but for chance), shuffled_low and shuffled_high,
        ends of the middle 95 %; NaN where either is constant.
    """
    x, y = np.asarray(measured, float), np.asarray(truth, float)
    names = ("shuffled_r", "shuffled_low", "shuffled_high")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return dict.fromkeys(names, np.nan)
    rng = np.random.default_rng(seed)
    x, y = ((v - v.mean()) / np.linalg.norm(v - v.mean()) for v in (x, y))
    found = rng.permuted(np.tile(y, (times, 1)), axis=1) @ x
    low, high = np.quantile(found, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return dict(zip(names, map(float, (found.mean(), low, high)), strict=True))


def _yes(reached):
    return "yes" if reached else "no"


def _faults(rows):
    """Count the scans that failed, by reason; with the first patient."""
    some = rows[rows["kind"] == "fault"]
    keys = ["domain", "scan", "note"]
    counts = some.groupby(keys, sort=False).agg(n=("case", "size"), case=("case", "min"))
    return [
        {
            "kind": "fault",
            "domain": domain,
            "grade": ALL,
            "scan": scan,
            "n": row["n"],
            "note": f"{row['case']}: {note}",
        }
        for (domain, scan, note), row in counts.iterrows()
    ]
