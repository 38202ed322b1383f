"""Airways and vessels without a network: on the phantom, on plain tubes, and where they fail."""

import dataclasses
import logging

import edt
import numpy as np
import pytest
import SimpleITK as sitk
from unit import chest, tubes

from lungitude import images
from lungitude.classical import fronts, rays
from lungitude.classical.airways import LUMEN, WALL, airways, airways_with_facts
from lungitude.classical.disagreement import disagreement
from lungitude.classical.vessels import vessels
from lungitude.phantom import airways as airway_truth
from lungitude.phantom import protocols, render
from lungitude.phantom import vessels as vessel_truth

ROW = {"USUBJID": "C001", "AVISIT": "Baseline", "LUNGVOL_L": 4.0, "LUNG_HU": -855.0}
ROW |= {"EMPH_PCT": 4.0, "FSAD_PCT": 8.0, "EXPRATIO": 0.7}


@dataclasses.dataclass
class Case:
    """A scan of the phantom, its lungs, and what was found in it."""

    scan: object
    ct: sitk.Image
    lungs: sitk.Image
    airways: sitk.Image
    facts: dict

    def near(self, mask, mm):
        """Mark what lies within a distance of a mask."""
        away = edt.edt(~mask, anisotropy=self.scan.grid.spacing_mm[::-1], parallel=1)
        return away <= mm

    def seen(self, table, mask):
        """Return which share of each tube of a table runs within a voxel of a mask."""
        grid, scale = self.scan.grid, self.scan.record.scale
        near = self.near(mask, 1.01 * max(grid.spacing_mm))
        share = np.linspace(0.0, 1.0, 13)[:, None, None]
        points = (table["p0"] + share * (table["p1"] - table["p0"])) * scale
        index = np.rint(grid.index(points.reshape(-1, 3))).astype(int)
        inside = ((index >= 0) & (index < grid.shape)).all(1)
        hit = np.zeros(len(index), bool)
        hit[inside] = near[tuple(index[inside].T)]
        return hit.reshape(points.shape[:2]).mean(0)


@pytest.fixture(scope="module")
def case():
    record = render.count_lesions(render.prepare(ROW, {"voxel_mm": [1.25] * 3}))
    record = protocols.apply(record, protocols.make("soft", 1.25, 20.0))
    scan = render.render(record, ("insp",), labels=("airways", "vessels"))["insp"]
    ct, lungs = scan.grid.image(render.deliver(scan)), scan.grid.image(scan.lungs)
    return Case(scan, ct, lungs, *airways_with_facts(ct, lungs))


def _is(image, *codes):
    return np.isin(images.array(image), codes)


def test_airways_of_the_phantom_to_the_fifth_generation(case):
    tree = airway_truth.tree(case.scan.record)
    seen = case.seen(tree, _is(case.airways, LUMEN)) >= 0.5
    shares = [seen[tree["generation"] == g].mean() for g in range(6)]
    assert shares[:4] == [1.0, 1.0, 1.0, 1.0]
    assert shares[4] >= 0.88
    assert shares[5] >= 0.6
    truth = case.scan.labels["airways"]
    assert chest.dice(_is(case.airways, LUMEN), truth == LUMEN) > 0.83
    assert chest.dice(_is(case.airways, LUMEN, WALL), truth > 0) > 0.75


def test_airways_of_the_phantom_do_not_leak(case):
    outside = _is(case.airways, LUMEN) & ~case.near(case.scan.labels["airways"] > 0, 1.9)
    assert outside.sum() * images.voxel_ml(case.ct) < 0.1
    assert case.facts["faults"] == []
    assert case.facts["leaks"] == case.facts["loops"] == 0
    lumen = _is(case.airways, LUMEN).sum() * images.voxel_ml(case.ct)
    assert case.facts["lumen_ml"] == pytest.approx(lumen)
    assert case.facts["branches"] > 50
    assert case.facts["noise_hu"] == pytest.approx(18.0, abs=4.0)


