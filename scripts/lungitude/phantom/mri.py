"""Chest MRI of a phantom patient: T1-weighted volumes, perfusion maps, contrast dynamics.

The anatomy, lesions and vessels are those of the CT (`render`), at inspiration. Signal is linear in
what a voxel holds: lung and airway walls give `SIGNAL_PER_DENSITY` of their density, every other
tissue its own signal. Muscle is 1000 in VIBE and dynamic images; perfusion maps keep their units.
"""

import dataclasses
import math

import numba
import numpy as np
from scipy import ndimage, special

from . import anatomy, grids, raster
from . import render as ct
from .record import stream
from .truth import EMPHYSEMA_BELOW_HU, TRAPPED_BELOW_HU, map_points
from .view import View

SEQUENCES = ("vibe", "post_vibe", "irmax", "pbf", "dce")
PRM = {1: "normal", 2: "fSAD", 3: "emphysema", 4: "other"}
MUSCLE = 1000.0
# Times CT density in g/mL: 0.08 to 0.15 of muscle at 100 to 190 g/L.
SIGNAL_PER_DENSITY = 0.8 * MUSCLE
BLOOD, BLOOD_GAIN = 0.5 * MUSCLE, 3.0  # blood before contrast; its factor after
PARENCHYMA_GAIN = 0.004  # relative rise of parenchyma after contrast per mL/100 mL/min
VIBE_SNR = 30.0  # of muscle
SIGMA_MM = 0.8  # point spread beside the voxel's own box
COIL = 0.3  # largest departure of the coils' sensitivity from 1
IRMAX_PER_PBV = 10.0
VESSEL_PBF, VESSEL_PBV = 600.0, 60.0  # what the maps show in blood, mL/100 mL(/min)
GRAVITY = 0.004  # rise of blood flow per reference mm towards the back (supine)
FSAD_LOSS = 0.3  # share of flow lost in trapped air where the disease is fully visible
HEALTHY_MTT_S, DISEASED_MTT_S = 4.0, 6.0
PERFUSION_BLUR_MM = (3.5, 2.0, 2.0)  # z, y, x: reconstruction, and drift of the diaphragm
TRANSIT_STEPS = 8  # residue functions differ in so many delays and mean transit times

DCE_VOXEL_MM = (4.0, 5.0, 4.0)
DYNAMICS, INTERVAL_S = 30, 1.2
ARRIVAL_S, SHAPE, WIDTH_S = 3.0, 3, 1.3  # gamma-variate input of the lungs
SYSTEMIC_DELAY_S = 1.0
BLOOD_ENHANCEMENT = 3000.0  # signal of blood at the peak of the input

_SLICE_STEP_MM = 1.6
_EXP_VOXEL_MM = (2.5, 2.5, 2.5)


@dataclasses.dataclass(frozen=True)
class Sequence:
    """One MR sequence of one visit.

    `phase` its name; `t1` noiseless signal float32 and `image` as delivered, int16: (z, y, x), of
    ``dce`` (time, z, y, x) at `times_s`; `lobes` as in `render.Scan`, `truth` maps by name, shared
    by the sequences of a grid: see `render`; `noise_sd` the noise of each of both channels.
    """

    record: object
    phase: str
    grid: grids.Grid
    t1: np.ndarray
    image: np.ndarray
    lobes: np.ndarray
    truth: dict
    noise_sd: float
    times_s: np.ndarray = None
    modality: str = "MR"


# Channels of what is painted: CT density of all but lung (g/mL), signal before contrast, blood with
# the input of the lungs, blood with the aorta's, share of the voxel that is parenchyma.
_DENSITY, _SIGNAL, _PULMONARY, _SYSTEMIC, _LUNG = range(5)
_TISSUES = {
    "fat": (0.905, 1.5 * MUSCLE, 0.0, 0.0, 0.0),
    "muscle": (1.045, MUSCLE, 0.0, 0.0, 0.0),
    "liver": (1.055, 1.2 * MUSCLE, 0.0, 0.25, 0.0),
    "mediastinum": (0.94, 1.4 * MUSCLE, 0.0, 0.0, 0.0),
    "myocardium": (1.042, 0.9 * MUSCLE, 0.0, 0.1, 0.0),
    "right heart": (1.042, BLOOD, 1.0, 0.0, 0.0),
    "left heart": (1.042, BLOOD, 0.0, 1.0, 0.0),
    "aorta": (1.045, BLOOD, 0.0, 1.0, 0.0),
    "rib": (1.38, 0.6 * MUSCLE, 0.0, 0.0, 0.0),
    "vertebra": (1.24, 1.1 * MUSCLE, 0.0, 0.0, 0.0),
    "disc": (1.08, 0.6 * MUSCLE, 0.0, 0.0, 0.0),
    "lung": (0.0, 0.0, 0.0, 0.0, 1.0),
    "vessel": (1.045, BLOOD, 1.0, 0.0, 0.0),
    "air": (0.0, 0.0, 0.0, 0.0, 0.0),
}


