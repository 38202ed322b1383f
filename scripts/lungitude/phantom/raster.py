"""Compiled kernels: coarse fields to voxels, and tubes and spheres with their exact blur.

A structure smaller than a few voxels is drawn as its own convolution with the point spread, from
the closed form for an isolated cylinder or sphere; overlapping ones take the larger coverage.
No image is convolved, so coverage is known per structure and lesions can be counted as they come.

Arrays are (z, y, x). `coarse` is a field on a grid of every n-th voxel, `every` those n along
z, y, x; between its points it is trilinear. `px`, `py`, `pz` give the point of the anatomy that a
voxel shows, in mm; `straight` says that px depends on x alone, evenly, and so on, so that the part
of a row that a structure may touch is known without a search.
"""

import functools
import math

import numba
import numpy as np
from scipy import stats

_TABLE_STEP = 0.1
_TABLE_RADII = 60
_TABLE_DISTANCES = 100
_REACH = 3.0  # of a blurred edge, in standard deviations
_SQRT2 = math.sqrt(2.0)
# Normal distribution and density at -3 to 3 standard deviations: a table is three times as quick.
_NORMAL_STEP = 0.02
_NORMAL_AT = np.arange(-_REACH, _REACH + 2 * _NORMAL_STEP, _NORMAL_STEP)
_NORMAL = stats.norm.cdf(_NORMAL_AT)
_DENSITY = stats.norm.pdf(_NORMAL_AT)


@functools.lru_cache(maxsize=1)
def cylinder_table():
    """Blurred cross-section of a cylinder: [radius, distance] in units of sigma, steps of 0.1.

    The share of a round Gaussian at distance d that falls in a disc of radius r is a noncentral
    chi-squared probability with two degrees of freedom.
    """
    radius = _TABLE_STEP * np.arange(_TABLE_RADII + 1)[:, None]
    distance = _TABLE_STEP * np.arange(_TABLE_DISTANCES + 1)[None, :]
    return stats.ncx2.cdf(radius**2, 2, distance**2).astype(np.float32)


