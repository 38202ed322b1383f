"""One pass of the network over a box of a scan, in bounded memory, and its probabilities.

A pass reads blocks along the long axis with a halo and keeps probabilities as bytes on its own
grid. They come back onto the scan slab by slab, so that no map of a scan is ever held as floats.
"""

import numba
import numpy as np
import torch
from torch.nn import functional

from . import blocks, hierarchical
from .hierarchical import CENTRAL, PASSES

PAD_HU = -1024.0
HALO = 16  # voxels of a pass read beside a block and thrown away
BLOCK_VOXELS = 14_000_000
SLAB = 16  # slices of a scan whose probabilities are floats at a time


class Pass:
    """Probabilities of one pass over a box of a scan, as bytes.

    Parameters
    ----------
    reader : inference.Reader
    name : str
    hu : ndarray, (z, y, x)
    spacing_mm : tuple of float
    box : tuple of slice, optional
        Part of the scan; all of it if absent.
    branches : sequence of str, optional

    Attributes
    ----------
    volume : Tensor, (z, y, x)
        HU on the grid of the pass.
    bytes : dict of ndarray of uint8, (classes, z, y, x)
        Probabilities by group, 255 for 1.
    values : dict of float
        Quantities of `hierarchical.VALUES`.
    """

    def __init__(self, reader, name, hu, spacing_mm, box=None, branches=None):
        self.box = box or tuple(slice(0, n) for n in hu.shape)
        part = hu[self.box]
        sides = [
            max(1, round(n * mm / PASSES[name]["voxel_mm"]))
            for n, mm in zip(part.shape, spacing_mm, strict=True)
        ]
        self.volume = resized(part, sides)
        self.bytes, self.values = reader.run(name, self.volume, branches)

    def shares(self, group):
        """Probabilities of a group, (classes, z, y, x) float32, on the grid of the pass."""
        return self.bytes[group].astype(np.float32) / 255.0

    def over(self, box=None):
        """Return the probabilities over a box of the scan within that of the pass, as a `View`."""
        lines = []
        for own, part, n in zip(self.box, box or self.box, self.volume.shape, strict=True):
            points = np.arange(part.start, part.stop) - own.start + 0.5
            lines.append(points * (n / (own.stop - own.start)) - 0.5)
        return View(self.bytes, lines)


class View:
    """Probabilities on other voxels than those of their pass.

    Parameters
    ----------
    values : dict of ndarray of uint8, (classes, z, y, x)
    lines : list of ndarray
        Where the voxels are along each axis, index of the pass; ends go on as they are.
    """

    def __init__(self, values, lines):
        self.values = values
        self.lines = [np.asarray(line, np.float32) for line in lines]
        self.shape = tuple(len(line) for line in lines)

    def slabs(self):
        """Yield parts of the first axis, as slices."""
        for start in range(0, self.shape[0], SLAB):
            yield slice(start, min(start + SLAB, self.shape[0]))

    def at(self, group, codes, slab):
        """Probabilities of some classes in a slab, (codes, z, y, x) float32; trilinear."""
        z, y, x = self.lines
        out = np.empty((len(codes), len(z[slab]), len(y), len(x)), np.float32)
        _sample(self.values[group], np.array(codes), z[slab], y, x, out)
        return out


@numba.njit(cache=True)
def _taps(line, n):
    """Voxel before each point of a line of n voxels, and the share of the next one."""
    low, share = np.empty(len(line), np.int64), np.empty(len(line), np.float32)
    for k, at in enumerate(line):
        at = min(max(at, 0.0), n - 1.0)
        low[k] = min(int(at), max(n - 2, 0))
        share[k] = at - low[k]
    return low, share


@numba.njit(cache=True)
def _sample(values, codes, z, y, x, out):
    """Fill `out` (codes, z, y, x) with values (classes, ...) between voxels, 255 as 1."""
    (zs, cs), (ys, bs), (xs, as_) = (
        _taps(z, values.shape[1]),
        _taps(y, values.shape[2]),
        _taps(x, values.shape[3]),
    )
    columns = values.shape[3]
    line = np.empty(columns, np.float32)
    for n, code in enumerate(codes):
        part = values[code]
        for i in range(len(z)):
            k, c = zs[i], cs[i]
            up = min(k + 1, values.shape[1] - 1)
            for j in range(len(y)):
                row, b = ys[j], bs[j]
                down = min(row + 1, values.shape[2] - 1)
                for m in range(columns):
                    first = part[k, row, m] * (1 - b) + part[k, down, m] * b
                    second = part[up, row, m] * (1 - b) + part[up, down, m] * b
                    line[m] = (first * (1 - c) + second * c) * np.float32(1.0 / 255.0)
                for m in range(len(x)):
                    low, a = xs[m], as_[m]
                    out[n, i, j, m] = line[low] * (1 - a) + line[min(low + 1, columns - 1)] * a


