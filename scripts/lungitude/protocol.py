"""The declared protocol of a series against what was scanned, at one visit and between visits.

Works on rows of quality.tsv alone, so the cohort needs no imaging library for it.
"""

from fnmatch import fnmatchcase

import pandas as pd

IDENTITY = ["USUBJID", "AVISIT", "SERIES"]

# Limits for a scan: beyond, a flag, never an exclusion.
LIMITS = {
    "slice_tolerance_mm": 0.1,
    "kv_tolerance": 1.0,
    "voxel_tolerance_mm": 0.01,
    "air_offset_hu": 30.0,  # of tracheal air from -1000 HU
    "noise_hu": 60.0,  # SD in tracheal air; above, LAA at -950 HU gains about 10 points
    "blood_low_hu": 20.0,  # of blood without contrast
    "blood_high_hu": 75.0,
    "contrast_blood_hu": 130.0,  # above, the blood holds contrast medium
    "motion_ratio": 2.0,  # still scans give 1.2 to 1.6, a shift of 3 mm 2.1 and more
    "lung_cut_mm2": 100.0,  # area of lung in an end slice: it goes on outside
    "border_pct": 0.5,  # of lung voxels on the border in the plane
    "slice_gap": 1.1,  # slice distance over thickness
}
# Limits for the change of a patient from the first visit of a series.
CHANGE_LIMITS = {
    "slice_mm": 0.1,
    "kv": 1.0,
    "voxel_mm": 0.05,  # a new field of view within 25 mm at a matrix of 512
    "spacing_z_mm": 0.1,
    "air_hu": 10.0,
    "blood_hu": 15.0,
    "noise_hu": 10.0,
}
CHANGE_TEXTS = ("kernel", "manufacturer", "model")
CHANGE_COLUMNS = [*IDENTITY, "reference_visit", "code", "text"]


def flags(row, declared):
    """Compare one scan with the limits and with the declared protocol of its series.

    Parameters
    ----------
    row : dict
        A row of quality.tsv, see `quality.measure`.
    declared : dict
        Any of ``kv`` (numbers allowed), ``slice_mm``, ``kernel`` (names or patterns allowed),
        ``contrast``, ``voxel_mm`` (largest in the plane), ``phase`` (inspiration, expiration,
        gated).

    Returns
    -------
    list of (str, str)
        Code and text of each deviation. What was declared but is not recorded in the scan is a
        deviation, too.
    """
    return [*declared_flags(row, declared), *_measured_flags(row, declared)]


def joined(found):
    """Return flags as one cell of a table: ``code: text``, apart by semicolons."""
    return "; ".join(f"{code}: {text}" for code, text in found)


def declared_flags(row, declared):
    """Return what of the declared protocol a scan does not keep; arguments as of `flags`."""
    found = []

    def compare(name, value, allowed, fits, unit):
        if allowed is None:
            return
        if pd.isna(value):
            found.append((name, f"not recorded (declared {_list(allowed)}{unit})"))
        elif not fits(value):
            shown = f"{value:g}" if isinstance(value, float) else value
            found.append((name, f"{shown}{unit} (declared {_list(allowed)}{unit})"))

    kv = declared.get("kv")
    kv = [kv] if isinstance(kv, (int, float)) else kv
    compare(
        "kv", row["kv"], kv, lambda v: any(abs(v - k) <= LIMITS["kv_tolerance"] for k in kv), " kV"
    )
    thickness = declared.get("slice_mm")
    compare(
        "slice_mm",
        row["slice_mm"],
        thickness,
        lambda v: abs(v - thickness) <= LIMITS["slice_tolerance_mm"],
        " mm",
    )
    kernels = declared.get("kernel")
    kernels = [kernels] if isinstance(kernels, str) else kernels
    compare(
        "kernel",
        row["kernel"],
        kernels,
        lambda v: any(fnmatchcase(str(v).casefold(), str(k).casefold()) for k in kernels),
        "",
    )
    voxel = declared.get("voxel_mm")
    if voxel is not None and row["voxel_mm"] > voxel + LIMITS["voxel_tolerance_mm"]:
        found.append(("voxel_mm", f"{row['voxel_mm']:g} mm (declared up to {voxel:g} mm)"))
    contrast = declared.get("contrast")
    if contrast is not None:
        tagged, blood = row["contrast"], row["blood_hu"]
        seen = None if pd.isna(blood) else bool(blood > LIMITS["contrast_blood_hu"])
        says = {True: "with", False: "without"}
        if not pd.isna(tagged) and bool(tagged) != contrast:
            found.append(
                (
                    "contrast",
                    f"header says {says[bool(tagged)]} contrast medium (declared {says[contrast]})",
                )
            )
        elif seen is not None and seen != contrast:
            found.append(
                (
                    "contrast",
                    f"blood of {blood:.0f} HU is {says[seen]} contrast medium "
                    f"(declared {says[contrast]})",
                )
            )
    return found


