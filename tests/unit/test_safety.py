"""Sessions and adverse events: sheets, data sets, analysis sets, and both analyses."""

import numpy as np
import pandas as pd
import pytest
from unit import hard_trials
from unit.test_analysis import Trial, pick, value

from helpers import change_cell, edit_yaml, problems_of
from lungitude import adam, configs, safety, tables, trial
from lungitude.analysis.adherence import adherence
from lungitude.analysis.adverse import adverse
from lungitude.checks import schema

ARMS = [{"code": "EG", "label": "Exercise"}, {"code": "CG", "label": "Control", "reference": True}]
VISITS = [
    {"name": "Baseline", "path": "baseline", "number": 0, "day": 1, "baseline": True},
    {"name": "Week 6", "path": "week06", "number": 6, "day": 43},
]
STRATA = [
    {
        "column": "SITE",
        "label": "Site",
        "levels": [
            {"value": "N", "path": "north", "label": "North"},
            {"value": "S", "path": "south", "label": "South"},
        ],
    }
]


def frame(columns, *rows):
    return pd.DataFrame(list(rows), columns=columns.split())


SUBJECTS = frame(
    "USUBJID SITE RANDDT",
    *((f"P{i}", "N" if i < 4 else "S", "2024-01-10") for i in range(1, 8)),
)
RANDOMISATION = frame(
    "USUBJID ARM", *((f"P{i}", "EG" if i < 5 else "CG") for i in range(1, 8) if i != 7)
)
# P1 80 %, P2 none, P3 one session nobody recorded, P4 no row at all; the control arm has P5 alone.
SESSIONS = frame(
    "USUBJID PERIOD PLANNED ATTENDED ADT",
    ("P1", "week 1", 3, 2, "2024-01-17"),
    ("P1", "week 2", 2, 2, "2024-01-24"),
    ("P2", "week 1", 3, 0, "2024-01-17"),
    ("P2", "week 2", 2, 0, "2024-01-24"),
    ("P3", "week 1", 3, 3, "2024-01-17"),
    ("P3", "week 2", 2, np.nan, "2024-01-24"),
    ("P5", "week 1", 3, 3, "2024-01-17"),
    ("P5", "week 9", 3, 0, "2024-06-30"),
)
MEASUREMENTS = frame(
    "USUBJID AVISIT PARAMCD AVAL", *((f"P{i}", "Week 6", "FEV1", 1.0) for i in range(1, 8))
)
CUT = "2024-03-31"


def adsl(**changes):
    given = {"sessions": SESSIONS, "strata": STRATA, "measurements": MEASUREMENTS, "study": "T"}
    return adam.adsl(SUBJECTS, RANDOMISATION, ARMS, VISITS, **{**given, **changes})


# --- Sessions and the analysis set that asks for them --------------------------------------------


def test_sessions_of_a_patient_by_hand():
    found = adam.attendance(SESSIONS, CUT)
    assert list(found.index) == ["P1", "P2", "P3", "P5"]
    assert list(found["NSESSPL"]) == [5, 5, 5, 3]
    assert list(found["NSESSUN"]) == [0, 0, 2, 0]
    assert found["NSESSAT"].fillna(-1).tolist() == [4, 0, -1, 3]
    assert found["ADHER"].fillna(-1).tolist() == [80, 0, -1, 100]
    # Without a data cut the session that P5 missed in June counts.
    assert adam.attendance(SESSIONS)["ADHER"]["P5"] == 50


def test_a_row_a_session_is_the_same_as_a_row_a_period():
    rows = [
        (who, f"session {number}", 1, int(number < came), np.nan)
        for who, planned, came in (("P1", 5, 4), ("P2", 5, 0))
        for number in range(planned)
    ]
    one = adam.attendance(frame("USUBJID PERIOD PLANNED ATTENDED ADT", *rows))
    pd.testing.assert_frame_equal(one, adam.attendance(SESSIONS).loc[["P1", "P2"]])


