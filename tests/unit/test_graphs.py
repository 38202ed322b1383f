"""Skeleton graphs of masks whose branches, loops and lengths are known."""

import edt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungitude.biomarkers import graphs

UNIT = (1.0, 1.0, 1.0)


def _draw(shape, *legs):
    """Voxels along straight legs."""
    found = np.zeros(shape, bool)
    for a, b in legs:
        steps = np.linspace(0.0, 1.0, 400)[:, None]
        at = np.rint(np.asarray(a) + steps * (np.asarray(b, float) - np.asarray(a))).astype(int)
        found[tuple(at.T)] = True
    return found


def _tubes(shape, *tubes):
    """Voxels within a radius of straight legs."""
    grid = np.stack(np.indices(shape), axis=-1).astype(float)
    found = np.zeros(shape, bool)
    for a, b, radius in tubes:
        a, b = np.asarray(a, float), np.asarray(b, float)
        along = np.clip((grid - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)[..., None]
        found |= np.linalg.norm(grid - a - along * (b - a), axis=-1) <= radius
    return found


def _trace(mask, spacing=UNIT):
    return graphs.trace(graphs.skeletonise(mask), spacing)


def _radius(mask):
    return edt.edt(mask, black_border=True, parallel=1)


def test_line_has_two_ends_and_its_length():
    graph = _trace(_draw((9, 9, 30), ((4, 4, 3), (4, 4, 26))), (2.0, 1.0, 0.5))
    assert graph.degree().tolist() == [1, 1]
    (branch,) = graph.branches
    assert branch.length_mm == pytest.approx(23 * 0.5)
    assert {tuple(branch.path[0]), tuple(branch.path[-1])} == {(4, 4, 3), (4, 4, 26)}
    assert graph.path_mm(branch)[0].tolist() in ([8.0, 4.0, 1.5], [8.0, 4.0, 13.0])


@pytest.mark.parametrize("direction", [(1, 2, 3), (3, -1, 1), (0, 1, 1), (1, 1, 1)])
def test_stairs_of_an_oblique_line_add_no_length(direction):
    middle, along = np.array([40, 40, 40]), np.array(direction) / np.linalg.norm(direction)
    graph = _trace(_draw((81, 81, 81), (middle - 30 * along, middle + 30 * along)))
    (branch,) = graph.branches
    straight = np.linalg.norm(branch.path[-1] - branch.path[0])
    assert branch.length_mm == pytest.approx(straight, rel=0.005)


def test_fork_is_one_node():
    fork = (20, 20, 20)
    graph = _trace(
        _draw((41, 41, 41), (fork, (3, 20, 20)), (fork, (37, 3, 9)), (fork, (37, 37, 20)))
    )
    assert sorted(graph.degree()) == [1, 1, 1, 3]
    assert np.abs(graph.nodes[graph.degree().argmax()] - fork).max() <= 1


def test_ring_and_lone_voxel():
    angle = np.linspace(0, 2 * np.pi, 500)
    ring = np.zeros((5, 40, 40), bool)
    ring[
        2,
        np.rint(20 + 12 * np.cos(angle)).astype(int),
        np.rint(20 + 12 * np.sin(angle)).astype(int),
    ] = 1
    graph = _trace(ring)
    (loop,) = graph.branches
    assert loop.start == loop.end
    assert loop.length_mm == pytest.approx(2 * np.pi * 12, rel=0.02)
    assert not graphs.tree(graph, _radius(ring)).branches
    lone = np.zeros((5, 5, 5), bool)
    lone[2, 2, 2] = True
    assert len(_trace(lone).nodes) == 1
    assert not _trace(lone).branches


def test_nothing_gives_nothing():
    empty = np.zeros((4, 5, 6), bool)
    assert not graphs.skeletonise(empty).any()
    graph = graphs.trace(empty, UNIT)
    assert len(graph.nodes) == len(graph.branches) == 0
    assert graph.degree().size == 0


def test_spurs_are_cut_and_branches_stay():
    stem = ((5, 20, 20), (75, 20, 20), 6.0)
    twig = ((40, 20, 20), (60, 36, 20), 2.0)  # leaves the stem by far
    bump = ((20, 20, 20), (20, 26.5, 20), 2.0)  # a wart of the surface
    mask = _tubes((80, 45, 40), stem, twig, bump)
    skeleton = graphs.skeletonise(mask)
    skeleton |= _draw(mask.shape, ((20, 20, 20), (20, 26, 20)))  # a spur for sure
    graph = graphs.trace(skeleton, UNIT)
    pruned = graphs.prune(graph, _radius(mask))
    assert len(graph.branches) > 3
    assert sorted(pruned.degree()) == [1, 1, 1, 3]


def test_loop_is_broken_where_it_is_thin():
    thick = [
        ((5, 10, 20), (20, 10, 20), 3),
        ((20, 10, 20), (40, 4, 20), 3),
        ((40, 4, 20), (60, 10, 20), 3),
    ]
    thin = [
        ((20, 10, 20), (40, 30, 20), 1),
        ((40, 30, 20), (60, 10, 20), 1),
        ((60, 10, 20), (75, 10, 20), 3),
    ]
    mask = _tubes((80, 40, 40), *thick, *thin)
    graph = graphs.prune(_trace(mask), _radius(mask))
    assert len(graph.branches) == len(graph.nodes)
    found = graphs.tree(graph, _radius(mask))
    (branch,) = found.branches
    assert branch.path[:, 1].max() < 20


def test_a_narrow_bandwidth_bridges_a_wide_gap():
    path = np.array([[0.0, 0, 0], [20.0, 0, 0], [22.0, 0, 0]])
    points, tangents = graphs.centreline(path, 0.5, bandwidth_mm=1.0)
    np.testing.assert_allclose(points[:, 0], np.linspace(0, 22, len(points)), atol=0.5)
    np.testing.assert_allclose(tangents, [[1.0, 0, 0]] * len(points), atol=1e-6)


def test_centreline_of_a_parabola():
    t = np.linspace(-10, 10, 41)
    path = np.stack([t, 0.02 * t**2, 0 * t], axis=1)
    points, tangents = graphs.centreline(path, 0.7, 2.0)
    assert np.linalg.norm(points[0] - path[0]) < 0.02
    assert np.abs(points[:, 1] - 0.02 * points[:, 0] ** 2).max() < 0.02
    true = np.stack([np.ones(len(points)), 0.04 * points[:, 0], np.zeros(len(points))], axis=1)
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    assert (tangents * true).sum(axis=1).min() > 0.9995
    with pytest.raises(ValueError, match="two points"):
        graphs.centreline(path[:1], 1.0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), flip=st.tuples(*[st.booleans()] * 3), pad=st.integers(1, 6))
def test_graph_holds_its_skeleton_and_ignores_the_frame(seed, flip, pad):
    rng = np.random.default_rng(seed)
    mask = np.zeros((30, 30, 30), bool)
    for _ in range(rng.integers(1, 6)):
        a, b = rng.integers(2, 28, (2, 3))
        mask |= _draw(mask.shape, (a, b))
    skeleton = graphs.skeletonise(mask)
    graph = graphs.trace(skeleton, UNIT)
    on = np.zeros_like(skeleton)
    for branch in graph.branches:
        on[tuple(branch.path.T)] = True
        assert np.abs(np.diff(branch.path, axis=0)).max() <= 3
        assert np.array_equal(branch.path[0], graph.nodes[branch.start])
        assert np.array_equal(branch.path[-1], graph.nodes[branch.end])
    assert not (on & ~skeleton).any()
    axes = tuple(k for k in range(3) if flip[k])
    moved = graphs.trace(np.pad(np.flip(skeleton, axes), pad), UNIT)
    assert len(moved.branches) == len(graph.branches)
    total = sum(b.length_mm for b in graph.branches)
    assert sum(b.length_mm for b in moved.branches) == pytest.approx(total, rel=0.03, abs=2.0)
