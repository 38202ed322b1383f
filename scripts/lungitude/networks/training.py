"""Training of the hierarchical network on the stream of `synthesis`.

A step reads one pass; its samples are a function of the seed and the step alone, so a training that
was cut off goes on where its checkpoint stands and ends as if it had not been. In the last part of
the schedule the norms keep their statistics, so that what is trained is what will be used.
"""

import copy
import dataclasses
import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch

from . import anatomies, hierarchical, inference, losses, synthesis, trust
from .hierarchical import GROUPS

log = logging.getLogger(__name__)

DEFAULTS = {
    "seed": 20261121,
    "steps": 3000,
    "batch": {"chest": 2, "heart": 3, "detail": 3},
    "rate": 3e-3,
    "least_rate": 2e-5,
    "warm_up": 200,
    "weight_decay": 1e-5,
    "shares": {"chest": 0.26, "heart": 0.26, "detail": 0.48},  # of the steps
    "centreline_every": 4,  # of the steps, in their second half
    "average": 0.999,  # of the weights, exponential
    "frozen_norms": 0.35,  # last part of the steps
    "norm_momentum": 0.03,
    "precision": "bfloat16",
    "threads": 2,
    "workers": 1,
    "check_every": 500,
    "check_batches": 6,  # of each pass, in that
    "held_out": 0.06,  # of the patients, for the curve
}


@dataclasses.dataclass
class Batch:
    """Samples of one step; arrays stacked along the first axis."""

    hu: torch.Tensor
    labels: dict
    known: dict
    values: dict


class Stream(torch.utils.data.Dataset):
    """Batch of each step, by its number."""

    def __init__(self, folder, names, config):
        self.folder, self.names, self.config = folder, names, config
        self.first = 0

    def __len__(self):
        return self.config["steps"] - self.first

    def __getitem__(self, index):
        torch.set_num_threads(1)
        return batch_of(self.folder, self.names, self.config, self.first + index)


def pass_of(config, step):
    """Pass of a step: by chance of the step's own, in the shares of the config."""
    rng = np.random.default_rng([config["seed"], 1, step])
    passes = list(config["shares"])
    share = np.array([config["shares"][name] for name in passes], dtype=float)
    return passes[int(rng.choice(len(passes), p=share / share.sum()))]


def batch_of(folder, names, config, step, name=None):
    """Return the samples of a step, a function of seed and step alone."""
    name = name or pass_of(config, step)
    rngs = (
        np.random.default_rng([config["seed"], 2, step, k]) for k in range(config["batch"][name])
    )
    samples = [synthesis.draw(folder, names[name], name, rng) for rng in rngs]
    groups = sorted({group for sample in samples for group in sample.labels})
    empty = torch.zeros(samples[0].hu.shape[1:], dtype=torch.uint8)
    return name, Batch(
        torch.stack([sample.hu for sample in samples]),
        {g: torch.stack([sample.labels.get(g, empty) for sample in samples]) for g in groups},
        {b: torch.tensor([sample.known[b] for sample in samples]) for b in GROUPS},
        {b: torch.stack([sample.values[b] for sample in samples]) for b in GROUPS},
    )


def split(folder, config):
    """Names of the anatomies to train on and of those held out, by pass.

    The last patients by name are held out, with all their anatomies; the heart's pass takes those
    with a heart.
    """
    whole, detail = (anatomies.names(folder, kind) for kind in ("whole", "detail"))
    beating = [name for name in whole if anatomies.read(folder, name)[1]["heart"]]
    patients = sorted({_patient(name) for name in whole})
    kept = set(patients[len(patients) - max(1, round(config["held_out"] * len(patients))) :])
    found = []
    for out in (False, True):
        parts = {"chest": whole, "heart": beating, "detail": detail}
        found.append(
            {
                key: [n for n in names if (_patient(n) in kept) == out]
                for key, names in parts.items()
            }
        )
    return found


def _patient(name):
    return name.rsplit("/", 1)[-1].split("-", 1)[1].rsplit("-", 1)[0]


