"""A trial of ten patients from tables alone, to its tables.

It has sessions, adverse events, screening, visits by date, a derived grade beside a second factor.
"""

import pandas as pd
import pyreadstat
import pytest
import yaml

from helpers import edit_yaml, snakemake
from lungitude import tables, trial
from lungitude.reporting import table_adherence, table_adverse, table_disposition
from lungitude.reporting.context import Context
from lungitude.reporting.results import Results

PATIENTS = [f"P-{number:02d}" for number in range(1, 11)]
GRADES = ["I", "II", "III", "IV"]
# Grades II and III in turn; P-09 has grade IV alone, P-10 none, and P-01 is recorded as III.
FEV1PP = [60, 60, 40, 40, 60, 60, 40, 40, 20, None]
RECORDED = ["III", "II", "III", "III", "II", "II", "III", "III", "IV", None]
CONFIG = {
    "trial": "safe",
    "title": "Breathing exercise",
    "data_cut": "2026-06-30",
    "arms": [
        {"code": "EX", "label": "Exercise"},
        {"code": "UC", "label": "Usual care", "reference": True},
    ],
    "visits": [
        {
            "name": "Baseline",
            "path": "baseline",
            "number": 0,
            "day": 1,
            "baseline": True,
            "window": [-14, 1],
        },
        {"name": "Week 6", "path": "week06", "number": 6, "day": 43, "window": [29, 57]},
    ],
    "visit_windows": {"assign": "by_date", "several": "closest", "unscheduled": ["Extra"]},
    "strata": [
        {
            "column": "GOLDGR",
            "label": "GOLD grade",
            "pool": {"below": 2, "into": "neighbour"},
            "levels": [{"value": v, "path": f"gold_{v.lower()}", "label": v} for v in GRADES],
        },
        {
            "column": "SEX",
            "label": "Sex",
            "levels": [{"value": v, "path": f"sex_{v.lower()}", "label": v} for v in ("F", "M")],
        },
    ],
    "derive": {
        "GOLDGR": {"from": "FEV1PP", "cuts": [80, 50, 30], "labels": GRADES, "recorded": "GOLDGR"}
    },
    "reference_values": {
        "sex": {"column": "SEX", "male": "M", "female": "F"},
        "parameters": {"FEV1LLN": {"of": "FEV1", "give": "lower_limit"}},
    },
    "sheets": {
        name: f"{name}.tsv"
        for name in (
            *"subjects randomisation measurements parameters sessions adverse".split(),
            "screening",
        )
    },
}
PLAN = {
    "populations": {
        "ITT": {"label": "Intention to treat", "rule": "randomised"},
        "SAF": {"label": "Safety", "rule": "randomised"},
        "PP": {"label": "Per protocol", "rule": "randomised", "adherence_pct": 75},
    },
    "analyses": {
        "disposition": {},
        "ancova": {"covariates": ["BASE"], "parameters": ["FEV1"]},
        "adherence": {"population": "ITT", "limits_pct": [75]},
        "adverse": {},
    },
    "primary": {"parameter": "FEV1", "visit": "Week 6", "method": "ancova"},
    "displays": [],
}
# Attended of four sessions planned; the last patient of the arm has no row.
ATTENDED = {"P-01": 4, "P-03": 3, "P-05": 2, "P-07": 0}
EVENTS = [
    ("P-01", "Fall", "Injury", "2026-01-20", "MILD", "N", "RELATED"),
    ("P-01", "Fall", "Injury", "2026-02", "SEVERE", "Y", "NOT RELATED"),
    ("P-03", "Cough", "Chest", "2026-01-20", "MILD", "N", "NOT RELATED"),
    ("P-02", "Cough", "Chest", "2026-01-21", "MILD", "N", "NOT RELATED"),
    ("P-04", "Cough", "Chest", "2025-11", "MILD", "N", "NOT RELATED"),
    ("P-06", "Cough", "Chest", "2026-07-01", "SEVERE", "Y", "RELATED"),
]


