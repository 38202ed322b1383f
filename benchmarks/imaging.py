"""Time the imaging on one core: ``python benchmarks/imaging.py``, about five minutes.

Generation of phantoms, and all measurements of one chest of 512 x 512 x 350 voxels with its label
maps, beside the same definitions in plain numpy, scipy and scikit-image where they have them. Each
case runs in a process of its own, so that its peak of memory is its own. Results go to
benchmarks/results/imaging.tsv.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from memory import peak_mb

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT / "scripts")
RESULT = ROOT / "benchmarks" / "results" / "imaging.tsv"
THREADS = "OMP OPENBLAS MKL NUMBA".split()
ROW = {
    **{"USUBJID": "BENCH", "AVISIT": "Baseline", "LUNGVOL_L": 5.5, "EMPH_PCT": 15.0},
    **{"FSAD_PCT": 25.0, "EXPRATIO": 0.62, "LUNG_HU": -870.0, "PI10": 4.1, "BV5": 37.0},
    **{"FRACDIM": 1.3, "CACS": 200.0, "LVM": 150.0, "EF": 55.0, "SV": 70.0},
}
SIZE, SPACING_MM = (512, 512, 350), (0.66, 0.66, 0.85)


def generate(side):
    """Render and deliver an inspiration of side^3 voxels; lesions are counted before."""
    from lungitude.phantom import render

    record = render.count_lesions(render.prepare(ROW, {"voxel_mm": [320.0 / side] * 3}))
    low = np.array([-160.0, -125.0, -160.0])
    grid = render.box(low, low + 320.0 * (1.0 - 1.0 / side), 320.0 / side)
    return lambda: render.deliver(render.render_box(record, "insp", grid))


def make_scan(folder):
    """Write the scan that is measured, and its label maps."""
    from lungitude import images
    from lungitude.phantom import cardiac, render

    record = render.count_lesions(render.prepare(ROW, {"voxel_mm": [1.25] * 3}))
    corner = -0.5 * np.array(SIZE) * SPACING_MM + (0.0, 5.0, -20.0)
    grid = render.box(corner, corner + (np.array(SIZE) - 1) * SPACING_MM, SPACING_MM)
    scan = render.render_box(record, "insp", grid, labels=("airways", "vessels"))
    side = scan.lungs
    made = {"ct": render.deliver(scan), "lungs": side, **scan.labels}
    for name, values in made.items():
        images.write(grid.image(values), folder / f"{name}.nii")
    calcium = cardiac.calcium_scan(record)
    images.write(calcium.grid.image(cardiac.deliver(calcium)), folder / "calcium.nii")
    region = cardiac.coronary_labels(record, calcium.cycle, calcium.grid)
    images.write(calcium.grid.image(region), folder / "coronary.nii")
    heart = cardiac.heart_grid(record)
    phases = [heart.image(cardiac.labels(record, n / 20, heart)) for n in range(20)]
    images.write(images.join_cycle(phases), folder / "heart.nii")


def ours(measure):
    """Prepare one measurement of ours on the scan."""
    from lungitude import biomarkers, images

    folder = Path(os.environ["BENCH_FOLDER"])

    def read(name):
        return images.read_labels(folder / f"{name}.nii")

    if measure == "calcium":
        ct, region = images.read(folder / "calcium.nii"), read("coronary")
        return lambda: biomarkers.agatston(ct, region)
    if measure == "ventricle":
        phases = images.read_cycle(folder / "heart.nii")
        return lambda: biomarkers.ventricle(phases)
    ct, lungs = images.read(folder / "ct.nii"), read("lungs")
    if measure == "density":
        return lambda: biomarkers.parenchyma(ct, lungs, scheme="lungs")
    if measure == "clusters":
        return lambda: biomarkers.clusters(ct, lungs)
    label = read(measure)
    if measure == "airways":
        return lambda: biomarkers.airways(ct, label)
    return lambda: biomarkers.vessels(label, lungs, ct)


def plain(measure):
    """Prepare the same definition in numpy, scipy and scikit-image."""
    import SimpleITK as sitk
    from scipy import ndimage
    from skimage import morphology

    folder = Path(os.environ["BENCH_FOLDER"])
    hu, lungs, vessels = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}.nii")))
        for name in ("ct", "lungs", "vessels")
    )

    def density():
        for inside in (lungs > 0, lungs == 1, lungs == 2):
            values = hu[inside]
            _ = [100.0 * (values < t).mean() for t in (-950, -910, -856)]
            np.percentile(values, [15, 85])
            values.mean()

    def clusters():
        low = (hu < -950) & (lungs > 0)
        labels, count = ndimage.label(low, structure=np.ones((3, 3, 3)))
        np.bincount(labels.ravel(), minlength=count + 1)

    def radii():
        """Distance transform at the skeleton, without the image: quantised to voxels."""
        inside = (vessels > 0) & (lungs > 0)
        depth = ndimage.distance_transform_edt(inside, sampling=SPACING_MM[::-1])
        depth[morphology.skeletonize(inside)]

    return {"density": density, "clusters": clusters, "vessels": radii}[measure]


MEASURES = ("density", "clusters", "airways", "vessels", "calcium", "ventricle")
CASES = {
    "generate_160": ("160^3 with noise", "phantom", lambda: generate(160), 3),
    "generate_256": ("256^3 with noise", "phantom", lambda: generate(256), 3),
    **{m: ("512 x 512 x 350", m, lambda m=m: ours(m), 2) for m in MEASURES},
    **{
        f"plain_{m}": ("512 x 512 x 350", f"{m}, numpy and scipy", lambda m=m: plain(m), 1)
        for m in ("density", "clusters", "vessels")
    },
}


def time_case(name):
    """Return CPU seconds of each repeat, after one call that compiles, and the peak of memory."""
    *_, prepare, repeats = CASES[name]
    call = prepare()
    if not name.startswith("plain"):
        call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return {"times": times, "peak_mb": peak_mb()}


def main():
    """Run all cases, each in its process, and write the table."""
    if sys.argv[1:2] == ["--case"]:
        print(json.dumps(time_case(sys.argv[2])))
        return
    if sys.argv[1:2] == ["--scan"]:
        make_scan(Path(sys.argv[2]))
        return
    threads = {f"{name}_NUM_THREADS": "1" for name in THREADS}
    threads["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **threads, "BENCH_FOLDER": folder}

        def run(*arguments):
            command = [sys.executable, __file__, *arguments]
            return subprocess.run(  # noqa: S603
                command, env=environment, stdout=subprocess.PIPE, check=True
            )

        run("--scan", folder)
        for name, (data, task, *_) in CASES.items():
            found = json.loads(run("--case", name).stdout)
            rows.append((name, data, task, min(found["times"]), found["peak_mb"]))
            print(f"{name:20s} {rows[-1][3]:8.2f} s {rows[-1][4]:8.0f} MB", flush=True)
    lines = ["case\tdata\ttask\tcpu_s\tpeak_mb"]
    lines += [f"{n}\t{d}\t{t}\t{s:.3g}\t{m:.0f}" for n, d, t, s, m in rows]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
