"""Label maps of other software: names, codes, folders of masks and grids, known by construction.

The labels of TotalSegmentator on a real CT are not part of the project: their test reads the folder
named by LUNGITUDE_REALDATA, and is skipped where there is none.
"""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from helpers import ROOT
from lungitude import external, images, label_names
from lungitude.biomarkers.agatston import VESSELS
from lungitude.biomarkers.ventricle import LV_BLOOD, MYOCARDIUM, RV_BLOOD
from lungitude.phantom import cardiac

REAL = Path(os.environ.get("LUNGITUDE_REALDATA", ROOT.parent / "shared" / "realdata"))
CTA = REAL / "totalseg_cta"
LOBES = {
    "lung_upper_lobe_right": 1,
    "lung_middle_lobe_right": 2,
    "lung_lower_lobe_right": 3,
    "lung_upper_lobe_left": 4,
    "lung_lower_lobe_left": 5,
}


@pytest.fixture
def scan():
    image = sitk.Image(24, 20, 16, sitk.sitkInt16)
    image.SetSpacing((1.0, 1.5, 2.0))
    image.SetOrigin((-30.0, 10.0, 100.0))
    return image


def boxes(scan, codes, first=2):
    """Label map with a box of 2 x 6 x 6 voxels a code, side by side from the right."""
    values = np.zeros(scan.GetSize()[::-1], np.uint8)
    for number, code in enumerate(codes):
        values[5:11, 5:11, first + 3 * number : first + 3 * number + 2] = code
    return images.from_array(values, scan)


def one_each(folder, scan, names):
    """Write a folder with a mask a name, as TotalSegmentator does without --ml."""
    folder.mkdir()
    whole = images.array(boxes(scan, range(1, len(names) + 1)))
    for number, name in enumerate(names, start=1):
        mask = images.from_array((whole == number).astype(np.uint8), scan)
        images.write(mask, folder / f"{name}.nii.gz")
    return folder


def counts(labels):
    values, found = np.unique(images.array(labels), return_counts=True)
    return dict(zip(values[1:].tolist(), found[1:].tolist(), strict=True))


def with_names(path, names):
    """Put names of labels into the header of an uncompressed NIfTI, as TotalSegmentator does."""
    table = "".join(
        f'<Label Key="{code}" Red="1" Green="0" Blue="0" Alpha="1"><![CDATA[{name}]]></Label>\n'
        for code, name in names.items()
    )
    text = f'<?xml version="1.0"?> <CaretExtension><LabelTable>{table}</LabelTable>'.encode()
    text += b" " * (-(len(text) + 8) % 16)
    data = bytearray(path.read_bytes())
    voxels = data[int(struct.unpack_from("<f", data, 108)[0]) :]
    struct.pack_into("<f", data, 108, 352 + 8 + len(text))
    extension = struct.pack("<ii", 8 + len(text), 0) + text
    path.write_bytes(bytes(data[:348]) + b"\1\0\0\0" + extension + bytes(voxels))
    return path


# --- Names and codes -----------------------------------------------------------------------------


def test_codes_are_those_of_the_measures():
    heart = label_names.STRUCTURES["heart"]
    assert {code: part for part, code in heart.items()} == cardiac.LABELS
    codes = [heart[part] for part in ("LV blood", "LV myocardium", "RV blood")]
    assert codes == [LV_BLOOD, MYOCARDIUM, RV_BLOOD]
    coronary = dict(label_names.STRUCTURES["coronary"])
    assert coronary.pop("coronary") == 1  # a mask of 1 alone is scored as a whole
    assert coronary == VESSELS


