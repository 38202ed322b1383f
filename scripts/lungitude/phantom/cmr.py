"""Cardiac MRI of a phantom patient: short-axis cine and first-pass perfusion.

The heart is the analytic one of `heart`, in another breath-hold than at CT: shifted, and a little
rounder or flatter. A voxel's tissues are counted on finer points, over the whole thickness of the
slice; signal is linear in them. Muscle of the heart under bSSFP is 300, blood 1000.
"""

import dataclasses

import numba
import numpy as np
from scipy import ndimage, special

from . import anatomy, cardiac, coronaries, mri
from . import heart as hearts
from .record import stream

CTA_PHASE = 0.75
FIELD_MM = 192.0
SLICE_MM = 8.0
SIGMA_MM = 0.6  # in-plane point spread beside the voxel's own box
FINE, LAYERS = 2, 4  # points a voxel along its row and its column, and through the slice
SHIFT_MM = (3.0, 6.0)  # of the heart between two breath-holds
ASPECT = 0.06  # largest relative change of its width, against its height

# Signals of the codes of `cardiac.LABELS` (0 is what lies around), and of what lies around.
_CINE = np.array([0.0, 1000.0, 300.0, 1000.0, 950.0, 950.0, 900.0, 900.0], np.float32)
_CINE_AROUND = {"fat": 650.0, "muscle": 280.0, "organ": 450.0, "lung": 30.0}
_FIRST_PASS = np.array([0.0, 120.0, 90.0, 120.0, 120.0, 120.0, 120.0, 120.0], np.float32)
_FIRST_PASS_AROUND = {"fat": 160.0, "muscle": 90.0, "organ": 110.0, "lung": 10.0}

BLOOD_ENHANCEMENT = 1000.0  # at the peak of the left ventricle's input
RV_ARRIVAL_S, RV_WIDTH_S = 4.0, 1.1
LV_ARRIVAL_S, LV_WIDTH_S = 9.0, 2.2
SHAPE = 3
FERMI_S, FERMI_WIDTH_S = 5.0, 1.5
_CURVE_STEP_S = 0.02


@dataclasses.dataclass(frozen=True)
class ShortAxis:
    """Oblique voxel grid: slices across the long axis, from the apex to the base.

    Parameters
    ----------
    origin_mm, spacing_mm : tuple of three float
        Centre of the first voxel, patient's LPS mm; along index x, y, z.
    shape : tuple of int
        (z, y, x).
    direction : ndarray, (3, 3)
        Columns are the unit vectors of index x, y, z, as in SimpleITK. The right ventricle is on
        the image's left, the anterior wall on top.
    """

    origin_mm: tuple
    spacing_mm: tuple
    shape: tuple
    direction: np.ndarray

    @property
    def steps_mm(self):
        """Vectors from one voxel to the next along index x, y, z, as rows."""
        return np.array(self.spacing_mm)[:, None] * self.direction.T

    def points(self):
        """Patient's points of all voxel centres, (z, y, x, 3) mm."""
        k, j, i = np.meshgrid(*(np.arange(n) for n in self.shape), indexing="ij")
        return np.stack([i, j, k], axis=-1) @ self.steps_mm + np.array(self.origin_mm)

    def image(self, values):
        """SimpleITK image of an array of this shape."""
        import SimpleITK as sitk

        if values.shape != self.shape:
            raise ValueError(f"array {values.shape} does not fit the grid {self.shape} (zyx)")
        image = sitk.GetImageFromArray(values)
        image.SetOrigin([float(mm) for mm in self.origin_mm])
        image.SetSpacing([float(mm) for mm in self.spacing_mm])
        image.SetDirection(self.direction.ravel().tolist())
        return image


