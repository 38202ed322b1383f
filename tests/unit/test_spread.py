"""Views leave the anatomy as it is, what they find goes back to where it was, and SDs are right."""

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from lungitude import cohort, doubts, images
from lungitude.biomarkers.airway_match import follow
from lungitude.networks import inference, spread

AIR_HU = -320.0


class Thresholds:
    """A reader to whom air is lung; of a cycle, what is bright is blood."""

    def read(self, hu, spacing_mm, parts):
        return inference.Maps({part: (hu < AIR_HU).astype(np.uint8) for part in parts})

    def cycle(self, phases, spacing_mm):
        return inference.Maps({"heart": [(hu > 200).astype(np.uint8) for hu in phases]})


def scan(spacing=(0.8, 0.8, 1.5), shape=(40, 48, 56)):
    """Soft tissue with a lung that the scan cuts off at its end, of no noise."""
    hu = np.full(shape, 40, np.int16)
    hu[12:, 8:32, 10:30] = -850
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(spacing)
    image.SetOrigin((-30.0, 12.5, 400.0))
    return image


@pytest.mark.parametrize("axes", ["LPS", "RAS", "ASL", "PIR"])
def test_labels_of_a_view_go_back_to_where_they_were(axes):
    image = sitk.DICOMOrient(scan(), axes)
    truth = images.array(image) < AIR_HU
    crops = set()
    for number in range(6):
        view = spread.View.draw(image, "001", "Baseline", "insp", number)
        found = spread.read(image, ("lobes", "airways"), Thresholds(), view)
        assert set(found) == {"lobes", "airways"}
        images.check_grid(image, found["lobes"])
        np.testing.assert_array_equal(images.array(found["lobes"]) > 0, truth)
        crops.add((view.before, view.after))
    assert len(crops) > 4


def test_phases_of_a_cycle_share_a_view_and_have_noise_of_their_own():
    phases = [scan(), scan()]
    hu = images.array(phases[1]).copy()
    hu[20:30, 36:40, 35:45] = 350
    phases[1] = images.from_array(hu, phases[1])
    view = spread.View.draw(phases[0], "001", "Baseline", "cta", 1)
    found = spread.read(phases, ("heart",), Thresholds(), view)["heart"]
    assert [int(images.array(labels).sum()) for labels in found] == [0, 400]
    seen = [view.of(phases[0], phase) for phase in (0, 1)]
    assert seen[0].GetOrigin() == seen[1].GetOrigin()
    away = images.array(seen[0]).astype(float) - images.array(seen[1])
    assert away.std() == pytest.approx(view.noise_hu * 2.0**0.5, rel=0.02)


def test_a_view_is_a_function_of_its_key():
    image = scan()

    def seen(*key):
        return images.array(spread.View.draw(image, *key).of(image)).tobytes()

    first = seen("001", "Baseline", "insp", 1)
    assert first == seen("001", "Baseline", "insp", 1)
    others = [("002", "Baseline", "insp", 1), ("001", "Week 6", "insp", 1)]
    others += [("001", "Baseline", "exp", 1), ("001", "Baseline", "insp", 2)]
    assert len({first, *(seen(*key) for key in others)}) == 5


def test_views_stay_within_their_limits():
    image = scan(spacing=(0.7, 0.9, 5.0))
    views = [spread.View.draw(image, "001", number) for number in range(200)]
    crops = np.array([(*view.before, *view.after) for view in views])
    # 4 mm are 5 and 4 voxels; of thick slices one goes at most.
    assert crops.max(axis=0).tolist() == [5, 4, 1, 5, 4, 1]
    assert crops.min() == 0
    air = [-1000 * view.scale + view.shift_hu for view in views]
    assert -1020 <= min(air) < -1010
    assert -990 < max(air) <= -980
    assert {view.noise_hu for view in views} == {spread.NOISE_LEAST_HU}  # the scan has none
    tiny = spread.View.draw(scan(shape=(6, 7, 7)), "001", 1)
    assert (*tiny.before, *tiny.after) == (0,) * 6


