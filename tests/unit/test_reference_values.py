"""% predicted and z scores of lung function, against another implementation and by construction."""

import numpy as np
import pandas as pd
import pytest
from unit import reporting_fixture as fixture

from helpers import edit_yaml, problems_of
from lungitude import grades, reference_values, tables, trial
from lungitude.reporting import methods

# sex, age, height, quantity, predicted, lower limit, and z of 85 % of the predicted value: GLI 2022
# by the R package pft (github.com/overdodactyl/pft at 553fd9a, gli_2022_oracle.csv).
BY_R = [
    ("male", 25, 155, "FEV1", 3.10099174918164, 2.42608536843794, -1.14365056510261),
    ("male", 65, 170, "FEV1", 2.88423918063122, 2.12414172938283, -0.950330030800108),
    ("female", 65, 170, "FVC", 3.22019616128586, 2.31020439576018, -0.866309730072999),
    ("female", 85, 155, "FEV1", 1.65838836237263, 1.10866661100169, -0.761721399410076),
    ("male", 45, 185, "FVC", 5.33872115397809, 4.08619847516747, -1.04838981356531),
    ("female", 45, 170, "FEV1FVC", 0.813168172114858, 0.702774384972345, -1.79227835058484),
    ("male", 10, 155, "FEV1FVC", 0.849134723011298, 0.741037863692154, -1.89159797771231),
]
SETTINGS = {
    "equations": "gli_2022",
    "age": "AGE",
    "height": "HEIGHT",
    "sex": {"column": "SEX", "male": "M", "female": "F"},
    "parameters": {
        "FEV1PP": {"of": "FEV1", "give": "percent"},
        "RATIOZ": {"of": "FEV1FVC", "give": "z"},
        "FEV1LLN": {"of": "FEV1", "give": "lower_limit"},
    },
}
PARAMETERS = pd.DataFrame(
    {
        "PARAMCD": ["FEV1", "FEV1FVC", "FEV1PP", "RATIOZ", "FEV1LLN"],
        "AVALU": ["mL", "%", "% predicted", "", "L"],
    }
)


def found(sex, age, height, quantity, equations="gli_2022", **more):
    series = (pd.Series([value]) for value in (sex, age, height))
    return reference_values.lms(equations, quantity, *series, **more)


@pytest.mark.parametrize(("sex", "age", "height", "quantity", "median", "low", "z"), BY_R)
def test_values_are_those_of_another_implementation(sex, age, height, quantity, median, low, z):
    here = found(sex, age, height, quantity)
    value = pd.Series([0.85 * median])
    given = {
        give: reference_values.relative(value, here, give)[0] for give in reference_values.GIVEN
    }
    assert given["predicted"] == pytest.approx(median, rel=1e-9)
    assert given["percent"] == pytest.approx(85, rel=1e-9)
    assert given["z"] == pytest.approx(z, rel=1e-8)
    # There the 5th percentile is taken at z = 1.645 or 1.644854; both are within a part in 20,000.
    assert given["lower_limit"] == pytest.approx(low, rel=1e-4)


@pytest.mark.parametrize(
    ("equations", "quantity"),
    [
        (name, quantity)
        for name, (_, known) in reference_values.EQUATIONS.items()
        for quantity in known
    ],
)
def test_every_quantity_has_a_median_that_people_could_have(equations, quantity):
    more = {"ancestry": pd.Series(["caucasian"])} if equations == "gli_2012" else {}
    here = found("male", 40, 180, quantity, equations, **more)
    usual = {
        "FEV1": 4.2,
        "FVC": 5.3,
        "FEV1FVC": 0.8,
        "FEF2575": 4,
        "DLCO": 10.5,
        "KCO": 1.5,
        "VA": 7,
    }
    usual |= {"FRC": 3.5, "TLC": 7.3, "RV": 1.9, "ERV": 1.5, "IC": 3.7, "VC": 5.4}
    assert here["m"][0] == pytest.approx(usual[quantity], rel=0.2)
    z = reference_values.relative(here["m"], here, "z")[0]
    assert z == pytest.approx(0, abs=1e-9)


def test_what_is_missing_or_beyond_the_equations_has_no_reference():
    sex = pd.Series(["male", None, "female", "male"])
    age, height = pd.Series([97.0, 50, np.nan, 50]), pd.Series([180.0, 180, 180, 180])
    here = reference_values.lms("gli_2022", "FEV1", sex, age, height)
    assert here["m"].isna().tolist() == [True, True, True, False]


def test_ancestry_counts_in_2012_alone():
    values = [
        found("male", 40, 180, "FEV1", "gli_2012", ancestry=pd.Series([name]))["m"][0]
        for name in reference_values.ANCESTRIES
    ]
    assert len(set(values)) == len(values)