@numba.njit(cache=True)
def _paint(channels, depth, sigma, values):
    """Paint a tissue over what is there, where `depth` (mm, positive inside) says; in place."""
    scale = 1.0 / (sigma * math.sqrt(2.0))
    for k in range(depth.shape[0]):
        for j in range(depth.shape[1]):
            for i in range(depth.shape[2]):
                t = depth[k, j, i] * scale
                if t > -2.2:
                    c = np.float32(1.0) if t > 2.2 else np.float32(0.5 * (1.0 + math.erf(t)))
                    for n in range(values.size):
                        channels[n, k, j, i] += c * (values[n] - channels[n, k, j, i])


@numba.njit(cache=True)
def _paint_cover(channels, cover, values):
    """Paint a tissue by its coverage, 0 to 1; in place."""
    c = cover.ravel()
    for i in range(c.size):
        if c[i] > 0:
            for n in range(values.size):
                channels[n, i] += c[i] * (values[n] - channels[n, i])


def _layers(view):
    """Tissue and depth on the coarse grid, from the skin inwards, as the CT is painted."""
    body, at = view.record.body, view.coarse_reference
    skin, heart = anatomy.torso(*at), view.heart
    septum = -0.8 * (at[0] - 16.0) - 0.6 * (at[1] + 24.0)  # from the heart's middle to its right
    yield "fat", skin
    yield "muscle", skin - body["fat_mm"]
    yield "liver", anatomy.abdomen(*at, body)
    yield "mediastinum", view.between
    yield "myocardium", heart
    yield "right heart", np.minimum(heart - 5.0, septum - 4.0)
    yield "left heart", np.minimum(heart - 10.0, -septum - 6.0)
    yield "aorta", view.aorta
    yield "rib", anatomy.ribs(*at)
    yield "vertebra", anatomy.spine(*at)
    yield "disc", anatomy.discs(*at)
    yield "lung", np.maximum(*(anatomy.lung(*at, side, body, view.between) for side in (-1, 1)))


