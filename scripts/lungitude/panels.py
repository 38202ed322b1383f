"""Panels to judge a scan and its measurements by eye: lungs, airways, vessels; heart and calcium.

Every panel is one PNG of less than 300 kB whose bytes depend on its content alone, in colours that
are told apart with any colour vision. Axial and coronal pictures show the patient's right side on
the left, sagittal ones the front.
"""

import edt
import matplotlib as mpl
import numpy as np
from scipy import ndimage, spatial

from lungitude import canvas, images, segmentation
from lungitude.biomarkers import airway_fit, airway_tree, graphs, sections
from lungitude.biomarkers.airways import pi10
from lungitude.biomarkers.prm import CLASSES as PRM_CLASSES
from lungitude.panels_heart import calcium_panel, heart_panel

__all__ = ["airway_fit_panel", "calcium_panel", "chest_panel", "heart_panel"]

LOBE_COLOURS = {
    1: canvas.ORANGE, 2: canvas.YELLOW, 3: canvas.VERMILION,
    4: canvas.SKY, 5: canvas.BLUE, 6: canvas.GREEN,
}  # fmt: skip
SIDE_COLOURS = {1: canvas.ORANGE, 2: canvas.SKY}
VESSEL_COLOURS = {1: canvas.SKY, 2: canvas.VERMILION}
VESSEL_NAMES = {1: "artery", 2: "vein"}
PRM_COLOURS = {1: canvas.GREEN, 2: canvas.YELLOW, 3: canvas.VERMILION, 4: canvas.PURPLE}
PRM_ALPHA = {1: 0.3, 2: 0.6, 3: 0.7, 4: 0.7}
PRM_NAMES = {"normal": "normal", "fsad": "fSAD", "emphysema": "emphysema", "other": "other"}
LAST_GENERATION = 8  # and beyond: one colour
MINIP_MM, MIP_MM = 15.0, 20.0
AIRWAY_WINDOW_HU, VESSEL_WINDOW_HU = (-1050.0, -400.0), (-900.0, 200.0)
_MARGIN_MM = 12.0
_TREE_MM = 1.0  # voxels finer than this are thinned out before vessels are traced
_SECTION_MM = 24.0
_SECTIONS = 6


@canvas.styled
def chest_panel(ct, lungs, airways=None, vessels=None, prm=None, *, path, title, lines=()):
    """Draw a chest scan with what was found in it.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU.
    lungs : SimpleITK.Image
        Label map on the same grid: lungs (1 right, 2 left) or lobes (1 RUL 2 RML 3 RLL 4 LUL
        5 LLL 6 lingula).
    airways : SimpleITK.Image, optional
        1 lumen, 2 wall; coloured by generation.
    vessels : SimpleITK.Image, optional
        1 artery, 2 vein; or any nonzero.
    prm : SimpleITK.Image, optional
        Classes of `biomarkers.prm.prm_map`.
    path : path
        PNG.
    title : str
        Patient, visit and series.
    lines : iterable of str
        Numbers and flags, written below.

    Raises
    ------
    ValueError
        Another grid, an empty label map of the lungs.

    Notes
    -----
    Axial, coronal and sagittal slices with lobes, with airways and vessels, and with the map of
    the PRM classes; beside them a minimum and a maximum intensity projection of a coronal slab,
    and the centrelines of airways and vessels as drawings in space, widths to scale. The coronal
    plane is that of the tracheal bifurcation, the sagittal one halves the right lung. Under
    colours of the second and third row, the scan is smoothed by 1 mm.
    """
    chest = _Chest(ct, lungs, airways, vessels, prm)
    rows = [_draw_lobes]
    rows += [_draw_tubes] if airways is not None or vessels is not None else []
    rows += [_draw_prm] if prm is not None else []
    wide, deep, tall = (chest.size_mm[k] for k in (2, 1, 0))
    tubes = airways is not None or vessels is not None
    scale = 2.55 / tall  # inches a mm: all slices to one scale
    columns = [wide, wide, deep, wide, wide] if tubes else [wide, wide, deep]
    lines = list(lines)
    width = sum(columns) * scale + 0.04 * len(columns) + 0.15
    height = len(rows) * (tall * scale + 0.09) + 0.64 + 0.16 * len(lines)
    made, area = canvas.figure(width, height, title, lines, dpi=110)
    grid = made.add_gridspec(
        len(rows), len(columns), left=area[0], bottom=area[1], right=area[2], top=area[3],
        wspace=0.02, hspace=0.035, width_ratios=columns,
    )  # fmt: skip
    for line, draw in enumerate(rows):
        pictures = [made.add_subplot(grid[line, column]) for column in range(3)]
        entries = draw(chest, pictures)
        # An axial slice is lower than the others: the legend goes under it.
        box = pictures[0].get_position(original=True)
        foot = box.y1 - deep * scale / height * box.width / (wide * scale / width)
        room = made.add_axes((box.x0 + 0.002, box.y0, box.width, foot - box.y0 - 0.06 / height))
        room.set_axis_off()
        canvas.key(room, entries, 2 if len(entries) == 4 else 3, loc="upper left")
    if tubes:
        for column, shown in ((3, airways), (4, vessels)):
            if shown is not None:
                below = [made.add_subplot(grid[line, column]) for line in range(len(rows))]
                (_draw_airways if column == 3 else _draw_vessels)(below, chest)
    canvas.save(made, path, _generation_colours())


