"""Backend: our own diffeomorphic registration in torch, on random points of the lungs.

The map is a chain of flows, coarse to fine. Each flow is the exponential of a smooth velocity on
a grid of nodes, so that it can't fold; its velocities are found by Adam from features at points
drawn anew at each step, in place of all voxels: that is where the time goes elsewhere.
"""

import contextlib
import math

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch.nn import functional

_SOFT = 0.1  # feature difference from which the loss grows linearly: lesions are outliers
_FIRST_STEP = 0.5  # of the exponential, in node distances at most
_LEAST_NODE_VOX = 2.0  # nodes are no denser: there is nothing to tell them apart
_DECAY = (0.9, 0.99)  # of the moments of Adam
_STEP_LEFT = 0.02  # of the first step of Adam at the end of a level
_SMOOTH_NODES = 1.0  # sigma of a velocity
_SEARCH_SMOOTH = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # growing weight of the neighbours' opinion
_RULES_OUT = 0.05  # overlap below which a voxel of the search holds no lung


def displacement(channels, fixed_mask, moving_mask, settings):
    """Register images that already share a grid; return the displacement field.

    Parameters
    ----------
    channels : list of (metric, fixed, moving, weight, parameter)
        As `syn.displacement`: features that correspond, times their weight; metric and parameter
        have no effect. The last one is the overlap of the lungs.
    fixed_mask, moving_mask : SimpleITK.Image of uint8
        Points are drawn where they are not 0.
    settings : dict
        ``search_mm`` (reach of the search along each axis, 0 for none) and its voxel
        ``search_voxel_mm``; of each level ``blur_mm`` of the features, ``node_mm``, ``iterations``,
        ``step_mm`` of Adam and ``stiffness``; ``points`` drawn in each image at each step;
        ``field_mm`` of the result; ``seed``, ``threads``.

    Returns
    -------
    SimpleITK.Image of float64 vectors
        Pull-back displacement in mm over the extent of the grid, on nodes `field_mm` apart.

    Notes
    -----
    A flow is the exponential of a stationary velocity by scaling and squaring [1]_; flows are
    chained. The loss is the mean robust distance of features, half over points of the fixed image
    sent there, half over points of the moving image sent back by the inverse flows, plus
    `stiffness` times the mean square slope of the velocity. The search before the first level
    tries all shifts within its reach at once and lets neighbours agree, as in [2]_.

    Points come from a generator of its own with the seed given, and on one thread all sums have
    one order: the same input gives the same numbers on one machine.

    References
    ----------
    .. [1] Arsigny et al. 2006, MICCAI, LNCS 4190:924-931.
    .. [2] Siebert et al. 2021, L2R challenge, MICCAI (convex adam), arXiv:2111.01107.
    """
    grid = channels[0][1]
    space = _Space(grid)
    pair = [
        [sitk.GetArrayFromImage(channel[side]) * float(channel[3]) for channel in channels]
        for side in (1, 2)
    ]
    masks = [
        torch.from_numpy(np.argwhere(sitk.GetArrayFromImage(mask) != 0))
        for mask in (fixed_mask, moving_mask)
    ]
    draw = torch.Generator().manual_seed(settings["seed"])
    flows = ([], [])
    with _threads(settings["threads"]):
        if settings["search_mm"] > 0:
            _extend(flows, _search(*pair, space, settings), space)
        for level in range(len(settings["node_mm"])):
            found = _level(pair, masks, space, draw, flows, level, settings)
            _extend(flows, found, space)
        return _field(flows[0], space, grid, settings["field_mm"])


def _extend(flows, velocity, space):
    """Add the exponential of a velocity to the way there, and its inverse to the way back."""
    there, back = flows
    there.append(_exponential(velocity, space))
    back.insert(0, _exponential(-velocity, space))