def train(folder, out, network=None, config=None, until=None):
    """Train a network, from the checkpoint in `out` if there is one.

    Parameters
    ----------
    folder : path
        Anatomies, see `anatomies.write`.
    out : path
        Folder of checkpoint.pt and log.jsonl; made if absent.
    network, config : dict, optional
        Settings of `hierarchical.build` and of `DEFAULTS`.
    until : float, optional
        Stop before this time (seconds since the epoch), at a checkpoint.

    Returns
    -------
    Hierarchical, bool
        The averaged network, in evaluation mode; whether all steps were done.
    """
    config = {**DEFAULTS, **(config or {})}
    torch.manual_seed(config["seed"])
    torch.set_num_threads(config["threads"])
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    net = hierarchical.build(network).to(memory_format=torch.channels_last_3d)
    _momentum(net, config["norm_momentum"])
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(
        net.parameters(), config["rate"], weight_decay=config["weight_decay"], betas=(0.9, 0.99)
    )
    first = _resume(out / "checkpoint.pt", net, average, optimiser, network)
    seen, unseen = split(folder, config)
    stream = Stream(folder, seen, config)
    stream.first = first
    ahead = 8 if config["workers"] else None
    loader = torch.utils.data.DataLoader(
        stream, batch_size=None, num_workers=config["workers"], prefetch_factor=ahead
    )
    started, told = time.time(), []
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        for step, (name, batch) in enumerate(loader, first):
            rate = rate_of(config, step)
            for group in optimiser.param_groups:
                group["lr"] = rate
            net.train()
            if step >= (1.0 - config["frozen_norms"]) * config["steps"]:
                _freeze(net)
            every = config["centreline_every"]
            thin = bool(every) and step % every == 0 and 2 * step >= config["steps"]
            # The chest pass only seeks the heart; half its steps are enough for that.
            branches = ("lung",) if name == "chest" and step % 2 else None
            parts = _step(net, optimiser, name, batch, config, thin, branches)
            _follow(average, net, min(config["average"], (1 + step) / (10 + step)))
            told.append((name, parts))
            done = step + 1 == config["steps"]
            if (step + 1) % 50 == 0 or done:
                row = {"step": step + 1, "rate": rate, "s": round(time.time() - started, 1)}
                file.write(json.dumps({**row, **_mean(told)}) + "\n")
                file.flush()
                told = []
            late = until is not None and time.time() > until
            if (step + 1) % config["check_every"] == 0 or done or late:
                row = check(average, folder, unseen, config)
                log.info("step %d: %s", step + 1, row)
                file.write(json.dumps({"step": step + 1, "held_out": row}) + "\n")
                file.flush()
                _save(out / "checkpoint.pt", net, average, optimiser, step + 1, network)
            if late:
                return average.eval(), False
    return average.eval(), True


def rate_of(config, step):
    """Learning rate of a step: warm-up, then half a cosine down to the least."""
    if step < config["warm_up"]:
        return config["rate"] * (step + 1) / config["warm_up"]
    done = (step - config["warm_up"]) / max(1, config["steps"] - config["warm_up"])
    low = config["least_rate"]
    return low + 0.5 * (config["rate"] - low) * (1.0 + math.cos(math.pi * min(1.0, done)))


def _step(net, optimiser, name, batch, config, thin, branches=None):
    hu = batch.hu.contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", torch.bfloat16, enabled=config["precision"] == "bfloat16"):
        found = net(hu, name, branches, values=True)
    total, parts = torch.zeros(()), {}
    for branch, logits in found.items():
        loss, told = losses.of_branch(branch, logits, batch, name, thin)
        total = total + loss
        parts.update({f"{branch} {key}": value for key, value in told.items()})
    if total.requires_grad and torch.isfinite(total):
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
    return parts


def check(net, folder, names, config):
    """Dice of each class on fixed draws of held-out patients, as used: averaged weights, own norms.

    Returns
    -------
    dict of float
        Mean over classes by pass and group.
    """
    net.eval()
    found = {}
    for name in config["shares"]:
        sums = {}
        for step in range(config["check_batches"]):
            _, batch = batch_of(folder, names, {**config, "seed": 7}, step, name)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                logits = net(batch.hu, name)
            for branch, groups in logits.items():
                for group, values in groups.items():
                    _count(sums, name, group, values.float(), batch, batch.known[branch])
        for group, (both, either) in sums.items():
            seen = either > 0
            found[f"{name} {group}"] = round(float((2 * both / either)[seen].mean()), 4)
    return found


