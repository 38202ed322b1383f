"""What a voxel of an image shows: points of the anatomy, and tissue painted there."""

import math

import numpy as np

from . import anatomy, breathing, grids, raster


class Place:
    """One phase on one grid: the point of the anatomy, in mm, that each voxel shows."""

    def __init__(self, record, phase, grid):
        self.record, self.phase, self.grid = record, phase, grid
        self.breath = grids.field(record, phase)
        # Gaussian point spread and the voxel's own box, which has variance h^2 / 12.
        voxel = float(np.prod(grid.spacing_mm)) ** (1.0 / 3.0)
        self.sigma_mm = math.sqrt(record.kernel_sigma_mm**2 + voxel**2 / 12.0)
        self.straight = self.breath is None
        self.voxel_mm = tuple(
            np.broadcast_to(p, grid.shape)
            if self.straight
            else np.ascontiguousarray(np.broadcast_to(p, grid.shape))
            for p in self.anatomy_of(grid)
        )

    def anatomy_of(self, grid):
        """Points of the anatomy at the voxels of a grid, x, y, z float32 arrays that broadcast."""
        x, y, z = (axis.astype(np.float32) for axis in grid.axes())
        x, y, z = x[None, None, :], y[None, :, None], z[:, None, None]
        return (x, y, z) if self.breath is None else breathing.exp_to_insp(self.breath, x, y, z)

    def to_image(self, points_mm):
        """Where points of the anatomy, (n, 3) mm, lie in the image."""
        if self.breath is None:
            return points_mm
        moved = breathing.insp_to_exp(self.breath, *points_mm.T, tolerance_mm=1e-2)
        return np.stack(moved, axis=1)

    def boxes(self, low, high, reach):
        """Index boxes of structures between two corners of the anatomy, with a margin."""
        if self.breath:
            ends = self.to_image(low), self.to_image(high)
            low, high, reach = np.minimum(*ends), np.maximum(*ends), 1.1 * reach + 0.5
        shape = np.array(self.grid.shape[::-1])
        origin, spacing = np.array(self.grid.origin_mm), np.array(self.grid.spacing_mm)
        first = np.ceil((low - reach[:, None] - origin) / spacing)
        last = np.floor((high + reach[:, None] - origin) / spacing) + 1
        first, last = (np.clip(edge, 0, shape).astype(np.int64) for edge in (first, last))
        boxes = np.empty((len(first), 6), np.int64)
        boxes[:, 0::2], boxes[:, 1::2] = first[:, ::-1], last[:, ::-1]
        return boxes

    def near(self, p0, p1, reach):
        """Which tubes of the anatomy may touch the grid; quick, and rather too many."""
        low, high = np.array(self.grid.origin_mm), np.array([axis[-1] for axis in self.grid.axes()])
        if self.breath:
            corners = np.stack(np.meshgrid(*np.linspace(low, high, 5).T, indexing="ij"), -1)
            moved = breathing.map_points(self.breath, corners.reshape(-1, 3), "exp_to_insp")
            low, high = moved.min(axis=0) - 3.0, moved.max(axis=0) + 3.0
        return (
            (np.minimum(p0, p1) - reach[:, None] <= high)
            & (np.maximum(p0, p1) + reach[:, None] >= low)
        ).all(axis=1)

    def sigmas(self, points_mm):
        """Point spread in mm of the anatomy: a smaller lung is blurred more."""
        if self.breath is None:
            return np.full(len(points_mm), self.sigma_mm)
        moved = self.to_image(points_mm)
        return self.sigma_mm * np.cbrt(breathing.jacobian(self.breath, *moved.T))

    def pieces(self, p0, p1, longest_mm):
        """Cut tubes where a field bends them, so that each has a small box.

        Returns the ends of the pieces, the tube of each, and whether it is the last of its tube.
        """
        if self.breath is None:
            return p0, p1, np.arange(len(p0)), np.ones(len(p0), bool)
        parts = np.maximum(1, np.ceil(np.linalg.norm(p1 - p0, axis=1) / longest_mm)).astype(int)
        tube = np.repeat(np.arange(len(p0)), parts)
        number = np.arange(len(tube)) - np.repeat(np.cumsum(parts) - parts, parts)
        step = ((p1 - p0) / parts[:, None])[tube]
        start = p0[tube] + number[:, None] * step
        return start, start + step, tube, number == parts[tube] - 1

    def tubes(self, p0, p1, radius, tips):
        """Coverage of tubes given in reference mm, with radii in mm.

        tips : ndarray of bool
            Whether nothing follows p1.
        """
        cover = np.zeros(self.grid.shape, np.float32)
        p0, p1 = p0 * self.record.scale, p1 * self.record.scale
        near = self.near(p0, p1, radius + 4.0 * self.sigma_mm)
        p0, p1, tube, last = self.pieces(p0[near], p1[near], 6.0)
        radius, tips = radius[near][tube], tips[near][tube] & last
        sigma = self.sigmas(0.5 * (p0 + p1))
        boxes = self.boxes(np.minimum(p0, p1), np.maximum(p0, p1), radius + 3.0 * sigma)
        raster.tubes(
            cover,
            *self.voxel_mm,
            self.straight,
            boxes,
            p0,
            p1,
            radius,
            sigma,
            tips,
            raster.cylinder_table(),
        )
        return cover

    def balls(self, centres, radii, critical=None, count=0, stop=0):
        """Coverage of lesions given in reference mm, how many were drawn, and voxels counted.

        With `critical` (see `raster.balls`) the drawing ends when `stop` voxels count.
        """
        cover = np.zeros(self.grid.shape, np.float32)
        counts = critical is not None
        centres = centres * self.record.scale
        radii = radii * np.cbrt(self.record.scale.prod())
        drawn = 0
        for block in range(0, len(radii), 512):  # boxes and blurs only for those that are needed
            part = slice(block, block + 512)
            sigma = self.sigmas(centres[part])
            reach = radii[part] + 3.0 * sigma
            used, count = raster.balls(
                cover,
                *self.voxel_mm,
                self.straight,
                self.boxes(centres[part], centres[part], reach),
                centres[part],
                radii[part],
                sigma,
                critical if counts else cover,
                counts,
                count,
                stop,
            )
            drawn += used
            if counts and count >= stop:
                break
        return cover, drawn, count


