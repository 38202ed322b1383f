"""Tracking of vessels: tubes with gaps are joined along their axis, others stay apart."""

import cc3d
import numpy as np
import pytest

from lungitude.networks import tracking

SHAPE = (20, 24, 80)
LUNG_HU, BLOOD_HU = -870.0, 20.0


def distance(start, end, shape=SHAPE):
    """Distance of every voxel from a line between two points."""
    points = np.stack(np.indices(shape), axis=-1).astype(float)
    start, end = np.array(start, float), np.array(end, float)
    along = np.clip((points - start) @ (end - start) / np.sum((end - start) ** 2), 0.0, 1.0)
    return np.linalg.norm(points - start - along[..., None] * (end - start), axis=-1)


def tube(start, end, radius=1.5, share=0.9):
    """Probability of a vessel and how much of it fills each voxel."""
    fill = np.clip(0.5 + radius - distance(start, end), 0.0, 1.0)
    return np.where(distance(start, end) <= radius, share, 0.05), fill


def scan(*fills):
    """HU of vessels in a lung."""
    fill = np.max(fills, axis=0)
    noise = np.random.default_rng(0).normal(0.0, 25.0, fill.shape)
    return LUNG_HU + fill * (BLOOD_HU - LUNG_HU) + noise


def joined(*pairs):
    return np.max([share for share, _ in pairs], axis=0)


def pieces(mask):
    return int(cc3d.connected_components(mask.astype(np.uint8), connectivity=26).max())


@pytest.mark.parametrize("end", [(10, 12, 75), (16, 6, 75)])
def test_a_tube_with_a_gap_is_joined_along_its_axis(end):
    start = np.array((10, 12, 4))
    share, fill = tube(start, end)
    x = np.indices(SHAPE)[2]
    broken = np.where((x >= 46) & (x < 51) & (share > 0.5), 0.3, share)
    links = tracking.track(broken, scan(fill))
    assert pieces(broken > 0.5) == 2
    assert pieces((broken > 0.5) | links) == 1
    assert not (links & (broken > 0.5)).any()
    # All of the link lies in the tube or at its rim, and it holds what the gap took away.
    assert distance(start, end)[links].max() <= 2.3
    assert links.sum() == pytest.approx((share > 0.5).sum() - (broken > 0.5).sum(), rel=0.4)


def test_a_chain_of_pieces_is_joined_from_its_seed():
    share, fill = tube((10, 12, 4), (10, 12, 75))
    x = np.indices(SHAPE)[2]
    gaps = ((x >= 44) & (x < 47)) | ((x >= 56) & (x < 59)) | ((x >= 66) & (x < 69))
    broken = np.where(gaps & (share > 0.5), 0.3, share)
    assert pieces(broken > 0.5) == 4
    assert pieces((broken > 0.5) | tracking.track(broken, scan(fill))) == 1
    # Without a seed among them they stay as they are.
    alone = np.where(x < 44, 0.05, broken)
    assert not tracking.track(alone, scan(fill)).any()


def test_a_piece_that_the_network_doubts_seeks_nothing():
    share, fill = tube((10, 12, 4), (10, 12, 75))
    x = np.indices(SHAPE)[2]
    doubted = np.where((x >= 51) & (share > 0.5), 0.6, share)
    doubted = np.where((x >= 46) & (x < 51) & (share > 0.5), 0.3, doubted)
    assert pieces(doubted > 0.5) == 2
    assert not tracking.track(doubted, scan(fill)).any()


@pytest.mark.parametrize("shown", [False, True])
def test_a_gap_of_which_the_network_knows_nothing_stays(shown):
    left, right = tube((10, 12, 4), (10, 12, 46)), tube((10, 12, 51), (10, 12, 75))
    share = joined(left, right)
    share[share < 0.5] = 0.01
    fills = [tube((10, 12, 4), (10, 12, 75))[1]] if shown else [left[1], right[1]]
    assert pieces(share > 0.5) == 2
    assert not tracking.track(share, scan(*fills)).any()


def test_a_gap_that_is_too_long_stays():
    share, fill = tube((10, 12, 4), (10, 12, 75))
    x = np.indices(SHAPE)[2]
    broken = np.where((x >= 46) & (x < 54) & (share > 0.5), 0.3, share)
    assert not tracking.track(broken, scan(fill)).any()


def test_tubes_side_by_side_stay_apart():
    # Between them the network is in doubt, as it is between an artery and its vein.
    long, short = tube((10, 9, 4), (10, 9, 75)), tube((10, 14, 30), (10, 14, 50))
    share = joined(long, short)
    z, y, x = np.indices(SHAPE)
    beside = (abs(z - 10) < 2) & (y > 9) & (y < 14) & (x >= 30) & (x <= 50)
    share[beside & (share < 0.5)] = 0.4
    assert pieces(share > 0.5) == 2
    assert not tracking.track(share, scan(long[1], short[1])).any()


def test_a_branch_reaches_the_side_of_its_trunk():
    trunk, branch = tube((10, 5, 4), (10, 5, 75), 2.5), tube((10, 5, 24), (10, 20, 24), 1.0)
    y = np.indices(SHAPE)[1]
    share = joined(trunk, (np.where((y > 7) & (y < 12), 0.3, 1.0) * branch[0], None))
    assert pieces(share > 0.5) == 2
    links = tracking.track(share, scan(trunk[1], branch[1]))
    assert pieces((share > 0.5) | links) == 1
    assert distance((10, 5, 24), (10, 20, 24))[links].max() <= 1.5


def test_nothing_to_track():
    share = np.zeros(SHAPE, np.float32)
    assert not tracking.track(share, np.full(SHAPE, LUNG_HU)).any()
    share[5, 5, 5] = 1.0  # a crumb points nowhere
    assert not tracking.track(share, np.full(SHAPE, LUNG_HU)).any()