def _channels(scan):
    """Paint the tissues of a CT scan's grid: (channel, z, y, x) float32."""
    view = View(scan.record, scan.phase, scan.grid)
    channels = np.zeros((5, *scan.grid.shape), np.float32)
    values = {name: np.array(row, np.float32) for name, row in _TISSUES.items()}
    for tissue, depth in _layers(view):
        depth = view.distance(depth)
        near = np.argwhere(depth > -4.0 * view.sigma_mm)
        if near.size:
            # Only the box around the tissue: coarse point n lies at voxel n * every.
            first = np.maximum(near.min(axis=0) - 1, 0)
            last = np.minimum(near.max(axis=0) + 1, np.array(depth.shape) - 1)
            part = depth[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
            start, stop = first * view.every, np.minimum(last * view.every, scan.grid.shape)
            voxels = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
            fine = raster.upsample(
                np.ascontiguousarray(part), tuple((stop - start).tolist()), view.every
            )
            _paint(channels[:, *voxels], fine, view.sigma_mm, values[tissue])
    flat = channels.reshape(5, -1)
    _paint_cover(flat, scan.covers["vessels"], values["vessel"])
    _paint_cover(flat, scan.covers["lumen"], values["air"])
    return channels


def _slabs(fine, number):
    """Mean over each `number` thin slices along y."""
    if number == 1:
        return fine
    *more, nz, ny, nx = fine.shape
    return fine.reshape(*more, nz, ny // number, number, nx).mean(axis=-2)


def _perfusion(record, grid, emphysema, trapped, pi):
    """Blood flow of parenchyma (mL/100 mL/min), mean transit time and delay (s) at the voxels.

    Flow is the patient's own level, the same at each visit, with gravity, a mild patchiness and
    the loss by disease; transit time and delay come in steps, so that curves can be tabled.
    """
    rng = stream(record.seed, record.usubjid, "perfusion")
    level = rng.uniform(120.0, 180.0)
    waves, starts = rng.normal(scale=1.0 / 30.0, size=(6, 3)), rng.uniform(0, 2 * np.pi, 6)
    view = View(record, "insp", grid)
    x, y, z = (view.full(p) for p in view.coarse_reference)
    patchy = sum(
        np.cos(k[0] * x + k[1] * y + k[2] * z + p) for k, p in zip(waves, starts, strict=True)
    )
    flow = level * (1.0 + GRAVITY * y) * (1.0 + 0.04 * patchy)
    hilum = np.sqrt((np.abs(x) - 40.0) ** 2 + (y - 10.0) ** 2 + (z - 10.0) ** 2)
    flow, hilum = view.at_voxels(flow), view.at_voxels(hilum)
    flow *= (1.0 - emphysema) * (1.0 - np.float32(FSAD_LOSS * pi) * trapped)
    step = 1.0 / (TRANSIT_STEPS - 1)
    slow, late = (
        step * np.rint(np.clip(share, 0, 1) / step) for share in (emphysema, hilum / 120.0)
    )
    mtt = HEALTHY_MTT_S + (DISEASED_MTT_S - HEALTHY_MTT_S) * slow
    return flow, mtt, 0.2 + 1.8 * late


def prm_classes(insp, exp, step=1):
    """PRM class by noiseless CT and the true deformation.

    Parameters
    ----------
    insp, exp : render.Scan
        Of one record; their grids may differ.
    step : int
        Use each `step`-th slice along y, the middle one first.

    Returns
    -------
    ndarray of uint8, (z, y / step, x)
        Codes of `PRM`, 0 outside the lungs.
    """
    rows = slice(step // 2, None, step)
    inside = insp.lobes[:, rows] > 0
    index = np.argwhere(inside)[:, ::-1] * (1, step, 1) + (0, step // 2, 0)
    points = np.array(insp.grid.origin_mm) + index * np.array(insp.grid.spacing_mm)
    moved = map_points(insp.record, "insp", exp.record, "exp", points)
    from_exp = ndimage.map_coordinates(exp.t1, exp.grid.index(moved).T, order=1, mode="nearest")
    low = insp.t1[:, rows][inside] < EMPHYSEMA_BELOW_HU
    held = from_exp < TRAPPED_BELOW_HU
    classes = np.zeros(inside.shape, np.uint8)
    classes[inside] = np.where(low, np.where(held, 3, 4), np.where(held, 2, 1))
    return classes


@dataclasses.dataclass(frozen=True)
class _Scene:
    """What the sequences of one grid see, after averaging over the slice."""

    grid: grids.Grid
    lobes: np.ndarray
    channels: np.ndarray
    parenchyma: np.ndarray  # signal before contrast
    truth: dict


def _scene(record, exp, voxel_mm, pi):
    number = max(1, 2 * round((voxel_mm[1] / _SLICE_STEP_MM - 1.0) / 2.0) + 1)  # odd
    thin = (voxel_mm[0], voxel_mm[1] / number, voxel_mm[2])
    chest = grids.chest(record, "insp", thin)
    nz, ny, nx = chest.shape
    scan = ct.render_box(
        record, "insp", dataclasses.replace(chest, shape=(nz, ny // number * number, nx))
    )
    x, y, z = chest.origin_mm
    grid = grids.Grid(
        (x, y + 0.5 * (number - 1) * thin[1], z),
        tuple(float(mm) for mm in voxel_mm),
        (nz, ny // number, nx),
    )
    fine = _channels(scan)
    lung = np.maximum(scan.t1 / 1000.0 + 1.0 - fine[_DENSITY], 0.0)
    lung[fine[_LUNG] <= 0.0] = 0.0  # the table gives no signal
    channels, lung = _slabs(fine, number), _slabs(lung, number)
    cover = scan.covers
    emphysema, trapped, vessels = (
        _slabs(part, number)
        for part in (cover["emphysema"], cover["trapped"], cover["vessels"] * (1 - cover["lumen"]))
    )
    flow, mtt, delay = _perfusion(record, grid, emphysema, trapped, pi)
    inside = channels[_LUNG] > 0.01
    truth = {
        "pbf": np.where(inside, flow, 0.0).astype(np.float32),
        "mtt": np.where(inside, mtt, 0.0).astype(np.float32),
        "delay": np.where(inside, delay, 0.0).astype(np.float32),
        "parenchyma": channels[_LUNG],
        "vessels": vessels,
        "emphysema": emphysema,
        "trapped": trapped,
        "prm": prm_classes(scan, exp, number),
    }
    truth["pbv"] = truth["pbf"] * truth["mtt"] / np.float32(60.0)
    lobes = np.ascontiguousarray(scan.lobes[:, number // 2 :: number])
    return _Scene(grid, lobes, channels, np.float32(SIGNAL_PER_DENSITY) * lung, truth)


def gamma_variate(t_s):
    """Arterial input of the lungs at times in s: relative concentration, 1 at its peak."""
    s = np.maximum(np.asarray(t_s, float) - ARRIVAL_S, 0.0) / (SHAPE * WIDTH_S)
    return (s * np.exp(1.0 - s)) ** SHAPE


def tissue_curve(t_s, mtt_s, delay_s=0.0):
    """Integral of the input times the residue exp(-t / MTT), in s; a closed form.

    Concentration in tissue is blood flow (mL/100 mL/min) / 6000 times this. MTT must exceed
    `WIDTH_S`. Broadcasts.
    """
    s = np.maximum(np.asarray(t_s, float) - ARRIVAL_S - delay_s, 0.0)
    rate = 1.0 / WIDTH_S - 1.0 / mtt_s
    norm = (math.e / (SHAPE * WIDTH_S)) ** SHAPE * math.gamma(SHAPE + 1) / rate ** (SHAPE + 1)
    return norm * np.exp(-s / mtt_s) * special.gammainc(SHAPE + 1, rate * s)


def _dynamics(scene):
    """Noiseless dynamic series (time, z, y, x) and its times in s."""
    times = INTERVAL_S * np.arange(DYNAMICS)
    pulmonary = gamma_variate(times)
    # What leaves the lungs: the input spread by their transit times.
    systemic = tissue_curve(times, HEALTHY_MTT_S, SYSTEMIC_DELAY_S) / HEALTHY_MTT_S
    channels, truth = scene.channels, scene.truth
    before = scene.parenchyma + channels[_SIGNAL]
    signal = np.empty((DYNAMICS, *scene.grid.shape), np.float32)
    for frame, right, left in zip(signal, pulmonary, systemic, strict=True):
        blood = right * channels[_PULMONARY] + left * channels[_SYSTEMIC]
        frame[:] = before + BLOOD_ENHANCEMENT * blood
    inside = np.nonzero(channels[_LUNG] > 0.01)
    mtt, delay = truth["mtt"][inside], truth["delay"][inside]
    flow = truth["pbf"][inside] * channels[_LUNG][inside] * (BLOOD_ENHANCEMENT / 6000.0)
    pairs, which = np.unique(np.stack([mtt, delay], axis=1), axis=0, return_inverse=True)
    table = tissue_curve(times[:, None], pairs[:, 0], pairs[:, 1]).astype(np.float32)
    for frame, row in zip(signal, table, strict=True):
        frame[inside] += flow * row[which.ravel()]
    return signal, times


def coil(record, grid):
    """Sensitivity of the receiver coils: a second-order polynomial of the visit, about 1."""
    rng = stream(record.seed, record.usubjid, "coil", record.avisit)
    z, y, x = (np.linspace(-1.0, 1.0, n) for n in grid.shape)
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    terms = (x, y, z, x * x, y * y, z * z, x * y, y * z, z * x)
    field = sum(weight * term for weight, term in zip(rng.uniform(-1, 1, 9), terms, strict=True))
    return (1.0 + COIL * field / np.abs(field).max()).astype(np.float32)


def rician(signal, sigma, rng):
    """Magnitude of a signal with Gaussian noise in both channels, whole numbers, int16."""
    real, imaginary = np.float32(sigma) * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    real += signal
    magnitude = np.sqrt(real * real + imaginary * imaginary)
    return np.clip(np.rint(magnitude), 0, 32767).astype(np.int16)


def _noiseless(scene, sequence):
    """T1 of a sequence, float32."""
    channels, truth = scene.channels, scene.truth
    if sequence == "vibe":
        return scene.parenchyma + channels[_SIGNAL]
    blood = channels[_PULMONARY] + channels[_SYSTEMIC]
    if sequence == "post_vibe":
        gain = 1.0 + np.float32(PARENCHYMA_GAIN) * truth["pbf"]
        return scene.parenchyma * gain + channels[_SIGNAL] + (BLOOD_GAIN - 1.0) * BLOOD * blood
    value, vessel, blur = {
        "pbf": (truth["pbf"], VESSEL_PBF, 1.0),
        "irmax": (IRMAX_PER_PBV * truth["pbv"], IRMAX_PER_PBV * VESSEL_PBV, 1.5),
    }[sequence]
    shown = value * channels[_LUNG] + np.float32(vessel) * blood
    sigma = [
        blur * mm / s for mm, s in zip(PERFUSION_BLUR_MM, scene.grid.spacing_mm[::-1], strict=True)
    ]
    return ndimage.gaussian_filter(shown, sigma, truncate=3.0)


def _sequence(record, scene, name, snr):
    inside = scene.lobes > 0
    times = None
    if name == "dce":
        t1, times = _dynamics(scene)
        reference = float((t1.max(axis=0) - t1[0])[inside].mean())  # peak enhancement of lung
    else:
        t1 = _noiseless(scene, name)
        reference = float(t1[inside].mean())
    maps = name in ("pbf", "irmax")
    sigma = MUSCLE / VIBE_SNR if name.endswith("vibe") else reference / snr
    rng = stream(record.seed, record.usubjid, "mri", record.avisit, name)
    image = rician(t1 if maps else t1 * coil(record, scene.grid), sigma, rng)
    return Sequence(record, name, scene.grid, t1, image, scene.lobes, scene.truth, sigma, times)


def render(record, sequences=SEQUENCES[:4], voxel_mm=(1.5, 4.0, 1.5), pi=0.3, snr=8.0):
    """Chest MRI of one visit, at inspiration.

    Parameters
    ----------
    record : Record
        Best one that holds lesion counts (from `render.render`); without, they are found first.
    sequences : sequence of str
        Of `SEQUENCES`: ``vibe``, ``post_vibe``, ``irmax`` (10 times the blood volume in
        mL/100 mL, more blurred), ``pbf`` (mL/100 mL/min), ``dce`` (`DYNAMICS` volumes, on voxels
        of `DCE_VOXEL_MM`).
    voxel_mm : three float
        Along x, y, z; slices are coronal, so y is their thickness.
    pi : float
        How visible trapped air is in perfusion, 0 (not at all) to 1.
    snr : float
        Mean signal of the lung over the noise in perfusion maps; of ``dce``, mean peak enhancement.

    Returns
    -------
    dict of Sequence
        By name. `truth` holds, unblurred and without noise (T0): pbf mtt delay pbv of parenchyma,
        shares 0 to 1 of the voxel (parenchyma vessels) and of its parenchyma (emphysema trapped),
        and prm, the class (`PRM`) that noiseless CT shows at the voxel's centre.
    """
    unknown = sorted(set(sequences) - set(SEQUENCES))
    if unknown:
        raise ValueError(f"sequence {unknown[0]!r}: the phantom has {', '.join(SEQUENCES)}")
    if not 0.0 <= pi <= 1.0:
        raise ValueError(f"pi is {pi!r}: the visible share of trapped air lies in 0 to 1")
    if not snr > 0.0:
        raise ValueError(f"snr is {snr!r}: expected a number above 0")
    record = ct.count_lesions(record)
    # The scanner of the CT, its drift and its point spread leave no trace here.
    drawn = dataclasses.replace(
        record,
        air_offset_hu=0.0,
        blood_offset_hu=0.0,
        slice_mm=None,
        contrast=False,
        kernel_sigma_mm=SIGMA_MM,
    )
    exp = ct.render_box(drawn, "exp", grids.chest(drawn, "exp", _EXP_VOXEL_MM))
    scenes, found = {}, {}
    for name in sequences:
        voxel = tuple(DCE_VOXEL_MM if name == "dce" else voxel_mm)
        if voxel not in scenes:
            scenes[voxel] = _scene(drawn, exp, voxel, pi)
        found[name] = _sequence(record, scenes[voxel], name, snr)
    return found
