"""A plain chest for tests: bodies whose volume and HU are known."""

import numpy as np
import SimpleITK as sitk

SPACING = (2.5, 2.5, 2.5)
SHAPE = (100, 100, 128)  # z, y, x


def make(noise_hu=15.0, lung_hu=-860.0, blood_hu=45.0, touch=False, seed=0):
    """Return (image, truth, trunk): lungs 1 right, 2 left; trachea and main bronchi apart.

    LPS axes; x = 0 is the midline. `touch` brings both lungs together in front.
    """
    z, y, x = np.meshgrid(*[(np.arange(n) - n / 2 + 0.25) * 2.5 for n in SHAPE], indexing="ij")
    hu = np.full(SHAPE, -1000.0)
    hu[(x / 150) ** 2 + (y / 105) ** 2 < 1] = 30.0
    truth = np.zeros(SHAPE, np.uint8)
    for code, sign in ((1, -1), (2, 1)):
        middle = 68.0 * sign
        lung = ((x - middle) / 52) ** 2 + (y / 78) ** 2 + (z / 105) ** 2 < 1
        lung &= z > -60 + 25 * np.exp(-(((x - middle) / 40) ** 2) - (y / 50) ** 2)
        if touch:
            bridge = (np.abs(x - 2.0 * sign) < 18) & (np.abs(y + 40) < 15) & (x * sign > 0)
            lung |= bridge & (np.abs(z) < 30)
        truth[lung] = code
    hu[(np.abs(x) < 45) & (np.abs(y - 10) < 60) & (hu > 0)] = -90.0  # fat of the mediastinum
    hu[truth > 0] = lung_hu
    spots = np.random.default_rng(seed).random(SHAPE) > 0.9997  # vessels, in the lungs
    for axis in (0, 1, 2):
        spots |= np.roll(spots, 1, axis)
    hu[spots & (truth > 0)] = 20.0
    trunk = (x**2 + (y - 5) ** 2 < 81) & (z > 15)
    for sign in (-1, 1):
        bronchus = (x * sign - (15 - z) * 0.8) ** 2 / 1.64 + (y - 5) ** 2 < 36
        trunk |= bronchus & (z <= 18) & (z > -5)
    shell = (x**2 + (y - 5) ** 2 < 144) & (z > 12)
    truth[shell | trunk] = 0
    hu[shell] = 30.0
    hu[trunk] = -1000.0
    spine = (x**2 + (y - 72) ** 2 < 18**2) & (hu > -200)
    hu[spine] = 250.0
    aorta = (x - 24) ** 2 + (y - 50) ** 2 < 12**2
    truth[aorta & (z < 40)] = 0
    hu[aorta & (z < 40)] = blood_hu
    rng = np.random.default_rng(seed)
    hu = np.rint(hu + rng.normal(0.0, noise_hu, SHAPE)).astype(np.int16) if noise_hu else hu
    image = sitk.GetImageFromArray(np.asarray(hu, np.int16))
    image.SetSpacing(SPACING)
    image.SetOrigin((-160.0, -125.0, -125.0))
    return image, truth, trunk


def dice(a, b):
    """Return the Dice overlap of two masks."""
    return 2.0 * (a & b).sum() / (a.sum() + b.sum())
