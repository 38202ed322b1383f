"""Random scans of random anatomies: what a network is trained on.

Labels come from the phantom, images from chance: each draw turns, scales and bends an anatomy,
gives its tissues new densities, adds what the phantom has not (fissures, nodules, effusions, odd
tissue, devices), and scans it with a random kernel, noise, slice, field of view and artefact, so
that a real scan is one more draw (after SynthSeg, Billot et al., Med Image Anal 2023, with
densities kept near those of CT). The augmentation of the publication is there beside it
(`AUGMENTATIONS`): turns, flips, crops and intensity of the phantom's own scans. Everything comes
from one generator, so a seed gives the same stream.
"""

import dataclasses

import numpy as np
import torch
from torch.nn import functional

from . import anatomies, blocks
from .anatomies import HEART_CODES, TREES
from .hierarchical import CENTRAL, PASSES, VALUES

PADDING_HU = -1024.0
LAA_HU = -950.0
NOT_KNOWN = 255  # label of a voxel whose class is not known; losses leave it out
EITHER = 3  # label of a vessel that nothing shows to be an artery or a vein
TOLD_HU = 60.0  # difference of their contrast medium from which arteries and veins are told apart


@dataclasses.dataclass
class Sample:
    """One draw of one pass.

    hu : Tensor, (1, z, y, x) float32; labels : dict of Tensor (z, y, x) uint8 by group of a branch,
    `NOT_KNOWN` where masked; known : dict of bool by branch; values : dict of Tensor by branch.
    """

    hu: torch.Tensor
    labels: dict
    known: dict
    values: dict


# Side of a patch by pass, voxels; how much the voxel may differ from the pass's; odds of a pass.
SIDES = {"chest": (80, 64, 80), "heart": (64, 64, 64), "detail": (64, 64, 64)}
ZOOM = {"chest": (0.78, 1.25), "heart": (0.8, 1.25), "detail": (0.8, 1.25)}
# Odds of no contrast medium, pulmonary, arterial and late phase: of chests, and of hearts.
CONTRAST = ((0.5, 0.12, 0.26, 0.12), (0.3, 0.15, 0.4, 0.15))
BEND_MM = {"chest": 11.0, "heart": 6.0, "detail": 2.5}
BEND_EVERY_MM = {"chest": 50.0, "heart": 32.0, "detail": 24.0}
AUGMENTATIONS = ("wide", "published")
# Of the publication (2.7.2): turns and crops as printed. How much intensities change is not told;
# the noise, which phantoms have not by themselves, is that of a low-dose scan.
TURN_DEG, CROP = (-10.0, 10.0), (0.8, 1.0)
GAIN, SHIFT_HU, NOISE_HU = (0.95, 1.05), (-20.0, 20.0), (0.0, 40.0)
LEFT_RIGHT = (0, 4, 6, 5, 1, 3, 2, CENTRAL)  # regions of a mirrored patient: RML to lingula
CTA_SHARE = 0.5  # of chests with a heart, so that it is found in angiographies, too
ARTERIAL_HU = ((180.0, 520.0), (0.0, 450.0))  # contrast medium of the left side, of the right


class Chance:
    """Random numbers for one sample, from one numpy generator."""

    def __init__(self, rng):
        self.rng = rng

    def uniform(self, low, high):
        """Return a float in [low, high)."""
        return float(self.rng.uniform(low, high))

    def happens(self, share):
        """Return True with probability `share`."""
        return bool(self.rng.uniform() < share)

    def field(self, shape, every):
        """Smooth random field of about unit variance, `every` voxels from node to node."""
        nodes = [max(2, round(n / every) + 2) for n in shape]
        coarse = torch.from_numpy(self.rng.standard_normal((1, 1, *nodes)).astype(np.float32))
        return functional.interpolate(coarse, size=tuple(shape), mode="trilinear")[0, 0] * 1.4

    def white(self, shape):
        """Return white noise of unit variance."""
        return torch.from_numpy(self.rng.standard_normal(tuple(shape), dtype=np.float32))


