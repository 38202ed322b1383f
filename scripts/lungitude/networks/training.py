"""Training of the hierarchical network on the stream of `synthesis`.

A step reads one pass; its samples are a function of the seed and the step alone, so a training that
was cut off goes on where its checkpoint stands and ends as if it had not been. The schedule may
start anew with shares of its own for a refinement (warm restart: Loshchilov and Hutter, ICLR 2017).
In the last part of each leg the norms keep their statistics, so that what is trained is what will
be used.
"""

import copy
import dataclasses
import functools
import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch

from . import anatomies, baselines, losses, passes, synthesis, trust
from .hierarchical import GROUPS

log = logging.getLogger(__name__)

DEFAULTS = {
    "seed": 20261121,
    "steps": 3000,
    "batch": {"chest": 2, "heart": 3, "detail": 3},
    "optimiser": "adamw",  # or adam, whose weight decay is the plain L2 penalty
    "rate": 3e-3,
    "least_rate": 2e-5,
    "warm_up": 200,
    "weight_decay": 1e-5,
    "weights": dict(losses.WEIGHTS),
    "shares": {"chest": 0.26, "heart": 0.26, "detail": 0.48},  # of the steps
    "refine_steps": 3600,  # a second leg
    "refine_rate": 1.5e-3,
    "refine_shares": {"chest": 0.14, "heart": 0.42, "detail": 0.44},
    "centreline_every": 4,  # of the steps, in the second half of a leg
    "average": 0.999,  # of the weights, exponential
    "frozen_norms": 0.35,  # last part of a leg
    "norm_momentum": 0.03,
    "patience": 0,  # checks without a gain after which it stops at the best one; 0 for never
    "augmentation": "wide",  # or published
    "precision": "bfloat16",
    "device": "auto",  # cuda where there is one, else cpu; or one of them
    "threads": 2,
    "workers": 1,
    "check_every": 500,
    "check_batches": 6,  # of each pass, in that
    "held_out": 0.06,  # of the patients, for the curve
}
OPTIMISERS = {
    "adamw": functools.partial(torch.optim.AdamW, betas=(0.9, 0.99)),
    "adam": torch.optim.Adam,
}
# Branches of every other step: the chest pass only seeks the heart, and the detail pass only
# sharpens the lungs; half the steps are enough for that.
HALF = {"chest": ("lung",), "heart": None, "detail": ("airway", "vessel")}


@dataclasses.dataclass
class Batch:
    """Samples of one step; arrays stacked along the first axis."""

    hu: torch.Tensor
    labels: dict
    known: dict
    values: dict

    def to(self, device):
        """Return the same on a device."""
        hu = self.hu.to(device).contiguous(memory_format=torch.channels_last_3d)
        parts = (self.labels, self.known, self.values)
        return Batch(hu, *({key: x.to(device) for key, x in part.items()} for part in parts))


class Stream(torch.utils.data.Dataset):
    """Batch of each step, by its number."""

    def __init__(self, folder, names, config):
        self.folder, self.names, self.config = folder, names, config
        self.first = 0

    def __len__(self):
        return steps_of(self.config) - self.first

    def __getitem__(self, index):
        torch.set_num_threads(1)
        return batch_of(self.folder, self.names, self.config, self.first + index)


@dataclasses.dataclass(frozen=True)
class Leg:
    """Part of a schedule: its first step, steps, highest rate and shares of the passes."""

    first: int
    steps: int
    rate: float
    shares: dict

    def part(self, step):
        """Share of the leg that is done before a step."""
        return (step - self.first) / self.steps


def steps_of(config):
    """Return the steps of both legs of a schedule."""
    return config["steps"] + config["refine_steps"]


def leg_of(config, step):
    """Leg that a step belongs to."""
    if step < config["steps"] or not config["refine_steps"]:
        return Leg(0, config["steps"], config["rate"], config["shares"])
    return Leg(
        config["steps"], config["refine_steps"], config["refine_rate"], config["refine_shares"]
    )


def pass_of(config, step):
    """Pass of a step: by chance of the step's own, in the shares of its leg."""
    rng = np.random.default_rng([config["seed"], 1, step])
    shares = leg_of(config, step).shares
    passes = list(shares)
    share = np.array([shares[name] for name in passes], dtype=float)
    return passes[int(rng.choice(len(passes), p=share / share.sum()))]


