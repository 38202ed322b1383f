"""The analytic heart: closed volumes, a wall that keeps its volume, calcium of the right score."""

import dataclasses
import math

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from unit.phantom_case import ROW

from lungitude import dicom as reader
from lungitude import images
from lungitude.biomarkers.agatston import THRESHOLD_HU, agatston, integrated
from lungitude.phantom import (
    calcium,
    cardiac,
    coronaries,
    dicom,
    grids,
    heart,
    heart_raster,
    render,
)
from lungitude.phantom import record as records

SIZES = {"LVM": 140.0, "EF": 57.0, "SV": 70.0}
_CHEST = render.solve(records.draw(ROW, {}))  # the chest is solved once


def solved(usubjid="S001", avisit="Baseline", **quantities):
    names = {column: name for column, (name, *_) in records.QUANTITIES.items()}
    wanted = {names[column]: value for column, value in {**SIZES, **quantities}.items()}
    record = dataclasses.replace(_CHEST, usubjid=usubjid, avisit=avisit, quantities=wanted)
    return heart.solve(record)


@pytest.fixture(scope="module")
def record():
    return solved(CACS=250.0)


def millilitres(labels, grid):
    return np.bincount(labels.ravel(), minlength=8) * np.prod(grid.spacing_mm) / 1000.0


def test_volumes_ask_for_what_was_given(record):
    truth = heart.truth(record)
    assert truth["sv_ml"] == pytest.approx(70.0)
    assert truth["ef_pct"] == pytest.approx(57.0)
    assert truth["edv_ml"] == pytest.approx(70.0 / 0.57)
    assert truth["lvm_g"] == 140.0
    # An ejection of 0.35 of the cycle ends at the phase of 35 %.
    assert np.argmax(truth["lv_ml"]) == 0
    assert truth["lv_ml"][7] == pytest.approx(truth["esv_ml"])
    low, high = min(truth["lv_ml"]), max(truth["lv_ml"])
    assert 100.0 * (high - low) / high == pytest.approx(57.0)
    moved = np.array(truth["rv_ml"]) - truth["rv_esv_ml"]
    assert moved == pytest.approx(np.array(truth["lv_ml"]) - truth["esv_ml"])


@pytest.mark.parametrize("phase", [0.0, 0.35])
def test_voxels_count_to_the_closed_volumes(record, phase):
    box = cardiac.heart_grid(record, (0.8, 0.8, 0.8))
    found = millilitres(cardiac.labels(record, phase, box), box)
    assert found[1] == pytest.approx(heart.lv_ml(record.heart, phase), rel=3e-3)
    assert found[2] == pytest.approx(140.0 / heart.MUSCLE_G_PER_ML, rel=3e-3)
    assert found[3] == pytest.approx(heart.rv_ml(record.heart, phase), rel=3e-3)
    assert (found[4:] > 5.0).all()


def test_thick_slices_count_without_bias(record):
    box = cardiac.heart_grid(record)
    wall = [
        millilitres(cardiac.labels(record, n / 20, box), box)[2] * heart.MUSCLE_G_PER_ML
        for n in range(20)
    ]
    assert np.mean(wall) == pytest.approx(140.0, rel=2e-3)


