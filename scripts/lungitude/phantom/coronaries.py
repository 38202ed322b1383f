"""Coronary arteries of the analytic heart, their territories, and blood flow in the myocardium.

Three centrelines follow the surface of the heart in material coordinates, so they move with the
phase: 1 left main and anterior descending (LAD), 2 circumflex (LCX), 3 right artery (RCA) with its
posterior descending branch.
"""

import numpy as np
from scipy import interpolate, ndimage

from . import heart as hearts
from . import heart_raster
from .record import stream

VESSELS = {1: "LAD", 2: "LCX", 3: "RCA"}
SAMPLES = 121
RADII_MM = (2.0, 1.0)  # at the ostium and at the end
AORTA_S, AORTA_P, AORTA_R = 10.0, 10.0, 12.0  # of the root at the base; mm times `size`

_CLEARANCE_MM = 2.8  # of a centreline above the surface: its radius and a little fat
_DIP_MM = 2.5  # SD of the bell by which a stenosis narrows
_MM_PER_POINT = 1.0
# American Heart Association segments; sectors from the anterior groove towards the septum.
_TERRITORY = np.array([0, 1, 1, 3, 3, 2, 2, 1, 1, 3, 3, 2, 2, 1, 1, 3, 2, 1])
_FLOW_ML_MIN_G = 2.4  # under stress


def draw_stenoses(record):
    """List of stenoses of a patient, the same at each visit: vessel, position (0-1), severity."""
    rng = stream(record.seed, record.usubjid, "stenoses")
    number = int(rng.binomial(3, 0.35))
    rows = zip(
        rng.choice([1, 1, 2, 3], 3),
        rng.uniform(0.15, 0.6, 3),
        rng.uniform(0.35, 0.85, 3),
        strict=True,
    )
    return [{"vessel": int(v), "position": float(p), "severity": float(s)} for v, p, s in rows][
        :number
    ]


def _surface(now, angle, share):
    """Points above the LV: angle from s to p, share of the way from the base to the apex."""
    a, c = now["epi_a"] + _CLEARANCE_MM, now["epi_c"] + _CLEARANCE_MM
    top = np.arccos(np.clip((now["centre"] - now["base"]) / c, -1.0, 1.0))
    theta = top * (1.0 - share)
    rho = a * np.sin(theta)
    along = now["centre"] - c * np.cos(theta)
    return np.stack([rho * np.cos(angle), rho * np.sin(angle), along], axis=-1)


def _groove(now, share):
    """Angle at which the outer wall of the RV meets the LV, a little to the LV's side."""
    along = _surface(now, 0.0, share)[..., 2]
    u = np.clip((now["base"] - along) / now["rv_length"], 0.0, 0.9)
    g = np.sqrt(1.0 - u * u)
    r = now["epi_a"] * np.sqrt(
        np.clip(1.0 - ((along - now["centre"]) / now["epi_c"]) ** 2, 0.05, None)
    )
    d, q = now["rv_d"] * g, now["rv_q"] * g + heart_raster.RV_WALL_MM
    angle = np.arccos(np.clip((d * d + r * r - q * q) / (2.0 * d * r), -1.0, 1.0))
    return np.clip(angle + 0.07, np.radians(65.0), np.radians(125.0))


