"""Scan protocols: voxel, slice, kernel, noise and drift of a scanner, applied to a record.

A protocol changes how a case is seen and nothing of the case. The kernel is its Gaussian point
spread and the cut-off of its noise; its name goes into the DICOM header.
"""

import dataclasses
import math

from .record import DEFAULTS


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: name, point spread (standard deviation, mm), cut-off of the noise.

    The cut-off is in cycles a voxel, see `render.noise`.
    """

    name: str
    sigma_mm: float
    cutoff: float


KERNELS = {
    "soft": Kernel("B31f", DEFAULTS["kernel_sigma_mm"], DEFAULTS["noise_cutoff"]),
    "sharp": Kernel("B70f", 0.45, 0.42),  # as used for bone
}
VOXELS_MM = (0.7, 1.0, 1.25, 2.0)
NOISE_HU = {"soft": 20.0, "sharp": 40.0}
AIR_DRIFT_HU, BLOOD_DRIFT_HU = 5.0, -3.0
SLICE_MM = 3.0


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a scanner sees a case.

    Parameters
    ----------
    name : str
    voxel_mm : tuple of three float
        Voxel along x, y, z; z is the step from slice to slice.
    kernel : Kernel
    noise_hu : float
        Standard deviation of the noise.
    slice_mm : float, optional
        Thickness of a slice, a box along z; the step of the slices if absent. A slice up to 1.5
        in-plane voxels thick has that box within the isotropic Gaussian of `view.Place`.
    air_offset_hu, blood_offset_hu : float
        Drift: HU read in air and in blood, less the right ones; linear between.
    kv : float
        Tube voltage, for the header.
    contrast : bool
        Contrast medium in the blood.
    """

    name: str
    voxel_mm: tuple
    kernel: Kernel = KERNELS["soft"]
    noise_hu: float = 20.0
    slice_mm: float = None
    air_offset_hu: float = 0.0
    blood_offset_hu: float = 0.0
    kv: float = 120.0
    contrast: bool = False

    def __post_init__(self):
        lengths = [*self.voxel_mm, self.kernel.sigma_mm, self.kv, self.slice_mm or 1.0]
        numbers = [*lengths, self.noise_hu, self.air_offset_hu, self.blood_offset_hu]
        if len(self.voxel_mm) != 3 or not all(map(math.isfinite, numbers)) or min(lengths) <= 0:
            raise ValueError(f"protocol {self.name}: lengths must be above 0 mm, of voxels three")
        if self.noise_hu < 0:
            raise ValueError(f"protocol {self.name}: noise of {self.noise_hu:g} HU")


def make(kernel="soft", voxel_mm=1.25, noise_hu=None, drift=False, slice_mm=None):
    """Return a protocol named by its parts, such as ``sharp 1 mm 40 HU drift``.

    Parameters
    ----------
    kernel : str
        One of `KERNELS`.
    voxel_mm : float
        Isotropic; with `slice_mm`, in the plane.
    noise_hu : float, optional
        Else that of `NOISE_HU`.
    drift : bool
        Air reads `AIR_DRIFT_HU` high and blood `BLOOD_DRIFT_HU` low.
    slice_mm : float, optional
        Thickness of slices and step between them.
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel {kernel!r}: known are {', '.join(KERNELS)}")
    noise_hu = NOISE_HU[kernel] if noise_hu is None else float(noise_hu)
    parts = [kernel, f"{voxel_mm:g} mm", f"{noise_hu:g} HU"]
    parts += [f"slice {slice_mm:g} mm"] if slice_mm else []
    parts += ["drift"] if drift else []
    return Protocol(
        " ".join(parts),
        (float(voxel_mm), float(voxel_mm), float(slice_mm or voxel_mm)),
        KERNELS[kernel],
        noise_hu,
        slice_mm=slice_mm and float(slice_mm),
        air_offset_hu=AIR_DRIFT_HU if drift else 0.0,
        blood_offset_hu=BLOOD_DRIFT_HU if drift else 0.0,
    )


PRESETS = {
    protocol.name: protocol
    for protocol in [
        *(make(kernel, voxel) for kernel in KERNELS for voxel in VOXELS_MM),
        *(make("soft", 1.25, noise) for noise in (10.0, 30.0, 40.0)),
        *(make(kernel, 1.25, drift=True) for kernel in KERNELS),
        *(make(kernel, 0.7, slice_mm=SLICE_MM) for kernel in KERNELS),
    ]
}


def apply(record, protocol):
    """Record as the scanner of a protocol sees it.

    Parameters
    ----------
    record : Record
    protocol : Protocol or str
        Or a name of `PRESETS`.

    Returns
    -------
    Record
        The same case: lesion counts stay, so a target that held in the former protocol's noiseless
        scan may read differently in this one's.
    """
    if isinstance(protocol, str):
        if protocol not in PRESETS:
            raise ValueError(f"protocol {protocol!r}: known are {'; '.join(PRESETS)}")
        protocol = PRESETS[protocol]
    return dataclasses.replace(
        record,
        protocol=protocol.name,
        voxel_mm=tuple(protocol.voxel_mm),
        expiration_voxel_mm=None,
        kernel=protocol.kernel.name,
        kernel_sigma_mm=protocol.kernel.sigma_mm,
        noise_cutoff=protocol.kernel.cutoff,
        noise_hu=protocol.noise_hu,
        slice_mm=protocol.slice_mm,
        air_offset_hu=protocol.air_offset_hu,
        blood_offset_hu=protocol.blood_offset_hu,
        kv=protocol.kv,
        contrast=protocol.contrast,
    )
