"""Small pictures of scans for people: contours, registrations, label maps.

Every picture is a PNG of less than `MAX_BYTES` whose bytes depend on its content alone.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lungitude import images
from lungitude.job import whole

WINDOW_HU = (-1350.0, 150.0)
MAX_BYTES = 80_000
ROW_SIZE = (900, 280)  # largest row of panels
PAIR_SIZE = (900, 200)  # the same of a picture with two rows
SIDE_COLOURS = {1: (255, 90, 70), 2: (70, 190, 255)}
_STEP = 12  # rounding of colours: noise costs bytes, and the eye does not miss them
_GAP = 6
_LINE = 18


def lung_overlay(ct, lungs, path, title, lines=()):
    """Draw the contours of the lungs on an axial, a coronal and a sagittal slice.

    Parameters
    ----------
    ct, lungs : SimpleITK.Image
        HU and labels (1 right in red, 2 left in blue; others in yellow) on one grid.
    path : path
        PNG.
    title : str
        Patient, visit and series.
    lines : iterable of str
        Numbers and flags, written below.
    """
    grey, labels, spacing = _canonical(ct, lungs)
    row = []
    for plane, marks, size in _planes(spacing, labels > 0, grey, labels):
        panel = _resized(_windowed(plane), size)
        for code in np.unique(marks[marks > 0]):
            edge = _edge(_resized(marks == code, size))
            panel[edge] = SIDE_COLOURS.get(int(code), (255, 220, 60))
        row.append(panel)
    _save(_compose([row], title, list(lines)), path)


def registration_overlay(
    fixed,
    moving_before,
    moving_after,
    mask,
    path,
    title,
    lines=(),
    names=("fixed", "moving"),
    window_hu=WINDOW_HU,
):
    """Draw how well two scans lie on each other, before and after registration.

    Parameters
    ----------
    fixed, moving_before, moving_after : SimpleITK.Image
        HU, all on the grid of `fixed`.
    mask : SimpleITK.Image or None
        Organ of `fixed`; chooses the slices and is drawn as contour.
    path : path
        PNG.
    title : str
    lines : iterable of str
        Warnings, written below.
    names : (str, str)
        What the two are.
    window_hu : (float, float)
        HU that are black and white.

    Notes
    -----
    `fixed` is red, the other cyan: what agrees is grey. The last panel of a row is a checkerboard.
    """
    first, labels, spacing = _canonical(fixed, mask)
    rows = []
    for moving in (moving_before, moving_after):
        images.check_grid(fixed, moving, "moving image")
        second = images.array(images.canonical(moving))
        row = []
        planes = _planes(spacing, labels > 0, first, second, labels, room=PAIR_SIZE)
        for number, (a, b, marks, size) in enumerate(planes):
            red, cyan = (_resized(_windowed(plane, window_hu), size)[..., 0] for plane in (a, b))
            panel = np.stack([red, cyan, cyan], axis=-1)
            panel[_edge(_resized(marks > 0, size))] = (255, 220, 60)
            row.append(panel)
            if number == 1:
                board = _board(red.shape, 24)
                checker = np.repeat(np.where(board, red, cyan)[..., None], 3, axis=-1)
        rows.append([*row, checker])
    heading = f"{title}   above: before, below: after (red {names[0]}, cyan {names[1]})"
    _save(_compose(rows, heading, list(lines)), path)


def label_overlay(image, labels, colours, path, title, legend=None):
    """Draw a label map in colours over a scan.

    Parameters
    ----------
    image, labels : SimpleITK.Image
        HU and labels on one grid.
    colours : dict of int to (int, int, int)
        RGB of each label, 0..255; labels without a colour stay grey.
    path : path
        PNG.
    title : str
    legend : dict of int to str, optional
        Name of each label.
    """
    grey, marks, spacing = _canonical(image, labels)
    row = []
    for plane, codes, size in _planes(spacing, marks > 0, grey, marks):
        panel = _resized(_windowed(plane), size).astype(np.float32)
        for code, colour in colours.items():
            inside = _resized(codes == code, size)
            panel[inside] = 0.5 * panel[inside] + 0.5 * np.asarray(colour, np.float32)
        row.append(np.rint(panel).astype(np.uint8))
    names = [(name, tuple(colours[code])) for code, name in (legend or {}).items()]
    _save(_compose([row], title, legend=names), path)


def _canonical(image, labels):
    axes = images.canonical(image)
    spacing = images.spacing_zyx(axes)
    if labels is None:
        return images.array(axes), np.zeros(axes.GetSize()[::-1], np.uint8), spacing
    images.check_grid(image, labels, "labels")
    return images.array(axes), images.array(images.canonical(labels)), spacing


def _planes(spacing, mask, *volumes, room=ROW_SIZE):
    """Yield axial, coronal and sagittal planes of all volumes, head up, and (height, width).

    The size in pixels of the picture is in the proportions of the patient.
    """
    shape = mask.shape
    centre = [n // 2 for n in shape]
    if mask.any():
        for axis in range(3):
            others = tuple(k for k in range(3) if k != axis)
            share = np.cumsum(mask.sum(others))
            # The middle plane of each, but a quarter for the sagittal: the middle lung, not heart.
            centre[axis] = int(np.searchsorted(share, share[-1] * (0.25 if axis == 2 else 0.5)))
    z, y, x = centre
    extent = [n * d for n, d in zip(shape, spacing, strict=True)]
    wide = 2.0 * extent[2] + extent[1]
    scale = min((room[0] - 2 * _GAP) / wide, room[1] / max(extent[0], extent[1]))
    for cut, sides in (
        (lambda v: v[z], (1, 2)),
        (lambda v: v[::-1, y], (0, 2)),
        (lambda v: v[::-1, :, x], (0, 1)),
    ):
        size = tuple(max(2, round(extent[k] * scale)) for k in sides)
        yield (*(np.ascontiguousarray(cut(v)) for v in volumes), size)


def _windowed(plane, window_hu=WINDOW_HU):
    low, high = window_hu
    grey = np.clip((plane.astype(np.float32) - low) * (255.0 / (high - low)), 0.0, 255.0)
    return np.rint(grey).astype(np.uint8)


def _resized(plane, size):
    """Resize a plane to (height, width): grey to RGB smoothly, a mask by nearest neighbour."""
    if plane.dtype == bool:
        picture = Image.fromarray(plane.view(np.uint8) * 255)
        return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR)) > 127
    picture = Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.repeat(np.asarray(picture)[..., None], 3, axis=-1)


def _edge(mask):
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner


def _board(shape, size):
    y, x = np.indices(shape)
    return (y // size + x // size) % 2 == 0


def _compose(rows, title, lines=(), legend=()):
    """Lay panels out in rows, between a title and lines of text."""
    width = max(sum(p.shape[1] + _GAP for p in row) - _GAP for row in rows)
    heights = [max(p.shape[0] for p in row) for row in rows]
    heading = _wrapped(title, width)
    lines = [piece for line in lines for piece in _wrapped(line, width)]
    head = _LINE * len(heading)
    foot = _LINE * (len(lines) + bool(legend))
    height = head + sum(heights) + _GAP * (len(rows) - 1) + foot + (4 if foot else 0)
    canvas = np.zeros((height, width, 3), np.uint8)
    top = head
    for row, tall in zip(rows, heights, strict=True):
        left = 0
        for panel in row:
            low = top + (tall - panel.shape[0]) // 2
            canvas[low : low + panel.shape[0], left : left + panel.shape[1]] = panel
            left += panel.shape[1] + _GAP
        top += tall + _GAP
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1"  # no smoothing: fewer colours, smaller files
    font = ImageFont.load_default(12)
    for number, line in enumerate(heading):
        draw.text((3, 2 + _LINE * number), line, fill=(255, 255, 255), font=font)
    base = height - foot
    for number, line in enumerate(lines):
        draw.text((3, base + _LINE * number), line, fill=(255, 255, 255), font=font)
    left = 3
    for name, colour in legend:
        draw.rectangle((left, base + 3, left + 10, base + 13), fill=colour)
        draw.text((left + 15, base), name, fill=(255, 255, 255), font=font)
        left += 30 + int(draw.textlength(name, font=font))
    return picture


def _wrapped(line, width):
    """Break a line at blanks so that it fits the width of the picture."""
    room = max(20, width // 7)
    pieces = [""]
    for word in line.split():
        if len(pieces[-1]) + len(word) + 1 > room and pieces[-1]:
            pieces.append("")
        pieces[-1] = f"{pieces[-1]} {word}".strip()
    return pieces


def _save(picture, path):
    """Write a PNG with a palette, made smaller until it holds `MAX_BYTES`."""
    while True:
        data = _encoded(picture)
        if len(data) <= MAX_BYTES:
            break
        shrink = max(0.6, 0.97 * (MAX_BYTES / len(data)) ** 0.5)
        size = [max(16, int(shrink * n)) for n in picture.size]
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    with whole(path) as part:
        part.write_bytes(data)


def _encoded(picture):
    """Return PNG bytes: grey and few colours keep theirs, rounded; mixtures get the best 80."""
    values = np.asarray(picture).astype(np.int32)
    values = np.minimum((values + _STEP // 2) // _STEP * _STEP, 255)
    packed = values[..., 0] << 16 | values[..., 1] << 8 | values[..., 2]
    colours, index = np.unique(packed, return_inverse=True)
    if colours.size > 256:
        rounded = Image.fromarray(values.astype(np.uint8))
        coded = rounded.quantize(80, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    else:
        palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
        coded = Image.fromarray(index.reshape(packed.shape).astype(np.uint8)).convert("P")
        coded.putpalette(palette.astype(np.uint8).ravel().tolist())
    buffer = io.BytesIO()
    coded.save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()