@settings(max_examples=40, deadline=None)
@given(
    sv=st.floats(20, 160),
    ef=st.floats(15, 85),
    lvm=st.floats(50, 350),
    phase=st.floats(0, 1, exclude_max=True),
)
def test_the_wall_keeps_its_volume_in_hearts_of_all_sizes(sv, ef, lvm, phase):
    edv = 100.0 * sv / ef
    if not heart.EDV_LIMITS_ML[0] <= edv <= heart.EDV_LIMITS_ML[1]:
        with pytest.raises(ValueError, match=r"S001 Baseline: SV .* end-diastolic volume"):
            solved(SV=sv, EF=ef, LVM=lvm)
        return
    model = solved(SV=sv, EF=ef, LVM=lvm, CACS=0.0).heart
    now = heart.geometry(model, phase)
    height = now["base"] - now["centre"]
    cavity, outer = (
        heart.cut_ellipsoid_ml(now[f"{s}_a"], now[f"{s}_a"], now[f"{s}_c"], height)
        for s in ("endo", "epi")
    )
    assert cavity == pytest.approx(heart.lv_ml(model, phase), rel=1e-9)
    assert outer - cavity == pytest.approx(lvm / heart.MUSCLE_G_PER_ML, rel=1e-6)
    assert now["endo_a"] < now["epi_a"]
    assert now["endo_c"] < now["epi_c"]
    names = ("rv_q", "rv_d", "rv_length", "base", "epi_a", "epi_c", "centre")
    assert heart.crescent_ml(*(now[name] for name in names)) == pytest.approx(
        heart.rv_ml(model, phase), rel=1e-6
    )


def test_a_truncated_ellipsoid_has_the_volume_of_its_slices():
    z = np.linspace(-60.0, 21.0, 20001)
    area = math.pi * 25.0 * 22.0 * (1.0 - (z / 60.0) ** 2)
    slices = np.trapezoid(area, z) / 1000.0
    assert heart.cut_ellipsoid_ml(25.0, 22.0, 60.0, 21.0) == pytest.approx(slices, rel=1e-6)


def test_poses_invert_and_displacement_moves_the_heart(record):
    points = np.random.default_rng(1).normal(scale=60.0, size=(50, 3))
    assert heart.to_local(record.heart, heart.to_patient(record.heart, points)) == pytest.approx(
        points
    )
    moved = {**record.heart, "displacement_mm": [0.0, 3.0, -2.0]}
    assert heart.to_patient(moved, points) - heart.to_patient(
        record.heart, points
    ) == pytest.approx(np.tile([0.0, 3.0, -2.0], (50, 1)))


def test_oblique_labels_agree_with_straight_ones(record):
    steps = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix() * 1.5
    centre = heart.to_patient(record.heart, [20.0, 0.0, -10.0])
    corner = centre - 50.0 * steps.sum(axis=0)
    found = cardiac.labels_at(record, 0.0, corner, steps, (100, 100, 100))
    ml = np.bincount(found.ravel(), minlength=8) * 1.5**3 / 1000.0
    assert ml[1] == pytest.approx(record.heart["edv_ml"], rel=5e-3)
    assert ml[3] == pytest.approx(record.heart["rv_edv_ml"], rel=5e-3)


def test_coronary_arteries_lie_on_the_heart_at_each_phase():
    for case in (solved(), solved("S009", SV=95.0, EF=35.0, LVM=90.0)):
        for phase in (0.0, 0.35):
            par = heart.parameters(case.heart, phase)
            for line in coronaries.centrelines(case, phase).values():
                local = heart.to_local(case.heart, line["points"])
                depth = np.array([heart_raster.shell_depth(*point, par) for point in local])
                assert depth.max() < -1.0
                assert depth.min() > -12.0
                assert np.linalg.norm(line["tangent"], axis=1) == pytest.approx(1.0)
                steps = np.linalg.norm(np.diff(line["points"], axis=0), axis=1)
                assert steps.min() > 0.2
                assert steps.max() < 6.0


def test_a_stenosis_narrows_the_lumen():
    case = solved()
    blocked = {**case.heart, "stenoses": [{"vessel": 1, "position": 0.4, "severity": 0.7}]}
    narrow = coronaries.centrelines(dataclasses.replace(case, heart=blocked), 0.0)[1]
    wide = coronaries.centrelines(
        dataclasses.replace(case, heart={**case.heart, "stenoses": []}), 0.0
    )[1]
    ratio = narrow["radius"] / wide["radius"]
    assert ratio.min() == pytest.approx(0.3, abs=0.02)
    assert abs(narrow["arc"][ratio.argmin()] / narrow["arc"][-1] - 0.4) < 0.01
    assert (wide["radius"][0], wide["radius"][-1]) == (2.0, 1.0)