@pytest.mark.parametrize(
    ("name", "structure", "expected"),
    [
        ("totalsegmentator", "lobes", {10: 4, 11: 5, 12: 1, 13: 2, 14: 3}),
        ("totalsegmentator_v1", "lobes", {13: 4, 14: 5, 15: 1, 16: 2, 17: 3}),
        ("lungmask", "lungs", {1: 1, 2: 2}),
        ("lungmask_lobes", "lobes", {1: 4, 2: 5, 3: 1, 4: 2, 5: 3}),
        ("totalsegmentator_lung_vessels", "airways", {1: 1, 2: 2}),
        ("totalsegmentator_lung_vessels", "vessels", {3: 1, 4: 2}),
        ("totalsegmentator_lung_vessels_legacy", "airways", {2: 1}),
        ("totalsegmentator_lung_vessels_legacy", "vessels", {1: 1}),
        ("totalsegmentator_coronary_arteries", "coronary", {1: 1}),
        (
            "totalsegmentator_heartchambers_highres",
            "heart",
            {1: 2, 2: 4, 3: 1, 4: 5, 5: 3, 6: 6, 7: 7},
        ),
        ("totalsegmentator_v1", "heart", {44: 2, 45: 4, 46: 1, 47: 5, 48: 3, 7: 6, 49: 7}),
        ("lobes", "lobes", {n: n for n in range(1, 7)}),
        ("vessels", "vessels", {1: 1, 2: 2}),
        ("heart", "heart", {n: n for n in range(1, 8)}),
    ],
)
def test_published_codes(name, structure, expected):
    pairs, scheme = label_names.code_pairs(name, None, (structure,))
    assert pairs == expected
    assert scheme == structure


def test_columns_that_a_task_fills():
    told = {name: label_names.columns_of(name) for name in label_names.MAPS}
    assert told["totalsegmentator"] == ["LABELS"]  # a whole heart and an aorta are no ventricle
    assert told["totalsegmentator_lung_vessels"] == ["AIRWAYS", "VESSELS"]
    assert told["totalsegmentator_heartchambers_highres"] == ["HEART"]
    assert told["totalsegmentator_coronary_arteries"] == ["CORONARY"]
    assert told["totalsegmentator_v1"] == ["LABELS", "HEART"]
    assert all(told.values())


def test_names_are_found_however_they_are_written():
    found = label_names.resolve(["Right Upper-Lobe", "liver", "lung_lower_lobe_left"], "lobes")
    assert found == {"RUL": "Right Upper-Lobe", "LLL": "lung_lower_lobe_left"}
    assert label_names.resolve(["pulmonary_vein", "pulmonary_artery"], "vessels") == {}


def test_a_whole_counts_only_where_its_parts_are_not_told():
    whole = label_names.resolve(["lung_vessels", "lung_arteries"], "vessels")
    assert whole == {"vessel": "lung_vessels"}
    parts = label_names.resolve(["lung_vessels", "lung_arteries", "lung_veins"], "vessels")
    assert set(parts) == {"artery", "vein"}
    assert label_names.choose(["coronary_arteries"], ("coronary",))[1] == {
        "coronary": "coronary_arteries"
    }


def test_two_names_for_one_part_are_an_error():
    with pytest.raises(ValueError, match="'aorta' and 'Aorta' both name aorta"):
        label_names.resolve(["aorta", "Aorta"], "heart")


def write_dataset(folder, content):
    path = folder / "dataset.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_labels_of_an_nnunet(tmp_path):
    labels = {"background": 0, "RV": 1, "MLV": 2, "LVC": 3, "ignore": 4}
    path = write_dataset(tmp_path, {"labels": labels, "file_ending": ".nii.gz"})
    assert label_names.dataset_codes(path) == {"RV": [1], "MLV": [2], "LVC": [3]}
    assert label_names.code_pairs(path, None, ("heart",)) == ({3: 1, 2: 2, 1: 3}, "heart")
    regions = {"background": 0, "lung right": [1, 3], "lung left": [2, 4], "tumour": [3, 4]}
    path = write_dataset(tmp_path, {"labels": regions})
    assert label_names.code_pairs(path)[0] == {1: 1, 3: 1, 2: 2, 4: 2}
    path = write_dataset(tmp_path, {"labels": {"0": "background", "1": "left", "2": "right"}})
    assert label_names.code_pairs(path)[0] == {2: 1, 1: 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not the dataset.json of an nnU-Net"),
        ({"plans": 1}, "not the dataset.json of an nnU-Net"),
        ({"labels": {"lumen": "one"}}, "'lumen' has no whole number"),
        ({"labels": {"liver": 1, "spleen": 2}}, r"no lobes and no lungs .*\(liver, spleen\)"),
    ],
)
def test_files_that_are_no_labels_of_an_nnunet(tmp_path, content, words):
    with pytest.raises(ValueError, match=words):
        label_names.code_pairs(write_dataset(tmp_path, content))


