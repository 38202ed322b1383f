"""The hierarchical multi-task network: one encoder, four decoders, read in passes.

After Xing et al. (the trial's publication): a shared encoder and a branch each for the lungs
(lobes, low attenuation), the airways (lumen, wall; edges, fused scales; an encoder of their own
where the settings ask for one), the vessels (artery, vein; tubeness) and the heart (chambers, great
vessels, coronary territories; attention gates). A scan is read coarse to fine: `PASSES` says at
which voxel size which branches look at it.
"""

import copy

import torch
from monai.networks.nets import resnet50
from torch import nn
from torch.nn import functional

from . import blocks
from .blocks import Gate, NormedConv, Residual

# Classes of each branch: one softmax a group; a group of one is a sigmoid.
GROUPS = {
    "lung": {
        "regions": ("outside", "RUL", "RML", "RLL", "LUL", "LLL", "lingula", "central airway"),
        "low_attenuation": ("low attenuation",),
    },
    "airway": {"airways": ("outside", "lumen", "wall"), "edge": ("edge",)},
    "vessel": {"vessels": ("outside", "artery", "vein")},
    "heart": {
        "chambers": (
            "outside",
            "LV blood",
            "LV myocardium",
            "RV blood",
            "left atrium",
            "right atrium",
            "aorta",
            "pulmonary artery",
        ),
        "coronaries": ("outside", "LM+LAD", "LCX", "RCA"),
    },
}
BRANCHES = tuple(GROUPS)
CENTRAL = GROUPS["lung"]["regions"].index("central airway")  # beside the lobes 1 to 6
# What each branch estimates as a whole beside its map, with the mean and SD that it is scaled by.
VALUES = {
    "lung": {
        "mld_hu": (-840.0, 50.0),
        "laa950_pct": (12.0, 13.0),
        "perc15_hu": (-925.0, 45.0),
        "lung_ml": (2500.0, 1800.0),
    },
    "airway": {"wall_pct": (60.0, 12.0), "lumen_ml": (4.0, 5.0)},
    "vessel": {"vessel_pct": (5.0, 3.0), "artery_pct": (50.0, 12.0)},
    "heart": {"lv_ml": (90.0, 45.0), "rv_ml": (90.0, 45.0), "myocardium_ml": (135.0, 50.0)},
}
PASSES = {
    "chest": {"voxel_mm": 4.0, "branches": ("lung", "heart")},
    "heart": {"voxel_mm": 2.0, "branches": ("heart",)},
    "detail": {"voxel_mm": 1.0, "branches": ("lung", "airway", "vessel")},
}
WINDOWS_HU = ((-1000.0, -300.0), (-200.0, 450.0))  # lung, soft tissue and contrast medium
DEFAULTS = {
    "encoder": "residual",  # or resnet50
    "features": [24, 48, 80, 112],
    "decoder": [16, 32, 48],
    "branches": list(BRANCHES),
    "dropout": 0.0,
    "windows_hu": [list(window) for window in WINDOWS_HU],
    "gates": True,
    "edges": True,
    "tubeness": True,
}
# Settings that came after the first weights: at these values a network is what it was before.
LATER = {
    "airway_encoder": "shared",  # or one of the encoders: of its own, for the airways alone
    "blur_voxels": 0.0,  # SD of a Gaussian before the windows, voxels of the pass
}
DEFAULTS |= LATER


def build(config=None):
    """Build a network with fresh weights.

    Parameters
    ----------
    config : dict, optional
        Keys of `DEFAULTS`; what is absent is as there.

    Returns
    -------
    Hierarchical

    Raises
    ------
    ValueError
        An unknown key, encoder or branch; it names what is known.
    """
    config = dict(config or {})
    unknown = sorted(set(config) - set(DEFAULTS))
    if unknown:
        raise ValueError(
            f"network: unknown setting {', '.join(unknown)}; known: {', '.join(DEFAULTS)}"
        )
    return Hierarchical({**DEFAULTS, **config})


def windows(hu, limits=WINDOWS_HU):
    """HU as network input: (n, 1, z, y, x) to (n, windows, z, y, x), each window 0 to 1."""
    return torch.cat([((hu - low) / (high - low)).clamp(0.0, 1.0) for low, high in limits], dim=1)