@dataclasses.dataclass(frozen=True)
class BreathHold:
    """Where the heart lies in one CMR series, against CT: a known, invertible map.

    An affine map of unit determinant (`matrix` about the heart's origin, then `shift_mm`) holds for
    all of the heart. Between two phases of the cycle, cavity and wall of the left ventricle follow
    their own closed map.
    """

    record: object
    matrix: np.ndarray
    shift_mm: np.ndarray

    @property
    def _centre(self):
        heart = self.record.heart
        return np.add(heart["origin_mm"], heart["displacement_mm"])

    def to_cta(self, points_mm, phase, cta_phase=None):
        """Points (..., 3) of the CTA at `cta_phase` (default: `phase`) for those of the CMR."""
        moved = np.asarray(points_mm, float) - self._centre - self.shift_mm
        moved = moved @ np.linalg.inv(self.matrix).T + self._centre
        if cta_phase is None:
            return moved
        return self._local(moved, phase, cta_phase)

    def to_cmr(self, points_mm, phase, cta_phase=None):
        """Points (..., 3) of the CMR at `phase` for those of the CTA: the inverse of `to_cta`."""
        points = np.asarray(points_mm, float)
        if cta_phase is not None:
            points = self._local(points, cta_phase, phase)
        return (points - self._centre) @ self.matrix.T + self._centre + self.shift_mm

    def _local(self, points, phase, other):
        heart = self.record.heart
        local = between_phases(heart, hearts.to_local(heart, points), phase, other)
        return hearts.to_patient(heart, local)


@dataclasses.dataclass(frozen=True)
class Series:
    """One CMR series: `phase` is ``cine`` or ``perfusion``.

    `t1` noiseless signal float32 and `image` as delivered int16, (time, z, y, x) at `times_s`;
    `labels` uint8, the code of `cardiac.LABELS` at a voxel's centre, and `truth` maps: of ``cine``
    (time, z, y, x), of ``perfusion`` (z, y, x). `cycle` the phases, 0 to 1, of the frames
    (``cine``) or the one of all (``perfusion``). `noise_sd` the noise of each of both channels.
    """

    record: object
    phase: str
    grid: ShortAxis
    t1: np.ndarray
    image: np.ndarray
    labels: np.ndarray
    truth: dict
    times_s: np.ndarray
    cycle: np.ndarray
    breath_hold: BreathHold
    noise_sd: float
    modality: str = "MR"


def _shell(now, q):
    """Semi-axes of the ellipsoid q of the LV: 1 is the endocardium, 2 the epicardium."""
    inner, wall, outer = np.clip(q, 0, 1), np.clip(q - 1, 0, 1), np.maximum(q - 2, 0)
    across = now["endo_a"] * inner + (now["epi_a"] - now["endo_a"]) * wall + 10.0 * outer
    return across, now["endo_c"] * inner + (now["epi_c"] - now["endo_c"]) * wall + 10.0 * outer


def between_phases(heart, local, phase, other):
    """Where points of the left ventricle at one phase are at another.

    Each ellipsoid between centre, endocardium and epicardium goes to its like, and the base plane
    to the base plane; so cavity maps to cavity and wall to wall. Swapping the phases inverts it.

    Parameters
    ----------
    heart : dict
        `Record.heart`.
    local : ndarray, (..., 3)
        s, p, l in mm, see `heart`.
    phase, other : float
        0 to 1.
    """
    now, then = hearts.geometry(heart, phase), hearts.geometry(heart, other)
    local = np.asarray(local, float)
    radius, along = np.hypot(local[..., 0], local[..., 1]), local[..., 2] - now["centre"]
    low, high = np.full(radius.shape, 1e-6), np.full(radius.shape, 100.0)
    for _ in range(60):
        q = 0.5 * (low + high)
        across, length = _shell(now, q)
        beyond = (radius / across) ** 2 + (along / length) ** 2 > 1.0
        low, high = np.where(beyond, q, low), np.where(beyond, high, q)
    length, new_length = _shell(now, q)[1], _shell(then, q)[1]
    share = np.clip(along / length, -1.0, 1.0)
    base = np.clip((now["base"] - now["centre"]) / length, -1.0, 1.0)
    new_base = np.clip((then["base"] - then["centre"]) / new_length, -1.0, 1.0)
    above = (share - base) / np.maximum(1.0 - base, 1e-9)
    below = (share + 1.0) / (base + 1.0)
    moved = np.where(
        share > base, new_base + above * (1.0 - new_base), below * (new_base + 1.0) - 1.0
    )
    wide = _shell(then, q)[0] * np.sqrt(np.clip(1.0 - moved**2, 0.0, None))
    grow = np.divide(wide, radius, out=np.zeros_like(wide), where=radius > 1e-9)
    out = np.empty_like(local)
    out[..., 0], out[..., 1] = local[..., 0] * grow, local[..., 1] * grow
    out[..., 2] = then["centre"] + new_length * moved
    return out