@pytest.mark.parametrize(
    ("names", "structures", "masks", "words"),
    [
        ("slicer", ("lungs",), False, "'slicer' is unknown"),
        ("slicer", ("lungs",), True, "'slicer' is unknown"),
        ("gone/dataset.json", ("lungs",), False, "no such file"),
        ("totalsegmentator", ("heart",), False, "LV blood, LV myocardium of the heart"),
        ("totalsegmentator_lung_vessels", ("lobes",), False, "no lobes among the names"),
        ({"LV": 1}, ("heart",), False, r"\['LV'\] are no heart; known: LV blood"),
        ({"LV blood": "lv"}, ("heart",), False, "names are for masks"),
        ({"1": 9}, ("heart",), False, r"codes \[9\]"),
        ({"1": 1}, ("heart",), True, "a folder of masks has names"),
        ({"1": 1}, ("liver",), False, "'liver' is unknown"),
    ],
)
def test_label_maps_that_cannot_be_right(names, structures, masks, words):
    with pytest.raises(ValueError, match=words):
        label_names.check(names, structures, masks)


@pytest.mark.parametrize("names", [None, "named", "lungmask", {"right": "r"}])
def test_label_maps_that_can(names):
    label_names.check(names, ("lungs",), masks=True)


# --- Label maps ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "structures", "codes", "expected", "parts"),
    [
        ("totalsegmentator", ("lobes", "lungs"), [12, 13, 14, 51, 10, 11], [1, 2, 3, 0, 4, 5], 5),
        ("totalsegmentator_lung_vessels", ("vessels",), [1, 2, 3, 4], [0, 0, 1, 2], 2),
        ("totalsegmentator_lung_vessels", ("airways",), [1, 2, 3, 4], [1, 2, 0, 0], 2),
        ({"LV blood": [7, 9], "LV myocardium": 8}, ("heart",), [7, 8, 9], [1, 2, 1], 2),
        ({"5": 1}, ("airways",), [4, 5], [0, 1], 1),
    ],
)
def test_codes_become_ours(tmp_path, scan, names, structures, codes, expected, parts):
    images.write(boxes(scan, codes), tmp_path / "labels.nii.gz")
    found, facts = external.read(tmp_path / "labels.nii.gz", scan, names, structures)
    assert np.array_equal(images.array(found), images.array(boxes(scan, expected)))
    images.check_grid(scan, found)
    assert len(facts["names"]) == parts
    assert (facts["form"], facts["resampled"], facts["inside_pct"]) == ("label map", False, 100.0)
    assert facts["flag"] == ""


def test_axes_of_the_file_do_not_matter(tmp_path, scan):
    turned = sitk.DICOMOrient(boxes(scan, [3, 4]), "RAI")
    images.write(turned, tmp_path / "labels.nrrd")
    names = "totalsegmentator_lung_vessels"
    found, facts = external.read(tmp_path / "labels.nrrd", scan, names, ("vessels",))
    assert np.array_equal(images.array(found), images.array(boxes(scan, [1, 2])))
    assert not facts["resampled"]


def test_a_map_without_the_labels_that_are_wanted(tmp_path, scan):
    images.write(boxes(scan, [1, 2]), tmp_path / "labels.nii.gz")
    with pytest.raises(images.ScanError, match=r"labels.nii.gz: none of the codes \[10, 11, 12"):
        external.read(tmp_path / "labels.nii.gz", scan, "totalsegmentator")


