"""The page on which a person judges what an export was taken for: undecided series come first."""

import base64
import io

from lungitude.reporting import pages
from lungitude.reporting.quality import printed

BUDGET_BYTES = 12_000_000  # of all pictures, as text
ROWS = 3000  # of series set aside; index.tsv has all
GREYS = 32
# What a card tells beside decision and reason, by column of index.tsv.
SHOWN = {
    "MODALITY": "Modality",
    "FILES": "Files",
    "POSITIONS": "Slice positions",
    "PHASES": "Cardiac phases",
    "SLICE_MM": "Slice thickness, mm",
    "STEP_MM": "Slice distance, mm",
    "EXTENT_MM": "Extent, mm",
    "VOXEL_MM": "Voxel in plane, mm",
    "KERNEL": "Kernel",
    "KV": "Tube voltage, kV",
    "CONTRAST": "Contrast medium",
    "MANUFACTURER": "Manufacturer",
    "MODEL": "Model",
    "WORDS": "Kinds of words",
    "ADY": "Day of the study",
}


def build(items, facts, counts, expected, lacking, config):
    """Return the page.

    Parameters
    ----------
    items : list of decisions.Item
    facts : DataFrame
        index.tsv, a row for each item.
    counts : mapping of str to int
        Files by kind.
    expected, lacking
        As of `decisions.expected`.
    config : dict
    """
    cards = [_card(item, row) for item, row in zip(items, facts.to_dict("records"), strict=True)]
    groups = {
        name: [card for card in cards if card["decision"] == decision]
        for name, decision in (
            ("undecided", "undecided"),
            ("taken", "taken"),
            ("aside", "set aside"),
        )
    }
    order = {visit["name"]: place for place, visit in enumerate(config["visits"])}
    # Files without a header are many, and most of them are label maps.
    groups["undecided"].sort(key=lambda c: c["code"] == "no header")
    groups["taken"].sort(key=lambda c: (c["subject"], order.get(c["visit"], 0), c["series"]))
    undrawn = _draw([*groups["undecided"], *groups["taken"]], items)
    codes = {}
    for name in ("undecided", "aside"):
        tally = {}
        for card in groups[name]:
            tally[card["code"]] = tally.get(card["code"], 0) + 1
        codes[name] = sorted(tally.items(), key=lambda pair: (-pair[1], pair[0]))
    missing = {}
    for subject, visit, series in lacking:
        missing.setdefault((subject, visit), []).append(series)
    return pages.render(
        "index.html.j2",
        trial={"title": config["title"], "synthetic": config["synthetic"]},
        groups=groups,
        rows=groups["aside"][:ROWS],
        codes=codes,
        counts=sorted((kind, n) for kind, n in counts.items() if n),
        expected=expected,
        missing=[(who, visit, ", ".join(names)) for (who, visit), names in missing.items()],
        undrawn=undrawn,
        unknown=len({item.unknown for item in items} - {0}),
    )


def _card(item, row):
    said = {name: printed(value) for name, value in row.items() if value is not None}
    return {
        "number": item.number,
        "decision": item.decision,
        "code": item.code,
        "reason": item.reason,
        "notes": [*dict.fromkeys(item.notes)],
        "subject": item.usubjid or (f"unknown {item.unknown}" if item.unknown else ""),
        "visit": item.visit,
        "series": item.series,
        "facts": [(label, said[name]) for name, label in SHOWN.items() if said.get(name)],
        "picture": None,
    }


def _draw(cards, items):
    """Give cards their pictures as long as there is room; return how many found none."""
    pictures = {item.number: item.picture for item in items}
    used = undrawn = 0
    for card in cards:
        picture = pictures[card["number"]]
        if picture is None:
            continue
        data = _encoded(picture)
        if used + len(data) > BUDGET_BYTES:
            undrawn += 1
            continue
        used += len(data)
        card["picture"] = {"data": data, "width": picture.width, "height": picture.height}
    return undrawn


def _encoded(picture):
    buffer = io.BytesIO()
    picture.quantize(GREYS).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