def test_what_a_view_shows_is_scaled_shifted_and_noisier():
    image = sitk.GetImageFromArray(np.full((20, 60, 60), -800, np.int16))
    view = spread.View((2, 0, 1), (0, 3, 0), scale=1.01, shift_hu=-7.0, noise_hu=6.0)
    seen = view.of(image)
    assert seen.GetSize() == (58, 57, 19)
    assert seen.GetOrigin() == (2.0, 0.0, 1.0)
    hu = images.array(seen)
    assert hu.dtype == np.int16
    assert hu.mean() == pytest.approx(-815.0, abs=0.1)
    assert hu.std() == pytest.approx(6.0, rel=0.02)
    values = images.array(image).copy()
    values[:, :, :20] = images.PADDING_HU
    hu = images.array(view.of(images.from_array(values, image)))
    assert (hu[:, :, :18] == images.PADDING_HU).all()  # nothing was scanned there
    still = spread.View().of(image)
    np.testing.assert_array_equal(images.array(still), images.array(image))


def test_noise_of_a_scan_is_told_beside_its_anatomy():
    image = images.array(scan()).astype(float)
    assert spread.noise_hu(image) == 0.0
    image += np.random.default_rng(0).normal(scale=24.0, size=image.shape)
    assert spread.noise_hu(image) == pytest.approx(24.0, rel=0.05)
    noisy = sitk.GetImageFromArray(np.rint(image).astype(np.int16))
    assert spread.View.draw(noisy, "001").noise_hu == pytest.approx(6.0, rel=0.05)
    padded = np.full(image.shape, images.PADDING_HU, float)
    padded[:, :, :20] = image[:, :, :20]
    assert spread.noise_hu(padded) == pytest.approx(24.0, rel=0.1)


def test_means_and_sds_by_hand():
    measured = {"A": 10.0, "B": 5.0, "C": np.nan, "D": 1.0, "E": 2.0}
    nan = np.nan
    again = {"A": [9.0, 11.0, 13.0], "B": [4.0, nan, 6.0], "C": [1.0, 1.0, 1.0], "D": [nan] * 3}
    table = spread.summarise(measured, {**again, "E": [2.5, nan, nan]}).set_index("PARAMCD")
    assert table.loc["A"].tolist() == [10.0, 3, 0, 11.0, 2.0]
    assert table.loc["B"].tolist() == [5.0, 3, 1, 5.0, pytest.approx(2.0**0.5)]
    assert "C" not in table.index  # the analysis has no such value
    assert table.loc["D", ["views", "missing"]].tolist() == [3, 3]
    assert table.loc[["D", "E"], "sd"].isna().all()  # of less than two there is none
    assert list(spread.summarise({}, {})) == list(spread.COLUMNS)


# What the cohort makes of it

PARAMETERS = pd.DataFrame(
    {
        "PARAMCD": ["LAA", "LAARUL", "PI10", "FSAD", "TBV", "WALK"],
        "AVALU": ["%", "%", "mm", "%", None, "m"],
        "MEASURE": [
            "insp:parenchyma:all:laa950_pct",
            "insp:parenchyma:RUL:laa950_pct",
            "subject:airways:all:pi10_mm",
            "visit:prm:all:fsad_pct",
            "insp:vessels:all:tbv_ml",
            None,
        ],
    }
)


def spreads(missing=0, **sds):
    rows = [("1", "Baseline", code, 10.0, 4, missing, 10.0, sd) for code, sd in sds.items()]
    return pd.DataFrame(rows, columns=["USUBJID", "AVISIT", *spread.COLUMNS])


def test_a_value_that_spreads_is_told_in_words():
    given = spreads(LAA=1.24, LAARUL=9.0, PI10=0.05, FSAD=2.8, TBV=99.0)
    found = doubts.of_spreads(given, PARAMETERS, {}).set_index("PARAMCD")["flag"]
    assert found.to_dict() == {
        "LAA": "4 further readings have an SD of 1.24 %, above 0.6",
        "LAARUL": "",  # the usual limits are of whole lungs
        "PI10": "",
        "FSAD": "4 further readings have an SD of 2.8 %, above 2.7",
        "TBV": "",  # has no usual limit
    }
    limits = {"LAA": 2.0, "LAARUL": 5.0, "TBV": 80.0}
    found = doubts.of_spreads(given, PARAMETERS, limits).set_index("PARAMCD")["flag"]
    assert found[["LAA", "LAARUL", "TBV"]].tolist() == [
        "",
        "4 further readings have an SD of 9 %, above 5",
        "4 further readings have an SD of 99, above 80",
    ]


def test_a_view_without_a_value_is_told():
    found = doubts.of_spreads(spreads(missing=3, PI10=np.nan), PARAMETERS, {})
    assert found["flag"].tolist() == ["3 of 4 further readings give no value"]


def test_every_limit_is_of_a_column_that_can_be_measured():
    from lungitude.checks import schema

    measures = schema("sheets/parameters")["measures"]
    for table, columns in doubts.LIMITS.items():
        assert set(columns) <= set(measures[table])


