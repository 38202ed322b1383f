"""Panels to judge measurements of the heart by eye: ventricles over the cycle, calcium."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungitude import canvas, images
from lungitude.biomarkers.agatston import (
    PROTOCOL_SLICE_MM,
    VESSELS,
    WEIGHT_FROM_HU,
    _widened,
    agatston,
    lesion_slices,
)
from lungitude.biomarkers.ventricle import (
    FIT_FROM_PHASES,
    LV_BLOOD,
    MYOCARDIUM,
    RV_BLOOD,
    fit,
    ventricle,
    volume_curve,
)

CAVITY, MUSCLE, RIGHT = canvas.VERMILION, canvas.ORANGE, canvas.SKY
VESSEL_COLOURS = {1: canvas.VERMILION, 2: canvas.YELLOW, 3: canvas.SKY}
LOW_HU, HIGH_HU = -160.0, 400.0  # window of calcium; higher where the threshold is
_FIELD_MM = 140.0
_PIXEL_MM = 0.6
_NEAR_MM = 15.0
_TILES = 6  # largest lesions that are shown
_CUTS = {"basal": 0.75, "middle": 0.5, "apical": 0.25}  # parts of the cavity's length from the apex


@canvas.styled
def heart_panel(phases, scans=None, *, path, title, lines=(), phase_pct=None):
    """Draw the ventricles at end-diastole and end-systole, and their volume over the cycle.

    Parameters
    ----------
    phases : list of SimpleITK.Image, or a 4-D image
        Label maps as `biomarkers.ventricle` takes them.
    scans : list of SimpleITK.Image, optional
        CT (HU) or MR of the same phases; None, or None for single phases, draws labels alone.
    path : path
        PNG.
    title : str
        Patient, visit and series.
    lines : iterable of str
        Numbers and flags, written below.
    phase_pct : sequence of float, optional
        Places in the cycle.

    Raises
    ------
    ValueError
        As `biomarkers.ventricle`; no left ventricle with myocardium in any phase.
    """
    if hasattr(phases, "GetDimension") and phases.GetDimension() == 4:
        phases = [phases[:, :, :, n] for n in range(phases.GetSize()[3])]
    phases = list(phases)
    row = ventricle(phases, phase_pct).iloc[0]
    curve = volume_curve(phases, phase_pct)
    if not np.isfinite(row["lvm_g"]):
        raise ValueError("no left ventricle with myocardium: there is nothing to draw")
    ends = [int(row["ed_phase"]), int(row["es_phase"])]
    planes = _planes(phases[ends[0]])
    scans = list(scans) if scans is not None else [None] * len(phases)

    made, area = canvas.figure(12.4, 4.95, title, lines)
    grid = made.add_gridspec(
        2, 6, left=area[0], bottom=area[1], right=area[2], top=area[3],
        wspace=0.03, hspace=0.04, width_ratios=[1, 1, 1, 1, 1, 1.4],
    )  # fmt: skip
    for line, (end, label) in enumerate(zip(ends, ("End-diastole", "End-systole"), strict=True)):
        for column, (name, plane) in enumerate(planes.items()):
            axes = made.add_subplot(grid[line, column])
            _draw_plane(axes, plane, phases[end], scans[end], bar=column == 0)
            if line == 0:
                axes.set_title(name)
            if column == 0:
                place = f"{label}\n{curve.loc[end, 'phase_pct']:.0f} % of the cycle"
                canvas.decorate(axes, (0, _FIELD_MM, _FIELD_MM), where=place)
    _draw_curve(made.add_subplot(grid[0, 5]), curve, row)
    _draw_numbers(made.add_subplot(grid[1, 5]), row, curve["rv_ml"].notna().any())
    canvas.save(made, path)


def _planes(label):
    """Return name to (centre, right, down, sides): planes by the axis of the left ventricle.

    Seen from the apex, the right ventricle to the left of the picture, front up.
    """
    axes = images.canonical(label)
    labels = images.array(axes)

    def points(inside):
        index = np.argwhere(inside)[:, ::-1]
        turn = np.reshape(axes.GetDirection(), (3, 3))
        return np.asarray(axes.GetOrigin()) + (index * axes.GetSpacing()) @ turn.T

    cavity, muscle = points(labels == LV_BLOOD), points(labels == MYOCARDIUM)
    both = np.concatenate([cavity, muscle])
    long = np.linalg.svd(both[:: max(1, len(both) // 20000)] - both.mean(0), full_matrices=False)[
        2
    ][0]
    # The cavity is wide at the base and ends in a tip at the apex.
    along = (cavity - cavity.mean(0)) @ long
    low, high = along.min(), along.max()
    quarter = 0.25 * (high - low)
    if (along > high - quarter).sum() < (along < low + quarter).sum():
        long = -long
    right = points(labels == RV_BLOOD)
    # Without a right ventricle, it is taken to lie to the right and front.
    toward = right.mean(0) - both.mean(0) if len(right) else np.array([-0.7, -0.7, 0.0])
    side = -(toward - (toward @ long) * long)  # of the picture: away from the right ventricle
    side /= np.linalg.norm(side)
    up = np.cross(-long, side)
    along = (cavity - both.mean(0)) @ long
    low, high = along.min(), along.max()
    axis = cavity.mean(0) - (cavity.mean(0) - both.mean(0)) @ long * long
    middle = axis + 0.5 * (low + high) * long
    # Both ventricles in the picture: halfway between their outer walls.
    spread = [(part - axis) @ side for part in (right, both) if len(part)]
    shift = 0.5 * (min(s.min() for s in spread) + max(s.max() for s in spread)) * side
    found = {
        f"Short axis, {name}": (axis + shift + (low + share * (high - low)) * long, side, -up)
        for name, share in _CUTS.items()
    }
    found["Long axis, both ventricles"] = (middle + shift, side, -long)
    found["Long axis, across"] = (middle, up, -long)
    return found


def _draw_plane(axes, plane, label, scan, bar):
    centre, right, down = plane
    n = int(_FIELD_MM / _PIXEL_MM)
    start = centre - 0.5 * _FIELD_MM * (right + down)
    if scan is not None:
        images.check_grid(label, scan, "scan")
        grey = _cut(scan, start, right, down, n, sitk.sitkLinear)
        window = canvas.HEART_WINDOW_HU if grey.min() < -50 else tuple(np.percentile(grey, (1, 99)))
        canvas.picture(axes, grey, (_PIXEL_MM, _PIXEL_MM), window)
    else:
        canvas.frame(axes, (n, n), (_PIXEL_MM, _PIXEL_MM))
    for code, colour in (
        (RV_BLOOD, RIGHT), (MYOCARDIUM, MUSCLE), (LV_BLOOD, CAVITY)
    ):  # fmt: skip
        codes = (code, LV_BLOOD) if code == MYOCARDIUM else (code,)
        smooth = sum(sitk.Cast(label == c, sitk.sitkFloat32) for c in codes)
        inside = _cut(smooth, start, right, down, n, sitk.sitkLinear)
        if scan is None:
            canvas.fill(axes, (inside > 0.5) * code, (_PIXEL_MM, _PIXEL_MM), {code: colour}, 0.25)
        _contour(axes, inside, colour)
    canvas.decorate(axes, (0, _FIELD_MM, _FIELD_MM), _sides(right, down), 30.0 if bar else None)


def _contour(axes, share, colour):
    """Draw where a share is one half; of shares, so that it does not follow the voxels."""
    if share.max() <= 0.5:
        return
    at = (np.arange(len(share)) + 0.5) * _PIXEL_MM
    axes.contour(at, at, share, levels=[0.5], colors=[colour], linewidths=1.1, zorder=3)


def _cut(image, start, right, down, n, interpolator):
    """Resample a plane of n x n pixels: (rows, columns), rows along `down`."""
    frame = np.stack([right, down, np.cross(right, down)], axis=1)
    lowest = -1024.0 if image.GetPixelID() != sitk.sitkFloat32 else 0.0
    plane = sitk.Resample(
        image, (n, n, 1), sitk.Transform(), interpolator, start.tolist(),
        (_PIXEL_MM, _PIXEL_MM, 1.0), frame.ravel().tolist(), lowest, sitk.sitkFloat32,
    )  # fmt: skip
    return sitk.GetArrayFromImage(plane)[0]


def _sides(right, down):
    """Letters of left, right, top and bottom of a plane: the patient's side each points to."""

    def letters(direction):
        order = np.argsort(-np.abs(direction), kind="stable")
        shown = [k for n, k in enumerate(order[:2]) if n == 0 or abs(direction[k]) > 0.45]
        return "".join(("LPH" if direction[k] > 0 else "RAF")[k] for k in shown)

    return letters(-right), letters(right), letters(-down), letters(down)


