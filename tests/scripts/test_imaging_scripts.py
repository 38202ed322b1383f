"""Ingest, lungs, quality and density of one scan, each script run in-process."""

import gzip
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from unit import chest
from unit import dicom_series as series

from helpers import ROOT, Files
from lungitude import images, records, tables

IDENTITY = {"USUBJID": "001", "AVISIT": "Week 6", "SERIES": "hrct_insp"}


class Chain:
    """The four scripts on one scan, in one folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def run(self, rule, inputs, outputs, **params):
        """Run a script as Snakemake does; outputs are names in the folder."""
        outputs = {name: str(self.folder / file) for name, file in outputs.items()}
        job = SimpleNamespace(
            rule=rule,
            input=Files(**inputs),
            output=Files(**outputs),
            params=Files(identity=IDENTITY, **params),
            wildcards=["001", "week06", "hrct_insp"],
            log=[str(self.folder / "logs" / f"{rule}.log")],
        )
        runpy.run_path(
            str(ROOT / "scripts" / f"{rule}.py"), {"snakemake": job}, run_name="__main__"
        )

    def path(self, name):
        """Return a file of the folder as text."""
        return str(self.folder / name)

    def all(self, scan, labels=None, on_bad_scan="exclude", protocol=None, **params):
        """Run the chain."""
        scanned = {"image": self.path("scan.nii.gz"), "record": self.path("scan.json")}
        segmented = {"lungs": self.path("lungs.nii.gz"), "lungs_record": self.path("lungs.json")}
        self.run(
            "ingest_scan",
            {"scan": str(scan)},
            {"image": "scan.nii.gz", "record": "scan.json"},
            on_bad_scan=on_bad_scan,
        )
        given = {"labels": [str(labels)] if labels else []}
        settings = {"method": "classical", "label_map": None, "label_scheme": None, **params}
        self.run(
            "segment_lungs",
            {**scanned, **given},
            {"lungs": "lungs.nii.gz", "record": "lungs.json"},
            on_bad_scan=on_bad_scan,
            **settings,
        )
        self.run(
            "check_quality",
            {**scanned, **segmented},
            {"table": "quality.tsv", "picture": "quality.png"},
            protocol=protocol or {},
        )
        self.run("measure_parenchyma", {**scanned, **segmented}, {"table": "parenchyma.tsv"})
        return self


@pytest.fixture(scope="module")
def dicom_chest(tmp_path_factory):
    """A chest as DICOM whose header names a patient wherever it can, and its truth."""
    image, truth, _ = chest.make()
    folder = tmp_path_factory.mktemp("DOE_JANE_scan") / "s"

    def name_her(number, data):
        data.PatientName = "DOE^JANE"
        data.PatientID = "MRN-DOE-7"
        data.PatientBirthDate = "19570312"
        data.PatientComments = "Jane Doe, neighbour of Dr Roe"
        data.StudyDescription = "CHEST DOE JANE"
        data.SeriesDescription = "INSP DOE JANE"
        data.ProtocolName = "DOE JANE CHEST"
        data.ImageComments = "doe jane"
        data.InstitutionName = "DOE HOSPITAL"
        data.OperatorsName = "ROE^RICHARD"
        data.ReferringPhysicianName = "ROE^RICHARD"
        data.AcquisitionDate = data.StudyDate = data.ContentDate = "20210314"
        data.StationName = "DOE-STATION"
        data.DeviceSerialNumber = "SN-DOE"
        data.ContrastBolusAgent = "DOE JANE 80 ML"
        data.RequestAttributesSequence = [pydicom.Dataset()]
        data.RequestAttributesSequence[0].RequestedProcedureDescription = "DOE JANE"
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "DOE_JANE"]
        block = data.private_block(0x0029, "DOE PRIVATE", create=True)
        block.add_new(0x01, "LO", "DOE^JANE")
        block.add_new(0x02, "UN", b"DOE^JANE 19570312")

    series.write(
        folder,
        images.array(image),
        step_mm=2.5,
        origin=image.GetOrigin(),
        change=name_her,
        PixelSpacing=[2.5, 2.5],
    )
    (folder / "DOE_JANE.txt").write_text("DOE^JANE")
    return folder, truth


def test_chain_from_dicom(dicom_chest, tmp_path):
    scan, truth = dicom_chest
    declared = {"kv": [120], "slice_mm": 2.5, "kernel": ["B31f"], "contrast": False}
    chain = Chain(tmp_path / "out").all(scan, protocol=declared)
    record = records.read(chain.path("scan.json"))
    assert record["status"] == "ok"
    assert {key: record[key] for key in IDENTITY} == IDENTITY
    assert (record["size"], record["spacing_mm"]) == ([128, 100, 100], [2.5, 2.5, 2.5])
    assert record["tags"]["kernel"] == "B31f"
    assert record["tags"]["contrast"] is True
    lungs = records.read(chain.path("lungs.json"))
    assert lungs["scheme"] == "lungs"
    assert lungs["right_ml"] == pytest.approx((truth == 1).sum() * 2.5**3 / 1000, rel=0.01)
    quality = tables.read(chain.path("quality.tsv"))
    assert quality.columns[:3].tolist() == list(IDENTITY)
    assert quality["USUBJID"].tolist() == ["001"]
    assert quality["flags"].tolist() == [
        "contrast: header says with contrast medium (declared without)"
    ]
    table = tables.read(chain.path("parenchyma.tsv"))
    assert table["region"].tolist() == ["all", "right", "left"]
    assert table["mld_hu"].iloc[0] == pytest.approx(-858, abs=5)
    assert Path(chain.path("quality.png")).stat().st_size > 5000


def test_same_scan_gives_same_bytes(dicom_chest, tmp_path):
    chains = [Chain(tmp_path / name).all(dicom_chest[0]) for name in ("a", "b")]
    for name in (
        "scan.nii.gz",
        "scan.json",
        "lungs.nii.gz",
        "lungs.json",
        "quality.tsv",
        "quality.png",
        "parenchyma.tsv",
    ):
        first, second = (Path(chain.path(name)).read_bytes() for chain in chains)
        assert first == second, name


@pytest.mark.parametrize("broken", [False, True])
def test_no_name_or_date_or_identifier_leaves_the_headers(dicom_chest, tmp_path, broken):
    scan = dicom_chest[0]
    if broken:  # the reason of an exclusion must not name her either
        scan = tmp_path / "DOE_JANE"
        scan.mkdir()
        for path in sorted(dicom_chest[0].iterdir())[:-4]:
            (scan / f"DOE_JANE_{path.name}").write_bytes(path.read_bytes())
    chain = Chain(tmp_path / "out").all(scan)
    assert records.read(chain.path("scan.json"))["status"] == ("excluded" if broken else "ok")
    files = [path for path in Path(chain.folder).rglob("*") if path.is_file()]
    assert len(files) == 11  # seven outputs, four logs
    for path in files:
        data = path.read_bytes()
        words = [b"doe^", b"doe jane", b"jane doe", b"roe^", b"mrn-", series.UID.encode()]
        if path.suffix == ".gz" and data:
            data = gzip.decompress(data)
        elif path.suffix != ".png":  # text: no chance hits among voxels
            words += [b"doe", b"jane", b"roe", b"1957", b"2021"]
        for word in words:
            assert word not in data.lower(), (path.name, word)


def test_excluded_scan_is_passed_on(tmp_path):
    scan = series.write(tmp_path / "s", series.volume(), change=lambda number, data: number != 3)
    chain = Chain(tmp_path / "out").all(scan)
    for name in ("scan.json", "lungs.json"):
        record = records.read(chain.path(name))
        assert (record["status"], record["stage"]) == ("excluded", "ingest")
        assert record["reason"].startswith("missing slice(s): about 1 of 8")
        assert record["USUBJID"] == "001"
    for name in ("scan.nii.gz", "lungs.nii.gz", "quality.png"):
        assert Path(chain.path(name)).stat().st_size == 0
    for name in ("quality.tsv", "parenchyma.tsv"):
        assert len(tables.read(chain.path(name))) == 0


def test_scan_without_lungs_is_excluded_at_segmentation(tmp_path):
    scan = series.write(tmp_path / "s", np.where(series.volume() > 0, 40, -1000))
    chain = Chain(tmp_path / "out").all(scan)
    assert records.read(chain.path("scan.json"))["status"] == "ok"
    record = records.read(chain.path("lungs.json"))
    assert (record["status"], record["stage"]) == ("excluded", "segmentation")
    assert "no lung found" in record["reason"]
    assert len(tables.read(chain.path("parenchyma.tsv"))) == 0


def test_stop_in_place_of_exclude(tmp_path, capsys):
    scan = series.write(tmp_path / "s", series.volume(), change=lambda number, data: number != 3)
    with pytest.raises(SystemExit):
        Chain(tmp_path / "out").all(scan, on_bad_scan="stop")
    assert "missing slice(s)" in capsys.readouterr().err
    assert not (tmp_path / "out" / "scan.json").exists()


def test_values_that_are_no_hu(tmp_path):
    image, _, _ = chest.make()
    images.write(image + 1024, tmp_path / "DOE.nii.gz")
    chain = Chain(tmp_path / "out").all(tmp_path / "DOE.nii.gz")
    assert "are no HU of a chest" in records.read(chain.path("scan.json"))["reason"]


@pytest.mark.parametrize("axes", ["LPS", "RAS"])
def test_labels_of_other_software(tmp_path, axes):
    image, truth, _ = chest.make()
    lobes = np.where(truth == 1, 12, np.where(truth == 2, 11, 0)).astype(np.uint8)
    lobes[(truth == 2) & (np.arange(100)[:, None, None] > 50)] = 10
    for name, what in (("scan", image), ("labels", images.from_array(lobes, image))):
        images.write(images.sitk.DICOMOrient(what, axes), tmp_path / f"{name}.nii.gz")
    chain = Chain(tmp_path / "out").all(
        tmp_path / "scan.nii.gz",
        labels=tmp_path / "labels.nii.gz",
        label_map={"12": 1, "10": 4, "11": 5},
        label_scheme="lobes",
    )
    record = records.read(chain.path("lungs.json"))
    assert (record["method"], record["scheme"]) == ("external", "lobes")
    table = tables.read(chain.path("parenchyma.tsv")).set_index("region")
    assert table.loc["RUL", "voxels"] == (truth == 1).sum()
    assert table.loc["LUL", "voxels"] == (lobes == 10).sum()
    assert table.loc["RML", "voxels"] == 0
    assert tables.read(chain.path("quality.tsv"))["lungs_found"].tolist() == [2]


def test_labels_on_another_grid_exclude_the_scan(tmp_path):
    image, truth, _ = chest.make()
    images.write(image, tmp_path / "scan.nii.gz")
    images.write(images.from_array(truth, image)[:, :, :-1], tmp_path / "labels.nii.gz")
    chain = Chain(tmp_path / "out").all(tmp_path / "scan.nii.gz", labels=tmp_path / "labels.nii.gz")
    assert "another grid" in records.read(chain.path("lungs.json"))["reason"]


def test_wrong_label_map_stops(tmp_path):
    image, truth, _ = chest.make()
    images.write(image, tmp_path / "scan.nii.gz")
    images.write(images.from_array(truth, image), tmp_path / "labels.nii.gz")
    with pytest.raises(SystemExit):
        Chain(tmp_path / "out").all(
            tmp_path / "scan.nii.gz", labels=tmp_path / "labels.nii.gz", label_map={"1": 7}
        )


def test_record_is_plain_json(dicom_chest, tmp_path):
    chain = Chain(tmp_path / "out")
    chain.run(
        "ingest_scan",
        {"scan": str(dicom_chest[0])},
        {"image": "scan.nii.gz", "record": "scan.json"},
        on_bad_scan="exclude",
    )
    text = Path(chain.path("scan.json")).read_text()
    assert "NaN" not in text
    assert set(json.loads(text)) == {
        "status",
        "USUBJID",
        "AVISIT",
        "SERIES",
        "stage",
        "reason",
        "source",
        "size",
        "spacing_mm",
        "origin_mm",
        "direction",
        "orientation",
        "orientation_of_source",
        "voxel_type",
        "hu_min",
        "hu_max",
        "pixel_digest",
        "tags",
        "set_aside",
        "n_slices",
        "padding_voxels",
        "series_digest",
    }