def _controls(now):
    """Control points of the three vessels, local mm."""
    size, base = now["size"], now["base"]
    root = np.array([AORTA_S * size, AORTA_P * size, base])
    left = root + AORTA_R * size * np.array([np.cos(2.2), np.sin(2.2), 0.75])
    right = root + AORTA_R * size * np.array([1.0, 0.0, 0.75])
    share = np.array([0.14, 0.27, 0.4, 0.53, 0.66, 0.78, 0.88, 0.96])
    fork = _surface(now, np.maximum(_groove(now, np.array(0.0)), np.radians(100.0)), np.array(0.0))
    fork[2] += 2.0
    middle = 0.5 * (left + fork) + [-1.0 * size, 2.0 * size, 1.0]
    anterior = _surface(now, _groove(now, share), share)
    turn = np.radians([127.0, 152.0, 178.0, 203.0, 228.0, 246.0])
    around = np.add(_surface(now, turn, np.zeros(turn.size)), [0.0, 0.0, 1.5])

    ring = now["rv_q"] + heart_raster.RV_WALL_MM + _CLEARANCE_MM
    join = _groove(now, np.array(0.0))
    r = now["epi_a"] * np.sqrt(1.0 - ((base - now["centre"]) / now["epi_c"]) ** 2)
    crux = np.arctan2(-r * np.sin(join), r * np.cos(join) - now["rv_d"])
    turn = np.linspace(np.radians(22.0), np.clip(crux, *np.radians([-150.0, -100.0])), 6)
    circle = np.stack(
        [
            now["rv_d"] + ring * np.cos(turn),
            ring * np.sin(turn),
            np.linspace(base + 3.0, base + 1.5, 6),
        ],
        axis=1,
    )
    between = np.array([[34.0, 13.5, 8.0], [50.0, 14.5, 6.0]]) * size + [0.0, 0.0, base]
    lower = np.array([0.18, 0.32, 0.46, 0.6])
    posterior = _surface(now, -_groove(now, lower), lower)
    return {
        1: np.vstack([left, middle, fork, anterior]),
        2: np.vstack([fork, around]),
        3: np.vstack([right, between, circle, posterior]),
    }


def _lines(heart, phase):
    """Local points of the three centrelines, clear of the chambers' walls."""
    rest, now = _controls(hearts.geometry(heart, 0.0)), _controls(hearts.geometry(heart, phase))
    par = hearts.parameters(heart, phase)
    out = {}
    for vessel, controls in rest.items():
        chord = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(controls, axis=0), axis=1))]
        spline = interpolate.CubicSpline(chord, now[vessel], bc_type="natural")
        line = spline(np.linspace(0.0, chord[-1], SAMPLES))
        for smooth in (3.0, 2.0, 1.0):  # what is lifted must stay smooth
            before = line.copy()
            heart_raster.lift(line, _CLEARANCE_MM, par)
            line = before + ndimage.gaussian_filter1d(line - before, smooth, axis=0)
        out[vessel] = line
    return out