def test_names_in_the_header_are_used_and_held_against_the_map(tmp_path, scan):
    version_1 = {code: name for name, code in label_names.MAPS["totalsegmentator_v1"].items()}
    images.write(boxes(scan, [15, 16, 17, 13, 14]), tmp_path / "ml.nii")
    path = with_names(tmp_path / "ml.nii", version_1)
    assert external.carried_names(path) == version_1
    found, facts = external.read(path, scan, "named")
    assert np.array_equal(images.array(found), images.array(boxes(scan, [1, 2, 3, 4, 5])))
    assert facts["names"]["RUL"] == ["lung_upper_lobe_right"]
    assert counts(external.read(path, scan, "totalsegmentator_v1")[0]) == counts(found)
    with pytest.raises(images.ScanError, match=r"calls 13 'lung_upper_lobe_left'.*another version"):
        external.read(path, scan, "totalsegmentator")
    # What a user says of a code stands, unless the file calls it another part.
    assert counts(external.read(path, scan, {"right": 43, "left": [13, 14]})[0]) == {2: 144}
    with pytest.raises(images.ScanError, match="takes that for RML"):
        external.read(path, scan, {"RML": 13}, ("lobes",))


def test_a_file_without_names_needs_a_map(tmp_path, scan):
    images.write(boxes(scan, [1, 2]), tmp_path / "labels.nii.gz")
    with pytest.raises(images.ScanError, match="carries no names"):
        external.read(tmp_path / "labels.nii.gz", scan)
    assert external.carried_names(tmp_path / "labels.nii.gz") == {}


# --- Folders of masks ----------------------------------------------------------------------------


@pytest.mark.parametrize("names", [None, "totalsegmentator"])
def test_one_mask_a_structure(tmp_path, scan, names):
    folder = one_each(tmp_path / "masks", scan, [*LOBES, "heart"])
    (folder / "statistics.json").write_text("{}")
    found, facts = external.read(folder, scan, names)
    assert np.array_equal(images.array(found), images.array(boxes(scan, LOBES.values())))
    assert (facts["form"], facts["structure"]) == ("masks", "lobes")
    assert facts["names"]["LLL"] == ["lung_lower_lobe_left"]


def test_masks_by_the_names_that_are_told(tmp_path, scan):
    folder = one_each(tmp_path / "masks", scan, ["bronchi", "trachea", "liver"])
    found, facts = external.read(folder, scan, {"lumen": ["bronchi", "trachea"]}, ("airways",))
    assert counts(found) == {1: 144}
    assert facts["names"] == {"lumen": ["bronchi", "trachea"]}
    with pytest.raises(images.ScanError, match="masks: no mask ducts in this folder"):
        external.read(folder, scan, {"lumen": "ducts"}, ("airways",))
    with pytest.raises(ValueError, match=r"\['tube'\] are no airways"):
        external.read(folder, scan, {"tube": "trachea"}, ("airways",))


def test_an_empty_mask_is_no_fault_but_an_absent_one_is(tmp_path, scan):
    folder = one_each(tmp_path / "masks", scan, LOBES)
    empty = images.from_array(np.zeros((16, 20, 24), np.uint8), scan)
    images.write(empty, folder / "lung_middle_lobe_right.nii.gz")  # a lobe that was taken out
    assert set(counts(external.read(folder, scan)[0])) == {1, 3, 4, 5}
    (folder / "lung_middle_lobe_right.nii.gz").unlink()
    with pytest.raises(images.ScanError, match="no RML of the lobes among the names of its masks"):
        external.read(folder, scan)
    for name in LOBES:
        images.write(empty, folder / f"{name}.nii.gz")
    with pytest.raises(images.ScanError, match="all masks are empty: lung_upper_lobe_right"):
        external.read(folder, scan)


def test_where_masks_overlap_the_first_part_counts(tmp_path, scan):
    folder = one_each(tmp_path / "masks", scan, ["lung_airways", "lung_airways_wall"])
    images.write(boxes(scan, [1, 1]), folder / "lung_airways_wall.nii.gz")  # wall over the lumen
    found, facts = external.read(folder, scan, None, ("airways",))
    assert counts(found) == {1: 72, 2: 72}
    assert facts["overlap_pct"] == 50.0