class View(Place):
    """A place with an image in the making, ``frame + weight * parenchyma``."""

    def __init__(self, record, phase, grid):
        super().__init__(record, phase, grid)
        inner, self.every = grid.coarse()
        # One cell more on each side: slopes at the edge of a box are those of the whole chest.
        self.coarse = grids.Grid(
            tuple(o - s for o, s in zip(inner.origin_mm, inner.spacing_mm, strict=True)),
            inner.spacing_mm,
            tuple(n + 2 for n in inner.shape),
        )
        self.coarse_mm = self.anatomy_of(self.coarse)
        # Python's numbers, unlike numpy's, leave float32 arrays what they are.
        scale = (record.scale_xy, record.scale_xy, record.scale_z)
        self.coarse_reference = tuple(
            p / s for p, s in zip(self.coarse_mm, map(float, scale), strict=True)
        )
        self.heart = anatomy.heart(*self.coarse_reference, record.body)
        self.aorta = anatomy.aorta(*self.coarse_reference)
        self.between = anatomy.mediastinum(
            *self.coarse_reference, record.body, self.heart, self.aorta
        )
        self.frame = np.full(grid.shape, anatomy.AIR_HU, np.float32)
        self.weight = np.zeros(grid.shape, np.float32)

    def full(self, values):
        """Values that broadcast to the coarse points, in full, float32."""
        return np.ascontiguousarray(np.broadcast_to(values, self.coarse.shape), np.float32)

    def field(self, values):
        """Values at the coarse points as a coarse field of `raster`: without the outer cells."""
        return np.ascontiguousarray(self.full(values)[1:-1, 1:-1, 1:-1])

    def at_voxels(self, values):
        """Values at the coarse points, interpolated to the voxels."""
        return raster.upsample(self.field(values), self.grid.shape, self.every)

    def distance(self, depth):
        """Coarse field of a depth divided by its slope: millimetres of this image."""
        depth = self.full(depth)
        slopes = np.gradient(depth, *map(float, self.coarse.spacing_mm[::-1]))
        steep = np.sqrt(sum(slope * slope for slope in slopes))
        return self.field(depth / np.clip(steep, 0.4, 3.0))

    def jacobian(self):
        """How much denser than at full inspiration the lung is, a coarse field."""
        if self.breath is None:
            return self.field(1.0)
        x, y, z = (axis.astype(np.float32) for axis in self.coarse.axes())
        return self.field(
            breathing.jacobian(self.breath, x[None, None, :], y[None, :, None], z[:, None, None])
        )

    def paint(self, distance, value=None):
        """Paint a tissue by its `distance`; parenchyma without a value."""
        opens = value is None
        raster.paint(
            self.frame,
            self.weight,
            distance,
            self.every,
            0.0 if opens else value,
            self.sigma_mm,
            opens,
        )

    def paint_cover(self, cover, value):
        """Paint a tissue by its coverage at the voxels."""
        raster.paint_cover(self.frame, self.weight, cover, value)
