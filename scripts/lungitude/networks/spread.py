"""Views of a scan: what the network would have read had the scan begun a voxel further on.

Test-time augmentation [1]_: a scan is read again in views that leave the anatomy as it is, and what
is measured with each reading tells how far a number rests on chance. A view begins and ends some
voxels further in, so that the grids of all passes fall elsewhere; its HU are scaled and shifted as
those of another calibration; and it has a little more noise. Turned or mirrored views would ask
more of the network than another scan of the patient does, so there are none.

References
----------
.. [1] Wang et al. 2019, Neurocomputing 338:34-45, doi:10.1016/j.neucom.2019.01.103.
"""

import dataclasses
import hashlib

import numpy as np
import pandas as pd
import SimpleITK as sitk

from lungitude import images, segmentation

from . import inference

CROP_MM = 4.0  # a voxel of the coarsest pass: its grid can fall anywhere
# Air stays within 20 HU of where it was: scans that are 30 HU off are flagged (`protocol.LIMITS`).
SCALE, SHIFT_HU = 0.01, 10.0
NOISE_SHARE = 0.25  # of the scan's own noise: together they have 3 % more than it
NOISE_LEAST_HU = 5.0  # where a scan was smoothed until nothing is left
COLUMNS = ("PARAMCD", "AVAL", "views", "missing", "mean", "sd")


@dataclasses.dataclass(frozen=True)
class View:
    """One way to read a scan.

    before, after : tuple of int, voxels that are cut off at both ends of the axes x, y, z of the
    image; scale : float; shift_hu : float; noise_hu : float, SD; seed : tuple of int, of the noise.
    """

    before: tuple = (0, 0, 0)
    after: tuple = (0, 0, 0)
    scale: float = 1.0
    shift_hu: float = 0.0
    noise_hu: float = 0.0
    seed: tuple = dataclasses.field(default=(0,), repr=False)

    @classmethod
    def draw(cls, image, *key):
        """Draw a view of a scan.

        Parameters
        ----------
        image : SimpleITK.Image
            The scan; the first phase of a cycle.
        *key : object
            Patient, visit, series, number of the view: the same ones give the same view.
        """
        words = hashlib.sha256("\t".join(map(str, key)).encode()).digest()
        seed = tuple(np.frombuffer(words, "<u4").tolist())
        rng = np.random.default_rng(seed)
        # Thick slices lose one at most; a scan of few voxels none.
        reach = [
            min(max(1, int(CROP_MM / mm)), n // 8)
            for mm, n in zip(image.GetSpacing(), image.GetSize(), strict=True)
        ]
        before, after = (tuple(int(rng.integers(0, n + 1)) for n in reach) for _ in range(2))
        scale, shift = 1.0 + rng.uniform(-SCALE, SCALE), rng.uniform(-SHIFT_HU, SHIFT_HU)
        noise = max(NOISE_LEAST_HU, NOISE_SHARE * noise_hu(images.array(image)))
        return cls(before, after, scale, shift, noise, seed)

    def of(self, image, phase=0):
        """Return what the network is shown of a scan, or of a phase of a cycle.

        Parameters
        ----------
        image : SimpleITK.Image
            HU.
        phase : int
            Each has noise of its own.

        Returns
        -------
        SimpleITK.Image
            Without the voxels that are cut off, in whole HU where the scan is. What lies outside
            the field of view stays as it is.
        """
        cut = sitk.Crop(image, self.before, self.after)
        hu = images.array(cut)
        rng = np.random.default_rng((*self.seed, phase))
        seen = rng.standard_normal(hu.shape, np.float32)
        seen *= self.noise_hu
        seen += self.scale * hu.astype(np.float32) + self.shift_hu
        seen = np.where(hu < segmentation.PADDING_BELOW_HU, hu, seen)
        if hu.dtype.kind in "iu":
            limits = np.iinfo(hu.dtype)
            seen = np.clip(np.rint(seen), limits.min, limits.max)
        return images.from_array(seen.astype(hu.dtype), cut)

    def back(self, labels, image):
        """Put the labels of a view onto the grid of its scan.

        What was cut off takes the label beside it: a lung that goes on outside the scan loses no
        slice to the view.
        """
        widths = list(zip(self.before, self.after, strict=True))[::-1]
        return images.from_array(np.pad(images.array(labels), widths, mode="edge"), image)


def noise_hu(hu):
    """SD of the noise of a scan, (z, y, x), by the second differences along its rows.

    Differences of neighbours hold little of the anatomy, and their median nothing of its edges. Of
    noise that neighbours share (soft kernels) they see less than there is.
    """
    rows = hu[:: max(1, len(hu) // 32)].astype(np.float32)
    seen = rows >= segmentation.PADDING_BELOW_HU
    seen = seen[..., :-2] & seen[..., 1:-1] & seen[..., 2:]
    apart = np.abs(np.diff(rows, n=2, axis=-1)[seen])
    # 1, -2, 1: six times the variance; the median of a half normal distribution is 0.6745 SD.
    return float(np.median(apart)) / 0.6745 / 6.0**0.5 if apart.size else 0.0


def read(scan, parts, reader, view):
    """Label maps of a scan by one view.

    Parameters
    ----------
    scan : SimpleITK.Image or list of such
        HU; the phases of a cycle.
    parts : sequence of str
        Of `inference.PARTS`; of a cycle, ``heart``.
    reader : inference.Reader
    view : View

    Returns
    -------
    dict of SimpleITK.Image or of list of such
        As `inference.segment`, on the grid of the scan.
    """
    if isinstance(scan, list | tuple):
        seen = [view.of(phase, number) for number, phase in enumerate(scan)]
        hearts = inference.segment(seen, parts, reader)[0]["heart"]
        return {"heart": [view.back(*pair) for pair in zip(hearts, scan, strict=True)]}
    made, _ = inference.segment(view.of(scan), parts, reader)
    return {part: view.back(labels, scan) for part, labels in made.items()}


def summarise(measured, again):
    """How far each value of a visit spreads over its views.

    Parameters
    ----------
    measured : dict of float
        Values of the analysis by PARAMCD.
    again : dict of list of float
        Values by each view; NaN where it gave none.

    Returns
    -------
    DataFrame
        `COLUMNS`: the value of the analysis, number of views, how many of them gave no value, mean
        and SD (divisor n - 1) of the others; NaN where too few did. A value that the analysis
        doesn't have has no row.
    """
    rows = []
    for code, value in measured.items():
        if np.isnan(value):
            continue
        found = pd.Series(again[code], dtype=float)
        row = (code, value, len(found), int(found.isna().sum()), found.mean(), found.std())
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return pd.DataFrame(rows, columns=COLUMNS)