def test_vessels_of_the_phantom(case):
    found = _is(vessels(case.ct, case.lungs, case.airways), 1)
    truth, lungs = case.scan.labels["vessels"] > 0, case.scan.lungs > 0
    assert not (found & ~lungs).any()
    assert not (found & _is(case.airways, LUMEN, WALL)).any()
    tree = vessel_truth.tree(case.scan.record)
    whole = case.seen(tree, lungs) == 1.0
    seen = case.seen(tree, found)
    assert seen[whole & (tree["radius"] >= 1.0)].mean() > 0.9
    assert seen[whole & (tree["radius"] >= 0.7)].mean() > 0.8
    assert chest.dice(found, truth) > 0.7
    # What is no vessel is wall of airways that region growing doesn't see.
    apart = found & ~case.near(truth, 1.9) & ~case.near(case.scan.labels["airways"] > 0, 1.9)
    assert apart.sum() < 0.02 * found.sum()


# Leaks


def _tube(wall_hu, hole, noise_hu=15.0):
    """Return HU of a lumen of 3 mm in lung, closed at its end, with a hole of 4 mm in its wall."""
    z, y, x = np.meshgrid(np.arange(70), np.arange(60) - 30, np.arange(60) - 30, indexing="ij")
    r = np.hypot(y, x)
    hu = np.full(z.shape, -860.0)
    wall = (r < 4.5) & (z < 62)
    if hole:
        wall &= ~((np.abs(z - 35) < 2) & (np.abs(y) < 2) & (x > 0))
    hu[wall] = wall_hu
    lumen = (r < 3.0) & (z < 60)
    hu[lumen] = -990.0
    noise = np.random.default_rng(0).normal(0.0, noise_hu, hu.shape)
    return np.rint(hu + noise).astype(np.int16), lumen, r


def _grow(hu):
    seeds = np.argwhere(np.ones((3, 3, 3))) + np.array([2, 29, 29])
    ways, step = rays.directions((1.0, 1.0, 1.0))
    return rays.grow(
        hu,
        seeds.astype(np.int32),
        4.0,
        ways,
        step,
        np.ones(3),
        45.0,
        -760.0,
        50_000,
    )


def test_a_hole_in_the_wall_does_not_let_the_growth_out():
    hu, lumen, r = _tube(wall_hu=0.0, hole=True)
    voxel, parent, facts = _grow(hu)
    grown = np.zeros(hu.shape, bool)
    grown[tuple(voxel.T)] = True
    assert (grown & (r > 5.5)).sum() == 0
    assert (grown & lumen).sum() > 0.55 * lumen[2:].sum()  # its edge isn't grown but spread
    assert voxel[:, 0].max() >= 58
    path = facts[:, rays.PATH]
    assert (path[27:] > path[parent[27:]]).all()


def test_without_a_wall_nothing_grows():
    hu, _, _ = _tube(wall_hu=-860.0, hole=False)
    assert len(_grow(hu)[0]) < 27 + 20


def _grown(mask, inner_hu=-980.0):
    """Return what `rays.grow` would of a mask whose first plane is the trunk."""
    at, order = np.full(mask.shape, -1), [tuple(v) for v in np.argwhere(mask[:1])]
    parent, path = [-1] * len(order), [0.0] * len(order)
    for number, v in enumerate(order):
        at[v] = number
    head = 0
    while head < len(order):
        for move in np.ndindex(3, 3, 3):
            step = np.array(move) - 1
            new = tuple(np.array(order[head]) + step)
            if np.abs(step).sum() > 2 or min(new) < 0:
                continue
            if (np.array(new) >= mask.shape).any() or not mask[new] or at[new] >= 0:
                continue
            at[new] = len(order)
            order.append(new)
            parent.append(head)
            path.append(path[head] + np.linalg.norm(step))
        head += 1
    facts = np.zeros((len(order), 6), np.float32)
    facts[:, rays.PATH], facts[:, rays.MET], facts[:, rays.INNER] = path, 0.98, inner_hu
    return np.array(order), np.array(parent), facts


def _left(mask, inner_hu=-980.0):
    voxel, parent, facts = _grown(mask, inner_hu)
    keep, left, cut = fronts.prune(voxel, parent, facts, (1.0, 1.0, 1.0), -860.0)
    kept = np.zeros(mask.shape, bool)
    kept[tuple(voxel[keep].T)] = True
    return kept, left, cut


def _stem():
    mask = np.zeros((60, 41, 41), bool)
    mask[:30, 19:22, 19:22] = True
    return mask


