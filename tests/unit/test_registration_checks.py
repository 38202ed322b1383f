"""Checks of registrations on phantom patients: what holds passes, what can't hold is named."""

import functools

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from unit.phantom_case import ROW

from lungitude import images, registration
from lungitude.phantom import render
from lungitude.registration import checks, settings
from lungitude.registration.transform import Transform
from lungitude.reporting import quality

QUICK = {"backend": "simpleitk", "spacing_mm": 5}
ROWS = {
    "mild": ROW,
    "severe": {**ROW, "USUBJID": "S002", "EMPH_PCT": 32.0, "FSAD_PCT": 35.0, "EXPRATIO": 0.72},
}


@functools.cache
def scans(who, noise_hu=20.0, voxel_mm=3.5):
    """Scan and lungs of a patient at each breath, and the record."""
    section = {"voxel_mm": [voxel_mm] * 3, "vessel_terminals": 800, "noise_hu": noise_hu}
    rendered = render.render(render.prepare(ROWS[who], section))
    found = {"record": rendered["insp"].record}
    for phase, scan in rendered.items():
        lungs = scan.lungs
        found[phase] = (scan.grid.image(render.deliver(scan)), scan.grid.image(lungs))
    return found


@functools.cache
def judged(fixed, moving, change=None, noise_hu=20.0):
    """Report on a registration of two phases, such as "mild insp", the moving one changed."""
    (who, phase), (whose, other) = fixed.split(), moving.split()
    pair = scans(who)[phase], scans(whose, noise_hu)[other]
    if change:
        pair = pair[0], tuple(change(image) for image in pair[1])
    return report(*pair, kind="breath" if phase != other else "visits")


def report(fixed, moving, kind=None):
    transform = registration.register(
        fixed[0], moving[0], fixed_mask=fixed[1], moving_mask=moving[1], **QUICK
    )
    return registration.report(fixed[0], moving[0], transform, (fixed[1], moving[1]), kind)


def flipped(image, axes):
    """Flip the values along axes x, y, z; the grid stays."""
    values = np.flip(images.array(image), [2 - axis for axis in axes])
    return images.from_array(np.ascontiguousarray(values), image)


