"""Race the network on two cores: ``python benchmarks/networks.py``.

Two designs of one size that were trained together on the same samples (config/networks/
comparison.yaml): the hierarchical one, read by Lungitude's engine, and MONAI's BasicUNet, read by
MONAI's sliding windows, over the same boxes at the same voxels, with the same decisions afterwards;
beside them the network that is shipped. All read scans of patients that none saw, and a scan of
512 x 512 x 350 voxels, for all structures. Each case runs in a process of its own. The weights are
those that ``snakemake --snakefile rules/train.smk compare_networks`` leaves. Results go to
benchmarks/results/networks.tsv, the figure to docs/networks/speed.png.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np
from memory import peak_mb

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT / "scripts")
RESULT = ROOT / "benchmarks" / "results" / "networks.tsv"
FIGURE = ROOT / "docs" / "networks" / "speed.png"
WEIGHTS = ROOT / "results" / "networks" / "comparison" / "weights"
CORES = 2
THREADS = "OMP OPENBLAS MKL NUMBA".split()
COLUMNS = (
    *("case", "data", "method", "precision", "scans", "voxels", "start_s", "wall_s", "cpu_s"),
    *("mvoxel_s", "peak_mb", "dice_lungs", "dice_lobes", "dice_airways", "dice_vessels", "where"),
)
STRUCTURES = ("lobes", "airways", "vessels")
LOBES = 5
# Their codes, by those of the label maps: the lingula is a part of the left upper lobe here, and
# the central airways lie outside.
FIVE = np.array([0, 1, 2, 3, 4, 5, 4, 0], np.uint8)
SIDE, OVERLAP = 96, 0.25  # of the windows, as is usual
# Name, colour and mark in the figure.
METHODS = {
    "shipped": ("lungitude, shipped", "GREEN", "s"),
    "multi_task": ("lungitude, size of the peer", "VERMILION", "o"),
    "unet": ("BasicUNet, sliding windows", "BLUE", "^"),
}
PRECISIONS = ("float32", "bfloat16")
DATA = {
    "unseen": "patients of the phantom, 1.25 mm",
    "350": "512 x 512 x 350, 0.7 x 0.7 x 1.0 mm",
    "600": "512 x 512 x 600, 0.7 x 0.7 x 0.6 mm",
}
LARGE_MM = {"350": (0.7, 0.7, 1.0), "600": (0.7, 0.7, 0.6)}
SLAB, SEAM = 100, 8  # slices of a large scan rendered at once, and thrown away at its ends
CASES = [
    f"{method}-{precision}-{data}"
    for data in DATA
    for method in METHODS
    for precision in PRECISIONS
    if data != "600" or method == "shipped"
]
LIMIT_S, LIMIT_MB = 240, 6000  # of all structures of a scan of 350 slices


def make_scans(data, count, folder):
    """Write scans of patients that no training saw, and their label maps."""
    from lungitude.networks import evaluation, unseen

    for number in range(count):
        # A large scan is of the first patient after those on whom Dice is compared.
        case = unseen.case(number if data == "unseen" else number + count, "internal")
        record = evaluation.Patient(case).record
        if data == "unseen":
            hu, labels, spacing_mm = usual_scan(record, case.protocol)
        else:
            hu, labels, spacing_mm = large_scan(record, case.protocol, int(data), LARGE_MM[data])
        np.savez(folder / f"{number:02d}.npz", hu=hu, **labels)
        (folder / f"{number:02d}.json").write_text(json.dumps(spacing_mm), encoding="utf-8")
        if data != "unseen":
            return


def usual_scan(record, protocol):
    """HU, label maps and voxel (z, y, x) in mm of a chest as a trial scans it."""
    from lungitude.phantom import protocols, render

    record = protocols.apply(record, protocol)
    scan = render.render(record, ("insp",), labels=STRUCTURES[1:])["insp"]
    labels = {"lobes": scan.lobes, **{name: scan.labels[name] for name in STRUCTURES[1:]}}
    return render.deliver(scan), labels, scan.grid.spacing_mm[::-1]


def large_scan(record, protocol, slices, voxel_mm, size=512):
    """HU, lobes and voxel (z, y, x) in mm of a chest of size x size x slices voxels, by slabs."""
    from lungitude.phantom import protocols, render

    record, step = protocols.apply(record, protocol), np.array(voxel_mm)
    whole = render.scan_grid(record, "insp", (2.0, 2.0, 2.0))
    middle = [0.5 * (axis[0] + axis[-1]) for axis in whole.axes()]
    corner = np.array(middle) - 0.5 * (np.array((size, size, slices)) - 1) * step
    hu, lobes = (np.empty((slices, size, size), kind) for kind in (np.int16, np.uint8))
    for start in range(0, slices, SLAB):
        stop = min(start + SLAB, slices)
        low = corner + step * (0, 0, start - SEAM)
        high = corner + step * (size - 1, size - 1, stop - 1 + SEAM)
        slab = render.render_box(record, "insp", render.box(low, high, voxel_mm))
        inner = slice(SEAM, SEAM + stop - start)
        hu[start:stop], lobes[start:stop] = render.deliver(slab)[inner], slab.lobes[inner]
    return hu, {"lobes": lobes}, tuple(float(mm) for mm in voxel_mm[::-1])


def reader(method, weights, precision):
    """Return what reads a scan."""
    from lungitude.networks import inference
    from lungitude.networks import weights as files

    if method == "shipped":
        return inference.Reader(precision=precision)
    net, _, _ = files.load(weights / f"{method}-all.safetensors")
    engine = inference.Reader if method == "multi_task" else windows()
    return engine(net=net, precision=precision)


def windows():
    """Return a reader whose passes are read by MONAI's sliding windows."""
    import torch
    from monai.inferers import sliding_window_inference

    from lungitude.networks import inference, passes

    class Windows(inference.Reader):
        @torch.inference_mode()
        def run(self, name, volume, branches=None):
            def predicted(hu):
                found = self.nets[name](hu, name, branches)
                return {g: x for groups in found.values() for g, x in groups.items() if g != "edge"}

            with torch.autocast("cpu", torch.bfloat16, self.precision == "bfloat16"):
                found = sliding_window_inference(
                    volume[None, None],
                    (SIDE,) * 3,
                    1,
                    predicted,
                    OVERLAP,
                    mode="gaussian",
                    cval=passes.PAD_HU,
                )
            shares = {
                group: passes.shares_of(self, group, name, logits[0].float())
                for group, logits in found.items()
            }
            return {group: share.numpy() for group, share in shares.items()}, {}

    return Windows


