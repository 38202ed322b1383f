"""What the hierarchical network is compared with: five known designs, and networks of one task.

Each takes the place of `Hierarchical`: the same input, passes, branches and groups, so that
`training.train` and `inference.Reader` don't tell them apart. As is usual of multi-class networks,
the five have ONE trunk for all branches, and a group of classes owns no more than a 1 x 1 x 1
convolution on its last features. Norms are shared by the passes, too: their designs know none.
Beyond their own depth and width they get nothing that `Hierarchical` has: no edges, no tubeness
(HiPaS brings its own), and gates where the design has them. ``_like`` marks designs that were
written anew after their publication, narrower, and without their weights.
"""

import copy
import itertools
import math

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import AttentionUnet, BasicUNet
from torch import nn
from torch.nn import functional

from . import blocks, hierarchical
from .hierarchical import BRANCHES, GROUPS, PASSES, VALUES, WINDOWS_HU

COMMON = {
    "branches": list(BRANCHES),
    "dropout": 0.0,
    "windows_hu": [list(window) for window in WINDOWS_HU],
}
# Maps a level, fine to coarse; at most 1.5 million parameters each.
DEFAULTS = {
    "unet": {"features": [16, 16, 32, 64, 128, 16]},  # the last one after the last up-sampling
    "attention_unet": {"features": [16, 32, 64, 128]},
    "vnet": {"features": [6, 12, 24, 48, 96]},
    "bronchinet_like": {"features": [8, 16, 32, 64, 128]},
    "hipas_like": {"features": [12, 24, 48, 96], "coarse": [10, 20, 40, 80]},
}
NAMES = tuple(DEFAULTS)
SIZES = ("share", "total")
TOLERANCE = 0.05  # of the parameters, for equal size


def build(name, config=None):
    """Build a network by the name of its design, with fresh weights.

    Parameters
    ----------
    name : str
        Of `NAMES`, or ``hierarchical``.
    config : dict, optional
        Keys of `COMMON` and of the design's `DEFAULTS` (those of `hierarchical.DEFAULTS` for
        ``hierarchical``); what is absent is as there.

    Returns
    -------
    Comparator or Hierarchical

    Raises
    ------
    ValueError
        An unknown design, key or branch, or widths that are none; it names what is known.
    """
    if name == "hierarchical":
        return hierarchical.build(config)
    if name not in DEFAULTS:
        raise ValueError(
            f"network: design '{name}' is unknown; known: hierarchical, {', '.join(NAMES)}"
        )
    known = {**COMMON, **DEFAULTS[name]}
    config = dict(config or {})
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ValueError(
            f"network {name}: unknown setting {', '.join(unknown)}; known: {', '.join(known)}"
        )
    config = copy.deepcopy({**known, **config})
    for key in DEFAULTS[name]:
        _check_widths(name, key, config[key], len(known[key]))
    if not config["branches"] or set(config["branches"]) - set(BRANCHES):
        raise ValueError(f"network {name}: branches are some of {', '.join(BRANCHES)}")
    return Comparator(name, TRUNKS[name](config), config)


def of(network=None):
    """Build a network by settings that name their design.

    Parameters
    ----------
    network : dict, optional
        As `build`, with the design as ``architecture``; ``hierarchical`` if absent.
    """
    found = dict(network or {})
    return build(found.pop("architecture", "hierarchical"), found)


def settings_of(network=None):
    """Complete settings as `of` takes them by the defaults of their design."""
    name = (network or {}).get("architecture", "hierarchical")
    own = hierarchical.DEFAULTS if name == "hierarchical" else {**COMMON, **DEFAULTS[name]}
    return {"architecture": name, **own, **(network or {})}


def parameters(net):
    """Return the number of trainable parameters of a network."""
    return sum(part.numel() for part in net.parameters() if part.requires_grad)