def _count(sums, name, group, values, batch, rows):
    if not rows.any():
        return
    values, truth = values[rows], batch.labels[group][rows].long()
    if group == "regions" and name == "detail":
        values, truth = losses.merge_lobes(values, truth)
    known = truth != synthesis.NOT_KNOWN
    single = values.shape[1] == 1
    called = (values[:, 0] > 0).long() if single else values.argmax(1)
    n = max(2, values.shape[1])
    both = torch.tensor([((called == c) & (truth == c) & known).sum() for c in range(1, n)])
    either = torch.tensor(
        [((called == c) & known).sum() + ((truth == c) & known).sum() for c in range(1, n)]
    )
    before = sums.get(group, (torch.zeros(n - 1), torch.zeros(n - 1)))
    sums[group] = (before[0] + both, before[1] + either)


def _momentum(net, momentum):
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm3d):
            part.momentum = momentum


def _freeze(net):
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm3d):
            part.eval()


@torch.no_grad()
def _follow(average, net, keep):
    state = net.state_dict()
    for key, value in average.state_dict().items():
        if value.dtype.is_floating_point and "running" not in key:
            value.lerp_(state[key], 1.0 - keep)
        else:
            value.copy_(state[key])


def _mean(told):
    found = {}
    for name, parts in told:
        for key, value in parts.items():
            found.setdefault(f"{name} {key}", []).append(value)
    return {key: round(float(np.mean(values)), 4) for key, values in sorted(found.items())}


def _save(path, net, average, optimiser, step, network):
    temporary = path.with_suffix(".part")
    state = {
        "step": step,
        "network": network,
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path, net, average, optimiser, network):
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["network"] != network:
        raise ValueError(f"{path}: of a network with other settings; delete it or use its folder")
    net.load_state_dict(state["net"])
    average.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])
    log.info("goes on at step %d", state["step"])
    return state["step"]


def familiarity(net, folder, config, draws=(240, 80)):
    """Learn what chests of the training look like to a network, from draws of its own.

    Parameters
    ----------
    net : Hierarchical
        In evaluation mode.
    folder : path
        Anatomies.
    config : dict
        Settings of `DEFAULTS`.
    draws : tuple of int
        Of patients trained on, and of those held out, which set the reach.

    Returns
    -------
    trust.Familiar
    """
    config = {**DEFAULTS, **config}
    found = []
    for part, (names, n) in enumerate(zip(split(folder, config), draws, strict=True)):
        rngs = (np.random.default_rng([config["seed"], 3, part, k]) for k in range(n))
        found.append(
            np.stack([_features_of_draw(net, folder, names["chest"], rng) for rng in rngs])
        )
    return trust.Familiar.learn(*found)


def _features_of_draw(net, folder, names, rng):
    """Features of a random chest, or in half the draws of a part, as gated scans show."""
    hu = synthesis.draw(folder, names, "chest", rng).hu[0]
    if rng.uniform() < 0.5:
        for axis, n in enumerate(hu.shape):
            side = int(rng.uniform(0.35, 1.0) * n)
            hu = hu.narrow(axis, int(rng.integers(n - side + 1)), side)
    return inference.features(net, hu)


def facts(config, log_path, wholes, details, history=""):
    """Return what the weights tell of their training, as JSON.

    `history` says in words what the settings don't, such as a schedule that was changed.
    """
    rows = [json.loads(line) for line in Path(log_path).read_text(encoding="utf-8").splitlines()]
    last = [row for row in rows if "held_out" in row][-1]
    return {
        "training": {**DEFAULTS, **config},
        "anatomies": {"whole": wholes, "detail": details},
        "steps": last["step"],
        "history": history,
        "held_out_dice": last["held_out"],
        "torch": torch.__version__.split("+")[0],
    }