class Hierarchical(nn.Module):
    """Encoder and decoders; see the module.

    Attributes
    ----------
    config : dict
        All of `DEFAULTS`, as built.
    multiple : int
        Sides of an input are multiples of it.
    """

    def __init__(self, config):
        super().__init__()
        unknown = sorted(set(config["branches"]) - set(BRANCHES))
        if unknown or not config["branches"]:
            raise ValueError(f"network: branches are some of {', '.join(BRANCHES)}")
        if config["encoder"] not in ENCODERS:
            raise ValueError(
                f"network: encoder '{config['encoder']}' is unknown; known: {', '.join(ENCODERS)}"
            )
        if config["airway_encoder"] not in ("shared", *ENCODERS):
            raise ValueError(
                f"network: airway_encoder '{config['airway_encoder']}' is unknown; known: shared, "
                f"{', '.join(ENCODERS)}"
            )
        self.config = config
        self.encoder = ENCODERS[config["encoder"]](config)
        apart = config["airway_encoder"] != "shared" and "airway" in config["branches"]
        self.own = nn.ModuleDict(
            {"airway": ENCODERS[config["airway_encoder"]](config)} if apart else {}
        )
        self.decoders = nn.ModuleDict(
            {name: Decoder(name, self.reads(name).channels, config) for name in config["branches"]}
        )
        self.multiple = 2 ** max(len(self.reads(name).channels) for name in config["branches"])

    def reads(self, branch):
        """Return the encoder that a branch reads: the shared one, or its own."""
        return self.own[branch] if branch in self.own else self.encoder  # noqa: SIM401

    def image(self, hu):
        """Return the input of the encoders: HU, blurred where the settings say so, in windows."""
        blur = self.config["blur_voxels"]
        if blur:
            with torch.autocast(hu.device.type, enabled=False):  # whole HU need their digits
                hu = blocks.smooth(hu.float(), blur)
        return windows(hu, self.config["windows_hu"])

    def forward(self, hu, name, branches=None, values=False, folded=False):
        """Read patches.

        Parameters
        ----------
        hu : Tensor, (n, 1, z, y, x)
            HU at the voxel size of the pass; sides are multiples of `multiple`.
        name : str
            Pass, of `PASSES`.
        branches : sequence of str, optional
            Those of the pass if absent.
        values : bool
            Whether to estimate the quantities of `VALUES` as well.
        folded : bool
            Whether to leave cubes of voxels as channels, (n, 8 classes, z/2, y/2, x/2).

        Returns
        -------
        dict of dict of Tensor
            Logits (n, classes, z, y, x) by branch and group of `GROUPS`; with `values` also
            ``values``, (n, quantities), in units of `VALUES`.
        """
        image = self.image(hu)
        chosen = PASSES[name]["branches"] if branches is None else branches
        chosen = [branch for branch in chosen if branch in self.decoders]
        features = None
        if not all(branch in self.own for branch in chosen):
            features = self.encoder(image, name)
        found = {}
        for branch in chosen:
            own = self.own[branch](image, name) if branch in self.own else features
            found[branch] = self.decoders[branch](image, own, name, values, folded)
        return found


class ResidualEncoder(nn.Module):
    """Cubes of voxels as channels, then residual units; every level halves the grid."""

    def __init__(self, config):
        super().__init__()
        self.channels = tuple(config["features"])
        folded = len(config["windows_hu"]) * blocks.FOLD**3
        before = (folded, *self.channels)
        self.levels = nn.ModuleList(
            [
                Residual(a, b, PASSES, stride=2 if level else 1, dropout=config["dropout"])
                for level, (a, b) in enumerate(zip(before, self.channels, strict=False))
            ]
        )
        self.last = Residual(self.channels[-1], self.channels[-1], PASSES)

    def forward(self, image, name):
        """Return features from the finest (half the grid) to the coarsest."""
        found, x = [], blocks.fold_voxels(image)
        for level in self.levels:
            x = level(x, name)
            found.append(x)
        found[-1] = self.last(found[-1], name)
        return found


class ResNet50Encoder(nn.Module):
    """MONAI's 3-D ResNet50 behind a stem at half the grid, as the publication names it.

    Its norms are shared by the passes. 46 million parameters: for a GPU.
    """

    def __init__(self, config):
        super().__init__()
        windows_in = len(config["windows_hu"])
        self.net = resnet50(
            spatial_dims=3, n_input_channels=windows_in, feed_forward=False, conv1_t_stride=2
        )
        self.dropout = nn.Dropout3d(config["dropout"]) if config["dropout"] else nn.Identity()
        self.channels = (64, 256, 512, 1024, 2048)

    def forward(self, image, name):
        """Return features at 1/2, 1/4, 1/8, 1/16, 1/32 of the grid."""
        net = self.net
        x = net.act(net.bn1(net.conv1(image)))
        found = [x]
        x = net.maxpool(x)
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = self.dropout(layer(x))
            found.append(x)
        return found


