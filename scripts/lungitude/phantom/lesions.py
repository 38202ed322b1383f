"""Lists of lesions of a patient: spheres in the lungs, of which a visit shows the first so many.

The lists come from streams that know the patient alone, so more disease contains less, sphere by
sphere. Emphysema is centrilobular and paraseptal; a patient's share of the latter (by volume of
the spheres) holds all along the list. Trapped air has a list of its own.
"""

import functools

import numpy as np

from . import anatomy
from .record import stream

CENTRILOBULAR, PARASEPTAL = 1, 2
SUBTYPES = {CENTRILOBULAR: "centrilobular", PARASEPTAL: "paraseptal"}
KINDS = ("emphysema", "trapped")

_BATCH = 16384
_FIRST_LENGTH = 1500

# Smallest and largest radius (mm); how deep under the pleura the centre lies, as least and most
# share of the radius (of paraseptal ones with their outer edge within 5 mm of the pleura); and of
# the logarithm of the preference, slope with height and contrast between the patient's better and
# worse parts.
_LISTS = {
    "emphysema": (2.8, 7.5, 1.0, np.inf, 1.3 / 120.0, 0.9),
    "paraseptal": (3.0, 9.0, 0.6, 1.15, 1.0 / 120.0, 0.9),
    "trapped": (6.0, 13.0, 0.2, np.inf, -0.4 / 120.0, 0.5),
}


def table(record, kind, count):
    """First `count` lesions of a patient.

    Parameters
    ----------
    record : Record
    kind : str
        ``emphysema`` or ``trapped``.
    count : int

    Returns
    -------
    dict of ndarray
        `centre` (n, 3) and `radius` (n,) in reference mm, and `subtype` (n,): of emphysema, codes
        of `SUBTYPES`, else 0.
    """
    if kind not in KINDS:
        raise ValueError(f"lesions {kind!r}: known are {', '.join(KINDS)}")
    body = tuple(sorted(record.body.items()))
    length = _FIRST_LENGTH  # few lengths, so that lists are made once
    while True:
        found = _table(record.seed, record.usubjid, body, kind, length)
        if len(found["radius"]) >= count:
            return {name: values[:count] for name, values in found.items()}
        length *= 3


@functools.lru_cache(maxsize=8)
def _table(seed, usubjid, body_items, kind, length):
    body = dict(body_items)
    centre, radius = _draw(seed, usubjid, body_items, kind, length)
    share = body.get("paraseptal", 0.0) if kind == "emphysema" else 0.0
    subtype = np.full(len(radius), CENTRILOBULAR if kind == "emphysema" else 0)
    if share > 0.0:
        others = max(int(length * min(share / (1.0 - share), 1.0)), 50)
        centre2, radius2 = _draw(seed, usubjid, body_items, "paraseptal", others)
        # Each list advances as its share of the volume: one order, however long the lists are.
        turn = np.cumsum(radius**3) / (1.0 - share)
        turn2 = np.cumsum(radius2**3) / share
        order = np.argsort(np.concatenate([turn, turn2]), kind="stable")
        order = order[
            : np.searchsorted(
                np.sort(np.concatenate([turn, turn2])), min(turn[-1], turn2[-1]), "right"
            )
        ]
        centre = np.concatenate([centre, centre2])[order]
        subtype = np.concatenate([subtype, np.full(len(radius2), PARASEPTAL)])[order]
        radius = np.concatenate([radius, radius2])[order]
    return {"centre": centre, "radius": radius, "subtype": subtype}


def _patchiness(rng):
    """Smooth field of about -1 to 1 over the lungs: where a patient's disease sits."""
    waves = rng.normal(scale=1.0 / 45.0, size=(6, 3))
    phases = rng.uniform(0.0, 2.0 * np.pi, 6)

    def field(points):
        return np.cos(points @ waves.T + phases).sum(axis=1) / np.sqrt(6.0)

    return field


@functools.lru_cache(maxsize=8)
def _draw(seed, usubjid, body_items, kind, count):
    """Spheres in the order of the stream, so a longer list begins with the shorter one."""
    body = dict(body_items)
    small, large, least, most, slope, contrast = _LISTS[kind]
    patchy = _patchiness(stream(seed, usubjid, "emphysema" if kind == "paraseptal" else kind))
    rng = stream(seed, usubjid, kind, "spheres")
    low, high = np.array([-135.0, -85.0, -125.0]), np.array([135.0, 90.0, 127.0])
    centres, radii, found = [], [], 0
    while found < count:
        points = rng.uniform(low, high, (_BATCH, 3))
        radius = rng.uniform(small, large, _BATCH)
        chance = np.exp(
            contrast * (patchy(points) - 1.5) + slope * points[:, 2] - abs(slope) * 120.0
        )
        keep = rng.uniform(size=_BATCH) < chance
        points, radius = points[keep], radius[keep]
        depth = anatomy.lungs(*points.T, body)
        keep = (depth > least * radius) & (depth < most * radius)
        centres.append(points[keep])
        radii.append(radius[keep])
        found += int(keep.sum())
    return np.concatenate(centres)[:count], np.concatenate(radii)[:count]