def batch_of(folder, names, config, step, name=None):
    """Return the samples of a step, a function of seed and step alone."""
    name = name or pass_of(config, step)
    rngs = (
        np.random.default_rng([config["seed"], 2, step, k]) for k in range(config["batch"][name])
    )
    kind = config["augmentation"]
    samples = [synthesis.draw(folder, names[name], name, rng, kind) for rng in rngs]
    groups = sorted({group for sample in samples for group in sample.labels})
    empty = torch.zeros(samples[0].hu.shape[1:], dtype=torch.uint8)
    return name, Batch(
        torch.stack([sample.hu for sample in samples]),
        {g: torch.stack([sample.labels.get(g, empty) for sample in samples]) for g in groups},
        {b: torch.tensor([sample.known[b] for sample in samples]) for b in GROUPS},
        {b: torch.stack([sample.values[b] for sample in samples]) for b in GROUPS},
    )


def split(folder, config, patients=None):
    """Names of the anatomies to train on and of those held out, by pass.

    Parameters
    ----------
    folder : path
    config : dict
    patients : dict of list of str, optional
        Of parts ``train`` and ``validation``, see `parting.patients`; the last patients by name are
        held out if absent.

    Returns
    -------
    list of two dict of list of str
        With all anatomies of a patient; the heart's pass takes those with a heart.
    """
    if patients is None:
        every = anatomies.patients(folder)
        first = len(every) - max(1, round(config["held_out"] * len(every)))
        patients = {"train": every[:first], "validation": every[first:]}
    return [anatomies_of(folder, patients[part]) for part in ("train", "validation")]


def anatomies_of(folder, patients):
    """Names of the anatomies of some patients, by pass."""
    kept = set(patients)
    whole, detail = (
        [name for name in anatomies.names(folder, kind) if anatomies.patient_of(name) in kept]
        for kind in ("whole", "detail")
    )
    beating = [name for name in whole if anatomies.known(folder, name)["heart"]]
    return {"chest": whole, "heart": beating, "detail": detail}


def train(folder, out, network=None, config=None, until=None, patients=None):
    """Train a network, from the checkpoint in `out` if there is one.

    Parameters
    ----------
    folder : path
        Anatomies, see `anatomies.write`.
    out : path
        Folder of checkpoint.pt and log.jsonl; made if absent.
    network, config : dict, optional
        Settings of `baselines.of` and of `DEFAULTS`.
    until : float, optional
        Stop before this time (seconds since the epoch), at a checkpoint.
    patients : dict of list of str, optional
        As `split` takes them.

    Returns
    -------
    Hierarchical or Comparator, bool
        The averaged network, in evaluation mode, of the best check where `patience` is set; whether
        all steps were done, or no more are worth it.
    """
    config = {**DEFAULTS, **(config or {})}
    torch.set_num_threads(config["threads"])
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    learner = Learner(network, config)
    kept = {"network": network, "kind": config["optimiser"], "patients": patients}
    best = Best(config["patience"])
    first = _resume(out / "checkpoint.pt", learner, best, kept)
    if best.over:
        return best.of(learner.average).cpu(), True
    seen, unseen = split(folder, config, patients)
    started, told = time.time(), []
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        for step, (name, batch) in stream(folder, seen, config, first):
            parts = learner.step(step, name, batch)
            told.append((name, parts))
            done = step + 1 == steps_of(config)
            if (step + 1) % 50 == 0 or done:
                row = {"step": step + 1, "rate": rate_of(config, step)}
                row["s"] = round(time.time() - started, 1)
                file.write(json.dumps({**row, **mean_of(told)}) + "\n")
                file.flush()
                told = []
            late = until is not None and time.time() > until
            due = (step + 1) % config["check_every"] == 0 or done
            if due or late:
                row = check(learner.average, folder, unseen, config)
                log.info("step %d: %s", step + 1, row)
                file.write(json.dumps({"step": step + 1, "held_out": row}) + "\n")
                file.flush()
                if due:
                    best.see(row, learner.average)
                _save(out / "checkpoint.pt", learner, step + 1, best, kept)
            if best.over:
                log.info("no gain in %d checks: stops at step %d", best.since, step + 1)
                break
            if late:
                return learner.average.eval().cpu(), False
    return best.of(learner.average).cpu(), True


