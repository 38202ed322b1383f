"""Weights on disk: safetensors that say which architecture, training and statistics they belong to.

Only numbers and JSON are read; no code of a file is ever executed.
"""

import hashlib
import json
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

from . import baselines, hierarchical
from .hierarchical import LATER
from .trust import Familiar

SHIPPED = Path(__file__).parent / "weights"
FAMILIAR = "familiar."  # before the names of what is no layer
DEFAULT = SHIPPED / "hierarchical.safetensors"


def architecture(net):
    """Digest of what a network computes with its weights: settings, layers, passes, classes."""
    layers = [(key, list(value.shape)) for key, value in net.state_dict().items()]
    config = {key: value for key, value in net.config.items() if LATER.get(key) != value}
    parts = [config, layers, hierarchical.PASSES, hierarchical.GROUPS, hierarchical.VALUES]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def save(path, net, facts, familiar=None):
    """Write the weights of a network, as float16.

    Parameters
    ----------
    path : path
    net : Hierarchical or Comparator
    facts : dict
        What is known of the training; JSON.
    familiar : Familiar, optional
        What scans of the training look like.
    """
    tensors = familiar.tensors() if familiar is not None else {}
    state = {f"{FAMILIAR}{key}": value for key, value in tensors.items()}
    for key, value in net.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        wide = "running" in key  # statistics may exceed what float16 resolves
        kind = torch.float32 if wide else torch.float16
        state[key] = value.detach().to(kind).contiguous()
    text = {
        "architecture": architecture(net),
        "network": json.dumps(net.config, sort_keys=True),
        "facts": json.dumps(facts, sort_keys=True),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    save_file(state, temporary, text)
    temporary.replace(path)


def load(path=None):
    """Network with the weights of a file.

    Parameters
    ----------
    path : path, optional
        The shipped ones if absent.

    Returns
    -------
    Hierarchical or Comparator, dict, Familiar
        In evaluation mode; the facts of its training, with the digest of the file; what scans of
        the training look like.

    Raises
    ------
    ValueError
        The file is no safetensors of this network, or of another architecture.
    """
    path = Path(path or DEFAULT)
    if not path.exists():
        raise ValueError(f"{path}: no such weights; give a file, or leave `weights` out")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path.name}: not a safetensors file ({error}); weights load as safetensors only"
        ) from None
    if "architecture" not in text:
        raise ValueError(f"{path.name}: says no architecture; it is not of this network")
    try:
        net = baselines.of(json.loads(text["network"]))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}; train it anew (rule train_network)") from None
    if architecture(net) != text["architecture"]:
        raise ValueError(
            f"{path.name}: was trained with architecture {text['architecture']}, this version "
            f"has {architecture(net)}; train it anew (rule train_network), or take the version "
            "that the weights came with"
        )
    known = {k[len(FAMILIAR) :]: state.pop(k) for k in list(state) if k.startswith(FAMILIAR)}
    missing, unknown = net.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unknown:
        raise ValueError(f"{path.name}: layers differ: {', '.join([*missing, *unknown][:4])}")
    facts = json.loads(text["facts"])
    return net.eval(), {**facts, "digest": digest(path)}, Familiar.of(known)


def digest(path=None):
    """First 16 hex digits of the SHA-256 of a file of weights."""
    return hashlib.sha256(Path(path or DEFAULT).read_bytes()).hexdigest()[:16]
