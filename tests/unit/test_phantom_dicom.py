"""DICOM series of the phantom: read back by an independent reader, and with planted faults."""

from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import render_chest
import SimpleITK as sitk

from lungitude.phantom import dicom, render

SECTION = {"voxel_mm": [4.0, 4.5, 5.0], "vessel_terminals": 100}
ROW = {
    "USUBJID": "S001",
    "AVISIT": "Baseline",
    "LUNGVOL_L": 5.0,
    "EMPH_PCT": 10.0,
    "FSAD_PCT": 30.0,
    "EXPRATIO": 0.7,
    "LUNG_HU": -865.0,
}


@pytest.fixture(scope="module")
def scan():
    return render.render(render.prepare(ROW, SECTION))["insp"]


@pytest.fixture(scope="module")
def hu(scan):
    return render.deliver(scan)


def _read(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_reads_back_to_the_same_voxels_and_geometry(scan, hu, tmp_path):
    paths = dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp")
    image = _read(tmp_path / "a")
    assert np.array_equal(sitk.GetArrayFromImage(image), hu)
    assert image.GetSpacing() == pytest.approx(scan.grid.spacing_mm, abs=1e-4)
    assert image.GetOrigin() == pytest.approx(scan.grid.origin_mm, abs=1e-3)
    assert image.GetDirection() == pytest.approx(np.eye(3).ravel())
    assert len(paths) == len(hu)
    assert [path.name for path in paths] != sorted(path.name for path in paths)


def test_headers_are_complete_valid_and_carry_the_planted_identifiers(scan, hu, tmp_path):
    paths = dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp")
    headers = [pydicom.dcmread(path) for path in paths]
    first = headers[0]
    assert first.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert (first.Modality, first.PatientPosition, first.KVP) == ("CT", "HFS", 120)
    assert (first.RescaleSlope, first.RescaleIntercept) == (1, -1024)
    assert (first.SliceThickness, first.SpacingBetweenSlices) == (5, 5)
    assert list(first.PixelSpacing) == [4.5, 4.0]
    for name, text in dicom.PLANTED.items():
        assert str(first[name].value).startswith(text)
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    heights = [header.ImagePositionPatient[2] for header in headers]
    numbers = [header.InstanceNumber for header in headers]
    assert heights == sorted(heights)
    assert numbers == sorted(numbers, reverse=True)


def test_same_case_gives_same_files(scan, hu, tmp_path):
    for name in ("a", "b"):
        dicom.write_series(scan, hu, tmp_path / name, "hrct_insp")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_missing_slice_leaves_a_gap(scan, hu, tmp_path):
    paths = dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp", fault="missing_slice")
    heights = sorted(float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in paths)
    assert len(heights) == len(hu) - 1
    assert sorted(set(np.round(np.diff(heights), 3))) == [5.0, 10.0]


def test_a_duplicate_slice_shares_a_position(scan, hu, tmp_path):
    paths = dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp", fault="duplicate_slice")
    headers = [pydicom.dcmread(path) for path in paths]
    assert len(headers) == len(hu) + 1
    assert len({float(header.ImagePositionPatient[2]) for header in headers}) == len(hu)
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)


def test_two_series_share_a_folder(scan, hu, tmp_path):
    dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp", fault="two_series")
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(tmp_path / "a"))
    assert len(series) == 2


def test_a_truncated_file_cannot_be_decoded(scan, hu, tmp_path):
    paths = dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp", fault="truncated_file")
    sizes = [path.stat().st_size for path in paths]
    broken = paths[int(np.argmin(sizes))]
    assert min(sizes) < 0.5 * max(sizes)
    with pytest.raises((ValueError, AttributeError, EOFError)):
        pydicom.dcmread(broken).pixel_array.sum()


def test_unknown_fault_and_full_folder_are_refused(scan, hu, tmp_path):
    with pytest.raises(ValueError, match="fault 'fire'"):
        dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp", fault="fire")
    dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp")
    with pytest.raises(ValueError, match="not empty"):
        dicom.write_series(scan, hu, tmp_path / "a", "hrct_insp")


def test_script_writes_each_series_and_plants_the_faults_of_the_sheet(tmp_path):
    output = {"inspiration": str(tmp_path / "hrct_insp"), "expiration": str(tmp_path / "hrct_exp")}
    output |= {name: str(tmp_path / f"{name}.nii.gz") for name in render_chest.LABELS}
    row = {**ROW, "EMPH_PCT": "10", "FAULT": "hrct_exp:missing_slice"}
    render_chest.main(
        SimpleNamespace(params=SimpleNamespace(truth=row, phantom=SECTION), output=output)
    )
    steps = {}
    for name in ("hrct_insp", "hrct_exp"):
        steps[name] = np.diff(
            sorted(
                float(pydicom.dcmread(path).ImagePositionPatient[2])
                for path in (tmp_path / name).iterdir()
            )
        )
    assert np.ptp(steps["hrct_insp"]) < 1e-3
    assert steps["hrct_exp"].max() == pytest.approx(10.0)