@pytest.mark.parametrize(("limit", "members"), [(80, "P1 P5"), (80.1, "P5"), (1, "P1 P5")])
def test_the_set_per_protocol_asks_for_a_share_of_the_sessions(limit, members):
    rules = {"PP": {"rule": "randomised", "adherence_pct": limit}}
    table = adsl(populations=rules, data_cut=CUT).set_index("USUBJID")
    # P3's attendance and P4's are not known; P6 of the control arm has no row, though P5 has.
    assert " ".join(table.index[table["PPROTFL"] == "Y"]) == members
    assert (table["ITTFL"] == "Y").sum() == 6


def test_an_arm_or_a_patient_without_planned_sessions_is_not_asked():
    rules = {"PP": {"rule": "randomised", "adherence_pct": 80}}
    only = SESSIONS[SESSIONS["USUBJID"] != "P5"]
    only = pd.concat([only, frame("USUBJID PERIOD PLANNED ATTENDED", ("P4", "all", 0, np.nan))])
    table = adsl(populations=rules, sessions=only).set_index("USUBJID")
    assert "".join(table["PPROTFL"]) == "YNNYYYN"  # P7 has no arm


def test_the_set_is_refused_without_sessions_and_unchanged_without_the_rule():
    rules = {"PP": {"rule": "completers", "adherence_pct": 80}}
    with pytest.raises(ValueError, match="PP: adherence_pct 80 needs the sessions"):
        adsl(populations=rules, sessions=None)
    pd.testing.assert_frame_equal(adsl(), adsl(sessions=None))


def test_adex_by_hand():
    table = safety.adex(SESSIONS, adsl(), STRATA, CUT)
    assert list(table) == [
        *("STUDYID", "USUBJID", "TRT01P", "TRT01PN", "SITE", "ITTFL", "SAFFL", "PPROTFL"),
        *("PARAMCD", "PARAM", "PARAMN", "AVAL"),
    ]
    assert table["USUBJID"].tolist() == [f"P{i}" for i in (1, 2, 3, 5) for _ in range(4)]
    one = table[table["USUBJID"] == "P1"]
    assert dict(zip(one["PARAMCD"], one["AVAL"], strict=True)) == {
        "NSESSPL": 5,
        "NSESSAT": 4,
        "NSESSUN": 0,
        "ADHER": 80,
    }
    assert set(one["TRT01P"]) == {"EG"}
    with pytest.raises(ValueError, match=r"sessions\.tsv: patient P9 is not in subjects\.tsv"):
        safety.adex(SESSIONS.assign(USUBJID="P9"), adsl())


# --- Adverse events -------------------------------------------------------------------------------


def event(who="P1", term="Fall", **more):
    return {"USUBJID": who, "AETERM": term, **more}


def adae(*events, **more):
    return safety.adae(pd.DataFrame(list(events)), adsl(), STRATA, **more)


@pytest.mark.parametrize(
    ("given", "flag", "day"),
    [
        ({"AESTDTC": "2024-01-10"}, "Y", 1),
        ({"AESTDTC": "2024-01-09"}, "N", -1),
        ({"AESTDTC": "2024-01"}, "Y", None),  # may be after the 10th
        ({"AESTDTC": "2023-12"}, "N", None),
        ({"AESTDTC": "2024"}, "Y", None),
        ({"AESTDTC": "2023"}, "N", None),
        ({"AESTDTC": "2024-01", "AESTDY": -2}, "N", -2),
        ({"AESTDTC": "2024-02-01", "AESTDY": -2}, "Y", 23),  # the date counts
        ({"AESTDY": 1}, "Y", 1),
        ({"AESTDY": -1}, "N", -1),
        ({}, "Y", None),  # an unknown start counts as emergent
    ],
)
def test_emergent_is_what_did_not_certainly_begin_before(given, flag, day):
    (row,) = adae(event(**given)).to_dict("records")
    assert row["TRTEMFL"] == flag
    assert pd.isna(row["ASTDY"]) if day is None else row["ASTDY"] == day


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"AESTDTC": "2024-03-31"}, "Y"),
        ({"AESTDTC": "2024-04-01"}, "N"),
        ({"AESTDTC": "2024-04"}, "N"),
        ({"AESTDTC": "2024-03"}, "Y"),
        ({"AESTDY": 82}, "Y"),  # of the 10th of January: the 31st of March
        ({"AESTDY": 83}, "N"),
        ({}, "Y"),
    ],
)
def test_events_after_the_data_cut_do_not_count(given, flag):
    assert adae(event(**given), data_cut=CUT)["ANL01FL"].tolist() == [flag]


