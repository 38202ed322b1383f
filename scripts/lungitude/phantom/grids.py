"""Voxel grids of the phantom's images: whole chests and boxes; LPS axes, no rotation."""

import dataclasses
import math

import numpy as np

from . import anatomy, breathing

_COARSE_MM = 4.0
_MARGIN_MM = 18.0
# A slice thicker than this many in-plane voxels is averaged from thinner ones.
_THICK = 1.5


@dataclasses.dataclass(frozen=True)
class Grid:
    """Voxel centres: origin and spacing along x, y, z in LPS mm; shape (z, y, x)."""

    origin_mm: tuple
    spacing_mm: tuple
    shape: tuple

    def axes(self):
        """Coordinates of the voxel centres along x, y, z."""
        return tuple(
            o + s * np.arange(n)
            for o, s, n in zip(self.origin_mm, self.spacing_mm, self.shape[::-1], strict=True)
        )

    def coarse(self):
        """Grid over the same voxels for smooth fields, and voxels a step along z, y, x."""
        every = [max(1, math.floor(_COARSE_MM / s + 1e-6)) for s in self.spacing_mm]
        shape = tuple((n - 1) // e + 2 for n, e in zip(self.shape, every[::-1], strict=True))
        spacing = tuple(s * e for s, e in zip(self.spacing_mm, every, strict=True))
        return Grid(self.origin_mm, spacing, shape), tuple(every[::-1])

    def index(self, points_mm):
        """Continuous index (n, 3) along z, y, x of (n, 3) points in mm."""
        points = np.asarray(points_mm, dtype=float).reshape(-1, 3)
        return ((points - np.array(self.origin_mm)) / np.array(self.spacing_mm))[:, ::-1]

    def slices(self, thickness_mm=None):
        """Thinner slices to average for thick ones: their grid, and weights along z.

        A slice is the mean over its thickness, a box along z. Thin ones have that box within the
        Gaussian point spread instead; then the weights are ``[1]`` and the grid is this one.
        The finer grid has ``(len(weights) - 1)`` more slices than it needs for the centres:
        half of them below the first.

        Returns
        -------
        grid : Grid
        every : int
            Finer slices from one slice to the next.
        weights : ndarray
            Of an odd number of finer slices around a slice; they sum to 1.
        """
        sx, sy, sz = self.spacing_mm
        thickness = float(thickness_mm or sz)
        fine = _THICK * max(sx, sy)
        if max(thickness, sz) <= fine + 1e-9:
            return self, 1, np.ones(1)
        every = max(1, math.ceil(sz / fine - 1e-9))
        step = sz / every
        half = math.ceil(0.5 * thickness / step - 0.5 - 1e-9)
        offset = step * np.arange(-half, half + 1)
        low = np.maximum(offset - 0.5 * step, -0.5 * thickness)
        weights = np.minimum(offset + 0.5 * step, 0.5 * thickness) - low
        nz, ny, nx = self.shape
        origin = (*self.origin_mm[:2], self.origin_mm[2] - half * step)
        finer = Grid(origin, (sx, sy, step), ((nz - 1) * every + 1 + 2 * half, ny, nx))
        return finer, every, weights / weights.sum()

    def image(self, values):
        """SimpleITK image of an array on this grid."""
        import SimpleITK as sitk

        if values.shape != self.shape:
            raise ValueError(f"array {values.shape} does not fit the grid {self.shape} (zyx)")
        image = sitk.GetImageFromArray(values)
        image.SetSpacing([float(mm) for mm in self.spacing_mm])
        image.SetOrigin([float(mm) for mm in self.origin_mm])
        return image


def box(low_mm, high_mm, voxel_mm):
    """Grid from one corner (x, y, z) to another; a voxel centre lies on the first corner.

    Parameters
    ----------
    low_mm, high_mm : sequence of three float
    voxel_mm : float or sequence of three float
    """
    spacing = np.broadcast_to(np.asarray(voxel_mm, dtype=float), 3)
    sides = np.asarray(high_mm, dtype=float) - np.asarray(low_mm, dtype=float)
    if not (np.isfinite(sides).all() and (sides > 0).all() and (spacing > 0).all()):
        raise ValueError(f"no box from {tuple(low_mm)} to {tuple(high_mm)} mm at {voxel_mm} mm")
    counts = np.floor(sides / spacing + 1e-6).astype(int) + 1
    return Grid(
        tuple(float(mm) for mm in low_mm),
        tuple(float(mm) for mm in spacing),
        tuple(int(n) for n in counts[::-1]),
    )


def field(record, phase):
    """Breathing from an image of that phase to the anatomy; None where they are one.

    The anatomy is drawn at full inspiration.
    """
    return record.breath if phase == "exp" else record.inflation


def chest(record, phase, voxel_mm=None):
    """Grid of a whole-chest scan: fixed field of view, from below the lung bases to the apices.

    Parameters
    ----------
    record : Record
    phase : str
        ``insp`` or ``exp``.
    voxel_mm : sequence of three float or dict of such by phase, optional
        Voxel along x, y, z instead of the record's.
    """
    if isinstance(voxel_mm, dict):
        voxel_mm = voxel_mm.get(phase)
    spacing = tuple(float(mm) for mm in (voxel_mm or record.voxel_of(phase)))
    top = anatomy.APEX_MM * record.scale_z + _MARGIN_MM
    bottom = anatomy.BASE_MM * record.scale_z
    breath = field(record, phase)
    if breath:
        bottom = float(breathing.insp_to_exp(breath, 0.0, 40.0, bottom)[2])
    bottom -= _MARGIN_MM
    counts = [
        round(side / step) for side, step in zip(record.field_of_view_mm, spacing[:2], strict=True)
    ]
    counts.append(math.ceil((top - bottom) / spacing[2]))
    # The field of view is centred between chest and table, as a technologist would.
    x0 = -0.5 * (counts[0] - 1) * spacing[0]
    y0 = 8.0 - 0.5 * (counts[1] - 1) * spacing[1]
    z0 = round(float(bottom), 1)
    return Grid((x0, y0, z0), spacing, (counts[2], counts[1], counts[0]))
