"""From a scan to label maps: the passes of the network, coarse to fine, in bounded memory.

The chest is read whole at 4 mm; what it finds bounds the finer passes: lungs at 1 mm for airways
and vessels, the heart at 2 mm. Each pass has its norms folded into its convolutions, reads blocks
along the long axis with a halo, and keeps probabilities as bytes.
"""

import dataclasses
import logging

import cc3d
import fill_voids
import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from lungitude import images, segmentation

from . import hierarchical, weights
from .hierarchical import CENTRAL, GROUPS, PASSES

log = logging.getLogger(__name__)

PAD_HU = -1024.0
HALO = 16  # voxels of a pass read beside a block and thrown away
BLOCK_VOXELS = 6_000_000
LUNG_MARGIN_MM, HEART_MARGIN_MM = 12.0, 20.0
FRAGMENT_SHARE = 0.02  # pieces of a structure below this share of its largest one are dropped
ROOT_MM = 8.0  # around lungs and central airways, in which airways are sought
EDGE_HU, RIM_MM = -400.0, 2.5
EDGE_SHARE = 0.5  # the same for pieces at the sides of the box
LUNG_LEAST_ML = 50.0
LEAST_SHARE = 0.2  # of a voxel of air beside what is lung for sure
COARSE_WEIGHT = 0.6  # of the chest pass in what is lung
HEART_LEAST_ML = 30.0
PARTS = ("lungs", "lobes", "airways", "vessels", "heart", "coronary")


@dataclasses.dataclass
class Maps:
    """What the network says of one scan.

    labels : dict of ndarray of uint8, (z, y, x), on the scan's grid in LPS order, by `PARTS`
    confidence : dict of float, expected Dice of each map by its own probabilities
    values : dict of float, quantities of `hierarchical.VALUES` as estimated as a whole
    distance : float, of the scan from those of the training; above 1 it is unlike all of them
    """

    labels: dict
    confidence: dict = dataclasses.field(default_factory=dict)
    values: dict = dataclasses.field(default_factory=dict)
    distance: float = float("nan")