def test_adae_by_hand():
    table = adae(
        event("P2", "tired", AEDECOD="Fatigue", AEBODSYS="General disorders", AEREL="RELATED"),
        event("P1", "fell down", AEREL="UNLIKELY RELATED", AESEV="MILD"),
        event("P1", "fell again", AESEV="SEVERE"),
    )
    assert table["AETERM"].tolist() == ["fell down", "fell again", "tired"]
    assert table["AEDECOD"].tolist() == ["fell down", "fell again", "Fatigue"]
    assert table["AEBODSYS"].tolist() == ["Not coded", "Not coded", "General disorders"]
    assert table["AESEQ"].tolist() == [1, 2, 1]
    assert table["AREL"].fillna("?").tolist() == ["N", "?", "Y"]
    assert table["TRT01P"].tolist() == ["EG"] * 3
    assert all(len(name) <= 8 for name in table)  # as SAS transport files want
    with pytest.raises(ValueError, match=r"adverse\.tsv: patient P9 is not in subjects\.tsv"):
        adae(event("P9"))


def test_every_relation_of_the_sheet_is_known():
    assert set(safety.RELATED) == set(schema("sheets/adverse")["properties"]["AEREL"]["enum"])


def test_a_sheet_without_events_has_no_rows():
    table = safety.adae(pd.DataFrame(columns=["USUBJID", "AETERM"]), adsl(), STRATA)
    assert len(table) == 0
    found = adverse(adsl(), table, {}, ARMS, VISITS, STRATA)
    assert set(found["LEVEL"]) == {
        *("any", "serious", "related", "serious_related", "severe", "discontinuation", "fatal"),
    }
    assert (found.loc[found["STAT"] != "pct", "VALUE"] == 0).all()


# --- The analyses ---------------------------------------------------------------------------------


def shares(found, level, stat="n", stratum="all"):
    rows = pick(found, LEVEL=level, STAT=stat, STRATUM=stratum, PARAMCD="")
    return dict(zip(rows["GROUP"], rows["VALUE"], strict=True))


def test_adherence_by_hand():
    table = safety.adex(SESSIONS, adsl(), STRATA, CUT)
    section = {"population": "ITT", "limits_pct": [50, 80]}
    found = adherence(adsl(), table, section, ARMS, VISITS, STRATA)
    assert shares(found, "planned") == {"EG": 3, "CG": 1, "TOTAL": 4}
    assert shares(found, "at_least:80") == {"EG": 1, "CG": 1, "TOTAL": 2}
    assert shares(found, "at_least:80", "pct") == {"EG": 25, "CG": 50, "TOTAL": 100 / 3}
    assert shares(found, "none") == {"EG": 1, "CG": 0, "TOTAL": 1}
    assert shares(found, "unknown") == {"EG": 2, "CG": 1, "TOTAL": 3}
    where = {"PARAMCD": "ADHER", "GROUP": "EG", "STRATUM": "all"}
    assert value(found, STAT="n", **where) == 2
    assert value(found, STAT="missing", **where) == 2
    assert value(found, STAT="mean", **where) == 40
    assert value(found, STAT="sd", **where) == pytest.approx(56.568542494923804)
    assert value(found, PARAMCD="NSESSUN", GROUP="TOTAL", STRATUM="all", STAT="total") == 2
    assert list(dict.fromkeys(found["LEVEL"]))[:3] == ["", "planned", "at_least:80"]
    south = pick(found, STRATUM="south", GROUP="EG", PARAMCD="ADHER", STAT="mean").iloc[0]
    assert np.isnan(south["VALUE"])
    assert south["NOTE"] == "not estimated: no observation"
    assert set(pick(found, LEVEL="planned")["N"]) == {4, 2, 6, 3, 0, 1}
    nobody = pick(found, STRATUM="north", GROUP="CG", LEVEL="planned", STAT="pct").iloc[0]
    assert nobody["NOTE"] == "not estimated: no patient"