ENCODERS = {"residual": ResidualEncoder, "resnet50": ResNet50Encoder}


class Decoder(nn.Module):
    """One branch: from the coarsest features up to logits on the grid of the image."""

    def __init__(self, branch, channels, config):
        super().__init__()
        self.branch = branch
        width = list(config["decoder"])[: len(channels) - 1]
        width += [width[-1]] * (len(channels) - 1 - len(width))
        lower = [*width[1:], channels[-1]]
        extra = self._extra(config)
        self.fused = 8 if branch == "airway" else 0  # channels a coarser scale lends the finest
        self.narrow = nn.ModuleList(
            [NormedConv(a, b, PASSES, kernel=1) for a, b in zip(lower, width, strict=True)]
        )
        joined = [a + b for a, b in zip(width, channels[:-1], strict=True)]
        joined[0] += extra + self.fused * (len(width) - 1)
        self.units = nn.ModuleList(
            [Residual(a, b, PASSES) for a, b in zip(joined, width, strict=True)]
        )
        gated = branch == "heart" and config["gates"]
        self.gates = nn.ModuleList(
            [Gate(a, b) for a, b in zip(channels[:-1], width, strict=True)] if gated else []
        )
        self.lend = nn.ModuleList(
            [nn.Conv3d(a, self.fused, 1) for a in width[1:]] if self.fused else []
        )
        self.sizes = [len(classes) for classes in GROUPS[branch].values()]
        self.head = NormedConv(width[0], width[0], PASSES)
        self.out = nn.Conv3d(width[0], blocks.FOLD**3 * sum(self.sizes), 1)
        self.estimate = nn.Sequential(
            nn.Linear(channels[-1] + width[0], 32), nn.ReLU(), nn.Linear(32, len(VALUES[branch]))
        )

    def _extra(self, config):
        self.edges = self.branch == "airway" and config["edges"]
        self.tubeness = self.branch == "vessel" and config["tubeness"]
        return 2 * blocks.FOLD**3 * self.edges + 2 * self.tubeness

    def forward(self, image, features, name, values, folded=False):
        """Return logits by group, and ``values`` where asked."""
        x, lent = features[-1], []
        for level in reversed(range(len(self.units))):
            x = blocks.enlarge(functional.relu(self.narrow[level](x, name)))
            skip = features[level]
            if len(self.gates):
                skip = self.gates[level](skip, x)
            parts = [x, skip]
            if level == 0:
                parts += self._filters(image)
                parts += lent
            # What was interpolated is float32 even where the convolutions are not.
            parts = [part.to(skip.dtype) for part in parts]
            x = self.units[level](torch.cat(parts, dim=1), name)
            if level and self.fused:
                small = self.lend[level - 1](x)
                size = features[0].shape[2:]
                lent.append(functional.interpolate(small, size=size, mode="trilinear"))
        top = functional.relu(self.head(x, name))
        logits, sizes = self.out(top), self.sizes
        if folded:
            sizes = [blocks.FOLD**3 * n for n in sizes]
        else:
            logits = blocks.unfold_voxels(logits)
        found = dict(zip(GROUPS[self.branch], logits.split(sizes, dim=1), strict=True))
        if values:
            pooled = torch.cat([part.mean(dim=(2, 3, 4)) for part in (features[-1], top)], dim=1)
            scale = torch.tensor(list(VALUES[self.branch].values()), device=pooled.device)
            found["values"] = self.estimate(pooled).float() * scale[:, 1] + scale[:, 0]
        return found

    def _filters(self, image):
        lung = image[:, :1]
        if self.edges:
            return [blocks.fold_voxels(blocks.edges(lung))]
        if self.tubeness:
            return [blocks.tubeness(functional.avg_pool3d(lung, blocks.FOLD).float()) * 4.0]
        return []


def fold(net, name):
    """Return a network for one pass, norms folded into convolutions; `net` stays as it is.

    Returns
    -------
    Hierarchical
        In evaluation mode, with the branches of the pass only; its output for that pass is that of
        `net` to rounding.
    """
    net = copy.deepcopy(net).eval()
    for parts in (net.decoders, getattr(net, "own", {})):  # comparators have no encoders to own
        for branch in list(parts):
            if branch not in PASSES[name]["branches"]:
                del parts[branch]
    for part in net.modules():
        if isinstance(part, NormedConv):
            part.fold(name)
    return net
