"""The page on which a person judges every scan: pictures, numbers, flags, and what was excluded."""

import base64
import io
import math
from pathlib import Path

import pandas as pd
from PIL import Image

from lungitude import doubts
from lungitude.reporting import pages
from lungitude.reporting.report import exclusions, relative

BUDGET_BYTES = 14_000_000
TEXT_BYTES_PER_SCAN = 6000
WIDTHS = (900, 640, 480, 360, 240)
COLOURS = 128
IDENTITY = ("USUBJID", "AVISIT", "SERIES")
TRUST_NUMBERS = {
    "confidence": "Dice that the network expects",
    "distance": "Distance from its training",
    "dice": "Dice with the cross-check",
}
KINDS = {
    "prm": "Parametric response map",
    "exp_to_insp": "Registration of expiration",
    "to_baseline": "Registration to baseline",
    "heart_to_insp": "Registration of the heart",
}


def place(path):
    """Tell from where a file lies in the run what it shows.

    Parameters
    ----------
    path : path
        ``.../{subject}/{visit}/{series}/x`` or ``.../{subject}/{visit}_to_baseline/x``.

    Returns
    -------
    tuple of str
        Subject, visit in its path form, and series or kind of step.
    """
    parts = Path(path).parts
    if parts[-2].endswith("_to_baseline"):
        return parts[-3], parts[-2].removesuffix("_to_baseline"), "to_baseline"
    return parts[-4], parts[-3], parts[-2]


def build(
    pictures, registrations, quality, scans, visits, trial, digests, page, trust=None, viewers=False
):
    """Write the page.

    Parameters
    ----------
    pictures : list of path
        PNG files; empty ones (of excluded scans) are passed over.
    registrations : DataFrame
        One row a registration: USUBJID AVISIT, SERIES (which one), status stage reason, warnings
        (apart by semicolons; shown as flags), then its numbers.
    quality : DataFrame
        One row a scan; all its columns are shown. Columns named flag... are flags.
    scans : DataFrame
        One row a scan: USUBJID AVISIT SERIES status stage reason.
    visits : list of dict
        ``name`` and ``path`` of each visit, in order.
    trial : dict
        ``title synthetic data_cut``.
    digests : dict
        By name; printed in the footer.
    page : path
        Where the page will lie; links are relative to it.
    trust : DataFrame, optional
        What is told of the label maps that the run made, see `doubts.gather`.
    viewers : bool
        Whether each scan has a page of its own, to look through its slices.

    Returns
    -------
    str
        The page, below 15 MB: pictures are made smaller until it is.
    """
    pictures = [path for path in pictures if Path(path).stat().st_size]
    names = {visit["path"]: visit["name"] for visit in visits}
    blocks = _blocks(quality, scans, names)
    budget = BUDGET_BYTES - TEXT_BYTES_PER_SCAN * sum(len(b["scans"]) for b in blocks.values())
    for row in registrations.to_dict("records"):
        subject, visit, step = (text(row.get(name)) for name in IDENTITY)
        label = KINDS.get(step, step or "Registration")
        _block(blocks, subject, visit)["numbers"].append({"label": label, **_registration(row)})
    if viewers:
        _link_viewers(blocks, scans, visits)
    flagged = {key for key, block in blocks.items() if _flags(block)}
    thumbs = thumbnails(pictures, budget, {p for p in pictures if _key(p, names) in flagged})
    for path in pictures:
        subject, visit, step = place(path)
        block = _block(blocks, subject, names.get(visit, visit))
        picture = {
            "href": relative(path, page),
            "data": thumbs.get(path),
            "label": KINDS.get(step, step),
        }
        scan = next((s for s in block["scans"] if s["series"] == step), None)
        (scan["pictures"] if scan else block["steps"]).append(picture)
    order = {visit["name"]: index for index, visit in enumerate(visits)}
    shown = sorted(
        blocks.values(), key=lambda b: (b["subject"], order.get(b["visit"], len(order)), b["visit"])
    )
    return pages.render(
        "quality.html.j2",
        trial=trial,
        blocks=shown,
        excluded=exclusions(scans),
        counts=_counts(scans),
        left_out=sum(1 for p in pictures if thumbs.get(p) is None),
        flagged=[
            {
                "id": b["id"],
                "label": f"{b['subject']}, {b['visit']}",
                "flags": _flags(b),
            }
            for b in shown
            if _flags(b)
        ],
        trust=None if trust is None or trust.empty else _trust(trust),
        digests=[(name, str(value)[:16]) for name, value in digests.items()],
    )


def _link_viewers(blocks, scans, visits):
    """Give each scan of the trial the address of its page."""
    paths = {visit["name"]: visit["path"] for visit in visits}
    known = {tuple(row) for row in scans[list(IDENTITY)].to_numpy()} if len(scans) else set()
    for block in blocks.values():
        subject, visit = block["subject"], block["visit"]
        for scan in block["scans"]:
            if (subject, visit, scan["series"]) in known and visit in paths:
                scan["viewer"] = f"scans/{subject}/{paths[visit]}/{scan['series']}.html"