class _Chest:
    """Arrays of a chest on canonical axes, cropped to the lungs, and where it is cut."""

    def __init__(self, ct, lungs, airways, vessels, prm):
        axes = images.canonical(ct)
        self.spacing = images.spacing_zyx(axes)
        maps = {"lungs": lungs, "airways": airways, "vessels": vessels, "prm": prm}
        for name, label in maps.items():
            if label is not None:
                images.check_grid(ct, label, name)
        labels = images.array(images.canonical(lungs))
        if not labels.any():
            raise ValueError("the label map of the lungs is empty: there is nothing to draw")
        box = segmentation.bounding_box(labels > 0, self.spacing, _MARGIN_MM)
        self.lungs = labels[box]
        self.hu = images.array(axes)[box]
        self.airways, self.vessels, self.prm = (
            None if label is None else images.array(images.canonical(label))[box]
            for label in (airways, vessels, prm)
        )
        self.size_mm = [n * d for n, d in zip(self.lungs.shape, self.spacing, strict=True)]
        start = [part.start for part in box]
        self.start_mm = np.array(start) * self.spacing
        self.tree = None if airways is None else airway_tree.tree(_lumen(airways))
        self.origin = axes.TransformIndexToPhysicalPoint([int(k) for k in start[::-1]])
        self.cuts = self._cuts()

    def _cuts(self):
        """Return the index of the axial, coronal and sagittal plane."""
        inside = self.lungs > 0
        z, y, _ = (round(float(c)) for c in ndimage.center_of_mass(inside))
        right = np.isin(self.lungs, (1, 2, 3) if self.lungs.max() > 2 else (1,))
        share = np.cumsum((right if right.any() else inside).sum((0, 1)))
        x = int(np.searchsorted(share, 0.5 * share[-1]))
        if self.tree is not None and self.tree.airways:
            # Through the end of the trachea: main bronchi and hila in the coronal plane.
            fork = self.tree.airways[0].path[-1] - self.start_mm
            y = int(np.clip(round(fork[1] / self.spacing[1]), 0, inside.shape[1] - 1))
        return z, y, x

    def planes(self, volume):
        """Yield a volume's axial, coronal and sagittal plane, head up, with pixel sizes."""
        z, y, x = self.cuts
        dz, dy, dx = self.spacing
        yield volume[z], (dy, dx)
        yield volume[::-1, y], (dz, dx)
        yield volume[::-1, :, x], (dz, dy)

    def generations(self, inside, axis):
        """Return the generation of each airway voxel of a plane plus 1; 0 elsewhere."""
        points = np.concatenate([a.path for a in self.tree.airways]) - self.start_mm
        generation = np.repeat(
            [a.generation for a in self.tree.airways], [len(a.path) for a in self.tree.airways]
        )
        index = np.argwhere(inside).astype(float)
        place = np.insert(index, axis, self.cuts[axis], axis=1)
        nearest = spatial.cKDTree(points).query(place * self.spacing)[1]
        out = np.zeros(inside.shape, np.uint8)
        out[inside] = 1 + np.minimum(generation[nearest], LAST_GENERATION)
        return out


def _lumen(label):
    """Return the lumen alone: a label of lumen and wall, or of any one value."""
    return label == 1 if images.array(label).max() > 1 else label != 0


def _generation_colours():
    shades = mpl.colormaps["viridis"](np.linspace(1.0, 0.3, LAST_GENERATION + 1))
    return [mpl.colors.to_hex(shade) for shade in shades]


