"""Backend: symmetric normalisation (SyN) of ANTs, by antspyx."""

import os
import tempfile
from pathlib import Path

import SimpleITK as sitk


def displacement(channels, fixed_mask, moving_mask, settings):
    """Register images that already share a grid; return the displacement field.

    Parameters
    ----------
    channels : list of (metric, fixed, moving, weight, parameter)
        Metric "CC", "MeanSquares", "Mattes" or "Demons" with its parameter (radius in voxels,
        bins; 0 where it has none); SimpleITK images of one grid; weight relative to the others.
    fixed_mask, moving_mask : SimpleITK.Image or None
        Where the metrics are evaluated.
    settings : dict
        `iterations`, `shrink`, `smoothing_vox` (one entry a level), `step`, `flow_sigma_vox`,
        `total_sigma_vox`, `convergence`, `seed`, `threads`.

    Returns
    -------
    SimpleITK.Image of float64 vectors
        Pull-back displacement in mm on the grid, zero at its border.

    Notes
    -----
    The whole command line of antsRegistration is written out: the defaults of its wrapper change
    between versions. Cross-correlation and mean squares over all voxels have no random sampling;
    with one thread and a fixed seed the numbers are the same in each run on one machine.
    """
    # ITK inside ANTs reads it once, at its first use: set before the import.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(settings["threads"])
    import ants

    with tempfile.TemporaryDirectory(prefix="lungitude-") as name:
        folder = Path(name)

        def file(image, stem):
            path = folder / f"{stem}.nii"
            sitk.WriteImage(image, str(path))
            return str(path)

        arguments = ["--dimensionality", "3", "--float", "1"]
        arguments += ["--random-seed", str(settings["seed"])]
        for number, (metric, fixed, moving, weight, parameter) in enumerate(channels):
            pair = f"{file(fixed, f'fixed{number}')},{file(moving, f'moving{number}')}"
            arguments += ["--metric", f"{metric}[{pair},{weight},{parameter}]"]
        step = f"{settings['step']},{settings['flow_sigma_vox']},{settings['total_sigma_vox']}"
        levels = "x".join(map(str, settings["iterations"]))
        arguments += ["--transform", f"SyN[{step}]"]
        arguments += ["--convergence", f"[{levels},{settings['convergence']},8]"]
        arguments += ["--smoothing-sigmas", "x".join(map(str, settings["smoothing_vox"]))]
        arguments += ["--shrink-factors", "x".join(map(str, settings["shrink"]))]
        arguments += ["--use-histogram-matching", "0"]
        if fixed_mask is not None:
            masks = f"{file(fixed_mask, 'fixed_mask')},{file(moving_mask, 'moving_mask')}"
            arguments += ["--masks", f"[{masks}]"]
        arguments += ["--output", str(folder / "out")]
        # A list of arguments is the wrapper's way to the full interface.
        try:
            ants.registration(arguments, None)
        except RuntimeError as error:
            raise ValueError(f"ANTs could not register the images: {error}") from error
        return sitk.ReadImage(str(folder / "out0Warp.nii.gz"), sitk.sitkVectorFloat64)