def breath_hold(record, series):
    """Breath-hold of a series of a visit: 3 to 6 mm away, and a little flatter or rounder."""
    if record.heart is None:
        raise ValueError(f"{record.usubjid} {record.avisit}: the record has no heart; solve it")
    rng = stream(record.seed, record.usubjid, "breath-hold", record.avisit, series)
    way = rng.standard_normal(3)
    shift = rng.uniform(*SHIFT_MM) * way / np.linalg.norm(way)
    wide = 1.0 + rng.uniform(-ASPECT, ASPECT)
    frame = hearts.axes(record.heart)
    return BreathHold(record, frame.T @ np.diag([wide, 1.0 / wide, 1.0]) @ frame, shift)


def _grid(held, levels, voxel_mm):
    """Short-axis grid with slices centred on these heights l (mm), evenly spaced."""
    heart = held.record.heart
    size = round(FIELD_MM / voxel_mm)
    now = hearts.geometry(heart, 0.0)
    centre = held.to_cmr(hearts.to_patient(heart, [0.4 * now["epi_a"], 0.0, levels[0]]), 0.0)
    side, up, along = hearts.axes(heart)
    direction = np.stack([-side, -up, along], axis=1)
    gap = levels[1] - levels[0]
    half = 0.5 * (size - 1) * voxel_mm
    origin = centre - half * direction[:, 0] - half * direction[:, 1]
    spacing = (float(voxel_mm), float(voxel_mm), float(gap))
    return ShortAxis(tuple(origin.tolist()), spacing, (len(levels), size, size), direction)