def test_files_that_are_no_masks(tmp_path, scan):
    folder = one_each(tmp_path / "masks", scan, ["lumen"])
    images.write(boxes(scan, [1, 2]), folder / "lumen.nii.gz")
    with pytest.raises(images.ScanError, match=r"lumen.nii.gz: holds \[0, 1, 2\]; a mask has one"):
        external.read(folder, scan, None, ("airways",))
    images.write(boxes(scan, [255]), folder / "lumen.nrrd")
    with pytest.raises(images.ScanError, match="two files are named lumen"):
        external.read(folder, scan, None, ("airways",))
    (folder / "lumen.nii.gz").unlink()
    assert counts(external.read(folder, scan, None, ("airways",))[0]) == {1: 72}
    (tmp_path / "nothing").mkdir()
    with pytest.raises(images.ScanError, match="nothing: no masks in this folder"):
        external.read(tmp_path / "nothing", scan)


# --- Grids ---------------------------------------------------------------------------------------


def test_another_grid_is_brought_onto_the_scan(tmp_path, scan):
    labels = boxes(scan, [1, 2])
    images.write(labels, tmp_path / "same.nii.gz")
    larger = sitk.ConstantPad(labels, (7, 0, 3), (2, 9, 0), 0)
    smaller = labels[1:20, 3:15, 2:14]
    for name, other in (("larger", larger), ("smaller", smaller)):
        images.write(other, tmp_path / f"{name}.nii.gz")
        found, facts = external.read(tmp_path / f"{name}.nii.gz", scan, "lungs")
        images.check_grid(scan, found)
        assert np.array_equal(images.array(found), images.array(labels))
        assert facts["resampled"]
        assert (facts["inside_pct"], facts["flag"]) == (100.0, "")
        with pytest.raises(images.ScanError, match=f"{name}.nii.gz: .*another grid.*resample_lab"):
            external.read(tmp_path / f"{name}.nii.gz", scan, "lungs", resample=False)
    external.read(tmp_path / "same.nii.gz", scan, "lungs", resample=False)


def test_what_lies_outside_the_scan_is_told(tmp_path, scan):
    images.write(boxes(scan, [1, 2]), tmp_path / "labels.nii.gz")
    cropped = scan[:, :, 8:]  # three of the six slices that the boxes fill
    found, facts = external.read(tmp_path / "labels.nii.gz", cropped, "lungs")
    assert facts["inside_pct"] == 50.0
    assert counts(found) == {1: 36, 2: 36}
    with pytest.raises(images.ScanError, match="all labels lie outside the scan"):
        external.read(tmp_path / "labels.nii.gz", scan[:, :, 12:], "lungs")


def test_labels_that_end_inside_the_scan_are_flagged(tmp_path, scan):
    images.write(boxes(scan, [1, 2])[:, :, :8], tmp_path / "labels.nii.gz")
    assert external.read(tmp_path / "labels.nii.gz", scan, "lungs")[1]["flag"] == "cut"


def test_coarse_labels_are_flagged(tmp_path, scan):
    coarse = sitk.Shrink(boxes(scan, [1, 2]), (2, 2, 2))
    images.write(coarse, tmp_path / "labels.nii.gz")
    found, facts = external.read(tmp_path / "labels.nii.gz", scan, "lungs")
    assert facts["flag"] == "coarse"
    assert facts["resampled"]
    images.check_grid(scan, found)


def test_turned_axes_are_refused(tmp_path, scan):
    labels = boxes(scan, [1, 2])
    turn = np.deg2rad(5.0)
    labels.SetDirection(
        (np.cos(turn), -np.sin(turn), 0, np.sin(turn), np.cos(turn), 0, 0, 0, 1),
    )
    images.write(labels, tmp_path / "labels.nii.gz")
    with pytest.raises(images.ScanError, match=r"turned by 5\.0 degrees.*nearest neighbour"):
        external.read(tmp_path / "labels.nii.gz", scan, "lungs")


def test_swapped_sides_are_flagged(tmp_path, scan):
    images.write(boxes(scan, [2, 1]), tmp_path / "labels.nii.gz")
    assert external.read(tmp_path / "labels.nii.gz", scan, "lungs")[1]["flag"] == "sides_swapped"
    images.write(boxes(scan, [14, 10]), tmp_path / "labels.nii.gz")
    assert external.read(tmp_path / "labels.nii.gz", scan, "totalsegmentator")[1]["flag"] == ""


# --- The cardiac cycle ---------------------------------------------------------------------------


