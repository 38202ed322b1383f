"""Doubts about label maps reach the measures that are made of them, and no other."""

import numpy as np
import pandas as pd
import pytest

from lungitude import cohort, doubts, records, tables

SCANS = {"inspiration": "insp", "expiration": "exp"}
UNLIKE = "the scan is unlike those that the network was trained on"


def key(series, structure, visit="Baseline", subject="1"):
    return dict(zip(doubts.KEY, (subject, visit, series, structure), strict=True))


def told(*rows):
    """Return a table of doubts: (series, structure, visit, flag, check_flag)."""
    rows = [
        {**key(series, structure, visit), "found_by": "network", "flag": flag, "check_flag": check}
        for series, structure, visit, flag, check in rows
    ]
    return pd.DataFrame(rows, columns=doubts.COLUMNS)


def measures(*rows, **columns):
    """Return a table of measures: (series, visit, flag)."""
    rows = [("1", visit, series, "all", flag) for series, visit, flag in rows]
    frame = pd.DataFrame(rows, columns=[*cohort.IDENTITY[:2], "SERIES", "region", "flag"])
    return frame.assign(**columns)


def flags(name, table, found, **more):
    return doubts.onto({name: table}, found, SCANS, "Baseline", **more)[name]["flag"].tolist()


def test_a_doubt_follows_what_a_measure_says_itself():
    table = measures(("insp", "Baseline", "coarse"), ("insp", "Week 6", np.nan), pi10_mm=4.0)
    found = told(("insp", "airways", "Baseline", "no airways found", np.nan))
    result = doubts.onto({"airways": table}, found, SCANS, "Baseline")["airways"]
    assert result["flag"].tolist() == ["coarse; network: no airways found", ""]
    pd.testing.assert_frame_equal(
        result.drop(columns="flag"), table.drop(columns="flag")
    )  # no value changes


def test_a_measure_is_flagged_for_its_own_structures_alone():
    found = told(
        ("insp", "lobes", "Baseline", "L", ""),
        ("exp", "lobes", "Baseline", "E", ""),
        ("insp", "airways", "Baseline", "A", ""),
        ("insp", "vessels", "Baseline", "V", ""),
        ("calc", "coronary", "Baseline", "C", ""),
        ("cta", "heart", "Baseline", "H", ""),
    )
    row = ("insp", "Baseline", "")
    assert flags("parenchyma", measures(row, ("exp", "Baseline", "")), found) == [
        "network: L",
        "network: E",
    ]
    assert flags("airways", measures(row), found) == ["network: A"]
    assert flags("vessels", measures(row), found) == ["network: V; network: L"]
    assert flags("calcium", measures(("calc", "Baseline", "")), found) == ["network: C"]
    assert flags("ventricle", measures(("cta", "Baseline", "")), found) == ["network: H"]
    assert flags("calcium", measures(("calc", "Week 6", "")), found) == [""]


def test_a_response_map_is_made_of_two_scans_and_may_leave_vessels_out():
    found = told(("exp", "lobes", "Baseline", UNLIKE, ""), ("insp", "vessels", "Baseline", "V", ""))
    table = measures(("visit", "Baseline", "")).drop(columns="flag")  # prm has none of its own
    assert flags("prm", table, found) == [f"network, exp: {UNLIKE}"]
    assert flags("prm", table, found, without_vessels=True) == [
        f"network, insp: V; network, exp: {UNLIKE}"
    ]


def test_what_is_compared_with_the_baseline_is_made_of_it_too():
    found = told(("insp", "lobes", "Baseline", "B", ""), ("insp", "lobes", "Week 6", "W", ""))
    table = measures(("subject", "Baseline", ""), ("subject", "Week 6", ""))
    assert flags("parenchyma", table, found) == [
        "network, insp: B",
        "network, Baseline insp: B; network, insp: W",
    ]
    assert flags("prm", table.assign(SERIES="subject"), found)[1].count("network") == 2
    assert flags("airways", table, found) == ["", ""]


