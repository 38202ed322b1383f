"""What a network is made of: encoders, branches, levels, channels, grids and parameters, as JSON.

Everything is read off the network itself, built on torch's meta device and run once there, so that
the figure that is drawn of it (`reporting.figure_architecture`, without torch) shows what is built.
The shipped network's stands in docs/networks/architecture.json; it is written anew by

    python -m lungitude.networks.architecture docs/networks/architecture.json
"""

import json
import sys
from pathlib import Path

import safetensors
import torch

from lungitude.job import whole

from . import baselines, hierarchical, weights
from .hierarchical import GROUPS, PASSES, VALUES

SIDE = 64  # voxels of the image that is run; any multiple of what a network needs tells the same


def of_weights(path=None):
    """Describe the network of a file of weights; the shipped ones if absent.

    Returns
    -------
    dict
        As `describe`, and ``weights``: file, digest (of the file, as `weights.digest`) and
        architecture (as `weights.architecture`).

    Raises
    ------
    ValueError
        The file is of a comparator, not of a `Hierarchical` network.
    """
    path = Path(path or weights.DEFAULT)
    with safetensors.safe_open(path, framework="pt") as file:
        config = json.loads(file.metadata()["network"])
    with torch.device("meta"):
        net = baselines.of(config)
    found = describe(net)
    known = {"file": path.name, "digest": weights.digest(path)}
    return {"weights": known | {"architecture": weights.architecture(net)}, **found}


def describe(net):
    """Describe a network.

    Parameters
    ----------
    net : Hierarchical
        On the meta device, where running it costs nothing.

    Returns
    -------
    dict
        ``parameters`` of the whole; ``input``: windows_hu, blur_voxels; ``passes``: name, voxel_mm,
        branches; ``encoders``: name (``shared``, or the branch that owns it), kind, branches that
        read it, parameters, levels from the finest; ``branches``: name, encoder, parameters, levels
        from the finest, filters of the image that its finest level gets, gates, fused (coarser
        scales that the finest level gets), groups with their classes, grid of the output, values
        that it estimates, and parameters of what makes logits (head) and values (estimate).

        A level has ``grid`` (voxels of the image a side of its cells), channels and parameters.
        The parameters of all levels, heads and estimates sum to those of the whole.

    Raises
    ------
    ValueError
        Another kind of network.
    """
    if not isinstance(net, hierarchical.Hierarchical):
        raise ValueError(f"architecture: {type(net).__name__} is not a hierarchical network")
    shapes, outputs = _shapes(net)
    own = dict(net.own.items())
    used = [name for name in net.decoders if name not in own]
    encoders = [_encoder("shared", net.encoder, used, net, shapes)] if used else []
    encoders += [_encoder(name, part, [name], net, shapes) for name, part in own.items()]
    found = {
        "parameters": _count(net),
        "input": {
            "windows_hu": [list(window) for window in net.config["windows_hu"]],
            "blur_voxels": net.config["blur_voxels"],
        },
        "passes": [
            {
                "name": name,
                "voxel_mm": facts["voxel_mm"],
                "branches": [branch for branch in facts["branches"] if branch in net.decoders],
            }
            for name, facts in PASSES.items()
        ],
        "encoders": encoders,
        "branches": [
            _branch(name, part, name if name in own else "shared", shapes, outputs)
            for name, part in net.decoders.items()
        ],
    }
    return found


def write(path, source=None):
    """Write the description of a file of weights (the shipped ones if absent) as JSON."""
    with whole(path) as part:
        text = json.dumps(of_weights(source), indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")


def _shapes(net):
    """Run each branch once; return features of each encoder and level, and logits, as shapes."""
    shapes = {}

    def keep(key):
        def hook(_, __, result):
            shapes[key] = (
                [tuple(part.shape) for part in result]
                if isinstance(result, list)
                else tuple(result.shape)
            )

        return hook

    watched = [(("encoder", "shared"), net.encoder)]
    watched += [(("encoder", name), part) for name, part in net.own.items()]
    watched += [
        ((name, level), unit)
        for name, decoder in net.decoders.items()
        for level, unit in enumerate(decoder.units)
    ]
    hooks = [part.register_forward_hook(keep(key)) for key, part in watched]
    was_training, config, outputs = net.training, net.config, {}
    net.eval()
    # A blur changes no shape, and its autocast does not know the meta device.
    net.config = {**config, "blur_voxels": 0.0}
    side = max(SIDE, 2 * net.multiple)
    try:
        with torch.no_grad():
            image = torch.zeros((1, 1, side, side, side), device="meta")
            for name in net.decoders:
                read = next(key for key, facts in PASSES.items() if name in facts["branches"])
                outputs[name] = net(image, read, (name,))[name]
    finally:
        for hook in hooks:
            hook.remove()
        net.config = config
        net.train(was_training)
    shapes["side"] = side
    return shapes, outputs


def _encoder(name, part, branches, net, shapes):
    kind = net.config["encoder" if name == "shared" else "airway_encoder"]
    features = shapes["encoder", name]
    return {
        "name": name,
        "kind": kind,
        "branches": branches,
        "parameters": _count(part),
        "levels": [
            {**_size(shape, shapes), "parameters": sum(map(_count, parts))}
            for shape, parts in zip(features, _stages(part), strict=True)
        ],
    }


def _stages(encoder):
    """Modules that make each feature of an encoder, from the finest."""
    if hasattr(encoder, "levels"):
        stages = [[level] for level in encoder.levels]
        stages[-1].append(encoder.last)
        return stages
    net = encoder.net
    return [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.layer4]]


def _branch(name, decoder, encoder, shapes, outputs):
    filters = [("edges", decoder.edges), ("tubeness", decoder.tubeness)]
    levels = []
    for level, unit in enumerate(decoder.units):
        parts = [unit, decoder.narrow[level]]
        parts += [decoder.gates[level]] if len(decoder.gates) else []
        parts += [decoder.lend[level - 1]] if level and len(decoder.lend) else []
        size = _size(shapes[name, level], shapes)
        levels.append({**size, "parameters": sum(map(_count, parts))})
    grids = {shapes["side"] // logits.shape[2] for logits in outputs[name].values()}
    (grid,) = grids
    return {
        "name": name,
        "encoder": encoder,
        "parameters": _count(decoder),
        "levels": levels,
        "filters": [key for key, used in filters if used],
        "gates": bool(len(decoder.gates)),
        "fused": len(decoder.lend),
        "grid": grid,
        "groups": [{"name": key, "classes": list(GROUPS[name][key])} for key in outputs[name]],
        "values": list(VALUES[name]),
        "head": {"parameters": _count(decoder.head) + _count(decoder.out)},
        "estimate": {"parameters": _count(decoder.estimate)},
    }


def _size(shape, shapes):
    return {"grid": shapes["side"] // shape[2], "channels": shape[1]}


def _count(part):
    return sum(values.numel() for values in part.parameters())


if __name__ == "__main__":
    write(*sys.argv[1:])
