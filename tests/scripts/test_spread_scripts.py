"""The script that reads a visit again: readers whose spread is known by hand, on real measures."""

import runpy
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from helpers import ROOT, Files
from lungitude import images, records, tables
from lungitude.networks import inference

IDENTITY = {"USUBJID": "001", "AVISIT": "Baseline"}
MEASURES = {
    "VOL": "insp:parenchyma:all:volume_ml",
    "MLD": "insp:parenchyma:all:mld_hu",
    "MLDRUL": "insp:parenchyma:RUL:mld_hu",
    "NORMAL": "visit:prm:all:normal_pct",
    "FSAD": "visit:prm:all:fsad_pct",
    "CACS": "calcium:calcium:all:score",
    "EF": "cta:ventricle:all:ef_pct",
    "LVM": "cta:ventricle:all:lvm_g",
}
# A lung of 20 x 16 x 18 voxels of 3 mm, its upper half -840 HU, its lower -860.
LUNG = np.s_[10:30, 8:24, 12:30]


class Perfect:
    """A reader that finds each structure by its HU, in any view."""

    views = 0

    def __init__(self, *arguments, **settings):
        type(self).views = 0

    def read(self, hu, spacing_mm, parts):
        type(self).views += 1
        made = {"lobes": np.where(hu < -320, 1, 0), "coronary": np.where(hu > 180, 2, 0)}
        return inference.Maps({part: made[part].astype(np.uint8) for part in parts})

    def cycle(self, phases, spacing_mm):
        kinds = [np.where(hu > 250, 1, np.where(hu > 90, 2, 0)) for hu in phases]
        return inference.Maps({"heart": [kind.astype(np.uint8) for kind in kinds]})


class Shifting(Perfect):
    """In the second and the third view its lungs reach 1 and 2 voxels further to the left."""

    def read(self, hu, spacing_mm, parts):
        found = super().read(hu, spacing_mm, parts)
        for _ in range(self.views - 1) if "lobes" in parts else ():
            lobes = found.labels["lobes"]
            lobes[:, :, 1:] |= lobes[:, :, :-1]
        return found


class Blind(Perfect):
    """It finds nothing in its first view."""

    def read(self, hu, spacing_mm, parts):
        found = super().read(hu, spacing_mm, parts)
        if self.views == 1:
            found.labels = {part: labels * 0 for part, labels in found.labels.items()}
        return found


def image(hu, spacing=(3.0, 3.0, 3.0)):
    made = sitk.GetImageFromArray(np.asarray(hu, np.int16))
    made.SetSpacing(spacing)
    return made


def run(script, folder, inputs, outputs, **params):
    job = SimpleNamespace(
        rule=script,
        wildcards=["001"],
        log=[str(folder / "log")],
        input=Files(**inputs),
        output=Files(**{name: str(folder / path) for name, path in outputs.items()}),
        params=Files(**params),
    )
    script = str(ROOT / "scripts" / f"{script}.py")
    runpy.run_path(script, init_globals={"snakemake": job}, run_name="__main__")


def phases():
    """Two phases of a heart: 10 x 10 x 10 voxels of blood, then 10 x 10 x 4, in a wall."""
    made = []
    for depth in (10, 4):
        hu = np.full((24, 24, 24), 20)
        hu[6:18, 6:18, 6:18] = 120
        hu[7:17, 7:17, 7 : 7 + depth] = 350
        made.append(image(hu, (2.0, 2.0, 2.0)))
    return made