class Reader:
    """A network ready to read scans; build it once for many.

    Parameters
    ----------
    path : path, optional
        Weights; the shipped ones if absent.
    precision : str
        ``float32`` (the same bytes everywhere one build of torch runs) or ``bfloat16`` (up to
        twice as fast where the processor has it).
    device : str
        ``cpu`` or ``cuda``.
    """

    def __init__(self, path=None, precision="float32", device="cpu", net=None):
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision '{precision}' is unknown; known: float32, bfloat16")
        if net is None:
            net, self.facts, self.familiar = weights.load(path)
        else:
            self.facts, self.familiar = {}, None
        self.multiple, self.precision, self.device = net.multiple, precision, device
        self.nets = {}
        for name in PASSES:
            folded = hierarchical.fold(net, name).to(device)
            self.nets[name] = folded.to(memory_format=torch.channels_last_3d)

    def read(self, hu, spacing_mm, parts=PARTS):
        """Label maps of one scan.

        Parameters
        ----------
        hu : ndarray, (z, y, x)
            Axes to the head, to the back, to the left.
        spacing_mm : tuple of float
            Along z, y, x.
        parts : sequence of str
            Maps to make, of `PARTS`.

        Returns
        -------
        Maps
        """
        chest = Pass(self, "chest", hu, spacing_mm, None)
        found = Maps({}, values=chest.values, distance=self.distance(hu, spacing_mm))
        regions, chambers = chest.shares("regions"), chest.shares("chambers")
        if {"lungs", "lobes", "airways", "vessels"} & set(parts):
            self._lungs(found, hu, spacing_mm, chest, regions, parts)
        if {"heart", "coronary"} & set(parts):
            self._heart(found, hu, spacing_mm, chambers, parts)
        return found

    def cycle(self, phases, spacing_mm):
        """Hearts over the phases of one gated scan; the heart is sought once, at 75 % of the cycle.

        Parameters
        ----------
        phases : list of ndarray, (z, y, x)
        spacing_mm : tuple of float

        Returns
        -------
        Maps
            ``labels["heart"]`` is a list, one label map a phase.
        """
        diastole = phases[len(phases) * 3 // 4]
        chest = Pass(self, "chest", diastole, spacing_mm, None)
        box = _heart_box(chest.shares("chambers"), diastole.shape, spacing_mm)
        hearts = [Maps({}) for _ in phases]
        for heart, hu in zip(hearts, phases, strict=True):
            self._chambers(heart, hu, spacing_mm, box, ("heart",))
        sure = float(np.mean([heart.confidence.get("heart", np.nan) for heart in hearts]))
        labels = {"heart": [heart.labels["heart"] for heart in hearts]}
        return Maps(labels, {"heart": sure}, distance=self.distance(diastole, spacing_mm))

    def distance(self, hu, spacing_mm):
        """How far the features of the whole chest are from those of the training's draws.

        Mahalanobis distance of the coarsest features' means over the chest, over the distance that
        99 of 100 held-out draws keep (Lee et al., NeurIPS 2018); NaN where the weights tell none.
        """
        if self.familiar is None:
            return float("nan")
        sides = [
            max(1, round(n * mm / PASSES["chest"]["voxel_mm"]))
            for n, mm in zip(hu.shape, spacing_mm, strict=True)
        ]
        return self.familiar.distance(features(self.nets["chest"], resized(hu, sides)))

    def _lungs(self, found, hu, spacing_mm, chest, regions, parts):
        empty = np.zeros(hu.shape, np.uint8)
        coarse = regions[:, 1:].sum(1)[0]
        box = _box(coarse > 0.3, hu.shape, spacing_mm, LUNG_MARGIN_MM)
        found.labels.update({part: empty.copy() for part in parts if part in PARTS[:4]})
        if box is None:
            return
        wanted = None if {"airways", "vessels"} & set(parts) else ("lung",)
        detail = Pass(self, "detail", hu, spacing_mm, box, wanted)
        found.values.update(detail.values)
        air = hu[box] < segmentation.AIR_HU
        lung, found.confidence["lungs"] = _join_lungs(
            sum(_to_scan(regions[:, k : k + 1], hu.shape, box)[0] for k in range(1, CENTRAL)),
            detail.to_scan("regions", 1),
            detail.to_scan("regions", 2),
            air,
            air & ~segmentation.inner_air(hu, spacing_mm)[box],
        )
        # Lungs end where they are half air: what is denser in their rim is the wall beside them.
        lung &= ~((hu[box] > EDGE_HU) & _grown(~lung, spacing_mm, RIM_MM))
        lobes = _lobes(regions, hu.shape, box)
        lungs = _tidy_lungs(lung, lobes, spacing_mm)
        if "lungs" in parts:
            found.labels["lungs"][box] = np.where(lungs > 3, 2, lungs > 0)
        if "lobes" in parts:
            found.labels["lobes"][box] = lungs
        # Trees are sought in the lungs and where the central airways run.
        root = _to_scan(regions[:, CENTRAL : CENTRAL + 1], hu.shape, box)[0] > 0.2
        if "airways" in parts:
            shares = [detail.to_scan("airways", k) for k in (1, 2)]
            labels, found.confidence["airways"] = _decide(shares)
            labels[~_grown((lungs > 0) | root, spacing_mm, ROOT_MM)] = 0
            found.labels["airways"][box] = _largest(labels)
        if "vessels" in parts:
            shares = [detail.to_scan("vessels", k) for k in (1, 2)]
            labels, found.confidence["vessels"] = _decide(shares)
            labels[lungs == 0] = 0
            found.labels["vessels"][box] = labels

    def _heart(self, found, hu, spacing_mm, chambers, parts):
        box = _heart_box(chambers, hu.shape, spacing_mm)
        self._chambers(found, hu, spacing_mm, box, parts)

    def _chambers(self, found, hu, spacing_mm, box, parts):
        wanted = [part for part in ("heart", "coronary") if part in parts]
        found.labels.update({part: np.zeros(hu.shape, np.uint8) for part in wanted})
        if box is None:
            return
        heart = Pass(self, "heart", hu, spacing_mm, box)
        found.values.update(heart.values)
        for part, group in (("heart", "chambers"), ("coronary", "coronaries")):
            if part in parts:
                shares = [heart.to_scan(group, k) for k in range(1, len(GROUPS["heart"][group]))]
                labels, found.confidence[part] = _decide(shares)
                found.labels[part][box] = _pieces(labels) if part == "heart" else labels


class Pass:
    """Probabilities of one pass over a box of a scan, as bytes.

    Parameters
    ----------
    reader : Reader
    name : str
    hu : ndarray, (z, y, x)
    spacing_mm : tuple of float
    box : tuple of slice or None
        Part of the scan; all of it if None.
    branches : sequence of str, optional
    """

    def __init__(self, reader, name, hu, spacing_mm, box, branches=None):
        self.name = name
        self.shape = hu.shape if box is None else tuple(part.stop - part.start for part in box)
        part = hu if box is None else hu[box]
        sides = [
            max(1, round(n * mm / PASSES[name]["voxel_mm"]))
            for n, mm in zip(self.shape, spacing_mm, strict=True)
        ]
        volume = resized(part, sides)
        self.bytes, self.values = _run(reader, name, volume, branches)

    def shares(self, group):
        """Probabilities of a group, (1, classes, z, y, x) float32, on the grid of the pass."""
        return torch.from_numpy(self.bytes[group]).float().div_(255.0)[None]

    def to_scan(self, group, code):
        """Probability of one class on the voxels of the box, ndarray of float32."""
        values = torch.from_numpy(self.bytes[group][code]).float()[None, None]
        return _resize(values, self.shape)[0, 0].numpy() / 255.0


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
        image = hierarchical.windows(block, net.config["windows_hu"])
        return net.encoder(image, "chest")[-1].mean(dim=(0, 2, 3, 4)).float().cpu().numpy()


def _run(reader, name, volume, branches):
    """Bytes by group, (classes, z, y, x), from blocks along z; values, averaged over blocks."""
    net, multiple = reader.nets[name], reader.multiple
    shape = volume.shape
    padded = [-(-n // multiple) * multiple for n in shape]
    plane = padded[1] * padded[2]
    step = max(multiple, (BLOCK_VOXELS // plane - 2 * HALO) // multiple * multiple)
    found, values, weight = {}, {}, 0
    for start in range(0, shape[0], step):
        low, high = max(0, start - HALO), min(shape[0], start + step + HALO)
        block = torch.full((1, 1, -(-(high - low) // multiple) * multiple, *padded[1:]), PAD_HU)
        block[0, 0, : high - low, : shape[1], : shape[2]] = volume[low:high]
        with (
            torch.inference_mode(),
            torch.autocast(reader.device, torch.bfloat16, reader.precision == "bfloat16"),
        ):
            block = block.to(reader.device).contiguous(memory_format=torch.channels_last_3d)
            logits = net(block, name, branches, values=True)
        stop = min(start + step, shape[0])
        for branch, groups in logits.items():
            estimates = groups.pop("values")[0].float().cpu().numpy()
            for key, value in zip(hierarchical.VALUES[branch], estimates, strict=True):
                values[key] = values.get(key, 0.0) + float(value) * (stop - start)
            for group, tensor in groups.items():
                if group == "edge":
                    continue
                inner = tensor[0, :, start - low : stop - low, : shape[1], : shape[2]].float()
                shares = _shares(group, name, inner)
                if group not in found:
                    found[group] = np.empty((shares.shape[0], *shape), np.uint8)
                found[group][:, start:stop] = shares.mul_(255.0).round_().byte().cpu().numpy()
        weight += stop - start
    return found, {key: value / weight for key, value in values.items()}


def _shares(group, name, logits):
    if logits.shape[0] == 1:
        return torch.sigmoid(logits)
    if group == "regions" and name == "detail":  # a detail can't tell lobes, see losses
        lung = torch.logsumexp(logits[1:CENTRAL], dim=0, keepdim=True)
        logits = torch.cat([logits[:1], lung, logits[CENTRAL:]])
    return torch.softmax(logits, dim=0)


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
    return _resize(volume[None, None], sides)[0, 0]


def _averaged(volume, axis, n):
    """Means over intervals of equal length along one axis, voxels shared where they are cut."""
    size = volume.shape[axis]
    at = np.arange(size)[:, None]
    edges = np.linspace(0.0, size, n + 1)
    weight = np.clip(np.minimum(at + 1, edges[1:]) - np.maximum(at, edges[:-1]), 0.0, None)
    weight = torch.from_numpy((weight / weight.sum(axis=0)).astype(np.float32))
    return torch.tensordot(volume, weight, dims=([axis], [0])).movedim(-1, axis)


def _resize(values, sides):
    if tuple(values.shape[2:]) == tuple(sides):
        return values
    return functional.interpolate(values, size=tuple(sides), mode="trilinear", align_corners=False)


def _to_scan(shares, shape, box):
    """Probabilities of the coarse pass on a box of the scan, (classes, z, y, x)."""
    # Only the box is enlarged: its corners in the coarse grid, half voxels included.
    at = []
    for n, side, part in zip(shares.shape[2:], shape, box, strict=True):
        points = (torch.arange(part.start, part.stop) + 0.5) * (n / side)
        at.append(2.0 * points / n - 1.0)
    out = torch.empty((shares.shape[1], *(len(line) for line in at)))
    for k in range(len(at[0])):
        grid = torch.stack(torch.meshgrid(at[0][k : k + 1], at[1], at[2], indexing="ij"), dim=-1)
        plane = functional.grid_sample(
            shares, grid.flip(-1)[None].float(), "bilinear", "border", align_corners=False
        )
        out[:, k] = plane[0, :, 0]
    return out.numpy()


def _lobes(regions, shape, box):
    """Likeliest lobe, 1 to 6, of every voxel of a box."""
    out = np.empty(tuple(part.stop - part.start for part in box), np.uint8)
    for start in range(box[0].start, box[0].stop, 32):
        stop = min(start + 32, box[0].stop)
        part = _to_scan(regions[:, 1:CENTRAL], shape, (slice(start, stop), *box[1:]))
        out[start - box[0].start : stop - box[0].start] = part.argmax(0) + 1
    return out


def _box(mask, shape, spacing_mm, margin_mm):
    """Box of the scan around a mask on the coarse grid; None if it is empty."""
    mask = np.asarray(mask)
    if not mask.any():
        return None
    box = []
    for axis, (side, mm) in enumerate(zip(shape, spacing_mm, strict=True)):
        line = np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis)))
        scale = side / mask.shape[axis]
        low = int(np.floor(line[0] * scale - margin_mm / mm))
        high = int(np.ceil((line[-1] + 1) * scale + margin_mm / mm))
        box.append(slice(max(0, low), min(side, high)))
    return tuple(box)


def _heart_box(chambers, shape, spacing_mm):
    """Box around the chambers, the great vessels left out; None where there is no heart."""
    mask = (chambers[0].argmax(0).numpy() > 0) & (chambers[0].argmax(0).numpy() < 6)
    voxel_ml = np.prod(
        [side * mm / n for side, mm, n in zip(shape, spacing_mm, mask.shape, strict=True)]
    )
    mask = cc3d.largest_k(mask.astype(np.uint8), k=1, connectivity=26) > 0
    if mask.sum() * voxel_ml / 1000.0 < HEART_LEAST_ML:
        return None
    return _box(mask, shape, spacing_mm, HEART_MARGIN_MM)


def _decide(shares):
    """Likeliest class (the rest is outside) and the Dice that the probabilities promise."""
    outside = 1.0 - sum(shares)
    labels = np.zeros(outside.shape, np.uint8)
    best = outside
    for code, share in enumerate(shares, 1):
        labels[share > best] = code
        best = np.maximum(best, share)
    return labels, _promise(1.0 - outside, labels > 0)


def _promise(share, mask):
    """Return the expected Dice of a mask whose voxels are right with their probability."""
    total = float(share.sum(dtype=np.float64) + mask.sum())
    return 2.0 * float(share[mask].sum(dtype=np.float64)) / total if total else float("nan")


def _join_lungs(coarse, detail, central, air, outside):
    """Lungs where chest and detail agree: the chest knows what is lung, the detail where it ends.

    A detail of 64 mm can't tell a lung without marks from air around the patient, so it decides
    only where the chest pass is in doubt, which is along the borders. From what is lung for sure
    the lungs go on through air that is less sure (hysteresis), as in bullae.
    """
    share = COARSE_WEIGHT * coarse + (1.0 - COARSE_WEIGHT) * detail
    sure = (share > 0.5) & (central < 0.5) & ~outside
    perhaps = sure | ((share > LEAST_SHARE) & (central < 0.5) & air & ~outside)
    part = cc3d.connected_components(perhaps.astype(np.uint8), connectivity=6)
    held = np.zeros(int(part.max()) + 1, bool)
    held[np.unique(part[sure])] = True
    held[0] = False
    mask = held[part]
    return mask, _promise(share, mask)


def _tidy_lungs(mask, lobes, spacing_mm):
    """Lobe of each voxel of the lungs: large pieces only, no holes.

    A small piece at the sides of the box, where the scan or the patient ends, is air around him.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    out = np.zeros(mask.shape, np.uint8)
    for side in (lobes <= 3, lobes > 3):
        part = cc3d.connected_components((mask & side).astype(np.uint8), connectivity=6)
        sizes = np.bincount(part.ravel())
        sizes[0] = 0
        if sizes.max() * voxel_ml < LUNG_LEAST_ML:
            continue
        keep = sizes > FRAGMENT_SHARE * sizes.max()
        edge = np.unique(np.concatenate([part[:, [0, -1]].ravel(), part[:, :, [0, -1]].ravel()]))
        keep[edge] &= sizes[edge] > EDGE_SHARE * sizes.max()
        filled = fill_voids.fill(keep[part])
        out[filled] = lobes[filled]
    return _clean_lobes(out)


def _clean_lobes(lobes):
    """Pieces of a lobe apart from its largest go to the lobe that surrounds them."""
    loose = np.zeros(lobes.shape, bool)
    for code in range(1, CENTRAL):
        mask = lobes == code
        if mask.any():
            part = cc3d.connected_components(mask.astype(np.uint8), connectivity=6)
            sizes = np.bincount(part.ravel())
            sizes[0] = 0
            # A lobe may be parted by a cut of the field of view; crumbs are not.
            loose |= (sizes < 0.05 * sizes.max())[part] & mask
    if loose.any():
        at = ndimage.distance_transform_edt(
            loose | (lobes == 0), return_distances=False, return_indices=True
        )
        lobes = np.where(loose, lobes[tuple(at)], lobes)
    return lobes


def _grown(mask, spacing_mm, reach_mm):
    reach = [max(1, round(reach_mm / mm)) for mm in spacing_mm]
    for axis, n in enumerate(reach):
        mask = ndimage.maximum_filter1d(mask.astype(np.uint8), 2 * n + 1, axis=axis)
    return mask > 0


def _largest(labels):
    """Return the largest connected piece, whatever its codes."""
    if not labels.any():
        return labels
    part = cc3d.connected_components((labels > 0).astype(np.uint8), connectivity=26)
    sizes = np.bincount(part.ravel())
    sizes[0] = 0
    return np.where(part == sizes.argmax(), labels, 0).astype(np.uint8)


def _pieces(labels):
    """Return each chamber's largest piece, of what touches the largest piece of the heart."""
    out = np.zeros_like(labels)
    labels = _largest(labels)
    for code in range(1, int(labels.max()) + 1):
        mask = labels == code
        if mask.any():
            part = cc3d.connected_components(mask.astype(np.uint8), connectivity=6)
            sizes = np.bincount(part.ravel())
            sizes[0] = 0
            keep = sizes >= (0.2 if code >= 6 else 1.0) * sizes.max()
            out[keep[part]] = code
    return out


def segment(image, parts=PARTS, reader=None):
    """Label maps of one scan as images.

    Parameters
    ----------
    image : SimpleITK.Image or list of such
        CT in HU, any orientation; the phases of a cycle, of which the heart alone is found.
    parts : sequence of str
        Of `PARTS`.
    reader : Reader, optional
        The shipped network if absent.

    Returns
    -------
    dict of SimpleITK.Image, Maps
        On the grid of the image; of a cycle, ``heart`` is a list.
    """
    reader = reader or Reader()
    if isinstance(image, list | tuple):
        turned = [images.canonical(phase) for phase in image]
        spacing_mm = images.spacing_zyx(turned[0])
        found = reader.cycle([images.array(phase) for phase in turned], spacing_mm)
        hearts = zip(found.labels["heart"], turned, image, strict=True)
        return {"heart": [_restored(*heart) for heart in hearts]}, found
    turned = images.canonical(image)
    found = reader.read(images.array(turned), images.spacing_zyx(turned), parts)
    return {part: _restored(found.labels[part], turned, image) for part in parts}, found


def _restored(labels, turned, image):
    return images.restore(images.from_array(labels, turned), image)
