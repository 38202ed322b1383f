"""Losses of the branches: Dice and cross entropy, centrelines, edges, values.

Voxels labelled `NOT_KNOWN`, branches that a sample does not know and values that are NaN take no
part, so samples with different labels train one network.
"""

import torch
from monai.losses.cldice import soft_skel
from torch.nn import functional

from .hierarchical import GROUPS, VALUES
from .synthesis import NOT_KNOWN

SMOOTH_VOXELS = 50.0  # of the Dice loss: what an absent structure may cost
WEIGHTS = {"cldice": 0.5, "edge": 0.2, "values": 0.1}
SKELETON_STEPS = 3
# Of the cross entropy: outside, and each class inside.
CLASS_WEIGHTS = {
    "regions": (0.5, 1.0),
    "airways": (0.3, 2.0),
    "vessels": (0.3, 1.5),
    "chambers": (0.3, 1.0),
    "coronaries": (0.2, 3.0),
}
TUBES = {"airways": slice(1, 2), "vessels": slice(1, 3)}  # classes with a centreline
LOBES = slice(1, 7)  # of the classes of group regions


def of_branch(branch, logits, batch, name, thin=False):
    """Loss of one branch over the samples that know it.

    Parameters
    ----------
    branch : str
    logits : dict of Tensor
        By group, and ``values``; see `Hierarchical.forward`.
    batch : Batch
    name : str
        Pass.
    thin : bool
        Whether to add the centreline loss, which costs as much as the rest.

    Returns
    -------
    total : Tensor
    parts : dict of float
        Dice loss by group and ``values``, for the log.
    """
    rows = batch.known[branch]
    total, parts = torch.zeros(()), {}
    if not rows.any():
        return total, parts
    rows = slice(None) if rows.all() else rows
    for group, classes in GROUPS[branch].items():
        found, truth = logits[group][rows].float(), batch.labels[group][rows].long()
        if group == "regions" and name == "detail":
            found, truth = merge_lobes(found, truth)
        known = truth != NOT_KNOWN
        truth = torch.where(known, truth, 0)
        if len(classes) == 1:
            dice, entropy = _single(found[:, 0], truth, known)
        else:
            dice, entropy, shares = _several(found, truth, known, CLASS_WEIGHTS[group])
            if thin and group in TUBES:
                line = cldice(shares[:, TUBES[group]].sum(1), torch.isin(truth, _codes(group)))
                total = total + WEIGHTS["cldice"] * line
        weight = WEIGHTS["edge"] if group == "edge" else 1.0
        total = total + weight * (dice + entropy)
        parts[group] = float(dice.detach())
    if "values" in logits:
        error = values(branch, logits["values"][rows], batch.values[branch][rows])
        total = total + WEIGHTS["values"] * error
        parts["values"] = float(error.detach())
    return total, parts


def _codes(group):
    return torch.arange(TUBES[group].start, TUBES[group].stop)


def merge_lobes(found, truth):
    """Lobes as one lung, where a patch can't tell which: classes outside, lung, central airway."""
    lung = torch.logsumexp(found[:, LOBES], dim=1, keepdim=True)
    found = torch.cat([found[:, :1], lung, found[:, LOBES.stop :]], dim=1)
    merged = torch.where((truth > 0) & (truth < LOBES.stop), 1, truth)
    return found, torch.where(truth == LOBES.stop, 2, merged)


def _several(found, truth, known, weights):
    """Dice loss, weighted cross entropy and probabilities of a softmax over classes."""
    logs = functional.log_softmax(found, dim=1)
    shares = logs.exp()
    hot = functional.one_hot(truth, found.shape[1]).movedim(-1, 1).float()
    hot = hot * known[:, None]
    axes = (0, 2, 3, 4)
    by_class = -(logs * hot).sum(axes)
    size = hot.sum(axes)
    weight = torch.tensor([weights[0]] + [weights[1]] * (found.shape[1] - 1))
    entropy = (weight * by_class).sum() / (weight * size).sum().clamp(min=1.0)
    either = (shares * known[:, None]).sum(axes) + size
    dice = 1.0 - (2.0 * (shares * hot).sum(axes) + SMOOTH_VOXELS) / (either + SMOOTH_VOXELS)
    return dice[1:].mean(), entropy, shares


def _single(found, truth, known):
    """Dice loss and cross entropy of one sigmoid (soft Dice: Milletari et al., 3DV 2016)."""
    share, target, known = torch.sigmoid(found), (truth == 1).float(), known.float()
    each = functional.binary_cross_entropy_with_logits(found, target, reduction="none")
    entropy = (each * known).sum() / known.sum().clamp(min=1.0)
    both, either = (share * target * known).sum(), ((share + target) * known).sum()
    return 1.0 - (2.0 * both + SMOOTH_VOXELS) / (either + SMOOTH_VOXELS), entropy


def cldice(share, truth):
    """1 less soft centreline Dice of tubes (Shit et al., CVPR 2021); both (n, z, y, x)."""
    share, truth = share[:, None], truth[:, None].float()
    of_found, of_truth = (soft_skel(x, SKELETON_STEPS) for x in (share, truth))
    precision = ((of_found * truth).sum() + 1.0) / (of_found.sum() + 1.0)
    sensitivity = ((of_truth * share).sum() + 1.0) / (of_truth.sum() + 1.0)
    return 1.0 - 2.0 * precision * sensitivity / (precision + sensitivity)


def values(branch, found, truth):
    """Mean squared error of a branch's values in units of their SD; NaN in truth is left out."""
    scale = torch.tensor([sd for _, sd in VALUES[branch].values()])
    error = (found - truth) / scale
    known = torch.isfinite(truth)
    return torch.where(known, error, 0.0).square().sum() / known.sum().clamp(min=1)
