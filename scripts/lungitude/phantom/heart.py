"""Analytic heart over a cycle, in a patient's frame: sizes, pose, volumes (truth level T0).

The heart lives in local millimetres (s, p, l): s from the axis of the left ventricle (LV) towards
the right one (RV), p up along the anterior groove, l along the axis from apex to base; l = 0 is the
centre of the LV at end-diastole. A plane across the base parts the ventricles (below) from the
atria and great vessels (above), so that they cannot overlap; it descends in systole.

- LV: cavity and epicardium are ellipsoids with one centre, cut by the plane. The wall keeps its
  volume at every phase; the apex stays where it is.
- RV: circles in the short axis, whose centres lie off the axis, less the LV: a crescent. Its
  volume is an integral over closed areas.
- Atria: ellipsoids that the plane cuts; they fill as it descends.
"""

import dataclasses
import functools
import math

import numpy as np
from scipy import optimize
from scipy.spatial.transform import Rotation

from .heart_raster import RV_WALL_MM
from .record import stream

PHASES = 20
MUSCLE_G_PER_ML = 1.05
EDV_LIMITS_ML = (15.0, 600.0)

_EJECTED, _FILLING, _FILLED, _KICK, _END = 0.35, 0.40, 0.66, 0.80, 0.98
_EARLY = 0.72  # share of the stroke volume that fills early
_CUT = 0.5  # the plane cuts the cavity at half its long semi-axis above the centre
_SHORTENING = 0.20  # long semi-axis ~ volume^0.2: 16 % shorter at an ejection fraction of 58 %
_APEX_WALL = 0.8  # of the wall elsewhere
_RV_OFFSET, _RV_LENGTH = 0.85, 0.80  # of the epicardial semi-axes
_CENTRE_MM = np.array([16.0, -24.0, -50.0])  # as `anatomy.heart`, reference mm
_FRONT_MM = -76.0  # reference mm; the sternum lies before it
# From apex to base: to the right, back and up; towards the RV: to the right and front.
_LONG, _SIDE = np.array([-0.72, 0.45, 0.53]), np.array([-0.60, -0.80, 0.0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)
_THETA = 0.25 * math.pi * (_NODES + 1.0)


def solve(record):
    """Record whose `heart` meets the quantities lvm_g, ef_pct, sv_ml and agatston.

    Quantities that are not asked for are drawn from the patient's stream, the same at each visit.

    Raises
    ------
    ValueError
        The end-diastolic volume SV / EF is beyond what the anatomy can hold, or the calcium does
        not fit on the coronaries.
    """
    from . import calcium  # draws with `cardiac`, which is built on this module

    rng = stream(record.seed, record.usubjid, "heart")
    drawn = {
        "lvm_g": float(np.clip(rng.normal(140.0, 18.0), 90.0, 210.0)),
        "ef_pct": float(np.clip(rng.normal(58.0, 5.0), 45.0, 70.0)),
        "sv_ml": float(np.clip(rng.normal(70.0, 8.0), 45.0, 100.0)),
    }
    wanted = {name: float(record.quantities.get(name, value)) for name, value in drawn.items()}
    edv = 100.0 * wanted["sv_ml"] / wanted["ef_pct"]
    low, high = EDV_LIMITS_ML
    if not low <= edv <= high:
        raise ValueError(
            f"{record.usubjid} {record.avisit}: SV {wanted['sv_ml']:g} mL and EF "
            f"{wanted['ef_pct']:g} % make an end-diastolic volume of {edv:.0f} mL; "
            f"the heart of the phantom holds {low:g} to {high:g} mL"
        )
    esv = edv - wanted["sv_ml"]
    rv_ef = float(np.clip(0.9 * wanted["ef_pct"] / 100.0, 0.25, 0.65))
    rv_edv = wanted["sv_ml"] / rv_ef
    heart = {
        "edv_ml": edv,
        "esv_ml": esv,
        "lvm_g": wanted["lvm_g"],
        "rv_edv_ml": rv_edv,
        "rv_esv_ml": rv_edv - wanted["sv_ml"],
        "slenderness": float(rng.uniform(0.94, 1.06)),
        "rate_bpm": round(float(rng.uniform(55.0, 82.0)), 1),
        "turn_rad": (
            np.array([0.0, record.body["heart_turn"], 0.0]) + rng.normal(0.0, 0.06, 3)
        ).tolist(),
        "displacement_mm": [0.0, 0.0, 0.0],
    }
    heart["origin_mm"] = _place(heart, record, rng.normal(0.0, 2.0, 3)).tolist()
    return calcium.solve(dataclasses.replace(record, heart=heart))


def _place(heart, record, shift):
    """Patient's point (mm) of l = 0: the whole heart centred in the chest, behind the sternum."""
    side, _, long = axes(heart)
    now = _geometry(*_sizes(heart), 0.0)
    size = now["epi_a"] / 33.0
    middle_s = 0.5 * (now["rv_d"] + now["rv_q"] - now["epi_a"])
    middle_l = 0.5 * (now["base"] + 42.0 * size - now["epi_c"])
    origin = _CENTRE_MM * record.scale + shift - middle_s * side - middle_l * long
    front = origin + (now["rv_d"] + now["rv_q"] + RV_WALL_MM) * side
    origin[1] += max(_FRONT_MM * record.scale_xy - front[1], 0.0)
    return origin


def axes(heart):
    """Return the unit vectors s, p, l of the local frame as rows, in the patient's frame."""
    long = _LONG / np.linalg.norm(_LONG)
    side = _SIDE - (_SIDE @ long) * long
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(long, side), long])
    return Rotation.from_rotvec(heart["turn_rad"]).apply(frame)