def _check_widths(name, key, widths, count):
    fits = isinstance(widths, list | tuple) and len(widths) == count
    if not fits or not all(type(n) is int and n > 0 for n in widths):
        raise ValueError(
            f"network {name}: {key} is {widths!r}; it needs {count} whole numbers above 0"
        )


class Comparator(nn.Module):
    """A trunk shared by all branches, and heads.

    Attributes
    ----------
    config : dict
        As built, with the design as ``architecture``.
    multiple : int
        Sides of an input are multiples of it.
    decoders : ModuleDict
        `Heads` by branch.
    """

    def __init__(self, name, trunk, config):
        super().__init__()
        self.config = {"architecture": name, **config}
        self.trunk = trunk
        self.multiple = trunk.multiple
        self.decoders = nn.ModuleDict(
            {branch: Heads(branch, trunk.top, trunk.deepest) for branch in config["branches"]}
        )

    def forward(self, hu, name, branches=None, values=False):
        """Read patches; see `Hierarchical.forward`."""
        top, deepest, added = self.trunk(self.image(hu))
        chosen = PASSES[name]["branches"] if branches is None else branches
        return {
            branch: self.decoders[branch](top, deepest, added, values)
            for branch in chosen
            if branch in self.decoders
        }

    def image(self, hu):
        """Return the input of the trunk: HU in windows."""
        return hierarchical.windows(hu, self.config["windows_hu"])

    def encoder(self, image, name):
        """Return the coarsest features, of which `passes.features` takes the means."""
        return [self.trunk(image)[1]]


class Heads(nn.Module):
    """A 1 x 1 x 1 convolution a group of a branch, and a linear map to its values."""

    def __init__(self, branch, top, deepest):
        super().__init__()
        self.branch = branch
        self.out = nn.ModuleDict(
            {group: nn.Conv3d(top, len(classes), 1) for group, classes in GROUPS[branch].items()}
        )
        self.estimate = nn.Linear(deepest, len(VALUES[branch]))

    def forward(self, top, deepest, added, values):
        """Return logits by group, and ``values`` where asked."""
        found = {group: out(top) for group, out in self.out.items()}
        for group in set(found) & set(added):
            found[group] = found[group] + added[group]
        if values:
            scale = torch.tensor(list(VALUES[self.branch].values()), device=deepest.device)
            estimate = self.estimate(deepest.mean(dim=(2, 3, 4))).float()
            found["values"] = estimate * scale[:, 1] + scale[:, 0]
        return found


# Trunks: windows (n, windows, z, y, x) to the features of the last layer on the same grid, the
# coarsest features, and logits by group that are added to those of the heads.


class UNet(nn.Module):
    """3-D U-Net: MONAI's `BasicUNet` (Falk et al., Nat Methods 2019) with batch norm."""

    multiple = 16

    def __init__(self, config):
        super().__init__()
        widths = config["features"]
        self.top, self.deepest = widths[5], widths[4]
        self.net = BasicUNet(
            3,
            len(config["windows_hu"]),
            features=tuple(widths),
            norm="batch",
            dropout=config["dropout"],
        )
        self.net.final_conv = nn.Identity()  # the heads are in its place

    def forward(self, image):
        """Return features, see above."""
        net = self.net
        found = [net.conv_0(image)]
        for down in (net.down_1, net.down_2, net.down_3, net.down_4):
            found.append(down(found[-1]))
        x, skips = found[-1], found[-2::-1]
        ups = (net.upcat_4, net.upcat_3, net.upcat_2, net.upcat_1)
        for up, skip in zip(ups, skips, strict=True):
            x = up(x, skip)
        return x, found[-1], {}


