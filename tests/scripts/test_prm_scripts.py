"""The scripts of the response map, run in-process on images whose classes are known."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from helpers import Files
from lungitude import cohort, images, records, registration, tables
from lungitude.biomarkers.prm import COLUMNS

SCRIPTS = Path(__file__).parents[2] / "scripts"
VISITS = [
    {"path": "baseline", "name": "Baseline", "baseline": True},
    {"path": "week06", "name": "Week 6", "baseline": False},
    {"path": "week12", "name": "Week 12", "baseline": False},
]
SHIFT_MM = {"baseline": 0.0, "week06": 6.0, "week12": -3.0}


def run(script, inputs, outputs, folder, **params):
    job = SimpleNamespace(
        rule=script,
        wildcards=["001"],
        log=[str(folder / "log")],
        input=Files(**inputs),
        output=Files(**{name: str(folder / path) for name, path in outputs.items()}),
        params=SimpleNamespace(**params),
    )
    runpy.run_path(
        str(SCRIPTS / f"{script}.py"), init_globals={"snakemake": job}, run_name="__main__"
    )


def chest():
    """Return labels of two lungs with lobes, and the heights of their voxels."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in (40, 30, 40)], indexing="ij")
    labels = np.where(x < 18, np.where(z > 20, 1, 3), np.where(x > 21, 5, 0))
    labels[(y < 3) | (y > 26) | (z < 4) | (z > 35)] = 0
    return labels.astype(np.uint8), z


def classes_at(visit):
    """Normal lung; the right lower lobe has fSAD, and ever more emphysema from below."""
    labels, z = chest()
    classes = np.where(labels == 3, 2, np.where(labels > 0, 1, 0)).astype(np.uint8)
    top = {"baseline": 4, "week06": 8, "week12": 12}[visit]
    classes[(labels == 3) & (z < top)] = 3
    return classes


@pytest.fixture
def patient(tmp_path):
    """The files of a patient with three visits that differ by known shifts."""
    labels, z = chest()
    for visit, shift in SHIFT_MM.items():
        folder = tmp_path / "visit" / "001" / visit / "hrct_insp"
        scan = images.from_array(
            np.where(labels > 0, z - 870, 40).astype(np.int16), sitk.Image(40, 30, 40, 2)
        )
        scan.SetSpacing((3.0, 3.0, 3.0))
        scan.SetOrigin((0.0, 0.0, shift))
        images.write(scan, folder / "scan.nii.gz")
        images.write(images.from_array(labels, scan), folder / "lungs.nii.gz")
        records.write(folder / "lungs.json", scheme="lobes")
        made = images.from_array(classes_at(visit), scan)
        images.write(made, folder.parent / "prm" / "prm.nii.gz")
        if visit != "baseline":
            change = tmp_path / "subject" / "001" / f"{visit}_to_baseline"
            change.mkdir(parents=True)
            moved = sitk.TranslationTransform(3, (0.0, 0.0, shift))
            registration.Transform(moved).write(change / "transform.tfm")
            records.write(change / "registration.json")
    return tmp_path


def compare(folder):
    def of(name):
        return [str(path) for path in sorted(folder.rglob(name)) if "to_baseline" not in path.name]

    inputs = {
        "maps": of("prm.nii.gz"), "images": of("scan.nii.gz"), "lungs": of("lungs.nii.gz"),
        "lungs_records": of("lungs.json"), "transforms": of("transform.tfm"),
        "registrations": of("registration.json"),
    }  # fmt: skip
    outputs = {"table": "prm.tsv", "picture": "prm.png"}
    run("compare_prm", inputs, outputs, folder, subject="001", visits=VISITS)
    return tables.read(folder / "prm.tsv")