def draw(folder, names, name, rng, augmentation="wide"):
    """One sample of a pass.

    Parameters
    ----------
    folder : path
    names : sequence of str
        Anatomies to choose from: wholes for chest and heart, details for detail.
    name : str
        Pass.
    rng : Generator
    augmentation : str
        Of `AUGMENTATIONS`.

    Returns
    -------
    Sample
    """
    if augmentation == "published":
        return _draw_published(folder, names, name, rng)
    chance = Chance(rng)
    arrays, known = _beat(folder, names, rng)
    here = _place(chance, arrays, known, name, SIDES[name])
    # Beyond its ends a patient goes on, or is cut off.
    beyond = "border" if name != "detail" and chance.happens(0.6) else "zeros"
    hu, regions, trees, heart = _layers(arrays, here, name, beyond)
    contrasted = name != "detail" and known["heart"] and chance.happens(0.75)
    if not known["heart"] or not (contrasted or name == "heart"):
        heart = None
    regions = _shift_fissures(chance, regions, here, name)
    regions, trees = _displaced(regions, trees, heart)
    image, told = _paint(chance, hu, regions, trees, heart, name)
    exact = image.clone()
    image, lost = _scan(chance, image, name)
    return _sample(image, exact, regions, trees, heart, lost, told, name)


def _draw_published(folder, names, name, rng):
    """One sample as the publication augments: a scan of the phantom, turned, flipped and cropped.

    Chests and details are plain HRCT as the phantom has it, hearts CTA.
    """
    chance = Chance(rng)
    arrays, known = _beat(folder, names, rng)
    here, mirrored = _place_published(chance, arrays, known, name, SIDES[name])
    hu, regions, trees, heart = _layers(arrays, here, name, "zeros")
    if mirrored:
        regions = torch.tensor(LEFT_RIGHT, dtype=regions.dtype)[regions.long()]
    angiography = name == "heart" or (name == "chest" and chance.happens(CTA_SHARE))
    heart = heart if angiography and known["heart"] else None
    regions, trees = _displaced(regions, trees, heart)
    exact, told = hu.clone(), False
    if heart is not None:
        exact, told = _angiography(chance, hu, regions, trees, heart)
    noise = chance.uniform(*NOISE_HU) * chance.white(hu.shape)
    image = (exact + noise) * chance.uniform(*GAIN) + chance.uniform(*SHIFT_HU)
    lost = torch.zeros(hu.shape, dtype=torch.bool)
    return _sample(image, exact, regions, trees, heart, lost, told, name)


def _beat(folder, names, rng):
    """Arrays of a random anatomy, its heart at a random phase, and what is known of it."""
    arrays, known = anatomies.read(folder, names[int(rng.integers(len(names)))])
    beat = arrays["heart"][int(rng.integers(len(arrays["heart"])))]
    return {**arrays, "heart": beat}, known


