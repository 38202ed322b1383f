"""Panel of where the network looks: a slice, its heat and the structure that was meant."""

import dataclasses

import matplotlib as mpl
import numpy as np
from scipy import ndimage

from lungitude import canvas

# From blue (little) over red to yellow (most), ever lighter: told apart with any colour vision.
HEAT = "plasma"
OUTLINE = canvas.SKY
ALPHA = (0.35, 0.9)  # of warm and of the hottest; the coldest of `STEPS` shows the scan alone
STEPS = 8
LUNG_WINDOW_HU, WALL_WINDOW_HU = canvas.LUNG_WINDOW_HU, (-1100.0, 200.0)
WINDOWS_HU = {"airway wall": WALL_WINDOW_HU, "heart": canvas.HEART_WINDOW_HU}
SOFT_VOXELS = 1.0
_WIDE = 2.5  # inches of a picture
_SIDES = "RLAP"


@dataclasses.dataclass
class Row:
    """One structure, arrays (z, y, x) with axes to the head, to the back, to the left.

    name : str; hu : ndarray; structure : ndarray of bool; heat : dict of ndarray, 0 to 1, by what
    was explained, as many and as ordered in all rows; voxel_mm : float; table : DataFrame with the
    columns of `networks.explain.COLUMNS`, for the caption.
    """

    name: str
    hu: np.ndarray
    structure: np.ndarray
    heat: dict
    voxel_mm: float
    table: object = None


@canvas.styled
def panel(rows, *, path, title, quantile=0.95, lines=()):
    """Draw the maps of several outputs of one scan.

    Parameters
    ----------
    rows : list of Row
    path : path
        PNG.
    title : str
        Patient, visit and series.
    quantile : float
        The one of the tables that titles and caption quote.
    lines : iterable of str
        Written below.

    Returns
    -------
    str
        Caption, in plain text.

    Raises
    ------
    ValueError
        No row; rows with other numbers of maps.

    Notes
    -----
    Each row shows the axial slice with most of its structure: the scan, the scan under each map,
    and the scan with the structure's outline. Heat is laid over the scan the thicker the hotter.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("no output was explained: there is nothing to draw")
    if len({len(row.heat) for row in rows}) > 1:
        raise ValueError("rows have different numbers of maps")
    lines, columns = list(lines), 2 + len(rows[0].heat)
    tall = [_WIDE * row.hu.shape[1] / row.hu.shape[2] for row in rows]
    room = 0.62 + 0.24 * len(rows) + 0.16 * len(lines) + 0.42  # titles, names, lines, key
    width, height = columns * (_WIDE + 0.05) + 0.1, sum(tall) + room
    made, area = canvas.figure(width, height, title, lines, dpi=92)
    foot = area[1] + 0.42 / height
    grid = made.add_gridspec(
        len(rows), columns, left=area[0], bottom=foot, right=area[2], top=area[3],
        wspace=0.02, hspace=0.24 * len(rows) / sum(tall), height_ratios=tall,
    )  # fmt: skip
    for line, row in enumerate(rows):
        _draw_row([made.add_subplot(grid[line, k]) for k in range(columns)], row, quantile)
    key = made.add_axes((area[0] + 0.01, area[1] + 0.24 / height, 0.3, 0.1 / height))
    _draw_key(key)
    side = made.add_axes((0.5, area[1], 0.49, 0.4 / height))
    side.set_axis_off()
    canvas.key(side, {"outline of the structure by its label map": OUTLINE}, loc="center left")
    canvas.save(made, path)
    return caption(rows, quantile)


def _draw_row(pictures, row, quantile):
    counts = row.structure.sum(axis=(1, 2))
    z = int(counts.argmax()) if counts.any() else row.hu.shape[0] // 2
    step = (row.voxel_mm, row.voxel_mm)
    window = WINDOWS_HU.get(row.name, LUNG_WINDOW_HU)
    bar = 50.0 if row.hu.shape[2] * row.voxel_mm > 200.0 else 20.0
    plain = np.asarray(row.hu[z], np.float32)
    # Under colours, noise only costs bytes.
    soft = ndimage.gaussian_filter(plain, SOFT_VOXELS)
    shares = {line.OUTPUT: line.overlap_pct for line in _quoted(row, quantile)}
    names = [row.name.capitalize()]
    for name in row.heat:
        share = shares.get(name, np.nan)
        told = f": {share:.0f} % on it" if np.isfinite(share) else ""
        names.append(f"Heat of {name}{told}")
    names.append("Label map")
    for number, (axes, name) in enumerate(zip(pictures, names, strict=True)):
        first = number == 0
        canvas.picture(
            axes, plain if first else soft, step, window, _SIDES if first else "",
            bar if first else None, name,
        )  # fmt: skip
    extent = (0.0, row.hu.shape[2] * row.voxel_mm, row.hu.shape[1] * row.voxel_mm, 0.0)
    for axes, heat in zip(pictures[1:], row.heat.values(), strict=False):
        axes.imshow(_shade(heat[z]), extent=extent, interpolation="nearest", zorder=1)
    canvas.outline(pictures[-1], row.structure[z], step, OUTLINE, 1.0)


def _quoted(row, quantile):
    """Lines of a row's table at a quantile."""
    if row.table is None:
        return []
    return list(row.table[np.isclose(row.table["QUANTILE"], quantile)].itertuples())


def _shade(heat):
    """Colours of heat in steps, thicker where it is hotter."""
    step = np.minimum(np.floor(np.clip(heat, 0.0, 1.0) * STEPS), STEPS - 1) / (STEPS - 1)
    rgba = mpl.colormaps[HEAT](step)
    rgba[..., 3] = np.where(step > 0.0, ALPHA[0] + (ALPHA[1] - ALPHA[0]) * step, 0.0)
    return rgba


def _draw_key(axes):
    middle = (np.arange(STEPS) + 0.5) / STEPS
    axes.imshow(_shade(middle[None]), extent=(0, 1, 0, 1), aspect="auto", interpolation="nearest")
    axes.set_facecolor(canvas.GREY)
    axes.set(yticks=[], xticks=[0.0, 0.5, 1.0], xticklabels=["0", "heat", "1, hottest"])
    axes.tick_params(length=2, pad=1, labelsize=7)


def caption(rows, quantile=0.95):
    """Caption of a panel: what it shows, and in figures what the maps are worth."""
    text = [
        "Where the network looks (Grad-CAM at the finest layer of each branch). Each row is one "
        "structure in the axial slice that holds most of it: the scan; the scan under the heat of "
        "the class and of the quantity named above, from blue (little) to yellow (most); the "
        "structure's outline by its label map. Of the heat of the hottest "
        f"{100 * (1 - quantile):.3g} % of the voxels of the field:",
    ]
    for row in rows:
        for line in _quoted(row, quantile):
            if not np.isfinite(line.overlap_pct):
                text.append(f"{line.OUTPUT} has none here.")
                continue
            text.append(
                f"{line.OUTPUT}, {line.overlap_pct:.0f} % lies on the structure, which fills "
                f"{line.chance_pct:.0f} % of the field (similarity to maps of random weights "
                f"{line.ssim_randomised:.2f})."
            )
    return " ".join(text)
