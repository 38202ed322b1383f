"""Label maps, boxes and geometric truth of the phantom."""

import cc3d
import numpy as np
import pytest
from unit.phantom_case import ROW

from lungitude.phantom import airways, labels, lesions, render, truth, vessels

SECTION = {"voxel_mm": [3.0, 3.0, 3.0], "expiration_voxel_mm": [4.0, 4.0, 4.0]}


@pytest.fixture(scope="module")
def scans():
    return render.render(render.prepare(ROW, SECTION), labels=labels.NAMES)


@pytest.fixture(scope="module")
def fine(scans):
    """Part of the right lung around and below its hilum."""
    grid = render.box((-85, -30, -60), (-20, 40, 20), 0.8)
    return render.render_box(scans["insp"].record, "insp", grid, labels=labels.NAMES)


def _pieces(mask):
    return cc3d.connected_components(mask.astype(np.uint8), connectivity=26, return_N=True)[1]


def test_each_phase_has_its_own_voxel(scans):
    assert scans["insp"].grid.spacing_mm == (3.0, 3.0, 3.0)
    assert scans["exp"].grid.spacing_mm == (4.0, 4.0, 4.0)
    found = render.truth(scans)
    assert abs(found["laa950_pct"] - 12.0) < 0.3
    assert abs(found["fsad_pct"] - 28.0) < 1.0
    again = render.render(scans["insp"].record, voxel_mm={"insp": (4.0, 4.0, 4.0)})
    assert again["insp"].grid.spacing_mm == again["exp"].grid.spacing_mm == (4.0, 4.0, 4.0)


def test_airways_are_one_piece_at_any_voxel(scans, fine):
    for phase in ("insp", "exp"):
        found = scans[phase].labels["airways"]
        assert _pieces(found == 1) == 1
        assert _pieces(found > 0) == 1
    # In the fine image walls surround the lumen: hardly any of it meets what is neither.
    lumen, around = fine.labels["airways"] == 1, fine.labels["airways"] > 0
    steps = [np.diff(lumen.astype(np.int8) + 2 * around.astype(np.int8), axis=a) for a in range(3)]
    bare = sum(int((np.abs(step) == 3).sum()) for step in steps)
    assert bare < 0.1 * sum(int((np.abs(step) > 0).sum()) for step in steps)


def test_branches_are_named_where_airways_are(scans):
    scan = scans["insp"]
    branches, found = scan.labels["airway_branches"], scan.labels["airways"]
    assert np.array_equal(branches > 0, found > 0)
    tree = airways.tree(scan.record)
    assert branches.max() <= len(tree["radius"])
    assert len(np.unique(branches)) > 0.95 * len(tree["radius"])
    middle = 0.5 * (tree["p0"] + tree["p1"]) * scan.record.scale
    at = tuple(np.rint(scan.grid.index(middle)).astype(int).T)
    assert (branches[at] == np.arange(1, len(middle) + 1)).mean() > 0.85


def test_lumen_label_has_the_volume_of_the_lumen(fine):
    wide = fine.labels["airways"] == 1
    # Thin branches are marked along their line, so the label is rather larger.
    assert 0.95 < wide.sum() / fine.covers["lumen"].sum() < 1.3


def test_vessels_lie_in_the_lungs_and_show_what_can_be_seen(scans, fine):
    for scan in (*scans.values(), fine):
        found = scan.labels["vessels"]
        assert set(np.unique(found)) == {0, 1, 2}
        assert (scan.lobes[found > 0] > 0).all()
    covered = fine.covers["vessels"] * (fine.lobes > 0)
    marked = fine.labels["vessels"] > 0
    assert fine.covers["vessels"][marked].mean() > 0.5
    assert 0.7 < marked.sum() / covered.sum() < 1.3
    tree = vessels.tree(fine.record)
    thick = tree["radius"] >= vessels.VISIBLE_MM
    middle = (0.5 * (tree["p0"] + tree["p1"]) * fine.record.scale)[thick]
    at = np.rint(fine.grid.index(middle)).astype(int)
    inside = ((at >= 0) & (at < fine.grid.shape)).all(axis=1)
    at = tuple(at[inside].T)
    lung = fine.lobes[at] > 0
    kinds = fine.labels["vessels"][at]
    assert (kinds[lung] > 0).all()
    assert (kinds[lung] == tree["kind"][thick][inside][lung]).mean() > 0.9


def test_emphysema_is_labelled_by_subtype(scans):
    scan = scans["insp"]
    found = scan.labels["emphysema"]
    assert set(np.unique(found)) == {0, 1, 2}
    assert (scan.lobes[found > 0] > 0).all()
    assert scan.covers["emphysema"][found > 0].mean() > 0.75
    table = lesions.table(scan.record, "emphysema", scan.record.emphysema_spheres)
    volume = np.bincount(table["subtype"], table["radius"] ** 3, minlength=3)
    share = volume[lesions.PARASEPTAL] / volume.sum()
    assert share == pytest.approx(scan.record.body["paraseptal"], abs=0.02)


