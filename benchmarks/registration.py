"""Race registrations of lungs on one core: ``python benchmarks/registration.py``, ten minutes.

Phantom breaths of known motion and, with ``--pair``, a real pair with landmarks; our backends
beside antspyx and elastix at their own settings. Both peers are given our start from the masks:
where the chest stays and the lungs move by 30 mm, SyN does not find one. Each case runs in a
process of its own. Results go to benchmarks/results/registration.tsv, the figure to
docs/registration.png.
"""

import argparse
import csv
import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from memory import as_mb, peak_mb

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT / "scripts")
RESULT = ROOT / "benchmarks" / "results" / "registration.tsv"
FIGURE = ROOT / "docs" / "registration.png"
THREADS = "OMP OPENBLAS MKL NUMBA".split()
# No setting was chosen on this patient.
ROW = {
    **{"USUBJID": "BENCH", "AVISIT": "Baseline", "LUNGVOL_L": 5.5, "EMPH_PCT": 15.0},
    **{"FSAD_PCT": 25.0, "EXPRATIO": 0.62, "LUNG_HU": -870.0},
}
SCANNER_HU = (-1024, 3071)
DOUBTFUL_PAIR = 20  # of the real landmarks: above 12 mm under every method
POINTS = 20_000
COLUMNS = (
    *("case", "data", "method", "cpu_s", "peak_mb", "before_mm", "start_mm", "mean_mm"),
    *("median_mm", "p95_mm", "mean_vox", "p95_vox", "folding_pct", "jacobian_to_volume"),
)
ELASTIX = {
    **{"Registration": "MultiResolutionRegistration", "NumberOfResolutions": 3},
    **{"FixedImagePyramid": "FixedRecursiveImagePyramid"},
    **{"MovingImagePyramid": "MovingRecursiveImagePyramid"},
    **{"ImagePyramidSchedule": (4, 4, 4, 2, 2, 2, 1, 1, 1)},
    **{"FixedInternalImagePixelType": "float", "MovingInternalImagePixelType": "float"},
    **{"Metric": "AdvancedNormalizedCorrelation", "ErodeMask": "false"},
    **{"Optimizer": "AdaptiveStochasticGradientDescent", "ImageSampler": "RandomCoordinate"},
    **{"NumberOfSpatialSamples": 2000, "NewSamplesEveryIteration": "true"},
    **{"Resampler": "DefaultResampler", "ResampleInterpolator": "FinalBSplineInterpolator"},
    **{"HowToCombineTransforms": "Compose", "WriteResultImage": "false"},
}
AFFINE = {
    **{"Transform": "AffineTransform", "AutomaticScalesEstimation": "true"},
    **{"AutomaticTransformInitialization": "false", "MaximumNumberOfIterations": 500},
    **{"Interpolator": "BSplineInterpolator", "BSplineInterpolationOrder": 1},
}
BSPLINE = {
    **{"Transform": "RecursiveBSplineTransform", "Interpolator": "LinearInterpolator"},
    **{"FinalGridSpacingInPhysicalUnits": 10.0, "GridSpacingSchedule": (4, 2, 1)},
    **{"MaximumNumberOfIterations": 1000},
}