def test_an_arm_without_sessions_is_described_by_nothing_and_there_is_no_total():
    table = safety.adex(SESSIONS[SESSIONS["USUBJID"] < "P5"], adsl(), STRATA)
    found = adherence(adsl(), table, {}, ARMS, VISITS, STRATA)
    assert shares(found, "planned") == {"EG": 3, "CG": 0}
    assert set(pick(found, GROUP="CG")["LEVEL"]) == {"planned"}
    assert "TOTAL" not in set(found["GROUP"])


def test_without_its_sheet_an_analysis_has_no_rows():
    assert len(adherence(adsl(), None, {}, ARMS, VISITS)) == 0
    assert len(adverse(adsl(), None, {}, ARMS, VISITS)) == 0


EVENTS = [
    event("P1", "Fall", AEDECOD="Fall", AEBODSYS="Injury", AESER="N", AESEV="MILD",
          AEREL="RELATED"),
    event("P1", "Fall", AEDECOD="Fall", AEBODSYS="Injury", AESER="Y", AESEV="SEVERE", AEREL="N",
          AEACN="DRUG WITHDRAWN"),
    event("P2", "Bruise", AEDECOD="Contusion", AEBODSYS="Injury", AESER="N", AEREL="N"),
    event("P5", "Angina", AEDECOD="Angina pectoris", AEBODSYS="Cardiac", AESER="Y", AESEV="SEVERE",
          AEREL="POSSIBLY RELATED", AEOUT="FATAL"),
    event("P6", "Cough", AEDECOD="Cough", AEBODSYS="Chest", AESTDY=-3, AESER="N"),
]  # fmt: skip


def test_adverse_events_by_hand():
    table = adae(*EVENTS)
    found = adverse(adsl(), table, {"population": "SAF"}, ARMS, VISITS, STRATA)
    assert shares(found, "any") == {"EG": 2, "CG": 1, "TOTAL": 3}
    assert shares(found, "any", "pct") == {"EG": 50, "CG": 50, "TOTAL": 50}
    assert shares(found, "any", "events") == {"EG": 3, "CG": 1, "TOTAL": 4}
    assert shares(found, "serious") == {"EG": 1, "CG": 1, "TOTAL": 2}
    assert shares(found, "related") == {"EG": 1, "CG": 1, "TOTAL": 2}
    assert shares(found, "serious_related") == {"EG": 0, "CG": 1, "TOTAL": 1}
    assert shares(found, "severe") == {"EG": 1, "CG": 1, "TOTAL": 2}
    assert shares(found, "discontinuation") == {"EG": 1, "CG": 0, "TOTAL": 1}
    assert shares(found, "fatal") == {"EG": 0, "CG": 1, "TOTAL": 1}
    assert shares(found, "not_recorded:AESEV", "events") == {"EG": 1, "CG": 0, "TOTAL": 1}
    assert shares(found, "not_emergent", "events") == {"EG": 0, "CG": 1, "TOTAL": 1}
    terms = [name for name in dict.fromkeys(found["LEVEL"]) if name.startswith(("soc:", "pt:"))]
    # Two patients have an injury, one an event of the heart; falls are two events of one patient.
    assert terms == [
        *("soc:Injury", "pt:Injury:Fall", "pt:Injury:Contusion"),
        *("soc:Cardiac", "pt:Cardiac:Angina pectoris"),
    ]
    south = [n for n in dict.fromkeys(pick(found, STRATUM="south")["LEVEL"]) if n[:4] == "soc:"]
    assert south == ["soc:Cardiac", "soc:Injury"]
    assert shares(found, "soc:Injury", stratum="south") == {"EG": 0, "CG": 0, "TOTAL": 0}
    every = adverse(adsl(), table, {"emergent": False}, ARMS, VISITS, STRATA)
    assert shares(every, "any") == {"EG": 2, "CG": 2, "TOTAL": 4}
    assert "not_emergent" not in set(every["LEVEL"])


