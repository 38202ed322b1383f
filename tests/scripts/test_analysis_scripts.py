"""The scripts from measurements to the results table, run in-process on a small trial."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lungitude import tables

SCRIPTS = Path(__file__).parents[2] / "scripts"
ARMS = [{"code": "EG", "label": "Exercise"}, {"code": "CG", "label": "Control", "reference": True}]
VISITS = [
    {"name": "Baseline", "path": "baseline", "number": 0, "day": 1, "baseline": True},
    {"name": "Week 6", "path": "week06", "number": 6, "day": 43},
    {"name": "Week 12", "path": "week12", "number": 12, "day": 85},
]
LISTS = {
    "arms": ARMS,
    "visits": VISITS,
    "strata": [
        {
            "column": "SITE",
            "label": "Site",
            "levels": [
                {"value": "01", "path": "site1", "label": "Site 1"},
                {"value": "02", "path": "site2", "label": "Site 2"},
            ],
        }
    ],
    "characteristics": [
        {"column": "AGE", "label": "Age", "type": "continuous"},
        {"column": "GENE", "label": "Genotype", "type": "category"},
    ],
}
METHODS = [
    "disposition",
    "baseline",
    "describe",
    "ancova",
    "mixed_model",
    "mmrm",
    "imputation",
    "subgroups",
    "within_arm",
    "arm_tests",
    "rm_anova",
    "association",
    "stepwise",
    "responders",
    "agreement",
]
PLANS = {
    "subgroups": {"factors": ["GENE"]},
    "association": {"x": ["FEV1"], "y": ["FVC"]},
    "stepwise": {"response": "FEV1", "response_visit": "Week 12", "candidates": ["AGE", "BASE"]},
    "responders": {
        "endpoints": [
            {"id": "gain", "parameter": "FEV1", "direction": "increase", "threshold": 0.1}
        ]
    },
}


class Named(SimpleNamespace):
    """Input or output of a job: files by name, or all in order."""

    def __iter__(self):
        return iter(vars(self).values())


def run(script, folder, inputs, outputs, **params):
    """Run a script as Snakemake does, with a stand-in for its job object."""
    job = SimpleNamespace(
        rule=script,
        wildcards=[],
        log=[str(folder / f"{script}.log")],
        input=inputs,
        output=Named(**{name: str(folder / path) for name, path in outputs.items()}),
        params=SimpleNamespace(**params),
    )
    runpy.run_path(
        str(SCRIPTS / f"{script}.py"), init_globals={"snakemake": job}, run_name="__main__"
    )


def sheets(folder, events):
    rng = np.random.default_rng(11)
    n = 40
    ids = [f"{i:03d}" for i in range(n)]
    subjects = pd.DataFrame(
        {
            "USUBJID": ids,
            "AGE": rng.normal(65, 8, n).round(),
            "GENE": rng.choice(["0", "1"], n),
            "SITE": ["01", "02"] * (n // 2),
            "RANDDT": "2024-01-01",
        }
    )
    arm = np.repeat(["EG", "CG"], n // 2)
    parts = [
        pd.DataFrame(
            {
                "USUBJID": ids,
                "AVISIT": visit["name"],
                "PARAMCD": code,
                "AVAL": rng.normal(10, 1, n) + (arm == "EG") * visit["number"] / 6,
                "AVALU": "L",
                "SOURCE": "imported",
                "ADT": np.nan,
            }
        )
        for visit in VISITS
        for code in ("FEV1", "FVC")
    ]
    parameters = pd.DataFrame(
        {
            "PARAMCD": ["FEV1", "FVC"],
            "PARAM": ["FEV1", "FVC"],
            "AVALU": "L",
            "TRANSFORM": ["none", "log"],
            "DATASET": "ADFUN",
        }
    )
    reads = pd.concat(
        [
            parts[0].assign(METHOD=method, READER="a", REPEAT=repeat)
            for method in ("x", "y")
            for repeat in ("1", "2")
        ]
    )
    reads["AVAL"] += rng.normal(0, 0.1, len(reads))
    made = {
        "subjects": subjects,
        "parameters": parameters,
        "measurements": pd.concat(parts),
        "randomisation": pd.DataFrame({"USUBJID": ids, "ARM": arm}),
        "reads": reads,
    }
    if events:
        made["events"] = pd.DataFrame(
            [("003", "discontinuation", "2024-02-20", "Moved")],
            columns=["USUBJID", "EVENT", "ADT", "REASON"],
        )
    for name, table in made.items():
        tables.write(table, folder / f"{name}.tsv")
    return {name: str(folder / f"{name}.tsv") for name in made}


def analyse(folder, events=True):
    """Run the chain and return the folder."""
    paths = sheets(folder, events)
    names = ("adsl", "adqct", "adfun")
    outputs = {name: f"{name}.parquet" for name in names}
    outputs.update({f"{name}_tsv": f"{name}.tsv" for name in names})
    run(
        "derive_adam",
        folder,
        Named(**paths),
        outputs,
        **LISTS,
        populations=None,
        data_cut="2024-12-31",
        study="T1",
    )
    data = {name: str(folder / f"{name}.parquet") for name in names}
    plans = {method: {"population": "ITT", **PLANS.get(method, {})} for method in METHODS}
    for method in ("ancova", "mixed_model", "mmrm", "imputation"):
        plans[method]["covariates"] = ["BASE", "GENE"]
    plans["ancova"]["also_in"] = plans["mmrm"]["also_in"] = {"SAF": ["FVC"]}
    for method in METHODS:
        run(
            f"analyse_{method}",
            folder,
            Named(**paths, **data),
            {"results": f"{method}.parquet"},
            plan=plans[method],
            confidence=0.95,
            quantiles="averaged_inverted_cdf",
            primary={"parameter": "FEV1", "visit": "Week 12"},
            data_cut="2024-12-31",
            **LISTS,
        )
    run(
        "gather_results",
        folder,
        [folder / f"{m}.parquet" for m in METHODS],
        {"results": "results.parquet", "results_tsv": "results.tsv", "plan": "plan.yaml"},
        plan={
            "analyses": plans,
            "families": [
                {
                    "id": "all",
                    "method": "bh",
                    "analysis": "ancova",
                    "parameters": ["FEV1", "FVC"],
                    "visits": ["Week 6", "Week 12"],
                }
            ],
        },
    )
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return analyse(tmp_path_factory.mktemp("trial"))


def test_every_method_has_results(made):
    table = pd.read_parquet(made / "results.parquet")
    assert set(table["METHOD"]) == set(METHODS)
    assert set(table["STRATUM"]) == {"all", "site1", "site2"}
    adjusted = table.loc[(table["STAT"] == "p_adj") & (table["METHOD"] == "ancova")]
    assert len(adjusted) == 4
    assert set(adjusted["NOTE"]) == {"bh, 4 tests"}


def test_another_set_has_rows_of_its_own_that_no_family_adjusts(made):
    table = pd.read_parquet(made / "results.parquet")
    assert set(table.loc[table["POPULATION"] == "SAF", "METHOD"]) == {"ancova", "mmrm"}
    others = table.loc[table["POPULATION"] == "SAF"]
    assert set(others["PARAMCD"]) == {"FVC"}
    assert others["ANALYSISID"].str.endswith(".SAF").all()
    assert "p_adj" not in set(others["STAT"])
    # Here the safety set has the patients of the other: each number stands twice.
    own = table.loc[table["ANALYSISID"].isin(others["ANALYSISID"].str.removesuffix(".SAF"))]
    own = own.loc[own["STAT"] != "p_adj"]
    assert own["VALUE"].equals(others.set_axis(own.index)["VALUE"])
    assert own["N"].equals(others.set_axis(own.index)["N"])


def test_identifiers_stay_text(made):
    adsl = pd.read_parquet(made / "adsl.parquet")
    assert adsl["USUBJID"][0] == "000"
    assert set(adsl["SITE"]) == {"01", "02"}
    assert set(adsl["GENE"]) == {"0", "1"}
    assert adsl.set_index("USUBJID").loc["003", "EOSSTT"] == "DISCONTINUED"


def test_text_twins_hold_the_same(made):
    for name in ("adsl", "adfun", "results"):
        text = tables.read(made / f"{name}.tsv")
        assert list(text) == list(pd.read_parquet(made / f"{name}.parquet"))
        assert len(text) == len(pd.read_parquet(made / f"{name}.parquet"))


def test_data_set_without_parameters_is_empty(made):
    assert len(pd.read_parquet(made / "adqct.parquet")) == 0


def test_same_bytes_twice(made, tmp_path):
    analyse(tmp_path)
    for name in ("adsl.parquet", "adfun.tsv", "results.parquet", "results.tsv"):
        assert (made / name).read_bytes() == (tmp_path / name).read_bytes()


def test_trial_without_events_sheet(tmp_path):
    analyse(tmp_path, events=False)
    adsl = pd.read_parquet(tmp_path / "adsl.parquet")
    assert set(adsl["EOSSTT"]) == {"COMPLETED"}
