"""Programs that stand in for segmentation software: same command line, analytic masks."""

import json
import os
import sys
from pathlib import Path

import numpy as np

from lungitude import images

# Lungs are what lies between -950 and -700 HU, told apart at the middle of the image; each program
# writes them with the codes of its task, and keeps what it was called with.
PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path
import numpy as np
import SimpleITK as sitk

here = Path(sys.argv[0]).parent
args = sys.argv[1:]
kept = {{"args": args, "env": dict(os.environ)}}
home = os.environ.get("TOTALSEG_HOME_DIR")
if home:
    kept["config"] = json.loads((Path(home) / "config.json").read_text())
    kept["sets"] = sorted(os.listdir(os.environ["TOTALSEG_WEIGHTS_PATH"]))
if os.environ.get("TORCH_HOME"):
    kept["networks"] = sorted(os.listdir(Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints"))
(here / "called.json").write_text(json.dumps(kept))
print("10%\\r20%\\rGenerating rough segmentation")
mode = (here / "mode").read_text() if (here / "mode").exists() else ""
if mode == "fail":
    print("RuntimeError: CUDA out of memory")
    sys.exit(3)
if mode == "no gpu":
    print("No GPU detected. Running on CPU. This can be very slow.")
    import time
    time.sleep(600)
if mode == "nothing":
    sys.exit(0)

def value(*flags):
    return next(args[args.index(flag) + 1] for flag in flags if flag in args)

{where}
scan = sitk.ReadImage(str(source))
hu = sitk.GetArrayFromImage(scan)
right = np.arange(hu.shape[2]) < hu.shape[2] / 2
low = np.arange(hu.shape[0])[:, None, None] < hu.shape[0] / 2
codes = {codes}[task]
labels = np.zeros(hu.shape, np.uint8)
for (on_right, below), code in codes:
    labels[(hu > -950) & (hu < -700) & (right == on_right) & (low == below)] = code
image = sitk.GetImageFromArray(labels)
image.CopyInformation(scan)
if mode == "other grid":
    image.SetOrigin((0.0, 0.0, 0.0))
target.parent.mkdir(parents=True, exist_ok=True)
sitk.WriteImage(image, str(target))
"""
# (on the right, in the lower half) -> code
QUARTERS = [(True, False), (True, True), (False, False), (False, True)]
CODES = {
    "TotalSegmentator": {
        "total": [12, 14, 10, 11],
        "lung_vessels": [1, 2, 3, 4],
        "heartchambers_highres": [3, 1, 5, 5],
        "coronary_arteries": [1, 1, 1, 1],
    },
    "lungmask": {"R231": [1, 1, 2, 2], "LTRCLobes": [3, 5, 1, 2]},
    "nnUNetv2_predict_from_modelfolder": {"": [2, 2, 1, 1]},
}
WHERE = {
    "TotalSegmentator": "source, target, task = value('-i'), Path(value('-o')), value('--task')",
    "lungmask": "source, target, task = args[0], Path(args[1]), value('--modelname')",
    "nnUNetv2_predict_from_modelfolder": (
        "source, target, task = next(Path(value('-i')).iterdir()), Path(value('-o')), ''\n"
        "target = target / source.name.replace('_0000', '')"
    ),
}
VERSION = "7.8.9"
VOXELS = [6 * 8 * 8, 4 * 8 * 8]  # of the right and the left lung of `chest`


def chest():
    """Return a scan of 24 x 20 x 16 voxels with two boxes of lung."""
    hu = np.full((16, 20, 24), 40, np.int16)
    hu[4:12, 6:14, 3:9] = -860
    hu[4:12, 6:14, 15:19] = -860
    image = images.sitk.Image(24, 20, 16, images.sitk.sitkInt16)
    image.SetSpacing((2.5, 2.5, 2.5))
    image.SetOrigin((-30.0, -25.0, 100.0))
    return images.from_array(hu, image)


def install(folder, name):
    """Write a program, and an interpreter beside it that tells its version."""
    folder.mkdir(parents=True, exist_ok=True)
    codes = {task: list(zip(QUARTERS, found, strict=True)) for task, found in CODES[name].items()}
    text = PROGRAM.format(python=sys.executable, where=WHERE[name], codes=codes)
    for file, content in ((name, text), ("python", f"#!/bin/sh\necho {VERSION}\n")):
        (folder / file).write_text(content)
        (folder / file).chmod(0o755)
    return folder


def called(folder):
    """Return what the program was called with."""
    return json.loads((folder / "called.json").read_text())


def on_path(monkeypatch, folder):
    """Put a folder of programs first on the PATH."""
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def trained(folder, *numbers):
    """Write folders of weights as TotalSegmentator keeps them."""
    for number in numbers:
        fold = folder / f"Dataset{number:03d}_some" / "nnUNetTrainer__plans__3d_fullres" / "fold_0"
        fold.mkdir(parents=True)
        (fold / "checkpoint_final.pth").write_text(f"weights {number}")
        (fold.parent / "plans.json").write_text("{}")
    return folder


def model(folder, labels=None, folds=(0, 2), channels=1, file_ending=".nii.gz"):
    """Write the folder of a trained nnU-Net."""
    folder = Path(folder) / "Dataset501_Lungs" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold in folds:
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / "checkpoint_final.pth").write_text(f"fold {fold}")
    content = {
        "channel_names": {str(n): "CT" for n in range(channels)},
        "labels": labels or {"background": 0, "left lung": 1, "right lung": 2},
        "file_ending": file_ending,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    (folder / "plans.json").write_text("{}")
    return folder
