"""Where the network looks: the study's picture of activation maps, with what they are worth.

The picture is a file of the study (made where torch is); the shares below it are numbers of the
results table.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from lungitude import network_study as study
from lungitude.provenance import digest_of
from lungitude.reporting import figure as fig
from lungitude.reporting import results as lookup
from lungitude.reporting.drawing import page, place, write_parts
from lungitude.reporting.pages import minus
from lungitude.reporting.results import Absent

METHOD = "network_activation"
HOTTEST = "hottest 5%"  # what the titles of the picture quote
# STAT: head of its column, decimals.
SHARES = {
    "overlap_pct": ("on the structure, %", 0),
    "chance_pct": ("structure, % of the field", 0),
    "ssim_randomised": ("similarity to random weights", 2),
}
# All in mm.
LEFT, RIGHT, TOP, GAP, ROW, FOOT = 1.5, 1.5, 1.0, 3.0, 3.7, 4.0
STRUCTURE, OUTPUT, COLUMN = 27.0, 45.0, 35.0
POINTS = 7.0


def picture(context):
    """Return the file of the picture.

    Raises
    ------
    Absent
        If it is not there.
    """
    path = Path(study.paths(study.section_of(context.plan))["picture"])
    if not path.is_file():
        raise Absent(f"there is no {path.name}, the picture of the activation maps")
    return path


def outputs(rows):
    """Return what was explained, in order: patient, structure, output, and the part quoted."""
    quoted = HOTTEST if HOTTEST in set(rows["COMPARISON"]) else rows["COMPARISON"].iloc[0]
    rows = rows[rows["COMPARISON"] == quoted]
    pairs = dict.fromkeys(zip(rows["GROUP"], rows["LEVEL"], strict=True))
    return quoted, [(patient, *level.split(": ", 1)) for patient, level in pairs]


def caption(results, context, display):
    """Say what the picture shows, what the shares are, and which file it is."""
    quoted, _ = outputs(results.of(METHOD))
    path = picture(context)
    return (
        "Grad-CAM at the finest layer of each branch of the network. Each row is one structure in "
        "the axial slice that holds most of it: the scan; the scan under the heat of the class of "
        "the label map and of the quantity that is estimated, from blue (little) to yellow (most); "
        f"the outline of the structure. Below, of the heat of the {quoted} of the voxels, the "
        "share that lies on the structure; the share of the field that the structure fills, which "
        "chance alone would give; and the similarity to maps of networks with random weights. A "
        "synthetic patient that no training saw; not of the trial. "
        f"Picture {path.name} (sha256 {digest_of(path)})"
    )


@fig.styled
def draw(results, context, display):
    """Draw the picture with its shares.

    Parameters
    ----------
    results : Results
        Rows of method ``network_activation``.
    context : Context
        Its plan says where the picture lies.
    display : dict

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide.

    Raises
    ------
    Absent
        If the stratum has no such rows (they stand in that of all patients), or without the file.
    """
    quoted, shown = outputs(results.of(METHOD))
    with Image.open(picture(context)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    width = fig.WIDTH_MM - LEFT - RIGHT
    high = width * pixels.shape[0] / pixels.shape[1]
    patients = dict.fromkeys(patient for patient, *_ in shown)
    several = len(patients) > 1
    lines = len(shown) + (len(patients) if several else 0)
    height = TOP + high + GAP + ROW * (lines + 1) + FOOT
    figure = fig.new(height)
    plot = place(figure, LEFT, TOP, width, high, height)
    # "none": PDF and SVG hold the picture as it is, at no lower resolution.
    plot.imshow(pixels, interpolation="none", aspect="auto")
    plot.axis("off")
    axes = page(figure, height)
    y = TOP + high + GAP
    _head(axes, quoted, y)
    last = None
    for patient, structure, output in shown:
        if several and patient != last:
            y += ROW
            axes.text(LEFT, y, patient, fontsize=POINTS, va="center_baseline", fontweight="bold")
        last = patient
        y += ROW
        _row(axes, results, context, (patient, structure, output, quoted), y)
    fig.synthetic_line(figure, context, height)
    return figure


def _ends():
    """Right ends of the columns of numbers."""
    return [LEFT + STRUCTURE + OUTPUT + COLUMN * (number + 1) for number in range(len(SHARES))]


def _head(axes, quoted, y):
    style = {"fontsize": 6.5, "va": "center_baseline", "color": fig.SOFT}
    axes.text(LEFT, y, "Structure", **style)
    axes.text(LEFT + STRUCTURE, y, f"Heat of ({quoted} of the voxels)", **style)
    for (name, _), x in zip(SHARES.values(), _ends(), strict=True):
        axes.text(x, y, name, ha="right", **style)
    rule = y + 0.5 * ROW
    axes.plot([LEFT, _ends()[-1]], [rule, rule], color=fig.LINE, linewidth=0.5)


def _row(axes, results, context, what, y):
    patient, structure, output, quoted = what
    style = {"fontsize": POINTS, "va": "center_baseline"}
    axes.text(LEFT, y, structure.capitalize(), **style)
    named = "its class" if output == structure else f"estimate of {output}"
    axes.text(LEFT + STRUCTURE, y, minus(named), **style)
    for (stat, (_, decimals)), x in zip(SHARES.items(), _ends(), strict=True):
        level = f"{structure}: {output}"
        found = results.get(METHOD, stat, group=patient, comparison=quoted, level=level)
        part = lookup.part(found, decimals, context.style["rounding"])
        write_parts(axes, x, y, [part], POINTS, "right")
