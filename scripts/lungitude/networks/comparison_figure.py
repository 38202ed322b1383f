"""Figures of the comparison of networks: overlap by task, and a heat map of the biomarkers."""

import numpy as np
from matplotlib.lines import Line2D

from lungitude.reporting import figure as style
from lungitude.reporting import format as text

from . import unseen
from .comparison_summary import BOTH, SCORES, TASKS, title_of
from .evaluation_summary import PUBLISHED, QUANTITIES

TITLES = {"overlap": "Overlap by network and task", "heatmap": "Biomarkers by network: r and RMSE"}
NAMES = {"dice": "Dice", "iou": "IoU", "r": "r", "rmse": "RMSE"}
ROW_MM, CELL_MM, TITLE_MM = 5.5, 5.2, 25.0
MOST_RATIO = 4.0  # of an RMSE to the least one of its biomarker; the darkest shade
SHADES = {"r": "Blues", "rmse": "Oranges"}
LIGHT = 0.6  # of the range of shades: on darker ones numbers are white


@style.styled
def draw(table, kind):
    """Draw one figure.

    Parameters
    ----------
    table : DataFrame
        Of `comparison_summary.summary`.
    kind : {"overlap", "heatmap"}

    Returns
    -------
    matplotlib.figure.Figure
    """
    titles = table[(table["kind"] == "facts") & (table["score"] == "steps")]
    models = dict(zip(titles["model"], titles["note"], strict=True))
    domains = [name for name in unseen.DOMAINS if name in set(table["domain"])]
    return (_overlap if kind == "overlap" else _heatmap)(table, models, domains)


def _overlap(table, models, domains):
    rows = table[(table["kind"] == "overlap") & (table["domain"] != BOTH)]
    figure = style.new(2 * ROW_MM * len(models) + 28.0)
    grid = figure.subplots(len(SCORES), len(TASKS), sharey=True)
    for line, score in zip(grid, SCORES, strict=True):
        for axes, task in zip(line, TASKS, strict=True):
            some = rows[(rows["quantity"] == task) & (rows["score"] == score)]
            _intervals(axes, some, list(models), domains)
            axes.set_xlabel(NAMES[score])
            if score == SCORES[0]:
                axes.set_title("\n".join(style.wrap(task, 7.5, TITLE_MM)))
        line[0].set_yticks(range(len(models)), models.values())
        line[0].set_ylim(len(models) - 0.4, -0.6)
    keys = [_key(number, domain) for number, domain in enumerate(domains)]
    figure.legend(handles=keys, loc="lower left", ncols=len(keys))
    figure.tight_layout(pad=0.6, w_pad=1.0)
    return figure


def _intervals(axes, rows, models, domains):
    """Draw mean and interval of each network, the domains beside each other."""
    for number, domain in enumerate(domains):
        some = rows[rows["domain"] == domain].set_index("model").reindex(models)
        y = np.arange(len(models)) + 0.28 * (number - 0.5 * (len(domains) - 1))
        colour = style.COLOURS[number]
        axes.hlines(y, some["ci_low"], some["ci_high"], color=colour, linewidth=0.9)
        axes.plot(some["estimate"], y, **_marker(number))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=style.LINE, linewidth=0.3, alpha=0.5)
    axes.locator_params(axis="x", nbins=3)


def _marker(number):
    colour = style.COLOURS[number]
    return {
        "linestyle": "",
        "marker": style.MARKERS[number],
        "markersize": 3.4,
        "markerfacecolor": "white" if number else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 0.9,
    }


def _key(number, domain):
    return Line2D([], [], label=domain, **_marker(number))


def _heatmap(table, models, domains):
    rows = table[table["kind"] == "biomarker"]
    figure = style.new((CELL_MM * len(PUBLISHED) + 6.0) * len(domains) + 30.0)
    grid = figure.subplots(len(domains), 2, squeeze=False, sharex=True, sharey=True)
    for line, domain in zip(grid, domains, strict=True):
        for axes, score in zip(line, ("r", "rmse"), strict=True):
            some = rows[(rows["domain"] == domain) & (rows["score"] == score)]
            wide = some.pivot(index="quantity", columns="model", values="estimate")
            _cells(axes, wide.reindex(index=list(PUBLISHED), columns=list(models)), score)
            axes.set_title(f"{NAMES[score]}, {domain}", loc="left", fontweight="bold")
        line[0].set_yticks(np.arange(len(PUBLISHED)) + 0.5, [title_of(name) for name in PUBLISHED])
    for axes in grid[-1]:
        axes.set_xticks(np.arange(len(models)) + 0.5, models.values(), rotation=60, ha="right")
        axes.tick_params(axis="x", rotation_mode="anchor")
    figure.tight_layout(pad=0.6)
    return figure


def _cells(axes, wide, score):
    """Draw a table of shaded numbers; the best of each line is bold."""
    values = wide.to_numpy(float)
    shade = np.clip(values, 0.0, 1.0)
    best = np.nanmax(values, axis=1, initial=-np.inf, keepdims=True)
    if score == "rmse":
        best = np.nanmin(values, axis=1, initial=np.inf, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            shade = np.clip(np.log(values / best) / np.log(MOST_RATIO), 0.0, 1.0)
    # Faint in paper and dark in text are the ends of the scale: black figures stay readable.
    axes.pcolormesh(
        np.ma.masked_invalid(shade), cmap=SHADES[score], vmin=-0.1, vmax=1.15,
        edgecolor="white", linewidth=0.6,
    )  # fmt: skip
    axes.set_ylim(len(values), 0)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for (line, column), value in np.ndenumerate(values):
        dark = np.isfinite(value) and shade[line, column] > LIGHT
        axes.text(
            column + 0.5, line + 0.5, text.number(value, _decimals(wide.index[line], score)),
            ha="center", va="center", fontsize=6.5, color="white" if dark else style.INK,
            fontweight="bold" if value == best[line, 0] else "normal",
        )  # fmt: skip


def _decimals(quantity, score):
    return 2 if score == "r" else QUANTITIES[quantity].decimals