def test_a_fork_is_kept_and_a_stump_is_not():
    mask = _stem()
    for k in range(20):
        mask[30 + k, 19:22, 19 - k // 2 : 22 - k // 2] = True
        mask[30 + k, 19:22, 19 + k // 2 : 22 + k // 2] = True
    fork = mask.copy()
    mask[15, 20, 22:25] = True
    kept, left, cut = _left(mask)
    assert cut["wide"] == cut["tangle"] == cut["leak_voxels"] == 0
    assert not kept[15, 20, 24]
    assert (kept & ~fork).sum() <= 2
    assert kept.sum() > 0.97 * fork.sum()
    assert left.parent[left.parent > 0].size == 2
    assert left.length_mm.sum() == pytest.approx(30 + 2 * 20, abs=8)


def test_a_balloon_is_cut_off():
    mask = _stem()
    z, y, x = np.ogrid[:60, :41, :41]
    balloon = (z - 42) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 13**2
    kept, _, cut = _left(mask | balloon)
    assert cut["wide"] >= 1
    assert cut["leak_voxels"] > 0.6 * balloon.sum()
    assert (kept & balloon).sum() < 0.3 * balloon.sum()
    assert kept[:25].sum() == mask[:25].sum()


def test_a_wide_tube_as_bright_as_lung_is_cut_off():
    mask = np.zeros((40, 21, 21), bool)
    mask[:, 8:13, 8:13] = True
    assert _left(mask)[0].all() == mask.all()
    assert _left(mask)[2]["leak_voxels"] == 0
    assert _left(mask, inner_hu=-830.0)[2]["leak_voxels"] > 0.8 * mask.sum()


def test_a_mesh_is_cut_off():
    mask = _stem()
    mesh = np.zeros(mask.shape, bool)
    mesh[30::6, 2:39, 2:39:6] = mesh[30::6, 2:39:6, 2:39] = mesh[30:, 2:39:6, 2:39:6] = True
    kept, _, cut = _left(mask | mesh)
    assert cut["tangle"] >= 1
    assert (kept & mesh).sum() < 0.25 * mesh.sum()
    assert kept[:28].sum() == mask[:28].sum()


# Images


def test_axes_do_not_matter():
    image, _, trunk = chest.make()
    plain = airways(image)
    assert chest.dice(_is(plain, LUMEN), trunk) > 0.85
    for code in ("RAI", "ASL"):
        turned = airways(sitk.DICOMOrient(image, code))
        assert images.orientation(turned) == code
        assert chest.dice(_is(images.canonical(turned), LUMEN), _is(plain, LUMEN)) > 0.98


def test_no_trachea_is_said(caplog):
    image, truth, _ = chest.make()
    values = images.array(image).copy()
    values[(truth == 0) & (values < -500)] = 30
    with caplog.at_level(logging.WARNING):
        label, facts = airways_with_facts(images.from_array(values, image))
    assert not images.array(label).any()
    assert facts["faults"] == ["no trachea was found, so there are no airways"]
    assert "no trachea was found" in caplog.text


def test_other_grids_are_refused():
    image, truth, _ = chest.make()
    lungs = images.from_array(truth, image)
    with pytest.raises(ValueError, match="lungs is on another grid"):
        airways(image, lungs[:50])
    with pytest.raises(ValueError, match="lungs is on another grid"):
        vessels(image, lungs[:50])
    with pytest.raises(ValueError, match="airways is on another grid"):
        vessels(image, lungs, lungs[:50])
    with pytest.raises(ValueError, match="no lung"):
        vessels(image, images.from_array(np.zeros_like(truth), image), lungs)


def test_vessels_are_tubes_of_any_width_and_nothing_else():
    radius = np.array([0.8, 1.5, 3.0])
    p0 = np.array([[12.0, 15.0, 8.0], [30.0, 20.0, 8.0], [50.0, 30.0, 8.0]])
    table = {"p0": p0, "p1": p0 + np.array([4.0, 22.0, 50.0]), "radius": radius}
    ct, label = tubes.scan(table, (66, 66, 66), 1.0, noise_hu=25.0)
    inside = np.zeros((66, 66, 66), np.uint8)
    inside[5:-5, 5:-5, 5:-5] = 1
    truth = images.array(label).astype(bool) & (inside > 0)
    nothing = images.from_array(np.zeros_like(inside), ct)
    found = _is(vessels(ct, images.from_array(inside, ct), nothing), 1)
    assert chest.dice(found, truth) > 0.85
    assert (found & (edt.edt(~truth, parallel=1) > 1.8)).sum() < 20
    # A wall of an airway is no vessel, where it is known.
    wall = (images.array(label) > 0).astype(np.uint8) * np.uint8(WALL)
    wall[:, :, :40] = 0
    found = _is(vessels(ct, images.from_array(inside, ct), images.from_array(wall, ct)), 1)
    assert not (found & (wall > 0)).any()
    assert found[:, :, :30].sum() > 0.8 * truth[:, :, :30].sum()


# Disagreement


def _block(*slices, shape=(40, 40, 40), spacing=1.0):
    values = np.zeros(shape, np.uint8)
    for part in slices:
        values[part] = 1
    return tubes.image(values, spacing)


def test_equal_maps_agree():
    one = _block(np.s_[10:20, 10:20, 10:20])
    found = disagreement(one, one)
    assert found["dice"] == found["ratio"] == 1.0
    assert found["a_ml"] == found["b_ml"] == 1.0
    assert found["hd95_mm"] == 0.0
    assert found["a_covered_pct"] == found["b_covered_pct"] == 100.0
    assert found["flags"] == []


def test_figures_by_hand_and_their_sentences():
    a = _block(np.s_[0:10, 10:20, 10:20])
    b = _block(np.s_[5:35, 10:20, 10:20])  # shares 5 of 10 planes, goes on for 25
    found = disagreement(a, b)
    assert found["dice"] == pytest.approx(2 * 5 / 40)
    assert found["ratio"] == pytest.approx(1 / 3)
    assert found["a_covered_pct"] == pytest.approx(70.0)  # planes 3 to 9
    assert found["b_covered_pct"] == pytest.approx(100 * 7 / 30)
    assert found["hd95_mm"] == pytest.approx(24.0, abs=1.0)
    assert found["flags"] == [
        "airways of the network and of region growing agree in 25 % only",
        "airways of region growing have 3.0 times the volume of those of the network",
        "airways: 23 % of what region growing found lies near what the network found, and 70 % "
        "the other way round",
    ]


def test_a_tree_that_the_other_covers_is_no_failure():
    a = _block(np.s_[0:40, 18:22, 18:22])
    b = _block(np.s_[0:25, 18:22, 18:22])  # region growing ends earlier
    assert disagreement(a, b)["flags"] == []


def test_where_and_which_codes_count():
    values = np.zeros((20, 20, 20), np.uint8)
    values[5:10], values[10:15] = LUMEN, WALL
    a, b = tubes.image(values, 1.0), _block(np.s_[5:10], shape=(20, 20, 20))
    assert disagreement(a, b, codes=[LUMEN])["dice"] == 1.0
    assert disagreement(a, b)["dice"] == pytest.approx(2 / 3)
    below = _block(np.s_[:10], shape=(20, 20, 20))
    assert disagreement(a, b, within=below)["dice"] == 1.0


@pytest.mark.parametrize(
    ("a", "b", "flag"),
    [
        ((), (), "vessels: neither the network nor region growing found any"),
        ((np.s_[:5],), (), "vessels: region growing found none, the network did"),
        ((), (np.s_[:5],), "vessels: the network found none, region growing did"),
    ],
)
def test_empty_maps(a, b, flag):
    found = disagreement(_block(*a), _block(*b), "vessels")
    assert found["flags"] == [flag]
    assert np.isnan(found["hd95_mm"])


def test_fine_voxels_are_joined_but_thin_structures_stay():
    shape = (90, 90, 90)
    a = _block(np.s_[:, 45, 45], shape=shape, spacing=0.5)
    b = _block(np.s_[:, 45, 53], shape=shape, spacing=0.5)
    assert disagreement(a, b)["hd95_mm"] == pytest.approx(4.0, abs=1.5)


def test_unknown_structures_and_other_grids_are_refused():
    one = _block(np.s_[:5])
    with pytest.raises(ValueError, match="structure 'heart' is unknown"):
        disagreement(one, one, "heart")
    with pytest.raises(ValueError, match="another grid"):
        disagreement(one, _block(shape=(30, 40, 40)))