def _draw_curve(axes, curve, row):
    seen = curve[curve["lv_ml"].notna()]
    axes.set_anchor("N")
    places = np.arange(0, 100.5, 0.5)
    for name, colour, label in (("lv_ml", CAVITY, "LV"), ("rv_ml", RIGHT, "RV")):
        part = curve[curve[name].notna()]
        if len(part) < 2:
            continue
        fitted = row["method"] == "fit" and len(part) >= FIT_FROM_PHASES
        if fitted:
            level = fit(part["phase_pct"], part[name])(places)
            axes.plot(places, level, color=colour, lw=1.4)
        axes.plot(
            part["phase_pct"], part[name], ls="" if fitted else ":", marker="o", ms=3.6,
            color=colour, mfc="white", label=f"{label}: phases{', line: fit' if fitted else ''}",
        )  # fmt: skip
    for end in ("ed", "es"):
        place, level = row[f"{end}_phase_pct"], row[f"{end}v_ml"]
        axes.plot(place, level, marker="D", color=canvas.INK, ms=4.5, zorder=5)
        axes.annotate(
            end.upper(), (place, level), (0, -6), textcoords="offset points", size=8,
            ha="center", va="top",
        )  # fmt: skip
    top = np.nanmax(curve[["lv_ml", "rv_ml"]].to_numpy())
    axes.set(xlim=(-3, 103), ylim=(0, 1.17 * top), xlabel="cardiac cycle, %")
    axes.set_title(f"Volume, ml ({len(seen)} phases)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", fontsize=7)
    box = axes.get_position()
    axes.set_position([box.x0 + 0.03, box.y0 + 0.085, box.width - 0.035, box.height - 0.085])