def test_plaques_lie_on_the_wall_of_their_artery(record):
    wide = dataclasses.replace(record, heart={**record.heart, "stenoses": []})
    for phase in (0.0, cardiac.CALCIUM_PHASE):
        centre, frame, _, _ = coronaries.plaque_shapes(wide, phase)
        lines = coronaries.centrelines(wide, phase)
        assert len(centre) == len(record.heart["plaques"]) > 0
        for point, plaque in zip(centre, record.heart["plaques"], strict=True):
            line = lines[plaque["vessel"]]
            away = np.linalg.norm(line["points"] - point, axis=1)
            assert away.min() == pytest.approx(line["radius"][away.argmin()], abs=0.35)
        assert frame @ frame.transpose(0, 2, 1) == pytest.approx(
            np.tile(np.eye(3), (len(frame), 1, 1)), abs=1e-9
        )


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 3.0), (1.5, 1.5, 1.5)])
def test_plaques_keep_their_volume_on_any_grid(record, spacing):
    box = cardiac.heart_grid(record, spacing)
    weight, dense = cardiac.plaque_cover(box, coronaries.plaque_shapes(record, 0.75))
    truth = calcium.truth(record)
    voxel = np.prod(spacing)
    assert weight.sum() * voxel == pytest.approx(truth["calcium_mm3"], rel=2e-3)
    assert dense.sum() * voxel == pytest.approx(truth["calcium_hu_mm3"], rel=2e-3)


def test_integrated_attenuation_of_a_plaque_is_its_volume():
    """Of an ellipsoid in even tissue, blurred and in thick slices, within 1 %."""
    box = grids.Grid((0.0, 0.0, 0.0), (0.7, 0.7, 3.0), (9, 40, 40))
    frame = np.eye(3)[[1, 2, 0]]
    semi = np.array([3.0, 1.5, 1.7])
    shape = [np.array([[13.1, 14.2, 12.4]]), frame[None], semi[None], np.array([700.0])]
    hu = np.full(box.shape, 42.0, np.float32)
    cardiac.blend_plaques(hu, *cardiac.plaque_cover(box, shape))
    found = integrated(hu, 42.0, 700.0, np.prod(box.spacing_mm))
    assert found == pytest.approx(4.0 / 3.0 * math.pi * semi.prod(), rel=0.01)
    assert hu.max() <= 700.0


@pytest.mark.parametrize("target", [0.0, 7.0, 60.0, 400.0, 2500.0, 6000.0])
def test_calcium_has_the_score_asked_for(target):
    case = solved("S004", CACS=target)
    scan = cardiac.calcium_scan(case)
    image = scan.grid.image(scan.t1)
    mask = scan.grid.image(cardiac.coronary_labels(case, scan.cycle, scan.grid))
    table = agatston(image, mask)
    assert abs(table["score"][0] - target) <= max(3.0, 0.03 * target)
    assert bool(case.heart["plaques"]) == (target > 0)
    assert table["score"][1:].sum() == pytest.approx(table["score"][0])


def test_no_bone_counts_as_calcium_of_a_large_heart():
    case = solved(SV=110.0, EF=23.0, CACS=0.0)
    scan = cardiac.calcium_scan(case)
    mask = cardiac.coronary_labels(case, scan.cycle, scan.grid) > 0
    assert scan.t1[mask].max() < THRESHOLD_HU
    assert scan.t1[~mask].max() > THRESHOLD_HU  # bone is in the box


def test_more_calcium_contains_less():
    few, many = (solved(CACS=score).heart["plaques"] for score in (120.0, 300.0))
    assert len(few) < len(many)
    assert few[:-1] == many[: len(few) - 1]
    assert few[-1]["position"] == many[len(few) - 1]["position"]
    assert np.prod(few[-1]["semi_mm"]) <= np.prod(many[len(few) - 1]["semi_mm"])