def stream(folder, names, config, first=0):
    """Yield number, pass and batch of each step from the first on; drawn ahead by `workers`."""
    samples = Stream(folder, names, config)
    samples.first = first
    ahead = 8 if config["workers"] else None
    loader = torch.utils.data.DataLoader(
        samples, batch_size=None, num_workers=config["workers"], prefetch_factor=ahead
    )
    yield from enumerate(((name, batch) for name, batch in loader), first)


def device_of(config):
    """Where to train."""
    if config["device"] != "auto":
        return config["device"]
    return "cuda" if torch.cuda.is_available() else "cpu"


class Learner:
    """A network in training: its optimiser, and the average of its weights.

    Parameters
    ----------
    network : dict or None
        Settings of `baselines.of`.
    config : dict
        All of `DEFAULTS`.
    """

    def __init__(self, network, config):
        torch.manual_seed(config["seed"])
        self.config, self.device = config, device_of(config)
        self.net = baselines.of(network).to(self.device, memory_format=torch.channels_last_3d)
        _momentum(self.net, config["norm_momentum"])
        self.average = copy.deepcopy(self.net)
        self.optimiser = OPTIMISERS[config["optimiser"]](
            self.net.parameters(), config["rate"], weight_decay=config["weight_decay"]
        )

    def step(self, step, name, batch):
        """Learn from a batch of a pass; return the parts of its loss by name."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = rate_of(config, step)
        self.net.train()
        part = leg_of(config, step).part(step)
        if part >= 1.0 - config["frozen_norms"]:
            _freeze(self.net)
        every = config["centreline_every"]
        thin = bool(every) and step % every == 0 and part >= 0.5
        parts = self._learn(name, batch.to(self.device), thin, HALF[name] if step % 2 else None)
        _follow(self.average, self.net, min(config["average"], (1 + step) / (10 + step)))
        return parts

    def _learn(self, name, batch, thin, branches):
        low = self.config["precision"] == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=low):
            found = self.net(batch.hu, name, branches, values=True)
        total, parts = torch.zeros((), device=self.device), {}
        for branch, logits in found.items():
            loss, told = losses.of_branch(branch, logits, batch, name, thin, self.config["weights"])
            total = total + loss
            parts.update({f"{branch} {key}": value for key, value in told.items()})
        if total.requires_grad and torch.isfinite(total):
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
            self.optimiser.step()
        return parts

    def state(self):
        """Return all that a checkpoint needs."""
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state):
        """Go on from what `state` gave."""
        for name in ("net", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])


class Best:
    """Early stopping: the weights of the best check so far, and how many checks ago that was.

    Parameters
    ----------
    patience : int
        Checks without a gain after which it is over; 0 keeps no weights, and it is never over.
    """

    def __init__(self, patience):
        self.patience = patience
        self.score, self.since, self.weights = -math.inf, 0, None

    @property
    def over(self):
        """Whether no gain is to be waited for."""
        return bool(self.patience) and self.since >= self.patience

    def see(self, row, net):
        """Take note of a check and of the network that it is of."""
        if not self.patience:
            return
        self.since += 1
        if score_of(row) > self.score:
            self.score, self.since = score_of(row), 0
            self.weights = {key: value.clone() for key, value in net.state_dict().items()}

    def of(self, net):
        """Return a network with the best weights, where any were kept; in evaluation mode."""
        if self.weights is not None:
            net.load_state_dict(self.weights)
        return net.eval()


def score_of(row):
    """Mean Dice of a check over passes and groups; what no draw held is left out."""
    values = [value for value in row.values() if math.isfinite(value)]
    return float(np.mean(values)) if values else -math.inf


def rate_of(config, step):
    """Learning rate of a step: warm-up, then half a cosine down to the least, in each leg."""
    leg, warm = leg_of(config, step), config["warm_up"]
    step -= leg.first
    if step < warm:
        return leg.rate * (step + 1) / warm
    done = (step - warm) / max(1, leg.steps - warm)
    low = config["least_rate"]
    return low + 0.5 * (leg.rate - low) * (1.0 + math.cos(math.pi * min(1.0, done)))


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
            device = next(net.parameters()).device.type
            with torch.no_grad(), torch.autocast(device, torch.bfloat16):
                logits = net(batch.hu.to(device), name)
            for branch, groups in logits.items():
                for group, values in groups.items():
                    _count(sums, name, group, values.float().cpu(), batch, batch.known[branch])
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
    if group == "vessels":
        values, truth = losses.merge_kinds(values, truth)[0]
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


def mean_of(told):
    """Return the means of the parts of losses by pass and name, for the log."""
    found = {}
    for name, parts in told:
        for key, value in parts.items():
            found.setdefault(f"{name} {key}", []).append(value)
    return {key: round(float(np.mean(values)), 4) for key, values in sorted(found.items())}


def _save(path, learner, step, best, kept):
    state = {**kept, "step": step, **learner.state()}
    if best.patience:
        state["best"] = {"score": best.score, "since": best.since, "weights": best.weights}
    save_checkpoint(path, state)


def save_checkpoint(path, state):
    """Write a checkpoint whole or not at all."""
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(path)


def _resume(path, learner, best, kept):
    if not path.exists():
        return 0
    state = torch.load(path, map_location=learner.device, weights_only=True)
    if _complete(state["network"]) != _complete(kept["network"]):
        raise ValueError(f"{path}: of a network with other settings; delete it or use its folder")
    for key, what in (("kind", "another optimiser"), ("patients", "other patients")):
        if state.get(key, kept[key]) != kept[key]:
            raise ValueError(f"{path}: of a training with {what}; delete it or use its folder")
    learner.load(state)
    if "best" in state and best.patience:
        for key, value in state["best"].items():
            setattr(best, key, value)
    log.info("goes on at step %d", state["step"])
    return state["step"]


def _complete(network):
    return baselines.settings_of(network)


def familiarity(net, folder, config, draws=(240, 80), patients=None):
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
    patients : dict of list of str, optional
        As `split` takes them.

    Returns
    -------
    trust.Familiar
    """
    config = {**DEFAULTS, **config}
    found = []
    parts = split(folder, config, patients)
    for part, (names, n) in enumerate(zip(parts, draws, strict=True)):
        rngs = (np.random.default_rng([config["seed"], 3, part, k]) for k in range(n))
        kind = config["augmentation"]
        found.append(
            np.stack([_features_of_draw(net, folder, names["chest"], rng, kind) for rng in rngs])
        )
    return trust.Familiar.learn(*found)


