"""The card of trained weights: data, schedule, accuracy while training, use, limits; and curves."""

import json
from pathlib import Path

import numpy as np
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


def card(name, path):
    """Return the card of weights as Markdown.

    Parameters
    ----------
    name : str
        Of the settings in config/networks.
    path : path
        Weights.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        text = file.metadata()
        count = sum(file.get_slice(key).get_shape() != [] for key in file.keys())  # noqa: SIM118
    facts = json.loads(text["facts"])
    network = json.loads(text["network"])
    plan = facts["training"]
    parameters = sum(p.numel() for p in hierarchical.build(network).parameters())
    test = facts.get("test_dice", {})
    dice = "\n".join(
        f"| {key} | {value:.3f} |" + (f" {test[key]:.3f} |" if test else "")
        for key, value in facts["held_out_dice"].items()
    )
    return f"""# Weights `{name}`

| | |
|---|---|
| file | {Path(path).stat().st_size / 1e6:.1f} MB, {count} arrays, float16, safetensors |
| digest | {weights.digest(path)} |
| architecture | {text["architecture"]} |
| parameters | {parameters:,} |
| steps | {facts["steps"]:,} of {plan["steps"] + plan.get("refine_steps", 0):,} |
| samples a step | {_listed(plan["batch"])} |
| share of the steps | {_listed(plan["shares"])} |
| anatomies | {facts["anatomies"]["whole"]} chests, {facts["anatomies"]["detail"]} details |
| seed | {plan["seed"]} |
| precision, threads | {plan["precision"]}, {plan["threads"]} of a CPU |
| torch | {facts["torch"]} |

Trained on random scans of patients of the phantom alone (`lungitude.networks.synthesis`); no real
scan was used. Weights of one training are the same bytes on one machine only: sums of several
threads depend on the processor. {facts["history"]}

{_parted(facts)}Mean Dice of the classes on {_held_out(plan, facts)}, which were not trained on,
under the same random scanning:

| pass and group | Dice |{" Dice, test |" if test else ""}
|---|---|{"---|" if test else ""}
{dice}
{_reading(facts)}"""


def _held_out(plan, facts):
    return "the last two" if "parting" in facts else f"{plan['held_out']:.0%} of the patients"


def _parted(facts):
    """Say how patients were parted."""
    if "parting" not in facts:
        return ""
    told = facts["parting"]
    n = {part: len(names) for part, names in told["patients"].items()}
    fold = f" (fold {told['fold']} of {told['folds']})" if told["fold"] else ""
    return (
        f"Patients of each grade (`{told['by']}`) were parted alike: {n['train']} trained on, "
        f"{n['validation']} held out for validation{fold}, {n['test']} left for the test. "
    )


def _reading(facts):
    """Say how scans are to be read with the weights, as keys of config.yaml."""
    if "reading" not in facts:
        return ""
    lines = "\n".join(f"    {key}: {str(v).lower()}" for key, v in facts["reading"].items())
    return f"""
Scans are read as these settings ask with, in a trial's config.yaml:

```yaml
imaging:
  segmentation: network
  network:
    weights: ...
{lines}
```
"""


def folds_table(paths):
    """Return the held-out Dice of cross-validated trainings as Markdown.

    Parameters
    ----------
    paths : sequence of path
        Weights, one a fold, in their order.
    """
    each = []
    for path in paths:
        with safetensors.safe_open(path, framework="pt") as file:
            each.append(json.loads(file.metadata()["facts"])["held_out_dice"])
    head = " | ".join(f"fold {k}" for k in range(1, len(each) + 1))
    lines = [f"| pass and group | {head} | mean | SD |", "|---" * (len(each) + 3) + "|"]
    for key in each[0]:
        values = [dice[key] for dice in each]
        told = [*values, np.mean(values), np.std(values, ddof=1)]
        lines.append(f"| {key} | " + " | ".join(f"{value:.3f}" for value in told) + " |")
    return "\n".join(lines) + "\n"


def _listed(values):
    return ", ".join(f"{key} {value}" for key, value in values.items())