def make_phantom(side, folder):
    """Write a breath of side^3 voxels, its lungs, and points of them with their true places.

    The phantom's own motion is within 1.3 mm of an affine map: smooth random bends are added.
    """
    from scipy import ndimage

    from lungitude.phantom import breathing, render

    spacing_mm = 320.0 / side
    record = render.count_lesions(render.prepare(ROW, {"voxel_mm": [spacing_mm] * 3}))
    low = np.array([-160.0, -125.0, -160.0])
    grid = render.box(low, low + 320.0 - spacing_mm, spacing_mm)
    fixed, moving = (render.render_box(record, phase, grid) for phase in ("insp", "exp"))
    nodes = low + spacing_mm * np.indices(grid.shape)[::-1].reshape(3, -1).T
    index = grid.index(nodes + bend(nodes)).T.reshape(3, *grid.shape)
    moving = dataclasses.replace(
        moving,
        t1=ndimage.map_coordinates(moving.t1, index, order=3, mode="nearest"),
        lobes=ndimage.map_coordinates(moving.lobes, index, order=0),
    )
    for name, scan in (("fixed", fixed), ("moving", moving)):
        write(folder, name, grid.image(render.deliver(scan)), grid.image(scan.lobes))
    inside = np.argwhere(fixed.lobes > 0)
    points = low + spacing_mm * inside[:: max(1, len(inside) // POINTS), ::-1]
    straight = breathing.map_points(record.breath, points, "insp_to_exp")
    true = straight
    for _ in range(60):
        true = straight - bend(true)
    if np.abs(true + bend(true) - straight).max() > 1e-3:
        raise ValueError("the bends fold: choose others")
    finish(folder, fixed=points, moving=true)


def bend(points_mm):
    """Displacement in mm, (n, 3): 40 Gaussians 25 to 45 mm wide, anywhere in the chest."""
    random = np.random.default_rng(2024)
    moved = np.zeros_like(points_mm)
    for _ in range(40):
        middle, width = random.uniform(-120, 120, 3), random.uniform(25, 45)
        way = random.normal(0, 4.0, 3)
        far = ((points_mm - middle) ** 2).sum(axis=1)
        moved += np.exp(-far / (2 * width**2))[:, None] * way
    return moved


def make_pair(source, folder):
    """Write the real pair and its landmarks."""
    from lungitude import images

    points = {}
    for name, visit in (("fixed", "baseline"), ("moving", "followup")):
        scan, mask = (images.read(source / f"{visit}{end}.mha") for end in ("", "_mask"))
        write(folder, name, scan, mask)
        found = np.loadtxt(source / f"landmarks_{visit}.txt", skiprows=2)
        points[name] = np.delete(found, DOUBTFUL_PAIR, axis=0)
    finish(folder, **points)


def write(folder, name, scan, mask):
    """Write a scan and its lungs as every method reads them."""
    import SimpleITK as sitk

    clamped = sitk.Clamp(scan, sitk.sitkInt16, *SCANNER_HU)
    sitk.WriteImage(clamped, str(folder / f"{name}.nii"))
    sitk.WriteImage(sitk.Cast(mask != 0, sitk.sitkUInt8), str(folder / f"{name}_mask.nii"))


def finish(folder, **points):
    """Write the points, and the start from the masks as antspyx and elastix read it."""
    import SimpleITK as sitk

    from lungitude.registration import preparation

    np.savez(folder / "points.npz", **points)
    fixed, _, *masks = read(folder)
    start = preparation.linear_start(*masks)
    sitk.WriteTransform(start, str(folder / "start.mat"))
    values = (*start.GetMatrix(), *start.TransformPoint((0.0, 0.0, 0.0)))
    given = {
        **{"Transform": "AffineTransform", "NumberOfParameters": 12, "TransformParameters": values},
        **{"CenterOfRotationPoint": (0.0, 0.0, 0.0), "Size": fixed.GetSize(), "Index": (0, 0, 0)},
        **{"Spacing": fixed.GetSpacing(), "Origin": fixed.GetOrigin()},
        **{"Direction": fixed.GetDirection()},
        **{"InitialTransformParametersFileName": "NoInitialTransform"},
    }
    write_parameters(folder / "start.txt", {**ELASTIX, **given})


def ours(folder, scratch, backend):
    """Register by a backend of ours; like each method, return what gives the Transform, untimed."""
    from lungitude import registration

    fixed, moving, fixed_mask, moving_mask = read(folder)
    found = registration.register(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, backend=backend
    )
    return lambda: found


def ants_own(folder, scratch, **given):
    """Register by SyN as antspyx comes, with masks."""
    import ants

    scans = []
    for name in ("fixed", "moving"):
        scan = ants.image_read(str(folder / f"{name}.nii"))
        scans.append(scan.new_image_like(np.clip(scan.numpy(), -1000, 500)))
    masks = [ants.image_read(str(folder / f"{name}_mask.nii")) for name in ("fixed", "moving")]
    found = ants.registration(
        *scans,
        type_of_transform="SyN",
        mask=masks[0],
        moving_mask=masks[1],
        mask_all_stages=True,
        initial_transform=[str(folder / "start.mat")],
        random_seed=1,
        outprefix=str(scratch / "ants"),
        **given,
    )

    def transform():
        import SimpleITK as sitk

        warp, affine = found["fwdtransforms"]  # points go through the warp first
        return chain(warp, sitk.ReadTransform(affine))

    return transform


def elastix(folder, scratch):
    """Register by elastix with the parameters of its own test on the real pair."""
    command = ["elastix", "-threads", "1", "-out", str(scratch)]
    command += ["-t0", str(folder / "start.txt")]
    for name, own in (("affine", AFFINE), ("bspline", BSPLINE)):
        write_parameters(scratch / f"{name}.txt", {**ELASTIX, **own})
        command += ["-p", str(scratch / f"{name}.txt")]
    for option, name in (("-f", "fixed"), ("-m", "moving")):
        command += [option, str(folder / f"{name}.nii")]
        command += [f"{option}Mask", str(folder / f"{name}_mask.nii")]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603

    def transform():
        last = str(scratch / "TransformParameters.1.txt")
        command = ["transformix", "-def", "all", "-tp", last, "-out", str(scratch)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
        return chain(scratch / "deformationField.mhd")

    return transform


def write_parameters(path, given):
    """Write a parameter file of elastix."""
    lines = []
    for key, value in given.items():
        values = value if isinstance(value, tuple) else (value,)
        lines.append(f"({key} {' '.join(map(json.dumps, values))})\n")
    path.write_text("".join(lines), encoding="utf-8")


def chain(warp, *linear):
    """Return the Transform that moves points by a displacement field, then by linear maps."""
    import SimpleITK as sitk

    from lungitude.registration import Transform

    field = sitk.ReadImage(str(warp), sitk.sitkVectorFloat64)
    return Transform(sitk.CompositeTransform([*linear, sitk.DisplacementFieldTransform(field)]))


def read(folder):
    """Read both scans, then both masks."""
    from lungitude import images

    names = ("fixed", "moving", "fixed_mask", "moving_mask")
    return [images.read(folder / f"{name}.nii") for name in names]


# Settings of a run with cross-correlation that is as accurate as elastix on the real pair.
CROSS = {
    **{"syn_metric": "CC", "syn_sampling": 2, "reg_iterations": (100, 70, 50, 20)},
    **{"grad_step": 0.2, "flow_sigma": 3, "total_sigma": 0},
}
# Name, colour and mark in the figure, and what runs.
METHODS = {
    "torch": ("torch", "VERMILION", "o", lambda *a: ours(*a, "torch")),
    "simpleitk": ("simpleitk", "GREEN", "s", lambda *a: ours(*a, "simpleitk")),
    "antspyx": ("antspyx", "BLUE", "^", lambda *a: ours(*a, "antspyx")),
    "elastix": ("elastix", "PURPLE", "D", elastix),
    "syn": ("SyN", "SKY", "v", ants_own),
    "syncc": ("SyN CC", "INK", "P", lambda *a: ants_own(*a, **CROSS)),
}
DATA = {
    "phantom_96": "Phantom breath, 96 x 96 x 96 (3.3 mm)",
    "phantom_160": "Phantom breath, 160 x 160 x 160 (2 mm)",
    "pair": "Two real scans of a lung, 24 landmarks",
}
# Cross-correlation takes 800 CPU seconds on the real pair.
CASES = [f"{m}-{data}" for data in DATA for m in METHODS if m != "syncc" or data == "phantom_96"]


def used():
    """CPU seconds and peak memory (MB) of this process and its children so far."""
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = sum(use.ru_utime + use.ru_stime for use in (own, children))
    return seconds, max(
        peak_mb(), as_mb(children.ru_maxrss)
    )  # a child counts at least what its parent held


def measure(case, folder):
    """Run a case and return its row."""
    method, data = case.split("-")
    with tempfile.TemporaryDirectory() as scratch:
        transform = METHODS[method][-1](folder, Path(scratch))
        cpu_s, peak_mb = used()
        transform = transform()
    from lungitude import registration

    fixed, moving, *masks = read(folder)
    points = np.load(folder / "points.npz")
    start = registration.read(folder / "start.mat").apply_points(points["fixed"])
    before, begun, error = (
        np.linalg.norm(found - points["moving"], axis=1)
        for found in (points["fixed"], start, transform.apply_points(points["fixed"]))
    )
    found = registration.report(fixed, moving, transform, masks)
    voxel_mm = np.prod(fixed.GetSpacing()) ** (1 / 3)
    mean, p95 = error.mean(), np.percentile(error, 95)
    values = (cpu_s, peak_mb, before.mean(), begun.mean(), mean, np.median(error), p95)
    values += (mean / voxel_mm, p95 / voxel_mm, found["folding_pct"])
    values += (found["jacobian_mean"] / found["volume_ratio"],)
    return dict(zip(COLUMNS, (case, data, method, *(f"{v:.4g}" for v in values)), strict=True))


def measure_all(cases, rows, pair):
    """Run the cases, each in its process, and write the table after each."""
    threads = {f"{name}_NUM_THREADS": "1" for name in THREADS}
    threads["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"

    def run(*arguments):
        command = [sys.executable, __file__, *map(str, arguments)]
        return subprocess.run(  # noqa: S603
            command, env={**os.environ, **threads}, stdout=subprocess.PIPE, check=True
        )

    with tempfile.TemporaryDirectory() as name:
        for case in cases:
            data = case.split("-")[1]
            folder = Path(name) / data
            if not folder.is_dir():
                folder.mkdir()
                run("--data", data, folder, *([pair] if data == "pair" else []))
            # Libraries print, too: the row is the last line.
            lines = run("--measure", case, folder).stdout.decode().splitlines()
            rows[case] = json.loads(lines[-1])
            write_table(rows)
            print("  ".join(f"{k} {v}" for k, v in rows[case].items()), flush=True)


def read_table():
    """Return the rows by case."""
    with RESULT.open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file, delimiter="\t")}


def write_table(rows):
    """Write the rows in the order of the cases."""
    lines = [COLUMNS, *([rows[c][name] for name in COLUMNS] for c in CASES if c in rows)]
    RESULT.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def draw(rows, canvas):
    """Draw the error against CPU seconds, one panel a data set."""
    from matplotlib.ticker import NullLocator

    shown = [data for data in DATA if any(row["data"] == data for row in rows.values())]
    width = max(6.5, 3.1 * len(shown))
    notes = [
        "Marks: mean error; lines from the median to the 95th percentile. One thread each.",
        "torch, simpleitk, antspyx: our backends; SyN, SyN CC: antspyx at its own settings.",
    ]
    title = "Registration of lungs: error against time"
    figure, (left, bottom, right, top) = canvas.figure(width, 3.7, title, notes)
    area = {"left": left + 0.45 / width, "right": right, "bottom": bottom + 0.13, "top": top - 0.06}
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True, gridspec_kw=area)[0]
    for axes, data in zip(panels, shown, strict=True):
        found = [row for row in rows.values() if row["data"] == data]
        for row in found:
            draw_method(axes, row, canvas)
        times = [float(row["cpu_s"]) for row in found]
        axes.set(title=DATA[data], xlabel="CPU seconds, start of the program included")
        axes.set(xscale="log", xlim=(min(times) / 1.5, max(times) * 2.5), yscale="log")
        axes.set(xticks=(3, 10, 30, 100), yticks=(0.5, 1, 2, 4, 8))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color="#e6e8eb", lw=0.6, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("Error (mm)")
    marks = {}
    for axes in panels:
        marks |= {mark.get_label(): mark for mark in axes.get_legend_handles_labels()[0]}
    place = {"loc": "lower right", "bbox_to_anchor": (right, top - 0.01), "borderaxespad": 0}
    figure.legend(marks.values(), marks, ncols=len(marks), frameon=False, **place)
    canvas.save(figure, FIGURE)


def draw_method(axes, row, canvas):
    """Draw the mean error of one method as a mark, and its range."""
    name, colour, mark, _ = METHODS[row["method"]]
    colour = getattr(canvas, colour)
    seconds, mean, median, p95 = (
        float(row[column]) for column in ("cpu_s", "mean_mm", "median_mm", "p95_mm")
    )
    axes.plot([seconds] * 2, [median, p95], color=colour, lw=1.2, zorder=2)
    edge = {"mec": "white", "mew": 0.8} if mark not in "+x" else {}
    axes.plot(seconds, mean, mark, color=colour, ms=7, ls="", label=name, zorder=3, **edge)


def main():
    """Run what was asked for, write the table and draw."""
    if sys.argv[1:2] == ["--data"]:
        data, folder, *source = sys.argv[2:]
        if data == "pair":
            make_pair(Path(source[0]), Path(folder))
        else:
            make_phantom(int(data.removeprefix("phantom_")), Path(folder))
        return
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", type=Path, help="folder of the real pair")
    parser.add_argument("--case", action="append", choices=CASES, help="only this one")
    parser.add_argument("--go-on", action="store_true", help="only what the table lacks")
    asked = parser.parse_args()
    cases, rows = asked.case or CASES, read_table() if RESULT.is_file() else {}
    if asked.pair is None:
        print("no --pair: its cases are left out")
        cases = [case for case in cases if not case.endswith("-pair")]
    if not shutil.which("elastix"):
        print("elastix is not installed: its cases are left out")
        cases = [case for case in cases if not case.startswith("elastix")]
    if asked.go_on:
        cases = [case for case in cases if case not in rows]
    rows = {case: row for case, row in rows.items() if case not in cases}
    measure_all(cases, rows, asked.pair)
    from lungitude import canvas

    canvas.styled(draw)(rows, canvas)


if __name__ == "__main__":
    main()