def test_too_much_calcium_is_refused():
    with pytest.raises(ValueError, match="S001 Baseline: CACS 30000 does not fit"):
        solved(CACS=30000.0)


def test_sizes_that_are_not_asked_for_are_the_patients_own():
    cases = [
        heart.solve(dataclasses.replace(_CHEST, quantities={}, avisit=visit, usubjid=who))
        for who, visit in (("S001", "Baseline"), ("S001", "Week 12"), ("S002", "Baseline"))
    ]
    assert cases[0].heart == cases[1].heart
    assert cases[0].heart["edv_ml"] != cases[2].heart["edv_ml"]


def test_a_visit_changes_the_size_and_leaves_the_rest(record):
    later = solved(avisit="Week 12", CACS=250.0, SV=75.0, EF=58.0)
    for name in ("turn_rad", "rate_bpm", "slenderness", "stenoses"):
        assert later.heart[name] == record.heart[name]
    assert np.linalg.norm(np.subtract(later.heart["origin_mm"], record.heart["origin_mm"])) < 1.5


def test_the_record_survives_json(record):
    again = records.from_json(records.to_json(record))
    assert again.heart == record.heart


def test_equal_records_give_equal_images(record):
    box = cardiac.heart_grid(record, (3.0, 3.0, 3.0))
    again = solved(CACS=250.0)
    for case in (record, again):
        assert case.heart == record.heart
    scans = [cardiac.cta(case, 0.4, box) for case in (record, again)]
    assert scans[0].t1.tobytes() == scans[1].t1.tobytes()
    delivered = [cardiac.deliver(scan) for scan in scans]
    assert delivered[0].tobytes() == delivered[1].tobytes()
    assert (delivered[0] - scans[0].t1).std() == pytest.approx(cardiac.CTA_NOISE_HU, rel=0.1)


def test_tissues_have_their_attenuation(record):
    box = cardiac.heart_grid(record, (1.5, 1.5, 1.5))
    labels = cardiac.labels(record, 0.0, box)
    scan, plain = cardiac.cta(record, 0.0, box).t1, cardiac.calcium_scan(record, box).t1
    for code, expected in ((1, 380.0), (2, 110.0), (3, 320.0), (4, 380.0), (6, 380.0)):
        assert np.median(scan[labels == code]) == pytest.approx(expected, abs=2.0)
    plain_labels = cardiac.labels(record, cardiac.CALCIUM_PHASE, box)
    assert np.median(plain[plain_labels == 1]) == pytest.approx(42.0, abs=1.0)
    assert plain[plain_labels == 3].max() < 130.0
    assert (plain < -800.0).mean() > 0.05  # lungs beside the heart


def test_blur_keeps_the_volume_of_the_cavity(record):
    """The image's share of blood, from the wall inwards, adds up to the cavity."""
    box = cardiac.heart_grid(record, (1.0, 1.0, 1.0))
    labels = cardiac.labels(record, 0.0, box)
    scan = cardiac.draw(record, 0.0, box, contrast=True)
    points = np.stack(np.meshgrid(*box.axes()[::-1], indexing="ij")[::-1], axis=-1)
    local = heart.to_local(record.heart, points)
    now = heart.geometry(record.heart, 0.0)
    # Cavity and wall below the base, away from its valves, outside in less than half the wall.
    low = local[..., 2] < now["base"] - 8.0
    middle = ellipsoid(local, now, 0.5) & low
    share = np.clip((scan[middle] - 110.0) / 270.0, 0.0, 1.0).sum() / 1000.0
    assert share == pytest.approx((low & (labels == 1)).sum() / 1000.0, rel=0.01)


def ellipsoid(local, now, share):
    """Points within the cavity and a share of the wall's thickness."""
    a, c = (now[f"endo_{x}"] + share * (now[f"epi_{x}"] - now[f"endo_{x}"]) for x in "ac")
    s, p, along = np.moveaxis(local, -1, 0)
    return (s * s + p * p) / a**2 + ((along - now["centre"]) / c) ** 2 < 1.0