def _draw_lobes(chest, pictures):
    lobes = chest.lungs.max() > 2
    colours = LOBE_COLOURS if lobes else SIDE_COLOURS
    names = segmentation.LOBES if lobes else segmentation.LUNGS
    _draw_scan(chest, pictures, first=True)
    for axes, (plane, step) in zip(pictures, chest.planes(chest.lungs), strict=True):
        canvas.fill(axes, plane, step, colours, 0.28)
        for code, colour in colours.items():
            canvas.outline(axes, plane == code, step, colour, 0.9)
    return {name: colours[code] for name, code in names.items()}


def _draw_tubes(chest, pictures):
    _draw_scan(chest, pictures)
    entries = {}
    if chest.vessels is not None:
        kinds = _kinds(chest)
        for axes, (plane, step) in zip(pictures, chest.planes(chest.vessels), strict=True):
            canvas.fill(axes, plane, step, kinds, 0.8)
        names = VESSEL_NAMES if len(kinds) > 1 else {}
        entries |= {names.get(code, "vessels"): colour for code, colour in kinds.items()}
    if chest.airways is not None and chest.tree.airways:
        shades = _generation_colours()
        lumen = chest.airways == 1 if chest.airways.max() > 1 else chest.airways != 0
        for axis, (axes, (plane, step)) in enumerate(
            zip(pictures, chest.planes(lumen), strict=True)
        ):
            # In the plane as stored, before it is turned head up.
            turned = plane if axis == 0 else plane[::-1]
            codes = chest.generations(turned, axis)
            codes = codes if axis == 0 else codes[::-1]
            canvas.fill(axes, codes, step, dict(enumerate(shades, start=1)), 0.9)
        for number, shade in enumerate(shades):
            name = f"gen. {number}" if number else "trachea"
            entries[name + ("+" if number == LAST_GENERATION else "")] = shade
    return entries


def _kinds(chest):
    """Return label to colour of the vessels that are told apart, or one colour for all."""
    codes = [int(v) for v in np.unique(chest.vessels[chest.vessels > 0])]
    if len(codes) > 1:
        return {code: VESSEL_COLOURS.get(code, canvas.GREY) for code in codes}
    return dict.fromkeys(codes, canvas.VERMILION)


def _draw_prm(chest, pictures):
    _draw_scan(chest, pictures)
    for axes, (plane, step) in zip(pictures, chest.planes(chest.prm), strict=True):
        for code, colour in PRM_COLOURS.items():
            canvas.fill(axes, plane, step, {code: colour}, PRM_ALPHA[code])
    counts = np.bincount(chest.prm.ravel(), minlength=5)[1:5]
    total = max(int(counts.sum()), 1)
    return {
        f"{PRM_NAMES[name]} {100 * counts[code - 1] / total:.1f} %": PRM_COLOURS[code]
        for name, code in PRM_CLASSES.items()
    }


def _draw_scan(chest, pictures, first=False):
    names = ("Axial", "Coronal", "Sagittal, right lung")
    for axis, (axes, (plane, step)) in enumerate(
        zip(pictures, chest.planes(chest.hu), strict=True)
    ):
        place = chest.origin[2 - axis] + chest.cuts[axis] * chest.spacing[axis]
        if not first:  # under colours, noise only costs bytes
            plane = ndimage.gaussian_filter(plane.astype(np.float32), [1.0 / d for d in step])
        canvas.picture(
            axes, plane, step, canvas.LUNG_WINDOW_HU, ("RLAP", "RLHF", "APHF")[axis],
            50.0 if axis == 0 else None, names[axis] if first else "",
            f"{'zyx'[axis]} {place:.0f} mm",
        )  # fmt: skip


def _draw_airways(pictures, chest):
    """Draw the minimum of a slab, and the tree from the front and from the left, as room allows."""
    _draw_slab(pictures[0], chest, MINIP_MM, np.min, AIRWAY_WINDOW_HU, "Minimum")
    shades = _generation_colours()
    found = chest.tree.airways
    _draw_trees(
        pictures[1:],
        [_smooth(chest.tree.physical(a.path)) for a in found],
        [shades[min(a.generation, LAST_GENERATION)] for a in found],
        [2.0 * a.radius_mm for a in found],
        "Airways",
    )