def test_what_a_trial_never_recorded_is_no_zero():
    found = adverse(adsl(), adae(event(AESER="N")), {}, ARMS, VISITS)
    assert {"severe", "related", "discontinuation", "fatal"}.isdisjoint(found["LEVEL"])
    assert shares(found, "serious") == {"EG": 0, "CG": 0, "TOTAL": 0}
    assert not found["LEVEL"].str.startswith("not_recorded").any()
    unknown = adverse(adsl(), adae(event(AEACN="UNKNOWN")), {}, ARMS, VISITS)
    assert "discontinuation" not in set(unknown["LEVEL"])


def random_sheets(who, rng):
    """Sessions and events of patients; a few sessions and cells are not recorded."""
    periods = [
        (name, f"week {week}", planned, None if rng.random() < 0.02 else rng.integers(planned + 1))
        for name in who
        if rng.random() > 0.1
        for week, planned in enumerate(rng.integers(1, 4, 6))
    ]  # fmt: skip
    terms = {"Cardiac": ["Angina", "Palpitations"], "Chest": ["Cough", "Wheeze", "Dyspnoea"]}
    events = [
        event(
            rng.choice(who),
            "x",
            AEBODSYS=(soc := rng.choice(list(terms))),
            AEDECOD=rng.choice(terms[soc]),
            AESEV=rng.choice(["MILD", "MODERATE", "SEVERE"]),
            AESER=rng.choice(["Y", "N", None]),
            AEREL=rng.choice(["RELATED", "NOT RELATED"]),
            AESTDY=int(rng.choice([-5, 3, 20])),
        )
        for _ in range(2 * len(who))
    ]
    sessions = frame("USUBJID PERIOD PLANNED ATTENDED", *periods)
    return sessions.assign(ATTENDED=sessions["ATTENDED"].astype(float)), pd.DataFrame(events)


@pytest.fixture(scope="module", params=[2, 3])
def both(request):
    """A trial of 90 patients in some arms with its two results, and what they are of."""
    one = Trial(n=90, arms=("A", "B", "C")[-request.param :])
    sessions, events = random_sheets(one.adsl["USUBJID"].to_numpy(), np.random.default_rng(3))
    ex, ae = safety.adex(sessions, one.adsl, one.strata), safety.adae(events, one.adsl, one.strata)
    lists = (one.arms, one.visits, one.strata)
    return {
        "trial": one,
        "sessions": sessions,
        "events": events,
        "adherence": adherence(one.adsl, ex, {"limits_pct": [50, 80]}, *lists),
        "adverse": adverse(one.adsl, ae, {"population": "SAF"}, *lists),
    }


def groups_of(one):
    """(stratum, group, patients) of a trial, by pandas alone."""
    for path, level in [("all", None), ("gold1", "I"), ("gold2", "II")]:
        here = one.adsl if level is None else one.adsl[one.adsl["GOLDGR"] == level]
        yield path, "TOTAL", set(here["USUBJID"])
        for code, part in here.groupby("TRT01P"):
            yield path, code, set(part["USUBJID"])