def write(folder):
    folder.mkdir(parents=True)
    sheets = {
        "subjects": [
            ("USUBJID", "RANDDT", "SEX", "AGE", "HEIGHT", "FEV1PP", "GOLDGR"),
            *(
                (who, "2026-01-10", "FFM"[number % 3], 65, 170, FEV1PP[number], RECORDED[number])
                for number, who in enumerate(PATIENTS)
            ),
        ],
        "screening": [
            ("SCREENID", "SCREENDT", "STATUS", "REASON", "USUBJID"),
            *((f"S-{who}", "2026-01-05", "randomised", None, who) for who in PATIENTS),
            *((f"S-{k}", "2026-01-06", "excluded", "No consent", None) for k in range(3)),
        ],
        "randomisation": [
            ("USUBJID", "ARM"),
            *((who, ("EX", "UC")[number % 2]) for number, who in enumerate(PATIENTS)),
        ],
        "parameters": [
            ("PARAMCD", "PARAM", "AVALU", "LOW", "HIGH", "DECIMALS", "DIRECTION", "TRANSFORM",
             "DATASET"),
            ("FEV1", "FEV1", "L", 0.2, 7, 2, "higher", "none", "ADFUN"),
            ("FEV1LLN", "FEV1, lower limit", "L", 0.2, 7, 2, "higher", "none", "ADFUN"),
        ],
        "measurements": [
            ("USUBJID", "AVISIT", "PARAMCD", "AVAL", "AVALU", "ADT"),
            *(
                (who, visit, "FEV1", round(1 + number / 7 + later * (number % 3) / 5, 2), "L", day)
                for number, who in enumerate(PATIENTS)
                for later, (visit, day) in enumerate(
                    (("Baseline", "2026-01-09"), ("Week 6", "2026-02-20"))
                )
            ),
            ("P-02", "Extra", "FEV1", 6.5, "L", "2026-02-27"),  # day 49, farther from the target
            ("P-03", None, "FEV1", 6.5, "L", "2026-04-20"),  # of no visit
        ],
        "sessions": [
            ("USUBJID", "PERIOD", "PLANNED", "ATTENDED"),
            *(
                (who, f"week {week}", 2, min(2, max(0, count - 2 * (week - 1))))
                for who, count in ATTENDED.items()
                for week in (1, 2)
            ),
        ],
        "adverse": [
            ("USUBJID", "AETERM", "AEBODSYS", "AESTDTC", "AESEV", "AESER", "AEREL"),
            *EVENTS,
        ],
    }  # fmt: skip
    for name, rows in sheets.items():
        tables.write(pd.DataFrame(rows[1:], columns=rows[0]), folder / f"{name}.tsv")
    for name, content in (("config", CONFIG), ("plan", PLAN)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run of the trial as its folder, the folder of results, and its results table."""
    folder = tmp_path_factory.mktemp("safety") / "config" / "safe"
    write(folder)
    snakemake(folder, "analysis", "results/safe/data/define.xml", cores=2)
    results = folder.parents[1] / "results" / "safe"
    return folder, results, tables.read_parquet(results / "analysis" / "results.parquet")


def shown(made, module):
    folder, _, frame = made
    found = trial.load(folder / "config.yaml", root=folder.parents[1])
    context = Context(
        stratum=found.strata[0],
        arms=found.config["arms"],
        visits=found.config["visits"],
        parameters=found.parameters.to_dict("records"),
        plan=found.plan,
        trial={"name": "safe", "title": found.config["title"]},
        provenance={},
        strata=found.config["strata"],
    )
    name = module.__name__.rpartition(".")[2]
    table = module.build(Results(frame, "all", found.plan), context, {"id": name, "title": name})
    return {row.label.text: [c.text for c in row.cells] for row in table.rows}


def test_the_set_per_protocol_comes_from_the_sessions(made):
    adsl = tables.read_parquet(made[1] / "cohort" / "adsl.parquet").set_index("USUBJID")
    # Of the exercise two attended three of four sessions; usual care has none to attend.
    assert list(adsl.index[adsl["PPROTFL"] == "Y"]) == [
        *("P-01", "P-02", "P-03", "P-04", "P-06", "P-08", "P-10"),
    ]


def test_the_tables_say_what_was_planted(made):
    sessions = shown(made, table_adherence)
    assert sessions["With planned sessions"] == ["4 (80.0)", "0"]
    assert sessions["At least 75% of their sessions"] == ["2 (40.0)", "\u2013"]
    assert sessions["No session attended"][0] == "1 (20.0)"
    assert sessions["Adherence not known"][0] == "1 (20.0)"
    events = shown(made, table_adverse)
    assert events["Any adverse event"] == ["2 (40.0) [3]", "1 (20.0) [1]", "3 (30.0) [4]"]
    assert events["Serious"] == ["1 (20.0) [1]", "0", "1 (10.0) [1]"]
    assert events["Began before randomisation"] == ["0", "1 (20.0) [1]", "1 (10.0) [1]"]
    assert list(events)[-4:] == ["Chest", "Cough", "Injury", "Fall"]


def test_of_all_records_one_a_visit_is_analysed(made):
    data = tables.read_parquet(made[1] / "cohort" / "adfun.parquet")
    data = data[data["PARAMCD"] == "FEV1"]
    assert len(data) == 22
    assert data.loc[data["ANL01FL"] == "Y", "AVAL"].max() < 6
    odd = data.loc[data["ANLREAS"] != "", ["USUBJID", "VISIT", "AVISIT", "ANLREAS"]]
    assert odd.fillna("").to_numpy().tolist() == [
        ["P-02", "Extra", "Week 6", "another record of the visit was chosen"],
        ["P-03", "", "Unscheduled", "outside all windows"],
    ]


def test_the_grade_is_derived_and_sparse_ones_are_pooled_in_models(made):
    _, results, frame = made
    adsl = tables.read_parquet(results / "cohort" / "adsl.parquet").set_index("USUBJID")
    assert adsl.loc[["P-01", "P-03", "P-09"], "GOLDGR"].tolist() == ["II", "III", "IV"]
    listed = tables.read(results / "cohort" / "grades.tsv")
    assert listed["USUBJID"].tolist() == ["P-01", "P-10"]
    lines = frame[(frame["METHOD"] == "ancova") & (frame["STAT"] == "model")]
    lines = lines.set_index("STRATUM")["NOTE"]
    assert "TRT01P + BASE + GOLDGR + SEX" in lines["all"]
    assert lines["all"].endswith("pooled: GOLDGR III+IV (fewer than 2 patients of an arm)")
    assert {"gold_ii", "sex_f", "sex_m"} <= set(lines.index)
    stages = shown(made, table_disposition)
    assert stages["Without GOLD grade"] == ["0", "1 (20.0)", "1 (10.0)"]
    assert stages["Assessed for eligibility"] == ["\u2013", "\u2013", "13"]
    assert stages["No consent"] == ["\u2013", "\u2013", "3 (23.1)"]


def test_the_arm_is_joined_in_the_data_sets_and_not_before(made):
    folder, results, _ = made
    for name in ("sessions", "adverse"):
        assert not {"ARM", "TRT01P"} & set(tables.read(folder / f"{name}.tsv"))
    for name in ("adex", "adae"):
        text, typed = results / "cohort" / f"{name}.tsv", results / "cohort" / f"{name}.parquet"
        assert list(tables.read(text)) == list(tables.read_parquet(typed))
        assert set(tables.read_parquet(typed)["TRT01P"]) <= {"EX", "UC"}
    log = (results / "logs" / "derive_adverse.log").read_text()
    assert "AEDECOD: missing in 6 of 6 events" in log


def test_the_data_sets_are_exported_with_the_others(made):
    folder = made[1] / "data"
    for name in ("adsl", "adqct", "adfun", "adex", "adae"):
        typed = tables.read_parquet(made[1] / "cohort" / f"{name}.parquet")
        back, about = pyreadstat.read_xport(folder / f"{name}.xpt")
        assert about.column_names == list(typed)
        assert len(back) == len(typed)
        assert (folder / f"{name}.csv").exists()
        assert (folder / f"{name}.json").exists()
    assert 'Name="ADAE"' in (folder / "define.xml").read_text()


def test_without_the_sheets_the_other_data_and_numbers_are_the_same_bytes(made, tmp_path):
    _, results, _ = made
    folder = tmp_path / "config" / "safe"
    write(folder)

    def without(config):
        for name in ("sessions", "adverse"):
            del config["sheets"][name]
            (folder / f"{name}.tsv").unlink()

    edit_yaml(folder / "config.yaml", without)
    edit_yaml(folder / "plan.yaml", lambda p: p["populations"]["PP"].pop("adherence_pct"))
    snakemake(folder, "analysis", "results/safe/data/define.xml", cores=2)
    other = tmp_path / "results" / "safe"
    assert not (other / "data" / "adae.xpt").exists()
    assert "ADAE" not in (other / "data" / "define.xml").read_text()
    for name in ("cohort/measurements.tsv", "analysis/ancova.parquet"):
        assert (results / name).read_bytes() == (other / name).read_bytes()
    assert not (other / "cohort" / "adex.parquet").exists()
    for name in ("adherence", "adverse"):
        assert len(tables.read_parquet(other / "analysis" / f"{name}.parquet")) == 0
    adsl = tables.read_parquet(other / "cohort" / "adsl.parquet")
    assert (adsl["PPROTFL"] == "Y").all()


def test_reference_values_are_measurements_like_others(made):
    """The limits of a man and of a woman of 65 years and 170 cm: 2.124 and 1.779 L (R's pft)."""
    _, root, _ = made
    table = pd.read_parquet(root / "cohort" / "adfun.parquet")
    rows = table[table["PARAMCD"] == "FEV1LLN"]
    assert set(rows["SOURCE"]) == {"derived"}
    sexes = pd.read_parquet(root / "cohort" / "adsl.parquet").set_index("USUBJID")["SEX"]
    limits = rows["USUBJID"].map(sexes).map({"M": 2.12414172938283, "F": 1.77853722273393})
    assert rows["AVAL"].to_numpy() == pytest.approx(limits.to_numpy(), rel=1e-4)
    measured = table[(table["PARAMCD"] == "FEV1") & (table["ANL01FL"] == "Y")]
    assert (rows["ANL01FL"] == "Y").sum() == len(measured)
