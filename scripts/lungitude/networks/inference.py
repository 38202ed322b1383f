"""From a scan to label maps: the passes of the network, coarse to fine.

The chest is read whole at 4 mm; what it finds bounds the finer passes: lungs at 1 mm for airways
and vessels, the heart at 2 mm. Each pass has its norms folded into its convolutions.
"""

import dataclasses

import cc3d
import numpy as np
import torch

from lungitude import images, segmentation

from . import hierarchical, passes, tidying, tracking, weights
from .hierarchical import PASSES
from .passes import Pass, features

LUNG_MARGIN_MM, HEART_MARGIN_MM = 12.0, 20.0
HEART_LEAST_ML = 30.0
ROOT_MM = 8.0  # around lungs and central airways, in which airways are sought
PLAQUE_MM = 2.0  # around the coronary territories: plaques lie on their borders
# Added to the logit of the outside: the losses weigh classes more than it (`losses.CLASS_WEIGHTS`),
# which makes maps too large. Chosen by Dice and volume on patients held out from the training.
OUTSIDE = {"airways": 1.0, "chambers": 1.2}
PARTS = ("lungs", "lobes", "airways", "vessels", "heart", "coronary")
# Maps of probabilities: of a part as a whole, whatever its codes; lungs go with lobes.
SHARES = ("lungs", "low_attenuation", "airways", "vessels", "heart", "coronary")
PRECISIONS = ("float32", "bfloat16", "auto")


@dataclasses.dataclass
class Maps:
    """What the network says of one scan.

    labels : dict of ndarray of uint8, (z, y, x), on the scan's grid in LPS order, by `PARTS`;
        vessels are artery 1 and vein 2 where the scan tells them apart, else all of them 1
    confidence : dict of float, expected Dice of each map by its own probabilities
    values : dict of float, quantities of `hierarchical.VALUES` as estimated as a whole
    distance : float, of the scan from those of the training; above 1 it is unlike all of them
    shares : dict of ndarray of uint8, probabilities by `SHARES` where asked, 255 for 1, as `labels`
    """

    labels: dict
    confidence: dict = dataclasses.field(default_factory=dict)
    values: dict = dataclasses.field(default_factory=dict)
    distance: float = float("nan")
    shares: dict = dataclasses.field(default_factory=dict)