def test_adherence_is_what_pandas_counts(both):
    sums = both["sessions"].groupby("USUBJID")[["PLANNED", "ATTENDED"]]
    wide = sums.sum(min_count=1).where(sums.count().eq(sums.size(), axis=0))
    for stratum, group, who in groups_of(both["trial"]):
        here = pick(both["adherence"], STRATUM=stratum, GROUP=group)
        own = wide[wide.index.isin(who)].dropna()
        share = own["ATTENDED"] / own["PLANNED"]
        assert value(here, LEVEL="at_least:50", STAT="n") == (share >= 0.5).sum()
        percent = 100 * (share >= 0.8).sum() / len(who)
        assert value(here, LEVEL="at_least:80", STAT="pct") == pytest.approx(percent)
        assert value(here, LEVEL="unknown", STAT="n") == len(who) - len(own)
        for param, values in (("ADHER", 100 * share), ("NSESSAT", own["ATTENDED"])):
            for stat, number in values.agg(["mean", "std", "median", "min", "max"]).items():
                name = {"std": "sd"}.get(stat, stat)
                assert value(here, PARAMCD=param, STAT=name) == pytest.approx(number)


def test_adverse_events_are_what_pandas_counts(both):
    events = both["events"][both["events"]["AESTDY"] > 0]
    kinds = {"any": events["AETERM"] == "x", "severe": events["AESEV"] == "SEVERE"}
    kinds |= {"serious": events["AESER"] == "Y", "related": events["AEREL"] == "RELATED"}
    kinds["not_recorded:AESER"] = events["AESER"].isna()
    kinds |= {f"soc:{soc}": events["AEBODSYS"] == soc for soc in ("Cardiac", "Chest")}
    kinds["pt:Chest:Wheeze"] = events["AEDECOD"] == "Wheeze"
    for stratum, group, who in groups_of(both["trial"]):
        here = pick(both["adverse"], STRATUM=stratum, GROUP=group)
        assert set(here["N"]) == {len(who)}
        for level, flag in kinds.items():
            own = events[flag & events["USUBJID"].isin(who)]
            assert value(here, LEVEL=level, STAT="events") == len(own)
            assert value(here, LEVEL=level, STAT="n") == own["USUBJID"].nunique()
            percent = 100 * own["USUBJID"].nunique() / len(who)
            assert value(here, LEVEL=level, STAT="pct") == pytest.approx(percent)


def test_terms_stand_by_falling_number_of_patients(both):
    for stratum in ("all", "gold1", "gold2"):
        rows = pick(both["adverse"], STRATUM=stratum, GROUP="TOTAL", STAT="n")
        for start in ("soc:", "pt:Chest:", "pt:Cardiac:"):
            counts = rows.loc[rows["LEVEL"].str.startswith(start), "VALUE"].tolist()
            assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("name", hard_trials.NAMES)
def test_hard_trials_are_got_through(name):
    one = hard_trials.hard_trial(name)
    sessions, events = random_sheets(one.adsl["USUBJID"].to_numpy(), np.random.default_rng(1))
    lists = (one.arms, one.visits, one.strata)
    hard_trials.check(adherence(one.adsl, safety.adex(sessions, one.adsl, one.strata), {}, *lists))
    hard_trials.check(adverse(one.adsl, safety.adae(events, one.adsl, one.strata), {}, *lists))
    hard_trials.check(adherence(one.adsl, safety.adex(sessions[:0], one.adsl), {}, *lists))


def test_no_column_of_a_trial_can_stand_for_one_that_adae_or_adex_makes():
    one = adsl()
    strata = {factor["column"] for factor in STRATA}
    for table in (safety.adex(SESSIONS, one, STRATA), adae(*EVENTS)):
        assert set(table) - strata <= configs.RESERVED


# --- The sheets of a trial folder -----------------------------------------------------------------