def without_base(image):
    return image[:, :, image.GetSize()[2] // 2 - 8 :]


def without_apex(image):
    return image[:, :, : image.GetSize()[2] // 2 + 10]


def mirrored(image):
    return flipped(image, [0])


@pytest.mark.parametrize(
    ("fixed", "moving", "noise_hu"),
    [
        ("mild insp", "mild exp", 20.0),
        ("severe insp", "severe exp", 20.0),
        ("severe insp", "severe exp", 60.0),
    ],
)
def test_two_scans_of_one_patient_pass(fixed, moving, noise_hu):
    found = judged(fixed, moving, None, noise_hu)
    assert found["warnings"] == found["refused"] == []
    assert found["dice_after"] > 0.96
    assert found["similarity"] > checks.MIN_SIMILARITY + 0.05
    assert found["unlike_pct"] < 5
    assert found["implausible_pct"] == found["folding_pct"] == 0
    assert found["jacobian_p01"] < found["jacobian_mean"] < found["jacobian_p99"]
    assert found["jacobian_mean"] == pytest.approx(found["volume_ratio"], rel=0.02)
    assert found["flip_gain"] < -checks.MAX_FLIP_GAIN
    assert (found["fixed_cut_pct"], found["moving_cut_pct"], found["flip"]) == (0, 0, "")


@pytest.mark.parametrize("moving", ["severe insp", "severe exp"])
def test_another_patient_is_refused_although_the_lungs_meet(moving):
    found = judged("mild insp", moving)
    assert found["dice_after"] > 0.95
    assert found["similarity"] < checks.MIN_SIMILARITY_USABLE - 0.05
    assert "another patient" in found["refused"][0]
    assert checks.map_fails(found)


@pytest.mark.parametrize(
    ("axes", "name"),
    [([0], "left to right"), ([1], "front to back"), ([0, 2], "left to right and head to feet")],
)
def test_a_flipped_scan_is_refused_and_the_flip_named(axes, name):
    moving = [flipped(image, axes) for image in scans("mild")["exp"]]
    found = report(scans("mild")["insp"], moving, "breath")
    assert found["flip"] == name
    assert any(f"flipped {name}:" in text for text in found["refused"])
    assert not checks.map_fails(found)  # no registration turns a scan round


def test_flips_in_the_header_are_no_flips():
    """Axes that run the other way, with origin and direction to match, show the same patient."""
    fixed, moving = scans("mild")["insp"], scans("mild")["exp"]
    turned = tuple(sitk.Flip(image, [True, True, False]) for image in moving)
    assert report(fixed, turned, "breath")["warnings"] == []


@pytest.mark.parametrize(("cut", "face"), [(without_base, "feet"), (without_apex, "head")])
def test_a_cropped_scan_is_flagged_with_its_face(cut, face):
    found = judged("mild insp", "mild exp", cut)
    assert found["moving_cut"] == face
    assert found["moving_cut_pct"] > 75
    assert any(f"moving scan cuts the lungs off at the {face}" in t for t in found["refused"])
    assert not checks.map_fails(found)


def test_a_field_of_view_filled_up_with_padding_is_cropped_too():
    fixed, (hu, lungs) = scans("mild")["insp"], scans("mild")["exp"]
    values, inside = images.array(hu).copy(), images.array(lungs).copy()
    gone = len(values) // 2 - 10
    values[:gone], inside[:gone] = images.PADDING_HU, 0
    moving = images.from_array(values, hu), images.from_array(inside, lungs)
    start = Transform(sitk.Transform(3, sitk.sitkIdentity))
    found = registration.report(fixed[0], moving[0], start, (fixed[1], moving[1]))
    assert found["moving_cut"] == "feet"
    assert found["fixed_cut"] == ""


def test_faces_follow_the_direction_of_the_axes():
    image = sitk.DICOMOrient(scans("mild")["insp"][0], "RAI")
    lungs = sitk.DICOMOrient(scans("mild")["insp"][1], "RAI")
    middle = image.GetSize()[0] // 4
    image, lungs = image[middle:], lungs[middle:]
    found = registration.report(
        image, image, Transform(sitk.Transform(3, sitk.sitkIdentity)), (lungs, lungs)
    )
    patient = {"R": "right", "L": "left"}[images.orientation(image)[0]]
    lost = {"right": "left", "left": "right"}[patient]
    assert found["fixed_cut"] == lost


def test_breaths_and_visits_change_the_volume_within_reason():
    fixed, moving = scans("mild")["exp"], scans("mild")["insp"]
    start = Transform(sitk.Transform(3, sitk.sitkIdentity))
    for kind, expected in (("breath", True), ("visits", True), (None, False)):
        found = registration.report(fixed[0], moving[0], start, (fixed[1], moving[1]), kind)
        assert any("of the volume" in text for text in found["warnings"]) == expected


def test_lungs_that_shrink_to_nothing_are_implausible():
    hu, lungs = scans("mild")["insp"]
    tiny = sitk.AffineTransform(3)
    tiny.Scale(0.4)
    found = registration.report(hu, hu, Transform(tiny), (lungs, lungs))
    assert found["implausible_pct"] == 100
    assert found["jacobian_p99"] == pytest.approx(0.064)
    assert any("beyond a factor" in text for text in found["warnings"])


def test_an_empty_mask_is_refused():
    hu, lungs = scans("mild")["insp"]
    start = Transform(sitk.Transform(3, sitk.sitkIdentity))
    found = registration.report(hu, hu, start, (lungs, lungs * 0))
    assert np.isnan(found["dice_after"])
    assert "a lung mask is empty" in found["refused"]


def test_an_empty_scan_has_no_contents_in_common():
    (hu, lungs), (other, other_lungs) = scans("mild")["insp"], scans("mild")["exp"]
    found = report((hu, lungs), (other * 0, other_lungs))
    assert any("contents" in text for text in found["refused"])


def test_the_better_report_has_fewer_faults_then_is_more_similar():
    good, foreign = judged("mild insp", "mild exp"), judged("mild insp", "severe insp")
    assert checks.better(foreign, good)
    assert not checks.better(good, foreign)
    assert not checks.better(good, good)
    assert checks.better(good, {**good, "similarity": good["similarity"] + 0.01})


def test_each_face_that_cuts_the_lungs_has_its_own_limit():
    """A tenth at the head is too much also where more than that touches a side, which may be."""
    inside = np.zeros((40, 40, 40), np.uint8)
    inside[5:35, 5:35, 5:35] = 1
    inside[35:, 5:15, 5:14] = 1  # 90 of 900 voxels at the head
    inside[10:25, 10:20, 35:] = 1  # 150 of 900 at the left
    mask = sitk.GetImageFromArray(inside)
    image = sitk.GetImageFromArray(np.where(inside > 0, -850, 40).astype(np.int16))
    found = checks._cut(image, mask, "fixed")
    assert found["fixed_cut"] == "head"
    assert found["fixed_cut_pct"] == pytest.approx(10.0, abs=1.5)


def test_difference_of_two_maps_is_that_of_a_shift():
    lungs = scans("mild")["insp"][1]
    first = Transform(sitk.Transform(3, sitk.sitkIdentity))
    second = Transform(sitk.TranslationTransform(3, (3.0, 0.0, -4.0)))
    assert checks.difference(first, second, lungs) == pytest.approx((5.0, 5.0))


def test_settings_of_a_rule_are_parted():
    given, fallback, second = settings.split(None)
    assert (given, fallback["backend"], second) == ({"preset": "lung"}, "antspyx", None)
    asked = {
        **QUICK,
        "fallback": None,
        "second_opinion": {"backend": "antspyx", "subjects": ["S001"]},
    }
    given, fallback, second = settings.split(asked)
    assert given == {"preset": "lung", **QUICK}
    assert fallback is None
    assert second == {
        "settings": {"preset": "lung", "backend": "antspyx"},
        "subjects": ["S001"],
    }
    assert settings.split({"backend": "antspyx"})[1] is None  # would be the same again
    assert "fallback" in asked


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"fallback": {"backend": "none"}}, "backend"),
        ({"fallback": {"spacing": 3}}, "unknown settings spacing"),
        ({"fallback": {"preset": "heart", "backend": "linear"}}, "preset heart, not lung"),
        ({"fallback": {"backend": "torch", "points": 0.5}}, "points is 0.5, no whole number"),
        ({"fallback": {"clip_hu": 5}}, "write it as"),
        ({"fallback": {"clip_hu": ["a", "b"]}}, "no number"),
        ({"fallback": {"clip_hu": [-1000, -500, -300]}}, "not .low, high."),
        ({"fallback": {"start": "nonsense"}}, "none of masks, linear"),
        ({"backend": "simpleitk", "diffeomorphic": "maybe"}, "none of False, True"),
        ({"second_opinion": {"backend": "antspyx"}}, "backend and subjects"),
        ({"second_opinion": {"backend": "torch", "subjects": []}}, "name another backend"),
        ({"second_opinion": {"backend": "none", "subjects": []}}, "backend"),
    ],
)
def test_settings_of_a_rule_are_checked(given, text):
    with pytest.raises(ValueError, match=text):
        settings.split(given)


def test_the_quality_page_flags_a_warned_and_names_a_refused_registration(tmp_path):
    columns = ["USUBJID", "AVISIT", "SERIES", "status", "stage", "reason", "warnings", "dice_after"]
    rows = [
        ["S1", "Week 6", "to_baseline", "ok", "registration", "", "first; second", 0.95],
        ["S2", "Week 6", "to_baseline", "excluded", "registration", "flipped", "flipped", 0.9],
    ]
    text = quality.build(
        pictures=[],
        registrations=pd.DataFrame(rows, columns=columns),
        quality=pd.DataFrame(),
        scans=pd.DataFrame(),
        visits=[{"name": "Week 6", "path": "week06"}],
        trial={"title": "T", "synthetic": False, "data_cut": ""},
        digests={},
        page=tmp_path / "quality.html",
    )
    assert '<span class="flag">second</span>' in text
    assert "S1, Week 6</a>: first, second" in text
    assert '<span class="out">excluded: registration: flipped</span>' in text
    assert "S2, Week 6</a>" not in text
    assert text.count('class="visit flagged"') == 1
