"""Where the network looks: maps of what an output rests on, and tests of what they are worth.

Grad-CAM [1]_ weighs the channels of a layer by the mean gradient of an output, sums them and keeps
what is positive. For a class of a label map the output is the sum of its logits where it is
predicted (Seg-Grad-CAM [2]_), for a quantity the estimate itself. A map proves little by itself: it
has to lie on the structure more than chance, and to be another one once the weights are random
(sanity check of [3]_).

References
----------
.. [1] Selvaraju et al. 2017, ICCV, 618-626.
.. [2] Vinogradova et al. 2020, AAAI 34:13943-13944.
.. [3] Adebayo et al. 2018, NeurIPS 31:9505-9515.
"""

import copy
import dataclasses
import logging

import numpy as np
import pandas as pd
import torch
from monai.visualize.class_activation_maps import ModelWithHooks
from scipy import ndimage
from skimage.metrics import structural_similarity
from torch import nn
from torch.nn import functional

from . import blocks, passes
from .hierarchical import GROUPS, PASSES, VALUES
from .synthesis import LAA_HU

log = logging.getLogger(__name__)

QUANTILES = (0.9, 0.95, 0.99)
COLUMNS = (
    "OUTPUT KIND STRUCTURE PASS LAYER QUANTILE overlap_pct chance_pct overlap_near_pct "
    "chance_near_pct mass_pct ssim_randomised ssim_randomised_most"
).split()
RANDOM = 3  # networks of random weights that a map is compared with
LOOKED_AT = 0.05  # of the hottest voxel: below, a voxel counts as cold where maps are compared
SMOOTH_VOXELS = 1.0  # spread of the blur before the scan is compared with `LAA_HU`
_WINDOW = 7  # voxels of a side over which structure is compared


@dataclasses.dataclass(frozen=True)
class Output:
    """What is explained: a class of a label map and the quantity that goes with it.

    name : str, of the structure; read, str, of `PASSES`; branch, group : str, of `GROUPS`;
    codes : tuple of int, of the classes, as in the label map; value : str, of `VALUES`;
    label : str, label map that holds the structure; inside : str, label map outside of which
    nothing counts, where there is one; size_mm : field that is read, along z, y, x, None for all
    that the label map spans.
    """

    name: str
    read: str
    branch: str
    group: str
    codes: tuple
    value: str
    label: str
    inside: str | None
    size_mm: tuple


OUTPUTS = (
    Output(
        "low attenuation", "detail", "lung", "low_attenuation", (1,), "laa950_pct", "lobes",
        "lobes", (48.0, None, None),
    ),
    Output(
        "airway wall", "detail", "airway", "airways", (2,), "wall_pct", "airways", None,
        (64.0, 96.0, 128.0),
    ),
    Output(
        "vessels", "detail", "vessel", "vessels", (1, 2), "vessel_pct", "vessels", "lobes",
        (64.0, 72.0, 96.0),
    ),
    Output(
        "heart", "heart", "heart", "chambers", (1, 2, 3), "myocardium_ml", "heart", None,
        (128.0, 128.0, 160.0),
    ),
)  # fmt: skip


@dataclasses.dataclass
class Explained:
    """An output of one scan on the grid of its pass, (z, y, x), voxels of `voxel_mm`.

    hu float32; structure bool, by the label map; heat, dict of float32 0 to 1 by `Output.name` and
    `Output.value`; rows, DataFrame of `COLUMNS`.
    """

    output: Output
    hu: np.ndarray
    structure: np.ndarray
    heat: dict
    voxel_mm: float
    rows: pd.DataFrame


def layers(net, branch):
    """Names of the layers whose maps can be made, from the finest of the decoder down."""
    decoder, stem = net.decoders[branch], f"decoders.{branch}"
    found = [f"{stem}.head", *(f"{stem}.units.{k}" for k in range(len(decoder.units)))]
    found += [f"{stem}.gates.{k}" for k in range(len(decoder.gates))]
    return found + [name for name, _ in _depths(*_encoders(net).get(branch, _shared(net)))]