def _draw_numbers(axes, row, with_right):
    axes.set_axis_off()
    entries = [
        ("EDV", row["edv_ml"], "ml"),
        ("ESV", row["esv_ml"], "ml"),
        ("Stroke volume", row["sv_ml"], "ml"),
        ("Ejection fraction", row["ef_pct"], "%"),
        ("   by phases alone", row["ef_raw_pct"], "%"),
        ("LV mass (ED)", row["lvm_g"], "g"),
        ("   at ES", row["lvm_es_g"], "g"),
    ]
    if with_right:
        entries += [("RV EDV", row["rv_edv_ml"], "ml"), ("RV EF", row["rv_ef_pct"], "%")]
    for number, (name, value, unit) in enumerate(entries):
        y = 0.97 - 0.087 * number
        axes.text(0.09, y, name, transform=axes.transAxes, va="top")
        text = f"{value:.1f}" if value == value else "-"
        axes.text(0.8, y, text, transform=axes.transAxes, ha="right", va="top")
        axes.text(0.83, y, unit, transform=axes.transAxes, va="top", color=canvas.SOFT)
    names = {"LV cavity": CAVITY, "epicardium": MUSCLE}
    if with_right:
        names["RV cavity"] = RIGHT
    canvas.key(axes, names, 3, loc="lower left", bbox_to_anchor=(0.06, 0.04), fontsize=7)


