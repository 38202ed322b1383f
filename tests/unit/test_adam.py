import numpy as np
import pandas as pd
import pytest

from lungitude import adam

ARMS = [{"code": "EG", "label": "Exercise"}, {"code": "CG", "label": "Control", "reference": True}]
VISITS = [
    {"name": "Baseline", "path": "baseline", "number": 0, "day": 1, "baseline": True},
    {"name": "Week 6", "path": "week06", "number": 6, "day": 43},
    {"name": "Week 12", "path": "week12", "number": 12, "day": 85},
]
STRATA = [
    {
        "column": "GOLDGR",
        "label": "GOLD",
        "levels": [
            {"value": "1", "path": "gold1", "label": "GOLD 1"},
            {"value": "2", "path": "gold2", "label": "GOLD 2"},
        ],
    }
]
CHARACTERISTICS = [
    {"column": "AGE", "label": "Age", "type": "continuous"},
    {"column": "SEX", "label": "Male", "type": "category"},
]
PARAMETERS = pd.DataFrame(
    {
        "PARAMCD": ["VO2MAX", "LAA"],
        "PARAM": ["Peak VO2", "LAA-950"],
        "AVALU": ["mL/kg/min", "%"],
        "DATASET": ["ADFUN", "ADQCT"],
    }
)


def frame(columns, *rows):
    return pd.DataFrame(list(rows), columns=columns.split())


SUBJECTS = frame(
    "USUBJID AGE SEX GOLDGR RANDDT",
    ("002", 60, "F", 2, "2024-01-02"),
    ("001", 70.5, "M", 1, "2024-01-01"),
    ("003", np.nan, "M", 1, "2024-01-03"),
    ("004", 55, "F", 2, "2024-06-01"),
)
RANDOMISATION = frame("USUBJID ARM", ("001", "EG"), ("002", "CG"), ("003", "EG"))
MEASUREMENTS = frame(
    "USUBJID AVISIT PARAMCD AVAL AVALU SOURCE ADT",
    ("001", "Baseline", "VO2MAX", 15.0, "mL/kg/min", "imported", "2023-12-31"),
    ("001", "Week 6", "VO2MAX", 18.0, "mL/kg/min", "imported", "2024-02-12"),
    ("001", "Week 12", "VO2MAX", 21.0, "mL/kg/min", "imported", "2024-03-25"),
    ("002", "Week 12", "VO2MAX", 14.0, np.nan, "imported", np.nan),
    ("003", "Baseline", "LAA", 0.0, "%", "scan", "2024-01-03"),
    ("003", "Week 6", "LAA", 2.0, "%", "scan", "2024-02-14"),
)


def make(**changes):
    keys = {
        "strata": STRATA,
        "characteristics": CHARACTERISTICS,
        "measurements": MEASUREMENTS,
        "study": "T1",
        **changes,
    }
    subjects, randomisation = (
        keys.pop("subjects", SUBJECTS),
        keys.pop("randomisation", RANDOMISATION),
    )
    return adam.adsl(subjects, randomisation, ARMS, keys.pop("visits", VISITS), **keys)


def test_adsl_columns_order_and_types():
    table = make()
    assert list(table) == [
        "STUDYID",
        "USUBJID",
        "TRT01P",
        "TRT01PN",
        "GOLDGR",
        "AGE",
        "SEX",
        "RANDDT",
        "ITTFL",
        "SAFFL",
        "PPROTFL",
        "EOSSTT",
        "EOSDT",
        "DCSREAS",
    ]
    assert list(table["USUBJID"]) == ["001", "002", "003", "004"]
    assert list(table["TRT01PN"].astype(object))[:3] == [1, 2, 1]
    assert list(table["GOLDGR"]) == ["1", "2", "1", "2"]  # numbers in the sheet, text here


def test_patient_without_arm_is_in_no_population():
    row = make().set_index("USUBJID").loc["004"]
    assert pd.isna(row["TRT01P"])
    assert list(row[["ITTFL", "SAFFL", "PPROTFL"]]) == ["N", "N", "N"]


def test_without_randomisation_nobody_is_in_a_population():
    table = make(randomisation=None)
    assert table["TRT01P"].isna().all()
    assert set(table["ITTFL"]) == {"N"}