def test_the_cross_check_and_region_growing_speak_for_themselves():
    found = told(("insp", "airways", "Baseline", UNLIKE, "airways agree in 25 % only"))
    assert flags("airways", measures(("insp", "Baseline", "")), found) == [
        f"network: {UNLIKE}; cross-check: airways agree in 25 % only"
    ]
    found["found_by"], found["check_flag"] = "classical", np.nan
    assert flags("airways", measures(("insp", "Baseline", "")), found) == [f"classical: {UNLIKE}"]


def test_without_a_doubt_tables_stay_what_they_are():
    table = measures(("insp", "Baseline", ""))
    given = {"airways": table}
    assert (
        doubts.onto(given, told(("insp", "airways", "Baseline", np.nan, "")), SCANS, "B") is given
    )
    assert flags("airways", table.head(0), told(("insp", "airways", "Baseline", "A", ""))) == []


def test_every_table_says_what_it_is_made_of():
    from lungitude.checks import schema

    assert set(doubts.MADE_OF) == set(schema("sheets/parameters")["measures"])


@pytest.fixture
def files(tmp_path):
    """Tables of one visit as the network and its check write them; of another, empty ones."""
    trust = pd.DataFrame(
        {
            "STRUCTURE": ["lobes", "airways", "lobes"],
            "volume_ml": [4000.0, 0.0, 2500.0],
            "confidence": [0.97, np.nan, 0.7],
            "distance": [0.4, 0.4, 1.2],
            "flag": ["", "no airways found", UNLIKE],
        }
    )
    series = pd.Series(["insp", "insp", "exp"])
    identity = {"USUBJID": "1", "AVISIT": "Baseline"}
    tables.write(trust.assign(SERIES=series), tmp_path / "trust.tsv", identity)
    check = pd.DataFrame(
        {"STRUCTURE": ["lobes"], "dice": [0.9], "hd95_mm": [12.0], "flag": ["they differ"]}
    )
    tables.write(check, tmp_path / "check.tsv", {**identity, "SERIES": "insp"})
    (tmp_path / "excluded.tsv").touch()
    return tmp_path


def test_the_table_of_the_trial_holds_what_is_used(files):
    used = [key("insp", "lobes"), key("exp", "lobes")]  # airways are given by scans.tsv
    paths = [files / "trust.tsv", files / "excluded.tsv"]
    found = doubts.gather(paths, [files / "check.tsv"], [], used)
    assert list(found) == doubts.COLUMNS
    assert found[["SERIES", "STRUCTURE", "found_by"]].to_numpy().tolist() == [
        ["insp", "lobes", "network"],
        ["exp", "lobes", "network"],
    ]
    assert found["dice"].tolist()[0] == 0.9
    assert found["dice"].isna().tolist() == [False, True]
    assert doubts.words(found) == {
        ("1", "Baseline", "insp", "lobes"): [("cross-check", "they differ")],
        ("1", "Baseline", "exp", "lobes"): [("network", UNLIKE)],
    }


def test_without_a_check_there_is_nothing_to_join(files):
    found = doubts.gather(
        [files / "trust.tsv"], [files / "excluded.tsv"], [], [key("insp", "lobes")]
    )
    assert len(found) == 1
    assert found[doubts.CHECKED].isna().all(axis=None)
    assert list(doubts.gather([files / "excluded.tsv"], [], [], [])) == doubts.COLUMNS


def test_faults_of_region_growing_are_doubts(tmp_path):
    faults = ["3 branches that leaked were cut off (0.50 mL)", "5 loops are left"]
    records.write(
        tmp_path / "airways.json", **key("insp", "airways"), volume_ml=60.0, faults=faults
    )
    records.exclude(
        tmp_path / "other.json", "ingest", "a slice is missing", **key("insp", "airways", "Week 6")
    )
    used = [key("insp", "airways"), key("insp", "airways", "Week 6")]
    found = doubts.gather([], [], [tmp_path / "airways.json", tmp_path / "other.json"], used)
    assert found[["found_by", "volume_ml", "flag"]].to_numpy().tolist() == [
        ["classical", 60.0, "; ".join(faults)]
    ]