def activation(
    net, hu, name, branch, group=None, code=None, *, value=None, layer=None, where=None, sign=1
):
    """Grad-CAM of one output at one layer.

    Parameters
    ----------
    net : Hierarchical
        Whole, or folded for the pass; it is read in evaluation mode and stays as it is.
    hu : ndarray, (z, y, x)
        On voxels of the pass; any sides, which are filled up to what the network takes.
    name : str
        Pass, of `PASSES`.
    branch : str
    group : str, optional
        Of `GROUPS`, for a class; then `code` too.
    code : int or sequence of int, optional
        Class as in the label map; several count as one structure. 1 for a group of one class.
    value : str, optional
        Of `VALUES`, in place of a group.
    layer : str, optional
        Of `layers`; the finest unit of the decoder if absent.
    where : ndarray of bool, (z, y, x), optional
        Voxels whose logits are summed; those where the class is predicted if absent.
    sign : int
        1 for what raises the output, -1 for what lowers it.

    Returns
    -------
    ndarray of float32, (z, y, x)
        0 to 1, the hottest voxel; 0 everywhere where nothing is predicted, or nothing speaks for
        the output. On the grid of `hu`, trilinear between the voxels of the layer.

    Raises
    ------
    ValueError
        An unknown branch, group, class, value or layer, or one that the network does not have.
    """
    _check(net, branch, group, code, value)
    layer = layer or f"decoders.{branch}.units.0"
    if layer not in layers(net, branch):
        known = ", ".join(layers(net, branch))
        raise ValueError(f"layer '{layer}' is unknown; known: {known}")
    signed = _signed(net, hu, name, branch, (group, _codes(code), value), layer, where)
    return _rectified(signed, sign, np.shape(hu), net.multiple)


def _signed(net, hu, name, branch, output, layer, where):
    """Sum of a layer's channels weighed by their mean gradients, (1, 1, z, y, x) of the layer."""
    # A copy: hooks, gradients and what they hold on to end with it.
    part = copy.deepcopy(net).eval().to(memory_format=torch.contiguous_format)
    part.requires_grad_(False)
    (part if layer.startswith("encoder") else part.decoders[branch]).requires_grad_(True)
    volume = _filled(hu, net.multiple, passes.PAD_HU)
    inside = np.ones(np.shape(hu), bool) if where is None else where
    inside = _filled(inside, net.multiple, 0.0)[0, 0] > 0
    wrapped = _Score(part, name, branch, output, inside, where is None)
    hooked = ModelWithHooks(wrapped, f"net.{layer}", register_forward=True, register_backward=True)
    with torch.enable_grad():
        volume = volume.to(next(part.parameters()).device)
        volume.requires_grad_(layer.startswith("encoder"))
        _, (features,), (gradient,) = hooked(volume, class_idx=0)
    weight = gradient.mean(dim=(2, 3, 4), keepdim=True)
    return (weight * features).sum(dim=1, keepdim=True).detach().float().cpu()