def _measured_flags(row, declared):
    found = []
    limit = LIMITS
    if declared.get("phase") != "gated":  # a heart scan is cropped by intent
        for end in ("top", "bottom"):
            area = row[f"cut_{end}_mm2"]
            if area > limit["lung_cut_mm2"]:
                text = f"lungs go on beyond the {end} slice ({area:.0f} mm2)"
                found.append((f"cropped_{end}", text))
        if row["border_pct"] > limit["border_pct"]:
            found.append(
                (
                    "cropped_sides",
                    f"{row['border_pct']:.1f} % of the lungs lie on the border of the field",
                )
            )
        if row["lungs_found"] == 1:
            found.append(("one_lung", "only one lung was found"))
    if row["slice_mm"] > 0 and row["spacing_z_mm"] > limit["slice_gap"] * row["slice_mm"]:
        text = (
            f"slices of {row['slice_mm']:g} mm lie {row['spacing_z_mm']:g} mm apart: "
            "lung between them is not seen"
        )
        found.append(("slice_gap", text))
    if abs(row["air_hu"] + 1000.0) > limit["air_offset_hu"]:
        found.append(("air_hu", f"tracheal air is {row['air_hu']:.0f} HU (expected -1000)"))
    if row["noise_hu"] > limit["noise_hu"]:
        found.append(("noise_hu", f"noise of {row['noise_hu']:.0f} HU in tracheal air"))
    blood = row["blood_hu"]
    plain = declared.get("contrast") is not True and blood <= limit["contrast_blood_hu"]
    if plain and not limit["blood_low_hu"] <= blood <= limit["blood_high_hu"]:
        found.append(
            (
                "blood_hu",
                f"aortic blood is {blood:.0f} HU (expected "
                f"{limit['blood_low_hu']:.0f} to {limit['blood_high_hu']:.0f})",
            )
        )
    if row["motion_ratio"] > limit["motion_ratio"]:
        text = (
            f"a step between slices {row['motion_ratio']:.1f} times the usual one "
            f"at {row['motion_z_mm']:.0f} mm: breathing or a shifted slice"
        )
        found.append(("motion", text))
    return found


def _list(allowed):
    if isinstance(allowed, (list, tuple)):
        return " or ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in allowed)
    return f"{allowed:g}" if isinstance(allowed, float) else str(allowed)


def changes_between_visits(table):
    """Find what changed in a patient's scans since the first visit of a series.

    Parameters
    ----------
    table : DataFrame
        quality.tsv of several scans; visits of a patient in their order.

    Returns
    -------
    DataFrame
        One row a change: USUBJID, AVISIT, SERIES, reference_visit, code (``change_kernel``), text.
        Changes beyond `CHANGE_LIMITS`; a value that is missing at either visit is no change.
    """
    rows = []
    if not len(table):
        return pd.DataFrame(rows, columns=CHANGE_COLUMNS)
    for (subject, series), scans in table.groupby(["USUBJID", "SERIES"], sort=False):
        records = scans.to_dict("records")
        first = records[0]
        for row in records[1:]:
            for name in CHANGE_TEXTS:
                before, now = first.get(name), row.get(name)
                if pd.isna(before) or pd.isna(now) or str(before) == str(now):
                    continue
                text = f"{before} to {now}"
                rows.append(
                    [subject, row["AVISIT"], series, first["AVISIT"], f"change_{name}", text]
                )
            for name, limit in CHANGE_LIMITS.items():
                before, now = first.get(name, float("nan")), row.get(name, float("nan"))
                if abs(now - before) > limit:
                    text = f"{before:.4g} to {now:.4g} (limit {limit:g})"
                    rows.append(
                        [subject, row["AVISIT"], series, first["AVISIT"], f"change_{name}", text]
                    )
    return pd.DataFrame(rows, columns=CHANGE_COLUMNS)


def with_changes(table):
    """Return quality.tsv of a trial with the changes between visits among the flags of a scan."""
    table = table.copy()
    table["flags"] = table["flags"].astype(object)
    for change in changes_between_visits(table).itertuples():
        here = (table[IDENTITY] == [change.USUBJID, change.AVISIT, change.SERIES]).all(axis=1)
        old = table.loc[here, "flags"].iloc[0]
        new = joined([(change.code, change.text)])
        table.loc[here, "flags"] = new if pd.isna(old) or old == "" else f"{old}; {new}"
        table.loc[here, "n_flags"] += 1
    return table
