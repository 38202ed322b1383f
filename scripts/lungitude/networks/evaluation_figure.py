"""Figures of the evaluation: scatter and Bland-Altman, a panel a published biomarker."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from lungitude.reporting import figure as style
from lungitude.validation.imaging_summary import agreement

from . import unseen
from .evaluation_summary import PUBLISHED, QUANTITIES, reference_of

COLUMNS = 4
PANEL_MM = 45.0
WIDE_RANGE = ("agatston",)  # scattered on a scale that is linear up to `LINEAR_TO`
LINEAR_TO = 10.0
TITLES = {"scatter": "Measured against truth", "bland_altman": "Bland-Altman"}


@style.styled
def draw(rows, kind):
    """Draw all panels of one kind.

    Parameters
    ----------
    rows : DataFrame
        Of `evaluation.measure`, of all patients.
    kind : {"scatter", "bland_altman"}

    Returns
    -------
    matplotlib.figure.Figure
    """
    found = pairs(rows)
    domains = [name for name in unseen.DOMAINS if name in set(rows["domain"])]
    count = -(-(len(PUBLISHED) + 1) // COLUMNS)
    figure = style.new(count * PANEL_MM)
    panel = _scatter if kind == "scatter" else _differences
    for number, quantity in enumerate(PUBLISHED, start=1):
        axes = figure.add_subplot(count, COLUMNS, number)
        panel(axes, quantity, {domain: found[quantity].get(domain) for domain in domains})
        axes.set_title(_named(QUANTITIES[quantity]), loc="left")
        if axes.get_xscale() == "linear":
            axes.locator_params(nbins=4)
    axes = figure.add_subplot(count, COLUMNS, len(PUBLISHED) + 1)
    axes.axis("off")
    axes.legend(handles=[_key(domains, domain) for domain in domains], loc="center")
    words = {"scatter": ("truth", "network"), "bland_altman": ("mean of both", "network - truth")}
    figure.supxlabel(words[kind][0], fontsize=7.5)
    figure.supylabel(words[kind][1], fontsize=7.5)
    figure.tight_layout(pad=0.6)
    return figure


def pairs(rows):
    """Return measured and true values, two arrays, of each published quantity by domain."""
    found = {quantity: {} for quantity in PUBLISHED}
    some = rows[(rows["kind"] == "biomarker") & (rows["source"] == "network")]
    for (quantity, domain), part in some.groupby(["quantity", "domain"], sort=False):
        if quantity in PUBLISHED:
            part = part.dropna(subset=["measured", reference_of(quantity, "network")])
            values = (part["measured"], part[reference_of(quantity, "network")])
            if len(part):
                found[quantity][domain] = tuple(column.to_numpy(float) for column in values)
    return found


def _scatter(axes, quantity, found):
    both = [values for known in found.values() if known for values in known]
    if not both:
        return _empty(axes)
    joined = np.concatenate(both)
    low, high = joined.min(), joined.max()
    axes.plot([low, high], [low, high], color=style.LINE, linewidth=0.6, zorder=0)
    if quantity in WIDE_RANGE:
        for scale in (axes.set_xscale, axes.set_yscale):
            scale("symlog", linthresh=LINEAR_TO)
        for axis in (axes.xaxis, axes.yaxis):  # 10, not the notation of powers
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for domain, known in found.items():
        if known:
            axes.plot(known[1], known[0], **_marker(found, domain))
    return None


def _differences(axes, quantity, found):
    if not any(found.values()):
        return _empty(axes)
    axes.axhline(0.0, color=style.LINE, linewidth=0.6, zorder=0)
    for number, (domain, known) in enumerate(found.items()):
        if not known:
            continue
        measured, truth = known
        axes.plot(0.5 * (measured + truth), measured - truth, **_marker(found, domain))
        limits = agreement(measured, truth, np.arange(len(truth)))
        for name, width in (("bias", 1.0), ("loa_low", 0.6), ("loa_high", 0.6)):
            if name in limits:
                axes.axhline(
                    limits[name],
                    color=style.COLOURS[number],
                    linestyle=style.LINES[number + 1],
                    linewidth=width,
                )
    return None


def _empty(axes):
    axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes)


def _marker(found, domain):
    number = list(found).index(domain)
    return {
        "linestyle": "",
        "marker": style.MARKERS[number],
        "markersize": 2.6,
        "markerfacecolor": "none" if number else style.COLOURS[number],
        "markeredgecolor": style.COLOURS[number],
        "markeredgewidth": 0.6,
    }


def _key(domains, domain):
    return Line2D([], [], label=domain, **_marker(dict.fromkeys(domains), domain))


def _named(spec):
    return f"{spec.title} ({spec.unit})" if spec.unit and spec.unit != "%" else spec.title