def test_a_cycle_in_one_file_or_in_a_folder(tmp_path, scan):
    names = "totalsegmentator_heartchambers_highres"
    given = [boxes(scan, [3, 1]), boxes(scan, [1, 3])]
    phases = [scan, scan]
    images.write(images.join_cycle(given), tmp_path / "cycle.nii.gz")
    found, facts = external.read_cycle(tmp_path / "cycle.nii.gz", phases, names)
    ours = [boxes(scan, [1, 2]), boxes(scan, [2, 1])]
    for one, expected in zip(found, ours, strict=True):
        assert np.array_equal(images.array(one), images.array(expected))
    assert facts["inside_pct"] == 100.0
    folder = tmp_path / "phases"
    folder.mkdir()
    for percent, labels in zip((5, 10), given, strict=True):  # 10 comes before 5 by its letters
        images.write(labels, folder / f"phase_{percent}.nii.gz")
    found, _ = external.read_cycle(folder, phases, names)
    assert np.array_equal(images.array(found[1]), images.array(ours[1]))
    masks = tmp_path / "masks"
    masks.mkdir()
    one_each(masks / "00", scan, ["heart_ventricle_left", "heart_myocardium"])
    one_each(masks / "50", scan, ["heart_myocardium", "heart_ventricle_left"])
    found, _ = external.read_cycle(masks, phases, names)
    assert np.array_equal(images.array(found[1]), images.array(ours[1]))


def test_cycles_that_do_not_fit(tmp_path, scan):
    names = "heart"
    labels = boxes(scan, [1, 2])
    images.write(images.join_cycle([labels] * 2), tmp_path / "cycle.nii.gz")
    with pytest.raises(images.ScanError, match="2 phases, the scan has 3"):
        external.read_cycle(tmp_path / "cycle.nii.gz", [scan] * 3, names)
    images.write(images.join_cycle([labels * 0] * 2), tmp_path / "empty.nii.gz")
    with pytest.raises(images.ScanError, match="none of the codes"):
        external.read_cycle(tmp_path / "empty.nii.gz", [scan] * 2, names)
    folder = tmp_path / "phases"
    folder.mkdir()
    for name in ("ed", "es"):
        images.write(labels, folder / f"{name}.nii.gz")
    with pytest.raises(images.ScanError, match="2 label maps or folders, 0 numbered"):
        external.read_cycle(folder, [scan] * 2, names)


def test_a_phase_without_labels_stays_empty(tmp_path, scan):
    labels = boxes(scan, [1, 2])
    images.write(images.join_cycle([labels, labels * 0]), tmp_path / "cycle.nii.gz")
    found, _ = external.read_cycle(tmp_path / "cycle.nii.gz", [scan] * 2, "heart")
    assert counts(found[1]) == {}


# --- TotalSegmentator's labels of a real CT ------------------------------------------------------


@pytest.mark.skipif(not CTA.exists(), reason="no real data beside the project")
def test_real_masks_on_two_grids():
    """Every voxel of a heart on a larger grid arrives; blood is where contrast medium is."""
    ct = images.read(CTA / "aorta" / "ct_cropped.nii.gz")
    hu = images.array(ct)
    for folder, part, name, resampled in (
        ("pulmonary", "LV blood", "heart", True),  # 233 x 167 x 191 voxels, the CT 120 x 126 x 164
        ("pulmonary", "pulmonary artery", "pulmonary_artery", True),
        ("aorta", "aorta", "aorta", False),
    ):
        given = images.read_labels(CTA / folder / f"{name}.nii.gz")
        found, facts = external.read(CTA / folder, ct, {part: name}, ("heart",))
        assert facts["resampled"] is resampled
        assert facts["inside_pct"] == 100.0
        inside = images.array(found) > 0
        assert np.count_nonzero(inside) == np.count_nonzero(images.array(given))
        assert 350 < np.median(hu[inside]) < 650
    with pytest.raises(images.ScanError, match="no LV blood, LV myocardium of the heart"):
        external.read(CTA / "pulmonary", ct, "totalsegmentator", ("heart",))
    with pytest.raises(images.ScanError, match="another grid"):
        external.read(CTA / "pulmonary", ct, {"aorta": "heart"}, ("heart",), resample=False)
