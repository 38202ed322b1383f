"""Pages on which scans are looked through: what they hold, their size, what must not be there."""

import base64
import gzip
import hashlib
import json
import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from unit import chest, viewer_case

from lungitude import canvas, images, label_names, panels, panels_heart
from lungitude.biomarkers.prm import CLASSES
from lungitude.reporting import pages, viewer


@pytest.fixture(scope="module")
def case():
    hu, maps = viewer_case.chest()
    image = viewer_case.image_of(hu)
    labels = {name: viewer_case.image_of(values) for name, values in maps.items()}
    return image, labels


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return viewer_case.page(tmp_path_factory.mktemp("viewer"))


def unpacked(text):
    """Return header and voxels (z, y, x) of a volume of a page."""
    data = gzip.decompress(base64.b64decode(text))
    size = struct.unpack_from("<8h", data, 40)[1:4]
    return data[:352], np.frombuffer(data, np.uint8, offset=352).reshape(size[::-1])


def data_of(page):
    """Return the data of a page, from its text."""
    found = re.search(r'<script type="application/json" id="volumes">(.*?)</script>', page)
    return json.loads(found[1])


def test_blocks_are_averaged_and_labels_taken_from_their_middle():
    values = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    found = viewer.coarse(values, (2, 3, 2))
    assert found.shape == (2, 2, 3)
    assert found[1, 0, 2] == pytest.approx(values[2:4, 0:3, 4:6].mean())
    thin = viewer.thinned(values, (2, 3, 2))
    assert thin.shape == (2, 2, 3)
    assert thin[1, 0, 2] == values[3, 1, 5]
    assert (viewer.thinned(values, (1, 1, 1)) == values).all()


@pytest.mark.parametrize(
    ("hu", "code"), [(-3000, 0), (-1024, 0), (-1020, 0), (-1016, 1), (0, 128), (1016, 255)]
)
def test_hu_are_stored_in_steps(hu, code):
    assert viewer.coded(np.array([hu], np.float32))[0] == code


def test_the_finest_step_that_is_near_the_target_is_taken():
    assert viewer.factors_for((0.625, 0.7, 0.7), 2.0) == (3, 3, 3)
    assert viewer.factors_for((5.0, 0.7, 0.7), 2.0) == (1, 3, 3)


def test_a_volume_is_a_nifti_file_that_others_read(case, tmp_path):
    found = viewer.volumes(*case)
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(base64.b64decode(found["scan"]))
    image = sitk.ReadImage(str(path))
    assert list(image.GetSize()) == found["size"]
    assert image.GetSpacing() == pytest.approx(found["spacing"])
    middle = [(n - 1) / 2 for n in found["size"]]
    assert image.TransformContinuousIndexToPhysicalPoint(middle) == pytest.approx((0, 0, 0))
    # Where the page begins, scan and labels are those of the chest at the same place.
    x, y, z = found["start"]
    right = sitk.GetArrayFromImage(image)[z, y, x]
    assert right == pytest.approx(-860, abs=70)
    lobes = next(layer for layer in found["layers"] if layer["key"] == "lobes")
    code = unpacked(lobes["codes"])[1][z, y, x]
    assert code in (1, 2, 3)  # of the right lung: larger x in the axes of NIfTI
    assert x > found["size"][0] / 2


def test_labels_lie_on_what_they_name(case):
    found = viewer.volumes(*case)
    scan = unpacked(found["scan"])[1] * 8.0 - 1024
    layers = {layer["key"]: unpacked(layer["codes"])[1] for layer in found["layers"]}
    assert np.median(scan[layers["lobes"] > 0]) == pytest.approx(-860, abs=10)
    assert np.median(scan[layers["airways"] == 1]) == pytest.approx(-1000, abs=10)
    # On the whole, none is moved: the share of each code is that of the scan.
    image, labels = case
    for key, codes in layers.items():
        whole = images.array(labels[key])
        ml = np.prod(found["spacing"]) / np.prod(image.GetSpacing())
        for code in np.unique(whole[whole > 0]):
            assert (codes == code).sum() * ml == pytest.approx((whole == code).sum(), rel=0.1)


def test_other_axes_give_the_same_picture(case):
    image, labels = case
    turned = sitk.DICOMOrient(image, "ASL")
    names = {key: sitk.DICOMOrient(one, "ASL") for key, one in labels.items()}
    assert viewer.volumes(turned, names) == viewer.volumes(image, labels)