def trust(*structures):
    rows = [("1", "Baseline", series, part, "network") for series, part in structures]
    return pd.DataFrame(rows, columns=[*doubts.KEY, "found_by"]).reindex(columns=doubts.COLUMNS)


def test_a_spread_stands_at_the_map_that_it_comes_from():
    found = doubts.of_spreads(
        spreads(LAA=1.0, PI10=0.5, FSAD=4.0, TBV=1.0), PARAMETERS, {"TBV": 0.1}
    )
    maps = trust(("insp", "lobes"), ("insp", "airways"), ("exp", "lobes"))
    told = doubts.with_spreads(maps, found, {"inspiration": "insp"})
    says = doubts.words(told)
    assert set(says) == {("1", "Baseline", "insp", "lobes"), ("1", "Baseline", "insp", "airways")}
    ((who, text),) = says["1", "Baseline", "insp", "lobes"]
    assert who == "spread"
    # Vessels are counted in the lobes, which alone the network found.
    assert [part.split(":")[0] for part in text.split("; ")] == ["LAA", "FSAD", "TBV"]
    calm = doubts.of_spreads(spreads(LAA=0.1), PARAMETERS, {})
    assert doubts.words(doubts.with_spreads(maps, calm, {"inspiration": "insp"})) == {}


def test_measurements_take_the_spread_and_its_flag():
    identity = {"USUBJID": ["1", "2"], "AVISIT": "Baseline", "SERIES": "insp", "region": "all"}
    table = pd.DataFrame({**identity, "laa950_pct": [12.5, 9.0], "flag": ["coarse", ""]})
    empty = pd.DataFrame(columns=cohort.IDENTITY)
    biomarkers = {"parenchyma": table, "airways": empty, "prm": empty, "vessels": empty}
    walk = pd.DataFrame([["1", "Baseline", "WALK", 400.0]], columns=[*cohort.VALUE, "AVAL"])
    scans = pd.DataFrame(columns=[*cohort.IDENTITY, "ADT"])
    parameters = PARAMETERS.drop(index=1)
    given = (biomarkers, walk, parameters, scans, [{"name": "Baseline"}])
    found = cohort.gather(*given, doubts.of_spreads(spreads(LAA=1.0), parameters, {}))
    assert list(found) == cohort.MEASUREMENTS
    assert found["AVAL"].tolist() == [12.5, 400.0, 9.0]
    assert found["SPREAD"].tolist() == pytest.approx([1.0, np.nan, np.nan], nan_ok=True)
    told = "spread: 4 further readings have an SD of 1 %, above 0.6"
    assert found["FLAG"].tolist() == [f"coarse; {told}", "", ""]
    without = cohort.gather(*given)
    assert without["SPREAD"].isna().all()
    assert without["FLAG"].tolist() == ["coarse", "", ""]


def test_a_follow_up_is_the_baseline_and_the_change_of_what_both_show():
    """Three branches of 4 mm; then 4.3 mm, and a fourth of 8 mm that the baseline doesn't show."""

    class Still:
        def apply_points(self, points):
            return points

    first = pd.DataFrame(
        {
            "x_mm": [0.0, 50.0, 100.0], "y_mm": 0.0, "z_mm": 0.0,
            "tangent_x": 0.0, "tangent_y": 0.0, "tangent_z": 1.0,
            "length_mm": 10.0, "lumen_diameter_mm": 4.0, "perimeter_mm": [10.0, 12.0, 14.0],
            "inner_area_mm2": 12.0, "outer_area_mm2": 24.0, "wa_pct": 50.0, "wa_la": 1.0,
            "generation": 4.0, "parent": -1, "n_sections": 5, "used": True, "lumen_hu": -1000.0,
            "wall_hu": 20.0, "psf_mm": 0.5, "psf_source": "given", "spacing_mm": "1 x 1 x 1",
        }
    )  # fmt: skip
    more = first.iloc[[0]].assign(x_mm=200.0, lumen_diameter_mm=8.0)
    second = pd.concat([first.assign(lumen_diameter_mm=4.3), more], ignore_index=True)
    row = follow(first, second, Still()).iloc[0]
    assert row["lumen_diameter_mm"] == pytest.approx(4.3)
    assert row["lumen_diameter_mm_unmatched"] == pytest.approx((3 * 4.3 + 8.0) / 4)
    assert row["n_matched"] == 3
    assert row["matched_pct"] == 100.0
