"""Picking, checking and reading a DICOM series."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from unit import dicom_series as series

from lungitude import dicom, images


def test_series_is_read_in_the_order_of_positions(tmp_path):
    hu = series.volume()
    image, facts = dicom.read(series.write(tmp_path / "s", hu))
    assert image.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(images.array(image), hu)
    assert image.GetSpacing() == pytest.approx((0.7, 0.8, 2.5))
    assert image.GetOrigin() == pytest.approx((-10.0, -20.0, -300.0))
    assert images.orientation(image) == "LPS"
    assert facts["n_slices"] == 8
    assert facts["tags"]["kernel"] == "B31f"
    assert facts["tags"]["kv"] == 120.0
    assert facts["tags"]["contrast"] is False
    assert facts["tags"]["image_type"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert images.array(images.read(tmp_path / "s")).tobytes() == hu.tobytes()


def test_series_digest_does_not_depend_on_file_names(tmp_path):
    hu = series.volume()
    first = dicom.read(series.write(tmp_path / "a", hu))[1]["series_digest"]
    folder = series.write(tmp_path / "b", hu)
    for number, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        path.rename(folder / f"IM{number}")
    assert dicom.read(folder)[1]["series_digest"] == first
    assert len(first) == 64


def test_each_slice_has_its_own_rescale(tmp_path):
    hu = series.volume() // 4 * 4

    def change(number, data):
        data.RescaleSlope = 2 if number % 2 else 4
        data.RescaleIntercept = -1024 + 4 * number

    image, _ = dicom.read(series.write(tmp_path / "s", hu, change=change))
    assert np.array_equal(images.array(image), hu)


def test_broken_slope_gives_float(tmp_path):
    hu = np.full((5, 6, 6), -500.0)

    def change(number, data):
        if number == 3:
            data.RescaleSlope, data.RescaleIntercept = 0.5, -1000.25

    image, _ = dicom.read(series.write(tmp_path / "s", hu, change=change))
    assert image.GetPixelID() == sitk.sitkFloat32
    assert images.array(image)[3, 0, 0] == pytest.approx(-500.25, abs=0.5)
    assert images.array(image)[2, 0, 0] == -500.0


def test_unsigned_pixels_and_padding(tmp_path):
    hu = series.volume()
    hu[:, 0, :] = -3024
    folder = series.write(
        tmp_path / "s",
        hu,
        PixelRepresentation=0,
        RescaleIntercept=-4096,
        PixelPaddingValue=1072,
    )
    image, facts = dicom.read(folder)
    assert facts["padding_voxels"] == 8 * 10
    assert (images.array(image)[:, 0] == images.PADDING_HU).all()
    assert np.array_equal(images.array(image)[:, 1:], hu[:, 1:])


def test_padding_that_is_tissue_is_not_believed(tmp_path):
    hu = series.volume()
    folder = series.write(tmp_path / "s", hu, RescaleIntercept=0, PixelPaddingValue=0)
    image, facts = dicom.read(folder)
    assert facts["padding_voxels"] == 0
    assert np.array_equal(images.array(image), hu)


def test_coronal_series_keeps_its_orientation(tmp_path):
    hu = series.volume()

    def change(number, data):
        data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        data.ImagePositionPatient = [-10, -20 + 2.5 * number, 50]

    image, _ = dicom.read(series.write(tmp_path / "s", hu, change=change))
    assert images.orientation(image) == "LIP"
    point = image.TransformIndexToPhysicalPoint((3, 5, 2))
    assert point == pytest.approx((-10 + 3 * 0.7, -20 + 2 * 2.5, 50 - 5 * 0.8))
    axes = images.canonical(image)
    assert images.orientation(axes) == "LPS"
    index = axes.TransformPhysicalPointToIndex(point)
    assert axes[index] == hu[2, 5, 3]


def test_file_order_and_reversed_instance_numbers_do_not_matter(tmp_path):
    hu = series.volume()

    def change(number, data):
        data.InstanceNumber = 100 - number

    image, _ = dicom.read(series.write(tmp_path / "s", hu, change=change))
    assert np.array_equal(images.array(image), hu)


def test_positions_rounded_to_a_tenth_are_even(tmp_path):
    def change(number, data):
        data.ImagePositionPatient = [-10, -20, round(-300 + 0.625 * number, 1)]

    image, _ = dicom.read(series.write(tmp_path / "s", series.volume((33, 8, 8)), change=change))
    assert image.GetSpacing()[2] == pytest.approx(0.625)


def _set(tag, value, only=None):
    """Return a change that sets a tag to `value` or `value(number)`, in one slice or in all."""

    def change(number, data):
        if only is None or number == only:
            setattr(data, tag, value(number) if callable(value) else value)

    return change


def _at(z, y=lambda number: -20.0):
    return _set("ImagePositionPatient", lambda n: [-10.0, y(n), -300 + 2.5 * z(n)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n, data: n != 4, r"about 1 of 8, first gap of 5.00 mm after slice 4"),
        (lambda n, data: n not in (2, 3, 6), r"missing slice\(s\): about 3 of 8"),
        (_at(lambda n: max(n, 1)), "1 duplicate slice"),
        (_at(lambda n: n + 0.25 * (n == 5)), "non-uniform slice steps"),
        (_at(lambda n: n, lambda n: 0.5 * n), "tilted gantry: 11.3 degrees"),
        (_set("PixelSpacing", [0.9, 0.7], only=3), "mixed pixel spacing: 1 of 8"),
        (_set("ImageOrientationPatient", [0, 1, 0, -1, 0, 0], only=3), "mixed orientation: 1 of 8"),
        (_set("PixelSpacing", [0.0, 0.7]), "absurd"),
        (_set("Modality", "MR"), "no CT series.*8 x modality MR"),
        (_set("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), "no CT series.*8 x localiser"),
        (_set("NumberOfFrames", 2), "multi-frame CT"),
        (lambda n, data: n < 2, "no CT series of 3 slices or more"),
    ],
)
def test_faults(tmp_path, change, words):
    folder = series.write(tmp_path / "s", series.volume(), change=change)
    with pytest.raises(ValueError, match=words) as caught:
        dicom.read(folder)
    assert str(folder) in str(caught.value)
    assert str(folder) not in caught.value.fault


def test_no_rescale(tmp_path):
    folder = series.write(tmp_path / "s", series.volume())
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        del data.RescaleSlope
        data.save_as(path)
    with pytest.raises(ValueError, match="no rescale slope"):
        dicom.read(folder)


def test_mixed_size(tmp_path):
    folder = series.write(tmp_path / "s", series.volume())
    path = sorted(folder.iterdir())[2]
    data = pydicom.dcmread(path)
    data.Rows, data.PixelData = 6, data.PixelData[: 6 * 10 * 2]
    data.save_as(path)
    with pytest.raises(ValueError, match="mixed size: 1 of 8"):
        dicom.read(folder)


def test_two_series_in_one_folder(tmp_path):
    series.write(tmp_path / "s", series.volume())
    series.write(tmp_path / "s", series.volume((5, 12, 10)), series=2)
    with pytest.raises(ValueError, match="two series in one folder: 2 CT series of 8 and 5 slices"):
        dicom.read(tmp_path / "s")


def test_localiser_capture_and_notes_are_set_aside(tmp_path):
    hu = series.volume()
    folder = series.write(tmp_path / "s", hu)
    series.write(folder, hu[:2], series=2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    series.write(folder, hu[:1], series=3, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    (folder / "notes.txt").write_text("read me")
    image, facts = dicom.read(folder)
    assert np.array_equal(images.array(image), hu)
    assert facts["set_aside"] == {"localiser": 2, "not DICOM": 1, "secondary capture or report": 1}


@pytest.mark.parametrize("keep", [0.3, 0.9, -1])
def test_truncated_slice(tmp_path, keep):
    folder = series.write(tmp_path / "s", series.volume((6, 40, 40)))
    path = sorted(folder.iterdir())[3]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)] if keep > 0 else data[:-1])
    with pytest.raises(ValueError, match="truncated"):
        dicom.read(folder)


def test_truncated_in_the_header_of_an_end_slice(tmp_path):
    folder = series.write(tmp_path / "s", series.volume((6, 40, 40)))
    path = folder / "1-000.dcm"  # the lowest slice: its loss leaves no gap
    whole = path.read_bytes()
    for n in range(140, len(whole) - 3200, 40):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"truncated|rescale"):
            dicom.read(folder)


def test_compressed_slices(tmp_path):
    hu = series.volume((5, 32, 32))
    folder = series.write(tmp_path / "s", hu)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.compress(pydicom.uid.RLELossless)
        data.save_as(path)
    image, _ = dicom.read(folder)
    assert np.array_equal(images.array(image), hu)
    path = sorted(folder.iterdir())[1]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="truncated"):
        dicom.read(folder)


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        dicom.read(tmp_path)


def _cycle(folder, hu, times, together=True, tag="NominalPercentageOfCardiacPhase", **tags):
    """Write phases of a cycle, in one series or each in its own."""
    for number, phase in enumerate(times):
        series.write(
            folder,
            hu + 10 * number,
            series=number + 1,
            **{tag: phase, **tags},
            change=(lambda n, data: setattr(data, "SeriesInstanceUID", f"{series.UID}.1"))
            if together
            else None,
        )
    return folder


@pytest.mark.parametrize("together", [True, False])
def test_phases_of_a_cycle_are_read_in_the_order_of_time(tmp_path, together):
    hu = series.volume()
    phases, facts = dicom.read_cycle(_cycle(tmp_path / "s", hu, [35.0, 0.0, 70.0], together))
    assert (facts["phases"], facts["phases_unit"]) == ([0.0, 35.0, 70.0], "percent")
    assert facts["n_slices"] == 3 * len(hu)
    for phase, shift in zip(phases, (10, 0, 20), strict=True):
        assert np.array_equal(images.array(phase), hu + shift)


@pytest.mark.parametrize(
    ("tags", "phases", "unit"),
    [
        ({"NominalInterval": 800}, [37.5, 75.0], "percent"),
        ({"HeartRate": 60}, [30.0, 60.0], "percent"),
        ({}, [300.0, 600.0], "ms"),
    ],
)
def test_trigger_times_are_a_part_of_the_cycle_where_its_length_is_known(
    tmp_path, tags, phases, unit
):
    folder = _cycle(tmp_path, series.volume(), [300.0, 600.0], tag="TriggerTime", **tags)
    _, facts = dicom.read_cycle(folder)
    assert (facts["phases"], facts["phases_unit"]) == (phases, unit)


def test_a_cycle_that_is_none_is_refused(tmp_path):
    one = series.write(tmp_path / "one", series.volume())
    with pytest.raises(images.ScanError, match="no two phases of a cardiac cycle"):
        dicom.read_cycle(one)
    folder = _cycle(tmp_path / "s", series.volume(), [0.0, 50.0])
    with pytest.raises(images.ScanError, match="duplicate slice"):
        dicom.read(folder)
    next(path for path in sorted(folder.iterdir()) if path.name == "2-003.dcm").unlink()
    with pytest.raises(images.ScanError, match="phase 50 of the cardiac cycle: missing slice"):
        dicom.read_cycle(folder)


def test_phases_on_two_grids_are_refused(tmp_path):
    folder = series.write(tmp_path / "s", series.volume(), NominalPercentageOfCardiacPhase=0.0)
    series.write(
        folder,
        series.volume((9, 12, 10)),
        series=2,
        NominalPercentageOfCardiacPhase=50.0,
    )
    with pytest.raises(images.ScanError, match="phase 50 of the cardiac cycle: it is on another"):
        dicom.read_cycle(folder)


@pytest.mark.parametrize(
    ("agent", "given"),
    [("IOMEPROL 400", True), ("Y", True), ("", False), ("NONE", False), ("no contrast", False),
     ("N/A", False), ("Ohne", False), ("Nonionic 300", True)],
)  # fmt: skip
def test_an_agent_that_is_named_none_is_no_contrast_medium(agent, given):
    header = series.header(0, (0, 0, 0), ContrastBolusAgent=agent)
    assert dicom.allowed_tags([header])["contrast"] is given