def centrelines(record, phase):
    """Centrelines of the coronary arteries at a phase of 0 to 1.

    Returns
    -------
    dict
        By vessel code: ``points`` (n, 3) in the patient's mm, ``radius`` of the lumen (n,) mm with
        stenoses, ``arc`` (n,) mm at end-diastole, ``tangent`` and ``outward`` (n, 3) unit vectors.
        Sample i is the same material point at each phase.
    """
    heart = record.heart
    now = hearts.geometry(heart, phase)
    moved, still = _lines(heart, phase), _lines(heart, 0.0)
    out = {}
    for vessel, at_rest in still.items():
        local = moved[vessel]
        arc = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(at_rest, axis=0), axis=1))]
        tangent = np.gradient(local, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        axis = np.stack([np.zeros(SAMPLES), np.zeros(SAMPLES), np.full(SAMPLES, now["centre"])], 1)
        if vessel == 3:  # about the RV
            axis[:, 0] = now["rv_d"]
        outward = local - axis
        outward -= np.sum(outward * tangent, axis=1, keepdims=True) * tangent
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        radius = np.interp(arc / arc[-1], [0.0, 1.0], RADII_MM)
        for stenosis in heart.get("stenoses", ()):
            if stenosis["vessel"] == vessel:
                away = (arc - stenosis["position"] * arc[-1]) / _DIP_MM
                radius = radius * (1.0 - stenosis["severity"] * np.exp(-0.5 * away**2))
        frame = hearts.axes(heart)
        out[vessel] = {
            "points": hearts.to_patient(heart, local),
            "radius": radius,
            "arc": arc,
            "tangent": tangent @ frame,
            "outward": outward @ frame,
        }
    return out


def plaque_shapes(record, phase, plaques=None, lines=None):
    """Centres, axes and density of the plaques at a phase of 0 to 1.

    A plaque is an ellipsoid whose centre lies on the wall of the lumen (where no stenosis is), one
    axis along the vessel and one along the radius. `plaques` stands for those of the record,
    `lines` for `centrelines` of it.

    Returns
    -------
    centre : ndarray, (n, 3)
        Patient's mm.
    frame : ndarray, (n, 3, 3)
        Rows: unit vectors along the vessel, along its radius, and across both.
    semi_mm : ndarray, (n, 3)
        Semi-axes along those.
    hu : ndarray, (n,)
    """
    plaques = record.heart["plaques"] if plaques is None else plaques
    lines = centrelines(record, phase) if lines is None else lines
    centre, frame = np.empty((len(plaques), 3)), np.empty((len(plaques), 3, 3))
    for n, plaque in enumerate(plaques):
        line = lines[plaque["vessel"]]
        arc = plaque["position"] * line["arc"][-1]
        point, tangent, outward = (
            np.array([np.interp(arc, line["arc"], line[name][:, i]) for i in range(3)])
            for name in ("points", "tangent", "outward")
        )
        tangent /= np.linalg.norm(tangent)
        outward -= (outward @ tangent) * tangent
        outward /= np.linalg.norm(outward)
        across = np.cross(tangent, outward)
        radial = np.cos(plaque["angle_rad"]) * outward + np.sin(plaque["angle_rad"]) * across
        centre[n] = point + np.interp(plaque["position"], [0.0, 1.0], RADII_MM) * radial
        frame[n] = tangent, radial, np.cross(tangent, radial)
    semi = np.array([plaque["semi_mm"] for plaque in plaques]).reshape(-1, 3)
    return centre, frame, semi, np.array([plaque["hu"] for plaque in plaques], dtype=float)


def segments(record, phase, points):
    """American Heart Association segment (1-17) of the patient's points (..., 3) in the LV wall.

    Thirds of the cavity's length, sixths of the circle (quarters at the apex) that begin at the
    anterior groove; 17 is the cap beyond the cavity. Only the place counts, not whether a point is
    in the wall.

    Source: Cerqueira et al. 2002, Circulation 105:539-542.
    """
    now = hearts.geometry(record.heart, phase)
    s, p, along = np.moveaxis(hearts.to_local(record.heart, points), -1, 0)
    height = (now["base"] - along) / (now["base"] - now["centre"] + now["endo_c"])
    turn = np.degrees(np.arctan2(p, s)) % 360.0
    # 1 anterior 60-120, 2 anteroseptal 0-60, 3 inferoseptal 300-360, 4 inferior 240-300, ...
    sixth = ((120.0 - turn) % 360.0 // 60.0).astype(int)
    quarter = ((135.0 - turn) % 360.0 // 90.0).astype(int)
    third = np.clip((3.0 * height).astype(int), 0, 2)
    segment = np.where(third == 2, 13 + quarter, 6 * third + 1 + sixth)
    return np.where(height > 1.0, 17, segment)


def territory(record, phase, points):
    """Vessel code (1-3) that feeds the patient's points (..., 3) of the LV wall."""
    return _TERRITORY[segments(record, phase, points)]


def blood_flow(record, phase, points):
    """Blood flow under stress at the patient's points (..., 3) of the LV wall, mL/min/g (T0).

    Downstream of a stenosis of more than 40 % of the diameter it falls, by up to 70 % at 95 %.
    """
    heart = record.heart
    now = hearts.geometry(heart, phase)
    fed = territory(record, phase, points)
    s, p, along = np.moveaxis(hearts.to_local(heart, points), -1, 0)
    flow = np.full(fed.shape, float(heart["flow_ml_min_g"]))
    lines = centrelines(record, phase)
    for stenosis in heart["stenoses"]:
        line = lines[stenosis["vessel"]]
        arc = stenosis["position"] * line["arc"][-1]
        place = np.array([np.interp(arc, line["arc"], line["points"][:, i]) for i in range(3)])
        place = hearts.to_local(heart, place)
        if stenosis["vessel"] == 2:  # it runs around the base
            beyond = now["epi_a"] * (np.arctan2(-p, -s) - np.arctan2(-place[1], -place[0]))
        else:  # before its groove an artery feeds all of its territory
            beyond = min(place[2], now["base"]) - along
        downstream = (fed == stenosis["vessel"]) / (1.0 + np.exp(-beyond / 3.0))
        loss = 0.7 * float(hearts.smoothstep((stenosis["severity"] - 0.4) / 0.55))
        flow = flow * (1.0 - loss * downstream)
    return flow


def draw_flow(record):
    """Blood flow (mL/min/g) of a patient's healthy myocardium under stress."""
    rng = stream(record.seed, record.usubjid, "flow")
    return float(np.clip(rng.normal(_FLOW_ML_MIN_G, 0.3), 1.6, 3.4))
