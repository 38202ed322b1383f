"""Coloured noise of a scan."""

import math

import numba
import numpy as np
from scipy import fft

from .record import stream

_TILES = 48


def noise(record, phase, shape):
    """Coloured noise of unit variance, float32: strong at middle frequencies in the plane.

    The spectrum sqrt(f) exp(-(f / cutoff)^2) is that of filtered back projection, f in cycles a
    voxel; slices are independent. From the 49th slice on, slices are made of the first 48 again,
    each flipped and shifted at random: they are periodic, so a shift has no seam.
    """
    rng = stream(record.seed, record.usubjid, "noise", record.avisit, phase)
    count = min(shape[0], _TILES)
    rows, columns = (fft.next_fast_len(n, real=True) for n in shape[1:])
    white = rng.standard_normal((count, rows, columns), dtype=np.float32)
    fy = np.fft.fftfreq(rows)[:, None]
    power = 0.0
    for fx in (np.fft.fftfreq(columns)[None, :], np.fft.rfftfreq(columns)[None, :]):
        f = np.hypot(fx, fy)
        gain = np.sqrt(f) * np.exp(-((f / record.noise_cutoff) ** 2))
        power = power or float((gain**2).mean())
    gain = (gain / math.sqrt(power)).astype(np.float32)
    tiles = fft.irfft2(fft.rfft2(white) * gain, s=(rows, columns))
    picks = np.arange(shape[0])
    picks[count:] = rng.integers(0, count, shape[0] - count)
    flips = rng.integers(0, 2, (shape[0], 2)).astype(bool)
    shifts = rng.integers(0, (rows, columns), (shape[0], 2))
    return tile(tiles, picks, flips, shifts, tuple(shape))


@numba.njit(cache=True)
def tile(tiles, picks, flips, shifts, shape):
    """Slices drawn from periodic tiles, each flipped and shifted as told; float32."""
    nz, ny, nx = shape
    ty, tx = tiles.shape[1:]
    out = np.empty((nz, ny, nx), np.float32)
    for k in range(nz):
        source = tiles[picks[k]]
        sx = shifts[k, 1] % tx
        for j in range(ny):
            y = (j + shifts[k, 0]) % ty
            if flips[k, 0]:
                y = ty - 1 - y
            x = sx
            for i in range(nx):
                out[k, j, i] = source[y, tx - 1 - x] if flips[k, 1] else source[y, x]
                x += 1
                if x == tx:
                    x = 0
    return out