def _layers(arrays, points, name, beyond):
    """HU and codes of regions, trees (with coronaries) and heart at points."""
    hu, codes = _resample(arrays, points, 2 if name == "chest" else 1, beyond)
    regions, trees, heart = (codes % 16, codes // 16 % 16, codes // 256)
    heart, coronary = heart % HEART_CODES, heart // HEART_CODES
    return hu, regions, torch.where(coronary > 0, coronary + 4, trees), heart


def _displaced(regions, trees, heart):
    """Regions and trees beside a heart: chambers that reach into the lungs displace them."""
    if heart is None:
        return regions, trees
    regions = torch.where((heart > 0) & (heart < 6), 0, regions)
    return regions, torch.where((heart > 0) & (trees < 5), 0, trees)


def _sample(image, exact, regions, trees, heart, lost, told, name):
    labels = _labels(regions, trees, heart, exact, lost, told)
    values = _values(regions, trees, heart, exact, PASSES[name]["voxel_mm"], told)
    branches = {branch: branch in PASSES[name]["branches"] for branch in VALUES}
    branches["heart"] &= heart is not None
    return Sample(image[None], labels, branches, values)


# --- Where -------------------------------------------------------------------------------------


def _place(chance, arrays, known, name, side):
    """Return sampling points, index z, y, x of the anatomy, (side, side, side, 3); unit voxels."""
    rng = chance.rng
    zoom = chance.uniform(*ZOOM[name]) * rng.uniform(0.9, 1.11, 3)
    step = PASSES[name]["voxel_mm"] / known["spacing_mm"] * zoom
    turn = _turn(np.deg2rad(rng.normal(0.0, 8.0 if name != "detail" else 20.0, 3)))
    turn = turn @ (np.eye(3) + np.triu(rng.normal(0.0, 0.05, (3, 3)), 1))
    if name == "detail":
        # Airways and vessels have no side that a detail could show: any turn and mirror will do.
        turn = turn[:, rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    points = _points(turn * step, _centre(rng, arrays, known, name, side, step), side)
    every = BEND_EVERY_MM[name] / PASSES[name]["voxel_mm"]
    size = BEND_MM[name] / known["spacing_mm"] * chance.uniform(0.0, 1.0)
    bend = torch.stack([chance.field(side, every) for _ in range(3)], dim=-1)
    return points + size * 0.5 * bend


def _place_published(chance, arrays, known, name, side):
    """Return sampling points as `_place`, and whether left and right are swapped.

    A crop of a part of the side fills the patch, so its voxels are smaller by that part.
    """
    rng = chance.rng
    step = PASSES[name]["voxel_mm"] / known["spacing_mm"] * chance.uniform(*CROP)
    turn = _turn(np.deg2rad(rng.uniform(*TURN_DEG, 3)))
    centre = _centre(rng, arrays, known, name, side, step)
    flips = np.array([1.0, *rng.choice([-1.0, 1.0], 2)])  # of a slice: top to bottom, left to right
    return _points(turn * step * flips, centre, side), bool(flips[2] < 0)


def _turn(angles):
    """Return the matrix of turns about the three axes, one after the other."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [k for k in range(3) if k != axis]
        part = np.eye(3)
        part[[a, a, b, b], [a, b, a, b]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        turn = turn @ part
    return turn


def _centre(rng, arrays, known, name, side, step):
    """Random middle of a patch, index z, y, x of the anatomy."""
    shape = np.array(arrays["hu"].shape)
    if name == "detail":
        return rng.uniform(0.38, 0.62, 3) * shape
    if name == "heart" and known["heart"]:
        found = _extent(arrays["heart"])
        return rng.uniform(0.35, 0.65, 3) * (found[1] - found[0]) + found[0]
    free = np.maximum(shape - 0.75 * np.array(side) * step, 0.0)
    return 0.5 * shape + rng.uniform(-0.5, 0.5, 3) * free


def _points(matrix, centre, side):
    """Points of a patch, (side, side, side, 3): its voxels by a matrix, about a centre."""
    at = [np.arange(n) - 0.5 * (n - 1) for n in side]
    grid = np.stack(np.meshgrid(*at, indexing="ij"), axis=-1).astype(np.float32)
    points = torch.from_numpy(grid) @ torch.from_numpy(matrix.T.astype(np.float32))
    return points + torch.from_numpy(centre.astype(np.float32))


def _extent(mask):
    """First and last index of a mask along each axis, (2, 3)."""
    ends = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis)))
        ends.append((line[0], line[-1] + 1) if len(line) else (0, mask.shape[axis]))
    return np.array(ends, dtype=float).T


def _resample(arrays, points, coarser, beyond):
    """HU (linear) and joint code of the labels (nearest) at points.

    HU are means of `coarser` voxels a side first, as a coarse pass sees them.
    """
    shape = arrays["hu"].shape
    low = [max(0, int(np.floor(points[..., k].min().item()))) for k in range(3)]
    high = [min(shape[k], int(np.ceil(points[..., k].max().item())) + 1) for k in range(3)]
    if any(b - a < 2 for a, b in zip(low, high, strict=True)):
        low, high = [0, 0, 0], list(shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    code = arrays["regions"][box].astype(np.float32)
    code += 16.0 * arrays["trees"][box] + 256.0 * arrays["heart"][box]
    values = torch.from_numpy(arrays["hu"][box].astype(np.float32) - PADDING_HU)
    size = torch.tensor([b - a for a, b in zip(low, high, strict=True)], dtype=torch.float32)
    grid = (2.0 * (points - torch.tensor(low) + 0.5) / size - 1.0)[None].flip(-1)
    values = values[None, None]
    if coarser > 1:
        values = functional.avg_pool3d(values, coarser, ceil_mode=True, count_include_pad=False)
    hu = functional.grid_sample(values, grid, "bilinear", beyond, False)[0, 0]
    found = functional.grid_sample(
        torch.from_numpy(code)[None, None], grid, "nearest", beyond, False
    )
    return hu + PADDING_HU, torch.round(found[0, 0]).to(torch.int32)


def _shift_fissures(chance, regions, points, name):
    """Move the borders between lobes of a lung by a smooth field; the lungs stay as they are."""
    if name != "chest" or not chance.happens(0.6):
        return regions
    shape = regions.shape
    shift = torch.stack([chance.field(shape, 18.0) for _ in range(3)], dim=-1)
    at = [torch.arange(n, dtype=torch.float32) for n in shape]
    grid = torch.stack(torch.meshgrid(*at, indexing="ij"), dim=-1) + 1.3 * shift
    unit = (2.0 * grid / (torch.tensor(shape) - 1.0) - 1.0)[None].flip(-1)
    moved = functional.grid_sample(regions[None, None].float(), unit, "nearest", "border", True)[
        0, 0
    ].to(torch.int32)
    lobe = (regions > 0) & (regions < CENTRAL)
    same = lobe & (moved > 0) & (moved < CENTRAL) & ((moved > 3) == (regions > 3))
    return torch.where(same, moved, regions)


# --- What it looks like -------------------------------------------------------------------------


def _paint(chance, hu, regions, trees, heart, name):
    """Noiseless HU with tissues of this draw's densities; whether arteries differ from veins."""
    voxel = PASSES[name]["voxel_mm"]
    image = hu.clone()
    lung = (regions > 0) & (regions < CENTRAL)
    air = (regions == CENTRAL) | (trees == TREES["lumen"])
    tree = (trees > 0) & (trees < 5)
    # Lungs as a whole: more or less gas, and a gradient to a random side.
    density = (image + 1000.0).clamp(min=0.0)
    soft = (density / 900.0).clamp(0.0, 1.0)  # share of a voxel that vessels or walls fill
    gain = np.exp(chance.rng.normal(0.0, 0.25))
    sd = chance.uniform(0.0, 0.12)
    texture = gain * (1.0 + sd * chance.field(image.shape, chance.uniform(8.0, 40.0) / voxel))
    if chance.happens(0.5):
        texture = texture * (1.0 + chance.uniform(0, 0.25) * chance.field(image.shape, 3.0))
    opened = density * (texture * (1.0 - soft) + soft)
    image = torch.where(lung & ~air, opened - 1000.0, image)
    # Airway walls may be denser or thinner than the phantom's.
    wall = trees == TREES["wall"]
    image = torch.where(wall, (image + 1000) * chance.uniform(0.75, 1.15) - 1000, image)
    # Contrast medium by compartment: none, pulmonary, arterial, late.
    kind = int(chance.rng.choice(4, p=CONTRAST[name == "heart"]))
    left, right = {
        0: (0.0, 0.0),
        1: (chance.uniform(0, 120), chance.uniform(150, 480)),
        2: (chance.uniform(*ARTERIAL_HU[0]), chance.uniform(*ARTERIAL_HU[1])),
        3: (chance.uniform(60, 180), chance.uniform(60, 180)),
    }[kind]
    veins = (trees == TREES["vein"]) & lung
    arteries = (trees == TREES["artery"]) & lung
    image = torch.where(veins, image + soft * left, image)
    image = torch.where(arteries, image + soft * right, image)
    outside = ~(lung | air | tree) & (image > -400.0)
    if heart is not None:
        image = _heart(chance, image, heart, trees, outside, left, right)
    elif kind and name != "heart":
        # Blood of the chest's plain heart and aorta, which have no labels.
        blood = outside & (image > 30.0) & (image < 60.0)
        image = torch.where(blood, image + 0.5 * (left + right) * chance.uniform(0, 1), image)
    image = _odd_tissue(chance, image, outside if heart is None else outside & (heart == 0), voxel)
    if name == "chest":
        image = _fissures(chance, image, regions, lung)
    return _lesions(chance, image, lung, air | tree, voxel), abs(left - right) > TOLD_HU


def _angiography(chance, hu, regions, trees, heart):
    """Noiseless HU with a heart in the arterial phase; whether arteries differ from veins."""
    left, right = (chance.uniform(*ends) for ends in ARTERIAL_HU)
    lung = (regions > 0) & (regions < CENTRAL)
    soft = ((hu + 1000.0) / 900.0).clamp(0.0, 1.0)
    image = torch.where((trees == TREES["vein"]) & lung, hu + soft * left, hu)
    image = torch.where((trees == TREES["artery"]) & lung, image + soft * right, image)
    tree = (trees > 0) & (trees < 5)
    outside = ~(lung | (regions == CENTRAL) | tree) & (image > -400.0)
    image = _heart(chance, image, heart, trees, outside, left, right)
    return image, abs(left - right) > TOLD_HU


def _heart(chance, image, heart, trees, outside, left, right):
    """Chambers and great vessels with or without contrast medium, fat or blood around them."""
    blood = chance.uniform(30.0, 60.0)
    muscle = chance.uniform(35.0, 65.0) + chance.uniform(0.1, 0.35) * max(left, right) * 0.6
    if max(left, right) < 1.0 and chance.happens(0.5):
        muscle = blood + chance.uniform(-4.0, 6.0)
    mixed = chance.uniform(0.0, 1.0)  # how much of the right side has been washed out
    levels = torch.zeros(8)
    levels[1] = levels[4] = levels[6] = blood + left
    levels[2] = muscle
    levels[3] = blood + right
    levels[5] = blood + right * mixed + left * (1 - mixed) * 0.3
    levels[7] = blood + max(right, 0.5 * left)
    levels[1:] += torch.from_numpy(chance.rng.normal(0.0, 12.0, 7).astype(np.float32))
    levels[6] += chance.uniform(-40.0, 40.0) * (left > 1.0)
    inside = heart > 0
    # Around the chambers: fat, or what was there.
    near = _dilated(inside, 3)
    around = near & ~inside & outside & (image > 25.0) & (image < 70.0)
    share = chance.uniform(0.0, 1.0)
    image = torch.where(around, image + share * (chance.uniform(-110.0, 0.0) - image), image)
    painted = levels[heart.long()]
    cavity = inside & (heart != 2)
    if left + right > 1.0:
        mottle = 1.0 + chance.uniform(0.0, 0.12) * chance.field(image.shape, 6.0)
        painted = torch.where(cavity, painted * mottle, painted)
        if chance.happens(0.4):  # papillary muscles and trabeculae
            bits = (chance.field(image.shape, 3.0) > 2.1) & ((heart == 1) | (heart == 3))
            painted = torch.where(bits, levels[2], painted)
        if chance.happens(0.15):  # a dissection or thrombus in the aorta
            part = (chance.field(image.shape, 10.0) > 0.3) & (heart == 6)
            painted = torch.where(part, chance.uniform(40.0, 250.0), painted)
    image = torch.where(inside, painted, image)
    if chance.happens(0.5):
        coronary = (trees >= 5) & (chance.field(image.shape, 3.0) > chance.uniform(1.0, 2.5))
        calcium = coronary & ~((heart == 1) | (heart >= 3))
        image = torch.where(calcium, chance.uniform(150.0, 900.0), image)
    return image


def _dilated(mask, reach):
    """Return a mask and all within a cube of `reach` voxels to each side."""
    x = mask.float()[None, None]
    for axis in range(3):
        side, edge = [1, 1, 1], [0, 0, 0]
        side[axis], edge[axis] = 2 * reach + 1, reach
        x = functional.max_pool3d(x, side, 1, edge)
    return x[0, 0] > 0


def _odd_tissue(chance, image, outside, voxel):
    """Tissue outside the lungs that the phantom has not: organs, muscle, fat, gas, bone, metal."""
    body = image > -300.0
    for _ in range(int(chance.rng.integers(1, 5))):
        field = chance.field(image.shape, chance.uniform(18.0, 70.0) / voxel)
        part = outside & (field > chance.uniform(0.6, 2.2))
        low, high = ((-120, -60), (10, 75), (60, 180), (180, 700), (-950, -500))[
            int(chance.rng.choice(5, p=[0.36, 0.3, 0.16, 0.1, 0.08]))
        ]
        image = torch.where(part, chance.uniform(low, high), image)
    fine = chance.uniform(0.0, 18.0) * chance.field(image.shape, chance.uniform(2.0, 6.0))
    image = torch.where(body & outside, image + fine, image)
    if chance.happens(0.4):  # arms, blankets, tubes: beside or before the patient
        around = image < -850.0
        field = chance.field(image.shape, chance.uniform(20.0, 60.0) / voxel)
        free = around & (blocks.smooth(around.float()[None, None], 3.0)[0, 0] > 0.97)
        image = torch.where(free & (field > 1.4), chance.uniform(-150.0, 80.0), image)
    if chance.happens(0.08):  # leads and clips
        metal = outside & (chance.field(image.shape, 2.0) > 4.2)
        image = torch.where(metal, 2500.0, image)
    return image


def _fissures(chance, image, regions, lung):
    """Thin bright sheets between lobes, more or less complete."""
    if chance.happens(0.35):
        return image
    strength = chance.uniform(10.0, 90.0)
    sheet = torch.zeros_like(lung)
    for axis in range(3):
        a, b = (
            regions.narrow(axis, 0, regions.shape[axis] - 1),
            regions.narrow(axis, 1, regions.shape[axis] - 1),
        )
        both = (a > 0) & (b > 0) & (a < CENTRAL) & (b < CENTRAL)
        # The lingula has no fissure of its own.
        differ = both & (a != b) & ~(((a == 4) & (b == 6)) | ((a == 6) & (b == 4)))
        sheet.narrow(axis, 0, regions.shape[axis] - 1).logical_or_(differ)
    here = (chance.field(image.shape, 14.0) > chance.uniform(-2.0, 0.5)).float()
    return image + sheet.float() * here * strength


def _lesions(chance, image, lung, tree, voxel):
    """Nodules, consolidation, ground glass, fluid and scars in the lungs."""
    if chance.happens(0.45):
        field = chance.field(image.shape, chance.uniform(12.0, 45.0) / voxel)
        part = (field - chance.uniform(1.4, 2.6)).clamp(0.0, 0.5) * 2.0
        part = part * (lung & ~tree)
        to = chance.uniform(-750.0, 40.0)
        image = image + part * (to - image).clamp(min=0.0)
    if chance.happens(0.3):  # reticulation, mosaics, bullae
        field = chance.field(image.shape, chance.uniform(5.0, 25.0) / voxel)
        part = (field > chance.uniform(1.2, 2.4)) & lung & ~tree
        image = torch.where(part, image * 0.3 + 0.7 * chance.uniform(-1000.0, -960.0), image)
    return image


# --- How it is scanned --------------------------------------------------------------------------


def _scan(chance, image, name):
    """Blur, sharpening, noise, artefacts, calibration and field of view; and what was cut away."""
    shape = image.shape
    voxel = PASSES[name]["voxel_mm"]
    sigma = chance.rng.uniform(0.0, 0.75 if name == "detail" else 0.7, 3).tolist()
    if chance.happens(0.25):  # thick slices along one axis, whole or in steps
        sigma[int(chance.rng.integers(3))] += chance.uniform(0.3, 1.6 if voxel < 3 else 0.8)
    batch = blocks.smooth(image[None, None], sigma)
    if chance.happens(0.35):
        batch = batch + chance.uniform(0.1, 1.0) * (batch - blocks.smooth(batch, 0.9))
    sd = chance.uniform(0.0, 1.0) ** 1.5 * {"chest": 45.0, "heart": 55.0, "detail": 75.0}[name]
    noise = chance.white(shape)[None, None]
    if chance.happens(0.6):
        width = chance.uniform(0.3, 1.0)
        noise = blocks.smooth(noise, width)
        noise = noise / noise.std()
    if chance.happens(0.25):  # noise of a bowed beam: stronger where the body is dense
        noise = noise * (1.0 + 0.5 * chance.field(shape, 20.0).abs())
    batch = batch + sd * noise
    if chance.happens(0.2):  # streaks
        direction = chance.rng.normal(size=2)
        direction /= np.linalg.norm(direction)
        y, x = (torch.arange(n, dtype=torch.float32) for n in shape[1:])
        wave = direction[0] * y[:, None] + direction[1] * x[None, :]
        streaks = torch.sin(wave * chance.uniform(0.5, 2.0) + chance.uniform(0, 6.0))
        where = chance.field(shape, 12.0).clamp(min=0.0)
        batch = batch + chance.uniform(5.0, 40.0) * streaks * where
    batch = batch * chance.uniform(0.97, 1.03) + chance.uniform(-20.0, 20.0)
    image = batch[0, 0]
    lost = torch.zeros(shape, dtype=torch.bool)
    pad = float(chance.rng.choice([PADDING_HU, -1000.0, -2048.0, 0.0], p=[0.5, 0.25, 0.2, 0.05]))
    if chance.happens(0.35 if name == "chest" else 0.2):
        most = 0.35 if name == "chest" else 0.2
        for axis in range(3):
            low, high = (chance.uniform(0.0, most) * chance.happens(0.5) for _ in range(2))
            n = shape[axis]
            lost.narrow(axis, 0, int(low * n)).fill_(True)
            lost.narrow(axis, n - int(high * n), int(high * n)).fill_(True)
    if name == "chest" and chance.happens(0.15):  # one side alone
        n = shape[2]
        cut, last = int(chance.uniform(0.4, 0.6) * n), chance.happens(0.5)
        lost.narrow(2, cut if last else 0, n - cut if last else cut).fill_(True)
    if name == "chest" and chance.happens(0.15):  # round field of view
        y, x = (torch.arange(n, dtype=torch.float32) - 0.5 * n for n in shape[1:])
        radius = chance.uniform(0.38, 0.6) * shape[2]
        lost |= (y[:, None] ** 2 + x[None, :] ** 2).sqrt()[None] > radius
    image = torch.where(lost, pad, image)
    if chance.happens(0.3):
        image = image.clamp(min=PADDING_HU)
    return image, lost


# --- What is true -------------------------------------------------------------------------------


def _labels(regions, trees, heart, exact, lost, told):
    """Label maps by group; what was cut away belongs to the outside."""
    vessel = (trees == TREES["artery"]) | (trees == TREES["vein"])
    lung = (regions > 0) & (regions < CENTRAL)
    found = {
        "regions": regions,
        "low_attenuation": torch.where(lung, (exact < LAA_HU).int(), NOT_KNOWN),
        "airways": torch.where((trees == 1) | (trees == 2), trees, 0),
        "edge": _edge(trees),
        "vessels": torch.where(vessel, trees - 2 if told else EITHER, 0),
    }
    found["regions"] = torch.where(trees == TREES["lumen"], regions, found["regions"])
    if heart is not None:
        found["chambers"] = heart
        found["coronaries"] = torch.where((trees >= 5) & (trees <= 7), trees - 4, 0)
    for group in found:
        found[group] = torch.where(lost, 0, found[group]).to(torch.uint8)
    found["low_attenuation"][lost] = NOT_KNOWN
    return found


def _edge(trees):
    """Voxels of the lumen and the wall that touch each other or the outside by a face."""
    kind = torch.where((trees == 1) | (trees == 2), trees, 0)
    out = torch.zeros_like(kind)
    for axis in range(3):
        n = kind.shape[axis] - 1
        differ = kind.narrow(axis, 0, n) != kind.narrow(axis, 1, n)
        out.narrow(axis, 0, n).logical_or_(differ)
        out.narrow(axis, 1, n).logical_or_(differ)
    return out * (kind > 0)


def _values(regions, trees, heart, exact, voxel, told):
    """Quantities of `VALUES` in the patch; NaN where it holds too little to tell."""
    ml = voxel**3 / 1000.0
    nan = float("nan")
    lung = (regions > 0) & (regions < CENTRAL)
    found = {branch: torch.full((len(names),), nan) for branch, names in VALUES.items()}
    inside = exact[lung]
    if inside.numel() > 2000:
        low = (inside < LAA_HU).float().mean() * 100
        some = inside[:: max(1, inside.numel() // 20000)]
        perc15 = torch.quantile(some, 0.15)
        found["lung"] = torch.stack([inside.mean(), low, perc15, torch.tensor(inside.numel() * ml)])
    counts = torch.bincount(trees.flatten().long(), minlength=8).float()
    if counts[1] + counts[2] > 200:
        wall = 100 * counts[2] / (counts[1] + counts[2])
        found["airway"] = torch.stack([wall, counts[1] * ml])
    if inside.numel() > 2000 and counts[3] + counts[4] > 200:
        found["vessel"] = torch.stack(
            [
                100 * (counts[3] + counts[4]) / inside.numel(),
                100 * counts[3] / (counts[3] + counts[4]) if told else torch.tensor(nan),
            ]
        )
    if heart is not None:
        parts = torch.bincount(heart.flatten().long(), minlength=8).float()[[1, 3, 2]] * ml
        found["heart"] = parts
    return found
