"""The card of trained weights: data, schedule, accuracy while training, use, limits; and curves."""

import json
from pathlib import Path

import safetensors

from . import hierarchical, weights

# What the curves show, a panel each: name, unit of the y axis, keys of the log.
PANELS = {
    "Dice on patients held out": (
        "chest regions",
        "heart chambers",
        "detail regions",
        "detail airways",
        "detail vessels",
    ),
    "Dice loss while training": (
        "chest lung regions",
        "heart heart chambers",
        "detail airway airways",
        "detail vessel vessels",
    ),
}
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))


def read_log(path):
    """Return the rows of a log of `training.train`, those of a step that was done twice once."""
    rows = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[row["step"], "held_out" in row] = row
    return [rows[key] for key in sorted(rows)]


def draw_curves(rows, path):
    """Draw the log of a training, PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, keys) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for key, line in zip(keys, LINES, strict=False):
            seen = [
                (row["step"], values[key])
                for row in rows
                for values in [row.get("held_out", {}) if "held out" in title else row]
                if key in values
            ]
            if seen:
                axes.plot(*zip(*seen, strict=True), linestyle=line, label=key)
        axes.set(title=title, xlabel="Step", ylim=(0, 1))
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def card(name, path, rows):
    """Return the card of weights as Markdown.

    Parameters
    ----------
    name : str
        Of the settings in config/networks.
    path : path
        Weights.
    rows : list of dict
        Of `read_log`.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        text = file.metadata()
        count = sum(file.get_slice(key).get_shape() != [] for key in file.keys())  # noqa: SIM118
    facts = json.loads(text["facts"])
    network = json.loads(text["network"])
    plan = facts["training"]
    parameters = sum(p.numel() for p in hierarchical.build(network).parameters())
    last = [row for row in rows if "held_out" in row][-1]
    dice = "\n".join(f"| {key} | {value:.3f} |" for key, value in last["held_out"].items())
    return f"""# Weights `{name}`

| | |
|---|---|
| file | {Path(path).stat().st_size / 1e6:.1f} MB, {count} arrays, float16, safetensors |
| digest | {weights.digest(path)} |
| architecture | {text["architecture"]} |
| parameters | {parameters:,} |
| steps | {last["step"]:,} of {plan["steps"]:,} |
| samples a step | {_listed(plan["batch"])} |
| share of the steps | {_listed(plan["shares"])} |
| anatomies | {facts["anatomies"]["whole"]} chests, {facts["anatomies"]["detail"]} details |
| seed | {plan["seed"]} |
| precision, threads | {plan["precision"]}, {plan["threads"]} of a CPU |
| torch | {facts["torch"]} |

Trained on random scans of patients of the phantom alone (`lungitude.networks.synthesis`); no real
scan was used. Weights of one training are the same bytes on one machine only: sums of several
threads depend on the processor. {facts["history"]}

Mean Dice of the classes on {plan["held_out"]:.0%} of the patients, which were not trained on,
under the same random scanning:

| pass and group | Dice |
|---|---|
{dice}
"""


def _listed(values):
    return ", ".join(f"{key} {value}" for key, value in values.items())