def test_territories_part_the_myocardium(record):
    box = cardiac.heart_grid(record, (2.0, 2.0, 2.0))
    where = np.argwhere(cardiac.labels(record, 0.0, box) == 2)[:, ::-1]
    points = np.array(box.origin_mm) + where * np.array(box.spacing_mm)
    segment = coronaries.segments(record, 0.0, points)
    assert set(np.unique(segment)) == set(range(1, 18))
    fed = coronaries.territory(record, 0.0, points)
    share = np.bincount(fed, minlength=4)[1:] / len(fed)
    assert np.bincount(fed, minlength=4)[0] == 0
    assert share[0] == share.max()
    assert share.min() > 0.15
    # The septum looks at the right ventricle, the lateral wall away from it.
    s = heart.to_local(record.heart, points)[:, 0]
    assert s[np.isin(segment, (2, 3, 8, 9))].min() > -1.0
    assert s[np.isin(segment, (5, 6, 11, 12))].max() < 1.0


def test_flow_falls_downstream_of_a_stenosis(record):
    box = cardiac.heart_grid(record, (3.0, 3.0, 3.0))
    where = np.argwhere(cardiac.labels(record, 0.0, box) == 2)[:, ::-1]
    points = np.array(box.origin_mm) + where * np.array(box.spacing_mm)
    fed = coronaries.territory(record, 0.0, points)
    for vessel in (1, 2, 3):
        tight = [{"vessel": vessel, "position": 0.35, "severity": 0.85}]
        case = dataclasses.replace(record, heart={**record.heart, "stenoses": tight})
        ratio = coronaries.blood_flow(case, 0.0, points) / record.heart["flow_ml_min_g"]
        assert ratio[fed != vessel] == pytest.approx(1.0)
        assert ratio.min() == pytest.approx(1.0 - 0.7 * heart.smoothstep(0.45 / 0.55), abs=0.03)
        mild = [{**tight[0], "severity": 0.35}]
        case = dataclasses.replace(record, heart={**record.heart, "stenoses": mild})
        flow = coronaries.blood_flow(case, 0.0, points)
        assert flow == pytest.approx(record.heart["flow_ml_min_g"])


def test_a_record_without_heart_is_refused():
    with pytest.raises(ValueError, match="S001 Baseline: the record has no heart"):
        cardiac.heart_grid(_CHEST)


def test_calcium_scan_as_dicom(record, tmp_path):
    scan = cardiac.calcium_scan(record, cardiac.heart_grid(record, (3.0, 3.0, 6.0)))
    hu = cardiac.deliver(scan)
    paths = dicom.write_series(scan, hu, tmp_path / "a", "calcium")
    header = pydicom.dcmread(paths[0])
    assert header.SeriesDescription == "CALCIUM SCORING"
    assert header.KVP == 120
    assert "ContrastBolusAgent" not in header
    image, facts = reader.read(tmp_path / "a")
    assert np.array_equal(images.array(image), hu)
    assert image.GetOrigin() == pytest.approx(scan.grid.origin_mm, abs=1e-3)
    assert facts["tags"]["contrast"] is False


def test_a_cycle_as_dicom(record, tmp_path):
    box = cardiac.heart_grid(record, (4.0, 4.0, 8.0))
    scans = list(cardiac.cycle(record, box, phases=5))
    hu = [cardiac.deliver(scan) for scan in scans]
    paths = dicom.write_cycle(scans, hu, tmp_path / "a", "cta")
    headers = [pydicom.dcmread(path) for path in paths]
    assert len(headers) == 5 * box.shape[0]
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)
    assert len({header.InstanceNumber for header in headers}) == len(headers)
    by_phase = {
        (
            round(header.NominalPercentageOfCardiacPhase, 3),
            header.TemporalPositionIdentifier,
            float(header.TriggerTime),
        )
        for header in headers
    }
    beat = 60000.0 / record.heart["rate_bpm"]
    assert sorted(by_phase) == [
        (20.0 * n, n + 1, pytest.approx(0.2 * n * beat, abs=0.01)) for n in range(5)
    ]
    assert headers[0].ContrastBolusAgent
    assert headers[0].HeartRate == round(60000.0 / beat)
    assert str(headers[0].PatientName).startswith(dicom.PLANTED["PatientName"])
    phases, facts = reader.read_cycle(tmp_path / "a")
    assert facts["phases"] == pytest.approx([0.0, 20.0, 40.0, 60.0, 80.0])
    for image, expected in zip(phases, hu, strict=True):
        assert np.array_equal(images.array(image), expected)