def dice(found, truth):
    """Dice of the lungs, of the five lobes on average, and of airways and vessels as wholes.

    NaN where there is no truth.
    """
    lobes = FIVE[found["lobes"]], FIVE[truth["lobes"]]
    pairs = [tuple(part > 0 for part in lobes)]
    pairs += [tuple(part == code for part in lobes) for code in range(1, LOBES + 1)]
    pairs += [(found[x] > 0, truth[x] > 0) for x in STRUCTURES[1:] if x in truth]
    each = [2.0 * np.sum(a & b) / (np.sum(a) + np.sum(b)) for a, b in pairs]
    rest = each[1 + LOBES :] or [np.nan] * 2
    return each[0], np.mean(each[1 : 1 + LOBES]), *rest


def measure(case, folder, weights, started):
    """Read the scans of a case and return its row; times are medians over the scans."""
    import torch

    method, precision, data = case.split("-")
    torch.set_num_threads(CORES)
    reads = reader(method, weights, precision)
    start_s, times, found = time.time() - started, [], []
    names = sorted(file.stem for file in folder.glob("*.json"))
    for name in names:
        with np.load(folder / f"{name}.npz") as kept:
            hu = kept["hu"]
        spacing_mm = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        clocks = time.perf_counter(), time.process_time()
        found.append(reads.read(hu, spacing_mm).labels)
        times.append((time.perf_counter() - clocks[0], time.process_time() - clocks[1], hu.size))
    used_mb = peak_mb()
    each = []
    for labels, name in zip(found, names, strict=True):
        with np.load(folder / f"{name}.npz") as kept:
            each.append(dice(labels, {part: kept[part] for part in STRUCTURES if part in kept}))
    (wall_s, cpu_s, voxels), total = np.median(times, axis=0), np.sum(times, axis=0)
    values = (start_s, wall_s, cpu_s, total[2] / total[0] / 1e6, used_mb, *np.mean(each, axis=0))
    row = (case, data, method, precision, len(names), int(voxels))
    row += (*(f"{value:.4g}" for value in values), machine())
    return dict(zip(COLUMNS, row, strict=True))