class GatedUNet(nn.Module):
    """MONAI's `AttentionUnet` (Oktay et al., MIDL 2018).

    Where MONAI merges by its default, instance norm, batch norm stands, as in the rest of that
    network: statistics of a patch are not those of the blocks that a scan is read in.
    """

    def __init__(self, config):
        super().__init__()
        widths = config["features"]
        self.top, self.deepest = widths[0], widths[-1]
        self.multiple = 2 ** (len(widths) - 1)
        self.net = AttentionUnet(
            3,
            len(config["windows_hu"]),
            1,
            tuple(widths),
            (2,) * (len(widths) - 1),
            dropout=config["dropout"],
        )
        self.net.model[2] = nn.Identity()
        for part in list(self.net.modules()):
            for name, child in part.named_children():
                if isinstance(child, nn.InstanceNorm3d):
                    setattr(part, name, nn.BatchNorm3d(child.num_features))

    def forward(self, image):
        """Return features, see above."""
        head, layer, _ = self.net.model
        return *self._through(layer, head(image)), {}

    def _through(self, layer, x):
        """Return what a level and all below it give, and the coarsest features."""
        if isinstance(layer.submodule, nn.Sequential):
            down, below = layer.submodule
            lower, deepest = self._through(below, down(x))
        else:
            lower = deepest = layer.submodule(x)
        lower = layer.upconv(lower)
        seen = layer.attention(g=lower, x=x)
        return layer.merge(torch.cat([seen, lower], dim=1)), deepest


class VNet(nn.Module):
    """V-Net (Milletari et al., 3DV 2016), narrow.

    Stages, strides and residual sums as in MONAI's `VNet`, which has 45.6 million parameters; here
    6 maps in place of 16, and kernels of 3 in place of 5 voxels a side.
    """

    convs = (1, 1, 2, 3, 2)  # of the stages down; up the same but the coarsest, at most 2

    def __init__(self, config):
        super().__init__()
        widths, windows = config["features"], len(config["windows_hu"])
        if widths[0] % windows:
            raise ValueError(f"network vnet: the first of features is a multiple of {windows}")
        self.top, self.deepest = 2 * widths[0], widths[-1]
        self.multiple = 2 ** (len(widths) - 1)
        drop = config["dropout"]
        self.repeats = widths[0] // windows
        self.first = Convolution(3, windows, widths[0], norm="batch", adn_ordering="N", bias=False)
        self.bend = nn.PReLU(widths[0])
        pairs = list(itertools.pairwise(widths))
        self.strides = nn.ModuleList([_stride(a, b) for a, b in pairs])
        self.down = nn.ModuleList(
            [Stage(b, n, drop) for b, n in zip(widths[1:], self.convs[1:], strict=True)]
        )
        coming = [2 * width for width in widths[1:-1]] + [widths[-1]]
        self.enlarge = nn.ModuleList(
            [_stride(a, b, True) for a, b in zip(coming, widths[:-1], strict=True)]
        )
        self.up = nn.ModuleList(
            [Stage(2 * a, min(2, n), drop) for a, n in zip(widths, self.convs[:-1], strict=False)]
        )

    def forward(self, image):
        """Return features, see above."""
        found = [self.bend(self.first(image) + image.repeat(1, self.repeats, 1, 1, 1))]
        for stride, stage in zip(self.strides, self.down, strict=True):
            found.append(stage(stride(found[-1])))
        x = found[-1]
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([self.enlarge[level](x), found[level]], dim=1))
        return x, found[-1], {}


def _stride(channels_in, channels_out, up=False):
    """Half or twice the voxels along each axis, by a convolution of 2 x 2 x 2."""
    return Convolution(
        3,
        channels_in,
        channels_out,
        strides=2,
        kernel_size=2,
        padding=0,
        output_padding=0 if up else None,
        is_transposed=up,
        act=("prelu", {"num_parameters": channels_out}),
        norm="batch",
        adn_ordering="NA",
        bias=False,
    )


class Stage(nn.Module):
    """Convolutions of one width, and what came in."""

    def __init__(self, channels, convs, dropout):
        super().__init__()
        self.dropout = nn.Dropout3d(dropout) if dropout else nn.Identity()
        bend = ("prelu", {"num_parameters": channels})
        self.convs = nn.Sequential(
            *[
                Convolution(
                    3, channels, channels, act=bend, norm="batch", adn_ordering="NA", bias=False
                )
                for _ in range(convs)
            ]
        )
        self.bend = nn.PReLU(channels)

    def forward(self, x):
        """Return features of the same shape."""
        return self.bend(self.convs(self.dropout(x)) + x)