@pytest.fixture
def safe(tiny):
    """The tiny trial with sessions of its first two patients and four adverse events."""
    first, second = pd.read_csv(tiny / "subjects.tsv", sep="\t", dtype=str)["USUBJID"][:2]
    rows = [(who, f"week {week}", 3, 2) for who in (first, second) for week in (1, 2)]
    tables.write(frame("USUBJID PERIOD PLANNED ATTENDED", *rows), tiny / "sessions.tsv")
    events = [
        event(first, "Fall", AESEQ=1, AEDECOD="Fall", AESTDTC="2021-05", AESER="N",
              AEOUT="UNKNOWN"),
        event(first, "Fall", AESEQ=2, AEDECOD="Fall", AESTDTC="2021-06-02", AESER="N"),
        event(second, "Cough", AESEQ=1, AESTDY=-3, AEENDTC="2022"),
        event(second, "Cough", AESEQ=2, AESTDTC="2021-07-01", AEENDTC="2021-07"),
    ]  # fmt: skip
    events = pd.DataFrame(events).astype({"AESTDY": "Int64"})
    tables.write(events, tiny / "adverse.tsv")
    name = {"sessions": "sessions.tsv", "adverse": "adverse.tsv"}
    edit_yaml(tiny / "config.yaml", lambda c: c["sheets"].update(name))
    return tiny


def plan(change):
    return lambda folder: edit_yaml(folder / "plan.yaml", change)


def cell(sheet, column, text, row=0):
    return lambda folder: change_cell(folder / f"{sheet}.tsv", row, column, text)


def without_sessions(folder):
    edit_yaml(folder / "config.yaml", lambda c: c["sheets"].pop("sessions"))
    plan(lambda p: p["populations"]["PP"].update(adherence_pct=80))(folder)


def repeated(folder):
    path = folder / "adverse.tsv"
    lines = path.read_text().splitlines()
    cells = [line.split("\t") for line in (*lines, lines[1])]
    at = cells[0].index("AESEQ")
    path.write_text("\n".join("\t".join(c[:at] + c[at + 1 :]) for c in cells) + "\n")