@pytest.fixture
def visit(measured, tmp_path):
    """Its files, for a test to bend."""
    return shutil.copytree(measured, tmp_path / "visit")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A visit with an inspiration, a registered expiration, a calcium scan and a gated scan."""
    folder = tmp_path_factory.mktemp("measured")
    hu = np.full((40, 30, 40), 40)
    hu[LUNG] = -840
    hu[10:20, 8:24, 12:30] = -860
    images.write(image(hu), folder / "insp.nii.gz")
    lungs = images.from_array((hu < -320).astype(np.uint8), image(hu))
    images.write(lungs, folder / "insp_lungs.nii.gz")
    held = np.where((np.indices(hu.shape)[2] < 16) & (hu < 0), -870, hu + 100)  # 4 of 18 columns
    images.write(image(held), folder / "expiration.nii.gz")
    hu = np.full((10, 48, 48), 40)
    hu[4:6, 20:24, 20:24] = 250
    images.write(image(hu, (0.5, 0.5, 3.0)), folder / "calcium.nii.gz")
    marks = images.from_array((hu > 130).astype(np.uint8), image(hu, (0.5, 0.5, 3.0)))
    images.write(marks, folder / "coronary.nii.gz")
    hearts = phases()
    images.write(images.join_cycle(hearts), folder / "cta.nii.gz")
    kinds = [np.where(images.array(p) > 250, 1, images.array(p) > 90) for p in hearts]
    kinds = [np.where(images.array(p) > 250, 1, 2 * k) for p, k in zip(hearts, kinds, strict=True)]
    maps = [images.from_array(k.astype(np.uint8), p) for k, p in zip(kinds, hearts, strict=True)]
    images.write(images.join_cycle(maps), folder / "heart.nii.gz")
    for name in ("insp", "calcium", "cta", "registration"):
        records.write(folder / f"{name}.json", **IDENTITY, SERIES=name)
    records.write(folder / "insp_lungs.json", scheme="lobes")
    measure(folder)
    return folder


def measure(folder):
    """Measure the visit as the rules do."""
    of = {"insp": "insp.nii.gz", "calcium": "calcium.nii.gz", "cta": "cta.nii.gz"}
    lungs = {"lungs": folder / "insp_lungs.nii.gz", "lungs_record": folder / "insp_lungs.json"}
    wanted = {
        "parenchyma": ("insp", lungs, ()),
        "calcium": ("calcium", {"coronary": folder / "coronary.nii.gz"}, ["picture"]),
        "ventricle": ("cta", {"heart": folder / "heart.nii.gz"}, ["curve", "picture"]),
    }
    for name, (series, more, others) in wanted.items():
        inputs = {"image": folder / of[series], "record": folder / f"{series}.json", **more}
        outputs = {other: f"{name}_{other}" for other in others}
        outputs = {
            key: path + (".png" if key == "picture" else "") for key, path in outputs.items()
        }
        outputs["table"] = f"{name}.tsv"
        identity = {**IDENTITY, "SERIES": series}
        run(f"measure_{name}", folder, inputs, outputs, identity=identity)
    inputs = {"inspiration": folder / "insp.nii.gz", "expiration": folder / "expiration.nii.gz"}
    inputs |= {**lungs, "record": folder / "registration.json"}
    outputs = {"table": "prm.tsv", "map": "prm.nii.gz", "picture": "prm.png"}
    identity = {**IDENTITY, "SERIES": "visit"}
    run("measure_prm", folder, inputs, outputs, identity=identity, vessel_hu=None)


def again(folder, reader, monkeypatch, views=3):
    """Read the visit again and return the table by PARAMCD."""
    monkeypatch.setattr(inference, "Reader", reader)
    series = ("insp", "calcium", "cta")
    found = [("calcium", "calcium"), ("cta", "ventricle"), ("insp", "parenchyma"), ("visit", "prm")]
    inputs = {
        "images": [folder / f"{name}.nii.gz" for name in series],
        "records": [folder / f"{name}.json" for name in series],
        "tables": [folder / f"{name}.tsv" for _, name in found],
        "lungs": [folder / "insp_lungs.nii.gz"],
        "lungs_records": [folder / "insp_lungs.json"],
        "expiration": [folder / "expiration.nii.gz"],
        "vessels": [],
        "baseline": [],
        "change": [],
    }
    run(
        "spread_network",
        folder,
        inputs,
        {"table": "spread.tsv"},
        identity=IDENTITY,
        series=list(series),
        chests=["insp"],
        roles={"inspiration": "insp"},
        measures=MEASURES,
        tables=found,
        made={"insp": ["lobes"], "calcium": ["coronary"], "cta": ["heart"]},
        views=views,
        precision="float32",
        weights=None,
        vessel_tracking=False,
        psf_mm=None,
        vessel_hu=None,
        without_vessels=False,
    )
    return tables.read(folder / "spread.tsv").set_index("PARAMCD")


def test_a_perfect_reader_has_no_spread_and_finds_what_was_measured(visit, monkeypatch):
    found = again(visit, Perfect, monkeypatch)
    assert list(found.index) == list(MEASURES)
    assert found["sd"].max() < 1e-9
    assert found["mean"].tolist() == pytest.approx(found["AVAL"].tolist(), rel=1e-9)
    assert (found["views"] == 3).all()
    assert (found["missing"] == 0).all()
    assert (found["USUBJID"] == "001").all()
    # As known by hand.
    assert found.loc["VOL", "AVAL"] == pytest.approx(20 * 16 * 18 * 0.027)
    assert found.loc["MLD", "AVAL"] == pytest.approx(-850.0)
    assert found.loc["FSAD", "AVAL"] == pytest.approx(100 * 4 / 18)
    assert found.loc["CACS", "AVAL"] == pytest.approx(2 * 16 * 0.25 * 2)
    assert found.loc["EF", "AVAL"] == pytest.approx(60.0)
    assert found.loc["LVM", "AVAL"] == pytest.approx(1.05 * 0.008 * (12**3 - 10**3))


def test_a_reader_that_shifts_a_border_has_the_spread_known_by_hand(visit, monkeypatch):
    found = again(visit, Shifting, monkeypatch)
    column_ml = 20 * 16 * 0.027
    assert found.loc["VOL", "AVAL"] == pytest.approx(18 * column_ml)
    assert found.loc["VOL", "mean"] == pytest.approx(19 * column_ml)
    assert found.loc["VOL", "sd"] == pytest.approx(column_ml)
    # Of 18, 19 and 20 columns none, one and two are of 40 HU.
    means = [(-850 * 18 + 40 * more) / (18 + more) for more in range(3)]
    assert found.loc["MLD", "mean"] == pytest.approx(np.mean(means))
    assert found.loc["MLD", "sd"] == pytest.approx(np.std(means, ddof=1))
    shares = [100 * 4 / (18 + more) for more in range(3)]
    assert found.loc["FSAD", "sd"] == pytest.approx(np.std(shares, ddof=1))
    assert found.loc[["EF", "LVM", "CACS"], "sd"].max() < 1e-9


def test_a_reading_without_a_value_is_counted(visit, monkeypatch):
    found = again(visit, Blind, monkeypatch)
    assert found.loc[["MLD", "MLDRUL", "NORMAL"], "missing"].tolist() == [1, 1, 1]
    assert found.loc["MLD", "mean"] == pytest.approx(-850.0)
    assert found.loc["EF", "missing"] == 0


def test_the_same_visit_gives_the_same_bytes(visit, monkeypatch):
    again(visit, Perfect, monkeypatch, views=2)
    first = (visit / "spread.tsv").read_bytes(), (visit / "log").read_bytes()
    again(visit, Perfect, monkeypatch, views=2)
    assert first == ((visit / "spread.tsv").read_bytes(), (visit / "log").read_bytes())


def test_what_was_not_measured_is_not_read_again(visit, monkeypatch):
    records.exclude(visit / "calcium.json", "ingest", "a slice is missing", **IDENTITY)
    (visit / "calcium.tsv").write_bytes(b"")  # excluded
    flag = tables.pd.DataFrame({"region": ["all"], "flag": ["heart: one phase is missing"]})
    tables.write(flag, visit / "ventricle.tsv", {**IDENTITY, "SERIES": "cta"})  # refused
    found = again(visit, Perfect, monkeypatch)
    assert list(found.index) == ["VOL", "MLD", "MLDRUL", "NORMAL", "FSAD"]