@torch.inference_mode()
def run(reader, name, volume, branches):
    """Read a volume block by block.

    Returns
    -------
    dict of ndarray of uint8, dict of float
        Probabilities by group, (classes, z, y, x); values, averaged over blocks.
    """
    net, multiple = reader.nets[name], reader.multiple
    shape = volume.shape
    padded = [-(-n // multiple) * multiple for n in shape]
    plane = padded[1] * padded[2]
    step = max(multiple, (BLOCK_VOXELS // plane - 2 * HALO) // multiple * multiple)
    found, values, weight = {}, {}, 0
    for start in range(0, shape[0], step):
        low, high = max(0, start - HALO), min(shape[0], start + step + HALO)
        stop = min(start + step, shape[0])
        for branch, groups in _block(reader, net, name, volume[low:high], padded, branches).items():
            estimates = groups.pop("values")[0].float().cpu().numpy()
            for key, value in zip(hierarchical.VALUES[branch], estimates, strict=True):
                values[key] = values.get(key, 0.0) + float(value) * (stop - start)
            for group, logits in groups.items():
                if group == "edge":
                    continue
                read = _bytes(reader, group, name, logits[0], start - low, stop - low)
                if group not in found:
                    found[group] = np.empty((len(read), *shape), np.uint8)
                found[group][:, start:stop] = read[:, :, : shape[1], : shape[2]]
        weight += stop - start
    return found, {key: value / weight for key, value in values.items()}


def _block(reader, net, name, hu, padded, branches):
    """Logits of a part of a volume by branch and group, on cubes of voxels where a net has them."""
    sides = (-(-hu.shape[0] // reader.multiple) * reader.multiple, *padded[1:])
    block = torch.full((1, 1, *sides), PAD_HU)
    block[(0, 0, *(slice(n) for n in hu.shape))] = hu
    folded = {"folded": True} if reader.folded else {}
    with torch.autocast(reader.device, torch.bfloat16, reader.precision == "bfloat16"):
        block = block.to(reader.device).contiguous(memory_format=torch.channels_last_3d)
        return net(block, name, branches, values=True, **folded)


def _bytes(reader, group, name, logits, first, last):
    """Probabilities of the slices first to last of a block as bytes, (classes, z, y, x)."""
    if not reader.folded:
        return shares_of(reader, group, name, logits[:, first:last].float()).numpy()
    # Cubes of voxels are channels still: as bytes they are taken apart at a quarter of the cost.
    fold = blocks.FOLD
    logits = logits.unflatten(0, (-1, fold**3))[:, :, first // fold : -(-last // fold)].float()
    return blocks.unfold_bytes(shares_of(reader, group, name, logits))[:, first % fold :][
        :, : last - first
    ].numpy()


def shares_of(reader, group, name, logits):
    """Probabilities as bytes from logits, classes first; details know no lobes."""
    if logits.shape[0] == 1:
        shares = torch.sigmoid(logits)
    else:
        if group == "regions" and name == "detail":  # a detail can't tell lobes, see losses
            lung = torch.logsumexp(logits[1:CENTRAL], dim=0, keepdim=True)
            logits = torch.cat([logits[:1], lung, logits[CENTRAL:]])
        if group in reader.outside:
            logits[:1] += reader.outside[group]
        shares = torch.softmax(logits, dim=0)
    return shares.mul_(255.0).round_().byte().cpu()


def features(net, volume):
    """Means of the coarsest features over a chest, (channels,) float32 ndarray.

    Parameters
    ----------
    net : Hierarchical
        Folded for the chest pass, or whole and in evaluation mode.
    volume : Tensor, (z, y, x)
        HU on the grid of the chest pass.
    """
    sides = [-(-n // net.multiple) * net.multiple for n in volume.shape]
    block = torch.full((1, 1, *sides), PAD_HU)
    block[(0, 0, *(slice(n) for n in volume.shape))] = volume
    with torch.inference_mode():
        deepest = net.encoder(net.image(block), "chest")[-1]
        return deepest.mean(dim=(0, 2, 3, 4)).float().cpu().numpy()


def resized(hu, sides):
    """Put a volume on another grid over the same field: means where coarser, else trilinear.

    Returns
    -------
    Tensor of float32, (z, y, x)
    """
    volume = torch.from_numpy(np.ascontiguousarray(hu, dtype=np.float32))
    for axis, n in enumerate(sides):
        if n < volume.shape[axis]:
            volume = _averaged(volume, axis, n)
    if tuple(volume.shape) == tuple(sides):
        return volume
    return functional.interpolate(
        volume[None, None], size=tuple(sides), mode="trilinear", align_corners=False
    )[0, 0]


def _averaged(volume, axis, n):
    """Means over intervals of equal length along one axis, voxels shared where they are cut."""
    size = volume.shape[axis]
    at = np.arange(size)[:, None]
    edges = np.linspace(0.0, size, n + 1)
    weight = np.clip(np.minimum(at + 1, edges[1:]) - np.maximum(at, edges[:-1]), 0.0, None)
    weight = torch.from_numpy((weight / weight.sum(axis=0)).astype(np.float32))
    return torch.tensordot(volume, weight, dims=([axis], [0])).movedim(-1, axis)
