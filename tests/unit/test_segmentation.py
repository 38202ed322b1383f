"""Lungs of a plain chest with known bodies, whole and cropped, and labels of other software."""

import numpy as np
import pytest
import SimpleITK as sitk
from unit import chest

from lungitude import images, segmentation


@pytest.fixture(scope="module")
def plain():
    """Chest, truth and trunk."""
    return chest.make()


def _labels(image):
    return images.array(segmentation.lungs(image))


def _check(found, truth, least=0.985):
    for code in (1, 2):
        if (truth == code).any():
            assert chest.dice(found == code, truth == code) > least
        else:
            assert not (found == code).any()


def test_both_lungs_without_airways(plain):
    image, truth, trunk = plain
    lungs, airways = segmentation.segment(image)
    assert lungs.GetPixelID() == sitk.sitkUInt8
    images.check_grid(image, lungs)
    _check(images.array(lungs), truth, 0.995)
    assert chest.dice(images.array(airways) > 0, trunk) > 0.95
    assert (images.array(lungs)[trunk] > 0).mean() < 0.01
    assert np.array_equal(images.array(segmentation.airway_trunk(image)), images.array(airways))


def test_same_image_gives_same_labels(plain):
    assert np.array_equal(_labels(plain[0]), _labels(plain[0]))


@pytest.mark.parametrize("code", ["RAI", "ASL", "PIR"])
def test_axes_do_not_matter(plain, code):
    turned = sitk.DICOMOrient(plain[0], code)
    found = segmentation.lungs(turned)
    images.check_grid(turned, found)
    _check(images.array(images.canonical(found)), plain[1], 0.995)


@pytest.mark.parametrize(
    ("x", "y", "z"),
    [
        ((0, 60), (0, 100), (0, 100)),  # right lung alone, some mediastinum
        ((70, 128), (0, 100), (0, 100)),  # left lung alone
        ((20, 60), (0, 100), (0, 100)),  # right lung cut at its side: it touches the border
        ((20, 108), (20, 85), (20, 80)),  # both cut on all sides, no air around the patient
        ((0, 128), (0, 100), (30, 70)),  # few slices
    ],
)
def test_cropped(plain, x, y, z):
    image, truth, _ = plain
    found = _labels(image[x[0] : x[1], y[0] : y[1], z[0] : z[1]])
    _check(found, truth[z[0] : z[1], y[0] : y[1], x[0] : x[1]], 0.97)


def test_lungs_that_touch_are_parted():
    image, truth, _ = chest.make(touch=True)
    _check(_labels(image), truth, 0.99)


@pytest.mark.parametrize(("lung_hu", "noise_hu"), [(-650.0, 15.0), (-955.0, 15.0), (-860.0, 60.0)])
def test_density_and_noise(lung_hu, noise_hu):
    image, truth, _ = chest.make(lung_hu=lung_hu, noise_hu=noise_hu)
    _check(_labels(image), truth, 0.985)


def test_circle_outside_the_field_of_view(plain):
    image, truth, _ = plain
    y, x = np.mgrid[:100, :128] - np.array([50, 64])[:, None, None]
    values = images.array(image).copy()
    values[:, np.hypot(x, y) > 42] = images.PADDING_HU
    seen = np.where(np.hypot(x, y) > 42, 0, truth)
    _check(_labels(images.from_array(values, image)), seen, 0.985)


def test_coarse_voxels(plain):
    image, truth, _ = plain
    coarse = sitk.Shrink(image, (2, 2, 2))
    _check(_labels(coarse), truth[1::2, 1::2, 1::2], 0.95)


def test_faults(plain):
    with pytest.raises(ValueError, match="method 'magic' is unknown"):
        segmentation.lungs(plain[0], method="magic")
    with pytest.raises(ValueError, match="no lung found"):
        segmentation.lungs(images.from_array(np.full((100, 100, 128), 40, np.int16), plain[0]))
    with pytest.raises(ValueError, match="no lung found"):
        segmentation.lungs(images.from_array(np.full((100, 100, 128), -1000, np.int16), plain[0]))


def _map(*values):
    return sitk.GetImageFromArray(np.array(values, np.uint8).reshape(1, 1, -1))


@pytest.mark.parametrize(
    ("names", "scheme", "values", "expected", "is_scheme"),
    [
        ("lungmask", None, [0, 1, 2], [0, 1, 2], "lungs"),
        ("lungmask_lobes", None, [1, 2, 3, 4, 5, 0], [4, 5, 1, 2, 3, 0], "lobes"),
        ("totalsegmentator", None, [10, 11, 12, 13, 14, 51], [4, 5, 1, 2, 3, 0], "lobes"),
        ({"right": 20, "left": [30, 31]}, None, [20, 30, 31, 7], [1, 2, 2, 0], "lungs"),
        ({"1": 1}, None, [1, 3], [1, 0], "lungs"),
        ({"5": 6, "3": 0}, "lobes", [5, 3], [6, 0], "lobes"),
        ({5: 2}, "lungs", [5, 0], [2, 0], "lungs"),
    ],
)
def test_labels_of_other_software(names, scheme, values, expected, is_scheme):
    found, scheme = segmentation.from_labels(_map(*values), names, scheme)
    assert images.array(found).ravel().tolist() == expected
    assert scheme == is_scheme


@pytest.mark.parametrize(
    ("names", "scheme", "words"),
    [
        ("elsewhere", None, "label map 'elsewhere' is unknown"),
        ({"heart": 1}, None, "heart"),
        ({"right": 1, "left": 1}, None, "each used once"),
        ({"right": 0}, None, "must be 1 or more"),
        ({"1": 5}, "lungs", r"codes \[5\]"),
        ({}, None, "empty"),
        ({"right": 9}, None, r"none of the codes \[9\]"),
        ({"right": 1}, "lobes", "no lobes"),
    ],
)
def test_wrong_label_maps(names, scheme, words):
    with pytest.raises(ValueError, match=words):
        segmentation.from_labels(_map(0, 1, 2), names, scheme)


def test_lobes_merge_to_lungs():
    merged = segmentation.lobes_to_lungs(_map(0, 1, 2, 3, 4, 5, 6))
    assert images.array(merged).ravel().tolist() == [0, 1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="no lobe"):
        segmentation.lobes_to_lungs(_map(7))