@pytest.mark.parametrize(
    ("events", "cut", "expected"),
    [
        # nobody records discontinuations: who lacks the last visit is lost, reason unknown
        (None, None, {"001": ("COMPLETED", ""), "003": ("DISCONTINUED", "Not recorded")}),
        # they are recorded: a last visit without data is a missed visit
        ([], None, {"001": ("COMPLETED", ""), "003": ("COMPLETED", "")}),
        (
            [("003", "discontinuation", "2024-02-20", "Moved")],
            None,
            {"003": ("DISCONTINUED", "Moved")},
        ),
        ([("003", "death", "2024-02-20", np.nan)], None, {"003": ("DISCONTINUED", "Death")}),
        (
            [("003", "discontinuation", "2024-02-20", np.nan)],
            None,
            {"003": ("DISCONTINUED", "Not recorded")},
        ),
        ([("003", "exacerbation", "2024-02-20", "x")], None, {"003": ("COMPLETED", "")}),
        # two ends: the earlier counts
        (
            [
                ("003", "death", "2024-03-01", "Cancer"),
                ("003", "discontinuation", "2024-02-20", "Moved"),
            ],
            None,
            {"003": ("DISCONTINUED", "Moved")},
        ),
        # of one day: the death, whatever its cause
        (
            [
                ("003", "discontinuation", "2024-03-01", "Withdrew"),
                ("003", "death", "2024-03-01", "Cardiovascular"),
            ],
            None,
            {"003": ("DISCONTINUED", "Death")},
        ),
        # after the data cut, or not due at it
        (
            [("003", "discontinuation", "2024-05-20", "Moved")],
            "2024-04-30",
            {"003": ("COMPLETED", "")},
        ),
        ([], "2024-03-01", {"002": ("COMPLETED", ""), "003": ("ONGOING", "")}),
    ],
)
def test_end_of_study(events, cut, expected):
    if events is not None:
        events = frame("USUBJID EVENT ADT REASON", *events)
    table = make(events=events, data_cut=cut).set_index("USUBJID")
    for who, (status, reason) in expected.items():
        assert (table.loc[who, "EOSSTT"], table.loc[who, "DCSREAS"]) == (status, reason)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"rule": "randomised"}, "YYYN"),
        ({"rule": "completers"}, "YYNN"),
        ({"rule": "completers", "no_events": ["exacerbation"]}, "NYNN"),
        ({"rule": "randomised", "require": [{"param": "VO2MAX", "visit": "Week 12"}]}, "YYNN"),
        (
            {
                "rule": "randomised",
                "require": [
                    {"param": "VO2MAX", "visit": "Week 6"},
                    {"param": "VO2MAX", "visit": "Week 12"},
                ],
            },
            "YNNN",
        ),
    ],
)
def test_populations(rule, expected):
    events = frame(
        "USUBJID EVENT ADT REASON",
        ("003", "discontinuation", "2024-02-20", "Moved"),
        ("001", "exacerbation", "2024-02-20", "Mild"),
    )
    table = make(events=events, populations={"PP": rule})
    assert "".join(table["PPROTFL"]) == expected


def test_patient_randomised_after_the_cut_is_in_no_population():
    everybody = pd.concat([RANDOMISATION, frame("USUBJID ARM", ("004", "CG"))])
    early, late = (
        make(randomisation=everybody, data_cut=cut).set_index("USUBJID")
        for cut in ("2024-05-31", "2024-06-01")
    )
    assert list(early["ITTFL"]) == ["Y", "Y", "Y", "N"]
    assert list(late["ITTFL"]) == ["Y", "Y", "Y", "Y"]
    undated = make(
        randomisation=everybody, data_cut="2024-05-31", subjects=SUBJECTS[SUBJECTS.columns[:-1]]
    )
    assert set(undated["ITTFL"]) == {"Y"}


def test_value_after_the_cut_is_not_what_the_plan_requires():
    rule = {"PP": {"rule": "randomised", "require": [{"param": "VO2MAX", "visit": "Week 12"}]}}
    assert "".join(make(populations=rule, data_cut="2024-03-01")["PPROTFL"]) == "NYNN"


def test_bds_derivations():
    table = adam.bds(
        MEASUREMENTS, make(), PARAMETERS, VISITS, STRATA, CHARACTERISTICS, data_cut="2024-03-01"
    ).set_index(["USUBJID", "PARAMCD", "AVISIT"])
    assert list(table.reset_index()["AVISITN"]) == [0, 6, 12, 12, 0, 6]
    expected = {  # ABLFL BASE CHG PCHG ADY ANL01FL
        ("001", "VO2MAX", "Baseline"): ("Y", 15.0, None, None, -1, "Y"),
        ("001", "VO2MAX", "Week 6"): ("", 15.0, 3.0, 20.0, 43, "Y"),
        ("001", "VO2MAX", "Week 12"): ("", 15.0, 6.0, 40.0, 85, "N"),
        ("002", "VO2MAX", "Week 12"): ("", None, None, None, None, "Y"),
        ("003", "LAA", "Baseline"): ("Y", 0.0, None, None, 1, "Y"),
        ("003", "LAA", "Week 6"): ("", 0.0, 2.0, None, 43, "Y"),
    }
    for key, values in expected.items():
        row = table.loc[key]
        for name, value in zip(
            ["ABLFL", "BASE", "CHG", "PCHG", "ADY", "ANL01FL"], values, strict=True
        ):
            assert pd.isna(row[name]) if value is None else row[name] == value, (key, name)