def machine():
    """Describe the machine and the software in one line."""
    model, path = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if path.exists():
        lines = path.read_text().splitlines()
        model = next((x.split(":", 1)[1].strip() for x in lines if "model name" in x), model)
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "monai", "numpy")]
    return "; ".join([f"{model}, {CORES} cores", f"Python {platform.python_version()}", *versions])


def measure_all(cases, rows, asked):
    """Run the cases, each in its process, and write the table after each."""
    with tempfile.TemporaryDirectory() as name:
        for case in cases:
            data = case.split("-")[-1]
            folder = Path(name) / data
            if not folder.is_dir():
                folder.mkdir()
                run("--scans", data, asked.patients, folder)
            # Libraries print, too: the row is the last line.
            told = run(
                "--measure", case, folder, asked.weights, time.time(), stdout=subprocess.PIPE
            )
            rows[case] = json.loads(told.stdout.decode().splitlines()[-1])
            write_table(rows)
            print("  ".join(f"{k} {v}" for k, v in rows[case].items() if k != "where"), flush=True)


def run(*arguments, **options):
    """Run a part of the benchmark in a process of its own."""
    threads = {f"{name}_NUM_THREADS": str(CORES) for name in THREADS}
    threads["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(CORES)
    return subprocess.run(  # noqa: S603
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, **threads},
        check=True,
        **options,
    )


def read_table():
    """Return the rows by case."""
    with RESULT.open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file, delimiter="\t")}


def write_table(rows):
    """Write the rows in the order of the cases."""
    lines = [COLUMNS, *([str(rows[c][name]) for name in COLUMNS] for c in CASES if c in rows)]
    RESULT.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def document(rows):
    """Return the rows as the tables of docs/performance.md."""
    lines = []
    for data, told in DATA.items():
        found = [rows[case] for case in CASES if case in rows and rows[case]["data"] == data]
        if not found:
            continue
        lines += ["", f"| {told} | precision | start s | s | CPU s | million voxels/s | memory |"]
        lines[-1] += " Dice: lungs | lobes | airways | vessels |"
        lines += ["| --- | --- |" + " ---: |" * 9]
        for row in found:
            name = METHODS[row["method"]][0]
            memory = f"{float(row['peak_mb']) / 1000:.2g} GB"
            numbers = [f"{float(row[key]):.3g}" for key in ("start_s", "wall_s", "cpu_s")]
            numbers += [f"{float(row['mvoxel_s']):.2g}", memory]
            for name_of in COLUMNS[-5:-1]:
                value = float(row[name_of])
                numbers.append("" if np.isnan(value) else f"{value:.3f}")
            lines.append("| " + " | ".join([name, row["precision"], *numbers]) + " |")
    return "\n".join(lines)