@numba.njit(cache=True)
def _line(coarse, k, j, every, out):
    """Values of a coarse field along the coarse x axis at row (k, j) of the voxels."""
    cz, cy, cx = coarse.shape
    k0 = min(k // every[0], cz - 2)
    j0 = min(j // every[1], cy - 2)
    wk = np.float32((k - k0 * every[0]) / every[0])
    wj = np.float32((j - j0 * every[1]) / every[1])
    for i in range(cx):
        a = coarse[k0, j0, i] + wj * (coarse[k0, j0 + 1, i] - coarse[k0, j0, i])
        b = coarse[k0 + 1, j0, i] + wj * (coarse[k0 + 1, j0 + 1, i] - coarse[k0 + 1, j0, i])
        out[i] = a + wk * (b - a)


@numba.njit(cache=True)
def upsample(coarse, shape, every):
    """Trilinear values of a coarse field at voxels."""
    nz, ny, nx = shape
    out = np.empty((nz, ny, nx), np.float32)
    row = np.empty(coarse.shape[2], np.float32)
    ex = every[2]
    for k in range(nz):
        for j in range(ny):
            _line(coarse, k, j, every, row)
            for i in range(nx):
                c = i // ex
                out[k, j, i] = row[c] + np.float32((i - c * ex) / ex) * (row[c + 1] - row[c])
    return out


@numba.njit(cache=True)
def paint(frame, weight, coarse, every, value, sigma, opens):
    """Paint a tissue where its depth (mm, positive inside) says, over what is there.

    `frame` and `weight` change in place: the image is frame + weight * parenchyma. With `opens`
    the tissue is parenchyma and `value` is not used.
    """
    nz, ny, nx = frame.shape
    row = np.empty(coarse.shape[2], np.float32)
    ex = every[2]
    limit = np.float32(3.1 * sigma)
    scale = np.float32(1.0 / (sigma * _SQRT2))
    solid = np.float32(0.0 if opens else value)
    gain = np.float32(1.0 if opens else 0.0)
    cz, cy = coarse.shape[:2]
    highest = np.empty((cz, cy), np.float32)
    for k in range(cz):
        for j in range(cy):
            highest[k, j] = coarse[k, j].max()
    for k in range(nz):
        k0 = min(k // every[0], cz - 2)
        for j in range(ny):
            j0 = min(j // every[1], cy - 2)
            if highest[k0 : k0 + 2, j0 : j0 + 2].max() <= -limit:
                continue
            _line(coarse, k, j, every, row)
            for cell in range((nx - 1) // ex + 1):
                a, b = row[cell], row[cell + 1]
                if a <= -limit and b <= -limit:
                    continue
                first, last = cell * ex, min(cell * ex + ex, nx)
                if a >= limit and b >= limit:
                    for i in range(first, last):
                        frame[k, j, i] = solid
                        weight[k, j, i] = gain
                    continue
                step = (b - a) / ex
                for i in range(first, last):
                    t = (a + step * (i - first)) * scale
                    c = np.float32(0.5) * (np.float32(1.0) + np.float32(math.erf(t)))
                    frame[k, j, i] += c * (solid - frame[k, j, i])
                    weight[k, j, i] += c * (gain - weight[k, j, i])


@numba.njit(cache=True)
def lobes(lung, leftness, oblique, horizontal, lingula, shape, every):
    """Lobe codes from coarse depth in the lungs, which side, and heights above the fissures."""
    nz, ny, nx = shape
    out = np.zeros((nz, ny, nx), np.uint8)
    cx = lung.shape[2]
    inside = np.empty(cx, np.float32)
    side = np.empty(cx, np.float32)
    upper = np.empty(cx, np.float32)
    right = np.empty(cx, np.float32)
    left = np.empty(cx, np.float32)
    ex = every[2]
    for k in range(nz):
        for j in range(ny):
            _line(lung, k, j, every, inside)
            if inside.max() <= 0:
                continue
            _line(leftness, k, j, every, side)
            _line(oblique, k, j, every, upper)
            _line(horizontal, k, j, every, right)
            _line(lingula, k, j, every, left)
            for i in range(nx):
                c = i // ex
                s = np.float32((i - c * ex) / ex)
                if inside[c] + s * (inside[c + 1] - inside[c]) <= 0:
                    continue
                above = upper[c] + s * (upper[c + 1] - upper[c]) >= 0
                if side[c] + s * (side[c + 1] - side[c]) > 0:
                    high = left[c] + s * (left[c + 1] - left[c]) >= 0
                    out[k, j, i] = (4 if high else 6) if above else 5
                else:
                    high = right[c] + s * (right[c + 1] - right[c]) >= 0
                    out[k, j, i] = (1 if high else 2) if above else 3
    return out


@numba.njit(cache=True)
def paint_cover(frame, weight, cover, value):
    """Paint a tissue by its coverage, 0 to 1; in place."""
    f, w, c = frame.ravel(), weight.ravel(), cover.ravel()
    for i in range(f.size):
        if c[i] > 0:
            f[i] += c[i] * (np.float32(value) - f[i])
            w[i] *= 1 - c[i]


@numba.njit(cache=True)
def paint_pipe(frame, weight, outer, inner, wall, content):
    """Paint a wall around a content by the coverage of both together and of the content; in place.

    What lies outside keeps the share that `outer` leaves, so a thin blurred wall is exact.
    """
    f, w, o, c = frame.ravel(), weight.ravel(), outer.ravel(), inner.ravel()
    for i in range(f.size):
        if o[i] > 0:
            both = max(o[i], c[i])
            f[i] = f[i] * (1 - both) + np.float32(wall) * (both - c[i]) + np.float32(content) * c[i]
            w[i] *= 1 - both


@numba.njit(cache=True)
def compose(frame, weight, base, squeeze, every, emphysema, trapped, expired, levels, gain, offset):
    """Noiseless HU: frame + weight * parenchyma, the lung's density squeezed and diseased.

    Parameters
    ----------
    frame, weight : ndarray of float32
    base, squeeze : ndarray of float32, coarse
        Healthy density at full inspiration (HU + 1000), and how much denser the lung is now.
    emphysema, trapped : ndarray of float32
        Coverages.
    expired : bool
        Whether trapped air shows.
    levels : tuple of four float
        Least healthy density, density of emphysema, and of trapped lung ``a + b * healthy``.
    gain, offset : float
        Of the scanner: HU' = gain * HU + offset.
    """
    nz, ny, nx = frame.shape
    out = np.empty(frame.shape, np.float32)
    cx = base.shape[2]
    density = np.empty(cx, np.float32)
    factor = np.empty(cx, np.float32)
    ex = every[2]
    least, empty, held_at, held_by = levels
    for k in range(nz):
        for j in range(ny):
            _line(base, k, j, every, density)
            _line(squeeze, k, j, every, factor)
            for i in range(nx):
                w = weight[k, j, i]
                hu = frame[k, j, i]
                if w > 0:
                    c = i // ex
                    s = np.float32((i - c * ex) / ex)
                    b = max(density[c] + s * (density[c + 1] - density[c]), np.float32(least))
                    f = factor[c] + s * (factor[c + 1] - factor[c])
                    healthy = b * f
                    if expired:
                        held = min(min(b, held_at + held_by * b), healthy)
                        healthy += trapped[k, j, i] * (held - healthy)
                    healthy += emphysema[k, j, i] * (empty * f - healthy)
                    hu += w * (healthy - np.float32(1000.0))
                out[k, j, i] = gain * hu + offset
    return out


@numba.njit(cache=True)
def critical_emphysema(frame, weight, base, every, inside, levels, threshold):
    """Coverage by emphysema from which an inspiratory voxel falls below a threshold.

    Above 1 where none does and outside, below 0 where it is below already; see `compose`.
    """
    nz, ny, nx = frame.shape
    out = np.full(frame.shape, np.float32(2.0))
    density = np.empty(base.shape[2], np.float32)
    ex = every[2]
    least, empty = levels[0], levels[1]
    for k in range(nz):
        for j in range(ny):
            _line(base, k, j, every, density)
            for i in range(nx):
                if inside[k, j, i] > 0:
                    c = i // ex
                    s = np.float32((i - c * ex) / ex)
                    b = max(density[c] + s * (density[c + 1] - density[c]), np.float32(least))
                    w = max(weight[k, j, i], np.float32(1e-3))
                    need = (threshold - frame[k, j, i]) / w + 1000.0
                    out[k, j, i] = (b - need) / max(b - empty, 1.0)
    return out


@numba.njit(cache=True)
def critical_trapping(
    frame, weight, base, squeeze, every, emphysema, inside, levels, low_threshold, threshold
):
    """Coverage by trapped air from which an inspiratory voxel falls below a threshold when expired.

    Above 1 for voxels that are below `low_threshold` at inspiration: those are emphysema.
    """
    nz, ny, nx = frame.shape
    out = np.full(frame.shape, np.float32(2.0))
    cx = base.shape[2]
    density = np.empty(cx, np.float32)
    factor = np.empty(cx, np.float32)
    ex = every[2]
    least, empty, held_at, held_by = levels
    for k in range(nz):
        for j in range(ny):
            _line(base, k, j, every, density)
            _line(squeeze, k, j, every, factor)
            for i in range(nx):
                if inside[k, j, i] == 0:
                    continue
                c = i // ex
                s = np.float32((i - c * ex) / ex)
                b = max(density[c] + s * (density[c + 1] - density[c]), np.float32(least))
                f = factor[c] + s * (factor[c + 1] - factor[c])
                e = emphysema[k, j, i]
                if frame[k, j, i] + weight[k, j, i] * (b + e * (empty - b) - 1000.0) < (
                    low_threshold
                ):
                    continue
                need = (threshold - frame[k, j, i]) / max(weight[k, j, i], 1e-3) + 1000.0
                free = b * f
                held = min(min(b, held_at + held_by * b), free)
                free += e * (empty * f - free)
                held += e * (empty * f - held)
                # Dense voxels that trapping cannot bring below the threshold get more than 1.
                out[k, j, i] = (free - need) / max(free - held, 0.5)
    return out


@numba.njit(cache=True)
def _span(box, across, shift, excess, origin, step):
    """Part of a row within a quadratic: across X^2 - 2 shift X + excess <= 0, X from `origin`.

    First and one-past-last index, within those of `box`; empty if first >= last.
    """
    first, last = box[4], box[5]
    if across > 1e-6:
        inner = shift * shift - across * excess
        if inner < 0.0:
            return 0, 0
        root = math.sqrt(inner)
        first = max(first, math.ceil(((shift - root) / across - origin) / step))
        last = min(last, math.floor(((shift + root) / across - origin) / step) + 1)
    elif excess > 0.0:
        return 0, 0
    return first, last


@numba.njit(cache=True)
def _tube_span(box, dy, dz, ux, uy, uz, reach, origin, step):
    """Part of a row nearer than the root of `reach` to a line of direction ux, uy, uz."""
    m = dy * uy + dz * uz
    return _span(box, 1.0 - ux * ux, ux * m, dy * dy + dz * dz - m * m - reach, origin, step)


@numba.njit(cache=True)
def tubes(cover, px, py, pz, straight, boxes, p0, p1, radius, sigma, tips, table):
    """Coverage of tubes p0-p1, the larger of `cover` and each tube's; in place.

    A tube ends in a round cap, under which the next one goes on. Where nothing follows, it is a
    flat end at two thirds of the cap's height, blurred along the axis: the cap's volume, without
    the length that blur would otherwise add to a short twig.

    Parameters
    ----------
    cover, px, py, pz : ndarray of float32, (z, y, x)
        Coverage; and, per voxel, the point of the anatomy that it shows.
    straight : bool
    boxes : ndarray of int, (n, 6)
        First and one-past-last index along z, y, x of the voxels that a tube may touch.
    p0, p1, radius, sigma : ndarray, (n, 3), (n, 3), (n,), (n,)
        Ends, radii and point spread in mm of the anatomy.
    tips : ndarray of bool, (n,)
        Whether nothing follows p1.
    table : ndarray
        `cylinder_table`.
    """
    origin = float(px[0, 0, 0])
    step = (float(px[0, 0, px.shape[2] - 1]) - origin) / max(px.shape[2] - 1, 1)
    for s in range(radius.size):
        x0, y0, z0 = p0[s, 0], p0[s, 1], p0[s, 2]
        ux, uy, uz = p1[s, 0] - x0, p1[s, 1] - y0, p1[s, 2] - z0
        length = math.sqrt(ux * ux + uy * uy + uz * uz)
        if length < 1e-6:
            continue
        ux, uy, uz = ux / length, uy / length, uz / length
        r, sd = radius[s], sigma[s]
        reach = (r + _REACH * sd) ** 2
        a = r / sd / _TABLE_STEP
        thin = a < _TABLE_RADII - 1
        a = min(a, _TABLE_RADII - 1.0)
        ia = int(a)
        wa = a - ia
        flat = tips[s]
        if flat:
            length += 2.0 / 3.0 * r
        for k in range(boxes[s, 0], boxes[s, 1]):
            for j in range(boxes[s, 2], boxes[s, 3]):
                first, last = boxes[s, 4], boxes[s, 5]
                if straight:
                    dy, dz = py[k, j, 0] - y0, pz[k, j, 0] - z0
                    first, last = _tube_span(boxes[s], dy, dz, ux, uy, uz, reach, origin - x0, step)
                for i in range(first, last):
                    dx = px[k, j, i] - x0
                    dy = py[k, j, i] - y0
                    dz = pz[k, j, i] - z0
                    t = dx * ux + dy * uy + dz * uz
                    d2 = dx * dx + dy * dy + dz * dz - t * t
                    share = 1.0
                    if t < 0.0:
                        d2 += t * t
                    elif flat:
                        if length - t < _REACH * sd:
                            if t - length > _REACH * sd:
                                continue
                            share = 0.5 * (1.0 + math.erf((length - t) / (sd * _SQRT2)))
                    elif t > length:
                        d2 += (t - length) ** 2
                    if d2 > reach:
                        continue
                    d = math.sqrt(max(d2, 0.0))
                    if thin:
                        b = min(d / sd / _TABLE_STEP, _TABLE_DISTANCES - 1.1)
                        ib = int(b)
                        wb = b - ib
                        c = (table[ia, ib] * (1 - wb) + table[ia, ib + 1] * wb) * (1 - wa) + (
                            table[ia + 1, ib] * (1 - wb) + table[ia + 1, ib + 1] * wb
                        ) * wa
                    else:
                        c = 0.5 * (1.0 + math.erf((r - d) / (sd * _SQRT2)))
                    c *= share
                    if c > cover[k, j, i]:
                        cover[k, j, i] = c


@numba.njit(cache=True)
def balls(cover, px, py, pz, straight, boxes, centre, radius, sigma, critical, counts, count, stop):
    """Coverage of spheres in their order, until enough voxels are covered enough.

    Parameters
    ----------
    cover, px, py, pz, straight, boxes, sigma
        As in `tubes`; `cover` changes in place.
    centre, radius : ndarray, (n, 3), (n,)
        In mm of the anatomy; radii above twice the point spread.
    critical : ndarray of float32, (z, y, x)
        Coverage from which a voxel counts; above 1 where it never does, below 0 where it counts
        already. Not read unless `counts`.
    counts : bool
    count, stop : int
        Voxels that count at the start, and how many end the drawing.

    Returns
    -------
    int, int
        Spheres drawn and voxels that count.
    """
    origin = float(px[0, 0, 0])
    step = (float(px[0, 0, px.shape[2] - 1]) - origin) / max(px.shape[2] - 1, 1)
    for s in range(radius.size):
        if counts and count >= stop:
            return s, count
        r, sd = radius[s], sigma[s]
        reach = (r + _REACH * sd) ** 2
        core = max(r - _REACH * sd, 0.0) ** 2
        x0, y0, z0 = centre[s, 0], centre[s, 1], centre[s, 2]
        for k in range(boxes[s, 0], boxes[s, 1]):
            for j in range(boxes[s, 2], boxes[s, 3]):
                first, last = boxes[s, 4], boxes[s, 5]
                if straight:
                    dy, dz = py[k, j, 0] - y0, pz[k, j, 0] - z0
                    first, last = _span(
                        boxes[s], 1.0, 0.0, dy * dy + dz * dz - reach, origin - x0, step
                    )
                for i in range(first, last):
                    old = cover[k, j, i]
                    if old >= 0.999:
                        continue
                    dx = px[k, j, i] - x0
                    dy = py[k, j, i] - y0
                    dz = pz[k, j, i] - z0
                    d2 = dx * dx + dy * dy + dz * dz
                    if d2 > reach:
                        continue
                    c = 1.0
                    if d2 > core:
                        d = max(math.sqrt(d2), 0.05)
                        t = max(((r - d) / sd + _REACH) / _NORMAL_STEP, 0.0)
                        it = min(int(t), _NORMAL.size - 2)
                        t -= it
                        c = _NORMAL[it] + t * (_NORMAL[it + 1] - _NORMAL[it])
                        c -= sd / d * (_DENSITY[it] + t * (_DENSITY[it + 1] - _DENSITY[it]))
                    if c > old:
                        cover[k, j, i] = c
                        if counts:
                            limit = critical[k, j, i]
                            if old <= limit < c:
                                count += 1
    return radius.size, count


@numba.njit(cache=True)
def mark_tubes(out, px, py, pz, straight, boxes, p0, p1, radius, value):
    """Set `out` to each tube's value where a voxel's centre lies in it, later over earlier."""
    origin = float(px[0, 0, 0])
    step = (float(px[0, 0, px.shape[2] - 1]) - origin) / max(px.shape[2] - 1, 1)
    for s in range(radius.size):
        x0, y0, z0 = p0[s, 0], p0[s, 1], p0[s, 2]
        ux, uy, uz = p1[s, 0] - x0, p1[s, 1] - y0, p1[s, 2] - z0
        length = max(math.sqrt(ux * ux + uy * uy + uz * uz), 1e-6)
        ux, uy, uz = ux / length, uy / length, uz / length
        reach = radius[s] ** 2
        for k in range(boxes[s, 0], boxes[s, 1]):
            for j in range(boxes[s, 2], boxes[s, 3]):
                first, last = boxes[s, 4], boxes[s, 5]
                if straight:
                    dy, dz = py[k, j, 0] - y0, pz[k, j, 0] - z0
                    first, last = _tube_span(boxes[s], dy, dz, ux, uy, uz, reach, origin - x0, step)
                for i in range(first, last):
                    dx = px[k, j, i] - x0
                    dy = py[k, j, i] - y0
                    dz = pz[k, j, i] - z0
                    t = min(max(dx * ux + dy * uy + dz * uz, 0.0), length)
                    dx, dy, dz = dx - t * ux, dy - t * uy, dz - t * uz
                    if dx * dx + dy * dy + dz * dz <= reach:
                        out[k, j, i] = value[s]


@numba.njit(cache=True)
def digitise(hu, noise, sd):
    """Whole HU of an image with noise of a standard deviation; int16."""
    out = np.empty(hu.shape, np.int16)
    a, b, c = hu.ravel(), noise.ravel(), out.ravel()
    for i in range(a.size):
        c[i] = np.int16(min(max(np.rint(a[i] + sd * b[i]), -32768.0), 32767.0))
    return out