def test_classes_are_followed_on_the_same_anatomy(patient):
    table = compare(patient)
    assert set(table["SERIES"]) == {"subject"}
    assert table["AVISIT"].unique().tolist() == ["Baseline", "Week 6", "Week 12"]
    found = table.set_index(["AVISIT", "region"])
    lobe = found.xs("RLL", level="region")
    # Of the 17 planes of the lobe, 4 more at each visit: a shift alone makes no change.
    assert lobe["emphysema_pct"].tolist() == pytest.approx([0, 400 / 17, 800 / 17])
    assert lobe["emphysema_change_pct"].tolist()[1:] == pytest.approx([400 / 17, 800 / 17])
    assert lobe["fsad_to_emphysema_pct"].tolist()[1:] == pytest.approx([400 / 17, 800 / 17])
    assert lobe["fsad_to_fsad_pct"].tolist()[1:] == pytest.approx([1300 / 17, 900 / 17])
    assert np.isnan(lobe["emphysema_change_pct"].iloc[0])
    assert found.xs("RUL", level="region")["normal_pct"].tolist() == pytest.approx([100] * 3)
    picture = np.asarray(Image.open(patient / "prm.png").convert("RGB"))
    coloured = np.ptp(picture.astype(int), axis=-1) > 30
    third = coloured.shape[1] // 3
    assert all(coloured[:, k * third : (k + 1) * third].mean() > 0.1 for k in range(3))


def test_a_parameter_takes_its_value_from_the_comparison(patient):
    parameters = {"PARAMCD": ["NEWEMPH"], "AVALU": ["%"]}
    parameters["MEASURE"] = ["subject:prm:RLL:fsad_to_emphysema_pct"]
    found = cohort.from_scans({"prm": compare(patient)}, tables.pd.DataFrame(parameters))
    assert found["AVISIT"].tolist() == ["Week 6", "Week 12"]
    assert found["AVAL"].tolist() == pytest.approx([400 / 17, 800 / 17])


def test_a_follow_up_that_was_excluded_has_no_row(patient):
    (patient / "visit" / "001" / "week12" / "prm" / "prm.nii.gz").write_bytes(b"")
    change = patient / "subject" / "001" / "week06_to_baseline"
    records.exclude(change / "registration.json", "registration", "Dice")
    (change / "transform.tfm").write_bytes(b"")
    assert compare(patient)["AVISIT"].unique().tolist() == ["Baseline"]
    assert (patient / "prm.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["prm/prm.nii.gz", "hrct_insp/lungs.nii.gz"])
def test_without_a_baseline_there_is_nothing_to_compare_with(patient, name):
    (patient / "visit" / "001" / "baseline" / name).write_bytes(b"")
    assert compare(patient).empty
    assert (patient / "prm.png").stat().st_size == 0


def test_the_same_patient_gives_the_same_bytes(patient):
    compare(patient)
    first = [(patient / name).read_bytes() for name in ("prm.tsv", "prm.png")]
    compare(patient)
    assert first == [(patient / name).read_bytes() for name in ("prm.tsv", "prm.png")]


def test_a_visit_is_measured_without_its_vessels(patient):
    scan = patient / "visit" / "001" / "baseline" / "hrct_insp"
    image = images.read(scan / "scan.nii.gz")
    labels, z = chest()
    vessels = ((labels == 3) & (z < 8)).astype(np.uint8)
    images.write(images.from_array(vessels, image), patient / "vessels.nii.gz")
    images.write(image - 20, patient / "expiration.nii.gz")
    records.write(patient / "registration.json")
    inputs = {
        "inspiration": scan / "scan.nii.gz",
        "expiration": patient / "expiration.nii.gz",
        "lungs": scan / "lungs.nii.gz",
        "lungs_record": scan / "lungs.json",
        "record": patient / "registration.json",
        "vessels": patient / "vessels.nii.gz",
    }
    outputs = {"table": "visit.tsv", "map": "map.nii.gz", "picture": "visit.png"}
    identity = {"USUBJID": "001", "AVISIT": "Baseline", "SERIES": "visit"}
    inputs = {name: str(path) for name, path in inputs.items()}
    run("measure_prm", inputs, outputs, patient, identity=identity, vessel_hu=None)
    table = tables.read(patient / "visit.tsv")
    assert list(table.columns) == [*identity, *COLUMNS]
    row = table.set_index("region").loc["RLL"]
    assert row["vessel_pct"] == pytest.approx(400 / 17)
    assert row["fsad_pct"] == 100
    assert row["fsad_surface_per_mm"] == 0
    whole = table.set_index("region").loc["all"]
    # Below -856 at expiration lie the planes up to 33: one flat face in each lung.
    assert 0 < whole["fsad_surface_per_mm"] < 1 / 30
    assert np.isnan(whole["fsad_corrected_pct"])
    assert "trachea" in (patient / "log").read_text()