def to_patient(heart, local):
    """Patient's points (x, y, z mm) of local ones (s, p, l mm); arrays (..., 3)."""
    shift = np.add(heart["origin_mm"], heart["displacement_mm"])
    return np.asarray(local) @ axes(heart) + shift


def to_local(heart, points):
    """Local points (s, p, l mm) of the patient's (x, y, z mm); the inverse of `to_patient`."""
    shift = np.add(heart["origin_mm"], heart["displacement_mm"])
    return (np.asarray(points) - shift) @ axes(heart).T


def emptied(phase):
    """Share of the stroke volume that is out of the ventricle at a phase of 0 to 1.

    Ejection to 0.35, early filling from 0.40, diastasis, and atrial filling from 0.80.
    """
    phase = np.mod(np.asarray(phase, dtype=float), 1.0)
    out = smoothstep(phase / _EJECTED)
    out = out - _EARLY * smoothstep((phase - _FILLING) / (_FILLED - _FILLING))
    return out - (1.0 - _EARLY) * smoothstep((phase - _KICK) / (_END - _KICK))


def smoothstep(u):
    """Cubic from 0 to 1, flat at both ends and beyond."""
    u = np.clip(u, 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


def lv_ml(heart, phase):
    """Cavity of the left ventricle in mL at a phase of 0 to 1."""
    return heart["edv_ml"] - (heart["edv_ml"] - heart["esv_ml"]) * emptied(phase)


def rv_ml(heart, phase):
    """Cavity of the right ventricle in mL at a phase of 0 to 1."""
    return heart["rv_edv_ml"] - (heart["rv_edv_ml"] - heart["rv_esv_ml"]) * emptied(phase)


def cut_ellipsoid_ml(a, b, c, height):
    """Volume in mL below a plane across an ellipsoid, semi-axes a, b, c and height in mm.

    V = pi a b c (2/3 + tau - tau^3 / 3) with tau = height / c.
    """
    tau = np.clip(height / c, -1.0, 1.0)
    return np.pi * a * b * c * (2.0 / 3.0 + tau - tau**3 / 3.0) / 1000.0


def crescent_ml(q, d, length, base, epi_a, epi_c, centre):
    """Volume in mL of the RV: circles (radius q g, offset d g, g^2 = 1 - u^2) less the LV's.

    u runs from 0 at the base to 1 at a depth of `length`; areas of lenses are closed, and a Gauss
    rule in the angle whose sine is u adds them up.
    """
    along = base - length * np.sin(_THETA)
    g = np.cos(_THETA)
    r = epi_a * np.sqrt(np.clip(1.0 - ((along - centre) / epi_c) ** 2, 0.0, None))
    area = np.pi * (q * g) ** 2 - _lens(q * g, r, d * g)
    return float(length * 0.25 * np.pi * np.sum(_WEIGHTS * area * g)) / 1000.0


def _lens(q, r, d):
    """Area that two circles share; radii q and r, distance d > 0."""
    x = np.clip((d * d + r * r - q * q) / (2.0 * d * np.maximum(r, 1e-9)), -1.0, 1.0)
    y = np.clip((d * d + q * q - r * r) / (2.0 * d * np.maximum(q, 1e-9)), -1.0, 1.0)
    area = r * r * (np.arccos(x) - x * np.sqrt(1.0 - x * x))
    return area + q * q * (np.arccos(y) - y * np.sqrt(1.0 - y * y))


def _sizes(heart):
    names = ("edv_ml", "esv_ml", "lvm_g", "rv_edv_ml", "rv_esv_ml", "slenderness")
    return tuple(heart[name] for name in names)


def geometry(heart, phase):
    """Local sizes of all chambers at a phase of 0 to 1, in mm.

    Returns
    -------
    dict of float
        LV: ``centre`` (l), cavity ``endo_a`` ``endo_c``, epicardium ``epi_a`` ``epi_c``, the plane
        ``base`` (l). RV: ``rv_q`` ``rv_d`` ``rv_length`` of `crescent_ml`. Atria: ``la_s`` ...
        ``la_l`` centres and ``la_a`` ``la_b`` ``la_c`` semi-axes, likewise ``ra_``. ``size``:
        epicardial radius at end-diastole over 33 mm, by which the great vessels scale.
    """
    return dict(_geometry(*_sizes(heart), float(phase) % 1.0))


@functools.lru_cache(maxsize=256)
def _geometry(edv, esv, lvm, rv_edv, rv_esv, slenderness, phase):
    gone = float(emptied(phase))
    left = _left(edv, edv - (edv - esv) * gone, lvm / MUSCLE_G_PER_ML, slenderness)
    first = left if phase == 0.0 else _left(edv, edv, lvm / MUSCLE_G_PER_ML, slenderness)
    shift = left["epi_c"] - first["epi_c"]  # the outer apex stays
    out = {**left, "centre": shift, "base": left["base"] + shift}
    out["rv_d"] = _RV_OFFSET * out["epi_a"]
    out["rv_length"] = out["base"] - (out["centre"] - _RV_LENGTH * out["epi_c"])
    volume = rv_edv - (rv_edv - rv_esv) * gone
    more = (out["rv_length"], out["base"], out["epi_a"], out["epi_c"], out["centre"])
    out["rv_q"] = optimize.brentq(
        lambda q: crescent_ml(q, out["rv_d"], *more) - volume, 1.0, 200.0, xtol=1e-9
    )
    size = first["epi_a"] / 33.0
    out["size"] = size
    # Where the atria meet: left of it the LA, right of it the RA.
    septum = 18.0 * size
    # Roofs stay, floors go with the plane: the atria lengthen as the ventricles empty.
    roof, floor = first["base"] + 42.0 * size, out["base"] - 10.0 * size
    middle, half = 0.5 * (roof + floor), 0.5 * (roof - floor)
    out.update(la_a=25.0 * size, la_b=22.0 * size, la_c=half)
    out.update(la_s=septum - 1.5 - out["la_a"], la_p=-7.0 * size, la_l=middle)
    out.update(ra_a=23.0 * size, ra_b=24.0 * size, ra_c=half)
    out.update(ra_s=septum + 1.5 + out["ra_a"], ra_p=-15.0 * size, ra_l=middle)
    return out


def _left(edv, volume, muscle_ml, slenderness):
    """Cavity, wall and base plane of the LV at one volume, about its own centre."""
    form = slenderness * float(np.clip(2.4 * (edv / 120.0) ** -0.2, 1.4, 3.4))
    factor = 1000.0 / (math.pi * (2.0 / 3.0 + _CUT - _CUT**3 / 3.0))
    long = form * np.cbrt(edv * factor / form) * (volume / edv) ** _SHORTENING
    short = math.sqrt(volume * factor / long)
    base = _CUT * long

    def excess(wall):
        outer = cut_ellipsoid_ml(short + wall, short + wall, long + _APEX_WALL * wall, base)
        return outer - volume - muscle_ml

    wall = optimize.brentq(excess, 0.0, 120.0, xtol=1e-12)
    return {
        "endo_a": float(short),
        "endo_c": float(long),
        "epi_a": float(short + wall),
        "epi_c": float(long + _APEX_WALL * wall),
        "base": float(base),
    }


def parameters(heart, phase):
    """Pose and sizes at a phase as one array for the kernels.

    0-8 the axes s, p, l; 9-11 the origin; 12 centre, 13-16 endo_a endo_c epi_a epi_c, 17 base,
    18-20 rv_q rv_d rv_length, 21-26 and 27-32 s p l a b c of the left and the right atrium.
    """
    now = geometry(heart, phase)
    names = "centre endo_a endo_c epi_a epi_c base rv_q rv_d rv_length".split()
    names += [f"{atrium}_{part}" for atrium in ("la", "ra") for part in "splabc"]
    shift = np.add(heart["origin_mm"], heart["displacement_mm"])
    return np.concatenate([axes(heart).ravel(), shift, [now[name] for name in names]])


def truth(record):
    """Volumes of the heart from the record alone.

    Returns
    -------
    dict
        edv_ml esv_ml sv_ml ef_pct lvm_g, rv_edv_ml rv_esv_ml rv_ef_pct, and per phase of 0, 5, ...
        95 % the lists phase_pct lv_ml rv_ml myocardium_ml.
    """
    heart = record.heart
    phases = np.arange(PHASES) / PHASES
    sv, rv_sv = heart["edv_ml"] - heart["esv_ml"], heart["rv_edv_ml"] - heart["rv_esv_ml"]
    wall = heart["lvm_g"] / MUSCLE_G_PER_ML
    return {
        "edv_ml": heart["edv_ml"],
        "esv_ml": heart["esv_ml"],
        "sv_ml": sv,
        "ef_pct": 100.0 * sv / heart["edv_ml"],
        "lvm_g": heart["lvm_g"],
        "rv_edv_ml": heart["rv_edv_ml"],
        "rv_esv_ml": heart["rv_esv_ml"],
        "rv_ef_pct": 100.0 * rv_sv / heart["rv_edv_ml"],
        "phase_pct": (100.0 * phases).tolist(),
        "lv_ml": lv_ml(heart, phases).tolist(),
        "rv_ml": rv_ml(heart, phases).tolist(),
        "myocardium_ml": [wall] * PHASES,
    }