class BronchiNet(nn.Module):
    """U-Net of BronchiNet (Garcia-Uceda et al., Sci Rep 2021), half as wide.

    After `UNet3DOriginal` of github.com/antonioguj/bronchinet: five levels, two convolutions a
    level, max pooling, nearest up-sampling, no norm. There 16 maps at the first level (5.9 million
    parameters), here 8. Weights begin as He et al. (ICCV 2015) have it, which a network without
    norms needs; it may also need a lower learning rate.
    """

    def __init__(self, config):
        super().__init__()
        widths, windows = config["features"], len(config["windows_hu"])
        self.top, self.deepest = widths[0], widths[-1]
        self.multiple = 2 ** (len(widths) - 1)
        drop = config["dropout"]
        before = (windows, *widths[:-1])
        self.down = nn.ModuleList([_pair(a, b, drop) for a, b in zip(before, widths, strict=True)])
        self.up = nn.ModuleList([_pair(a + b, a, drop) for a, b in itertools.pairwise(widths)])

    def forward(self, image):
        """Return features, see above."""
        found = [self.down[0](image)]
        for pair in self.down[1:]:
            found.append(pair(functional.max_pool3d(found[-1], 2)))
        x = found[-1]
        for level in reversed(range(len(self.up))):
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = self.up[level](torch.cat([x, found[level]], dim=1))
        return x, found[-1], {}


def _pair(channels_in, channels_out, dropout):
    layers = []
    for first, last in ((channels_in, channels_out), (channels_out, channels_out)):
        conv = nn.Conv3d(first, last, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.Dropout3d(dropout)] if dropout else []))


class HiPaS(nn.Module):
    """Coarse to fine, after HiPaS (Chu et al., Nat Commun 2025, 10.1038/s41467-025-56505-6).

    A coarse stage reads the scan at half the grid; its probabilities of artery and vein go into the
    fine stage as prior channels, beside the image and its tubes. What it says of vessels is also
    added to the fine stage's logits, so that the truth of the vessels trains both at once; HiPaS
    trains its four stages one after the other. Blocks as in its repository
    (Arturia-Pendragon-Iris/HiPaS_AV_Segmentation), narrower, with batch norm for its norm a sample
    and a map. Its super-resolution of thick slices is left out.
    """

    def __init__(self, config):
        super().__init__()
        windows = len(config["windows_hu"])
        self.kinds = len(GROUPS["vessel"]["vessels"])
        self.coarse = HiPaSStage(windows + 1, config["coarse"], config["dropout"])
        self.told = nn.Conv3d(config["coarse"][0], self.kinds, 1)
        self.fine = HiPaSStage(windows + self.kinds, config["features"], config["dropout"])
        self.top, self.deepest = config["features"][0], config["features"][-1]
        self.multiple = max(2 * self.coarse.multiple, self.fine.multiple)

    def forward(self, image):
        """Return features, see above."""
        with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
            tubes = blocks.tubeness(image[:, :1].float(), (0.8,)) * 4.0
        seen = torch.cat([image, tubes.to(image.dtype)], dim=1)
        coarse, _ = self.coarse(functional.avg_pool3d(seen, 2))
        logits = blocks.enlarge(self.told(coarse))
        prior = torch.softmax(logits.float(), dim=1)[:, 1:].to(seen.dtype)
        top, deepest = self.fine(torch.cat([seen, prior], dim=1))
        return top, deepest, {"vessels": logits}


