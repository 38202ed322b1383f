"""The shipped network on real CT that it was not trained on; peer masks in tests/data/realct.

Bounds are what was measured, rounded down; docs/networks.md holds the figures.
"""

from pathlib import Path

import numpy as np
import pytest

from lungitude import images
from lungitude.networks import inference

DATA = Path(__file__).parents[1] / "data" / "realct"


@pytest.fixture(scope="module")
def reader():
    return inference.Reader()


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_lungs_of_a_coarse_chest(reader):
    image = images.read(DATA / "ct-64.nrrd")
    region = images.array(images.read_labels(DATA / "lm-64.nrrd", like=image)) & 255
    made, _ = inference.segment(image, ("lungs", "lobes"), reader)
    lungs, lobes = (images.array(made[part]) for part in ("lungs", "lobes"))
    assert _dice(lungs > 0, region > 0) > 0.95
    assert _dice(lungs == 1, region >= 12) > 0.95
    assert _dice(lungs == 2, (region > 0) & (region < 12)) > 0.95
    shares = np.bincount(lobes.ravel(), minlength=7)[1:] / (lobes > 0).sum()
    assert (shares[[0, 2, 3, 4]] > 0.08).all()  # no upper or lower lobe is missing


def test_lungs_of_one_cut_out_lung(reader):
    image = images.read(DATA / "right_lung.mha")
    mask = images.array(images.read_labels(DATA / "right_lung_mask.mha", like=image)) > 0
    made, _ = inference.segment(image, ("lungs",), reader)
    assert _dice(images.array(made["lungs"]) > 0, mask) > 0.9


def test_what_is_no_chest_in_hu_is_unlike_the_training(reader):
    image = images.read(DATA / "ct-64.nrrd")
    hu, spacing_mm = images.array(image).astype(np.float32), images.spacing_zyx(image)
    assert reader.read(hu, spacing_mm, ()).distance < 0.8
    noise = np.random.default_rng(0).normal(-500, 400, hu.shape).astype(np.float32)
    for wrong in (hu + 1024, 0.5 * hu, noise, np.zeros_like(hu)):
        assert reader.read(wrong, spacing_mm, ()).distance > 1.2