def test_a_large_noisy_scan_is_made_small_enough():
    plain, truth, _ = chest.make()
    grid = sitk.Image(320, 250, 250, sitk.sitkInt16)
    grid.SetSpacing((1.0, 1.0, 1.0))
    grid.SetOrigin(plain.GetOrigin())
    image = sitk.Resample(plain, grid, sitk.Transform(), sitk.sitkLinear, -1000.0)
    noise = np.random.default_rng(0).normal(0, 40, (250, 250, 320)).astype(np.int16)
    image = images.from_array(images.array(image) + noise, image)
    lungs = images.from_array(truth, plain)
    lungs = sitk.Resample(lungs, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
    found = viewer.volumes(image, {"lungs": lungs})
    total = len(found["scan"]) + sum(len(layer["codes"]) for layer in found["layers"])
    assert total <= viewer.BUDGET_BYTES
    assert found["coarse"]
    assert max(found["spacing"]) < 4.5
    # It is cut to the lungs, and no lung is cut off.
    extent = [n * d for n, d in zip(found["size"], found["spacing"], strict=True)]
    assert extent[0] < 300
    kept = (unpacked(found["layers"][0]["codes"])[1] > 0).sum() * np.prod(found["spacing"])
    assert kept == pytest.approx((images.array(lungs) > 0).sum(), rel=0.02)


def test_padding_is_air():
    values = np.full((8, 8, 8), images.PADDING_HU, np.int16)
    values[::2] = -1000
    image = sitk.GetImageFromArray(values)
    codes = unpacked(viewer.volumes(image, {})["scan"])[1]
    assert codes.max() <= 3


def test_a_scan_without_labels_begins_in_its_middle():
    image = sitk.GetImageFromArray(np.zeros((20, 30, 40), np.int16))
    image.SetSpacing((4.0, 4.0, 4.0))
    found = viewer.volumes(image, {})
    assert found["start"] == [20, 15, 10]
    assert found["layers"] == []


def test_another_grid_is_refused(case):
    image, labels = case
    with pytest.raises(ValueError, match="lobes is on another grid"):
        viewer.volumes(image, {"lobes": labels["lobes"][1:, :, :]})


def test_names_and_colours_are_those_of_the_measures():
    assert CLASSES == viewer.PRM
    assert viewer.LAYERS["lobes"][1] == panels.LOBE_COLOURS
    assert viewer.LAYERS["lungs"][1] == panels.SIDE_COLOURS
    assert viewer.LAYERS["prm"][1] == panels.PRM_COLOURS
    assert viewer.LAYERS["vessels"][1] == panels.VESSEL_COLOURS
    assert viewer.LAYERS["coronary"][1] == panels_heart.VESSEL_COLOURS
    safe = {canvas.ORANGE, canvas.SKY, canvas.GREEN, canvas.YELLOW, canvas.BLUE}
    safe |= {canvas.VERMILION, canvas.PURPLE, "#FFFFFF"}
    for key, (_, colours) in viewer.LAYERS.items():
        assert set(colours.values()) <= safe
        assert len(set(colours.values())) == len(colours)
        if key in label_names.STRUCTURES:
            assert set(label_names.STRUCTURES[key].values()) == set(colours)
        for code in colours:
            assert viewer.name_of(key, code, list(colours))


def test_undivided_structures_are_named_so():
    assert viewer.name_of("vessels", 1, [1]) == "vessel"
    assert viewer.name_of("vessels", 1, [1, 2]) == "artery"
    assert viewer.name_of("coronary", 1, [1]) == "coronary"


def test_the_phase_nearest_to_diastole_is_shown():
    percent = [float(5 * k) for k in range(20)]
    assert viewer.phase_of(percent, "percent", 20) == (
        15,
        "75% of the cardiac cycle, one of 20 phases",
    )
    assert viewer.phase_of([0.0, 40.0], "ms", 2)[0] == 0
    assert viewer.phase_of(None, None, 3)[1] == "the first of 3 phases of the cardiac cycle"


def test_the_page_holds_what_is_asked(written):
    page = written.read_text(encoding="utf-8")
    data = data_of(page)
    keys = [layer["key"] for layer in data["layers"]]
    assert keys == ["lobes", "prm", "airways", "vessels"]
    assert "<h1>P001 &middot; Week &lt;6&gt; &middot; hrct_insp</h1>" in page
    assert "0123456789abcdef" in page
    place = pages.anchor("P001", "Week <6>")
    assert f'href="../../../quality.html#{place}"' in page
    assert 'href="../baseline/hrct_insp.html"' in page
    assert page.count('aria-current="page"') == 1
    assert '<script src="../../../assets/niivue.js"></script>' in page
    assert "right middle lobe" in page
    assert "Synthetic trial" in page
    assert "Arms are not shown" in page


def test_no_text_of_the_header_gets_into_the_page(written):
    page = written.read_bytes()
    data = data_of(page.decode())
    assert b"DOE" not in page
    for volume in [data["scan"], *(layer["codes"] for layer in data["layers"])]:
        header, _ = unpacked(volume)
        kept = bytearray(header)
        # Beyond the geometry, which is told to the byte, all is empty.
        for start, stop in ((0, 4), (40, 56), (70, 74), (76, 124), (252, 256), (280, 328)):
            kept[start:stop] = bytes(stop - start)
        kept[344:348] = bytes(4)
        assert not any(kept)
        assert b"DOE" not in gzip.decompress(base64.b64decode(volume))


def test_the_page_is_small_and_the_same_each_time(written, tmp_path):
    again = viewer_case.page(tmp_path)
    assert again.read_bytes() == written.read_bytes()
    assert written.stat().st_size < 1.2 * viewer.BUDGET_BYTES


def test_only_its_own_script_may_run(written):
    page = written.read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.S)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' file: 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\son\w+=", page.partition("<script")[0])