def _rectified(signed, sign, shape, multiple, within=None):
    """Keep what is positive, on the grid of the image and where asked, its hottest voxel 1."""
    full = [-(-n // multiple) * multiple for n in shape]
    heat = functional.interpolate(functional.relu(sign * signed), size=full, mode="trilinear")
    heat = heat[(0, 0, *(slice(n) for n in shape))].numpy()
    heat = heat if within is None else heat * within
    return np.ascontiguousarray(heat / max(float(heat.max()), np.finfo(np.float32).tiny))


def predicted(net, hu, name, branch, group, code):
    """Where a class, or one of several, is what the network finds likeliest.

    Returns
    -------
    ndarray of bool, (z, y, x)
    """
    _check(net, branch, group, code, None)
    volume = _filled(hu, net.multiple, passes.PAD_HU)
    with torch.inference_mode():
        volume = volume.to(next(net.parameters()).device)
        logits = copy.deepcopy(net).eval()(volume, name, (branch,))[branch][group][0]
        found = _likeliest(logits, _codes(code)).cpu().numpy()
    return found[tuple(slice(n) for n in np.shape(hu))]


class _Score(nn.Module):
    """A network as one number an image, (n, 1): the output that is explained."""

    def __init__(self, net, name, branch, output, inside, predicted):
        super().__init__()
        self.net, self.name, self.branch, self.output = net, name, branch, output
        self.inside, self.predicted = inside, predicted

    def forward(self, hu):
        group, codes, value = self.output
        found = self.net(hu, self.name, (self.branch,), values=value is not None)[self.branch]
        if value is not None:
            return found["values"][:, [list(VALUES[self.branch]).index(value)]]
        logits = found[group][0]
        where = self.inside.to(logits.device)
        if self.predicted:
            where = where & _likeliest(logits.detach(), codes)
        # Where one of several classes is meant, the likelier one stands for them.
        of_class = logits[_channels(logits, codes)].amax(dim=0)
        return (of_class * where).sum().reshape(1, 1)


def _channels(logits, codes):
    """Channels of classes: a group of one class has no channel for the rest."""
    return [0] if logits.shape[0] == 1 else list(codes)


def _likeliest(logits, codes):
    if logits.shape[0] == 1:
        return logits[0] > 0
    return torch.isin(logits.argmax(dim=0), torch.tensor(codes, device=logits.device))


def _codes(code):
    return () if code is None else tuple(np.atleast_1d(code).tolist())


def _filled(values, multiple, pad):
    """Array as (1, 1, z, y, x) float32, its far ends filled up to multiples."""
    values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    block = torch.full((1, 1, *(-(-n // multiple) * multiple for n in values.shape)), float(pad))
    block[(0, 0, *(slice(n) for n in values.shape))] = values
    return block


def _check(net, branch, group, code, value):
    if branch not in net.decoders:
        raise ValueError(f"branch '{branch}' is unknown; the network has {', '.join(net.decoders)}")
    if (group is None) == (value is None):
        raise ValueError("an output is a group with a code, or a value: give one of both")
    if value is not None:
        if value not in VALUES[branch]:
            known = ", ".join(VALUES[branch])
            raise ValueError(f"{branch}: value '{value}' is unknown; known: {known}")
        return
    if group not in GROUPS[branch]:
        raise ValueError(
            f"{branch}: group '{group}' is unknown; known: {', '.join(GROUPS[branch])}"
        )
    most = max(1, len(GROUPS[branch][group]) - 1)
    codes = _codes(code)
    if not codes or not set(codes) <= set(range(1, most + 1)):
        raise ValueError(f"{branch} {group}: codes are 1 to {most}, not {code}")


def overlap(heat, structure, quantile=0.95, within=None):
    """How much of a map's hottest part lies in a structure.

    Parameters
    ----------
    heat : ndarray, (z, y, x)
        Not negative.
    structure : ndarray of bool, same shape
    quantile : float
        The hottest part is what lies at or above this quantile of the voxels, and above 0.
    within : ndarray of bool, same shape, optional
        Only these voxels count.

    Returns
    -------
    dict of float
        quantile; overlap_pct, share of the heat of the hottest part that lies in the structure;
        mass_pct, the same of all heat; chance_pct, share of the voxels that are the structure,
        which is what a map that knows nothing scores. NaN where there is no heat, or no voxel.

    Raises
    ------
    ValueError
        Shapes that differ, a quantile outside 0 to 1, heat below 0.
    """
    heat, structure = np.asarray(heat), np.asarray(structure, bool)
    if heat.shape != structure.shape or (within is not None and within.shape != heat.shape):
        raise ValueError(f"heat {heat.shape} and structure {structure.shape} differ in shape")
    if not 0.0 <= quantile < 1.0:
        raise ValueError(f"quantile {quantile} is not from 0 to below 1")
    if within is not None:
        heat, structure = heat[within], structure[within]
    heat, structure = heat.ravel().astype(np.float64), structure.ravel()
    if heat.size and heat.min() < 0.0:
        raise ValueError("heat is below 0")
    hot = (heat >= np.quantile(heat, quantile)) & (heat > 0.0) if heat.size else structure
    return {
        "quantile": float(quantile),
        "overlap_pct": _pct(heat[hot & structure].sum(), heat[hot].sum()),
        "mass_pct": _pct(heat[structure].sum(), heat.sum()),
        "chance_pct": _pct(structure.sum(), structure.size),
    }


def _pct(part, whole):
    return 100.0 * float(part) / float(whole) if whole else float("nan")


def _shared(net):
    return net.encoder, "encoder"


def _encoders(net):
    """Return encoders, each with its name, of branches that have one of their own."""
    return {branch: (part, f"own.{branch}") for branch, part in getattr(net, "own", {}).items()}


def _depths(encoder, stem):
    """Parts of an encoder by name, from the coarsest up."""
    if hasattr(encoder, "levels"):
        found = [(f"{stem}.levels.{k}", part) for k, part in enumerate(encoder.levels)]
        return [(f"{stem}.last", encoder.last), *reversed(found)]
    names = [f"layer{k}" for k in (4, 3, 2, 1)]
    return [(f"{stem}.net.{name}", getattr(encoder.net, name)) for name in names]


def cascade(net):
    """Parts of a network from its outputs down, as `randomised` takes them.

    Returns
    -------
    list of (str, list of Module)
        The branches' layers of one kind together, then the encoder from its coarsest level up.
    """
    decoders = list(net.decoders.values())
    found = [("out", [part for d in decoders for part in (d.out, d.estimate)])]
    found.append(("head", [d.head for d in decoders]))
    for level in range(max(len(d.units) for d in decoders)):
        deep = [d for d in decoders if level < len(d.units)]
        parts = [part for d in deep for part in (d.units[level], d.narrow[level])]
        parts += [d.gates[level] for d in deep if len(d.gates)]
        parts += [d.lend[level - 1] for d in deep if level and len(d.lend)]
        found.append((f"units.{level}", parts))
    for encoder, stem in (*_encoders(net).values(), _shared(net)):
        found += [(name, [part]) for name, part in _depths(encoder, stem)]
        if not hasattr(encoder, "levels"):
            found.append((f"{stem}.net.conv1", [encoder.net.conv1, encoder.net.bn1]))
    return found


def randomised(net, seed=0, depth=None):
    """Return a network whose last layers have fresh weights in place of trained ones.

    Parameters
    ----------
    net : Hierarchical
        Whole or folded; it stays as it is.
    seed : int
    depth : int, optional
        How many parts of `cascade`, from the outputs down; all if absent, 0 for none.

    Returns
    -------
    Hierarchical
        In evaluation mode.

    Raises
    ------
    ValueError
        A depth that the network does not have.
    """
    net = copy.deepcopy(net).eval()
    parts = cascade(net)
    if depth is not None and not 0 <= depth <= len(parts):
        raise ValueError(f"depth {depth} is not from 0 to {len(parts)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _, modules in parts[:depth]:
            for module in modules:
                for part in module.modules():
                    if hasattr(part, "reset_parameters"):
                        part.reset_parameters()
    return net


def similarity(first, second, within=None):
    """Structural similarity of two maps of 0 to 1, -1 to 1 (Wang et al., IEEE TIP 2004).

    Parameters
    ----------
    first, second : ndarray, (z, y, x)
    within : ndarray of bool, same shape, optional
        The mean is over these voxels; over all if absent. Where both maps are 0 they agree: of a
        small structure in a large field, the mean over all says little.

    Returns
    -------
    float
        NaN where there is no voxel.
    """
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    each = structural_similarity(first, second, win_size=_WINDOW, data_range=1.0, full=True)[1]
    each = each if within is None else each[within]
    return float(each.mean(dtype=np.float64)) if each.size else float("nan")


def explain(net, hu, spacing_mm, labels, outputs=OUTPUTS, quantiles=QUANTILES, seed=0):
    """Make maps and figures of a scan's outputs, each on its own field.

    Parameters
    ----------
    net : Hierarchical
        Whole.
    hu : ndarray, (z, y, x)
        Axes to the head, to the back, to the left.
    spacing_mm : sequence of float
        Along z, y, x.
    labels : dict of ndarray of int
        By name, of the same shape: lobes (1 to 6), airways (1 lumen, 2 wall), vessels (1 artery, 2
        vein), heart (1 LV blood, 2 LV myocardium, 3 RV blood). Outputs without theirs are left out.
    outputs : sequence of Output
    quantiles : sequence of float
        See `overlap`.
    seed : int
        Of the first of `RANDOM` networks of random weights.

    Returns
    -------
    list of Explained

    Notes
    -----
    The field of an output is where its structure is densest. Low attenuation is what lies below
    `LAA_HU` once noise is blurred. Its class counts inside the lobes alone, as it was trained, and
    so do vessels, as `tidying` keeps them; a quantity may rest on anything in the field. ``near``
    counts what lies in the structure or within one voxel of the layer, since a map is no finer than
    its layer. ssim_randomised compares the map with those of networks of random weights, over the
    voxels that either looks at; which sign a random network gives an output is chance, so the map
    of the more similar sign counts. It is the mean over the networks, ssim_randomised_most the
    highest of them.
    """
    random, found = [randomised(net, seed + k) for k in range(RANDOM)], []
    for output in outputs:
        if output.branch not in net.decoders or not np.any(labels.get(output.label, 0)):
            log.info("%s: no label map or no branch; left out", output.name)
            continue
        found.append(_explain(net, random, hu, spacing_mm, labels, output, quantiles))
    return found


def _explain(net, random, hu, spacing_mm, labels, output, quantiles):
    voxel_mm = PASSES[output.read]["voxel_mm"]
    label, airy = labels[output.label], output.group == "low_attenuation"
    # Low attenuation is dense where the scan tells, the others where their label map does.
    wanted = (label > 0) & (hu < LAA_HU) if airy else np.isin(label, output.codes)
    box = field(wanted, label > 0, spacing_mm, output.size_mm)
    sides = [
        max(_WINDOW, round((part.stop - part.start) * mm / voxel_mm))
        for part, mm in zip(box, spacing_mm, strict=True)
    ]
    volume = passes.resized(hu[box], sides).numpy()
    codes = _nearest(label[box], sides)
    within = np.ones(codes.shape, bool)
    if output.inside in labels:
        within = _nearest(labels[output.inside][box], sides) > 0
    structure = within & np.isin(codes, output.codes)
    if airy:
        structure = within & (ndimage.gaussian_filter(volume, SMOOTH_VOXELS) < LAA_HU)
    asked = (output.read, output.branch)
    seen = within & predicted(net, volume, *asked, output.group, output.codes)
    layer = f"decoders.{output.branch}.units.0"
    # A voxel of the finest layer is `FOLD` voxels wide.
    near = ndimage.binary_dilation(structure, np.ones((2 * blocks.FOLD + 1,) * 3))
    heats, rows = {}, []
    for kind, key in (("class", output.name), ("value", output.value)):
        what = (output.group, output.codes, None) if kind == "class" else (None, (), key)
        signed = [_signed(one, volume, *asked, what, layer, seen) for one in (net, *random)]
        counted = within if kind == "class" else np.ones_like(within)
        (heat, _), *blind = (
            [_rectified(part, sign, volume.shape, net.multiple, counted) for sign in (1, -1)]
            for part in signed
        )
        if not heat.any():
            log.warning("%s: nothing speaks for it in this field", key)
        ssim = [max(_likeness(heat, one) for one in signs) for signs in blind]
        heats[key] = heat
        row = {"OUTPUT": key, "KIND": kind, "STRUCTURE": output.name, "PASS": output.read}
        row |= {"LAYER": layer, "ssim_randomised": np.mean(ssim)}
        row["ssim_randomised_most"] = np.max(ssim)
        for quantile in quantiles:
            on, beside = (overlap(heat, part, quantile, counted) for part in (structure, near))
            row |= {"QUANTILE": quantile, **{key: on[key] for key in on if key in COLUMNS}}
            row |= {f"{key}_near_pct": beside[f"{key}_pct"] for key in ("overlap", "chance")}
            rows.append(dict(row))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return Explained(output, volume, structure, heats, voxel_mm, table)


def _likeness(heat, blind):
    return similarity(heat, blind, (heat > LOOKED_AT) | (blind > LOOKED_AT))


def field(wanted, whole, spacing_mm, size_mm):
    """Box of a size where a structure is densest, chosen axis by axis from z.

    Parameters
    ----------
    wanted : ndarray of bool, (z, y, x)
    whole : ndarray of bool, same shape
        What an axis without a size spans.
    spacing_mm : sequence of float
    size_mm : sequence of float or None

    Returns
    -------
    tuple of slice
    """
    wanted = wanted if wanted.any() else whole
    box = [slice(0, n) for n in wanted.shape]
    for axis, (size, mm) in enumerate(zip(size_mm, spacing_mm, strict=True)):
        others = tuple(k for k in range(3) if k != axis)
        n = wanted.shape[axis]
        if size is None:
            line = np.flatnonzero(whole.any(axis=others))
            box[axis] = slice(int(line[0]), int(line[-1]) + 1)
            continue
        side = min(n, max(1, round(size / mm)))
        counts = np.concatenate([[0], np.cumsum(wanted[tuple(box)].sum(axis=others))])
        inside = counts[side:] - counts[:-side]
        best = np.flatnonzero(inside == inside.max())
        start = int(best[len(best) // 2])  # of equally dense ones the middle
        box[axis] = slice(start, start + side)
    return tuple(box)


def _nearest(labels, sides):
    values = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.float32))[None, None]
    return functional.interpolate(values, size=tuple(sides), mode="nearest-exact")[0, 0].numpy()


def table(found):
    """Rows of all that was explained, `COLUMNS`."""
    rows = [one.rows for one in found]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)