def _features_of_draw(net, folder, names, rng, augmentation):
    """Features of a random chest, or in half the draws of a part: any, or the heart's."""
    sample = synthesis.draw(folder, names, "chest", rng, augmentation)
    hu, heart = sample.hu[0], sample.labels.get("chambers")
    part, around = rng.uniform() < 0.5, rng.uniform() < 0.5
    seen = heart is not None and bool((heart > 0).any())
    for axis, n in enumerate(hu.shape):
        if part and around and seen:  # as gated scans show it
            line = (heart > 0).movedim(axis, 0).flatten(1).any(dim=1).nonzero()
            low = max(0, int(line[0]) - int(rng.integers(16)))
            side = min(n, int(line[-1]) + 1 + int(rng.integers(16))) - low
        elif part:
            side = int(rng.uniform(0.35, 1.0) * n)
            low = int(rng.integers(n - side + 1))
        else:
            continue
        hu, heart = (x if x is None else x.narrow(axis, low, side) for x in (hu, heart))
    return passes.features(net, hu)


def facts(config, log_path, wholes, details, history=""):
    """Return what the weights tell of their training, as JSON.

    `history` says in words what the settings don't, such as a schedule that was changed.
    """
    config = {**DEFAULTS, **config}
    rows = [json.loads(line) for line in Path(log_path).read_text(encoding="utf-8").splitlines()]
    checks = [row for row in rows if "held_out" in row]
    used = checks[-1]
    if config["patience"]:
        used = max(checks, key=lambda row: score_of(row["held_out"]))
    return {
        "training": config,
        "anatomies": {"whole": wholes, "detail": details},
        "steps": used["step"],
        "history": history,
        "held_out_dice": used["held_out"],
        "torch": torch.__version__.split("+")[0],
    }