def test_bds_columns_and_data_set():
    table = adam.bds(
        MEASUREMENTS, make(), PARAMETERS, VISITS, STRATA, CHARACTERISTICS, dataset="ADQCT"
    )
    assert list(table) == [
        "STUDYID",
        "USUBJID",
        "TRT01P",
        "TRT01PN",
        "GOLDGR",
        "AGE",
        "ITTFL",
        "SAFFL",
        "PPROTFL",
        "PARAMCD",
        "PARAM",
        "PARAMN",
        "AVISIT",
        "AVISITN",
        "ADT",
        "ADY",
        "AVAL",
        "AVALU",
        "BASE",
        "CHG",
        "PCHG",
        "ABLFL",
        "ANL01FL",
        "DTYPE",
        "SOURCE",
    ]
    assert set(table["PARAMCD"]) == {"LAA"}
    assert set(table["SOURCE"]) == {"scan"}
    assert set(table["PARAMN"]) == {2}


def test_empty_data_set_has_its_columns():
    only = MEASUREMENTS.loc[MEASUREMENTS["PARAMCD"] == "LAA"]
    table = adam.bds(only, make(), PARAMETERS, VISITS, STRATA, CHARACTERISTICS, dataset="ADFUN")
    assert len(table) == 0
    assert "CHG" in table


def test_single_visit_trial():
    visits = [VISITS[0]]
    only = MEASUREMENTS.loc[MEASUREMENTS["AVISIT"] == "Baseline"]
    table = adam.bds(only, make(visits=visits, measurements=only), PARAMETERS, visits)
    assert table["CHG"].isna().all()


@pytest.mark.parametrize("day", [("2024-01-01", 1), ("2024-01-02", 2), ("2023-12-31", -1)])
def test_study_day(day):
    dates = pd.Series([day[0], None])
    assert adam.study_day(dates, pd.Series(["2024-01-01"] * 2)).tolist() == [day[1], pd.NA]


def add(table, *row):
    return pd.concat([table, pd.DataFrame([row], columns=table.columns)], ignore_index=True)


def test_two_baselines_are_refused():
    twice = add(MEASUREMENTS, "001", "Baseline", "VO2MAX", 16.0, "mL/kg/min", "scan", "2023-12-30")
    with pytest.raises(ValueError, match="001 VO2MAX Baseline: 2 records"):
        adam.bds(twice, make(), PARAMETERS, VISITS)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (("009", "Week 6", "LAA", 1.0, "%", "scan", None), "USUBJID 009"),
        (("001", "Week 7", "LAA", 1.0, "%", "scan", None), "AVISIT Week 7"),
        (("001", "Week 6", "LAV", 1.0, "%", "scan", None), "PARAMCD LAV"),
        (("001", "Week 6", "LAA", 1.0, "mL", "scan", None), "001 LAA Week 6: unit 'mL'"),
    ],
)
def test_faults_of_measurements_are_named(row, text):
    with pytest.raises(ValueError, match=text):
        adam.bds(add(MEASUREMENTS, *row), make(), PARAMETERS, VISITS)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"randomisation": add(RANDOMISATION, "004", "XX")}, "arm XX"),
        ({"randomisation": add(RANDOMISATION, "009", "EG")}, "009"),
        ({"randomisation": add(RANDOMISATION, "001", "EG")}, "001 has more than one row"),
        ({"subjects": pd.concat([SUBJECTS, SUBJECTS.head(1)])}, "002 has more than one row"),
        ({"subjects": SUBJECTS.assign(GOLDGR=["3", "1", "1", "2"])}, "002 has GOLDGR '3'"),
        ({"subjects": SUBJECTS.drop(columns="AGE")}, "no column AGE"),
        ({"subjects": SUBJECTS.assign(AGE=["x", 1, 2, 3])}, "002: AGE 'x' is not a number"),
        ({"populations": {"PP": {"rule": "everybody"}}}, "rule 'everybody'"),
    ],
)
def test_faults_of_patients_are_named(changes, text):
    with pytest.raises(ValueError, match=text):
        make(**changes)