def test_a_cycle_needs_phases_on_one_grid(record, tmp_path):
    one = cardiac.cta(record, 0.0, cardiac.heart_grid(record, (8.0, 8.0, 8.0)))
    other = cardiac.cta(record, 0.5, cardiac.heart_grid(record, (9.0, 9.0, 9.0)))
    hu = [cardiac.deliver(scan) for scan in (one, other)]
    with pytest.raises(ValueError, match=r"S001 Baseline cta: the phases .* share a grid"):
        dicom.write_cycle([one, other], hu, tmp_path / "a", "cta")
    with pytest.raises(ValueError, match="two phases or more"):
        dicom.write_cycle([one, one], [hu[0]] * 2, tmp_path / "b", "cta")


@dataclasses.dataclass(frozen=True)
class Sequence:
    """Stands for an MR series."""

    record: object
    phase: str
    grid: object
    image: np.ndarray
    times_s: np.ndarray = None
    modality: str = "MR"


def test_mr_series_as_dicom(record, tmp_path):
    rng = np.random.default_rng(1)
    box = grids.Grid((-20.0, -30.0, -40.0), (1.5, 4.0, 2.0), (6, 5, 7))
    chest = Sequence(record, "vibe", box, rng.integers(0, 900, box.shape).astype(np.int16))
    paths = dicom.write_mr(chest, tmp_path / "vibe", "mri_vibe")
    assert len(paths) == 5  # coronal
    header = pydicom.dcmread(paths[2])
    assert header.Modality == "MR"
    assert header.SOPClassUID.name == "MR Image Storage"
    assert list(header.ImageOrientationPatient) == [1, 0, 0, 0, 0, -1]
    assert list(header.ImagePositionPatient) == [-20, -22, -30]
    assert np.array_equal(header.pixel_array, chest.image[::-1, 2])

    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    oblique = dataclasses.make_dataclass(
        "Oblique", ["origin_mm", "spacing_mm", "shape", "direction"]
    )((1.0, 2.0, 3.0), (1.5, 1.5, 8.0), (3, 6, 7), turn)
    frames = rng.integers(0, 900, (4, *oblique.shape)).astype(np.int16)
    cine = Sequence(record, "cine", oblique, frames, np.arange(4) * 0.25)
    headers = [pydicom.dcmread(p) for p in dicom.write_mr(cine, tmp_path / "cine", "cmr_cine")]
    assert len(headers) == 12
    assert [float(h.TriggerTime) for h in headers[::3]] == [0.0, 250.0, 500.0, 750.0]
    across = np.array(headers[0].ImageOrientationPatient, float)
    assert across == pytest.approx(turn[:, :2].T.ravel(), abs=1e-9)
    step = np.subtract(headers[1].ImagePositionPatient, headers[0].ImagePositionPatient)
    assert step.astype(float) == pytest.approx(8.0 * turn[:, 2], abs=1e-3)
    assert np.array_equal(headers[4].pixel_array, frames[1, 1])
    perfusion = dataclasses.replace(cine, phase="perfusion")
    headers = [
        pydicom.dcmread(p) for p in dicom.write_mr(perfusion, tmp_path / "p", "cmr_perfusion")
    ]
    assert headers[-1].TemporalPositionIdentifier == headers[-1].NumberOfTemporalPositions == 4
    assert headers[-1].AcquisitionTime > headers[0].AcquisitionTime