@contextlib.contextmanager
def _threads(count):
    """Let torch use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Space:
    """The grid of the images in mm from its first voxel; points are (n, 3), x y z."""

    def __init__(self, grid):
        self.voxel_mm = float(grid.GetSpacing()[0])
        size = torch.tensor(grid.GetSize(), dtype=torch.float32)
        self.extent_mm = (size - 1) * self.voxel_mm

    def nodes(self, step_mm):
        """Positions of nodes at most `step_mm` apart, from border to border, (z, y, x, 3)."""
        return self.spread(
            [max(4, int(np.ceil(mm / step_mm - 1e-6)) + 1) for mm in self.extent_mm.tolist()]
        )

    def spread(self, counts):
        """Positions of so many nodes along x, y, z, (z, y, x, 3)."""
        axes = [
            torch.linspace(0.0, mm, count)
            for mm, count in zip(self.extent_mm.tolist(), counts, strict=True)
        ]
        z, y, x = torch.meshgrid(*axes[::-1], indexing="ij")
        return torch.stack([x, y, z], dim=-1)

    def pitch(self, values):
        """Distance in mm along x, y, z of the nodes of (c, z, y, x)."""
        counts = values.shape[:0:-1]
        return [mm / (n - 1) for mm, n in zip(self.extent_mm.tolist(), counts, strict=True)]

    def sample(self, values, points, extent_mm=None):
        """Linear interpolation of values (c, z, y, x) that span the grid, (c, n)."""
        extent_mm = self.extent_mm if extent_mm is None else extent_mm
        unit = (2 * points / extent_mm - 1).view(1, 1, 1, -1, 3)
        found = functional.grid_sample(
            values[None], unit, mode="bilinear", padding_mode="border", align_corners=True
        )
        return found[0, :, 0, 0]

    def follow(self, points, flows):
        """Send points through the flows, first to last."""
        for flow in flows:
            points = points + self.sample(flow, points).T
        return points


def _level(pair, masks, space, draw, flows, level, settings):
    """Return the velocity (3, z, y, x) in mm that brings the features of one level together."""
    blur, iterations = settings["blur_mm"][level], settings["iterations"][level]
    every = max(1, int(blur / space.voxel_mm))
    coarse = [_blurred(features, space, blur, every) for features in pair]
    extent = _extent(coarse[0], every * space.voxel_mm)
    nodes = space.nodes(max(settings["node_mm"][level], _LEAST_NODE_VOX * space.voxel_mm))
    velocity = torch.zeros(3, *nodes.shape[:3], requires_grad=True)
    step = settings["step_mm"][level]
    means, squares = torch.zeros_like(velocity), torch.zeros_like(velocity)

    def apart(side, way):
        """Mean distance of features at random points of one image and where `way` sends them."""
        place = masks[side]
        place = place[torch.randint(len(place), (settings["points"],), generator=draw)]
        points = place.flip(1).float() * space.voxel_mm
        # Both by interpolation, so that alike images ask for no motion at all.
        features = space.sample(coarse[side], points, extent)
        found = space.sample(coarse[1 - side], space.follow(points, way), extent)
        return ((found - features).square().sum(0) + _SOFT**2).sqrt().mean()

    for number in range(iterations):
        smooth = _smoothed(velocity, _SMOOTH_NODES)
        loss = apart(0, [*flows[0], _exponential(smooth, space)])
        loss = loss + apart(1, [_exponential(-smooth, space), *flows[1]])
        loss = 0.5 * loss + settings["stiffness"][level] * _slope(smooth, space)
        (slope,) = torch.autograd.grad(loss, velocity)
        pace = step * (1 - (1 - _STEP_LEFT) * number / iterations)
        with torch.no_grad():
            _adam_step(velocity, slope, means, squares, number + 1, pace)
    return _smoothed(velocity.detach(), _SMOOTH_NODES)


def _adam_step(values, slope, means, squares, number, pace):
    """Step of Adam, in place: that of torch loads its compiler, more than a second of each job."""
    decay_mean, decay_square = _DECAY
    means.lerp_(slope, 1 - decay_mean)
    squares.mul_(decay_square).addcmul_(slope, slope, value=1 - decay_square)
    mean = means / (1 - decay_mean**number)
    spread = (squares / (1 - decay_square**number)).sqrt_().add_(1e-8)
    values.addcdiv_(mean, spread, value=-pace)


def _slope(velocity, space):
    """Mean square of the derivatives of a velocity."""
    pitch = space.pitch(velocity)
    return sum((velocity.diff(dim=3 - axis) / pitch[axis]).square().mean() for axis in range(3))


def _exponential(velocity, space):
    """Displacement after unit time along a velocity (3, z, y, x), both in mm on its nodes."""
    nodes = space.spread(velocity.shape[:0:-1])
    longest = float(velocity.detach().abs().max()) / _FIRST_STEP
    squarings = max(1, math.ceil(math.log2(max(longest / min(space.pitch(velocity)), 1.0))))
    flow = velocity / 2**squarings
    for _ in range(squarings):
        points = (nodes + flow.permute(1, 2, 3, 0)).reshape(-1, 3)
        flow = flow + space.sample(flow, points).view_as(flow)
    return flow


def _smoothed(values, sigma):
    """Gaussian smoothing of (c, z, y, x), edges repeated; sigma in voxels."""
    radius = max(1, int(2.5 * sigma + 0.5))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1.0) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(3):
        shape, pad = [1, 1, 1], [0] * 6
        shape[axis] = 2 * radius + 1
        pad[4 - 2 * axis : 6 - 2 * axis] = radius, radius
        weight = kernel.view(1, 1, *shape).expand(len(values), 1, *shape)
        padded = functional.pad(values[None], pad, mode="replicate")
        values = functional.conv3d(padded, weight, groups=len(values))[0]
    return values


def _blurred(features, space, sigma_mm, every):
    """Stack blurred features as a tensor (c, z, y, x), every n-th voxel of them."""
    sigma = sigma_mm / space.voxel_mm
    cut = np.s_[::every, ::every, ::every]
    stack = [ndimage.gaussian_filter(values, sigma, truncate=2.5)[cut] for values in features]
    return torch.from_numpy(np.ascontiguousarray(stack, dtype=np.float32))


def _extent(values, voxel_mm):
    """Way from the first to the last voxel of (c, z, y, x) along x, y, z."""
    return torch.tensor([(n - 1) * voxel_mm for n in values.shape[:0:-1]], dtype=torch.float32)


def _search(fixed, moving, space, settings):
    """Return as a velocity the best shift about each node, smoothed until neighbours agree."""
    every = max(1, round(settings["search_voxel_mm"] / space.voxel_mm))
    voxel_mm = every * space.voxel_mm
    here, there = (_blurred(side, space, 0.5 * voxel_mm, every) for side in (fixed, moving))
    reach = max(1, round(settings["search_mm"] / voxel_mm))
    shifts = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 3)  # (k, 3) as z, y, x
    lung = (functional.max_pool3d(here[None, -1:], 3, 1, 1)[0] > _RULES_OUT).float()
    around = functional.pad(there[None], [reach] * 6, mode="replicate")[0]
    size = here.shape[1:]
    costs = []
    for shift in shifts.tolist():
        z, y, x = (slice(reach + s, reach + s + n) for s, n in zip(shift, size, strict=True))
        apart = (around[:, z, y, x] - here).square().sum(0, keepdim=True) * lung
        costs.append(_pooled(apart))
    cost = torch.cat(costs)  # (k, z, y, x)
    weight = _pooled(lung)
    choices = shifts.flip(1).float()  # x, y, z
    flat = cost.view(len(choices), -1)
    best = choices[flat.argmin(0)].T.view(3, *cost.shape[1:])
    for strength in _SEARCH_SMOOTH:
        opinion = _agreed(best, weight).view(3, -1)
        far = sum((choices[:, axis, None] - opinion[axis]).square() for axis in range(3))
        best = choices[(flat + strength * far).argmin(0)].T.view_as(best)
    best = _agreed(_agreed(best, weight), weight) * voxel_mm
    # Pooling has left every second voxel; nodes are to reach from border to border.
    nodes = space.nodes(2 * voxel_mm)
    found = space.sample(best, nodes.reshape(-1, 3), _extent(best, 2 * voxel_mm))
    return found.view(3, *nodes.shape[:3])


def _pooled(values):
    """Mean about every second voxel, (1, z, y, x)."""
    return functional.avg_pool3d(values[None], 3, 2, 1)[0]


def _agreed(shifts, weight):
    """Smooth shifts where there is lung."""
    return _smoothed(shifts * weight, 1.0) / (_smoothed(weight, 1.0) + 1e-3)


def _field(flows, space, grid, step_mm):
    """Chain the flows to one displacement field in the world of the grid."""
    with torch.no_grad():
        nodes = space.nodes(step_mm)
        points = nodes.reshape(-1, 3)
        moved = (space.follow(points, flows) - points).view_as(nodes)
    field = sitk.GetImageFromArray(moved.double().numpy(), isVector=True)
    field.SetOrigin(grid.GetOrigin())
    field.SetSpacing(space.pitch(nodes.permute(3, 0, 1, 2)))
    return field