def test_made_rows_take_units_visit_and_date_over():
    subjects = pd.DataFrame(
        {"USUBJID": ["P1", "P2"], "AGE": [65, 65], "HEIGHT": [170, None], "SEX": ["M", "F"]}
    )
    rows = [
        ("P1", "Week 6", "FEV1", 0.5 * 2884.23918063122, "2025-02-03"),
        ("P1", "Week 6", "FEV1FVC", 78.0412118688808, "2025-02-03"),
        ("P2", "Week 6", "FEV1", 2000.0, "2025-02-03"),
    ]
    frame = pd.DataFrame(rows, columns=["USUBJID", "AVISIT", "PARAMCD", "AVAL", "ADT"])
    made = reference_values.derive(frame, subjects, PARAMETERS, SETTINGS).set_index("PARAMCD")
    assert set(made["USUBJID"]) == {"P1"}  # nobody knows how tall the other one is
    assert set(made["SOURCE"]) == {"derived"}
    assert set(made["ADT"]) == {"2025-02-03"}
    assert made.loc["FEV1PP", "AVAL"] == pytest.approx(50)
    assert made.loc["RATIOZ", "AVAL"] == pytest.approx(0, abs=1e-7)
    assert made.loc["FEV1LLN", "AVAL"] == pytest.approx(2.12414172938283, rel=1e-4)


@pytest.fixture
def graded(tiny):
    """A trial whose GOLD grade is made of FEV1 and reference values."""
    subjects = tables.read(tiny / "subjects.tsv")
    subjects = subjects.drop(columns=["FEV1PP", "GOLDGR"]).assign(HEIGHT=168)
    tables.write(subjects, tiny / "subjects.tsv")
    with (tiny / "parameters.tsv").open("a") as sheet:
        names = tables.read(tiny / "parameters.tsv").columns
        row = {"PARAMCD": "FEV1PP", "PARAM": "FEV1 in % predicted", "AVALU": "% predicted"}
        row |= {"DECIMALS": "1", "DATASET": "ADFUN", "CATEGORY": "Spirometry", "TRANSFORM": "none"}
        row |= {"DIRECTION": "higher"}
        sheet.write("\t".join(row.get(name, "") for name in names) + "\n")

    def edit(config):
        config["characteristics"] = [
            one for one in config["characteristics"] if one["column"] != "FEV1PP"
        ]
        config["reference_values"] = {
            "sex": {"column": "SEX", "male": "M", "female": "F"},
            "parameters": {"FEV1PP": {"of": "FEV1"}},
        }
        config["derive"] = {
            "GOLDGR": {"from": "FEV1PP", "cuts": [80, 50, 30], "labels": ["I", "II", "III", "IV"]}
        }

    edit_yaml(tiny / "config.yaml", edit)
    return tiny


def test_a_grade_can_be_made_of_them(graded):
    read = trial.load(graded / "config.yaml")
    subjects = reference_values.with_baseline(read)
    made, _ = grades.derive(subjects, read.config["derive"])
    assert made["FEV1PP"].notna().all()
    assert set(made["GOLDGR"]) <= {"I", "II", "III", "IV"}
    assert len(set(made["GOLDGR"])) > 1


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda s: s["parameters"]["FEV1PP"].update(of="FEV"), "parameter 'FEV' is not in"),
        (lambda s: s["parameters"]["FEV1PP"].update(quantity="FEF"), "gli_2022 has no 'FEF'"),
        (lambda s: s.update(equations="gli_2012"), "name the column of subjects.tsv as 'ancestry'"),
        (lambda s: s["parameters"]["FEV1PP"].update(of="MWD6", quantity="FEV1"),
         "the unit of MWD6 in parameters.tsv is 'm', which does not convert to 'L'"),
        (lambda s: s["parameters"].update(FEV1={"of": "FVC"}), "FEV1 is made by 'reference_va"),
        (lambda s: s.update(height="TALL"), "column TALL: the column is missing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(graded, edit, told):
    edit_yaml(graded / "config.yaml", lambda config: edit(config["reference_values"]))
    problems = problems_of(graded)
    assert any(told in problem for problem in problems), problems
    assert all(len(problem.rpartition("tiny/")[2]) < 400 for problem in problems)


def test_methods_name_the_equations():
    context = fixture.context(reference_values=SETTINGS)
    said = methods._reference_values(context)
    assert "FEV1 in percent of the predicted value (FEV1PP)" in said
    assert "GLI Global (Bowerman et al., Am J Respir Crit Care Med 2023;207:768)" in said
    assert methods._reference_values(fixture.context()) == ""