def test_an_excluded_scan_says_why(tmp_path):
    inputs = viewer_case.write(tmp_path / "visit", status="excluded")
    inputs["image"].write_bytes(b"")
    page = viewer_case.page(tmp_path, inputs).read_text(encoding="utf-8")
    assert "This scan was excluded. ingest: 3 slices &lt;missing&gt; &amp; more." in page
    assert "<script" not in page


def test_a_label_map_that_can_not_be_shown_is_named(tmp_path):
    inputs = viewer_case.write(tmp_path / "visit", leave_out=("vessels", "prm"))
    _, maps = viewer_case.chest()
    images.write(viewer_case.image_of(maps["airways"][1:]), inputs["structures"][0])
    page = viewer_case.page(tmp_path, inputs).read_text(encoding="utf-8")
    assert [layer["key"] for layer in data_of(page)["layers"]] == ["lobes"]
    assert "Vessels: not shown; the label map is an empty file." in page
    assert "Airways: not shown; label map airways.nii.gz is on another grid" in page


def test_a_gated_scan_is_shown_at_diastole(tmp_path):
    hu, maps = viewer_case.chest()
    phases = [viewer_case.image_of(np.full_like(hu, -900 + 300 * k)) for k in range(4)]
    heart = [viewer_case.image_of(maps["lobes"] * (k == 3)) for k in range(4)]
    inputs = viewer_case.write(tmp_path / "visit")
    images.write(images.join_cycle(phases), inputs["image"])
    images.write(images.join_cycle(heart), inputs["structures"][0])
    record = json.loads(inputs["record"].read_text())
    record |= {"phases": [0.0, 25.0, 50.0, 75.0], "phases_unit": "percent"}
    inputs["record"].write_text(json.dumps(record))
    inputs |= {"lungs": [], "lungs_record": [], "prm": [], "structures": inputs["structures"][:1]}
    changes = {"columns": ["HEART"], "cycle": True, "windows": ["contrast"]}
    page = viewer_case.page(tmp_path, inputs, **changes).read_text(encoding="utf-8")
    data = data_of(page)
    assert unpacked(data["scan"])[1].max() == viewer.coded(np.array([0.0]))[0]
    assert unpacked(data["layers"][0]["codes"])[1].any()
    assert data["windows"][0]["id"] == "contrast"
    assert "75% of the cardiac cycle, one of 4 phases" in page


def test_the_bundle_is_the_published_one():
    digest = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
    assert hashlib.sha256(viewer_case.BUNDLE.read_bytes()).hexdigest() == digest
    told = (viewer_case.BUNDLE.parent / "README.md").read_text(encoding="utf-8")
    assert digest in told
    assert "BSD 2-Clause" in (viewer_case.BUNDLE.parent / "LICENSES.txt").read_text()