def draw(rows, canvas):
    """Draw Dice against seconds on patients, and memory against seconds of the large scans."""
    from matplotlib.ticker import NullLocator

    notes = [
        f"All structures on {CORES} cores, start of the program left out. Filled: float32; hollow: "
        "bfloat16. Lines: from Dice of airways to Dice of the lobes, marks at their mean.",
        f"BasicUNet: MONAI's, windows of {SIDE} voxels, overlap {OVERLAP:g}, trained on the same "
        f"samples. Dashed: {LIMIT_S / 60:g} minutes and {LIMIT_MB / 1000:g} GB.",
    ]
    title = "Reading a scan: time, overlap and memory"
    figure, (left, bottom, right, top) = canvas.figure(7.2, 3.9, title, notes)
    area = {"left": left + 0.075, "right": right, "bottom": bottom + 0.12, "top": top - 0.09}
    patients, large = figure.subplots(1, 2, gridspec_kw={**area, "wspace": 0.28})
    patients.set(title=f"Scans of {DATA['unseen']}", ylabel="Dice")
    large.set(title="512 x 512 x 350 voxels; 600: x 600", ylabel="Peak memory (GB)")
    large.axhline(LIMIT_MB / 1000, color=canvas.SOFT, lw=0.8, ls="--", zorder=1)
    large.axvline(LIMIT_S, color=canvas.SOFT, lw=0.8, ls="--", zorder=1)
    rows = {case: rows[case] for case in CASES if case in rows}
    most_mb = max(LIMIT_MB, *(float(row["peak_mb"]) for row in rows.values()))
    large.set_ylim(0, 1.12 * most_mb / 1000)
    for axes in (patients, large):
        shown = [row for row in rows.values() if (row["data"] == "unseen") == (axes is patients)]
        for row in shown:
            draw_case(axes, row, canvas)
        times = [float(row["wall_s"]) for row in shown] + [LIMIT_S] * (axes is large)
        ends = min(times, default=1.0) / 1.6, max(times, default=100.0) * 1.6
        ticks = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500) if ends[0] < n < ends[1]]
        axes.set(xlabel="Seconds a scan", xscale="log", xticks=ticks, xlim=ends)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y", color="#e6e8eb", lw=0.6, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    marks = {}
    for axes in (patients, large):
        marks |= {mark.get_label(): mark for mark in axes.get_legend_handles_labels()[0]}
    place = {"loc": "lower right", "bbox_to_anchor": (right, top - 0.01), "borderaxespad": 0}
    figure.legend(marks.values(), marks, ncols=len(marks), frameon=False, **place)
    canvas.save(figure, FIGURE)


def draw_case(axes, row, canvas):
    """Draw one case as a mark: Dice of airways and lobes on patients, memory on a large scan."""
    name, colour, mark = METHODS[row["method"]]
    colour, seconds = getattr(canvas, colour), float(row["wall_s"])
    filled = row["precision"] == "float32"
    look = {"mfc": colour if filled else "white", "mec": colour, "mew": 1.2, "ms": 6.5}
    look |= {"label": name if filled else None}
    if row["data"] == "unseen":
        ends = [float(row[key]) for key in ("dice_airways", "dice_lobes")]
        axes.plot([seconds] * 2, ends, color=colour, lw=1.0, zorder=2)
        height = float(np.mean(ends))
    else:
        height = float(row["peak_mb"]) / 1000
        if row["data"] == "600":
            axes.annotate("600", (seconds, height), (5, 4), textcoords="offset points", size=7)
    axes.plot(seconds, height, mark, ls="", zorder=3, **look)


def part(arguments):
    """Do what a process of its own was started for."""
    name, *given = arguments
    if name == "--scans":
        make_scans(given[0], int(given[1]), Path(given[2]))
    elif name == "--measure":
        print(json.dumps(measure(given[0], *map(Path, given[1:3]), float(given[3]))))
    else:
        return False
    return True


def main():
    """Run what was asked for, write the table and draw."""
    if sys.argv[1:] and part(sys.argv[1:]):
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="of the comparison")
    parser.add_argument("--patients", type=int, default=4, help="whose scans are read")
    parser.add_argument("--case", action="append", choices=CASES, help="only this one")
    parser.add_argument("--go-on", action="store_true", help="only what the table lacks")
    asked = parser.parse_args()
    cases, rows = asked.case or CASES, read_table() if RESULT.is_file() else {}
    if asked.go_on:
        cases = [case for case in cases if case not in rows]
    trained = [case for case in cases if not case.startswith("shipped")]
    if trained and not (asked.weights / "unet-all.safetensors").exists():
        parser.error(
            f"{asked.weights} holds no weights of the comparison; train them first: snakemake "
            "--snakefile rules/train.smk --cores 2 compare_networks"
        )
    rows = {case: row for case, row in rows.items() if case not in cases}
    measure_all(cases, rows, asked)
    from lungitude import canvas

    canvas.styled(draw)(rows, canvas)
    print(document(rows))


if __name__ == "__main__":
    main()