@canvas.styled
def calcium_panel(ct, mask, *, path, title, lines=(), **options):
    """Draw the calcium that was scored: projections, and the largest lesions.

    Parameters
    ----------
    ct, mask, **options
        As `biomarkers.agatston` takes them.
    path, title, lines
        As `heart_panel`.

    Raises
    ------
    ValueError
        As `biomarkers.agatston`; an empty mask.
    """
    table = agatston(ct, mask, **options).set_index("region")
    if table.loc["all", "flag"] == "empty mask":
        raise ValueError("the mask is empty: there is nothing to draw")
    axes_ct = images.canonical(ct)
    hu, labels = images.array(axes_ct), images.array(images.canonical(mask))
    spacing = images.spacing_zyx(axes_ct)
    threshold = table.loc["all", "threshold_hu"]
    window = (LOW_HU, max(HIGH_HU, 1.8 * threshold))
    by_vessel = len(table) > 1
    lesions = _lesions(hu, labels, spacing, table.loc["all"], options.get("convention", "agatston"))
    marked = np.zeros(hu.shape, np.uint8)
    for lesion in lesions:
        marked.ravel()[lesion["place"]] = lesion["label"] if by_vessel else 1
    pads = [int(np.ceil(_NEAR_MM / d)) for d in spacing]
    box = _widened(ndimage.find_objects((labels > 0).view(np.uint8))[0], hu.shape, pads)
    hu, labels, marked = hu[box], labels[box], marked[box]

    made, area = canvas.figure(11.4, 6.5, title, lines)
    grid = made.add_gridspec(
        2, 4, left=area[0], bottom=area[1], right=area[2], top=area[3] - 0.04,
        wspace=0.05, hspace=0.1, width_ratios=[1.45, 1, 1, 1],
    )  # fmt: skip
    for line, (axis, name, sides) in enumerate(
        ((0, "Axial", "RLAP"), (1, "Coronal", "RLHF"))
    ):  # fmt: skip
        picture = made.add_subplot(grid[line, 0])
        _draw_projection(picture, hu, labels, marked, spacing, axis, sides, window)
        picture.set_title(f"{name} maximum, {_NEAR_MM:g} mm around the mask")
    largest = sorted(lesions, key=lambda lesion: (-lesion["score"], lesion["place"][0]))[:_TILES]
    offset = [part.start for part in box]
    for number, lesion in enumerate(largest):
        picture = made.add_subplot(grid[number // 3, 1 + number % 3])
        _draw_lesion(picture, hu, marked, spacing, lesion, offset, ct, window, number == 0)
    if not lesions:
        made.text(0.7, 0.5, "No calcium at or above the threshold", size=10, ha="center")
    _draw_scores(made, table, threshold, by_vessel, area)
    canvas.save(made, path)


def _lesions(hu, labels, spacing, row, convention):
    """Return the scored lesions of each slice, in full coordinates."""
    limits = WEIGHT_FROM_HU
    if convention == "cta":
        limits = (row["threshold_hu"], *(max(row["threshold_hu"], v) for v in limits[1:]))
    area = spacing[1] * spacing[2]
    found = lesion_slices(hu, labels, limits, row["min_area_mm2"] / area)
    order = np.argsort(found["number"], kind="stable")
    stops = np.cumsum(found["voxels"])[:-1]
    places = np.split(found["place"][order], stops)
    factor = area * spacing[0] / PROTOCOL_SLICE_MM
    return [
        {
            "place": place,
            "at": tuple(
                int(v) for v in np.array(np.unravel_index(place, hu.shape)).mean(1).round()
            ),
            "label": int(found["label"][n]),
            "weight": int(found["weight"][n]),
            "peak_hu": float(found["peak_hu"][n]),
            "area_mm2": float(found["voxels"][n] * area),
            "score": float(found["voxels"][n] * found["weight"][n] * factor),
        }
        for n, place in enumerate(places)
        if len(place)
    ]


def _draw_projection(axes, hu, labels, marked, spacing, axis, sides, window):
    near = ndimage.distance_transform_edt(labels == 0, sampling=spacing) <= _NEAR_MM
    flip = (lambda plane: plane[::-1]) if axis else (lambda plane: plane)
    plane = flip(np.where(near, hu, -200).max(axis))
    step = tuple(spacing[k] for k in range(3) if k != axis)
    canvas.picture(axes, plane, step, window, sides, 20.0)
    for code, colour in VESSEL_COLOURS.items():
        canvas.outline(axes, flip((marked == code).any(axis)), step, colour, 1.2)


def _draw_lesion(axes, hu, marked, spacing, lesion, offset, ct, window, bar):
    z, y, x = (at - start for at, start in zip(lesion["at"], offset, strict=True))
    half = [int(20.0 / d) for d in spacing[1:]]
    rows, columns = (
        slice(max(0, at - reach), at + reach + 1) for at, reach in zip((y, x), half, strict=True)
    )
    canvas.picture(axes, hu[z, rows, columns], spacing[1:], window, "RLAP", 10.0 if bar else None)
    for code, colour in VESSEL_COLOURS.items():
        canvas.outline(axes, marked[z, rows, columns] == code, spacing[1:], colour, 1.2)
    level = images.canonical(ct).TransformIndexToPhysicalPoint(
        [int(v) for v in lesion["at"][::-1]]
    )[2]
    axes.set_title(
        f"{lesion['area_mm2']:.1f} mm² x {lesion['weight']}, peak {lesion['peak_hu']:.0f} HU: "
        f"{lesion['score']:.1f}"
    )
    size = [n * d for n, d in zip(hu[z, rows, columns].shape, spacing[1:], strict=True)]
    canvas.decorate(axes, (0, size[1], size[0]), where=f"z {level:.0f} mm")


def _draw_scores(made, table, threshold, by_vessel, area):
    """Write the scores by vessel as one line above the pictures."""
    name = "cacs_cta" if "cacs_cta" in table else "score"
    label = {"agatston": "Agatston", "cacs_cta": "Score on angiography (not Agatston)"}.get(
        table.loc["all", "measure"], "Score of CalciumScoring.jl"
    )
    row = table.loc["all"]
    text = f"{label} {row[name]:.0f}"
    if row["risk"]:
        text += f" (class {row['risk']})"
    text += f"   volume {row['volume_mm3']:.0f} mm³   mass {row['mass_mg']:.1f} mg"
    text += f"   {row['lesions']} lesions   threshold {threshold:.0f} HU"
    made.text(0.008, area[3] + 0.028, text, size=9, va="center")
    if by_vessel:
        entries = {
            f"{vessel} {table.loc[vessel, name]:.0f}": VESSEL_COLOURS[code]
            for vessel, code in VESSELS.items()
        }
        left = made.add_axes((0.6, area[3] + 0.013, 0.39, 0.03))
        left.set_axis_off()
        canvas.key(left, entries, 3, loc="center right")