class HiPaSStage(nn.Module):
    """One stage of HiPaS: a U-Net of blocks that pass on what came in beside what they make."""

    def __init__(self, channels_in, widths, dropout):
        super().__init__()
        self.multiple = 2 ** (len(widths) - 1)
        pairs = list(itertools.pairwise(widths))
        self.stem = nn.Conv3d(channels_in, widths[0], 3, padding=1)
        self.levels = nn.ModuleList([Mixed(a, a, dropout) for a in widths[:-1]])
        self.shrink = nn.ModuleList([Resized(a, b, nn.Conv3d, 3) for a, b in pairs])
        self.bottom = nn.Conv3d(widths[-1], widths[-1], 1)
        self.grow = nn.ModuleList([Resized(b, a, nn.ConvTranspose3d, 2) for a, b in pairs])
        self.mixed = nn.ModuleList([Mixed(2 * a, a, dropout) for a in widths[:-1]])

    def forward(self, x):
        """Return features on the grid of the input, and the coarsest."""
        x, found = self.stem(x), []
        for level, shrink in zip(self.levels, self.shrink, strict=True):
            found.append(level(x))
            x = shrink(found[-1])
        deepest = x = self.bottom(x)
        for level in reversed(range(len(found))):
            x = torch.cat([self.grow[level](x), found[level]], dim=1)
            x = self.mixed[level](x)
        return x, deepest


class Inverted(nn.Module):
    """A convolution of each map by itself, then through 4 times as many maps."""

    def __init__(self, channels, out, conv=nn.Conv3d, kernel=3, stride=1):
        super().__init__()
        padding = (kernel - 1) // 2
        self.alone = conv(channels, channels, kernel, stride, padding, groups=channels, bias=False)
        self.norm = nn.BatchNorm3d(channels)
        self.wide = nn.Conv3d(channels, 4 * channels, 1)
        self.out = nn.Conv3d(4 * channels, out, 1)

    def forward(self, x):
        """Return features, (n, out, ...)."""
        wide = functional.gelu(self.wide(self.norm(self._by_itself(x))))
        return functional.gelu(self.out(wide))

    def _by_itself(self, x):
        if x.device.type != "cpu":
            return self.alone(x)
        # A CPU has these convolutions three times faster in float32, channels last.
        with torch.autocast("cpu", enabled=False):
            x = x.float().contiguous(memory_format=torch.channels_last_3d)
            return self.alone(x)


class Mixed(nn.Module):
    """What came in and its `Inverted`, mixed by a convolution."""

    def __init__(self, channels, out, dropout):
        super().__init__()
        self.inner = Inverted(channels, channels)
        self.dropout = nn.Dropout3d(dropout) if dropout else nn.Identity()
        self.conv = nn.Conv3d(2 * channels, out, 3, padding=1)

    def forward(self, x):
        """Return features, (n, out, ...) on the same grid."""
        return self.conv(torch.cat([x, self.dropout(self.inner(x))], dim=1))