def _draw_vessels(pictures, chest):
    """Draw the maximum of a slab, and the trees as `_draw_airways` does."""
    _draw_slab(pictures[0], chest, MIP_MM, np.max, VESSEL_WINDOW_HU, "Maximum")
    every = [max(1, int(_TREE_MM / d + 0.01)) for d in chest.spacing]
    labels = np.where(chest.lungs > 0, chest.vessels, 0)[tuple(slice(None, None, k) for k in every)]
    spacing = tuple(d * k for d, k in zip(chest.spacing, every, strict=True))
    radius = edt.edt(labels != 0, anisotropy=spacing, parallel=1)
    graph = graphs.trace(graphs.skeletonise(labels != 0), spacing)
    colours = _kinds(chest)
    lines, shades, widths = [], [], []
    for branch in graph.branches:
        inside = tuple(branch.path.T)
        codes = labels[inside]
        lines.append(_smooth((branch.path * spacing)[:, ::-1] + chest.origin))
        shades.append(colours[int(np.bincount(codes[codes > 0]).argmax())])
        # From the centre of a voxel to the edge of the label, on average.
        widths.append(2.0 * max(float(np.median(radius[inside])) - 0.25 * min(spacing), 0.2))
    _draw_trees(pictures[1:], lines, shades, widths, "Vessels")


def _draw_slab(axes, chest, reach_mm, merge, window, name):
    dz, dy, dx = chest.spacing
    half, y = max(1, round(0.5 * reach_mm / dy)), chest.cuts[1]
    slab = chest.hu[::-1, max(0, y - half) : y + half + 1]
    title = f"{name} intensity over {slab.shape[1] * dy:.0f} mm"
    canvas.picture(axes, merge(slab, axis=1), (dz, dx), window, "RLHF", 50.0, title)


def _draw_trees(pictures, lines, colours, widths, name):
    views = ((0.0, "front", "RLHF"), (90.0, "left", "APHF"))
    for axes, (turn, where, sides) in zip(pictures, views, strict=False):
        canvas.tree(axes, lines, colours, widths, turn, f"{name}, {where}", sides)


def _smooth(points):
    """Take the stairs of voxels out of a path; its ends stay."""
    points = np.asarray(points, float).copy()
    for _ in range(4):
        points[1:-1] = 0.25 * points[:-2] + 0.5 * points[1:-1] + 0.25 * points[2:]
    return points


@canvas.styled
def airway_fit_panel(ct, branches, *, path, title, lines=()):
    """Draw cross-sections of airways with the fitted circles and profiles, and the line of Pi10.

    Parameters
    ----------
    ct : SimpleITK.Image
        HU.
    branches : DataFrame
        Of `biomarkers.airway_branches` for this scan.
    path, title, lines
        As `chest_panel`.

    Raises
    ------
    ValueError
        No branch was measured.
    """
    known = branches[branches["lumen_diameter_mm"].notna()]
    if known.empty:
        raise ValueError("no branch was measured: there is nothing to draw")
    counted = known[known["used"]] if known["used"].any() else known
    # From wide to narrow, evenly through those that count.
    order = counted.sort_values(["lumen_diameter_mm", "branch"], ascending=[False, True])
    pick = np.unique(np.linspace(0, len(order) - 1, min(_SECTIONS, len(order))).round().astype(int))
    chosen = order.iloc[pick]
    axes_ct = images.canonical(ct)

    made, area = canvas.figure(12.4, 4.5, title, lines)
    grid = made.add_gridspec(
        2, _SECTIONS, left=area[0] + 0.03, bottom=area[1] + 0.09, right=0.70, top=area[3],
        wspace=0.08, hspace=0.06, height_ratios=[1.0, 1.35],
    )  # fmt: skip
    for column, (_, branch) in enumerate(chosen.iterrows()):
        here = _frame(axes_ct, branch)
        picture = made.add_subplot(grid[0, column])
        _draw_section(picture, axes_ct, here, branch, column == 0)
        _draw_profile(made.add_subplot(grid[1, column]), axes_ct, here, branch, column == 0)
    plot = made.add_axes((0.755, area[1] + 0.105, 0.235, area[3] - area[1] - 0.105))
    _draw_pi10(plot, known)
    canvas.save(made, path)


def _frame(image, branch):
    """Return the frame of a branch's middle, centred on its lumen, in array mm of `image`."""
    turn = np.reshape(image.GetDirection(), (3, 3))
    point = branch[["x_mm", "y_mm", "z_mm"]].to_numpy(float) - np.asarray(image.GetOrigin())
    along = branch[["tangent_x", "tangent_y", "tangent_z"]].to_numpy(float)
    start = sections.frame((turn.T @ point)[::-1], (turn.T @ along)[::-1])
    radius = 0.5 * branch["lumen_diameter_mm"]
    reach = radius + branch["wall_mm"] + 4.0
    volume, spacing = images.array(image), np.array(images.spacing_zyx(image))
    return sections.centred(volume, spacing, start, reach, 1.0, radius)[0]


