"""Parts of the networks: convolutions with a norm a pass, residual units, gates, filters.

A pass is one voxel size at which a network reads a scan. Passes share the convolutions and keep
their own normalisation (scale, shift and statistics), which is how one encoder serves whole chests
at 4 mm and airways at 1 mm; at inference the norm of a pass is folded into the convolutions.
"""

import math

import torch
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

FOLD = (
    2  # side of the cube of voxels that becomes channels at the first layer, and back at the last
)


class NormedConv(nn.Module):
    """3-D convolution followed by the batch norm of the pass."""

    def __init__(self, channels_in, channels_out, passes, kernel=3, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv3d(
            channels_in,
            channels_out,
            kernel,
            stride,
            padding=(kernel - 1) // 2,
            bias=False,
            groups=groups,
        )
        self.norms = nn.ModuleDict({name: nn.BatchNorm3d(channels_out) for name in passes})

    def forward(self, x, name):
        """Return the normalised features of pass `name`."""
        return self.norms[name](self.conv(x)) if len(self.norms) else self.conv(x)

    def fold(self, name):
        """Fold the norm of a pass into the convolution, in place; other passes are lost."""
        self.conv = fuse_conv_bn_eval(self.conv, self.norms[name])
        self.norms = nn.ModuleDict()


class Residual(nn.Module):
    """Two normed convolutions and a shortcut (He et al., CVPR 2016), after dropout where asked."""

    def __init__(self, channels_in, channels_out, passes, stride=1, dropout=0.0):
        super().__init__()
        self.first = NormedConv(channels_in, channels_out, passes, stride=stride)
        self.second = NormedConv(channels_out, channels_out, passes)
        self.dropout = nn.Dropout3d(dropout) if dropout else nn.Identity()
        same = channels_in == channels_out and stride == 1
        self.shortcut = None if same else NormedConv(channels_in, channels_out, passes, 1, stride)

    def forward(self, x, name):
        """Return features, (n, channels_out, z, y, x) over the stride."""
        short = x if self.shortcut is None else self.shortcut(x, name)
        inner = functional.relu(self.first(x, name), inplace=True)
        return functional.relu(self.second(self.dropout(inner), name) + short)


class Gate(nn.Module):
    """Additive attention gate on a skip connection (Oktay et al., MIDL 2018)."""

    def __init__(self, skip, guide):
        super().__init__()
        inner = max(skip // 2, 4)
        self.skip, self.guide = nn.Conv3d(skip, inner, 1), nn.Conv3d(guide, inner, 1)
        self.weight = nn.Conv3d(inner, 1, 1)

    def forward(self, skip, guide):
        """Return the skip weighed, 0 to 1, by what the coarser features say; same grid."""
        inner = functional.relu(self.skip(skip) + self.guide(guide))
        return skip * torch.sigmoid(self.weight(inner))


def fold_voxels(x):
    """Cubes of voxels as channels: (n, c, z, y, x) to (n, 8 c, z/2, y/2, x/2), nothing lost."""
    return pixelunshuffle(x, 3, FOLD)


def unfold_voxels(x):
    """Inverse of `fold_voxels`."""
    return pixelshuffle(x, 3, FOLD)


def unfold_bytes(x):
    """Cubes of voxels, of any type, as voxels: (c, 8, z, y, x) to (c, 2 z, 2 y, 2 x)."""
    x = x.unflatten(1, (FOLD, FOLD, FOLD)).permute(0, 4, 1, 5, 2, 6, 3)
    return x.flatten(5, 6).flatten(3, 4).flatten(1, 2)


def enlarge(x):
    """Twice the voxels along each axis, trilinear."""
    return functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


def edges(x):
    """Gradient magnitude and Laplacian of one channel, (n, 1, z, y, x) to (n, 2, z, y, x)."""
    padded = functional.pad(x, (1,) * 6, mode="replicate")
    inner = slice(1, -1)
    total = torch.zeros_like(x)
    laplacian = -6.0 * x
    for axis in (2, 3, 4):
        before, after = [inner] * 3, [inner] * 3
        before[axis - 2], after[axis - 2] = slice(None, -2), slice(2, None)
        low, high = padded[(..., *before)], padded[(..., *after)]
        total = total + (high - low).square()
        laplacian = laplacian + low + high
    return torch.cat([(0.25 * total + 1e-8).sqrt(), laplacian], dim=1)


def smooth(x, sigma):
    """Gaussian blur of (n, c, z, y, x) by `sigma` voxels, along z, y, x or one for all."""
    sigmas = (sigma,) * 3 if isinstance(sigma, int | float) else tuple(sigma)
    channels = x.shape[1]
    for axis, width in enumerate(sigmas):
        if width < 0.05:
            continue
        reach = max(1, math.ceil(2.5 * width))
        at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-0.5 * (at / width) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = -1
        kernel = (kernel / kernel.sum()).reshape(shape)
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = reach
        x = functional.pad(x, padding, mode="replicate")
        x = functional.conv3d(x, kernel.expand(channels, *kernel.shape[1:]), groups=channels)
    return x


def tubeness(x, sigmas=(0.8, 1.6)):
    """How much a bright tube runs through each voxel: (n, 1, ...) to (n, len(sigmas), ...).

    Square root of the product of the two most negative eigenvalues of the Hessian of the blurred
    image, times the variance of the blur, 0 where the second is not negative (after Sato et al.,
    Med Image Anal 1998). Eigenvalues in closed form (Smith, CACM 1961).
    """
    return torch.cat([_tubeness(smooth(x, sigma)) * sigma**2 for sigma in sigmas], dim=1)


def _tubeness(x):
    padded = functional.pad(x, (1,) * 6, mode="replicate")
    n = padded.shape[2:]

    def at(dz, dy, dx):
        places = [slice(1 + d, size - 1 + d) for d, size in zip((dz, dy, dx), n, strict=True)]
        return padded[(..., *places)]

    zz = at(1, 0, 0) + at(-1, 0, 0) - 2 * x
    yy = at(0, 1, 0) + at(0, -1, 0) - 2 * x
    xx = at(0, 0, 1) + at(0, 0, -1) - 2 * x
    zy = 0.25 * (at(1, 1, 0) + at(-1, -1, 0) - at(1, -1, 0) - at(-1, 1, 0))
    zx = 0.25 * (at(1, 0, 1) + at(-1, 0, -1) - at(1, 0, -1) - at(-1, 0, 1))
    yx = 0.25 * (at(0, 1, 1) + at(0, -1, -1) - at(0, 1, -1) - at(0, -1, 1))
    mean = (zz + yy + xx) / 3
    off = zy**2 + zx**2 + yx**2
    spread = ((zz - mean) ** 2 + (yy - mean) ** 2 + (xx - mean) ** 2 + 2 * off) / 6
    p = (spread + 1e-12).sqrt()
    a, b, c = (zz - mean) / p, (yy - mean) / p, (xx - mean) / p
    d, e, f = zy / p, zx / p, yx / p
    half = 0.5 * (a * (b * c - f**2) - d * (d * c - f * e) + e * (d * f - b * e))
    angle = torch.acos(half.clamp(-1 + 1e-6, 1 - 1e-6)) / 3
    largest = mean + 2 * p * torch.cos(angle)
    smallest = mean + 2 * p * torch.cos(angle + 2 * math.pi / 3)
    middle = 3 * mean - largest - smallest
    return (smallest.clamp(max=0) * middle.clamp(max=0)).sqrt()
