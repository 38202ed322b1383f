"""Reading, checking and writing images."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk

from lungitude import images


def _image(kind=np.int16, shape=(6, 8, 10), spacing=(0.7, 0.8, 2.5)):
    values = np.random.default_rng(3).integers(-1000, 400, shape)
    image = sitk.GetImageFromArray(values.astype(kind))
    image.SetSpacing(spacing)
    image.SetOrigin((-10.0, 20.0, -300.0))
    return image


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.mhd"])
def test_round_trip(tmp_path, name):
    image = _image()
    images.write(image, tmp_path / name) if name != "a.mhd" else sitk.WriteImage(
        image, str(tmp_path / name)
    )
    back = images.read(tmp_path / name)
    images.check_grid(image, back)
    assert back.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(images.array(back), images.array(image))


def test_equal_images_give_equal_bytes_without_metadata(tmp_path):
    image = _image()
    image.SetMetaData("descrip", "DOE^JANE")
    image.SetMetaData("ITK_FileNotes", "DOE^JANE")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        images.write(image, tmp_path / name / f"{name}.nii.gz")
    first = (tmp_path / "a" / "a.nii.gz").read_bytes()
    assert first == (tmp_path / "b" / "b.nii.gz").read_bytes()
    assert first[4:8] == b"\0\0\0\0"  # no time stamp
    assert b"DOE" not in gzip.decompress(first)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["a.nii.gz"]


def test_whole_numbers_are_kept_as_int16_and_others_as_float(tmp_path):
    image = sitk.Cast(_image(), sitk.sitkFloat64)
    images.write(image, tmp_path / "a.nii.gz")
    assert images.read(tmp_path / "a.nii.gz").GetPixelID() == sitk.sitkInt16
    images.write(image + 0.25, tmp_path / "b.nii.gz")
    read = images.read(tmp_path / "b.nii.gz")
    assert read.GetPixelID() == sitk.sitkFloat32
    assert np.array_equal(images.array(read), images.array(image) + np.float32(0.25))


def test_array_outlives_its_image():
    view = images.array(sitk.Cast(_image(), sitk.sitkInt32))
    kept = view.copy()
    for _ in range(50):
        sitk.Image(10, 8, 6, sitk.sitkInt32) + 7
    assert np.array_equal(view, kept)
    assert not view.flags.writeable


@pytest.mark.parametrize("code", ["LPS", "RAI", "ASL", "PIR", "SAL"])
def test_canonical_and_back(code):
    image = sitk.DICOMOrient(_image(), code)
    axes = images.canonical(image)
    assert images.orientation(image) == code
    assert images.orientation(axes) == "LPS"
    back = images.restore(axes, image)
    assert np.array_equal(images.array(back), images.array(image))
    assert back.GetOrigin() == image.GetOrigin()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("keep", [0.02, 0.6, 0.98])
def test_truncated_file(tmp_path, name, keep):
    images.write(_image(shape=(20, 30, 40)), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ValueError, match=r"truncated|not an image|corrupt|not a NIfTI") as caught:
        images.read(tmp_path / name)
    assert name in str(caught.value)
    assert str(tmp_path) not in caught.value.fault


def test_corrupt_gz(tmp_path):
    images.write(_image(shape=(20, 30, 40)), tmp_path / "a.nii.gz")
    data = bytearray((tmp_path / "a.nii.gz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.nii.gz").write_bytes(data)
    with pytest.raises(ValueError, match=r"corrupt|truncated"):
        images.read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("offset", "kind", "value", "words"),
    [
        (80, "<f", 0.0, "spacing"),
        (80, "<f", -1.0, "spacing"),
        (84, "<f", float("nan"), "spacing"),
        (88, "<f", 1e9, "spacing"),
        (42, "<h", -5, "size"),
        (42, "<h", 1, "size"),
        (46, "<h", 30000, "truncated"),
        (40, "<h", 2, "2 dimensions"),
        (70, "<h", 999, "data type"),
        (112, "<f", float("inf"), "scaling"),
        (108, "<f", float("nan"), "data offset"),
        (280, "<f", float("nan"), "sform"),
        (268, "<f", float("nan"), "qform"),
        (0, "<i", 77, "not a NIfTI"),
        (344, "<i", 77, "magic"),
    ],
)
def test_absurd_header(tmp_path, offset, kind, value, words):
    images.write(_image(), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into(kind, data, offset, value)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(ValueError, match=words):
        images.read(tmp_path / "a.nii")


def test_scaling_of_nan_means_none(tmp_path):
    images.write(_image(), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<2f", data, 112, float("nan"), float("nan"))
    (tmp_path / "a.nii").write_bytes(data)
    assert np.array_equal(images.array(images.read(tmp_path / "a.nii")), images.array(_image()))


def test_values_that_are_not_finite(tmp_path):
    values = images.array(_image()).astype(np.float32)
    values[1, 2, 3] = np.nan
    images.write(images.from_array(values, _image()), tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="not finite"):
        images.read(tmp_path / "a.nii.gz")


def test_other_faults(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        images.read(tmp_path / "a.nii.gz")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="unknown kind"):
        images.read(tmp_path / "a.txt")
    sitk.WriteImage(_image()[:, :, 2], str(tmp_path / "flat.nrrd"))
    with pytest.raises(ValueError, match="2 dimensions"):
        images.read(tmp_path / "flat.nrrd")


def test_labels(tmp_path):
    like = _image()
    values = np.zeros((6, 8, 10), np.float32)
    values[2:4] = 2
    images.write(images.from_array(values, like), tmp_path / "a.nii.gz")
    labels = images.read_labels(tmp_path / "a.nii.gz", like=like)
    assert labels.GetPixelID() == sitk.sitkUInt8
    assert images.array(labels).sum() == values.sum()
    images.write(images.from_array(values * 200, like), tmp_path / "b.nii.gz")
    assert images.read_labels(tmp_path / "b.nii.gz").GetPixelID() == sitk.sitkUInt16
    for name, bad in (("c", values - 1), ("d", values + 0.5), ("e", values * 1e5)):
        images.write(images.from_array(bad, like), tmp_path / f"{name}.nii.gz")
        with pytest.raises(ValueError, match="labels must"):
            images.read_labels(tmp_path / f"{name}.nii.gz")


def test_labels_on_another_grid(tmp_path):
    like = _image()
    labels = sitk.Cast(_image() > 0, sitk.sitkUInt8)
    moved = sitk.Image(labels)
    moved.SetOrigin((-10.0, 20.0, -299.0))
    images.write(moved, tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="another grid: corner"):
        images.read_labels(tmp_path / "a.nii.gz", like=like)
    images.write(labels[:, :, :-1], tmp_path / "b.nii.gz")
    with pytest.raises(ValueError, match="another grid: size"):
        images.read_labels(tmp_path / "b.nii.gz", like=like)
    with pytest.raises(ValueError, match="does not fit"):
        images.from_array(np.zeros((2, 2, 2)), like)


def test_labels_on_other_axes_are_turned_to_those_of_the_scan(tmp_path):
    image = images.from_array(
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4), sitk.Image(4, 3, 2, 1)
    )
    turned = sitk.DICOMOrient(image, "RAS")
    images.write(turned, tmp_path / "labels.nii.gz")
    found = images.read_labels(tmp_path / "labels.nii.gz", like=image)
    assert np.array_equal(images.array(found), images.array(image))


def test_a_cycle_goes_through_a_file(tmp_path):
    phases = [sitk.Image(4, 3, 2, sitk.sitkInt16) + 7 * k for k in range(3)]
    for phase in phases:
        phase.SetSpacing((1.5, 1.5, 3.0))
        phase.SetOrigin((-5.0, 2.0, 30.0))
    path = tmp_path / "cycle.nii.gz"
    images.write(images.join_cycle(phases), path)
    found = images.read_cycle(path)
    assert len(found) == 3
    for phase, kept in zip(phases, found, strict=True):
        images.check_grid(phase, kept)
        assert np.array_equal(images.array(phase), images.array(kept))
    with pytest.raises(images.ScanError, match="dimensions"):
        images.read(path)
    images.write(phases[0], tmp_path / "one.nii.gz")
    with pytest.raises(images.ScanError, match="one phase only"):
        images.read_cycle(tmp_path / "one.nii.gz")
    holes = [sitk.Cast(phase, sitk.sitkFloat32) for phase in phases]
    holes[1][1, 1, 1] = float("nan")
    sitk.WriteImage(images.join_cycle(holes), str(tmp_path / "holes.nrrd"))
    with pytest.raises(images.ScanError, match="not finite"):
        images.read_cycle(tmp_path / "holes.nrrd")