def _draw_section(axes, image, here, branch, bar):
    step = 0.2
    n = int(_SECTION_MM / step)
    grid = (np.arange(n) - 0.5 * (n - 1)) * step
    points = (
        here[0][:, None, None]
        + here[1][:, None, None] * grid[None, None, :]
        + here[2][:, None, None] * grid[None, :, None]
    )
    index = points / np.array(images.spacing_zyx(image))[:, None, None]
    plane = ndimage.map_coordinates(
        images.array(image), index.reshape(3, -1), np.float32, order=1, mode="nearest"
    ).reshape(n, n)
    canvas.picture(axes, plane, (step, step), (-1100.0, 200.0), "", 5.0 if bar else None)
    inner = 0.5 * branch["lumen_diameter_mm"]
    for radius, colour in ((inner, canvas.SKY), (inner + branch["wall_mm"], canvas.ORANGE)):
        ring = mpl.patches.Circle(
            (0.5 * _SECTION_MM,) * 2, radius, fill=False, ec=colour, lw=1.1, zorder=4
        )
        axes.add_patch(ring)
    name = branch["name"] or branch["segment"] or f"branch {branch['branch']}"
    axes.set_title(f"{name}, gen. {branch['generation']:.0f}")
    size = f"{branch['lumen_diameter_mm']:.1f} mm, wall {branch['wall_mm']:.2f}"
    canvas.decorate(axes, (0, _SECTION_MM, _SECTION_MM), where=size)


def _draw_profile(axes, image, here, branch, first):
    inner, wall = 0.5 * branch["lumen_diameter_mm"], branch["wall_mm"]
    reach = min(inner + wall + 3.5, 0.5 * _SECTION_MM)
    step = 0.1
    spacing = np.array(images.spacing_zyx(image))
    rays = sections.polar(images.array(image), spacing, here, reach, 1.0, 36, step)
    at = step * np.arange(rays.shape[1])
    axes.plot(at, rays.T, color=canvas.GREY, lw=0.35, alpha=0.5)
    axes.plot(at, np.median(rays, axis=0), color=canvas.INK, lw=1.3, label="median of rays")
    # Voxel and interpolation blur the rays beyond the scanner's own spread.
    sigma = np.sqrt(branch["psf_mm"] ** 2 + 2.0 * float((spacing**2).mean()) / 12.0)
    fitted = airway_fit.profile(
        at, inner, wall, sigma, branch["lumen_hu"], branch["wall_hu"], branch["outside_hu"]
    )
    axes.plot(at, fitted, color=canvas.VERMILION, lw=1.3, ls="--", label="fit")
    axes.axvline(inner, color=canvas.SKY, lw=1.0)
    axes.axvline(inner + wall, color=canvas.ORANGE, lw=1.0)
    axes.set(xlim=(0, reach), ylim=(-1100, 250), xlabel="from the centre, mm")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    if first:
        axes.set_ylabel("HU")
        axes.legend(loc="upper left", fontsize=6, borderaxespad=0.0, handlelength=1.4)
    else:
        axes.set_yticklabels([])


def _draw_pi10(axes, known):
    used = known["used"].to_numpy(bool)
    x = known["perimeter_mm"].to_numpy(float)
    area = (known["outer_area_mm2"] - known["inner_area_mm2"]).to_numpy(float)
    y = np.sqrt(area)
    axes.plot(x[~used], y[~used], "o", ms=3.2, mfc="white", color=canvas.GREY, label="not counted")
    axes.plot(x[used], y[used], "o", ms=3.6, color=canvas.BLUE, label="counted")
    line = pi10(x[used], area[used])
    end = np.array([0.0, max(26.0, 1.05 * x.max())])
    if np.isfinite(line["pi10_mm"]):
        axes.plot(
            end, line["pi10_intercept_mm"] + line["pi10_slope"] * end, color=canvas.INK, lw=1.2
        )
        axes.plot(10.0, line["pi10_mm"], "D", ms=6, color=canvas.VERMILION, zorder=5)
        axes.plot([10, 10], [0, line["pi10_mm"]], color=canvas.VERMILION, lw=0.8, ls=":")
        axes.set_title(
            f"Pi10 {line['pi10_mm']:.2f} mm (SE {line['pi10_se_mm']:.2f}; "
            f"{line['pi10_n']} branches, R² {line['pi10_r2']:.2f})"
        )
    axes.set(
        xlim=(0, min(end[1], 60)), ylim=(0, 1.1 * y.max()),
        xlabel="internal perimeter, mm", ylabel="square root of wall area, mm",
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize=7)