@numba.njit(cache=True)
def _shares(fine, fz, fy, fx):
    """Share of each code 0 to 7 in blocks of fz x fy x fx points: (code, z, y, x) float32."""
    nz, ny, nx = fine.shape[0] // fz, fine.shape[1] // fy, fine.shape[2] // fx
    out = np.zeros((8, nz, ny, nx), np.float32)
    each = np.float32(1.0 / (fz * fy * fx))
    for k in range(fine.shape[0]):
        for j in range(fine.shape[1]):
            for i in range(fine.shape[2]):
                out[fine[k, j, i], k // fz, j // fy, i // fx] += each
    return out


def _tissues(held, grid, phase, thickness_mm, window=None):
    """Share of each code of `cardiac.LABELS` in the voxels at a phase: (code, z, y, x).

    A slice that the base plane crosses is counted in two parts, so that volumes are exact.
    `window` holds the first and one-past-last row, and column, if not all.
    """
    rows, columns = window or ((0, grid.shape[1]), (0, grid.shape[2]))
    heart, steps = held.record.heart, grid.steps_mm
    base = hearts.geometry(heart, phase)["base"]
    fine = steps[:2] / FINE
    out = np.zeros((8, grid.shape[0], rows[1] - rows[0], columns[1] - columns[0]), np.float32)
    shape = FINE * out.shape[2], FINE * out.shape[3]
    corner = np.array(grid.origin_mm) + columns[0] * steps[0] + rows[0] * steps[1]
    corner = corner + (0.5 - 0.5 * FINE) * (fine[0] + fine[1])
    back = np.linalg.inv(held.matrix).T
    for k in range(grid.shape[0]):
        first = held.to_cta(corner + k * steps[2], phase)
        half = 0.5 * thickness_mm
        cut = float(np.clip(base - hearts.to_local(heart, first)[2], -half, half))
        for low, high in ((-half, cut), (cut, half)):
            if high - low < 1e-6:
                continue
            layers = max(1, round(LAYERS * (high - low) / thickness_mm))
            up = grid.direction[:, 2] * (high - low) / layers
            start = first + (grid.direction[:, 2] * low + 0.5 * up) @ back
            labels = cardiac.labels_at(
                held.record, phase, start, np.stack([*fine, up]) @ back, (layers, *shape)
            )
            out[:, k] += (high - low) / thickness_mm * _shares(labels, layers, FINE, FINE)[:, 0]
    return out


def _labels(held, grid, phase):
    """Code of `cardiac.LABELS` at the voxels' centres."""
    steps = grid.steps_mm @ np.linalg.inv(held.matrix).T
    origin = held.to_cta(grid.origin_mm, phase)
    return cardiac.labels_at(held.record, phase, origin, steps, grid.shape)


def _beating(share):
    """Rows and columns of the chambers, with a margin: what may change in the cycle."""
    chambers = share[1:6].sum(axis=(0, 1)) > 0
    ends = []
    for axis in (1, 0):
        found = np.flatnonzero(chambers.any(axis=axis))
        ends.append((max(found[0] - 3, 0), min(found[-1] + 4, chambers.shape[1 - axis])))
    return tuple(ends)


def _around(held, grid, signals):
    """Signal of the chest around the heart; it does not beat."""
    record = held.record
    points = np.moveaxis(held.to_cta(grid.points(), 0.0) / record.scale, -1, 0)
    body = record.body
    between = anatomy.mediastinum(*points, body)
    skin = anatomy.torso(*points)
    out = np.zeros(grid.shape, np.float32)
    for depth, tissue in (
        (skin, "fat"),
        (skin - body["fat_mm"], "muscle"),
        (anatomy.abdomen(*points, body), "organ"),
        (between, "fat"),
        (anatomy.spine(*points), "organ"),
        (np.maximum(*(anatomy.lung(*points, side, body, between) for side in (-1, 1))), "lung"),
    ):
        cover = special.ndtr(depth / (0.5 * max(grid.spacing_mm[:2]) + SIGMA_MM))
        out += (cover * (signals[tissue] - out)).astype(np.float32)
    return out


def _blur(signal, grid):
    """In-plane point spread, the last two axes."""
    sigma = SIGMA_MM / grid.spacing_mm[0]
    return ndimage.gaussian_filter(signal, (0.0,) * (signal.ndim - 2) + (sigma, sigma))


def _deliver(t1, record, grid, series, sigma):
    rng = stream(record.seed, record.usubjid, "cmr", record.avisit, series)
    return mri.rician(t1 * mri.coil(record, grid), sigma, rng)


def cine(record, voxel_mm=1.5, slice_mm=SLICE_MM, phases=hearts.PHASES, snr=25.0):
    """Short-axis cine (bSSFP): slices without gaps from the apex to above the base.

    Parameters
    ----------
    record : Record
        With its heart solved.
    voxel_mm, slice_mm : float
        In the plane; thickness.
    phases : int
        Frames of the cycle, evenly spaced from end-diastole on.
    snr : float
        Of blood.

    Returns
    -------
    Series
        `truth`: ``lv_blood`` and ``lv_myocardium``, their shares of each voxel over the whole
        thickness of the slice: times the voxel's volume they sum to the volumes of `heart.truth`.
        `labels` know the middle of a slice only, so they err by up to half a slice at the base.
    """
    _positive(voxel_mm=voxel_mm, slice_mm=slice_mm, snr=snr, phases=phases)
    held = breath_hold(record, "cine")
    now = hearts.geometry(record.heart, 0.0)
    apex = now["centre"] - now["epi_c"]
    count = int(np.ceil((now["base"] - apex) / slice_mm)) + 1  # one above the base
    levels = now["base"] + slice_mm * (1.5 - count + np.arange(count))
    grid = _grid(held, levels, voxel_mm)
    around = _around(held, grid, _CINE_AROUND)
    shape = (phases, *grid.shape)
    t1, labels = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    blood, muscle = np.empty(shape, np.float32), np.empty(shape, np.float32)
    cycle = np.arange(phases) / phases
    share = _tissues(held, grid, 0.0, slice_mm)
    window = _beating(share)
    beating = (slice(None), slice(None), *(slice(*ends) for ends in window))
    for n, phase in enumerate(cycle):
        if n > 0:
            share[beating] = _tissues(held, grid, phase, slice_mm, window)
        t1[n] = np.tensordot(_CINE, share, 1) + share[0] * around
        labels[n] = _labels(held, grid, phase)
        blood[n], muscle[n] = share[1], share[2]
    t1 = _blur(t1, grid)
    sigma = float(_CINE[1]) / snr
    image = _deliver(t1, record, grid, "cine", sigma)
    truth = {"lv_blood": blood, "lv_myocardium": muscle}
    times = cycle * 60.0 / record.heart["rate_bpm"]
    return Series(record, "cine", grid, t1, image, labels, truth, times, cycle, held, sigma)


def blood_curve(t_s, side):
    """Relative concentration in a ventricle, ``right`` or ``left``; the left one peaks at 1.

    Gamma variates of equal area: the same bolus passes both.
    """
    arrival, width = {"right": (RV_ARRIVAL_S, RV_WIDTH_S), "left": (LV_ARRIVAL_S, LV_WIDTH_S)}[side]
    s = np.maximum(np.asarray(t_s, float) - arrival, 0.0) / (SHAPE * width)
    return LV_WIDTH_S / width * (s * np.exp(1.0 - s)) ** SHAPE


def fermi(t_s):
    """Residue function of the myocardium (Fermi), 1 at time 0.

    Source: Jerosch-Herold et al. 1998, Med Phys 25:73-84.
    """
    t = np.asarray(t_s, float)
    return (1.0 + np.exp(-FERMI_S / FERMI_WIDTH_S)) / (1.0 + np.exp((t - FERMI_S) / FERMI_WIDTH_S))


def myocardium_curve(t_s):
    """Integral of the left ventricle's input times `fermi`, in s.

    Concentration in muscle is blood flow (mL/min/g) / 60 times the density (g/mL) times this: one
    residue function for all flows, so that upslopes are in proportion to flow.
    """
    t = np.asarray(t_s, float)
    fine = np.arange(0.0, t.max() + _CURVE_STEP_S, _CURVE_STEP_S)
    kernel = fermi(fine)
    kernel[0] *= 0.5  # trapezoid
    curve = _CURVE_STEP_S * np.convolve(blood_curve(fine, "left"), kernel)[: fine.size]
    return np.interp(t, fine, curve)


def perfusion(record, voxel_mm=1.8, dynamics=50, phase=0.35, snr=10.0):
    """First pass of contrast medium under stress in three short-axis slices of 8 mm.

    Parameters
    ----------
    record : Record
        With its heart solved.
    voxel_mm : float
        In the plane.
    dynamics : int
        Frames, one a heart beat, at least 2.
    phase : float
        Part of the cycle, 0 to 1, at which each beat is caught.
    snr : float
        Mean peak enhancement of the myocardium over the noise.

    Returns
    -------
    Series
        `truth`: ``mbf`` mL/min/g and ``territory`` (1 LAD, 2 LCX, 3 RCA) where there is muscle of
        the left ventricle, else 0; ``lv_myocardium`` its share.
    """
    _positive(voxel_mm=voxel_mm, snr=snr, dynamics=dynamics - 1)
    held = breath_hold(record, "perfusion")
    now = hearts.geometry(record.heart, phase)
    tip = now["centre"] - now["endo_c"]
    levels = tip + (now["base"] - tip) * np.array([1.0, 3.0, 5.0]) / 6.0
    grid = _grid(held, levels, voxel_mm)
    share = _tissues(held, grid, phase, SLICE_MM)
    around = _around(held, grid, _FIRST_PASS_AROUND)
    before = np.tensordot(_FIRST_PASS, share, 1) + share[0] * around

    muscle = share[2] > 0
    points = held.to_cta(grid.points()[muscle], phase)
    flow, fed = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.uint8)
    flow[muscle] = coronaries.blood_flow(record, phase, points)
    fed[muscle] = coronaries.territory(record, phase, points)

    times = np.arange(dynamics) * 60.0 / record.heart["rate_bpm"]
    right, left = share[[3, 5, 7]].sum(axis=0), share[[1, 4, 6]].sum(axis=0)
    uptake = share[2] * flow * np.float32(hearts.MUSCLE_G_PER_ML / 60.0)
    curves = [blood_curve(times, side) for side in ("right", "left")] + [myocardium_curve(times)]
    parts = np.stack([right, left, uptake]) * np.float32(BLOOD_ENHANCEMENT)
    t1 = before + np.tensordot(np.stack(curves, axis=1).astype(np.float32), parts, 1)
    t1 = _blur(t1, grid)
    inside = share[2] > 0.5
    peak = BLOOD_ENHANCEMENT * float(uptake[inside].mean()) * float(curves[2].max())
    sigma = peak / snr
    image = _deliver(t1, record, grid, "perfusion", sigma)
    truth = {"mbf": flow, "territory": fed, "lv_myocardium": share[2]}
    labels = _labels(held, grid, phase)
    cycle = np.array([phase])
    return Series(record, "perfusion", grid, t1, image, labels, truth, times, cycle, held, sigma)


def _positive(**numbers):
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{name} is too small: {value!r} is not above 0")