class Resized(nn.Module):
    """Half or twice the voxels along each axis: half of the maps linear, half `Inverted`."""

    def __init__(self, channels, out, conv, kernel):
        super().__init__()
        side = 1 if conv is nn.Conv3d else 2
        self.plain = conv(channels, out // 2, side, 2)
        self.inner = Inverted(channels, out - out // 2, conv, kernel, 2)

    def forward(self, x):
        """Return features, (n, out, ...)."""
        return torch.cat([self.plain(x), self.inner(x)], dim=1)


TRUNKS = {
    "unet": UNet,
    "attention_unet": GatedUNet,
    "vnet": VNet,
    "bronchinet_like": BronchiNet,
    "hipas_like": HiPaS,
}


def single_task(branch, config=None, size="share"):
    """Size a hierarchical network of one branch by the multi-task network.

    Parameters
    ----------
    branch : str
    config : dict, optional
        Of the multi-task network, as for `hierarchical.build`.
    size : {"share", "total"}
        Parameters to have, of those of the multi-task network: an equal share of them for each of
        its branches, or all.

    Returns
    -------
    dict
        For `hierarchical.build`: of the same encoder and depth, all widths changed by one factor.

    Raises
    ------
    ValueError
        A branch that the multi-task network lacks, an unknown size, or no widths that come within
        `TOLERANCE` (the ResNet50's are fixed).

    Notes
    -----
    What equal size is decides the comparison. ``share``: the networks of all branches together are
    as large as the multi-task one, so both ways to read a scan cost the same; it asks whether
    sharing is the better use of a budget, as Standley et al. put it (ICML 2020, PMLR 119:9120).
    It is the one to report first. ``total``: each of them is as large as the multi-task network,
    which favours the single task and costs a multiple; a multi-task network that still wins gains
    by what it shares, and one that loses here but not there saves parameters and teaches nothing.
    With `single_task_training` a branch is seen as often by both.
    """
    whole = {**hierarchical.DEFAULTS, **(config or {})}
    if branch not in whole["branches"]:
        raise ValueError(
            f"single task: no branch '{branch}'; known: {', '.join(whole['branches'])}"
        )
    if size not in SIZES:
        raise ValueError(f"single task: size '{size}' is unknown; known: {', '.join(SIZES)}")
    aim = _count(whole) / (len(whole["branches"]) if size == "share" else 1)
    best, low, high = None, math.log(0.2), math.log(5.0)
    for _ in range(12):
        factor = math.exp(0.5 * (low + high))
        found = {**whole, "branches": [branch]}
        for key in ("features", "decoder"):
            found[key] = [max(4, 2 * round(0.5 * factor * width)) for width in whole[key]]
        off = _count(found) / aim - 1.0
        if best is None or abs(off) < abs(best[0]):
            best = (off, found)
        low, high = (low, math.log(factor)) if off > 0 else (math.log(factor), high)
    if abs(best[0]) > TOLERANCE:
        raise ValueError(
            f"single task: no widths give {aim / 1e6:.2f} million parameters for '{branch}' with "
            f"the encoder '{whole['encoder']}'; the nearest are {100 * best[0]:+.0f} % off"
        )
    return copy.deepcopy(best[1])


def single_task_training(branch, config):
    """Show one branch as many steps as the multi-task training does.

    Parameters
    ----------
    branch : str
    config : dict
        All of `training.DEFAULTS`, as the multi-task training has it.

    Returns
    -------
    dict
        With the passes of the branch alone, and as many steps as these had.
    """
    found = dict(config)
    for leg in ("", "refine_"):
        shares = config[f"{leg}shares"]
        kept = {name: share for name, share in shares.items() if branch in PASSES[name]["branches"]}
        if not kept:
            raise ValueError(f"single task: no pass of the training reads branch '{branch}'")
        part = sum(kept.values()) / sum(shares.values())
        found[f"{leg}shares"] = kept
        found[f"{leg}steps"] = round(config[f"{leg}steps"] * part)
    return found


class Together(nn.Module):
    """Networks of one branch each as one network, to read scans with.

    Parameters
    ----------
    nets : dict of Hierarchical
        By branch.
    """

    def __init__(self, nets):
        super().__init__()
        for branch, net in nets.items():
            if branch not in net.decoders:
                raise ValueError(f"single tasks: the network for '{branch}' lacks that branch")
        self.config = {
            "architecture": "together",
            "networks": {branch: net.config for branch, net in nets.items()},
        }
        self.decoders = nn.ModuleDict(nets)
        self.multiple = math.lcm(*(net.multiple for net in nets.values()))

    def forward(self, hu, name, branches=None, values=False):
        """Read patches; see `Hierarchical.forward`."""
        chosen = PASSES[name]["branches"] if branches is None else branches
        found = {}
        for branch in chosen:
            if branch in self.decoders:
                found |= self.decoders[branch](hu, name, (branch,), values)
        return found


def _count(config):
    """Parameters of a hierarchical network that is not made."""
    with torch.device("meta"):
        return parameters(hierarchical.build(config))