class Reader:
    """A network ready to read scans; build it once for many.

    Parameters
    ----------
    path : path, optional
        Weights; the shipped ones if absent.
    precision : str
        ``float32`` (the same bytes everywhere one build of torch runs), ``bfloat16`` (twice as
        fast where the processor has it, slow elsewhere), or ``auto``: whichever is fast here.
    device : str
        ``cpu`` or ``cuda``.
    net : Hierarchical, optional
        In place of weights.
    probabilities : bool
        Whether to keep the probabilities that the maps are decided by.
    vessel_tracking : bool
        Whether to link broken vessels, see `tracking`.
    """

    def __init__(
        self,
        path=None,
        precision="float32",
        device="cpu",
        net=None,
        probabilities=False,
        vessel_tracking=False,
    ):
        if net is None:
            net, self.facts, self.familiar = weights.load(path)
        else:
            self.facts, self.familiar = {}, None
        self.multiple, self.precision, self.device = net.multiple, _precision(precision), device
        self.folded = isinstance(net, hierarchical.Hierarchical)
        weighed = self.facts.get("training", {}).get("weights", {}).get("entropy", 1.0) > 0
        self.outside = OUTSIDE if weighed else {}
        self.probabilities, self.vessel_tracking = probabilities, vessel_tracking
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
        chest = Pass(self, "chest", hu, spacing_mm)
        found = Maps({}, values=chest.values, distance=self._distance(chest))
        if {"lungs", "lobes", "airways", "vessels"} & set(parts):
            self._lungs(found, hu, spacing_mm, chest, parts)
        if {"heart", "coronary"} & set(parts):
            box = _heart_box(chest.shares("chambers"), hu.shape, spacing_mm)
            self._chambers(found, hu, spacing_mm, box, parts)
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
        chest = Pass(self, "chest", diastole, spacing_mm)
        box = _heart_box(chest.shares("chambers"), diastole.shape, spacing_mm)
        hearts = [Maps({}) for _ in phases]
        for heart, hu in zip(hearts, phases, strict=True):
            self._chambers(heart, hu, spacing_mm, box, ("heart",))
        sure = float(np.mean([heart.confidence.get("heart", np.nan) for heart in hearts]))
        labels = {"heart": [heart.labels["heart"] for heart in hearts]}
        found = Maps(labels, {"heart": sure}, distance=self._distance(chest))
        if self.probabilities:
            found.shares["heart"] = [heart.shares["heart"] for heart in hearts]
        return found

    def run(self, name, volume, branches=None):
        """Read a volume on the grid of a pass; see `passes.run`."""
        return passes.run(self, name, volume, branches)

    def _distance(self, chest):
        """How far the features of the whole chest are from those of the training's draws.

        Mahalanobis distance of the coarsest features' means over the chest, over the distance that
        99 of 100 held-out draws keep (Lee et al., NeurIPS 2018); NaN where the weights tell none.
        """
        if self.familiar is None:
            return float("nan")
        return self.familiar.distance(features(self.nets["chest"], chest.volume))

    def _lungs(self, found, hu, spacing_mm, chest, parts):
        found.labels.update({p: np.zeros(hu.shape, np.uint8) for p in parts if p in PARTS[:4]})
        kept = [name for name in ("airways", "vessels") if name in parts]
        if {"lungs", "lobes"} & set(parts):
            kept += ["lungs", "low_attenuation"]
        self._prepare(found, hu.shape, kept)
        coarse = chest.shares("regions")[1:].sum(axis=0)
        box = _box(coarse > 0.3, hu.shape, spacing_mm, LUNG_MARGIN_MM)
        if box is None:
            return
        wanted = None if {"airways", "vessels"} & set(parts) else ("lung",)
        detail = Pass(self, "detail", hu, spacing_mm, box, wanted)
        found.values.update(detail.values)
        view, inner = detail.over(), hu[box]
        air = inner < segmentation.AIR_HU
        outside = air & ~segmentation.inner_air(hu, spacing_mm)[box]
        lung, lobes, root, share, sure = tidying.lungs(chest.over(box), view, air, outside)
        found.confidence["lungs"] = sure
        _keep(found, "lungs", box, share)
        lung &= ~tidying.rim(lung, inner, spacing_mm)
        lobes = tidying.tidy_lungs(lung, lobes, spacing_mm)
        lung = lobes > 0
        if "lungs" in parts:
            found.labels["lungs"][box] = np.where(lobes > 3, 2, lung)
        if "lobes" in parts:
            found.labels["lobes"][box] = lobes
        if "low_attenuation" in found.shares:
            _keep(found, "low_attenuation", box, tidying.low_attenuation(view, lung))
        if "airways" in parts:
            # Airways are sought in the lungs and where the central ones run.
            labels, share, found.confidence["airways"] = tidying.decide(view, "airways")
            _keep(found, "airways", box, share)
            labels[~tidying.grown(lung | root, spacing_mm, ROOT_MM)] = 0
            found.labels["airways"][box] = tidying.largest(labels)
        if "vessels" in parts:
            labels, share, found.confidence["vessels"] = tidying.decide(view, "vessels")
            _keep(found, "vessels", box, share)
            labels[~lung] = 0
            if self.vessel_tracking:
                tidying.link(labels, detail, view, inner, lung, tracking.track)
            if not tidying.kinds_told(view, labels):
                labels[labels > 0] = 1
            found.labels["vessels"][box] = labels

    def _chambers(self, found, hu, spacing_mm, box, parts):
        wanted = [part for part in ("heart", "coronary") if part in parts]
        found.labels.update({part: np.zeros(hu.shape, np.uint8) for part in wanted})
        self._prepare(found, hu.shape, wanted)
        if box is None:
            return
        heart = Pass(self, "heart", hu, spacing_mm, box)
        found.values.update(heart.values)
        view = heart.over()
        for part, group in (("heart", "chambers"), ("coronary", "coronaries")):
            if part in parts:
                labels, share, found.confidence[part] = tidying.decide(view, group)
                _keep(found, part, box, share)
                if part == "heart":
                    labels = tidying.pieces(labels)
                else:
                    labels = tidying.widened(labels, spacing_mm, PLAQUE_MM)
                found.labels[part][box] = labels

    def _prepare(self, found, shape, names):
        if self.probabilities:
            found.shares.update({name: np.zeros(shape, np.uint8) for name in names})


def _keep(found, name, box, share):
    """Keep probabilities, where they are asked for."""
    if name in found.shares:
        found.shares[name][box] = share


def _precision(name):
    """Return the precision to compute with; ``auto`` is bfloat16 where the processor has it."""
    if name not in PRECISIONS:
        raise ValueError(f"precision '{name}' is unknown; known: {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    able = torch.cpu.get_capabilities()
    fast = ("avx512_bf16", "amx_bf16", "bf16")  # the last one on ARM
    return "bfloat16" if any(able.get(key) for key in fast) else "float32"


def _box(mask, shape, spacing_mm, margin_mm):
    """Box of the scan around a mask on the coarse grid; None if it is empty."""
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
    likeliest = chambers.argmax(axis=0)
    mask = (likeliest > 0) & (likeliest < tidying.GREAT)
    voxel_ml = np.prod(
        [side * mm / n for side, mm, n in zip(shape, spacing_mm, mask.shape, strict=True)]
    )
    mask = cc3d.largest_k(mask.astype(np.uint8), k=1, connectivity=26) > 0
    if mask.sum() * voxel_ml / 1000.0 < HEART_LEAST_ML:
        return None
    return _box(mask, shape, spacing_mm, HEART_MARGIN_MM)


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


def probabilities(found, image):
    """Return maps of probabilities as images.

    Parameters
    ----------
    found : Maps
        Of `segment`, by a reader that keeps probabilities.
    image : SimpleITK.Image or list of such
        That it was given.

    Returns
    -------
    dict of SimpleITK.Image
        uint8, 255 for 1, on the grid of the image; of a cycle, ``heart`` is a list.
    """
    if isinstance(image, list | tuple):
        hearts = zip(found.shares["heart"], map(images.canonical, image), image, strict=True)
        return {"heart": [_restored(*heart) for heart in hearts]}
    turned = images.canonical(image)
    return {name: _restored(share, turned, image) for name, share in found.shares.items()}


def _restored(labels, turned, image):
    return images.restore(images.from_array(labels, turned), image)