def _trust(table):
    """Sum up what is told of label maps by structure, and list those that are doubted."""
    told = {
        key: [f"{who}: {what}" for who, what in said] for key, said in doubts.words(table).items()
    }
    keys = pd.Series(list(table[doubts.KEY].itertuples(index=False, name=None)), table.index)
    lines = [
        {
            "by": by,
            "structure": structure,
            "scans": len(rows),
            "flagged": sum(key in told for key in keys[rows.index]),
            "spreads": [spread(rows[name]) for name in TRUST_NUMBERS],
        }
        for (by, structure), rows in table.groupby(["found_by", "STRUCTURE"], sort=False)
    ]
    return {
        "numbers": TRUST_NUMBERS.values(),
        "lines": lines,
        "flagged": [(*key, "; ".join(said)) for key, said in told.items()],
    }


def spread(values):
    """Return median and range of a column, as text; empty without a number."""
    values = pd.to_numeric(values).dropna()
    if not len(values):
        return ""
    return f"{values.median():.2f} ({values.min():.2f} to {values.max():.2f})"


def _key(path, names):
    subject, visit, _ = place(path)
    return subject, names.get(visit, visit)


def _block(blocks, subject, visit):
    """Return the block of a patient's visit, made when first asked for."""
    key = (subject, visit)
    if key not in blocks:
        blocks[key] = {
            "id": pages.anchor(subject, visit),
            "subject": subject,
            "visit": visit,
            "scans": [],
            "steps": [],
            "numbers": [],
        }
    return blocks[key]


def _registration(row):
    """Return flags and numbers of a registration, and why it is excluded, if it is."""
    excluded = text(row.get("status")) == "excluded"
    why = ": ".join(filter(None, (text(row.get("stage")), text(row.get("reason")))))
    warnings = [] if excluded else text(row.get("warnings")).split(";")
    said = {*IDENTITY, "status", "stage", "reason", "warnings"}
    return {
        "why": why if excluded else "",
        "flags": [warning.strip() for warning in warnings if warning.strip()],
        "numbers": [(name, printed(value)) for name, value in row.items() if name not in said],
    }


def _flags(block):
    """Return the flags of the scans and registrations of a block, each once."""
    found = [flag for part in ("scans", "numbers") for one in block[part] for flag in one["flags"]]
    return list(dict.fromkeys(found))


def _blocks(quality, scans, names):
    blocks = {}
    measured = {}
    for row in quality.to_dict("records"):
        measured.setdefault(tuple(text(row.get(name)) for name in IDENTITY), []).append(row)
    rows = scans.to_dict("records") if not scans.empty else []
    known = {tuple(text(row.get(name)) for name in IDENTITY) for row in rows}
    extra = [dict(zip(IDENTITY, key, strict=True)) for key in measured if key not in known]
    for row in [*rows, *extra]:
        subject, visit, series = (text(row.get(name)) for name in IDENTITY)
        lines = measured.get((subject, visit, series), [])
        excluded = text(row.get("status")) == "excluded"
        why = ": ".join(filter(None, (text(row.get("stage")), text(row.get("reason")))))
        numbers = [
            (name, printed(value))
            for line in lines
            for name, value in line.items()
            if name not in IDENTITY and not name.lower().startswith("flag")
        ]
        _block(blocks, subject, names.get(visit, visit))["scans"].append(
            {
                "series": series,
                "excluded": excluded,
                "why": why if excluded else "",
                "flags": [flag for line in lines for flag in flags(line)],
                "numbers": [(name, value) for name, value in numbers if value],
                "pictures": [],
            }
        )
    return blocks


def flags(row):
    """Return the flags of a row of the quality table.

    A column whose name begins with "flag" holds flags apart by semicolons, or says true or false
    of what its name says.
    """
    found = []
    for name, value in row.items():
        if not name.lower().startswith("flag"):
            continue
        said = text(value)
        if said.lower() in {"true", "1", "1.0"}:
            found.append(name[4:].strip("_") or name)
        elif said.lower() not in {"", "false", "0", "0.0", "ok", "none"}:
            found += [word.strip() for word in said.split(";") if word.strip()]
    return found


def printed(value):
    """Print a field: whole numbers whole, others to four digits, missing as nothing."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
    return text(value)


def text(value):
    """Return a field as text, empty when missing."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _counts(scans):
    """Count scans by visit, series and status."""
    if scans.empty:
        return []
    table = scans.groupby(["AVISIT", "SERIES"], sort=False)["status"]
    return [
        {
            "visit": visit,
            "series": series,
            "all": len(status),
            "excluded": int((status == "excluded").sum()),
        }
        for (visit, series), status in table
    ]


def thumbnails(pictures, budget, first=()):
    """Encode pictures small enough to fit a budget.

    Parameters
    ----------
    pictures : list of path
    budget : int
        Bytes of all of them together, as text of a page.
    first : collection of path
        Kept when not even the smallest size lets all pictures in.

    Returns
    -------
    dict of path to str
        Data URI of each picture that fits; None of one that can't be read. The others are absent.
    """
    sample = pictures[:: max(1, len(pictures) // 16)]
    for width in WIDTHS:
        tried = sum(len(encoded(path, width) or "") for path in sample)
        if tried * len(pictures) > 1.15 * budget * len(sample):
            continue
        found = {path: encoded(path, width) for path in pictures}
        if sum(len(data or "") for data in found.values()) <= budget:
            return found
    found, used = {}, 0
    for path in sorted(pictures, key=lambda p: p not in first):
        data = encoded(path, WIDTHS[-1])
        used += len(data or "")
        if used > budget:
            break
        found[path] = data
    return found


def encoded(path, width):
    """Encode a picture at a width in pixels (never enlarged) as a data URI; None if unreadable."""
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
    except OSError:
        return None
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    image = image.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
