"""The table of all measurements, with what is doubted of the label maps behind them."""

import runpy
from types import SimpleNamespace

import pandas as pd
import pytest

from helpers import ROOT, Files
from lungitude import doubts, records, tables

IDENTITY = {"USUBJID": "001", "AVISIT": "Baseline", "SERIES": "insp"}
PARAMETERS = {
    "PARAMCD": ["LAV950", "PI10"],
    "AVALU": ["%", "mm"],
    "MEASURE": ["insp:parenchyma:all:laa950_pct", "insp:airways:all:pi10_mm"],
}


@pytest.fixture
def trial(tmp_path):
    """One scan, measured; of its lobes the network is not sure, its airways scans.tsv gives."""
    for name, column, flag in (("parenchyma", "laa950_pct", ""), ("airways", "pi10_mm", "coarse")):
        table = pd.DataFrame({"region": ["all"], column: [4.5], "flag": [flag]})
        tables.write(table, tmp_path / f"{name}.tsv", IDENTITY)
    for name in ("scan", "lungs"):
        records.write(tmp_path / f"{name}.json", **IDENTITY)
    doubt = {"volume_ml": 9.0, "confidence": 0.5, "distance": 0.5, "flag": "not sure"}
    trust = pd.DataFrame([{"STRUCTURE": part, **doubt} for part in ("lobes", "airways")])
    tables.write(trust, tmp_path / "trust.tsv", IDENTITY)
    tables.write(pd.DataFrame(PARAMETERS), tmp_path / "parameters.tsv")
    return tmp_path


def gather(folder, made, **spread_limits):
    given = {name: [str(folder / f"{name}.tsv")] for name in ("parenchyma", "airways")}
    given |= {"trust": [str(folder / "trust.tsv")] * bool(made), "checks": [], "grown": []}
    given |= {"scans": [str(folder / "scan.json")], "lungs": [str(folder / "lungs.json")]}
    given |= {"registrations": [], "quality": [], "measurements": []}
    given |= {"spread": [str(path) for path in folder.glob("spread.tsv")]}
    outputs = ["measurements", "scans", "registrations", "quality", *["trust"] * bool(made)]
    job = SimpleNamespace(
        rule="gather_measurements",
        wildcards=[],
        log=[str(folder / "log")],
        input=Files(**given, parameters=str(folder / "parameters.tsv")),
        output=Files(**{name: str(folder / "out" / f"{name}.tsv") for name in outputs}),
        params=Files(
            visits=[{"name": "Baseline", "path": "baseline", "baseline": True}],
            expected=[{**IDENTITY, "ADT": None}],
            tables=["parenchyma", "airways"],
            made=made,
            roles={"inspiration": "insp", "expiration": None},
            without_vessels=False,
            spread_limits=spread_limits,
        ),
    )
    script = str(ROOT / "scripts" / "gather_measurements.py")
    runpy.run_path(script, init_globals={"snakemake": job}, run_name="__main__")
    return tables.read(folder / "out" / "measurements.tsv").set_index("PARAMCD")


def test_values_stay_and_take_the_flags_of_what_they_are_made_of(trial):
    found = gather(trial, [{**IDENTITY, "STRUCTURE": "lobes"}])
    assert found["AVAL"].tolist() == [4.5, 4.5]
    assert found["FLAG"].to_dict() == {"LAV950": "network: not sure", "PI10": "coarse"}
    trust = tables.read(trial / "out" / "trust.tsv")
    assert list(trust) == doubts.COLUMNS
    assert trust["STRUCTURE"].tolist() == ["lobes"]


def test_a_trial_whose_label_maps_are_given_has_no_table_of_trust(trial):
    found = gather(trial, [])
    assert found["FLAG"].fillna("").to_dict() == {"LAV950": "", "PI10": "coarse"}
    assert not (trial / "out" / "trust.tsv").exists()


def test_a_value_that_spreads_is_flagged_alone(trial):
    rows = [("LAV950", 4.5, 3, 0, 4.8, 0.9), ("PI10", 4.5, 3, 0, 4.5, 0.05)]
    table = pd.DataFrame(rows, columns=["PARAMCD", "AVAL", "views", "missing", "mean", "sd"])
    visit = {name: value for name, value in IDENTITY.items() if name != "SERIES"}
    tables.write(table, trial / "spread.tsv", visit)
    made = [{**IDENTITY, "STRUCTURE": part} for part in ("lobes", "airways")]
    found = gather(trial, made)
    assert found["AVAL"].tolist() == [4.5, 4.5]
    assert found["SPREAD"].to_dict() == {"LAV950": 0.9, "PI10": 0.05}
    told = "3 further readings have an SD of 0.9 %, above 0.6"
    assert found["FLAG"].to_dict() == {
        "LAV950": f"network: not sure; spread: {told}",
        "PI10": "coarse; network: not sure",
    }
    trust = tables.read(trial / "out" / "trust.tsv").set_index("STRUCTURE")
    assert trust["spread_flag"].fillna("").to_dict() == {"lobes": f"LAV950: {told}", "airways": ""}
    found = gather(trial, made, LAV950=1.0, PI10=0.04)
    assert "spread" not in found.loc["LAV950", "FLAG"]
    assert found.loc["PI10", "FLAG"].endswith("an SD of 0.05 mm, above 0.04")


def test_without_further_readings_there_is_no_spread(trial):
    found = gather(trial, [{**IDENTITY, "STRUCTURE": "lobes"}])
    assert found["SPREAD"].isna().all()
