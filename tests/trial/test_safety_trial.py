"""A trial of ten patients from tables alone, with sessions and adverse events, to its tables."""

import pandas as pd
import pyreadstat
import pytest
import yaml

from helpers import edit_yaml, snakemake
from lungitude import tables, trial
from lungitude.reporting import table_adherence, table_adverse
from lungitude.reporting.context import Context
from lungitude.reporting.results import Results

PATIENTS = [f"P-{number:02d}" for number in range(1, 11)]
CONFIG = {
    "trial": "safe",
    "title": "Breathing exercise",
    "data_cut": "2026-06-30",
    "arms": [
        {"code": "EX", "label": "Exercise"},
        {"code": "UC", "label": "Usual care", "reference": True},
    ],
    "visits": [
        {"name": "Baseline", "path": "baseline", "number": 0, "day": 1, "baseline": True},
        {"name": "Week 6", "path": "week06", "number": 6, "day": 43},
    ],
    "sheets": {
        name: f"{name}.tsv"
        for name in "subjects randomisation measurements parameters sessions adverse".split()
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
        "ancova": {"covariates": ["BASE"]},
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
        "subjects": [("USUBJID", "RANDDT"), *((who, "2026-01-10") for who in PATIENTS)],
        "randomisation": [
            ("USUBJID", "ARM"),
            *((who, ("EX", "UC")[number % 2]) for number, who in enumerate(PATIENTS)),
        ],
        "parameters": [
            ("PARAMCD", "PARAM", "AVALU", "LOW", "HIGH", "DECIMALS", "DIRECTION", "TRANSFORM",
             "DATASET"),
            ("FEV1", "FEV1", "L", 0.2, 7, 2, "higher", "none", "ADFUN"),
        ],
        "measurements": [
            ("USUBJID", "AVISIT", "PARAMCD", "AVAL", "AVALU"),
            *(
                (who, visit, "FEV1", round(1 + number / 7 + later * (number % 3) / 5, 2), "L")
                for number, who in enumerate(PATIENTS)
                for later, visit in enumerate(("Baseline", "Week 6"))
            ),
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