def test_paraseptal_lesions_touch_the_pleura_and_centrilobular_ones_do_not(scans):
    from lungitude.phantom import anatomy

    case = scans["insp"].record
    table = lesions.table(case, "emphysema", 2000)
    depth = anatomy.lungs(*table["centre"].T, case.body)
    at_pleura = table["subtype"] == lesions.PARASEPTAL
    assert at_pleura.sum() > 50
    assert (depth[at_pleura] - table["radius"][at_pleura] < 5.0).all()
    assert (depth[~at_pleura] >= table["radius"][~at_pleura]).all()
    assert table["radius"].min() >= 2.8
    assert table["radius"].max() <= 9.0


def test_a_longer_list_of_lesions_begins_with_the_shorter():
    case = render.prepare(ROW, SECTION)
    for kind in lesions.KINDS:
        short, long = (lesions.table(case, kind, count) for count in (200, 9000))
        assert len(short["radius"]) == 200
        assert len(long["radius"]) == 9000
        for name in short:
            assert np.array_equal(short[name], long[name][:200])
    with pytest.raises(ValueError, match="lesions 'tumour'"):
        lesions.table(case, "tumour", 5)


def test_a_box_shows_what_the_whole_shows(scans):
    whole = scans["insp"]
    first = (12, 20, 16)  # z, y, x
    origin = [o + 3.0 * n for o, n in zip(whole.grid.origin_mm, first[::-1], strict=True)]
    grid = render.Grid(tuple(origin), (3.0, 3.0, 3.0), (30, 24, 28))
    part = render.render_box(whole.record, "insp", grid)
    place = tuple(slice(n, n + m) for n, m in zip(first, grid.shape, strict=True))
    assert part.t1 == pytest.approx(whole.t1[place], abs=0.5)
    assert np.array_equal(part.lobes, whole.lobes[place])
    assert part.labels == {}


def test_lesion_counts_hold_on_another_grid(scans):
    case = scans["insp"].record
    for voxel, least, most in ((2.0, 0.97, 1.25), (4.0, 0.7, 1.0)):
        scan = render.render(case, ("insp",), (voxel,) * 3)["insp"]
        assert scan.record.emphysema_spheres == case.emphysema_spheres
        # Finer voxels blur less of a sphere away.
        assert least < truth.density(scan)["laa950_pct"] / 12.0 < most


def test_what_cannot_be_is_refused(scans):
    record = render.prepare(ROW, SECTION)
    grid = render.box((-60, -20, -20), (-20, 20, 20), 2.0)
    with pytest.raises(ValueError, match=r"S001 Baseline: its lesions are not counted"):
        render.render_box(record, "insp", grid)
    with pytest.raises(ValueError, match="label map 'bones'"):
        render.render_box(scans["insp"].record, "insp", grid, labels=("bones",))
    with pytest.raises(ValueError, match="phase 'systole'"):
        render.render_box(scans["insp"].record, "systole", grid)
    with pytest.raises(ValueError, match="no box"):
        render.box((0, 0, 0), (0, 1, 1), 1.0)
    with pytest.raises(ValueError, match="does not fit the grid"):
        grid.image(np.zeros((2, 2, 2)))


def test_an_image_has_the_grid_of_its_scan(fine):
    image = fine.grid.image(render.deliver(fine))
    assert image.GetSize() == fine.grid.shape[::-1]
    assert image.GetSpacing() == pytest.approx(fine.grid.spacing_mm)
    corner = image.TransformIndexToPhysicalPoint([3, 5, 7])
    assert fine.grid.index([corner])[0] == pytest.approx([7.0, 5.0, 3.0])


def test_geometry_is_told_without_an_image(scans):
    case = scans["insp"].record
    found = truth.geometric(case, step_mm=3.0)
    assert found["volume_insp_ml"] == pytest.approx(5500.0)
    assert found["expiration_ratio"] == pytest.approx(0.65)
    lobes = [value for name, value in found.items() if name.startswith("lobe_")]
    assert sum(lobes) == pytest.approx(100.0)
    union = found["centrilobular_pct"] + found["paraseptal_pct"]
    assert union == pytest.approx(found["emphysema_pct"])
    measured = truth.density(scans["insp"])
    assert found["emphysema_pct"] > measured["laa950_pct"]
    finer = truth.geometric(case, step_mm=2.0)
    assert finer["emphysema_pct"] == pytest.approx(found["emphysema_pct"], abs=0.15)
    assert {"pi10_mm", "bv5_pct", "ef_pct", "fractal_dimension"} <= set(found)
