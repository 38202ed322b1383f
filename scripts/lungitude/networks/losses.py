"""Losses of the branches: Dice and cross entropy, centrelines, edges, values.

Voxels labelled `NOT_KNOWN`, branches that a sample does not know and values that are NaN take no
part, so samples with different labels train one network. Vessels are learnt as such everywhere, and
as arteries and veins where contrast medium shows which is which.
"""

import torch
from monai.losses.cldice import soft_skel
from torch.nn import functional

from .hierarchical import GROUPS, VALUES
from .synthesis import EITHER, NOT_KNOWN

SMOOTH_VOXELS = 50.0  # of the Dice loss: what an absent structure may cost
# Beside the Dice loss, whose weight is 1: of the cross entropy in each group, of centrelines and of
# values; and of what edges and the kinds of vessels cost as a whole.
WEIGHTS = {"entropy": 1.0, "edge": 0.2, "cldice": 0.5, "values": 0.1, "kinds": 0.3}
SKELETON_STEPS = 3
# Of the cross entropy: outside, and each class inside.
CLASS_WEIGHTS = {
    "regions": (0.5, 1.0),
    "airways": (0.3, 2.0),
    "vessels": (0.3, 1.5),
    "kinds": (1.0, 1.0),
    "chambers": (0.3, 1.0),
    "coronaries": (0.2, 3.0),
}
TUBES = {"airways": [1], "vessels": [1]}  # classes with a centreline
LOBES = slice(1, 7)  # of the classes of group regions


def of_branch(branch, logits, batch, name, thin=False, weights=WEIGHTS):
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
    weights : dict of float
        All of `WEIGHTS`.

    Returns
    -------
    total : Tensor
    parts : dict of float
        Dice loss by group and ``values``, for the log.
    """
    rows = batch.known[branch]
    total, parts = torch.zeros((), device=rows.device), {}
    if not rows.any():
        return total, parts
    rows = slice(None) if rows.all() else rows
    for group in GROUPS[branch]:
        found, truth = logits[group][rows].float(), batch.labels[group][rows].long()
        if group == "regions" and name == "detail":
            found, truth = merge_lobes(found, truth)
        if group == "vessels":
            either, kinds = merge_kinds(found, truth)
            loss, parts["kinds"] = _of_group("kinds", *kinds, False, weights)
            total = total + weights["kinds"] * loss
            found, truth = either
        loss, parts[group] = _of_group(group, found, truth, thin, weights)
        total = total + (weights["edge"] if group == "edge" else 1.0) * loss
    if "values" in logits:
        error = values(branch, logits["values"][rows], batch.values[branch][rows])
        total = total + weights["values"] * error
        parts["values"] = float(error.detach())
    return total, parts


def _of_group(group, found, truth, thin, weights):
    """Loss of one group, and its Dice loss for the log."""
    known = truth != NOT_KNOWN
    truth = torch.where(known, truth, 0)
    if found.shape[1] == 1:
        dice, entropy = _single(found[:, 0], truth, known)
        return dice + weights["entropy"] * entropy, float(dice.detach())
    dice, entropy, shares = _several(found, truth, known, CLASS_WEIGHTS[group])
    loss = dice + weights["entropy"] * entropy
    if thin and group in TUBES:
        tube = torch.isin(truth, torch.tensor(TUBES[group], device=truth.device))
        loss = loss + weights["cldice"] * cldice(shares[:, TUBES[group]].sum(1), tube)
    return loss, float(dice.detach())


def merge_lobes(found, truth):
    """Lobes as one lung, where a patch can't tell which: classes outside, lung, central airway."""
    lung = torch.logsumexp(found[:, LOBES], dim=1, keepdim=True)
    found = torch.cat([found[:, :1], lung, found[:, LOBES.stop :]], dim=1)
    merged = torch.where((truth > 0) & (truth < LOBES.stop), 1, truth)
    return found, torch.where(truth == LOBES.stop, 2, merged)


def merge_kinds(found, truth):
    """Vessels of either kind against the outside; and artery against vein where that is told.

    Returns
    -------
    tuple of two (Tensor, Tensor)
        Logits and truth: of outside and vessel; of artery and vein, `NOT_KNOWN` elsewhere.
    """
    either = torch.cat([found[:, :1], torch.logsumexp(found[:, 1:], dim=1, keepdim=True)], dim=1)
    told = (truth == 1) | (truth == 2)
    merged = torch.where((truth > 0) & (truth <= EITHER), 1, truth)
    return (either, merged), (found[:, 1:], torch.where(told, truth - 1, NOT_KNOWN))


def _several(found, truth, known, weights):
    """Dice loss, weighted cross entropy and probabilities of a softmax over classes."""
    logs = functional.log_softmax(found, dim=1)
    shares = logs.exp()
    # Of each voxel only its own class counts: taken out, no class becomes a map of zeros and ones.
    own = truth[:, None]
    by_class = -_sums(logs.gather(1, own), truth, known, found.shape[1])
    both = _sums(shares.gather(1, own), truth, known, found.shape[1])
    size = torch.bincount(truth[known], minlength=found.shape[1]).to(found.dtype)
    weight = found.new_tensor([weights[0]] + [weights[1]] * (found.shape[1] - 1))
    entropy = (weight * by_class).sum() / (weight * size).sum().clamp(min=1.0)
    seen = shares if known.all() else shares * known[:, None]
    dice = 1.0 - (2.0 * both + SMOOTH_VOXELS) / (seen.sum((0, 2, 3, 4)) + size + SMOOTH_VOXELS)
    return dice[1:].mean(), entropy, shares


def _sums(values, truth, known, classes):
    """Sum values of known voxels by their class."""
    sums = values.new_zeros(classes)
    return sums.index_add(0, truth.flatten(), (values[:, 0] * known).flatten())


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
    scale = found.new_tensor([sd for _, sd in VALUES[branch].values()])
    error = (found - truth) / scale
    known = torch.isfinite(truth)
    return torch.where(known, error, 0.0).square().sum() / known.sum().clamp(min=1)