SLIPS = {
    "unknown patient": (
        cell("sessions", "USUBJID", "DEMO-9999"),
        "sessions.tsv, line 2, column USUBJID: patient 'DEMO-9999' is not in subjects.tsv; add the "
        "patient there or delete the row",
    ),
    "unknown patient with an event": (
        cell("adverse", "USUBJID", "demo-0001"),
        "adverse.tsv, line 2, column USUBJID: patient 'demo-0001' is not in subjects.tsv; there it "
        "is 'DEMO-0001', write it so",
    ),
    "period twice": (
        cell("sessions", "PERIOD", "week 1", 1),
        "sessions.tsv, line 3, column USUBJID+PERIOD: DEMO-0001 week 1 stands already in line 2; "
        "keep one of the two",
    ),
    "more than planned": (
        cell("sessions", "ATTENDED", "4"),
        "sessions.tsv, line 2, column ATTENDED: DEMO-0001 attended 4 of 3 sessions planned in "
        "'week 1'; mend one of the two, or count a session that was caught up in the period it "
        "was planned for",
    ),
    "a share": (cell("sessions", "ATTENDED", "67%"), "'67%' is no whole number; write digits only"),
    "planned is empty": (
        cell("sessions", "PLANNED", ""),
        "sessions.tsv, line 2, column PLANNED: the cell is empty; fill it in",
    ),
    "an arm in the sheet": (
        lambda f: (f / "sessions.tsv").write_text(
            (f / "sessions.tsv").read_text().replace("PERIOD", "ARM")
        ),
        "column ARM: the column is unknown; delete or rename it",
    ),
    "number twice": (
        cell("adverse", "AESEQ", "1", 1),
        "line 3, column USUBJID+AESEQ: DEMO-0001 1 stands already in line 2; keep one of the two",
    ),
    "event twice": (
        repeated,
        "adverse.tsv, line 6, column USUBJID: 'Fall' of DEMO-0001 stands in the same words in line "
        "2; delete one of the two, or tell two events apart by AESEQ",
    ),
    "severity": (cell("adverse", "AEOUT", "Fatal"), "'Fatal' is unknown; did you mean 'FATAL'?"),
    "a fatal event that was not serious": (
        cell("adverse", "AEOUT", "FATAL"),
        "line 2, column AESER: 'Fall' of DEMO-0001 was fatal, so it was serious; write AESER Y, or "
        "mend AEOUT",
    ),
    "day 0": (
        cell("adverse", "AESTDY", "0", 2),
        "line 4, column AESTDY: 'Cough' of DEMO-0002 is on day 0, which there is not; day 1 is "
        "that of randomisation, the day before it is -1",
    ),
    "a date as DD.MM.": (
        cell("adverse", "AESTDTC", "02.06.2021"),
        "'02.06.2021' is no date; write it as YYYY-MM-DD, or YYYY-MM or YYYY where less is known",
    ),
    "no such month": (cell("adverse", "AESTDTC", "2021-13"), "'2021-13' is no date"),
    "an end before the start": (
        cell("adverse", "AEENDTC", "2021-06", 3),
        "line 5, column AEENDTC: 'Cough' of DEMO-0002 ends on 2021-06 before its start 2021-07-01; "
        "mend one",
    ),
    "two writings": (
        cell("adverse", "AEDECOD", "FALL", 1),
        "line 3, column AEDECOD: 'FALL' is 'Fall' in line 2; write both alike",
    ),
    "a set without sessions": (
        without_sessions,
        "the set 'PP' asks for attended sessions, which needs 'sheets: sessions' in config.yaml; "
        "add it there, or delete 'adherence_pct'",
    ),
    "another limit": (
        plan(lambda p: (p["populations"]["PP"].update(adherence_pct=75),
                        p["analyses"].update(adherence={}))),
        "the set 'PP' has its limit at 75 %, which 'analyses.adherence.limits_pct' does not count; "
        "add it there",
    ),
    "a limit of 800 %": (
        plan(lambda p: p["populations"]["PP"].update(adherence_pct=800)),
        "'populations.PP.adherence_pct' is 800; it must be at most 100",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_told_in_words(name, safe):
    edit, expected = SLIPS[name]
    edit(safe)
    problems = problems_of(safe)
    assert any(expected in problem for problem in problems), problems
    assert len(problems) < 5
    assert not any("\n" in problem or len(problem) > 400 for problem in problems)


FINE = {
    "as it is": lambda folder: None,
    "attendance that nobody recorded": cell("sessions", "ATTENDED", ""),
    "no event yet": lambda f: (f / "adverse.tsv").write_text("USUBJID\tAETERM\n"),
    "no session yet": lambda f: (f / "sessions.tsv").write_text(
        "USUBJID\tPERIOD\tPLANNED\tATTENDED\n"
    ),
    "a set that asks for sessions": plan(lambda p: p["populations"]["PP"].update(adherence_pct=80)),
    "analyses of sheets that are not there": lambda f: (
        plan(lambda p: p["analyses"].update(adherence={}, adverse={}))(f),
        edit_yaml(f / "config.yaml", lambda c: c["sheets"].pop("sessions")),
        edit_yaml(f / "config.yaml", lambda c: c["sheets"].pop("adverse")),
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_valid_is_read(name, safe):
    FINE[name](safe)
    found = trial.load(safe / "config.yaml")
    assert found.planned
    if "adverse" in found.plan["analyses"]:
        assert found.plan["analyses"]["adverse"] == {"population": "SAF", "emergent": True}
        assert found.plan["analyses"]["adherence"]["limits_pct"] == [80]
    assert {"ARM", "TRT01P"}.isdisjoint([*found.sessions.columns, *found.adverse.columns])
